/* Attention on AVX-512 with products of bfloat16 (vdpbf16ps: two per lane, summed in float32).
 *
 * A page holds its first key in float32, then the keys as differences from it, then the values;
 * both as pairs in 32 bits: keys by dimension [pair of dimensions][64 keys], values by key
 * [pair of keys][head_dim]. So a score is  q . first + q . difference : what all keys of a page
 * have in common, biases above all, is not rounded to 8 bits.
 *
 * A pair is at once what a lane multiplies and what a broadcast loads. That gives two ways through
 * a page without converting anything: FEW queries keep keys (values: dimensions) in the lanes and
 * broadcast queries, MANY keep 16 queries in the lanes and broadcast keys. Each number is the
 * result of the same operations in the same order in both ways, so both give the same bits:
 *
 *   score     pairs of dimensions ascending; the first key's part in 16 strands and a fixed tree
 *   p         exp2 lane by lane, rounded to bfloat16
 *   l         lane i = pairs of keys i and 16 + i of the rounded p, then a fixed tree
 *   o         o * fade, then pairs of keys ascending
 *
 * m is in units of log2, the maximum of scores * scale * log2(e). */
#include "kernels/quantized_page.h"
#include "kernels/x86/avx512_float.h"

#include <string.h>

enum {
    P = KERNELS_PAGE_TOKENS,
    PAIRS = P / 2,
    LANES = 32,   /* queries of MANY, two registers */
    BLOCK = 8,    /* keys or dimensions of MANY at once: 16 registers of sums */
    FEW = 4,      /* queries of FEW at once */
    MOST_FEW = 9, /* up to so many go that way */
};

/* ---- pages ---- */

static size_t padded(size_t head_dim)
{
    return (head_dim + 15) / 16 * 16;
}

struct page {
    const float *first;    /* [padded] */
    const uint32_t *k, *v; /* [padded / 2][P], [PAIRS][head_dim] */
};

static size_t page_bytes(size_t head_dim)
{
    size_t n = padded(head_dim) * sizeof(float) + padded(head_dim) * P * 2 + head_dim * P * 2;
    return (n + 63) / 64 * 64;
}

static struct page page_at(const void *page, size_t head_dim)
{
    struct page p;
    p.first = page;
    p.k = (const uint32_t *)(p.first + padded(head_dim));
    p.v = p.k + padded(head_dim) / 2 * P;
    return p;
}

/* To the nearest even; finite stays finite. No negative zero, so that adding a product of nothing
 * never changes a sum. */
static uint16_t to_bf16(float x)
{
    x += 0.0f;
    uint32_t u;
    memcpy(&u, &x, 4);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static float clamped(float x)
{
    return x > 65504.0f ? 65504.0f : x < -65504.0f ? -65504.0f : x;
}

static void store(void *page, size_t head_dim, size_t slot, const float *k, const float *v)
{
    const size_t width = padded(head_dim);
    float *first = page;
    uint16_t *keys = (uint16_t *)(first + width);
    uint16_t *values = keys + width * P;
    if (!slot) {
        memset(page, 0, page_bytes(head_dim));
        for (size_t d = 0; d < head_dim; d++)
            first[d] = clamped(k[d]);
    }
    for (size_t d = 0; d < head_dim; d++) {
        keys[(d / 2 * P + slot) * 2 + d % 2] = to_bf16(clamped(k[d]) - first[d]);
        values[(slot / 2 * head_dim + d) * 2 + slot % 2] = to_bf16(clamped(v[d]));
    }
}

/* ---- what both ways share ---- */

INLINE __m512 dot_pairs(__m512 acc, __m512i a, __m512i b)
{
    return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
}

/* Both rounded to bfloat16: even lanes' words from `low`, odd ones from `high`. */
INLINE __m512i interleave_bf16(__m512 low, __m512 high)
{
    const __m512i order = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
        19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

/* 16 pairs of codes times their scales, as pairs of bfloat16. */
INLINE __m512i scaled_pairs(const uint8_t *pairs, size_t i, const size_t pair_bytes, __m512 even,
                            __m512 odd)
{
    __m512i first, second;
    if (pair_bytes == 2) {
        __m512i both =
            _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)(pairs + 2 * i)));
        first = _mm512_srai_epi32(_mm512_slli_epi32(both, 24), 24);
        second = _mm512_srai_epi32(both, 8);
    } else {
        __m512i both = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(pairs + i)));
        first = _mm512_sub_epi32(_mm512_and_si512(both, _mm512_set1_epi32(15)),
                                 _mm512_set1_epi32(8));
        second = _mm512_sub_epi32(_mm512_srli_epi32(both, 4), _mm512_set1_epi32(8));
    }
    return interleave_bf16(_mm512_mul_ps(_mm512_cvtepi32_ps(first), even),
                           _mm512_mul_ps(_mm512_cvtepi32_ps(second), odd));
}

INLINE void unpack_keys(const struct quantized_page *p, size_t n_pairs, const size_t pair_bytes,
                        uint32_t *out)
{
    enum { PER_BLOCK = QUANTIZED_BLOCK / 2 };
    for (size_t b = 0; b < p->blocks; b++) {
        const size_t end = (b + 1) * PER_BLOCK < n_pairs ? (b + 1) * PER_BLOCK : n_pairs;
        __m512 scales[4];
        UNROLL
        for (size_t j = 0; j < 4; j++)
            scales[j] = _mm512_cvtph_ps(
                _mm256_loadu_si256((const __m256i *)(p->k_scales + b * P + 16 * j)));
        for (size_t pair = b * PER_BLOCK; pair < end; pair++) {
            UNROLL
            for (size_t j = 0; j < 4; j++)
                _mm512_storeu_si512(out + pair * P + 16 * j,
                                    scaled_pairs(p->k, pair * P + 16 * j, pair_bytes, scales[j],
                                                 scales[j]));
        }
    }
}

INLINE void unpack_values(const struct quantized_page *p, size_t head_dim, const size_t pair_bytes,
                          uint32_t *out)
{
    for (size_t pair = 0; pair < PAIRS; pair++) {
        for (size_t b = 0; b < p->blocks; b++) {
            __m128i halves = _mm_loadu_si32(p->v_scales + (pair * p->blocks + b) * 2);
            __m128 scales = _mm_cvtph_ps(halves);
            const __m512 even = _mm512_broadcastss_ps(scales);
            const __m512 odd = _mm512_broadcastss_ps(_mm_movehdup_ps(scales));
            for (size_t d = b * QUANTIZED_BLOCK; d < (b + 1) * QUANTIZED_BLOCK && d < head_dim;
                 d += 16)
                _mm512_mask_storeu_epi32(
                    out + pair * head_dim + d, first_lanes(head_dim - d),
                    scaled_pairs(p->v, pair * p->padded + d, pair_bytes, even, odd));
        }
    }
}

/* The page's codes as pairs of bfloat16. */
INLINE struct page unpack(const void *memory, size_t head_dim, const size_t pair_bytes,
                          uint32_t *scratch)
{
    const struct quantized_page p = quantized_page_at(memory, head_dim, pair_bytes);
    uint32_t *v = scratch + p.padded / 2 * P;
    unpack_keys(&p, (head_dim + 1) / 2, pair_bytes, scratch);
    unpack_values(&p, head_dim, pair_bytes, v);
    return (struct page){p.first, scratch, v};
}

/* 2^x for what will be rounded to bfloat16: within 8e-5. x is at most a little above 0. */
INLINE __m512 weight(__m512 x)
{
    __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_sub_ps(x, n);
    __m512 p = _mm512_set1_ps(0.05517167f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.24261115f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.693261f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.99992807f));
    return _mm512_scalef_ps(p, n);
}

/* 2^x within 2 ulp, for factors of whole sums; 0 for what is far below. */
INLINE __m512 power(__m512 x)
{
    x = _mm512_max_ps(x, _mm512_set1_ps(-200.0f));
    __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_mul_ps(_mm512_sub_ps(x, n), _mm512_set1_ps(0x1.62e43p-1f));
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

/* Lanes of the result: the sums of 16 registers' lanes, each by sum_lanes' tree. */
INLINE __m512 sum_each(const __m512 *a)
{
    __m512 b[8], c[4], d[2];
    UNROLL
    for (int i = 0; i < 8; i++) /* i and i + 8; halves */
        b[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a[i], a[i + 8], 0x44),
                             _mm512_shuffle_f32x4(a[i], a[i + 8], 0xee));
    UNROLL
    for (int i = 0; i < 4; i++) /* and i + 4; quarters */
        c[i] = _mm512_add_ps(_mm512_shuffle_f32x4(b[i], b[i + 4], 0x88),
                             _mm512_shuffle_f32x4(b[i], b[i + 4], 0xdd));
    /* c[i] = sums of i, i + 8, i + 4, i + 12, four lanes each */
    UNROLL
    for (int i = 0; i < 2; i++)
        d[i] = _mm512_add_ps(_mm512_shuffle_ps(c[i], c[i + 2], 0x44),
                             _mm512_shuffle_ps(c[i], c[i + 2], 0xee));
    /* d[i] = two lanes each of i, i + 2 in each quarter */
    __m512 e = _mm512_add_ps(_mm512_shuffle_ps(d[0], d[1], 0x88),
                             _mm512_shuffle_ps(d[0], d[1], 0xdd));
    /* quarters hold 0, 2, 1, 3 of c's order */
    const __m512i order = _mm512_set_epi32(15, 13, 14, 12, 7, 5, 6, 4, 11, 9, 10, 8, 3, 1, 2, 0);
    return _mm512_permutexvar_ps(order, e);
}

INLINE void transpose(__m512i *r)
{
    __m512i t[16];
    UNROLL
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    UNROLL
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

/* The 16 pairs of a query from dimension d on. */
INLINE __m512i query_pairs(const float *q, size_t head_dim, size_t d)
{
    __m512 low = _mm512_maskz_loadu_ps(first_lanes(head_dim - d), q + d);
    __m512 high = d + 16 < head_dim
                      ? _mm512_maskz_loadu_ps(first_lanes(head_dim - d - 16), q + d + 16)
                      : _mm512_setzero_ps();
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* 16 strands of dot(q, the page's first key). */
INLINE __m512 first_strands(const float *q, const float *first, size_t head_dim)
{
    __m512 acc = _mm512_setzero_ps();
    for (size_t d = 0; d < head_dim; d += 16)
        acc = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(first_lanes(head_dim - d), q + d),
                              _mm512_loadu_ps(first + d), acc);
    return acc;
}

/* Where a query's keys begin and end in page i of the run. */
INLINE int page_limit(size_t limit, size_t i)
{
    return (int)kernels_page_limit(limit, i);
}

/* ---- many queries: they are the lanes ---- */

struct many {
    uint32_t *q;  /* [padded / 2][LANES] pairs */
    float *s;     /* [P][LANES] scores; then p as pairs [PAIRS][LANES] */
    float *o;     /* [head_dim][LANES] */
    __m512 m[2], l[2];
    __m512i from[2], to[2]; /* keys seen in the page at hand */
    int least, most;        /* over all lanes */
    bool whole;             /* all lanes see the page whole */
};

static size_t scratch_bytes(size_t head_dim)
{
    return (padded(head_dim) / 2 + P + head_dim) * LANES * sizeof(float);
}

/* Scores of BLOCK keys from `key` on. */
INLINE void many_scores(const struct many *t, const struct page *page, size_t n_pairs, size_t key,
                        const int width)
{
    __m512 acc[2][BLOCK];
    UNROLL
    for (int j = 0; j < BLOCK; j++)
        acc[0][j] = acc[1][j] = _mm512_setzero_ps();
    const uint32_t *k = page->k + key, *q = t->q;
    for (size_t i = 0; i < n_pairs; i++, k += P, q += LANES) {
        __m512i x[2];
        UNROLL
        for (int w = 0; w < width; w++)
            x[w] = _mm512_load_si512(q + 16 * w);
        UNROLL
        for (int j = 0; j < BLOCK; j++) {
            __m512i pair = _mm512_set1_epi32((int)k[j]);
            UNROLL
            for (int w = 0; w < width; w++)
                acc[w][j] = dot_pairs(acc[w][j], x[w], pair);
        }
    }
    UNROLL
    for (int j = 0; j < BLOCK; j++) {
        UNROLL
        for (int w = 0; w < width; w++)
            _mm512_store_ps(t->s + (key + (size_t)j) * LANES + 16 * w, acc[w][j]);
    }
}

/* The lanes that see `key`. */
INLINE __mmask16 many_seen(const struct many *t, int key, int w)
{
    __m512i k = _mm512_set1_epi32(key);
    return _mm512_cmple_epi32_mask(t->from[w], k) & _mm512_cmplt_epi32_mask(k, t->to[w]);
}

/* The largest score of keys [begin, end). */
INLINE __m512 many_most(const struct many *t, int begin, int end, int w, const bool whole)
{
    __m512 most[4];
    for (int j = 0; j < 4; j++)
        most[j] = _mm512_set1_ps(-__builtin_inff());
    for (int key = begin; key < end; key += 4) {
        UNROLL
        for (int j = 0; j < 4; j++) {
            __m512 s = _mm512_load_ps(t->s + (key + j) * LANES + 16 * w);
            most[j] = whole ? _mm512_max_ps(most[j], s)
                            : _mm512_mask_max_ps(most[j], many_seen(t, key + j, w), most[j], s);
        }
    }
    return _mm512_max_ps(_mm512_max_ps(most[0], most[1]), _mm512_max_ps(most[2], most[3]));
}

/* Scores of keys [begin, end) to pairs of p, in place. */
INLINE void many_weights(const struct many *t, int begin, int end, int w, __m512 scale,
                         __m512 shift, const bool whole)
{
    uint32_t *pairs = (uint32_t *)t->s;
    for (int key = begin; key < end; key += 2) {
        __m512 p[2];
        UNROLL
        for (int j = 0; j < 2; j++) {
            __m512 s = _mm512_load_ps(t->s + (key + j) * LANES + 16 * w);
            p[j] = weight(_mm512_fmadd_ps(s, scale, shift));
            if (!whole)
                p[j] = _mm512_maskz_mov_ps(many_seen(t, key + j, w), p[j]);
        }
        _mm512_store_si512(pairs + key / 2 * LANES + 16 * w, interleave_bf16(p[0], p[1]));
    }
}

/* The sums of p. */
INLINE __m512 many_sum(const struct many *t, int w)
{
    const __m512i ones = _mm512_set1_epi32(0x3f803f80);
    const uint32_t *pairs = (const uint32_t *)t->s + 16 * w;
    __m512 a[16];
    UNROLL
    for (int i = 0; i < 16; i++) {
        a[i] = dot_pairs(_mm512_setzero_ps(), _mm512_load_si512(pairs + i * LANES), ones);
        a[i] = dot_pairs(a[i], _mm512_load_si512(pairs + (i + 16) * LANES), ones);
    }
    UNROLL
    for (int width = 8; width; width /= 2) {
        UNROLL
        for (int i = 0; i < width; i++)
            a[i] = _mm512_add_ps(a[i], a[i + width]);
    }
    return a[0];
}

/* o = o * fade + p . v for n <= BLOCK dimensions from d on, pairs of keys [begin, end). */
INLINE void many_weigh(const struct many *t, const struct page *page, size_t head_dim, size_t d,
                       const int n, int begin, int end, const __m512 *fade, const int width)
{
    __m512 acc[2][BLOCK];
    float *o = t->o + d * LANES;
    UNROLL
    for (int j = 0; j < n; j++) {
        UNROLL
        for (int w = 0; w < width; w++)
            acc[w][j] = _mm512_mul_ps(_mm512_load_ps(o + j * LANES + 16 * w), fade[w]);
    }
    const uint32_t *v = page->v + (size_t)begin * head_dim + d;
    const uint32_t *p = (const uint32_t *)t->s + begin * LANES;
    for (int i = begin; i < end; i++, v += head_dim, p += LANES) {
        __m512i x[2];
        UNROLL
        for (int w = 0; w < width; w++)
            x[w] = _mm512_load_si512(p + 16 * w);
        UNROLL
        for (int j = 0; j < n; j++) {
            __m512i pair = _mm512_set1_epi32((int)v[j]);
            UNROLL
            for (int w = 0; w < width; w++)
                acc[w][j] = dot_pairs(acc[w][j], x[w], pair);
        }
    }
    UNROLL
    for (int j = 0; j < n; j++) {
        UNROLL
        for (int w = 0; w < width; w++)
            _mm512_store_ps(o + j * LANES + 16 * w, acc[w][j]);
    }
}

/* One page; c is dot(q, the page's first key) of each lane. */
INLINE void many_page(struct many *t, const struct page *page, size_t head_dim, float scale,
                      const __m512 *c, const int width)
{
    const int begin = t->least / BLOCK * BLOCK, end = (t->most + BLOCK - 1) / BLOCK * BLOCK;
    const __m512 by = _mm512_set1_ps(scale);
    __m512 fade[2];
    for (int key = begin; key < end; key += BLOCK)
        many_scores(t, page, (head_dim + 1) / 2, (size_t)key, width);
    UNROLL
    for (int w = 0; w < width; w++) {
        __m512 most = t->whole ? many_most(t, begin, end, w, true)
                               : many_most(t, begin, end, w, false);
        __m512 shift = _mm512_mul_ps(c[w], by);
        most = _mm512_max_ps(t->m[w], _mm512_fmadd_ps(most, by, shift));
        fade[w] = power(_mm512_sub_ps(t->m[w], most));
        t->m[w] = most;
        shift = _mm512_sub_ps(shift, most);
        if (t->whole)
            many_weights(t, begin, end, w, by, shift, true);
        else
            many_weights(t, begin, end, w, by, shift, false);
        for (int i = 0; i < PAIRS; i++)
            if (i < begin / 2 || i >= end / 2)
                _mm512_store_si512((uint32_t *)t->s + i * LANES + 16 * w, _mm512_setzero_si512());
        t->l[w] = _mm512_add_ps(_mm512_mul_ps(t->l[w], fade[w]), many_sum(t, w));
    }
    size_t d = 0;
    for (; d + BLOCK <= head_dim; d += BLOCK)
        many_weigh(t, page, head_dim, d, BLOCK, begin / 2, end / 2, fade, width);
    for (; d < head_dim; d++)
        many_weigh(t, page, head_dim, d, 1, begin / 2, end / 2, fade, width);
}

/* The run's query of a lane; lanes past the last one repeat it. */
INLINE size_t many_query(const struct kernels_run *run, size_t first, size_t lane)
{
    return first + lane < run->n ? first + lane : run->n - 1;
}

INLINE void many_load(struct many *t, const struct kernels_run *run, size_t first, const int width)
{
    for (size_t w = 0; w < (size_t)width; w++) {
        for (size_t d = 0; d < run->head_dim; d += 32) {
            __m512i r[16];
            UNROLL
            for (size_t i = 0; i < 16; i++)
                r[i] = query_pairs(run->q[many_query(run, first, 16 * w + i)], run->head_dim, d);
            transpose(r);
            UNROLL
            for (size_t i = 0; i < 16; i++)
                if (d / 2 + i < padded(run->head_dim) / 2)
                    _mm512_store_si512(t->q + (d / 2 + i) * LANES + 16 * w, r[i]);
        }
        t->m[w] = _mm512_set1_ps(KERNELS_NOTHING);
        t->l[w] = _mm512_setzero_ps();
    }
    memset(t->o, 0, run->head_dim * LANES * sizeof *t->o);
}

INLINE void many_store(const struct many *t, const struct kernels_run *run, size_t first,
                       const int width)
{
    for (size_t w = 0; w < (size_t)width && first + 16 * w < run->n; w++) {
        const size_t at = first + 16 * w, n = run->n - at < 16 ? run->n - at : 16;
        _mm512_mask_storeu_ps(run->m + at, first_lanes(n), t->m[w]);
        _mm512_mask_storeu_ps(run->l + at, first_lanes(n), t->l[w]);
        for (size_t d = 0; d < run->head_dim; d += 16) {
            __m512i r[16];
            __mmask16 lanes = first_lanes(run->head_dim - d);
            UNROLL
            for (size_t i = 0; i < 16; i++)
                r[i] = d + i < run->head_dim
                           ? _mm512_load_si512(t->o + (d + i) * LANES + 16 * w)
                           : _mm512_setzero_si512();
            transpose(r);
            for (size_t i = 0; i < n; i++)
                _mm512_mask_storeu_epi32(run->o[at + i] + d, lanes, r[i]);
        }
    }
}

/* What the lanes see of page i. */
INLINE void many_limits(struct many *t, const struct kernels_run *run, size_t first, size_t i,
                        const int width)
{
    _Alignas(64) int from[LANES], to[LANES];
    t->least = P;
    t->most = 0;
    t->whole = true;
    for (size_t lane = 0; lane < 16 * (size_t)width; lane++) {
        size_t query = many_query(run, first, lane);
        from[lane] = page_limit(run->first[query], i);
        to[lane] = page_limit(run->last[query], i);
        if (from[lane] < to[lane]) {
            t->least = from[lane] < t->least ? from[lane] : t->least;
            t->most = to[lane] > t->most ? to[lane] : t->most;
        }
        t->whole &= from[lane] == 0 && to[lane] == P;
    }
    for (int w = 0; w < width; w++) {
        t->from[w] = _mm512_load_si512(from + 16 * w);
        t->to[w] = _mm512_load_si512(to + 16 * w);
    }
}

INLINE void many(const struct kernels_run *run, const struct page *pages, size_t first,
                 const int width)
{
    const size_t head_dim = run->head_dim;
    const float scale = run->scale * 0x1.715476p+0f;
    struct many t;
    t.q = run->scratch;
    t.s = (float *)(t.q + padded(head_dim) / 2 * LANES);
    t.o = t.s + P * LANES;
    many_load(&t, run, first, width);
    for (size_t i = 0; i < run->n_pages; i++) {
        const struct page page = pages[i];
        many_limits(&t, run, first, i, width);
        if (t.least >= t.most)
            continue;
        __m512 c[2];
        for (size_t w = 0; w < (size_t)width; w++) {
            __m512 strands[16];
            UNROLL
            for (size_t lane = 0; lane < 16; lane++)
                strands[lane] = first_strands(run->q[many_query(run, first, 16 * w + lane)],
                                              page.first, head_dim);
            c[w] = sum_each(strands);
        }
        many_page(&t, &page, head_dim, scale, c, width);
    }
    many_store(&t, run, first, width);
}

/* ---- few queries: keys and dimensions are the lanes ---- */

/* The page after this one, fetched into the second cache bit by bit while this one is computed:
 * the memory's time passes beside the arithmetic's. */
struct ahead {
    const char *at;
    size_t n_bytes; /* that are left */
    size_t step;    /* so much at once */
};

INLINE void fetch(struct ahead *a)
{
    if (!a->at || a->n_bytes < a->step)
        return;
    for (size_t i = 0; i < a->step; i += 64)
        _mm_prefetch(a->at + i, _MM_HINT_T1);
    a->at += a->step;
    a->n_bytes -= a->step;
}

/* What is known of the queries while they go through a page. */
struct few {
    uint32_t *q;                           /* [n][padded / 2] pairs */
    _Alignas(64) float s[MOST_FEW][P];     /* scores */
    _Alignas(64) uint32_t p[MOST_FEW][PAIRS];
    _Alignas(64) float fade[16], shift[16];
    __mmask64 seen[MOST_FEW];
    int begin, end; /* keys that any sees */
};

/* Scores of n queries from `first` on. */
INLINE void few_scores(struct few *t, const struct page *page, struct ahead *ahead,
                       size_t head_dim, size_t first, const size_t n)
{
    const size_t width = padded(head_dim) / 2;
    const uint32_t *k = page->k, *q = t->q + first * width;
    __m512 s[FEW][4];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < 4; j++)
            s[i][j] = _mm512_setzero_ps();
    }
    for (size_t d = 0; d < (head_dim + 1) / 2; d++, k += P) {
        __m512i keys[4];
        fetch(ahead);
        UNROLL
        for (int j = 0; j < 4; j++)
            keys[j] = _mm512_loadu_si512(k + 16 * j);
        UNROLL
        for (size_t i = 0; i < n; i++) {
            __m512i x = _mm512_set1_epi32((int)q[i * width + d]);
            UNROLL
            for (int j = 0; j < 4; j++)
                s[i][j] = dot_pairs(s[i][j], x, keys[j]);
        }
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < 4; j++)
            _mm512_store_ps(t->s[first + i] + 16 * j, s[i][j]);
    }
}

/* The new maxima, what the sums so far fade by, and what is added to a scaled score. */
INLINE void few_maxima(struct few *t, const struct kernels_run *run, const struct page *page,
                       size_t first, size_t n, __m512 scale)
{
    const __m512 none = _mm512_set1_ps(-__builtin_inff());
    __m512 strands[16];
    _Alignas(64) float most[16];
    for (size_t i = 0; i < 16; i++)
        strands[i] = i < n ? first_strands(run->q[first + i], page->first, run->head_dim)
                           : _mm512_setzero_ps();
    for (size_t i = 0; i < 16; i++)
        most[i] = KERNELS_NOTHING;
    for (size_t i = 0; i < n; i++) {
        __m512 a[4];
        UNROLL
        for (int j = 0; j < 4; j++)
            a[j] = _mm512_mask_loadu_ps(none, (__mmask16)(t->seen[i] >> 16 * j),
                                        t->s[i] + 16 * j);
        most[i] = max_lanes(_mm512_max_ps(_mm512_max_ps(a[0], a[1]), _mm512_max_ps(a[2], a[3])));
    }
    const __mmask16 lanes = first_lanes(n);
    const __m512 shift = _mm512_mul_ps(sum_each(strands), scale);
    const __m512 before = _mm512_maskz_loadu_ps(lanes, run->m + first);
    const __m512 after =
        _mm512_max_ps(before, _mm512_fmadd_ps(_mm512_load_ps(most), scale, shift));
    _mm512_store_ps(t->fade, power(_mm512_sub_ps(before, after)));
    _mm512_store_ps(t->shift, _mm512_sub_ps(shift, after));
    _mm512_mask_storeu_ps(run->m + first, lanes, after);
}

/* Scores to p, and its sums. */
INLINE void few_weights(struct few *t, const struct kernels_run *run, size_t first, size_t n,
                        __m512 scale)
{
    const __m512i ones = _mm512_set1_epi32(0x3f803f80);
    for (size_t i = 0; i < n; i++) {
        __m512 l = _mm512_setzero_ps(), p[4];
        UNROLL
        for (int j = 0; j < 4; j++) {
            __m512 s = _mm512_load_ps(t->s[i] + 16 * j);
            p[j] = weight(_mm512_fmadd_ps(s, scale, _mm512_set1_ps(t->shift[i])));
            p[j] = _mm512_maskz_mov_ps((__mmask16)(t->seen[i] >> 16 * j), p[j]);
        }
        UNROLL
        for (int j = 0; j < 4; j += 2) {
            __m512i pairs = (__m512i)_mm512_cvtne2ps_pbh(p[j + 1], p[j]);
            _mm512_store_si512(t->p[i] + 8 * j, pairs);
            l = dot_pairs(l, pairs, ones);
        }
        run->l[first + i] = run->l[first + i] * t->fade[i] + sum_lanes(l);
    }
}

/* o[i] = o[i] * fade[i] + p[i] . v for `width` registers of dimensions from d on, the last with
 * `lanes`; n queries from `first` on, whose results are at `o`. */
INLINE void few_weigh(const struct few *t, const struct page *page, struct ahead *ahead,
                      size_t head_dim, size_t d, const int width, __mmask16 lanes, size_t first,
                      float *const *o, const size_t n)
{
    __m512 acc[FEW][4];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < width; j++)
            acc[i][j] = _mm512_mul_ps(
                _mm512_maskz_loadu_ps(j + 1 < width ? 0xffff : lanes, o[i] + d + 16 * j),
                _mm512_set1_ps(t->fade[first + i]));
    }
    for (int pair = t->begin / 2; pair < (t->end + 1) / 2; pair++) {
        const uint32_t *row = page->v + (size_t)pair * head_dim + d;
        __m512i v[4];
        fetch(ahead);
        UNROLL
        for (int j = 0; j < width; j++)
            v[j] = _mm512_maskz_loadu_epi32(j + 1 < width ? 0xffff : lanes, row + 16 * j);
        UNROLL
        for (size_t i = 0; i < n; i++) {
            __m512i x = _mm512_set1_epi32((int)t->p[first + i][pair]);
            UNROLL
            for (int j = 0; j < width; j++)
                acc[i][j] = dot_pairs(acc[i][j], x, v[j]);
        }
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < width; j++)
            _mm512_mask_storeu_ps(o[i] + d + 16 * j, j + 1 < width ? 0xffff : lanes, acc[i][j]);
    }
}

INLINE void few_outputs(const struct few *t, const struct page *page, struct ahead *ahead,
                        size_t head_dim, size_t first, float *const *o, const size_t n)
{
    size_t d = 0;
    for (; d + 64 <= head_dim; d += 64)
        few_weigh(t, page, ahead, head_dim, d, 4, 0xffff, first, o, n);
    for (; d + 32 <= head_dim; d += 32)
        few_weigh(t, page, ahead, head_dim, d, 2, 0xffff, first, o, n);
    for (; d < head_dim; d += 16)
        few_weigh(t, page, ahead, head_dim, d, 1, first_lanes(head_dim - d), first, o, n);
}

/* What the queries see of page i; false: nothing. */
INLINE bool few_limits(struct few *t, const struct kernels_run *run, size_t first, size_t n,
                       size_t i)
{
    t->begin = P;
    t->end = 0;
    for (size_t j = 0; j < n; j++) {
        int from = page_limit(run->first[first + j], i);
        int to = page_limit(run->last[first + j], i);
        t->seen[j] = 0;
        if (from < to) {
            t->seen[j] = (~(uint64_t)0 << from) & (~(uint64_t)0 >> (P - to));
            t->begin = from < t->begin ? from : t->begin;
            t->end = to > t->end ? to : t->end;
        }
    }
    return t->begin < t->end;
}

/* Queries at a time, and how many more there are. */
#define FEW_BY_FEW(n, call)                                                                        \
    do {                                                                                           \
        size_t at = 0;                                                                             \
        for (; at + FEW <= (n); at += FEW)                                                         \
            call(at, FEW);                                                                         \
        if ((n) - at == 3)                                                                         \
            call(at, 3);                                                                           \
        else if ((n) - at == 2)                                                                    \
            call(at, 2);                                                                           \
        else if ((n) - at == 1)                                                                    \
            call(at, 1);                                                                           \
    } while (0)

static void few_page(struct few *t, const struct kernels_run *run, const struct page *page,
                     struct ahead *ahead, size_t first, size_t n)
{
    const __m512 scale = _mm512_set1_ps(run->scale * 0x1.715476p+0f);
#define SCORES(at, n) few_scores(t, page, ahead, run->head_dim, at, n)
    FEW_BY_FEW(n, SCORES);
    few_maxima(t, run, page, first, n, scale);
    few_weights(t, run, first, n, scale);
#define OUTPUTS(at, n) few_outputs(t, page, ahead, run->head_dim, at, run->o + first + (at), n)
    FEW_BY_FEW(n, OUTPUTS);
}

static void few(const struct kernels_run *run, const struct page *pages, size_t first, size_t n)
{
    const size_t width = padded(run->head_dim) / 2, n_bytes = page_bytes(run->head_dim);
    struct few t;
    t.q = run->scratch;
    for (size_t i = 0; i < n; i++) {
        run->m[first + i] = KERNELS_NOTHING;
        run->l[first + i] = 0;
        memset(run->o[first + i], 0, run->head_dim * sizeof **run->o);
        for (size_t d = 0; d < run->head_dim; d += 32)
            _mm512_mask_storeu_epi32(t.q + i * width + d / 2, first_lanes(width - d / 2),
                                     query_pairs(run->q[first + i], run->head_dim, d));
    }
    for (size_t i = 0; i < run->n_pages; i++) {
        const void *next = i + 1 < run->n_pages ? run->pages[i + 1] : run->next;
        struct ahead ahead = {next, n_bytes, n > FEW ? 128 : 256};
        if (few_limits(&t, run, first, n, i))
            few_page(&t, run, &pages[i], &ahead, first, n);
    }
}

static void attend_pages(const struct kernels_run *run, const struct page *pages)
{
    size_t i = 0;
    for (; run->n - i > MOST_FEW; i += run->n - i < LANES ? run->n - i : LANES) {
        if (run->n - i > 16)
            many(run, pages, i, 2);
        else
            many(run, pages, i, 1);
    }
    if (i < run->n)
        few(run, pages, i, run->n - i);
}

static void attend(const struct kernels_run *run)
{
    struct page pages[KERNELS_RUN_PAGES];
    for (size_t i = 0; i < run->n_pages; i++)
        pages[i] = page_at(run->pages[i], run->head_dim);
    attend_pages(run, pages);
}

INLINE void attend_quantized(const struct kernels_run *run, const size_t pair_bytes)
{
    struct page pages[KERNELS_RUN_PAGES];
    char *scratch = (char *)run->scratch + scratch_bytes(run->head_dim);
    for (size_t i = 0; i < run->n_pages; i++)
        pages[i] = unpack(run->pages[i], run->head_dim, pair_bytes,
                          (uint32_t *)(scratch + i * page_bytes(run->head_dim)));
    attend_pages(run, pages);
}

static size_t quantized_scratch_bytes(size_t head_dim)
{
    return scratch_bytes(head_dim) + KERNELS_RUN_PAGES * page_bytes(head_dim);
}

static void attend_q8(const struct kernels_run *run)
{
    attend_quantized(run, 2);
}

static void attend_q4(const struct kernels_run *run)
{
    attend_quantized(run, 1);
}

static void attend_merge(float *o, float *m, float *l, const float *o2, float m2, float l2,
                         size_t head_dim)
{
    float most = *m > m2 ? *m : m2;
    _Alignas(64) float fade[16] = {*m - most, m2 - most};
    _mm512_store_ps(fade, power(_mm512_load_ps(fade)));
    for (size_t d = 0; d < head_dim; d += 16) {
        __mmask16 lanes = first_lanes(head_dim - d);
        __m512 a = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, o + d), _mm512_set1_ps(fade[0]));
        __m512 b = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, o2 + d), _mm512_set1_ps(fade[1]));
        _mm512_mask_storeu_ps(o + d, lanes, _mm512_add_ps(a, b));
    }
    *l = *l * fade[0] + l2 * fade[1];
    *m = most;
}

void avx512_bf16_init_attend(struct kernels *k)
{
    k->attend_merge = attend_merge;
    k->kv[KERNELS_KV_F16] = (struct kernels_kv){page_bytes, scratch_bytes, store, attend};
    k->kv[KERNELS_KV_Q8_0].scratch_bytes = quantized_scratch_bytes;
    k->kv[KERNELS_KV_Q8_0].attend = attend_q8;
    k->kv[KERNELS_KV_Q4_0].scratch_bytes = quantized_scratch_bytes;
    k->kv[KERNELS_KV_Q4_0].attend = attend_q4;
}
