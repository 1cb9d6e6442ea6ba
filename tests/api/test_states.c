/* test_states.c - the right call at the wrong moment, and objects that do not belong together. */
#include "api.h"

START_TEST(other_model)
{
    world *w = world_shared();
    ammpl_model *twin;
    ammpl_session *s;
    ck_done(ammpl_model_load_file(w->ctx, NULL, nano_path(), NULL, &twin));
    ck_done(ammpl_session_create(twin, NULL, &s));
    static float pixels[PIXELS];
    float out[CLASSES * 3 * PATCH * PATCH];
    int32_t label = 0;
    double loss;
    ammpl_batch batch = {.struct_size = sizeof batch, .n = 1, .pixels = pixels, .label = &label};
    ammpl_metrics metrics = {.struct_size = sizeof metrics};
    ammpl_trainer *t;
    ck_is(ammpl_session_encode_images(s, w->prompt, pixels, 1, out, EMBED), AMMPL_E_ARGUMENT, "different models");
    ck_is(ammpl_session_encode_classes(s, w->prompt, out, CLASSES * EMBED), AMMPL_E_ARGUMENT, "different models");
    ck_is(ammpl_session_predict(s, w->prompt, pixels, 1, out, CLASSES), AMMPL_E_ARGUMENT, "different models");
    ck_is(ammpl_session_accumulate(s, w->prompt, &batch, &loss, NULL), AMMPL_E_ARGUMENT, "different models");
    ck_is(ammpl_session_padding(s, w->prompt, out, 225), AMMPL_E_ARGUMENT, "different models");
    ck_is(ammpl_session_masks(s, w->prompt, 0, out, 27), AMMPL_E_ARGUMENT, "different models");
    ck_is(ammpl_session_evaluate(s, w->prompt, w->data, NULL, NULL, NULL, NULL, &metrics), AMMPL_E_ARGUMENT, "different models");
    ck_is(ammpl_trainer_create(s, w->prompt, w->data, NULL, &t), AMMPL_E_ARGUMENT, "different models");
    ck_is(ammpl_train(s, w->prompt, w->data, NULL, NULL, NULL), AMMPL_E_ARGUMENT, "different models");
    ammpl_session_destroy(s);
    ammpl_model_destroy(twin);
    world_destroy(w);
}
END_TEST

START_TEST(other_context)
{
    world *w = world_shared();
    ammpl_context *ctx;
    ammpl_dataset *ds;
    ammpl_model *m;
    ck_done(ammpl_context_create(NULL, &ctx));
    ck_is(ammpl_model_load_file(w->ctx, ammpl_device_at(ctx, 0), nano_path(), NULL, &m), AMMPL_E_ARGUMENT, "another context");
    ck_done(ammpl_dataset_create(ctx, class_names, CLASSES, &ds));
    ck_is(ammpl_train(w->session, w->prompt, ds, NULL, NULL, NULL), AMMPL_E_ARGUMENT, "different contexts");
    ammpl_dataset_destroy(ds);
    ammpl_context_destroy(ctx);
    world_destroy(w);
}
END_TEST

START_TEST(towers)
{
    world *w = world_shared();
    ammpl_config *cfg;
    ammpl_model *image, *text;
    ammpl_session *s;
    ammpl_prompt *p;
    static float pixels[PIXELS];
    float out[EMBED];
    int32_t ids[32];
    ck_done(ammpl_config_create(w->ctx, &cfg));
    ck_done(ammpl_config_set_string(cfg, AMMPL_OPT_TOWERS, "image"));
    ck_done(ammpl_model_load_file(w->ctx, NULL, nano_path(), cfg, &image));
    ck_done(ammpl_session_create(image, NULL, &s));
    ck_done(ammpl_session_encode_images(s, NULL, pixels, 1, out, EMBED));
    ck_is(ammpl_session_encode_texts(s, class_names, 1, out, EMBED), AMMPL_E_STATE, "image");
    ck_is(ammpl_model_tokenize(image, "cat", ids, 32, NULL), AMMPL_E_STATE, "text tower");
    ck_is(ammpl_model_probe(image, out), AMMPL_E_STATE, "image");
    ck_is(ammpl_prompt_create(image, AMMPL_METHOD_AMMPL, class_names, CLASSES, NULL, &p), AMMPL_E_STATE, "image");
    ammpl_session_destroy(s);

    ck_done(ammpl_config_set_string(cfg, AMMPL_OPT_TOWERS, "text"));
    ck_done(ammpl_model_load_file(w->ctx, NULL, nano_path(), cfg, &text));
    ck_done(ammpl_session_create(text, NULL, &s));
    ck_done(ammpl_session_encode_texts(s, class_names, 1, out, EMBED));
    ck_is(ammpl_session_encode_images(s, NULL, pixels, 1, out, EMBED), AMMPL_E_STATE, "text");
    ammpl_image *picture, *back;
    static const uint8_t rgb[3 * 5 * 4];
    ck_done(ammpl_image_from_pixels(w->ctx, rgb, 5, 4, 0, &picture));
    ck_is(ammpl_model_preprocess(text, picture, pixels, PIXELS), AMMPL_E_STATE, "image tower");
    ck_is(ammpl_model_augment(text, picture, 1, 1, 1, pixels, PIXELS), AMMPL_E_STATE, "image tower");
    ck_is(ammpl_model_unprocess(text, pixels, 0, &back), AMMPL_E_STATE, "image tower");
    ammpl_image_destroy(picture);
    ammpl_session_destroy(s);
    ammpl_model_destroy(text);
    ammpl_model_destroy(image);
    ammpl_config_destroy(cfg);
    world_destroy(w);
}
END_TEST

START_TEST(prompt_kinds)
{
    world *w = world_shared();
    static float pixels[PIXELS];
    float out[CLASSES * 3 * PATCH * PATCH];
    int32_t label = 0;
    double loss;
    ammpl_batch batch = {.struct_size = sizeof batch, .n = 1, .pixels = pixels, .label = &label};
    /* AMMPL's image features differ from class to class; its class features as they start (z0) do not. */
    ck_assert_int_eq(ammpl_prompt_conditioning(w->prompt) & 2, 2);
    ck_is(ammpl_session_encode_images(w->session, w->prompt, pixels, 1, out, EMBED), AMMPL_E_STATE, "predict");
    ck_done(ammpl_session_encode_classes(w->session, w->prompt, out, CLASSES * EMBED));

    /* Zero-shot learns nothing and masks nothing. */
    ammpl_prompt *zero;
    ck_done(ammpl_prompt_create(w->model, AMMPL_METHOD_ZEROSHOT, class_names, CLASSES, NULL, &zero));
    ck_assert_int_eq(ammpl_prompt_conditioning(zero), 0);
    ck_done(ammpl_session_encode_images(w->session, zero, pixels, 1, out, EMBED));
    ck_is(ammpl_session_masks(w->session, zero, 0, out, 27), AMMPL_E_STATE, "zeroshot");
    ck_is(ammpl_session_padding(w->session, zero, out, 225), AMMPL_E_STATE, "zeroshot");
    ck_is(ammpl_session_accumulate(w->session, zero, &batch, &loss, NULL), AMMPL_E_STATE, "zeroshot");
    ck_is(ammpl_train(w->session, zero, w->data, NULL, NULL, NULL), AMMPL_E_STATE, "zeroshot");
    uint64_t bytes;
    ck_is(ammpl_session_plan(w->session, zero, 1, AMMPL_PLAN_ACCUMULATE, &bytes), AMMPL_E_STATE, "zeroshot");
    ck_is(ammpl_session_plan(w->session, w->prompt, 1, AMMPL_PLAN_ACCUMULATE_FEATURES, &bytes), AMMPL_E_STATE, "pixels");
    ck_done(ammpl_session_plan(w->session, zero, 1, AMMPL_PLAN_PREDICT, &bytes));
    ck_assert_uint_gt(bytes, 0);
    ck_done(ammpl_prompt_rebind_classes(zero, class_names + 1, 2));
    ammpl_prompt_destroy(zero);

    /* What learns per class has nothing for other classes. */
    ammpl_prompt *own;
    ck_done(ammpl_config_set_string(w->config, AMMPL_OPT_SCOPE, "class"));
    ck_done(ammpl_prompt_create(w->model, AMMPL_METHOD_AMMPL, class_names, CLASSES, w->config, &own));
    ck_is(ammpl_prompt_rebind_classes(own, class_names + 1, 2), AMMPL_E_STATE, "scope");
    ck_assert_uint_eq(ammpl_prompt_class_count(own), CLASSES);
    ammpl_prompt_destroy(own);
    world_destroy(w);
}
END_TEST

START_TEST(other_classes)
{
    world *w = world_shared();
    static const char *const turned[] = {"dog", "cat", "red_bird"};
    ammpl_metrics metrics = {.struct_size = sizeof metrics, .samples = 9};
    ammpl_trainer *t = w->trainer;
    ck_done(ammpl_prompt_rebind_classes(w->prompt, turned, 3));
    ck_is(ammpl_session_evaluate(w->session, w->prompt, w->data, NULL, NULL, NULL, NULL, &metrics), AMMPL_E_ARGUMENT, "cat");
    ck_assert_uint_eq(metrics.samples, 0);
    ck_is(ammpl_trainer_create(w->session, w->prompt, w->data, NULL, &t), AMMPL_E_ARGUMENT, "cat");
    ck_assert_ptr_null(t);
    world_destroy(w);
}
END_TEST

START_TEST(empty_data)
{
    world *w = world_shared();
    ammpl_dataset *ds;
    ammpl_metrics metrics = {.struct_size = sizeof metrics};
    ck_done(ammpl_dataset_create(w->ctx, class_names, CLASSES, &ds));
    ck_is(ammpl_session_evaluate(w->session, w->prompt, ds, NULL, NULL, NULL, NULL, &metrics), AMMPL_E_ARGUMENT, "image");
    ck_is(ammpl_train(w->session, w->prompt, ds, NULL, NULL, NULL), AMMPL_E_ARGUMENT, "image");
    ck_done(ammpl_dataset_add_image(ds, w->image, 0));
    ck_is(ammpl_train(w->session, w->prompt, ds, NULL, NULL, NULL), AMMPL_E_LABEL, "dog");
    ammpl_dataset_destroy(ds);
    world_destroy(w);
}
END_TEST

static int32_t stop_after(void *user, const ammpl_progress *progress)
{
    ck_assert_uint_ge(progress->struct_size, sizeof *progress);
    ++*(int *)user;
    return progress->step == 1;
}

static int32_t cancel_session(void *user, const ammpl_progress *progress)
{
    (void)progress;
    ammpl_session_cancel(user);
    return 0;
}

START_TEST(ends)
{
    world *w = world_shared();
    int calls = 0;
    ammpl_progress progress = {.struct_size = sizeof progress};
    for (uint64_t step = 0; step < 4; step++) { /* 2 epochs of 4 pictures in batches of 2 */
        ck_done(ammpl_trainer_step(w->trainer, &progress));
        ck_assert_uint_eq(progress.step, step);
        ck_assert_uint_eq(progress.steps, 4);
        ck_assert_uint_eq(progress.struct_size, sizeof progress);
    }
    ck_is(ammpl_trainer_step(w->trainer, &progress), AMMPL_END, "");
    ck_assert_uint_eq(progress.steps, 0);
    ck_is(ammpl_trainer_step(w->trainer, NULL), AMMPL_END, "");

    ck_is(ammpl_train(w->session, w->prompt, w->data, w->config, stop_after, &calls), AMMPL_CANCELLED, "");
    ck_assert_int_eq(calls, 2);
    ck_is(ammpl_train(w->session, w->prompt, w->data, w->config, cancel_session, w->session), AMMPL_CANCELLED, "");
    ammpl_metrics metrics = {.struct_size = sizeof metrics};
    ck_is(ammpl_session_evaluate(w->session, w->prompt, w->data, w->config, cancel_session, w->session, NULL, &metrics),
          AMMPL_CANCELLED, "");
    ck_assert_uint_eq(metrics.samples, 2);
    /* A cancel is spent by the run that it ends. */
    ck_done(ammpl_session_evaluate(w->session, w->prompt, w->data, w->config, NULL, NULL, NULL, &metrics));
    ck_assert_uint_eq(metrics.samples, 4);
    world_destroy(w);
}
END_TEST

TCase *case_states(void)
{
    TCase *tc = tcase_create("states");
    tcase_add_test(tc, other_model);
    tcase_add_test(tc, other_context);
    tcase_add_test(tc, towers);
    tcase_add_test(tc, prompt_kinds);
    tcase_add_test(tc, other_classes);
    tcase_add_test(tc, empty_data);
    tcase_add_test(tc, ends);
    return tc;
}
