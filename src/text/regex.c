/* From Oniguruma's syntax to PCRE2's, one element at a time. See regex.h. */
#include "text/regex.h"

#include "base/buf.h"
#include "base/utf8.h"
#include "text/unicode.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PATTERN = 1 << 16, MAX_PROPERTY = 64 };

/* Unicode's White_Space: PCRE2's own \s counts U+180E, which is none since 2013. */
#define WS                                                                                         \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"             \
    "\\x{202f}\\x{205f}\\x{3000}"
#define NOT_WS                                                                                     \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}"                   \
    "\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}"                 \
    "\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
/* What Oniguruma's \w is: letters and what counts as such, marks, decimal digits, connectors. */
#define WORD                                                                                       \
    "\\p{L}\\p{M}\\p{Nl}\\p{Nd}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}"                    \
    "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"

struct regex {
    pcre2_code *code;
};

/* A pattern on its way. */
struct translation {
    const char *p; /* [n] */
    size_t n, at;
    bool in_class;
    struct buf out;
    struct error *err;
};

static bool regex_refuse(struct translation *t, const char *what)
{
    return error_set(t->err, ERROR_UNSUPPORTED,
                     "a regular expression with %s (byte %zu of \"%.*s\")", what, t->at,
                     (int)(t->n < 80 ? t->n : 80), t->p);
}

static pcre2_code *compile_text(const char *pattern, size_t n, int *code)
{
    size_t at;
    return pcre2_compile((PCRE2_SPTR)pattern, n, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, code, &at,
                         NULL);
}

/* A script's own name means to newer PCRE2 also the characters that scripts share. */
static bool is_script(const char *name, size_t n)
{
    char pattern[MAX_PROPERTY + 16] = "\\p{sc:";
    int code;
    memcpy(pattern + 6, name, n);
    pattern[6 + n] = '}';
    pcre2_code *compiled = compile_text(pattern, n + 7, &code);
    pcre2_code_free(compiled);
    return compiled != NULL;
}

/* \p{Name}, \P{Name}, \pL */
static bool translate_property(struct translation *t)
{
    const char *p = t->p + t->at;
    size_t left = t->n - t->at;
    if (left < 3)
        return regex_refuse(t, "\\p at its end");
    const char *close = p[2] == '{' ? memchr(p, '}', left) : p + 2;
    size_t n = close ? (size_t)(close - p) + 1 : 0;
    if (!n || n > MAX_PROPERTY)
        return regex_refuse(t, "a \\p that does not end");
    size_t skip = p[2] == '{' ? 3 : 2, n_name = n - skip - (p[2] == '{');
    if (n_name > 2 && p[skip] != '^' && is_script(p + skip, n_name)) {
        buf_append(&t->out, p, skip);
        buf_puts(&t->out, "sc:");
        buf_append(&t->out, p + skip, n - skip);
    } else {
        buf_append(&t->out, p, n);
    }
    t->at += n;
    return true;
}

/* \uHHHH */
static bool translate_code_point(struct translation *t)
{
    if (t->n - t->at < 6)
        return regex_refuse(t, "a \\u of fewer than four digits");
    buf_puts(&t->out, "\\x{");
    buf_append(&t->out, t->p + t->at + 2, 4);
    buf_puts(&t->out, "}");
    t->at += 6;
    return true;
}

/* What an escape of one letter is outside and inside a class; NULL: it is refused there. */
static const struct {
    char letter;
    const char *outside, *inside;
} escapes[] = {
    {'s', "[" WS "]", WS},
    {'S', "[^" WS "]", NOT_WS},
    {'w', "[" WORD "]", WORD},
    {'W', "[^" WORD "]", NULL},
    {'h', "[0-9A-Fa-f]", "0-9A-Fa-f"},
    {'H', "[^0-9A-Fa-f]", NULL},
    {'v', "\\x{b}", "\\x{b}"},
    {'d', "\\p{Nd}", "\\p{Nd}"},
    {'D', "\\P{Nd}", "\\P{Nd}"},
    {'r', "\\r", "\\r"},
    {'n', "\\n", "\\n"},
    {'t', "\\t", "\\t"},
    {'f', "\\f", "\\f"},
    {'b', "\\b", NULL},
    {'B', "\\B", NULL},
    {'A', "\\A", NULL},
    {'z', "\\z", NULL},
    {'Z', "\\Z", NULL},
};

static bool is_letter_or_digit(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* \x{HHHH}, \xHH */
static bool translate_hex(struct translation *t)
{
    const char *p = t->p + t->at;
    size_t left = t->n - t->at;
    const char *close = left > 2 && p[2] == '{' ? memchr(p, '}', left) : NULL;
    size_t n = close ? (size_t)(close - p) + 1 : left < 4 ? left : 4;
    buf_append(&t->out, p, n);
    t->at += n;
    return true;
}

static bool translate_escape(struct translation *t)
{
    if (t->at + 1 == t->n)
        return regex_refuse(t, "a \\ at its end");
    char c = t->p[t->at + 1];
    if (c == 'p' || c == 'P')
        return translate_property(t);
    if (c == 'u')
        return translate_code_point(t);
    if (c == 'x')
        return translate_hex(t);
    if (!is_letter_or_digit(c)) {
        buf_append(&t->out, t->p + t->at, 2);
        t->at += 2;
        return true;
    }
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
        const char *to = t->in_class ? escapes[i].inside : escapes[i].outside;
        if (escapes[i].letter != c || !to)
            continue;
        buf_puts(&t->out, to);
        t->at += 2;
        return true;
    }
    return regex_refuse(t, "an escape that has no equal here");
}

static bool translate_in_class(struct translation *t)
{
    const char *p = t->p + t->at;
    size_t left = t->n - t->at, n = 1;
    if (*p == '[') { /* [:alpha:] */
        const char *close = left > 2 && p[1] == ':' ? memmem(p + 2, left - 2, ":]", 2) : NULL;
        if (!close)
            return regex_refuse(t, "a class inside a class");
        n = (size_t)(close - p) + 2;
    }
    if (*p == '&' && left > 1 && p[1] == '&')
        return regex_refuse(t, "an intersection of classes");
    t->in_class = *p != ']';
    buf_append(&t->out, p, n);
    t->at += n;
    return true;
}

static bool translate_class(struct translation *t)
{
    size_t n = t->at + 1 < t->n && t->p[t->at + 1] == '^' ? 2 : 1;
    if (t->at + n < t->n && t->p[t->at + n] == ']')
        return regex_refuse(t, "an empty class");
    t->in_class = true;
    buf_append(&t->out, t->p + t->at, n);
    t->at += n;
    return true;
}

/* (?: and its kin; (?i) holds to the end of its group in both only where it begins the pattern. */
static bool translate_group(struct translation *t)
{
    static const char *const known[] = {
        "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:"};
    const char *p = t->p + t->at;
    size_t left = t->n - t->at, n = left > 1 && p[1] == '?' ? 0 : 1;
    for (size_t i = 0; !n && i < sizeof known / sizeof *known; i++)
        if (left >= strlen(known[i]) && !memcmp(p, known[i], strlen(known[i])))
            n = strlen(known[i]);
    if (!n && !t->at && left >= 4 && !memcmp(p, "(?i)", 4))
        n = 4;
    if (!n)
        return regex_refuse(t, "a kind of group that is not known");
    buf_append(&t->out, p, n);
    t->at += n;
    return true;
}

static bool translate_next(struct translation *t)
{
    const char *p = t->p + t->at;
    char after = t->at + 1 < t->n ? p[1] : 0;
    if (*p == '\\')
        return translate_escape(t);
    if (t->in_class)
        return translate_in_class(t);
    if (*p == '[')
        return translate_class(t);
    if (*p == '(')
        return translate_group(t);
    if (*p == '}' && (after == '+' || after == '?'))
        return regex_refuse(t, "a quantifier after {}");
    if (*p == '{' && after == ',')
        return regex_refuse(t, "{,n}");
    buf_putc(&t->out, *p);
    t->at++;
    return true;
}

static struct regex *compile_regex(const char *pattern, size_t n, const char *shown, size_t n_shown,
                                   struct error *err)
{
    int code = 0;
    unsigned char text[128] = "";
    struct regex *r = calloc(1, sizeof *r);
    if (r)
        r->code = compile_text(pattern, n, &code);
    if (!r || (!r->code && code == PCRE2_ERROR_HEAP_FAILED)) {
        free(r);
        error_set(err, ERROR_NO_MEMORY, "out of memory");
        return NULL;
    }
    if (!r->code) {
        pcre2_get_error_message(code, text, sizeof text);
        error_set(err, ERROR_FORMAT, "the regular expression \"%.*s\": %s",
                  (int)(n_shown < 80 ? n_shown : 80), shown, (char *)text);
        free(r);
        return NULL;
    }
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* where there is no JIT it is interpreted */
    return r;
}

struct regex *regex_create(const char *pattern, size_t n_bytes, struct error *err)
{
    struct translation t = {.p = pattern, .n = n_bytes, .err = err};
    struct regex *r = NULL;
    buf_init(&t.out, 64 * MAX_PATTERN);
    bool ok = n_bytes <= MAX_PATTERN && unicode_valid_bytes(pattern, n_bytes) == n_bytes;
    if (!ok)
        error_set(err, ERROR_FORMAT, "a regular expression of %zu bytes that is no text", n_bytes);
    while (ok && t.at < n_bytes)
        ok = translate_next(&t);
    if (ok && buf_failed(&t.out))
        error_set(err, ERROR_NO_MEMORY, "out of memory");
    else if (ok)
        r = compile_regex(t.out.data ? t.out.data : "", t.out.len, pattern, n_bytes, err);
    buf_deinit(&t.out);
    return r;
}

struct regex *regex_create_literal(const char *text, size_t n_bytes, struct error *err)
{
    struct buf out;
    struct regex *r = NULL;
    buf_init(&out, 2 * MAX_PATTERN);
    if (n_bytes > MAX_PATTERN || unicode_valid_bytes(text, n_bytes) != n_bytes) {
        error_set(err, ERROR_FORMAT, "a pattern of %zu bytes that is no text", n_bytes);
        return NULL;
    }
    for (size_t i = 0; i < n_bytes; i++) {
        if ((signed char)text[i] >= 0 && !is_letter_or_digit(text[i]) && text[i] > ' ')
            buf_putc(&out, '\\');
        buf_putc(&out, text[i]);
    }
    if (buf_failed(&out))
        error_set(err, ERROR_NO_MEMORY, "out of memory");
    else
        r = compile_regex(out.data ? out.data : "", out.len, text, n_bytes, err);
    buf_deinit(&out);
    return r;
}

void regex_destroy(struct regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    free(r);
}

struct regex_scratch *regex_scratch_create(void)
{
    return (struct regex_scratch *)pcre2_match_data_create(1, NULL);
}

void regex_scratch_destroy(struct regex_scratch *s)
{
    pcre2_match_data_free((pcre2_match_data *)s);
}

bool regex_next(const struct regex *r, struct regex_scratch *s, const char *text, size_t n_bytes,
                size_t from, size_t *begin, size_t *end)
{
    pcre2_match_data *match = (pcre2_match_data *)s;
    while (from < n_bytes) {
        int found =
            pcre2_match(r->code, (PCRE2_SPTR)text, n_bytes, from, PCRE2_NO_UTF_CHECK, match, NULL);
        if (found == PCRE2_ERROR_JIT_STACKLIMIT)
            found = pcre2_match(r->code, (PCRE2_SPTR)text, n_bytes, from,
                                PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match, NULL);
        if (found < 0)
            return false;
        const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(match);
        *begin = ends[0];
        *end = ends[1];
        if (*end > *begin)
            return true;
        from = *end < n_bytes ? *end + utf8_char_bytes(text + *end, n_bytes - *end) : n_bytes;
    }
    return false;
}
