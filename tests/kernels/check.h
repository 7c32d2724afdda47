/* Data for the kernels' checks and benches: weights of every type, activations in every layout. */
#ifndef PENSIEVE_TESTS_KERNELS_CHECK_H
#define PENSIEVE_TESTS_KERNELS_CHECK_H

#include "kernels/kernels.h"
#include "quant/quant.h"

enum check_pattern {
    CHECK_RANDOM,  /* about normal, a few outliers */
    CHECK_EXTREME, /* every value the largest or the smallest there is */
    CHECK_ZEROS,
    CHECK_TINY,    /* down to where scales become subnormal */
    CHECK_N_PATTERNS,
};

struct check_type {
    enum quant_type type;
    const char *name;
    uint32_t block_elements, block_bytes;
};
/* Block types, float types, packed types, packed floats. */
extern const struct check_type check_types[], check_float_types[], check_packed_types[],
    check_packed_float_types[];
extern const size_t check_n_types, check_n_float_types, check_n_packed_types,
    check_n_packed_float_types;

uint32_t check_random(void);
float *check_floats(size_t n, int pattern); /* [n], not aligned to more than 4 bytes */

/* n_rows rows of n elements of a block or float type. */
struct check_weights {
    const struct check_type *type;
    struct matrix m;
    void *memory[MATRIX_N_PARTS]; /* each part ends where its memory ends */
    size_t n_rows, n_blocks;
};
void check_weights_init(struct check_weights *w, const struct check_type *type, size_t n_rows,
                        size_t n, int pattern, size_t misalign);
/* The same of a packed type. */
void check_packed_init(struct check_weights *w, const struct check_type *type,
                       enum matrix_scale scale, uint32_t group, size_t n_rows, size_t n_blocks,
                       int pattern);
void check_weights_deinit(struct check_weights *w);
/* An element of an affine type, as its words of 32 bits say. */
float check_affine_value(const struct check_weights *w, size_t row, size_t i);

struct kernels_panel check_panel(size_t n_places);
void check_panel_deinit(struct kernels_panel *panel);

/* Quantized activations by rows (n_tile 0) or by tiles of n_tile tokens, with corrections of
 * `offset`. */
struct check_x {
    int8_t *q;
    float *d, *s;
    int32_t *half[2], *c[2]; /* sums, and corrections of blocks or of halves */
    float *sh[2], *e;
    size_t n_places; /* of one token */
};
void check_x_init(struct check_x *x, const struct kernels *k, const float *floats, size_t n_tokens,
                  size_t n_blocks, size_t n_tile);
/* By rows: into the order of the tier's row kernels, before the corrections. */
void check_x_arrange(const struct check_x *x, const struct kernels *k, size_t n_tokens);
void check_x_correct(struct check_x *x, size_t n, enum kernels_form form, int32_t offset);
struct kernels_row_x check_x_row(const struct check_x *x, size_t t);
struct kernels_tile_x check_x_tile(const struct check_x *x, size_t t); /* that begins with t */
void check_x_deinit(struct check_x *x);

/* y[n_tokens][n_rows] */
void check_rows_product(const struct kernels *k, const struct check_weights *w, const float *x,
                        size_t n_tokens, float *y);
void check_panel_product(const struct kernels *k, const struct check_weights *w, const float *x,
                         size_t n_tokens, float *y);

void *check_alloc(size_t n_bytes); /* zeroed, aligned to 64; ends the program when out of memory */

#endif
