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
    return (struct kernels_panel){q, d, d + n, NULL}; /* two of d, or two of m, or one of each */
}

enum { T = KERNELS_TILE_TOKENS, R = KERNELS_PANEL_ROWS };

/* Some rows of an output, at most a panel, times a tile of tokens from t on. */
static void multiply(const struct linear_job *job, const struct linear_output *out,
                     const struct kernels_panel *panel, size_t row, size_t n_rows, size_t t)
{
    const struct cpu_quantized *quantized = &job->cpu->quantized;
    const struct kernels_blocks *x = &quantized->blocks;
    const size_t p = t * job->n_places, n_tokens = job->n_tokens - t < T ? job->n_tokens - t : T;
    const struct kernels_tile_x tile = {
        x->q + p * KERNELS_BLOCK, x->d + p, x->s + p,
        {out->correction->c[0] + p, out->correction->c[1] + p},
        {quantized->sh[0] + p, quantized->sh[1] + p},
        quantized->e + p};
    job->cpu->kernels.panel[out->type->form](panel, n_rows, job->n_blocks, &tile, n_tokens,
                                             out->y + t * out->n_out + row, out->n_out);
}

/* The panel behind the one at w: n_pack bytes of it while that is unpacked, the rest evenly beside
 * its products. */
static struct kernels_ahead ahead_of(const struct linear_job *job, const struct linear_output *out,
                                     const char *w, size_t n_pack)
{
    const size_t n_bytes = R * out->row_bytes, n_tiles = (job->n_tokens + T - 1) / T;
    const char *next = w + n_bytes, *end = out->w + out->n_out * out->row_bytes;
    return (struct kernels_ahead){
        .at = next,
        .due = next,
        .end = next + n_bytes < end ? next + n_bytes : end,
        .per_pack = 64 * n_pack / n_bytes,
        .per_place = (n_bytes - n_pack) / n_tiles / job->n_blocks + 1,
    };
}

/* Panel by panel: with few tiles it stays in the first cache, and the weights of the next one come
 * in from memory beside the arithmetic. */
static void multiply_by_panels(const struct linear_job *job, const struct linear_output *out,
                               size_t first, size_t n, void *memory)
{
    const size_t n_tiles = (job->n_tokens + T - 1) / T;
    /* unpacking takes about as long as the products of four tokens */
    const size_t n_pack = R * out->row_bytes * 4 / (4 + job->n_tokens);
    struct kernels_panel panel = panel_at(job, memory, 0);
    for (size_t i = 0; i < n; i += R) {
        const size_t n_rows = n - i < R ? n - i : R;
        const char *w = out->w + (first + i) * out->row_bytes;
        struct kernels_ahead ahead = ahead_of(job, out, w, n_pack);
        panel.ahead = &ahead;
        out->type->pack(w, out->row_bytes, n_rows, job->n_blocks, &panel);
        for (size_t t = 0; t < n_tiles; t++)
            multiply(job, out, &panel, first + i, n_rows, t * T);
    }
}

void linear_many_rows(const struct linear_job *job, const struct linear_output *out, size_t first,
                      size_t n, void *memory)
{
    if (job->n_tokens <= LINEAR_FEW_TILES * T) {
        multiply_by_panels(job, out, first, n, memory);
        return;
    }
    for (size_t i = 0; i < n; i += R) {
        const char *w = out->w + (first + i) * out->row_bytes;
        struct kernels_ahead ahead = ahead_of(job, out, w, R * out->row_bytes);
        struct kernels_panel panel = panel_at(job, memory, i / R);
        panel.ahead = &ahead;
        out->type->pack(w, out->row_bytes, n - i < R ? n - i : R, job->n_blocks, &panel);
    }
    for (size_t t = 0; t < job->n_tokens; t += T)
        for (size_t i = 0; i < n; i += R) {
            const struct kernels_panel panel = panel_at(job, memory, i / R);
            multiply(job, out, &panel, first + i, n - i < R ? n - i : R, t);
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
    enum { FLOAT_T = KERNELS_FLOAT_TOKENS };
    const size_t n_floats = linear_float_panel_bytes(job->width) / sizeof(float);
    const size_t n_tokens = job->n_tokens;
    for (size_t i = 0; i < n; i += R)
        out->type->float_pack(out->w + (first + i) * out->row_bytes, out->row_bytes,
                              n - i < R ? n - i : R, job->width, memory + i / R * n_floats);
    for (size_t t = 0; t < n_tokens; t += FLOAT_T)
        for (size_t i = 0; i < n; i += R)
            job->cpu->kernels.float_panel(
                memory + i / R * n_floats, n - i < R ? n - i : R, job->width,
                job->cpu->quantized.floats + t / FLOAT_T * n_floats,
                n_tokens - t < FLOAT_T ? n_tokens - t : FLOAT_T,
                out->y + t * out->n_out + first + i, out->n_out);
}
