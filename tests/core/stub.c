/* stub.c - plug-ins that cannot be used, one per KIND, and one that can: what test_backends.c loads. */
#include <ammpl/ammpl_backend.h>
#include <stdio.h>

enum { GOOD, OTHER_VERSION, SHORT_TABLE, HOLE, NO_DRIVER, NO_DEVICE, NO_TABLE, SILENT, NO_NAME };

int32_t ammpl_backend_entry(const ammpl_host *host, const ammpl_backend **out);

static void nothing(void)
{
}

static int32_t device_count(const ammpl_host *host, int32_t *n)
{
    (void)host;
    *n = KIND == NO_DEVICE ? 0 : 2;
    return 0;
}

static void describe(const ammpl_host *host, int32_t device, char *text, size_t cap)
{
    (void)host;
    snprintf(text, cap, "stub number %d", device);
}

static int32_t memory(const ammpl_host *host, int32_t device, uint64_t *available, uint64_t *total)
{
    *available = 100;
    *total = 200;
    return device == 0 ? 0 : host->fail(-15, "the stub's second device is lost");
}

static int32_t stream_create(const ammpl_host *host, int32_t device, int32_t precision, ammpl_stream **out)
{
    (void)device;
    *out = NULL;
    if (precision > AMMPL_PRECISION_BF16)
        return host->fail(-7, "the stub is older than this precision");
    return host->fail(-3, "the stub has no streams");
}

static void stream_destroy(ammpl_stream *s)
{
    (void)s;
}

static union {
    ammpl_ops ops;
    struct {
        uint32_t struct_size, reserved;
        void (*slot[AMMPL_OPS_COUNT])(void);
    } slots;
} table;

static const ammpl_backend backend = {KIND == OTHER_VERSION ? AMMPL_BACKEND_SPI_VERSION + 1 : AMMPL_BACKEND_SPI_VERSION,
                                      sizeof(ammpl_backend), KIND == NO_NAME ? NULL : "stub", &table.ops, device_count,
                                      describe, memory, stream_create, stream_destroy, NULL, NULL};

int32_t ammpl_backend_entry(const ammpl_host *host, const ammpl_backend **out)
{
    for (size_t i = 0; i < AMMPL_OPS_COUNT; i++)
        table.slots.slot[i] = KIND == HOLE && i == AMMPL_OPS_COUNT / 2 ? NULL : nothing;
    table.slots.struct_size = sizeof(ammpl_ops) - (KIND == SHORT_TABLE ? 8 : 0);
    *out = KIND == NO_TABLE ? NULL : &backend;
    if (KIND == NO_DRIVER)
        return host->fail(-14, "there is no driver for stubs");
    return KIND == SILENT ? -14 : 0;
}
