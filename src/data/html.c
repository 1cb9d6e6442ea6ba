/* html.c - character references, as Python's html.unescape resolves them (HTML 5's rules, attributes' exceptions aside).
 *
 * One difference: a decimal number of more than 4300 digits, which Python refuses, is U+FFFD like every other too great one.
 */
#include "data/text.h"

#include <stdlib.h>
#include <string.h>

/* 0x80-0x9f are taken for Windows-1252. */
static const uint16_t windows_1252[32] = {
    0x20ac, 0x0081, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x008d, 0x017d, 0x008f, 0x0090, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x009d, 0x017e, 0x0178,
};

/* What a number stands for; -1: nothing, the reference vanishes. */
static int32_t numbered(int32_t c)
{
    if (c >= 0x80 && c <= 0x9f)
        return windows_1252[c - 0x80];
    if (c == 0 || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff)
        return 0xfffd;
    if (c <= 0x08 || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f || (c >= 0xfdd0 && c <= 0xfdef) ||
        (c & 0xfffe) == 0xfffe)
        return -1;
    return c;
}

static int digit(int32_t c, int base)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (base == 16 && c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (base == 16 && c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Both readers: `in` starts with '&'.  Return how many code points the reference takes, 0 when it is none; `out` gets the one
 * or two it stands for, 0 for none. */
static size_t read_number(const int32_t *in, size_t n, int32_t out[2])
{
    size_t i = 2;
    int base = 10;
    if (i < n && (in[i] == 'x' || in[i] == 'X')) {
        base = 16;
        i++;
    }
    size_t first = i;
    int32_t value = 0;
    for (int d; i < n && (d = digit(in[i], base)) >= 0; i++)
        value = value > 0x10ffff ? value : value * base + d;
    if (i == first)
        return 0;
    int32_t c = numbered(value);
    out[0] = c < 0 ? 0 : c;
    return i + (i < n && in[i] == ';');
}

static int by_name(const void *key, const void *entity)
{
    return strcmp(key, ((const ammpli_html_entity *)entity)->name);
}

static const ammpli_html_entity *find(const char *name)
{
    return bsearch(name, ammpli_html_entities, ammpli_html_entity_count, sizeof *ammpli_html_entities, by_name);
}

/* The longest name wins: the whole of it with its semicolon, else the longest beginning known without one. */
static size_t read_name(const int32_t *in, size_t n, int32_t out[2])
{
    char name[sizeof((ammpli_html_entity *)0)->name];
    size_t length = 0;
    for (; length < sizeof name - 1 && 1 + length < n; length++) {
        int32_t c = in[1 + length];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')))
            break;
        name[length] = (char)c;
    }
    bool semicolon = 1 + length < n && in[1 + length] == ';';
    for (size_t whole = length; length > 0; length--) {
        name[length] = '\0';
        const ammpli_html_entity *entity = find(name);
        bool closed = semicolon && length == whole;
        if (entity && (closed || entity->bare)) {
            out[0] = entity->first;
            out[1] = entity->second;
            return 1 + length + closed;
        }
    }
    return 0;
}

size_t ammpli_html_unescape(int32_t *cp, size_t n)
{
    size_t length = 0;
    for (size_t i = 0; i < n;) {
        int32_t out[2] = {0, 0};
        size_t used = 0;
        if (cp[i] == '&')
            used = i + 1 < n && cp[i + 1] == '#' ? read_number(cp + i, n - i, out) : read_name(cp + i, n - i, out);
        if (!used) {
            out[0] = cp[i];
            used = 1;
        }
        for (int k = 0; k < 2 && out[k]; k++) /* a reference is longer than what it stands for */
            cp[length++] = out[k];
        i += used;
    }
    return length;
}
