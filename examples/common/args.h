/* args.h - command lines: a program's own flags, and the library's options as flags.
 *
 *     --name value   --name=value   --switch   --set NAME=VALUE   --   (what follows are operands)
 *
 * `-` and `_` are the same in names.  An option of the library is a flag of the same name where the program says so, so
 * that --help always lists what the library really has.
 */
#ifndef AMMPL_EXAMPLES_ARGS_H
#define AMMPL_EXAMPLES_ARGS_H

#include <ammpl/ammpl.h>

#include "list.h"

enum flag_kind {
    FLAG_SWITCH, /* int *: becomes 1                    */
    FLAG_TEXT,   /* const char **: the last one counts  */
    FLAG_LIST,   /* struct list *: every one is kept    */
    FLAG_COUNT   /* int *: a whole number, 0 or more    */
};

struct flag {
    const char *name; /* without the dashes */
    enum flag_kind kind;
    void *to;
    const char *value; /* what --help calls the value; NULL for a switch */
    const char *doc;
};

struct program {
    const char *name;  /* "ammpl-train" */
    const char *about; /* one line */
    const char *usage; /* what follows the name, lines separated by \n */
    const struct flag *flags;
    size_t flag_count;
    int32_t option_flags;        /* options with any of these AMMPL_OPTION_* bits are flags too */
    const ammpl_option *options; /* and these, ended by 0; may be NULL */
};

enum args_result { ARGS_GO, ARGS_DONE /* --help, --version: printed */, ARGS_WRONG /* said on standard error */ };

/* Flags go where the tables say (`common` are those that all programs share), options into cfg, the rest into operands. */
enum args_result args_parse(const struct program *program, const struct flag *common, size_t common_count, int argc,
                            char **argv, ammpl_config *cfg, struct list *operands);

#endif
