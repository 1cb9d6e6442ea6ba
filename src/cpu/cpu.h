/* cpu.h - the CPU backend's table. */
#ifndef AMMPLI_CPU_H
#define AMMPLI_CPU_H

#include <ammpl/ammpl_backend.h>

extern const ammpl_backend ammpli_cpu_backend;

#endif
