/* What the unpacking of rows and of panels on AVX-512 shares: tables of values, Q3_K's scales. */
#ifndef PENSIEVE_KERNELS_X86_AVX512_TABLES_H
#define PENSIEVE_KERNELS_X86_AVX512_TABLES_H

#include "kernels/x86/x86.h"
#include "quant/blocks.h"

#include <immintrin.h>
#include <string.h>

/* Bits of a where mask is set, of b elsewhere. */
INLINE __m512i choose_bits(__m512i mask, __m512i a, __m512i b)
{
    return _mm512_ternarylogic_epi32(mask, a, b, 0xca);
}

/* The sixteen six-bit scales, of which 32 is to be subtracted, as bytes. */
INLINE __m128i q3_k_scales(const uint8_t *scales)
{
    __m128i low = _mm_loadl_epi64((const __m128i *)scales);
    int32_t high_bits;
    memcpy(&high_bits, scales + 8, 4);
    low = _mm_and_si128(_mm_unpacklo_epi64(low, _mm_srli_epi16(low, 4)), _mm_set1_epi8(15));
    __m128i high = _mm_srlv_epi32(_mm_set1_epi32(high_bits), _mm_setr_epi32(0, 2, 4, 6));
    high = _mm_slli_epi16(_mm_and_si128(high, _mm_set1_epi8(3)), 4);
    return _mm_or_si128(low, high);
}

INLINE __m512i iq4_table(void)
{
    __m128i values = _mm_setr_epi8(QUANT_IQ4_VALUES);
    return _mm512_broadcast_i32x4(_mm_xor_si128(values, _mm_set1_epi8((char)0x80)));
}

INLINE __m512i mxfp4_table(void)
{
    return _mm512_broadcast_i32x4(
        _mm_add_epi8(_mm_setr_epi8(QUANT_MXFP4_VALUES), _mm_set1_epi8(12)));
}

/* Halves of the powers of two that MLX's exponents of eight bits say; 255 is NaN. */
INLINE __m512 half_exponents(__m512i e)
{
    __m512i d = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    d = _mm512_mask_sllv_epi32(d, _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(2)),
                               _mm512_set1_epi32(0x200000), e);
    return _mm512_castsi512_ps(
        _mm512_mask_mov_epi32(d, _mm512_cmpeq_epi32_mask(e, _mm512_set1_epi32(255)),
                              _mm512_set1_epi32(0x7fc00000)));
}

#endif
