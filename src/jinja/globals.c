/* The functions every template can call: range, dict, namespace, cycler, joiner, and Hugging Face's
 * raise_exception and strftime_now. */
#include "jinja/state.h"

#include <time.h>

#define GLOBAL(name)                                                                               \
    static bool name(struct jinja *j, const struct jinja_value *self,                              \
                     const struct jinja_args *args, struct jinja_value *out)

enum { MAX_RANGE = 100000 /* the sandbox's limit */ };

GLOBAL(call_range)
{
    struct jinja_range *range = jinja_alloc(j, 1, sizeof *range);
    int64_t bounds[3] = {0, 0, 1};
    if (!range)
        return false;
    if (args->n < 1 || args->n > 3 || args->n_named)
        return jinja_fail(j, "range takes one to three integers");
    for (size_t i = 0; i < args->n; i++) {
        if (!jinja_want_int(j, "range", &args->items[i], 0, &bounds[args->n == 1 ? 1 : i]))
            return false;
    }
    for (size_t i = 0; i < 3; i++)
        if (bounds[i] > INT64_MAX / 8 || bounds[i] < -(INT64_MAX / 8))
            return jinja_fail(j, "range: a bound is too large");
    if (bounds[2] == 0)
        return jinja_fail(j, "range: the step is zero");
    *range = (struct jinja_range){bounds[0], bounds[1], bounds[2]};
    if (jinja_range_length(range) > MAX_RANGE)
        return jinja_fail(j, "range: more than %d items", MAX_RANGE);
    *out = (struct jinja_value){.type = JINJA_RANGE, .range = range};
    return true;
}

static bool add_pair(struct jinja *j, struct jinja_dict *dict, const struct jinja_value *item)
{
    const struct jinja_value *items;
    size_t n;
    if (!jinja_items(j, item, &items, &n))
        return false;
    if (n != 2)
        return jinja_fail(j, "dict needs pairs");
    return jinja_put(j, dict, items[0], items[1]);
}

bool jinja_build_dict(struct jinja *j, const char *what, const struct jinja_args *args,
                      struct jinja_dict **dict)
{
    const struct jinja_value *items;
    size_t n;
    if (args->n > 1)
        return jinja_fail(j, "%s takes at most one positional argument", what);
    if (!jinja_new_dict(j, 0, dict))
        return false;
    if (args->n && (jinja_is(&args->items[0], JINJA_DICT))) {
        const struct jinja_dict *from = args->items[0].dict;
        for (size_t i = 0; i < from->n; i++)
            if (!jinja_put(j, *dict, from->pairs[i].key, from->pairs[i].value))
                return false;
    } else if (args->n) {
        if (!jinja_items(j, &args->items[0], &items, &n))
            return false;
        for (size_t i = 0; i < n; i++)
            if (!add_pair(j, *dict, &items[i]))
                return false;
    }
    for (size_t i = 0; i < args->n_named; i++)
        if (!jinja_put(j, *dict, args->named[i].name, args->named[i].value))
            return false;
    return jinja_charge(j, 1 + (*dict)->n);
}

GLOBAL(call_dict)
{
    struct jinja_dict *dict;
    if (!jinja_build_dict(j, "dict", args, &dict))
        return false;
    *out = jinja_of_dict(JINJA_DICT, dict);
    return true;
}

GLOBAL(call_namespace)
{
    struct jinja_dict *dict;
    if (!jinja_build_dict(j, "namespace", args, &dict))
        return false;
    for (size_t i = 0; i < dict->n; i++)
        if (jinja_is(&dict->pairs[i].key, JINJA_STRING) && dict->pairs[i].key.n &&
            dict->pairs[i].key.text[0] == '_')
            return jinja_fail(j, "a namespace takes no names with an underscore in front");
    *out = jinja_of_dict(JINJA_NAMESPACE, dict);
    return true;
}

static bool new_cycler(struct jinja *j, enum jinja_type type, const struct jinja_value *items,
                       size_t n, struct jinja_value *out)
{
    struct jinja_cycler *cycler = jinja_alloc(j, 1, sizeof *cycler);
    if (!cycler || !jinja_new_list(j, n, &cycler->items))
        return false;
    memcpy(cycler->items->items, items, n * sizeof *items);
    cycler->items->n = n;
    *out = (struct jinja_value){.type = (uint8_t)type, .cycler = cycler};
    return true;
}

GLOBAL(call_cycler)
{
    if (!args->n || args->n_named)
        return jinja_fail(j, "cycler takes one or more values");
    return new_cycler(j, JINJA_CYCLER, args->items, args->n, out);
}

GLOBAL(call_joiner)
{
    static const char *const names[] = {"sep"};
    struct jinja_value separator;
    if (!jinja_bind(j, "joiner", args, names, 1, 0, &separator))
        return false;
    if (jinja_is(&separator, JINJA_ABSENT))
        separator = jinja_literal(", ");
    return new_cycler(j, JINJA_JOINER, &separator, 1, out);
}

GLOBAL(call_raise_exception)
{
    static const char *const names[] = {"message"};
    struct jinja_value message;
    if (!jinja_bind(j, "raise_exception", args, names, 1, 1, &message) ||
        !jinja_to_string(j, &message, &message))
        return false;
    return error_at(j->err, ERROR_INPUT, j->at, "%.*s", (int)(message.n < 300 ? message.n : 300),
                    message.text);
}

GLOBAL(call_strftime_now)
{
    static const char *const names[] = {"format"};
    struct jinja_value format;
    struct tm local;
    char text[512], terminated[128];
    time_t now = j->limits.now ? j->limits.now : time(NULL);
    if (!jinja_bind(j, "strftime_now", args, names, 1, 1, &format) ||
        !jinja_want_string(j, "strftime_now", &format))
        return false;
    if (format.n >= sizeof terminated || memchr(format.text, '\0', format.n) ||
        !localtime_r(&now, &local))
        return jinja_fail(j, "strftime_now: the format is too long");
    memcpy(terminated, format.text, format.n);
    terminated[format.n] = '\0';
    size_t n = format.n ? strftime(text, sizeof text, terminated, &local) : 0;
    char *copy = arena_copy(&j->arena, text, n);
    if (!copy)
        return jinja_fail_memory(j);
    /* the time itself is nobody's; what the format says belongs to whom the format does */
    *out = jinja_string(copy, n, format.marks == JINJA_OWN ? JINJA_OWN : JINJA_DATA);
    return true;
}

const struct jinja_function *jinja_global(const char *name, size_t n)
{
    static const struct jinja_function globals[] = {
        {"range", call_range},
        {"dict", call_dict},
        {"namespace", call_namespace},
        {"cycler", call_cycler},
        {"joiner", call_joiner},
        {"raise_exception", call_raise_exception},
        {"strftime_now", call_strftime_now},
        {NULL, NULL},
    };
    return jinja_function_find(globals, name, n);
}
