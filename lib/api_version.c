/* api_version.c - which library runs, and how it was built. */
#include <ammpl/ammpl.h>

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown"
#endif

/* The micro-kernels that src/cpu compiles for this processor family; which one runs is ammpl_device_description's to say. */
#if defined(__x86_64__)
#define INSTRUCTION_SETS "sse2,avx2+fma,avx512f"
#elif defined(__aarch64__)
#define INSTRUCTION_SETS "neon"
#else
#define INSTRUCTION_SETS "portable"
#endif

uint32_t ammpl_version_number(void)
{
    return AMMPL_VERSION_NUMBER;
}

const char *ammpl_version_string(void)
{
    return AMMPL_VERSION_STRING;
}

const char *ammpl_build_info(void)
{
    return "version=" AMMPL_VERSION_STRING "\n"
           "compiler=" COMPILER "\n"
           "instruction_sets=" INSTRUCTION_SETS "\n";
}
