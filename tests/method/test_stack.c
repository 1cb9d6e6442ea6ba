/* test_stack.c - the 64 KiB of stack that ammpl.h asks of a caller's thread (musl gives one 128 KiB): what programs do with the library
 * on such a thread, whose stack begins behind memory that nobody may touch.
 *
 * The stack is painted, so that what was used is counted, not only survived.
 */
#include "kinds.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "data/image.h"

/* Instrumented code has frames of another size: there it only has to run. */
#if defined(__SANITIZE_ADDRESS__)
enum { STACK = 4 << 20, MOST = STACK };
#else
enum { STACK = 64 << 10, MOST = 48 << 10 /* the rest is the caller's own, and another libc's */ };
#endif
enum { GUARD = 4 << 20 /* more than any frame: whoever goes below the stack is seen */, PAINT = 0xa5 };

/* Runs fn(arg) on such a stack; how many bytes of it were used. */
static size_t on_small_stack(void *(*fn)(void *arg), void *arg)
{
    uint8_t *block = mmap(NULL, GUARD + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *stack = block + GUARD;
    ck_assert(block != MAP_FAILED && mprotect(block, GUARD, PROT_NONE) == 0);
    memset(stack, PAINT, STACK);
    pthread_attr_t attr;
    pthread_t thread;
    ck_assert_int_eq(pthread_attr_init(&attr), 0);
    ck_assert_int_eq(pthread_attr_setstack(&attr, stack, STACK), 0);
    ck_assert_int_eq(pthread_create(&thread, &attr, fn, arg), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attr);
    size_t untouched = 0;
    while (untouched < STACK && stack[untouched] == PAINT)
        untouched++;
    munmap(block, GUARD + STACK);
    return STACK - untouched;
}

static void check_used(const char *what, size_t used)
{
    printf("# %s: %zu KiB of stack\n", what, used >> 10);
    ck_assert_msg(used <= MOST, "%s uses %zu bytes of its caller's stack", what, used);
}

/* ---- a method's life: a model loaded, steps, files, predictions ---- */

typedef struct life {
    const kind *kind; /* NULL: AMMPL */
    int threads;      /* the caller's is one of them */
} life;

static void live(const life *l, nano *n)
{
    static const char *const ammpl[] = {"scope", "class", NULL};
    ammpl_prompt *again;
    const char *file = test_temp("prompt");
    if (l->kind)
        kind_open(n, l->kind, NULL);
    else
        nano_open_method(n, "nano-odd", AMMPL_METHOD_AMMPL, ammpl);
    ck_ok(ammpli_context_set_threads(n->ctx, l->threads));
    nano_trainer(n);
    nano_steps(n, 4); /* an epoch and one more */
    ck_ok(ammpli_trainer_save(n->trainer, test_temp("state")));
    ck_ok(ammpli_prompt_save_file(n->prompt, file, true));
    ck_ok(ammpli_prompt_load_file(n->model, file, NULL, &again));
    free(nano_logits(n, again));
    ammpli_prompt_release(again);
    nano_close(n);
}

static void *live_on_thread(void *arg)
{
    nano *n = malloc(sizeof *n);
    live(arg, n);
    free(n);
    return NULL;
}

START_TEST(methods)
{
    life l = {_i / 2 < KINDS ? &kinds[_i / 2] : NULL, _i % 2 ? 2 : 1};
    check_used(l.kind ? l.kind->name : "ammpl", on_small_stack(live_on_thread, &l));
}
END_TEST

/* Weights in F16 are widened while they are used. */
static void *half_on_thread(void *arg)
{
    ammpl_context *ctx = test_context();
    ammpl_config *cfg;
    ammpl_model *m;
    ammpl_session *s;
    static const char *const texts[] = {"a photo of a cat.", "a photo"};
    ck_ok(ammpli_config_create(ctx, &cfg));
    ck_ok(ammpli_config_set_text(cfg, "vocab", test_golden("nano")));
    ck_ok(ammpli_config_set_text(cfg, "weights", "f16"));
    ck_ok(ammpli_model_load_file(ctx, test_device(ctx), test_golden("nano-f16"), cfg, &m));
    ck_ok(ammpli_session_create(m, cfg, &s));
    float *z = malloc(2 * (size_t)m->embed * sizeof *z);
    ck_ok(ammpli_session_encode_texts(s, texts, 2, z));
    free(z);
    ammpli_session_release(s);
    ammpli_model_release(m);
    ammpli_config_destroy(cfg);
    ammpli_context_release(ctx);
    return arg;
}

START_TEST(half)
{
    check_used("weights in F16", on_small_stack(half_on_thread, NULL));
}
END_TEST

/* ---- pictures: libjpeg and libpng work on the caller's stack, too ---- */

static void *decode_on_thread(void *arg)
{
    static const ammpli_preprocess pre = {.size = 24, .std = {1, 1, 1}};
    float *chw = malloc(3 * 24 * 24 * sizeof *chw);
    ammpl_context *ctx = test_context();
    ammpl_image *img;
    ck_ok(ammpli_image_load(ctx, test_golden(arg), &img));
    ck_ok(ammpli_preprocess_test(&pre, img, chw));
    ck_ok(ammpli_preprocess_train(&pre, img, 1, 2, 3, chw));
    ck_ok(ammpli_image_save_png(img, test_temp("copy.png")));
    ammpli_image_destroy(img);
    ammpli_context_release(ctx);
    free(chw);
    return NULL;
}

START_TEST(pictures)
{
    static char files[][40] = {"images/420.jpg", "images/grey-progressive.jpg", "images/cmyk.jpg", "images/adam7-rgba16.png"};
    check_used(files[_i], on_small_stack(decode_on_thread, files[_i]));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stack");
    TCase *c = tcase_create("stack");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, methods, 0, 2 * (KINDS + 1));
    tcase_add_test(c, half);
    tcase_add_loop_test(c, pictures, 0, 4);
    suite_add_tcase(s, c);
    return test_main(s);
}
