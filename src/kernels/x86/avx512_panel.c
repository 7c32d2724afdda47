/* Matrix times many tokens on AVX-512 VNNI: sixteen rows lie side by side in the lanes of a panel,
 * four activation bytes are broadcast, and up to twelve tokens share each load of weights. Also
 * packing. */
#include "kernels/x86/avx512_pack_more.h"
#include "kernels/x86/avx512_pack_packed.h"
#include "kernels/x86/avx512_pair_more.h"
#include "kernels/x86/avx512_transpose.h"
#include "quant/quant.h"

enum {
    T = KERNELS_TILE_TOKENS,
    R = KERNELS_PANEL_ROWS,
    GROUP = 4, /* tokens whose sums are finished while the next ones' are made */
};

/* ---- packing ---- */

/* Eight blocks of sixteen rows. */
struct rows {
    _Alignas(64) uint32_t u[R][64]; /* [row][block][8 quads] */
    _Alignas(64) float d[2][R][8];  /* [row][block]; of lower halves, of upper ones */
    _Alignas(64) float m[2][R][8];  /* the same, MINS */
};

/* Floats of a pair (avx512_pair.h) to its rows. */
INLINE void keep_floats(float (*rows)[8], __m512 v)
{
    const __m512i order =
        _mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    _mm512_storeu_ps(rows[0], _mm512_permutexvar_ps(order, v));
}

/* Rows r and r + 1. */
INLINE void keep_pair(struct rows *rows, size_t r, const enum kernels_form form,
                      const struct pair *g)
{
    UNROLL
    for (size_t row = 0; row < 2; row++) { /* four by four parts of 128 bits are transposed */
        const __m512i *even = g->u[2 * row], *odd = g->u[2 * row + 1];
        __m512i a = _mm512_shuffle_i32x4(even[0], even[1], 0x44);
        __m512i b = _mm512_shuffle_i32x4(even[0], even[1], 0xee);
        __m512i c = _mm512_shuffle_i32x4(odd[0], odd[1], 0x44);
        __m512i d = _mm512_shuffle_i32x4(odd[0], odd[1], 0xee);
        _mm512_store_si512(&rows->u[r + row][0], _mm512_shuffle_i32x4(a, c, 0x88));
        _mm512_store_si512(&rows->u[r + row][16], _mm512_shuffle_i32x4(a, c, 0xdd));
        _mm512_store_si512(&rows->u[r + row][32], _mm512_shuffle_i32x4(b, d, 0x88));
        _mm512_store_si512(&rows->u[r + row][48], _mm512_shuffle_i32x4(b, d, 0xdd));
    }
    keep_floats(&rows->d[0][r], g->d);
    if (kernels_form_has_halves(form))
        keep_floats(&rows->d[1][r], g->d_upper);
    if (kernels_form_has_min(form))
        keep_floats(&rows->m[0][r],
                    g->subtracts_m ? _mm512_sub_ps(_mm512_set1_ps(-0.0f), g->m) : g->m);
    if (form == KERNELS_MINS)
        keep_floats(&rows->m[1][r], g->m_upper);
}

/* One float of each of the first n blocks: block b's sixteen to out + b * step. */
INLINE void place_floats(const float (*rows)[8], size_t n, float *out, size_t step)
{
    __m512i v[8];
    transpose((const uint32_t *)rows, 8, v);
    for (size_t b = 0; b < n; b++)
        _mm512_storeu_si512(out + b * step, v[b]);
}

/* Writes the first n blocks of group `index` of the first n_rows rows to their strands' places, and
 * zeros for the other rows. */
INLINE void place_group(struct rows *rows, const enum kernels_form form, size_t index, size_t n,
                        size_t n_rows, size_t room, const struct kernels_panel *panel)
{
    const size_t n_d = kernels_form_has_halves(form) ? 2 : 1, n_m = form == KERNELS_MINS ? 2 : 1;
    for (size_t r = n_rows; r < R; r++) { /* the second of a pair may be the first again */
        memset(rows->u[r], 0, sizeof rows->u[r]);
        for (int part = 0; part < 2; part++) {
            memset(rows->d[part][r], 0, sizeof rows->d[part][r]);
            memset(rows->m[part][r], 0, sizeof rows->m[part][r]);
        }
    }
    for (size_t b = 0; b < n; b++) {
        __m512i v[8];
        transpose(&rows->u[0][b * 8], 64, v);
        UNROLL
        for (int i = 0; i < 8; i++)
            _mm512_storeu_si512(panel->q + ((b * room + index) * 8 + (size_t)i) * 64, v[i]);
    }
    for (size_t part = 0; part < n_d; part++)
        place_floats(rows->d[part], n, panel->d + (index * n_d + part) * R, room * n_d * R);
    for (size_t part = 0; part < n_m && kernels_form_has_min(form); part++)
        place_floats(rows->m[part], n, panel->m + (index * n_m + part) * R, room * n_m * R);
}

/* Any panel, by way of pairs. */
INLINE void pack_rows(pair_init_fn *init, pair_fn *unpack, const enum kernels_form form,
                      const size_t group_bytes, const struct matrix *m, size_t first,
                      size_t n_rows, const struct kernels_panel *panel)
{
    const size_t n_blocks = m->n_cols / KERNELS_BLOCK, room = kernels_strand_room(n_blocks);
    const size_t row_bytes = m->parts[MATRIX_BLOCKS].row_bytes;
    const uint8_t *w = matrix_row(m, MATRIX_BLOCKS, first), *end = w + n_rows * row_bytes;
    struct pair_index index = {.mask = {0}};
    struct rows rows;
    init(&index);
    for (size_t b = 0; b < n_blocks; b += 8) {
        const size_t n = n_blocks - b < 8 ? n_blocks - b : 8;
        for (size_t r = 0; r < n_rows; r += 2) {
            const uint8_t *p[2] = {w + r * row_bytes + b / 8 * group_bytes, NULL};
            uint8_t copies[2][8 * 40];
            struct pair g;
            p[1] = p[0] + (r + 1 < n_rows ? row_bytes : 0);
            if (n < 8)
                pair_copy_tail(p, end, group_bytes, n, copies);
            unpack(&g, &index, p);
            keep_pair(&rows, r, form, &g);
        }
        place_group(&rows, form, b / 8, n, n_rows, room, panel);
    }
}

#define DEFINE_PACK(NAME)                                                                          \
    static void pack_pairs_##NAME(const struct matrix *m, size_t first, size_t n,                  \
                                  const struct kernels_panel *panel)                               \
    {                                                                                              \
        pack_rows(pair_init_##NAME, pair_##NAME, (enum kernels_form)KERNELS_FORM_##NAME,           \
                  X86_GROUP_BYTES(NAME), m, first, n, panel);                                      \
    }
AVX512_TYPES(DEFINE_PACK)

#define DEFINE_PACK_PANEL(NAME)                                                                    \
    static void pack_##NAME(const struct matrix *m, size_t first, size_t n,                        \
                            const struct kernels_panel *panel)                                     \
    {                                                                                              \
        if (n == R)                                                                                \
            pack_panel_##NAME(matrix_row(m, MATRIX_BLOCKS, first),                                 \
                              m->parts[MATRIX_BLOCKS].row_bytes, m->n_cols / KERNELS_BLOCK,        \
                              panel);                                                              \
        else                                                                                       \
            pack_pairs_##NAME(m, first, n, panel);                                                 \
    }
AVX512_PANEL_TYPES(DEFINE_PACK_PANEL)

INLINE void packed_pack_rows(const struct matrix *m, const enum packed_kind kind, size_t first,
                             size_t n_rows, const struct kernels_panel *panel)
{
    const enum kernels_form form = packed_form(kind);
    const struct affine affine = affine_of(m);
    const __m512i blocks = pair_affine_blocks(affine);
    const size_t n_blocks = m->n_cols / KERNELS_BLOCK, room = kernels_strand_room(n_blocks);
    struct rows rows;
    for (size_t b = 0; b < n_blocks; b += 8) {
        const size_t n = n_blocks - b < 8 ? n_blocks - b : 8;
        for (size_t r = 0; r < n_rows; r += 2) {
            const struct packed_row pair[2] = {
                packed_row_of(m, first + r),
                packed_row_of(m, first + (r + 1 < n_rows ? r + 1 : r))};
            struct pair g;
            pair_mlx(&g, pair, affine, blocks, kind, b, n);
            keep_pair(&rows, r, form, &g);
        }
        place_group(&rows, form, b / 8, n, n_rows, room, panel);
    }
}

#define DEFINE_PACKED(NAME, kind)                                                                  \
    static void pack_##NAME(const struct matrix *m, size_t first, size_t n,                        \
                            const struct kernels_panel *panel)                                     \
    {                                                                                              \
        if (!packed_is_plain(m, kind))                                                             \
            kernels_pack_blocks(m, first, n, panel);                                               \
        else if (n == R)                                                                           \
            pack_panel_packed(m, first, kind, panel);                                              \
        else                                                                                       \
            packed_pack_rows(m, kind, first, n, panel);                                            \
    }
PACKED_KINDS(DEFINE_PACKED)

/* ---- the product ---- */

/* sums + the dot products of four weights of each row with the same four activations. An
 * intrinsic would leave gcc 12 with a load of its own for each, and half the window of
 * instructions that the CPU can look ahead. */
INLINE __m512i dot_quad(__m512i sums, __m512i w, const int8_t *x)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sums) : "v"(w), "m"(*(const int8_t(*)[4])x));
    return sums;
}

/* sums[t] = c[t] (or 0) + quads [first, last) of a place times those of token t < n. */
INLINE void dot_quads(__m512i sums[GROUP], const uint8_t *w, const int8_t *x, const int32_t *c,
                      const int first, const int last, const size_t n)
{
    UNROLL
    for (size_t t = 0; t < n; t++)
        sums[t] = c ? _mm512_set1_epi32(c[t]) : _mm512_setzero_si512();
    UNROLL
    for (int i = first; i < last; i++) {
        __m512i quad = _mm512_loadu_si512(w + i * 64);
        UNROLL
        for (size_t t = 0; t < n; t++)
            sums[t] = dot_quad(sums[t], quad, x + t * 32 + i * 4);
    }
}

/* Whole tiles find the products of the rows' scales with a token's in a table of d * (1 + i / 16),
 * exact and made by additions: a table lookup and vscalefps leave alone the two pipes that dot
 * products and multiplications share. */
enum { FRACTIONS = 1 << KERNELS_SCALE_BITS };

INLINE void make_multiples(float (*multiples)[R], __m512 d)
{
    const __m512 step = _mm512_mul_ps(d, _mm512_set1_ps(1.0f / FRACTIONS));
    UNROLL
    for (int i = 0; i < FRACTIONS; i++) {
        _mm512_store_ps(multiples[i], d);
        d = _mm512_add_ps(d, step);
    }
}

INLINE __m512 find_product(float (*multiples)[R], const struct kernels_tile_x *x, size_t at)
{
    uint32_t bits;
    memcpy(&bits, x->d + at, sizeof bits);
    bits = bits >> (23 - KERNELS_SCALE_BITS) & (FRACTIONS - 1);
    return _mm512_scalef_ps(_mm512_load_ps(multiples[bits]), _mm512_set1_ps(x->e[at]));
}

INLINE size_t group_size(const size_t first, const size_t n)
{
    return n - first < GROUP ? n - first : GROUP;
}

INLINE void add_halves(__m512 *acc, const struct kernels_panel *w, const struct kernels_tile_x *x,
                       size_t place, const size_t n)
{
    const __m512 d0 = _mm512_loadu_ps(w->d + place * 2 * R);
    const __m512 d1 = _mm512_loadu_ps(w->d + (place * 2 + 1) * R);
    UNROLL
    for (size_t g = 0; g < n; g += GROUP) {
        const size_t at = place * T + g, n_here = group_size(g, n);
        __m512i low[GROUP], high[GROUP];
        dot_quads(low, w->q + place * 512, x->q + at * 32, x->c[0] + at, 0, 4, n_here);
        dot_quads(high, w->q + place * 512, x->q + at * 32, x->c[1] + at, 4, 8, n_here);
        UNROLL
        for (size_t t = 0; t < n_here; t++) {
            __m512 both = _mm512_mul_ps(_mm512_cvtepi32_ps(low[t]), d0);
            both = _mm512_fmadd_ps(_mm512_cvtepi32_ps(high[t]), d1, both);
            acc[g + t] = _mm512_fmadd_ps(both, _mm512_set1_ps(x->d[at + t]), acc[g + t]);
        }
    }
}

/* Adds one place to acc[n]. */
INLINE void add_place(__m512 *acc, const enum kernels_form form, const struct kernels_panel *w,
                      const struct kernels_tile_x *x, size_t place, const size_t n)
{
    if (kernels_form_has_halves(form)) {
        add_halves(acc, w, x, place, n);
        return;
    }
    const bool corrects = kernels_form_has_offset(form);
    const __m512 d = _mm512_loadu_ps(w->d + place * R);
    _Alignas(64) float multiples[FRACTIONS][R];
    if (n == T)
        make_multiples(multiples, d);
    UNROLL
    for (size_t g = 0; g < n; g += GROUP) {
        const size_t at = place * T + g, n_here = group_size(g, n);
        __m512i sums[GROUP];
        dot_quads(sums, w->q + place * 512, x->q + at * 32, corrects ? x->c[0] + at : NULL, 0, 8,
                  n_here);
        UNROLL
        for (size_t t = 0; t < n_here; t++)
            acc[g + t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[t]),
                                         n == T ? find_product(multiples, x, at + t)
                                                : _mm512_mul_ps(d, _mm512_set1_ps(x->d[at + t])),
                                         acc[g + t]);
    }
    UNROLL
    for (int part = 0; part < 2 && form == KERNELS_MINS; part++) {
        __m512 m = _mm512_loadu_ps(w->m + (place * 2 + (size_t)part) * R);
        UNROLL
        for (size_t t = 0; t < n; t++)
            acc[t] = _mm512_fmadd_ps(m, _mm512_set1_ps(x->sh[part][place * T + t]), acc[t]);
    }
    if (form == KERNELS_MIN || form == KERNELS_WIDE_MIN) {
        __m512 m = _mm512_loadu_ps(w->m + place * R);
        UNROLL
        for (size_t t = 0; t < n; t++)
            acc[t] = _mm512_fmadd_ps(m, _mm512_set1_ps(x->s[place * T + t]), acc[t]);
    }
}

/* Stores the tree of the strands' sums for n_tokens tokens. */
static inline void store_sums(float (*sums)[T][R], size_t n_rows, size_t n_tokens, float *y,
                              size_t y_stride)
{
    const __mmask16 lanes = (__mmask16)((1u << n_rows) - 1);
    for (size_t t = 0; t < n_tokens; t++) {
        __m512 s[8];
        UNROLL
        for (int i = 0; i < 8; i++)
            s[i] = _mm512_load_ps(sums[i][t]);
        __m512 low = _mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3]));
        __m512 high = _mm512_add_ps(_mm512_add_ps(s[4], s[5]), _mm512_add_ps(s[6], s[7]));
        _mm512_mask_storeu_ps(y + t * y_stride, lanes, _mm512_add_ps(low, high));
    }
}

INLINE void panel_tokens(const enum kernels_form form, const struct kernels_panel *w,
                         size_t n_rows, size_t n_cols, const struct kernels_tile_x *x,
                         const size_t n, size_t n_tokens, float *y, size_t y_stride)
{
    _Alignas(64) float sums[KERNELS_STRANDS][T][R];
    const size_t n_blocks = n_cols / KERNELS_BLOCK, room = kernels_strand_room(n_blocks);
    for (size_t s = 0; s < KERNELS_STRANDS; s++) {
        const size_t end = s * room + kernels_strand_length(n_blocks, s);
        __m512 acc[T];
        if (w->ahead)
            fetch_ahead(w->ahead, w->ahead->per_place * (end - s * room));
        UNROLL
        for (size_t t = 0; t < n; t++)
            acc[t] = _mm512_setzero_ps();
        for (size_t place = s * room; place < end; place++)
            add_place(acc, form, w, x, place, n);
        UNROLL
        for (size_t t = 0; t < n; t++)
            _mm512_store_ps(sums[s][t], acc[t]);
    }
    store_sums(sums, n_rows, n_tokens, y, y_stride);
}

/* The tile from its token t on. */
INLINE struct kernels_tile_x tile_from(const struct kernels_tile_x *x, size_t t)
{
    struct kernels_tile_x rest = {.q = x->q + 32 * t, .d = x->d + t, .s = x->s + t};
    for (int h = 0; h < 2; h++) {
        rest.c[h] = x->c[h] ? x->c[h] + t : NULL;
        rest.sh[h] = x->sh[h] + t;
    }
    return rest;
}

/* Long scales are multiplied: a whole tile, which would look them up, is done in two parts. */
#define DEFINE_PANEL(form)                                                                         \
    static void panel_##form(const struct kernels_panel *w, size_t n_rows, size_t n_cols,          \
                             const struct kernels_tile_x *x, size_t n_tokens, float *y,            \
                             size_t y_stride)                                                      \
    {                                                                                              \
        if (n_tokens > 10 && w->has_long_scales) {                                                 \
            const struct kernels_tile_x rest = tile_from(x, 8);                                    \
            panel_##form(w, n_rows, n_cols, x, 8, y, y_stride);                                    \
            panel_##form(w, n_rows, n_cols, &rest, n_tokens - 8, y + 8 * y_stride, y_stride);      \
        } else if (n_tokens > 10)                                                                  \
            panel_tokens(KERNELS_##form, w, n_rows, n_cols, x, 12, n_tokens, y, y_stride);         \
        else if (n_tokens > 8)                                                                     \
            panel_tokens(KERNELS_##form, w, n_rows, n_cols, x, 10, n_tokens, y, y_stride);         \
        else if (n_tokens > 6)                                                                     \
            panel_tokens(KERNELS_##form, w, n_rows, n_cols, x, 8, n_tokens, y, y_stride);          \
        else if (n_tokens > 4)                                                                     \
            panel_tokens(KERNELS_##form, w, n_rows, n_cols, x, 6, n_tokens, y, y_stride);          \
        else                                                                                       \
            panel_tokens(KERNELS_##form, w, n_rows, n_cols, x, 4, n_tokens, y, y_stride);          \
    }
KERNELS_INTEGER_FORMS(DEFINE_PANEL)

void avx512_init_panel(struct kernels *k)
{
#define X(NAME) k->types[QUANT_##NAME].pack = pack_pairs_##NAME;
    AVX512_TYPES(X)
#undef X
#define X(NAME) k->types[QUANT_##NAME].pack = pack_##NAME;
    AVX512_PANEL_TYPES(X)
#undef X
#define X(NAME, kind) k->types[QUANT_##NAME].pack = pack_##NAME;
    PACKED_KINDS(X)
#undef X
#define X(form) k->panel[KERNELS_##form] = panel_##form;
    KERNELS_INTEGER_FORMS(X)
#undef X
}
