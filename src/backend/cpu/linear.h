/* What the files of matrix products share: the job, which linear.c deals to the threads, and how
 * its parts are done with few tokens (linear_few.c) and with many (linear_many.c). */
#ifndef PENSIEVE_BACKEND_CPU_LINEAR_H
#define PENSIEVE_BACKEND_CPU_LINEAR_H

#include "backend/cpu/state.h"

enum {
    LINEAR_MAX_OUTPUTS = 8,
    LINEAR_PANEL_BYTES = 512 << 10, /* of unpacked weights that one task keeps in cache */
};

struct linear_output {
    const struct kernels_type *type;
    const struct cpu_correction *correction;
    const char *w;
    size_t row_bytes, n_out;
    const float *bias;
    float *y; /* [n_rows][n_out] */
    uint32_t first_task;
    size_t rows_per_task;
};

struct linear_job {
    struct cpu *cpu;
    const float *x; /* [n_tokens][width] */
    size_t width, n_blocks, n_places;
    uint32_t n_tokens; /* that are quantized: n_planes of each row of x */
    uint32_t n_planes;
    bool few;
    uint32_t n_outputs;
    struct linear_output outputs[LINEAR_MAX_OUTPUTS];
};

/* Where results of n weight rows for token t go: to y, or first to the stage when there are planes
 * to add. */
float *linear_results_at(const struct linear_job *job, const struct linear_output *out,
                         size_t first, size_t t, float *stage, size_t stage_stride, size_t *stride);
/* Adds the planes of n_tokens staged tokens from t on. */
void linear_add_planes(const struct linear_job *job, const struct linear_output *out, size_t first,
                       size_t n, size_t t, size_t n_tokens, const float *stage, size_t stride);

/* The product of n weight rows from `first` on with all tokens of the job. */
void linear_few_floats(const struct linear_job *job, const struct linear_output *out, size_t first,
                       size_t n);
void linear_few_rows(const struct linear_job *job, const struct linear_output *out, size_t first,
                     size_t n);
/* `memory` is the thread's panels. */
void linear_many_rows(const struct linear_job *job, const struct linear_output *out, size_t first,
                      size_t n, void *memory);
void linear_many_floats(const struct linear_job *job, const struct linear_output *out, size_t first,
                        size_t n, float *memory);
/* Bytes of one panel: every quantized form, and float weights. */
size_t linear_panel_bytes(size_t n_places);
size_t linear_float_panel_bytes(size_t width);

#endif
