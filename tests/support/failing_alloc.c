#include "support/failing_alloc.h"

#include <stdbool.h>
#include <stddef.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);

long failing_alloc_countdown = -1;
long failing_alloc_n_alive;

static bool fails(void)
{
    return failing_alloc_countdown >= 0 && failing_alloc_countdown-- == 0;
}

void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n)
{
    void *p = fails() ? NULL : __real_malloc(n);
    failing_alloc_n_alive += p != NULL;
    return p;
}

void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    void *p = fails() ? NULL : __real_calloc(n, size);
    failing_alloc_n_alive += p != NULL;
    return p;
}

void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
    void *q = fails() ? NULL : __real_realloc(p, n);
    failing_alloc_n_alive += !p && q;
    return q;
}

void __wrap_free(void *p);
void __wrap_free(void *p)
{
    failing_alloc_n_alive -= p != NULL;
    __real_free(p);
}
