/* shell.c - see shell.h. */
#include "shell.h"

#include <string.h>

ammpl_status ammpli_leave(const ammpl_context *ctx, ammpl_status status)
{
    if (status >= 0) {
        ammpli_clear_error(); /* a failure that was dealt with on the way (a skipped picture) is none of the caller's */
        return status;
    }
    if (ammpli_error_text()[0] == '\0')
        ammpli_fail(status, "%s", ammpl_status_string(status));
    /* AMMPL_E_BUFFER is how callers ask for a size: no event worth a line in somebody's log. */
    if (ctx) /* logging changes nothing in the context, but its callers hold it as const */
        ammpli_log((ammpl_context *)ctx, status == AMMPL_E_BUFFER ? AMMPL_LEVEL_DEBUG : AMMPL_LEVEL_ERROR, "%s",
                   ammpli_error_text());
    return status;
}

ammpl_status ammpli_check_strings(const char *function, const char *what, const char *const *list, size_t n)
{
    if (!list)
        return ammpli_fail(AMMPL_E_ARGUMENT, "%s: the list of %s is NULL", function, what);
    if (n == 0)
        return ammpli_fail(AMMPL_E_ARGUMENT, "%s: the list of %s is empty", function, what);
    if (n > INT32_MAX)
        return ammpli_fail(AMMPL_E_RANGE, "%s: %zu %s, more than %d", function, n, what, INT32_MAX);
    for (size_t i = 0; i < n; i++)
        if (!list[i])
            return ammpli_fail(AMMPL_E_ARGUMENT, "%s: entry %zu of the %s is NULL", function, i, what);
    return AMMPL_OK;
}

ammpl_status ammpli_check_cap(const char *function, size_t cap, size_t n, size_t each)
{
    size_t need;
    if (__builtin_mul_overflow(n, each, &need))
        return ammpli_fail(AMMPL_E_RANGE, "%s: %zu times %zu elements cannot be addressed", function, n, each);
    if (cap < need)
        return ammpli_fail(AMMPL_E_BUFFER, "%s: the array needs room for %zu elements, it has %zu", function, need, cap);
    return AMMPL_OK;
}

/* A struct_size beyond this is uninitialised memory, not a newer library's struct: it must not be read that far. */
enum { STRUCT_MAX = 4096 };

static ammpl_status check_size(const char *name, const void *given_struct, uint32_t *size)
{
    if (!given_struct)
        return ammpli_fail(AMMPL_E_ARGUMENT, "the %s is NULL", name);
    memcpy(size, given_struct, sizeof *size);
    if (*size < sizeof *size || *size > STRUCT_MAX)
        return ammpli_fail(AMMPL_E_ARGUMENT, "%s.struct_size is %u: set it to sizeof(%s)", name, *size, name);
    return AMMPL_OK;
}

ammpl_status ammpli_struct_in(const char *name, void *known_struct, size_t known, const void *given_struct)
{
    uint32_t size = 0;
    TRY(check_size(name, given_struct, &size));
    const char *given = given_struct;
    for (size_t i = known; i < size; i++)
        if (given[i] != 0)
            return ammpli_fail(AMMPL_E_VERSION,
                               "%s has %u bytes with members set that libammpl %s does not know (it knows %zu bytes)", name,
                               size, AMMPL_VERSION_STRING, known);
    memset(known_struct, 0, known);
    memcpy(known_struct, given_struct, size < known ? size : known);
    memcpy(known_struct, &(uint32_t){(uint32_t)known}, sizeof(uint32_t));
    return AMMPL_OK;
}

ammpl_status ammpli_struct_clear(const char *name, void *given_struct)
{
    uint32_t size = 0;
    TRY(check_size(name, given_struct, &size));
    memset((char *)given_struct + sizeof size, 0, size - sizeof size);
    return AMMPL_OK;
}

void ammpli_struct_out(void *given_struct, const void *known_struct, size_t known)
{
    uint32_t size;
    memcpy(&size, given_struct, sizeof size);
    memcpy((char *)given_struct + sizeof size, (const char *)known_struct + sizeof size,
           (size < known ? size : known) - sizeof size);
}
