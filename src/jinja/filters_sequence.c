/* The filters on sequences: choose, map, sort, group, sum. Where jinja2 returns a generator the
 * result is an iterator here, too: it can be read once, has no length, is always true. But it is
 * computed at once. */
#include "jinja/state.h"
#include "jinja/filters.h"

static bool is_given(const struct jinja_value *v)
{
    return !jinja_is(v, JINJA_ABSENT) && !jinja_is(v, JINJA_NONE);
}

/* "a.b.0": members one after the other; digits are places. */
static bool dotted(struct jinja *j, const struct jinja_value *item, const struct jinja_value *path,
                   const struct jinja_value *otherwise, struct jinja_value *out)
{
    *out = *item;
    if (!jinja_is(path, JINJA_STRING)) {
        struct jinja_value object = *out;
        if (is_given(path) && !jinja_item(j, &object, path, out))
            return false;
        if (is_given(otherwise) && jinja_is(out, JINJA_UNDEFINED))
            *out = *otherwise;
        return true;
    }
    const char *at = path->text, *end = at + path->n;
    if (!jinja_charge(j, 1 + path->n / 16))
        return false;
    for (bool more = true; more; at++) {
        const char *start = at;
        int64_t index = 0;
        bool digits = true;
        for (; at < end && *at != '.'; at++) {
            digits = digits && *at >= '0' && *at <= '9' && index < INT32_MAX;
            index = digits ? index * 10 + (*at - '0') : 0;
        }
        more = at < end;
        struct jinja_value object = *out, key = jinja_part(path, (size_t)(start - path->text),
                                                           (size_t)(at - start));
        if (digits && key.n)
            key = jinja_int(index);
        if (!jinja_item(j, &object, &key, out))
            return false;
        if (is_given(otherwise) && jinja_is(out, JINJA_UNDEFINED))
            *out = *otherwise;
    }
    return true;
}

static bool ignore_case(struct jinja *j, struct jinja_value *v)
{
    return !jinja_is(v, JINJA_STRING) || jinja_change_case(j, v, JINJA_LOWER, v);
}

FILTER(filter_length)
{
    size_t n;
    if (!jinja_no_arguments(j, "length", args) || !jinja_length(j, self, &n))
        return false;
    *out = jinja_int((int64_t)n);
    return true;
}

FILTER(filter_list)
{
    const struct jinja_value *items;
    struct jinja_list *list;
    size_t n;
    if (!jinja_no_arguments(j, "list", args) || !jinja_items(j, self, &items, &n) ||
        !jinja_new_list(j, n, &list))
        return false;
    if (n)
        memcpy(list->items, items, n * sizeof *items);
    list->n = n;
    *out = jinja_of_list(JINJA_LIST, list);
    return true;
}

FILTER(filter_first)
{
    const struct jinja_value *items;
    size_t n;
    if (!jinja_no_arguments(j, "first", args))
        return false;
    if (jinja_is(self, JINJA_ITERATOR)) { /* takes one item, leaves the others */
        struct jinja_iterator *it = self->iterator;
        *out = it->at < it->list->n ? it->list->items[it->at++]
                                    : jinja_undefined_hint("No first item, sequence was empty.");
        return true;
    }
    if (!jinja_items(j, self, &items, &n))
        return false;
    *out = n ? items[0] : jinja_undefined_hint("No first item, sequence was empty.");
    return true;
}

FILTER(filter_last)
{
    const struct jinja_value *items;
    size_t n;
    if (!jinja_no_arguments(j, "last", args))
        return false;
    if (jinja_is(self, JINJA_ITERATOR))
        return jinja_fail(j, "a generator has no last item: make it a list first");
    if (!jinja_items(j, self, &items, &n))
        return false;
    *out = n ? items[n - 1] : jinja_undefined_hint("No last item, sequence was empty.");
    return true;
}

FILTER(filter_join)
{
    static const char *const names[] = {"d", "attribute"};
    struct jinja_value bound[2], separator = jinja_own("", 0), nothing = {.type = JINJA_ABSENT};
    const struct jinja_value *items;
    size_t n;
    if (!jinja_bind(j, "join", args, names, 2, 0, bound) || !jinja_items(j, self, &items, &n))
        return false;
    if (!jinja_is(&bound[0], JINJA_ABSENT) && !jinja_to_string(j, &bound[0], &separator))
        return false;
    if (is_given(&bound[1])) {
        struct jinja_value *members = jinja_alloc(j, n, sizeof *members);
        if (!members)
            return false;
        for (size_t i = 0; i < n; i++)
            if (!dotted(j, &items[i], &bound[1], &nothing, &members[i]))
                return false;
        items = members;
    }
    return jinja_join(j, &separator, items, n, true, out);
}

FILTER(filter_items)
{
    const struct jinja_function *method = jinja_container_method(JINJA_DICT, "items", 5);
    struct jinja_value view;
    struct jinja_list *empty;
    if (jinja_is(self, JINJA_UNDEFINED))
        return jinja_no_arguments(j, "items", args) && jinja_new_list(j, 0, &empty) &&
               jinja_new_iterator(j, empty, "generator", out);
    if (!jinja_is(self, JINJA_DICT))
        return jinja_fail(j, "items needs a dictionary, got '%s'", jinja_type_name(self));
    return method->call(j, self, args, &view) && jinja_new_iterator(j, view.list, "generator", out);
}

FILTER(filter_reverse)
{
    const struct jinja_value *items;
    struct jinja_list *list;
    size_t n;
    if (!jinja_no_arguments(j, "reverse", args))
        return false;
    if (jinja_is(self, JINJA_STRING)) {
        struct jinja_value none = jinja_none(), back = jinja_int(-1);
        return jinja_slice(j, self, &none, &none, &back, out);
    }
    if (!jinja_items(j, self, &items, &n) || !jinja_new_list(j, n, &list))
        return false;
    for (; list->n < n; list->n++)
        list->items[list->n] = items[n - 1 - list->n];
    return jinja_new_iterator(j, list, "list_reverseiterator", out);
}

/* Sorting: stable, by keys. */

struct sorted {
    struct jinja_value key, value;
};

static bool merge_sorted(struct jinja *j, const struct sorted *a, size_t n_a,
                         const struct sorted *b, size_t n_b, bool descending, struct sorted *out)
{
    while (n_a && n_b) {
        int order;
        if (!jinja_charge(j, 1) || !jinja_compare(j, &b->key, &a->key, &order))
            return false;
        bool second = order != JINJA_UNORDERED && (descending ? order > 0 : order < 0);
        *out++ = second ? *b : *a;
        a += !second;
        n_a -= !second;
        b += second;
        n_b -= second;
    }
    memcpy(out, a, n_a * sizeof *a);
    memcpy(out + n_a, b, n_b * sizeof *b);
    return true;
}

/* Merge sort from runs of one item up. The result is in *items. */
static bool sort_merging(struct jinja *j, struct sorted **items, size_t n, bool descending)
{
    struct sorted *from = *items, *to = jinja_alloc(j, n, sizeof *to);
    if (!to)
        return false;
    for (size_t run = 1; run < n; run *= 2) {
        for (size_t at = 0; at < n; at += 2 * run) {
            size_t n_a = n - at < run ? n - at : run;
            size_t n_b = n - at - n_a < run ? n - at - n_a : run;
            if (!merge_sorted(j, from + at, n_a, from + at + n_a, n_b, descending, to + at))
                return false;
        }
        struct sorted *swap = from;
        from = to;
        to = swap;
    }
    *items = from;
    return true;
}

/* "a,b.c": a tuple-like list of members to sort by. */
static bool sort_key(struct jinja *j, const struct jinja_value *item,
                     const struct jinja_value *attribute, bool case_sensitive,
                     struct jinja_value *out)
{
    struct jinja_value nothing = {.type = JINJA_ABSENT};
    struct jinja_list *list;
    bool many = jinja_is(attribute, JINJA_STRING) && memchr(attribute->text, ',', attribute->n);
    if (!many)
        return dotted(j, item, attribute, &nothing, out) && (case_sensitive || ignore_case(j, out));
    if (!jinja_new_list(j, 0, &list))
        return false;
    const char *at = attribute->text, *end = at + attribute->n;
    for (bool more = true; more;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        struct jinja_value key, path = jinja_part(attribute, (size_t)(at - attribute->text),
                                                  (size_t)((comma ? comma : end) - at));
        if (!dotted(j, item, &path, &nothing, &key) || (!case_sensitive && !ignore_case(j, &key)) ||
            !jinja_push(j, list, key))
            return false;
        more = comma != NULL;
        at = comma ? comma + 1 : end;
    }
    *out = jinja_of_list(JINJA_LIST, list);
    return true;
}

static bool list_of_sorted(struct jinja *j, const struct sorted *items, size_t n,
                           struct jinja_value *out)
{
    struct jinja_list *list;
    if (!jinja_new_list(j, n, &list))
        return false;
    for (; list->n < n; list->n++)
        list->items[list->n] = items[list->n].value;
    *out = jinja_of_list(JINJA_LIST, list);
    return true;
}

FILTER(filter_sort)
{
    static const char *const names[] = {"reverse", "case_sensitive", "attribute"};
    struct jinja_value bound[3];
    const struct jinja_value *items;
    size_t n;
    if (!jinja_bind(j, "sort", args, names, 3, 0, bound) || !jinja_items(j, self, &items, &n))
        return false;
    struct sorted *sorted = jinja_alloc(j, n, sizeof *sorted);
    if (!sorted)
        return false;
    for (size_t i = 0; i < n; i++) {
        sorted[i].value = items[i];
        if (!sort_key(j, &items[i], &bound[2], jinja_truth(&bound[1]), &sorted[i].key))
            return false;
    }
    return sort_merging(j, &sorted, n, jinja_truth(&bound[0])) && list_of_sorted(j, sorted, n, out);
}

FILTER(filter_dictsort)
{
    static const char *const names[] = {"case_sensitive", "by", "reverse"};
    struct jinja_value bound[3];
    if (!jinja_bind(j, "dictsort", args, names, 3, 0, bound))
        return false;
    bool by_value = jinja_is_text(&bound[1], "value");
    if (is_given(&bound[1]) && !by_value && !jinja_is_text(&bound[1], "key"))
        return jinja_fail(j, "dictsort sorts by 'key' or 'value'");
    if (!jinja_is(self, JINJA_DICT))
        return jinja_fail(j, "dictsort needs a dictionary, got '%s'", jinja_type_name(self));
    size_t n = self->dict->n;
    struct sorted *sorted = jinja_alloc(j, n, sizeof *sorted);
    if (!sorted)
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct jinja_pair *pair = &self->dict->pairs[i];
        sorted[i].key = by_value ? pair->value : pair->key;
        if ((!jinja_truth(&bound[0]) && !ignore_case(j, &sorted[i].key)) ||
            !jinja_new_pair(j, pair->key, pair->value, &sorted[i].value))
            return false;
    }
    return sort_merging(j, &sorted, n, jinja_truth(&bound[2])) && list_of_sorted(j, sorted, n, out);
}

static bool pick_extreme(struct jinja *j, const struct jinja_value *self,
                         const struct jinja_args *args, bool most, struct jinja_value *out)
{
    static const char *const names[] = {"case_sensitive", "attribute"};
    struct jinja_value bound[2], best, key, nothing = {.type = JINJA_ABSENT};
    const struct jinja_value *items;
    size_t n;
    if (!jinja_bind(j, most ? "max" : "min", args, names, 2, 0, bound) ||
        !jinja_items(j, self, &items, &n))
        return false;
    *out = jinja_undefined_hint("No aggregated item, sequence was empty.");
    for (size_t i = 0; i < n; i++) {
        int order = 0;
        if (!dotted(j, &items[i], &bound[1], &nothing, &key) ||
            (!jinja_truth(&bound[0]) && !ignore_case(j, &key)) ||
            (i && !jinja_compare(j, &key, &best, &order)))
            return false;
        if (i && (order == JINJA_UNORDERED || (most ? order <= 0 : order >= 0)))
            continue;
        best = key;
        *out = items[i];
    }
    return true;
}
FILTER(filter_min)
{
    return pick_extreme(j, self, args, false, out);
}
FILTER(filter_max)
{
    return pick_extreme(j, self, args, true, out);
}

FILTER(filter_sum)
{
    static const char *const names[] = {"attribute", "start"};
    struct jinja_value bound[2], nothing = {.type = JINJA_ABSENT};
    const struct jinja_value *items;
    size_t n;
    if (!jinja_bind(j, "sum", args, names, 2, 0, bound) || !jinja_items(j, self, &items, &n))
        return false;
    *out = jinja_is(&bound[1], JINJA_ABSENT) ? jinja_int(0) : bound[1];
    if (jinja_is(out, JINJA_STRING))
        return jinja_fail(j, "sum adds no strings: join does");
    for (size_t i = 0; i < n; i++) {
        struct jinja_value item, total = *out;
        if (!dotted(j, &items[i], &bound[0], &nothing, &item) ||
            !jinja_binary(j, JINJA_OP_ADD, &total, &item, out))
            return false;
    }
    return true;
}

FILTER(filter_unique)
{
    static const char *const names[] = {"case_sensitive", "attribute"};
    struct jinja_value bound[2], nothing = {.type = JINJA_ABSENT};
    const struct jinja_value *items;
    struct jinja_list *list;
    struct jinja_dict *seen;
    size_t n;
    if (!jinja_bind(j, "unique", args, names, 2, 0, bound) || !jinja_items(j, self, &items, &n) ||
        !jinja_new_list(j, 0, &list) || !jinja_new_dict(j, 0, &seen))
        return false;
    for (size_t i = 0; i < n; i++) {
        struct jinja_value key;
        if (!dotted(j, &items[i], &bound[1], &nothing, &key) ||
            (!jinja_truth(&bound[0]) && !ignore_case(j, &key)))
            return false;
        if (jinja_hashable(&key) && jinja_dict_find(seen, &key))
            continue;
        if (!jinja_put(j, seen, key, jinja_none()) || !jinja_push(j, list, items[i]))
            return false;
    }
    return jinja_new_iterator(j, list, "generator", out);
}

/* One group per run of equal keys in the sorted items. */
static bool group_sorted(struct jinja *j, const struct sorted *sorted, size_t n,
                         struct jinja_list *groups)
{
    for (size_t i = 0, end; i < n; i = end) {
        struct jinja_list *members;
        struct jinja_value pair;
        bool eq = true;
        if (!jinja_new_list(j, 0, &members))
            return false;
        for (end = i; end < n; end++) {
            if (!jinja_equal(j, &sorted[i].key, &sorted[end].key, &eq))
                return false;
            if (!eq)
                break;
            if (!jinja_push(j, members, sorted[end].value))
                return false;
        }
        if (!jinja_new_pair(j, sorted[i].key, jinja_of_list(JINJA_LIST, members), &pair) ||
            !jinja_push(j, groups, pair))
            return false;
        groups->items[groups->n - 1].kind = 1; /* with the names grouper and list */
    }
    return true;
}

FILTER(filter_groupby)
{
    static const char *const names[] = {"attribute", "default", "case_sensitive"};
    struct jinja_value bound[3];
    const struct jinja_value *items;
    struct jinja_list *groups;
    size_t n;
    if (!jinja_bind(j, "groupby", args, names, 3, 1, bound) || !jinja_items(j, self, &items, &n) ||
        !jinja_new_list(j, 0, &groups))
        return false;
    bool exact = jinja_truth(&bound[2]);
    struct sorted *sorted = jinja_alloc(j, n, sizeof *sorted);
    if (!sorted)
        return false;
    for (size_t i = 0; i < n; i++) {
        sorted[i].value = items[i];
        if (!dotted(j, &items[i], &bound[0], &bound[1], &sorted[i].key) ||
            (!exact && !ignore_case(j, &sorted[i].key)))
            return false;
    }
    if (!sort_merging(j, &sorted, n, false) || !group_sorted(j, sorted, n, groups))
        return false;
    for (size_t i = 0; !exact && i < groups->n; i++) { /* the first member's own key, not lowered */
        struct jinja_list *pair = groups->items[i].list;
        if (!dotted(j, &pair->items[1].list->items[0], &bound[0], &bound[1], &pair->items[0]))
            return false;
    }
    *out = jinja_of_list(JINJA_LIST, groups);
    return true;
}

/* Pieces of `size` items; with a fill the last one is filled up. */
FILTER(filter_batch)
{
    static const char *const names[] = {"linecount", "fill_with"};
    struct jinja_value bound[2];
    const struct jinja_value *items;
    struct jinja_list *rows, *row = NULL;
    int64_t size;
    size_t n;
    if (!jinja_bind(j, "batch", args, names, 2, 1, bound) ||
        !jinja_want_int(j, "batch", &bound[0], 0, &size) || !jinja_items(j, self, &items, &n) ||
        !jinja_new_list(j, 0, &rows))
        return false;
    if (size < 1 || size > 1000000)
        return jinja_fail(j, "batch: the size is out of range");
    for (size_t i = 0; i < n; i++) {
        if ((i % (size_t)size == 0 && (!jinja_new_list(j, 0, &row) ||
                                       !jinja_push(j, rows, jinja_of_list(JINJA_LIST, row)))) ||
            !jinja_push(j, row, items[i]))
            return false;
    }
    while (row && is_given(&bound[1]) && row->n < (size_t)size)
        if (!jinja_push(j, row, bound[1]))
            return false;
    return jinja_new_iterator(j, rows, "generator", out);
}

/* `slices` pieces of nearly equal size. */
FILTER(filter_slice)
{
    static const char *const names[] = {"slices", "fill_with"};
    struct jinja_value bound[2];
    const struct jinja_value *items;
    struct jinja_list *columns, *column;
    int64_t slices;
    size_t n, at = 0;
    if (!jinja_bind(j, "slice", args, names, 2, 1, bound) ||
        !jinja_want_int(j, "slice", &bound[0], 0, &slices) || !jinja_items(j, self, &items, &n) ||
        !jinja_new_list(j, 0, &columns))
        return false;
    if (slices < 1 || slices > 1000000)
        return jinja_fail(j, "slice: the number is out of range");
    size_t each = n / (size_t)slices, longer = n % (size_t)slices;
    for (size_t i = 0; i < (size_t)slices; i++) {
        if (!jinja_new_list(j, each + 1, &column) ||
            !jinja_push(j, columns, jinja_of_list(JINJA_LIST, column)))
            return false;
        for (size_t k = 0; k < each + (i < longer); k++)
            column->items[column->n++] = items[at++];
        if (is_given(&bound[1]) && i >= longer)
            column->items[column->n++] = bound[1];
    }
    return jinja_new_iterator(j, columns, "generator", out);
}

/* map, select, reject and their attr forms */

static const struct jinja_value *take_named(const struct jinja_args *args, const char *name)
{
    for (size_t i = 0; i < args->n_named; i++)
        if (jinja_is_text(&args->named[i].name, name))
            return &args->named[i].value;
    return NULL;
}

static bool map_attribute(struct jinja *j, const struct jinja_value *items, size_t n,
                          const struct jinja_args *args, struct jinja_list *list)
{
    static const struct jinja_value nothing = {.type = JINJA_ABSENT};
    const struct jinja_value *attribute = take_named(args, "attribute"),
                             *otherwise = take_named(args, "default");
    if (args->n_named != 1u + (otherwise != NULL))
        return jinja_fail(j, "map takes attribute and default only");
    for (; list->n < n; list->n++)
        if (!dotted(j, &items[list->n], attribute, otherwise ? otherwise : &nothing,
                    &list->items[list->n]))
            return false;
    return true;
}

static bool map_filter(struct jinja *j, const struct jinja_value *items, size_t n,
                       const struct jinja_args *args, struct jinja_list *list)
{
    if (!args->n)
        return jinja_fail(j, "map needs a filter or an attribute");
    if (!jinja_want_string(j, "map", &args->items[0]))
        return false;
    const struct jinja_function *filter = jinja_filter(args->items[0].text, args->items[0].n);
    struct jinja_args rest = {args->items + 1, args->n - 1, args->named, args->n_named};
    for (; list->n < n; list->n++) {
        if (!filter)
            return jinja_fail(j, "there is no filter '%.*s'",
                              (int)(args->items[0].n < 60 ? args->items[0].n : 60),
                              args->items[0].text);
        bool ok = jinja_enter(j) && filter->call(j, &items[list->n], &rest, &list->items[list->n]);
        jinja_leave(j);
        if (!ok)
            return false;
    }
    return true;
}

FILTER(filter_map)
{
    const struct jinja_value *items;
    struct jinja_list *list;
    size_t n = 0;
    if (jinja_truth(self) && !jinja_items(j, self, &items, &n))
        return false;
    if (!jinja_new_list(j, n, &list))
        return false;
    bool by_attribute = !args->n && take_named(args, "attribute");
    if (n && !(by_attribute ? map_attribute(j, items, n, args, list)
                            : map_filter(j, items, n, args, list)))
        return false;
    return jinja_new_iterator(j, list, "generator", out);
}

static bool item_chosen(struct jinja *j, const struct jinja_value *v, const struct jinja_test *test,
                        const struct jinja_args *rest, bool *yes)
{
    *yes = jinja_truth(v);
    return !test || test->call(j, v, rest, yes);
}

static bool choose_items(struct jinja *j, const struct jinja_value *self,
                         const struct jinja_args *args, bool keep, bool by_attribute,
                         struct jinja_value *out)
{
    static const struct jinja_value nothing = {.type = JINJA_ABSENT};
    const struct jinja_value *items;
    const struct jinja_test *test = NULL;
    struct jinja_list *list;
    size_t n = 0, n_used = by_attribute;
    if ((jinja_truth(self) && !jinja_items(j, self, &items, &n)) || !jinja_new_list(j, 0, &list))
        return false;
    if (n && by_attribute && !args->n)
        return jinja_fail(j, "selectattr needs the name of an attribute");
    if (n && args->n > n_used) {
        const struct jinja_value *name = &args->items[n_used++];
        if (!jinja_want_string(j, "select", name))
            return false;
        if (!(test = jinja_test(name->text, name->n)))
            return jinja_fail(j, "there is no test '%.*s'", (int)(name->n < 60 ? name->n : 60),
                              name->text);
    }
    struct jinja_args rest = {.named = args->named, .n_named = args->n_named};
    if (args->n > n_used) {
        rest.items = args->items + n_used;
        rest.n = args->n - n_used;
    }
    for (size_t i = 0; i < n; i++) {
        struct jinja_value v = items[i];
        bool yes;
        if (!jinja_charge(j, 1) ||
            (by_attribute && !dotted(j, &items[i], &args->items[0], &nothing, &v)) ||
            !item_chosen(j, &v, test, &rest, &yes) ||
            (yes == keep && !jinja_push(j, list, items[i])))
            return false;
    }
    return jinja_new_iterator(j, list, "generator", out);
}
FILTER(filter_select)
{
    return choose_items(j, self, args, true, false, out);
}
FILTER(filter_reject)
{
    return choose_items(j, self, args, false, false, out);
}
FILTER(filter_selectattr)
{
    return choose_items(j, self, args, true, true, out);
}
FILTER(filter_rejectattr)
{
    return choose_items(j, self, args, false, true, out);
}

const struct jinja_function jinja_sequence_filters[] = {
    {"length", filter_length},
    {"count", filter_length},
    {"list", filter_list},
    {"first", filter_first},
    {"last", filter_last},
    {"join", filter_join},
    {"items", filter_items},
    {"reverse", filter_reverse},
    {"sort", filter_sort},
    {"dictsort", filter_dictsort},
    {"min", filter_min},
    {"max", filter_max},
    {"sum", filter_sum},
    {"unique", filter_unique},
    {"groupby", filter_groupby},
    {"batch", filter_batch},
    {"slice", filter_slice},
    {"map", filter_map},
    {"select", filter_select},
    {"reject", filter_reject},
    {"selectattr", filter_selectattr},
    {"rejectattr", filter_rejectattr},
    {NULL, NULL},
};
