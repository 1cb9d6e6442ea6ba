/* named_lists.c - data sets whose parts stand in text files: OxfordPets, Flowers102, FGVCAircraft, UCF101, SUN397. */
#include "data/mat5.h"
#include "data/named.h"
#include "io/json.h"
#include "io/safetensors.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The published runs held out a fifth of what is for training. */
static const ammpli_division trainval = {AMMPLI_TRAIN, {0.2, 0}, {AMMPLI_VAL, AMMPLI_TRAIN, AMMPLI_TRAIN}};

/* ---- lines ---- */

/* What to do with one line; it may be changed. */
typedef ammpl_status (*line_fn)(ammpli_draft *d, const char *file, char *line, int part, void *user);

/* Calls fn with every line of base/name. */
static ammpl_status each_line(ammpli_draft *d, const char *name, int part, line_fn fn, void *user)
{
    char *path = ammpli_path_join(d->ctx, d->base, name);
    if (!path)
        return AMMPL_E_MEMORY;
    ammpli_strings line = {.ctx = d->ctx};
    ammpl_status status = ammpli_list_lines(&line, path);
    for (size_t i = 0; i < line.count && status == AMMPL_OK; i++)
        status = fn(d, path, line.item[i], part, user);
    ammpli_strings_free(&line);
    ammpli_free(d->ctx, path);
    return status;
}

static ammpl_status wrong_line(const char *file, const char *line, const char *expected)
{
    return ammpli_fail(AMMPL_E_FORMAT, "%s: \"%.100s\" is not \"%s\"", file, line, expected);
}

/* Cuts the text at its first blank and returns what follows the blanks, or NULL when there is nothing. */
static char *cut(char *text)
{
    char *blank = text + strcspn(text, " \t");
    if (!*blank)
        return NULL;
    *blank = '\0';
    return blank + 1 + strspn(blank + 1, " \t");
}

/* A label written from 1 on; false when it is none. */
static bool read_label(const char *text, int32_t *label)
{
    char *end;
    long value = strtol(text, &end, 10);
    *label = (int32_t)(value - 1);
    return end != text && (*end == '\0' || *end == ' ' || *end == '\t') && value >= 1 && value <= 100000;
}

static int32_t find(const ammpli_strings *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->item[i], text) == 0)
            return (int32_t)i;
    return -1;
}

/* The picture folder/name, its last `drop` letters replaced by .jpg. */
static ammpl_status add_picture(ammpli_draft *d, const char *folder, const char *name, size_t drop, int32_t label, int part)
{
    size_t n = strlen(name), room = strlen(folder) + n + 8;
    char *below = ammpli_alloc(d->ctx, room, 1);
    if (!below)
        return AMMPL_E_MEMORY;
    snprintf(below, room, "%s%s%.*s.jpg", folder, folder[0] ? "/" : "", (int)(n - drop), name);
    ammpl_status status = ammpli_draft_add(d, below, label, part);
    ammpli_free(d->ctx, below);
    return status;
}

/* Label's class name; classes may come in any order, but each needs to come. */
static ammpl_status name_label(ammpli_draft *d, const char *file, int32_t label, const char *name)
{
    while (d->name.count <= (size_t)label)
        TRY(ammpli_draft_class(d, ""));
    char **known = &d->name.item[label];
    if (**known && strcmp(*known, name) != 0)
        return ammpli_fail(AMMPL_E_LABEL, "%s: class %d is called \"%.60s\" and \"%.60s\"", file, (int)label + 1, *known, name);
    if (**known)
        return AMMPL_OK;
    char *copy = ammpli_strdup(d->ctx, name);
    if (!copy)
        return AMMPL_E_MEMORY;
    ammpli_free(d->ctx, *known);
    *known = copy;
    return AMMPL_OK;
}

/* ---- OxfordPets: "Abyssinian_100 1 1 1": the class is the name up to its last '_', in lower case ---- */

static ammpl_status pets_line(ammpli_draft *d, const char *file, char *line, int part, void *user)
{
    (void)user;
    int32_t label;
    char *id = cut(line), *last = strrchr(line, '_');
    if (!id || !last || last == line || !read_label(id, &label))
        return wrong_line(file, line, "NAME_NUMBER CLASS SPECIES BREED");
    TRY(add_picture(d, "", line, 0, label, part));
    *last = '\0';
    for (char *c = line; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return name_label(d, file, label, line);
}

ammpl_status ammpli_build_pets(ammpli_draft *d)
{
    TRY(each_line(d, "annotations/trainval.txt", AMMPLI_TRAIN, pets_line, NULL));
    TRY(each_line(d, "annotations/test.txt", AMMPLI_TEST, pets_line, NULL));
    return ammpli_draft_divide(d, &trainval);
}

/* ---- FGVCAircraft: classes in variants.txt, "0056978 707-320" in images_variant_*.txt ---- */

static ammpl_status class_line(ammpli_draft *d, const char *file, char *line, int part, void *user)
{
    (void)file, (void)part, (void)user;
    return ammpli_draft_class(d, line);
}

static ammpl_status aircraft_line(ammpli_draft *d, const char *file, char *line, int part, void *user)
{
    (void)user;
    const char *variant = cut(line);
    if (!variant)
        return wrong_line(file, line, "IMAGE VARIANT");
    int32_t label = find(&d->name, variant);
    if (label < 0)
        return ammpli_fail(AMMPL_E_LABEL, "%s: the variant \"%.80s\" of image %.40s is not in variants.txt", file, variant, line);
    return add_picture(d, "", line, 0, label, part);
}

ammpl_status ammpli_build_aircraft(ammpli_draft *d)
{
    TRY(each_line(d, "variants.txt", 0, class_line, NULL));
    TRY(each_line(d, "images_variant_train.txt", AMMPLI_TRAIN, aircraft_line, NULL));
    TRY(each_line(d, "images_variant_val.txt", AMMPLI_VAL, aircraft_line, NULL));
    return each_line(d, "images_variant_test.txt", AMMPLI_TEST, aircraft_line, NULL);
}

/* ---- UCF101: "1 ApplyEyeMakeup"; "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1"; folders Apply_Eye_Makeup ---- */

/* A '_' before each capital but the first: new string, or NULL when out of memory. */
static char *spaced_name(ammpl_context *ctx, const char *name)
{
    char *out = ammpli_alloc(ctx, 2 * strlen(name) + 1, 1), *to = out;
    for (const char *c = name; out && *c; c++) {
        if (c > name && isupper((unsigned char)*c))
            *to++ = '_';
        *to++ = *c;
    }
    return out;
}

static ammpl_status ucf101_class(ammpli_draft *d, const char *file, char *line, int part, void *user)
{
    (void)part, (void)user;
    int32_t label;
    const char *action = cut(line);
    if (!action || !read_label(line, &label))
        return wrong_line(file, line, "NUMBER ClassName");
    char *name = spaced_name(d->ctx, action);
    ammpl_status status = name ? name_label(d, file, label, name) : AMMPL_E_MEMORY;
    ammpli_free(d->ctx, name);
    return status;
}

static ammpl_status ucf101_line(ammpli_draft *d, const char *file, char *line, int part, void *user)
{
    (void)user;
    cut(line); /* the training list has the label behind a blank */
    char *slash = strchr(line, '/'), *dot = strrchr(line, '.');
    if (!slash || !dot || dot < slash)
        return wrong_line(file, line, "ClassName/VIDEO.avi");
    *slash = '\0';
    char *name = spaced_name(d->ctx, line);
    if (!name)
        return AMMPL_E_MEMORY;
    int32_t label = find(&d->name, name);
    ammpl_status status =
        label < 0 ? ammpli_fail(AMMPL_E_LABEL, "%s: the class \"%.80s\" is not in classInd.txt", file, line)
                  : add_picture(d, name, slash + 1, strlen(dot), label, part);
    ammpli_free(d->ctx, name);
    return status;
}

ammpl_status ammpli_build_ucf101(ammpli_draft *d)
{
    TRY(each_line(d, "ucfTrainTestlist/classInd.txt", 0, ucf101_class, NULL));
    TRY(each_line(d, "ucfTrainTestlist/trainlist01.txt", AMMPLI_TRAIN, ucf101_line, NULL));
    TRY(each_line(d, "ucfTrainTestlist/testlist01.txt", AMMPLI_TEST, ucf101_line, NULL));
    return ammpli_draft_divide(d, &trainval);
}

/* ---- SUN397: "/a/apartment_building/outdoor", "/a/apartment_building/outdoor/sun_x.jpg" ---- */

/* "outdoor apartment_building": the folders below the letter, the last one first. */
static ammpl_status sun397_class(ammpli_draft *d, const char *file, char *line, int part, void *user)
{
    (void)part;
    ammpli_strings *folders = user;
    TRY(ammpli_strings_add(folders, line, strlen(line)));
    char *below = line[0] == '/' ? strchr(line + 1, '/') : NULL;
    if (!below || !below[1])
        return wrong_line(file, line, "/LETTER/CLASS");
    size_t room = strlen(below) + 1;
    char *name = ammpli_alloc(d->ctx, room, 1);
    if (!name)
        return AMMPL_E_MEMORY;
    for (char *slash; (slash = strrchr(below, '/')); *slash = '\0') {
        ammpli_append(name, room, " ", name[0] ? 1 : 0);
        ammpli_append(name, room, slash + 1, strlen(slash + 1));
    }
    ammpl_status status = ammpli_draft_class(d, name);
    ammpli_free(d->ctx, name);
    return status;
}

static ammpl_status sun397_line(ammpli_draft *d, const char *file, char *line, int part, void *user)
{
    const ammpli_strings *folders = user;
    char *slash = strrchr(line, '/');
    if (line[0] != '/' || slash == line)
        return wrong_line(file, line, "/LETTER/CLASS/IMAGE.jpg");
    *slash = '\0';
    int32_t label = find(folders, line);
    if (label < 0)
        return ammpli_fail(AMMPL_E_LABEL, "%s: the class \"%.80s\" is not in ClassName.txt", file, line);
    *slash = '/';
    return ammpli_draft_add(d, line + 1, label, part);
}

ammpl_status ammpli_build_sun397(ammpli_draft *d)
{
    ammpli_strings folders = {.ctx = d->ctx};
    ammpl_status status = each_line(d, "ClassName.txt", 0, sun397_class, &folders);
    if (status == AMMPL_OK)
        status = each_line(d, "Training_01.txt", AMMPLI_TRAIN, sun397_line, &folders);
    if (status == AMMPL_OK)
        status = each_line(d, "Testing_01.txt", AMMPLI_TEST, sun397_line, &folders);
    ammpli_strings_free(&folders);
    return status == AMMPL_OK ? ammpli_draft_divide(d, &trainval) : status;
}

/* ---- Flowers102: imagelabels.mat and cat_to_name.json; image k is image_%05d.jpg; halves of every class train ---- */

static ammpl_status flower_names(ammpli_draft *d, const char *file, const json_t *names, int32_t classes)
{
    for (int32_t c = 0; c < classes; c++) {
        char key[16];
        snprintf(key, sizeof key, "%d", (int)c + 1);
        const char *name = json_string_value(json_object_get(names, key));
        if (!name)
            return ammpli_fail(AMMPL_E_FORMAT, "%s: no name for class \"%s\"; expected {\"1\": \"pink primrose\", ...}", file, key);
        TRY(ammpli_draft_class(d, name));
    }
    return AMMPL_OK;
}

static ammpl_status read_flower_names(ammpli_draft *d, int32_t classes)
{
    void *text = NULL;
    size_t size;
    json_t *json = NULL;
    char *path = ammpli_path_join(d->ctx, d->base, "cat_to_name.json");
    ammpl_status status = path ? ammpli_file_read(d->ctx, path, 1 << 20, &text, &size) : AMMPL_E_MEMORY;
    if (status == AMMPL_OK)
        status = ammpli_json_parse(text, size, 4, path, "this list of names", &json);
    if (status == AMMPL_OK)
        status = flower_names(d, path, json, classes);
    json_decref(json);
    ammpli_free(d->ctx, text);
    ammpli_free(d->ctx, path);
    return status;
}

static ammpl_status add_flowers(ammpli_draft *d, const char *file, const int32_t *label, size_t n)
{
    int32_t classes = 0;
    for (size_t i = 0; i < n; i++) {
        if (label[i] < 1 || (size_t)label[i] > n || n > 99999)
            return ammpli_fail(AMMPL_E_LABEL, "%s: label %d of image %zu: expected 1 to 102 for 8189 images", file,
                               (int)label[i], i + 1);
        classes = label[i] > classes ? label[i] : classes;
    }
    TRY(read_flower_names(d, classes));
    for (size_t i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "image_%05zu.jpg", i + 1);
        TRY(ammpli_draft_add(d, name, label[i] - 1, AMMPLI_TRAIN));
    }
    return AMMPL_OK;
}

ammpl_status ammpli_build_flowers(ammpli_draft *d)
{
    static const ammpli_division halves = {AMMPLI_TRAIN, {0.5, 0.2}, {AMMPLI_TRAIN, AMMPLI_VAL, AMMPLI_TEST}};
    int32_t *label = NULL;
    size_t n;
    char *path = ammpli_path_join(d->ctx, d->base, "imagelabels.mat");
    ammpl_status status = path ? ammpli_mat5_read(d->ctx, path, "labels", &label, &n) : AMMPL_E_MEMORY;
    if (status == AMMPL_OK)
        status = add_flowers(d, path, label, n);
    ammpli_free(d->ctx, label);
    ammpli_free(d->ctx, path);
    return status == AMMPL_OK ? ammpli_draft_divide(d, &halves) : status;
}
