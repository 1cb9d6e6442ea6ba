/* evaluate_data.h - the data sets of an evaluation: folders, split files, and those of the published runs by name. */
#ifndef AMMPL_EXAMPLES_EVALUATE_DATA_H
#define AMMPL_EXAMPLES_EVALUATE_DATA_H

#include "common/app.h"

struct data_set {
    char *name; /* in records and tables */
    const char *text_template;
    bool published;             /* one of the nine, opened by name */
    ammpl_dataset *train, *test; /* the same classes in the same order */
    uint64_t fingerprint;       /* of class names, labels and file names: what results are comparable on */
};

struct data_sets {
    struct data_set *item;
    size_t count;
};

struct data_choice {
    struct list folders;        /* --data */
    struct list names;          /* --dataset: names, "all" */
    struct list splits;         /* --split */
    const char *root;           /* --root, of names and splits */
    const char *class_names;    /* --class-names, of folders and splits */
    const char *text_template; /* where a data set has none of its own */
};

/* Opens both parts of all of them, at once, so that what is missing is known before the first run. */
bool data_sets_open(struct app *app, const struct data_choice *choice, struct data_sets *out);
void data_sets_close(struct data_sets *sets);
/* The set of that name, NULL with a sentence that lists them. */
const struct data_set *data_sets_find(struct app *app, const struct data_sets *sets, const char *name);

/* The halves of base-to-novel; *out is the caller's, "all" classes give the data as they are. */
bool data_part_of(struct app *app, const ammpl_dataset *data, const char *split, ammpl_dataset **out);

#endif
