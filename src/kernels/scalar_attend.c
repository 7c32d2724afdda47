/* The scalar reference of attention. Written to be read; knows no instruction sets. */
#include "kernels/quantized_page.h"
#include "kernels/scalar.h"
#include "quant/half.h"

#include <math.h>
#include <string.h>

enum { P = KERNELS_PAGE_TOKENS };

/* ---- pages of f16: keys [head_dim][P], then values [P][head_dim] ---- */

static size_t f16_page_bytes(size_t head_dim)
{
    return 2 * P * head_dim * sizeof(uint16_t);
}

static size_t no_scratch(size_t head_dim)
{
    return 0;
}

static float clamped(float x)
{
    return fminf(fmaxf(x, -65504.0f), 65504.0f);
}

static uint16_t to_half(float x)
{
    return half_from_float(clamped(x));
}

static void f16_store(void *page, size_t head_dim, size_t slot, const float *k, const float *v)
{
    uint16_t *keys = page, *values = keys + P * head_dim;
    for (size_t d = 0; d < head_dim; d++) {
        keys[d * P + slot] = to_half(k[d]);
        values[slot * head_dim + d] = to_half(v[d]);
    }
}

/* ---- quantized pages ---- */

/* n <= 32 numbers to codes and the scale's f16: q8_0, -127 .. 127. */
static uint16_t quantize_8(const float *x, size_t n, int *codes)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(x[i]));
    const uint16_t scale = half_from_float(most / 127);
    const float d = half_to_float(scale), inverse = d > 0 ? 1 / d : 0;
    for (size_t i = 0; i < n; i++)
        codes[i] = (int)fminf(fmaxf(rintf(x[i] * inverse), -127), 127);
    return scale;
}

/* q4_0, -8 .. 7; the largest becomes -8. */
static uint16_t quantize_4(const float *x, size_t n, int *codes)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(most))
            most = x[i];
    const uint16_t scale = half_from_float(most / -8);
    const float d = half_to_float(scale), inverse = d != 0 ? 1 / d : 0;
    for (size_t i = 0; i < n; i++)
        codes[i] = (int)fminf(fmaxf(rintf(x[i] * inverse), -8), 7);
    return scale;
}

static uint16_t quantize(const struct quantized_page *p, const float *x, size_t n, int *codes)
{
    return p->pair_bytes == 2 ? quantize_8(x, n, codes) : quantize_4(x, n, codes);
}

/* Writes the first or the second number of a pair. */
static void put(const struct quantized_page *p, uint8_t *pairs, size_t i, size_t second, int code)
{
    if (p->pair_bytes == 2)
        pairs[2 * i + second] = (uint8_t)code;
    else
        pairs[i] = (uint8_t)((pairs[i] & (second ? 0x0f : 0xf0)) | (code + 8) << 4 * second);
}

static int get(const struct quantized_page *p, const uint8_t *pairs, size_t i, size_t second)
{
    if (p->pair_bytes == 2)
        return (int8_t)pairs[2 * i + second];
    return (pairs[i] >> 4 * second & 15) - 8;
}

static void quantized_store(void *page, size_t head_dim, size_t slot, const float *k,
                            const float *v, size_t pair_bytes)
{
    const struct quantized_page p = quantized_page_at(page, head_dim, pair_bytes);
    float x[QUANTIZED_BLOCK];
    int codes[QUANTIZED_BLOCK];
    if (!slot) {
        memset(page, 0, quantized_page_bytes(head_dim, pair_bytes));
        for (size_t d = 0; d < head_dim; d++)
            p.first[d] = clamped(k[d]);
    }
    for (size_t b = 0; b < p.blocks; b++) {
        const size_t first = b * QUANTIZED_BLOCK;
        const size_t n = head_dim - first < QUANTIZED_BLOCK ? head_dim - first : QUANTIZED_BLOCK;
        for (size_t i = 0; i < n; i++)
            x[i] = clamped(k[first + i]) - p.first[first + i];
        p.k_scales[b * P + slot] = quantize(&p, x, n, codes);
        for (size_t i = 0; i < n; i++)
            put(&p, p.k, (first + i) / 2 * P + slot, (first + i) % 2, codes[i]);
        for (size_t i = 0; i < n; i++)
            x[i] = clamped(v[first + i]);
        p.v_scales[b * P + slot] = quantize(&p, x, n, codes);
        for (size_t i = 0; i < n; i++)
            put(&p, p.v, slot / 2 * p.padded + first + i, slot % 2, codes[i]);
    }
}

/* To a page of f16. */
static void unpack(const void *page, size_t head_dim, size_t pair_bytes, uint16_t *out)
{
    const struct quantized_page p = quantized_page_at(page, head_dim, pair_bytes);
    uint16_t *values = out + P * head_dim;
    for (size_t d = 0; d < head_dim; d++) {
        for (size_t key = 0; key < P; key++) {
            const size_t b = d / QUANTIZED_BLOCK;
            float k = half_to_float(p.k_scales[b * P + key]);
            float v = half_to_float(p.v_scales[b * P + key]);
            k *= (float)get(&p, p.k, d / 2 * P + key, d % 2);
            v *= (float)get(&p, p.v, key / 2 * p.padded + d, key % 2);
            out[d * P + key] = to_half(k + p.first[d]);
            values[key * head_dim + d] = to_half(v);
        }
    }
}

static size_t q8_page_bytes(size_t head_dim)
{
    return quantized_page_bytes(head_dim, 2);
}

static size_t q4_page_bytes(size_t head_dim)
{
    return quantized_page_bytes(head_dim, 1);
}

static void q8_store(void *page, size_t head_dim, size_t slot, const float *k, const float *v)
{
    quantized_store(page, head_dim, slot, k, v, 2);
}

static void q4_store(void *page, size_t head_dim, size_t slot, const float *k, const float *v)
{
    quantized_store(page, head_dim, slot, k, v, 1);
}

static size_t run_scratch(size_t head_dim)
{
    return KERNELS_RUN_PAGES * f16_page_bytes(head_dim);
}

/* ---- the formula ---- */

/* One query over keys [from, to) of a page. */
static void attend_query(const uint16_t *k, const uint16_t *v, size_t head_dim, float scale,
                         const float *q, size_t from, size_t to, float *o, float *m, float *l)
{
    float p[P] = {0}, most = *m, sum = 0;
    for (size_t d = 0; d < head_dim; d++)
        for (size_t j = from; j < to; j++)
            p[j] = fmaf(q[d], half_to_float(k[d * P + j]), p[j]);
    for (size_t j = from; j < to; j++) {
        p[j] *= scale;
        most = fmaxf(most, p[j]);
    }
    float fade = expf(*m - most);
    for (size_t j = from; j < to; j++) {
        p[j] = expf(p[j] - most);
        sum += p[j];
    }
    for (size_t d = 0; d < head_dim; d++) {
        float acc = o[d] * fade;
        for (size_t j = from; j < to; j++)
            acc = fmaf(p[j], half_to_float(v[j * head_dim + d]), acc);
        o[d] = acc;
    }
    *l = *l * fade + sum;
    *m = most;
}

static void f16_attend(const struct kernels_run *run)
{
    for (size_t i = 0; i < run->n; i++) {
        run->m[i] = KERNELS_NOTHING;
        run->l[i] = 0;
        memset(run->o[i], 0, run->head_dim * sizeof *run->o[i]);
        for (size_t page = 0; page < run->n_pages; page++) {
            const uint16_t *k = run->pages[page];
            size_t from = kernels_page_limit(run->first[i], page);
            size_t to = kernels_page_limit(run->last[i], page);
            if (from < to)
                attend_query(k, k + P * run->head_dim, run->head_dim, run->scale, run->q[i], from,
                             to, run->o[i], &run->m[i], &run->l[i]);
        }
    }
}

static void quantized_attend(const struct kernels_run *run, size_t pair_bytes)
{
    struct kernels_run unpacked = *run;
    for (size_t i = 0; i < run->n_pages; i++) {
        uint16_t *page = (uint16_t *)run->scratch + i * 2 * P * run->head_dim;
        unpack(run->pages[i], run->head_dim, pair_bytes, page);
        unpacked.pages[i] = page;
    }
    f16_attend(&unpacked);
}

static void q8_attend(const struct kernels_run *run)
{
    quantized_attend(run, 2);
}

static void q4_attend(const struct kernels_run *run)
{
    quantized_attend(run, 1);
}

static void attend_merge(float *o, float *m, float *l, const float *o2, float m2, float l2,
                         size_t head_dim)
{
    float most = fmaxf(*m, m2), fade = expf(*m - most), fade2 = expf(m2 - most);
    for (size_t d = 0; d < head_dim; d++)
        o[d] = o[d] * fade + o2[d] * fade2;
    *l = *l * fade + l2 * fade2;
    *m = most;
}

void scalar_init_attend(struct kernels *k)
{
    k->kv[KERNELS_KV_F16] =
        (struct kernels_kv){f16_page_bytes, no_scratch, f16_store, f16_attend};
    k->kv[KERNELS_KV_Q8_0] = (struct kernels_kv){q8_page_bytes, run_scratch, q8_store, q8_attend};
    k->kv[KERNELS_KV_Q4_0] = (struct kernels_kv){q4_page_bytes, run_scratch, q4_store, q4_attend};
    k->attend_merge = attend_merge;
}
