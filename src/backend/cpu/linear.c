/* Matrix products: the activations are quantized once for all outputs, then rows of weights are dealt to
 * the threads. Few tokens stream the weights row by row; many unpack a panel of rows once and multiply it
 * with every tile of tokens. Both give the same bits (kernels.h). */
#include "backend/cpu/state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    FEW_ROWS = 5,              /* batches up to this stream the weights */
    TASK_BYTES = 32 << 10,     /* of weights streamed by one task */
    PANEL_BYTES = 256 << 10,   /* of unpacked weights that one task keeps in cache */
    TASKS_PER_THREAD = 8,      /* at least, so that a late thread costs little */
    QUANTIZE_ROW_FLOATS = 4,   /* work of quantizing one float, in those of cpu_run_rows */
    MAX_OUTPUTS = 8,
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

/* Bytes of one panel, every form. */
static size_t panel_bytes(size_t width)
{
    return n_places_of(width) * KERNELS_PANEL_ROWS * (KERNELS_BLOCK + 3 * sizeof(float));
}

/* ---- memory ---- */

void cpu_linear_deinit(struct cpu *cpu)
{
    cpu_memory_unmap(cpu->quantized.memory, cpu->quantized.n_bytes);
    for (uint32_t i = 0; cpu->threads && i < pool_n_threads(cpu->pool); i++)
        cpu_memory_unmap(cpu->threads[i].panels, cpu->threads[i].n_panel_bytes);
}

static bool reserve_panels(struct cpu *cpu, size_t n_bytes, struct error *err)
{
    for (uint32_t i = 0; i < pool_n_threads(cpu->pool); i++) {
        struct cpu_thread *t = &cpu->threads[i];
        if (t->n_panel_bytes >= n_bytes)
            continue;
        cpu_memory_unmap(t->panels, t->n_panel_bytes);
        t->n_panel_bytes = 0;
        t->panels = cpu_memory_map(n_bytes, "unpacked weights", err);
        if (!t->panels)
            return false;
        t->n_panel_bytes = n_bytes;
    }
    return true;
}

bool cpu_linear_reserve(struct cpu *cpu, uint32_t width, struct error *err)
{
    struct cpu_quantized *x = &cpu->quantized;
    if (x->max_width >= width)
        return true;
    const size_t n = n_places_of(width) * CPU_N_TILES * KERNELS_TILE_TOKENS;
    const size_t n_words = 4 + 2 * CPU_N_CORRECTIONS; /* d, s, two sums, corrections */
    size_t n_panels = panel_bytes(width) > PANEL_BYTES ? panel_bytes(width) : PANEL_BYTES;
    if (!reserve_panels(cpu, n_panels, err))
        return false;
    cpu_memory_unmap(x->memory, x->n_bytes);
    x->max_width = 0;
    x->n_bytes = n * (KERNELS_BLOCK + n_words * sizeof(float));
    x->memory = cpu_memory_map(x->n_bytes, "quantized activations", err);
    if (!x->memory)
        return false;
    x->blocks.q = x->memory;
    x->blocks.d = (float *)((char *)x->memory + n * KERNELS_BLOCK);
    x->blocks.s = x->blocks.d + n;
    x->blocks.half[0] = (int32_t *)(x->blocks.s + n);
    x->blocks.half[1] = x->blocks.half[0] + n;
    for (int i = 0; i < CPU_N_CORRECTIONS; i++)
        for (int h = 0; h < 2; h++)
            x->corrections[i].c[h] = x->blocks.half[1] + (1 + 2 * i + h) * n;
    x->max_width = width;
    return true;
}

bool cpu_accepts(const struct backend *be, const struct weights_tensor *w, struct error *err)
{
    const struct cpu *cpu = (const struct cpu *)be;
    const struct quant_traits *traits = quant_traits(w->type);
    if (!traits || (int)w->type >= (int)KERNELS_N_TYPES || !cpu->kernels.types[w->type].form)
        return error_set(err, ERROR_UNSUPPORTED, "type %u is not supported by the CPU backend",
                         (unsigned)w->type);
    if (w->n_dims > 2)
        return error_set(err, ERROR_UNSUPPORTED, "a matrix with %u dimensions", w->n_dims);
    return true;
}

/* ---- the job ---- */

struct linear_output {
    const struct kernels_type *type;
    const struct cpu_correction *correction;
    const char *w;
    size_t row_bytes, n_out;
    const float *bias;
    float *y; /* [n_rows][n_out] */
    uint32_t first_task;
    size_t rows_per_task;
};

struct linear_job {
    struct cpu *cpu;
    const float *x; /* [n_tokens][width] */
    size_t width, n_blocks, n_places;
    uint32_t n_tokens;
    bool few;
    uint32_t n_outputs;
    struct linear_output outputs[MAX_OUTPUTS];
};

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
}

/* One token in natural order; the room behind its last block becomes zeros. */
static void quantize_row(const struct linear_job *job, uint32_t token)
{
    const struct cpu_quantized *x = &job->cpu->quantized;
    const size_t first = token * job->n_places, n_tail = job->n_places - job->n_blocks;
    struct kernels_blocks out = blocks_at(&x->blocks, first, 1, KERNELS_STRANDS);
    job->cpu->kernels.quantize(job->x + token * job->width, job->n_blocks, &out);
    memset(out.q + job->n_blocks * KERNELS_BLOCK, 0, n_tail * KERNELS_BLOCK);
    memset(out.d + job->n_blocks, 0, n_tail * sizeof *out.d);
    memset(out.s + job->n_blocks, 0, n_tail * sizeof *out.s);
    for (int h = 0; h < 2; h++)
        memset(out.half[h] + job->n_blocks, 0, n_tail * sizeof *out.half[h]);
    correct(x, first, job->n_places);
}

static void quantize_tile(const struct linear_job *job, uint32_t tile)
{
    enum { T = KERNELS_TILE_TOKENS };
    const struct cpu_quantized *x = &job->cpu->quantized;
    const size_t first = (size_t)tile * T * job->n_places;
    const size_t room = job->n_places / KERNELS_STRANDS;
    for (uint32_t t = 0; t < T && tile * T + t < job->n_tokens; t++) {
        struct kernels_blocks out = blocks_at(&x->blocks, first + t, room * T, T);
        job->cpu->kernels.quantize(job->x + (tile * T + t) * job->width, job->n_blocks, &out);
    }
    correct(x, first, T * job->n_places);
}

static void quantize_rows(const struct cpu_row_job *rows, uint32_t first, uint32_t n)
{
    const struct linear_job *job = rows->context;
    for (uint32_t i = first; i < first + n; i++) {
        if (job->few)
            quantize_row(job, i);
        else
            quantize_tile(job, i);
    }
}

/* Which correction an output needs, marked as used. */
static const struct cpu_correction *need_correction(struct cpu_quantized *x,
                                                    const struct kernels_type *type)
{
    bool halves = type->form == KERNELS_HALVES;
    for (int i = 0; i < CPU_N_CORRECTIONS; i++) {
        struct cpu_correction *c = &x->corrections[i];
        if (c->used && (c->offset != type->offset || c->halves != halves))
            continue;
        c->used = true;
        c->offset = type->offset;
        c->halves = halves;
        return c;
    }
    assert(!"more offsets than corrections");
    return NULL;
}

static void quantize(struct linear_job *job)
{
    struct cpu_quantized *x = &job->cpu->quantized;
    bool any = false;
    for (int i = 0; i < CPU_N_CORRECTIONS; i++)
        x->corrections[i].used = false;
    for (uint32_t i = 0; i < job->n_outputs; i++) {
        struct linear_output *out = &job->outputs[i];
        if (out->type->form == KERNELS_FLOAT)
            continue;
        any = true;
        out->correction = need_correction(x, out->type);
    }
    if (!any)
        return;
    size_t n_floats = job->width * QUANTIZE_ROW_FLOATS;
    if (job->few)
        cpu_run_rows(job->cpu, job->n_tokens, n_floats, quantize_rows, job);
    else
        cpu_run_rows(job->cpu, (job->n_tokens + KERNELS_TILE_TOKENS - 1) / KERNELS_TILE_TOKENS,
                     n_floats * KERNELS_TILE_TOKENS, quantize_rows, job);
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

static void stream_floats(const struct linear_job *job, const struct linear_output *out,
                          size_t first, size_t n)
{
    for (uint32_t t = 0; t < job->n_tokens; t += KERNELS_FEW_TOKENS) {
        uint32_t n_tokens = job->n_tokens - t;
        out->type->float_rows(out->w + first * out->row_bytes, out->row_bytes, n, job->width,
                              job->x + t * job->width, job->width,
                              n_tokens < KERNELS_FEW_TOKENS ? n_tokens : KERNELS_FEW_TOKENS,
                              out->y + t * out->n_out + first, out->n_out);
    }
}

static void stream_rows(const struct linear_job *job, const struct linear_output *out, size_t first,
                        size_t n)
{
    const struct kernels_blocks *x = &job->cpu->quantized.blocks;
    for (uint32_t t = 0; t < job->n_tokens; t += KERNELS_FEW_TOKENS) {
        struct kernels_row_x rows[KERNELS_FEW_TOKENS];
        uint32_t n_tokens = 0;
        for (; n_tokens < KERNELS_FEW_TOKENS && t + n_tokens < job->n_tokens; n_tokens++) {
            size_t p = (t + n_tokens) * job->n_places;
            rows[n_tokens] = (struct kernels_row_x){
                x->q + p * KERNELS_BLOCK, x->d + p, x->s + p,
                {out->correction->c[0] + p, out->correction->c[1] + p}};
        }
        out->type->rows(out->w + first * out->row_bytes, out->row_bytes, n, job->n_blocks, rows,
                        n_tokens, out->y + t * out->n_out + first, out->n_out);
    }
}

static struct kernels_panel panel_at(const struct linear_job *job, void *memory, size_t i)
{
    const size_t n = job->n_places * KERNELS_PANEL_ROWS;
    uint8_t *q = (uint8_t *)memory + i * n * (KERNELS_BLOCK + 3 * sizeof(float));
    float *d = (float *)(q + n * KERNELS_BLOCK);
    return (struct kernels_panel){q, d, d + 2 * n};
}

static void multiply_panels(const struct linear_job *job, const struct linear_output *out,
                            size_t first, size_t n, void *memory)
{
    enum { T = KERNELS_TILE_TOKENS, R = KERNELS_PANEL_ROWS };
    const struct kernels_blocks *x = &job->cpu->quantized.blocks;
    const size_t n_panels = (n + R - 1) / R;
    for (size_t i = 0; i < n_panels; i++) {
        struct kernels_panel panel = panel_at(job, memory, i);
        out->type->pack(out->w + (first + i * R) * out->row_bytes, out->row_bytes,
                        n - i * R < R ? n - i * R : R, job->n_blocks, &panel);
    }
    for (size_t t = 0; t < job->n_tokens; t += T) {
        size_t p = t * job->n_places;
        const struct kernels_tile_x tile = {
            x->q + p * KERNELS_BLOCK, x->d + p, x->s + p,
            {out->correction->c[0] + p, out->correction->c[1] + p}};
        for (size_t i = 0; i < n_panels; i++) {
            struct kernels_panel panel = panel_at(job, memory, i);
            job->cpu->kernels.panel[out->type->form](
                &panel, n - i * R < R ? n - i * R : R, job->n_blocks, &tile,
                job->n_tokens - t < T ? job->n_tokens - t : T,
                out->y + t * out->n_out + first + i * R, out->n_out);
        }
    }
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
    if (out->type->form == KERNELS_FLOAT)
        stream_floats(job, out, first, n);
    else if (job->few)
        stream_rows(job, out, first, n);
    else
        multiply_panels(job, out, first, n, job->cpu->threads[thread].panels);
    add_bias(job, out, first, n);
}

/* Deals an output's rows into tasks; returns how many. */
static uint32_t deal(const struct linear_job *job, struct linear_output *out)
{
    const size_t n_wanted = (size_t)TASKS_PER_THREAD * pool_n_threads(job->cpu->pool);
    size_t unit = 1, n;
    if (out->type->form == KERNELS_FLOAT || job->few) {
        n = TASK_BYTES / out->row_bytes;
    } else {
        unit = KERNELS_PANEL_ROWS;
        n = PANEL_BYTES / panel_bytes(job->width);
    }
    size_t n_units = (out->n_out + unit - 1) / unit;
    if (n > n_units / n_wanted)
        n = n_units / n_wanted;
    size_t least = (n_units + POOL_MAX_TASKS / MAX_OUTPUTS - 1) / (POOL_MAX_TASKS / MAX_OUTPUTS);
    if (n < least)
        n = least;
    out->rows_per_task = n * unit;
    return (uint32_t)((n_units + n - 1) / n);
}

static void run(struct linear_job *job)
{
    quantize(job);
    uint32_t n_tasks = 0;
    for (uint32_t i = 0; i < job->n_outputs; i++) {
        job->outputs[i].first_task = n_tasks;
        n_tasks += deal(job, &job->outputs[i]);
    }
    pool_run(job->cpu->pool, n_tasks, linear_task, job);
}

static void add_output(struct linear_job *job, const struct weights_tensor *w, const float *bias,
                       float *y)
{
    assert(w->shape[0] == job->width && job->n_outputs < MAX_OUTPUTS);
    job->outputs[job->n_outputs++] = (struct linear_output){
        .type = &job->cpu->kernels.types[w->type],
        .w = w->data,
        .row_bytes = quant_row_bytes(w->type, w->shape[0]),
        .n_out = w->shape[1],
        .bias = bias,
        .y = y,
    };
}

static void job_init(struct linear_job *job, struct cpu *cpu, const struct backend_activation *x)
{
    *job = (struct linear_job){
        .cpu = cpu,
        .x = x->data,
        .width = x->width,
        .n_blocks = n_blocks_of(x->width),
        .n_places = n_places_of(x->width),
        .n_tokens = cpu->n_rows,
        .few = cpu->n_rows <= FEW_ROWS,
    };
}

void cpu_linear(struct backend *be, const struct backend_activation *x,
                const struct backend_linear *outputs, uint32_t n)
{
    struct linear_job job;
    for (uint32_t i = 0; i < n;) {
        job_init(&job, (struct cpu *)be, x);
        for (; i < n && job.n_outputs < MAX_OUTPUTS; i++) {
            const struct backend_linear *out = &outputs[i];
            assert(out->y->width == out->w->shape[1] && out->y != x);
            add_output(&job, out->w, out->bias ? out->bias->data : NULL, out->y->data);
        }
        run(&job);
    }
}

void cpu_logits(struct backend *be, const struct backend_activation *x,
                const struct weights_tensor *w, float *logits)
{
    struct linear_job job;
    job_init(&job, (struct cpu *)be, x);
    add_output(&job, w, NULL, logits);
    run(&job);
}
