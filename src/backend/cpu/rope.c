/* RoPE: angles in double precision, once per batch and set of parameters, so that position 30,000
 * is as exact as position 3. */
#include "backend/cpu/state.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

static const size_t table_floats = (size_t)BACKEND_MAX_ROWS * CPU_ROPE_MAX_PAIRS;

bool cpu_rope_init(struct cpu *cpu, struct error *err)
{
    for (int i = 0; i < CPU_ROPE_SLOTS; i++) {
        struct cpu_rope_table *t = &cpu->rope[i];
        t->frequencies = calloc(CPU_ROPE_MAX_PAIRS, sizeof *t->frequencies);
        if (!t->frequencies)
            return error_set(err, ERROR_NO_MEMORY, "out of memory for RoPE");
        t->cos = memory_map(2 * table_floats * sizeof(float), "RoPE", err);
        if (!t->cos)
            return false;
        t->sin = t->cos + table_floats;
    }
    return true;
}

void cpu_rope_deinit(struct cpu *cpu)
{
    for (int i = 0; i < CPU_ROPE_SLOTS; i++) {
        free(cpu->rope[i].frequencies);
        memory_unmap(cpu->rope[i].cos, 2 * table_floats * sizeof(float));
    }
}

uint64_t cpu_rope_resident(const struct cpu *cpu)
{
    uint64_t n = 0;
    for (int i = 0; i < CPU_ROPE_SLOTS; i++)
        n += memory_resident(cpu->rope[i].cos, 2 * table_floats * sizeof(float));
    return n;
}

static bool same_params(const struct backend_rope_params *a, const struct backend_rope_params *b)
{
    return a->n_dims == b->n_dims && a->freq_base == b->freq_base &&
           a->freq_scale == b->freq_scale && a->factors == b->factors &&
           a->magnitude == b->magnitude && a->yarn.n_ctx_original == b->yarn.n_ctx_original &&
           a->yarn.beta_fast == b->yarn.beta_fast && a->yarn.beta_slow == b->yarn.beta_slow;
}

/* The pair, as a real number, that turns `turns` times within YaRN's original context. */
static double yarn_pair(const struct backend_rope_params *params, double turns)
{
    const double two_pi = 6.283185307179586;
    return params->n_dims * log(params->yarn.n_ctx_original / (turns * two_pi)) /
           (2 * log((double)params->freq_base));
}

/* How much of freq_scale pair i gets: 0 for fast ones, 1 for slow ones. */
static double yarn_ramp(const struct backend_rope_params *params, uint32_t i)
{
    double first = fmax(floor(yarn_pair(params, (double)params->yarn.beta_fast)), 0);
    double last =
        fmin(ceil(yarn_pair(params, (double)params->yarn.beta_slow)), params->n_dims - 1.0);
    return fmin(fmax((i - first) / fmax(last - first, 0.001), 0), 1);
}

static void set_frequencies(struct cpu_rope_table *t, const struct backend_rope_params *params)
{
    t->params = *params;
    t->batch = 0;
    t->has_frequencies = true;
    for (uint32_t i = 0; i < params->n_dims / 2; i++) {
        double f = pow((double)params->freq_base, -2.0 * i / params->n_dims);
        double scaled = params->yarn.n_ctx_original ? yarn_ramp(params, i) : 1;
        t->frequencies[i] = f * (1 - scaled + scaled * (double)params->freq_scale);
        if (params->factors)
            t->frequencies[i] /= (double)params->factors[i];
    }
}

static void table_rows(const struct cpu_row_job *job, uint32_t first, uint32_t n)
{
    const struct cpu_rope_table *t = job->context;
    const uint32_t n_pairs = t->params.n_dims / 2;
    const double magnitude = (double)t->params.magnitude;
    for (uint32_t row = first; row < first + n; row++) {
        double position = job->cpu->batch->rows[row].position;
        for (uint32_t i = 0; i < n_pairs; i++) {
            t->cos[row * n_pairs + i] = (float)(magnitude * cos(position * t->frequencies[i]));
            t->sin[row * n_pairs + i] = (float)(magnitude * sin(position * t->frequencies[i]));
        }
    }
}

/* The table of these parameters for the current batch, made if it is not there. */
static const struct cpu_rope_table *find_table(struct cpu *cpu,
                                               const struct backend_rope_params *params)
{
    struct cpu_rope_table *t = NULL;
    for (int i = 0; i < CPU_ROPE_SLOTS && !t; i++)
        if (cpu->rope[i].has_frequencies && same_params(&cpu->rope[i].params, params))
            t = &cpu->rope[i];
    if (!t) {
        t = &cpu->rope[0];
        for (int i = 1; i < CPU_ROPE_SLOTS; i++) /* the one that has not been used for longest */
            if (cpu->rope[i].batch < t->batch || !cpu->rope[i].has_frequencies)
                t = &cpu->rope[i];
        set_frequencies(t, params);
    }
    if (t->batch != cpu->n_batches) {
        enum { FLOATS_PER_SINE = 32 }; /* of work */
        cpu_run_rows(cpu, cpu->n_rows, (size_t)params->n_dims * FLOATS_PER_SINE, table_rows, t);
        t->batch = cpu->n_batches;
    }
    return t;
}

struct rope_job {
    const struct cpu_rope_table *table;
    float *x;
    uint32_t n_heads, head_dim;
    enum backend_rope kind;
};

static void rotate_rows(const struct cpu_row_job *job, uint32_t first, uint32_t n)
{
    const struct rope_job *r = job->context;
    const struct kernels *k = &job->cpu->kernels;
    const size_t n_pairs = r->table->params.n_dims / 2;
    for (size_t row = first; row < first + n; row++) {
        const float *cos = r->table->cos + row * n_pairs, *sin = r->table->sin + row * n_pairs;
        for (size_t h = 0; h < r->n_heads; h++) {
            float *x = r->x + (row * r->n_heads + h) * r->head_dim;
            if (r->kind == BACKEND_ROPE_PAIRS)
                k->rope_pairs(x, cos, sin, n_pairs);
            else
                k->rope_halves(x, x + n_pairs, cos, sin, n_pairs);
        }
    }
}

void cpu_rope(struct backend *be, struct backend_activation *x, uint32_t n_heads, uint32_t head_dim,
              const struct backend_rope_params *params)
{
    struct cpu *cpu = (struct cpu *)be;
    assert(x->width == n_heads * head_dim && params->n_dims <= head_dim);
    assert(params->n_dims <= 2 * CPU_ROPE_MAX_PAIRS && params->magnitude > 0);
    const struct rope_job job = {find_table(cpu, params), x->data, n_heads, head_dim, params->kind};
    cpu_run_rows(cpu, cpu->n_rows, x->width, rotate_rows, &job);
}
