/* test_tape.c - the towers in the caller's hands: passes with prefixes, slots, prompts and reads against PyTorch in float64
 * (tests/golden/tape.safetensors), and the equalities that a tape promises.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* nano-odd */
enum { E = 17, l = 14, W = 20, GRID = 6, R = 12, P = GRID * GRID, N = P + 1, PIXELS = 3 * R * R };
/* the golden text pass */
enum { TEXTS = 4, L = 7, PREFIX = 3, SLOTS = 2, ROWS = PREFIX + L };
static const int32_t length[TEXTS] = {5, 2, 7, 4};
/* the golden image pass */
enum { IMAGES = 3 };
/* Measured: 5e-7 for results, 1.3e-6 for gradients. */
static const double RESULTS = 1e-5, GRADIENTS = 1e-4;

typedef struct fixture {
    ammpl_context *ctx;
    ammpl_model *model;
    ammpl_tape *tape;
    ammpli_st *golden;
} fixture;

static void set_up(fixture *f)
{
    f->ctx = test_context();
    ck_ok(ammpl_model_load_file(f->ctx, test_device(f->ctx), test_golden("nano-odd"), NULL, &f->model));
    ck_ok(ammpl_tape_create(f->model, NULL, &f->tape));
    ck_ok(ammpli_st_open(f->ctx, test_golden("tape.safetensors"), &f->golden));
}

static void tear_down(fixture *f)
{
    ammpl_tape_destroy(f->tape);
    ammpl_model_destroy(f->model);
    ammpli_st_close(f->golden);
    ammpl_context_destroy(f->ctx);
}

/* A golden tensor of that many numbers, freed by the caller. */
static float *golden(const fixture *f, const char *name, int64_t count)
{
    int64_t n;
    float *value = test_tensor(f->golden, name, &n);
    ck_assert_msg(n == count, "%s has %lld numbers, not %lld", name, (long long)n, (long long)count);
    return value;
}

static void check(const fixture *f, const char *name, const float *got, int64_t count, double bound)
{
    float *want = golden(f, name, count);
    double d = test_difference(got, want, count, 1e-30);
    ck_assert_msg(d <= bound, "%s: relative difference %.3g, at most %.1g", name, d, bound);
    free(want);
}

static void check_gradient(const fixture *f, int32_t what, size_t index, const char *name, size_t count)
{
    float *got = malloc((count + 1) * sizeof *got);
    ck_ok(ammpl_tape_gradient(f->tape, what, index, got, count));
    check(f, name, got, (int64_t)count, GRADIENTS);
    ck_status(ammpl_tape_gradient(f->tape, what, index, got, count - 1), AMMPL_E_BUFFER, "room for");
    free(got);
}

/* ---- against PyTorch ---- */

static void begin_text(const fixture *f, int32_t record)
{
    float *rows = golden(f, "text_rows", TEXTS * L * l), *prefix = golden(f, "text_prefix", PREFIX * l);
    ammpl_text_input in = {.struct_size = sizeof in, .record = record, .n = TEXTS, .L = L, .rows = rows, .length = length,
                           .prefix = prefix, .prefix_rows = PREFIX, .slot_first = 1, .slots = SLOTS};
    ck_ok(ammpl_tape_begin_text(f->tape, &in));
    free(rows);
    free(prefix);
}

static void insert(const fixture *f, int32_t block, const char *name, size_t count, bool own, bool before_ln, bool text)
{
    float *prompt = golden(f, name, (int64_t)((own ? (text ? TEXTS : IMAGES) : 1) * count) * (text ? l : W));
    ck_ok(ammpl_tape_insert(f->tape, block, prompt, count, own, before_ln));
    free(prompt);
}

static void read_and_seed(const fixture *f, size_t number, const char *name, size_t count)
{
    char cotangent[64];
    float *got = malloc(count * sizeof *got), *d;
    ck_ok(ammpl_tape_tokens(f->tape, got, count));
    check(f, name, got, (int64_t)count, RESULTS);
    snprintf(cotangent, sizeof cotangent, "d_%s", name);
    d = golden(f, cotangent, (int64_t)count);
    /* What stands behind a sequence's end is nobody's, and seeds add up. */
    for (size_t i = 0; i < count; i++)
        d[i] *= 0.25f;
    ck_ok(ammpl_tape_seed(f->tape, number, d, count));
    for (size_t i = 0; i < count; i++)
        d[i] *= 3;
    ck_ok(ammpl_tape_seed(f->tape, number, d, count));
    free(got);
    free(d);
}

static void finish_and_back(const fixture *f, const char *name, int64_t n)
{
    char cotangent[64];
    float *feature = malloc((size_t)(n * E) * sizeof *feature), *d;
    ck_ok(ammpl_tape_finish(f->tape, feature, (size_t)(n * E)));
    check(f, name, feature, n * E, RESULTS);
    snprintf(cotangent, sizeof cotangent, "d_%s", name);
    d = golden(f, cotangent, n * E);
    ck_ok(ammpl_tape_backward(f->tape, d));
    free(feature);
    free(d);
}

START_TEST(text)
{
    fixture f;
    set_up(&f);
    for (int round = 0; round < 2; round++) { /* the second time on used memory */
        begin_text(&f, AMMPL_RECORD_ALL);
        if (round == 1)
            insert(&f, 2, "text_prompt.1", SLOTS, true, false, true); /* ahead of time */
        ck_ok(ammpl_tape_run(f.tape, 1));
        read_and_seed(&f, 0, "text_tokens.0", TEXTS * ROWS * l);
        insert(&f, 1, "text_prompt.0", SLOTS, false, false, true);
        ck_ok(ammpl_tape_run(f.tape, 2));
        read_and_seed(&f, 1, "text_tokens.1", TEXTS * ROWS * l);
        if (round == 0)
            insert(&f, 2, "text_prompt.1", SLOTS, true, false, true);
        finish_and_back(&f, "text_features", TEXTS);
        check_gradient(&f, AMMPL_GRADIENT_ROWS, 0, "grad_text_rows", TEXTS * L * l);
        check_gradient(&f, AMMPL_GRADIENT_PREFIX, 0, "grad_text_prefix", PREFIX * l);
        check_gradient(&f, AMMPL_GRADIENT_PROMPT, (size_t)(round == 0 ? 0 : 1), "grad_text_prompt.0", SLOTS * l);
        check_gradient(&f, AMMPL_GRADIENT_PROMPT, (size_t)(round == 0 ? 1 : 0), "grad_text_prompt.1", TEXTS * SLOTS * l);
    }
    tear_down(&f);
}
END_TEST

static void image_pass(const fixture *f, int32_t record)
{
    float *pixels = golden(f, "pixels", IMAGES * PIXELS);
    ammpl_image_input in = {.struct_size = sizeof in, .record = record, .n = IMAGES, .pixels = pixels};
    ck_ok(ammpl_tape_begin_image(f->tape, &in));
    free(pixels);
    insert(f, 0, "image_prompt.0", 2, false, true, false);
    ck_ok(ammpl_tape_run(f->tape, 1));
    read_and_seed(f, 0, "image_tokens.0", IMAGES * (N + 2) * W);
    insert(f, 1, "image_prompt.1", 3, true, false, false);
    ck_ok(ammpl_tape_run(f->tape, 3));
    read_and_seed(f, 1, "image_tokens.1", IMAGES * (N + 3) * W);
    insert(f, 3, "image_prompt.2", 3, false, false, false);
    ck_ok(ammpl_tape_insert(f->tape, 4, NULL, 0, 0, 0));
    finish_and_back(f, "image_features", IMAGES);
    check_gradient(f, AMMPL_GRADIENT_PROMPT, 0, "grad_image_prompt.0", 2 * W);
    check_gradient(f, AMMPL_GRADIENT_PROMPT, 1, "grad_image_prompt.1", IMAGES * 3 * W);
    check_gradient(f, AMMPL_GRADIENT_PROMPT, 2, "grad_image_prompt.2", 3 * W);
}

START_TEST(image)
{
    fixture f;
    set_up(&f);
    image_pass(&f, AMMPL_RECORD_ALL);
    check_gradient(&f, AMMPL_GRADIENT_PIXELS, 0, "grad_pixels", IMAGES * PIXELS);
    image_pass(&f, AMMPL_RECORD_PROMPTS); /* the first of them stands before block 0: all is recorded */
    check_gradient(&f, AMMPL_GRADIENT_PIXELS, 0, "grad_pixels", IMAGES * PIXELS);
    tear_down(&f);
}
END_TEST

START_TEST(losses)
{
    fixture f;
    enum { n = 4, C = 5 };
    static const int32_t label[n] = {2, 0, 4, 2}, id[] = {3, 0, 200, 3};
    float logits[n * C], dlogits[n * C], dx[n * E], dz[C * E], embedded[4 * l];
    double loss;
    ammpl_session *s;
    set_up(&f);
    ck_ok(ammpl_session_create(f.model, NULL, &s));
    float *x = golden(&f, "x", n * E), *z = golden(&f, "z", C * E);
    ck_ok(ammpl_session_similarity(s, x, n, z, C, logits, n * C));
    check(&f, "logits", logits, n * C, RESULTS);
    ck_ok(ammpl_session_cross_entropy(s, logits, label, n, C, 0.3, &loss, dlogits, n * C));
    check(&f, "grad_logits", dlogits, n * C, GRADIENTS);
    float *want = golden(&f, "loss", 1);
    ck_assert_double_eq_tol(loss, (double)*want, 1e-5 * (double)*want);
    ck_ok(ammpl_session_similarity_backward(s, x, n, z, C, dlogits, dx, dz));
    check(&f, "grad_x", dx, n * E, GRADIENTS);
    check(&f, "grad_z", dz, C * E, GRADIENTS);
    float alone[C * E];
    ck_ok(ammpl_session_similarity_backward(s, x, n, z, C, dlogits, NULL, alone));
    ck_assert_mem_eq(alone, dz, sizeof dz);
    ck_ok(ammpl_session_similarity_backward(s, x, n, z, C, dlogits, alone, NULL));
    ck_assert_mem_eq(alone, dx, sizeof dx);
    double mean;
    ck_ok(ammpl_session_cross_entropy(s, logits, label, n, C, 0, &mean, NULL, 0));
    ck_assert_double_eq_tol(mean, loss / 0.3 / n, 1e-6 * mean);
    ck_ok(ammpl_session_embed_tokens(s, id, 4, embedded, 4 * l));
    check(&f, "embedded", embedded, 4 * l, RESULTS);
    /* Any length: the same cosines, up to where its square is no float32. */
    float longer[n * E], far[n * C];
    for (int i = 0; i < n * E; i++)
        longer[i] = x[i] * (i / E % 2 ? 0x1p-40f : 0x1p50f);
    ck_ok(ammpl_session_similarity(s, longer, n, z, C, far, n * C));
    ck_assert_mem_eq(far, logits, sizeof far);
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < E; i++)
            longer[2 * E + i] = x[2 * E + i] * (k ? 0x1p-70f : 0x1p70f);
        ck_status(ammpl_session_similarity(s, longer, n, z, C, far, n * C), AMMPL_E_NUMERIC, "feature 2 of x");
        ck_status(ammpl_session_similarity_backward(s, z, C, longer, n, dlogits, dx, NULL), AMMPL_E_NUMERIC, "feature 2 of z");
    }
    memset(x, 0, E * sizeof *x);
    ck_status(ammpl_session_similarity(s, x, n, z, C, logits, n * C), AMMPL_E_NUMERIC, "zero");
    ck_status(ammpl_session_cross_entropy(s, logits, (const int32_t[]){0, 1, 5, 0}, n, C, 0, &loss, NULL, 0), AMMPL_E_LABEL, "5");
    ck_assert(loss == 0);
    ck_status(ammpl_session_embed_tokens(s, (const int32_t[]){0, 540}, 2, embedded, 4 * l), AMMPL_E_RANGE, "540");
    ck_status(ammpl_session_embed_tokens(s, (const int32_t[]){-1}, 1, embedded, 4 * l), AMMPL_E_RANGE, "-1");
    free(x);
    free(z);
    free(want);
    ammpl_session_destroy(s);
    tear_down(&f);
}
END_TEST

/* ---- equalities ---- */

/* Plain texts through a tape are the session's features, and blocks may be run in any parts. */
START_TEST(plain)
{
    fixture f;
    ammpl_session *s;
    static const char *const texts[] = {"a photo of a cat.", "a red dog", ""};
    enum { n = 3, PLACES = 12 };
    static float rows[n][PLACES][l], feature[n * E], parts[n * E], want[n * E];
    int32_t len[n];
    set_up(&f);
    ck_ok(ammpl_session_create(f.model, NULL, &s));
    for (int i = 0; i < n; i++) {
        int32_t ids[PLACES];
        size_t need;
        ck_ok(ammpl_model_tokenize(f.model, texts[i], ids, PLACES, &need));
        ck_ok(ammpl_session_embed_tokens(s, ids, need, &rows[i][0][0], PLACES * l));
        len[i] = (int32_t)need;
    }
    ammpl_text_input in = {.struct_size = sizeof in, .n = n, .L = PLACES, .rows = &rows[0][0][0], .length = len};
    ck_ok(ammpl_tape_begin_text(f.tape, &in));
    ck_ok(ammpl_tape_finish(f.tape, feature, n * E));
    in.record = AMMPL_RECORD_ALL;
    ck_ok(ammpl_tape_begin_text(f.tape, &in));
    ck_ok(ammpl_tape_run(f.tape, 1));
    ck_ok(ammpl_tape_run(f.tape, 1));
    ck_ok(ammpl_tape_run(f.tape, 2));
    ck_ok(ammpl_tape_finish(f.tape, parts, n * E));
    ck_assert_mem_eq(parts, feature, sizeof parts);
    ck_ok(ammpl_session_encode_texts(s, texts, n, want, n * E));
    for (int i = 0; i < n; i++) {
        double norm = 0;
        for (int j = 0; j < E; j++)
            norm += (double)feature[i * E + j] * (double)feature[i * E + j];
        for (int j = 0; j < E; j++)
            feature[i * E + j] /= (float)__builtin_sqrt(norm);
    }
    ck_assert_double_le(test_difference(feature, want, n * E, 1e-30), 1e-6);
    /* The same rows, with the first (SOT) as a prefix; and one sequence alone. */
    static float tail[n][PLACES - 1][l];
    for (int i = 0; i < n; i++) {
        memcpy(tail[i], rows[i][1], sizeof tail[i]);
        len[i]--;
    }
    ammpl_text_input cut = {.struct_size = sizeof cut, .n = n, .L = PLACES - 1, .rows = &tail[0][0][0], .length = len,
                            .prefix = &rows[0][0][0], .prefix_rows = 1};
    ck_ok(ammpl_tape_begin_text(f.tape, &cut));
    ck_ok(ammpl_tape_finish(f.tape, feature, n * E));
    ck_assert_mem_eq(parts, feature, sizeof parts);
    cut.n = 1;
    cut.rows = &tail[1][0][0];
    cut.length = &len[1];
    ck_ok(ammpl_tape_begin_text(f.tape, &cut));
    ck_ok(ammpl_tape_finish(f.tape, feature, n * E));
    ck_assert_mem_eq(parts + E, feature, E * sizeof *feature);
    ammpl_session_destroy(s);
    tear_down(&f);
}
END_TEST

/* A prefix is what the same rows before every sequence are: shared, and where each sequence gets prompts of its own in it. */
START_TEST(prefix_or_rows)
{
    fixture f;
    static float whole[TEXTS][ROWS][l], tokens[2][TEXTS * ROWS * l], feature[2][TEXTS * E], prompt[2][TEXTS * SLOTS * l];
    static float rows_grad[TEXTS][ROWS][l], tail_grad[TEXTS][L][l], prefix_grad[PREFIX][l], sum[PREFIX][l];
    const bool own = _i == 1;
    const size_t prompts = (own ? TEXTS : 1) * SLOTS * l;
    int32_t longer[TEXTS];
    set_up(&f);
    float *rows = golden(&f, "text_rows", TEXTS * L * l), *prefix = golden(&f, "text_prefix", PREFIX * l);
    float *d = golden(&f, "d_text_features", TEXTS * E), *dtokens = golden(&f, "d_text_tokens.1", TEXTS * ROWS * l);
    for (int i = 0; i < TEXTS; i++) {
        memcpy(whole[i], prefix, PREFIX * l * sizeof(float));
        memcpy(whole[i][PREFIX], rows + i * L * l, L * l * sizeof(float));
        longer[i] = PREFIX + length[i];
    }
    for (int way = 0; way < 2; way++) {
        ammpl_text_input in = {.struct_size = sizeof in, .record = AMMPL_RECORD_ALL, .n = TEXTS, .L = way ? ROWS : L,
                               .rows = way ? &whole[0][0][0] : rows, .length = way ? longer : length, .prefix = way ? NULL : prefix,
                               .prefix_rows = way ? 0 : PREFIX, .slot_first = 2, .slots = SLOTS}; /* the second lies behind the prefix */
        ck_ok(ammpl_tape_begin_text(f.tape, &in));
        insert(&f, 1, own ? "text_prompt.1" : "text_prompt.0", SLOTS, own, false, true);
        ck_ok(ammpl_tape_run(f.tape, 2));
        ck_ok(ammpl_tape_tokens(f.tape, tokens[way], TEXTS * ROWS * l));
        ck_ok(ammpl_tape_seed(f.tape, 0, dtokens, TEXTS * ROWS * l));
        ck_ok(ammpl_tape_finish(f.tape, feature[way], TEXTS * E));
        ck_ok(ammpl_tape_backward(f.tape, d));
        ck_ok(ammpl_tape_gradient(f.tape, AMMPL_GRADIENT_PROMPT, 0, prompt[way], prompts));
        ck_ok(ammpl_tape_gradient(f.tape, AMMPL_GRADIENT_ROWS, 0, way ? &rows_grad[0][0][0] : &tail_grad[0][0][0],
                                  TEXTS * (way ? ROWS : L) * l));
        if (way == 0)
            ck_ok(ammpl_tape_gradient(f.tape, AMMPL_GRADIENT_PREFIX, 0, &prefix_grad[0][0], PREFIX * l));
    }
    ck_assert_mem_eq(feature[0], feature[1], sizeof feature[0]);
    ck_assert_mem_eq(tokens[0], tokens[1], sizeof tokens[0]);
    for (int i = 0; i < TEXTS; i++) {
        for (int j = 0; j < PREFIX * l; j++)
            ((float *)sum)[j] += ((float *)rows_grad[i])[j];
        memmove(rows_grad[i], rows_grad[i][PREFIX], L * l * sizeof(float));
    }
    for (int i = 1; i < TEXTS; i++)
        memmove(&rows_grad[0][0][0] + i * L * l, rows_grad[i], L * l * sizeof(float));
    /* Measured: 3e-7. */
    ck_assert_double_le(test_difference(prompt[0], prompt[1], (int64_t)prompts, 1e-30), 1e-5);
    ck_assert_double_le(test_difference(&tail_grad[0][0][0], &rows_grad[0][0][0], TEXTS * L * l, 1e-30), 1e-5);
    ck_assert_double_le(test_difference(&prefix_grad[0][0], &sum[0][0], PREFIX * l, 1e-30), 1e-5);
    free(rows);
    free(prefix);
    free(d);
    free(dtokens);
    tear_down(&f);
}
END_TEST

/* Blocks that nothing learned enters need not run again: from the tokens before block 2 everything is the same, and what is
 * recorded for prompts alone gives their gradients. */
START_TEST(from_tokens)
{
    fixture f;
    static float tokens[IMAGES * N * W], whole[IMAGES * E], feature[IMAGES * E], grad[3][2 * W], dtokens[2][IMAGES * N * W];
    set_up(&f);
    float *pixels = golden(&f, "pixels", IMAGES * PIXELS), *d = golden(&f, "d_image_features", IMAGES * E);
    for (int way = 0; way < 3; way++) {
        ammpl_image_input in = {.struct_size = sizeof in, .record = way == 1 ? AMMPL_RECORD_PROMPTS : AMMPL_RECORD_ALL, .n = IMAGES,
                                .pixels = way < 2 ? pixels : NULL, .tokens = way < 2 ? NULL : tokens, .block = way < 2 ? 0 : 2};
        ck_ok(ammpl_tape_begin_image(f.tape, &in));
        if (way == 0) {
            ck_ok(ammpl_tape_run(f.tape, 2));
            ck_ok(ammpl_tape_tokens(f.tape, tokens, IMAGES * N * W));
            memset(dtokens, 0, sizeof dtokens);
            ck_ok(ammpl_tape_seed(f.tape, 0, dtokens[0], IMAGES * N * W));
        }
        insert(&f, 2, "image_prompt.0", 2, false, false, false);
        ck_ok(ammpl_tape_finish(f.tape, feature, IMAGES * E));
        if (way == 0)
            memcpy(whole, feature, sizeof whole);
        ck_assert_mem_eq(feature, whole, sizeof whole);
        ck_ok(ammpl_tape_backward(f.tape, d));
        ck_ok(ammpl_tape_gradient(f.tape, AMMPL_GRADIENT_PROMPT, 0, grad[way], 2 * W));
        ck_assert_mem_eq(grad[way], grad[0], sizeof grad[0]);
        if (way == 1)
            ck_status(ammpl_tape_gradient(f.tape, AMMPL_GRADIENT_PIXELS, 0, tokens, IMAGES * PIXELS), AMMPL_E_STATE, "PROMPTS");
        if (way == 2) {
            ck_ok(ammpl_tape_gradient(f.tape, AMMPL_GRADIENT_ROWS, 0, dtokens[1], IMAGES * N * W));
            ck_status(ammpl_tape_gradient(f.tape, AMMPL_GRADIENT_PIXELS, 0, tokens, IMAGES * PIXELS), AMMPL_E_STATE, "without");
        }
    }
    /* What the tokens' gradient is, the way below them gives to the pixels: as if nothing had been cut. */
    static float one[IMAGES * PIXELS], two[IMAGES * PIXELS];
    ammpl_image_input in = {.struct_size = sizeof in, .record = AMMPL_RECORD_ALL, .n = IMAGES, .pixels = pixels};
    ck_ok(ammpl_tape_begin_image(f.tape, &in));
    insert(&f, 2, "image_prompt.0", 2, false, false, false);
    ck_ok(ammpl_tape_finish(f.tape, feature, IMAGES * E));
    ck_ok(ammpl_tape_backward(f.tape, d));
    ck_ok(ammpl_tape_gradient(f.tape, AMMPL_GRADIENT_PIXELS, 0, one, IMAGES * PIXELS));
    ck_ok(ammpl_tape_begin_image(f.tape, &in));
    ck_ok(ammpl_tape_run(f.tape, 2));
    ck_ok(ammpl_tape_tokens(f.tape, tokens, IMAGES * N * W));
    ck_ok(ammpl_tape_seed(f.tape, 0, dtokens[1], IMAGES * N * W));
    ck_ok(ammpl_tape_backward(f.tape, NULL)); /* not finished: what was read is all there is */
    ck_ok(ammpl_tape_gradient(f.tape, AMMPL_GRADIENT_PIXELS, 0, two, IMAGES * PIXELS));
    ck_assert_mem_eq(one, two, sizeof one);
    free(pixels);
    free(d);
    tear_down(&f);
}
END_TEST

START_TEST(threads)
{
    static float grad[2][IMAGES * PIXELS];
    for (int k = 0; k < 2; k++) {
        fixture f;
        set_up(&f);
        ck_ok(ammpl_context_set_threads(f.ctx, k == 0 ? 1 : 3));
        image_pass(&f, AMMPL_RECORD_ALL);
        ck_ok(ammpl_tape_gradient(f.tape, AMMPL_GRADIENT_PIXELS, 0, grad[k], IMAGES * PIXELS));
        tear_down(&f);
    }
    ck_assert_mem_eq(grad[0], grad[1], sizeof grad[0]);
}
END_TEST

/* ---- memory, states, arguments ---- */

START_TEST(memory)
{
    fixture f;
    ammpl_config *cfg;
    uint64_t all, none, two;
    set_up(&f);
    ck_ok(ammpl_tape_plan(f.model, AMMPL_TOWER_IMAGE, IMAGES, N, AMMPL_RECORD_ALL, &all));
    ck_ok(ammpl_tape_plan(f.model, AMMPL_TOWER_IMAGE, IMAGES, N, AMMPL_RECORD_NONE, &none));
    ck_ok(ammpl_tape_plan(f.model, AMMPL_TOWER_IMAGE, 2, N, AMMPL_RECORD_ALL, &two));
    ck_assert_uint_gt(all, 2 * none);
    ck_assert_uint_eq(3 * two, 2 * all);
    ck_ok(ammpl_config_create(f.ctx, &cfg));
    ck_ok(ammpl_config_set_int(cfg, AMMPL_OPT_MEMORY_LIMIT, (int64_t)all));
    ammpl_tape *bounded;
    ck_ok(ammpl_tape_create(f.model, cfg, &bounded));
    float *pixels = golden(&f, "pixels", IMAGES * PIXELS), prompt[W] = {0}, feature[IMAGES * E];
    ammpl_image_input in = {.struct_size = sizeof in, .record = AMMPL_RECORD_ALL, .n = IMAGES, .pixels = pixels};
    ck_ok(ammpl_tape_begin_image(bounded, &in));
    ck_ok(ammpl_tape_finish(bounded, feature, IMAGES * E));
    ck_ok(ammpl_tape_begin_image(bounded, &in));
    ck_status(ammpl_tape_insert(bounded, 1, prompt, 1, 0, 0), AMMPL_E_MEMORY, "at most 2 at once");
    ck_ok(ammpl_config_set_int(cfg, AMMPL_OPT_MEMORY_LIMIT, 1));
    ammpl_tape *tiny;
    ck_ok(ammpl_tape_create(f.model, cfg, &tiny));
    ck_status(ammpl_tape_begin_image(tiny, &in), AMMPL_E_MEMORY, "one sequence takes");
    ammpl_tape_destroy(tiny);
    ck_status(ammpl_tape_finish(bounded, feature, IMAGES * E), AMMPL_E_STATE, "begun"); /* it ended with that */
    in.n = 2;
    ck_ok(ammpl_tape_begin_image(bounded, &in));
    ck_ok(ammpl_tape_insert(bounded, 1, prompt, 1, 0, 0));
    ck_ok(ammpl_tape_finish(bounded, feature, IMAGES * E));
    /* The plan is about what a pass holds, and the context counts it. */
    enum { MANY = 40 };
    static float many[MANY * PIXELS], features[MANY * E];
    uint64_t before, held, planned;
    in.n = MANY;
    in.pixels = many;
    ck_ok(ammpl_tape_plan(f.model, AMMPL_TOWER_IMAGE, MANY, N, AMMPL_RECORD_ALL, &planned));
    ck_ok(ammpl_context_memory(f.ctx, &before, NULL));
    ck_ok(ammpl_tape_begin_image(f.tape, &in));
    ck_ok(ammpl_tape_finish(f.tape, features, MANY * E));
    ck_ok(ammpl_context_memory(f.ctx, &held, NULL));
    ck_assert_msg(held - before > planned / 2 && held - before < 3 * planned, "planned %llu, held %llu",
                  (unsigned long long)planned, (unsigned long long)(held - before));
    free(pixels);
    ammpl_tape_destroy(bounded);
    ammpl_config_destroy(cfg);
    tear_down(&f);
}
END_TEST

START_TEST(states)
{
    fixture f;
    static float out[IMAGES * N * W], prompt[8 * W];
    set_up(&f);
    ck_status(ammpl_tape_run(f.tape, 1), AMMPL_E_STATE, "begun");
    ck_status(ammpl_tape_backward(f.tape, out), AMMPL_E_STATE, "begun");
    ck_status(ammpl_tape_gradient(f.tape, AMMPL_GRADIENT_ROWS, 0, out, 1), AMMPL_E_STATE, "backward");

    begin_text(&f, AMMPL_RECORD_NONE);
    ck_status(ammpl_tape_insert(f.tape, 3, prompt, SLOTS, 0, 0), AMMPL_E_RANGE, "3");
    ck_status(ammpl_tape_insert(f.tape, -1, prompt, SLOTS, 0, 0), AMMPL_E_RANGE, "-1");
    ck_status(ammpl_tape_insert(f.tape, 1, prompt, 1, 0, 0), AMMPL_E_SHAPE, "2 slots");
    ck_status(ammpl_tape_insert(f.tape, 0, prompt, SLOTS, 0, 1), AMMPL_E_RANGE, "before_ln");
    ck_ok(ammpl_tape_insert(f.tape, 1, prompt, SLOTS, 0, 0));
    ck_status(ammpl_tape_insert(f.tape, 1, prompt, SLOTS, 0, 0), AMMPL_E_STATE, "already");
    ck_ok(ammpl_tape_run(f.tape, 1));
    ck_status(ammpl_tape_insert(f.tape, 0, prompt, SLOTS, 0, 0), AMMPL_E_STATE, "has been run");
    ck_status(ammpl_tape_run(f.tape, 0), AMMPL_E_RANGE, "block 1 is next");
    ck_status(ammpl_tape_run(f.tape, 3), AMMPL_E_RANGE, "finish");
    ck_status(ammpl_tape_tokens(f.tape, out, TEXTS * ROWS * l - 1), AMMPL_E_BUFFER, "room for");
    ck_ok(ammpl_tape_tokens(f.tape, out, TEXTS * ROWS * l));
    ck_status(ammpl_tape_seed(f.tape, 0, out, TEXTS * ROWS * l), AMMPL_E_STATE, "RECORD_NONE");
    ck_status(ammpl_tape_finish(f.tape, out, TEXTS * E - 1), AMMPL_E_BUFFER, "room for");
    ck_ok(ammpl_tape_finish(f.tape, out, TEXTS * E));
    ck_status(ammpl_tape_finish(f.tape, out, TEXTS * E), AMMPL_E_STATE, "finished");
    ck_status(ammpl_tape_tokens(f.tape, out, TEXTS * ROWS * l), AMMPL_E_STATE, "finished");
    ck_status(ammpl_tape_backward(f.tape, out), AMMPL_E_STATE, "RECORD_NONE");

    begin_text(&f, AMMPL_RECORD_ALL);
    ck_status(ammpl_tape_backward(f.tape, out), AMMPL_E_STATE, "not finished");
    ck_ok(ammpl_tape_tokens(f.tape, out, TEXTS * ROWS * l));
    ck_status(ammpl_tape_seed(f.tape, 1, out, TEXTS * ROWS * l), AMMPL_E_RANGE, "read 1 times");
    ck_status(ammpl_tape_seed(f.tape, 0, out, TEXTS * ROWS * l - 1), AMMPL_E_SHAPE, "numbers");
    ck_ok(ammpl_tape_finish(f.tape, out, TEXTS * E));
    ck_ok(ammpl_tape_backward(f.tape, out));
    ck_status(ammpl_tape_backward(f.tape, out), AMMPL_E_STATE, "backward has been");
    ck_status(ammpl_tape_gradient(f.tape, AMMPL_GRADIENT_PROMPT, 0, out, 1), AMMPL_E_RANGE, "there were 0");
    ck_status(ammpl_tape_gradient(f.tape, AMMPL_GRADIENT_PIXELS, 0, out, 1), AMMPL_E_STATE, "without");
    ck_status(ammpl_tape_gradient(f.tape, 9, 0, out, 1), AMMPL_E_OPTION, "9");
    ck_status(ammpl_tape_gradient(f.tape, AMMPL_GRADIENT_ROWS, 1, out, 1), AMMPL_E_RANGE, "one of that kind");
    tear_down(&f);
}
END_TEST

START_TEST(arguments)
{
    fixture f;
    static float rows[2 * 30 * l], out[2 * E];
    const int32_t zero[2] = {3, 0}, long_one[2] = {3, 8};
    set_up(&f);
    ammpl_text_input in = {.struct_size = sizeof in, .n = 2, .L = 7, .rows = rows, .length = zero};
    ck_status(ammpl_tape_begin_text(f.tape, &in), AMMPL_E_RANGE, "sequence 1: a length of 0");
    in.length = long_one;
    ck_status(ammpl_tape_begin_text(f.tape, &in), AMMPL_E_RANGE, "sequence 1: a length of 8");
    in.length = NULL;
    in.L = 24;
    ck_status(ammpl_tape_begin_text(f.tape, &in), AMMPL_E_RANGE, "23");
    in.L = 20;
    in.prefix = rows;
    in.prefix_rows = 4;
    ck_status(ammpl_tape_begin_text(f.tape, &in), AMMPL_E_RANGE, "24 rows");
    in.prefix_rows = 3;
    in.slot_first = 21;
    in.slots = 2; /* the last row is 22 */
    ck_status(ammpl_tape_begin_text(f.tape, &in), AMMPL_E_RANGE, "slots 21 to 22");
    in.slot_first = (size_t)-1;
    ck_status(ammpl_tape_begin_text(f.tape, &in), AMMPL_E_RANGE, "slots");
    in.slot_first = 20;
    ck_ok(ammpl_tape_begin_text(f.tape, &in));
    in.record = 3;
    ck_status(ammpl_tape_begin_text(f.tape, &in), AMMPL_E_OPTION, "record");
    in.record = AMMPL_RECORD_NONE;
    rows[5] = __builtin_nanf("");
    ck_ok(ammpl_tape_begin_text(f.tape, &in));
    ck_status(ammpl_tape_finish(f.tape, out, 2 * E), AMMPL_E_NUMERIC, "sequence 0");
    uint64_t bytes;
    ck_status(ammpl_tape_plan(f.model, 3, 1, 1, 0, &bytes), AMMPL_E_OPTION, "3");
    ck_status(ammpl_tape_plan(f.model, AMMPL_TOWER_TEXT, INT32_MAX, 2, 0, &bytes), AMMPL_E_MEMORY, "fewer");
    ammpl_image_input picture = {.struct_size = sizeof picture, .n = 1, .pixels = rows, .block = 1};
    ck_status(ammpl_tape_begin_image(f.tape, &picture), AMMPL_E_RANGE, "block 1");
    picture.tokens = rows;
    ck_status(ammpl_tape_begin_image(f.tape, &picture), AMMPL_E_ARGUMENT, "either");
    picture.pixels = NULL;
    picture.block = 5;
    ck_status(ammpl_tape_begin_image(f.tape, &picture), AMMPL_E_RANGE, "block 5");
    tear_down(&f);

    /* A tower that was not loaded. */
    ammpl_context *ctx = test_context();
    ammpl_config *cfg;
    ammpl_model *m;
    ammpl_tape *t;
    ck_ok(ammpl_config_create(ctx, &cfg));
    ck_ok(ammpl_config_set_string(cfg, AMMPL_OPT_TOWERS, "image"));
    ck_ok(ammpl_model_load_file(ctx, NULL, test_golden("nano-odd"), cfg, &m));
    ck_ok(ammpl_tape_create(m, NULL, &t));
    in.slots = 0;
    ck_status(ammpl_tape_begin_text(t, &in), AMMPL_E_STATE, "text tower");
    ammpl_tape_destroy(t);
    ammpl_model_destroy(m);
    ammpl_config_destroy(cfg);
    ammpl_context_destroy(ctx);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tape");
    TCase *tc = tcase_create("tape");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, text);
    tcase_add_test(tc, image);
    tcase_add_test(tc, losses);
    tcase_add_test(tc, plain);
    tcase_add_loop_test(tc, prefix_or_rows, 0, 2);
    tcase_add_test(tc, from_tokens);
    tcase_add_test(tc, threads);
    tcase_add_test(tc, memory);
    tcase_add_test(tc, states);
    tcase_add_test(tc, arguments);
    suite_add_tcase(suite, tc);
    return test_main(suite);
}
