#include "failing_memory.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);
void __libc_free(void *p);

enum { MAX_FRAMES = 24, N_HELD = 1 << 16 };

static atomic_long countdown = -1, n_asked, n_alive;
static atomic_bool fails_on, has_fired, is_marked;
static _Thread_local bool is_spared;

static void *fired_at[MAX_FRAMES];
static int n_fired_at;

/* Blocks taken since the mark, in no order; a linear search is good enough for a few hundred. */
static struct held {
    _Atomic(void *) block;
    void *frames[MAX_FRAMES];
    int n_frames;
} held[N_HELD];

static bool fails(void)
{
    if (is_spared)
        return false;
    atomic_fetch_add(&n_asked, 1);
    if (atomic_load(&countdown) < 0)
        return false;
    if (atomic_fetch_sub(&countdown, 1) != 0)
        return false;
    if (atomic_load(&fails_on))
        atomic_store(&countdown, 0);
    if (!atomic_exchange(&has_fired, true)) {
        is_spared = true;
        n_fired_at = backtrace(fired_at, MAX_FRAMES);
        is_spared = false;
    }
    errno = ENOMEM;
    return true;
}

static void *taken(void *p)
{
    if (!p)
        return NULL;
    atomic_fetch_add(&n_alive, 1);
    if (!atomic_load(&is_marked) || is_spared)
        return p;
    is_spared = true;
    for (size_t i = 0; i < N_HELD; i++) {
        void *none = NULL;
        if (atomic_compare_exchange_strong(&held[i].block, &none, p)) {
            held[i].n_frames = backtrace(held[i].frames, MAX_FRAMES);
            break;
        }
    }
    is_spared = false;
    return p;
}

static void given_back(void *p)
{
    if (!p)
        return;
    atomic_fetch_sub(&n_alive, 1);
    if (!atomic_load(&is_marked))
        return;
    for (size_t i = 0; i < N_HELD; i++) {
        void *block = p;
        if (atomic_compare_exchange_strong(&held[i].block, &block, NULL))
            return;
    }
}

void *malloc(size_t n)
{
    return fails() ? NULL : taken(__libc_malloc(n));
}

void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : taken(__libc_calloc(n, size));
}

void *realloc(void *p, size_t n)
{
    if (fails())
        return NULL;
    void *q = __libc_realloc(p, n);
    if (q || !n) {
        given_back(p);
        taken(q);
    }
    return q;
}

void free(void *p)
{
    given_back(p);
    __libc_free(p);
}

void *memalign(size_t alignment, size_t n);
void *memalign(size_t alignment, size_t n)
{
    return fails() ? NULL : taken(__libc_memalign(alignment, n));
}

void *aligned_alloc(size_t alignment, size_t n)
{
    return memalign(alignment, n);
}

int posix_memalign(void **p, size_t alignment, size_t n)
{
    void *q = memalign(alignment, n);
    if (!q)
        return ENOMEM;
    *p = q;
    return 0;
}

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
    if (fails())
        return MAP_FAILED;
    void *p = (void *)syscall(SYS_mmap, at, n, protection, flags, fd, offset);
    if (p != MAP_FAILED)
        taken(p);
    return p;
}

int munmap(void *p, size_t n)
{
    given_back(p);
    return (int)syscall(SYS_munmap, p, n);
}

typedef int create_thread(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *context)
{
    static _Atomic(create_thread *) real;
    if (!atomic_load(&real)) {
        void *symbol = dlsym(RTLD_NEXT, "pthread_create");
        create_thread *function;
        memcpy(&function, &symbol, sizeof function);
        atomic_store(&real, function);
    }
    return fails() ? EAGAIN : atomic_load(&real)(thread, attributes, run, context);
}

long failing_memory_arm(long k, bool and_all_after)
{
    atomic_store(&countdown, -1);
    atomic_store(&has_fired, false);
    atomic_store(&fails_on, and_all_after);
    const long n = atomic_exchange(&n_asked, 0);
    atomic_store(&countdown, k);
    return n;
}

bool failing_memory_has_fired(void)
{
    return atomic_load(&has_fired);
}

void failing_memory_spare(bool spared)
{
    void *frames[2];
    is_spared = true;
    backtrace(frames, 2); /* loads what it needs, once */
    is_spared = spared;
}

long failing_memory_n_alive(void)
{
    return atomic_load(&n_alive);
}

void failing_memory_tell(void)
{
    backtrace_symbols_fd(fired_at, n_fired_at, STDERR_FILENO);
}

void failing_memory_mark(void)
{
    for (size_t i = 0; i < N_HELD; i++)
        atomic_store(&held[i].block, NULL);
    atomic_store(&is_marked, true);
}

void failing_memory_tell_held(void)
{
    atomic_store(&is_marked, false);
    for (size_t i = 0; i < N_HELD; i++)
        if (atomic_load(&held[i].block)) {
            static const char line[] = "-- held:\n";
            if (write(STDERR_FILENO, line, sizeof line - 1) > 0)
                backtrace_symbols_fd(held[i].frames, held[i].n_frames, STDERR_FILENO);
        }
}
