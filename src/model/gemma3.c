/* Gemma 3's language model (arXiv:2503.19786): embeddings times the root of their width, norms
 * before and behind attention and feed-forward, a norm of each head, GELU gates. Of every few
 * layers all but the last see a window only, and have a RoPE of their own. */
#include "model/decoder.h"

#include "quant/half.h"

#include <math.h>
#include <stdio.h>

struct gemma3 {
    struct decoder decoder;
    struct block_attention local; /* of layers with a window; in the memory of the decoder's */
};

/* Folders keep norms as what they differ from 1, whoever made them. */
static const struct backend_matrix *gemma3_norm(struct network_loader *loader, uint64_t n,
                                                const char *name)
{
    if (weights_format(loader->model->weights) == WEIGHTS_GGUF)
        return network_matrix(loader, n, 1, 0, "%s", name);
    return network_shifted(loader, n, 1, "%s", name);
}

static const struct backend_matrix *gemma3_layer_norm(struct network_loader *loader, uint64_t n,
                                                      uint32_t i, const char *what)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%u.%s.weight", i, what);
    return gemma3_norm(loader, n, name);
}

static void gemma3_load_norms(struct decoder *d, struct network_loader *loader, uint32_t i)
{
    struct decoder_layer *layer = decoder_layer(&d->model, i);
    const uint64_t n = d->model.info.n_embd, head_dim = d->attn.head_dim;
    layer->attn_norm = gemma3_layer_norm(loader, n, i, "attn_norm");
    layer->attn_post_norm = gemma3_layer_norm(loader, n, i, "post_attention_norm");
    layer->ffn_norm = gemma3_layer_norm(loader, n, i, "ffn_norm");
    layer->ffn_post_norm = gemma3_layer_norm(loader, n, i, "post_ffw_norm");
    layer->attn.q_norm = gemma3_layer_norm(loader, head_dim, i, "attn_q_norm");
    layer->attn.k_norm = gemma3_layer_norm(loader, head_dim, i, "attn_k_norm");
}

/* By what queries are divided the root of. GGUF does not say it: it is the head's width, but in the
 * model of 62 layers the stream's over the heads. */
static float gemma3_query_scalar(struct network_loader *loader, const struct model_info *info)
{
    enum { LAYERS_OF_27B = 62 };
    float scalar = 256;
    if (weights_format(loader->model->weights) == WEIGHTS_GGUF)
        return (float)(info->n_layers == LAYERS_OF_27B ? info->n_embd / info->n_heads
                                                       : info->head_dim);
    if (hyper_float(&loader->hyper, HYPER_QUERY_SCALAR, &scalar) &&
        !(scalar > 0 && isfinite(scalar)))
        network_fail(loader, ERROR_FORMAT, "%s is %g",
                     hyper_name(&loader->hyper, HYPER_QUERY_SCALAR).text, (double)scalar);
    return scalar;
}

/* The root of the width; folders' models were trained with it in bfloat16, whatever their weights
 * are in, and those who made GGUF's engine did not mind. */
static float gemma3_embedding_scale(const struct network_loader *loader, uint32_t n_embd)
{
    const float root = sqrtf((float)n_embd);
    if (weights_format(loader->model->weights) == WEIGHTS_GGUF)
        return root;
    return half_bf16_to_float(half_bf16_from_float(root));
}

/* As the other layers' attention, but with a RoPE that is not scaled. */
static void gemma3_init_local(struct gemma3 *net, struct network_loader *loader)
{
    struct backend_rope_params *rope = &net->local.rope;
    float base = 0;
    net->local = net->decoder.attn;
    hyper_float(&loader->hyper, HYPER_ROPE_BASE_LOCAL, &base);
    if (!(base > 1) || !isfinite(base))
        network_fail(loader, ERROR_FORMAT, "%s is %g",
                     hyper_name(&loader->hyper, HYPER_ROPE_BASE_LOCAL).text, (double)base);
    *rope = (struct backend_rope_params){.kind = rope->kind,
                                         .n_dims = rope->n_dims,
                                         .freq_base = base,
                                         .freq_scale = 1,
                                         .magnitude = 1};
    network_identify(loader, "local rope %a, ", (double)base);
}

static void gemma3_refuse_cap(struct network_loader *loader)
{
    float cap = 0;
    if (hyper_float(&loader->hyper, HYPER_LOGIT_CAP, &cap) && cap != 0)
        network_fail(loader, ERROR_UNSUPPORTED, "%s: logits capped at %g are not supported",
                     hyper_name(&loader->hyper, HYPER_LOGIT_CAP).text, (double)cap);
}

static void gemma3_load(struct model *m, struct network_loader *loader)
{
    struct gemma3 *net = (struct gemma3 *)m;
    struct decoder *d = &net->decoder;
    decoder_init(d, loader, BACKEND_ROPE_HALVES);
    d->stream.embedding_scale = gemma3_embedding_scale(loader, m->info.n_embd);
    d->stream.norm = gemma3_norm(loader, m->info.n_embd, "output_norm.weight");
    d->ffn.by_gelu = true;
    d->attn.scale = 1.0f / sqrtf(gemma3_query_scalar(loader, &m->info));
    gemma3_init_local(net, loader);
    gemma3_refuse_cap(loader);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        decoder_load_attention(d, loader, i, network_window(loader, i), NETWORK_OPTIONAL);
        decoder_load_feed_forward(d, loader, i);
        gemma3_load_norms(d, loader, i);
        if (network_has_window(loader, i))
            decoder_layer(m, i)->attention = &net->local;
    }
}

static const char *const gemma3_types[] = {"gemma3_text", "gemma3", NULL};
static const struct tensor_name gemma3_names[] = {
    {"post_attention_norm", "post_attention_layernorm"},
    {"ffn_norm", "pre_feedforward_layernorm"},
    {"post_ffw_norm", "post_feedforward_layernorm"},
    {NULL, NULL},
};
/* What config.json leaves out, transformers' configuration_gemma3.py says. */
static const struct hyper_default gemma3_defaults[] = {
    {HYPER_N_HEADS, 8},          {HYPER_N_KV_HEADS, 4},   {HYPER_HEAD_DIM, 256},
    {HYPER_NORM_EPS, 1e-6f},     {HYPER_N_CTX, 131072},   {HYPER_ROPE_BASE, 1e6f},
    {HYPER_WINDOW_PATTERN, 6},   {HYPER_ROPE_BASE_LOCAL, 1e4f}, {0},
};

const struct network network_gemma3 = {
    .name = "gemma3",
    .model_types = gemma3_types,
    .names = gemma3_names,
    .defaults = gemma3_defaults,
    .n_bytes = sizeof(struct gemma3),
    .n_layer_bytes = sizeof(struct decoder_layer),
    .read = network_read_decoder,
    .load = gemma3_load,
    .compute = decoder_compute,
};
