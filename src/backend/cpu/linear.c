/* Matrix products: the activations are quantized once for all outputs, then rows of weights are
 * dealt to the threads. Few tokens stream the weights row by row; many unpack a panel of rows once
 * and multiply it with every tile of tokens. Both give the same bits (kernels.h). */
#include "backend/cpu/linear.h"

#include <assert.h>
#include <string.h>

enum {
    FEW_ROWS = 5,          /* batches up to this stream the weights */
    TASK_BYTES = 32 << 10, /* of weights streamed by one task */
    TASKS_PER_THREAD = 8,  /* at least, so that a late thread costs little */
};

static size_t n_blocks_of(size_t width)
{
    return (width + KERNELS_BLOCK - 1) / KERNELS_BLOCK;
}

/* Places of one row of activations, or of one token of a tile. */
static size_t n_places_of(size_t width)
{
    return kernels_strand_room(n_blocks_of(width)) * KERNELS_STRANDS;
}

/* ---- memory ---- */

void cpu_linear_deinit(struct cpu *cpu)
{
    memory_unmap(cpu->quantized.memory, cpu->quantized.n_bytes);
    memory_unmap(cpu->quantized.floats, cpu->quantized.n_float_bytes);
    for (uint32_t i = 0; cpu->threads && i < pool_n_threads(cpu->pool); i++)
        memory_unmap(cpu->threads[i].panels, cpu->threads[i].n_panel_bytes);
}

uint64_t cpu_linear_resident(const struct cpu *cpu)
{
    const struct cpu_quantized *x = &cpu->quantized;
    uint64_t n = memory_resident(x->memory, x->memory ? x->n_bytes : 0) +
                 memory_resident(x->floats, x->floats ? x->n_float_bytes : 0);
    for (uint32_t i = 0; i < pool_n_threads(cpu->pool); i++)
        n += memory_resident(cpu->threads[i].panels, cpu->threads[i].n_panel_bytes);
    return n;
}

void cpu_linear_give_back(struct cpu *cpu)
{
    struct cpu_quantized *x = &cpu->quantized;
    if (!x->max_width)
        return;
    memory_give_back(x->memory, x->n_bytes);
    memory_give_back(x->floats, x->n_float_bytes);
}

/* Room for unpacked weights, by thread. */
static bool reserve_threads(struct cpu *cpu, size_t width, struct error *err)
{
    size_t n_bytes = LINEAR_PANEL_BYTES;
    for (int form = KERNELS_FLOAT; form < KERNELS_N_FORMS; form++) {
        const size_t n = linear_panel_bytes((enum kernels_form)form, width);
        n_bytes = n > n_bytes ? n : n_bytes;
    }
    for (uint32_t i = 0; i < pool_n_threads(cpu->pool); i++) {
        struct cpu_thread *t = &cpu->threads[i];
        memory_unmap(t->panels, t->n_panel_bytes);
        t->n_panel_bytes = n_bytes;
        t->panels = memory_map(n_bytes, "unpacked weights", err);
        if (!t->panels)
            return false;
    }
    return true;
}

bool cpu_linear_reserve(struct cpu *cpu, uint32_t width, struct error *err)
{
    struct cpu_quantized *x = &cpu->quantized;
    if (x->max_width >= width)
        return true;
    const size_t n = n_places_of(width) * CPU_N_TILES * KERNELS_TILE_TOKENS;
    const size_t n_words = 7 + 2 * CPU_N_CORRECTIONS; /* d, s, sums of halves, e, corrections */
    if (!reserve_threads(cpu, width, err))
        return false;
    memory_unmap(x->floats, x->n_float_bytes);
    memory_unmap(x->memory, x->n_bytes);
    x->memory = NULL;
    x->max_width = 0;
    x->n_float_bytes =
        BACKEND_MAX_ROWS / KERNELS_FLOAT_TOKENS * linear_panel_bytes(KERNELS_FLOAT, width);
    x->floats = memory_map(x->n_float_bytes, "activations side by side", err);
    if (!x->floats)
        return false;
    x->n_bytes = n * (KERNELS_BLOCK + n_words * sizeof(float));
    x->memory = memory_map(x->n_bytes, "quantized activations", err);
    if (!x->memory)
        return false;
    x->blocks.q = x->memory;
    x->blocks.d = (float *)((char *)x->memory + n * KERNELS_BLOCK);
    x->blocks.s = x->blocks.d + n;
    x->blocks.half[0] = (int32_t *)(x->blocks.s + n);
    x->blocks.half[1] = x->blocks.half[0] + n;
    x->e = (float *)(x->blocks.half[1] + n);
    for (int h = 0; h < 2; h++)
        x->sh[h] = x->e + (size_t)(1 + h) * n;
    for (int i = 0; i < CPU_N_CORRECTIONS; i++)
        for (int h = 0; h < 2; h++)
            x->corrections[i].c[h] = (int32_t *)x->e + (3 + 2 * i + h) * n;
    x->max_width = width;
    return true;
}

/* ---- activations ---- */

/* The place arrays from `first` on. */
static struct kernels_blocks blocks_at(const struct kernels_blocks *b, size_t first, size_t strand,
                                       size_t step)
{
    return (struct kernels_blocks){b->q + first * KERNELS_BLOCK,
                                   b->d + first,
                                   b->s + first,
                                   {b->half[0] + first, b->half[1] + first},
                                   strand,
                                   step};
}

static void correct(const struct cpu_quantized *x, size_t first, size_t n)
{
    const int32_t *low = x->blocks.half[0] + first, *high = x->blocks.half[1] + first;
    for (int i = 0; i < CPU_N_CORRECTIONS; i++) {
        const struct cpu_correction *c = &x->corrections[i];
        int32_t *c0 = c->c[0] + first, *c1 = c->c[1] + first;
        if (!c->used)
            continue;
        for (size_t p = 0; p < n; p++)
            c0[p] = -c->offset * (c->halves ? low[p] : low[p] + high[p]);
        for (size_t p = 0; p < n && c->halves; p++)
            c1[p] = -c->offset * high[p];
    }
    for (size_t p = first; p < first + n && x->needs_halves; p++)
        for (int h = 0; h < 2; h++)
            x->sh[h][p] = x->blocks.d[p] * (float)x->blocks.half[h][p];
}

static void quantize_to(const struct linear_job *job, uint32_t row,
                        const struct kernels_blocks *out)
{
    job->cpu->kernels.quantize(job->x + row * job->width, job->n_blocks, out);
}

/* One row, arranged for the row kernels; the room behind its last block becomes zeros. */
static void quantize_row(const struct linear_job *job, uint32_t row)
{
    const struct cpu_quantized *x = &job->cpu->quantized;
    const size_t first = row * job->n_places, n_tail = job->n_places - job->n_blocks;
    const struct kernels_blocks all = blocks_at(&x->blocks, first, 1, KERNELS_STRANDS);
    const struct kernels_blocks tail =
        blocks_at(&x->blocks, first + job->n_blocks, 1, KERNELS_STRANDS);
    quantize_to(job, row, &all);
    memset(tail.q, 0, n_tail * KERNELS_BLOCK);
    memset(tail.d, 0, n_tail * sizeof *tail.d);
    memset(tail.s, 0, n_tail * sizeof *tail.s);
    for (int h = 0; h < 2; h++)
        memset(tail.half[h], 0, n_tail * sizeof *tail.half[h]);
    job->cpu->kernels.arrange(&all, job->n_places);
    correct(x, first, job->n_places);
}

static void quantize_tile(void *context, uint32_t tile, uint32_t thread)
{
    enum { T = KERNELS_TILE_TOKENS };
    const struct linear_job *job = context;
    const struct cpu_quantized *x = &job->cpu->quantized;
    const size_t first = (size_t)tile * T * job->n_places;
    const size_t room = job->n_places / KERNELS_STRANDS;
    for (uint32_t t = 0; t < T && tile * T + t < job->n_tokens; t++) {
        const struct kernels_blocks out = blocks_at(&x->blocks, first + t, room * T, T);
        quantize_to(job, tile * T + t, &out);
    }
    kernels_scale_exponents(x->blocks.d + first, T * job->n_places, x->e + first);
    correct(x, first, T * job->n_places);
}

/* Which correction an output needs, marked as used; NULL for none. */
static const struct cpu_correction *need_correction(struct cpu_quantized *x,
                                                    const struct kernels_type *type)
{
    const bool halves = type->form == KERNELS_HALVES;
    if (!kernels_form_has_offset(type->form))
        return NULL;
    for (int i = 0; i < CPU_N_CORRECTIONS; i++) {
        struct cpu_correction *c = &x->corrections[i];
        if (c->used && (c->offset != type->offset || c->halves != halves))
            continue;
        c->used = true;
        c->offset = type->offset;
        c->halves = halves;
        return c;
    }
    assert(!"more outputs than corrections");
    return NULL;
}

/* A tile of activations for float weights. */
static void pack_floats(void *context, uint32_t tile, uint32_t thread)
{
    enum { T = KERNELS_FLOAT_TOKENS };
    const struct linear_job *job = context;
    const struct matrix x = matrix_of_blocks(QUANT_F32, job->width, job->n_tokens, 1, job->x);
    const size_t first = tile * T, n = job->n_tokens - first;
    const size_t n_floats = linear_panel_bytes(KERNELS_FLOAT, job->width) / sizeof(float);
    const struct kernels_panel panel = {.d = job->cpu->quantized.floats + tile * n_floats};
    job->cpu->kernels.types[QUANT_F32].pack(&x, first, n < T ? n : T, &panel);
}

void linear_quantize(struct linear_job *job)
{
    struct cpu_quantized *x = &job->cpu->quantized;
    bool any = false, any_floats = false;
    for (int i = 0; i < CPU_N_CORRECTIONS; i++)
        x->corrections[i].used = false;
    x->needs_halves = false;
    for (uint32_t i = 0; i < job->n_outputs; i++) {
        struct linear_output *out = &job->outputs[i];
        if (out->type->form == KERNELS_FLOAT) {
            any_floats = true;
            continue;
        }
        any = true;
        x->needs_halves |= out->type->form == KERNELS_MINS;
        out->correction = need_correction(x, out->type);
    }
    if (any_floats && !job->few)
        pool_run(job->cpu->pool, (job->n_tokens + KERNELS_FLOAT_TOKENS - 1) / KERNELS_FLOAT_TOKENS,
                 pack_floats, job);
    if (!any)
        return;
    if (job->few) {
        for (uint32_t i = 0; i < job->n_tokens; i++)
            quantize_row(job, i);
    } else {
        pool_run(job->cpu->pool, (job->n_tokens + KERNELS_TILE_TOKENS - 1) / KERNELS_TILE_TOKENS,
                 quantize_tile, job);
    }
}

/* ---- products ---- */

static void add_bias(const struct linear_job *job, const struct linear_output *out, size_t first,
                     size_t n)
{
    if (!out->bias)
        return;
    for (size_t t = 0; t < job->n_tokens; t++)
        job->cpu->kernels.add(out->y + t * out->n_out + first, out->bias + first, n);
}

static void linear_task(void *context, uint32_t i, uint32_t thread)
{
    const struct linear_job *job = context;
    const struct linear_output *out = job->outputs;
    while (out + 1 < job->outputs + job->n_outputs && i >= out[1].first_task)
        out++;
    const size_t first = (i - out->first_task) * out->rows_per_task;
    size_t n = out->n_out - first;
    if (n > out->rows_per_task)
        n = out->rows_per_task;
    if (job->few)
        linear_few_rows(job, out, first, n);
    else
        linear_many_rows(job, out, first, n, job->cpu->threads[thread].panels);
    add_bias(job, out, first, n);
}

/* Deals an output's rows into tasks; returns how many. */
static uint32_t deal(const struct linear_job *job, struct linear_output *out)
{
    const size_t n_wanted = (size_t)TASKS_PER_THREAD * pool_n_threads(job->cpu->pool);
    size_t unit = 2, n; /* kernels may take two rows at once */
    if (job->few) {
        n = TASK_BYTES / (unit * out->row_bytes);
    } else {
        unit = KERNELS_PANEL_ROWS;
        n = LINEAR_PANEL_BYTES / linear_panel_bytes(out->type->form, job->width);
    }
    size_t n_units = (out->n_out + unit - 1) / unit;
    if (n > n_units / n_wanted)
        n = n_units / n_wanted;
    const size_t most_tasks = POOL_MAX_TASKS / LINEAR_MAX_OUTPUTS;
    const size_t least = (n_units + most_tasks - 1) / most_tasks;
    if (n < least)
        n = least;
    out->rows_per_task = n * unit;
    return (uint32_t)((n_units + n - 1) / n);
}

void linear_run(struct linear_job *job)
{
    linear_quantize(job);
    uint32_t n_tasks = 0;
    for (uint32_t i = 0; i < job->n_outputs; i++) {
        job->outputs[i].first_task = n_tasks;
        n_tasks += deal(job, &job->outputs[i]);
    }
    if (job->n_tokens <= LINEAR_FEW_TILES * KERNELS_TILE_TOKENS) /* memory streams */
        pool_run_parts(job->cpu->pool, n_tasks, linear_task, job);
    else
        pool_run(job->cpu->pool, n_tasks, linear_task, job);
}

void linear_add_output(struct linear_job *job, const struct matrix *w, const float *bias, float *y)
{
    assert(w->n_cols == job->width && job->n_outputs < LINEAR_MAX_OUTPUTS);
    size_t row_bytes = 0;
    for (int i = 0; i < MATRIX_N_PARTS; i++)
        row_bytes += w->parts[i].row_bytes;
    job->outputs[job->n_outputs++] = (struct linear_output){
        .type = &job->cpu->kernels.types[w->type],
        .w = *w,
        .n_out = w->n_rows,
        .row_bytes = row_bytes,
        .bias = bias,
        .y = y,
    };
}

void linear_job_init(struct linear_job *job, struct cpu *cpu, const float *x, uint32_t width,
                     uint32_t n_tokens)
{
    *job = (struct linear_job){
        .cpu = cpu,
        .x = x,
        .width = width,
        .n_blocks = n_blocks_of(width),
        .n_places = n_places_of(width),
        .n_tokens = n_tokens,
        .few = n_tokens <= FEW_ROWS,
    };
}

void cpu_linear(struct backend *be, const struct backend_activation *x,
                const struct backend_linear *outputs, uint32_t n)
{
    struct cpu *cpu = (struct cpu *)be;
    struct linear_job job;
    for (uint32_t i = 0; i < n;) {
        linear_job_init(&job, cpu, x->data, x->width, cpu->n_rows);
        for (; i < n && job.n_outputs < LINEAR_MAX_OUTPUTS; i++) {
            const struct backend_linear *out = &outputs[i];
            assert(out->y->width == out->w->m.n_rows && out->y != x);
            linear_add_output(&job, &out->w->m, out->bias ? out->bias->vector : NULL, out->y->data);
        }
        linear_run(&job);
    }
}
