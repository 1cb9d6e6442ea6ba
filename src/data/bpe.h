/* bpe.h - what a tokenizer is made of: vocab.c fills it, bpe.c merges with it, tokenizer.c cuts text for them. */
#ifndef AMMPLI_BPE_H
#define AMMPLI_BPE_H

#include "data/tokenizer.h"

/* Symbols are numbered: 0-255 the byte alphabet in CLIP's order, 256-511 the same at the end of a word, then one for each new
 * string that merges make.  A pair of symbols found side by side becomes `merged`; the lowest rank goes first. */
typedef struct ammpli_merge {
    uint32_t left, right, rank;
    uint32_t merged; /* 0, which no merge makes: an empty place of the table */
} ammpli_merge;

enum { AMMPLI_WORD_END = 256, AMMPLI_ALPHABET = 512 };

struct ammpli_tokenizer {
    ammpl_context *ctx;
    ammpli_merge *merges; /* open addressing, at most half full */
    size_t mask;          /* places - 1 */
    int32_t *id;          /* of each symbol */
    uint16_t symbol_of_byte[256];
    int32_t sot, eot;
};

/* The merge of a pair, or its empty place. */
ammpli_merge *ammpli_merge_find(const ammpli_tokenizer *t, uint32_t left, uint32_t right);

/* vocab.c: everything but ctx. */
ammpl_status ammpli_vocab_read(ammpli_tokenizer *t, const void *merges, size_t size, const char *vocab_json,
                               int64_t vocab_size, const char *name);

/* gunzip.c: a gzip file or a zlib stream in memory -> a new array. */
bool ammpli_is_gzip(const void *data, size_t size);
ammpl_status ammpli_gunzip(ammpl_context *ctx, const void *data, size_t size, size_t limit, const char *name,
                           char **out, size_t *out_size);

/* bpe.c: a stretch of text on its way to ids; all arrays grow and are used again for the next piece. */
typedef struct ammpli_piece_node {
    uint32_t symbol, previous, next; /* neighbours' positions; symbol UINT32_MAX: swallowed by a neighbour */
} ammpli_piece_node;

typedef struct ammpli_bpe {
    const ammpli_tokenizer *t;
    ammpli_piece_node *node;
    uint64_t *heap; /* rank << 32 | position of the left symbol: possible merges, some outdated */
    uint32_t *batch;
    size_t node_cap, heap_cap, batch_cap, heap_n;
    int32_t *ids; /* the result so far */
    size_t n, cap;
} ammpli_bpe;

ammpl_status ammpli_bpe_id(ammpli_bpe *b, int32_t id);
ammpl_status ammpli_bpe_piece(ammpli_bpe *b, const int32_t *cp, size_t n); /* n > 0 */
void ammpli_bpe_free(ammpli_bpe *b);                                       /* all but ids */

#endif
