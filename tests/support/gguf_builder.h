/* Writes a GGUF file in memory, for tests and bench/make_model: metadata and tensors in the order
 * they are put. */
#ifndef PENSIEVE_TESTS_SUPPORT_GGUF_BUILDER_H
#define PENSIEVE_TESTS_SUPPORT_GGUF_BUILDER_H

#include "base/buf.h"

#include <stdint.h>

struct gguf_builder {
    struct buf meta, infos, data;
    uint64_t n_meta, n_tensors;
    uint64_t n_data; /* bytes of all tensors so far, declared ones too */
};

void gguf_builder_init(struct gguf_builder *g);
void gguf_builder_deinit(struct gguf_builder *g); /* of one that is not finished */
void gguf_builder_u32(struct gguf_builder *g, const char *key, uint32_t value);
void gguf_builder_bool(struct gguf_builder *g, const char *key, bool value);
void gguf_builder_f32(struct gguf_builder *g, const char *key, float value);
void gguf_builder_string(struct gguf_builder *g, const char *key, const char *value);
void gguf_builder_strings(struct gguf_builder *g, const char *key, const char *const *values,
                          uint64_t n);
void gguf_builder_i32s(struct gguf_builder *g, const char *key, const int32_t *values, uint64_t n);
void gguf_builder_f32s(struct gguf_builder *g, const char *key, const float *values, uint64_t n);
/* A tensor whose n_bytes of data the caller writes after the finished file himself, in this order
 * and each padded to a multiple of 32. Not to be mixed with tensors that are put. */
void gguf_builder_declare(struct gguf_builder *g, const char *name, uint32_t type, uint32_t n_dims,
                          const uint64_t *shape, uint64_t n_bytes);
/* An F32 tensor [n_rows][n_cols] (n_rows 0: a vector). */
void gguf_builder_tensor(struct gguf_builder *g, const char *name, const float *values,
                         uint64_t n_cols, uint64_t n_rows);
/* The same of experts, [n_experts][n_rows][n_cols]. */
void gguf_builder_experts(struct gguf_builder *g, const char *name, const float *values,
                          uint64_t n_cols, uint64_t n_rows, uint64_t n_experts);
/* The same of any type; n_rows 0: a vector, n_experts 1: a matrix. */
void gguf_builder_blocks(struct gguf_builder *g, const char *name, uint32_t type, const void *data,
                         uint64_t n_bytes, uint64_t n_cols, uint64_t n_rows, uint64_t n_experts);
/* The whole file (free()); the builder is empty afterwards. */
void *gguf_builder_finish(struct gguf_builder *g, size_t *n_bytes);

#endif
