/* See gguf_writer.h. */
#include "convert/gguf_writer.h"

#include "weights/gguf_format.h"

#include <string.h>

enum { GGUF_ALIGNMENT = 32, GGUF_VERSION = 3, GGUF_MAX_BYTES = 1 << 30 };

static void put_u32(struct buf *b, uint32_t value)
{
    buf_append(b, &value, sizeof value); /* little-endian machines only, as the format */
}

static void put_u64(struct buf *b, uint64_t value)
{
    buf_append(b, &value, sizeof value);
}

static void put_text(struct buf *b, const char *text, size_t len)
{
    put_u64(b, len);
    buf_append(b, text, len);
}

static void put_key(struct gguf_writer *g, const char *key, size_t len, uint32_t kind)
{
    put_text(&g->meta, key, len);
    put_u32(&g->meta, kind);
    g->n_meta++;
}

static void put_array(struct gguf_writer *g, const char *key, uint32_t kind, uint64_t n)
{
    put_key(g, key, strlen(key), GGUF_ARRAY);
    put_u32(&g->meta, kind);
    put_u64(&g->meta, n);
}

void gguf_writer_init(struct gguf_writer *g)
{
    g->n_meta = 0;
    buf_init(&g->meta, GGUF_MAX_BYTES);
}

void gguf_writer_deinit(struct gguf_writer *g)
{
    buf_deinit(&g->meta);
}

void gguf_writer_uint(struct gguf_writer *g, const char *key, uint32_t value)
{
    put_key(g, key, strlen(key), GGUF_U32);
    put_u32(&g->meta, value);
}

void gguf_writer_float(struct gguf_writer *g, const char *key, float value)
{
    put_key(g, key, strlen(key), GGUF_F32);
    buf_append(&g->meta, &value, sizeof value);
}

void gguf_writer_bool(struct gguf_writer *g, const char *key, bool value)
{
    put_key(g, key, strlen(key), GGUF_BOOL);
    buf_putc(&g->meta, value ? 1 : 0);
}

void gguf_writer_string(struct gguf_writer *g, const char *key, const char *text, size_t len)
{
    put_key(g, key, strlen(key), GGUF_STRING);
    put_text(&g->meta, text, len);
}

void gguf_writer_strings(struct gguf_writer *g, const char *key,
                         const struct weights_string *items, size_t n)
{
    put_array(g, key, GGUF_STRING, n);
    for (size_t i = 0; i < n; i++)
        put_text(&g->meta, items[i].data, items[i].len);
}

void gguf_writer_ints(struct gguf_writer *g, const char *key, const int32_t *items, size_t n)
{
    put_array(g, key, GGUF_I32, n);
    buf_append(&g->meta, items, n * sizeof *items);
}

void gguf_writer_floats(struct gguf_writer *g, const char *key, const float *items, size_t n)
{
    put_array(g, key, GGUF_F32, n);
    buf_append(&g->meta, items, n * sizeof *items);
}

void gguf_writer_bools(struct gguf_writer *g, const char *key, const bool *items, size_t n)
{
    put_array(g, key, GGUF_BOOL, n);
    for (size_t i = 0; i < n; i++)
        buf_putc(&g->meta, items[i] ? 1 : 0);
}

void gguf_writer_copy(struct gguf_writer *g, const struct weights *w, size_t i)
{
    const struct weights_string key = weights_meta_at(w, i).key;
    const struct weights_raw raw = weights_meta_raw(w, i);
    put_key(g, key.data, key.len, raw.is_array ? GGUF_ARRAY : raw.type);
    if (raw.is_array) {
        put_u32(&g->meta, raw.type);
        put_u64(&g->meta, raw.n_items);
    }
    buf_append(&g->meta, raw.data, raw.n_bytes);
}

/* ---- tensors ---- */

static uint64_t aligned(uint64_t n)
{
    return (n + GGUF_ALIGNMENT - 1) / GGUF_ALIGNMENT * GGUF_ALIGNMENT;
}

/* What is said of a tensor; its data begins `at` bytes after the first one's. Returns its bytes. */
static uint64_t put_tensor(struct buf *head, struct plan_tensor *t, uint64_t at)
{
    const uint64_t row_bytes = quant_row_bytes(t->type, (size_t)t->shape[0]);
    put_text(head, t->name, strlen(t->name));
    put_u32(head, t->n_dims);
    for (uint32_t i = 0; i < t->n_dims; i++)
        put_u64(head, t->shape[i]);
    put_u32(head, t->raw ? t->raw_type : (uint32_t)t->type);
    put_u64(head, at);
    t->n_regions = 1;
    t->regions[0] = (struct plan_region){0, at, row_bytes};
    return t->raw ? t->n_raw : row_bytes * plan_n_rows(t);
}

bool gguf_writer_finish(struct gguf_writer *g, struct plan *p, struct error *err)
{
    struct buf head;
    uint64_t n_data = 0;
    buf_init(&head, GGUF_MAX_BYTES);
    buf_puts(&head, "GGUF");
    put_u32(&head, GGUF_VERSION);
    put_u64(&head, p->n_tensors);
    put_u64(&head, g->n_meta);
    buf_append(&head, g->meta.data, g->meta.len);
    for (size_t i = 0; i < p->n_tensors; i++)
        n_data = aligned(n_data + put_tensor(&head, &p->tensors[i], n_data));
    while (head.len % GGUF_ALIGNMENT)
        buf_putc(&head, 0);
    for (size_t i = 0; i < p->n_tensors; i++)
        p->tensors[i].regions[0].at += head.len;
    head.failed = head.failed || buf_failed(&g->meta);
    struct plan_file *file = plan_add_file(p, "", &head, err);
    if (file)
        file->size += n_data;
    buf_deinit(&head);
    return file != NULL;
}
