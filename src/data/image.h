/* image.h - decoded pictures, CLIP's preprocessing and training augmentation (methods.md 3). */
#ifndef AMMPLI_IMAGE_H
#define AMMPLI_IMAGE_H

#include "core/core.h"

struct ammpl_image {
    ammpl_context *ctx; /* held */
    int32_t width, height;
    uint8_t *pixels; /* [height, width, 3] */
};

/* decode.c, png.c, jpeg.c.  `name` is what error sentences call the picture. */
ammpl_status ammpli_image_create(ammpl_context *ctx, int32_t width, int32_t height, ammpl_image **out);
void ammpli_image_destroy(ammpl_image *img);
ammpl_status ammpli_image_decode(ammpl_context *ctx, const void *data, size_t size, const char *name, ammpl_image **out);
ammpl_status ammpli_image_load(ammpl_context *ctx, const char *path, ammpl_image **out);
ammpl_status ammpli_image_save_png(const ammpl_image *img, const char *path);

/* What turns pixels into a model's input: from the model's files, else CLIP's. */
typedef struct ammpli_preprocess {
    int32_t size; /* R */
    float mean[3], std[3];
} ammpli_preprocess;

/* resize.c: Pillow's bicubic to the bit, of the box [left, top, left+w, top+h) of src to a new out_w x out_h picture. */
ammpl_status ammpli_image_resize(const ammpl_image *src, int32_t left, int32_t top, int32_t w, int32_t h, int32_t out_w,
                                 int32_t out_h, ammpl_image **out);
/* preprocess.c: methods.md 3.2 (test) and 3.3 (training: random resized crop and flip keyed by seed, image id and step).
 * chw [3, R, R]. */
ammpl_status ammpli_preprocess_test(const ammpli_preprocess *pre, const ammpl_image *img, float *chw);
ammpl_status ammpli_preprocess_train(const ammpli_preprocess *pre, const ammpl_image *img, uint64_t seed, uint32_t image_id,
                                     uint32_t step, float *chw);
/* The way back: (x * std + mean) * 255, rounded and clipped. */
ammpl_status ammpli_unprocess(ammpl_context *ctx, const ammpli_preprocess *pre, const float *chw, ammpl_image **out);

#endif
