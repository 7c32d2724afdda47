/* The pre-norm decoder block with grouped-query attention and SwiGLU (Touvron et al. 2023,
 * arXiv:2302.13971; Ainslie et al. 2023, arXiv:2305.13245), over tensor names as GGUF gives them.
 */
#include "model/decoder.h"

#include "model/rope_scaling.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void load_separate(struct decoder_layer *layer, uint32_t i, const struct model_info *info,
                          const struct network_loader *loader)
{
    const uint64_t n = info->n_embd, n_q = (uint64_t)info->n_heads * info->head_dim;
    const uint64_t n_kv = (uint64_t)info->n_kv_heads * info->head_dim;
    layer->wq = network_matrix(loader, n, n_q, 0, "blk.%u.attn_q.weight", i);
    layer->wk = network_matrix(loader, n, n_kv, 0, "blk.%u.attn_k.weight", i);
    layer->wv = network_matrix(loader, n, n_kv, 0, "blk.%u.attn_v.weight", i);
    layer->w_gate = network_matrix(loader, n, info->n_ff, 0, "blk.%u.ffn_gate.weight", i);
    layer->w_up = network_matrix(loader, n, info->n_ff, 0, "blk.%u.ffn_up.weight", i);
}

/* The rows of attn_qkv are q, k, v; those of ffn_up are gate, up. */
static void load_fused(struct decoder_layer *layer, uint32_t i, const struct model_info *info,
                       const struct network_loader *loader)
{
    const uint64_t n = info->n_embd, n_ff = info->n_ff;
    const uint64_t n_q = (uint64_t)info->n_heads * info->head_dim;
    const uint64_t n_kv = (uint64_t)info->n_kv_heads * info->head_dim;
    struct matrix qkv, gate_up;
    if (!network_tensor(loader, n, n_q + 2 * n_kv, &qkv, "blk.%u.attn_qkv.weight", i) ||
        !network_tensor(loader, n, 2 * n_ff, &gate_up, "blk.%u.ffn_up.weight", i))
        return;
    layer->wq = network_rows(loader, &qkv, 0, n_q);
    layer->wk = network_rows(loader, &qkv, n_q, n_kv);
    layer->wv = network_rows(loader, &qkv, n_q + n_kv, n_kv);
    layer->w_gate = network_rows(loader, &gate_up, 0, n_ff);
    layer->w_up = network_rows(loader, &gate_up, n_ff, n_ff);
}

static void load_layer(struct decoder *d, uint32_t i, const struct network_loader *loader,
                       const struct decoder_wiring *wiring)
{
    const struct model_info *info = &d->model.info;
    const uint64_t n = info->n_embd, n_q = (uint64_t)info->n_heads * info->head_dim;
    const uint64_t n_kv = (uint64_t)info->n_kv_heads * info->head_dim;
    struct decoder_layer *layer = &d->layers[i];
    *layer = (struct decoder_layer){
        .attn_norm = network_matrix(loader, n, 1, 0, "blk.%u.attn_norm.weight", i),
        .wo = network_matrix(loader, n_q, n, 0, "blk.%u.attn_output.weight", i),
        .ffn_norm = network_matrix(loader, n, 1, 0, "blk.%u.ffn_norm.weight", i),
        .w_down = network_matrix(loader, info->n_ff, n, 0, "blk.%u.ffn_down.weight", i),
    };
    if (wiring->is_fused)
        load_fused(layer, i, info, loader);
    else
        load_separate(layer, i, info, loader);
    if (wiring->biases == DECODER_NO_BIASES)
        return;
    unsigned flags = wiring->biases == DECODER_OPTIONAL_BIASES ? NETWORK_OPTIONAL : 0;
    layer->bq = network_matrix(loader, n_q, 1, flags, "blk.%u.attn_q.bias", i);
    layer->bk = network_matrix(loader, n_kv, 1, flags, "blk.%u.attn_k.bias", i);
    layer->bv = network_matrix(loader, n_kv, 1, flags, "blk.%u.attn_v.bias", i);
}

/* One that is never full is none. */
static void load_window(struct decoder *d, const struct network_loader *loader, uint32_t n_ctx)
{
    char key[96];
    uint64_t n = 0;
    snprintf(key, sizeof key, "%s.attention.sliding_window", d->model.info.architecture);
    weights_uint(loader->w, key, &n);
    d->window = n < n_ctx ? (uint32_t)n : 0;
}

static void load_activations(struct decoder *d, const struct network_loader *loader)
{
    const struct model_info *info = &d->model.info;
    const uint32_t n_q = info->n_heads * info->head_dim, n_kv = info->n_kv_heads * info->head_dim;
    d->x = network_activation(loader, info->n_embd);
    d->h = network_activation(loader, info->n_embd);
    d->gate = network_activation(loader, info->n_ff);
    d->up = network_activation(loader, info->n_ff);
    /* attention is over when the feed-forward begins */
    uint32_t in_gate = 0, in_up = 0;
    d->q = network_activation_within(loader, d->gate, info->n_ff, &in_gate, n_q);
    d->att = network_activation_within(loader, d->gate, info->n_ff, &in_gate, n_q);
    d->k = network_activation_within(loader, d->up, info->n_ff, &in_up, n_kv);
    d->v = network_activation_within(loader, d->up, info->n_ff, &in_up, n_kv);
}

static bool load(struct decoder *d, const struct network_loader *loader,
                 const struct model_options *options, const struct decoder_wiring *wiring)
{
    const struct model_info *info = &d->model.info;
    char key[96];
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", info->architecture);
    if (!weights_float(loader->w, key, &d->norm_eps))
        return error_set(loader->err, ERROR_FORMAT, "the file lacks %s", key);
    d->rope.kind = wiring->rope;
    if (!rope_scaling_read(loader, info, options->n_ctx, &d->rope))
        return false;
    if (wiring->has_window)
        load_window(d, loader, options->n_ctx);
    d->embedding = network_matrix(loader, info->n_embd, info->n_vocab, 0, "token_embd.weight");
    d->output_norm = network_matrix(loader, info->n_embd, 1, 0, "output_norm.weight");
    d->output =
        network_matrix(loader, info->n_embd, info->n_vocab, NETWORK_OPTIONAL, "output.weight");
    if (!d->output)
        d->output = d->embedding;
    for (uint32_t i = 0; i < info->n_layers && !*loader->failed; i++)
        load_layer(d, i, loader, wiring);
    load_activations(d, loader);
    d->model.info.rope = d->rope;
    d->model.info.window = d->window;
    for (uint32_t i = 0; i < info->n_layers; i++)
        d->model.kv[i] = (struct backend_kv_layer){info->n_kv_heads, info->head_dim, d->window};
    return !*loader->failed;
}

struct model *decoder_create(const struct weights *w, struct backend *be,
                             const struct model_info *info, const struct model_options *options,
                             const struct decoder_wiring *wiring, struct error *err)
{
    bool failed = false;
    struct network_loader loader = {.w = w, .be = be, .err = err, .failed = &failed};
    struct decoder *d = calloc(1, sizeof *d);
    if (!d) {
        error_set(err, ERROR_NO_MEMORY, "out of memory for the model's tables");
        return NULL;
    }
    d->model.info = *info;
    d->model.be = be;
    d->layers = calloc(info->n_layers, sizeof *d->layers);
    d->model.kv = calloc(info->n_layers, sizeof *d->model.kv);
    const bool has_room = d->layers && d->model.kv;
    if (!has_room)
        error_set(err, ERROR_NO_MEMORY, "out of memory for the model's tables");
    if (has_room && load(d, &loader, options, wiring))
        return &d->model;
    decoder_destroy(&d->model);
    return NULL;
}

void decoder_destroy(struct model *m)
{
    struct decoder *d = (struct decoder *)m;
    free(d->layers);
    free(m->kv);
    free(d);
}

/* x += Wo attention(rope(Wq norm(x)), rope(Wk norm(x)), Wv norm(x)) */
static void attention(struct decoder *d, uint32_t i)
{
    const struct decoder_layer *layer = &d->layers[i];
    const struct model_info *info = &d->model.info;
    struct backend *be = d->model.be;
    const struct backend_ops *op = be->ops;
    const struct backend_attend_params params = {
        .n_heads = info->n_heads,
        .scale = 1.0f / sqrtf((float)info->head_dim),
    };

    op->rms_norm(be, d->x, layer->attn_norm, d->norm_eps, d->h);
    const struct backend_linear qkv[] = {
        {layer->wq, layer->bq, d->q}, {layer->wk, layer->bk, d->k}, {layer->wv, layer->bv, d->v}};
    op->linear(be, d->h, qkv, 3);
    op->rope(be, d->q, info->n_heads, info->head_dim, &d->rope);
    op->rope(be, d->k, info->n_kv_heads, info->head_dim, &d->rope);
    op->kv_store(be, i, d->k, d->v);
    op->attend(be, i, d->q, &params, d->att);
    op->linear(be, d->att, &(struct backend_linear){layer->wo, NULL, d->h}, 1);
    op->add(be, d->x, d->h);
}

/* x += Wdown (silu(Wgate norm(x)) * Wup norm(x)) */
static void feed_forward(struct decoder *d, uint32_t i)
{
    const struct decoder_layer *layer = &d->layers[i];
    struct backend *be = d->model.be;
    const struct backend_ops *op = be->ops;

    op->rms_norm(be, d->x, layer->ffn_norm, d->norm_eps, d->h);
    const struct backend_linear gate_up[] = {{layer->w_gate, NULL, d->gate},
                                             {layer->w_up, NULL, d->up}};
    op->linear(be, d->h, gate_up, 2);
    op->swiglu(be, d->gate, d->up);
    op->linear(be, d->gate, &(struct backend_linear){layer->w_down, NULL, d->h}, 1);
    op->add(be, d->x, d->h);
}

/* logits = Wout norm(x), for the rows that want them */
static void output(struct decoder *d, float *logits)
{
    struct backend *be = d->model.be;
    const struct backend_ops *op = be->ops;
    if (!op->select(be, d->x, d->h))
        return;
    op->rms_norm(be, d->h, d->output_norm, d->norm_eps, d->h);
    op->logits(be, d->h, d->output, logits);
}

void decoder_compute(struct model *m, float *logits)
{
    struct decoder *d = (struct decoder *)m;
    struct backend *be = m->be;

    be->ops->embed(be, d->embedding, d->x);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        attention(d, i);
        feed_forward(d, i);
    }
    output(d, logits);
}
