/* picture.c - drawing on RGB pixels. */
#include "picture.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "list.h"

struct picture picture_create(int width, int height, struct colour background)
{
    struct picture p = {width, height, allocate((size_t)width * (size_t)height * 3)};
    picture_fill(&p, 0, 0, width, height, background);
    return p;
}

static int clamp(int x, int low, int high)
{
    return x < low ? low : x > high ? high : x;
}

void picture_fill(struct picture *p, int x, int y, int width, int height, struct colour colour)
{
    int x1 = clamp(x + width, 0, p->width), y1 = clamp(y + height, 0, p->height);
    for (int j = clamp(y, 0, p->height); j < y1; j++)
        for (int i = clamp(x, 0, p->width); i < x1; i++) {
            uint8_t *pixel = p->rgb + 3 * ((ptrdiff_t)j * p->width + i);
            pixel[0] = colour.r;
            pixel[1] = colour.g;
            pixel[2] = colour.b;
        }
}

void picture_frame(struct picture *p, int x, int y, int width, int height, struct colour colour)
{
    picture_fill(p, x, y, width, 1, colour);
    picture_fill(p, x, y + height - 1, width, 1, colour);
    picture_fill(p, x, y, 1, height, colour);
    picture_fill(p, x + width - 1, y, 1, height, colour);
}

void picture_paste(struct picture *p, int x, int y, const uint8_t *rgb, int width, int height, int scale)
{
    for (int j = 0; j < height; j++)
        for (int i = 0; i < width; i++) {
            const uint8_t *pixel = rgb + 3 * ((ptrdiff_t)j * width + i);
            picture_fill(p, x + i * scale, y + j * scale, scale, scale, (struct colour){pixel[0], pixel[1], pixel[2]});
        }
}

/* ---- letters: 3 by 5 dots, a row is an octal digit (4 = left, 2 = middle, 1 = right), the first digit the top row ---- */

enum { DOT = 2, ADVANCE = 4 * DOT };

static const uint16_t letter[128] = {
    ['0'] = 075557, ['1'] = 026227, ['2'] = 071747, ['3'] = 071317, ['4'] = 055711, ['5'] = 074717,  ['6'] = 074757,
    ['7'] = 071122, ['8'] = 075757, ['9'] = 075717, ['A'] = 025755, ['B'] = 065656, ['C'] = 034443,  ['D'] = 065556,
    ['E'] = 074647, ['F'] = 074644, ['G'] = 034553, ['H'] = 055755, ['I'] = 072227, ['J'] = 011152,  ['K'] = 055655,
    ['L'] = 044447, ['M'] = 057755, ['N'] = 065555, ['O'] = 025552, ['P'] = 065644, ['Q'] = 025563,  ['R'] = 065655,
    ['S'] = 034216, ['T'] = 072222, ['U'] = 055557, ['V'] = 055552, ['W'] = 055775, ['X'] = 055255,  ['Y'] = 055222,
    ['Z'] = 071247, ['-'] = 000700, ['+'] = 002720, ['='] = 007070, ['.'] = 000002, [','] = 000024,  [':'] = 002020,
    ['%'] = 051245, ['/'] = 011244, ['_'] = 000007, ['('] = 012221, [')'] = 042224, ['\''] = 022000,
};

static void draw_letter(struct picture *p, int x, int y, struct colour colour, char c)
{
    unsigned rows = letter[(unsigned char)toupper((unsigned char)c) & 127];
    for (int bit = 0; bit < 15; bit++)
        if (rows >> (14 - bit) & 1)
            picture_fill(p, x + bit % 3 * DOT, y + bit / 3 * DOT, DOT, DOT, colour);
}

static int fitting(const char *text, int max_width)
{
    int n = (int)strlen(text), room = (max_width + DOT) / ADVANCE;
    return n < room ? n : room;
}

void picture_text(struct picture *p, int x, int y, int max_width, struct colour colour, const char *text)
{
    int n = fitting(text, max_width), cut = n < (int)strlen(text);
    for (int i = 0; i < n; i++)
        draw_letter(p, x + i * ADVANCE, y, colour, cut && i >= n - 2 ? '.' : text[i]);
}

void picture_text_centred(struct picture *p, int x, int y, int max_width, struct colour colour, const char *text)
{
    picture_text(p, x + (max_width - fitting(text, max_width) * ADVANCE + DOT) / 2, y, max_width, colour, text);
}

void picture_text_right(struct picture *p, int x, int y, int max_width, struct colour colour, const char *text)
{
    picture_text(p, x + max_width - fitting(text, max_width) * ADVANCE + DOT, y, max_width, colour, text);
}

struct colour heat(double t)
{
    static const uint8_t stop[9][3] = {{68, 1, 84},    {71, 44, 122}, {59, 81, 139},  {44, 113, 142}, {33, 144, 141},
                                       {39, 173, 129}, {92, 200, 99}, {170, 220, 50}, {253, 231, 37}};
    uint8_t mixed[3];
    double at = t > 1 ? 8 : t > 0 ? 8 * t : 0;
    int i = at < 8 ? (int)at : 7;
    for (int c = 0; c < 3; c++)
        mixed[c] = (uint8_t)(stop[i][c] + (at - i) * (stop[i + 1][c] - stop[i][c]) + 0.5);
    return (struct colour){mixed[0], mixed[1], mixed[2]};
}
