/* evaluate_run.h - one run: few-shot picks, training, tests, and a line of JSON for each test. */
#ifndef AMMPL_EXAMPLES_EVALUATE_RUN_H
#define AMMPL_EXAMPLES_EVALUATE_RUN_H

#include "evaluate_plan.h"

struct run_extras {
    const char *keep;    /* folder for the trained prompts; NULL: they are not kept */
    int snapshots;       /* with keep: also the prompt before training and so many times on the way */
    const char *report;  /* folder of the report: there go the snapshots of runs that are pictured */
};
enum { FIGURE_SNAPSHOTS = 2 };

/* Told now and then how much of the run is done, 0..1. */
typedef void (*run_share_fn)(void *user, double share);

/* Needs app->model and app->session.  The lines go to out. */
bool run_perform(struct app *app, const struct plan *plan, const struct run *run, const struct run_extras *extras, FILE *out,
                 run_share_fn fn, void *user);
/* "REPORT/masks/PROTOCOL-DATASET/step-N.safetensors", for step -1 that folder; free() it. */
char *run_figure_path(const struct run *run, const char *protocol, const char *report, long long step);
/* "FOLDER/ammpl-objects-4-1.safetensors" or "...-stepN.safetensors"; free() it. */
char *run_prompt_path(const struct run *run, const char *protocol, const char *folder, long long step);

#endif
