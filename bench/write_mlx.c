/* A model folder as mlx-lm writes it: config.json, tokenizer.json and model.safetensors
 * (github.com/huggingface/safetensors: an 8-byte length, a JSON header, then the tensors). A
 * quantized matrix [n_out][n_in] is three tensors: weight, 32-bit words of packed numbers, lowest
 * bits first, and scales and biases [n_out][n_in / group], w = scale * q + bias. */
#include "base/buf.h"
#include "dummy_vocabulary.h"
#include "quant/half.h"
#include "quant/quant.h"
#include "random_weights.h"
#include "weights/tensor_names.h"
#include "write_model.h"
#include "write_tokenizer.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CHUNK_BYTES = 1 << 20, ROUTER_BITS = 8 };

struct mlx {
    const struct model_shape *shape;
    const struct write_model_options *options;
    const struct dummy_vocabulary *vocabulary;
    struct buf header;
    uint64_t n_data; /* bytes of tensors so far */
    FILE *file;
    uint8_t *chunk; /* [CHUNK_BYTES] */
    struct error *err;
};

/* One tensor of the file. */
struct mlx_tensor {
    char name[128];
    const char *dtype; /* as safetensors names it */
    uint64_t shape[3]; /* {n_experts or 0, n_rows or 0, n_columns} */
    uint64_t n_bytes;
};

/* "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj", without the last word; false for what
 * MLX keeps in the config. */
static bool mlx_name(const struct mlx *m, const char *gguf, char out[100])
{
    unsigned layer = 0;
    int at = 0;
    bool in_layer = sscanf(gguf, "blk.%u.%n", &layer, &at) == 1 && at;
    const char *rest = gguf + at, *dot = strchr(rest, '.');
    for (const struct tensor_name *row = tensor_names; row->gguf; row++) {
        const char *name = row->folder;
        if (strlen(row->gguf) != (size_t)(dot - rest) ||
            strncmp(row->gguf, rest, (size_t)(dot - rest)) != 0)
            continue;
        if (m->shape->is_fused && !strcmp(name, "mlp.up_proj"))
            name = "mlp.gate_up_proj";
        if (in_layer)
            snprintf(out, 100, "model.layers.%u.%s", layer, name);
        else
            snprintf(out, 100, "%s%s", strcmp(name, "lm_head") != 0 ? "model." : "", name);
        return true;
    }
    return false;
}

static bool put_bytes(struct mlx *m, const void *bytes, size_t n_bytes)
{
    return fwrite(bytes, 1, n_bytes, m->file) == n_bytes ||
           error_set(m->err, ERROR_IO, "model.safetensors: %s", strerror(errno));
}

/* ---- the tensors, in two passes: header, data ---- */

static void declare(struct mlx *m, const struct mlx_tensor *t)
{
    buf_printf(&m->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", m->n_data ? "," : "", t->name,
               t->dtype);
    for (int i = 0; i < 2; i++)
        if (t->shape[i])
            buf_printf(&m->header, "%" PRIu64 ",", t->shape[i]);
    buf_printf(&m->header, "%" PRIu64 "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", t->shape[2],
               m->n_data, m->n_data + t->n_bytes);
    m->n_data += t->n_bytes;
}

static bool put_random_bits(struct mlx *m, const struct mlx_tensor *t)
{
    struct random_weights r;
    random_weights_init(&r, m->options->seed, t->name);
    for (uint64_t left = t->n_bytes; left;) {
        size_t n = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        random_weights_bytes(&r, m->chunk, n);
        if (!put_bytes(m, m->chunk, n))
            return false;
        left -= n;
    }
    return true;
}

static bool put_floats(struct mlx *m, const struct mlx_tensor *t, float mean, float deviation)
{
    struct random_weights r;
    random_weights_init(&r, m->options->seed, t->name);
    for (uint64_t left = t->n_bytes / 2; left;) {
        size_t n = left < CHUNK_BYTES / 2 ? (size_t)left : CHUNK_BYTES / 2;
        random_weights_fill(&r, m->options->is_bf16 ? QUANT_BF16 : QUANT_F16, mean, deviation,
                            m->chunk, n);
        if (!put_bytes(m, m->chunk, 2 * n))
            return false;
        left -= n;
    }
    return true;
}

/* Scales and biases that agree, so that the mean of a group is about 0. */
static bool put_quantized(struct mlx *m, const struct mlx_tensor *weight,
                          const struct mlx_tensor *scales, const struct mlx_tensor *biases,
                          uint64_t n_in, uint32_t bits)
{
    const float levels = (float)(1 << bits);
    const float deviation = sqrtf((levels * levels - 1) / 12), d = 1 / sqrtf((float)n_in);
    return put_random_bits(m, weight) &&
           put_floats(m, scales, d / deviation, 0.2f * d / deviation) &&
           put_floats(m, biases, -d / deviation * (levels - 1) / 2, 0.1f * d);
}

/* n_experts 0: one matrix; n_rows 0, too: a vector */
static struct mlx_tensor tensor(const char *name, const char *word, const char *dtype,
                                const uint64_t shape[3], uint64_t item_bytes)
{
    struct mlx_tensor t = {.dtype = dtype, .n_bytes = item_bytes};
    snprintf(t.name, sizeof t.name, "%s.%s", name, word);
    for (int i = 0; i < 3; i++) {
        t.shape[i] = shape[i];
        t.n_bytes *= shape[i] ? shape[i] : 1;
    }
    return t;
}

/* mlx-lm gives routers eight bits, as the config then says of each. */
static uint32_t bits_of(const struct mlx *m, const struct model_shape_tensor *shape)
{
    return shape->role == MODEL_SHAPE_ROUTER ? ROUTER_BITS : m->options->bits;
}

static bool put_vector(struct mlx *m, const struct model_shape_tensor *shape, const char *name,
                       const char *dtype)
{
    const bool is_norm = shape->role == MODEL_SHAPE_NORM;
    const struct mlx_tensor t = tensor(name, is_norm ? "weight" : "bias", dtype,
                                       (const uint64_t[]){0, 0, shape->shape[0]}, 2);
    if (m->file)
        return put_floats(m, &t, is_norm ? 1 : 0, 0.1f);
    declare(m, &t);
    return true;
}

static bool put_tensor(void *context, const struct model_shape_tensor *shape)
{
    struct mlx *m = context;
    const struct write_model_options *o = m->options;
    const char *dtype = o->is_bf16 ? "BF16" : "F16";
    char name[100];
    if (!mlx_name(m, shape->name, name))
        return true;
    if (shape->n_dims == 1)
        return put_vector(m, shape, name, dtype);
    const uint32_t bits = bits_of(m, shape);
    const uint64_t n_in = shape->shape[0], n_out = shape->shape[1];
    const uint64_t n_experts = shape->n_dims == 3 ? shape->shape[2] : 0;
    const uint64_t words[] = {n_experts, n_out, n_in * bits / 32};
    const uint64_t groups[] = {n_experts, n_out, n_in / o->group};
    const struct mlx_tensor weight = tensor(name, "weight", "U32", words, sizeof(uint32_t));
    const struct mlx_tensor scales = tensor(name, "scales", dtype, groups, 2);
    const struct mlx_tensor biases = tensor(name, "biases", dtype, groups, 2);
    if (m->file)
        return put_quantized(m, &weight, &scales, &biases, n_in, bits);
    declare(m, &weight);
    declare(m, &scales);
    declare(m, &biases);
    return true;
}

static bool put_safetensors(struct mlx *m)
{
    buf_puts(&m->header, "{");
    FILE *file = m->file;
    m->file = NULL;
    model_shape_tensors(m->shape, put_tensor, m);
    m->file = file;
    buf_puts(&m->header, "}");
    while (m->header.len % 8)
        buf_putc(&m->header, ' ');
    if (buf_failed(&m->header))
        return error_set(m->err, ERROR_NO_MEMORY, "no memory for the header");
    uint64_t n_header = m->header.len;
    return put_bytes(m, &n_header, sizeof n_header) &&
           put_bytes(m, m->header.data, m->header.len) &&
           model_shape_tensors(m->shape, put_tensor, m);
}

/* ---- config.json ---- */

static void put_factors(struct buf *json, const char *name, uint32_t n, float most, bool last)
{
    buf_printf(json, "    \"%s\": [", name);
    for (uint32_t i = 0; i < n; i++)
        buf_printf(json, "%s%.4f", i ? ", " : "",
                   (double)(powf(most, (float)i / (float)(n - 1)) * 1.03f));
    buf_printf(json, "]%s\n", last ? "" : ",");
}

/* The numbers that Hugging Face's names have. */
static void describe_shape(const struct model_shape *s, struct buf *json)
{
    buf_printf(json, "  \"hidden_size\": %u,\n  \"intermediate_size\": %u,\n", s->n_embd, s->n_ff);
    buf_printf(json, "  \"num_hidden_layers\": %u,\n  \"num_attention_heads\": %u,\n", s->n_layers,
               s->n_heads);
    buf_printf(json, "  \"num_key_value_heads\": %u,\n", s->n_kv_heads);
    if (s->head_dim * s->n_heads != s->n_embd)
        buf_printf(json, "  \"head_dim\": %u,\n", s->head_dim);
    buf_printf(json, "  \"vocab_size\": %u,\n  \"max_position_embeddings\": %u,\n", s->n_vocab,
               s->n_ctx);
    buf_printf(json, "  \"rms_norm_eps\": %g,\n  \"rope_theta\": %.1f,\n", (double)s->norm_eps,
               (double)s->rope_base);
    if (s->n_experts)
        buf_printf(json,
                   "  \"num_experts\": %u,\n  \"num_experts_per_tok\": %u,\n"
                   "  \"moe_intermediate_size\": %u,\n  \"norm_topk_prob\": true,\n"
                   "  \"decoder_sparse_step\": 1,\n  \"mlp_only_layers\": [],\n",
                   s->n_experts, s->n_experts_used, s->n_expert_ff);
    if (s->n_ctx_original) {
        buf_printf(json, "  \"original_max_position_embeddings\": %u,\n", s->n_ctx_original);
        buf_puts(json, "  \"rope_scaling\": {\n");
        put_factors(json, "long_factor", s->head_dim / 2, 64.0f, false);
        put_factors(json, "short_factor", s->head_dim / 2, 2.8f, false);
        buf_puts(json, "    \"type\": \"longrope\"\n  },\n");
    }
    if (s->sliding_window)
        buf_printf(json, "  \"sliding_window\": %u,\n", s->sliding_window);
}

static void describe_quantization(const struct mlx *m, struct buf *json, const char *key)
{
    const struct write_model_options *o = m->options;
    buf_printf(json, "  \"%s\": {\n    \"group_size\": %u,\n    \"bits\": %u", key, o->group,
               o->bits);
    for (uint32_t i = 0; i < m->shape->n_layers && m->shape->n_experts; i++)
        buf_printf(json,
                   ",\n    \"model.layers.%u.mlp.gate\": {\"group_size\": %u, \"bits\": %u}", i,
                   o->group, (unsigned)ROUTER_BITS);
    buf_puts(json, "\n  }");
}

static void describe(const struct mlx *m, struct buf *json)
{
    const struct model_shape *s = m->shape;
    buf_printf(json, "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\",\n",
               s->hf_class, s->hf_type);
    buf_puts(json, "  \"attention_bias\": false,\n  \"attention_dropout\": 0.0,\n"
                   "  \"hidden_act\": \"silu\",\n  \"initializer_range\": 0.02,\n");
    buf_printf(json, "  \"bos_token_id\": %d,\n  \"eos_token_id\": %d,\n  \"pad_token_id\": %d,\n",
               m->vocabulary->bos, m->vocabulary->eos, m->vocabulary->padding);
    describe_shape(s, json);
    describe_quantization(m, json, "quantization");
    buf_puts(json, ",\n");
    describe_quantization(m, json, "quantization_config");
    buf_printf(json, ",\n  \"tie_word_embeddings\": %s,\n", s->is_tied ? "true" : "false");
    buf_printf(json, "  \"torch_dtype\": \"%s\",\n", m->options->is_bf16 ? "bfloat16" : "float16");
    buf_puts(json, "  \"use_cache\": true\n}\n");
}

static FILE *create(const char *folder, const char *name, struct error *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file)
        error_set(err, ERROR_IO, "%s: %s", path, strerror(errno));
    return file;
}

/* A file of JSON that `describes` writes. */
static bool put_json(const struct mlx *m, const char *folder, const char *name,
                     void (*describes)(const struct mlx *m, struct buf *json))
{
    struct buf json;
    buf_init(&json, 64 << 20);
    describes(m, &json);
    FILE *file = create(folder, name, m->err);
    bool ok = file && !buf_failed(&json) && fwrite(json.data, 1, json.len, file) == json.len;
    if (file && (fclose(file) || !ok))
        ok = error_set(m->err, ERROR_IO, "%s: %s", name, strerror(errno));
    buf_deinit(&json);
    return ok;
}

/* What ends an answer. */
static void describe_generation(const struct mlx *m, struct buf *json)
{
    const struct dummy_vocabulary *v = m->vocabulary;
    buf_printf(json,
               "{\n  \"bos_token_id\": %d,\n  \"eos_token_id\": [%d, %d],\n"
               "  \"pad_token_id\": %d\n}\n",
               v->bos, v->eos, v->eot, v->padding);
}

static void describe_tokenizer(const struct mlx *m, struct buf *json)
{
    write_tokenizer(m->vocabulary, json);
}

static void describe_tokenizer_config(const struct mlx *m, struct buf *json)
{
    write_tokenizer_config(m->vocabulary, m->shape->n_ctx, json);
}

static bool put_files(struct mlx *m, const char *folder)
{
    return put_json(m, folder, "config.json", describe) &&
           put_json(m, folder, "generation_config.json", describe_generation) &&
           put_json(m, folder, "tokenizer.json", describe_tokenizer) &&
           put_json(m, folder, "tokenizer_config.json", describe_tokenizer_config);
}

static bool put_weights(struct mlx *m, const char *folder)
{
    buf_init(&m->header, 16 << 20);
    m->chunk = malloc(CHUNK_BYTES);
    m->file = create(folder, "model.safetensors", m->err);
    bool ok = m->chunk && m->file && put_safetensors(m);
    if (!m->chunk)
        error_set(m->err, ERROR_NO_MEMORY, "no memory");
    if (m->file && fclose(m->file) && ok)
        ok = error_set(m->err, ERROR_IO, "%s: %s", folder, strerror(errno));
    free(m->chunk);
    buf_deinit(&m->header);
    return ok;
}

bool write_mlx(const struct model_shape *shape, const struct write_model_options *options,
               const char *path, struct error *err)
{
    struct dummy_vocabulary vocabulary;
    struct mlx m = {.shape = shape, .options = options, .vocabulary = &vocabulary, .err = err};
    if (mkdir(path, 0777) && errno != EEXIST)
        return error_set(err, ERROR_IO, "%s: %s", path, strerror(errno));
    bool ok = dummy_vocabulary_init(&vocabulary, shape->vocabulary, shape->n_vocab)
                  ? put_files(&m, path) && put_weights(&m, path)
                  : error_set(err, ERROR_NO_MEMORY, "no memory for the vocabulary");
    dummy_vocabulary_deinit(&vocabulary);
    return ok;
}
