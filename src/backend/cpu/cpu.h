/* The CPU backend: our kernels on a pool of threads. */
#ifndef PENSIEVE_BACKEND_CPU_CPU_H
#define PENSIEVE_BACKEND_CPU_CPU_H

#include "backend/backend.h"

struct backend_cpu_options {
    uint32_t n_threads; /* 0: the physical cores */
    const char *tier;   /* a kernel tier's name ("c", "avx2", "avx512"), or NULL for the best */
    bool pin;           /* each thread stays on a core of its own, where the system can do that */
};

/* USAGE for an unknown tier or one this CPU cannot run; destroy through ops->destroy. */
struct backend *backend_cpu_create(const struct backend_cpu_options *options, struct error *err);

#endif
