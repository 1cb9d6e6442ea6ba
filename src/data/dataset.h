/* dataset.h - labelled pictures: pixels held here, or files opened when they are used. */
#ifndef AMMPLI_DATASET_H
#define AMMPLI_DATASET_H

#include "core/core.h"
#include "core/digest.h"
#include "data/image.h"

typedef struct ammpli_item {
    int32_t label;
    uint32_t id;        /* index in the listed order of the whole set: keys every random draw */
    char *path;         /* NULL for pixels */
    ammpl_image *image; /* NULL for files */
} ammpli_item;

struct ammpl_dataset {
    ammpli_ref ref;
    ammpl_context *ctx; /* held */
    size_t classes, count, cap;
    char **class_name; /* [classes] */
    ammpli_item *item; /* [count] */
};

/* Names are what labels, reports and prompts are matched by: n >= 1 of them, none empty, none twice, or AMMPL_E_ARGUMENT
 * with a sentence that begins with `what`. */
ammpl_status ammpli_check_class_names(ammpl_context *ctx, const char *what, const char *const *names, size_t n);
ammpl_status ammpli_dataset_create(ammpl_context *ctx, const char *const *names, size_t n, ammpl_dataset **out);
ammpl_dataset *ammpli_dataset_hold(ammpl_dataset *ds);
void ammpli_dataset_release(ammpl_dataset *ds);
/* Shares img (pixels, which nobody writes any more) or copies path; exactly one is not NULL. */
ammpl_status ammpli_dataset_add(ammpl_dataset *ds, const ammpl_image *img, const char *path, int32_t label,
                                uint32_t id);
/* An item's picture, by itself; least: as ammpli_image_decode_at_least, of files. */
ammpl_status ammpli_item_load(ammpl_context *ctx, const ammpli_item *item, int32_t least, ammpl_image **out);
/* Item i's picture: decoded now, or shared where it is held as pixels. */
ammpl_status ammpli_dataset_load_image(const ammpl_dataset *ds, size_t i, ammpl_image **out);
/* The same with the digest of the bytes that it was decoded from, or of the pixels and their size; out may be NULL: the
 * digest alone. */
ammpl_status ammpli_dataset_load_digest(const ammpl_dataset *ds, size_t i, int32_t least, ammpli_digest *digest, ammpl_image **out);
/* Every class has an image, or AMMPL_E_LABEL naming the first that has none. */
ammpl_status ammpli_dataset_check_filled(const ammpl_dataset *ds, const char *what);
ammpl_status ammpli_dataset_open_folder(ammpl_context *ctx, const char *dir, const char *part, ammpl_dataset **out);
ammpl_status ammpli_dataset_open_split(ammpl_context *ctx, const char *root, const char *json, const char *part,
                                       ammpl_dataset **out);
/* split_writer.c: parts that are NULL become empty lists; all others have the same classes. */
ammpl_status ammpli_dataset_save_split(const ammpl_dataset *train, const ammpl_dataset *val, const ammpl_dataset *test,
                                       const char *root, const char *path, bool overwrite);
ammpl_status ammpli_dataset_select_shots(const ammpl_dataset *ds, int32_t shots, uint64_t seed, ammpl_dataset **out);
ammpl_status ammpli_dataset_select_classes(const ammpl_dataset *ds, const int32_t *classes, size_t n,
                                           ammpl_dataset **out);
/* dassl.c: by the sampler and the seed of cfg; val and few_val may both be NULL / the first ceil(C/2) classes or the rest. */
ammpl_status ammpli_dataset_select_few(const ammpl_dataset *train, const ammpl_dataset *val, int32_t shots,
                                       const ammpl_config *cfg, ammpl_dataset **few_train, ammpl_dataset **few_val);
ammpl_status ammpli_dataset_select_half(const ammpl_dataset *ds, bool second, ammpl_dataset **out);

#endif
