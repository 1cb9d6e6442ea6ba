/* picture.h - drawing on RGB pixels: rectangles, enlarged pictures, heat colours, small letters. */
#ifndef AMMPL_EXAMPLES_PICTURE_H
#define AMMPL_EXAMPLES_PICTURE_H

#include <stdint.h>

struct picture {
    int width, height;
    uint8_t *rgb; /* [height, width, 3] */
};

struct colour {
    uint8_t r, g, b;
};

/* A picture of one colour; free() its rgb. */
struct picture picture_create(int width, int height, struct colour background);
/* Everything is clipped to the picture. */
void picture_fill(struct picture *p, int x, int y, int width, int height, struct colour colour);
void picture_frame(struct picture *p, int x, int y, int width, int height, struct colour colour);
/* [height, width, 3] pixels, every one as a square of `scale` pixels. */
void picture_paste(struct picture *p, int x, int y, const uint8_t *rgb, int width, int height, int scale);

enum { TEXT_HEIGHT = 10 };
/* Upper-case letters, digits and some signs, 8 pixels each; text that is wider than max_width is cut and ends in "..". */
void picture_text(struct picture *p, int x, int y, int max_width, struct colour colour, const char *text);
/* The same, in the middle or at the right end of max_width. */
void picture_text_centred(struct picture *p, int x, int y, int max_width, struct colour colour, const char *text);
void picture_text_right(struct picture *p, int x, int y, int max_width, struct colour colour, const char *text);

/* Dark blue for 0 over green to yellow for 1; readable in grey and by the colour-blind (viridis). */
struct colour heat(double t);

#endif
