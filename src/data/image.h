/* image.h - decoded pictures, CLIP's preprocessing and training augmentation (methods.md 3). */
#ifndef AMMPLI_IMAGE_H
#define AMMPLI_IMAGE_H

#include "core/core.h"

/* Bounds on what is decoded or made: damaged headers ask for terabytes. */
enum { AMMPLI_IMAGE_MAX_SIDE = 1000000, AMMPLI_IMAGE_MAX_PIXELS = 1 << 28 };

/* Written by whoever creates it, then never again: data sets share pictures instead of copying them. */
struct ammpl_image {
    ammpli_ref ref;
    ammpl_context *ctx; /* held */
    int32_t width, height;
    uint8_t *pixels; /* [height, width, 3] */
};

/* image.c.  AMMPL_E_RANGE when a side is below 1 or above the bounds. */
ammpl_status ammpli_image_create(ammpl_context *ctx, int32_t width, int32_t height, ammpl_image **out);
ammpl_image *ammpli_image_hold(const ammpl_image *img); /* the count is no part of the value: const is no obstacle */
void ammpli_image_destroy(ammpl_image *img);            /* gives up one hold */
/* decode.c, png.c, jpeg.c.  `name` is what error sentences call the picture. */
ammpl_status ammpli_image_decode(ammpl_context *ctx, const void *data, size_t size, const char *name,
                                 ammpl_image **out);
ammpl_status ammpli_image_load(ammpl_context *ctx, const char *path, ammpl_image **out);
/* The same, but JPEGs are decoded at 1/2, 1/4 or 1/8 of their size where the shorter side has `least` pixels then still; 0: never. */
ammpl_status ammpli_image_decode_at_least(ammpl_context *ctx, const void *data, size_t size, const char *name, int32_t least,
                                          ammpl_image **out);
ammpl_status ammpli_image_load_at_least(ammpl_context *ctx, const char *path, int32_t least, ammpl_image **out);
/* A picture file's bytes, of bounded number, in a new block (ammpli_free). */
ammpl_status ammpli_image_read(ammpl_context *ctx, const char *path, void **data, size_t *size);
ammpl_status ammpli_image_save_png(const ammpl_image *img, const char *path);

/* What turns pixels into a model's input: from the model's files, else CLIP's. */
typedef struct ammpli_preprocess {
    int32_t size; /* R */
    int32_t least; /* of JPEGs that are read for training and evaluation: ammpli_image_decode_at_least */
    float mean[3], std[3];
} ammpli_preprocess;

/* resize.c: Pillow's bicubic to the bit, of the box [left, top, left+w, top+h) of src, cut out first, to a new
 * out_w x out_h picture. */
ammpl_status ammpli_image_resize(const ammpl_image *src, int32_t left, int32_t top, int32_t w, int32_t h, int32_t out_w,
                                 int32_t out_h, ammpl_image **out);
/* The same, of which only the window at (part_left, part_top) of part_w x part_h pixels is computed. */
ammpl_status ammpli_image_resize_part(const ammpl_image *src, int32_t left, int32_t top, int32_t w, int32_t h,
                                      int32_t out_w, int32_t out_h, int32_t part_left, int32_t part_top, int32_t part_w,
                                      int32_t part_h, ammpl_image **out);
/* preprocess.c: methods.md 3.2 (test) and 3.3 (training: random resized crop and flip keyed by seed, image id and step).
 * chw [3, R, R]. */
ammpl_status ammpli_preprocess_test(const ammpli_preprocess *pre, const ammpl_image *img, float *chw);
ammpl_status ammpli_preprocess_train(const ammpli_preprocess *pre, const ammpl_image *img, uint64_t seed,
                                     uint32_t image_id, uint32_t step, float *chw);
/* The way back: (x * std + mean) * 255, rounded and clipped. */
ammpl_status ammpli_unprocess(ammpl_context *ctx, const ammpli_preprocess *pre, const float *chw, ammpl_image **out);

#endif
