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
 * Quantized pages are computed with their codes, which bfloat16 holds exactly. Each block of 32
 * dimensions has a sum of its own that its scale multiplies, blocks ascending; a value's scale goes
 * into p before that is rounded, so each block has p of its own (l is of p without a scale).
 *
 * m is in units of log2, the maximum of scores * scale * log2(e). */
#include "kernels/x86/avx512_bf16_few.h"
#include "kernels/x86/avx512_bf16_many.h"

/* ---- writing pages ---- */

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

/* ---- reading them ---- */

INLINE void attend_pages(const struct kernels_run *run, const size_t pair_bytes)
{
    struct page pages[KERNELS_RUN_PAGES];
    char *unpacked = (char *)run->scratch + unpacked_offset(run->head_dim);
    size_t i = 0;
    if (run->n > MOST_FEW) {
        for (size_t page = 0; page < run->n_pages; page++)
            pages[page] = pair_bytes ? unpack(run->pages[page], run->head_dim, pair_bytes,
                                              unpacked + page * unpacked_bytes(run->head_dim))
                                     : page_at(run->pages[page], run->head_dim);
    }
    for (; run->n - i > MOST_FEW; i += run->n - i < LANES ? run->n - i : LANES) {
        if (run->n - i > 16)
            many(run, pages, i, 2, pair_bytes);
        else
            many(run, pages, i, 1, pair_bytes);
    }
    if (i < run->n)
        few(run, i, run->n - i, pair_bytes);
}

static void attend(const struct kernels_run *run)
{
    attend_pages(run, 0);
}

static size_t quantized_scratch_bytes(size_t head_dim)
{
    return unpacked_offset(head_dim) + KERNELS_RUN_PAGES * unpacked_bytes(head_dim);
}

static void attend_q8(const struct kernels_run *run)
{
    attend_pages(run, 2);
}

static void attend_q4(const struct kernels_run *run)
{
    attend_pages(run, 1);
}

static void attend_merge(float *o, float *m, float *l, const float *o2, float m2, float l2,
                         size_t head_dim)
{
    merge_by(power, o, m, l, o2, m2, l2, head_dim);
}

void avx512_bf16_init_attend(struct kernels *k)
{
    if (HOSTILE)
        return;
    k->attend_merge = attend_merge;
    k->kv[KERNELS_KV_F16] = (struct kernels_kv){page_bytes, scratch_bytes, store, attend};
    k->kv[KERNELS_KV_Q8_0].scratch_bytes = quantized_scratch_bytes;
    k->kv[KERNELS_KV_Q8_0].attend = attend_q8;
    k->kv[KERNELS_KV_Q4_0].scratch_bytes = quantized_scratch_bytes;
    k->kv[KERNELS_KV_Q4_0].attend = attend_q4;
}
