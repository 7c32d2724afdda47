#include "chat/json_exact.h"

#include "chat/json_text.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* Around a literal in a string of the tree. Neither byte occurs in UTF-8. */
#define MARK_OPEN '\xff'
#define MARK_CLOSE '\xfe'

enum {
    EXACT_DIGITS = 15, /* decimal digits that a double always gives back */
    NONCE_BYTES = 16,
    GROWTH_BYTES = 2 * NONCE_BYTES + 2, /* what a literal costs while it is read */
};

/* ---- literals ---- */

struct literal {
    size_t n;                   /* its length; 0: none */
    size_t n_whole, n_fraction; /* digits */
    const char *whole, *fraction;
    bool is_negative, has_exponent;
};

static size_t count_digits(const char *bytes, size_t n)
{
    size_t i = 0;
    while (i < n && bytes[i] >= '0' && bytes[i] <= '9')
        i++;
    return i;
}

/* The number at the beginning of bytes[n], by JSON's grammar. */
static struct literal literal_at(const char *bytes, size_t n)
{
    struct literal l = {0};
    size_t at = l.is_negative = n && *bytes == '-';
    l.whole = bytes + at;
    l.n_whole = count_digits(bytes + at, n - at);
    if (!l.n_whole || (l.n_whole > 1 && *l.whole == '0'))
        return l;
    at += l.n_whole;
    if (at < n && bytes[at] == '.') {
        l.fraction = bytes + ++at;
        l.n_fraction = count_digits(bytes + at, n - at);
        if (!l.n_fraction)
            return l;
        at += l.n_fraction;
    }
    if (at < n && (bytes[at] == 'e' || bytes[at] == 'E')) {
        l.has_exponent = true;
        at++;
        at += at < n && (bytes[at] == '+' || bytes[at] == '-');
        size_t n_digits = count_digits(bytes + at, n - at);
        if (!n_digits)
            return l;
        at += n_digits;
    }
    l.n = at;
    return l;
}

static bool fits_integer(const char *bytes, const struct literal *l)
{
    char text[24];
    if (l->n >= sizeof text)
        return false;
    memcpy(text, bytes, l->n);
    text[l->n] = 0;
    errno = 0;
    strtoll(text, NULL, 10);
    return !errno && !(l->is_negative && *l->whole == '0');
}

/* Would a double be written like this again, by the rules of Python's repr? */
static bool fits_real(const struct literal *l)
{
    size_t n_zeros = 0;
    bool is_small = *l->whole == '0';
    if (l->has_exponent || l->n_whole + l->n_fraction > EXACT_DIGITS)
        return false;
    if (l->fraction[l->n_fraction - 1] == '0' && l->n_fraction > 1)
        return false;
    while (n_zeros < l->n_fraction && l->fraction[n_zeros] == '0')
        n_zeros++;
    if (is_small && n_zeros == l->n_fraction)
        return !l->is_negative;
    return !is_small || n_zeros < 4;
}

static bool jansson_keeps(const char *bytes, const struct literal *l)
{
    return l->fraction || l->has_exponent ? l->fraction && fits_real(l) : fits_integer(bytes, l);
}

/* ---- reading ---- */

/* The next number in bytes[at..n) that jansson would change; its length, or 0. */
static size_t next_odd(const char *bytes, size_t n, size_t *at)
{
    for (bool in_string = false; *at < n; ++*at) {
        char c = bytes[*at];
        if (in_string && c == '\\') {
            ++*at;
        } else if (c == '"') {
            in_string = !in_string;
        } else if (!in_string && (c == '-' || (c >= '0' && c <= '9'))) {
            struct literal l = literal_at(bytes + *at, n - *at);
            if (l.n && !jansson_keeps(bytes + *at, &l))
                return l.n;
            if (l.n)
                *at += l.n - 1;
        }
    }
    return 0;
}

static bool make_nonce(char nonce[2 * NONCE_BYTES + 1])
{
    unsigned char bytes[NONCE_BYTES];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return false;
    for (size_t i = 0; i < NONCE_BYTES; i++)
        snprintf(nonce + 2 * i, 3, "%02x", bytes[i]);
    return true;
}

/* The text with each odd number as a string that begins with the nonce. */
static void quote_odd(struct buf *out, const char *bytes, size_t n, const char *nonce)
{
    size_t from = 0, at = 0, length;
    while ((length = next_odd(bytes, n, &at))) {
        buf_append(out, bytes + from, at - from);
        buf_putc(out, '"');
        buf_puts(out, nonce);
        buf_append(out, bytes + at, length);
        buf_putc(out, '"');
        from = at += length;
    }
    buf_append(out, bytes + from, n - from);
}

/* What the value becomes: itself, or a marked literal. NULL: out of memory. */
static json_t *marked(json_t *value, const char *nonce)
{
    size_t n = json_string_length(value), n_nonce = strlen(nonce);
    const char *text = json_string_value(value);
    struct buf literal;
    if (!text || n <= n_nonce || memcmp(text, nonce, n_nonce) != 0)
        return json_incref(value);
    buf_init(&literal, n + 2);
    buf_putc(&literal, MARK_OPEN);
    buf_append(&literal, text + n_nonce, n - n_nonce);
    buf_putc(&literal, MARK_CLOSE);
    json_t *made = buf_failed(&literal) ? NULL : json_stringn_nocheck(literal.data, literal.len);
    buf_deinit(&literal);
    return made;
}

static bool mark_all(json_t *tree, const char *nonce)
{
    size_t i;
    json_t *value;
    bool ok = true;
    json_array_foreach(tree, i, value)
    {
        ok = ok && mark_all(value, nonce) && !json_array_set_new(tree, i, marked(value, nonce));
    }
    for (void *it = json_object_iter(tree); ok && it; it = json_object_iter_next(tree, it)) {
        value = json_object_iter_value(it);
        ok = mark_all(value, nonce) && !json_object_iter_set_new(tree, it, marked(value, nonce));
    }
    return ok;
}

static json_t *no_memory(json_error_t *at)
{
    if (at) {
        *at = (json_error_t){.line = 1};
        snprintf(at->text, sizeof at->text, "out of memory");
        at->text[JSON_ERROR_TEXT_LENGTH - 1] = (char)json_error_out_of_memory;
    }
    return NULL;
}

static json_t *load_odd(const char *bytes, size_t n, size_t n_odd, json_error_t *at)
{
    char nonce[2 * NONCE_BYTES + 1];
    struct buf quoted;
    if (!make_nonce(nonce))
        return no_memory(at);
    buf_init(&quoted, n + n_odd * GROWTH_BYTES + 1);
    quote_odd(&quoted, bytes, n, nonce);
    if (buf_failed(&quoted)) {
        buf_deinit(&quoted);
        return no_memory(at);
    }
    json_t *tree = json_loadb(quoted.data, quoted.len, JSON_ALLOW_NUL, at);
    buf_deinit(&quoted);
    if (!tree || mark_all(tree, nonce))
        return tree;
    json_decref(tree);
    return no_memory(at);
}

json_t *json_exact_load(const char *bytes, size_t n, json_error_t *at)
{
    size_t n_odd = 0;
    for (size_t from = 0, length; (length = next_odd(bytes, n, &from)); from += length)
        n_odd++;
    return n_odd ? load_odd(bytes, n, n_odd, at) : json_loadb(bytes, n, JSON_ALLOW_NUL, at);
}

/* ---- looking ---- */

static bool is_marked(const json_t *value)
{
    return json_is_string(value) && *json_string_value(value) == MARK_OPEN;
}

bool json_exact_is_string(const json_t *value)
{
    return json_is_string(value) && !is_marked(value);
}

bool json_exact_is_number(const json_t *value)
{
    return json_is_number(value) || is_marked(value);
}

double json_exact_number(const json_t *value)
{
    return is_marked(value) ? strtod(json_string_value(value) + 1, NULL) : json_number_value(value);
}

/* ---- writing ---- */

/* The shortest of 15 to 17 digits that gives the same double. */
static void write_real(struct buf *out, double value)
{
    char text[40];
    int digits = EXACT_DIGITS;
    do
        snprintf(text, sizeof text, "%.*g", digits, value);
    while (strtod(text, NULL) != value && ++digits <= 17);
    buf_puts(out, text);
    if (!strpbrk(text, ".e"))
        buf_puts(out, ".0");
}

static void write_rounded(struct buf *out, const json_t *value)
{
    double number = json_exact_number(value);
    if (isfinite(number))
        buf_printf(out, "%.17g", number == 0 ? 0 : number);
    else
        buf_puts(out, number < 0 ? "-1e999" : "1e999");
}

static void write_array(struct buf *out, const json_t *value, unsigned flags)
{
    size_t i;
    json_t *item;
    buf_putc(out, '[');
    json_array_foreach(value, i, item)
    {
        if (i)
            buf_puts(out, flags & JSON_EXACT_SPACED ? ", " : ",");
        json_exact_write(out, item, flags);
    }
    buf_putc(out, ']');
}

static void write_member(struct buf *out, const char *key, const json_t *value, unsigned flags)
{
    json_text_string(out, key, strlen(key));
    buf_puts(out, flags & JSON_EXACT_SPACED ? ": " : ":");
    json_exact_write(out, value, flags);
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void write_sorted(struct buf *out, json_t *object, unsigned flags)
{
    size_t n = 0;
    const char **keys = calloc(json_object_size(object) + 1, sizeof *keys);
    if (!keys) {
        out->failed = true;
        return;
    }
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it))
        keys[n++] = json_object_iter_key(it);
    qsort(keys, n, sizeof *keys, compare_keys);
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(out, ',');
        write_member(out, keys[i], json_object_get(object, keys[i]), flags);
    }
    free(keys);
}

static void write_object(struct buf *out, const json_t *value, unsigned flags)
{
    json_t *object = (json_t *)(uintptr_t)value; /* iterators take no const, and change nothing */
    buf_putc(out, '{');
    if (flags & JSON_EXACT_SORTED) {
        write_sorted(out, object, flags);
    } else {
        bool is_first = true;
        for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
            if (!is_first)
                buf_puts(out, flags & JSON_EXACT_SPACED ? ", " : ",");
            is_first = false;
            write_member(out, json_object_iter_key(it), json_object_iter_value(it), flags);
        }
    }
    buf_putc(out, '}');
}

void json_exact_write(struct buf *out, const json_t *value, unsigned flags)
{
    if (!value)
        out->failed = true;
    else if (json_exact_is_number(value) && flags & JSON_EXACT_ROUNDED)
        write_rounded(out, value);
    else if (is_marked(value))
        buf_append(out, json_string_value(value) + 1, json_string_length(value) - 2);
    else if (json_is_string(value))
        json_text_string(out, json_string_value(value), json_string_length(value));
    else if (json_is_integer(value))
        buf_printf(out, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        write_real(out, json_real_value(value));
    else if (json_is_array(value))
        write_array(out, value, flags);
    else if (json_is_object(value))
        write_object(out, value, flags);
    else
        buf_puts(out, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
}

/* ---- showing to others ---- */

static bool has_marked(json_t *value)
{
    size_t i;
    json_t *item;
    bool has = is_marked(value);
    json_array_foreach(value, i, item)
    {
        has = has || has_marked(item);
    }
    for (void *it = json_object_iter(value); !has && it; it = json_object_iter_next(value, it))
        has = has_marked(json_object_iter_value(it));
    return has;
}

static json_t *view_array(json_t *value, void (*number)(void *, json_t *), void *context)
{
    size_t i;
    json_t *item, *copy = json_array();
    bool ok = copy != NULL;
    json_array_foreach(value, i, item)
    {
        ok = ok && !json_array_append_new(copy, json_exact_view(item, number, context));
    }
    if (ok)
        return copy;
    json_decref(copy);
    return NULL;
}

static json_t *view_object(json_t *value, void (*number)(void *, json_t *), void *context)
{
    json_t *copy = json_object();
    bool ok = copy != NULL;
    for (void *it = json_object_iter(value); ok && it; it = json_object_iter_next(value, it))
        ok = !json_object_set_new(copy, json_object_iter_key(it),
                                  json_exact_view(json_object_iter_value(it), number, context));
    if (ok)
        return copy;
    json_decref(copy);
    return NULL;
}

json_t *json_exact_view(json_t *value, void (*number)(void *context, json_t *string), void *context)
{
    if (!has_marked(value))
        return json_incref(value);
    if (json_is_array(value))
        return view_array(value, number, context);
    if (json_is_object(value))
        return view_object(value, number, context);
    json_t *string = json_stringn(json_string_value(value) + 1, json_string_length(value) - 2);
    number(context, string);
    return string;
}
