#include "weights/hyper.h"

#include "base/json_tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const gguf_names[] = {
#define X(name, gguf, folder) gguf,
    HYPER_KEYS(X)
#undef X
};

static const char *const folder_paths[] = {
#define X(name, gguf, folder) folder,
    HYPER_KEYS(X)
#undef X
};

static bool is_gguf(const struct hyper *h)
{
    return weights_format(h->w) == WEIGHTS_GGUF;
}

/* ---- names ---- */

/* The first of the alternatives that config.json has behind a prefix. */
static bool find_path(const struct hyper *h, const char *prefix, const char *alternatives,
                      struct hyper_name *out)
{
    for (const char *at = alternatives; *at;) {
        const size_t len = strcspn(at, "|");
        snprintf(out->text, sizeof out->text, "%s%.*s", prefix, (int)len, at);
        const struct json_tree_value *v = weights_config(h->w, out->text);
        if (v && v->kind != JSON_TREE_NULL)
            return true;
        at += len + (at[len] == '|');
    }
    return false;
}

const char *hyper_gguf_key(enum hyper_key key)
{
    return gguf_names[key];
}

struct hyper_name hyper_folder_path(enum hyper_key key)
{
    struct hyper_name name;
    const char *paths = folder_paths[key];
    snprintf(name.text, sizeof name.text, "%.*s", (int)strcspn(paths, "|"), paths);
    return name;
}

/* Where the value is, or the most usual place. */
struct hyper_name hyper_name(const struct hyper *h, enum hyper_key key)
{
    const char *paths = folder_paths[key];
    struct hyper_name name;
    if (is_gguf(h))
        snprintf(name.text, sizeof name.text, "%s.%s", h->architecture, gguf_names[key]);
    else if (!find_path(h, "text_config.", paths, &name) && !find_path(h, "", paths, &name))
        name = hyper_folder_path(key);
    return name;
}

/* ---- values ---- */

static bool has_default(const struct hyper *h, enum hyper_key key, float *out)
{
    for (const struct hyper_default *d = h->defaults; d && d->value != 0; d++)
        if (d->key == key) {
            *out = d->value;
            return true;
        }
    return false;
}

bool hyper_uint(const struct hyper *h, enum hyper_key key, uint64_t *out)
{
    const struct hyper_name name = hyper_name(h, key);
    float value;
    if (is_gguf(h) ? weights_uint(h->w, name.text, out)
                   : weights_config_uint(h->w, name.text, out))
        return true;
    if (!has_default(h, key, &value))
        return false;
    *out = (uint64_t)value;
    return true;
}

bool hyper_float(const struct hyper *h, enum hyper_key key, float *out)
{
    const struct hyper_name name = hyper_name(h, key);
    return (is_gguf(h) ? weights_float(h->w, name.text, out)
                       : weights_config_float(h->w, name.text, out)) ||
           has_default(h, key, out);
}

bool hyper_bool(const struct hyper *h, enum hyper_key key, bool *out)
{
    const struct hyper_name name = hyper_name(h, key);
    return is_gguf(h) ? weights_bool(h->w, name.text, out)
                      : weights_config_bool(h->w, name.text, out);
}

bool hyper_string(const struct hyper *h, enum hyper_key key, struct weights_string *out)
{
    const struct hyper_name name = hyper_name(h, key);
    return is_gguf(h) ? weights_string(h->w, name.text, out)
                      : weights_config_string(h->w, name.text, out);
}

size_t hyper_n_items(const struct hyper *h, enum hyper_key key)
{
    const struct hyper_name name = hyper_name(h, key);
    return is_gguf(h) ? weights_array_len(h->w, name.text)
                      : weights_config_array_len(h->w, name.text);
}

bool hyper_item_float(const struct hyper *h, enum hyper_key key, size_t i, float *out)
{
    const struct hyper_name name = hyper_name(h, key);
    return is_gguf(h) ? weights_array_float(h->w, name.text, i, out)
                      : weights_config_array_float(h->w, name.text, i, out);
}

bool hyper_item_string(const struct hyper *h, enum hyper_key key, size_t i,
                       struct weights_string *out)
{
    const struct hyper_name name = hyper_name(h, key);
    return is_gguf(h) ? weights_array_string(h->w, name.text, i, out)
                      : weights_config_array_string(h->w, name.text, i, out);
}

/* ---- what must be there ---- */

static bool hyper_lacks(const struct hyper *h, enum hyper_key key, struct error *err)
{
    return error_set(err, ERROR_FORMAT, "%s lacks %s", is_gguf(h) ? "the file" : "config.json",
                     hyper_name(h, key).text);
}

bool hyper_need_uint(const struct hyper *h, enum hyper_key key, uint64_t least, uint64_t most,
                     uint32_t *out, struct error *err)
{
    uint64_t value;
    if (!hyper_uint(h, key, &value))
        return hyper_lacks(h, key, err);
    if (value < least || value > most)
        return error_set(err, ERROR_FORMAT, "%s is %" PRIu64 ", outside %" PRIu64 " to %" PRIu64,
                         hyper_name(h, key).text, value, least, most);
    *out = (uint32_t)value;
    return true;
}

bool hyper_need_float(const struct hyper *h, enum hyper_key key, float *out, struct error *err)
{
    return hyper_float(h, key, out) || hyper_lacks(h, key, err);
}

bool hyper_model_type(const struct weights *w, struct weights_string *out)
{
    return weights_config_string(w, "text_config.model_type", out) ||
           weights_config_string(w, "model_type", out);
}
