/* Where a model computes: one table of operations over a batch of rows, and the KV pages they read
 * and write. A backend is used by one thread at a time (the engine's); it may have workers of its
 * own.
 *
 * The nouns. A *batch* is n_rows rows, each one token at one absolute position of one sequence. A
 * *sequence* is a list of KV pages: page i holds the keys and values of positions [i * P, (i + 1)
 * * P) in every layer, P = BACKEND_PAGE_TOKENS. An *activation* is a matrix [n_rows_max][width] of
 * floats that lives where the backend computes. A *matrix* of weights is taken once, and from then
 * on known by its handle: the backend may keep it in another place or layout. Rows of one sequence
 * stand in ascending order of position in a batch, without a gap, and a row attends to every
 * position of its sequence up to its own, also to rows of this very batch.
 *
 * The promise: a row's result depends on its token, position and sequence content alone, bit for
 * bit, whatever else is in the batch and for any number of threads. */
#ifndef PENSIEVE_BACKEND_BACKEND_H
#define PENSIEVE_BACKEND_BACKEND_H

#include "base/error.h"
#include "base/hostile.h"
#include "quant/matrix.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BACKEND_PAGE_TOKENS = HOSTILE ? 4 : 64, /* P: tokens of one KV page; a power of two */
    BACKEND_MAX_ROWS = 512, /* rows of one batch */
    BACKEND_TILE_ROWS = 12, /* rows that are computed at once: more come in multiples of it */
};

#define BACKEND_NO_PAGE UINT32_MAX

struct backend_row {
    int32_t token;
    int32_t position;  /* absolute, from 0 */
    uint32_t sequence; /* index into batch.sequences */
    bool wants_logits;
};

struct backend_sequence {
    /* [n_pages] page ids, enough for every position of the batch; those of which no row of the
     * batch sees anything, in any layer, may be BACKEND_NO_PAGE. */
    const uint32_t *pages;
    uint32_t n_pages;
};

struct backend_batch {
    const struct backend_row *rows; /* [n_rows], grouped by sequence */
    uint32_t n_rows;                /* 1 .. BACKEND_MAX_ROWS */
    const struct backend_sequence *sequences;
    uint32_t n_sequences;
};

enum backend_kv_type {
    BACKEND_KV_F16,  /* 16 bits, f16 or bfloat16 as the backend likes */
    BACKEND_KV_Q8_0, /* 8 bits and a scale for every 32 values */
    BACKEND_KV_Q4_0, /* 4 bits and a scale for every 32 values */
};

/* The shape of the KV memory: every page holds n_layers * 2 * n_kv_heads * P * head_dim values. */
struct backend_kv_shape {
    uint32_t n_layers, n_kv_heads, head_dim;
    uint32_t n_pages; /* the pool's hard budget; memory is touched when a page is first written */
    enum backend_kv_type type;
};

enum backend_rope {
    BACKEND_ROPE_PAIRS,  /* rotates (x[2i], x[2i+1]): llama in GGUF order */
    BACKEND_ROPE_HALVES, /* rotates (x[i], x[i + n/2]): qwen2, phi3, gemma ("neox") */
};

struct backend_attend_params {
    uint32_t n_heads; /* a multiple of n_kv_heads */
    float scale;      /* of the scores, before softmax; above 0 */
    uint32_t window;  /* a row sees so many positions, its own the last; 0: all */
};

/* The first position that a row at `position` sees. */
static inline uint32_t backend_first_seen(uint32_t position, uint32_t window)
{
    return window && position >= window ? position - window + 1 : 0;
}

/* YaRN (Peng et al. 2023, arXiv:2309.00071): pairs that turn more than beta_fast times within the
 * original context keep their frequency, those that turn less than beta_slow times get all of
 * freq_scale, and between them a ramp over the pairs' numbers blends the two. */
struct backend_rope_yarn {
    uint32_t n_ctx_original; /* 0: no YaRN */
    float beta_fast, beta_slow;
};

/* The angle of pair i at position p is p * freq_base^(-2i / n_dims) / factors[i] * freq_scale. */
struct backend_rope_params {
    enum backend_rope kind;
    uint32_t n_dims;      /* dimensions rotated, from the head's first */
    float freq_base;      /* theta */
    float freq_scale;     /* 1 / the factor of linear scaling or YaRN; 1 for none */
    const float *factors; /* [n_dims / 2] divisors of the frequencies (Llama 3's, LongRoPE's) or
                           * NULL; they stay where they are */
    float magnitude; /* what is rotated is also multiplied by this (YaRN, LongRoPE); 1 for none */
    struct backend_rope_yarn yarn;
};

/* One output of a matrix product: y[row][i] = dot(w[i], x[row]) + bias[i]. */
struct backend_linear {
    const struct backend_matrix *w;    /* [n_out][n_in] */
    const struct backend_matrix *bias; /* [1][n_out], or NULL */
    struct backend_activation *y;      /* [n_rows][n_out] */
};

/* Bytes that are in physical memory; weights belong to their file and do not count. */
struct backend_memory {
    uint64_t kv;          /* the pages */
    uint64_t activations;
    uint64_t buffers;     /* all else that operations need */
};

struct backend;
struct backend_activation;
struct backend_matrix;

struct backend_ops {
    void (*destroy)(struct backend *be);

    /* One line for --version and the log: "cpu avx512_vnni, 2 threads". */
    const char *(*describe)(const struct backend *be);

    /* Takes a matrix for the operations below; one of a single row serves as a vector, too (norms,
     * biases). Its parts must outlive the backend; the handle lives until that is destroyed. NULL
     * with UNSUPPORTED for a type or a shape that it does not compute with, or NO_MEMORY. */
    struct backend_matrix *(*matrix)(struct backend *be, const struct matrix *m,
                                     struct error *err);

    /* Memory. Activations live until the backend is destroyed. */
    struct backend_activation *(*activation)(struct backend *be, uint32_t width, struct error *err);
    /* One in the memory of another, from its column `first` on: for what is never needed at the
     * same time. Writing to one spoils the other. */
    struct backend_activation *(*activation_within)(struct backend *be,
                                                    struct backend_activation *other,
                                                    uint32_t first, uint32_t width,
                                                    struct error *err);
    bool (*kv_init)(struct backend *be, const struct backend_kv_shape *shape, struct error *err);
    /* What one page of that shape takes; the shape's n_pages does not count. */
    uint64_t (*kv_page_bytes)(const struct backend *be, const struct backend_kv_shape *shape);
    /* All that a page's content depends on, beside model, shape and tokens: the arithmetic and the
     * layout, with a number that rises when either changes. Pages may be kept under that name. */
    const char *(*kv_identity)(const struct backend *be);
    /* The page's memory, kv_page_bytes of it, to save or load it whole. */
    void *(*kv_page_data)(struct backend *be, uint32_t page);
    /* Copies the first n_tokens positions of a page, all layers. Page ids are 0 .. n_pages-1. */
    void (*kv_page_copy)(struct backend *be, uint32_t dst, uint32_t src, uint32_t n_tokens);

    /* What it has taken. Any thread, once all memory was asked for. */
    void (*memory)(const struct backend *be, struct backend_memory *out);
    /* Between steps: gives back what batches of many rows have made it take; activations lose
     * their content. */
    void (*trim)(struct backend *be);

    /* The step. begin() names the batch; the operations until end() work on its rows. */
    void (*begin)(struct backend *be, const struct backend_batch *batch);
    void (*end)(struct backend *be);

    /* out[row] = table[rows[row].token]; table [n_vocab][width] of any type. */
    void (*embed)(struct backend *be, const struct backend_matrix *table,
                  struct backend_activation *out);
    /* out[row][i] = x[row][i] / sqrt(mean(x[row]^2) + eps) * w[i], w [1][width] */
    void (*rms_norm)(struct backend *be, const struct backend_activation *x,
                     const struct backend_matrix *w, float eps, struct backend_activation *out);
    /* n products of the same x, one pass. */
    void (*linear)(struct backend *be, const struct backend_activation *x,
                   const struct backend_linear *outputs, uint32_t n);
    /* Rotates in place: x[row] is n_heads heads of head_dim, by the row's position. */
    void (*rope)(struct backend *be, struct backend_activation *x, uint32_t n_heads,
                 uint32_t head_dim, const struct backend_rope_params *params);
    /* Writes k and v [n_rows][n_kv_heads * head_dim] to the rows' pages in this layer. */
    void (*kv_store)(struct backend *be, uint32_t layer, const struct backend_activation *k,
                     const struct backend_activation *v);
    /* Causal attention over the sequence's pages: out, q [n_rows][n_heads * head_dim]. */
    void (*attend)(struct backend *be, uint32_t layer, const struct backend_activation *q,
                   const struct backend_attend_params *params, struct backend_activation *out);
    /* x += y */
    void (*add)(struct backend *be, struct backend_activation *x,
                const struct backend_activation *y);
    /* gate = silu(gate) * up */
    void (*swiglu)(struct backend *be, struct backend_activation *gate,
                   const struct backend_activation *up);
    /* gate = gelu(gate) * up, gelu approximated by tanh */
    void (*geglu)(struct backend *be, struct backend_activation *gate,
                  const struct backend_activation *up);
    /* Keeps only the rows that want logits, in order, and shrinks the batch to them. Later
     * operations work on those rows. Returns how many there are. */
    uint32_t (*select)(struct backend *be, const struct backend_activation *x,
                       struct backend_activation *out);
    /* logits[row][n_vocab] = w x[row], to the caller's memory. */
    void (*logits)(struct backend *be, const struct backend_activation *x,
                   const struct backend_matrix *w, float *logits);
};

struct backend {
    const struct backend_ops *ops;
};

#endif
