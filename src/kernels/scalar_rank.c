/* The scalar reference of what is done to a row of logits. Written to be read; knows no instruction
 * sets. */
#include "kernels/scalar.h"

#include <math.h>

enum { STRANDS = 16 };

/* e^x as every tier computes it, within 2 ulp; 0 for -infinity. */
static float exp_of(float x)
{
    x = fmaxf(x, -200.0f);
    float n = rintf(x * 0x1.715476p+0f);
    /* r = x - n ln 2, in two parts; then the Taylor series to the seventh power, |r| < 0.35 */
    float r = fmaf(-n, 0x1.7f7d1cp-20f, fmaf(-n, 0x1.62e4p-1f, x));
    float p = 1.0f / 5040;
    p = fmaf(p, r, 1.0f / 720);
    p = fmaf(p, r, 1.0f / 120);
    p = fmaf(p, r, 1.0f / 24);
    p = fmaf(p, r, 1.0f / 6);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    return ldexpf(p, (int)n);
}

static bool is_masked(const uint64_t *masked, size_t i)
{
    return masked && (masked[i / 64] >> (i % 64) & 1);
}

static void maxima(const float *x, size_t n, const uint64_t *masked, size_t block, float *out)
{
    for (size_t b = 0; b * block < n; b++) {
        out[b] = -INFINITY;
        for (size_t i = b * block; i < n && i < (b + 1) * block; i++)
            if (x[i] > out[b] && !is_masked(masked, i))
                out[b] = x[i];
    }
}

static size_t above(const float *x, size_t n, const uint64_t *masked, float least,
                    struct kernels_ranked *out)
{
    size_t n_found = 0;
    for (size_t i = 0; i < n; i++)
        if (x[i] >= least && !is_masked(masked, i))
            out[n_found++] = (struct kernels_ranked){x[i], (int32_t)i};
    return n_found;
}

static double tree(double *s)
{
    for (int width = STRANDS / 2; width; width /= 2)
        for (int i = 0; i < width; i++)
            s[i] += s[i + width];
    return s[0];
}

static double exp_sum(const float *x, size_t n, const uint64_t *masked, float least, float most,
                      float scale)
{
    double sums[STRANDS] = {0};
    for (size_t i = 0; i < n; i++)
        if (x[i] >= least && !is_masked(masked, i))
            sums[i % STRANDS] += (double)exp_of((x[i] - most) * scale);
    return tree(sums);
}

static void softmax(float *x, size_t n)
{
    float most = -INFINITY;
    for (size_t i = 0; i < n; i++)
        if (x[i] > most)
            most = x[i];
    float sum = (float)exp_sum(x, n, NULL, -INFINITY, most, 1.0f);
    for (size_t i = 0; i < n; i++)
        x[i] = exp_of(x[i] - most) / sum;
}

static void weighted_sum(const float *const *rows, const float *weights, size_t n_rows, size_t n,
                         float *out)
{
    for (size_t i = 0; i < n; i++) {
        float sum = 0;
        for (size_t j = 0; j < n_rows; j++)
            sum = fmaf(weights[j], rows[j][i], sum);
        out[i] = sum;
    }
}

void scalar_init_rank(struct kernels *k)
{
    k->maxima = maxima;
    k->above = above;
    k->exp_sum = exp_sum;
    k->softmax = softmax;
    k->weighted_sum = weighted_sum;
}
