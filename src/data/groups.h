/* groups.h - what a list holds of each label, labels in the order in which the list first shows them (Python's dict). */
#ifndef AMMPLI_GROUPS_H
#define AMMPLI_GROUPS_H

#include "core/core.h"

typedef struct ammpli_groups {
    ammpl_context *ctx;
    size_t count;  /* groups */
    size_t *start; /* [count + 1]: of each group in `index` */
    size_t *index; /* places in the list, in its order */
} ammpli_groups;

/* label [n] in -1..labels-1; -1 belongs to no group. */
ammpl_status ammpli_groups_create(ammpl_context *ctx, const int32_t *label, size_t n, size_t labels, ammpli_groups *out);
void ammpli_groups_free(ammpli_groups *g);

#endif
