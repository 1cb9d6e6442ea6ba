/* named.h - the nine data sets of the published runs as they lie on disk (methods.md 7). */
#ifndef AMMPLI_NAMED_H
#define AMMPLI_NAMED_H

#include "data/dataset.h"
#include "data/listing.h"

enum { AMMPLI_TRAIN = 0, AMMPLI_VAL = 1, AMMPLI_TEST = 2 };

/* A data set on its way: class names by label, and the pictures of all parts. */
typedef struct ammpli_draft_item {
    char *path;
    int32_t label;
    int part; /* AMMPLI_TRAIN ... */
} ammpli_draft_item;

typedef struct ammpli_draft {
    ammpl_context *ctx;
    const char *base;   /* the data set's folder */
    const char *images; /* the folder of its pictures */
    ammpli_strings name;
    ammpli_draft_item *item;
    size_t count, cap;
} ammpli_draft;

/* ---- draft.c ---- */

void ammpli_draft_free(ammpli_draft *d);
/* A class; its label is the number of those before it. */
ammpl_status ammpli_draft_class(ammpli_draft *d, const char *name);
/* The picture images/below. */
ammpl_status ammpli_draft_add(ammpli_draft *d, const char *below, int32_t label, int part);
/* How one part's pictures are divided: of every class, shuffled, the first round(share[0] n) go to part[0], the next
 * round(share[1] n) to part[1], the rest to part[2].  round: halves to even, as Python's. */
typedef struct ammpli_division {
    int of;
    double share[2];
    int part[3];
} ammpli_division;
/* Classes in the order in which they first appear, one random.shuffle after the other after random.seed(1). */
ammpl_status ammpli_draft_divide(ammpli_draft *d, const ammpli_division *how);

/* ---- where there is no split JSON: named_lists.c (text files), named_folders.c (a folder per class) ---- */

ammpl_status ammpli_build_pets(ammpli_draft *d);
ammpl_status ammpli_build_flowers(ammpli_draft *d);
ammpl_status ammpli_build_aircraft(ammpli_draft *d);
ammpl_status ammpli_build_ucf101(ammpli_draft *d);
ammpl_status ammpli_build_sun397(ammpli_draft *d);
ammpl_status ammpli_build_folders(ammpli_draft *d);
ammpl_status ammpli_build_caltech101(ammpli_draft *d);
ammpl_status ammpli_build_eurosat(ammpli_draft *d);

/* ---- named.c ---- */

size_t ammpli_named_count(void);
/* Name, place below the root and text template of the i-th; false beyond the last.  The pointers may be NULL. */
bool ammpli_named_at(size_t i, const char **name, const char **folder, const char **text_template);
/* The place of a name, its Dassl name or folder, case and marks aside; AMMPL_E_OPTION. */
ammpl_status ammpli_named_find(const char *name, size_t *i);
ammpl_status ammpli_dataset_open_named(ammpl_context *ctx, const char *name, const char *root, const char *part,
                                       ammpl_dataset **out);

#endif
