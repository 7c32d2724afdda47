/* What networks fetch their parts with, each with the shape that it must have. */
#include "model/network.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct name {
    char text[96]; /* GGUF's */
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
        !hyper_need_uint(h, HYPER_N_CTX, 1, 1 << 24, &info->n_ctx_train, err))
        return false;
    return read_heads(h, info, err);
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

/* Without a list of layers: from one on, and all but each n-th. */
static bool is_in_pattern(struct network_loader *loader, uint32_t layer)
{
    const struct hyper *h = &loader->hyper;
    uint64_t first = 0, n = 0;
    float listed;
    if (hyper_n_items(h, HYPER_WINDOW_PATTERN))
        return hyper_item_float(h, HYPER_WINDOW_PATTERN, layer, &listed) && listed != 0;
    hyper_uint(h, HYPER_WINDOW_FIRST, &first);
    hyper_uint(h, HYPER_WINDOW_PATTERN, &n);
    return layer >= first && (!n || (layer + 1) % n);
}

/* Whether the file says of this layer alone that it has a window, or none. */
static bool layer_has_window(struct network_loader *loader, uint32_t layer)
{
    const struct hyper *h = &loader->hyper;
    struct weights_string kind;
    if (!hyper_n_items(h, HYPER_LAYER_KINDS))
        return is_in_pattern(loader, layer);
    if (!hyper_item_string(h, HYPER_LAYER_KINDS, layer, &kind))
        return network_fail(loader, ERROR_FORMAT, "%s has no string %u",
                            hyper_name(h, HYPER_LAYER_KINDS).text, layer);
    if (kind.len == 17 && !memcmp(kind.data, "sliding_attention", 17))
        return true;
    if (kind.len == 14 && !memcmp(kind.data, "full_attention", 14))
        return false;
    return network_fail(loader, ERROR_UNSUPPORTED, "layer %u is '%.*s', which is not supported",
                        layer, (int)(kind.len < 32 ? kind.len : 32), kind.data);
}

bool network_has_window(struct network_loader *loader, uint32_t layer)
{
    bool used = true;
    uint64_t n = 0;
    hyper_bool(&loader->hyper, HYPER_WINDOW_USED, &used);
    return !loader->failed && used && hyper_uint(&loader->hyper, HYPER_WINDOW, &n) && n &&
           layer_has_window(loader, layer);
}

uint32_t network_window(struct network_loader *loader, uint32_t layer)
{
    uint64_t n = 0;
    if (!network_has_window(loader, layer))
        return 0;
    hyper_uint(&loader->hyper, HYPER_WINDOW, &n);
    return n < loader->n_ctx ? (uint32_t)n : 0;
}

enum backend_rope network_llama_rope(const struct network_loader *loader)
{
    return weights_format(loader->model->weights) == WEIGHTS_GGUF ? BACKEND_ROPE_PAIRS
                                                                  : BACKEND_ROPE_HALVES;
}

/* ---- tensors ---- */

struct shape {
    uint64_t n_in, n_out, n_experts;
};

/* Scales of a whole tensor beside those of its groups, as MLX's nvfp4 may have them. */
static bool has_global_scale(const struct weights *w, const char *name)
{
    char scale[224];
    const size_t len = strlen(name);
    if (weights_format(w) == WEIGHTS_GGUF || len < 7 || strcmp(name + len - 7, ".weight") != 0)
        return false;
    snprintf(scale, sizeof scale, "%.*s.global_scale", (int)(len - 7), name);
    return weights_tensor(w, scale);
}

/* What there is by that name, if anything, holds no weights. False. */
static bool find_nothing(struct network_loader *loader, const char *name, unsigned flags)
{
    const struct weights_tensor *t = weights_tensor(loader->model->weights, name);
    if (t)
        return network_fail(loader, ERROR_FORMAT, "tensor %s is %s, which no weights can be", name,
                            t->n_bytes ? t->type_name : "empty");
    return flags & NETWORK_OPTIONAL
               ? false
               : network_fail(loader, ERROR_FORMAT, "the file lacks tensor %s", name);
}

/* The file's tensor of that name, which must have this shape; false when there is none. */
static bool find_in_file(struct network_loader *loader, const char *name, struct shape shape,
                         unsigned flags, struct matrix *out)
{
    const struct weights *w = loader->model->weights;
    if (loader->failed)
        return false;
    if (!weights_matrix(w, name, out))
        return find_nothing(loader, name, flags);
    if (!out->parts[MATRIX_FACTORS].data && has_global_scale(w, name))
        return network_fail(loader, ERROR_UNSUPPORTED,
                            "tensor %s has a global_scale, which is not supported", name);
    if (out->n_cols == shape.n_in && out->n_rows == shape.n_out &&
        out->n_experts == shape.n_experts)
        return true;
    return network_fail(loader, ERROR_FORMAT, "tensor %s is %zu x %zu, not %" PRIu64 " x %" PRIu64,
                        name, out->n_cols, out->n_rows * out->n_experts, shape.n_in,
                        shape.n_out * shape.n_experts);
}

/* The same by GGUF's name; *in_file becomes what the file calls it. */
static bool network_find(struct network_loader *loader, const char *name, struct shape shape,
                         unsigned flags, struct names_text *in_file, struct matrix *out)
{
    *in_file = names_in_file(&loader->names, name);
    if (!in_file->text[0]) /* folders have no such tensor */
        snprintf(in_file->text, sizeof in_file->text, "%s", name);
    return find_in_file(loader, in_file->text, shape, flags, out);
}

/* For the backend, which may refuse it. */
static const struct backend_matrix *network_give(struct network_loader *loader, const char *name,
                                                 const struct matrix *m)
{
    struct backend *be = loader->model->be;
    if (loader->failed)
        return NULL;
    const struct backend_matrix *taken = be->ops->matrix(be, m, loader->err);
    loader->failed = !taken && !error_prefix(loader->err, "tensor %s", name);
    return taken;
}

static const struct backend_matrix *network_take(struct network_loader *loader, const char *name,
                                                 struct shape shape, unsigned flags)
{
    struct names_text in_file;
    struct matrix m;
    if (!network_find(loader, name, shape, flags, &in_file, &m))
        return NULL;
    if (shape.n_out == 1 && shape.n_experts == 1 && m.type != QUANT_F32 && m.type != QUANT_F16 &&
        m.type != QUANT_BF16) {
        network_fail(loader, ERROR_UNSUPPORTED,
                     "tensor %s is %s, but norms and biases are F32, F16 or BF16", in_file.text,
                     quant_traits(m.type)->name);
        return NULL;
    }
    return network_give(loader, in_file.text, &m);
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

/* Whether the file has each expert's matrix by itself, as Hugging Face's folders do. */
static bool has_experts_alone(const struct network_loader *loader, const char *name)
{
    const struct names_text first = names_of_expert(&loader->names, name, 0);
    return first.text[0] && weights_tensor(loader->model->weights, first.text);
}

/* Such matrices stay where they are. */
static const struct backend_matrix *take_experts_alone(struct network_loader *loader,
                                                       const char *name, struct shape shape)
{
    const size_t n = (size_t)shape.n_experts;
    struct matrix *list =
        loader->failed ? NULL : arena_array(&loader->model->made, n, sizeof *list);
    struct names_text in_file = {""};
    struct matrix all;
    if (!list) {
        network_fail(loader, ERROR_NO_MEMORY, "out of memory for %zu experts", n);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        in_file = names_of_expert(&loader->names, name, (uint32_t)i);
        if (!find_in_file(loader, in_file.text, (struct shape){shape.n_in, shape.n_out, 1}, 0,
                          &list[i]))
            return NULL;
    }
    if (matrix_of_list(list, n, &all, loader->err))
        return network_give(loader, in_file.text, &all);
    loader->failed = !error_prefix(loader->err, "tensor %s", in_file.text);
    return NULL;
}

const struct backend_matrix *network_experts(struct network_loader *loader, uint64_t n_in,
                                             uint64_t n_out, uint64_t n_experts,
                                             const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const struct name name = name_of(format, args);
    va_end(args);
    if (has_experts_alone(loader, name.text))
        return take_experts_alone(loader, name.text, (struct shape){n_in, n_out, n_experts});
    return network_take(loader, name.text, (struct shape){n_in, n_out, n_experts}, 0);
}

struct matrix network_tensor(struct network_loader *loader, uint64_t n_in, uint64_t n_out,
                             const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const struct name name = name_of(format, args);
    va_end(args);
    struct names_text in_file;
    struct matrix m = {.n_rows = 0};
    network_find(loader, name.text, (struct shape){n_in, n_out, 1}, 0, &in_file, &m);
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
    struct names_text in_file;
    struct matrix m;
    if (!network_find(loader, name, (struct shape){n, 1, 1}, flags, &in_file, &m))
        return NULL;
    if (m.type != QUANT_F32)
        network_fail(loader, ERROR_UNSUPPORTED, "tensor %s is %s, but must be F32", in_file.text,
                     quant_traits(m.type)->name);
    return m.parts[MATRIX_BLOCKS].data;
}

/* ---- what is made ---- */

float *network_make_floats(struct network_loader *loader, size_t n)
{
    if (loader->failed)
        return NULL;
    float *values = arena_array(&loader->model->made, n, sizeof *values);
    if (!values)
        network_fail(loader, ERROR_NO_MEMORY, "out of memory for the model's own numbers");
    return values;
}

const struct backend_matrix *network_made(struct network_loader *loader, const float *values,
                                          uint64_t n_in, uint64_t n_out)
{
    const struct matrix m = matrix_of_blocks(QUANT_F32, n_in, n_out, 1, values);
    return network_give(loader, "of the model's own", &m);
}

const struct backend_matrix *network_shifted(struct network_loader *loader, uint64_t n, float shift,
                                             const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const struct name name = name_of(format, args);
    va_end(args);
    struct names_text in_file;
    struct matrix m;
    if (!network_find(loader, name.text, (struct shape){n, 1, 1}, 0, &in_file, &m))
        return NULL;
    if (!matrix_check(&m, loader->err)) {
        loader->failed = !error_prefix(loader->err, "tensor %s", in_file.text);
        return NULL;
    }
    float *values = network_make_floats(loader, n);
    if (!values)
        return NULL;
    matrix_decode(&m, 0, values);
    for (uint64_t i = 0; i < n; i++)
        values[i] += shift;
    return network_made(loader, values, n, 1);
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
