#include "support/gguf_builder.h"

#include <string.h>

enum {
    KIND_U32 = 4,
    KIND_I32 = 5,
    KIND_F32 = 6,
    KIND_BOOL = 7,
    KIND_STRING = 8,
    KIND_ARRAY = 9,
    ALIGNMENT = 32,
};

static void put(struct buf *b, uint64_t value, size_t n_bytes)
{
    buf_append(b, &value, n_bytes); /* little-endian machines only, as the format */
}

static void put_string(struct buf *b, const char *text)
{
    put(b, strlen(text), 8);
    buf_puts(b, text);
}

static void put_key(struct gguf_builder *g, const char *key, uint32_t kind)
{
    put_string(&g->meta, key);
    put(&g->meta, kind, 4);
    g->n_meta++;
}

void gguf_builder_init(struct gguf_builder *g)
{
    *g = (struct gguf_builder){0};
    buf_init(&g->meta, 64 << 20);
    buf_init(&g->infos, 64 << 20);
    buf_init(&g->data, 64 << 20);
}

void gguf_builder_deinit(struct gguf_builder *g)
{
    buf_deinit(&g->meta);
    buf_deinit(&g->infos);
    buf_deinit(&g->data);
}

void gguf_builder_u32(struct gguf_builder *g, const char *key, uint32_t value)
{
    put_key(g, key, KIND_U32);
    put(&g->meta, value, 4);
}

void gguf_builder_bool(struct gguf_builder *g, const char *key, bool value)
{
    put_key(g, key, KIND_BOOL);
    put(&g->meta, value, 1);
}

void gguf_builder_f32(struct gguf_builder *g, const char *key, float value)
{
    put_key(g, key, KIND_F32);
    buf_append(&g->meta, &value, 4);
}

void gguf_builder_string(struct gguf_builder *g, const char *key, const char *value)
{
    put_key(g, key, KIND_STRING);
    put_string(&g->meta, value);
}

void gguf_builder_strings(struct gguf_builder *g, const char *key, const char *const *values,
                          uint64_t n)
{
    put_key(g, key, KIND_ARRAY);
    put(&g->meta, KIND_STRING, 4);
    put(&g->meta, n, 8);
    for (uint64_t i = 0; i < n; i++)
        put_string(&g->meta, values[i]);
}

void gguf_builder_i32s(struct gguf_builder *g, const char *key, const int32_t *values, uint64_t n)
{
    put_key(g, key, KIND_ARRAY);
    put(&g->meta, KIND_I32, 4);
    put(&g->meta, n, 8);
    buf_append(&g->meta, values, n * sizeof *values);
}

void gguf_builder_f32s(struct gguf_builder *g, const char *key, const float *values, uint64_t n)
{
    put_key(g, key, KIND_ARRAY);
    put(&g->meta, KIND_F32, 4);
    put(&g->meta, n, 8);
    buf_append(&g->meta, values, n * sizeof *values);
}

void gguf_builder_declare(struct gguf_builder *g, const char *name, uint32_t type, uint32_t n_dims,
                          const uint64_t *shape, uint64_t n_bytes)
{
    put_string(&g->infos, name);
    put(&g->infos, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++)
        put(&g->infos, shape[i], 8);
    put(&g->infos, type, 4);
    put(&g->infos, g->n_data, 8);
    g->n_data += (n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    g->n_tensors++;
}

static void put_floats(struct gguf_builder *g, const char *name, const float *values,
                       uint32_t n_dims, const uint64_t *shape)
{
    uint64_t n_bytes = sizeof *values;
    for (uint32_t i = 0; i < n_dims; i++)
        n_bytes *= shape[i];
    gguf_builder_declare(g, name, 0, n_dims, shape, n_bytes);
    buf_append(&g->data, values, n_bytes);
    while (g->data.len < g->n_data)
        buf_putc(&g->data, 0);
}

void gguf_builder_tensor(struct gguf_builder *g, const char *name, const float *values,
                         uint64_t n_cols, uint64_t n_rows)
{
    put_floats(g, name, values, n_rows ? 2 : 1, (const uint64_t[]){n_cols, n_rows});
}

void gguf_builder_experts(struct gguf_builder *g, const char *name, const float *values,
                          uint64_t n_cols, uint64_t n_rows, uint64_t n_experts)
{
    put_floats(g, name, values, 3, (const uint64_t[]){n_cols, n_rows, n_experts});
}

void gguf_builder_blocks(struct gguf_builder *g, const char *name, uint32_t type, const void *data,
                         uint64_t n_bytes, uint64_t n_cols, uint64_t n_rows, uint64_t n_experts)
{
    const uint64_t shape[] = {n_cols, n_rows, n_experts};
    gguf_builder_declare(g, name, type, n_experts > 1 ? 3 : n_rows ? 2 : 1, shape, n_bytes);
    buf_append(&g->data, data, n_bytes);
    while (g->data.len < g->n_data)
        buf_putc(&g->data, 0);
}

void *gguf_builder_finish(struct gguf_builder *g, size_t *n_bytes)
{
    struct buf file;
    buf_init(&file, 256 << 20);
    buf_puts(&file, "GGUF");
    put(&file, 3, 4);
    put(&file, g->n_tensors, 8);
    put(&file, g->n_meta, 8);
    buf_append(&file, g->meta.data, g->meta.len);
    buf_append(&file, g->infos.data, g->infos.len);
    while (file.len % ALIGNMENT)
        buf_putc(&file, 0);
    buf_append(&file, g->data.data, g->data.len);
    gguf_builder_deinit(g);
    return buf_steal(&file, n_bytes);
}
