/* pins.c - the numbers and layouts that programs compiled earlier rely on.  A failing line here is a broken ABI:
 * do not adapt it, undo the change (lib/ABI.md).  New constants and members are added below, with literals.
 */
#include <ammpl/ammpl.h>
#include <stddef.h>

#define PIN(constant, number) _Static_assert((constant) == (number), #constant " is pinned")
#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " may only grow at its tail, with a new line here")
#define AT(type, member, offset) _Static_assert(offsetof(type, member) == (offset), #type "." #member " is pinned")


PIN(AMMPL_OK, 0);
PIN(AMMPL_END, 1);
PIN(AMMPL_CANCELLED, 2);
PIN(AMMPL_E_ARGUMENT, -1);
PIN(AMMPL_E_MEMORY, -2);
PIN(AMMPL_E_DEVICE_MEMORY, -3);
PIN(AMMPL_E_IO, -4);
PIN(AMMPL_E_FORMAT, -5);
PIN(AMMPL_E_VERSION, -6);
PIN(AMMPL_E_UNSUPPORTED, -7);
PIN(AMMPL_E_OPTION, -8);
PIN(AMMPL_E_RANGE, -9);
PIN(AMMPL_E_SHAPE, -10);
PIN(AMMPL_E_LABEL, -11);
PIN(AMMPL_E_STATE, -12);
PIN(AMMPL_E_BUFFER, -13);
PIN(AMMPL_E_BACKEND, -14);
PIN(AMMPL_E_DEVICE_LOST, -15);
PIN(AMMPL_E_NUMERIC, -16);
PIN(AMMPL_E_EXISTS, -17);
PIN(AMMPL_E_MODEL, -18);
PIN(AMMPL_E_IMAGE, -19);
PIN(AMMPL_E_INTERNAL, -100);

PIN(AMMPL_METHOD_ZEROSHOT, 0);
PIN(AMMPL_METHOD_COOP, 1);
PIN(AMMPL_METHOD_COCOOP, 2);
PIN(AMMPL_METHOD_VP, 3);
PIN(AMMPL_METHOD_VPT, 4);
PIN(AMMPL_METHOD_DLP, 5);
PIN(AMMPL_METHOD_IVLP, 6);
PIN(AMMPL_METHOD_MAPLE, 7);
PIN(AMMPL_METHOD_DPT, 8);
PIN(AMMPL_METHOD_AMMPL, 9);

PIN(AMMPL_LEVEL_DEBUG, 10);
PIN(AMMPL_LEVEL_INFO, 20);
PIN(AMMPL_LEVEL_WARN, 30);
PIN(AMMPL_LEVEL_ERROR, 40);

PIN(AMMPL_OPT_MEMORY_LIMIT, 111);
PIN(AMMPL_OPT_VOCAB, 140);
PIN(AMMPL_OPT_ACTIVATION, 141);
PIN(AMMPL_OPT_TOWERS, 142);
PIN(AMMPL_OPT_WEIGHTS, 143);
PIN(AMMPL_OPT_JPEG, 144);
PIN(AMMPL_OPT_PRECISION, 145);
PIN(AMMPL_OPT_N_CTX, 200);
PIN(AMMPL_OPT_CTX_INIT, 201);
PIN(AMMPL_OPT_TEMPLATE, 220);
PIN(AMMPL_OPT_EVAL_SEED, 221);
PIN(AMMPL_OPT_OPTIMIZER, 500);
PIN(AMMPL_OPT_LR, 501);
PIN(AMMPL_OPT_MOMENTUM, 502);
PIN(AMMPL_OPT_WEIGHT_DECAY, 503);
PIN(AMMPL_OPT_BETA1, 504);
PIN(AMMPL_OPT_BETA2, 505);
PIN(AMMPL_OPT_EPSILON, 506);
PIN(AMMPL_OPT_SCHEDULE, 520);
PIN(AMMPL_OPT_WARMUP_EPOCHS, 521);
PIN(AMMPL_OPT_WARMUP_LR, 522);
PIN(AMMPL_OPT_EPOCHS, 600);
PIN(AMMPL_OPT_BATCH, 601);
PIN(AMMPL_OPT_SEED, 602);
PIN(AMMPL_OPT_SHUFFLE, 603);
PIN(AMMPL_OPT_DROP_LAST, 604);
PIN(AMMPL_OPT_ACCUMULATE, 605);
PIN(AMMPL_OPT_SKIP_BAD, 606);
PIN(AMMPL_OPT_CACHE, 610);
PIN(AMMPL_OPT_SAMPLER, 620);
PIN(AMMPL_OPT_AUGMENT, 700);
PIN(AMMPL_OPT_SCOPE, 800);
PIN(AMMPL_OPT_ORDER, 801);
PIN(AMMPL_OPT_SHIFT, 802);
PIN(AMMPL_OPT_MASK_GRADIENT, 803);
PIN(AMMPL_OPT_MASK, 804);
PIN(AMMPL_OPT_PADDING, 805);
PIN(AMMPL_OPT_INTERACTION, 806);
PIN(AMMPL_OPT_DRAWS, 807);
PIN(AMMPL_OPT_EVALUATION, 808);
PIN(AMMPL_OPT_MASK_MEAN, 809);
PIN(AMMPL_OPT_LR_MASK, 810);
PIN(AMMPL_OPT_LR_PADDING, 811);
PIN(AMMPL_OPT_CANDIDATES, 812);
PIN(AMMPL_OPT_POSITION, 202);
PIN(AMMPL_OPT_CLASS_SPECIFIC, 203);
PIN(AMMPL_OPT_N_CTX_VISION, 210);
PIN(AMMPL_OPT_DEPTH_VISION, 211);
PIN(AMMPL_OPT_VARIANT, 212);
PIN(AMMPL_OPT_DEPTH_TEXT, 213);
PIN(AMMPL_OPT_DEPTH, 214);
PIN(AMMPL_OPT_KIND, 300);
PIN(AMMPL_OPT_PROMPT_SIZE, 301);
PIN(AMMPL_OPT_BOTTOM_LIMIT, 400);
PIN(AMMPL_OPT_TOP_K, 401);
PIN(AMMPL_OPT_GUIDANCE_EPOCHS, 402);
PIN(AMMPL_OPT_AUX_WEIGHT, 403);
PIN(AMMPL_OPT_LR_TEXT, 404);
PIN(AMMPL_OPT_WARMUP_EPOCHS_TEXT, 405);
PIN(AMMPL_OPT_WARMUP_STEPS, 523);
PIN(AMMPL_OPT_PROTOCOL, 530);

PIN(AMMPL_TYPE_INT, 1);
PIN(AMMPL_TYPE_FLOAT, 2);
PIN(AMMPL_TYPE_BOOL, 3);
PIN(AMMPL_TYPE_STRING, 4);
PIN(AMMPL_TYPE_CHOICE, 5);

PIN(AMMPL_OPTION_SAVED, 1);
PIN(AMMPL_OPTION_LOAD, 2);
PIN(AMMPL_OPTION_TRAIN, 4);
PIN(AMMPL_OPTION_SESSION, 8);

PIN(AMMPL_QUERY_EMBED_WIDTH, 10000);
PIN(AMMPL_QUERY_IMAGE_SIZE, 10001);
PIN(AMMPL_QUERY_PATCH_SIZE, 10002);
PIN(AMMPL_QUERY_GRID, 10003);
PIN(AMMPL_QUERY_CONTEXT_LENGTH, 10004);
PIN(AMMPL_QUERY_VOCAB_SIZE, 10005);
PIN(AMMPL_QUERY_TEXT_WIDTH, 10010);
PIN(AMMPL_QUERY_TEXT_LAYERS, 10011);
PIN(AMMPL_QUERY_TEXT_HEADS, 10012);
PIN(AMMPL_QUERY_IMAGE_WIDTH, 10020);
PIN(AMMPL_QUERY_IMAGE_LAYERS, 10021);
PIN(AMMPL_QUERY_IMAGE_HEADS, 10022);
PIN(AMMPL_QUERY_LOGIT_SCALE, 10030);
PIN(AMMPL_QUERY_ACTIVATION, 10040);
PIN(AMMPL_QUERY_SOURCE, 10041);

PIN(AMMPL_TOWER_TEXT, 1);
PIN(AMMPL_TOWER_IMAGE, 2);
PIN(AMMPL_RECORD_NONE, 0);
PIN(AMMPL_RECORD_ALL, 1);
PIN(AMMPL_RECORD_PROMPTS, 2);
PIN(AMMPL_PLAN_PREDICT, 0);
PIN(AMMPL_PLAN_ACCUMULATE, 1);
PIN(AMMPL_PLAN_ACCUMULATE_FEATURES, 2);
PIN(AMMPL_GRADIENT_ROWS, 1);
PIN(AMMPL_GRADIENT_PREFIX, 2);
PIN(AMMPL_GRADIENT_PIXELS, 3);
PIN(AMMPL_GRADIENT_PROMPT, 4);

SIZE(ammpl_status, 4);
SIZE(ammpl_option, 4);
SIZE(ammpl_method, 4);
SIZE(ammpl_query, 4);
SIZE(ammpl_level, 4);

#if UINTPTR_MAX == UINT64_MAX /* layouts of the platforms that are supported: all have pointers of 64 bits */
SIZE(ammpl_allocator, 32);
AT(ammpl_allocator, struct_size, 0);
AT(ammpl_allocator, flags, 4);
AT(ammpl_allocator, user, 8);
AT(ammpl_allocator, alloc, 16);
AT(ammpl_allocator, release, 24);

SIZE(ammpl_tensor_info, 64);
AT(ammpl_tensor_info, struct_size, 0);
AT(ammpl_tensor_info, rank, 4);
AT(ammpl_tensor_info, trainable, 8);
AT(ammpl_tensor_info, group, 12);
AT(ammpl_tensor_info, shape, 16);
AT(ammpl_tensor_info, count, 48);
AT(ammpl_tensor_info, name, 56);

SIZE(ammpl_option_info, 64);
AT(ammpl_option_info, struct_size, 0);
AT(ammpl_option_info, id, 4);
AT(ammpl_option_info, type, 8);
AT(ammpl_option_info, flags, 12);
AT(ammpl_option_info, min, 16);
AT(ammpl_option_info, max, 24);
AT(ammpl_option_info, name, 32);
AT(ammpl_option_info, def, 40);
AT(ammpl_option_info, choices, 48);
AT(ammpl_option_info, doc, 56);

SIZE(ammpl_batch, 88);
AT(ammpl_batch, struct_size, 0);
AT(ammpl_batch, reserved, 4);
AT(ammpl_batch, n, 8);
AT(ammpl_batch, pixels, 16);
AT(ammpl_batch, label, 24);
AT(ammpl_batch, image_id, 32);
AT(ammpl_batch, seed, 40);
AT(ammpl_batch, step, 48);
AT(ammpl_batch, reserved2, 52);
AT(ammpl_batch, weight, 56);
AT(ammpl_batch, features, 64);
AT(ammpl_batch, epoch, 72);
AT(ammpl_batch, aux_weight, 80);

SIZE(ammpl_metrics, 56);
AT(ammpl_metrics, struct_size, 0);
AT(ammpl_metrics, reserved, 4);
AT(ammpl_metrics, samples, 8);
AT(ammpl_metrics, correct, 16);
AT(ammpl_metrics, skipped, 24);
AT(ammpl_metrics, loss, 32);
AT(ammpl_metrics, accuracy, 40);
AT(ammpl_metrics, macro_f1, 48);

SIZE(ammpl_progress, 120);
AT(ammpl_progress, struct_size, 0);
AT(ammpl_progress, reserved, 4);
AT(ammpl_progress, epoch, 8);
AT(ammpl_progress, epochs, 16);
AT(ammpl_progress, step, 24);
AT(ammpl_progress, steps, 32);
AT(ammpl_progress, images, 40);
AT(ammpl_progress, loss, 48);
AT(ammpl_progress, learning_rate, 56);
AT(ammpl_progress, seconds, 64);
AT(ammpl_progress, seconds_left, 72);
AT(ammpl_progress, epoch_end, 80);
AT(ammpl_progress, reserved2, 84);
AT(ammpl_progress, epoch_loss, 88);
AT(ammpl_progress, epoch_accuracy, 96);
AT(ammpl_progress, images_per_second, 104);
AT(ammpl_progress, epoch_seconds, 112);

SIZE(ammpl_text_input, 72);
AT(ammpl_text_input, struct_size, 0);
AT(ammpl_text_input, record, 4);
AT(ammpl_text_input, n, 8);
AT(ammpl_text_input, L, 16);
AT(ammpl_text_input, rows, 24);
AT(ammpl_text_input, length, 32);
AT(ammpl_text_input, prefix, 40);
AT(ammpl_text_input, prefix_rows, 48);
AT(ammpl_text_input, slot_first, 56);
AT(ammpl_text_input, slots, 64);

SIZE(ammpl_image_input, 40);
AT(ammpl_image_input, struct_size, 0);
AT(ammpl_image_input, record, 4);
AT(ammpl_image_input, n, 8);
AT(ammpl_image_input, pixels, 16);
AT(ammpl_image_input, tokens, 24);
AT(ammpl_image_input, block, 32);
AT(ammpl_image_input, reserved, 36);
#endif
