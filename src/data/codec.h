/* codec.h - the picture formats, one file each; decode.c tells them apart. */
#ifndef AMMPLI_CODEC_H
#define AMMPLI_CODEC_H

#include "data/image.h"

ammpl_status ammpli_png_decode(ammpl_context *ctx, const uint8_t *data, size_t size, const char *name,
                               ammpl_image **out);
/* least: as ammpli_image_decode_at_least. */
ammpl_status ammpli_jpeg_decode(ammpl_context *ctx, const uint8_t *data, size_t size, const char *name, int32_t least,
                                ammpl_image **out);
ammpl_status ammpli_gif_decode(ammpl_context *ctx, const uint8_t *data, size_t size, const char *name,
                               ammpl_image **out);
/* Room for a decoded picture, or AMMPL_E_IMAGE when its header asks for more than `least_bytes` (the fewest that its
 * format can need for so many pixels) or the library's bounds make plausible. */
ammpl_status ammpli_decoded_create(ammpl_context *ctx, const char *name, uint32_t width, uint32_t height,
                                   uint64_t least_bytes, size_t size, ammpl_image **out);

#endif
