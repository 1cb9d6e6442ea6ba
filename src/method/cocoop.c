/* cocoop.c - CoCoOp: a small network shifts CoOp's context by the image (Zhou et al., CVPR 2022; methods.md 5.3). */
#include "method/context.h"
#include "method/dual.h"
#include "method/methods.h"
#include "method/mlp.h"

#include <math.h>
#include <string.h>

static int64_t bottleneck(const ammpl_model *m)
{
    return m->embed / 16 > 1 ? m->embed / 16 : 1;
}

static ammpl_status define(ammpl_prompt *p)
{
    const ammpl_model *m = p->model;
    int64_t M, E = m->embed, l = m->text.width, r = bottleneck(m);
    TRY(ammpli_context_count(p, 0, &M));
    TRY(ammpli_prompt_add(p, "ctx", 2, (int64_t[]){M, l}, true, 0));
    TRY(ammpli_prompt_add(p, "meta_net.linear1.weight", 2, (int64_t[]){r, E}, true, 0));
    TRY(ammpli_prompt_add(p, "meta_net.linear1.bias", 1, (int64_t[]){r}, true, 0));
    TRY(ammpli_prompt_add(p, "meta_net.linear2.weight", 2, (int64_t[]){l, r}, true, 0));
    return ammpli_prompt_add(p, "meta_net.linear2.bias", 1, (int64_t[]){l}, true, 0);
}

static ammpl_status initialise(const ammpl_prompt *p, const ammpli_tensor *t, uint64_t seed, float *value)
{
    if (strcmp(t->name, "ctx") == 0)
        return ammpli_context_initialise(p, t, false, seed, value);
    ammpli_initial_uniform(t->name, 0, seed, strstr(t->name, "linear1") ? p->model->embed : bottleneck(p->model), value, t->count);
    return AMMPL_OK;
}

static ammpl_status bind(ammpl_prompt *p)
{
    return ammpli_context_bind(p, ammpli_config_int(p->config, AMMPL_OPT_N_CTX), AMMPLI_POSITION_END, false);
}

static ammpl_status infer(ammpl_prompt *p, const ammpli_st *st)
{
    const ammpli_st_tensor *ctx = ammpli_st_find(st, "ctx");
    return ctx && ctx->rank == 2 ? ammpli_infer_int(p, st, AMMPL_OPT_N_CTX, 1, ctx->shape[0]) : AMMPL_OK;
}

static int32_t conditioning(const ammpl_prompt *p)
{
    (void)p;
    return 1;
}

static void cost(const ammpl_prompt *p, ammpl_cost *out)
{
    out->image_encodes = 1;
    out->text_encodes = p->classes;
}

typedef struct run {
    ammpl_session *s;
    const ammpl_prompt *p;
    int64_t B, C;
    ammpli_mlp net;
    float *x, *hidden, *shift; /* [B,E] plain features, [B,r], [B,l] */
    int32_t *cls, *image;      /* [B*C] host: class and image of pair b*C + i */
    ammpli_text_stage text;    /* z [B*C,E] */
    int32_t *image_of;         /* the same in backend memory */
    float *logits;             /* [B,C] */
} run;

static ammpl_status pairs(run *r)
{
    int64_t n = r->B * r->C;
    if (n > INT32_MAX / 4)
        return ammpli_fail(AMMPL_E_MEMORY, "%lld images of %lld classes in one step are too many; use a smaller batch", (long long)r->B,
                           (long long)r->C);
    TRY(ammpli_take_host(&r->s->engine, (size_t)(2 * n) * sizeof *r->cls, (void **)&r->cls));
    r->image = r->cls + n;
    for (int64_t i = 0; i < n; i++) {
        r->cls[i] = (int32_t)(i % r->C);
        r->image[i] = (int32_t)(i / r->C);
    }
    return ammpli_take_ints(&r->s->engine, r->image, n, &r->image_of);
}

/* x (set) -> pi = net(x); class i reads ctx + pi_b for image b; logits = s <x_b, z_bi>. */
static ammpl_status forward(run *r, bool backward)
{
    ammpli_engine *e = &r->s->engine;
    const ammpl_model *m = e->model;
    const ammpl_prompt *p = r->p;
    int64_t l = m->text.width, h = bottleneck(m);
    r->net = (ammpli_mlp){.groups = 1,
                          .in = m->embed,
                          .hidden = h,
                          .out = l,
                          .w1 = ammpli_value(p, "meta_net.linear1.weight"),
                          .b1 = ammpli_value(p, "meta_net.linear1.bias"),
                          .w2 = ammpli_value(p, "meta_net.linear2.weight"),
                          .b2 = ammpli_value(p, "meta_net.linear2.bias")};
    TRY(ammpli_take_floats(e, r->B * h, &r->hidden));
    TRY(ammpli_take_floats(e, r->B * l, &r->shift));
    TRY(ammpli_mlp_forward(e, &r->net, r->shift, r->hidden, r->x, r->B));
    TRY(pairs(r));
    r->text = (ammpli_text_stage){.prompt = p,
                                  .n = r->B * r->C,
                                  .cls = r->cls,
                                  .ctx = ammpli_value(p, "ctx"),
                                  .shift = r->shift,
                                  .shift_of = r->image,
                                  .shift_rows = r->B,
                                  .shifts = r->B,
                                  .backward = backward};
    TRY(ammpli_text_stage_forward(r->s, &r->text));
    TRY(ammpli_take_floats(e, r->B * r->C, &r->logits));
    return e->ops->dot_forward(e->stream, r->logits, r->x, r->image_of, r->text.z, NULL, (float)exp(m->logit_scale), r->B * r->C,
                               m->embed);
}

static ammpl_status backward(run *r, const float *dlogits, float *const *grad)
{
    ammpli_engine *e = &r->s->engine;
    const ammpl_model *m = e->model;
    int64_t n = r->B * r->C, E = m->embed;
    ammpli_mlp_gradient d = {ammpli_grad_of(r->p, grad, "meta_net.linear1.weight"), ammpli_grad_of(r->p, grad, "meta_net.linear1.bias"),
                             ammpli_grad_of(r->p, grad, "meta_net.linear2.weight"), ammpli_grad_of(r->p, grad, "meta_net.linear2.bias")};
    float *dz, *dshift, *dx;
    TRY(ammpli_take_zeros(e, n * E, &dz));
    TRY(ammpli_take_zeros(e, r->B * m->text.width, &dshift));
    TRY(ammpli_take_floats(e, r->B * E, &dx)); /* the image tower is not trained: nobody reads it */
    RUN(dot_backward, NULL, dz, dlogits, r->x, r->image_of, r->text.z, NULL, (float)exp(m->logit_scale), n, E);
    TRY(ammpli_text_stage_backward(r->s, &r->text, dz, ammpli_grad_of(r->p, grad, "ctx"), dshift, NULL));
    return ammpli_mlp_backward(e, &r->net, &d, dx, dshift, r->hidden, r->x, r->B);
}

static ammpl_status run_step(run *r, ammpl_prompt *p, const ammpl_batch *batch, float *const *grad, double *loss, float *logits)
{
    ammpli_engine *e = &r->s->engine;
    double sum = 0;
    float *dlogits;
    if (batch->features)
        TRY(ammpli_take_copy(e, batch->features, r->B * e->model->embed, &r->x));
    else
        TRY(ammpli_plain_features(r->s, batch->pixels, r->B, &r->x));
    TRY(forward(r, true));
    TRY(ammpli_take_floats(e, r->B * r->C, &dlogits));
    TRY(ammpli_cross_entropy(e, r->logits, batch->label, r->B, r->C, ammpli_batch_weight(batch), &sum, dlogits));
    TRY(ammpli_check_loss(sum));
    TRY(backward(r, dlogits, grad));
    if (logits)
        RUN(download, logits, r->logits, (size_t)(r->B * r->C) * sizeof *logits);
    TRY(ammpli_gradients_add(e, p, grad));
    *loss = sum;
    return AMMPL_OK;
}

static ammpl_status accumulate(ammpl_session *s, ammpl_prompt *p, const ammpl_batch *batch, double *loss, float *logits)
{
    run r = {.s = s, .p = p, .B = (int64_t)batch->n, .C = (int64_t)p->classes};
    float **grad;
    ammpli_arena_reset(&s->engine);
    TRY(ammpli_gradients_take(&s->engine, p, &grad));
    return run_step(&r, p, batch, grad, loss, logits);
}

static ammpl_status predict(ammpl_session *s, const ammpl_prompt *p, const float *pixels, int64_t n, float *logits)
{
    ammpli_engine *e = &s->engine;
    int64_t R = p->model->grid * p->model->patch, C = (int64_t)p->classes;
    int64_t most = ammpli_images_at_once(s, AMMPLI_PAIRS_AT_ONCE);
    for (int64_t from = 0; from < n; from += most) {
        run r = {.s = s, .p = p, .B = n - from < most ? n - from : most, .C = C};
        ammpli_arena_reset(e);
        TRY(ammpli_plain_features(s, pixels + from * 3 * R * R, r.B, &r.x));
        TRY(forward(&r, false));
        RUN(download, logits + from * C, r.logits, (size_t)(r.B * C) * sizeof *logits);
    }
    return AMMPL_OK;
}

/* The context before an image shifts it. */
static ammpl_status assemble(ammpl_session *s, const ammpl_prompt *p, const ammpl_batch *batch, float *const *grad, ammpli_sides *d)
{
    (void)s;
    (void)batch;
    (void)grad;
    d->ctx = ammpli_value(p, "ctx");
    return AMMPL_OK;
}

const ammpli_method ammpli_method_cocoop = {
    .id = AMMPL_METHOD_COCOOP,
    .name = "cocoop",
    .doc = "text context, and a small network that shifts it by what an image shows",
    .options = (const char *const[]){"n_ctx", "ctx_init", NULL},
    .defaults = /* the table's are CoCoOp's: 10 epochs, batch 1, four words */
        (const ammpli_default[]){{AMMPLI_PUBLISHED, 0, "drop_last", "true"}, {0}},
    .define = define,
    .initialise = initialise,
    .bind = bind,
    .infer = infer,
    .conditioning = conditioning,
    .can_rebind = ammpli_yes,
    .cost = cost,
    .plain_images = ammpli_yes,
    .assemble = assemble,
    .predict = predict,
    .accumulate = accumulate,
    .encode_classes = ammpli_dual_encode_classes,
};
