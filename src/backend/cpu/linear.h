/* What the files of matrix products share: the job, which linear.c deals to the threads, and how
 * its parts are done with few tokens (linear_few.c) and with many (linear_many.c). Logits, which
 * are worth more (logits.c), are two jobs. */
#ifndef PENSIEVE_BACKEND_CPU_LINEAR_H
#define PENSIEVE_BACKEND_CPU_LINEAR_H

#include "backend/cpu/state.h"

enum {
    LINEAR_MAX_OUTPUTS = CPU_N_CORRECTIONS,
    LINEAR_FEW_TILES = 4, /* with so many, panels are unpacked one by one */
    LINEAR_PANEL_BYTES = 512 << 10, /* of unpacked weights that one task keeps in cache */
};

struct linear_output {
    const struct kernels_type *type;
    const struct cpu_correction *correction; /* NULL: the form has none */
    struct matrix w;
    size_t n_out, row_bytes; /* of all parts */
    const float *bias;
    float *y; /* [n_tokens][n_out] */
    uint32_t first_task;
    size_t rows_per_task;
};

struct linear_job {
    struct cpu *cpu;
    const float *x; /* [n_tokens][width] */
    size_t width, n_blocks, n_places;
    uint32_t n_tokens;
    bool few; /* rows of weights are streamed */
    uint32_t n_outputs;
    struct linear_output outputs[LINEAR_MAX_OUTPUTS];
};

/* x [n_tokens][width] */
void linear_job_init(struct linear_job *job, struct cpu *cpu, const float *x, uint32_t width,
                     uint32_t n_tokens);
/* y [n_tokens][n_out] */
void linear_add_output(struct linear_job *job, const struct matrix *w, const float *bias, float *y);
void linear_run(struct linear_job *job);
/* Its first part alone: the activations. */
void linear_quantize(struct linear_job *job);
/* Token t's, for the row kernels. */
struct kernels_row_x linear_row_x(const struct linear_job *job, const struct linear_output *out,
                                  uint32_t t);

/* The product of n weight rows from `first` on with all tokens of the job. */
void linear_few_rows(const struct linear_job *job, const struct linear_output *out, size_t first,
                     size_t n);
/* `memory` is the thread's panels. */
void linear_many_rows(const struct linear_job *job, const struct linear_output *out, size_t first,
                      size_t n, void *memory);
/* Bytes of one panel. */
size_t linear_panel_bytes(enum kernels_form form, size_t width);

#endif
