/* See memory.h. Linux tells by /proc/self/pagemap, where bit 63 of each page's word says whether it
 * is present (Documentation/admin-guide/mm/pagemap.rst), and /proc/self/status; macOS by mincore
 * and task_info. */
#include "base/memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif
#ifdef __APPLE__
#include <mach/mach.h>
#endif

enum { LARGE = 64 << 20 }; /* bytes that are worth large pages, of which each takes 2 MiB */

void *memory_map(size_t n_bytes, const char *what, struct error *err)
{
    void *p = mmap(NULL, n_bytes ? n_bytes : 1, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        error_set(err, ERROR_NO_MEMORY, "no memory for %s (%zu MiB)", what, n_bytes >> 20);
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    if (n_bytes >= LARGE)
        madvise(p, n_bytes, MADV_HUGEPAGE);
#endif
    return p;
}

void memory_unmap(void *memory, size_t n_bytes)
{
    if (memory)
        munmap(memory, n_bytes ? n_bytes : 1);
}

void memory_give_back(void *memory, size_t n_bytes)
{
#ifdef __APPLE__
    madvise(memory, n_bytes, MADV_FREE);
#else
    madvise(memory, n_bytes, MADV_DONTNEED);
#endif
}

#ifdef __APPLE__

uint64_t memory_resident(const void *memory, size_t n_bytes)
{
    enum { N_PAGES = 4096 };
    const uintptr_t size = (uintptr_t)sysconf(_SC_PAGESIZE), end = (uintptr_t)memory + n_bytes;
    uint64_t n = 0;
    for (uintptr_t at = (uintptr_t)memory / size * size; at < end; at += N_PAGES * size) {
        char present[N_PAGES] = {0};
        uintptr_t n_here = end - at < N_PAGES * size ? end - at : N_PAGES * size;
        if (mincore((void *)at, n_here, present))
            break;
        for (uintptr_t i = 0; i * size < n_here; i++)
            n += present[i] & MINCORE_INCORE;
    }
    return n * size;
}

void memory_of_process(struct memory_process *out)
{
    struct mach_task_basic_info info;
    mach_msg_type_number_t n = MACH_TASK_BASIC_INFO_COUNT;
    *out = (struct memory_process){0};
    if (!task_info(mach_task_self(), MACH_TASK_BASIC_INFO, (task_info_t)&info, &n))
        out->resident = info.resident_size;
}

#else

uint64_t memory_resident(const void *memory, size_t n_bytes)
{
    uint64_t words[4096], n_present = 0;
    const uintptr_t size = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t page = (uintptr_t)memory / size;
    const uintptr_t end = ((uintptr_t)memory + n_bytes + size - 1) / size;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && page < end) {
        size_t n = sizeof words / sizeof *words;
        n = end - page < n ? end - page : n;
        ssize_t got = pread(fd, words, n * sizeof *words, (off_t)(page * sizeof *words));
        if (got < (ssize_t)sizeof *words)
            break;
        n = (size_t)got / sizeof *words;
        for (size_t i = 0; i < n; i++)
            n_present += words[i] >> 63;
        page += n;
    }
    if (fd >= 0)
        close(fd);
    return n_present * size;
}

static uint64_t status_field(const char *status, const char *name)
{
    unsigned long long kib = 0;
    const char *at = strstr(status, name);
    if (at)
        sscanf(at + strlen(name), "%llu", &kib);
    return kib * 1024;
}

static uint64_t heap_bytes(void)
{
#if defined __GLIBC__ && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
    struct mallinfo2 m = mallinfo2();
    return m.arena + m.hblkhd;
#else
    return 0;
#endif
}

void memory_of_process(struct memory_process *out)
{
    char status[8192] = "";
    *out = (struct memory_process){.heap = heap_bytes()};
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, status, sizeof status - 1);
    close(fd);
    if (n <= 0)
        return;
    out->resident = status_field(status, "\nVmRSS:");
    out->resident_file = status_field(status, "\nRssFile:");
}

#endif
