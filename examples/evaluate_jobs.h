/* evaluate_jobs.h - performs a plan's runs, each in a process of its own, several at once where memory allows.
 *
 * The model is loaded once and shared by all processes (a GPU cannot be shared that way: there each loads it).  A run that fails,
 * or is killed for want of memory, takes no other run with it.
 */
#ifndef AMMPL_EXAMPLES_EVALUATE_JOBS_H
#define AMMPL_EXAMPLES_EVALUATE_JOBS_H

#include "evaluate_run.h"

struct jobs_choice {
    int jobs; /* at once at most; 0 = one for each processor */
    struct run_extras extras;
};

/* All runs that are not done, into the journal.  False when one failed or Ctrl-C ended it: finished runs are in the journal. */
bool jobs_perform(struct app *app, const struct plan *plan, struct journal *journal, const struct jobs_choice *choice);

#endif
