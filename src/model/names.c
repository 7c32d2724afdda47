/* See names.h. Hugging Face's names are those of the transformers library's modules; mlx-lm keeps
 * them, but stacks experts in a module switch_mlp. */
#include "model/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct names_row common[] = {
    {"token_embd", "embed_tokens"},
    {"output_norm", "norm"},
    {"output", "lm_head"},
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_qkv", "self_attn.qkv_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
    {"ffn_gate_inp", "mlp.gate"},
    {"ffn_gate_exps", "mlp.switch_mlp.gate_proj"},
    {"ffn_up_exps", "mlp.switch_mlp.up_proj"},
    {"ffn_down_exps", "mlp.switch_mlp.down_proj"},
    {NULL, NULL},
};

/* Of a folder's language model: where its layers are, and its output. */
static const struct {
    const char *prefix, *output_prefix;
} places[] = {
    {"model.", ""},
    {"language_model.model.", "language_model."},
    {"model.language_model.", ""},
};

struct names names_of(const struct weights *w, const struct names_row *own)
{
    struct names n = {w, own, places[0].prefix, places[0].output_prefix};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char embedding[64];
        snprintf(embedding, sizeof embedding, "%sembed_tokens.weight", places[i].prefix);
        if (weights_tensor(w, embedding)) {
            n.prefix = places[i].prefix;
            n.output_prefix = places[i].output_prefix;
            break;
        }
    }
    return n;
}

/* ---- from GGUF ---- */

/* A name taken apart: "blk.3." or nothing, a module, ".weight" or the like. */
struct names_parts {
    bool in_layer;
    unsigned long layer;
    const char *module;
    size_t module_len;
    const char *last;
};

static struct names_parts take_apart(const char *gguf)
{
    struct names_parts p = {.module = gguf};
    if (!strncmp(gguf, "blk.", 4) && gguf[4] >= '0' && gguf[4] <= '9') {
        char *end;
        p.layer = strtoul(gguf + 4, &end, 10);
        p.in_layer = *end == '.';
        p.module = p.in_layer ? end + 1 : gguf;
    }
    p.module_len = strcspn(p.module, ".");
    p.last = p.module + p.module_len;
    return p;
}

static const char *row_of_gguf(const struct names_row *rows, const struct names_parts *p)
{
    for (; rows && rows->gguf; rows++)
        if (strlen(rows->gguf) == p->module_len && !memcmp(rows->gguf, p->module, p->module_len))
            return rows->folder;
    return NULL;
}

static struct names_text put_together(const struct names *n, const struct names_parts *p,
                                      const char *module)
{
    struct names_text out = {""};
    int len;
    if (p->in_layer)
        len = snprintf(out.text, sizeof out.text, "%slayers.%lu.%s%s", n->prefix, p->layer, module,
                       p->last);
    else
        len = snprintf(out.text, sizeof out.text, "%s%s%s",
                       !strcmp(module, "lm_head") ? n->output_prefix : n->prefix, module, p->last);
    if (len < 0 || (size_t)len >= sizeof out.text)
        out.text[0] = '\0';
    return out;
}

struct names_text names_in_file(const struct names *n, const char *gguf)
{
    struct names_text out = {""};
    if (weights_format(n->w) == WEIGHTS_GGUF) {
        snprintf(out.text, sizeof out.text, "%s", gguf);
        return out;
    }
    const struct names_parts p = take_apart(gguf);
    const char *module = row_of_gguf(n->own, &p);
    if (!module)
        module = row_of_gguf(common, &p);
    return module ? put_together(n, &p, module) : out;
}

struct names_text names_of_expert(const struct names *n, const char *gguf, uint32_t expert)
{
    static const char stacked[] = "mlp.switch_mlp.";
    const struct names_parts p = take_apart(gguf);
    const char *module = row_of_gguf(common, &p);
    char alone[96];
    if (!module || strncmp(module, stacked, strlen(stacked)) != 0)
        return (struct names_text){""};
    snprintf(alone, sizeof alone, "mlp.experts.%u.%s", expert, module + strlen(stacked));
    return put_together(n, &p, alone);
}

/* ---- to GGUF ---- */

/* The row whose module `name` is, up to its last dot. */
static const char *row_of_folder(const struct names_row *rows, const char *name, size_t len)
{
    for (; rows && rows->gguf; rows++)
        if (strlen(rows->folder) == len && !memcmp(rows->folder, name, len))
            return rows->gguf;
    return NULL;
}

/* A common row does not hold for what the network's own call otherwise. */
static bool has_own(const struct names *n, const char *gguf)
{
    for (const struct names_row *row = n->own; row && row->gguf; row++)
        if (!strcmp(row->gguf, gguf))
            return true;
    return false;
}

static const char *gguf_module(const struct names *n, const char *name, size_t len)
{
    const char *gguf = row_of_folder(n->own, name, len);
    if (gguf)
        return gguf;
    gguf = row_of_folder(common, name, len);
    return gguf && has_own(n, gguf) ? NULL : gguf;
}

struct names_text names_in_gguf(const struct names *n, const char *folder)
{
    struct names_text out = {""};
    const char *at = folder, *last = strrchr(folder, '.');
    char *end = NULL;
    unsigned long layer = 0;
    size_t n_prefix = strlen(n->prefix), n_output = strlen(n->output_prefix);
    if (!strncmp(folder, n->prefix, n_prefix))
        at += n_prefix;
    else if (!strncmp(folder, n->output_prefix, n_output))
        at += n_output;
    if (!strncmp(at, "layers.", 7) && at[7] >= '0' && at[7] <= '9') {
        layer = strtoul(at + 7, &end, 10);
        at = *end == '.' ? end + 1 : at;
    }
    const char *module = last && last > at ? gguf_module(n, at, (size_t)(last - at)) : NULL;
    if (module && end)
        snprintf(out.text, sizeof out.text, "blk.%lu.%s%s", layer, module, last);
    else if (module)
        snprintf(out.text, sizeof out.text, "%s%s", module, last);
    return out;
}
