/* Mixtures of experts: rows are put in order of expert, so that an expert's weights are read once
 * for all of its rows, and those of an expert that nobody chose not at all. Its products are plain
 * ones over its rows, of which the bits do not depend on how many there are (kernels.h). */
#include "kernels/experts.h"

#include "backend/cpu/linear.h"

#include <assert.h>

static_assert((int)BACKEND_MAX_EXPERTS <= (int)EXPERTS_MAX &&
                  (int)BACKEND_MAX_EXPERTS_USED <= (int)EXPERTS_MAX_USED,
              "the kernels route as many");

enum { MAX_CHOICES = BACKEND_MAX_ROWS * BACKEND_MAX_EXPERTS_USED };

struct cpu_choices {
    int32_t experts[MAX_CHOICES]; /* [n_rows][n_used] */
    float weights[MAX_CHOICES];
    uint32_t place[MAX_CHOICES]; /* in order of expert */
    uint32_t first[BACKEND_MAX_EXPERTS + 1];
};

/* ---- memory ---- */

bool cpu_experts_init(struct cpu *cpu, struct error *err)
{
    cpu->choices = memory_map(sizeof *cpu->choices, "the rows' experts", err);
    return cpu->choices != NULL;
}

void cpu_experts_deinit(struct cpu *cpu)
{
    memory_unmap(cpu->choices, sizeof *cpu->choices);
}

void cpu_experts_give_back(struct cpu *cpu)
{
    memory_give_back(cpu->choices, sizeof *cpu->choices);
}

uint64_t cpu_experts_resident(const struct cpu *cpu)
{
    return cpu->choices ? memory_resident(cpu->choices, sizeof *cpu->choices) : 0;
}

/* ---- rows ---- */

struct mixture {
    const struct backend_experts *experts;
    struct cpu_choices *choices;
    const struct backend_activation *x, *scores;
    float *out;
};

static void route_rows(const struct cpu_row_job *job, uint32_t first, uint32_t n)
{
    const struct mixture *m = job->context;
    const size_t n_experts = m->scores->width, n_used = m->experts->n_used;
    experts_route(&job->cpu->kernels, m->scores->data + first * n_experts, n, n_experts, n_used,
                  m->experts->normalize, m->choices->experts + first * n_used,
                  m->choices->weights + first * n_used);
}

static void gather_rows(const struct cpu_row_job *job, uint32_t first, uint32_t n)
{
    const struct mixture *m = job->context;
    const size_t width = m->x->width, n_used = m->experts->n_used;
    experts_gather(m->x->data + first * width, width, n, n_used,
                   m->choices->place + first * n_used, m->experts->grouped->data);
}

static void scatter_rows(const struct cpu_row_job *job, uint32_t first, uint32_t n)
{
    const struct mixture *m = job->context;
    const size_t width = m->x->width, n_used = m->experts->n_used;
    experts_scatter(&job->cpu->kernels, m->experts->grouped->data, width, n, n_used,
                    m->choices->place + first * n_used, m->choices->weights + first * n_used,
                    m->out + first * width);
}

/* ---- products ---- */

/* n rows from place `first` on, all of expert e. */
static void multiply_group(struct cpu *cpu, size_t e, uint32_t first, uint32_t n, const float *x,
                           const struct backend_linear *outputs, uint32_t n_outputs)
{
    const size_t width = outputs->w->m.n_cols;
    struct linear_job job;
    linear_job_init(&job, cpu, x + first * width, (uint32_t)width, n);
    for (uint32_t i = 0; i < n_outputs; i++) {
        const struct matrix w = matrix_expert(&outputs[i].w->m, e);
        linear_add_output(&job, &w, NULL, outputs[i].y->data + first * w.n_rows);
    }
    linear_run(&job);
}

/* Products of x, all rows' in order of expert. */
static void multiply_groups(struct cpu *cpu, const float *x, const struct backend_linear *outputs,
                            uint32_t n_outputs)
{
    const struct cpu_choices *c = cpu->choices;
    for (size_t e = 0; e < outputs->w->m.n_experts; e++)
        for (uint32_t at = c->first[e], n; at < c->first[e + 1]; at += n) {
            n = c->first[e + 1] - at;
            if (n > BACKEND_MAX_ROWS) /* rows of NaN choose one expert again and again */
                n = BACKEND_MAX_ROWS;
            multiply_group(cpu, e, at, n, x, outputs, n_outputs);
        }
}

static void check_shapes(const struct mixture *m)
{
    const struct backend_experts *p = m->experts;
    const struct matrix *gate = &p->w_gate->m, *up = &p->w_up->m, *down = &p->w_down->m;
    assert(gate->n_experts == m->scores->width && up->n_experts == gate->n_experts &&
           down->n_experts == gate->n_experts);
    assert(gate->n_cols == m->x->width && up->n_cols == gate->n_cols &&
           up->n_rows == gate->n_rows && down->n_cols == gate->n_rows &&
           down->n_rows == gate->n_cols);
    assert(p->n_used >= 1 && p->n_used <= gate->n_experts && p->n_used <= EXPERTS_MAX_USED);
    assert(p->grouped->width == p->n_used * m->x->width &&
           p->gate->width == p->n_used * gate->n_rows && p->up->width == p->gate->width);
    (void)gate, (void)up, (void)down;
}

void cpu_experts(struct backend *be, const struct backend_activation *x,
                 const struct backend_activation *scores, const struct backend_experts *experts,
                 struct backend_activation *out)
{
    struct cpu *cpu = (struct cpu *)be;
    struct cpu_choices *c = cpu->choices;
    const struct mixture m = {experts, c, x, scores, out->data};
    const struct backend_linear gate_up[] = {{experts->w_gate, NULL, experts->gate},
                                             {experts->w_up, NULL, experts->up}};
    const struct backend_linear down = {experts->w_down, NULL, experts->grouped};
    const size_t n_floats = experts->grouped->width;
    check_shapes(&m);
    cpu_run_rows(cpu, cpu->n_rows, (size_t)8 * scores->width, route_rows, &m);
    experts_group(c->experts, cpu->n_rows, experts->n_used, scores->width, c->place, c->first);
    cpu_run_rows(cpu, cpu->n_rows, n_floats, gather_rows, &m);
    multiply_groups(cpu, experts->grouped->data, gate_up, 2);
    be->ops->swiglu(be, experts->gate, experts->up);
    multiply_groups(cpu, experts->gate->data, &down, 1);
    cpu_run_rows(cpu, cpu->n_rows, n_floats, scatter_rows, &m);
}
