/*
 * ammpl-pictures: writes the pictures of the demo, so that it needs no download.
 *
 *   --split demo      DIR/{base/train,base/test,unseen/test}/CLASS/NNN.png and DIR/clutter.json
 *   --split pretrain  DIR/sheet-NNN.png (32 x 32 pictures each) and DIR/captions.txt, one line per picture in reading
 *                     order: what tests/reference/pretrain_demo_clip.py learns the demo's CLIP from
 *
 * A picture holds objects: a shape in a colour with a texture. In a demo picture the object that gives the class lies on the
 * middle 4 x 4 of 8 x 8 patches, with a little jitter, and smaller objects of *other* classes lie on the two rings of patches
 * around it. Where the clutter lies is the same in all pictures, because a keep probability of AMMPL belongs to a place, not to
 * a picture. A pre-training picture shows one captioned object of any size anywhere, and seldom a second one: the CLIP learns
 * what things look like, but not that the middle is what matters. That is left to the prompt.
 *
 * Only integers are computed with, so a seed gives the same bytes on every machine.
 */
#define _POSIX_C_SOURCE 200809L
#include <ammpl/ammpl.h>

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    GRID = 8,        /* patches along one side */
    INNER = 2,       /* the object lies on patches INNER .. GRID-1-INNER, clutter on the others */
    SLOTS = 12,      /* places for clutter around the middle */
    SHEET = 32,      /* pre-training pictures along one side of a sheet */
    SUB = 8,         /* coordinates are in eighths of a pixel; a pixel has 4 x 4 samples at 1, 3, 5, 7 */
    DISTRACTORS = 10, /* of the SLOTS, how many hold an object of another class */
    MAX_SIZE = 256
};

/* ------------------------------------------------ what there is to see ------------------------------------------------ */

enum shape { DISC, SQUARE, TRIANGLE, CROSS, RING, DIAMOND, STAR, MOON, HOURGLASS, BAR, SHAPES };
enum texture { PLAIN, STRIPED, DOTTED, CHECKED, TEXTURES };
enum colour { RED, GREEN, BLUE, YELLOW, PURPLE, CYAN, PINK, WHITE, COLOURS };

static const char *const shape_name[SHAPES] = {"disc",    "square", "triangle", "cross",     "ring",
                                               "diamond", "star",   "moon",     "hourglass", "bar"};
static const char *const texture_name[TEXTURES] = {"plain", "striped", "dotted", "checked"};
static const char *const colour_name[COLOURS] = {"red", "green", "blue", "yellow", "purple", "cyan", "pink", "white"};
static const uint8_t colour_rgb[COLOURS][3] = {{215, 45, 40},  {45, 165, 60},  {50, 80, 220},   {230, 210, 50},
                                               {140, 50, 180}, {60, 205, 210}, {240, 140, 185}, {235, 235, 235}};

struct concept {
    enum colour colour;
    enum texture texture;
    enum shape shape;
};

enum { BASE = 8, UNSEEN = 4 };

static const struct concept base_class[BASE] = {{RED, STRIPED, DISC},     {BLUE, STRIPED, SQUARE},  {YELLOW, PLAIN, TRIANGLE},
                                                {GREEN, DOTTED, DISC},    {PURPLE, CHECKED, SQUARE}, {CYAN, PLAIN, CROSS},
                                                {PINK, DOTTED, TRIANGLE}, {WHITE, CHECKED, RING}};
static const struct concept unseen_class[UNSEEN] = {
    {RED, DOTTED, DIAMOND}, {BLUE, PLAIN, RING}, {GREEN, STRIPED, STAR}, {YELLOW, CHECKED, DISC}};

/* ------------------------------------------------- counter-based numbers ------------------------------------------------- */

/* Number n of a stream is a hash of (key, n): pictures do not depend on the order or the number of other pictures. */
struct stream {
    uint64_t key, n;
};

static uint64_t mix(uint64_t x) /* the finaliser of SplitMix64 */
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static struct stream stream_open(uint64_t seed, uint64_t split, uint64_t class_index, uint64_t picture)
{
    uint64_t key = mix(seed + UINT64_C(0x9e3779b97f4a7c15));
    key = mix(key ^ (split << 48 ^ class_index << 32 ^ picture));
    return (struct stream){key, 0};
}

static int between(struct stream *s, int low, int high) /* low .. high, both included */
{
    uint64_t x = mix(s->key + ++s->n * UINT64_C(0x9e3779b97f4a7c15)) >> 32;
    return low + (int)(x * (uint64_t)(high - low + 1) >> 32);
}

/* ------------------------------------------------------- drawing ------------------------------------------------------- */

struct picture {
    uint8_t *rgb;
    int size, stride; /* pixels along one side; bytes from row to row */
};

struct object {
    struct concept what;
    int x, y, radius; /* in eighths of a pixel */
    int turn;         /* tangent of half the angle, in 64ths */
    int phase;        /* where the texture starts */
    int rgb[3];
};

/* Is the point (u, v), relative to the centre and turned with the object, inside the shape of radius r? */
static int inside(enum shape shape, int u, int v, int r)
{
    int a = abs(u), b = abs(v), d = u * u + v * v;
    switch (shape) {
    case DISC: return d < r * r;
    case SQUARE: return 8 * a < 7 * r && 8 * b < 7 * r;
    case TRIANGLE: return 4 * v < 3 * r && 2 * a < v + r;
    case CROSS: return a < r && b < r && (10 * a < 3 * r || 10 * b < 3 * r);
    case RING: return d < r * r && 3 * d > r * r;
    case DIAMOND: return a + b < r && 5 * a < 4 * r;
    case STAR: return 3 * a + b < r || a + 3 * b < r || 9 * d < 2 * r * r;
    case MOON: return d < r * r && (2 * u - r) * (2 * u - r) + 4 * v * v > 3 * r * r;
    case HOURGLASS: return 8 * b < 7 * r && 8 * a < 7 * b + r;
    case BAR: return a < r && 5 * b < 2 * r;
    case SHAPES: break;
    }
    return 0;
}

static int wrap(int x, int period)
{
    int m = x % period;
    return m < 0 ? m + period : m;
}

/* Does the dark second colour show at (u, v)? `unit` is an eighth of a pixel at 48 pixels a side. */
static int dark(enum texture texture, int u, int v, int phase, int unit)
{
    int p, q;
    switch (texture) {
    case PLAIN: return 0;
    case STRIPED: return wrap(v + phase, 4 * unit) < 2 * unit;
    case DOTTED:
        p = wrap(u + phase, 5 * unit) - 5 * unit / 2;
        q = wrap(v + phase, 5 * unit) - 5 * unit / 2;
        return p * p + q * q < 3 * unit * unit;
    case CHECKED: return (wrap(u + phase, 6 * unit) < 3 * unit) != (wrap(v + phase, 6 * unit) < 3 * unit);
    case TEXTURES: break;
    }
    return 0;
}

static int clamp(int x, int low, int high)
{
    return x < low ? low : x > high ? high : x;
}

static void draw(const struct picture *pic, const struct object *o)
{
    /* cosine and sine of the angle are (t*t - k*k) / w and 2*t*k / w with t = 64, k = turn: exact in integers */
    int k = o->turn, w = 64 * 64 + k * k, c = 64 * 64 - k * k, s = 2 * 64 * k;
    int unit = SUB * pic->size / 48, reach = 3 * o->radius / 2;
    int x0 = clamp((o->x - reach) / SUB, 0, pic->size), x1 = clamp((o->x + reach) / SUB + 1, 0, pic->size);
    int y0 = clamp((o->y - reach) / SUB, 0, pic->size), y1 = clamp((o->y + reach) / SUB + 1, 0, pic->size);
    for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++) {
            uint8_t *pixel = pic->rgb + y * pic->stride + 3 * x;
            int bright = 0, shade = 0; /* samples that show the colour, samples that show the dark one */
            for (int i = 0; i < 16; i++) {
                int dx = SUB * x + 2 * (i % 4) + 1 - o->x, dy = SUB * y + 2 * (i / 4) + 1 - o->y;
                int u = (dx * c + dy * s) / w, v = (dy * c - dx * s) / w;
                if (!inside(o->what.shape, u, v, o->radius)) continue;
                if (dark(o->what.texture, u, v, o->phase, unit)) shade++;
                else bright++;
            }
            for (int ch = 0; ch < 3; ch++) {
                int sum = pixel[ch] * (16 - bright - shade) + o->rgb[ch] * bright + o->rgb[ch] / 4 * shade;
                pixel[ch] = (uint8_t)((sum + 8) / 16);
            }
        }
}

static struct object object_of(struct stream *s, struct concept what, int x, int y, int radius)
{
    struct object o = {.what = what, .x = x, .y = y, .radius = radius};
    o.turn = between(s, -12, 12); /* not in the initialiser: its order of evaluation is free */
    o.phase = between(s, 0, 63);
    for (int ch = 0; ch < 3; ch++) o.rgb[ch] = clamp(colour_rgb[what.colour][ch] + between(s, -15, 15), 0, 255);
    return o;
}

/* A greyish slope with some noise. */
static void background(struct stream *s, const struct picture *pic)
{
    int from[3], across = between(s, -50, 50), down = between(s, -50, 50), grey = between(s, 70, 150);
    for (int ch = 0; ch < 3; ch++) from[ch] = grey + between(s, -12, 12);
    for (int y = 0; y < pic->size; y++)
        for (int x = 0; x < pic->size; x++) {
            int slope = (across * (2 * x - pic->size) + down * (2 * y - pic->size)) / (2 * pic->size), noise = between(s, -10, 10);
            for (int ch = 0; ch < 3; ch++)
                pic->rgb[y * pic->stride + 3 * x + ch] = (uint8_t)clamp(from[ch] + slope + noise, 0, 255);
        }
}

/* Centre of a clutter place, in units of a patch times SUB: 12 places on the square through the middle of the two outer rings. */
static void slot_centre(int slot, int *x, int *y)
{
    int side = slot / 3, along = SUB * (1 + 2 * (slot % 3)); /* 1, 3, 5 patches from the corner */
    int end = SUB * (GRID - 1);
    switch (side) {
    case 0: *x = along, *y = SUB; break;
    case 1: *x = end, *y = along; break;
    case 2: *x = SUB * GRID - along, *y = end; break;
    default: *x = SUB, *y = SUB * GRID - along; break;
    }
}

static void demo_picture(struct stream *s, const struct picture *pic, const struct concept *classes, int count, int label)
{
    int patch = pic->size / GRID, slot[SLOTS];
    background(s, pic);
    for (int i = 0; i < SLOTS; i++) slot[i] = i;
    for (int i = 0; i < DISTRACTORS; i++) { /* a part of a shuffle picks the places */
        int j = between(s, i, SLOTS - 1), t = slot[i], other = between(s, 0, count - 2), x, y;
        slot[i] = slot[j], slot[j] = t;
        slot_centre(slot[i], &x, &y);
        x = x * patch + between(s, -patch, patch), y = y * patch + between(s, -patch, patch);
        struct object o =
            object_of(s, classes[other + (other >= label)], x, y, between(s, 7 * SUB * patch / 8, SUB * patch));
        draw(pic, &o);
    }
    int middle = SUB * pic->size / 2, jitter = SUB * patch / 4;
    int x = middle + between(s, -jitter, jitter), y = middle + between(s, -jitter, jitter);
    struct object o = object_of(s, classes[label], x, y, between(s, 5 * SUB * patch / 4, 3 * SUB * patch / 2));
    draw(pic, &o);
}

static struct concept any_concept(struct stream *s)
{
    struct concept what;
    what.colour = (enum colour)between(s, 0, COLOURS - 1);
    what.texture = (enum texture)between(s, 0, TEXTURES - 1);
    what.shape = (enum shape)between(s, 0, SHAPES - 1);
    return what;
}

/* Draws and returns what the caption is to say. */
static struct concept pretrain_picture(struct stream *s, const struct picture *pic)
{
    int patch = pic->size / GRID, edge = SUB * pic->size;
    struct concept what = any_concept(s);
    background(s, pic);
    for (int seconds = between(s, 0, 9) < 3; seconds > 0; seconds--) {
        int radius = between(s, 3 * SUB * patch / 4, SUB * patch);
        struct concept other = any_concept(s);
        int x = between(s, 0, edge), y = between(s, 0, edge);
        struct object o = object_of(s, other, x, y, radius);
        draw(pic, &o);
    }
    int radius = between(s, 7 * SUB * patch / 8, 2 * SUB * patch);
    int x = between(s, radius, edge - radius), y = between(s, radius, edge - radius);
    struct object o = object_of(s, what, x, y, radius);
    draw(pic, &o);
    return what;
}

/* -------------------------------------------------------- files -------------------------------------------------------- */

static int complain(const char *what, const char *path, const char *why)
{
    fprintf(stderr, "ammpl-pictures: %s %s: %s\n", what, path, why);
    return 1;
}

/* Makes the folders that the path needs, up to its last slash. */
static int make_folders(const char *path)
{
    char part[4096];
    size_t n = strlen(path);
    if (n >= sizeof part) return complain("path too long:", path, "at most 4095 bytes");
    for (size_t i = 1; i < n; i++) {
        if (path[i] != '/') continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST) return complain("cannot make the folder", part, strerror(errno));
    }
    return 0;
}

static int save(ammpl_context *ctx, const char *path, const uint8_t *rgb, int size)
{
    ammpl_image *image = NULL;
    int failed = ammpl_image_from_pixels(ctx, rgb, size, size, 3 * (int64_t)size, &image) != 0 || ammpl_image_save_png(image, path) != 0;
    if (failed) complain("cannot write", path, ammpl_last_error());
    ammpl_image_destroy(image);
    return failed;
}

struct options {
    const char *out, *split;
    uint64_t seed;
    int train, test, size, pictures;
};

static int write_set(ammpl_context *ctx, const struct options *opt, const char *set, uint64_t id, const struct concept *classes, int count,
                     int pictures)
{
    char path[4200];
    uint8_t *rgb = malloc((size_t)opt->size * (size_t)opt->size * 3);
    if (rgb == NULL) return complain("out of memory for", set, "one picture");
    int failed = 0;
    struct picture pic = {rgb, opt->size, 3 * opt->size};
    for (int c = 0; c < count && !failed; c++)
        for (int i = 0; i < pictures && !failed; i++) {
            struct stream s = stream_open(opt->seed, id, (uint64_t)c, (uint64_t)i);
            demo_picture(&s, &pic, classes, count, c);
            snprintf(path, sizeof path, "%s/%s/%s_%s_%s/%03d.png", opt->out, set, colour_name[classes[c].colour],
                     texture_name[classes[c].texture], shape_name[classes[c].shape], i);
            failed = (i == 0 && make_folders(path)) || save(ctx, path, rgb, opt->size);
        }
    free(rgb);
    return failed;
}

/* Which patches (row-major) belong to the object and which to the clutter. */
static int write_places(const struct options *opt)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/clutter.json", opt->out);
    if (make_folders(path)) return 1;
    FILE *f = fopen(path, "w");
    if (f == NULL) return complain("cannot write", path, strerror(errno));
    fprintf(f, "{\"image_size\": %d, \"patch_size\": %d, \"grid\": %d", opt->size, opt->size / GRID, (int)GRID);
    for (int clutter = 0; clutter < 2; clutter++) {
        const char *comma = "";
        fprintf(f, ",\n \"%s\": [", clutter ? "clutter" : "object");
        for (int j = 0; j < GRID * GRID; j++) {
            int x = j % GRID, y = j / GRID, low = INNER, high = GRID - 1 - INNER;
            if ((x < low || x > high || y < low || y > high) != clutter) continue;
            fprintf(f, "%s%d", comma, j);
            comma = ", ";
        }
        fprintf(f, "]");
    }
    fprintf(f, "}\n");
    int failed = ferror(f) != 0;
    failed |= fclose(f) != 0;
    return failed ? complain("cannot write", path, strerror(errno)) : 0;
}

static int write_demo(ammpl_context *ctx, const struct options *opt)
{
    return write_set(ctx, opt, "base/train", 1, base_class, BASE, opt->train) ||
           write_set(ctx, opt, "base/test", 2, base_class, BASE, opt->test) ||
           write_set(ctx, opt, "unseen/test", 3, unseen_class, UNSEEN, opt->test) || write_places(opt);
}

static int write_pretrain(ammpl_context *ctx, const struct options *opt)
{
    char path[4200];
    int side = SHEET * opt->size, per_sheet = SHEET * SHEET, sheets = (opt->pictures + per_sheet - 1) / per_sheet, failed = 0;
    snprintf(path, sizeof path, "%s/captions.txt", opt->out);
    if (make_folders(path)) return 1;
    uint8_t *rgb = malloc((size_t)side * (size_t)side * 3);
    FILE *captions = fopen(path, "w");
    if (rgb == NULL || captions == NULL) {
        complain("cannot write", path, strerror(errno));
        if (captions != NULL) fclose(captions);
        free(rgb);
        return 1;
    }
    for (int sheet = 0; sheet < sheets && !failed; sheet++) {
        for (int i = 0; i < per_sheet; i++) {
            struct stream s = stream_open(opt->seed, 4, 0, (uint64_t)(sheet * per_sheet + i));
            struct picture pic = {rgb + (i / SHEET) * opt->size * 3 * side + (i % SHEET) * opt->size * 3, opt->size, 3 * side};
            struct concept what = pretrain_picture(&s, &pic);
            fprintf(captions, "%s %s %s\n", colour_name[what.colour], texture_name[what.texture], shape_name[what.shape]);
        }
        snprintf(path, sizeof path, "%s/sheet-%03d.png", opt->out, sheet);
        failed = save(ctx, path, rgb, side);
    }
    int short_write = ferror(captions) != 0;
    short_write |= fclose(captions) != 0;
    if (short_write && !failed) failed = complain("cannot write", opt->out, "captions.txt");
    free(rgb);
    return failed;
}

/* ----------------------------------------------------- command line ----------------------------------------------------- */

static const char usage[] =
    "usage: ammpl-pictures --out DIR [--split demo|pretrain] [--seed S] [--train N] [--test N] [--size PX] [--pictures N]\n"
    "  --out DIR      where to write; made when missing, files of the same name are replaced\n"
    "  --split NAME   demo: class folders and clutter.json (default); pretrain: sheets and captions.txt\n"
    "  --seed S       same seed, same bytes, on every machine (default 1)\n"
    "  --train N      training pictures per base class (default 16)\n"
    "  --test N       test pictures per class (default 40)\n"
    "  --size PX      pixels along one side, a multiple of 8 (default 48)\n"
    "  --pictures N   pre-training pictures, rounded up to whole sheets of 1024 (default 32768)\n";

static int wrong(const char *what, const char *value)
{
    fprintf(stderr, "ammpl-pictures: %s '%s'\n%s", what, value, usage);
    return 2;
}

static int number(const char *text, uint64_t low, uint64_t high, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long x = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || x < low || x > high) return 0;
    *out = x;
    return 1;
}

int main(int argc, char **argv)
{
    struct options opt = {NULL, "demo", 1, 16, 40, 48, 32768};
    struct {
        const char *name;
        uint64_t low, high;
        int *to;
    } const numbers[] = {{"--train", 0, 100000, &opt.train},
                         {"--test", 0, 100000, &opt.test},
                         {"--size", 3 * GRID, MAX_SIZE, &opt.size},
                         {"--pictures", 1, 1000000, &opt.pictures}};
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        size_t known = 0, count = sizeof numbers / sizeof numbers[0];
        uint64_t x = 0;
        if (strcmp(name, "--help") == 0) return fputs(usage, stdout) == EOF;
        if (strcmp(name, "--quiet") == 0) continue; /* it prints nothing anyway */
        if (value == NULL) return wrong("unknown option, or no value after", name);
        i++;
        if (strcmp(name, "--out") == 0) opt.out = value;
        else if (strcmp(name, "--split") == 0) opt.split = value;
        else if (strcmp(name, "--seed") == 0) {
            if (!number(value, 0, UINT64_MAX, &opt.seed)) return wrong("--seed wants a whole number, not", value);
        } else {
            while (known < count && strcmp(name, numbers[known].name) != 0) known++;
            if (known == count) return wrong("unknown option", name);
            if (!number(value, numbers[known].low, numbers[known].high, &x)) return wrong("number out of range:", value);
            *numbers[known].to = (int)x;
        }
    }
    if (opt.out == NULL || opt.out[0] == '\0') return wrong("missing option", "--out");
    if (strlen(opt.out) > 4000) return wrong("path too long:", opt.out);
    if (opt.size % GRID != 0) return wrong("not a multiple of 8:", "--size");
    int demo = strcmp(opt.split, "demo") == 0;
    if (!demo && strcmp(opt.split, "pretrain") != 0) return wrong("--split is demo or pretrain, not", opt.split);

    ammpl_context *ctx = NULL;
    if (ammpl_context_create(NULL, &ctx) != 0) return complain("cannot start", "libammpl", ammpl_last_error());
    int failed = demo ? write_demo(ctx, &opt) : write_pretrain(ctx, &opt);
    ammpl_context_destroy(ctx);
    return failed;
}
