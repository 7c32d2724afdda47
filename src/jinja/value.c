/* Python's rules for values: containers, truth, equality, order, length, iteration. Knows no
 * syntax. */
#include "jinja/value.h"

#include "jinja/state.h"
#include "jinja/char.h"

#include <math.h>

enum { DICT_SEARCHED = 8 /* so many pairs are found by looking through them */ };

const char *jinja_type_name_of(enum jinja_type type)
{
    static const char *const names[] = {
        [JINJA_ABSENT] = "nothing",
        [JINJA_UNDEFINED] = "Undefined",
        [JINJA_NONE] = "None",
        [JINJA_BOOL] = "bool",
        [JINJA_INT] = "int",
        [JINJA_FLOAT] = "float",
        [JINJA_STRING] = "str",
        [JINJA_LIST] = "list",
        [JINJA_TUPLE] = "tuple",
        [JINJA_DICT] = "dict",
        [JINJA_VIEW] = "dict view",
        [JINJA_RANGE] = "range",
        [JINJA_ITERATOR] = "generator",
        [JINJA_NAMESPACE] = "Namespace",
        [JINJA_MACRO] = "Macro",
        [JINJA_LOOP] = "LoopContext",
        [JINJA_FUNCTION] = "function",
        [JINJA_METHOD] = "method",
        [JINJA_CYCLER] = "Cycler",
        [JINJA_JOINER] = "Joiner",
    };
    return names[type];
}

const char *jinja_type_name(const struct jinja_value *v)
{
    return jinja_type_name_of(jinja_is_large(v) ? JINJA_INT : (enum jinja_type)v->type);
}

struct jinja_list *jinja_list_create(struct arena *a, size_t capacity)
{
    struct jinja_list *list = arena_alloc(a, sizeof *list);
    if (!list)
        return NULL;
    list->items = capacity ? arena_array(a, capacity, sizeof *list->items) : NULL;
    if (capacity && !list->items)
        return NULL;
    list->cap = capacity;
    return list;
}

bool jinja_list_push(struct arena *a, struct jinja_list *list, struct jinja_value v)
{
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 4;
        struct jinja_value *items = arena_array(a, cap, sizeof *items);
        if (!items)
            return false;
        if (list->n)
            memcpy(items, list->items, list->n * sizeof *items);
        list->items = items;
        list->cap = cap;
    }
    list->items[list->n++] = v;
    return true;
}

struct jinja_dict *jinja_dict_create(struct arena *a, size_t capacity)
{
    struct jinja_dict *d = arena_alloc(a, sizeof *d);
    if (!d)
        return NULL;
    d->pairs = capacity ? arena_array(a, capacity, sizeof *d->pairs) : NULL;
    if (capacity && !d->pairs)
        return NULL;
    d->cap = capacity;
    return d;
}

bool jinja_hashable(const struct jinja_value *v)
{
    switch (v->type) {
    case JINJA_NONE:
    case JINJA_BOOL:
    case JINJA_INT:
    case JINJA_FLOAT:
    case JINJA_STRING:
        return true;
    case JINJA_TUPLE:
        for (size_t i = 0; i < v->list->n; i++)
            if (jinja_is(&v->list->items[i], JINJA_TUPLE) || !jinja_hashable(&v->list->items[i]))
                return false; /* a tuple inside a tuple as a key: nobody needs it, and it bounds us
                               */
        return true;
    default:
        return false;
    }
}

static uint64_t hash_bytes(const void *bytes, size_t n, uint64_t h)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < n; i++)
        h = (h ^ at[i]) * 0x100000001B3u;
    return h;
}

/* FNV-1a, begun where the program happens to be loaded, so that nobody can prepare keys that
 * collide. 1, 1.0 and true are one key. The order of a dictionary does not depend on it. */
static uint64_t hash_value(const struct jinja_value *v)
{
    static const char here;
    uint64_t h = 0xCBF29CE484222325u ^ ((uint64_t)(uintptr_t)&here >> 4) * 0x9E3779B97F4A7C15u;
    if (jinja_is(v, JINJA_STRING))
        return hash_bytes(v->text, v->n, h);
    if (jinja_is_number(v)) {
        double d = jinja_real(v) + 0.0;
        return hash_bytes(&d, sizeof d, h) + 1;
    }
    if (jinja_is(v, JINJA_TUPLE))
        for (size_t i = 0; i < v->list->n; i++)
            h = (h + hash_value(&v->list->items[i])) * 0x100000001B3u;
    return h + v->type;
}

/* Equality of numbers without losing the low bits of large integers. */
static bool numbers_equal(const struct jinja_value *a, const struct jinja_value *b)
{
    if (jinja_is_integral(a) && jinja_is_integral(b))
        return jinja_integer(a) == jinja_integer(b);
    if (jinja_is_large(a) && jinja_is_large(b))
        return a->n == b->n && memcmp(a->written, b->written, a->n) == 0;
    return jinja_real(a) == jinja_real(b);
}

static bool keys_equal(const struct jinja_value *a, const struct jinja_value *b)
{
    if (jinja_is(a, JINJA_STRING))
        return jinja_is(b, JINJA_STRING) && a->n == b->n && memcmp(a->text, b->text, a->n) == 0;
    if (jinja_is_number(a))
        return jinja_is_number(b) && numbers_equal(a, b);
    if (a->type != b->type)
        return false;
    if (jinja_is(a, JINJA_TUPLE)) {
        if (a->list->n != b->list->n)
            return false;
        for (size_t i = 0; i < a->list->n; i++)
            if (!keys_equal(&a->list->items[i], &b->list->items[i]))
                return false;
    }
    return true;
}

static size_t index_of(const struct jinja_dict *d, uint64_t hash)
{
    return (hash ^ hash >> 32) & (d->n_index - 1);
}

static void index_put(struct jinja_dict *d, size_t place)
{
    size_t at = index_of(d, d->pairs[place].hash);
    while (d->index[at])
        at = (at + 1) & (d->n_index - 1);
    d->index[at] = (uint32_t)place + 1;
}

static bool index_build(struct arena *a, struct jinja_dict *d)
{
    size_t n = 32;
    while (n < d->cap * 2)
        n *= 2;
    uint32_t *index = arena_array(a, n, sizeof *index);
    if (!index)
        return false;
    d->index = index;
    d->n_index = n;
    for (size_t i = 0; i < d->n; i++)
        index_put(d, i);
    return true;
}

static struct jinja_pair *find_pair(const struct jinja_dict *d, const struct jinja_value *key,
                                    uint64_t hash)
{
    if (!d->index) {
        for (size_t i = 0; i < d->n; i++)
            if (d->pairs[i].hash == hash && keys_equal(&d->pairs[i].key, key))
                return &d->pairs[i];
        return NULL;
    }
    for (size_t at = index_of(d, hash); d->index[at]; at = (at + 1) & (d->n_index - 1)) {
        struct jinja_pair *pair = &d->pairs[d->index[at] - 1];
        if (pair->hash == hash && keys_equal(&pair->key, key))
            return pair;
    }
    return NULL;
}

struct jinja_value *jinja_dict_find(const struct jinja_dict *d, const struct jinja_value *key)
{
    struct jinja_pair *pair = find_pair(d, key, hash_value(key));
    return pair ? &pair->value : NULL;
}

static bool dict_grow(struct arena *a, struct jinja_dict *d)
{
    size_t cap = d->cap ? d->cap * 2 : 4;
    struct jinja_pair *pairs = arena_array(a, cap, sizeof *pairs);
    if (!pairs)
        return false;
    if (d->n)
        memcpy(pairs, d->pairs, d->n * sizeof *pairs);
    d->pairs = pairs;
    d->cap = cap;
    return cap <= DICT_SEARCHED || index_build(a, d);
}

bool jinja_dict_set(struct arena *a, struct jinja_dict *d, struct jinja_value key,
                    struct jinja_value value)
{
    uint64_t hash = hash_value(&key);
    struct jinja_pair *pair = find_pair(d, &key, hash);
    if (pair) {
        pair->value = value;
        return true;
    }
    if (d->n == d->cap && !dict_grow(a, d))
        return false;
    if (!d->index && d->cap > DICT_SEARCHED && !index_build(a, d))
        return false;
    d->pairs[d->n] = (struct jinja_pair){key, value, hash};
    d->n++;
    if (d->index)
        index_put(d, d->n - 1);
    return true;
}

bool jinja_dict_remove(struct jinja_dict *d, const struct jinja_value *key)
{
    struct jinja_pair *pair = find_pair(d, key, hash_value(key));
    if (!pair)
        return false;
    const size_t at = (size_t)(pair - d->pairs);
    memmove(pair, pair + 1, (--d->n - at) * sizeof *pair);
    if (d->index)
        memset(d->index, 0, d->n_index * sizeof *d->index);
    for (size_t i = 0; d->index && i < d->n; i++)
        index_put(d, i);
    return true;
}

int64_t jinja_range_length(const struct jinja_range *r)
{
    if (r->step > 0)
        return r->stop > r->start ? (r->stop - r->start - 1) / r->step + 1 : 0;
    return r->start > r->stop ? (r->start - r->stop - 1) / -r->step + 1 : 0;
}

bool jinja_truth(const struct jinja_value *v)
{
    switch (v->type) {
    case JINJA_ABSENT:
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        return false;
    case JINJA_BOOL:
        return v->boolean;
    case JINJA_INT:
        return v->integer != 0;
    case JINJA_FLOAT:
        return v->real != 0;
    case JINJA_STRING:
        return v->n > 0;
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_VIEW:
        return v->list->n > 0;
    case JINJA_DICT:
        return v->dict->n > 0;
    case JINJA_RANGE:
        return jinja_range_length(v->range) > 0;
    default:
        return true; /* also a used-up generator, as in Python */
    }
}

static bool lists_equal(struct jinja *j, const struct jinja_list *a, const struct jinja_list *b,
                        bool *eq)
{
    *eq = a->n == b->n;
    for (size_t i = 0; *eq && i < a->n; i++)
        if (!jinja_equal(j, &a->items[i], &b->items[i], eq))
            return false;
    return true;
}

static bool dicts_equal(struct jinja *j, const struct jinja_dict *a, const struct jinja_dict *b,
                        bool *eq)
{
    *eq = a->n == b->n;
    for (size_t i = 0; *eq && i < a->n; i++) {
        const struct jinja_value *other = jinja_dict_find(b, &a->pairs[i].key);
        *eq = other != NULL;
        if (other && !jinja_equal(j, &a->pairs[i].value, other, eq))
            return false;
    }
    return true;
}

static bool ranges_equal(const struct jinja_range *a, const struct jinja_range *b)
{
    int64_t n = jinja_range_length(a);
    return n == jinja_range_length(b) &&
           (n == 0 || (a->start == b->start && (n == 1 || a->step == b->step)));
}

static bool same_type_equal(struct jinja *j, const struct jinja_value *a,
                            const struct jinja_value *b, bool *eq)
{
    switch (a->type) {
    case JINJA_ABSENT:
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        *eq = true;
        return true;
    case JINJA_STRING:
        *eq = a->n == b->n && memcmp(a->text, b->text, a->n) == 0;
        return jinja_charge_bytes(j, a->n);
    case JINJA_LIST:
    case JINJA_TUPLE:
        return lists_equal(j, a->list, b->list, eq);
    case JINJA_DICT:
        return dicts_equal(j, a->dict, b->dict, eq);
    case JINJA_RANGE:
        *eq = ranges_equal(a->range, b->range);
        return true;
    case JINJA_VIEW:
        *eq = false;
        if (a->kind == b->kind && a->kind != JINJA_VIEW_VALUES)
            return lists_equal(j, a->list, b->list, eq);
        return true;
    default:
        *eq = a->list == b->list; /* the same object */
        return true;
    }
}

bool jinja_equal(struct jinja *j, const struct jinja_value *a, const struct jinja_value *b,
                 bool *eq)
{
    *eq = false;
    if (jinja_is_number(a) && jinja_is_number(b)) {
        *eq = numbers_equal(a, b);
        return true;
    }
    if (a->type != b->type)
        return true;
    bool ok = jinja_enter(j) && same_type_equal(j, a, b, eq);
    jinja_leave(j);
    return ok;
}

static int order_of_strings(const struct jinja_value *a, const struct jinja_value *b)
{
    /* The order of UTF-8 bytes is the order of code points. */
    uint32_t n = a->n < b->n ? a->n : b->n;
    int order = n ? memcmp(a->text, b->text, n) : 0;
    return order ? order : (a->n > b->n) - (a->n < b->n);
}

static bool compare_lists(struct jinja *j, const struct jinja_list *a, const struct jinja_list *b,
                          int *order)
{
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        bool eq;
        if (!jinja_equal(j, &a->items[i], &b->items[i], &eq))
            return false;
        if (!eq)
            return jinja_compare(j, &a->items[i], &b->items[i], order);
    }
    *order = (a->n > b->n) - (a->n < b->n);
    return true;
}

bool jinja_compare(struct jinja *j, const struct jinja_value *a, const struct jinja_value *b,
                   int *order)
{
    if (jinja_is(a, JINJA_UNDEFINED))
        return jinja_fail_undefined(j, a);
    if (jinja_is(b, JINJA_UNDEFINED))
        return jinja_fail_undefined(j, b);
    if (jinja_is_integral(a) && jinja_is_integral(b)) {
        int64_t x = jinja_integer(a), y = jinja_integer(b);
        *order = (x > y) - (x < y);
        return true;
    }
    if (jinja_is_number(a) && jinja_is_number(b)) {
        double x = jinja_real(a), y = jinja_real(b);
        *order = isnan(x) || isnan(y) ? JINJA_UNORDERED : (x > y) - (x < y);
        return true;
    }
    if (jinja_is(a, JINJA_STRING) && jinja_is(b, JINJA_STRING)) {
        *order = order_of_strings(a, b);
        return jinja_charge(j, 1 + (a->n < b->n ? a->n : b->n) / 64);
    }
    if (a->type == b->type && (jinja_is(a, JINJA_LIST) || jinja_is(a, JINJA_TUPLE))) {
        bool ok = jinja_enter(j) && compare_lists(j, a->list, b->list, order);
        jinja_leave(j);
        return ok;
    }
    return jinja_fail(j, "'%s' and '%s' have no order", jinja_type_name(a), jinja_type_name(b));
}

bool jinja_length(struct jinja *j, const struct jinja_value *v, size_t *n)
{
    switch (v->type) {
    case JINJA_UNDEFINED:
        *n = 0;
        return true;
    case JINJA_STRING:
        *n = jinja_char_count(v->text, v->n);
        return jinja_charge_bytes(j, v->n);
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_VIEW:
        *n = v->list->n;
        return true;
    case JINJA_DICT:
        *n = v->dict->n;
        return true;
    case JINJA_RANGE:
        *n = (size_t)jinja_range_length(v->range);
        return true;
    case JINJA_LOOP:
        return jinja_loop_length(j, v->loop, n);
    default:
        return jinja_fail(j, "a value of type '%s' has no length", jinja_type_name(v));
    }
}

bool jinja_iterable(const struct jinja_value *v)
{
    switch (v->type) {
    case JINJA_UNDEFINED:
    case JINJA_STRING:
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_VIEW:
    case JINJA_DICT:
    case JINJA_RANGE:
    case JINJA_ITERATOR:
        return true;
    default:
        return false;
    }
}

static bool characters(struct jinja *j, const struct jinja_value *v, struct jinja_list *list)
{
    for (uint32_t i = 0; i < v->n;) {
        uint32_t point;
        size_t step = jinja_char_decode(v->text + i, v->n - i, &point);
        if (!jinja_push(j, list, jinja_part(v, i, step)))
            return false;
        i += (uint32_t)step;
    }
    return true;
}

static bool range_items(struct jinja *j, const struct jinja_range *r, struct jinja_list *list)
{
    int64_t n = jinja_range_length(r);
    for (int64_t i = 0; i < n; i++)
        if (!jinja_push(j, list, jinja_int(r->start + i * r->step)))
            return false;
    return true;
}

static bool build_items(struct jinja *j, const struct jinja_value *v, struct jinja_list *list)
{
    switch (v->type) {
    case JINJA_UNDEFINED:
        return true;
    case JINJA_STRING:
        return characters(j, v, list);
    case JINJA_RANGE:
        return range_items(j, v->range, list);
    case JINJA_DICT:
        for (size_t i = 0; i < v->dict->n; i++)
            if (!jinja_push(j, list, v->dict->pairs[i].key))
                return false;
        return true;
    default:
        return jinja_fail(j, "a value of type '%s' is not iterable", jinja_type_name(v));
    }
}

bool jinja_items(struct jinja *j, const struct jinja_value *v, const struct jinja_value **items,
                 size_t *n)
{
    struct jinja_list *list;
    if (jinja_is(v, JINJA_LIST) || jinja_is(v, JINJA_TUPLE) || jinja_is(v, JINJA_VIEW)) {
        *items = v->list->items;
        *n = v->list->n;
        return jinja_charge(j, 1);
    }
    if (jinja_is(v, JINJA_ITERATOR)) {
        struct jinja_iterator *it = v->iterator;
        *n = it->list->n - it->at;
        *items = *n ? it->list->items + it->at : NULL;
        it->at = it->list->n;
        return jinja_charge(j, 1);
    }
    if (!jinja_new_list(j, 0, &list) || !build_items(j, v, list))
        return false;
    *items = list->items;
    *n = list->n;
    return jinja_charge(j, 1 + list->n);
}
