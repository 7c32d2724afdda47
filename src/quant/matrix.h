/* A matrix of weights, whatever file it lies in: a type, the parts that it consists of, and how
 * many rows, columns and experts it has. A `struct matrix` is a view: it owns nothing, is copied
 * freely, and views of its rows or of one expert are made of it without copying any weights. Its
 * parts must outlive it. Knows no files and no threads. */
#ifndef PENSIEVE_QUANT_MATRIX_H
#define PENSIEVE_QUANT_MATRIX_H

#include "base/error.h"
#include "quant/quant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a matrix consists of. Blocks and floats have one part; packed numbers, whose scales lie in
 * arrays of their own, have two or three; others are NULL. Blocks lie as quant_traits says, all
 * else at any address: safetensors files pad nothing. */
enum matrix_part_number {
    MATRIX_BLOCKS = 0, /* [n_experts][n_rows] rows of blocks (or of floats) */
    MATRIX_PACKED = 0, /* numbers of a few bits, the first in the lowest ones, row by row */
    MATRIX_SCALES = 1, /* [n_experts][n_rows][n_cols / group] */
    MATRIX_BIASES = 2, /* the same */
    /* [n_experts] F32 by which scales are multiplied, of NVFP4 (MATRIX_BLOCKS or packed) alone, and
     * there rarely */
    MATRIX_FACTORS = 3,
    MATRIX_N_PARTS = 4,
};

/* What scales and biases are. */
enum matrix_scale {
    MATRIX_SCALE_F16,
    MATRIX_SCALE_BF16,
    MATRIX_SCALE_F32,
    MATRIX_SCALE_E8M0, /* 2^(e - 127), as the Open Compute Project's microscaled formats say */
    MATRIX_SCALE_E4M3, /* their float of eight bits, without infinity; 0x7f is NaN */
    MATRIX_N_SCALES,
};

struct matrix_part {
    const void *data; /* NULL: there is no such part */
    size_t row_bytes, expert_bytes; /* from one row, from one expert to the next */
};

struct matrix {
    enum quant_type type;
    enum matrix_scale scale; /* of packed numbers */
    uint32_t group;          /* the same: elements of a row that share a scale */
    size_t n_cols, n_rows, n_experts; /* of one expert: [n_rows][n_cols] */
    struct matrix_part parts[MATRIX_N_PARTS];
    /* [n_experts] matrices of this type and shape, for experts that lie anywhere (the parts are
     * those of the first); NULL: they lie expert_bytes apart */
    const struct matrix *list;
};

/* [n_experts][n_rows][n_cols] weights of a block or float type that lie behind each other. */
struct matrix matrix_of_blocks(enum quant_type type, size_t n_cols, size_t n_rows,
                               size_t n_experts, const void *data);

/* [n_experts][n_rows][n_cols] weights of a packed type whose parts lie densely in three arrays: see
 * the parts above. */
struct matrix matrix_of_packed(enum quant_type type, enum matrix_scale scale, uint32_t group,
                               size_t n_cols, size_t n_rows, size_t n_experts, const void *packed,
                               const void *scales, const void *biases);

/* n matrices of one expert each as one matrix; the list must live as long. FORMAT when they are not
 * of one type and shape. */
bool matrix_of_list(const struct matrix *list, size_t n, struct matrix *out, struct error *err);

/* Whether type, parts and sizes belong together, so that every row can be decoded: else FORMAT, or
 * UNSUPPORTED for a type that this build does not know. The data itself is not looked at. */
bool matrix_check(const struct matrix *m, struct error *err);

/* Rows first .. first + n (of every expert; of one that is a list, of a single expert alone). */
struct matrix matrix_rows(const struct matrix *m, size_t first, size_t n);
/* Expert i alone. */
struct matrix matrix_expert(const struct matrix *m, size_t i);

/* Columns first .. first + n of every row, `first` being where blocks and groups begin. */
struct matrix matrix_columns(const struct matrix *m, size_t first, size_t n);

/* Row `row` of the first expert as floats [n_cols], exactly as the format defines. */
void matrix_decode(const struct matrix *m, size_t row, float *out);

size_t matrix_scale_bytes(enum matrix_scale scale);

/* Scale (or bias) g of a row, which belongs to its elements [g * group, (g + 1) * group). */
float matrix_scale(const struct matrix *m, enum matrix_part_number part, size_t row, size_t g);

/* The first expert's, 1 where there are none. */
float matrix_factor(const struct matrix *m);

/* Where a row of the first expert begins in a part. */
static inline const void *matrix_row(const struct matrix *m, enum matrix_part_number part,
                                     size_t row)
{
    return (const char *)m->parts[part].data + row * m->parts[part].row_bytes;
}

#endif
