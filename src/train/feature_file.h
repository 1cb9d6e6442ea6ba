/* feature_file.h - image features of one model on disk, named by what the pictures are: a safetensors file in a folder.
 *
 *     features-<16 hex digits of the identity>.safetensors
 *     metadata: format, version, the identity (see below) and a checksum of all names and values
 *     tensors:  <digest of the picture's file, 32 hex digits>: F32 [E], of length 1
 *
 * Whoever may write to the folder is not trusted: such a file is used only when all of it is as it should be.
 */
#ifndef AMMPLI_FEATURE_FILE_H
#define AMMPLI_FEATURE_FILE_H

#include "core/digest.h"
#include "io/safetensors.h"
#include "method/session.h"

/* Whose features these are: probe and preprocessing tell most models apart; `witness`, the digest of a made-up picture's
 * feature, tells apart those that differ in the blocks alone, and processors that round differently.  So features from a
 * file have the bits that encoding would give them. */
enum { AMMPLI_IDENTITY = 5 };
typedef struct ammpli_feature_file {
    ammpl_context *ctx;
    int64_t embed;
    char *path;
    char identity[AMMPLI_IDENTITY][256];
} ammpli_feature_file;

ammpl_status ammpli_feature_file_create(ammpl_session *s, const char *folder, ammpli_feature_file **out);
void ammpli_feature_file_destroy(ammpli_feature_file *f); /* NULL accepted; the file stays */
/* The file, checked to its last number; *out NULL and AMMPL_OK when there is none. */
ammpl_status ammpli_feature_file_open(const ammpli_feature_file *f, ammpli_st **out);

typedef struct ammpli_feature_entry {
    char name[AMMPLI_DIGEST_TEXT];
    const float *feature; /* [E] */
} ammpli_feature_entry;
/* Writes n entries (sorted by name here; some may be there twice) and what a good file has beside them. */
ammpl_status ammpli_feature_file_write(const ammpli_feature_file *f, const ammpli_feature_entry *entry, size_t n);

#endif
