/* text.h - text as code points, and its cleaning for CLIP's tokenizer (methods.md 2). */
#ifndef AMMPLI_TEXT_H
#define AMMPLI_TEXT_H

#include "core/core.h"

typedef struct ammpli_text {
    int32_t *cp; /* ammpli_free */
    size_t n, cap;
} ammpli_text;

/* clean.c: what CLIP makes of a text before it looks for pieces.  The only white space left is single blanks between other
 * characters.  AMMPL_E_FORMAT when it is not UTF-8, AMMPL_E_RANGE when it is longer than 4 MiB. */
ammpl_status ammpli_clean(ammpl_context *ctx, const char *utf8, ammpli_text *out);

/* html.c: Python's html.unescape, in place; returns the new length, which is never greater. */
size_t ammpli_html_unescape(int32_t *cp, size_t n);

/* html_entities.c: sorted by name as strcmp does. */
typedef struct ammpli_html_entity {
    char name[32];   /* in place: the table needs no relocation */
    int32_t first;   /* code points */
    uint16_t second; /* or 0 */
    uint8_t bare;    /* recognised without the semicolon too */
} ammpli_html_entity;
extern const ammpli_html_entity ammpli_html_entities[];
extern const size_t ammpli_html_entity_count;

#endif
