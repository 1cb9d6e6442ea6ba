/* shell.h - how every public function begins and ends: out-pointers cleared, arguments checked, failures logged.
 *
 * The shell checks what a caller can get wrong and forwards to ammpli_*; it computes nothing itself.  Each function reads
 *
 *     ENTER();                   clears this thread's sentence
 *     CLEAR(out);                an error leaves NULL or 0 behind
 *     NEED(ctx, arg); ...        refuses NULL; ctx (may be NULL) is where the failure is logged
 *     return ammpli_leave(ctx, ammpli_something(...));
 */
#ifndef AMMPLI_SHELL_H
#define AMMPLI_SHELL_H

#include "core/core.h"

/* Ends a public function: after a success no sentence stands, a failure is logged.  ctx may be NULL. */
ammpl_status ammpli_leave(const ammpl_context *ctx, ammpl_status status);

#define ENTER() ammpli_clear_error()
#define CLEAR(out)      \
    do {                \
        if (out)        \
            *(out) = 0; \
    } while (0)
#define CHECK(ctx, condition, status, ...)                                 \
    do {                                                                   \
        if (!(condition))                                                  \
            return ammpli_leave((ctx), ammpli_fail((status), __VA_ARGS__)); \
    } while (0)
#define NEED(ctx, arg) CHECK(ctx, (arg) != NULL, AMMPL_E_ARGUMENT, "%s: %s is NULL", __func__, #arg)
/* Returns from a public function when a check below failed. */
#define PASS(ctx, call)                                  \
    do {                                                 \
        ammpl_status pass_status = (call);               \
        if (pass_status < 0)                             \
            return ammpli_leave((ctx), pass_status);     \
    } while (0)

/* ---- checks; each records a sentence ---- */

/* A list of n strings, n at least 1 and none of them NULL.  what: "class names". */
ammpl_status ammpli_check_strings(const char *function, const char *what, const char *const *list, size_t n);
/* Room for n * each elements in an array of cap. */
ammpl_status ammpli_check_cap(const char *function, size_t cap, size_t n, size_t each);

/* ---- structs of any age (habit: struct_size first, they grow only at the tail) ---- */

/* Copies a caller's struct into the library's own of `known` bytes: what an older caller lacks is zero, what a newer one
 * has beyond must be zero or the call is AMMPL_E_VERSION. */
ammpl_status ammpli_struct_in(const char *name, void *known_struct, size_t known, const void *given_struct);
/* Checks the caller's output struct and zeroes all of it behind struct_size. */
ammpl_status ammpli_struct_clear(const char *name, void *given_struct);
/* Writes what the caller's struct has room for; struct_size stays the caller's. */
void ammpli_struct_out(void *given_struct, const void *known_struct, size_t known);

#endif
