/* Eight blocks of two rows of each type as unsigned bytes in AVX-512 registers, with their scales:
 * what the row kernels multiply. See quant/blocks.h for the layouts in memory.
 *
 * Of each block the lower and the upper 16 weights are 128 bits each. Register u[j][0] has the
 * lower ones of blocks f and f + 2 of row 0, then those of row 1, u[j][1] the upper ones; f is 0,
 * 1, 4, 5. Dot products of both then add up in the same four dwords, and adding the dwords of four
 * registers crosswise leaves sixteen sums, which are of
 *     row 0: blocks 0 1 4 5 2 3 6 7, row 1: blocks 0 1 4 5 2 3 6 7.
 * All scales and corrections come in this order, too. */
#ifndef PENSIEVE_KERNELS_X86_AVX512_PAIR_H
#define PENSIEVE_KERNELS_X86_AVX512_PAIR_H

#include "kernels/x86/avx512_unpack.h"

#define PAIR_ORDER 0, 1, 4, 5, 2, 3, 6, 7

enum { PAIR_PARTS = 2 };

/* The first block of register j. */
INLINE int pair_first(int j)
{
    return (j & 1) + (j & 2) * 2;
}

struct pair {
    __m512i u[4][PAIR_PARTS];
    __m512 d, m;      /* m for MIN, MINS and WIDE_MIN */
    __m512 d_upper;   /* HALVES: d is of the lower halves */
    __m512 m_upper;   /* MINS: m is of the lower halves */
    bool subtracts_m; /* m is that of x = d * u - m */
};

/* Indices of permutations, made once per call. */
struct pair_index {
    __m512i quants[2];  /* of 16-bit words: even and odd f */
    __m512i high;       /* the fifth bits' words */
    __m512i words;      /* scales of both rows */
    __mmask32 mask[4];  /* of the scales in load k */
    struct words group; /* types that go through avx512_unpack.h */
};

/* ---- 16-bit scales of small blocks ---- */

/* The scales of a row are gathered from some loads, each masked to its words and shifted so that
 * none covers another's; one permutation picks those of both rows. */

/* Blocks whose words one of at most four loads reaches, shifted by those before it. */
#define PAIR_PER_LOAD(block_bytes, n_words) ((64 - 4 * 2 * (n_words)) / (block_bytes) + 1)

INLINE void pair_words_init(struct pair_index *index, const int block_bytes, const int n_words)
{
    static const uint8_t order[8] = {PAIR_ORDER};
    const int per_load = PAIR_PER_LOAD(block_bytes, n_words);
    uint16_t words[32] = {0};
    for (int i = 0; i < 8; i++) {
        int k = order[i] / per_load;
        int at = order[i] % per_load * (block_bytes / 2) + n_words * k;
        for (int word = 0; word < n_words; word++) {
            words[16 * word + i] = (uint16_t)(at + word);
            words[16 * word + 8 + i] = (uint16_t)(at + word + 32);
        }
        index->mask[k] |= (__mmask32)((1u << n_words) - 1) << at;
    }
    index->words = _mm512_loadu_si512(words);
}

INLINE __m512i pair_words_of_row(const struct pair_index *index, const uint8_t *p,
                                 const int block_bytes, const int n_words, const int n_blocks)
{
    const int per_load = PAIR_PER_LOAD(block_bytes, n_words);
    const int step = per_load * block_bytes - 2 * n_words;
    __m512i v = _mm512_maskz_loadu_epi16(index->mask[0], p);
    UNROLL
    for (int k = 1; k < 4; k++)
        if (k * per_load < n_blocks)
            v = _mm512_mask_loadu_epi16(v, index->mask[k], p + k * step);
    return v;
}

/* d of both rows in the lower half, m in the upper; anything for blocks from n_blocks on. */
INLINE __m512i pair_words(const struct pair_index *index, const uint8_t *const *p,
                          const int block_bytes, const int n_words, const int n_blocks)
{
    return _mm512_permutex2var_epi16(
        pair_words_of_row(index, p[0], block_bytes, n_words, n_blocks), index->words,
        pair_words_of_row(index, p[1], block_bytes, n_words, n_blocks));
}

INLINE void pair_scales(struct pair *g, const struct pair_index *index, const uint8_t *const *p,
                        const int block_bytes, const int n_words, const int n_blocks)
{
    __m512i words = pair_words(index, p, block_bytes, n_words, n_blocks);
    g->d = _mm512_cvtph_ps(_mm512_castsi512_si256(words));
    if (n_words == 2)
        g->m = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(words, 1));
    g->subtracts_m = false;
}

/* ---- small blocks of nibbles ---- */

/* Words `at` .. `at` + n - 1 of a 64-byte load of row 0, those `stride` words later, and the same
 * of row 1, each repeated to 128 bits. */
INLINE __m512i pair_pick(const int at, const int stride, const int n)
{
    uint16_t words[32];
    for (int i = 0; i < 32; i++)
        words[i] = (uint16_t)(i / 16 * 32 + at + i / 8 % 2 * stride + i % 8 % n);
    return _mm512_loadu_si512(words);
}

/* Where the 64 bytes are loaded that hold blocks f and f + 2: from byte `lead` of block f on, or
 * as far before as the eight blocks' end demands. */
#define PAIR_LOAD_AT(block_bytes, lead, f)                                                         \
    ((f) % 2 && 3 * (block_bytes) < 64 + (lead) ? ((f) + 3) * (block_bytes) - 64                   \
                                                : (f) * (block_bytes) + (lead))

INLINE void pair_nibbles_init(struct pair_index *index, const int block_bytes, const int header,
                              const int lead)
{
    for (int f = 0; f < 2; f++)
        index->quants[f] = pair_pick(
            (f * block_bytes + header - PAIR_LOAD_AT(block_bytes, lead, f)) / 2, block_bytes, 8);
}

/* The packed quants of register j, and the loads they are from. */
INLINE __m512i pair_packed(const struct pair_index *index, const uint8_t *const *p,
                           const int block_bytes, const int lead, const int j, __m512i loads[2])
{
    const int f = pair_first(j), at = PAIR_LOAD_AT(block_bytes, lead, f);
    loads[0] = _mm512_loadu_si512(p[0] + at);
    loads[1] = _mm512_loadu_si512(p[1] + at);
    return _mm512_permutex2var_epi16(loads[0], index->quants[f % 2], loads[1]);
}

INLINE void pair_split(__m512i u[2], __m512i packed)
{
    const __m512i low = _mm512_set1_epi8(15);
    u[0] = _mm512_and_si512(packed, low);
    u[1] = _mm512_and_si512(_mm512_srli_epi16(packed, 4), low);
}

/* bits: 32 at the start of each 128 */
INLINE void pair_add_fifth(__m512i u[2], __m512i bits)
{
    const __m512i each = _mm512_set1_epi64((long long)0x8040201008040201);
    const __m512i lower = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
    const __m512i upper = _mm512_broadcast_i32x4(
        _mm_setr_epi8(2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3));
    const __m512i sixteen = _mm512_set1_epi8(16);
    __mmask64 m0 = _mm512_test_epi8_mask(_mm512_shuffle_epi8(bits, lower), each);
    __mmask64 m1 = _mm512_test_epi8_mask(_mm512_shuffle_epi8(bits, upper), each);
    u[0] = _mm512_mask_add_epi8(u[0], m0, u[0], sixteen);
    u[1] = _mm512_mask_add_epi8(u[1], m1, u[1], sixteen);
}

/* Each pair_init_* makes the indices, each pair_* unpacks the first n_blocks (4 or 8; k-blocks are
 * always whole) from p on. Reads nothing behind them. */
typedef void pair_init_fn(struct pair_index *index);
typedef void pair_fn(struct pair *g, const struct pair_index *index, const uint8_t *const *p,
                     const int n_blocks);

INLINE void pair_init_q4_0(struct pair_index *index)
{
    enum { S = sizeof(struct quant_q4_0) };
    pair_nibbles_init(index, S, 2, 2);
    pair_words_init(index, S, 1);
}

INLINE void pair_q4_0(struct pair *g, const struct pair_index *index, const uint8_t *const *p,
                      const int n_blocks)
{
    enum { S = sizeof(struct quant_q4_0) };
    __m512i loads[2];
    UNROLL
    for (int j = 0; j < n_blocks / 2; j++)
        pair_split(g->u[j], pair_packed(index, p, S, 2, j, loads));
    pair_scales(g, index, p, S, 1, n_blocks);
}

INLINE void pair_init_q4_1(struct pair_index *index)
{
    enum { S = sizeof(struct quant_q4_1) };
    pair_nibbles_init(index, S, 4, 4);
    pair_words_init(index, S, 2);
}

INLINE void pair_q4_1(struct pair *g, const struct pair_index *index, const uint8_t *const *p,
                      const int n_blocks)
{
    enum { S = sizeof(struct quant_q4_1) };
    __m512i loads[2];
    UNROLL
    for (int j = 0; j < n_blocks / 2; j++)
        pair_split(g->u[j], pair_packed(index, p, S, 4, j, loads));
    pair_scales(g, index, p, S, 2, n_blocks);
}

INLINE void pair_init_q5_0(struct pair_index *index)
{
    enum { S = sizeof(struct quant_q5_0) };
    pair_nibbles_init(index, S, 6, 2);
    index->high = pair_pick(0, S, 2);
    pair_words_init(index, S, 1);
}

INLINE void pair_q5_0(struct pair *g, const struct pair_index *index, const uint8_t *const *p,
                      const int n_blocks)
{
    enum { S = sizeof(struct quant_q5_0) };
    __m512i loads[2];
    UNROLL
    for (int j = 0; j < n_blocks / 2; j++) {
        pair_split(g->u[j], pair_packed(index, p, S, 2, j, loads));
        pair_add_fifth(g->u[j], _mm512_permutex2var_epi16(loads[0], index->high, loads[1]));
    }
    pair_scales(g, index, p, S, 1, n_blocks);
}

INLINE void pair_init_q5_1(struct pair_index *index)
{
    enum { S = sizeof(struct quant_q5_1) };
    pair_nibbles_init(index, S, 8, 8);
    index->high = pair_pick(2, S, 2);
    pair_words_init(index, S, 2);
}

INLINE void pair_q5_1(struct pair *g, const struct pair_index *index, const uint8_t *const *p,
                      const int n_blocks)
{
    enum { S = sizeof(struct quant_q5_1) };
    __m512i loads[2];
    UNROLL
    for (int j = 0; j < n_blocks / 2; j++) {
        const int at = pair_first(j) * S;
        pair_split(g->u[j], pair_packed(index, p, S, 8, j, loads));
        pair_add_fifth(g->u[j],
                       _mm512_permutex2var_epi16(_mm512_loadu_si512(p[0] + at), index->high,
                                                 _mm512_loadu_si512(p[1] + at)));
    }
    pair_scales(g, index, p, S, 2, n_blocks);
}

/* ---- bytes ---- */

INLINE void pair_init_q8_0(struct pair_index *index)
{
    pair_words_init(index, sizeof(struct quant_q8_0), 1);
}

/* Blocks f and f + 2 of a row. */
INLINE __m512i pair_q8_0_row(const uint8_t *p, int f)
{
    enum { S = sizeof(struct quant_q8_0) };
    __m512i v = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(p + f * S + 2)));
    return _mm512_mask_loadu_epi64(v, 0xf0, p + (f + 2) * S + 2 - 32);
}

INLINE void pair_q8_0(struct pair *g, const struct pair_index *index, const uint8_t *const *p,
                      const int n_blocks)
{
    const __m512i top = _mm512_set1_epi8((char)0x80);
    UNROLL
    for (int j = 0; j < n_blocks / 2; j++) {
        __m512i a = pair_q8_0_row(p[0], pair_first(j)), b = pair_q8_0_row(p[1], pair_first(j));
        g->u[j][0] = _mm512_xor_si512(_mm512_shuffle_i32x4(a, b, 0x88), top);
        g->u[j][1] = _mm512_xor_si512(_mm512_shuffle_i32x4(a, b, 0xdd), top);
    }
    pair_scales(g, index, p, sizeof(struct quant_q8_0), 1, n_blocks);
}

/* ---- k-blocks ---- */

/* Their scales lie side by side. */
INLINE void pair_init_q4_k(struct pair_index *index) { (void)index; }
INLINE void pair_init_q5_k(struct pair_index *index) { (void)index; }
INLINE void pair_init_q6_k(struct pair_index *index) { (void)index; }

/* 16 bytes of each row, each to 256 bits of floats of its word number `word`. */
INLINE __m512 pair_k_scale(__m256i rows, const int word)
{
    return _mm512_cvtph_ps(
        _mm256_shuffle_epi8(rows, _mm256_set1_epi16((short)(2 * word | (2 * word + 1) << 8))));
}

/* Scales and minima of the sub-blocks, from six bits each: see struct quant_q4_k, whose first 16
 * bytes are d, dmin and scales a0-3 b0-3 c0-3. */
INLINE void pair_k_scales(struct pair *g, const uint8_t *const *p)
{
    enum { Z = -1, A = 4, B = 8, C = 12 };
    const __m256i pick_low = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(A, A + 1, C, C + 1, A + 2, A + 3, C + 2, C + 3, /* scales in PAIR_ORDER */
                      B, B + 1, C, C + 1, B + 2, B + 3, C + 2, C + 3));
    const __m256i pick_high = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        Z, Z, A, A + 1, Z, Z, A + 2, A + 3, Z, Z, B, B + 1, Z, Z, B + 2, B + 3));
    const __m256i shifts =
        _mm256_broadcastsi128_si256(_mm_setr_epi16(0, 0, 0, 0, 0, 4, 0, 4));
    const __m256i low_bits = _mm256_set1_epi32(0x0f0f3f3f);
    __m256i rows = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p[0])),
        _mm_loadu_si128((const __m128i *)p[1]), 1);
    __m256i low = _mm256_and_si256(
        _mm256_srlv_epi16(_mm256_shuffle_epi8(rows, pick_low), shifts), low_bits);
    __m256i high = _mm256_and_si256(
        _mm256_srli_epi16(_mm256_shuffle_epi8(rows, pick_high), 2), _mm256_set1_epi8(0x30));
    __m256i all = _mm256_permute4x64_epi64(_mm256_or_si256(low, high), 0xd8);
    __m512i sc = _mm512_cvtepu8_epi32(_mm256_castsi256_si128(all));
    __m512i mn = _mm512_cvtepu8_epi32(_mm256_extracti128_si256(all, 1));
    g->d = _mm512_mul_ps(pair_k_scale(rows, 0), _mm512_cvtepi32_ps(sc));
    g->m = _mm512_mul_ps(pair_k_scale(rows, 1), _mm512_cvtepi32_ps(mn));
    g->subtracts_m = true;
}

/* Sub-blocks f .. f + 3, f = 0 or 4, from their 64 bytes of each row: even ones in low nibbles. */
INLINE void pair_k_nibbles(struct pair *g, const uint8_t *a, const uint8_t *b, const int j)
{
    const __m512i low = _mm512_set1_epi8(15);
    __m512i v = _mm512_loadu_si512(a), w = _mm512_loadu_si512(b);
    __m512i parts[2] = {_mm512_shuffle_i32x4(v, w, 0x88), _mm512_shuffle_i32x4(v, w, 0xdd)};
    UNROLL
    for (int i = 0; i < 2; i++) {
        g->u[j][i] = _mm512_and_si512(parts[i], low);
        g->u[j + 1][i] = _mm512_and_si512(_mm512_srli_epi16(parts[i], 4), low);
    }
}

INLINE void pair_q4_k(struct pair *g, const struct pair_index *index, const uint8_t *const *p,
                      const int n_blocks)
{
    const struct quant_q4_k *a = (const struct quant_q4_k *)p[0];
    const struct quant_q4_k *b = (const struct quant_q4_k *)p[1];
    pair_k_nibbles(g, a->qs, b->qs, 0);
    pair_k_nibbles(g, a->qs + 64, b->qs + 64, 2);
    pair_k_scales(g, p);
}

/* 16 bytes of each row, each twice. */
INLINE __m512i pair_twice(const void *a, const void *b)
{
    __m512i v = _mm512_broadcast_i32x4(_mm_loadu_si128(a));
    return _mm512_mask_broadcast_i32x4(v, 0xff00, _mm_loadu_si128(b));
}

/* v with 32-bit rotations to the left: lanes of f by `first`, of f + 2 by `second`. */
INLINE __m512i pair_rotate(__m512i v, const int first, const int second)
{
    const __m128i a = _mm_set1_epi32(first & 31), b = _mm_set1_epi32(second & 31);
    return _mm512_rolv_epi32(v, _mm512_broadcast_i64x4(_mm256_set_m128i(b, a)));
}

INLINE void pair_q5_k(struct pair *g, const struct pair_index *index, const uint8_t *const *p,
                      const int n_blocks)
{
    const struct quant_q5_k *a = (const struct quant_q5_k *)p[0];
    const struct quant_q5_k *b = (const struct quant_q5_k *)p[1];
    const __m512i bit = _mm512_set1_epi8(16);
    pair_k_nibbles(g, a->qs, b->qs, 0);
    pair_k_nibbles(g, a->qs + 64, b->qs + 64, 2);
    UNROLL
    for (int i = 0; i < 2; i++) {
        __m512i high = pair_twice(a->qh + 16 * i, b->qh + 16 * i);
        UNROLL
        for (int j = 0; j < 4; j++) { /* u | (turned & bit) */
            const int f = pair_first(j);
            g->u[j][i] = _mm512_ternarylogic_epi32(g->u[j][i], pair_rotate(high, 4 - f, 2 - f),
                                                   bit, 0xf8);
        }
    }
    pair_k_scales(g, p);
}

/* Lower halves' scales in PAIR_ORDER, then the upper ones'. */
INLINE void pair_q6_k_scales(struct pair *g, const struct quant_q6_k *a, const struct quant_q6_k *b)
{
    const __m256i pick = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 2, 8, 10, 4, 6, 12, 14, 1, 3, 9, 11, 5, 7, 13, 15));
    __m256i rows = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)a->scales)),
        _mm_loadu_si128((const __m128i *)b->scales), 1);
    rows = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(rows, pick), 0xd8);
    __m512 d = _mm512_cvtph_ps(_mm256_set_m128i(_mm_set1_epi16((short)b->d),
                                                _mm_set1_epi16((short)a->d)));
    __m512i lower = _mm512_cvtepi8_epi32(_mm256_castsi256_si128(rows));
    __m512i upper = _mm512_cvtepi8_epi32(_mm256_extracti128_si256(rows, 1));
    g->d = _mm512_mul_ps(d, _mm512_cvtepi32_ps(lower));
    g->d_upper = _mm512_mul_ps(d, _mm512_cvtepi32_ps(upper));
}

INLINE void pair_q6_k(struct pair *g, const struct pair_index *index, const uint8_t *const *p,
                      const int n_blocks)
{
    const struct quant_q6_k *a = (const struct quant_q6_k *)p[0];
    const struct quant_q6_k *b = (const struct quant_q6_k *)p[1];
    const __m512i four = _mm512_set1_epi8(15), two = _mm512_set1_epi8(0x30);
    /* of a quarter pair the earlier block is in low nibbles, the other in high ones */
    const __m512i nibble = _mm512_broadcast_i64x4(
        _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
    UNROLL
    for (int j = 0; j < 4; j++) {
        UNROLL
        for (int i = 0; i < 2; i++) {
            const int ql = 64 * (j / 2) + 32 * (j % 2) + 16 * i, qh = 32 * (j / 2) + 16 * i;
            __m512i low = _mm512_srlv_epi32(pair_twice(a->ql + ql, b->ql + ql), nibble);
            /* bits 2k of quarter k, wanted in bits 4 and 5 */
            __m512i high = pair_rotate(pair_twice(a->qh + qh, b->qh + qh), 4 - 2 * (j % 2),
                                       -2 * (j % 2));
            g->u[j][i] = _mm512_ternarylogic_epi32(_mm512_and_si512(low, four), high, two, 0xf8);
        }
    }
    pair_q6_k_scales(g, a, b);
}

#endif
