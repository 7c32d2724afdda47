#include "support/parrot_model.h"

#include "support/byte_piece.h"
#include "support/gguf_builder.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_BYTES = 256,
    TOKEN_END = N_BYTES,
    TOKEN_START,
    N_FIXED,
    N_VOCAB = N_FIXED + PARROT_MAX_PIECES,
    HEAD_DIM = 32,
    EMBD = 288, /* a dimension for each token */
    HEADS = EMBD / HEAD_DIM,
    FF = 32,
    PIECE_BYTES = 1024,
};

static_assert(EMBD >= N_VOCAB, "each token has a dimension of its own");

static void put_vocabulary(struct gguf_builder *g, const char *const *pieces, unsigned n_pieces)
{
    static char texts[N_VOCAB][PIECE_BYTES];
    const char *tokens[N_VOCAB], *merge = "a b";
    int32_t types[N_VOCAB];
    for (unsigned i = 0; i < N_VOCAB; i++) {
        char byte = (char)i;
        tokens[i] = texts[i];
        types[i] = i >= N_BYTES && i < N_FIXED ? 3 : 1; /* control, normal */
        if (i < N_BYTES)
            byte_piece_text(texts[i], PIECE_BYTES, &byte, 1);
        else if (i < N_FIXED)
            strcpy(texts[i], i == TOKEN_END ? "<|end|>" : "<|start|>");
        else if (i - N_FIXED < n_pieces)
            byte_piece_text(texts[i], PIECE_BYTES, pieces[i - N_FIXED],
                            strlen(pieces[i - N_FIXED]));
        else
            snprintf(texts[i], PIECE_BYTES, "unused%u", i);
    }
    gguf_builder_string(g, "tokenizer.ggml.model", "gpt2");
    gguf_builder_string(g, "tokenizer.ggml.pre", "qwen2");
    gguf_builder_strings(g, "tokenizer.ggml.tokens", tokens, N_VOCAB);
    gguf_builder_i32s(g, "tokenizer.ggml.token_type", types, N_VOCAB);
    gguf_builder_strings(g, "tokenizer.ggml.merges", &merge, 1);
    gguf_builder_u32(g, "tokenizer.ggml.eos_token_id", TOKEN_END);
}

static void put_sizes(struct gguf_builder *g)
{
    gguf_builder_u32(g, "llama.block_count", 1);
    gguf_builder_u32(g, "llama.context_length", PARROT_CONTEXT);
    gguf_builder_u32(g, "llama.embedding_length", EMBD);
    gguf_builder_u32(g, "llama.feed_forward_length", FF);
    gguf_builder_u32(g, "llama.attention.head_count", HEADS);
    gguf_builder_u32(g, "llama.attention.head_count_kv", 1);
    gguf_builder_f32(g, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_builder_f32(g, "llama.rope.freq_base", 10000);
}

/* What follows a token. */
static unsigned successor(unsigned token, unsigned n_pieces)
{
    if (token == '\n' && n_pieces)
        return N_FIXED;
    return token >= N_FIXED && token + 1 < N_FIXED + n_pieces ? token + 1 : TOKEN_END;
}

static void put_matrices(struct gguf_builder *g, float *values, unsigned n_pieces)
{
    static const struct {
        const char *name;
        unsigned n_cols, n_rows;
    } zeros[] = {
        {"blk.0.attn_q.weight", EMBD, EMBD},     {"blk.0.attn_k.weight", EMBD, HEAD_DIM},
        {"blk.0.attn_v.weight", EMBD, HEAD_DIM}, {"blk.0.attn_output.weight", EMBD, EMBD},
        {"blk.0.ffn_gate.weight", EMBD, FF},     {"blk.0.ffn_up.weight", EMBD, FF},
        {"blk.0.ffn_down.weight", FF, EMBD},
    };
    static const char *const ones[] = {"output_norm.weight", "blk.0.attn_norm.weight",
                                       "blk.0.ffn_norm.weight"};
    for (size_t i = 0; i < sizeof zeros / sizeof *zeros; i++)
        gguf_builder_tensor(g, zeros[i].name, values, zeros[i].n_cols, zeros[i].n_rows);
    for (unsigned i = 0; i < N_VOCAB; i++)
        values[i * EMBD + i] = 1;
    gguf_builder_tensor(g, "token_embd.weight", values, EMBD, N_VOCAB);
    memset(values, 0, EMBD * EMBD * sizeof *values);
    for (unsigned i = 0; i < N_VOCAB; i++)
        values[successor(i, n_pieces) * EMBD + i] = 1;
    gguf_builder_tensor(g, "output.weight", values, EMBD, N_VOCAB);
    for (unsigned i = 0; i < EMBD; i++)
        values[i] = 1;
    for (size_t i = 0; i < sizeof ones / sizeof *ones; i++)
        gguf_builder_tensor(g, ones[i], values, EMBD, 0);
}

void *parrot_model_make(const char *chat_template, const char *const *pieces, unsigned n_pieces,
                        size_t *n_bytes)
{
    struct gguf_builder g;
    float *values = calloc(EMBD * EMBD, sizeof *values);
    if (!values || n_pieces > PARROT_MAX_PIECES) {
        free(values);
        return NULL;
    }
    gguf_builder_init(&g);
    gguf_builder_string(&g, "general.architecture", "llama");
    gguf_builder_string(&g, "general.name", "parrot");
    gguf_builder_string(&g, "tokenizer.chat_template", chat_template);
    put_sizes(&g);
    put_vocabulary(&g, pieces, n_pieces);
    put_matrices(&g, values, n_pieces);
    free(values);
    return gguf_builder_finish(&g, n_bytes);
}
