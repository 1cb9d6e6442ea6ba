/* evaluate_html.h - pieces of the page. */
#ifndef AMMPL_EXAMPLES_EVALUATE_HTML_H
#define AMMPL_EXAMPLES_EVALUATE_HTML_H

#include <stdio.h>

#include "evaluate_table.h"

void html_begin(FILE *out, const char *title);
void html_end(FILE *out);
void html_text(FILE *out, const char *text);
/* The table, the paper's numbers and the differences below each row that has them; the best of each column in bold. */
void html_table(FILE *out, const struct table *table);
/* A picture file as part of the page; false, and nothing written, where it cannot be read. */
bool html_picture(FILE *out, const char *path, const char *alternative);

/* Writes NAME.svg, which holds the whole of NAME.png. */
bool html_svg_of_png(const char *path);

#endif
