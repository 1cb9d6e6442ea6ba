/* progress.h - how far a training run or an evaluation is, and Ctrl-C.
 *
 * On a terminal a bar on standard error; where standard output is a file or a pipe, a line there for each epoch.
 */
#ifndef AMMPL_EXAMPLES_PROGRESS_H
#define AMMPL_EXAMPLES_PROGRESS_H

#include <stdbool.h>

#include <ammpl/ammpl.h>

/* Shows one finished step of training. */
void progress_training(const ammpl_progress *progress);
/* An ammpl_progress_fn for ammpl_session_evaluate; `user` is the word before the bar. */
int32_t progress_evaluation(void *user, const ammpl_progress *progress);
/* Shows how much of several runs is done: `share` of all, 0..1; seconds_left below 0 where that is not known. */
void progress_share(const char *before, size_t done, size_t all, double share, double seconds_left);
/* Takes the bar off the terminal, so that a line can be written. */
void progress_clear(void);
/* Nothing of the above shows from now on. */
void progress_silence(void);

/* The first Ctrl-C (or SIGTERM) asks this session to stop after its present batch, the second one ends the program.  This
 * holds for a program in the background too, although a shell starts it with SIGINT ignored. */
void interrupt_watch(ammpl_session *session);
bool interrupt_seen(void);

#endif
