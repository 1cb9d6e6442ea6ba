/* args.c - command lines. */
#include "args.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parser {
    const struct program *program;
    const struct flag *common;
    size_t common_count;
    ammpl_config *cfg;
    int *templates; /* how many were given so far */
};

static enum args_result __attribute__((format(printf, 2, 3))) wrong(const struct parser *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", p->program->name);
    vfprintf(stderr, format, args);
    fprintf(stderr, " (%s --help lists the flags)\n", p->program->name);
    va_end(args);
    return ARGS_WRONG;
}

/* ---- which flags there are ---- */

static char folded(char c)
{
    return c == '_' ? '-' : c;
}

/* Are the first n bytes of `a` the name `b`? */
static int same_name(const char *a, size_t n, const char *b)
{
    if (strlen(b) != n)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (folded(a[i]) != folded(b[i]))
            return 0;
    return 1;
}

static size_t flag_count(const struct parser *p)
{
    return p->program->flag_count + p->common_count;
}

static const struct flag *flag_at(const struct parser *p, size_t i)
{
    return i < p->program->flag_count ? &p->program->flags[i] : &p->common[i - p->program->flag_count];
}

/* The library's option i, where this program takes it as a flag. */
static int option_at(const struct parser *p, size_t i, ammpl_option_info *info)
{
    *info = (ammpl_option_info){.struct_size = sizeof *info};
    if (ammpl_option_describe(i, info) != AMMPL_OK)
        return 0;
    if (info->flags & p->program->option_flags)
        return 1;
    for (const ammpl_option *id = p->program->options; id != NULL && *id != 0; id++)
        if (*id == info->id)
            return 1;
    return 0;
}

/* A boolean that is off unless asked for needs no value: --drop-last. */
static int is_switch(const ammpl_option_info *info)
{
    return info->type == AMMPL_TYPE_BOOL && strcmp(info->def, "false") == 0;
}

/* ---- the nearest name ---- */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many letters must be changed, added or dropped to make b of the first n bytes of a. */
static size_t distance(const char *a, size_t n, const char *b)
{
    size_t row[64], m = strlen(b);
    if (m >= sizeof row / sizeof row[0])
        return SIZE_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 0; i < n; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < m; j++) {
            size_t replaced = diagonal + (folded(a[i]) != folded(b[j]));
            diagonal = row[j + 1];
            row[j + 1] = least(replaced, 1 + least(row[j], row[j + 1]));
        }
    }
    return row[m];
}

static enum args_result unknown(const struct parser *p, const char *name, size_t n)
{
    const char *nearest = "help";
    size_t best = distance(name, n, nearest);
    ammpl_option_info info;
    for (size_t i = 0; i < flag_count(p) + ammpl_option_count(); i++) {
        const char *candidate;
        if (i < flag_count(p))
            candidate = flag_at(p, i)->name;
        else if (option_at(p, i - flag_count(p), &info))
            candidate = info.name;
        else
            continue;
        size_t d = distance(name, n, candidate);
        if (d < best) {
            best = d;
            nearest = candidate;
        }
    }
    char spelt[64];
    snprintf(spelt, sizeof spelt, "%s", nearest);
    for (char *c = spelt; *c != '\0'; c++)
        *c = folded(*c);
    return wrong(p, "unknown flag '--%.*s'; the nearest is --%s", (int)n, name, spelt);
}

/* ---- --help ---- */

static void print_row(const char *name, const char *value, const char *doc, const char *def)
{
    char left[96];
    size_t n = (size_t)snprintf(left, sizeof left, "--%s%s%s", name, value[0] == '\0' ? "" : " ", value);
    for (char *c = left + 2; c < left + 2 + strlen(name) && *c != '\0'; c++)
        *c = folded(*c);
    printf(n <= 28 ? "  %-28s  %s" : "  %s\n                                %s", left, doc);
    printf(def[0] == '\0' ? "%s\n" : " [%s]\n", def);
}

static void print_help(const struct parser *p)
{
    static const char *const kind[] = {"", "N", "X", "on|off", "TEXT", ""}; /* by AMMPL_TYPE_* */
    const char *usage = p->program->usage;
    printf("%s: %s\n\n", p->program->name, p->program->about);
    for (const char *lead = "usage:"; *usage != '\0'; lead = "      ") {
        size_t n = strcspn(usage, "\n");
        printf("%s %s %.*s\n", lead, p->program->name, (int)n, usage);
        usage += n + (usage[n] == '\n');
    }
    printf("\nflags:\n");
    for (size_t i = 0; i < flag_count(p); i++) {
        const struct flag *f = flag_at(p, i);
        print_row(f->name, f->value == NULL ? "" : f->value, f->doc, "");
    }
    print_row("set", "NAME=VALUE", "any option of the library by name", "");
    print_row("help", "", "this text", "");
    print_row("version", "", "the version of program and library", "");
    printf("\noptions of the library [default]:\n");
    for (size_t i = 0; i < ammpl_option_count(); i++) {
        ammpl_option_info info;
        if (!option_at(p, i, &info))
            continue;
        char value[64];
        snprintf(value, sizeof value, "%s",
                 is_switch(&info)          ? ""
                 : info.choices[0] != '\0' ? info.choices
                                           : kind[info.type]);
        for (char *c = value; *c != '\0'; c++)
            *c = *c == ',' ? '|' : *c;
        const char *def = info.type != AMMPL_TYPE_BOOL ? info.def : is_switch(&info) ? "off" : "on";
        print_row(info.name, value, info.doc, def);
    }
}

/* ---- one flag ---- */

/* `template` may be given several times: an ensemble, one a line. */
static ammpl_status add_template(const struct parser *p, const char *value)
{
    const char *before;
    if ((*p->templates)++ == 0)
        return ammpl_config_set_text(p->cfg, "template", value);
    ammpl_status status = ammpl_config_get_string(p->cfg, AMMPL_OPT_TEMPLATE, &before);
    if (status < 0)
        return status;
    size_t n = strlen(before) + strlen(value) + 2;
    char *all = allocate(n);
    snprintf(all, n, "%s\n%s", before, value);
    status = ammpl_config_set_text(p->cfg, "template", all);
    free(all);
    return status;
}

static enum args_result set_option(const struct parser *p, const char *name, const char *value, const char *given)
{
    bool template = same_name(name, strlen(name), "template");
    if ((template ? add_template(p, value) : ammpl_config_set_text(p->cfg, name, value)) < 0)
        return wrong(p, "%s: %s", given, ammpl_last_error());
    return ARGS_GO;
}

static enum args_result set_by_name(const struct parser *p, const char *assignment)
{
    char name[64];
    size_t n = strcspn(assignment, "=");
    if (assignment[n] == '\0' || n == 0 || n >= sizeof name)
        return wrong(p, "--set wants NAME=VALUE, not '%s'", assignment);
    memcpy(name, assignment, n);
    name[n] = '\0';
    return set_option(p, name, assignment + n + 1, "--set");
}

static enum args_result set_flag(const struct parser *p, const struct flag *f, const char *value)
{
    switch (f->kind) {
    case FLAG_SWITCH:
        if (value != NULL)
            return wrong(p, "--%s takes no value", f->name);
        *(int *)f->to = 1;
        break;
    case FLAG_TEXT:
        *(const char **)f->to = value;
        break;
    case FLAG_LIST:
        list_add(f->to, value, strlen(value));
        break;
    case FLAG_COUNT: {
        char *end;
        errno = 0;
        long number = strtol(value, &end, 10);
        if (end == value || *end != '\0' || errno != 0 || number < 0 || number > INT_MAX)
            return wrong(p, "--%s wants a whole number, 0 or more, not '%s'", f->name, value);
        *(int *)f->to = (int)number;
        break;
    }
    }
    return ARGS_GO;
}

enum args_result args_parse(const struct program *program, const struct flag *common, size_t common_count, int argc,
                            char **argv, ammpl_config *cfg, struct list *operands)
{
    int templates = 0;
    const struct parser p = {program, common, common_count, cfg, &templates};
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (strcmp(arg, "--") == 0) {
            while (++i < argc)
                list_add(operands, argv[i], strlen(argv[i]));
            break;
        }
        if (arg[0] != '-' || arg[1] == '\0') {
            list_add(operands, arg, strlen(arg));
            continue;
        }
        const char *name = strcmp(arg, "-h") == 0 ? "help" : arg + 2;
        if (arg[1] != '-' && name == arg + 2)
            return wrong(&p, "unknown flag '%s'; flags have two dashes", arg);
        size_t n = strcspn(name, "=");
        const char *value = name[n] == '=' ? name + n + 1 : NULL;

        if (same_name(name, n, "help")) {
            print_help(&p);
            return ARGS_DONE;
        }
        if (same_name(name, n, "version")) {
            printf("%s %s (libammpl %s)\n", program->name, AMMPL_VERSION_STRING, ammpl_version_string());
            return ARGS_DONE;
        }

        const struct flag *flag = NULL;
        ammpl_option_info option = {.struct_size = sizeof option};
        int set = same_name(name, n, "set"), is_option = 0;
        for (size_t j = 0; j < flag_count(&p) && flag == NULL; j++)
            if (same_name(name, n, flag_at(&p, j)->name))
                flag = flag_at(&p, j);
        for (size_t j = 0; j < ammpl_option_count() && flag == NULL && !set && !is_option; j++)
            is_option = option_at(&p, j, &option) && same_name(name, n, option.name);
        if (flag == NULL && !set && !is_option)
            return unknown(&p, name, n);

        if (value == NULL && is_option && is_switch(&option))
            value = "true";
        if (value == NULL && !(flag != NULL && flag->kind == FLAG_SWITCH)) {
            if (i + 1 >= argc || strncmp(argv[i + 1], "--", 2) == 0)
                return wrong(&p, "--%.*s needs a value", (int)n, name);
            value = argv[++i];
        }
        enum args_result result = set         ? set_by_name(&p, value)
                                  : is_option ? set_option(&p, option.name, value, arg)
                                              : set_flag(&p, flag, value);
        if (result != ARGS_GO)
            return result;
    }
    return ARGS_GO;
}
