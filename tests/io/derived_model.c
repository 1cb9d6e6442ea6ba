/* derived_model.c - see derived_model.h. */
#include "io/derived_model.h"

#include "io/model_editor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More blocks: copies of the first. */
static void deepen(edit_model *e, const char *prefix, int layers)
{
    size_t tensors = e->n;
    char first[64], name[128], layer[64];
    snprintf(first, sizeof first, "%s.0.", prefix);
    for (int i = 1; i < layers; i++) {
        snprintf(layer, sizeof layer, "%s.%d.", prefix, i);
        for (size_t t = 0; t < tensors; t++) {
            const edit_tensor *from = &e->tensor[t];
            bool there = false;
            if (strncmp(from->name, first, strlen(first)) != 0)
                continue;
            snprintf(name, sizeof name, "%s%s", layer, from->name + strlen(first));
            for (size_t k = 0; k < e->n; k++)
                there = there || strcmp(e->tensor[k].name, name) == 0;
            if (!there)
                memcpy(edit_add(e, name, from->dtype, from->rank, from->shape, from->bytes)->data, from->data, from->bytes);
        }
    }
}

/* A tensor with other dimensions, full of small numbers. */
static void refill(edit_model *e, const char *name, int rank, const int64_t *shape)
{
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= shape[i];
    edit_remove(e, name);
    edit_tensor *t = edit_add(e, name, "F32", rank, shape, (size_t)count * sizeof(float));
    for (int64_t i = 0; i < count; i++)
        ((float *)(void *)t->data)[i] = 0.01f * (float)(i % 7 - 3);
}

ammpl_model *derived_model(ammpl_context *ctx, int text_layers, int image_layers, int64_t patch, int64_t grid)
{
    edit_model *e = malloc(sizeof *e);
    size_t size, merges_size, n;
    edit_open(e, test_golden("nano/model.safetensors"));
    deepen(e, "transformer.resblocks", text_layers);
    deepen(e, "visual.transformer.resblocks", image_layers);
    refill(e, "positional_embedding", 2, (int64_t[]){77, edit_find(e, "positional_embedding")->shape[1]});
    if (patch) {
        int64_t W = edit_find(e, "visual.class_embedding")->shape[0];
        refill(e, "visual.conv1.weight", 4, (int64_t[]){W, 3, patch, patch});
        refill(e, "visual.positional_embedding", 2, (int64_t[]){grid * grid + 1, W});
    }
    unsigned char *bytes = edit_bytes(e, &size), *merges = edit_read(test_golden("nano/merges.txt"), &merges_size);
    unsigned char *vocab = edit_read(test_golden("nano/vocab.json"), &n);
    ammpl_model *m;
    ck_ok(ammpli_model_load_memory(ctx, NULL, bytes, size, merges, merges_size, (char *)vocab, NULL, NULL, &m));
    ck_assert_int_eq(m->text.layers, text_layers);
    ck_assert_int_eq(m->image.layers, image_layers);
    edit_free(e);
    free(e);
    free(bytes);
    free(merges);
    free(vocab);
    return m;
}
