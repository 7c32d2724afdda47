/* Packing whole panels on AVX-512: what lies in memory is transposed first and unpacked after, so
 * that a register has the same four weights (a quad) of all sixteen rows and nibbles are moved two
 * at a time. See quant/blocks.h for the layouts, kernels.h for that of panels. */
#ifndef PENSIEVE_KERNELS_X86_AVX512_PACK_H
#define PENSIEVE_KERNELS_X86_AVX512_PACK_H

#include "kernels/x86/x86.h"
#include "quant/blocks.h"

#include <immintrin.h>

/* Sixteen rows: 16 bytes of row r at p + r * stride become out[i], dword i of every row. */
INLINE void pack_transpose(const uint8_t *p, size_t stride, __m512i out[4])
{
    __m512i v[4];
    UNROLL
    for (size_t i = 0; i < 4; i++) { /* rows i, i + 4, i + 8, i + 12 */
        const uint8_t *q = p + i * stride;
        v[i] = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)q));
        v[i] = _mm512_inserti32x4(v[i], _mm_loadu_si128((const __m128i *)(q + 4 * stride)), 1);
        v[i] = _mm512_inserti32x4(v[i], _mm_loadu_si128((const __m128i *)(q + 8 * stride)), 2);
        v[i] = _mm512_inserti32x4(v[i], _mm_loadu_si128((const __m128i *)(q + 12 * stride)), 3);
    }
    __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpackhi_epi32(v[0], v[1]);
    __m512i c = _mm512_unpacklo_epi32(v[2], v[3]), d = _mm512_unpackhi_epi32(v[2], v[3]);
    out[0] = _mm512_unpacklo_epi64(a, c);
    out[1] = _mm512_unpackhi_epi64(a, c);
    out[2] = _mm512_unpacklo_epi64(b, d);
    out[3] = _mm512_unpackhi_epi64(b, d);
}

INLINE void fetch_ahead(struct kernels_ahead *ahead, size_t n)
{
    ahead->due += n;
    for (; ahead->at < ahead->due && ahead->at < ahead->end; ahead->at += 64)
        _mm_prefetch(ahead->at, _MM_HINT_T1);
}

/* Fetches what is due beside n bytes of every row: as one stream of memory, where sixteen rows side
 * by side would be sixteen. */
INLINE void pack_fetch(const struct kernels_panel *panel, size_t n)
{
    if (panel->ahead)
        fetch_ahead(panel->ahead, n * KERNELS_PANEL_ROWS * panel->ahead->per_pack / 64);
}

/* Where block b of a panel is. */
INLINE size_t pack_place(size_t b, size_t room)
{
    return b % KERNELS_STRANDS * room + b / KERNELS_STRANDS;
}

INLINE void pack_store(const struct kernels_panel *panel, size_t place, size_t quad, __m512i v)
{
    _mm512_storeu_si512(panel->q + (place * 8 + quad) * 64, v);
}

INLINE __m512i pack_low(__m512i v)
{
    return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

INLINE __m512i pack_high(__m512i v)
{
    return pack_low(_mm512_srli_epi16(v, 4));
}

/* The 16-bit floats in the lower (part 0) or the upper halves of sixteen dwords. */
INLINE __m512 pack_halves(__m512i v, const int part)
{
    if (part)
        v = _mm512_srli_epi32(v, 16);
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}

/* v with bit 4 of its bytes from the four bits of qh that belong to this quad. */
INLINE __m512i pack_fifth(__m512i v, __m512i qh, const int quad)
{
    const __m512i spread = _mm512_add_epi8(
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12)),
        _mm512_set1_epi8((char)(quad / 2)));
    const __m512i bits = _mm512_set1_epi32(quad % 2 ? (int)0x80402010 : 0x08040201);
    __mmask64 set = _mm512_test_epi8_mask(_mm512_shuffle_epi8(qh, spread), bits);
    return _mm512_mask_add_epi8(v, set, v, _mm512_set1_epi8(16));
}

/* ---- small blocks: n_bits 4 or 5, with a minimum or without ---- */

INLINE void pack_small(const uint8_t *w, size_t row_bytes, size_t n_blocks,
                       const struct kernels_panel *panel, const int n_bits, const bool has_min)
{
    const size_t room = kernels_strand_room(n_blocks);
    const size_t n_scales = has_min ? 4 : 2, n_header = n_scales + (n_bits == 5 ? 4 : 0);
    for (size_t b = 0; b < n_blocks; b++) {
        const uint8_t *p = w + b * (n_header + 16);
        const size_t place = pack_place(b, room);
        __m512i header[4], v[4], qh = _mm512_setzero_si512();
        if (b % 4 == 0)
            pack_fetch(panel, 4 * (n_header + 16));
        pack_transpose(p, row_bytes, header);
        pack_transpose(p + n_header, row_bytes, v);
        if (n_bits == 5)
            qh = has_min ? header[1]
                         : _mm512_or_si512(_mm512_srli_epi32(header[0], 16),
                                           _mm512_slli_epi32(header[1], 16));
        UNROLL
        for (int i = 0; i < 4; i++) {
            __m512i low = pack_low(v[i]), high = pack_high(v[i]);
            pack_store(panel, place, (size_t)i, n_bits == 5 ? pack_fifth(low, qh, i) : low);
            pack_store(panel, place, (size_t)i + 4,
                       n_bits == 5 ? pack_fifth(high, qh, i + 4) : high);
        }
        _mm512_storeu_ps(panel->d + place * KERNELS_PANEL_ROWS, pack_halves(header[0], 0));
        if (has_min)
            _mm512_storeu_ps(panel->m + place * KERNELS_PANEL_ROWS, pack_halves(header[0], 1));
    }
}

INLINE void pack_panel_Q4_0(const uint8_t *w, size_t row_bytes, size_t n_blocks,
                            const struct kernels_panel *panel)
{
    pack_small(w, row_bytes, n_blocks, panel, 4, false);
}

INLINE void pack_panel_Q4_1(const uint8_t *w, size_t row_bytes, size_t n_blocks,
                            const struct kernels_panel *panel)
{
    pack_small(w, row_bytes, n_blocks, panel, 4, true);
}

INLINE void pack_panel_Q5_0(const uint8_t *w, size_t row_bytes, size_t n_blocks,
                            const struct kernels_panel *panel)
{
    pack_small(w, row_bytes, n_blocks, panel, 5, false);
}

INLINE void pack_panel_Q5_1(const uint8_t *w, size_t row_bytes, size_t n_blocks,
                            const struct kernels_panel *panel)
{
    pack_small(w, row_bytes, n_blocks, panel, 5, true);
}

INLINE void pack_panel_Q8_0(const uint8_t *w, size_t row_bytes, size_t n_blocks,
                            const struct kernels_panel *panel)
{
    const size_t room = kernels_strand_room(n_blocks);
    const __m512i top = _mm512_set1_epi8((char)0x80);
    for (size_t b = 0; b < n_blocks; b++) {
        const uint8_t *p = w + b * sizeof(struct quant_q8_0);
        const size_t place = pack_place(b, room);
        __m512i header[4], v[8];
        if (b % 4 == 0)
            pack_fetch(panel, 4 * sizeof(struct quant_q8_0));
        pack_transpose(p, row_bytes, header);
        pack_transpose(p + 2, row_bytes, v);
        pack_transpose(p + 18, row_bytes, v + 4);
        UNROLL
        for (size_t i = 0; i < 8; i++)
            pack_store(panel, place, i, _mm512_xor_si512(v[i], top));
        _mm512_storeu_ps(panel->d + place * KERNELS_PANEL_ROWS, pack_halves(header[0], 0));
    }
}

/* ---- k-blocks ---- */

/* The scales and minima of Q4_K and Q5_K, whose blocks begin at p. */
INLINE void pack_k_scales(const uint8_t *p, size_t row_bytes, size_t index, size_t room,
                          const struct kernels_panel *panel)
{
    const __m512i six = _mm512_set1_epi32(63), four = _mm512_set1_epi32(15);
    const __m512i two = _mm512_set1_epi32(0x30);
    __m512i header[4]; /* d and dmin, then scales a, b, c (struct quant_q4_k) */
    pack_transpose(p, row_bytes, header);
    __m512 d = pack_halves(header[0], 0), dmin = pack_halves(header[0], 1);
    dmin = _mm512_castsi512_ps(
        _mm512_xor_si512(_mm512_castps_si512(dmin), _mm512_set1_epi32((int)0x80000000)));
    UNROLL
    for (int j = 0; j < 8; j++) {
        const unsigned at = (unsigned)j % 4 * 8;
        __m512i sc = _mm512_srli_epi32(header[1], at), mn = _mm512_srli_epi32(header[2], at);
        if (j < 4) {
            sc = _mm512_and_si512(sc, six);
            mn = _mm512_and_si512(mn, six);
        } else { /* sc | (turned & two) */
            __m512i low = _mm512_srli_epi32(header[3], at);
            sc = _mm512_and_si512(_mm512_srli_epi32(sc, 2), two);
            mn = _mm512_and_si512(_mm512_srli_epi32(mn, 2), two);
            sc = _mm512_or_si512(sc, _mm512_and_si512(low, four));
            mn = _mm512_or_si512(mn, _mm512_and_si512(_mm512_srli_epi32(low, 4), four));
        }
        const size_t place = (size_t)j * room + index;
        _mm512_storeu_ps(panel->d + place * KERNELS_PANEL_ROWS,
                         _mm512_mul_ps(d, _mm512_cvtepi32_ps(sc)));
        _mm512_storeu_ps(panel->m + place * KERNELS_PANEL_ROWS,
                         _mm512_mul_ps(dmin, _mm512_cvtepi32_ps(mn)));
    }
}

/* Bit j of every byte as 16. */
INLINE __m512i pack_bit(__m512i v, const int j)
{
    v = j < 4 ? _mm512_slli_epi16(v, 4 - (j & 3)) : _mm512_srli_epi16(v, (unsigned)j & 3);
    return _mm512_and_si512(v, _mm512_set1_epi8(16));
}

INLINE void pack_k(const uint8_t *w, size_t row_bytes, size_t n_blocks,
                   const struct kernels_panel *panel, const int n_bits)
{
    const size_t room = kernels_strand_room(n_blocks);
    const size_t n_bytes = n_bits == 5 ? sizeof(struct quant_q5_k) : sizeof(struct quant_q4_k);
    for (size_t index = 0; index < n_blocks / 8; index++) {
        const uint8_t *p = w + index * n_bytes;
        __m512i qh[8], v[8];
        pack_fetch(panel, n_bytes);
        pack_k_scales(p, row_bytes, index, room, panel);
        if (n_bits == 5) {
            pack_transpose(p + 16, row_bytes, qh);
            pack_transpose(p + 32, row_bytes, qh + 4);
        }
        UNROLL
        for (int j = 0; j < 8; j += 2) {
            const uint8_t *qs = p + n_bytes - 128 + 16 * j;
            pack_transpose(qs, row_bytes, v);
            pack_transpose(qs + 16, row_bytes, v + 4);
            UNROLL
            for (size_t i = 0; i < 8; i++) {
                __m512i low = pack_low(v[i]), high = pack_high(v[i]);
                if (n_bits == 5) {
                    low = _mm512_or_si512(low, pack_bit(qh[i], j));
                    high = _mm512_or_si512(high, pack_bit(qh[i], j + 1));
                }
                pack_store(panel, (size_t)j * room + index, i, low);
                pack_store(panel, (size_t)(j + 1) * room + index, i, high);
            }
        }
    }
}

INLINE void pack_panel_Q4_K(const uint8_t *w, size_t row_bytes, size_t n_blocks,
                            const struct kernels_panel *panel)
{
    pack_k(w, row_bytes, n_blocks, panel, 4);
}

INLINE void pack_panel_Q5_K(const uint8_t *w, size_t row_bytes, size_t n_blocks,
                            const struct kernels_panel *panel)
{
    pack_k(w, row_bytes, n_blocks, panel, 5);
}

/* Quads i of the four blocks of one half: ql[0] and ql[1] have their low bits, qh the high ones. */
INLINE void pack_q6_k_quads(const __m512i *ql, const __m512i *qh, size_t half, size_t index,
                            size_t room, const struct kernels_panel *panel)
{
    const __m512i two = _mm512_set1_epi8(0x30);
    UNROLL
    for (size_t i = 0; i < 8; i++) {
        __m512i high[4] = {_mm512_slli_epi16(qh[i], 4), _mm512_slli_epi16(qh[i], 2), qh[i],
                           _mm512_srli_epi16(qh[i], 2)};
        UNROLL
        for (size_t k = 0; k < 4; k++) {
            __m512i low = k < 2 ? pack_low(ql[i + 8 * k]) : pack_high(ql[i + 8 * (k - 2)]);
            pack_store(panel, (half * 4 + k) * room + index, i,
                       _mm512_or_si512(low, _mm512_and_si512(high[k], two)));
        }
    }
}

INLINE void pack_panel_Q6_K(const uint8_t *w, size_t row_bytes, size_t n_blocks,
                            const struct kernels_panel *panel)
{
    enum { S = sizeof(struct quant_q6_k) };
    const size_t room = kernels_strand_room(n_blocks);
    for (size_t index = 0; index < n_blocks / 8; index++) {
        const uint8_t *p = w + index * S;
        __m512i ql[16], qh[8], scales[4], last[4];
        pack_fetch(panel, S);
        for (size_t half = 0; half < 2; half++) {
            UNROLL
            for (size_t i = 0; i < 4; i++)
                pack_transpose(p + 64 * half + 16 * i, row_bytes, ql + 4 * i);
            pack_transpose(p + 128 + 32 * half, row_bytes, qh);
            pack_transpose(p + 144 + 32 * half, row_bytes, qh + 4);
            pack_q6_k_quads(ql, qh, half, index, room, panel);
        }
        pack_transpose(p + 192, row_bytes, scales);
        pack_transpose(p + S - 16, row_bytes, last);
        __m512 d = pack_halves(last[3], 1);
        UNROLL
        for (unsigned i = 0; i < 16; i++) {
            __m512i sc = _mm512_srai_epi32(_mm512_slli_epi32(scales[i / 4], 24 - i % 4 * 8), 24);
            _mm512_storeu_ps(panel->d + ((i / 2 * room + index) * 2 + i % 2) * KERNELS_PANEL_ROWS,
                             _mm512_mul_ps(d, _mm512_cvtepi32_ps(sc)));
        }
    }
}

#endif
