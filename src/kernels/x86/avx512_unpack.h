/* Eight blocks of 32 weights of each type as unsigned bytes in AVX-512 registers, with their
 * scales: what the row kernels multiply and what the panels are packed from. See quant/blocks.h
 * for the layouts. */
#ifndef PENSIEVE_KERNELS_X86_AVX512_UNPACK_H
#define PENSIEVE_KERNELS_X86_AVX512_UNPACK_H

#include "kernels/x86/x86.h"
#include "quant/blocks.h"

#include <immintrin.h>
#include <string.h>

struct group {
    __m512i u[4]; /* pairs: blocks 2j and 2j + 1 */
    __m256 d, m;  /* of the eight blocks; m only for MIN */
    __m512 d16;   /* HALVES: of the sixteen halves */
};

/* Where the 16-bit scales of eight small blocks are: some loads, each masked to its words and
 * shifted so that none covers another's, then one permutation. */
struct words {
    __m512i index;     /* words 0..7: of d, 8..15: of m */
    __mmask32 mask[4]; /* of load k */
};

/* Blocks whose words one of at most four loads reaches, shifted by those before it. */
#define WORDS_BLOCKS(block_bytes, n_words) ((64 - 4 * 2 * (n_words)) / (block_bytes) + 1)

INLINE struct words words_init(const int block_bytes, const int n_words)
{
    const int per_load = WORDS_BLOCKS(block_bytes, n_words);
    struct words w = {.mask = {0}};
    uint16_t index[32] = {0};
    for (int b = 0; b < 8; b++) {
        int k = b / per_load, at = b % per_load * (block_bytes / 2) + n_words * k;
        index[b] = (uint16_t)at;
        index[8 + b] = (uint16_t)(at + 1);
        w.mask[k] |= (__mmask32)((1u << n_words) - 1) << at;
    }
    w.index = _mm512_loadu_si512(index);
    return w;
}

INLINE __m256i words_pick(const struct words *w, const uint8_t *p, const int block_bytes,
                          const int n_words)
{
    const int per_load = WORDS_BLOCKS(block_bytes, n_words), n_loads = (7 + per_load) / per_load;
    const int step = per_load * block_bytes - 2 * n_words;
    __m512i v = _mm512_maskz_loadu_epi16(w->mask[0], p);
    for (int k = 1; k < n_loads; k++)
        v = _mm512_mask_loadu_epi16(v, w->mask[k], p + k * step);
    return _mm512_castsi512_si256(_mm512_permutexvar_epi16(w->index, v));
}

INLINE void pick_d(struct group *g, const struct words *w, const uint8_t *p, const int block_bytes)
{
    g->d = _mm256_cvtph_ps(_mm256_castsi256_si128(words_pick(w, p, block_bytes, 1)));
}

INLINE void pick_d_m(struct group *g, const struct words *w, const uint8_t *p,
                     const int block_bytes)
{
    __m512 both = _mm512_cvtph_ps(words_pick(w, p, block_bytes, 2));
    g->d = _mm512_castps512_ps256(both);
    g->m = _mm512_extractf32x8_ps(both, 1);
}

/* Each group_* below unpacks the first n_pairs pairs of blocks from p on (k-blocks are always
 * whole), and the scales of all eight, of which those of absent blocks are anything. */
typedef void group_fn(struct group *g, const struct words *w, const uint8_t *p, int n_pairs);

/* Nibbles of two blocks, 16 bytes each at p and p + block_bytes: [low, high, low, high] of 128
 * bits. */
INLINE __m512i nibbles_of_pair(const uint8_t *p, const int block_bytes)
{
    const __m512i shifts = _mm512_set_epi32(4, 4, 4, 4, 0, 0, 0, 0, 4, 4, 4, 4, 0, 0, 0, 0);
    __m512i v = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p));
    v = _mm512_mask_broadcast_i32x4(v, 0xff00,
                                    _mm_loadu_si128((const __m128i *)(p + block_bytes)));
    return _mm512_and_si512(_mm512_srlv_epi32(v, shifts), _mm512_set1_epi8(15));
}

/* Adds bit 4 from the 32 bits at p and those at p + block_bytes. */
INLINE __m512i add_fifth_bits(__m512i u, const uint8_t *p, const int block_bytes)
{
    uint32_t low, high;
    memcpy(&low, p, 4);
    memcpy(&high, p + block_bytes, 4);
    __mmask64 bits = _cvtu64_mask64((uint64_t)high << 32 | low);
    return _mm512_mask_add_epi8(u, bits, u, _mm512_set1_epi8(16));
}

INLINE void group_q4_0(struct group *g, const struct words *w, const uint8_t *p, int n_pairs)
{
    enum { S = sizeof(struct quant_q4_0) };
    UNROLL
    for (int j = 0; j < 4 && j < n_pairs; j++)
        g->u[j] = nibbles_of_pair(p + 2 * j * S + 2, S);
    pick_d(g, w, p, S);
}

INLINE void group_q4_1(struct group *g, const struct words *w, const uint8_t *p, int n_pairs)
{
    enum { S = sizeof(struct quant_q4_1) };
    UNROLL
    for (int j = 0; j < 4 && j < n_pairs; j++)
        g->u[j] = nibbles_of_pair(p + 2 * j * S + 4, S);
    pick_d_m(g, w, p, S);
}

INLINE void group_q5_0(struct group *g, const struct words *w, const uint8_t *p, int n_pairs)
{
    enum { S = sizeof(struct quant_q5_0) };
    UNROLL
    for (int j = 0; j < 4 && j < n_pairs; j++) {
        const uint8_t *b = p + 2 * j * S;
        g->u[j] = add_fifth_bits(nibbles_of_pair(b + 6, S), b + 2, S);
    }
    pick_d(g, w, p, S);
}

INLINE void group_q5_1(struct group *g, const struct words *w, const uint8_t *p, int n_pairs)
{
    enum { S = sizeof(struct quant_q5_1) };
    UNROLL
    for (int j = 0; j < 4 && j < n_pairs; j++) {
        const uint8_t *b = p + 2 * j * S;
        g->u[j] = add_fifth_bits(nibbles_of_pair(b + 8, S), b + 4, S);
    }
    pick_d_m(g, w, p, S);
}

INLINE void group_q8_0(struct group *g, const struct words *w, const uint8_t *p, int n_pairs)
{
    enum { S = sizeof(struct quant_q8_0) };
    UNROLL
    for (int j = 0; j < 4 && j < n_pairs; j++) {
        const uint8_t *b = p + 2 * j * S + 2;
        __m512i v = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)b));
        v = _mm512_inserti64x4(v, _mm256_loadu_si256((const __m256i *)(b + S)), 1);
        g->u[j] = _mm512_xor_si512(v, _mm512_set1_epi8((char)0x80));
    }
    pick_d(g, w, p, S);
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
    __m128i both = _mm_set_epi64x((long long)mn, (long long)sc);
    __m512 v = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(both));
    g->d = _mm256_mul_ps(_mm256_set1_ps(_cvtsh_ss(d)), _mm512_castps512_ps256(v));
    g->m = _mm256_mul_ps(_mm256_set1_ps(-_cvtsh_ss(dmin)), _mm512_extractf32x8_ps(v, 1));
}

/* 32 bytes twice, the upper copy shifted right by `high` bits, the lower by `low`. */
INLINE __m512i twice_shifted(const uint8_t *p, const int low, const int high)
{
    __m512i v = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_srlv_epi32(
        v, _mm512_inserti64x4(_mm512_set1_epi32(low), _mm256_set1_epi32(high), 1));
}

INLINE void group_q4_k(struct group *g, const struct words *w, const uint8_t *p, int n_pairs)
{
    const struct quant_q4_k *b = (const struct quant_q4_k *)p;
    UNROLL
    for (int j = 0; j < 4; j++)
        g->u[j] = _mm512_and_si512(twice_shifted(b->qs + 32 * j, 0, 4), _mm512_set1_epi8(15));
    k_scales(g, b->scales, b->d, b->dmin);
}

INLINE void group_q5_k(struct group *g, const struct words *w, const uint8_t *p, int n_pairs)
{
    const struct quant_q5_k *b = (const struct quant_q5_k *)p;
    __m512i qh = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)b->qh));
    UNROLL
    for (int j = 0; j < 4; j++) {
        __m512i u = _mm512_and_si512(twice_shifted(b->qs + 32 * j, 0, 4), _mm512_set1_epi8(15));
        __m512i bit = _mm512_inserti64x4(_mm512_set1_epi8((char)(1 << 2 * j)),
                                         _mm256_set1_epi8((char)(2 << 2 * j)), 1);
        g->u[j] = _mm512_mask_add_epi8(u, _mm512_test_epi8_mask(qh, bit), u, _mm512_set1_epi8(16));
    }
    k_scales(g, b->scales, b->d, b->dmin);
}

INLINE void group_q6_k(struct group *g, const struct words *w, const uint8_t *p, int n_pairs)
{
    const struct quant_q6_k *b = (const struct quant_q6_k *)p;
    const __m512i four = _mm512_set1_epi8(15), two = _mm512_set1_epi8(0x30);
    UNROLL
    for (int half = 0; half < 2; half++) {
        __m512i ql = _mm512_loadu_si512(b->ql + 64 * half);
        __m512i qh = _mm512_broadcast_i64x4(
            _mm256_loadu_si256((const __m256i *)(b->qh + 32 * half)));
        /* the two high bits of quarter k are bits 2k of qh, wanted in bits 4 and 5 */
        __m512i low = _mm512_sllv_epi32(
            qh, _mm512_inserti64x4(_mm512_set1_epi32(4), _mm256_set1_epi32(2), 1));
        __m512i high = _mm512_srlv_epi32(
            qh, _mm512_inserti64x4(_mm512_set1_epi32(0), _mm256_set1_epi32(2), 1));
        g->u[2 * half] =
            _mm512_or_si512(_mm512_and_si512(ql, four), _mm512_and_si512(low, two));
        g->u[2 * half + 1] =
            _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi32(ql, 4), four),
                            _mm512_and_si512(high, two));
    }
    __m512i sc = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)b->scales));
    g->d16 = _mm512_mul_ps(_mm512_set1_ps(_cvtsh_ss(b->d)), _mm512_cvtepi32_ps(sc));
}

#endif
