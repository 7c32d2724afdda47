/* Packing whole panels of MLX's packed weights, as avx512_pack.h does it with blocks: numbers,
 * scales and biases of sixteen rows are transposed where they lie, in arrays of their own. */
#ifndef PENSIEVE_KERNELS_X86_AVX512_PACK_PACKED_H
#define PENSIEVE_KERNELS_X86_AVX512_PACK_PACKED_H

#include "kernels/x86/avx512_pack.h"
#include "kernels/x86/avx512_tables.h"
#include "kernels/x86/packed.h"

/* pack_transpose of rows that end after n <= 16 bytes; the others become zeros. */
INLINE void pack_transpose_part(const void *p, size_t stride, size_t n, __m512i out[4])
{
    const uint8_t *from = p;
    const __mmask16 bytes = (__mmask16)((1u << n) - 1);
    _Alignas(64) uint8_t rows[16][16];
    if (n == 16) {
        pack_transpose(from, stride, out);
        return;
    }
    UNROLL
    for (size_t r = 0; r < 16; r++)
        _mm_store_si128((__m128i *)rows[r], _mm_maskz_loadu_epi8(bytes, from + r * stride));
    pack_transpose(rows[0], sizeof rows[0], out);
}

/* The lower (part 0) or the upper words of sixteen dwords. */
INLINE __m512 pack_affine_floats(__m512i v, const int part, bool bf16)
{
    if (!bf16)
        return pack_halves(v, part);
    return _mm512_castsi512_ps(part ? _mm512_and_si512(v, _mm512_set1_epi32((int)0xffff0000))
                                    : _mm512_slli_epi32(v, 16));
}

/* One scale and bias of every row to the blocks of its group. */
INLINE void pack_affine_scale(const struct kernels_panel *panel, size_t room, struct affine affine,
                              size_t scale, __m512 d, __m512 m)
{
    const size_t n = (size_t)1 << affine.shift;
    for (size_t b = scale * n; b < (scale + 1) * n; b++) {
        const size_t place = pack_place(b, room);
        _mm512_storeu_ps(panel->d + place * KERNELS_PANEL_ROWS, d);
        _mm512_storeu_ps(panel->m + place * KERNELS_PANEL_ROWS, m);
    }
}

INLINE void pack_affine_scales(const struct matrix *m, size_t first, const enum packed_kind kind,
                               size_t room, const struct kernels_panel *panel)
{
    const struct affine affine = affine_of(m);
    const struct packed_row row = packed_row_of(m, first);
    const size_t n_scales = m->n_cols / m->group;
    const __m512 center = _mm512_set1_ps(128);
    for (size_t s = 0; s < n_scales; s += 8) {
        const size_t n = n_scales - s < 8 ? n_scales - s : 8;
        __m512i scales[4], biases[4];
        pack_transpose_part(row.scales + s, m->parts[MATRIX_SCALES].row_bytes, 2 * n, scales);
        pack_transpose_part(row.biases + s, m->parts[MATRIX_BIASES].row_bytes, 2 * n, biases);
        UNROLL
        for (size_t i = 0; i < 8; i++) {
            if (i >= n)
                break;
            __m512 d = pack_affine_floats(scales[i / 2], i % 2, affine.bf16);
            __m512 least = pack_affine_floats(biases[i / 2], i % 2, affine.bf16);
            if (kind == PACKED_KIND_AFFINE_8)
                least = _mm512_fmadd_ps(center, d, least);
            pack_affine_scale(panel, room, affine, s + i, d, least);
        }
    }
}

/* An exponent of every row and block. */
INLINE void pack_exponents(const struct matrix *m, size_t first, size_t n_blocks, size_t room,
                           const struct kernels_panel *panel)
{
    const uint8_t *p = packed_row_of(m, first).exponents;
    for (size_t b = 0; b < n_blocks; b += 16) {
        const size_t n = n_blocks - b < 16 ? n_blocks - b : 16;
        __m512i v[4];
        pack_transpose_part(p + b, m->parts[MATRIX_SCALES].row_bytes, n, v);
        UNROLL
        for (size_t i = 0; i < 16; i++) {
            if (i >= n)
                break;
            __m512i e = _mm512_srli_epi32(v[i / 4], (unsigned)i % 4 * 8);
            e = _mm512_and_si512(e, _mm512_set1_epi32(255));
            _mm512_storeu_ps(panel->d + pack_place(b + i, room) * KERNELS_PANEL_ROWS,
                             half_exponents(e));
        }
    }
}

/* Of every dword the nibbles of its lower (part 0) or upper two bytes, the lower one first, as four
 * bytes. */
INLINE __m512i pack_neighbours(__m512i v, const int part)
{
    const __m512i twice = _mm512_add_epi8(
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13)),
        _mm512_set1_epi8((char)(2 * part)));
    __m512i w = _mm512_shuffle_epi8(v, twice);
    __m512i high = _mm512_and_si512(_mm512_srli_epi16(w, 4), _mm512_set1_epi16(0x0f00));
    return choose_bits(_mm512_set1_epi16(0x000f), w, high);
}

INLINE __m512i pack_quad(const __m512i *v, const size_t i, const enum packed_kind kind)
{
    if (kind == PACKED_KIND_AFFINE_8)
        return v[i];
    __m512i u = pack_neighbours(v[i / 2], i % 2);
    return kind == PACKED_KIND_MXFP4 ? _mm512_shuffle_epi8(mxfp4_table(), u) : u;
}

INLINE void pack_panel_packed(const struct matrix *m, size_t first, const enum packed_kind kind,
                              const struct kernels_panel *panel)
{
    const size_t n_blocks = m->n_cols / KERNELS_BLOCK, room = kernels_strand_room(n_blocks);
    const size_t row_bytes = m->parts[MATRIX_PACKED].row_bytes;
    const size_t block_bytes = 4 * packed_bits(kind);
    const uint8_t *w = matrix_row(m, MATRIX_PACKED, first);
    if (kind == PACKED_KIND_MXFP4)
        pack_exponents(m, first, n_blocks, room, panel);
    else
        pack_affine_scales(m, first, kind, room, panel);
    for (size_t b = 0; b < n_blocks; b++) {
        const uint8_t *p = w + b * block_bytes;
        const size_t place = pack_place(b, room);
        __m512i v[8];
        if (b % 4 == 0)
            pack_fetch(panel, 4 * block_bytes);
        pack_transpose(p, row_bytes, v);
        if (kind == PACKED_KIND_AFFINE_8)
            pack_transpose(p + 16, row_bytes, v + 4);
        UNROLL
        for (size_t i = 0; i < 8; i++)
            pack_store(panel, place, i, pack_quad(v, i, kind));
    }
}

#endif
