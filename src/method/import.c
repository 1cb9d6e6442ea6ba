/* import.c - prompts from the checkpoints of the methods' original repositories (methods.md 5), saved as safetensors.
 *
 * Each method has a list of their tensors' names and ours.  The file is turned into the bytes of a prompt file, which is then read
 * as any other: what shapes tell is read from the shapes, and whatever does not fit is refused there.
 */
#include "method/method.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A '#' stands for a number; ours is theirs plus `shift`.  `rows`: their first axis counts layers, ours are tensors of their own. */
typedef struct translation {
    ammpl_method method;
    const char *theirs, *ours;
    int shift;
    bool rows;
} translation;

static const translation translations[] = {
    {AMMPL_METHOD_COOP, "ctx", "ctx", 0, false},
    {AMMPL_METHOD_COCOOP, "ctx", "ctx", 0, false},
    {AMMPL_METHOD_COCOOP, "meta_net.linear1.weight", "meta_net.linear1.weight", 0, false},
    {AMMPL_METHOD_COCOOP, "meta_net.linear1.bias", "meta_net.linear1.bias", 0, false},
    {AMMPL_METHOD_COCOOP, "meta_net.linear2.weight", "meta_net.linear2.weight", 0, false},
    {AMMPL_METHOD_COCOOP, "meta_net.linear2.bias", "meta_net.linear2.bias", 0, false},
    {AMMPL_METHOD_VP, "patch", "patch", 0, false},
    {AMMPL_METHOD_VP, "pad_up", "pad_up", 0, false},
    {AMMPL_METHOD_VP, "pad_down", "pad_down", 0, false},
    {AMMPL_METHOD_VP, "pad_left", "pad_left", 0, false},
    {AMMPL_METHOD_VP, "pad_right", "pad_right", 0, false},
    {AMMPL_METHOD_VPT, "image_encoder.VPT", "visual_ctx.0", 0, false},
    {AMMPL_METHOD_VPT, "image_encoder.transformer.resblocks.#.VPT_shallow", "visual_ctx.#", 0, false},
    {AMMPL_METHOD_VPT, "ctx", "visual_ctx.#", 0, true}, /* DPT's repository: [layers, n, W] */
    {AMMPL_METHOD_DLP, "ctx", "ctx", 0, false},
    {AMMPL_METHOD_DLP, "text_encoder.transformer.resblocks.#.VPT_shallow", "text_ctx.#", 0, false},
    {AMMPL_METHOD_IVLP, "ctx", "ctx", 0, false},
    {AMMPL_METHOD_IVLP, "text_encoder.transformer.resblocks.#.VPT_shallow", "text_ctx.#", 0, false},
    {AMMPL_METHOD_IVLP, "image_encoder.VPT", "visual_ctx.0", 0, false},
    {AMMPL_METHOD_IVLP, "image_encoder.transformer.resblocks.#.VPT_shallow", "visual_ctx.#", 0, false},
    {AMMPL_METHOD_MAPLE, "ctx", "ctx", 0, false},
    {AMMPL_METHOD_MAPLE, "proj.weight", "proj.0.weight", 0, false},
    {AMMPL_METHOD_MAPLE, "proj.bias", "proj.0.bias", 0, false},
    {AMMPL_METHOD_MAPLE, "compound_prompts_text.#", "text_ctx.#", 1, false},
    {AMMPL_METHOD_MAPLE, "compound_prompt_projections.#.weight", "proj.#.weight", 1, false},
    {AMMPL_METHOD_MAPLE, "compound_prompt_projections.#.bias", "proj.#.bias", 1, false},
    {AMMPL_METHOD_DPT, "ctx", "ctx", 0, false},
    {AMMPL_METHOD_DPT, "ctx_learner.ctx", "visual_ctx", 0, false},
    {AMMPL_METHOD_DPT, "extractor.ctx", "cavpt.ctx", 0, false},
    {AMMPL_METHOD_DPT, "extractor.meta_nets.#.weight", "cavpt.meta_nets.#.weight", 0, false},
    {AMMPL_METHOD_DPT, "extractor.meta_nets.#.bias", "cavpt.meta_nets.#.bias", 0, false},
    {AMMPL_METHOD_DPT, "extractor.attns.#.qmlp.weight", "cavpt.attns.#.qmlp.weight", 0, false},
    {AMMPL_METHOD_DPT, "extractor.attns.#.kmlp.weight", "cavpt.attns.#.kmlp.weight", 0, false},
    {AMMPL_METHOD_DPT, "extractor.attns.#.vmlp.weight", "cavpt.attns.#.vmlp.weight", 0, false},
    {AMMPL_METHOD_DPT, "extractor.lns.#.weight", "cavpt.lns.#.weight", 0, false},
    {AMMPL_METHOD_DPT, "extractor.lns.#.bias", "cavpt.lns.#.bias", 0, false},
    {AMMPL_METHOD_DPT, "extractor.lns2.#.weight", "cavpt.lns2.#.weight", 0, false},
    {AMMPL_METHOD_DPT, "extractor.lns2.#.bias", "cavpt.lns2.#.bias", 0, false},
    {AMMPL_METHOD_DPT, "extractor.classfiers.#.weight", "cavpt.classifiers.#.weight", 0, false}, /* sic */
};
enum { TRANSLATIONS = sizeof translations / sizeof translations[0] };

/* Under these names a trainer may have registered the module. */
static const char *const prefixes[] = {"state_dict.", "prompt_learner.", "image_encoder.transformer."};
/* Fixed buffers, and CLIP's own weights in checkpoints of whole models. */
static const char *const ignored[] = {"token_prefix", "token_suffix", "image_encoder.", "text_encoder.", "logit_scale", "dtype",
                                      "text_features", "ZS_image_encoder.", "clip_model."};
/* But what a method learns inside of CLIP is another method's, if it is not this one's. */
static const char *const never_ignored[] = {".VPT", ".ctx_learner.", ".extractor."};

/* Is `name` the pattern?  *number: what stands for its '#'. */
static bool matches(const char *pattern, const char *name, long *number)
{
    const char *gap = strchr(pattern, '#');
    *number = 0;
    if (!gap)
        return strcmp(pattern, name) == 0;
    size_t n = (size_t)(gap - pattern);
    if (strncmp(pattern, name, n) != 0 || name[n] < '0' || name[n] > '9')
        return false;
    char *end;
    *number = strtol(name + n, &end, 10);
    return *number < 1000 && strcmp(end, gap + 1) == 0;
}

/* The name behind a prefix, or NULL when it has none. */
static const char *without_prefix(const char *name)
{
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return name + strlen(prefixes[i]);
    return NULL;
}

/* The translation of a tensor's name, with any of the prefixes before it. */
static const translation *translate(ammpl_method method, const char *name, long *number)
{
    for (; name; name = without_prefix(name))
        for (int i = 0; i < TRANSLATIONS; i++)
            if (translations[i].method == method && matches(translations[i].theirs, name, number))
                return &translations[i];
    return NULL;
}

static bool begins_like_clip(const char *name)
{
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        if (strncmp(name, ignored[i], strlen(ignored[i])) == 0)
            return true;
    return false;
}

static bool is_ignored(const char *name)
{
    for (size_t i = 0; i < sizeof never_ignored / sizeof never_ignored[0]; i++)
        if (strstr(name, never_ignored[i]))
            return false;
    bool known = false;
    for (; name && !known; name = without_prefix(name))
        known = begins_like_clip(name);
    return known;
}

static void our_name(const translation *t, long number, char name[64])
{
    const char *gap = strchr(t->ours, '#');
    if (gap)
        snprintf(name, 64, "%.*s%ld%s", (int)(gap - t->ours), t->ours, number + t->shift, gap + 1);
    else
        snprintf(name, 64, "%s", t->ours);
}

/* One tensor into the writer; `value` (all tensors' floats) moves on. */
static ammpl_status take(const ammpli_st *st, const ammpli_st_tensor *from, const translation *t, long number, ammpli_st_writer *w,
                         float **value)
{
    char name[64];
    if (t->rows && (from->rank != 3 || from->count == 0))
        return ammpli_fail(AMMPL_E_SHAPE, "%s: tensor %s should have 3 axes: layers, tokens, width", ammpli_st_name(st), from->name);
    TRY(ammpli_st_read_f32(st, from, *value));
    int64_t layers = t->rows ? from->shape[0] : 1, each = from->count / layers;
    for (int64_t i = 0; i < layers; i++) {
        our_name(t, t->rows ? (long)i : number, name);
        ammpl_status status = ammpli_st_writer_add(w, name, AMMPL_DTYPE_F32, from->rank - (t->rows ? 1 : 0), from->shape + (t->rows ? 1 : 0),
                                                   *value + i * each);
        if (status == AMMPL_E_ARGUMENT) {
            ammpli_clear_error();
            return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %s is there twice, under several prefixes", ammpli_st_name(st), from->name);
        }
        TRY(status);
    }
    *value += from->count;
    return AMMPL_OK;
}

static ammpl_status write_classes(ammpli_st_writer *w, const char *const *names, size_t n)
{
    json_t *classes = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(classes, json_string(names[i]));
    char *text = json_array_size(classes) == n ? json_dumps(classes, JSON_COMPACT) : NULL;
    json_decref(classes);
    if (!text)
        return ammpli_fail(AMMPL_E_FORMAT, "a class name is not valid UTF-8");
    ammpl_status status = ammpli_st_writer_meta(w, "classes", text);
    free(text);
    return status;
}

static ammpl_status convert(const ammpli_st *st, const ammpli_method *method, const char *const *names, size_t n, ammpli_st_writer *w,
                            float *value)
{
    TRY(ammpli_st_writer_meta(w, "format", "ammpl-prompt"));
    TRY(ammpli_st_writer_meta(w, "version", "1"));
    TRY(ammpli_st_writer_meta(w, "method", method->name));
    TRY(write_classes(w, names, n));
    size_t taken = 0;
    for (size_t i = 0; i < ammpli_st_count(st); i++) {
        const ammpli_st_tensor *from = ammpli_st_at(st, i);
        long number;
        const translation *t = translate(method->id, from->name, &number);
        if (t && t->rows) /* DPT's repository has its own kind of vpt */
            TRY(ammpli_st_writer_meta(w, "variant", "dpt"));
        if (t)
            TRY(take(st, from, t, number, w, &value));
        else if (!is_ignored(from->name))
            return ammpli_fail(AMMPL_E_UNSUPPORTED, "%s: tensor %.100s is none of %s's as its original repository names them",
                               ammpli_st_name(st), from->name, method->name);
        taken += t != NULL;
    }
    if (taken == 0)
        return ammpli_fail(AMMPL_E_FORMAT, "%s holds no tensor of %s as its original repository names them", ammpli_st_name(st),
                           method->name);
    return AMMPL_OK;
}

static ammpl_status import(const ammpl_model *m, const ammpli_method *method, const char *const *names, size_t n, const ammpli_st *st,
                           const ammpl_config *cfg, ammpl_prompt **out)
{
    int64_t total = 0;
    for (size_t i = 0; i < ammpli_st_count(st); i++) {
        long number;
        if (translate(method->id, ammpli_st_at(st, i)->name, &number))
            total += ammpli_st_at(st, i)->count;
    }
    ammpli_st_writer *w = NULL;
    ammpli_st *converted = NULL;
    void *bytes = NULL;
    size_t size;
    float *value = ammpli_alloc(m->ctx, (size_t)total + 1, sizeof *value);
    ammpl_status status = value ? ammpli_st_writer_create(m->ctx, &w) : AMMPL_E_MEMORY;
    if (status >= 0)
        status = convert(st, method, names, n, w, value);
    if (status >= 0)
        status = ammpli_st_writer_bytes(w, &bytes, &size);
    if (status >= 0)
        status = ammpli_st_open_memory(m->ctx, bytes, size, ammpli_st_name(st), &converted);
    if (status >= 0)
        status = ammpli_prompt_load(m, converted, cfg, out);
    ammpli_st_close(converted);
    if (w)
        ammpli_st_writer_destroy(w);
    ammpli_free(m->ctx, bytes);
    ammpli_free(m->ctx, value);
    return status;
}

ammpl_status ammpli_prompt_import_file(const ammpl_model *m, ammpl_method id, const char *const *names, size_t n, const char *path,
                                       const ammpl_config *cfg, ammpl_prompt **out)
{
    const ammpli_method *method = ammpli_method_by_id(id);
    *out = NULL;
    if (!method)
        return ammpli_fail(AMMPL_E_OPTION, "there is no method number %d", (int)id);
    if (id == AMMPL_METHOD_ZEROSHOT || id == AMMPL_METHOD_AMMPL)
        return ammpli_fail(AMMPL_E_UNSUPPORTED, "method %s has no original repository with checkpoints", method->name);
    ammpli_st *st;
    TRY(ammpli_st_open(m->ctx, path, &st));
    ammpl_status status = import(m, method, names, n, st, cfg, out);
    ammpli_st_close(st);
    return status;
}
