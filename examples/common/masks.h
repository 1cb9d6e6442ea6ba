/* masks.h - what an AMMPL prompt hides: its keep probabilities P and their masks. */
#ifndef AMMPL_EXAMPLES_MASKS_H
#define AMMPL_EXAMPLES_MASKS_H

#include "app.h"

struct keep {
    float *value; /* [maps, patches]; NULL for a prompt without masks */
    size_t maps;  /* classes, or 1 in shared scope */
    size_t patches;
};

/* A copy of `mask_prob`; free() its value.  A prompt that masks nothing gives value NULL, and true. */
bool keep_read(struct app *app, const ammpl_prompt *prompt, struct keep *out);
/* The map of one class: its own, or the one that all share. */
const float *keep_map(const struct keep *keep, size_t class_index);
/* Patches that one draw is expected to mask: the sum of 1 - clamp(P, 0, 1). */
double keep_expected_masked(const float *map, size_t patches);
/* How many of n patches a 0/1 mask hides. */
size_t masked_count(const float *mask, size_t patches);
/* masked[C]: patches hidden per class by the prompt's evaluation mode. */
bool keep_masked_in_evaluation(struct app *app, const ammpl_prompt *prompt, const struct keep *keep, double *masked);
/* How far P went from start to now, on average and at most; false when they are of different sizes. */
bool keep_movement(const struct keep *start, const struct keep *now, double *mean, double *most);
/* Three lines: patches masked per class as expected and in the prompt's evaluation mode, and how far P went from `start`. */
bool keep_report(struct app *app, const ammpl_prompt *prompt, const struct keep *start);

#endif
