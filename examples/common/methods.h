/* methods.h - what a method learns and what it costs. */
#ifndef AMMPL_EXAMPLES_METHODS_H
#define AMMPL_EXAMPLES_METHODS_H

#include "app.h"

/* "ammpl"; "?" for a number that has no method. */
const char *method_name(ammpl_method method);
/* The table of --list-methods; parameters and encodes only when a model is loaded. */
bool methods_print(struct app *app);

#endif
