/* template.c - see template.h. */
#include "method/template.h"

#include <math.h>
#include <string.h>

/* What the published runs use (CoOp's repository: trainers/zsclip.py; methods.md 5.1). */
static const char *const published[][2] = {
    {"@Caltech101", "a photo of a {}."},
    {"@DescribableTextures", "{} texture."},
    {"@EuroSAT", "a centered satellite photo of {}."},
    {"@FGVCAircraft", "a photo of a {}, a type of aircraft."},
    {"@Food101", "a photo of {}, a type of food."},
    {"@ImageNet", "a photo of a {}."},
    {"@OxfordFlowers", "a photo of a {}, a type of flower."},
    {"@OxfordPets", "a photo of a {}, a type of pet."},
    {"@StanfordCars", "a photo of a {}."},
    {"@SUN397", "a photo of a {}."},
    {"@UCF101", "a photo of a person doing {}."},
    {"@ensemble", "itap of a {}.\na bad photo of the {}.\na origami {}.\na photo of the large {}.\na {} in a video game.\n"
                  "art of the {}.\na photo of the small {}."},
};
enum { PUBLISHED = sizeof published / sizeof published[0] };

/* The line that begins at *at, without its newline; *at moves behind it.  NULL at the end. */
static const char *next_line(const char **at, size_t *n)
{
    const char *line = *at;
    if (!line)
        return NULL;
    *n = strcspn(line, "\n");
    *at = line[*n] ? line + *n + 1 : NULL;
    return line;
}

static ammpl_status expand(const char *line, size_t n, const char **text, size_t *text_n)
{
    const char *names[PUBLISHED];
    *text = line;
    *text_n = n;
    if (n == 0 || line[0] != '@')
        return AMMPL_OK;
    for (size_t i = 0; i < PUBLISHED; i++) {
        names[i] = published[i][0];
        if (strlen(names[i]) == n && memcmp(names[i], line, n) == 0) {
            *text = published[i][1];
            *text_n = strlen(*text);
            return AMMPL_OK;
        }
    }
    char name[40], list[PUBLISHED * 24] = "";
    size_t kept = n < sizeof name - 1 ? n : sizeof name - 1;
    memcpy(name, line, kept);
    name[kept] = '\0';
    for (size_t i = 0; i < PUBLISHED; i++) {
        ammpli_append(list, sizeof list, ", ", i ? 2 : 0);
        ammpli_append(list, sizeof list, names[i], strlen(names[i]));
    }
    return ammpli_fail(AMMPL_E_OPTION, "template \"%s\" stands for nothing; the nearest is %s, all are: %s", name,
                       ammpli_nearest(name, names, PUBLISHED), list);
}

ammpl_status ammpli_templates_resolve(ammpl_prompt *p)
{
    const char *option = ammpli_config_string(p->config, AMMPL_OPT_TEMPLATE), *at = option, *line, *text;
    size_t n, text_n, cap = 1;
    while ((line = next_line(&at, &n))) {
        TRY(expand(line, n, &text, &text_n));
        cap += text_n + 1;
    }
    char *all = ammpli_alloc(p->ctx, cap, 1), *end = all;
    if (!all)
        return AMMPL_E_MEMORY;
    at = option;
    while ((line = next_line(&at, &n)) && expand(line, n, &text, &text_n) >= 0) {
        if (end > all)
            *end++ = '\n';
        memcpy(end, text, text_n);
        end += text_n;
    }
    ammpl_status status = ammpli_config_set_string(p->config, AMMPL_OPT_TEMPLATE, all);
    ammpli_free(p->ctx, all);
    return status;
}

/* A template with its first {} replaced by the class's name; VP's texts have spaces for hyphens, too (methods.md 5.4). */
static char *fill(const ammpl_prompt *p, const char *line, size_t n, size_t i)
{
    const char *gap = memmem(line, n, "{}", 2);
    char *name = ammpli_spoken_name(p->ctx, p->class_name[i]);
    for (char *c = name; c && *c && p->method->id == AMMPL_METHOD_VP; c++)
        *c = *c == '-' ? ' ' : *c;
    size_t room = name ? n + strlen(name) + 1 : 0;
    char *text = name && gap ? ammpli_alloc(p->ctx, room, 1) : NULL;
    if (text) {
        ammpli_append(text, room, line, (size_t)(gap - line));
        ammpli_append(text, room, name, strlen(name));
        ammpli_append(text, room, gap + 2, n - (size_t)(gap + 2 - line));
    }
    ammpli_free(p->ctx, name);
    return text;
}

ammpl_status ammpli_templates_check(ammpl_prompt *p)
{
    const char *at = ammpli_config_string(p->config, AMMPL_OPT_TEMPLATE), *line;
    size_t n, tokens;
    while ((line = next_line(&at, &n)))
        for (size_t i = 0; i < p->classes; i++) {
            int32_t *ids = NULL;
            char *text = fill(p, line, n, i);
            ammpl_status status = text ? ammpli_model_tokens(p->model, text, &ids, &tokens) : AMMPL_E_MEMORY;
            ammpli_free(p->ctx, ids);
            ammpli_free(p->ctx, text);
            TRY(status);
        }
    return AMMPL_OK;
}

/* sum [C,E] += the normalised features of one template's texts. */
static ammpl_status add_template(ammpl_session *s, const ammpl_prompt *p, const char *line, size_t n, float *feature, double *sum)
{
    ammpli_engine *e = &s->engine;
    size_t C = p->classes, count = C * (size_t)p->model->embed;
    ammpli_mark mark = ammpli_arena_mark(e);
    char **text;
    TRY(ammpli_take_host(e, C * sizeof *text, (void **)&text));
    for (size_t i = 0; i < C; i++) {
        char *filled = fill(p, line, n, i);
        size_t size = filled ? strlen(filled) + 1 : 0;
        ammpl_status status = filled ? ammpli_take_host(e, size, (void **)&text[i]) : AMMPL_E_MEMORY;
        if (status >= 0)
            memcpy(text[i], filled, size);
        ammpli_free(p->ctx, filled);
        TRY(status);
    }
    TRY(ammpli_encode_texts(s, (const char *const *)text, C, feature));
    for (size_t i = 0; i < count; i++)
        sum[i] += (double)feature[i];
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* Features of one template as they are; of several their mean, normalised again. */
static ammpl_status encode(ammpl_session *s, const ammpl_prompt *p, float *feature, double *sum)
{
    const char *at = ammpli_config_string(p->config, AMMPL_OPT_TEMPLATE), *line;
    size_t n, templates = 0, E = (size_t)p->model->embed;
    while ((line = next_line(&at, &n))) {
        TRY(add_template(s, p, line, n, feature, sum));
        templates++;
    }
    for (size_t i = 0; templates > 1 && i < p->classes; i++) {
        double square = 0;
        for (size_t j = 0; j < E; j++)
            square += sum[i * E + j] * sum[i * E + j];
        for (size_t j = 0; j < E; j++)
            feature[i * E + j] = (float)(sum[i * E + j] / sqrt(square));
    }
    return AMMPL_OK;
}

ammpl_status ammpli_template_features(ammpl_session *s, const ammpl_prompt *p, const float **z)
{
    ammpli_text_cache *cache = &s->texts;
    ammpli_engine *e = &s->engine;
    *z = cache->z;
    if (cache->prompt_id == p->id && cache->binding == p->binding)
        return AMMPL_OK;
    ammpli_session_clear_texts(s);
    size_t count = p->classes * (size_t)p->model->embed;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *feature;
    double *sum;
    TRY(ammpli_take_host(e, count * sizeof *feature, (void **)&feature));
    TRY(ammpli_take_host_zeros(e, (int64_t)count, sizeof *sum, (void **)&sum));
    TRY(encode(s, p, feature, sum));
    TRY(ammpli_session_keep(s, &cache->bytes, count * sizeof *feature, &cache->z));
    RUN(upload, cache->z, feature, count * sizeof *feature);
    ammpli_arena_release(e, mark);
    cache->prompt_id = p->id;
    cache->binding = p->binding;
    *z = cache->z;
    return AMMPL_OK;
}
