/* The types of avx2_unpack.h that are rarer: those whose scales of 16 elements go into the unsigned
 * bytes (see kernels.h), tables of values, and MLX's packed weights. */
#ifndef PENSIEVE_KERNELS_X86_AVX2_UNPACK_MORE_H
#define PENSIEVE_KERNELS_X86_AVX2_UNPACK_MORE_H

#include "kernels/unpack.h"
#include "kernels/x86/avx2_unpack.h"
#include "kernels/x86/packed.h"
#include "quant/half.h"

/* ---- scales in the bytes ---- */

/* Sixteen bytes: those of lower halves in the lower eight, then those of upper ones. */
INLINE __m128i part_halves(__m128i v)
{
    return _mm_shuffle_epi8(v,
                            _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
}

/* Block j of two-bit quants. */
INLINE __m256i two_bits(const uint8_t *qs, const int j)
{
    return _mm256_and_si256(_mm256_srli_epi16(load32(qs + 32 * (j / 4)), j % 4 * 2),
                            _mm256_set1_epi8(3));
}

INLINE void group_Q2_K(struct group *g, const uint8_t *p)
{
    const struct quant_q2_k *b = (const struct quant_q2_k *)p;
    const __m128i four = _mm_set1_epi8(15);
    const __m256i multiples = _mm256_set1_epi32(0x03020100);
    __m128i both = part_halves(_mm_loadu_si128((const __m128i *)b->scales));
    __m128i sc = _mm_and_si128(both, four), mn = _mm_and_si128(_mm_srli_epi16(both, 4), four);
    /* 0, 1, 2 and 3 times each scale: those of four lower halves, then of their upper ones */
    __m256i low = _mm256_mullo_epi32(_mm256_cvtepu8_epi32(sc), multiples);
    __m256i high = _mm256_mullo_epi32(_mm256_cvtepu8_epi32(_mm_srli_si128(sc, 8)), multiples);
    const __m256i times[2] = {_mm256_permute2x128_si256(low, high, 0x20),
                              _mm256_permute2x128_si256(low, high, 0x31)};
    UNROLL
    for (int j = 0; j < 8; j++) {
        __m256i at = _mm256_or_si256(two_bits(b->qs, j), _mm256_set1_epi8((char)(j % 4 * 4)));
        g->u[j] = _mm256_shuffle_epi8(times[j / 4], at);
    }
    __m256 dmin = _mm256_set1_ps(-_cvtsh_ss(b->dmin));
    g->d = _mm256_set1_ps(_cvtsh_ss(b->d));
    g->m = _mm256_mul_ps(dmin, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(mn)));
    g->m_high =
        _mm256_mul_ps(dmin, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(mn, 8))));
}

/* The sixteen six-bit scales less 32, as bytes. */
INLINE __m128i q3_k_scales(const uint8_t *scales)
{
    __m128i low = _mm_loadl_epi64((const __m128i *)scales);
    int32_t high_bits;
    memcpy(&high_bits, scales + 8, 4);
    low = _mm_and_si128(_mm_unpacklo_epi64(low, _mm_srli_epi16(low, 4)), _mm_set1_epi8(15));
    __m128i high = _mm_srlv_epi32(_mm_set1_epi32(high_bits), _mm_setr_epi32(0, 2, 4, 6));
    high = _mm_slli_epi16(_mm_and_si128(high, _mm_set1_epi8(3)), 4);
    return _mm_sub_epi8(_mm_or_si128(low, high), _mm_set1_epi8(32));
}

/* Of blocks j and j + 1, whose halves are in the two lanes: 128 + scale * (4 - q) for q = 0 .. 7.
 * Bytes are multiplied in the words where they are the lower or the upper one. */
INLINE __m256i q3_k_times(__m256i scales, const int j)
{
    const __m256i lower = _mm256_set1_epi16(0xff);
    const __m256i even_times = _mm256_set1_epi64x((long long)0xfffe000000020004); /* 4 2 0 -2 */
    const __m256i odd_times = _mm256_set1_epi64x((long long)0xfffdffff00010003);  /* 3 1 -1 -3 */
    const __m256i by_block = _mm256_set_epi64x(0x0303030303030303, 0x0101010101010101,
                                               0x0202020202020202, 0);
    __m256i v = _mm256_shuffle_epi8(
        scales, _mm256_add_epi8(by_block, _mm256_set1_epi8((char)(2 * j))));
    __m256i even = _mm256_and_si256(lower, _mm256_mullo_epi16(v, even_times));
    __m256i odd = _mm256_mullo_epi16(_mm256_andnot_si256(lower, v), odd_times);
    return _mm256_xor_si256(_mm256_or_si256(even, odd), _mm256_set1_epi8((char)0x80));
}

INLINE void group_Q3_K(struct group *g, const uint8_t *p)
{
    const struct quant_q3_k *b = (const struct quant_q3_k *)p;
    const __m256i scales = _mm256_broadcastsi128_si256(q3_k_scales(b->scales));
    const __m256i hmask = load32(b->hmask), four = _mm256_set1_epi8(4);
    UNROLL
    for (int j = 0; j < 8; j += 2) {
        const __m256i times = q3_k_times(scales, j);
        UNROLL
        for (int i = j; i < j + 2; i++) { /* bit i becomes bit 2 */
            __m256i high =
                i < 2 ? _mm256_slli_epi16(hmask, 2 - i) : _mm256_srli_epi16(hmask, i - 2);
            __m256i q = _mm256_or_si256(two_bits(b->qs, i), _mm256_and_si256(high, four));
            if (i > j)
                q = _mm256_or_si256(q, _mm256_set1_epi8(8));
            g->u[i] = _mm256_shuffle_epi8(times, q);
        }
    }
    g->d = _mm256_set1_ps(-_cvtsh_ss(b->d));
}

/* ---- tables of values ---- */

INLINE __m256i iq4_values(const uint8_t *nibbles_at)
{
    const __m128i values =
        _mm_xor_si128(_mm_setr_epi8(QUANT_IQ4_VALUES), _mm_set1_epi8((char)0x80));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), nibbles(nibbles_at));
}

INLINE void group_IQ4_NL(struct group *g, const uint8_t *p)
{
    enum { S = sizeof(struct quant_iq4_nl) };
    UNROLL
    for (int b = 0; b < 8; b++)
        g->u[b] = iq4_values(p + b * S + 2);
    g->d = pick(p, S);
}

INLINE void group_IQ4_XS(struct group *g, const uint8_t *p)
{
    const struct quant_iq4_xs *b = (const struct quant_iq4_xs *)p;
    const __m256i steps = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    int32_t low_bits;
    memcpy(&low_bits, b->scales_l, 4);
    UNROLL
    for (int j = 0; j < 8; j++)
        g->u[j] = iq4_values(b->qs + 16 * j);
    __m256i low = _mm256_srlv_epi32(_mm256_set1_epi32(low_bits), _mm256_slli_epi32(steps, 1));
    __m256i high = _mm256_srlv_epi32(_mm256_set1_epi32(b->scales_h), steps);
    low = _mm256_and_si256(low, _mm256_set1_epi32(15));
    high = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4);
    __m256i sc = _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
    g->d = _mm256_mul_ps(_mm256_set1_ps(_cvtsh_ss(b->d)), _mm256_cvtepi32_ps(sc));
}

INLINE __m256i mxfp4_values(__m256i nibbles)
{
    const __m128i values = _mm_add_epi8(_mm_setr_epi8(QUANT_MXFP4_VALUES), _mm_set1_epi8(12));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), nibbles);
}

INLINE void group_MXFP4(struct group *g, const uint8_t *p)
{
    enum { S = sizeof(struct quant_mxfp4) };
    float d[8];
    UNROLL
    for (int b = 0; b < 8; b++) {
        g->u[b] = mxfp4_values(nibbles(p + b * S + 1));
        d[b] = half_e8m0_to_float(p[b * S]);
    }
    g->d = _mm256_loadu_ps(d);
}

/* ---- MLX's packed weights ---- */

/* Floats of n <= 8 16-bit ones, each to the blocks of its group. */
INLINE __m256 affine_floats(const uint16_t *p, size_t n, bool bf16, __m256i blocks)
{
    __m128i v;
    if (n == 8) {
        v = _mm_loadu_si128((const __m128i *)p);
    } else if (n == 4) {
        v = _mm_loadl_epi64((const __m128i *)p);
    } else {
        uint16_t h[8] = {0};
        memcpy(h, p, n * sizeof *h);
        v = _mm_loadu_si128((const __m128i *)h);
    }
    __m256 f = bf16 ? _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16))
                    : _mm256_cvtph_ps(v);
    return _mm256_permutevar8x32_ps(f, blocks);
}

/* Which of a group of eight blocks' scales each block has. */
INLINE __m256i affine_blocks(struct affine affine)
{
    return _mm256_srlv_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                             _mm256_set1_epi32(affine.shift));
}

/* Halves of the powers of two that n <= 8 exponents say, the values' unit; 255 is NaN. */
INLINE __m256 mxfp4_exponents(const uint8_t *p, size_t n)
{
    uint8_t bytes[8] = {0};
    memcpy(bytes, p, n);
    const __m256i one = _mm256_set1_epi32(1), nan = _mm256_set1_epi32(0x7fc00000);
    __m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)bytes));
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, one), 23);
    __m256i d = _mm256_blendv_epi8(_mm256_sllv_epi32(_mm256_set1_epi32(0x200000), e), normal,
                                   _mm256_cmpgt_epi32(e, one));
    return _mm256_castsi256_ps(
        _mm256_blendv_epi8(d, nan, _mm256_cmpeq_epi32(e, _mm256_set1_epi32(255))));
}

/* A byte's nibbles become two bytes, the lower one first. */
INLINE __m256i packed_nibbles(const uint8_t *q)
{
    __m256i v = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)q));
    return _mm256_and_si256(_mm256_or_si256(v, _mm256_slli_epi16(v, 4)), _mm256_set1_epi8(15));
}

/* Two blocks of nibbles: the lower 16 weights of both, then the upper ones. */
INLINE void packed_twos(__m256i u[2], const uint8_t *q, const enum packed_kind kind)
{
    const __m256i four = _mm256_set1_epi8(15);
    __m256i v = load32(q), even = _mm256_and_si256(v, four);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi16(v, 4), four);
    if (kind == PACKED_KIND_MXFP4) {
        even = mxfp4_values(even);
        odd = mxfp4_values(odd);
    }
    u[0] = _mm256_unpacklo_epi8(even, odd);
    u[1] = _mm256_unpackhi_epi8(even, odd);
}

/* Scales and biases of n <= 8 blocks from block `at` of a row on; the others become zeros. */
INLINE void packed_scales(struct group *g, const struct packed_row *row, struct affine affine,
                          __m256i blocks, const enum packed_kind kind, size_t at, size_t n)
{
    const int shift = affine.shift;
    if (kind == PACKED_KIND_MXFP4) {
        g->d = mxfp4_exponents(row->exponents + at, n);
        return;
    }
    g->d = affine_floats(row->scales + (at >> shift), n >> shift, affine.bf16, blocks);
    g->m = affine_floats(row->biases + (at >> shift), n >> shift, affine.bf16, blocks);
    if (kind == PACKED_KIND_AFFINE_8)
        g->m = _mm256_fmadd_ps(_mm256_set1_ps(128), g->d, g->m);
}

/* The same, and their numbers. */
INLINE void group_packed(struct group *g, const struct packed_row *row, struct affine affine,
                         __m256i blocks, const enum packed_kind kind, size_t at, size_t n)
{
    packed_scales(g, row, affine, blocks, kind, at, n);
    UNROLL
    for (size_t j = 0; j < 8; j++) {
        const uint8_t *q = row->q + (at + j) * 4 * packed_bits(kind);
        if (j >= n)
            g->u[j] = _mm256_setzero_si256();
        else if (kind == PACKED_KIND_AFFINE_8)
            g->u[j] = load32(q);
        else
            g->u[j] = packed_nibbles(q);
        if (kind == PACKED_KIND_MXFP4)
            g->u[j] = mxfp4_values(g->u[j]);
    }
}

/* ---- every other type: the blocks of unpack.h ---- */

/* n <= 8 blocks from block b on; the others become zeros. */
INLINE void group_any(struct group *g, kernels_unpack_fn *unpack, const struct matrix *m,
                      size_t row, size_t b, size_t n)
{
    _Alignas(32) float d[2][8] = {{0}}, min[2][8] = {{0}};
    for (size_t j = 0; j < 8; j++) {
        struct kernels_block block = {.u = {0}};
        if (j < n)
            unpack(m, row, b + j, &block);
        g->u[j] = load32(block.u);
        for (int h = 0; h < 2; h++) {
            d[h][j] = block.d[h];
            min[h][j] = block.m[h];
        }
    }
    g->d = _mm256_load_ps(d[0]);
    g->d_high = _mm256_load_ps(d[1]);
    g->m = _mm256_load_ps(min[0]);
    g->m_high = _mm256_load_ps(min[1]);
}

/* The types of blocks that have a group_<NAME> here or in avx2_unpack.h; row and panel kernels
 * follow. */
#define AVX2_TYPES(X)                                                                              \
    X(Q4_0)                                                                                        \
    X(Q4_1)                                                                                        \
    X(Q5_0)                                                                                        \
    X(Q5_1)                                                                                        \
    X(Q8_0)                                                                                        \
    X(Q2_K)                                                                                        \
    X(Q3_K)                                                                                        \
    X(Q4_K)                                                                                        \
    X(Q5_K)                                                                                        \
    X(Q6_K)                                                                                        \
    X(IQ4_NL)                                                                                      \
    X(IQ4_XS)                                                                                      \
    X(MXFP4)

#endif
