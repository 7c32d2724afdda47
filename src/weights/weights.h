/* What a model is on disk: a GGUF file, in one piece or split over several, or a folder as Hugging
 * Face and MLX publish them (config.json beside safetensors). A `struct weights` is an opened one:
 * named tensors that point into read-only maps, and what is said about them: typed metadata under
 * GGUF's keys (github.com/ggml-org/ggml, docs/gguf.md), or the JSON of the folder. It is immutable
 * after opening, so any thread may read it, and it outlives every part that was made from it
 * (tokenizer, template, model). Knows no kernels and no HTTP. */
#ifndef PENSIEVE_WEIGHTS_WEIGHTS_H
#define PENSIEVE_WEIGHTS_WEIGHTS_H

#include "base/error.h"
#include "quant/matrix.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weights;
struct json_tree_value;

enum weights_format {
    WEIGHTS_GGUF,        /* metadata: weights_uint and its kin */
    WEIGHTS_SAFETENSORS, /* a folder: weights_config_uint and its kin, weights_text */
};

/* The type of a tensor that holds no weights (integers, bools, exotic floats): quant_traits() knows
 * it not, and weights_matrix() refuses it. */
#define WEIGHTS_NO_TYPE ((enum quant_type)255)

/* shape[0] is the innermost (contiguous) dimension: a matrix [n_out][n_in] is {n_in, n_out}, in a
 * folder too, where more than four dimensions have their outermost multiplied together. One that
 * MLX has quantized is told as the matrix that it stands for: the three tensors X.weight, X.scales
 * and X.biases of the file are one here, X.weight. */
struct weights_tensor {
    const char *name; /* terminated; owned by the weights */
    enum quant_type type;
    const char *type_name; /* "Q4_K", "AFFINE_4", "I64" */
    uint32_t n_dims;
    uint32_t file;     /* the number of the one that it lies in, see weights_file_at */
    uint64_t shape[4]; /* unused dimensions are 1 */
    /* In a map. GGUF: aligned as the file says, to 32 bytes, rarely to 8. Safetensors: packed
     * numbers, their scales, and matrices of floats at any address; vectors and single numbers
     * as their type wants. */
    const void *data; /* NULL: the file is cut before it ends, see weights_open_cut */
    uint64_t n_bytes; /* in the file; of packed numbers with scales and biases */
    /* of packed numbers alone */
    uint32_t group; /* elements that share a scale; else 0 */
    enum matrix_scale scale;
    const void *scales, *biases; /* biases: affine ones only */
    const void *factors;         /* F32 for each matrix, or NULL: see MATRIX_FACTORS */
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

/* Opens a model: a GGUF file (v2, v3); any file of a split one (-00001-of-0000N.gguf), which opens
 * all; a folder with config.json and safetensors, or one of these files in it. On a hostile or cut
 * file: NULL with FORMAT, which file, what is wrong, and the byte offset; UNSUPPORTED when it may
 * be right but is nothing this build reads; NOT_FOUND with the name of a part that is missing. No
 * tensor or string of an opened model reaches past its map. The work is in proportion to what
 * describes the tensors, never to their data; but a vector whose place in a safetensors file its
 * type forbids is made anew (weights_made_bytes). */
struct weights *weights_open(const char *path, struct error *err);
/* The same for who only tells of a model: where tensors of a GGUF file reach past its end, `cut`
 * says which file and how far (else its code is NONE), and they have no data, but NULL; so have
 * their matrices, which nobody may compute with. `cut` NULL: as weights_open. */
struct weights *weights_open_cut(const char *path, struct error *cut, struct error *err);
/* The same of one GGUF file in bytes, aligned to 32, that the caller keeps alive (tests, fuzzing).
 */
struct weights *weights_open_bytes(const void *data, size_t size, struct error *err);
/* The same of files in bytes that the caller keeps alive: `name` is the one that is opened, as by
 * weights_open, or NULL for the folder that they are. */
struct weights_file {
    const char *name; /* without folders */
    const void *data;
    size_t size;
};
struct weights *weights_open_files(const struct weights_file *files, size_t n_files,
                                   const char *name, struct error *err);
void weights_close(struct weights *w);
/* The path of a file of tensors that was written to since it was opened, or NULL: what it holds may
 * be another model's. A few system calls a file. */
const char *weights_written_to(const struct weights *w);

enum weights_format weights_format(const struct weights *w);
/* The files that hold tensors: one, or the parts, or the shards. Pointers live as long as the
 * weights. */
size_t weights_n_files(const struct weights *w);
struct weights_file weights_file_at(const struct weights *w, size_t i);
uint64_t weights_file_bytes(const struct weights *w); /* of all these */
/* Of them in physical memory, and what was made anew. */
uint64_t weights_resident_bytes(const struct weights *w);
/* What was read of the files leaves physical memory until it is read again: for who reads a model
 * once from one end to the other. Data that the caller keeps alive is let be. */
void weights_forget(const struct weights *w);
/* What had to be copied out of the files into memory of its own, see weights_open. */
uint64_t weights_made_bytes(const struct weights *w);
/* Names the content: a hash (XXH3-128) of every file's size and of when it was last changed, of all
 * that describes the tensors (metadata, headers, config.json), and of the beginning, the middle and
 * the end of each tensor. Reads little, whatever the size. */
void weights_fingerprint(const struct weights *w, uint64_t out[2]);
uint32_t weights_version(const struct weights *w); /* of the GGUF format; 0: it is not GGUF */

size_t weights_n_tensors(const struct weights *w);
const struct weights_tensor *weights_tensor_at(const struct weights *w, size_t i);
/* The tensor of that name as the file tells of it, or NULL; for who lists it. */
const struct weights_tensor *weights_tensor(const struct weights *w, const char *name);
/* The same as a matrix, for who computes with it: one dimension is a matrix of one row, the third
 * and fourth are experts. In a folder the name may also be the module's, without ".weight". False
 * when the file has no such tensor, or one that holds no weights. A type that this build cannot
 * compute with is described all the same: matrix_check() refuses it. What else belongs to it is
 * part of the matrix: an MLX folder's X.global_scale; in GGUF X.scale beside an X.weight of NVFP4.
 */
bool weights_matrix(const struct weights *w, const char *name, struct matrix *out);

size_t weights_n_meta(const struct weights *w);
struct weights_meta weights_meta_at(const struct weights *w, size_t i);

/* The same entry's value byte for byte, for who copies it. */
struct weights_raw {
    uint32_t type;    /* GGUF's number, of an array's items */
    bool is_array;
    uint64_t n_items; /* of an array */
    const void *data; /* [n_bytes] the value or the items, strings with their lengths */
    size_t n_bytes;
};
struct weights_raw weights_meta_raw(const struct weights *w, size_t i);

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

/* A folder's JSON: the value at a path like "rope_scaling.factor" in config.json, at
 * "generation.temperature" in generation_config.json, at "tokenizer.chat_template" in
 * tokenizer_config.json. False when there is no such file or value, when it is of another kind
 * (null is), does not fit, or for GGUF. Integers convert to float; numbers with a point or an
 * exponent are no integers. Items: as the array getters above, but in time that grows with i. */
bool weights_config_uint(const struct weights *w, const char *path, uint64_t *out);
bool weights_config_int(const struct weights *w, const char *path, int64_t *out);
bool weights_config_float(const struct weights *w, const char *path, float *out);
bool weights_config_bool(const struct weights *w, const char *path, bool *out);
bool weights_config_string(const struct weights *w, const char *path, struct weights_string *out);
size_t weights_config_array_len(const struct weights *w, const char *path);
bool weights_config_array_uint(const struct weights *w, const char *path, size_t i, uint64_t *out);
bool weights_config_array_float(const struct weights *w, const char *path, size_t i, float *out);
bool weights_config_array_string(const struct weights *w, const char *path, size_t i,
                                 struct weights_string *out);
/* The value itself (base/json_tree.h), or NULL: for what the above cannot say. */
const struct json_tree_value *weights_config(const struct weights *w, const char *path);
/* Whether MLX's tools have written the folder: then norms and convolutions are already as MLX wants
 * them, and matrices may be quantized. */
bool weights_is_mlx(const struct weights *w);

/* A folder's other files for text, whole: "tokenizer.json", "tokenizer.model",
 * "tokenizer_config.json", "chat_template.jinja", "chat_template.json", "special_tokens_map.json",
 * "added_tokens.json", "vocab.json", "merges.txt", "generation_config.json", "config.json". False
 * when there is none. */
bool weights_text(const struct weights *w, const char *name, struct weights_string *out);
/* The same by number, from 0 on; NULL past the last that is there. */
const char *weights_text_name(const struct weights *w, size_t i);

#endif
