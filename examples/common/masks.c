/* masks.c - what an AMMPL prompt hides. */
#include "masks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool keep_read(struct app *app, const ammpl_prompt *prompt, struct keep *out)
{
    *out = (struct keep){NULL, 0, 0};
    int32_t index = ammpl_prompt_tensor_find(prompt, "mask_prob");
    if (index < 0)
        return true;
    ammpl_tensor_info info = {.struct_size = sizeof info};
    if (!app_check(app, ammpl_prompt_tensor_describe(prompt, (size_t)index, &info)))
        return false;
    out->patches = (size_t)(info.shape[info.rank - 2] * info.shape[info.rank - 1]);
    out->maps = info.count / out->patches;
    out->value = allocate(info.count * sizeof *out->value);
    return app_check(app, ammpl_prompt_tensor_read(prompt, (size_t)index, out->value, info.count));
}

const float *keep_map(const struct keep *keep, size_t class_index)
{
    return keep->value + (keep->maps == 1 ? 0 : class_index) * keep->patches;
}

double keep_expected_masked(const float *map, size_t patches)
{
    double sum = 0;
    for (size_t j = 0; j < patches; j++)
        sum += 1 - fmin(fmax(map[j], 0), 1);
    return sum;
}

size_t masked_count(const float *mask, size_t patches)
{
    size_t n = 0;
    for (size_t j = 0; j < patches; j++)
        n += mask[j] == 0;
    return n;
}

bool keep_masked_in_evaluation(struct app *app, const ammpl_prompt *prompt, const struct keep *keep, double *masked)
{
    const char *mode = ammpl_prompt_option(prompt, "evaluation");
    size_t classes = ammpl_prompt_class_count(prompt), n = keep->patches;
    memset(masked, 0, classes * sizeof *masked);
    if (strcmp(mode, "expected") == 0 || strcmp(mode, "threshold") == 0) {
        for (size_t i = 0; i < classes; i++) {
            const float *map = keep_map(keep, i);
            if (mode[0] == 'e')
                masked[i] = keep_expected_masked(map, n);
            for (size_t j = 0; mode[0] == 't' && j < n; j++)
                masked[i] += map[j] < 0.5f;
        }
        return true;
    }
    uint32_t draws = strncmp(mode, "mean:", 5) == 0 ? (uint32_t)strtoul(mode + 5, NULL, 10) : 1;
    float *mask = allocate(classes * n * sizeof *mask);
    bool ok = true;
    for (uint32_t draw = 0; ok && draw < draws; draw++) {
        ok = app_check(app, ammpl_session_masks(app->session, prompt, draw, mask, classes * n));
        for (size_t i = 0; ok && i < classes; i++)
            masked[i] += (double)masked_count(mask + i * n, n) / draws;
    }
    free(mask);
    return ok;
}

/* "3.21 (1.90 NAME ... 5.00 NAME)": the mean over the classes, the smallest and the largest. */
static void say_range(struct app *app, const ammpl_prompt *prompt, const char *what, const double *value)
{
    size_t classes = ammpl_prompt_class_count(prompt), low = 0, high = 0;
    double sum = 0;
    for (size_t i = 0; i < classes; i++) {
        sum += value[i];
        low = value[i] < value[low] ? i : low;
        high = value[i] > value[high] ? i : high;
    }
    app_say(app, "%s %.2f per class", what, sum / (double)classes);
    if (value[low] < value[high])
        app_say(app, " (from %.2f, %s, to %.2f, %s)", value[low], ammpl_prompt_class_name(prompt, low), value[high],
                ammpl_prompt_class_name(prompt, high));
    app_say(app, "\n");
}

bool keep_movement(const struct keep *start, const struct keep *now, double *mean, double *most)
{
    size_t n = now->maps * now->patches;
    *mean = *most = 0;
    if (start->maps * start->patches != n)
        return false;
    for (size_t j = 0; j < n; j++) {
        double d = fabs((double)now->value[j] - (double)start->value[j]);
        *mean += d / (double)n;
        *most = fmax(*most, d);
    }
    return true;
}

bool keep_report(struct app *app, const ammpl_prompt *prompt, const struct keep *start)
{
    struct keep now;
    if (!keep_read(app, prompt, &now) || now.value == NULL) {
        free(now.value);
        return app->status == 0;
    }
    size_t classes = ammpl_prompt_class_count(prompt), n = now.maps * now.patches;
    double *masked = allocate(classes * sizeof *masked), moved, most;
    float low = now.value[0], high = now.value[0];
    char what[96];
    for (size_t i = 0; i < classes; i++)
        masked[i] = keep_expected_masked(keep_map(&now, i), now.patches);
    snprintf(what, sizeof what, "masked patches of %zu: a draw hides", now.patches);
    say_range(app, prompt, what, masked);
    bool ok = keep_masked_in_evaluation(app, prompt, &now, masked);
    if (ok) {
        const char *mode = ammpl_prompt_option(prompt, "evaluation");
        snprintf(what, sizeof what, "evaluation = %s %s", mode,
                 strcmp(mode, "expected") == 0 ? "blends away" : "hides");
        say_range(app, prompt, what, masked);
    }
    for (size_t j = 0; j < n; j++) {
        low = fminf(low, now.value[j]);
        high = fmaxf(high, now.value[j]);
    }
    if (keep_movement(start, &now, &moved, &most))
        app_say(app, "P moved by %.4g on average and %.4g at most, to %.4f ... %.4f\n", moved, most, low, high);
    free(masked);
    free(now.value);
    return ok;
}
