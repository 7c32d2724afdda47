/* Transposing sixteen rows, for all panels. */
#ifndef PENSIEVE_KERNELS_X86_AVX512_TRANSPOSE_H
#define PENSIEVE_KERNELS_X86_AVX512_TRANSPOSE_H

#include "kernels/x86/x86.h"

#include <immintrin.h>

/* Sixteen rows of eight dwords, row r at src + r * stride (dwords), to eight registers, one of
 * each dword. */
INLINE void transpose(const uint32_t *src, size_t stride, __m512i out[8])
{
    __m512i v[8], ab[8], t[8];
    UNROLL
    for (int i = 0; i < 8; i++) { /* rows i % 4 + 8 * (i / 4), and the one four below */
        const uint32_t *p = src + (size_t)(i % 4 + 8 * (i / 4)) * stride;
        v[i] = _mm512_inserti64x4(
            _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)p)),
            _mm256_loadu_si256((const __m256i *)(p + 4 * stride)), 1);
    }
    UNROLL
    for (int h = 0; h < 8; h += 4) {
        ab[h] = _mm512_unpacklo_epi32(v[h], v[h + 1]);
        ab[h + 1] = _mm512_unpackhi_epi32(v[h], v[h + 1]);
        ab[h + 2] = _mm512_unpacklo_epi32(v[h + 2], v[h + 3]);
        ab[h + 3] = _mm512_unpackhi_epi32(v[h + 2], v[h + 3]);
        t[h] = _mm512_unpacklo_epi64(ab[h], ab[h + 2]);
        t[h + 1] = _mm512_unpackhi_epi64(ab[h], ab[h + 2]);
        t[h + 2] = _mm512_unpacklo_epi64(ab[h + 1], ab[h + 3]);
        t[h + 3] = _mm512_unpackhi_epi64(ab[h + 1], ab[h + 3]);
    }
    UNROLL
    for (int k = 0; k < 4; k++) {
        out[k] = _mm512_shuffle_i32x4(t[k], t[k + 4], 0x88);
        out[k + 4] = _mm512_shuffle_i32x4(t[k], t[k + 4], 0xdd);
    }
}

#endif
