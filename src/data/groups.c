/* groups.c - see groups.h. */
#include "data/groups.h"

ammpl_status ammpli_groups_create(ammpl_context *ctx, const int32_t *label, size_t n, size_t labels, ammpli_groups *g)
{
    *g = (ammpli_groups){.ctx = ctx, .start = ammpli_alloc(ctx, labels + 1, sizeof *g->start),
                         .index = ammpli_alloc(ctx, n, sizeof *g->index)};
    size_t *group = ammpli_alloc(ctx, labels, sizeof *group); /* of each label, from 1 */
    size_t *next = ammpli_alloc(ctx, labels, sizeof *next);   /* where a group's next place goes */
    ammpl_status status = g->start && g->index && group && next ? AMMPL_OK : AMMPL_E_MEMORY;
    for (size_t i = 0; i < n && status == AMMPL_OK; i++) {
        if (label[i] < 0)
            continue;
        if (group[label[i]] == 0)
            group[label[i]] = ++g->count;
        g->start[group[label[i]]]++;
    }
    for (size_t k = 0; k < g->count; k++) {
        next[k] = g->start[k];
        g->start[k + 1] += g->start[k];
    }
    for (size_t i = 0; i < n && status == AMMPL_OK; i++)
        if (label[i] >= 0)
            g->index[next[group[label[i]] - 1]++] = i;
    ammpli_free(ctx, next);
    ammpli_free(ctx, group);
    if (status < 0)
        ammpli_groups_free(g);
    return status;
}

void ammpli_groups_free(ammpli_groups *g)
{
    ammpli_free(g->ctx, g->start);
    ammpli_free(g->ctx, g->index);
    *g = (ammpli_groups){.ctx = g->ctx};
}
