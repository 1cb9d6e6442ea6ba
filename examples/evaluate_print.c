/* evaluate_print.c - see evaluate_print.h. */
#include "evaluate_print.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

void cell_text(const struct table *table, const struct cell *cell, char *text, size_t room)
{
    const char *format = table->difference ? "%+.2f" : "%.2f";
    text[0] = '\0';
    if (cell->s.n == 0)
        return;
    int n = snprintf(text, room, format, cell->s.mean);
    if (table->difference && !isnan(cell->s.ci95))
        snprintf(text + n, room - (size_t)n, " \302\261%.2f", cell->s.ci95);
    else if (cell->s.n > 1)
        snprintf(text + n, room - (size_t)n, "(%.1f)", cell->s.sd);
}

void cell_paper_text(const struct cell *cell, char *text, size_t room)
{
    text[0] = '\0';
    if (!isnan(cell->paper))
        snprintf(text, room, isnan(cell->paper_sd) ? "%.2f" : "%.2f(%.1f)", cell->paper, cell->paper_sd);
}

void cell_gap_text(const struct cell *cell, char *text, size_t room)
{
    text[0] = '\0';
    if (!isnan(cell->paper) && cell->s.n > 0)
        snprintf(text, room, "%+.2f", cell->s.mean - cell->paper);
}

/* ---- text ---- */

/* A table of texts, its columns as wide as they need to be. */
struct grid {
    size_t rows, columns;
    char **text; /* [rows, columns] */
};

static void grid_set(struct grid *g, size_t row, size_t column, const char *text)
{
    char **at = &g->text[row * g->columns + column];
    free(*at);
    *at = allocate(strlen(text) + 1);
    memcpy(*at, text, strlen(text));
}

/* Characters, not bytes. */
static size_t width_of(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void grid_print(struct grid *g, FILE *out)
{
    size_t *width = allocate(g->columns * sizeof *width);
    for (size_t i = 0; i < g->rows * g->columns; i++) {
        size_t w = g->text[i] == NULL ? 0 : width_of(g->text[i]);
        width[i % g->columns] = w > width[i % g->columns] ? w : width[i % g->columns];
    }
    for (size_t r = 0; r < g->rows; r++) {
        for (size_t c = 0; c < g->columns; c++) {
            const char *text = g->text[r * g->columns + c] == NULL ? "" : g->text[r * g->columns + c];
            int pad = (int)(width[c] - width_of(text));
            if (c == 0)
                fprintf(out, "| %s%*s ", text, pad, "");
            else
                fprintf(out, "| %*s%s ", pad, "", text);
        }
        fputs("|\n", out);
        for (size_t c = 0; r == 0 && c < g->columns; c++) {
            fputs("|-", out);
            for (size_t i = 0; i < width[c]; i++)
                putc('-', out);
            fputs(c == 0 ? "-" : ":", out);
        }
        if (r == 0)
            fputs("|\n", out);
    }
    for (size_t i = 0; i < g->rows * g->columns; i++)
        free(g->text[i]);
    free(g->text);
    free(width);
}

static struct grid grid_create(size_t rows, size_t columns)
{
    return (struct grid){rows, columns, allocate(rows * columns * sizeof(char *))};
}

static size_t printed_rows(const struct table *t)
{
    size_t n = 1;
    for (size_t r = 0; r < t->rows.count; r++)
        n += table_row_has_paper(t, r) ? 3 : 1;
    return n;
}

void table_print(const struct table *t, FILE *out)
{
    char text[64];
    struct grid g = grid_create(printed_rows(t), t->columns.count + 1);
    grid_set(&g, 0, 0, "");
    for (size_t c = 0; c < t->columns.count; c++)
        grid_set(&g, 0, c + 1, t->columns.item[c]);
    for (size_t r = 0, row = 1; r < t->rows.count; r++) {
        bool paper = table_row_has_paper(t, r);
        grid_set(&g, row, 0, t->rows.item[r]);
        if (paper) {
            grid_set(&g, row + 1, 0, "  the paper");
            grid_set(&g, row + 2, 0, "  difference");
        }
        for (size_t c = 0; c < t->columns.count; c++) {
            const struct cell *cell = table_at(t, r, c);
            cell_text(t, cell, text, sizeof text);
            grid_set(&g, row, c + 1, text);
            if (!paper)
                continue;
            cell_paper_text(cell, text, sizeof text);
            grid_set(&g, row + 1, c + 1, text);
            cell_gap_text(cell, text, sizeof text);
            grid_set(&g, row + 2, c + 1, text);
        }
        row += paper ? 3 : 1;
    }
    fprintf(out, "%s\n\n", t->title);
    grid_print(&g, out);
    fputs("\n", out);
}

/* ---- JSON ---- */

static void put_number(FILE *out, const char *key, double value)
{
    fprintf(out, ", \"%s\": ", key);
    put_json_number(out, value);
}

void table_print_json(const struct table *t, size_t seeds, FILE *out)
{
    for (size_t r = 0; r < t->rows.count; r++)
        for (size_t c = 0; c < t->columns.count; c++) {
            const struct cell *cell = table_at(t, r, c);
            fputs("{\"table\": ", out);
            put_json_string(out, t->name);
            fputs(", \"row\": ", out);
            put_json_string(out, t->rows.item[r]);
            fputs(", \"column\": ", out);
            put_json_string(out, t->columns.item[c]);
            put_number(out, "mean", cell->s.mean);
            put_number(out, "sd", cell->s.sd);
            fprintf(out, ", \"n\": %zu", cell->s.n);
            put_number(out, "ci95", cell->s.ci95);
            fputs(", \"values\": [", out);
            for (size_t s = 0; s < seeds; s++) {
                fputs(s == 0 ? "" : ", ", out);
                put_json_number(out, cell->value[s]);
            }
            fputs("]", out);
            put_number(out, "paper", cell->paper);
            put_number(out, "paper_sd", cell->paper_sd);
            put_number(out, "difference", cell->s.mean - cell->paper);
            fputs("}\n", out);
        }
}
