/* processors.c - how many processors a process may use at once: those it may run on, or what a quota of processor time comes to (a
 * container's), whichever is less.
 */
#include "core/core.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

bool ammpli_beginning_of(const char *path, char *text, size_t size)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = file < 0 ? -1 : read(file, text, size - 1);
    if (file >= 0)
        close(file);
    text[n > 0 ? n : 0] = 0;
    return n > 0;
}

/* The number that a file begins with and the one behind it, 0 where there is none; false: the file does not begin with a number. */
static bool numbers_in(const char *path, long long *first, long long *second)
{
    char text[64], *end;
    if (!ammpli_beginning_of(path, text, sizeof text))
        return false;
    *first = strtoll(text, &end, 10);
    *second = strtoll(end, NULL, 10);
    return end > text;
}

int ammpli_processors(const char *cpu_max, const char *quota_us, const char *period_us)
{
    cpu_set_t set;
    long long n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN), quota, period, none;
    bool known = numbers_in(cpu_max, &quota, &period) || (numbers_in(quota_us, &quota, &none) && numbers_in(period_us, &period, &none));
    if (known && quota > 0 && period > 0) { /* "max", or -1: no quota */
        long long most = quota / period + (quota % period > 0);
        n = most < n ? most : n;
    }
    return n < 1 ? 1 : n > 256 ? 256 : (int)n;
}
