/* safetensors.h - reading and writing .safetensors: an 8-byte little-endian header length, a JSON header, raw tensors.
 *
 * Files are hostile until checked: header length and depth, duplicate names, dtype, shape products, offsets (in order,
 * no overlap, no gap past the end), finite values where the caller asks.
 */
#ifndef AMMPLI_SAFETENSORS_H
#define AMMPLI_SAFETENSORS_H

#include "core/core.h"

enum { AMMPLI_ST_F64 = 1000, AMMPLI_ST_I64, AMMPLI_ST_I32, AMMPLI_ST_U8, AMMPLI_ST_OTHER }; /* beside AMMPL_DTYPE_* */

typedef struct ammpli_st_tensor {
    char *name;
    int32_t dtype; /* AMMPL_DTYPE_* or AMMPLI_ST_* */
    int32_t rank;
    int64_t shape[8];
    int64_t count;          /* elements */
    uint64_t offset, bytes; /* within the file */
} ammpli_st_tensor;

typedef struct ammpli_st ammpli_st;

/* Opens and checks; tensors are read one by one later, the file is never mapped nor wholly resident. */
ammpl_status ammpli_st_open(ammpl_context *ctx, const char *path, ammpli_st **out);
/* The same over bytes in memory, which must outlive it; name: for sentences. */
ammpl_status ammpli_st_open_memory(ammpl_context *ctx, const void *data, size_t size, const char *name, ammpli_st **out);
void ammpli_st_close(ammpli_st *st);
const char *ammpli_st_name(const ammpli_st *st); /* path or name */
size_t ammpli_st_count(const ammpli_st *st);
const ammpli_st_tensor *ammpli_st_at(const ammpli_st *st, size_t i); /* in name order */
const ammpli_st_tensor *ammpli_st_find(const ammpli_st *st, const char *name); /* NULL when absent (no sentence) */
/* Metadata value of a key, or NULL. */
const char *ammpli_st_meta(const ammpli_st *st, const char *key);
/* Raw bytes as stored / converted to float32 (F32, F16, BF16, F64, I64, I32).  dst holds t->bytes / t->count floats.
 * read_f32 fails with AMMPL_E_NUMERIC naming the tensor when a value is NaN or infinite. */
ammpl_status ammpli_st_read(const ammpli_st *st, const ammpli_st_tensor *t, void *dst);
ammpl_status ammpli_st_read_f32(const ammpli_st *st, const ammpli_st_tensor *t, float *dst);
/* n of its raw bytes from `first` on. */
ammpl_status ammpli_st_read_part(const ammpli_st *st, const ammpli_st_tensor *t, uint64_t first, size_t n, void *dst);

/* Writing: collect float32 (or I64) tensors and metadata, then save.  Tensor data are borrowed until saved. */
typedef struct ammpli_st_writer ammpli_st_writer;
ammpl_status ammpli_st_writer_create(ammpl_context *ctx, ammpli_st_writer **out);
void ammpli_st_writer_destroy(ammpli_st_writer *w);
ammpl_status ammpli_st_writer_meta(ammpli_st_writer *w, const char *key, const char *value);
ammpl_status ammpli_st_writer_add(ammpli_st_writer *w, const char *name, int32_t dtype, int32_t rank, const int64_t *shape,
                                  const void *data);
/* The whole file in a new block (ammpli_free). */
ammpl_status ammpli_st_writer_bytes(ammpli_st_writer *w, void **data, size_t *size);
/* Temporary file beside path, fsync, rename.  overwrite false: AMMPL_E_EXISTS when path exists (checked at the end with
 * link/rename semantics so that two writers cannot both win).  A full disk leaves what was there. */
ammpl_status ammpli_st_writer_save(ammpli_st_writer *w, const char *path, bool overwrite);

/* file.c: whole small files, and the atomic write that every saver uses. */
ammpl_status ammpli_file_read(ammpl_context *ctx, const char *path, size_t limit, void **data, size_t *size); /* NUL added */
ammpl_status ammpli_file_write(ammpl_context *ctx, const char *path, const void *data, size_t size, bool overwrite);

#endif
