/* tokenizer.c - clean text, cut it into pieces, give each to byte-pair encoding. */
#include "data/tokenizer.h"

#include "data/bpe.h"
#include "data/text.h"

#include <string.h>
#include <utf8proc.h>

/* The length of `word` at the start of lower-case text, else 0.  CLIP's pattern ignores case, and to the regex module the long s
 * is an s. */
static size_t starts_with(const int32_t *cp, size_t n, const char *word)
{
    size_t i = 0;
    for (; word[i]; i++)
        if (i == n || !(cp[i] == word[i] || (word[i] == 's' && cp[i] == 0x017f)))
            return 0;
    return i;
}

typedef enum piece_class { DROPPED, LETTER, NUMBER, OTHER } piece_class;

/* U+0345, a mark, has the letter iota for its upper case; regex, ignoring case, then has it neither in a class of letters nor in
 * one of no letters, so that CLIP drops it like a blank.  It is the only one. */
static piece_class classify(int32_t c)
{
    if (c == ' ' || c == 0x0345)
        return DROPPED;
    utf8proc_category_t category = utf8proc_category(c);
    if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO)
        return LETTER;
    return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO ? NUMBER : OTHER;
}

/* The length of the piece, or of what is dropped, at the start of the text. */
static size_t piece_length(const int32_t *cp, size_t n)
{
    static const char *const words[] = {
        "<|startoftext|>", "<|endoftext|>", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t length = starts_with(cp, n, words[i]);
        if (length)
            return length;
    }
    piece_class kind = classify(*cp);
    size_t length = 1;
    while (kind != NUMBER && length < n && classify(cp[length]) == kind)
        length++;
    return length;
}

static bool is_exactly(const int32_t *cp, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++)
        if (cp[i] != word[i]) /* also where the word ends early */
            return false;
    return word[n] == '\0';
}

static ammpl_status encode(ammpli_bpe *b, const ammpli_text *text)
{
    for (size_t i = 0, length; i < text->n; i += length) {
        const int32_t *cp = text->cp + i;
        length = piece_length(cp, text->n - i);
        if (classify(*cp) == DROPPED)
            continue;
        if (is_exactly(cp, length, "<|startoftext|>"))
            TRY(ammpli_bpe_id(b, b->t->sot));
        else if (is_exactly(cp, length, "<|endoftext|>"))
            TRY(ammpli_bpe_id(b, b->t->eot));
        else
            TRY(ammpli_bpe_piece(b, cp, length));
    }
    return AMMPL_OK;
}

ammpl_status ammpli_tokenize(const ammpli_tokenizer *t, const char *text, int32_t **ids, size_t *n)
{
    ammpl_status status;
    ammpli_text clean;
    ammpli_bpe b = {.t = t};
    *ids = NULL;
    *n = 0;
    TRY(ammpli_clean(t->ctx, text, &clean));
    if (!ammpli_grow(t->ctx, (void **)&b.ids, &b.cap, 1, sizeof *b.ids)) { /* an array even when there are no ids */
        status = AMMPL_E_MEMORY;
        goto done;
    }
    TRY_GOTO(done, encode(&b, &clean));
    *ids = b.ids;
    *n = b.n;
    b.ids = NULL;
done:
    ammpli_free(t->ctx, b.ids);
    ammpli_bpe_free(&b);
    ammpli_free(t->ctx, clean.cp);
    return status;
}

ammpl_status ammpli_tokenizer_create(ammpl_context *ctx, const void *merges, size_t merges_size, const char *vocab_json,
                                     int64_t vocab_size, const char *name, ammpli_tokenizer **out)
{
    *out = NULL;
    ammpli_tokenizer *t = ammpli_alloc(ctx, 1, sizeof *t);
    if (!t)
        return AMMPL_E_MEMORY;
    t->ctx = ctx;
    ammpl_status status = ammpli_vocab_read(t, merges, merges_size, vocab_json, vocab_size, name);
    if (status < 0)
        ammpli_tokenizer_destroy(t);
    else
        *out = t;
    return status;
}

void ammpli_tokenizer_destroy(ammpli_tokenizer *t)
{
    if (!t)
        return;
    ammpl_context *ctx = t->ctx;
    ammpli_free(ctx, t->merges);
    ammpli_free(ctx, t->id);
    ammpli_free(ctx, t);
}

int32_t ammpli_tokenizer_sot(const ammpli_tokenizer *t)
{
    return t->sot;
}

int32_t ammpli_tokenizer_eot(const ammpli_tokenizer *t)
{
    return t->eot;
}
