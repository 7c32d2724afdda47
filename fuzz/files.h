/* Several files out of one input: records of a byte (the name's number, and 0x80 for a safetensors
 * file whose length field is made right), the length in two bytes, for such a file the length of
 * its data in two more, and the bytes. Whatever does not fit ends the list. */
#ifndef PENSIEVE_FUZZ_FILES_H
#define PENSIEVE_FUZZ_FILES_H

#include "weights/weights.h"

#include <stdlib.h>
#include <string.h>

enum { FILES_MAX = 8 };

struct files {
    struct weights_file files[FILES_MAX];
    uint8_t *bytes[FILES_MAX]; /* each on its own, so that a byte too many is seen */
    size_t n;
};

static inline size_t files_u16(const uint8_t **at, const uint8_t *end)
{
    if (end - *at < 2)
        return SIZE_MAX;
    size_t n = (size_t)((*at)[0] | (*at)[1] << 8);
    *at += 2;
    return n;
}

/* The bytes of one file. */
static inline void files_add(struct files *f, const char *name, const uint8_t *bytes, size_t n,
                             bool is_made, size_t n_data)
{
    const uint64_t length = n;
    const size_t n_before = is_made ? sizeof length : 0;
    uint8_t *copy = malloc(n_before + n + n_data + 1); /* malloc(0) may be NULL */
    if (!copy)
        abort();
    uint8_t *exact = realloc(copy, n_before + n + n_data ? n_before + n + n_data : 1);
    if (!exact)
        abort();
    if (is_made)
        memcpy(exact, &length, sizeof length);
    memcpy(exact + n_before, bytes, n);
    memset(exact + n_before + n, 0x3c, n_data);
    f->bytes[f->n] = exact;
    f->files[f->n++] = (struct weights_file){name, exact, n_before + n + n_data};
}

static inline void files_take(struct files *f, const char *const *names, size_t n_names,
                              const uint8_t *data, size_t size)
{
    const uint8_t *at = data, *end = data + size;
    *f = (struct files){0};
    while (at < end && f->n < FILES_MAX) {
        uint8_t first = *at++;
        bool is_made = first & 0x80;
        size_t n = files_u16(&at, end), n_data = is_made ? files_u16(&at, end) : 0;
        if (n == SIZE_MAX || n_data == SIZE_MAX || n > (size_t)(end - at))
            return;
        files_add(f, names[(first & 0x7f) % n_names], at, n, is_made, n_data);
        at += n;
    }
}

static inline void files_free(struct files *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->bytes[i]);
}

/* All that an opened model offers can be read. */
static volatile unsigned files_sink;

static inline void files_touch(const void *data, uint64_t n)
{
    if (n)
        files_sink += ((const uint8_t *)data)[0] + ((const uint8_t *)data)[n - 1];
}

static inline void files_read_matrix(const struct matrix *m)
{
    enum { MOST = 1 << 16 };
    if (!matrix_check(m, NULL) || m->n_cols > MOST)
        return;
    float *row = malloc(m->n_cols * sizeof *row);
    if (!row)
        abort();
    const struct matrix last = matrix_expert(m, m->n_experts - 1);
    matrix_decode(m, 0, row);
    matrix_decode(&last, last.n_rows - 1, row);
    files_sink += row[0] > 0;
    free(row);
}

static inline void files_read_model(const struct weights *w)
{
    uint64_t hash[2];
    for (size_t i = 0; i < weights_n_tensors(w); i++) {
        const struct weights_tensor *t = weights_tensor_at(w, i);
        struct matrix m;
        if (weights_tensor(w, t->name) != t || t->file >= weights_n_files(w) || !t->type_name)
            abort();
        if (!t->group)
            files_touch(t->data, t->n_bytes);
        if (weights_matrix(w, t->name, &m))
            files_read_matrix(&m);
    }
    weights_fingerprint(w, hash);
    files_sink += (unsigned)hash[0];
}

#endif
