/* Template source to tokens. The rules are those of jinja2's lexer: what ends a text, which white
 * space around a tag belongs to it, how numbers and strings are written. Knows no grammar. */
#include "jinja/lex.h"

#include "jinja/char.h"

#include <stdlib.h>

void jinja_lexer_init(struct jinja_lexer *lex, const char *source, size_t n, struct arena *arena,
                      struct error *err)
{
    *lex = (struct jinja_lexer){
        .source = source, .n = n, .arena = arena, .err = err, .line_starting = true};
}

static bool fail_at(struct jinja_lexer *lex, size_t at, const char *what)
{
    return error_at(lex->err, ERROR_FORMAT, (int64_t)at, "chat template: %s", what);
}

static char char_at(const struct jinja_lexer *lex, size_t at)
{
    return at < lex->n ? lex->source[at] : '\0';
}

static bool starts_with(const struct jinja_lexer *lex, size_t at, const char *text)
{
    size_t n = strlen(text);
    return n <= lex->n - at && memcmp(lex->source + at, text, n) == 0;
}

static size_t lex_skip_space(const struct jinja_lexer *lex, size_t at)
{
    return at + jinja_char_space_prefix(lex->source + at, lex->n - at);
}

/* After something that ended at `end`: does the next text begin a line? */
static void move_to(struct jinja_lexer *lex, size_t end)
{
    lex->line_starting = end > 0 && lex->source[end - 1] == '\n';
    lex->at = end;
}

/* The end of a tag at `at` ("%}" or "#}", with its sign), or 0 if there is none: after "-%}" all
 * white space goes, after "%}" one newline, after "+%}" nothing. */
static size_t tag_end(const struct jinja_lexer *lex, size_t at, const char *close)
{
    if (starts_with(lex, at, close))
        return at + 2 + (char_at(lex, at + 2) == '\n');
    if (at < lex->n && starts_with(lex, at + 1, close)) {
        if (lex->source[at] == '-')
            return lex_skip_space(lex, at + 3);
        if (lex->source[at] == '+')
            return at + 3;
    }
    return 0;
}

/* Text before a tag that begins at `end` with `sign`: what is left of it. */
static size_t trimmed_end(const struct jinja_lexer *lex, size_t start, size_t end, char sign,
                          bool lstrip)
{
    const char *text = lex->source + start;
    size_t n = end - start;
    if (sign == '-')
        return end - jinja_char_space_suffix(text, n);
    if (sign == '+' || !lstrip)
        return end;
    const char *newline = n ? memrchr(text, '\n', n) : NULL;
    size_t line = newline ? (size_t)(newline - text) + 1 : 0;
    if (line == 0 && !lex->line_starting)
        return end;
    return jinja_char_space_prefix(text + line, n - line) == n - line ? start + line : end;
}

static char sign_at(const struct jinja_lexer *lex, size_t at)
{
    char c = char_at(lex, at);
    return c == '-' || c == '+' ? c : '\0';
}

static bool word_at(const struct jinja_lexer *lex, size_t *at, const char *word)
{
    size_t p = lex_skip_space(lex, *at);
    if (!starts_with(lex, p, word))
        return false;
    *at = lex_skip_space(lex, p + strlen(word));
    return true;
}

/* Is there a "{% raw %}" at `at`? Sets the place after it. */
static bool raw_begin(const struct jinja_lexer *lex, size_t at, size_t *end)
{
    size_t p = at + 2 + (sign_at(lex, at + 2) != 0);
    if (!word_at(lex, &p, "raw"))
        return false;
    if (starts_with(lex, p, "-%}"))
        *end = lex_skip_space(lex, p + 3);
    else if (starts_with(lex, p, "%}"))
        *end = p + 2;
    else
        return false;
    return true;
}

static bool data_token(struct jinja_token *out, const struct jinja_lexer *lex, size_t start,
                       size_t end)
{
    *out = (struct jinja_token){.kind = JINJA_TOKEN_DATA, .at = (uint32_t)start};
    out->value = jinja_own(lex->source + start, end - start);
    return end > start;
}

/* From inside "{% raw %}" to after "{% endraw %}". */
static bool raw_text(struct jinja_lexer *lex, struct jinja_token *out)
{
    size_t start = lex->at;
    for (size_t at = start; at + 1 < lex->n; at++) {
        if (!starts_with(lex, at, "{%"))
            continue;
        char sign = sign_at(lex, at + 2);
        size_t p = at + 2 + (sign != 0);
        size_t end = word_at(lex, &p, "endraw") ? tag_end(lex, p, "%}") : 0;
        if (!end)
            continue;
        data_token(out, lex, start, trimmed_end(lex, start, at, sign, true));
        move_to(lex, end);
        return true;
    }
    data_token(out, lex, start, start);
    return start >= lex->n || fail_at(lex, start, "a raw block without its end");
}

static bool skip_comment(struct jinja_lexer *lex, size_t at)
{
    size_t start = at + 2 + (sign_at(lex, at + 2) != 0);
    const char *close =
        lex->n > start ? memmem(lex->source + start, lex->n - start, "#}", 2) : NULL;
    if (!close && start >= lex->n)
        lex->at = lex->n; /* jinja2 has no objection to one that begins at the very end */
    if (!close)
        return start >= lex->n || fail_at(lex, at, "a comment without its end");
    size_t p = (size_t)(close - lex->source);
    move_to(lex,
            p > start && sign_at(lex, p - 1) ? tag_end(lex, p - 1, "#}") : tag_end(lex, p, "#}"));
    return true;
}

static size_t find_tag(const struct jinja_lexer *lex, size_t at)
{
    while (at + 1 < lex->n) {
        const char *brace = memchr(lex->source + at, '{', lex->n - at - 1);
        if (!brace)
            return lex->n;
        at = (size_t)(brace - lex->source);
        if (brace[1] == '{' || brace[1] == '%' || brace[1] == '#')
            return at;
        at++;
    }
    return lex->n;
}

/* Begins the tag at `at`; the token of its beginning is returned next. */
static bool begin_tag(struct jinja_lexer *lex, size_t at)
{
    bool print = lex->source[at + 1] == '{';
    lex->pending = print ? JINJA_TOKEN_PRINT_BEGIN : JINJA_TOKEN_BLOCK_BEGIN;
    lex->pending_at = at;
    lex->state = print ? JINJA_LEX_PRINT : JINJA_LEX_BLOCK;
    move_to(lex, at + 2 + (sign_at(lex, at + 2) != 0));
    lex->n_open = 0;
    return true;
}

/* Outside of tags: the text up to the next tag (may be empty), and the tag's beginning. */
static bool next_data(struct jinja_lexer *lex, struct jinja_token *out)
{
    size_t start = lex->at, at = find_tag(lex, start);
    if (at == lex->n) {
        data_token(out, lex, start, at);
        lex->at = at;
        return true;
    }
    char kind = lex->source[at + 1];
    data_token(out, lex, start, trimmed_end(lex, start, at, sign_at(lex, at + 2), kind != '{'));
    size_t end;
    if (kind == '#')
        return skip_comment(lex, at);
    if (kind == '%' && raw_begin(lex, at, &end)) {
        struct jinja_token before = *out;
        move_to(lex, end);
        if (!raw_text(lex, out))
            return false;
        if (before.value.n == 0)
            return true;
        /* two texts: join them, they are short */
        size_t n = before.value.n + (size_t)out->value.n;
        char *both = arena_alloc(lex->arena, n + 1);
        if (!both)
            return error_set(lex->err, ERROR_NO_MEMORY, "chat template: out of memory");
        memcpy(both, before.value.text, before.value.n);
        memcpy(both + before.value.n, out->value.text, out->value.n);
        out->value = jinja_own(both, n);
        return true;
    }
    return begin_tag(lex, at);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

/* Digits with single underscores between them; the place after them. */
static size_t lex_skip_digits(const struct jinja_lexer *lex, size_t at)
{
    while (is_digit(char_at(lex, at)) ||
           (char_at(lex, at) == '_' && is_digit(char_at(lex, at + 1))))
        at++;
    return at;
}

/* The end of a floating-point number that begins at `at`, or 0: digits, then a fraction, an
 * exponent or both. */
static size_t float_end(const struct jinja_lexer *lex, size_t at)
{
    if (at > 0 && lex->source[at - 1] == '.')
        return 0;
    size_t end = lex_skip_digits(lex, at), result = 0;
    if (char_at(lex, end) == '.' && is_digit(char_at(lex, end + 1)))
        result = end = lex_skip_digits(lex, end + 1);
    if (char_at(lex, end) == 'e' || char_at(lex, end) == 'E') {
        size_t p = end + 1;
        if (char_at(lex, p) == '+' || char_at(lex, p) == '-')
            p++;
        if (is_digit(char_at(lex, p)))
            result = lex_skip_digits(lex, p);
    }
    return result;
}

static int digit_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
}

/* The copy of a number's digits without underscores, or NULL if it is absurdly long. */
static bool plain_digits(const struct jinja_lexer *lex, size_t start, size_t end, char out[512])
{
    size_t n = 0;
    for (size_t i = start; i < end; i++) {
        if (lex->source[i] == '_')
            continue;
        if (n == 511)
            return false;
        out[n++] = lex->source[i];
    }
    out[n] = '\0';
    return true;
}

static bool lex_integer(struct jinja_lexer *lex, struct jinja_token *out)
{
    size_t at = lex->at;
    int base = 10;
    char mark = char_at(lex, at) == '0' ? (char)(char_at(lex, at + 1) | 0x20) : '\0';
    int wanted = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    size_t first = at + 2 + (char_at(lex, at + 2) == '_');
    if (wanted && digit_value(char_at(lex, first)) < wanted) {
        base = wanted;
        at = first;
    }
    int64_t value = 0;
    bool zeros = base == 10 && char_at(lex, at) == '0'; /* 007 is 00 and then 7 */
    for (;; at++) {
        char c = char_at(lex, at);
        if (c == '_' && digit_value(char_at(lex, at + 1)) < base)
            continue;
        int digit = digit_value(c);
        if (digit >= base || (zeros && digit))
            break;
        if (__builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return error_at(lex->err, ERROR_UNSUPPORTED, (int64_t)lex->at,
                            "chat template: an integer of more than 64 bits");
    }
    out->value = jinja_int(value);
    move_to(lex, at);
    return true;
}

static bool lex_number(struct jinja_lexer *lex, struct jinja_token *out)
{
    out->kind = JINJA_TOKEN_NUMBER;
    size_t end = float_end(lex, lex->at);
    if (!end)
        return lex_integer(lex, out);
    char digits[512];
    if (!plain_digits(lex, lex->at, end, digits))
        return fail_at(lex, lex->at, "a number that is too long");
    out->value = jinja_float(strtod(digits, NULL));
    move_to(lex, end);
    return true;
}

/* \x41, \u00e9, \U0001f600: n hex digits at `at`. */
static bool hex_point(const char *text, size_t n, size_t at, size_t n_digits, uint32_t *point)
{
    if (n_digits > n - at)
        return false;
    *point = 0;
    for (size_t i = 0; i < n_digits; i++) {
        int digit = digit_value(text[at + i]);
        if (digit > 15)
            return false;
        *point = *point << 4 | (uint32_t)digit;
    }
    return *point <= 0x10FFFF && (*point < 0xD800 || *point > 0xDFFF);
}

static size_t octal_point(const char *text, size_t n, size_t at, uint32_t *point)
{
    size_t i = 0;
    for (*point = 0; i < 3 && at + i < n && text[at + i] >= '0' && text[at + i] <= '7'; i++)
        *point = *point << 3 | (uint32_t)(text[at + i] - '0');
    return i;
}

/* One escape, text[0] == '\\', of Python's string literals. Returns bytes read, or 0. */
static size_t unescape(const char *text, size_t n, char *out, size_t *n_out)
{
    static const char letters[] = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";
    uint32_t point;
    *n_out = 0;
    if (n < 2)
        return 0;
    if (text[1] == '\n')
        return 2;
    for (size_t i = 0; i + 1 < sizeof letters; i += 2)
        if (letters[i] == text[1]) {
            out[(*n_out)++] = letters[i + 1];
            return 2;
        }
    size_t n_hex = text[1] == 'x' ? 2 : text[1] == 'u' ? 4 : text[1] == 'U' ? 8 : 0;
    if (n_hex) {
        if (!hex_point(text, n, 2, n_hex, &point))
            return 0;
        *n_out = jinja_char_encode(point, out);
        return 2 + n_hex;
    }
    size_t n_octal = octal_point(text, n, 1, &point);
    if (n_octal) {
        *n_out = jinja_char_encode(point, out);
        return 1 + n_octal;
    }
    if (text[1] == 'N')
        return 0; /* names of characters */
    out[(*n_out)++] = '\\';
    return 1; /* an unknown escape stands for itself */
}

static bool lex_string(struct jinja_lexer *lex, struct jinja_token *out)
{
    size_t start = lex->at + 1, end = start;
    char quote = lex->source[lex->at];
    bool escaped = false;
    while (end < lex->n && lex->source[end] != quote) {
        escaped |= lex->source[end] == '\\';
        end += lex->source[end] == '\\' ? 2 : 1;
    }
    if (end >= lex->n)
        return fail_at(lex, lex->at, "a string without its end");
    out->kind = JINJA_TOKEN_STRING;
    out->value = jinja_own(lex->source + start, end - start);
    if (escaped) {
        char *text = arena_alloc(lex->arena, end - start + 1);
        size_t n = 0;
        if (!text)
            return error_set(lex->err, ERROR_NO_MEMORY, "chat template: out of memory");
        for (size_t i = start; i < end;) {
            size_t n_read = 1, n_written = 1;
            if (lex->source[i] == '\\')
                n_read = unescape(lex->source + i, end - i, text + n, &n_written);
            else
                text[n] = lex->source[i];
            if (!n_read)
                return fail_at(lex, i, "an escape that means no character");
            i += n_read;
            n += n_written;
        }
        out->value = jinja_own(text, n);
    }
    move_to(lex, end + 1);
    return true;
}

static bool lex_name(struct jinja_lexer *lex, struct jinja_token *out)
{
    size_t end = lex->at;
    while (end < lex->n) {
        uint32_t point;
        size_t step = jinja_char_decode(lex->source + end, lex->n - end, &point);
        if (point < 0x80 ? !is_name_start((char)point) && !is_digit((char)point)
                         : !jinja_char_is_alpha(point) && !jinja_char_is_number(point))
            break;
        end += step;
    }
    if (end == lex->at)
        return fail_at(lex, lex->at, "a character that means nothing here");
    out->kind = JINJA_TOKEN_NAME;
    out->value = jinja_own(lex->source + lex->at, end - lex->at);
    move_to(lex, end);
    return true;
}

/* Keeps the balance of brackets: inside of them "}}" and "%}" end no tag. */
static bool lex_balance(struct jinja_lexer *lex, char c)
{
    static const char opening[] = "([{", closing[] = ")]}";
    const char *open = strchr(opening, c);
    if (open) {
        if (lex->n_open == JINJA_MAX_NESTING)
            return fail_at(lex, lex->at, "brackets nest too deep");
        lex->open[lex->n_open++] = closing[open - opening];
        return true;
    }
    if (!strchr(closing, c))
        return true;
    if (lex->n_open == 0 || lex->open[lex->n_open - 1] != c)
        return fail_at(lex, lex->at, "a closing bracket that nothing opened");
    lex->n_open--;
    return true;
}

static bool lex_operator(struct jinja_lexer *lex, struct jinja_token *out)
{
    static const char doubles[][3] = {"//", "**", "==", "!=", ">=", "<="};
    char c = lex->source[lex->at];
    out->kind = JINJA_TOKEN_OPERATOR;
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++)
        if (starts_with(lex, lex->at, doubles[i])) {
            out->op = JINJA_TWO(doubles[i][0], doubles[i][1]);
            move_to(lex, lex->at + 2);
            return true;
        }
    if (!c || !strchr("+-/*%~[](){}><=.:|,;", c))
        return fail_at(lex, lex->at, "a character that means nothing here");
    if (!lex_balance(lex, c))
        return false;
    out->op = c;
    move_to(lex, lex->at + 1);
    return true;
}

/* The end of the current tag at lex->at, or 0. A print has only one sign, and trims no newline. */
static size_t current_tag_end(const struct jinja_lexer *lex)
{
    if (lex->n_open)
        return 0;
    if (lex->state == JINJA_LEX_BLOCK)
        return tag_end(lex, lex->at, "%}");
    if (starts_with(lex, lex->at, "-}}"))
        return lex_skip_space(lex, lex->at + 3);
    return starts_with(lex, lex->at, "}}") ? lex->at + 2 : 0;
}

static bool next_in_tag(struct jinja_lexer *lex, struct jinja_token *out)
{
    lex->at = lex_skip_space(lex, lex->at);
    *out = (struct jinja_token){.at = (uint32_t)lex->at};
    if (lex->at >= lex->n)
        return true; /* END: the parser says what is missing */
    size_t end = current_tag_end(lex);
    if (end) {
        out->kind = lex->state == JINJA_LEX_BLOCK ? JINJA_TOKEN_BLOCK_END : JINJA_TOKEN_PRINT_END;
        lex->state = JINJA_LEX_DATA;
        move_to(lex, end);
        return true;
    }
    char c = lex->source[lex->at];
    if (is_digit(c))
        return lex_number(lex, out);
    if (is_name_start(c))
        return lex_name(lex, out);
    if (c == '"' || c == '\'')
        return lex_string(lex, out);
    return lex_operator(lex, out);
}

bool jinja_lexer_next(struct jinja_lexer *lex, struct jinja_token *out)
{
    for (;;) {
        if (lex->pending) {
            *out = (struct jinja_token){.kind = (enum jinja_token_kind)lex->pending,
                                        .at = (uint32_t)lex->pending_at};
            lex->pending = 0;
            return true;
        }
        if (lex->state != JINJA_LEX_DATA)
            return next_in_tag(lex, out);
        if (lex->at >= lex->n) {
            *out = (struct jinja_token){.kind = JINJA_TOKEN_END, .at = (uint32_t)lex->n};
            return true;
        }
        if (!next_data(lex, out))
            return false;
        if (out->value.n)
            return true;
    }
}
