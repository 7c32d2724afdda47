/* See importance.h. */
#include "convert/importance.h"

#include "base/arena.h"
#include "base/file_map.h"
#include "base/printable.h"
#include "weights/weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMPORTANCE_MAX_ENTRIES = 1 << 20, IMPORTANCE_MAX_NAME = 1024 };

struct importance_entry {
    const char *name;
    const float *values; /* [n] */
    size_t n;
};

struct importance {
    struct arena arena;
    struct importance_entry *entries; /* [n_entries], sorted by name */
    size_t n_entries, n_room;
    uint32_t n_chunks;
    const char *data_set;
};

static int importance_order(const void *a, const void *b)
{
    const struct importance_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Room for an entry's values, or NULL. */
static float *importance_add(struct importance *m, const char *name, size_t len, uint64_t n,
                             struct error *err)
{
    if (m->n_entries == m->n_room) {
        const size_t n_room = m->n_room ? 2 * m->n_room : 64;
        void *entries = realloc(m->entries, n_room * sizeof *m->entries);
        if (!entries) {
            error_set(err, ERROR_NO_MEMORY, "out of memory for an importance matrix");
            return NULL;
        }
        m->entries = entries;
        m->n_room = n_room;
    }
    float *values = n <= SIZE_MAX ? arena_array(&m->arena, (size_t)n, sizeof *values) : NULL;
    const char *copy = arena_copy(&m->arena, name, len);
    if (!values || !copy) {
        error_set(err, ERROR_NO_MEMORY, "out of memory for an importance matrix");
        return NULL;
    }
    m->entries[m->n_entries++] = (struct importance_entry){copy, values, (size_t)n};
    return values;
}

static bool importance_check(const struct importance_entry *e, struct error *err)
{
    for (size_t i = 0; i < e->n; i++)
        if (!(e->values[i] >= 0) || isinf(e->values[i])) {
            char name[72];
            printable_copy(name, sizeof name, e->name, strlen(e->name));
            return error_set(err, ERROR_FORMAT,
                             "importance of %s: value %zu is negative or not finite", name, i);
        }
    return true;
}

/* Sorts the entries and looks at their values. */
static bool importance_end(struct importance *m, struct error *err)
{
    if (!m->n_entries)
        return error_set(err, ERROR_FORMAT, "it has no entries");
    qsort(m->entries, m->n_entries, sizeof *m->entries, importance_order);
    for (size_t i = 0; i < m->n_entries; i++) {
        if (i && !strcmp(m->entries[i - 1].name, m->entries[i].name))
            return error_set(err, ERROR_FORMAT, "two of its entries have one name");
        if (!importance_check(&m->entries[i], err))
            return false;
    }
    return true;
}

static struct importance *importance_create(struct error *err)
{
    struct importance *m = calloc(1, sizeof *m);
    if (!m) {
        error_set(err, ERROR_NO_MEMORY, "out of memory for an importance matrix");
        return NULL;
    }
    arena_init(&m->arena, SIZE_MAX / 4);
    m->data_set = "";
    return m;
}

/* ---- the older form: int32 n_entries; of each int32 name length, name, int32 n_calls, int32
 * n_values, float values[n_values], which are the sum over the calls; then maybe int32 n_chunks,
 * int32 length, name of the data set ---- */

struct importance_bytes {
    const uint8_t *data;
    size_t size, at;
};

static bool take_int(struct importance_bytes *b, int32_t *out)
{
    if (b->size - b->at < sizeof *out)
        return false;
    memcpy(out, b->data + b->at, sizeof *out);
    b->at += sizeof *out;
    return true;
}

static bool read_dat_entry(struct importance *m, struct importance_bytes *b, struct error *err)
{
    int32_t len, n_calls, n_values;
    const size_t begin = b->at;
    if (!take_int(b, &len) || len < 1 || len > IMPORTANCE_MAX_NAME ||
        b->size - b->at < (size_t)len)
        return error_at(err, ERROR_FORMAT, (int64_t)begin, "the name of entry %zu is cut off",
                        m->n_entries);
    const char *name = (const char *)b->data + b->at;
    b->at += (size_t)len;
    if (memchr(name, 0, (size_t)len))
        return error_at(err, ERROR_FORMAT, (int64_t)begin, "the name of entry %zu has a zero in it",
                        m->n_entries);
    if (!take_int(b, &n_calls) || !take_int(b, &n_values) || n_values < 1 ||
        (b->size - b->at) / sizeof(float) < (size_t)n_values)
        return error_at(err, ERROR_FORMAT, (int64_t)b->at, "the values of entry %zu are cut off",
                        m->n_entries);
    float *values = importance_add(m, name, (size_t)len, (uint64_t)n_values, err);
    if (!values)
        return false;
    memcpy(values, b->data + b->at, (size_t)n_values * sizeof *values);
    b->at += (size_t)n_values * sizeof *values;
    for (int32_t i = 0; n_calls > 0 && i < n_values; i++)
        values[i] /= (float)n_calls;
    return true;
}

static bool read_dat(struct importance *m, struct importance_bytes *b, struct error *err)
{
    int32_t n, n_chunks, len;
    if (!take_int(b, &n) || n < 1 || n > IMPORTANCE_MAX_ENTRIES)
        return error_at(err, ERROR_FORMAT, 0, "it is no importance matrix");
    while (n--)
        if (!read_dat_entry(m, b, err))
            return false;
    if (take_int(b, &n_chunks) && n_chunks > 0)
        m->n_chunks = (uint32_t)n_chunks;
    if (take_int(b, &len) && len > 0 && b->size - b->at >= (size_t)len)
        m->data_set = arena_copy(&m->arena, (const char *)b->data + b->at, (size_t)len);
    return m->data_set ? true : error_set(err, ERROR_NO_MEMORY, "out of memory");
}

struct importance *importance_read_dat(const void *data, size_t size, struct error *err)
{
    struct importance_bytes bytes = {data, size, 0};
    struct importance *m = importance_create(err);
    if (m && read_dat(m, &bytes, err) && importance_end(m, err))
        return m;
    importance_close(m);
    return NULL;
}

/* ---- GGUF: X.in_sum2 [n_columns][n_experts], X.counts [n_experts] ---- */

/* Of each expert the sums over its count; one that never was asked has columns that are alike. */
static bool read_gguf_entry(struct importance *m, const struct weights *w,
                            const struct weights_tensor *sums, size_t name_len, struct error *err)
{
    char name[IMPORTANCE_MAX_NAME];
    snprintf(name, sizeof name, "%.*s.counts", (int)name_len, sums->name);
    const struct weights_tensor *counts = weights_tensor(w, name);
    const uint64_t n = sums->n_bytes / sizeof(float);
    const uint64_t n_counts = counts ? counts->n_bytes / sizeof(float) : 0;
    if (!n_counts || !n || n % n_counts || sums->type != QUANT_F32 || counts->type != QUANT_F32)
        return error_set(err, ERROR_FORMAT, "the sums and counts of %.72s do not fit", sums->name);
    float *values = importance_add(m, sums->name, name_len, n, err);
    if (!values)
        return false;
    const float *from = sums->data, *count = counts->data;
    const uint64_t n_columns = n / n_counts;
    for (uint64_t i = 0; i < n; i++) {
        const float calls = roundf(count[i / n_columns]);
        values[i] = calls > 0 ? from[i] / calls : 1;
    }
    return true;
}

static bool read_gguf(struct importance *m, const struct weights *w, struct error *err)
{
    static const char end[] = ".in_sum2";
    const size_t n_end = sizeof end - 1;
    struct weights_string data_set;
    uint64_t n_chunks;
    for (size_t i = 0; i < weights_n_tensors(w); i++) {
        const struct weights_tensor *t = weights_tensor_at(w, i);
        const size_t len = strlen(t->name);
        if (len <= n_end || len >= IMPORTANCE_MAX_NAME || strcmp(t->name + len - n_end, end) != 0)
            continue;
        if (!read_gguf_entry(m, w, t, len - n_end, err))
            return false;
    }
    if (weights_uint(w, "imatrix.chunk_count", &n_chunks) && n_chunks <= UINT32_MAX)
        m->n_chunks = (uint32_t)n_chunks;
    if (weights_array_string(w, "imatrix.datasets", 0, &data_set))
        m->data_set = arena_copy(&m->arena, data_set.data, data_set.len);
    return m->data_set ? true : error_set(err, ERROR_NO_MEMORY, "out of memory");
}

static struct importance *importance_open_gguf(const char *path, struct error *err)
{
    struct weights *w = weights_open(path, err);
    struct importance *m = w ? importance_create(err) : NULL;
    bool ok = m && read_gguf(m, w, err) && importance_end(m, err);
    weights_close(w);
    if (ok)
        return m;
    importance_close(m);
    return NULL;
}

struct importance *importance_open(const char *path, struct error *err)
{
    struct file_map map;
    struct importance *m = NULL;
    if (!file_map_open(&map, path, err))
        return NULL;
    if (map.size >= 4 && !memcmp(map.data, "GGUF", 4))
        m = importance_open_gguf(path, err);
    else
        m = importance_read_dat(map.data, map.size, err);
    file_map_close(&map);
    if (!m)
        error_prefix(err, "importance matrix %.100s", path);
    return m;
}

void importance_close(struct importance *m)
{
    if (!m)
        return;
    arena_deinit(&m->arena);
    free(m->entries);
    free(m);
}

size_t importance_n_entries(const struct importance *m)
{
    return m->n_entries;
}

uint32_t importance_n_chunks(const struct importance *m)
{
    return m->n_chunks;
}

const char *importance_data_set(const struct importance *m)
{
    return m->data_set;
}

const float *importance_find(const struct importance *m, const char *name, size_t *n)
{
    const struct importance_entry key = {name, NULL, 0};
    const struct importance_entry *e =
        bsearch(&key, m->entries, m->n_entries, sizeof *m->entries, importance_order);
    if (!e)
        return NULL;
    *n = e->n;
    return e->values;
}
