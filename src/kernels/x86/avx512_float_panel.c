/* Float weights times many tokens on AVX-512: sixteen rows lie side by side in the lanes, each
 * activation is broadcast. A strand's elements follow one another, so its sums stay in registers.
 * Also packing. */
#include "kernels/x86/avx512_float.h"
#include "kernels/x86/avx512_transpose.h"
#include "quant/quant.h"

#include <string.h>

enum { S = KERNELS_FLOAT_STRANDS, T = KERNELS_FLOAT_TOKENS, R = KERNELS_PANEL_ROWS };

INLINE void pack_rows(load_fn *load, const size_t size, const uint8_t *w, size_t row_bytes,
                      size_t n_rows, size_t n, float *panel)
{
    const size_t room = (n + 15) / 16;
    _Alignas(64) float rows[R][16];
    memset(rows, 0, sizeof rows);
    for (size_t g = 0; g < room; g++) {
        const __mmask16 lanes = first_lanes(n - 16 * g);
        for (size_t r = 0; r < n_rows; r++)
            _mm512_store_ps(rows[r], load(w + r * row_bytes + 16 * g * size, lanes));
        UNROLL
        for (size_t half = 0; half < 2; half++) {
            __m512i v[8];
            transpose((const uint32_t *)&rows[0][8 * half], 16, v);
            UNROLL
            for (size_t i = 0; i < 8; i++)
                _mm512_storeu_si512(panel + ((8 * half + i) * room + g) * R, v[i]);
        }
    }
}

#define DEFINE_PACK(NAME)                                                                          \
    static void pack_##NAME(const struct matrix *m, size_t first, size_t n,                        \
                            const struct kernels_panel *panel)                                     \
    {                                                                                              \
        pack_rows(load_##NAME, QUANT_BYTES_##NAME, matrix_row(m, MATRIX_BLOCKS, first),            \
                  m->parts[MATRIX_BLOCKS].row_bytes, n, m->n_cols, panel->d);                      \
    }
AVX512_FLOAT_TYPES(DEFINE_PACK)

/* Stores the sums of the strands for n_tokens tokens, halves added to halves. */
static inline void store_sums(float (*sums)[T][R], size_t n_rows, size_t n_tokens, float *y,
                              size_t y_stride)
{
    for (size_t t = 0; t < n_tokens; t++) {
        __m512 s[S];
        UNROLL
        for (int i = 0; i < S; i++)
            s[i] = _mm512_load_ps(sums[i][t]);
        UNROLL
        for (int i = 0; i < 8; i++)
            s[i] = _mm512_add_ps(s[i], s[i + 8]);
        UNROLL
        for (int i = 0; i < 4; i++)
            s[i] = _mm512_add_ps(s[i], s[i + 4]);
        s[0] = _mm512_add_ps(_mm512_add_ps(s[0], s[2]), _mm512_add_ps(s[1], s[3]));
        _mm512_mask_storeu_ps(y + t * y_stride, first_lanes(n_rows), s[0]);
    }
}

INLINE void panel_tokens(const float *w, size_t n_rows, size_t n, const float *x,
                         const size_t n_here, size_t n_tokens, float *y, size_t y_stride)
{
    _Alignas(64) float sums[S][T][R];
    const size_t room = (n + S - 1) / S;
    for (size_t s = 0; s < S; s++) {
        __m512 acc[T];
        UNROLL
        for (size_t t = 0; t < n_here; t++)
            acc[t] = _mm512_setzero_ps();
        const size_t end = s * room + (n + S - 1 - s) / S;
        for (size_t at = s * room; at < end; at++) {
            __m512 v = _mm512_load_ps(w + at * R);
            UNROLL
            for (size_t t = 0; t < n_here; t++)
                acc[t] = _mm512_fmadd_ps(v, _mm512_set1_ps(x[at * T + t]), acc[t]);
        }
        UNROLL
        for (size_t t = 0; t < n_here; t++)
            _mm512_store_ps(sums[s][t], acc[t]);
    }
    store_sums(sums, n_rows, n_tokens, y, y_stride);
}

static void panel_FLOAT(const struct kernels_panel *panel, size_t n_rows, size_t n,
                        const struct kernels_tile_x *tile, size_t n_tokens, float *y,
                        size_t y_stride)
{
    const float *w = panel->d, *x = tile->x;
    if (n_tokens > 12)
        panel_tokens(w, n_rows, n, x, 16, n_tokens, y, y_stride);
    else if (n_tokens > 8)
        panel_tokens(w, n_rows, n, x, 12, n_tokens, y, y_stride);
    else if (n_tokens > 4)
        panel_tokens(w, n_rows, n, x, 8, n_tokens, y, y_stride);
    else
        panel_tokens(w, n_rows, n, x, 4, n_tokens, y, y_stride);
}

void avx512_init_float_panel(struct kernels *k)
{
#define X(NAME) k->types[QUANT_##NAME].pack = pack_##NAME;
    AVX512_FLOAT_TYPES(X)
#undef X
    k->panel[KERNELS_FLOAT] = panel_FLOAT;
}
