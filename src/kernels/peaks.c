/* The ladder of peaks.h, and what every machine has. */
#include "kernels/peaks.h"

#include "kernels/kernels.h"
#ifdef KERNELS_X86
#include "kernels/x86/peaks.h"
#endif

uint64_t kernels_peaks_chain(uint64_t n)
{
    uint64_t x = n | 1;
    const uint64_t factor = 0x9e3779b97f4a7c15u;
    for (uint64_t i = 0; i < n; i++) {
        x *= factor;
        __asm__ volatile("" : "+r"(x)); /* or a compiler would fold the chain */
    }
    return x;
}

static uint64_t read_words(const void *data, size_t n_bytes, size_t n_streams, size_t ahead)
{
    const size_t n = n_bytes / n_streams / sizeof(uint64_t);
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i += 8)
        for (size_t s = 0; s < n_streams; s++) {
            const uint64_t *p = (const uint64_t *)data + s * n + i;
            if (ahead)
                __builtin_prefetch((const char *)p + ahead);
            for (int k = 0; k < 8; k++)
                sum |= p[k];
        }
    return sum;
}

void kernels_peaks_init(struct kernels_peaks *p)
{
    *p = (struct kernels_peaks){.read = read_words};
#ifdef KERNELS_X86
    if (!kernels_tier_runs((size_t)kernels_tier_find("avx2")))
        return;
    avx2_init_peaks(p);
    if (!kernels_tier_runs((size_t)kernels_tier_find("avx512")))
        return;
    avx512_init_peaks(p);
    if (!__builtin_cpu_supports("avx512bf16"))
        return;
    avx512_bf16_init_peaks(p);
#endif
}
