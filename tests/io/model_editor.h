/* model_editor.h - a model file taken apart, so that tests can make it contradict itself. */
#ifndef AMMPL_TESTS_MODEL_EDITOR_H
#define AMMPL_TESTS_MODEL_EDITOR_H

#include <jansson.h>

#include "support.h"

typedef struct edit_tensor {
    char name[128], dtype[8];
    int rank;
    int64_t shape[8];
    unsigned char *data; /* malloc */
    size_t bytes;
} edit_tensor;

typedef struct edit_model {
    size_t n;
    edit_tensor tensor[512];
} edit_model;

/* A whole file in memory (malloc), NUL added. */
unsigned char *edit_read(const char *path, size_t *size);
void edit_write(const char *path, const void *data, size_t size);

void edit_open(edit_model *e, const char *path);
void edit_free(edit_model *e);
edit_tensor *edit_find(edit_model *e, const char *name); /* fails the test when absent */
edit_tensor *edit_add(edit_model *e, const char *name, const char *dtype, int rank, const int64_t *shape, size_t bytes);
void edit_remove(edit_model *e, const char *name);
/* One more entry along a dimension, zeros. */
void edit_widen(edit_tensor *t, int dimension);
/* The file's bytes (malloc) of tensors first..last-1. */
unsigned char *edit_bytes_of(const edit_model *e, size_t first, size_t last, size_t *size);
unsigned char *edit_bytes(const edit_model *e, size_t *size);

#endif
