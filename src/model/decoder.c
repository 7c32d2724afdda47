#include "model/decoder.h"

#include <stdio.h>

void decoder_init(struct decoder *d, struct network_loader *loader, enum backend_rope rope)
{
    block_stream_init(&d->stream, loader);
    block_feed_forward_init(&d->ffn, loader);
    block_attention_init(&d->attn, loader, rope, &d->ffn);
}

/* A bias that would be left out: what is computed would be wrong without a word. */
static void refuse_bias(struct network_loader *loader, uint32_t i, const char *module)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%u.%s.bias", i, module);
    const struct names_text in_file = names_in_file(&loader->names, name);
    if (in_file.text[0] && weights_tensor(loader->model->weights, in_file.text))
        network_fail(loader, ERROR_UNSUPPORTED, "tensor %s: a bias there is not supported",
                     in_file.text);
}

void decoder_load_attention(struct decoder *d, struct network_loader *loader, uint32_t i,
                            uint32_t window, unsigned bias_flags)
{
    const struct block_attention *a = &d->attn;
    struct decoder_layer *layer = decoder_layer(&d->model, i);
    const uint64_t n = d->model.info.n_embd, n_q = (uint64_t)a->n_heads * a->head_dim;
    const uint64_t n_kv = (uint64_t)a->n_kv_heads * a->head_dim;
    layer->attention = a;
    layer->attn_norm = network_matrix(loader, n, 1, 0, "blk.%u.attn_norm.weight", i);
    layer->attn = (struct block_attention_weights){
        .wq = network_matrix(loader, n, n_q, 0, "blk.%u.attn_q.weight", i),
        .bq = network_matrix(loader, n_q, 1, bias_flags, "blk.%u.attn_q.bias", i),
        .wk = network_matrix(loader, n, n_kv, 0, "blk.%u.attn_k.weight", i),
        .bk = network_matrix(loader, n_kv, 1, bias_flags, "blk.%u.attn_k.bias", i),
        .wv = network_matrix(loader, n, n_kv, 0, "blk.%u.attn_v.weight", i),
        .bv = network_matrix(loader, n_kv, 1, bias_flags, "blk.%u.attn_v.bias", i),
        .wo = network_matrix(loader, n_q, n, 0, "blk.%u.attn_output.weight", i),
    };
    refuse_bias(loader, i, "attn_output");
    d->model.kv[i] = block_attention_kv(a, window);
}

void decoder_load_head_norms(struct decoder *d, struct network_loader *loader, uint32_t i)
{
    struct block_attention_weights *attn = &decoder_layer(&d->model, i)->attn;
    const uint64_t n = d->attn.head_dim;
    attn->q_norm = network_matrix(loader, n, 1, 0, "blk.%u.attn_q_norm.weight", i);
    attn->k_norm = network_matrix(loader, n, 1, 0, "blk.%u.attn_k_norm.weight", i);
}

void decoder_load_feed_forward(struct decoder *d, struct network_loader *loader, uint32_t i)
{
    struct decoder_layer *layer = decoder_layer(&d->model, i);
    const uint64_t n = d->model.info.n_embd, n_ff = d->ffn.n_ff;
    layer->ffn_norm = network_matrix(loader, n, 1, 0, "blk.%u.ffn_norm.weight", i);
    layer->ffn = (struct block_feed_forward_weights){
        .w_gate = network_matrix(loader, n, n_ff, 0, "blk.%u.ffn_gate.weight", i),
        .w_up = network_matrix(loader, n, n_ff, 0, "blk.%u.ffn_up.weight", i),
        .w_down = network_matrix(loader, n_ff, n, 0, "blk.%u.ffn_down.weight", i),
    };
    refuse_bias(loader, i, "ffn_gate");
    refuse_bias(loader, i, "ffn_up");
    refuse_bias(loader, i, "ffn_down");
}

void decoder_load_experts(struct decoder *d, struct network_loader *loader, uint32_t i)
{
    struct decoder_layer *layer = decoder_layer(&d->model, i);
    const uint64_t n = d->model.info.n_embd, n_ff = d->experts.n_ff, n_all = d->experts.n_experts;
    layer->ffn_norm = network_matrix(loader, n, 1, 0, "blk.%u.ffn_norm.weight", i);
    layer->experts = (struct block_experts_weights){
        .w_router = network_matrix(loader, n, n_all, 0, "blk.%u.ffn_gate_inp.weight", i),
        .w_gate = network_experts(loader, n, n_ff, n_all, "blk.%u.ffn_gate_exps.weight", i),
        .w_up = network_experts(loader, n, n_ff, n_all, "blk.%u.ffn_up_exps.weight", i),
        .w_down = network_experts(loader, n_ff, n, n_all, "blk.%u.ffn_down_exps.weight", i),
    };
}

/* x += post norm(h), where the layer has one */
static void decoder_add(struct backend *be, const struct block_stream *s,
                        const struct backend_matrix *post_norm)
{
    if (post_norm)
        be->ops->rms_norm(be, s->h, post_norm, s->eps, s->h);
    block_stream_add(be, s);
}

static void decoder_compute_layer(struct backend *be, const struct decoder *d,
                                  const struct decoder_layer *layer, uint32_t i)
{
    const struct block_stream *s = &d->stream;
    block_stream_norm(be, s, layer->attn_norm);
    block_attention(be, layer->attention, &layer->attn, i, s->h, s->h);
    decoder_add(be, s, layer->attn_post_norm);
    block_stream_norm(be, s, layer->ffn_norm);
    if (layer->experts.w_router)
        block_experts(be, &d->experts, &layer->experts, s->h, s->h);
    else
        block_feed_forward(be, &d->ffn, &layer->ffn, s->h, s->h);
    decoder_add(be, s, layer->ffn_post_norm);
}

void decoder_compute(struct model *m, float *logits)
{
    const struct decoder *d = (const struct decoder *)m;
    block_stream_begin(m->be, &d->stream);
    for (uint32_t i = 0; i < m->info.n_layers; i++)
        decoder_compute_layer(m->be, d, decoder_layer(m, i), i);
    block_stream_end(m->be, &d->stream, logits);
}
