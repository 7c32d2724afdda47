/* An opened model file from the inside: what the reader of a format fills in and weights.c hands
 * out. Private to src/weights. One module: file, weights. */
#ifndef PENSIEVE_WEIGHTS_FILE_H
#define PENSIEVE_WEIGHTS_FILE_H

#include "base/arena.h"
#include "base/file_map.h"
#include "weights/name_index.h"
#include "weights/weights.h"

/* How a value lies in the file; the numbers are GGUF's. */
enum file_value_type {
    FILE_U8,
    FILE_I8,
    FILE_U16,
    FILE_I16,
    FILE_U32,
    FILE_I32,
    FILE_F32,
    FILE_BOOL,
    FILE_STRING,
    FILE_ARRAY,
    FILE_U64,
    FILE_I64,
    FILE_F64,
    FILE_N_VALUE_TYPES,
};

struct file_meta {
    struct weights_string key; /* in the file */
    enum file_value_type type; /* of the value, or of an array's items; never FILE_ARRAY */
    bool is_array;
    uint64_t n_items;    /* of an array, else 1 */
    uint64_t at;         /* where the value or the first item begins in the file */
    uint64_t *string_at; /* [n_items] where each item's length field is; arrays of strings alone */
};

struct weights {
    struct file_map map; /* unused when the bytes are the caller's */
    const uint8_t *data; /* [size] the whole file */
    uint64_t size;
    uint32_t version;

    struct file_meta *meta; /* [n_meta], in the file's order */
    size_t n_meta;
    struct name_index meta_index;

    struct weights_tensor *tensors; /* [n_tensors], in the file's order */
    size_t n_tensors;
    struct name_index tensor_index;

    struct arena names; /* the tensors' names, terminated */
};

/* Bytes of a value of fixed size; 0 for strings and arrays. */
size_t file_value_bytes(enum file_value_type type);

/* Fills `w`, whose data and size are set and all else is zero. What it leaves half-built on failure
 * weights_close frees. */
bool gguf_read(struct weights *w, struct error *err);

#endif
