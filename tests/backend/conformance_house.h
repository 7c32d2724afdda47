/* Layers that keep keys and values, and stories: the whole input of a sequence, computed on the
 * backend in any chunks beside others, against the formula of attention. */
#ifndef PENSIEVE_TESTS_BACKEND_CONFORMANCE_HOUSE_H
#define PENSIEVE_TESTS_BACKEND_CONFORMANCE_HOUSE_H

#include "backend/conformance_parts.h"

enum {
    HOUSE_MAX_LAYERS = 6,
    HOUSE_MAX_TOKENS = 200,
    HOUSE_PAGES = HOUSE_MAX_TOKENS / BACKEND_PAGE_TOKENS + 1, /* of a sequence */
    HOUSE_POOL = CONFORMANCE_SEQUENCES * HOUSE_PAGES,
    HOUSE_STATES = 3,
};

struct house_layer {
    uint32_t n_heads; /* of the queries; 0: nothing is asked of it */
    struct backend_kv_layer kv;
};

/* What a sequence says in each layer: q [n][n_heads * head_dim], k and v [n][n_kv_heads *
 * head_dim], and what came out. */
struct story {
    uint32_t n;
    float *q[HOUSE_MAX_LAYERS], *k[HOUSE_MAX_LAYERS], *v[HOUSE_MAX_LAYERS];
    float *out[HOUSE_MAX_LAYERS];
};

struct house {
    struct backend *be;
    uint32_t n_layers;
    const struct house_layer *layers;
    enum backend_kv_type type;
    struct backend_kv_shape shape;
    struct backend_kv_layer kv[HOUSE_MAX_LAYERS];
    struct backend_activation *q[HOUSE_MAX_LAYERS], *k[HOUSE_MAX_LAYERS], *v[HOUSE_MAX_LAYERS],
        *out[HOUSE_MAX_LAYERS];
    struct conformance_step step;
    uint32_t pages[CONFORMANCE_SEQUENCES][HOUSE_PAGES]; /* scattered */
    struct story *stories[CONFORMANCE_SEQUENCES];       /* in the step */
    uint32_t first[CONFORMANCE_SEQUENCES], n[CONFORMANCE_SEQUENCES];
};

/* False: the backend has no such KV type (F16 it must have). */
bool house_init(struct house *h, const struct house_layer *layers, uint32_t n_layers,
                enum backend_kv_type type);
void house_deinit(struct house *h);

void story_init(struct story *s, const struct house *h, uint32_t n);
void story_deinit(struct story *s);

/* Adds positions [first, first + n) of a story, as that sequence, to the step; in ascending order
 * of sequences. */
void house_add(struct house *h, struct story *s, uint32_t sequence, uint32_t first, uint32_t n);
void house_run(struct house *h); /* the step, to the stories' out */
/* From position `first` to the story's end, in chunks. */
void house_tell(struct house *h, struct story *s, uint32_t sequence, uint32_t first,
                uint32_t chunk);

/* What came out is what the formula says, as exactly as the KV type lets it be. */
void house_check(const struct house *h, const struct story *s);
/* From position `first` on, both tell the same. */
void house_same(const struct house *h, const struct story *a, const struct story *b,
                uint32_t first, const char *what);

#endif
