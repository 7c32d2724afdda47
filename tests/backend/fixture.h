/* What the backend's tests share: random tensors, backends with any number of threads, and steps. */
#ifndef PENSIEVE_TESTS_BACKEND_FIXTURE_H
#define PENSIEVE_TESTS_BACKEND_FIXTURE_H

#include "backend/cpu/cpu.h"
#include "backend/cpu/state.h"
#include "backend/random_matrix.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static inline const struct backend_matrix *fixture_take(struct backend *be, const struct matrix *m)
{
    struct error err;
    const struct backend_matrix *taken = be->ops->matrix(be, m, &err);
    if (!taken)
        fail_msg("%s", err.message);
    return taken;
}

static inline struct backend *fixture_backend(uint32_t n_threads, const char *tier)
{
    struct error err;
    struct backend *be =
        backend_cpu_create(&(struct backend_cpu_options){n_threads, tier}, &err);
    if (!be)
        fail_msg("%s", err.message);
    return be;
}

static inline struct backend_activation *fixture_activation(struct backend *be, uint32_t width)
{
    struct error err;
    struct backend_activation *a = be->ops->activation(be, width, &err);
    if (!a)
        fail_msg("%s", err.message);
    return a;
}

static inline void fixture_assert_same(const float *a, const float *b, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a))
            fail_msg("%s: element %zu is %.9g, not %.9g", what, i, (double)b[i], (double)a[i]);
}

#endif
