/* Products with few tokens, bound by memory: rows of weights stream past once for every
 * KERNELS_FEW_TOKENS tokens. */
#include "backend/cpu/linear.h"

struct kernels_row_x linear_row_x(const struct linear_input *in, const struct linear_output *out,
                                  uint32_t t)
{
    const struct cpu_quantized *quantized = &in->cpu->quantized;
    const struct kernels_blocks *blocks = &quantized->blocks;
    const uint32_t row = in->rows ? in->rows[t] : t;
    const size_t p = (in->is_shared ? row : in->slot + t) * in->n_places;
    struct kernels_row_x x = {.x = in->x + row * in->width};
    if (out->type->form == KERNELS_FLOAT)
        return x;
    x.q = blocks->q + p * KERNELS_BLOCK;
    x.d = blocks->d + p;
    x.s = blocks->s + p;
    for (int h = 0; h < 2; h++) {
        x.c[h] = out->correction ? out->correction->c[h] + p : NULL;
        x.sh[h] = quantized->sh[h] + p;
    }
    return x;
}

void linear_few_rows(const struct linear_input *in, const struct linear_output *out, size_t first,
                     size_t n)
{
    for (uint32_t t = 0; t < in->n_tokens; t += KERNELS_FEW_TOKENS) {
        struct kernels_row_x x[KERNELS_FEW_TOKENS];
        uint32_t n_tokens = 0;
        for (; n_tokens < KERNELS_FEW_TOKENS && t + n_tokens < in->n_tokens; n_tokens++)
            x[n_tokens] = linear_row_x(in, out, t + n_tokens);
        out->type->rows(&out->w, first, n, x, n_tokens, out->y + t * out->n_out + first,
                        out->n_out);
    }
}
