/* Mixtures of experts: rows are put in order of expert, so that an expert's weights are read once
 * for all of its rows, and those of an expert that nobody chose not at all. What an expert has to
 * do is little, so many are done side by side: a wave is as many experts' rows as are quantized at
 * a time, and each of its steps (activations, gate and up, activations, down) is one job of the
 * threads. The products are plain ones, whose bits do not depend on how many rows there are
 * (kernels.h). */
#include "kernels/experts.h"

#include "backend/cpu/linear.h"

#include <assert.h>

static_assert((int)BACKEND_MAX_EXPERTS <= (int)EXPERTS_MAX &&
                  (int)BACKEND_MAX_EXPERTS_USED <= (int)EXPERTS_MAX_USED,
              "the kernels route as many");

enum {
    MAX_CHOICES = BACKEND_MAX_ROWS * BACKEND_MAX_EXPERTS_USED,
    WAVE_SLOTS = BACKEND_MAX_ROWS, /* of one wave, and so many groups at the most */
    TASKS_PER_THREAD = 32,         /* of a wave's products, so that its end is short */
};

/* Rows of one expert in a wave. */
struct experts_group {
    uint32_t expert, place, slot; /* place: of its first row, in order of expert */
    uint32_t first_task;
    struct linear_input in;
    struct linear_output outputs[2]; /* gate and up, or down */
};

struct cpu_choices {
    int32_t experts[MAX_CHOICES]; /* [n_rows][n_used] */
    float weights[MAX_CHOICES];
    uint32_t place[MAX_CHOICES];  /* in order of expert */
    uint32_t tokens[MAX_CHOICES]; /* [place] */
    uint32_t first[BACKEND_MAX_EXPERTS + 1];
    struct experts_group groups[WAVE_SLOTS]; /* of the wave at hand */
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
    struct cpu *cpu;
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

static void scatter_rows(const struct cpu_row_job *job, uint32_t first, uint32_t n)
{
    const struct mixture *m = job->context;
    const size_t width = m->x->width, n_used = m->experts->n_used;
    experts_scatter(&job->cpu->kernels, m->experts->grouped->data, width, n, n_used,
                    m->choices->place + first * n_used, m->choices->weights + first * n_used,
                    m->out + first * width);
}

/* ---- waves ---- */

struct wave {
    const struct mixture *mixture;
    struct experts_group *groups;
    uint32_t n_groups, n_slots;
    uint32_t n_outputs; /* of each group, in the step at hand */
};

static void wave_add(struct wave *w, uint32_t expert, uint32_t place, uint32_t n)
{
    struct experts_group *g = &w->groups[w->n_groups++];
    g->expert = expert;
    g->place = place;
    g->slot = w->n_slots;
    g->in.n_tokens = n;
    w->n_slots += linear_slots(n);
}

/* The group that task i of all belongs to. */
static const struct experts_group *wave_group_of(const struct wave *w, uint32_t i)
{
    uint32_t low = 0, high = w->n_groups;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (w->groups[middle].first_task <= i)
            low = middle;
        else
            high = middle;
    }
    return &w->groups[low];
}

static void wave_input(const struct wave *w, struct experts_group *g, const float *x,
                       const uint32_t *rows, uint32_t width)
{
    g->in = linear_input_of(w->mixture->cpu, x, rows, width, g->in.n_tokens);
    g->in.slot = g->slot;
}

static void wave_output(const struct wave *w, struct experts_group *g, uint32_t i,
                        const struct backend_matrix *experts, struct backend_activation *y)
{
    struct cpu *cpu = w->mixture->cpu;
    const struct matrix m = matrix_expert(&experts->m, g->expert);
    g->outputs[i] = linear_output_of(cpu, &m, NULL, y->data + g->place * m.n_rows);
    linear_need(&cpu->quantized, &g->outputs[i]);
}

/* ---- activations ---- */

static void quantize_task(void *context, uint32_t i, uint32_t thread)
{
    const struct wave *w = context;
    const struct experts_group *g = wave_group_of(w, i);
    linear_quantize_part(&g->in, i - g->first_task, thread);
}

/* What gate and up have given, through the unit and quantized; tiles for float weights have other
 * borders, and wait until all is done. */
static void activate_task(void *context, uint32_t i, uint32_t thread)
{
    const struct wave *w = context;
    const struct mixture *m = w->mixture;
    const struct experts_group *g = wave_group_of(w, i);
    const uint32_t part = i - g->first_task;
    const uint32_t step = g->in.few ? 1 : KERNELS_TILE_TOKENS;
    const uint32_t first = part * step, n_left = g->in.n_tokens - first;
    const size_t at = (g->place + first) * g->in.width;
    m->cpu->kernels.swiglu(m->experts->gate->data + at, m->experts->up->data + at,
                           (n_left < step ? n_left : step) * g->in.width);
    if (!m->cpu->quantized.needs_floats)
        linear_quantize_part(&g->in, part, thread);
}

static void wave_run_parts(struct wave *w, void (*task)(void *, uint32_t, uint32_t))
{
    enum { FEW_FLOATS = 16384 }; /* are not worth another thread */
    struct pool *pool = w->mixture->cpu->pool;
    uint32_t n_tasks = 0;
    size_t n_floats = 0;
    for (uint32_t i = 0; i < w->n_groups; i++) {
        w->groups[i].first_task = n_tasks;
        n_tasks += linear_n_parts(&w->groups[i].in);
        n_floats += w->groups[i].in.n_tokens * w->groups[i].in.width;
    }
    if (n_floats > FEW_FLOATS)
        pool_run_parts(pool, n_tasks, task, w);
    for (uint32_t i = 0; i < n_tasks && n_floats <= FEW_FLOATS; i++)
        task(w, i, 0);
}

/* ---- products ---- */

static void product_task(void *context, uint32_t i, uint32_t thread)
{
    const struct wave *w = context;
    const struct experts_group *g = wave_group_of(w, i);
    const struct linear_output *out = g->outputs;
    if (w->n_outputs > 1 && i >= out[1].first_task)
        out++;
    linear_task(&g->in, out, i - out->first_task, thread);
}

/* Neighbours are parts of one matrix, which is how memory streams. */
static void wave_multiply(struct wave *w)
{
    struct pool *pool = w->mixture->cpu->pool;
    const size_t n_matrices = (size_t)w->n_groups * w->n_outputs;
    const size_t n_wanted = TASKS_PER_THREAD * pool_n_threads(pool) / n_matrices + 1;
    uint32_t n_tasks = 0;
    for (uint32_t i = 0; i < w->n_groups; i++) {
        struct experts_group *g = &w->groups[i];
        g->first_task = n_tasks;
        for (uint32_t k = 0; k < w->n_outputs; k++) {
            g->outputs[k].first_task = n_tasks;
            n_tasks += linear_deal(&g->in, &g->outputs[k], n_wanted, POOL_MAX_TASKS / n_matrices);
        }
    }
    pool_run_parts(pool, n_tasks, product_task, w);
}

/* ---- the steps of a wave ---- */

static void wave_gate_up(struct wave *w)
{
    const struct mixture *m = w->mixture;
    const struct backend_experts *p = m->experts;
    struct cpu *cpu = m->cpu;
    /* few rows are quantized once for all of their experts */
    const bool is_shared = cpu->n_rows <= LINEAR_FEW_ROWS;
    w->n_outputs = 2;
    linear_need_nothing(&cpu->quantized);
    for (uint32_t i = 0; i < w->n_groups; i++) {
        struct experts_group *g = &w->groups[i];
        wave_input(w, g, m->x->data, m->choices->tokens + g->place, m->x->width);
        g->in.is_shared = is_shared;
        g->in.few |= is_shared;
        wave_output(w, g, 0, p->w_gate, p->gate);
        wave_output(w, g, 1, p->w_up, p->up);
    }
    if (!is_shared)
        wave_run_parts(w, quantize_task);
    const struct linear_input all =
        linear_input_of(cpu, m->x->data, NULL, m->x->width, cpu->n_rows);
    for (uint32_t i = 0; i < cpu->n_rows && is_shared; i++)
        linear_quantize_part(&all, i, 0);
    wave_multiply(w);
}

static void wave_down(struct wave *w)
{
    const struct mixture *m = w->mixture;
    const struct backend_experts *p = m->experts;
    const uint32_t n_ff = (uint32_t)p->w_down->m.n_cols;
    w->n_outputs = 1;
    linear_need_nothing(&m->cpu->quantized);
    for (uint32_t i = 0; i < w->n_groups; i++) {
        struct experts_group *g = &w->groups[i];
        wave_input(w, g, p->gate->data + g->place * n_ff, NULL, n_ff);
        wave_output(w, g, 0, p->w_down, p->grouped);
    }
    wave_run_parts(w, activate_task);
    if (m->cpu->quantized.needs_floats)
        wave_run_parts(w, quantize_task);
    wave_multiply(w);
}

static void wave_run(struct wave *w)
{
    if (!w->n_groups)
        return;
    wave_gate_up(w);
    wave_down(w);
    w->n_groups = w->n_slots = 0;
}

static void run_waves(const struct mixture *m)
{
    const struct cpu_choices *c = m->choices;
    struct wave w = {.mixture = m, .groups = m->choices->groups};
    for (uint32_t e = 0; e < m->scores->width; e++)
        for (uint32_t at = c->first[e], n; at < c->first[e + 1]; at += n) {
            n = c->first[e + 1] - at;
            if (n > BACKEND_MAX_ROWS) /* rows of NaN choose one expert again and again */
                n = BACKEND_MAX_ROWS;
            if (w.n_slots + linear_slots(n) > WAVE_SLOTS)
                wave_run(&w);
            wave_add(&w, e, at, n);
        }
    wave_run(&w);
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
    const struct mixture m = {cpu, experts, c, x, scores, out->data};
    check_shapes(&m);
    cpu_run_rows(cpu, cpu->n_rows, (size_t)8 * scores->width, route_rows, &m);
    experts_group(c->experts, cpu->n_rows, experts->n_used, scores->width, c->place, c->first,
                  c->tokens);
    run_waves(&m);
    cpu_run_rows(cpu, cpu->n_rows, experts->grouped->width, scatter_rows, &m);
}
