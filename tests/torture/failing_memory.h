/* All memory of the process, the libraries' too, with a failure on demand: this program's own
 * malloc and kin, mmap and pthread_create stand before the C library's. glibc only. */
#ifndef PENSIEVE_TESTS_TORTURE_FAILING_MEMORY_H
#define PENSIEVE_TESTS_TORTURE_FAILING_MEMORY_H

#include <stdbool.h>

/* From now on the k-th request (from 0 on) fails, or with `and_all_after` every one from it on;
 * k < 0: none. Returns how many were made since the last call. */
long failing_memory_arm(long k, bool and_all_after);
bool failing_memory_has_fired(void);
/* The calling thread is spared, and its requests are not counted. */
void failing_memory_spare(bool spared);
/* Blocks and maps that are held now. */
long failing_memory_n_alive(void);
/* Writes to standard error who asked when a request failed; with `held`: who holds what was taken
 * since the last failing_memory_mark. */
void failing_memory_tell(void);
void failing_memory_mark(void);
void failing_memory_tell_held(void);

#endif
