/* methods.h - one line per method; table.c lists them. */
#ifndef AMMPLI_METHODS_H
#define AMMPLI_METHODS_H

#include "method/method.h"

extern const ammpli_method ammpli_method_zeroshot; /* zeroshot.c */
extern const ammpli_method ammpli_method_ammpl;    /* ammpl.c */

#endif
