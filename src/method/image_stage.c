/* image_stage.c - images with masked and padded patches or with prompts, forward and backward in bounded memory.
 *
 * The patch embedding is linear (shortcut 7): a masked image is a selection among rows that are already embedded, and its
 * gradients are products of rows.  No masked picture is ever made.
 */
#include "method/stage.h"

/* Index arrays of encodes from..to-1 in backend memory. */
typedef struct chunk_index {
    int32_t *image, *mask, *pad, *zero;
} chunk_index;

static ammpl_status upload_index(ammpli_engine *e, const ammpli_image_stage *t, int64_t from, int64_t to, chunk_index *out)
{
    *out = (chunk_index){0};
    TRY(ammpli_take_ints(e, t->ii + from, to - from, &out->image));
    if (t->mask)
        TRY(ammpli_take_ints(e, t->mi + from, to - from, &out->mask));
    if (t->pad)
        TRY(ammpli_take_ints(e, t->ki + from, to - from, &out->pad));
    if (t->added) {
        TRY(ammpli_take(e, (size_t)(to - from) * sizeof(int32_t), (void **)&out->zero));
        RUN(zero, out->zero, (size_t)(to - from) * sizeof(int32_t));
    }
    return AMMPL_OK;
}

/* feature [to-from, E] */
static ammpl_status encode(ammpli_engine *e, const ammpli_image_stage *t, int64_t from, int64_t to, const chunk_index *index, bool keep,
                           ammpli_image_run *run, float *feature)
{
    const ammpl_model *m = e->model;
    int64_t P = m->grid * m->grid, W = m->image.width, n = to - from, D = t->pixels ? ammpli_patch_width(e) : W;
    float *token, *mixed;
    TRY(ammpli_take_floats(e, n * P * W, &token));
    mixed = token;
    if (t->pixels)
        TRY(ammpli_take_floats(e, n * P * D, &mixed));
    if (t->mask)
        RUN(mask_mix_forward, mixed, t->mask, index->mask, t->image, index->image, t->pad, index->pad, n, P, D);
    else
        RUN(rows_copy, mixed, NULL, t->image, index->image, n, P * D);
    if (t->pixels)
        RUN(linear_forward, token, NULL, mixed, m->patch_weight, NULL, NULL, AMMPL_ACT_NONE, n * P);
    if (t->added)
        RUN(rows_add, token, NULL, t->added, index->zero, n, P * W);
    return ammpli_image_forward(e, run, token, n, t->visual, keep, feature);
}

ammpl_status ammpli_image_stage_forward(ammpl_session *s, ammpli_image_stage *t)
{
    ammpli_engine *e = &s->engine;
    const ammpl_model *m = e->model;
    int64_t E = m->embed, P = m->grid * m->grid;
    t->chunks = ammpli_chunks_of(s, &m->image, t->n, t->most, P + 1 + (t->visual ? t->visual->V : 0), t->backward);
    TRY(ammpli_take_floats(e, t->n * E, &t->x));
    TRY(ammpli_take_floats(e, t->n, &t->norm));
    for (int64_t from = 0, to; from < t->n; from = to) {
        to = ammpli_chunk_end(&t->chunks, from);
        bool keep = from < t->chunks.kept;
        ammpli_mark mark = ammpli_arena_mark(e);
        ammpli_image_run run;
        chunk_index index;
        float *feature;
        TRY(upload_index(e, t, from, to, &index));
        TRY(ammpli_take_floats(e, (to - from) * E, &feature));
        TRY(encode(e, t, from, to, &index, keep, keep ? &t->kept : &run, feature));
        RUN(l2norm_forward, t->x + from * E, t->norm + from, feature, to - from, E);
        if (!keep)
            ammpli_arena_release(e, mark);
    }
    return AMMPL_OK;
}

ammpl_status ammpli_image_stage_backward(ammpl_session *s, const ammpli_image_stage *t, const float *dx, const ammpli_image_gradient *d)
{
    ammpli_engine *e = &s->engine;
    const ammpl_model *m = e->model;
    int64_t E = m->embed, P = m->grid * m->grid, W = m->image.width, D = t->pixels ? ammpli_patch_width(e) : W;
    for (int64_t from = 0, to; from < t->n; from = to) {
        to = ammpli_chunk_end(&t->chunks, from);
        int64_t n = to - from;
        ammpli_mark mark = ammpli_arena_mark(e);
        ammpli_image_run run = t->kept;
        chunk_index index;
        float *feature, *dtoken = NULL;
        TRY(upload_index(e, t, from, to, &index));
        TRY(ammpli_take_floats(e, n * E, &feature));
        if (from >= t->chunks.kept)
            TRY(encode(e, t, from, to, &index, true, &run, feature));
        if (t->mask || d->added)
            TRY(ammpli_take_floats(e, n * P * W, &dtoken));
        RUN(l2norm_backward, feature, dx + from * E, t->x + from * E, t->norm + from, n, E);
        TRY(ammpli_image_backward(e, &run, feature, dtoken, t->visual, d->visual));
        if (t->mask) {
            float *dm, *dmixed = dtoken;
            int32_t *prob;
            if (t->pixels) {
                TRY(ammpli_take_floats(e, n * P * D, &dmixed));
                RUN(linear_backward, dmixed, dtoken, m->patch_weight, NULL, AMMPL_ACT_NONE, n * P);
            }
            TRY(ammpli_take_ints(e, d->pi + from, n, &prob));
            TRY(ammpli_take_floats(e, n * P, &dm));
            RUN(mask_mix_backward, dm, d->pad, dmixed, t->mask, index.mask, t->image, index.image, t->pad, index.pad, t->blend, n, P,
                D);
            RUN(rows_add, d->prob, prob, dm, NULL, n, P);
        }
        if (d->added)
            RUN(rows_add, d->added, index.zero, dtoken, NULL, n, P * W);
        ammpli_arena_release(e, mark);
    }
    return AMMPL_OK;
}
