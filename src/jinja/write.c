/* Values as text: Python's str() and repr(), and json.dumps. Knows where text goes, not why. */
#include "jinja/state.h"
#include "jinja/char.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool written(struct jinja *j, const struct buf *b)
{
    return !buf_failed(b) || jinja_fail_memory(j);
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
void jinja_write_float(double d, struct buf *b)
{
    char digits[20];
    int exponent;
    if (isnan(d)) {
        buf_puts(b, "nan");
        return;
    }
    if (signbit(d))
        buf_putc(b, '-');
    if (isinf(d)) {
        buf_puts(b, "inf");
        return;
    }
    int n = shortest_digits(fabs(d), digits, &exponent);
    if (exponent < -4 || exponent >= 16) {
        buf_putc(b, digits[0]);
        if (n > 1) {
            buf_putc(b, '.');
            buf_append(b, digits + 1, (size_t)n - 1);
        }
        buf_printf(b, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    if (exponent < 0) {
        buf_puts(b, "0.");
        for (int i = -1; i > exponent; i--)
            buf_putc(b, '0');
        buf_append(b, digits, (size_t)n);
        return;
    }
    for (int i = 0; i <= exponent; i++)
        buf_putc(b, i < n ? digits[i] : '0');
    buf_putc(b, '.');
    if (n > exponent + 1)
        buf_append(b, digits + exponent + 1, (size_t)(n - exponent - 1));
    else
        buf_putc(b, '0');
}

static void write_escaped_point(uint32_t point, struct buf *b)
{
    if (point < 0x100)
        buf_printf(b, "\\x%02x", (unsigned)point);
    else if (point < 0x10000)
        buf_printf(b, "\\u%04x", (unsigned)point);
    else
        buf_printf(b, "\\U%08x", (unsigned)point);
}

static void write_string_repr(const struct jinja_value *v, struct buf *b)
{
    bool has_single = memchr(v->text, '\'', v->n), has_double = memchr(v->text, '"', v->n);
    char quote = has_single && !has_double ? '"' : '\'';
    buf_putc(b, quote);
    for (uint32_t i = 0; i < v->n;) {
        uint32_t point;
        size_t step = jinja_char_decode(v->text + i, v->n - i, &point);
        if (point == (uint32_t)quote || point == '\\') {
            buf_putc(b, '\\');
            buf_putc(b, (char)point);
        } else if (point == '\n' || point == '\r' || point == '\t') {
            buf_puts(b, point == '\n' ? "\\n" : point == '\r' ? "\\r" : "\\t");
        } else if (jinja_char_is_printable(point)) {
            buf_append(b, v->text + i, step);
        } else {
            write_escaped_point(point, b);
        }
        i += (uint32_t)step;
    }
    buf_putc(b, quote);
}

static bool write_items_repr(struct jinja *j, const struct jinja_list *list, const char *open,
                             const char *close, struct buf *b)
{
    buf_puts(b, open);
    for (size_t i = 0; i < list->n; i++) {
        if (i)
            buf_puts(b, ", ");
        if (!jinja_write_repr(j, &list->items[i], b))
            return false;
    }
    buf_puts(b, close);
    return true;
}

static bool write_dict_repr(struct jinja *j, const struct jinja_dict *dict, struct buf *b)
{
    buf_putc(b, '{');
    for (size_t i = 0; i < dict->n; i++) {
        if (i)
            buf_puts(b, ", ");
        if (!jinja_write_repr(j, &dict->pairs[i].key, b))
            return false;
        buf_puts(b, ": ");
        if (!jinja_write_repr(j, &dict->pairs[i].value, b))
            return false;
    }
    buf_putc(b, '}');
    return true;
}

static bool write_view_repr(struct jinja *j, const struct jinja_value *v, struct buf *b)
{
    const char *open = v->kind == JINJA_VIEW_KEYS     ? "dict_keys(["
                       : v->kind == JINJA_VIEW_VALUES ? "dict_values(["
                                                      : "dict_items([";
    return write_items_repr(j, v->list, open, "])", b);
}

static bool write_range_repr(const struct jinja_range *r, struct buf *b)
{
    buf_printf(b, "range(%" PRId64 ", %" PRId64, r->start, r->stop);
    if (r->step != 1)
        buf_printf(b, ", %" PRId64, r->step);
    return buf_putc(b, ')');
}

/* Objects print in Python with an address; here without. */
static bool write_object_repr(struct jinja *j, const struct jinja_value *v, struct buf *b)
{
    switch (v->type) {
    case JINJA_NAMESPACE:
        buf_puts(b, "<Namespace ");
        if (!write_dict_repr(j, v->dict, b))
            return false;
        buf_putc(b, '>');
        return true;
    case JINJA_MACRO:
        return buf_printf(b, "<Macro '%s'>", jinja_macro_name(j, v->macro));
    case JINJA_LOOP:
        return jinja_loop_write(j, v->loop, b);
    case JINJA_ITERATOR:
        return buf_printf(b, "<%s object>", v->iterator->name);
    case JINJA_FUNCTION:
        return buf_printf(b, "<function %s>", v->function->name);
    case JINJA_METHOD:
        return buf_printf(b, "<built-in method %s of %s object>", v->method->function->name,
                          jinja_type_name(&v->method->self));
    default:
        return buf_printf(b, "<%s object>", jinja_type_name(v));
    }
}

static bool write_value(struct jinja *j, const struct jinja_value *v, struct buf *b)
{
    switch (v->type) {
    case JINJA_ABSENT:
        return true;
    case JINJA_UNDEFINED:
        return buf_puts(b, "Undefined");
    case JINJA_NONE:
        return buf_puts(b, "None");
    case JINJA_BOOL:
        return buf_puts(b, v->boolean ? "True" : "False");
    case JINJA_INT:
        return buf_printf(b, "%" PRId64, v->integer);
    case JINJA_FLOAT:
        jinja_write_float(v->real, b);
        return true;
    case JINJA_STRING:
        if (v->kind)
            buf_puts(b, "Markup(");
        write_string_repr(v, b);
        if (v->kind)
            buf_putc(b, ')');
        return jinja_charge(j, v->n / 8);
    case JINJA_LIST:
        return write_items_repr(j, v->list, "[", "]", b);
    case JINJA_TUPLE:
        return write_items_repr(j, v->list, "(", v->list->n == 1 ? ",)" : ")", b);
    case JINJA_DICT:
        return write_dict_repr(j, v->dict, b);
    case JINJA_VIEW:
        return write_view_repr(j, v, b);
    case JINJA_RANGE:
        return write_range_repr(v->range, b);
    default:
        return write_object_repr(j, v, b);
    }
}

bool jinja_write_repr(struct jinja *j, const struct jinja_value *v, struct buf *b)
{
    bool ok = jinja_enter(j) && write_value(j, v, b);
    jinja_leave(j);
    return written(j, b) && ok;
}

bool jinja_write(struct jinja *j, const struct jinja_value *v, struct buf *b)
{
    if (jinja_is(v, JINJA_UNDEFINED))
        return true;
    if (!jinja_is(v, JINJA_STRING))
        return jinja_write_repr(j, v, b);
    buf_append(b, v->text, v->n);
    return written(j, b) && jinja_charge_bytes(j, v->n);
}

bool jinja_to_string(struct jinja *j, const struct jinja_value *v, struct jinja_value *out)
{
    if (jinja_is(v, JINJA_STRING)) {
        *out = *v;
        return true;
    }
    struct buf b;
    jinja_scratch(j, &b);
    if (!jinja_write(j, v, &b)) {
        buf_deinit(&b);
        return false;
    }
    return jinja_take(j, &b, out);
}

/* json.dumps */

static void write_json_point(uint32_t point, struct buf *b)
{
    if (point >= 0x10000) {
        point -= 0x10000;
        buf_printf(b, "\\u%04x\\u%04x", (unsigned)(0xD800 + (point >> 10)),
                   (unsigned)(0xDC00 + (point & 0x3FF)));
    } else {
        buf_printf(b, "\\u%04x", (unsigned)point);
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

static void write_json_string(const struct jinja_value *v, bool ascii, struct buf *b)
{
    size_t kept = 0, i = 0; /* text[kept..i) goes out as it is */
    buf_putc(b, '"');
    while (i < v->n) {
        unsigned char c = (unsigned char)v->text[i];
        if (c >= 0x20 && c != '"' && c != '\\' && (c < 0x80 || !ascii)) {
            i++;
            continue;
        }
        uint32_t point;
        size_t step = jinja_char_decode(v->text + i, v->n - i, &point);
        buf_append(b, v->text + kept, i - kept);
        const char *escape = json_escape(c);
        if (escape)
            buf_puts(b, escape);
        else if (c == 0x7F && ascii)
            buf_putc(b, (char)c);
        else
            write_json_point(point, b);
        i += step;
        kept = i;
    }
    buf_append(b, v->text + kept, i - kept);
    buf_putc(b, '"');
}

static void write_json_newline(const struct jinja_json_style *style, unsigned level, struct buf *b)
{
    if (!style->indent)
        return;
    buf_putc(b, '\n');
    for (unsigned i = 0; i < level && !buf_failed(b); i++)
        buf_append(b, style->indent->text, style->indent->n);
}

static void write_json_number(const struct jinja_value *v, struct buf *b)
{
    if (jinja_is(v, JINJA_INT))
        buf_printf(b, "%" PRId64, v->integer);
    else if (isnan(v->real))
        buf_puts(b, "NaN");
    else if (isinf(v->real))
        buf_puts(b, v->real < 0 ? "-Infinity" : "Infinity");
    else
        jinja_write_float(v->real, b);
}

static bool write_json(struct jinja *j, const struct jinja_value *v,
                       const struct jinja_json_style *style, unsigned level, struct buf *b);

static bool write_json_list(struct jinja *j, const struct jinja_list *list,
                            const struct jinja_json_style *style, unsigned level, struct buf *b)
{
    buf_putc(b, '[');
    for (size_t i = 0; i < list->n; i++) {
        if (i)
            buf_append(b, style->item_separator.text, style->item_separator.n);
        write_json_newline(style, level + 1, b);
        if (!write_json(j, &list->items[i], style, level + 1, b))
            return false;
    }
    if (list->n)
        write_json_newline(style, level, b);
    buf_putc(b, ']');
    return true;
}

static bool write_json_key(struct jinja *j, const struct jinja_value *key,
                           const struct jinja_json_style *style, struct buf *b)
{
    switch (key->type) {
    case JINJA_STRING:
        write_json_string(key, style->ascii, b);
        return true;
    case JINJA_NONE:
        return buf_puts(b, "\"null\"");
    case JINJA_BOOL:
        return buf_puts(b, key->boolean ? "\"true\"" : "\"false\"");
    case JINJA_INT:
    case JINJA_FLOAT:
        buf_putc(b, '"');
        write_json_number(key, b);
        return buf_putc(b, '"');
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
                            const struct jinja_json_style *style, unsigned level, struct buf *b)
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
    buf_putc(b, '{');
    for (size_t i = 0; i < dict->n; i++) {
        if (i)
            buf_append(b, style->item_separator.text, style->item_separator.n);
        write_json_newline(style, level + 1, b);
        if (!write_json_key(j, &pairs[i].key, style, b))
            return false;
        buf_append(b, style->key_separator.text, style->key_separator.n);
        if (!write_json(j, &pairs[i].value, style, level + 1, b))
            return false;
    }
    if (dict->n)
        write_json_newline(style, level, b);
    buf_putc(b, '}');
    return true;
}

static bool write_json_inside(struct jinja *j, const struct jinja_value *v,
                              const struct jinja_json_style *style, unsigned level, struct buf *b)
{
    switch (v->type) {
    case JINJA_NONE:
        buf_puts(b, "null");
        return true;
    case JINJA_BOOL:
        buf_puts(b, v->boolean ? "true" : "false");
        return true;
    case JINJA_INT:
    case JINJA_FLOAT:
        write_json_number(v, b);
        return true;
    case JINJA_STRING:
        write_json_string(v, style->ascii, b);
        return jinja_charge(j, v->n / 16);
    case JINJA_LIST:
    case JINJA_TUPLE:
        return write_json_list(j, v->list, style, level, b);
    case JINJA_DICT:
        return write_json_dict(j, v->dict, style, level, b);
    default:
        return jinja_fail(j, "a value of type '%s' is not JSON serializable", jinja_type_name(v));
    }
}

static bool write_json(struct jinja *j, const struct jinja_value *v,
                       const struct jinja_json_style *style, unsigned level, struct buf *b)
{
    bool ok = jinja_enter(j) && write_json_inside(j, v, style, level, b);
    jinja_leave(j);
    return written(j, b) && ok;
}

bool jinja_write_json(struct jinja *j, const struct jinja_value *v,
                      const struct jinja_json_style *style, struct buf *b)
{
    return write_json(j, v, style, 0, b);
}
