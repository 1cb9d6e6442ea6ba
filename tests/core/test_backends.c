/* test_backends.c - plug-ins: which are taken, why others are not, and what the context lists afterwards.
 *
 * STUBS is the folder of stub.c's modules.  Everything goes through the public header.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *stub(const char *name)
{
    static char path[4][1024];
    static int next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/libammpl-%s.so", STUBS, name);
    ck_assert_msg(access(p, R_OK) == 0, "%s is missing", p);
    return p;
}

static ammpl_context *open_context(void)
{
    ammpl_context *ctx;
    ck_assert_int_eq(ammpl_context_create(NULL, &ctx), AMMPL_OK);
    return ctx;
}

static const struct {
    const char *name, *word;
    ammpl_status status;
} refused[] = {{"other_version", "version 3 of the backend interface, this library has 2", AMMPL_E_VERSION},
               {"short_table", "another ammpl_backend.h", AMMPL_E_VERSION},
               {"hole", "missing from its table", AMMPL_E_UNSUPPORTED},
               {"no_driver", "there is no driver for stubs", AMMPL_E_BACKEND},
               {"no_device", "finds no device", AMMPL_E_BACKEND},
               {"no_table", "gave no table", AMMPL_E_BACKEND},
               {"silent", "without a sentence", AMMPL_E_BACKEND},
               {"no_name", "a hole where devices or streams are", AMMPL_E_UNSUPPORTED}};
enum { REFUSED = sizeof refused / sizeof *refused };

START_TEST(refusals)
{
    ammpl_context *ctx = open_context();
    const char *name, *why, *path = stub(refused[_i].name);
    for (int again = 0; again < 2; again++) { /* the second time leaves no second line */
        ck_assert_int_eq(ammpl_context_load_backend(ctx, path), refused[_i].status);
        ck_assert_msg(strstr(ammpl_last_error(), refused[_i].word), "%s", ammpl_last_error());
        ck_assert_msg(strstr(ammpl_last_error(), refused[_i].name), "the path is not in: %s", ammpl_last_error());
        ck_assert_uint_eq(ammpl_device_count(ctx), 1);
        ck_assert_uint_eq(ammpl_backend_count(ctx), 2);
    }
    ck_assert_int_eq(ammpl_backend_report(ctx, 1, &name, &why), AMMPL_OK);
    ck_assert_msg(strstr(name, refused[_i].name) && strstr(why, refused[_i].word), "%s: %s", name, why);
    ck_assert_ptr_null(ammpl_device_find(ctx, "stub"));
    ck_assert_msg(strstr(ammpl_last_error(), refused[_i].word) && strstr(ammpl_last_error(), "cpu"), "%s", ammpl_last_error());
    ammpl_context_destroy(ctx);
}
END_TEST

START_TEST(files_that_are_none)
{
    ammpl_context *ctx = open_context();
    ck_assert_int_eq(ammpl_context_load_backend(ctx, "no/such/plugin.so"), AMMPL_E_IO);
    ck_assert_ptr_nonnull(strstr(ammpl_last_error(), "no/such/plugin.so"));
    ck_assert_uint_eq(ammpl_backend_count(ctx), 1);
    const char *text = test_golden("options.txt");
    ck_assert_int_eq(ammpl_context_load_backend(ctx, text), AMMPL_E_BACKEND);
    ck_assert_ptr_nonnull(strstr(ammpl_last_error(), "cannot be loaded"));
    ck_assert_int_eq(ammpl_context_load_backend(ctx, stub("no_entry")), AMMPL_E_BACKEND);
    ck_assert_ptr_nonnull(strstr(ammpl_last_error(), "ammpl_backend_entry"));
    /* A bare name is a file of the present folder, never one that the dynamic linker knows. */
    ck_assert_int_eq(ammpl_context_load_backend(ctx, "libc.so.6"), AMMPL_E_IO);
    ammpl_context_destroy(ctx);
}
END_TEST

START_TEST(taken)
{
    ammpl_context *ctx = open_context();
    uint64_t now, all;
    const char *name, *why;
    for (int again = 0; again < 2; again++) {
        ck_assert_int_eq(ammpl_context_load_backend(ctx, stub("good")), AMMPL_OK);
        ck_assert_uint_eq(ammpl_device_count(ctx), 3);
        ck_assert_uint_eq(ammpl_backend_count(ctx), 2);
    }
    ck_assert_int_eq(ammpl_backend_report(ctx, 0, &name, &why), AMMPL_OK);
    ck_assert_str_eq(name, "cpu");
    ck_assert_str_eq(why, "");
    ck_assert_int_eq(ammpl_backend_report(ctx, 1, &name, &why), AMMPL_OK);
    ck_assert_ptr_nonnull(strstr(name, "libammpl-good.so"));
    ck_assert_str_eq(why, "");
    ck_assert_int_eq(ammpl_backend_report(ctx, 2, &name, &why), AMMPL_E_RANGE);
    ck_assert(!name && !why);
    const ammpl_device *first = ammpl_device_find(ctx, "stub"), *second = ammpl_device_find(ctx, "stub:1");
    ck_assert(first && first == ammpl_device_at(ctx, 1) && second == ammpl_device_at(ctx, 2));
    ck_assert_str_eq(ammpl_device_name(first), "stub:0");
    ck_assert_str_eq(ammpl_device_description(second), "stub number 1");
    ck_assert_int_eq(ammpl_device_memory(first, &now, &all), AMMPL_OK);
    ck_assert(now == 100 && all == 200);
    ck_assert_int_eq(ammpl_device_memory(second, &now, &all), AMMPL_E_DEVICE_LOST);
    ck_assert(now == 0 && all == 0);
    ck_assert_ptr_nonnull(strstr(ammpl_last_error(), "lost"));
    ck_assert_int_eq(ammpl_device_memory(NULL, &now, &all), AMMPL_E_ARGUMENT);
    ck_assert_int_eq(ammpl_device_memory(ammpl_device_at(ctx, 0), &now, &all), AMMPL_OK);
    ck_assert(now > 0 && all >= now);

    /* A model goes to the device that it is loaded on, and its sentence comes back. */
    ammpl_model *m;
    ck_assert_int_eq(ammpl_model_load_file(ctx, second, test_golden("nano"), NULL, &m), AMMPL_E_DEVICE_MEMORY);
    ck_assert_ptr_null(m);
    ck_assert_str_eq(ammpl_last_error(), "the stub has no streams");
    ammpl_config *cfg; /* what a plug-in does not know it refuses, too */
    ck_assert_int_eq(ammpl_config_create(ctx, &cfg), AMMPL_OK);
    ck_assert_int_eq(ammpl_config_set_text(cfg, "precision", "f16"), AMMPL_OK);
    ck_assert_int_eq(ammpl_model_load_file(ctx, second, test_golden("nano"), cfg, &m), AMMPL_E_UNSUPPORTED);
    ck_assert_ptr_null(m);
    ck_assert_str_eq(ammpl_last_error(), "the stub is older than this precision");
    ammpl_config_destroy(cfg);
    ammpl_context_destroy(ctx);
}
END_TEST

static void copy(const char *from, const char *folder, const char *as)
{
    char command[4096];
    snprintf(command, sizeof command, "cp '%s' '%s/%s'", from, folder, as);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(folder)
{
    ammpl_context *ctx = open_context();
    const char *dir = test_temp("plugins"), *name, *why;
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    ck_assert_int_eq(ammpl_context_scan_backends(ctx, dir), AMMPL_OK); /* empty */
    ck_assert_uint_eq(ammpl_backend_count(ctx), 1);
    copy(stub("good"), dir, "libammpl-b.so");
    copy(stub("no_driver"), dir, "libammpl-a.so");
    copy(stub("good"), dir, "libammpl-c.so"); /* a second one of that name */
    copy(stub("good"), dir, "other.so");
    copy(stub("good"), dir, "libammpl-d.so.1");
    copy(stub("good"), dir, "libammpl-.so");
    for (int again = 0; again < 2; again++) {
        ck_assert_int_eq(ammpl_context_scan_backends(ctx, dir), AMMPL_OK);
        ck_assert_str_eq(ammpl_last_error(), "");
        ck_assert_uint_eq(ammpl_backend_count(ctx), 4);
        ck_assert_uint_eq(ammpl_device_count(ctx), 3);
    }
    static const char *const file[] = {"libammpl-a.so", "libammpl-b.so", "libammpl-c.so"}, *const reason[] = {"driver", "", "in use"};
    for (size_t i = 0; i < 3; i++) { /* in order of name, whatever the file system's */
        ck_assert_int_eq(ammpl_backend_report(ctx, i + 1, &name, &why), AMMPL_OK);
        ck_assert_msg(strstr(name, file[i]) && strstr(why, reason[i]) && !*reason[i] == !*why, "%s: %s", name, why);
    }
    ck_assert_int_eq(ammpl_context_scan_backends(ctx, "/no/such/folder"), AMMPL_OK);
    ck_assert_int_eq(ammpl_backend_report(ctx, 4, &name, &why), AMMPL_OK);
    ck_assert_str_eq(name, "/no/such/folder");
    ck_assert_ptr_nonnull(strstr(why, "cannot be read"));
    ammpl_context_destroy(ctx);
}
END_TEST

/* An allocator that says no at the k-th request: loading either works or fails whole, and nothing leaks. */
static int until_failure;
static int64_t held;

static void *failing_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    if (until_failure-- == 0)
        return NULL;
    held++;
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void count_release(void *user, void *ptr, size_t size)
{
    (void)user;
    (void)size;
    held--;
    free(ptr);
}

START_TEST(out_of_memory)
{
    ammpl_allocator a = {.struct_size = sizeof a, .alloc = failing_alloc, .release = count_release};
    int failures = 0;
    for (int k = 0; k < 12; k++) {
        ammpl_context *ctx;
        until_failure = -1;
        ck_assert_int_eq(ammpl_context_create(&a, &ctx), AMMPL_OK);
        until_failure = k;
        ammpl_status status = ammpl_context_scan_backends(ctx, STUBS);
        ck_assert(status == AMMPL_OK || status == AMMPL_E_MEMORY);
        failures += status == AMMPL_E_MEMORY;
        until_failure = -1;
        ck_assert_int_eq(ammpl_context_scan_backends(ctx, STUBS), AMMPL_OK);
        ck_assert_uint_eq(ammpl_device_count(ctx), 3);
        ammpl_context_destroy(ctx);
        ck_assert_int_eq(held, 0);
    }
    ck_assert_int_gt(failures, 5);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("backends");
    TCase *c = tcase_create("plug-ins");
    tcase_add_loop_test(c, refusals, 0, REFUSED);
    tcase_add_test(c, files_that_are_none);
    tcase_add_test(c, taken);
    tcase_add_test(c, folder);
    tcase_add_test(c, out_of_memory);
    suite_add_tcase(s, c);
    return test_main(s);
}
