/* cached.h - runs on the nano model whose image features are kept in a folder, against runs without a cache. */
#ifndef AMMPL_TESTS_CACHED_H
#define AMMPL_TESTS_CACHED_H

#include "nano.h"

enum { CACHED_STEPS = 12 };

/* Since cached_listen: warnings and errors, and the last line from information upwards. */
extern int cached_warnings;
extern char cached_logged[2048];
void cached_listen(nano *n);

extern const char *const cached_options[]; /* no masks, no augmentation */
/* A run with a cache in that folder, listened to. */
void cached_open(nano *n, const char *folder);
/* The pictures as files in a folder (made where they are not there), in place of the pixels. */
void cached_use_files(nano *n, const char *folder, int count);
void cached_without(nano *n); /* the trainer goes on without its cache */
/* From now on every picture that is encoded has NaN in it, and the step that needs it fails. */
void cached_break_pictures(nano *n);
/* The prompt that a run of these options and pictures ends with, without a cache (malloc). */
char *cached_expected(const char *const *options, const char *files, size_t *size);
void cached_check(const nano *n, const char *want, size_t size, const char *what);
/* A whole run with a cache in that folder: how many warnings. */
int cached_run(const char *folder, const char *want, size_t size, const char *what);
/* The one file of a folder; static buffer. */
const char *cached_file(const char *folder);
size_t cached_entries(ammpl_context *ctx, const char *path);
/* A fresh name for a folder, which is not made. */
const char *cached_folder(char out[1024], const char *name);

#endif
