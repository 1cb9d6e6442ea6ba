/* evaluate_classes.c - see evaluate_classes.h. */
#include "evaluate_classes.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- which records ---- */

static bool is_in(const struct record *r, const char *protocol, const char *dataset, const char *split)
{
    return strcmp(r->protocol, protocol) == 0 && strcmp(r->dataset, dataset) == 0 && strcmp(r->split, split) == 0;
}

static int most_shots(const struct record *record, size_t count, const char *protocol)
{
    int most = 0;
    for (size_t i = 0; i < count; i++)
        if (strcmp(record[i].protocol, protocol) == 0 && record[i].shots > most)
            most = record[i].shots;
    return most;
}

static void name_of(struct table *t, const struct record *r, int shots)
{
    bool all = strcmp(r->split, "all") == 0;
    snprintf(t->name, sizeof t->name, "%s-%.80s%s%s-classes", r->protocol, r->dataset, all ? "" : "-", all ? "" : r->split);
    snprintf(t->title, sizeof t->title, "%s on %.80s, each %sclass: accuracy in %%, %d shot%s", r->protocol, r->dataset,
             all ? "" : strcmp(r->split, "base") == 0 ? "base " : "novel ", shots, shots == 1 ? "" : "s");
}

/* ---- one table ---- */

static void masked_column(const struct record *r, char *text, size_t room)
{
    char row[256];
    record_row_name(r, row, sizeof row);
    const json_t *patches = json_object_get(r->json, "patches");
    snprintf(text, room, "%s masks of %lld", row, (long long)json_integer_value(patches));
}

static void put(struct table *t, const struct tables *tables, const struct record *r)
{
    char column[320], masked[320];
    record_row_name(r, column, sizeof column);
    masked_column(r, masked, sizeof masked);
    size_t c = list_find(&t->columns, column), m = list_find(&t->columns, masked);
    for (size_t s = 0; s < tables->seeds; s++) {
        if (r->shots != 0 && tables->seed[s] != r->seed)
            continue;
        for (size_t k = 0; k < t->rows.count; k++) {
            table_at(t, k, c)->value[s] = 100 * record_number(r, "class_correct", k) / record_number(r, "class_count", k);
            if (m < t->columns.count)
                table_at(t, k, m)->value[s] = record_number(r, "masked_in_evaluation", k);
        }
    }
}

static void make_one(const struct record *record, size_t count, const struct record *first, int shots, struct tables *out)
{
    struct table *t = tables_add(out);
    char text[320];
    name_of(t, first, shots);
    for (size_t i = 0; i < record_list_length(first, "classes"); i++) {
        const char *name = json_string_value(json_array_get(json_object_get(first->json, "classes"), i));
        name = name == NULL ? "?" : name;
        list_add(&t->rows, name, strlen(name));
    }
    for (size_t i = 0; i < count; i++) {
        const struct record *r = &record[i];
        if (!is_in(r, first->protocol, first->dataset, first->split) || (r->shots != 0 && r->shots != shots))
            continue;
        record_row_name(r, text, sizeof text);
        list_find_or_add(&t->columns, text);
        masked_column(r, text, sizeof text);
        if (record_list_length(r, "masked_in_evaluation") != 0)
            list_find_or_add(&t->columns, text);
    }
    table_make_cells(t);
    for (size_t i = 0; i < count; i++)
        if (is_in(&record[i], first->protocol, first->dataset, first->split) && (record[i].shots == 0 || record[i].shots == shots))
            put(t, out, &record[i]);
    table_settle(t, out->seeds);
}

void tables_make_classes(const struct record *record, size_t count, const char *protocol, struct tables *out)
{
    struct list done = {NULL, 0, 0};
    int shots = most_shots(record, count, protocol);
    for (size_t i = 0; i < count; i++) {
        char key[512];
        size_t before = done.count;
        if (strcmp(record[i].protocol, protocol) != 0 || record_list_length(&record[i], "classes") == 0)
            continue;
        snprintf(key, sizeof key, "%s %s", record[i].dataset, record[i].split);
        if (list_find_or_add(&done, key) == before)
            make_one(record, count, &record[i], shots, out);
    }
    list_free(&done);
}

/* ---- confusions ---- */

static void add_record(struct confusion *c, const struct record *r)
{
    size_t n = c->classes.count, i;
    const json_t *triple;
    for (i = 0; i < n; i++)
        c->count[i * n + i] += record_number(r, "class_correct", i);
    json_array_foreach(json_object_get(r->json, "confused"), i, triple)
    {
        size_t is = (size_t)json_integer_value(json_array_get(triple, 0)), as = (size_t)json_integer_value(json_array_get(triple, 1));
        if (is < n && as < n)
            c->count[is * n + as] += json_number_value(json_array_get(triple, 2));
    }
}

bool confusion_make(const struct record *record, size_t count, const char *protocol, const char *dataset, const char *split,
                    const char *row, struct confusion *out)
{
    char name[256];
    int shots = most_shots(record, count, protocol), seeds = 0;
    *out = (struct confusion){.count = NULL};
    for (size_t i = 0; i < count; i++) {
        const struct record *r = &record[i];
        record_row_name(r, name, sizeof name);
        size_t n = record_list_length(r, "classes");
        if (!is_in(r, protocol, dataset, split) || strcmp(name, row) != 0 || (r->shots != 0 && r->shots != shots) || n == 0 ||
            (seeds > 0 && n != out->classes.count) || json_object_get(r->json, "confused") == NULL) /* left out of results that are published */
            continue;
        for (size_t k = 0; seeds == 0 && k < n; k++) {
            const char *text = json_string_value(json_array_get(json_object_get(r->json, "classes"), k));
            list_add(&out->classes, text == NULL ? "?" : text, text == NULL ? 1 : strlen(text));
        }
        if (seeds++ == 0)
            out->count = allocate(n * n * sizeof *out->count);
        add_record(out, r);
    }
    snprintf(out->title, sizeof out->title, "%.60s on %.60s (%s classes), %d shot%s, %d seed%s", row, dataset, split, shots,
             shots == 1 ? "" : "s", seeds, seeds == 1 ? "" : "s");
    snprintf(out->name, sizeof out->name, "confusion-%s-%.60s-%s", protocol, dataset, split);
    /* It stands in gnuplot's scripts, where some characters would be commands. */
    for (unsigned char *c = (unsigned char *)out->name; *c != '\0'; c++)
        if (*c < 0x80 && !isalnum(*c) && strchr("-._+", *c) == NULL)
            *c = '_';
    return seeds > 0;
}

void confusion_free(struct confusion *confusion)
{
    list_free(&confusion->classes);
    free(confusion->count);
    confusion->count = NULL;
}
