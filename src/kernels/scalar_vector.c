/* The scalar reference of the element-wise operations. Written to be read; knows no instruction
 * sets. */
#include "kernels/scalar.h"
#include "quant/half.h"

#include <math.h>

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

static void geglu(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float x = gate[i], z = 0x1.988454p+0f * (x + 0.044715f * x * x * x);
        gate[i] = x / (1.0f + expf(-z)) * up[i];
    }
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
    k->f32_to_f16 = f32_to_f16;
    k->rms_norm = rms_norm;
    k->add = add;
    k->swiglu = swiglu;
    k->geglu = geglu;
    k->rope_halves = rope_halves;
    k->rope_pairs = rope_pairs;
}
