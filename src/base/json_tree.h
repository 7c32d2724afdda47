/* A JSON text as one table of its values, in the text's order: for files that are read here and
 * there, like a model's config.json. Strings without escapes stay in the text, which must outlive
 * the tree; a tree is not changed once it is made, so any thread may read it. Strict as json_read.h
 * is, and a name may stand only once in an object. Knows no meaning. */
#ifndef PENSIEVE_BASE_JSON_TREE_H
#define PENSIEVE_BASE_JSON_TREE_H

#include "base/arena.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum json_tree_kind {
    JSON_TREE_NULL,
    JSON_TREE_BOOL,
    JSON_TREE_NUMBER,
    JSON_TREE_STRING,
    JSON_TREE_ARRAY,
    JSON_TREE_OBJECT,
};

struct json_tree_value {
    const char *text; /* [len] of a string: UTF-8, not terminated, may have zeros; of a number: as
                         it is written */
    uint32_t len;
    uint32_t n_items;  /* of an array: values; of an object: members */
    uint32_t n_values; /* of the table that it takes: itself and all inside */
    uint8_t kind;      /* enum json_tree_kind */
    bool is_true;
};

struct json_tree {
    struct json_tree_value *values; /* [n_values]; the first is the whole text's */
    size_t n_values;
    struct arena strings; /* those that had escapes */
};

/* Reads a text into at most `max_values` values (a member's name is one, too). FORMAT with the
 * byte, TOO_LARGE, or NO_MEMORY. After a failure the tree is empty. */
bool json_tree_read(struct json_tree *t, const char *text, size_t len, size_t max_values,
                    struct error *err);
void json_tree_deinit(struct json_tree *t);

/* The items of an array in turn: the first, and the one after; so many as n_items says. The items
 * of an object are names and values in turns. */
static inline const struct json_tree_value *json_tree_first(const struct json_tree_value *v)
{
    return v + 1;
}
static inline const struct json_tree_value *json_tree_after(const struct json_tree_value *v)
{
    return v + v->n_values;
}

/* The value of that name in an object, or NULL; v may be NULL or no object. */
const struct json_tree_value *json_tree_member(const struct json_tree_value *v, const char *name);
/* The same over several objects: "rope_scaling.factor". */
const struct json_tree_value *json_tree_path(const struct json_tree_value *v, const char *path);
/* Item i of an array, or NULL. */
const struct json_tree_value *json_tree_item(const struct json_tree_value *v, size_t i);

bool json_tree_is(const struct json_tree_value *v, enum json_tree_kind kind); /* false for NULL */
bool json_tree_equals(const struct json_tree_value *v, const char *string);
/* Numbers; false for NULL, another kind, and what does not fit. */
bool json_tree_uint(const struct json_tree_value *v, uint64_t *out);
bool json_tree_int(const struct json_tree_value *v, int64_t *out);
bool json_tree_double(const struct json_tree_value *v, double *out);

#endif
