/* Where a model computes: one table of operations over a batch of rows, and the KV pages they read
 * and write. A backend is used by one thread at a time (the engine's), but for what says otherwise;
 * it may have workers of its own.
 *
 * The nouns. A *batch* is n_rows rows, each one token at one absolute position of one sequence. A
 * *sequence* is a list of KV pages: page i holds the keys and values of positions [i * P, (i + 1)
 * * P) in every layer, P = BACKEND_PAGE_TOKENS. An *activation* is a matrix [n_rows_max][width] of
 * floats that lives where the backend computes. A *matrix* of weights is taken once, and from then
 * on known by its handle: the backend may keep it in another place or layout. Rows of one sequence
 * stand in ascending order of position in a batch, without a gap, and a row attends to every
 * position of its sequence up to its own, also to rows of this very batch. A layer may keep a
 * recurrent *state* of fixed size for each sequence instead of keys and values, or beside them: it
 * is that of one position, the last that was computed.
 *
 * A backend may compute at once or later: what a step gives to the host (logits, rows that are
 * read) is there when end() has returned true. A *save* brings a page or a state to the host while
 * steps go on; a load brings it back.
 *
 * The promise that most backends make (`same_bits`): a row's result depends on its token, position
 * and sequence content alone, bit for bit, whatever else is in the batch and for any number of
 * threads. tests/backend/conformance.h proves all that stands here for any backend. */
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
    BACKEND_MAX_ROWS = 512, /* rows of one batch, in any backend */
    BACKEND_MAX_EXPERTS = 1024, /* of one matrix */
    BACKEND_MAX_EXPERTS_USED = 64, /* by one row */
};

#define BACKEND_NO_PAGE UINT32_MAX

/* What a backend says of itself. P is none of it: what is kept on disk and who shares what is cut
 * by it, whoever computes. */
struct backend_traits {
    bool same_bits;     /* it makes the promise above */
    uint32_t max_rows;  /* of one batch, at most BACKEND_MAX_ROWS */
    uint32_t tile_rows; /* that it computes at once: more come best in multiples of it */
};

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
    uint32_t state; /* the id of its state, where layers keep any */
};

struct backend_batch {
    const struct backend_row *rows; /* [n_rows], grouped by sequence */
    uint32_t n_rows;                /* 1 .. the traits' max_rows */
    const struct backend_sequence *sequences;
    uint32_t n_sequences;
};

enum backend_kv_type {
    BACKEND_KV_F16,  /* 16 bits, f16 or bfloat16 as the backend likes */
    BACKEND_KV_Q8_0, /* 8 bits and a scale for every 32 values */
    BACKEND_KV_Q4_0, /* 4 bits and a scale for every 32 values */
};

/* What one layer keeps. Nothing at all is right, too: then it has neither heads nor a state. */
struct backend_kv_layer {
    uint32_t n_kv_heads, head_dim; /* keys and values of each position; 0: none */
    uint32_t window;  /* a row sees so many positions, its own the last; 0: all */
    uint32_t n_back;  /* it reads the keys and values of the layer so many before it, which has the
                       * same heads and keeps them itself; 0: its own */
    uint32_t n_state; /* floats of recurrent state of each sequence */
};

/* The shape of the KV memory: a page holds, for each layer that keeps its own, 2 * n_kv_heads * P *
 * head_dim values. */
struct backend_kv_shape {
    const struct backend_kv_layer *layers; /* [n_layers], only looked at */
    uint32_t n_layers;
    uint32_t n_pages;  /* the pool's hard budget; memory is touched when a page is first written */
    uint32_t n_states; /* as many sequences can have a state at a time */
    enum backend_kv_type type;
};

/* What has an id and bytes, and can be saved and loaded. */
enum backend_kept {
    BACKEND_PAGE,  /* kv_page_bytes of it; ids are 0 .. n_pages - 1 */
    BACKEND_STATE, /* kv_state_bytes; ids are 0 .. n_states - 1 */
};

enum backend_rope {
    BACKEND_ROPE_PAIRS,  /* rotates (x[2i], x[2i+1]): llama in GGUF order */
    BACKEND_ROPE_HALVES, /* rotates (x[i], x[i + n/2]): qwen2, phi3, gemma ("neox") */
};

struct backend_attend_params {
    uint32_t n_heads; /* a multiple of the layer's n_kv_heads */
    float scale;      /* of the scores, before softmax; above 0 */
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

/* What a row is multiplied by: factor * (1 + stretch * ln(1 + floor(position / n_positions))). The
 * stretch is Llama 4's and Ministral 3's: attention over more positions than the model was made for
 * is sharpened by it. */
struct backend_scale {
    float factor;
    float stretch;
    uint32_t n_positions; /* 0: the factor alone */
};

/* One output of a matrix product: y[row][i] = dot(w[i], x[row]) + bias[i]. */
struct backend_linear {
    const struct backend_matrix *w;    /* [n_out][n_in] */
    const struct backend_matrix *bias; /* [1][n_out], or NULL */
    struct backend_activation *y;      /* [n_rows][n_out] */
};

/* A mixture of experts (Shazeer et al. 2017, arXiv:1701.06538), of which each row has its own few:
 * the n_used most probable of softmax(scores[row]), in descending order, of equal ones the lower
 * first. All of an expert's weights are one matrix's of n_experts. */
struct backend_experts {
    uint32_t n_used; /* 1 .. n_experts */
    bool normalize;  /* the probabilities of a row's experts are divided by their sum */
    const struct backend_matrix *w_gate, *w_up; /* [n_experts][n_ff][width] */
    const struct backend_matrix *w_down;        /* [n_experts][width][n_ff] */
    /* working memory, which only this operation understands */
    struct backend_activation *grouped;   /* [n_rows][n_used * width] */
    struct backend_activation *gate, *up; /* [n_rows][n_used * n_ff] */
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
struct backend_save; /* one that was begun */

struct backend_ops {
    void (*destroy)(struct backend *be);

    /* One line for --version and the log: "cpu avx512_vnni, 2 threads". */
    const char *(*describe)(const struct backend *be);

    /* Takes a matrix for the operations below; one of a single row serves as a vector, too (norms,
     * biases), and one of several experts is for experts() alone. Its parts must outlive the
     * backend; the handle lives until that is destroyed. NULL with UNSUPPORTED for a type or a
     * shape that it does not compute with, or NO_MEMORY. */
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
    /* UNSUPPORTED for a shape that it cannot keep. Again: the old memory goes, whatever of it was
     * being saved must have ended. */
    bool (*kv_init)(struct backend *be, const struct backend_kv_shape *shape, struct error *err);
    /* What one page, or one state, of that shape takes; its numbers of them do not count. */
    uint64_t (*kv_page_bytes)(const struct backend *be, const struct backend_kv_shape *shape);
    uint64_t (*kv_state_bytes)(const struct backend *be, const struct backend_kv_shape *shape);
    /* All that a page's content depends on, beside model, shape and tokens: the arithmetic and the
     * layout, with a number that rises when either changes. Pages may be kept under that name. */
    const char *(*kv_identity)(const struct backend *be);
    /* Copies the first n_tokens positions of a page, all layers. */
    void (*kv_page_copy)(struct backend *be, uint32_t dst, uint32_t src, uint32_t n_tokens);
    /* A sequence begins with a cleared state; a copy is how it goes back to where it was. */
    void (*kv_state_clear)(struct backend *be, uint32_t state);
    void (*kv_state_copy)(struct backend *be, uint32_t dst, uint32_t src);

    /* Begins to bring a page's or a state's bytes to the host, between steps; NULL: failed. Until
     * it ends, nothing may write there, but steps may read it. */
    struct backend_save *(*save_begin)(struct backend *be, enum backend_kept kept, uint32_t id,
                                       struct error *err);
    /* The bytes, until save_end; waits until they are there. Any thread, one for each save, also
     * while steps are computed: so no step waits for it. NULL: failed. */
    const void *(*save_bytes)(struct backend *be, struct backend_save *save, struct error *err);
    void (*save_end)(struct backend *be, struct backend_save *save);
    /* Host memory for what was saved, which any thread may fill, or NULL. Between load_begin and
     * load_end nothing else uses that page or state, of which the content is lost. */
    void *(*load_begin)(struct backend *be, enum backend_kept kept, uint32_t id,
                        struct error *err);
    /* Makes these bytes, which load_begin gave, the content that every later step sees. Not
     * `is_whole`: they could not be filled, and the content is anything. */
    bool (*load_end)(struct backend *be, enum backend_kept kept, uint32_t id, void *bytes,
                     bool is_whole, struct error *err);

    /* What it has taken. Any thread, once all memory was asked for. */
    void (*memory)(const struct backend *be, struct backend_memory *out);
    /* Between steps: gives back what batches of many rows have made it take; activations lose
     * their content. */
    void (*trim)(struct backend *be);

    /* The step. begin() names the batch, which stays as it is until end(); the operations between
     * them work on its rows. end() waits for what they give to the host. False: the step failed
     * (a device was lost, or its memory is full), and what it would have written is anything. */
    void (*begin)(struct backend *be, const struct backend_batch *batch);
    bool (*end)(struct backend *be, struct error *err);

    /* The rows of x [n_rows][width] to the host, there after end(); and from it, at once. */
    void (*read)(struct backend *be, const struct backend_activation *x, float *out);
    void (*write)(struct backend *be, struct backend_activation *x, const float *values);

    /* out[row] = table[rows[row].token]; table [n_vocab][width] of any type. */
    void (*embed)(struct backend *be, const struct backend_matrix *table,
                  struct backend_activation *out);
    /* out[row][i] = x[row][i] / sqrt(mean(x[row]^2) + eps) * w[i], w [1][width]. A shorter w, which
     * divides the width: for every so many elements of the row by themselves (a norm per head). */
    void (*rms_norm)(struct backend *be, const struct backend_activation *x,
                     const struct backend_matrix *w, float eps, struct backend_activation *out);
    /* n products of the same x, one pass. */
    void (*linear)(struct backend *be, const struct backend_activation *x,
                   const struct backend_linear *outputs, uint32_t n);
    /* Rotates in place: x[row] is n_heads heads of head_dim, by the row's position. */
    void (*rope)(struct backend *be, struct backend_activation *x, uint32_t n_heads,
                 uint32_t head_dim, const struct backend_rope_params *params);
    /* Writes k and v [n_rows][n_kv_heads * head_dim] to the rows' pages in this layer, which keeps
     * its own. */
    void (*kv_store)(struct backend *be, uint32_t layer, const struct backend_activation *k,
                     const struct backend_activation *v);
    /* Causal attention over the sequence's pages, as far as the layer's window reaches: out, q
     * [n_rows][n_heads * head_dim]. */
    void (*attend)(struct backend *be, uint32_t layer, const struct backend_activation *q,
                   const struct backend_attend_params *params, struct backend_activation *out);
    /* x += y */
    void (*add)(struct backend *be, struct backend_activation *x,
                const struct backend_activation *y);
    /* x *= what `scale` says of each row; after select() that is the factor alone. */
    void (*scale)(struct backend *be, struct backend_activation *x,
                  const struct backend_scale *scale);
    /* gate = silu(gate) * up */
    void (*swiglu)(struct backend *be, struct backend_activation *gate,
                   const struct backend_activation *up);
    /* gate = gelu(gate) * up, gelu approximated by tanh */
    void (*geglu)(struct backend *be, struct backend_activation *gate,
                  const struct backend_activation *up);
    /* out[row] = sum over the row's experts e, in their order, of p[e] times the feed-forward
     * Wdown[e] (silu(Wgate[e] x[row]) * Wup[e] x[row]); x and out [n_rows][width] may be one,
     * scores [n_rows][n_experts] are what linear() made with the router. An expert that no row
     * has is not read. */
    void (*experts)(struct backend *be, const struct backend_activation *x,
                    const struct backend_activation *scores, const struct backend_experts *experts,
                    struct backend_activation *out);
    /* Keeps only the rows that want logits, in order, and shrinks the batch to them. Later
     * operations work on those rows. Returns how many there are. */
    uint32_t (*select)(struct backend *be, const struct backend_activation *x,
                       struct backend_activation *out);
    /* logits[row][n_vocab] = w x[row], in the caller's memory after end(). */
    void (*logits)(struct backend *be, const struct backend_activation *x,
                   const struct backend_matrix *w, float *logits);
};

struct backend {
    const struct backend_ops *ops;
    struct backend_traits traits;
};

#endif
