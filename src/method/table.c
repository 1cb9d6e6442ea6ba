/* table.c - the methods there are. */
#include "method/methods.h"

#include <stdio.h>
#include <string.h>

static const ammpli_method *const methods[] = {
    &ammpli_method_zeroshot, &ammpli_method_coop, &ammpli_method_cocoop, &ammpli_method_vp,  &ammpli_method_vpt,
    &ammpli_method_dlp,      &ammpli_method_ivlp, &ammpli_method_maple,  &ammpli_method_dpt, &ammpli_method_ammpl,
};
enum { METHODS = sizeof methods / sizeof methods[0] };

size_t ammpli_method_count(void)
{
    return METHODS;
}

const ammpli_method *ammpli_method_at(size_t i)
{
    return i < METHODS ? methods[i] : NULL;
}

const ammpli_method *ammpli_method_by_id(ammpl_method id)
{
    for (size_t i = 0; i < METHODS; i++)
        if (methods[i]->id == id)
            return methods[i];
    return NULL;
}

ammpl_status ammpli_method_find(const char *name, const ammpli_method **out)
{
    const char *names[METHODS];
    char list[256] = "";
    for (size_t i = 0; i < METHODS; i++) {
        names[i] = methods[i]->name;
        size_t at = strlen(list);
        snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", names[i]);
        if (strcmp(names[i], name) == 0) {
            *out = methods[i];
            return AMMPL_OK;
        }
    }
    *out = NULL;
    return ammpli_fail(AMMPL_E_OPTION, "there is no method \"%.64s\"; the nearest is \"%s\", all are: %s", name,
                       ammpli_nearest(name, names, METHODS), list);
}

static int32_t protocol_of(const ammpl_config *cfg)
{
    static const char *const name[] = {"default", "few-shot", "base-to-novel", "cross-dataset"};
    int32_t i = 0;
    while (i < 3 && strcmp(ammpli_config_string(cfg, AMMPL_OPT_PROTOCOL), name[i]) != 0)
        i++;
    return 1 << i;
}

ammpl_status ammpli_method_defaults(const ammpli_method *m, const ammpl_config *cfg, int64_t shots, bool saved, ammpl_config *to)
{
    int32_t protocol = protocol_of(cfg);
    for (const ammpli_default *d = m->defaults; d->protocols; d++) {
        bool in_files = (ammpli_option_by_name(d->name)->flags & AMMPL_OPTION_SAVED) != 0;
        if ((d->protocols & protocol) && shots >= d->shots && in_files == saved)
            TRY(ammpli_config_set_text(to, d->name, d->value));
    }
    return AMMPL_OK;
}
