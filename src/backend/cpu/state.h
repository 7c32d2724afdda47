/* What the files of the CPU backend share: its state, and the batch as they need it. */
#ifndef PENSIEVE_BACKEND_CPU_STATE_H
#define PENSIEVE_BACKEND_CPU_STATE_H

#include "backend/backend.h"
#include "base/pool.h"
#include "base/memory.h"
#include "kernels/kernels.h"

enum {
    CPU_N_TILES = (BACKEND_MAX_ROWS + KERNELS_TILE_TOKENS - 1) / KERNELS_TILE_TOKENS,
    CPU_MAX_QUERIES = 256, /* queries of one attention task */
    CPU_MAX_UNIT_ROWS = 64,
    CPU_FEW_ROWS = 16,
    CPU_SPLIT_PAGES = KERNELS_RUN_PAGES, /* softmax restarts there, counted from position 0 */
    CPU_ARITHMETIC = 1, /* to be raised with every change to results or to the pages' layout */
    CPU_ROPE_SLOTS = 2,
    CPU_ROPE_MAX_PAIRS = 512,
};

struct backend_activation {
    float *data; /* [BACKEND_MAX_ROWS][width] */
    uint32_t width;
    bool is_within; /* the memory is another's */
};

struct backend_matrix {
    struct matrix m;     /* in place */
    const float *vector; /* [n_cols] of a single row: in place, or in `memory` */
    void *memory;
};

/* Rows of one sequence that are worked on together. */
struct cpu_rows {
    uint32_t first, n, sequence;
};

/* Corrections of one offset for the quantized activations: see kernels_row_x. */
struct cpu_correction {
    int32_t offset;
    bool halves, used;
    int32_t *c[2]; /* [n_places] */
};

enum { CPU_N_CORRECTIONS = 8 }; /* as many as a job has outputs */

/* The current operation's activations as int8: by rows (few tokens) or by tiles (many). */
struct cpu_quantized {
    struct kernels_blocks blocks;
    float *e; /* the scales' exponents, in tiles only */
    struct cpu_correction corrections[CPU_N_CORRECTIONS];
    float *sh[2]; /* [n_places] scaled sums of the halves, made when an output needs them */
    bool needs_blocks, needs_halves, needs_floats; /* what the outputs look at */
    uint32_t max_width; /* that it has room for */
    void *memory;
    size_t n_bytes;
    float *floats; /* activations beside float weights, packed (kernels.h, kernels_tile_x) */
    size_t n_float_bytes;
};

struct cpu_rope_table {
    struct backend_rope_params params;
    double *frequencies; /* [pairs] radians per position */
    float *cos, *sin;    /* [BACKEND_MAX_ROWS][pairs] */
    uint64_t batch;      /* that it was made for */
    bool has_frequencies;
};

/* One layer's part of a page: that of the layer whose keys and values it reads. */
struct cpu_kv_layer {
    uint32_t n_kv_heads, head_dim, window;
    bool is_own;              /* it keeps them */
    size_t first, head_bytes; /* of a page: the first byte, and those of one head */
};

struct cpu_kv {
    uint32_t n_layers, n_pages, n_states;
    struct cpu_kv_layer *layers; /* [n_layers] */
    const struct kernels_kv *kernels;
    char *pages; /* [n_pages][page_bytes]; a layer's part is [n_kv_heads][head_bytes] */
    size_t page_bytes;
    float *states; /* [n_states][state_bytes] */
    size_t state_bytes;
    uint32_t max_head_dim;
    float *partials; /* room for partial results of attention, [n_partials][max_head_dim + 2] */
    size_t n_partials;
};

struct cpu_thread {
    void *panels; /* unpacked weights */
    size_t n_panel_bytes;
    float *attention; /* [CPU_MAX_QUERIES][4 + 2 * max_head_dim], then the kernel's scratch */
    size_t n_attention_bytes;
};

struct cpu {
    struct backend base;
    struct kernels kernels;
    struct pool *pool;
    char description[64], identity[32];
    struct cpu_thread *threads; /* [n_threads] */
    struct backend_activation **activations;
    size_t n_activations;
    struct backend_matrix **matrices;
    size_t n_matrices;
    struct cpu_quantized quantized;
    struct cpu_rope_table rope[CPU_ROPE_SLOTS];
    struct cpu_kv kv;
    struct cpu_choices *choices; /* experts.c's */

    /* the step */
    const struct backend_batch *batch;
    uint64_t n_batches;
    uint32_t n_rows; /* that operations work on: the batch's, after select() fewer */
    uint32_t n_segments;
    struct cpu_rows segments[BACKEND_MAX_ROWS]; /* rows of the same page */
};

/* Runs over chunks of rows, each of about n_floats floats per row, on as many threads as it is
 * worth. */
struct cpu_row_job {
    struct cpu *cpu;
    void (*rows)(const struct cpu_row_job *job, uint32_t first, uint32_t n);
    const void *context;
    uint32_t n_rows, chunk;
};
void cpu_run_rows(struct cpu *cpu, uint32_t n_rows, size_t n_floats,
                  void (*rows)(const struct cpu_row_job *, uint32_t, uint32_t),
                  const void *context);

/* linear.c (with linear_few.c, linear_many.c) */
bool cpu_linear_reserve(struct cpu *cpu, uint32_t width, struct error *err);
void cpu_linear_deinit(struct cpu *cpu);
uint64_t cpu_linear_resident(const struct cpu *cpu); /* bytes of its buffers in physical memory */
void cpu_linear_give_back(struct cpu *cpu);           /* what it needs in a step only */
void cpu_linear(struct backend *be, const struct backend_activation *x,
                const struct backend_linear *outputs, uint32_t n);
void cpu_logits(struct backend *be, const struct backend_activation *x,
                const struct backend_matrix *w, float *logits);

/* experts.c */
bool cpu_experts_init(struct cpu *cpu, struct error *err);
void cpu_experts_deinit(struct cpu *cpu);
void cpu_experts_give_back(struct cpu *cpu);
uint64_t cpu_experts_resident(const struct cpu *cpu); /* bytes of it in physical memory */
void cpu_experts(struct backend *be, const struct backend_activation *x,
                 const struct backend_activation *scores, const struct backend_experts *experts,
                 struct backend_activation *out);

/* matrix.c */
struct backend_matrix *cpu_matrix(struct backend *be, const struct matrix *m, struct error *err);
void cpu_matrix_deinit(struct cpu *cpu);

/* kv.c */
bool cpu_kv_init(struct backend *be, const struct backend_kv_shape *shape, struct error *err);
void cpu_kv_deinit(struct cpu *cpu);
uint64_t cpu_kv_resident(const struct cpu *cpu); /* bytes of the pages in physical memory */
uint64_t cpu_kv_buffers_resident(const struct cpu *cpu); /* of the buffers of attention */
uint64_t cpu_kv_page_bytes(const struct backend *be, const struct backend_kv_shape *shape);
uint64_t cpu_kv_state_bytes(const struct backend *be, const struct backend_kv_shape *shape);
void cpu_kv_page_copy(struct backend *be, uint32_t dst, uint32_t src, uint32_t n_tokens);
void cpu_kv_store(struct backend *be, uint32_t layer, const struct backend_activation *k,
                  const struct backend_activation *v);
/* The keys and values of one head in one page, for the kernels. */
void *cpu_kv_head(const struct cpu *cpu, uint32_t page, uint32_t layer, uint32_t kv_head);
/* A page, or a state, whole. */
void *cpu_kv_bytes(const struct cpu *cpu, enum backend_kept kept, uint32_t id, size_t *n_bytes);

/* kept.c */
void cpu_kv_state_clear(struct backend *be, uint32_t state);
void cpu_kv_state_copy(struct backend *be, uint32_t dst, uint32_t src);
struct backend_save *cpu_save_begin(struct backend *be, enum backend_kept kept, uint32_t id,
                                    struct error *err);
const void *cpu_save_bytes(struct backend *be, struct backend_save *save, struct error *err);
void cpu_save_end(struct backend *be, struct backend_save *save);
void *cpu_load_begin(struct backend *be, enum backend_kept kept, uint32_t id, struct error *err);
bool cpu_load_end(struct backend *be, enum backend_kept kept, uint32_t id, void *bytes,
                  bool is_whole, struct error *err);

/* attend.c */
void cpu_attend(struct backend *be, uint32_t layer, const struct backend_activation *q,
                const struct backend_attend_params *params, struct backend_activation *out);

/* rope.c */
bool cpu_rope_init(struct cpu *cpu, struct error *err);
void cpu_rope_deinit(struct cpu *cpu);
uint64_t cpu_rope_resident(const struct cpu *cpu); /* bytes of its tables in physical memory */
void cpu_rope(struct backend *be, struct backend_activation *x, uint32_t n_heads, uint32_t head_dim,
              const struct backend_rope_params *params);

#endif
