/* support.h - what every test program shares: main, paths, skipped cases, goldens. */
#ifndef AMMPL_TESTS_SUPPORT_H
#define AMMPL_TESTS_SUPPORT_H

#include <check.h>

#include "core/core.h"
#include "io/safetensors.h"

/* Runs the suite (TAP on standard output, which tests/run.sh counts) and returns the exit status of main.  $AMMPL_TEST_KERNELS: with that
 * table of the CPU's kernels, whatever the library would choose. */
int test_main(Suite *suite);
/* Reports a case that cannot run here, with a sentence that says why: instead of adding it to the suite. */
void test_skip(const char *name, const char *why);
/* Numbers get a decimal comma, in this process; false: there is no such locale here.  And whether there is one for that case: else it
 * is reported as one that cannot run. */
bool test_comma_locale(void);
bool test_has_comma_locale(const char *name);
/* A GPU's context does not survive fork: cases run in this process, without limits of time.  Before test_main. */
void test_in_one_process(void);
/* tests/golden/NAME of the source tree ($AMMPL_TEST_ROOT where it is not where it was built) / ../shared/NAME, or NULL where that
 * does not exist.  Static buffers, 4 in turn. */
const char *test_golden(const char *name);
const char *test_shared(const char *name);
/* A fresh file name in a temporary folder of this process, removed at exit. */
const char *test_temp(const char *name);
/* The same of a file that holds `text`. */
const char *test_written(const char *name, const char *text);
/* A context that must come into being. */
ammpl_context *test_context(void);
/* The device that the program tests: the first of the plug-in whose file $AMMPL_TEST_BACKEND names (an emulated one orders its
 * work by $AMMPL_TEST_SEED, and judges no accesses where $AMMPL_TEST_UNJUDGED is set), else the CPU. */
const ammpl_device *test_device(ammpl_context *ctx);
/* On a device: from now on every op that the context's backend cannot do, and every launch and product that the device does not take, is
 * counted (test_device asks for it); off: where failures are made.  So are values that are held against others (test_difference adds
 * what it compares).  Prints both; false where something was refused: a program on a device then fails. */
void test_count_refusals(ammpl_context *ctx, bool on);
void test_count_compared(int64_t values);
bool test_nothing_refused(void);
/* A whole tensor of an open file as float32 (malloc, the test's own to free); fails the test when absent. */
float *test_tensor(const ammpli_st *st, const char *name, int64_t *count);
/* |a - b| / max(|b|, floor) over n values, in double. */
double test_difference(const float *a, const float *b, int64_t n, double floor);
/* How far, relatively, another number of rows beside it may move a result: 0 on the CPU, where every sum has one order; a rounding
 * on a device whose library chooses the order by the shape. */
double test_rounding(void);
/* Fails the test unless n values agree by that (of `floor`, where their norm is smaller): on the CPU bit for bit. */
void test_same(const char *what, const float *a, const float *b, int64_t n, double floor);
/* Fails the test unless the status is `expected` and, where it is an error, the sentence contains `word`. */
#define ck_status(call, expected, word)                                                                                \
    do {                                                                                                               \
        ammpli_clear_error();                                                                                          \
        ammpl_status ck_got = (call);                                                                                  \
        ck_assert_msg(ck_got == (expected), "%s: status %d (%s), expected %d", #call, (int)ck_got, ammpli_error_text(), \
                      (int)(expected));                                                                                \
        if (ck_got < 0)                                                                                                \
            ck_assert_msg(strstr(ammpli_error_text(), (word)) != NULL, "%s: the sentence \"%s\" does not contain \"%s\"", \
                          #call, ammpli_error_text(), (word));                                                         \
    } while (0)
#define ck_ok(call) ck_status(call, AMMPL_OK, "")

#endif
