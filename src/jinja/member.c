/* What is inside a value: attributes, items, slices, and calls of what can be called. The order of
 * search is jinja2's: a dot asks for a method first and for a key second, a bracket the other way.
 * The sandbox's rule holds: nothing with an underscore in front. */
#include "jinja/state.h"
#include "jinja/char.h"

const struct jinja_function *jinja_function_find(const struct jinja_function *table,
                                                 const char *name, size_t n)
{
    for (; table->name; table++)
        if (strlen(table->name) == n && memcmp(table->name, name, n) == 0)
            return table;
    return NULL;
}

bool jinja_method_value(struct jinja *j, const struct jinja_value *self,
                        const struct jinja_function *function, struct jinja_value *out)
{
    struct jinja_method *method = jinja_alloc(j, 1, sizeof *method);
    if (!method)
        return false;
    *method = (struct jinja_method){*self, function};
    *out = (struct jinja_value){.type = JINJA_METHOD, .method = method};
    return true;
}

static const struct jinja_function *method_of(const struct jinja_value *v, const char *name,
                                              size_t n)
{
    if (jinja_is(v, JINJA_STRING))
        return jinja_string_method(name, n);
    return jinja_container_method((enum jinja_type)v->type, name, n);
}

/* Attributes of objects that are no dictionary: found, or false with `out` undefined. */
static bool object_member(struct jinja *j, const struct jinja_value *v, const char *name, size_t n,
                          struct jinja_value *out)
{
    struct jinja_value key = jinja_own(name, n), *found = NULL;
    *out = jinja_undefined_member((enum jinja_type)v->type, name, (uint32_t)n);
    switch (v->type) {
    case JINJA_NAMESPACE:
        found = jinja_dict_find(v->dict, &key);
        break;
    case JINJA_LOOP:
        return jinja_loop_member(j, v->loop, v, name, n, out);
    case JINJA_MACRO:
        return jinja_macro_member(j, v->macro, name, n, out);
    case JINJA_TUPLE: /* of groupby: (grouper, list) */
        if (v->kind && jinja_is_text(&key, "grouper"))
            found = &v->list->items[0];
        else if (v->kind && jinja_is_text(&key, "list"))
            found = &v->list->items[1];
        break;
    case JINJA_CYCLER:
        if (jinja_is_text(&key, "current"))
            found = &v->cycler->items->items[v->cycler->at];
        break;
    default:
        break;
    }
    if (found)
        *out = *found;
    return true;
}

bool jinja_attribute(struct jinja *j, const struct jinja_value *v, const char *name, size_t n,
                     struct jinja_value *out)
{
    if (jinja_is(v, JINJA_UNDEFINED))
        return jinja_fail_undefined(j, v);
    if (!jinja_charge_bytes(j, n))
        return false;
    const struct jinja_function *method = method_of(v, name, n);
    if (method)
        return jinja_method_value(j, v, method, out);
    if (!jinja_is(v, JINJA_DICT))
        return object_member(j, v, name, n, out);
    struct jinja_value key = jinja_own(name, n);
    const struct jinja_value *found = jinja_dict_find(v->dict, &key);
    *out = found ? *found : jinja_undefined_member(JINJA_DICT, name, (uint32_t)n);
    return true;
}

/* Places count from the end when negative. */
static bool place_of(int64_t index, size_t n, size_t *out)
{
    if (index < 0)
        index += (int64_t)n;
    *out = (size_t)index;
    return index >= 0 && index < (int64_t)n;
}

static bool string_item(struct jinja *j, const struct jinja_value *v, int64_t index,
                        struct jinja_value *out)
{
    size_t at, n = jinja_char_count(v->text, v->n);
    if (place_of(index, n, &at)) {
        size_t start = jinja_char_offset(v->text, v->n, at);
        uint32_t point;
        *out = jinja_part(v, start, jinja_char_decode(v->text + start, v->n - start, &point));
    } else {
        *out = jinja_undefined_element(JINJA_STRING);
    }
    return jinja_charge_bytes(j, v->n);
}

static bool indexed_item(struct jinja *j, const struct jinja_value *v, int64_t index,
                         struct jinja_value *out)
{
    size_t at;
    *out = jinja_undefined_element((enum jinja_type)v->type);
    switch (v->type) {
    case JINJA_STRING:
        return string_item(j, v, index, out);
    case JINJA_LIST:
    case JINJA_TUPLE:
        if (place_of(index, v->list->n, &at))
            *out = v->list->items[at];
        return true;
    case JINJA_RANGE:
        if (place_of(index, (size_t)jinja_range_length(v->range), &at))
            *out = jinja_int(v->range->start + (int64_t)at * v->range->step);
        return true;
    default:
        return true;
    }
}

bool jinja_item(struct jinja *j, const struct jinja_value *v, const struct jinja_value *key,
                struct jinja_value *out)
{
    if (jinja_is(v, JINJA_UNDEFINED))
        return jinja_fail_undefined(j, v);
    if (jinja_is(v, JINJA_DICT) && jinja_hashable(key)) {
        if (!jinja_charge_key(j, key))
            return false;
        const struct jinja_value *found = jinja_dict_find(v->dict, key);
        if (found) {
            *out = *found;
            return true;
        }
    }
    if (jinja_is(key, JINJA_STRING))
        return jinja_attribute(j, v, key->text, key->n, out);
    if (jinja_is_integral(key) && !jinja_is(v, JINJA_DICT))
        return indexed_item(j, v, jinja_integer(key), out);
    *out = jinja_undefined_element((enum jinja_type)v->type);
    return true;
}

/* Python's rules for start:stop:step over n places: the first place, the step, and how many. */
static bool slice_places(struct jinja *j, const struct jinja_value *start,
                         const struct jinja_value *stop, const struct jinja_value *step, size_t n,
                         struct jinja_range *out)
{
    int64_t length = (int64_t)n, by = jinja_is(step, JINJA_NONE) ? 1 : jinja_integer(step);
    if (by == 0)
        return jinja_fail(j, "the step of a slice is zero");
    if (by < -INT64_MAX / 2)
        by = -INT64_MAX / 2;
    int64_t low = by < 0 ? -1 : 0, high = by < 0 ? length - 1 : length;
    int64_t ends[2] = {by < 0 ? high : low, by < 0 ? low : high};
    const struct jinja_value *given[2] = {start, stop};
    for (int i = 0; i < 2; i++) {
        if (jinja_is(given[i], JINJA_NONE))
            continue;
        int64_t at = jinja_integer(given[i]);
        if (at < 0)
            at = at < -length ? low : at + length;
        ends[i] = at < low ? low : at > high ? high : at;
    }
    if (by > length + 1)
        by = length + 1; /* no further than one place, and no overflow */
    if (by < -length - 1)
        by = -length - 1;
    *out = (struct jinja_range){ends[0], ends[1], by};
    return true;
}

static bool slice_string(struct jinja *j, const struct jinja_value *v, const struct jinja_range *r,
                         struct jinja_value *out)
{
    int64_t n = jinja_range_length(r);
    size_t start = n ? jinja_char_offset(v->text, v->n, (size_t)r->start) : 0;
    if (n == 0 || r->step == 1) {
        size_t length = jinja_char_offset(v->text + start, v->n - start, (size_t)n);
        *out = jinja_part(v, start, length);
        return true;
    }
    const struct jinja_value *characters;
    struct jinja_text text;
    size_t n_characters;
    if (!jinja_items(j, v, &characters, &n_characters))
        return false;
    jinja_scratch(j, &text);
    for (int64_t i = 0; i < n; i++)
        jinja_text_value(&text, &characters[r->start + i * r->step]);
    return jinja_take(j, &text, out);
}

static bool slice_list(struct jinja *j, const struct jinja_value *v, const struct jinja_range *r,
                       struct jinja_value *out)
{
    struct jinja_list *list;
    size_t n = (size_t)jinja_range_length(r);
    if (r->step == 1 || n == 0) { /* no item is ever written over: share them */
        if (!jinja_new_list(j, 0, &list))
            return false;
        list->items = n ? v->list->items + r->start : NULL;
        list->n = list->cap = n;
    } else {
        if (!jinja_new_list(j, n, &list))
            return false;
        for (; list->n < n; list->n++)
            list->items[list->n] = v->list->items[r->start + (int64_t)list->n * r->step];
    }
    *out = jinja_of_list((enum jinja_type)v->type, list);
    return jinja_charge(j, 1 + n / 8);
}

static bool slice_range(struct jinja *j, const struct jinja_value *v, const struct jinja_range *r,
                        struct jinja_value *out)
{
    struct jinja_range *range = jinja_alloc(j, 1, sizeof *range);
    if (!range)
        return false;
    const struct jinja_range *whole = v->range;
    *range = (struct jinja_range){whole->start + r->start * whole->step,
                                  whole->start + r->stop * whole->step, whole->step * r->step};
    *out = (struct jinja_value){.type = JINJA_RANGE, .range = range};
    return true;
}

static bool slice_bound(const struct jinja_value *v)
{
    return jinja_is(v, JINJA_NONE) || jinja_is_integral(v);
}

bool jinja_slice(struct jinja *j, const struct jinja_value *v, const struct jinja_value *start,
                 const struct jinja_value *stop, const struct jinja_value *step,
                 struct jinja_value *out)
{
    struct jinja_range places;
    size_t n;
    if (jinja_is(v, JINJA_UNDEFINED))
        return jinja_fail_undefined(j, v);
    bool sliceable = jinja_is(v, JINJA_STRING) || jinja_is(v, JINJA_LIST) ||
                     jinja_is(v, JINJA_TUPLE) || jinja_is(v, JINJA_RANGE);
    if (!sliceable)
        return jinja_fail(j, "a value of type '%s' has no slices", jinja_type_name(v));
    if (!slice_bound(start) || !slice_bound(stop) || !slice_bound(step))
        return jinja_fail(j, "the bounds of a slice must be integers");
    if (!jinja_length(j, v, &n) || !slice_places(j, start, stop, step, n, &places))
        return false;
    if (jinja_is(v, JINJA_STRING)) {
        struct jinja_value from = *v;
        bool ok = slice_string(j, v, &places, out);
        *out = jinja_markup_like(*out, &from);
        return ok;
    }
    return jinja_is(v, JINJA_RANGE) ? slice_range(j, v, &places, out)
                                    : slice_list(j, v, &places, out);
}

static bool call_joiner(struct jinja_cycler *joiner, struct jinja_value *out)
{
    *out = joiner->at ? joiner->items->items[0] : jinja_own("", 0);
    joiner->at = 1;
    return true;
}

bool jinja_call(struct jinja *j, const struct jinja_value *callee, const struct jinja_args *args,
                struct jinja_value *out)
{
    switch (callee->type) {
    case JINJA_UNDEFINED:
        return jinja_fail_undefined(j, callee);
    case JINJA_FUNCTION:
        return callee->function->call(j, callee, args, out);
    case JINJA_METHOD:
        return callee->method->function->call(j, &callee->method->self, args, out);
    case JINJA_MACRO:
        return jinja_macro_call(j, callee->macro, args, out);
    case JINJA_LOOP:
        return jinja_loop_call(j, callee->loop, args, out);
    case JINJA_JOINER:
        return call_joiner(callee->cycler, out);
    default:
        return jinja_fail(j, "'%s' can't be called", jinja_type_name(callee));
    }
}
