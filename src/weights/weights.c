/* Opening a model file and reading out of it: tensors and metadata by name, values converted to
 * what the caller asks for. Knows no file format: gguf.c reads those. */
#include "weights/weights.h"

#include "base/memory.h"
#include "weights/file.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

size_t file_value_bytes(enum file_value_type type)
{
    static const uint8_t bytes[FILE_N_VALUE_TYPES] = {
        [FILE_U8] = 1,  [FILE_I8] = 1,  [FILE_U16] = 2, [FILE_I16] = 2,
        [FILE_U32] = 4, [FILE_I32] = 4, [FILE_F32] = 4, [FILE_BOOL] = 1,
        [FILE_U64] = 8, [FILE_I64] = 8, [FILE_F64] = 8,
    };
    return bytes[type];
}

struct weights *weights_open_bytes(const void *data, size_t size, struct error *err)
{
    struct weights *w = calloc(1, sizeof *w);
    if (!w) {
        error_set(err, ERROR_NO_MEMORY, "out of memory");
        return NULL;
    }
    w->data = data;
    w->size = size;
    arena_init(&w->names, SIZE_MAX / 4);
    if (gguf_read(w, err))
        return w;
    weights_close(w);
    return NULL;
}

struct weights *weights_open(const char *path, struct error *err)
{
    struct file_map map;
    if (!file_map_open(&map, path, err))
        return NULL;
    struct weights *w = weights_open_bytes(map.data, map.size, err);
    if (!w) {
        file_map_close(&map);
        error_prefix(err, "%s", path);
        return NULL;
    }
    w->map = map;
    return w;
}

void weights_close(struct weights *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n_meta; i++)
        free(w->meta[i].string_at);
    free(w->meta);
    free(w->tensors);
    name_index_deinit(&w->meta_index);
    name_index_deinit(&w->tensor_index);
    arena_deinit(&w->names);
    file_map_close(&w->map);
    free(w);
}

uint64_t weights_file_bytes(const struct weights *w)
{
    return w->size;
}

uint64_t weights_resident_bytes(const struct weights *w)
{
    return memory_resident(w->data, w->size);
}

/* The beginning, the middle and the end of a tensor, at most so many bytes each. */
static void sample(XXH3_state_t *state, const struct weights_tensor *t)
{
    enum { SAMPLE_BYTES = 4096 };
    const uint8_t *data = t->data;
    const uint64_t n = t->n_bytes < SAMPLE_BYTES ? t->n_bytes : SAMPLE_BYTES;
    XXH3_128bits_update(state, data, n);
    XXH3_128bits_update(state, data + (t->n_bytes - n) / 2, n);
    XXH3_128bits_update(state, data + t->n_bytes - n, n);
}

bool weights_fingerprint(const struct weights *w, uint64_t out[2])
{
    XXH3_state_t *state = XXH3_createState();
    uint64_t data_begin = w->size;
    const uint64_t file[2] = {w->size, (uint64_t)w->map.modified_ns};
    if (!state)
        return false;
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, file, sizeof file);
    for (size_t i = 0; i < w->n_tensors; i++) {
        uint64_t at = (uint64_t)((const uint8_t *)w->tensors[i].data - w->data);
        data_begin = at < data_begin ? at : data_begin;
        sample(state, &w->tensors[i]);
    }
    XXH3_128bits_update(state, w->data, data_begin);
    XXH128_hash_t all = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    out[0] = all.low64;
    out[1] = all.high64;
    return true;
}

uint32_t weights_version(const struct weights *w)
{
    return w->version;
}

size_t weights_n_tensors(const struct weights *w)
{
    return w->n_tensors;
}

const struct weights_tensor *weights_tensor_at(const struct weights *w, size_t i)
{
    return i < w->n_tensors ? &w->tensors[i] : NULL;
}

const struct weights_tensor *weights_tensor(const struct weights *w, const char *name)
{
    uint32_t number = name_index_find(&w->tensor_index, name, strlen(name));
    return number == NAME_INDEX_NONE ? NULL : &w->tensors[number];
}

bool weights_matrix(const struct weights *w, const char *name, struct matrix *out)
{
    const struct weights_tensor *t = weights_tensor(w, name);
    if (t)
        *out = matrix_of_blocks(t->type, t->shape[0], t->shape[1], t->shape[2] * t->shape[3],
                                t->data);
    return t != NULL;
}

static enum weights_kind kind_of(enum file_value_type type)
{
    switch (type) {
    case FILE_I8:
    case FILE_I16:
    case FILE_I32:
    case FILE_I64:
        return WEIGHTS_INT;
    case FILE_F32:
    case FILE_F64:
        return WEIGHTS_FLOAT;
    case FILE_BOOL:
        return WEIGHTS_BOOL;
    case FILE_STRING:
        return WEIGHTS_STRING;
    case FILE_ARRAY:
        return WEIGHTS_ARRAY;
    default:
        return WEIGHTS_UINT;
    }
}

size_t weights_n_meta(const struct weights *w)
{
    return w->n_meta;
}

struct weights_meta weights_meta_at(const struct weights *w, size_t i)
{
    const struct file_meta *meta = &w->meta[i];
    enum weights_kind kind = kind_of(meta->type);
    if (!meta->is_array)
        return (struct weights_meta){.key = meta->key, .kind = kind, .item_kind = kind};
    return (struct weights_meta){meta->key, WEIGHTS_ARRAY, kind, meta->n_items};
}

/* One value as it lies in the file, widened. Integers above INT64_MAX stay in `u` alone. */
struct value {
    enum weights_kind kind;
    uint64_t u; /* unsigned integers, bools */
    int64_t i;  /* signed integers */
    double f;   /* floats */
};

#define LOAD(type, from) (*(type *)memcpy(&(type){0}, (from), sizeof(type)))

static struct value load(enum file_value_type type, const uint8_t *p)
{
    struct value v = {.kind = kind_of(type)};
    switch (type) {
    case FILE_U8:
    case FILE_BOOL:
        v.u = *p;
        break;
    case FILE_U16:
        v.u = LOAD(uint16_t, p);
        break;
    case FILE_U32:
        v.u = LOAD(uint32_t, p);
        break;
    case FILE_U64:
        v.u = LOAD(uint64_t, p);
        break;
    case FILE_I8:
        v.i = LOAD(int8_t, p);
        break;
    case FILE_I16:
        v.i = LOAD(int16_t, p);
        break;
    case FILE_I32:
        v.i = LOAD(int32_t, p);
        break;
    case FILE_I64:
        v.i = LOAD(int64_t, p);
        break;
    case FILE_F32:
        v.f = (double)LOAD(float, p);
        break;
    case FILE_F64:
        v.f = LOAD(double, p);
        break;
    default:
        break;
    }
    return v;
}

static bool value_to_uint(const struct value *v, uint64_t *out)
{
    if (v->kind == WEIGHTS_INT && v->i >= 0)
        *out = (uint64_t)v->i;
    else if (v->kind == WEIGHTS_UINT)
        *out = v->u;
    else
        return false;
    return true;
}

static bool value_to_int(const struct value *v, int64_t *out)
{
    if (v->kind == WEIGHTS_INT)
        *out = v->i;
    else if (v->kind == WEIGHTS_UINT && v->u <= INT64_MAX)
        *out = (int64_t)v->u;
    else
        return false;
    return true;
}

static bool value_to_float(const struct value *v, float *out)
{
    if (v->kind == WEIGHTS_FLOAT)
        *out = (float)v->f;
    else if (v->kind == WEIGHTS_UINT)
        *out = (float)v->u;
    else if (v->kind == WEIGHTS_INT)
        *out = (float)v->i;
    else
        return false;
    return true;
}

static const struct file_meta *meta_find(const struct weights *w, const char *key, bool is_array)
{
    uint32_t number = name_index_find(&w->meta_index, key, strlen(key));
    if (number == NAME_INDEX_NONE || w->meta[number].is_array != is_array)
        return NULL;
    return &w->meta[number];
}

static bool scalar(const struct weights *w, const char *key, struct value *out)
{
    const struct file_meta *meta = meta_find(w, key, false);
    if (!meta || meta->type == FILE_STRING)
        return false;
    *out = load(meta->type, w->data + meta->at);
    return true;
}

/* Item i of an array; a bool counts as a number there. */
static struct value load_item(const struct weights *w, const struct file_meta *meta, size_t i)
{
    struct value v = load(meta->type, w->data + meta->at + i * file_value_bytes(meta->type));
    if (v.kind == WEIGHTS_BOOL)
        v.kind = WEIGHTS_UINT;
    return v;
}

static bool array_item(const struct weights *w, const char *key, size_t i, struct value *out)
{
    const struct file_meta *meta = meta_find(w, key, true);
    if (!meta || meta->type == FILE_STRING || i >= meta->n_items)
        return false;
    *out = load_item(w, meta, i);
    return true;
}

/* The string whose length field is at `at`; the reader has checked both. */
static struct weights_string string_at(const struct weights *w, uint64_t at)
{
    return (struct weights_string){(const char *)w->data + at + 8, LOAD(uint64_t, w->data + at)};
}

bool weights_uint(const struct weights *w, const char *key, uint64_t *out)
{
    struct value v;
    return scalar(w, key, &v) && value_to_uint(&v, out);
}

bool weights_int(const struct weights *w, const char *key, int64_t *out)
{
    struct value v;
    return scalar(w, key, &v) && value_to_int(&v, out);
}

bool weights_float(const struct weights *w, const char *key, float *out)
{
    struct value v;
    return scalar(w, key, &v) && value_to_float(&v, out);
}

bool weights_bool(const struct weights *w, const char *key, bool *out)
{
    struct value v;
    if (!scalar(w, key, &v) || v.kind != WEIGHTS_BOOL)
        return false;
    *out = v.u != 0;
    return true;
}

bool weights_string(const struct weights *w, const char *key, struct weights_string *out)
{
    const struct file_meta *meta = meta_find(w, key, false);
    if (!meta || meta->type != FILE_STRING)
        return false;
    *out = string_at(w, meta->at);
    return true;
}

size_t weights_array_len(const struct weights *w, const char *key)
{
    const struct file_meta *meta = meta_find(w, key, true);
    return meta ? meta->n_items : 0;
}

bool weights_array_string(const struct weights *w, const char *key, size_t i,
                          struct weights_string *out)
{
    const struct file_meta *meta = meta_find(w, key, true);
    if (!meta || meta->type != FILE_STRING || i >= meta->n_items)
        return false;
    *out = string_at(w, meta->string_at[i]);
    return true;
}

bool weights_array_strings(const struct weights *w, const char *key, struct weights_string *out,
                           size_t n)
{
    const struct file_meta *meta = meta_find(w, key, true);
    if (!meta || meta->type != FILE_STRING || n > meta->n_items)
        return false;
    for (size_t i = 0; i < n; i++)
        out[i] = string_at(w, meta->string_at[i]);
    return true;
}

bool weights_array_float(const struct weights *w, const char *key, size_t i, float *out)
{
    struct value v;
    return array_item(w, key, i, &v) && value_to_float(&v, out);
}

bool weights_array_int(const struct weights *w, const char *key, size_t i, int64_t *out)
{
    struct value v;
    return array_item(w, key, i, &v) && value_to_int(&v, out);
}

bool weights_array_ints(const struct weights *w, const char *key, int64_t *out, size_t n)
{
    const struct file_meta *meta = meta_find(w, key, true);
    if (!meta || meta->type == FILE_STRING || n > meta->n_items)
        return false;
    for (size_t i = 0; i < n; i++) {
        struct value v = load_item(w, meta, i);
        if (!value_to_int(&v, &out[i]))
            return false;
    }
    return true;
}
