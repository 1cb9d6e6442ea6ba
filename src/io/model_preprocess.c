/* model_preprocess.c - how a model wants its pictures: open_clip's preprocess_cfg, Hugging Face's preprocessor_config.json.
 *
 * One transform is computed: shorter side to the model's size by bicubic, centre crop, mean and std.  What asks for
 * another one is refused by its key.
 */
#include "io/json.h"
#include "io/model_parts.h"

#include <math.h>
#include <string.h>

static ammpl_status other(const char *name, const char *path, const char *key)
{
    return ammpli_fail(AMMPL_E_UNSUPPORTED, "%s: %s%s asks for another way to prepare pictures than CLIP's, which is not supported",
                       name, path, key);
}

static ammpl_status three(const json_t *section, const char *path, const char *key, const char *name, bool positive, float out[3])
{
    const json_t *list = json_object_get(section, key);
    if (!list || json_is_null(list))
        return AMMPL_OK;
    bool good = json_array_size(list) == 3;
    for (size_t i = 0; i < 3 && good; i++) {
        float v = (float)json_number_value(json_array_get(list, i));
        good = json_is_number(json_array_get(list, i)) && isfinite(v) && (!positive || v > 0);
        out[i] = v;
    }
    return good ? AMMPL_OK : ammpli_fail(AMMPL_E_FORMAT, "%s: %s%s is not three %snumbers", name, path, key, positive ? "positive " : "");
}

static ammpl_status only(const json_t *section, const char *path, const char *key, const char *name, const char *value)
{
    const json_t *v = json_object_get(section, key);
    if (!v || json_is_null(v) || (json_is_string(v) && strcmp(json_string_value(v), value) == 0))
        return AMMPL_OK;
    return other(name, path, key);
}

/* 224, or [224, 224] */
static ammpl_status square(const json_t *size, const char *path, const char *key, const char *name, int64_t *out)
{
    const json_t *a = size, *b = size;
    if (json_is_array(size) && json_array_size(size) == 2) {
        a = json_array_get(size, 0);
        b = json_array_get(size, 1);
    }
    if (!json_is_integer(a) || !json_is_integer(b) || json_integer_value(a) <= 0)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: %s%s is not a size", name, path, key);
    if (json_integer_value(a) != json_integer_value(b))
        return other(name, path, key);
    *out = json_integer_value(a);
    return AMMPL_OK;
}

ammpl_status ammpli_preprocess_open_clip(const json_t *cfg, const char *name, ammpli_model_config *c)
{
    static const char path[] = "preprocess_cfg.";
    if (!json_is_object(cfg))
        return ammpli_fail(AMMPL_E_FORMAT, "%s: preprocess_cfg is not an object", name);
    const json_t *size = json_object_get(cfg, "size");
    if (size && !json_is_null(size))
        TRY(square(size, path, "size", name, &c->size));
    TRY(only(cfg, path, "interpolation", name, "bicubic"));
    TRY(only(cfg, path, "resize_mode", name, "shortest"));
    TRY(only(cfg, path, "mode", name, "RGB"));
    TRY(three(cfg, path, "mean", name, false, c->mean));
    TRY(three(cfg, path, "std", name, true, c->std));
    c->has_preprocess = true;
    return AMMPL_OK;
}

/* {"shortest_edge": 224}, {"height": 224, "width": 224} where `box` allows it, or 224 */
static ammpl_status hf_size(const json_t *section, const char *key, bool box, const char *name, int64_t *out)
{
    const json_t *size = json_object_get(section, key), *edge = json_object_get(size, "shortest_edge");
    if (!size || json_is_null(size))
        return AMMPL_OK;
    if (!json_is_object(size))
        return square(size, "", key, name, out);
    if (edge)
        return square(edge, "", key, name, out);
    const json_t *height = json_object_get(size, "height"), *width = json_object_get(size, "width");
    if (!box || !json_equal(height, width)) /* height and width given for the resize: it would squash */
        return other(name, "", key);
    return square(height, "", key, name, out);
}

static ammpl_status parse_hf(const json_t *root, const char *name, ammpli_model_config *c)
{
    static const char *const steps[] = {"do_resize", "do_center_crop", "do_normalize", "do_rescale", "do_convert_rgb"};
    int64_t crop = 0;
    if (!json_is_object(root))
        return ammpli_fail(AMMPL_E_FORMAT, "%s: is not an object", name);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (json_is_false(json_object_get(root, steps[i])))
            return other(name, "", steps[i]);
    const json_t *filter = json_object_get(root, "resample"), *factor = json_object_get(root, "rescale_factor");
    if (filter && !json_is_null(filter) && !(json_is_integer(filter) && json_integer_value(filter) == 3)) /* Pillow's BICUBIC */
        return other(name, "", "resample");
    if (factor && !json_is_null(factor) && !(fabs(json_number_value(factor) * 255 - 1) < 1e-6))
        return other(name, "", "rescale_factor");
    TRY(hf_size(root, "size", false, name, &c->size));
    TRY(hf_size(root, "crop_size", true, name, &crop));
    if (c->size && crop && c->size != crop)
        return other(name, "", "crop_size");
    if (crop)
        c->size = crop;
    TRY(three(root, "", "image_mean", name, false, c->mean));
    TRY(three(root, "", "image_std", name, true, c->std));
    c->has_preprocess = true;
    return AMMPL_OK;
}

ammpl_status ammpli_preprocess_hf(const char *text, size_t n, const char *name, ammpli_model_config *c)
{
    json_t *root;
    TRY(ammpli_json_parse(text, n, 16, name, "its text", &root));
    ammpl_status status = parse_hf(root, name, c);
    json_decref(root);
    return status;
}
