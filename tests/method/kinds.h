/* kinds.h - every method but AMMPL in all its kinds, as small training runs on nano-odd (the sizes of its two towers all differ): what
 * a test loops over that holds for all of them.
 */
#ifndef AMMPL_TESTS_KINDS_H
#define AMMPL_TESTS_KINDS_H

#include "train/nano.h"

typedef struct kind {
    const char *name;
    ammpl_method method;
    const char *model;      /* of golden/ */
    const char *options[19]; /* pairs, ended by NULL */
} kind;
extern const kind kinds[];
enum { KINDS = 28, DPT_KINDS = 3 }; /* DPT's are the last ones */

/* By name; fails the test when there is none. */
const kind *kind_of(const char *name);
/* As nano_open, with the kind's options and then `more` (NULL: none). */
void kind_open(nano *n, const kind *k, const char *const *more);
/* Values that are all felt: N(0, 0.3^2), weights of LayerNorms around 1, ReLUs on and off, classifiers apart. */
void kind_fill(ammpl_prompt *p);

#endif
