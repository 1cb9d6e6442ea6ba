/* test_arguments.c - numbers outside their bounds, empty lists, names that do not exist. */
#include "api.h"

#include <math.h>
#include <stdio.h>

START_TEST(context)
{
    ammpl_context *ctx;
    ck_done(ammpl_context_create(NULL, &ctx));
    ck_is(ammpl_context_set_threads(ctx, -1), AMMPL_E_RANGE, "1 to 256");
    ck_is(ammpl_context_set_threads(ctx, 257), AMMPL_E_RANGE, "257");
    ck_done(ammpl_context_set_threads(ctx, 256));
    ck_done(ammpl_context_set_threads(ctx, 0));
    ck_assert_uint_ge(ammpl_device_count(ctx), 1);
    const ammpl_device *cpu = ammpl_device_find(ctx, "cpu");
    ck_assert_ptr_nonnull(cpu);
    ck_assert_ptr_eq(cpu, ammpl_device_at(ctx, 0));
    ck_assert_str_eq(ammpl_device_name(cpu), "cpu");
    ck_assert_uint_gt(strlen(ammpl_device_description(cpu)), 0);
    ck_assert_ptr_null(ammpl_device_at(ctx, ammpl_device_count(ctx)));
    ck_assert_ptr_null(ammpl_device_find(ctx, "abacus"));
    ck_assert_ptr_nonnull(strstr(ammpl_last_error(), "abacus"));
    ck_assert_ptr_nonnull(strstr(ammpl_last_error(), "cpu"));
    ammpl_context_destroy(ctx);
}
END_TEST

START_TEST(version)
{
    uint32_t number = ammpl_version_number(); /* may be newer: this program is also run with later libraries (tests/abi/previous.sh) */
    char text[32], line[48];
    snprintf(text, sizeof text, "%u.%u.%u", number / 1000000, number / 1000 % 1000, number % 1000);
    snprintf(line, sizeof line, "version=%s\n", text);
    ck_assert_uint_ge(number, AMMPL_VERSION_NUMBER);
    ck_assert_str_eq(number == AMMPL_VERSION_NUMBER ? AMMPL_VERSION_STRING : text, text);
    ck_assert_uint_eq(AMMPL_VERSION_NUMBER, AMMPL_VERSION_MAJOR * 1000000 + AMMPL_VERSION_MINOR * 1000 + AMMPL_VERSION_PATCH);
    ck_assert_str_eq(ammpl_version_string(), text);
    ck_assert_ptr_nonnull(strstr(ammpl_build_info(), line));
    ck_assert_ptr_nonnull(strstr(ammpl_build_info(), "\ncompiler="));
    ck_assert_ptr_nonnull(strstr(ammpl_build_info(), "\ninstruction_sets="));
}
END_TEST

START_TEST(options)
{
    ammpl_context *ctx;
    ammpl_config *cfg;
    ck_done(ammpl_context_create(NULL, &ctx));
    ck_done(ammpl_config_create(ctx, &cfg));
    int64_t i = 7;
    double d = 7;
    const char *text = "seven";
    ck_is(ammpl_config_set_int(cfg, 999999, 1), AMMPL_E_OPTION, "999999");
    ck_is(ammpl_config_set_int(cfg, AMMPL_OPT_SCHEDULE, 1), AMMPL_E_OPTION, "schedule");
    ck_is(ammpl_config_set_int(cfg, AMMPL_OPT_BATCH, 0), AMMPL_E_RANGE, "batch");
    ck_is(ammpl_config_set_float(cfg, AMMPL_OPT_LR, -1), AMMPL_E_RANGE, "lr");
    ck_is(ammpl_config_set_float(cfg, AMMPL_OPT_LR, (double)NAN), AMMPL_E_RANGE, "lr");
    ck_is(ammpl_config_set_string(cfg, AMMPL_OPT_SCHEDULE, "cosin"), AMMPL_E_OPTION, "cosine");
    ck_is(ammpl_config_set_text(cfg, "weigth_decay", "1"), AMMPL_E_OPTION, "weight_decay");
    ck_is(ammpl_config_set_text(cfg, "batch", "many"), AMMPL_E_OPTION, "batch");
    ck_is(ammpl_config_get_int(cfg, AMMPL_OPT_LR, &i), AMMPL_E_OPTION, "lr");
    ck_assert_int_eq(i, 0);
    ck_is(ammpl_config_get_float(cfg, AMMPL_OPT_BATCH, &d), AMMPL_E_OPTION, "batch");
    ck_assert(d == 0);
    ck_is(ammpl_config_get_string(cfg, -5, &text), AMMPL_E_OPTION, "-5");
    ck_assert_ptr_null(text);
    ck_assert_int_eq(ammpl_config_is_set(cfg, AMMPL_OPT_LR), 0);
    ck_assert_int_eq(ammpl_config_is_set(cfg, -5), 0);

    ck_done(ammpl_config_set_text(cfg, "weight-decay", "0.25"));
    ck_done(ammpl_config_get_float(cfg, AMMPL_OPT_WEIGHT_DECAY, &d));
    ck_assert(d == 0.25);
    ck_assert_int_eq(ammpl_config_is_set(cfg, AMMPL_OPT_WEIGHT_DECAY), 1);
    ck_done(ammpl_config_set_text(cfg, "shuffle", "off"));
    ck_done(ammpl_config_get_int(cfg, AMMPL_OPT_SHUFFLE, &i));
    ck_assert_int_eq(i, 0);
    ck_done(ammpl_config_set_string(cfg, AMMPL_OPT_SCHEDULE, "constant"));
    ck_done(ammpl_config_get_string(cfg, AMMPL_OPT_SCHEDULE, &text));
    ck_assert_str_eq(text, "constant");

    ammpl_option_info info = {.struct_size = sizeof info};
    ck_is(ammpl_option_describe(ammpl_option_count(), &info), AMMPL_E_RANGE, "there are");
    ammpl_config_destroy(cfg);
    ammpl_context_destroy(ctx);
}
END_TEST

START_TEST(methods)
{
    ammpl_method id;
    const char *name, *doc;
    ck_is(ammpl_method_describe(ammpl_method_count(), &id, &name, &doc), AMMPL_E_RANGE, "there are");
    ck_assert_ptr_null(name);
    for (size_t i = 0; i < ammpl_method_count(); i++) {
        ammpl_method found;
        ck_done(ammpl_method_describe(i, &id, &name, &doc));
        ck_assert_uint_gt(strlen(doc), 0);
        ck_done(ammpl_method_find(name, &found));
        ck_assert_int_eq(found, id);
    }
    ck_is(ammpl_method_find("amppl", &id), AMMPL_E_OPTION, "ammpl");
    ck_done(ammpl_method_find("ammpl", &id));
    ck_assert_int_eq(id, AMMPL_METHOD_AMMPL);
}
END_TEST

START_TEST(model)
{
    world *w = world_shared();
    int64_t i;
    double d;
    const char *text;
    static const struct {
        ammpl_query q;
        int64_t value;
    } sizes[] = {{AMMPL_QUERY_EMBED_WIDTH, EMBED}, {AMMPL_QUERY_IMAGE_SIZE, IMAGE_SIZE}, {AMMPL_QUERY_PATCH_SIZE, PATCH},
                 {AMMPL_QUERY_GRID, GRID},         {AMMPL_QUERY_CONTEXT_LENGTH, 19},     {AMMPL_QUERY_VOCAB_SIZE, 540},
                 {AMMPL_QUERY_TEXT_WIDTH, 18},     {AMMPL_QUERY_TEXT_LAYERS, 3},         {AMMPL_QUERY_TEXT_HEADS, 3},
                 {AMMPL_QUERY_IMAGE_WIDTH, 28},    {AMMPL_QUERY_IMAGE_LAYERS, 2},        {AMMPL_QUERY_IMAGE_HEADS, 2}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        ck_done(ammpl_model_get_int(w->model, sizes[k].q, &i));
        ck_assert_int_eq(i, sizes[k].value);
    }
    ck_done(ammpl_model_get_float(w->model, AMMPL_QUERY_LOGIT_SCALE, &d));
    ck_assert(d > 1 && d < 1000);
    ck_done(ammpl_model_get_string(w->model, AMMPL_QUERY_ACTIVATION, &text));
    ck_assert_str_eq(text, "quick_gelu");
    ck_done(ammpl_model_get_string(w->model, AMMPL_QUERY_SOURCE, &text));
    ck_assert_ptr_nonnull(strstr(text, "nano"));
    ck_is(ammpl_model_get_int(w->model, AMMPL_QUERY_LOGIT_SCALE, &i), AMMPL_E_OPTION, "10030");
    ck_is(ammpl_model_get_float(w->model, AMMPL_QUERY_GRID, &d), AMMPL_E_OPTION, "10003");
    ck_is(ammpl_model_get_string(w->model, 1, &text), AMMPL_E_OPTION, "1");
    ck_assert_ptr_null(text);
    ammpl_model *none = w->model;
    ck_is(ammpl_model_load_file(w->ctx, NULL, "/nonexistent/clip", NULL, &none), AMMPL_E_IO, "/nonexistent/clip");
    ck_assert_ptr_null(none);
    ck_is(ammpl_model_load_memory(w->ctx, NULL, "nonsense", 8, "x", 1, NULL, NULL, NULL, &none), AMMPL_E_FORMAT, "");
    world_destroy(w);
}
END_TEST

START_TEST(images)
{
    world *w = world_shared();
    uint8_t rgb[60] = {0};
    ammpl_image *img = w->image;
    ck_is(ammpl_image_from_pixels(w->ctx, rgb, 0, 1, 0, &img), AMMPL_E_RANGE, "0 x 1");
    ck_assert_ptr_null(img);
    ck_is(ammpl_image_from_pixels(w->ctx, rgb, 1, -3, 0, &img), AMMPL_E_RANGE, "-3");
    ck_is(ammpl_image_from_pixels(w->ctx, rgb, 2, 1, 5, &img), AMMPL_E_RANGE, "row_stride");
    ck_is(ammpl_image_from_pixels(w->ctx, rgb, 2, 1, -6, &img), AMMPL_E_RANGE, "row_stride");
    for (int i = 0; i < 60; i++)
        rgb[i] = (uint8_t)i;
    ck_done(ammpl_image_from_pixels(w->ctx, rgb, 2, 3, 20, &img));
    ck_assert_int_eq(ammpl_image_width(img), 2);
    ck_assert_int_eq(ammpl_image_height(img), 3);
    for (int y = 0; y < 3; y++)
        ck_assert_mem_eq(ammpl_image_pixels(img) + 6 * y, rgb + 20 * y, 6);
    ammpl_image_destroy(img);
    ck_is(ammpl_image_load_memory(w->ctx, "GIF89a..", 8, &img), AMMPL_E_IMAGE, "");
    ck_is(ammpl_image_load_memory(w->ctx, "", 0, &img), AMMPL_E_IMAGE, "");
    ck_is(ammpl_image_load_file(w->ctx, "/nonexistent.png", &img), AMMPL_E_IO, "/nonexistent.png");
    ck_is(ammpl_image_save_png(w->image, "/nonexistent/x.png"), AMMPL_E_IO, "/nonexistent/x.png");
    float numbers[PIXELS + 1] = {0};
    ck_is(ammpl_model_unprocess(w->model, numbers, PIXELS + 1, &img), AMMPL_E_SHAPE, "675");
    ck_done(ammpl_model_unprocess(w->model, numbers, PIXELS, &img));
    ck_assert_int_eq(ammpl_image_width(img), IMAGE_SIZE);
    ammpl_image_destroy(img);
    world_destroy(w);
}
END_TEST

START_TEST(datasets)
{
    world *w = world_shared();
    ammpl_dataset *ds;
    ammpl_image *img;
    static const char *const twice[] = {"cat", "dog", "cat"}, *const empty[] = {"cat", ""}, *const hole[] = {"cat", NULL};
    ck_is(ammpl_dataset_create(w->ctx, class_names, 0, &ds), AMMPL_E_ARGUMENT, "empty");
    ck_is(ammpl_dataset_create(w->ctx, twice, 3, &ds), AMMPL_E_ARGUMENT, "cat");
    ck_is(ammpl_dataset_create(w->ctx, empty, 2, &ds), AMMPL_E_ARGUMENT, "empty");
    ck_is(ammpl_dataset_create(w->ctx, hole, 2, &ds), AMMPL_E_ARGUMENT, "entry 1");
    ck_is(ammpl_dataset_add_image(w->data, w->image, 3), AMMPL_E_LABEL, "3");
    ck_is(ammpl_dataset_add_file(w->data, "x.png", -1), AMMPL_E_LABEL, "-1");
    ck_assert_uint_eq(ammpl_dataset_count(w->data), 4);
    ck_assert_uint_eq(ammpl_dataset_class_count(w->data), CLASSES);
    ck_assert_int_eq(ammpl_dataset_label(w->data, 4), -1);
    ck_assert_int_eq(ammpl_dataset_image_id(w->data, 4), -1);
    ck_assert_int_eq(ammpl_dataset_image_id(w->data, 3), 3);
    ck_assert_ptr_null(ammpl_dataset_path(w->data, 4));
    ck_assert_str_eq(ammpl_dataset_path(w->data, 0), "");
    ck_assert_ptr_null(ammpl_dataset_class_name(w->data, CLASSES));
    ck_assert_str_eq(ammpl_dataset_class_name(w->data, 2), "red_bird");
    ck_is(ammpl_dataset_load_image(w->data, 4, &img), AMMPL_E_RANGE, "4");
    ck_is(ammpl_dataset_select_shots(w->data, -1, 1, &ds), AMMPL_E_RANGE, "-1");
    const int32_t outside[] = {0, 3}, both[] = {2, 1};
    ck_is(ammpl_dataset_select_classes(w->data, outside, 0, &ds), AMMPL_E_ARGUMENT, "empty");
    ck_is(ammpl_dataset_select_classes(w->data, outside, 2, &ds), AMMPL_E_LABEL, "class 3");
    ck_done(ammpl_dataset_select_classes(w->data, both, 2, &ds));
    ck_assert_uint_eq(ammpl_dataset_count(ds), 3);
    ck_assert_str_eq(ammpl_dataset_class_name(ds, 0), "red_bird");
    ammpl_dataset_destroy(ds);
    ck_done(ammpl_dataset_select_half(w->data, 1, &ds));
    ck_assert_uint_eq(ammpl_dataset_count(ds), 1);
    ammpl_dataset_destroy(ds);
    ck_done(ammpl_dataset_select_few(w->data, NULL, 1, NULL, &ds, NULL));
    ck_assert_uint_eq(ammpl_dataset_count(ds), 3);
    ammpl_dataset_destroy(ds);
    ck_is(ammpl_dataset_select_few(w->data, NULL, -2, NULL, &ds, NULL), AMMPL_E_RANGE, "-2");
    ck_is(ammpl_dataset_save_split(w->data, NULL, NULL, "/", "/nonexistent/x.json", 0), AMMPL_E_ARGUMENT, "has no file");
    const char *name, *folder, *text_template;
    ck_assert_uint_eq(ammpl_dataset_named_count(), 9);
    ck_done(ammpl_dataset_named_describe(6, &name, &folder, &text_template));
    ck_assert_str_eq(name, "OxfordPets");
    ck_assert_str_eq(folder, "oxford_pets");
    ck_assert_str_eq(text_template, "a photo of a {}, a type of pet.");
    ck_is(ammpl_dataset_named_describe(9, &name, NULL, NULL), AMMPL_E_RANGE, "9");
    ck_assert_ptr_null(name);
    size_t place;
    ck_done(ammpl_dataset_named_find("oxford-pets", &place));
    ck_assert_uint_eq(place, 6);
    ck_is(ammpl_dataset_named_find("Pets", &place), AMMPL_E_OPTION, "OxfordPets");
    ck_assert_uint_eq(place, 0);
    ck_is(ammpl_dataset_open_named(w->ctx, "Pets", "/", "test", &ds), AMMPL_E_OPTION, "OxfordPets");
    ck_is(ammpl_dataset_open_named(w->ctx, "DTD", "/nonexistent", "test", &ds), AMMPL_E_IO, "dtd/images below the root /nonexistent");
    ck_is(ammpl_dataset_open_folder(w->ctx, "/nonexistent", NULL, &ds), AMMPL_E_IO, "/nonexistent");
    ck_is(ammpl_dataset_open_folder(w->ctx, "/", "testing", &ds), AMMPL_E_ARGUMENT, "testing");
    ck_is(ammpl_dataset_open_split(w->ctx, "/", "/nonexistent.json", "test", &ds), AMMPL_E_IO, "/nonexistent.json");
    world_destroy(w);
}
END_TEST

START_TEST(prompts)
{
    world *w = world_shared();
    ammpl_prompt *p;
    static const char *const twice[] = {"cat", "dog", "cat"}, *const empty[] = {"cat", ""}, *const hole[] = {"cat", NULL};
    ck_is(ammpl_prompt_create(w->model, 12345, class_names, CLASSES, NULL, &p), AMMPL_E_OPTION, "12345");
    ck_is(ammpl_prompt_create(w->model, AMMPL_METHOD_AMMPL, class_names, 0, NULL, &p), AMMPL_E_ARGUMENT, "empty");
    ck_is(ammpl_prompt_create(w->model, AMMPL_METHOD_AMMPL, twice, 3, NULL, &p), AMMPL_E_ARGUMENT, "cat");
    ck_is(ammpl_prompt_create(w->model, AMMPL_METHOD_AMMPL, empty, 2, NULL, &p), AMMPL_E_ARGUMENT, "empty");
    ck_is(ammpl_prompt_create(w->model, AMMPL_METHOD_AMMPL, hole, 2, NULL, &p), AMMPL_E_ARGUMENT, "entry 1");
    static const char *const longest[] = {"a very long name that does not fit into nineteen tokens"};
    ck_is(ammpl_prompt_create(w->model, AMMPL_METHOD_AMMPL, longest, 1, NULL, &p), AMMPL_E_RANGE, "a very long name");
    ck_assert_ptr_null(p);
    ck_is(ammpl_prompt_rebind_classes(w->prompt, twice, 3), AMMPL_E_ARGUMENT, "cat");
    ck_is(ammpl_prompt_rebind_classes(w->prompt, longest, 1), AMMPL_E_RANGE, "a very long name");
    ck_assert_uint_eq(ammpl_prompt_class_count(w->prompt), CLASSES);
    ck_assert_str_eq(ammpl_prompt_class_name(w->prompt, 1), "dog");
    ck_assert_ptr_null(ammpl_prompt_class_name(w->prompt, CLASSES));
    ck_assert_int_eq(ammpl_prompt_method(w->prompt), AMMPL_METHOD_AMMPL);
    ck_assert_str_eq(ammpl_prompt_option(w->prompt, "scope"), "shared");
    ck_assert_ptr_null(ammpl_prompt_option(w->prompt, "scoop"));
    ck_is(ammpl_prompt_load_file(w->model, "/nonexistent.prompt", NULL, &p), AMMPL_E_IO, "/nonexistent.prompt");
    ck_is(ammpl_prompt_load_memory(w->model, "nonsense", 8, NULL, &p), AMMPL_E_FORMAT, "");
    ck_is(ammpl_prompt_save_file(w->prompt, "/nonexistent/x", 0), AMMPL_E_IO, "/nonexistent/x");

    size_t tensors = ammpl_prompt_tensor_count(w->prompt);
    ck_assert_uint_gt(tensors, 0);
    ammpl_tensor_info info = {.struct_size = sizeof info};
    ck_is(ammpl_prompt_tensor_describe(w->prompt, tensors, &info), AMMPL_E_RANGE, "the prompt has");
    float number = 0;
    ck_is(ammpl_prompt_tensor_read(w->prompt, tensors, &number, 1), AMMPL_E_RANGE, "the prompt has");
    ck_is(ammpl_prompt_tensor_write(w->prompt, 0, &number, 1), AMMPL_E_SHAPE, "ctx");
    ck_is(ammpl_prompt_gradient_write(w->prompt, 0, &number, 1), AMMPL_E_SHAPE, "ctx");
    ck_assert_int_eq(ammpl_prompt_tensor_find(w->prompt, "context"), -1);
    for (size_t i = 0; i < tensors; i++) {
        ck_done(ammpl_prompt_tensor_describe(w->prompt, i, &info));
        ck_assert_int_eq(ammpl_prompt_tensor_find(w->prompt, info.name), (int32_t)i);
        float *values = malloc(info.count * sizeof *values);
        ck_done(ammpl_prompt_tensor_read(w->prompt, i, values, info.count));
        values[0] = (float)NAN;
        ck_is(ammpl_prompt_tensor_write(w->prompt, i, values, info.count), AMMPL_E_NUMERIC, info.name);
        free(values);
    }
    world_destroy(w);
}
END_TEST

START_TEST(sessions)
{
    world *w = world_shared();
    float *pixels = calloc(PIXELS, sizeof *pixels), out[EMBED];
    static const char *const hole[] = {"cat", NULL};
    ck_is(ammpl_session_encode_texts(w->session, class_names, 0, out, EMBED), AMMPL_E_ARGUMENT, "empty");
    ck_is(ammpl_session_encode_texts(w->session, hole, 2, out, 2 * EMBED), AMMPL_E_ARGUMENT, "entry 1");
    ck_is(ammpl_session_encode_images(w->session, NULL, pixels, 0, out, EMBED), AMMPL_E_ARGUMENT, "n = 0");
    ck_is(ammpl_session_encode_images(w->session, NULL, pixels, SIZE_MAX, out, EMBED), AMMPL_E_RANGE, "at once");
    ck_is(ammpl_session_predict(w->session, w->prompt, pixels, 0, out, EMBED), AMMPL_E_ARGUMENT, "n = 0");
    uint64_t bytes = 1;
    ck_is(ammpl_session_plan(w->session, w->prompt, 0, AMMPL_PLAN_PREDICT, &bytes), AMMPL_E_ARGUMENT, "n is 0");
    ck_assert_uint_eq(bytes, 0);
    ck_is(ammpl_session_plan(w->session, w->prompt, (size_t)INT32_MAX + 1, AMMPL_PLAN_PREDICT, &bytes), AMMPL_E_RANGE, "2147483648");
    ck_is(ammpl_session_plan(w->session, w->prompt, 1, 3, &bytes), AMMPL_E_RANGE, "AMMPL_PLAN_");
    ck_is(ammpl_session_plan(w->session, w->prompt, 1, -1, &bytes), AMMPL_E_RANGE, "AMMPL_PLAN_");

    int32_t label = CLASSES;
    double loss = 5;
    ammpl_batch batch = {.struct_size = sizeof batch, .n = 1, .pixels = pixels, .label = &label};
    ck_is(ammpl_session_accumulate(w->session, w->prompt, &batch, &loss, NULL), AMMPL_E_LABEL, "label 3");
    ck_assert(loss == 0);
    label = -1;
    ck_is(ammpl_session_accumulate(w->session, w->prompt, &batch, &loss, NULL), AMMPL_E_LABEL, "label -1");
    label = 0;
    batch.n = 0;
    ck_is(ammpl_session_accumulate(w->session, w->prompt, &batch, &loss, NULL), AMMPL_E_ARGUMENT, "n = 0");
    batch.n = 1;
    batch.weight = -1;
    ck_is(ammpl_session_accumulate(w->session, w->prompt, &batch, &loss, NULL), AMMPL_E_RANGE, "weight");
    batch.weight = (double)INFINITY;
    ck_is(ammpl_session_accumulate(w->session, w->prompt, &batch, &loss, NULL), AMMPL_E_RANGE, "weight");
    free(pixels);
    world_destroy(w);
}
END_TEST

START_TEST(training)
{
    world *w = world_shared();
    ck_assert_uint_ge(ammpl_optimizer_group_count(w->optimizer), 1);
    ck_is(ammpl_optimizer_set_learning_rate(w->optimizer, 99, 1), AMMPL_E_RANGE, "group 99");
    ck_is(ammpl_optimizer_set_learning_rate(w->optimizer, 0, -1), AMMPL_E_RANGE, "-1");
    ck_is(ammpl_optimizer_set_learning_rate(w->optimizer, 0, (double)NAN), AMMPL_E_RANGE, "nan");
    ck_done(ammpl_optimizer_set_learning_rate(w->optimizer, 0, 0.5));
    ck_assert(ammpl_optimizer_learning_rate(w->optimizer, 0) == 0.5);
    ck_assert(ammpl_optimizer_learning_rate(w->optimizer, 99) == 0);
    ck_is(ammpl_optimizer_set_epoch(w->optimizer, -1), AMMPL_E_RANGE, "-1");
    ck_done(ammpl_optimizer_set_epoch(w->optimizer, 0));
    ck_assert(ammpl_optimizer_learning_rate(w->optimizer, 0) == 1e-5);
    ck_is(ammpl_trainer_save(w->trainer, "/nonexistent/x"), AMMPL_E_IO, "/nonexistent/x");
    ck_is(ammpl_trainer_load(w->trainer, "/nonexistent/x"), AMMPL_E_IO, "/nonexistent/x");
    world_destroy(w);
}
END_TEST

TCase *case_arguments(void)
{
    TCase *tc = tcase_create("arguments");
    tcase_add_test(tc, context);
    tcase_add_test(tc, version);
    tcase_add_test(tc, options);
    tcase_add_test(tc, methods);
    tcase_add_test(tc, model);
    tcase_add_test(tc, images);
    tcase_add_test(tc, datasets);
    tcase_add_test(tc, prompts);
    tcase_add_test(tc, sessions);
    tcase_add_test(tc, training);
    return tc;
}
