/* Python's two ways to format text: "%s" % values, and "{}".format(values). What templates use is
 * here: flags, width, precision, and the types for text and numbers. */
#include "jinja/state.h"
#include "jinja/char.h"

#include <inttypes.h>
#include <stdio.h>

enum { MAX_WIDTH = 10000, MAX_NUMBER = 1024 /* bytes of one that is formatted */ };

struct spec {
    bool left, plus, space, zero, alternate, comma, center;
    const char *fill; /* of brace formats, [n_fill] */
    size_t n_fill;
    int width, precision; /* -1: none */
    char type;            /* or 0 */
};

struct cursor {
    const char *at, *end;
};

static bool read_count(struct cursor *c, int *out)
{
    int value = -1;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        value = (value < 0 ? 0 : value) * 10 + (*c->at - '0');
        if (value > MAX_WIDTH)
            return false;
    }
    *out = value;
    return true;
}

/* Pads text to the width; numbers with `zero` get zeros behind their sign. */
static void put_padded(const struct jinja_value *text, const struct spec *spec,
                       struct jinja_text *t)
{
    size_t n = text->n, n_points = jinja_char_count(text->text, n);
    size_t pad =
        spec->width > 0 && (size_t)spec->width > n_points ? (size_t)spec->width - n_points : 0;
    size_t left = spec->left ? 0 : spec->center ? pad / 2 : pad;
    const char *fill = spec->n_fill ? spec->fill : " ";
    size_t n_fill = spec->n_fill ? spec->n_fill : 1;
    if (spec->zero && !spec->left) {
        size_t sign = n && strchr("-+ ", text->text[0]) && text->text[0];
        jinja_text_part(t, text, 0, sign);
        for (size_t i = 0; i < pad; i++)
            jinja_text_putc(t, '0');
        jinja_text_part(t, text, sign, n - sign);
        return;
    }
    for (size_t i = 0; i < left; i++)
        jinja_text_append(t, fill, n_fill, JINJA_DATA);
    jinja_text_value(t, text);
    for (size_t i = left; i < pad; i++)
        jinja_text_append(t, fill, n_fill, JINJA_DATA);
}

static const char *sign_of(bool negative, const struct spec *spec)
{
    return negative ? "-" : spec->plus ? "+" : spec->space ? " " : "";
}

/* Digits in groups of three up to the point. */
static void put_grouped(const char *digits, struct jinja_text *t)
{
    size_t whole = strspn(digits, "0123456789");
    for (size_t i = 0; digits[i]; i++) {
        if (i && i < whole && (whole - i) % 3 == 0)
            jinja_text_putc(t, ',');
        jinja_text_putc(t, digits[i]);
    }
}

static void put_number(bool negative, const char *prefix, const char *digits,
                       const struct spec *spec, struct jinja_text *t)
{
    struct jinja_text text;
    jinja_text_init(&text, MAX_NUMBER);
    jinja_text_puts(&text, sign_of(negative, spec));
    jinja_text_puts(&text, prefix);
    if (spec->comma)
        put_grouped(digits, &text);
    else
        jinja_text_puts(&text, digits);
    struct jinja_value number = jinja_string(text.bytes.data, text.bytes.len, JINJA_DATA);
    if (jinja_text_failed(&text) || !number.text)
        t->bytes.failed = true;
    else
        put_padded(&number, spec, t);
    jinja_text_deinit(&text);
}

static void put_integer(int64_t value, const struct spec *spec, struct jinja_text *t)
{
    uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char digits[80];
    const char *prefix = "";
    if (spec->type == 'x' || spec->type == 'X') {
        snprintf(digits, sizeof digits, spec->type == 'x' ? "%" PRIx64 : "%" PRIX64, size);
        prefix = !spec->alternate ? "" : spec->type == 'x' ? "0x" : "0X";
    } else if (spec->type == 'o') {
        snprintf(digits, sizeof digits, "%" PRIo64, size);
        prefix = spec->alternate ? "0o" : "";
    } else if (spec->type == 'b') {
        int n = 0;
        for (int bit = 63; bit >= 0; bit--)
            if (n || bit == 0 || (size >> bit & 1))
                digits[n++] = (char)('0' + (size >> bit & 1));
        digits[n] = '\0';
        prefix = spec->alternate ? "0b" : "";
    } else {
        snprintf(digits, sizeof digits, "%" PRIu64, size);
    }
    put_number(value < 0, prefix, digits, spec, t);
}

static bool put_float(struct jinja *j, double value, const struct spec *spec, struct jinja_text *t)
{
    char digits[900];
    bool percent = spec->type == '%', negative = value < 0 || (value == 0 && 1 / value < 0);
    double size = (negative ? -value : value) * (percent ? 100 : 1);
    int precision = spec->precision < 0 ? 6 : spec->precision;
    char format[] = {'%', '.', '*', percent ? 'f' : spec->type, '\0'};
    if (precision > 400)
        return jinja_fail(j, "a precision above 400");
    if (!strchr("eEfFgG", format[3]))
        return jinja_fail(j, "the format '%c' is not supported", spec->type);
    switch (format[3]) { /* literal formats, so that the compiler checks them */
    case 'e':
        snprintf(digits, sizeof digits - 1, "%.*e", precision, size);
        break;
    case 'E':
        snprintf(digits, sizeof digits - 1, "%.*E", precision, size);
        break;
    case 'g':
        snprintf(digits, sizeof digits - 1, "%.*g", precision, size);
        break;
    case 'G':
        snprintf(digits, sizeof digits - 1, "%.*G", precision, size);
        break;
    default:
        snprintf(digits, sizeof digits - 1, "%.*f", precision, size);
    }
    if (percent)
        strcat(digits, "%");
    put_number(negative, "", digits, spec, t);
    return true;
}

static void put_text(struct jinja_value text, const struct spec *spec, struct jinja_text *t)
{
    if (spec->precision >= 0)
        text.n = (uint32_t)jinja_char_offset(text.text, text.n, (size_t)spec->precision);
    put_padded(&text, spec, t);
}

/* %-formats */

struct percent_values {
    const struct jinja_value *values; /* one, or a tuple's */
    size_t n, used;
    const struct jinja_dict *dict; /* of "%(name)s", or NULL */
    bool may_rest;                 /* Python lets a container go unused */
};

static bool next_value(struct jinja *j, struct percent_values *values, struct jinja_value *out)
{
    if (values->used == values->n)
        return jinja_fail(j, "there are not enough values for the format");
    *out = values->values[values->used++];
    return true;
}

static bool named_value(struct jinja *j, struct cursor *c, const struct percent_values *values,
                        struct jinja_value *out)
{
    const char *close = memchr(c->at, ')', (size_t)(c->end - c->at));
    if (!values->dict || !close)
        return jinja_fail(j, "a named format needs a dictionary");
    struct jinja_value key = jinja_own(c->at + 1, (size_t)(close - c->at - 1));
    const struct jinja_value *found = jinja_dict_find(values->dict, &key);
    if (!found)
        return jinja_fail(j, "the format's name is not in the dictionary");
    c->at = close + 1;
    *out = *found;
    return true;
}

static bool percent_spec(struct jinja *j, struct cursor *c, struct percent_values *values,
                         struct spec *spec)
{
    struct jinja_value v;
    int64_t given;
    *spec = (struct spec){.width = -1, .precision = -1};
    for (; c->at < c->end && strchr("-+ 0#", *c->at) && *c->at; c->at++) {
        spec->left |= *c->at == '-';
        spec->plus |= *c->at == '+';
        spec->space |= *c->at == ' ';
        spec->zero |= *c->at == '0';
        spec->alternate |= *c->at == '#';
    }
    if (c->at < c->end && *c->at == '*') {
        if (!next_value(j, values, &v) || !jinja_want_int(j, "*", &v, 0, &given))
            return false;
        if (given > MAX_WIDTH || given < -MAX_WIDTH)
            return jinja_fail(j, "a width above %d", MAX_WIDTH);
        spec->left |= given < 0;
        spec->width = (int)(given < 0 ? -given : given);
        c->at++;
    } else if (!read_count(c, &spec->width)) {
        return jinja_fail(j, "a width above %d", MAX_WIDTH);
    }
    if (c->at < c->end && *c->at == '.') {
        c->at++;
        if (!read_count(c, &spec->precision))
            return jinja_fail(j, "a precision above %d", MAX_WIDTH);
        spec->precision = spec->precision < 0 ? 0 : spec->precision;
    }
    if (c->at == c->end)
        return jinja_fail(j, "the format ends in the middle");
    spec->type = *c->at++;
    return true;
}

/* %c: a code point, or a string of one character. */
static bool put_character(struct jinja *j, const struct jinja_value *v, struct spec *spec,
                          struct jinja_text *t)
{
    char bytes[4];
    struct jinja_value text = *v;
    if (jinja_is_integral(v)) {
        int64_t point = jinja_integer(v);
        bool valid = point >= 0 && point <= 0x10FFFF && (point < 0xD800 || point > 0xDFFF);
        size_t n = valid ? jinja_char_encode((uint32_t)point, bytes) : 0;
        text = jinja_string(bytes, n, JINJA_DATA);
    }
    if (!jinja_is(&text, JINJA_STRING) || jinja_char_count(text.text, text.n) != 1)
        return jinja_fail(j, "%%c needs one character");
    spec->zero = false;
    put_padded(&text, spec, t);
    return true;
}

static bool put_percent(struct jinja *j, const struct jinja_value *v, struct spec *spec,
                        struct jinja_text *t)
{
    struct jinja_value text;
    struct jinja_text repr;
    switch (spec->type) {
    case 's':
    case 'r':
    case 'a':
        spec->zero = false;
        if (spec->type == 's') {
            if (!jinja_to_string(j, v, &text))
                return false;
        } else {
            jinja_scratch(j, &repr);
            if (!jinja_write_repr(j, v, &repr)) {
                jinja_text_deinit(&repr);
                return false;
            }
            if (!jinja_take(j, &repr, &text))
                return false;
        }
        put_text(text, spec, t);
        return true;
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o':
        if (!jinja_is_number(v) ||
            (jinja_is(v, JINJA_FLOAT) && !(v->real > -9e18 && v->real < 9e18)))
            return jinja_fail(j, "%%%c needs a number", spec->type);
        put_integer(jinja_is(v, JINJA_FLOAT) ? (int64_t)v->real : jinja_integer(v), spec, t);
        return true;
    case 'c':
        return put_character(j, v, spec, t);
    default:
        if (!spec->type || !strchr("eEfFgG", spec->type) || !jinja_is_number(v))
            return jinja_fail(j, "the format '%%%c' does not fit '%s'", spec->type,
                              jinja_type_name(v));
        return put_float(j, jinja_real(v), spec, t);
    }
}

static bool percent_one(struct jinja *j, struct cursor *c, struct percent_values *values,
                        struct jinja_text *t)
{
    struct spec spec;
    struct jinja_value v;
    bool named = c->at < c->end && *c->at == '(';
    if (named && !named_value(j, c, values, &v))
        return false;
    if (!percent_spec(j, c, values, &spec))
        return false;
    if (spec.type == '%')
        return jinja_text_putc(t, '%');
    return (named || next_value(j, values, &v)) && put_percent(j, &v, &spec, t);
}

static bool percent_all(struct jinja *j, const struct jinja_value *format,
                        struct percent_values *values, struct jinja_text *t)
{
    struct cursor c = {format->text, format->text + format->n};
    while (c.at < c.end) {
        const char *sign = memchr(c.at, '%', (size_t)(c.end - c.at));
        jinja_text_part(t, format, (size_t)(c.at - format->text),
                        (size_t)((sign ? sign : c.end) - c.at));
        if (!sign)
            break;
        c.at = sign + 1;
        if (!jinja_charge(j, 1) || !percent_one(j, &c, values, t))
            return false;
    }
    if (!values->may_rest && values->used < values->n)
        return jinja_fail(j, "not all values are used by the format");
    return true;
}

bool jinja_percent(struct jinja *j, const struct jinja_value *format,
                   const struct jinja_value *values, struct jinja_value *out)
{
    struct percent_values source = {.values = values, .n = 1};
    struct jinja_text t;
    if (jinja_is(values, JINJA_TUPLE)) {
        source.values = values->list->items;
        source.n = values->list->n;
    } else if (jinja_is(values, JINJA_DICT)) {
        source.dict = values->dict;
    }
    source.may_rest =
        source.dict || jinja_is(values, JINJA_LIST) || jinja_is(values, JINJA_UNDEFINED);
    jinja_scratch(j, &t);
    if (!percent_all(j, format, &source, &t) && !jinja_text_failed(&t)) {
        jinja_text_deinit(&t);
        return false;
    }
    return jinja_take(j, &t, out);
}

/* {}-formats */

static bool brace_argument(struct jinja *j, const struct jinja_args *args, const char *name,
                           size_t n, size_t *next, struct jinja_value *out)
{
    struct cursor c = {name, name + n};
    int index = -1;
    if (n == 0)
        index = (int)(*next < MAX_WIDTH ? (*next)++ : MAX_WIDTH);
    else if (!read_count(&c, &index))
        index = MAX_WIDTH;
    if (index >= 0 && (n == 0 || c.at == c.end)) {
        if ((size_t)index >= args->n)
            return jinja_fail(j, "the format has no argument number %d", index);
        *out = args->items[index];
        return true;
    }
    for (size_t i = 0; i < args->n_named; i++)
        if (args->named[i].name.n == n && memcmp(args->named[i].name.text, name, n) == 0) {
            *out = args->named[i].value;
            return true;
        }
    return jinja_fail(j, "the format has no argument '%.*s'", (int)(n < 60 ? n : 60), name);
}

/* name.member[key]… */
static bool brace_field(struct jinja *j, const struct jinja_args *args, struct cursor field,
                        size_t *next, struct jinja_value *out)
{
    const char *at = field.at;
    while (at < field.end && *at != '.' && *at != '[')
        at++;
    if (!brace_argument(j, args, field.at, (size_t)(at - field.at), next, out))
        return false;
    while (at < field.end) {
        bool bracket = *at++ == '[';
        const char *start = at;
        struct jinja_value object = *out;
        while (at < field.end && (bracket ? *at != ']' : *at != '.' && *at != '['))
            at++;
        struct cursor digits = {start, at};
        int index = -1;
        bool counted = read_count(&digits, &index) && index >= 0 && digits.at == at;
        struct jinja_value key =
            bracket && counted ? jinja_int(index) : jinja_own(start, (size_t)(at - start));
        bool ok = bracket ? jinja_item(j, &object, &key, out)
                          : jinja_attribute(j, &object, key.text, key.n, out);
        if (!ok)
            return false;
        at += bracket && at < field.end;
    }
    return true;
}

/* [[fill]align][sign][#][0][width][,][.precision][type] */
static bool brace_spec(struct jinja *j, struct cursor c, struct spec *spec, char *align)
{
    *spec = (struct spec){.width = -1, .precision = -1};
    *align = 0;
    uint32_t point;
    size_t step = c.at < c.end ? jinja_char_decode(c.at, (size_t)(c.end - c.at), &point) : 0;
    if (step && c.at + step < c.end && strchr("<>^=", c.at[step]) && c.at[step]) {
        spec->fill = c.at;
        spec->n_fill = step;
        c.at += step;
    }
    if (c.at < c.end && *c.at && strchr("<>^=", *c.at))
        *align = *c.at++;
    for (; c.at < c.end && (*c.at == '+' || *c.at == '-' || *c.at == ' '); c.at++) {
        spec->plus = *c.at == '+';
        spec->space = *c.at == ' ';
    }
    if (c.at < c.end && *c.at == '#')
        spec->alternate = c.at++ != NULL;
    if (c.at < c.end && *c.at == '0')
        spec->zero = c.at++ != NULL;
    if (!read_count(&c, &spec->width))
        return jinja_fail(j, "a width above %d", MAX_WIDTH);
    if (c.at < c.end && *c.at == ',')
        spec->comma = c.at++ != NULL;
    if (c.at < c.end && *c.at == '.') {
        c.at++;
        if (!read_count(&c, &spec->precision) || spec->precision < 0)
            return jinja_fail(j, "a format's precision is missing or too large");
    }
    if (c.at < c.end && *c.at)
        spec->type = *c.at++;
    spec->zero |= *align == '=' && spec->n_fill == 1 && *spec->fill == '0';
    return c.at == c.end || jinja_fail(j, "a format specification that is not understood");
}

static bool put_brace(struct jinja *j, const struct jinja_value *v, struct cursor format,
                      struct jinja_text *t)
{
    struct spec spec;
    struct jinja_value text;
    char align;
    if (format.at == format.end)
        return jinja_write(j, v, t);
    if (!brace_spec(j, format, &spec, &align))
        return false;
    bool number = jinja_is(v, JINJA_INT) || jinja_is(v, JINJA_FLOAT) ||
                  (jinja_is(v, JINJA_BOOL) && spec.type);
    spec.left = align == '<' || (!align && !number);
    spec.center = align == '^';
    spec.zero = spec.zero && (!align || align == '=');
    if (jinja_is_integral(v) && number && (!spec.type || strchr("dxXob", spec.type))) {
        put_integer(jinja_integer(v), &spec, t);
        return true;
    }
    if (number && spec.type && strchr("eEfFgG%", spec.type))
        return put_float(j, jinja_real(v), &spec, t);
    if ((spec.type && spec.type != 's') || (jinja_is(v, JINJA_FLOAT) && spec.precision >= 0))
        return jinja_fail(j, "the format '%c' does not fit '%s'", spec.type ? spec.type : '.',
                          jinja_type_name(v));
    if (!jinja_is(v, JINJA_STRING) && !number)
        return jinja_fail(j, "'%s' takes no format specification", jinja_type_name(v));
    if (!jinja_to_string(j, v, &text))
        return false;
    put_text(text, &spec, t);
    return true;
}

static bool convert_value(struct jinja *j, char conversion, struct jinja_value *v)
{
    struct jinja_text t;
    if (conversion == 's')
        return jinja_to_string(j, v, v);
    if (conversion != 'r')
        return jinja_fail(j, "the conversion '!%c' is not supported", conversion);
    jinja_scratch(j, &t);
    if (!jinja_write_repr(j, v, &t)) {
        jinja_text_deinit(&t);
        return false;
    }
    return jinja_take(j, &t, v);
}

/* What stands between the braces. */
static bool brace_one(struct jinja *j, struct cursor inside, const struct jinja_args *args,
                      size_t *next, struct jinja_text *t)
{
    struct jinja_value v;
    size_t n = (size_t)(inside.end - inside.at);
    const char *colon = memchr(inside.at, ':', n);
    struct cursor field = {inside.at, colon ? colon : inside.end};
    struct cursor format = {colon ? colon + 1 : inside.end, inside.end};
    char conversion = 0;
    if (field.end - field.at >= 2 && field.end[-2] == '!') {
        conversion = field.end[-1];
        field.end -= 2;
    }
    return brace_field(j, args, field, next, &v) &&
           (!conversion || convert_value(j, conversion, &v)) && put_brace(j, &v, format, t);
}

static bool brace_all(struct jinja *j, const struct jinja_value *format,
                      const struct jinja_args *args, struct jinja_text *t)
{
    const char *at = format->text, *end = at + format->n;
    size_t next = 0;
    while (at < end) {
        size_t place = (size_t)(at - format->text);
        char c = *at++;
        if (c != '{' && c != '}') {
            jinja_text_part(t, format, place, 1);
        } else if (at < end && *at == c) {
            jinja_text_part(t, format, place, 1);
            at++;
        } else {
            const char *close = c == '{' ? memchr(at, '}', (size_t)(end - at)) : NULL;
            if (!close || memchr(at, '{', (size_t)(close - at)))
                return jinja_fail(j, "the braces of a format don't match");
            if (!jinja_charge(j, 1) || !brace_one(j, (struct cursor){at, close}, args, &next, t))
                return false;
            at = close + 1;
        }
    }
    return true;
}

bool jinja_brace_format(struct jinja *j, const struct jinja_value *format,
                        const struct jinja_args *args, struct jinja_value *out)
{
    struct jinja_text t;
    jinja_scratch(j, &t);
    if (!jinja_charge(j, format->n / 16) || !brace_all(j, format, args, &t)) {
        jinja_text_deinit(&t);
        return false;
    }
    return jinja_take(j, &t, out);
}
