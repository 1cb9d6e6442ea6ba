/* test_import.c - checkpoints of the methods' original repositories: golden/import_*.safetensors are what their own code saved
 * (reference/import_originals.py, which also compares logits; CLIP's weights in them are cut to one number), and what is refused.
 */
#include "io/derived_model.h"
#include "io/model_editor.h"
#include "train/nano.h"

#include <ammpl/ammpl.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES = 4 };
static const char *const classes[CLASSES] = {"707 jet", "cat", "red_dog", "zebra"};
static const model_sizes sizes = {.text_width = 128, .text_layers = 3, .length = 77, .image_width = 64, .image_layers = 4, .patch = 4, .grid = 2, .joint = 48};

typedef struct pair {
    const char *theirs, *ours;
} pair;

typedef struct original {
    const char *file;
    ammpl_method method;
    const char *options; /* what the shapes tell */
    size_t ignored;      /* buffers and CLIP's weights */
    pair tensor[26];     /* as their code and contract.md name them */
} original;

#define CAVPT(j) \
    {"extractor.meta_nets." j ".weight", "cavpt.meta_nets." j ".weight"}, {"extractor.meta_nets." j ".bias", "cavpt.meta_nets." j ".bias"}, \
    {"extractor.attns." j ".qmlp.weight", "cavpt.attns." j ".qmlp.weight"}, {"extractor.attns." j ".kmlp.weight", "cavpt.attns." j ".kmlp.weight"}, \
    {"extractor.attns." j ".vmlp.weight", "cavpt.attns." j ".vmlp.weight"}, {"extractor.lns." j ".weight", "cavpt.lns." j ".weight"}, \
    {"extractor.lns." j ".bias", "cavpt.lns." j ".bias"}, {"extractor.lns2." j ".weight", "cavpt.lns2." j ".weight"}, \
    {"extractor.lns2." j ".bias", "cavpt.lns2." j ".bias"}, {"extractor.classfiers." j ".weight", "cavpt.classifiers." j ".weight"}
#define VISION(j) {"image_encoder.transformer.resblocks." j ".VPT_shallow", "visual_ctx." j}
#define TEXT(j) {"text_encoder.transformer.resblocks." j ".VPT_shallow", "text_ctx." j}

static const original originals[] = {
    {"coop", AMMPL_METHOD_COOP, "n_ctx=5;class_specific=false", 2, {{"ctx", "ctx"}}},
    {"coop_class", AMMPL_METHOD_COOP, "n_ctx=3;class_specific=true", 2, {{"ctx", "ctx"}}},
    {"cocoop", AMMPL_METHOD_COCOOP, "n_ctx=4", 2,
     {{"ctx", "ctx"}, {"meta_net.linear1.weight", "meta_net.linear1.weight"}, {"meta_net.linear1.bias", "meta_net.linear1.bias"},
      {"meta_net.linear2.weight", "meta_net.linear2.weight"}, {"meta_net.linear2.bias", "meta_net.linear2.bias"}}},
    {"vp_padding", AMMPL_METHOD_VP, "kind=padding;prompt_size=2", 0,
     {{"pad_up", "pad_up"}, {"pad_down", "pad_down"}, {"pad_left", "pad_left"}, {"pad_right", "pad_right"}}},
    {"vp_fixed_patch", AMMPL_METHOD_VP, "kind=fixed_patch;prompt_size=3", 0, {{"patch", "patch"}}},
    {"vpt", AMMPL_METHOD_VPT, "n_ctx_vision=3;depth_vision=3;variant=maple", 97, {{"image_encoder.VPT", "visual_ctx.0"}, VISION("1"), VISION("2")}},
    {"vpt_dpt", AMMPL_METHOD_VPT, "n_ctx_vision=2;depth_vision=4;variant=dpt", 0,
     {{"ctx", "visual_ctx.0"}, {"ctx", "visual_ctx.1"}, {"ctx", "visual_ctx.2"}, {"ctx", "visual_ctx.3"}}},
    {"dlp", AMMPL_METHOD_DLP, "n_ctx=4;depth_text=3", 99, {{"prompt_learner.ctx", "ctx"}, TEXT("1"), TEXT("2")}},
    {"ivlp", AMMPL_METHOD_IVLP, "n_ctx=2;depth_text=2;n_ctx_vision=3;depth_vision=3", 99,
     {{"prompt_learner.ctx", "ctx"}, TEXT("1"), {"image_encoder.VPT", "visual_ctx.0"}, VISION("1"), VISION("2")}},
    {"maple", AMMPL_METHOD_MAPLE, "n_ctx=2;depth=3", 99,
     {{"prompt_learner.ctx", "ctx"}, {"prompt_learner.proj.weight", "proj.0.weight"}, {"prompt_learner.proj.bias", "proj.0.bias"},
      {"prompt_learner.compound_prompts_text.0", "text_ctx.1"}, {"prompt_learner.compound_prompts_text.1", "text_ctx.2"},
      {"prompt_learner.compound_prompt_projections.0.weight", "proj.1.weight"}, {"prompt_learner.compound_prompt_projections.0.bias", "proj.1.bias"},
      {"prompt_learner.compound_prompt_projections.1.weight", "proj.2.weight"}, {"prompt_learner.compound_prompt_projections.1.bias", "proj.2.bias"}}},
    {"dpt", AMMPL_METHOD_DPT, "n_ctx=3;n_ctx_vision=4;bottom_limit=3;top_k=4", 2,
     {{"prompt_learner.ctx", "ctx"}, {"ctx_learner.ctx", "visual_ctx"}, {"extractor.ctx", "cavpt.ctx"}, CAVPT("0"), CAVPT("1")}},
};
enum { ORIGINALS = sizeof originals / sizeof originals[0] };

typedef struct fixture {
    ammpl_context *ctx;
    ammpl_model *model;
    ammpl_config *cfg;
    edit_model *file; /* the checkpoint, to be edited */
} fixture;

static const char *golden_of(const original *o)
{
    char name[64];
    snprintf(name, sizeof name, "import_%s.safetensors", o->file);
    return test_golden(name);
}

static void open_original(fixture *f, const original *o)
{
    f->ctx = test_context();
    f->model = sized_model(f->ctx, &sizes);
    f->file = malloc(sizeof *f->file);
    ck_ok(ammpli_config_create(f->ctx, &f->cfg));
    edit_open(f->file, golden_of(o));
}

static void close_original(fixture *f)
{
    edit_free(f->file);
    free(f->file);
    ammpli_config_destroy(f->cfg);
    ammpli_model_release(f->model);
    ammpli_context_release(f->ctx);
}

static const original *original_of(const char *file)
{
    for (int i = 0; i < ORIGINALS; i++)
        if (strcmp(originals[i].file, file) == 0)
            return &originals[i];
    ck_abort_msg("no original %s", file);
}

/* The file as it is now, imported for the first n classes. */
static ammpl_status import(fixture *f, ammpl_method method, size_t n, ammpl_prompt **p)
{
    size_t size;
    char path[128];
    unsigned char *bytes = edit_bytes(f->file, &size);
    snprintf(path, sizeof path, "%s", test_temp("checkpoint.safetensors"));
    edit_write(path, bytes, size);
    free(bytes);
    ammpl_status status = ammpl_prompt_import_file(f->model, method, classes, n, path, f->cfg, p);
    ck_assert_msg((status == AMMPL_OK) == (*p != NULL), "status %d", (int)status);
    return status;
}

/* The prompt holds the numbers of the golden, under our names, and nothing else. */
static void check_tensors(const ammpl_prompt *p, const original *o)
{
    ammpli_st *st;
    size_t tensors = 0;
    ck_ok(ammpli_st_open(p->ctx, golden_of(o), &st));
    for (const pair *t = o->tensor; t->theirs; t++, tensors++) {
        const ammpli_tensor *ours = ammpli_prompt_find(p, t->ours);
        int64_t count, first = 0;
        float *want = test_tensor(st, t->theirs, &count);
        ck_assert_msg(ours && ours->trainable, "%s: there is no %s", o->file, t->ours);
        if (o->method == AMMPL_METHOD_VPT && strcmp(t->theirs, "ctx") == 0) /* layer after layer */
            first = (t->ours[strlen(t->ours) - 1] - '0') * ours->count, count = ours->count;
        ck_assert_int_eq(count, ours->count);
        ck_assert_msg(memcmp(want + first, ours->value, (size_t)count * sizeof *want) == 0, "%s: %s is not %s", o->file, t->ours, t->theirs);
        free(want);
    }
    ck_assert_uint_eq(p->tensors, tensors);
    ammpli_st_close(st);
}

START_TEST(imported)
{
    const original *o = &originals[_i];
    fixture f;
    ammpl_prompt *p, *again;
    open_original(&f, o);
    ck_ok(import(&f, o->method, CLASSES, &p));
    check_tensors(p, o);
    char copy[256], *rest = copy, *one;
    snprintf(copy, sizeof copy, "%s", o->options);
    while ((one = strsep(&rest, ";"))) {
        char *value = strchr(one, '=');
        *value++ = '\0';
        ck_assert_msg(strcmp(ammpl_prompt_option(p, one), value) == 0, "%s: %s = %s, expected %s", o->file, one, ammpl_prompt_option(p, one), value);
    }
    size_t mapped = 0; /* nothing in the checkpoint is neither ours nor known to be fixed */
    for (const pair *t = o->tensor; t->theirs; t++)
        mapped += t == o->tensor || strcmp(t->theirs, t[-1].theirs) != 0;
    ck_assert_uint_eq(f.file->n, mapped + o->ignored);
    /* a prompt as any other */
    char path[128];
    snprintf(path, sizeof path, "%s", test_temp("prompt.safetensors"));
    ck_ok(ammpl_prompt_save_file(p, path, 1));
    ck_ok(ammpl_prompt_load_file(f.model, path, NULL, &again));
    ck_assert(nano_same(p, again));
    ammpl_session *s;
    float pixels[3 * 8 * 8], logits[CLASSES];
    for (int i = 0; i < 3 * 8 * 8; i++)
        pixels[i] = (float)nano_normal(3, (uint32_t)i);
    ck_ok(ammpl_session_create(f.model, NULL, &s));
    ck_ok(ammpl_session_predict(s, p, pixels, 1, logits, CLASSES));
    ammpl_session_destroy(s);
    ammpl_prompt_destroy(again);
    ammpl_prompt_destroy(p);
    close_original(&f);
}
END_TEST

/* However the modules were called around it. */
START_TEST(prefixes)
{
    static const char *const before[] = {"prompt_learner.", "state_dict.", "state_dict.prompt_learner.", "prompt_learner.state_dict."};
    const original *o = &originals[_i];
    for (size_t k = 0; k < 5; k++) {
        fixture f;
        ammpl_prompt *p;
        bool inner = o->method == AMMPL_METHOD_DPT && k == 4; /* as Dassl registers DPT's modules */
        open_original(&f, o);
        if (k == 4 && !inner) {
            close_original(&f);
            continue;
        }
        for (size_t t = 0; t < f.file->n; t++) {
            edit_tensor *tensor = &f.file->tensor[t];
            char name[128];
            if (inner && strncmp(tensor->name, "prompt_learner", 14) == 0)
                continue;
            snprintf(name, sizeof name, "%s%s", inner ? "image_encoder.transformer." : before[k], tensor->name);
            ck_assert_uint_lt(strlen(name), sizeof name - 1);
            memcpy(tensor->name, name, sizeof name);
        }
        ammpli_clear_error();
        ammpl_status status = import(&f, o->method, CLASSES, &p);
        ck_assert_msg(status == AMMPL_OK, "%s, %zu: %s", o->file, k, ammpli_error_text());
        check_tensors(p, o);
        ammpl_prompt_destroy(p);
        close_original(&f);
    }
}
END_TEST

/* The file's numbers are halves: as singles and doubles they are the same. */
START_TEST(types)
{
    static const char *const names[] = {"coop", "maple", "dpt"};
    const original *o = original_of(names[_i / 2]);
    bool wide = _i % 2;
    fixture f;
    ammpl_prompt *p;
    ammpli_st *st;
    open_original(&f, o);
    ck_ok(ammpli_st_open(f.ctx, golden_of(o), &st));
    for (size_t t = 0; t < f.file->n; t++) {
        edit_tensor *tensor = &f.file->tensor[t];
        int64_t count;
        float *value = test_tensor(st, tensor->name, &count);
        size_t size = wide ? sizeof(double) : sizeof(float);
        unsigned char *data = malloc((size_t)count * size + 1);
        for (int64_t i = 0; i < count; i++) {
            double number = (double)value[i];
            memcpy(data + (size_t)i * size, wide ? (void *)&number : (void *)&value[i], size);
        }
        free(tensor->data);
        free(value);
        tensor->data = data;
        tensor->bytes = (size_t)count * size;
        strcpy(tensor->dtype, wide ? "F64" : "F32");
    }
    ammpli_st_close(st);
    ck_ok(import(&f, o->method, CLASSES, &p));
    check_tensors(p, o);
    ammpl_prompt_destroy(p);
    close_original(&f);
}
END_TEST

/* What files do not tell is said beside them; what they tell is not contradicted, and no protocol changes it. */
START_TEST(options)
{
    static const struct {
        const char *file, *name, *value;
        ammpl_status status;
    } cases[] = {{"vp_fixed_patch", "kind", "random_patch", AMMPL_OK}, {"coop", "position", "front", AMMPL_OK}, {"ivlp", "ctx_init", "", AMMPL_OK},
                 {"dpt", "top_k", "2", AMMPL_OK}, {"maple", "protocol", "cross-dataset", AMMPL_OK}, {"vpt", "protocol", "few-shot", AMMPL_OK},
                 {"maple", "depth", "3", AMMPL_OK}, {"maple", "depth", "2", AMMPL_E_SHAPE}, {"vpt_dpt", "variant", "maple", AMMPL_OK},
                 {"coop", "n_ctx", "4", AMMPL_E_SHAPE}, {"vp_padding", "kind", "fixed_patch", AMMPL_E_SHAPE}, {"dpt", "top_k", "5", AMMPL_E_RANGE}};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        const original *o = original_of(cases[k].file);
        fixture f;
        ammpl_prompt *p;
        open_original(&f, o);
        ck_ok(ammpli_config_set_text(f.cfg, cases[k].name, cases[k].value));
        ck_status(import(&f, o->method, CLASSES, &p), cases[k].status, cases[k].name);
        if (p) {
            check_tensors(p, o);
            if (strcmp(cases[k].name, "protocol") != 0)
                ck_assert_str_eq(ammpl_prompt_option(p, cases[k].name), cases[k].value);
            else
                ck_assert_str_eq(ammpl_prompt_option(p, o->method == AMMPL_METHOD_VPT ? "variant" : "depth"), o->method == AMMPL_METHOD_VPT ? "maple" : "3");
        }
        ammpl_prompt_destroy(p);
        close_original(&f);
    }
}
END_TEST

/* ---- what is refused ---- */

/* A checkpoint of one method is none of another's, though they share names: nothing that was learned is left out in silence. */
START_TEST(other_methods)
{
    for (int i = 0; i < ORIGINALS; i++)
        for (ammpl_method method = AMMPL_METHOD_COOP; method < AMMPL_METHOD_AMMPL; method++) {
            const original *o = &originals[i];
            fixture f;
            ammpl_prompt *p;
            /* CoOp's context is a DLP of depth 1, and both are an IVLP without visual prompts */
            bool same = method == o->method || (strcmp(o->file, "coop") == 0 && (method == AMMPL_METHOD_DLP || method == AMMPL_METHOD_IVLP)) ||
                        (strcmp(o->file, "dlp") == 0 && method == AMMPL_METHOD_IVLP);
            open_original(&f, o);
            ammpli_clear_error();
            ammpl_status status = import(&f, method, CLASSES, &p);
            ck_assert_msg((status == AMMPL_OK) == same, "%s as method %d: %s", o->file, (int)method, ammpli_error_text());
            ck_assert_msg(status == AMMPL_OK || strstr(ammpli_error_text(), "checkpoint.safetensors"), "%s as method %d: %s", o->file, (int)method, ammpli_error_text());
            ammpl_prompt_destroy(p);
            close_original(&f);
        }
}
END_TEST

/* Every learned tensor is needed (DPT's own prompts and VPT's, too), and no unknown one is passed over. */
START_TEST(tensors_amiss)
{
    const original *o = &originals[_i];
    for (const pair *t = o->tensor; t->theirs; t++) {
        fixture f;
        ammpl_prompt *p;
        open_original(&f, o);
        edit_remove(f.file, t->theirs);
        ammpli_clear_error();
        ammpl_status status = import(&f, o->method, CLASSES, &p);
        /* without its last prompts it is a shallower one */
        bool shallower = strcmp(t->ours, "visual_ctx.2") == 0 || (o->method == AMMPL_METHOD_DLP && strcmp(t->ours, "text_ctx.2") == 0) ||
                         (strcmp(o->file, "ivlp") == 0 && strcmp(t->ours, "text_ctx.1") == 0);
        shallower = shallower && strcmp(o->file, "vpt_dpt") != 0; /* there all are one tensor */
        ck_assert_msg((status == AMMPL_OK) == shallower, "%s without %s: %s", o->file, t->theirs, ammpli_error_text());
        ck_assert(shallower || strstr(ammpli_error_text(), "checkpoint.safetensors"));
        ammpl_prompt_destroy(p);
        close_original(&f);
    }
    static const char *const unknown[] = {"momentum_buffer", "prompt_learner.ctx2", "compound_prompts_text.-1", "compound_prompts_text.1x",
                                          "extractor.classifiers.0.weight", "ctx.", "", "image_encoder.VPT.weight", "extractor.lns3.0.weight"};
    for (size_t k = 0; k < sizeof unknown / sizeof unknown[0]; k++) {
        fixture f;
        ammpl_prompt *p;
        open_original(&f, o);
        edit_add(f.file, unknown[k], "F32", 1, (int64_t[]){2}, 2 * sizeof(float));
        ck_status(import(&f, o->method, CLASSES, &p), AMMPL_E_UNSUPPORTED, unknown[k]);
        close_original(&f);
    }
}
END_TEST

static void set_shape(edit_tensor *t, int rank, const int64_t *shape, size_t bytes)
{
    t->rank = rank;
    for (int i = 0; i < rank; i++)
        t->shape[i] = shape[i];
    t->data = realloc(t->data, bytes + 1);
    memset(t->data, 0, bytes);
    t->bytes = bytes;
}

START_TEST(refused)
{
    fixture f;
    ammpl_prompt *p;
    /* methods without checkpoints, files that are none */
    open_original(&f, original_of("coop"));
    ck_status(import(&f, AMMPL_METHOD_ZEROSHOT, CLASSES, &p), AMMPL_E_UNSUPPORTED, "zeroshot");
    ck_status(import(&f, AMMPL_METHOD_AMMPL, CLASSES, &p), AMMPL_E_UNSUPPORTED, "ammpl");
    ck_status(import(&f, 77, CLASSES, &p), AMMPL_E_OPTION, "77");
    ck_status(ammpl_prompt_import_file(f.model, AMMPL_METHOD_COOP, classes, CLASSES, test_temp("nowhere"), NULL, &p), AMMPL_E_IO, "nowhere");
    ck_status(ammpl_prompt_import_file(f.model, AMMPL_METHOD_COOP, classes, CLASSES, test_golden("nano/merges.txt"), NULL, &p), AMMPL_E_FORMAT, "merges.txt");
    /* the same tensor twice; not a number */
    edit_tensor *ctx = edit_find(f.file, "ctx"), *twin = edit_add(f.file, "prompt_learner.ctx", ctx->dtype, ctx->rank, ctx->shape, ctx->bytes);
    memcpy(twin->data, ctx->data, ctx->bytes);
    ck_status(import(&f, AMMPL_METHOD_COOP, CLASSES, &p), AMMPL_E_FORMAT, "twice");
    edit_remove(f.file, "prompt_learner.ctx");
    memcpy(edit_find(f.file, "ctx")->data + 6, "\x00\x7e", 2);
    ck_status(import(&f, AMMPL_METHOD_COOP, CLASSES, &p), AMMPL_E_NUMERIC, "ctx");
    close_original(&f);
    /* other numbers of classes, where they matter */
    open_original(&f, original_of("coop"));
    ck_ok(import(&f, AMMPL_METHOD_COOP, 2, &p));
    ammpl_prompt_destroy(p);
    close_original(&f);
    open_original(&f, original_of("coop_class"));
    ck_status(import(&f, AMMPL_METHOD_COOP, 3, &p), AMMPL_E_SHAPE, "classes");
    close_original(&f);
    open_original(&f, original_of("dpt"));
    ck_status(import(&f, AMMPL_METHOD_DPT, 3, &p), AMMPL_E_SHAPE, "cavpt.classifiers.0.weight");
    close_original(&f);
    /* layers that cannot be */
    static const struct {
        int rank;
        int64_t shape[3];
        size_t bytes;
    } shapes[] = {{0, {0}, 2}, {1, {4}, 8}, {2, {1000000000, 0}, 0}, {3, {1000000000, 0, 64}, 0}, {3, {0, 2, 64}, 0}, {3, {5, 2, 64}, 1280}, {3, {1001, 1, 64}, 128128}};
    for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
        open_original(&f, original_of("vpt_dpt"));
        set_shape(edit_find(f.file, "ctx"), shapes[k].rank, shapes[k].shape, shapes[k].bytes);
        ammpli_clear_error();
        ammpl_status status = import(&f, AMMPL_METHOD_VPT, CLASSES, &p);
        ck_assert_msg(status == AMMPL_E_SHAPE || status == AMMPL_E_RANGE, "shape %zu: %d (%s)", k, (int)status, ammpli_error_text());
        close_original(&f);
    }
    /* a model of other sizes */
    open_original(&f, original_of("maple"));
    ammpl_model *mine = f.model;
    ck_ok(ammpli_model_load_file(f.ctx, NULL, test_golden("nano-odd"), NULL, &f.model));
    ck_status(import(&f, AMMPL_METHOD_MAPLE, 2, &p), AMMPL_E_SHAPE, "ctx");
    ammpli_model_release(mine);
    close_original(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("import");
    TCase *c = tcase_create("checkpoints");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, imported, 0, ORIGINALS);
    tcase_add_loop_test(c, prefixes, 0, ORIGINALS);
    tcase_add_loop_test(c, types, 0, 6);
    tcase_add_test(c, options);
    tcase_add_test(c, other_methods);
    tcase_add_loop_test(c, tensors_amiss, 0, ORIGINALS);
    tcase_add_test(c, refused);
    suite_add_tcase(s, c);
    return test_main(s);
}
