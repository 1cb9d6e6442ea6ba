/* template.h - hand-written descriptions of classes: one template, or the mean of several (methods.md 5.1, 5.4). */
#ifndef AMMPLI_TEMPLATE_H
#define AMMPLI_TEMPLATE_H

#include "method/session.h"

/* Puts real templates, one a line, in the place of @ensemble and @DATASET in the option; AMMPL_E_OPTION for an unknown one. */
ammpl_status ammpli_templates_resolve(ammpl_prompt *p);
/* AMMPL_E_RANGE, naming the text, when a class's description is longer than the model reads. */
ammpl_status ammpli_templates_check(ammpl_prompt *p);
/* [C,E] normalised features in backend memory of the session: encoded once while the prompt has these classes. */
ammpl_status ammpli_template_features(ammpl_session *s, const ammpl_prompt *p, const float **z);

#endif
