/* The KV pages: one reserved range of memory, touched page by page. What lies where within a head's
 * part of a page is the kernels' choice. */
#include "backend/cpu/state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { P = BACKEND_PAGE_TOKENS };

_Static_assert((int)KERNELS_PAGE_TOKENS == (int)BACKEND_PAGE_TOKENS, "one page");
_Static_assert((int)KERNELS_KV_F16 == (int)BACKEND_KV_F16, "one numbering");
_Static_assert((int)KERNELS_KV_Q8_0 == (int)BACKEND_KV_Q8_0, "one numbering");
_Static_assert((int)KERNELS_KV_Q4_0 == (int)BACKEND_KV_Q4_0, "one numbering");

/* ---- the layers' parts of a page ---- */

static bool layer_keeps(const struct backend_kv_layer *layer)
{
    return layer->n_kv_heads && !layer->n_back;
}

uint64_t cpu_kv_page_bytes(const struct backend *be, const struct backend_kv_shape *shape)
{
    const struct kernels_kv *kernels = &((const struct cpu *)be)->kernels.kv[shape->type];
    uint64_t n = 0;
    for (uint32_t i = 0; i < shape->n_layers; i++)
        if (layer_keeps(&shape->layers[i]))
            n += (uint64_t)kernels->page_bytes(shape->layers[i].head_dim) *
                 shape->layers[i].n_kv_heads;
    return n;
}

uint64_t cpu_kv_state_bytes(const struct backend *be, const struct backend_kv_shape *shape)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < shape->n_layers; i++)
        n += (uint64_t)shape->layers[i].n_state * sizeof(float);
    return n;
}

/* May a layer read what `source` keeps? */
static bool layer_fits(const struct backend_kv_layer *layer, const struct cpu_kv_layer *source)
{
    return source->is_own && source->n_kv_heads == layer->n_kv_heads &&
           source->head_dim == layer->head_dim;
}

/* Layer i; *first, the first byte of a page that no layer has yet, moves past its part. */
static bool set_layer(struct cpu_kv *kv, const struct backend_kv_shape *shape, uint32_t i,
                      size_t *first, struct error *err)
{
    const struct backend_kv_layer *from = &shape->layers[i];
    struct cpu_kv_layer *to = &kv->layers[i];
    if (from->n_kv_heads && (!from->head_dim || from->head_dim % 2))
        return error_set(err, ERROR_UNSUPPORTED, "layer %u: KV heads of %u dimensions", i,
                         from->head_dim);
    if (from->n_back) {
        if (from->n_back > i || !layer_fits(from, &kv->layers[i - from->n_back]))
            return error_set(err, ERROR_UNSUPPORTED,
                             "layer %u reads the KV of one that keeps no such", i);
        *to = kv->layers[i - from->n_back];
        to->is_own = false;
    } else {
        *to = (struct cpu_kv_layer){from->n_kv_heads, from->head_dim, 0, from->n_kv_heads > 0,
                                    *first, kv->kernels->page_bytes(from->head_dim)};
        *first += to->head_bytes * to->n_kv_heads;
    }
    to->window = from->window;
    if (kv->max_head_dim < to->head_dim)
        kv->max_head_dim = to->head_dim;
    return true;
}

/* ---- memory ---- */

static size_t pool_bytes(const struct cpu_kv *kv)
{
    return kv->n_pages * kv->page_bytes;
}

static size_t states_bytes(const struct cpu_kv *kv)
{
    return kv->n_states * kv->state_bytes;
}

static size_t partials_bytes(const struct cpu_kv *kv)
{
    return kv->n_partials * (kv->max_head_dim + 2) * sizeof(float);
}

void cpu_kv_deinit(struct cpu *cpu)
{
    struct cpu_kv *kv = &cpu->kv;
    memory_unmap(kv->pages, pool_bytes(kv));
    memory_unmap(kv->states, states_bytes(kv));
    memory_unmap(kv->partials, partials_bytes(kv));
    free(kv->layers);
    for (uint32_t i = 0; cpu->threads && i < pool_n_threads(cpu->pool); i++) {
        struct cpu_thread *t = &cpu->threads[i];
        memory_unmap(t->attention, t->n_attention_bytes);
        t->attention = NULL;
    }
    *kv = (struct cpu_kv){.pages = NULL};
}

uint64_t cpu_kv_resident(const struct cpu *cpu)
{
    const struct cpu_kv *kv = &cpu->kv;
    return (kv->pages ? memory_resident(kv->pages, pool_bytes(kv)) : 0) +
           (kv->states ? memory_resident(kv->states, states_bytes(kv)) : 0);
}

uint64_t cpu_kv_buffers_resident(const struct cpu *cpu)
{
    const struct cpu_kv *kv = &cpu->kv;
    if (!kv->partials)
        return 0;
    uint64_t n = memory_resident(kv->partials, partials_bytes(kv));
    for (uint32_t i = 0; i < pool_n_threads(cpu->pool); i++)
        n += memory_resident(cpu->threads[i].attention, cpu->threads[i].n_attention_bytes);
    return n;
}

static bool map_pages(struct cpu_kv *kv, struct error *err)
{
    const uint64_t most = SIZE_MAX / 2;
    if (!kv->page_bytes && !kv->state_bytes)
        return error_set(err, ERROR_UNSUPPORTED, "no layer keeps anything");
    if ((kv->page_bytes && kv->n_pages > most / kv->page_bytes) ||
        (kv->state_bytes && kv->n_states > most / kv->state_bytes))
        return error_set(err, ERROR_TOO_LARGE, "a KV pool of %u pages", kv->n_pages);
    if (pool_bytes(kv) && !(kv->pages = memory_map(pool_bytes(kv), "the KV pages", err)))
        return false;
    return !states_bytes(kv) || (kv->states = memory_map(states_bytes(kv), "the states", err));
}

static bool map_attention(struct cpu *cpu, struct error *err)
{
    enum { PARTIALS_BYTES = 32 << 20 };
    struct cpu_kv *kv = &cpu->kv;
    const size_t head_dim = kv->max_head_dim;
    if (!head_dim)
        return true;
    kv->n_partials = PARTIALS_BYTES / ((head_dim + 2) * sizeof(float));
    kv->partials = memory_map(partials_bytes(kv), "attention", err);
    bool ok = kv->partials;
    for (uint32_t i = 0; ok && i < pool_n_threads(cpu->pool); i++) {
        struct cpu_thread *t = &cpu->threads[i];
        t->n_attention_bytes = (size_t)CPU_MAX_QUERIES * (4 + 2 * head_dim) * sizeof(float) +
                               kv->kernels->scratch_bytes(head_dim);
        t->attention = memory_map(t->n_attention_bytes, "attention", err);
        ok = t->attention;
    }
    return ok;
}

bool cpu_kv_init(struct backend *be, const struct backend_kv_shape *shape, struct error *err)
{
    struct cpu *cpu = (struct cpu *)be;
    struct cpu_kv *kv = &cpu->kv;
    cpu_kv_deinit(cpu);
    *kv = (struct cpu_kv){
        .n_layers = shape->n_layers,
        .n_pages = shape->n_pages,
        .n_states = shape->n_states,
        .layers = calloc(shape->n_layers + 1, sizeof *kv->layers),
        .kernels = &cpu->kernels.kv[shape->type],
        .page_bytes = cpu_kv_page_bytes(be, shape),
        .state_bytes = cpu_kv_state_bytes(be, shape),
    };
    size_t first = 0;
    bool ok = kv->layers || error_set(err, ERROR_NO_MEMORY, "out of memory for the KV's layers");
    for (uint32_t i = 0; ok && i < shape->n_layers; i++)
        ok = set_layer(kv, shape, i, &first, err);
    ok = ok && map_pages(kv, err) && map_attention(cpu, err);
    if (!ok)
        cpu_kv_deinit(cpu);
    return ok;
}

void *cpu_kv_head(const struct cpu *cpu, uint32_t page, uint32_t layer, uint32_t kv_head)
{
    const struct cpu_kv *kv = &cpu->kv;
    assert(page < kv->n_pages && layer < kv->n_layers);
    const struct cpu_kv_layer *part = &kv->layers[layer];
    return kv->pages + page * kv->page_bytes + part->first + kv_head * part->head_bytes;
}

void *cpu_kv_bytes(const struct cpu *cpu, enum backend_kept kept, uint32_t id, size_t *n_bytes)
{
    const struct cpu_kv *kv = &cpu->kv;
    if (kept == BACKEND_STATE) {
        assert(id < kv->n_states);
        *n_bytes = kv->state_bytes;
        return kv->states + id * (kv->state_bytes / sizeof *kv->states);
    }
    assert(id < kv->n_pages);
    *n_bytes = kv->page_bytes;
    return kv->pages + id * kv->page_bytes;
}

void cpu_kv_page_copy(struct backend *be, uint32_t dst, uint32_t src, uint32_t n_tokens)
{
    struct cpu *cpu = (struct cpu *)be;
    size_t n_bytes;
    if (dst == src || !n_tokens)
        return;
    /* whole: keys of one token are scattered, and what stands behind n_tokens is never read */
    void *to = cpu_kv_bytes(cpu, BACKEND_PAGE, dst, &n_bytes);
    memcpy(to, cpu_kv_bytes(cpu, BACKEND_PAGE, src, &n_bytes), n_bytes);
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
    const struct cpu_kv_layer *kv = &cpu->kv.layers[job->layer];
    const size_t head_dim = kv->head_dim, width = head_dim * kv->n_kv_heads;
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
    for (uint32_t head = 0; head < cpu->kv.layers[job->layer].n_kv_heads; head++)
        store_head(job, rows, sequence->pages[index], head);
}

void cpu_kv_store(struct backend *be, uint32_t layer, const struct backend_activation *k,
                  const struct backend_activation *v)
{
    struct cpu *cpu = (struct cpu *)be;
    assert(layer < cpu->kv.n_layers && cpu->kv.layers[layer].is_own);
    assert(k->width == cpu->kv.layers[layer].n_kv_heads * cpu->kv.layers[layer].head_dim);
    assert(v->width == k->width);
    struct store_job job = {cpu, layer, k->data, v->data};
    if (cpu->n_rows > CPU_FEW_ROWS) {
        pool_run(cpu->pool, cpu->n_segments, store_task, &job);
    } else {
        for (uint32_t i = 0; i < cpu->n_segments; i++)
            store_task(&job, i, 0);
    }
}
