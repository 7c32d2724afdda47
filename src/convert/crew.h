/* Threads that share a list of jobs. Knows nothing of what they do. */
#ifndef PENSIEVE_CONVERT_CREW_H
#define PENSIEVE_CONVERT_CREW_H

#include "base/error.h"

#include <stddef.h>

struct crew;

/* n > 0 workers, the calling thread among them. Fewer where the system gives no more threads; NULL
 * with NO_MEMORY. */
struct crew *crew_create(size_t n, struct error *err);
void crew_destroy(struct crew *c);
size_t crew_size(const struct crew *c);

/* Does job(context, worker, i) for every i below n, each once, in any order and on any worker, and
 * returns when all are done. One run at a time. */
void crew_run(struct crew *c, void (*job)(void *context, size_t worker, size_t i), void *context,
              size_t n);

#endif
