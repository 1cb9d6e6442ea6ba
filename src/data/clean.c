/* clean.c - the cleaning of text before CLIP's byte-pair encoding.
 *
 * CLIP calls, in this order, ftfy.fix_text, html.unescape twice, str.strip, regex.sub(r"\s+", " "), str.lower.  Of ftfy this is
 * Latin ligatures, half- and full-width forms, curly quotes and NFC.  Left out: repair of mojibake (text decoded with the wrong
 * encoding), removal of control characters, byte order marks and terminal escapes, and ftfy's own round of unescaping entities,
 * which CLIP's pipeline applies before the quotes when the line has no '<': there "dog&rsquo;s" gets a straight quote, here not.
 *
 * Categories, lower case and NFC are utf8proc's.  With version 2.8 (Unicode 15.0) and Python 3.11 (14.0) they differ for no code
 * point assigned in both; what one of the two does not know counts there as neither letter nor digit and has no case.
 */
#include "data/text.h"

#include <string.h>
#include <utf8proc.h>

enum {
    MAX_BYTES = 1 << 22, /* far above any context length, and keeps positions and memory small */
    MAX_REPLACED = 8     /* code points that one becomes: 3 of a ligature, one of which decomposes, or 4 of NFC */
};

static bool reserve(ammpl_context *ctx, ammpli_text *text, size_t need)
{
    return ammpli_grow(ctx, (void **)&text->cp, &text->cap, need, sizeof *text->cp);
}

static ammpl_status decode(ammpl_context *ctx, const char *utf8, ammpli_text *out)
{
    size_t bytes = strnlen(utf8, (size_t)MAX_BYTES + 1);
    if (bytes > MAX_BYTES)
        return ammpli_fail(AMMPL_E_RANGE, "a text is longer than %d bytes; shorten it", MAX_BYTES);
    if (!reserve(ctx, out, bytes + 1))
        return AMMPL_E_MEMORY;
    for (size_t i = 0; i < bytes;) {
        utf8proc_ssize_t used =
            utf8proc_iterate((const utf8proc_uint8_t *)utf8 + i, (utf8proc_ssize_t)(bytes - i), &out->cp[out->n]);
        if (used <= 0)
            return ammpli_fail(AMMPL_E_FORMAT, "a text is not UTF-8: byte %zu is 0x%02x; convert it", i,
                               (unsigned)(unsigned char)utf8[i]);
        out->n++;
        i += (size_t)used;
    }
    return AMMPL_OK;
}

/* ftfy's Latin ligatures and digraphs; an apostrophe from U+0149 is curly in ftfy too, and straightened by its next step. */
static const uint16_t ligatures[][4] = {
    {0x0132, 'I', 'J'},    {0x0133, 'i', 'j'}, {0x0149, '\'', 'n'}, {0x01c4, 'D', 0x017d},   {0x01c5, 'D', 0x017e},
    {0x01c6, 'd', 0x017e}, {0x01c7, 'L', 'J'}, {0x01c8, 'L', 'j'},  {0x01c9, 'l', 'j'},      {0x01ca, 'N', 'J'},
    {0x01cb, 'N', 'j'},    {0x01cc, 'n', 'j'}, {0x01f1, 'D', 'Z'},  {0x01f2, 'D', 'z'},      {0x01f3, 'd', 'z'},
    {0xfb00, 'f', 'f'},    {0xfb01, 'f', 'i'}, {0xfb02, 'f', 'l'},  {0xfb03, 'f', 'f', 'i'}, {0xfb04, 'f', 'f', 'l'},
    {0xfb05, 0x017f, 't'}, {0xfb06, 's', 't'},
};

static int32_t straight_quote(int32_t c)
{
    if (c == 0x02bc || (c >= 0x2018 && c <= 0x201b))
        return '\'';
    if (c >= 0x201c && c <= 0x201f)
        return '"';
    return c;
}

static size_t decompose(int32_t c, int options, int32_t *out, size_t room)
{
    int unused = 0; /* grapheme boundaries, which are not asked for */
    return (size_t)utf8proc_decompose_char(c, out, (utf8proc_ssize_t)room,
                                           (utf8proc_option_t)(options | UTF8PROC_DECOMPOSE), &unused);
}

/* One code point after ftfy's replacements and canonical decomposition. */
static size_t fix(int32_t c, int32_t out[MAX_REPLACED])
{
    if (c < 0x80) {
        out[0] = c;
        return 1;
    }
    if (c == 0x3000) /* the ideographic space is one of ftfy's wide forms */
        return decompose(' ', 0, out, MAX_REPLACED);
    if (c > 0xff00 && c < 0xfff0)
        return decompose(c, UTF8PROC_COMPAT, out, MAX_REPLACED);
    for (size_t i = 0; i < sizeof ligatures / sizeof *ligatures; i++)
        if (ligatures[i][0] == c) {
            size_t n = 0;
            for (int k = 1; k < 4 && ligatures[i][k]; k++)
                n += decompose(ligatures[i][k], 0, out + n, MAX_REPLACED - n);
            return n;
        }
    return decompose(straight_quote(c), 0, out, MAX_REPLACED);
}

static int combining_class(int32_t c)
{
    return utf8proc_get_property(c)->combining_class;
}

/* The canonical order of one run of combining marks: a stable counting sort, because runs are as long as a text wishes. */
static void order_run(const int32_t *in, size_t n, int32_t *out)
{
    uint32_t start[257] = {0};
    for (size_t i = 0; i < n; i++)
        start[combining_class(in[i]) + 1]++;
    for (int c = 0; c < 256; c++)
        start[c + 1] += start[c];
    for (size_t i = 0; i < n; i++)
        out[start[combining_class(in[i])]++] = in[i];
}

static void order(const int32_t *in, size_t n, int32_t *out)
{
    for (size_t i = 0, run; i < n; i += run) {
        for (run = 0; i + run < n && combining_class(in[i + run]) != 0;)
            run++;
        if (run > 1)
            order_run(in + i, run, out + i);
        else {
            run = 1;
            out[i] = in[i];
        }
    }
}

/* Canonical composition in place.  utf8proc takes the old vowel U+11A7, which stands just below the Hangul finals, for one of
 * them and swallows it; it composes with nothing, so each stretch starts with one and is composed for itself. */
static size_t compose(int32_t *cp, size_t n)
{
    size_t out = 0;
    for (size_t i = 0, stretch; i < n; i += stretch) {
        for (stretch = 1; i + stretch < n && cp[i + stretch] != 0x11a7;)
            stretch++;
        utf8proc_ssize_t length =
            utf8proc_normalize_utf32(cp + i, (utf8proc_ssize_t)stretch, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        memmove(cp + out, cp + i, (size_t)length * sizeof *cp);
        out += (size_t)length;
    }
    return out;
}

/* ftfy's replacements and NFC, from `text` by way of `other` back into `text`.  utf8proc's own decomposition of whole strings
 * is not used: it sorts marks by insertion, in quadratic time. */
static ammpl_status normalise(ammpl_context *ctx, ammpli_text *text, ammpli_text *other)
{
    other->n = 0;
    for (size_t i = 0; i < text->n; i++) {
        if (!reserve(ctx, other, other->n + MAX_REPLACED))
            return AMMPL_E_MEMORY;
        other->n += fix(text->cp[i], other->cp + other->n);
    }
    if (!reserve(ctx, text, other->n))
        return AMMPL_E_MEMORY;
    order(other->cp, other->n, text->cp);
    text->n = compose(text->cp, other->n);
    return AMMPL_OK;
}

/* \s of the regex module: Unicode's White_Space. */
static bool is_space(int32_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* str.isspace, which str.strip goes by, knows four separators more. */
static bool is_stripped(int32_t c)
{
    return is_space(c) || (c >= 0x1c && c <= 0x1f);
}

static void single_blanks(ammpli_text *text)
{
    size_t from = 0, to = text->n, n = 0;
    while (from < to && is_stripped(text->cp[from]))
        from++;
    while (from < to && is_stripped(text->cp[to - 1]))
        to--;
    for (size_t i = from; i < to; i++)
        if (!is_space(text->cp[i]))
            text->cp[n++] = text->cp[i];
        else if (!is_space(text->cp[i - 1])) /* the first is none, so i > from */
            text->cp[n++] = ' ';
    text->n = n;
}

/* Unicode's Case_Ignorable and, for what is not ignorable, Cased: by category, and the rest by name. */
static bool is_case_ignorable(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return true;
    default:
        break;
    }
    static const uint16_t others[] = {'\'',   '.',    ':',    0xb7,   0x387,  0x55f,  0x5f4,  0x2018, 0x2019,
                                      0x2024, 0x2027, 0xfe13, 0xfe52, 0xfe55, 0xff07, 0xff0e, 0xff1a};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (others[i] == c)
            return true;
    return false;
}

static bool is_cased(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
        return true;
    default:
        return c == 0xaa || c == 0xba || (c >= 0x2160 && c <= 0x217f) || (c >= 0x24b6 && c <= 0x24e9) ||
               (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
    }
}

/* A capital sigma ends a word when something cased stands before it and nothing cased after it, ignorable characters aside. */
static bool is_final_sigma(const ammpli_text *text, size_t i)
{
    size_t before = i, after = i + 1;
    while (before > 0 && is_case_ignorable(text->cp[before - 1]))
        before--;
    while (after < text->n && is_case_ignorable(text->cp[after]))
        after++;
    return before > 0 && is_cased(text->cp[before - 1]) && !(after < text->n && is_cased(text->cp[after]));
}

/* str.lower.  U+0130 is the only code point with a lower case of two. */
static ammpl_status lower(ammpl_context *ctx, const ammpli_text *text, ammpli_text *out)
{
    out->n = 0;
    for (size_t i = 0; i < text->n; i++) {
        int32_t c = text->cp[i];
        if (!reserve(ctx, out, out->n + 2))
            return AMMPL_E_MEMORY;
        if (c == 0x0130) {
            out->cp[out->n++] = 'i';
            out->cp[out->n++] = 0x0307;
        } else if (c == 0x03a3)
            out->cp[out->n++] = is_final_sigma(text, i) ? 0x03c2 : 0x03c3;
        else
            out->cp[out->n++] = utf8proc_tolower(c);
    }
    return AMMPL_OK;
}

ammpl_status ammpli_clean(ammpl_context *ctx, const char *utf8, ammpli_text *out)
{
    ammpl_status status;
    ammpli_text text = {0};
    *out = (ammpli_text){0};
    TRY_GOTO(done, decode(ctx, utf8, &text));
    TRY_GOTO(done, normalise(ctx, &text, out));
    text.n = ammpli_html_unescape(text.cp, text.n);
    text.n = ammpli_html_unescape(text.cp, text.n);
    single_blanks(&text);
    TRY_GOTO(done, lower(ctx, &text, out));
done:
    ammpli_free(ctx, text.cp);
    if (status < 0) {
        ammpli_free(ctx, out->cp);
        *out = (ammpli_text){0};
    }
    return status;
}
