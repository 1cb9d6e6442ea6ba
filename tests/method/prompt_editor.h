/* prompt_editor.h - a prompt file's bytes, so that tests can make it say something else. */
#ifndef AMMPL_TESTS_PROMPT_EDITOR_H
#define AMMPL_TESTS_PROMPT_EDITOR_H

#include <jansson.h>

#include "train/nano.h"

typedef struct file {
    char *bytes; /* malloc */
    size_t size;
} file;

file file_of(const ammpl_prompt *p);
uint64_t file_header_length(const char *bytes);
json_t *file_header(const file *f); /* the caller releases it */
/* New files: metadata `key` set to value, or removed where it is NULL; a tensor's shape, by text ("[2,3]"); a tensor's name. */
file file_with_meta(const file *f, const char *key, const char *value);
file file_with_shape(const file *f, const char *tensor, const char *shape);
file file_renamed(const file *f, const char *tensor, const char *name);
/* Fails the test unless the file is refused so, or read; both take its bytes over. */
void file_refused(const nano *n, file f, ammpl_status status, const char *word);
ammpl_prompt *file_accepted(const nano *n, file f);
/* Reads bytes that may be anything: a prompt (true), or a status with a sentence. */
bool file_survives(const nano *n, const char *bytes, size_t size);

#endif
