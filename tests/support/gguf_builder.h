/* Writes a GGUF file in memory, for tests: metadata and tensors in the order they are put. */
#ifndef PENSIEVE_TESTS_SUPPORT_GGUF_BUILDER_H
#define PENSIEVE_TESTS_SUPPORT_GGUF_BUILDER_H

#include "base/buf.h"

#include <stdint.h>

struct gguf_builder {
    struct buf meta, infos, data;
    uint64_t n_meta, n_tensors;
};

void gguf_builder_init(struct gguf_builder *g);
void gguf_builder_u32(struct gguf_builder *g, const char *key, uint32_t value);
void gguf_builder_f32(struct gguf_builder *g, const char *key, float value);
void gguf_builder_string(struct gguf_builder *g, const char *key, const char *value);
void gguf_builder_strings(struct gguf_builder *g, const char *key, const char *const *values,
                          uint64_t n);
void gguf_builder_i32s(struct gguf_builder *g, const char *key, const int32_t *values, uint64_t n);
/* An F32 tensor [n_rows][n_cols] (n_rows 0: a vector). */
void gguf_builder_tensor(struct gguf_builder *g, const char *name, const float *values,
                         uint64_t n_cols, uint64_t n_rows);
/* The whole file (free()); the builder is empty afterwards. */
void *gguf_builder_finish(struct gguf_builder *g, size_t *n_bytes);

#endif
