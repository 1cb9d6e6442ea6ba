/* vitb16.c - a CLIP of ViT-B/16's size against plain PyTorch, on any number of threads; seconds and memory.
 *
 *   vitb16 GOLDEN.safetensors MODEL VOCABULARY
 *
 * The model is one that tests/reference/make_vitb16.py wrote, the golden the file beside it.  Prints TAP; lines that start with
 * "# " are measurements.
 */
#include "long.h"

#include <math.h>
#include <string.h>
#include <sys/resource.h>

#include "io/safetensors.h"

static const char *const texts[] = {"a photo of a dog.", "banded texture.", "a photo of apple pie, a type of food."};
static const char *const names[] = {"dog", "apple_pie", "banded"};
enum { TEXTS = 3, CLASSES = 3, IMAGES = 2, EMBED = 512, LENGTH = 77, PIXELS = 3 * 224 * 224 };
static const int32_t labels[IMAGES] = {0, 2};
static const int threads[] = {1, 2, 3, 8};
enum { RUNS = sizeof threads / sizeof threads[0] };
static const double TOLERANCE = 1e-4;

static double resident_mib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024;
}

static double library_mib(const ammpl_context *ctx)
{
    uint64_t peak = 0;
    must(ammpl_context_memory(ctx, NULL, &peak), "ammpl_context_memory");
    return (double)peak / 1048576;
}

static float *floats(size_t n)
{
    float *x = malloc(n * sizeof *x);
    if (!x)
        exit(1);
    return x;
}

/* A tensor of the golden as float32. */
static float *tensor(const ammpli_st *st, const char *name, int64_t *n)
{
    const ammpli_st_tensor *t = ammpli_st_find(st, name);
    if (!t) {
        printf("not ok %d - the golden has no tensor %s\n", ++cases, name);
        exit(1);
    }
    float *x = floats((size_t)t->count);
    must(ammpli_st_read_f32(st, t, x), name);
    *n = t->count;
    return x;
}

/* |a - b| / |b| */
static double difference(const float *a, const float *b, int64_t n)
{
    double d = 0, r = 0;
    for (int64_t i = 0; i < n; i++) {
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        r += (double)b[i] * (double)b[i];
    }
    return sqrt(d / r);
}

static void compare(const char *what, const float *got, const ammpli_st *golden, const char *name)
{
    int64_t n;
    float *want = tensor(golden, name, &n);
    double d = difference(got, want, n);
    char text[160];
    snprintf(text, sizeof text, "%s equal PyTorch's to 1e-4 (%.2g)", what, d);
    report(d <= TOLERANCE, text);
    free(want);
}

static void check_tokens(const ammpl_model *m, const ammpli_st *golden)
{
    int64_t n;
    float *want = tensor(golden, "tokens", &n);
    bool same = n == TEXTS * LENGTH;
    for (size_t i = 0; i < TEXTS && same; i++) {
        int32_t ids[LENGTH] = {0};
        must(ammpl_model_tokenize(m, texts[i], ids, LENGTH, NULL), "ammpl_model_tokenize");
        for (size_t k = 0; k < LENGTH; k++)
            same = same && (double)ids[k] == (double)want[i * LENGTH + k];
    }
    report(same, "texts are cut into the golden's tokens");
    free(want);
}

/* One forward and backward of everything that AMMPL learns. */
typedef struct training {
    double loss;
    float logits[IMAGES * CLASSES];
    float *gradient; /* of all tensors, one after another */
    size_t count;
} training;

static training accumulate(const ammpl_model *m, const ammpl_config *cfg, const float *pixels, double *seconds)
{
    ammpl_prompt *p;
    ammpl_session *s;
    training t = {0};
    must(ammpl_prompt_create(m, AMMPL_METHOD_AMMPL, names, CLASSES, cfg, &p), "ammpl_prompt_create");
    must(ammpl_session_create(m, cfg, &s), "ammpl_session_create");
    ammpl_batch batch = {.struct_size = sizeof batch, .n = IMAGES, .pixels = pixels, .label = labels, .seed = 1};
    double begin = now();
    must(ammpl_session_accumulate(s, p, &batch, &t.loss, t.logits), "ammpl_session_accumulate");
    *seconds = now() - begin;
    for (size_t i = 0; i < ammpl_prompt_tensor_count(p); i++) {
        ammpl_tensor_info info = {.struct_size = sizeof info};
        must(ammpl_prompt_tensor_describe(p, i, &info), "ammpl_prompt_tensor_describe");
        t.gradient = realloc(t.gradient, (t.count + info.count) * sizeof *t.gradient);
        must(ammpl_prompt_gradient_read(p, i, t.gradient + t.count, info.count), "ammpl_prompt_gradient_read");
        t.count += info.count;
    }
    ammpl_session_destroy(s);
    ammpl_prompt_destroy(p);
    return t;
}

static bool same_training(const training *a, const training *b)
{
    return a->loss == b->loss && memcmp(a->logits, b->logits, sizeof a->logits) == 0 && a->count == b->count &&
           memcmp(a->gradient, b->gradient, a->count * sizeof *a->gradient) == 0;
}

/* The gradients must be numbers that say something. */
static bool sound(const training *t)
{
    double sum = 0;
    for (size_t i = 0; i < t->count; i++)
        sum += (double)t->gradient[i] * (double)t->gradient[i];
    return isfinite(sum) && sum > 0 && isfinite(t->loss) && t->loss > 0;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: vitb16 GOLDEN.safetensors MODEL VOCABULARY\n");
        return 2;
    }
    ammpl_context *ctx;
    ammpl_config *cfg;
    ammpl_model *m;
    ammpli_st *golden;
    must(ammpl_context_create(NULL, &ctx), "ammpl_context_create");
    must(ammpl_config_create(ctx, &cfg), "ammpl_config_create");
    must(ammpl_config_set_string(cfg, AMMPL_OPT_VOCAB, argv[3]), "the option vocab");
    must(ammpli_st_open(ctx, argv[1], &golden), argv[1]);
    double begin = now();
    must(ammpl_model_load_file(ctx, NULL, argv[2], cfg, &m), "ammpl_model_load_file");
    printf("# load: %.2f s, peak %.0f MiB of the library, %.0f MiB of the process\n", now() - begin, library_mib(ctx), resident_mib());
    printf("# %s\n", ammpl_device_description(ammpl_device_at(ctx, 0)));
    check_tokens(m, golden);

    int64_t count;
    float *pixels = tensor(golden, "images", &count), *image[RUNS], *text[RUNS];
    training trained[RUNS];
    if (count != IMAGES * PIXELS) {
        printf("not ok %d - the golden has %lld pixels\n", ++cases, (long long)count);
        return 1;
    }
    for (int k = 0; k < RUNS; k++) {
        ammpl_session *s;
        must(ammpl_context_set_threads(ctx, threads[k]), "ammpl_context_set_threads");
        must(ammpl_session_create(m, cfg, &s), "ammpl_session_create");
        image[k] = floats(IMAGES * EMBED);
        text[k] = floats(TEXTS * EMBED);
        double start = now();
        must(ammpl_session_encode_images(s, NULL, pixels, IMAGES, image[k], IMAGES * EMBED), "ammpl_session_encode_images");
        double images = now() - start;
        start = now();
        must(ammpl_session_encode_texts(s, texts, TEXTS, text[k], TEXTS * EMBED), "ammpl_session_encode_texts");
        double words = now() - start, step;
        ammpl_session_destroy(s);
        trained[k] = accumulate(m, cfg, pixels, &step);
        printf("# %d thread%s: %.3f s per image, %.3f s per text, %.2f s for an AMMPL step (%d images, %d classes); peak %.0f MiB of the "
               "library, %.0f MiB of the process\n", threads[k], threads[k] > 1 ? "s" : "", images / IMAGES, words / TEXTS, step, IMAGES,
               CLASSES, library_mib(ctx), resident_mib());
    }
    float probe[16];
    must(ammpl_model_probe(m, probe), "ammpl_model_probe");
    compare("image features", image[0], golden, "image_features_norm");
    compare("text features", text[0], golden, "text_features_norm");
    compare("the probe's numbers", probe, golden, "probe");
    report(sound(&trained[0]), "gradients of an AMMPL step are numbers");
    for (int k = 1; k < RUNS; k++) {
        char line[128];
        snprintf(line, sizeof line, "features on %d threads have the bits of one thread's", threads[k]);
        report(memcmp(image[0], image[k], IMAGES * EMBED * sizeof(float)) == 0 && memcmp(text[0], text[k], TEXTS * EMBED * sizeof(float)) == 0,
               line);
        snprintf(line, sizeof line, "an AMMPL step on %d threads has the bits of one thread's", threads[k]);
        report(same_training(&trained[0], &trained[k]), line);
    }
    printf("1..%d\n", cases);
    for (int k = 0; k < RUNS; k++) {
        free(image[k]);
        free(text[k]);
        free(trained[k].gradient);
    }
    free(pixels);
    ammpli_st_close(golden);
    ammpl_model_destroy(m);
    ammpl_config_destroy(cfg);
    ammpl_context_destroy(ctx);
    return failures ? 1 : 0;
}
