/* evaluate_html.c - see evaluate_html.h. */
#include "evaluate_html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "evaluate_print.h"

void html_begin(FILE *out, const char *title)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>", out);
    html_text(out, title);
    fputs("</title>\n<style>\n"
          "body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; max-width: 1200px; margin: 2em auto; padding: 0 1em }\n"
          "h1 { font-size: 1.5em } h2 { font-size: 1.25em; margin-top: 2em; border-bottom: 1px solid #ccc }\n"
          "figure, .wide { margin: 1em 0; overflow-x: auto } figure img { max-width: 100% } figcaption, caption { color: #555; text-align: left }\n"
          "caption { padding: .3em 0; white-space: nowrap } table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums }\n"
          "th, td { padding: .2em .7em; text-align: right; white-space: nowrap } th:first-child, td:first-child { text-align: left }\n"
          "thead th { border-bottom: 2px solid #888 } tbody tr { border-bottom: 1px solid #eee }\n"
          "tr.paper td { color: #777; font-size: .9em; padding-top: 0 } tr.paper td:first-child { padding-left: 1.8em }\n"
          "small { color: #777 } code { font-size: .9em } summary { cursor: pointer; color: #0050a0 }\n"
          "</style>\n</head>\n<body>\n<h1>", out);
    html_text(out, title);
    fputs("</h1>\n", out);
}

void html_end(FILE *out)
{
    fputs("</body>\n</html>\n", out);
}

void html_text(FILE *out, const char *text)
{
    for (; *text != '\0'; text++)
        switch (*text) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            putc(*text, out);
        }
}

/* ---- tables ---- */

/* The row with the largest mean of a column, where at least two have one and they are not a difference's. */
static size_t best_row(const struct table *t, size_t column)
{
    size_t best = t->rows.count, n = 0;
    for (size_t r = 0; r < t->rows.count; r++) {
        const struct cell *cell = table_at(t, r, column);
        if (cell->s.n == 0)
            continue;
        n++;
        if (best == t->rows.count || cell->s.mean > table_at(t, best, column)->s.mean)
            best = r;
    }
    return n < 2 || t->difference ? t->rows.count : best;
}

static void put_cell(FILE *out, const struct table *t, size_t row, size_t column)
{
    const struct cell *cell = table_at(t, row, column);
    char text[64];
    cell_text(t, cell, text, sizeof text);
    bool best = best_row(t, column) == row;
    size_t mean = strcspn(text, "( ");
    fprintf(out, "<td title=\"%zu seed%s", cell->s.n, cell->s.n == 1 ? "" : "s");
    if (!isnan(cell->s.ci95))
        fprintf(out, ", 95 %% confidence: %.2f ... %.2f", cell->s.mean - cell->s.ci95, cell->s.mean + cell->s.ci95);
    fprintf(out, "\">%s%.*s%s", best ? "<b>" : "", (int)mean, text, best ? "</b>" : "");
    if (text[mean] != '\0')
        fprintf(out, " <small>%s</small>", text + mean + (text[mean] == ' '));
    fputs("</td>", out);
}

/* One of the two rows below a row with numbers of the paper. */
static void put_paper(FILE *out, const struct table *t, size_t row, const char *name,
                      void (*put)(const struct cell *cell, char *text, size_t room))
{
    char text[64];
    fprintf(out, "<tr class=\"paper\"><td>%s</td>", name);
    for (size_t c = 0; c < t->columns.count; c++) {
        put(table_at(t, row, c), text, sizeof text);
        fprintf(out, "<td>%s</td>", text);
    }
    fputs("</tr>\n", out);
}

void html_table(FILE *out, const struct table *t)
{
    fputs("<div class=\"wide\"><table>\n<caption>", out);
    html_text(out, t->title);
    fputs("</caption>\n<thead><tr><th></th>", out);
    for (size_t c = 0; c < t->columns.count; c++) {
        fputs("<th>", out);
        html_text(out, t->columns.item[c]);
        fputs("</th>", out);
    }
    fputs("</tr></thead>\n<tbody>\n", out);
    for (size_t r = 0; r < t->rows.count; r++) {
        fputs("<tr><td>", out);
        html_text(out, t->rows.item[r]);
        fputs("</td>", out);
        for (size_t c = 0; c < t->columns.count; c++)
            put_cell(out, t, r, c);
        fputs("</tr>\n", out);
        if (table_row_has_paper(t, r)) {
            put_paper(out, t, r, "the paper", cell_paper_text);
            put_paper(out, t, r, "difference", cell_gap_text);
        }
    }
    fputs("</tbody></table></div>\n", out);
}

/* ---- pictures ---- */

static void put_base64(FILE *out, FILE *in)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char b[3];
    size_t n;
    while ((n = fread(b, 1, 3, in)) > 0) {
        unsigned bits = (unsigned)b[0] << 16 | (n > 1 ? (unsigned)b[1] << 8 : 0) | (n > 2 ? (unsigned)b[2] : 0);
        putc(digit[bits >> 18], out);
        putc(digit[bits >> 12 & 63], out);
        putc(n > 1 ? digit[bits >> 6 & 63] : '=', out);
        putc(n > 2 ? digit[bits & 63] : '=', out);
    }
}

bool html_picture(FILE *out, const char *path, const char *alternative)
{
    FILE *in = fopen(path, "r");
    size_t n = strlen(path);
    if (in == NULL)
        return false;
    bool svg = n > 4 && strcmp(path + n - 4, ".svg") == 0;
    fprintf(out, "<figure><img alt=\"");
    html_text(out, alternative);
    fprintf(out, "\" src=\"data:image/%s;base64,", svg ? "svg+xml" : "png");
    put_base64(out, in);
    fputs("\"><figcaption>", out);
    html_text(out, alternative);
    fputs("</figcaption></figure>\n", out);
    fclose(in);
    return true;
}

bool html_svg_of_png(const char *path)
{
    unsigned char head[24];
    size_t n = strlen(path);
    char *name = allocate(n + 1);
    memcpy(name, path, n);
    memcpy(name + n - 4, ".svg", 4);
    FILE *in = fopen(path, "r"), *out = in == NULL ? NULL : fopen(name, "w");
    bool ok = out != NULL && fread(head, 1, sizeof head, in) == sizeof head && memcmp(head + 12, "IHDR", 4) == 0;
    if (ok) {
        int width = head[18] << 8 | head[19], height = head[22] << 8 | head[23]; /* no figure has more pixels */
        rewind(in);
        fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\">"
                     "<image width=\"%d\" height=\"%d\" href=\"data:image/png;base64,", width, height, width, height);
        put_base64(out, in);
        fputs("\"/></svg>\n", out);
    }
    if (in != NULL)
        fclose(in);
    if (out != NULL)
        ok = fclose(out) == 0 && ok;
    free(name);
    return ok;
}
