/* evaluate_settings.h - under which options a method runs: the published ones of each protocol, a file's, the command line's.
 *
 * A later one overrides an earlier one:
 *
 *     the library's defaults < those published for the protocol < --settings FILE < flags < what a variant is named for
 *
 * Options are written "lr=2; epochs=8; ctx_init=a photo of a".  A settings file has a line for each method, "METHOD: OPTIONS", or
 * for a method on one data set, "METHOD@DATASET: OPTIONS"; a variant is called "METHOD+VARIANT" as in --method, every method "*";
 * lines with # are notes.
 */
#ifndef AMMPL_EXAMPLES_EVALUATE_SETTINGS_H
#define AMMPL_EXAMPLES_EVALUATE_SETTINGS_H

#include "common/app.h"

/* One row of the tables: a method, or one of its variants. */
struct entry {
    char *method;
    char *variant; /* "", or its name in records and tables */
    char *options; /* of the variant: "order=simultaneous" */
    ammpl_method id;
};

struct entries {
    struct entry *item;
    size_t count;
};

/* "coop, ammpl, ammpl+order=simultaneous+shift=scalar"; "all" is every method of the library. */
bool entries_parse(struct app *app, const struct list *texts, struct entries *out);
/* The rows of Table 3 of the paper, C1 to C1+C2+C3, for every entry. */
void entries_ablate(struct entries *entries);
void entries_free(struct entries *entries);

/* What determines the options of a run besides the entry. */
struct circumstances {
    const char *protocol, *dataset, *text_template;
    int shots;
    long long seed;
    const struct list *settings; /* lines of --settings */
};

/* A new config for one run; the caller's. */
bool settings_config(struct app *app, const struct entry *entry, const struct circumstances *c, ammpl_config **out);
/* "lr=2; epochs=8": every option of a run's config that was set and changes results, but the seed; free() it.  learns: those of
 * training, too. */
char *settings_text(const ammpl_config *config, bool learns);
/* The value of an option as text: for numbers as short as it is exact. */
bool settings_value(const ammpl_config *config, const ammpl_option_info *info, char *text, size_t room);

#endif
