/* The CPU backend: its making and end, the step, and the operations on rows one by one. Matrix
 * products, attention, KV pages and RoPE are in the files beside it. */
#include "backend/cpu/cpu.h"

#include "backend/cpu/state.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

static size_t activation_bytes(uint32_t width)
{
    return (size_t)BACKEND_MAX_ROWS * width * sizeof(float);
}

static void cpu_memory(const struct backend *be, struct backend_memory *out)
{
    const struct cpu *cpu = (const struct cpu *)be;
    *out = (struct backend_memory){.kv = cpu_kv_resident(cpu)};
    for (size_t i = 0; i < cpu->n_activations; i++)
        if (!cpu->activations[i]->is_within)
            out->activations += memory_resident(cpu->activations[i]->data,
                                                activation_bytes(cpu->activations[i]->width));
    out->buffers = cpu_kv_buffers_resident(cpu) + cpu_linear_resident(cpu) +
                   cpu_rope_resident(cpu) + cpu_experts_resident(cpu);
}

static void cpu_trim(struct backend *be)
{
    struct cpu *cpu = (struct cpu *)be;
    for (size_t i = 0; i < cpu->n_activations; i++)
        if (!cpu->activations[i]->is_within)
            memory_give_back(cpu->activations[i]->data,
                             activation_bytes(cpu->activations[i]->width));
    cpu_linear_give_back(cpu);
    cpu_experts_give_back(cpu);
}

/* In the backend's list, without memory. */
static struct backend_activation *add_activation(struct cpu *cpu, uint32_t width,
                                                 struct error *err)
{
    if (!cpu_linear_reserve(cpu, width, err))
        return NULL;
    struct backend_activation **list =
        realloc(cpu->activations, (cpu->n_activations + 1) * sizeof *list);
    if (list)
        cpu->activations = list;
    struct backend_activation *a = list ? calloc(1, sizeof *a) : NULL;
    if (!a) {
        error_set(err, ERROR_NO_MEMORY, "out of memory for activations");
        return NULL;
    }
    a->width = width;
    cpu->activations[cpu->n_activations++] = a;
    return a;
}

static struct backend_activation *cpu_activation(struct backend *be, uint32_t width,
                                                 struct error *err)
{
    struct backend_activation *a = add_activation((struct cpu *)be, width, err);
    if (a)
        a->data = memory_map(activation_bytes(width), "activations", err);
    return a && a->data ? a : NULL;
}

static struct backend_activation *cpu_activation_within(struct backend *be,
                                                        struct backend_activation *other,
                                                        uint32_t first, uint32_t width,
                                                        struct error *err)
{
    assert(first + width <= other->width);
    struct backend_activation *a = add_activation((struct cpu *)be, width, err);
    if (a) {
        a->data = other->data + (size_t)first * BACKEND_MAX_ROWS;
        a->is_within = true;
    }
    return a;
}

/* ---- rows in parallel ---- */

static void row_task(void *context, uint32_t i, uint32_t thread)
{
    const struct cpu_row_job *job = context;
    uint32_t first = i * job->chunk, n = job->n_rows - first;
    job->rows(job, first, n < job->chunk ? n : job->chunk);
}

void cpu_run_rows(struct cpu *cpu, uint32_t n_rows, size_t n_floats,
                  void (*rows)(const struct cpu_row_job *, uint32_t, uint32_t),
                  const void *context)
{
    enum { TASK_FLOATS = 8192 }; /* less is not worth another thread */
    struct cpu_row_job job = {cpu, rows, context, n_rows, 0};
    job.chunk = (uint32_t)(TASK_FLOATS / (n_floats + 1)) + 1;
    pool_run(cpu->pool, (n_rows + job.chunk - 1) / job.chunk, row_task, &job);
}

/* ---- the step ---- */

static void cpu_begin(struct backend *be, const struct backend_batch *batch)
{
    struct cpu *cpu = (struct cpu *)be;
    assert(batch->n_rows >= 1 && batch->n_rows <= BACKEND_MAX_ROWS);
    cpu->batch = batch;
    cpu->n_rows = batch->n_rows;
    cpu->n_batches++;
    cpu->n_segments = 0;
    for (uint32_t i = 0; i < batch->n_rows; i++) {
        const struct backend_row *row = &batch->rows[i];
        if (i && row->sequence == row[-1].sequence && row->position % BACKEND_PAGE_TOKENS)
            cpu->segments[cpu->n_segments - 1].n++;
        else
            cpu->segments[cpu->n_segments++] = (struct cpu_rows){i, 1, row->sequence};
    }
}

static bool cpu_end(struct backend *be, struct error *err)
{
    (void)err;
    ((struct cpu *)be)->batch = NULL;
    return true;
}

static void cpu_read(struct backend *be, const struct backend_activation *x, float *out)
{
    memcpy(out, x->data, (size_t)((struct cpu *)be)->n_rows * x->width * sizeof *out);
}

static void cpu_write(struct backend *be, struct backend_activation *x, const float *values)
{
    memcpy(x->data, values, (size_t)((struct cpu *)be)->n_rows * x->width * sizeof *values);
}

static uint32_t cpu_select(struct backend *be, const struct backend_activation *x,
                           struct backend_activation *out)
{
    struct cpu *cpu = (struct cpu *)be;
    const struct backend_batch *batch = cpu->batch;
    assert(x->width == out->width && cpu->n_rows == batch->n_rows);
    uint32_t n = 0;
    for (uint32_t i = 0; i < batch->n_rows; i++)
        if (batch->rows[i].wants_logits)
            memmove(out->data + (size_t)n++ * x->width, x->data + (size_t)i * x->width,
                    x->width * sizeof(float));
    cpu->n_rows = n;
    return n;
}

/* ---- one row after the other ---- */

struct embed_job {
    const struct matrix *table;
    float *out;
};

static void embed_rows(const struct cpu_row_job *job, uint32_t first, uint32_t n)
{
    const struct embed_job *e = job->context;
    for (uint32_t i = first; i < first + n; i++) {
        uint32_t token = (uint32_t)job->cpu->batch->rows[i].token;
        assert(token < e->table->n_rows);
        matrix_decode(e->table, token, e->out + i * e->table->n_cols);
    }
}

static void cpu_embed(struct backend *be, const struct backend_matrix *table,
                      struct backend_activation *out)
{
    struct cpu *cpu = (struct cpu *)be;
    assert(out->width == table->m.n_cols);
    const struct embed_job job = {&table->m, out->data};
    cpu_run_rows(cpu, cpu->n_rows, out->width, embed_rows, &job);
}

struct vector_job {
    float *out;
    const float *x, *w;
    float eps;
    size_t width, n_norm;
};

static void rms_norm_rows(const struct cpu_row_job *job, uint32_t first, uint32_t n)
{
    const struct vector_job *v = job->context;
    for (size_t i = first * v->width; i < (first + n) * v->width; i += v->n_norm)
        job->cpu->kernels.rms_norm(v->x + i, v->w, v->eps, v->out + i, v->n_norm);
}

static void cpu_rms_norm(struct backend *be, const struct backend_activation *x,
                         const struct backend_matrix *w, float eps, struct backend_activation *out)
{
    struct cpu *cpu = (struct cpu *)be;
    assert(x->width % w->m.n_cols == 0 && x->width == out->width && w->vector);
    const struct vector_job job = {out->data, x->data, w->vector, eps, x->width, w->m.n_cols};
    cpu_run_rows(cpu, cpu->n_rows, x->width, rms_norm_rows, &job);
}

static void add_rows(const struct cpu_row_job *job, uint32_t first, uint32_t n)
{
    const struct vector_job *v = job->context;
    job->cpu->kernels.add(v->out + first * v->width, v->x + first * v->width, n * v->width);
}

static void cpu_add(struct backend *be, struct backend_activation *x,
                    const struct backend_activation *y)
{
    struct cpu *cpu = (struct cpu *)be;
    assert(x->width == y->width);
    const struct vector_job job = {x->data, y->data, NULL, 0, x->width, 0};
    cpu_run_rows(cpu, cpu->n_rows, x->width, add_rows, &job);
}

struct scale_job {
    float *x;
    size_t width;
    const struct backend_scale *scale;
};

/* In double, so that the float is the same whatever libm rounds the logarithm to. */
static float scale_of_row(const struct cpu *cpu, uint32_t row, const struct backend_scale *scale)
{
    double factor = (double)scale->factor;
    if (scale->n_positions) {
        const uint32_t position = (uint32_t)cpu->batch->rows[row].position;
        factor *= 1 + (double)scale->stretch * log(1.0 + position / scale->n_positions);
    }
    return (float)factor;
}

/* One rounding of each element: no tier would give another bit. */
static void scale_rows(const struct cpu_row_job *job, uint32_t first, uint32_t n)
{
    const struct scale_job *s = job->context;
    for (uint32_t row = first; row < first + n; row++) {
        const float factor = scale_of_row(job->cpu, row, s->scale);
        float *x = s->x + row * s->width;
        for (size_t i = 0; i < s->width; i++)
            x[i] *= factor;
    }
}

static void cpu_scale(struct backend *be, struct backend_activation *x,
                      const struct backend_scale *scale)
{
    struct cpu *cpu = (struct cpu *)be;
    assert(!scale->n_positions || cpu->n_rows == cpu->batch->n_rows);
    const struct scale_job job = {x->data, x->width, scale};
    cpu_run_rows(cpu, cpu->n_rows, x->width, scale_rows, &job);
}

static void swiglu_rows(const struct cpu_row_job *job, uint32_t first, uint32_t n)
{
    const struct vector_job *v = job->context;
    job->cpu->kernels.swiglu(v->out + first * v->width, v->x + first * v->width, n * v->width);
}

static void cpu_swiglu(struct backend *be, struct backend_activation *gate,
                       const struct backend_activation *up)
{
    struct cpu *cpu = (struct cpu *)be;
    assert(gate->width == up->width);
    const struct vector_job job = {gate->data, up->data, NULL, 0, gate->width, 0};
    cpu_run_rows(cpu, cpu->n_rows, gate->width, swiglu_rows, &job);
}

static void geglu_rows(const struct cpu_row_job *job, uint32_t first, uint32_t n)
{
    const struct vector_job *v = job->context;
    job->cpu->kernels.geglu(v->out + first * v->width, v->x + first * v->width, n * v->width);
}

static void cpu_geglu(struct backend *be, struct backend_activation *gate,
                      const struct backend_activation *up)
{
    struct cpu *cpu = (struct cpu *)be;
    assert(gate->width == up->width);
    const struct vector_job job = {gate->data, up->data, NULL, 0, gate->width, 0};
    cpu_run_rows(cpu, cpu->n_rows, gate->width, geglu_rows, &job);
}

/* ---- making and end ---- */

static const char *cpu_describe(const struct backend *be)
{
    return ((const struct cpu *)be)->description;
}

/* The tier, and a number to raise with every change to the results or to the pages' layout. */
static const char *cpu_kv_identity(const struct backend *be)
{
    return ((const struct cpu *)be)->identity;
}

static void cpu_destroy(struct backend *be)
{
    struct cpu *cpu = (struct cpu *)be;
    for (size_t i = 0; i < cpu->n_activations; i++) {
        struct backend_activation *a = cpu->activations[i];
        if (!a->is_within)
            memory_unmap(a->data, activation_bytes(a->width));
        free(a);
    }
    free(cpu->activations);
    cpu_kv_deinit(cpu);
    cpu_rope_deinit(cpu);
    cpu_experts_deinit(cpu);
    cpu_linear_deinit(cpu);
    cpu_matrix_deinit(cpu);
    free(cpu->threads);
    pool_destroy(cpu->pool);
    free(cpu);
}

static const struct backend_ops cpu_ops = {
    .destroy = cpu_destroy,
    .describe = cpu_describe,
    .matrix = cpu_matrix,
    .activation = cpu_activation,
    .activation_within = cpu_activation_within,
    .kv_init = cpu_kv_init,
    .kv_page_bytes = cpu_kv_page_bytes,
    .kv_state_bytes = cpu_kv_state_bytes,
    .kv_identity = cpu_kv_identity,
    .kv_page_copy = cpu_kv_page_copy,
    .kv_state_clear = cpu_kv_state_clear,
    .kv_state_copy = cpu_kv_state_copy,
    .save_begin = cpu_save_begin,
    .save_bytes = cpu_save_bytes,
    .save_end = cpu_save_end,
    .load_begin = cpu_load_begin,
    .load_end = cpu_load_end,
    .memory = cpu_memory,
    .trim = cpu_trim,
    .begin = cpu_begin,
    .end = cpu_end,
    .read = cpu_read,
    .write = cpu_write,
    .embed = cpu_embed,
    .rms_norm = cpu_rms_norm,
    .linear = cpu_linear,
    .rope = cpu_rope,
    .kv_store = cpu_kv_store,
    .attend = cpu_attend,
    .add = cpu_add,
    .scale = cpu_scale,
    .swiglu = cpu_swiglu,
    .geglu = cpu_geglu,
    .experts = cpu_experts,
    .select = cpu_select,
    .logits = cpu_logits,
};

static bool choose_tier(const char *name, size_t *tier, struct error *err)
{
    *tier = kernels_tier_best();
    if (!name)
        return true;
    int found = kernels_tier_find(name);
    if (found < 0)
        return error_set(err, ERROR_USAGE, "there is no CPU tier '%s'", name);
    if (!kernels_tier_runs((size_t)found))
        return error_set(err, ERROR_USAGE, "this CPU cannot run the tier '%s'", name);
    *tier = (size_t)found;
    return true;
}

struct backend *backend_cpu_create(const struct backend_cpu_options *options, struct error *err)
{
    size_t tier;
    if (!choose_tier(options->tier, &tier, err))
        return NULL;
    struct cpu *cpu = calloc(1, sizeof *cpu);
    if (!cpu) {
        error_set(err, ERROR_NO_MEMORY, "out of memory for the CPU backend");
        return NULL;
    }
    cpu->base = (struct backend){&cpu_ops, {true, BACKEND_MAX_ROWS, KERNELS_TILE_TOKENS}};
    kernels_init(&cpu->kernels, tier);
    cpu->pool = pool_create(options->n_threads, options->pin, err);
    if (!cpu->pool) {
        free(cpu);
        return NULL;
    }
    uint32_t n_threads = pool_n_threads(cpu->pool);
    snprintf(cpu->description, sizeof cpu->description, "cpu %s, %u thread%s", cpu->kernels.tier,
             n_threads, n_threads == 1 ? "" : "s");
    snprintf(cpu->identity, sizeof cpu->identity, "cpu %s %d", cpu->kernels.tier,
             CPU_ARITHMETIC);
    cpu->threads = calloc(n_threads, sizeof *cpu->threads);
    if (!cpu->threads)
        error_set(err, ERROR_NO_MEMORY, "out of memory for the threads");
    if (!cpu->threads || !cpu_rope_init(cpu, err) || !cpu_experts_init(cpu, err)) {
        cpu_destroy(&cpu->base);
        return NULL;
    }
    return &cpu->base;
}
