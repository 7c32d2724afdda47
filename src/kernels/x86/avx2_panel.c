/* Matrix times many tokens on AVX2: a panel's sixteen rows are two registers, four tokens share
 * each load of weights, and sums stay in 16 bits as long as they cannot overflow. Also packing. */
#include "kernels/x86/avx2_unpack_more.h"
#include "quant/quant.h"

enum { T = KERNELS_TILE_TOKENS, R = KERNELS_PANEL_ROWS, STEP = 4 };

_Static_assert(T % STEP == 0, "tokens of a tile come in steps");

/* ---- packing ---- */

/* Eight rows of eight dwords, row r at src + r * stride (dwords), to eight registers, one of each
 * dword. */
INLINE void transpose(const uint32_t *src, size_t stride, __m256i out[8])
{
    __m256i v[8], t[8];
    UNROLL
    for (size_t i = 0; i < 8; i++)
        v[i] = load32(src + i * stride);
    UNROLL
    for (int h = 0; h < 8; h += 4) {
        __m256i a = _mm256_unpacklo_epi32(v[h], v[h + 1]);
        __m256i b = _mm256_unpackhi_epi32(v[h], v[h + 1]);
        __m256i c = _mm256_unpacklo_epi32(v[h + 2], v[h + 3]);
        __m256i d = _mm256_unpackhi_epi32(v[h + 2], v[h + 3]);
        t[h] = _mm256_unpacklo_epi64(a, c);
        t[h + 1] = _mm256_unpackhi_epi64(a, c);
        t[h + 2] = _mm256_unpacklo_epi64(b, d);
        t[h + 3] = _mm256_unpackhi_epi64(b, d);
    }
    UNROLL
    for (int k = 0; k < 4; k++) {
        out[k] = _mm256_permute2x128_si256(t[k], t[k + 4], 0x20);
        out[k + 4] = _mm256_permute2x128_si256(t[k], t[k + 4], 0x31);
    }
}

/* Eight blocks of sixteen rows, as the groups leave them. */
struct rows {
    _Alignas(32) uint32_t u[R][64];        /* [row][block][8 quads] */
    _Alignas(32) float d[2][R][8];         /* d, d_high: [row][block] */
    _Alignas(32) float m[2][R][8];         /* m, m_high */
};

/* One of `scales` to memory: block b's sixteen at out + b * step. */
INLINE void place_scales(const float (*scales)[8], size_t n, float *out, size_t step)
{
    for (size_t r = 0; r < R; r += 8) {
        __m256i v[8];
        transpose((const uint32_t *)scales[r], 8, v);
        for (size_t b = 0; b < n; b++)
            _mm256_storeu_si256((__m256i *)(out + b * step + r), v[b]);
    }
}

/* Writes the first n blocks of group `index` to their strands' places. */
INLINE void place_group(const struct rows *rows, const enum kernels_form form, size_t index,
                        size_t n, size_t room, const struct kernels_panel *panel)
{
    const size_t n_d = kernels_form_has_halves(form) ? 2 : 1, n_m = form == KERNELS_MINS ? 2 : 1;
    for (size_t b = 0; b < n; b++) {
        uint8_t *out = panel->q + (b * room + index) * 512;
        for (size_t r = 0; r < R; r += 8) {
            __m256i v[8];
            transpose(&rows->u[r][b * 8], 64, v);
            UNROLL
            for (int i = 0; i < 8; i++)
                _mm256_storeu_si256((__m256i *)(out + i * 64 + r * 4), v[i]);
        }
    }
    for (size_t part = 0; part < n_d; part++)
        place_scales(rows->d[part], n, panel->d + (index * n_d + part) * R, room * n_d * R);
    for (size_t part = 0; part < n_m && kernels_form_has_min(form); part++)
        place_scales(rows->m[part], n, panel->m + (index * n_m + part) * R, room * n_m * R);
}

INLINE void keep_group(struct rows *rows, size_t r, const enum kernels_form form,
                       const struct group *g)
{
    UNROLL
    for (int j = 0; j < 8; j++)
        _mm256_store_si256((__m256i *)&rows->u[r][8 * j], g->u[j]);
    _mm256_store_ps(rows->d[0][r], g->d);
    if (kernels_form_has_halves(form))
        _mm256_store_ps(rows->d[1][r], g->d_high);
    if (kernels_form_has_min(form))
        _mm256_store_ps(rows->m[0][r], g->m);
    if (form == KERNELS_MINS)
        _mm256_store_ps(rows->m[1][r], g->m_high);
}

INLINE void pack_rows(group_fn *group, const enum kernels_form form, const size_t group_bytes,
                      const uint8_t *w, size_t row_bytes, size_t n_rows, size_t n_blocks,
                      const struct kernels_panel *panel)
{
    const size_t room = kernels_strand_room(n_blocks);
    struct rows rows;
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
            group(&g, p);
            keep_group(&rows, r, form, &g);
        }
        place_group(&rows, form, b / 8, n, room, panel);
    }
}

#define DEFINE_PACK(NAME)                                                                          \
    static void pack_##NAME(const struct matrix *m, size_t first, size_t n,                        \
                            const struct kernels_panel *panel)                                     \
    {                                                                                              \
        pack_rows(group_##NAME, (enum kernels_form)KERNELS_FORM_##NAME, X86_GROUP_BYTES(NAME),     \
                  matrix_row(m, MATRIX_BLOCKS, first), m->parts[MATRIX_BLOCKS].row_bytes, n,       \
                  m->n_cols / KERNELS_BLOCK, panel);                                               \
    }
AVX2_TYPES(DEFINE_PACK)

INLINE void packed_pack_rows(const struct matrix *m, const enum packed_kind kind, size_t first,
                             size_t n_rows, const struct kernels_panel *panel)
{
    const enum kernels_form form = packed_form(kind);
    const struct affine affine = affine_of(m);
    const __m256i blocks = affine_blocks(affine);
    const size_t n_blocks = m->n_cols / KERNELS_BLOCK;
    struct rows rows;
    if (n_rows < R)
        memset(&rows, 0, sizeof rows);
    for (size_t b = 0; b < n_blocks; b += 8) {
        const size_t n = n_blocks - b < 8 ? n_blocks - b : 8;
        for (size_t r = 0; r < n_rows; r++) {
            const struct packed_row row = packed_row_of(m, first + r);
            struct group g;
            if (n == 8)
                group_packed(&g, &row, affine, blocks, kind, b, 8);
            else
                group_packed(&g, &row, affine, blocks, kind, b, n);
            keep_group(&rows, r, form, &g);
        }
        place_group(&rows, form, b / 8, n, kernels_strand_room(n_blocks), panel);
    }
}

#define DEFINE_PACKED(NAME, kind)                                                                  \
    static void pack_##NAME(const struct matrix *m, size_t first, size_t n,                        \
                            const struct kernels_panel *panel)                                     \
    {                                                                                              \
        if (packed_is_plain(m, kind))                                                              \
            packed_pack_rows(m, kind, first, n, panel);                                            \
        else                                                                                       \
            kernels_pack_blocks(m, first, n, panel);                                               \
    }
PACKED_KINDS(DEFINE_PACKED)

/* ---- the product ---- */

INLINE __m256i broadcast_quad(const int8_t *q)
{
    int32_t quad;
    memcpy(&quad, q, 4);
    return _mm256_set1_epi32(quad);
}

/* The compiler must not add in another order: a tree of sums takes more registers than there
 * are. */
INLINE void keep(__m256i *sum)
{
    __asm__("" : "+x"(*sum));
}

/* 16-bit sums of the products of quads [first, last), bits from `shift` on of the weights; with u <
 * 16 a whole block fits, with u < 32 half of one, with u < 64 a quarter. */
INLINE void dot_narrow(__m256i (*narrow)[2], const uint8_t *w, const int8_t *x, const int first,
                       const int last, const __m256i mask, const int shift, const bool masks)
{
    UNROLL
    for (int i = first; i < last; i++) {
        __m256i quad[2] = {load32(w + i * 64), load32(w + i * 64 + 32)};
        UNROLL
        for (int h = 0; h < 2 && masks; h++)
            quad[h] = _mm256_and_si256(shift ? _mm256_srli_epi16(quad[h], shift) : quad[h], mask);
        UNROLL
        for (int t = 0; t < STEP; t++) {
            __m256i a = broadcast_quad(x + t * 32 + i * 4);
            UNROLL
            for (int h = 0; h < 2; h++) {
                __m256i pairs = _mm256_maddubs_epi16(quad[h], a);
                narrow[t][h] = i == first ? pairs : _mm256_add_epi16(narrow[t][h], pairs);
                keep(&narrow[t][h]);
            }
        }
    }
}

/* sums[token][2] += or = narrow sums times `factor`. */
INLINE void widen(__m256i (*sums)[2], __m256i (*narrow)[2], const int factor, const bool adds)
{
    UNROLL
    for (int t = 0; t < STEP; t++) {
        UNROLL
        for (int h = 0; h < 2; h++) {
            __m256i wide = _mm256_madd_epi16(narrow[t][h], _mm256_set1_epi16((short)factor));
            sums[t][h] = adds ? _mm256_add_epi32(sums[t][h], wide) : wide;
        }
    }
}

/* The dot products of quads [first, last) to sums[token][2]. WIDE goes over its low and its high
 * nibbles. */
INLINE void dot_quads(__m256i (*sums)[2], const enum kernels_form form, const uint8_t *w,
                      const int8_t *x, const int first, const int last)
{
    const bool wide = is_wide(form);
    const int n_narrow = form == KERNELS_HALVES || form == KERNELS_MINS ? 2
                         : wide                                             ? last - first
                                                                            : 4;
    const __m256i four = _mm256_set1_epi8(15);
    __m256i narrow[STEP][2];
    UNROLL
    for (int i = first; i < last; i += n_narrow) {
        dot_narrow(narrow, w, x, i, i + n_narrow, four, 0, wide);
        widen(sums, narrow, 1, i != first);
    }
    if (wide) {
        /* loaded again: there are no registers to remember the first pass */
        __asm__("" : "+r"(w), "+r"(x));
        dot_narrow(narrow, w, x, first, last, four, 4, true);
        widen(sums, narrow, 16, true);
    }
}

INLINE __m256 sum_of(__m256i dot, const int32_t *c)
{
    return _mm256_cvtepi32_ps(c ? _mm256_add_epi32(dot, _mm256_set1_epi32(*c)) : dot);
}

INLINE void add_halves(__m256 (*acc)[2], const enum kernels_form form,
                       const struct kernels_panel *w, const struct kernels_tile_x *x, size_t place,
                       size_t at)
{
    const float *d = w->d + place * 2 * R;
    __m256 both[STEP][2];
    UNROLL
    for (int part = 0; part < 2; part++) {
        __m256i sums[STEP][2];
        dot_quads(sums, form, w->q + place * 512, x->q + at * 32, part * 4, part * 4 + 4);
        UNROLL
        for (size_t i = 0; i < STEP * 2; i++) {
            const size_t t = i / 2, h = i % 2;
            __m256 sum = sum_of(sums[t][h], x->c[part] + at + t);
            __m256 scales = _mm256_loadu_ps(d + (size_t)part * R + 8 * h);
            both[t][h] = part ? _mm256_fmadd_ps(sum, scales, both[t][h])
                              : _mm256_mul_ps(sum, scales);
        }
    }
    UNROLL
    for (size_t i = 0; i < STEP * 2; i++) {
        const size_t t = i / 2, h = i % 2;
        acc[t][h] = _mm256_fmadd_ps(both[t][h], _mm256_set1_ps(x->d[at + t]), acc[t][h]);
    }
}

/* Adds one place to acc[token][2]. */
INLINE void add_place(__m256 (*acc)[2], const enum kernels_form form, const struct kernels_panel *w,
                      const struct kernels_tile_x *x, size_t place, size_t token)
{
    const bool corrects = kernels_form_has_offset(form);
    const size_t at = place * T + token;
    const float *d = w->d + place * R;
    __m256i sums[STEP][2];
    if (kernels_form_has_halves(form)) {
        add_halves(acc, form, w, x, place, at);
        return;
    }
    dot_quads(sums, form, w->q + place * 512, x->q + at * 32, 0, 8);
    UNROLL
    for (int t = 0; t < STEP; t++) {
        __m256 da = _mm256_set1_ps(x->d[at + (size_t)t]);
        UNROLL
        for (int h = 0; h < 2; h++)
            acc[t][h] = _mm256_fmadd_ps(
                sum_of(sums[t][h], corrects ? x->c[0] + at + t : NULL),
                _mm256_mul_ps(_mm256_loadu_ps(d + 8 * h), da), acc[t][h]);
    }
    const int n_m = form == KERNELS_MINS ? 2 : kernels_form_has_min(form) ? 1 : 0;
    UNROLL
    for (int part = 0; part < n_m; part++) {
        const float *m = w->m + (place * (size_t)n_m + (size_t)part) * R;
        const float *xs = form == KERNELS_MINS ? x->sh[part] : x->s;
        UNROLL
        for (int t = 0; t < STEP; t++) {
            __m256 s = _mm256_set1_ps(xs[at + t]);
            UNROLL
            for (int h = 0; h < 2; h++)
                acc[t][h] = _mm256_fmadd_ps(_mm256_loadu_ps(m + 8 * h), s, acc[t][h]);
        }
    }
}

/* Stores the tree of the strands' sums of one token. */
static inline void store_sums(float (*sums)[STEP][R], int token, size_t n_rows, float *y)
{
    float out[R];
    for (int h = 0; h < R; h += 8) {
        __m256 s[8];
        UNROLL
        for (int i = 0; i < 8; i++)
            s[i] = _mm256_load_ps(&sums[i][token][h]);
        __m256 low = _mm256_add_ps(_mm256_add_ps(s[0], s[1]), _mm256_add_ps(s[2], s[3]));
        __m256 high = _mm256_add_ps(_mm256_add_ps(s[4], s[5]), _mm256_add_ps(s[6], s[7]));
        _mm256_storeu_ps(out + h, _mm256_add_ps(low, high));
    }
    memcpy(y, out, n_rows * sizeof *y);
}

INLINE void panel_tokens(const enum kernels_form form, const struct kernels_panel *w,
                         size_t n_rows, size_t n_cols, const struct kernels_tile_x *x,
                         size_t n_tokens, float *y, size_t y_stride)
{
    _Alignas(32) float sums[KERNELS_STRANDS][STEP][R];
    const size_t n_blocks = n_cols / KERNELS_BLOCK, room = kernels_strand_room(n_blocks);
    for (size_t token = 0; token < n_tokens; token += STEP) {
        for (size_t s = 0; s < KERNELS_STRANDS; s++) {
            const size_t end = s * room + kernels_strand_length(n_blocks, s);
            __m256 acc[STEP][2];
            UNROLL
            for (int t = 0; t < STEP; t++)
                acc[t][0] = acc[t][1] = _mm256_setzero_ps();
            for (size_t place = s * room; place < end; place++)
                add_place(acc, form, w, x, place, token);
            UNROLL
            for (int t = 0; t < STEP; t++) {
                _mm256_store_ps(sums[s][t], acc[t][0]);
                _mm256_store_ps(sums[s][t] + 8, acc[t][1]);
            }
        }
        for (int t = 0; t < STEP && token + (size_t)t < n_tokens; t++)
            store_sums(sums, t, n_rows, y + (token + (size_t)t) * y_stride);
    }
}

#define DEFINE_PANEL(form)                                                                         \
    static void panel_##form(const struct kernels_panel *w, size_t n_rows, size_t n_cols,          \
                             const struct kernels_tile_x *x, size_t n_tokens, float *y,            \
                             size_t y_stride)                                                      \
    {                                                                                              \
        panel_tokens(KERNELS_##form, w, n_rows, n_cols, x, n_tokens, y, y_stride);                 \
    }
KERNELS_INTEGER_FORMS(DEFINE_PANEL)

void avx2_init_panel(struct kernels *k)
{
#define X(NAME) k->types[QUANT_##NAME].pack = pack_##NAME;
    AVX2_TYPES(X)
#undef X
#define X(NAME, kind) k->types[QUANT_##NAME].pack = pack_##NAME;
    PACKED_KINDS(X)
#undef X
#define X(form) k->panel[KERNELS_##form] = panel_##form;
    KERNELS_INTEGER_FORMS(X)
#undef X
}
