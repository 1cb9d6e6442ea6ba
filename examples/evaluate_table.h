/* evaluate_table.h - tables as in the paper, made of records: means over seeds, the paper's own numbers beside them. */
#ifndef AMMPL_EXAMPLES_EVALUATE_TABLE_H
#define AMMPL_EXAMPLES_EVALUATE_TABLE_H

#include "evaluate_record.h"
#include "evaluate_stats.h"
#include "common/list.h"

enum { TABLE_SEEDS = 100 };

struct cell {
    double value[TABLE_SEEDS]; /* per cent, one for each seed of the table; NaN: not there */
    struct statistics s;       /* of the values; the mean of a harmonic mean is that of the means, as published */
    double paper, paper_sd;    /* NaN: the paper has none */
};

struct table {
    char title[256];
    char name[128]; /* for files: "few-shot-objects" */
    struct list rows, columns;
    struct cell *cell; /* [rows, columns] */
    bool difference;   /* of two methods: signs are shown */
};

struct tables {
    struct table *item;
    size_t count;
    long long seed[TABLE_SEEDS];
    size_t seeds;
};

enum table_metric { METRIC_ACCURACY, METRIC_MACRO_F1 };

/* Every table that the records of one protocol give.  reference: the row (method and variant) that the others are compared with in
 * tables of differences, paired by seed; NULL: none of these. */
void tables_make(const struct record *record, size_t count, const char *protocol, enum table_metric metric, const char *reference,
                 struct tables *out);
void tables_free(struct tables *tables);

/* For others that make tables: an empty one; its cells, once rows and columns are named; their statistics, once filled. */
struct table *tables_add(struct tables *tables);
void table_make_cells(struct table *table);
void table_settle(struct table *table, size_t seeds);

struct cell *table_at(const struct table *table, size_t row, size_t column);
/* Does the paper have a number in this row? */
bool table_row_has_paper(const struct table *table, size_t row);

#endif
