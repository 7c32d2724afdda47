/* Blocks of 32 weights of each type as unsigned bytes in AVX2 registers, eight at a time, with
 * their scales: what the row kernels multiply and what the panels are packed from. See
 * quant/blocks.h. */
#ifndef PENSIEVE_KERNELS_X86_AVX2_UNPACK_H
#define PENSIEVE_KERNELS_X86_AVX2_UNPACK_H

#include "kernels/x86/x86.h"
#include "quant/blocks.h"

#include <immintrin.h>
#include <string.h>

struct group {
    __m256i u[8];
    __m256 d, d_high; /* d_high: of the upper halves */
    __m256 m, m_high; /* m: MIN, WIDE_MIN; both: MINS */
};

typedef void group_fn(struct group *g, const uint8_t *p);

/* Bytes u that are w + 128. */
INLINE bool is_wide(const enum kernels_form form)
{
    return form == KERNELS_WIDE || form == KERNELS_WIDE_MIN || form == KERNELS_WIDE_HALVES;
}

/* The 16-bit float at the same place of eight blocks. */
INLINE __m256 pick(const uint8_t *p, const size_t block_bytes)
{
    uint16_t h[8];
    for (size_t b = 0; b < 8; b++)
        memcpy(&h[b], p + b * block_bytes, 2);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)h));
}

INLINE __m256i load32(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* Low nibbles of 16 bytes, then the high ones. */
INLINE __m256i nibbles(const uint8_t *p)
{
    const __m256i shifts = _mm256_set_epi32(4, 4, 4, 4, 0, 0, 0, 0);
    __m256i v = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
    return _mm256_and_si256(_mm256_srlv_epi32(v, shifts), _mm256_set1_epi8(15));
}

/* Bit i of the 32 at p as 16 in byte i. */
INLINE __m256i fifth_bits(const uint8_t *p)
{
    const __m256i spread = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202,
                                             0x0101010101010101, 0);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    int32_t bits;
    memcpy(&bits, p, 4);
    __m256i v = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), spread), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(v, bit), _mm256_set1_epi8(16));
}

INLINE void group_Q4_0(struct group *g, const uint8_t *p)
{
    enum { S = sizeof(struct quant_q4_0) };
    UNROLL
    for (int b = 0; b < 8; b++)
        g->u[b] = nibbles(p + b * S + 2);
    g->d = pick(p, S);
}

INLINE void group_Q4_1(struct group *g, const uint8_t *p)
{
    enum { S = sizeof(struct quant_q4_1) };
    UNROLL
    for (int b = 0; b < 8; b++)
        g->u[b] = nibbles(p + b * S + 4);
    g->d = pick(p, S);
    g->m = pick(p + 2, S);
}

INLINE void group_Q5_0(struct group *g, const uint8_t *p)
{
    enum { S = sizeof(struct quant_q5_0) };
    UNROLL
    for (int b = 0; b < 8; b++)
        g->u[b] = _mm256_or_si256(nibbles(p + b * S + 6), fifth_bits(p + b * S + 2));
    g->d = pick(p, S);
}

INLINE void group_Q5_1(struct group *g, const uint8_t *p)
{
    enum { S = sizeof(struct quant_q5_1) };
    UNROLL
    for (int b = 0; b < 8; b++)
        g->u[b] = _mm256_or_si256(nibbles(p + b * S + 8), fifth_bits(p + b * S + 4));
    g->d = pick(p, S);
    g->m = pick(p + 2, S);
}

INLINE void group_Q8_0(struct group *g, const uint8_t *p)
{
    enum { S = sizeof(struct quant_q8_0) };
    UNROLL
    for (int b = 0; b < 8; b++)
        g->u[b] = _mm256_xor_si256(load32(p + b * S + 2), _mm256_set1_epi8((char)0x80));
    g->d = pick(p, S);
}

/* The eight scales and minima of a k-block, from their packed six bits. */
INLINE void k_scales(struct group *g, const uint8_t *scales, uint16_t d, uint16_t dmin)
{
    uint32_t a, b, c;
    memcpy(&a, scales, 4);
    memcpy(&b, scales + 4, 4);
    memcpy(&c, scales + 8, 4);
    uint64_t sc = (a & 0x3f3f3f3f) |
                  (uint64_t)((c & 0x0f0f0f0f) | (a >> 2 & 0x30303030)) << 32;
    uint64_t mn = (b & 0x3f3f3f3f) |
                  (uint64_t)((c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030)) << 32;
    __m256i isc = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)sc));
    __m256i imn = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)mn));
    g->d = _mm256_mul_ps(_mm256_set1_ps(_cvtsh_ss(d)), _mm256_cvtepi32_ps(isc));
    g->m = _mm256_mul_ps(_mm256_set1_ps(-_cvtsh_ss(dmin)), _mm256_cvtepi32_ps(imn));
}

INLINE void group_Q4_K(struct group *g, const uint8_t *p)
{
    const struct quant_q4_k *b = (const struct quant_q4_k *)p;
    const __m256i four = _mm256_set1_epi8(15);
    UNROLL
    for (int j = 0; j < 4; j++) {
        __m256i v = load32(b->qs + 32 * j);
        g->u[2 * j] = _mm256_and_si256(v, four);
        g->u[2 * j + 1] = _mm256_and_si256(_mm256_srli_epi32(v, 4), four);
    }
    k_scales(g, b->scales, b->d, b->dmin);
}

INLINE void group_Q5_K(struct group *g, const uint8_t *p)
{
    const struct quant_q5_k *b = (const struct quant_q5_k *)p;
    const __m256i four = _mm256_set1_epi8(15), sixteen = _mm256_set1_epi8(16);
    __m256i qh = load32(b->qh);
    UNROLL
    for (int j = 0; j < 8; j++) {
        __m256i v = _mm256_srli_epi32(load32(b->qs + 32 * (j / 2)), j % 2 * 4);
        /* bit j of qh becomes bit 4 */
        __m256i high = j < 4 ? _mm256_slli_epi32(qh, 4 - j) : _mm256_srli_epi32(qh, j - 4);
        g->u[j] =
            _mm256_or_si256(_mm256_and_si256(v, four), _mm256_and_si256(high, sixteen));
    }
    k_scales(g, b->scales, b->d, b->dmin);
}

INLINE void group_Q6_K(struct group *g, const uint8_t *p)
{
    const struct quant_q6_k *b = (const struct quant_q6_k *)p;
    const __m256i four = _mm256_set1_epi8(15), two = _mm256_set1_epi8(0x30);
    UNROLL
    for (int j = 0; j < 8; j++) { /* block j is quarter j % 4 of half j / 4 */
        const int k = j % 4;
        __m256i low = load32(b->ql + 64 * (j / 4) + 32 * (k % 2));
        __m256i high = load32(b->qh + 32 * (j / 4));
        low = _mm256_srli_epi32(low, k < 2 ? 0 : 4);
        high = k < 2 ? _mm256_slli_epi32(high, 4 - 2 * k) : _mm256_srli_epi32(high, 2 * k - 4);
        g->u[j] = _mm256_or_si256(_mm256_and_si256(low, four), _mm256_and_si256(high, two));
    }
    __m128i sc = _mm_loadu_si128((const __m128i *)b->scales);
    const __m128i halves = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    sc = _mm_shuffle_epi8(sc, halves);
    __m256 d = _mm256_set1_ps(_cvtsh_ss(b->d));
    g->d = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(sc)));
    g->d_high =
        _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(sc, 8))));
}

#endif
