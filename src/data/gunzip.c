/* gunzip.c - vocabularies come gzipped, MATLAB's arrays in zlib's own wrapping; how much they unpack to is bounded, since a few
 * bytes can ask for gigabytes. */
#include "data/bpe.h"

#include <zlib.h>

bool ammpli_is_gzip(const void *data, size_t size)
{
    const unsigned char *bytes = data;
    return size >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}

static void *zlib_alloc(void *ctx, unsigned count, unsigned size)
{
    return ammpli_alloc(ctx, count, size);
}

static void zlib_free(void *ctx, void *p)
{
    ammpli_free(ctx, p);
}

/* Files of several members, one after the other, unpack to all of them, as gzip(1) does it. */
static ammpl_status inflate_all(ammpl_context *ctx, z_stream *z, size_t limit, const char *name, char **out,
                                size_t *size)
{
    size_t cap = 0;
    for (;;) {
        if (!ammpli_grow(ctx, (void **)out, &cap, *size + (1 << 16), 1))
            return AMMPL_E_MEMORY;
        z->next_out = (unsigned char *)*out + *size;
        z->avail_out = (unsigned)(cap - *size);
        int result = inflate(z, Z_NO_FLUSH);
        *size = cap - z->avail_out;
        if (*size > limit)
            return ammpli_fail(AMMPL_E_FORMAT, "%s unpacks to more than %zu bytes: it is not what it should be", name, limit);
        if (result == Z_STREAM_END && z->avail_in == 0)
            return AMMPL_OK;
        if (result == Z_STREAM_END)
            result = inflateReset(z);
        if (result == Z_MEM_ERROR)
            return ammpli_fail(AMMPL_E_MEMORY, "out of memory while unpacking %s", name);
        if (result == Z_BUF_ERROR || (result == Z_OK && z->avail_in == 0 && z->avail_out > 0))
            return ammpli_fail(AMMPL_E_FORMAT, "%s is cut short: its packed data ends early; copy it anew", name);
        if (result != Z_OK)
            return ammpli_fail(AMMPL_E_FORMAT, "%s is damaged packed data (%s); copy it anew", name,
                               z->msg ? z->msg : "zlib");
    }
}

ammpl_status ammpli_gunzip(ammpl_context *ctx, const void *data, size_t size, size_t limit, const char *name,
                           char **out, size_t *out_size)
{
    *out = NULL;
    *out_size = 0;
    if (size > limit)
        return ammpli_fail(AMMPL_E_FORMAT, "%s is larger than %zu bytes: it is not what it should be", name, limit);
    z_stream z = {.zalloc = zlib_alloc, .zfree = zlib_free, .opaque = ctx};
    z.next_in = (unsigned char *)(uintptr_t)data; /* zlib does not write to it */
    z.avail_in = (unsigned)size;
    if (inflateInit2(&z, 15 + 32) != Z_OK) /* window of any size, either header */
        return ammpli_fail(AMMPL_E_MEMORY, "out of memory while unpacking %s", name);
    ammpl_status status = inflate_all(ctx, &z, limit, name, out, out_size);
    inflateEnd(&z);
    if (status < 0) {
        ammpli_free(ctx, *out);
        *out = NULL;
        *out_size = 0;
    }
    return status;
}
