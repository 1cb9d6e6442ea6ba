/* test_shortcuts.c - exact shortcuts turned off: the same results up to rounding, for more work.
 *
 * Work is counted, not measured: multiply-adds of the linear layers that a step asks the backend for.
 */
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "clip/tower.h"
#include "cpu/kernels.h"
#include "method/stage.h"

/* Five classes.  Texts of a context of three tokens have 49 rows in all, of four tokens ("a photo of a") 54; pictures have 9 patches in
 * AMMPL's model, 36 or 16 in the others', and three are in a batch. */
static const struct {
    const char *prefix, *variant;
    int64_t saved; /* rows, by shortcut 2: (texts - groups) x rows that a group begins with, of all the step's sets of texts */
} runs[] = {{"method", "coop_end", 4 * 4},    /* SOT and three tokens */
            {"method", "coop_middle", 4 * 2}, /* SOT and the one before the name */
            {"method", "coop_front", 4},
            {"method", "coop_class_end", 4},
            {"method", "cocoop_wide", (15 - 3) * 4}, /* a group for each picture */
            {"method", "cocoop_words", (15 - 3) * 5},
            {"method", "dlp_deep", 4 * 5},
            {"method", "ivlp_full", 4 * 4},
            {"method", "maple_deep", 4 * 5},
            {"method", "dpt_two", 4 * 4},
            {"ammpl", "shared_default", 4 * 5 + 14}, /* z0, and a text for each pair */
            {"ammpl", "shared_draws_image", 4 * 5 + 14},
            {"ammpl", "class_default", 4 + 14},
            {"ammpl", "shared_none", 4 * 5},
            {"ammpl", "shared_simultaneous", 4 * 5 + 14},
            {"ammpl", "shared_candidates", 4 * 5 + (15 - 10) * 5}}; /* of 15 pairs seven see a picture of their own, the others the three plain ones */
enum { RUNS = sizeof runs / sizeof runs[0] };

/* ---- a table that counts ---- */

/* Rows that a step sends through weights of which each stands for one thing. */
enum point {
    TEXTS,         /* rows of texts: through the first block's QKV */
    TEXT_BACK,     /* of these the rows whose gradient is taken on to the input */
    TEXT_ENDS,     /* rows that go on after the last block's attention */
    TEXT_READS,    /* texts that become features */
    PICTURES,      /* the same of pictures */
    PICTURE_BACK,
    PICTURE_ENDS,
    PICTURE_READS,
    PATCHES,       /* through the patch embedding, there */
    PATCHES_BACK,  /* and back */
    PICTURE_ASKED, /* through QKV of the last block of pictures, there and back */
    PICTURE_OUT,   /* through the first block's output projection of attention, there */
    PICTURE_FRONT, /* no rows: prompts that attention of pictures finds in front of them, there, in all blocks */
    POINTS
};

static double work; /* multiply-adds of linear layers */
static int64_t rows_at[POINTS];
static const ammpl_model *counted_model;

static void count(const ammpl_weight *w, int64_t T, bool back)
{
    const ammpl_model *m = counted_model;
    const ammpli_tower *tower[] = {&m->text, &m->image};
    work += (double)T * (double)w->N * (double)w->K;
    for (int t = 0; t < 2; t++) {
        int64_t *at = rows_at + (t ? PICTURES : TEXTS);
        if (w == tower[t]->block[0].qkv)
            at[back ? TEXT_BACK : TEXTS] += T;
        if (w == tower[t]->block[tower[t]->layers - 1].fc && !back)
            at[TEXT_ENDS] += T;
        if (w == tower[t]->projection && !back)
            at[TEXT_READS] += T;
    }
    if (w == m->image.block[m->image.layers - 1].qkv)
        rows_at[PICTURE_ASKED] += T;
    if (w == m->image.block[0].out && !back)
        rows_at[PICTURE_OUT] += T;
    if (w == m->patch_weight)
        rows_at[back ? PATCHES_BACK : PATCHES] += T;
}

static int32_t counting_forward(ammpl_stream *s, float *y, float *pre, const float *x, const ammpl_weight *w, const float *bias,
                                const float *residual, int32_t act, int64_t T)
{
    count(w, T, false);
    return ammpli_cpu_ops.linear_forward(s, y, pre, x, w, bias, residual, act, T);
}

static int32_t counting_backward(ammpl_stream *s, float *dx, const float *dy, const ammpl_weight *w, const float *pre, int32_t act,
                                 int64_t T)
{
    count(w, T, true);
    return ammpli_cpu_ops.linear_backward(s, dx, dy, w, pre, act, T);
}

static int32_t counting_attention(ammpl_stream *s, float *out, const float *qkv, const int32_t *start, int64_t B, int64_t max_len, int64_t T,
                                  int64_t D, int64_t H, int32_t causal, const float *prefix, const int32_t *group, int64_t P)
{
    rows_at[PICTURE_FRONT] += causal ? 0 : B * P;
    return ammpli_cpu_ops.attention_forward(s, out, qkv, start, B, max_len, T, D, H, causal, prefix, group, P);
}

static void count_from_here(const ammpl_model *m)
{
    counted_model = m;
    work = 0;
    memset(rows_at, 0, sizeof rows_at);
}

typedef struct outcome {
    double loss, work;
    int64_t rows[POINTS];
    float logits[BATCH * MOST_CLASSES];
    float *gradient[64];
} outcome;

static void step(fixture *f, uint32_t without, outcome *out)
{
    ammpl_ops counting = ammpli_cpu_ops;
    counting.linear_forward = counting_forward;
    counting.linear_backward = counting_backward;
    counting.attention_forward = counting_attention;
    f->session->engine.ops = &counting;
    f->session->engine.without = without;
    count_from_here(f->model);
    memset(out, 0, sizeof *out);
    out->loss = run_batch(f, 0, 0, out->logits);
    out->work = work;
    memcpy(out->rows, rows_at, sizeof rows_at);
    f->session->engine.ops = &ammpli_cpu_ops;
    ck_assert_uint_le(f->prompt->tensors, 64);
    for (size_t i = 0; i < f->prompt->tensors; i++)
        out->gradient[i] = read_gradient(f, i);
}

static void free_outcome(const fixture *f, outcome *out)
{
    for (size_t i = 0; i < f->prompt->tensors; i++)
        free(out->gradient[i]);
}

/* Rows with a shortcut, and without it. */
typedef struct difference {
    int64_t with[POINTS], without[POINTS];
} difference;

/* A step with a shortcut and without it, others left out of both: all logits and the loss differ by `near` at most (0: they keep their
 * bits), gradients by `bound` (the whole gradient's norm taken as the measure: parts that vanish are rounding).  No more work is done;
 * what the rows say is the caller's to judge.  Closes the fixture. */
static difference compare(fixture *f, uint32_t left_out, uint32_t shortcut, double near, double bound)
{
    outcome with, without;
    difference rows;
    double largest = 0;
    int64_t logits = 0;
    for (int k = 0; k < BATCH; k++)
        logits += f->batches[k] >= 0 ? (int64_t)f->C : 0;
    run_batch(f, 0, 0, NULL); /* what is encoded once and then remembered */
    step(f, left_out, &with);
    step(f, left_out | shortcut, &without);
    ck_assert_int_gt(logits, f->C);
    for (int64_t i = 0; i < logits; i++)
        ck_assert_msg(fabs((double)with.logits[i] - (double)without.logits[i]) <= near,
                      "%s: logit %d of %d: %.9g with the shortcut, %.9g without", f->variant, (int)i, (int)logits, (double)with.logits[i],
                      (double)without.logits[i]);
    ck_assert_msg(fabs(with.loss - without.loss) <= near, "%s: loss %.9g with the shortcut, %.9g without", f->variant, with.loss,
                  without.loss);
    ck_assert_msg(with.work <= without.work, "%s: %.0f multiply-adds with the shortcut, %.0f without", f->variant, with.work, without.work);
    for (size_t i = 0; i < f->prompt->tensors; i++)
        largest = fmax(largest, norm_of(without.gradient[i], f->prompt->tensor[i].count));
    for (size_t i = 0; i < f->prompt->tensors; i++) {
        double d = test_difference(with.gradient[i], without.gradient[i], f->prompt->tensor[i].count, 1e-3 * largest);
        seen(f, f->prompt->tensor[i].name, d);
        ck_assert_msg(d <= bound, "%s: gradient of %s differs by %.3g", f->variant, f->prompt->tensor[i].name, d);
    }
    memcpy(rows.with, with.rows, sizeof rows.with);
    memcpy(rows.without, without.rows, sizeof rows.without);
    if (getenv("AMMPL_TEST_SHOW"))
        for (int k = 0; k < POINTS; k++)
            printf("# %s point %d: %d with, %d without\n", f->variant, k, (int)rows.with[k], (int)rows.without[k]), fflush(stdout);
    free_outcome(f, &with);
    free_outcome(f, &without);
    close_fixture(f);
    return rows;
}

/* To the bit. */
static difference with_and_without(fixture *f, uint32_t shortcut, double bound)
{
    return compare(f, 0, shortcut, 0, bound);
}

/* What a shortcut does to the rows at one point, exactly. */
static void check_rows(const char *variant, const difference *d, int point, int64_t with, int64_t without)
{
    ck_assert_msg(d->with[point] == with && d->without[point] == without, "%s: %d rows at point %d with the shortcut, %d without; expected %d, %d",
                  variant, (int)d->with[point], point, (int)d->without[point], (int)with, (int)without);
}

/* Shortcut 2.  Forward keeps its bits; backward adds up in another order (seen: 2e-6 and less). */
START_TEST(prefix)
{
    fixture f;
    open_fixture(&f, runs[_i].prefix, runs[_i].variant, 0);
    int64_t C = (int64_t)f.C, all = f.prompt->text.T;
    difference d = with_and_without(&f, AMMPLI_WITHOUT_PREFIX, 2e-5);
    int64_t alone = d.with[TEXT_READS] / C * all;
    check_rows(runs[_i].variant, &d, TEXTS, alone - runs[_i].saved, alone);
}
END_TEST

/* Shortcut 1.  It is causal: nothing that is read changes, nor anything else of the step (seen: no difference); without it each text is
 * as long as the model reads. */
START_TEST(cut_in_steps)
{
    fixture f;
    open_fixture(&f, runs[_i].prefix, runs[_i].variant, 0);
    int64_t C = (int64_t)f.C, all = f.prompt->text.T, longest = f.model->context;
    difference d = with_and_without(&f, AMMPLI_WITHOUT_CUT, 1e-6);
    int64_t texts = d.with[TEXT_READS];
    check_rows(runs[_i].variant, &d, TEXTS, texts / C * all - runs[_i].saved, texts * longest - runs[_i].saved);
}
END_TEST

/* Shortcut 4: in the first block, rows that lead to no parameter.  Rows do not know of each other: all bits stay. */
static const struct {
    const char *prefix, *variant;
    int64_t texts, pictures, back; /* rows that lead to one; rows of pictures that are differentiated without it */
} some_wanted[] = {{"method", "coop_end", 3, 0, 0}, /* tokens of the context, in its one place */
                   {"method", "cocoop_wide", 3 * 3, 0, 0},
                   {"method", "dlp_full", 2, 0, 0},
                   {"method", "ivlp_deep", 2, 3 * 3, 3 * (37 + 3)},
                   {"method", "maple_full", 4, 3 * 4, 3 * (37 + 4)},
                   {"method", "vpt_shallow", 0, 3 * 4, 3 * (37 + 4)},
                   {"method", "vpt_deep", 0, 3 * 2, 3 * (37 + 2)},
                   {"method", "vpt_dpt_deep", 0, 3 * 4, 3 * (37 + 4)},
                   {"method", "dpt_one", 3, 3 * 2, 3 * (37 + 2)}, /* of its two passes of pictures the second */
                   {"method", "dpt_all", 2, 3 * 2, 3 * (37 + 2)},
                   {"ammpl", "shared_default", 4 + 15 * 4, 15 * 10, 15 * 10}}; /* every patch may be masked */
enum { WANTED = sizeof some_wanted / sizeof some_wanted[0] };

START_TEST(wanted)
{
    fixture f;
    open_fixture(&f, some_wanted[_i].prefix, some_wanted[_i].variant, 0);
    /* Without 9 where the first block is the last: it has rows of its own there. */
    difference d = compare(&f, f.model->image.layers > 1 ? 0 : AMMPLI_WITHOUT_ONE_QUERY, AMMPLI_WITHOUT_WANTED, 0, 0);
    /* Texts that are differentiated at all are so in every row. */
    check_rows(f.variant, &d, TEXT_BACK, some_wanted[_i].texts, some_wanted[_i].texts ? d.with[TEXTS] : 0);
    check_rows(f.variant, &d, PICTURE_BACK, some_wanted[_i].pictures, some_wanted[_i].back);
}
END_TEST

/* Shortcut 3: rows that nobody reads, without 9 and prompts in front, which go on from it.  Rows do not know of each other; backward adds
 * zeros to sums over queries, in the order in which the others stand there (seen: no difference).  After the last attention only what becomes a feature goes on, or everything. */
static const struct {
    const char *prefix, *variant;
    int64_t more; /* rows of pictures after the last block than in the first: prompt tokens come and go between them */
} some_unread[] = {{"method", "coop_end", 0},
                   {"method", "cocoop_wide", 0},
                   {"method", "dlp_full", 0},
                   {"method", "ivlp_full", 0},
                   {"method", "maple_deep", 0},
                   {"method", "vp_padding", 0},
                   {"method", "vpt_full", 0},
                   {"method", "vpt_dpt_deep", -3 * 4},
                   {"method", "dpt_two", 3 * (-4 + 3)},
                   {"method", "dpt_all", 3 * 3},
                   {"ammpl", "shared_default", 0}};
enum { UNREAD = sizeof some_unread / sizeof some_unread[0] };

START_TEST(rows)
{
    fixture f;
    open_fixture(&f, some_unread[_i].prefix, some_unread[_i].variant, 0);
    difference d = compare(&f, AMMPLI_WITHOUT_ONE_QUERY | AMMPLI_WITHOUT_FRONT, AMMPLI_WITHOUT_ROWS, 0, 1e-6);
    check_rows(f.variant, &d, TEXT_ENDS, d.with[TEXT_READS], d.without[TEXTS]);
    check_rows(f.variant, &d, PICTURE_ENDS, d.with[PICTURE_READS], d.without[PICTURES] + some_unread[_i].more);
    ck_assert(d.with[TEXT_READS] + d.with[PICTURE_READS] > 0);
}
END_TEST

/* Shortcut 9: no keys and values of the last block, for which 2 H + 1 rows a picture go through QKV's weight instead of all, and as many
 * back where pictures are differentiated (seen: logits 1e-6, gradients 1.4e-6 and less). */
static const struct {
    const char *prefix, *variant;
    int64_t pictures, passes, rows; /* of a picture: times that its last block is gone through, and rows of these */
} some_asked[] = {{"method", "coop_end", 3, 1, 37},          {"method", "ivlp_full", 3, 2, 2 * (37 + 1)},
                  {"method", "vp_padding", 3, 2, 2 * 37},    {"method", "vpt_full", 3, 2, 2 * (37 + 2)},
                  {"method", "vpt_dpt_deep", 3, 2, 2 * 37},  {"method", "dpt_all", 3, 3, 37 + 2 * (37 + 2 + 3)}, /* once for queries */
                  {"ammpl", "shared_default", 15, 2, 2 * 10}};
enum { ASKED = sizeof some_asked / sizeof some_asked[0] };

START_TEST(one_query)
{
    static const uint32_t without[] = {AMMPLI_WITHOUT_ONE_QUERY, AMMPLI_WITHOUT_ROWS}; /* where all rows go on, it has no place */
    int k = _i / 2;
    fixture f;
    open_fixture(&f, some_asked[k].prefix, some_asked[k].variant, 0);
    int64_t H = f.model->image.heads;
    difference d = compare(&f, 0, without[_i % 2], 5e-6, 2e-5);
    int64_t pictures = some_asked[k].pictures;
    check_rows(f.variant, &d, PICTURE_ASKED, pictures * some_asked[k].passes * (2 * H + 1), pictures * some_asked[k].rows);
}
END_TEST

/* Prompts that all pictures share and that the next block overwrites, or that are dropped there, stand before all pictures, so that these lie
 * one behind the other.  Attention then sees them before a picture's own keys instead of behind (seen: gradients 3.6e-6 and less).  The same
 * rows go through the tower. */
static const struct {
    const char *variant;
    int64_t prompts, blocks; /* of a picture; that have them in front: not the last, nor one whose prompts carry on */
} some_front[] = {{"vpt_shallow", 4, 0}, {"vpt_deep", 2, 2},   {"vpt_full", 2, 4},   {"vpt_dpt", 2, 4}, {"vpt_dpt_deep", 4, 3}, {"ivlp_deep", 3, 3},
                  {"ivlp_full", 1, 4},   {"maple_deep", 2, 1}, {"maple_full", 4, 2}, {"dpt_one", 2, 4}, {"dpt_two", 4, 3},      {"dpt_all", 2, 2}};
enum { FRONT = sizeof some_front / sizeof *some_front };

START_TEST(front)
{
    fixture f;
    open_fixture(&f, "method", some_front[_i].variant, 0);
    difference d = compare(&f, 0, AMMPLI_WITHOUT_FRONT, 5e-6, 2e-5);
    for (int k = 0; k < PICTURE_FRONT; k++)
        check_rows(f.variant, &d, k, d.with[k], d.with[k]);
    check_rows(f.variant, &d, PICTURE_FRONT, BATCH * some_front[_i].prompts * some_front[_i].blocks, 0);
}
END_TEST

/* Backward keeps what it needs of attention's half: its product is not computed again. */
START_TEST(out_projections_once)
{
    fixture f;
    open_fixture(&f, "method", "vp_padding", 0);
    ck_assert_int_gt(f.model->image.layers, 1);
    difference d = with_and_without(&f, 0, 0); /* twice the same */
    check_rows(f.variant, &d, PICTURE_OUT, BATCH * 37, BATCH * 37);
}
END_TEST

/* Shortcut 6.  Features of equal pictures are equal; backward adds the classes' gradients before the tower instead of behind it
 * (seen: 6e-7 and less).  One draw for all classes, and one pad: a picture for each image; without, one for each class as well.  Where each
 * class has a pad of its own no two pictures are equal, and nothing is saved. */
static const struct {
    const char *variant;
    bool own_pads;
} some_equal[] = {{"shared_mask_padding", false}, {"shared_mask", false}, {"shared_draws_image", true}};

START_TEST(equal_pictures)
{
    fixture f;
    open_fixture(&f, "ammpl", some_equal[_i].variant, 0);
    ck_ok(ammpli_config_set_text(f.prompt->config, "draws", "image"));
    int64_t C = (int64_t)f.C, with = some_equal[_i].own_pads ? BATCH * C : BATCH;
    difference d = with_and_without(&f, AMMPLI_WITHOUT_EQUAL, 2e-5);
    check_rows(f.variant, &d, PICTURE_READS, with, BATCH * C);
}
END_TEST

/* The same at test, where a picture of which nothing is masked is the plain one besides, for every class: that of those that read it is
 * encoded once, and with candidates not even that, as the plain one is at hand.  In the class scope some classes' masks keep everything, or
 * all of them do. */
static const struct {
    const char *variant;
    int64_t whole;         /* classes, the first ones, whose masks keep everything; in the shared scope all or none */
    int64_t with, without; /* pictures encoded of an image's */
} some_at_test[] = {{"shared_mask_padding", 0, 1, 5}, {"shared_mask", 0, 1, 5},   {"shared_mask", 5, 1, 5},
                    {"shared_default", 0, 5, 5},      {"shared_default", 5, 1, 5}, {"class_default", 0, 5, 5},
                    {"class_default", 2, 4, 5},       {"class_default", 5, 1, 5},
                    {"shared_candidates", 0, 4, 4},   {"shared_candidates", 5, 2, 4}}; /* two plain: to choose two candidates, and for the others */
enum { AT_TEST = sizeof some_at_test / sizeof some_at_test[0] };

/* Keeps patch j of class i, or not. */
static void write_masks(fixture *f, int64_t whole)
{
    ammpli_tensor *t = ammpli_prompt_find(f->prompt, "mask_prob");
    int64_t P = f->model->grid * f->model->grid, sets = t->count / P;
    float *prob = malloc((size_t)t->count * sizeof *prob);
    for (int64_t i = 0; i < sets; i++)
        for (int64_t j = 0; j < P; j++)
            prob[i * P + j] = i < whole || j % (i + 2) != 1;
    ck_ok(ammpli_prompt_write(f->prompt, (size_t)(t - f->prompt->tensor), prob));
    free(prob);
}

START_TEST(equal_pictures_at_test)
{
    fixture f;
    ammpl_ops counting = ammpli_cpu_ops;
    static float logits[2][BATCH * MOST_CLASSES];
    int64_t reads[2];
    counting.linear_forward = counting_forward;
    open_fixture(&f, "ammpl", some_at_test[_i].variant, 0);
    write_masks(&f, some_at_test[_i].whole);
    for (int k = 0; k < 2; k++) {
        f.session->engine.ops = &counting;
        f.session->engine.without = k ? AMMPLI_WITHOUT_EQUAL : 0;
        count_from_here(f.model);
        ck_ok(ammpli_session_predict(f.session, f.prompt, f.images, BATCH, logits[k]));
        reads[k] = rows_at[PICTURE_READS];
        f.session->engine.ops = &ammpli_cpu_ops;
    }
    f.session->engine.without = 0;
    ck_assert_msg(reads[0] == BATCH * some_at_test[_i].with && reads[1] == BATCH * some_at_test[_i].without, "%s: %d pictures of %d with the shortcut, %d without",
                  f.variant, (int)reads[0], BATCH, (int)reads[1]);
    for (size_t i = 0; i < BATCH * f.C; i++)
        ck_assert_msg(logits[0][i] == logits[1][i], "%s: logit %d: %.9g with the shortcut, %.9g without", f.variant, (int)i, (double)logits[0][i],
                      (double)logits[1][i]);
    close_fixture(&f);
}
END_TEST

/* Shortcut 7: each masked picture made of pixels and embedded, and each gradient taken back to pixels (seen: 2e-6 and less): what a
 * mask selects keeps its bits.  With it, images and pads are embedded once. */
static const struct {
    const char *variant;
    int64_t pads, pictures, masked; /* pads; pictures that are made, and those of them whose masks or pads learn */
} some_linear[] = {{"shared_default", 5, 15, 15}, {"class_default", 5, 15, 15},     {"shared_mask", 0, 12, 12}, /* three are equal to others */
                   {"shared_blend", 5, 15, 15},   {"shared_candidates", 5, 13, 7}, {"shared_simultaneous", 5 + 1, 15 + 14, 15 + 14}};
enum { LINEAR = sizeof some_linear / sizeof some_linear[0] };

START_TEST(linear)
{
    fixture f;
    open_fixture(&f, "ammpl", some_linear[_i].variant, 0);
    int64_t P = f.model->grid * f.model->grid;
    difference d = with_and_without(&f, AMMPLI_WITHOUT_LINEAR, 2e-5);
    check_rows(f.variant, &d, PATCHES, BATCH * P + some_linear[_i].pads, some_linear[_i].pictures * P);
    check_rows(f.variant, &d, PATCHES_BACK, some_linear[_i].pads, some_linear[_i].masked * P);
}
END_TEST

/* Shortcut 5 at inference: what depends on the prompt alone is computed once, and forgotten when something changes. */
START_TEST(remembered)
{
    static const char *const variants[] = {"coop_end", "dlp_full", "ivlp_full", "maple_deep", "vpt_deep", "vp_padding", "dpt_two"};
    fixture f;
    bool own = _i == sizeof variants / sizeof variants[0];
    open_fixture(&f, own ? "ammpl" : "method", own ? "shared_default" : variants[_i], 0);
    float logits[3][MOST_CLASSES];
    double count[3];
    for (int k = 0; k < 3; k++) {
        ammpl_ops counting = ammpli_cpu_ops;
        counting.linear_forward = counting_forward;
        f.session->engine.ops = &counting;
        if (k == 2) { /* as when tensors and classes change */
            f.prompt->revision++;
            f.prompt->binding++;
        }
        count_from_here(f.model);
        ck_ok(ammpli_session_predict(f.session, f.prompt, f.images, 1, logits[k]));
        count[k] = work;
        f.session->engine.ops = &ammpli_cpu_ops;
    }
    ck_assert(memcmp(logits[0], logits[1], f.C * sizeof logits[0][0]) == 0);
    ck_assert(memcmp(logits[0], logits[2], f.C * sizeof logits[0][0]) == 0);
    ck_assert_msg(count[1] < count[0], "%s: %g multiply-adds again, %g at first", f.variant, count[1], count[0]);
    ck_assert(count[2] > count[1]);
    close_fixture(&f);
}
END_TEST

/* Shortcut 1: texts at full length, whatever stands behind the row that is read.  It is causal: all bits stay. */
START_TEST(cut)
{
    fixture f;
    open_fixture(&f, "method", "coop_end", 0);
    ammpli_engine *e = &f.session->engine;
    const ammpl_model *m = f.model;
    int64_t full = m->context, l = m->text.width, E = m->embed, B = 3, ends[3] = {full / 3, full, full / 2};
    float *input = malloc((size_t)(B * full * l) * sizeof *input), *dfeature = malloc((size_t)(B * E) * sizeof *dfeature);
    for (int64_t i = 0; i < B * full * l; i++)
        input[i] = (float)((i * 7919 + 13) % 1009) / 1009 - 0.5f;
    for (int64_t i = 0; i < B * E; i++)
        dfeature[i] = (float)((i * 613 + 7) % 331) / 331 - 0.5f;
    float *feature[2], *dx[2];
    double count[2];
    for (int k = 0; k < 2; k++) {
        int32_t start[4] = {0}, read[3], *index;
        int64_t T = 0;
        ammpl_ops counting = ammpli_cpu_ops;
        counting.linear_forward = counting_forward;
        counting.linear_backward = counting_backward;
        for (int64_t b = 0; b < B; b++) {
            read[b] = (int32_t)(T + ends[b] - 1);
            T += k ? full : ends[b];
            start[b + 1] = (int32_t)T;
        }
        float *x, *z, *dz;
        ammpli_arena_reset(e);
        ck_ok(ammpli_take_ints(e, start, 4, &index));
        ammpli_pass pass = {.B = B, .T = T, .max_len = full, .start = index, .keep = true};
        ck_ok(ammpli_take_ints(e, read, 3, &index));
        pass.read = index;
        ck_ok(ammpli_take_floats(e, T * l, &x));
        for (int64_t b = 0; b < B; b++) /* backend memory is host memory on the CPU */
            memcpy(x + start[b] * l, input + b * full * l, (size_t)((start[b + 1] - start[b]) * l) * sizeof *x);
        ck_ok(ammpli_take_floats(e, B * E, &z));
        ck_ok(ammpli_take_copy(e, dfeature, B * E, &dz));
        e->ops = &counting;
        count_from_here(m);
        ck_ok(ammpli_text_forward(e, &pass, x, z));
        ck_ok(ammpli_text_backward(e, &pass, dz, x, NULL));
        count[k] = work;
        e->ops = &ammpli_cpu_ops;
        feature[k] = malloc((size_t)(B * E) * sizeof *feature[k]);
        memcpy(feature[k], z, (size_t)(B * E) * sizeof *z);
        dx[k] = calloc((size_t)(B * full * l), sizeof *dx[k]);
        for (int64_t b = 0; b < B; b++) /* behind the row that is read: 0 */
            memcpy(dx[k] + b * full * l, x + start[b] * l, (size_t)((start[b + 1] - start[b]) * l) * sizeof *x);
    }
    ck_assert(count[0] < count[1]);
    ck_assert(memcmp(feature[0], feature[1], (size_t)(B * E) * sizeof *feature[0]) == 0);
    ck_assert_double_le(test_difference(dx[0], dx[1], B * full * l, 0), 1e-6);
    for (int k = 0; k < 2; k++)
        free(feature[k]), free(dx[k]);
    free(input);
    free(dfeature);
    close_fixture(&f);
}
END_TEST

static const struct {
    const char *prefix, *variant;
    int between; /* budgets that save some and not all, each more than the one before: of n encodes n - 2 at most */
} some_kept[] = {{"method", "coop_end", 2},      {"method", "coop_middle", 2},   {"method", "coop_class_end", 2}, {"method", "cocoop_wide", 5},
                 {"method", "cocoop_words", 5},  {"method", "dlp_deep", 2},      {"method", "ivlp_full", 2},      {"method", "vpt_deep", 1},
                 {"method", "vpt_dpt_deep", 1},  {"method", "vp_padding", 1},    {"method", "maple_deep", 3},     {"method", "dpt_two", 2},
                 {"method", "dpt_all", 2},       {"ammpl", "shared_default", 8}, {"ammpl", "class_default", 8},   {"ammpl", "shared_simultaneous", 8},
                 {"ammpl", "shared_candidates", 5}, {"ammpl", "shared_mask", 5}};
enum { KEPT = sizeof some_kept / sizeof some_kept[0] };

/* Of n encodes `kept` are kept and `chunk` go at once where `fit` fit the budget; chunks have 3 encodes at least. */
static const struct {
    int n, fit, kept, chunk;
} some_chunks[] = {{100, 100, 100, 100}, {100, 200, 100, 100}, {100, 99, 86, 13}, {100, 40, 35, 5}, {100, 25, 21, 4},
                   {100, 24, 0, 24},     {100, 0, 0, 1},       {20, 6, 3, 3},     {20, 5, 0, 5},    {1, 0, 0, 1}};
enum { CHUNKS = sizeof some_chunks / sizeof some_chunks[0] };

START_TEST(chunks_that_fit)
{
    enum { ROWS = 10 };
    fixture f;
    open_fixture(&f, "method", "coop_end", 0);
    const ammpli_tower *tower = &f.model->text;
    f.session->least_rows = 3 * ROWS - 1;
    f.session->budget = some_chunks[_i].fit * (int64_t)ammpli_pass_bytes(tower, ROWS, true);
    ammpli_chunks c = ammpli_chunks_of(f.session, tower, some_chunks[_i].n, some_chunks[_i].n, ROWS, true);
    ck_assert_int_eq(c.kept, some_chunks[_i].kept);
    ck_assert_int_eq(c.chunk, some_chunks[_i].chunk);
    ck_assert(c.kept == c.n || c.kept + c.chunk <= some_chunks[_i].fit || c.chunk == 1); /* what is kept and the chunk at work */
    int64_t covered = 0;
    for (int64_t from = 0, to; from < c.n; from = to) {
        to = ammpli_chunk_end(&c, from);
        ck_assert(to > from && (to - from <= c.chunk || to == c.kept));
        covered += to - from;
    }
    ck_assert_int_eq(covered, c.n);
    c = ammpli_chunks_of(f.session, tower, some_chunks[_i].n, some_chunks[_i].n, ROWS, false);
    ck_assert_int_eq(c.kept, 0);
    close_fixture(&f);
}
END_TEST

/* Shortcut 8: a stage keeps what fits its budget and computes the others again, which changes no bit.  From everything again
 * down to nothing no larger budget costs more, and there are some between. */
START_TEST(as_much_as_fits)
{
    fixture f;
    open_fixture(&f, some_kept[_i].prefix, some_kept[_i].variant, 0);
    outcome all, some;
    int64_t before = INT64_MAX, between = 0, most = f.session->most;
    f.session->least_rows = 1; /* as many as there are in these small models */
    run_batch(&f, 0, 0, NULL); /* what is encoded once and then remembered */
    step(&f, 0, &all);
    int64_t least = all.rows[TEXTS] + all.rows[PICTURES], now = INT64_MAX;
    for (int64_t budget = 1 << 12; now > least; budget += budget / 8) {
        ck_assert_int_lt(budget, most);
        f.session->most = budget;
        memset(f.session->plan, 0, sizeof f.session->plan); /* plans hold the budget of their time */
        step(&f, 0, &some);
        now = some.rows[TEXTS] + some.rows[PICTURES];
        ck_assert_msg(now <= before, "%s: %d rows with a budget of %d, %d with less", f.variant, (int)now, (int)budget, (int)before);
        ck_assert_int_ge(now, least);
        between += now < before && before < INT64_MAX && now > least;
        before = now;
        ck_assert(some.loss == all.loss);
        ck_assert(memcmp(some.logits, all.logits, sizeof all.logits) == 0);
        for (size_t i = 0; i < f.prompt->tensors; i++)
            test_same(f.prompt->tensor[i].name, some.gradient[i], all.gradient[i], f.prompt->tensor[i].count, 0);
        free_outcome(&f, &some);
    }
    ck_assert_msg(between >= some_kept[_i].between, "%s: %d budgets saved some", f.variant, (int)between);
    free_outcome(&f, &all);
    close_fixture(&f);
}
END_TEST

/* Shortcut 2 for hand-written texts. */
START_TEST(prefix_of_texts)
{
    static const char *const texts[] = {"a photo of a cat.", "a photo of a red dog.", "a photo of a red dog.", "a photo", "a photo of"};
    fixture f;
    open_fixture(&f, "method", "coop_end", 0);
    size_t E = (size_t)f.model->embed;
    float *x[2];
    double count[2];
    for (int k = 0; k < 2; k++) {
        ammpl_ops counting = ammpli_cpu_ops;
        counting.linear_forward = counting_forward;
        f.session->engine.ops = &counting;
        f.session->engine.without = k ? AMMPLI_WITHOUT_PREFIX : 0;
        count_from_here(f.model);
        x[k] = malloc(5 * E * sizeof *x[k]);
        ck_ok(ammpli_session_encode_texts(f.session, texts, 5, x[k]));
        count[k] = work;
        f.session->engine.ops = &ammpli_cpu_ops;
    }
    ck_assert(count[0] < count[1]);
    ck_assert(memcmp(x[0], x[1], 5 * E * sizeof *x[0]) == 0);
    free(x[0]);
    free(x[1]);
    close_fixture(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("shortcuts");
    TCase *c = tcase_create("shortcuts");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, prefix, 0, RUNS);
    tcase_add_test(c, prefix_of_texts);
    tcase_add_test(c, cut);
    tcase_add_loop_test(c, cut_in_steps, 0, RUNS);
    tcase_add_loop_test(c, rows, 0, UNREAD);
    tcase_add_loop_test(c, one_query, 0, 2 * ASKED);
    tcase_add_loop_test(c, front, 0, FRONT);
    tcase_add_test(c, out_projections_once);
    tcase_add_loop_test(c, wanted, 0, WANTED);
    tcase_add_loop_test(c, linear, 0, LINEAR);
    tcase_add_loop_test(c, remembered, 0, 8);
    tcase_add_loop_test(c, equal_pictures, 0, 3);
    tcase_add_loop_test(c, equal_pictures_at_test, 0, AT_TEST);
    tcase_add_loop_test(c, chunks_that_fit, 0, CHUNKS);
    tcase_add_loop_test(c, as_much_as_fits, 0, KEPT);
    suite_add_tcase(s, c);
    return test_main(s);
}
