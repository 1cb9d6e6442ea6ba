/* golden.h - a golden of one method: the model and the prompt it speaks of, its pictures, and its 12 batches. */
#ifndef AMMPL_TESTS_GOLDEN_H
#define AMMPL_TESTS_GOLDEN_H

#include "support.h"

#include <jansson.h>

#include "train/train.h"

enum { STEPS = 12, BATCH = 3, IMAGES = 7, MOST_CLASSES = 8, STEPS_PER_EPOCH = 3 };
static const double LOSSES = 1e-5, GRADIENTS = 1e-4, FINALS = 1e-4, LOGITS = 1e-5;

typedef struct fixture {
    const char *variant;
    ammpl_context *ctx;
    ammpli_st *st;
    ammpl_config *cfg;
    ammpl_model *model;
    ammpl_prompt *prompt; /* at the golden's initial values */
    ammpl_session *session;
    const char *names[MOST_CLASSES];
    json_t *classes;
    size_t C;
    float *images, *labels, *ids, *batches; /* batches [STEPS, BATCH], -1: fewer; NULL where nothing is learned */
    int64_t chw;
    uint64_t seed;
} fixture;

/* tests/golden/PREFIX_VARIANT.safetensors. */
/* memory_limit 1: the least that a step of the golden's batches can do with. */
void open_fixture(fixture *f, const char *prefix, const char *variant, int64_t memory_limit);
void close_fixture(fixture *f);
/* Forward and backward of the golden's batch at `step`, which lies in `epoch`; logits [BATCH,C] may be NULL. */
double run_batch(fixture *f, int step, int epoch, float *logits);
float *read_gradient(const fixture *f, size_t tensor); /* the caller frees it */
double norm_of(const float *x, int64_t n);
/* Prints a deviation as a TAP comment where AMMPL_TEST_SHOW is set: what the tolerances stand on. */
void seen(const fixture *f, const char *what, double deviation);
/* Fails the test unless every gradient is the golden's PREFIX.NAME to GRADIENTS of its size (at least 1e-4 of the largest one's). */
void check_gradients(const fixture *f, const char *prefix);
/* The golden's 12 updates: every rate, every loss, the final tensors. */
void check_training(fixture *f);

#endif
