/* test_null.c - NULL into every function: a status and a sentence, or the answer "nothing", never a crash. */
#include "api.h"

#define ck_null(call) ck_is(call, AMMPL_E_ARGUMENT, "NULL")
/* An out-pointer that held something before the failing call holds nothing after it. */
#define ck_null_out(type, out, call)                                                        \
    do {                                                                                    \
        type *out = (type *)(void *)&out;                                                   \
        ck_null(call);                                                                      \
        ck_assert_msg((out) == NULL, "%s: the out-pointer was not cleared", #call);         \
    } while (0)

START_TEST(destroy)
{
    ammpl_context_destroy(NULL);
    ammpl_config_destroy(NULL);
    ammpl_model_destroy(NULL);
    ammpl_image_destroy(NULL);
    ammpl_dataset_destroy(NULL);
    ammpl_prompt_destroy(NULL);
    ammpl_session_destroy(NULL);
    ammpl_optimizer_destroy(NULL);
    ammpl_trainer_destroy(NULL);
    ammpl_tape_destroy(NULL);
    ammpl_session_cancel(NULL);
}
END_TEST

START_TEST(accessors)
{
    ck_assert_uint_eq(ammpl_device_count(NULL), 0);
    ck_assert_ptr_null(ammpl_device_at(NULL, 0));
    ck_assert_ptr_null(ammpl_device_find(NULL, "cpu"));
    ck_assert_ptr_nonnull(strstr(ammpl_last_error(), "NULL"));
    ck_assert_ptr_null(ammpl_device_name(NULL));
    ck_assert_ptr_null(ammpl_device_description(NULL));
    ck_assert_uint_eq(ammpl_backend_count(NULL), 0);
    ck_assert_uint_gt(ammpl_backend_spi_version(), 0);
    ck_assert_int_eq(ammpl_config_is_set(NULL, AMMPL_OPT_LR), 0);
    ck_assert_int_eq(ammpl_image_width(NULL), 0);
    ck_assert_int_eq(ammpl_image_height(NULL), 0);
    ck_assert_ptr_null(ammpl_image_pixels(NULL));
    ck_assert_uint_eq(ammpl_dataset_count(NULL), 0);
    ck_assert_uint_eq(ammpl_dataset_class_count(NULL), 0);
    ck_assert_ptr_null(ammpl_dataset_class_name(NULL, 0));
    ck_assert_int_eq(ammpl_dataset_label(NULL, 0), -1);
    ck_assert_int_eq(ammpl_dataset_image_id(NULL, 0), -1);
    ck_assert_ptr_null(ammpl_dataset_path(NULL, 0));
    ck_assert_int_eq(ammpl_prompt_method(NULL), -1);
    ck_assert_int_eq(ammpl_prompt_conditioning(NULL), 0);
    ck_assert_uint_eq(ammpl_prompt_class_count(NULL), 0);
    ck_assert_ptr_null(ammpl_prompt_class_name(NULL, 0));
    ck_assert_ptr_null(ammpl_prompt_option(NULL, "lr"));
    ck_assert_uint_eq(ammpl_prompt_tensor_count(NULL), 0);
    ck_assert_int_eq(ammpl_prompt_tensor_find(NULL, "ctx"), -1);
    ck_assert_uint_eq(ammpl_optimizer_group_count(NULL), 0);
    ck_assert(ammpl_optimizer_learning_rate(NULL, 0) == 0);
    world *w = world_shared();
    ck_is(ammpl_context_load_backend(NULL, "x"), AMMPL_E_ARGUMENT, "ctx is NULL");
    ck_is(ammpl_context_load_backend(w->ctx, NULL), AMMPL_E_ARGUMENT, "path is NULL");
    ck_is(ammpl_context_scan_backends(NULL, "x"), AMMPL_E_ARGUMENT, "ctx is NULL");
    ck_is(ammpl_backend_report(NULL, 0, NULL, NULL), AMMPL_E_ARGUMENT, "ctx is NULL");
    ck_is(ammpl_backend_report(w->ctx, 1, NULL, NULL), AMMPL_E_RANGE, "number 1");
    ck_is(ammpl_device_memory(NULL, NULL, NULL), AMMPL_E_ARGUMENT, "dev is NULL");
    ck_assert_ptr_null(ammpl_device_find(w->ctx, NULL));
    ck_assert_ptr_null(ammpl_prompt_option(w->prompt, NULL));
    ck_assert_int_eq(ammpl_prompt_tensor_find(w->prompt, NULL), -1);
    world_destroy(w);
}
END_TEST

START_TEST(objects)
{
    int64_t i;
    double d;
    size_t n;
    int32_t ids[4];
    float f[64];
    ammpl_tensor_info info = {.struct_size = sizeof info};
    ammpl_batch batch = {.struct_size = sizeof batch};
    ammpl_metrics metrics = {.struct_size = sizeof metrics};
    ammpl_progress progress = {.struct_size = sizeof progress};
    const char *text;

    ck_null(ammpl_context_create(NULL, NULL));
    ck_null(ammpl_context_set_log(NULL, AMMPL_LEVEL_INFO, NULL, NULL));
    ck_null(ammpl_context_set_threads(NULL, 1));
    ck_null(ammpl_context_memory(NULL, NULL, NULL));
    ck_null_out(ammpl_config, out, ammpl_config_create(NULL, &out));
    ck_null(ammpl_config_set_int(NULL, AMMPL_OPT_BATCH, 1));
    ck_null(ammpl_config_set_float(NULL, AMMPL_OPT_LR, 1));
    ck_null(ammpl_config_set_string(NULL, AMMPL_OPT_VOCAB, ""));
    ck_null(ammpl_config_set_text(NULL, "lr", "1"));
    ck_null(ammpl_config_get_int(NULL, AMMPL_OPT_BATCH, &i));
    ck_null(ammpl_config_get_float(NULL, AMMPL_OPT_LR, &d));
    ck_null(ammpl_config_get_string(NULL, AMMPL_OPT_VOCAB, &text));
    ck_null(ammpl_option_describe(0, NULL));
    ck_null(ammpl_method_find(NULL, NULL));
    ck_null_out(ammpl_model, out, ammpl_model_load_file(NULL, NULL, "x", NULL, &out));
    ck_null_out(ammpl_model, out, ammpl_model_load_memory(NULL, NULL, "x", 1, "x", 1, NULL, NULL, NULL, &out));
    ck_null(ammpl_model_get_int(NULL, AMMPL_QUERY_GRID, &i));
    ck_null(ammpl_model_get_float(NULL, AMMPL_QUERY_LOGIT_SCALE, &d));
    ck_null(ammpl_model_get_string(NULL, AMMPL_QUERY_SOURCE, &text));
    ck_null(ammpl_model_probe(NULL, f));
    ck_null(ammpl_model_tokenize(NULL, "a", ids, 4, &n));
    ck_null(ammpl_model_nearest_tokens(NULL, f, 1, 1, ids, f));
    ck_null(ammpl_model_token_text(NULL, 0, NULL, 0, &n));
    ck_null(ammpl_model_preprocess(NULL, NULL, f, 64));
    ck_null(ammpl_model_augment(NULL, NULL, 1, 0, 0, f, 64));
    ck_null_out(ammpl_tape, out, ammpl_tape_create(NULL, NULL, &out));
    ck_null(ammpl_tape_plan(NULL, AMMPL_TOWER_TEXT, 1, 1, AMMPL_RECORD_NONE, &(uint64_t){0}));
    ck_null(ammpl_tape_begin_text(NULL, &(ammpl_text_input){.struct_size = sizeof(ammpl_text_input)}));
    ck_null(ammpl_tape_begin_image(NULL, &(ammpl_image_input){.struct_size = sizeof(ammpl_image_input)}));
    ck_null(ammpl_tape_insert(NULL, 0, f, 1, 0, 0));
    ck_null(ammpl_tape_run(NULL, 1));
    ck_null(ammpl_tape_tokens(NULL, f, 64));
    ck_null(ammpl_tape_finish(NULL, f, 64));
    ck_null(ammpl_tape_seed(NULL, 0, f, 64));
    ck_null(ammpl_tape_backward(NULL, f));
    ck_null(ammpl_tape_gradient(NULL, AMMPL_GRADIENT_ROWS, 0, f, 64));
    ck_null(ammpl_session_embed_tokens(NULL, ids, 4, f, 64));
    ck_null(ammpl_session_similarity(NULL, f, 1, f, 1, f, 64));
    ck_null(ammpl_session_similarity_backward(NULL, f, 1, f, 1, f, f, f));
    ck_null(ammpl_session_cross_entropy(NULL, f, ids, 1, 1, 0, &d, f, 64));
    ck_null(ammpl_dataset_shuffle(NULL, 1, 0, &(int32_t){0}, 1));
    ck_null_out(ammpl_image, out, ammpl_model_unprocess(NULL, f, 64, &out));
    ck_null_out(ammpl_image, out, ammpl_image_load_file(NULL, "x", &out));
    ck_null_out(ammpl_image, out, ammpl_image_load_memory(NULL, "x", 1, &out));
    ck_null_out(ammpl_image, out, ammpl_image_from_pixels(NULL, (const uint8_t *)"abc", 1, 1, 0, &out));
    ck_null(ammpl_image_save_png(NULL, "x"));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_create(NULL, class_names, CLASSES, &out));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_open_folder(NULL, "x", NULL, &out));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_open_split(NULL, "x", "x", "train", &out));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_open_named(NULL, "DTD", "x", "train", &out));
    ck_null(ammpl_dataset_named_find(NULL, &n));
    ck_null(ammpl_dataset_named_find("DTD", NULL));
    ck_null(ammpl_dataset_save_split(NULL, NULL, NULL, "x", "y", 0));
    ck_null(ammpl_dataset_add_image(NULL, NULL, 0));
    ck_null(ammpl_dataset_add_file(NULL, "x", 0));
    ck_null_out(ammpl_image, out, ammpl_dataset_load_image(NULL, 0, &out));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_select_shots(NULL, 1, 1, &out));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_select_few(NULL, NULL, 1, NULL, &out, NULL));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_select_half(NULL, 0, &out));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_select_classes(NULL, ids, 1, &out));
    ck_null_out(ammpl_prompt, out, ammpl_prompt_create(NULL, AMMPL_METHOD_AMMPL, class_names, CLASSES, NULL, &out));
    ck_null_out(ammpl_prompt, out, ammpl_prompt_load_file(NULL, "x", NULL, &out));
    ck_null_out(ammpl_prompt, out, ammpl_prompt_load_memory(NULL, "x", 1, NULL, &out));
    ck_null(ammpl_prompt_save_file(NULL, "x", 0));
    ck_null(ammpl_prompt_save_memory(NULL, f, sizeof f, &n));
    ck_null(ammpl_prompt_rebind_classes(NULL, class_names, CLASSES));
    ck_null(ammpl_prompt_tensor_describe(NULL, 0, &info));
    ck_null(ammpl_prompt_tensor_read(NULL, 0, f, 64));
    ck_null(ammpl_prompt_tensor_write(NULL, 0, f, 64));
    ck_null(ammpl_prompt_gradient_read(NULL, 0, f, 64));
    ck_null(ammpl_prompt_gradient_write(NULL, 0, f, 64));
    ck_null(ammpl_prompt_zero_gradients(NULL));
    ck_null_out(ammpl_session, out, ammpl_session_create(NULL, NULL, &out));
    ck_null(ammpl_session_encode_texts(NULL, class_names, 1, f, 64));
    ck_null(ammpl_session_encode_images(NULL, NULL, f, 1, f, 64));
    ck_null(ammpl_session_encode_classes(NULL, NULL, f, 64));
    ck_null(ammpl_session_predict(NULL, NULL, f, 1, f, 64));
    ck_null(ammpl_session_plan(NULL, NULL, 1, AMMPL_PLAN_PREDICT, NULL));
    ck_null(ammpl_session_evaluate(NULL, NULL, NULL, NULL, NULL, NULL, NULL, &metrics));
    ck_null(ammpl_session_accumulate(NULL, NULL, &batch, &d, NULL));
    ck_null(ammpl_session_padding(NULL, NULL, f, 64));
    ck_null(ammpl_session_masks(NULL, NULL, 0, f, 64));
    ck_null_out(ammpl_optimizer, out, ammpl_optimizer_create(NULL, NULL, &out));
    ck_null(ammpl_optimizer_step(NULL));
    ck_null(ammpl_optimizer_set_learning_rate(NULL, 0, 1));
    ck_null(ammpl_optimizer_set_epoch(NULL, 0));
    ck_null_out(ammpl_trainer, out, ammpl_trainer_create(NULL, NULL, NULL, NULL, &out));
    ck_null(ammpl_trainer_step(NULL, &progress));
    ck_null(ammpl_trainer_save(NULL, "x"));
    ck_null(ammpl_trainer_load(NULL, "x"));
    ck_null(ammpl_train(NULL, NULL, NULL, NULL, NULL, NULL));
}
END_TEST

/* The first argument is there, another one is not. */
START_TEST(arguments)
{
    world *w = world_shared();
    ammpl_context *ctx = w->ctx;
    ammpl_model *m = w->model;
    ammpl_prompt *p = w->prompt;
    ammpl_session *s = w->session;
    float f[PIXELS] = {0};
    uint64_t bytes;
    double loss;
    const int32_t label = 0;
    ammpl_batch batch = {.struct_size = sizeof batch, .n = 1, .pixels = f, .label = &label};
    ammpl_metrics metrics = {.struct_size = sizeof metrics};

    ck_null(ammpl_config_create(ctx, NULL));
    ck_null(ammpl_config_set_string(w->config, AMMPL_OPT_VOCAB, NULL));
    ck_null(ammpl_config_set_text(w->config, NULL, "1"));
    ck_null(ammpl_config_set_text(w->config, "lr", NULL));
    ck_null(ammpl_config_get_int(w->config, AMMPL_OPT_BATCH, NULL));
    ck_null(ammpl_config_get_float(w->config, AMMPL_OPT_LR, NULL));
    ck_null(ammpl_config_get_string(w->config, AMMPL_OPT_VOCAB, NULL));
    ck_null(ammpl_method_find("ammpl", NULL));
    ck_null_out(ammpl_model, out, ammpl_model_load_file(ctx, NULL, NULL, NULL, &out));
    ck_null(ammpl_model_load_file(ctx, NULL, nano_path(), NULL, NULL));
    ck_null_out(ammpl_model, out, ammpl_model_load_memory(ctx, NULL, NULL, 1, "x", 1, NULL, NULL, NULL, &out));
    ck_null_out(ammpl_model, out, ammpl_model_load_memory(ctx, NULL, "x", 1, NULL, 1, NULL, NULL, NULL, &out));
    ck_null(ammpl_model_load_memory(ctx, NULL, "x", 1, "x", 1, NULL, NULL, NULL, NULL));
    ck_null(ammpl_model_get_int(m, AMMPL_QUERY_GRID, NULL));
    ck_null(ammpl_model_get_float(m, AMMPL_QUERY_LOGIT_SCALE, NULL));
    ck_null(ammpl_model_get_string(m, AMMPL_QUERY_SOURCE, NULL));
    ck_null(ammpl_model_probe(m, NULL));
    ck_null(ammpl_model_tokenize(m, NULL, NULL, 0, NULL));
    ck_null(ammpl_model_tokenize(m, "cat", NULL, 8, NULL));
    ck_null(ammpl_model_augment(m, NULL, 1, 0, 0, f, PIXELS));
    ammpl_tape *t;
    ck_null(ammpl_tape_create(m, NULL, NULL));
    ck_null(ammpl_tape_plan(m, AMMPL_TOWER_TEXT, 1, 1, AMMPL_RECORD_NONE, NULL));
    ck_done(ammpl_tape_create(m, NULL, &t));
    ammpl_text_input text_input = {.struct_size = sizeof text_input, .n = 1, .L = 2, .prefix = f, .prefix_rows = 1};
    ck_null(ammpl_tape_begin_text(t, NULL));
    ck_null(ammpl_tape_begin_text(t, &text_input));
    text_input.rows = f;
    text_input.prefix = NULL;
    ck_null(ammpl_tape_begin_text(t, &text_input));
    text_input.prefix = f;
    text_input.record = AMMPL_RECORD_ALL;
    ck_done(ammpl_tape_begin_text(t, &text_input));
    ck_null(ammpl_tape_begin_image(t, NULL));
    ck_null(ammpl_tape_begin_image(t, &(ammpl_image_input){.struct_size = sizeof(ammpl_image_input), .n = 1}));
    ck_null(ammpl_tape_insert(t, 0, NULL, 1, 0, 0));
    ck_null(ammpl_tape_tokens(t, NULL, PIXELS));
    ck_null(ammpl_tape_finish(t, NULL, PIXELS));
    ck_done(ammpl_tape_tokens(t, f, PIXELS));
    ck_null(ammpl_tape_seed(t, 0, NULL, PIXELS));
    ck_done(ammpl_tape_finish(t, f, PIXELS));
    ck_done(ammpl_tape_backward(t, f));
    ck_null(ammpl_tape_gradient(t, AMMPL_GRADIENT_ROWS, 0, NULL, PIXELS));
    ammpl_tape_destroy(t);
    ck_null(ammpl_session_embed_tokens(w->session, NULL, 1, f, PIXELS));
    ck_null(ammpl_session_embed_tokens(w->session, (const int32_t[]){1}, 1, NULL, PIXELS));
    ck_null(ammpl_session_similarity(w->session, NULL, 1, f, 1, f, PIXELS));
    ck_null(ammpl_session_similarity(w->session, f, 1, NULL, 1, f, PIXELS));
    ck_null(ammpl_session_similarity(w->session, f, 1, f, 1, NULL, PIXELS));
    ck_null(ammpl_session_similarity_backward(w->session, NULL, 1, f, 1, f, f, f));
    ck_null(ammpl_session_similarity_backward(w->session, f, 1, NULL, 1, f, f, f));
    ck_null(ammpl_session_similarity_backward(w->session, f, 1, f, 1, NULL, f, f));
    ck_null(ammpl_session_similarity_backward(w->session, f, 1, f, 1, f, NULL, NULL));
    ck_null(ammpl_session_cross_entropy(w->session, NULL, (const int32_t[]){0}, 1, 1, 0, &(double){0}, f, PIXELS));
    ck_null(ammpl_session_cross_entropy(w->session, f, NULL, 1, 1, 0, &(double){0}, f, PIXELS));
    ck_null(ammpl_session_cross_entropy(w->session, f, (const int32_t[]){0}, 1, 1, 0, NULL, f, PIXELS));
    ck_null(ammpl_model_augment(m, w->image, 1, 0, 0, NULL, PIXELS));
    ck_null(ammpl_dataset_shuffle(w->data, 1, 0, NULL, 4));
    ck_null(ammpl_model_nearest_tokens(m, NULL, 18, 1, &(int32_t){0}, f));
    ck_null(ammpl_model_nearest_tokens(m, f, 18, 1, NULL, f));
    ck_null(ammpl_model_nearest_tokens(m, f, 18, 1, &(int32_t){0}, NULL));
    ck_null(ammpl_model_token_text(m, 0, NULL, 8, NULL));
    ck_null(ammpl_model_preprocess(m, NULL, f, PIXELS));
    ck_null(ammpl_model_preprocess(m, w->image, NULL, PIXELS));
    ck_null_out(ammpl_image, out, ammpl_model_unprocess(m, NULL, PIXELS, &out));
    ck_null(ammpl_model_unprocess(m, f, PIXELS, NULL));
    ck_null_out(ammpl_image, out, ammpl_image_load_file(ctx, NULL, &out));
    ck_null(ammpl_image_load_file(ctx, "x", NULL));
    ck_null_out(ammpl_image, out, ammpl_image_load_memory(ctx, NULL, 1, &out));
    ck_null(ammpl_image_load_memory(ctx, "x", 1, NULL));
    ck_null_out(ammpl_image, out, ammpl_image_from_pixels(ctx, NULL, 1, 1, 0, &out));
    ck_null(ammpl_image_from_pixels(ctx, (const uint8_t *)"abc", 1, 1, 0, NULL));
    ck_null(ammpl_image_save_png(w->image, NULL));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_create(ctx, NULL, 1, &out));
    ck_null(ammpl_dataset_create(ctx, class_names, 1, NULL));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_open_folder(ctx, NULL, NULL, &out));
    ck_null(ammpl_dataset_open_folder(ctx, "x", NULL, NULL));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_open_split(ctx, NULL, "x", "train", &out));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_open_split(ctx, "x", NULL, "train", &out));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_open_split(ctx, "x", "x", NULL, &out));
    ck_null(ammpl_dataset_open_split(ctx, "x", "x", "train", NULL));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_open_named(ctx, NULL, "x", "train", &out));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_open_named(ctx, "DTD", NULL, "train", &out));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_open_named(ctx, "DTD", "x", NULL, &out));
    ck_null(ammpl_dataset_open_named(ctx, "DTD", "x", "train", NULL));
    ck_null(ammpl_dataset_save_split(w->data, NULL, NULL, NULL, "x", 0));
    ck_null(ammpl_dataset_save_split(w->data, NULL, NULL, "x", NULL, 0));
    ck_null(ammpl_dataset_add_image(w->data, NULL, 0));
    ck_null(ammpl_dataset_add_file(w->data, NULL, 0));
    ck_null(ammpl_dataset_load_image(w->data, 0, NULL));
    ck_null(ammpl_dataset_select_shots(w->data, 1, 1, NULL));
    ck_null(ammpl_dataset_select_few(w->data, NULL, 1, NULL, NULL, NULL));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_select_few(w->data, w->data, 1, NULL, &out, NULL));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_select_few(w->data, NULL, 1, NULL, &(ammpl_dataset *){NULL}, &out));
    ck_null(ammpl_dataset_select_half(w->data, 0, NULL));
    ck_null_out(ammpl_dataset, out, ammpl_dataset_select_classes(w->data, NULL, 1, &out));
    ck_null(ammpl_dataset_select_classes(w->data, &label, 1, NULL));
    ck_null_out(ammpl_prompt, out, ammpl_prompt_create(m, AMMPL_METHOD_AMMPL, NULL, 1, NULL, &out));
    ck_null(ammpl_prompt_create(m, AMMPL_METHOD_AMMPL, class_names, CLASSES, NULL, NULL));
    ck_null_out(ammpl_prompt, out, ammpl_prompt_load_file(m, NULL, NULL, &out));
    ck_null(ammpl_prompt_load_file(m, "x", NULL, NULL));
    ck_null_out(ammpl_prompt, out, ammpl_prompt_load_memory(m, NULL, 1, NULL, &out));
    ck_null(ammpl_prompt_load_memory(m, "x", 1, NULL, NULL));
    ck_null(ammpl_prompt_save_file(p, NULL, 0));
    ck_null(ammpl_prompt_save_memory(p, NULL, 8, NULL));
    ck_null(ammpl_prompt_rebind_classes(p, NULL, 1));
    ck_null(ammpl_prompt_tensor_describe(p, 0, NULL));
    ck_null(ammpl_prompt_tensor_read(p, 0, NULL, 1 << 20));
    ck_null(ammpl_prompt_tensor_write(p, 0, NULL, 1));
    ck_null(ammpl_prompt_gradient_read(p, 0, NULL, 1 << 20));
    ck_null(ammpl_prompt_gradient_write(p, 0, NULL, 1));
    ck_null(ammpl_session_create(m, NULL, NULL));
    ck_null(ammpl_session_encode_texts(s, NULL, 1, f, PIXELS));
    ck_null(ammpl_session_encode_texts(s, class_names, 1, NULL, PIXELS));
    ck_null(ammpl_session_encode_images(s, NULL, NULL, 1, f, PIXELS));
    ck_null(ammpl_session_encode_images(s, NULL, f, 1, NULL, PIXELS));
    ck_null(ammpl_session_encode_classes(s, NULL, f, PIXELS));
    ck_null(ammpl_session_encode_classes(s, p, NULL, PIXELS));
    ck_null(ammpl_session_predict(s, NULL, f, 1, f, PIXELS));
    ck_null(ammpl_session_predict(s, p, NULL, 1, f, PIXELS));
    ck_null(ammpl_session_predict(s, p, f, 1, NULL, PIXELS));
    ck_null(ammpl_session_plan(s, NULL, 1, AMMPL_PLAN_PREDICT, &bytes));
    ck_null(ammpl_session_plan(s, p, 1, AMMPL_PLAN_PREDICT, NULL));
    ck_null(ammpl_session_evaluate(s, NULL, w->data, NULL, NULL, NULL, NULL, &metrics));
    ck_null(ammpl_session_evaluate(s, p, NULL, NULL, NULL, NULL, NULL, &metrics));
    ck_null(ammpl_session_evaluate(s, p, w->data, NULL, NULL, NULL, NULL, NULL));
    ck_null(ammpl_session_accumulate(s, NULL, &batch, &loss, NULL));
    ck_null(ammpl_session_accumulate(s, p, NULL, &loss, NULL));
    ck_null(ammpl_session_accumulate(s, p, &batch, NULL, NULL));
    batch.label = NULL;
    ck_null(ammpl_session_accumulate(s, p, &batch, &loss, NULL));
    batch.label = &label;
    batch.pixels = NULL;
    ck_null(ammpl_session_accumulate(s, p, &batch, &loss, NULL));
    ck_null(ammpl_session_padding(s, NULL, f, PIXELS));
    ck_null(ammpl_session_padding(s, p, NULL, PIXELS));
    ck_null(ammpl_session_masks(s, NULL, 0, f, PIXELS));
    ck_null(ammpl_session_masks(s, p, 0, NULL, PIXELS));
    ck_null(ammpl_optimizer_create(p, NULL, NULL));
    ck_null_out(ammpl_trainer, out, ammpl_trainer_create(s, NULL, w->data, NULL, &out));
    ck_null_out(ammpl_trainer, out, ammpl_trainer_create(s, p, NULL, NULL, &out));
    ck_null(ammpl_trainer_create(s, p, w->data, NULL, NULL));
    ck_null(ammpl_trainer_save(w->trainer, NULL));
    ck_null(ammpl_trainer_load(w->trainer, NULL));
    ck_null(ammpl_train(s, NULL, w->data, NULL, NULL, NULL));
    ck_null(ammpl_train(s, p, NULL, NULL, NULL, NULL));
    world_destroy(w);
}
END_TEST

/* Where NULL means something: the default, nothing wanted, no callback. */
START_TEST(allowed)
{
    world *w = world_shared();
    size_t need;
    ck_done(ammpl_context_set_log(w->ctx, AMMPL_LEVEL_INFO, NULL, NULL));
    ck_done(ammpl_context_memory(w->ctx, NULL, NULL));
    ck_done(ammpl_method_describe(0, NULL, NULL, NULL));
    ck_done(ammpl_dataset_named_describe(0, NULL, NULL, NULL));
    int32_t ids[32];
    ck_done(ammpl_model_tokenize(w->model, "cat", ids, 32, NULL));
    ck_is(ammpl_model_tokenize(w->model, "cat", NULL, 0, &need), AMMPL_E_BUFFER, "room");
    ck_assert_uint_ge(need, 3);
    ck_is(ammpl_model_token_text(w->model, 0, NULL, 0, &need), AMMPL_E_BUFFER, "2");
    ck_assert_uint_eq(need, 2);
    float *pixels = calloc(PIXELS, sizeof *pixels), features[EMBED];
    ck_done(ammpl_session_encode_images(w->session, NULL, pixels, 1, features, EMBED));
    ammpl_metrics metrics = {.struct_size = sizeof metrics};
    ck_done(ammpl_session_evaluate(w->session, w->prompt, w->data, NULL, NULL, NULL, NULL, &metrics));
    ck_assert_uint_eq(metrics.samples, 4);
    ck_done(ammpl_trainer_step(w->trainer, NULL));
    free(pixels);
    world_destroy(w);
}
END_TEST

TCase *case_null(void)
{
    TCase *tc = tcase_create("null");
    tcase_add_test(tc, destroy);
    tcase_add_test(tc, accessors);
    tcase_add_test(tc, objects);
    tcase_add_test(tc, arguments);
    tcase_add_test(tc, allowed);
    return tc;
}
