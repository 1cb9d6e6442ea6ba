/* dassl.c - the few-shot picks of the published runs (Dassl, methods.md 6.2), and the halves of base-to-novel (6.3). */
#include "core/config.h"
#include "data/dataset.h"
#include "data/groups.h"
#include "data/mersenne.h"

#include <string.h>

static ammpl_status add_item(ammpl_dataset *to, const ammpl_dataset *from, size_t i)
{
    const ammpli_item *item = &from->item[i];
    return ammpli_dataset_add(to, item->image, item->path, item->label, item->id);
}

/* random.sample of every class that has k items or more, all items of the others, which draw nothing. */
static ammpl_status add_picks(ammpl_dataset *to, const ammpl_dataset *from, const ammpli_groups *g, size_t k, ammpli_mersenne *random,
                              size_t *scratch /*[from->count + min(k, from->count)]*/)
{
    for (size_t c = 0; c < g->count; c++) {
        const size_t *item = g->index + g->start[c];
        size_t n = g->start[c + 1] - g->start[c], *pick = scratch + from->count;
        if (n >= k)
            ammpli_mersenne_sample(random, n, k, pick, scratch);
        for (size_t i = 0; i < (n >= k ? k : n); i++)
            TRY(add_item(to, from, item[n >= k ? pick[i] : i]));
    }
    return AMMPL_OK;
}

static ammpl_status few(const ammpl_dataset *ds, size_t k, ammpli_mersenne *random, ammpl_dataset **out)
{
    ammpl_context *ctx = ds->ctx;
    ammpli_groups g = {.ctx = ctx};
    size_t *scratch = ammpli_alloc(ctx, ds->count + (k < ds->count ? k : ds->count), sizeof *scratch);
    int32_t *label = ammpli_alloc(ctx, ds->count, sizeof *label);
    ammpl_status status = scratch && label ? AMMPL_OK : AMMPL_E_MEMORY;
    for (size_t i = 0; i < ds->count && status == AMMPL_OK; i++)
        label[i] = ds->item[i].label;
    if (status == AMMPL_OK)
        status = ammpli_groups_create(ctx, label, ds->count, ds->classes, &g);
    if (status == AMMPL_OK)
        status = ammpli_dataset_create(ctx, (const char *const *)ds->class_name, ds->classes, out);
    if (status == AMMPL_OK)
        status = add_picks(*out, ds, &g, k, random, scratch);
    ammpli_groups_free(&g);
    ammpli_free(ctx, label);
    ammpli_free(ctx, scratch);
    if (status < 0) {
        ammpli_dataset_release(*out);
        *out = NULL;
    }
    return status;
}

/* The validation part gets no more than this of a class. */
enum { VAL_SHOTS = 4 };

static ammpl_status select_dassl(const ammpl_dataset *train, const ammpl_dataset *val, size_t k, uint64_t seed,
                                 ammpl_dataset **few_train, ammpl_dataset **few_val)
{
    ammpli_mersenne random;
    ammpli_mersenne_seed(&random, seed);
    TRY(few(train, k, &random, few_train));
    return val ? few(val, k < VAL_SHOTS ? k : VAL_SHOTS, &random, few_val) : AMMPL_OK;
}

ammpl_status ammpli_dataset_select_few(const ammpl_dataset *train, const ammpl_dataset *val, int32_t shots,
                                       const ammpl_config *cfg, ammpl_dataset **few_train, ammpl_dataset **few_val)
{
    uint64_t seed = (uint64_t)ammpli_config_int(cfg, AMMPL_OPT_SEED);
    bool dassl = strcmp(ammpli_config_string(cfg, AMMPL_OPT_SAMPLER), "dassl") == 0;
    *few_train = NULL;
    if (few_val)
        *few_val = NULL;
    ammpl_status status;
    if (dassl && shots > 0) {
        status = select_dassl(train, val, (size_t)shots, seed, few_train, few_val);
    } else { /* 0 shots take everything, whoever samples */
        status = ammpli_dataset_select_shots(train, shots, seed, few_train);
        if (status >= 0 && val)
            status = ammpli_dataset_select_shots(val, shots < VAL_SHOTS ? shots : VAL_SHOTS, seed, few_val);
    }
    if (status < 0) {
        ammpli_dataset_release(*few_train);
        *few_train = NULL;
    }
    return status;
}

ammpl_status ammpli_dataset_select_half(const ammpl_dataset *ds, bool second, ammpl_dataset **out)
{
    size_t base = (ds->classes + 1) / 2, first = second ? base : 0, n = second ? ds->classes - base : base;
    *out = NULL;
    if (n == 0)
        return ammpli_fail(AMMPL_E_ARGUMENT, "the data set has one class only: there is no second half");
    int32_t *classes = ammpli_alloc(ds->ctx, n, sizeof *classes);
    if (!classes)
        return AMMPL_E_MEMORY;
    for (size_t i = 0; i < n; i++)
        classes[i] = (int32_t)(first + i);
    ammpl_status status = ammpli_dataset_select_classes(ds, classes, n, out);
    ammpli_free(ds->ctx, classes);
    return status;
}
