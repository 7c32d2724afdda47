/* See names.h. Hugging Face's names are those of the transformers library's modules; mlx-lm keeps
 * them, but stacks experts in a module switch_mlp. */
#include "convert/names.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct names_architecture architectures[] = {
    {"llama", "llama", "LlamaForCausalLM", "mistral", true, 0},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", NULL, false, 0},
    {"qwen3", "qwen3", "Qwen3ForCausalLM", NULL, false, 0},
    {"qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM", NULL, false, 0},
    {"phi3", "phi3", "Phi3ForCausalLM", NULL, false, 0},
    {"granite", "granite", "GraniteForCausalLM", NULL, true, 0},
    {"gemma3", "gemma3_text", "Gemma3ForCausalLM", NULL, false, 1},
};

/* The rows that hold for one architecture alone come first. */
static const struct {
    const char *architecture, *gguf, *folder;
} rows[] = {
    {"phi3", "ffn_up", "mlp.gate_up_proj"},
    {"gemma3", "ffn_norm", "pre_feedforward_layernorm"},
    {"gemma3", "post_attention_norm", "post_attention_layernorm"},
    {"gemma3", "post_ffw_norm", "post_feedforward_layernorm"},
    {NULL, "token_embd", "model.embed_tokens"},
    {NULL, "output_norm", "model.norm"},
    {NULL, "output", "lm_head"},
    {NULL, "attn_norm", "input_layernorm"},
    {NULL, "attn_q", "self_attn.q_proj"},
    {NULL, "attn_k", "self_attn.k_proj"},
    {NULL, "attn_v", "self_attn.v_proj"},
    {NULL, "attn_qkv", "self_attn.qkv_proj"},
    {NULL, "attn_output", "self_attn.o_proj"},
    {NULL, "attn_q_norm", "self_attn.q_norm"},
    {NULL, "attn_k_norm", "self_attn.k_norm"},
    {NULL, "ffn_norm", "post_attention_layernorm"},
    {NULL, "ffn_gate", "mlp.gate_proj"},
    {NULL, "ffn_up", "mlp.up_proj"},
    {NULL, "ffn_down", "mlp.down_proj"},
    {NULL, "ffn_gate_inp", "mlp.gate"},
    {NULL, "ffn_gate_exps", "mlp.switch_mlp.gate_proj"},
    {NULL, "ffn_up_exps", "mlp.switch_mlp.up_proj"},
    {NULL, "ffn_down_exps", "mlp.switch_mlp.down_proj"},
};

const struct names_architecture *names_of_gguf(const char *architecture)
{
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++)
        if (!strcmp(architectures[i].gguf, architecture))
            return &architectures[i];
    return NULL;
}

const struct names_architecture *names_of_folder(const char *model_type)
{
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++) {
        const struct names_architecture *a = &architectures[i];
        if (!strcmp(a->folder, model_type) || (a->also && !strcmp(a->also, model_type)))
            return a;
    }
    return NULL;
}

static bool names_fit(const char *row, const char *text, size_t len)
{
    return strlen(row) == len && !memcmp(row, text, len);
}

/* "<before>12." at the beginning: the number, and what follows; or NULL. */
static const char *after_number(const char *text, const char *before, unsigned long *number)
{
    const size_t n = strlen(before);
    char *end;
    if (strncmp(text, before, n) != 0 || text[n] < '0' || text[n] > '9')
        return NULL;
    *number = strtoul(text + n, &end, 10);
    return *end == '.' ? end + 1 : NULL;
}

struct names_text names_to_folder(const struct names_architecture *a, const char *gguf)
{
    struct names_text out = {""};
    unsigned long layer = 0;
    const char *rest = after_number(gguf, "blk.", &layer), *name = rest ? rest : gguf;
    const size_t len = strcspn(name, ".");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if ((rows[i].architecture && strcmp(rows[i].architecture, a->gguf) != 0) ||
            !names_fit(rows[i].gguf, name, len))
            continue;
        if (rest)
            snprintf(out.text, sizeof out.text, "model.layers.%lu.%s%.24s", layer, rows[i].folder,
                     name + len);
        else
            snprintf(out.text, sizeof out.text, "%s%.24s", rows[i].folder, name + len);
        return out;
    }
    return out;
}

/* The row of a module; a row of one architecture hides the common one of the same module. */
static const char *find_module(const struct names_architecture *a, const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if ((!rows[i].architecture || !strcmp(rows[i].architecture, a->gguf)) &&
            names_fit(rows[i].folder, name, len))
            return rows[i].gguf;
    return NULL;
}

/* "mlp.experts.5.gate_proj" as "mlp.switch_mlp.gate_proj" and 5. */
static void unite_expert(const char *name, char out[96], int *expert)
{
    unsigned long number = 0;
    const char *rest = after_number(name, "mlp.experts.", &number);
    *expert = rest && number < 1 << 20 ? (int)number : -1;
    if (*expert >= 0)
        snprintf(out, 96, "mlp.switch_mlp.%.70s", rest);
    else
        snprintf(out, 96, "%.90s", name);
}

struct names_text names_to_gguf(const struct names_architecture *a, const char *folder, int *expert)
{
    static const char language[] = "language_model.";
    struct names_text out = {""};
    char name[96];
    unsigned long layer = 0;
    if (!strncmp(folder, language, sizeof language - 1))
        folder += sizeof language - 1;
    const char *rest = after_number(folder, "model.layers.", &layer);
    unite_expert(rest ? rest : folder, name, expert);
    const char *last = strrchr(name, '.');
    const char *module = last ? find_module(a, name, (size_t)(last - name)) : NULL;
    if (!module || strlen(last) > 24)
        return out;
    if (rest)
        snprintf(out.text, sizeof out.text, "blk.%lu.%s%s", layer, module, last);
    else
        snprintf(out.text, sizeof out.text, "%s%s", module, last);
    return out;
}
