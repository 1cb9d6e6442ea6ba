/* test_method_gradients.c - the gradients of every method but AMMPL against finite differences of its own loss (differences.h).
 *
 * DPT's gradient stops at the tokens that CAVPT reads: it is the loss's derivative only for tensors that change no such tokens, or
 * where nobody reads them.  So layers above are muted (their value map is zero) while what lies below them is compared.
 */
#include "differences.h"
#include "kinds.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double TOLERANCE = 2e-3; /* measured: 4e-4 at most */
enum { DIRECTIONS = 2, PICTURES = 4 };
static const int32_t label[PICTURES] = {1, 1, 2, 0}; /* DPT: hits and misses */

typedef struct pictures {
    nano n;
    float *pixels;
    int64_t epoch; /* of DPT's loss */
} pictures;

static void pictures_open(pictures *p, const kind *k, const char *const *more, int64_t epoch)
{
    kind_open(&p->n, k, more);
    kind_fill(p->n.prompt);
    p->pixels = nano_pixels(&p->n);
    p->epoch = epoch;
}

static void pictures_close(pictures *p)
{
    free(p->pixels);
    nano_close(&p->n);
}

/* In double from the logits where the loss is one of them alone. */
static double loss(void *user)
{
    pictures *p = user;
    float logits[PICTURES * NANO_CLASSES];
    double sum;
    ammpl_batch batch = {.struct_size = sizeof batch, .n = PICTURES, .pixels = p->pixels, .label = label, .seed = 21, .step = 3, .epoch = p->epoch};
    ck_ok(ammpli_session_accumulate(p->n.session, p->n.prompt, &batch, &sum, logits));
    if (p->n.method == AMMPL_METHOD_DPT)
        return sum;
    double mine = differences_cross_entropy(logits, label, PICTURES, NANO_CLASSES);
    ck_assert_double_eq_tol(sum, mine, 1e-5 * (1 + fabs(mine)));
    return mine;
}

START_TEST(parameters)
{
    const kind *k = &kinds[_i];
    pictures p;
    pictures_open(&p, k, NULL, 0);
    differences d = {.prompt = p.n.prompt, .loss = loss, .user = &p, .directions = DIRECTIONS};
    differences_open(&d);
    for (size_t t = 0; t < p.n.prompt->tensors; t++) {
        const char *name = p.n.prompt->tensor[t].name;
        ck_assert_msg(d.norm[t] > 1e-4, "%s: %s has no gradient", k->name, name);
        double error = differences_error(&d, t);
        ck_assert_msg(error <= TOLERANCE, "%s: %s: differences are %.3g off (|gradient| %.3g)", k->name, name, error, d.norm[t]);
    }
    differences_close(&d);
    pictures_close(&p);
}
END_TEST

/* ---- DPT ---- */

/* The first CAVPT layer whose tokens the tensor changes. */
static int64_t first_reader(const char *name)
{
    int layer;
    bool own = sscanf(name, "cavpt.%*[a-z2_].%d", &layer) == 1;
    return strcmp(name, "visual_ctx") == 0 ? 0 : own ? layer + 1 : 1;
}

static bool is_of_classifier(const char *name)
{
    return strncmp(name, "cavpt.classifiers", 17) == 0 || strncmp(name, "cavpt.lns.", 10) == 0;
}

/* Layers from..T-1 do not look at tokens. */
static void mute(ammpl_prompt *p, int64_t from)
{
    for (size_t t = 0; t < p->tensors; t++) {
        const ammpli_tensor *tensor = &p->tensor[t];
        if (!strstr(tensor->name, ".vmlp.") || first_reader(tensor->name) <= from)
            continue;
        float *zero = calloc((size_t)tensor->count, sizeof *zero);
        ck_ok(ammpli_prompt_write(p, t, zero));
        free(zero);
    }
}

static const struct {
    const char *kind;
    int64_t layers, epoch;
    const char *aux_weight;
} dpts[] = {{"dpt_one", 1, 0, "0.3"}, {"dpt_one", 1, 2, "2"}, {"dpt_two", 2, 0, "1"}, {"dpt_two", 2, 5, "0"}, {"dpt_all", 5, 1, "0.3"}};
enum { DPTS = sizeof dpts / sizeof dpts[0] };

START_TEST(dpt)
{
    const char *more[] = {"aux_weight", dpts[_i].aux_weight, NULL};
    bool aux = atof(dpts[_i].aux_weight) > 0;
    int64_t T = dpts[_i].layers;
    size_t compared = 0, tensors = 0;
    for (int64_t muted = T; muted >= 0; muted--) {
        pictures p;
        pictures_open(&p, kind_of(dpts[_i].kind), more, dpts[_i].epoch);
        int64_t rows;
        ck_ok(ammpli_session_aux_rows(p.n.session, p.n.prompt, p.pixels, label, PICTURES, &rows));
        ck_assert_msg(rows > 0 && (rows < PICTURES * T || T == 5), "%d rows of the auxiliary loss", (int)rows);
        mute(p.n.prompt, muted);
        differences d = {.prompt = p.n.prompt, .loss = loss, .user = &p, .directions = DIRECTIONS};
        differences_open(&d);
        tensors = p.n.prompt->tensors;
        for (size_t t = 0; t < tensors; t++) {
            const char *name = p.n.prompt->tensor[t].name;
            int64_t reader = first_reader(name) < T ? first_reader(name) : T;
            if (reader != muted)
                continue;
            compared++;
            ck_assert_msg(d.norm[t] > 1e-4 || (!aux && is_of_classifier(name)), "%s: %s has no gradient", dpts[_i].kind, name);
            double error = differences_error(&d, t);
            ck_assert_msg(error <= TOLERANCE, "%s: %s: differences are %.3g off (|gradient| %.3g)", dpts[_i].kind, name, error, d.norm[t]);
        }
        differences_close(&d);
        pictures_close(&p);
    }
    ck_assert_uint_eq(compared, tensors);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("method_gradients");
    TCase *c = tcase_create("differences");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, parameters, 0, KINDS - DPT_KINDS);
    tcase_add_loop_test(c, dpt, 0, DPTS);
    suite_add_tcase(s, c);
    return test_main(s);
}
