/* learner.h - one learner on nano-odd, on a device or the CPU; what the files of test_device share. */
#ifndef AMMPL_TESTS_LEARNER_H
#define AMMPL_TESTS_LEARNER_H

#include "cuda_emu/control.h"
#include "nano.h"

enum { BATCH = 3, METHODS = 3 };
extern const char *const methods[METHODS]; /* coop, maple, ammpl */
extern cuda_emu_configure_fn configure; /* these are NULL on a real device */
extern cuda_emu_refuse_captures_fn refuse_captures;
extern cuda_emu_counted_fn counted;
extern cuda_emu_fail_fn fail_at;

typedef struct learner {
    ammpl_context *ctx;
    ammpl_model *model;
    ammpl_session *session;
    ammpl_prompt *prompt;
    ammpl_optimizer *optimizer;
    ammpl_config *cfg;
    size_t n; /* pictures */
    float *pixels;
    int32_t *label;
    size_t chw;
    uint64_t before; /* bytes that the context held without all of this */
} learner;

void open_larger(learner *l, bool device, const char *precision, const char *method, const char *optimizer, size_t n);
void open_learner(learner *l, bool device, const char *precision, const char *method); /* SGD, BATCH pictures */
/* Prompt, optimizer and session anew, on the same model. */
void restart_learner(learner *l);
void close_learner(learner *l); /* nothing is left over */
/* Gradients of a batch and an update; its loss. */
ammpl_status gradients(learner *l, uint32_t number, double *loss);
double step(learner *l, uint32_t number);
bool same_tensors(const learner *a, const learner *b);
float *values_of(const learner *l); /* of all tensors, one after the other (malloc) */
size_t values_bytes(const learner *l);
void put_values(learner *l, const float *x);

/* device_failures.c, device_memory.c */
void add_failures(Suite *to);
void add_memory(Suite *to);

#endif
