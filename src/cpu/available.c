/* available.c - how much memory the machine has, and how much of it a program may hope to get. */
#include "cpu/kernels.h"

#include <stdlib.h>
#include <sys/sysinfo.h>

/* The number behind the first `key` ("" begins the file); false: no such file, key or number. */
static bool number_in(const char *path, const char *key, uint64_t *out)
{
    char text[2048];
    const char *at = ammpli_beginning_of(path, text, sizeof text) ? strstr(text, key) : NULL;
    if (!at)
        return false;
    at += strlen(key);
    char *end;
    *out = strtoull(at, &end, 10);
    return end > at;
}

bool ammpli_cpu_available(const char *meminfo, const char *const *limits, uint64_t *available, uint64_t *total)
{
    uint64_t limit;
    if (number_in(meminfo, "MemAvailable:", available) && number_in(meminfo, "MemTotal:", total)) {
        *available *= 1024;
        *total *= 1024;
    } else { /* no /proc: without what the page cache would give back */
        struct sysinfo info;
        if (sysinfo(&info) != 0)
            return false;
        *available = ((uint64_t)info.freeram + info.bufferram) * info.mem_unit;
        *total = (uint64_t)info.totalram * info.mem_unit;
    }
    for (; *limits; limits++) /* "max": no number, no limit */
        if (number_in(*limits, "", &limit)) {
            *total = limit < *total ? limit : *total;
            *available = limit < *available ? limit : *available;
        }
    return true;
}
