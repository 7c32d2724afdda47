/* The JSON that stands beside safetensors, value by value. Knows the meaning of none. */
#include "weights/file.h"

#include <inttypes.h>
#include <string.h>

enum {
    CONFIG_MAX_BYTES = 16 << 20,
    CONFIG_MAX_VALUES = 1 << 20,
};

/* In the order of enum file_config. */
static const struct {
    const char *file, *prefix; /* of paths */
} config_files[FILE_N_CONFIGS] = {
    {"config.json", ""},
    {"generation_config.json", "generation."},
    {"tokenizer_config.json", "tokenizer."},
};

static const char *const text_files[] = {
    "tokenizer.json",     "tokenizer.model",         "tokenizer_config.json", "chat_template.jinja",
    "chat_template.json", "special_tokens_map.json", "added_tokens.json",     "vocab.json",
    "merges.txt",         "generation_config.json",  "config.json",
};

static const struct file_part *config_text(const struct weights *w, const char *name)
{
    for (size_t i = 0; i < w->n_texts; i++)
        if (!strcmp(w->texts[i].name, name))
            return &w->texts[i];
    return NULL;
}

static bool config_read(struct weights *w, enum file_config which, struct error *err)
{
    const struct file_part *text = config_text(w, config_files[which].file);
    struct json_tree *tree = &w->config[which];
    if (!text)
        return true;
    if (text->size > CONFIG_MAX_BYTES)
        error_at(err, ERROR_TOO_LARGE, 0, "%" PRIu64 " bytes, %d are the most", text->size,
                 CONFIG_MAX_BYTES);
    else if (json_tree_read(tree, (const char *)text->data, (size_t)text->size, CONFIG_MAX_VALUES,
                            err) &&
             json_tree_is(tree->values, JSON_TREE_OBJECT))
        return true;
    else if (tree->values)
        error_at(err, ERROR_FORMAT, 0, "it is not a JSON object");
    return file_error(err, text->path);
}

bool config_open(struct weights *w, const struct file_source *s, struct error *err)
{
    for (size_t i = 0; i < sizeof text_files / sizeof *text_files; i++)
        if (!file_add_text(w, s, text_files[i], err))
            return false;
    for (int i = 0; i < FILE_N_CONFIGS; i++)
        if (!config_read(w, (enum file_config)i, err))
            return false;
    return true;
}

bool weights_is_mlx(const struct weights *w)
{
    return w->is_mlx;
}

bool weights_text(const struct weights *w, const char *name, struct weights_string *out)
{
    const struct file_part *text = config_text(w, name);
    if (text)
        *out = (struct weights_string){(const char *)text->data, (size_t)text->size};
    return text != NULL;
}

const char *weights_text_name(const struct weights *w, size_t i)
{
    return i < w->n_texts ? w->texts[i].name : NULL;
}

const struct json_tree_value *weights_config(const struct weights *w, const char *path)
{
    int which = FILE_N_CONFIGS - 1;
    while (strncmp(path, config_files[which].prefix, strlen(config_files[which].prefix)) != 0)
        which--; /* the first one's is empty */
    return json_tree_path(w->config[which].values, path + strlen(config_files[which].prefix));
}

static bool config_float(const struct json_tree_value *v, float *out)
{
    double x;
    if (!json_tree_double(v, &x))
        return false;
    *out = (float)x;
    return true;
}

static bool config_string(const struct json_tree_value *v, struct weights_string *out)
{
    if (!json_tree_is(v, JSON_TREE_STRING))
        return false;
    *out = (struct weights_string){v->text, v->len};
    return true;
}

bool weights_config_uint(const struct weights *w, const char *path, uint64_t *out)
{
    return json_tree_uint(weights_config(w, path), out);
}

bool weights_config_int(const struct weights *w, const char *path, int64_t *out)
{
    return json_tree_int(weights_config(w, path), out);
}

bool weights_config_float(const struct weights *w, const char *path, float *out)
{
    return config_float(weights_config(w, path), out);
}

bool weights_config_bool(const struct weights *w, const char *path, bool *out)
{
    const struct json_tree_value *v = weights_config(w, path);
    if (!json_tree_is(v, JSON_TREE_BOOL))
        return false;
    *out = v->is_true;
    return true;
}

bool weights_config_string(const struct weights *w, const char *path, struct weights_string *out)
{
    return config_string(weights_config(w, path), out);
}

size_t weights_config_array_len(const struct weights *w, const char *path)
{
    const struct json_tree_value *v = weights_config(w, path);
    return json_tree_is(v, JSON_TREE_ARRAY) ? v->n_items : 0;
}

bool weights_config_array_uint(const struct weights *w, const char *path, size_t i, uint64_t *out)
{
    return json_tree_uint(json_tree_item(weights_config(w, path), i), out);
}

bool weights_config_array_float(const struct weights *w, const char *path, size_t i, float *out)
{
    return config_float(json_tree_item(weights_config(w, path), i), out);
}

bool weights_config_array_string(const struct weights *w, const char *path, size_t i,
                                 struct weights_string *out)
{
    return config_string(json_tree_item(weights_config(w, path), i), out);
}
