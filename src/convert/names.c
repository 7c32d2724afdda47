/* See names.h. */
#include "convert/names.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct tensor_name phi3_names[] = {{"ffn_up", "mlp.gate_up_proj"}, {NULL, NULL}};
static const struct tensor_name gemma3_names[] = {
    {"ffn_norm", "pre_feedforward_layernorm"},
    {"post_attention_norm", "post_attention_layernorm"},
    {"post_ffw_norm", "post_feedforward_layernorm"},
    {NULL, NULL},
};

static const struct names_architecture architectures[] = {
    {"llama", "llama", "LlamaForCausalLM", "mistral", true, 0, NULL},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", NULL, false, 0, NULL},
    {"qwen3", "qwen3", "Qwen3ForCausalLM", NULL, false, 0, NULL},
    {"qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM", NULL, false, 0, NULL},
    {"phi3", "phi3", "Phi3ForCausalLM", NULL, false, 0, phi3_names},
    {"granite", "granite", "GraniteForCausalLM", NULL, true, 0, NULL},
    {"gemma3", "gemma3_text", "Gemma3ForCausalLM", NULL, false, 1, gemma3_names},
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

/* The row of that GGUF word, or of that folder's module. */
static const struct tensor_name *names_find(const struct tensor_name *rows, bool by_gguf,
                                            const char *text, size_t len)
{
    for (; rows && rows->gguf; rows++)
        if (names_fit(by_gguf ? rows->gguf : rows->folder, text, len))
            return rows;
    return NULL;
}

/* Those of the architecture's own hide the common ones. */
static const struct tensor_name *names_row(const struct names_architecture *a, bool by_gguf,
                                           const char *text, size_t len)
{
    const struct tensor_name *own = names_find(a->own, by_gguf, text, len);
    return own ? own : names_find(tensor_names, by_gguf, text, len);
}

struct names_text names_to_folder(const struct names_architecture *a, const char *gguf)
{
    struct names_text out = {""};
    unsigned long layer = 0;
    const char *rest = after_number(gguf, "blk.", &layer), *name = rest ? rest : gguf;
    const size_t len = strcspn(name, ".");
    const struct tensor_name *row = names_row(a, true, name, len);
    if (row && rest)
        snprintf(out.text, sizeof out.text, "model.layers.%lu.%s%.24s", layer, row->folder,
                 name + len);
    else if (row)
        snprintf(out.text, sizeof out.text, "%s%s%.24s",
                 strcmp(row->folder, "lm_head") != 0 ? "model." : "", row->folder, name + len);
    return out;
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
    if (!rest && !strncmp(folder, "model.", strlen("model.")))
        folder += strlen("model.");
    unite_expert(rest ? rest : folder, name, expert);
    const char *last = strrchr(name, '.');
    const struct tensor_name *row = last ? names_row(a, false, name, (size_t)(last - name)) : NULL;
    if (!row || strlen(last) > 24)
        return out;
    if (rest)
        snprintf(out.text, sizeof out.text, "blk.%lu.%s%s", layer, row->gguf, last);
    else
        snprintf(out.text, sizeof out.text, "%s%s", row->gguf, last);
    return out;
}
