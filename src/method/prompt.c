/* prompt.c - what is learned: named tensors with gradients, class names, the options in force. */
#include "data/dataset.h"
#include "method/method.h"

#include <math.h>
#include <string.h>

ammpl_prompt *ammpli_prompt_hold(ammpl_prompt *p)
{
    atomic_fetch_add(&p->ref.count, 1);
    return p;
}

static void free_names(ammpl_context *ctx, char **name, size_t n)
{
    for (size_t i = 0; name && i < n; i++)
        ammpli_free(ctx, name[i]);
    ammpli_free(ctx, name);
}

void ammpli_prompt_release(ammpl_prompt *p)
{
    if (!p || atomic_fetch_sub(&p->ref.count, 1) > 1)
        return;
    ammpl_context *ctx = p->ctx;
    ammpl_model *m = p->model;
    for (size_t i = 0; i < p->tensors; i++)
        ammpli_tensor_free(p, &p->tensor[i]);
    ammpli_free(ctx, p->tensor);
    if (p->stream) {
        ammpli_text_plan_free(p);
        m->device->backend->stream_destroy(p->stream);
    }
    free_names(ctx, p->class_name, p->classes);
    ammpli_free(ctx, p->class_hash);
    ammpli_config_destroy(p->config);
    ammpli_free(ctx, p);
    ammpli_model_release(m);
}

/* Checked copies of class names and their hashes (which key the random draws). */
static ammpl_status copy_names(ammpl_context *ctx, const char *const *names, size_t n, char ***name_out, uint32_t **hash_out)
{
    *name_out = NULL;
    *hash_out = NULL;
    TRY(ammpli_check_class_names(ctx, "prompt", names, n));
    char **name = ammpli_alloc(ctx, n, sizeof *name);
    uint32_t *hash = ammpli_alloc(ctx, n, sizeof *hash);
    bool ok = name && hash;
    for (size_t i = 0; ok && i < n; i++) {
        name[i] = ammpli_strdup(ctx, names[i]);
        ok = name[i] != NULL;
        hash[i] = ammpli_hash(names[i]);
    }
    if (!ok) {
        free_names(ctx, name, n);
        ammpli_free(ctx, hash);
        return AMMPL_E_MEMORY;
    }
    *name_out = name;
    *hash_out = hash;
    return AMMPL_OK;
}

ammpl_status ammpli_prompt_new(const ammpl_model *m, const ammpli_method *method, const char *const *names, size_t n,
                               const ammpl_config *cfg, ammpl_prompt **out)
{
    *out = NULL;
    ammpl_prompt *p = ammpli_alloc(m->ctx, 1, sizeof *p);
    if (!p)
        return AMMPL_E_MEMORY;
    p->ref.count = 1;
    p->ctx = m->ctx;
    p->model = ammpli_model_hold(m);
    p->ops = m->ops;
    p->method = method;
    p->id = atomic_fetch_add(&m->ctx->next_id, 1);
    p->revision = p->binding = 1;
    p->groups = 1;
    p->group[0].factor = 1;
    ammpl_status status;
    TRY_GOTO(fail, m->device->backend->stream_create(&m->ctx->host, m->device->index, m->precision, &p->stream));
    TRY_GOTO(fail, copy_names(p->ctx, names, n, &p->class_name, &p->class_hash));
    p->classes = n;
    TRY_GOTO(fail, ammpli_config_create(p->ctx, &p->config));
    TRY_GOTO(fail, ammpli_method_defaults(method, cfg, 0, true, p->config));
    *out = p;
    return AMMPL_OK;
fail:
    ammpli_prompt_release(p);
    return status;
}

ammpl_status ammpli_prompt_initialise(ammpl_prompt *p, size_t i, uint64_t seed)
{
    const ammpli_tensor *t = &p->tensor[i];
    float *host = ammpli_alloc(p->ctx, (size_t)t->count, sizeof *host);
    if (!host)
        return AMMPL_E_MEMORY;
    ammpl_status status = p->method->initialise(p, t, seed, host);
    if (status >= 0)
        status = ammpli_prompt_write(p, i, host);
    ammpli_free(p->ctx, host);
    return status;
}

static bool reads_option(const ammpli_method *method, const char *name)
{
    for (const char *const *option = method->options; *option; option++)
        if (strcmp(*option, name) == 0)
            return true;
    return false;
}

void ammpli_warn_of_options(const ammpl_prompt *p, const ammpl_config *cfg)
{
    for (size_t i = 0; cfg && i < ammpli_option_count(); i++) {
        const ammpl_option_info *o = ammpli_option_at(i);
        if ((o->flags & AMMPL_OPTION_SAVED) && ammpli_config_is_set(cfg, o->id) && !reads_option(p->method, o->name))
            ammpli_log(p->ctx, AMMPL_LEVEL_WARN, "option %s has no effect: method %s does not read it", o->name, p->method->name);
    }
}

ammpl_status ammpli_prompt_create(const ammpl_model *m, ammpl_method id, const char *const *names, size_t n,
                                  const ammpl_config *cfg, ammpl_prompt **out)
{
    *out = NULL;
    const ammpli_method *method = ammpli_method_by_id(id);
    if (!method)
        return ammpli_fail(AMMPL_E_OPTION, "there is no method number %d", (int)id);
    if (!m->has_text || !m->has_image)
        return ammpli_fail(AMMPL_E_STATE, "the model was loaded with towers = %s; a prompt needs both",
                           m->has_text ? "text" : "image");
    ammpl_prompt *p;
    TRY(ammpli_prompt_new(m, method, names, n, cfg, &p));
    uint64_t seed = (uint64_t)ammpli_config_int(cfg, AMMPL_OPT_SEED);
    ammpl_status status = AMMPL_OK;
    if (cfg)
        TRY_GOTO(fail, ammpli_config_merge(p->config, cfg));
    TRY_GOTO(fail, method->define(p));
    TRY_GOTO(fail, method->bind(p));
    for (size_t i = 0; i < p->tensors; i++)
        TRY_GOTO(fail, ammpli_prompt_initialise(p, i, seed));
    ammpli_warn_of_options(p, cfg);
    *out = p;
    return AMMPL_OK;
fail:
    ammpli_prompt_release(p);
    return status;
}

ammpl_status ammpli_prompt_rebind(ammpl_prompt *p, const char *const *names, size_t n)
{
    if (!p->method->can_rebind(p))
        return ammpli_fail(AMMPL_E_STATE,
                           "this %s prompt learns each class by itself: it has nothing for other classes; train one whose tensors all "
                           "classes share (ammpl: scope = shared; coop: class_specific = false)",
                           p->method->name);
    char **name;
    uint32_t *hash;
    TRY(copy_names(p->ctx, names, n, &name, &hash));
    char **old_name = p->class_name;
    uint32_t *old_hash = p->class_hash;
    size_t old_n = p->classes;
    p->class_name = name;
    p->class_hash = hash;
    p->classes = n;
    ammpl_status status = p->method->bind(p); /* replaces p->text only when it succeeds */
    if (status < 0) {
        p->class_name = old_name;
        p->class_hash = old_hash;
        p->classes = old_n;
        old_name = name;
        old_hash = hash;
        old_n = n;
    } else {
        p->revision++;
        p->binding++;
    }
    free_names(p->ctx, old_name, old_n);
    ammpli_free(p->ctx, old_hash);
    return status;
}

ammpl_status ammpli_prompt_add(ammpl_prompt *p, const char *name, int32_t rank, const int64_t *shape, bool trainable,
                               int32_t group)
{
    if (!ammpli_grow(p->ctx, (void **)&p->tensor, &p->tensor_cap, p->tensors + 1, sizeof *p->tensor))
        return AMMPL_E_MEMORY;
    ammpli_tensor *t = &p->tensor[p->tensors];
    *t = (ammpli_tensor){.rank = rank, .count = 1, .trainable = trainable, .group = group};
    size_t len = strlen(name);
    if (len >= sizeof t->name || rank > 4)
        return ammpli_fail(AMMPL_E_FORMAT, "tensor \"%.64s\": a prompt's tensors have names below %zu bytes and at most 4 axes", name,
                           sizeof t->name);
    memcpy(t->name, name, len + 1);
    for (int32_t i = 0; i < rank; i++) {
        t->shape[i] = shape[i];
        t->count *= shape[i];
    }
    size_t bytes = (size_t)t->count * sizeof(float);
    TRY(p->ops->alloc(p->stream, bytes, (void **)&t->value));
    ammpl_status status = p->ops->alloc(p->stream, bytes, (void **)&t->grad);
    if (status < 0) {
        p->ops->release(p->stream, t->value);
        return status;
    }
    p->tensors++;
    TRY(p->ops->zero(p->stream, t->value, bytes));
    return p->ops->zero(p->stream, t->grad, bytes);
}

void ammpli_tensor_free(const ammpl_prompt *p, ammpli_tensor *t)
{
    p->ops->release(p->stream, t->value);
    p->ops->release(p->stream, t->grad);
    t->value = t->grad = NULL;
}

ammpl_status ammpli_prompt_make_like(const ammpl_prompt *p, size_t i, int64_t rows, ammpli_tensor *t)
{
    *t = p->tensor[i];
    t->count = t->count / t->shape[0] * rows;
    t->shape[0] = rows;
    t->value = t->grad = NULL;
    size_t bytes = (size_t)t->count * sizeof(float);
    float *host = ammpli_alloc(p->ctx, (size_t)t->count, sizeof *host);
    ammpl_status status = host ? p->method->initialise(p, t, 1, host) : AMMPL_E_MEMORY;
    if (status >= 0)
        status = p->ops->alloc(p->stream, bytes, (void **)&t->value);
    if (status >= 0)
        status = p->ops->alloc(p->stream, bytes, (void **)&t->grad);
    if (status >= 0)
        status = p->ops->upload(p->stream, t->value, host, bytes);
    if (status >= 0)
        status = p->ops->zero(p->stream, t->grad, bytes);
    if (status >= 0)
        status = p->ops->sync(p->stream);
    ammpli_free(p->ctx, host);
    if (status < 0)
        ammpli_tensor_free(p, t);
    return status;
}

void ammpli_prompt_exchange(ammpl_prompt *p, size_t i, const ammpli_tensor *t)
{
    ammpli_tensor_free(p, &p->tensor[i]);
    p->tensor[i] = *t;
    p->layout++;
}

ammpli_tensor *ammpli_prompt_find(const ammpl_prompt *p, const char *name)
{
    for (size_t i = 0; i < p->tensors; i++)
        if (strcmp(p->tensor[i].name, name) == 0)
            return &p->tensor[i];
    return NULL;
}

ammpl_status ammpli_prompt_read(const ammpl_prompt *p, size_t i, float *dst)
{
    return p->ops->download(p->stream, dst, p->tensor[i].value, (size_t)p->tensor[i].count * sizeof *dst);
}

ammpl_status ammpli_prompt_write(ammpl_prompt *p, size_t i, const float *src)
{
    const ammpli_tensor *t = &p->tensor[i];
    for (int64_t k = 0; k < t->count; k++)
        if (!isfinite(src[k]))
            return ammpli_fail(AMMPL_E_NUMERIC, "tensor %s: element %lld is not a finite number", t->name, (long long)k);
    p->revision++; /* where it fails from here on, the tensor may be new */
    TRY(ammpli_settle(p->ops, p->stream, p->ops->upload(p->stream, t->value, src, (size_t)t->count * sizeof *src)));
    return p->ops->sync(p->stream);
}

ammpl_status ammpli_prompt_gradient_read(const ammpl_prompt *p, size_t i, float *dst)
{
    return p->ops->download(p->stream, dst, p->tensor[i].grad, (size_t)p->tensor[i].count * sizeof *dst);
}

ammpl_status ammpli_prompt_gradient_write(ammpl_prompt *p, size_t i, const float *src)
{
    TRY(ammpli_settle(p->ops, p->stream, p->ops->upload(p->stream, p->tensor[i].grad, src, (size_t)p->tensor[i].count * sizeof *src)));
    return p->ops->sync(p->stream);
}

ammpl_status ammpli_prompt_zero_gradients(ammpl_prompt *p)
{
    ammpl_status status = AMMPL_OK;
    for (size_t i = 0; i < p->tensors && status >= 0; i++)
        status = p->ops->zero(p->stream, p->tensor[i].grad, (size_t)p->tensor[i].count * sizeof(float));
    TRY(ammpli_settle(p->ops, p->stream, status));
    return p->ops->sync(p->stream);
}

void ammpli_prompt_cost(const ammpl_prompt *p, ammpl_cost *out)
{
    *out = (ammpl_cost){.struct_size = sizeof *out};
    for (size_t i = 0; i < p->tensors; i++)
        out->parameters += p->tensor[i].trainable ? (uint64_t)p->tensor[i].count : 0;
    p->method->cost(p, out);
}
