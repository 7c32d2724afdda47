/* See config_json.h. */
#include "convert/config_json.h"

#include "convert/facts.h"
#include "convert/json_writer.h"
#include "weights/llama3_rope.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_MAX_BYTES = 1 << 20 };

struct config {
    const struct plan *p;
    const struct weights *w;
    const struct names_architecture *a;
    struct hyper hyper;
    struct buf json;
    struct error *err;
};

/* ---- members ---- */

static void put_member(struct config *c, const char *name)
{
    buf_printf(&c->json, "%s\n  \"%s\": ", c->json.len > 1 ? "," : "", name);
}

static void put_number(struct config *c, const char *name, uint64_t value)
{
    put_member(c, name);
    buf_printf(&c->json, "%" PRIu64, value);
}

/* The shortest text that reads as the same float, with a point, so that it is none of Python's
 * whole numbers. */
static void put_real(struct buf *json, float value)
{
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    buf_printf(json, "%s%s", text, strpbrk(text, ".en") ? "" : ".0");
}

static void put_float(struct config *c, const char *name, float value)
{
    put_member(c, name);
    put_real(&c->json, value);
}

static void put_word(struct config *c, const char *name, const char *word)
{
    put_member(c, name);
    json_writer_string(&c->json, word, strlen(word));
}

static void put_bool(struct config *c, const char *name, bool value)
{
    put_member(c, name);
    buf_puts(&c->json, value ? "true" : "false");
}

static void put_known(struct config *c)
{
    for (size_t i = 0; i < FACTS_N_ROWS; i++) {
        const enum hyper_key key = facts_rows[i].key;
        uint64_t n;
        float x;
        if (facts_rows[i].is_float && hyper_float(&c->hyper, key, &x))
            put_float(c, hyper_folder_path(key).text, x);
        else if (!facts_rows[i].is_float && hyper_uint(&c->hyper, key, &n))
            put_number(c, hyper_folder_path(key).text, n);
    }
}

static uint64_t head_dim_of(const struct config *c)
{
    uint64_t own;
    return hyper_uint(&c->hyper, HYPER_HEAD_DIM, &own)
               ? own
               : facts_number(&c->hyper, HYPER_N_EMBD) / c->p->model.n_heads;
}

static bool put_heads(struct config *c)
{
    const struct target_model *m = &c->p->model;
    const struct weights_tensor *embedding = weights_tensor(c->w, "token_embd.weight");
    uint64_t window;
    if (!m->n_layers || !m->n_heads || !facts_number(&c->hyper, HYPER_N_EMBD) || !embedding)
        return error_set(c->err, ERROR_FORMAT,
                         "the file lacks %s.block_count, %s.attention.head_count, "
                         "%s.embedding_length or token_embd.weight",
                         c->a->gguf, c->a->gguf, c->a->gguf);
    if (hyper_uint(&c->hyper, HYPER_WINDOW, &window))
        put_number(c, "sliding_window", window);
    put_number(c, "num_key_value_heads", m->n_kv_heads ? m->n_kv_heads : m->n_heads);
    put_number(c, "head_dim", head_dim_of(c));
    put_number(c, "vocab_size", embedding->shape[1]);
    put_bool(c, "tie_word_embeddings", m->is_tied);
    return true;
}

/* ---- RoPE ---- */

/* The factors of a tensor as a list. */
static bool put_factors(struct config *c, const char *name, const char *tensor)
{
    struct matrix m;
    if (!weights_matrix(c->w, tensor, &m) || !matrix_check(&m, c->err))
        return error_set(c->err, ERROR_FORMAT, "the file lacks %s", tensor);
    float *factors = malloc(m.n_cols * sizeof *factors);
    if (!factors)
        return error_set(c->err, ERROR_NO_MEMORY, "out of memory");
    matrix_decode(&m, 0, factors);
    buf_printf(&c->json, ", \"%s\": [", name);
    for (size_t i = 0; i < m.n_cols; i++) {
        buf_puts(&c->json, i ? ", " : "");
        put_real(&c->json, factors[i]);
    }
    buf_putc(&c->json, ']');
    free(factors);
    return true;
}

static bool put_long_rope(struct config *c)
{
    uint64_t n = 0;
    hyper_uint(&c->hyper, HYPER_ROPE_N_CTX, &n);
    if (n)
        put_number(c, "original_max_position_embeddings", n);
    put_member(c, "rope_scaling");
    buf_puts(&c->json, "{\"type\": \"longrope\"");
    if (!put_factors(c, "short_factor", "rope_factors_short.weight") ||
        !put_factors(c, "long_factor", "rope_factors_long.weight"))
        return false;
    buf_putc(&c->json, '}');
    return true;
}

/* Of Llama 3's way GGUF keeps what it comes to: the constants of Meta's own models are tried, and
 * must give the same. */
static bool put_llama3(struct config *c)
{
    struct llama3_rope s = {.factor = 1, .low = 1, .high = 4, .n_original = 8192};
    struct matrix m;
    float base = 10000, factors[512];
    hyper_float(&c->hyper, HYPER_ROPE_BASE, &base);
    if (!weights_matrix(c->w, "rope_freqs.weight", &m) || !matrix_check(&m, c->err) ||
        m.n_cols > sizeof factors / sizeof *factors)
        return error_set(c->err, ERROR_FORMAT, "rope_freqs.weight cannot be read");
    matrix_decode(&m, 0, factors);
    for (size_t i = 0; i < m.n_cols; i++)
        s.factor = factors[i] > s.factor ? factors[i] : s.factor;
    for (size_t i = 0; i < m.n_cols; i++)
        if (fabsf(llama3_rope_divisor(&s, base, (unsigned)i, (unsigned)m.n_cols) - factors[i]) >
            1e-3f * factors[i])
            return error_set(c->err, ERROR_UNSUPPORTED,
                             "rope_freqs.weight is not what Llama 3's constants give, and "
                             "config.json has no place for it");
    put_member(c, "rope_scaling");
    buf_puts(&c->json, "{\"rope_type\": \"llama3\", \"factor\": ");
    put_real(&c->json, s.factor);
    buf_puts(&c->json, ", \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
                       "\"original_max_position_embeddings\": 8192}");
    return true;
}

/* Linear scaling and YaRN. */
static bool put_scaling(struct config *c, const struct weights_string *type)
{
    uint64_t n = 0;
    float factor = 1;
    const bool is_yarn = type->len == 4 && !memcmp(type->data, "yarn", 4);
    if (!is_yarn && !(type->len == 6 && !memcmp(type->data, "linear", 6)))
        return error_set(c->err, ERROR_UNSUPPORTED, "config.json has no place for the RoPE "
                                                    "scaling %.*s",
                         (int)(type->len < 32 ? type->len : 32), type->data);
    hyper_float(&c->hyper, HYPER_ROPE_FACTOR, &factor);
    put_member(c, "rope_scaling");
    buf_printf(&c->json, "{\"rope_type\": \"%s\", \"type\": \"%s\", \"factor\": ",
               is_yarn ? "yarn" : "linear", is_yarn ? "yarn" : "linear");
    put_real(&c->json, factor);
    if (hyper_uint(&c->hyper, HYPER_ROPE_N_CTX, &n))
        buf_printf(&c->json, ", \"original_max_position_embeddings\": %" PRIu64, n);
    buf_putc(&c->json, '}');
    return true;
}

static bool put_rope(struct config *c)
{
    const struct weights *w = c->w;
    struct weights_string type;
    float base = 10000;
    uint64_t n_dims = 0;
    const uint64_t head_dim = head_dim_of(c);
    hyper_float(&c->hyper, HYPER_ROPE_BASE, &base);
    put_float(c, "rope_theta", base);
    if (hyper_uint(&c->hyper, HYPER_ROPE_DIMS, &n_dims) && n_dims && n_dims < head_dim)
        put_float(c, "partial_rotary_factor", (float)n_dims / (float)head_dim);
    if (weights_tensor(w, "rope_factors_long.weight"))
        return put_long_rope(c);
    if (weights_tensor(w, "rope_freqs.weight"))
        return put_llama3(c);
    if (hyper_string(&c->hyper, HYPER_ROPE_SCALING, &type) &&
        !(type.len == 4 && !memcmp(type.data, "none", 4)))
        return put_scaling(c, &type);
    return true;
}

/* ---- what only one architecture has ---- */

static void put_gemma3(struct config *c)
{
    const uint32_t head_dim = facts_number(&c->hyper, HYPER_HEAD_DIM);
    put_float(c, "rope_local_base_freq", 10000);
    put_number(c, "sliding_window_pattern", 6);
    put_float(c, "query_pre_attn_scalar", head_dim ? (float)head_dim : 256);
    put_word(c, "hidden_activation", "gelu_pytorch_tanh");
}

static void put_special(struct config *c)
{
    if (!strcmp(c->a->gguf, "gemma3"))
        put_gemma3(c);
    else
        put_word(c, "hidden_act", "silu");
    if (!strcmp(c->a->gguf, "qwen3moe")) {
        put_bool(c, "norm_topk_prob", true);
        put_number(c, "decoder_sparse_step", 1);
        put_member(c, "mlp_only_layers");
        buf_puts(&c->json, "[]");
    }
    if (!strcmp(c->a->gguf, "llama") || !strncmp(c->a->gguf, "qwen3", 5)) {
        put_bool(c, "attention_bias", weights_tensor(c->w, "blk.0.attn_q.bias") != NULL);
        put_bool(c, "mlp_bias", weights_tensor(c->w, "blk.0.ffn_up.bias") != NULL);
    }
}

/* ---- tokens that begin and end ---- */

/* The tokens that end an answer. */
static void put_ends(struct config *c, const char *name)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id",
                                       "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    uint64_t ids[3], n = 0;
    for (int i = 0; i < 3; i++) {
        bool is_new = weights_uint(c->w, keys[i], &ids[n]);
        for (uint64_t k = 0; is_new && k < n; k++)
            is_new = ids[k] != ids[n];
        n += is_new;
    }
    if (!n)
        return;
    put_member(c, name);
    buf_puts(&c->json, n > 1 ? "[" : "");
    for (uint64_t i = 0; i < n; i++)
        buf_printf(&c->json, "%s%" PRIu64, i ? ", " : "", ids[i]);
    buf_puts(&c->json, n > 1 ? "]" : "");
}

static void put_tokens(struct config *c)
{
    uint64_t id;
    if (weights_uint(c->w, "tokenizer.ggml.bos_token_id", &id))
        put_number(c, "bos_token_id", id);
    put_ends(c, "eos_token_id");
    if (weights_uint(c->w, "tokenizer.ggml.padding_token_id", &id))
        put_number(c, "pad_token_id", id);
}

/* ---- the files ---- */

const char *config_json_dtype(const struct plan *p)
{
    return p->scale == MATRIX_SCALE_F32    ? "float32"
           : p->scale == MATRIX_SCALE_BF16 ? "bfloat16"
                                           : "float16";
}

void config_json_put_quantization(const struct plan *p, struct buf *json)
{
    static const char *const names[] = {"quantization", "quantization_config"};
    const enum quant_type type = p->target->type;
    const bool is_mxfp4 = type == QUANT_PACKED_MXFP4;
    if (quant_traits(type)->n_parts == 1)
        return;
    for (int i = 0; i < 2; i++)
        buf_printf(json, ",\n  \"%s\": {\"group_size\": %u, \"bits\": %u, \"mode\": \"%s\"}",
                   names[i], is_mxfp4 ? 32 : p->group,
                   quant_traits(type)->block_bytes * 8 / quant_traits(type)->block_elements,
                   is_mxfp4 ? "mxfp4" : "affine");
}

static bool add_file(struct config *c, struct plan *p, const char *name)
{
    buf_puts(&c->json, "\n}\n");
    bool ok = plan_add_file(p, name, &c->json, c->err) != NULL;
    buf_deinit(&c->json);
    buf_puts(&c->json, "{");
    return ok;
}

bool config_json_add(struct plan *p, const struct names_architecture *a, struct error *err)
{
    struct config c = {.p = p, .w = p->w, .a = a, .hyper = {p->w, a->gguf, NULL}, .err = err};
    buf_init(&c.json, CONFIG_MAX_BYTES);
    buf_puts(&c.json, "{");
    put_word(&c, "model_type", a->folder);
    put_member(&c, "architectures");
    buf_printf(&c.json, "[\"%s\"]", a->class_name);
    put_known(&c);
    put_special(&c);
    put_tokens(&c);
    bool ok = put_heads(&c) && put_rope(&c);
    put_word(&c, "torch_dtype", config_json_dtype(p));
    config_json_put_quantization(p, &c.json);
    ok = ok && add_file(&c, p, "config.json");
    if (ok) {
        put_tokens(&c);
        ok = add_file(&c, p, "generation_config.json");
    }
    buf_deinit(&c.json);
    return ok;
}
