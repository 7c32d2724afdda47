/* The methods of lists, dictionaries and cyclers, those that change them too, as in Python:
 * jinja2's immutable sandbox forbids them, but templates of several models need append and pop.
 * What holds a list before a change holds the changed one afterwards; a loop goes on over the items
 * that it began with. */
#include "jinja/state.h"

#define METHOD(name)                                                                               \
    static bool name(struct jinja *j, const struct jinja_value *self,                              \
                     const struct jinja_args *args, struct jinja_value *out)

METHOD(dict_get)
{
    static const char *const names[] = {"key", "default"};
    struct jinja_value given[2];
    if (!jinja_bind(j, "get", args, names, 2, 1, given))
        return false;
    if (!jinja_hashable(&given[0]) && !jinja_is(&given[0], JINJA_UNDEFINED))
        return jinja_fail(j, "a value of type '%s' can't be a key", jinja_type_name(&given[0]));
    if (!jinja_charge_key(j, &given[0]))
        return false;
    const struct jinja_value *found = jinja_dict_find(self->dict, &given[0]);
    *out = found ? *found : jinja_is(&given[1], JINJA_ABSENT) ? jinja_none() : given[1];
    return true;
}

static bool dict_view(struct jinja *j, const struct jinja_value *self,
                      const struct jinja_args *args, enum jinja_view_kind kind,
                      struct jinja_value *out)
{
    struct jinja_list *list;
    if (!jinja_no_arguments(j, "a view", args) || !jinja_new_list(j, self->dict->n, &list))
        return false;
    for (; list->n < self->dict->n; list->n++) {
        const struct jinja_pair *pair = &self->dict->pairs[list->n];
        struct jinja_value *item = &list->items[list->n];
        if (kind != JINJA_VIEW_ITEMS)
            *item = kind == JINJA_VIEW_KEYS ? pair->key : pair->value;
        else if (!jinja_new_pair(j, pair->key, pair->value, item))
            return false;
    }
    *out = (struct jinja_value){.type = JINJA_VIEW, .kind = (uint8_t)kind, .list = list};
    return jinja_charge(j, 1 + list->n);
}
METHOD(dict_keys)
{
    return dict_view(j, self, args, JINJA_VIEW_KEYS, out);
}
METHOD(dict_values)
{
    return dict_view(j, self, args, JINJA_VIEW_VALUES, out);
}
METHOD(dict_items)
{
    return dict_view(j, self, args, JINJA_VIEW_ITEMS, out);
}

METHOD(dict_copy)
{
    struct jinja_dict *dict;
    if (!jinja_no_arguments(j, "copy", args) || !jinja_new_dict(j, self->dict->n, &dict))
        return false;
    for (size_t i = 0; i < self->dict->n; i++)
        if (!jinja_put(j, dict, self->dict->pairs[i].key, self->dict->pairs[i].value))
            return false;
    *out = jinja_of_dict(JINJA_DICT, dict);
    return jinja_charge(j, 1 + dict->n);
}

METHOD(dict_setdefault)
{
    static const char *const names[] = {"key", "default"};
    struct jinja_value given[2];
    if (!dict_get(j, self, args, out) || !jinja_bind(j, "setdefault", args, names, 2, 1, given))
        return false;
    if (jinja_hashable(&given[0]) && jinja_dict_find(self->dict, &given[0]))
        return true;
    return jinja_put(j, self->dict, given[0], *out);
}

METHOD(dict_pop)
{
    static const char *const names[] = {"key", "default"};
    struct jinja_value given[2];
    if (!dict_get(j, self, args, out) || !jinja_bind(j, "pop", args, names, 2, 1, given))
        return false;
    if (jinja_hashable(&given[0]) && jinja_dict_remove(self->dict, &given[0]))
        return jinja_charge(j, 1 + self->dict->n / 4);
    return !jinja_is(&given[1], JINJA_ABSENT) ||
           jinja_fail(j, "pop: there is no such key in the dictionary");
}

/* update(mapping or pairs, name=value, …), as dict() takes them. */
METHOD(dict_update)
{
    struct jinja_dict *more;
    *out = jinja_none();
    if (!jinja_build_dict(j, "update", args, &more))
        return false;
    for (size_t i = 0; i < more->n; i++)
        if (!jinja_put(j, self->dict, more->pairs[i].key, more->pairs[i].value))
            return false;
    return true;
}

METHOD(dict_clear)
{
    *self->dict = (struct jinja_dict){0};
    *out = jinja_none();
    return jinja_no_arguments(j, "clear", args);
}

static bool search_list(struct jinja *j, const struct jinja_value *self,
                        const struct jinja_value *what, int64_t *first, int64_t *count)
{
    *first = -1;
    *count = 0;
    for (size_t i = 0; i < self->list->n; i++) {
        bool eq;
        if (!jinja_charge(j, 1) || !jinja_equal(j, &self->list->items[i], what, &eq))
            return false;
        if (eq && *first < 0)
            *first = (int64_t)i;
        *count += eq;
    }
    return true;
}

METHOD(list_count)
{
    static const char *const names[] = {"value"};
    struct jinja_value what;
    int64_t first, count;
    if (!jinja_bind(j, "count", args, names, 1, 1, &what) ||
        !search_list(j, self, &what, &first, &count))
        return false;
    *out = jinja_int(count);
    return true;
}

METHOD(list_index)
{
    static const char *const names[] = {"value"};
    struct jinja_value what;
    int64_t first, count;
    if (!jinja_bind(j, "index", args, names, 1, 1, &what) ||
        !search_list(j, self, &what, &first, &count))
        return false;
    *out = jinja_int(first);
    return first >= 0 || jinja_fail(j, "the value is not in the list");
}

/* ---- lists that change ----
 * No item is written over: slices and loops may share the array. */

/* A new array without the n_out items at `at`, with room for n_in there. */
static bool list_open(struct jinja *j, struct jinja_list *list, size_t at, size_t n_out,
                      size_t n_in)
{
    const size_t n_behind = list->n - at - n_out, n = at + n_in + n_behind;
    struct jinja_value *items = jinja_alloc(j, n, sizeof *items);
    if (!items || !jinja_charge(j, 1 + n / 8))
        return false;
    if (at)
        memcpy(items, list->items, at * sizeof *items);
    if (n_behind)
        memcpy(items + at + n_in, list->items + at + n_out, n_behind * sizeof *items);
    list->items = items;
    list->n = list->cap = n;
    return true;
}

static bool list_remove_at(struct jinja *j, struct jinja_list *list, size_t at)
{
    if (at + 1 == list->n) {
        list->cap = --list->n;
    } else if (!at) {
        list->items++;
        list->n--;
        list->cap--;
    } else {
        return list_open(j, list, at, 1, 0);
    }
    return jinja_charge(j, 1);
}

METHOD(list_append)
{
    static const char *const names[] = {"object"};
    struct jinja_value item;
    *out = jinja_none();
    return jinja_bind(j, "append", args, names, 1, 1, &item) && jinja_charge(j, 1) &&
           jinja_push(j, self->list, item);
}

METHOD(list_extend)
{
    static const char *const names[] = {"iterable"};
    struct jinja_value more;
    const struct jinja_value *items;
    size_t n;
    *out = jinja_none();
    if (!jinja_bind(j, "extend", args, names, 1, 1, &more) || !jinja_items(j, &more, &items, &n) ||
        !jinja_charge(j, 1 + n / 4))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!jinja_push(j, self->list, items[i]))
            return false;
    return true;
}

METHOD(list_insert)
{
    static const char *const names[] = {"index", "object"};
    struct jinja_value given[2];
    struct jinja_list *list = self->list;
    int64_t at;
    *out = jinja_none();
    if (!jinja_bind(j, "insert", args, names, 2, 2, given) ||
        !jinja_want_int(j, "insert", &given[0], 0, &at))
        return false;
    if (at < 0)
        at = at + (int64_t)list->n < 0 ? 0 : at + (int64_t)list->n;
    if (at > (int64_t)list->n)
        at = (int64_t)list->n;
    if (!list_open(j, list, (size_t)at, 0, 1))
        return false;
    list->items[at] = given[1];
    return true;
}

METHOD(list_pop)
{
    static const char *const names[] = {"index"};
    struct jinja_value given;
    struct jinja_list *list = self->list;
    int64_t at;
    if (!jinja_bind(j, "pop", args, names, 1, 0, &given) ||
        !jinja_want_int(j, "pop", &given, -1, &at))
        return false;
    if (!list->n)
        return jinja_fail(j, "pop from empty list");
    if (at < 0)
        at += (int64_t)list->n;
    if (at < 0 || at >= (int64_t)list->n)
        return jinja_fail(j, "pop index out of range");
    *out = list->items[at];
    return list_remove_at(j, list, (size_t)at);
}

METHOD(list_remove)
{
    struct jinja_value at;
    if (!list_index(j, self, args, &at))
        return false;
    *out = jinja_none();
    return list_remove_at(j, self->list, (size_t)at.integer);
}

METHOD(list_reverse)
{
    struct jinja_list *list = self->list;
    *out = jinja_none();
    if (!jinja_no_arguments(j, "reverse", args) || !list_open(j, list, list->n, 0, 0))
        return false;
    for (size_t i = 0; i < list->n / 2; i++) {
        struct jinja_value moved = list->items[i];
        list->items[i] = list->items[list->n - 1 - i];
        list->items[list->n - 1 - i] = moved;
    }
    return true;
}

METHOD(list_clear)
{
    *self->list = (struct jinja_list){0};
    *out = jinja_none();
    return jinja_no_arguments(j, "clear", args);
}

METHOD(list_copy)
{
    *out = jinja_of_list(JINJA_LIST, NULL);
    if (!jinja_no_arguments(j, "copy", args) || !jinja_new_list(j, self->list->n, &out->list))
        return false;
    if (self->list->n)
        memcpy(out->list->items, self->list->items, self->list->n * sizeof *out->list->items);
    out->list->n = self->list->n;
    return jinja_charge(j, 1 + out->list->n / 8);
}

/* ---- cyclers ---- */

METHOD(cycler_next)
{
    struct jinja_cycler *cycler = self->cycler;
    *out = cycler->items->items[cycler->at];
    cycler->at = (cycler->at + 1) % cycler->items->n;
    return jinja_no_arguments(j, "next", args);
}

METHOD(cycler_reset)
{
    self->cycler->at = 0;
    *out = jinja_none();
    return jinja_no_arguments(j, "reset", args);
}

const struct jinja_function *jinja_container_method(enum jinja_type type, const char *name,
                                                    size_t n)
{
    static const struct jinja_function of_dict[] = {
        {"get", dict_get},     {"items", dict_items},
        {"keys", dict_keys},   {"values", dict_values},
        {"copy", dict_copy},   {"setdefault", dict_setdefault},
        {"pop", dict_pop},     {"update", dict_update},
        {"clear", dict_clear}, {NULL, NULL}};
    static const struct jinja_function of_list[] = {{"count", list_count},
                                                    {"index", list_index},
                                                    {"append", list_append},
                                                    {"extend", list_extend},
                                                    {"insert", list_insert},
                                                    {"pop", list_pop},
                                                    {"remove", list_remove},
                                                    {"reverse", list_reverse},
                                                    {"clear", list_clear},
                                                    {"copy", list_copy},
                                                    {NULL, NULL}};
    static const struct jinja_function of_tuple[] = {
        {"count", list_count}, {"index", list_index}, {NULL, NULL}};
    static const struct jinja_function of_cycler[] = {
        {"next", cycler_next}, {"reset", cycler_reset}, {NULL, NULL}};
    switch (type) {
    case JINJA_DICT:
        return jinja_function_find(of_dict, name, n);
    case JINJA_LIST:
        return jinja_function_find(of_list, name, n);
    case JINJA_TUPLE:
        return jinja_function_find(of_tuple, name, n);
    case JINJA_CYCLER:
        return jinja_function_find(of_cycler, name, n);
    default:
        return NULL;
    }
}
