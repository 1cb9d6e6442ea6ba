/* test_prompt_file.c - prompt files: what is in them, ways there and back, and everything that is refused. */
#include "prompt_editor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- there and back ---- */

static const char *const variants[][5] = {{NULL}, {"scope", "class", NULL}, {"mask", "off", NULL}, {"interaction", "off", NULL},
                                          {"padding", "off", "scope", "class", NULL}, {"shift", "scalar", NULL},
                                          {"evaluation", "mean:7", "order", "simultaneous", NULL}, {"n_ctx", "2", "ctx_init", "", NULL},
                                          {"candidates", "2", "draws", "image", NULL}, {"mask_gradient", "blend", "lr_mask", "0.1", NULL}};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

START_TEST(round_trip)
{
    nano n;
    char path[1024];
    strcpy(path, test_temp("prompt"));
    nano_open(&n, variants[_i]);
    nano_trainer(&n);
    nano_steps(&n, 3);
    file f = file_of(n.prompt);
    ck_ok(ammpli_prompt_save_file(n.prompt, path, false));
    void *data;
    size_t size;
    ck_ok(ammpli_file_read(n.ctx, path, 1 << 24, &data, &size));
    ck_assert(size == f.size && memcmp(data, f.bytes, size) == 0);
    ammpli_free(n.ctx, data);
    ammpl_prompt *a, *b;
    ck_ok(ammpli_prompt_load_file(n.model, path, NULL, &a));
    ck_ok(ammpli_prompt_load_memory(n.model, f.bytes, f.size, NULL, &b));
    free(f.bytes);
    ck_assert(nano_same(n.prompt, a));
    ck_assert(nano_same(n.prompt, b));
    ck_assert_uint_eq(a->tensors, n.prompt->tensors);
    for (size_t i = 0; i < a->tensors; i++) {
        const ammpli_tensor *x = &n.prompt->tensor[i], *y = &a->tensor[i];
        ck_assert_str_eq(x->name, y->name);
        ck_assert_int_eq(x->trainable, y->trainable);
        ck_assert_int_eq(x->group, y->group);
        ck_assert(memcmp(x->value, y->value, (size_t)x->count * sizeof *x->value) == 0);
    }
    for (const char *const *o = n.prompt->method->options; *o; o++)
        ck_assert_str_eq(ammpli_config_text(n.prompt->config, *o), ammpli_config_text(a->config, *o));
    float *x = nano_logits(&n, n.prompt), *y = nano_logits(&n, b);
    ck_assert(memcmp(x, y, NANO_IMAGES * NANO_CLASSES * sizeof *x) == 0);
    free(x);
    free(y);
    ammpli_prompt_release(a);
    ammpli_prompt_release(b);
    nano_close(&n);
}
END_TEST

START_TEST(zero_shot_round_trip)
{
    nano n;
    nano_open(&n, NULL);
    ammpl_config *cfg;
    ammpl_prompt *p;
    ck_ok(ammpli_config_create(n.ctx, &cfg));
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_TEMPLATE, "the {} photo"));
    ck_ok(ammpli_prompt_create(n.model, AMMPL_METHOD_ZEROSHOT, nano_names, NANO_CLASSES, cfg, &p));
    ammpl_prompt *q = file_accepted(&n, file_of(p));
    ck_assert(nano_same(p, q));
    float *x = nano_logits(&n, p), *y = nano_logits(&n, q);
    ck_assert(memcmp(x, y, NANO_IMAGES * NANO_CLASSES * sizeof *x) == 0);
    free(x);
    free(y);
    ammpli_prompt_release(p);
    ammpli_prompt_release(q);
    ammpli_config_destroy(cfg);
    nano_close(&n);
}
END_TEST

/* All keys of contract.md, with the values in force; all tensors F32, under the contract's names and shapes. */
START_TEST(metadata)
{
    static const char *const expected[][2] = {
        {"format", "ammpl-prompt"}, {"version", "1"}, {"method", "ammpl"}, {"classes", "[\"cat\",\"red_dog\",\"bird\"]"},
        {"n_ctx", "4"}, {"ctx_init", "a photo of a"}, {"scope", "class"}, {"order", "text_first"}, {"shift", "vector"},
        {"mask_gradient", "hadamard"}, {"mask", "true"}, {"padding", "true"}, {"interaction", "true"}, {"draws", "class"},
        {"evaluation", "sample"}, {"eval_seed", "9"}, {"mask_mean", "0.9"}, {"lr_mask", "1"}, {"lr_padding", "1"}, {"candidates", "0"}};
    static const struct {
        const char *name, *shape;
    } tensors[] = {{"ctx", "[3,4,18]"}, {"mask_prob", "[3,3,3]"}, {"padding", "[3,3,5,5]"},
                   {"text_to_image.linear1.weight", "[3,1,22]"}, {"text_to_image.linear1.bias", "[3,1]"},
                   {"text_to_image.linear2.weight", "[3,75,1]"}, {"text_to_image.linear2.bias", "[3,75]"},
                   {"image_to_text.linear1.weight", "[3,1,22]"}, {"image_to_text.linear1.bias", "[3,1]"},
                   {"image_to_text.linear2.weight", "[3,18,1]"}, {"image_to_text.linear2.bias", "[3,18]"}};
    static const char *const options[] = {"scope", "class", "evaluation", "sample", "eval_seed", "9", "mask_mean", "0.9", NULL};
    enum { KEYS = sizeof expected / sizeof expected[0], TENSORS = sizeof tensors / sizeof tensors[0] };
    nano n;
    nano_open(&n, options);
    file f = file_of(n.prompt);
    json_t *header = file_header(&f), *meta = json_object_get(header, "__metadata__");
    for (size_t i = 0; i < KEYS; i++) {
        const char *value = json_string_value(json_object_get(meta, expected[i][0]));
        ck_assert_msg(value && strcmp(value, expected[i][1]) == 0, "%s = %s, expected %s", expected[i][0], value, expected[i][1]);
    }
    json_t *probe = json_loads(json_string_value(json_object_get(meta, "probe")), 0, NULL);
    ck_assert_uint_eq(json_array_size(probe), 16);
    for (size_t i = 0; i < 16; i++)
        ck_assert_double_eq_tol(json_number_value(json_array_get(probe, i)), (double)n.model->probe[i], 1e-9);
    json_decref(probe);
    ck_assert_uint_eq(json_object_size(meta), KEYS + 1);
    for (size_t i = 0; i < TENSORS; i++) {
        json_t *t = json_object_get(header, tensors[i].name), *shape = json_loads(tensors[i].shape, 0, NULL);
        ck_assert_msg(t != NULL, "%s", tensors[i].name);
        ck_assert_str_eq(json_string_value(json_object_get(t, "dtype")), "F32");
        ck_assert_msg(json_equal(json_object_get(t, "shape"), shape), "%s", tensors[i].name);
        json_decref(shape);
    }
    ck_assert_uint_eq(json_object_size(header), TENSORS + 1);
    json_decref(header);
    free(f.bytes);
    nano_close(&n);
}
END_TEST

START_TEST(existing_files)
{
    nano n;
    char path[1024];
    strcpy(path, test_temp("prompt"));
    nano_open(&n, NULL);
    ck_ok(ammpli_prompt_save_file(n.prompt, path, false));
    file before = file_of(n.prompt);
    nano_trainer(&n);
    nano_steps(&n, 1);
    ck_status(ammpli_prompt_save_file(n.prompt, path, false), AMMPL_E_EXISTS, path);
    ammpl_prompt *p;
    ck_ok(ammpli_prompt_load_file(n.model, path, NULL, &p));
    size_t size;
    char *there = nano_bytes(p, &size);
    ck_assert(size == before.size && memcmp(there, before.bytes, size) == 0);
    free(there);
    free(before.bytes);
    ammpli_prompt_release(p);
    ck_ok(ammpli_prompt_save_file(n.prompt, path, true));
    ck_ok(ammpli_prompt_load_file(n.model, path, NULL, &p));
    ck_assert(nano_same(p, n.prompt));
    ammpli_prompt_release(p);
    /* NaN is not saved, and what is there stays. */
    n.prompt->tensor[1].value[2] = NAN;
    ck_status(ammpli_prompt_save_file(n.prompt, path, true), AMMPL_E_NUMERIC, n.prompt->tensor[1].name);
    void *data;
    ck_status(ammpli_prompt_bytes(n.prompt, &data, &size), AMMPL_E_NUMERIC, "NaN");
    ck_ok(ammpli_prompt_load_file(n.model, path, NULL, &p));
    ammpli_prompt_release(p);
    ck_status(ammpli_prompt_load_file(n.model, test_temp("nowhere"), NULL, &p), AMMPL_E_IO, "nowhere");
    ck_status(ammpli_prompt_save_file(n.prompt, "/nowhere/at/all", false), AMMPL_E_NUMERIC, "NaN");
    n.prompt->tensor[1].value[2] = 1;
    ck_status(ammpli_prompt_save_file(n.prompt, "/nowhere/at/all", false), AMMPL_E_IO, "/nowhere/at/all");
    nano_close(&n);
}
END_TEST

/* ---- another CLIP ---- */

static ammpl_model *load_model(nano *n, const char *name)
{
    ammpl_config *cfg;
    ammpl_model *m;
    ck_ok(ammpli_config_create(n->ctx, &cfg));
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_VOCAB, test_golden(strcmp(name, "nano-wide") == 0 ? "nano-wide" : "nano")));
    ck_ok(ammpli_model_load_file(n->ctx, NULL, test_golden(name), cfg, &m));
    ammpli_config_destroy(cfg);
    return m;
}

/* The nano model with one tensor's numbers multiplied. */
static ammpl_model *perturbed_model(nano *n, const char *tensor, float factor)
{
    void *weights, *merges, *vocab, *config;
    size_t size, merges_size, rest;
    char path[1024];
    strcpy(path, test_golden("nano/model.safetensors"));
    ammpli_st *st;
    ck_ok(ammpli_st_open(n->ctx, path, &st));
    const ammpli_st_tensor *t = ammpli_st_find(st, tensor);
    ck_assert_msg(t && t->dtype == AMMPL_DTYPE_F32, "%s", tensor);
    ck_ok(ammpli_file_read(n->ctx, path, 1 << 24, &weights, &size));
    ck_ok(ammpli_file_read(n->ctx, test_golden("nano/merges.txt"), 1 << 24, &merges, &merges_size));
    ck_ok(ammpli_file_read(n->ctx, test_golden("nano/vocab.json"), 1 << 24, &vocab, &rest));
    ck_ok(ammpli_file_read(n->ctx, test_golden("nano/open_clip_config.json"), 1 << 24, &config, &rest));
    float *value = malloc(t->bytes);
    memcpy(value, (char *)weights + t->offset, t->bytes); /* offsets are the file's */
    float *check = test_tensor(st, tensor, NULL);
    ck_assert(memcmp(value, check, t->bytes) == 0);
    for (int64_t i = 0; i < t->count; i++)
        value[i] *= i % 2 ? factor : 1;
    memcpy((char *)weights + t->offset, value, t->bytes);
    ammpl_model *m;
    ck_ok(ammpli_model_load_memory(n->ctx, NULL, weights, size, merges, merges_size, vocab, config, NULL, &m));
    free(value);
    free(check);
    ammpli_st_close(st);
    ammpli_free(n->ctx, weights);
    ammpli_free(n->ctx, merges);
    ammpli_free(n->ctx, vocab);
    ammpli_free(n->ctx, config);
    return m;
}

START_TEST(other_clips)
{
    static const char *const same[] = {"nano-hf", "nano-f16", "nano-bf16"};
    nano n;
    nano_open(&n, NULL);
    file f = file_of(n.prompt), free_of = file_with_meta(&f, "probe", NULL);
    ammpl_prompt *p;
    for (size_t i = 0; i < 3; i++) { /* the same CLIP under other names and in other types */
        ammpl_model *m = load_model(&n, same[i]);
        ammpl_status status = ammpli_prompt_load_memory(m, f.bytes, f.size, NULL, &p);
        ck_assert_msg(status == AMMPL_OK, "%s: %s", same[i], ammpli_error_text());
        ammpli_prompt_release(p);
        ammpli_model_release(m);
    }
    static const char *const touched[] = {"text_projection", "visual.proj", "ln_final.weight", "visual.ln_post.weight",
                                          "transformer.resblocks.1.mlp.c_fc.weight"};
    for (size_t i = 0; i < 5; i++) {
        ammpl_model *m = perturbed_model(&n, touched[i], 1.5f);
        ck_status(ammpli_prompt_load_memory(m, f.bytes, f.size, NULL, &p), AMMPL_E_MODEL, "another CLIP");
        ck_assert_ptr_null(p);
        ck_ok(ammpli_prompt_load_memory(m, free_of.bytes, free_of.size, NULL, &p)); /* without a probe any that fits */
        ammpli_prompt_release(p);
        ammpli_model_release(m);
    }
    ammpl_model *wide = load_model(&n, "nano-wide");
    ck_status(ammpli_prompt_load_memory(wide, f.bytes, f.size, NULL, &p), AMMPL_E_MODEL, "another CLIP");
    ck_status(ammpli_prompt_load_memory(wide, free_of.bytes, free_of.size, NULL, &p), AMMPL_E_SHAPE, "tensor");
    ammpli_model_release(wide);
    free(f.bytes);
    free(free_of.bytes);
    nano_close(&n);
}
END_TEST

/* ---- metadata that is wrong ---- */

START_TEST(wrong_metadata)
{
    static const struct {
        const char *key, *value;
        ammpl_status status;
        const char *word;
    } cases[] = {
        {"format", NULL, AMMPL_E_FORMAT, "not a prompt file"}, {"format", "pt", AMMPL_E_FORMAT, "pt"},
        {"version", "2", AMMPL_E_VERSION, "version 2"}, {"version", "", AMMPL_E_VERSION, "version"},
        {"version", "1.5", AMMPL_E_VERSION, "1.5"}, {"method", NULL, AMMPL_E_FORMAT, "no method"},
        {"method", "amppl", AMMPL_E_OPTION, "ammpl"}, {"method", "", AMMPL_E_OPTION, "ammpl"},
        {"classes", NULL, AMMPL_E_FORMAT, "classes"}, {"classes", "cat", AMMPL_E_FORMAT, "classes"},
        {"classes", "[\"cat\"", AMMPL_E_FORMAT, "classes"}, {"classes", "{}", AMMPL_E_FORMAT, "classes"},
        {"classes", "[]", AMMPL_E_ARGUMENT, "at least one"}, {"classes", "[\"cat\",3]", AMMPL_E_FORMAT, "class 1"},
        {"classes", "[\"cat\",\"cat\"]", AMMPL_E_ARGUMENT, "twice"}, {"classes", "[\"cat\",\"\"]", AMMPL_E_ARGUMENT, "empty"},
        {"classes", "[\"the quick brown fox jumps over the lazy dog\"]", AMMPL_E_RANGE, "quick brown"},
        {"probe", "[1,2,3]", AMMPL_E_FORMAT, "16 numbers"}, {"probe", "7", AMMPL_E_FORMAT, "probe"},
        {"probe", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,\"x\"]", AMMPL_E_FORMAT, "16 numbers"},
        {"probe", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", AMMPL_E_MODEL, "another CLIP"},
        {"scope", "everyone", AMMPL_E_FORMAT, "scope"}, {"order", "image_first", AMMPL_E_FORMAT, "order"},
        {"shift", "matrix", AMMPL_E_FORMAT, "shift"}, {"mask_gradient", "1", AMMPL_E_FORMAT, "mask_gradient"},
        {"mask", "perhaps", AMMPL_E_FORMAT, "mask"}, {"padding", "", AMMPL_E_FORMAT, "padding"},
        {"interaction", "2", AMMPL_E_FORMAT, "interaction"}, {"draws", "batch", AMMPL_E_FORMAT, "draws"},
        {"evaluation", "guess", AMMPL_E_FORMAT, "evaluation"}, {"evaluation", "mean:0", AMMPL_E_FORMAT, "evaluation"},
        {"evaluation", "mean:x", AMMPL_E_FORMAT, "evaluation"}, {"mask_mean", "1.5", AMMPL_E_FORMAT, "mask_mean"},
        {"mask_mean", "nan", AMMPL_E_FORMAT, "mask_mean"}, {"n_ctx", "-1", AMMPL_E_FORMAT, "n_ctx"},
        {"n_ctx", "four", AMMPL_E_FORMAT, "n_ctx"}, {"candidates", "-2", AMMPL_E_FORMAT, "candidates"},
        {"eval_seed", "-1", AMMPL_E_FORMAT, "eval_seed"}, {"lr_mask", "fast", AMMPL_E_FORMAT, "lr_mask"},
        /* tensors say otherwise */
        {"scope", "class", AMMPL_E_SHAPE, "ctx"}, {"n_ctx", "5", AMMPL_E_SHAPE, "ctx"},
        {"shift", "scalar", AMMPL_E_SHAPE, "image_to_text.linear2"}};
    nano n;
    nano_open(&n, NULL);
    file f = file_of(n.prompt);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        file_refused(&n, file_with_meta(&f, cases[i].key, cases[i].value), cases[i].status, cases[i].word);
    ammpli_prompt_release(file_accepted(&n, file_with_meta(&f, "version", NULL)));
    ammpli_prompt_release(file_accepted(&n, file_with_meta(&f, "something_else", "1"))); /* notes of others are nobody's business */
    free(f.bytes);
    nano_close(&n);
}
END_TEST

START_TEST(wrong_tensors)
{
    static const char *const per_class[] = {"scope", "class", NULL};
    nano n;
    nano_open(&n, NULL);
    file f = file_of(n.prompt);
    file_refused(&n, file_with_shape(&f, "ctx", "[2,36]"), AMMPL_E_SHAPE, "ctx");
    file_refused(&n, file_with_shape(&f, "ctx", "[72]"), AMMPL_E_FORMAT, "ctx");
    file_refused(&n, file_with_shape(&f, "mask_prob", "[9]"), AMMPL_E_SHAPE, "mask_prob");
    file_refused(&n, file_with_shape(&f, "mask_prob", "[1,9]"), AMMPL_E_SHAPE, "mask_prob");
    file_refused(&n, file_with_shape(&f, "padding", "[5,5,3]"), AMMPL_E_SHAPE, "padding");
    file_refused(&n, file_with_shape(&f, "text_to_image.linear1.weight", "[2,11]"), AMMPL_E_SHAPE, "text_to_image.linear1.weight");
    file_refused(&n, file_with_shape(&f, "image_to_text.linear2.bias", "[18,1]"), AMMPL_E_SHAPE, "image_to_text.linear2.bias");
    file_refused(&n, file_with_shape(&f, "padding", "[3,5,6]"), AMMPL_E_FORMAT, "padding"); /* not its bytes */
    file_refused(&n, file_renamed(&f, "padding", "pudding"), AMMPL_E_FORMAT, "padding is missing");
    file_refused(&n, file_renamed(&f, "ctx", "context"), AMMPL_E_FORMAT, "ctx");
    /* NaN and infinity, in every tensor */
    size_t data = 8 + file_header_length(f.bytes);
    static const uint32_t bad[] = {0x7fc00000, 0x7f800000, 0xff800000};
    json_t *header = file_header(&f), *t;
    const char *name;
    json_object_foreach(header, name, t) {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        json_int_t begin, end;
        ck_assert_int_eq(json_unpack(t, "{s:[I,I]}", "data_offsets", &begin, &end), 0);
        for (int k = 0; k < 3; k++) {
            file g = {malloc(f.size), f.size};
            memcpy(g.bytes, f.bytes, f.size);
            memcpy(g.bytes + data + end - 4, &bad[k], 4);
            file_refused(&n, g, AMMPL_E_NUMERIC, name);
        }
    }
    json_decref(header);
    free(f.bytes);
    nano_close(&n);
    /* class scope: as many slices as classes */
    nano_open(&n, per_class);
    f = file_of(n.prompt);
    file_refused(&n, file_with_meta(&f, "classes", "[\"cat\",\"bird\"]"), AMMPL_E_SHAPE, "ctx");
    file_refused(&n, file_with_meta(&f, "classes", "[\"cat\",\"bird\",\"ox\",\"fox\"]"), AMMPL_E_SHAPE, "ctx");
    file_refused(&n, file_with_meta(&f, "scope", "shared"), AMMPL_E_SHAPE, "ctx");
    free(f.bytes);
    nano_close(&n);
}
END_TEST

/* ---- damage ---- */

START_TEST(truncated)
{
    nano n;
    nano_open(&n, variants[_i]);
    file f = file_of(n.prompt);
    size_t header = 8 + file_header_length(f.bytes);
    for (size_t size = 0; size < f.size; size += size < header + 64 || size + 64 > f.size ? 1 : 61)
        ck_assert_msg(!file_survives(&n, f.bytes, size), "cut to %zu of %zu bytes it still loads", size, f.size);
    ck_assert(file_survives(&n, f.bytes, f.size));
    free(f.bytes);
    nano_close(&n);
}
END_TEST

/* Every byte of the header, and some of the data, with one or all of its bits turned. */
START_TEST(flipped)
{
    static const unsigned char flips[] = {1, 2, 4, 8, 16, 32, 64, 128, 255};
    nano n;
    nano_open(&n, variants[_i]);
    file f = file_of(n.prompt);
    size_t header = 8 + file_header_length(f.bytes), refusals = 0;
    for (size_t at = 0; at < header; at++)
        for (size_t k = 0; k < sizeof flips; k++) {
            f.bytes[at] = (char)(f.bytes[at] ^ flips[k]);
            refusals += !file_survives(&n, f.bytes, f.size);
            f.bytes[at] = (char)(f.bytes[at] ^ flips[k]);
        }
    ck_assert_msg(refusals > 5 * header, "only %zu of %zu damaged headers were refused", refusals, 9 * header);
    for (size_t at = header; at < f.size; at += 37) {
        f.bytes[at] = (char)~f.bytes[at];
        file_survives(&n, f.bytes, f.size);
        f.bytes[at] = (char)~f.bytes[at];
    }
    ck_assert(file_survives(&n, f.bytes, f.size));
    free(f.bytes);
    nano_close(&n);
}
END_TEST

/* ---- what a file lacks, has besides, or is told otherwise ---- */

/* Options whose metadata are gone are read from shapes, else they are the defaults. */
START_TEST(inferred)
{
    static const char *const told_by_shapes[] = {"scope", "n_ctx", "shift", "mask", "padding", "interaction"};
    static const char *const made[][7] = {{NULL}, {"scope", "class", NULL}, {"shift", "scalar", NULL}, {"mask", "off", "padding", "off", NULL},
                                          {"padding", "off", NULL}, {"interaction", "off", NULL}, {"n_ctx", "3", "ctx_init", "", NULL},
                                          {"mask", "off", "padding", "off", "interaction", "off", NULL}};
    nano n;
    nano_open(&n, made[_i]);
    file f = file_of(n.prompt), g = f;
    for (size_t i = 0; i < 6; i++) {
        ammpl_prompt *p = file_accepted(&n, file_with_meta(&f, told_by_shapes[i], NULL)); /* one is missing */
        ck_assert_str_eq(ammpli_config_text(p->config, told_by_shapes[i]), ammpli_config_text(n.prompt->config, told_by_shapes[i]));
        ck_assert(nano_same(p, n.prompt));
        ammpli_prompt_release(p);
        file next = file_with_meta(&g, told_by_shapes[i], NULL);
        if (i)
            free(g.bytes);
        g = next;
    }
    ammpl_prompt *p = file_accepted(&n, g); /* all are missing */
    ck_assert(nano_same(p, n.prompt));
    ammpli_prompt_release(p);
    p = file_accepted(&n, file_with_meta(&f, "evaluation", NULL));
    ck_assert_str_eq(ammpli_config_text(p->config, "evaluation"), "expected");
    ammpli_prompt_release(p);
    free(f.bytes);
    nano_close(&n);
}
END_TEST

/* Tensors that the options do not call for are carried along: kept, saved again, never trained. */
START_TEST(carried_along)
{
    nano n;
    nano_open(&n, NULL);
    nano_trainer(&n);
    nano_steps(&n, 3);
    ammpl_prompt *full = n.prompt, *p, *q;
    file f = file_of(full), without = file_with_meta(&f, "mask", "false");
    ck_ok(ammpli_prompt_load_memory(n.model, without.bytes, without.size, NULL, &p));
    free(without.bytes);
    ck_assert_uint_eq(p->tensors, full->tensors);
    ck_assert(!ammpli_prompt_find(p, "mask_prob")->trainable);
    ck_assert(!ammpli_prompt_find(p, "padding")->trainable);
    ck_assert(!ammpli_prompt_find(p, "text_to_image.linear1.bias")->trainable);
    ck_assert(ammpli_prompt_find(p, "ctx")->trainable);
    float ctx[72];
    memcpy(ctx, ammpli_prompt_find(p, "ctx")->value, sizeof ctx);
    ck_ok(ammpli_train(n.session, p, n.data, n.cfg, NULL, NULL));
    ck_assert(memcmp(ctx, ammpli_prompt_find(p, "ctx")->value, sizeof ctx) != 0);
    q = file_accepted(&n, file_of(p));
    static const char *const kept[] = {"mask_prob", "padding", "text_to_image.linear1.bias", "text_to_image.linear2.weight"};
    for (size_t i = 0; i < 4; i++) {
        const ammpli_tensor *x = ammpli_prompt_find(full, kept[i]), *y = ammpli_prompt_find(q, kept[i]);
        ck_assert_msg(memcmp(x->value, y->value, (size_t)x->count * sizeof *x->value) == 0, "%s", kept[i]);
    }
    ammpli_prompt_release(q);
    ammpli_prompt_release(p);
    free(f.bytes);
    /* and tensors that nobody knows */
    int64_t shape[2] = {2, 3};
    ck_ok(ammpli_prompt_add(full, "of.somebody.else", 2, shape, false, 0));
    static const float values[6] = {1, 2, 3, 4, 5, -6};
    ck_ok(ammpli_prompt_write(full, full->tensors - 1, values));
    p = file_accepted(&n, file_of(full));
    ck_assert(nano_same(p, full));
    const ammpli_tensor *t = ammpli_prompt_find(p, "of.somebody.else");
    ck_assert(t && !t->trainable && t->rank == 2 && memcmp(t->value, values, sizeof values) == 0);
    ammpli_prompt_release(p);
    nano_close(&n);
}
END_TEST

static ammpl_status load_with(const nano *n, const file *f, const char *name, const char *value, ammpl_prompt **p)
{
    ammpl_config *cfg;
    ck_ok(ammpli_config_create(n->ctx, &cfg));
    ck_ok(ammpli_config_set_text(cfg, name, value));
    ammpl_status status = ammpli_prompt_load_memory(n->model, f->bytes, f->size, cfg, p);
    ammpli_config_destroy(cfg);
    return status;
}

/* Options given beside the file win over it, unless its tensors say otherwise. */
START_TEST(overridden)
{
    static const char *const other[][2] = {{"evaluation", "mean:4"}, {"eval_seed", "77"}, {"mask_gradient", "blend"}, {"order", "simultaneous"},
                                           {"draws", "image"}, {"candidates", "2"}, {"lr_mask", "3"}, {"mask", "false"}};
    nano n;
    nano_open(&n, NULL);
    file f = file_of(n.prompt);
    ammpl_prompt *p;
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++) {
        ck_assert_str_ne(ammpli_config_text(n.prompt->config, other[i][0]), other[i][1]);
        ck_ok(load_with(&n, &f, other[i][0], other[i][1], &p));
        ck_assert_str_eq(ammpli_config_text(p->config, other[i][0]), other[i][1]);
        ammpl_prompt *q = file_accepted(&n, file_of(p)); /* and goes into the next file */
        ck_assert_str_eq(ammpli_config_text(q->config, other[i][0]), other[i][1]);
        ammpli_prompt_release(q);
        ammpli_prompt_release(p);
    }
    ck_status(load_with(&n, &f, "scope", "class", &p), AMMPL_E_SHAPE, "ctx");
    ck_status(load_with(&n, &f, "n_ctx", "3", &p), AMMPL_E_SHAPE, "ctx");
    ck_status(load_with(&n, &f, "shift", "scalar", &p), AMMPL_E_SHAPE, "image_to_text.linear2");
    ck_assert_ptr_null(p);
    free(f.bytes);
    nano_close(&n);
}
END_TEST

/* Options given beside the file may call for tensors it has not: those start at their initial values. */
START_TEST(begun_from_a_part)
{
    static const char *const coop[] = {"mask", "off", "padding", "off", "interaction", "off", NULL};
    nano n, fresh;
    nano_open(&n, coop);
    nano_open(&fresh, NULL);
    nano_trainer(&n);
    nano_steps(&n, 3);
    char path[1024];
    strcpy(path, test_temp("coop"));
    ck_ok(ammpli_prompt_save_file(n.prompt, path, false));
    ammpl_prompt *p;
    nano_set(&fresh, "mask", "on");
    nano_set(&fresh, "padding", "on");
    nano_set(&fresh, "interaction", "on");
    ck_ok(ammpli_prompt_load_file(fresh.model, path, fresh.cfg, &p));
    ck_assert_uint_eq(p->tensors, fresh.prompt->tensors);
    for (size_t i = 0; i < p->tensors; i++) {
        const ammpli_tensor *t = &p->tensor[i];
        const ammpl_prompt *from = strcmp(t->name, "ctx") == 0 ? n.prompt : fresh.prompt;
        ck_assert_msg(memcmp(t->value, ammpli_prompt_find(from, t->name)->value, (size_t)t->count * sizeof *t->value) == 0, "%s", t->name);
        ck_assert(t->trainable);
    }
    ammpli_prompt_release(p);
    nano_close(&n);
    nano_close(&fresh);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("prompt_file");
    TCase *c = tcase_create("files");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, round_trip, 0, VARIANTS);
    tcase_add_test(c, zero_shot_round_trip);
    tcase_add_test(c, metadata);
    tcase_add_test(c, existing_files);
    tcase_add_test(c, other_clips);
    tcase_add_test(c, wrong_metadata);
    tcase_add_test(c, wrong_tensors);
    tcase_add_loop_test(c, truncated, 0, 2);
    tcase_add_loop_test(c, flipped, 0, 2);
    tcase_add_loop_test(c, inferred, 0, 8);
    tcase_add_test(c, carried_along);
    tcase_add_test(c, overridden);
    tcase_add_test(c, begun_from_a_part);
    suite_add_tcase(s, c);
    return test_main(s);
}
