/* evaluate_classes.h - what happens to each class: its accuracy, the patches it masks, what it is taken for. */
#ifndef AMMPL_EXAMPLES_EVALUATE_CLASSES_H
#define AMMPL_EXAMPLES_EVALUATE_CLASSES_H

#include "evaluate_table.h"

/* Adds a table for each data set and split: rows are classes, columns methods (accuracy in %) and, of those that mask patches, how
 * many of a class are masked in evaluation; after the largest number of shots. */
void tables_make_classes(const struct record *record, size_t count, const char *protocol, struct tables *out);

/* Counts [classes, classes], true class by predicted one, summed over the seeds. */
struct confusion {
    char title[256], name[128];
    struct list classes;
    double *count;
};

/* Of the row of that name on one data set and split, after the largest number of shots; false where there is none. */
bool confusion_make(const struct record *record, size_t count, const char *protocol, const char *dataset, const char *split,
                    const char *row, struct confusion *out);
void confusion_free(struct confusion *confusion);

#endif
