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

/* A tensor full of small numbers, in place of one of that name. */
static void fill(edit_model *e, const char *name, int rank, const int64_t *shape)
{
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= shape[i];
    for (size_t i = 0; i < e->n; i++)
        if (strcmp(e->tensor[i].name, name) == 0)
            edit_remove(e, name);
    edit_tensor *t = edit_add(e, name, "F32", rank, shape, (size_t)count * sizeof(float));
    for (int64_t i = 0; i < count; i++)
        ((float *)(void *)t->data)[i] = 0.05f * (float)(i * 7 % 13 - 6);
}

/* Loads and frees what was put together, with nano's vocabulary. */
static ammpl_model *load(ammpl_context *ctx, const ammpl_device *device, edit_model *e)
{
    size_t size, merges_size, n;
    unsigned char *bytes = edit_bytes(e, &size), *merges = edit_read(test_golden("nano/merges.txt"), &merges_size);
    unsigned char *vocab = edit_read(test_golden("nano/vocab.json"), &n);
    ammpl_model *m;
    ck_ok(ammpli_model_load_memory(ctx, device, bytes, size, merges, merges_size, (char *)vocab, NULL, NULL, &m));
    edit_free(e);
    free(e);
    free(bytes);
    free(merges);
    free(vocab);
    return m;
}

ammpl_model *derived_model(ammpl_context *ctx, int text_layers, int image_layers, int64_t patch, int64_t grid)
{
    edit_model *e = malloc(sizeof *e);
    edit_open(e, test_golden("nano/model.safetensors"));
    deepen(e, "transformer.resblocks", text_layers);
    deepen(e, "visual.transformer.resblocks", image_layers);
    fill(e, "positional_embedding", 2, (int64_t[]){77, edit_find(e, "positional_embedding")->shape[1]});
    if (patch) {
        int64_t W = edit_find(e, "visual.class_embedding")->shape[0];
        fill(e, "visual.conv1.weight", 4, (int64_t[]){W, 3, patch, patch});
        fill(e, "visual.positional_embedding", 2, (int64_t[]){grid * grid + 1, W});
    }
    ammpl_model *m = load(ctx, NULL, e);
    ck_assert_int_eq(m->text.layers, text_layers);
    ck_assert_int_eq(m->image.layers, image_layers);
    return m;
}

static void fill_blocks(edit_model *e, const char *prefix, int64_t layers, int64_t D)
{
    const struct {
        const char *name;
        int rank;
        int64_t shape[2];
    } tensors[] = {{"ln_1.weight", 1, {D}}, {"ln_1.bias", 1, {D}}, {"ln_2.weight", 1, {D}}, {"ln_2.bias", 1, {D}},
                   {"attn.in_proj_weight", 2, {3 * D, D}}, {"attn.in_proj_bias", 1, {3 * D}}, {"attn.out_proj.weight", 2, {D, D}},
                   {"attn.out_proj.bias", 1, {D}}, {"mlp.c_fc.weight", 2, {4 * D, D}}, {"mlp.c_fc.bias", 1, {4 * D}},
                   {"mlp.c_proj.weight", 2, {D, 4 * D}}, {"mlp.c_proj.bias", 1, {D}}};
    for (int64_t i = 0; i < layers; i++)
        for (size_t t = 0; t < sizeof tensors / sizeof tensors[0]; t++) {
            char name[128];
            snprintf(name, sizeof name, "%stransformer.resblocks.%d.%s", prefix, (int)i, tensors[t].name);
            fill(e, name, tensors[t].rank, tensors[t].shape);
        }
}

ammpl_model *sized_model(ammpl_context *ctx, const model_sizes *z)
{
    enum { NANO_VOCABULARY = 540 };
    const struct {
        const char *name;
        int rank;
        int64_t shape[4];
    } tensors[] = {{"token_embedding.weight", 2, {NANO_VOCABULARY, z->text_width}},
                   {"positional_embedding", 2, {z->length, z->text_width}},
                   {"ln_final.weight", 1, {z->text_width}},
                   {"ln_final.bias", 1, {z->text_width}},
                   {"text_projection", 2, {z->text_width, z->joint}},
                   {"visual.class_embedding", 1, {z->image_width}},
                   {"visual.positional_embedding", 2, {z->grid * z->grid + 1, z->image_width}},
                   {"visual.conv1.weight", 4, {z->image_width, 3, z->patch, z->patch}},
                   {"visual.ln_pre.weight", 1, {z->image_width}},
                   {"visual.ln_pre.bias", 1, {z->image_width}},
                   {"visual.ln_post.weight", 1, {z->image_width}},
                   {"visual.ln_post.bias", 1, {z->image_width}},
                   {"visual.proj", 2, {z->image_width, z->joint}},
                   {"logit_scale", 0, {0}}};
    edit_model *e = calloc(1, sizeof *e);
    for (size_t t = 0; t < sizeof tensors / sizeof tensors[0]; t++)
        fill(e, tensors[t].name, tensors[t].rank, tensors[t].shape);
    fill_blocks(e, "", z->text_layers, z->text_width);
    fill_blocks(e, "visual.", z->image_layers, z->image_width);
    return load(ctx, z->device, e);
}
