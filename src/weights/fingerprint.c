/* A name for what a model computes with: see weights_fingerprint. */
#include "weights/file.h"

#include <xxhash.h>

/* Of the beginning, the middle and the end of each array of a tensor. */
enum { SAMPLE_BYTES = 4096 };

/* A hash of all that came before and of these bytes. */
static void hash_bytes(uint64_t hash[2], const void *data, uint64_t n)
{
    XXH128_hash_t h = XXH3_128bits(data ? data : hash, data ? (size_t)n : 0);
    const uint64_t both[4] = {hash[0], hash[1], h.low64, h.high64};
    h = XXH3_128bits(both, sizeof both);
    hash[0] = h.low64;
    hash[1] = h.high64;
}

static void hash_pieces(uint64_t hash[2], const void *data, uint64_t n_bytes)
{
    const uint8_t *bytes = data;
    const uint64_t n = n_bytes < SAMPLE_BYTES ? n_bytes : SAMPLE_BYTES;
    if (!n)
        return;
    hash_bytes(hash, bytes, n);
    hash_bytes(hash, bytes + (n_bytes - n) / 2, n);
    hash_bytes(hash, bytes + n_bytes - n, n);
}

static void hash_part(uint64_t hash[2], const struct file_part *part)
{
    uint64_t n = part->data_begin < part->size ? part->data_begin : part->size;
    const uint64_t file[2] = {part->size, (uint64_t)part->map.modified_ns};
    hash_bytes(hash, file, sizeof file);
    hash_bytes(hash, part->data, n);
}

static void hash_tensor(uint64_t hash[2], const struct weights_tensor *t)
{
    uint64_t n_scale_bytes = 0;
    if (t->group)
        n_scale_bytes = t->shape[0] / t->group * t->shape[1] * t->shape[2] * t->shape[3] *
                        matrix_scale_bytes(t->scale);
    uint64_t n_bias_bytes = t->biases ? n_scale_bytes : 0;
    hash_pieces(hash, t->data, t->n_bytes - n_scale_bytes - n_bias_bytes);
    hash_pieces(hash, t->scales, n_scale_bytes);
    hash_pieces(hash, t->biases, n_bias_bytes);
}

void weights_fingerprint(const struct weights *w, uint64_t out[2])
{
    struct weights_string config;
    out[0] = out[1] = 0;
    for (size_t i = 0; i < w->n_parts; i++)
        hash_part(out, &w->parts[i]);
    if (weights_text(w, "config.json", &config))
        hash_bytes(out, config.data, config.len);
    for (size_t i = 0; i < w->n_tensors; i++)
        hash_tensor(out, &w->tensors[i]);
}
