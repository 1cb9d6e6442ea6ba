/* stage.c - how many encodes go at once, and of how many what backward needs is kept. */
#include "method/stage.h"

/* Chunks are this part of what fits, the rest is kept. */
enum { PART = 8 };
/* With more than so many times what fits, what can be kept saves little. */
enum { MANY = 4 };

static int64_t within(int64_t fit, int64_t n)
{
    return fit < 1 ? 1 : fit < n ? fit : n;
}

int64_t ammpli_encodes_that_fit(const ammpl_session *s, const ammpli_tower *tower, int64_t n, int64_t len)
{
    return within(s->budget / (int64_t)ammpli_pass_bytes(tower, len, true), n);
}

ammpli_chunks ammpli_chunks_of(const ammpl_session *s, const ammpli_tower *tower, int64_t n, int64_t most, int64_t len, bool backward)
{
    if (!backward)
        return (ammpli_chunks){n, 0, within(s->budget / (int64_t)ammpli_pass_bytes(tower, len, false), most)};
    int64_t fit = s->budget / (int64_t)ammpli_pass_bytes(tower, len, true);
    if (fit >= most)
        return (ammpli_chunks){n, n, n};
    int64_t chunk = (fit + PART - 1) / PART, least = (s->least_rows + len - 1) / len;
    chunk = chunk > least ? chunk : least;
    if (most > MANY * fit || 2 * chunk > fit)
        return (ammpli_chunks){n, 0, within(fit, most)};
    return (ammpli_chunks){n, fit - chunk, chunk};
}

int64_t ammpli_chunk_end(const ammpli_chunks *c, int64_t from)
{
    int64_t end = from < c->kept ? c->kept : from + c->chunk;
    return end < c->n ? end : c->n;
}
