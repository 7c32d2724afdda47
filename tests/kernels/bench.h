/* `test_kernels --bench [TIER [TYPE]]`: the speed of each kernel on one core. */
#ifndef PENSIEVE_TESTS_KERNELS_BENCH_H
#define PENSIEVE_TESTS_KERNELS_BENCH_H

/* NULL: every tier; every type, and vectors */
void bench_all(const char *tier, const char *type);

#endif
