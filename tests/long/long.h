/* long.h - what the programs of tests/long.sh share: cases as TAP, a clock. */
#ifndef AMMPL_TESTS_LONG_H
#define AMMPL_TESTS_LONG_H

#include <ammpl/ammpl.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int cases, failures;

static void report(bool ok, const char *what)
{
    printf("%sok %d - %s%s%s\n", ok ? "" : "not ", ++cases, what, ok || !*ammpl_last_error() ? "" : ": ", ok ? "" : ammpl_last_error());
    fflush(stdout);
    failures += !ok;
}

/* Everything else depends on it: ends the program when it fails. */
static void must(ammpl_status status, const char *what)
{
    if (status >= 0)
        return;
    printf("not ok %d - %s: %s\n", ++cases, what, ammpl_last_error());
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
