/* The KV pages: one reserved range of memory, touched page by page. What lies where within a head's
 * part of a page is the kernels' choice. */
#include "backend/cpu/state.h"

#include <assert.h>
#include <string.h>

enum { P = BACKEND_PAGE_TOKENS };

_Static_assert((int)KERNELS_PAGE_TOKENS == (int)BACKEND_PAGE_TOKENS, "one page");
_Static_assert((int)KERNELS_TILE_TOKENS == (int)BACKEND_TILE_ROWS, "one tile");
_Static_assert((int)KERNELS_KV_F16 == (int)BACKEND_KV_F16, "one numbering");
_Static_assert((int)KERNELS_KV_Q8_0 == (int)BACKEND_KV_Q8_0, "one numbering");
_Static_assert((int)KERNELS_KV_Q4_0 == (int)BACKEND_KV_Q4_0, "one numbering");

static const struct kernels_kv *kernels_of(const struct cpu *cpu,
                                          const struct backend_kv_shape *shape)
{
    return &cpu->kernels.kv[shape->type];
}

uint64_t cpu_kv_page_bytes(const struct backend *be, const struct backend_kv_shape *shape)
{
    const struct cpu *cpu = (const struct cpu *)be;
    return (uint64_t)kernels_of(cpu, shape)->page_bytes(shape->head_dim) * shape->n_kv_heads *
           shape->n_layers;
}

static size_t pool_bytes(const struct cpu_kv *kv)
{
    return kv->shape.n_pages * kv->page_bytes;
}

static size_t partials_bytes(const struct cpu_kv *kv)
{
    return kv->n_partials * (kv->shape.head_dim + 2) * sizeof(float);
}

void cpu_kv_deinit(struct cpu *cpu)
{
    struct cpu_kv *kv = &cpu->kv;
    memory_unmap(kv->pages, pool_bytes(kv));
    memory_unmap(kv->partials, partials_bytes(kv));
    for (uint32_t i = 0; cpu->threads && i < pool_n_threads(cpu->pool); i++) {
        struct cpu_thread *t = &cpu->threads[i];
        memory_unmap(t->attention, t->n_attention_bytes);
        t->attention = NULL;
    }
    *kv = (struct cpu_kv){.pages = NULL};
}

uint64_t cpu_kv_resident(const struct cpu *cpu)
{
    return cpu->kv.pages ? memory_resident(cpu->kv.pages, pool_bytes(&cpu->kv)) : 0;
}

uint64_t cpu_kv_buffers_resident(const struct cpu *cpu)
{
    const struct cpu_kv *kv = &cpu->kv;
    if (!kv->pages)
        return 0;
    uint64_t n = memory_resident(kv->partials, partials_bytes(kv));
    for (uint32_t i = 0; i < pool_n_threads(cpu->pool); i++)
        n += memory_resident(cpu->threads[i].attention, cpu->threads[i].n_attention_bytes);
    return n;
}

bool cpu_kv_init(struct backend *be, const struct backend_kv_shape *shape, struct error *err)
{
    enum { PARTIALS_BYTES = 32 << 20 };
    struct cpu *cpu = (struct cpu *)be;
    cpu_kv_deinit(cpu);
    struct cpu_kv kv = {.shape = *shape};
    kv.kernels = kernels_of(cpu, shape);
    kv.head_bytes = kv.kernels->page_bytes(shape->head_dim);
    kv.page_bytes = cpu_kv_page_bytes(be, shape);
    if (!kv.page_bytes || shape->n_pages > SIZE_MAX / 2 / kv.page_bytes)
        return error_set(err, ERROR_TOO_LARGE, "a KV pool of %u pages", shape->n_pages);
    kv.n_partials = PARTIALS_BYTES / ((shape->head_dim + 2) * sizeof(float));
    kv.pages = memory_map(pool_bytes(&kv), "the KV pages", err);
    if (!kv.pages)
        return false;
    cpu->kv = kv;
    cpu->kv.partials = memory_map(partials_bytes(&kv), "attention", err);
    bool ok = cpu->kv.partials;
    for (uint32_t i = 0; ok && i < pool_n_threads(cpu->pool); i++) {
        struct cpu_thread *t = &cpu->threads[i];
        t->n_attention_bytes =
            (size_t)CPU_MAX_QUERIES * (4 + 2 * (size_t)shape->head_dim) * sizeof(float) +
            kv.kernels->scratch_bytes(shape->head_dim);
        t->attention = memory_map(t->n_attention_bytes, "attention", err);
        ok = t->attention;
    }
    if (!ok)
        cpu_kv_deinit(cpu);
    return ok;
}

void *cpu_kv_head(const struct cpu *cpu, uint32_t page, uint32_t layer, uint32_t kv_head)
{
    const struct cpu_kv *kv = &cpu->kv;
    assert(page < kv->shape.n_pages && layer < kv->shape.n_layers);
    return kv->pages + page * kv->page_bytes +
           ((size_t)layer * kv->shape.n_kv_heads + kv_head) * kv->head_bytes;
}

void *cpu_kv_page_data(struct backend *be, uint32_t page)
{
    return cpu_kv_head((const struct cpu *)be, page, 0, 0);
}

void cpu_kv_page_copy(struct backend *be, uint32_t dst, uint32_t src, uint32_t n_tokens)
{
    struct cpu *cpu = (struct cpu *)be;
    if (dst == src || !n_tokens)
        return;
    /* whole: keys of one token are scattered, and what stands behind n_tokens is never read */
    memcpy(cpu_kv_head(cpu, dst, 0, 0), cpu_kv_head(cpu, src, 0, 0), cpu->kv.page_bytes);
}

/* ---- storing ---- */

struct store_job {
    struct cpu *cpu;
    uint32_t layer;
    const float *k, *v; /* [n_rows][n_kv_heads * head_dim] */
};

static void store_head(const struct store_job *job, const struct cpu_rows *rows, uint32_t page,
                       uint32_t head)
{
    const struct cpu *cpu = job->cpu;
    const size_t head_dim = cpu->kv.shape.head_dim, width = head_dim * cpu->kv.shape.n_kv_heads;
    void *memory = cpu_kv_head(cpu, page, job->layer, head);
    for (uint32_t i = rows->first; i < rows->first + rows->n; i++) {
        const size_t slot = (size_t)cpu->batch->rows[i].position % P;
        const size_t at = i * width + head * head_dim;
        cpu->kv.kernels->store(memory, head_dim, slot, job->k + at, job->v + at);
    }
}

static void store_task(void *context, uint32_t i, uint32_t thread)
{
    const struct store_job *job = context;
    const struct cpu *cpu = job->cpu;
    const struct cpu_rows *rows = &cpu->segments[i];
    const struct backend_sequence *sequence = &cpu->batch->sequences[rows->sequence];
    uint32_t index = (uint32_t)cpu->batch->rows[rows->first].position / P;
    assert(index < sequence->n_pages);
    for (uint32_t head = 0; head < cpu->kv.shape.n_kv_heads; head++)
        store_head(job, rows, sequence->pages[index], head);
}

void cpu_kv_store(struct backend *be, uint32_t layer, const struct backend_activation *k,
                  const struct backend_activation *v)
{
    struct cpu *cpu = (struct cpu *)be;
    assert(k->width == cpu->kv.shape.n_kv_heads * cpu->kv.shape.head_dim && v->width == k->width);
    struct store_job job = {cpu, layer, k->data, v->data};
    if (cpu->n_rows > CPU_FEW_ROWS) {
        pool_run(cpu->pool, cpu->n_segments, store_task, &job);
    } else {
        for (uint32_t i = 0; i < cpu->n_segments; i++)
            store_task(&job, i, 0);
    }
}
