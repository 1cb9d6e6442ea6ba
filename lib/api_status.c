/* api_status.c - names and meanings of status codes, and this thread's sentence. */
#include "shell.h"

typedef struct status_text {
    ammpl_status status;
    const char *name, *text;
} status_text;

#define STATUS(id, text) {id, #id, text}
static const status_text table[] = {
    STATUS(AMMPL_OK, "Done."),
    STATUS(AMMPL_END, "Training has reached its last step."),
    STATUS(AMMPL_CANCELLED, "Stopped because a callback or ammpl_session_cancel() asked for it."),
    STATUS(AMMPL_E_ARGUMENT, "An argument is NULL, empty, repeated or of another object."),
    STATUS(AMMPL_E_MEMORY, "Out of memory."),
    STATUS(AMMPL_E_DEVICE_MEMORY, "The device is out of memory."),
    STATUS(AMMPL_E_IO, "A file is missing, unreadable or cannot be written."),
    STATUS(AMMPL_E_FORMAT, "A file is damaged or is not what it should be."),
    STATUS(AMMPL_E_VERSION, "A file or struct is newer than this library."),
    STATUS(AMMPL_E_UNSUPPORTED, "Understood, but this library does not do it."),
    STATUS(AMMPL_E_OPTION, "Unknown option or method, or a value that it cannot take."),
    STATUS(AMMPL_E_RANGE, "A number is outside its bounds, or a text is longer than the model's context."),
    STATUS(AMMPL_E_SHAPE, "Tensors contradict each other, the options or the model."),
    STATUS(AMMPL_E_LABEL, "A label names no class, or a class has no images."),
    STATUS(AMMPL_E_STATE, "The right call at the wrong moment."),
    STATUS(AMMPL_E_BUFFER, "The caller's array is too small."),
    STATUS(AMMPL_E_BACKEND, "The backend failed."),
    STATUS(AMMPL_E_DEVICE_LOST, "The device does not answer any more."),
    STATUS(AMMPL_E_NUMERIC, "NaN or infinity in weights, loss or gradients."),
    STATUS(AMMPL_E_EXISTS, "The file exists and overwriting was not asked for."),
    STATUS(AMMPL_E_MODEL, "The prompt was trained on another CLIP."),
    STATUS(AMMPL_E_IMAGE, "A picture cannot be decoded."),
    STATUS(AMMPL_E_INTERNAL, "The library is at fault: please report it with the sentence of ammpl_last_error()."),
};

static const status_text *find(ammpl_status status)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].status == status)
            return &table[i];
    return NULL;
}

const char *ammpl_status_name(ammpl_status status)
{
    const status_text *t = find(status);
    return t ? t->name : "AMMPL_E_UNKNOWN";
}

const char *ammpl_status_string(ammpl_status status)
{
    const status_text *t = find(status);
    return t ? t->text : "A status that this version of the library does not know.";
}

const char *ammpl_last_error(void)
{
    return ammpli_error_text();
}
