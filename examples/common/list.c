/* list.c - lists of strings. */
#include "list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void *allocate(size_t bytes)
{
    void *memory = calloc(bytes == 0 ? 1 : bytes, 1);
    if (memory == NULL) {
        fprintf(stderr, "%s: out of memory: there are no further %zu bytes; end other programs, or give it less at once\n",
                program_invocation_short_name, bytes);
        exit(1);
    }
    return memory;
}

void list_add(struct list *list, const char *text, size_t n)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        char **item = allocate(capacity * sizeof *item);
        if (list->count != 0)
            memcpy(item, list->item, list->count * sizeof *item);
        free(list->item);
        list->item = item;
        list->capacity = capacity;
    }
    char *copy = allocate(n + 1);
    memcpy(copy, text, n);
    list->item[list->count++] = copy;
}

size_t list_find(const struct list *list, const char *text)
{
    size_t i = 0;
    while (i < list->count && strcmp(list->item[i], text) != 0)
        i++;
    return i;
}

size_t list_find_or_add(struct list *list, const char *text)
{
    size_t i = list_find(list, text);
    if (i == list->count)
        list_add(list, text, strlen(text));
    return i;
}

static int blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void add_trimmed(struct list *list, const char *text, size_t n)
{
    while (n > 0 && blank(text[0]))
        text++, n--;
    while (n > 0 && blank(text[n - 1]))
        n--;
    list_add(list, text, n);
}

void list_split(struct list *list, const char *text)
{
    list_split_at(list, text, ',');
}

void list_split_at(struct list *list, const char *text, char mark)
{
    for (;;) {
        size_t n = strcspn(text, (const char[]){mark, '\0'});
        add_trimmed(list, text, n);
        if (text[n] == '\0')
            return;
        text += n + 1;
    }
}

int list_read(struct list *list, const char *path)
{
    static const char byte_order_mark[] = "\xef\xbb\xbf";
    struct stat info;
    if (stat(path, &info) != 0)
        return errno;
    if (!S_ISREG(info.st_mode)) /* /dev/zero has no end */
        return EINVAL;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return errno;
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    for (int first = 1; (n = getline(&line, &size, file)) >= 0; first = 0) {
        size_t skip = first && strncmp(line, byte_order_mark, 3) == 0 ? 3 : 0;
        if (strspn(line + skip, " \t\r\n") < strlen(line + skip))
            add_trimmed(list, line + skip, (size_t)n - skip);
    }
    int failed = ferror(file) ? errno : 0;
    free(line);
    fclose(file);
    return failed;
}

void list_free(struct list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->item[i]);
    free(list->item);
    *list = (struct list){NULL, 0, 0};
}

const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}
