/* How long the calling thread has computed, for tests that something does not take for ever: what
 * other programs do meanwhile does not count. Limits leave room for slow machines. */
#ifndef PENSIEVE_TESTS_SUPPORT_CPU_TIME_H
#define PENSIEVE_TESTS_SUPPORT_CPU_TIME_H

#include <stdint.h>
#include <time.h>

static inline int64_t cpu_time_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

#endif
