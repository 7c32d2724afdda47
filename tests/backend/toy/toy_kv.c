/* The toy's KV memory: floats at the place that their numbers say. */
#include "backend/toy/toy_state.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { P = BACKEND_PAGE_TOKENS };

/* ---- memory ---- */

static size_t layer_floats(const struct backend_kv_layer *layer)
{
    return layer->n_back ? 0 : (size_t)2 * P * layer->n_kv_heads * layer->head_dim;
}

uint64_t toy_kv_page_bytes(const struct backend *be, const struct backend_kv_shape *shape)
{
    uint64_t n = 0;
    (void)be;
    for (uint32_t i = 0; i < shape->n_layers; i++)
        n += layer_floats(&shape->layers[i]) * sizeof(float);
    return n;
}

uint64_t toy_kv_state_bytes(const struct backend *be, const struct backend_kv_shape *shape)
{
    uint64_t n = 0;
    (void)be;
    for (uint32_t i = 0; i < shape->n_layers; i++)
        n += shape->layers[i].n_state * sizeof(float);
    return n;
}

void toy_kv_deinit(struct toy *toy)
{
    free(toy->kv.layers);
    free(toy->kv.first);
    free(toy->kv.pages);
    free(toy->kv.states);
    toy->kv = (struct toy_kv){.layers = NULL};
}

static bool check_layer(const struct backend_kv_shape *shape, uint32_t i, struct error *err)
{
    const struct backend_kv_layer *layer = &shape->layers[i];
    if (layer->n_kv_heads && !layer->head_dim)
        return error_set(err, ERROR_UNSUPPORTED, "layer %u: heads of nothing", i);
    if (!layer->n_back)
        return true;
    if (layer->n_back > i)
        return error_set(err, ERROR_UNSUPPORTED, "layer %u reads one before the first", i);
    const struct backend_kv_layer *source = layer - layer->n_back;
    return (!source->n_back && source->n_kv_heads && source->n_kv_heads == layer->n_kv_heads &&
            source->head_dim == layer->head_dim) ||
           error_set(err, ERROR_UNSUPPORTED, "layer %u reads one of another shape", i);
}

bool toy_kv_init(struct backend *be, const struct backend_kv_shape *shape, struct error *err)
{
    struct toy *toy = (struct toy *)be;
    struct toy_kv *kv = &toy->kv;
    const uint64_t page_bytes = toy_kv_page_bytes(be, shape);
    const uint64_t state_bytes = toy_kv_state_bytes(be, shape);
    toy_kv_deinit(toy);
    for (uint32_t i = 0; i < shape->n_layers; i++)
        if (!check_layer(shape, i, err))
            return false;
    if (!page_bytes && !state_bytes)
        return error_set(err, ERROR_UNSUPPORTED, "no layer keeps anything");
    if (page_bytes * shape->n_pages > SIZE_MAX / 4 || page_bytes > UINT32_MAX)
        return error_set(err, ERROR_TOO_LARGE, "%u pages", shape->n_pages);
    *kv = (struct toy_kv){
        .layers = calloc(shape->n_layers, sizeof *kv->layers),
        .first = calloc(shape->n_layers, sizeof *kv->first),
        .n_layers = shape->n_layers,
        .n_pages = shape->n_pages,
        .n_states = shape->n_states,
        .state_floats = state_bytes / sizeof(float),
        .pages = calloc(shape->n_pages + 1, page_bytes + 1),
        .states = calloc(shape->n_states + 1, state_bytes + 1),
    };
    if (!kv->layers || !kv->first || !kv->pages || !kv->states) {
        toy_kv_deinit(toy);
        return error_set(err, ERROR_NO_MEMORY, "out of memory for the KV pages");
    }
    for (uint32_t i = 0; i < shape->n_layers; i++) {
        kv->layers[i] = shape->layers[i];
        kv->first[i] = kv->page_floats;
        kv->page_floats += layer_floats(&shape->layers[i]);
    }
    return true;
}

static float *kept_floats(const struct toy *toy, enum backend_kept kept, uint32_t id, size_t *n)
{
    const struct toy_kv *kv = &toy->kv;
    assert(id < (kept == BACKEND_STATE ? kv->n_states : kv->n_pages));
    *n = kept == BACKEND_STATE ? kv->state_floats : kv->page_floats;
    return (kept == BACKEND_STATE ? kv->states : kv->pages) + id * *n;
}

static void kept_copy(struct backend *be, enum backend_kept kept, uint32_t dst, uint32_t src)
{
    size_t n;
    float *to = kept_floats((struct toy *)be, kept, dst, &n);
    memmove(to, kept_floats((struct toy *)be, kept, src, &n), n * sizeof *to);
}

void toy_kv_page_copy(struct backend *be, uint32_t dst, uint32_t src, uint32_t n_tokens)
{
    (void)n_tokens;
    kept_copy(be, BACKEND_PAGE, dst, src);
}

void toy_kv_state_copy(struct backend *be, uint32_t dst, uint32_t src)
{
    kept_copy(be, BACKEND_STATE, dst, src);
}

void toy_kv_state_clear(struct backend *be, uint32_t state)
{
    size_t n;
    float *floats = kept_floats((struct toy *)be, BACKEND_STATE, state, &n);
    memset(floats, 0, n * sizeof *floats);
}

/* ---- to the host and back: a save is a copy, and so is a load ---- */

struct backend_save *toy_save_begin(struct backend *be, enum backend_kept kept, uint32_t id,
                                    struct error *err)
{
    size_t n;
    const float *floats = kept_floats((struct toy *)be, kept, id, &n);
    void *copy = malloc(n * sizeof *floats + 1);
    if (copy)
        memcpy(copy, floats, n * sizeof *floats);
    else
        error_set(err, ERROR_NO_MEMORY, "out of memory to save to");
    return copy;
}

const void *toy_save_bytes(struct backend *be, struct backend_save *save, struct error *err)
{
    (void)be;
    (void)err;
    return save;
}

void toy_save_end(struct backend *be, struct backend_save *save)
{
    (void)be;
    free(save);
}

void *toy_load_begin(struct backend *be, enum backend_kept kept, uint32_t id, struct error *err)
{
    return toy_save_begin(be, kept, id, err);
}

bool toy_load_end(struct backend *be, enum backend_kept kept, uint32_t id, void *bytes,
                  bool is_whole, struct error *err)
{
    size_t n;
    float *floats = kept_floats((struct toy *)be, kept, id, &n);
    (void)err;
    if (is_whole)
        memcpy(floats, bytes, n * sizeof *floats);
    free(bytes);
    return true;
}

/* ---- attention ---- */

/* What a layer holds of a position of a sequence: keys [n_kv_heads * head_dim], or values. */
static float *kv_at(const struct toy *toy, uint32_t layer, const struct backend_sequence *sequence,
                    uint32_t position, bool is_value)
{
    const struct toy_kv *kv = &toy->kv;
    layer -= kv->layers[layer].n_back;
    assert(layer < kv->n_layers && position / P < sequence->n_pages);
    const size_t width = (size_t)kv->layers[layer].n_kv_heads * kv->layers[layer].head_dim;
    const uint32_t page = sequence->pages[position / P];
    assert(page < kv->n_pages);
    return kv->pages + page * kv->page_floats + kv->first[layer] +
           ((is_value ? P : 0) + position % P) * width;
}

void toy_kv_store(struct backend *be, uint32_t layer, const struct backend_activation *k,
                  const struct backend_activation *v)
{
    struct toy *toy = (struct toy *)be;
    assert(!toy->kv.layers[layer].n_back);
    for (uint32_t i = 0; i < toy->n_rows; i++) {
        const struct backend_row *row = &toy->batch->rows[i];
        const struct backend_sequence *sequence = &toy->batch->sequences[row->sequence];
        memcpy(kv_at(toy, layer, sequence, (uint32_t)row->position, false), k->data + i * k->width,
               k->width * sizeof(float));
        memcpy(kv_at(toy, layer, sequence, (uint32_t)row->position, true), v->data + i * v->width,
               v->width * sizeof(float));
    }
}

/* One head of one row, in one pass: the sum so far is scaled down when a larger score comes. */
static void attend_head(const struct toy *toy, uint32_t layer, const struct backend_row *row,
                        uint32_t kv_head, const float *q, float scale, float *out)
{
    const struct backend_kv_layer *shape = &toy->kv.layers[layer];
    const struct backend_sequence *sequence = &toy->batch->sequences[row->sequence];
    const uint32_t position = (uint32_t)row->position, n = shape->head_dim;
    float most = -INFINITY, sum = 0;
    memset(out, 0, n * sizeof *out);
    for (uint32_t j = backend_first_seen(position, shape->window); j <= position; j++) {
        const float *k = kv_at(toy, layer, sequence, j, false) + (size_t)kv_head * n;
        const float *v = kv_at(toy, layer, sequence, j, true) + (size_t)kv_head * n;
        float score = 0;
        for (uint32_t i = 0; i < n; i++)
            score += q[i] * k[i];
        score *= scale;
        const float shrink = score > most ? expf(most - score) : 1;
        most = score > most ? score : most;
        const float weight = expf(score - most);
        sum = sum * shrink + weight;
        for (uint32_t i = 0; i < n; i++)
            out[i] = out[i] * shrink + weight * v[i];
    }
    for (uint32_t i = 0; i < n; i++)
        out[i] /= sum;
}

void toy_attend(struct backend *be, uint32_t layer, const struct backend_activation *q,
                const struct backend_attend_params *params, struct backend_activation *out)
{
    const struct toy *toy = (const struct toy *)be;
    const struct backend_kv_layer *shape = &toy->kv.layers[layer];
    for (uint32_t i = 0; i < toy->n_rows; i++)
        for (uint32_t h = 0; h < params->n_heads; h++) {
            const size_t at = i * q->width + h * shape->head_dim;
            attend_head(toy, layer, &toy->batch->rows[i],
                        h / (params->n_heads / shape->n_kv_heads), q->data + at, params->scale,
                        out->data + at);
        }
}
