/* figure.c - the layout of ammpl-mask's figure. */
#include "figure.h"

#include <stdio.h>

enum {
    MARGIN = 16,  /* around everything, and between groups of columns */
    GAP = 8,      /* between the columns of a group */
    HEADER = 44,  /* two lines of text above the first row */
    FOOTER = 34,  /* under each picture: the scale of a map, a name */
    BAR = 6,      /* height of a scale's colours */
    LEAST = 160,  /* pictures are enlarged to at least about this many pixels */
    PER_GROUP = 4 /* map, mask, masked, padded */
};

static const struct colour white = {255, 255, 255}, ink = {45, 45, 50}, pale = {130, 130, 138}, kept = {236, 236, 240},
                           hidden = {60, 60, 70};

static int cell_size(const struct figure *f)
{
    return f->side * f->scale;
}

/* Left edge of a column: 0 is the picture, then four for each group. */
static int left_of(const struct figure *f, int column)
{
    int groups_before = column == 0 ? 0 : 1 + (column - 1) / PER_GROUP;
    return MARGIN + column * (cell_size(f) + GAP) + groups_before * (MARGIN - GAP);
}

static int top_of(const struct figure *f, int row)
{
    return HEADER + row * (cell_size(f) + FOOTER);
}

struct figure figure_create(int rows, int groups, int side, int grid)
{
    static const char *const title[PER_GROUP] = {"keep probability", "one mask", "masked", "padded"};
    struct figure f = {.side = side, .grid = grid, .scale = side >= LEAST ? 1 : (LEAST + side / 2) / side};
    int width = left_of(&f, PER_GROUP * groups) + cell_size(&f) + MARGIN;
    f.canvas = picture_create(width, top_of(&f, rows), white);
    picture_text_centred(&f.canvas, left_of(&f, 0), HEADER - 16, cell_size(&f), pale, "picture");
    for (int i = 0; i < PER_GROUP * groups; i++)
        picture_text_centred(&f.canvas, left_of(&f, i + 1), HEADER - 16, cell_size(&f), pale, title[i % PER_GROUP]);
    return f;
}

void figure_heading(struct figure *f, int group, const char *name)
{
    int left = left_of(f, 1 + PER_GROUP * group), right = left_of(f, PER_GROUP * (group + 1)) + cell_size(f);
    picture_text_centred(&f->canvas, left, 10, right - left, ink, name);
}

static void put(struct figure *f, int row, int column, const uint8_t *rgb)
{
    int x = left_of(f, column), y = top_of(f, row);
    picture_paste(&f->canvas, x, y, rgb, f->side, f->side, f->scale);
    picture_frame(&f->canvas, x, y, cell_size(f), cell_size(f), pale);
}

void figure_image(struct figure *f, int row, const uint8_t *rgb, const char *name)
{
    put(f, row, 0, rgb);
    picture_text_centred(&f->canvas, left_of(f, 0), top_of(f, row) + cell_size(f) + 5, cell_size(f), ink, name);
}

/* One square per patch, with a thin line between them. */
static void patches(struct figure *f, int x, int y, const struct cell *cell, int as_mask)
{
    int size = cell_size(f) / f->grid;
    double range = (double)cell->high - (double)cell->low;
    for (int j = 0; j < f->grid * f->grid; j++) {
        double t = range > 0 ? ((double)cell->keep[j] - (double)cell->low) / range : 0.5;
        struct colour colour = as_mask ? cell->mask[j] != 0 ? kept : hidden : heat(t);
        picture_fill(&f->canvas, x + j % f->grid * size, y + j / f->grid * size, size - as_mask, size - as_mask,
                     colour);
    }
    picture_frame(&f->canvas, x, y, size * f->grid, size * f->grid, pale);
}

/* The colours from low to high with both numbers at their ends. */
static void scale_of(struct figure *f, int x, int y, const struct cell *cell)
{
    char text[32];
    int width = cell_size(f);
    for (int i = 0; i < width; i++)
        picture_fill(&f->canvas, x + i, y, 1, BAR, heat((double)i / (width - 1)));
    snprintf(text, sizeof text, "%.3f", (double)cell->low);
    picture_text(&f->canvas, x, y + BAR + 3, width, ink, text);
    snprintf(text, sizeof text, "%.3f", (double)cell->high);
    picture_text_right(&f->canvas, x, y + BAR + 3, width, ink, text);
}

void figure_cell(struct figure *f, int row, int group, const struct cell *cell)
{
    int first = 1 + PER_GROUP * group, y = top_of(f, row), below = y + cell_size(f) + 5, masked = 0;
    char text[64];
    patches(f, left_of(f, first), y, cell, 0);
    scale_of(f, left_of(f, first), below, cell);
    patches(f, left_of(f, first + 1), y, cell, 1);
    put(f, row, first + 2, cell->masked);
    put(f, row, first + 3, cell->padded);
    for (int j = 0; j < f->grid * f->grid; j++)
        masked += cell->mask[j] == 0;
    snprintf(text, sizeof text, "%d of %d masked", masked, f->grid * f->grid);
    picture_text_centred(&f->canvas, left_of(f, first + 1), below, cell_size(f), ink, text);
    picture_text_centred(&f->canvas, left_of(f, first + 2), below, 2 * cell_size(f) + GAP, ink, cell->class_name);
}
