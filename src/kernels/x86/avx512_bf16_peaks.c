/* The limit of a core that multiplies bfloat16. */
#include "kernels/x86/peaks.h"
#include "kernels/x86/x86.h"

#include <immintrin.h>

enum { N_SUMS = 12 };

static uint64_t bf16(uint64_t n)
{
    __m512 sums[N_SUMS];
    const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps((float)(n & 1)));
    UNROLL
    for (int i = 0; i < N_SUMS; i++)
        sums[i] = _mm512_setzero_ps();
    for (uint64_t r = 0; r < n; r++) {
        UNROLL
        for (int i = 0; i < N_SUMS; i++)
            sums[i] = _mm512_dpbf16_ps(sums[i], a, a);
        UNROLL
        for (int i = 0; i < N_SUMS; i++)
            __asm__ volatile("" : "+v"(sums[i]));
    }
    return n * N_SUMS * 64;
}

void avx512_bf16_init_peaks(struct kernels_peaks *p)
{
    p->bf16 = (struct kernels_peak){bf16, "vdpbf16ps zmm", 64};
}
