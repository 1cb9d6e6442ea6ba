/* program: has a context made, and the header's version. */
#include <ammpl/ammpl.h>
#include <stdio.h>

int main(void)
{
    ammpl_context *ctx;
    if (ammpl_context_create(NULL, &ctx) != AMMPL_OK)
        return 1;
    ammpl_context_destroy(ctx);
    puts(ammpl_version_string());
    return ammpl_version_number() != AMMPL_VERSION_NUMBER;
}
