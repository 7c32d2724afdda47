/* Typed metadata as it lies in a GGUF file: found by name, converted to what the caller asks for.
 * Knows the meaning of no key. */
#include "weights/file.h"

#include <stdlib.h>
#include <string.h>

size_t file_value_bytes(enum gguf_value_type type)
{
    static const uint8_t bytes[GGUF_N_VALUE_TYPES] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,  [GGUF_U16] = 2, [GGUF_I16] = 2,
        [GGUF_U32] = 4, [GGUF_I32] = 4, [GGUF_F32] = 4, [GGUF_BOOL] = 1,
        [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
    };
    return bytes[type];
}

void file_meta_deinit(struct file_meta_table *meta)
{
    for (size_t i = 0; i < meta->n; i++)
        free(meta->items[i].string_at);
    free(meta->items);
    name_index_deinit(&meta->index);
    *meta = (struct file_meta_table){0};
}

static enum weights_kind kind_of(enum gguf_value_type type)
{
    switch (type) {
    case GGUF_I8:
    case GGUF_I16:
    case GGUF_I32:
    case GGUF_I64:
        return WEIGHTS_INT;
    case GGUF_F32:
    case GGUF_F64:
        return WEIGHTS_FLOAT;
    case GGUF_BOOL:
        return WEIGHTS_BOOL;
    case GGUF_STRING:
        return WEIGHTS_STRING;
    case GGUF_ARRAY:
        return WEIGHTS_ARRAY;
    default:
        return WEIGHTS_UINT;
    }
}

size_t weights_n_meta(const struct weights *w)
{
    return w->meta.n;
}

struct weights_meta weights_meta_at(const struct weights *w, size_t i)
{
    const struct file_meta *meta = &w->meta.items[i];
    enum weights_kind kind = kind_of(meta->type);
    if (!meta->is_array)
        return (struct weights_meta){.key = meta->key, .kind = kind, .item_kind = kind};
    return (struct weights_meta){meta->key, WEIGHTS_ARRAY, kind, meta->n_items};
}

struct weights_raw weights_meta_raw(const struct weights *w, size_t i)
{
    const struct file_meta *meta = &w->meta.items[i];
    struct weights_raw raw = {.type = (uint32_t)meta->type,
                              .is_array = meta->is_array,
                              .n_items = meta->n_items,
                              .data = w->meta.data + meta->at};
    if (meta->type != GGUF_STRING) {
        raw.n_bytes = (size_t)(meta->n_items * file_value_bytes(meta->type));
    } else if (meta->n_items) {
        const uint64_t last = meta->is_array ? meta->string_at[meta->n_items - 1] : meta->at;
        uint64_t len;
        memcpy(&len, w->meta.data + last, sizeof len);
        raw.n_bytes = (size_t)(last + sizeof len + len - meta->at);
    }
    return raw;
}

/* One value as it lies in the file, widened. Integers above INT64_MAX stay in `u` alone. */
struct value {
    enum weights_kind kind;
    uint64_t u; /* unsigned integers, bools */
    int64_t i;  /* signed integers */
    double f;   /* floats */
};

#define LOAD(type, from) (*(type *)memcpy(&(type){0}, (from), sizeof(type)))

static struct value load(enum gguf_value_type type, const uint8_t *p)
{
    struct value v = {.kind = kind_of(type)};
    switch (type) {
    case GGUF_U8:
    case GGUF_BOOL:
        v.u = *p;
        break;
    case GGUF_U16:
        v.u = LOAD(uint16_t, p);
        break;
    case GGUF_U32:
        v.u = LOAD(uint32_t, p);
        break;
    case GGUF_U64:
        v.u = LOAD(uint64_t, p);
        break;
    case GGUF_I8:
        v.i = LOAD(int8_t, p);
        break;
    case GGUF_I16:
        v.i = LOAD(int16_t, p);
        break;
    case GGUF_I32:
        v.i = LOAD(int32_t, p);
        break;
    case GGUF_I64:
        v.i = LOAD(int64_t, p);
        break;
    case GGUF_F32:
        v.f = (double)LOAD(float, p);
        break;
    case GGUF_F64:
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

const struct file_meta *file_meta_find(const struct file_meta_table *table, const char *key,
                                       bool is_array)
{
    uint32_t number = name_index_find(&table->index, key, strlen(key));
    if (number == NAME_INDEX_NONE || table->items[number].is_array != is_array)
        return NULL;
    return &table->items[number];
}

bool file_meta_uint(const struct file_meta_table *table, const struct file_meta *meta,
                    uint64_t *out)
{
    if (meta->type == GGUF_STRING)
        return false;
    struct value v = load(meta->type, table->data + meta->at);
    return value_to_uint(&v, out);
}

static bool scalar(const struct weights *w, const char *key, struct value *out)
{
    const struct file_meta *meta = file_meta_find(&w->meta, key, false);
    if (!meta || meta->type == GGUF_STRING)
        return false;
    *out = load(meta->type, w->meta.data + meta->at);
    return true;
}

/* Item i of an array; a bool counts as a number there. */
static struct value load_item(const struct weights *w, const struct file_meta *meta, size_t i)
{
    struct value v = load(meta->type, w->meta.data + meta->at + i * file_value_bytes(meta->type));
    if (v.kind == WEIGHTS_BOOL)
        v.kind = WEIGHTS_UINT;
    return v;
}

static bool array_item(const struct weights *w, const char *key, size_t i, struct value *out)
{
    const struct file_meta *meta = file_meta_find(&w->meta, key, true);
    if (!meta || meta->type == GGUF_STRING || i >= meta->n_items)
        return false;
    *out = load_item(w, meta, i);
    return true;
}

/* The string whose length field is at `at`; the reader has checked both. */
static struct weights_string string_at(const struct weights *w, uint64_t at)
{
    return (struct weights_string){(const char *)w->meta.data + at + 8,
                                   LOAD(uint64_t, w->meta.data + at)};
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
    const struct file_meta *meta = file_meta_find(&w->meta, key, false);
    if (!meta || meta->type != GGUF_STRING)
        return false;
    *out = string_at(w, meta->at);
    return true;
}

size_t weights_array_len(const struct weights *w, const char *key)
{
    const struct file_meta *meta = file_meta_find(&w->meta, key, true);
    return meta ? meta->n_items : 0;
}

bool weights_array_string(const struct weights *w, const char *key, size_t i,
                          struct weights_string *out)
{
    const struct file_meta *meta = file_meta_find(&w->meta, key, true);
    if (!meta || meta->type != GGUF_STRING || i >= meta->n_items)
        return false;
    *out = string_at(w, meta->string_at[i]);
    return true;
}

bool weights_array_strings(const struct weights *w, const char *key, struct weights_string *out,
                           size_t n)
{
    const struct file_meta *meta = file_meta_find(&w->meta, key, true);
    if (!meta || meta->type != GGUF_STRING || n > meta->n_items)
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
    const struct file_meta *meta = file_meta_find(&w->meta, key, true);
    if (!meta || meta->type == GGUF_STRING || n > meta->n_items)
        return false;
    for (size_t i = 0; i < n; i++) {
        struct value v = load_item(w, meta, i);
        if (!value_to_int(&v, &out[i]))
            return false;
    }
    return true;
}
