/* malloc and its kin with a failure on demand, for tests that let the k-th allocation fail. The
 * program is linked with failing_alloc_args (--wrap), and compiles failing_alloc.c itself.
 */
#ifndef PENSIEVE_TESTS_SUPPORT_FAILING_ALLOC_H
#define PENSIEVE_TESTS_SUPPORT_FAILING_ALLOC_H

extern long failing_alloc_countdown; /* allocations that still succeed; negative: all do */
extern long failing_alloc_n_alive;   /* blocks held */

#endif
