/* evaluate_record.c - see evaluate_record.h. */
#include "evaluate_record.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ammpl/ammpl.h>

#include "common/list.h"

static const char *text_of(const json_t *json, const char *key)
{
    return json_string_value(json_object_get(json, key));
}

static const char *const protocols[] = {"few-shot", "base-to-novel", "cross-dataset", "ablation"};
static const char *const splits[] = {"all", "base", "novel"};
#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static bool is_one_of(const char *text, const char *const *list, size_t n)
{
    while (n > 0 && strcmp(list[n - 1], text) != 0)
        n--;
    return n > 0;
}

/* Fills the fields from r->json; the key that is missing or not what this program writes, or NULL.  What is let through here becomes part of
 * titles and of files' names, and may come from somebody else. */
static const char *fill(struct record *r)
{
    static const char *const numbers[] = {"shots", "seed", "correct", "count"};
    const json_t *json = r->json;
    r->protocol = text_of(json, "protocol");
    r->method = text_of(json, "method");
    r->dataset = text_of(json, "dataset");
    r->split = text_of(json, "split");
    r->variant = text_of(json, "variant");
    r->source = text_of(json, "source");
    r->variant = r->variant == NULL ? "" : r->variant;
    r->source = r->source == NULL ? r->dataset : r->source;
    if (r->protocol == NULL || r->method == NULL || r->dataset == NULL || r->split == NULL)
        return r->protocol == NULL ? "protocol" : r->method == NULL ? "method" : r->dataset == NULL ? "dataset" : "split";
    if (!is_one_of(r->protocol, protocols, COUNT(protocols)) || !is_one_of(r->split, splits, COUNT(splits)))
        return is_one_of(r->split, splits, COUNT(splits)) ? "protocol" : "split";
    if (strlen(r->dataset) > NAME_MAX || strlen(r->source) > NAME_MAX)
        return strlen(r->dataset) > NAME_MAX ? "dataset" : "source";
    for (int i = 0; i < 4; i++) {
        const json_t *number = json_object_get(json, numbers[i]);
        if (!json_is_integer(number) || json_integer_value(number) < 0 || (i == 0 && json_integer_value(number) > INT_MAX))
            return numbers[i];
    }
    r->shots = (int)json_integer_value(json_object_get(json, "shots"));
    r->seed = json_integer_value(json_object_get(json, "seed"));
    r->correct = json_integer_value(json_object_get(json, "correct"));
    r->count = json_integer_value(json_object_get(json, "count"));
    if (r->correct > r->count)
        return "correct";
    const json_t *accuracy = json_object_get(json, "accuracy"), *macro_f1 = json_object_get(json, "macro_f1");
    r->accuracy = json_number_value(accuracy);
    r->macro_f1 = json_number_value(macro_f1);
    return !json_is_number(accuracy) ? "accuracy" : !json_is_number(macro_f1) ? "macro_f1" : NULL;
}

bool records_add(struct records *records, const char *line, size_t n, char why[256])
{
    json_error_t error;
    struct record r = {.json = json_loadb(line, n, JSON_REJECT_DUPLICATES, &error)};
    if (r.json == NULL) {
        snprintf(why, 256, "not a line of JSON: %.200s", error.text);
        return false;
    }
    const char *missing = fill(&r);
    if (missing != NULL) {
        snprintf(why, 256, "\"%s\" is missing or not what belongs there", missing);
        json_decref(r.json);
        return false;
    }
    if (records->count == records->capacity) {
        size_t capacity = records->capacity == 0 ? 64 : 2 * records->capacity;
        struct record *item = allocate(capacity * sizeof *item);
        if (records->count != 0)
            memcpy(item, records->item, records->count * sizeof *item);
        free(records->item);
        records->item = item;
        records->capacity = capacity;
    }
    r.place = records->count;
    records->item[records->count++] = r;
    return true;
}

void records_free(struct records *records)
{
    for (size_t i = 0; i < records->count; i++)
        json_decref(records->item[i].json);
    free(records->item);
    *records = (struct records){NULL, 0, 0};
}

bool record_same_place(const struct record *a, const struct record *b)
{
    return a->shots == b->shots && a->seed == b->seed && strcmp(a->protocol, b->protocol) == 0 &&
           strcmp(a->method, b->method) == 0 && strcmp(a->variant, b->variant) == 0 &&
           strcmp(a->dataset, b->dataset) == 0 && strcmp(a->source, b->source) == 0 && strcmp(a->split, b->split) == 0;
}

bool record_same_model(const struct record *a, const struct record *b)
{
    for (size_t i = 0; i < 16; i++)
        if (fabs(record_number(a, "probe", i) - record_number(b, "probe", i)) > 1e-2) /* never so for NaN */
            return false;
    return true;
}

void record_row_name(const struct record *record, char *text, size_t room)
{
    snprintf(text, room, "%s%s%s", record->method, record->variant[0] == '\0' ? "" : " ", record->variant);
}

/* The place of a record's row: by protocol, method, component. */
static size_t rank_of(const struct record *r)
{
    static const char *const part[] = {"", "C1", "C3", "C1+C2", "C1+C2+C3"};
    enum { PARTS = sizeof part / sizeof part[0] };
    size_t protocol = 0, method = 0, row = 0;
    while (protocol < COUNT(protocols) && strcmp(protocols[protocol], r->protocol) != 0)
        protocol++;
    const char *name;
    while (ammpl_method_describe(method, NULL, &name, NULL) >= 0 && strcmp(name, r->method) != 0)
        method++;
    while (row < PARTS && strcmp(r->variant, part[row]) != 0)
        row++;
    return (protocol * (ammpl_method_count() + 1) + method) * (PARTS + 1) + row;
}

static int by_rank(const void *a, const void *b)
{
    const struct record *x = a, *y = b;
    size_t p = rank_of(x), q = rank_of(y);
    return p != q ? (p > q) - (p < q) : (x->place > y->place) - (x->place < y->place);
}

void records_sort(struct records *records)
{
    if (records->count != 0)
        qsort(records->item, records->count, sizeof *records->item, by_rank);
}

double record_number(const struct record *record, const char *list, size_t i)
{
    const json_t *value = json_array_get(json_object_get(record->json, list), i);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

size_t record_list_length(const struct record *record, const char *list)
{
    return json_array_size(json_object_get(record->json, list));
}

const char *record_text(const struct record *record, const char *key)
{
    const char *text = text_of(record->json, key);
    return text == NULL ? "" : text;
}
