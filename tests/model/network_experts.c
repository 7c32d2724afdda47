#include "network_experts.h"

#include "model/blocks.h"

struct experts_layer {
    const struct backend_matrix *norm; /* [n_embd] */
    struct block_experts_weights mix;
};

struct experts_network {
    struct model model;
    struct block_stream stream;
    struct block_experts mix;
};

static void experts_load(struct model *m, struct network_loader *loader, bool normalize)
{
    struct experts_network *net = (struct experts_network *)m;
    const uint64_t n = m->info.n_embd;
    block_stream_init(&net->stream, loader);
    block_experts_init(&net->mix, loader, normalize);
    const uint64_t n_experts = net->mix.n_experts, n_ff = net->mix.n_ff;
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        struct experts_layer *layer = (struct experts_layer *)m->layers + i;
        layer->norm = network_matrix(loader, n, 1, 0, "blk.%u.ffn_norm.weight", i);
        layer->mix = (struct block_experts_weights){
            .w_router = network_matrix(loader, n, n_experts, 0, "blk.%u.ffn_gate_inp.weight", i),
            .w_gate = network_experts(loader, n, n_ff, n_experts, "blk.%u.ffn_gate_exps.weight", i),
            .w_up = network_experts(loader, n, n_ff, n_experts, "blk.%u.ffn_up_exps.weight", i),
            .w_down = network_experts(loader, n_ff, n, n_experts, "blk.%u.ffn_down_exps.weight", i),
        };
    }
}

static void experts_load_plain(struct model *m, struct network_loader *loader)
{
    experts_load(m, loader, false);
}

static void experts_load_normalized(struct model *m, struct network_loader *loader)
{
    experts_load(m, loader, true);
}

static void experts_compute(struct model *m, float *logits)
{
    const struct experts_network *net = (const struct experts_network *)m;
    const struct block_stream *s = &net->stream;
    struct backend *be = m->be;
    block_stream_begin(be, s);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        const struct experts_layer *layer = (const struct experts_layer *)m->layers + i;
        block_stream_norm(be, s, layer->norm);
        block_experts(be, &net->mix, &layer->mix, s->h, s->h);
        block_stream_add(be, s);
    }
    block_stream_end(be, s, logits);
}

const struct network network_experts_alone = {
    .name = "experts",
    .n_bytes = sizeof(struct experts_network),
    .n_layer_bytes = sizeof(struct experts_layer),
    .read = network_read_decoder,
    .load = experts_load_plain,
    .compute = experts_compute,
};

const struct network network_experts_alone_normalized = {
    .name = "experts",
    .n_bytes = sizeof(struct experts_network),
    .n_layer_bytes = sizeof(struct experts_layer),
    .read = network_read_decoder,
    .load = experts_load_normalized,
    .compute = experts_compute,
};
