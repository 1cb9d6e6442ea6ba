/* draft.c - a data set on its way: class names, pictures, and how they are divided into parts. */
#include "data/groups.h"
#include "data/mersenne.h"
#include "data/named.h"

#include <math.h>
#include <string.h>

void ammpli_draft_free(ammpli_draft *d)
{
    for (size_t i = 0; i < d->count; i++)
        ammpli_free(d->ctx, d->item[i].path);
    ammpli_free(d->ctx, d->item);
    ammpli_strings_free(&d->name);
}

ammpl_status ammpli_draft_class(ammpli_draft *d, const char *name)
{
    return ammpli_strings_add(&d->name, name, strlen(name));
}

ammpl_status ammpli_draft_add(ammpli_draft *d, const char *below, int32_t label, int part)
{
    void *items = d->item;
    if (!ammpli_grow(d->ctx, &items, &d->cap, d->count + 1, sizeof *d->item))
        return AMMPL_E_MEMORY;
    d->item = items;
    char *path = ammpli_path_join(d->ctx, d->images, below);
    if (!path)
        return AMMPL_E_MEMORY;
    d->item[d->count++] = (ammpli_draft_item){path, label, part};
    return AMMPL_OK;
}

/* The items of one group, shuffled, into `to` with their parts. */
static void divide_group(const ammpli_draft *d, const ammpli_division *how, ammpli_mersenne *random, size_t *index, size_t n,
                         ammpli_draft_item *to)
{
    size_t first = (size_t)rint(how->share[0] * (double)n), second = (size_t)rint(how->share[1] * (double)n);
    ammpli_mersenne_shuffle(random, index, n);
    for (size_t i = 0; i < n; i++) {
        to[i] = d->item[index[i]];
        to[i].part = how->part[i < first ? 0 : i < first + second ? 1 : 2];
    }
}

ammpl_status ammpli_draft_divide(ammpli_draft *d, const ammpli_division *how)
{
    ammpli_mersenne random;
    ammpli_groups g = {.ctx = d->ctx};
    ammpli_draft_item *divided = ammpli_alloc(d->ctx, d->count, sizeof *divided);
    int32_t *label = ammpli_alloc(d->ctx, d->count, sizeof *label);
    ammpl_status status = divided && label ? AMMPL_OK : AMMPL_E_MEMORY;
    for (size_t i = 0; i < d->count && status == AMMPL_OK; i++)
        label[i] = d->item[i].part == how->of ? d->item[i].label : -1;
    if (status == AMMPL_OK)
        status = ammpli_groups_create(d->ctx, label, d->count, d->name.count, &g);
    if (status == AMMPL_OK) {
        ammpli_mersenne_seed(&random, 1);
        for (size_t k = 0; k < g.count; k++)
            divide_group(d, how, &random, g.index + g.start[k], g.start[k + 1] - g.start[k], divided + g.start[k]);
        size_t n = g.count ? g.start[g.count] : 0;
        for (size_t i = 0; i < d->count; i++)
            if (label[i] < 0)
                divided[n++] = d->item[i];
        if (n)
            memcpy(d->item, divided, n * sizeof *divided);
    }
    ammpli_groups_free(&g);
    ammpli_free(d->ctx, label);
    ammpli_free(d->ctx, divided);
    return status;
}
