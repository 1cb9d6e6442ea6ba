/* nearest_tokens.c - which words a vector in the space of token embeddings lies near to (CoOp's interpret_prompt, methods.md 8). */
#include "clip/clip.h"

#include <math.h>
#include <stdlib.h>

enum { ROWS = 1024 }; /* of the table that are looked at in one go */

typedef struct neighbour {
    double square; /* of the distance */
    int32_t id;
} neighbour;

static int nearer(const void *a, const void *b)
{
    const neighbour *x = a, *y = b;
    return x->square != y->square ? (x->square > y->square) - (x->square < y->square) : (x->id > y->id) - (x->id < y->id);
}

static double square_distance(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum;
}

typedef struct table_reader {
    const ammpl_model *m;
    ammpl_stream *stream;
    void *ids;    /* [ROWS] device */
    float *rows;  /* [ROWS, l] device */
    float *host;  /* [ROWS, l] */
    int32_t *number; /* [ROWS] */
} table_reader;

static ammpl_status open_reader(table_reader *r)
{
    const ammpl_model *m = r->m;
    size_t count = (size_t)(ROWS * m->text.width);
    TRY(m->device->backend->stream_create(&m->ctx->host, m->device->index, m->precision, &r->stream));
    TRY(m->ops->alloc(r->stream, ROWS * sizeof(int32_t), &r->ids));
    TRY(m->ops->alloc(r->stream, count * sizeof(float), (void **)&r->rows));
    r->host = ammpli_alloc(m->ctx, count, sizeof *r->host);
    r->number = ammpli_alloc(m->ctx, ROWS, sizeof *r->number);
    return r->host && r->number ? AMMPL_OK : AMMPL_E_MEMORY;
}

static void close_reader(table_reader *r)
{
    if (r->stream) {
        r->m->ops->release(r->stream, r->ids);
        r->m->ops->release(r->stream, r->rows);
        r->m->device->backend->stream_destroy(r->stream);
    }
    ammpli_free(r->m->ctx, r->host);
    ammpli_free(r->m->ctx, r->number);
}

/* Rows first ... first + n - 1 of the table as float32, in r->host. */
static ammpl_status read_rows(table_reader *r, int64_t first, int64_t n)
{
    const ammpl_model *m = r->m;
    for (int64_t i = 0; i < n; i++)
        r->number[i] = (int32_t)(first + i);
    TRY(m->ops->upload(r->stream, r->ids, r->number, (size_t)n * sizeof(int32_t)));
    TRY(m->ops->embed(r->stream, r->rows, m->token_table, m->token_dtype, r->ids, n, m->text.width));
    return m->ops->download(r->stream, r->host, r->rows, (size_t)(n * m->text.width) * sizeof(float));
}

static ammpl_status measure(table_reader *r, const float *vector, neighbour *all /*[vocab]*/)
{
    int64_t l = r->m->text.width;
    for (int64_t first = 0; first < r->m->vocab; first += ROWS) {
        int64_t n = r->m->vocab - first < ROWS ? r->m->vocab - first : ROWS;
        TRY(read_rows(r, first, n));
        for (int64_t i = 0; i < n; i++)
            all[first + i] = (neighbour){square_distance(vector, r->host + i * l, l), (int32_t)(first + i)};
    }
    return AMMPL_OK;
}

ammpl_status ammpli_model_nearest_tokens(const ammpl_model *m, const float *vector, size_t k, int32_t *ids, float *distances)
{
    table_reader r = {.m = m};
    neighbour *all = ammpli_alloc(m->ctx, (size_t)m->vocab, sizeof *all);
    ammpl_status status = all ? open_reader(&r) : AMMPL_E_MEMORY;
    if (status >= 0)
        status = measure(&r, vector, all);
    if (status >= 0) {
        qsort(all, (size_t)m->vocab, sizeof *all, nearer);
        for (size_t i = 0; i < k; i++) {
            ids[i] = all[i].id;
            distances[i] = (float)sqrt(all[i].square);
        }
    }
    close_reader(&r);
    ammpli_free(m->ctx, all);
    return status;
}
