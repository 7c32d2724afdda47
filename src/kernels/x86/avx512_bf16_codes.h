/* The codes of quantized pages as bfloat16, which holds them exactly: no number is converted, all
 * are looked up. */
#ifndef PENSIEVE_KERNELS_X86_AVX512_BF16_CODES_H
#define PENSIEVE_KERNELS_X86_AVX512_BF16_CODES_H

#include "kernels/x86/x86.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

/* The word of an integer of 0 .. 255: its exponent, and the bits after the first. */
#define BF16_EXPONENT(i)                                                                           \
    ((i) < 2 ? 0 : (i) < 4 ? 1 : (i) < 8 ? 2 : (i) < 16 ? 3 : (i) < 32 ? 4 : (i) < 64 ? 5 : 6)
#define BF16_WORD(i)                                                                               \
    ((i) ? ((127 + BF16_EXPONENT(i)) << 7 | (((i) << (7 - BF16_EXPONENT(i))) & 127)) : 0)
#define BF16_LOW(i) (BF16_WORD(i) & 255)
#define BF16_HIGH(i) (BF16_WORD(i) >> 8)
#define FOUR_CODES(F, i) F(i), F((i) + 1), F((i) + 2), F((i) + 3)
#define SIXTEEN_CODES(F, i)                                                                        \
    FOUR_CODES(F, i), FOUR_CODES(F, (i) + 4), FOUR_CODES(F, (i) + 8), FOUR_CODES(F, (i) + 12)
#define SIXTY_FOUR_CODES(F, i)                                                                     \
    SIXTEEN_CODES(F, i), SIXTEEN_CODES(F, (i) + 16), SIXTEEN_CODES(F, (i) + 32),                   \
        SIXTEEN_CODES(F, (i) + 48)

/* The words of 0 .. 127, their lower and their upper bytes. */
static const _Alignas(64) uint8_t bf16_low[128] = {SIXTY_FOUR_CODES(BF16_LOW, 0),
                                                   SIXTY_FOUR_CODES(BF16_LOW, 64)};
static const _Alignas(64) uint8_t bf16_high[128] = {SIXTY_FOUR_CODES(BF16_HIGH, 0),
                                                    SIXTY_FOUR_CODES(BF16_HIGH, 64)};

/* The words of -8 .. 7, twice: the index's fifth bit does not matter. */
#define NEGATIVE(i) (0x8000 | BF16_WORD(i))
#define NIBBLE_WORDS                                                                               \
    NEGATIVE(8), NEGATIVE(7), NEGATIVE(6), NEGATIVE(5), NEGATIVE(4), NEGATIVE(3), NEGATIVE(2),     \
        NEGATIVE(1), FOUR_CODES(BF16_WORD, 0), FOUR_CODES(BF16_WORD, 4)
static const _Alignas(64) uint16_t bf16_nibbles[32] = {NIBBLE_WORDS, NIBBLE_WORDS};

/* 32 pairs of codes, or the first n of them, to pairs of bfloat16: 16 in each register. */
INLINE void bf16_pairs_of_bytes(const uint8_t *pairs, size_t n, __m512i out[2])
{
    /* unpacking works within quarters of a register: halves of each come from afar */
    const __m512i order = _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);
    const __mmask32 words = n < 32 ? ((__mmask32)1 << n) - 1 : ~(__mmask32)0;
    const __m512i x =
        _mm512_permutexvar_epi64(order, _mm512_maskz_loadu_epi16(words, pairs));
    const __m512i size = _mm512_abs_epi8(x);
    const __m512i low = _mm512_permutex2var_epi8(_mm512_load_si512(bf16_low), size,
                                                 _mm512_load_si512(bf16_low + 64));
    __m512i high = _mm512_permutex2var_epi8(_mm512_load_si512(bf16_high), size,
                                            _mm512_load_si512(bf16_high + 64));
    enum { A_OR_B_AND_C = 0xf8 };
    high = _mm512_ternarylogic_epi64(high, x, _mm512_set1_epi8((char)0x80), A_OR_B_AND_C);
    out[0] = _mm512_unpacklo_epi8(low, high);
    out[1] = _mm512_unpackhi_epi8(low, high);
}

INLINE void bf16_pairs_of_nibbles(const uint8_t *pairs, size_t n, __m512i out[2])
{
    const __m256i order = _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0);
    const __mmask32 bytes = n < 32 ? ((__mmask32)1 << n) - 1 : ~(__mmask32)0;
    const __m256i x =
        _mm256_permutexvar_epi32(order, _mm256_maskz_loadu_epi8(bytes, pairs));
    const __m512i wide = _mm512_cvtepu8_epi16(x), table = _mm512_load_si512(bf16_nibbles);
    const __m512i first = _mm512_permutexvar_epi16(wide, table);
    const __m512i second = _mm512_permutexvar_epi16(_mm512_srli_epi16(wide, 4), table);
    out[0] = _mm512_unpacklo_epi16(first, second);
    out[1] = _mm512_unpackhi_epi16(first, second);
}

#endif
