/* test_memory.c - the caller's allocator: everything it gives comes back, and it may refuse at any moment. */
#include "api.h"

#include <pthread.h>

typedef struct counter {
    pthread_mutex_t lock;
    uint64_t blocks, bytes, peak, requests;
    uint64_t refuse_from; /* this request and all later ones get nothing; 0: none */
    int bad_release;
} counter;

static void *count_alloc(void *user, size_t size, size_t align)
{
    counter *c = user;
    void *p = NULL;
    pthread_mutex_lock(&c->lock);
    c->requests++;
    if (!(c->refuse_from && c->requests >= c->refuse_from) && posix_memalign(&p, align < 64 ? 64 : align, size + 64) == 0) {
        *(size_t *)p = size; /* in front: what release must say again */
        c->blocks++;
        c->bytes += size;
        c->peak = c->bytes > c->peak ? c->bytes : c->peak;
        p = (char *)p + 64;
    }
    pthread_mutex_unlock(&c->lock);
    return p;
}

static void count_release(void *user, void *ptr, size_t size)
{
    counter *c = user;
    char *block = (char *)ptr - 64;
    pthread_mutex_lock(&c->lock);
    c->bad_release += *(size_t *)(void *)block != size;
    c->blocks--;
    c->bytes -= size;
    pthread_mutex_unlock(&c->lock);
    free(block);
}

static ammpl_allocator counting(counter *c)
{
    *c = (counter){.lock = PTHREAD_MUTEX_INITIALIZER};
    return (ammpl_allocator){.struct_size = sizeof(ammpl_allocator), .user = c, .alloc = count_alloc, .release = count_release};
}

static void check_empty(const counter *c)
{
    ck_assert_msg(c->blocks == 0 && c->bytes == 0, "%llu blocks, %llu bytes were not released",
                  (unsigned long long)c->blocks, (unsigned long long)c->bytes);
    ck_assert_msg(c->bad_release == 0, "%d blocks were released with another size", c->bad_release);
}

/* Two pictures through a tape, with prompts before both blocks, and back to the pixels. */
static ammpl_status go_and_return(world *w, const float *pixels)
{
    enum { WIDTH = 28, TOKENS = 3 };
    static const float prompt[TOKENS * WIDTH], cotangent[2 * EMBED];
    static float out[2 * PIXELS];
    ammpl_image_input in = {.struct_size = sizeof in, .record = AMMPL_RECORD_ALL, .n = 2, .pixels = pixels};
    ammpl_tape *t;
    ammpl_status status = ammpl_tape_create(w->model, NULL, &t);
    if (status >= 0)
        status = ammpl_tape_begin_image(t, &in);
    if (status >= 0)
        status = ammpl_tape_insert(t, 0, prompt, TOKENS, 0, 1);
    if (status >= 0)
        status = ammpl_tape_run(t, 1);
    if (status >= 0)
        status = ammpl_tape_tokens(t, out, 2 * PIXELS);
    if (status >= 0)
        status = ammpl_tape_insert(t, 1, prompt, 1, 0, 0);
    if (status >= 0)
        status = ammpl_tape_finish(t, out, 2 * EMBED);
    if (status >= 0)
        status = ammpl_tape_backward(t, cotangent);
    if (status >= 0)
        status = ammpl_tape_gradient(t, AMMPL_GRADIENT_PIXELS, 0, out, 2 * PIXELS);
    ammpl_tape_destroy(t);
    return status;
}

/* Does a little of everything with a world. */
static ammpl_status use(world *w)
{
    static float pixels[2 * PIXELS];
    float logits[2 * CLASSES];
    ammpl_metrics metrics = {.struct_size = sizeof metrics};
    ammpl_status status = ammpl_model_preprocess(w->model, w->image, pixels, PIXELS);
    if (status >= 0)
        status = ammpl_session_predict(w->session, w->prompt, pixels, 2, logits, 2 * CLASSES);
    while (status == AMMPL_OK) /* to its end: nothing is read ahead then that nobody asks for */
        status = ammpl_trainer_step(w->trainer, NULL);
    if (status >= 0)
        status = ammpl_session_evaluate(w->session, w->prompt, w->data, w->config, NULL, NULL, NULL, &metrics);
    if (status >= 0)
        status = go_and_return(w, pixels);
    return status;
}

START_TEST(all_released)
{
    counter c;
    ammpl_allocator a = counting(&c);
    world w;
    ck_done(world_create(&w, &a));
    ck_done(use(&w));
    uint64_t now, peak;
    ck_done(ammpl_context_memory(w.ctx, &now, &peak));
    ck_assert_uint_gt(now, 0);
    ck_assert_uint_ge(peak, now);
    ck_assert_uint_le(now, c.bytes);
    ck_assert_uint_le(peak, c.peak);
    /* All but the context itself is in the figure. */
    ck_assert_uint_lt(c.bytes - now, 4096);
    world_destroy(&w);
    check_empty(&c);
}
END_TEST

/* What ammpl_session_plan says is what the allocator sees, to 5 %; and a limit below it is kept, or refused by number. */
START_TEST(plan_and_limit)
{
    static float pixels[2 * PIXELS];
    static const int32_t label[2] = {0, 2};
    counter c;
    ammpl_allocator a = counting(&c);
    world w;
    uint64_t planned, before, limited;
    double loss;
    ammpl_session *s;
    ammpl_batch batch = {.struct_size = sizeof batch, .n = 2, .pixels = pixels, .label = label};
    ck_done(world_create(&w, &a));
    ck_done(ammpl_model_preprocess(w.model, w.image, pixels, PIXELS));
    ck_done(ammpl_session_plan(w.session, w.prompt, 2, AMMPL_PLAN_ACCUMULATE, &planned));
    before = c.peak = c.bytes;
    ck_done(ammpl_session_create(w.model, NULL, &s));
    ck_done(ammpl_session_accumulate(s, w.prompt, &batch, &loss, NULL));
    ck_assert_msg(20 * (c.peak - before) <= 21 * planned && 20 * (c.peak - before) >= 19 * planned, "%llu bytes planned, %llu taken",
                  (unsigned long long)planned, (unsigned long long)(c.peak - before));
    ammpl_session_destroy(s);

    ck_done(ammpl_config_set_int(w.config, AMMPL_OPT_MEMORY_LIMIT, (int64_t)planned - 1));
    ck_done(ammpl_session_create(w.model, w.config, &s));
    ck_done(ammpl_session_plan(s, w.prompt, 2, AMMPL_PLAN_ACCUMULATE, &limited));
    ck_assert_uint_lt(limited, planned);
    ck_done(ammpl_session_accumulate(s, w.prompt, &batch, &loss, NULL));
    ammpl_session_destroy(s);
    ck_done(ammpl_config_set_int(w.config, AMMPL_OPT_MEMORY_LIMIT, 5000));
    ck_done(ammpl_session_create(w.model, w.config, &s));
    ck_is(ammpl_session_accumulate(s, w.prompt, &batch, &loss, NULL), AMMPL_E_MEMORY, "memory_limit = 5000");
    ck_is(ammpl_session_encode_images(s, NULL, pixels, 2, pixels, PIXELS), AMMPL_E_MEMORY, "memory_limit = 5000");
    ammpl_session_destroy(s);
    world_destroy(&w);
    check_empty(&c);
}
END_TEST

/* Parents first: children hold them. */
START_TEST(any_order)
{
    counter c;
    ammpl_allocator a = counting(&c);
    world w;
    ck_done(world_create(&w, &a));
    ammpl_context_destroy(w.ctx);
    ammpl_config_destroy(w.config);
    ammpl_model_destroy(w.model);
    ammpl_dataset_destroy(w.data);
    ammpl_prompt_destroy(w.prompt);
    ammpl_session_destroy(w.session);
    ck_done(ammpl_optimizer_set_epoch(w.optimizer, 0));
    ck_done(ammpl_trainer_step(w.trainer, NULL)); /* everything it needs is still there */
    ammpl_optimizer_destroy(w.optimizer);
    ammpl_trainer_destroy(w.trainer);
    ck_assert_int_eq(ammpl_image_width(w.image), 20);
    ammpl_image_destroy(w.image);
    check_empty(&c);
}
END_TEST

/* Nothing at all from the k-th request on, for growing k: each time AMMPL_E_MEMORY, and everything comes back. */
START_TEST(refused)
{
    counter c;
    ammpl_allocator a = counting(&c);
    world w;
    ck_done(world_create(&w, &a));
    ck_done(use(&w));
    const uint64_t requests = c.requests;
    world_destroy(&w);
    for (uint64_t k = 1; k <= requests; k++) {
        a = counting(&c);
        c.refuse_from = k;
        ammpl_status status = world_create(&w, &a);
        if (status >= 0)
            status = use(&w);
        ck_assert_msg(status == AMMPL_E_MEMORY, "request %llu of %llu refused: %s (%s)", (unsigned long long)k,
                      (unsigned long long)requests, ammpl_status_name(status), ammpl_last_error());
        ck_assert_str_ne(ammpl_last_error(), "");
        world_destroy(&w);
        check_empty(&c);
    }
}
END_TEST

/* A training step that ran out of memory changed nothing: tried again until it is done, a run ends in the same bits. */
START_TEST(retried)
{
    counter c;
    ammpl_allocator a = counting(&c);
    world calm, hard;
    ck_done(world_create(&calm, NULL));
    ck_done(world_create(&hard, &a));
    int refusals = 0;
    for (int step = 0; step < 4; step++) {
        ck_done(ammpl_trainer_step(calm.trainer, NULL));
        for (uint64_t k = 1;; k++) {
            c.refuse_from = c.requests + k;
            ammpl_status status = ammpl_trainer_step(hard.trainer, NULL);
            if (status == AMMPL_OK)
                break;
            ck_assert_msg(status == AMMPL_E_MEMORY, "%s (%s)", ammpl_status_name(status), ammpl_last_error());
            refusals++;
        }
        c.refuse_from = 0;
    }
    ck_assert_int_ge(refusals, 8);
    ck_is(ammpl_trainer_step(hard.trainer, NULL), AMMPL_END, "");
    for (size_t i = 0; i < ammpl_prompt_tensor_count(calm.prompt); i++) {
        static float x[1 << 16], y[1 << 16];
        ammpl_tensor_info info = {.struct_size = sizeof info};
        ck_done(ammpl_prompt_tensor_describe(calm.prompt, i, &info));
        ck_done(ammpl_prompt_tensor_read(calm.prompt, i, x, 1 << 16));
        ck_done(ammpl_prompt_tensor_read(hard.prompt, i, y, 1 << 16));
        ck_assert_msg(memcmp(x, y, info.count * sizeof *x) == 0, "%s differs after %d refusals", info.name, refusals);
    }
    world_destroy(&calm);
    world_destroy(&hard);
    check_empty(&c);
}
END_TEST

TCase *case_memory(void)
{
    TCase *tc = tcase_create("memory");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, all_released);
    tcase_add_test(tc, plan_and_limit);
    tcase_add_test(tc, any_order);
    tcase_add_test(tc, refused);
    tcase_add_test(tc, retried);
    return tc;
}
