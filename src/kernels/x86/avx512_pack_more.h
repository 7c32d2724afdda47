/* The types of avx512_pack.h that are rarer: tables of values, and those whose scales of 16
 * elements go into the unsigned bytes (see kernels.h). */
#ifndef PENSIEVE_KERNELS_X86_AVX512_PACK_MORE_H
#define PENSIEVE_KERNELS_X86_AVX512_PACK_MORE_H

#include "kernels/x86/avx512_pack.h"
#include "kernels/x86/avx512_tables.h"

/* ---- tables of values ---- */

/* A block whose 16 bytes of nibbles begin at p. */
INLINE void pack_values(const uint8_t *p, size_t row_bytes, const __m512i table,
                        const struct kernels_panel *panel, size_t place)
{
    __m512i v[4];
    pack_transpose(p, row_bytes, v);
    UNROLL
    for (size_t i = 0; i < 4; i++) {
        pack_store(panel, place, i, _mm512_shuffle_epi8(table, pack_low(v[i])));
        pack_store(panel, place, i + 4, _mm512_shuffle_epi8(table, pack_high(v[i])));
    }
}

INLINE void pack_panel_IQ4_NL(const uint8_t *w, size_t row_bytes, size_t n_blocks,
                              const struct kernels_panel *panel)
{
    enum { S = sizeof(struct quant_iq4_nl) };
    const size_t room = kernels_strand_room(n_blocks);
    for (size_t b = 0; b < n_blocks; b++) {
        const size_t place = pack_place(b, room);
        __m512i header[4];
        pack_fetch(panel, S);
        pack_transpose(w + b * S, row_bytes, header);
        pack_values(w + b * S + 2, row_bytes, iq4_table(), panel, place);
        _mm512_storeu_ps(panel->d + place * KERNELS_PANEL_ROWS, pack_halves(header[0], 0));
    }
}

INLINE void pack_panel_MXFP4(const uint8_t *w, size_t row_bytes, size_t n_blocks,
                             const struct kernels_panel *panel)
{
    enum { S = sizeof(struct quant_mxfp4) };
    const size_t room = kernels_strand_room(n_blocks);
    const __m512i one = _mm512_set1_epi32(1), two = _mm512_set1_epi32(2);
    for (size_t b = 0; b < n_blocks; b++) {
        const size_t place = pack_place(b, room);
        __m512i header[4];
        pack_fetch(panel, S);
        pack_transpose(w + b * S, row_bytes, header);
        pack_values(w + b * S + 1, row_bytes, mxfp4_table(), panel, place);
        __m512i e = _mm512_and_si512(header[0], _mm512_set1_epi32(255));
        __m512i d = _mm512_slli_epi32(_mm512_sub_epi32(e, one), 23);
        d = _mm512_mask_sllv_epi32(d, _mm512_cmplt_epu32_mask(e, two),
                                   _mm512_set1_epi32(0x200000), e);
        _mm512_storeu_si512(panel->d + place * KERNELS_PANEL_ROWS, d);
    }
}

INLINE void pack_panel_IQ4_XS(const uint8_t *w, size_t row_bytes, size_t n_blocks,
                              const struct kernels_panel *panel)
{
    enum { S = sizeof(struct quant_iq4_xs) };
    const size_t room = kernels_strand_room(n_blocks);
    for (size_t index = 0; index < n_blocks / 8; index++) {
        const uint8_t *p = w + index * S;
        __m512i header[4]; /* d and the high bits of scales, then their low ones */
        pack_fetch(panel, S);
        pack_transpose(p, row_bytes, header);
        __m512 d = pack_halves(header[0], 0);
        __m512i high_bits = _mm512_srli_epi32(header[0], 12); /* those of j from 4 + 2j on */
        UNROLL
        for (unsigned j = 0; j < 8; j++) {
            const size_t place = j * room + index;
            __m512i low = _mm512_and_si512(_mm512_srli_epi32(header[1], 4 * j),
                                           _mm512_set1_epi32(15));
            /* low | (high & 0x30) */
            __m512i sc = _mm512_ternarylogic_epi32(low, _mm512_srli_epi32(high_bits, 2 * j),
                                                   _mm512_set1_epi32(0x30), 0xf8);
            sc = _mm512_sub_epi32(sc, _mm512_set1_epi32(32));
            pack_values(p + 8 + 16 * j, row_bytes, iq4_table(), panel, place);
            _mm512_storeu_ps(panel->d + place * KERNELS_PANEL_ROWS,
                             _mm512_mul_ps(d, _mm512_cvtepi32_ps(sc)));
        }
    }
}

/* ---- scales in the bytes ---- */

/* Byte `byte` of every dword as two words. */
INLINE __m512i pack_scale_words(__m512i v, const int byte)
{
    const int words = (int)(0x80008000u | (unsigned)byte * 0x10001);
    return _mm512_shuffle_epi8(v, _mm512_add_epi8(_mm512_set1_epi32(words),
                                                  _mm512_broadcast_i32x4(_mm_setr_epi32(
                                                      0, 0x00040004, 0x00080008, 0x000c000c))));
}

/* Two bits of every byte from bit 2k on. */
INLINE __m512i pack_two_bits(__m512i v, const int k)
{
    return _mm512_and_si512(_mm512_srli_epi16(v, (unsigned)k * 2), _mm512_set1_epi8(3));
}

INLINE void pack_q2_k_scales(const uint8_t *p, size_t row_bytes, const __m512i scales[4],
                             size_t index, size_t room, const struct kernels_panel *panel)
{
    enum { S = sizeof(struct quant_q2_k), N = KERNELS_PANEL_ROWS };
    __m512i last[4];
    pack_transpose(p + S - 16, row_bytes, last);
    __m512 d = pack_halves(last[3], 0), dmin = pack_halves(last[3], 1);
    dmin = _mm512_castsi512_ps(
        _mm512_xor_si512(_mm512_castps_si512(dmin), _mm512_set1_epi32((int)0x80000000)));
    UNROLL
    for (unsigned h = 0; h < 16; h++) {
        const size_t place = h / 2 * room + index;
        __m512i mn = _mm512_and_si512(_mm512_srli_epi32(scales[h / 4], h % 4 * 8 + 4),
                                      _mm512_set1_epi32(15));
        _mm512_storeu_ps(panel->m + (place * 2 + h % 2) * N,
                         _mm512_mul_ps(dmin, _mm512_cvtepi32_ps(mn)));
        if (h % 2)
            _mm512_storeu_ps(panel->d + place * N, d);
    }
}

INLINE void pack_panel_Q2_K(const uint8_t *w, size_t row_bytes, size_t n_blocks,
                            const struct kernels_panel *panel)
{
    enum { S = sizeof(struct quant_q2_k) };
    const size_t room = kernels_strand_room(n_blocks);
    for (size_t index = 0; index < n_blocks / 8; index++) {
        const uint8_t *p = w + index * S;
        __m512i scales[4], v[8];
        pack_fetch(panel, S);
        pack_transpose(p, row_bytes, scales);
        pack_q2_k_scales(p, row_bytes, scales, index, room, panel);
        UNROLL
        for (int i = 0; i < 4; i++)
            scales[i] = pack_low(scales[i]);
        UNROLL
        for (int half = 0; half < 2; half++) {
            pack_transpose(p + 16 + 32 * half, row_bytes, v);
            pack_transpose(p + 32 + 32 * half, row_bytes, v + 4);
            UNROLL
            for (int h = 0; h < 8; h++) { /* 16 elements: no product of two bytes has a carry */
                const int k = h / 2, quad = h % 2 * 4;
                __m512i times = pack_scale_words(scales[half * 2 + h / 4], h % 4);
                UNROLL
                for (int i = quad; i < quad + 4; i++)
                    pack_store(panel, (size_t)(half * 4 + k) * room + index, (size_t)i,
                               _mm512_mullo_epi16(pack_two_bits(v[i], k), times));
            }
        }
    }
}

/* Quads of 16 elements, 128 + (scale - 32) * (4 - q): of q < 4 it is 4 * scale, of the others 128,
 * plus 32 * (q % 4) - scale * (q % 4). */
INLINE void pack_q3_k_quads(const __m512i *v, const __m512i *hmask, __m512i scales, const int half,
                            const int h, size_t index, size_t room,
                            const struct kernels_panel *panel)
{
    const int k = h / 2, quad = h % 2 * 4;
    const __m512i bit = _mm512_set1_epi8((char)(1 << (half * 4 + k)));
    __m512i times = pack_scale_words(scales, h % 4);
    __m512i four_times = _mm512_slli_epi16(_mm512_or_si512(times, _mm512_slli_epi16(times, 8)), 2);
    UNROLL
    for (int i = quad; i < quad + 4; i++) {
        __m512i low = pack_two_bits(v[i], k);
        __m512i sum = _mm512_sub_epi8(_mm512_slli_epi16(low, 5), _mm512_mullo_epi16(low, times));
        __m512i base = _mm512_mask_blend_epi8(_mm512_test_epi8_mask(hmask[i], bit), four_times,
                                              _mm512_set1_epi8((char)0x80));
        pack_store(panel, (size_t)(half * 4 + k) * room + index, (size_t)i,
                   _mm512_add_epi8(base, sum));
    }
}

INLINE void pack_panel_Q3_K(const uint8_t *w, size_t row_bytes, size_t n_blocks,
                            const struct kernels_panel *panel)
{
    enum { S = sizeof(struct quant_q3_k) };
    const size_t room = kernels_strand_room(n_blocks);
    for (size_t index = 0; index < n_blocks / 8; index++) {
        const uint8_t *p = w + index * S;
        __m512i last[4], hmask[8], v[8];
        pack_fetch(panel, S);
        pack_transpose(p + S - 16, row_bytes, last); /* its bytes 2 .. 13 are the scales */
        __m512 d = pack_halves(_mm512_xor_si512(last[3], _mm512_set1_epi32((int)0x80000000)), 1);
        __m512i packed[3];
        UNROLL
        for (int i = 0; i < 3; i++)
            packed[i] = _mm512_or_si512(_mm512_srli_epi32(last[i], 16),
                                        _mm512_slli_epi32(last[i + 1], 16));
        pack_transpose(p, row_bytes, hmask);
        pack_transpose(p + 16, row_bytes, hmask + 4);
        UNROLL
        for (int half = 0; half < 2; half++) {
            pack_transpose(p + 32 + 32 * half, row_bytes, v);
            pack_transpose(p + 48 + 32 * half, row_bytes, v + 4);
            UNROLL
            for (int h = 0; h < 8; h++) {
                const int four = half * 2 + h / 4; /* scales 4 * four .. */
                __m512i low = four < 2 ? pack_low(packed[four]) : pack_high(packed[four - 2]);
                __m512i high = _mm512_slli_epi16(pack_two_bits(packed[2], four), 4);
                pack_q3_k_quads(v, hmask, _mm512_or_si512(low, high), half, h, index, room, panel);
            }
        }
        for (size_t j = 0; j < 8; j++)
            _mm512_storeu_ps(panel->d + (j * room + index) * KERNELS_PANEL_ROWS, d);
    }
}

/* Those of AVX512_TYPES that have a pack_panel_<NAME> here or in avx512_pack.h; panels of the
 * others are packed from pairs, which takes longer. */
#define AVX512_PANEL_TYPES(X)                                                                      \
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
