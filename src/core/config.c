/* config.c - typed options over the table in options.def. */
#include "core/config.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LARGE 9223372036854775808.0 /* above every int64: no upper bound */

enum { S = AMMPL_OPTION_SAVED, L = AMMPL_OPTION_LOAD, T = AMMPL_OPTION_TRAIN, N = AMMPL_OPTION_SESSION };

#define OPTION(ID, NAME, TYPE, MIN, MAX, DEF, CHOICES, FLAGS, DOC)                                                        \
    {sizeof(ammpl_option_info), AMMPL_OPT_##ID, AMMPL_TYPE_##TYPE, FLAGS, MIN, MAX, NAME, DEF, CHOICES, DOC},
static const ammpl_option_info table[] = {
#include "core/options.def"
};
#undef OPTION

enum { COUNT = sizeof table / sizeof *table, TEXT_CAP = AMMPLI_NUMBER_CAP };

typedef struct config_value {
    bool set;
    int64_t i;  /* INT, BOOL */
    double f;   /* FLOAT */
    char *text; /* the value as text; of STRING and CHOICE it is the value */
} config_value;

struct ammpl_config {
    ammpli_ref ref;
    ammpl_context *ctx; /* held */
    config_value value[COUNT];
};

/* ---- the table ---- */

size_t ammpli_option_count(void)
{
    return COUNT;
}

const ammpl_option_info *ammpli_option_at(size_t i)
{
    return i < COUNT ? &table[i] : NULL;
}

static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if (*a != *b && !(*a == '-' && *b == '_'))
            return false;
    return *a == *b;
}

const ammpl_option_info *ammpli_option_by_name(const char *name)
{
    for (size_t i = 0; i < COUNT; i++)
        if (same_name(name, table[i].name))
            return &table[i];
    return NULL;
}

static size_t index_of(ammpl_option id)
{
    for (size_t i = 0; i < COUNT; i++)
        if (table[i].id == id)
            return i;
    return COUNT;
}

/* ---- numbers as text, whatever locale the host program runs in (the "C" locale always exists) ---- */

bool ammpli_parse_double(const char *text, double *v)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), old = uselocale(c);
    char *end;
    *v = strtod(text, &end);
    bool ok = end != text && *end == '\0' && !strchr(" \t\n\v\f\r", *text);
    uselocale(old);
    if (c)
        freelocale(c);
    return ok;
}

static void print_digits(char text[TEXT_CAP], int digits, double v)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), old = uselocale(c);
    snprintf(text, TEXT_CAP, "%.*g", digits, v);
    uselocale(old);
    if (c)
        freelocale(c);
}

void ammpli_print_float(char text[AMMPLI_NUMBER_CAP], float v)
{
    print_digits(text, 9, (double)v);
}

void ammpli_print_double(char text[AMMPLI_NUMBER_CAP], double v)
{
    double back;
    print_digits(text, 9, v);
    if (!ammpli_parse_double(text, &back) || back != v)
        print_digits(text, 17, v);
}

static bool parse_int(const char *text, bool suffix, int64_t *v)
{
    char *end;
    int shift = 0;
    if (strchr(" \t\n\v\f\r", *text)) /* strtoll would skip it; the empty text, too, ends here */
        return false;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (end == text || errno == ERANGE)
        return false;
    if (suffix && *end) {
        shift = *end == 'K' || *end == 'k' ? 10 : *end == 'M' || *end == 'm' ? 20 : *end == 'G' || *end == 'g' ? 30 : 0;
        end += shift > 0;
    }
    *v = n;
    return *end == '\0' && !__builtin_mul_overflow((int64_t)n, (int64_t)1 << shift, v);
}

static bool parse_bool(const char *text, int64_t *v)
{
    static const char words[8][6] = {"false", "true", "off", "on", "0", "1", "no", "yes"};
    for (int i = 0; i < 8; i++)
        if (strcasecmp(text, words[i]) == 0) {
            *v = i & 1;
            return true;
        }
    return false;
}

const ammpl_option_info *ammpli_option_by_id(ammpl_option id)
{
    size_t i = index_of(id);
    return i < COUNT ? &table[i] : NULL;
}

/* ---- checks ---- */

static ammpl_status check_range(const ammpl_option_info *o, double v)
{
    char low[TEXT_CAP], high[TEXT_CAP];
    if (v >= o->min && v <= o->max) /* false for NaN */
        return AMMPL_OK;
    ammpli_print_double(low, o->min);
    if (o->max == LARGE)
        return ammpli_fail(AMMPL_E_RANGE, "option %s: must be at least %s", o->name, low);
    ammpli_print_double(high, o->max);
    return ammpli_fail(AMMPL_E_RANGE, "option %s: must be in %s..%s", o->name, low, high);
}

static ammpl_status check_choice(const ammpl_option_info *o, const char *v)
{
    size_t n = strlen(v);
    for (const char *c = o->choices; *c;) {
        size_t k = strcspn(c, ",");
        if (k == n && memcmp(c, v, n) == 0)
            return AMMPL_OK;
        c += k + (c[k] == ',');
    }
    return ammpli_fail(AMMPL_E_OPTION, "option %s: \"%.64s\" is none of %s", o->name, v, o->choices);
}

static ammpl_status check_evaluation(const char *v)
{
    static const char *const modes[] = {"expected", "threshold", "sample"};
    int64_t samples;
    for (size_t i = 0; i < 3; i++)
        if (strcmp(v, modes[i]) == 0)
            return AMMPL_OK;
    if (strncmp(v, "mean:", 5) != 0 || !parse_int(v + 5, false, &samples))
        return ammpli_fail(AMMPL_E_OPTION, "option evaluation: \"%.64s\" is none of expected,threshold,sample,mean:S", v);
    if (samples < 1 || samples > 10000)
        return ammpli_fail(AMMPL_E_RANGE, "option evaluation: S of mean:S must be in 1..10000");
    return AMMPL_OK;
}

/* One template a line: with a gap for the class name, or @ and the name of a published one. */
static ammpl_status check_template(const char *v)
{
    size_t n;
    for (const char *line = v; line; line = line[n] ? line + n + 1 : NULL) {
        n = strcspn(line, "\n");
        if (line[0] != '@' && !memmem(line, n, "{}", 2))
            return ammpli_fail(AMMPL_E_OPTION, "option template: \"%.*s\" lacks {}, where the class name goes", n < 64 ? (int)n : 64,
                               line);
    }
    return AMMPL_OK;
}

/* Saved options become JSON text, so they must be UTF-8 (no overlong forms, surrogates or numbers above U+10FFFF). */
static bool is_utf8(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        int more = *p < 0x80 ? 0 : *p >= 0xc2 && *p < 0xe0 ? 1 : *p >= 0xe0 && *p < 0xf0 ? 2 : *p >= 0xf0 && *p < 0xf5 ? 3 : -1;
        unsigned char first = *p;
        if (more < 0)
            return false;
        for (int i = 0; i < more; i++) {
            unsigned char next = *++p, low = 0x80, high = 0xbf;
            if (i == 0) {
                low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : low;
                high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : high;
            }
            if (next < low || next > high) /* the final NUL, too */
                return false;
        }
    }
    return true;
}

static ammpl_status check_string(const ammpl_option_info *o, const char *v)
{
    if (o->type == AMMPL_TYPE_CHOICE)
        return check_choice(o, v);
    if ((o->flags & AMMPL_OPTION_SAVED) && !is_utf8(v))
        return ammpli_fail(AMMPL_E_OPTION, "option %s: the text is not UTF-8", o->name);
    if (o->id == AMMPL_OPT_EVALUATION)
        return check_evaluation(v);
    if (o->id == AMMPL_OPT_TEMPLATE)
        return check_template(v);
    return AMMPL_OK;
}

/* ---- life ---- */

ammpl_status ammpli_config_create(ammpl_context *ctx, ammpl_config **out)
{
    *out = ammpli_alloc(ctx, 1, sizeof **out);
    if (!*out)
        return AMMPL_E_MEMORY;
    (*out)->ref.count = 1;
    (*out)->ctx = ammpli_context_hold(ctx);
    return AMMPL_OK;
}

void ammpli_config_destroy(ammpl_config *cfg)
{
    if (!cfg)
        return;
    ammpl_context *ctx = cfg->ctx;
    for (size_t i = 0; i < COUNT; i++)
        ammpli_free(ctx, cfg->value[i].text);
    ammpli_free(ctx, cfg);
    ammpli_context_release(ctx);
}

/* ---- setting ---- */

static ammpl_status find(ammpl_option id, int32_t type, int32_t other, const char *kind, size_t *i)
{
    *i = index_of(id);
    if (*i == COUNT)
        return ammpli_fail(AMMPL_E_OPTION, "there is no option number %d", id);
    if (table[*i].type != type && table[*i].type != other)
        return ammpli_fail(AMMPL_E_OPTION, "option %s: is not set as %s; ammpl_config_set_text takes any", table[*i].name, kind);
    return AMMPL_OK;
}

static ammpl_status store(ammpl_config *cfg, size_t i, int64_t integer, double number, const char *text)
{
    char *copy = ammpli_strdup(cfg->ctx, text);
    if (!copy)
        return AMMPL_E_MEMORY;
    ammpli_free(cfg->ctx, cfg->value[i].text);
    cfg->value[i] = (config_value){true, integer, number, copy};
    return AMMPL_OK;
}

ammpl_status ammpli_config_set_int(ammpl_config *cfg, ammpl_option id, int64_t v)
{
    size_t i;
    char text[TEXT_CAP];
    TRY(find(id, AMMPL_TYPE_INT, AMMPL_TYPE_BOOL, "an integer", &i));
    TRY(check_range(&table[i], (double)v));
    if (table[i].type == AMMPL_TYPE_BOOL)
        return store(cfg, i, v, 0, v ? "true" : "false");
    snprintf(text, sizeof text, "%lld", (long long)v);
    return store(cfg, i, v, 0, text);
}

ammpl_status ammpli_config_set_float(ammpl_config *cfg, ammpl_option id, double v)
{
    size_t i;
    char text[TEXT_CAP];
    TRY(find(id, AMMPL_TYPE_FLOAT, AMMPL_TYPE_FLOAT, "a number", &i));
    TRY(check_range(&table[i], v));
    ammpli_print_double(text, v + 0.0); /* -0 becomes 0 */
    return store(cfg, i, 0, v + 0.0, text);
}

ammpl_status ammpli_config_set_string(ammpl_config *cfg, ammpl_option id, const char *v)
{
    size_t i;
    TRY(find(id, AMMPL_TYPE_STRING, AMMPL_TYPE_CHOICE, "a string", &i));
    TRY(check_string(&table[i], v));
    return store(cfg, i, 0, 0, v);
}

ammpl_status ammpli_config_set_text(ammpl_config *cfg, const char *name, const char *value)
{
    const ammpl_option_info *o = ammpli_option_by_name(name);
    int64_t i;
    double f;
    if (!o) {
        const char *names[COUNT];
        char list[COUNT * 20] = "";
        for (size_t k = 0, used = 0; k < COUNT; k++) {
            names[k] = table[k].name;
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", k ? ", " : "", names[k]);
        }
        return ammpli_fail(AMMPL_E_OPTION, "there is no option \"%.64s\"; did you mean %s? All are: %s", name,
                           ammpli_nearest(name, names, COUNT), list);
    }
    switch (o->type) {
    case AMMPL_TYPE_INT:
        if (!parse_int(value, o->id == AMMPL_OPT_MEMORY_LIMIT, &i))
            return ammpli_fail(AMMPL_E_OPTION, "option %s: \"%.64s\" is not an integer of 64 bits", o->name, value);
        return ammpli_config_set_int(cfg, o->id, i);
    case AMMPL_TYPE_BOOL:
        if (!parse_bool(value, &i))
            return ammpli_fail(AMMPL_E_OPTION, "option %s: \"%.64s\" is none of true,false,on,off,1,0,yes,no", o->name, value);
        return ammpli_config_set_int(cfg, o->id, i);
    case AMMPL_TYPE_FLOAT:
        if (!ammpli_parse_double(value, &f))
            return ammpli_fail(AMMPL_E_OPTION, "option %s: \"%.64s\" is not a number", o->name, value);
        return ammpli_config_set_float(cfg, o->id, f);
    default:
        return ammpli_config_set_string(cfg, o->id, value);
    }
}

void ammpli_config_unset(ammpl_config *cfg, ammpl_option id)
{
    size_t i = index_of(id);
    if (i == COUNT)
        return;
    ammpli_free(cfg->ctx, cfg->value[i].text);
    cfg->value[i] = (config_value){0};
}

ammpl_status ammpli_config_merge(ammpl_config *to, const ammpl_config *from)
{
    char *copy[COUNT] = {0}; /* all or nothing: first what can fail */
    for (size_t i = 0; i < COUNT; i++)
        if (from->value[i].set && !(copy[i] = ammpli_strdup(to->ctx, from->value[i].text))) {
            while (i-- > 0)
                ammpli_free(to->ctx, copy[i]);
            return AMMPL_E_MEMORY;
        }
    for (size_t i = 0; i < COUNT; i++)
        if (copy[i]) {
            ammpli_free(to->ctx, to->value[i].text);
            to->value[i] = from->value[i];
            to->value[i].text = copy[i];
        }
    return AMMPL_OK;
}

/* ---- getting: a default is its text in the table, parsed; an id that does not exist reads as 0 or "" ---- */

bool ammpli_config_is_set(const ammpl_config *cfg, ammpl_option id)
{
    size_t i = index_of(id);
    return cfg && i < COUNT && cfg->value[i].set;
}

int64_t ammpli_config_int(const ammpl_config *cfg, ammpl_option id)
{
    size_t i = index_of(id);
    int64_t v = 0;
    if (i == COUNT)
        return 0;
    if (cfg && cfg->value[i].set)
        return cfg->value[i].i;
    if (table[i].type == AMMPL_TYPE_BOOL)
        parse_bool(table[i].def, &v);
    else
        parse_int(table[i].def, false, &v);
    return v;
}

double ammpli_config_float(const ammpl_config *cfg, ammpl_option id)
{
    size_t i = index_of(id);
    double v = 0;
    if (i == COUNT)
        return 0;
    if (cfg && cfg->value[i].set)
        return cfg->value[i].f;
    ammpli_parse_double(table[i].def, &v);
    return v;
}

const char *ammpli_config_string(const ammpl_config *cfg, ammpl_option id)
{
    size_t i = index_of(id);
    if (i == COUNT)
        return "";
    return cfg && cfg->value[i].set ? cfg->value[i].text : table[i].def;
}

const char *ammpli_config_text(const ammpl_config *cfg, const char *name)
{
    const ammpl_option_info *o = ammpli_option_by_name(name);
    if (!o)
        return NULL;
    size_t i = (size_t)(o - table);
    return cfg && cfg->value[i].set ? cfg->value[i].text : o->def;
}
