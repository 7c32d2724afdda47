/* The scalar reference of attention. Written to be read; knows no instruction sets. */
#include "kernels/scalar.h"
#include "quant/half.h"

#include <math.h>

/* One query over the first n_keys keys of a page. */
static void attend_query(const uint16_t *k, const uint16_t *v, size_t head_dim, float scale,
                         const float *q, size_t n_keys, float *o, float *m, float *l)
{
    float p[KERNELS_PAGE_TOKENS] = {0}, most = *m, sum = 0;
    for (size_t d = 0; d < head_dim; d++)
        for (size_t j = 0; j < n_keys; j++)
            p[j] = fmaf(q[d], half_to_float(k[d * KERNELS_PAGE_TOKENS + j]), p[j]);
    for (size_t j = 0; j < n_keys; j++) {
        p[j] *= scale;
        most = fmaxf(most, p[j]);
    }
    float fade = expf(*m - most);
    for (size_t j = 0; j < n_keys; j++) {
        p[j] = expf(p[j] - most);
        sum += p[j];
    }
    for (size_t d = 0; d < head_dim; d++) {
        float acc = o[d] * fade;
        for (size_t j = 0; j < n_keys; j++)
            acc = fmaf(p[j], half_to_float(v[j * head_dim + d]), acc);
        o[d] = acc;
    }
    *l = *l * fade + sum;
    *m = most;
}

static void attend(const uint16_t *k, const uint16_t *v, size_t head_dim, float scale,
                   const struct kernels_queries *queries)
{
    for (size_t i = 0; i < queries->n; i++)
        attend_query(k, v, head_dim, scale, queries->q[i], queries->n_keys[i], queries->o[i],
                     &queries->m[i], &queries->l[i]);
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
    k->attend = attend;
    k->attend_merge = attend_merge;
}
