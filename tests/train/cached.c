/* cached.c - see cached.h. */
#include "cached.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what is logged ---- */

int cached_warnings;
char cached_logged[2048];

static void note(void *user, ammpl_level level, const char *message)
{
    (void)user;
    cached_warnings += level >= AMMPL_LEVEL_WARN;
    if (level >= AMMPL_LEVEL_INFO)
        snprintf(cached_logged, sizeof cached_logged, "%s", message);
}

void cached_listen(nano *n)
{
    n->ctx->log_min = AMMPL_LEVEL_INFO;
    n->ctx->log_fn = note;
    cached_warnings = 0;
    cached_logged[0] = '\0';
}

/* ---- runs ---- */

const char *const cached_options[] = {"mask", "off", "augment", "none", NULL};

/* The pictures as files in a folder, in place of the pixels. */
void cached_use_files(nano *n, const char *folder, int count)
{
    ammpli_dataset_release(n->data);
    ck_ok(ammpli_dataset_create(n->ctx, nano_names, NANO_CLASSES, &n->data));
    mkdir(folder, 0700);
    for (int i = 0; i < count; i++) {
        char path[1200];
        snprintf(path, sizeof path, "%s/%d.png", folder, i);
        if (access(path, F_OK) != 0) {
            ammpl_image *img = nano_picture(n->ctx, (uint32_t)i);
            ck_ok(ammpli_image_save_png(img, path));
            ammpli_image_destroy(img);
        }
        ck_ok(ammpli_dataset_add(n->data, NULL, path, i % NANO_CLASSES, (uint32_t)i));
    }
}

void cached_without(nano *n)
{
    ammpli_feature_cache_destroy(n->trainer->cache);
    n->trainer->cache = NULL;
    ck_ok(ammpli_trainer_open_input(n->trainer));
}

/* From now on every picture that is encoded has NaN in it, and the step that needs it fails. */
void cached_break_pictures(nano *n)
{
    n->model->preprocess.std[1] = 0;
}

/* The prompt that a run of these options and pictures ends with, without a cache (malloc). */
char *cached_expected(const char *const *options, const char *files, size_t *size)
{
    nano n;
    nano_open(&n, options);
    if (files)
        cached_use_files(&n, files, NANO_IMAGES);
    nano_trainer(&n);
    cached_without(&n);
    nano_steps(&n, CACHED_STEPS);
    char *bytes = nano_bytes(n.prompt, size);
    nano_close(&n);
    return bytes;
}

void cached_check(const nano *n, const char *want, size_t want_size, const char *what)
{
    size_t size;
    char *got = nano_bytes(n->prompt, &size);
    ck_assert_msg(size == want_size && memcmp(got, want, size) == 0, "%s: the prompt has other bits than without a cache", what);
    free(got);
}

void cached_open(nano *n, const char *folder)
{
    nano_open(n, cached_options);
    nano_set(n, "cache", folder);
    cached_listen(n);
}

/* A whole run with a cache in that folder: how many warnings. */
int cached_run(const char *folder, const char *want, size_t size, const char *what)
{
    nano n;
    cached_open(&n, folder);
    nano_trainer(&n);
    nano_steps(&n, CACHED_STEPS);
    cached_check(&n, want, size, what);
    nano_close(&n);
    return cached_warnings;
}

/* The one file of a folder. */
const char *cached_file(const char *folder)
{
    static char path[1200];
    char pattern[1200];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/*", folder);
    ck_assert_int_eq(glob(pattern, 0, NULL, &found), 0);
    ck_assert_msg(found.gl_pathc == 1, "%zu files in %s", found.gl_pathc, folder);
    ck_assert_ptr_nonnull(strstr(found.gl_pathv[0], "/features-"));
    snprintf(path, sizeof path, "%s", found.gl_pathv[0]);
    globfree(&found);
    return path;
}

size_t cached_entries(ammpl_context *ctx, const char *path)
{
    ammpli_st *st;
    ck_ok(ammpli_st_open(ctx, path, &st));
    size_t n = ammpli_st_count(st);
    ammpli_st_close(st);
    return n;
}

/* A fresh name for a folder, which is not made. */
const char *cached_folder(char out[1024], const char *name)
{
    snprintf(out, 1024, "%s", test_temp(name));
    return out;
}
