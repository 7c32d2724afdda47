/* Products with few tokens, bound by memory: rows of weights stream past once for every
 * KERNELS_FEW_TOKENS tokens. Also the float types, for any number of tokens. */
#include "backend/cpu/linear.h"

void linear_few_floats(const struct linear_job *job, const struct linear_output *out, size_t first,
                       size_t n)
{
    const uint32_t n_tokens = job->n_tokens;
    for (uint32_t t = 0; t < n_tokens; t += KERNELS_FEW_TOKENS) {
        out->type->float_rows(out->w + first * out->row_bytes, out->row_bytes, n, job->width,
                              job->x + t * job->width, job->width,
                              n_tokens - t < KERNELS_FEW_TOKENS ? n_tokens - t
                                                                : KERNELS_FEW_TOKENS,
                              out->y + t * out->n_out + first, out->n_out);
    }
}

struct kernels_row_x linear_row_x(const struct linear_job *job, const struct linear_output *out,
                                  uint32_t t)
{
    const struct cpu_quantized *quantized = &job->cpu->quantized;
    const struct kernels_blocks *x = &quantized->blocks;
    const size_t p = t * job->n_places;
    return (struct kernels_row_x){x->q + p * KERNELS_BLOCK, x->d + p, x->s + p,
                                  {out->correction->c[0] + p, out->correction->c[1] + p},
                                  {quantized->sh[0] + p, quantized->sh[1] + p}};
}

void linear_few_rows(const struct linear_job *job, const struct linear_output *out, size_t first,
                     size_t n)
{
    for (uint32_t t = 0; t < job->n_tokens; t += KERNELS_FEW_TOKENS) {
        struct kernels_row_x x[KERNELS_FEW_TOKENS];
        uint32_t n_tokens = 0;
        for (; n_tokens < KERNELS_FEW_TOKENS && t + n_tokens < job->n_tokens; n_tokens++)
            x[n_tokens] = linear_row_x(job, out, t + n_tokens);
        out->type->rows(out->w + first * out->row_bytes, out->row_bytes, n, job->n_blocks, x,
                        n_tokens, out->y + t * out->n_out + first, out->n_out);
    }
}
