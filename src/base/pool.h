/* A few threads that do numbered tasks together. The caller takes part, tasks are claimed one by
 * one, so which thread does which is open and results must not depend on it. Between jobs the
 * workers watch for a few microseconds, then sleep; so does the caller, once it has no task left.
 * Knows nothing of what the tasks compute. */
#ifndef PENSIEVE_BASE_POOL_H
#define PENSIEVE_BASE_POOL_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct pool;

enum { POOL_MAX_THREADS = 256, POOL_MAX_TASKS = (1 << 20) - 1 };

/* n_threads counts the caller; at most POOL_MAX_THREADS; 0: the physical cores. `pin`: every thread
 * stays on a core of its own, the caller from its first job on. */
struct pool *pool_create(uint32_t n_threads, bool pin, struct error *err);
void pool_destroy(struct pool *p);
uint32_t pool_n_threads(const struct pool *p);

/* Calls task(context, i, thread) for every i below n_tasks, and returns when all are done.
 * `thread` is below n_threads and belongs to the calling thread alone meanwhile. One caller at a
 * time. */
void pool_run(struct pool *p, uint32_t n_tasks,
              void (*task)(void *context, uint32_t i, uint32_t thread), void *context);

/* The same where neighbours are best done by one thread, one after the other, as memory then
 * streams: each thread has a part of the tasks, and helps the others when it is done. */
void pool_run_parts(struct pool *p, uint32_t n_tasks,
                    void (*task)(void *context, uint32_t i, uint32_t thread), void *context);

#endif
