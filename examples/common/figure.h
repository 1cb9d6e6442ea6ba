/* figure.h - the layout of ammpl-mask's figure: a row per picture; the picture, then four cells for each prompt. */
#ifndef AMMPL_EXAMPLES_FIGURE_H
#define AMMPL_EXAMPLES_FIGURE_H

#include "picture.h"

struct figure {
    struct picture canvas;
    int side, grid; /* pixels and patches along one side of a picture */
    int scale;      /* how much pictures are enlarged */
};

/* What one prompt does to one picture. */
struct cell {
    const char *class_name;
    const float *keep, *mask;       /* [grid, grid] */
    float low, high;                /* of keep: the scale of its colours */
    const uint8_t *masked, *padded; /* [side, side, 3] */
};

/* An empty figure; free() canvas.rgb. */
struct figure figure_create(int rows, int groups, int side, int grid);
/* The name above a group of four columns. */
void figure_heading(struct figure *f, int group, const char *name);
void figure_image(struct figure *f, int row, const uint8_t *rgb, const char *name);
void figure_cell(struct figure *f, int row, int group, const struct cell *cell);

#endif
