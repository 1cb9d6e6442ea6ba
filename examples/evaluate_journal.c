/* evaluate_journal.c - see evaluate_journal.h. */
#include "evaluate_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* The whole file in new memory, ended by a NUL. */
static bool read_all(struct app *app, const char *path, char **text, size_t *size)
{
    struct stat info;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return app_fail(app, "%s: %s", path, strerror(errno));
    if (fstat(fileno(file), &info) != 0 || !S_ISREG(info.st_mode)) {
        fclose(file);
        return app_fail(app, "%s: is not a regular file", path);
    }
    *text = allocate((size_t)info.st_size + 1);
    *size = fread(*text, 1, (size_t)info.st_size, file);
    bool ok = !ferror(file) || app_fail(app, "%s: cannot be read", path);
    fclose(file);
    return ok;
}

/* Adds every line that ends; *used says how many bytes those are. */
static bool add_lines(struct app *app, const char *path, const char *text, size_t size, struct records *records,
                      size_t *used)
{
    char why[256];
    size_t number = 1;
    const char *at = text, *newline;
    for (; (newline = memchr(at, '\n', size - (size_t)(at - text))) != NULL; at = newline + 1, number++) {
        size_t n = (size_t)(newline - at);
        if (strspn(at, " \t\r") < n && !records_add(records, at, n, why))
            return app_fail(app, "%s, line %zu: %s", path, number, why);
    }
    *used = (size_t)(at - text);
    return true;
}

bool journal_read(struct app *app, const char *path, struct records *records)
{
    char *text = NULL;
    size_t size = 0, used = 0;
    char why[256];
    bool ok = read_all(app, path, &text, &size) && add_lines(app, path, text, size, records, &used);
    if (ok && used < size && !records_add(records, text + used, size - used, why))
        app_say(app, "%s: its last line is cut short and left out\n", path);
    free(text);
    return ok;
}

/* Ends a last line that only lacks its newline, drops one that was cut short. */
static bool repair(struct app *app, struct journal *j, const char *rest, size_t n, size_t used)
{
    char why[256];
    if (records_add(&j->records, rest, n, why)) {
        if (write(j->file, "\n", 1) == 1)
            return true;
    } else if (ftruncate(j->file, (off_t)used) == 0 && fsync(j->file) == 0) {
        app_say(app, "%s: its last line was cut short (%zu bytes) and is dropped\n", j->path, n);
        return true;
    }
    return app_fail(app, "%s: its last line cannot be repaired: %s", j->path, strerror(errno));
}

bool journal_open(struct app *app, struct journal *j, const char *path)
{
    char *text = NULL;
    size_t size = 0, used = 0;
    *j = (struct journal){.path = path, .file = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666)};
    if (j->file < 0)
        return app_fail(app, "--out %s: %s", path, strerror(errno));
    if (flock(j->file, LOCK_EX | LOCK_NB) != 0)
        return app_fail(app, "--out %s: another ammpl-evaluate is writing to it", path);
    bool ok = read_all(app, path, &text, &size) && add_lines(app, path, text, size, &j->records, &used) &&
              (used == size || repair(app, j, text + used, size - used, used));
    free(text);
    return ok;
}

static bool write_all(int file, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t done = write(file, text, n);
        if (done < 0 && errno != EINTR)
            return false;
        text += done < 0 ? 0 : done;
        n -= done < 0 ? 0 : (size_t)done;
    }
    return true;
}

bool journal_append(struct app *app, struct journal *j, const char *lines)
{
    size_t used;
    off_t before = lseek(j->file, 0, SEEK_END);
    if (!add_lines(app, j->path, lines, strlen(lines), &j->records, &used))
        return false;
    if (before >= 0 && write_all(j->file, lines, strlen(lines)) && fsync(j->file) == 0)
        return true;
    int reason = errno;
    if (before >= 0 && ftruncate(j->file, before) != 0) /* half a line: dropped when the file is opened next */
        reason = errno;
    return app_fail(app, "--out %s: %s", j->path, strerror(reason));
}

void journal_close(struct journal *j)
{
    if (j->file >= 0)
        close(j->file);
    j->file = -1;
    records_free(&j->records);
}
