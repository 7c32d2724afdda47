/* The types of avx512_pair.h that are rarer: those whose scales of 16 elements go into the unsigned
 * bytes (see kernels.h), tables of values, and MLX's packed weights. */
#ifndef PENSIEVE_KERNELS_X86_AVX512_PAIR_MORE_H
#define PENSIEVE_KERNELS_X86_AVX512_PAIR_MORE_H

#include "kernels/unpack.h"
#include "kernels/x86/avx512_pair.h"
#include "kernels/x86/avx512_tables.h"
#include "kernels/x86/packed.h"

enum { PAIR_ROW_1 = 0xcccc }; /* the lanes of row 1 */

/* The blocks of the lanes. */
INLINE __m512i pair_blocks(void)
{
    return _mm512_setr_epi32(0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 7, 6, 7);
}

/* A 16-bit float of each row to its lanes. */
INLINE __m512 pair_d(uint16_t a, uint16_t b)
{
    __m128i d = _mm_unpacklo_epi32(_mm_set1_epi16((short)a), _mm_set1_epi16((short)b));
    return _mm512_cvtph_ps(_mm256_broadcastsi128_si256(d));
}

/* ---- scales in the bytes ---- */

INLINE void pair_init_Q2_K(struct pair_index *index) { (void)index; }
INLINE void pair_init_Q3_K(struct pair_index *index) { (void)index; }

/* The parts of a row's two-bit quants: per 128 bits, quarters 0 and 2 of the lower 128 elements,
 * then of the upper ones, turned so that the lowest bits are theirs, the next ones quarters 1's and
 * 3's. */
INLINE void pair_two_bits(const uint8_t *qs, __m512i parts[2])
{
    __m512i v = _mm512_loadu_si512(qs);
    parts[0] = pair_rotate(_mm512_shuffle_i32x4(v, v, 0xa0), 0, -4, 0, -4);
    parts[1] = pair_rotate(_mm512_shuffle_i32x4(v, v, 0xf5), 0, -4, 0, -4);
}

/* d and minima of both rows. */
INLINE void pair_q2_k_scales(struct pair *g, const struct quant_q2_k *a, const struct quant_q2_k *b)
{
    const __m256i halves = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
    const __m128i pick_d = _mm_setr_epi8(0, 1, 0, 1, 4, 5, 4, 5, 2, 3, 2, 3, 6, 7, 6, 7);
    const __m128i negative = _mm_setr_epi32(0, 0, (int)0x80008000, (int)0x80008000);
    __m256i rows = _mm256_set_m128i(_mm_loadu_si128((const __m128i *)b->scales),
                                    _mm_loadu_si128((const __m128i *)a->scales));
    rows = _mm256_shuffle_epi8(rows, halves);
    rows = _mm256_and_si256(_mm256_srli_epi16(rows, 4), _mm256_set1_epi8(15));
    __m128i words = _mm_unpacklo_epi32(_mm_loadu_si32(&a->d), _mm_loadu_si32(&b->d));
    words = _mm_xor_si128(_mm_shuffle_epi8(words, pick_d), negative);
    __m512 d = _mm512_castps256_ps512(_mm256_cvtph_ps(words));
    __m512 dmin = _mm512_shuffle_f32x4(d, d, 0x55);
    g->d = _mm512_shuffle_f32x4(d, d, 0x00);
    g->m = _mm512_mul_ps(dmin, pair_of_bytes(rows, 0, false));
    g->m_upper = _mm512_mul_ps(dmin, pair_of_bytes(rows, 1, false));
    g->subtracts_m = false;
}

INLINE void pair_Q2_K(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
{
    const __m512i across = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    UNROLL
    for (int row = 0; row < 2; row++) {
        const struct quant_q2_k *b = (const struct quant_q2_k *)p[row];
        __m128i sc = _mm_and_si128(_mm_loadu_si128((const __m128i *)b->scales), _mm_set1_epi8(15));
        __m512i parts[2];
        /* 0, 1, 2 and 3 times each scale: the halves of an even block, then of the odd one */
        __m512i times =
            _mm512_mullo_epi32(_mm512_cvtepu8_epi32(sc), _mm512_set1_epi32(0x03020100));
        __m512i odd_times = _mm512_shuffle_epi8(times, across);
        pair_two_bits(b->qs, parts);
        UNROLL
        for (int i = 0; i < 2; i++) {
            __m512i even = choose_bits(_mm512_set1_epi8(3), parts[i],
                                       _mm512_set1_epi8((char)(4 * i)));
            __m512i odd =
                choose_bits(_mm512_set1_epi8(12), parts[i], _mm512_set1_epi8((char)(2 + i)));
            g->u[2 * row][i] = _mm512_shuffle_epi8(times, even);
            g->u[2 * row + 1][i] = _mm512_shuffle_epi8(odd_times, odd);
        }
    }
    pair_q2_k_scales(g, (const struct quant_q2_k *)p[0], (const struct quant_q2_k *)p[1]);
}

/* Per 128 bits, 128 + (scale - 32) * (4 - q) of four scales: for q = 0 .. 3 and for 4 .. 7. The
 * products (4 - q) * scale and (q - 4) * scale of unsigned bytes have no carry. */
INLINE void pair_q3_k_times(__m128i scales, __m512i out[2])
{
    __m512i v = _mm512_cvtepu8_epi32(scales);
    out[0] = _mm512_add_epi8(_mm512_mullo_epi32(v, _mm512_set1_epi32(0x01020304)),
                             _mm512_set1_epi32(0x60402000));
    out[1] = _mm512_sub_epi8(_mm512_set1_epi32((int)0xe0c0a080),
                             _mm512_mullo_epi32(v, _mm512_set1_epi32(0x03020100)));
}

INLINE void pair_Q3_K(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
{
    const __m512i three = _mm512_set1_epi8(3);
    UNROLL
    for (int row = 0; row < 2; row++) {
        const struct quant_q3_k *b = (const struct quant_q3_k *)p[row];
        __m512i times[2], parts[2];
        pair_q3_k_times(q3_k_scales(b->scales), times);
        /* of even blocks: part, q / 4, q % 4; of odd blocks: q / 4, part, q % 4 */
        const __m512i even_times = _mm512_unpacklo_epi32(times[0], times[1]);
        const __m512i odd_times = _mm512_unpackhi_epi64(times[0], times[1]);
        pair_two_bits(b->qs, parts);
        UNROLL
        for (int i = 0; i < 2; i++) {
            const __m128i hmask = _mm_loadu_si128((const __m128i *)(b->hmask + 16 * i));
            /* the bits of an even and an odd block become bits 2 and 3 */
            __m512i high = pair_rotate(_mm512_broadcast_i32x4(hmask), 2, 0, -2, -4);
            __m512i even = choose_bits(three, parts[i], high);
            __m512i odd = choose_bits(three, _mm512_srli_epi16(parts[i], 2), high);
            even = choose_bits(_mm512_set1_epi8(7), even, _mm512_set1_epi8((char)(8 * i)));
            odd = choose_bits(_mm512_set1_epi8(11), odd, _mm512_set1_epi8((char)(4 * i)));
            g->u[2 * row][i] = _mm512_shuffle_epi8(even_times, even);
            g->u[2 * row + 1][i] = _mm512_shuffle_epi8(odd_times, odd);
        }
    }
    const struct quant_q3_k *a = (const struct quant_q3_k *)p[0];
    const struct quant_q3_k *b = (const struct quant_q3_k *)p[1];
    g->d = pair_d(a->d ^ 0x8000, b->d ^ 0x8000);
}

/* ---- tables of values ---- */

INLINE void pair_look_up(struct pair *g, const int j, const __m512i table)
{
    g->u[j][0] = _mm512_shuffle_epi8(table, g->u[j][0]);
    g->u[j][1] = _mm512_shuffle_epi8(table, g->u[j][1]);
}

INLINE void pair_init_IQ4_NL(struct pair_index *index)
{
    enum { S = sizeof(struct quant_iq4_nl) };
    pair_nibbles_init(index, S, 2, 2);
    pair_words_init(index, S, 1);
}

INLINE void pair_IQ4_NL(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
{
    enum { S = sizeof(struct quant_iq4_nl) };
    __m512i loads[2];
    UNROLL
    for (int j = 0; j < 4; j++) {
        pair_split(g->u[j], pair_packed(index, p, S, 2, j, loads));
        pair_look_up(g, j, iq4_table());
    }
    pair_scales(g, index, p, S, 1);
}

INLINE void pair_init_IQ4_XS(struct pair_index *index) { (void)index; }

INLINE void pair_iq4_xs_scales(struct pair *g, const struct quant_iq4_xs *a,
                               const struct quant_iq4_xs *b)
{
    const __m512i blocks = pair_blocks();
    const __m512i twice = _mm512_slli_epi32(blocks, 1), four_times = _mm512_slli_epi32(blocks, 2);
    int32_t low_bits[2];
    memcpy(&low_bits[0], a->scales_l, 4);
    memcpy(&low_bits[1], b->scales_l, 4);
    __m512i low =
        _mm512_mask_set1_epi32(_mm512_set1_epi32(low_bits[0]), PAIR_ROW_1, low_bits[1]);
    __m512i high =
        _mm512_mask_set1_epi32(_mm512_set1_epi32(a->scales_h), PAIR_ROW_1, b->scales_h);
    low = _mm512_and_si512(_mm512_srlv_epi32(low, four_times), _mm512_set1_epi32(15));
    high = _mm512_slli_epi32(_mm512_srlv_epi32(high, twice), 4);
    /* low | (high & 0x30) */
    __m512i sc = _mm512_ternarylogic_epi32(low, high, _mm512_set1_epi32(0x30), 0xf8);
    sc = _mm512_sub_epi32(sc, _mm512_set1_epi32(32));
    g->d = _mm512_mul_ps(pair_d(a->d, b->d), _mm512_cvtepi32_ps(sc));
}

INLINE void pair_IQ4_XS(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
{
    UNROLL
    for (int row = 0; row < 2; row++) { /* four blocks are 64 bytes */
        const struct quant_iq4_xs *b = (const struct quant_iq4_xs *)p[row];
        __m512i v = _mm512_loadu_si512(b->qs), w = _mm512_loadu_si512(b->qs + 64);
        pair_split(g->u[2 * row], _mm512_shuffle_i32x4(v, w, 0x88));
        pair_split(g->u[2 * row + 1], _mm512_shuffle_i32x4(v, w, 0xdd));
        pair_look_up(g, 2 * row, iq4_table());
        pair_look_up(g, 2 * row + 1, iq4_table());
    }
    pair_iq4_xs_scales(g, (const struct quant_iq4_xs *)p[0], (const struct quant_iq4_xs *)p[1]);
}

/* Exponents are bytes at even and odd addresses. Each load has those of two blocks b and b + 2 in
 * words 0 and 17, shifted by the loads before. */
INLINE void pair_init_MXFP4(struct pair_index *index)
{
    enum { S = sizeof(struct quant_mxfp4) };
    static const uint8_t load[8] = {0, 1, 0, 1, 2, 3, 2, 3};
    uint16_t words[32] = {0};
    pair_nibbles_init(index, S, 1, 1);
    for (int b = 0; b < 8; b++) {
        const int at = load[b] + b / 2 % 2 * S, lane = b / 2 * 4 + b % 2;
        words[lane] = (uint16_t)at;
        words[lane + 2] = (uint16_t)(at + 32);
        index->mask[load[b]] |= (__mmask32)1 << at;
    }
    index->words = _mm512_loadu_si512(words);
}

INLINE __m512i pair_mxfp4_exponents(const struct pair_index *index, const uint8_t *p)
{
    static const int first[4] = {0, 1, 4, 5};
    __m512i v = _mm512_maskz_loadu_epi16(index->mask[0], p);
    UNROLL
    for (int k = 1; k < 4; k++)
        v = _mm512_mask_loadu_epi16(v, index->mask[k],
                                    p + first[k] * (int)sizeof(struct quant_mxfp4) - 2 * k);
    return v;
}

INLINE void pair_MXFP4(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
{
    enum { S = sizeof(struct quant_mxfp4) };
    __m512i loads[2];
    UNROLL
    for (int j = 0; j < 4; j++) {
        pair_split(g->u[j], pair_packed(index, p, S, 1, j, loads));
        pair_look_up(g, j, mxfp4_table());
    }
    __m512i words = _mm512_permutex2var_epi16(pair_mxfp4_exponents(index, p[0]), index->words,
                                              pair_mxfp4_exponents(index, p[1]));
    __m512i e = _mm512_and_si512(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(words)),
                                 _mm512_set1_epi32(255));
    __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    g->d = _mm512_castsi512_ps(_mm512_mask_sllv_epi32(
        normal, _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(2)), _mm512_set1_epi32(0x200000), e));
}

/* ---- MLX's packed weights ---- */

/* Which of eight scales of row 0, then of row 1, each lane has. */
INLINE __m512i pair_affine_blocks(struct affine affine)
{
    __m512i blocks = _mm512_srl_epi32(pair_blocks(), _mm_cvtsi32_si128(affine.shift));
    return _mm512_mask_add_epi32(blocks, PAIR_ROW_1, blocks, _mm512_set1_epi32(8));
}

/* Floats of the first n 16-bit ones at a and b, each to the blocks of its group. */
INLINE __m512 pair_affine_floats(const uint16_t *a, const uint16_t *b, size_t n, bool bf16,
                                 __m512i blocks)
{
    const __mmask8 words = (__mmask8)((1u << n) - 1);
    __m256i h = _mm256_set_m128i(_mm_maskz_loadu_epi16(words, b), _mm_maskz_loadu_epi16(words, a));
    __m512 f = bf16 ? _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16))
                    : _mm512_cvtph_ps(h);
    return _mm512_permutexvar_ps(blocks, f);
}

/* Halves of the powers of two that the first n exponents at a and b say: the values' unit. */
INLINE __m512 pair_exponents(const uint8_t *a, const uint8_t *b, size_t n)
{
    const __m128i order = _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
    const __mmask16 bytes = (__mmask16)((1u << n) - 1);
    __m128i both = _mm_unpacklo_epi64(_mm_maskz_loadu_epi8(bytes, a),
                                      _mm_maskz_loadu_epi8(bytes, b));
    return half_exponents(_mm512_cvtepu8_epi32(_mm_shuffle_epi8(both, order)));
}

/* Blocks of 4 bits: a byte has two elements, the earlier in the low nibble. */
INLINE void pair_packed_nibbles(struct pair *g, const uint8_t *q, const int row)
{
    __m512i v = _mm512_loadu_si512(q), w = _mm512_loadu_si512(q + 64);
    __m512i packed[2] = {_mm512_shuffle_i32x4(v, w, 0x88), _mm512_shuffle_i32x4(v, w, 0xdd)};
    UNROLL
    for (int f = 0; f < 2; f++) {
        __m512i u[2];
        pair_split(u, packed[f]);
        g->u[2 * row + f][0] = _mm512_unpacklo_epi8(u[0], u[1]);
        g->u[2 * row + f][1] = _mm512_unpackhi_epi8(u[0], u[1]);
    }
}

/* Blocks f and f + 2 of a row of bytes. */
INLINE __m512i pair_packed_blocks(const uint8_t *q, const int f)
{
    __m512i v = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(q + f * 32)));
    return _mm512_mask_loadu_epi64(v, 0xf0, q + (f + 1) * 32);
}

INLINE void pair_packed_bytes(struct pair *g, const uint8_t *q, const int row)
{
    UNROLL
    for (int f = 0; f < 2; f++) {
        __m512i a = pair_packed_blocks(q, f), b = pair_packed_blocks(q, f + 4);
        g->u[2 * row + f][0] = _mm512_shuffle_i32x4(a, b, 0x88);
        g->u[2 * row + f][1] = _mm512_shuffle_i32x4(a, b, 0xdd);
    }
}

/* n <= 8 blocks of two rows from block b on; the others are zeros. */
INLINE void pair_mlx(struct pair *g, const struct packed_row *rows, struct affine affine,
                        __m512i blocks, const enum packed_kind kind, size_t b, size_t n)
{
    const uint32_t block_bytes = 4 * packed_bits(kind);
    const size_t at = b >> affine.shift, n_scales = n >> affine.shift;
    g->subtracts_m = false;
    if (kind == PACKED_KIND_MXFP4) {
        g->d = pair_exponents(rows[0].exponents + b, rows[1].exponents + b, n);
    } else {
        g->d = pair_affine_floats(rows[0].scales + at, rows[1].scales + at, n_scales, affine.bf16,
                                  blocks);
        g->m = pair_affine_floats(rows[0].biases + at, rows[1].biases + at, n_scales, affine.bf16,
                                  blocks);
    }
    if (kind == PACKED_KIND_AFFINE_8)
        g->m = _mm512_fmadd_ps(_mm512_set1_ps(128), g->d, g->m);
    UNROLL
    for (int row = 0; row < 2; row++) {
        const uint8_t *q = rows[row].q + b * block_bytes;
        uint8_t whole[8 * 32];
        if (n < 8) {
            memset(whole, 0, sizeof whole);
            q = memcpy(whole, q, n * block_bytes);
        }
        if (kind == PACKED_KIND_AFFINE_8)
            pair_packed_bytes(g, q, row);
        else
            pair_packed_nibbles(g, q, row);
    }
    UNROLL
    for (int j = 0; j < 4 && kind == PACKED_KIND_MXFP4; j++)
        pair_look_up(g, j, mxfp4_table());
}

/* ---- every other type: the blocks of unpack.h ---- */

/* n <= 8 blocks of two rows from block b on; the others become zeros. */
INLINE void pair_any(struct pair *g, kernels_unpack_fn *unpack, const struct matrix *m,
                     const size_t rows[2], size_t b, size_t n)
{
    _Alignas(64) uint8_t u[4][2][64] = {{{0}}};
    _Alignas(64) float d[2][16] = {{0}}, min[2][16] = {{0}};
    for (size_t i = 0; i < 2 * n; i++) {
        const size_t row = i / n, j = i % n, lane = j / 2 * 4 + j % 2 + 2 * row;
        struct kernels_block block = {.u = {0}};
        unpack(m, rows[row], b + j, &block);
        for (int h = 0; h < 2; h++) {
            memcpy(u[2 * row + j % 2][h] + j / 2 * 16, block.u + 16 * h, 16);
            d[h][lane] = block.d[h];
            min[h][lane] = block.m[h];
        }
    }
    for (int j = 0; j < 4; j++)
        for (int h = 0; h < 2; h++)
            g->u[j][h] = _mm512_load_si512(u[j][h]);
    g->d = _mm512_load_ps(d[0]);
    g->d_upper = _mm512_load_ps(d[1]);
    g->m = _mm512_load_ps(min[0]);
    g->m_upper = _mm512_load_ps(min[1]);
    g->subtracts_m = false;
}

/* The types of blocks that have a pair_init_<NAME> and a pair_<NAME> here or in avx512_pair.h; row
 * and panel kernels follow. */
#define AVX512_TYPES(X)                                                                            \
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
