/* See names.h. */
#include "model/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a folder's language model: where its layers are, and its output. */
static const struct {
    const char *prefix, *output_prefix;
} places[] = {
    {"model.", ""},
    {"language_model.model.", "language_model."},
    {"model.language_model.", ""},
};

struct names names_of(const struct weights *w, const struct tensor_name *own)
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

static const char *row_of_gguf(const struct tensor_name *rows, const struct names_parts *p)
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
        module = row_of_gguf(tensor_names, &p);
    return module ? put_together(n, &p, module) : out;
}

struct names_text names_of_expert(const struct names *n, const char *gguf, uint32_t expert)
{
    static const char stacked[] = "mlp.switch_mlp.";
    const struct names_parts p = take_apart(gguf);
    const char *module = row_of_gguf(tensor_names, &p);
    char alone[96];
    if (!module || strncmp(module, stacked, strlen(stacked)) != 0)
        return (struct names_text){""};
    snprintf(alone, sizeof alone, "mlp.experts.%u.%s", expert, module + strlen(stacked));
    return put_together(n, &p, alone);
}
