/* The limits of a core with AVX-512 and VNNI: independent sums enough to hide every latency. */
#include "kernels/x86/peaks.h"
#include "kernels/x86/x86.h"

#include <immintrin.h>

enum { N_SUMS = 12 };

static uint64_t int8(uint64_t n)
{
    __m512i sums[N_SUMS];
    const __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8((char)(n & 1));
    UNROLL
    for (int i = 0; i < N_SUMS; i++)
        sums[i] = _mm512_setzero_si512();
    for (uint64_t r = 0; r < n; r++) {
        UNROLL
        for (int i = 0; i < N_SUMS; i++)
            sums[i] = _mm512_dpbusd_epi32(sums[i], a, b);
        UNROLL
        for (int i = 0; i < N_SUMS; i++) /* keeps every step as it is written */
            __asm__ volatile("" : "+v"(sums[i]));
    }
    return n * N_SUMS * 128;
}

static uint64_t fp32(uint64_t n)
{
    __m512 sums[N_SUMS];
    const __m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps((float)(n & 1));
    UNROLL
    for (int i = 0; i < N_SUMS; i++)
        sums[i] = _mm512_setzero_ps();
    for (uint64_t r = 0; r < n; r++) {
        UNROLL
        for (int i = 0; i < N_SUMS; i++)
            sums[i] = _mm512_fmadd_ps(sums[i], a, b);
        UNROLL
        for (int i = 0; i < N_SUMS; i++)
            __asm__ volatile("" : "+v"(sums[i]));
    }
    return n * N_SUMS * 32;
}

static uint64_t read(const void *data, size_t n_bytes, size_t n_streams, size_t ahead)
{
    enum { STEP = 256 };
    const size_t n = n_bytes / n_streams;
    __m512i sums[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                       _mm512_setzero_si512()};
    for (size_t at = 0; at < n; at += STEP)
        for (size_t s = 0; s < n_streams; s++) {
            const char *p = (const char *)data + s * n + at;
            UNROLL
            for (int i = 0; i < 4; i++) {
                if (ahead)
                    _mm_prefetch(p + ahead + 64 * i, _MM_HINT_T0);
                sums[i] = _mm512_or_si512(sums[i], _mm512_loadu_si512(p + 64 * i));
            }
        }
    sums[0] = _mm512_or_si512(_mm512_or_si512(sums[0], sums[1]), _mm512_or_si512(sums[2], sums[3]));
    return (uint64_t)_mm512_reduce_or_epi64(sums[0]);
}

void avx512_init_peaks(struct kernels_peaks *p)
{
    p->int8 = (struct kernels_peak){int8, "vpdpbusd zmm", 128};
    p->fp32 = (struct kernels_peak){fp32, "vfmadd zmm", 32};
    p->read = read;
}
