/* ammpl_classes.c - the class side of AMMPL: z0 (steps 1 and 2 of ammpl.md) and the pads that it informs. */
#include "method/ammpl_run.h"

static int64_t tile_size(const ammpl_model *m)
{
    return 3 * m->patch * m->patch;
}

static ammpli_mlp text_to_image(const ammpl_prompt *p, const ammpli_ammpl_options *o)
{
    const ammpli_tensor *w1 = ammpli_prompt_find(p, "text_to_image.linear1.weight");
    return (ammpli_mlp){.groups = o->per_class ? (int64_t)p->classes : 1,
                        .in = w1->shape[w1->rank - 1],
                        .hidden = w1->shape[w1->rank - 2],
                        .out = tile_size(p->model),
                        .w1 = w1->value,
                        .b1 = ammpli_value(p, "text_to_image.linear1.bias"),
                        .w2 = ammpli_value(p, "text_to_image.linear2.weight"),
                        .b2 = ammpli_value(p, "text_to_image.linear2.bias")};
}

/* For each of K pads the row of `padding` it starts from: its class's, or the one there is. */
static ammpl_status tile_rows(ammpli_engine *e, int64_t pads, bool per_class, int32_t **out)
{
    int32_t *host;
    TRY(ammpli_take_host(e, (size_t)pads * sizeof *host, (void **)&host));
    for (int64_t i = 0; i < pads; i++)
        host[i] = per_class ? (int32_t)i : 0;
    return ammpli_take_ints(e, host, pads, out);
}

/* pad_row [K,W] = conv1 of each tile, or without shortcut 7 the tile itself; and back. */
static ammpl_status embed_pads(ammpli_engine *e, const float *pad, int64_t pads, float **pad_row)
{
    const ammpl_model *m = e->model;
    int64_t D = ammpli_patch_width(e);
    TRY(ammpli_take_floats(e, pads * D, pad_row));
    if (e->without & AMMPLI_WITHOUT_LINEAR)
        return e->ops->copy(e->stream, *pad_row, pad, (size_t)(pads * D) * sizeof *pad);
    return e->ops->linear_forward(e->stream, *pad_row, NULL, pad, m->patch_weight, NULL, NULL, AMMPL_ACT_NONE, pads);
}

static ammpl_status embed_pads_backward(ammpli_engine *e, const float *dpad_row, int64_t pads, float **dpad)
{
    int64_t tile = tile_size(e->model);
    TRY(ammpli_take_floats(e, pads * tile, dpad));
    if (e->without & AMMPLI_WITHOUT_LINEAR)
        return e->ops->copy(e->stream, *dpad, dpad_row, (size_t)(pads * tile) * sizeof *dpad_row);
    return e->ops->linear_backward(e->stream, *dpad, dpad_row, e->model->patch_weight, NULL, AMMPL_ACT_NONE, pads);
}

ammpl_status ammpli_class_side_forward(ammpl_session *s, const ammpl_prompt *p, const ammpli_ammpl_options *o, bool with_z0,
                                       bool backward, ammpli_class_side *c)
{
    ammpli_engine *e = &s->engine;
    int64_t C = (int64_t)p->classes, tile = tile_size(p->model);
    *c = (ammpli_class_side){0};
    if (with_z0) { /* step 1 */
        c->text = (ammpli_text_stage){.prompt = p,
                                      .n = C,
                                      .ctx = ammpli_value(p, "ctx"),
                                      .per_class = o->per_class,
                                      .backward = backward};
        TRY(ammpli_text_stage_forward(s, &c->text));
        c->z0 = c->text.z;
    }
    if (!ammpli_has_pads(o))
        return AMMPL_OK;
    /* Step 2: pad = N + f_T(z0). */
    bool informed = ammpli_text_informs_image(o);
    c->pads = o->per_class || informed ? C : 1;
    TRY(ammpli_take_zeros(e, c->pads * tile, &c->pad));
    if (informed) {
        ammpli_mlp f = text_to_image(p, o);
        TRY(ammpli_take_floats(e, C * f.hidden, &c->hidden));
        TRY(ammpli_mlp_forward(e, &f, c->pad, c->hidden, c->z0, C / f.groups));
    }
    if (o->padding) {
        ammpli_mark mark = ammpli_arena_mark(e);
        int32_t *row;
        TRY(tile_rows(e, c->pads, o->per_class, &row));
        RUN(rows_add, c->pad, NULL, ammpli_value(p, "padding"), row, c->pads, tile);
        ammpli_arena_release(e, mark);
    }
    return embed_pads(e, c->pad, c->pads, &c->pad_row);
}

ammpl_status ammpli_class_side_backward(ammpl_session *s, const ammpl_prompt *p, const ammpli_ammpl_options *o,
                                        ammpli_class_side *c, const float *dpad_row, float *dz0, float *const *grad)
{
    ammpli_engine *e = &s->engine;
    int64_t C = (int64_t)p->classes, E = e->model->embed;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *dz = dz0;
    if (dpad_row) {
        float *dpad;
        TRY(embed_pads_backward(e, dpad_row, c->pads, &dpad));
        if (o->padding) {
            int32_t *row;
            TRY(tile_rows(e, c->pads, o->per_class, &row));
            RUN(rows_add, ammpli_grad_of(p, grad, "padding"), row, dpad, NULL, c->pads, tile_size(p->model));
        }
        if (ammpli_text_informs_image(o)) {
            ammpli_mlp f = text_to_image(p, o);
            ammpli_mlp_gradient d = {ammpli_grad_of(p, grad, "text_to_image.linear1.weight"),
                                     ammpli_grad_of(p, grad, "text_to_image.linear1.bias"),
                                     ammpli_grad_of(p, grad, "text_to_image.linear2.weight"),
                                     ammpli_grad_of(p, grad, "text_to_image.linear2.bias")};
            float *dx;
            TRY(ammpli_take_floats(e, C * E, &dx));
            TRY(ammpli_mlp_backward(e, &f, &d, dx, dpad, c->hidden, c->z0, C / f.groups));
            if (dz0)
                RUN(add, dx, dz0, 1, C * E);
            dz = dx;
        }
    }
    if (dz)
        TRY(ammpli_text_stage_backward(s, &c->text, dz, ammpli_grad_of(p, grad, "ctx"), NULL, NULL));
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

ammpl_status ammpli_plain_pads(ammpl_session *s, const ammpl_prompt *p, float **pad_row, int64_t *pads)
{
    const ammpli_tensor *n = ammpli_prompt_find(p, "padding");
    *pads = n->count / tile_size(p->model);
    return embed_pads(&s->engine, n->value, *pads, pad_row);
}

ammpl_status ammpli_plain_pads_backward(ammpl_session *s, const ammpl_prompt *p, const float *dpad_row, int64_t pads,
                                        float *const *grad)
{
    ammpli_engine *e = &s->engine;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *dpad;
    TRY(embed_pads_backward(e, dpad_row, pads, &dpad));
    RUN(add, ammpli_grad_of(p, grad, "padding"), dpad, 1, pads * tile_size(p->model));
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* A copy in memory of the cache's own; NULL stays NULL. */
static ammpl_status keep_copy(ammpl_session *s, const float *src, int64_t n, float **out)
{
    ammpli_engine *e = &s->engine;
    *out = NULL;
    if (!src)
        return AMMPL_OK;
    TRY(ammpli_session_keep(s, &s->cache.bytes, (size_t)n * sizeof *src, out));
    return e->ops->copy(e->stream, *out, src, (size_t)n * sizeof *src);
}

ammpl_status ammpli_class_cache_fill(ammpl_session *s, const ammpl_prompt *p, const ammpli_ammpl_options *o)
{
    ammpli_class_cache *cache = &s->cache;
    if (cache->prompt_id == p->id && cache->revision == p->revision)
        return AMMPL_OK;
    ammpli_session_clear_cache(s);
    ammpli_engine *e = &s->engine;
    int64_t C = (int64_t)p->classes;
    ammpli_mark mark = ammpli_arena_mark(e);
    ammpli_class_side c;
    TRY(ammpli_class_side_forward(s, p, o, true, false, &c));
    TRY(keep_copy(s, c.z0, C * e->model->embed, &cache->z0));
    TRY(keep_copy(s, c.pad, c.pads * tile_size(p->model), &cache->pad));
    TRY(keep_copy(s, c.pad_row, c.pads * ammpli_patch_width(e), &cache->pad_row));
    cache->pads = c.pads;
    cache->prompt_id = p->id;
    cache->revision = p->revision;
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}
