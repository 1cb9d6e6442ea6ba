/* bpe.c - byte-pair encoding of one piece of text.
 *
 * CLIP's rule: find the pair of neighbours with the lowest rank, merge all its occurrences from left to right, repeat.  Here the
 * possible merges wait in a heap ordered by rank, then position, and symbols form a linked list, so that a piece of n bytes takes
 * O(n log n) however hostile it is.  Taking all occurrences of a pair out of the heap before the first is merged keeps the rule
 * exact even when a merge brings forth a pair of lower rank.
 */
#include "data/bpe.h"

#include <utf8proc.h>

static const uint32_t NONE = UINT32_MAX;

ammpli_merge *ammpli_merge_find(const ammpli_tokenizer *t, uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(h ^ h >> 32) & t->mask;
    while (t->merges[i].merged && !(t->merges[i].left == left && t->merges[i].right == right))
        i = (i + 1) & t->mask;
    return &t->merges[i];
}

static void push(ammpli_bpe *b, uint64_t entry)
{
    size_t i = b->heap_n++;
    for (; i > 0 && b->heap[(i - 1) / 2] > entry; i = (i - 1) / 2)
        b->heap[i] = b->heap[(i - 1) / 2];
    b->heap[i] = entry;
}

static uint64_t pop(ammpli_bpe *b)
{
    uint64_t top = b->heap[0], last = b->heap[--b->heap_n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < b->heap_n; i = child) {
        if (child + 1 < b->heap_n && b->heap[child + 1] < b->heap[child])
            child++;
        if (b->heap[child] >= last)
            break;
        b->heap[i] = b->heap[child];
    }
    b->heap[i] = last;
    return top;
}

/* The merge of the symbol at a position with its right neighbour, or NULL. */
static const ammpli_merge *merge_at(const ammpli_bpe *b, uint32_t at)
{
    const ammpli_piece_node *left = &b->node[at];
    if (left->symbol == NONE || left->next == NONE)
        return NULL;
    const ammpli_merge *m = ammpli_merge_find(b->t, left->symbol, b->node[left->next].symbol);
    return m->merged ? m : NULL;
}

static void consider(ammpli_bpe *b, uint32_t at)
{
    const ammpli_merge *m = merge_at(b, at);
    if (m)
        push(b, (uint64_t)m->rank << 32 | at);
}

static void merge(ammpli_bpe *b, uint32_t at, uint32_t merged)
{
    ammpli_piece_node *left = &b->node[at], *right = &b->node[left->next];
    left->symbol = merged;
    left->next = right->next;
    right->symbol = NONE;
    if (left->next != NONE)
        b->node[left->next].previous = at;
    if (left->previous != NONE)
        consider(b, left->previous);
    consider(b, at);
}

static void merge_all(ammpli_bpe *b)
{
    while (b->heap_n > 0) {
        uint32_t rank = (uint32_t)(b->heap[0] >> 32);
        size_t n = 0;
        while (b->heap_n > 0 && b->heap[0] >> 32 == rank)
            b->batch[n++] = (uint32_t)pop(b);
        for (size_t i = 0; i < n; i++) {
            const ammpli_merge *m = merge_at(b, b->batch[i]);
            if (m && m->rank == rank) /* else a neighbour has been merged meanwhile */
                merge(b, b->batch[i], m->merged);
        }
    }
}

/* Room for a piece of n bytes: n - 1 possible merges at first, and each of at most n - 1 that happen takes one out of the heap
 * and brings two at most. */
static ammpl_status reserve(ammpli_bpe *b, size_t n)
{
    ammpl_context *ctx = b->t->ctx;
    if (!ammpli_grow(ctx, (void **)&b->node, &b->node_cap, n, sizeof *b->node) ||
        !ammpli_grow(ctx, (void **)&b->heap, &b->heap_cap, 2 * n, sizeof *b->heap) ||
        !ammpli_grow(ctx, (void **)&b->batch, &b->batch_cap, 2 * n, sizeof *b->batch))
        return AMMPL_E_MEMORY;
    return AMMPL_OK;
}

ammpl_status ammpli_bpe_piece(ammpli_bpe *b, const int32_t *cp, size_t n)
{
    utf8proc_uint8_t utf8[4];
    uint32_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += (uint32_t)utf8proc_encode_char(cp[i], utf8);
    TRY(reserve(b, bytes));
    bytes = 0;
    for (size_t i = 0; i < n; i++) {
        utf8proc_ssize_t length = utf8proc_encode_char(cp[i], utf8);
        for (utf8proc_ssize_t k = 0; k < length; k++, bytes++)
            b->node[bytes] = (ammpli_piece_node){b->t->symbol_of_byte[utf8[k]], bytes - 1, bytes + 1};
    }
    b->node[0].previous = NONE;
    b->node[bytes - 1].next = NONE;
    b->node[bytes - 1].symbol += AMMPLI_WORD_END;

    for (uint32_t at = 0; at < bytes; at++)
        consider(b, at);
    merge_all(b);
    for (uint32_t at = 0; at != NONE; at = b->node[at].next)
        TRY(ammpli_bpe_id(b, b->t->id[b->node[at].symbol]));
    return AMMPL_OK;
}

ammpl_status ammpli_bpe_id(ammpli_bpe *b, int32_t id)
{
    if (!ammpli_grow(b->t->ctx, (void **)&b->ids, &b->cap, b->n + 1, sizeof *b->ids))
        return AMMPL_E_MEMORY;
    b->ids[b->n++] = id;
    return AMMPL_OK;
}

void ammpli_bpe_free(ammpli_bpe *b)
{
    ammpli_free(b->t->ctx, b->node);
    ammpli_free(b->t->ctx, b->heap);
    ammpli_free(b->t->ctx, b->batch);
}
