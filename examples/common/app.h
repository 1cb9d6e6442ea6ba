/* app.h - what every program does first: flags, a context with a log, a device, the model and a session on it.
 *
 * Functions that return bool have said on standard error what went wrong, and set the exit status, when they return false.
 * A program fails with one line: notes of the library wait until app_ready, and are dropped when nothing was achieved.
 */
#ifndef AMMPL_EXAMPLES_APP_H
#define AMMPL_EXAMPLES_APP_H

#include <stdbool.h>
#include <stdio.h>

#include <ammpl/ammpl.h>

#include "args.h"
#include "list.h"

struct app {
    const struct program *program;
    int status; /* of main: 0, 1 = failure, 2 = wrong usage */
    int quiet, threads;
    const char *model_path, *backend, *backend_dir;
    ammpl_context *context;
    ammpl_config *config; /* the options given on the command line */
    ammpl_model *model;
    ammpl_session *session;
    FILE *notes;      /* where the log goes until app_ready */
    char *notes_text; /* what it holds */
    size_t notes_size;
    FILE *report; /* where it goes afterwards: standard error, or standard output where that is a report anyway */
};

/* False: the program is done (--help, --version) or was used wrongly; app->status says which. */
bool app_open(struct app *app, const struct program *program, int argc, char **argv, struct list *operands);
/* The device of --backend, or NULL after a line on standard error.  The CPU is always there, others are looked for. */
const ammpl_device *app_device(struct app *app);
/* Loads --model on --backend and makes a session on it. */
bool app_load_model(struct app *app);
/* What could go wrong at the start has not: the notes so far are shown, later ones at once. */
void app_ready(struct app *app);
/* The exit status, after everything is released. */
int app_close(struct app *app);

/* One line on standard error, exit status 1 / 2.  Always false. */
bool app_fail(struct app *app, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool app_usage(struct app *app, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* True unless the status is an error; then the library's sentence is the line. */
bool app_check(struct app *app, ammpl_status status);
/* Before any work: the path (NULL: nothing to write) is no device or folder, is new or may be overwritten, its folder is
 * writable.  False after one line on standard error. */
bool app_may_write(struct app *app, const char *flag, const char *path, bool overwrite);
/* Makes the folder where it is not there (its parent must be). */
bool app_make_folder(struct app *app, const char *flag, const char *folder);
/* Two names of one file; NULL is no file. */
bool same_file(const char *a, const char *b);
/* A line of the report, unless --quiet. */
void app_say(struct app *app, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A number or a fact about the loaded model. */
int64_t app_model_int(const struct app *app, ammpl_query query);

#endif
