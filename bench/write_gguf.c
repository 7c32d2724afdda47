/* A GGUF file (v3) of a shape: the metadata that loaders ask for, and random tensors. */
#include "dummy_vocabulary.h"
#include "quant/quant.h"
#include "random_weights.h"
#include "support/gguf_builder.h"
#include "write_model.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_ELEMENTS = 1 << 18, ALIGNMENT = 32 };

struct writer {
    const struct model_shape *shape;
    const struct write_model_options *options;
    struct gguf_builder head;
    FILE *file;
    void *chunk; /* [CHUNK_ELEMENTS] of any type */
    const char *path;
    struct error *err;
};

/* ---- which type a tensor gets ---- */

/* The nearest type whose blocks fit a row, as the reference's quantizer chooses. */
static uint32_t fitting(uint32_t type, uint64_t n_in)
{
    const struct {
        uint32_t from, to;
    } fallback[] = {{QUANT_Q4_K, QUANT_Q5_0}, {QUANT_Q5_K, QUANT_Q5_1}, {QUANT_Q6_K, QUANT_Q8_0}};
    if (n_in % quant_traits(type)->block_elements == 0)
        return type;
    for (size_t i = 0; i < sizeof fallback / sizeof *fallback; i++)
        if (fallback[i].from == type)
            return fallback[i].to;
    return n_in % 32 == 0 ? QUANT_Q4_0 : QUANT_F16;
}

static uint32_t type_of(const struct writer *w, const struct model_shape_tensor *t)
{
    const uint32_t type = w->options->type;
    const struct quant_traits *traits = quant_traits(type);
    bool is_output =
        t->role == MODEL_SHAPE_OUTPUT || (t->role == MODEL_SHAPE_EMBEDDING && w->shape->is_tied);
    if (t->role != MODEL_SHAPE_MATRIX && t->role != MODEL_SHAPE_EMBEDDING && !is_output)
        return QUANT_F32;
    /* Below six bits an element the output gets Q6_K, as the reference's quantizer does it. */
    if (is_output && !w->options->is_pure && traits->block_bytes * 8 < traits->block_elements * 6)
        return fitting(QUANT_Q6_K, t->shape[0]);
    return fitting(type, t->shape[0]);
}

static uint64_t n_elements(const struct model_shape_tensor *t)
{
    return t->shape[0] * t->shape[1] * t->shape[2];
}

/* ---- metadata ---- */

static const char *key(const struct writer *w, const char *rest)
{
    static char text[96];
    snprintf(text, sizeof text, "%s.%s", w->shape->architecture, rest);
    return text;
}

static void put_hyper_parameters(struct writer *w)
{
    const struct model_shape *s = w->shape;
    struct gguf_builder *g = &w->head;
    gguf_builder_string(g, "general.architecture", s->architecture);
    gguf_builder_string(g, "general.name", s->title);
    gguf_builder_u32(g, "general.quantization_version", 2);
    gguf_builder_u32(g, key(w, "block_count"), s->n_layers);
    gguf_builder_u32(g, key(w, "context_length"), s->n_ctx);
    gguf_builder_u32(g, key(w, "embedding_length"), s->n_embd);
    gguf_builder_u32(g, key(w, "feed_forward_length"), s->n_ff);
    gguf_builder_u32(g, key(w, "attention.head_count"), s->n_heads);
    gguf_builder_u32(g, key(w, "attention.head_count_kv"), s->n_kv_heads);
    gguf_builder_f32(g, key(w, "attention.layer_norm_rms_epsilon"), s->norm_eps);
    gguf_builder_f32(g, key(w, "rope.freq_base"), s->rope_base);
    gguf_builder_u32(g, key(w, "rope.dimension_count"), s->head_dim);
    if (s->head_dim * s->n_heads != s->n_embd) {
        gguf_builder_u32(g, key(w, "attention.key_length"), s->head_dim);
        gguf_builder_u32(g, key(w, "attention.value_length"), s->head_dim);
    }
    if (s->n_experts) {
        gguf_builder_u32(g, key(w, "expert_count"), s->n_experts);
        gguf_builder_u32(g, key(w, "expert_used_count"), s->n_experts_used);
        gguf_builder_u32(g, key(w, "expert_feed_forward_length"), s->n_expert_ff);
    }
    if (s->n_ctx_original) {
        gguf_builder_u32(g, key(w, "rope.scaling.original_context_length"), s->n_ctx_original);
        gguf_builder_f32(g, key(w, "rope.scaling.attn_factor"), s->attn_factor);
    }
    if (s->sliding_window)
        gguf_builder_u32(g, key(w, "attention.sliding_window"), s->sliding_window);
}

static bool put_vocabulary(struct writer *w)
{
    struct dummy_vocabulary v;
    struct gguf_builder *g = &w->head;
    bool is_spm = w->shape->vocabulary == MODEL_SHAPE_SPM;
    bool ok = dummy_vocabulary_init(&v, w->shape->vocabulary, w->shape->n_vocab);
    if (ok) {
        gguf_builder_string(g, "tokenizer.ggml.model", is_spm ? "llama" : "gpt2");
        gguf_builder_string(g, "tokenizer.ggml.pre", w->shape->pre_tokenizer);
        gguf_builder_strings(g, "tokenizer.ggml.tokens", v.tokens, v.n);
        gguf_builder_i32s(g, "tokenizer.ggml.token_type", v.types, v.n);
        if (is_spm)
            gguf_builder_f32s(g, "tokenizer.ggml.scores", v.scores, v.n);
        else
            gguf_builder_strings(g, "tokenizer.ggml.merges", v.merges, v.n_merges);
        gguf_builder_u32(g, "tokenizer.ggml.bos_token_id", (uint32_t)v.bos);
        gguf_builder_u32(g, "tokenizer.ggml.eos_token_id", (uint32_t)v.eos);
        gguf_builder_u32(g, "tokenizer.ggml.eot_token_id", (uint32_t)v.eot);
        gguf_builder_u32(g, "tokenizer.ggml.padding_token_id", (uint32_t)v.padding);
        gguf_builder_bool(g, "tokenizer.ggml.add_bos_token", is_spm);
        gguf_builder_string(g, "tokenizer.chat_template", v.chat_template);
    }
    dummy_vocabulary_deinit(&v);
    return ok || error_set(w->err, ERROR_NO_MEMORY, "no memory for the vocabulary");
}

static bool declare(void *context, const struct model_shape_tensor *t)
{
    struct writer *w = context;
    const uint32_t type = type_of(w, t);
    const uint64_t n_rows = t->shape[1] * t->shape[2];
    gguf_builder_declare(&w->head, t->name, type, t->n_dims, t->shape,
                         quant_row_bytes(type, t->shape[0]) * n_rows);
    return true;
}

/* ---- data ---- */

static bool put_bytes(struct writer *w, const void *bytes, size_t n_bytes)
{
    return fwrite(bytes, 1, n_bytes, w->file) == n_bytes ||
           error_set(w->err, ERROR_IO, "%s: %s", w->path, strerror(errno));
}

/* LongRoPE's factors rise with the wave length; the long ones reach the ratio of the contexts. */
static void fill_factors(const struct model_shape_tensor *t, float *out)
{
    const float most = t->role == MODEL_SHAPE_LONG_FACTORS ? 64.0f : 2.8f;
    for (uint64_t i = 0; i < t->shape[0]; i++)
        out[i] = powf(most, (float)i / (float)(t->shape[0] - 1)) * 1.03f;
}

/* A product with the matrix keeps about the size of what goes in. */
static void fill(struct random_weights *r, const struct model_shape_tensor *t, uint32_t type,
                 void *out, size_t n)
{
    switch (t->role) {
    case MODEL_SHAPE_SHORT_FACTORS:
    case MODEL_SHAPE_LONG_FACTORS:
        fill_factors(t, out);
        break;
    case MODEL_SHAPE_NORM:
        random_weights_fill(r, type, 1.0f, 0.1f, out, n);
        break;
    case MODEL_SHAPE_BIAS:
        random_weights_fill(r, type, 0.0f, 0.1f, out, n);
        break;
    default:
        random_weights_fill(r, type, 0.0f, 1.0f / sqrtf((float)t->shape[0]), out, n);
    }
}

static bool put_data(void *context, const struct model_shape_tensor *t)
{
    static const char zeros[ALIGNMENT];
    struct writer *w = context;
    const uint32_t type = type_of(w, t);
    const uint64_t n = n_elements(t), n_bytes = quant_row_bytes(type, n);
    struct random_weights r;
    random_weights_init(&r, w->options->seed, t->name);
    for (uint64_t done = 0; done < n;) {
        size_t n_chunk = n - done < CHUNK_ELEMENTS ? (size_t)(n - done) : CHUNK_ELEMENTS;
        fill(&r, t, type, w->chunk, n_chunk);
        if (!put_bytes(w, w->chunk, quant_row_bytes(type, n_chunk)))
            return false;
        done += n_chunk;
    }
    return put_bytes(w, zeros, (size_t)(-n_bytes % ALIGNMENT));
}

static bool put_head(struct writer *w)
{
    size_t n_bytes;
    put_hyper_parameters(w);
    if (!put_vocabulary(w))
        return false;
    model_shape_tensors(w->shape, declare, w);
    void *head = gguf_builder_finish(&w->head, &n_bytes);
    bool ok = head ? put_bytes(w, head, n_bytes) : error_set(w->err, ERROR_NO_MEMORY, "no memory");
    free(head);
    return ok;
}

bool write_gguf(const struct model_shape *shape, const struct write_model_options *options,
                const char *path, struct error *err)
{
    struct writer w = {.shape = shape, .options = options, .path = path, .err = err};
    bool ok = false;
    gguf_builder_init(&w.head);
    w.chunk = malloc(CHUNK_ELEMENTS * sizeof(float));
    w.file = fopen(path, "wb");
    if (!w.chunk)
        error_set(err, ERROR_NO_MEMORY, "no memory");
    else if (!w.file)
        error_set(err, ERROR_IO, "%s: %s", path, strerror(errno));
    else
        ok = put_head(&w) && model_shape_tensors(shape, put_data, &w);
    gguf_builder_deinit(&w.head);
    free(w.chunk);
    if (w.file && fclose(w.file) && ok)
        ok = error_set(err, ERROR_IO, "%s: %s", path, strerror(errno));
    return ok;
}
