//! The declarations of ammpl.h, made from it by `python3 tests/ffi/header.py rust include/ammpl/ammpl.h`.
//! What they mean is written there.
#![allow(non_camel_case_types, non_snake_case)]

use std::os::raw::{c_char, c_void};

#[repr(C)]
pub struct ammpl_context {
    _opaque: [u8; 0],
}
#[repr(C)]
pub struct ammpl_device {
    _opaque: [u8; 0],
}
#[repr(C)]
pub struct ammpl_config {
    _opaque: [u8; 0],
}
#[repr(C)]
pub struct ammpl_model {
    _opaque: [u8; 0],
}
#[repr(C)]
pub struct ammpl_image {
    _opaque: [u8; 0],
}
#[repr(C)]
pub struct ammpl_dataset {
    _opaque: [u8; 0],
}
#[repr(C)]
pub struct ammpl_prompt {
    _opaque: [u8; 0],
}
#[repr(C)]
pub struct ammpl_session {
    _opaque: [u8; 0],
}
#[repr(C)]
pub struct ammpl_optimizer {
    _opaque: [u8; 0],
}
#[repr(C)]
pub struct ammpl_trainer {
    _opaque: [u8; 0],
}
#[repr(C)]
pub struct ammpl_tape {
    _opaque: [u8; 0],
}

pub type ammpl_status = i32;
pub type ammpl_option = i32;
pub type ammpl_method = i32;
pub type ammpl_query = i32;
pub type ammpl_level = i32;
pub type ammpl_log_fn = unsafe extern "C" fn(*mut c_void, ammpl_level, *const c_char);
pub type ammpl_progress_fn = unsafe extern "C" fn(*mut c_void, *const ammpl_progress) -> i32;

pub const AMMPL_OK: i32 = 0;
pub const AMMPL_END: i32 = 1;
pub const AMMPL_CANCELLED: i32 = 2;
pub const AMMPL_E_ARGUMENT: i32 = -1;
pub const AMMPL_E_MEMORY: i32 = -2;
pub const AMMPL_E_DEVICE_MEMORY: i32 = -3;
pub const AMMPL_E_IO: i32 = -4;
pub const AMMPL_E_FORMAT: i32 = -5;
pub const AMMPL_E_VERSION: i32 = -6;
pub const AMMPL_E_UNSUPPORTED: i32 = -7;
pub const AMMPL_E_OPTION: i32 = -8;
pub const AMMPL_E_RANGE: i32 = -9;
pub const AMMPL_E_SHAPE: i32 = -10;
pub const AMMPL_E_LABEL: i32 = -11;
pub const AMMPL_E_STATE: i32 = -12;
pub const AMMPL_E_BUFFER: i32 = -13;
pub const AMMPL_E_BACKEND: i32 = -14;
pub const AMMPL_E_DEVICE_LOST: i32 = -15;
pub const AMMPL_E_NUMERIC: i32 = -16;
pub const AMMPL_E_EXISTS: i32 = -17;
pub const AMMPL_E_MODEL: i32 = -18;
pub const AMMPL_E_IMAGE: i32 = -19;
pub const AMMPL_E_INTERNAL: i32 = -100;
pub const AMMPL_METHOD_ZEROSHOT: i32 = 0;
pub const AMMPL_METHOD_COOP: i32 = 1;
pub const AMMPL_METHOD_COCOOP: i32 = 2;
pub const AMMPL_METHOD_VP: i32 = 3;
pub const AMMPL_METHOD_VPT: i32 = 4;
pub const AMMPL_METHOD_DLP: i32 = 5;
pub const AMMPL_METHOD_IVLP: i32 = 6;
pub const AMMPL_METHOD_MAPLE: i32 = 7;
pub const AMMPL_METHOD_DPT: i32 = 8;
pub const AMMPL_METHOD_AMMPL: i32 = 9;
pub const AMMPL_LEVEL_DEBUG: i32 = 10;
pub const AMMPL_LEVEL_INFO: i32 = 20;
pub const AMMPL_LEVEL_WARN: i32 = 30;
pub const AMMPL_LEVEL_ERROR: i32 = 40;
pub const AMMPL_OPT_MEMORY_LIMIT: i32 = 111;
pub const AMMPL_OPT_VOCAB: i32 = 140;
pub const AMMPL_OPT_ACTIVATION: i32 = 141;
pub const AMMPL_OPT_TOWERS: i32 = 142;
pub const AMMPL_OPT_WEIGHTS: i32 = 143;
pub const AMMPL_OPT_JPEG: i32 = 144;
pub const AMMPL_OPT_PRECISION: i32 = 145;
pub const AMMPL_OPT_N_CTX: i32 = 200;
pub const AMMPL_OPT_CTX_INIT: i32 = 201;
pub const AMMPL_OPT_POSITION: i32 = 202;
pub const AMMPL_OPT_CLASS_SPECIFIC: i32 = 203;
pub const AMMPL_OPT_N_CTX_VISION: i32 = 210;
pub const AMMPL_OPT_DEPTH_VISION: i32 = 211;
pub const AMMPL_OPT_VARIANT: i32 = 212;
pub const AMMPL_OPT_DEPTH_TEXT: i32 = 213;
pub const AMMPL_OPT_DEPTH: i32 = 214;
pub const AMMPL_OPT_TEMPLATE: i32 = 220;
pub const AMMPL_OPT_EVAL_SEED: i32 = 221;
pub const AMMPL_OPT_KIND: i32 = 300;
pub const AMMPL_OPT_PROMPT_SIZE: i32 = 301;
pub const AMMPL_OPT_BOTTOM_LIMIT: i32 = 400;
pub const AMMPL_OPT_TOP_K: i32 = 401;
pub const AMMPL_OPT_GUIDANCE_EPOCHS: i32 = 402;
pub const AMMPL_OPT_AUX_WEIGHT: i32 = 403;
pub const AMMPL_OPT_LR_TEXT: i32 = 404;
pub const AMMPL_OPT_WARMUP_EPOCHS_TEXT: i32 = 405;
pub const AMMPL_OPT_OPTIMIZER: i32 = 500;
pub const AMMPL_OPT_LR: i32 = 501;
pub const AMMPL_OPT_MOMENTUM: i32 = 502;
pub const AMMPL_OPT_WEIGHT_DECAY: i32 = 503;
pub const AMMPL_OPT_BETA1: i32 = 504;
pub const AMMPL_OPT_BETA2: i32 = 505;
pub const AMMPL_OPT_EPSILON: i32 = 506;
pub const AMMPL_OPT_SCHEDULE: i32 = 520;
pub const AMMPL_OPT_WARMUP_EPOCHS: i32 = 521;
pub const AMMPL_OPT_WARMUP_LR: i32 = 522;
pub const AMMPL_OPT_WARMUP_STEPS: i32 = 523;
pub const AMMPL_OPT_PROTOCOL: i32 = 530;
pub const AMMPL_OPT_EPOCHS: i32 = 600;
pub const AMMPL_OPT_BATCH: i32 = 601;
pub const AMMPL_OPT_SEED: i32 = 602;
pub const AMMPL_OPT_SHUFFLE: i32 = 603;
pub const AMMPL_OPT_DROP_LAST: i32 = 604;
pub const AMMPL_OPT_ACCUMULATE: i32 = 605;
pub const AMMPL_OPT_SKIP_BAD: i32 = 606;
pub const AMMPL_OPT_CACHE: i32 = 610;
pub const AMMPL_OPT_SAMPLER: i32 = 620;
pub const AMMPL_OPT_AUGMENT: i32 = 700;
pub const AMMPL_OPT_SCOPE: i32 = 800;
pub const AMMPL_OPT_ORDER: i32 = 801;
pub const AMMPL_OPT_SHIFT: i32 = 802;
pub const AMMPL_OPT_MASK_GRADIENT: i32 = 803;
pub const AMMPL_OPT_MASK: i32 = 804;
pub const AMMPL_OPT_PADDING: i32 = 805;
pub const AMMPL_OPT_INTERACTION: i32 = 806;
pub const AMMPL_OPT_DRAWS: i32 = 807;
pub const AMMPL_OPT_EVALUATION: i32 = 808;
pub const AMMPL_OPT_MASK_MEAN: i32 = 809;
pub const AMMPL_OPT_LR_MASK: i32 = 810;
pub const AMMPL_OPT_LR_PADDING: i32 = 811;
pub const AMMPL_OPT_CANDIDATES: i32 = 812;
pub const AMMPL_TYPE_INT: i32 = 1;
pub const AMMPL_TYPE_FLOAT: i32 = 2;
pub const AMMPL_TYPE_BOOL: i32 = 3;
pub const AMMPL_TYPE_STRING: i32 = 4;
pub const AMMPL_TYPE_CHOICE: i32 = 5;
pub const AMMPL_OPTION_SAVED: i32 = 1;
pub const AMMPL_OPTION_LOAD: i32 = 2;
pub const AMMPL_OPTION_TRAIN: i32 = 4;
pub const AMMPL_OPTION_SESSION: i32 = 8;
pub const AMMPL_QUERY_EMBED_WIDTH: i32 = 10000;
pub const AMMPL_QUERY_IMAGE_SIZE: i32 = 10001;
pub const AMMPL_QUERY_PATCH_SIZE: i32 = 10002;
pub const AMMPL_QUERY_GRID: i32 = 10003;
pub const AMMPL_QUERY_CONTEXT_LENGTH: i32 = 10004;
pub const AMMPL_QUERY_VOCAB_SIZE: i32 = 10005;
pub const AMMPL_QUERY_TEXT_WIDTH: i32 = 10010;
pub const AMMPL_QUERY_TEXT_LAYERS: i32 = 10011;
pub const AMMPL_QUERY_TEXT_HEADS: i32 = 10012;
pub const AMMPL_QUERY_IMAGE_WIDTH: i32 = 10020;
pub const AMMPL_QUERY_IMAGE_LAYERS: i32 = 10021;
pub const AMMPL_QUERY_IMAGE_HEADS: i32 = 10022;
pub const AMMPL_QUERY_LOGIT_SCALE: i32 = 10030;
pub const AMMPL_QUERY_ACTIVATION: i32 = 10040;
pub const AMMPL_QUERY_SOURCE: i32 = 10041;
pub const AMMPL_TOWER_TEXT: i32 = 1;
pub const AMMPL_TOWER_IMAGE: i32 = 2;
pub const AMMPL_RECORD_NONE: i32 = 0;
pub const AMMPL_RECORD_ALL: i32 = 1;
pub const AMMPL_RECORD_PROMPTS: i32 = 2;
pub const AMMPL_GRADIENT_ROWS: i32 = 1;
pub const AMMPL_GRADIENT_PREFIX: i32 = 2;
pub const AMMPL_GRADIENT_PIXELS: i32 = 3;
pub const AMMPL_GRADIENT_PROMPT: i32 = 4;
pub const AMMPL_PLAN_PREDICT: i32 = 0;
pub const AMMPL_PLAN_ACCUMULATE: i32 = 1;
pub const AMMPL_PLAN_ACCUMULATE_FEATURES: i32 = 2;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ammpl_allocator {
    pub struct_size: u32,
    pub flags: u32,
    pub user: *mut c_void,
    pub alloc: Option<unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void>,
    pub release: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, usize)>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ammpl_tensor_info {
    pub struct_size: u32,
    pub rank: i32,
    pub trainable: i32,
    pub group: i32,
    pub shape: [i64; 4],
    pub count: u64,
    pub name: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ammpl_option_info {
    pub struct_size: u32,
    pub id: ammpl_option,
    pub r#type: i32,
    pub flags: i32,
    pub min: f64,
    pub max: f64,
    pub name: *const c_char,
    pub def: *const c_char,
    pub choices: *const c_char,
    pub doc: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ammpl_batch {
    pub struct_size: u32,
    pub reserved: u32,
    pub n: usize,
    pub pixels: *const f32,
    pub label: *const i32,
    pub image_id: *const u32,
    pub seed: u64,
    pub step: u32,
    pub reserved2: u32,
    pub weight: f64,
    pub features: *const f32,
    pub epoch: i64,
    pub aux_weight: f64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ammpl_cost {
    pub struct_size: u32,
    pub reserved: u32,
    pub parameters: u64,
    pub image_encodes: u64,
    pub text_encodes: u64,
    pub step_texts: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ammpl_metrics {
    pub struct_size: u32,
    pub reserved: u32,
    pub samples: u64,
    pub correct: u64,
    pub skipped: u64,
    pub loss: f64,
    pub accuracy: f64,
    pub macro_f1: f64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ammpl_progress {
    pub struct_size: u32,
    pub reserved: u32,
    pub epoch: u64,
    pub epochs: u64,
    pub step: u64,
    pub steps: u64,
    pub images: u64,
    pub loss: f64,
    pub learning_rate: f64,
    pub seconds: f64,
    pub seconds_left: f64,
    pub epoch_end: i32,
    pub reserved2: i32,
    pub epoch_loss: f64,
    pub epoch_accuracy: f64,
    pub images_per_second: f64,
    pub epoch_seconds: f64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ammpl_text_input {
    pub struct_size: u32,
    pub record: i32,
    pub n: usize,
    pub L: usize,
    pub rows: *const f32,
    pub length: *const i32,
    pub prefix: *const f32,
    pub prefix_rows: usize,
    pub slot_first: usize,
    pub slots: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ammpl_image_input {
    pub struct_size: u32,
    pub record: i32,
    pub n: usize,
    pub pixels: *const f32,
    pub tokens: *const f32,
    pub block: i32,
    pub reserved: i32,
}

extern "C" {
    pub fn ammpl_version_number() -> u32;
    pub fn ammpl_version_string() -> *const c_char;
    pub fn ammpl_build_info() -> *const c_char;
    pub fn ammpl_status_name(status: ammpl_status) -> *const c_char;
    pub fn ammpl_status_string(status: ammpl_status) -> *const c_char;
    pub fn ammpl_last_error() -> *const c_char;
    pub fn ammpl_context_create(alloc: *const ammpl_allocator, out: *mut *mut ammpl_context) -> ammpl_status;
    pub fn ammpl_context_destroy(ctx: *mut ammpl_context);
    pub fn ammpl_context_set_log(ctx: *mut ammpl_context, min: ammpl_level, r#fn: Option<ammpl_log_fn>, user: *mut c_void) -> ammpl_status;
    pub fn ammpl_context_set_threads(ctx: *mut ammpl_context, threads: i32) -> ammpl_status;
    pub fn ammpl_context_memory(ctx: *const ammpl_context, now: *mut u64, peak: *mut u64) -> ammpl_status;
    pub fn ammpl_backend_spi_version() -> u32;
    pub fn ammpl_context_load_backend(ctx: *mut ammpl_context, path: *const c_char) -> ammpl_status;
    pub fn ammpl_context_scan_backends(ctx: *mut ammpl_context, folder: *const c_char) -> ammpl_status;
    pub fn ammpl_backend_count(ctx: *const ammpl_context) -> usize;
    pub fn ammpl_backend_report(ctx: *const ammpl_context, i: usize, name: *mut *const c_char, why: *mut *const c_char) -> ammpl_status;
    pub fn ammpl_device_count(ctx: *const ammpl_context) -> usize;
    pub fn ammpl_device_at(ctx: *const ammpl_context, i: usize) -> *const ammpl_device;
    pub fn ammpl_device_find(ctx: *const ammpl_context, name: *const c_char) -> *const ammpl_device;
    pub fn ammpl_device_name(dev: *const ammpl_device) -> *const c_char;
    pub fn ammpl_device_description(dev: *const ammpl_device) -> *const c_char;
    pub fn ammpl_device_memory(dev: *const ammpl_device, available: *mut u64, total: *mut u64) -> ammpl_status;
    pub fn ammpl_config_create(ctx: *mut ammpl_context, out: *mut *mut ammpl_config) -> ammpl_status;
    pub fn ammpl_config_destroy(cfg: *mut ammpl_config);
    pub fn ammpl_config_set_int(cfg: *mut ammpl_config, id: ammpl_option, value: i64) -> ammpl_status;
    pub fn ammpl_config_set_float(cfg: *mut ammpl_config, id: ammpl_option, value: f64) -> ammpl_status;
    pub fn ammpl_config_set_string(cfg: *mut ammpl_config, id: ammpl_option, value: *const c_char) -> ammpl_status;
    pub fn ammpl_config_set_text(cfg: *mut ammpl_config, name: *const c_char, value: *const c_char) -> ammpl_status;
    pub fn ammpl_config_get_int(cfg: *const ammpl_config, id: ammpl_option, value: *mut i64) -> ammpl_status;
    pub fn ammpl_config_get_float(cfg: *const ammpl_config, id: ammpl_option, value: *mut f64) -> ammpl_status;
    pub fn ammpl_config_get_string(cfg: *const ammpl_config, id: ammpl_option, value: *mut *const c_char) -> ammpl_status;
    pub fn ammpl_config_is_set(cfg: *const ammpl_config, id: ammpl_option) -> i32;
    pub fn ammpl_option_count() -> usize;
    pub fn ammpl_option_describe(i: usize, info: *mut ammpl_option_info) -> ammpl_status;
    pub fn ammpl_method_count() -> usize;
    pub fn ammpl_method_describe(i: usize, id: *mut ammpl_method, name: *mut *const c_char, doc: *mut *const c_char) -> ammpl_status;
    pub fn ammpl_method_find(name: *const c_char, id: *mut ammpl_method) -> ammpl_status;
    pub fn ammpl_model_load_file(ctx: *mut ammpl_context, dev: *const ammpl_device, path: *const c_char, cfg: *const ammpl_config, out: *mut *mut ammpl_model) -> ammpl_status;
    pub fn ammpl_model_load_memory(ctx: *mut ammpl_context, dev: *const ammpl_device, weights: *const c_void, weights_size: usize, merges: *const c_void, merges_size: usize, vocab_json: *const c_char, config_json: *const c_char, cfg: *const ammpl_config, out: *mut *mut ammpl_model) -> ammpl_status;
    pub fn ammpl_model_destroy(m: *mut ammpl_model);
    pub fn ammpl_model_get_int(m: *const ammpl_model, q: ammpl_query, value: *mut i64) -> ammpl_status;
    pub fn ammpl_model_get_float(m: *const ammpl_model, q: ammpl_query, value: *mut f64) -> ammpl_status;
    pub fn ammpl_model_get_string(m: *const ammpl_model, q: ammpl_query, value: *mut *const c_char) -> ammpl_status;
    pub fn ammpl_model_probe(m: *const ammpl_model, out: *mut f32) -> ammpl_status;
    pub fn ammpl_model_tokenize(m: *const ammpl_model, text: *const c_char, ids: *mut i32, cap: usize, need: *mut usize) -> ammpl_status;
    pub fn ammpl_model_nearest_tokens(m: *const ammpl_model, vector: *const f32, width: usize, k: usize, ids: *mut i32, distances: *mut f32) -> ammpl_status;
    pub fn ammpl_model_token_text(m: *const ammpl_model, id: i32, text: *mut c_char, cap: usize, need: *mut usize) -> ammpl_status;
    pub fn ammpl_model_preprocess(m: *const ammpl_model, img: *const ammpl_image, chw: *mut f32, cap: usize) -> ammpl_status;
    pub fn ammpl_model_augment(m: *const ammpl_model, img: *const ammpl_image, seed: u64, image_id: u32, step: u32, chw: *mut f32, cap: usize) -> ammpl_status;
    pub fn ammpl_model_unprocess(m: *const ammpl_model, chw: *const f32, count: usize, out: *mut *mut ammpl_image) -> ammpl_status;
    pub fn ammpl_image_load_file(ctx: *mut ammpl_context, path: *const c_char, out: *mut *mut ammpl_image) -> ammpl_status;
    pub fn ammpl_image_load_memory(ctx: *mut ammpl_context, data: *const c_void, size: usize, out: *mut *mut ammpl_image) -> ammpl_status;
    pub fn ammpl_image_from_pixels(ctx: *mut ammpl_context, rgb: *const u8, width: i32, height: i32, row_stride: i64, out: *mut *mut ammpl_image) -> ammpl_status;
    pub fn ammpl_image_destroy(img: *mut ammpl_image);
    pub fn ammpl_image_width(img: *const ammpl_image) -> i32;
    pub fn ammpl_image_height(img: *const ammpl_image) -> i32;
    pub fn ammpl_image_pixels(img: *const ammpl_image) -> *const u8;
    pub fn ammpl_image_save_png(img: *const ammpl_image, path: *const c_char) -> ammpl_status;
    pub fn ammpl_dataset_create(ctx: *mut ammpl_context, class_names: *const *const c_char, n: usize, out: *mut *mut ammpl_dataset) -> ammpl_status;
    pub fn ammpl_dataset_open_folder(ctx: *mut ammpl_context, dir: *const c_char, part: *const c_char, out: *mut *mut ammpl_dataset) -> ammpl_status;
    pub fn ammpl_dataset_open_split(ctx: *mut ammpl_context, root: *const c_char, json: *const c_char, part: *const c_char, out: *mut *mut ammpl_dataset) -> ammpl_status;
    pub fn ammpl_dataset_open_named(ctx: *mut ammpl_context, name: *const c_char, root: *const c_char, part: *const c_char, out: *mut *mut ammpl_dataset) -> ammpl_status;
    pub fn ammpl_dataset_named_count() -> usize;
    pub fn ammpl_dataset_named_describe(i: usize, name: *mut *const c_char, folder: *mut *const c_char, text_template: *mut *const c_char) -> ammpl_status;
    pub fn ammpl_dataset_named_find(name: *const c_char, i: *mut usize) -> ammpl_status;
    pub fn ammpl_dataset_save_split(train: *const ammpl_dataset, val: *const ammpl_dataset, test: *const ammpl_dataset, root: *const c_char, path: *const c_char, overwrite: i32) -> ammpl_status;
    pub fn ammpl_dataset_destroy(ds: *mut ammpl_dataset);
    pub fn ammpl_dataset_add_image(ds: *mut ammpl_dataset, img: *const ammpl_image, label: i32) -> ammpl_status;
    pub fn ammpl_dataset_add_file(ds: *mut ammpl_dataset, path: *const c_char, label: i32) -> ammpl_status;
    pub fn ammpl_dataset_count(ds: *const ammpl_dataset) -> usize;
    pub fn ammpl_dataset_class_count(ds: *const ammpl_dataset) -> usize;
    pub fn ammpl_dataset_class_name(ds: *const ammpl_dataset, i: usize) -> *const c_char;
    pub fn ammpl_dataset_label(ds: *const ammpl_dataset, i: usize) -> i32;
    pub fn ammpl_dataset_image_id(ds: *const ammpl_dataset, i: usize) -> i64;
    pub fn ammpl_dataset_path(ds: *const ammpl_dataset, i: usize) -> *const c_char;
    pub fn ammpl_dataset_load_image(ds: *const ammpl_dataset, i: usize, out: *mut *mut ammpl_image) -> ammpl_status;
    pub fn ammpl_dataset_select_shots(ds: *const ammpl_dataset, shots: i32, seed: u64, out: *mut *mut ammpl_dataset) -> ammpl_status;
    pub fn ammpl_dataset_select_few(train: *const ammpl_dataset, val: *const ammpl_dataset, shots: i32, cfg: *const ammpl_config, few_train: *mut *mut ammpl_dataset, few_val: *mut *mut ammpl_dataset) -> ammpl_status;
    pub fn ammpl_dataset_select_half(ds: *const ammpl_dataset, second: i32, out: *mut *mut ammpl_dataset) -> ammpl_status;
    pub fn ammpl_dataset_select_classes(ds: *const ammpl_dataset, classes: *const i32, n: usize, out: *mut *mut ammpl_dataset) -> ammpl_status;
    pub fn ammpl_dataset_shuffle(ds: *const ammpl_dataset, seed: u64, epoch: u32, order: *mut i32, cap: usize) -> ammpl_status;
    pub fn ammpl_prompt_create(m: *const ammpl_model, method: ammpl_method, class_names: *const *const c_char, n: usize, cfg: *const ammpl_config, out: *mut *mut ammpl_prompt) -> ammpl_status;
    pub fn ammpl_prompt_load_file(m: *const ammpl_model, path: *const c_char, cfg: *const ammpl_config, out: *mut *mut ammpl_prompt) -> ammpl_status;
    pub fn ammpl_prompt_load_memory(m: *const ammpl_model, data: *const c_void, size: usize, cfg: *const ammpl_config, out: *mut *mut ammpl_prompt) -> ammpl_status;
    pub fn ammpl_prompt_import_file(m: *const ammpl_model, method: ammpl_method, class_names: *const *const c_char, n: usize, path: *const c_char, cfg: *const ammpl_config, out: *mut *mut ammpl_prompt) -> ammpl_status;
    pub fn ammpl_prompt_destroy(p: *mut ammpl_prompt);
    pub fn ammpl_prompt_save_file(p: *const ammpl_prompt, path: *const c_char, overwrite: i32) -> ammpl_status;
    pub fn ammpl_prompt_save_memory(p: *const ammpl_prompt, buf: *mut c_void, cap: usize, need: *mut usize) -> ammpl_status;
    pub fn ammpl_prompt_rebind_classes(p: *mut ammpl_prompt, class_names: *const *const c_char, n: usize) -> ammpl_status;
    pub fn ammpl_prompt_method(p: *const ammpl_prompt) -> ammpl_method;
    pub fn ammpl_prompt_conditioning(p: *const ammpl_prompt) -> i32;
    pub fn ammpl_prompt_cost(p: *const ammpl_prompt, out: *mut ammpl_cost) -> ammpl_status;
    pub fn ammpl_prompt_class_count(p: *const ammpl_prompt) -> usize;
    pub fn ammpl_prompt_class_name(p: *const ammpl_prompt, i: usize) -> *const c_char;
    pub fn ammpl_prompt_option(p: *const ammpl_prompt, name: *const c_char) -> *const c_char;
    pub fn ammpl_prompt_tensor_count(p: *const ammpl_prompt) -> usize;
    pub fn ammpl_prompt_tensor_describe(p: *const ammpl_prompt, i: usize, info: *mut ammpl_tensor_info) -> ammpl_status;
    pub fn ammpl_prompt_tensor_find(p: *const ammpl_prompt, name: *const c_char) -> i32;
    pub fn ammpl_prompt_tensor_read(p: *const ammpl_prompt, i: usize, dst: *mut f32, cap: usize) -> ammpl_status;
    pub fn ammpl_prompt_tensor_write(p: *mut ammpl_prompt, i: usize, src: *const f32, n: usize) -> ammpl_status;
    pub fn ammpl_prompt_gradient_read(p: *const ammpl_prompt, i: usize, dst: *mut f32, cap: usize) -> ammpl_status;
    pub fn ammpl_prompt_gradient_write(p: *mut ammpl_prompt, i: usize, src: *const f32, n: usize) -> ammpl_status;
    pub fn ammpl_prompt_zero_gradients(p: *mut ammpl_prompt) -> ammpl_status;
    pub fn ammpl_session_create(m: *const ammpl_model, cfg: *const ammpl_config, out: *mut *mut ammpl_session) -> ammpl_status;
    pub fn ammpl_session_destroy(s: *mut ammpl_session);
    pub fn ammpl_session_plan(s: *mut ammpl_session, p: *const ammpl_prompt, n: usize, call: i32, bytes: *mut u64) -> ammpl_status;
    pub fn ammpl_session_encode_texts(s: *mut ammpl_session, texts: *const *const c_char, n: usize, out: *mut f32, cap: usize) -> ammpl_status;
    pub fn ammpl_session_encode_images(s: *mut ammpl_session, p: *const ammpl_prompt, pixels: *const f32, n: usize, out: *mut f32, cap: usize) -> ammpl_status;
    pub fn ammpl_session_encode_classes(s: *mut ammpl_session, p: *const ammpl_prompt, out: *mut f32, cap: usize) -> ammpl_status;
    pub fn ammpl_session_predict(s: *mut ammpl_session, p: *const ammpl_prompt, pixels: *const f32, n: usize, logits: *mut f32, cap: usize) -> ammpl_status;
    pub fn ammpl_session_evaluate(s: *mut ammpl_session, p: *const ammpl_prompt, ds: *const ammpl_dataset, cfg: *const ammpl_config, r#fn: Option<ammpl_progress_fn>, user: *mut c_void, predicted: *mut i32, out: *mut ammpl_metrics) -> ammpl_status;
    pub fn ammpl_session_accumulate(s: *mut ammpl_session, p: *mut ammpl_prompt, batch: *const ammpl_batch, loss: *mut f64, logits: *mut f32) -> ammpl_status;
    pub fn ammpl_session_aux_rows(s: *mut ammpl_session, p: *const ammpl_prompt, pixels: *const f32, labels: *const i32, n: usize, rows: *mut usize) -> ammpl_status;
    pub fn ammpl_session_padding(s: *mut ammpl_session, p: *const ammpl_prompt, out: *mut f32, cap: usize) -> ammpl_status;
    pub fn ammpl_session_masks(s: *mut ammpl_session, p: *const ammpl_prompt, draw: u32, out: *mut f32, cap: usize) -> ammpl_status;
    pub fn ammpl_session_cancel(s: *mut ammpl_session);
    pub fn ammpl_optimizer_create(p: *mut ammpl_prompt, cfg: *const ammpl_config, out: *mut *mut ammpl_optimizer) -> ammpl_status;
    pub fn ammpl_optimizer_destroy(o: *mut ammpl_optimizer);
    pub fn ammpl_optimizer_step(o: *mut ammpl_optimizer) -> ammpl_status;
    pub fn ammpl_optimizer_group_count(o: *const ammpl_optimizer) -> usize;
    pub fn ammpl_optimizer_learning_rate(o: *const ammpl_optimizer, group: usize) -> f64;
    pub fn ammpl_optimizer_set_learning_rate(o: *mut ammpl_optimizer, group: usize, lr: f64) -> ammpl_status;
    pub fn ammpl_optimizer_set_epoch(o: *mut ammpl_optimizer, epoch: i64) -> ammpl_status;
    pub fn ammpl_optimizer_set_step(o: *mut ammpl_optimizer, epoch: i64, step: i64, steps: i64) -> ammpl_status;
    pub fn ammpl_trainer_create(s: *mut ammpl_session, p: *mut ammpl_prompt, ds: *const ammpl_dataset, cfg: *const ammpl_config, out: *mut *mut ammpl_trainer) -> ammpl_status;
    pub fn ammpl_trainer_destroy(t: *mut ammpl_trainer);
    pub fn ammpl_trainer_option(t: *const ammpl_trainer, name: *const c_char) -> *const c_char;
    pub fn ammpl_trainer_step(t: *mut ammpl_trainer, progress: *mut ammpl_progress) -> ammpl_status;
    pub fn ammpl_trainer_save(t: *const ammpl_trainer, path: *const c_char) -> ammpl_status;
    pub fn ammpl_trainer_load(t: *mut ammpl_trainer, path: *const c_char) -> ammpl_status;
    pub fn ammpl_train(s: *mut ammpl_session, p: *mut ammpl_prompt, ds: *const ammpl_dataset, cfg: *const ammpl_config, r#fn: Option<ammpl_progress_fn>, user: *mut c_void) -> ammpl_status;
    pub fn ammpl_tape_create(m: *const ammpl_model, cfg: *const ammpl_config, out: *mut *mut ammpl_tape) -> ammpl_status;
    pub fn ammpl_tape_destroy(t: *mut ammpl_tape);
    pub fn ammpl_tape_plan(m: *const ammpl_model, tower: i32, n: usize, rows: usize, record: i32, bytes: *mut u64) -> ammpl_status;
    pub fn ammpl_tape_begin_text(t: *mut ammpl_tape, input: *const ammpl_text_input) -> ammpl_status;
    pub fn ammpl_tape_begin_image(t: *mut ammpl_tape, input: *const ammpl_image_input) -> ammpl_status;
    pub fn ammpl_tape_insert(t: *mut ammpl_tape, block: i32, prompt: *const f32, count: usize, per_sequence: i32, before_ln: i32) -> ammpl_status;
    pub fn ammpl_tape_run(t: *mut ammpl_tape, block: i32) -> ammpl_status;
    pub fn ammpl_tape_tokens(t: *mut ammpl_tape, out: *mut f32, cap: usize) -> ammpl_status;
    pub fn ammpl_tape_finish(t: *mut ammpl_tape, out: *mut f32, cap: usize) -> ammpl_status;
    pub fn ammpl_tape_seed(t: *mut ammpl_tape, read: usize, dtokens: *const f32, count: usize) -> ammpl_status;
    pub fn ammpl_tape_backward(t: *mut ammpl_tape, dfeatures: *const f32) -> ammpl_status;
    pub fn ammpl_tape_gradient(t: *mut ammpl_tape, what: i32, index: usize, out: *mut f32, cap: usize) -> ammpl_status;
    pub fn ammpl_session_embed_tokens(s: *mut ammpl_session, ids: *const i32, n: usize, out: *mut f32, cap: usize) -> ammpl_status;
    pub fn ammpl_session_similarity(s: *mut ammpl_session, x: *const f32, n: usize, z: *const f32, classes: usize, logits: *mut f32, cap: usize) -> ammpl_status;
    pub fn ammpl_session_similarity_backward(s: *mut ammpl_session, x: *const f32, n: usize, z: *const f32, classes: usize, dlogits: *const f32, dx: *mut f32, dz: *mut f32) -> ammpl_status;
    pub fn ammpl_session_cross_entropy(s: *mut ammpl_session, logits: *const f32, label: *const i32, n: usize, classes: usize, weight: f64, loss: *mut f64, dlogits: *mut f32, cap: usize) -> ammpl_status;
}
