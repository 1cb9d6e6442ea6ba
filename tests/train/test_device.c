/* test_device.c - training and inference on a device as a whole: rounded products, what a steady step asks of the runtime, memory
 * that runs out.
 *
 *     test_device      on the emulated device, without judging accesses; $AMMPL_TEST_BACKEND names another one
 */
#include "learner.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clip/tower.h"
#include "io/derived_model.h"

enum { STEPS = 12, TEXTS = 3 };
cuda_emu_configure_fn configure;
cuda_emu_refuse_captures_fn refuse_captures;
cuda_emu_counted_fn counted;
cuda_emu_fail_fn fail_at;

/* ---- rounded products ---- */

/* Measured on the emulated device (nearest rounding): features 1.4e-3, 1.0e-2 and 1.4e-3, losses of 12 steps 7.1e-3, 6.3e-2 and
 * 7.1e-3: the random weights of nano-odd are not kind.  Bounds have a factor of about four, for other orders of a sum and TF32 that is
 * cut instead of rounded. */
static const struct {
    const char *name;
    double least, features, losses; /* relative */
} precisions[] = {{"f32", 0, 1e-5, 1e-4}, {"tf32", 1e-5, 6e-3, 3e-2}, {"bf16", 1e-4, 4e-2, 2e-1}, {"f16", 1e-5, 6e-3, 3e-2}};

START_TEST(features)
{
    static const char *const texts[TEXTS] = {"a photo of a cat.", "the red ox", "fox"};
    learner cpu, device;
    open_learner(&cpu, false, "f32", "coop");
    open_learner(&device, true, precisions[_i].name, "coop");
    int64_t E = cpu.model->embed;
    float *want = malloc((size_t)(BATCH * E) * sizeof *want), *got = malloc((size_t)(BATCH * E) * sizeof *got);
    size_t n = (size_t)(BATCH * E);
    double off[2];
    ck_ok(ammpl_session_encode_images(cpu.session, NULL, cpu.pixels, BATCH, want, n));
    ck_ok(ammpl_session_encode_images(device.session, NULL, device.pixels, BATCH, got, n));
    off[0] = test_difference(got, want, (int64_t)n, 1e-30);
    ck_ok(ammpl_session_encode_texts(cpu.session, texts, TEXTS, want, n));
    ck_ok(ammpl_session_encode_texts(device.session, texts, TEXTS, got, n));
    off[1] = test_difference(got, want, (int64_t)n, 1e-30);
    printf("# %s: features of images off by %.2g, of texts by %.2g\n", precisions[_i].name, off[0], off[1]);
    for (int i = 0; i < 2; i++) {
        ck_assert_msg(off[i] <= precisions[_i].features, "%s: features off by %.3g", precisions[_i].name, off[i]);
        ck_assert_msg(!configure || off[i] >= precisions[_i].least, "%s: features off by %.3g only: nothing was rounded", precisions[_i].name, off[i]);
    }
    free(want);
    free(got);
    close_learner(&device);
    close_learner(&cpu);
}
END_TEST

/* Losses of 12 steps beside the CPU's; what is learned stays float32. */
START_TEST(training)
{
    const char *method = methods[_i % METHODS];
    int kind = _i / METHODS;
    learner cpu, device;
    double worst = 0, first = 0;
    open_learner(&cpu, false, "f32", method);
    open_learner(&device, true, precisions[kind].name, method);
    for (uint32_t i = 0; i < STEPS; i++) {
        double want = step(&cpu, i), got = step(&device, i);
        first = i == 0 ? want : first;
        worst = fmax(worst, fabs(got - want) / fabs(want));
        ck_assert_msg(worst <= precisions[kind].losses, "%s, %s: loss %d is %.7g, the CPU's %.7g", method, precisions[kind].name, (int)i, got, want);
        ck_assert_msg(i + 1 < STEPS || fabs(want - first) > 1e-3 * first, "%s: nothing was learned", method);
    }
    printf("# %s, %s: losses off by %.2g\n", method, precisions[kind].name, worst);
    close_learner(&device);
    close_learner(&cpu);
}
END_TEST

/* ---- pictures of many patches ---- */

/* Features of three pictures of 50 tokens, two heads of 64, and the gradients of their patches and of two prompts before each block. */
enum { LONG_GRID = 7, LONG_PATCH = 3, LONG_WIDTH = 128, LONG_LAYERS = 3, LONG_JOINT = 33, LONG_SIDE = LONG_GRID * LONG_PATCH,
       LONG_PROMPTS = 2 };
static const int64_t LONG_PATCHES = BATCH * LONG_GRID * LONG_GRID * LONG_WIDTH, LONG_PROMPT = LONG_PROMPTS * LONG_WIDTH;

static uint64_t long_pass(bool device, bool prompts, float *feature /*[BATCH,LONG_JOINT]*/, float *gradient /*[LONG_PATCHES+LONG_LAYERS*LONG_PROMPT]*/)
{
    ammpl_context *ctx = test_context();
    const model_sizes sizes = {.text_width = 64, .text_layers = 1, .length = 77, .image_width = LONG_WIDTH, .image_layers = LONG_LAYERS,
                               .patch = LONG_PATCH, .grid = LONG_GRID, .joint = LONG_JOINT, .device = device ? test_device(ctx) : NULL};
    ammpl_model *m = sized_model(ctx, &sizes);
    ammpli_engine e;
    ammpli_image_run run;
    float host[BATCH * 3 * LONG_SIDE * LONG_SIDE], cotangent[BATCH * LONG_JOINT], *x, *token, *out, *dout, *dtoken;
    float *prompt[LONG_LAYERS], *dprompt[LONG_LAYERS];
    const ammpli_visual deep = {LONG_PROMPTS, (const float *const *)prompt, false}, *visual = prompts ? &deep : NULL;
    for (size_t i = 0; i < sizeof host / sizeof *host; i++)
        host[i] = (float)nano_normal(7, (uint32_t)i);
    for (size_t i = 0; i < sizeof cotangent / sizeof *cotangent; i++)
        cotangent[i] = (float)nano_normal(8, (uint32_t)i);
    uint64_t before = counted ? counted()->products : 0;
    ck_ok(ammpli_engine_open(&e, m));
    ck_ok(ammpli_take_copy(&e, host, sizeof host / sizeof *host, &x));
    ck_ok(ammpli_take_copy(&e, cotangent, BATCH * LONG_JOINT, &dout));
    ck_ok(ammpli_take_floats(&e, LONG_PATCHES, &token));
    ck_ok(ammpli_take_floats(&e, LONG_PATCHES, &dtoken));
    ck_ok(ammpli_take_floats(&e, BATCH * LONG_JOINT, &out));
    for (int i = 0; i < LONG_LAYERS; i++) {
        ck_ok(ammpli_take_copy(&e, host + i * LONG_PROMPT, LONG_PROMPT, &prompt[i]));
        ck_ok(ammpli_take_zeros(&e, LONG_PROMPT, &dprompt[i]));
    }
    ck_ok(ammpli_patch_embed(&e, x, BATCH, token));
    ck_ok(ammpli_image_forward(&e, &run, token, BATCH, visual, true, out));
    ck_ok(ammpli_image_backward(&e, &run, dout, dtoken, visual, prompts ? dprompt : NULL));
    ck_ok(e.ops->download(e.stream, feature, out, BATCH * LONG_JOINT * sizeof *feature));
    ck_ok(e.ops->download(e.stream, gradient, dtoken, (size_t)LONG_PATCHES * sizeof *gradient));
    for (int i = 0; i < LONG_LAYERS; i++)
        ck_ok(e.ops->download(e.stream, gradient + LONG_PATCHES + i * LONG_PROMPT, dprompt[i], (size_t)LONG_PROMPT * sizeof *gradient));
    ammpli_engine_close(&e);
    ammpl_model_destroy(m);
    ammpl_context_destroy(ctx);
    return counted ? counted()->products - before : 0;
}

/* Attention by products over all heads (attention_equal.cu) is for pictures larger than nano's: a tower of such, beside the CPU's, without
 * and with prompts, which stand in front of all pictures but in the last block. */
START_TEST(many_patches)
{
    bool prompts = _i % 2;
    int64_t prompted = prompts ? LONG_LAYERS * LONG_PROMPT : 0, gradients = LONG_PATCHES + LONG_LAYERS * LONG_PROMPT;
    float want[BATCH * LONG_JOINT], got[BATCH * LONG_JOINT];
    float *want_gradient = malloc((size_t)gradients * sizeof *want_gradient), *gradient = malloc((size_t)gradients * sizeof *gradient);
    if (configure)
        configure((uint64_t)_i / 2, (size_t)1 << 30, 1);
    long_pass(false, prompts, want, want_gradient);
    uint64_t products = long_pass(true, prompts, got, gradient);
    double off[3] = {test_difference(got, want, BATCH * LONG_JOINT, 1e-30), test_difference(gradient, want_gradient, LONG_PATCHES, 1e-30),
                     prompts ? test_difference(gradient + LONG_PATCHES, want_gradient + LONG_PATCHES, prompted, 1e-30) : 0};
    printf("# %d pictures of %d tokens%s: features off by %.2g, gradients by %.2g, of prompts by %.2g; %d products\n", BATCH,
           LONG_GRID * LONG_GRID + 1, prompts ? " and 2 prompts" : "", off[0], off[1], off[2], (int)products);
    ck_assert_msg(off[0] <= 1e-5 && off[1] <= 1e-4 && off[2] <= 1e-4, "features off by %.3g, gradients by %.3g and %.3g", off[0], off[1], off[2]);
    /* Of a block's linear layers 4 each way; of its attention at least 2 and 5. */
    ck_assert_msg(!counted || products >= LONG_LAYERS * (8 + 7), "%d products: attention made none", (int)products);
    free(want_gradient);
    free(gradient);
}
END_TEST

START_TEST(the_cpu_rounds_nothing)
{
    ammpl_context *ctx = test_context();
    ammpl_config *cfg;
    ammpl_model *m;
    ck_ok(ammpl_config_create(ctx, &cfg));
    ck_ok(ammpl_config_set_text(cfg, "precision", precisions[1 + _i].name));
    ck_status(ammpl_model_load_file(ctx, NULL, test_golden("nano-odd"), cfg, &m), AMMPL_E_UNSUPPORTED, "precision");
    ck_assert_ptr_null(m);
    ammpl_config_destroy(cfg);
    ammpl_context_destroy(ctx);
}
END_TEST

/* ---- a steady step ---- */

/* From the third step on nothing is allocated or freed, and the host waits no more often than results are read. */
static const char *const held[] = {"f32", "bf16", "f16"}; /* how weights are held */
START_TEST(steady)
{
    const char *method = methods[_i % METHODS];
    learner l;
    cuda_emu_counts before, after;
    configure((uint64_t)_i, (size_t)1 << 30, 1);
    open_learner(&l, true, held[_i / METHODS], method);
    for (uint32_t i = 0; i < 3; i++)
        step(&l, i);
    before = *counted();
    enum { TIMES = 4 };
    for (uint32_t i = 3; i < 3 + TIMES; i++)
        step(&l, i);
    after = *counted();
    ck_assert_uint_eq(after.allocations, before.allocations);
    double waits = (double)(after.waits - before.waits) / TIMES, reads = (double)(after.downloads - before.downloads) / TIMES;
    ck_assert_msg(reads <= 5, "%s reads %g results a step", method, reads);
    printf("# %s: %.1f graphs, %.1f launches, %.1f products, %.1f copies (%.1f to the host) and %.1f waits a step\n", method,
           (double)(after.graphs - before.graphs) / TIMES,
           (double)(after.launches - before.launches) / TIMES, (double)(after.products - before.products) / TIMES,
           (double)(after.copies - before.copies) / TIMES, reads, waits);
    /* The ends of zero_gradients, accumulate and optimizer_step: what they wrote may go to another stream. */
    ck_assert_msg(waits <= reads + 3, "%s waits %g times a step, and reads %g results", method, waits, reads);
    close_learner(&l);
}
END_TEST

/* ---- graphs ---- */

/* What differs from step to step - pixels, masks drawn anew, learning rates, AdamW's count of steps - goes through graphs as well: with
 * and without them the same bits.  The most graphs that a step may start are those seen.  LARGE pictures are more bytes than
 * graphs took once, 64 KiB. */
enum { LARGE = 39 };
static const struct {
    const char *method, *optimizer;
    size_t n;
    uint64_t alone; /* operations outside of graphs in a step, at most */
} graphed[] = {{"coop", "sgd", BATCH, 9}, {"coop", "adamw", BATCH, 9}, {"maple", "adamw", BATCH, 3}, {"ammpl", "sgd", BATCH, 4},
               {"ammpl", "adamw", BATCH, 4}, {"coop", "adamw", LARGE, 9}};
enum { GRAPHED = sizeof graphed / sizeof *graphed };

START_TEST(changing_steps)
{
    learner with, without;
    enum { TIMES = 6 };
    configure((uint64_t)_i, (size_t)1 << 30, 1);
    open_larger(&with, true, "f32", graphed[_i].method, graphed[_i].optimizer, graphed[_i].n);
    open_larger(&without, true, "f32", graphed[_i].method, graphed[_i].optimizer, graphed[_i].n);
    uint64_t started = 0, alone = UINT64_MAX, first = 0;
    for (uint32_t i = 0; i < TIMES; i++) {
        double loss[2];
        for (size_t k = 0; k < with.n * with.chw; k++)
            without.pixels[k] = with.pixels[k] = with.pixels[k] * 0.875f + 0.01f * (float)i;
        for (size_t g = 0; g < ammpl_optimizer_group_count(with.optimizer); g++) {
            ck_ok(ammpl_optimizer_set_learning_rate(with.optimizer, g, 0.01 / (1 + i)));
            ck_ok(ammpl_optimizer_set_learning_rate(without.optimizer, g, 0.01 / (1 + i)));
        }
        uint64_t before = counted()->graphs, alone_before = counted()->alone;
        loss[0] = step(&with, i);
        uint64_t now = counted()->alone - alone_before;
        first = i == 0 ? now : first;
        if (now < alone) { /* AMMPL's shapes follow its masks: some steps are new */
            alone = now;
            started = counted()->graphs - before;
        }
        refuse_captures(1);
        before = counted()->graphs;
        loss[1] = step(&without, i);
        ck_assert_uint_eq(counted()->graphs, before);
        refuse_captures(0);
        ck_assert_msg(memcmp(&loss[0], &loss[1], sizeof loss[0]) == 0, "step %d: loss %.9g, without graphs %.9g", (int)i, loss[0], loss[1]);
    }
    ck_assert(same_tensors(&with, &without));
    printf("# %s, %s, %d pictures: %d graphs a step, %d operations beside them; %d in the first\n", graphed[_i].method, graphed[_i].optimizer,
           (int)with.n, (int)started, (int)alone, (int)first);
    ck_assert_msg(started >= 1 && alone <= graphed[_i].alone, "%d graphs, %d operations beside them", (int)started, (int)alone);
    close_learner(&without);
    close_learner(&with);
}
END_TEST

/* What is asked for again is launched as a graph: the first time, without one, gives the same bits. */
START_TEST(graphs)
{
    static const char *const all[] = {"coop", "cocoop", "maple", "vpt", "vp", "dpt", "ammpl"};
    learner l;
    float first[BATCH * NANO_CLASSES], logits[BATCH * NANO_CLASSES];
    enum { TIMES = 5 };
    configure((uint64_t)_i, (size_t)1 << 30, 1);
    open_learner(&l, true, "f32", all[_i % (int)(sizeof all / sizeof *all)]);
    uint64_t before = counted()->graphs;
    double loss = 0;
    for (int i = 0; i < TIMES; i++) { /* without a step: the same loss and gradients every time */
        ammpl_batch batch = {.struct_size = sizeof batch, .n = BATCH, .pixels = l.pixels, .label = l.label, .seed = 3};
        double now = 0;
        ck_ok(ammpl_prompt_zero_gradients(l.prompt));
        ck_ok(ammpl_session_accumulate(l.session, l.prompt, &batch, &now, logits));
        if (i == 0) {
            loss = now;
            memcpy(first, logits, sizeof first);
        }
        ck_assert_msg(now == loss, "time %d: loss %.9g, at first %.9g", i, now, loss);
        ck_assert_int_eq(memcmp(first, logits, sizeof first), 0);
        for (size_t t = 0; t < l.prompt->tensors; t++) {
            static float *gradient[64];
            size_t n = (size_t)l.prompt->tensor[t].count;
            float *got = malloc(n * sizeof *got);
            ck_ok(ammpl_prompt_gradient_read(l.prompt, t, got, n));
            if (i == 0)
                gradient[t] = got;
            ck_assert_msg(memcmp(gradient[t], got, n * sizeof *got) == 0, "time %d: gradient of %s", i, l.prompt->tensor[t].name);
            if (i > 0)
                free(got);
            if (i == TIMES - 1)
                free(gradient[t]);
        }
    }
    uint64_t steps = counted()->graphs - before;
    for (int i = 0; i < TIMES; i++) {
        ck_ok(ammpl_session_predict(l.session, l.prompt, l.pixels, BATCH, logits, BATCH * NANO_CLASSES));
        if (i == 0)
            memcpy(first, logits, sizeof first);
        ck_assert_int_eq(memcmp(first, logits, sizeof first), 0);
    }
    printf("# %s: %d graphs in %d steps, %d in as many predictions\n", l.prompt->method->name, (int)steps, TIMES,
           (int)(counted()->graphs - before - steps));
    ck_assert_msg(steps >= TIMES - 2 && counted()->graphs - before - steps >= TIMES - 2, "nothing became a graph");
    close_learner(&l);
}
END_TEST

int main(void)
{
    setenv("AMMPL_TEST_BACKEND", TEST_PLUGIN, 0);
    setenv("AMMPL_TEST_UNJUDGED", "1", 0);
    ammpl_context *ctx;
    if (ammpli_context_create(NULL, &ctx) == AMMPL_OK) {
        if (ammpli_backend_load(ctx, getenv("AMMPL_TEST_BACKEND")) == AMMPL_OK) {
            void *module = dlopen(getenv("AMMPL_TEST_BACKEND"), RTLD_NOW | RTLD_NOLOAD);
            void *symbols[] = {dlsym(module, "cuda_emu_configure"), dlsym(module, "cuda_emu_counted"), dlsym(module, "cuda_emu_fail"),
                               dlsym(module, "cuda_emu_refuse_captures")};
            memcpy(&configure, &symbols[0], sizeof configure);
            memcpy(&counted, &symbols[1], sizeof counted);
            memcpy(&fail_at, &symbols[2], sizeof fail_at);
            memcpy(&refuse_captures, &symbols[3], sizeof refuse_captures);
        }
        ammpli_context_release(ctx);
    }
    Suite *s = suite_create("device");
    TCase *c = tcase_create("device"), *g = tcase_create("graphs");
    tcase_set_timeout(c, 120);
    tcase_set_timeout(g, 120);
    int kinds = sizeof precisions / sizeof *precisions;
    tcase_add_loop_test(c, features, 0, kinds);
    tcase_add_loop_test(c, training, 0, kinds * METHODS);
    tcase_add_loop_test(c, many_patches, 0, configure ? 6 : 2);
    tcase_add_loop_test(c, the_cpu_rounds_nothing, 0, kinds - 1);
    if (configure) {
        tcase_add_loop_test(c, steady, 0, METHODS * (int)(sizeof held / sizeof *held));
        tcase_add_loop_test(g, changing_steps, 0, GRAPHED);
        tcase_add_loop_test(g, graphs, 0, 9);
        suite_add_tcase(s, g);
        add_failures(s);
        add_memory(s);
    }
    suite_add_tcase(s, c);
    return test_main(s);
}
