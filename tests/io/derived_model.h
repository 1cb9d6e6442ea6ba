/* derived_model.h - models of other sizes than the goldens', for what depends on sizes alone. */
#ifndef AMMPL_TESTS_DERIVED_MODEL_H
#define AMMPL_TESTS_DERIVED_MODEL_H

#include "support.h"

#include "clip/clip.h"

/* Nano with so many blocks, CLIP's 77 positions, and pictures of grid x grid patches of patch x patch pixels (0: as they are). */
ammpl_model *derived_model(ammpl_context *ctx, int text_layers, int image_layers, int64_t patch, int64_t grid);

typedef struct model_sizes {
    int64_t text_width, text_layers, length, image_width, image_layers, patch, grid, joint;
    const ammpl_device *device; /* NULL: the CPU */
} model_sizes;
/* A CLIP of these sizes with nano's vocabulary, full of small numbers. */
ammpl_model *sized_model(ammpl_context *ctx, const model_sizes *z);

#endif
