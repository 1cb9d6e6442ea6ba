/* listing.c - see listing.h. */
#include "data/listing.h"

#include "io/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* ---- lists ---- */

ammpl_status ammpli_strings_add(ammpli_strings *l, const char *text, size_t n)
{
    void *items = l->item;
    if (!ammpli_grow(l->ctx, &items, &l->cap, l->count + 1, sizeof *l->item))
        return AMMPL_E_MEMORY;
    l->item = items;
    char *copy = ammpli_alloc(l->ctx, n + 1, 1);
    if (!copy)
        return AMMPL_E_MEMORY;
    memcpy(copy, text, n);
    l->item[l->count++] = copy;
    return AMMPL_OK;
}

void ammpli_strings_free(ammpli_strings *l)
{
    for (size_t i = 0; i < l->count; i++)
        ammpli_free(l->ctx, l->item[i]);
    ammpli_free(l->ctx, l->item);
    *l = (ammpli_strings){.ctx = l->ctx};
}

/* ---- paths ---- */

char *ammpli_path_join(ammpl_context *ctx, const char *dir, const char *name)
{
    size_t n = strlen(dir), room = n + strlen(name) + 2;
    char *path = ammpli_alloc(ctx, room, 1);
    if (path)
        snprintf(path, room, "%s%s%s", dir, n > 0 && dir[n - 1] == '/' ? "" : "/", name);
    return path;
}

bool ammpli_path_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool ammpli_has_folder(ammpl_context *ctx, const char *dir, const char *name, ammpl_status *status)
{
    char *path = ammpli_path_join(ctx, dir, name);
    bool yes = path && ammpli_path_is_folder(path);
    if (!path)
        *status = AMMPL_E_MEMORY;
    ammpli_free(ctx, path);
    return yes;
}

/* ---- folders ---- */

static bool is_picture_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (!strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg") || !strcasecmp(dot, ".png"));
}

static int bytewise(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Adds the entry when it is a folder (folders) or a regular file named like a picture (else).  Links are followed. */
static ammpl_status consider(ammpli_strings *l, const char *dir, const char *name, bool folders)
{
    if (name[0] == '.' || (!folders && !is_picture_name(name)))
        return AMMPL_OK;
    char *path = ammpli_path_join(l->ctx, dir, name);
    if (!path)
        return AMMPL_E_MEMORY;
    struct stat st;
    ammpl_status status = AMMPL_OK;
    if (stat(path, &st) == 0) {
        if (folders ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode))
            status = ammpli_strings_add(l, name, strlen(name));
    } else if (!folders) { /* leaving a picture out in silence would renumber all that follow */
        status = ammpli_fail(AMMPL_E_IO, "%s: %s", path, strerror(errno));
    }
    ammpli_free(l->ctx, path);
    return status;
}

static ammpl_status list(ammpli_strings *l, const char *dir, bool folders)
{
    size_t first = l->count;
    DIR *d = opendir(dir);
    if (!d)
        return ammpli_fail(AMMPL_E_IO, "%s: %s; expected a folder with %s", dir, strerror(errno),
                           folders ? "one folder per class" : "pictures");
    ammpl_status status = AMMPL_OK;
    const struct dirent *entry;
    errno = 0;
    while (status == AMMPL_OK && (entry = readdir(d))) {
        status = consider(l, dir, entry->d_name, folders);
        errno = 0;
    }
    if (status == AMMPL_OK && errno)
        status = ammpli_fail(AMMPL_E_IO, "%s: %s", dir, strerror(errno));
    closedir(d);
    if (l->count > first)
        qsort(l->item + first, l->count - first, sizeof *l->item, bytewise);
    return status;
}

ammpl_status ammpli_list_folders(ammpli_strings *l, const char *dir)
{
    return list(l, dir, true);
}

ammpl_status ammpli_list_pictures(ammpli_strings *l, const char *dir)
{
    return list(l, dir, false);
}

/* ---- texts ---- */

ammpl_status ammpli_list_lines(ammpli_strings *l, const char *path)
{
    static const size_t limit = (size_t)64 << 20;
    static const char blanks[] = " \t\r\n";
    void *data;
    size_t size;
    TRY(ammpli_file_read(l->ctx, path, limit, &data, &size));
    ammpl_status status = AMMPL_OK;
    for (const char *at = data, *end = at + size; at < end && status == AMMPL_OK;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((newline ? newline : end) - at), whole = n + (newline != NULL);
        while (n > 0 && strchr(blanks, at[n - 1]))
            n--;
        size_t lead = 0;
        while (lead < n && strchr(blanks, at[lead]))
            lead++;
        if (lead < n)
            status = ammpli_strings_add(l, at + lead, n - lead);
        at += whole;
    }
    ammpli_free(l->ctx, data);
    return status;
}
