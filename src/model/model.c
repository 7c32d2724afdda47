/* What every architecture shares: choosing it by name, its hyper-parameters, and fetching tensors
 * with the shapes they must have. The networks themselves are one file each beside this one. */
#include "model/model.h"

#include "model/network.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct network *const networks[] = {&network_llama, &network_phi3, &network_qwen2};

static const struct network *network_find(struct weights_string name)
{
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++)
        if (strlen(networks[i]->name) == name.len &&
            !memcmp(networks[i]->name, name.data, name.len))
            return networks[i];
    return NULL;
}

/* One hyper-parameter "<architecture>.<key>" into *out, within [least, most]. */
static bool read_uint(const struct weights *w, const char *arch, const char *key, uint64_t least,
                      uint64_t most, uint32_t *out, struct error *err)
{
    char name[96];
    uint64_t value;
    snprintf(name, sizeof name, "%s.%s", arch, key);
    if (!weights_uint(w, name, &value))
        return error_set(err, ERROR_FORMAT, "the file lacks %s", name);
    if (value < least || value > most)
        return error_set(err, ERROR_FORMAT, "%s is %" PRIu64 ", outside %" PRIu64 " to %" PRIu64,
                         name, value, least, most);
    *out = (uint32_t)value;
    return true;
}

static bool read_heads(const struct weights *w, struct model_info *info, struct error *err)
{
    char name[96];
    uint64_t value;
    info->n_kv_heads = info->n_heads;
    snprintf(name, sizeof name, "%s.attention.head_count_kv", info->architecture);
    if (weights_uint(w, name, &value)) {
        if (value < 1 || value > info->n_heads || info->n_heads % value)
            return error_set(err, ERROR_FORMAT, "%s is %" PRIu64 ", which does not divide %u heads",
                             name, value, info->n_heads);
        info->n_kv_heads = (uint32_t)value;
    }
    info->head_dim = info->n_embd / info->n_heads;
    snprintf(name, sizeof name, "%s.attention.key_length", info->architecture);
    if (weights_uint(w, name, &value)) {
        if (value < 2 || value > 1024)
            return error_set(err, ERROR_FORMAT, "%s is %" PRIu64, name, value);
        info->head_dim = (uint32_t)value;
    } else if (info->n_embd % info->n_heads) {
        return error_set(err, ERROR_FORMAT, "%u heads do not divide a width of %u", info->n_heads,
                         info->n_embd);
    }
    if (info->head_dim % 2)
        return error_set(err, ERROR_FORMAT, "a head of %u dimensions is odd", info->head_dim);
    return true;
}

bool model_read_info(const struct weights *w, struct model_info *out, struct error *err)
{
    struct weights_string arch;
    if (!weights_string(w, "general.architecture", &arch))
        return error_set(err, ERROR_FORMAT, "the file lacks general.architecture");
    const struct network *network = network_find(arch);
    if (!network)
        return error_set(err, ERROR_UNSUPPORTED, "architecture '%.*s' is not supported",
                         (int)(arch.len < 64 ? arch.len : 64), arch.data);
    const char *name = network->name;
    *out = (struct model_info){.architecture = name};
    if (!read_uint(w, name, "block_count", 1, 1024, &out->n_layers, err) ||
        !read_uint(w, name, "embedding_length", 1, 1 << 20, &out->n_embd, err) ||
        !read_uint(w, name, "feed_forward_length", 1, 1 << 22, &out->n_ff, err) ||
        !read_uint(w, name, "attention.head_count", 1, 4096, &out->n_heads, err) ||
        !read_uint(w, name, "context_length", 1, 1 << 24, &out->n_ctx_train, err) ||
        !read_heads(w, out, err))
        return false;
    struct matrix table;
    if (!weights_matrix(w, "token_embd.weight", &table) || table.n_experts != 1 ||
        table.n_rows > (1 << 24))
        return error_set(err, ERROR_FORMAT, "the file lacks a matrix token_embd.weight");
    out->n_vocab = (uint32_t)table.n_rows;
    for (size_t i = 0; i < weights_n_tensors(w); i++) {
        const struct weights_tensor *t = weights_tensor_at(w, i);
        out->n_params += t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
    }
    return true;
}

struct model *model_create(const struct weights *w, struct backend *be,
                           const struct model_options *options, struct error *err)
{
    struct model_info info;
    struct model_options chosen = {0};
    if (!model_read_info(w, &info, err))
        return NULL;
    struct weights_string arch = {info.architecture, strlen(info.architecture)};
    const struct network *network = network_find(arch);
    if (options)
        chosen = *options;
    if (!chosen.n_ctx)
        chosen.n_ctx = info.n_ctx_train;
    struct model *m = network->create(w, be, &info, &chosen, err);
    if (m) {
        m->network = network;
        m->weights = w;
        m->be = be;
    }
    return m;
}

void model_destroy(struct model *m)
{
    if (m)
        m->network->destroy(m);
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

bool model_compute(struct model *m, const struct backend_batch *batch, float *logits,
                   struct error *err)
{
    m->be->ops->begin(m->be, batch);
    m->network->compute(m, logits);
    return m->be->ops->end(m->be, err);
}

/* ---- what networks fetch their parts with ---- */

/* The tensor of that name, which must have this shape; false when there is none. */
static bool find(const struct network_loader *loader, const char *name, uint64_t n_in,
                 uint64_t n_out, unsigned flags, struct matrix *out)
{
    struct error *err = loader->err;
    if (*loader->failed)
        return false;
    if (!weights_matrix(loader->w, name, out)) {
        if (!(flags & NETWORK_OPTIONAL))
            *loader->failed = !error_set(err, ERROR_FORMAT, "the file lacks tensor %s", name);
        return false;
    }
    if (out->n_cols == n_in && out->n_rows == n_out && out->n_experts == 1)
        return true;
    *loader->failed = !error_set(
        err, ERROR_FORMAT, "tensor %s is %zu x %zu, not %" PRIu64 " x %" PRIu64, name,
        out->n_cols, out->n_rows * out->n_experts, n_in, n_out);
    return false;
}

const struct backend_matrix *network_matrix(const struct network_loader *loader, uint64_t n_in,
                                            uint64_t n_out, unsigned flags, const char *format, ...)
{
    char name[96];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    struct matrix m;
    if (!find(loader, name, n_in, n_out, flags, &m))
        return NULL;
    const struct backend_matrix *taken = loader->be->ops->matrix(loader->be, &m, loader->err);
    if (!taken) {
        error_prefix(loader->err, "tensor %s", name);
        *loader->failed = true;
    }
    return taken;
}

bool network_tensor(const struct network_loader *loader, uint64_t n_in, uint64_t n_out,
                    struct matrix *out, const char *format, ...)
{
    char name[96];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return find(loader, name, n_in, n_out, 0, out);
}

const struct backend_matrix *network_rows(const struct network_loader *loader,
                                          const struct matrix *m, uint64_t first, uint64_t n)
{
    if (*loader->failed)
        return NULL;
    const struct matrix rows = matrix_rows(m, first, n);
    const struct backend_matrix *taken = loader->be->ops->matrix(loader->be, &rows, loader->err);
    if (!taken)
        *loader->failed = true;
    return taken;
}

const float *network_floats(const struct network_loader *loader, uint64_t n, unsigned flags,
                            const char *name)
{
    struct matrix m;
    if (!find(loader, name, n, 1, flags, &m))
        return NULL;
    if (m.type != QUANT_F32)
        *loader->failed = !error_set(loader->err, ERROR_UNSUPPORTED, "tensor %s is not F32", name);
    return m.parts[MATRIX_BLOCKS].data;
}

struct backend_activation *network_activation(const struct network_loader *loader, uint32_t width)
{
    if (*loader->failed)
        return NULL;
    struct backend_activation *a = loader->be->ops->activation(loader->be, width, loader->err);
    if (!a)
        *loader->failed = true;
    return a;
}

struct backend_activation *network_activation_within(const struct network_loader *loader,
                                                     struct backend_activation *other,
                                                     uint32_t other_width, uint32_t *first,
                                                     uint32_t width)
{
    if (*loader->failed || *first + width > other_width)
        return network_activation(loader, width);
    struct backend_activation *a =
        loader->be->ops->activation_within(loader->be, other, *first, width, loader->err);
    *first += width;
    if (!a)
        *loader->failed = true;
    return a;
}
