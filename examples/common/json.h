/* json.h - the few pieces of JSON that the programs write.
 *
 * Names that start with json_ belong to jansson: a program that defines one takes it away from libammpl.so. */
#ifndef AMMPL_EXAMPLES_JSON_H
#define AMMPL_EXAMPLES_JSON_H

#include <stddef.h>
#include <stdio.h>

/* "text" in quotes.  Bytes that are not UTF-8 (file names may hold any) become U+FFFD. */
void put_json_string(FILE *out, const char *text);
/* The text itself; bytes that are not UTF-8, and control characters, as \xNN: for people. */
void put_plain(FILE *out, const char *text);
/* The shortest decimal number that reads back as the same double; null where JSON has none (NaN, infinity). */
void put_json_number(FILE *out, double value);
/* [1, 2, 3] */
void put_json_numbers(FILE *out, const float *value, size_t n);

#endif
