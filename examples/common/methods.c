/* methods.c - what a method learns and what it costs. */
#include "methods.h"

#include <string.h>

const char *method_name(ammpl_method method)
{
    for (size_t i = 0; i < ammpl_method_count(); i++) {
        ammpl_method id;
        const char *name, *doc;
        if (ammpl_method_describe(i, &id, &name, &doc) == AMMPL_OK && id == method)
            return name;
    }
    return "?";
}

static bool cost_of(struct app *app, ammpl_method method, size_t classes, ammpl_cost *cost)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};
    ammpl_prompt *prompt = NULL;
    *cost = (ammpl_cost){.struct_size = sizeof *cost};
    bool ok = app_check(app, ammpl_prompt_create(app->model, method, names, classes, app->config, &prompt)) &&
              app_check(app, ammpl_prompt_cost(prompt, cost));
    ammpl_prompt_destroy(prompt);
    return ok;
}

/* A number that grows evenly with the classes C, from its values at 11 and 12 classes: "8192", "3 C", "8192 + 768 C". */
static const char *formula(char text[64], uint64_t at_11, uint64_t at_12)
{
    unsigned long long each = at_12 - at_11, fixed = at_11 - 11 * each;
    char factor[24] = "";
    if (each > 1)
        snprintf(factor, sizeof factor, "%llu ", each);
    if (each == 0)
        snprintf(text, 64, "%llu", fixed);
    else if (fixed == 0)
        snprintf(text, 64, "%sC", factor);
    else
        snprintf(text, 64, "%llu + %sC", fixed, factor);
    return text;
}

static bool print_cost(struct app *app, ammpl_method method)
{
    ammpl_cost a, b;
    char parameters[64], images[64], texts[64], step[64];
    if (!cost_of(app, method, 11, &a) || !cost_of(app, method, 12, &b))
        return false;
    printf("%12s learns %s numbers; a picture takes %s image and %s text encodes; a training step %s texts besides\n", "",
           formula(parameters, a.parameters, b.parameters), formula(images, a.image_encodes, b.image_encodes),
           formula(texts, a.text_encodes, b.text_encodes), formula(step, a.step_texts, b.step_texts));
    return true;
}

bool methods_print(struct app *app)
{
    for (size_t i = 0; i < ammpl_method_count(); i++) {
        ammpl_method id;
        const char *name, *doc;
        if (!app_check(app, ammpl_method_describe(i, &id, &name, &doc)))
            return false;
        printf("%-12s %s\n", name, doc);
        if (app->model != NULL && !print_cost(app, id))
            return false;
    }
    if (app->model != NULL)
        printf("C is the number of classes; texts that do not depend on the picture are encoded once and kept.\n");
    return true;
}
