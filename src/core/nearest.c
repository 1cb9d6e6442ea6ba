/* nearest.c - "did you mean". */
#include "core/config.h"

#include <ctype.h>
#include <string.h>

enum { LONGEST = 63 }; /* names are shorter; of a longer word the rest does not help */

static char folded(char c)
{
    return c == '-' ? '_' : (char)tolower((unsigned char)c);
}

static int smallest(int a, int b, int c)
{
    int ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Insertions, deletions, replacements and swaps of neighbours that turn a into b (optimal string alignment). */
static int distance(const char *a, const char *b)
{
    size_t n = strnlen(a, LONGEST), m = strnlen(b, LONGEST);
    int rows[3][LONGEST + 1]; /* of prefixes of a: two before, one before, this one */
    int *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= m; j++)
        last[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        now[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            char x = folded(a[i - 1]), y = folded(b[j - 1]);
            now[j] = smallest(last[j] + 1, now[j - 1] + 1, last[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == folded(b[j - 2]) && folded(a[i - 2]) == y && before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
        int *oldest = before;
        before = last;
        last = now;
        now = oldest;
    }
    return last[m];
}

const char *ammpli_nearest(const char *word, const char *const *list, size_t n)
{
    const char *best = NULL;
    int least = 0;
    for (size_t i = 0; i < n; i++) {
        int d = distance(word, list[i]);
        if (!best || d < least) {
            best = list[i];
            least = d;
        }
    }
    return best;
}
