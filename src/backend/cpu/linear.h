/* What the files of matrix products share: the activations of a product, quantized in parts, its
 * outputs, and how their rows are done with few tokens (linear_few.c) and with many
 * (linear_many.c). linear.c deals the parts of one product to the threads, experts.c those of many
 * small ones; logits, which are worth more (logits.c), are two products. */
#ifndef PENSIEVE_BACKEND_CPU_LINEAR_H
#define PENSIEVE_BACKEND_CPU_LINEAR_H

#include "backend/cpu/state.h"

enum {
    LINEAR_MAX_OUTPUTS = CPU_N_CORRECTIONS,
    LINEAR_TASKS_PER_THREAD = 8, /* at least, so that a late thread costs little */
    LINEAR_FEW_ROWS = 5,  /* batches up to this stream the weights */
    LINEAR_FEW_TILES = 4, /* with so many, panels are unpacked one by one */
    LINEAR_PANEL_BYTES = 512 << 10, /* of unpacked weights that one task keeps in cache */
};

/* The activations of a product: n_tokens rows of x, and where they lie once they are quantized. */
struct linear_input {
    struct cpu *cpu;
    const float *x;       /* [][width] */
    const uint32_t *rows; /* [n_tokens] those of x, or NULL: from the first on */
    size_t width, n_blocks, n_places;
    uint32_t slot;     /* their first place among all that are quantized at a time */
    uint32_t n_tokens;
    bool few;          /* rows of weights are streamed */
    bool is_shared;    /* row i of x is in slot i, whoever needs it; `rows` and few only */
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
    struct linear_input in;
    uint32_t n_outputs;
    struct linear_output outputs[LINEAR_MAX_OUTPUTS];
};

/* ---- a product by itself ---- */

/* x [n_tokens][width] */
void linear_job_init(struct linear_job *job, struct cpu *cpu, const float *x, uint32_t width,
                     uint32_t n_tokens);
/* y [n_tokens][n_out] */
void linear_add_output(struct linear_job *job, const struct matrix *w, const float *bias, float *y);
void linear_run(struct linear_job *job);
/* Its first part alone: the activations. */
void linear_quantize(struct linear_job *job);

/* ---- its parts ---- */

/* The slots that n tokens take, whatever the weights are. */
uint32_t linear_slots(uint32_t n_tokens);
struct linear_input linear_input_of(struct cpu *cpu, const float *x, const uint32_t *rows,
                                    uint32_t width, uint32_t n_tokens);
struct linear_output linear_output_of(const struct cpu *cpu, const struct matrix *w,
                                      const float *bias, float *y);
/* What the outputs need of the activations: first nothing, then what each does. */
void linear_need_nothing(struct cpu_quantized *x);
void linear_need(struct cpu_quantized *x, struct linear_output *out);
/* Activations are quantized in so many parts. */
uint32_t linear_n_parts(const struct linear_input *in);
void linear_quantize_part(const struct linear_input *in, uint32_t part, uint32_t thread);
/* Deals an output's rows into tasks; returns how many: about n_wanted, if that is worth it, and at
 * most `most`. */
uint32_t linear_deal(const struct linear_input *in, struct linear_output *out, size_t n_wanted,
                     size_t most);
/* Task i of an output's. */
void linear_task(const struct linear_input *in, const struct linear_output *out, uint32_t i,
                 uint32_t thread);

/* ---- with few tokens, and with many ---- */

/* Token t's, for the row kernels. */
struct kernels_row_x linear_row_x(const struct linear_input *in, const struct linear_output *out,
                                  uint32_t t);
/* The product of n weight rows from `first` on with all tokens. */
void linear_few_rows(const struct linear_input *in, const struct linear_output *out, size_t first,
                     size_t n);
/* `memory` is the thread's panels. */
void linear_many_rows(const struct linear_input *in, const struct linear_output *out, size_t first,
                      size_t n, void *memory);
/* Bytes of one panel. */
size_t linear_panel_bytes(enum kernels_form form, size_t width);

#endif
