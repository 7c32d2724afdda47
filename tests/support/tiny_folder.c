#include "support/tiny_folder.h"

#include "quant/half.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BYTES = 16 << 20, WORD_BYTES = 48, NAME_BYTES = 128, FULL_BYTES = 256,
       MOST_PARTS = 3 };

struct tiny_writer {
    const struct tiny_folder_kind *kind;
    struct buf header, data;
    int n_stacked; /* experts that the next matrices are of, one below the other; 0: none */
};

/* A matrix's rows that have the noise of that name. */
struct tiny_part {
    const char *gguf;
    uint64_t n_rows;
};

static void *tiny_alloc(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (!p)
        abort();
    return p;
}

/* n_rows 0: a vector */
static void put_tensor(struct tiny_writer *w, const char *name, const char *type, uint64_t n_rows,
                       uint64_t n_cols, const void *data, size_t n_bytes)
{
    char rows[64] = "";
    if (w->kind->without && !strcmp(name, w->kind->without))
        return;
    if (n_rows && w->n_stacked)
        snprintf(rows, sizeof rows, "%d,%" PRIu64 ",", w->n_stacked, n_rows / (uint64_t)w->n_stacked);
    else if (n_rows)
        snprintf(rows, sizeof rows, "%" PRIu64 ",", n_rows);
    buf_printf(&w->header,
               "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s%" PRIu64 "],\"data_offsets\":[%zu,%zu]}",
               w->header.len > 1 ? "," : "", name, type, rows, n_cols, w->data.len,
               w->data.len + n_bytes);
    buf_append(&w->data, data, n_bytes);
}

/* n_rows 0: a vector */
static void put_floats(struct tiny_writer *w, const char *name, enum tiny_numbers type,
                       uint64_t n_rows, uint64_t n_cols, const float *values)
{
    const size_t n = (n_rows ? n_rows : 1) * n_cols;
    if (type == TINY_F32) {
        put_tensor(w, name, "F32", n_rows, n_cols, values, n * sizeof *values);
        return;
    }
    uint16_t *half = tiny_alloc(n, sizeof *half);
    for (size_t i = 0; i < n; i++)
        half[i] = type == TINY_F16 ? half_from_float(values[i]) : half_bf16_from_float(values[i]);
    put_tensor(w, name, type == TINY_F16 ? "F16" : "BF16", n_rows, n_cols, half, n * sizeof *half);
    free(half);
}

static void put_vector(struct tiny_writer *w, const char *name, const char *gguf, uint64_t n,
                       float mean, float deviation)
{
    float *values = tiny_alloc(n, sizeof *values);
    tiny_model_noise(gguf, mean, deviation, values, n);
    put_floats(w, name, w->kind->floats, 0, n, values);
    free(values);
}

/* ---- matrices ---- */

static void put_plain(struct tiny_writer *w, const char *module, const struct tiny_part *parts,
                      size_t n_parts, uint64_t n_rows, uint64_t n_cols, float deviation)
{
    char name[FULL_BYTES];
    float *values = tiny_alloc(n_rows * n_cols, sizeof *values), *at = values;
    for (size_t i = 0; i < n_parts; at += parts[i].n_rows * n_cols, i++)
        tiny_model_noise(parts[i].gguf, 0, deviation, at, parts[i].n_rows * n_cols);
    snprintf(name, sizeof name, "%s.weight", module);
    put_floats(w, name, w->kind->numbers, n_rows, n_cols, values);
    free(values);
}

/* Scales with a deviation of their own, every fifth negative; biases that bring the mean to about
 * 0, and a noise of their own. */
static void put_affine(struct tiny_writer *w, const char *module, const char *gguf, uint64_t n_rows,
                       uint64_t n_scales, float deviation)
{
    char name[FULL_BYTES], noise[FULL_BYTES];
    const size_t n = n_rows * n_scales;
    const float levels = (float)((1u << w->kind->bits) - 1), scale = 3.5f * deviation / levels;
    float *scales = tiny_alloc(n, sizeof *scales), *biases = tiny_alloc(n, sizeof *biases);
    snprintf(noise, sizeof noise, "%s.scales", gguf);
    tiny_model_noise(noise, scale, 0.2f * scale, scales, n);
    snprintf(noise, sizeof noise, "%s.biases", gguf);
    tiny_model_noise(noise, 0, 0.1f * deviation, biases, n);
    for (size_t i = 0; i < n; i++) {
        scales[i] = i % 5 == 4 ? -scales[i] : scales[i];
        biases[i] = biases[i] - scales[i] * levels * 0.5f;
    }
    snprintf(name, sizeof name, "%s.scales", module);
    put_floats(w, name, w->kind->floats, n_rows, n_scales, scales);
    snprintf(name, sizeof name, "%s.biases", module);
    put_floats(w, name, w->kind->floats, n_rows, n_scales, biases);
    free(scales);
    free(biases);
}

/* Powers of two around 0.05; of nvfp4, floats of eight bits. Elements of mxfp8 have their
 * highest bit of the exponent cleared: 1.875 at most. */
static void put_eights(struct tiny_writer *w, const char *module, const char *gguf, uint64_t n_rows,
                       uint64_t n_scales)
{
    char name[FULL_BYTES], noise[FULL_BYTES];
    const size_t n = n_rows * n_scales;
    uint32_t *words = tiny_alloc(n, sizeof *words);
    uint8_t *scales = tiny_alloc(n, 1);
    snprintf(noise, sizeof noise, "%s.scales", gguf);
    tiny_model_words(noise, words, n);
    for (size_t i = 0; i < n; i++) {
        const uint32_t r = words[i] >> 16;
        scales[i] = (uint8_t)(w->kind->numbers == TINY_NVFP4   ? 0x10 + r % 8
                              : w->kind->numbers == TINY_MXFP4 ? 122 + r % 2
                                                               : 124 + r % 2);
    }
    snprintf(name, sizeof name, "%s.scales", module);
    put_tensor(w, name, "U8", n_rows, n_scales, scales, n);
    free(words);
    free(scales);
}

static void put_packed(struct tiny_writer *w, const char *module, const char *gguf, uint64_t n_rows,
                       uint64_t n_cols, float deviation)
{
    const struct tiny_folder_kind *kind = w->kind;
    char name[FULL_BYTES];
    const uint64_t n_words = n_cols * kind->bits / 32;
    uint32_t *words = tiny_alloc(n_rows * n_words, sizeof *words);
    tiny_model_words(gguf, words, n_rows * n_words);
    for (size_t i = 0; kind->numbers == TINY_MXFP8 && i < n_rows * n_words; i++)
        words[i] &= 0xbfbfbfbf;
    snprintf(name, sizeof name, "%s.weight", module);
    put_tensor(w, name, "U32", n_rows, n_words, words, n_rows * n_words * sizeof *words);
    free(words);
    if (kind->numbers == TINY_AFFINE)
        put_affine(w, module, gguf, n_rows, n_cols / kind->group, deviation);
    else
        put_eights(w, module, gguf, n_rows, n_cols / kind->group);
}

/* A fused matrix, when packed, has a noise of its own: by the first part's name. */
static void put_matrix(struct tiny_writer *w, const char *module, const struct tiny_part *parts,
                       size_t n_parts, uint64_t n_cols, float deviation)
{
    uint64_t n_rows = 0;
    for (size_t i = 0; i < n_parts; i++)
        n_rows += parts[i].n_rows;
    if (w->kind->numbers < TINY_AFFINE)
        put_plain(w, module, parts, n_parts, n_rows, n_cols, deviation);
    else
        put_packed(w, module, parts[0].gguf, n_rows, n_cols, deviation);
}

/* ---- layers ---- */

/* One of layer i's modules, with the noise of GGUF's names. */
static void put_layer_matrix(struct tiny_writer *w, unsigned i, const char *module,
                             const struct tiny_part *parts, size_t n_parts, uint64_t n_cols)
{
    char name[NAME_BYTES], gguf[MOST_PARTS][NAME_BYTES];
    struct tiny_part named[MOST_PARTS];
    for (size_t k = 0; k < n_parts; k++) {
        snprintf(gguf[k], NAME_BYTES, "blk.%u.%s.weight", i, parts[k].gguf);
        named[k] = (struct tiny_part){gguf[k], parts[k].n_rows};
    }
    snprintf(name, sizeof name, "%slayers.%u.%s", w->kind->prefix, i, module);
    put_matrix(w, name, named, n_parts, n_cols, w->kind->deviation);
}

static void put_layer_vector(struct tiny_writer *w, unsigned i, const char *name, const char *gguf,
                             uint64_t n, float mean, float deviation)
{
    char full[FULL_BYTES], noise[FULL_BYTES];
    snprintf(full, sizeof full, "%slayers.%u.%s", w->kind->prefix, i, name);
    snprintf(noise, sizeof noise, "blk.%u.%s", i, gguf);
    put_vector(w, full, noise, n, mean, deviation);
}

static void put_attention(struct tiny_writer *w, unsigned i)
{
    const uint64_t head_dim = w->kind->head_dim;
    const struct tiny_part qkv[] = {{"attn_q", TINY_HEADS * head_dim},
                                    {"attn_k", TINY_KV_HEADS * head_dim},
                                    {"attn_v", TINY_KV_HEADS * head_dim}};
    const struct tiny_part out = {"attn_output", TINY_EMBD};
    static const char letters[] = "qkv";
    for (size_t k = 0; k < 3; k++) {
        char module[WORD_BYTES], bias[WORD_BYTES + 8], gguf[WORD_BYTES];
        snprintf(module, sizeof module, "self_attn.%c_proj", letters[k]);
        snprintf(bias, sizeof bias, "%s.bias", module);
        snprintf(gguf, sizeof gguf, "%s.bias", qkv[k].gguf);
        if (!w->kind->is_fused)
            put_layer_matrix(w, i, module, &qkv[k], 1, TINY_EMBD);
        if (w->kind->biases != TINY_NO_BIASES)
            put_layer_vector(w, i, bias, gguf, qkv[k].n_rows, 0,
                             w->kind->biases == TINY_BIASES ? 1 : 0);
    }
    if (w->kind->is_fused)
        put_layer_matrix(w, i, "self_attn.qkv_proj", qkv, 3, TINY_EMBD);
    put_layer_matrix(w, i, "self_attn.o_proj", &out, 1, TINY_HEADS * head_dim);
    if (w->kind->has_head_norms) {
        put_layer_vector(w, i, "self_attn.q_norm.weight", "attn_q_norm.weight", head_dim, 1, 0.3f);
        put_layer_vector(w, i, "self_attn.k_norm.weight", "attn_k_norm.weight", head_dim, 1, 0.3f);
    }
}

static void put_experts(struct tiny_writer *w, unsigned i)
{
    static const struct {
        const char *module, *gguf;
        uint64_t n_out, n_in;
    } matrices[] = {{"gate_proj", "ffn_gate_exps", TINY_EXPERT_FF, TINY_EMBD},
                    {"up_proj", "ffn_up_exps", TINY_EXPERT_FF, TINY_EMBD},
                    {"down_proj", "ffn_down_exps", TINY_EMBD, TINY_EXPERT_FF}};
    const struct tiny_part router = {"ffn_gate_inp", TINY_EXPERTS};
    put_layer_matrix(w, i, "mlp.gate", &router, 1, TINY_EMBD);
    for (size_t k = 0; k < 3; k++) {
        char module[WORD_BYTES], gguf[WORD_BYTES];
        struct tiny_part part = {matrices[k].gguf, TINY_EXPERTS * matrices[k].n_out};
        snprintf(module, sizeof module, "mlp.switch_mlp.%s", matrices[k].module);
        w->n_stacked = w->kind->experts == TINY_STACKED ? TINY_EXPERTS : 0;
        if (w->kind->experts == TINY_STACKED)
            put_layer_matrix(w, i, module, &part, 1, matrices[k].n_in);
        w->n_stacked = 0;
        for (unsigned e = 0; w->kind->experts == TINY_ALONE && e < TINY_EXPERTS; e++) {
            snprintf(module, sizeof module, "mlp.experts.%u.%s", e, matrices[k].module);
            snprintf(gguf, sizeof gguf, "%s.%u", matrices[k].gguf, e);
            part = (struct tiny_part){gguf, matrices[k].n_out};
            put_layer_matrix(w, i, module, &part, 1, matrices[k].n_in);
        }
    }
}

static void put_feed_forward(struct tiny_writer *w, unsigned i)
{
    const uint64_t n_ff = w->kind->n_ff;
    const struct tiny_part gate_up[] = {{"ffn_gate", n_ff}, {"ffn_up", n_ff}};
    const struct tiny_part down = {"ffn_down", TINY_EMBD};
    if (w->kind->is_fused) {
        put_layer_matrix(w, i, "mlp.gate_up_proj", gate_up, 2, TINY_EMBD);
    } else {
        put_layer_matrix(w, i, "mlp.gate_proj", &gate_up[0], 1, TINY_EMBD);
        put_layer_matrix(w, i, "mlp.up_proj", &gate_up[1], 1, TINY_EMBD);
    }
    put_layer_matrix(w, i, "mlp.down_proj", &down, 1, n_ff);
}

static void put_layer(struct tiny_writer *w, unsigned i)
{
    static const char attn_post[] = "post_attention_layernorm.weight";
    put_layer_vector(w, i, "input_layernorm.weight", "attn_norm.weight", TINY_EMBD, 1, 0.1f);
    put_attention(w, i);
    if (w->kind->has_post_norms) {
        put_layer_vector(w, i, attn_post, "post_attention_norm.weight", TINY_EMBD, 1, 0.3f);
        put_layer_vector(w, i, "pre_feedforward_layernorm.weight", "ffn_norm.weight", TINY_EMBD, 1,
                         0.1f);
        put_layer_vector(w, i, "post_feedforward_layernorm.weight", "post_ffw_norm.weight",
                         TINY_EMBD, 1, 0.3f);
    } else {
        put_layer_vector(w, i, attn_post, "ffn_norm.weight", TINY_EMBD, 1, 0.1f);
    }
    if (w->kind->experts)
        put_experts(w, i);
    else
        put_feed_forward(w, i);
}

static void put_tensors(struct tiny_writer *w)
{
    static const struct tiny_part table = {"token_embd.weight", TINY_VOCAB};
    static const struct tiny_part output = {"output.weight", TINY_VOCAB};
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%sembed_tokens", w->kind->prefix);
    put_matrix(w, name, &table, 1, TINY_EMBD, 1);
    for (unsigned i = 0; i < TINY_LAYERS; i++)
        put_layer(w, i);
    snprintf(name, sizeof name, "%snorm.weight", w->kind->prefix);
    put_vector(w, name, "output_norm.weight", TINY_EMBD, 1, 0.1f);
    snprintf(name, sizeof name, "%slm_head", w->kind->output_prefix);
    if (!w->kind->is_tied)
        put_matrix(w, name, &output, 1, TINY_EMBD, 0.5f);
    if (w->kind->extra)
        put_tensor(w, w->kind->extra, "F32", 0, 1, &(float){0}, sizeof(float));
}

/* ---- the files ---- */

static void put_quantization(struct buf *config, const struct tiny_folder_kind *kind)
{
    static const char *const modes[] = {
        [TINY_AFFINE] = "affine", [TINY_MXFP4] = "mxfp4", [TINY_MXFP8] = "mxfp8",
        [TINY_NVFP4] = "nvfp4"};
    if (kind->numbers >= TINY_AFFINE)
        buf_printf(config,
                   ", \"quantization\": {\"group_size\": %" PRIu32 ", \"bits\": %" PRIu32
                   ", \"mode\": \"%s\"}",
                   kind->group, kind->bits, modes[kind->numbers]);
}

static void put_config(struct buf *config, const struct tiny_folder_kind *kind)
{
    buf_printf(config,
               "{%s\"hidden_size\": %d, \"num_hidden_layers\": %d, \"num_attention_heads\": %d, "
               "\"num_key_value_heads\": %d, \"intermediate_size\": %" PRIu32
               ", \"vocab_size\": %d, \"max_position_embeddings\": %d, \"rms_norm_eps\": %s%s",
               kind->is_nested ? "\"text_config\": {" : "", TINY_EMBD, TINY_LAYERS,
               TINY_HEADS, TINY_KV_HEADS, kind->n_ff, TINY_VOCAB, TINY_CONTEXT,
               kind->eps ? kind->eps : "1e-5", kind->config);
    if (kind->is_nested)
        buf_puts(config, "}, \"model_type\": \"of more than text\"");
    put_quantization(config, kind);
    buf_puts(config, "}");
}

void tiny_folder_init(struct tiny_folder *f, const struct tiny_folder_kind *given)
{
    struct tiny_folder_kind kind = *given;
    kind.prefix = given->prefix ? given->prefix : "model.";
    kind.output_prefix = given->output_prefix ? given->output_prefix : "";
    kind.n_ff = given->n_ff ? given->n_ff : TINY_FF;
    kind.head_dim = given->head_dim ? given->head_dim : TINY_HEAD_DIM;
    kind.deviation = given->deviation > 0 ? given->deviation : 0.3f;
    struct tiny_writer w = {.kind = &kind};
    buf_init(&w.header, MAX_BYTES);
    buf_init(&w.data, MAX_BYTES);
    buf_init(&f->config, MAX_BYTES);
    buf_init(&f->file, MAX_BYTES);
    put_config(&f->config, &kind);
    buf_puts(&w.header, "{");
    put_tensors(&w);
    buf_puts(&w.header, "}");
    while (w.header.len % 8)
        buf_putc(&w.header, ' ');
    const uint64_t n_header = w.header.len;
    buf_append(&f->file, &n_header, sizeof n_header);
    buf_append(&f->file, w.header.data, w.header.len);
    buf_append(&f->file, w.data.data, w.data.len);
    if (buf_failed(&w.header) || buf_failed(&w.data) || buf_failed(&f->file) ||
        buf_failed(&f->config))
        abort();
    f->files[0] = (struct weights_file){"config.json", f->config.data, f->config.len};
    f->files[1] = (struct weights_file){"model.safetensors", f->file.data, f->file.len};
    buf_deinit(&w.header);
    buf_deinit(&w.data);
}

void tiny_folder_deinit(struct tiny_folder *f)
{
    buf_deinit(&f->config);
    buf_deinit(&f->file);
}
