/* An opened model file from the inside: what the reader of a format fills in and weights.c hands
 * out. Private to src/weights. One module: file, weights. */
#ifndef PENSIEVE_WEIGHTS_FILE_H
#define PENSIEVE_WEIGHTS_FILE_H

#include "base/arena.h"
#include "base/file_map.h"
#include "base/json_tree.h"
#include "weights/gguf_format.h"
#include "weights/name_index.h"
#include "weights/safetensors.h"
#include "weights/weights.h"

struct file_meta {
    struct weights_string key; /* in the file */
    enum gguf_value_type type; /* of the value, or of an array's items; never GGUF_ARRAY */
    bool is_array;
    uint64_t n_items;    /* of an array, else 1 */
    uint64_t at;         /* where the value or the first item begins in the file */
    uint64_t *string_at; /* [n_items] where each item's length field is; arrays of strings alone */
};

/* All metadata of one file. */
struct file_meta_table {
    const uint8_t *data;     /* the file that its places are in */
    struct file_meta *items; /* [n], in the file's order */
    size_t n;
    struct name_index index;
};

/* An open file: one that tensors lie in (GGUF, a shard), or one of text. */
struct file_part {
    const char *name;    /* without folders; the arena's, or NULL for bytes without a name */
    const char *path;    /* the same with the folder, for messages */
    struct file_map map; /* unused when the bytes are the caller's */
    const uint8_t *data; /* [size] the whole file */
    uint64_t size;
    uint64_t data_begin; /* where what describes the tensors ends, and they may begin */
};

/* The JSON of a folder whose values can be asked for. */
enum file_config { FILE_CONFIG, FILE_GENERATION, FILE_TOKENIZER, FILE_N_CONFIGS };

struct weights {
    enum weights_format format;
    struct file_part *parts; /* [n_parts] */
    size_t n_parts;
    uint32_t version;            /* of GGUF */
    struct file_meta_table meta; /* of the first part, if it is GGUF */

    struct weights_tensor *tensors; /* [n_tensors], part by part in each one's order */
    size_t n_tensors, n_tensors_room;
    struct name_index tensor_index;

    struct error *cut; /* while it is opened: where to say that a file is cut; NULL: in vain */

    struct arena names; /* of tensors and files, terminated; and what was made anew */
    uint64_t made_bytes;

    /* a folder's */
    struct file_part *texts; /* [n_texts] */
    size_t n_texts;
    struct json_tree config[FILE_N_CONFIGS]; /* without values when there is no such file */
    bool is_mlx;
};

/* Where the files of a model come from: a folder on disk, or named bytes of the caller. */
struct file_source {
    const char *folder;               /* "" or with a slash at its end; unused with files */
    const struct weights_file *files; /* [n_files], or NULL */
    size_t n_files;
};

bool source_has(const struct file_source *s, const char *name);
/* How many files are called <before>…<behind>; the name of one of them goes to `found`. */
size_t source_find(const struct file_source *s, const char *before, const char *behind, char *found,
                   size_t found_size);
/* Opens a file, whose names go to the arena. NOT_FOUND, IO, NO_MEMORY; FORMAT for what only stands
 * for the file. */
bool source_open(const struct file_source *s, const char *name, struct arena *arena,
                 struct file_part *out, struct error *err);

/* Opens one more file for tensors, at the end of w->parts. */
bool file_add_part(struct weights *w, const struct file_source *s, const char *name,
                   struct error *err);
/* Puts before an error's message which file it speaks of. Returns false. */
bool file_error(struct error *err, const char *path);

/* Open what `name` stands for: a GGUF file or a split one's part; the folder. */
bool gguf_open(struct weights *w, const struct file_source *s, const char *name, struct error *err);
bool folder_open(struct weights *w, const struct file_source *s, struct error *err);

/* Reads the JSON that a folder has. */
bool config_open(struct weights *w, const struct file_source *s, struct error *err);
/* Opens one of a folder's text files into w->texts, if it is there. */
bool file_add_text(struct weights *w, const struct file_source *s, const char *name,
                   struct error *err);

/* All tensors of all shards as weights_tensor: w->tensors is filled from `raw`, in whose order they
 * lie in the files. */
struct folder_tensor {
    struct safetensors_tensor t;
    uint32_t file;
};
struct folder_tensors {
    struct folder_tensor *items; /* [n] */
    size_t n;
    struct name_index index; /* over the items' names */
};
bool mlx_make_tensors(struct weights *w, const struct folder_tensors *raw, struct error *err);

/* Bytes of a value of fixed size; 0 for strings and arrays. */
size_t file_value_bytes(enum gguf_value_type type);

void file_meta_deinit(struct file_meta_table *meta);
/* NULL when the key is missing, or is an array where none is asked for, or the reverse. */
const struct file_meta *file_meta_find(const struct file_meta_table *table, const char *key,
                                       bool is_array);
bool file_meta_uint(const struct file_meta_table *table, const struct file_meta *meta,
                    uint64_t *out);

/* Limits far above any real model's; they bound the memory that tables take. */
enum { FILE_MAX_TENSORS = 1 << 20, FILE_MAX_PARTS = 4096, FILE_MAX_NAME_BYTES = 65535 };

/* Room for n more tensors at once, or NO_MEMORY or TOO_LARGE. What is there may move. */
bool file_reserve_tensors(struct weights *w, size_t n, struct error *err);

/* Reads GGUF part `part`, whose data and size are set: its metadata into `meta`, which is empty,
 * its tensors behind those of the others. What it leaves half-built on failure weights_close and
 * file_meta_deinit free. */
bool gguf_read(struct weights *w, size_t part, struct file_meta_table *meta, struct error *err);

#endif
