/* test_method_file.c - prompt files of every method but AMMPL (test_prompt_file.c): ways there and back, contract.md's names, what
 * shapes tell, what contradicts them, templates.
 */
#include "prompt_editor.h"

#include "io/derived_model.h"
#include "kinds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void trained(nano *n, const kind *k)
{
    kind_open(n, k, NULL);
    nano_trainer(n);
    nano_steps(n, 4);
}

/* ---- there and back ---- */

START_TEST(round_trip)
{
    nano n;
    char path[256];
    snprintf(path, sizeof path, "%s", test_temp("prompt"));
    trained(&n, &kinds[_i]);
    file f = file_of(n.prompt);
    ck_ok(ammpli_prompt_save_file(n.prompt, path, false));
    ammpl_prompt *a, *b = file_accepted(&n, file_of(n.prompt));
    ck_ok(ammpli_prompt_load_file(n.model, path, NULL, &a));
    ck_assert(nano_same(n.prompt, a));
    ck_assert(nano_same(n.prompt, b));
    ck_assert_uint_eq(a->tensors, n.prompt->tensors);
    ck_assert_int_eq(a->groups, n.prompt->groups);
    for (size_t i = 0; i < a->tensors; i++) {
        const ammpli_tensor *x = &n.prompt->tensor[i], *y = &a->tensor[i];
        ck_assert_str_eq(x->name, y->name);
        ck_assert(x->trainable && y->trainable && x->group == y->group);
        ck_assert(memcmp(x->value, y->value, (size_t)x->count * sizeof *x->value) == 0);
    }
    for (const char *const *o = a->method->options; *o; o++)
        ck_assert_str_eq(ammpli_config_text(n.prompt->config, *o), ammpli_config_text(a->config, *o));
    float *x = nano_logits(&n, n.prompt), *y = nano_logits(&n, b);
    ck_assert(memcmp(x, y, NANO_IMAGES * NANO_CLASSES * sizeof *x) == 0);
    free(x);
    free(y);
    free(f.bytes);
    ammpli_prompt_release(a);
    ammpli_prompt_release(b);
    nano_close(&n);
}
END_TEST

/* contract.md's table of tensors and options, as nano-odd makes them: text 14, image 20, joint 17 wide, 5 image layers. */
static const struct {
    const char *kind, *options, *tensors;
} contract[] = {
    {"coop_end", "n_ctx=3;ctx_init=;position=end;class_specific=false", "ctx[3,14]"},
    {"coop_class_front", "n_ctx=3;ctx_init=;position=front;class_specific=true", "ctx[3,3,14]"},
    {"cocoop_words", "n_ctx=4;ctx_init=a photo of a",
     "ctx[4,14];meta_net.linear1.weight[1,17];meta_net.linear1.bias[1];meta_net.linear2.weight[14,1];meta_net.linear2.bias[14]"},
    {"vp_padding", "kind=padding;prompt_size=2;template=[\"This is a photo of a {}\"];eval_seed=0",
     "pad_up[1,3,2,12];pad_down[1,3,2,12];pad_left[1,3,8,2];pad_right[1,3,8,2]"},
    {"vp_random_patch", "kind=random_patch;prompt_size=5;template=[\"This is a photo of a {}\"];eval_seed=0", "patch[1,3,5,5]"},
    {"vpt_deep", "n_ctx_vision=3;depth_vision=3;variant=maple;template=[\"a photo of a {}.\"]",
     "visual_ctx.0[3,20];visual_ctx.1[3,20];visual_ctx.2[3,20]"},
    {"dlp_full", "n_ctx=2;ctx_init=a photo of a;depth_text=3", "ctx[2,14];text_ctx.1[2,14];text_ctx.2[2,14]"},
    {"ivlp_deep", "n_ctx=2;ctx_init=a photo of a;depth_text=2;n_ctx_vision=3;depth_vision=3",
     "ctx[2,14];text_ctx.1[2,14];visual_ctx.0[3,20];visual_ctx.1[3,20];visual_ctx.2[3,20]"},
    {"maple_deep", "n_ctx=2;ctx_init=a photo of a;depth=2",
     "ctx[2,14];text_ctx.1[2,14];proj.0.weight[20,14];proj.0.bias[20];proj.1.weight[20,14];proj.1.bias[20]"},
    {"dpt_one", "n_ctx=3;ctx_init=;n_ctx_vision=2;bottom_limit=5;top_k=2;guidance_epochs=2;aux_weight=0.3;lr_text=0.03;warmup_epochs_text=1;"
                "template=[\"a photo of a {}.\"]",
     "ctx[3,14];visual_ctx[4,2,20];cavpt.ctx[1,10,20];cavpt.meta_nets.0.weight[20,17];cavpt.meta_nets.0.bias[20];"
     "cavpt.attns.0.qmlp.weight[32,20];cavpt.attns.0.kmlp.weight[32,20];cavpt.attns.0.vmlp.weight[20,20];cavpt.lns.0.weight[20];"
     "cavpt.lns.0.bias[20];cavpt.lns2.0.weight[20];cavpt.lns2.0.bias[20];cavpt.classifiers.0.weight[3,20]"},
};
enum { CONTRACT = sizeof contract / sizeof contract[0] };

/* The metadata and tensors of the table, and no others. */
START_TEST(metadata)
{
    static const char *const common[][2] = {{"format", "ammpl-prompt"}, {"version", "1"}, {"classes", "[\"cat\",\"red_dog\",\"bird\"]"}};
    nano n;
    kind_open(&n, kind_of(contract[_i].kind), NULL);
    file f = file_of(n.prompt);
    json_t *header = file_header(&f), *meta = json_object_get(header, "__metadata__");
    size_t keys = 5, tensors = 0; /* the common ones, method and probe */
    for (size_t i = 0; i < 3; i++)
        ck_assert_str_eq(json_string_value(json_object_get(meta, common[i][0])), common[i][1]);
    ck_assert_str_eq(json_string_value(json_object_get(meta, "method")), n.prompt->method->name);
    json_t *probe = json_loads(json_string_value(json_object_get(meta, "probe")), 0, NULL);
    ck_assert_uint_eq(json_array_size(probe), 16);
    json_decref(probe);
    char copy[1024], *rest = copy, *one;
    snprintf(copy, sizeof copy, "%s", contract[_i].options);
    for (; (one = strsep(&rest, ";")); keys++) {
        char *value = strchr(one, '=');
        *value++ = '\0';
        const char *there = json_string_value(json_object_get(meta, one));
        ck_assert_msg(there && strcmp(there, value) == 0, "%s: %s = %s, expected %s", contract[_i].kind, one, there ? there : "nothing", value);
    }
    ck_assert_uint_eq(json_object_size(meta), keys);
    snprintf(copy, sizeof copy, "%s", contract[_i].tensors);
    for (rest = copy; (one = strsep(&rest, ";")); tensors++) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(one, "["), one);
        json_t *t = json_object_get(header, name), *shape = json_loads(strchr(one, '['), 0, NULL);
        ck_assert_msg(t != NULL, "%s: no tensor %s", contract[_i].kind, name);
        ck_assert_msg(json_equal(json_object_get(t, "shape"), shape), "%s: shape of %s", contract[_i].kind, name);
        ck_assert_str_eq(json_string_value(json_object_get(t, "dtype")), "F32");
        json_decref(shape);
    }
    ck_assert_uint_eq(json_object_size(header), tensors + 1);
    json_decref(header);
    free(f.bytes);
    nano_close(&n);
}
END_TEST

/* ---- what shapes tell ---- */

static const char *const told_by_shapes[] = {"n_ctx", "class_specific", "n_ctx_vision", "depth_vision", "depth_text", "depth", "bottom_limit",
                                             "prompt_size", "kind"};
enum { TOLD = sizeof told_by_shapes / sizeof told_by_shapes[0] };

static bool has_option(const ammpl_prompt *p, const char *name)
{
    for (const char *const *o = p->method->options; *o; o++)
        if (strcmp(*o, name) == 0)
            return true;
    return false;
}

static ammpl_status load_with(const nano *n, const file *f, const char *name, const char *value, ammpl_prompt **p)
{
    ammpl_config *cfg;
    ck_ok(ammpli_config_create(n->ctx, &cfg));
    ck_ok(ammpli_config_set_text(cfg, name, value));
    ammpl_status status = ammpli_prompt_load_memory(n->model, f->bytes, f->size, cfg, p);
    ammpli_config_destroy(cfg);
    return status;
}

/* Metadata may be missing, one of them or all: a patch is then a fixed one, all else is what it was.  No protocol changes that. */
START_TEST(inferred)
{
    static const char *const protocols[] = {"default", "few-shot", "base-to-novel", "cross-dataset"};
    const kind *k = &kinds[_i];
    bool random_patch = strcmp(k->name, "vp_random_patch") == 0, no_tokens = strcmp(k->name, "dpt_all") == 0; /* CAVPT from block 0 on */
    nano n;
    trained(&n, k);
    file f = file_of(n.prompt), bare = file_with_meta(&f, "probe", NULL);
    for (size_t i = 0; i < TOLD; i++) {
        const char *name = told_by_shapes[i];
        if (!has_option(n.prompt, name) || (no_tokens && strcmp(name, "n_ctx_vision") == 0))
            continue;
        ammpl_prompt *p = file_accepted(&n, file_with_meta(&f, name, NULL));
        ck_assert_str_eq(ammpli_config_text(p->config, name), random_patch && strcmp(name, "kind") == 0 ? "fixed_patch" : ammpli_config_text(n.prompt->config, name));
        ck_assert_msg(nano_same(p, n.prompt) == !(random_patch && strcmp(name, "kind") == 0), "%s without %s", k->name, name);
        ammpli_prompt_release(p);
        file next = file_with_meta(&bare, name, NULL);
        free(bare.bytes);
        bare = next;
    }
    for (size_t q = 0; q < 4; q++) {
        ammpl_prompt *p;
        ck_ok(load_with(&n, &bare, "protocol", protocols[q], &p));
        ck_assert_uint_eq(p->tensors, n.prompt->tensors);
        for (size_t t = 0; t < p->tensors; t++)
            ck_assert_msg(p->tensor[t].trainable, "%s: %s is none of its own", k->name, p->tensor[t].name);
        for (const char *const *o = p->method->options; *o; o++)
            ck_assert_msg(strcmp(ammpli_config_text(p->config, *o), ammpli_config_text(n.prompt->config, *o)) == 0 ||
                              (random_patch && strcmp(*o, "kind") == 0),
                          "%s, %s: %s = %s, it was %s", k->name, protocols[q], *o, ammpli_config_text(p->config, *o),
                          ammpli_config_text(n.prompt->config, *o));
        ammpli_prompt_release(p);
    }
    free(bare.bytes);
    free(f.bytes);
    nano_close(&n);
}
END_TEST

/* What a file says of itself, or somebody beside it, must be what its tensors are. */
START_TEST(contradictions)
{
    static const struct {
        const char *kind, *name, *value;
        ammpl_status status;
        const char *word;
    } cases[] = {{"coop_end", "n_ctx", "4", AMMPL_E_SHAPE, "n_ctx = 3"}, {"coop_end", "class_specific", "true", AMMPL_E_SHAPE, "class_specific = false"},
                 {"coop_class_end", "class_specific", "false", AMMPL_E_SHAPE, "class_specific = true"},
                 {"cocoop_words", "n_ctx", "2", AMMPL_E_SHAPE, "n_ctx = 4"},
                 {"vp_padding", "kind", "fixed_patch", AMMPL_E_SHAPE, "kind = padding"}, {"vp_fixed_patch", "kind", "padding", AMMPL_E_SHAPE, "kind = fixed_patch"},
                 {"vp_random_patch", "kind", "padding", AMMPL_E_SHAPE, "padding"}, {"vp_padding", "prompt_size", "3", AMMPL_E_SHAPE, "prompt_size = 2"},
                 {"vp_fixed_patch", "prompt_size", "4", AMMPL_E_SHAPE, "prompt_size = 5"},
                 {"vpt_deep", "depth_vision", "2", AMMPL_E_SHAPE, "depth_vision = 3"}, {"vpt_deep", "depth_vision", "4", AMMPL_E_SHAPE, "depth_vision = 3"},
                 {"vpt_deep", "n_ctx_vision", "2", AMMPL_E_SHAPE, "n_ctx_vision = 3"}, {"dlp_full", "depth_text", "1", AMMPL_E_SHAPE, "depth_text = 3"},
                 {"dlp_deep", "depth_text", "3", AMMPL_E_SHAPE, "depth_text = 2"}, {"ivlp_deep", "depth_vision", "0", AMMPL_E_SHAPE, "depth_vision = 3"},
                 {"ivlp_text", "depth_vision", "1", AMMPL_E_SHAPE, "depth_vision = 0"}, {"ivlp_deep", "n_ctx_vision", "2", AMMPL_E_SHAPE, "n_ctx_vision = 3"},
                 {"ivlp_deep", "depth_text", "1", AMMPL_E_SHAPE, "depth_text = 2"}, {"maple_deep", "depth", "3", AMMPL_E_SHAPE, "depth = 2"},
                 {"maple_deep", "depth", "1", AMMPL_E_SHAPE, "depth = 2"}, {"maple_deep", "n_ctx", "1", AMMPL_E_SHAPE, "n_ctx = 2"},
                 {"dpt_two", "bottom_limit", "5", AMMPL_E_SHAPE, "bottom_limit = 4"}, {"dpt_two", "bottom_limit", "3", AMMPL_E_SHAPE, "bottom_limit = 4"},
                 {"dpt_two", "n_ctx_vision", "3", AMMPL_E_SHAPE, "n_ctx_vision = 2"}, {"dpt_two", "n_ctx", "2", AMMPL_E_SHAPE, "n_ctx = 3"}};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        nano n;
        ammpl_prompt *p;
        kind_open(&n, kind_of(cases[k].kind), NULL);
        file f = file_of(n.prompt);
        file_refused(&n, file_with_meta(&f, cases[k].name, cases[k].value), cases[k].status, cases[k].word);
        ck_status(load_with(&n, &f, cases[k].name, cases[k].value, &p), cases[k].status, cases[k].word);
        ck_assert_ptr_null(p);
        free(f.bytes);
        nano_close(&n);
    }
}
END_TEST

/* Layers without those between them are no fewer layers. */
START_TEST(gaps)
{
    static const char *const cases[][2] = {{"vpt_deep", "visual_ctx.1"}, {"vpt_deep", "visual_ctx.0"}, {"dlp_full", "text_ctx.1"},
                                           {"ivlp_deep", "visual_ctx.1"}, {"ivlp_full", "text_ctx.1"}, {"maple_full", "text_ctx.1"}};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        nano n;
        kind_open(&n, kind_of(cases[k][0]), NULL);
        const char *option = cases[k][1][0] == 'v' ? "depth_vision" : n.method == AMMPL_METHOD_MAPLE ? "depth" : "depth_text";
        file f = file_of(n.prompt), g = file_renamed(&f, cases[k][1], "elsewhere");
        ammpl_prompt *p;
        file_refused(&n, file_with_meta(&g, option, NULL), AMMPL_E_FORMAT, cases[k][1]);
        ck_status(load_with(&n, &g, n.method == AMMPL_METHOD_VPT ? "template" : "ctx_init", "the {}", &p), AMMPL_E_FORMAT, cases[k][1]);
        free(f.bytes);
        free(g.bytes);
        nano_close(&n);
    }
}
END_TEST

/* What does not touch the tensors may be given beside the file, and goes into the next one; 0 gives nothing. */
START_TEST(overridden)
{
    static const char *const cases[][3] = {{"coop_end", "position", "middle"}, {"vp_fixed_patch", "kind", "random_patch"}, {"vp_padding", "eval_seed", "7"},
                                           {"vp_padding", "template", "the {} photo"}, {"vpt_full", "variant", "dpt"}, {"dpt_two", "top_k", "3"},
                                           {"dpt_two", "aux_weight", "0"}, {"dpt_two", "guidance_epochs", "9"}, {"maple_deep", "ctx_init", "the photo"}};
    static const char *const zeros[][2] = {{"maple_deep", "depth"}, {"dlp_deep", "depth_text"}, {"vpt_deep", "depth_vision"}, {"dpt_two", "bottom_limit"},
                                           {"coop_end", "n_ctx"}, {"vpt_deep", "n_ctx_vision"}, {"vp_padding", "prompt_size"}};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        nano n;
        ammpl_prompt *p, *q;
        kind_open(&n, kind_of(cases[k][0]), NULL);
        file f = file_of(n.prompt);
        ck_assert_str_ne(ammpli_config_text(n.prompt->config, cases[k][1]), cases[k][2]);
        ck_ok(load_with(&n, &f, cases[k][1], cases[k][2], &p));
        ck_assert_str_eq(ammpli_config_text(p->config, cases[k][1]), cases[k][2]);
        q = file_accepted(&n, file_of(p));
        ck_assert_str_eq(ammpli_config_text(q->config, cases[k][1]), cases[k][2]);
        ck_assert(nano_same(p, q) && !nano_same(p, n.prompt));
        ammpli_prompt_release(p);
        ammpli_prompt_release(q);
        free(f.bytes);
        nano_close(&n);
    }
    for (size_t k = 0; k < sizeof zeros / sizeof zeros[0]; k++) {
        nano n;
        ammpl_prompt *p;
        kind_open(&n, kind_of(zeros[k][0]), NULL);
        file f = file_of(n.prompt);
        ck_ok(load_with(&n, &f, zeros[k][1], "0", &p));
        ck_assert(nano_same(p, n.prompt));
        ammpli_prompt_release(p);
        p = file_accepted(&n, file_with_meta(&f, zeros[k][1], "0"));
        ck_assert(nano_same(p, n.prompt));
        ammpli_prompt_release(p);
        free(f.bytes);
        nano_close(&n);
    }
}
END_TEST

/* ---- another model, other classes ---- */

/* Trained on another CLIP: the probe tells; without it, shapes or depths do. */
START_TEST(other_clips)
{
    const kind *k = &kinds[_i];
    nano n, other;
    ammpl_prompt *p;
    kind_open(&n, k, NULL);
    nano_open_method(&other, "nano", AMMPL_METHOD_ZEROSHOT, NULL);
    file f = file_of(n.prompt), free_of = file_with_meta(&f, "probe", NULL);
    ck_status(ammpli_prompt_load_memory(other.model, f.bytes, f.size, NULL, &p), AMMPL_E_MODEL, "another CLIP");
    ck_assert_ptr_null(p);
    ammpli_clear_error();
    ammpl_status status = ammpli_prompt_load_memory(other.model, free_of.bytes, free_of.size, NULL, &p);
    if (k->method == AMMPL_METHOD_VP && strstr(k->name, "patch")) { /* pixels are pixels */
        ck_assert_int_eq(status, AMMPL_OK);
        ammpli_prompt_release(p);
    } else {
        ck_assert_msg(status == AMMPL_E_SHAPE || status == AMMPL_E_RANGE, "%s on nano: %d (%s)", k->name, (int)status, ammpli_error_text());
        ck_assert_ptr_null(p);
    }
    free(f.bytes);
    free(free_of.bytes);
    nano_close(&n);
    nano_close(&other);
}
END_TEST

/* Re-bound to fewer classes than top_k, saved and read again: the same prompt, and the same again with all of them. */
START_TEST(dpt_of_fewer_classes)
{
    static const char *const fewer[] = {"bird", "cat"};
    nano n;
    ammpl_prompt *p;
    trained(&n, kind_of("dpt_all"));
    float *all = nano_logits(&n, n.prompt);
    ck_assert_str_eq(ammpli_config_text(n.prompt->config, "top_k"), "3");
    ck_ok(ammpli_prompt_rebind(n.prompt, fewer, 2));
    file f = file_of(n.prompt);
    p = file_accepted(&n, file_of(n.prompt));
    ck_assert(nano_same(p, n.prompt));
    float *x = nano_logits(&n, n.prompt), *y = nano_logits(&n, p);
    ck_assert(memcmp(x, y, NANO_IMAGES * 2 * sizeof *x) == 0);
    ck_ok(ammpli_prompt_rebind(p, nano_names, NANO_CLASSES));
    float *again = nano_logits(&n, p);
    ck_assert(memcmp(all, again, NANO_IMAGES * NANO_CLASSES * sizeof *all) == 0);
    ammpli_prompt_release(p);
    ck_status(load_with(&n, &f, "top_k", "4", &p), AMMPL_E_RANGE, "1 to 2"); /* who gives one means it */
    ck_ok(load_with(&n, &f, "top_k", "1", &p));
    ammpli_prompt_release(p);
    free(f.bytes);
    free(all);
    free(again);
    free(x);
    free(y);
    nano_close(&n);
}
END_TEST

/* ---- templates ---- */

static ammpl_status make(const nano *n, ammpl_method method, const char *text, ammpl_prompt **p)
{
    ammpl_config *cfg;
    ck_ok(ammpli_config_create(n->ctx, &cfg));
    ck_ok(ammpli_config_set_text(cfg, "template", text));
    ammpl_status status = ammpli_prompt_create(n->model, method, nano_names, NANO_CLASSES, cfg, p);
    ammpli_config_destroy(cfg);
    return status;
}

static const ammpl_method with_templates[] = {AMMPL_METHOD_ZEROSHOT, AMMPL_METHOD_VP, AMMPL_METHOD_VPT, AMMPL_METHOD_DPT};

/* Several templates are an array in the file; names with @ stand for published ones, which the file then spells out. */
START_TEST(templates)
{
    static const char *const cases[][2] = {
        {"the {} photo", "[\"the {} photo\"]"},
        {"the {} photo\na {}", "[\"the {} photo\",\"a {}\"]"},
        {"a \"{}\" \\ {}\n{}", "[\"a \\\"{}\\\" \\\\ {}\",\"{}\"]"},
        {"@EuroSAT", "[\"a centered satellite photo of {}.\"]"},
        {"@DescribableTextures", "[\"{} texture.\"]"},
        {"a {}\n@Food101", "[\"a {}\",\"a photo of {}, a type of food.\"]"},
        {"@ensemble", "[\"itap of a {}.\",\"a bad photo of the {}.\",\"a origami {}.\",\"a photo of the large {}.\",\"a {} in a video game.\","
                      "\"art of the {}.\",\"a photo of the small {}.\"]"},
        {"@ensemble\n@OxfordPets", "[\"itap of a {}.\",\"a bad photo of the {}.\",\"a origami {}.\",\"a photo of the large {}.\","
                                   "\"a {} in a video game.\",\"art of the {}.\",\"a photo of the small {}.\",\"a photo of a {}, a type of pet.\"]"}};
    ammpl_method method = with_templates[_i];
    nano n;
    nano_open_method(&n, "nano", AMMPL_METHOD_ZEROSHOT, NULL);
    ammpl_model *small = n.model, *m = n.model = derived_model(n.ctx, 3, 2, 0, 0); /* of CLIP's 77 positions */
    ammpli_session_release(n.session);
    ck_ok(ammpli_session_create(m, NULL, &n.session));
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        ammpl_prompt *p, *q;
        ck_ok(make(&n, method, cases[k][0], &p));
        file f = file_of(p);
        json_t *header = file_header(&f);
        ck_assert_str_eq(json_string_value(json_object_get(json_object_get(header, "__metadata__"), "template")), cases[k][1]);
        json_decref(header);
        q = file_accepted(&n, f);
        ck_assert(nano_same(p, q));
        float *x = nano_logits(&n, p), *y = nano_logits(&n, q);
        ck_assert(memcmp(x, y, NANO_IMAGES * NANO_CLASSES * sizeof *x) == 0);
        free(x);
        free(y);
        ammpli_prompt_release(p);
        ammpli_prompt_release(q);
    }
    ammpli_model_release(small);
    nano_close(&n);
}
END_TEST

START_TEST(wrong_templates)
{
    static const char *const in_files[] = {"[]", "[3]", "a photo of a {}.", "[\"a photo\"]", "[\"a {}\",\"b\"]", "[\"@EuroSAT\"]", "[\"a {}\\nb {}\"]", "{}", "[\"\"]"};
    static const char *const names[][2] = {{"@eurosat", "@EuroSAT"}, {"@Flowers", "@OxfordFlowers"}, {"@ensembles", "@ensemble"}, {"a {}\n@Imagenet", "@ImageNet"}, {"@", "all are"}};
    ammpl_method method = with_templates[_i];
    nano n;
    ammpl_prompt *p;
    nano_open_method(&n, "nano-odd", method, NULL);
    file f = file_of(n.prompt);
    for (size_t k = 0; k < sizeof in_files / sizeof in_files[0]; k++)
        file_refused(&n, file_with_meta(&f, "template", in_files[k]), AMMPL_E_FORMAT, "template");
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        ck_status(make(&n, method, names[k][0], &p), AMMPL_E_OPTION, names[k][1]);
        ck_assert_ptr_null(p);
        ck_status(load_with(&n, &f, "template", names[k][0], &p), AMMPL_E_OPTION, names[k][1]);
    }
    ck_ok(load_with(&n, &f, "template", "a {}\nthe {}", &p)); /* beside a file: as at creation */
    ck_assert_str_eq(ammpli_config_text(p->config, "template"), "a {}\nthe {}");
    ammpli_prompt_release(p);
    free(f.bytes);
    nano_close(&n);
}
END_TEST

/* ---- damage ---- */

static const char *const hostile[] = {"coop_class_middle", "vp_padding", "vpt_deep", "ivlp_deep", "maple_deep", "dpt_one"};

/* Cut anywhere in the header, every byte of it turned, tensors missing, renamed or of another shape. */
START_TEST(damaged)
{
    static const char *const shapes[] = {"[]", "[0]", "[1]", "[1,1,1,1]", "[1000000000,0]", "[4611686018427387904,4]"};
    nano n;
    kind_open(&n, kind_of(hostile[_i]), NULL);
    file f = file_of(n.prompt);
    size_t header = 8 + file_header_length(f.bytes);
    for (size_t size = 0; size < f.size; size += size < header ? 3 : 203)
        ck_assert_msg(!file_survives(&n, f.bytes, size), "cut to %zu of %zu bytes it still loads", size, f.size);
    for (size_t at = 0; at < header; at++) {
        char byte = f.bytes[at];
        f.bytes[at] = (char)(byte ^ (at % 3 ? 1 : 16));
        file_survives(&n, f.bytes, f.size);
        f.bytes[at] = byte;
    }
    for (size_t t = 0; t < n.prompt->tensors; t++) {
        const char *name = n.prompt->tensor[t].name;
        file g = file_renamed(&f, name, "elsewhere");
        ck_assert_msg(!file_survives(&n, g.bytes, g.size), "%s without %s", hostile[_i], name);
        free(g.bytes);
        for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
            g = file_with_shape(&f, name, shapes[k]);
            ck_assert_msg(!file_survives(&n, g.bytes, g.size), "%s: %s of shape %s", hostile[_i], name, shapes[k]);
            free(g.bytes);
        }
    }
    ck_assert(file_survives(&n, f.bytes, f.size));
    free(f.bytes);
    nano_close(&n);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("method_file");
    TCase *c = tcase_create("files");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, round_trip, 0, KINDS);
    tcase_add_loop_test(c, metadata, 0, CONTRACT);
    tcase_add_loop_test(c, inferred, 0, KINDS);
    tcase_add_test(c, contradictions);
    tcase_add_test(c, gaps);
    tcase_add_test(c, overridden);
    tcase_add_loop_test(c, other_clips, 0, KINDS);
    tcase_add_test(c, dpt_of_fewer_classes);
    tcase_add_loop_test(c, templates, 0, 4);
    tcase_add_loop_test(c, wrong_templates, 0, 4);
    tcase_add_loop_test(c, damaged, 0, 6);
    suite_add_tcase(s, c);
    return test_main(s);
}
