#include "support/tiny_model.h"

#include "support/byte_piece.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tiny_model_vocabulary(struct gguf_builder *g)
{
    static char bytes[256][4];
    const char *pieces[TINY_VOCAB];
    int32_t types[TINY_VOCAB];
    for (unsigned i = 0; i < 256; i++) {
        byte_piece_text(bytes[i], sizeof bytes[i], &(const char){(char)i}, 1);
        pieces[i] = bytes[i];
        types[i] = 1; /* normal */
    }
    const char *const last[] = {"<|end|>", "<|start|>", "<|mark|>", "ab"};
    const int32_t last_types[] = {3, 3, 4, 1}; /* control, control, user-defined, normal */
    for (unsigned i = 0; i < 4; i++) {
        pieces[256 + i] = last[i];
        types[256 + i] = last_types[i];
    }
    const char *merge = "a b";
    gguf_builder_string(g, "tokenizer.ggml.model", "gpt2");
    gguf_builder_string(g, "tokenizer.ggml.pre", "qwen2");
    gguf_builder_strings(g, "tokenizer.ggml.tokens", pieces, TINY_VOCAB);
    gguf_builder_i32s(g, "tokenizer.ggml.token_type", types, TINY_VOCAB);
    gguf_builder_strings(g, "tokenizer.ggml.merges", &merge, 1);
    gguf_builder_u32(g, "tokenizer.ggml.eos_token_id", TINY_END);
}

static uint32_t noise_state(const char *name)
{
    uint32_t state = 12345;
    for (const char *c = name; *c; c++)
        state = state * 31 + (unsigned char)*c;
    return state;
}

static uint32_t noise_after(uint32_t state)
{
    return state * 1664525 + 1013904223;
}

void tiny_model_noise(const char *name, float mean, float deviation, float *values, size_t n)
{
    uint32_t state = noise_state(name);
    for (size_t i = 0; i < n; i++) {
        float sum = 0;
        for (int k = 0; k < 4; k++) {
            state = noise_after(state);
            sum += (float)(state >> 8) / (float)(1 << 24) - 0.5f;
        }
        values[i] = mean + deviation * sum * 1.7320508f;
    }
}

void tiny_model_words(const char *name, uint32_t *words, size_t n)
{
    uint32_t state = noise_state(name);
    for (size_t i = 0; i < n; i++) {
        const uint32_t high = noise_after(state); /* the low bits of a state are poor */
        state = noise_after(high);
        words[i] = (high & 0xffff0000) | state >> 16;
    }
}

/* Rows of noise that has a name. */
struct part {
    const char *name;
    uint64_t n_rows;
};

/* A matrix of the parts one below the other; of no rows: a vector. */
static void put_parts(struct gguf_builder *g, const char *name, uint64_t n_cols,
                      const struct part *parts, size_t n_parts, float mean, float deviation)
{
    uint64_t n_rows = 0;
    for (size_t i = 0; i < n_parts; i++)
        n_rows += parts[i].n_rows;
    float *values = malloc(n_cols * (n_rows ? n_rows : 1) * sizeof *values), *at = values;
    if (!values)
        abort();
    for (size_t i = 0; i < n_parts; i++) {
        uint64_t n = n_cols * (parts[i].n_rows ? parts[i].n_rows : 1);
        tiny_model_noise(parts[i].name, mean, deviation, at, n);
        at += n;
    }
    gguf_builder_tensor(g, name, values, n_cols, n_rows);
    free(values);
}

static void put_noise(struct gguf_builder *g, const char *name, uint64_t n_cols, uint64_t n_rows,
                      float mean, float deviation)
{
    put_parts(g, name, n_cols, &(struct part){name, n_rows}, 1, mean, deviation);
}

enum { MATRIX_NAME = 64, MOST_PARTS = 3 };

/* "blk.<i>.<name>.weight", of the matrices that would have the parts' names. */
static void put_fused(struct gguf_builder *g, unsigned i, const char *name,
                      const struct part *parts, size_t n_parts)
{
    char whole[MATRIX_NAME], names[MOST_PARTS][MATRIX_NAME];
    struct part named[MOST_PARTS];
    for (size_t k = 0; k < n_parts; k++) {
        snprintf(names[k], MATRIX_NAME, "blk.%u.%s.weight", i, parts[k].name);
        named[k] = (struct part){names[k], parts[k].n_rows};
    }
    snprintf(whole, sizeof whole, "blk.%u.%s.weight", i, name);
    put_parts(g, whole, TINY_EMBD, named, n_parts, 0, 0.3f);
}

static void put_layer(struct gguf_builder *g, unsigned i, int is_fused)
{
    static const struct part qkv[] = {{"attn_q", TINY_EMBD},
                                      {"attn_k", TINY_KV_HEADS * TINY_HEAD_DIM},
                                      {"attn_v", TINY_KV_HEADS * TINY_HEAD_DIM}};
    static const struct part gate_up[] = {{"ffn_gate", TINY_FF}, {"ffn_up", TINY_FF}};
    char name[MATRIX_NAME];
    if (is_fused) {
        put_fused(g, i, "attn_qkv", qkv, 3);
        put_fused(g, i, "ffn_up", gate_up, 2);
    }
    for (size_t k = 0; k < 3 && !is_fused; k++)
        put_fused(g, i, qkv[k].name, &qkv[k], 1);
    for (size_t k = 0; k < 2 && !is_fused; k++)
        put_fused(g, i, gate_up[k].name, &gate_up[k], 1);
    snprintf(name, sizeof name, "blk.%u.attn_output.weight", i);
    put_noise(g, name, TINY_EMBD, TINY_EMBD, 0, 0.3f);
    snprintf(name, sizeof name, "blk.%u.ffn_down.weight", i);
    put_noise(g, name, TINY_FF, TINY_EMBD, 0, 0.3f);
    snprintf(name, sizeof name, "blk.%u.attn_norm.weight", i);
    put_noise(g, name, TINY_EMBD, 0, 1, 0.1f);
    snprintf(name, sizeof name, "blk.%u.ffn_norm.weight", i);
    put_noise(g, name, TINY_EMBD, 0, 1, 0.1f);
}

static void put_zero_biases(struct gguf_builder *g, unsigned i)
{
    static const float zeros[TINY_EMBD];
    static const char names[] = "qkv";
    for (int k = 0; k < 3; k++) {
        char name[MATRIX_NAME];
        snprintf(name, sizeof name, "blk.%u.attn_%c.bias", i, names[k]);
        gguf_builder_tensor(g, name, zeros, k ? TINY_KV_HEADS * TINY_HEAD_DIM : TINY_EMBD, 0);
    }
}

static void put_u32(struct gguf_builder *g, const char *architecture, const char *name,
                    uint32_t value)
{
    char key[MATRIX_NAME];
    snprintf(key, sizeof key, "%s.%s", architecture, name);
    gguf_builder_u32(g, key, value);
}

static void put_f32(struct gguf_builder *g, const char *architecture, const char *name, float value)
{
    char key[MATRIX_NAME];
    snprintf(key, sizeof key, "%s.%s", architecture, name);
    gguf_builder_f32(g, key, value);
}

void tiny_model_init_as(struct tiny_model *m, const char *architecture,
                        void (*more)(struct gguf_builder *g))
{
    tiny_model_init_named(m, architecture, "tiny", more);
}

void tiny_model_init_named(struct tiny_model *m, const char *architecture, const char *name,
                           void (*more)(struct gguf_builder *g))
{
    struct gguf_builder g;
    gguf_builder_init(&g);
    gguf_builder_string(&g, "general.architecture", architecture);
    gguf_builder_string(&g, "general.name", name);
    put_u32(&g, architecture, "block_count", TINY_LAYERS);
    put_u32(&g, architecture, "context_length", TINY_CONTEXT);
    put_u32(&g, architecture, "embedding_length", TINY_EMBD);
    put_u32(&g, architecture, "feed_forward_length", TINY_FF);
    put_u32(&g, architecture, "attention.head_count", TINY_HEADS);
    put_u32(&g, architecture, "attention.head_count_kv", TINY_KV_HEADS);
    put_f32(&g, architecture, "attention.layer_norm_rms_epsilon", 1e-5f);
    put_f32(&g, architecture, "rope.freq_base", 10000);
    tiny_model_vocabulary(&g);
    if (more)
        more(&g);
    put_noise(&g, "token_embd.weight", TINY_EMBD, TINY_VOCAB, 0, 1);
    put_noise(&g, "output_norm.weight", TINY_EMBD, 0, 1, 0.1f);
    put_noise(&g, "output.weight", TINY_EMBD, TINY_VOCAB, 0, 0.5f);
    for (unsigned i = 0; i < TINY_LAYERS; i++) {
        put_layer(&g, i, !strcmp(architecture, "phi3"));
        if (!strcmp(architecture, "qwen2"))
            put_zero_biases(&g, i);
    }
    m->data = gguf_builder_finish(&g, &m->size);
    if (!m->data)
        abort();
}

void tiny_model_init(struct tiny_model *m)
{
    tiny_model_init_as(m, "llama", NULL);
}

void tiny_model_deinit(struct tiny_model *m)
{
    free(m->data);
    m->data = NULL;
}
