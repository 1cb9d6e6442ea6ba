/* file.c - whole small files, and the atomic write that every saver uses. */
#include "io/file.h"

#include "io/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

ammpl_status ammpli_file_open(const char *path, int *fd, uint64_t *size)
{
    struct stat st;
    /* O_NONBLOCK: a pipe without a writer must be refused below, not waited for here. */
    int f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f < 0)
        return ammpli_fail(AMMPL_E_IO, "%s: cannot be opened: %s", path, strerror(errno));
    if (fstat(f, &st) != 0) {
        ammpli_fail(AMMPL_E_IO, "%s: cannot be examined: %s", path, strerror(errno));
    } else if (S_ISDIR(st.st_mode)) {
        ammpli_fail(AMMPL_E_IO, "%s: is a folder; a file is needed here", path);
    } else if (!S_ISREG(st.st_mode)) {
        ammpli_fail(AMMPL_E_IO, "%s: is not a regular file", path);
    } else {
        *fd = f;
        *size = (uint64_t)st.st_size;
        return AMMPL_OK;
    }
    close(f);
    return AMMPL_E_IO;
}

ammpl_status ammpli_file_pread(int fd, const char *path, void *dst, size_t n, uint64_t offset)
{
    size_t done = 0;
    while (done < n) {
        ssize_t got = pread(fd, (char *)dst + done, n - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return ammpli_fail(AMMPL_E_IO, "%s: cannot be read: %s", path, strerror(errno));
        if (got == 0)
            return ammpli_fail(AMMPL_E_IO, "%s: has become shorter while it was read", path);
        done += (size_t)got;
    }
    return AMMPL_OK;
}

ammpl_status ammpli_file_read(ammpl_context *ctx, const char *path, size_t limit, void **data, size_t *size)
{
    *data = NULL;
    *size = 0;
    int fd;
    uint64_t bytes;
    TRY(ammpli_file_open(path, &fd, &bytes));
    ammpl_status status = AMMPL_OK;
    char *block = NULL;
    if (bytes > limit)
        status = ammpli_fail(AMMPL_E_FORMAT, "%s: has %llu bytes, more than the %zu that such a file may have", path,
                             (unsigned long long)bytes, limit);
    else if (!(block = ammpli_alloc(ctx, (size_t)bytes + 1, 1)))
        status = AMMPL_E_MEMORY;
    else
        status = ammpli_file_pread(fd, path, block, (size_t)bytes, 0);
    close(fd);
    if (status < 0) {
        ammpli_free(ctx, block);
        return status;
    }
    *data = block;
    *size = (size_t)bytes;
    return AMMPL_OK;
}

static bool write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t put = write(fd, data, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            if (put == 0)
                errno = ENOSPC;
            return false;
        }
        data += put;
        size -= (size_t)put;
    }
    return true;
}

/* A new file in the folder of `path` (its length `folder` includes the slash), its name in temp. */
static int create_temp(ammpl_context *ctx, const char *path, size_t folder, char *temp, size_t cap)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    for (int attempt = 0; attempt < 100; attempt++) {
        /* The clock and the process tell runs apart, the context's counter threads; O_EXCL settles the rest. */
        snprintf(temp, cap, "%.*s.ammpl-%lx-%lx-%llx.tmp", (int)folder, path, (long)getpid(), now.tv_nsec,
                 atomic_fetch_add(&ctx->next_id, 1));
        int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); /* 0666: the umask decides, as for any file */
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

/* Gives the finished file its name unless something has that name already (errno EEXIST). */
static int rename_new(const char *temp, const char *path)
{
    enum { NO_REPLACE = 1 }; /* RENAME_NOREPLACE, for C libraries that do not know it */
    if (syscall(SYS_renameat2, AT_FDCWD, temp, AT_FDCWD, path, NO_REPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    /* A file system that cannot (NFS): link() refuses an existing name just as atomically. */
    if (link(temp, path) != 0)
        return -1;
    unlink(temp);
    return 0;
}

/* The new name is on the disk once its folder is.  Not every file system or permission allows to sync a folder, and
 * the data are safe already, so a refusal is no error. */
static void sync_folder(const char *path, size_t folder, char *scratch, size_t cap)
{
    snprintf(scratch, cap, "%.*s", folder ? (int)folder : 1, folder ? path : ".");
    int fd = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

#define EXISTS "%s: exists already, and overwriting was not asked for"

static ammpl_status write_file(ammpl_context *ctx, const char *path, const void *data, size_t size, bool overwrite)
{
    struct stat st;
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) + 1 : 0, cap = folder + 96;
    if (path[folder] == '\0')
        return ammpli_fail(AMMPL_E_IO, "\"%s\" is not the name of a file", path);
    if (!overwrite && lstat(path, &st) == 0) /* the common case early; rename_new decides */
        return ammpli_fail(AMMPL_E_EXISTS, EXISTS, path);
    char *temp = ammpli_alloc(ctx, cap, 1);
    if (!temp)
        return AMMPL_E_MEMORY;
    ammpl_status status = AMMPL_OK;
    int fd = create_temp(ctx, path, folder, temp, cap);
    if (fd < 0) {
        status = ammpli_fail(AMMPL_E_IO, "%s: no file can be made in its folder: %s", path, strerror(errno));
        goto end;
    }
    bool written = write_all(fd, data, size) && fsync(fd) == 0;
    int reason = errno;
    if (close(fd) != 0 && written) { /* a network file system may say only now that the disk is full */
        written = false;
        reason = errno;
    }
    if (!written)
        status = ammpli_fail(AMMPL_E_IO, "%s: cannot be written: %s; what was there is unchanged", path, strerror(reason));
    else if ((overwrite ? rename(temp, path) : rename_new(temp, path)) == 0)
        status = AMMPL_OK;
    else if (!overwrite && errno == EEXIST)
        status = ammpli_fail(AMMPL_E_EXISTS, EXISTS, path);
    else
        status = ammpli_fail(AMMPL_E_IO, "%s: the finished file cannot be given this name: %s", path, strerror(errno));
    if (status < 0)
        unlink(temp);
    else
        sync_folder(path, folder, temp, cap);
end:
    ammpli_free(ctx, temp);
    return status;
}

/* A link's target is replaced, not the link; what is no regular file (a device, a folder, a pipe) is never replaced. */
ammpl_status ammpli_file_write(ammpl_context *ctx, const char *path, const void *data, size_t size, bool overwrite)
{
    struct stat st;
    size_t n = strlen(path);
    if (!overwrite || n == 0 || path[n - 1] == '/' || lstat(path, &st) != 0)
        return write_file(ctx, path, data, size, overwrite);
    char *target = S_ISLNK(st.st_mode) ? realpath(path, NULL) : NULL;
    if (S_ISLNK(st.st_mode) && !target)
        return ammpli_fail(AMMPL_E_IO, "%s: is a link that leads nowhere: %s", path, strerror(errno));
    ammpl_status status = AMMPL_OK;
    if (stat(target ? target : path, &st) == 0 && !S_ISREG(st.st_mode))
        status = ammpli_fail(AMMPL_E_IO, "%s: is not a regular file, so it is not overwritten", path);
    if (status >= 0)
        status = write_file(ctx, target ? target : path, data, size, overwrite);
    free(target);
    return status;
}
