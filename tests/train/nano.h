/* nano.h - a small training run on the nano model: three classes, seven generated pictures, everything made afresh. */
#ifndef AMMPL_TESTS_NANO_H
#define AMMPL_TESTS_NANO_H

#include "support.h"
#include "train/train.h"

enum { NANO_IMAGES = 7, NANO_CLASSES = 3, NANO_BATCH = 3, NANO_EPOCHS = 4 };
extern const char *const nano_names[NANO_CLASSES];

typedef struct nano {
    ammpl_context *ctx;
    ammpl_model *model;
    ammpl_config *cfg;
    ammpl_dataset *data;
    ammpl_prompt *prompt;
    ammpl_session *session;
    ammpl_trainer *trainer; /* NULL until nano_trainer */
    ammpl_method method;
} nano;

/* AMMPL on golden/nano.  options: pairs "name", "value", ended by NULL; on top of 4 epochs of batches of 3, lr 0.05, seed 11. */
void nano_open(nano *n, const char *const *options);
/* The same with another method, on another of golden's models. */
void nano_open_method(nano *n, const char *model, ammpl_method method, const char *const *options);
void nano_close(nano *n);
/* Another prompt, session and trainer on the same model and data: as a new process would make them. */
void nano_restart(nano *n);
void nano_trainer(nano *n);
void nano_steps(nano *n, int64_t steps);
/* Fails the test unless two reports of one step say the same, but for the time it took. */
void nano_check_progress(const ammpl_progress *a, const ammpl_progress *b);
/* A whole run of so many steps, then again from each of its steps: the same reports and bits.  No trainer yet; one is left at step 2. */
void nano_resume_everywhere(nano *n, int64_t steps, const char *what);
/* Smooth random pixels, the same for the same number. */
ammpl_image *nano_picture(ammpl_context *ctx, uint32_t number);
void nano_add_pictures(ammpl_dataset *data, int n);
/* The bytes of the prompt as a file (malloc). */
char *nano_bytes(const ammpl_prompt *p, size_t *size);
bool nano_same(const ammpl_prompt *a, const ammpl_prompt *b);
/* All pictures as in evaluation (malloc). */
float *nano_pixels(const nano *n);
/* Logits of all pictures under a prompt (malloc) [7,C]. */
float *nano_logits(nano *n, const ammpl_prompt *p);
void nano_set(nano *n, const char *name, const char *value);
/* Normal numbers, the same for the same pair every time. */
double nano_normal(uint32_t which, uint32_t i);
/* Copies the values of tensors that both have. */
void nano_copy_values(ammpl_prompt *to, const ammpl_prompt *from);

#endif
