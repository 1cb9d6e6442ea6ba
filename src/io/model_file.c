/* model_file.c - a CLIP from a file, a folder or memory, step by step: open, name, configure, measure, pack, probe.
 *
 * What can be refused is refused before the first weight is packed; what fails later releases all that was made.
 */
#include "io/model_parts.h"

#include <stdio.h>
#include <string.h>

/* Bytes that the caller has in hand instead of files; all NULL for a file. */
typedef struct in_hand {
    const void *merges;
    size_t merges_size;
    const char *vocab_json, *config_json;
} in_hand;

/* ---- what stands beside the tensors ---- */

/* open_clip's and Hugging Face's config may stand side by side: the one of the naming that the tensors have comes first. */
static ammpl_status read_config(const ammpli_model_source *src, const ammpli_parts *parts, const in_hand *given,
                                const bool wanted[AMMPLI_TOWERS], ammpli_model_config *c)
{
    static const char *const files[2] = {"open_clip_config.json", "config.json"};
    ammpli_model_config_default(c);
    if (given->config_json)
        return ammpli_model_config_parse(given->config_json, strlen(given->config_json), "the config in memory", wanted, c);
    for (int i = 0; i < 2; i++) {
        const char *file = files[i ^ (parts->names == AMMPLI_NAMES_HF)];
        void *text;
        size_t size;
        char name[256];
        TRY(ammpli_model_source_read(src, file, &text, &size));
        if (!text)
            continue;
        snprintf(name, sizeof name, "%.220s%s", src->folder, file);
        ammpl_status status = ammpli_model_config_parse(text, size, name, wanted, c);
        ammpli_free(src->ctx, text);
        return status;
    }
    return AMMPL_OK;
}

static ammpl_status read_preprocessor(const ammpli_model_source *src, ammpli_model_config *c)
{
    static const char file[] = "preprocessor_config.json";
    void *text;
    size_t size;
    char name[256];
    TRY(ammpli_model_source_read(src, file, &text, &size));
    if (!text)
        return AMMPL_OK;
    snprintf(name, sizeof name, "%.220s%s", src->folder, file);
    ammpl_status status = ammpli_preprocess_hf(text, size, name, c);
    ammpli_free(src->ctx, text);
    return status;
}

/* ---- decisions ---- */

static ammpl_status choose_activation(const ammpl_config *cfg, const ammpli_model_config *c, ammpl_model *m)
{
    const char *option = ammpli_config_string(cfg, AMMPL_OPT_ACTIVATION);
    int32_t text = c->tower[AMMPLI_TEXT].act, image = c->tower[AMMPLI_IMAGE].act;
    bool told = (text != AMMPL_ACT_NONE || !m->has_text) && (image != AMMPL_ACT_NONE || !m->has_image);
    if (strcmp(option, "auto") != 0) {
        text = image = strcmp(option, "gelu") == 0 ? AMMPL_ACT_GELU : AMMPL_ACT_QUICK_GELU;
    } else if (!told) {
        text = image = AMMPL_ACT_QUICK_GELU;
        ammpli_log(m->ctx, AMMPL_LEVEL_WARN,
                   "%s: no config.json or open_clip_config.json says which activation it has: taking quick_gelu, as in OpenAI's "
                   "CLIP; the option activation sets it", m->source);
    } else if (m->has_text && m->has_image && text != image) {
        return ammpli_fail(AMMPL_E_UNSUPPORTED, "%s: its towers have different activations (hidden_act), which is not supported", c->name);
    }
    m->text.act = text;
    m->image.act = image;
    m->activation = (m->has_text ? text : image) == AMMPL_ACT_GELU ? "gelu" : "quick_gelu";
    return AMMPL_OK;
}

/* Text is read at the end token that the tokenizer writes. */
static ammpl_status check_eot(const ammpli_model_config *c, const ammpl_model *m)
{
    if (c->eot < 0 || c->eot == ammpli_tokenizer_eot(m->tokenizer))
        return AMMPL_OK;
    return ammpli_fail(AMMPL_E_UNSUPPORTED, "%s: text_config.eos_token_id is %lld, but the vocabulary's end of text is %d; reading text "
                       "elsewhere is not supported", c->name, (long long)c->eot, ammpli_tokenizer_eot(m->tokenizer));
}

/* ---- the steps ---- */

static ammpl_status build(const ammpli_model_source *src, const ammpl_config *cfg, const in_hand *given, ammpli_parts *parts,
                          ammpl_model *m)
{
    const bool wanted[AMMPLI_TOWERS] = {m->has_text, m->has_image};
    ammpli_model_config c;
    TRY(ammpli_parts_find(src, wanted, parts));
    TRY(read_config(src, parts, given, wanted, &c));
    if (m->has_image && !c.has_preprocess)
        TRY(read_preprocessor(src, &c));
    TRY(ammpli_model_measure(parts, &c, src->name, m));
    TRY(choose_activation(cfg, &c, m));
    if (m->has_text) {
        TRY(ammpli_model_vocabulary(src, cfg, given->merges, given->merges_size, given->vocab_json, m));
        TRY(check_eot(&c, m));
    }
    TRY(m->device->backend->stream_create(&m->ctx->host, m->device->index, m->precision, &m->stream));
    TRY(ammpli_model_pack(parts, m));
    return m->has_text && m->has_image ? ammpli_model_compute_probe(m) : AMMPL_OK;
}

/* Takes over the source. */
static ammpl_status load(ammpli_model_source *src, const ammpl_device *dev, const ammpl_config *cfg, const in_hand *given,
                         ammpl_model **out)
{
    ammpl_context *ctx = src->ctx;
    const char *towers = ammpli_config_string(cfg, AMMPL_OPT_TOWERS);
    ammpli_parts parts = {0};
    ammpl_status status = AMMPL_E_MEMORY;
    ammpl_model *m = ammpli_alloc(ctx, 1, sizeof *m);
    if (m) {
        m->ref.count = 1;
        m->ctx = ammpli_context_hold(ctx);
        m->device = dev ? dev : &ctx->device[0];
        m->ops = m->device->backend->ops;
        m->keep_f16 = strcmp(ammpli_config_string(cfg, AMMPL_OPT_WEIGHTS), "f16") == 0;
        m->reduced_jpegs = strcmp(ammpli_config_string(cfg, AMMPL_OPT_JPEG), "reduced") == 0;
        const char *precision = ammpli_config_string(cfg, AMMPL_OPT_PRECISION);
        m->precision = strcmp(precision, "tf32") == 0   ? AMMPL_PRECISION_TF32
                       : strcmp(precision, "bf16") == 0 ? AMMPL_PRECISION_BF16
                       : strcmp(precision, "f16") == 0  ? AMMPL_PRECISION_F16
                                                        : AMMPL_PRECISION_F32;
        m->has_text = strcmp(towers, "image") != 0;
        m->has_image = strcmp(towers, "text") != 0;
        m->source = ammpli_strdup(ctx, src->name);
        if (m->source)
            status = build(src, cfg, given, &parts, m);
    }
    ammpli_parts_free(ctx, &parts);
    ammpli_model_source_close(src);
    if (status == AMMPL_OK)
        *out = m;
    else
        ammpli_model_release(m);
    return status;
}

ammpl_status ammpli_model_load_file(ammpl_context *ctx, const ammpl_device *dev, const char *path, const ammpl_config *cfg,
                                    ammpl_model **out)
{
    static const in_hand nothing = {0};
    ammpli_model_source src;
    *out = NULL;
    TRY(ammpli_model_source_open(ctx, path, &src));
    return load(&src, dev, cfg, &nothing, out);
}

ammpl_status ammpli_model_load_memory(ammpl_context *ctx, const ammpl_device *dev, const void *weights, size_t weights_size,
                                      const void *merges, size_t merges_size, const char *vocab_json, const char *config_json,
                                      const ammpl_config *cfg, ammpl_model **out)
{
    const in_hand given = {merges, merges_size, vocab_json, config_json};
    ammpli_model_source src = {.ctx = ctx, .name = "the model in memory"};
    *out = NULL;
    if (!(src.st = ammpli_alloc(ctx, 1, sizeof *src.st)))
        return AMMPL_E_MEMORY;
    ammpl_status status = ammpli_st_open_memory(ctx, weights, weights_size, src.name, &src.st[0]);
    if (status < 0) {
        ammpli_model_source_close(&src);
        return status;
    }
    src.n = 1;
    return load(&src, dev, cfg, &given, out);
}
