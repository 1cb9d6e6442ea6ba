/* listing.h - names of files: lists of strings, paths, what is in a folder, the lines of a text. */
#ifndef AMMPLI_LISTING_H
#define AMMPLI_LISTING_H

#include "core/core.h"

typedef struct ammpli_strings {
    ammpl_context *ctx; /* set before the first string is added */
    char **item;
    size_t count, cap;
} ammpli_strings;

/* Appends a copy of the first n bytes. */
ammpl_status ammpli_strings_add(ammpli_strings *l, const char *text, size_t n);
/* The strings and their array; the list is empty then. */
void ammpli_strings_free(ammpli_strings *l);

/* "dir/name" (ammpli_free), or NULL when out of memory. */
char *ammpli_path_join(ammpl_context *ctx, const char *dir, const char *name);
bool ammpli_path_is_folder(const char *path);
/* dir/name is a folder; *status becomes AMMPL_E_MEMORY when that could not be found out. */
bool ammpli_has_folder(ammpl_context *ctx, const char *dir, const char *name, ammpl_status *status);

/* Appends the names of dir's folders, or of its .jpg, .jpeg and .png files, in the order of their bytes.  Hidden ones are left
 * out, links are followed; AMMPL_E_IO. */
ammpl_status ammpli_list_folders(ammpli_strings *l, const char *dir);
ammpl_status ammpli_list_pictures(ammpli_strings *l, const char *dir);
/* Appends the lines of a file without blanks around them, leaving out empty ones. */
ammpl_status ammpli_list_lines(ammpli_strings *l, const char *path);

#endif
