/* table.c - the methods there are. */
#include "method/methods.h"

#include <stdio.h>
#include <string.h>

static const ammpli_method *const methods[] = {
    &ammpli_method_zeroshot,
    &ammpli_method_ammpl,
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
