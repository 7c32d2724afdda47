/* What a model is on disk. A `struct weights` is an opened model file: named tensors that point
 * into a read-only map, and typed metadata. It is immutable after opening, so any thread may read
 * it, and it outlives every part that was made from it (tokenizer, template, model). Metadata keys
 * are GGUF's (github.com/ggml-org/ggml, docs/gguf.md), whatever file it was. Knows no kernels and
 * no HTTP. */
#ifndef PENSIEVE_WEIGHTS_WEIGHTS_H
#define PENSIEVE_WEIGHTS_WEIGHTS_H

#include "base/error.h"
#include "quant/matrix.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weights;

/* shape[0] is the innermost (contiguous) dimension: a matrix [n_out][n_in] is {n_in, n_out}. */
struct weights_tensor {
    const char *name; /* terminated; owned by the weights */
    enum quant_type type;
    uint32_t n_dims;
    uint64_t shape[4]; /* unused dimensions are 1 */
    const void *data;  /* in the map; aligned as the file says: to 32 bytes, rarely to 8 */
    uint64_t n_bytes;
};

enum weights_kind {
    WEIGHTS_UINT,  /* unsigned, of any width */
    WEIGHTS_INT,   /* signed, of any width */
    WEIGHTS_FLOAT, /* of 32 or 64 bits */
    WEIGHTS_STRING,
    WEIGHTS_ARRAY,
    WEIGHTS_BOOL,
};

struct weights_string {
    const char *data; /* not terminated */
    size_t len;
};

/* One metadata entry, for listing. Read the values through the getters below. */
struct weights_meta {
    struct weights_string key;
    enum weights_kind kind;
    enum weights_kind item_kind; /* of an array */
    uint64_t n_items;            /* of an array */
};

/* Opens a GGUF file (v2, v3). On a hostile or cut file: NULL with FORMAT, what is wrong, and the
 * byte offset; UNSUPPORTED when it may be right but is nothing this build reads (v1, big-endian, a
 * tensor type that has no decoder). No tensor or string of an opened file reaches past the map. The
 * work is in proportion to the metadata, never to the tensors' data. */
struct weights *weights_open(const char *path, struct error *err);
/* The same over bytes, aligned to 32, that the caller keeps alive (tests, fuzzing). */
struct weights *weights_open_bytes(const void *data, size_t size, struct error *err);
void weights_close(struct weights *w);

uint64_t weights_file_bytes(const struct weights *w);
uint64_t weights_resident_bytes(const struct weights *w); /* of the file, in physical memory */
/* Names the content: a hash (XXH3-128) of the file's size, of when it was last changed, of
 * everything before the tensors' data, and of the beginning, the middle and the end of each tensor.
 * Reads little, whatever the size. False: out of memory. */
bool weights_fingerprint(const struct weights *w, uint64_t out[2]);
uint32_t weights_version(const struct weights *w); /* of the GGUF format */

size_t weights_n_tensors(const struct weights *w);
const struct weights_tensor *weights_tensor_at(const struct weights *w, size_t i);
/* The tensor of that name as the file tells of it, or NULL; for who lists it. */
const struct weights_tensor *weights_tensor(const struct weights *w, const char *name);
/* The same as a matrix, for who computes with it: one dimension is a matrix of one row, the third
 * and fourth are experts. False when the file has no such tensor. */
bool weights_matrix(const struct weights *w, const char *name, struct matrix *out);

size_t weights_n_meta(const struct weights *w);
struct weights_meta weights_meta_at(const struct weights *w, size_t i);

/* Getters: false when the key is missing or of another kind; integers convert between widths when
 * the value fits, integers to float too. A bool is no integer. The time does
 * not grow with the file. */
bool weights_uint(const struct weights *w, const char *key, uint64_t *out);
bool weights_int(const struct weights *w, const char *key, int64_t *out);
bool weights_float(const struct weights *w, const char *key, float *out);
bool weights_bool(const struct weights *w, const char *key, bool *out);
bool weights_string(const struct weights *w, const char *key, struct weights_string *out);

/* Arrays: the number of items (0 when missing or not an array), and one item by the rules above
 * (bools count as 0 and 1 here); false past the end too. Item i costs the same for every i. */
size_t weights_array_len(const struct weights *w, const char *key);
bool weights_array_string(const struct weights *w, const char *key, size_t i,
                          struct weights_string *out);
bool weights_array_float(const struct weights *w, const char *key, size_t i, float *out);
bool weights_array_int(const struct weights *w, const char *key, size_t i, int64_t *out);
/* The first n items at once, for arrays as long as a vocabulary; false as above, or if there are
 * fewer. */
bool weights_array_strings(const struct weights *w, const char *key, struct weights_string *out,
                           size_t n);
bool weights_array_ints(const struct weights *w, const char *key, int64_t *out, size_t n);

#endif
