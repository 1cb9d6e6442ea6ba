/* ammpl_encodes.c - which pictures a batch really shows: equal ones are encoded once (shortcut 6).
 *
 * Two pairs of one image see the same picture when their masks are equal and either share the pad or mask nothing.
 */
#include "method/ammpl_run.h"

#include <string.h>

static bool keeps_everything(const float *mask, int64_t P)
{
    for (int64_t j = 0; j < P; j++)
        if (mask[j] != 1.0f)
            return false;
    return true;
}

ammpl_status ammpli_encodes_plan(ammpli_engine *e, const ammpli_encode_question *q, ammpli_encodes *out)
{
    int64_t B = q->B, C = q->C, P = q->P;
    int64_t pairs = B * C;
    ammpli_encodes en = {.plain = q->by_row && (q->whole_is_plain || q->own)}; /* a plan has room for all masked ones and the plain ones */
    TRY(ammpli_take_host(e, (size_t)(5 * pairs) * sizeof *en.ii, (void **)&en.ii));
    en.mi = en.ii + pairs;
    en.ki = en.mi + pairs;
    en.pi = en.ki + pairs;
    en.of = en.pi + pairs;
    for (int64_t b = 0; b < B; b++) {
        int64_t first = en.n; /* this image's encodes start here */
        for (int64_t i = 0; i < C; i++) {
            int64_t row = b * q->row_image + i * q->row_class;
            const float *mask = q->mask ? q->mask + row * P : NULL;
            bool all = !mask || keeps_everything(mask, P);
            if (!mask || (q->own && !q->own[b * C + i]) || (all && q->whole_is_plain)) {
                en.of[b * C + i] = -1; /* the plain image: numbered below, when n is known */
                en.plain = true;
                continue;
            }
            int32_t pad = (int32_t)(q->pads > 1 ? i : 0);
            int64_t u = q->merge ? first : en.n;
            for (; u < en.n; u++) {
                const float *other = q->mask + en.mi[u] * P;
                bool same = other == mask || (!q->by_row && memcmp(other, mask, (size_t)P * sizeof *mask) == 0);
                if (same && (!q->has_pads || all || en.ki[u] == pad))
                    break;
            }
            if (u == en.n) {
                en.ii[u] = (int32_t)b;
                en.mi[u] = (int32_t)row;
                en.ki[u] = pad;
                en.pi[u] = (int32_t)(q->prob_per_class ? i : 0);
                en.n++;
            }
            en.of[b * C + i] = (int32_t)u;
        }
    }
    for (int64_t b = 0; b < B; b++)
        for (int64_t i = 0; i < C; i++)
            if (en.of[b * C + i] < 0)
                en.of[b * C + i] = (int32_t)(en.n + b);
    *out = en;
    return AMMPL_OK;
}
