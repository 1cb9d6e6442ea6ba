/* evaluate_settings.c - see evaluate_settings.h. */
#include "evaluate_settings.h"

#include <stdlib.h>
#include <string.h>

#include "common/methods.h"

/* ---- the published settings ---- */

/* The library knows what its authors gave each method for a protocol (option `protocol`).  What their programs do besides: Dassl leaves
 * out the last incomplete batch of an epoch; and texts without learned context are the data set's own template ("@dataset"). */
struct published {
    const char *protocols, *methods, *options;
};
#define ANY "few-shot base-to-novel cross-dataset ablation"

static const struct published table[] = {
    {ANY, "zeroshot dpt", "template=@dataset"},
    {"few-shot ablation", "vpt", "template=@dataset"}, /* DPT's; MaPLe's has one template for all */
    {ANY, "coop vpt dlp ivlp maple dpt", "drop_last=on"},
};

static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = words; (at = strstr(at, word)) != NULL; at += n)
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
            return true;
    return false;
}

/* ---- options as text ---- */

/* Sets "name=value; name=value"; `where` begins the sentence when one is wrong. */
static bool apply(struct app *app, ammpl_config *config, const char *options, const char *text_template, const char *where)
{
    struct list part = {NULL, 0, 0};
    bool ok = true;
    list_split_at(&part, options, ';');
    for (size_t i = 0; ok && i < part.count; i++) {
        char *value = strchr(part.item[i], '=');
        if (part.item[i][0] == '\0')
            continue;
        if (value == NULL) {
            ok = app_usage(app, "%s: '%s' is not OPTION=VALUE", where, part.item[i]);
            break;
        }
        *value++ = '\0';
        value = strcmp(value, "@dataset") == 0 ? (char *)text_template : value;
        ok = ammpl_config_set_text(config, part.item[i], value) >= 0 || app_usage(app, "%s: %s", where, ammpl_last_error());
    }
    list_free(&part);
    return ok;
}

bool settings_value(const ammpl_config *config, const ammpl_option_info *info, char *text, size_t room)
{
    int64_t whole = 0;
    double number = 0;
    const char *string = "";
    switch (info->type) {
    case AMMPL_TYPE_INT:
    case AMMPL_TYPE_BOOL:
        if (ammpl_config_get_int(config, info->id, &whole) < 0)
            return false;
        if (info->type == AMMPL_TYPE_BOOL)
            snprintf(text, room, "%s", whole ? "true" : "false");
        else
            snprintf(text, room, "%lld", (long long)whole);
        return true;
    case AMMPL_TYPE_FLOAT:
        if (ammpl_config_get_float(config, info->id, &number) < 0)
            return false;
        for (int digits = 6; digits <= 17; digits++) {
            snprintf(text, room, "%.*g", digits, number);
            if (strtod(text, NULL) == number)
                break;
        }
        return true;
    default:
        if (ammpl_config_get_string(config, info->id, &string) < 0)
            return false;
        snprintf(text, room, "%s", string);
        return true;
    }
}

/* Options that say where things are or how much memory they may take: results do not depend on them. */
static bool is_local(const ammpl_option_info *info)
{
    return info->id == AMMPL_OPT_MEMORY_LIMIT || info->id == AMMPL_OPT_VOCAB || info->id == AMMPL_OPT_CACHE ||
           info->id == AMMPL_OPT_TOWERS;
}

char *settings_text(const ammpl_config *config, bool learns)
{
    char *text = NULL, value[512];
    size_t size;
    FILE *out = open_memstream(&text, &size);
    const char *between = "";
    for (size_t i = 0; out != NULL && i < ammpl_option_count(); i++) {
        ammpl_option_info info = {.struct_size = sizeof info};
        if (ammpl_option_describe(i, &info) < 0 || info.id == AMMPL_OPT_SEED || is_local(&info) ||
            (!learns && (info.flags & AMMPL_OPTION_TRAIN) != 0) || !ammpl_config_is_set(config, info.id) || !settings_value(config, &info, value, sizeof value))
            continue;
        fprintf(out, "%s%s=%s", between, info.name, value);
        between = "; ";
    }
    if (out == NULL || fclose(out) != 0) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return text;
}

/* ---- one run's options ---- */

/* Are the first n bytes "METHOD", "METHOD+VARIANT" or "*"? */
static bool is_called(const struct entry *entry, const char *name, size_t n)
{
    size_t method = strlen(entry->method), variant = strlen(entry->variant);
    if (n == 1 && name[0] == '*')
        return true;
    if (n < method || strncmp(name, entry->method, method) != 0)
        return false;
    return n == method || (n == method + 1 + variant && name[method] == '+' && strncmp(name + method + 1, entry->variant, variant) == 0);
}

/* The options of a line that is meant for this method and data set, else NULL. */
static const char *line_for(const char *line, const struct entry *entry, const char *dataset)
{
    const char *colon = strchr(line, ':');
    size_t n = colon == NULL ? 0 : (size_t)(colon - line);
    const char *at = memchr(line, '@', n);
    size_t name = at == NULL ? n : (size_t)(at - line);
    while (name > 0 && line[name - 1] == ' ')
        name--;
    if (!is_called(entry, line, name))
        return NULL;
    if (at != NULL) {
        size_t length = (size_t)(colon - at - 1);
        while (length > 0 && at[length] == ' ')
            length--;
        if (strlen(dataset) != length || strncmp(at + 1, dataset, length) != 0)
            return NULL;
    }
    return colon + 1;
}

static bool apply_file(struct app *app, const struct entry *entry, const struct circumstances *c, ammpl_config *config)
{
    bool ok = true;
    for (size_t i = 0; ok && c->settings != NULL && i < c->settings->count; i++) {
        const char *line = c->settings->item[i];
        if (line[0] == '#')
            continue;
        if (strchr(line, ':') == NULL)
            return app_usage(app, "--settings: '%s' is not METHOD: OPTION=VALUE; ...", line);
        const char *options = line_for(line, entry, c->dataset);
        ok = options == NULL || apply(app, config, options, c->text_template, "--settings");
    }
    return ok;
}

/* Every option that the command line set. */
static bool apply_flags(struct app *app, ammpl_config *config)
{
    for (size_t i = 0; i < ammpl_option_count(); i++) {
        char value[4096];
        ammpl_option_info info = {.struct_size = sizeof info};
        if (!app_check(app, ammpl_option_describe(i, &info)))
            return false;
        if (ammpl_config_is_set(app->config, info.id) && settings_value(app->config, &info, value, sizeof value) &&
            !app_check(app, ammpl_config_set_text(config, info.name, value)))
            return false;
    }
    return true;
}

bool settings_config(struct app *app, const struct entry *entry, const struct circumstances *c, ammpl_config **out)
{
    if (!app_check(app, ammpl_config_create(app->context, out)))
        return false;
    const char *protocol = strcmp(c->protocol, "ablation") == 0 ? "few-shot" : c->protocol; /* whose parts it takes away */
    bool ok = app_check(app, ammpl_config_set_string(*out, AMMPL_OPT_PROTOCOL, protocol));
    for (size_t i = 0; ok && i < sizeof table / sizeof table[0]; i++)
        if (has_word(table[i].methods, entry->method) && has_word(table[i].protocols, c->protocol))
            ok = apply(app, *out, table[i].options, c->text_template, "the table of published settings");
    ok = ok && apply_file(app, entry, c, *out) && apply_flags(app, *out) &&
         apply(app, *out, entry->options, c->text_template, "--method");
    return ok && app_check(app, ammpl_config_set_int(*out, AMMPL_OPT_SEED, c->seed));
}

/* ---- methods and variants ---- */

static char *copied(const char *text, size_t n)
{
    char *copy = allocate(n + 1);
    memcpy(copy, text, n);
    return copy;
}

static void entries_add(struct entries *entries, const struct entry *entry)
{
    struct entry *item = allocate((entries->count + 1) * sizeof *item);
    if (entries->count != 0)
        memcpy(item, entries->item, entries->count * sizeof *item);
    item[entries->count++] = *entry;
    free(entries->item);
    entries->item = item;
}

/* "ammpl+order=simultaneous+shift=scalar" */
static bool parse_entry(struct app *app, const char *text, struct entries *out)
{
    size_t n = strcspn(text, "+");
    const char *variant = text + n + (text[n] == '+');
    struct entry e = {copied(text, n), copied(variant, strlen(variant)), copied(variant, strlen(variant)), 0};
    for (char *c = e.options; *c != '\0'; c++)
        *c = *c == '+' ? ';' : *c;
    entries_add(out, &e);
    return ammpl_method_find(e.method, &out->item[out->count - 1].id) >= 0 ||
           app_usage(app, "--method: %s", ammpl_last_error());
}

bool entries_parse(struct app *app, const struct list *texts, struct entries *out)
{
    bool ok = true;
    for (size_t i = 0; ok && i < texts->count; i++) {
        struct list part = {NULL, 0, 0};
        list_split(&part, texts->item[i]);
        for (size_t k = 0; ok && k < part.count; k++) {
            if (strcmp(part.item[k], "all") != 0) {
                ok = parse_entry(app, part.item[k], out);
                continue;
            }
            for (size_t m = 0; ok && m < ammpl_method_count(); m++) {
                const char *name;
                ok = app_check(app, ammpl_method_describe(m, NULL, &name, NULL)) && parse_entry(app, name, out);
            }
        }
        list_free(&part);
    }
    for (size_t i = 0; ok && i < out->count; i++)
        for (size_t k = 0; ok && k < i; k++)
            if (strcmp(out->item[i].method, out->item[k].method) == 0 && strcmp(out->item[i].variant, out->item[k].variant) == 0)
                ok = app_usage(app, "--method: %s is there twice", out->item[i].method);
    return ok && (out->count > 0 || app_usage(app, "--method is missing"));
}

void entries_ablate(struct entries *entries)
{
    static const char *const row[][2] = {{"C1", "mask=on; padding=off; interaction=off"},
                                         {"C3", "mask=off; interaction=on"},
                                         {"C1+C2", "mask=on; padding=on; interaction=off"},
                                         {"C1+C2+C3", "mask=on; padding=on; interaction=on"}};
    struct entries all = {NULL, 0};
    for (size_t i = 0; i < entries->count; i++)
        for (size_t k = 0; k < 4; k++) {
            const struct entry *from = &entries->item[i];
            size_t name = strlen(from->variant) + strlen(row[k][0]) + 2, options = strlen(from->options) + strlen(row[k][1]) + 3;
            struct entry e = {copied(from->method, strlen(from->method)), allocate(name), allocate(options), from->id};
            snprintf(e.variant, name, "%s%s%s", row[k][0], from->variant[0] == '\0' ? "" : " ", from->variant);
            snprintf(e.options, options, "%s; %s", row[k][1], from->options);
            entries_add(&all, &e);
        }
    entries_free(entries);
    *entries = all;
}

void entries_free(struct entries *entries)
{
    for (size_t i = 0; i < entries->count; i++) {
        free(entries->item[i].method);
        free(entries->item[i].variant);
        free(entries->item[i].options);
    }
    free(entries->item);
    *entries = (struct entries){NULL, 0};
}
