/* The types of avx512_pair.h that are rarer: those whose scales of 16 elements go into the unsigned
 * bytes (see kernels.h), tables of values, and MLX's affine weights. */
#ifndef PENSIEVE_KERNELS_X86_AVX512_PAIR_MORE_H
#define PENSIEVE_KERNELS_X86_AVX512_PAIR_MORE_H

#include "kernels/x86/avx512_pair.h"
#include "kernels/x86/avx512_unpack_more.h"

/* ---- rows side by side ---- */

/* Some are simpler in another order, and turned at the end: register j has blocks f and f + 2 of
 * row 0, then those of row 1, with f = pair_first(j), and the scales of row 0 come before those of
 * row 1, each in PAIR_ORDER. */
#define PAIR_ORDER 0, 1, 4, 5, 2, 3, 6, 7

INLINE int pair_first(int j)
{
    return (j & 1) + (j & 2) * 2;
}

/* 16 bytes of each row, each twice. */
INLINE __m512i pair_twice(const void *a, const void *b)
{
    __m512i v = _mm512_broadcast_i32x4(_mm_loadu_si128(a));
    return _mm512_mask_broadcast_i32x4(v, 0xff00, _mm_loadu_si128(b));
}

INLINE __m128i pair_half(__m256i v, const int i)
{
    return i ? _mm256_extracti128_si256(v, 1) : _mm256_castsi256_si128(v);
}

INLINE __m512 pair_turn_floats(__m512 v)
{
    const __m512i order = _mm512_setr_epi64(0, 4, 2, 6, 1, 5, 3, 7);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi64(order, _mm512_castps_si512(v)));
}

INLINE void pair_turn(struct pair *g, const enum kernels_form form)
{
    UNROLL
    for (int i = 0; i < 2; i++) {
        const __m512i u[4] = {g->u[0][i], g->u[1][i], g->u[2][i], g->u[3][i]};
        UNROLL
        for (int f = 0; f < 2; f++) {
            g->u[f][i] = _mm512_shuffle_i32x4(u[f], u[f + 2], 0x44);
            g->u[f + 2][i] = _mm512_shuffle_i32x4(u[f], u[f + 2], 0xee);
        }
    }
    g->d = pair_turn_floats(g->d);
    if (form == KERNELS_MINS || form == KERNELS_MIN)
        g->m = pair_turn_floats(g->m);
    if (form == KERNELS_MINS)
        g->m_upper = pair_turn_floats(g->m_upper);
    g->subtracts_m = false;
}

/* Two 16-bit floats of each row, side by side at a and b. */
INLINE __m128 pair_two_floats(const void *a, const void *b)
{
    __m128i h = _mm_loadu_si32(a);
    return _mm_cvtph_ps(_mm_unpacklo_epi32(h, _mm_loadu_si32(b)));
}

/* Float i of both rows (of pair_two_floats) to the halves of 512 bits. */
INLINE __m512 pair_spread(__m128 floats, const int i)
{
    const __m512i lanes =
        _mm512_inserti64x4(_mm512_set1_epi32(i), _mm256_set1_epi32(i + 2), 1);
    return _mm512_permutexvar_ps(lanes, _mm512_castps128_ps512(floats));
}

/* Bytes of sixteen halves of each row: those of lower halves in PAIR_ORDER, of both rows, then
 * those of upper ones. */
INLINE __m256i pair_of_halves(__m128i a, __m128i b)
{
    const __m256i pick = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 2, 8, 10, 4, 6, 12, 14, 1, 3, 9, 11, 5, 7, 13, 15));
    return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(_mm256_set_m128i(b, a), pick), 0xd8);
}

/* ---- scales in the bytes ---- */

INLINE void pair_init_q2_k(struct pair_index *index) { (void)index; }
INLINE void pair_init_q3_k(struct pair_index *index) { (void)index; }

INLINE void pair_q2_k(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
{
    const struct quant_q2_k *a = (const struct quant_q2_k *)p[0];
    const struct quant_q2_k *b = (const struct quant_q2_k *)p[1];
    const __m256i four = _mm256_set1_epi8(15);
    const __m512i multiples = _mm512_set1_epi32(0x03020100);
    __m256i both = pair_of_halves(_mm_loadu_si128((const __m128i *)a->scales),
                                  _mm_loadu_si128((const __m128i *)b->scales));
    __m256i sc = _mm256_and_si256(both, four);
    __m256i mn = _mm256_and_si256(_mm256_srli_epi16(both, 4), four);
    __m128 d_dmin = pair_two_floats(&a->d, &b->d);
    __m512 dmin = pair_spread(_mm_xor_ps(d_dmin, _mm_set1_ps(-0.0f)), 1), m[2];
    UNROLL
    for (int i = 0; i < 2; i++) {
        /* 0, 1, 2 and 3 times each scale: 128 bits of them serve the same lane of four registers */
        __m512i times = _mm512_mullo_epi32(
            _mm512_cvtepu8_epi32(pair_half(sc, i)), multiples);
        m[i] = _mm512_mul_ps(dmin, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(
                                       pair_half(mn, i))));
        UNROLL
        for (int j = 0; j < 4; j++) {
            const int at = 32 * (j / 2) + 16 * i, k = 2 * (j % 2);
            __m512i q = pair_rotate(pair_twice(a->qs + at, b->qs + at), -k, -k - 4, -k, -k - 4);
            g->u[j][i] = _mm512_shuffle_epi8(
                times, choose_bits(_mm512_set1_epi8(3), q, _mm512_set1_epi8((char)(4 * j))));
        }
    }
    g->d = pair_spread(d_dmin, 0);
    g->m = m[0];
    g->m_upper = m[1];
    pair_turn(g, KERNELS_MINS);
}

/* Per 128 bits, 128 + scale * (4 - q) of two scales, those of registers j and j + 1: `scales` has
 * the lower (or upper) halves' of both rows in PAIR_ORDER. */
INLINE __m512i pair_q3_k_times(__m128i scales, const int j)
{
    const __m512i lower = _mm512_set1_epi16(0xff);
    const __m512i even_times = _mm512_set1_epi64((long long)0xfffe000000020004); /* 4 2 0 -2 */
    const __m512i odd_times = _mm512_set1_epi64((long long)0xfffdffff00010003);  /* 3 1 -1 -3 */
    const __m512i by_lane = _mm512_set_epi64(
        0x0d0d0d0d0d0d0d0d, 0x0c0c0c0c0c0c0c0c, 0x0909090909090909, 0x0808080808080808,
        0x0505050505050505, 0x0404040404040404, 0x0101010101010101, 0);
    __m512i v = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(scales),
                                    _mm512_add_epi8(by_lane, _mm512_set1_epi8((char)j)));
    __m512i even = _mm512_mullo_epi16(v, even_times);
    __m512i odd = _mm512_mullo_epi16(_mm512_andnot_si512(lower, v), odd_times);
    return _mm512_xor_si512(choose_bits(lower, even, odd), _mm512_set1_epi8((char)0x80));
}

INLINE void pair_q3_k(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
{
    const struct quant_q3_k *a = (const struct quant_q3_k *)p[0];
    const struct quant_q3_k *b = (const struct quant_q3_k *)p[1];
    __m256i scales = pair_of_halves(q3_k_scales(a->scales), q3_k_scales(b->scales));
    UNROLL
    for (int i = 0; i < 2; i++) {
        __m128i part = pair_half(scales, i);
        const __m512i times[2] = {pair_q3_k_times(part, 0), pair_q3_k_times(part, 2)};
        __m512i hmask = pair_twice(a->hmask + 16 * i, b->hmask + 16 * i);
        UNROLL
        for (int j = 0; j < 4; j++) {
            const int at = 32 * (j / 2) + 16 * i, k = 2 * (j % 2), f = pair_first(j);
            __m512i low = pair_rotate(pair_twice(a->qs + at, b->qs + at), -k, -k - 4, -k, -k - 4);
            /* bits f and f + 2 become bit 2 */
            __m512i high = pair_rotate(hmask, 2 - f, -f, 2 - f, -f);
            __m512i q = choose_bits(_mm512_set1_epi8(3), low, high);
            g->u[j][i] = _mm512_shuffle_epi8(
                times[j / 2],
                choose_bits(_mm512_set1_epi8(7), q, _mm512_set1_epi8((char)(8 * (j % 2)))));
        }
    }
    __m128 d = pair_two_floats(a->scales + 10, b->scales + 10); /* the first of each is no float */
    g->d = pair_spread(_mm_xor_ps(d, _mm_set1_ps(-0.0f)), 1);
    pair_turn(g, KERNELS_WIDE);
}

/* ---- tables of values ---- */

INLINE void pair_look_up(struct pair *g, const int j, const __m512i table)
{
    g->u[j][0] = _mm512_shuffle_epi8(table, g->u[j][0]);
    g->u[j][1] = _mm512_shuffle_epi8(table, g->u[j][1]);
}

INLINE void pair_init_iq4_nl(struct pair_index *index)
{
    enum { S = sizeof(struct quant_iq4_nl) };
    pair_nibbles_init(index, S, 2, 2);
    pair_words_init(index, S, 1);
}

INLINE void pair_iq4_nl(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
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

INLINE void pair_init_iq4_xs(struct pair_index *index) { (void)index; }

INLINE void pair_iq4_xs_scales(struct pair *g, const struct quant_iq4_xs *a,
                               const struct quant_iq4_xs *b)
{
    const __m512i order = _mm512_broadcast_i64x4(_mm256_setr_epi32(PAIR_ORDER));
    const __m512i twice = _mm512_slli_epi32(order, 1), four_times = _mm512_slli_epi32(order, 2);
    int32_t low_bits[2];
    memcpy(&low_bits[0], a->scales_l, 4);
    memcpy(&low_bits[1], b->scales_l, 4);
    __m512i low = _mm512_mask_set1_epi32(_mm512_set1_epi32(low_bits[0]), 0xff00, low_bits[1]);
    __m512i high = _mm512_mask_set1_epi32(_mm512_set1_epi32(a->scales_h), 0xff00, b->scales_h);
    low = _mm512_and_si512(_mm512_srlv_epi32(low, four_times), _mm512_set1_epi32(15));
    high = _mm512_slli_epi32(_mm512_srlv_epi32(high, twice), 4);
    /* low | (high & 0x30) */
    __m512i sc = _mm512_ternarylogic_epi32(low, high, _mm512_set1_epi32(0x30), 0xf8);
    sc = _mm512_sub_epi32(sc, _mm512_set1_epi32(32));
    __m128 d = pair_two_floats(&a->d, &b->d); /* the second of each is no float */
    g->d = _mm512_mul_ps(pair_spread(d, 0), _mm512_cvtepi32_ps(sc));
}

INLINE void pair_iq4_xs(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
{
    const struct quant_iq4_xs *a = (const struct quant_iq4_xs *)p[0];
    const struct quant_iq4_xs *b = (const struct quant_iq4_xs *)p[1];
    UNROLL
    for (int j = 0; j < 4; j += 2) { /* four blocks of each row are 64 bytes */
        __m512i v = _mm512_loadu_si512(a->qs + 32 * j), w = _mm512_loadu_si512(b->qs + 32 * j);
        pair_split(g->u[j], _mm512_shuffle_i32x4(v, w, 0x88));
        pair_split(g->u[j + 1], _mm512_shuffle_i32x4(v, w, 0xdd));
        pair_look_up(g, j, iq4_table());
        pair_look_up(g, j + 1, iq4_table());
    }
    pair_iq4_xs_scales(g, a, b);
    pair_turn(g, KERNELS_WIDE);
}

/* Exponents are bytes at even and odd addresses. Each load has those of two blocks b and b + 2 in
 * words 0 and 17, shifted by the loads before. */
INLINE void pair_init_mxfp4(struct pair_index *index)
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

INLINE void pair_mxfp4(struct pair *g, const struct pair_index *index, const uint8_t *const *p)
{
    enum { S = sizeof(struct quant_mxfp4) };
    const __m512i table = _mm512_broadcast_i32x4(
        _mm_add_epi8(_mm_setr_epi8(QUANT_MXFP4_VALUES), _mm_set1_epi8(12)));
    __m512i loads[2];
    UNROLL
    for (int j = 0; j < 4; j++) {
        pair_split(g->u[j], pair_packed(index, p, S, 1, j, loads));
        pair_look_up(g, j, table);
    }
    __m512i words = _mm512_permutex2var_epi16(pair_mxfp4_exponents(index, p[0]), index->words,
                                              pair_mxfp4_exponents(index, p[1]));
    __m512i e = _mm512_and_si512(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(words)),
                                 _mm512_set1_epi32(255));
    __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    g->d = _mm512_castsi512_ps(_mm512_mask_sllv_epi32(
        normal, _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(2)), _mm512_set1_epi32(0x200000), e));
}

/* ---- MLX's affine weights ---- */

/* Which of eight scales of each row each block has, in PAIR_ORDER. */
INLINE __m512i pair_affine_blocks(const struct kernels_affine *w)
{
    const __m512i order = _mm512_inserti64x4(
        _mm512_castsi256_si512(_mm256_setr_epi32(PAIR_ORDER)), _mm256_setr_epi32(PAIR_ORDER), 1);
    __m512i blocks = _mm512_srl_epi32(order, _mm_cvtsi32_si128(affine_shift(w)));
    return _mm512_mask_add_epi32(blocks, 0xff00, blocks, _mm512_set1_epi32(8));
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

/* The first n blocks of four, 4 bits: a byte has two elements, the earlier in the low nibble. */
INLINE void pair_affine_nibbles(struct pair *g, const uint32_t *a, const uint32_t *b, const int j,
                                const __mmask16 words)
{
    __m512i v = _mm512_maskz_loadu_epi32(words, a), w = _mm512_maskz_loadu_epi32(words, b);
    __m512i packed[2] = {_mm512_shuffle_i32x4(v, w, 0x88), _mm512_shuffle_i32x4(v, w, 0xdd)};
    UNROLL
    for (int i = 0; i < 2; i++) {
        __m512i u[2];
        pair_split(u, packed[i]);
        g->u[j + i][0] = _mm512_unpacklo_epi8(u[0], u[1]);
        g->u[j + i][1] = _mm512_unpackhi_epi8(u[0], u[1]);
    }
}

/* Four blocks of 8 bits. */
INLINE void pair_affine_bytes(struct pair *g, const uint32_t *a, const uint32_t *b, const int j,
                              const __mmask32 words)
{
    __m512i v[2], w[2];
    UNROLL
    for (int i = 0; i < 2; i++) { /* blocks 0 and 1, then 2 and 3: low and high parts */
        v[i] = _mm512_maskz_loadu_epi32((__mmask16)(words >> 16 * i), a + 16 * i);
        w[i] = _mm512_maskz_loadu_epi32((__mmask16)(words >> 16 * i), b + 16 * i);
    }
    UNROLL
    for (int i = 0; i < 2; i++) {
        const __m512i lanes = i ? _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15)
                                : _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
        __m512i x = _mm512_permutex2var_epi64(v[0], lanes, v[1]); /* f, f + 2: low, then high */
        __m512i y = _mm512_permutex2var_epi64(w[0], lanes, w[1]);
        g->u[j + i][0] = _mm512_shuffle_i32x4(x, y, 0x44);
        g->u[j + i][1] = _mm512_shuffle_i32x4(x, y, 0xee);
    }
}

/* n <= 8 blocks from blocks at[0] and at[1] of the whole matrix on, one of each row; the others
 * become zeros. */
INLINE void pair_affine(struct pair *g, const struct kernels_affine *w, __m512i blocks,
                        const uint32_t bits, const size_t at[2], size_t n)
{
    const int shift = affine_shift(w);
    const size_t a = at[0] >> shift, b = at[1] >> shift, n_scales = n >> shift;
    const uint64_t words = n * bits < 64 ? ((uint64_t)1 << n * bits) - 1 : ~(uint64_t)0;
    g->d = pair_affine_floats(w->scales + a, w->scales + b, n_scales, w->bf16, blocks);
    g->m = pair_affine_floats(w->biases + a, w->biases + b, n_scales, w->bf16, blocks);
    g->subtracts_m = false;
    if (bits == 8)
        g->m = _mm512_fmadd_ps(_mm512_set1_ps(128), g->d, g->m);
    UNROLL
    for (uint32_t j = 0; j < 4; j += 2) {
        const uint32_t *p = w->q + (at[0] + 2 * j) * bits, *q = w->q + (at[1] + 2 * j) * bits;
        if (bits == 8)
            pair_affine_bytes(g, p, q, (int)j, (__mmask32)(words >> 16 * j));
        else
            pair_affine_nibbles(g, p, q, (int)j, (__mmask16)(words >> 8 * j));
    }
    pair_turn(g, KERNELS_MIN);
}

#endif
