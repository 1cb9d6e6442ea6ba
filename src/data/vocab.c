/* vocab.c - reads merges.txt or bpe_simple_vocab_16e6.txt[.gz], and vocab.json where there is one.
 *
 * Symbols are strings of the byte alphabet; "</w>" closes those that end a word.  As in CLIP and Hugging Face's code two merges
 * may make the same string, which is one symbol then, and of two lines with the same pair the later counts.
 */
#include "data/bpe.h"

#include <jansson.h>
#include <string.h>
#include <utf8proc.h>

enum { MAX_TEXT = 64 << 20, MAX_MERGES = 1 << 20, CLIP_VOCABULARY = 49408 };

static const char SOT[] = "<|startoftext|>", EOT[] = "<|endoftext|>";

/* The strings of all symbols, and a hash table that finds them. */
typedef struct symbol_table {
    char *bytes;     /* one after the other, each with a NUL */
    uint32_t *start; /* of each symbol; start[n]: the end */
    uint32_t *place; /* open addressing, at most half full: 1 + symbol, 0 = empty */
    size_t mask;     /* places - 1 */
    uint32_t n;
} symbol_table;

typedef struct vocab_reader {
    ammpli_tokenizer *t;
    const char *name;
    const char *text; /* merges, one a line */
    size_t size;
    size_t line;  /* number of the first, for sentences: 2 after a header */
    size_t count; /* merges to take */
    int64_t vocab_size;
    symbol_table symbols;
} vocab_reader;

static size_t table_size(size_t entries)
{
    size_t places = 16;
    while (places < 2 * entries)
        places *= 2;
    return places;
}

static uint32_t *find_place(const symbol_table *s, const char *string, size_t length)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)string[i]) * 16777619u;
    size_t i = h & s->mask;
    for (; s->place[i]; i = (i + 1) & s->mask) {
        uint32_t k = s->place[i] - 1;
        if (s->start[k + 1] - s->start[k] - 1 == length && memcmp(s->bytes + s->start[k], string, length) == 0)
            break;
    }
    return &s->place[i];
}

/* The symbol of two strings in a row, which is new if it has to be. */
static uint32_t join(symbol_table *s, const char *left, size_t left_length, const char *right, size_t right_length)
{
    size_t length = left_length + right_length;
    char *string = s->bytes + s->start[s->n];
    memcpy(string, left, left_length);
    memcpy(string + left_length, right, right_length);
    string[length] = '\0';
    uint32_t *place = find_place(s, string, length);
    if (!*place) {
        *place = ++s->n;
        s->start[s->n] = s->start[s->n - 1] + (uint32_t)length + 1;
    }
    return *place - 1;
}

/* Printable bytes stand for themselves, the other 68 for the code points from 256 on. */
static bool is_shown(int byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

/* Symbols and ids follow CLIP's rule from here to add_merge: the alphabet, the alphabet at a word's end, one id per merge.  The
 * two special strings come last. */
static void add_alphabet(vocab_reader *r)
{
    uint16_t n = 0;
    char utf8[256][4];
    size_t length[256];
    for (int shown = 1; shown >= 0; shown--)
        for (int byte = 0, hidden = 0; byte < 256; byte++) {
            if (is_shown(byte) != shown)
                continue;
            int32_t c = shown ? byte : 256 + hidden++;
            length[n] = (size_t)utf8proc_encode_char(c, (utf8proc_uint8_t *)utf8[n]);
            r->t->symbol_of_byte[byte] = n++;
        }
    for (int i = 0; i < 256; i++)
        join(&r->symbols, utf8[i], length[i], "", 0);
    for (int i = 0; i < 256; i++)
        join(&r->symbols, utf8[i], length[i], "</w>", 4);
    for (int32_t i = 0; i < AMMPLI_ALPHABET; i++)
        r->t->id[i] = i;
}

static ammpl_status allocate(vocab_reader *r)
{
    ammpl_context *ctx = r->t->ctx;
    symbol_table *s = &r->symbols;
    size_t most = AMMPLI_ALPHABET + r->count;
    /* a line holds its symbol and a blank, in whose stead comes the NUL; the last join of all may turn out to be nothing new */
    s->bytes = ammpli_alloc(ctx, AMMPLI_ALPHABET * 8 + r->size + 8, 1);
    s->start = ammpli_alloc(ctx, most + 1, sizeof *s->start);
    s->mask = table_size(most) - 1;
    s->place = ammpli_alloc(ctx, s->mask + 1, sizeof *s->place);
    r->t->mask = table_size(r->count) - 1;
    r->t->merges = ammpli_alloc(ctx, r->t->mask + 1, sizeof *r->t->merges);
    r->t->id = ammpli_alloc(ctx, most, sizeof *r->t->id);
    return s->bytes && s->start && s->place && r->t->merges && r->t->id ? AMMPL_OK : AMMPL_E_MEMORY;
}

/* One line: two symbols known so far with a blank between them. */
static ammpl_status add_merge(vocab_reader *r, size_t rank, const char *text, size_t length)
{
    if (length > 0 && text[length - 1] == '\r')
        length--;
    const char *blank = memchr(text, ' ', length), *end = text + length;
    if (!blank || blank == text || blank + 1 == end || memchr(blank + 1, ' ', (size_t)(end - blank - 1)))
        return ammpli_fail(AMMPL_E_FORMAT, "%s: line %zu is not two symbols with a blank between them", r->name,
                           r->line + rank);
    size_t left_length = (size_t)(blank - text), right_length = (size_t)(end - blank - 1);
    uint32_t left = *find_place(&r->symbols, text, left_length),
             right = *find_place(&r->symbols, blank + 1, right_length);
    if (!left || !right)
        return ammpli_fail(
            AMMPL_E_FORMAT,
            "%s: line %zu merges a symbol that is neither a byte of the alphabet nor made by an earlier line", r->name,
            r->line + rank);
    uint32_t merged = join(&r->symbols, text, left_length, blank + 1, right_length);
    *ammpli_merge_find(r->t, left - 1, right - 1) = (ammpli_merge){left - 1, right - 1, (uint32_t)rank, merged};
    r->t->id[merged] = AMMPLI_ALPHABET + (int32_t)rank;
    return AMMPL_OK;
}

static ammpl_status add_merges(vocab_reader *r)
{
    const char *text = r->text, *end = r->text + r->size;
    for (size_t rank = 0; rank < r->count; rank++) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t length = (size_t)((newline ? newline : end) - text);
        TRY(add_merge(r, rank, text, length));
        text += length + (newline != NULL);
    }
    return AMMPL_OK;
}

/* How many bytes of a symbol a sentence shows: not half a character. */
static int shown_length(const char *symbol)
{
    size_t n = strnlen(symbol, 60);
    while (n > 0 && (symbol[n] & 0xc0) == 0x80)
        n--;
    return (int)n;
}

static ammpl_status look_up(const vocab_reader *r, const json_t *root, const char *symbol, uint8_t *taken, int32_t *id)
{
    const json_t *value = json_object_get(root, symbol);
    int shown = shown_length(symbol);
    if (!json_is_integer(value))
        return ammpli_fail(AMMPL_E_FORMAT, "vocab.json beside %s has no number for the symbol \"%.*s\"", r->name, shown,
                           symbol);
    json_int_t number = json_integer_value(value);
    if (number < 0 || number >= r->vocab_size)
        return ammpli_fail(
            AMMPL_E_SHAPE,
            "vocab.json beside %s: the id %lld of \"%.*s\" is outside the model's token table of %lld rows", r->name,
            (long long)number, shown, symbol, (long long)r->vocab_size);
    if (taken[number])
        return ammpli_fail(AMMPL_E_FORMAT, "vocab.json beside %s: the id %lld of \"%.*s\" is another symbol's already",
                           r->name, (long long)number, shown, symbol);
    taken[number] = 1;
    *id = (int32_t)number;
    return AMMPL_OK;
}

static ammpl_status ids_of_object(vocab_reader *r, const json_t *root)
{
    if (!json_is_object(root))
        return ammpli_fail(AMMPL_E_FORMAT, "vocab.json beside %s is no object of symbols and ids", r->name);
    uint8_t *taken = ammpli_alloc(r->t->ctx, (size_t)r->vocab_size, 1);
    if (!taken)
        return AMMPL_E_MEMORY;
    ammpl_status status = AMMPL_OK;
    for (uint32_t i = 0; i < r->symbols.n; i++)
        TRY_GOTO(done, look_up(r, root, r->symbols.bytes + r->symbols.start[i], taken, &r->t->id[i]));
    TRY_GOTO(done, look_up(r, root, SOT, taken, &r->t->sot));
    TRY_GOTO(done, look_up(r, root, EOT, taken, &r->t->eot));
done:
    ammpli_free(r->t->ctx, taken);
    return status;
}

static ammpl_status ids_by_json(vocab_reader *r, const char *vocab_json)
{
    json_error_t error;
    json_t *root = json_loads(vocab_json, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return ammpli_fail(AMMPL_E_FORMAT, "vocab.json beside %s is no valid JSON: line %d: %s", r->name, error.line,
                           error.text);
    ammpl_status status = ids_of_object(r, root);
    json_decref(root);
    return status;
}

/* Finds where the merges start and how many there are to take. */
static ammpl_status survey(vocab_reader *r, bool by_rule)
{
    const char *newline = memchr(r->text, '\n', r->size);
    size_t first = newline ? (size_t)(newline - r->text) + 1 : r->size;
    r->line = 1;
    if (memmem(r->text, first, "#version", 8)) {
        r->text += first;
        r->size -= first;
        r->line = 2;
    }
    while (r->size > 0 && (r->text[r->size - 1] == '\n' || r->text[r->size - 1] == '\r'))
        r->size--;
    r->count = r->size > 0;
    for (size_t i = 0; i < r->size; i++)
        r->count += r->text[i] == '\n';
    if (r->vocab_size < AMMPLI_ALPHABET + 2 || r->vocab_size > INT32_MAX)
        return ammpli_fail(AMMPL_E_SHAPE,
                           "the model's token table has %lld rows, which no vocabulary of bytes and merges fits",
                           (long long)r->vocab_size);
    size_t wanted = (size_t)(r->vocab_size - AMMPLI_ALPHABET - 2);
    if (by_rule && r->count < wanted)
        return ammpli_fail(
            AMMPL_E_SHAPE,
            "%s has %zu merges, and the model's token table of %lld rows needs %zu; take the model's own vocabulary",
            r->name, r->count, (long long)r->vocab_size, wanted);
    /* CLIP's own file has more than its model reads; anywhere else that is a sign of another model's vocabulary. */
    if (by_rule && r->count > wanted && r->vocab_size != CLIP_VOCABULARY)
        ammpli_log(r->t->ctx, AMMPL_LEVEL_WARN, "%s has %zu merges and the model reads the first %zu: is it the model's own vocabulary?",
                   r->name, r->count, wanted);
    if (by_rule)
        r->count = wanted;
    if (r->count > MAX_MERGES)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: %zu merges are more than the %d that are read", r->name, r->count,
                           MAX_MERGES);
    return AMMPL_OK;
}

static ammpl_status read_text(vocab_reader *r, const char *vocab_json)
{
    TRY(survey(r, !vocab_json));
    TRY(allocate(r));
    add_alphabet(r);
    TRY(add_merges(r));
    if (vocab_json)
        return ids_by_json(r, vocab_json);
    r->t->sot = (int32_t)r->vocab_size - 2;
    r->t->eot = (int32_t)r->vocab_size - 1;
    return AMMPL_OK;
}

ammpl_status ammpli_vocab_read(ammpli_tokenizer *t, const void *merges, size_t size, const char *vocab_json,
                               int64_t vocab_size, const char *name)
{
    vocab_reader r = {.t = t, .name = name, .text = merges, .size = size, .vocab_size = vocab_size};
    char *unpacked = NULL;
    if (ammpli_is_gzip(merges, size)) {
        TRY(ammpli_gunzip(t->ctx, merges, size, MAX_TEXT, name, &unpacked, &r.size));
        r.text = unpacked;
    } else if (size > MAX_TEXT)
        return ammpli_fail(AMMPL_E_FORMAT, "%s is larger than %d bytes: it is no vocabulary", name, MAX_TEXT);
    ammpl_status status = read_text(&r, vocab_json);
    ammpli_free(t->ctx, unpacked);
    ammpli_free(t->ctx, r.symbols.bytes);
    ammpli_free(t->ctx, r.symbols.start);
    ammpli_free(t->ctx, r.symbols.place);
    return status;
}
