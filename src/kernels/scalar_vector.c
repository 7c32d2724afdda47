/* The scalar reference of attention and of the element-wise operations. Written to be read; knows
 * no instruction sets. */
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

static void f32_to_f16(const float *x, uint16_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = half_from_float(fminf(fmaxf(x[i], -65504.0f), 65504.0f));
}

static void rms_norm(const float *x, const float *w, float eps, float *out, size_t n)
{
    float acc[16] = {0};
    for (size_t i = 0; i < n; i++)
        acc[i % 16] += x[i] * x[i];
    for (int width = 8; width; width /= 2)
        for (int i = 0; i < width; i++)
            acc[i] += acc[i + width];
    float scale = 1.0f / sqrtf(acc[0] / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * scale * w[i];
}

static void add(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}

static void swiglu(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

static void rope_halves(float *a, float *b, const float *cos, const float *sin, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float x = a[i], y = b[i];
        a[i] = x * cos[i] - y * sin[i];
        b[i] = x * sin[i] + y * cos[i];
    }
}

static void rope_pairs(float *x, const float *cos, const float *sin, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * cos[i] - b * sin[i];
        x[2 * i + 1] = a * sin[i] + b * cos[i];
    }
}

void scalar_init_vector(struct kernels *k)
{
    k->attend = attend;
    k->attend_merge = attend_merge;
    k->f32_to_f16 = f32_to_f16;
    k->rms_norm = rms_norm;
    k->add = add;
    k->swiglu = swiglu;
    k->rope_halves = rope_halves;
    k->rope_pairs = rope_pairs;
}
