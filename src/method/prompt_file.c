/* prompt_file.c - prompts to and from safetensors (contract.md, "Prompt files"). */
#include "method/method.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROBE = 16 };
static const double PROBE_TOLERANCE = 1e-2;

/* ---- writing ---- */

static ammpl_status write_json(ammpli_st_writer *w, const char *key, json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text)
        return ammpli_fail(AMMPL_E_MEMORY, "out of memory while writing a prompt's %s", key);
    ammpl_status status = ammpli_st_writer_meta(w, key, text);
    free(text);
    return status;
}

char *ammpli_prompt_option_text(const ammpl_prompt *p, const char *name)
{
    const char *value = ammpli_config_text(p->config, name);
    if (strcmp(name, "template") != 0)
        return ammpli_strdup(p->ctx, value);
    json_t *list = json_array(); /* templates, one a line */
    for (size_t n; value; value = value[n] ? value + n + 1 : NULL) {
        n = strcspn(value, "\n");
        json_array_append_new(list, json_stringn(value, n));
    }
    char *text = json_dumps(list, JSON_COMPACT), *copy = text ? ammpli_strdup(p->ctx, text) : NULL;
    free(text);
    json_decref(list);
    return copy;
}

static ammpl_status write_metadata(const ammpl_prompt *p, ammpli_st_writer *w, const char *format)
{
    TRY(ammpli_st_writer_meta(w, "format", format));
    TRY(ammpli_st_writer_meta(w, "version", "1"));
    TRY(ammpli_st_writer_meta(w, "method", p->method->name));
    json_t *classes = json_array();
    for (size_t i = 0; i < p->classes; i++)
        json_array_append_new(classes, json_string(p->class_name[i]));
    if (json_array_size(classes) != p->classes) { /* jansson refuses what is not UTF-8 */
        json_decref(classes);
        return ammpli_fail(AMMPL_E_FORMAT, "a class name is not valid UTF-8, so the prompt cannot be saved");
    }
    TRY(write_json(w, "classes", classes));
    json_t *probe = json_array();
    for (int i = 0; i < PROBE; i++)
        json_array_append_new(probe, json_real((double)p->model->probe[i]));
    TRY(write_json(w, "probe", probe));
    for (const char *const *name = p->method->options; *name; name++) {
        char *value = ammpli_prompt_option_text(p, *name);
        ammpl_status status = value ? ammpli_st_writer_meta(w, *name, value) : AMMPL_E_MEMORY;
        ammpli_free(p->ctx, value);
        TRY(status);
    }
    return AMMPL_OK;
}

ammpl_status ammpli_prompt_write_into(const ammpl_prompt *p, const char *format, ammpli_st_writer *w, float **host)
{
    int64_t total = 0;
    for (size_t i = 0; i < p->tensors; i++)
        total += p->tensor[i].count;
    *host = ammpli_alloc(p->ctx, (size_t)total, sizeof **host);
    if (!*host)
        return AMMPL_E_MEMORY;
    TRY(write_metadata(p, w, format));
    float *value = *host;
    for (size_t i = 0; i < p->tensors; i++) {
        const ammpli_tensor *t = &p->tensor[i];
        TRY(ammpli_prompt_read(p, i, value));
        for (int64_t k = 0; k < t->count; k++)
            if (!isfinite(value[k]))
                return ammpli_fail(AMMPL_E_NUMERIC, "tensor %s holds NaN or infinity; the prompt is not saved", t->name);
        TRY(ammpli_st_writer_add(w, t->name, AMMPL_DTYPE_F32, t->rank, t->shape, value));
        value += t->count;
    }
    return AMMPL_OK;
}

/* A finished writer, and the block its tensors live in. */
static ammpl_status collect(const ammpl_prompt *p, ammpli_st_writer **w, float **host)
{
    *host = NULL;
    TRY(ammpli_st_writer_create(p->ctx, w));
    ammpl_status status = ammpli_prompt_write_into(p, "ammpl-prompt", *w, host);
    if (status < 0) {
        ammpli_st_writer_destroy(*w);
        ammpli_free(p->ctx, *host);
    }
    return status;
}

ammpl_status ammpli_prompt_save_file(const ammpl_prompt *p, const char *path, bool overwrite)
{
    ammpli_st_writer *w;
    float *host;
    TRY(collect(p, &w, &host));
    ammpl_status status = ammpli_st_writer_save(w, path, overwrite);
    ammpli_st_writer_destroy(w);
    ammpli_free(p->ctx, host);
    return status;
}

ammpl_status ammpli_prompt_bytes(const ammpl_prompt *p, void **data, size_t *size)
{
    ammpli_st_writer *w;
    float *host;
    TRY(collect(p, &w, &host));
    ammpl_status status = ammpli_st_writer_bytes(w, data, size);
    ammpli_st_writer_destroy(w);
    ammpli_free(p->ctx, host);
    return status;
}

/* ---- reading ---- */

static ammpl_status check_format(const ammpli_st *st)
{
    const char *format = ammpli_st_meta(st, "format"), *version = ammpli_st_meta(st, "version");
    if (!format || strcmp(format, "ammpl-prompt") != 0)
        return ammpli_fail(AMMPL_E_FORMAT, "%s is not a prompt file: its metadata say format = %.40s, expected ammpl-prompt",
                           ammpli_st_name(st), format ? format : "nothing");
    if (version && strcmp(version, "1") != 0)
        return ammpli_fail(AMMPL_E_VERSION, "%s has prompt format version %.20s; this library reads version 1", ammpli_st_name(st),
                           version);
    return AMMPL_OK;
}

/* Metadata `key` as a JSON array; the caller releases it. */
static ammpl_status read_array(const ammpli_st *st, const char *key, json_t **out)
{
    const char *text = ammpli_st_meta(st, key);
    *out = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (json_is_array(*out))
        return AMMPL_OK;
    json_decref(*out);
    *out = NULL;
    return ammpli_fail(AMMPL_E_FORMAT, "%s: its metadata \"%s\" should be a JSON array", ammpli_st_name(st), key);
}

static ammpl_status check_probe(const ammpl_model *m, const ammpli_st *st)
{
    if (!ammpli_st_meta(st, "probe"))
        return AMMPL_OK; /* loads on any model whose shapes fit */
    json_t *probe;
    TRY(read_array(st, "probe", &probe));
    double worst = json_array_size(probe) == PROBE ? 0 : INFINITY;
    for (size_t i = 0; i < PROBE && worst < INFINITY; i++) {
        json_t *x = json_array_get(probe, i);
        double difference = json_is_number(x) ? fabs(json_number_value(x) - (double)m->probe[i]) : INFINITY;
        worst = difference > worst ? difference : worst;
    }
    json_decref(probe);
    if (worst == INFINITY)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: its metadata \"probe\" should be 16 numbers", ammpli_st_name(st));
    if (worst > PROBE_TOLERANCE)
        return ammpli_fail(AMMPL_E_MODEL, "%s was trained on another CLIP than %s (their probes differ by %.3g); load it with its own",
                           ammpli_st_name(st), m->source, worst);
    return AMMPL_OK;
}

/* Class names as an array of borrowed strings; *json keeps them alive. */
static ammpl_status read_classes(ammpl_context *ctx, const ammpli_st *st, json_t **json, const char ***names, size_t *n)
{
    TRY(read_array(st, "classes", json));
    *n = json_array_size(*json);
    *names = ammpli_alloc(ctx, *n + 1, sizeof **names);
    if (!*names)
        return AMMPL_E_MEMORY;
    for (size_t i = 0; i < *n; i++) {
        (*names)[i] = json_string_value(json_array_get(*json, i));
        if (!(*names)[i])
            return ammpli_fail(AMMPL_E_FORMAT, "%s: class %zu in its metadata is not a string", ammpli_st_name(st), i);
    }
    return AMMPL_OK;
}

ammpl_status ammpli_prompt_check_origin(const ammpl_prompt *p, const ammpli_st *st)
{
    TRY(check_probe(p->model, st));
    json_t *json = NULL;
    const char **names = NULL;
    size_t n;
    ammpl_status status = read_classes(p->ctx, st, &json, &names, &n);
    bool same = status >= 0 && n == p->classes;
    for (size_t i = 0; same && i < n; i++)
        same = strcmp(names[i], p->class_name[i]) == 0;
    if (status >= 0 && !same)
        status = ammpli_fail(AMMPL_E_STATE, "%s was saved with other classes than this run's; resume with those it was started with",
                             ammpli_st_name(st));
    ammpli_free(p->ctx, names);
    json_decref(json);
    return status;
}

static void shape_text(int32_t rank, const int64_t *shape, char text[96])
{
    size_t at = (size_t)snprintf(text, 96, "[");
    for (int32_t i = 0; i < rank && at < 90; i++)
        at += (size_t)snprintf(text + at, 96 - at, "%s%lld", i ? ", " : "", (long long)shape[i]);
    snprintf(text + at, 96 - at, "]");
}

/* Tensor i of the prompt from the file. */
static ammpl_status read_tensor(ammpl_prompt *p, size_t i, const ammpli_st *st, const ammpli_st_tensor *from)
{
    const ammpli_tensor *t = &p->tensor[i];
    bool same = from->rank == t->rank;
    for (int32_t a = 0; same && a < t->rank; a++)
        same = from->shape[a] == t->shape[a];
    if (!same) {
        char in_file[96], wanted[96];
        shape_text(from->rank, from->shape, in_file);
        shape_text(t->rank, t->shape, wanted);
        return ammpli_fail(AMMPL_E_SHAPE, "%s: tensor %s is %s; its classes, the options and the model call for %s", ammpli_st_name(st),
                           t->name, in_file, wanted);
    }
    float *host = ammpli_alloc(p->ctx, (size_t)t->count, sizeof *host);
    if (!host)
        return AMMPL_E_MEMORY;
    ammpl_status status = ammpli_st_read_f32(st, from, host);
    if (status >= 0)
        status = ammpli_prompt_write(p, i, host);
    ammpli_free(p->ctx, host);
    return status;
}

/* The tensors that the options call for, then whatever else the file holds, carried along. */
static ammpl_status read_tensors(ammpl_prompt *p, const ammpli_st *st, const ammpl_config *cfg, bool more)
{
    for (size_t i = 0; i < p->tensors; i++) {
        const ammpli_st_tensor *from = ammpli_st_find(st, p->tensor[i].name);
        if (from) {
            TRY(read_tensor(p, i, st, from));
        } else if (more) { /* options given beside the file call for more than it has */
            ammpli_log(p->ctx, AMMPL_LEVEL_INFO, "%s has no tensor %s: it starts at its initial value", ammpli_st_name(st),
                       p->tensor[i].name);
            TRY(ammpli_prompt_initialise(p, i, (uint64_t)ammpli_config_int(cfg, AMMPL_OPT_SEED)));
        } else {
            return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %s is missing", ammpli_st_name(st), p->tensor[i].name);
        }
    }
    for (size_t i = 0; i < ammpli_st_count(st); i++) {
        const ammpli_st_tensor *from = ammpli_st_at(st, i);
        if (ammpli_prompt_find(p, from->name))
            continue;
        TRY(ammpli_prompt_add(p, from->name, from->rank, from->shape, false, 0));
        TRY(read_tensor(p, p->tensors - 1, st, from));
    }
    return AMMPL_OK;
}

/* `template` is a JSON array of texts: an ensemble where there are several. */
static ammpl_status read_template(ammpl_prompt *p, const ammpli_st *st)
{
    json_t *list, *item;
    TRY(read_array(st, "template", &list));
    size_t i, size = 1;
    bool texts = json_array_size(list) > 0;
    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        texts = texts && text && !strchr(text, '\n') && text[0] != '@';
        size += texts ? strlen(text) + 1 : 0;
    }
    char *all = texts ? ammpli_alloc(p->ctx, size, 1) : NULL;
    ammpl_status status = AMMPL_E_MEMORY;
    if (all) {
        json_array_foreach(list, i, item)
        {
            ammpli_append(all, size, "\n", i ? 1 : 0);
            ammpli_append(all, size, json_string_value(item), strlen(json_string_value(item)));
        }
        status = ammpli_config_set_string(p->config, AMMPL_OPT_TEMPLATE, all);
    }
    if (!texts || status == AMMPL_E_OPTION) {
        ammpli_clear_error();
        status = ammpli_fail(AMMPL_E_FORMAT, "%s: its metadata \"template\" should be an array of texts with {} where the class name goes",
                             ammpli_st_name(st));
    }
    ammpli_free(p->ctx, all);
    json_decref(list);
    return status;
}

/* By these, and no others, tensors come and go (ammpl.md, "Ablations"). */
static bool calls_for_tensors(ammpl_option id)
{
    return id == AMMPL_OPT_MASK || id == AMMPL_OPT_PADDING || id == AMMPL_OPT_INTERACTION;
}

/* The file's options, then those set in cfg; *more: they may call for tensors that the file's do not. */
static ammpl_status read_options(ammpl_prompt *p, const ammpli_st *st, const ammpl_config *cfg, bool *more)
{
    for (const char *const *name = p->method->options; *name; name++) {
        const char *value = ammpli_st_meta(st, *name);
        if (value && strcmp(*name, "template") == 0) {
            TRY(read_template(p, st));
        } else if (value && ammpli_config_set_text(p->config, *name, value) < 0) {
            ammpli_clear_error();
            return ammpli_fail(AMMPL_E_FORMAT, "%s: option %s = \"%.60s\" in its metadata is not a value it can take",
                               ammpli_st_name(st), *name, value);
        }
    }
    TRY(p->method->infer(p, st));
    for (const char *const *name = p->method->options; cfg && *name; name++) {
        ammpl_option id = ammpli_option_by_name(*name)->id;
        *more |= calls_for_tensors(id) && ammpli_config_is_set(cfg, id) && strcmp(ammpli_config_text(cfg, *name), ammpli_config_text(p->config, *name)) != 0;
    }
    if (!cfg)
        return AMMPL_OK;
    TRY(ammpli_config_merge(p->config, cfg));
    return p->method->infer(p, st); /* what was given besides may contradict the tensors */
}

ammpl_status ammpli_prompt_load(const ammpl_model *m, const ammpli_st *st, const ammpl_config *cfg, ammpl_prompt **out)
{
    *out = NULL;
    if (!m->has_text || !m->has_image)
        return ammpli_fail(AMMPL_E_STATE, "the model was loaded with one tower only; a prompt needs both");
    TRY(check_format(st));
    const char *method_name = ammpli_st_meta(st, "method");
    const ammpli_method *method;
    if (!method_name)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: its metadata name no method", ammpli_st_name(st));
    TRY(ammpli_method_find(method_name, &method));
    TRY(check_probe(m, st));
    json_t *json = NULL;
    const char **names = NULL;
    size_t n;
    ammpl_prompt *p = NULL;
    ammpl_status status;
    TRY_GOTO(done, read_classes(m->ctx, st, &json, &names, &n));
    TRY_GOTO(done, ammpli_prompt_new(m, method, names, n, NULL, &p)); /* a file is what it is under every protocol */
    p->from_file = true;
    bool more = false;
    TRY_GOTO(done, read_options(p, st, cfg, &more));
    TRY_GOTO(done, method->define(p));
    TRY_GOTO(done, read_tensors(p, st, cfg, more));
    TRY_GOTO(done, method->bind(p));
    ammpli_warn_of_options(p, cfg);
    *out = p;
    p = NULL;
done:
    ammpli_prompt_release(p);
    ammpli_free(m->ctx, names);
    json_decref(json);
    return status;
}

ammpl_status ammpli_prompt_load_file(const ammpl_model *m, const char *path, const ammpl_config *cfg, ammpl_prompt **out)
{
    *out = NULL;
    ammpli_st *st;
    TRY(ammpli_st_open(m->ctx, path, &st));
    ammpl_status status = ammpli_prompt_load(m, st, cfg, out);
    ammpli_st_close(st);
    return status;
}

ammpl_status ammpli_prompt_load_memory(const ammpl_model *m, const void *data, size_t size, const ammpl_config *cfg,
                                       ammpl_prompt **out)
{
    *out = NULL;
    ammpli_st *st;
    TRY(ammpli_st_open_memory(m->ctx, data, size, "prompt in memory", &st));
    ammpl_status status = ammpli_prompt_load(m, st, cfg, out);
    ammpli_st_close(st);
    return status;
}
