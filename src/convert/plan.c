/* See plan.h. */
#include "convert/plan.h"

#include <stdlib.h>
#include <string.h>

void plan_init(struct plan *p, const struct weights *w, const struct target *target)
{
    *p = (struct plan){.w = w, .target = target, .group = 64};
    arena_init(&p->arena, SIZE_MAX / 4);
}

void plan_deinit(struct plan *p)
{
    for (size_t i = 0; i < p->n_files; i++)
        buf_deinit(&p->files[i].head);
    free(p->files);
    free(p->tensors);
    arena_deinit(&p->arena);
    *p = (struct plan){0};
}

static bool no_memory(struct error *err)
{
    return error_set(err, ERROR_NO_MEMORY, "out of memory for what is to be made");
}

struct plan_tensor *plan_add(struct plan *p, const char *name, const char *gguf_name,
                             struct error *err)
{
    if (p->n_tensors == p->n_tensors_room) {
        const size_t n_room = p->n_tensors_room ? 2 * p->n_tensors_room : 256;
        void *tensors = realloc(p->tensors, n_room * sizeof *p->tensors);
        if (!tensors) {
            no_memory(err);
            return NULL;
        }
        p->tensors = tensors;
        p->n_tensors_room = n_room;
    }
    struct plan_tensor t = {.name = arena_copy(&p->arena, name, strlen(name)),
                            .gguf_name = arena_copy(&p->arena, gguf_name, strlen(gguf_name)),
                            .shape = {1, 1, 1, 1}};
    if (!t.name || !t.gguf_name) {
        no_memory(err);
        return NULL;
    }
    p->tensors[p->n_tensors] = t;
    return &p->tensors[p->n_tensors++];
}

bool plan_reserve_pieces(struct plan *p, struct plan_tensor *t, size_t n, struct error *err)
{
    t->n_pieces = 0;
    t->pieces = arena_array(&p->arena, n, sizeof *t->pieces);
    return t->pieces || no_memory(err);
}

bool plan_take(struct plan *p, struct plan_tensor *t, const struct weights_tensor *input,
               struct error *err)
{
    struct matrix m;
    if (!weights_matrix(p->w, input->name, &m))
        return error_set(err, ERROR_UNSUPPORTED, "tensor %.72s is %s, which holds no weights",
                         input->name, input->type_name);
    if (!matrix_check(&m, err))
        return error_prefix(err, "tensor %.72s", input->name);
    if (!plan_reserve_pieces(p, t, m.n_experts, err))
        return false;
    for (size_t e = 0; e < m.n_experts; e++)
        t->pieces[t->n_pieces++] = matrix_expert(&m, e);
    t->n_dims = input->n_dims;
    memcpy(t->shape, input->shape, sizeof t->shape);
    return true;
}

bool plan_take_values(struct plan *p, struct plan_tensor *t, const float *values, size_t n,
                      struct error *err)
{
    if (!plan_reserve_pieces(p, t, 1, err))
        return false;
    t->pieces[t->n_pieces++] = matrix_of_blocks(QUANT_F32, n, 1, 1, values);
    t->n_dims = 1;
    t->shape[0] = n;
    return true;
}

uint64_t plan_source_row(const struct plan_tensor *t, uint64_t row)
{
    const uint64_t n = t->head_dim, i = n ? row % n : 0;
    switch (t->order) {
    case PLAN_TO_TURNS:
        return row - i + i % 2 * (n / 2) + i / 2;
    case PLAN_TO_HALVES:
        return row - i + i % (n / 2) * 2 + i / (n / 2);
    default:
        return row;
    }
}

bool plan_reorder_vector(struct plan *p, struct plan_tensor *t, struct error *err)
{
    const size_t n = (size_t)t->shape[0];
    float *values = arena_array(&p->arena, 2 * n, sizeof *values);
    if (!values)
        return no_memory(err);
    matrix_decode(&t->pieces[0], 0, values + n);
    for (size_t i = 0; i < n; i++)
        values[i] = values[n + plan_source_row(t, i)];
    t->order = PLAN_AS_THEY_ARE;
    return plan_take_values(p, t, values, n, err);
}

bool plan_take_importance(struct plan *p, struct plan_tensor *t, struct error *err)
{
    size_t n = 0;
    t->importance = p->importance ? importance_find(p->importance, t->gguf_name, &n) : NULL;
    const uint64_t n_wanted = t->shape[0] * t->shape[2] * t->shape[3];
    if (!t->importance || n == n_wanted)
        return true;
    return error_set(err, ERROR_FORMAT,
                     "the importance matrix has %zu values for %.72s, which has %llu columns", n,
                     t->gguf_name, (unsigned long long)n_wanted);
}

struct plan_file *plan_add_file(struct plan *p, const char *name, struct buf *text,
                                struct error *err)
{
    struct plan_file *files = realloc(p->files, (p->n_files + 1) * sizeof *files);
    const char *copy = arena_copy(&p->arena, name, strlen(name));
    if (files)
        p->files = files;
    if (!files || !copy || buf_failed(text)) {
        no_memory(err);
        return NULL;
    }
    struct plan_file *file = &p->files[p->n_files++];
    *file = (struct plan_file){copy, *text, text->len};
    buf_init(text, text->max);
    return file;
}
