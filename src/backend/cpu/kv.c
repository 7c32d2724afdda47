/* The KV pages: one reserved range of memory, touched page by page. Keys lie transposed in a page,
 * so that attention has 64 keys side by side; values lie row by row. */
#include "backend/cpu/state.h"

#include <assert.h>
#include <string.h>

enum { P = BACKEND_PAGE_TOKENS };

_Static_assert((int)KERNELS_PAGE_TOKENS == (int)BACKEND_PAGE_TOKENS, "one page");

static size_t head_values(const struct backend_kv_shape *shape)
{
    return (size_t)2 * P * shape->head_dim;
}

static size_t page_values(const struct backend_kv_shape *shape)
{
    return head_values(shape) * shape->n_kv_heads * shape->n_layers;
}

uint64_t cpu_kv_page_bytes(const struct backend *be, const struct backend_kv_shape *shape)
{
    (void)be;
    return page_values(shape) * sizeof(uint16_t);
}

static size_t pool_bytes(const struct cpu_kv *kv)
{
    return kv->shape.n_pages * kv->page_values * sizeof(uint16_t);
}

static size_t partials_bytes(const struct cpu_kv *kv)
{
    return kv->n_partials * (kv->shape.head_dim + 2) * sizeof(float);
}

void cpu_kv_deinit(struct cpu *cpu)
{
    struct cpu_kv *kv = &cpu->kv;
    cpu_memory_unmap(kv->pages, pool_bytes(kv));
    cpu_memory_unmap(kv->partials, partials_bytes(kv));
    for (uint32_t i = 0; cpu->threads && i < pool_n_threads(cpu->pool); i++) {
        struct cpu_thread *t = &cpu->threads[i];
        cpu_memory_unmap(t->attention, t->n_attention_bytes);
        t->attention = NULL;
    }
    *kv = (struct cpu_kv){.pages = NULL};
}

bool cpu_kv_init(struct backend *be, const struct backend_kv_shape *shape, struct error *err)
{
    enum { PARTIALS_BYTES = 32 << 20 };
    struct cpu *cpu = (struct cpu *)be;
    cpu_kv_deinit(cpu);
    struct cpu_kv kv = {.shape = *shape};
    kv.head_values = head_values(shape);
    kv.page_values = page_values(shape);
    if (!kv.page_values || shape->n_pages > SIZE_MAX / 2 / sizeof(uint16_t) / kv.page_values)
        return error_set(err, ERROR_TOO_LARGE, "a KV pool of %u pages", shape->n_pages);
    kv.n_partials = PARTIALS_BYTES / ((shape->head_dim + 2) * sizeof(float));
    kv.pages = cpu_memory_map(pool_bytes(&kv), "the KV pages", err);
    if (!kv.pages)
        return false;
    cpu->kv = kv;
    cpu->kv.partials = cpu_memory_map(partials_bytes(&kv), "attention", err);
    bool ok = cpu->kv.partials;
    for (uint32_t i = 0; ok && i < pool_n_threads(cpu->pool); i++) {
        struct cpu_thread *t = &cpu->threads[i];
        t->n_attention_bytes =
            (size_t)CPU_MAX_QUERIES * (4 + 2 * (size_t)shape->head_dim) * sizeof(float);
        t->attention = cpu_memory_map(t->n_attention_bytes, "attention", err);
        ok = t->attention;
    }
    if (!ok)
        cpu_kv_deinit(cpu);
    return ok;
}

uint16_t *cpu_kv_keys(const struct cpu *cpu, uint32_t page, uint32_t layer, uint32_t kv_head)
{
    const struct cpu_kv *kv = &cpu->kv;
    assert(page < kv->shape.n_pages && layer < kv->shape.n_layers);
    return kv->pages + page * kv->page_values +
           ((size_t)layer * kv->shape.n_kv_heads + kv_head) * kv->head_values;
}

uint16_t *cpu_kv_values(const struct cpu *cpu, uint32_t page, uint32_t layer, uint32_t kv_head)
{
    return cpu_kv_keys(cpu, page, layer, kv_head) + (size_t)P * cpu->kv.shape.head_dim;
}

void cpu_kv_page_copy(struct backend *be, uint32_t dst, uint32_t src, uint32_t n_tokens)
{
    struct cpu *cpu = (struct cpu *)be;
    if (dst == src || !n_tokens)
        return;
    /* whole: keys of one token are scattered, and what stands behind n_tokens is never read */
    memcpy(cpu_kv_keys(cpu, dst, 0, 0), cpu_kv_keys(cpu, src, 0, 0),
           cpu->kv.page_values * sizeof(uint16_t));
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
    enum { CHUNK = 256 };
    const struct cpu *cpu = job->cpu;
    const size_t head_dim = cpu->kv.shape.head_dim, width = head_dim * cpu->kv.shape.n_kv_heads;
    uint16_t *keys = cpu_kv_keys(cpu, page, job->layer, head);
    uint16_t *values = cpu_kv_values(cpu, page, job->layer, head);
    for (uint32_t i = 0; i < rows->n; i++) {
        const size_t row = rows->first + i;
        const size_t slot = (size_t)cpu->batch->rows[row].position % P;
        const float *k = job->k + row * width + head * head_dim;
        cpu->kernels.f32_to_f16(job->v + row * width + head * head_dim, values + slot * head_dim,
                                head_dim);
        for (size_t d = 0; d < head_dim; d += CHUNK) {
            uint16_t converted[CHUNK];
            size_t n = head_dim - d < CHUNK ? head_dim - d : CHUNK;
            cpu->kernels.f32_to_f16(k + d, converted, n);
            for (size_t j = 0; j < n; j++)
                keys[(d + j) * P + slot] = converted[j];
        }
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
    if (cpu->n_rows > CPU_MAX_UNIT_ROWS) {
        pool_run(cpu->pool, cpu->n_segments, store_task, &job);
    } else {
        for (uint32_t i = 0; i < cpu->n_segments; i++)
            store_task(&job, i, 0);
    }
}
