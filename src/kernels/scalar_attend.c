/* The scalar reference of attention. Written to be read; knows no instruction sets. */
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

static uint16_t to_half(float x)
{
    return half_from_float(fminf(fmaxf(x, -65504.0f), 65504.0f));
}

static void f16_store(void *page, size_t head_dim, size_t slot, const float *k, const float *v)
{
    uint16_t *keys = page, *values = keys + P * head_dim;
    for (size_t d = 0; d < head_dim; d++) {
        keys[d * P + slot] = to_half(k[d]);
        values[slot * head_dim + d] = to_half(v[d]);
    }
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
    k->attend_merge = attend_merge;
}
