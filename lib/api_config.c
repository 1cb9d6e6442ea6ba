/* api_config.c - options by id or by name, and what there is to set: options and methods.
 *
 * Failures here are not logged: what a caller sets wrong is an event of no context, and most callers try names.
 */
#include "core/config.h"
#include "method/method.h"
#include "shell.h"

ammpl_status ammpl_config_create(ammpl_context *ctx, ammpl_config **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, ctx);
    NEED(ctx, out);
    return ammpli_leave(ctx, ammpli_config_create(ctx, out));
}

void ammpl_config_destroy(ammpl_config *cfg)
{
    if (cfg)
        ammpli_config_destroy(cfg);
}

/* ---- setting ---- */

ammpl_status ammpl_config_set_int(ammpl_config *cfg, ammpl_option id, int64_t value)
{
    ENTER();
    NEED(NULL, cfg);
    return ammpli_leave(NULL, ammpli_config_set_int(cfg, id, value));
}

ammpl_status ammpl_config_set_float(ammpl_config *cfg, ammpl_option id, double value)
{
    ENTER();
    NEED(NULL, cfg);
    return ammpli_leave(NULL, ammpli_config_set_float(cfg, id, value));
}

ammpl_status ammpl_config_set_string(ammpl_config *cfg, ammpl_option id, const char *value)
{
    ENTER();
    NEED(NULL, cfg);
    NEED(NULL, value);
    return ammpli_leave(NULL, ammpli_config_set_string(cfg, id, value));
}

ammpl_status ammpl_config_set_text(ammpl_config *cfg, const char *name, const char *value)
{
    ENTER();
    NEED(NULL, cfg);
    NEED(NULL, name);
    NEED(NULL, value);
    return ammpli_leave(NULL, ammpli_config_set_text(cfg, name, value));
}

/* ---- reading ---- */

static const ammpl_option_info *find_option(ammpl_option id)
{
    for (size_t i = 0; i < ammpli_option_count(); i++)
        if (ammpli_option_at(i)->id == id)
            return ammpli_option_at(i);
    return NULL;
}

/* The internal getters expect an id of the right type. */
static ammpl_status check_type(ammpl_option id, int32_t type, int32_t or_type, const char *kind)
{
    const ammpl_option_info *o = find_option(id);
    if (!o)
        return ammpli_fail(AMMPL_E_OPTION, "there is no option number %d", id);
    if (o->type != type && o->type != or_type)
        return ammpli_fail(AMMPL_E_OPTION, "option %s (%d) is not %s", o->name, id, kind);
    return AMMPL_OK;
}

ammpl_status ammpl_config_get_int(const ammpl_config *cfg, ammpl_option id, int64_t *value)
{
    ENTER();
    CLEAR(value);
    NEED(NULL, cfg);
    NEED(NULL, value);
    PASS(NULL, check_type(id, AMMPL_TYPE_INT, AMMPL_TYPE_BOOL, "an integer or boolean"));
    *value = ammpli_config_int(cfg, id);
    return AMMPL_OK;
}

ammpl_status ammpl_config_get_float(const ammpl_config *cfg, ammpl_option id, double *value)
{
    ENTER();
    CLEAR(value);
    NEED(NULL, cfg);
    NEED(NULL, value);
    PASS(NULL, check_type(id, AMMPL_TYPE_FLOAT, AMMPL_TYPE_FLOAT, "a number"));
    *value = ammpli_config_float(cfg, id);
    return AMMPL_OK;
}

ammpl_status ammpl_config_get_string(const ammpl_config *cfg, ammpl_option id, const char **value)
{
    ENTER();
    CLEAR(value);
    NEED(NULL, cfg);
    NEED(NULL, value);
    PASS(NULL, check_type(id, AMMPL_TYPE_STRING, AMMPL_TYPE_CHOICE, "a string or choice"));
    *value = ammpli_config_string(cfg, id);
    return AMMPL_OK;
}

int32_t ammpl_config_is_set(const ammpl_config *cfg, ammpl_option id)
{
    return cfg && find_option(id) && ammpli_config_is_set(cfg, id);
}

/* ---- what there is ---- */

size_t ammpl_option_count(void)
{
    return ammpli_option_count();
}

ammpl_status ammpl_option_describe(size_t i, ammpl_option_info *info)
{
    ENTER();
    PASS(NULL, ammpli_struct_clear("ammpl_option_info", info));
    CHECK(NULL, i < ammpli_option_count(), AMMPL_E_RANGE, "option %zu: there are %zu", i, ammpli_option_count());
    ammpli_struct_out(info, ammpli_option_at(i), sizeof *info);
    return AMMPL_OK;
}

size_t ammpl_method_count(void)
{
    return ammpli_method_count();
}

ammpl_status ammpl_method_describe(size_t i, ammpl_method *id, const char **name, const char **doc)
{
    ENTER();
    CLEAR(id);
    CLEAR(name);
    CLEAR(doc);
    CHECK(NULL, i < ammpli_method_count(), AMMPL_E_RANGE, "method %zu: there are %zu", i, ammpli_method_count());
    const ammpli_method *m = ammpli_method_at(i);
    if (id)
        *id = m->id;
    if (name)
        *name = m->name;
    if (doc)
        *doc = m->doc;
    return AMMPL_OK;
}

ammpl_status ammpl_method_find(const char *name, ammpl_method *id)
{
    ENTER();
    CLEAR(id);
    NEED(NULL, name);
    NEED(NULL, id);
    const ammpli_method *m;
    PASS(NULL, ammpli_method_find(name, &m));
    *id = m->id;
    return AMMPL_OK;
}
