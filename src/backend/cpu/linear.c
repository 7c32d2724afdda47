/* Matrix products: the activations are quantized once for all outputs, then rows of weights are
 * dealt to the threads. Few tokens stream the weights row by row; many unpack a panel of rows once
 * and multiply it with every tile of tokens. Both give the same bits (kernels.h). */
#include "backend/cpu/linear.h"

#include <assert.h>
#include <string.h>

enum {
    TASK_BYTES = 32 << 10, /* of weights streamed by one task */
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

static void quantize_to(const struct linear_input *in, uint32_t token,
                        const struct kernels_blocks *out)
{
    const size_t row = in->rows ? in->rows[token] : token;
    in->cpu->kernels.quantize(in->x + row * in->width, in->n_blocks, out);
}

/* One row, arranged for the row kernels; the room behind its last block becomes zeros. */
static void quantize_row(const struct linear_input *in, uint32_t token)
{
    const struct cpu_quantized *x = &in->cpu->quantized;
    const size_t first = (in->slot + token) * in->n_places, n_tail = in->n_places - in->n_blocks;
    const struct kernels_blocks all = blocks_at(&x->blocks, first, 1, KERNELS_STRANDS);
    const struct kernels_blocks tail =
        blocks_at(&x->blocks, first + in->n_blocks, 1, KERNELS_STRANDS);
    quantize_to(in, token, &all);
    memset(tail.q, 0, n_tail * KERNELS_BLOCK);
    memset(tail.d, 0, n_tail * sizeof *tail.d);
    memset(tail.s, 0, n_tail * sizeof *tail.s);
    for (int h = 0; h < 2; h++)
        memset(tail.half[h], 0, n_tail * sizeof *tail.half[h]);
    in->cpu->kernels.arrange(&all, in->n_places);
    correct(x, first, in->n_places);
}

static void quantize_tile(const struct linear_input *in, uint32_t tile)
{
    enum { T = KERNELS_TILE_TOKENS };
    const struct cpu_quantized *x = &in->cpu->quantized;
    const size_t first = (in->slot + (size_t)tile * T) * in->n_places;
    const size_t room = in->n_places / KERNELS_STRANDS;
    for (uint32_t t = 0; t < T && tile * T + t < in->n_tokens; t++) {
        const struct kernels_blocks out = blocks_at(&x->blocks, first + t, room * T, T);
        quantize_to(in, tile * T + t, &out);
    }
    kernels_scale_exponents(x->blocks.d + first, T * in->n_places, x->e + first);
    correct(x, first, T * in->n_places);
}

/* n rows of activations beside each other: where they are, or copied to `memory`. */
static const float *rows_together(const struct linear_input *in, size_t first, size_t n,
                                  float *memory)
{
    if (!in->rows)
        return in->x + first * in->width;
    for (size_t i = 0; i < n; i++)
        memcpy(memory + i * in->width, in->x + in->rows[first + i] * in->width,
               in->width * sizeof *memory);
    return memory;
}

/* A tile of activations for float weights. */
static void pack_floats(const struct linear_input *in, uint32_t tile, uint32_t thread)
{
    enum { T = KERNELS_FLOAT_TOKENS };
    const struct cpu *cpu = in->cpu;
    const size_t first = tile * T, n_left = in->n_tokens - first, n = n_left < T ? n_left : T;
    const size_t n_floats = linear_panel_bytes(KERNELS_FLOAT, in->width) / sizeof(float);
    const float *rows = rows_together(in, first, n, cpu->threads[thread].panels);
    const struct matrix x = matrix_of_blocks(QUANT_F32, in->width, n, 1, rows);
    const struct kernels_panel panel = {.d = cpu->quantized.floats +
                                             (in->slot + first) * (n_floats / T)};
    cpu->kernels.types[QUANT_F32].pack(&x, 0, n, &panel);
}

uint32_t linear_slots(uint32_t n_tokens)
{
    enum { T = KERNELS_TILE_TOKENS, FLOAT_T = KERNELS_FLOAT_TOKENS };
    const uint32_t n = (n_tokens + T - 1) / T * T;
    const uint32_t n_float = (n_tokens + FLOAT_T - 1) / FLOAT_T * FLOAT_T;
    if (n_tokens <= LINEAR_FEW_ROWS)
        return n_tokens;
    return n > n_float ? n : n_float;
}

uint32_t linear_n_parts(const struct linear_input *in)
{
    return in->few ? in->n_tokens : (in->n_tokens + KERNELS_TILE_TOKENS - 1) / KERNELS_TILE_TOKENS;
}

void linear_quantize_part(const struct linear_input *in, uint32_t part, uint32_t thread)
{
    const struct cpu_quantized *x = &in->cpu->quantized;
    if (x->needs_blocks && in->few)
        quantize_row(in, part);
    else if (x->needs_blocks)
        quantize_tile(in, part);
    if (x->needs_floats && !in->few && part * KERNELS_FLOAT_TOKENS < in->n_tokens)
        pack_floats(in, part, thread);
}

/* ---- what outputs need of them ---- */

void linear_need_nothing(struct cpu_quantized *x)
{
    for (int i = 0; i < CPU_N_CORRECTIONS; i++)
        x->corrections[i].used = false;
    x->needs_blocks = x->needs_floats = x->needs_halves = false;
}

/* Which correction an output needs, marked as used; NULL for none. */
static const struct cpu_correction *need_correction(struct cpu_quantized *x,
                                                    const struct kernels_type *type)
{
    const bool halves = kernels_form_has_halves(type->form);
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

void linear_need(struct cpu_quantized *x, struct linear_output *out)
{
    const bool is_float = out->type->form == KERNELS_FLOAT;
    x->needs_floats |= is_float;
    x->needs_blocks |= !is_float;
    x->needs_halves |= out->type->form == KERNELS_MINS;
    out->correction = need_correction(x, out->type);
}

static void quantize_task(void *context, uint32_t i, uint32_t thread)
{
    linear_quantize_part(context, i, thread);
}

void linear_quantize(struct linear_job *job)
{
    struct linear_input *in = &job->in;
    linear_need_nothing(&in->cpu->quantized);
    for (uint32_t i = 0; i < job->n_outputs; i++)
        linear_need(&in->cpu->quantized, &job->outputs[i]);
    if (!in->few)
        pool_run(in->cpu->pool, linear_n_parts(in), quantize_task, in);
    for (uint32_t i = 0; i < in->n_tokens && in->few; i++)
        linear_quantize_part(in, i, 0);
}

/* ---- products ---- */

static void add_bias(const struct linear_input *in, const struct linear_output *out, size_t first,
                     size_t n)
{
    if (!out->bias)
        return;
    for (size_t t = 0; t < in->n_tokens; t++)
        in->cpu->kernels.add(out->y + t * out->n_out + first, out->bias + first, n);
}

void linear_task(const struct linear_input *in, const struct linear_output *out, uint32_t i,
                 uint32_t thread)
{
    const size_t first = i * out->rows_per_task;
    size_t n = out->n_out - first;
    if (n > out->rows_per_task)
        n = out->rows_per_task;
    if (in->few)
        linear_few_rows(in, out, first, n);
    else
        linear_many_rows(in, out, first, n, in->cpu->threads[thread].panels);
    add_bias(in, out, first, n);
}

static void job_task(void *context, uint32_t i, uint32_t thread)
{
    const struct linear_job *job = context;
    const struct linear_output *out = job->outputs;
    while (out + 1 < job->outputs + job->n_outputs && i >= out[1].first_task)
        out++;
    linear_task(&job->in, out, i - out->first_task, thread);
}

uint32_t linear_deal(const struct linear_input *in, struct linear_output *out, size_t n_wanted,
                     size_t most)
{
    size_t unit = 2, n; /* kernels may take two rows at once */
    if (in->few) {
        n = TASK_BYTES / (unit * out->row_bytes);
    } else {
        unit = KERNELS_PANEL_ROWS;
        n = LINEAR_PANEL_BYTES / linear_panel_bytes(out->type->form, in->width);
    }
    const size_t n_units = (out->n_out + unit - 1) / unit;
    if (n > n_units / n_wanted)
        n = n_units / n_wanted;
    const size_t least = (n_units + most - 1) / most;
    if (n < least)
        n = least;
    out->rows_per_task = n * unit;
    return (uint32_t)((n_units + n - 1) / n);
}

void linear_run(struct linear_job *job)
{
    struct pool *pool = job->in.cpu->pool;
    const size_t n_wanted = (size_t)LINEAR_TASKS_PER_THREAD * pool_n_threads(pool);
    linear_quantize(job);
    uint32_t n_tasks = 0;
    for (uint32_t i = 0; i < job->n_outputs; i++) {
        job->outputs[i].first_task = n_tasks;
        n_tasks += linear_deal(&job->in, &job->outputs[i], n_wanted,
                               POOL_MAX_TASKS / LINEAR_MAX_OUTPUTS);
    }
    if (job->in.n_tokens <= LINEAR_FEW_TILES * KERNELS_TILE_TOKENS) /* memory streams */
        pool_run_parts(pool, n_tasks, job_task, job);
    else
        pool_run(pool, n_tasks, job_task, job);
}

struct linear_output linear_output_of(const struct cpu *cpu, const struct matrix *w,
                                      const float *bias, float *y)
{
    size_t row_bytes = 0;
    for (int i = 0; i < MATRIX_N_PARTS; i++)
        row_bytes += w->parts[i].row_bytes;
    return (struct linear_output){
        .type = &cpu->kernels.types[w->type],
        .w = *w,
        .n_out = w->n_rows,
        .row_bytes = row_bytes,
        .bias = bias,
        .y = y,
    };
}

void linear_add_output(struct linear_job *job, const struct matrix *w, const float *bias, float *y)
{
    assert(w->n_cols == job->in.width && job->n_outputs < LINEAR_MAX_OUTPUTS);
    job->outputs[job->n_outputs++] = linear_output_of(job->in.cpu, w, bias, y);
}

struct linear_input linear_input_of(struct cpu *cpu, const float *x, const uint32_t *rows,
                                    uint32_t width, uint32_t n_tokens)
{
    return (struct linear_input){
        .cpu = cpu,
        .x = x,
        .rows = rows,
        .width = width,
        .n_blocks = n_blocks_of(width),
        .n_places = n_places_of(width),
        .n_tokens = n_tokens,
        .few = n_tokens <= LINEAR_FEW_ROWS,
    };
}

void linear_job_init(struct linear_job *job, struct cpu *cpu, const float *x, uint32_t width,
                     uint32_t n_tokens)
{
    job->in = linear_input_of(cpu, x, NULL, width, n_tokens);
    job->n_outputs = 0;
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
