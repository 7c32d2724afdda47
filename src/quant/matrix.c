/* See matrix.h. */
#include "quant/matrix.h"

struct matrix matrix_of_blocks(enum quant_type type, size_t n_cols, size_t n_rows,
                               size_t n_experts, const void *data)
{
    const size_t row_bytes = quant_row_bytes(type, n_cols);
    return (struct matrix){
        .type = type,
        .n_cols = n_cols,
        .n_rows = n_rows,
        .n_experts = n_experts,
        .parts = {[MATRIX_BLOCKS] = {data, row_bytes, row_bytes * n_rows}},
    };
}

struct matrix matrix_rows(const struct matrix *m, size_t first, size_t n)
{
    struct matrix rows = *m;
    rows.n_rows = n;
    for (int i = 0; i < MATRIX_N_PARTS; i++)
        if (m->parts[i].data)
            rows.parts[i].data = matrix_row(m, (enum matrix_part_number)i, first);
    return rows;
}

struct matrix matrix_expert(const struct matrix *m, size_t i)
{
    struct matrix expert = *m;
    expert.n_experts = 1;
    for (int part = 0; part < MATRIX_N_PARTS; part++)
        if (m->parts[part].data)
            expert.parts[part].data =
                (const char *)m->parts[part].data + i * m->parts[part].expert_bytes;
    return expert;
}

void matrix_decode(const struct matrix *m, size_t row, float *out)
{
    quant_traits(m->type)->decode(matrix_row(m, MATRIX_BLOCKS, row), out, m->n_cols);
}
