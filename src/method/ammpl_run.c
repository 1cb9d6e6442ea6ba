/* ammpl_run.c - AMMPL for a batch of images: steps 3 to 8 of ammpl.md forward, and all of it backward.
 *
 * Pairs (b, i) are numbered b*C + i.  x are image features (one per encode), z text features; a pair's logit is
 * s <x[of[b,i]], z[b,i]>.
 */
#include "method/ammpl_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct run {
    ammpl_session *s;
    const ammpl_prompt *p;
    const ammpli_ammpl_options *o;
    const ammpl_batch *batch; /* NULL at inference */
    uint32_t draw;
    int64_t B, C;
    float *image;             /* [B,P,W] patch embeddings */
    ammpli_class_side classes;
    const float *z0, *pad_row;
    int64_t pads;
    /* masks: drawn rows, and one more of ones for the plain image */
    float *mask;
    int64_t mask_rows, row_image, row_class;
    float *mask_host; /* [mask_rows,P] */
    bool *own;        /* [B*C] candidates; NULL: all */
    /* encodes: the pictures of step 5, and with order = simultaneous those of x0 */
    ammpli_encodes encodes, first_encodes;
    ammpli_image_stage stage, first_stage;
    float *first_pad_row;
    int64_t first_pads;
    float *x, *first_x;    /* [encodes, E]; first_x is what f_I reads */
    int64_t xs, first_xs;  /* encodes, plain ones included */
    const int32_t *first_of;
    /* step 6: h = f_I(x), as rows [.,l] */
    float *mlp_in, *hidden, *shift;
    float *ones;           /* [l] with shift = scalar */
    int64_t shift_rows;
    int32_t *shift_of;     /* [B*C] host */
    int32_t *cls;          /* [B*C] host: class of each pair */
    ammpli_text_stage text;
    int32_t *of, *text_of; /* [B*C] backend */
    float *logits;         /* [B,C] backend */
} run;

static int64_t patches(const run *r)
{
    return r->p->model->grid * r->p->model->grid;
}

static double logit_factor(const run *r)
{
    return exp(r->p->model->logit_scale);
}

static ammpli_mlp image_to_text(const run *r)
{
    const ammpli_tensor *w1 = ammpli_prompt_find(r->p, "image_to_text.linear1.weight");
    const ammpli_tensor *w2 = ammpli_prompt_find(r->p, "image_to_text.linear2.weight");
    return (ammpli_mlp){.groups = r->o->per_class ? r->C : 1,
                        .in = w1->shape[w1->rank - 1],
                        .hidden = w1->shape[w1->rank - 2],
                        .out = w2->shape[w2->rank - 2],
                        .w1 = w1->value,
                        .b1 = ammpli_value(r->p, "image_to_text.linear1.bias"),
                        .w2 = w2->value,
                        .b2 = ammpli_value(r->p, "image_to_text.linear2.bias")};
}

/* ---- step 3: masks ---- */

/* One draw per image and class, per image, per class or for all, as training or evaluation wants it. */
static ammpl_status draw_masks(run *r)
{
    ammpli_engine *e = &r->s->engine;
    const ammpli_ammpl_options *o = r->o;
    int64_t P = patches(r), B = r->B, C = r->C;
    bool by_class = o->per_class || (r->batch && !o->draws_image);
    r->row_class = by_class ? 1 : 0;
    r->row_image = !r->batch ? 0 : by_class ? C : 1;
    r->mask_rows = (r->batch ? B : 1) * (by_class ? C : 1);
    int64_t n = r->mask_rows;
    int32_t *host, *device;
    TRY(ammpli_take_host(e, (size_t)(3 * n) * sizeof *host, (void **)&host));
    TRY(ammpli_take_host(e, (size_t)((n + 1) * P) * sizeof(float), (void **)&r->mask_host));
    uint32_t *hash = (uint32_t *)host + n, *id = hash + n;
    for (int64_t i = 0; i < n; i++) {
        int64_t c = by_class ? i % C : 0, b = by_class ? i / C : i;
        bool named = r->batch ? by_class : o->per_class;
        host[i] = o->per_class ? (int32_t)c : 0;
        hash[i] = named ? r->p->class_hash[c] : 0;
        id[i] = !r->batch ? r->draw : r->batch->image_id ? r->batch->image_id[b] : (uint32_t)b;
    }
    TRY(ammpli_take_ints(e, host, 3 * n, &device));
    TRY(ammpli_take_floats(e, (n + 1) * P, &r->mask));
    RUN(mask_draw, r->mask, ammpli_value(r->p, "mask_prob"), device, (uint32_t *)device + n, (uint32_t *)device + 2 * n,
        r->batch ? r->batch->seed : o->eval_seed, r->batch ? AMMPLI_DRAW_MASK : AMMPLI_DRAW_MASK_EVAL,
        r->batch ? r->batch->step : 0, r->batch ? AMMPL_MASK_SAMPLE : o->mode, n, P);
    RUN(download, r->mask_host, r->mask, (size_t)(n * P) * sizeof(float));
    for (int64_t j = 0; j < P; j++)
        r->mask_host[n * P + j] = 1;
    return e->ops->upload(e->stream, r->mask + n * P, r->mask_host + n * P, (size_t)P * sizeof(float));
}

/* ---- steps 4 and 5: pictures and their features ---- */

static ammpl_status plain_features(run *r, float *x /*[B,E]*/)
{
    ammpli_engine *e = &r->s->engine;
    size_t bytes = (size_t)(r->B * e->model->embed) * sizeof(float);
    if (r->batch && r->batch->features) /* the caller knows them (shortcut 5) */
        return e->ops->upload(e->stream, x, r->batch->features, bytes);
    ammpli_mark mark = ammpli_arena_mark(e);
    int32_t *all;
    TRY(ammpli_take_host(e, (size_t)r->B * sizeof *all, (void **)&all));
    for (int64_t b = 0; b < r->B; b++)
        all[b] = (int32_t)b;
    ammpli_image_stage plain = {.n = r->B, .most = r->B, .image = r->image, .pixels = e->without & AMMPLI_WITHOUT_LINEAR, .ii = all};
    TRY(ammpli_image_stage_forward(r->s, &plain));
    RUN(copy, x, plain.x, bytes);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

typedef struct ranked {
    float similarity;
    int32_t i;
} ranked;

static int by_similarity(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->similarity != y->similarity)
        return x->similarity > y->similarity ? -1 : 1;
    return x->i - y->i;
}

/* candidates: the K classes nearest by <x_plain, z0>, and the true one in training, get encodes of their own. */
static ammpl_status choose_candidates(run *r)
{
    ammpli_engine *e = &r->s->engine;
    int64_t B = r->B, C = r->C, E = e->model->embed, K = r->o->candidates;
    TRY(ammpli_take_host_zeros(e, B * C, sizeof *r->own, (void **)&r->own));
    ammpli_mark mark = ammpli_arena_mark(e);
    ranked *order;
    float *host, *x, *similarity;
    TRY(ammpli_take_host(e, (size_t)C * sizeof *order, (void **)&order));
    TRY(ammpli_take_host(e, (size_t)(B * C) * sizeof *host, (void **)&host));
    TRY(ammpli_take_floats(e, B * E, &x));
    TRY(ammpli_take_floats(e, B * C, &similarity));
    TRY(plain_features(r, x));
    RUN(gemm, 1, B, C, E, 1, x, 0, 0, r->z0, 1, 0, 0, similarity, 0);
    RUN(download, host, similarity, (size_t)(B * C) * sizeof *host);
    for (int64_t i = 0; i < B * C; i++)
        if (!isfinite(host[i]))
            return ammpli_fail(AMMPL_E_NUMERIC, "an image's features are not finite; the pixels hold NaN or infinity");
    for (int64_t b = 0; b < B; b++) {
        for (int32_t i = 0; i < C; i++)
            order[i] = (ranked){host[b * C + i], i};
        qsort(order, (size_t)C, sizeof *order, by_similarity);
        for (int64_t k = 0; k < K && k < C; k++)
            r->own[b * C + order[k].i] = true;
        if (r->batch)
            r->own[b * C + r->batch->label[b]] = true;
    }
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* How many masked pictures a batch can have, whatever is drawn and whichever classes are the nearest: those are planned for. */
static int64_t most_pictures(const run *r, int64_t pads)
{
    bool alike = r->row_class == 0 && pads <= 1 && !(r->s->engine.without & AMMPLI_WITHOUT_EQUAL); /* one mask and one pad for all classes */
    int64_t owners = r->own ? r->o->candidates + (r->batch ? 1 : 0) : r->C; /* the true class may be none of the nearest */
    return r->B * (alike ? 1 : owners);
}

/* Features x of the pictures that masks and these pads make, plain images last. */
static ammpl_status encode_pictures(run *r, const float *pad_row, int64_t pads, ammpli_encodes *en, ammpli_image_stage *stage,
                                    float **x, int64_t *xs)
{
    ammpli_engine *e = &r->s->engine;
    int64_t E = e->model->embed;
    const ammpli_ammpl_options *o = r->o;
    bool training = r->batch != NULL, equal = !(e->without & AMMPLI_WITHOUT_EQUAL);
    ammpli_encode_question q = {.B = r->B,
                                .C = r->C,
                                .P = patches(r),
                                .pads = pads,
                                .mask = o->mask ? r->mask_host : NULL,
                                .row_image = r->row_image,
                                .row_class = r->row_class,
                                .prob_per_class = o->per_class,
                                .has_pads = pad_row != NULL,
                                /* In training each class's P needs its own part of the gradient, and with blend each pad's. */
                                .merge = equal && (!training || (!o->per_class && !(o->blend && pads > 1))),
                                .by_row = e->rehearsing,
                                .whole_is_plain = equal && !training,
                                .own = r->own};
    TRY(ammpli_encodes_plan(e, &q, en));
    *xs = en->n + (en->plain ? r->B : 0);
    TRY(ammpli_take_floats(e, *xs * E, x));
    if (en->plain)
        TRY(plain_features(r, *x + en->n * E));
    if (en->n == 0)
        return AMMPL_OK;
    *stage = (ammpli_image_stage){.n = en->n,
                                  .most = most_pictures(r, pads),
                                  .image = r->image,
                                  .mask = r->mask,
                                  .pad = pad_row,
                                  .pixels = e->without & AMMPLI_WITHOUT_LINEAR,
                                  .ii = en->ii,
                                  .mi = en->mi,
                                  .ki = en->ki,
                                  .backward = training,
                                  .blend = o->blend ? 1.0f : 0.0f};
    TRY(ammpli_image_stage_forward(r->s, stage));
    return e->ops->copy(e->stream, *x, stage->x, (size_t)(en->n * E) * sizeof(float));
}

/* ---- step 6: h = f_I(x) ---- */

/* Row of class i's reading of image b among f_I's rows in class scope: classes lead, so that each has its own weights. */
static int32_t class_major(const run *r, int64_t pair)
{
    return (int32_t)(pair % r->C * r->B + pair / r->C);
}

static ammpl_status take_ones(ammpli_engine *e, int64_t n, float **out)
{
    float *host;
    TRY(ammpli_take_host(e, (size_t)n * sizeof *host, (void **)&host));
    for (int64_t i = 0; i < n; i++)
        host[i] = 1;
    return ammpli_take_copy(e, host, n, out);
}

static ammpl_status shift_forward(run *r)
{
    ammpli_engine *e = &r->s->engine;
    int64_t pairs = r->B * r->C, E = e->model->embed, l = e->model->text.width;
    ammpli_mlp f = image_to_text(r);
    TRY(ammpli_take_host(e, (size_t)pairs * sizeof *r->shift_of, (void **)&r->shift_of));
    r->shift_rows = r->o->per_class ? pairs : r->first_xs;
    for (int64_t i = 0; i < pairs; i++)
        r->shift_of[i] = r->o->per_class ? class_major(r, i) : r->first_of[i];
    r->mlp_in = r->first_x;
    if (r->o->per_class) {
        int32_t *to, *from;
        TRY(ammpli_take_floats(e, pairs * E, &r->mlp_in));
        TRY(ammpli_take_ints(e, r->shift_of, pairs, &to));
        TRY(ammpli_take_ints(e, r->first_of, pairs, &from));
        RUN(rows_copy, r->mlp_in, to, r->first_x, from, pairs, E);
    }
    float *h;
    TRY(ammpli_take_floats(e, r->shift_rows * f.hidden, &r->hidden));
    TRY(ammpli_take_floats(e, r->shift_rows * f.out, &h));
    TRY(ammpli_mlp_forward(e, &f, h, r->hidden, r->mlp_in, r->shift_rows / f.groups));
    r->shift = h;
    if (r->o->scalar) { /* one number, added to a whole row */
        float *wide;
        TRY(ammpli_take_floats(e, r->shift_rows * l, &wide));
        TRY(take_ones(e, l, &r->ones));
        RUN(gemm, 1, r->shift_rows, l, 1, 1, h, 0, 0, r->ones, 0, 0, 0, wide, 0);
        r->shift = wide;
    }
    return AMMPL_OK;
}

/* How many different shifts a batch can have: one for each of its pictures.  An image without candidates that has a plain picture has one
 * masked one less. */
static int64_t most_shifts(const run *r)
{
    int64_t pairs = r->B * r->C, masked = r->o->mask ? most_pictures(r, r->o->simultaneous ? r->first_pads : r->pads) : 0;
    int64_t plain = !r->o->mask || r->own ? r->B : 0;
    return r->o->per_class || masked + plain > pairs ? pairs : masked + plain;
}

/* dshift [rows,l] to f_I's gradients, and added to the features that f_I read: dx [first_xs,E]. */
static ammpl_status shift_backward(run *r, float *dshift, float *const *grad, float *dx)
{
    ammpli_engine *e = &r->s->engine;
    int64_t pairs = r->B * r->C, E = e->model->embed, l = e->model->text.width;
    ammpli_mlp f = image_to_text(r);
    ammpli_mlp_gradient d = {ammpli_grad_of(r->p, grad, "image_to_text.linear1.weight"),
                             ammpli_grad_of(r->p, grad, "image_to_text.linear1.bias"),
                             ammpli_grad_of(r->p, grad, "image_to_text.linear2.weight"),
                             ammpli_grad_of(r->p, grad, "image_to_text.linear2.bias")};
    ammpli_mark mark = ammpli_arena_mark(e);
    float *dh = dshift, *din;
    if (r->o->scalar) {
        TRY(ammpli_take_floats(e, r->shift_rows, &dh));
        RUN(gemm, 1, r->shift_rows, 1, l, 1, dshift, 0, 0, r->ones, 0, 0, 0, dh, 0);
    }
    TRY(ammpli_take_floats(e, r->shift_rows * E, &din));
    TRY(ammpli_mlp_backward(e, &f, &d, din, dh, r->hidden, r->mlp_in, r->shift_rows / f.groups));
    if (r->o->per_class) {
        int32_t *to, *from;
        TRY(ammpli_take_ints(e, r->first_of, pairs, &to));
        TRY(ammpli_take_ints(e, r->shift_of, pairs, &from));
        RUN(rows_add, dx, to, din, from, pairs, E);
    } else {
        RUN(add, dx, din, 1, r->first_xs * E);
    }
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* ---- the whole ---- */

/* Pixels to all patches, as the stages read them. */
static ammpl_status embed_images(run *r, const float *pixels)
{
    ammpli_engine *e = &r->s->engine;
    const ammpl_model *m = e->model;
    int64_t R = m->grid * m->patch;
    float *device;
    TRY(ammpli_take_floats(e, r->B * patches(r) * ammpli_patch_width(e), &r->image));
    ammpli_mark mark = ammpli_arena_mark(e);
    TRY(ammpli_take_copy(e, pixels, r->B * 3 * R * R, &device));
    if (e->without & AMMPLI_WITHOUT_LINEAR)
        RUN(patches_forward, r->image, device, r->B, m->grid, m->patch);
    else
        TRY(ammpli_patch_embed(e, device, r->B, r->image));
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* Pixels to logits [B,C] in backend memory (r->logits). */
static ammpl_status forward(run *r, const float *pixels)
{
    ammpli_engine *e = &r->s->engine;
    const ammpl_model *m = e->model;
    const ammpli_ammpl_options *o = r->o;
    int64_t pairs = r->B * r->C;
    if (!(r->batch && r->batch->features))
        TRY(embed_images(r, pixels));

    if (r->batch) { /* steps 1 and 2; a gradient reaches z0 through the logits or through f_T */
        bool learned = !o->interaction || ammpli_text_informs_image(o);
        TRY(ammpli_class_side_forward(r->s, r->p, o, learned || o->candidates > 0, learned, &r->classes));
        r->z0 = r->classes.z0;
        r->pad_row = r->classes.pad_row;
        r->pads = r->classes.pads;
    } else {
        TRY(ammpli_class_cache_fill(r->s, r->p, o));
        r->z0 = r->s->cache.z0;
        r->pad_row = r->s->cache.pad_row;
        r->pads = r->s->cache.pads;
    }
    if (o->mask)
        TRY(draw_masks(r));
    if (o->mask && o->candidates > 0 && o->candidates < r->C)
        TRY(choose_candidates(r));

    if (o->simultaneous && o->mask && o->interaction) { /* h comes from x0: the same masks, padded with N alone */
        if (o->padding)
            TRY(ammpli_plain_pads(r->s, r->p, &r->first_pad_row, &r->first_pads));
        TRY(encode_pictures(r, r->first_pad_row, r->first_pads, &r->first_encodes, &r->first_stage, &r->first_x, &r->first_xs));
        r->first_of = r->first_encodes.of;
        TRY(encode_pictures(r, r->pad_row, r->pads, &r->encodes, &r->stage, &r->x, &r->xs));
    } else {
        TRY(encode_pictures(r, r->pad_row, r->pads, &r->encodes, &r->stage, &r->x, &r->xs));
        r->first_x = r->x;
        r->first_xs = r->xs;
        r->first_of = r->encodes.of;
    }

    /* Step 7: z per image and class with interaction, z0 without. */
    const float *z = r->z0;
    TRY(ammpli_take_host(e, (size_t)pairs * sizeof *r->cls, (void **)&r->cls));
    for (int64_t i = 0; i < pairs; i++)
        r->cls[i] = (int32_t)(i % r->C);
    if (o->interaction) {
        TRY(shift_forward(r));
        r->text = (ammpli_text_stage){.prompt = r->p,
                                      .n = pairs,
                                      .cls = r->cls,
                                      .ctx = ammpli_value(r->p, "ctx"),
                                      .per_class = o->per_class,
                                      .shift = r->shift,
                                      .shift_of = r->shift_of,
                                      .shift_rows = r->shift_rows,
                                      .shifts = most_shifts(r),
                                      .backward = r->batch != NULL};
        TRY(ammpli_text_stage_forward(r->s, &r->text));
        z = r->text.z;
    }

    /* Step 8. */
    TRY(ammpli_take_ints(e, r->encodes.of, pairs, &r->of));
    r->text_of = NULL;
    if (!o->interaction)
        TRY(ammpli_take_ints(e, r->cls, pairs, &r->text_of));
    TRY(ammpli_take_floats(e, pairs, &r->logits));
    RUN(dot_forward, r->logits, r->x, r->of, z, r->text_of, (float)logit_factor(r), pairs, m->embed);
    return AMMPL_OK;
}

/* Through the masked pictures of one encode set to P and to the pads' rows. */
static ammpl_status pictures_backward(run *r, ammpli_encodes *en, ammpli_image_stage *stage, const float *dx, int64_t pads,
                                      float *const *grad, float **dpad_row)
{
    ammpli_engine *e = &r->s->engine;
    *dpad_row = NULL;
    if (pads > 0)
        TRY(ammpli_take_zeros(e, pads * ammpli_patch_width(e), dpad_row));
    if (en->n == 0)
        return AMMPL_OK;
    ammpli_image_gradient d = {.pi = en->pi, .prob = ammpli_grad_of(r->p, grad, "mask_prob"), .pad = *dpad_row};
    return ammpli_image_stage_backward(r->s, stage, dx, &d);
}

static ammpl_status backward(run *r, const float *dlogits, float *const *grad)
{
    ammpli_engine *e = &r->s->engine;
    const ammpli_ammpl_options *o = r->o;
    int64_t pairs = r->B * r->C, E = e->model->embed, l = e->model->text.width;
    float *dx, *dz, *dfirst, *dpad_row = NULL;
    int64_t zs = o->interaction ? pairs : r->C;
    TRY(ammpli_take_zeros(e, r->xs * E, &dx));
    TRY(ammpli_take_zeros(e, zs * E, &dz));
    RUN(dot_backward, dx, dz, dlogits, r->x, r->of, o->interaction ? r->text.z : r->z0, r->text_of, (float)logit_factor(r), pairs,
        E);
    bool two_sets = r->first_x != r->x;
    dfirst = dx;
    if (two_sets)
        TRY(ammpli_take_zeros(e, r->first_xs * E, &dfirst));
    if (o->interaction) {
        float *dshift;
        TRY(ammpli_take_zeros(e, r->shift_rows * l, &dshift));
        TRY(ammpli_text_stage_backward(r->s, &r->text, dz, ammpli_grad_of(r->p, grad, "ctx"), dshift, NULL));
        TRY(shift_backward(r, dshift, grad, dfirst));
    }
    if (o->mask) {
        TRY(pictures_backward(r, &r->encodes, &r->stage, dx, r->pads, grad, &dpad_row));
        if (two_sets) {
            float *dfirst_row;
            TRY(pictures_backward(r, &r->first_encodes, &r->first_stage, dfirst, r->first_pads, grad, &dfirst_row));
            if (dfirst_row)
                TRY(ammpli_plain_pads_backward(r->s, r->p, dfirst_row, r->first_pads, grad));
        }
    }
    return ammpli_class_side_backward(r->s, r->p, o, &r->classes, dpad_row, o->interaction ? NULL : dz, grad);
}

ammpl_status ammpli_ammpl_infer(ammpl_session *s, const ammpl_prompt *p, const ammpli_ammpl_options *o, const float *pixels,
                                int64_t n, uint32_t draw, float *logits)
{
    run r = {.s = s, .p = p, .o = o, .draw = draw, .B = n, .C = (int64_t)p->classes};
    TRY(forward(&r, pixels));
    return s->engine.ops->download(s->engine.stream, logits, r.logits, (size_t)(n * r.C) * sizeof *logits);
}

ammpl_status ammpli_ammpl_features(ammpl_session *s, const ammpl_prompt *p, const ammpli_ammpl_options *o, const float *pixels,
                                   int64_t n, float *out)
{
    ammpli_ammpl_options image_only = *o;
    image_only.interaction = false; /* no class is asked about its text */
    run r = {.s = s, .p = p, .o = &image_only, .B = n, .C = (int64_t)p->classes};
    ammpli_engine *e = &s->engine;
    int64_t E = e->model->embed;
    TRY(forward(&r, pixels));
    for (int64_t b = 0; b < n; b++)
        RUN(download, out + b * E, r.x + r.encodes.of[b * r.C] * E, (size_t)E * sizeof *out);
    return AMMPL_OK;
}

/* Forward, loss, backward, and the gradients added to the prompt's. */
static ammpl_status accumulate(run *r, ammpl_prompt *p, double *loss, float *logits)
{
    ammpli_engine *e = &r->s->engine;
    int64_t B = r->B, C = r->C;
    double sum = 0;
    float *dlogits, **grad;
    TRY(forward(r, r->batch->pixels));
    TRY(ammpli_take_floats(e, B * C, &dlogits));
    TRY(ammpli_cross_entropy(e, r->logits, r->batch->label, B, C, ammpli_batch_weight(r->batch), &sum, dlogits));
    TRY(ammpli_check_loss(sum));
    TRY(ammpli_gradients_take(e, p, &grad));
    TRY(backward(r, dlogits, grad));
    if (logits)
        RUN(download, logits, r->logits, (size_t)(B * C) * sizeof *logits);
    TRY(ammpli_gradients_add(e, p, grad));
    *loss = sum;
    return AMMPL_OK;
}

ammpl_status ammpli_ammpl_accumulate(ammpl_session *s, ammpl_prompt *p, const ammpl_batch *batch, double *loss, float *logits)
{
    ammpli_ammpl_options o;
    TRY(ammpli_ammpl_options_of(p, &o));
    run r = {.s = s, .p = p, .o = &o, .batch = batch, .B = (int64_t)batch->n, .C = (int64_t)p->classes};
    return accumulate(&r, p, loss, logits);
}
