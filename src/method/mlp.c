/* mlp.c - see mlp.h. */
#include "method/mlp.h"

/* For each of g*m rows the number of its group: where its bias stands. */
static ammpl_status group_index(ammpli_engine *e, int64_t groups, int64_t m, int32_t **out)
{
    int32_t *host;
    TRY(ammpli_take_host(e, (size_t)(groups * m) * sizeof *host, (void **)&host));
    for (int64_t i = 0; i < groups * m; i++)
        host[i] = (int32_t)(i / m);
    return ammpli_take_ints(e, host, groups * m, out);
}

ammpl_status ammpli_mlp_forward(ammpli_engine *e, const ammpli_mlp *f, float *y, float *hidden, const float *x, int64_t m)
{
    int64_t g = f->groups, in = f->in, h = f->hidden, out = f->out;
    ammpli_mark mark = ammpli_arena_mark(e);
    int32_t *group;
    float *act;
    TRY(group_index(e, g, m, &group));
    TRY(ammpli_take_floats(e, g * m * h, &act));
    RUN(rows_copy, hidden, NULL, f->b1, group, g * m, h);
    RUN(gemm, g, m, h, in, 1, x, 0, m * in, f->w1, 1, h * in, 1, hidden, m * h);
    RUN(act_forward, act, hidden, g * m * h, AMMPL_ACT_RELU);
    RUN(rows_copy, y, NULL, f->b2, group, g * m, out);
    RUN(gemm, g, m, out, h, 1, act, 0, m * h, f->w2, 1, out * h, 1, y, m * out);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

ammpl_status ammpli_mlp_backward(ammpli_engine *e, const ammpli_mlp *f, const ammpli_mlp_gradient *d, float *dx, const float *dy,
                                 const float *hidden, const float *x, int64_t m)
{
    int64_t g = f->groups, in = f->in, h = f->hidden, out = f->out;
    ammpli_mark mark = ammpli_arena_mark(e);
    int32_t *group;
    float *act, *dh;
    TRY(group_index(e, g, m, &group));
    TRY(ammpli_take_floats(e, g * m * h, &act));
    TRY(ammpli_take_floats(e, g * m * h, &dh));
    RUN(act_forward, act, hidden, g * m * h, AMMPL_ACT_RELU);
    RUN(rows_add, d->b2, group, dy, NULL, g * m, out);
    RUN(gemm, g, out, h, m, 1, dy, 1, m * out, act, 0, m * h, 1, d->w2, out * h);
    RUN(gemm, g, m, h, out, 1, dy, 0, m * out, f->w2, 0, out * h, 0, dh, m * h);
    RUN(act_backward, dh, dh, hidden, g * m * h, AMMPL_ACT_RELU);
    RUN(rows_add, d->b1, group, dh, NULL, g * m, h);
    RUN(gemm, g, h, in, m, 1, dh, 1, m * h, x, 0, m * in, 1, d->w1, h * in);
    RUN(gemm, g, m, in, h, 1, dh, 0, m * h, f->w1, 0, h * in, 0, dx, m * in);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}
