/* Builds safetensors files and folders of them in memory, right ones and wrong ones: nothing here
 * checks anything. */
#ifndef PENSIEVE_TESTS_WEIGHTS_FOLDER_BYTES_H
#define PENSIEVE_TESTS_WEIGHTS_FOLDER_BYTES_H

#include "base/buf.h"
#include "weights/weights.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { FOLDER_MAX_FILES = 8, FOLDER_MAX_BYTES = 1 << 16 };

/* A file of a header and n bytes 0, 1, 2, … of data. */
static inline void safetensors_file(struct buf *b, const char *header, size_t n_data)
{
    uint64_t length = strlen(header);
    buf_init(b, FOLDER_MAX_BYTES);
    buf_append(b, &length, sizeof length);
    buf_puts(b, header);
    for (size_t i = 0; i < n_data; i++)
        buf_putc(b, (char)i);
}

/* Files in a folder; each has its bytes, aligned as malloc does. */
struct folder_bytes {
    struct weights_file files[FOLDER_MAX_FILES];
    struct buf bytes[FOLDER_MAX_FILES];
    size_t n;
};

static inline void folder_text(struct folder_bytes *f, const char *name, const char *text)
{
    struct buf *b = &f->bytes[f->n];
    buf_init(b, FOLDER_MAX_BYTES);
    buf_puts(b, text);
    f->files[f->n++] = (struct weights_file){name, b->data, b->len};
}

static inline void folder_tensors(struct folder_bytes *f, const char *name, const char *header,
                                  size_t n_data)
{
    struct buf *b = &f->bytes[f->n];
    safetensors_file(b, header, n_data);
    f->files[f->n++] = (struct weights_file){name, b->data, b->len};
}

static inline struct weights *folder_open_bytes(const struct folder_bytes *f, struct error *err)
{
    return weights_open_files(f->files, f->n, NULL, err);
}

static inline void folder_free(struct folder_bytes *f)
{
    for (size_t i = 0; i < f->n; i++)
        buf_deinit(&f->bytes[i]);
    *f = (struct folder_bytes){0};
}

#endif
