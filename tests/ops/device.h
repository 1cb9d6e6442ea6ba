/* device.h - what the files of test_device_ops share. */
#ifndef AMMPL_TESTS_OPS_DEVICE_H
#define AMMPL_TESTS_OPS_DEVICE_H

#include "cuda_emu/control.h"
#include "ops.h"

enum { SEEDS = 3 };
static const size_t GIB = 1 << 30;
extern const char *plugin;
extern cuda_emu_configure_fn configure; /* these are NULL on a real device */
extern cuda_emu_fail_fn fail_at;
extern cuda_emu_counted_fn counted;

typedef struct device {
    ammpl_context *ctx;
    const ammpl_backend *backend;
    ammpl_stream *stream;
    unsigned long long before; /* bytes */
} device;

device open_device(void);
void close_device(device *d); /* nothing is left over */

/* device_steps.c, device_precision.c, device_failures.c */
void add_steps(TCase *to);
void add_precisions(TCase *to);
void add_failures(Suite *suite);

#endif
