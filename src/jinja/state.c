/* One render in progress: errors with their place, bounds, memory, arguments, JSON as values. */
#include "jinja/state.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool jinja_fail(struct jinja *j, const char *format, ...)
{
    char message[256];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return error_at(j->err, ERROR_FORMAT, j->at, "chat template: %s", message);
}

bool jinja_fail_memory(struct jinja *j)
{
    return error_at(j->err, ERROR_TOO_LARGE, j->at,
                    "chat template: rendering needs more memory than there is or than the "
                    "%zu MB it may take",
                    j->limits.max_bytes >> 20);
}

bool jinja_fail_undefined(struct jinja *j, const struct jinja_value *v)
{
    int n = v->n < 100 ? (int)v->n : 100;
    const char *owner = jinja_type_name_of((enum jinja_type)v->aux);
    switch (v->kind) {
    case JINJA_UNDEFINED_NAME:
        return jinja_fail(j, "'%.*s' is undefined", n, v->text);
    case JINJA_UNDEFINED_MEMBER:
        return jinja_fail(j, "'%s object' has no attribute '%.*s'", owner, n, v->text);
    case JINJA_UNDEFINED_ELEMENT:
        return jinja_fail(j, "'%s object' has no such element", owner);
    default:
        return jinja_fail(j, "%.*s", n, v->text);
    }
}

bool jinja_charge(struct jinja *j, uint64_t steps)
{
    if (steps > j->limits.max_steps || j->steps > j->limits.max_steps - steps) {
        j->steps = j->limits.max_steps;
        return error_at(j->err, ERROR_TOO_LARGE, j->at,
                        "chat template: rendering takes more than %llu steps",
                        (unsigned long long)j->limits.max_steps);
    }
    j->steps += steps;
    return true;
}

bool jinja_charge_key(struct jinja *j, const struct jinja_value *key)
{
    if (jinja_is(key, JINJA_STRING))
        return jinja_charge_bytes(j, key->n);
    for (size_t i = 0; jinja_is(key, JINJA_TUPLE) && i < key->list->n; i++)
        if (!jinja_charge(j, 1 + (jinja_is(&key->list->items[i], JINJA_STRING)
                                      ? key->list->items[i].n / 64
                                      : 0)))
            return false;
    return true;
}

bool jinja_enter(struct jinja *j)
{
    j->depth++;
    if (j->depth > j->limits.max_depth)
        return error_at(j->err, ERROR_TOO_LARGE, j->at,
                        "chat template: values, calls or expressions nest more than %u deep",
                        j->limits.max_depth);
    return jinja_charge(j, 1);
}

void *jinja_alloc(struct jinja *j, size_t n, size_t size)
{
    void *at = arena_array(&j->arena, n ? n : 1, size);
    if (!at)
        jinja_fail_memory(j);
    return at;
}

bool jinja_new_list(struct jinja *j, size_t capacity, struct jinja_list **list)
{
    *list = jinja_list_create(&j->arena, capacity);
    return *list || jinja_fail_memory(j);
}

bool jinja_push(struct jinja *j, struct jinja_list *list, struct jinja_value v)
{
    return jinja_list_push(&j->arena, list, v) || jinja_fail_memory(j);
}

bool jinja_new_dict(struct jinja *j, size_t capacity, struct jinja_dict **dict)
{
    *dict = jinja_dict_create(&j->arena, capacity);
    return *dict || jinja_fail_memory(j);
}

bool jinja_put(struct jinja *j, struct jinja_dict *dict, struct jinja_value key,
               struct jinja_value value)
{
    if (!jinja_hashable(&key))
        return jinja_fail(j, "a value of type '%s' can't be a key", jinja_type_name(&key));
    return jinja_charge_key(j, &key) &&
           (jinja_dict_set(&j->arena, dict, key, value) || jinja_fail_memory(j));
}

bool jinja_new_pair(struct jinja *j, struct jinja_value a, struct jinja_value b,
                    struct jinja_value *out)
{
    struct jinja_list *list;
    if (!jinja_new_list(j, 2, &list) || !jinja_push(j, list, a) || !jinja_push(j, list, b))
        return false;
    *out = jinja_of_list(JINJA_TUPLE, list);
    return true;
}

bool jinja_new_iterator(struct jinja *j, struct jinja_list *list, const char *name,
                        struct jinja_value *out)
{
    struct jinja_iterator *it = jinja_alloc(j, 1, sizeof *it);
    if (!it)
        return false;
    *it = (struct jinja_iterator){list, 0, name};
    *out = (struct jinja_value){.type = JINJA_ITERATOR, .iterator = it};
    return true;
}

void jinja_scratch(struct jinja *j, struct jinja_text *t)
{
    jinja_text_init(t, j->limits.max_bytes);
}

bool jinja_take(struct jinja *j, struct jinja_text *t, struct jinja_value *out)
{
    size_t n = t->bytes.len;
    bool ok = !jinja_text_failed(t) && n < UINT32_MAX;
    const uint8_t *marks = t->alike;
    char *copy = ok ? arena_copy(&j->arena, t->bytes.data ? t->bytes.data : "", n) : NULL;
    if (copy && t->mixed)
        marks = (uint8_t *)arena_copy(&j->arena, t->marks.data, n);
    ok = copy && (marks || !t->mixed);
    jinja_text_deinit(t);
    if (!ok)
        return jinja_fail_memory(j);
    *out = jinja_string(copy, n, marks);
    return jinja_charge_bytes(j, n);
}

static bool array_from_json(struct jinja *j, const json_t *json, struct jinja_value *out)
{
    struct jinja_list *list;
    size_t n = json_array_size(json);
    if (!jinja_new_list(j, n, &list))
        return false;
    for (; list->n < n; list->n++)
        if (!jinja_from_json(j, json_array_get(json, list->n), &list->items[list->n]))
            return false;
    *out = jinja_of_list(JINJA_LIST, list);
    return true;
}

static bool object_from_json(struct jinja *j, const json_t *json, struct jinja_value *out)
{
    struct jinja_dict *dict;
    json_t *object =
        (json_t *)(uintptr_t)json; /* jansson's iterators take no const, and change nothing */
    if (!jinja_new_dict(j, json_object_size(json), &dict))
        return false;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        struct jinja_value value;
        const char *key = json_object_iter_key(it);
        if (!jinja_from_json(j, json_object_iter_value(it), &value) ||
            !jinja_put(j, dict, jinja_string(key, strlen(key), JINJA_DATA), value))
            return false;
    }
    *out = jinja_of_dict(JINJA_DICT, dict);
    return true;
}

static const char *number_digits(const char *at)
{
    return at + strspn(at, "0123456789");
}

/* Is the text a number as JSON writes them? *whole: one without fraction and exponent. */
static bool is_json_number(const char *text, size_t n, bool *whole)
{
    const char *at = text + (*text == '-');
    const char *end = *at == '0' ? at + 1 : number_digits(at);
    bool ok = end > at;
    *whole = *end != '.' && *end != 'e' && *end != 'E';
    if (ok && *end == '.') {
        at = end + 1;
        end = number_digits(at);
        ok = end > at;
    }
    if (ok && (*end == 'e' || *end == 'E')) {
        at = end + 1;
        at += *at == '-' || *at == '+';
        end = number_digits(at);
        ok = end > at;
    }
    return ok && end == text + n;
}

/* One of more than 64 bits counts as a float. */
bool jinja_written_number(const char *text, size_t n, struct jinja_value *out)
{
    bool whole;
    if (!is_json_number(text, n, &whole))
        return false;
    errno = 0;
    long long integer = whole ? strtoll(text, NULL, 10) : 0;
    *out = whole && errno == 0 ? jinja_int(integer) : jinja_float(strtod(text, NULL));
    out->n = (uint32_t)n;
    out->written = text;
    return true;
}

static bool string_from_json(struct jinja *j, const json_t *json, struct jinja_value *out)
{
    const struct jinja_note *note = jinja_notes_find(j->notes, json);
    const char *text = json_string_value(json);
    size_t n = json_string_length(json);
    if (n >= UINT32_MAX)
        return jinja_fail_memory(j);
    if (note && note->is_number && jinja_written_number(text, n, out))
        return true;
    *out = jinja_string(text, n, note && !note->is_number ? note->marks : JINJA_DATA);
    return true;
}

bool jinja_from_json(struct jinja *j, const json_t *json, struct jinja_value *out)
{
    bool ok = jinja_enter(j);
    *out = jinja_none();
    switch (ok ? json_typeof(json) : JSON_NULL) {
    case JSON_NULL:
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = jinja_bool(json_is_true(json));
        break;
    case JSON_INTEGER:
        *out = jinja_int(json_integer_value(json));
        break;
    case JSON_REAL:
        *out = jinja_float(json_real_value(json));
        break;
    case JSON_STRING:
        ok = string_from_json(j, json, out);
        break;
    case JSON_ARRAY:
        ok = array_from_json(j, json, out);
        break;
    case JSON_OBJECT:
        ok = object_from_json(j, json, out);
        break;
    }
    jinja_leave(j);
    return ok;
}

static bool bind_named(struct jinja *j, const char *what, const struct jinja_named *named,
                       const char *const *names, size_t n, struct jinja_value *out)
{
    for (size_t i = 0; i < n; i++) {
        if (!jinja_is_text(&named->name, names[i]))
            continue;
        if (!jinja_is(&out[i], JINJA_ABSENT))
            return jinja_fail(j, "%s got '%s' twice", what, names[i]);
        out[i] = named->value;
        return true;
    }
    int shown = named->name.n < 60 ? (int)named->name.n : 60;
    return jinja_fail(j, "%s takes no argument '%.*s'", what, shown, named->name.text);
}

bool jinja_bind(struct jinja *j, const char *what, const struct jinja_args *args,
                const char *const *names, size_t n, size_t n_required, struct jinja_value *out)
{
    if (args->n > n)
        return jinja_fail(j, "%s takes at most %zu arguments, got %zu", what, n, args->n);
    for (size_t i = 0; i < n; i++)
        out[i] = i < args->n ? args->items[i] : (struct jinja_value){.type = JINJA_ABSENT};
    for (size_t i = 0; i < args->n_named; i++)
        if (!bind_named(j, what, &args->named[i], names, n, out))
            return false;
    for (size_t i = 0; i < n_required; i++)
        if (jinja_is(&out[i], JINJA_ABSENT))
            return jinja_fail(j, "%s needs the argument '%s'", what, names[i]);
    return true;
}

bool jinja_want_int(struct jinja *j, const char *what, const struct jinja_value *v, int64_t absent,
                    int64_t *out)
{
    *out = absent;
    if (jinja_is(v, JINJA_ABSENT))
        return true;
    if (jinja_is(v, JINJA_UNDEFINED))
        return jinja_fail_undefined(j, v);
    if (!jinja_is_integral(v))
        return jinja_fail(j, "%s needs an integer, got '%s'", what, jinja_type_name(v));
    *out = jinja_integer(v);
    return true;
}

bool jinja_want_string(struct jinja *j, const char *what, const struct jinja_value *v)
{
    if (jinja_is(v, JINJA_STRING))
        return true;
    if (jinja_is(v, JINJA_UNDEFINED))
        return jinja_fail_undefined(j, v);
    return jinja_fail(j, "%s needs a string, got '%s'", what, jinja_type_name(v));
}
