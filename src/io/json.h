/* json.h - parsing JSON that may be hostile. */
#ifndef AMMPLI_JSON_H
#define AMMPLI_JSON_H

#include <jansson.h>

#include "core/core.h"

/* Text of n bytes, nested at most `depth` levels, no key twice.  Sentences read "NAME: WHAT is damaged: ...", WHAT like
 * "its header".  AMMPL_E_FORMAT or AMMPL_E_MEMORY; *out is NULL then, else the caller's to json_decref. */
ammpl_status ammpli_json_parse(const char *text, size_t n, int depth, const char *name, const char *what, json_t **out);

#endif
