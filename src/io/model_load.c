/* model_load.c - tensors, one by one, into the device's form: at no time is more than one of them resident as read. */
#include "io/model_parts.h"

#include <string.h>

/* What loading needs besides the model: room for one tensor as it is read, used for all of them. */
typedef struct loading {
    ammpl_model *m;
    char *room;
    size_t size;
} loading;

static ammpl_status make_room(loading *l, size_t bytes)
{
    if (bytes <= l->size)
        return AMMPL_OK;
    ammpli_free(l->m->ctx, l->room);
    l->room = ammpli_alloc(l->m->ctx, bytes, 1);
    l->size = l->room ? bytes : 0;
    return l->room ? AMMPL_OK : AMMPL_E_MEMORY;
}

/* ---- reading ---- */

static size_t dtype_size(int32_t dtype)
{
    return dtype == AMMPL_DTYPE_F32 ? 4 : 2;
}

/* The first of n raw numbers that is NaN or infinite: has all exponent bits set, in each of the formats.  n: none. */
static int64_t first_infinite(const void *data, int32_t dtype, int64_t n)
{
    int64_t i = 0;
    if (dtype == AMMPL_DTYPE_F32) {
        const uint32_t *x = data, mask = 0x7f800000u;
        for (; i < n && (x[i] & mask) != mask; i++)
            ;
    } else {
        const uint16_t *x = data, mask = dtype == AMMPL_DTYPE_F16 ? 0x7c00 : 0x7f80;
        for (; i < n && (x[i] & mask) != mask; i++)
            ;
    }
    return i;
}

enum { PIECE = 1 << 18 }; /* bytes that a task reads: they are looked at while they are in cache */

typedef struct reading {
    const ammpli_part *part;
    int64_t first, count; /* elements first .. first+count-1 */
    char *dst;
    atomic_bool failed;
} reading;

static ammpl_status read_elements(const reading *r, int64_t first, int64_t count)
{
    const ammpli_st_tensor *t = r->part->t;
    size_t size = dtype_size(t->dtype);
    char *dst = r->dst + (size_t)first * size;
    TRY(ammpli_st_read_part(r->part->st, t, (uint64_t)(r->first + first) * size, (size_t)count * size, dst));
    int64_t bad = first_infinite(dst, t->dtype, count);
    if (bad == count)
        return AMMPL_OK;
    return ammpli_fail(AMMPL_E_NUMERIC, "%s: tensor %s: its element %lld is NaN or infinite", ammpli_st_name(r->part->st), t->name,
                       (long long)(r->first + first + bad));
}

static void read_piece(void *arg, int64_t i, int worker)
{
    (void)worker;
    reading *r = arg;
    int64_t each = PIECE / (int64_t)dtype_size(r->part->t->dtype), left = r->count - i * each;
    if (read_elements(r, i * each, left < each ? left : each) < 0)
        atomic_store(&r->failed, true);
}

/* Elements of a part as the file has them, on all threads. */
static ammpl_status read_raw(const loading *l, const ammpli_part *p, int64_t first, int64_t count, void *dst)
{
    reading r = {.part = p, .first = first, .count = count, .dst = dst};
    int64_t each = PIECE / (int64_t)dtype_size(p->t->dtype);
    ammpli_parallel(l->m->ctx->pool, (count + each - 1) / each, read_piece, &r);
    if (!atomic_load(&r.failed))
        return AMMPL_OK;
    ammpli_clear_error(); /* once more, for the sentence of the first failure: each thread has its own */
    TRY(read_elements(&r, 0, count));
    return ammpli_fail(AMMPL_E_IO, "%s: tensor %s: could not be read at first; try again", ammpli_st_name(p->st), p->t->name);
}

/* n parts of equal shape, one after the other: q, k, v become the rows that OpenAI stores as one. */
static ammpl_status read_f32(const ammpli_part *p, int n, float *dst)
{
    for (int i = 0; i < n; i++)
        TRY(ammpli_st_read_f32(p[i].st, p[i].t, dst + i * p->t->count));
    return AMMPL_OK;
}

/* ---- F16 ---- */

/* Round to nearest, ties to even; 0x7c00 (infinity) beyond F16. */
static uint16_t to_f16(float x)
{
    uint32_t bits, sign, small;
    memcpy(&bits, &x, sizeof bits);
    sign = bits >> 16 & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits >= 0x477ff000u) /* 65520 */
        return (uint16_t)(sign | 0x7c00u);
    if (bits < 113u << 23) { /* below 2^-14: adding 1/2 rounds to multiples of 2^-24 */
        float shifted = (x < 0 ? -x : x) + 0.5f;
        memcpy(&small, &shifted, sizeof small);
        return (uint16_t)(sign | (small - 0x3f000000u));
    }
    return (uint16_t)(sign | (bits + 0xfffu + (bits >> 13 & 1u) - (112u << 23)) >> 13);
}

/* n floats to F16 in their own place. */
static ammpl_status narrow(const ammpli_part *p, float *data, int64_t n)
{
    uint16_t *to = (uint16_t *)(void *)data;
    for (int64_t i = 0; i < n; i++) {
        float x = data[i];
        uint16_t h = to_f16(x);
        if ((h & 0x7c00u) == 0x7c00u)
            return ammpli_fail(AMMPL_E_NUMERIC, "%s: tensor %s: its element %lld is %g, more than F16 can hold; load with weights = f32",
                               ammpli_st_name(p->st), p->t->name, (long long)i, (double)x);
        to[i] = h;
    }
    return AMMPL_OK;
}

/* n parts as one array of a dtype in l's room: the file's, F32, or F16 from any. */
static ammpl_status read_as(loading *l, const ammpli_part *p, int n, int32_t dtype)
{
    int64_t count = p->t->count;
    bool same = true;
    for (int i = 0; i < n; i++)
        same = same && p[i].t->dtype == dtype;
    TRY(make_room(l, (size_t)(n * count) * (same ? dtype_size(dtype) : sizeof(float))));
    if (same) {
        for (int i = 0; i < n; i++)
            TRY(read_raw(l, &p[i], 0, count, l->room + (size_t)(i * count) * dtype_size(dtype)));
        return AMMPL_OK;
    }
    float *numbers = (float *)(void *)l->room;
    TRY(read_f32(p, n, numbers));
    return dtype == AMMPL_DTYPE_F16 ? narrow(p, numbers, n * count) : AMMPL_OK;
}

/* ---- to the device ---- */

static ammpl_status upload(ammpl_model *m, const void *host, size_t bytes, void **out)
{
    TRY(m->ops->alloc(m->stream, bytes, out));
    TRY(m->ops->upload(m->stream, *out, host, bytes));
    return m->ops->sync(m->stream); /* the host's copy goes away */
}

static ammpl_status load_vectors(loading *l, const ammpli_part *p, int n, float **out)
{
    size_t bytes = (size_t)p->t->count * (size_t)n * sizeof(float);
    TRY(make_room(l, bytes));
    TRY(read_f32(p, n, (float *)(void *)l->room));
    return upload(l->m, l->room, bytes, (void **)out);
}

static ammpl_status load_vector(loading *l, const ammpli_part *p, float **out)
{
    return load_vectors(l, p, 1, out);
}

/* n parts of [N/n, K] each (or one of [K, N] when transposed) as one packed [N, K]. */
static ammpl_status load_weight(loading *l, const ammpli_part *p, int n, bool transposed, int64_t N, int64_t K, ammpl_weight **out)
{
    ammpl_model *m = l->m;
    int32_t dtype = p->t->dtype, flags = transposed ? AMMPL_WEIGHT_TRANSPOSED : 0;
    for (int i = 1; i < n; i++)
        if (p[i].t->dtype != dtype)
            dtype = AMMPL_DTYPE_F32; /* of mixed types: the one that holds all */
    if (m->keep_f16) {
        dtype = AMMPL_DTYPE_F16;
        flags |= AMMPL_WEIGHT_KEEP_F16;
    }
    TRY(read_as(l, p, n, dtype));
    TRY(m->ops->weight_create(m->stream, l->room, dtype, flags, N, K, out));
    return m->ops->sync(m->stream);
}

/* The token table, a part at a time: it is by far the largest. */
static ammpl_status load_tokens(loading *l, const ammpli_part *p)
{
    enum { AT_ONCE = 1 << 20 };
    ammpl_model *m = l->m;
    bool narrowed = m->keep_f16 && p->t->dtype != AMMPL_DTYPE_F16;
    if (narrowed) {
        m->token_dtype = AMMPL_DTYPE_F16;
        TRY(read_as(l, p, 1, AMMPL_DTYPE_F16));
        return upload(m, l->room, (size_t)p->t->count * dtype_size(AMMPL_DTYPE_F16), &m->token_table);
    }
    size_t size = dtype_size(p->t->dtype);
    TRY(make_room(l, AT_ONCE * size));
    TRY(m->ops->alloc(m->stream, (size_t)p->t->count * size, &m->token_table));
    for (int64_t i = 0; i < p->t->count; i += AT_ONCE) {
        int64_t n = p->t->count - i < AT_ONCE ? p->t->count - i : AT_ONCE;
        TRY(read_raw(l, p, i, n, l->room));
        TRY(m->ops->upload(m->stream, (char *)m->token_table + (size_t)i * size, l->room, (size_t)n * size));
        TRY(m->ops->sync(m->stream));
    }
    return AMMPL_OK;
}

/* ---- towers ---- */

static ammpl_status load_block(loading *l, const ammpli_tower *t, const ammpli_part *p, ammpli_block *b)
{
    int64_t D = t->width, F = t->hidden;
    TRY(load_vector(l, &p[AMMPLI_LN1_W], &b->ln1_gamma));
    TRY(load_vector(l, &p[AMMPLI_LN1_B], &b->ln1_beta));
    if (p[AMMPLI_QKV_W].t) {
        TRY(load_weight(l, &p[AMMPLI_QKV_W], 1, false, 3 * D, D, &b->qkv));
        TRY(load_vector(l, &p[AMMPLI_QKV_B], &b->qkv_bias));
    } else {
        const ammpli_part weight[3] = {p[AMMPLI_Q_W], p[AMMPLI_K_W], p[AMMPLI_V_W]};
        const ammpli_part bias[3] = {p[AMMPLI_Q_B], p[AMMPLI_K_B], p[AMMPLI_V_B]};
        TRY(load_weight(l, weight, 3, false, 3 * D, D, &b->qkv));
        TRY(load_vectors(l, bias, 3, &b->qkv_bias));
    }
    TRY(load_weight(l, &p[AMMPLI_OUT_W], 1, false, D, D, &b->out));
    TRY(load_vector(l, &p[AMMPLI_OUT_B], &b->out_bias));
    TRY(load_vector(l, &p[AMMPLI_LN2_W], &b->ln2_gamma));
    TRY(load_vector(l, &p[AMMPLI_LN2_B], &b->ln2_beta));
    TRY(load_weight(l, &p[AMMPLI_FC_W], 1, false, F, D, &b->fc));
    TRY(load_vector(l, &p[AMMPLI_FC_B], &b->fc_bias));
    TRY(load_weight(l, &p[AMMPLI_PROJ_W], 1, false, D, F, &b->proj));
    return load_vector(l, &p[AMMPLI_PROJ_B], &b->proj_bias);
}

static ammpl_status load_tower(loading *l, const ammpli_tower_parts *p, ammpli_tower *t)
{
    ammpl_model *m = l->m;
    if (!(t->block = ammpli_alloc(m->ctx, (size_t)t->layers, sizeof *t->block)))
        return AMMPL_E_MEMORY;
    for (int64_t i = 0; i < t->layers; i++)
        TRY(load_block(l, t, p->block[i], &t->block[i]));
    TRY(load_vector(l, &p->part[AMMPLI_POST_W], &t->ln_post_gamma));
    TRY(load_vector(l, &p->part[AMMPLI_POST_B], &t->ln_post_beta));
    if (p->part[AMMPLI_PROJECTION].t)
        return load_weight(l, &p->part[AMMPLI_PROJECTION], 1, true, m->embed, t->width, &t->projection);
    return load_weight(l, &p->part[AMMPLI_PROJECTION_LINEAR], 1, false, m->embed, t->width, &t->projection);
}

static ammpl_status load_text(loading *l, const ammpli_tower_parts *p)
{
    TRY(load_tokens(l, &p->part[AMMPLI_TOKENS]));
    TRY(load_vector(l, &p->part[AMMPLI_POSITION], &l->m->text_position));
    return load_tower(l, p, &l->m->text);
}

/* What the class row starts from and what is added to patches: positions 0 and 1..P. */
static ammpl_status load_positions(ammpl_model *m, const ammpli_tower_parts *p)
{
    size_t D = (size_t)m->image.width, P = (size_t)(m->grid * m->grid);
    float *position = ammpli_alloc(m->ctx, (P + 2) * D, sizeof *position);
    if (!position)
        return AMMPL_E_MEMORY;
    float *row = position + (P + 1) * D;
    ammpl_status status = read_f32(&p->part[AMMPLI_POSITION], 1, position);
    if (status == AMMPL_OK)
        status = read_f32(&p->part[AMMPLI_CLASS], 1, row);
    if (status == AMMPL_OK)
        status = upload(m, row, D * sizeof *row, (void **)&m->class_embedding);
    for (size_t i = 0; i < D; i++)
        row[i] += position[i];
    if (status == AMMPL_OK)
        status = upload(m, row, D * sizeof *row, (void **)&m->class_row);
    if (status == AMMPL_OK)
        status = upload(m, position + D, P * D * sizeof *position, (void **)&m->patch_position);
    ammpli_free(m->ctx, position);
    return status;
}

static ammpl_status load_image(loading *l, const ammpli_tower_parts *p)
{
    ammpl_model *m = l->m;
    TRY(load_weight(l, &p->part[AMMPLI_PATCH], 1, false, m->image.width, 3 * m->patch * m->patch, &m->patch_weight));
    TRY(load_positions(m, p));
    TRY(load_vector(l, &p->part[AMMPLI_PRE_W], &m->ln_pre_gamma));
    TRY(load_vector(l, &p->part[AMMPLI_PRE_B], &m->ln_pre_beta));
    return load_tower(l, p, &m->image);
}

ammpl_status ammpli_model_pack(const ammpli_parts *parts, ammpl_model *m)
{
    loading l = {.m = m};
    ammpl_status status = m->has_text ? load_text(&l, &parts->tower[AMMPLI_TEXT]) : AMMPL_OK;
    if (status >= 0 && m->has_image)
        status = load_image(&l, &parts->tower[AMMPLI_IMAGE]);
    ammpli_free(m->ctx, l.room);
    return status;
}
