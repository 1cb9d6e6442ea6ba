/* ammpl.h - few-shot prompt learning on a frozen CLIP.  C99 and C++98 clean.
 *
 * Load a CLIP, give it class names and a few images per class, train a small prompt, classify with it:
 *
 *     ammpl_context *ctx;  ammpl_model *m;  ammpl_dataset *ds;  ammpl_prompt *p;  ammpl_session *s;
 *     ammpl_context_create(NULL, &ctx);
 *     ammpl_model_load_file(ctx, NULL, "clip-vit-b16", NULL, &m);
 *     ammpl_dataset_open_folder(ctx, "photos", "train", &ds);
 *     ammpl_prompt_create(m, AMMPL_METHOD_AMMPL, names, n, NULL, &p);
 *     ammpl_session_create(m, NULL, &s);
 *     ammpl_train(s, p, ds, NULL, NULL, NULL);
 *     ammpl_prompt_save_file(p, "photos.prompt", 0);
 *
 * RULES THAT HOLD FOR EVERY FUNCTION BELOW
 *   - Returns ammpl_status unless it cannot fail.  0 = done, > 0 = information, < 0 = error; after an error
 *     ammpl_last_error() has one sentence that says what, where and what to do.
 *   - On error every out-pointer is set to NULL or 0, output structs to zero behind struct_size, and every input object is
 *     unchanged; what stands in output arrays is undefined.  Calls that can stop half way (accumulate, step, train,
 *     evaluate, save) say in their own comment what they leave behind.
 *   - Comments name the errors that are a function's own.  Any may also give AMMPL_E_ARGUMENT (NULL where the comment does
 *     not accept it, an empty list) and AMMPL_E_MEMORY.  Functions that return no status answer NULL, 0 or -1 instead.
 *   - *_create, *_load, *_open, *_select_* and from_pixels give the caller an object, which *_destroy takes back;
 *     *_destroy(NULL) does nothing.  Children hold their parents: the order of destruction does not matter.
 *   - Objects used together come from one context, a prompt and its session from one model (else AMMPL_E_ARGUMENT);
 *     configs and images may come from any.  A config is read during the call and not kept.
 *   - No function exits, aborts, prints or reads the environment.
 *   - Output arrays belong to the caller; `cap` is their length in elements.  Too small a `cap` is
 *     AMMPL_E_BUFFER, and the sentence says how many are needed.
 *   - Strings are UTF-8 and NUL-terminated.  `const char *` results are borrowed; each comment says until when.
 *   - Every struct starts with struct_size: set it to sizeof(the struct).  Members that an older caller does not
 *     know count as zero, and zero always means "default".  Bytes that this library does not know must be zero
 *     (AMMPL_E_VERSION), as reserved members must; in output structs it zeroes them.
 * THREAD TAGS   [T] callable from any thread at any time
 *               [R] safe together with other [R] calls on the same object
 *               [S] one thread at a time per object (different objects are independent)
 *               A calling thread needs 64 KiB of stack for this library; its own threads bring theirs.
 * SHAPES        n images, C classes, E joint width, P = g*g patches of q*q pixels, R = g*q image size, M context tokens.
 *               Arrays are dense and row-major; pixels are float32, channels red, green, blue, minus mean, over std.
 * FORMULAS      [CLIP] Radford et al., ICML 2021; [CoOp] Zhou et al., IJCV 2022; [CoCoOp] the same, CVPR 2022; [VP] Bahng et
 *               al., 2022; [VPT] Jia et al., ECCV 2022; [MaPLe] (and DLP, IVLP) Khattak et al., CVPR 2023; [DPT] Xing et al.,
 *               IEEE TMM 2023; [AMMPL] "Adaptive Multi-Modality Prompt Learning", ACM MM 2024; all by their equations and
 *               published code; [SGD] and [AdamW] as PyTorch computes them; Pillow's bicubic; Philox4x32-10 (Salmon et al.,
 *               SC 2011).
 */
#ifndef AMMPL_AMMPL_H
#define AMMPL_AMMPL_H

#include <stddef.h>
#include <stdint.h>

#include <ammpl/ammpl_version.h> /* AMMPL_VERSION_*, AMMPL_API, AMMPL_NODISCARD */

#ifdef __cplusplus
extern "C" {
#endif

/* ---- handles: all opaque ---------------------------------------------------------------------------------- */
typedef struct ammpl_context ammpl_context;     /* allocator, log, threads, devices                            */
typedef struct ammpl_device ammpl_device;       /* borrowed from the context, never destroyed                  */
typedef struct ammpl_config ammpl_config;       /* typed options by pinned id or by name                       */
typedef struct ammpl_model ammpl_model;         /* frozen CLIP, tokenizer, preprocessing: immutable, shareable */
typedef struct ammpl_image ammpl_image;         /* 8-bit RGB pixels                                            */
typedef struct ammpl_dataset ammpl_dataset;     /* labelled pixels or file references, class names             */
typedef struct ammpl_prompt ammpl_prompt;       /* learnable tensors, their gradients, class names             */
typedef struct ammpl_session ammpl_session;     /* scratch memory and caches; one per thread                   */
typedef struct ammpl_optimizer ammpl_optimizer; /* momenta and step rule                                       */
typedef struct ammpl_trainer ammpl_trainer;     /* epochs, batches, schedule: what training resumes from       */
typedef struct ammpl_tape ammpl_tape;           /* a pass through a tower, and its way back; one per thread    */

/* ---- scalar types: fixed width, no enum type crosses the ABI ------------------------------------------------ */
typedef int32_t ammpl_status;
typedef int32_t ammpl_option;
typedef int32_t ammpl_method;
typedef int32_t ammpl_query;
typedef int32_t ammpl_level;

enum {
    AMMPL_OK = 0,
    AMMPL_END = 1,       /* training has reached its last step                                   */
    AMMPL_CANCELLED = 2, /* a callback or ammpl_session_cancel() asked to stop                     */
    AMMPL_E_ARGUMENT = -1,
    AMMPL_E_MEMORY = -2,
    AMMPL_E_DEVICE_MEMORY = -3,
    AMMPL_E_IO = -4,          /* the file system said no: missing, unreadable, full disk               */
    AMMPL_E_FORMAT = -5,      /* the bytes are not what they should be: truncated, flipped, mislabelled */
    AMMPL_E_VERSION = -6,     /* a newer format or struct than this library knows                       */
    AMMPL_E_UNSUPPORTED = -7, /* understood, but this library does not do it                            */
    AMMPL_E_OPTION = -8,      /* unknown option or method name, or a value it cannot take               */
    AMMPL_E_RANGE = -9,       /* a number outside its bounds; text longer than the model's context      */
    AMMPL_E_SHAPE = -10,      /* tensors contradict each other, the options or the model                */
    AMMPL_E_LABEL = -11,      /* a label outside 0..C-1, or a class without images                      */
    AMMPL_E_STATE = -12,      /* right call, wrong moment                                               */
    AMMPL_E_BUFFER = -13,     /* the caller's array is too small                                        */
    AMMPL_E_BACKEND = -14,
    AMMPL_E_DEVICE_LOST = -15,
    AMMPL_E_NUMERIC = -16,    /* NaN or infinity in weights, loss or gradients                          */
    AMMPL_E_EXISTS = -17,     /* the file exists and overwriting was not asked for                      */
    AMMPL_E_MODEL = -18,      /* the prompt was trained on another CLIP                                 */
    AMMPL_E_IMAGE = -19,      /* one picture cannot be decoded (the sentence names it)                  */
    AMMPL_E_INTERNAL = -100
};

enum {
    AMMPL_METHOD_ZEROSHOT = 0,
    AMMPL_METHOD_COOP = 1,
    AMMPL_METHOD_COCOOP = 2,
    AMMPL_METHOD_VP = 3,
    AMMPL_METHOD_VPT = 4,
    AMMPL_METHOD_DLP = 5,
    AMMPL_METHOD_IVLP = 6,
    AMMPL_METHOD_MAPLE = 7,
    AMMPL_METHOD_DPT = 8,
    AMMPL_METHOD_AMMPL = 9
};
enum { AMMPL_LEVEL_DEBUG = 10, AMMPL_LEVEL_INFO = 20, AMMPL_LEVEL_WARN = 30, AMMPL_LEVEL_ERROR = 40 };

/* Options.  The numbers are pinned; names, defaults, bounds and a line of documentation for each come from
 * ammpl_option_describe().  Text, class and pixel options are part of the prompt file format by their names. */
enum {
    AMMPL_OPT_MEMORY_LIMIT = 111,
    AMMPL_OPT_VOCAB = 140,
    AMMPL_OPT_ACTIVATION = 141,
    AMMPL_OPT_TOWERS = 142,
    AMMPL_OPT_WEIGHTS = 143,
    AMMPL_OPT_JPEG = 144,
    AMMPL_OPT_PRECISION = 145,
    AMMPL_OPT_N_CTX = 200,
    AMMPL_OPT_CTX_INIT = 201,
    AMMPL_OPT_POSITION = 202,
    AMMPL_OPT_CLASS_SPECIFIC = 203,
    AMMPL_OPT_N_CTX_VISION = 210,
    AMMPL_OPT_DEPTH_VISION = 211,
    AMMPL_OPT_VARIANT = 212,
    AMMPL_OPT_DEPTH_TEXT = 213,
    AMMPL_OPT_DEPTH = 214,
    AMMPL_OPT_TEMPLATE = 220,
    AMMPL_OPT_EVAL_SEED = 221,
    AMMPL_OPT_KIND = 300,
    AMMPL_OPT_PROMPT_SIZE = 301,
    AMMPL_OPT_BOTTOM_LIMIT = 400,
    AMMPL_OPT_TOP_K = 401,
    AMMPL_OPT_GUIDANCE_EPOCHS = 402,
    AMMPL_OPT_AUX_WEIGHT = 403,
    AMMPL_OPT_LR_TEXT = 404,
    AMMPL_OPT_WARMUP_EPOCHS_TEXT = 405,
    AMMPL_OPT_OPTIMIZER = 500,
    AMMPL_OPT_LR = 501,
    AMMPL_OPT_MOMENTUM = 502,
    AMMPL_OPT_WEIGHT_DECAY = 503,
    AMMPL_OPT_BETA1 = 504,
    AMMPL_OPT_BETA2 = 505,
    AMMPL_OPT_EPSILON = 506,
    AMMPL_OPT_SCHEDULE = 520,
    AMMPL_OPT_WARMUP_EPOCHS = 521,
    AMMPL_OPT_WARMUP_LR = 522,
    AMMPL_OPT_WARMUP_STEPS = 523,
    AMMPL_OPT_PROTOCOL = 530,
    AMMPL_OPT_EPOCHS = 600,
    AMMPL_OPT_BATCH = 601,
    AMMPL_OPT_SEED = 602,
    AMMPL_OPT_SHUFFLE = 603,
    AMMPL_OPT_DROP_LAST = 604,
    AMMPL_OPT_ACCUMULATE = 605,
    AMMPL_OPT_SKIP_BAD = 606,
    AMMPL_OPT_CACHE = 610,
    AMMPL_OPT_SAMPLER = 620,
    AMMPL_OPT_AUGMENT = 700,
    AMMPL_OPT_SCOPE = 800,
    AMMPL_OPT_ORDER = 801,
    AMMPL_OPT_SHIFT = 802,
    AMMPL_OPT_MASK_GRADIENT = 803,
    AMMPL_OPT_MASK = 804,
    AMMPL_OPT_PADDING = 805,
    AMMPL_OPT_INTERACTION = 806,
    AMMPL_OPT_DRAWS = 807,
    AMMPL_OPT_EVALUATION = 808,
    AMMPL_OPT_MASK_MEAN = 809,
    AMMPL_OPT_LR_MASK = 810,
    AMMPL_OPT_LR_PADDING = 811,
    AMMPL_OPT_CANDIDATES = 812
};
enum {
    AMMPL_TYPE_INT = 1,
    AMMPL_TYPE_FLOAT = 2,
    AMMPL_TYPE_BOOL = 3,
    AMMPL_TYPE_STRING = 4,
    AMMPL_TYPE_CHOICE = 5 /* stored as a string; `choices` lists the valid ones */
};
enum {
    AMMPL_OPTION_SAVED = 1,   /* changes the result: written into prompt files */
    AMMPL_OPTION_LOAD = 2,    /* read by ammpl_model_load_*                    */
    AMMPL_OPTION_TRAIN = 4,   /* read by optimizer and trainer                 */
    AMMPL_OPTION_SESSION = 8  /* read by ammpl_session_create                  */
};

/* Queries for ammpl_model_get_*. */
enum {
    AMMPL_QUERY_EMBED_WIDTH = 10000,
    AMMPL_QUERY_IMAGE_SIZE = 10001,
    AMMPL_QUERY_PATCH_SIZE = 10002,
    AMMPL_QUERY_GRID = 10003,
    AMMPL_QUERY_CONTEXT_LENGTH = 10004,
    AMMPL_QUERY_VOCAB_SIZE = 10005,
    AMMPL_QUERY_TEXT_WIDTH = 10010,
    AMMPL_QUERY_TEXT_LAYERS = 10011,
    AMMPL_QUERY_TEXT_HEADS = 10012,
    AMMPL_QUERY_IMAGE_WIDTH = 10020,
    AMMPL_QUERY_IMAGE_LAYERS = 10021,
    AMMPL_QUERY_IMAGE_HEADS = 10022,
    AMMPL_QUERY_LOGIT_SCALE = 10030, /* float: s = exp(logit_scale) */
    AMMPL_QUERY_ACTIVATION = 10040,  /* string: quick_gelu, gelu    */
    AMMPL_QUERY_SOURCE = 10041       /* string: path it came from   */
};

/* Towers, what a tape records, and gradients of what it was given (section 11). */
enum { AMMPL_TOWER_TEXT = 1, AMMPL_TOWER_IMAGE = 2 };
enum {
    AMMPL_RECORD_NONE = 0,   /* forward only */
    AMMPL_RECORD_ALL = 1,    /* backward to everything that was given */
    AMMPL_RECORD_PROMPTS = 2 /* backward to inserted prompts only: blocks below the first of them are not recorded */
};
enum {
    AMMPL_GRADIENT_ROWS = 1,   /* text: like rows [n, L, l], zero behind each length; images begun from tokens: like tokens */
    AMMPL_GRADIENT_PREFIX = 2, /* text: like prefix [prefix_rows, l], summed over the sequences */
    AMMPL_GRADIENT_PIXELS = 3, /* images: like pixels [n, 3, R, R] */
    AMMPL_GRADIENT_PROMPT = 4  /* like the prompt of insert number `index`, counted from 0 */
};

/* Calls that ammpl_session_plan counts. */
enum {
    AMMPL_PLAN_PREDICT = 0,            /* ammpl_session_predict                             */
    AMMPL_PLAN_ACCUMULATE = 1,         /* ammpl_session_accumulate of pixels                */
    AMMPL_PLAN_ACCUMULATE_FEATURES = 2 /* the same of features (ammpl_batch.features)       */
};

/* ---- small public structs: struct_size first, they grow only at the tail ------------------------------------- */
typedef struct ammpl_allocator {
    uint32_t struct_size, flags; /* flags: 0 */
    void *user;                  /* handed to both functions; they are called from any thread, also several at once */
    void *(*alloc)(void *user, size_t size, size_t align); /* NULL when out of memory; align is a power of two     */
    void (*release)(void *user, void *ptr, size_t size);   /* size as it was asked for; ptr is never NULL          */
} ammpl_allocator;

typedef struct ammpl_tensor_info {
    uint32_t struct_size;
    int32_t rank;
    int32_t trainable; /* 1: the options give the loss a path to it, so it is updated and decayed */
    int32_t group;     /* parameter group of the optimizer                                       */
    int64_t shape[4];  /* [rank]; zero behind it                                                 */
    uint64_t count;    /* numbers in it                                                          */
    const char *name;  /* borrowed from the prompt                                               */
} ammpl_tensor_info;

typedef struct ammpl_option_info {
    uint32_t struct_size;
    ammpl_option id;
    int32_t type, flags; /* AMMPL_TYPE_*, AMMPL_OPTION_* or'ed                         */
    double min, max;     /* bounds of numbers                                         */
    const char *name;    /* this and the texts below: static                          */
    const char *def;     /* default as text                                   */
    const char *choices; /* "a,b,c" for AMMPL_TYPE_CHOICE, else ""            */
    const char *doc;     /* one line                                          */
} ammpl_option_info;

/* One batch for ammpl_session_accumulate.  `image_id` keys the random draws (masks): the image's index in the data
 * set's listed order, never its place in the batch; NULL = 0, 1, 2...  `weight` scales loss and gradients: 0 means 1/n,
 * so that parts of one batch given weight 1/N add up to the mean over all N images. */
typedef struct ammpl_batch {
    uint32_t struct_size, reserved;
    size_t n;
    const float *pixels;      /* [n, 3, R, R] as ammpl_model_preprocess writes them */
    const int32_t *label;     /* [n] */
    const uint32_t *image_id; /* [n] or NULL */
    uint64_t seed;            /* of the masks' draws, with step: the same pair draws the same masks */
    uint32_t step, reserved2;
    double weight;
    const float *features; /* [n, E] normalised plain features (ammpl_session_encode_images) instead of pixels, or NULL; only for
                            * prompts that leave images as they are (CoOp, CoCoOp, DLP, AMMPL with mask = off), else
                            * AMMPL_E_STATE */
    int64_t epoch;         /* 0-based: DPT's loss has two phases ([DPT]) */
    double aux_weight;     /* DPT: scales each row of the auxiliary loss; 0 means 1 / rows of this batch, so that parts of one
                            * batch are given 1 / the sum of their ammpl_session_aux_rows */
} ammpl_batch;

/* What a method costs under a prompt: learned numbers, and passes through the towers. */
typedef struct ammpl_cost {
    uint32_t struct_size, reserved;
    uint64_t parameters;    /* numbers that training changes                                                              */
    uint64_t image_encodes; /* image passes that one picture takes at inference (AMMPL: at most)                          */
    uint64_t text_encodes;  /* text passes that one picture takes; 0: class features are the same for all pictures        */
    uint64_t step_texts;    /* text passes that a training step takes besides, whatever its batch; 0: texts are fixed      */
} ammpl_cost;

typedef struct ammpl_metrics {
    uint32_t struct_size, reserved;
    uint64_t samples, correct, skipped; /* skipped: unreadable images, only with skip_bad */
    double loss, accuracy, macro_f1;    /* means over the samples; accuracy in 0..1       */
} ammpl_metrics;

typedef struct ammpl_progress {
    uint32_t struct_size, reserved;
    uint64_t epoch, epochs;     /* 0-based epoch of the step just done                                     */
    uint64_t step, steps;       /* 0-based optimizer step just done, and how many there will be            */
    uint64_t images;            /* images in this step                                                     */
    double loss, learning_rate; /* loss before the update, mean over the batch; rate of the first group    */
    double seconds, seconds_left; /* of the whole run so far, kept over a resume; to its end at this speed */
    int32_t epoch_end, reserved2; /* 1: this was the last step of its epoch                                */
    double epoch_loss, epoch_accuracy, images_per_second; /* running means of this epoch                   */
    double epoch_seconds;                                 /* of this epoch so far, kept over a resume      */
} ammpl_progress;

/* Sequence i of a text pass: the prefix, then rows[i, 0 .. length[i]-1].  Position embeddings are added to all of them; the feature
 * is read at the last, which is to be EOT's (rows behind it cannot matter: text looks back only). */
typedef struct ammpl_text_input {
    uint32_t struct_size;
    int32_t record;        /* AMMPL_RECORD_* */
    size_t n, L;           /* sequences; places for rows in each */
    const float *rows;     /* [n, L, l] token embeddings (ammpl_session_embed_tokens) or learned ones, without positions */
    const int32_t *length; /* [n] rows that count, 1..L; NULL: L */
    const float *prefix;   /* [prefix_rows, l] rows that all sequences begin with; NULL where there are none */
    size_t prefix_rows;
    size_t slot_first, slots; /* places slot_first .. slot_first+slots-1 of every sequence, the prefix counted, take inserted
                               * prompts; they lie before its last row.  slots = 0: none */
} ammpl_text_input;

/* Sequence i of an image pass: CLS, P patches, then the slots that inserts make. */
typedef struct ammpl_image_input {
    uint32_t struct_size;
    int32_t record; /* AMMPL_RECORD_* */
    size_t n;
    const float *pixels; /* [n, 3, R, R] as ammpl_model_preprocess writes them; or NULL, and */
    const float *tokens; /* [n, 1+P, W] the tokens before block `block` of an earlier pass, without slots (ammpl_tape_tokens):
                          * so that blocks which nothing learned enters need not run again */
    int32_t block, reserved;
} ammpl_image_input;

/* Called with one complete line, without newline and borrowed for the call, from any thread that works for the context;
 * must not call back into the object that logs.  Every failure of a call is logged with its sentence (AMMPL_LEVEL_ERROR;
 * AMMPL_E_BUFFER, by which callers ask for sizes, as AMMPL_LEVEL_DEBUG). */
typedef void (*ammpl_log_fn)(void *user, ammpl_level level, const char *message);
/* Called after every step on the thread that trains; nonzero = stop after this step. */
typedef int32_t (*ammpl_progress_fn)(void *user, const ammpl_progress *progress);

/* ==== 1. version ============================================================================================== */

/* AMMPL_VERSION_NUMBER of the library that runs.  [T] */
AMMPL_API uint32_t ammpl_version_number(void);
/* "0.2.0"; static.  [T] */
AMMPL_API const char *ammpl_version_string(void);
/* How it was built, key=value lines (version, compiler, instruction sets); static.  [T] */
AMMPL_API const char *ammpl_build_info(void);

/* ==== 2. status =============================================================================================== */

/* "AMMPL_E_SHAPE"; "AMMPL_E_UNKNOWN" for a number that has no name; static.  [T] */
AMMPL_API const char *ammpl_status_name(ammpl_status status);
/* What the status means in general, one sentence; static.  [T] */
AMMPL_API const char *ammpl_status_string(ammpl_status status);
/* What went wrong in this thread's last failing call: borrowed until this thread's next ammpl call that can fail.
 * Empty when that call succeeded.  [T] */
AMMPL_API const char *ammpl_last_error(void);

/* ==== 3. context and devices ================================================================================== */

/* A context with its own allocator (copied; NULL = the C library's), log (none) and thread pool (as many threads as
 * the process may use processors, by those it may run on and by its container's quota of processor time).  [T] */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_context_create(const ammpl_allocator *alloc, ammpl_context **out);
/* Gives up the caller's hold; lives on while children do.  NULL accepted.  [T] */
AMMPL_API void ammpl_context_destroy(ammpl_context *ctx);
/* Messages of at least `min` go to fn(user, ...); NULL turns them off.  Set before the context is shared.  [S] */
AMMPL_API ammpl_status ammpl_context_set_log(ammpl_context *ctx, ammpl_level min, ammpl_log_fn fn, void *user);
/* Threads that compute, 1..256 (else AMMPL_E_RANGE); 0 = as many as processors.  Results do not depend on it, bit for bit.
 * If they are no more than these, they look for work for a millisecond before they sleep (as does a call that waits for
 * them), which is processor time; else they sleep at once.  Other contexts and other processes are not counted: set fewer
 * threads beside these.
 * Nothing else may use the context or its children meanwhile.  [S] */
AMMPL_API ammpl_status ammpl_context_set_threads(ammpl_context *ctx, int32_t threads);
/* Bytes held now and at most so far by the context's children, through its allocator and on devices; either pointer may be
 * NULL.  [T] */
AMMPL_API ammpl_status ammpl_context_memory(const ammpl_context *ctx, uint64_t *now, uint64_t *peak);
/* Version of the backend interface (ammpl_backend.h) that plug-ins must have.  [T] */
AMMPL_API uint32_t ammpl_backend_spi_version(void);
/* Loads one plug-in: its devices join the context's, and it stays loaded until the process ends.  Nothing is searched for:
 * `path` is the file.  Already loaded: AMMPL_OK.  On failure no device is added, and ammpl_backend_report says why for as
 * long as the context lives.  Errors: IO (no such file), VERSION (made for another version of the interface), UNSUPPORTED
 * (its table lacks an op), BACKEND (not loadable, no driver, no device), and what the plug-in itself gives.  [S] */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_context_load_backend(ammpl_context *ctx, const char *path);
/* Loads every plug-in (libammpl-*.so, by name) of a folder; NULL = the one that was installed with the library.  One that
 * cannot be used is no error: ammpl_backend_report says why.  [S] */
AMMPL_API ammpl_status ammpl_context_scan_backends(ammpl_context *ctx, const char *folder);
/* Backends looked at so far, used or not: number 0 is the CPU's, plug-ins follow in the order of the calls.  [R] */
AMMPL_API size_t ammpl_backend_count(const ammpl_context *ctx);
/* The i-th of them (else AMMPL_E_RANGE): `name` is "cpu" or the path, `why` says why it is not used and is "" where it is.
 * Borrowed from the context until it loads or scans again; either pointer may be NULL.  [R] */
AMMPL_API ammpl_status ammpl_backend_report(const ammpl_context *ctx, size_t i, const char **name, const char **why);
/* Devices that can compute; there is always "cpu", and it is number 0.  [R] */
AMMPL_API size_t ammpl_device_count(const ammpl_context *ctx);
/* Device i, or NULL when there is none; borrowed from the context.  [R] */
AMMPL_API const ammpl_device *ammpl_device_at(const ammpl_context *ctx, size_t i);
/* The device of that name ("cpu"; plug-ins' have a number, "NAME:0"), or the first of the backend of that name; or NULL
 * with a sentence that lists the names there are and why plug-ins are not used.  [R] */
AMMPL_API const ammpl_device *ammpl_device_find(const ammpl_context *ctx, const char *name);
/* "cpu"; borrowed from the context.  [R] */
AMMPL_API const char *ammpl_device_name(const ammpl_device *dev);
/* What it is ("AVX2+FMA kernels, 2 threads"); borrowed from the context until set_threads.  [R] */
AMMPL_API const char *ammpl_device_description(const ammpl_device *dev);
/* Bytes of the device's memory: free now, and all of it; either pointer may be NULL.  The CPU counts as free what the page cache would give
 * back, and has no more than its container.  Errors: BACKEND, DEVICE_LOST.  [R] */
AMMPL_API ammpl_status ammpl_device_memory(const ammpl_device *dev, uint64_t *available, uint64_t *total);

/* ==== 4. options ============================================================================================== */

/* An empty bag: every option at its default.  Failures of the functions on it are not logged.  [R] on ctx */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_config_create(ammpl_context *ctx, ammpl_config **out);
/* NULL accepted.  [S] */
AMMPL_API void ammpl_config_destroy(ammpl_config *cfg);
/* Integers and booleans.  AMMPL_E_OPTION: no such id or another type; AMMPL_E_RANGE: outside its bounds.  [S] */
AMMPL_API ammpl_status ammpl_config_set_int(ammpl_config *cfg, ammpl_option id, int64_t value);
/* Numbers.  Errors as for set_int.  [S] */
AMMPL_API ammpl_status ammpl_config_set_float(ammpl_config *cfg, ammpl_option id, double value);
/* Strings and choices; copied.  Errors as for set_int.  [S] */
AMMPL_API ammpl_status ammpl_config_set_string(ammpl_config *cfg, ammpl_option id, const char *value);
/* Any option by name, its value as text ("true", "0.5", "class"); '-' and '_' are the same in names.  An unknown name
 * is AMMPL_E_OPTION and the sentence names the nearest.  [S] */
AMMPL_API ammpl_status ammpl_config_set_text(ammpl_config *cfg, const char *name, const char *value);
/* The value in force: set, else the default.  AMMPL_E_OPTION: no such id or another type.  [R] */
AMMPL_API ammpl_status ammpl_config_get_int(const ammpl_config *cfg, ammpl_option id, int64_t *value);
AMMPL_API ammpl_status ammpl_config_get_float(const ammpl_config *cfg, ammpl_option id, double *value);           /* [R] */
/* Borrowed until the option is set again or the config destroyed.  [R] */
AMMPL_API ammpl_status ammpl_config_get_string(const ammpl_config *cfg, ammpl_option id, const char **value);
/* 1 if the caller has set it, 0 if it stands at its default.  [R] */
AMMPL_API int32_t ammpl_config_is_set(const ammpl_config *cfg, ammpl_option id);
/* How many options there are, and the i-th of them (else AMMPL_E_RANGE): for --help, bindings and reference.  [T] */
AMMPL_API size_t ammpl_option_count(void);
AMMPL_API ammpl_status ammpl_option_describe(size_t i, ammpl_option_info *info);                                  /* [T] */
/* Methods: how many, the i-th one's id, name and one line on what it learns (static; any of the three pointers may be NULL;
 * else AMMPL_E_RANGE), and the id of a name (AMMPL_E_OPTION names the valid ones and the nearest).  [T] */
AMMPL_API size_t ammpl_method_count(void);
AMMPL_API ammpl_status ammpl_method_describe(size_t i, ammpl_method *id, const char **name, const char **doc);    /* [T] */
AMMPL_API ammpl_status ammpl_method_find(const char *name, ammpl_method *id);                                     /* [T] */

/* ==== 5. model: immutable after load, shareable between threads ================================================= */

/* Loads a CLIP with a ViT image tower from a .safetensors file or a folder that holds one (OpenAI, open_clip and
 * Hugging Face names; F32, F16, BF16; shards).  All sizes come from the tensors' shapes; config.json or
 * open_clip_config.json beside the file supplies activation, eps and heads; the vocabulary is found beside it or given by
 * AMMPL_OPT_VOCAB.  AMMPL_OPT_WEIGHTS = f16 keeps matrices and the token table as F16, of an F16 file exactly: results are those,
 * bit for bit, of a file that holds the rounded numbers.  Each number of an F32 file moves by 2^-11 of itself at most, normalised features
 * by less than 12 * 2^-11 in the tests.  AMMPL_OPT_PRECISION says what a device may round the factors of the towers'
 * products to (the CPU: UNSUPPORTED but for f32).  dev NULL = the CPU, cfg NULL = defaults.  Errors: IO, FORMAT, SHAPE (tensors contradict each other),
 * UNSUPPORTED (another architecture, by name), NUMERIC (NaN in a weight, or one beyond F16 with weights = f16: named), MEMORY.  [R] on ctx */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_model_load_file(ammpl_context *ctx, const ammpl_device *dev, const char *path,
                                                             const ammpl_config *cfg, ammpl_model **out);
/* The same from memory: the bytes of one .safetensors file, of its vocabulary (merges.txt or bpe_simple_vocab, plain or
 * gz; vocab_json may be NULL) and of its config (may be NULL).  Nothing is kept of them after the call.  [R] on ctx */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_model_load_memory(ammpl_context *ctx, const ammpl_device *dev,
                                                               const void *weights, size_t weights_size,
                                                               const void *merges, size_t merges_size,
                                                               const char *vocab_json, const char *config_json,
                                                               const ammpl_config *cfg, ammpl_model **out);
/* Gives up the caller's hold; NULL accepted.  [T] */
AMMPL_API void ammpl_model_destroy(ammpl_model *m);
/* Sizes and facts by AMMPL_QUERY_*; AMMPL_E_OPTION for an unknown or differently typed query.  Strings are borrowed
 * from the model.  Of a tower that AMMPL_OPT_TOWERS left out, sizes may be 0.  [R] */
AMMPL_API ammpl_status ammpl_model_get_int(const ammpl_model *m, ammpl_query q, int64_t *value);
AMMPL_API ammpl_status ammpl_model_get_float(const ammpl_model *m, ammpl_query q, double *value);                 /* [R] */
AMMPL_API ammpl_status ammpl_model_get_string(const ammpl_model *m, ammpl_query q, const char **value);           /* [R] */
/* 16 numbers that tell one CLIP from another whatever the file's naming or dtype: the first 8 components of the
 * normalised text feature of [SOT EOT], then of norm(ln_post(class embedding) * projection).  AMMPL_E_STATE when one tower
 * was not loaded.  [R] */
AMMPL_API ammpl_status ammpl_model_probe(const ammpl_model *m, float out[16]);
/* CLIP's byte-pair encoding [CLIP]: ids [need] with SOT and EOT, not padded.  Longer than the model's context is
 * AMMPL_E_RANGE, never cut; no UTF-8 is AMMPL_E_FORMAT; AMMPL_E_STATE without the text tower.  `need` (may be NULL)
 * receives the count even when cap is too small; ids may be NULL when cap is 0.  [R] */
AMMPL_API ammpl_status ammpl_model_tokenize(const ammpl_model *m, const char *text, int32_t *ids, size_t cap,
                                            size_t *need);
/* The k tokens whose embeddings are nearest to a vector [text width] by Euclidean distance, as [CoOp] reads learned contexts; ids
 * and distances [k], ties by id.  Errors: SHAPE (width), RANGE (k), STATE (no text tower).  [R] */
AMMPL_API ammpl_status ammpl_model_nearest_tokens(const ammpl_model *m, const float *vector, size_t width, size_t k,
                                                  int32_t *ids, float *distances);
/* A token's bytes and a NUL: "dog</w>" where it ends a word.  `need` and cap as above; AMMPL_E_RANGE: no such token.  [R] */
AMMPL_API ammpl_status ammpl_model_token_text(const ammpl_model *m, int32_t id, char *text, size_t cap, size_t *need);
/* CLIP's test-time transform [CLIP]: resize the shorter side to R (Pillow's bicubic, to the bit), centre crop, to [0,1],
 * minus mean, over std.  chw [3, R, R], cap at least 3*R*R.  AMMPL_E_STATE, as of the next two, without the image tower.  [R] */
AMMPL_API ammpl_status ammpl_model_preprocess(const ammpl_model *m, const ammpl_image *img, float *chw, size_t cap);
/* The training transform ([CoOp]): a crop of 8 to 100 % of the area and a ratio from 3/4 to 4/3, resized to R x R, flipped every
 * second time.  Drawn by counter: the same seed, image_id and step draw the same, and training with augment = crop_flip draws
 * with AMMPL_OPT_SEED, ammpl_dataset_image_id and its 0-based step.  chw [3, R, R], cap at least 3*R*R.  [R] */
AMMPL_API ammpl_status ammpl_model_augment(const ammpl_model *m, const ammpl_image *img, uint64_t seed, uint32_t image_id,
                                           uint32_t step, float *chw, size_t cap);
/* The way back for pictures: chw [3, R, R], count = 3*R*R (else AMMPL_E_SHAPE), to 8-bit RGB: (x * std + mean) * 255,
 * rounded and clipped.  The image is the caller's.  [R] */
AMMPL_API ammpl_status ammpl_model_unprocess(const ammpl_model *m, const float *chw, size_t count, ammpl_image **out);

/* ==== 6. images ================================================================================================= */

/* Decodes a JPEG (grey, colour, CMYK; EXIF orientation is ignored, as the reference does), a PNG (any colour type, depth,
 * interlaced; alpha dropped, 16 bit keeps the high byte) or a GIF's first picture, told by content, not by name.
 * Errors: IO, IMAGE (damaged, not a picture, too large).  [R] on ctx */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_image_load_file(ammpl_context *ctx, const char *path, ammpl_image **out);
/* The same from memory; the bytes are not kept.  [R] on ctx */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_image_load_memory(ammpl_context *ctx, const void *data, size_t size,
                                                               ammpl_image **out);
/* Copies height rows of width RGB pixels, row_stride bytes apart (0 = width*3).  AMMPL_E_RANGE: a side below 1 or too
 * large, rows that overlap.  [R] on ctx */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_image_from_pixels(ammpl_context *ctx, const uint8_t *rgb, int32_t width,
                                                               int32_t height, int64_t row_stride, ammpl_image **out);
/* NULL accepted.  [S] */
AMMPL_API void ammpl_image_destroy(ammpl_image *img);
AMMPL_API int32_t ammpl_image_width(const ammpl_image *img);          /* 0 for NULL.  [R] */
AMMPL_API int32_t ammpl_image_height(const ammpl_image *img);         /* 0 for NULL.  [R] */
/* [height, width, 3], no gaps between rows; borrowed until the image is destroyed.  [R] */
AMMPL_API const uint8_t *ammpl_image_pixels(const ammpl_image *img);
/* Writes an 8-bit RGB PNG through a temporary file and a rename; an existing file is replaced only when all is written.
 * Errors: IO.  [R] */
AMMPL_API ammpl_status ammpl_image_save_png(const ammpl_image *img, const char *path);

/* ==== 7. datasets =============================================================================================== */

/* An empty data set with n class names (copied).  Empty or repeated names are AMMPL_E_ARGUMENT.  [R] on ctx */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_dataset_create(ammpl_context *ctx, const char *const *class_names, size_t n,
                                                            ammpl_dataset **out);
/* One folder per class, names and images sorted bytewise.  part = "train", "val" or "test": that sub-folder (or
 * "validation" for val) when dir has it, else dir itself; NULL = dir itself.  Files are opened when they are used.
 * Errors: IO, FORMAT (no classes, no images), LABEL (an empty class, named).  [R] on ctx */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_dataset_open_folder(ammpl_context *ctx, const char *dir, const char *part,
                                                                 ammpl_dataset **out);
/* CoOp's split JSON {"train": [[path, label, classname], ...], "val": ..., "test": ...}: one part, listed order, paths
 * relative to root.  Errors: IO, FORMAT, LABEL.  [R] on ctx */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_dataset_open_split(ammpl_context *ctx, const char *root, const char *json,
                                                                const char *part, ammpl_dataset **out);
/* A data set of the published runs as it lies on disk [CoOp]: Caltech101, DTD, EuroSAT, FGVCAircraft, Flowers102, Food101,
 * OxfordPets, SUN397 or UCF101 (also Dassl's names, and folders'), below root or root itself, from split_zhou_*.json; without one
 * (a warning in the log) divided from its own lists with random.seed(1): not the published parts.  Every file is looked for.
 * Errors: OPTION (no such set), IO (what was expected where), FORMAT, LABEL, UNSUPPORTED.  [R] on ctx */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_dataset_open_named(ammpl_context *ctx, const char *name, const char *root,
                                                                const char *part, ammpl_dataset **out);
/* How many of them; the i-th one's name, folder and text template (static; any pointer may be NULL; else AMMPL_E_RANGE); and the
 * place of a name (AMMPL_E_OPTION lists them).  [T] */
AMMPL_API size_t ammpl_dataset_named_count(void);
AMMPL_API ammpl_status ammpl_dataset_named_describe(size_t i, const char **name, const char **folder,
                                                    const char **text_template);                                  /* [T] */
AMMPL_API ammpl_status ammpl_dataset_named_find(const char *name, size_t *i);                                     /* [T] */
/* Writes parts (NULL: none) as one split JSON for ammpl_dataset_open_split, picks with their ids: to be compared and published.
 * Otherwise as ammpl_prompt_save_file.  AMMPL_E_ARGUMENT: classes differ, a picture has no file or lies outside root.  [R] */
AMMPL_API ammpl_status ammpl_dataset_save_split(const ammpl_dataset *train, const ammpl_dataset *val,
                                                const ammpl_dataset *test, const char *root, const char *path,
                                                int32_t overwrite);
/* NULL accepted.  [S] */
AMMPL_API void ammpl_dataset_destroy(ammpl_dataset *ds);
/* Appends a picture (the pixels are shared, img stays the caller's) or a reference to a file (the path is copied, the file
 * opened when it is used).  The image's id is its index.  AMMPL_E_LABEL outside 0..C-1.  [S] */
AMMPL_API ammpl_status ammpl_dataset_add_image(ammpl_dataset *ds, const ammpl_image *img, int32_t label);
AMMPL_API ammpl_status ammpl_dataset_add_file(ammpl_dataset *ds, const char *path, int32_t label);                /* [S] */
/* How many images, and how many classes.  [R] */
AMMPL_API size_t ammpl_dataset_count(const ammpl_dataset *ds);
AMMPL_API size_t ammpl_dataset_class_count(const ammpl_dataset *ds);                                              /* [R] */
/* Name of class i / label, id and path of item i (path "" for pixels); NULL or -1 when out of range.  Borrowed from
 * ds.  [R] */
AMMPL_API const char *ammpl_dataset_class_name(const ammpl_dataset *ds, size_t i);
AMMPL_API int32_t ammpl_dataset_label(const ammpl_dataset *ds, size_t i);                                         /* [R] */
AMMPL_API int64_t ammpl_dataset_image_id(const ammpl_dataset *ds, size_t i);                                      /* [R] */
AMMPL_API const char *ammpl_dataset_path(const ammpl_dataset *ds, size_t i);                                      /* [R] */
/* Item i's picture, the caller's to destroy: decoded now, or the pixels that were added.  Errors: RANGE (no such item), IO,
 * IMAGE.  [R] */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_dataset_load_image(const ammpl_dataset *ds, size_t i, ammpl_image **out);
/* A new data set with at most `shots` images of each class (0 = all), picked by the counter-based generator: it depends
 * on the seed and the image ids only (Philox; the images of a class in the order of their draws).  Ids stay those of the
 * whole set.  AMMPL_E_RANGE: shots below 0.  [R] */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_dataset_select_shots(const ammpl_dataset *ds, int32_t shots, uint64_t seed,
                                                                  ammpl_dataset **out);
/* The same from a training part, and at most 4 of a class from val (NULL, as few_val then is: none), by AMMPL_OPT_SAMPLER and
 * AMMPL_OPT_SEED of cfg (may be NULL).  native: as above; dassl: the very images, in order, that the published runs trained on
 * [CoOp]: Python's random.sample of each class as the list first shows it, smaller ones whole, train before val.  [R] */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_dataset_select_few(const ammpl_dataset *train, const ammpl_dataset *val,
                                                                int32_t shots, const ammpl_config *cfg,
                                                                ammpl_dataset **few_train, ammpl_dataset **few_val);
/* A new data set of the first ceil(C/2) classes, or (second = 1) of the rest, relabelled from 0: base and new classes [CoOp];
 * ids stay.  AMMPL_E_ARGUMENT: one class has no second half.  [R] */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_dataset_select_half(const ammpl_dataset *ds, int32_t second,
                                                                 ammpl_dataset **out);
/* A new data set of the n given classes in the given order, relabelled 0..n-1; ids stay.  AMMPL_E_LABEL: no such class;
 * AMMPL_E_ARGUMENT: one twice.  [R] */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_dataset_select_classes(const ammpl_dataset *ds, const int32_t *classes,
                                                                    size_t n, ammpl_dataset **out);
/* The order in which training with shuffle = on and this seed visits the items in an epoch (0-based): order [count], a
 * permutation of 0..count-1.  [R] */
AMMPL_API ammpl_status ammpl_dataset_shuffle(const ammpl_dataset *ds, uint64_t seed, uint32_t epoch, int32_t *order, size_t cap);

/* ==== 8. prompts: what is learned =============================================================================== */

/* A prompt at its initial values (seeded by AMMPL_OPT_SEED) for the n classes named (copied; `_` reads as a space).
 * Options from cfg; NULL = the method's defaults.  Errors: OPTION, RANGE (a prompt text longer than the model's context,
 * named), ARGUMENT (fewer than one class, empty or repeated names), STATE (a tower was not loaded).  [R] on m, cfg */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_prompt_create(const ammpl_model *m, ammpl_method method,
                                                           const char *const *class_names, size_t n,
                                                           const ammpl_config *cfg, ammpl_prompt **out);
/* From a prompt file (safetensors) or its bytes.  Options come from the file, then from cfg where set there (NULL:
 * none); an option that contradicts the tensors is AMMPL_E_SHAPE; a prompt of another CLIP is AMMPL_E_MODEL. Other
 * errors: IO, FORMAT, VERSION, OPTION, NUMERIC.  [R] on m */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_prompt_load_file(const ammpl_model *m, const char *path,
                                                              const ammpl_config *cfg, ammpl_prompt **out);
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_prompt_load_memory(const ammpl_model *m, const void *data, size_t size,
                                                                const ammpl_config *cfg, ammpl_prompt **out); /* [R] on m */
/* From the checkpoint of a method's original repository, saved as safetensors (examples/python/to_safetensors.py), for the n
 * classes named: tensors under the names of [CoOp]'s, [MaPLe]'s, [DPT]'s and [VP]'s code, any float type; fixed buffers and CLIP's
 * own weights in it are ignored.  Options as ammpl_prompt_load_file, what shapes tell from the shapes.  Errors: IO, FORMAT (a
 * tensor that the method needs is missing: named), UNSUPPORTED (zero-shot and AMMPL have no such files, or a tensor that is not
 * the method's), SHAPE, OPTION, NUMERIC.  [R] on m, cfg */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_prompt_import_file(const ammpl_model *m, ammpl_method method,
                                                                const char *const *class_names, size_t n, const char *path,
                                                                const ammpl_config *cfg, ammpl_prompt **out);
/* Gives up the caller's hold; NULL accepted.  [S] */
AMMPL_API void ammpl_prompt_destroy(ammpl_prompt *p);
/* Writes through a temporary file, fsync and rename: a full disk leaves the old file as it was.  With overwrite = 0 an
 * existing file is AMMPL_E_EXISTS.  AMMPL_E_NUMERIC when a tensor holds NaN or infinity: nothing is written.
 * AMMPL_E_IO: the folder, or the disk.  [R] */
AMMPL_API ammpl_status ammpl_prompt_save_file(const ammpl_prompt *p, const char *path, int32_t overwrite);
/* The file's bytes into buf [cap bytes]; `need` (may be NULL) receives their number even when cap is too small; buf may be
 * NULL when cap is 0.  [R] */
AMMPL_API ammpl_status ammpl_prompt_save_memory(const ammpl_prompt *p, void *buf, size_t cap, size_t *need);
/* Gives the learned prompt other classes (copied).  AMMPL_E_STATE where the method learns per class; else errors as
 * ammpl_prompt_create's for names.  On failure the classes stay.  DPT's classifiers, which only training reads, start anew for
 * another number of classes; an optimizer or trainer made before then refuses to go on.  [S] */
AMMPL_API ammpl_status ammpl_prompt_rebind_classes(ammpl_prompt *p, const char *const *class_names, size_t n);
/* AMMPL_METHOD_*.  [R] */
AMMPL_API ammpl_method ammpl_prompt_method(const ammpl_prompt *p);
/* Bit 1: class features depend on the image; bit 2: image features depend on the class.  With bit 2
 * ammpl_session_encode_images is AMMPL_E_STATE; ammpl_session_predict always works.  [R] */
AMMPL_API int32_t ammpl_prompt_conditioning(const ammpl_prompt *p);
/* Parameters, and passes through the towers (methods differ by orders of magnitude here).  [R] */
AMMPL_API ammpl_status ammpl_prompt_cost(const ammpl_prompt *p, ammpl_cost *out);
/* How many classes, and the name of class i as it was given (NULL when there is none; borrowed until rebind).  [R] */
AMMPL_API size_t ammpl_prompt_class_count(const ammpl_prompt *p);
AMMPL_API const char *ammpl_prompt_class_name(const ammpl_prompt *p, size_t i);                                   /* [R] */
/* The option in force in this prompt, as text, by name; borrowed from the prompt; NULL when unknown.  [R] */
AMMPL_API const char *ammpl_prompt_option(const ammpl_prompt *p, const char *name);
/* How many learned tensors, and what the i-th is (else AMMPL_E_RANGE).  [R] */
AMMPL_API size_t ammpl_prompt_tensor_count(const ammpl_prompt *p);
AMMPL_API ammpl_status ammpl_prompt_tensor_describe(const ammpl_prompt *p, size_t i, ammpl_tensor_info *info);    /* [R] */
/* Index of the tensor of that name, or -1.  [R] */
AMMPL_API int32_t ammpl_prompt_tensor_find(const ammpl_prompt *p, const char *name);
/* Values and gradients of tensor i, all of it: n is its count (else AMMPL_E_SHAPE).  Writing values invalidates what
 * sessions have cached.  AMMPL_E_RANGE: no such tensor; AMMPL_E_NUMERIC: a value is not finite, nothing is written
 * (gradients are taken as they are: ammpl_optimizer_step looks at them).  [R], writes [S] */
AMMPL_API ammpl_status ammpl_prompt_tensor_read(const ammpl_prompt *p, size_t i, float *dst, size_t cap);
AMMPL_API ammpl_status ammpl_prompt_tensor_write(ammpl_prompt *p, size_t i, const float *src, size_t n);          /* [S] */
AMMPL_API ammpl_status ammpl_prompt_gradient_read(const ammpl_prompt *p, size_t i, float *dst, size_t cap);       /* [R] */
AMMPL_API ammpl_status ammpl_prompt_gradient_write(ammpl_prompt *p, size_t i, const float *src, size_t n);        /* [S] */
AMMPL_API ammpl_status ammpl_prompt_zero_gradients(ammpl_prompt *p);                                              /* [S] */

/* ==== 9. sessions: inference and gradients ======================================================================= */

/* Scratch memory for one thread on a model.  AMMPL_OPT_MEMORY_LIMIT of cfg bounds all that it takes, itself included, and is used up
 * where that saves time: a step that would need more keeps less for backward and computes it again, with the same bits; on a device it
 * does without graphs where there is no room for them.  Whatever calls came before, what they left gives way to the call at work; one that
 * does not fit at all is AMMPL_E_MEMORY, and its sentence says what it needs (or, where no tower is asked, that it needs more).  Finding out
 * what a call takes, at its first time, and taking a text apart into tokens may take some more of the host for a moment.  0: no bound, but a stage of a
 * step (its texts, or its images) keeps no more than a quarter of the memory that the machine can give without swapping, or its
 * container may have, when the session is created (of all that a device has).  So a step's time may depend on the machine, its bits do
 * not; who runs several sessions at once, or wants equal times, sets a limit.  [R] on m */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_session_create(const ammpl_model *m, const ammpl_config *cfg,
                                                            ammpl_session **out);
/* NULL accepted.  [S] */
AMMPL_API void ammpl_session_destroy(ammpl_session *s);
/* Bytes that this session, while new, holds at most during call AMMPL_PLAN_* of n images under the prompt: itself, a step's memory
 * and what it remembers of the prompt; not the model, the prompt or a trainer's pictures.  Found by going through the call without
 * computing.  AMMPL with drawn masks may take less, where pictures turn out alike; on a device all is counted that its queue may
 * come to take, graphs that only repeated calls make among it.  A call that is repeated takes no more from the allocator.
 * Errors: MEMORY (beyond memory_limit), RANGE (no such call), STATE (the method has nothing to learn, or needs pixels).
 * [S] on s.  Since 0.2.0. */
AMMPL_API ammpl_status ammpl_session_plan(ammpl_session *s, const ammpl_prompt *p, size_t n, int32_t call, uint64_t *bytes);
/* Plain CLIP features [CLIP], of length 1: texts as they are (no template), out [n, E].  Errors: RANGE (a text longer
 * than the context), FORMAT (not UTF-8), STATE (no text tower).  [S] */
AMMPL_API ammpl_status ammpl_session_encode_texts(ammpl_session *s, const char *const *texts, size_t n, float *out,
                                                  size_t cap);
/* Image features of length 1 under the prompt (NULL = plain CLIP): pixels [n, 3, R, R], out [n, E].  AMMPL_E_STATE
 * where they depend on the class (ammpl_prompt_conditioning bit 2), or without the image tower.  [S] */
AMMPL_API ammpl_status ammpl_session_encode_images(ammpl_session *s, const ammpl_prompt *p, const float *pixels, size_t n,
                                                   float *out, size_t cap);
/* Class features of length 1 that do not depend on an image, out [C, E] (AMMPL: z0, those of the learned context before an
 * image shifts it).  AMMPL_E_STATE where a method has none.  [S] */
AMMPL_API ammpl_status ammpl_session_encode_classes(ammpl_session *s, const ammpl_prompt *p, float *out, size_t cap);
/* Logits [n, C] = s * <image feature, class feature> ([CLIP]; [AMMPL] eq. 10: class i's own image feature with its own
 * text), from pixels [n, 3, R, R]; softmax over a row gives probabilities.  An image's row does not depend on the others.
 * [S] */
AMMPL_API ammpl_status ammpl_session_predict(ammpl_session *s, const ammpl_prompt *p, const float *pixels, size_t n,
                                             float *logits, size_t cap);
/* Accuracy over a data set whose class names are the prompt's, in its order (AMMPL_E_ARGUMENT otherwise).  fn (may be
 * NULL) is called after every batch with step, steps, images; nonzero stops with AMMPL_CANCELLED and the counts so far.
 * predicted [count] (may be NULL) receives each item's class, -1 where skipped.  cfg: batch, skip_bad; may be NULL.
 * Other errors: IO, IMAGE (the picture is named), NUMERIC.  [S] */
AMMPL_API ammpl_status ammpl_session_evaluate(ammpl_session *s, const ammpl_prompt *p, const ammpl_dataset *ds,
                                              const ammpl_config *cfg, ammpl_progress_fn fn, void *user,
                                              int32_t *predicted, ammpl_metrics *out);
/* Forward and backward of one batch: adds d(loss)/d(tensor) to the prompt's gradients, *loss = sum of weight * loss_i.
 * logits [n, C] may be NULL.  loss_i is the cross-entropy of softmax(logits_i); AMMPL's mask gets its gradient straight
 * through the draw ([AMMPL] eq. 11, 12).  On failure the gradients are as before the call.  Errors: LABEL, NUMERIC (NaN in
 * pixels or loss), STATE (zero-shot: nothing to learn).  [S] on both */
AMMPL_API ammpl_status ammpl_session_accumulate(ammpl_session *s, ammpl_prompt *p, const ammpl_batch *batch, double *loss,
                                                float *logits);
/* DPT: over how many (image, layer) rows the auxiliary loss of such a batch averages (its true class is among the top_k), from
 * pixels [n, 3, R, R] and labels [n]; 0 for other methods.  Costs the zero-shot pass.  AMMPL_E_LABEL.  [S] */
AMMPL_API ammpl_status ammpl_session_aux_rows(ammpl_session *s, const ammpl_prompt *p, const float *pixels, const int32_t *labels,
                                              size_t n, size_t *rows);
/* AMMPL prompts (else AMMPL_E_STATE): the learned pixel tile of every class, N_i + f_T(z0_i) ([AMMPL] eq. 7, 9), out
 * [C, 3, q, q] in the units of preprocessed pixels (zero where padding is off).  [S] */
AMMPL_API ammpl_status ammpl_session_padding(ammpl_session *s, const ammpl_prompt *p, float *out, size_t cap);
/* AMMPL prompts (else AMMPL_E_STATE): evaluation draw number `draw` of every class's mask, 1 = kept ([AMMPL] eq. 3, Philox
 * keyed by AMMPL_OPT_EVAL_SEED), out [C, g, g].  [S] */
AMMPL_API ammpl_status ammpl_session_masks(ammpl_session *s, const ammpl_prompt *p, uint32_t draw, float *out, size_t cap);
/* Asks a running evaluate or train on this session to stop after its present batch; none running: nothing.  NULL
 * accepted.  [T] */
AMMPL_API void ammpl_session_cancel(ammpl_session *s);

/* ==== 10. optimizer and training ================================================================================== */

/* [SGD] (g += wd*p; m = mu*m + g; p -= lr*m) or [AdamW] over the prompt's trainable tensors; holds p.  What cfg (may be NULL)
 * leaves open is as the method's published settings under cfg's `protocol` have it, else the option table's default.  [R] on
 * p */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_optimizer_create(ammpl_prompt *p, const ammpl_config *cfg,
                                                              ammpl_optimizer **out);
/* NULL accepted.  [S] */
AMMPL_API void ammpl_optimizer_destroy(ammpl_optimizer *o);
/* One update from the prompt's gradients (which stay).  AMMPL_E_NUMERIC when a gradient is not finite: nothing changes.
 * [S] on o and its prompt */
AMMPL_API ammpl_status ammpl_optimizer_step(ammpl_optimizer *o);
/* Groups, and the rate each will use in its next step (0 when there is no such group; set: AMMPL_E_RANGE, also for a rate
 * below 0 or not finite).  [R], setters [S] */
AMMPL_API size_t ammpl_optimizer_group_count(const ammpl_optimizer *o);
AMMPL_API double ammpl_optimizer_learning_rate(const ammpl_optimizer *o, size_t group);                           /* [R] */
AMMPL_API ammpl_status ammpl_optimizer_set_learning_rate(ammpl_optimizer *o, size_t group, double lr);            /* [S] */
/* Sets every group's rate to its schedule's value at a 0-based epoch e ([CoOp]): warmup_lr while e < W = warmup_epochs,
 * then lr/2 * (1 + cos(pi*(e - W)/T)) with T = epochs, or lr with schedule = constant; times the group's factor.  A group
 * with an option of its own (DPT: lr_text) goes by that, unless lr was given to the optimizer and its own was not.
 * AMMPL_E_RANGE below 0; AMMPL_E_STATE with schedule = cosine_steps.  [S] */
AMMPL_API ammpl_status ammpl_optimizer_set_epoch(ammpl_optimizer *o, int64_t epoch);
/* The same for any schedule, at 0-based step `step` of `steps`, which lies in `epoch`; with schedule = cosine_steps ([VP])
 * lr * (step + 1)/W while step < W = warmup_steps, then lr/2 * (1 + cos(pi*(step - W)/(steps - W))).  AMMPL_E_RANGE: one is
 * below 0.  [S] */
AMMPL_API ammpl_status ammpl_optimizer_set_step(ammpl_optimizer *o, int64_t epoch, int64_t step, int64_t steps);

/* A training run of p on ds, from its first step.  Holds s, p and ds.  Class names must be the prompt's, in its order.
 * Errors: ARGUMENT (no images, one class only, names differ), LABEL (a class without images), STATE (nothing to learn),
 * OPTION.  [S] on s and p */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_trainer_create(ammpl_session *s, ammpl_prompt *p, const ammpl_dataset *ds,
                                                            const ammpl_config *cfg, ammpl_trainer **out);
/* NULL accepted.  The prompt stays as after the last finished step.  [S] */
AMMPL_API void ammpl_trainer_destroy(ammpl_trainer *t);
/* The option in force in this run, as text, by name: given, else the method's published setting for the protocol (and for as
 * many images as the largest class has), else the table's default.  Borrowed from t; NULL when unknown.  [R] */
AMMPL_API const char *ammpl_trainer_option(const ammpl_trainer *t, const char *name);
/* One optimizer step; AMMPL_END (and nothing done) when all are done.  On failure (an unreadable image, NaN; AMMPL_E_STATE while
 * the prompt has other classes than the data) the prompt and the trainer are as before the call.  progress may be NULL.  [S] */
AMMPL_API ammpl_status ammpl_trainer_step(ammpl_trainer *t, ammpl_progress *progress);
/* Prompt, momenta, counters and options to a state file; loading it into a trainer made with the same prompt method,
 * data and options continues bit-identically from that step.  Saving as ammpl_prompt_save_file with overwrite = 1; on
 * failure to load the trainer is as before.  Errors of loading: IO, FORMAT, VERSION, NUMERIC, MODEL, STATE or SHAPE
 * (another run's).  [S] */
AMMPL_API ammpl_status ammpl_trainer_save(const ammpl_trainer *t, const char *path);
AMMPL_API ammpl_status ammpl_trainer_load(ammpl_trainer *t, const char *path);                                    /* [S] */
/* A trainer run to its end with progress; cfg and fn may be NULL.  AMMPL_CANCELLED: parameters as after the last step,
 * and so on failure.  Errors as of ammpl_trainer_create and ammpl_trainer_step.  [S] on s and p */
AMMPL_API ammpl_status ammpl_train(ammpl_session *s, ammpl_prompt *p, const ammpl_dataset *ds, const ammpl_config *cfg,
                                   ammpl_progress_fn fn, void *user);

/* ==== 11. towers: the frozen CLIP as differentiable functions ===================================================
 *
 * For methods that this library does not have.  A tape takes n sequences through one tower, and back:
 *
 *     begin      with rows (text) or pictures
 *     insert     prompt tokens into the slots before any block
 *     run        up to a block; the tokens there can be read, and prompts be made from them
 *     finish     the other blocks, layer norm and projection: features
 *     backward   from d(loss)/d(features), and of tokens that were read, to the gradients of what was given
 *
 *     ammpl_tape_begin_text(t, &text);                    CoOp: prefix = SOT and context, rows = name, full stop, EOT
 *     ammpl_tape_finish(t, z, C * E);
 *     ammpl_session_similarity(s, x, n, z, C, logits, n * C);
 *     ammpl_session_cross_entropy(s, logits, label, n, C, 0, &loss, dlogits, n * C);
 *     ammpl_session_similarity_backward(s, x, n, z, C, dlogits, NULL, dz);
 *     ammpl_tape_backward(t, dz);
 *     ammpl_tape_gradient(t, AMMPL_GRADIENT_PREFIX, 0, dprefix, (1 + M) * l);
 *
 * Arrays are the caller's, in host memory; a call has copied what it needs when it returns.  Bits do not depend on the number
 * of threads, nor a sequence's on the others.  l and W are the towers' widths (D for either), F their MLPs' hidden widths.
 * COST: a row costs 8 D D + 4 D F operations in each block, and attention 4 D for each row it looks at; the way back about the
 * same again.  A text's prefix is encoded once for all sequences, until an insert gives places in it other tokens
 * for each.  In the last block only rows that are read go behind attention, in the others not those of slots that the next
 * insert takes; of an image (H heads) QKV's 6 D D are spent there on 2 H + 1 rows where that is fewer.  Memory, where recorded, is 6 D + F
 * floats for each row and block, until the next begin.
 */

/* A tape on a model.  AMMPL_OPT_MEMORY_LIMIT of cfg (may be NULL; 0 = no limit) bounds what ammpl_tape_plan counts: a begin or
 * insert beyond it is AMMPL_E_MEMORY, and the sentence says how many sequences fit.  [R] on m */
AMMPL_NODISCARD AMMPL_API ammpl_status ammpl_tape_create(const ammpl_model *m, const ammpl_config *cfg, ammpl_tape **out);
/* NULL accepted.  [S] */
AMMPL_API void ammpl_tape_destroy(ammpl_tape *t);
/* Bytes that n sequences of so many rows (images: 1 + P + slots; the prefix of a text is one more sequence) take in AMMPL_TOWER_*
 * with AMMPL_RECORD_*.  [R] */
AMMPL_API ammpl_status ammpl_tape_plan(const ammpl_model *m, int32_t tower, size_t n, size_t rows, int32_t record,
                                       uint64_t *bytes);
/* Begin a pass; the one before is gone.  When a begin, insert, run, finish or backward fails for want of memory or with NUMERIC,
 * so is this one, and only begin is left (else AMMPL_E_STATE).  Errors: STATE (the tower was not loaded), RANGE (a length or slots
 * outside a sequence, one longer than the model's context, no such block), MEMORY.  [S] */
AMMPL_API ammpl_status ammpl_tape_begin_text(ammpl_tape *t, const ammpl_text_input *input);
AMMPL_API ammpl_status ammpl_tape_begin_image(ammpl_tape *t, const ammpl_image_input *input);                        /* [S] */
/* From block `block` (0-based, not yet run) on, the slots hold `count` prompt tokens in place of what stood there: prompt
 * [count, D] for all sequences, or [n, count, D] with per_sequence = 1, without positions.  Text: count is the begin's `slots`.
 * Images: any count behind the patches, 0 = no slots (prompt may be NULL).  before_ln = 1 (block 0 of pixels): ln_pre acts on
 * them too, as in VPT, IVLP and MaPLe; else they enter raw, as in DPT.  Errors: STATE (the block has been run, or has prompts),
 * SHAPE (count), RANGE (no such block), MEMORY.  [S] */
AMMPL_API ammpl_status ammpl_tape_insert(ammpl_tape *t, int32_t block, const float *prompt, size_t count, int32_t per_sequence,
                                         int32_t before_ln);
/* Runs the blocks before `block`; the tower's last is ammpl_tape_finish's (RANGE).  [S] */
AMMPL_API ammpl_status ammpl_tape_run(ammpl_tape *t, int32_t block);
/* The tokens before the block to be run next, before what is inserted there: text [n, prefix_rows + L, l] (zero behind each
 * length), images [n, 1 + P + slots, W].  Reads are numbered from 0, for ammpl_tape_seed.  [S] */
AMMPL_API ammpl_status ammpl_tape_tokens(ammpl_tape *t, float *out, size_t cap);
/* The remaining blocks, the last layer norm and the projection: features out [n, E], not normalised.  AMMPL_E_NUMERIC: NaN or
 * infinity came out.  [S] */
AMMPL_API ammpl_status ammpl_tape_finish(ammpl_tape *t, float *out, size_t cap);
/* d(loss)/d(tokens) of read number `read`, shaped like it (count numbers, else AMMPL_E_SHAPE): backward adds it there; called
 * twice, both count.  Errors: RANGE (no such read), STATE (nothing is recorded, or backward has been).  [S] */
AMMPL_API ammpl_status ammpl_tape_seed(ammpl_tape *t, size_t read, const float *dtokens, size_t count);
/* Once per pass: dfeatures [n, E] = d(loss)/d(features); NULL = zero, then also before finish.  Errors: STATE (nothing is recorded,
 * the pass is not finished or has been gone back).  [S] */
AMMPL_API ammpl_status ammpl_tape_backward(ammpl_tape *t, const float *dfeatures);
/* After backward: AMMPL_GRADIENT_*, shaped as said there.  `index` is 0 but for prompts.  Errors: STATE (not gone back; not given
 * or not recorded), RANGE (no such insert), NUMERIC.  [S] */
AMMPL_API ammpl_status ammpl_tape_gradient(ammpl_tape *t, int32_t what, size_t index, float *out, size_t cap);

/* Rows of the token table for ids [n]: out [n, l], without positions.  Errors: RANGE (no such token), STATE (no text tower).
 * [S] */
AMMPL_API ammpl_status ammpl_session_embed_tokens(ammpl_session *s, const int32_t *ids, size_t n, float *out, size_t cap);
/* Logits [n, C] = s <x_i/|x_i|, z_c/|z_c|> ([CLIP]) of features x [n, E] and z [C, E], of any length from 1e-16 to 1e19.
 * AMMPL_E_NUMERIC: one is zero, not finite or of another length.  [S] */
AMMPL_API ammpl_status ammpl_session_similarity(ammpl_session *s, const float *x, size_t n, const float *z, size_t classes,
                                                float *logits, size_t cap);
/* The way back, through both normalisations: dlogits [n, C] to dx [n, E] and dz [C, E]; one of them may be NULL.  Errors as
 * there.  [S] */
AMMPL_API ammpl_status ammpl_session_similarity_backward(ammpl_session *s, const float *x, size_t n, const float *z,
                                                         size_t classes, const float *dlogits, float *dx, float *dz);
/* *loss = sum of weight * (logsumexp(logits_i) - logits_i[label_i]), weight 0 = 1/n; dlogits [n, C] (NULL: not wanted) = weight *
 * (softmax(logits_i) - onehot(label_i)).  Errors: LABEL, NUMERIC.  [S] */
AMMPL_API ammpl_status ammpl_session_cross_entropy(ammpl_session *s, const float *logits, const int32_t *label, size_t n,
                                                   size_t classes, double weight, double *loss, float *dlogits, size_t cap);

#ifdef __cplusplus
}
#endif
#endif /* AMMPL_AMMPL_H */
