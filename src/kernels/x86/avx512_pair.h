/* Eight blocks of two rows of each type as unsigned bytes in AVX-512 registers, with their scales:
 * what the row kernels multiply. See quant/blocks.h for the layouts in memory.
 *
 * Of each block the lower and the upper 16 weights are 128 bits each. Register u[j][0] has the
 * lower ones of four blocks, u[j][1] the upper ones: blocks 0, 2, 4, 6 of row 0 (j = 0), 1, 3, 5, 7
 * of row 0 (j = 1), then those of row 1. Dot products of both then add up in the same four dwords,
 * and adding the dwords of four registers crosswise leaves sixteen sums: blocks 0 and 1 of row 0,
 * of row 1, blocks 2 and 3 of row 0, of row 1, and so on. All scales come in this order, too. */
#ifndef PENSIEVE_KERNELS_X86_AVX512_PAIR_H
#define PENSIEVE_KERNELS_X86_AVX512_PAIR_H

#include "kernels/x86/x86.h"
#include "quant/blocks.h"

#include <immintrin.h>
#include <string.h>

struct pair {
    __m512i u[4][2];
    __m512 d, m;      /* m for MIN, MINS and WIDE_MIN */
    __m512 d_upper;   /* with halves: d is of the lower ones */
    __m512 m_upper;   /* MINS: m is of the lower halves */
    bool subtracts_m; /* m is that of x = d * u - m */
};

/* Indices of permutations, made once per call. */
struct pair_index {
    __m512i quants[2];  /* of 16-bit words: even and odd blocks */
    __m512i high;       /* the fifth bits' words */
    __m512i words;      /* scales of both rows */
    __mmask32 mask[4];  /* of the scales in load k */
};

/* ---- 16-bit scales of small blocks ---- */

/* The scales of a row are gathered from some loads, each masked to its words and shifted so that
 * none covers another's; one permutation picks those of both rows. */

/* Blocks whose words one of at most four loads reaches, shifted by those before it. */
#define PAIR_PER_LOAD(block_bytes, n_words) ((64 - 4 * 2 * (n_words)) / (block_bytes) + 1)

INLINE void pair_words_init(struct pair_index *index, const int block_bytes, const int n_words)
{
    const int per_load = PAIR_PER_LOAD(block_bytes, n_words);
    uint16_t words[32] = {0};
    for (int b = 0; b < 8; b++) {
        int k = b / per_load, at = b % per_load * (block_bytes / 2) + n_words * k;
        int lane = b / 2 * 4 + b % 2;
        for (int word = 0; word < n_words; word++) {
            words[16 * word + lane] = (uint16_t)(at + word);
            words[16 * word + lane + 2] = (uint16_t)(at + word + 32);
        }
        index->mask[k] |= (__mmask32)((1u << n_words) - 1) << at;
    }
    index->words = _mm512_loadu_si512(words);
}

INLINE __m512i pair_words_of_row(const struct pair_index *index, const uint8_t *p,
                                 const int block_bytes, const int n_words)
{
    const int per_load = PAIR_PER_LOAD(block_bytes, n_words);
    const int step = per_load * block_bytes - 2 * n_words;
    __m512i v = _mm512_maskz_loadu_epi16(index->mask[0], p);
    UNROLL
    for (int k = 1; k < 4; k++)
        if (k * per_load < 8)
            v = _mm512_mask_loadu_epi16(v, index->mask[k], p + k * step);
    return v;
}

INLINE void pair_scales(struct pair *g, const struct pair_index *index, const uint8_t *const *p,
                        const int block_bytes, const int n_words)
{
    __m512i a = pair_words_of_row(index, p[0], block_bytes, n_words);
    __m512i b = pair_words_of_row(index, p[1], block_bytes, n_words);
    __m512i words = _mm512_permutex2var_epi16(a, index->words, b);
    g->d = _mm512_cvtph_ps(_mm512_castsi512_si256(words));
    if (n_words == 2)
        g->m = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(words, 1));
    g->subtracts_m = false;
}

/* ---- small blocks of nibbles ---- */

/* Words `at` .. `at` + n - 1 of a 64-byte load, those `stride` words later, and the same of a
 * second load, each repeated to 128 bits. */
INLINE __m512i pair_pick(const int at, const int stride, const int n)
{
    uint16_t words[32];
    for (int i = 0; i < 32; i++)
        words[i] = (uint16_t)(i / 16 * 32 + at + i / 8 % 2 * stride + i % 8 % n);
    return _mm512_loadu_si512(words);
}

/* Where the 64 bytes are loaded that hold blocks f and f + 2 (f = 0, 1) of four: from byte `lead`
 * of block f on, or as far before as the blocks' end demands. */
#define PAIR_LOAD_AT(block_bytes, lead, f)                                                         \
    ((f) && 3 * (block_bytes) < 64 + (lead) ? 4 * (block_bytes) - 64 : (f) * (block_bytes) + (lead))

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
    const uint8_t *at = p[j / 2] + PAIR_LOAD_AT(block_bytes, lead, j % 2);
    loads[0] = _mm512_loadu_si512(at);
    loads[1] = _mm512_loadu_si512(at + 4 * block_bytes);
    return _mm512_permutex2var_epi16(loads[0], index->quants[j % 2], loads[1]);
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

/* Each pair_init_* makes the indices, each pair_* unpacks eight blocks from p[0] and p[1] on and
 * reads nothing behind them. */
typedef void pair_init_fn(struct pair_index *index);
typedef void pair_fn(struct pair *g, const struct pair_index *index, const uint8_t *const *p);

/* The last n < 8 blocks of two rows: eight are read, so they are copied when the rows end at `end`
 * before. */
INLINE void pair_copy_tail(const uint8_t **p, const uint8_t *end, const size_t group_bytes,
                           size_t n, uint8_t (*copies)[8 * 40])
{
    for (int i = 0; i < 2; i++)
        if ((size_t)(end - p[i]) < group_bytes)
            p[i] = memcpy(copies[i], p[i], n * (group_bytes / 8));
}

INLINE void pair_init_Q4_0(struct pair_index *index)
{
    enum { S = sizeof(struct quant_q4_0) };
    pair_nibbles_init(index, S, 2, 2);
    pair_words_init(index, S, 1);
}

INLINE void pair_Q4_0(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
{
    enum { S = sizeof(struct quant_q4_0) };
    __m512i loads[2];
    UNROLL
    for (int j = 0; j < 4; j++)
        pair_split(g->u[j], pair_packed(index, p, S, 2, j, loads));
    pair_scales(g, index, p, S, 1);
}

INLINE void pair_init_Q4_1(struct pair_index *index)
{
    enum { S = sizeof(struct quant_q4_1) };
    pair_nibbles_init(index, S, 4, 4);
    pair_words_init(index, S, 2);
}

INLINE void pair_Q4_1(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
{
    enum { S = sizeof(struct quant_q4_1) };
    __m512i loads[2];
    UNROLL
    for (int j = 0; j < 4; j++)
        pair_split(g->u[j], pair_packed(index, p, S, 4, j, loads));
    pair_scales(g, index, p, S, 2);
}

INLINE void pair_init_Q5_0(struct pair_index *index)
{
    enum { S = sizeof(struct quant_q5_0) };
    pair_nibbles_init(index, S, 6, 2);
    index->high = pair_pick(0, S, 2);
    pair_words_init(index, S, 1);
}

INLINE void pair_Q5_0(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
{
    enum { S = sizeof(struct quant_q5_0) };
    __m512i loads[2];
    UNROLL
    for (int j = 0; j < 4; j++) {
        pair_split(g->u[j], pair_packed(index, p, S, 2, j, loads));
        pair_add_fifth(g->u[j], _mm512_permutex2var_epi16(loads[0], index->high, loads[1]));
    }
    pair_scales(g, index, p, S, 1);
}

INLINE void pair_init_Q5_1(struct pair_index *index)
{
    enum { S = sizeof(struct quant_q5_1) };
    pair_nibbles_init(index, S, 8, 8);
    index->high = pair_pick(2, S, 2);
    pair_words_init(index, S, 2);
}

INLINE void pair_Q5_1(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
{
    enum { S = sizeof(struct quant_q5_1) };
    __m512i loads[2];
    UNROLL
    for (int j = 0; j < 4; j++) {
        const uint8_t *at = p[j / 2] + j % 2 * S;
        pair_split(g->u[j], pair_packed(index, p, S, 8, j, loads));
        pair_add_fifth(g->u[j],
                       _mm512_permutex2var_epi16(_mm512_loadu_si512(at), index->high,
                                                 _mm512_loadu_si512(at + 4 * S)));
    }
    pair_scales(g, index, p, S, 2);
}

/* ---- bytes ---- */

INLINE void pair_init_Q8_0(struct pair_index *index)
{
    pair_words_init(index, sizeof(struct quant_q8_0), 1);
}

/* Blocks f and f + 2 of a row. */
INLINE __m512i pair_q8_0_blocks(const uint8_t *p, int f)
{
    enum { S = sizeof(struct quant_q8_0) };
    __m512i v = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(p + f * S + 2)));
    return _mm512_mask_loadu_epi64(v, 0xf0, p + (f + 2) * S + 2 - 32);
}

INLINE void pair_Q8_0(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
{
    const __m512i top = _mm512_set1_epi8((char)0x80);
    UNROLL
    for (int j = 0; j < 4; j++) {
        __m512i a = pair_q8_0_blocks(p[j / 2], j % 2), b = pair_q8_0_blocks(p[j / 2], j % 2 + 4);
        g->u[j][0] = _mm512_xor_si512(_mm512_shuffle_i32x4(a, b, 0x88), top);
        g->u[j][1] = _mm512_xor_si512(_mm512_shuffle_i32x4(a, b, 0xdd), top);
    }
    pair_scales(g, index, p, sizeof(struct quant_q8_0), 1);
}

/* ---- k-blocks ---- */

/* Their scales lie side by side. */
INLINE void pair_init_Q4_K(struct pair_index *index) { (void)index; }
INLINE void pair_init_Q5_K(struct pair_index *index) { (void)index; }
INLINE void pair_init_Q6_K(struct pair_index *index) { (void)index; }

/* Of 16 bytes of each row the lower (part 0) or the upper eight as floats. */
INLINE __m512 pair_of_bytes(__m256i rows, const int part, const bool is_signed)
{
    __m128i a = _mm256_castsi256_si128(rows), b = _mm256_extracti128_si256(rows, 1);
    __m128i bytes = part ? _mm_unpackhi_epi16(a, b) : _mm_unpacklo_epi16(a, b);
    return _mm512_cvtepi32_ps(is_signed ? _mm512_cvtepi8_epi32(bytes)
                                        : _mm512_cvtepu8_epi32(bytes));
}

/* Scales and minima of the sub-blocks, from six bits each: see struct quant_q4_k, whose first 16
 * bytes are d, dmin and scales a0-3 b0-3 c0-3. */
INLINE void pair_k_scales(struct pair *g, const uint8_t *const *p)
{
    enum { Z = -1, A = 4, B = 8, C = 12 };
    const __m256i pick_low = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(A, A + 1, A + 2, A + 3, C, C + 1, C + 2, C + 3, /* scales */
                      B, B + 1, B + 2, B + 3, C, C + 1, C + 2, C + 3));
    const __m256i pick_high = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        Z, Z, Z, Z, A, A + 1, A + 2, A + 3, Z, Z, Z, Z, B, B + 1, B + 2, B + 3));
    const __m256i shifts = _mm256_broadcastsi128_si256(_mm_setr_epi32(0, 0, 0, 4));
    const __m256i low_bits = _mm256_set1_epi64x(0x0f0f0f0f3f3f3f3f);
    const __m128i pick_d = _mm_setr_epi8(0, 1, 0, 1, 4, 5, 4, 5, 2, 3, 2, 3, 6, 7, 6, 7);
    __m128i a = _mm_loadu_si128((const __m128i *)p[0]), b = _mm_loadu_si128((const __m128i *)p[1]);
    __m256i rows = _mm256_set_m128i(b, a);
    __m256i low = _mm256_and_si256(
        _mm256_srlv_epi32(_mm256_shuffle_epi8(rows, pick_low), shifts), low_bits);
    __m256i high = _mm256_and_si256(
        _mm256_srli_epi16(_mm256_shuffle_epi8(rows, pick_high), 2), _mm256_set1_epi8(0x30));
    rows = _mm256_or_si256(low, high);
    __m512 d = _mm512_castps256_ps512(
        _mm256_cvtph_ps(_mm_shuffle_epi8(_mm_unpacklo_epi32(a, b), pick_d)));
    g->d = _mm512_mul_ps(_mm512_shuffle_f32x4(d, d, 0x00), pair_of_bytes(rows, 0, false));
    g->m = _mm512_mul_ps(_mm512_shuffle_f32x4(d, d, 0x55), pair_of_bytes(rows, 1, false));
    g->subtracts_m = true;
}

/* The sub-blocks of row `row` from 128 bytes: even ones in low nibbles. */
INLINE void pair_k_nibbles(struct pair *g, const uint8_t *qs, const int row)
{
    const __m512i low = _mm512_set1_epi8(15);
    __m512i v = _mm512_loadu_si512(qs), w = _mm512_loadu_si512(qs + 64);
    __m512i parts[2] = {_mm512_shuffle_i32x4(v, w, 0x88), _mm512_shuffle_i32x4(v, w, 0xdd)};
    UNROLL
    for (int i = 0; i < 2; i++) {
        g->u[2 * row][i] = _mm512_and_si512(parts[i], low);
        g->u[2 * row + 1][i] = _mm512_and_si512(_mm512_srli_epi16(parts[i], 4), low);
    }
}

INLINE void pair_Q4_K(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
{
    pair_k_nibbles(g, ((const struct quant_q4_k *)p[0])->qs, 0);
    pair_k_nibbles(g, ((const struct quant_q4_k *)p[1])->qs, 1);
    pair_k_scales(g, p);
}

/* v with the 32-bit words of each 128 bits rotated to the left. */
INLINE __m512i pair_rotate(__m512i v, const int a, const int b, const int c, const int d)
{
    return _mm512_rolv_epi32(v, _mm512_set_epi32(d & 31, d & 31, d & 31, d & 31, c & 31, c & 31,
                                                 c & 31, c & 31, b & 31, b & 31, b & 31, b & 31,
                                                 a & 31, a & 31, a & 31, a & 31));
}

INLINE void pair_Q5_K(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
{
    const __m512i bit = _mm512_set1_epi8(16);
    UNROLL
    for (int row = 0; row < 2; row++) {
        const struct quant_q5_k *b = (const struct quant_q5_k *)p[row];
        pair_k_nibbles(g, b->qs, row);
        UNROLL
        for (int i = 0; i < 2; i++) {
            __m512i high =
                _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(b->qh + 16 * i)));
            UNROLL
            for (int f = 0; f < 2; f++) { /* u | (turned & bit) */
                __m512i *u = &g->u[2 * row + f][i];
                *u = _mm512_ternarylogic_epi32(*u, pair_rotate(high, 4 - f, 2 - f, -f, -2 - f),
                                               bit, 0xf8);
            }
        }
    }
    pair_k_scales(g, p);
}

/* Of the lower halves, then of the upper ones. */
INLINE void pair_q6_k_scales(struct pair *g, const struct quant_q6_k *a, const struct quant_q6_k *b)
{
    const __m256i pick = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
    __m256i rows = _mm256_set_m128i(_mm_loadu_si128((const __m128i *)b->scales),
                                    _mm_loadu_si128((const __m128i *)a->scales));
    __m128i d = _mm_unpacklo_epi32(_mm_set1_epi16((short)a->d), _mm_set1_epi16((short)b->d));
    __m512 both = _mm512_cvtph_ps(_mm256_broadcastsi128_si256(d));
    rows = _mm256_shuffle_epi8(rows, pick);
    g->d = _mm512_mul_ps(both, pair_of_bytes(rows, 0, true));
    g->d_upper = _mm512_mul_ps(both, pair_of_bytes(rows, 1, true));
}

/* 128 bits of v and of w, each twice. */
#define PAIR_TWICE(v, w, part) _mm512_shuffle_i32x4(v, w, (part) * 0x55)

INLINE void pair_Q6_K(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
{
    const __m512i four = _mm512_set1_epi8(15), two = _mm512_set1_epi8(0x30);
    /* of the quarters that share bytes the earlier is in low nibbles, the other in high ones */
    const __m512i nibble = _mm512_broadcast_i64x4(_mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
    UNROLL
    for (int row = 0; row < 2; row++) {
        const struct quant_q6_k *b = (const struct quant_q6_k *)p[row];
        __m512i v = _mm512_loadu_si512(b->ql), w = _mm512_loadu_si512(b->ql + 64);
        __m512i qh = _mm512_loadu_si512(b->qh);
        __m512i ql[2][2] = {{PAIR_TWICE(v, w, 0), PAIR_TWICE(v, w, 1)},
                            {PAIR_TWICE(v, w, 2), PAIR_TWICE(v, w, 3)}};
        __m512i high[2] = {_mm512_shuffle_i32x4(qh, qh, 0xa0), _mm512_shuffle_i32x4(qh, qh, 0xf5)};
        UNROLL
        for (int i = 0; i < 4; i++) { /* bits 2k of quarter k, wanted in bits 4 and 5 */
            const int f = i / 2, part = i % 2, turn = 4 - 2 * f;
            g->u[2 * row + f][part] = _mm512_ternarylogic_epi32(
                _mm512_and_si512(_mm512_srlv_epi32(ql[f][part], nibble), four),
                pair_rotate(high[part], turn, turn - 4, turn, turn - 4), two, 0xf8);
        }
    }
    pair_q6_k_scales(g, (const struct quant_q6_k *)p[0], (const struct quant_q6_k *)p[1]);
}

#endif
