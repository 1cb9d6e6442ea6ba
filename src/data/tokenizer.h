/* tokenizer.h - CLIP's byte-pair encoding (methods.md 2). */
#ifndef AMMPLI_TOKENIZER_H
#define AMMPLI_TOKENIZER_H

#include "core/core.h"

typedef struct ammpli_tokenizer ammpli_tokenizer;

/* merges: the bytes of merges.txt or bpe_simple_vocab_16e6.txt, plain or gzip; vocab_json (NUL-terminated, may be NULL):
 * Hugging Face's vocab.json, then ids come from it, else by CLIP's rule.  vocab_size: rows of the model's token table; for
 * CLIP's rule at most vocab_size - 512 - 2 merges are kept.  name: what error sentences call the source.
 * AMMPL_E_FORMAT for damaged bytes, AMMPL_E_SHAPE when ids do not fit vocab_size. */
ammpl_status ammpli_tokenizer_create(ammpl_context *ctx, const void *merges, size_t merges_size, const char *vocab_json,
                                     int64_t vocab_size, const char *name, ammpli_tokenizer **out);
void ammpli_tokenizer_destroy(ammpli_tokenizer *t);
int32_t ammpli_tokenizer_sot(const ammpli_tokenizer *t);
int32_t ammpli_tokenizer_eot(const ammpli_tokenizer *t);

/* Ids of the text without SOT and EOT, in a new array *ids (ammpli_free with the same context), *n of them.
 * AMMPL_E_FORMAT when the text is not UTF-8, AMMPL_E_RANGE when it is longer than 4 MiB.  Immutable tokenizer:
 * callable from any thread. */
ammpl_status ammpli_tokenize(const ammpli_tokenizer *t, const char *text, int32_t **ids, size_t *n);

/* The bytes of a token, "</w>" behind them where it ends a word, in a new array (ammpli_free), ended by a NUL that *n does not count.
 * AMMPL_E_RANGE: no such token. */
ammpl_status ammpli_token_text(const ammpli_tokenizer *t, int32_t id, char **text, size_t *n);

#endif
