/* test_named.c - miniatures of the nine published data sets, as they lie on disk with and without their split files: real pictures,
 * each of a colour that follows from its path.
 */
#include "support.h"

#include "data/mat5.h"
#include "data/named.h"
#include "io/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static ammpl_context *ctx;
static unsigned long long base_memory;
static char root[512]; /* a fresh folder of each case */
static char last_warning[1024];

static void on_log(void *user, ammpl_level level, const char *message)
{
    (void)user;
    if (level == AMMPL_LEVEL_WARN)
        snprintf(last_warning, sizeof last_warning, "%s", message);
}

static void set_up(void)
{
    ctx = test_context();
    ck_ok(ammpli_context_set_threads(ctx, 1));
    ck_ok(ammpl_context_set_log(ctx, AMMPL_LEVEL_WARN, on_log, NULL));
    base_memory = ctx->memory_now;
    snprintf(root, sizeof root, "%s", test_temp("root"));
    ck_assert_int_eq(mkdir(root, 0700), 0);
    last_warning[0] = '\0';
}

static void tear_down(void)
{
    ck_assert_uint_eq(ctx->memory_now, base_memory);
    ammpli_context_release(ctx);
    char command[600];
    snprintf(command, sizeof command, "rm -r '%s'", root);
    ck_assert_int_eq(system(command), 0);
}

/* ---- building blocks ---- */

static const char *under(const char *name)
{
    static char path[4][2048];
    static int next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", root, name);
    return p;
}

/* root/name, with its folders. */
static const char *with_folders(const char *name)
{
    static char path[2048];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(path, 0700);
        *p = '/';
    }
    return path;
}

static void text(const char *name, const char *content)
{
    FILE *f = fopen(with_folders(name), "w");
    ck_assert_ptr_nonnull(f);
    fputs(content, f);
    fclose(f);
}

static void copy(const char *from, const char *name)
{
    void *data;
    size_t size;
    ck_ok(ammpli_file_read(ctx, from, 1 << 20, &data, &size));
    ck_ok(ammpli_file_write(ctx, with_folders(name), data, size, false));
    ammpli_free(ctx, data);
}

/* A picture's colour: told from its path below the root. */
static void colour_of(const char *name, uint8_t rgb[3])
{
    uint32_t h = ammpli_hash(name);
    for (int i = 0; i < 3; i++)
        rgb[i] = (uint8_t)(h >> (8 * i));
}

/* A PNG of 3 x 2 pixels, whatever its name ends in: as in the originals, where some .jpg are none. */
static void picture(const char *name)
{
    ammpl_image *img;
    ck_ok(ammpli_image_create(ctx, 3, 2, &img));
    for (int i = 0; i < 6; i++)
        colour_of(name, img->pixels + 3 * i);
    ck_ok(ammpli_image_save_png(img, with_folders(name)));
    ammpli_image_destroy(img);
}

static ammpl_dataset *open_named(const char *name, const char *part)
{
    ammpl_dataset *ds;
    ck_ok(ammpli_dataset_open_named(ctx, name, root, part, &ds));
    return ds;
}

static void refused(const char *name, const char *part, ammpl_status status, const char *word)
{
    ammpl_dataset *ds;
    ck_status(ammpli_dataset_open_named(ctx, name, root, part, &ds), status, word);
    ck_assert_ptr_null(ds);
}

/* "folder/name:label ..." of all items, paths below the root without `skip`. Checks that each is the picture of its path. */
static const char *items(const ammpl_dataset *ds, const char *skip)
{
    static char out[4096];
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < ds->count; i++) {
        uint8_t rgb[3];
        ammpl_image *img;
        ck_assert(strncmp(ds->item[i].path, root, strlen(root)) == 0);
        const char *below = ds->item[i].path + strlen(root) + 1;
        colour_of(below, rgb);
        ck_ok(ammpli_dataset_load_image(ds, i, &img));
        ck_assert_msg(img->width != 3 || memcmp(img->pixels, rgb, 3) == 0, "%s has another picture's colour", below);
        ammpli_image_destroy(img);
        ck_assert_uint_eq(ds->item[i].id, i);
        ck_assert_msg(strncmp(below, skip, strlen(skip)) == 0, "%s does not begin with %s", below, skip);
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%s:%d", i ? " " : "", below + strlen(skip), (int)ds->item[i].label);
    }
    return out;
}

static const char *classes(const ammpl_dataset *ds)
{
    static char out[1024];
    size_t n = 0;
    for (size_t c = 0; c < ds->classes; c++)
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%s", c ? "," : "", ds->class_name[c]);
    return out;
}

static void check_part(const char *name, const char *part, const char *skip, const char *expected_classes,
                       const char *expected_items)
{
    ammpl_dataset *ds = open_named(name, part);
    ck_assert_str_eq(classes(ds), expected_classes);
    ck_assert_str_eq(items(ds, skip), expected_items);
    ammpli_dataset_release(ds);
}

static int count_in(const char *list, const char *item)
{
    int n = 0;
    for (const char *at = list; (at = strstr(at, item)); at += strlen(item))
        n += at[strlen(item)] == ' ' || at[strlen(item)] == '\0';
    return n;
}

/* All of these items are in exactly one of the parts, which have so many. */
static void check_divided(const char *name, const char *skip, const char *all, const size_t counts[3])
{
    static const char *const parts[] = {"train", "val", "test"};
    char lists[3][4096];
    size_t sum = 0;
    for (int p = 0; p < 3; p++) {
        lists[p][0] = '\0';
        if (counts[p] == 0)
            continue;
        ammpl_dataset *ds = open_named(name, parts[p]);
        ck_assert_msg(ds->count == counts[p], "%s has %zu images, not %zu", parts[p], ds->count, counts[p]);
        snprintf(lists[p], sizeof lists[p], "%s", items(ds, skip));
        ammpli_dataset_release(ds);
        sum += counts[p];
    }
    char list[4096];
    size_t n = 0;
    snprintf(list, sizeof list, "%s", all);
    for (char *item = strtok(list, " "); item; item = strtok(NULL, " "), n++)
        ck_assert_msg(count_in(lists[0], item) + count_in(lists[1], item) + count_in(lists[2], item) == 1, "%s is not in one part: %s | %s | %s", item,
                      lists[0], lists[1], lists[2]);
    ck_assert_uint_eq(n, sum);
}

/* ---- with their split files ---- */

static const struct {
    const char *name, *dassl, *folder, *images;
} published[] = {
    {"Caltech101", "Caltech101", "caltech-101", "101_ObjectCategories"},
    {"DTD", "DescribableTextures", "dtd", "images"},
    {"EuroSAT", "EuroSAT", "eurosat", "2750"},
    {"Flowers102", "OxfordFlowers", "oxford_flowers", "jpg"},
    {"Food101", "Food101", "food-101", "images"},
    {"OxfordPets", "OxfordPets", "oxford_pets", "images"},
    {"SUN397", "SUN397", "sun397", "SUN397"},
    {"UCF101", "UCF101", "ucf101", "UCF-101-midframes"},
};

START_TEST(split_files_are_read)
{
    char name[1024], skip[512];
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        static const char *const pictures[] = {"b/1.jpg", "a/2.jpg", "c c/3.png", "a/4.jpeg"};
        for (size_t k = 0; k < 4; k++) {
            snprintf(name, sizeof name, "%s/%s/%s", published[i].folder, published[i].images, pictures[k]);
            picture(name);
        }
        copy(test_golden("images/cmyk.jpg"), (snprintf(name, sizeof name, "%s/%s/grey.jpg", published[i].folder, published[i].images), name));
        snprintf(name, sizeof name, "%s/split_zhou_%s.json", published[i].folder, published[i].dassl);
        text(name, "{\"train\": [[\"b/1.jpg\", 1, \"b\"], [\"a/2.jpg\", 0, \"a_name\"], [\"grey.jpg\", 1, \"b\"]],"
                   " \"val\": [[\"c c/3.png\", 2, \"c\"]], \"test\": [[\"a/4.jpeg\", 0, \"a_name\"]]}");
        snprintf(skip, sizeof skip, "%s/%s/", published[i].folder, published[i].images);
        check_part(published[i].name, "train", skip, "a_name,b,c", "b/1.jpg:1 a/2.jpg:0 grey.jpg:1");
        check_part(published[i].dassl, "val", skip, "a_name,b,c", "c c/3.png:2");
        check_part(published[i].folder, "test", skip, "a_name,b,c", "a/4.jpeg:0");
        ck_assert_str_eq(last_warning, "");

        /* The data set's own folder as the root; a picture that is listed and not there. */
        ammpl_dataset *ds;
        snprintf(name, sizeof name, "%s/%s", root, published[i].folder);
        ck_ok(ammpli_dataset_open_named(ctx, published[i].name, name, "test", &ds));
        ck_assert_uint_eq(ds->count, 1);
        ammpli_dataset_release(ds);
        snprintf(name, sizeof name, "%s%s", skip, "a/4.jpeg");
        ck_assert_int_eq(remove(under(name)), 0);
        refused(published[i].name, "test", AMMPL_E_IO, "a/4.jpeg");
        ck_ok(ammpli_dataset_open_named(ctx, published[i].name, root, "val", &ds));
        ammpli_dataset_release(ds);
    }
}
END_TEST

/* ---- without: from their own lists ---- */

static void pictures(const char *folder, const char *const *names, const char *suffix)
{
    char path[256];
    for (; *names; names++) {
        snprintf(path, sizeof path, "%s/%s%s", folder, *names, suffix);
        picture(path);
    }
}
#define PICTURES(folder, suffix, ...) pictures(folder, (const char *const[]){__VA_ARGS__, NULL}, suffix)
#define COUNTS(...) ((const size_t[3]){__VA_ARGS__})

START_TEST(pets)
{
    PICTURES("oxford_pets/images", ".jpg", "Abyssinian_1", "Abyssinian_22", "Abyssinian_3", "american_bulldog_1", "american_bulldog_2",
             "american_bulldog_3", "Maine_Coon_9", "Maine_Coon_10");
    text("oxford_pets/annotations/trainval.txt", "american_bulldog_1 2 2 1\nAbyssinian_22 1 1 1\r\namerican_bulldog_3 2 2 1\n"
                                                 "Abyssinian_1 1 1 1\nAbyssinian_3 1 1 1\n");
    text("oxford_pets/annotations/test.txt", "Maine_Coon_9 3 1 2\namerican_bulldog_2 2 2 1\nMaine_Coon_10 3 1 2\n");
    check_part("OxfordPets", "test", "oxford_pets/images/", "abyssinian,american_bulldog,maine_coon",
               "Maine_Coon_9.jpg:2 american_bulldog_2.jpg:1 Maine_Coon_10.jpg:2");
    ck_assert_ptr_nonnull(strstr(last_warning, "split_zhou_OxfordPets.json"));
    check_divided("oxford-pets", "oxford_pets/images/",
                  "american_bulldog_1.jpg:1 Abyssinian_22.jpg:0 american_bulldog_3.jpg:1 Abyssinian_1.jpg:0 Abyssinian_3.jpg:0 "
                  "Maine_Coon_9.jpg:2 american_bulldog_2.jpg:1 Maine_Coon_10.jpg:2",
                  COUNTS(4, 1, 3));
    text("oxford_pets/annotations/test.txt", "Maine_Coon_9 2 1 2\n");
    refused("OxfordPets", "test", AMMPL_E_LABEL, "\"american_bulldog\" and \"maine_coon\"");
    text("oxford_pets/annotations/test.txt", "Maine_Coon_9\n");
    refused("OxfordPets", "test", AMMPL_E_FORMAT, "NAME_NUMBER CLASS SPECIES BREED");
    text("oxford_pets/annotations/test.txt", "Maine_Coon_9 4 1 2\n");
    refused("OxfordPets", "test", AMMPL_E_LABEL, "class 2 has an empty name");
    remove(under("oxford_pets/annotations/test.txt"));
    refused("OxfordPets", "test", AMMPL_E_IO, "annotations/test.txt: cannot be opened");
    refused("OxfordPets", "train", AMMPL_E_IO, "split_zhou_OxfordPets.json, or annotations/trainval.txt and annotations/test.txt");
}
END_TEST

START_TEST(flowers)
{
    static const int label[] = {3, 3, 1, 1, 1, 2, 2, 2, 2, 3, 1, 2, 3, 1, 2, 2, 2, 2, 2, 1, 1, 3, 3}; /* of golden/mat/labels.mat */
    char path[64], all[2048];
    size_t n = 0;
    for (int i = 0; i < 23; i++) {
        snprintf(path, sizeof path, "oxford_flowers/jpg/image_%05d.jpg", i + 1);
        picture(path);
        n += (size_t)snprintf(all + n, sizeof all - n, "%simage_%05d.jpg:%d", i ? " " : "", i + 1, label[i] - 1);
    }
    copy(test_golden("mat/labels.mat"), "oxford_flowers/imagelabels.mat");
    refused("Flowers102", "train", AMMPL_E_IO, "cat_to_name.json");
    text("oxford_flowers/cat_to_name.json", "{\"2\": \"hard-leaved pocket orchid\", \"1\": \"pink primrose\"}");
    refused("Flowers102", "train", AMMPL_E_FORMAT, "no name for class \"3\"");
    text("oxford_flowers/cat_to_name.json", "{\"2\": \"hard-leaved pocket orchid\", \"1\": \"pink primrose\", \"3\": \"sweet pea\"}");
    /* 6 of class 3: 3 + 1 + 2; 7 of class 1: 3.5 -> 4, 1.4 -> 1, 2; 10 of class 2: 5 + 2 + 3 */
    check_divided("Oxford Flowers", "oxford_flowers/jpg/", all, COUNTS(12, 4, 7));
    ammpl_dataset *ds = open_named("Flowers102", "test");
    ck_assert_str_eq(classes(ds), "pink primrose,hard-leaved pocket orchid,sweet pea");
    ck_assert_int_eq(ds->item[0].label, 2); /* the class that the labels show first */
    ammpli_dataset_release(ds);
    copy(test_golden("mat/half.mat"), "oxford_flowers/imagelabels2.mat");
    ck_assert_int_eq(rename(under("oxford_flowers/imagelabels2.mat"), under("oxford_flowers/imagelabels.mat")), 0);
    refused("Flowers102", "train", AMMPL_E_FORMAT, "0.5");
}
END_TEST

START_TEST(aircraft)
{
    PICTURES("fgvc_aircraft/images", ".jpg", "0000001", "0000002", "0000003", "0000004", "0000005");
    text("fgvc_aircraft/variants.txt", "707-320\nMetroliner of two words\nA300B4\n");
    text("fgvc_aircraft/images_variant_train.txt", "0000003 A300B4\n0000001 Metroliner of two words\n");
    text("fgvc_aircraft/images_variant_val.txt", "0000002 707-320\n");
    text("fgvc_aircraft/images_variant_test.txt", "0000005 707-320\n0000004 A300B4\n");
    const char *names = "707-320,Metroliner of two words,A300B4";
    check_part("FGVCAircraft", "train", "fgvc_aircraft/images/", names, "0000003.jpg:2 0000001.jpg:1");
    check_part("fgvc_aircraft", "val", "fgvc_aircraft/images/", names, "0000002.jpg:0");
    check_part("FGVC-Aircraft", "test", "fgvc_aircraft/images/", names, "0000005.jpg:0 0000004.jpg:2");
    ck_assert_str_eq(last_warning, ""); /* these are the published parts */
    text("fgvc_aircraft/images_variant_val.txt", "0000002 707-321\n");
    refused("FGVCAircraft", "val", AMMPL_E_LABEL, "707-321");
    remove(under("fgvc_aircraft/images_variant_test.txt"));
    text("fgvc_aircraft/images_variant_val.txt", "0000002 707-320\n");
    refused("FGVCAircraft", "test", AMMPL_E_IO, "FGVCAircraft needs variants.txt");
}
END_TEST

START_TEST(ucf101)
{
    PICTURES("ucf101/UCF-101-midframes/Yo_Yo", ".jpg", "v_YoYo_g01_c01", "v_YoYo_g01_c02", "v_YoYo_g08_c01");
    PICTURES("ucf101/UCF-101-midframes/Apply_Eye_Makeup", ".jpg", "v_ApplyEyeMakeup_g01_c01", "v_ApplyEyeMakeup_g08_c01");
    text("ucf101/ucfTrainTestlist/classInd.txt", "1 ApplyEyeMakeup\n2 YoYo\n");
    text("ucf101/ucfTrainTestlist/trainlist01.txt", "YoYo/v_YoYo_g08_c01.avi 2\nApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\n");
    text("ucf101/ucfTrainTestlist/testlist01.txt",
         "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\r\nYoYo/v_YoYo_g01_c02.avi\r\nYoYo/v_YoYo_g01_c01.avi\r\n");
    check_part("UCF101", "train", "ucf101/UCF-101-midframes/", "Apply_Eye_Makeup,Yo_Yo",
               "Yo_Yo/v_YoYo_g08_c01.jpg:1 Apply_Eye_Makeup/v_ApplyEyeMakeup_g08_c01.jpg:0");
    check_part("UCF101", "test", "ucf101/UCF-101-midframes/", "Apply_Eye_Makeup,Yo_Yo",
               "Apply_Eye_Makeup/v_ApplyEyeMakeup_g01_c01.jpg:0 Yo_Yo/v_YoYo_g01_c02.jpg:1 Yo_Yo/v_YoYo_g01_c01.jpg:1");
    refused("UCF101", "val", AMMPL_E_FORMAT, "no images in the part \"val\""); /* a fifth of one rounds to none */
    text("ucf101/ucfTrainTestlist/testlist01.txt", "Archery/v_Archery_g01_c01.avi\n");
    refused("UCF101", "test", AMMPL_E_LABEL, "\"Archery\" is not in classInd.txt");
}
END_TEST

START_TEST(sun397)
{
    PICTURES("sun397/SUN397/a/abbey", ".jpg", "sun_1", "sun_2", "sun_3");
    PICTURES("sun397/SUN397/a/apartment_building/outdoor", ".jpg", "sun_4", "sun_5");
    text("sun397/ClassName.txt", "/a/abbey\n/a/apartment_building/outdoor\n");
    text("sun397/Training_01.txt", "/a/abbey/sun_3.jpg\n/a/abbey/sun_1.jpg\n/a/apartment_building/outdoor/sun_5.jpg\n/a/abbey/sun_2.jpg\n");
    text("sun397/Testing_01.txt", "/a/apartment_building/outdoor/sun_4.jpg\n");
    check_part("SUN397", "test", "sun397/SUN397/a/", "abbey,outdoor apartment_building", "apartment_building/outdoor/sun_4.jpg:1");
    check_divided("sun_397", "sun397/SUN397/a/",
                  "abbey/sun_1.jpg:0 abbey/sun_2.jpg:0 abbey/sun_3.jpg:0 apartment_building/outdoor/sun_5.jpg:1 "
                  "apartment_building/outdoor/sun_4.jpg:1",
                  COUNTS(3, 1, 1));
    text("sun397/Testing_01.txt", "/a/abbay/sun_4.jpg\n");
    refused("SUN397", "test", AMMPL_E_LABEL, "\"/a/abbay\"");
}
END_TEST

/* ---- without: from a folder for each class ---- */

START_TEST(folders)
{
    static const char *const set[][2] = {{"Food101", "food-101/images"}, {"DTD", "dtd/images"}};
    for (size_t i = 0; i < 2; i++) {
        char folder[64], skip[64];
        snprintf(folder, sizeof folder, "%s/apple_pie", set[i][1]);
        PICTURES(folder, ".jpg", "5", "10", "2", "30", "41");
        snprintf(folder, sizeof folder, "%s/baklava", set[i][1]);
        PICTURES(folder, ".jpg", "1", "2", "3", "4", "6", "7", "8");
        snprintf(skip, sizeof skip, "%s/", set[i][1]);
        /* 5: 2.5 -> 2, 1, 2; 7: 3.5 -> 4, 1.4 -> 1, 2 */
        check_divided(set[i][0], skip,
                      "apple_pie/5.jpg:0 apple_pie/10.jpg:0 apple_pie/2.jpg:0 apple_pie/30.jpg:0 apple_pie/41.jpg:0 baklava/1.jpg:1 "
                      "baklava/2.jpg:1 baklava/3.jpg:1 baklava/4.jpg:1 baklava/6.jpg:1 baklava/7.jpg:1 baklava/8.jpg:1",
                      COUNTS(6, 2, 4));
        ck_assert_ptr_nonnull(strstr(last_warning, "not those of the published runs"));
    }
    ck_assert_int_eq(mkdir(under("dtd/images/empty"), 0700), 0);
    refused("DTD", "train", AMMPL_E_LABEL, "dtd/images/empty");
}
END_TEST

START_TEST(caltech101)
{
    PICTURES("caltech-101/101_ObjectCategories/BACKGROUND_Google", ".jpg", "1");
    PICTURES("caltech-101/101_ObjectCategories/Faces_easy", ".jpg", "1");
    PICTURES("caltech-101/101_ObjectCategories/Faces", ".jpg", "1", "2");
    PICTURES("caltech-101/101_ObjectCategories/Motorbikes", ".jpg", "1", "2");
    PICTURES("caltech-101/101_ObjectCategories/Leopards", ".jpg", "1", "2");
    PICTURES("caltech-101/101_ObjectCategories/accordion", ".jpg", "1", "2");
    PICTURES("caltech-101/101_ObjectCategories/airplanes", ".jpg", "1", "2");
    ammpl_dataset *ds = open_named("caltech 101", "train");
    ck_assert_str_eq(classes(ds), "face,leopard,motorbike,accordion,airplane");
    ck_assert_uint_eq(ds->count, 5);
    ck_assert_ptr_nonnull(strstr(items(ds, "caltech-101/101_ObjectCategories/"), "airplanes/"));
    ammpli_dataset_release(ds);
    refused("caltech 101", "val", AMMPL_E_FORMAT, "no images");
}
END_TEST

START_TEST(eurosat)
{
    static const char *const folder[] = {"AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial",
                                         "Pasture",    "PermanentCrop", "Residential", "River", "SeaLake"};
    char path[64];
    for (int i = 0; i < 10; i++) {
        snprintf(path, sizeof path, "eurosat/2750/%s", folder[i]);
        PICTURES(path, ".jpg", "a_1", "a_2");
    }
    ammpl_dataset *ds = open_named("EuroSAT", "test");
    ck_assert_str_eq(classes(ds), "Annual Crop Land,Forest,Herbaceous Vegetation Land,Highway or Road,Industrial Buildings,Pasture Land,"
                                  "Permanent Crop Land,Residential Buildings,River,Sea or Lake");
    ck_assert_uint_eq(ds->count, 10);
    ck_assert_int_eq(ds->item[9].label, 9);
    ammpli_dataset_release(ds);
}
END_TEST

/* ---- what is not there ---- */

START_TEST(odd_layouts)
{
    refused("OxfordPet", "train", AMMPL_E_OPTION, "the nearest is \"OxfordPets\", all are: Caltech101, DTD");
    refused("OxfordPets", "training", AMMPL_E_ARGUMENT, "train, val and test");
    const char *name, *folder;
    ck_assert_uint_eq(ammpli_named_count(), 9);
    for (size_t i = 0; ammpli_named_at(i, &name, &folder, NULL); i++) {
        char place[128], own[1024];
        refused(name, "train", AMMPL_E_IO, "there is no such folder");
        snprintf(place, sizeof place, "%s/", folder);
        refused(name, "train", AMMPL_E_IO, place); /* says where it looked */
        ck_assert_int_eq(mkdir(under(folder), 0700), 0);
        snprintf(own, sizeof own, "%s/%s/", root, folder);
        refused(name, "train", AMMPL_E_IO, own);
    }
    text("dtd/images/not a folder", "");
    refused("DTD", "train", AMMPL_E_FORMAT, "no classes found");
    ck_assert_int_eq(mkdir(under("oxford_pets/images"), 0700), 0);
    refused("OxfordPets", "train", AMMPL_E_IO, "oxford_pets/annotations/trainval.txt");
    text("oxford_pets/split_zhou_OxfordPets.json", "{\"train\": [[\"x.jpg\", 0");
    refused("OxfordPets", "train", AMMPL_E_FORMAT, "split_zhou_OxfordPets.json: this split file is damaged");
}
END_TEST

START_TEST(templates)
{
    const char *name, *text_template;
    size_t i = 0;
    for (; ammpli_named_at(i, &name, NULL, &text_template); i++) {
        ck_assert_ptr_nonnull(strstr(text_template, "{}"));
        if (strcmp(name, "Food101") == 0)
            ck_assert_str_eq(text_template, "a photo of {}, a type of food.");
        if (strcmp(name, "DTD") == 0)
            ck_assert_str_eq(text_template, "{} texture.");
    }
    ck_assert_uint_eq(i, 9);
}
END_TEST

/* ---- memory that runs out: at any request, and then nothing is left over ---- */

static long requests_left;

static void *counted_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    return requests_left-- > 0 ? aligned_alloc(align, (size + align - 1) / align * align) : NULL;
}

static void counted_release(void *user, void *ptr, size_t size)
{
    (void)user, (void)size;
    free(ptr);
}

START_TEST(memory_runs_out)
{
    static const char *const names[] = {"OxfordPets", "Flowers102", "UCF101", "SUN397", "DTD"};
    PICTURES("oxford_pets/images", ".jpg", "A_1", "A_2", "A_3");
    text("oxford_pets/annotations/trainval.txt", "A_1 1 1 1\nA_2 1 1 1\nA_3 1 1 1\n");
    text("oxford_pets/annotations/test.txt", "A_1 1 1 1\n");
    for (int i = 1; i <= 23; i++) {
        char path[64];
        snprintf(path, sizeof path, "oxford_flowers/jpg/image_%05d.jpg", i);
        text(path, "");
    }
    copy(test_golden("mat/labels.mat"), "oxford_flowers/imagelabels.mat");
    text("oxford_flowers/cat_to_name.json", "{\"1\": \"x\", \"2\": \"y\", \"3\": \"z\"}");
    text("ucf101/UCF-101-midframes/Yo_Yo/v.jpg", "");
    text("ucf101/ucfTrainTestlist/classInd.txt", "1 YoYo\n");
    text("ucf101/ucfTrainTestlist/trainlist01.txt", "YoYo/v.avi 1\n");
    text("ucf101/ucfTrainTestlist/testlist01.txt", "YoYo/v.avi\n");
    text("sun397/SUN397/a/b/v.jpg", "");
    text("sun397/ClassName.txt", "/a/b\n");
    text("sun397/Training_01.txt", "/a/b/v.jpg\n");
    text("sun397/Testing_01.txt", "/a/b/v.jpg\n");
    PICTURES("dtd/images/banded", ".jpg", "1", "2", "3", "4");
    ammpl_allocator allocator = {.struct_size = sizeof allocator, .alloc = counted_alloc, .release = counted_release};
    ammpl_context *counted;
    requests_left = 1 << 20;
    ck_ok(ammpli_context_create(&allocator, &counted));
    ck_ok(ammpli_context_set_threads(counted, 1));
    unsigned long long before = counted->memory_now;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        ammpl_status status = AMMPL_E_MEMORY;
        long limit = 0;
        for (; status == AMMPL_E_MEMORY; limit++) {
            ammpl_dataset *ds;
            ammpli_clear_error();
            requests_left = limit;
            status = ammpli_dataset_open_named(counted, names[i], root, "train", &ds);
            requests_left = 1 << 20;
            ck_assert_int_eq(status < 0, ds == NULL);
            ammpli_dataset_release(ds);
            ck_assert_msg(counted->memory_now == before, "%s, request %ld: memory is left over", names[i], limit);
        }
        ck_assert_msg(status == AMMPL_OK, "%s: %s", names[i], ammpli_error_text());
        ck_assert_int_gt(limit, 20);
    }
    ammpli_context_release(counted);
}
END_TEST

/* ---- MATLAB's files ---- */

static void check_labels(const char *file, const int *expected, size_t n)
{
    char path[64];
    int32_t *value;
    size_t count;
    snprintf(path, sizeof path, "mat/%s", file);
    ck_ok(ammpli_mat5_read(ctx, test_golden(path), "labels", &value, &count));
    ck_assert_uint_eq(count, n);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(value[i], expected[i]);
    ammpli_free(ctx, value);
}

START_TEST(mat_files)
{
    check_labels("double.mat", (const int[]){1, 300, -2, 70000, 0}, 5);
    check_labels("short.mat", (const int[]){7, 8, 9}, 3);
    int32_t *value;
    size_t count;
    ck_status(ammpli_mat5_read(ctx, test_golden("mat/half.mat"), "labels", &value, &count), AMMPL_E_FORMAT, "no whole number");
    ck_assert_ptr_null(value);
    ck_status(ammpli_mat5_read(ctx, test_golden("mat/labels.mat"), "label", &value, &count), AMMPL_E_FORMAT, "no array \"label\"");
    ck_status(ammpli_mat5_read(ctx, test_golden("shots.txt"), "labels", &value, &count), AMMPL_E_FORMAT, "not a MATLAB file");
    text("hdf5.mat", "MATLAB 7.3 MAT-file, Platform: GLNXA64");
    ck_status(ammpli_mat5_read(ctx, under("hdf5.mat"), "labels", &value, &count), AMMPL_E_UNSUPPORTED, "-v7");
}
END_TEST

/* Cut at every byte and changed at every byte: a sentence or numbers, never a crash (and under the sanitizers no read beyond). */
START_TEST(hostile_mat_files)
{
    static const char *const files[] = {"mat/labels.mat", "mat/double.mat", "mat/short.mat"};
    int failures = 0;
    for (size_t f = 0; f < 3; f++) {
        void *data;
        size_t size, count;
        int32_t *value;
        ck_ok(ammpli_file_read(ctx, test_golden(files[f]), 1 << 16, &data, &size));
        for (size_t i = 0; i < 2 * size; i++) {
            remove(under("x.mat")); /* some file systems sync what is overwritten */
            FILE *out = fopen(under("x.mat"), "w");
            uint8_t *byte = (uint8_t *)data + i % size;
            *byte ^= i < size ? 0 : 0xff;
            fwrite(data, 1, i < size ? i : size, out);
            *byte ^= i < size ? 0 : 0xff;
            fclose(out);
            ammpli_clear_error();
            ammpl_status status = ammpli_mat5_read(ctx, under("x.mat"), "labels", &value, &count);
            ck_assert_int_eq(status < 0, value == NULL);
            failures += status < 0;
            ammpli_free(ctx, value);
        }
        ammpli_free(ctx, data);
    }
    ck_assert_int_gt(failures, 500);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("named");
    TCase *tc = tcase_create("layouts");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, split_files_are_read);
    tcase_add_test(tc, pets);
    tcase_add_test(tc, flowers);
    tcase_add_test(tc, aircraft);
    tcase_add_test(tc, ucf101);
    tcase_add_test(tc, sun397);
    tcase_add_test(tc, folders);
    tcase_add_test(tc, caltech101);
    tcase_add_test(tc, eurosat);
    tcase_add_test(tc, odd_layouts);
    tcase_add_test(tc, templates);
    tcase_add_test(tc, memory_runs_out);
    tcase_add_test(tc, mat_files);
    tcase_add_test(tc, hostile_mat_files);
    suite_add_tcase(suite, tc);
    return test_main(suite);
}
