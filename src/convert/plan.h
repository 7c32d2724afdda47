/* What is to be made, in full, before a byte is written: every file of the output, every tensor in
 * it, where its parts lie, and out of which rows of the input it comes. Filled in by the maps from
 * one format to the other (map.h), laid out by the writers (layout.h), carried out by work.c. */
#ifndef PENSIEVE_CONVERT_PLAN_H
#define PENSIEVE_CONVERT_PLAN_H

#include "base/arena.h"
#include "base/buf.h"
#include "convert/importance.h"
#include "convert/target.h"
#include "weights/weights.h"

/* How rows of a head change places: GGUF's llama has the two halves of a head, which turn together,
 * row by row in turns; folders have one behind the other. */
enum plan_order { PLAN_AS_THEY_ARE, PLAN_TO_TURNS, PLAN_TO_HALVES };

/* A part of a tensor in the output: blocks; or packed numbers, scales, biases. */
struct plan_region {
    uint32_t file;      /* number in the plan's files */
    uint64_t at;        /* in the file */
    uint64_t row_bytes;
};

struct plan_tensor {
    const char *name;      /* in the output; of packed ones X.weight */
    const char *gguf_name; /* what importance and mixes know it by */
    enum quant_type type;  /* in the output */
    uint32_t n_dims;       /* as in weights.h: the innermost dimension first */
    uint64_t shape[4];

    struct matrix *pieces; /* [n_pieces] of one expert each, one below the other; all rows */
    size_t n_pieces;
    const void *raw; /* instead of them: bytes that are copied, of a GGUF type by number */
    uint64_t n_raw;
    uint32_t raw_type;
    enum plan_order order;
    uint32_t head_dim; /* of an order */
    float add;         /* to each value */
    const float *importance; /* [shape[2] * shape[3]][shape[0]], or NULL */

    /* from the layout */
    struct plan_region regions[MATRIX_N_PARTS];
    uint32_t n_regions;
};

/* A file of the output: bytes that are known (all of a text's, a header), then tensors. */
struct plan_file {
    const char *name; /* in the folder; unused for GGUF */
    struct buf head;
    uint64_t size; /* in all */
};

struct plan {
    const struct weights *w;
    const struct target *target;
    uint32_t group;          /* of a folder's packed types */
    enum matrix_scale scale; /* the same, of affine ones; also says what else is a float there */
    struct importance *importance; /* or NULL */
    const char *importance_path;
    size_t n_threads;              /* 0: one for each CPU */
    struct target_model model;

    struct arena arena; /* names and lists */
    struct plan_tensor *tensors; /* [n_tensors] */
    size_t n_tensors, n_tensors_room;
    struct plan_file *files; /* [n_files] */
    size_t n_files;
    uint64_t n_bytes; /* of all files */
};

void plan_init(struct plan *p, const struct weights *w, const struct target *target);
void plan_deinit(struct plan *p);

/* One more tensor, empty but for its names, which are copied; or NULL with NO_MEMORY. */
struct plan_tensor *plan_add(struct plan *p, const char *name, const char *gguf_name,
                             struct error *err);
/* Room for n pieces, or NO_MEMORY. */
bool plan_reserve_pieces(struct plan *p, struct plan_tensor *t, size_t n, struct error *err);
/* All experts of a tensor of the input, with its shape, as the only pieces. FORMAT or UNSUPPORTED
 * if it cannot be decoded. */
bool plan_take(struct plan *p, struct plan_tensor *t, const struct weights_tensor *input,
               struct error *err);
/* Values that the plan makes itself, F32, which must live as long: the same. */
bool plan_take_values(struct plan *p, struct plan_tensor *t, const float *values, size_t n,
                      struct error *err);
/* Looks for the tensor's importance, if there is any. FORMAT when it is another shape's. */
bool plan_take_importance(struct plan *p, struct plan_tensor *t, struct error *err);

/* The values of a tensor of one dimension change places as its order says. */
bool plan_reorder_vector(struct plan *p, struct plan_tensor *t, struct error *err);
/* Which row of the input comes to row `row` of the output. */
uint64_t plan_source_row(const struct plan_tensor *t, uint64_t row);

static inline uint64_t plan_n_rows(const struct plan_tensor *t)
{
    return t->shape[1] * t->shape[2] * t->shape[3];
}
/* One more file with a text, whose bytes move into the plan; or NULL. */
struct plan_file *plan_add_file(struct plan *p, const char *name, struct buf *text,
                                struct error *err);

#endif
