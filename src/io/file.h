/* file.h - the two readers' common ground: opening a regular file and reading exactly the bytes asked for. */
#ifndef AMMPLI_FILE_H
#define AMMPLI_FILE_H

#include "core/core.h"

/* AMMPL_E_IO when it is missing, unreadable or not a regular file (a folder, a pipe).  The caller closes *fd. */
ammpl_status ammpli_file_open(const char *path, int *fd, uint64_t *size);
/* Exactly n bytes from offset, without moving the file's position (so any number of threads may read). */
ammpl_status ammpli_file_pread(int fd, const char *path, void *dst, size_t n, uint64_t offset);

#endif
