/* What every architecture shares: choosing it by name, making and ending a model. The networks
 * themselves are one file each beside this one; network.c is what they fetch their parts with. */
#include "model/model.h"

#include "model/network.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { MODEL_MAX_MADE = 1 << 30 }; /* bytes of numbers that are in no file */

static const struct network *const networks[] = {
    &network_gemma3, &network_granite, &network_llama, &network_mistral3,
    &network_phi3,   &network_qwen2,   &network_qwen3, &network_qwen3moe,
};

static const struct network *network_named(struct weights_string name)
{
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++)
        if (strlen(networks[i]->name) == name.len &&
            !memcmp(networks[i]->name, name.data, name.len))
            return networks[i];
    return NULL;
}

static const struct network *network_of_type(struct weights_string type)
{
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++)
        for (const char *const *name = networks[i]->model_types; name && *name; name++)
            if (strlen(*name) == type.len && !memcmp(*name, type.data, type.len))
                return networks[i];
    return NULL;
}

/* By the table of embeddings. */
static bool read_vocabulary(const struct network *network, const struct weights *w,
                            struct model_info *out, struct error *err)
{
    const struct names names = names_of(w, network->names);
    const struct names_text table = names_in_file(&names, "token_embd.weight");
    struct matrix m;
    if (!weights_matrix(w, table.text, &m) || m.n_experts != 1 || m.n_rows > (1 << 24))
        return error_set(err, ERROR_FORMAT, "the file lacks a matrix %s", table.text);
    out->n_vocab = (uint32_t)m.n_rows;
    return true;
}

static bool read_info(const struct network *network, const struct weights *w,
                      struct model_info *out, struct error *err)
{
    const struct hyper hyper = {w, network->name, network->defaults};
    *out = (struct model_info){.architecture = network->name};
    for (size_t i = 0; i < weights_n_tensors(w); i++) {
        const struct weights_tensor *t = weights_tensor_at(w, i);
        out->n_params += t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
    }
    return network->read(&hyper, out, err) && read_vocabulary(network, w, out, err);
}

static const struct network *network_of(const struct weights *w, struct error *err)
{
    const bool is_gguf = weights_format(w) == WEIGHTS_GGUF;
    struct weights_string name;
    if (!(is_gguf ? weights_string(w, "general.architecture", &name)
                  : hyper_model_type(w, &name))) {
        error_set(err, ERROR_FORMAT, "%s",
                  is_gguf ? "the file lacks general.architecture" : "config.json lacks model_type");
        return NULL;
    }
    const struct network *network = is_gguf ? network_named(name) : network_of_type(name);
    if (!network)
        error_set(err, ERROR_UNSUPPORTED, "%s '%.*s' is not supported",
                  is_gguf ? "architecture" : "model type",
                  (int)(name.len < 64 ? name.len : 64), name.data);
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
    struct network_loader loader = {.model = m,
                                    .hyper = {m->weights, m->network->name, m->network->defaults},
                                    .names = names_of(m->weights, m->network->names),
                                    .err = err};
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
    arena_init(&m->made, MODEL_MAX_MADE);
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
    arena_deinit(&m->made);
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

uint64_t model_made_bytes(const struct model *m)
{
    return m->made.used_bytes;
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
