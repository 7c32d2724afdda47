/* Attention over KV pages. The softmax of a query runs page by page within a split of
 * CPU_SPLIT_PAGES pages, counted from position 0, and the splits are merged in order: always the
 * same additions. A task is some rows of one sequence with the heads that share a KV head, over
 * all their splits or, when there are too few such tasks for the threads, over some of them. */
#include "backend/cpu/state.h"

#include <assert.h>
#include <string.h>

enum {
    P = BACKEND_PAGE_TOKENS,
    SPLIT_TOKENS = CPU_SPLIT_PAGES * P,
    TASKS_PER_THREAD = 8, /* fewer whole tasks than that are split */
};

struct unit {
    struct cpu_rows rows;
    uint32_t first_task;
    uint32_t first_split, n_splits; /* that its rows see */
    uint32_t task_splits;           /* splits of one task; 0: all, nothing to merge */
    size_t partials;                /* the first of its partial results, [row][head][split] */
};

struct attend_job {
    struct cpu *cpu;
    uint32_t layer, heads_per_kv, heads_per_group, groups_per_kv;
    const struct cpu_kv_layer *kv;
    size_t head_dim;
    struct backend_attend_params params;
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
    void *scratch;
};

static uint32_t position_of(const struct attend_job *job, const struct unit *unit, uint32_t row)
{
    return (uint32_t)job->cpu->batch->rows[unit->rows.first + row].position;
}

/* The first position that a row sees. */
static uint32_t start_of(const struct attend_job *job, const struct unit *unit, uint32_t row)
{
    return backend_first_seen(position_of(job, unit, row), job->kv->window);
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
    task->scratch = memory + (4 + 2 * job->head_dim) * CPU_MAX_QUERIES;
    for (uint32_t row = 0; row < unit->rows.n; row++) {
        const size_t first = (size_t)(unit->rows.first + row) * job->params.n_heads;
        for (uint32_t h = 0; h < task->n_heads; h++) {
            uint32_t i = row * task->n_heads + h;
            task->q[i] = job->q + (first + task->first_head + h) * job->head_dim;
            task->o[i] = memory + 4 * CPU_MAX_QUERIES + i * job->head_dim;
        }
    }
}

/* The rows of the task's unit that see something of a split: all from *first on and before the
 * one returned. */
static uint32_t rows_of_split(const struct attend_task *task, uint32_t split, uint32_t *first)
{
    const uint32_t begin = split * SPLIT_TOKENS, end = begin + SPLIT_TOKENS;
    uint32_t row = 0;
    while (row < task->unit->rows.n && position_of(task->job, task->unit, row) < begin)
        row++;
    *first = row;
    while (row < task->unit->rows.n && start_of(task->job, task->unit, row) < end)
        row++;
    return row;
}

/* The page of a sequence at an index, in the job's layer. */
static void *page_at(const struct attend_task *task, uint32_t index)
{
    const struct attend_job *job = task->job;
    const struct backend_batch *batch = job->cpu->batch;
    const struct backend_sequence *sequence = &batch->sequences[task->unit->rows.sequence];
    assert(index < sequence->n_pages);
    return cpu_kv_head(job->cpu, sequence->pages[index], job->layer, task->kv_head);
}

/* The results of rows [first, end) for one split, to the task's o, m, l; has_next: the next split
 * follows. */
static void attend_split(const struct attend_task *task, uint32_t split, uint32_t first,
                         uint32_t end, bool has_next)
{
    const struct attend_job *job = task->job;
    const uint32_t begin = split * SPLIT_TOKENS, at = first * task->n_heads;
    uint32_t first_seen = SPLIT_TOKENS;
    uint16_t from[CPU_MAX_QUERIES], to[CPU_MAX_QUERIES];
    struct kernels_run run = {.head_dim = job->head_dim, .scale = job->params.scale,
                              .q = task->q + at, .first = from, .last = to, .o = task->o + at,
                              .m = task->m + at, .l = task->l + at, .scratch = task->scratch};
    for (uint32_t row = first; row < end; row++) {
        uint32_t start = start_of(job, task->unit, row);
        uint32_t stop = position_of(job, task->unit, row) - begin + 1;
        start = start > begin ? start - begin : 0;
        stop = stop < SPLIT_TOKENS ? stop : SPLIT_TOKENS;
        first_seen = start < first_seen ? start : first_seen;
        run.n_pages = (stop + P - 1) / P;
        for (uint32_t h = 0; h < task->n_heads; h++, run.n++) {
            from[run.n] = (uint16_t)start;
            to[run.n] = (uint16_t)stop;
        }
    }
    for (uint32_t i = 0; i < run.n_pages; i++) {
        /* pages before the window may be gone: another stands in for them, unseen */
        const uint32_t seen = i < first_seen / P ? first_seen / P : i;
        run.pages[i] = page_at(task, split * CPU_SPLIT_PAGES + seen);
    }
    if (has_next)
        run.next = page_at(task, (split + 1) * CPU_SPLIT_PAGES);
    job->cpu->kv.kernels->attend(&run);
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
    const uint32_t n = unit->rows.n * task->n_heads, stop = unit->first_split + unit->n_splits;
    for (uint32_t i = 0; i < n; i++) {
        task->total_m[i] = KERNELS_NOTHING;
        task->total_l[i] = 0;
    }
    memset(task->total_o, 0, n * job->head_dim * sizeof *task->total_o);
    for (uint32_t split = unit->first_split; split < stop; split++) {
        uint32_t first, end = rows_of_split(task, split, &first);
        attend_split(task, split, first, end, split + 1 < stop);
        for (uint32_t i = first * task->n_heads; i < end * task->n_heads; i++)
            job->cpu->kernels.attend_merge(task->total_o + i * job->head_dim, &task->total_m[i],
                                           &task->total_l[i], task->o[i], task->m[i], task->l[i],
                                           job->head_dim);
    }
    for (uint32_t i = 0; i < n; i++) {
        size_t row = unit->rows.first + i / task->n_heads;
        write_out(job, row * job->params.n_heads + task->first_head + i % task->n_heads,
                  task->total_o + i * job->head_dim, task->total_l[i]);
    }
}

/* A partial result is o [head_dim], m, l. */
static float *partial_at(const struct attend_job *job, const struct unit *unit, uint32_t row,
                         uint32_t head, uint32_t split)
{
    size_t i = ((size_t)row * job->params.n_heads + head) * unit->n_splits + split;
    i += unit->partials - unit->first_split;
    return job->cpu->kv.partials + i * (job->head_dim + 2);
}

/* One split, kept for merging. */
static void attend_part(struct attend_task *task, uint32_t split, bool has_next)
{
    const struct attend_job *job = task->job;
    uint32_t first, end = rows_of_split(task, split, &first);
    attend_split(task, split, first, end, has_next);
    for (uint32_t row = first; row < end; row++) {
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
    if (unit->task_splits) {
        const uint32_t parts = (unit->n_splits + unit->task_splits - 1) / unit->task_splits;
        const uint32_t begin = i % parts * unit->task_splits;
        uint32_t end = begin + unit->task_splits;
        end = end < unit->n_splits ? end : unit->n_splits;
        task_init(&task, job, unit, i / parts, thread);
        for (uint32_t split = begin; split < end; split++)
            attend_part(&task, unit->first_split + split, split + 1 < end);
    } else {
        task_init(&task, job, unit, i, thread);
        attend_whole(&task);
    }
}

/* Merges the partial results of one row's heads on one KV head. */
static void merge_task(void *context, uint32_t i, uint32_t thread)
{
    const struct attend_job *job = context;
    const struct unit *unit = job->units;
    const uint32_t n_kv_heads = job->kv->n_kv_heads;
    const uint32_t first = i % n_kv_heads * job->heads_per_kv;
    i /= n_kv_heads;
    while (i >= unit->rows.first + unit->rows.n)
        unit++;
    if (!unit->task_splits)
        return;
    const uint32_t row = i - unit->rows.first;
    const uint32_t start = start_of(job, unit, row) / SPLIT_TOKENS;
    const uint32_t last = position_of(job, unit, row) / SPLIT_TOKENS;
    float *o = job->cpu->threads[thread].attention;
    for (uint32_t head = first; head < first + job->heads_per_kv; head++) {
        float m = KERNELS_NOTHING, l = 0;
        memset(o, 0, job->head_dim * sizeof *o);
        for (uint32_t split = start; split <= last; split++) {
            const float *partial = partial_at(job, unit, row, head, split);
            job->cpu->kernels.attend_merge(o, &m, &l, partial, partial[job->head_dim],
                                           partial[job->head_dim + 1], job->head_dim);
        }
        write_out(job, (size_t)i * job->params.n_heads + head, o, l);
    }
}

/* Rows of a unit: a power of two, so that its queries are a multiple of what kernels like. */
static uint32_t unit_rows(const struct attend_job *job)
{
    uint32_t n = CPU_MAX_UNIT_ROWS;
    while (n > 1 && n * job->heads_per_group > CPU_MAX_QUERIES)
        n /= 2;
    return n;
}

/* Cuts the batch into units. */
static void make_units(struct attend_job *job)
{
    const struct cpu *cpu = job->cpu;
    const uint32_t most = unit_rows(job);
    struct unit *unit = NULL;
    for (uint32_t i = 0; i < cpu->n_rows; i++) {
        const struct backend_row *row = &cpu->batch->rows[i];
        if (i && row->sequence == row[-1].sequence && unit->rows.n < most) {
            unit->rows.n++;
        } else {
            unit = &job->units[job->n_units++];
            *unit = (struct unit){.rows = {i, 1, row->sequence}};
            unit->first_split = start_of(job, unit, 0) / SPLIT_TOKENS;
        }
        unit->n_splits = (uint32_t)row->position / SPLIT_TOKENS + 1 - unit->first_split;
    }
}

/* Decides which units are split, and numbers the tasks. Returns how many there are. */
static uint32_t make_tasks(struct attend_job *job, bool *any_split)
{
    const struct cpu *cpu = job->cpu;
    const uint32_t n_groups = job->kv->n_kv_heads * job->groups_per_kv;
    const uint32_t n_threads = pool_n_threads(cpu->pool);
    const uint32_t most = TASKS_PER_THREAD * n_threads;
    const bool few = n_threads > 1 && job->n_units * n_groups < most;
    uint32_t n_tasks = 0;
    size_t n_partials = 0;
    *any_split = false;
    for (uint32_t i = 0; i < job->n_units; i++) {
        struct unit *unit = &job->units[i];
        size_t n = (size_t)unit->rows.n * job->params.n_heads * unit->n_splits;
        unit->first_task = n_tasks;
        unit->partials = n_partials;
        uint32_t parts = 1;
        if (few && unit->n_splits > 1 && n <= cpu->kv.n_partials - n_partials) {
            unit->task_splits = job->n_units * n_groups * unit->n_splits / most + 1;
            parts = (unit->n_splits + unit->task_splits - 1) / unit->task_splits;
            n_partials += n;
            *any_split = true;
        }
        n_tasks += n_groups * parts;
    }
    return n_tasks;
}

void cpu_attend(struct backend *be, uint32_t layer, const struct backend_activation *q,
                const struct backend_attend_params *params, struct backend_activation *out)
{
    struct cpu *cpu = (struct cpu *)be;
    const uint32_t n_heads = params->n_heads;
    assert(layer < cpu->kv.n_layers);
    const struct cpu_kv_layer *kv = &cpu->kv.layers[layer];
    assert(kv->n_kv_heads && n_heads % kv->n_kv_heads == 0 && q->width == n_heads * kv->head_dim);
    assert(out->width == q->width && out != q && cpu->n_rows == cpu->batch->n_rows);
    struct attend_job job;
    job.cpu = cpu;
    job.layer = layer;
    job.kv = kv;
    job.params = *params;
    job.heads_per_kv = n_heads / kv->n_kv_heads;
    job.heads_per_group =
        job.heads_per_kv < CPU_MAX_QUERIES ? job.heads_per_kv : CPU_MAX_QUERIES;
    job.groups_per_kv = (job.heads_per_kv + job.heads_per_group - 1) / job.heads_per_group;
    job.head_dim = kv->head_dim;
    job.q = q->data;
    job.out = out->data;
    job.n_units = 0;
    make_units(&job);
    bool any_split;
    uint32_t n_tasks = make_tasks(&job, &any_split);
    pool_run(cpu->pool, n_tasks, attend_task, &job);
    if (any_split)
        pool_run(cpu->pool, cpu->n_rows * kv->n_kv_heads, merge_task, &job);
}
