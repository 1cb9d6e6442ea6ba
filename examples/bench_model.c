/* bench_model.c - a random CLIP of a known size, in OpenAI's naming, as CLIP initialises it (methods.md 1.8). */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sizes {
    const char *name;
    int width, layers, patch, grid, text_width, embed;
};
static const struct sizes all_sizes[] = {
    {"ViT-B/32", 768, 12, 32, 7, 512, 512}, {"ViT-B/16", 768, 12, 16, 14, 512, 512}, {"ViT-B/16-336", 768, 12, 16, 21, 512, 512},
    {"ViT-L/14", 1024, 24, 14, 16, 768, 768}};
enum { SIZES = sizeof all_sizes / sizeof all_sizes[0], TEXT_LAYERS = 12, CONTEXT = 77, VOCAB = 49408 };

const char *bench_architecture(size_t i)
{
    return i < SIZES ? all_sizes[i].name : NULL;
}

/* ---- the file: a header that lists the tensors, then their numbers; both by the same walk ---- */

struct writer {
    FILE *file;
    bool half, header; /* the walk of the header: nothing but names and offsets */
    uint64_t offset, random;
};

static float normal(struct writer *w)
{
    float sum = 0; /* of four uniforms: near enough, and quick */
    for (int i = 0; i < 4; i++) {
        w->random = w->random * 6364136223846793005u + 1442695040888963407u;
        sum += (float)(w->random >> 40) * 0x1p-24f - 0.5f;
    }
    return sum * 1.7320508f;
}

/* Nearest half; no number here is too large for one, and what is too small for a normal one becomes 0. */
static uint16_t to_half(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000u, rest = (bits & 0x7fffffffu) + 0xfffu + (bits >> 13 & 1u);
    return (uint16_t)(rest < 113u << 23 ? sign : sign | ((rest >> 13) - (112u << 10)));
}

/* std 0: all are `value`. */
static void tensor(struct writer *w, const char *name, int rank, const int *shape, double std, double value)
{
    uint64_t count = 1, bytes;
    for (int i = 0; i < rank; i++)
        count *= (uint64_t)shape[i];
    bytes = count * (w->half ? 2 : 4);
    if (w->header) {
        fprintf(w->file, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", w->offset ? "," : "", name, w->half ? "F16" : "F32");
        for (int i = 0; i < rank; i++)
            fprintf(w->file, "%s%d", i ? "," : "", shape[i]);
        fprintf(w->file, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)w->offset, (unsigned long long)(w->offset + bytes));
        w->offset += bytes;
        return;
    }
    for (uint64_t done = 0; done < count;) {
        float x[4096];
        uint16_t h[4096];
        size_t n = count - done < 4096 ? (size_t)(count - done) : 4096;
        for (size_t i = 0; i < n; i++) {
            x[i] = std > 0 ? normal(w) * (float)std : (float)value;
            h[i] = to_half(x[i]);
        }
        fwrite(w->half ? (const void *)h : x, w->half ? 2 : 4, n, w->file);
        done += n;
    }
}

static void matrix(struct writer *w, const char *prefix, const char *name, int rows, int columns, double std)
{
    char full[96];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    tensor(w, full, 2, (const int[]){rows, columns}, std, 0);
}

static void vector(struct writer *w, const char *prefix, const char *name, int n, double std, double value)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    tensor(w, full, 1, &n, std, value);
}

static void norm(struct writer *w, const char *prefix, const char *name, int n)
{
    char full[96];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    vector(w, full, ".weight", n, 0, 1);
    vector(w, full, ".bias", n, 0, 0);
}

static void blocks(struct writer *w, const char *prefix, int D, int layers)
{
    double attention = 1 / sqrt(D), deep = attention / sqrt(2.0 * layers);
    for (int i = 0; i < layers; i++) {
        char p[64];
        snprintf(p, sizeof p, "%stransformer.resblocks.%d.", prefix, i);
        norm(w, p, "ln_1", D);
        matrix(w, p, "attn.in_proj_weight", 3 * D, D, attention);
        vector(w, p, "attn.in_proj_bias", 3 * D, 0.01, 0);
        matrix(w, p, "attn.out_proj.weight", D, D, deep);
        vector(w, p, "attn.out_proj.bias", D, 0.01, 0);
        norm(w, p, "ln_2", D);
        matrix(w, p, "mlp.c_fc.weight", 4 * D, D, 1 / sqrt(2.0 * D));
        vector(w, p, "mlp.c_fc.bias", 4 * D, 0.01, 0);
        matrix(w, p, "mlp.c_proj.weight", D, 4 * D, deep);
        vector(w, p, "mlp.c_proj.bias", D, 0.01, 0);
    }
}

static void tensors(struct writer *w, const struct sizes *z)
{
    int l = z->text_width, W = z->width, q = z->patch;
    tensor(w, "logit_scale", 0, NULL, 0, log(1 / 0.07));
    matrix(w, "", "token_embedding.weight", VOCAB, l, 0.02);
    matrix(w, "", "positional_embedding", CONTEXT, l, 0.01);
    blocks(w, "", l, TEXT_LAYERS);
    norm(w, "", "ln_final", l);
    matrix(w, "", "text_projection", l, z->embed, 1 / sqrt(l));
    vector(w, "visual.", "class_embedding", W, 1 / sqrt(W), 0);
    matrix(w, "visual.", "positional_embedding", z->grid * z->grid + 1, W, 1 / sqrt(W));
    tensor(w, "visual.conv1.weight", 4, (const int[]){W, 3, q, q}, 1 / sqrt(9.0 * q * q), 0);
    norm(w, "visual.", "ln_pre", W);
    blocks(w, "visual.", W, z->layers);
    norm(w, "visual.", "ln_post", W);
    matrix(w, "visual.", "proj", W, z->embed, 1 / sqrt(W));
}

static int close_file(FILE *file)
{
    int failed = ferror(file);
    return fclose(file) != 0 || failed ? (errno ? errno : EIO) : 0;
}

/* The k-th symbol for a byte, in CLIP's order, as UTF-8. */
static const char *symbol(int k, char text[3])
{
    int code = k < 94 ? '!' + k : k < 106 ? 0xa1 + k - 94 : k < 188 ? 0xae + k - 106 : 0x100 + k - 188;
    text[0] = (char)(code < 0x80 ? code : 0xc0 | code >> 6);
    text[1] = (char)(code < 0x80 ? 0 : 0x80 | (code & 0x3f));
    text[2] = 0;
    return text;
}

/* As many merges as CLIP has, of pairs that no word ends in: a word of two letters is two tokens, as most names are to CLIP. */
static int write_merges(const char *folder)
{
    enum { SYMBOLS = 222, MERGES = VOCAB - 514 };
    char path[4096], a[3], b[3];
    snprintf(path, sizeof path, "%s/merges.txt", folder);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return errno;
    fputs("#version: 0.2\n", file);
    for (int i = 0; i < MERGES; i++)
        fprintf(file, "%s %s\n", symbol(i / SYMBOLS, a), symbol(i % SYMBOLS, b));
    return close_file(file);
}

int bench_write_model(const char *architecture, const char *folder, bool half)
{
    char path[4096], *header = NULL;
    size_t length = 0;
    const struct sizes *z = all_sizes;
    while (z < all_sizes + SIZES && strcmp(z->name, architecture) != 0)
        z++;
    if (z == all_sizes + SIZES)
        return EINVAL;
    errno = 0;
    struct writer w = {.file = open_memstream(&header, &length), .half = half, .header = true};
    if (w.file == NULL)
        return errno;
    fputc('{', w.file);
    tensors(&w, z);
    fputc('}', w.file);
    fclose(w.file);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    w = (struct writer){.file = fopen(path, "wb"), .half = half, .random = 7};
    if (w.file == NULL) {
        free(header);
        return errno;
    }
    uint64_t size = length; /* little endian, as everything here */
    fwrite(&size, sizeof size, 1, w.file);
    fwrite(header, 1, length, w.file);
    free(header);
    tensors(&w, z);
    int failed = close_file(w.file);
    if (failed)
        return failed;
    return write_merges(folder);
}
