/* A whole model small enough for unit tests: two layers with random weights and a byte
 * vocabulary. */
#ifndef PENSIEVE_TESTS_SUPPORT_TINY_MODEL_H
#define PENSIEVE_TESTS_SUPPORT_TINY_MODEL_H

#include "backend/backend.h"
#include "support/gguf_builder.h"

#include <stddef.h>

enum {
    TINY_CONTEXT = 576,
    TINY_VOCAB =
        260, /* 256 bytes in order, <|end|> (256, ends a generation), <|start|>, <|mark|>, "ab" */
    TINY_END = 256,
    TINY_LAYERS = 2,
    TINY_HEADS = 4,
    TINY_KV_HEADS = 2,
    TINY_HEAD_DIM = 16,
    TINY_EMBD = TINY_HEADS * TINY_HEAD_DIM,
    TINY_FF = 96,
    TINY_KV_PAGE_BYTES = /* at most: a tier may add one key to each page */
        TINY_LAYERS *
        2 * TINY_KV_HEADS * (BACKEND_PAGE_TOKENS + 2) * TINY_HEAD_DIM * 2,
};

struct tiny_model {
    void *data; /* a GGUF file */
    size_t size;
};

void tiny_model_init(struct tiny_model *m); /* a llama; aborts when out of memory */
/* The same weights as "llama", "qwen2" (biases of 0) or "phi3" (fused), with what `more` puts: it
 * may be NULL. */
void tiny_model_init_as(struct tiny_model *m, const char *architecture,
                        void (*more)(struct gguf_builder *g));
/* And with another general.name than "tiny". */
void tiny_model_init_named(struct tiny_model *m, const char *architecture, const char *name,
                           void (*more)(struct gguf_builder *g));
void tiny_model_deinit(struct tiny_model *m);

/* What it is made of, for models of other shapes. Deterministic noise with the given deviation,
 * another for each name: the sum of a few uniform numbers. */
void tiny_model_noise(const char *name, float mean, float deviation, float *values, size_t n);
/* Uniform 32-bit words. */
void tiny_model_words(const char *name, uint32_t *words, size_t n);
void tiny_model_vocabulary(struct gguf_builder *g);

#endif
