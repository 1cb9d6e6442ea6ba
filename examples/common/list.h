/* list.h - lists of strings: files on the command line, class names, lines of a file. */
#ifndef AMMPL_EXAMPLES_LIST_H
#define AMMPL_EXAMPLES_LIST_H

#include <stddef.h>

struct list {
    char **item;
    size_t count, capacity;
};

/* Memory that must be there: the program ends with status 1 when it is not. */
void *allocate(size_t bytes);
/* Appends a copy of the first n bytes of text. */
void list_add(struct list *list, const char *text, size_t n);
/* The place of a text, list->count when it is not there; the second function appends it then. */
size_t list_find(const struct list *list, const char *text);
size_t list_find_or_add(struct list *list, const char *text);
/* "a, b,c": the parts between commas, without the blanks around them. */
void list_split(struct list *list, const char *text);
/* The same between other marks. */
void list_split_at(struct list *list, const char *text, char mark);
/* The lines of a UTF-8 file, without blanks around them and without empty ones.  0 when done, else errno. */
int list_read(struct list *list, const char *path);
void list_free(struct list *list);
/* The part of a path after its last slash. */
const char *base_name(const char *path);

#endif
