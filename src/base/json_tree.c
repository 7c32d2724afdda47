/* See json_tree.h. */
#include "base/json_tree.h"

#include "base/json_read.h"

#include <stdlib.h>
#include <string.h>

struct tree_builder {
    struct json_tree *tree;
    struct json_reader reader;
    size_t n_room, max_values;
    uint32_t open[JSON_READ_MAX_DEPTH]; /* the containers that have not ended, by number */
    uint32_t n_open;
};

static bool tree_grow(struct tree_builder *b)
{
    struct json_tree *t = b->tree;
    if (t->n_values == b->max_values)
        return error_at(b->reader.err, ERROR_TOO_LARGE, (int64_t)b->reader.value_at,
                        "byte %zu: more than %zu values", b->reader.value_at, b->max_values);
    if (t->n_values < b->n_room)
        return true;
    size_t n_room = b->n_room ? b->n_room * 2 : 256;
    void *values = realloc(t->values, n_room * sizeof *t->values);
    if (!values)
        return error_set(b->reader.err, ERROR_NO_MEMORY, "out of memory");
    t->values = values;
    b->n_room = n_room;
    return true;
}

/* The string or number that was just read. */
static bool tree_set_text(struct tree_builder *b, struct json_tree_value *v)
{
    const struct json_reader *r = &b->reader;
    v->text = r->value;
    v->len = (uint32_t)r->value_len;
    if (v->kind != JSON_TREE_STRING || !r->has_escapes)
        return true;
    char *text = arena_copy(&b->tree->strings, r->value, r->value_len);
    if (!text)
        return error_set(r->err, ERROR_NO_MEMORY, "out of memory");
    v->text = text;
    v->len = (uint32_t)json_read_unescape(text, r->value_len, text);
    return true;
}

static enum json_tree_kind tree_kind(enum json_read_event event)
{
    switch (event) {
    case JSON_READ_OBJECT:
        return JSON_TREE_OBJECT;
    case JSON_READ_ARRAY:
        return JSON_TREE_ARRAY;
    case JSON_READ_KEY:
    case JSON_READ_STRING:
        return JSON_TREE_STRING;
    case JSON_READ_NUMBER:
        return JSON_TREE_NUMBER;
    case JSON_READ_TRUE:
    case JSON_READ_FALSE:
        return JSON_TREE_BOOL;
    default:
        return JSON_TREE_NULL;
    }
}

static bool tree_add(struct tree_builder *b, enum json_read_event event)
{
    struct json_tree *t = b->tree;
    if (!tree_grow(b))
        return false;
    struct json_tree_value *v = &t->values[t->n_values];
    *v = (struct json_tree_value){
        .n_values = 1, .kind = (uint8_t)tree_kind(event), .is_true = event == JSON_READ_TRUE};
    if ((v->kind == JSON_TREE_STRING || v->kind == JSON_TREE_NUMBER) && !tree_set_text(b, v))
        return false;
    if (b->n_open) {
        struct json_tree_value *in = &t->values[b->open[b->n_open - 1]];
        in->n_items += in->kind == JSON_TREE_ARRAY || event == JSON_READ_KEY;
    }
    if (v->kind == JSON_TREE_ARRAY || v->kind == JSON_TREE_OBJECT)
        b->open[b->n_open++] = (uint32_t)t->n_values;
    t->n_values++;
    return true;
}

static int tree_order(const void *a, const void *b)
{
    const struct json_tree_value *x = *(const struct json_tree_value *const *)a,
                                 *y = *(const struct json_tree_value *const *)b;
    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    return x->len ? memcmp(x->text, y->text, x->len) : 0;
}

/* Every name of the object that ends here stands once: sorted, equal ones would be neighbours. */
static bool tree_check_names(struct tree_builder *b, const struct json_tree_value *object)
{
    size_t n = object->n_items;
    if (n < 2)
        return true;
    const struct json_tree_value **names = malloc(n * sizeof *names);
    if (!names)
        return error_set(b->reader.err, ERROR_NO_MEMORY, "out of memory");
    const struct json_tree_value *name = json_tree_first(object);
    for (size_t i = 0; i < n; i++, name = json_tree_after(json_tree_after(name)))
        names[i] = name;
    qsort(names, n, sizeof *names, tree_order);
    size_t i = 1;
    while (i < n && tree_order(&names[i - 1], &names[i]))
        i++;
    bool ok = i == n;
    if (!ok)
        json_read_fail(&b->reader, "the object that ends here has two members \"%.*s\"",
                       (int)(names[i]->len < 64 ? names[i]->len : 64), names[i]->text);
    free(names);
    return ok;
}

static bool tree_close(struct tree_builder *b)
{
    uint32_t number = b->open[--b->n_open];
    struct json_tree_value *v = &b->tree->values[number];
    v->n_values = (uint32_t)b->tree->n_values - number;
    return v->kind == JSON_TREE_ARRAY || tree_check_names(b, v);
}

static bool tree_build(struct tree_builder *b)
{
    for (;;) {
        enum json_read_event event = json_read_next(&b->reader);
        if (event == JSON_READ_FAILED)
            return false;
        if (event == JSON_READ_END)
            return true;
        bool ends = event == JSON_READ_OBJECT_END || event == JSON_READ_ARRAY_END;
        if (!(ends ? tree_close(b) : tree_add(b, event)))
            return false;
    }
}

bool json_tree_read(struct json_tree *t, const char *text, size_t len, size_t max_values,
                    struct error *err)
{
    *t = (struct json_tree){0};
    arena_init(&t->strings, SIZE_MAX / 4);
    struct tree_builder b = {.tree = t, .max_values = max_values};
    if (len > UINT32_MAX || max_values > UINT32_MAX)
        return error_set(err, ERROR_TOO_LARGE, "a JSON text of %zu bytes", len);
    json_read_init(&b.reader, text, len, err);
    if (tree_build(&b))
        return true;
    json_tree_deinit(t);
    return false;
}

void json_tree_deinit(struct json_tree *t)
{
    free(t->values);
    arena_deinit(&t->strings);
    *t = (struct json_tree){.strings = t->strings};
}

/* The member of that name, which is not terminated. */
static const struct json_tree_value *tree_find(const struct json_tree_value *v, const char *name,
                                               size_t len)
{
    if (!json_tree_is(v, JSON_TREE_OBJECT))
        return NULL;
    const struct json_tree_value *at = json_tree_first(v);
    for (size_t i = 0; i < v->n_items; i++, at = json_tree_after(json_tree_after(at)))
        if (at->len == len && !memcmp(at->text, name, len))
            return json_tree_after(at);
    return NULL;
}

const struct json_tree_value *json_tree_member(const struct json_tree_value *v, const char *name)
{
    return tree_find(v, name, strlen(name));
}

const struct json_tree_value *json_tree_path(const struct json_tree_value *v, const char *path)
{
    for (const char *dot; v && (dot = strchr(path, '.')); path = dot + 1)
        v = tree_find(v, path, (size_t)(dot - path));
    return json_tree_member(v, path);
}

const struct json_tree_value *json_tree_item(const struct json_tree_value *v, size_t i)
{
    if (!json_tree_is(v, JSON_TREE_ARRAY) || i >= v->n_items)
        return NULL;
    const struct json_tree_value *item = json_tree_first(v);
    while (i--)
        item = json_tree_after(item);
    return item;
}

bool json_tree_is(const struct json_tree_value *v, enum json_tree_kind kind)
{
    return v && v->kind == kind;
}

bool json_tree_equals(const struct json_tree_value *v, const char *string)
{
    size_t len = strlen(string);
    return json_tree_is(v, JSON_TREE_STRING) && v->len == len && !memcmp(v->text, string, len);
}

bool json_tree_uint(const struct json_tree_value *v, uint64_t *out)
{
    return json_tree_is(v, JSON_TREE_NUMBER) && json_read_uint(v->text, v->len, out);
}

bool json_tree_int(const struct json_tree_value *v, int64_t *out)
{
    return json_tree_is(v, JSON_TREE_NUMBER) && json_read_int(v->text, v->len, out);
}

bool json_tree_double(const struct json_tree_value *v, double *out)
{
    if (!json_tree_is(v, JSON_TREE_NUMBER))
        return false;
    *out = json_read_double(v->text, v->len);
    return true;
}
