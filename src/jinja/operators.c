/* Python's operators on the values of a template: arithmetic, concatenation, repetition,
 * comparison, membership. Integers have 64 bits; what needs more is an error. */
#include "jinja/state.h"
#include "jinja/char.h"

#include <math.h>

static const char *operator_text(enum jinja_operator op)
{
    static const char *const texts[] = {
        [JINJA_OP_ADD] = "+", [JINJA_OP_SUB] = "-", [JINJA_OP_MUL] = "*",
        [JINJA_OP_DIV] = "/", [JINJA_OP_MOD] = "%", [JINJA_OP_FLOORDIV] = "//",
        [JINJA_OP_POW] = "**"};
    return texts[op];
}

static bool fail_large(struct jinja *j)
{
    return jinja_fail(j, "an integer of more than 64 bits");
}

static bool fail_types(struct jinja *j, enum jinja_operator op, const struct jinja_value *a,
                       const struct jinja_value *b)
{
    if (jinja_is(a, JINJA_UNDEFINED))
        return jinja_fail_undefined(j, a);
    if (jinja_is(b, JINJA_UNDEFINED))
        return jinja_fail_undefined(j, b);
    return jinja_fail(j, "'%s' %s '%s' is not defined", jinja_type_name(a), operator_text(op),
                      jinja_type_name(b));
}

/* Rounds towards minus infinity; the remainder has the divisor's sign. */
static int64_t floor_divide(int64_t x, int64_t y)
{
    return x / y - (x % y != 0 && (x < 0) != (y < 0));
}

static bool int_power(struct jinja *j, int64_t x, int64_t n, struct jinja_value *out)
{
    if (n < 0) {
        if (x == 0)
            return jinja_fail(j, "zero to a negative power");
        *out = jinja_float(pow((double)x, (double)n));
        return true;
    }
    int64_t result = 1;
    for (; n > 0; n >>= 1) {
        if ((n & 1) && __builtin_mul_overflow(result, x, &result))
            return fail_large(j);
        if (n > 1 && __builtin_mul_overflow(x, x, &x))
            return fail_large(j);
    }
    *out = jinja_int(result);
    return true;
}

static bool int_division(struct jinja *j, enum jinja_operator op, int64_t x, int64_t y,
                         struct jinja_value *out)
{
    if (y == 0)
        return jinja_fail(j, "division by zero");
    if (op == JINJA_OP_DIV) {
        *out = jinja_float((double)x / (double)y);
        return true;
    }
    if (y == -1) { /* INT64_MIN / -1 traps */
        int64_t negated;
        if (__builtin_sub_overflow((int64_t)0, x, &negated))
            return fail_large(j);
        *out = jinja_int(op == JINJA_OP_MOD ? 0 : negated);
        return true;
    }
    int64_t quotient = floor_divide(x, y);
    *out = jinja_int(op == JINJA_OP_MOD ? x - quotient * y : quotient);
    return true;
}

static bool int_arithmetic(struct jinja *j, enum jinja_operator op, int64_t x, int64_t y,
                           struct jinja_value *out)
{
    int64_t result = 0;
    bool overflow = false;
    switch (op) {
    case JINJA_OP_ADD:
        overflow = __builtin_add_overflow(x, y, &result);
        break;
    case JINJA_OP_SUB:
        overflow = __builtin_sub_overflow(x, y, &result);
        break;
    case JINJA_OP_MUL:
        overflow = __builtin_mul_overflow(x, y, &result);
        break;
    case JINJA_OP_POW:
        return int_power(j, x, y, out);
    default:
        return int_division(j, op, x, y, out);
    }
    *out = jinja_int(result);
    return !overflow || fail_large(j);
}

static double float_modulo(double x, double y)
{
    double r = fmod(x, y);
    if (r == 0)
        return copysign(0, y);
    return (r < 0) != (y < 0) ? r + y : r;
}

static bool float_power(struct jinja *j, double x, double y, struct jinja_value *out)
{
    double r = pow(x, y);
    if (x == 0 && y < 0)
        return jinja_fail(j, "zero to a negative power");
    if (x < 0 && isfinite(y) && y != floor(y))
        return jinja_fail(j, "a negative number to a broken power");
    if (isinf(r) && isfinite(x) && isfinite(y))
        return jinja_fail(j, "a result too large for a float");
    *out = jinja_float(r);
    return true;
}

static bool float_arithmetic(struct jinja *j, enum jinja_operator op, double x, double y,
                             struct jinja_value *out)
{
    if (y == 0 && (op == JINJA_OP_DIV || op == JINJA_OP_FLOORDIV || op == JINJA_OP_MOD))
        return jinja_fail(j, "division by zero");
    double r;
    switch (op) {
    case JINJA_OP_ADD:
        r = x + y;
        break;
    case JINJA_OP_SUB:
        r = x - y;
        break;
    case JINJA_OP_MUL:
        r = x * y;
        break;
    case JINJA_OP_DIV:
        r = x / y;
        break;
    case JINJA_OP_FLOORDIV:
        r = floor((x - float_modulo(x, y)) / y + 0.5); /* CPython: the quotient is nearly whole */
        break;
    case JINJA_OP_MOD:
        r = float_modulo(x, y);
        break;
    default:
        return float_power(j, x, y, out);
    }
    *out = jinja_float(r);
    return true;
}

bool jinja_negate(struct jinja *j, const struct jinja_value *v, struct jinja_value *out)
{
    if (jinja_is(v, JINJA_UNDEFINED))
        return jinja_fail_undefined(j, v);
    if (jinja_is(v, JINJA_FLOAT)) {
        *out = jinja_float(-v->real);
        return true;
    }
    if (!jinja_is_integral(v))
        return jinja_fail(j, "'%s' has no sign", jinja_type_name(v));
    return int_arithmetic(j, JINJA_OP_SUB, 0, jinja_integer(v), out);
}

/* A new text for `a` and what follows, with room to grow: templates that collect text in a
 * namespace (ns.text = ns.text + …) then cost no more than the text. */
static char *tail_create(struct jinja *j, const struct jinja_value *a, size_t n)
{
    size_t cap = n < 64 ? n : n + n / 2;
    char *text = jinja_alloc(j, cap, 1);
    if (!text)
        return NULL;
    memcpy(text, a->text, a->n);
    j->tail.text = text;
    j->tail.marks = NULL;
    j->tail.cap = cap;
    return text;
}

/* The marks of the tail, which is `a` and `b`: written out only where both kinds are in it. */
static bool tail_marks(struct jinja *j, const struct jinja_value *a, const struct jinja_value *b,
                       const uint8_t **marks)
{
    *marks = a->marks;
    if (a->marks == b->marks && jinja_marks_alike(a->marks))
        return true;
    if (!j->tail.marks) {
        if (!(j->tail.marks = jinja_alloc(j, j->tail.cap, 1)))
            return false;
        jinja_marks_copy(j->tail.marks, a->marks, a->n);
    }
    jinja_marks_copy(j->tail.marks + a->n, b->marks, b->n);
    *marks = j->tail.marks;
    return true;
}

bool jinja_concat(struct jinja *j, const struct jinja_value *a, const struct jinja_value *b,
                  struct jinja_value *out)
{
    size_t n = (size_t)a->n + b->n;
    if (a->n == 0 || b->n == 0) {
        *out = a->n ? *a : *b;
        out->kind = 0;
        return true;
    }
    if (n > j->limits.max_bytes)
        return jinja_fail_memory(j);
    const struct jinja_value left = *a, right = *b; /* `out` may be one of them */
    const uint8_t *marks;
    bool grows = a->text == j->tail.text && a->n == j->tail.n && n <= j->tail.cap;
    char *text = grows ? (char *)(uintptr_t)j->tail.text : tail_create(j, a, n);
    if (!text || !tail_marks(j, &left, &right, &marks))
        return false;
    memcpy(text + left.n, right.text, right.n);
    size_t copied = grows ? right.n : n;
    j->tail.n = n;
    *out = jinja_string(text, n, marks);
    return jinja_charge_bytes(j, copied);
}

/* Text + text: if one is marked the other is escaped. */
static bool add_strings(struct jinja *j, const struct jinja_value *a, const struct jinja_value *b,
                        struct jinja_value *out)
{
    struct jinja_value left, right;
    if (!a->kind && !b->kind)
        return jinja_concat(j, a, b, out);
    if (!jinja_escape(j, a, &left) || !jinja_escape(j, b, &right) ||
        !jinja_concat(j, &left, &right, out))
        return false;
    out->kind = 1;
    return true;
}

static bool concat_lists(struct jinja *j, const struct jinja_value *a, const struct jinja_value *b,
                         struct jinja_value *out)
{
    struct jinja_list *list;
    if (!jinja_new_list(j, a->list->n + b->list->n, &list))
        return false;
    if (a->list->n)
        memcpy(list->items, a->list->items, a->list->n * sizeof *list->items);
    if (b->list->n)
        memcpy(list->items + a->list->n, b->list->items, b->list->n * sizeof *list->items);
    list->n = a->list->n + b->list->n;
    *out = jinja_of_list((enum jinja_type)a->type, list);
    return jinja_charge(j, 1 + list->n / 4);
}

static bool repeat_text(struct jinja *j, const struct jinja_value *v, size_t times,
                        struct jinja_value *out)
{
    bool alike = jinja_marks_alike(v->marks);
    size_t n = v->n;
    char *bytes = jinja_alloc(j, n * times, 1);
    uint8_t *marks = alike ? NULL : jinja_alloc(j, n * times, 1);
    if (!bytes || (!alike && !marks))
        return false;
    for (size_t i = 0; i < times; i++) {
        memcpy(bytes + i * n, v->text, n);
        if (marks)
            memcpy(marks + i * n, v->marks, n);
    }
    *out = jinja_markup_like(jinja_string(bytes, n * times, alike ? v->marks : marks), v);
    return jinja_charge(j, times / 16 + n * times / 64);
}

static bool repeat_sequence(struct jinja *j, const struct jinja_value *v, int64_t count,
                            struct jinja_value *out)
{
    bool text = jinja_is(v, JINJA_STRING);
    size_t n = text ? v->n : v->list->n, times = count > 0 && n ? (size_t)count : 0;
    if (times > j->limits.max_bytes / (n ? n : 1))
        return jinja_fail_memory(j);
    if (text)
        return repeat_text(j, v, times, out);
    struct jinja_list *list;
    if (!jinja_new_list(j, n * times, &list))
        return false;
    for (; list->n < n * times; list->n++)
        list->items[list->n] = v->list->items[list->n % n];
    *out = jinja_of_list((enum jinja_type)v->type, list);
    return jinja_charge(j, 1 + list->n / 4);
}

static bool is_sequence(const struct jinja_value *v)
{
    return jinja_is(v, JINJA_STRING) || jinja_is(v, JINJA_LIST) || jinja_is(v, JINJA_TUPLE);
}

bool jinja_binary(struct jinja *j, enum jinja_operator op, const struct jinja_value *a,
                  const struct jinja_value *b, struct jinja_value *out)
{
    if (jinja_is_integral(a) && jinja_is_integral(b))
        return int_arithmetic(j, op, jinja_integer(a), jinja_integer(b), out);
    if (jinja_is_number(a) && jinja_is_number(b))
        return float_arithmetic(j, op, jinja_real(a), jinja_real(b), out);
    if (op == JINJA_OP_ADD && a->type == b->type && is_sequence(a))
        return jinja_is(a, JINJA_STRING) ? add_strings(j, a, b, out) : concat_lists(j, a, b, out);
    if (op == JINJA_OP_MUL && is_sequence(a) && jinja_is_integral(b))
        return repeat_sequence(j, a, jinja_integer(b), out);
    if (op == JINJA_OP_MUL && is_sequence(b) && jinja_is_integral(a))
        return repeat_sequence(j, b, jinja_integer(a), out);
    if (op == JINJA_OP_MOD && jinja_is(a, JINJA_STRING))
        return jinja_percent(j, a, b, out);
    return fail_types(j, op, a, b);
}

static bool contains_item(struct jinja *j, const struct jinja_value *container,
                          const struct jinja_value *item, bool *out)
{
    const struct jinja_value *items;
    size_t n;
    *out = false;
    if (!jinja_items(j, container, &items, &n))
        return false;
    for (size_t i = 0; !*out && i < n; i++)
        if (!jinja_charge(j, 1) || !jinja_equal(j, &items[i], item, out))
            return false;
    return true;
}

static bool range_contains(const struct jinja_range *r, const struct jinja_value *item)
{
    if (!jinja_is_number(item) || jinja_real(item) != floor(jinja_real(item)))
        return false;
    int64_t i = jinja_is(item, JINJA_FLOAT) ? (int64_t)item->real : jinja_integer(item);
    bool inside = r->step > 0 ? i >= r->start && i < r->stop : i <= r->start && i > r->stop;
    return inside && (i - r->start) % r->step == 0;
}

bool jinja_contains(struct jinja *j, const struct jinja_value *container,
                    const struct jinja_value *item, bool *out)
{
    size_t at;
    switch (container->type) {
    case JINJA_STRING:
        if (jinja_is(item, JINJA_UNDEFINED))
            return jinja_fail_undefined(j, item);
        if (!jinja_is(item, JINJA_STRING))
            return jinja_fail(j, "only a string can be in a string, not '%s'",
                              jinja_type_name(item));
        *out = jinja_find_bytes(container->text, container->n, item->text, item->n, &at);
        return jinja_charge_bytes(j, container->n);
    case JINJA_DICT:
        if (!jinja_is(item, JINJA_UNDEFINED) && !jinja_hashable(item))
            return jinja_fail(j, "a value of type '%s' can't be a key", jinja_type_name(item));
        *out = !jinja_is(item, JINJA_UNDEFINED) && jinja_dict_find(container->dict, item);
        return jinja_charge_key(j, item);
    case JINJA_RANGE:
        if (!jinja_is(item, JINJA_FLOAT) || fabs(item->real) < 1e18) {
            *out = range_contains(container->range, item);
            return true;
        }
        *out = false;
        return true;
    default:
        if (!jinja_iterable(container))
            return jinja_fail(j, "a value of type '%s' contains nothing",
                              jinja_type_name(container));
        return contains_item(j, container, item, out);
    }
}

bool jinja_relation(struct jinja *j, enum jinja_operator op, const struct jinja_value *a,
                    const struct jinja_value *b, bool *out)
{
    int order = 0;
    switch (op) {
    case JINJA_OP_EQ:
        return jinja_equal(j, a, b, out);
    case JINJA_OP_NE:
        if (!jinja_equal(j, a, b, out))
            return false;
        *out = !*out;
        return true;
    case JINJA_OP_IN:
        return jinja_contains(j, b, a, out);
    case JINJA_OP_NOT_IN:
        if (!jinja_contains(j, b, a, out))
            return false;
        *out = !*out;
        return true;
    default:
        break;
    }
    if (!jinja_compare(j, a, b, &order))
        return false;
    *out = order != JINJA_UNORDERED &&
           ((op == JINJA_OP_LT && order < 0) || (op == JINJA_OP_LE && order <= 0) ||
            (op == JINJA_OP_GT && order > 0) || (op == JINJA_OP_GE && order >= 0));
    return true;
}
