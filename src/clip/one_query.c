/* one_query.c - attention in the last block of pictures, of which one row each is read (shortcut 9).
 *
 * Such a row's query q of a head asks keys W_k x_l + b_k of its D/H columns: q . (W_k x_l + b_k) = (W_k^T q) . x_l + a number that is the
 * same for all l, which softmax does not see.  Shares p_l add up to one, so that sum p_l (W_v x_l + b_v) = W_v (sum p_l x_l) + b_v.  So
 * neither keys nor values are computed.  x_l stands for the rows behind LN1.
 *
 * A head's W_k or W_v is no weight of its own: zeros around what belongs to the head pick it out of QKV's, which 2 H + 1 rows a picture go
 * through instead of L, H of them from the other side.
 */
#include "clip/one_query.h"

#include <math.h>

bool ammpli_one_query(const ammpli_pass *pass, int64_t i)
{
    return pass->one_query && i + 1 == pass->tower->layers;
}

/* Rows of D/H: QKV of the rows that are read are [n,3,H] such, and those between zeros, one for each head, [n,H,3,H]. */
ammpl_status ammpli_one_query_take(ammpli_engine *e, ammpli_pass *pass)
{
    const ammpli_tower *t = pass->tower;
    int64_t H = t->heads, n = pass->B, each = n * H;
    bool alike = !t->causal && pass->T == n * pass->max_len && pass->prefix.rows == 0;
    pass->one_query = alike && pass->to == t->layers && !pass->every_row && !(e->without & AMMPLI_WITHOUT_ONE_QUERY) &&
                      2 * H + 1 < pass->max_len && each <= INT32_MAX / (3 * H);
    if (!pass->one_query)
        return AMMPL_OK;
    int32_t *host, *device;
    TRY(ammpli_take_host(e, (size_t)(3 * each) * sizeof *host, (void **)&host));
    for (int64_t r = 0; r < n; r++)
        for (int64_t h = 0; h < H; h++) {
            int64_t row = r * H + h;
            host[row] = (int32_t)(3 * r * H + h);
            host[each + row] = (int32_t)((3 * row + 1) * H + h);
            host[2 * each + row] = (int32_t)((3 * row + 2) * H + h);
        }
    TRY(ammpli_take_ints(e, host, 3 * each, &device));
    pass->head_query = device;
    pass->head_key = device + each;
    pass->head_value = device + 2 * each;
    return AMMPL_OK;
}

/* out [n*H,D] = the rows' parts [n*H,D/H], each through the columns of the keys (or values) of its head, back to LN1's side; wide
 * [n*H,3D] is scratch. */
static ammpl_status through_head(ammpli_engine *e, const ammpli_pass *pass, float *out, const float *parts, const int32_t *part,
                                 const int32_t *head, float *wide)
{
    const ammpli_tower *t = pass->tower;
    int64_t D = t->width, rows = pass->B * t->heads;
    RUN(zero, wide, (size_t)(rows * 3 * D) * sizeof(float));
    RUN(rows_copy, wide, head, parts, part, rows, D / t->heads);
    return e->ops->linear_backward(e->stream, out, wide, t->block[t->layers - 1].qkv, NULL, AMMPL_ACT_NONE, rows);
}

ammpl_status ammpli_one_query_forward(ammpli_engine *e, const ammpli_pass *pass, const float *h, float *query, float *share, float *attn)
{
    const ammpli_tower *t = pass->tower;
    const ammpli_block *b = &t->block[t->layers - 1];
    int64_t n = pass->B, L = pass->max_len, D = t->width, H = t->heads;
    float scale = 1 / sqrtf((float)D / (float)H);
    ammpli_mark mark = ammpli_arena_mark(e);
    float *asking, *qkv, *wide, *mean;
    TRY(ammpli_take_floats(e, n * D, &asking));
    TRY(ammpli_take_floats(e, n * 3 * D, &qkv));
    TRY(ammpli_take_floats(e, n * H * 3 * D, &wide));
    TRY(ammpli_take_floats(e, n * H * D, &mean));
    RUN(rows_copy, asking, NULL, h, pass->read, n, D);
    RUN(linear_forward, qkv, NULL, asking, b->qkv, b->qkv_bias, NULL, AMMPL_ACT_NONE, n);
    TRY(through_head(e, pass, query, qkv, pass->head_query, pass->head_key, wide));
    RUN(gemm, n, H, L, D, 1, query, false, H * D, h, true, L * D, 0, share, H * L);
    RUN(softmax_forward, share, share, scale, n * H, L);
    RUN(gemm, n, H, D, L, 1, share, false, H * L, h, false, L * D, 0, mean, H * D);
    RUN(linear_forward, wide, NULL, mean, b->qkv, b->qkv_bias, NULL, AMMPL_ACT_NONE, n * H);
    RUN(rows_copy, attn, NULL, wide, pass->head_value, n * H, D / H);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

ammpl_status ammpli_one_query_backward(ammpli_engine *e, const ammpli_pass *pass, float *dh, const float *dattn, const float *h,
                                       const float *query, const float *share)
{
    const ammpli_tower *t = pass->tower;
    const ammpli_block *b = &t->block[t->layers - 1];
    int64_t n = pass->B, L = pass->max_len, D = t->width, H = t->heads;
    float scale = 1 / sqrtf((float)D / (float)H);
    ammpli_mark mark = ammpli_arena_mark(e);
    float *wide, *dmean, *dshare, *dquery, *dqkv, *dasking;
    TRY(ammpli_take_floats(e, n * H * 3 * D, &wide));
    TRY(ammpli_take_floats(e, n * H * D, &dmean));
    TRY(ammpli_take_floats(e, n * H * L, &dshare));
    TRY(ammpli_take_floats(e, n * H * D, &dquery));
    TRY(ammpli_take_floats(e, n * D, &dasking));
    TRY(ammpli_take_zeros(e, n * 3 * D, &dqkv));
    TRY(through_head(e, pass, dmean, dattn, NULL, pass->head_value, wide));
    RUN(gemm, n, H, L, D, 1, dmean, false, H * D, h, true, L * D, 0, dshare, H * L);
    RUN(gemm, n, L, D, H, 1, share, true, H * L, dmean, false, H * D, 0, dh, L * D);
    RUN(softmax_backward, dshare, dshare, share, scale, n * H, L);
    RUN(gemm, n, L, D, H, 1, dshare, true, H * L, query, false, H * D, 1, dh, L * D);
    /* The query, by what it was taken through. */
    RUN(gemm, n, H, D, L, 1, dshare, false, H * L, h, false, L * D, 0, dquery, H * D);
    RUN(linear_forward, wide, NULL, dquery, b->qkv, NULL, NULL, AMMPL_ACT_NONE, n * H);
    RUN(rows_copy, dqkv, pass->head_query, wide, pass->head_key, n * H, D / H);
    RUN(linear_backward, dasking, dqkv, b->qkv, NULL, AMMPL_ACT_NONE, n);
    RUN(rows_add, dh, pass->read, dasking, NULL, n, D);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}
