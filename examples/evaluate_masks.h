/* evaluate_masks.h - the paper's Figure 3 for the report: what AMMPL masks on training pictures after more and more steps. */
#ifndef AMMPL_EXAMPLES_EVALUATE_MASKS_H
#define AMMPL_EXAMPLES_EVALUATE_MASKS_H

#include "evaluate_plan.h"

/* Marks one run for each data set that is trained on: of the first row that masks, the most shots, the first seed.  Its prompts on the
 * way will be in REPORT/masks/PROTOCOL-DATASET/step-N.safetensors; of a run that is yet to be done, old ones are removed there. */
bool masks_choose(struct app *app, struct plan *plan, const char *report);
/* Has ammpl-mask draw REPORT/masks-PROTOCOL-DATASET.png (and the same as SVG) of them.  Where that cannot be done a line says so. */
bool masks_draw(struct app *app, const struct plan *plan, const char *report);

#endif
