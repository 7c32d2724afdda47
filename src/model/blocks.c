/* See blocks.h: Vaswani et al. 2017 (arXiv:1706.03762), Shazeer et al. 2017 (experts,
 * arXiv:1701.06538), Shazeer 2020 (gated units,
 * arXiv:2002.05202), Su et al. 2021 (RoPE, arXiv:2104.09864), Ainslie et al. 2023 (grouped queries,
 * arXiv:2305.13245). */
#include "model/blocks.h"

#include "model/rope_scaling.h"

#include <math.h>

/* ---- the residual stream ---- */

/* NULL: it is the embedding. Without a word on that a file means what it has. */
static const struct backend_matrix *stream_output(struct network_loader *loader)
{
    const struct model_info *info = &loader->model->info;
    bool is_tied = false;
    const bool says_so = hyper_bool(&loader->hyper, HYPER_TIED, &is_tied);
    if (is_tied)
        return NULL;
    return network_matrix(loader, info->n_embd, info->n_vocab, says_so ? 0 : NETWORK_OPTIONAL,
                          "output.weight");
}

void block_stream_init(struct block_stream *s, struct network_loader *loader)
{
    const struct model_info *info = &loader->model->info;
    const uint32_t n = info->n_embd, n_vocab = info->n_vocab;
    s->eps = network_float(loader, HYPER_NORM_EPS);
    s->embedding_scale = s->residual_scale = s->logit_scale = 1;
    s->embedding = network_matrix(loader, n, n_vocab, 0, "token_embd.weight");
    s->norm = network_matrix(loader, n, 1, 0, "output_norm.weight");
    s->output = stream_output(loader);
    if (!s->output)
        s->output = s->embedding;
    s->x = network_activation(loader, n);
    s->h = network_activation(loader, n);
}

static void stream_scale(struct backend *be, struct backend_activation *x, float factor)
{
    if (factor != 1)
        be->ops->scale(be, x, &(struct backend_scale){.factor = factor});
}

void block_stream_begin(struct backend *be, const struct block_stream *s)
{
    be->ops->embed(be, s->embedding, s->x);
    stream_scale(be, s->x, s->embedding_scale);
}

void block_stream_norm(struct backend *be, const struct block_stream *s,
                       const struct backend_matrix *w)
{
    be->ops->rms_norm(be, s->x, w, s->eps, s->h);
}

void block_stream_add(struct backend *be, const struct block_stream *s)
{
    stream_scale(be, s->h, s->residual_scale);
    be->ops->add(be, s->x, s->h);
}

void block_stream_end(struct backend *be, const struct block_stream *s, float *logits)
{
    if (!be->ops->select(be, s->x, s->h))
        return;
    be->ops->rms_norm(be, s->h, s->norm, s->eps, s->h);
    stream_scale(be, s->h, s->logit_scale); /* so that logits need not be touched again */
    be->ops->logits(be, s->h, s->output, logits);
}

/* ---- the gated feed-forward ---- */

void block_feed_forward_init(struct block_feed_forward *f, struct network_loader *loader)
{
    f->n_ff = loader->model->info.n_ff;
    f->by_gelu = false;
    f->gate = network_activation(loader, f->n_ff);
    f->up = network_activation(loader, f->n_ff);
}

void block_feed_forward(struct backend *be, const struct block_feed_forward *f,
                        const struct block_feed_forward_weights *w,
                        const struct backend_activation *in, struct backend_activation *out)
{
    const struct backend_linear gate_up[] = {{w->w_gate, NULL, f->gate}, {w->w_up, NULL, f->up}};
    be->ops->linear(be, in, gate_up, 2);
    if (f->by_gelu)
        be->ops->geglu(be, f->gate, f->up);
    else
        be->ops->swiglu(be, f->gate, f->up);
    be->ops->linear(be, f->gate, &(struct backend_linear){w->w_down, NULL, out}, 1);
}

/* ---- experts ---- */

void block_experts_init(struct block_experts *e, struct network_loader *loader, bool normalize)
{
    const uint32_t most_used = BACKEND_MAX_EXPERTS_USED;
    e->n_experts = network_uint(loader, HYPER_N_EXPERTS, 1, BACKEND_MAX_EXPERTS);
    e->n_used = network_uint(loader, HYPER_N_EXPERTS_USED, 1,
                             e->n_experts < most_used ? e->n_experts : most_used);
    e->n_ff = network_uint(loader, HYPER_N_EXPERT_FF, 1, 1 << 22);
    e->normalize = normalize;
    e->scores = network_activation(loader, e->n_experts);
    e->grouped = network_activation(loader, e->n_used * loader->model->info.n_embd);
    e->gate = network_activation(loader, e->n_used * e->n_ff);
    e->up = network_activation(loader, e->n_used * e->n_ff);
}

struct block_feed_forward block_experts_room(const struct block_experts *e)
{
    return (struct block_feed_forward){
        .n_ff = e->n_used * e->n_ff, .gate = e->gate, .up = e->up};
}

void block_experts(struct backend *be, const struct block_experts *e,
                   const struct block_experts_weights *w, const struct backend_activation *in,
                   struct backend_activation *out)
{
    const struct backend_experts experts = {
        .n_used = e->n_used,
        .normalize = e->normalize,
        .w_gate = w->w_gate,
        .w_up = w->w_up,
        .w_down = w->w_down,
        .grouped = e->grouped,
        .gate = e->gate,
        .up = e->up,
    };
    be->ops->linear(be, in, &(struct backend_linear){w->w_router, NULL, e->scores}, 1);
    be->ops->experts(be, in, e->scores, &experts, out);
}

/* ---- attention ---- */

void block_attention_init(struct block_attention *a, struct network_loader *loader,
                          enum backend_rope rope, const struct block_feed_forward *over)
{
    const struct model_info *info = &loader->model->info;
    const uint32_t n_q = info->n_heads * info->head_dim, n_kv = info->n_kv_heads * info->head_dim;
    struct backend_activation *gate = over ? over->gate : NULL, *up = over ? over->up : NULL;
    const uint32_t n_ff = over ? over->n_ff : 0;
    uint32_t in_gate = 0, in_up = 0;
    a->n_heads = info->n_heads;
    a->n_kv_heads = info->n_kv_heads;
    a->head_dim = info->head_dim;
    a->scale = 1.0f / sqrtf((float)info->head_dim);
    a->eps = network_float(loader, HYPER_NORM_EPS);
    a->query = (struct backend_scale){.factor = 1};
    a->rope.kind = rope;
    rope_scaling_read(loader, &a->rope);
    a->q = network_activation_within(loader, gate, n_ff, &in_gate, n_q);
    a->k = network_activation_within(loader, up, n_ff, &in_up, n_kv);
    a->v = network_activation_within(loader, up, n_ff, &in_up, n_kv);
    a->out = in_gate + n_q <= n_ff ? network_activation_within(loader, gate, n_ff, &in_gate, n_q)
                                   : network_activation_within(loader, up, n_ff, &in_up, n_q);
}

struct backend_kv_layer block_attention_kv(const struct block_attention *a, uint32_t window)
{
    return (struct backend_kv_layer){a->n_kv_heads, a->head_dim, window};
}

/* A norm per head, where there is one, and RoPE. */
static void attention_turn(struct backend *be, const struct block_attention *a,
                           const struct backend_matrix *norm, struct backend_activation *x,
                           uint32_t n_heads)
{
    if (norm)
        be->ops->rms_norm(be, x, norm, a->eps, x);
    be->ops->rope(be, x, n_heads, a->head_dim, &a->rope);
}

void block_attention(struct backend *be, const struct block_attention *a,
                     const struct block_attention_weights *w, uint32_t layer,
                     const struct backend_activation *in, struct backend_activation *out)
{
    const struct backend_linear qkv[] = {
        {w->wq, w->bq, a->q}, {w->wk, w->bk, a->k}, {w->wv, w->bv, a->v}};
    const struct backend_attend_params params = {.n_heads = a->n_heads, .scale = a->scale};
    be->ops->linear(be, in, qkv, w->wk ? 3 : 1);
    attention_turn(be, a, w->q_norm, a->q, a->n_heads);
    if (a->query.stretch != 0)
        be->ops->scale(be, a->q, &a->query);
    if (w->wk) {
        attention_turn(be, a, w->k_norm, a->k, a->n_kv_heads);
        be->ops->kv_store(be, layer, a->k, a->v);
    }
    be->ops->attend(be, layer, a->q, &params, a->out);
    be->ops->linear(be, a->out, &(struct backend_linear){w->wo, NULL, out}, 1);
}
