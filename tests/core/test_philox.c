/* test_philox.c - random numbers: every vector of tests/golden/philox.txt through the function itself and through whatever
 * draws with it (masks, initial values, shuffling, few-shot picks); counts of draws; and the thread pool that must not matter.
 */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/train.h"

enum { LINE = 4096, LIST = 64 };

/* ---- the vectors ---- */

/* Calls check(rest of the line) for every vector of that kind; there must be some. */
static void for_each(const char *kind, void (*check)(const char *rest))
{
    FILE *f = fopen(test_golden("philox.txt"), "r");
    ck_assert_ptr_nonnull(f);
    char line[LINE];
    size_t n = strlen(kind);
    int found = 0;
    while (fgets(line, sizeof line, f)) {
        ck_assert_msg(strchr(line, '\n') != NULL, "a line is longer than %d bytes", LINE);
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, kind, n) != 0 || line[n] != ' ')
            continue;
        check(line + n + 1);
        found++;
    }
    fclose(f);
    ck_assert_msg(found > 0, "there is no %s in philox.txt", kind);
}

/* How far sscanf got, where every field was read; fails the test otherwise. */
#define SCAN(rest, fields, format, ...)                                                          \
    do {                                                                                         \
        end = 0;                                                                                 \
        ck_assert_msg(sscanf(rest, format "%n", __VA_ARGS__, &end) == (fields) && end > 0, "%s", rest); \
    } while (0)

static uint32_t name_hash(const char *name)
{
    return strcmp(name, "-") == 0 ? 0 : ammpli_hash(name);
}

static void check_block(const char *rest)
{
    unsigned k[2], c[4], o[4];
    int end;
    uint32_t x[4];
    SCAN(rest, 10, "%x %x %x %x %x %x %x %x %x %x", &k[0], &k[1], &c[0], &c[1], &c[2], &c[3], &o[0], &o[1], &o[2], &o[3]);
    ammpli_philox((uint64_t)k[1] << 32 | k[0], c[0] >> 24, c[0] & 0xffffff, c[1], c[2], c[3], x);
    for (int i = 0; i < 4; i++)
        ck_assert_msg(x[i] == o[i], "%s: word %d is %08x", rest, i, x[i]);
}

static void check_hash(const char *rest)
{
    unsigned h;
    int end;
    SCAN(rest, 1, "%x", &h);
    ck_assert_msg(ammpli_hash(rest + end + 1) == h, "%s: %08x", rest, ammpli_hash(rest + end + 1));
}

static void check_uniform(const char *rest)
{
    unsigned o;
    float u;
    int end;
    SCAN(rest, 2, "%x %f", &o, &u);
    ck_assert_msg(ammpli_uniform((uint32_t[4]){o}) == u, "%s", rest);
}

static void check_normal(const char *rest)
{
    unsigned o[2];
    double z;
    int end;
    SCAN(rest, 3, "%x %x %lf", &o[0], &o[1], &z);
    double got = ammpli_normal((uint32_t[4]){o[0], o[1]});
    ck_assert_msg(fabs(got - z) <= 1e-14 * (1 + fabs(z)), "%s: %.17g", rest, got); /* libm's log and cos: an ulp or two */
}

/* One word of a draw, and its uniform number. */
static void check_word(const char *rest, unsigned long long seed, uint32_t purpose, uint32_t position, uint32_t c1, uint32_t c2,
                       uint32_t c3, uint32_t word, float u)
{
    uint32_t x[4];
    ammpli_philox(seed, purpose, position, c1, c2, c3, x);
    ck_assert_msg(x[0] == word, "%s: %08x", rest, x[0]);
    ck_assert_msg(ammpli_uniform(x) == u, "%s: %.9g", rest, (double)ammpli_uniform(x));
}

static void check_crop(const char *rest)
{
    unsigned long long seed;
    unsigned image, step, position, word;
    float u;
    int end;
    SCAN(rest, 6, "%llx %u %u %u %x %f", &seed, &image, &step, &position, &word, &u);
    check_word(rest, seed, AMMPLI_DRAW_CROP, position, 0, image, step, word, u);
}

static void check_flip(const char *rest)
{
    unsigned long long seed;
    unsigned image, step, word;
    float u;
    int end;
    SCAN(rest, 5, "%llx %u %u %x %f", &seed, &image, &step, &word, &u);
    check_word(rest, seed, AMMPLI_DRAW_FLIP, 0, 0, image, step, word, u);
}

/* ---- masks, through the backend ---- */

typedef struct drawing {
    ammpl_context *ctx;
    const ammpl_ops *ops;
    ammpl_stream *stream;
} drawing;

static drawing open_drawing(void)
{
    drawing d = {.ctx = test_context()};
    d.ops = d.ctx->device[0].backend->ops;
    ck_ok(d.ctx->device[0].backend->stream_create(&d.ctx->host, 0, AMMPL_PRECISION_F32, &d.stream));
    return d;
}

static void close_drawing(drawing *d)
{
    d->ctx->device[0].backend->stream_destroy(d->stream);
    ammpli_context_release(d->ctx);
}

static void draw(drawing *d, float *mask, const float *prob, const uint32_t *hash, const uint32_t *id, uint64_t seed,
                 uint32_t purpose, uint32_t step, int64_t n, int64_t P)
{
    int32_t *pi = calloc((size_t)n, sizeof *pi);
    ck_ok(d->ops->mask_draw(d->stream, mask, prob, pi, hash, id, seed, purpose, step, AMMPL_MASK_SAMPLE, n, P));
    free(pi);
}

/* The op keeps the patch from the first float above u on, and not at u: it drew exactly u. */
static void check_threshold(const char *rest, uint64_t seed, uint32_t purpose, uint32_t step, uint32_t id, uint32_t patch,
                            const char *name, float u)
{
    float prob[256] = {0}, mask[256];
    drawing d = open_drawing();
    uint32_t hash = name_hash(name);
    ck_assert_uint_lt(patch, 256);
    for (int above = 0; above < 2; above++) {
        prob[patch] = above ? nextafterf(u, 2) : u;
        draw(&d, mask, prob, &hash, &id, seed, purpose, step, 1, 256);
        for (uint32_t j = 0; j < 256; j++)
            ck_assert_msg(mask[j] == (above && j == patch ? 1.0f : 0.0f), "%s: patch %u with P = %.9g", rest, j, (double)prob[j]);
    }
    close_drawing(&d);
}

static void check_train_mask(const char *rest)
{
    unsigned long long seed;
    unsigned step, image, patch, word;
    float u;
    int end;
    SCAN(rest, 6, "%llx %u %u %u %x %f", &seed, &step, &image, &patch, &word, &u);
    check_word(rest, seed, AMMPLI_DRAW_MASK, patch, name_hash(rest + end + 1), image, step, word, u);
    check_threshold(rest, seed, AMMPLI_DRAW_MASK, step, image, patch, rest + end + 1, u);
}

static void check_eval_mask(const char *rest)
{
    unsigned long long seed;
    unsigned number, patch, word;
    float u;
    int end;
    SCAN(rest, 5, "%llx %u %u %x %f", &seed, &number, &patch, &word, &u);
    check_word(rest, seed, AMMPLI_DRAW_MASK_EVAL, patch, name_hash(rest + end + 1), number, 0, word, u);
    check_threshold(rest, seed, AMMPLI_DRAW_MASK_EVAL, 0, number, patch, rest + end + 1, u);
}

/* ---- initial values, through a prompt of the nano model ---- */

/* Element of a tensor (of one class, or shared) of a fresh prompt; false where the nano model has no such element. */
static bool initial_value(unsigned long long seed, const char *tensor, const char *name, int64_t element, int64_t fan_in, float *value)
{
    ammpl_context *ctx = test_context();
    ammpl_model *m;
    ammpl_config *cfg;
    ammpl_prompt *p;
    bool shared = strcmp(name, "-") == 0;
    const char *names[] = {"ox", shared ? "cat" : name};
    ck_ok(ammpli_model_load_file(ctx, NULL, test_golden("nano"), NULL, &m));
    ck_ok(ammpli_config_create(ctx, &cfg));
    ck_ok(ammpli_config_set_int(cfg, AMMPL_OPT_SEED, (int64_t)seed));
    ck_ok(ammpli_config_set_int(cfg, AMMPL_OPT_N_CTX, 4));
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_CTX_INIT, ""));
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_SCOPE, shared ? "shared" : "class"));
    ck_ok(ammpli_prompt_create(m, AMMPL_METHOD_AMMPL, names, 2, cfg, &p));
    const ammpli_tensor *t = ammpli_prompt_find(p, tensor);
    ck_assert_msg(t != NULL, "%s", tensor);
    int64_t slices = shared ? 1 : 2, n = t->count / slices;
    bool fits = element < n && (fan_in == 0 || fan_in == m->embed);
    if (fits)
        *value = t->value[(slices - 1) * n + element]; /* backend memory is host memory on the CPU */
    ammpli_prompt_release(p);
    ammpli_config_destroy(cfg);
    ammpli_model_release(m);
    ammpli_context_release(ctx);
    return fits;
}

static int through_prompts;

static void check_init(const char *rest, unsigned long long seed, int64_t element, int64_t fan_in, double mean, double std,
                       float value, const char *tensor, const char *name)
{
    uint32_t x[4];
    ammpli_philox(seed, AMMPLI_DRAW_INIT, (uint32_t)(element & 0xffffff), ammpli_hash(tensor), name_hash(name),
                  (uint32_t)(element >> 24), x);
    double want = fan_in ? (2.0 * (double)ammpli_uniform(x) - 1.0) / sqrt((double)fan_in) : mean + std * ammpli_normal(x);
    ck_assert_msg((float)want == value, "%s: %.9g", rest, want);
    float got;
    if (initial_value(seed, tensor, name, element, fan_in, &got)) {
        ck_assert_msg(got == value, "%s: a prompt starts at %.9g", rest, (double)got);
        through_prompts++;
    }
}

static void check_init_normal(const char *rest)
{
    unsigned long long seed;
    long long element;
    double mean, std;
    float value;
    char tensor[64];
    int end;
    SCAN(rest, 6, "%llx %lld %lf %lf %f %63s", &seed, &element, &mean, &std, &value, tensor);
    check_init(rest, seed, element, 0, mean, std, value, tensor, rest + end + 1);
}

static void check_init_uniform(const char *rest)
{
    unsigned long long seed;
    long long element, fan_in;
    float value;
    char tensor[64];
    int end;
    SCAN(rest, 5, "%llx %lld %lld %f %63s", &seed, &element, &fan_in, &value, tensor);
    check_init(rest, seed, element, fan_in, 0, 0, value, tensor, rest + end + 1);
}

/* ---- orders and picks ---- */

static const char *read_list(const char *at, int n, int *list)
{
    ck_assert_int_le(n, LIST);
    for (int i = 0, end; i < n; i++, at += end)
        ck_assert_msg(sscanf(at, "%d%n", &list[i], &end) == 1, "%s", at);
    return at;
}

static void check_shuffle(const char *rest)
{
    unsigned long long seed;
    int epoch, n, end, want[LIST];
    int32_t order[LIST];
    SCAN(rest, 3, "%llx %d %d", &seed, &epoch, &n);
    read_list(rest + end, n, want);
    ammpl_dataset data = {.count = (size_t)n};
    ammpl_trainer t = {.data = &data, .count = n, .order = order, .shuffle = true, .seed = seed, .epoch = epoch};
    ammpli_trainer_order(&t);
    for (int i = 0; i < n; i++)
        ck_assert_msg(order[i] == want[i], "%s: place %d holds %d", rest, i, order[i]);
    t.shuffle = false;
    ammpli_trainer_order(&t);
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(order[i], i);
}

static void check_few_shot(const char *rest)
{
    static const char *const names[] = {"a", "b", "c"};
    unsigned long long seed;
    int shots, n, kept, end, label[LIST], want[LIST];
    SCAN(rest, 3, "%llx %d %d", &seed, &shots, &n);
    const char *at = read_list(rest + end, n, label);
    SCAN(at, 1, "%d", &kept);
    read_list(at + end, kept, want);
    ammpl_context *ctx = test_context();
    ammpl_dataset *all, *few;
    ck_ok(ammpli_dataset_create(ctx, names, 3, &all));
    for (int i = 0; i < n; i++)
        ck_ok(ammpli_dataset_add(all, NULL, "picture", label[i], (uint32_t)i));
    ck_ok(ammpli_dataset_select_shots(all, shots, seed, &few));
    ck_assert_msg(few->count == (size_t)kept, "%s: %zu picks", rest, few->count);
    for (int i = 0; i < kept; i++) {
        ck_assert_msg(few->item[i].id == (uint32_t)want[i], "%s: pick %d is %u", rest, i, few->item[i].id);
        ck_assert_int_eq(few->item[i].label, label[want[i]]);
    }
    ammpli_dataset_release(few);
    ammpli_dataset_release(all);
    ammpli_context_release(ctx);
}

static const struct {
    const char *kind;
    void (*check)(const char *rest);
} kinds[] = {{"block", check_block},           {"hash", check_hash},           {"uniform", check_uniform},
             {"normal", check_normal},         {"train_mask", check_train_mask}, {"eval_mask", check_eval_mask},
             {"init_normal", check_init_normal}, {"init_uniform", check_init_uniform}, {"shuffle", check_shuffle},
             {"crop", check_crop},             {"flip", check_flip},           {"few_shot", check_few_shot}};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

START_TEST(vectors)
{
    through_prompts = 0;
    for_each(kinds[_i].kind, kinds[_i].check);
    if (strncmp(kinds[_i].kind, "init", 4) == 0)
        ck_assert_int_gt(through_prompts, 0);
}
END_TEST

/* No kind of vector is in the file that nobody checks. */
START_TEST(no_other_vectors)
{
    FILE *f = fopen(test_golden("philox.txt"), "r");
    ck_assert_ptr_nonnull(f);
    char line[LINE];
    while (fgets(line, sizeof line, f)) {
        size_t n = strcspn(line, " \n");
        bool known = line[0] == '#' || n == 0;
        for (int k = 0; k < KINDS; k++)
            known = known || (strlen(kinds[k].kind) == n && memcmp(kinds[k].kind, line, n) == 0);
        ck_assert_msg(known, "%s", line);
    }
    fclose(f);
}
END_TEST

/* ---- counts ---- */

enum { DRAWS = 10000 };
static const float chances[] = {0.1f, 0.5f, 0.95f};

static void check_count(const float *mask, float P, const char *what)
{
    double kept = 0, pairs = 0, mean = DRAWS * (double)P, sigma = sqrt(mean * (1 - (double)P));
    for (int i = 0; i < DRAWS; i++) {
        ck_assert(mask[i] == 0 || mask[i] == 1);
        kept += (double)mask[i];
        pairs += i && mask[i] == 1 && mask[i - 1] == 1;
    }
    ck_assert_msg(fabs(kept - mean) < 4 * sigma, "%s, P = %g: %g of %d kept", what, (double)P, kept, DRAWS);
    /* Neighbours are independent: their pairs have mean n P^2 and variance n (P^2 + 2 P^3 - 3 P^4). */
    double p = (double)P, spread = sqrt(DRAWS * (p * p + 2 * p * p * p - 3 * p * p * p * p));
    ck_assert_msg(fabs(pairs - (DRAWS - 1) * p * p) < 4 * spread, "%s, P = %g: %g pairs kept", what, p, pairs);
}

/* 10,000 Bernoulli draws along every number that keys a draw. */
START_TEST(counts)
{
    drawing d = open_drawing();
    float P = chances[_i], *prob = malloc(DRAWS * sizeof *prob), *mask = malloc(DRAWS * sizeof *mask);
    float *other = malloc(DRAWS * sizeof *other);
    uint32_t *number = malloc(DRAWS * sizeof *number), *zero = calloc(DRAWS, sizeof *zero);
    for (int i = 0; i < DRAWS; i++) {
        prob[i] = P;
        number[i] = (uint32_t)i;
    }
    draw(&d, mask, prob, zero, zero, 1, AMMPLI_DRAW_MASK, 0, 1, DRAWS);
    check_count(mask, P, "patches");
    draw(&d, other, prob, zero, zero, 2, AMMPLI_DRAW_MASK, 0, 1, DRAWS);
    check_count(other, P, "patches under another seed");
    ck_assert_msg(memcmp(mask, other, DRAWS * sizeof *mask) != 0, "seeds 1 and 2 draw the same");
    draw(&d, other, prob, zero, zero, 1, AMMPLI_DRAW_MASK_EVAL, 0, 1, DRAWS);
    ck_assert_msg(memcmp(mask, other, DRAWS * sizeof *mask) != 0, "training and evaluation draw the same");
    draw(&d, mask, prob, zero, number, 1, AMMPLI_DRAW_MASK, 0, DRAWS, 1);
    check_count(mask, P, "images");
    draw(&d, mask, prob, number, zero, 1, AMMPLI_DRAW_MASK, 0, DRAWS, 1);
    check_count(mask, P, "names");
    for (uint32_t i = 0; i < DRAWS; i++)
        draw(&d, mask + i, prob, zero, zero, 1, AMMPLI_DRAW_MASK, i, 1, 1);
    check_count(mask, P, "steps");
    for (uint32_t i = 0; i < DRAWS; i++)
        draw(&d, mask + i, prob, zero, zero, i, AMMPLI_DRAW_MASK, 0, 1, 1);
    check_count(mask, P, "seeds");
    free(prob);
    free(mask);
    free(other);
    free(number);
    free(zero);
    close_drawing(&d);
}
END_TEST

/* What lies outside 0..1 keeps nothing or everything. */
START_TEST(clamped)
{
    drawing d = open_drawing();
    static const float prob[4] = {-3, 0, 1, 7};
    float mask[4 * 200];
    uint32_t id[200], hash[200] = {0};
    for (uint32_t i = 0; i < 200; i++)
        id[i] = i;
    draw(&d, mask, prob, hash, id, 9, AMMPLI_DRAW_MASK, 0, 200, 4);
    for (int i = 0; i < 200; i++)
        ck_assert(mask[4 * i] == 0 && mask[4 * i + 1] == 0 && mask[4 * i + 2] == 1 && mask[4 * i + 3] == 1);
    close_drawing(&d);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("philox");
    TCase *c = tcase_create("draws");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, vectors, 0, KINDS);
    tcase_add_test(c, no_other_vectors);
    tcase_add_loop_test(c, counts, 0, sizeof chances / sizeof chances[0]);
    tcase_add_test(c, clamped);
    suite_add_tcase(s, c);
    return test_main(s);
}
