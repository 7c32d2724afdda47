/* What networks fetch their parts with, each with the shape that it must have. */
#include "model/network.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct name {
    char text[96];
};

static struct name name_of(const char *format, va_list args)
{
    struct name name;
    vsnprintf(name.text, sizeof name.text, format, args);
    return name;
}

bool network_fail(struct network_loader *loader, enum error_code code, const char *format, ...)
{
    char message[sizeof loader->err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (!loader->failed)
        error_set(loader->err, code, "%s", message);
    loader->failed = true;
    return false;
}

/* ---- hyper-parameters ---- */

static bool read_heads(const struct hyper *h, struct model_info *info, struct error *err)
{
    uint64_t value;
    info->n_kv_heads = info->n_heads;
    if (hyper_uint(h, HYPER_N_KV_HEADS, &value)) {
        if (value < 1 || value > info->n_heads || info->n_heads % value)
            return error_set(err, ERROR_FORMAT, "%s is %" PRIu64 ", which does not divide %u heads",
                             hyper_name(h, HYPER_N_KV_HEADS).text, value, info->n_heads);
        info->n_kv_heads = (uint32_t)value;
    }
    info->head_dim = info->n_embd / info->n_heads;
    if (hyper_uint(h, HYPER_HEAD_DIM, &value)) {
        if (value < 2 || value > 1024)
            return error_set(err, ERROR_FORMAT, "%s is %" PRIu64,
                             hyper_name(h, HYPER_HEAD_DIM).text, value);
        info->head_dim = (uint32_t)value;
    } else if (info->n_embd % info->n_heads) {
        return error_set(err, ERROR_FORMAT, "%u heads do not divide a width of %u", info->n_heads,
                         info->n_embd);
    }
    if (info->head_dim % 2)
        return error_set(err, ERROR_FORMAT, "a head of %u dimensions is odd", info->head_dim);
    return true;
}

bool network_read_decoder(const struct hyper *h, struct model_info *info, struct error *err)
{
    if (!hyper_need_uint(h, HYPER_N_LAYERS, 1, 1024, &info->n_layers, err) ||
        !hyper_need_uint(h, HYPER_N_EMBD, 1, 1 << 20, &info->n_embd, err) ||
        !hyper_need_uint(h, HYPER_N_FF, 1, 1 << 22, &info->n_ff, err) ||
        !hyper_need_uint(h, HYPER_N_HEADS, 1, 4096, &info->n_heads, err) ||
        !hyper_need_uint(h, HYPER_N_CTX, 1, 1 << 24, &info->n_ctx_train, err) ||
        !read_heads(h, info, err))
        return false;
    struct matrix table;
    if (!weights_matrix(h->w, "token_embd.weight", &table) || table.n_experts != 1 ||
        table.n_rows > (1 << 24))
        return error_set(err, ERROR_FORMAT, "the file lacks a matrix token_embd.weight");
    info->n_vocab = (uint32_t)table.n_rows;
    return true;
}

float network_float(struct network_loader *loader, enum hyper_key key)
{
    float value = 0;
    if (!loader->failed)
        loader->failed = !hyper_need_float(&loader->hyper, key, &value, loader->err);
    return value;
}

uint32_t network_uint(struct network_loader *loader, enum hyper_key key, uint32_t least,
                      uint32_t most)
{
    uint32_t value = 0;
    if (!loader->failed)
        loader->failed =
            !hyper_need_uint(&loader->hyper, key, least, most, &value, loader->err);
    return value;
}

/* ---- tensors ---- */

struct shape {
    uint64_t n_in, n_out, n_experts;
};

/* The tensor of that name, which must have this shape; false when there is none. */
static bool network_find(struct network_loader *loader, const char *name, struct shape shape,
                         unsigned flags, struct matrix *out)
{
    if (loader->failed)
        return false;
    if (!weights_matrix(loader->model->weights, name, out))
        return flags & NETWORK_OPTIONAL
                   ? false
                   : network_fail(loader, ERROR_FORMAT, "the file lacks tensor %s", name);
    if (out->n_cols == shape.n_in && out->n_rows == shape.n_out &&
        out->n_experts == shape.n_experts)
        return true;
    return network_fail(loader, ERROR_FORMAT, "tensor %s is %zu x %zu, not %" PRIu64 " x %" PRIu64,
                        name, out->n_cols, out->n_rows * out->n_experts, shape.n_in,
                        shape.n_out * shape.n_experts);
}

static const struct backend_matrix *network_take(struct network_loader *loader, const char *name,
                                                 struct shape shape, unsigned flags)
{
    struct backend *be = loader->model->be;
    struct matrix m;
    if (!network_find(loader, name, shape, flags, &m))
        return NULL;
    const struct backend_matrix *taken = be->ops->matrix(be, &m, loader->err);
    loader->failed = !taken && !error_prefix(loader->err, "tensor %s", name);
    return taken;
}

const struct backend_matrix *network_matrix(struct network_loader *loader, uint64_t n_in,
                                            uint64_t n_out, unsigned flags, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const struct name name = name_of(format, args);
    va_end(args);
    return network_take(loader, name.text, (struct shape){n_in, n_out, 1}, flags);
}

const struct backend_matrix *network_experts(struct network_loader *loader, uint64_t n_in,
                                             uint64_t n_out, uint64_t n_experts,
                                             const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const struct name name = name_of(format, args);
    va_end(args);
    return network_take(loader, name.text, (struct shape){n_in, n_out, n_experts}, 0);
}

struct matrix network_tensor(struct network_loader *loader, uint64_t n_in, uint64_t n_out,
                             const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const struct name name = name_of(format, args);
    va_end(args);
    struct matrix m = {.n_rows = 0};
    network_find(loader, name.text, (struct shape){n_in, n_out, 1}, 0, &m);
    return m;
}

const struct backend_matrix *network_rows(struct network_loader *loader, const struct matrix *m,
                                          uint64_t first, uint64_t n)
{
    struct backend *be = loader->model->be;
    if (loader->failed)
        return NULL;
    const struct matrix rows = matrix_rows(m, first, n);
    const struct backend_matrix *taken = be->ops->matrix(be, &rows, loader->err);
    loader->failed = !taken;
    return taken;
}

const float *network_floats(struct network_loader *loader, uint64_t n, unsigned flags,
                            const char *name)
{
    struct matrix m;
    if (!network_find(loader, name, (struct shape){n, 1, 1}, flags, &m))
        return NULL;
    if (m.type != QUANT_F32)
        network_fail(loader, ERROR_UNSUPPORTED, "tensor %s is not F32", name);
    return m.parts[MATRIX_BLOCKS].data;
}

/* ---- activations ---- */

struct backend_activation *network_activation(struct network_loader *loader, uint32_t width)
{
    struct backend *be = loader->model->be;
    if (loader->failed)
        return NULL;
    struct backend_activation *a = be->ops->activation(be, width, loader->err);
    loader->failed = !a;
    return a;
}

struct backend_activation *network_activation_within(struct network_loader *loader,
                                                     struct backend_activation *other,
                                                     uint32_t other_width, uint32_t *first,
                                                     uint32_t width)
{
    struct backend *be = loader->model->be;
    if (loader->failed || !other || *first + width > other_width)
        return network_activation(loader, width);
    struct backend_activation *a =
        be->ops->activation_within(be, other, *first, width, loader->err);
    *first += width;
    loader->failed = !a;
    return a;
}

/* ---- the identity ---- */

void network_identify(struct network_loader *loader, const char *format, ...)
{
    char *text = loader->model->kv_identity;
    const size_t n = strlen(text);
    va_list args;
    va_start(args, format);
    const int n_more = vsnprintf(text + n, NETWORK_IDENTITY_BYTES - n, format, args);
    va_end(args);
    if (n_more < 0 || (size_t)n_more >= NETWORK_IDENTITY_BYTES - n)
        network_fail(loader, ERROR_UNSUPPORTED, "the model's KV has too long a description");
}
