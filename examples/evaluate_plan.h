/* evaluate_plan.h - the runs of a protocol: what is trained, and on what each is tested then. */
#ifndef AMMPL_EXAMPLES_EVALUATE_PLAN_H
#define AMMPL_EXAMPLES_EVALUATE_PLAN_H

#include "evaluate_data.h"
#include "evaluate_journal.h"
#include "evaluate_settings.h"

struct protocol {
    const char *name;
    int shots[5]; /* of the paper, ended by 0 */
    bool halves;  /* trained on base classes, tested on base and on novel ones */
    bool targets; /* trained on one data set, tested on all */
    bool ablation;
};

/* The protocol of that name, NULL with a sentence that lists them. */
const struct protocol *protocol_find(struct app *app, const char *name);

/* One training and its tests; of zero-shot, which learns nothing, the tests of its own data set alone (shots and seed 0). */
struct run {
    const struct entry *entry;
    const struct data_set *source;
    int shots;
    long long seed;
    ammpl_config *config;
    char *settings; /* settings_text of config */
    bool done;      /* all its records are there */
    bool pictured;  /* its masks over training are a figure of the report */
};

/* One test of a run. */
struct test {
    const struct data_set *set;
    const char *split; /* "all", "base", "novel" */
};

struct plan {
    const struct protocol *protocol;
    const struct data_sets *sets;
    struct entries entries;
    struct run *run;
    size_t count;
};

struct plan_choice {
    const char *protocol, *source, *shots, *seeds, *settings_file;
    const struct list *methods;
};

/* All runs with their options.  The sets stay the caller's and outlive the plan. */
bool plan_make(struct app *app, const struct plan_choice *choice, const struct data_sets *sets, struct plan *out);
void plan_free(struct plan *plan);

size_t plan_test_count(const struct plan *plan, const struct run *run);
struct test plan_test(const struct plan *plan, const struct run *run, size_t i);
/* A run's test as a record without results, to look one up by. */
struct record plan_place(const struct plan *plan, const struct run *run, size_t i);

/* Marks runs whose records are all in the journal.  A record of the same place under other options, or of other data or another
 * model, is a failure: results that are not comparable must not meet in one file. */
bool plan_mark_done(struct app *app, struct plan *plan, const struct journal *journal);
/* The records of this plan, borrowed from the journal; free() the array. */
struct record *plan_records(const struct plan *plan, const struct journal *journal, size_t *count);
/* "ammpl on objects, 4 shots, seed 1" */
void run_name(const struct run *run, char *text, size_t room);
/* Hexadecimal, as records have it. */
void fingerprint_text(uint64_t fingerprint, char text[20]);

#endif
