/* consumer CLIP_FOLDER PICTURE.jpg: a program that uses libammpl as it is installed.  Trains on pictures it makes up, prints the
 * last loss and the logits of one of them; then damages the JPEG in many ways and lives on (libjpeg's own handler would exit).
 * consumer.cpp and statuses.cpp do the same through ammpl.hpp and must print the same.
 */
#include <ammpl/ammpl.h>
#include <stdio.h>
#include <stdlib.h>

enum { SIDE = 20, CLASSES = 3, PICTURES = 6 };
static const char *const names[CLASSES] = {"cat", "dog", "red_bird"};

static void ok(ammpl_status status)
{
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", ammpl_status_name(status), ammpl_last_error());
        exit(1);
    }
}

static void draw(uint8_t *rgb, int k)
{
    for (int i = 0; i < SIDE * SIDE * 3; i++)
        rgb[i] = (uint8_t)((i * 37 + k * k * 11 + i / 60 * k) % 251);
}

static int32_t note(void *user, const ammpl_progress *progress)
{
    *(double *)user = progress->loss;
    return 0;
}

static void damage(ammpl_context *ctx, const char *path)
{
    static uint8_t bytes[1 << 16];
    FILE *file = fopen(path, "rb");
    size_t size = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    int refused = 0, decoded = 0;
    if (size < 100)
        exit(fprintf(stderr, "%s cannot be read\n", path) != 0);
    fclose(file);
    for (size_t at = 2; at < size; at++) {
        ammpl_image *picture;
        uint8_t kept = bytes[at];
        bytes[at] ^= 0xff;
        /* also cut off somewhere, now and then */
        ammpl_status status = ammpl_image_load_memory(ctx, bytes, at % 7 == 0 ? at : size, &picture);
        bytes[at] = kept;
        if (status < 0 && (status != AMMPL_E_IMAGE || picture || !ammpl_last_error()[0]))
            exit(fprintf(stderr, "byte %d: %s\n", (int)at, ammpl_status_name(status)) != 0);
        *(status < 0 ? &refused : &decoded) += 1;
        ammpl_image_destroy(picture);
    }
    printf("# %d damaged JPEGs refused, %d decoded\n", refused, decoded);
    if (refused == 0)
        exit(1);
}

int main(int argc, char **argv)
{
    ammpl_context *ctx;
    ammpl_model *clip;
    ammpl_config *config;
    ammpl_dataset *data;
    ammpl_prompt *prompt;
    ammpl_session *session;
    ammpl_image *picture;
    uint8_t rgb[SIDE * SIDE * 3];
    float logits[CLASSES];
    double loss = 0;
    int64_t side;
    if (argc != 3)
        return 2;
    ok(ammpl_context_create(NULL, &ctx));
    damage(ctx, argv[2]);
    ok(ammpl_model_load_file(ctx, NULL, argv[1], NULL, &clip));
    ok(ammpl_config_create(ctx, &config));
    ok(ammpl_config_set_int(config, AMMPL_OPT_EPOCHS, 2));
    ok(ammpl_config_set_int(config, AMMPL_OPT_BATCH, 4));
    ok(ammpl_config_set_text(config, "augment", "none"));
    ok(ammpl_dataset_create(ctx, names, CLASSES, &data));
    for (int k = 0; k < PICTURES; k++) {
        draw(rgb, k);
        ok(ammpl_image_from_pixels(ctx, rgb, SIDE, SIDE, 0, &picture));
        ok(ammpl_dataset_add_image(data, picture, k % CLASSES));
        ammpl_image_destroy(picture);
    }
    ok(ammpl_prompt_create(clip, AMMPL_METHOD_AMMPL, names, CLASSES, config, &prompt));
    ok(ammpl_session_create(clip, NULL, &session));
    ok(ammpl_train(session, prompt, data, config, note, &loss));
    printf("loss %.9g\n", loss);

    ok(ammpl_model_get_int(clip, AMMPL_QUERY_IMAGE_SIZE, &side));
    size_t count = (size_t)(3 * side * side);
    float *pixels = malloc(count * sizeof *pixels);
    ok(ammpl_dataset_load_image(data, 4, &picture));
    ok(ammpl_model_preprocess(clip, picture, pixels, count));
    ok(ammpl_session_predict(session, prompt, pixels, 1, logits, CLASSES));
    for (int i = 0; i < CLASSES; i++)
        printf("%s %.9g\n", ammpl_prompt_class_name(prompt, (size_t)i), (double)logits[i]);
    free(pixels);
    ammpl_image_destroy(picture);
    ammpl_session_destroy(session);
    ammpl_prompt_destroy(prompt);
    ammpl_dataset_destroy(data);
    ammpl_config_destroy(config);
    ammpl_model_destroy(clip);
    ammpl_context_destroy(ctx);
    return 0;
}
