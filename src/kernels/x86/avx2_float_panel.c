/* Float weights times many tokens on AVX2: sixteen rows lie side by side in two registers, each
 * activation is broadcast. A strand's elements follow one another, so its sums stay in registers.
 * Also packing. */
#include "kernels/x86/x86.h"
#include "quant/quant.h"

#include <immintrin.h>
#include <string.h>

enum {
    S = KERNELS_FLOAT_STRANDS,
    T = KERNELS_FLOAT_TOKENS,
    R = KERNELS_PANEL_ROWS,
    GROUP = 4, /* tokens at once */
};

typedef __m256 load_fn(const uint8_t *p);

INLINE __m256 load_F32(const uint8_t *p) { return _mm256_loadu_ps((const float *)p); }

INLINE __m256 load_F16(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

INLINE __m256 load_BF16(const uint8_t *p)
{
    __m256i v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
}

/* Rows of eight floats to columns, of which column i goes to out + i * stride. */
INLINE void transpose(float (*rows)[8], float *out, size_t stride)
{
    __m256 v[8], t[8];
    UNROLL
    for (int i = 0; i < 8; i++) /* rows i % 4 and the one four below, a quad of columns */
        v[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_load_ps(&rows[i % 4][i / 4 * 4])),
                                    _mm_load_ps(&rows[i % 4 + 4][i / 4 * 4]), 1);
    UNROLL
    for (int h = 0; h < 8; h += 4) {
        __m256 a = _mm256_unpacklo_ps(v[h], v[h + 1]), b = _mm256_unpackhi_ps(v[h], v[h + 1]);
        __m256 c = _mm256_unpacklo_ps(v[h + 2], v[h + 3]);
        __m256 d = _mm256_unpackhi_ps(v[h + 2], v[h + 3]);
        t[h] = _mm256_shuffle_ps(a, c, 0x44);
        t[h + 1] = _mm256_shuffle_ps(a, c, 0xee);
        t[h + 2] = _mm256_shuffle_ps(b, d, 0x44);
        t[h + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
    UNROLL
    for (size_t i = 0; i < 8; i++)
        _mm256_storeu_ps(out + i * stride, t[i]);
}

INLINE void pack_rows(load_fn *load, const size_t size, const uint8_t *w, size_t row_bytes,
                      size_t n_rows, size_t n, float *panel)
{
    const size_t room = (n + 15) / 16;
    _Alignas(32) float rows[8][8];
    for (size_t e = 0; e < 16 * room; e += 8) {
        for (size_t first = 0; first < R; first += 8) {
            for (size_t r = 0; r < 8; r++) {
                const uint8_t *p = w + (first + r) * row_bytes + e * size;
                uint8_t last[32] = {0};
                if (first + r >= n_rows || e >= n)
                    p = last;
                else if (n - e < 8)
                    p = memcpy(last, p, (n - e) * size);
                _mm256_store_ps(rows[r], load(p));
            }
            transpose(rows, panel + (e % 16 * room + e / 16) * R + first, room * R);
        }
    }
}

#define AVX2_FLOAT_TYPES(X) X(F32) X(F16) X(BF16)

#define DEFINE_PACK(NAME)                                                                          \
    static void pack_##NAME(const struct matrix *m, size_t first, size_t n,                        \
                            const struct kernels_panel *panel)                                     \
    {                                                                                              \
        pack_rows(load_##NAME, QUANT_BYTES_##NAME, matrix_row(m, MATRIX_BLOCKS, first),            \
                  m->parts[MATRIX_BLOCKS].row_bytes, n, m->n_cols, panel->d);                      \
    }
AVX2_FLOAT_TYPES(DEFINE_PACK)

/* sums[s][t] = the sums of strand s for GROUP tokens */
INLINE void strand_sums(const float *w, const float *x, size_t length, float (*sums)[R])
{
    __m256 acc[GROUP][2];
    UNROLL
    for (int t = 0; t < GROUP; t++)
        acc[t][0] = acc[t][1] = _mm256_setzero_ps();
    for (size_t i = 0; i < length; i++, w += R, x += T) {
        __m256 low = _mm256_loadu_ps(w), high = _mm256_loadu_ps(w + 8);
        UNROLL
        for (int t = 0; t < GROUP; t++) {
            __m256 v = _mm256_broadcast_ss(x + t);
            acc[t][0] = _mm256_fmadd_ps(low, v, acc[t][0]);
            acc[t][1] = _mm256_fmadd_ps(high, v, acc[t][1]);
        }
    }
    UNROLL
    for (int t = 0; t < GROUP; t++) {
        _mm256_store_ps(sums[t], acc[t][0]);
        _mm256_store_ps(sums[t] + 8, acc[t][1]);
    }
}

static void panel_FLOAT(const struct kernels_panel *panel, size_t n_rows, size_t n,
                        const struct kernels_tile_x *tile, size_t n_tokens, float *y,
                        size_t y_stride)
{
    const float *w = panel->d, *x = tile->x;
    const size_t room = (n + S - 1) / S;
    for (size_t first = 0; first < n_tokens; first += GROUP) {
        _Alignas(32) float sums[S][GROUP][R];
        for (size_t s = 0; s < S; s++)
            strand_sums(w + s * room * R, x + s * room * T + first, (n + S - 1 - s) / S, sums[s]);
        for (int half = S / 2; half; half /= 2) /* halves added to halves */
            for (int i = 0; i < half; i++)
                for (int t = 0; t < GROUP; t++)
                    for (int r = 0; r < R; r++)
                        sums[i][t][r] += sums[i + half][t][r];
        for (size_t t = 0; t < GROUP && first + t < n_tokens; t++)
            memcpy(y + (first + t) * y_stride, sums[0][t], n_rows * sizeof *y);
    }
}

void avx2_init_float_panel(struct kernels *k)
{
#define X(NAME) k->types[QUANT_##NAME].pack = pack_##NAME;
    AVX2_FLOAT_TYPES(X)
#undef X
    k->panel[KERNELS_FLOAT] = panel_FLOAT;
}
