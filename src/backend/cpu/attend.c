/* Attention over KV pages. The softmax of a query runs page by page within a split of
 * CPU_SPLIT_PAGES pages, counted from position 0, and the splits are merged in order: always the
 * same additions. A task is some rows of one sequence with the heads that share a KV head, over
 * all their splits or, when there are too few such tasks for the threads, over one split. */
#include "backend/cpu/state.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    P = BACKEND_PAGE_TOKENS,
    SPLIT_TOKENS = CPU_SPLIT_PAGES * P,
    TASKS_PER_THREAD = 4, /* fewer whole tasks than that are split */
};

struct unit {
    struct cpu_rows rows;
    uint32_t first_task, n_splits; /* n_splits is that of its last row */
    bool split;                    /* one task per split, partial results to memory */
    size_t partials;               /* the first of its partial results, [row][head][split] */
};

struct attend_job {
    struct cpu *cpu;
    uint32_t layer, n_heads, heads_per_kv, heads_per_group, groups_per_kv;
    size_t head_dim;
    float scale;
    const float *q; /* [n_rows][n_heads * head_dim] */
    float *out;
    uint32_t n_units;
    struct unit units[BACKEND_MAX_ROWS];
};

/* The queries of one task: every row of the unit with every head of the group, row by row. */
struct attend_task {
    const struct attend_job *job;
    const struct unit *unit;
    uint32_t kv_head, first_head, n_heads;
    const float *q[CPU_MAX_QUERIES];
    float *o[CPU_MAX_QUERIES];
    float *m, *l, *total_m, *total_l; /* [CPU_MAX_QUERIES] */
    float *total_o;                   /* [CPU_MAX_QUERIES][head_dim] */
};

static uint32_t position_of(const struct attend_job *job, const struct unit *unit, uint32_t row)
{
    return (uint32_t)job->cpu->batch->rows[unit->rows.first + row].position;
}

static uint32_t splits_at(uint32_t position)
{
    return position / SPLIT_TOKENS + 1;
}

static void task_init(struct attend_task *task, const struct attend_job *job,
                      const struct unit *unit, uint32_t group, uint32_t thread)
{
    float *memory = job->cpu->threads[thread].attention;
    const uint32_t in_kv = group % job->groups_per_kv * job->heads_per_group;
    task->job = job;
    task->unit = unit;
    task->kv_head = group / job->groups_per_kv;
    task->first_head = task->kv_head * job->heads_per_kv + in_kv;
    task->n_heads = job->heads_per_kv - in_kv;
    if (task->n_heads > job->heads_per_group)
        task->n_heads = job->heads_per_group;
    task->m = memory;
    task->l = memory + CPU_MAX_QUERIES;
    task->total_m = memory + 2 * CPU_MAX_QUERIES;
    task->total_l = memory + 3 * CPU_MAX_QUERIES;
    task->total_o = memory + (4 + job->head_dim) * CPU_MAX_QUERIES;
    for (uint32_t row = 0; row < unit->rows.n; row++) {
        for (uint32_t h = 0; h < task->n_heads; h++) {
            uint32_t i = row * task->n_heads + h;
            size_t head = (size_t)(unit->rows.first + row) * job->n_heads + task->first_head + h;
            task->q[i] = job->q + head * job->head_dim;
            task->o[i] = memory + 4 * CPU_MAX_QUERIES + i * job->head_dim;
        }
    }
}

/* The first row of the unit that sees `position`. */
static uint32_t first_row_at(const struct attend_task *task, uint32_t position)
{
    uint32_t row = 0;
    while (row < task->unit->rows.n && position_of(task->job, task->unit, row) < position)
        row++;
    return row;
}

static void clear(const struct attend_task *task, float *m, float *l, float *o, uint32_t first)
{
    for (uint32_t i = first; i < task->unit->rows.n * task->n_heads; i++) {
        m[i] = -INFINITY;
        l[i] = 0;
        memset(o + i * task->job->head_dim, 0, task->job->head_dim * sizeof *o);
    }
}

static void attend_page(const struct attend_task *task, uint32_t page_index)
{
    const struct attend_job *job = task->job;
    const struct cpu *cpu = job->cpu;
    const struct backend_sequence *sequence = &cpu->batch->sequences[task->unit->rows.sequence];
    uint8_t n_keys[CPU_MAX_QUERIES];
    uint32_t row = first_row_at(task, page_index * P), first = row * task->n_heads;
    struct kernels_queries queries = {0, task->q + first, task->o + first, task->m + first,
                                      task->l + first, n_keys};
    for (; row < task->unit->rows.n; row++) {
        uint32_t n = position_of(job, task->unit, row) - page_index * P + 1;
        for (uint32_t h = 0; h < task->n_heads; h++)
            n_keys[queries.n++] = (uint8_t)(n < P ? n : P);
    }
    if (!queries.n)
        return;
    assert(page_index < sequence->n_pages);
    uint32_t page = sequence->pages[page_index];
    cpu->kernels.attend(cpu_kv_keys(cpu, page, job->layer, task->kv_head),
                        cpu_kv_values(cpu, page, job->layer, task->kv_head), job->head_dim,
                        job->scale, &queries);
}

static void attend_split(const struct attend_task *task, uint32_t split)
{
    uint32_t first = first_row_at(task, split * SPLIT_TOKENS) * task->n_heads;
    clear(task, task->m, task->l, task->o[0], first);
    for (uint32_t i = 0; i < CPU_SPLIT_PAGES; i++)
        attend_page(task, split * CPU_SPLIT_PAGES + i);
}

static void write_out(const struct attend_job *job, size_t head, const float *o, float l)
{
    float *out = job->out + head * job->head_dim;
    for (size_t d = 0; d < job->head_dim; d++)
        out[d] = o[d] / l;
}

/* All splits, merged as they come. */
static void attend_whole(struct attend_task *task)
{
    const struct attend_job *job = task->job;
    const struct unit *unit = task->unit;
    const uint32_t n = unit->rows.n * task->n_heads;
    clear(task, task->total_m, task->total_l, task->total_o, 0);
    for (uint32_t split = 0; split < unit->n_splits; split++) {
        attend_split(task, split);
        for (uint32_t i = first_row_at(task, split * SPLIT_TOKENS) * task->n_heads; i < n; i++)
            job->cpu->kernels.attend_merge(task->total_o + i * job->head_dim, &task->total_m[i],
                                           &task->total_l[i], task->o[i], task->m[i], task->l[i],
                                           job->head_dim);
    }
    for (uint32_t i = 0; i < n; i++) {
        size_t row = unit->rows.first + i / task->n_heads;
        write_out(job, row * job->n_heads + task->first_head + i % task->n_heads,
                  task->total_o + i * job->head_dim, task->total_l[i]);
    }
}

/* A partial result is o [head_dim], m, l. */
static float *partial_at(const struct attend_job *job, const struct unit *unit, uint32_t row,
                         uint32_t head, uint32_t split)
{
    size_t i = unit->partials + ((size_t)row * job->n_heads + head) * unit->n_splits + split;
    return job->cpu->kv.partials + i * (job->head_dim + 2);
}

/* One split, kept for merging. */
static void attend_part(struct attend_task *task, uint32_t split)
{
    const struct attend_job *job = task->job;
    attend_split(task, split);
    for (uint32_t row = first_row_at(task, split * SPLIT_TOKENS); row < task->unit->rows.n; row++) {
        for (uint32_t h = 0; h < task->n_heads; h++) {
            uint32_t i = row * task->n_heads + h;
            float *partial = partial_at(job, task->unit, row, task->first_head + h, split);
            memcpy(partial, task->o[i], job->head_dim * sizeof *partial);
            partial[job->head_dim] = task->m[i];
            partial[job->head_dim + 1] = task->l[i];
        }
    }
}

static void attend_task(void *context, uint32_t i, uint32_t thread)
{
    const struct attend_job *job = context;
    const struct unit *unit = job->units;
    for (size_t n = job->n_units; n > 1;) { /* the last unit whose first task is not after i */
        size_t half = n / 2;
        if (unit[half].first_task <= i)
            unit += half;
        n -= half;
    }
    struct attend_task task;
    i -= unit->first_task;
    if (unit->split) {
        task_init(&task, job, unit, i / unit->n_splits, thread);
        attend_part(&task, i % unit->n_splits);
    } else {
        task_init(&task, job, unit, i, thread);
        attend_whole(&task);
    }
}

/* Merges the partial results of one row. */
static void merge_task(void *context, uint32_t i, uint32_t thread)
{
    const struct attend_job *job = context;
    const struct unit *unit = job->units;
    while (i >= unit->rows.first + unit->rows.n)
        unit++;
    if (!unit->split)
        return;
    const uint32_t row = i - unit->rows.first;
    float *o = job->cpu->threads[thread].attention;
    for (uint32_t head = 0; head < job->n_heads; head++) {
        float m = -INFINITY, l = 0;
        memset(o, 0, job->head_dim * sizeof *o);
        for (uint32_t split = 0; split < splits_at(position_of(job, unit, row)); split++) {
            const float *partial = partial_at(job, unit, row, head, split);
            job->cpu->kernels.attend_merge(o, &m, &l, partial, partial[job->head_dim],
                                           partial[job->head_dim + 1], job->head_dim);
        }
        write_out(job, (size_t)i * job->n_heads + head, o, l);
    }
}

/* Cuts the batch into units. */
static void make_units(struct attend_job *job)
{
    const struct cpu *cpu = job->cpu;
    uint32_t most = CPU_MAX_QUERIES / job->heads_per_group;
    if (most > CPU_MAX_UNIT_ROWS)
        most = CPU_MAX_UNIT_ROWS;
    for (uint32_t i = 0; i < cpu->n_rows; i++) {
        const struct backend_row *row = &cpu->batch->rows[i];
        if (i && row->sequence == row[-1].sequence && job->units[job->n_units - 1].rows.n < most)
            job->units[job->n_units - 1].rows.n++;
        else
            job->units[job->n_units++] = (struct unit){.rows = {i, 1, row->sequence}};
        job->units[job->n_units - 1].n_splits = splits_at((uint32_t)row->position);
    }
}

/* Decides which units are split, and numbers the tasks. Returns how many there are. */
static uint32_t make_tasks(struct attend_job *job, bool *any_split)
{
    const struct cpu *cpu = job->cpu;
    const uint32_t n_groups = cpu->kv.shape.n_kv_heads * job->groups_per_kv;
    const uint32_t n_threads = pool_n_threads(cpu->pool);
    const bool few = n_threads > 1 && job->n_units * n_groups < TASKS_PER_THREAD * n_threads;
    uint32_t n_tasks = 0;
    size_t n_partials = 0;
    *any_split = false;
    for (uint32_t i = 0; i < job->n_units; i++) {
        struct unit *unit = &job->units[i];
        size_t n = (size_t)unit->rows.n * job->n_heads * unit->n_splits;
        unit->first_task = n_tasks;
        unit->split = few && unit->n_splits > 1 && n <= cpu->kv.n_partials - n_partials;
        unit->partials = n_partials;
        if (unit->split) {
            n_partials += n;
            *any_split = true;
        }
        n_tasks += n_groups * (unit->split ? unit->n_splits : 1);
    }
    return n_tasks;
}

void cpu_attend(struct backend *be, uint32_t layer, const struct backend_activation *q,
                uint32_t n_heads, float scale, struct backend_activation *out)
{
    struct cpu *cpu = (struct cpu *)be;
    const struct backend_kv_shape *shape = &cpu->kv.shape;
    assert(n_heads % shape->n_kv_heads == 0 && q->width == n_heads * shape->head_dim);
    assert(out->width == q->width && out != q && cpu->n_rows == cpu->batch->n_rows);
    struct attend_job job;
    job.cpu = cpu;
    job.layer = layer;
    job.n_heads = n_heads;
    job.heads_per_kv = n_heads / shape->n_kv_heads;
    job.heads_per_group =
        job.heads_per_kv < CPU_MAX_QUERIES ? job.heads_per_kv : CPU_MAX_QUERIES;
    job.groups_per_kv = (job.heads_per_kv + job.heads_per_group - 1) / job.heads_per_group;
    job.head_dim = shape->head_dim;
    job.scale = scale;
    job.q = q->data;
    job.out = out->data;
    job.n_units = 0;
    make_units(&job);
    bool any_split;
    uint32_t n_tasks = make_tasks(&job, &any_split);
    pool_run(cpu->pool, n_tasks, attend_task, &job);
    if (any_split)
        pool_run(cpu->pool, cpu->n_rows, merge_task, &job);
}
