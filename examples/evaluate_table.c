/* evaluate_table.c - see evaluate_table.h. */
#include "evaluate_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "evaluate_paper.h"

/* What a table is made of: its records and what their columns are. */
enum columns { BY_SHOTS, BY_SPLIT, BY_DATASET, BY_SOURCE };

struct view {
    const struct record *record;
    size_t count;
    const char *protocol;
    enum table_metric metric;
    const char *dataset; /* NULL: all */
    const char *source;  /* of what was trained; NULL: any */
    int shots;           /* -1: all; zero-shot records are in every view */
    enum columns columns;
    struct tables *tables; /* for its seeds */
};

static bool in_view(const struct view *v, const struct record *r)
{
    return strcmp(r->protocol, v->protocol) == 0 && (v->dataset == NULL || strcmp(r->dataset, v->dataset) == 0) &&
           (v->source == NULL || r->shots == 0 || strcmp(r->source, v->source) == 0) &&
           (v->shots < 0 || r->shots == 0 || r->shots == v->shots);
}

/* ---- lists of names ---- */

static int by_number(const void *a, const void *b)
{
    long long x = strtoll(*(char *const *)a, NULL, 10), y = strtoll(*(char *const *)b, NULL, 10);
    return (x > y) - (x < y);
}

static void column_name(const struct view *v, const struct record *r, char *text, size_t room)
{
    if (v->columns == BY_SHOTS)
        snprintf(text, room, "%d", r->shots);
    else
        snprintf(text, room, "%s", v->columns == BY_SPLIT ? r->split : v->columns == BY_SOURCE ? r->source : r->dataset);
}

/* ---- making one ---- */

struct table *tables_add(struct tables *tables)
{
    struct table *item = allocate((tables->count + 1) * sizeof *item);
    if (tables->count != 0)
        memcpy(item, tables->item, tables->count * sizeof *item);
    free(tables->item);
    tables->item = item;
    return &item[tables->count++];
}

void table_make_cells(struct table *t)
{
    size_t n = t->rows.count * t->columns.count;
    t->cell = allocate(n * sizeof *t->cell);
    for (size_t i = 0; i < n; i++) {
        for (size_t s = 0; s < TABLE_SEEDS; s++)
            t->cell[i].value[s] = NAN;
        t->cell[i].paper = t->cell[i].paper_sd = NAN;
    }
}

struct cell *table_at(const struct table *table, size_t row, size_t column)
{
    return &table->cell[row * table->columns.count + column];
}

void table_settle(struct table *t, size_t seeds)
{
    for (size_t i = 0; i < t->rows.count * t->columns.count; i++)
        t->cell[i].s = statistics_of(t->cell[i].value, seeds);
}

static void put(const struct view *v, struct cell *cell, const struct record *r)
{
    struct paper_number paper;
    double value = 100 * (v->metric == METRIC_ACCURACY ? r->accuracy : r->macro_f1);
    for (size_t s = 0; s < v->tables->seeds; s++)
        if (r->shots == 0 || v->tables->seed[s] == r->seed) /* what learns nothing is the same under every seed */
            cell->value[s] = value;
    if (v->metric == METRIC_ACCURACY && paper_find(r, &paper)) {
        cell->paper = paper.mean;
        cell->paper_sd = paper.sd;
    }
}

static struct table *fill(struct view *v, const char *name, const char *title)
{
    struct table *t = tables_add(v->tables);
    char text[256];
    snprintf(t->title, sizeof t->title, "%s", title);
    snprintf(t->name, sizeof t->name, "%s", name);
    if (v->columns == BY_SPLIT) {
        list_find_or_add(&t->columns, "base");
        list_find_or_add(&t->columns, "novel");
    }
    for (size_t i = 0; i < v->count; i++)
        if (in_view(v, &v->record[i])) {
            record_row_name(&v->record[i], text, sizeof text);
            list_find_or_add(&t->rows, text);
            column_name(v, &v->record[i], text, sizeof text);
            if (v->columns != BY_SHOTS || v->record[i].shots != 0)
                list_find_or_add(&t->columns, text);
        }
    if (v->columns == BY_SHOTS && t->columns.count == 0)
        list_find_or_add(&t->columns, "0");
    if (v->columns == BY_SHOTS)
        qsort(t->columns.item, t->columns.count, sizeof *t->columns.item, by_number);
    table_make_cells(t);
    for (size_t i = 0; i < v->count; i++) {
        const struct record *r = &v->record[i];
        if (!in_view(v, r))
            continue;
        record_row_name(r, text, sizeof text);
        size_t row = list_find(&t->rows, text);
        column_name(v, r, text, sizeof text);
        for (size_t c = 0; c < t->columns.count; c++)
            if ((v->columns == BY_SHOTS && r->shots == 0) || strcmp(t->columns.item[c], text) == 0)
                put(v, table_at(t, row, c), r);
    }
    table_settle(t, v->tables->seeds);
    return t;
}

/* ---- what is derived from others ---- */

/* One more column at the right. */
static void widen(struct table *t, const char *name)
{
    struct table old = *t;
    list_find_or_add(&t->columns, name);
    table_make_cells(t);
    for (size_t r = 0; r < t->rows.count; r++)
        memcpy(table_at(t, r, 0), &old.cell[r * (t->columns.count - 1)], (t->columns.count - 1) * sizeof *t->cell);
    free(old.cell);
}

/* Base and novel into their harmonic mean: of the means, as published; its spread is that over the seeds. */
static void combine(const struct tables *tables, struct cell *base, struct cell *novel, struct cell *hm)
{
    for (size_t s = 0; s < tables->seeds; s++)
        hm->value[s] = harmonic_mean(base->value[s], novel->value[s]);
    hm->s = statistics_of(hm->value, tables->seeds);
    hm->s.mean = harmonic_mean(base->s.mean, novel->s.mean);
}

static void add_harmonic(const struct view *v, struct table *t)
{
    widen(t, "HM");
    for (size_t r = 0; r < t->rows.count; r++)
        combine(v->tables, table_at(t, r, 0), table_at(t, r, 1), table_at(t, r, 2));
    for (size_t i = 0; i < v->count; i++) {
        struct record r = v->record[i];
        struct paper_number paper;
        char row[256];
        r.split = "hm";
        if (v->metric != METRIC_ACCURACY || !in_view(v, &r) || !paper_find(&r, &paper))
            continue;
        record_row_name(&r, row, sizeof row);
        struct cell *hm = table_at(t, list_find(&t->rows, row), 2);
        hm->paper = paper.mean;
        hm->paper_sd = paper.sd;
    }
}

/* The mean of some columns, or of the same cell of some tables: where all of them are there. */
static void average(struct cell *out, const struct cell *const *in, size_t n, size_t seeds)
{
    double paper = 0;
    for (size_t k = 0; k < n; k++)
        paper += in[k]->paper / (double)n; /* NaN stays NaN */
    out->paper = n == 0 ? NAN : paper;
    for (size_t s = 0; s < seeds; s++) {
        double sum = 0;
        for (size_t k = 0; k < n; k++)
            sum += in[k]->value[s] / (double)n;
        out->value[s] = n == 0 ? NAN : sum;
    }
    out->s = statistics_of(out->value, seeds);
}

/* A column with the mean of the others from `first` on. */
static void add_average_column(const struct tables *tables, struct table *t, size_t first)
{
    size_t n = t->columns.count - first;
    if (t->columns.count < first + 2)
        return;
    widen(t, "average");
    for (size_t r = 0; r < t->rows.count; r++) {
        const struct cell **in = allocate(n * sizeof *in);
        for (size_t k = 0; k < n; k++)
            in[k] = table_at(t, r, first + k);
        average(table_at(t, r, first + n), in, n, tables->seeds);
        free(in);
    }
}

static void copy_list(struct list *to, const struct list *from)
{
    for (size_t i = 0; i < from->count; i++)
        list_add(to, from->item[i], strlen(from->item[i]));
}

/* The mean of the tables from `first` on, which have the same columns; rows that all of them have. */
static void add_average_table(struct tables *tables, size_t first, const char *name, const char *title)
{
    size_t n = tables->count - first;
    if (n < 2)
        return;
    struct table *t = tables_add(tables);
    const struct table *one = &tables->item[first];
    snprintf(t->title, sizeof t->title, "%s", title);
    snprintf(t->name, sizeof t->name, "%s", name);
    copy_list(&t->rows, &one->rows);
    copy_list(&t->columns, &one->columns);
    table_make_cells(t);
    const struct cell **in = allocate(n * sizeof *in);
    static const struct cell none = {.value = {[0 ... TABLE_SEEDS - 1] = NAN}, .paper = NAN, .paper_sd = NAN};
    for (size_t r = 0; r < t->rows.count; r++)
        for (size_t c = 0; c < t->columns.count; c++) {
            for (size_t k = 0; k < n; k++) {
                const struct table *from = &tables->item[first + k];
                size_t row = list_find(&from->rows, t->rows.item[r]), column = list_find(&from->columns, t->columns.item[c]);
                in[k] = row < from->rows.count && column < from->columns.count ? table_at(from, row, column) : &none;
            }
            average(table_at(t, r, c), in, n, tables->seeds);
        }
    free(in);
    size_t hm = list_find(&t->columns, "HM");
    for (size_t r = 0; r < t->rows.count && hm < t->columns.count; r++) {
        struct cell *out = table_at(t, r, hm), *base = table_at(t, r, 0), *novel = table_at(t, r, 1);
        combine(tables, base, novel, out);
        out->paper = harmonic_mean(base->paper, novel->paper);
    }
}

/* By how much the reference row is better than each other one, seed by seed. */
static void add_difference(struct tables *tables, size_t of, const char *reference)
{
    const struct table *from = &tables->item[of];
    size_t row = list_find(&from->rows, reference);
    if (row == from->rows.count || from->rows.count < 2)
        return;
    char title[256], name[128];
    snprintf(title, sizeof title, "%.80s minus the others (and 95 %% confidence over seeds), %.120s", reference, from->title);
    snprintf(name, sizeof name, "%.100s-difference", from->name);
    struct table *t = tables_add(tables);
    from = &tables->item[of]; /* the array has moved */
    memcpy(t->title, title, sizeof title);
    memcpy(t->name, name, sizeof name);
    t->difference = true;
    copy_list(&t->columns, &from->columns);
    for (size_t r = 0; r < from->rows.count; r++)
        if (r != row)
            list_add(&t->rows, from->rows.item[r], strlen(from->rows.item[r]));
    table_make_cells(t);
    for (size_t r = 0, other = 0; r < from->rows.count; r++) {
        if (r == row)
            continue;
        for (size_t c = 0; c < t->columns.count; c++) {
            const struct cell *a = table_at(from, row, c), *b = table_at(from, r, c);
            struct cell *cell = table_at(t, other, c);
            for (size_t s = 0; s < tables->seeds; s++)
                cell->value[s] = a->value[s] - b->value[s];
            cell->paper = a->paper - b->paper;
        }
        other++;
    }
    table_settle(t, tables->seeds);
}

/* ---- the protocols ---- */

static int by_seed(const void *a, const void *b)
{
    long long x = *(const long long *)a, y = *(const long long *)b;
    return (x > y) - (x < y);
}

/* All seeds of the records; seed 0 of what learns nothing counts only where there is no other. */
static void collect_seeds(const struct view *v)
{
    struct tables *t = v->tables;
    for (int learned = 1; learned >= 0 && t->seeds == 0; learned--)
        for (size_t i = 0; i < v->count; i++) {
            const struct record *r = &v->record[i];
            size_t k = 0;
            if (!in_view(v, r) || (r->shots != 0) != learned)
                continue;
            while (k < t->seeds && t->seed[k] != r->seed)
                k++;
            if (k == t->seeds && k < TABLE_SEEDS)
                t->seed[t->seeds++] = r->seed;
        }
    qsort(t->seed, t->seeds, sizeof t->seed[0], by_seed);
}

static struct list names_of(const struct view *v, enum columns what)
{
    struct list list = {NULL, 0, 0};
    struct view by = *v;
    char text[256];
    by.columns = what;
    for (size_t i = 0; i < v->count; i++)
        if (in_view(v, &v->record[i]) && (v->record[i].shots != 0 || what == BY_DATASET)) {
            column_name(&by, &v->record[i], text, sizeof text);
            list_find_or_add(&list, text);
        }
    if (what == BY_SHOTS && list.count == 0)
        list_find_or_add(&list, "0");
    if (what == BY_SOURCE && list.count == 0 && v->count > 0)
        list_find_or_add(&list, v->record[0].source);
    if (what == BY_SHOTS)
        qsort(list.item, list.count, sizeof *list.item, by_number);
    return list;
}

static const char *metric_name(const struct view *v)
{
    return v->metric == METRIC_ACCURACY ? "accuracy" : "macro-F1";
}

/* A table for each data set, columns by shots or by split, and their average.  tail: what ends their names. */
static void per_dataset(struct view *v, const struct list *datasets, const char *tail, const char *about)
{
    char name[128], title[256];
    size_t first = v->tables->count;
    for (size_t d = 0; d < datasets->count; d++) {
        v->dataset = datasets->item[d];
        snprintf(name, sizeof name, "%s-%.80s%s", v->protocol, v->dataset, tail);
        snprintf(title, sizeof title, "%s on %.80s, %s", v->protocol, v->dataset, about);
        struct table *t = fill(v, name, title);
        if (v->columns == BY_SPLIT)
            add_harmonic(v, t);
    }
    v->dataset = NULL;
    snprintf(name, sizeof name, "%s-average%s", v->protocol, tail);
    snprintf(title, sizeof title, "%s, average of %zu data sets, %s", v->protocol, datasets->count, about);
    add_average_table(v->tables, first, name, title);
}

/* Moves a column to the left end. */
static void lead(struct table *t, const char *name)
{
    size_t at = list_find(&t->columns, name);
    if (at == t->columns.count)
        return;
    for (size_t r = 0; r < t->rows.count; r++) {
        struct cell first = *table_at(t, r, at);
        memmove(table_at(t, r, 1), table_at(t, r, 0), at * sizeof first);
        *table_at(t, r, 0) = first;
    }
    char *first = t->columns.item[at];
    memmove(t->columns.item + 1, t->columns.item, at * sizeof first);
    t->columns.item[0] = first;
}

/* Columns are data sets: one table for a number of shots and, in cross-dataset, a source. */
static void across_datasets(struct view *v, const char *shots, const char *about)
{
    char name[128], title[256];
    snprintf(name, sizeof name, "%s%s%.60s-%s-shot", v->protocol, v->source == NULL ? "" : "-", v->source == NULL ? "" : v->source, shots);
    snprintf(title, sizeof title, "%s%s%.80s, %s", v->protocol, v->source == NULL ? "" : " from ", v->source == NULL ? "" : v->source, about);
    struct table *t = fill(v, name, title);
    if (v->source != NULL)
        lead(t, v->source);
    add_average_column(v->tables, t, v->source != NULL ? 1 : 0);
}

static void for_shots(struct view *v, const char *shots, const struct list *datasets)
{
    char about[128], tail[32];
    v->shots = atoi(shots);
    snprintf(about, sizeof about, "%s in %%, %s shot%s", metric_name(v), shots, v->shots == 1 ? "" : "s");
    snprintf(tail, sizeof tail, "-%s-shot", shots);
    if (strcmp(v->protocol, "base-to-novel") == 0) {
        v->columns = BY_SPLIT;
        per_dataset(v, datasets, tail, about);
    } else if (strcmp(v->protocol, "cross-dataset") == 0) {
        struct list sources = names_of(v, BY_SOURCE);
        v->columns = BY_DATASET;
        for (size_t i = 0; i < sources.count; i++) {
            v->source = sources.item[i];
            across_datasets(v, shots, about);
        }
        v->source = NULL;
        list_free(&sources);
    } else {
        v->columns = BY_DATASET;
        across_datasets(v, shots, about);
    }
}

void tables_make(const struct record *record, size_t count, const char *protocol, enum table_metric metric, const char *reference,
                 struct tables *out)
{
    *out = (struct tables){NULL, 0, {0}, 0};
    struct view v = {record, count, protocol, metric, NULL, NULL, -1, BY_DATASET, out};
    char about[64];
    collect_seeds(&v);
    struct list datasets = names_of(&v, BY_DATASET), shots = names_of(&v, BY_SHOTS);
    if (strcmp(protocol, "few-shot") == 0) {
        v.columns = BY_SHOTS;
        snprintf(about, sizeof about, "%s in %% by shots", metric_name(&v));
        per_dataset(&v, &datasets, "", about);
    } else {
        for (size_t k = 0; k < shots.count && datasets.count > 0; k++)
            for_shots(&v, shots.item[k], &datasets);
    }
    size_t tables = out->count;
    char whole[128]; /* an ablation has no plain row: parts are compared with the whole */
    snprintf(whole, sizeof whole, "%.100s%s", reference == NULL ? "" : reference, strcmp(protocol, "ablation") == 0 ? " C1+C2+C3" : "");
    for (size_t i = 0; reference != NULL && i < tables; i++)
        add_difference(out, i, whole);
    list_free(&datasets);
    list_free(&shots);
}

void tables_free(struct tables *tables)
{
    for (size_t i = 0; i < tables->count; i++) {
        list_free(&tables->item[i].rows);
        list_free(&tables->item[i].columns);
        free(tables->item[i].cell);
    }
    free(tables->item);
    *tables = (struct tables){NULL, 0, {0}, 0};
}

bool table_row_has_paper(const struct table *table, size_t row)
{
    for (size_t c = 0; c < table->columns.count; c++)
        if (!isnan(table_at(table, row, c)->paper))
            return true;
    return false;
}
