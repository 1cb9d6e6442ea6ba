/* error.c - the sentence of this thread's last failure. */
#include "core/core.h"

#include <stdarg.h>
#include <stdio.h>

/* The one writable variable of the library besides what handles own (allow-listed in tests). */
static _Thread_local char error_text[1024];

ammpl_status ammpli_fail(ammpl_status status, const char *fmt, ...)
{
    if (error_text[0] == '\0') {
        va_list args;
        va_start(args, fmt);
        vsnprintf(error_text, sizeof error_text, fmt, args);
        va_end(args);
    }
    return status;
}

void ammpli_clear_error(void)
{
    error_text[0] = '\0';
}

const char *ammpli_error_text(void)
{
    return error_text;
}
