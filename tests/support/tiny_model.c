#include "support/tiny_model.h"

#include "support/gguf_builder.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The printable stand-in of a byte in a byte-level vocabulary (GPT-2's table), as UTF-8. */
static void byte_piece(unsigned byte, char out[4])
{
    unsigned shown = byte, n_before = 0;
    for (unsigned b = 0; b < 256; b++) {
        int itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        if (b == byte && !itself)
            shown = 256 + n_before;
        n_before += !itself;
    }
    if (shown < 128)
        snprintf(out, 4, "%c", (int)shown);
    else
        snprintf(out, 4, "%c%c", (int)(0xc0 | shown >> 6), (int)(0x80 | (shown & 63)));
}

static void put_vocabulary(struct gguf_builder *g)
{
    static char bytes[256][4];
    const char *pieces[TINY_VOCAB];
    int32_t types[TINY_VOCAB];
    for (unsigned i = 0; i < 256; i++) {
        byte_piece(i, bytes[i]);
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

/* Deterministic noise with the given deviation: the sum of a few uniform numbers. */
static void put_noise(struct gguf_builder *g, const char *name, uint64_t n_cols, uint64_t n_rows,
                      float mean, float deviation)
{
    static uint32_t state;
    size_t n = n_cols * (n_rows ? n_rows : 1);
    float *values = malloc(n * sizeof *values);
    if (!values)
        abort();
    state = 12345;
    for (const char *c = name; *c; c++)
        state = state * 31 + (unsigned char)*c;
    for (size_t i = 0; i < n; i++) {
        float sum = 0;
        for (int k = 0; k < 4; k++) {
            state = state * 1664525 + 1013904223;
            sum += (float)(state >> 8) / (float)(1 << 24) - 0.5f;
        }
        values[i] = mean + deviation * sum * 1.7320508f;
    }
    gguf_builder_tensor(g, name, values, n_cols, n_rows);
    free(values);
}

static void put_layer(struct gguf_builder *g, unsigned i)
{
    const struct {
        const char *name;
        uint64_t n_in, n_out;
    } matrices[] = {
        {"attn_q", TINY_EMBD, TINY_EMBD},
        {"attn_k", TINY_EMBD, TINY_KV_HEADS * TINY_HEAD_DIM},
        {"attn_v", TINY_EMBD, TINY_KV_HEADS * TINY_HEAD_DIM},
        {"attn_output", TINY_EMBD, TINY_EMBD},
        {"ffn_gate", TINY_EMBD, TINY_FF},
        {"ffn_up", TINY_EMBD, TINY_FF},
        {"ffn_down", TINY_FF, TINY_EMBD},
    };
    char name[64];
    for (size_t k = 0; k < sizeof matrices / sizeof *matrices; k++) {
        snprintf(name, sizeof name, "blk.%u.%s.weight", i, matrices[k].name);
        put_noise(g, name, matrices[k].n_in, matrices[k].n_out, 0, 0.3f);
    }
    snprintf(name, sizeof name, "blk.%u.attn_norm.weight", i);
    put_noise(g, name, TINY_EMBD, 0, 1, 0.1f);
    snprintf(name, sizeof name, "blk.%u.ffn_norm.weight", i);
    put_noise(g, name, TINY_EMBD, 0, 1, 0.1f);
}

void tiny_model_init(struct tiny_model *m)
{
    struct gguf_builder g;
    gguf_builder_init(&g);
    gguf_builder_string(&g, "general.architecture", "llama");
    gguf_builder_string(&g, "general.name", "tiny");
    gguf_builder_u32(&g, "llama.block_count", TINY_LAYERS);
    gguf_builder_u32(&g, "llama.context_length", TINY_CONTEXT);
    gguf_builder_u32(&g, "llama.embedding_length", TINY_EMBD);
    gguf_builder_u32(&g, "llama.feed_forward_length", TINY_FF);
    gguf_builder_u32(&g, "llama.attention.head_count", TINY_HEADS);
    gguf_builder_u32(&g, "llama.attention.head_count_kv", TINY_KV_HEADS);
    gguf_builder_f32(&g, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_builder_f32(&g, "llama.rope.freq_base", 10000);
    put_vocabulary(&g);
    put_noise(&g, "token_embd.weight", TINY_EMBD, TINY_VOCAB, 0, 1);
    put_noise(&g, "output_norm.weight", TINY_EMBD, 0, 1, 0.1f);
    put_noise(&g, "output.weight", TINY_EMBD, TINY_VOCAB, 0, 0.5f);
    for (unsigned i = 0; i < TINY_LAYERS; i++)
        put_layer(&g, i);
    m->data = gguf_builder_finish(&g, &m->size);
    if (!m->data)
        abort();
}

void tiny_model_deinit(struct tiny_model *m)
{
    free(m->data);
    m->data = NULL;
}
