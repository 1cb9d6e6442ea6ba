/* test_config.c - the option table, typed values, text forms, sentences. */
#include "support.h"

#include "core/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ammpl_context *ctx;
static ammpl_config *cfg;
static unsigned long long empty;

static void setup(void)
{
    ctx = test_context();
    ck_ok(ammpli_context_set_threads(ctx, 1));
    empty = ctx->memory_now;
    ck_ok(ammpli_config_create(ctx, &cfg));
}

static void teardown(void)
{
    ammpli_config_destroy(cfg);
    ck_assert_uint_eq(ctx->memory_now, empty);
    ammpli_context_release(ctx);
}

/* Ids, names, types, bounds, defaults, choices and flags are what programs and prompt files rely on. */
START_TEST(table_is_the_golden_one)
{
    FILE *f = fopen(test_golden("options.txt"), "r");
    ck_assert_ptr_nonnull(f);
    char want[512], got[512];
    for (size_t i = 0; i < ammpli_option_count(); i++) {
        const ammpl_option_info *o = ammpli_option_at(i);
        do
            ck_assert_ptr_nonnull(fgets(want, sizeof want, f));
        while (want[0] == '#');
        snprintf(got, sizeof got, "%d|%s|%d|%.17g|%.17g|%s|%s|%d\n", (int)o->id, o->name, (int)o->type, o->min, o->max, o->def,
                 o->choices, (int)o->flags);
        ck_assert_str_eq(got, want);
        ck_assert_uint_eq(o->struct_size, sizeof *o);
        ck_assert_int_ne(o->doc[0], 0);
    }
    ck_assert_ptr_null(fgets(want, sizeof want, f));
    fclose(f);
    ck_assert_ptr_null(ammpli_option_at(ammpli_option_count()));
}
END_TEST

START_TEST(ids_and_names_are_unique)
{
    for (size_t i = 0; i < ammpli_option_count(); i++)
        for (size_t j = 0; j < i; j++) {
            ck_assert_int_ne(ammpli_option_at(i)->id, ammpli_option_at(j)->id);
            ck_assert_str_ne(ammpli_option_at(i)->name, ammpli_option_at(j)->name);
        }
}
END_TEST

/* A default, set as text, is that text again: so defaults stand in the table in the form that files get. */
START_TEST(defaults_are_canonical)
{
    for (size_t i = 0; i < ammpli_option_count(); i++) {
        const ammpl_option_info *o = ammpli_option_at(i);
        ck_assert_int_eq(ammpli_config_is_set(cfg, o->id), false);
        ck_assert_str_eq(ammpli_config_text(NULL, o->name), o->def);
        ck_ok(ammpli_config_set_text(cfg, o->name, o->def));
        ck_assert_int_eq(ammpli_config_is_set(cfg, o->id), true);
        ck_assert_str_eq(ammpli_config_text(cfg, o->name), o->def);
        switch (o->type) {
        case AMMPL_TYPE_INT:
        case AMMPL_TYPE_BOOL: ck_assert_int_eq(ammpli_config_int(cfg, o->id), ammpli_config_int(NULL, o->id)); break;
        case AMMPL_TYPE_FLOAT:
            ck_assert_double_eq(ammpli_config_float(cfg, o->id), ammpli_config_float(NULL, o->id));
            break;
        default: ck_assert_str_eq(ammpli_config_string(cfg, o->id), ammpli_config_string(NULL, o->id)); break;
        }
        ammpli_config_unset(cfg, o->id);
        ck_assert_int_eq(ammpli_config_is_set(cfg, o->id), false);
    }
    ck_assert_double_eq(ammpli_config_float(NULL, AMMPL_OPT_LR), 0.002);
    ck_assert_int_eq(ammpli_config_int(NULL, AMMPL_OPT_SHUFFLE), 1);
    ck_assert_int_eq(ammpli_config_int(NULL, AMMPL_OPT_EPOCHS), 10);
}
END_TEST

START_TEST(bounds_hold)
{
    for (size_t i = 0; i < ammpli_option_count(); i++) {
        const ammpl_option_info *o = ammpli_option_at(i);
        if (o->type == AMMPL_TYPE_FLOAT) {
            ck_ok(ammpli_config_set_float(cfg, o->id, o->min));
            ck_ok(ammpli_config_set_float(cfg, o->id, o->max));
            ck_status(ammpli_config_set_float(cfg, o->id, nextafter(o->min, -1)), AMMPL_E_RANGE, o->name);
            ck_status(ammpli_config_set_float(cfg, o->id, nextafter(o->max, INFINITY)), AMMPL_E_RANGE, o->name);
            ck_status(ammpli_config_set_float(cfg, o->id, NAN), AMMPL_E_RANGE, o->name);
            ck_status(ammpli_config_set_text(cfg, o->name, "inf"), AMMPL_E_RANGE, o->name);
            ck_assert_double_eq(ammpli_config_float(cfg, o->id), o->max); /* a refused value changes nothing */
            ck_status(ammpli_config_set_int(cfg, o->id, 0), AMMPL_E_OPTION, "not set as an integer");
        } else if (o->type == AMMPL_TYPE_INT || o->type == AMMPL_TYPE_BOOL) {
            ck_ok(ammpli_config_set_int(cfg, o->id, (int64_t)o->min));
            ck_status(ammpli_config_set_int(cfg, o->id, (int64_t)o->min - 1), AMMPL_E_RANGE, o->name);
            if (o->max < 0x1p62)
                ck_status(ammpli_config_set_int(cfg, o->id, (int64_t)o->max + 1), AMMPL_E_RANGE, "must be in");
            else
                ck_ok(ammpli_config_set_int(cfg, o->id, INT64_MAX));
            ck_status(ammpli_config_set_string(cfg, o->id, "1"), AMMPL_E_OPTION, "not set as a string");
        } else {
            ck_status(ammpli_config_set_float(cfg, o->id, 1), AMMPL_E_OPTION, "not set as a number");
        }
    }
    ck_status(ammpli_config_set_int(cfg, AMMPL_OPT_EPOCHS, 0), AMMPL_E_RANGE, "option epochs: must be in 1..1000000");
    ck_status(ammpli_config_set_int(cfg, AMMPL_OPT_SEED, -1), AMMPL_E_RANGE, "option seed: must be at least 0");
    ck_status(ammpli_config_set_float(cfg, AMMPL_OPT_MASK_MEAN, 1.5), AMMPL_E_RANGE, "must be in 0..1");
    ck_status(ammpli_config_set_int(cfg, 12345, 0), AMMPL_E_OPTION, "12345");
}
END_TEST

START_TEST(text_is_typed)
{
    static const struct {
        const char *name, *value, *text; /* text NULL: refused */
    } cases[] = {
        {"mask", "true", "true"}, {"mask", "off", "false"}, {"mask", "1", "true"}, {"mask", "0", "false"},
        {"mask", "yes", "true"}, {"mask", "No", "false"}, {"mask", "maybe", NULL}, {"mask", "", NULL}, {"mask", "2", NULL},
        {"drop-last", "on", "true"}, {"mask-mean", "0.5", "0.5"},
        {"epochs", "17", "17"}, {"epochs", "1.5", NULL}, {"epochs", "", NULL}, {"epochs", " 1", NULL}, {"epochs", "1 ", NULL},
        {"epochs", "1K", NULL}, {"epochs", "99999999999999999999", NULL}, {"seed", "9223372036854775807", "9223372036854775807"},
        {"memory_limit", "2K", "2048"}, {"memory_limit", "3m", "3145728"}, {"memory_limit", "1G", "1073741824"},
        {"memory_limit", "7", "7"}, {"memory_limit", "1T", NULL}, {"memory_limit", "1GB", NULL},
        {"memory_limit", "9223372036854775807G", NULL}, {"memory_limit", "K", NULL},
        {"lr", "2e-3", "0.002"}, {"lr", "0.1", "0.1"}, {"lr", "0.12345678901234568", "0.12345678901234568"}, {"lr", "-0", "0"},
        {"lr", "0,1", NULL}, {"lr", "", NULL}, {"lr", " 1", NULL}, {"lr", "1x", NULL},
        {"scope", "class", "class"}, {"scope", "Class", NULL}, {"scope", "clas", NULL}, {"scope", "shared,class", NULL},
        {"scope", "", NULL}, {"activation", "gelu", "gelu"}, {"ctx_init", "", ""},
        {"ctx_init", "ein sch\xc3\xb6nes \xf0\x9f\x90\xb1", "ein sch\xc3\xb6nes \xf0\x9f\x90\xb1"}, {"ctx_init", "\xff", NULL},
        {"ctx_init", "\xc3", NULL}, {"ctx_init", "\xc0\x80", NULL}, {"ctx_init", "\xed\xa0\x80", NULL},
        {"ctx_init", "\xf4\x90\x80\x80", NULL}, {"ctx_init", "\xe0\x80\x80", NULL}, {"ctx_init", "\x80", NULL},
        {"vocab", "/any/\xff", "/any/\xff"}, {"template", "a {}", "a {}"}, {"template", "a photo", NULL},
        {"evaluation", "mean:1", "mean:1"}, {"evaluation", "mean:10000", "mean:10000"}, {"evaluation", "sample", "sample"},
        {"evaluation", "threshold", "threshold"}, {"evaluation", "mean", NULL}, {"evaluation", "mean:", NULL},
        {"evaluation", "mean:x", NULL}, {"evaluation", "", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].text) {
            ck_ok(ammpli_config_set_text(cfg, cases[i].name, cases[i].value));
            ck_assert_str_eq(ammpli_config_text(cfg, cases[i].name), cases[i].text);
        } else {
            char before[64];
            snprintf(before, sizeof before, "%s", ammpli_config_text(cfg, cases[i].name));
            ck_status(ammpli_config_set_text(cfg, cases[i].name, cases[i].value), AMMPL_E_OPTION, "option ");
            ck_assert_str_eq(ammpli_config_text(cfg, cases[i].name), before);
        }
    }
    ck_status(ammpli_config_set_text(cfg, "evaluation", "mean:0"), AMMPL_E_RANGE, "1..10000");
    ck_status(ammpli_config_set_text(cfg, "evaluation", "mean:10001"), AMMPL_E_RANGE, "1..10000");
    ck_status(ammpli_config_set_text(cfg, "order", "both"), AMMPL_E_OPTION, "none of text_first,simultaneous");
    ck_status(ammpli_config_set_text(cfg, "memory_limit", "-1"), AMMPL_E_RANGE, "at least 0");
    ck_assert_ptr_null(ammpli_config_text(cfg, "nonsense"));
}
END_TEST

START_TEST(unknown_names_get_the_nearest)
{
    static const char *const cases[][2] = {
        {"mask_men", "mask_mean?"}, {"mask-gradients", "mask_gradient?"}, {"epoch", "epochs?"},  {"ephocs", "epochs?"},
        {"Seed", "seed?"},          {"weightdecay", "weight_decay?"},     {"ctx", "n_ctx?"},     {"lr-mask-", "lr_mask?"},
        {"", "lr?"},
        {"a_name_of_more_than_sixty_three_characters_which_no_option_of_this_library_has_or_will_have", "?"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_status(ammpli_config_set_text(cfg, cases[i][0], "1"), AMMPL_E_OPTION, cases[i][1]);
    ck_assert_ptr_null(ammpli_nearest("x", NULL, 0));
}
END_TEST

START_TEST(numbers_survive_the_text_form)
{
    uint32_t x[4];
    for (uint32_t i = 0; i < 20000; i++) {
        ammpli_philox(1, 0, i, 0, 0, 0, x);
        double v = ldexp((double)(((uint64_t)x[0] << 32 | x[1]) >> 11), -53 - (int)(x[2] % 60));
        ck_ok(ammpli_config_set_float(cfg, AMMPL_OPT_LR, v));
        char text[64];
        snprintf(text, sizeof text, "%s", ammpli_config_text(cfg, "lr"));
        ck_ok(ammpli_config_set_text(cfg, "lr", text));
        ck_assert_double_eq(ammpli_config_float(cfg, AMMPL_OPT_LR), v);
    }
}
END_TEST

/* A host program that writes numbers with a comma changes nothing. */
START_TEST(locale_does_not_matter)
{
    ck_assert(test_comma_locale());
    ck_ok(ammpli_config_set_text(cfg, "lr", "0.25"));
    ck_assert_double_eq(ammpli_config_float(cfg, AMMPL_OPT_LR), 0.25);
    ck_assert_str_eq(ammpli_config_text(cfg, "lr"), "0.25");
    ck_status(ammpli_config_set_text(cfg, "lr", "0,25"), AMMPL_E_OPTION, "not a number");
}
END_TEST

START_TEST(merges_what_is_set)
{
    ammpl_config *other;
    ck_ok(ammpli_config_create(ctx, &other));
    ck_ok(ammpli_config_set_text(cfg, "epochs", "3"));
    ck_ok(ammpli_config_set_text(cfg, "lr", "1"));
    ck_ok(ammpli_config_set_text(other, "epochs", "5"));
    ck_ok(ammpli_config_set_text(other, "scope", "class"));
    ck_ok(ammpli_config_merge(cfg, other));
    ammpli_config_destroy(other);
    ck_assert_int_eq(ammpli_config_int(cfg, AMMPL_OPT_EPOCHS), 5);
    ck_assert_double_eq(ammpli_config_float(cfg, AMMPL_OPT_LR), 1);
    ck_assert_str_eq(ammpli_config_string(cfg, AMMPL_OPT_SCOPE), "class");
    ck_assert_int_eq(ammpli_config_is_set(cfg, AMMPL_OPT_BATCH), false);
    ck_ok(ammpli_config_merge(cfg, cfg));
    ck_assert_str_eq(ammpli_config_string(cfg, AMMPL_OPT_SCOPE), "class");
}
END_TEST

static long allowed;

static void *stingy_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    void *p = NULL;
    return allowed-- > 0 && posix_memalign(&p, align, size) == 0 ? p : NULL;
}

static void stingy_release(void *user, void *p, size_t size)
{
    (void)user;
    (void)size;
    free(p);
}

START_TEST(without_memory_nothing_changes)
{
    ammpl_allocator allocator = {.struct_size = sizeof allocator, .alloc = stingy_alloc, .release = stingy_release};
    ammpl_context *poor;
    ammpl_config *to;
    allowed = 1000;
    ck_ok(ammpli_context_create(&allocator, &poor));
    ck_ok(ammpli_context_set_threads(poor, 1));
    ck_ok(ammpli_config_create(poor, &to));
    ck_ok(ammpli_config_set_text(cfg, "epochs", "3"));
    ck_ok(ammpli_config_set_text(cfg, "lr", "1"));
    for (allowed = 0; allowed < 2;) {
        long k = allowed;
        ck_status(ammpli_config_merge(to, cfg), AMMPL_E_MEMORY, "memory");
        ck_assert_int_eq(ammpli_config_is_set(to, AMMPL_OPT_EPOCHS) || ammpli_config_is_set(to, AMMPL_OPT_LR), false);
        allowed = k + 1;
    }
    allowed = 0;
    ck_status(ammpli_config_set_text(to, "scope", "class"), AMMPL_E_MEMORY, "memory");
    ck_assert_str_eq(ammpli_config_text(to, "scope"), "shared");
    ammpl_config *none = (void *)1;
    ck_status(ammpli_config_create(poor, &none), AMMPL_E_MEMORY, "memory");
    ck_assert_ptr_null(none);
    ammpli_config_destroy(to);
    ammpli_context_release(poor);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *tc = tcase_create("config");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, table_is_the_golden_one);
    tcase_add_test(tc, ids_and_names_are_unique);
    tcase_add_test(tc, defaults_are_canonical);
    tcase_add_test(tc, bounds_hold);
    tcase_add_test(tc, text_is_typed);
    tcase_add_test(tc, unknown_names_get_the_nearest);
    tcase_add_test(tc, numbers_survive_the_text_form);
    tcase_add_test(tc, merges_what_is_set);
    tcase_add_test(tc, without_memory_nothing_changes);
    if (test_has_comma_locale("locale_does_not_matter"))
        tcase_add_test(tc, locale_does_not_matter);
    suite_add_tcase(suite, tc);
    return test_main(suite);
}
