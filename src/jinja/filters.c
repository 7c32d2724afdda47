/* The filters on single values: text, numbers, JSON. Those on sequences are in
 * filters_sequence.c, whose table this file asks, too. */
#include "jinja/state.h"
#include "jinja/filters.h"
#include "jinja/char.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* soft_str: what text filters do with a value that is no string. */
static bool text_of(struct jinja *j, const struct jinja_value *v, struct jinja_value *out)
{
    return jinja_to_string(j, v, out);
}

FILTER(filter_default)
{
    static const char *const names[] = {"default_value", "boolean"};
    struct jinja_value given[2];
    if (!jinja_bind(j, "default", args, names, 2, 0, given))
        return false;
    bool replace =
        jinja_is(self, JINJA_UNDEFINED) || (jinja_truth(&given[1]) && !jinja_truth(self));
    if (!replace)
        *out = *self;
    else
        *out = jinja_is(&given[0], JINJA_ABSENT) ? jinja_own("", 0) : given[0];
    return true;
}

FILTER(filter_string)
{
    return jinja_no_arguments(j, "string", args) && text_of(j, self, out);
}

static bool case_filter(struct jinja *j, const struct jinja_value *self,
                        const struct jinja_args *args, enum jinja_case how, struct jinja_value *out)
{
    struct jinja_value text;
    return jinja_no_arguments(j, "a filter of case", args) && text_of(j, self, &text) &&
           jinja_change_case(j, &text, how, out);
}
FILTER(filter_upper)
{
    return case_filter(j, self, args, JINJA_UPPER, out);
}
FILTER(filter_lower)
{
    return case_filter(j, self, args, JINJA_LOWER, out);
}
FILTER(filter_capitalize)
{
    return case_filter(j, self, args, JINJA_CAPITALIZE, out);
}

/* Unlike str.title, words begin only after white space and ( { [ < -. */
FILTER(filter_title)
{
    struct jinja_value text, lower;
    struct jinja_text t;
    bool begins = true;
    if (!jinja_no_arguments(j, "title", args) || !text_of(j, self, &text))
        return false;
    jinja_scratch(j, &t);
    for (uint32_t i = 0; i < text.n;) {
        uint32_t c;
        char bytes[4];
        size_t step = jinja_char_decode(text.text + i, text.n - i, &c);
        bool separates = jinja_char_is_space(c) || (c < 0x80 && c && strchr("-({[<", (int)c));
        if (c == 0xFFFD && step == 1) {
            jinja_text_part(&t, &text, i, 1);
        } else {
            size_t n = 2;
            if (c == 0xDF && begins)
                memcpy(bytes, "SS", n);
            else
                n = jinja_char_encode(begins ? jinja_char_upper(c) : jinja_char_lower(c), bytes);
            jinja_text_append(&t, bytes, n, jinja_marks_of(text.marks, i));
        }
        begins = separates;
        i += (uint32_t)step;
    }
    return jinja_take(j, &t, &lower) && (*out = lower, jinja_charge(j, text.n / 4));
}

FILTER(filter_trim)
{
    static const char *const names[] = {"chars"};
    struct jinja_value chars, text;
    return jinja_bind(j, "trim", args, names, 1, 0, &chars) && text_of(j, self, &text) &&
           jinja_strip(j, &text, &chars, JINJA_STRIP_LEFT | JINJA_STRIP_RIGHT, out);
}

FILTER(filter_replace)
{
    static const char *const names[] = {"old", "new", "count"};
    struct jinja_value given[3], text, old, new, none = {.type = JINJA_ABSENT};
    int64_t count;
    if (!jinja_bind(j, "replace", args, names, 3, 2, given))
        return false;
    return jinja_want_int(j, "replace", jinja_is(&given[2], JINJA_NONE) ? &none : &given[2], -1,
                          &count) &&
           text_of(j, self, &text) && text_of(j, &given[0], &old) && text_of(j, &given[1], &new) &&
           jinja_replace(j, &text, &old, &new, count, out);
}

FILTER(filter_safe)
{
    bool ok = jinja_no_arguments(j, "safe", args) && text_of(j, self, out);
    out->kind = ok;
    return ok;
}

FILTER(filter_escape)
{
    struct jinja_value text;
    return jinja_no_arguments(j, "escape", args) && text_of(j, self, &text) &&
           jinja_escape(j, &text, out);
}

FILTER(filter_forceescape)
{
    struct jinja_value text;
    if (!jinja_no_arguments(j, "forceescape", args) || !text_of(j, self, &text))
        return false;
    text.kind = 0;
    return jinja_escape(j, &text, out);
}

FILTER(filter_center)
{
    static const char *const names[] = {"width"};
    struct jinja_value given, text, space = jinja_own(" ", 1);
    int64_t width;
    return jinja_bind(j, "center", args, names, 1, 0, &given) &&
           jinja_want_int(j, "center", &given, 80, &width) && text_of(j, self, &text) &&
           jinja_center(j, &text, width, &space, 0, out);
}

static bool indent_lines(struct jinja *j, const struct jinja_value *text,
                         const struct jinja_value *indent, bool first, bool blank,
                         struct jinja_text *t)
{
    struct jinja_list *lines;
    if (!jinja_new_list(j, 0, &lines) || !jinja_split_lines(j, text, false, lines))
        return false;
    for (size_t i = 0; i < lines->n; i++) {
        if (i)
            jinja_text_putc(t, '\n');
        bool deep = i == 0 ? first : blank || lines->items[i].n > 0;
        if (deep)
            jinja_text_value(t, indent);
        jinja_text_value(t, &lines->items[i]);
    }
    return true;
}

FILTER(filter_indent)
{
    static const char *const names[] = {"width", "first", "blank"};
    struct jinja_value given[3], text, indent, space = jinja_own(" ", 1);
    int64_t width = 4;
    struct jinja_text t;
    if (!jinja_bind(j, "indent", args, names, 3, 0, given) || !jinja_want_string(j, "indent", self))
        return false;
    if (jinja_is(&given[0], JINJA_STRING))
        indent = given[0];
    else if (!jinja_want_int(j, "indent", &given[0], 4, &width) ||
             !jinja_center(j, &(struct jinja_value){.type = JINJA_STRING, .text = ""}, width,
                           &space, 1, &indent))
        return false;
    /* jinja2 adds a newline so that the last line counts even if it is empty */
    jinja_scratch(j, &t);
    jinja_text_value(&t, self);
    jinja_text_putc(&t, '\n');
    if (!jinja_take(j, &t, &text))
        return false;
    jinja_scratch(j, &t);
    if (!indent_lines(j, &text, &indent, jinja_truth(&given[1]), jinja_truth(&given[2]), &t)) {
        jinja_text_deinit(&t);
        return false;
    }
    return jinja_take(j, &t, out);
}

FILTER(filter_truncate)
{
    static const char *const names[] = {"length", "killwords", "end", "leeway"};
    struct jinja_value given[4], end = jinja_own("...", 3);
    int64_t length, leeway;
    if (!jinja_bind(j, "truncate", args, names, 4, 0, given) ||
        !jinja_want_string(j, "truncate", self) ||
        !jinja_want_int(j, "truncate", &given[0], 255, &length) ||
        !jinja_want_int(j, "truncate", &given[3], 5, &leeway))
        return false;
    if (!jinja_is(&given[2], JINJA_ABSENT))
        end = given[2];
    if (!jinja_want_string(j, "truncate", &end))
        return false;
    int64_t n_end = (int64_t)jinja_char_count(end.text, end.n);
    if (length < n_end || leeway < 0)
        return jinja_fail(j, "truncate: the length is too small");
    *out = *self;
    if (leeway > INT32_MAX || length > INT32_MAX ||
        (int64_t)jinja_char_count(self->text, self->n) <= length + leeway)
        return true;
    struct jinja_value kept =
        jinja_part(self, 0, jinja_char_offset(self->text, self->n, (size_t)(length - n_end)));
    const char *space = jinja_truth(&given[1]) || !kept.n ? NULL : memrchr(kept.text, ' ', kept.n);
    if (space)
        kept.n = (uint32_t)(space - kept.text);
    return jinja_concat(j, &kept, &end, out);
}

FILTER(filter_wordcount)
{
    struct jinja_value text;
    int64_t n = 0;
    bool inside = false;
    if (!jinja_no_arguments(j, "wordcount", args) || !text_of(j, self, &text))
        return false;
    for (uint32_t i = 0; i < text.n;) {
        uint32_t c;
        i += (uint32_t)jinja_char_decode(text.text + i, text.n - i, &c);
        bool word = c == '_' || jinja_char_is_alpha(c) || jinja_char_is_number(c);
        n += word && !inside;
        inside = word;
    }
    *out = jinja_int(n);
    return jinja_charge(j, text.n / 16);
}

/* With '+' for a space in the pairs of a query. */
static void quote_url(const struct jinja_value *text, bool query, struct jinja_text *t)
{
    for (uint32_t i = 0; i < text->n; i++) {
        unsigned char c = (unsigned char)text->text[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (plain || (c && strchr(query ? "_.-~" : "/_.-~", c)))
            jinja_text_part(t, text, i, 1);
        else if (query && c == ' ')
            jinja_text_putc(t, '+');
        else
            jinja_text_printf(t, "%%%02X", c);
    }
}

/* Text, or key=value pairs of a dictionary. */
FILTER(filter_urlencode)
{
    struct jinja_value text;
    struct jinja_text t;
    bool ok = jinja_no_arguments(j, "urlencode", args);
    jinja_scratch(j, &t);
    if (jinja_is(self, JINJA_DICT)) {
        for (size_t i = 0; ok && i < self->dict->n; i++) {
            if (i)
                jinja_text_putc(&t, '&');
            ok = text_of(j, &self->dict->pairs[i].key, &text);
            if (ok)
                quote_url(&text, true, &t);
            jinja_text_putc(&t, '=');
            ok = ok && text_of(j, &self->dict->pairs[i].value, &text);
            if (ok)
                quote_url(&text, true, &t);
        }
    } else {
        ok = ok && text_of(j, self, &text);
        if (ok)
            quote_url(&text, false, &t);
    }
    ok = ok && jinja_charge(j, t.bytes.len / 16);
    if (!ok) {
        jinja_text_deinit(&t);
        return false;
    }
    return jinja_take(j, &t, out);
}

/* Numbers */

/* The value of the digits in text, or 36 for what is none. */
static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'Z' ? c - 'A' + 10 : 36;
}

static bool has_base_prefix(struct jinja_value s, int base)
{
    char mark = s.n > 2 && s.text[0] == '0' ? (char)(s.text[1] | 0x20) : 0;
    return (base == 16 && mark == 'x') || (base == 8 && mark == 'o') || (base == 2 && mark == 'b');
}

/* int("  -1_000 "), in a base; false if it is no integer. *large: it is one of more than 64 bits.
 */
static bool parse_int(struct jinja_value s, int base, int64_t *out, bool *large)
{
    size_t skip = jinja_char_space_prefix(s.text, s.n);
    s = jinja_part(&s, skip, s.n - skip);
    s.n -= (uint32_t)jinja_char_space_suffix(s.text, s.n);
    bool negative = s.n && s.text[0] == '-', digit_before = false;
    int64_t value = 0;
    *large = false;
    if (s.n && (s.text[0] == '-' || s.text[0] == '+'))
        s = jinja_part(&s, 1, s.n - 1);
    if (has_base_prefix(s, base))
        s = jinja_part(&s, 2, s.n - 2);
    for (uint32_t i = 0; i < s.n; i++) {
        if (s.text[i] == '_' && digit_before && i + 1 < s.n) {
            digit_before = false;
            continue;
        }
        int digit = digit_of(s.text[i]);
        if (digit >= base)
            return false;
        digit_before = true;
        *large |= __builtin_mul_overflow(value, base, &value) ||
                  __builtin_add_overflow(value, negative ? -digit : digit, &value);
    }
    *out = value;
    return digit_before;
}

static bool word_is(const char *text, const char *word)
{
    for (; *word; text++, word++)
        if ((*text | 0x20) != *word)
            return false;
    return *text == '\0';
}

/* float("…"): what strtod reads without its hexadecimal and other extras. */
static bool parse_float(struct jinja_value s, double *out)
{
    char text[512];
    size_t n = 0, skip = jinja_char_space_prefix(s.text, s.n);
    s = jinja_part(&s, skip, s.n - skip);
    s.n -= (uint32_t)jinja_char_space_suffix(s.text, s.n);
    if (s.n == 0 || s.n >= sizeof text)
        return false;
    for (uint32_t i = 0; i < s.n; i++) {
        bool between =
            i > 0 && i + 1 < s.n && digit_of(s.text[i - 1]) < 10 && digit_of(s.text[i + 1]) < 10;
        if (s.text[i] == '_' && between)
            continue;
        if (s.text[i] == '\0')
            return false;
        text[n++] = s.text[i];
    }
    text[n] = '\0';
    const char *bare = text + (text[0] == '-' || text[0] == '+');
    bool named = word_is(bare, "nan") || word_is(bare, "inf") || word_is(bare, "infinity");
    if (!named && bare[strspn(bare, "0123456789.eE+-")])
        return false;
    char *end;
    *out = strtod(text, &end);
    return *end == '\0' && end != text;
}

/* int(x) of a float: what does not fit 64 bits is an error, infinities and NaN are no integers. */
static bool int_of_float(struct jinja *j, double d, const struct jinja_value *otherwise,
                         struct jinja_value *out)
{
    if (isnan(d) || isinf(d)) {
        *out = *otherwise;
        return true;
    }
    if (!(d > -9.2e18 && d < 9.2e18))
        return jinja_fail(j, "an integer of more than 64 bits");
    *out = jinja_int((int64_t)d);
    return true;
}

FILTER(filter_int)
{
    static const char *const names[] = {"default", "base"};
    struct jinja_value given[2];
    int64_t base, value;
    double d;
    bool large;
    if (!jinja_bind(j, "int", args, names, 2, 0, given) ||
        !jinja_want_int(j, "int", &given[1], 10, &base))
        return false;
    if (jinja_is(&given[0], JINJA_ABSENT))
        given[0] = jinja_int(0);
    if (jinja_is(self, JINJA_UNDEFINED))
        return jinja_fail_undefined(j, self);
    if (jinja_is_integral(self) || jinja_is_large(self)) {
        *out = jinja_is_large(self) ? *self : jinja_int(jinja_integer(self));
        return true;
    }
    if (jinja_is(self, JINJA_FLOAT))
        return int_of_float(j, self->real, &given[0], out);
    *out = given[0];
    if (!jinja_is(self, JINJA_STRING))
        return true;
    if (base < 2 || base > 36)
        return jinja_fail(j, "int: the base is not between 2 and 36");
    if (parse_int(*self, (int)base, &value, &large)) {
        *out = jinja_int(value);
        return !large || jinja_fail(j, "an integer of more than 64 bits");
    }
    return !parse_float(*self, &d) || int_of_float(j, d, &given[0], out);
}

FILTER(filter_float)
{
    static const char *const names[] = {"default"};
    struct jinja_value given;
    double d;
    if (!jinja_bind(j, "float", args, names, 1, 0, &given))
        return false;
    if (jinja_is(self, JINJA_UNDEFINED))
        return jinja_fail_undefined(j, self);
    if (jinja_is_number(self))
        *out = jinja_float(jinja_real(self));
    else if (jinja_is(self, JINJA_STRING) && parse_float(*self, &d))
        *out = jinja_float(d);
    else
        *out = jinja_is(&given, JINJA_ABSENT) ? jinja_float(0) : given;
    return true;
}

FILTER(filter_abs)
{
    if (!jinja_no_arguments(j, "abs", args))
        return false;
    if (jinja_is(self, JINJA_UNDEFINED))
        return jinja_fail_undefined(j, self);
    if (!jinja_is_number(self))
        return jinja_fail(j, "abs needs a number, got '%s'", jinja_type_name(self));
    if (!jinja_is(self, JINJA_FLOAT) && jinja_integer(self) >= 0)
        *out = jinja_int(jinja_integer(self));
    else if (!jinja_is(self, JINJA_FLOAT))
        return jinja_negate(j, self, out);
    else
        *out = jinja_float(fabs(self->real));
    return true;
}

/* Correctly rounded decimal text and back, as Python does it: half to even on the exact value. */
static double round_decimal(double d, int64_t digits)
{
    char text[400];
    if (digits > 22 || !isfinite(d))
        return d;
    if (digits >= 0) {
        snprintf(text, sizeof text, "%.*f", (int)digits, d);
        return strtod(text, NULL);
    }
    double scale = pow(10, (double)-digits);
    return isinf(scale) ? 0 * d : rint(d / scale) * scale;
}

static bool round_integer(struct jinja *j, int64_t value, int64_t digits, struct jinja_value *out)
{
    *out = jinja_int(value);
    if (digits >= 0)
        return true;
    int64_t scale = 1;
    for (; digits < 0; digits++)
        if (__builtin_mul_overflow(scale, 10, &scale)) {
            *out = jinja_int(0);
            return true;
        }
    int64_t rest = value % scale, down = value - rest, half = scale / 2;
    int64_t size = rest < 0 ? -rest : rest, step = value < 0 ? -scale : scale;
    bool up = size > half || (size == half && (down / scale) % 2 != 0);
    if (up && __builtin_add_overflow(down, step, &down))
        return jinja_fail(j, "an integer of more than 64 bits");
    *out = jinja_int(down);
    return true;
}

FILTER(filter_round)
{
    static const char *const names[] = {"precision", "method"};
    struct jinja_value given[2], common = jinja_literal("common");
    int64_t digits;
    if (!jinja_bind(j, "round", args, names, 2, 0, given) ||
        !jinja_want_int(j, "round", &given[0], 0, &digits))
        return false;
    const struct jinja_value *method = jinja_is(&given[1], JINJA_ABSENT) ? &common : &given[1];
    bool ceiling = jinja_is_text(method, "ceil"), floors = jinja_is_text(method, "floor");
    if (!ceiling && !floors && !jinja_is_text(method, "common"))
        return jinja_fail(j, "round: the method must be common, ceil or floor");
    if (jinja_is(self, JINJA_UNDEFINED))
        return jinja_fail_undefined(j, self);
    if (!jinja_is_number(self))
        return jinja_fail(j, "round needs a number, got '%s'", jinja_type_name(self));
    if (!ceiling && !floors && jinja_is_integral(self))
        return round_integer(j, jinja_integer(self), digits, out);
    double d = jinja_real(self), scale = pow(10, (double)digits);
    if (!ceiling && !floors)
        *out = jinja_float(round_decimal(d, digits));
    else
        *out = jinja_float((ceiling ? ceil(d * scale) : floor(d * scale)) / scale);
    return true;
}

/* JSON, formats, members */

static bool json_separators(struct jinja *j, const struct jinja_value *given,
                            struct jinja_json_style *style)
{
    const struct jinja_value *items;
    size_t n;
    style->item_separator = jinja_string(", ", style->indent ? 1 : 2, JINJA_DATA);
    style->key_separator = jinja_string(": ", 2, JINJA_DATA);
    if (jinja_is(given, JINJA_ABSENT) || jinja_is(given, JINJA_NONE))
        return true;
    if (!jinja_items(j, given, &items, &n))
        return false;
    if (n != 2 || !jinja_is(&items[0], JINJA_STRING) || !jinja_is(&items[1], JINJA_STRING))
        return jinja_fail(j, "tojson: the separators must be two strings");
    style->item_separator = items[0];
    style->key_separator = items[1];
    return true;
}

static bool json_indent(struct jinja *j, struct jinja_value *given, struct jinja_json_style *style)
{
    struct jinja_value space = jinja_own(" ", 1), empty = jinja_own("", 0);
    int64_t width;
    if (jinja_is(given, JINJA_ABSENT) || jinja_is(given, JINJA_NONE))
        return true;
    style->indent = given;
    if (jinja_is(given, JINJA_STRING))
        return true;
    return jinja_want_int(j, "tojson", given, 0, &width) &&
           jinja_center(j, &empty, width, &space, 1, given);
}

FILTER(filter_tojson)
{
    static const char *const names[] = {"ensure_ascii", "indent", "separators", "sort_keys"};
    struct jinja_value given[4];
    struct jinja_json_style style = {0};
    struct jinja_text t;
    if (!jinja_bind(j, "tojson", args, names, 4, 0, given) || !json_indent(j, &given[1], &style) ||
        !json_separators(j, &given[2], &style))
        return false;
    style.ascii = jinja_truth(&given[0]);
    style.sort_keys = jinja_truth(&given[3]);
    jinja_scratch(j, &t);
    if (!jinja_write_json(j, self, &style, &t)) {
        jinja_text_deinit(&t);
        return false;
    }
    return jinja_take(j, &t, out);
}

/* json.loads: no filter of Hugging Face's, but templates of DeepSeek use it. */
FILTER(filter_from_json)
{
    return jinja_no_arguments(j, "from_json", args) && jinja_want_string(j, "from_json", self) &&
           jinja_read_json(j, self, out);
}

FILTER(filter_format)
{
    struct jinja_value text, values;
    struct jinja_list *list;
    struct jinja_dict *dict;
    if (args->n && args->n_named)
        return jinja_fail(j, "format takes positional or named values, not both");
    if (!text_of(j, self, &text) || !jinja_new_list(j, args->n, &list) ||
        !jinja_new_dict(j, 0, &dict))
        return false;
    for (; list->n < args->n; list->n++)
        list->items[list->n] = args->items[list->n];
    for (size_t i = 0; i < args->n_named; i++)
        if (!jinja_put(j, dict, args->named[i].name, args->named[i].value))
            return false;
    values = args->n_named ? jinja_of_dict(JINJA_DICT, dict) : jinja_of_list(JINJA_TUPLE, list);
    return jinja_percent(j, &text, &values, out);
}

FILTER(filter_attr)
{
    static const char *const names[] = {"name"};
    struct jinja_value name;
    if (!jinja_bind(j, "attr", args, names, 1, 1, &name) || !text_of(j, &name, &name))
        return false;
    if (jinja_is(self, JINJA_DICT)) { /* attributes only, no keys */
        const struct jinja_function *method = jinja_container_method(JINJA_DICT, name.text, name.n);
        *out = jinja_undefined_member(JINJA_DICT, name.text, name.n);
        return !method || jinja_method_value(j, self, method, out);
    }
    return jinja_attribute(j, self, name.text, name.n, out);
}

const struct jinja_function *jinja_filter(const char *name, size_t n)
{
    static const struct jinja_function filters[] = {
        {"default", filter_default},
        {"d", filter_default},
        {"tojson", filter_tojson},
        {"from_json", filter_from_json},
        {"trim", filter_trim},
        {"string", filter_string},
        {"upper", filter_upper},
        {"lower", filter_lower},
        {"capitalize", filter_capitalize},
        {"title", filter_title},
        {"replace", filter_replace},
        {"safe", filter_safe},
        {"escape", filter_escape},
        {"e", filter_escape},
        {"forceescape", filter_forceescape},
        {"center", filter_center},
        {"indent", filter_indent},
        {"truncate", filter_truncate},
        {"wordcount", filter_wordcount},
        {"urlencode", filter_urlencode},
        {"int", filter_int},
        {"float", filter_float},
        {"abs", filter_abs},
        {"round", filter_round},
        {"format", filter_format},
        {"attr", filter_attr},
        {NULL, NULL},
    };
    const struct jinja_function *found = jinja_function_find(filters, name, n);
    return found ? found : jinja_function_find(jinja_sequence_filters, name, n);
}
