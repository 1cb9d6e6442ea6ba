/* methods.h - one line per method; table.c lists them. */
#ifndef AMMPLI_METHODS_H
#define AMMPLI_METHODS_H

#include "method/method.h"

extern const ammpli_method ammpli_method_zeroshot; /* zeroshot.c */
extern const ammpli_method ammpli_method_coop;     /* coop.c */
extern const ammpli_method ammpli_method_cocoop;   /* cocoop.c */
extern const ammpli_method ammpli_method_vp;       /* vp.c */
extern const ammpli_method ammpli_method_vpt;      /* vpt.c */
extern const ammpli_method ammpli_method_dlp;      /* ivlp.c */
extern const ammpli_method ammpli_method_ivlp;     /* ivlp.c */
extern const ammpli_method ammpli_method_maple;    /* maple.c */
extern const ammpli_method ammpli_method_dpt;      /* dpt.c */
extern const ammpli_method ammpli_method_ammpl;    /* ammpl.c */

#endif
