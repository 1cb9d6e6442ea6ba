/* evaluate_plan.c - see evaluate_plan.h. */
#include "evaluate_plan.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct protocol protocols[] = {
    {"few-shot", {1, 2, 4, 8, 16}, false, false, false},
    {"base-to-novel", {16}, true, false, false},
    {"cross-dataset", {1, 8, 16}, false, true, false},
    {"ablation", {1}, false, false, true},
};
enum { PROTOCOLS = sizeof protocols / sizeof protocols[0] };

const struct protocol *protocol_find(struct app *app, const char *name)
{
    for (size_t i = 0; i < PROTOCOLS; i++)
        if (strcmp(protocols[i].name, name) == 0)
            return &protocols[i];
    app_usage(app, "--protocol %s: the protocols are few-shot, base-to-novel, cross-dataset and ablation", name);
    return NULL;
}

/* ---- making it ---- */

enum { MOST_NUMBERS = 100 };

/* "1, 2, 4" in rising order, each once; count 0 for NULL. */
static bool parse_numbers(struct app *app, const char *flag, const char *text, long long least, long long *out, size_t *count)
{
    struct list part = {NULL, 0, 0};
    bool ok = true;
    *count = 0;
    if (text != NULL)
        list_split(&part, text);
    for (size_t i = 0; ok && i < part.count; i++) {
        char *end;
        errno = 0;
        long long value = strtoll(part.item[i], &end, 10);
        ok = (end != part.item[i] && *end == '\0' && errno == 0 && value >= least && value <= INT_MAX && *count < MOST_NUMBERS &&
              (*count == 0 || value > out[*count - 1])) ||
             app_usage(app, "--%s wants whole numbers from %lld on, in rising order, not '%s'", flag, least, text);
        if (ok)
            out[(*count)++] = value;
    }
    list_free(&part);
    return ok;
}

/* The paper trains on Food101; else on what is named first. */
static const struct data_set *choose_source(struct app *app, const char *name, const struct data_sets *sets)
{
    if (name != NULL)
        return data_sets_find(app, sets, name);
    for (size_t i = 0; i < sets->count; i++)
        if (sets->item[i].published && strcmp(sets->item[i].name, "Food101") == 0)
            return &sets->item[i];
    return &sets->item[0];
}

/* The picks of published data sets are those of the published runs, unless the command line says otherwise. */
static bool choose_sampler(struct app *app, const struct data_set *source, ammpl_config *config)
{
    return !source->published || ammpl_config_is_set(config, AMMPL_OPT_SAMPLER) ||
           app_check(app, ammpl_config_set_string(config, AMMPL_OPT_SAMPLER, "dassl"));
}

static bool add_run(struct app *app, struct plan *plan, const struct entry *entry, const struct data_set *source, int shots,
                    long long seed, const struct list *settings)
{
    struct run *run = &plan->run[plan->count++];
    const struct circumstances c = {plan->protocol->name, source->name, source->text_template, shots, seed, settings};
    *run = (struct run){.entry = entry, .source = source, .shots = shots, .seed = seed};
    if (!settings_config(app, entry, &c, &run->config) || !choose_sampler(app, source, run->config))
        return false;
    run->settings = settings_text(run->config, shots != 0);
    return true;
}

/* What the command line asks for, as numbers. */
struct grid {
    long long shots[MOST_NUMBERS], seed[MOST_NUMBERS];
    size_t shots_count, seed_count;
    const struct data_set *source; /* the only one to train on, or NULL */
};

/* All runs of one method on one data set. */
static bool add_runs(struct app *app, struct plan *plan, const struct entry *entry, const struct data_set *set, const struct grid *grid,
                     const struct list *settings)
{
    bool ok = true;
    if (entry->id == AMMPL_METHOD_ZEROSHOT)
        return add_run(app, plan, entry, set, 0, 0, settings);
    for (size_t k = 0; ok && k < grid->shots_count && (grid->source == NULL || grid->source == set); k++)
        for (size_t s = 0; ok && s < grid->seed_count; s++)
            ok = add_run(app, plan, entry, set, (int)grid->shots[k], grid->seed[s], settings);
    return ok;
}

static bool read_grid(struct app *app, const struct plan_choice *choice, const struct plan *plan, struct grid *grid)
{
    if (!parse_numbers(app, "shots", choice->shots, 1, grid->shots, &grid->shots_count) ||
        !parse_numbers(app, "seeds", choice->seeds, 0, grid->seed, &grid->seed_count))
        return false;
    for (size_t i = 0; choice->shots == NULL && i < 5 && plan->protocol->shots[i] != 0; i++)
        grid->shots[grid->shots_count++] = plan->protocol->shots[i];
    grid->source = plan->protocol->targets ? choose_source(app, choice->source, plan->sets) : NULL;
    return !plan->protocol->targets || grid->source != NULL;
}

bool plan_make(struct app *app, const struct plan_choice *choice, const struct data_sets *sets, struct plan *out)
{
    char *ammpl = (char *)"ammpl";
    struct grid grid;
    struct list settings = {NULL, 0, 0};
    *out = (struct plan){.protocol = protocol_find(app, choice->protocol), .sets = sets};
    if (out->protocol == NULL || !read_grid(app, choice, out, &grid))
        return false;
    const struct list only = {&ammpl, 1, 1}; /* whose components the paper takes away */
    bool by_default = out->protocol->ablation && choice->methods->count == 0;
    if (!entries_parse(app, by_default ? &only : choice->methods, &out->entries))
        return false;
    for (size_t i = 0; out->protocol->ablation && i < out->entries.count; i++)
        if (out->entries.item[i].id != AMMPL_METHOD_AMMPL)
            return app_usage(app, "--protocol ablation takes components of ammpl away: --method has another one");
    if (out->protocol->ablation)
        entries_ablate(&out->entries);
    int failed = choice->settings_file != NULL ? list_read(&settings, choice->settings_file) : 0;
    if (failed != 0)
        return app_fail(app, "--settings %s: %s", choice->settings_file, strerror(failed));
    out->run = allocate(out->entries.count * sets->count * grid.shots_count * grid.seed_count * sizeof *out->run);
    bool ok = true;
    for (size_t i = 0; ok && i < sets->count; i++)
        for (size_t e = 0; ok && e < out->entries.count; e++)
            ok = add_runs(app, out, &out->entries.item[e], &sets->item[i], &grid, &settings);
    list_free(&settings);
    return ok;
}

void plan_free(struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        ammpl_config_destroy(plan->run[i].config);
        free(plan->run[i].settings);
    }
    free(plan->run);
    entries_free(&plan->entries);
    *plan = (struct plan){.protocol = NULL};
}

/* ---- tests of a run ---- */

size_t plan_test_count(const struct plan *plan, const struct run *run)
{
    return plan->protocol->halves ? 2 : plan->protocol->targets && run->shots != 0 ? plan->sets->count : 1;
}

struct test plan_test(const struct plan *plan, const struct run *run, size_t i)
{
    if (plan->protocol->halves)
        return (struct test){run->source, i == 0 ? "base" : "novel"};
    if (!plan->protocol->targets || i == 0)
        return (struct test){run->source, "all"};
    size_t source = (size_t)(run->source - plan->sets->item); /* it comes first, the others keep their order */
    return (struct test){&plan->sets->item[i <= source ? i - 1 : i], "all"};
}

struct record plan_place(const struct plan *plan, const struct run *run, size_t i)
{
    struct test test = plan_test(plan, run, i);
    return (struct record){.protocol = plan->protocol->name,
                           .method = run->entry->method,
                           .variant = run->entry->variant,
                           .dataset = test.set->name,
                           .source = run->source->name,
                           .split = test.split,
                           .shots = run->shots,
                           .seed = run->seed};
}

void run_name(const struct run *run, char *text, size_t room)
{
    int n = snprintf(text, room, "%s%s%s on %s", run->entry->method, run->entry->variant[0] == '\0' ? "" : " ", run->entry->variant,
                     run->source->name);
    if (run->shots != 0 && n > 0 && (size_t)n < room)
        snprintf(text + n, room - (size_t)n, ", %d shot%s, seed %lld", run->shots, run->shots == 1 ? "" : "s", run->seed);
}

/* ---- what is there already ---- */

void fingerprint_text(uint64_t fingerprint, char text[20])
{
    snprintf(text, 20, "%016" PRIx64, fingerprint);
}

static const struct record *find_record(const struct journal *journal, const struct record *place)
{
    for (size_t i = 0; i < journal->records.count; i++)
        if (record_same_place(&journal->records.item[i], place))
            return &journal->records.item[i];
    return NULL;
}

/* The rule of prompt files: another CLIP differs by more than 1e-2 somewhere. */
static bool same_model(const struct app *app, const struct record *record)
{
    float probe[16];
    if (app->model == NULL || record_list_length(record, "probe") != 16 || ammpl_model_probe(app->model, probe) < 0)
        return true;
    for (size_t i = 0; i < 16; i++)
        if (!(fabs((double)probe[i] - record_number(record, "probe", i)) <= 1e-2))
            return false;
    return true;
}

static bool comparable(struct app *app, const struct run *run, const struct test *test, const struct record *record,
                       const char *path)
{
    char name[256], data[20];
    run_name(run, name, sizeof name);
    fingerprint_text(test->set->fingerprint, data);
    const char *settings = record_text(record, "settings");
    if (strcmp(settings, run->settings) != 0)
        return app_fail(app, "%s has %s under other options (%s, now %s): give another --out, or make it a variant", path, name,
                        settings, run->settings);
    if (strcmp(record_text(record, "data"), data) != 0)
        return app_fail(app, "%s has %s, tested on other pictures of %s: give another --out", path, name, test->set->name);
    if (!same_model(app, record))
        return app_fail(app, "%s has %s of another CLIP (%s): give another --out", path, name, record_text(record, "model"));
    return true;
}

bool plan_mark_done(struct app *app, struct plan *plan, const struct journal *journal)
{
    for (size_t i = 0; i < plan->count; i++) {
        struct run *run = &plan->run[i];
        run->done = true;
        for (size_t k = 0; k < plan_test_count(plan, run); k++) {
            struct record place = plan_place(plan, run, k);
            struct test test = plan_test(plan, run, k);
            const struct record *record = find_record(journal, &place);
            if (record != NULL && !comparable(app, run, &test, record, journal->path))
                return false;
            run->done = run->done && record != NULL;
        }
    }
    return true;
}

struct record *plan_records(const struct plan *plan, const struct journal *journal, size_t *count)
{
    size_t most = 0;
    for (size_t i = 0; i < plan->count; i++)
        most += plan_test_count(plan, &plan->run[i]);
    struct record *out = allocate(most * sizeof *out);
    *count = 0;
    for (size_t i = 0; i < plan->count; i++)
        for (size_t k = 0; k < plan_test_count(plan, &plan->run[i]); k++) {
            struct record place = plan_place(plan, &plan->run[i], k);
            const struct record *record = find_record(journal, &place);
            if (record != NULL)
                out[(*count)++] = *record;
        }
    return out;
}
