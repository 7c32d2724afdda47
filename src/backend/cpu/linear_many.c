/* Products with many tokens, bound by arithmetic: a few panels of weight rows are unpacked into
 * the cache and multiplied with every tile of tokens. */
#include "backend/cpu/linear.h"

size_t linear_panel_bytes(size_t n_places)
{
    return n_places * KERNELS_PANEL_ROWS * (KERNELS_BLOCK + 3 * sizeof(float));
}

static struct kernels_panel panel_at(const struct linear_job *job, void *memory, size_t i)
{
    const size_t n = job->n_places * KERNELS_PANEL_ROWS;
    uint8_t *q = (uint8_t *)memory + i * n * (KERNELS_BLOCK + 3 * sizeof(float));
    float *d = (float *)(q + n * KERNELS_BLOCK);
    return (struct kernels_panel){q, d, d + n}; /* two of d, or two of m, or one of each */
}

void linear_many_rows(const struct linear_job *job, const struct linear_output *out, size_t first,
                      size_t n, void *memory)
{
    enum { T = KERNELS_TILE_TOKENS, R = KERNELS_PANEL_ROWS };
    const struct cpu_quantized *quantized = &job->cpu->quantized;
    const struct kernels_blocks *x = &quantized->blocks;
    const size_t n_panels = (n + R - 1) / R;
    for (size_t i = 0; i < n_panels; i++) {
        struct kernels_panel panel = panel_at(job, memory, i);
        out->type->pack(out->w + (first + i * R) * out->row_bytes, out->row_bytes,
                        n - i * R < R ? n - i * R : R, job->n_blocks, &panel);
    }
    for (size_t t = 0; t < job->n_tokens; t += T) {
        size_t p = t * job->n_places;
        const struct kernels_tile_x tile = {
            x->q + p * KERNELS_BLOCK, x->d + p, x->s + p,
            {out->correction->c[0] + p, out->correction->c[1] + p},
            {quantized->sh[0] + p, quantized->sh[1] + p},
            quantized->e + p};
        const size_t n_tokens = job->n_tokens - t < T ? job->n_tokens - t : T;
        for (size_t i = 0; i < n_panels; i++) {
            const struct kernels_panel panel = panel_at(job, memory, i);
            const size_t row = first + i * R, n_here = n - i * R < R ? n - i * R : R;
            float stage[T * R];
            size_t stride;
            float *y = linear_results_at(job, out, row, t, stage, R, &stride);
            job->cpu->kernels.panel[out->type->form](&panel, n_here, job->n_blocks, &tile, n_tokens,
                                                     y, stride);
            linear_add_planes(job, out, row, n_here, t, n_tokens, stage, R);
        }
    }
}

/* ---- float weights ---- */

size_t linear_float_panel_bytes(size_t width)
{
    return (width + KERNELS_FLOAT_STRANDS - 1) / KERNELS_FLOAT_STRANDS * KERNELS_FLOAT_STRANDS *
           KERNELS_PANEL_ROWS * sizeof(float);
}

void linear_many_floats(const struct linear_job *job, const struct linear_output *out, size_t first,
                        size_t n, float *memory)
{
    enum { T = KERNELS_FLOAT_TOKENS, R = KERNELS_PANEL_ROWS };
    const size_t n_floats = linear_float_panel_bytes(job->width) / sizeof(float);
    const size_t n_rows = job->n_tokens / job->n_planes;
    for (size_t i = 0; i < n; i += R)
        out->type->float_pack(out->w + (first + i) * out->row_bytes, out->row_bytes,
                              n - i < R ? n - i : R, job->width, memory + i / R * n_floats);
    for (size_t t = 0; t < n_rows; t += T)
        for (size_t i = 0; i < n; i += R)
            job->cpu->kernels.float_panel(memory + i / R * n_floats, n - i < R ? n - i : R,
                                          job->width, job->cpu->quantized.floats + t / T * n_floats,
                                          n_rows - t < T ? n_rows - t : T,
                                          out->y + t * out->n_out + first + i, out->n_out);
}
