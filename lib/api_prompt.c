/* api_prompt.c - what is learned: creation, files, classes, tensors. */
#include "method/method.h"
#include "shell.h"

#include <string.h>

/* ---- creation and files ---- */

ammpl_status ammpl_prompt_create(const ammpl_model *m, ammpl_method method, const char *const *class_names, size_t n,
                                 const ammpl_config *cfg, ammpl_prompt **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, m);
    NEED(m->ctx, out);
    PASS(m->ctx, ammpli_check_strings(__func__, "class names", class_names, n));
    return ammpli_leave(m->ctx, ammpli_prompt_create(m, method, class_names, n, cfg, out));
}

ammpl_status ammpl_prompt_load_file(const ammpl_model *m, const char *path, const ammpl_config *cfg, ammpl_prompt **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, m);
    NEED(m->ctx, path);
    NEED(m->ctx, out);
    return ammpli_leave(m->ctx, ammpli_prompt_load_file(m, path, cfg, out));
}

ammpl_status ammpl_prompt_load_memory(const ammpl_model *m, const void *data, size_t size, const ammpl_config *cfg,
                                      ammpl_prompt **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, m);
    NEED(m->ctx, data);
    NEED(m->ctx, out);
    return ammpli_leave(m->ctx, ammpli_prompt_load_memory(m, data, size, cfg, out));
}

ammpl_status ammpl_prompt_import_file(const ammpl_model *m, ammpl_method method, const char *const *class_names, size_t n,
                                      const char *path, const ammpl_config *cfg, ammpl_prompt **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, m);
    NEED(m->ctx, path);
    NEED(m->ctx, out);
    PASS(m->ctx, ammpli_check_strings(__func__, "class names", class_names, n));
    return ammpli_leave(m->ctx, ammpli_prompt_import_file(m, method, class_names, n, path, cfg, out));
}

void ammpl_prompt_destroy(ammpl_prompt *p)
{
    if (p)
        ammpli_prompt_release(p);
}

ammpl_status ammpl_prompt_save_file(const ammpl_prompt *p, const char *path, int32_t overwrite)
{
    ENTER();
    NEED(NULL, p);
    NEED(p->ctx, path);
    return ammpli_leave(p->ctx, ammpli_prompt_save_file(p, path, overwrite != 0));
}

ammpl_status ammpl_prompt_save_memory(const ammpl_prompt *p, void *buf, size_t cap, size_t *need)
{
    ENTER();
    CLEAR(need);
    NEED(NULL, p);
    CHECK(p->ctx, buf || cap == 0, AMMPL_E_ARGUMENT, "%s: buf is NULL", __func__);
    void *data;
    size_t size;
    PASS(p->ctx, ammpli_prompt_bytes(p, &data, &size));
    if (need)
        *need = size;
    ammpl_status status = ammpli_check_cap(__func__, cap, size, 1);
    if (status == AMMPL_OK)
        memcpy(buf, data, size);
    ammpli_free(p->ctx, data);
    return ammpli_leave(p->ctx, status);
}

/* ---- classes and options ---- */

ammpl_status ammpl_prompt_rebind_classes(ammpl_prompt *p, const char *const *class_names, size_t n)
{
    ENTER();
    NEED(NULL, p);
    PASS(p->ctx, ammpli_check_strings(__func__, "class names", class_names, n));
    return ammpli_leave(p->ctx, ammpli_prompt_rebind(p, class_names, n));
}

ammpl_method ammpl_prompt_method(const ammpl_prompt *p)
{
    return p ? p->method->id : -1;
}

int32_t ammpl_prompt_conditioning(const ammpl_prompt *p)
{
    return p ? p->method->conditioning(p) : 0;
}

ammpl_status ammpl_prompt_cost(const ammpl_prompt *p, ammpl_cost *out)
{
    ENTER();
    PASS(p ? p->ctx : NULL, ammpli_struct_clear("ammpl_cost", out));
    NEED(NULL, p);
    ammpl_cost known;
    ammpli_prompt_cost(p, &known);
    ammpli_struct_out(out, &known, sizeof known);
    return AMMPL_OK;
}

size_t ammpl_prompt_class_count(const ammpl_prompt *p)
{
    return p ? p->classes : 0;
}

const char *ammpl_prompt_class_name(const ammpl_prompt *p, size_t i)
{
    return p && i < p->classes ? p->class_name[i] : NULL;
}

const char *ammpl_prompt_option(const ammpl_prompt *p, const char *name)
{
    return p && name ? ammpli_config_text(p->config, name) : NULL;
}

/* ---- tensors ---- */

size_t ammpl_prompt_tensor_count(const ammpl_prompt *p)
{
    return p ? p->tensors : 0;
}

static ammpl_status check_index(const ammpl_prompt *p, size_t i)
{
    return i < p->tensors ? AMMPL_OK : ammpli_fail(AMMPL_E_RANGE, "tensor %zu: the prompt has %zu", i, p->tensors);
}

ammpl_status ammpl_prompt_tensor_describe(const ammpl_prompt *p, size_t i, ammpl_tensor_info *info)
{
    ENTER();
    PASS(p ? p->ctx : NULL, ammpli_struct_clear("ammpl_tensor_info", info));
    NEED(NULL, p);
    PASS(p->ctx, check_index(p, i));
    const ammpli_tensor *t = &p->tensor[i];
    ammpl_tensor_info known = {.rank = t->rank,
                               .trainable = t->trainable,
                               .group = t->group,
                               .count = (uint64_t)t->count,
                               .name = t->name};
    memcpy(known.shape, t->shape, sizeof known.shape);
    ammpli_struct_out(info, &known, sizeof known);
    return AMMPL_OK;
}

int32_t ammpl_prompt_tensor_find(const ammpl_prompt *p, const char *name)
{
    const ammpli_tensor *t = p && name ? ammpli_prompt_find(p, name) : NULL;
    return t ? (int32_t)(t - p->tensor) : -1;
}

typedef ammpl_status (*read_fn)(const ammpl_prompt *p, size_t i, float *dst);
typedef ammpl_status (*write_fn)(ammpl_prompt *p, size_t i, const float *src);

static ammpl_status read_tensor(const char *function, const ammpl_prompt *p, size_t i, float *dst, size_t cap, read_fn read)
{
    CHECK(NULL, p, AMMPL_E_ARGUMENT, "%s: p is NULL", function);
    CHECK(p->ctx, dst, AMMPL_E_ARGUMENT, "%s: dst is NULL", function);
    PASS(p->ctx, check_index(p, i));
    PASS(p->ctx, ammpli_check_cap(function, cap, (size_t)p->tensor[i].count, 1));
    return ammpli_leave(p->ctx, read(p, i, dst));
}

static ammpl_status write_tensor(const char *function, ammpl_prompt *p, size_t i, const float *src, size_t n, write_fn write)
{
    CHECK(NULL, p, AMMPL_E_ARGUMENT, "%s: p is NULL", function);
    CHECK(p->ctx, src, AMMPL_E_ARGUMENT, "%s: src is NULL", function);
    PASS(p->ctx, check_index(p, i));
    CHECK(p->ctx, n == (size_t)p->tensor[i].count, AMMPL_E_SHAPE, "%s: %zu numbers for tensor %s, which has %lld", function, n,
          p->tensor[i].name, (long long)p->tensor[i].count);
    return ammpli_leave(p->ctx, write(p, i, src));
}

ammpl_status ammpl_prompt_tensor_read(const ammpl_prompt *p, size_t i, float *dst, size_t cap)
{
    ENTER();
    return read_tensor(__func__, p, i, dst, cap, ammpli_prompt_read);
}

ammpl_status ammpl_prompt_tensor_write(ammpl_prompt *p, size_t i, const float *src, size_t n)
{
    ENTER();
    return write_tensor(__func__, p, i, src, n, ammpli_prompt_write);
}

ammpl_status ammpl_prompt_gradient_read(const ammpl_prompt *p, size_t i, float *dst, size_t cap)
{
    ENTER();
    return read_tensor(__func__, p, i, dst, cap, ammpli_prompt_gradient_read);
}

ammpl_status ammpl_prompt_gradient_write(ammpl_prompt *p, size_t i, const float *src, size_t n)
{
    ENTER();
    return write_tensor(__func__, p, i, src, n, ammpli_prompt_gradient_write);
}

ammpl_status ammpl_prompt_zero_gradients(ammpl_prompt *p)
{
    ENTER();
    NEED(NULL, p);
    return ammpli_leave(p->ctx, ammpli_prompt_zero_gradients(p));
}
