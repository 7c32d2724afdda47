/* The tests of the template language: what may follow `is`. */
#include "jinja/state.h"
#include "jinja/char.h"

#define TEST(name)                                                                                 \
    static bool name(struct jinja *j, const struct jinja_value *self,                              \
                     const struct jinja_args *args, bool *out)

/* A test without arguments whose answer is `condition`. */
#define SIMPLE_TEST(name, condition)                                                               \
    TEST(name)                                                                                     \
    {                                                                                              \
        *out = (condition);                                                                        \
        return jinja_bind(j, "this test", args, NULL, 0, 0, NULL);                                 \
    }

SIMPLE_TEST(test_defined, !jinja_is(self, JINJA_UNDEFINED))
SIMPLE_TEST(test_undefined, jinja_is(self, JINJA_UNDEFINED))
SIMPLE_TEST(test_none, jinja_is(self, JINJA_NONE))
SIMPLE_TEST(test_boolean, jinja_is(self, JINJA_BOOL))
SIMPLE_TEST(test_true, jinja_is(self, JINJA_BOOL) && self->boolean)
SIMPLE_TEST(test_false, jinja_is(self, JINJA_BOOL) && !self->boolean)
SIMPLE_TEST(test_integer, jinja_is(self, JINJA_INT) || jinja_is_large(self))
SIMPLE_TEST(test_float, jinja_is(self, JINJA_FLOAT) && !jinja_is_large(self))
SIMPLE_TEST(test_number, jinja_is_number(self))
SIMPLE_TEST(test_string, jinja_is(self, JINJA_STRING))
SIMPLE_TEST(test_mapping, jinja_is(self, JINJA_DICT))
SIMPLE_TEST(test_iterable, jinja_iterable(self) || jinja_is(self, JINJA_LOOP))
SIMPLE_TEST(test_escaped, jinja_is(self, JINJA_STRING) && self->kind)

TEST(test_sequence)
{
    switch (self->type) {
    case JINJA_UNDEFINED: /* it has a length, and says nothing against being indexed */
    case JINJA_STRING:
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
    case JINJA_RANGE:
        *out = true;
        break;
    default:
        *out = false;
    }
    return jinja_bind(j, "sequence", args, NULL, 0, 0, NULL);
}

TEST(test_callable)
{
    switch (self->type) {
    case JINJA_UNDEFINED: /* it has a __call__, which fails */
    case JINJA_FUNCTION:
    case JINJA_METHOD:
    case JINJA_MACRO:
    case JINJA_LOOP:
    case JINJA_JOINER:
        *out = true;
        break;
    default:
        *out = false;
    }
    return jinja_bind(j, "callable", args, NULL, 0, 0, NULL);
}

static bool case_test(struct jinja *j, const struct jinja_value *self,
                      const struct jinja_args *args, const char *method, bool *out)
{
    struct jinja_value text, yes;
    if (!jinja_to_string(j, self, &text) ||
        !jinja_string_method(method, strlen(method))->call(j, &text, args, &yes))
        return false;
    *out = yes.boolean;
    return true;
}
TEST(test_lower)
{
    return case_test(j, self, args, "islower", out);
}
TEST(test_upper)
{
    return case_test(j, self, args, "isupper", out);
}

static bool remainder_is(struct jinja *j, const struct jinja_value *self,
                         const struct jinja_value *divisor, int64_t wanted, bool *out)
{
    struct jinja_value rest, expected = jinja_int(wanted);
    return jinja_binary(j, JINJA_OP_MOD, self, divisor, &rest) &&
           jinja_equal(j, &rest, &expected, out);
}

TEST(test_odd)
{
    struct jinja_value two = jinja_int(2);
    return jinja_bind(j, "odd", args, NULL, 0, 0, NULL) && remainder_is(j, self, &two, 1, out);
}

TEST(test_even)
{
    struct jinja_value two = jinja_int(2);
    return jinja_bind(j, "even", args, NULL, 0, 0, NULL) && remainder_is(j, self, &two, 0, out);
}

TEST(test_divisibleby)
{
    static const char *const names[] = {"num"};
    struct jinja_value divisor;
    return jinja_bind(j, "divisibleby", args, names, 1, 1, &divisor) &&
           remainder_is(j, self, &divisor, 0, out);
}

static bool relation_test(struct jinja *j, const struct jinja_value *self,
                          const struct jinja_args *args, enum jinja_operator op, bool *out)
{
    static const char *const names[] = {"other"};
    struct jinja_value other;
    return jinja_bind(j, "a comparison", args, names, 1, 1, &other) &&
           jinja_relation(j, op, self, &other, out);
}
TEST(test_eq)
{
    return relation_test(j, self, args, JINJA_OP_EQ, out);
}
TEST(test_ne)
{
    return relation_test(j, self, args, JINJA_OP_NE, out);
}
TEST(test_lt)
{
    return relation_test(j, self, args, JINJA_OP_LT, out);
}
TEST(test_le)
{
    return relation_test(j, self, args, JINJA_OP_LE, out);
}
TEST(test_gt)
{
    return relation_test(j, self, args, JINJA_OP_GT, out);
}
TEST(test_ge)
{
    return relation_test(j, self, args, JINJA_OP_GE, out);
}
TEST(test_in)
{
    return relation_test(j, self, args, JINJA_OP_IN, out);
}

/* Python's `is`: the same object. Small values are equal and of one type. */
TEST(test_sameas)
{
    static const char *const names[] = {"other"};
    struct jinja_value other;
    if (!jinja_bind(j, "sameas", args, names, 1, 1, &other))
        return false;
    *out = false;
    if (self->type != other.type)
        return true;
    if (jinja_is_number(self) || jinja_is(self, JINJA_NONE) || jinja_is(self, JINJA_STRING))
        return jinja_equal(j, self, &other, out);
    *out = !jinja_is(self, JINJA_UNDEFINED) && self->list == other.list;
    return true;
}

TEST(test_filter)
{
    *out = jinja_is(self, JINJA_STRING) && jinja_filter(self->text, self->n);
    return jinja_bind(j, "filter", args, NULL, 0, 0, NULL);
}

TEST(test_test)
{
    *out = jinja_is(self, JINJA_STRING) && jinja_test(self->text, self->n);
    return jinja_bind(j, "test", args, NULL, 0, 0, NULL);
}

const struct jinja_test *jinja_test(const char *name, size_t n)
{
    static const struct jinja_test tests[] = {
        {"defined", test_defined},
        {"undefined", test_undefined},
        {"none", test_none},
        {"boolean", test_boolean},
        {"true", test_true},
        {"false", test_false},
        {"integer", test_integer},
        {"float", test_float},
        {"number", test_number},
        {"string", test_string},
        {"mapping", test_mapping},
        {"sequence", test_sequence},
        {"iterable", test_iterable},
        {"callable", test_callable},
        {"escaped", test_escaped},
        {"lower", test_lower},
        {"upper", test_upper},
        {"odd", test_odd},
        {"even", test_even},
        {"divisibleby", test_divisibleby},
        {"==", test_eq},
        {"eq", test_eq},
        {"equalto", test_eq},
        {"!=", test_ne},
        {"ne", test_ne},
        {"<", test_lt},
        {"lt", test_lt},
        {"lessthan", test_lt},
        {"<=", test_le},
        {"le", test_le},
        {">", test_gt},
        {"gt", test_gt},
        {"greaterthan", test_gt},
        {">=", test_ge},
        {"ge", test_ge},
        {"in", test_in},
        {"sameas", test_sameas},
        {"filter", test_filter},
        {"test", test_test},
    };
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (strlen(tests[i].name) == n && memcmp(tests[i].name, name, n) == 0)
            return &tests[i];
    return NULL;
}
