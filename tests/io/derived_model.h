/* derived_model.h - golden/nano stretched to sizes of real models, for what depends on sizes alone. */
#ifndef AMMPL_TESTS_DERIVED_MODEL_H
#define AMMPL_TESTS_DERIVED_MODEL_H

#include "support.h"

#include "clip/clip.h"

/* Nano with so many blocks, CLIP's 77 positions, and pictures of grid x grid patches of patch x patch pixels (0: as they are). */
ammpl_model *derived_model(ammpl_context *ctx, int text_layers, int image_layers, int64_t patch, int64_t grid);

#endif
