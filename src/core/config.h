/* config.h - typed options: one table of ids, names, bounds, defaults and documentation (options.def). */
#ifndef AMMPLI_CONFIG_H
#define AMMPLI_CONFIG_H

#include "core/core.h"

/* The value in force: set, else the default.  cfg NULL = all defaults.  The id must be of that type. */
int64_t ammpli_config_int(const ammpl_config *cfg, ammpl_option id); /* booleans too */
double ammpli_config_float(const ammpl_config *cfg, ammpl_option id);
const char *ammpli_config_string(const ammpl_config *cfg, ammpl_option id); /* choices too */
bool ammpli_config_is_set(const ammpl_config *cfg, ammpl_option id);

ammpl_status ammpli_config_create(ammpl_context *ctx, ammpl_config **out);
void ammpli_config_destroy(ammpl_config *cfg);
ammpl_status ammpli_config_set_int(ammpl_config *cfg, ammpl_option id, int64_t v);
ammpl_status ammpli_config_set_float(ammpl_config *cfg, ammpl_option id, double v);
ammpl_status ammpli_config_set_string(ammpl_config *cfg, ammpl_option id, const char *v);
/* By name, value as text.  Unknown: AMMPL_E_OPTION naming the nearest. */
ammpl_status ammpli_config_set_text(ammpl_config *cfg, const char *name, const char *value);
/* Back to the default / all options set in `from` are set in `to`. */
void ammpli_config_unset(ammpl_config *cfg, ammpl_option id);
ammpl_status ammpli_config_merge(ammpl_config *to, const ammpl_config *from);
/* The value in force as text ("true", "0.95", "class"), in a buffer of the config; NULL for an unknown name. */
const char *ammpli_config_text(const ammpl_config *cfg, const char *name);

/* The table. */
size_t ammpli_option_count(void);
const ammpl_option_info *ammpli_option_at(size_t i);
const ammpl_option_info *ammpli_option_by_name(const char *name); /* '-' and '_' are the same; NULL when unknown */

const ammpl_option_info *ammpli_option_by_id(ammpl_option id);     /* NULL when unknown */

/* Numbers as text whatever locale the host program runs in: the whole text, or false; the shorter of 9 and 17 digits that
 * gives the same number back (9 give back every float). */
enum { AMMPLI_NUMBER_CAP = 48 };
bool ammpli_parse_double(const char *text, double *v);
void ammpli_print_float(char text[AMMPLI_NUMBER_CAP], float v);
void ammpli_print_double(char text[AMMPLI_NUMBER_CAP], double v);

/* nearest.c: the entry of list[n] with the smallest edit distance to `word` (for "did you mean"). */
const char *ammpli_nearest(const char *word, const char *const *list, size_t n);

#endif
