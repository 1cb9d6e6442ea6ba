/* mat5.h - one vector of whole numbers from a MATLAB file (level 5), as Flowers102's labels are published. */
#ifndef AMMPLI_MAT5_H
#define AMMPLI_MAT5_H

#include "core/core.h"

/* The numeric array of that name, column by column, into a new array (ammpli_free).  AMMPL_E_IO, AMMPL_E_FORMAT (damaged, no such
 * array, not whole numbers), AMMPL_E_UNSUPPORTED (a version 7.3 file, which is HDF5). */
ammpl_status ammpli_mat5_read(ammpl_context *ctx, const char *path, const char *name, int32_t **value, size_t *count);

#endif
