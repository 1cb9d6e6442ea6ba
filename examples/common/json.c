/* json.c - the few pieces of JSON that the programs write. */
#include "json.h"

#include <math.h>
#include <stdlib.h>

/* Bytes of the UTF-8 character at s; 0 when there is none (stray or missing continuation, overlong, surrogate, > 10FFFF). */
static int utf8_length(const unsigned char *s)
{
    static const unsigned least[5] = {0, 0, 0x80, 0x800, 0x10000};
    int n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    if (n < 2)
        return n;
    unsigned code = s[0] & (0xffu >> (n + 1));
    for (int i = 1; i < n; i++) {
        if (s[i] >> 6 != 2)
            return 0;
        code = code << 6 | (s[i] & 0x3fu);
    }
    return code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : n;
}

void put_json_string(FILE *out, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    putc('"', out);
    while (*s != '\0') {
        int n = utf8_length(s);
        if (n == 0)
            fputs("\\ufffd", out);
        else if (*s == '"' || *s == '\\')
            fprintf(out, "\\%c", *s);
        else if (*s < 0x20)
            fprintf(out, "\\u%04x", *s);
        else
            fwrite(s, 1, (size_t)n, out);
        s += n == 0 ? 1 : n;
    }
    putc('"', out);
}

void put_plain(FILE *out, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    while (*s != '\0') {
        int n = utf8_length(s);
        if (n == 0 || *s < 0x20 || *s == 0x7f)
            fprintf(out, "\\x%02X", *s);
        else
            fwrite(s, 1, (size_t)n, out);
        s += n == 0 ? 1 : n;
    }
}

void put_json_number(FILE *out, double value)
{
    char text[32];
    if (!isfinite(value)) {
        fputs("null", out);
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    fputs(text, out);
}

void put_json_numbers(FILE *out, const float *value, size_t n)
{
    putc('[', out);
    for (size_t i = 0; i < n; i++) {
        fputs(i == 0 ? "" : ", ", out);
        if (isfinite(value[i]))
            fprintf(out, "%.9g", (double)value[i]);
        else
            fputs("null", out);
    }
    putc(']', out);
}
