/* `test_kernels --bench [tier]`: the speed of each kernel on one core. */
#ifndef PENSIEVE_TESTS_KERNELS_BENCH_H
#define PENSIEVE_TESTS_KERNELS_BENCH_H

void bench_all(const char *tier); /* NULL: every tier */

#endif
