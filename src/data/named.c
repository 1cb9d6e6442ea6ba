/* named.c - the nine data sets of the published runs: where their files lie, and which of two ways they are read. */
#include "data/named.h"

#include "core/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

typedef struct named {
    const char *name;          /* in the paper's tables */
    const char *dassl;         /* in the published configs and split files */
    const char *folder;        /* below the root */
    const char *images;        /* below the folder: where the split file's paths start */
    const char *text_template; /* methods.md 5.1 */
    bool has_split;            /* split_zhou_DASSL.json was published */
    ammpl_status (*build)(ammpli_draft *d);
    const char *sources; /* what is read where there is no split file */
} named;

static const named table[] = {
    {"Caltech101", "Caltech101", "caltech-101", "101_ObjectCategories", "a photo of a {}.", true, ammpli_build_caltech101,
     "the class folders in 101_ObjectCategories"},
    {"DTD", "DescribableTextures", "dtd", "images", "{} texture.", true, ammpli_build_folders, "the class folders in images"},
    {"EuroSAT", "EuroSAT", "eurosat", "2750", "a centered satellite photo of {}.", true, ammpli_build_eurosat,
     "the class folders in 2750"},
    {"FGVCAircraft", "FGVCAircraft", "fgvc_aircraft", "images", "a photo of a {}, a type of aircraft.", false,
     ammpli_build_aircraft, "variants.txt and images_variant_train.txt, images_variant_val.txt, images_variant_test.txt"},
    {"Flowers102", "OxfordFlowers", "oxford_flowers", "jpg", "a photo of a {}, a type of flower.", true, ammpli_build_flowers,
     "imagelabels.mat and cat_to_name.json"},
    {"Food101", "Food101", "food-101", "images", "a photo of {}, a type of food.", true, ammpli_build_folders,
     "the class folders in images"},
    {"OxfordPets", "OxfordPets", "oxford_pets", "images", "a photo of a {}, a type of pet.", true, ammpli_build_pets,
     "annotations/trainval.txt and annotations/test.txt"},
    {"SUN397", "SUN397", "sun397", "SUN397", "a photo of a {}.", true, ammpli_build_sun397,
     "ClassName.txt, Training_01.txt and Testing_01.txt"},
    {"UCF101", "UCF101", "ucf101", "UCF-101-midframes", "a photo of a person doing {}.", true, ammpli_build_ucf101,
     "classInd.txt, trainlist01.txt and testlist01.txt in ucfTrainTestlist"},
};
enum { COUNT = sizeof table / sizeof table[0] };

size_t ammpli_named_count(void)
{
    return COUNT;
}

bool ammpli_named_at(size_t i, const char **name, const char **folder, const char **text_template)
{
    if (i >= COUNT)
        return false;
    if (name)
        *name = table[i].name;
    if (folder)
        *folder = table[i].folder;
    if (text_template)
        *text_template = table[i].text_template;
    return true;
}

/* ---- names ---- */

/* The same letters and digits, whatever their case and what stands between them. */
static bool same_name(const char *a, const char *b)
{
    for (;; a++, b++) {
        while (*a && !isalnum((unsigned char)*a))
            a++;
        while (*b && !isalnum((unsigned char)*b))
            b++;
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
            return false;
        if (!*a)
            return true;
    }
}

ammpl_status ammpli_named_find(const char *name, size_t *out)
{
    const char *names[COUNT];
    char list[256] = "";
    for (size_t i = 0; i < COUNT; i++) {
        const named *n = &table[i];
        if (same_name(name, n->name) || same_name(name, n->dassl) || same_name(name, n->folder)) {
            *out = i;
            return AMMPL_OK;
        }
        names[i] = n->name;
        size_t at = strlen(list);
        snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", n->name);
    }
    return ammpli_fail(AMMPL_E_OPTION, "there is no data set \"%.64s\"; the nearest is \"%s\", all are: %s", name,
                       ammpli_nearest(name, names, COUNT), list);
}

/* ---- the two ways ---- */

/* What opening one part needs. */
typedef struct opening {
    ammpl_context *ctx;
    const named *set;
    const char *part;
    char *base, *images, *split;
} opening;

static ammpl_status find_base(opening *o, const char *root)
{
    ammpl_status status = AMMPL_OK;
    bool below = ammpli_has_folder(o->ctx, root, o->set->folder, &status);
    TRY(status);
    o->base = below ? ammpli_path_join(o->ctx, root, o->set->folder) : ammpli_strdup(o->ctx, root);
    char file[64];
    snprintf(file, sizeof file, "split_zhou_%s.json", o->set->dassl);
    if (o->base) {
        o->images = ammpli_path_join(o->ctx, o->base, o->set->images);
        o->split = ammpli_path_join(o->ctx, o->base, file);
    }
    if (!o->images || !o->split)
        return AMMPL_E_MEMORY;
    if (!ammpli_path_is_folder(o->images))
        return ammpli_fail(AMMPL_E_IO, "%s: the pictures are expected in %s/%s below the root %s (or in %s, were that the data set's "
                                       "own folder); there is no such folder",
                           o->set->name, o->set->folder, o->set->images, root, o->images);
    return AMMPL_OK;
}

static ammpl_status dataset_of(const ammpli_draft *d, int part, ammpl_dataset **out)
{
    TRY(ammpli_dataset_create(d->ctx, (const char *const *)d->name.item, d->name.count, out));
    for (size_t i = 0; i < d->count; i++)
        if (d->item[i].part == part)
            TRY(ammpli_dataset_add(*out, NULL, d->item[i].path, d->item[i].label, (uint32_t)(*out)->count));
    return AMMPL_OK;
}

/* A file is missing: the sentence that names it, and what would do. */
static ammpl_status explain(const opening *o)
{
    char cause[512];
    snprintf(cause, sizeof cause, "%s", ammpli_error_text());
    ammpli_clear_error();
    return ammpli_fail(AMMPL_E_IO, "%s (%s needs %s%s%s in %s)", cause, o->set->name, o->set->has_split ? strrchr(o->split, '/') + 1 : "",
                       o->set->has_split ? ", or " : "", o->set->sources, o->base);
}

static ammpl_status build(const opening *o, int part, ammpl_dataset **out)
{
    ammpli_draft d = {.ctx = o->ctx, .base = o->base, .images = o->images, .name = {.ctx = o->ctx}};
    ammpl_status status = o->set->build(&d);
    if (status == AMMPL_E_IO)
        status = explain(o);
    if (status == AMMPL_OK && d.name.count == 0)
        status = ammpli_fail(AMMPL_E_FORMAT, "%s: no classes found in %s; expected %s", o->set->name, o->base, o->set->sources);
    if (status == AMMPL_OK)
        status = dataset_of(&d, part, out);
    if (status == AMMPL_OK && (*out)->count == 0)
        status = ammpli_fail(AMMPL_E_FORMAT, "%s: no images in the part \"%s\" of %s (read from %s)", o->set->name, o->part, o->base,
                             o->set->sources);
    ammpli_draft_free(&d);
    return status == AMMPL_E_ARGUMENT ? AMMPL_E_LABEL : status; /* class names: the files' fault, not the caller's */
}

/* A list may name pictures that were never unpacked: found out now, not after an hour. */
static ammpl_status check_files(const opening *o, const ammpl_dataset *ds)
{
    struct stat st;
    for (size_t i = 0; i < ds->count; i++)
        if (stat(ds->item[i].path, &st) != 0)
            return ammpli_fail(AMMPL_E_IO, "%s: %s: %s, but it is listed for the part \"%s\" (image %zu of %zu)", o->set->name,
                               ds->item[i].path, strerror(errno), o->part, i + 1, ds->count);
    return AMMPL_OK;
}

static ammpl_status open_part(opening *o, const char *name, const char *root, ammpl_dataset **out)
{
    static const char *const parts[] = {"train", "val", "test"};
    int part = 0;
    while (part < 3 && strcmp(parts[part], o->part) != 0)
        part++;
    if (part == 3)
        return ammpli_fail(AMMPL_E_ARGUMENT, "part \"%s\": the parts are train, val and test", o->part);
    size_t i;
    TRY(ammpli_named_find(name, &i));
    o->set = &table[i];
    TRY(find_base(o, root));
    struct stat st;
    if (o->set->has_split && stat(o->split, &st) == 0) {
        TRY(ammpli_dataset_open_split(o->ctx, o->images, o->split, o->part, out));
    } else {
        TRY(build(o, part, out));
        if (o->set->has_split)
            ammpli_log(o->ctx, AMMPL_LEVEL_WARN, "%s: there is no %s; the parts are made from %s, and are not those of the published runs",
                       o->set->name, o->split, o->set->sources);
    }
    return check_files(o, *out);
}

ammpl_status ammpli_dataset_open_named(ammpl_context *ctx, const char *name, const char *root, const char *part,
                                       ammpl_dataset **out)
{
    *out = NULL;
    opening o = {.ctx = ctx, .part = part};
    ammpl_status status = open_part(&o, name, root, out);
    ammpli_free(ctx, o.base);
    ammpli_free(ctx, o.images);
    ammpli_free(ctx, o.split);
    if (status < 0) {
        ammpli_dataset_release(*out);
        *out = NULL;
    }
    return status;
}
