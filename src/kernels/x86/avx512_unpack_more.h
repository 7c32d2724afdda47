/* The types of avx512_unpack.h that are rarer: those whose scales of 16 elements go into the
 * unsigned bytes (see kernels.h), tables of values, and MLX's affine weights. */
#ifndef PENSIEVE_KERNELS_X86_AVX512_UNPACK_MORE_H
#define PENSIEVE_KERNELS_X86_AVX512_UNPACK_MORE_H

#include "kernels/x86/avx512_unpack.h"

/* Bits of a where mask is set, of b elsewhere. */
INLINE __m512i choose_bits(__m512i mask, __m512i a, __m512i b)
{
    return _mm512_ternarylogic_epi32(mask, a, b, 0xca);
}

/* ---- scales in the bytes ---- */

/* Quarters k and k + 1 of 32 bytes of two-bit quants, for j = k / 2; anything in the other bits. */
INLINE __m512i quarters(const uint8_t *qs, const int j)
{
    return twice_shifted(qs, 4 * j, 4 * j + 2);
}

INLINE void group_q2_k(struct group *g, const struct words *w, const uint8_t *p, int n_pairs)
{
    const struct quant_q2_k *b = (const struct quant_q2_k *)p;
    const __m128i by_lane = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m128i four = _mm_set1_epi8(15);
    __m128i both = _mm_loadu_si128((const __m128i *)b->scales);
    __m128i sc = _mm_and_si128(both, four), mn = _mm_and_si128(_mm_srli_epi16(both, 4), four);
    /* lane h has 0, 1, 2 and 3 times the scales of halves h, h + 4, h + 8, h + 12 */
    __m512i times = _mm512_mullo_epi32(_mm512_cvtepu8_epi32(_mm_shuffle_epi8(sc, by_lane)),
                                       _mm512_set1_epi32(0x03020100));
    UNROLL
    for (int j = 0; j < 4; j++)
        g->u[j] = _mm512_shuffle_epi8(
            times, choose_bits(_mm512_set1_epi8(3), quarters(b->qs + 32 * (j / 2), j % 2),
                               _mm512_set1_epi8((char)(4 * j))));
    g->d = _mm256_set1_ps(_cvtsh_ss(b->d));
    g->d16 = _mm512_mul_ps(_mm512_set1_ps(-_cvtsh_ss(b->dmin)),
                           _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(mn)));
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

/* Per 128 bits, of scales h and h + 4 for lane h, counted from `first`: 128 + scale * (4 - q) for q
 * = 0 .. 7. Bytes are multiplied in the words where they are the lower or the upper one. */
INLINE __m512i q3_k_times(__m128i scales, const int first)
{
    const __m512i lower = _mm512_set1_epi16(0xff);
    const __m512i even_times = _mm512_set1_epi64((long long)0xfffe000000020004); /* 4 2 0 -2 */
    const __m512i odd_times = _mm512_set1_epi64((long long)0xfffdffff00010003);  /* 3 1 -1 -3 */
    const __m512i by_lane = _mm512_set_epi64(
        0x0707070707070707, 0x0303030303030303, 0x0606060606060606, 0x0202020202020202,
        0x0505050505050505, 0x0101010101010101, 0x0404040404040404, 0);
    __m512i v = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(scales),
                                    _mm512_add_epi8(by_lane, _mm512_set1_epi8((char)first)));
    __m512i even = _mm512_mullo_epi16(v, even_times);
    __m512i odd = _mm512_mullo_epi16(_mm512_andnot_si512(lower, v), odd_times);
    return _mm512_xor_si512(choose_bits(lower, even, odd), _mm512_set1_epi8((char)0x80));
}

INLINE void group_q3_k(struct group *g, const struct words *w, const uint8_t *p, int n_pairs)
{
    const struct quant_q3_k *b = (const struct quant_q3_k *)p;
    const __m128i scales = _mm_sub_epi8(q3_k_scales(b->scales), _mm_set1_epi8(32));
    const __m512i times[2] = {q3_k_times(scales, 0), q3_k_times(scales, 8)};
    __m512i hmask = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)b->hmask));
    UNROLL
    for (int j = 0; j < 4; j++) {
        /* bit 2j (for the upper block 2j + 1) becomes bit 2 */
        __m512i high = _mm512_rorv_epi32(
            hmask, _mm512_inserti64x4(_mm512_set1_epi32((2 * j - 2) & 31),
                                      _mm256_set1_epi32((2 * j - 1) & 31), 1));
        __m512i q = choose_bits(_mm512_set1_epi8(3), quarters(b->qs + 32 * (j / 2), j % 2), high);
        g->u[j] = _mm512_shuffle_epi8(
            times[j / 2],
            choose_bits(_mm512_set1_epi8(7), q, _mm512_set1_epi8((char)(8 * (j % 2)))));
    }
    g->d = _mm256_set1_ps(-_cvtsh_ss(b->d));
}

/* ---- tables of values ---- */

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

INLINE void group_iq4_nl(struct group *g, const struct words *w, const uint8_t *p, int n_pairs)
{
    enum { S = sizeof(struct quant_iq4_nl) };
    UNROLL
    for (int j = 0; j < 4 && j < n_pairs; j++)
        g->u[j] = _mm512_shuffle_epi8(iq4_table(), nibbles_of_pair(p + 2 * j * S + 2, S));
    pick_d(g, w, p, S);
}

INLINE void group_iq4_xs(struct group *g, const struct words *w, const uint8_t *p, int n_pairs)
{
    const struct quant_iq4_xs *b = (const struct quant_iq4_xs *)p;
    const __m256i steps = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    int32_t low_bits;
    memcpy(&low_bits, b->scales_l, 4);
    UNROLL
    for (int j = 0; j < 4; j++)
        g->u[j] = _mm512_shuffle_epi8(iq4_table(), nibbles_of_pair(b->qs + 32 * j, 16));
    __m256i low = _mm256_srlv_epi32(_mm256_set1_epi32(low_bits), _mm256_slli_epi32(steps, 1));
    __m256i high = _mm256_srlv_epi32(_mm256_set1_epi32(b->scales_h), steps);
    low = _mm256_and_si256(low, _mm256_set1_epi32(15));
    high = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4);
    __m256i sc = _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
    g->d = _mm256_mul_ps(_mm256_set1_ps(_cvtsh_ss(b->d)), _mm256_cvtepi32_ps(sc));
}

/* 2^(e - 128) of eight bytes in the lanes */
INLINE __m256 e8m0_scales(__m256i e)
{
    const __m256i two = _mm256_set1_epi32(2);
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    __m256i tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x200000), e);
    return _mm256_castsi256_ps(
        _mm256_mask_blend_epi32(_mm256_cmplt_epu32_mask(e, two), normal, tiny));
}

/* The exponents of eight blocks, each in the word where its byte is. */
INLINE __m256i mxfp4_exponents(const uint8_t *p)
{
    enum { S = sizeof(struct quant_mxfp4) };
    const __m512i index = _mm512_zextsi128_si512(
        _mm_setr_epi16(0, S / 2, S, 3 * S / 2, 32, 32 + S / 2, 32 + S, 32 + 3 * S / 2));
    __m512i words = _mm512_permutex2var_epi16(_mm512_loadu_si512(p), index,
                                              _mm512_loadu_si512(p + 4 * S));
    __m256i e = _mm256_cvtepu16_epi32(_mm512_castsi512_si128(words));
    return _mm256_and_si256(_mm256_srlv_epi32(e, _mm256_setr_epi32(0, 8, 0, 8, 0, 8, 0, 8)),
                            _mm256_set1_epi32(255));
}

INLINE void group_mxfp4(struct group *g, const struct words *w, const uint8_t *p, int n_pairs)
{
    enum { S = sizeof(struct quant_mxfp4) };
    UNROLL
    for (int j = 0; j < 4 && j < n_pairs; j++)
        g->u[j] = _mm512_shuffle_epi8(mxfp4_table(), nibbles_of_pair(p + 2 * j * S + 1, S));
    g->d = e8m0_scales(mxfp4_exponents(p));
}

/* ---- MLX's affine weights ---- */

/* A block's number shifted so is that of its scale. */
INLINE int affine_shift(const struct kernels_affine *w)
{
    return w->group == 32 ? 0 : w->group == 64 ? 1 : 2;
}

/* Floats of up to eight 16-bit ones, each to the blocks of its group. */
INLINE __m256 affine_floats(const struct kernels_affine *w, const uint16_t *p, size_t n,
                            __m256i blocks)
{
    __m128i h = _mm_maskz_loadu_epi16((__mmask8)((1u << n) - 1), p);
    __m256 f = w->bf16 ? _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16))
                       : _mm256_cvtph_ps(h);
    return _mm256_permutevar8x32_ps(f, blocks);
}

/* Which of a group of eight blocks' scales each block has. */
INLINE __m256i affine_blocks(const struct kernels_affine *w)
{
    return _mm256_srlv_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                             _mm256_set1_epi32(affine_shift(w)));
}

/* n <= 8 blocks from block `at` of the whole matrix on. */
INLINE void group_affine(struct group *g, const struct kernels_affine *w, __m256i blocks,
                         const uint32_t bits, size_t at, size_t n)
{
    const int shift = affine_shift(w);
    g->d = affine_floats(w, w->scales + (at >> shift), n >> shift, blocks);
    g->m = affine_floats(w, w->biases + (at >> shift), n >> shift, blocks);
    if (bits == 8)
        g->m = _mm256_fmadd_ps(_mm256_set1_ps(128), g->d, g->m);
    UNROLL
    for (size_t j = 0; j < 4; j++) {
        const uint32_t *q = w->q + (at + 2 * j) * bits;
        const uint32_t n_here = n > 2 * j ? n - 2 * j == 1 ? 1 : 2 : 0;
        const __mmask16 words = (__mmask16)((1u << n_here * bits) - 1);
        if (bits == 8) {
            g->u[j] = _mm512_maskz_loadu_epi32(words, q);
        } else { /* a byte's nibbles become two bytes, the lower one first */
            __m512i v = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi32((__mmask8)words, q));
            g->u[j] = _mm512_and_si512(_mm512_or_si512(v, _mm512_slli_epi16(v, 4)),
                                       _mm512_set1_epi8(15));
        }
    }
}

#endif
