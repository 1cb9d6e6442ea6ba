/* support.c - see support.h. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *turn(const char *folder, const char *name)
{
    static char buffer[4][1024];
    static int next;
    char *b = buffer[next++ % 4];
    snprintf(b, sizeof buffer[0], "%s/%s", folder, name);
    return b;
}

const char *test_golden(const char *name)
{
    return turn(TEST_ROOT "/tests/golden", name);
}

const char *test_shared(const char *name)
{
    const char *path = turn(TEST_ROOT "/../shared", name);
    struct stat st;
    return stat(path, &st) == 0 ? path : NULL;
}

static char temp_folder[64];
static pid_t temp_owner;

static void remove_temp(void)
{
    if (getpid() != temp_owner)
        return;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", temp_folder);
    if (system(command) != 0)
        fprintf(stderr, "could not remove %s\n", temp_folder);
}

const char *test_temp(const char *name)
{
    if (!temp_folder[0] || temp_owner != getpid()) { /* a forked case gets a folder of its own */
        strcpy(temp_folder, "/tmp/ammpl-test-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(temp_folder));
        temp_owner = getpid();
        atexit(remove_temp);
    }
    return turn(temp_folder, name);
}

ammpl_context *test_context(void)
{
    ammpl_context *ctx;
    ck_assert_int_eq(ammpli_context_create(NULL, &ctx), AMMPL_OK);
    return ctx;
}

float *test_tensor(const ammpli_st *st, const char *name, int64_t *count)
{
    const ammpli_st_tensor *t = ammpli_st_find(st, name);
    ck_assert_msg(t != NULL, "%s has no tensor %s", ammpli_st_name(st), name);
    float *data = malloc((size_t)t->count * sizeof *data + 1);
    ck_assert_ptr_nonnull(data);
    ck_assert_int_eq(ammpli_st_read_f32(st, t, data), AMMPL_OK);
    if (count)
        *count = t->count;
    return data;
}

double test_difference(const float *a, const float *b, int64_t n, double floor)
{
    double d = 0, r = 0;
    for (int64_t i = 0; i < n; i++) {
        d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        r += (double)b[i] * b[i];
    }
    d = sqrt(d);
    r = sqrt(r);
    return isfinite(d) ? d / (r > floor ? r : floor) : INFINITY;
}

void test_skip(const char *name, const char *why)
{
    printf("SKIP %s: %s\n", name, why);
    fflush(stdout);
}

int test_main(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner), run = srunner_ntests_run(runner);
    srunner_free(runner);
    return failed || !run ? EXIT_FAILURE : EXIT_SUCCESS;
}
