/* A copy of bytes that ends where unreadable memory begins: one byte too many is a crash, in any
 * build. */
#ifndef PENSIEVE_TESTS_WEIGHTS_GUARDED_H
#define PENSIEVE_TESTS_WEIGHTS_GUARDED_H

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct guarded {
    uint8_t *map, *data;
    size_t map_bytes;
};

static inline struct guarded guarded_copy(const void *bytes, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t n_readable = (n + page - 1) / page * page;
    struct guarded g = {.map_bytes = n_readable + page};
    g.map = mmap(NULL, g.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.map == MAP_FAILED)
        abort();
    mprotect(g.map + n_readable, page, PROT_NONE);
    g.data = g.map + n_readable - n;
    memcpy(g.data, bytes, n);
    return g;
}

static inline void guarded_free(struct guarded *g)
{
    munmap(g->map, g->map_bytes);
}

#endif
