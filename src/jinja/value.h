/* The values a template computes with, and Python's rules for them: truth, equality, order, text.
 * Strings are slices of memory that lives as long as the render (its arena, the template, the JSON
 * of the context), containers live in the arena. */
#ifndef PENSIEVE_JINJA_VALUE_H
#define PENSIEVE_JINJA_VALUE_H

#include "base/arena.h"
#include "jinja/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct jinja; /* one render: state.h */

enum jinja_type {
    JINJA_ABSENT, /* no value at all: an argument that was not given */
    JINJA_UNDEFINED,
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_STRING,
    JINJA_LIST,
    JINJA_TUPLE,
    JINJA_DICT,
    JINJA_VIEW, /* dict.keys(), .values(), .items(): the items are in `list` */
    JINJA_RANGE,
    JINJA_ITERATOR, /* what Python's generators are: used up by reading */
    JINJA_NAMESPACE,
    JINJA_MACRO,
    JINJA_LOOP,
    JINJA_FUNCTION, /* a global such as range */
    JINJA_METHOD,   /* a method bound to its object */
    JINJA_CYCLER,
    JINJA_JOINER,
};

/* Why a value is undefined, for the error message of its use. */
enum jinja_undefined_kind {
    JINJA_UNDEFINED_NAME,    /* text: the variable */
    JINJA_UNDEFINED_MEMBER,  /* text: the attribute or key; aux: enum jinja_type of the object */
    JINJA_UNDEFINED_ELEMENT, /* aux: enum jinja_type of the object */
    JINJA_UNDEFINED_HINT,    /* text: the sentence */
};

enum jinja_view_kind { JINJA_VIEW_KEYS, JINJA_VIEW_VALUES, JINJA_VIEW_ITEMS };

struct jinja_value {
    uint8_t type; /* enum jinja_type */
    uint8_t kind; /* of undefined, a view, a grouped tuple; 1: a string that is `safe` markup */
    uint16_t aux;
    uint32_t n; /* bytes of text, or of a number as it was written */
    union {
        bool boolean;
        int64_t integer;
        double real;
        const char *text; /* [n], not terminated */
        struct jinja_list *list;
        struct jinja_dict *dict; /* also a namespace's members */
        struct jinja_range *range;
        struct jinja_iterator *iterator;
        struct jinja_macro *macro;
        struct jinja_loop *loop;
        const struct jinja_function *function;
        struct jinja_method *method;
        struct jinja_cycler *cycler; /* and the joiner */
    };
    union {
        const uint8_t *marks; /* of a string: what of it is data (text.h) */
        const char *written;  /* [n] of a number: how it prints; NULL: as Python prints it */
    };
};

struct jinja_list {
    size_t n, cap;
    struct jinja_value *items; /* [cap] */
};

struct jinja_pair {
    struct jinja_value key, value;
    uint64_t hash;
};

/* In insertion order. Small dictionaries are searched, larger ones have an index. */
struct jinja_dict {
    size_t n, cap;
    struct jinja_pair *pairs; /* [cap] */
    uint32_t *index;          /* [n_index], place + 1 or 0; NULL while small */
    size_t n_index;           /* a power of two */
};

struct jinja_range {
    int64_t start, stop, step;
};

struct jinja_iterator {
    struct jinja_list *list;
    size_t at;
    const char *name; /* what Python calls it, for printing */
};

struct jinja_cycler {
    struct jinja_list *items; /* a joiner's separator is items[0] */
    size_t at;
};

/* Arguments of a call: positional, then named. */
struct jinja_named {
    struct jinja_value name; /* a string */
    struct jinja_value value;
};
struct jinja_args {
    const struct jinja_value *items;
    size_t n;
    const struct jinja_named *named;
    size_t n_named;
};

typedef bool jinja_call_fn(struct jinja *j, const struct jinja_value *self,
                           const struct jinja_args *args, struct jinja_value *out);
typedef bool jinja_test_fn(struct jinja *j, const struct jinja_value *self,
                           const struct jinja_args *args, bool *out);

struct jinja_function {
    const char *name;
    jinja_call_fn *call;
};
struct jinja_test {
    const char *name;
    jinja_test_fn *call;
};
struct jinja_method {
    struct jinja_value self;
    const struct jinja_function *function;
};

/* Constructors. */
static inline struct jinja_value jinja_undefined_hint(const char *sentence)
{
    return (struct jinja_value){.type = JINJA_UNDEFINED,
                                .kind = JINJA_UNDEFINED_HINT,
                                .n = (uint32_t)strlen(sentence),
                                .text = sentence};
}
static inline struct jinja_value jinja_undefined_member(enum jinja_type owner, const char *text,
                                                        uint32_t n)
{
    return (struct jinja_value){.type = JINJA_UNDEFINED,
                                .kind = JINJA_UNDEFINED_MEMBER,
                                .aux = (uint16_t)owner,
                                .n = n,
                                .text = text};
}
static inline struct jinja_value jinja_undefined_element(enum jinja_type owner)
{
    return (struct jinja_value){.type = JINJA_UNDEFINED,
                                .kind = JINJA_UNDEFINED_ELEMENT,
                                .aux = (uint16_t)owner,
                                .text = ""};
}
static inline struct jinja_value jinja_none(void)
{
    return (struct jinja_value){.type = JINJA_NONE};
}
static inline struct jinja_value jinja_bool(bool b)
{
    return (struct jinja_value){.type = JINJA_BOOL, .boolean = b};
}
static inline struct jinja_value jinja_int(int64_t i)
{
    return (struct jinja_value){.type = JINJA_INT, .integer = i};
}
static inline struct jinja_value jinja_float(double d)
{
    return (struct jinja_value){.type = JINJA_FLOAT, .real = d};
}
static inline struct jinja_value jinja_string(const char *text, size_t n, const uint8_t *marks)
{
    return (struct jinja_value){
        .type = JINJA_STRING, .n = (uint32_t)n, .text = text, .marks = marks};
}
/* Text of the template's own, and of the engine's. */
static inline struct jinja_value jinja_own(const char *text, size_t n)
{
    return jinja_string(text, n, JINJA_OWN);
}
static inline struct jinja_value jinja_literal(const char *text)
{
    return jinja_own(text, strlen(text));
}
/* n bytes of a string from `at` on: whose they are stays as it is. They are no markup. */
static inline struct jinja_value jinja_part(const struct jinja_value *s, size_t at, size_t n)
{
    return jinja_string(s->text + at, n, jinja_marks_at(s->marks, at));
}
/* The same text as markup (what `safe` and `escape` give) if `like` is: what is added to markup
 * gets escaped, even without autoescape, and some templates show it. */
static inline struct jinja_value jinja_markup_like(struct jinja_value text,
                                                   const struct jinja_value *like)
{
    text.kind = like->type == JINJA_STRING && like->kind;
    return text;
}
static inline struct jinja_value jinja_of_list(enum jinja_type type, struct jinja_list *list)
{
    return (struct jinja_value){.type = (uint8_t)type, .list = list};
}
static inline struct jinja_value jinja_of_dict(enum jinja_type type, struct jinja_dict *dict)
{
    return (struct jinja_value){.type = (uint8_t)type, .dict = dict};
}

static inline bool jinja_is(const struct jinja_value *v, enum jinja_type type)
{
    return v->type == type;
}
static inline bool jinja_is_text(const struct jinja_value *v, const char *text)
{
    return v->type == JINJA_STRING && v->n == strlen(text) && memcmp(v->text, text, v->n) == 0;
}
/* Integers and, as in Python, booleans. */
static inline bool jinja_is_integral(const struct jinja_value *v)
{
    return v->type == JINJA_INT || v->type == JINJA_BOOL;
}
static inline bool jinja_is_number(const struct jinja_value *v)
{
    return jinja_is_integral(v) || v->type == JINJA_FLOAT;
}
static inline int64_t jinja_integer(const struct jinja_value *v)
{
    return v->type == JINJA_BOOL ? v->boolean : v->integer;
}
/* A number as it was written that is an integer of more than 64 bits; `real` is near it. */
static inline bool jinja_is_large(const struct jinja_value *v)
{
    return v->type == JINJA_FLOAT && v->written && !memchr(v->written, '.', v->n) &&
           !memchr(v->written, 'e', v->n) && !memchr(v->written, 'E', v->n);
}
static inline double jinja_real(const struct jinja_value *v)
{
    return v->type == JINJA_FLOAT ? v->real : (double)jinja_integer(v);
}

/* Python's name of the type ("str", "dict", …). */
const char *jinja_type_name(const struct jinja_value *v);
const char *jinja_type_name_of(enum jinja_type type);

/* Containers in an arena; NULL or false is out of memory. */
struct jinja_list *jinja_list_create(struct arena *a, size_t capacity);
bool jinja_list_push(struct arena *a, struct jinja_list *list, struct jinja_value v);
struct jinja_dict *jinja_dict_create(struct arena *a, size_t capacity);
bool jinja_hashable(const struct jinja_value *v);
/* The place of a key's value, or NULL. Keys must be hashable. */
struct jinja_value *jinja_dict_find(const struct jinja_dict *d, const struct jinja_value *key);
bool jinja_dict_set(struct arena *a, struct jinja_dict *d, struct jinja_value key,
                    struct jinja_value value);
/* False: there is no such key. */
bool jinja_dict_remove(struct jinja_dict *d, const struct jinja_value *key);

int64_t jinja_range_length(const struct jinja_range *r);

bool jinja_truth(const struct jinja_value *v);
/* Equality (==) and order (<0, 0, >0; JINJA_UNORDERED with a NaN; an error where Python has none).
 * Deep structures are bounded. */
enum { JINJA_UNORDERED = 1 << 20 };
bool jinja_equal(struct jinja *j, const struct jinja_value *a, const struct jinja_value *b,
                 bool *eq);
bool jinja_compare(struct jinja *j, const struct jinja_value *a, const struct jinja_value *b,
                   int *order);
/* len(); an error for what has none. */
bool jinja_length(struct jinja *j, const struct jinja_value *v, size_t *n);
/* The items of anything iterable as an array; uses iterators up. An error for what can't be
 * iterated. */
bool jinja_items(struct jinja *j, const struct jinja_value *v, const struct jinja_value **items,
                 size_t *n);
bool jinja_iterable(const struct jinja_value *v);

/* str(): the value itself if it is a string, "" for undefined. */
bool jinja_to_string(struct jinja *j, const struct jinja_value *v, struct jinja_value *out);
/* A string, or a part of one, appended with its marks. */
static inline bool jinja_text_value(struct jinja_text *t, const struct jinja_value *s)
{
    return jinja_text_append(t, s->text, s->n, s->marks);
}
static inline bool jinja_text_part(struct jinja_text *t, const struct jinja_value *s, size_t at,
                                   size_t n)
{
    return jinja_text_append(t, s->text + at, n, jinja_marks_at(s->marks, at));
}
/* str() as above, and repr(), appended. */
bool jinja_write(struct jinja *j, const struct jinja_value *v, struct jinja_text *t);
bool jinja_write_repr(struct jinja *j, const struct jinja_value *v, struct jinja_text *t);

/* json.dumps(v, ensure_ascii, indent, separators, sort_keys). `indent` NULL: one line. */
struct jinja_json_style {
    bool ascii, sort_keys;
    const struct jinja_value *indent; /* a string, or NULL */
    struct jinja_value item_separator, key_separator;
};
bool jinja_write_json(struct jinja *j, const struct jinja_value *v,
                      const struct jinja_json_style *style, struct jinja_text *t);

#endif
