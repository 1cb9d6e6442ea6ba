/* evaluate_record.h - one line of a results file: what was measured, of what, under which options. */
#ifndef AMMPL_EXAMPLES_EVALUATE_RECORD_H
#define AMMPL_EXAMPLES_EVALUATE_RECORD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct record {
    json_t *json; /* the whole line; the strings below are borrowed from it */
    const char *protocol, *method;
    const char *variant;          /* "", or what distinguishes it from the method's other rows: "C1", "order=simultaneous" */
    const char *dataset, *source; /* tested on, trained on */
    const char *split;            /* "all", "base" or "novel" classes */
    int shots;                    /* 0: nothing was learned */
    long long seed, correct, count;
    double accuracy, macro_f1; /* 0..1 */
    size_t place;              /* in its file, or files */
};

struct records {
    struct record *item;
    size_t count, capacity;
};

/* Appends the line's record; false with a sentence in why when it is none. */
bool records_add(struct records *records, const char *line, size_t n, char why[256]);
void records_free(struct records *records);
/* The measurements of one place in a table: same protocol, method, variant, dataset, source, split, shots and seed. */
bool record_same_place(const struct record *a, const struct record *b);
/* The rule of prompt files: another CLIP differs by more than 1e-2 somewhere.  A line that says nothing about its CLIP may be of any. */
bool record_same_model(const struct record *a, const struct record *b);
/* "ammpl", "ammpl C1", "ammpl order=simultaneous". */
void record_row_name(const struct record *record, char *text, size_t room);

/* Protocols and components in the paper's order, methods in the library's, whatever order parallel runs ended in. */
void records_sort(struct records *records);
/* Number i of a list in the line, NaN when there is none. */
double record_number(const struct record *record, const char *list, size_t i);
size_t record_list_length(const struct record *record, const char *list);
const char *record_text(const struct record *record, const char *key); /* "" when there is none */

#endif
