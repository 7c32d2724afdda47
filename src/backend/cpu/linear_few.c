/* Products with few tokens, bound by memory: rows of weights stream past once for every
 * KERNELS_FEW_TOKENS tokens. Also the float types, for any number of tokens. */
#include "backend/cpu/linear.h"

#include <string.h>

enum { STAGE_ROWS = 64 }; /* weight rows whose planes are added at once */

void linear_few_floats(const struct linear_job *job, const struct linear_output *out, size_t first,
                       size_t n)
{
    const uint32_t n_rows = job->n_tokens / job->n_planes;
    for (uint32_t t = 0; t < n_rows; t += KERNELS_FEW_TOKENS) {
        out->type->float_rows(out->w + first * out->row_bytes, out->row_bytes, n, job->width,
                              job->x + t * job->width, job->width,
                              n_rows - t < KERNELS_FEW_TOKENS ? n_rows - t : KERNELS_FEW_TOKENS,
                              out->y + t * out->n_out + first, out->n_out);
    }
}

static void stream_tokens(const struct linear_job *job, const struct linear_output *out,
                          size_t first, size_t n, uint32_t t, uint32_t n_tokens)
{
    const struct kernels_blocks *x = &job->cpu->quantized.blocks;
    struct kernels_row_x rows[KERNELS_FEW_TOKENS];
    float stage[KERNELS_FEW_TOKENS * STAGE_ROWS];
    for (uint32_t i = 0; i < n_tokens; i++) {
        size_t p = (t + i) * job->n_places;
        rows[i] = (struct kernels_row_x){x->q + p * KERNELS_BLOCK, x->d + p, x->s + p,
                                         {out->correction->c[0] + p, out->correction->c[1] + p},
                                         {job->cpu->quantized.sh[0] + p,
                                          job->cpu->quantized.sh[1] + p}};
    }
    const size_t chunk = job->n_planes > 1 ? STAGE_ROWS : n;
    for (size_t i = 0; i < n; i += chunk) {
        const size_t n_here = n - i < chunk ? n - i : chunk;
        size_t stride;
        float *y = linear_results_at(job, out, first + i, t, stage, STAGE_ROWS, &stride);
        out->type->rows(out->w + (first + i) * out->row_bytes, out->row_bytes, n_here,
                        job->n_blocks, rows, n_tokens, y, stride);
        linear_add_planes(job, out, first + i, n_here, t, n_tokens, stage, STAGE_ROWS);
    }
}

void linear_few_rows(const struct linear_job *job, const struct linear_output *out, size_t first,
                     size_t n)
{
    for (uint32_t t = 0; t < job->n_tokens; t += KERNELS_FEW_TOKENS)
        stream_tokens(job, out, first, n, t,
                      job->n_tokens - t < KERNELS_FEW_TOKENS ? job->n_tokens - t
                                                             : KERNELS_FEW_TOKENS);
}
