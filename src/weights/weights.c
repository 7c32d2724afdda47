/* Opening a model, whatever it is, and its tensors by name. Knows no file format: gguf.c and
 * folder.c read those. */
#include "weights/weights.h"

#include "base/memory.h"
#include "weights/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool file_reserve_tensors(struct weights *w, size_t n, struct error *err)
{
    if (n > FILE_MAX_TENSORS - w->n_tensors)
        return error_set(err, ERROR_TOO_LARGE, "more than %d tensors", FILE_MAX_TENSORS);
    if (w->n_tensors_room - w->n_tensors >= n)
        return true;
    size_t n_room = w->n_tensors + n;
    void *tensors = realloc(w->tensors, n_room * sizeof *w->tensors);
    if (!tensors)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for %zu tensors", n_room);
    w->tensors = tensors;
    w->n_tensors_room = n_room;
    return true;
}

/* One more file at the end of a list. */
static struct file_part *file_add(struct weights *w, const struct file_source *s, const char *name,
                                  struct file_part **list, size_t *n, struct error *err)
{
    if (*n == FILE_MAX_PARTS) {
        error_set(err, ERROR_TOO_LARGE, "more than %d files", FILE_MAX_PARTS);
        return NULL;
    }
    struct file_part *longer = realloc(*list, (*n + 1) * sizeof *longer);
    if (!longer) {
        error_set(err, ERROR_NO_MEMORY, "out of memory");
        return NULL;
    }
    *list = longer;
    if (!source_open(s, name, &w->names, &longer[*n], err))
        return NULL;
    return &longer[(*n)++];
}

bool file_add_part(struct weights *w, const struct file_source *s, const char *name,
                   struct error *err)
{
    return file_add(w, s, name, &w->parts, &w->n_parts, err) != NULL;
}

bool file_add_text(struct weights *w, const struct file_source *s, const char *name,
                   struct error *err)
{
    return !source_has(s, name) || file_add(w, s, name, &w->texts, &w->n_texts, err) != NULL;
}

bool file_error(struct error *err, const char *path)
{
    enum { MOST = 150 }; /* a longer path is told by its end, so that the rest has room */
    size_t len = strlen(path);
    if (!len)
        return false;
    return len > MOST ? error_prefix(err, "...%s", path + len - MOST)
                      : error_prefix(err, "%s", path);
}

/* Whether the name stands for the folder that the file is in. */
static bool weights_is_of_folder(const char *name)
{
    static const char *const ends[] = {".safetensors", ".safetensors.index.json", "config.json"};
    size_t len = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (len >= strlen(ends[i]) && !strcmp(name + len - strlen(ends[i]), ends[i]))
            return true;
    return false;
}

/* A shard that was named must be one that the folder's model has: others are adapters and the
 * like. */
static bool weights_has_named(const struct weights *w, const char *name, struct error *err)
{
    size_t len = strlen(name);
    if (len < 12 || strcmp(name + len - 12, ".safetensors") != 0)
        return true;
    for (size_t i = 0; i < w->n_parts; i++)
        if (!strcmp(w->parts[i].name, name))
            return true;
    return error_set(err, ERROR_UNSUPPORTED,
                     "%.120s is no part of the folder's model, which is %.120s", name,
                     w->n_parts ? w->parts[0].name : "empty");
}

/* `name` NULL: the folder. `cut` NULL: a file that is cut is refused. */
static struct weights *weights_open_source(const struct file_source *s, const char *name,
                                           struct error *cut, struct error *err)
{
    struct weights *w = calloc(1, sizeof *w);
    if (!w) {
        error_set(err, ERROR_NO_MEMORY, "out of memory");
        return NULL;
    }
    arena_init(&w->names, SIZE_MAX / 4);
    w->cut = cut;
    bool ok;
    if (name && !weights_is_of_folder(name))
        ok = gguf_open(w, s, name, err);
    else
        ok = folder_open(w, s, err) && (!name || weights_has_named(w, name, err));
    w->cut = NULL;
    if (ok)
        return w;
    weights_close(w);
    return NULL;
}

struct weights *weights_open_bytes(const void *data, size_t size, struct error *err)
{
    const struct weights_file file = {"", data, size};
    return weights_open_files(&file, 1, "", err);
}

struct weights *weights_open_files(const struct weights_file *files, size_t n_files,
                                   const char *name, struct error *err)
{
    const struct file_source source = {"", files, n_files};
    return weights_open_source(&source, name, NULL, err);
}

struct weights *weights_open(const char *path, struct error *err)
{
    return weights_open_cut(path, NULL, err);
}

struct weights *weights_open_cut(const char *path, struct error *cut, struct error *err)
{
    struct stat st;
    if (cut)
        *cut = (struct error){.position = -1};
    size_t len = strlen(path);
    char *folder = malloc(len + 2);
    if (!folder) {
        error_set(err, ERROR_NO_MEMORY, "out of memory");
        return NULL;
    }
    memcpy(folder, path, len + 1);
    const struct file_source source = {.folder = folder};
    struct weights *w;
    if (!stat(path, &st) && S_ISDIR(st.st_mode)) {
        if (len && path[len - 1] != '/')
            memcpy(folder + len, "/", 2);
        w = weights_open_source(&source, NULL, cut, err);
    } else {
        const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
        folder[name - path] = '\0';
        w = weights_open_source(&source, name, cut, err);
    }
    free(folder);
    return w;
}

const char *weights_written_to(const struct weights *w)
{
    for (size_t i = 0; i < w->n_parts; i++)
        if (file_map_is_written_to(&w->parts[i].map, w->parts[i].path))
            return w->parts[i].path;
    return NULL;
}

void weights_close(struct weights *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n_parts; i++)
        file_map_close(&w->parts[i].map);
    for (size_t i = 0; i < w->n_texts; i++)
        file_map_close(&w->texts[i].map);
    for (int i = 0; i < FILE_N_CONFIGS; i++)
        json_tree_deinit(&w->config[i]);
    file_meta_deinit(&w->meta);
    name_index_deinit(&w->tensor_index);
    arena_deinit(&w->names);
    free(w->parts);
    free(w->texts);
    free(w->tensors);
    free(w);
}

enum weights_format weights_format(const struct weights *w)
{
    return w->format;
}

size_t weights_n_files(const struct weights *w)
{
    return w->n_parts;
}

struct weights_file weights_file_at(const struct weights *w, size_t i)
{
    const struct file_part *part = &w->parts[i];
    return (struct weights_file){part->name, part->data, (size_t)part->size};
}

uint64_t weights_file_bytes(const struct weights *w)
{
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < w->n_parts; i++)
        n_bytes += w->parts[i].size;
    return n_bytes;
}

uint64_t weights_resident_bytes(const struct weights *w)
{
    uint64_t n_bytes = w->made_bytes;
    for (size_t i = 0; i < w->n_parts; i++)
        if (w->parts[i].size)
            n_bytes += memory_resident(w->parts[i].data, (size_t)w->parts[i].size);
    return n_bytes;
}

void weights_forget(const struct weights *w)
{
    for (size_t i = 0; i < w->n_parts; i++)
        file_map_forget(&w->parts[i].map);
}

uint64_t weights_made_bytes(const struct weights *w)
{
    return w->made_bytes;
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

/* A folder's module by its own name. */
static const struct weights_tensor *weights_module(const struct weights *w, const char *name)
{
    char weight[1024];
    int n = snprintf(weight, sizeof weight, "%s.weight", name);
    if (w->format != WEIGHTS_SAFETENSORS || n < 0 || (size_t)n >= sizeof weight)
        return NULL;
    return weights_tensor(w, weight);
}

/* Packed numbers, whose rows have so many bytes as the file says: the type may be one that this
 * build does not know. */
static struct matrix weights_packed(const struct weights_tensor *t, size_t n_experts)
{
    struct matrix m = matrix_of_packed(t->type, t->scale, t->group, t->shape[0], t->shape[1],
                                       n_experts, t->data, t->scales, t->biases);
    const uint64_t n_scale_bytes = m.parts[MATRIX_SCALES].expert_bytes * n_experts;
    const uint64_t n_bytes = t->n_bytes - n_scale_bytes * (t->biases ? 2 : 1);
    struct matrix_part *packed = &m.parts[MATRIX_PACKED];
    packed->row_bytes = (size_t)(n_bytes / (m.n_rows * n_experts));
    packed->expert_bytes = packed->row_bytes * m.n_rows;
    return m;
}

/* GGUF's blocks of NVFP4 have what they are multiplied by in a tensor beside: X.scale, F32, one for
 * each expert (github.com/ggml-org/llama.cpp, src/llama-model.cpp). X.input_scale is for those who
 * quantize activations to four bits. matrix_check refuses a scale of another type or shape. */
static struct matrix_part weights_factors(const struct weights *w, const struct weights_tensor *t,
                                          size_t n_experts)
{
    const size_t len = strlen(t->name), last = strlen("weight");
    char name[1024];
    if (t->type != QUANT_NVFP4 || len < last || len >= sizeof name ||
        strcmp(t->name + len - last, "weight") != 0)
        return (struct matrix_part){t->factors, 0, sizeof(float)};
    memcpy(name, t->name, len - last);
    memcpy(name + len - last, "scale", sizeof "scale");
    const struct weights_tensor *scale = weights_tensor(w, name);
    const bool fits = scale && scale->type == QUANT_F32 &&
                      scale->n_bytes == n_experts * sizeof(float);
    return (struct matrix_part){scale ? scale->data : NULL, 0, fits ? sizeof(float) : 0};
}

bool weights_matrix(const struct weights *w, const char *name, struct matrix *out)
{
    const struct weights_tensor *t = weights_tensor(w, name);
    if (!t)
        t = weights_module(w, name);
    if (!t || t->type == WEIGHTS_NO_TYPE || !t->n_bytes)
        return false;
    size_t n_experts = t->shape[2] * t->shape[3];
    if (t->group)
        *out = weights_packed(t, n_experts);
    else
        *out = matrix_of_blocks(t->type, t->shape[0], t->shape[1], n_experts, t->data);
    out->parts[MATRIX_FACTORS] = weights_factors(w, t, n_experts);
    return true;
}
