/* test_digest.c - BLAKE2b against Python's. */
#include "support.h"

#include "core/digest.h"

/* Python: hashlib.blake2b(bytes((i * 7 + n) % 251 for i in range(n)), digest_size=16) */
START_TEST(digests)
{
    static const struct {
        size_t n;
        const char *want;
    } cases[] = {{0, "cae66941d9efbd404e4d88758ea67670"},   {3, "09e03a807474593d5cb98909e5d502cd"},
                 {64, "5b5faeee5b90b5f846dea55a9090dde4"},  {127, "0f8a110fc481ee0a74a949dec4f80edd"},
                 {128, "2d3857903804ccf609f03935cdd1a362"}, {129, "ecc6d217291a395ce7672d33e460c141"},
                 {255, "96a9532ead385bd5a8885278ff055755"}, {256, "dadda96c267d18e0575898ad19e42fa2"},
                 {257, "8f9543b3fb7e9245b18fc219308916f9"}, {1000, "a23b51e153e1d8a23ef56701948660ff"}};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++)
        for (size_t part = 1; part <= 1000; part = part * 3 + 1) {
            uint8_t data[1000];
            char text[AMMPLI_DIGEST_TEXT];
            ammpli_digesting d;
            ammpli_digest_begin(&d);
            for (size_t i = 0; i < cases[k].n; i++)
                data[i] = (uint8_t)((i * 7 + cases[k].n) % 251);
            for (size_t i = 0; i < cases[k].n; i += part)
                ammpli_digest_add(&d, data + i, cases[k].n - i < part ? cases[k].n - i : part);
            ammpli_digest got = ammpli_digest_end(&d);
            ammpli_digest_text(&got, text);
            ck_assert_str_eq(text, cases[k].want);
        }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("digest");
    TCase *c = tcase_create("digest");
    tcase_add_test(c, digests);
    suite_add_tcase(s, c);
    return test_main(s);
}
