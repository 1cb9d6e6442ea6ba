/* ammpl-mask: draws what an AMMPL prompt does to pictures (the paper's Figure 3): a row per picture, and for each prompt
 * its keep probabilities, one sampled mask, the masked and the padded picture. */
#include <stdlib.h>
#include <string.h>

#include "common/app.h"
#include "common/figure.h"
#include "common/json.h"
#include "common/masks.h"

static struct {
    struct list prompts;
    const char *out, *class_name;
    int draw, json, force;
} opt;

static const struct flag flags[] = {
    {"prompt", FLAG_LIST, &opt.prompts, "FILE",
     "an AMMPL prompt; several (of several steps, say) give a column group each"},
    {"out", FLAG_TEXT, &opt.out, "FIGURE.png", "the figure to write"},
    {"force", FLAG_SWITCH, &opt.force, NULL, "overwrite the figure if it exists"},
    {"class", FLAG_TEXT, &opt.class_name, "NAME", "whose map, mask and padding to draw; else the predicted class"},
    {"draw", FLAG_COUNT, &opt.draw, "N", "which of the evaluation draws to show as the mask (0)"},
    {"json", FLAG_SWITCH, &opt.json, NULL,
     "one JSON object per picture and prompt, with the probabilities and the mask"},
};

static const ammpl_option options[] = {AMMPL_OPT_SEED, 0};

static const struct program program = {
    .name = "ammpl-mask",
    .about = "draws which patches of a picture an AMMPL prompt masks",
    .usage = "--model M --prompt P [--prompt P2 ...] --out FIGURE.png IMAGE...",
    .flags = flags,
    .flag_count = sizeof flags / sizeof flags[0],
    .option_flags = AMMPL_OPTION_LOAD | AMMPL_OPTION_SESSION | AMMPL_OPTION_SAVED,
    .options = options,
};

/* One prompt file and what is drawn of it. */
struct column {
    const char *path;
    ammpl_prompt *prompt;
    size_t classes;
    struct keep keep;
    float *masks;   /* [classes, g*g] */
    float *padding; /* [classes, 3, q, q] */
    float *logits;  /* [classes] of the picture at work */
};

struct sizes {
    size_t R, q, g; /* R = g*q */
};

static bool column_open(struct app *app, struct column *c, const char *path, const struct sizes *size)
{
    c->path = path;
    if (!app_check(app, ammpl_prompt_load_file(app->model, path, app->config, &c->prompt)) ||
        !keep_read(app, c->prompt, &c->keep))
        return false;
    if (c->keep.value == NULL)
        return app_fail(app, "--prompt %s: a prompt without masks; nothing can be drawn of it", path);
    c->classes = ammpl_prompt_class_count(c->prompt);
    size_t mask = c->classes * size->g * size->g, padding = c->classes * 3 * size->q * size->q;
    c->masks = allocate(mask * sizeof *c->masks);
    c->padding = allocate(padding * sizeof *c->padding);
    c->logits = allocate(c->classes * sizeof *c->logits);
    return app_check(app, ammpl_session_masks(app->session, c->prompt, (uint32_t)opt.draw, c->masks, mask)) &&
           app_check(app, ammpl_session_padding(app->session, c->prompt, c->padding, padding));
}

static void column_close(struct column *c)
{
    ammpl_prompt_destroy(c->prompt);
    free(c->keep.value);
    free(c->masks);
    free(c->padding);
    free(c->logits);
}

/* The class asked for, else the one that the prompt sees on the picture. */
static bool choose_class(struct app *app, struct column *c, const float *pixels, size_t *out)
{
    *out = 0;
    if (opt.class_name != NULL) {
        while (*out < c->classes && strcmp(ammpl_prompt_class_name(c->prompt, *out), opt.class_name) != 0)
            ++*out;
        return *out < c->classes || app_fail(app, "--class: %s has no class '%s'", c->path, opt.class_name);
    }
    if (!app_check(app, ammpl_session_predict(app->session, c->prompt, pixels, 1, c->logits, c->classes)))
        return false;
    for (size_t i = 1; i < c->classes; i++)
        if (c->logits[i] > c->logits[*out])
            *out = i;
    return true;
}

/* `pixels` with every masked patch replaced by the tile [3, q, q] (NULL: by zero), as an RGB picture. */
static bool hide_patches(struct app *app, const struct sizes *size, const float *pixels, const float *mask,
                         const float *tile, ammpl_image **out)
{
    size_t R = size->R, q = size->q, count = 3 * R * R;
    float *hidden = allocate(count * sizeof *hidden);
    for (size_t i = 0; i < count; i++) {
        size_t channel = i / (R * R), y = i / R % R, x = i % R;
        bool kept = mask[y / q * size->g + x / q] != 0;
        hidden[i] = kept ? pixels[i] : tile == NULL ? 0 : tile[(channel * q + y % q) * q + x % q];
    }
    bool ok = app_check(app, ammpl_model_unprocess(app->model, hidden, count, out));
    free(hidden);
    return ok;
}

static void print(const char *image, const struct column *c, size_t class_index, const struct cell *cell)
{
    const char *name = ammpl_prompt_class_name(c->prompt, class_index);
    size_t patches = c->keep.patches, masked = masked_count(cell->mask, patches);
    if (!opt.json) {
        printf("%s, %s: class %s, keep probability %.4f ... %.4f, %zu of %zu patches masked in draw %d\n", image,
               c->path, name, (double)cell->low, (double)cell->high, masked, patches, opt.draw);
        return;
    }
    printf("{\"image\": ");
    put_json_string(stdout, image);
    printf(", \"prompt\": ");
    put_json_string(stdout, c->path);
    printf(", \"class\": ");
    put_json_string(stdout, name);
    printf(", \"min\": ");
    put_json_number(stdout, (double)cell->low);
    printf(", \"max\": ");
    put_json_number(stdout, (double)cell->high);
    printf(", \"keep\": ");
    put_json_numbers(stdout, cell->keep, patches);
    printf(", \"draw\": %d, \"mask\": ", opt.draw);
    put_json_numbers(stdout, cell->mask, patches);
    printf("}\n");
}

/* The four pictures of one prompt for one row of the figure. */
static bool draw_cell(struct app *app, struct figure *figure, size_t row, size_t at, struct column *c,
                      const char *image, const float *pixels, const struct sizes *size)
{
    size_t class_index;
    ammpl_image *masked = NULL, *padded = NULL;
    if (!choose_class(app, c, pixels, &class_index))
        return false;
    struct cell cell = {.class_name = ammpl_prompt_class_name(c->prompt, class_index),
                        .keep = keep_map(&c->keep, class_index),
                        .mask = c->masks + class_index * c->keep.patches};
    cell.low = cell.high = cell.keep[0];
    for (size_t j = 1; j < c->keep.patches; j++) {
        cell.low = cell.keep[j] < cell.low ? cell.keep[j] : cell.low;
        cell.high = cell.keep[j] > cell.high ? cell.keep[j] : cell.high;
    }
    const float *tile = c->padding + class_index * 3 * size->q * size->q;
    bool ok = hide_patches(app, size, pixels, cell.mask, NULL, &masked) &&
              hide_patches(app, size, pixels, cell.mask, tile, &padded);
    if (ok) {
        cell.masked = ammpl_image_pixels(masked);
        cell.padded = ammpl_image_pixels(padded);
        figure_cell(figure, (int)row, (int)at, &cell);
        print(image, c, class_index, &cell);
    }
    ammpl_image_destroy(masked);
    ammpl_image_destroy(padded);
    return ok;
}

static bool draw_row(struct app *app, struct figure *figure, size_t row, const char *path, struct column *columns,
                     const struct sizes *size)
{
    size_t count = 3 * size->R * size->R;
    float *pixels = allocate(count * sizeof *pixels);
    ammpl_image *image = NULL, *seen = NULL; /* seen: resized and cropped, as the model sees it */
    bool ok = app_check(app, ammpl_image_load_file(app->context, path, &image)) &&
              app_check(app, ammpl_model_preprocess(app->model, image, pixels, count)) &&
              app_check(app, ammpl_model_unprocess(app->model, pixels, count, &seen));
    if (ok)
        figure_image(figure, (int)row, ammpl_image_pixels(seen), base_name(path));
    for (size_t i = 0; ok && i < opt.prompts.count; i++)
        ok = draw_cell(app, figure, row, i, &columns[i], path, pixels, size);
    ammpl_image_destroy(image);
    ammpl_image_destroy(seen);
    free(pixels);
    return ok;
}

static bool draw_figure(struct app *app, const struct list *images, struct column *columns, const struct sizes *size)
{
    struct figure figure = figure_create((int)images->count, (int)opt.prompts.count, (int)size->R, (int)size->g);
    bool ok = true;
    for (size_t i = 0; i < opt.prompts.count; i++)
        figure_heading(&figure, (int)i, base_name(opt.prompts.item[i]));
    for (size_t i = 0; ok && i < images->count; i++)
        ok = draw_row(app, &figure, i, images->item[i], columns, size);
    ammpl_image *out = NULL;
    ok = ok &&
         app_check(app, ammpl_image_from_pixels(app->context, figure.canvas.rgb, figure.canvas.width,
                                                figure.canvas.height, 0, &out)) &&
         app_check(app, ammpl_image_save_png(out, opt.out));
    ammpl_image_destroy(out);
    free(figure.canvas.rgb);
    return ok;
}

static bool check_usage(struct app *app, const struct list *images)
{
    if (opt.prompts.count == 0)
        return app_usage(app, "--prompt is missing");
    if (opt.out == NULL)
        return app_usage(app, "--out is missing");
    if (images->count == 0)
        return app_usage(app, "no pictures given");
    for (size_t i = 0; i < images->count; i++)
        if (same_file(opt.out, images->item[i]))
            return app_usage(app, "--out %s is one of the pictures", opt.out);
    for (size_t i = 0; i < opt.prompts.count; i++)
        if (same_file(opt.out, opt.prompts.item[i]))
            return app_usage(app, "--out %s is one of the prompts", opt.out);
    return app_may_write(app, "out", opt.out, opt.force);
}

static void run(struct app *app, const struct list *images)
{
    if (!check_usage(app, images) || !app_load_model(app))
        return;
    const struct sizes size = {(size_t)app_model_int(app, AMMPL_QUERY_IMAGE_SIZE),
                               (size_t)app_model_int(app, AMMPL_QUERY_PATCH_SIZE),
                               (size_t)app_model_int(app, AMMPL_QUERY_GRID)};
    struct column *columns = allocate(opt.prompts.count * sizeof *columns);
    bool ok = true;
    for (size_t i = 0; ok && i < opt.prompts.count; i++)
        ok = column_open(app, &columns[i], opt.prompts.item[i], &size);
    if (ok && draw_figure(app, images, columns, &size))
        app_ready(app);
    for (size_t i = 0; i < opt.prompts.count; i++)
        column_close(&columns[i]);
    free(columns);
}

int main(int argc, char **argv)
{
    struct app app;
    struct list images = {NULL, 0, 0};
    if (app_open(&app, &program, argc, argv, &images))
        run(&app, &images);
    list_free(&images);
    list_free(&opt.prompts);
    return app_close(&app);
}
