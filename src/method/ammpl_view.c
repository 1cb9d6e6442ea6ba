/* ammpl_view.c - what an AMMPL prompt does to pictures, for people to look at: its pixel tiles and masks. */
#include "method/ammpl_run.h"

#include <string.h>

static ammpl_status check(const ammpl_prompt *p, ammpli_ammpl_options *o)
{
    if (p->method->id != AMMPL_METHOD_AMMPL)
        return ammpli_fail(AMMPL_E_STATE, "a %s prompt has no masks; this is for ammpl prompts", p->method->name);
    return ammpli_ammpl_options_of(p, o);
}

static ammpl_status read_tiles(ammpl_session *s, const ammpl_prompt *p, const ammpli_ammpl_options *o, float *out)
{
    int64_t tile = 3 * p->model->patch * p->model->patch;
    ammpli_arena_reset(&s->engine);
    TRY(ammpli_class_cache_fill(s, p, o));
    return s->engine.ops->download(s->engine.stream, out, s->cache.pad, (size_t)(s->cache.pads * tile) * sizeof *out);
}

ammpl_status ammpli_session_padding(ammpl_session *s, const ammpl_prompt *p, float *out)
{
    ammpli_ammpl_options o;
    TRY(check(p, &o));
    int64_t C = (int64_t)p->classes, tile = 3 * p->model->patch * p->model->patch;
    memset(out, 0, (size_t)(C * tile) * sizeof *out);
    if (!ammpli_has_pads(&o))
        return AMMPL_OK;
    TRY(ammpli_session_prepare(s, p, AMMPLI_PLAN_CLASSES, 1));
    TRY(ammpli_session_settle(s, read_tiles(s, p, &o, out)));
    for (int64_t i = s->cache.pads; i < C; i++) /* one tile for all */
        memcpy(out + i * tile, out, (size_t)tile * sizeof *out);
    return AMMPL_OK;
}

/* Masks [rows,P] of the classes, or the one of all. */
static ammpl_status draw_masks(ammpli_engine *e, const ammpl_prompt *p, const ammpli_ammpl_options *o, uint32_t draw, int64_t rows, int64_t P,
                               float *out)
{
    int32_t *index, *device;
    float *mask;
    TRY(ammpli_take_host(e, (size_t)(3 * rows) * sizeof *index, (void **)&index));
    for (int64_t i = 0; i < rows; i++) {
        index[i] = (int32_t)i;
        ((uint32_t *)index)[rows + i] = o->per_class ? p->class_hash[i] : 0;
        ((uint32_t *)index)[2 * rows + i] = draw;
    }
    TRY(ammpli_take_ints(e, index, 3 * rows, &device));
    TRY(ammpli_take_floats(e, rows * P, &mask));
    RUN(mask_draw, mask, ammpli_value(p, "mask_prob"), device, (uint32_t *)device + rows, (uint32_t *)device + 2 * rows, o->eval_seed,
        AMMPLI_DRAW_MASK_EVAL, 0, AMMPL_MASK_SAMPLE, rows, P);
    return e->ops->download(e->stream, out, mask, (size_t)(rows * P) * sizeof *out);
}

ammpl_status ammpli_session_masks(ammpl_session *s, const ammpl_prompt *p, uint32_t draw, float *out)
{
    ammpli_ammpl_options o;
    TRY(check(p, &o));
    int64_t C = (int64_t)p->classes, P = p->model->grid * p->model->grid, rows = o.per_class ? C : 1;
    for (int64_t i = 0; i < C * P; i++)
        out[i] = 1;
    if (!o.mask)
        return AMMPL_OK;
    TRY(ammpli_session_unplanned(s, (double)rows * (double)(6 + P)));
    TRY(ammpli_session_settle(s, draw_masks(&s->engine, p, &o, draw, rows, P, out)));
    for (int64_t i = rows; i < C; i++)
        memcpy(out + i * P, out, (size_t)P * sizeof *out);
    return AMMPL_OK;
}
