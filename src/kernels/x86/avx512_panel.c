/* Matrix times many tokens on AVX-512 VNNI: sixteen rows lie side by side in the lanes of a panel,
 * four activation bytes are broadcast, and up to twelve tokens share each load of weights. Also
 * packing. */
#include "kernels/x86/avx512_pack_more.h"
#include "kernels/x86/avx512_transpose.h"
#include "kernels/x86/avx512_unpack_more.h"
#include "quant/quant.h"

enum {
    T = KERNELS_TILE_TOKENS,
    R = KERNELS_PANEL_ROWS,
    GROUP = 4, /* tokens whose sums are finished while the next ones' are made */
};

/* ---- packing ---- */

/* Eight blocks of sixteen rows, as the groups leave them. */
struct rows {
    _Alignas(64) uint32_t u[R][64]; /* [row][block][8 quads] */
    _Alignas(64) float d[R][16];    /* [row][block], HALVES: [row][block][half] */
    _Alignas(64) float m[R][16];    /* [row][block], MINS: [row][block][half] */
};

INLINE bool has_min(const enum kernels_form form)
{
    return form == KERNELS_MIN || form == KERNELS_WIDE_MIN;
}

INLINE void keep_group(struct rows *rows, size_t r, const enum kernels_form form,
                       const struct group *g)
{
    UNROLL
    for (int j = 0; j < 4; j++)
        _mm512_store_si512(&rows->u[r][16 * j], g->u[j]);
    if (form == KERNELS_HALVES)
        _mm512_store_ps(rows->d[r], g->d16);
    else
        _mm256_store_ps(rows->d[r], g->d);
    if (form == KERNELS_MINS)
        _mm512_store_ps(rows->m[r], g->d16);
    else if (has_min(form))
        _mm256_store_ps(rows->m[r], g->m);
}

/* One of the floats of each block (or, with n_parts 2, of each half) to its place in `out`. */
INLINE void place_floats(const float (*rows)[16], const size_t n_parts, size_t index, size_t n,
                         size_t room, float *out)
{
    __m512i v[8];
    transpose((const uint32_t *)rows, 16, v);
    for (size_t b = 0; b < n; b++) {
        if (n_parts == 2 && b == 4)
            transpose((const uint32_t *)rows + 8, 16, v);
        for (size_t h = 0; h < n_parts; h++)
            _mm512_storeu_si512(out + ((b * room + index) * n_parts + h) * 16,
                                v[n_parts == 2 ? b % 4 * 2 + h : b]);
    }
}

/* Writes the first n blocks of group `index` to their strands' places. */
INLINE void place_group(const struct rows *rows, const enum kernels_form form, size_t index,
                        size_t n, size_t room, const struct kernels_panel *panel)
{
    __m512i v[8];
    for (size_t b = 0; b < n; b++) {
        transpose(&rows->u[0][b * 8], 64, v);
        UNROLL
        for (int i = 0; i < 8; i++)
            _mm512_storeu_si512(panel->q + ((b * room + index) * 8 + i) * 64, v[i]);
    }
    place_floats(rows->d, form == KERNELS_HALVES ? 2 : 1, index, n, room, panel->d);
    if (has_min(form) || form == KERNELS_MINS)
        place_floats(rows->m, form == KERNELS_MINS ? 2 : 1, index, n, room, panel->m);
}

INLINE void pack_rows(group_fn *group, const enum kernels_form form, const size_t group_bytes,
                      const int n_words, const uint8_t *w, size_t row_bytes, size_t n_rows,
                      size_t n_blocks, const struct kernels_panel *panel)
{
    const size_t room = kernels_strand_room(n_blocks);
    struct rows rows;
    struct words words = {.mask = {0}};
    if (n_words)
        words = words_init((int)(group_bytes / 8), n_words);
    if (n_rows < R)
        memset(&rows, 0, sizeof rows);
    for (size_t b = 0; b < n_blocks; b += 8) {
        const size_t n = n_blocks - b < 8 ? n_blocks - b : 8;
        for (size_t r = 0; r < n_rows; r++) {
            const uint8_t *p = w + r * row_bytes + b / 8 * group_bytes;
            uint8_t last[8 * 40];
            struct group g;
            /* eight blocks are read, so the rows must not end before */
            if (n_rows * row_bytes < (size_t)(p - w) + group_bytes)
                p = memcpy(last, p, n * (group_bytes / 8));
            for (size_t i = 0; i < group_bytes; i += 64)
                _mm_prefetch((const char *)p + 2 * group_bytes + i, _MM_HINT_T0);
            group(&g, &words, p, 4);
            keep_group(&rows, r, form, &g);
        }
        place_group(&rows, form, b / 8, n, room, panel);
    }
}

/* Whole panels have a way of their own (avx512_pack.h). */
#define DEFINE_PACK(type, form, group_bytes, n_words)                                              \
    static void pack_##type(const void *w, size_t row_bytes, size_t n_rows, size_t n_blocks,       \
                            const struct kernels_panel *panel)                                     \
    {                                                                                              \
        if (n_rows == R)                                                                           \
            pack_panel_##type(w, row_bytes, n_blocks, panel);                                      \
        else                                                                                       \
            pack_rows(group_##type, form, group_bytes, n_words, w, row_bytes, n_rows, n_blocks,    \
                      panel);                                                                      \
    }
DEFINE_PACK(q4_0, KERNELS_OFFSET, 8 * sizeof(struct quant_q4_0), 1)
DEFINE_PACK(q4_1, KERNELS_MIN, 8 * sizeof(struct quant_q4_1), 2)
DEFINE_PACK(q5_0, KERNELS_OFFSET, 8 * sizeof(struct quant_q5_0), 1)
DEFINE_PACK(q5_1, KERNELS_MIN, 8 * sizeof(struct quant_q5_1), 2)
DEFINE_PACK(q8_0, KERNELS_WIDE, 8 * sizeof(struct quant_q8_0), 1)
DEFINE_PACK(q4_k, KERNELS_MIN, sizeof(struct quant_q4_k), 0)
DEFINE_PACK(q5_k, KERNELS_MIN, sizeof(struct quant_q5_k), 0)
DEFINE_PACK(q6_k, KERNELS_HALVES, sizeof(struct quant_q6_k), 0)
DEFINE_PACK(q2_k, KERNELS_MINS, sizeof(struct quant_q2_k), 0)
DEFINE_PACK(q3_k, KERNELS_WIDE, sizeof(struct quant_q3_k), 0)
DEFINE_PACK(iq4_nl, KERNELS_WIDE, 8 * sizeof(struct quant_iq4_nl), 1)
DEFINE_PACK(iq4_xs, KERNELS_WIDE, sizeof(struct quant_iq4_xs), 0)
DEFINE_PACK(mxfp4, KERNELS_OFFSET, 8 * sizeof(struct quant_mxfp4), 0)

INLINE void affine_pack_rows(const struct kernels_affine *w, const uint32_t bits, size_t n_rows,
                             size_t n_blocks, const struct kernels_panel *panel)
{
    const enum kernels_form form = bits == 8 ? KERNELS_WIDE_MIN : KERNELS_MIN;
    const __m256i blocks = affine_blocks(w);
    struct rows rows;
    if (n_rows < R)
        memset(&rows, 0, sizeof rows);
    for (size_t b = 0; b < n_blocks; b += 8) {
        const size_t n = n_blocks - b < 8 ? n_blocks - b : 8;
        for (size_t r = 0; r < n_rows; r++) {
            struct group g;
            group_affine(&g, w, blocks, bits, r * n_blocks + b, n);
            keep_group(&rows, r, form, &g);
        }
        place_group(&rows, form, b / 8, n, kernels_strand_room(n_blocks), panel);
    }
}

static void affine_pack(const struct kernels_affine *w, size_t n_rows, size_t n_blocks,
                        const struct kernels_panel *panel)
{
    if (w->bits == 8)
        affine_pack_rows(w, 8, n_rows, n_blocks, panel);
    else
        affine_pack_rows(w, 4, n_rows, n_blocks, panel);
}

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
    if (form == KERNELS_HALVES) {
        add_halves(acc, w, x, place, n);
        return;
    }
    const bool corrects = form != KERNELS_MIN && form != KERNELS_MINS;
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
    if (has_min(form)) {
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
                         size_t n_rows, size_t n_blocks, const struct kernels_tile_x *x,
                         const size_t n, size_t n_tokens, float *y, size_t y_stride)
{
    _Alignas(64) float sums[KERNELS_STRANDS][T][R];
    const size_t room = kernels_strand_room(n_blocks);
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

#define DEFINE_PANEL(name, form)                                                                   \
    static void panel_##name(const struct kernels_panel *w, size_t n_rows, size_t n_blocks,        \
                             const struct kernels_tile_x *x, size_t n_tokens, float *y,            \
                             size_t y_stride)                                                      \
    {                                                                                              \
        if (n_tokens > 10)                                                                         \
            panel_tokens(form, w, n_rows, n_blocks, x, 12, n_tokens, y, y_stride);                 \
        else if (n_tokens > 8)                                                                     \
            panel_tokens(form, w, n_rows, n_blocks, x, 10, n_tokens, y, y_stride);                 \
        else if (n_tokens > 6)                                                                     \
            panel_tokens(form, w, n_rows, n_blocks, x, 8, n_tokens, y, y_stride);                  \
        else if (n_tokens > 4)                                                                     \
            panel_tokens(form, w, n_rows, n_blocks, x, 6, n_tokens, y, y_stride);                  \
        else                                                                                       \
            panel_tokens(form, w, n_rows, n_blocks, x, 4, n_tokens, y, y_stride);                  \
    }
DEFINE_PANEL(offset, KERNELS_OFFSET)
DEFINE_PANEL(min, KERNELS_MIN)
DEFINE_PANEL(halves, KERNELS_HALVES)
DEFINE_PANEL(mins, KERNELS_MINS)
DEFINE_PANEL(wide_min, KERNELS_WIDE_MIN)

void avx512_init_panel(struct kernels *k)
{
    k->types[QUANT_Q4_0].pack = pack_q4_0;
    k->types[QUANT_Q4_1].pack = pack_q4_1;
    k->types[QUANT_Q5_0].pack = pack_q5_0;
    k->types[QUANT_Q5_1].pack = pack_q5_1;
    k->types[QUANT_Q8_0].pack = pack_q8_0;
    k->types[QUANT_Q4_K].pack = pack_q4_k;
    k->types[QUANT_Q5_K].pack = pack_q5_k;
    k->types[QUANT_Q6_K].pack = pack_q6_k;
    k->types[QUANT_Q2_K].pack = pack_q2_k;
    k->types[QUANT_Q3_K].pack = pack_q3_k;
    k->types[QUANT_IQ4_NL].pack = pack_iq4_nl;
    k->types[QUANT_IQ4_XS].pack = pack_iq4_xs;
    k->types[QUANT_MXFP4].pack = pack_mxfp4;
    k->affine_pack = affine_pack;
    k->panel[KERNELS_OFFSET] = panel_offset;
    k->panel[KERNELS_WIDE] = panel_offset;
    k->panel[KERNELS_MIN] = panel_min;
    k->panel[KERNELS_HALVES] = panel_halves;
    k->panel[KERNELS_MINS] = panel_mins;
    k->panel[KERNELS_WIDE_MIN] = panel_wide_min;
}
