/* evaluate_paper.h - the numbers of the AMMPL paper (ACM MM 2024; ViT-B/16, mean and standard deviation of 3 seeds, per cent). */
#ifndef AMMPL_EXAMPLES_EVALUATE_PAPER_H
#define AMMPL_EXAMPLES_EVALUATE_PAPER_H

#include <stdbool.h>

#include "evaluate_record.h"

struct paper_number {
    double mean, sd;
};

/* For the place of a record; split "hm" asks for the harmonic mean of base-to-novel.  False: the paper has none. */
bool paper_find(const struct record *place, struct paper_number *out);

#endif
