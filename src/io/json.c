/* json.c - see json.h. */
#include "io/json.h"

/* The parser recurses per level, so depth is bounded before it sees the text. */
static bool too_deep(const char *text, size_t n, int limit)
{
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            if (++depth > limit)
                return true;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return false;
}

ammpl_status ammpli_json_parse(const char *text, size_t n, int depth, const char *name, const char *what, json_t **out)
{
    json_error_t error;
    *out = NULL;
    if (too_deep(text, n, depth))
        return ammpli_fail(AMMPL_E_FORMAT, "%s: %s is nested deeper than %d levels", name, what, depth);
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    if (*out)
        return AMMPL_OK;
    if (json_error_code(&error) == json_error_out_of_memory)
        return ammpli_fail(AMMPL_E_MEMORY, "%s: out of memory: no room for %s", name, what);
    for (char *p = error.text; *p; p++) /* the parser quotes the file, which may hold anything */
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    return ammpli_fail(AMMPL_E_FORMAT, "%s: %s is damaged: %s (line %d, byte %d)", name, what, error.text, error.line,
                       error.position);
}
