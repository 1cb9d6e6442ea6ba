/* methods.h - what a method learns and what it costs. */
#ifndef AMMPL_EXAMPLES_METHODS_H
#define AMMPL_EXAMPLES_METHODS_H

#include "app.h"

struct method_cost {
    uint64_t parameters;  /* numbers that training changes */
    size_t image_encodes; /* per picture */
    size_t text_encodes;  /* per picture; 0 when the classes are encoded once for all pictures */
};

struct method_cost method_cost_of(const ammpl_prompt *prompt);
/* "ammpl"; "?" for a number that has no method. */
const char *method_name(ammpl_method method);
/* The table of --list-methods; parameters and encodes only when a model is loaded. */
bool methods_print(struct app *app);

#endif
