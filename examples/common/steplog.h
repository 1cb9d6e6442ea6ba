/* steplog.h - the JSONL log of a training run: one object per step, one (without the key "step") per epoch. */
#ifndef AMMPL_EXAMPLES_STEPLOG_H
#define AMMPL_EXAMPLES_STEPLOG_H

#include <stdbool.h>
#include <stdio.h>

#include <ammpl/ammpl.h>

struct step_log {
    FILE *file;   /* NULL: nothing is logged */
    bool resumed; /* the file's lines from the first new step on are to be dropped */
    int error;    /* errno of the first failure */
};

/* path NULL: a log that keeps nothing.  resumed: goes on in the file that is there. */
bool step_log_open(struct step_log *log, const char *path, bool resumed);
bool step_log_write(struct step_log *log, const ammpl_progress *progress);
bool step_log_close(struct step_log *log);
const char *step_log_error(const struct step_log *log);

#endif
