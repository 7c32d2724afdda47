/* The handles of matrices: a matrix stays where it is, and the kernels read it in place. A single
 * row may be a vector, which other operations want as floats. */
#include "backend/cpu/state.h"

#include <stdlib.h>

static bool is_computed_with(const struct matrix *m, struct error *err)
{
    if (!matrix_check(m, err))
        return false;
    if (m->n_experts < 1 || m->n_experts > BACKEND_MAX_EXPERTS)
        return error_set(err, ERROR_UNSUPPORTED, "a matrix of %zu experts", m->n_experts);
    return true;
}

/* In the backend's list. */
static struct backend_matrix *new_matrix(struct cpu *cpu)
{
    struct backend_matrix **list =
        realloc(cpu->matrices, (cpu->n_matrices + 1) * sizeof *list);
    if (list)
        cpu->matrices = list;
    struct backend_matrix *matrix = list ? calloc(1, sizeof *matrix) : NULL;
    if (matrix)
        cpu->matrices[cpu->n_matrices++] = matrix;
    return matrix;
}

static bool make_vector(struct backend_matrix *matrix)
{
    const void *data = matrix->m.parts[MATRIX_BLOCKS].data;
    if (matrix->m.type == QUANT_F32 && (uintptr_t)data % _Alignof(float) == 0) {
        matrix->vector = data;
        return true;
    }
    float *vector = malloc(matrix->m.n_cols * sizeof *vector);
    if (vector)
        matrix_decode(&matrix->m, 0, vector);
    matrix->memory = vector;
    matrix->vector = vector;
    return vector != NULL;
}

struct backend_matrix *cpu_matrix(struct backend *be, const struct matrix *m, struct error *err)
{
    struct cpu *cpu = (struct cpu *)be;
    const bool is_vector = m->n_rows == 1 && m->n_experts == 1;
    if (!is_computed_with(m, err))
        return NULL;
    struct backend_matrix *matrix = new_matrix(cpu);
    if (matrix)
        matrix->m = *m;
    if (matrix && (!is_vector || make_vector(matrix)))
        return matrix;
    error_set(err, ERROR_NO_MEMORY, "out of memory for a matrix of weights");
    return NULL;
}

void cpu_matrix_deinit(struct cpu *cpu)
{
    for (size_t i = 0; i < cpu->n_matrices; i++) {
        free(cpu->matrices[i]->memory);
        free(cpu->matrices[i]);
    }
    free(cpu->matrices);
}
