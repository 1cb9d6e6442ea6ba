/* app.c - what every program does first. */
#include "app.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "list.h"
#include "progress.h"

static void log_line(void *user, ammpl_level level, const char *message)
{
    struct app *app = user;
    if (level >= AMMPL_LEVEL_ERROR)
        return; /* the call that fails reports it */
    progress_clear();
    fprintf(app->notes, "%s: %s%s\n", app->program->name, level >= AMMPL_LEVEL_WARN ? "warning: " : "", message);
}

bool app_open(struct app *app, const struct program *program, int argc, char **argv, struct list *operands)
{
    signal(SIGXFSZ, SIG_IGN); /* a file that may grow no further is then an error with a sentence */
    *app = (struct app){.program = program, .backend = "cpu", .report = stderr};
    const struct flag common[] = {
        {"model", FLAG_TEXT, &app->model_path, "PATH", "the CLIP: a .safetensors file, or a folder that holds one"},
        {"backend", FLAG_TEXT, &app->backend, "cpu|cuda", "what computes (cpu)"},
        {"backend-dir", FLAG_TEXT, &app->backend_dir, "DIR", "look for backends here before where they are installed"},
        {"threads", FLAG_COUNT, &app->threads, "N", "worker threads; 0 = as many as processors (0)"},
        {"quiet", FLAG_SWITCH, &app->quiet, NULL, "results, warnings and failures only"},
    };
    app->notes = open_memstream(&app->notes_text, &app->notes_size);
    if (app->notes == NULL)
        return app_fail(app, "out of memory");
    if (!app_check(app, ammpl_context_create(NULL, &app->context)) ||
        !app_check(app, ammpl_config_create(app->context, &app->config)))
        return false;
    enum args_result parsed =
        args_parse(program, common, sizeof common / sizeof common[0], argc, argv, app->config, operands);
    if (parsed != ARGS_GO) {
        app->status = parsed == ARGS_WRONG ? 2 : 0;
        return false;
    }
    if (app->threads > 256)
        return app_usage(app, "--threads %d: at most 256", app->threads);
    return app_check(app, ammpl_context_set_log(app->context, app->quiet ? AMMPL_LEVEL_WARN : AMMPL_LEVEL_INFO,
                                                log_line, app)) &&
           app_check(app, ammpl_context_set_threads(app->context, app->threads));
}

const ammpl_device *app_device(struct app *app)
{
    const char *const folders[] = {app->backend_dir, NULL}; /* NULL: where they are installed */
    const ammpl_device *device = ammpl_device_find(app->context, app->backend);
    for (size_t i = app->backend_dir == NULL ? 1 : 0; i < 2 && device == NULL; i++) {
        if (!app_check(app, ammpl_context_scan_backends(app->context, folders[i])))
            return NULL;
        device = ammpl_device_find(app->context, app->backend);
    }
    if (device == NULL)
        app_fail(app, "--backend %s: %s", app->backend, ammpl_last_error());
    return device;
}

bool app_load_model(struct app *app)
{
    if (app->model_path == NULL)
        return app_usage(app, "--model is missing");
    const ammpl_device *device = app_device(app);
    return device != NULL && app_check(app, ammpl_model_load_file(app->context, device, app->model_path, app->config, &app->model)) &&
           app_check(app, ammpl_session_create(app->model, app->config, &app->session));
}

void app_ready(struct app *app)
{
    if (app->notes == app->report)
        return;
    fclose(app->notes);
    fputs(app->notes_text, app->report);
    fflush(app->report);
    free(app->notes_text);
    app->notes_text = NULL;
    app->notes = app->report;
}

int app_close(struct app *app)
{
    ammpl_session_destroy(app->session);
    ammpl_model_destroy(app->model);
    ammpl_config_destroy(app->config);
    ammpl_context_destroy(app->context);
    if (app->notes != NULL && app->notes != app->report) {
        fclose(app->notes);
        if (app->status == 0)
            fputs(app->notes_text, app->report);
        free(app->notes_text);
    }
    if ((fflush(stdout) != 0 || ferror(stdout)) && app->status == 0)
        app_fail(app, "standard output cannot be written");
    return app->status;
}

static bool complain(struct app *app, int status, const char *format, va_list args, const char *hint)
{
    progress_clear();
    fflush(stdout);
    fprintf(stderr, "%s: ", app->program->name);
    vfprintf(stderr, format, args);
    fprintf(stderr, hint, app->program->name);
    app->status = status;
    return false;
}

bool app_fail(struct app *app, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(app, 1, format, args, "\n");
    va_end(args);
    return false;
}

bool app_usage(struct app *app, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(app, 2, format, args, " (%s --help lists the flags)\n");
    va_end(args);
    return false;
}

bool app_check(struct app *app, ammpl_status status)
{
    if (status >= 0)
        return true;
    const char *sentence = ammpl_last_error();
    return app_fail(app, "%s", sentence[0] != '\0' ? sentence : ammpl_status_string(status));
}

void app_say(struct app *app, const char *format, ...)
{
    if (app->quiet)
        return;
    progress_clear();
    va_list args;
    va_start(args, format);
    vfprintf(app->report, format, args);
    va_end(args);
    fflush(app->report);
}

int64_t app_model_int(const struct app *app, ammpl_query query)
{
    int64_t value = 0;
    return ammpl_model_get_int(app->model, query, &value) == AMMPL_OK ? value : 0;
}

bool app_may_write(struct app *app, const char *flag, const char *path, bool overwrite)
{
    struct stat info;
    if (path == NULL)
        return true;
    if (path[0] == '\0')
        return app_usage(app, "--%s is empty", flag);
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return app_fail(app, "--%s %s: is not a regular file", flag, path);
    if (access(path, F_OK) == 0 && !overwrite)
        return app_fail(app, "--%s %s exists; --force overwrites it", flag, path);
    char *folder = allocate(strlen(path) + 2);
    size_t n = (size_t)(base_name(path) - path);
    memcpy(folder, n == 0 ? "." : path, n == 0 ? 1 : n);
    bool ok =
        access(folder, W_OK) == 0 || app_fail(app, "--%s %s: the folder %s cannot be written to", flag, path, folder);
    free(folder);
    return ok;
}

bool app_make_folder(struct app *app, const char *flag, const char *folder)
{
    struct stat info;
    if (mkdir(folder, 0777) == 0 || (errno == EEXIST && stat(folder, &info) == 0 && S_ISDIR(info.st_mode)))
        return true;
    return app_fail(app, "--%s %s: cannot be made a folder: %s", flag, folder, strerror(errno == EEXIST ? ENOTDIR : errno));
}

bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    if (a == NULL || b == NULL)
        return false;
    return strcmp(a, b) == 0 ||
           (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}
