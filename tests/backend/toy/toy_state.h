/* What the toy's files share: its state, and what is in toy_kv.c and toy_experts.c. */
#ifndef PENSIEVE_TESTS_BACKEND_TOY_STATE_H
#define PENSIEVE_TESTS_BACKEND_TOY_STATE_H

#include "backend/toy/toy.h"

enum {
    TOY_MAX_ROWS = 100,
    TOY_MAX_GIVEN = 64, /* of one step */
};

struct backend_activation {
    struct backend_activation *next;
    uint32_t width;
    float data[]; /* [TOY_MAX_ROWS][width] */
};

struct backend_matrix {
    struct backend_matrix *next;
    size_t n_in, n_out, n_experts;
    float data[]; /* [n_experts][n_out][n_in] */
};

struct toy_kv {
    struct backend_kv_layer *layers; /* [n_layers] */
    size_t *first;                   /* [n_layers] floats of a page before the layer's */
    uint32_t n_layers, n_pages, n_states;
    size_t page_floats, state_floats;
    float *pages;  /* [n_pages][page_floats]: of a layer [2][P][n_kv_heads * head_dim] */
    float *states; /* [n_states][state_floats] */
};

/* Floats for the host when the step ends. */
struct toy_given {
    float *to, *from;
    size_t n;
};

struct toy {
    struct backend base;
    struct backend_activation *activations;
    struct backend_matrix *matrices;
    struct toy_kv kv;
    const struct backend_batch *batch;
    uint32_t n_rows;
    struct toy_given given[TOY_MAX_GIVEN];
    uint32_t n_given;
    bool failed; /* the step: no memory */
};

/* In eight strands, which the compiler may put side by side. */
float toy_dot(const float *a, const float *b, size_t n);
void toy_experts(struct backend *be, const struct backend_activation *x,
                 const struct backend_activation *scores, const struct backend_experts *experts,
                 struct backend_activation *out);
bool toy_kv_init(struct backend *be, const struct backend_kv_shape *shape, struct error *err);
void toy_kv_deinit(struct toy *toy);
uint64_t toy_kv_page_bytes(const struct backend *be, const struct backend_kv_shape *shape);
uint64_t toy_kv_state_bytes(const struct backend *be, const struct backend_kv_shape *shape);
void toy_kv_page_copy(struct backend *be, uint32_t dst, uint32_t src, uint32_t n_tokens);
void toy_kv_state_clear(struct backend *be, uint32_t state);
void toy_kv_state_copy(struct backend *be, uint32_t dst, uint32_t src);
struct backend_save *toy_save_begin(struct backend *be, enum backend_kept kept, uint32_t id,
                                    struct error *err);
const void *toy_save_bytes(struct backend *be, struct backend_save *save, struct error *err);
void toy_save_end(struct backend *be, struct backend_save *save);
void *toy_load_begin(struct backend *be, enum backend_kept kept, uint32_t id, struct error *err);
bool toy_load_end(struct backend *be, enum backend_kept kept, uint32_t id, void *bytes,
                  bool is_whole, struct error *err);
void toy_kv_store(struct backend *be, uint32_t layer, const struct backend_activation *k,
                  const struct backend_activation *v);
void toy_attend(struct backend *be, uint32_t layer, const struct backend_activation *q,
                const struct backend_attend_params *params, struct backend_activation *out);

#endif
