/* test_gradients.c - AMMPL's gradients against finite differences of its own loss (differences.h), with the mask draws frozen.
 *
 * P has no such derivative (the draw is 0 or 1).  Its straight-through rules are derivatives of something else, which
 * evaluation = expected computes: at P = the drawn masks the picture r I + (1 - r) pad is the drawn one, and its derivative
 * with respect to r is what mask_gradient = blend states; without padding it is hadamard's, too.  With padding, hadamard's sum
 * over kept patches is the derivative with respect to that patch's brightness.  (Hadamard at masked, padded patches is left to
 * the goldens.)
 */
#include "differences.h"
#include "train/nano.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double TOLERANCE = 2e-3;      /* measured: 4e-4 at most, 1.2e-3 with the 16-wide kernels */
static const double MASK_TOLERANCE = 1e-2; /* differences of one side, next to LayerNorm's bend: measured 3e-3 */
enum { DIRECTIONS = 6, SEED = 21, STEP = 3, PATCHES = 9 };
static const int32_t label[NANO_IMAGES] = {0, 1, 2, 0, 1, 2, 1};

static ammpl_batch batch_of(const float *pixels, size_t n)
{
    return (ammpl_batch){.struct_size = sizeof(ammpl_batch), .n = n, .pixels = pixels, .label = label, .seed = SEED, .step = STEP};
}

static double training_loss(nano *n, const float *pixels, size_t images)
{
    float logits[NANO_IMAGES * NANO_CLASSES];
    double loss;
    ammpl_batch batch = batch_of(pixels, images);
    ck_ok(ammpli_session_accumulate(n->session, n->prompt, &batch, &loss, logits));
    double mine = differences_cross_entropy(logits, label, images, NANO_CLASSES);
    ck_assert_double_eq_tol(loss, mine, 1e-5 * (1 + fabs(mine)));
    return mine;
}

/* ---- everything but P ---- */

typedef struct pictures {
    nano *n;
    const float *pixels;
} pictures;

static double loss_of_all(void *user)
{
    const pictures *p = user;
    return training_loss(p->n, p->pixels, NANO_IMAGES);
}

static const char *const variants[][9] = {{"scope", "shared", NULL},
                                          {"scope", "class", NULL},
                                          {"scope", "shared", "order", "simultaneous", NULL},
                                          {"scope", "class", "order", "simultaneous", NULL},
                                          {"scope", "shared", "draws", "image", NULL},
                                          {"scope", "class", "interaction", "off", NULL},
                                          {"scope", "shared", "interaction", "off", NULL},
                                          {"scope", "class", "padding", "off", NULL},
                                          {"scope", "shared", "mask", "off", NULL},
                                          {"scope", "class", "mask", "off", NULL},
                                          {"scope", "shared", "mask", "off", "interaction", "off", NULL}};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

static void open_variant(nano *n, const char *const *options)
{
    nano_open(n, options);
    /* A third of the patches masked, and weights large enough to be felt: f_T and f_I start small. */
    for (size_t t = 0; t < n->prompt->tensors; t++) {
        ammpli_tensor *tensor = &n->prompt->tensor[t];
        if (strcmp(tensor->name, "ctx") == 0)
            continue;
        bool prob = strcmp(tensor->name, "mask_prob") == 0, bias = strstr(tensor->name, "linear1.bias") != NULL;
        float *value = malloc((size_t)tensor->count * sizeof *value);
        for (int64_t i = 0; i < tensor->count; i++) /* the hidden units' biases keep them away from the ReLU's corner */
            value[i] = (float)(prob ? 0.65 + 0.05 * nano_normal(7, (uint32_t)i) : bias ? 2 : 0.3 * nano_normal((uint32_t)t + 50, (uint32_t)i));
        ck_ok(ammpli_prompt_write(n->prompt, t, value));
        free(value);
    }
}

START_TEST(parameters)
{
    nano n;
    open_variant(&n, variants[_i]);
    float *pixels = nano_pixels(&n);
    pictures all = {&n, pixels};
    differences d = {.prompt = n.prompt, .loss = loss_of_all, .user = &all, .directions = DIRECTIONS};
    differences_open(&d);
    for (size_t t = 0; t < n.prompt->tensors; t++) {
        const char *name = n.prompt->tensor[t].name;
        ck_assert_msg(d.norm[t] > 1e-4, "%s has no gradient", name);
        if (strcmp(name, "mask_prob") == 0)
            continue;
        double error = differences_error(&d, t);
        ck_assert_msg(error <= TOLERANCE, "%s: differences are %.3g off (|gradient| %.3g)", name, error, d.norm[t]);
    }
    differences_close(&d);
    free(pixels);
    nano_close(&n);
}
END_TEST

/* ---- P ---- */

/* The masks that accumulate draws for image 0: one per class in class scope, one for all with draws = image. */
static size_t drawn_masks(const nano *n, bool per_class, float *mask)
{
    const ammpl_prompt *p = n->prompt;
    size_t rows = per_class ? NANO_CLASSES : 1;
    int32_t pi[NANO_CLASSES] = {0, 1, 2};
    uint32_t id[NANO_CLASSES] = {0}, hash[NANO_CLASSES] = {0};
    for (size_t i = 0; per_class && i < rows; i++)
        hash[i] = p->class_hash[i];
    ck_ok(p->ops->mask_draw(p->stream, mask, ammpli_prompt_find(p, "mask_prob")->value, pi, hash, id, SEED, AMMPLI_DRAW_MASK, STEP,
                            AMMPL_MASK_SAMPLE, (int64_t)rows, PATCHES));
    return rows;
}

static double expected_loss(nano *n, const float *pixels, size_t tensor, const float *prob)
{
    float logits[NANO_CLASSES];
    ck_ok(ammpli_prompt_write(n->prompt, tensor, prob));
    ck_ok(ammpli_session_predict(n->session, n->prompt, pixels, 1, logits));
    return differences_cross_entropy(logits, label, 1, NANO_CLASSES);
}

static const char *const mask_variants[][9] = {
    {"mask_gradient", "blend", "scope", "class", NULL},
    {"mask_gradient", "blend", "scope", "class", "interaction", "off", NULL},
    {"mask_gradient", "blend", "scope", "class", "order", "simultaneous", NULL},
    {"mask_gradient", "blend", "scope", "shared", "draws", "image", NULL},
    {"mask_gradient", "blend", "scope", "shared", "draws", "image", "interaction", "off", NULL},
    {"mask_gradient", "hadamard", "scope", "class", "interaction", "off", "padding", "off", NULL},
    {"mask_gradient", "hadamard", "scope", "shared", "draws", "image", "padding", "off"}};
enum { MASK_VARIANTS = sizeof mask_variants / sizeof mask_variants[0] };

START_TEST(mask_gradient)
{
    const char *options[12] = {0};
    for (int i = 0; i < 9 && mask_variants[_i][i]; i++)
        options[i] = mask_variants[_i][i];
    if (_i == MASK_VARIANTS - 1) { /* two words too many for the table */
        options[8] = "interaction";
        options[9] = "off";
    }
    bool per_class = strcmp(mask_variants[_i][3], "class") == 0;
    nano n;
    open_variant(&n, options);
    float *pixels = nano_pixels(&n), mask[NANO_CLASSES * PATCHES], gradient[NANO_CLASSES * PATCHES], prob[NANO_CLASSES * PATCHES];
    size_t rows = drawn_masks(&n, per_class, mask), tensor = (size_t)(ammpli_prompt_find(n.prompt, "mask_prob") - n.prompt->tensor);
    ck_assert_int_eq(n.prompt->tensor[tensor].count, (int64_t)rows * PATCHES);
    ck_ok(ammpli_prompt_zero_gradients(n.prompt));
    double drawn = training_loss(&n, pixels, 1);
    ck_ok(ammpli_prompt_gradient_read(n.prompt, tensor, gradient));
    ck_ok(ammpli_config_set_text(n.prompt->config, "evaluation", "expected"));
    memcpy(prob, mask, rows * PATCHES * sizeof *mask);
    ck_assert_double_eq_tol(expected_loss(&n, pixels, tensor, prob), drawn, 1e-5 * (1 + drawn)); /* the very same pictures */
    double d2 = 0, g2 = 0, masked2 = 0;
    for (size_t j = 0; j < rows * PATCHES; j++) {
        /* From the edge of 0..1 inwards: differences of fourth order, of one side. */
        static const double weight[5] = {-25.0 / 12, 4, -3, 4.0 / 3, -1.0 / 4};
        double h = 0.005, sum = 0, inwards = mask[j] == 0 ? 1 : -1;
        for (int k = 0; k < 5; k++) {
            prob[j] = (float)((double)mask[j] + inwards * k * h);
            sum += weight[k] * expected_loss(&n, pixels, tensor, prob);
        }
        prob[j] = mask[j];
        double difference = inwards * sum / h, error = difference - (double)gradient[j];
        d2 += error * error;
        g2 += (double)gradient[j] * (double)gradient[j];
        masked2 += mask[j] == 0 ? (double)gradient[j] * (double)gradient[j] : 0;
    }
    ck_assert_msg(masked2 > 0.01 * g2 && masked2 < 0.999 * g2, "masked patches have %.3g of the gradient's %.3g", masked2, g2);
    ck_assert_msg(sqrt(d2 / g2) <= MASK_TOLERANCE, "differences are %.3g off (|gradient| %.3g)", sqrt(d2 / g2), sqrt(g2));
    free(pixels);
    nano_close(&n);
}
END_TEST

/* hadamard with padding: over the classes that keep patch j, P's gradients add up to the derivative with respect to a factor on
 * the pixels of patch j, which the pads and the other classes do not see.
 */
START_TEST(brightness)
{
    const char *options[] = {"scope", "class", "order", _i ? "simultaneous" : "text_first", NULL};
    nano n;
    open_variant(&n, options);
    float *pixels = nano_pixels(&n), mask[NANO_CLASSES * PATCHES], gradient[NANO_CLASSES * PATCHES];
    drawn_masks(&n, true, mask);
    ck_ok(ammpli_prompt_zero_gradients(n.prompt));
    training_loss(&n, pixels, 1);
    ck_ok(ammpli_prompt_gradient_read(n.prompt, (size_t)(ammpli_prompt_find(n.prompt, "mask_prob") - n.prompt->tensor), gradient));
    size_t R = 15, q = 5;
    double d2 = 0, g2 = 0;
    for (size_t j = 0; j < PATCHES; j++) {
        double sum = 0, loss[5];
        for (size_t i = 0; i < NANO_CLASSES; i++)
            sum += mask[i * PATCHES + j] == 1 ? (double)gradient[i * PATCHES + j] : 0;
        for (int k = -2; k <= 2; k++) {
            float *scaled = malloc(3 * R * R * sizeof *scaled);
            memcpy(scaled, pixels, 3 * R * R * sizeof *scaled);
            for (size_t c = 0; c < 3; c++)
                for (size_t y = 0; y < q; y++)
                    for (size_t x = 0; x < q; x++)
                        scaled[(c * R + j / 3 * q + y) * R + j % 3 * q + x] *= 1 + 0.05f * (float)k;
            loss[k + 2] = training_loss(&n, scaled, 1);
            free(scaled);
        }
        double difference = (loss[0] - 8 * loss[1] + 8 * loss[3] - loss[4]) / (12 * 0.05);
        d2 += (difference - sum) * (difference - sum);
        g2 += sum * sum;
    }
    ck_assert_msg(sqrt(d2 / g2) <= TOLERANCE, "differences are %.3g off (|gradient| %.3g)", sqrt(d2 / g2), sqrt(g2));
    free(pixels);
    nano_close(&n);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gradients");
    TCase *c = tcase_create("differences");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, parameters, 0, VARIANTS);
    tcase_add_loop_test(c, mask_gradient, 0, MASK_VARIANTS);
    tcase_add_loop_test(c, brightness, 0, 2);
    suite_add_tcase(s, c);
    return test_main(s);
}
