/* methods.c - what a method learns and what it costs. */
#include "methods.h"

#include <string.h>

struct method_cost method_cost_of(const ammpl_prompt *prompt)
{
    size_t classes = ammpl_prompt_class_count(prompt);
    int32_t conditioning = ammpl_prompt_conditioning(prompt);
    struct method_cost cost = {0, conditioning & 2 ? classes : 1, conditioning & 1 ? classes : 0};
    for (size_t i = 0; i < ammpl_prompt_tensor_count(prompt); i++) {
        ammpl_tensor_info info = {.struct_size = sizeof info};
        if (ammpl_prompt_tensor_describe(prompt, i, &info) == AMMPL_OK && info.trainable)
            cost.parameters += info.count;
    }
    return cost;
}

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

/* With two classes, so that a cost per class shows as a 2. */
static bool print_cost(struct app *app, ammpl_method method)
{
    static const char *const two[] = {"a", "b"};
    ammpl_prompt *prompt = NULL;
    if (!app_check(app, ammpl_prompt_create(app->model, method, two, 2, app->config, &prompt)))
        return false;
    struct method_cost cost = method_cost_of(prompt);
    const char *scope = ammpl_prompt_option(prompt, "scope");
    bool per_class = scope != NULL && strcmp(scope, "class") == 0;
    printf("%12s learns %llu numbers%s; %s per picture; %s\n", "",
           (unsigned long long)cost.parameters / (per_class ? 2 : 1), per_class ? " per class" : "",
           cost.image_encodes == 1 ? "1 image encode" : "1 image encode per class",
           cost.text_encodes == 0 ? "texts encoded once" : "1 text encode per class and picture");
    ammpl_prompt_destroy(prompt);
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
    return true;
}
