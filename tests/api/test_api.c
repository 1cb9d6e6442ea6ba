/* test_api.c - the public interface as its users meet it: main, and the objects that the cases share. */
#include "api.h"

#include <stdio.h>

const char *const class_names[CLASSES] = {"cat", "dog", "red_bird"};

const char *nano_path(void)
{
    return TEST_ROOT "/tests/golden/nano";
}

#define STEP(call)                   \
    do {                             \
        ammpl_status status = (call); \
        if (status < 0)              \
            return status;           \
    } while (0)

ammpl_status world_create(world *w, const ammpl_allocator *alloc)
{
    *w = (world){0};
    STEP(ammpl_context_create(alloc, &w->ctx));
    STEP(ammpl_context_set_threads(w->ctx, 2));
    STEP(ammpl_config_create(w->ctx, &w->config));
    STEP(ammpl_config_set_int(w->config, AMMPL_OPT_EPOCHS, 2));
    STEP(ammpl_config_set_int(w->config, AMMPL_OPT_BATCH, 2));
    STEP(ammpl_config_set_string(w->config, AMMPL_OPT_AUGMENT, "none"));
    STEP(ammpl_model_load_file(w->ctx, NULL, nano_path(), NULL, &w->model));
    uint8_t rgb[17][20][3];
    for (int i = 0; i < 17 * 20 * 3; i++)
        ((uint8_t *)rgb)[i] = (uint8_t)(i * 37 % 251);
    STEP(ammpl_image_from_pixels(w->ctx, &rgb[0][0][0], 20, 17, 0, &w->image));
    STEP(ammpl_dataset_create(w->ctx, class_names, CLASSES, &w->data));
    for (int i = 0; i < 4; i++)
        STEP(ammpl_dataset_add_image(w->data, w->image, i == 3 ? 1 : i));
    STEP(ammpl_prompt_create(w->model, AMMPL_METHOD_AMMPL, class_names, CLASSES, w->config, &w->prompt));
    STEP(ammpl_session_create(w->model, w->config, &w->session));
    STEP(ammpl_optimizer_create(w->prompt, w->config, &w->optimizer));
    return ammpl_trainer_create(w->session, w->prompt, w->data, w->config, &w->trainer);
}

void world_destroy(world *w)
{
    ammpl_trainer_destroy(w->trainer);
    ammpl_optimizer_destroy(w->optimizer);
    ammpl_session_destroy(w->session);
    ammpl_prompt_destroy(w->prompt);
    ammpl_dataset_destroy(w->data);
    ammpl_image_destroy(w->image);
    ammpl_model_destroy(w->model);
    ammpl_config_destroy(w->config);
    ammpl_context_destroy(w->ctx);
    *w = (world){0};
}

/* Each case runs in a process of its own (Check forks), so this one is nobody else's. */
world *world_shared(void)
{
    static world w;
    world_destroy(&w);
    ck_done(world_create(&w, NULL));
    return &w;
}

int main(void)
{
    Suite *suite = suite_create("api");
    suite_add_tcase(suite, case_null());
    suite_add_tcase(suite, case_arguments());
    suite_add_tcase(suite, case_buffers());
    suite_add_tcase(suite, case_engine());
    suite_add_tcase(suite, case_errors());
    suite_add_tcase(suite, case_memory());
    suite_add_tcase(suite, case_states());
    suite_add_tcase(suite, case_structs());
    SRunner *runner = srunner_create(suite);
    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
