/* The head of a GGUF file (version 3; github.com/ggml-org/ggml, docs/gguf.md): metadata, and what
 * is said of the tensors. Knows the meaning of no key. */
#ifndef PENSIEVE_CONVERT_GGUF_WRITER_H
#define PENSIEVE_CONVERT_GGUF_WRITER_H

#include "convert/plan.h"

/* Metadata in the order it is put. What fails is told at the end. Keys are terminated. */
struct gguf_writer {
    struct buf meta;
    uint64_t n_meta;
};

void gguf_writer_init(struct gguf_writer *g);
void gguf_writer_deinit(struct gguf_writer *g);

void gguf_writer_uint(struct gguf_writer *g, const char *key, uint32_t value);
void gguf_writer_float(struct gguf_writer *g, const char *key, float value);
void gguf_writer_bool(struct gguf_writer *g, const char *key, bool value);
void gguf_writer_string(struct gguf_writer *g, const char *key, const char *text, size_t len);
void gguf_writer_strings(struct gguf_writer *g, const char *key,
                         const struct weights_string *items, size_t n);
void gguf_writer_ints(struct gguf_writer *g, const char *key, const int32_t *items, size_t n);
void gguf_writer_floats(struct gguf_writer *g, const char *key, const float *items, size_t n);
void gguf_writer_bools(struct gguf_writer *g, const char *key, const bool *items, size_t n);
/* An entry of another file as it is there. */
void gguf_writer_copy(struct gguf_writer *g, const struct weights *w, size_t i);

/* Makes the plan's only file of it, and lays out the tensors. NO_MEMORY. */
bool gguf_writer_finish(struct gguf_writer *g, struct plan *p, struct error *err);

#endif
