/* rows.c - moving and adding rows, embedding tables, scaled sums.
 *
 * Indexed rows may repeat, and then the order of i counts: tasks own columns instead of rows, wherever a destination is indexed otherwise
 * than upwards.
 */
#include "cpu/kernels.h"

typedef struct rows_job {
    float *dst;
    const int32_t *di;
    const float *src;
    const int32_t *si;
    int64_t n, D, grain;
    bool add, by_row;
} rows_job;

static void rows_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const rows_job *j = arg;
    int64_t i0 = 0, i1 = j->n, c0 = 0, c1 = j->D;
    if (j->by_row) {
        i0 = task * j->grain;
        i1 = min64(i0 + j->grain, j->n);
    } else {
        c0 = task * j->grain;
        c1 = min64(c0 + j->grain, j->D);
    }
    for (int64_t i = i0; i < i1; i++) {
        float *dst = j->dst + (j->di ? j->di[i] : i) * j->D;
        const float *src = j->src + (j->si ? j->si[i] : i) * j->D;
        if (j->add)
            for (int64_t c = c0; c < c1; c++)
                dst[c] += src[c];
        else
            memmove(dst + c0, src + c0, (size_t)(c1 - c0) * sizeof *dst);
    }
}

/* Each row goes to a place of its own. */
static bool upwards(const int32_t *di, int64_t n)
{
    for (int64_t i = 1; i < n; i++)
        if (di[i] <= di[i - 1])
            return false;
    return true;
}

static int32_t rows_run(ammpl_stream *s, rows_job *j)
{
    j->by_row = !j->di || upwards(j->di, j->n);
    j->grain = j->by_row ? ammpli_cpu_grain(s, j->n, j->D, 1) : ammpli_cpu_grain(s, j->D, j->n, 16);
    ammpli_cpu_for(s, ceil_div(j->by_row ? j->n : j->D, j->grain), j->n * j->D, rows_task, j);
    return AMMPL_OK;
}

int32_t ammpli_cpu_rows_copy(ammpl_stream *s, float *dst, const int32_t *di, const float *src, const int32_t *si, int64_t n,
                             int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 0 && (n * D == 0 || (dst && src)), "rows_copy: a negative size, or dst or src is NULL");
    return rows_run(s, &(rows_job){.dst = dst, .di = di, .src = src, .si = si, .n = n, .D = D});
}

int32_t ammpli_cpu_rows_add(ammpl_stream *s, float *dst, const int32_t *di, const float *src, const int32_t *si, int64_t n,
                            int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 0 && (n * D == 0 || (dst && src)), "rows_add: a negative size, or dst or src is NULL");
    return rows_run(s, &(rows_job){.dst = dst, .di = di, .src = src, .si = si, .n = n, .D = D, .add = true});
}

int32_t ammpli_cpu_embed(ammpl_stream *s, float *y, const void *table, int32_t dtype, const int32_t *id, int64_t n, int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 0 && (n * D == 0 || (y && table && id)), "embed: a negative size, or y, table or id is NULL");
    REQUIRE(s, dtype >= AMMPL_DTYPE_F32 && dtype <= AMMPL_DTYPE_BF16, "embed: dtype is none of AMMPL_DTYPE_*");
    for (int64_t i = 0; i < n; i++)
        ammpli_cpu_read(y + i * D, table, dtype, id[i] * D, D);
    return AMMPL_OK;
}

typedef struct sum_job {
    float *y;
    const float *x; /* NULL: y *= a, else y += a x */
    float a;
    int64_t n, grain;
} sum_job;

static void sum_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const sum_job *j = arg;
    int64_t i0 = task * j->grain, i1 = min64(i0 + j->grain, j->n);
    if (j->x)
        for (int64_t i = i0; i < i1; i++)
            j->y[i] += j->a * j->x[i];
    else
        for (int64_t i = i0; i < i1; i++)
            j->y[i] *= j->a;
}

static int32_t sum_run(ammpl_stream *s, sum_job *j)
{
    j->grain = ammpli_cpu_grain(s, j->n, 1, 16);
    ammpli_cpu_for(s, ceil_div(j->n, j->grain), j->n, sum_task, j);
    return AMMPL_OK;
}

int32_t ammpli_cpu_scale(ammpl_stream *s, float *x, float a, int64_t n)
{
    REQUIRE(s, n >= 0 && (n == 0 || x), "scale: n is negative or x is NULL");
    return sum_run(s, &(sum_job){.y = x, .a = a, .n = n});
}

int32_t ammpli_cpu_add(ammpl_stream *s, float *y, const float *x, float a, int64_t n)
{
    REQUIRE(s, n >= 0 && (n == 0 || (y && x)), "add: n is negative, or y or x is NULL");
    return n ? sum_run(s, &(sum_job){.y = y, .x = x, .a = a, .n = n}) : AMMPL_OK;
}
