/* The methods of Python's strings, as far as the sandbox lets a template call them. */
#include "jinja/state.h"
#include "jinja/char.h"

#define METHOD(name)                                                                               \
    static bool name(struct jinja *j, const struct jinja_value *self,                              \
                     const struct jinja_args *args, struct jinja_value *out)

static bool strip_method(struct jinja *j, const struct jinja_value *self,
                         const struct jinja_args *args, int sides, struct jinja_value *out)
{
    static const char *const names[] = {"chars"};
    struct jinja_value chars;
    return jinja_bind(j, "strip", args, names, 1, 0, &chars) &&
           jinja_strip(j, self, &chars, sides, out);
}
METHOD(str_strip)
{
    return strip_method(j, self, args, JINJA_STRIP_LEFT | JINJA_STRIP_RIGHT, out);
}
METHOD(str_lstrip)
{
    return strip_method(j, self, args, JINJA_STRIP_LEFT, out);
}
METHOD(str_rstrip)
{
    return strip_method(j, self, args, JINJA_STRIP_RIGHT, out);
}

METHOD(str_upper)
{
    return jinja_no_arguments(j, "upper", args) && jinja_change_case(j, self, JINJA_UPPER, out);
}
METHOD(str_lower)
{
    return jinja_no_arguments(j, "lower", args) && jinja_change_case(j, self, JINJA_LOWER, out);
}
METHOD(str_title)
{
    return jinja_no_arguments(j, "title", args) && jinja_change_case(j, self, JINJA_TITLE, out);
}
METHOD(str_swapcase)
{
    return jinja_no_arguments(j, "swapcase", args) &&
           jinja_change_case(j, self, JINJA_SWAPCASE, out);
}
METHOD(str_capitalize)
{
    return jinja_no_arguments(j, "capitalize", args) &&
           jinja_change_case(j, self, JINJA_CAPITALIZE, out);
}

/* Words between white space; with a limit the last one is the unsplit rest. */
static bool split_space(struct jinja *j, struct jinja_value s, int64_t limit,
                        struct jinja_list *list)
{
    for (;;) {
        size_t skip = jinja_char_space_prefix(s.text, s.n);
        s = jinja_part(&s, skip, s.n - skip);
        if (s.n == 0)
            return true;
        size_t end = 0;
        while (end < s.n && limit != 0) {
            uint32_t point;
            size_t step = jinja_char_decode(s.text + end, s.n - end, &point);
            if (jinja_char_is_space(point))
                break;
            end += step;
        }
        if (limit == 0)
            return jinja_push(j, list, jinja_part(&s, 0, s.n));
        if (!jinja_push(j, list, jinja_part(&s, 0, end)))
            return false;
        s = jinja_part(&s, end, s.n - end);
        limit -= limit > 0;
    }
}

static bool split_at(struct jinja *j, struct jinja_value s, const struct jinja_value *separator,
                     int64_t limit, struct jinja_list *list)
{
    size_t at;
    while (limit != 0 && jinja_find_bytes(s.text, s.n, separator->text, separator->n, &at)) {
        if (!jinja_push(j, list, jinja_part(&s, 0, at)))
            return false;
        s = jinja_part(&s, at + separator->n, s.n - at - separator->n);
        limit -= limit > 0;
    }
    return jinja_push(j, list, s);
}

static void reverse_list(struct jinja_list *list)
{
    for (size_t i = 0; i < list->n / 2; i++) {
        struct jinja_value v = list->items[i];
        list->items[i] = list->items[list->n - 1 - i];
        list->items[list->n - 1 - i] = v;
    }
}

/* *found says whether; false is a failure: the work was too much. */
static bool find_last_bytes(struct jinja *j, const struct jinja_value *s,
                            const struct jinja_value *what, size_t *at, bool *found)
{
    *found = false;
    if (what->n > s->n)
        return true;
    for (size_t i = s->n - what->n + 1; !*found && i-- > 0; *at = i) {
        if (what->n && s->text[i] != what->text[0])
            continue;
        *found = memcmp(s->text + i, what->text, what->n) == 0;
        if (!jinja_charge_bytes(j, what->n))
            return false;
    }
    return true;
}

static bool rsplit_space(struct jinja *j, struct jinja_value s, int64_t limit,
                         struct jinja_list *list)
{
    for (;;) {
        s.n -= (uint32_t)jinja_char_space_suffix(s.text, s.n);
        if (s.n == 0)
            break;
        size_t start = s.n;
        while (start > 0 && limit != 0) {
            uint32_t point;
            size_t step = jinja_char_decode_last(s.text, start, &point);
            if (jinja_char_is_space(point))
                break;
            start -= step;
        }
        if (limit == 0)
            start = 0;
        if (!jinja_push(j, list, jinja_part(&s, start, s.n - start)))
            return false;
        s.n = (uint32_t)start;
        limit -= limit > 0;
    }
    reverse_list(list);
    return true;
}

static bool rsplit_at(struct jinja *j, struct jinja_value s, const struct jinja_value *separator,
                      int64_t limit, struct jinja_list *list)
{
    size_t at;
    bool found = true;
    while (limit != 0) {
        if (!find_last_bytes(j, &s, separator, &at, &found))
            return false;
        if (!found)
            break;
        if (!jinja_push(j, list, jinja_part(&s, at + separator->n, s.n - at - separator->n)))
            return false;
        s.n = (uint32_t)at;
        limit -= limit > 0;
    }
    if (!jinja_push(j, list, s))
        return false;
    reverse_list(list);
    return true;
}

static bool split_method(struct jinja *j, const struct jinja_value *self,
                         const struct jinja_args *args, bool right, struct jinja_value *out)
{
    static const char *const names[] = {"sep", "maxsplit"};
    struct jinja_value given[2];
    struct jinja_list *list;
    int64_t limit;
    if (!jinja_bind(j, "split", args, names, 2, 0, given) ||
        !jinja_want_int(j, "split", &given[1], -1, &limit) || !jinja_new_list(j, 0, &list) ||
        !jinja_charge(j, self->n / 32))
        return false;
    *out = jinja_of_list(JINJA_LIST, list);
    if (jinja_is(&given[0], JINJA_ABSENT) || jinja_is(&given[0], JINJA_NONE))
        return right ? rsplit_space(j, *self, limit, list) : split_space(j, *self, limit, list);
    if (!jinja_want_string(j, "split", &given[0]))
        return false;
    if (given[0].n == 0)
        return jinja_fail(j, "split needs a separator that is not empty");
    return right ? rsplit_at(j, *self, &given[0], limit, list)
                 : split_at(j, *self, &given[0], limit, list);
}
METHOD(str_split)
{
    return split_method(j, self, args, false, out);
}
METHOD(str_rsplit)
{
    return split_method(j, self, args, true, out);
}

METHOD(str_splitlines)
{
    static const char *const names[] = {"keepends"};
    struct jinja_value keep;
    struct jinja_list *list;
    if (!jinja_bind(j, "splitlines", args, names, 1, 0, &keep) || !jinja_new_list(j, 0, &list))
        return false;
    *out = jinja_of_list(JINJA_LIST, list);
    return jinja_split_lines(j, self, jinja_truth(&keep), list);
}

METHOD(str_replace)
{
    static const char *const names[] = {"old", "new", "count"};
    struct jinja_value given[3];
    int64_t count;
    return jinja_bind(j, "replace", args, names, 3, 2, given) &&
           jinja_want_string(j, "replace", &given[0]) &&
           jinja_want_string(j, "replace", &given[1]) &&
           jinja_want_int(j, "replace", &given[2], -1, &count) &&
           jinja_replace(j, self, &given[0], &given[1], count, out);
}

METHOD(str_join)
{
    static const char *const names[] = {"iterable"};
    struct jinja_value iterable;
    const struct jinja_value *items;
    size_t n;
    return jinja_bind(j, "join", args, names, 1, 1, &iterable) &&
           jinja_items(j, &iterable, &items, &n) && jinja_join(j, self, items, n, false, out);
}

/* The part of the text between two places counted in characters, as slices count; *offset is where
 * it begins. False in *valid: the start lies behind the end. */
static bool window_of(struct jinja *j, const char *what, const struct jinja_value *s,
                      const struct jinja_value *start, const struct jinja_value *end,
                      struct jinja_value *out, int64_t *offset, bool *valid)
{
    struct jinja_value nothing = {.type = JINJA_ABSENT};
    int64_t from, to, n;
    *out = *s;
    *offset = 0;
    *valid = true;
    start = jinja_is(start, JINJA_NONE) ? &nothing : start;
    end = jinja_is(end, JINJA_NONE) ? &nothing : end;
    if (jinja_is(start, JINJA_ABSENT) && jinja_is(end, JINJA_ABSENT))
        return true;
    n = (int64_t)jinja_char_count(s->text, s->n);
    if (!jinja_want_int(j, what, start, 0, &from) || !jinja_want_int(j, what, end, n, &to))
        return false;
    from = from < 0 ? (from < -n ? 0 : from + n) : from;
    to = to < 0 ? (to < -n ? 0 : to + n) : to > n ? n : to;
    *valid = from <= to;
    if (!*valid)
        return true;
    size_t first = jinja_char_offset(s->text, s->n, (size_t)from);
    size_t length = jinja_char_offset(s->text + first, s->n - first, (size_t)(to - from));
    *out = jinja_part(s, first, length);
    *offset = from;
    return jinja_charge_bytes(j, s->n);
}

static bool has_affix(const struct jinja_value *s, const struct jinja_value *affix, bool suffix)
{
    return affix->n <= s->n &&
           memcmp(suffix ? s->text + s->n - affix->n : s->text, affix->text, affix->n) == 0;
}

static bool affix_method(struct jinja *j, const struct jinja_value *self,
                         const struct jinja_args *args, bool suffix, struct jinja_value *out)
{
    static const char *const names[] = {"prefix", "start", "end"};
    const char *what = suffix ? "endswith" : "startswith";
    struct jinja_value given[3], part;
    int64_t offset;
    bool valid, yes = false;
    if (!jinja_bind(j, what, args, names, 3, 1, given) ||
        !window_of(j, what, self, &given[1], &given[2], &part, &offset, &valid))
        return false;
    const struct jinja_value *affixes = &given[0];
    size_t n = 1;
    if (jinja_is(&given[0], JINJA_TUPLE)) {
        affixes = given[0].list->items;
        n = given[0].list->n;
    }
    for (size_t i = 0; i < n && !yes; i++) {
        if (!jinja_want_string(j, what, &affixes[i]))
            return false;
        yes = valid && has_affix(&part, &affixes[i], suffix);
    }
    *out = jinja_bool(yes);
    return true;
}
METHOD(str_startswith)
{
    return affix_method(j, self, args, false, out);
}
METHOD(str_endswith)
{
    return affix_method(j, self, args, true, out);
}

static bool remove_affix(struct jinja *j, const struct jinja_value *self,
                         const struct jinja_args *args, bool suffix, struct jinja_value *out)
{
    static const char *const names[] = {"prefix"};
    struct jinja_value affix;
    if (!jinja_bind(j, "removeprefix", args, names, 1, 1, &affix) ||
        !jinja_want_string(j, "removeprefix", &affix))
        return false;
    *out = *self;
    if (has_affix(self, &affix, suffix))
        *out = jinja_part(self, suffix ? 0 : affix.n, self->n - affix.n);
    return true;
}
METHOD(str_removeprefix)
{
    return remove_affix(j, self, args, false, out);
}
METHOD(str_removesuffix)
{
    return remove_affix(j, self, args, true, out);
}

static bool find_method(struct jinja *j, const struct jinja_value *self,
                        const struct jinja_args *args, bool last, bool must,
                        struct jinja_value *out)
{
    static const char *const names[] = {"sub", "start", "end"};
    struct jinja_value given[3], part;
    int64_t offset;
    size_t at;
    bool valid, found;
    if (!jinja_bind(j, "find", args, names, 3, 1, given) ||
        !jinja_want_string(j, "find", &given[0]) ||
        !window_of(j, "find", self, &given[1], &given[2], &part, &offset, &valid) ||
        !jinja_charge_bytes(j, self->n))
        return false;
    if (last && !find_last_bytes(j, &part, &given[0], &at, &found))
        return false;
    if (!last)
        found = jinja_find_bytes(part.text, part.n, given[0].text, given[0].n, &at);
    found = found && valid;
    if (!found && must)
        return jinja_fail(j, "the substring is not in the string");
    *out = jinja_int(found ? offset + (int64_t)jinja_char_count(part.text, at) : -1);
    return true;
}
METHOD(str_find)
{
    return find_method(j, self, args, false, false, out);
}
METHOD(str_rfind)
{
    return find_method(j, self, args, true, false, out);
}
METHOD(str_index)
{
    return find_method(j, self, args, false, true, out);
}
METHOD(str_rindex)
{
    return find_method(j, self, args, true, true, out);
}

METHOD(str_count)
{
    static const char *const names[] = {"sub", "start", "end"};
    struct jinja_value given[3], part;
    int64_t offset, count = 0;
    size_t at;
    bool valid;
    if (!jinja_bind(j, "count", args, names, 3, 1, given) ||
        !jinja_want_string(j, "count", &given[0]) ||
        !window_of(j, "count", self, &given[1], &given[2], &part, &offset, &valid))
        return false;
    if (given[0].n == 0) {
        count = valid ? (int64_t)jinja_char_count(part.text, part.n) + 1 : 0;
    } else {
        for (; valid && jinja_find_bytes(part.text, part.n, given[0].text, given[0].n, &at);
             count++)
            part = jinja_part(&part, at + given[0].n, part.n - at - given[0].n);
    }
    *out = jinja_int(count);
    return jinja_charge(j, (uint64_t)count + self->n / 64);
}

static bool partition_method(struct jinja *j, const struct jinja_value *self,
                             const struct jinja_args *args, bool last, struct jinja_value *out)
{
    static const char *const names[] = {"sep"};
    struct jinja_value separator;
    struct jinja_list *list;
    size_t at;
    if (!jinja_bind(j, "partition", args, names, 1, 1, &separator) ||
        !jinja_want_string(j, "partition", &separator))
        return false;
    if (separator.n == 0)
        return jinja_fail(j, "partition needs a separator that is not empty");
    if (!jinja_new_list(j, 3, &list) || !jinja_charge_bytes(j, self->n))
        return false;
    bool found;
    if (last && !find_last_bytes(j, self, &separator, &at, &found))
        return false;
    if (!last)
        found = jinja_find_bytes(self->text, self->n, separator.text, separator.n, &at);
    list->n = 3;
    if (found) {
        list->items[0] = jinja_part(self, 0, at);
        list->items[1] = jinja_part(self, at, separator.n);
        list->items[2] = jinja_part(self, at + separator.n, self->n - at - separator.n);
    } else {
        list->items[0] = list->items[1] = list->items[2] = jinja_own("", 0);
        list->items[last ? 2 : 0] = *self;
    }
    *out = jinja_of_list(JINJA_TUPLE, list);
    return true;
}
METHOD(str_partition)
{
    return partition_method(j, self, args, false, out);
}
METHOD(str_rpartition)
{
    return partition_method(j, self, args, true, out);
}

static bool justify_method(struct jinja *j, const struct jinja_value *self,
                           const struct jinja_args *args, int where, struct jinja_value *out)
{
    static const char *const names[] = {"width", "fillchar"};
    struct jinja_value given[2];
    int64_t width;
    if (!jinja_bind(j, "center", args, names, 2, 1, given) ||
        !jinja_want_int(j, "center", &given[0], 0, &width))
        return false;
    if (jinja_is(&given[1], JINJA_ABSENT))
        given[1] = jinja_own(" ", 1);
    if (!jinja_want_string(j, "center", &given[1]))
        return false;
    if (jinja_char_count(given[1].text, given[1].n) != 1)
        return jinja_fail(j, "a fill must be one character");
    return jinja_center(j, self, width, &given[1], where, out);
}
METHOD(str_center)
{
    return justify_method(j, self, args, 0, out);
}
METHOD(str_ljust)
{
    return justify_method(j, self, args, -1, out);
}
METHOD(str_rjust)
{
    return justify_method(j, self, args, 1, out);
}

METHOD(str_zfill)
{
    static const char *const names[] = {"width"};
    struct jinja_value given, zero = jinja_own("0", 1), sign = jinja_own("", 0), rest = *self;
    int64_t width;
    if (!jinja_bind(j, "zfill", args, names, 1, 1, &given) ||
        !jinja_want_int(j, "zfill", &given, 0, &width))
        return false;
    if (self->n && (self->text[0] == '-' || self->text[0] == '+')) {
        sign = jinja_part(self, 0, 1);
        rest = jinja_part(self, 1, self->n - 1);
    }
    struct jinja_value padded;
    return jinja_center(j, &rest, width - sign.n, &zero, 1, &padded) &&
           jinja_concat(j, &sign, &padded, out);
}

METHOD(str_format)
{
    return jinja_brace_format(j, self, args, out);
}

/* str.isxxx(): every character has the property, and there is one. */
static bool every_character(struct jinja *j, const struct jinja_value *self,
                            const struct jinja_args *args, bool (*has)(uint32_t),
                            struct jinja_value *out)
{
    bool yes = self->n > 0;
    for (uint32_t i = 0; yes && i < self->n;) {
        uint32_t point;
        i += (uint32_t)jinja_char_decode(self->text + i, self->n - i, &point);
        yes = has(point);
    }
    *out = jinja_bool(yes);
    return jinja_no_arguments(j, "is…", args) && jinja_charge(j, self->n / 16);
}
static bool is_alnum(uint32_t c)
{
    return jinja_char_is_alpha(c) || jinja_char_is_number(c);
}
METHOD(str_isalpha)
{
    return every_character(j, self, args, jinja_char_is_alpha, out);
}
METHOD(str_isalnum)
{
    return every_character(j, self, args, is_alnum, out);
}
METHOD(str_isdecimal)
{
    return every_character(j, self, args, jinja_char_is_decimal, out);
}
METHOD(str_isnumeric)
{
    return every_character(j, self, args, jinja_char_is_number, out);
}
METHOD(str_isspace)
{
    return every_character(j, self, args, jinja_char_is_space, out);
}

/* Some character has a case, and none has the other one. */
static bool only_case(struct jinja *j, const struct jinja_value *self,
                      const struct jinja_args *args, bool upper, struct jinja_value *out)
{
    bool some = false, other = false;
    for (uint32_t i = 0; i < self->n;) {
        uint32_t point;
        i += (uint32_t)jinja_char_decode(self->text + i, self->n - i, &point);
        some |= upper ? jinja_char_is_upper(point) : jinja_char_is_lower(point);
        other |= upper ? jinja_char_is_lower(point) : jinja_char_is_upper(point);
    }
    *out = jinja_bool(some && !other);
    return jinja_no_arguments(j, "isupper", args) && jinja_charge(j, self->n / 16);
}
METHOD(str_isupper)
{
    return only_case(j, self, args, true, out);
}
METHOD(str_islower)
{
    return only_case(j, self, args, false, out);
}

const struct jinja_function *jinja_string_method(const char *name, size_t n)
{
    static const struct jinja_function methods[] = {
        {"strip", str_strip},
        {"lstrip", str_lstrip},
        {"rstrip", str_rstrip},
        {"split", str_split},
        {"rsplit", str_rsplit},
        {"splitlines", str_splitlines},
        {"replace", str_replace},
        {"join", str_join},
        {"startswith", str_startswith},
        {"endswith", str_endswith},
        {"upper", str_upper},
        {"lower", str_lower},
        {"casefold", str_lower},
        {"title", str_title},
        {"capitalize", str_capitalize},
        {"swapcase", str_swapcase},
        {"find", str_find},
        {"rfind", str_rfind},
        {"index", str_index},
        {"rindex", str_rindex},
        {"count", str_count},
        {"removeprefix", str_removeprefix},
        {"removesuffix", str_removesuffix},
        {"partition", str_partition},
        {"rpartition", str_rpartition},
        {"center", str_center},
        {"ljust", str_ljust},
        {"rjust", str_rjust},
        {"zfill", str_zfill},
        {"format", str_format},
        {"isalpha", str_isalpha},
        {"isalnum", str_isalnum},
        {"isdigit", str_isdecimal},
        {"isdecimal", str_isdecimal},
        {"isnumeric", str_isnumeric},
        {"isspace", str_isspace},
        {"isupper", str_isupper},
        {"islower", str_islower},
        {NULL, NULL},
    };
    return jinja_function_find(methods, name, n);
}
