/* The machine's physical cores, and threads that stay on one. */
#ifndef PENSIEVE_BASE_CORES_H
#define PENSIEVE_BASE_CORES_H

#include <pthread.h>
#include <stdint.h>

enum { CORES_MAX = 1024 };

struct cores {
    uint32_t n;         /* at least 1 */
    int cpus[CORES_MAX]; /* [n] the first CPU of each, or -1 where the system does not tell */
};

/* The cores that the calling thread may use. */
void cores_find(struct cores *cores);
/* Keeps a thread on core number i, counted around. Does nothing where the system has no such
 * thing, or does not allow it. */
void cores_pin(const struct cores *cores, uint32_t i, pthread_t thread);

#endif
