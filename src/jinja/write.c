/* Values as text: Python's str() and repr(), and json.dumps. Knows where text goes, not why. */
#include "jinja/state.h"
#include "jinja/char.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool written(struct jinja *j, const struct jinja_text *t)
{
    return !jinja_text_failed(t) || jinja_fail_memory(j);
}

/* The shortest digits that read back as d (positive, finite): digits[], and the exponent of the
 * first. */
static int shortest_digits(double d, char digits[20], int *exponent)
{
    char text[40];
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, d);
        if (strtod(text, NULL) == d)
            break;
    }
    int n = 0;
    const char *at = text;
    for (; *at && *at != 'e'; at++)
        if (*at >= '0' && *at <= '9') /* whatever the locale's decimal point is */
            digits[n++] = *at;
    *exponent = *at ? atoi(at + 1) : 0;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    return n;
}

/* Python's repr of a float: positional between 1e-4 and 1e16, else with an exponent. */
static void write_float(double d, struct jinja_text *t)
{
    char digits[20];
    int exponent;
    if (isnan(d)) {
        jinja_text_puts(t, "nan");
        return;
    }
    if (signbit(d))
        jinja_text_putc(t, '-');
    if (isinf(d)) {
        jinja_text_puts(t, "inf");
        return;
    }
    int n = shortest_digits(fabs(d), digits, &exponent);
    if (exponent < -4 || exponent >= 16) {
        jinja_text_putc(t, digits[0]);
        if (n > 1) {
            jinja_text_putc(t, '.');
            jinja_text_append(t, digits + 1, (size_t)n - 1, JINJA_DATA);
        }
        jinja_text_printf(t, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    if (exponent < 0) {
        jinja_text_puts(t, "0.");
        for (int i = -1; i > exponent; i--)
            jinja_text_putc(t, '0');
        jinja_text_append(t, digits, (size_t)n, JINJA_DATA);
        return;
    }
    for (int i = 0; i <= exponent; i++)
        jinja_text_putc(t, i < n ? digits[i] : '0');
    jinja_text_putc(t, '.');
    if (n > exponent + 1)
        jinja_text_append(t, digits + exponent + 1, (size_t)(n - exponent - 1), JINJA_DATA);
    else
        jinja_text_putc(t, '0');
}

static bool write_number(const struct jinja_value *v, struct jinja_text *t)
{
    if (v->written)
        return jinja_text_append(t, v->written, v->n, JINJA_DATA);
    if (jinja_is(v, JINJA_INT))
        return jinja_text_printf(t, "%" PRId64, v->integer);
    write_float(v->real, t);
    return true;
}

static void write_escaped_point(uint32_t point, struct jinja_text *t)
{
    if (point < 0x100)
        jinja_text_printf(t, "\\x%02x", (unsigned)point);
    else if (point < 0x10000)
        jinja_text_printf(t, "\\u%04x", (unsigned)point);
    else
        jinja_text_printf(t, "\\U%08x", (unsigned)point);
}

static void write_string_repr(const struct jinja_value *v, struct jinja_text *t)
{
    bool has_single = memchr(v->text, '\'', v->n), has_double = memchr(v->text, '"', v->n);
    char quote = has_single && !has_double ? '"' : '\'';
    jinja_text_putc(t, quote);
    for (uint32_t i = 0; i < v->n;) {
        uint32_t point;
        size_t step = jinja_char_decode(v->text + i, v->n - i, &point);
        if (point == (uint32_t)quote || point == '\\') {
            jinja_text_putc(t, '\\');
            jinja_text_putc(t, (char)point);
        } else if (point == '\n' || point == '\r' || point == '\t') {
            jinja_text_puts(t, point == '\n' ? "\\n" : point == '\r' ? "\\r" : "\\t");
        } else if (jinja_char_is_printable(point)) {
            jinja_text_part(t, v, i, step);
        } else {
            write_escaped_point(point, t);
        }
        i += (uint32_t)step;
    }
    jinja_text_putc(t, quote);
}

static bool write_items_repr(struct jinja *j, const struct jinja_list *list, const char *open,
                             const char *close, struct jinja_text *t)
{
    jinja_text_puts(t, open);
    for (size_t i = 0; i < list->n; i++) {
        if (i)
            jinja_text_puts(t, ", ");
        if (!jinja_write_repr(j, &list->items[i], t))
            return false;
    }
    jinja_text_puts(t, close);
    return true;
}

static bool write_dict_repr(struct jinja *j, const struct jinja_dict *dict, struct jinja_text *t)
{
    jinja_text_putc(t, '{');
    for (size_t i = 0; i < dict->n; i++) {
        if (i)
            jinja_text_puts(t, ", ");
        if (!jinja_write_repr(j, &dict->pairs[i].key, t))
            return false;
        jinja_text_puts(t, ": ");
        if (!jinja_write_repr(j, &dict->pairs[i].value, t))
            return false;
    }
    jinja_text_putc(t, '}');
    return true;
}

static bool write_view_repr(struct jinja *j, const struct jinja_value *v, struct jinja_text *t)
{
    const char *open = v->kind == JINJA_VIEW_KEYS     ? "dict_keys(["
                       : v->kind == JINJA_VIEW_VALUES ? "dict_values(["
                                                      : "dict_items([";
    return write_items_repr(j, v->list, open, "])", t);
}

static bool write_range_repr(const struct jinja_range *r, struct jinja_text *t)
{
    jinja_text_printf(t, "range(%" PRId64 ", %" PRId64, r->start, r->stop);
    if (r->step != 1)
        jinja_text_printf(t, ", %" PRId64, r->step);
    return jinja_text_putc(t, ')');
}

/* Objects print in Python with an address; here without. */
static bool write_object_repr(struct jinja *j, const struct jinja_value *v, struct jinja_text *t)
{
    switch (v->type) {
    case JINJA_NAMESPACE:
        jinja_text_puts(t, "<Namespace ");
        if (!write_dict_repr(j, v->dict, t))
            return false;
        jinja_text_putc(t, '>');
        return true;
    case JINJA_MACRO:
        jinja_text_puts(t, "<Macro '");
        jinja_text_puts(t, jinja_macro_name(j, v->macro));
        return jinja_text_puts(t, "'>");
    case JINJA_LOOP:
        return jinja_loop_write(j, v->loop, t);
    case JINJA_ITERATOR:
        return jinja_text_printf(t, "<%s object>", v->iterator->name);
    case JINJA_FUNCTION:
        return jinja_text_printf(t, "<function %s>", v->function->name);
    case JINJA_METHOD:
        return jinja_text_printf(t, "<built-in method %s of %s object>", v->method->function->name,
                                 jinja_type_name(&v->method->self));
    default:
        return jinja_text_printf(t, "<%s object>", jinja_type_name(v));
    }
}

static bool write_value(struct jinja *j, const struct jinja_value *v, struct jinja_text *t)
{
    switch (v->type) {
    case JINJA_ABSENT:
        return true;
    case JINJA_UNDEFINED:
        return jinja_text_puts(t, "Undefined");
    case JINJA_NONE:
        return jinja_text_puts(t, "None");
    case JINJA_BOOL:
        return jinja_text_puts(t, v->boolean ? "True" : "False");
    case JINJA_INT:
    case JINJA_FLOAT:
        return write_number(v, t);
    case JINJA_STRING:
        if (v->kind)
            jinja_text_puts(t, "Markup(");
        write_string_repr(v, t);
        if (v->kind)
            jinja_text_putc(t, ')');
        return jinja_charge(j, v->n / 8);
    case JINJA_LIST:
        return write_items_repr(j, v->list, "[", "]", t);
    case JINJA_TUPLE:
        return write_items_repr(j, v->list, "(", v->list->n == 1 ? ",)" : ")", t);
    case JINJA_DICT:
        return write_dict_repr(j, v->dict, t);
    case JINJA_VIEW:
        return write_view_repr(j, v, t);
    case JINJA_RANGE:
        return write_range_repr(v->range, t);
    default:
        return write_object_repr(j, v, t);
    }
}

bool jinja_write_repr(struct jinja *j, const struct jinja_value *v, struct jinja_text *t)
{
    bool ok = jinja_enter(j) && write_value(j, v, t);
    jinja_leave(j);
    return written(j, t) && ok;
}

bool jinja_write(struct jinja *j, const struct jinja_value *v, struct jinja_text *t)
{
    if (jinja_is(v, JINJA_UNDEFINED))
        return true;
    if (!jinja_is(v, JINJA_STRING))
        return jinja_write_repr(j, v, t);
    jinja_text_value(t, v);
    return written(j, t) && jinja_charge_bytes(j, v->n);
}

bool jinja_to_string(struct jinja *j, const struct jinja_value *v, struct jinja_value *out)
{
    if (jinja_is(v, JINJA_STRING)) {
        *out = *v;
        return true;
    }
    struct jinja_text t;
    jinja_scratch(j, &t);
    if (!jinja_write(j, v, &t)) {
        jinja_text_deinit(&t);
        return false;
    }
    return jinja_take(j, &t, out);
}

/* json.dumps */

static void write_json_point(uint32_t point, struct jinja_text *t)
{
    if (point >= 0x10000) {
        point -= 0x10000;
        jinja_text_printf(t, "\\u%04x\\u%04x", (unsigned)(0xD800 + (point >> 10)),
                          (unsigned)(0xDC00 + (point & 0x3FF)));
    } else {
        jinja_text_printf(t, "\\u%04x", (unsigned)point);
    }
}

static const char *json_escape(unsigned char c)
{
    switch (c) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    case '\f':
        return "\\f";
    case '\b':
        return "\\b";
    default:
        return NULL;
    }
}

static void write_json_string(const struct jinja_value *v, bool ascii, struct jinja_text *t)
{
    size_t kept = 0, i = 0; /* text[kept..i) goes out as it is */
    jinja_text_putc(t, '"');
    while (i < v->n) {
        unsigned char c = (unsigned char)v->text[i];
        if (c >= 0x20 && c != '"' && c != '\\' && (c < 0x80 || !ascii)) {
            i++;
            continue;
        }
        uint32_t point;
        size_t step = jinja_char_decode(v->text + i, v->n - i, &point);
        jinja_text_part(t, v, kept, i - kept);
        const char *escape = json_escape(c);
        if (escape)
            jinja_text_puts(t, escape);
        else if (c == 0x7F && ascii)
            jinja_text_putc(t, (char)c);
        else
            write_json_point(point, t);
        i += step;
        kept = i;
    }
    jinja_text_part(t, v, kept, i - kept);
    jinja_text_putc(t, '"');
}

static void write_json_newline(const struct jinja_json_style *style, unsigned level,
                               struct jinja_text *t)
{
    if (!style->indent)
        return;
    jinja_text_putc(t, '\n');
    for (unsigned i = 0; i < level && !jinja_text_failed(t); i++)
        jinja_text_value(t, style->indent);
}

static void write_json_number(const struct jinja_value *v, struct jinja_text *t)
{
    if (jinja_is(v, JINJA_INT) || v->written || isfinite(v->real))
        write_number(v, t);
    else if (isnan(v->real))
        jinja_text_puts(t, "NaN");
    else
        jinja_text_puts(t, v->real < 0 ? "-Infinity" : "Infinity");
}

static bool write_json(struct jinja *j, const struct jinja_value *v,
                       const struct jinja_json_style *style, unsigned level, struct jinja_text *t);

static bool write_json_list(struct jinja *j, const struct jinja_list *list,
                            const struct jinja_json_style *style, unsigned level,
                            struct jinja_text *t)
{
    jinja_text_putc(t, '[');
    for (size_t i = 0; i < list->n; i++) {
        if (i)
            jinja_text_value(t, &style->item_separator);
        write_json_newline(style, level + 1, t);
        if (!write_json(j, &list->items[i], style, level + 1, t))
            return false;
    }
    if (list->n)
        write_json_newline(style, level, t);
    jinja_text_putc(t, ']');
    return true;
}

static bool write_json_key(struct jinja *j, const struct jinja_value *key,
                           const struct jinja_json_style *style, struct jinja_text *t)
{
    switch (key->type) {
    case JINJA_STRING:
        write_json_string(key, style->ascii, t);
        return true;
    case JINJA_NONE:
        return jinja_text_puts(t, "\"null\"");
    case JINJA_BOOL:
        return jinja_text_puts(t, key->boolean ? "\"true\"" : "\"false\"");
    case JINJA_INT:
    case JINJA_FLOAT:
        jinja_text_putc(t, '"');
        write_json_number(key, t);
        return jinja_text_putc(t, '"');
    default:
        return jinja_fail(j, "tojson: a key of type '%s'", jinja_type_name(key));
    }
}

/* Insertion sort: objects are small, and the charge bounds hostile ones. */
static bool sort_pairs(struct jinja *j, struct jinja_pair *pairs, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct jinja_pair moved = pairs[i];
        size_t at = i;
        for (; at > 0; at--) {
            int order;
            if (!jinja_charge(j, 1) || !jinja_compare(j, &moved.key, &pairs[at - 1].key, &order))
                return false;
            if (order >= 0)
                break;
            pairs[at] = pairs[at - 1];
        }
        pairs[at] = moved;
    }
    return true;
}

static bool write_json_dict(struct jinja *j, const struct jinja_dict *dict,
                            const struct jinja_json_style *style, unsigned level,
                            struct jinja_text *t)
{
    const struct jinja_pair *pairs = dict->pairs;
    if (style->sort_keys && dict->n) {
        struct jinja_pair *sorted = jinja_alloc(j, dict->n, sizeof *sorted);
        if (!sorted)
            return false;
        memcpy(sorted, pairs, dict->n * sizeof *sorted);
        if (!sort_pairs(j, sorted, dict->n))
            return false;
        pairs = sorted;
    }
    jinja_text_putc(t, '{');
    for (size_t i = 0; i < dict->n; i++) {
        if (i)
            jinja_text_value(t, &style->item_separator);
        write_json_newline(style, level + 1, t);
        if (!write_json_key(j, &pairs[i].key, style, t))
            return false;
        jinja_text_value(t, &style->key_separator);
        if (!write_json(j, &pairs[i].value, style, level + 1, t))
            return false;
    }
    if (dict->n)
        write_json_newline(style, level, t);
    jinja_text_putc(t, '}');
    return true;
}

static bool write_json_inside(struct jinja *j, const struct jinja_value *v,
                              const struct jinja_json_style *style, unsigned level,
                              struct jinja_text *t)
{
    switch (v->type) {
    case JINJA_NONE:
        jinja_text_puts(t, "null");
        return true;
    case JINJA_BOOL:
        jinja_text_puts(t, v->boolean ? "true" : "false");
        return true;
    case JINJA_INT:
    case JINJA_FLOAT:
        write_json_number(v, t);
        return true;
    case JINJA_STRING:
        write_json_string(v, style->ascii, t);
        return jinja_charge(j, v->n / 16);
    case JINJA_LIST:
    case JINJA_TUPLE:
        return write_json_list(j, v->list, style, level, t);
    case JINJA_DICT:
        return write_json_dict(j, v->dict, style, level, t);
    default:
        return jinja_fail(j, "a value of type '%s' is not JSON serializable", jinja_type_name(v));
    }
}

static bool write_json(struct jinja *j, const struct jinja_value *v,
                       const struct jinja_json_style *style, unsigned level, struct jinja_text *t)
{
    bool ok = jinja_enter(j) && write_json_inside(j, v, style, level, t);
    jinja_leave(j);
    return written(j, t) && ok;
}

bool jinja_write_json(struct jinja *j, const struct jinja_value *v,
                      const struct jinja_json_style *style, struct jinja_text *t)
{
    return write_json(j, v, style, 0, t);
}
