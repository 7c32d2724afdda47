/* What every architecture shares: choosing it by name, making and ending a model. The networks
 * themselves are one file each beside this one; network.c is what they fetch their parts with. */
#include "model/model.h"

#include "model/network.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static const struct network *const networks[] = {&network_llama, &network_phi3, &network_qwen2,
                                                 &network_qwen3, &network_qwen3moe};

static const struct network *network_named(struct weights_string name)
{
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++)
        if (strlen(networks[i]->name) == name.len &&
            !memcmp(networks[i]->name, name.data, name.len))
            return networks[i];
    return NULL;
}

static bool read_info(const struct network *network, const struct weights *w,
                      struct model_info *out, struct error *err)
{
    const struct hyper hyper = {w, network->name};
    *out = (struct model_info){.architecture = network->name};
    for (size_t i = 0; i < weights_n_tensors(w); i++) {
        const struct weights_tensor *t = weights_tensor_at(w, i);
        out->n_params += t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
    }
    return network->read(&hyper, out, err);
}

static const struct network *network_of(const struct weights *w, struct error *err)
{
    struct weights_string arch = {"unknown", 7};
    if (weights_format(w) != WEIGHTS_GGUF) {
        weights_config_string(w, "model_type", &arch);
        error_set(err, ERROR_UNSUPPORTED,
                  "a folder of safetensors (model type '%.*s') is not computed yet, only GGUF is",
                  (int)(arch.len < 64 ? arch.len : 64), arch.data);
        return NULL;
    }
    if (!weights_string(w, "general.architecture", &arch)) {
        error_set(err, ERROR_FORMAT, "the file lacks general.architecture");
        return NULL;
    }
    const struct network *network = network_named(arch);
    if (!network)
        error_set(err, ERROR_UNSUPPORTED, "architecture '%.*s' is not supported",
                  (int)(arch.len < 64 ? arch.len : 64), arch.data);
    return network;
}

const char *model_architecture(size_t i)
{
    return i < sizeof networks / sizeof *networks ? networks[i]->name : NULL;
}

bool model_read_info(const struct weights *w, struct model_info *out, struct error *err)
{
    const struct network *network = network_of(w, err);
    return network && read_info(network, w, out, err);
}

/* ---- making and end ---- */

/* Of all layers: the farthest that a row of any sees. */
static uint32_t widest_window(const struct model *m)
{
    uint32_t widest = 0;
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        const struct backend_kv_layer *layer = &m->kv[i];
        if (layer->n_kv_heads && !layer->window)
            return 0;
        widest = layer->window > widest ? layer->window : widest;
    }
    return widest;
}

/* The layers' own part: a window that all have, or whatever else they are. */
static void identify_layers(struct network_loader *loader)
{
    const struct model *m = loader->model;
    const size_t n_bytes = m->info.n_layers * sizeof *m->kv;
    bool is_uniform = true;
    for (uint32_t i = 1; i < m->info.n_layers; i++)
        is_uniform &= !memcmp(&m->kv[i], &m->kv[0], sizeof *m->kv);
    if (is_uniform)
        network_identify(loader, "window %u", m->kv[0].window);
    else
        network_identify(loader, "layers %016" PRIx64, XXH3_64bits(m->kv, n_bytes));
}

static bool model_load(struct model *m, const struct model_options *options, struct error *err)
{
    struct network_loader loader = {
        .model = m, .hyper = {m->weights, m->network->name}, .err = err};
    loader.n_ctx = options && options->n_ctx ? options->n_ctx : m->info.n_ctx_train;
    m->layers = calloc(m->info.n_layers, m->network->n_layer_bytes);
    m->kv = calloc(m->info.n_layers, sizeof *m->kv);
    if (!m->layers || !m->kv)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for the model's tables");
    m->network->load(m, &loader);
    m->info.window = widest_window(m);
    identify_layers(&loader);
    return !loader.failed;
}

struct model *network_create(const struct network *network, const struct weights *w,
                             struct backend *be, const struct model_options *options,
                             struct error *err)
{
    struct model_info info;
    if (!read_info(network, w, &info, err))
        return NULL;
    struct model *m = calloc(1, network->n_bytes);
    if (!m) {
        error_set(err, ERROR_NO_MEMORY, "out of memory for the model's tables");
        return NULL;
    }
    m->network = network;
    m->info = info;
    m->weights = w;
    m->be = be;
    if (model_load(m, options, err))
        return m;
    model_destroy(m);
    return NULL;
}

struct model *model_create(const struct weights *w, struct backend *be,
                           const struct model_options *options, struct error *err)
{
    const struct network *network = network_of(w, err);
    return network ? network_create(network, w, be, options, err) : NULL;
}

void model_destroy(struct model *m)
{
    if (!m)
        return;
    free(m->layers);
    free(m->kv);
    free(m);
}

const struct model_info *model_info(const struct model *m)
{
    return &m->info;
}

const struct weights *model_weights(const struct model *m)
{
    return m->weights;
}

struct backend_kv_shape model_kv_shape(const struct model *m)
{
    return (struct backend_kv_shape){.layers = m->kv, .n_layers = m->info.n_layers};
}

const char *model_kv_identity(const struct model *m)
{
    return m->kv_identity;
}

bool model_compute(struct model *m, const struct backend_batch *batch, float *logits,
                   struct error *err)
{
    m->be->ops->begin(m->be, batch);
    m->network->compute(m, logits);
    return m->be->ops->end(m->be, err);
}
