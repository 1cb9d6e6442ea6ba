/* test_errors.c - status names and meanings, the sentence of each thread, the log. */
#include "api.h"

#include <pthread.h>

START_TEST(names)
{
    static const struct {
        ammpl_status status;
        const char *name;
    } all[] = {{0, "AMMPL_OK"},
               {1, "AMMPL_END"},
               {2, "AMMPL_CANCELLED"},
               {-1, "AMMPL_E_ARGUMENT"},
               {-2, "AMMPL_E_MEMORY"},
               {-3, "AMMPL_E_DEVICE_MEMORY"},
               {-4, "AMMPL_E_IO"},
               {-5, "AMMPL_E_FORMAT"},
               {-6, "AMMPL_E_VERSION"},
               {-7, "AMMPL_E_UNSUPPORTED"},
               {-8, "AMMPL_E_OPTION"},
               {-9, "AMMPL_E_RANGE"},
               {-10, "AMMPL_E_SHAPE"},
               {-11, "AMMPL_E_LABEL"},
               {-12, "AMMPL_E_STATE"},
               {-13, "AMMPL_E_BUFFER"},
               {-14, "AMMPL_E_BACKEND"},
               {-15, "AMMPL_E_DEVICE_LOST"},
               {-16, "AMMPL_E_NUMERIC"},
               {-17, "AMMPL_E_EXISTS"},
               {-18, "AMMPL_E_MODEL"},
               {-19, "AMMPL_E_IMAGE"},
               {-100, "AMMPL_E_INTERNAL"}};
    enum { ALL = sizeof all / sizeof *all };
    for (int i = 0; i < ALL; i++) {
        ck_assert_str_eq(ammpl_status_name(all[i].status), all[i].name);
        const char *text = ammpl_status_string(all[i].status);
        ck_assert_int_eq(text[strlen(text) - 1], '.');
        for (int j = 0; j < i; j++)
            ck_assert_str_ne(text, ammpl_status_string(all[j].status));
    }
    /* No other number near them has a name: a new status needs a line above. */
    int named = 0;
    for (ammpl_status s = -1000; s <= 1000; s++)
        named += strcmp(ammpl_status_name(s), "AMMPL_E_UNKNOWN") != 0;
    ck_assert_int_eq(named, ALL);
    ck_assert_uint_gt(strlen(ammpl_status_string(INT32_MIN)), 0);
}
END_TEST

START_TEST(sentence)
{
    ck_assert_str_eq(ammpl_last_error(), "");
    ck_is(ammpl_context_create(NULL, NULL), AMMPL_E_ARGUMENT, "ammpl_context_create");
    /* Calls that cannot fail leave it alone. */
    ammpl_context_destroy(NULL);
    ammpl_version_number();
    ammpl_image_width(NULL);
    ck_assert_str_ne(ammpl_last_error(), "");
    ammpl_method id;
    ck_done(ammpl_method_find("ammpl", &id));
    ck_assert_str_eq(ammpl_last_error(), "");
}
END_TEST

static void *other_thread(void *arg)
{
    pthread_barrier_t *barrier = arg;
    if (ammpl_last_error()[0] != '\0')
        return "a new thread starts with a sentence";
    ammpl_method id;
    if (ammpl_method_find("other", &id) != AMMPL_E_OPTION)
        return "no error";
    pthread_barrier_wait(barrier); /* both have failed */
    pthread_barrier_wait(barrier); /* the main thread has looked */
    return strstr(ammpl_last_error(), "\"other\"") ? NULL : "the sentence is not this thread's";
}

START_TEST(sentence_per_thread)
{
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 2);
    ammpl_method id;
    ck_is(ammpl_method_find("mine", &id), AMMPL_E_OPTION, "\"mine\"");
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, other_thread, &barrier), 0);
    pthread_barrier_wait(&barrier);
    ck_assert_ptr_nonnull(strstr(ammpl_last_error(), "\"mine\""));
    ck_done(ammpl_method_find("ammpl", &id));
    pthread_barrier_wait(&barrier);
    void *complaint;
    pthread_join(thread, &complaint);
    ck_assert_msg(complaint == NULL, "%s", (const char *)complaint);
    pthread_barrier_destroy(&barrier);
}
END_TEST

typedef struct heard {
    int lines;
    ammpl_level level;
    char text[1024];
} heard;

static void listen(void *user, ammpl_level level, const char *message)
{
    heard *h = user;
    h->lines++;
    h->level = level;
    strncpy(h->text, message, sizeof h->text - 1);
}

START_TEST(log_lines)
{
    heard h = {0};
    ammpl_context *ctx;
    ck_done(ammpl_context_create(NULL, &ctx));
    ck_is(ammpl_context_set_threads(ctx, -1), AMMPL_E_RANGE, ""); /* nobody listens yet */
    ck_done(ammpl_context_set_log(ctx, AMMPL_LEVEL_WARN, listen, &h));
    ck_is(ammpl_context_set_threads(ctx, -1), AMMPL_E_RANGE, "");
    ck_assert_int_eq(h.lines, 1);
    ck_assert_int_eq(h.level, AMMPL_LEVEL_ERROR);
    ck_assert_str_eq(h.text, ammpl_last_error());

    /* Failures of everything made from the context are its to log. */
    ammpl_model *m;
    ck_is(ammpl_model_load_file(ctx, NULL, "/nonexistent", NULL, &m), AMMPL_E_IO, "");
    ck_assert_int_eq(h.lines, 2);
    ck_assert_str_eq(h.text, ammpl_last_error());
    ck_done(ammpl_model_load_file(ctx, NULL, nano_path(), NULL, &m));
    ck_assert_int_eq(h.lines, 2);
    int64_t value;
    ck_is(ammpl_model_get_int(m, -1, &value), AMMPL_E_OPTION, "");
    ck_assert_int_eq(h.lines, 3);

    /* Asking how much room is needed is no error worth a line. */
    ck_is(ammpl_model_tokenize(m, "cat", NULL, 0, NULL), AMMPL_E_BUFFER, "");
    ck_assert_int_eq(h.lines, 3);
    ck_done(ammpl_context_set_log(ctx, AMMPL_LEVEL_DEBUG, listen, &h));
    ck_is(ammpl_model_tokenize(m, "cat", NULL, 0, NULL), AMMPL_E_BUFFER, "");
    ck_assert_int_eq(h.lines, 4);
    ck_assert_int_eq(h.level, AMMPL_LEVEL_DEBUG);

    ck_done(ammpl_context_set_log(ctx, AMMPL_LEVEL_DEBUG, NULL, NULL));
    ck_is(ammpl_context_set_threads(ctx, -1), AMMPL_E_RANGE, "");
    ck_assert_int_eq(h.lines, 4);
    ammpl_model_destroy(m);
    ammpl_context_destroy(ctx);
}
END_TEST

TCase *case_errors(void)
{
    TCase *tc = tcase_create("errors");
    tcase_add_test(tc, names);
    tcase_add_test(tc, sentence);
    tcase_add_test(tc, sentence_per_thread);
    tcase_add_test(tc, log_lines);
    return tc;
}
