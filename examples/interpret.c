/* ammpl-interpret: what a prompt has learned, in words: the vocabulary's nearest to each context vector (as CoOp's interpret_prompt
 * does), and how much of a picture each class keeps. */
#include <stdlib.h>
#include <string.h>

#include "common/app.h"
#include "common/json.h"
#include "common/masks.h"

static struct {
    const char *prompt, *class_name;
    int top, json;
} opt = {.top = 5};

static const struct flag flags[] = {
    {"prompt", FLAG_TEXT, &opt.prompt, "FILE", "the prompt to look into"},
    {"class", FLAG_TEXT, &opt.class_name, "NAME", "of a prompt that learns each class by itself: only this one"},
    {"top", FLAG_COUNT, &opt.top, "N", "how many words to show for a vector (5)"},
    {"json", FLAG_SWITCH, &opt.json, NULL, "one JSON object for each vector, and for each class's keep probabilities"},
};

static const struct program program = {
    .name = "ammpl-interpret",
    .about = "says which words a learned context is near to, and which part of a picture each class keeps",
    .usage = "--model M --prompt P [--top N] [--class NAME] [--json]",
    .flags = flags,
    .flag_count = sizeof flags / sizeof flags[0],
    .option_flags = AMMPL_OPTION_LOAD | AMMPL_OPTION_SAVED,
};

static bool is_shown(const char *class_name)
{
    return opt.class_name == NULL || strcmp(class_name, opt.class_name) == 0;
}

/* ---- context vectors ---- */

static bool token_text(struct app *app, int32_t id, char **out)
{
    size_t need = 0;
    ammpl_model_token_text(app->model, id, NULL, 0, &need);
    *out = allocate(need + 1);
    return app_check(app, ammpl_model_token_text(app->model, id, *out, need, &need));
}

static bool print_words(struct app *app, const char *class_name, size_t token, size_t n, const int32_t *ids, const float *distance)
{
    bool ok = true;
    if (opt.json) {
        printf("{\"tensor\": \"ctx\", \"class\": ");
        if (class_name != NULL)
            put_json_string(stdout, class_name);
        else
            fputs("null", stdout);
        printf(", \"token\": %zu, \"nearest\": [", token);
    } else {
        printf("  %2zu  ", token);
    }
    for (size_t i = 0; ok && i < n; i++) {
        char *text = NULL;
        ok = token_text(app, ids[i], &text);
        if (ok && opt.json) {
            printf("%s{\"token\": ", i == 0 ? "" : ", ");
            put_json_string(stdout, text);
            printf(", \"id\": %d, \"distance\": ", (int)ids[i]);
            put_json_number(stdout, (double)distance[i]);
            putchar('}');
        } else if (ok) {
            fputs(i == 0 ? "" : ", ", stdout);
            put_plain(stdout, text);
            printf(" %.3f", (double)distance[i]);
        }
        free(text);
    }
    puts(opt.json ? "]}" : "");
    return ok;
}

/* The M vectors of one context, of a class or of all. */
static bool read_context(struct app *app, const char *class_name, const float *ctx, size_t tokens, size_t width)
{
    size_t n = (size_t)opt.top, vocabulary = (size_t)app_model_int(app, AMMPL_QUERY_VOCAB_SIZE);
    n = n < vocabulary ? n : vocabulary;
    int32_t *ids = allocate(n * sizeof *ids);
    float *distance = allocate(n * sizeof *distance);
    bool ok = true;
    if (!opt.json)
        printf("context%s%s: nearest words and their distance\n", class_name == NULL ? "" : " of ", class_name == NULL ? "" : class_name);
    for (size_t t = 0; ok && t < tokens; t++)
        ok = app_check(app, ammpl_model_nearest_tokens(app->model, ctx + t * width, width, n, ids, distance)) &&
             print_words(app, class_name, t, n, ids, distance);
    free(ids);
    free(distance);
    return ok;
}

static bool contexts(struct app *app, const ammpl_prompt *prompt, bool *found)
{
    int32_t index = ammpl_prompt_tensor_find(prompt, "ctx");
    ammpl_tensor_info info = {.struct_size = sizeof info};
    size_t width = (size_t)app_model_int(app, AMMPL_QUERY_TEXT_WIDTH);
    if (index < 0)
        return true;
    *found = true;
    if (!app_check(app, ammpl_prompt_tensor_describe(prompt, (size_t)index, &info)))
        return false;
    float *ctx = allocate(info.count * sizeof *ctx);
    bool ok = app_check(app, ammpl_prompt_tensor_read(prompt, (size_t)index, ctx, info.count));
    size_t tokens = (size_t)info.shape[info.rank - 2], each = tokens * width, n = info.count / each;
    for (size_t i = 0; ok && i < n; i++) {
        const char *name = info.rank == 3 ? ammpl_prompt_class_name(prompt, i) : NULL;
        if (name == NULL || is_shown(name))
            ok = read_context(app, name, ctx + i * each, tokens, width);
    }
    free(ctx);
    return ok;
}

/* ---- keep probabilities ---- */

static void print_keep(const char *class_name, const float *map, size_t patches, double in_evaluation)
{
    double low = (double)map[0], high = low, sum = 0, masked = keep_expected_masked(map, patches);
    size_t below_half = 0;
    for (size_t j = 0; j < patches; j++) {
        double p = (double)map[j];
        low = p < low ? p : low;
        high = p > high ? p : high;
        sum += p;
        below_half += p < 0.5;
    }
    if (!opt.json) {
        printf("%-24s %7.4f %7.4f %7.4f %7zu %9.2f %9.2f\n", class_name, low, sum / (double)patches, high, below_half, masked, in_evaluation);
        return;
    }
    printf("{\"tensor\": \"mask_prob\", \"class\": ");
    put_json_string(stdout, class_name);
    const struct {
        const char *key;
        double value;
    } number[] = {{"min", low}, {"mean", sum / (double)patches}, {"max", high}, {"masked", masked}, {"masked_in_evaluation", in_evaluation}};
    for (int i = 0; i < 5; i++) {
        printf(", \"%s\": ", number[i].key);
        put_json_number(stdout, number[i].value);
    }
    printf(", \"below_half\": %zu, \"patches\": %zu}\n", below_half, patches);
}

static bool keeps(struct app *app, const ammpl_prompt *prompt, bool *found)
{
    struct keep keep;
    if (!keep_read(app, prompt, &keep))
        return false;
    size_t classes = ammpl_prompt_class_count(prompt);
    double *masked = allocate(classes * sizeof *masked);
    bool ok = true;
    if (keep.value != NULL) {
        *found = true;
        ok = keep_masked_in_evaluation(app, prompt, &keep, masked);
        if (ok && !opt.json)
            printf("keep probability P of %zu patches:\n%-24s %7s %7s %7s %7s %9s %9s\n", keep.patches, "", "least", "mean", "most", "P<0.5",
                   "a draw", "evaluation");
        for (size_t i = 0; ok && i < (keep.maps == 1 ? 1 : classes); i++) {
            const char *name = keep.maps == 1 ? "all classes" : ammpl_prompt_class_name(prompt, i);
            if (keep.maps == 1 || is_shown(name))
                print_keep(name, keep_map(&keep, i), keep.patches, masked[i]);
        }
        if (ok && !opt.json)
            printf("(a draw, evaluation: how many of the %zu patches one draw masks, and how many are masked in evaluation = %s)\n", keep.patches,
                   ammpl_prompt_option(prompt, "evaluation"));
    }
    free(masked);
    free(keep.value);
    return ok;
}

static void run(struct app *app)
{
    ammpl_prompt *prompt = NULL;
    bool found = false;
    if (!app_load_model(app) || !app_check(app, ammpl_prompt_load_file(app->model, opt.prompt, app->config, &prompt)))
        return;
    bool known = opt.class_name == NULL;
    for (size_t i = 0; !known && i < ammpl_prompt_class_count(prompt); i++)
        known = is_shown(ammpl_prompt_class_name(prompt, i));
    if (!known)
        app_fail(app, "--class %s is none of the prompt's classes", opt.class_name);
    else if (contexts(app, prompt, &found) && keeps(app, prompt, &found) && !found)
        app_fail(app, "--prompt %s: a prompt with neither context vectors nor masks; nothing can be said of it in words", opt.prompt);
    ammpl_prompt_destroy(prompt);
}

int main(int argc, char **argv)
{
    struct app app;
    struct list operands = {NULL, 0, 0};
    if (app_open(&app, &program, argc, argv, &operands)) {
        if (operands.count != 0)
            app_usage(&app, "'%s' is not a flag", operands.item[0]);
        else if (opt.prompt == NULL)
            app_usage(&app, "--prompt is missing");
        else if (opt.top == 0)
            app_usage(&app, "--top wants 1 or more");
        else
            run(&app);
    }
    list_free(&operands);
    return app_close(&app);
}
