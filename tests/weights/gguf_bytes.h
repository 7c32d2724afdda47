/* Builds GGUF files byte by byte, right ones and wrong ones: nothing here checks anything. */
#ifndef PENSIEVE_TESTS_WEIGHTS_GGUF_BYTES_H
#define PENSIEVE_TESTS_WEIGHTS_GGUF_BYTES_H

#include "base/buf.h"

#include <stdint.h>
#include <string.h>

enum {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
};

#define GGUF_PUT(b, type, value) buf_append((b), &(type){value}, sizeof(type))

static inline void gguf_header(struct buf *b, uint32_t version, uint64_t n_tensors, uint64_t n_meta)
{
    buf_append(b, "GGUF", 4);
    GGUF_PUT(b, uint32_t, version);
    GGUF_PUT(b, uint64_t, n_tensors);
    GGUF_PUT(b, uint64_t, n_meta);
}

static inline void gguf_string(struct buf *b, const char *text)
{
    GGUF_PUT(b, uint64_t, strlen(text));
    buf_puts(b, text);
}

/* A metadata entry up to its value. */
static inline void gguf_key(struct buf *b, const char *key, uint32_t type)
{
    gguf_string(b, key);
    GGUF_PUT(b, uint32_t, type);
}

/* A metadata entry up to an array's first item. */
static inline void gguf_array(struct buf *b, const char *key, uint32_t item_type, uint64_t n)
{
    gguf_key(b, key, GGUF_ARRAY);
    GGUF_PUT(b, uint32_t, item_type);
    GGUF_PUT(b, uint64_t, n);
}

#define GGUF_META(b, key, kind, type, value)                                                       \
    (gguf_key((b), (key), GGUF_##kind), GGUF_PUT((b), type, value))

static inline void gguf_tensor(struct buf *b, const char *name, uint32_t type, uint32_t n_dims,
                               const uint64_t *shape, uint64_t offset)
{
    gguf_string(b, name);
    GGUF_PUT(b, uint32_t, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        GGUF_PUT(b, uint64_t, shape[i]);
    GGUF_PUT(b, uint32_t, type);
    GGUF_PUT(b, uint64_t, offset);
}

static inline void gguf_pad(struct buf *b, size_t alignment)
{
    while (b->len % alignment)
        buf_putc(b, 0);
}

static inline void gguf_data(struct buf *b, uint8_t byte, size_t n)
{
    while (n--)
        buf_putc(b, (char)byte);
}

#endif
