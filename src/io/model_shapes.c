/* model_shapes.c - every size of a model from its tensors' shapes, each shape checked against the one it follows from. */
#include "io/model_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_CAP = 160, SHAPE_CAP = 128, MAX_PIXELS = 4096 };

typedef struct measure {
    const ammpli_parts *parts;
    const ammpli_model_config *config;
    const char *source;
    ammpl_model *m;
} measure;

static const char *shape_text(int32_t rank, const int64_t *shape, char text[SHAPE_CAP])
{
    size_t at = (size_t)snprintf(text, SHAPE_CAP, "[");
    for (int32_t i = 0; i < rank && at < SHAPE_CAP; i++)
        at += (size_t)snprintf(text + at, SHAPE_CAP - at, "%s%lld", i ? "," : "", (long long)shape[i]);
    if (at < SHAPE_CAP)
        snprintf(text + at, SHAPE_CAP - at, "]");
    return text;
}

static const ammpli_part *find(const measure *w, int tower, int64_t layer, int part)
{
    const ammpli_tower_parts *t = &w->parts->tower[tower];
    return layer >= 0 ? &t->block[layer][part] : &t->part[part];
}

static ammpl_status missing(const measure *w, int tower, int64_t layer, int part)
{
    char name[NAME_CAP];
    ammpli_part_name(w->parts, tower, layer, part, name, sizeof name);
    return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %s is missing from the %s tower (the option towers = %s leaves that tower out)",
                       w->source, name, tower == AMMPLI_TEXT ? "text" : "image", tower == AMMPLI_TEXT ? "image" : "text");
}

/* The tensor of a part that must be there, with rank dimensions above 0, of a type that is read. */
static ammpl_status need(const measure *w, int tower, int64_t layer, int part, int32_t rank, const ammpli_st_tensor **out)
{
    const ammpli_part *p = find(w, tower, layer, part);
    const ammpli_st_tensor *t = *out = p->t;
    if (!t)
        return missing(w, tower, layer, part);
    const char *file = ammpli_st_name(p->st);
    if (t->dtype != AMMPL_DTYPE_F32 && t->dtype != AMMPL_DTYPE_F16 && t->dtype != AMMPL_DTYPE_BF16)
        return ammpli_fail(AMMPL_E_UNSUPPORTED, "%s: tensor %s has another dtype than F32, F16 and BF16, which is not supported", file,
                           t->name);
    char shape[SHAPE_CAP];
    if (t->rank != rank || t->count == 0)
        return ammpli_fail(AMMPL_E_SHAPE, "%s: tensor %s has the shape %s where %d dimensions above 0 are needed", file, t->name,
                           shape_text(t->rank, t->shape, shape), rank);
    return AMMPL_OK;
}

/* A part whose shape follows from another tensor's, which the sentence names, too. */
static ammpl_status fits(const measure *w, int tower, int64_t layer, int part, int32_t rank, int64_t a, int64_t b,
                         const char *because)
{
    const ammpli_st_tensor *t;
    const int64_t wanted[2] = {a, b};
    char has[SHAPE_CAP], should[SHAPE_CAP];
    TRY(need(w, tower, layer, part, rank, &t));
    if (t->shape[0] == a && (rank == 1 || t->shape[1] == b))
        return AMMPL_OK;
    return ammpli_fail(AMMPL_E_SHAPE, "%s: tensor %s has the shape %s, but %s needs it to be %s",
                       ammpli_st_name(find(w, tower, layer, part)->st), t->name, shape_text(t->rank, t->shape, has), because,
                       shape_text(rank, wanted, should));
}

/* What the config says, where it does, must be what the tensors say: else it is another model's. */
static ammpl_status agrees(const measure *w, int64_t said, int64_t is, const char *what, const char *tensor)
{
    if (said == 0 || said == is)
        return AMMPL_OK;
    return ammpli_fail(AMMPL_E_SHAPE, "%s: says %s %lld, but tensor %s says %lld; is it another model's?", w->config->name, what,
                       (long long)said, tensor, (long long)is);
}

/* ---- parts that both towers have ---- */

static ammpl_status measure_block(const measure *w, int tower, int64_t i, ammpli_tower *t, const char *width, const char **hidden)
{
    int64_t D = t->width;
    const ammpli_st_tensor *fc;
    TRY(fits(w, tower, i, AMMPLI_LN1_W, 1, D, 0, width));
    TRY(fits(w, tower, i, AMMPLI_LN1_B, 1, D, 0, width));
    if (w->parts->names == AMMPLI_NAMES_HF) {
        const ammpli_part *joined = find(w, tower, i, AMMPLI_QKV_W)->t ? find(w, tower, i, AMMPLI_QKV_W) : find(w, tower, i, AMMPLI_QKV_B);
        if (joined->t)
            return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %s stands beside the names of Hugging Face's CLIP; files in two namings are "
                               "not read", ammpli_st_name(joined->st), joined->t->name);
        for (int part = AMMPLI_Q_W; part <= AMMPLI_V_B; part += 2) {
            TRY(fits(w, tower, i, part, 2, D, D, width));
            TRY(fits(w, tower, i, part + 1, 1, D, 0, width));
        }
    } else {
        TRY(fits(w, tower, i, AMMPLI_QKV_W, 2, 3 * D, D, width));
        TRY(fits(w, tower, i, AMMPLI_QKV_B, 1, 3 * D, 0, width));
    }
    TRY(fits(w, tower, i, AMMPLI_OUT_W, 2, D, D, width));
    TRY(fits(w, tower, i, AMMPLI_OUT_B, 1, D, 0, width));
    TRY(fits(w, tower, i, AMMPLI_LN2_W, 1, D, 0, width));
    TRY(fits(w, tower, i, AMMPLI_LN2_B, 1, D, 0, width));
    TRY(need(w, tower, i, AMMPLI_FC_W, 2, &fc));
    if (!*hidden) { /* the first block decides how wide all MLPs are */
        *hidden = fc->name;
        t->hidden = fc->shape[0];
    }
    TRY(fits(w, tower, i, AMMPLI_FC_W, 2, t->hidden, D, fc->shape[1] == D ? *hidden : width));
    TRY(fits(w, tower, i, AMMPLI_FC_B, 1, t->hidden, 0, *hidden));
    TRY(fits(w, tower, i, AMMPLI_PROJ_W, 2, D, t->hidden, *hidden));
    return fits(w, tower, i, AMMPLI_PROJ_B, 1, D, 0, width);
}

static ammpl_status find_heads(const measure *w, int tower, ammpli_tower *t)
{
    const ammpli_tower_config *c = &w->config->tower[tower];
    t->heads = t->width / 64 > 1 ? t->width / 64 : 1;
    if (c->heads)
        t->heads = c->heads;
    else if (c->head_width)
        t->heads = t->width % c->head_width == 0 ? t->width / c->head_width : 0;
    if (t->heads < 1 || t->width % t->heads != 0)
        return ammpli_fail(AMMPL_E_SHAPE, "%s: the %s tower's width %lld cannot be cut into heads as the config says, or into heads of 64",
                           w->config->name[0] ? w->config->name : w->source, tower == AMMPLI_TEXT ? "text" : "image",
                           (long long)t->width);
    return AMMPL_OK;
}

/* [D, E] or, from a linear layer, [E, D].  The joint width is the first tower's. */
static ammpl_status measure_projection(const measure *w, int tower, const ammpli_tower *t, const char **joint)
{
    const ammpli_st_tensor *p;
    bool linear = find(w, tower, -1, AMMPLI_PROJECTION_LINEAR)->t || (w->parts->names == AMMPLI_NAMES_HF &&
                                                                      !find(w, tower, -1, AMMPLI_PROJECTION)->t);
    int part = linear ? AMMPLI_PROJECTION_LINEAR : AMMPLI_PROJECTION;
    TRY(need(w, tower, -1, part, 2, &p));
    if (linear && find(w, tower, -1, AMMPLI_PROJECTION)->t)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: tensors %s and %s are the same part of the model", w->source, p->name,
                           find(w, tower, -1, AMMPLI_PROJECTION)->t->name);
    if (!*joint) {
        *joint = p->name;
        w->m->embed = p->shape[linear ? 0 : 1];
    }
    int64_t D = t->width, E = w->m->embed;
    const char *because = p->shape[linear ? 1 : 0] == D ? *joint : find(w, tower, -1, AMMPLI_POSITION)->t->name;
    return fits(w, tower, -1, part, 2, linear ? E : D, linear ? D : E, because);
}

static ammpl_status measure_tower(const measure *w, int tower, ammpli_tower *t, const char *width, const char **joint)
{
    const ammpli_tower_config *c = &w->config->tower[tower];
    const char *hidden = NULL;
    t->layers = (int64_t)w->parts->tower[tower].layers;
    t->causal = tower == AMMPLI_TEXT;
    t->eps = (float)c->eps;
    TRY(agrees(w, c->width, t->width, tower == AMMPLI_TEXT ? "text width" : "image width", width));
    TRY(agrees(w, c->layers, t->layers, tower == AMMPLI_TEXT ? "text layers" : "image layers", width));
    TRY(find_heads(w, tower, t));
    if (t->layers == 0)
        return missing(w, tower, 0, AMMPLI_LN1_W);
    for (int64_t i = 0; i < t->layers; i++)
        TRY(measure_block(w, tower, i, t, width, &hidden));
    TRY(fits(w, tower, -1, AMMPLI_POST_W, 1, t->width, 0, width));
    TRY(fits(w, tower, -1, AMMPLI_POST_B, 1, t->width, 0, width));
    return measure_projection(w, tower, t, joint);
}

/* ---- the towers ---- */

static ammpl_status measure_text(const measure *w, const char **joint)
{
    ammpl_model *m = w->m;
    const ammpli_st_tensor *tokens, *position;
    TRY(need(w, AMMPLI_TEXT, -1, AMMPLI_TOKENS, 2, &tokens));
    m->vocab = tokens->shape[0];
    m->text.width = tokens->shape[1];
    m->token_dtype = tokens->dtype;
    TRY(need(w, AMMPLI_TEXT, -1, AMMPLI_POSITION, 2, &position));
    m->context = position->shape[0];
    TRY(fits(w, AMMPLI_TEXT, -1, AMMPLI_POSITION, 2, m->context, m->text.width, tokens->name));
    if (m->context < 3)
        return ammpli_fail(AMMPL_E_SHAPE, "%s: tensor %s has %lld positions, too few for start, a token and end", w->source,
                           position->name, (long long)m->context);
    TRY(agrees(w, w->config->vocab, m->vocab, "vocabulary", tokens->name));
    TRY(agrees(w, w->config->context, m->context, "context length", position->name));
    return measure_tower(w, AMMPLI_TEXT, &m->text, tokens->name, joint);
}

static ammpl_status measure_image(const measure *w, const char **joint)
{
    ammpl_model *m = w->m;
    const ammpli_st_tensor *patch, *position;
    char shape[SHAPE_CAP];
    TRY(need(w, AMMPLI_IMAGE, -1, AMMPLI_PATCH, 4, &patch));
    m->image.width = patch->shape[0];
    m->patch = patch->shape[2];
    if (patch->shape[1] != 3 || patch->shape[3] != m->patch)
        return ammpli_fail(AMMPL_E_UNSUPPORTED, "%s: tensor %s has the shape %s; only square patches of 3 channels are supported",
                           w->source, patch->name, shape_text(4, patch->shape, shape));
    TRY(need(w, AMMPLI_IMAGE, -1, AMMPLI_POSITION, 2, &position));
    int64_t patches = position->shape[0] - 1;
    m->grid = (int64_t)(sqrt((double)patches) + 0.5);
    if (patches < 1 || m->grid * m->grid != patches)
        return ammpli_fail(AMMPL_E_UNSUPPORTED, "%s: tensor %s has %lld positions, which are not a class row and a square grid; other "
                           "grids are not supported", w->source, position->name, (long long)patches + 1);
    if (m->patch > MAX_PIXELS || m->grid > MAX_PIXELS || m->grid * m->patch > MAX_PIXELS)
        return ammpli_fail(AMMPL_E_UNSUPPORTED, "%s: tensors %s and %s make pictures of %lld x %lld pixels a side, more than %d",
                           w->source, patch->name, position->name, (long long)m->grid, (long long)m->patch, MAX_PIXELS);
    int64_t D = m->image.width, R = m->grid * m->patch;
    TRY(fits(w, AMMPLI_IMAGE, -1, AMMPLI_POSITION, 2, patches + 1, D, patch->name));
    TRY(fits(w, AMMPLI_IMAGE, -1, AMMPLI_CLASS, 1, D, 0, patch->name));
    TRY(fits(w, AMMPLI_IMAGE, -1, AMMPLI_PRE_W, 1, D, 0, patch->name));
    TRY(fits(w, AMMPLI_IMAGE, -1, AMMPLI_PRE_B, 1, D, 0, patch->name));
    TRY(agrees(w, w->config->patch, m->patch, "patch size", patch->name));
    TRY(agrees(w, w->config->image_size, R, "image size", position->name));
    if (w->config->size && w->config->size != R)
        return ammpli_fail(AMMPL_E_SHAPE, "%s: its preprocessing makes pictures of %lld pixels a side, but tensors %s and %s are for %lld",
                           w->source, (long long)w->config->size, patch->name, position->name, (long long)R);
    m->preprocess.size = (int32_t)R;
    m->preprocess.least = m->reduced_jpegs ? 2 * m->preprocess.size : 0; /* what a crop needs of it stays a reduction */
    memcpy(m->preprocess.mean, w->config->mean, sizeof m->preprocess.mean);
    memcpy(m->preprocess.std, w->config->std, sizeof m->preprocess.std);
    return measure_tower(w, AMMPLI_IMAGE, &m->image, patch->name, joint);
}

static ammpl_status measure_logit_scale(const measure *w)
{
    const ammpli_part *p = &w->parts->logit_scale;
    char shape[SHAPE_CAP];
    if (!p->t) /* it scales products of the two features: a file with one tower may lack it */
        return w->m->has_text && w->m->has_image ? ammpli_fail(AMMPL_E_FORMAT, "%s: tensor logit_scale is missing", w->source) : AMMPL_OK;
    if (p->t->rank > 1 || p->t->count != 1)
        return ammpli_fail(AMMPL_E_SHAPE, "%s: tensor logit_scale has the shape %s; it is one number, [] or [1]", ammpli_st_name(p->st),
                           shape_text(p->t->rank, p->t->shape, shape));
    float value;
    TRY(ammpli_st_read_f32(p->st, p->t, &value));
    if (!isfinite(expf(value)))
        return ammpli_fail(AMMPL_E_NUMERIC, "%s: tensor logit_scale: exp(%g) is too large for a number", ammpli_st_name(p->st),
                           (double)value);
    w->m->logit_scale = value;
    return AMMPL_OK;
}

ammpl_status ammpli_model_measure(const ammpli_parts *parts, const ammpli_model_config *c, const char *source, ammpl_model *m)
{
    const measure w = {parts, c, source, m};
    const char *joint = NULL; /* the tensor that decides the joint width */
    if (m->has_image)
        TRY(measure_image(&w, &joint));
    if (m->has_text)
        TRY(measure_text(&w, &joint));
    TRY(agrees(&w, c->embed, m->embed, "joint width", joint));
    return measure_logit_scale(&w);
}
