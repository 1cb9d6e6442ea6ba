/* token_text.c - the way back from a token to its bytes.
 *
 * A tokenizer keeps no strings, only which two symbols each merge puts together: taken apart again, down to the byte alphabet.
 */
#include "data/bpe.h"

#include <string.h>

typedef struct expansion {
    const ammpli_tokenizer *t;
    const ammpli_merge **made_by; /* [symbols] a merge that makes it; NULL: of the alphabet */
    uint32_t symbols;
    uint32_t *stack; /* symbols still to write, the next one last */
    size_t depth, depth_cap;
    char *text;
    size_t n, cap;
} expansion;

static ammpl_status find_merges(expansion *x)
{
    const ammpli_tokenizer *t = x->t;
    x->symbols = AMMPLI_ALPHABET;
    for (size_t i = 0; i <= t->mask; i++)
        x->symbols = t->merges[i].merged >= x->symbols ? t->merges[i].merged + 1 : x->symbols;
    if (!(x->made_by = ammpli_alloc(t->ctx, x->symbols, sizeof *x->made_by)))
        return AMMPL_E_MEMORY;
    for (size_t i = 0; i <= t->mask; i++) {
        const ammpli_merge *m = &t->merges[i];
        if (m->merged && (!x->made_by[m->merged] || x->made_by[m->merged]->rank > m->rank))
            x->made_by[m->merged] = m; /* the first one, whose parts were there before it */
    }
    return AMMPL_OK;
}

static ammpl_status push(expansion *x, uint32_t symbol)
{
    void *stack = x->stack;
    if (!ammpli_grow(x->t->ctx, &stack, &x->depth_cap, x->depth + 1, sizeof *x->stack))
        return AMMPL_E_MEMORY;
    x->stack = stack;
    x->stack[x->depth++] = symbol;
    return AMMPL_OK;
}

static ammpl_status put(expansion *x, const char *bytes, size_t n)
{
    void *text = x->text;
    if (!ammpli_grow(x->t->ctx, &text, &x->cap, x->n + n + 1, 1))
        return AMMPL_E_MEMORY;
    x->text = text;
    memcpy(x->text + x->n, bytes, n);
    x->n += n;
    x->text[x->n] = '\0';
    return AMMPL_OK;
}

static ammpl_status put_letter(expansion *x, uint32_t symbol)
{
    uint32_t place = symbol < AMMPLI_WORD_END ? symbol : symbol - AMMPLI_WORD_END;
    int byte = 0;
    while (byte < 255 && x->t->symbol_of_byte[byte] != place)
        byte++;
    TRY(put(x, &(char){(char)byte}, 1));
    return symbol < AMMPLI_WORD_END ? AMMPL_OK : put(x, "</w>", 4);
}

static ammpl_status expand(expansion *x, uint32_t symbol)
{
    TRY(push(x, symbol));
    while (x->depth > 0) {
        symbol = x->stack[--x->depth];
        if (symbol < AMMPLI_ALPHABET) {
            TRY(put_letter(x, symbol));
            continue;
        }
        TRY(push(x, x->made_by[symbol]->right));
        TRY(push(x, x->made_by[symbol]->left));
    }
    return AMMPL_OK;
}

static ammpl_status write(expansion *x, int32_t id)
{
    static const char sot[] = "<|startoftext|>", eot[] = "<|endoftext|>";
    if (id == x->t->sot)
        return put(x, sot, sizeof sot - 1);
    if (id == x->t->eot)
        return put(x, eot, sizeof eot - 1);
    TRY(find_merges(x));
    uint32_t symbol = 0;
    while (symbol < x->symbols && x->t->id[symbol] != id)
        symbol++;
    if (symbol == x->symbols)
        return ammpli_fail(AMMPL_E_RANGE, "there is no token %d in the vocabulary", (int)id);
    return expand(x, symbol);
}

ammpl_status ammpli_token_text(const ammpli_tokenizer *t, int32_t id, char **text, size_t *n)
{
    expansion x = {.t = t};
    ammpl_status status = write(&x, id);
    ammpli_free(t->ctx, x.made_by);
    ammpli_free(t->ctx, x.stack);
    if (status < 0) {
        ammpli_free(t->ctx, x.text);
        x.text = NULL;
        x.n = 0;
    }
    *text = x.text;
    *n = x.n;
    return status;
}
