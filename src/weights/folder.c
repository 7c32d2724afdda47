/* A folder as Hugging Face and MLX publish it: config.json and model.safetensors, or shards
 * model-00001-of-0000N.safetensors, with model.safetensors.index.json saying which tensor is in
 * which, or without. Every file must be there, and every tensor where the index says. Knows no
 * quantization: mlx.c reads that. */
#include "weights/file.h"

#include "base/printable.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

enum { INDEX_MAX_BYTES = 100000000, MAX_FILE_NAME = 255 };

struct folder {
    struct weights *w;
    const struct file_source *source;
    struct error *err;
    struct folder_tensors raw;
    size_t n_raw_room;
    struct file_part index_file;
    struct json_tree index;            /* empty when the folder has none that counts */
    const struct json_tree_value *map; /* its "weight_map", or NULL */
    struct name_index shards;          /* names of files -> their numbers in w->parts */
};

static bool folder_out_of_memory(struct folder *f)
{
    return error_set(f->err, ERROR_NO_MEMORY, "out of memory");
}

static bool folder_reserve(struct folder *f, size_t n)
{
    if (n > FILE_MAX_TENSORS - f->raw.n)
        return error_set(f->err, ERROR_TOO_LARGE, "more than %d tensors", FILE_MAX_TENSORS);
    size_t n_room = f->raw.n + n;
    if (n_room <= f->n_raw_room)
        return true;
    void *items = realloc(f->raw.items, n_room * sizeof *f->raw.items);
    if (!items)
        return folder_out_of_memory(f);
    f->raw.items = items;
    f->n_raw_room = n_room;
    return true;
}

/* Adds the tensors of the last file. */
static bool folder_add_tensors(struct folder *f, const struct safetensors *s)
{
    if (!folder_reserve(f, s->n_tensors))
        return false;
    for (size_t i = 0; i < s->n_tensors; i++) {
        const struct safetensors_tensor *t = &s->tensors[i];
        uint32_t before = name_index_find(&f->raw.index, t->name, t->name_len);
        char name[72];
        printable_copy(name, sizeof name, t->name, t->name_len);
        if (before != NAME_INDEX_NONE)
            return error_at(f->err, ERROR_FORMAT, (int64_t)t->begin,
                            "tensor \"%s\" appears twice, before in %.100s", name,
                            f->w->parts[f->raw.items[before].file].name);
        if (!name_index_add(&f->raw.index, t->name, t->name_len, (uint32_t)f->raw.n))
            return folder_out_of_memory(f);
        f->raw.items[f->raw.n++] = (struct folder_tensor){*t, (uint32_t)f->w->n_parts - 1};
    }
    return true;
}

static bool folder_open_shard(struct folder *f, const char *name)
{
    struct weights *w = f->w;
    struct safetensors s;
    if (!file_add_part(w, f->source, name, f->err))
        return false;
    struct file_part *part = &w->parts[w->n_parts - 1];
    bool ok = safetensors_read(&s, part->data, part->size, &w->names, f->err);
    if (ok) {
        part->data_begin = s.data_begin;
        w->is_mlx |= s.is_mlx;
        ok = folder_add_tensors(f, &s);
        safetensors_deinit(&s);
    }
    return ok || file_error(f->err, part->path);
}

/* ---- the index ---- */

static bool index_fail(struct folder *f, const char *name, size_t len, const char *what)
{
    char shown[72];
    printable_copy(shown, sizeof shown, name, len);
    error_at(f->err, ERROR_FORMAT, 0, "tensor \"%s\" %s", shown, what);
    return file_error(f->err, f->index_file.path);
}

static bool index_read(struct folder *f)
{
    const struct file_part *file = &f->index_file;
    if (!source_open(f->source, index_name, &f->w->names, &f->index_file, f->err))
        return false;
    if (file->size > INDEX_MAX_BYTES) {
        error_at(f->err, ERROR_TOO_LARGE, 0, "%" PRIu64 " bytes, %d are the most", file->size,
                 INDEX_MAX_BYTES);
        return file_error(f->err, file->path);
    }
    if (!json_tree_read(&f->index, (const char *)file->data, (size_t)file->size,
                        2 * FILE_MAX_TENSORS + 1024, f->err))
        return file_error(f->err, file->path);
    f->map = json_tree_member(f->index.values, "weight_map");
    if (json_tree_is(f->map, JSON_TREE_OBJECT))
        return true;
    error_at(f->err, ERROR_FORMAT, 0, "it has no object weight_map");
    return file_error(f->err, file->path);
}

/* A name that cannot lead out of the folder. */
static bool is_file_name(const struct json_tree_value *v)
{
    return json_tree_is(v, JSON_TREE_STRING) && v->len && v->len <= MAX_FILE_NAME &&
           v->text[0] != '.' && !memchr(v->text, '/', v->len) && !memchr(v->text, 0, v->len);
}

static bool index_names(const struct folder *f, const char *name)
{
    const struct json_tree_value *key = f->map ? json_tree_first(f->map) : NULL;
    for (size_t i = 0; key && i < f->map->n_items; i++) {
        if (json_tree_equals(json_tree_after(key), name))
            return true;
        key = json_tree_after(json_tree_after(key));
    }
    return false;
}

/* Opens every file that the index names, in its order. */
static bool index_open_shards(struct folder *f)
{
    const struct json_tree_value *key = json_tree_first(f->map);
    for (size_t i = 0; i < f->map->n_items; i++) {
        const struct json_tree_value *file = json_tree_after(key);
        char name[MAX_FILE_NAME + 1];
        if (!is_file_name(file))
            return index_fail(f, key->text, key->len, "is said to be in what is no file name");
        if (name_index_find(&f->shards, file->text, file->len) == NAME_INDEX_NONE) {
            snprintf(name, sizeof name, "%.*s", (int)file->len, file->text);
            if (!name_index_add(&f->shards, file->text, file->len, (uint32_t)f->w->n_parts))
                return folder_out_of_memory(f);
            if (!folder_open_shard(f, name))
                return false;
        }
        key = json_tree_after(file);
    }
    return true;
}

/* Each tensor of the index is where it says. */
static bool index_check_entry(struct folder *f, const struct json_tree_value *key, bool *seen)
{
    const struct json_tree_value *file = json_tree_after(key);
    uint32_t number = name_index_find(&f->raw.index, key->text, key->len);
    char what[MAX_FILE_NAME + 100];
    if (number == NAME_INDEX_NONE) {
        snprintf(what, sizeof what, "should be in %.*s, but is not", (int)file->len, file->text);
        return index_fail(f, key->text, key->len, what);
    }
    const char *in = f->w->parts[f->raw.items[number].file].name;
    if (!json_tree_equals(file, in)) {
        snprintf(what, sizeof what, "should be in %.*s, but is in %.100s",
                 (int)(file->len < 100 ? file->len : 100), file->text, in);
        return index_fail(f, key->text, key->len, what);
    }
    seen[number] = true;
    return true;
}

static bool index_check(struct folder *f)
{
    bool *seen = calloc(f->raw.n + 1, sizeof *seen);
    const struct json_tree_value *key = json_tree_first(f->map);
    if (!seen)
        return folder_out_of_memory(f);
    bool ok = true;
    for (size_t i = 0; ok && i < f->map->n_items; i++) {
        ok = index_check_entry(f, key, seen);
        key = json_tree_after(json_tree_after(key));
    }
    for (size_t i = 0; ok && i < f->raw.n; i++)
        if (!seen[i]) {
            const struct folder_tensor *t = &f->raw.items[i];
            char what[200];
            snprintf(what, sizeof what, "is in %.120s, but the index does not say so",
                     f->w->parts[t->file].name);
            ok = index_fail(f, t->t.name, t->t.name_len, what);
        }
    free(seen);
    return ok;
}

/* ---- which files ---- */

/* model-00001-of-0000N.safetensors and its like, without an index. `first` is one of them. */
static bool folder_open_counted(struct folder *f, const char *first)
{
    uint32_t count = 0;
    const char *digits = strstr(first, "-of-") + 4;
    for (const char *at = digits; *at >= '0' && *at <= '9' && at - digits < 6; at++)
        count = count * 10 + (uint32_t)(*at - '0');
    if (strlen(digits) != strlen("00001.safetensors") || !count || count > FILE_MAX_PARTS)
        return error_set(f->err, ERROR_FORMAT, "%.120s cannot be the first of so many parts",
                         first);
    for (uint32_t i = 1; i <= count; i++) {
        char name[64];
        snprintf(name, sizeof name, "model-%05" PRIu32 "-of-%05" PRIu32 ".safetensors", i, count);
        if (!folder_open_shard(f, name))
            return false;
    }
    return true;
}

/* A file is missing: says what the folder has instead. */
static bool folder_refuse(struct folder *f, const char *missing)
{
    char name[MAX_FILE_NAME + 1];
    const struct file_source *s = f->source;
    const char *folder = *s->folder ? s->folder : "the folder";
    if (source_find(s, "", ".gguf", name, sizeof name))
        return error_set(f->err, ERROR_NOT_FOUND,
                         "%.100s has no %s; it has %.100s, which can be opened by its own path",
                         folder, missing, name);
    if (source_find(s, "pytorch_model", ".bin", name, sizeof name))
        return error_set(f->err, ERROR_UNSUPPORTED,
                         "%.100s has no %s; %.100s is a program's pickled memory, which this build "
                         "does not read",
                         folder, missing, name);
    return error_set(f->err, ERROR_NOT_FOUND, "%.150s has no %s", folder, missing);
}

/* As transformers does: the single file before the index, unless that is about it. */
static bool folder_open_files(struct folder *f)
{
    char first[MAX_FILE_NAME + 1];
    bool has_single = source_has(f->source, single_name);
    if (source_has(f->source, index_name) && !index_read(f))
        return false;
    if (has_single && !index_names(f, single_name))
        f->map = NULL; /* it is of other files */
    if (f->map)
        return index_open_shards(f) && index_check(f);
    if (has_single)
        return folder_open_shard(f, single_name);
    size_t n = source_find(f->source, "model-00001-of-", ".safetensors", first, sizeof first);
    if (n > 1)
        return error_set(f->err, ERROR_FORMAT,
                         "the first shards of %zu models lie in one folder, %.100s and others", n,
                         first);
    return n ? folder_open_counted(f, first) : folder_refuse(f, single_name);
}

static bool folder_read(struct folder *f)
{
    struct weights *w = f->w;
    if (!source_has(f->source, "config.json"))
        return folder_refuse(f, "config.json");
    return folder_open_files(f) && config_open(w, f->source, f->err) &&
           mlx_make_tensors(w, &f->raw, f->err);
}

bool folder_open(struct weights *w, const struct file_source *s, struct error *err)
{
    struct folder f = {.w = w, .source = s, .err = err};
    w->format = WEIGHTS_SAFETENSORS;
    bool ok = folder_read(&f);
    file_map_close(&f.index_file.map);
    json_tree_deinit(&f.index);
    name_index_deinit(&f.shards);
    name_index_deinit(&f.raw.index);
    free(f.raw.items);
    return ok;
}
