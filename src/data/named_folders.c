/* named_folders.c - data sets that are a folder of pictures per class: Food101, DTD, Caltech101, EuroSAT.
 *
 * The published runs divided each class's files in whatever order the file system listed them, so that only their split JSON
 * has their parts.  Here files are taken in the order of their bytes.
 */
#include "data/named.h"

#include <string.h>

typedef struct rename {
    const char *folder, *name; /* name NULL: left out */
} rename;

/* The class name of a folder, NULL where it is left out. */
static const char *name_of(const rename *renames, const char *folder)
{
    for (; renames->folder; renames++)
        if (strcmp(renames->folder, folder) == 0)
            return renames->name;
    return folder;
}

static ammpl_status add_class(ammpli_draft *d, const char *folder, const char *name)
{
    int32_t label = (int32_t)d->name.count;
    char *path = ammpli_path_join(d->ctx, d->images, folder);
    if (!path)
        return AMMPL_E_MEMORY;
    ammpli_strings picture = {.ctx = d->ctx};
    ammpl_status status = ammpli_draft_class(d, name);
    if (status == AMMPL_OK)
        status = ammpli_list_pictures(&picture, path);
    if (status == AMMPL_OK && picture.count == 0)
        status = ammpli_fail(AMMPL_E_LABEL, "%s: no .jpg, .jpeg or .png file in this class's folder", path);
    for (size_t i = 0; i < picture.count && status == AMMPL_OK; i++) {
        char *below = ammpli_path_join(d->ctx, folder, picture.item[i]);
        status = below ? ammpli_draft_add(d, below, label, AMMPLI_TRAIN) : AMMPL_E_MEMORY;
        ammpli_free(d->ctx, below);
    }
    ammpli_strings_free(&picture);
    ammpli_free(d->ctx, path);
    return status;
}

static ammpl_status build(ammpli_draft *d, const rename *renames)
{
    static const ammpli_division halves = {AMMPLI_TRAIN, {0.5, 0.2}, {AMMPLI_TRAIN, AMMPLI_VAL, AMMPLI_TEST}};
    ammpli_strings folder = {.ctx = d->ctx};
    ammpl_status status = ammpli_list_folders(&folder, d->images);
    for (size_t i = 0; i < folder.count && status == AMMPL_OK; i++) {
        const char *name = name_of(renames, folder.item[i]);
        if (name)
            status = add_class(d, folder.item[i], name);
    }
    ammpli_strings_free(&folder);
    return status == AMMPL_OK ? ammpli_draft_divide(d, &halves) : status;
}

ammpl_status ammpli_build_folders(ammpli_draft *d)
{
    static const rename none[] = {{NULL, NULL}};
    return build(d, none);
}

ammpl_status ammpli_build_caltech101(ammpli_draft *d)
{
    static const rename renames[] = {{"BACKGROUND_Google", NULL},   {"Faces_easy", NULL},      {"airplanes", "airplane"},
                                     {"Faces", "face"},             {"Leopards", "leopard"},   {"Motorbikes", "motorbike"},
                                     {NULL, NULL}};
    return build(d, renames);
}

ammpl_status ammpli_build_eurosat(ammpli_draft *d)
{
    static const rename renames[] = {{"AnnualCrop", "Annual Crop Land"},
                                     {"Forest", "Forest"},
                                     {"HerbaceousVegetation", "Herbaceous Vegetation Land"},
                                     {"Highway", "Highway or Road"},
                                     {"Industrial", "Industrial Buildings"},
                                     {"Pasture", "Pasture Land"},
                                     {"PermanentCrop", "Permanent Crop Land"},
                                     {"Residential", "Residential Buildings"},
                                     {"River", "River"},
                                     {"SeaLake", "Sea or Lake"},
                                     {NULL, NULL}};
    return build(d, renames);
}
