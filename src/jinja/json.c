/* JSON text to values, for the filter from_json. Strings stay whose they are, byte by byte, which
 * is why no JSON library does it. */
#include "jinja/state.h"
#include "jinja/char.h"

struct json_reader {
    struct jinja *j;
    const struct jinja_value *text; /* a string */
    uint32_t at;
};

static bool read_value(struct json_reader *r, struct jinja_value *out);

static bool json_fail(const struct json_reader *r, const char *expected)
{
    return jinja_fail(r->j, "from_json: %s is expected at byte %u", expected, r->at);
}

/* The next byte that is no white space, or 0 at the end. */
static char json_next(struct json_reader *r)
{
    while (r->at < r->text->n && memchr(" \t\r\n", r->text->text[r->at], 4))
        r->at++;
    return r->at < r->text->n ? r->text->text[r->at] : 0;
}

static bool json_take(struct json_reader *r, char c)
{
    if (json_next(r) != c)
        return false;
    r->at++;
    return true;
}

static bool read_word(struct json_reader *r, const char *word, struct jinja_value value,
                      struct jinja_value *out)
{
    const size_t n = strlen(word);
    if (r->text->n - r->at < n || memcmp(r->text->text + r->at, word, n) != 0)
        return json_fail(r, "a value");
    r->at += (uint32_t)n;
    *out = value;
    return true;
}

static bool read_number(struct json_reader *r, struct jinja_value *out)
{
    const char *start = r->text->text + r->at;
    size_t n = 0;
    while (n < r->text->n - r->at && start[n] && strchr("+-.0123456789Ee", start[n]))
        n++;
    const char *copy = arena_copy(&r->j->arena, start, n);
    if (!copy)
        return jinja_fail_memory(r->j);
    if (!jinja_written_number(copy, n, out))
        return json_fail(r, "a number");
    r->at += (uint32_t)n;
    return jinja_charge_bytes(r->j, n);
}

/* ---- strings ---- */

static bool read_hex4(const struct json_reader *r, size_t at, uint32_t *out)
{
    *out = 0;
    for (size_t i = 0; i < 4; i++) {
        const char c = at + i < r->text->n ? r->text->text[at + i] : 0;
        const char *digits = "0123456789abcdef", *found = strchr(digits, c | 0x20);
        if (!c || !found || (c < '0'))
            return false;
        *out = *out << 4 | (uint32_t)(found - digits);
    }
    return true;
}

/* \uXXXX, or two of them that are one character; `at` is behind the u. */
static bool read_unicode(struct json_reader *r, uint32_t *point)
{
    uint32_t low;
    if (!read_hex4(r, r->at, point))
        return json_fail(r, "four hexadecimal digits");
    r->at += 4;
    if ((*point & 0xF800) != 0xD800)
        return true;
    const bool pairs = *point < 0xDC00 && r->text->n - r->at >= 6 && r->text->text[r->at] == '\\' &&
                       r->text->text[r->at + 1] == 'u' && read_hex4(r, r->at + 2, &low) &&
                       (low & 0xFC00) == 0xDC00;
    if (!pairs)
        return json_fail(r, "the other half of a character");
    *point = 0x10000 + ((*point & 0x3FF) << 10 | (low & 0x3FF));
    r->at += 6;
    return true;
}

/* What stands for one character; `at` is at the backslash. */
static bool read_escape(struct json_reader *r, struct jinja_text *t)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const uint8_t *whose = jinja_marks_of(r->text->marks, r->at);
    char bytes[4] = {0};
    size_t n = 1;
    r->at++;
    const char name = r->at < r->text->n ? r->text->text[r->at] : 0;
    const char *found = name ? strchr(names, name) : NULL;
    if (found) {
        bytes[0] = values[found - names];
        r->at++;
    } else {
        uint32_t point;
        if (name != 'u')
            return json_fail(r, "an escape");
        r->at++;
        if (!read_unicode(r, &point))
            return false;
        n = jinja_char_encode(point, bytes);
    }
    jinja_text_append(t, bytes, n, whose);
    return true;
}

static bool read_characters(struct json_reader *r, struct jinja_text *t)
{
    while (r->at < r->text->n && r->text->text[r->at] != '"') {
        uint32_t n = 0;
        const char *start = r->text->text + r->at;
        while (n < r->text->n - r->at && start[n] != '"' && start[n] != '\\' &&
               (unsigned char)start[n] >= 0x20)
            n++;
        if (n) {
            jinja_text_part(t, r->text, r->at, n);
            r->at += n;
        } else if (*start != '\\') {
            return json_fail(r, "no control character");
        } else if (!read_escape(r, t)) {
            return false;
        }
    }
    return r->at++ < r->text->n || json_fail(r, "the end of a string");
}

static bool read_string(struct json_reader *r, struct jinja_value *out)
{
    struct jinja_text t;
    if (!json_take(r, '"'))
        return json_fail(r, "a string");
    jinja_scratch(r->j, &t);
    if (!read_characters(r, &t)) {
        jinja_text_deinit(&t);
        return false;
    }
    return jinja_take(r->j, &t, out);
}

/* ---- containers ---- */

static bool read_list(struct json_reader *r, struct jinja_value *out)
{
    struct jinja_list *list;
    if (!jinja_new_list(r->j, 0, &list))
        return false;
    *out = jinja_of_list(JINJA_LIST, list);
    r->at++;
    if (json_take(r, ']'))
        return true;
    do {
        struct jinja_value item;
        if (!read_value(r, &item) || !jinja_push(r->j, list, item))
            return false;
    } while (json_take(r, ','));
    return json_take(r, ']') || json_fail(r, "']'");
}

static bool read_dict(struct json_reader *r, struct jinja_value *out)
{
    struct jinja_dict *dict;
    if (!jinja_new_dict(r->j, 0, &dict))
        return false;
    *out = jinja_of_dict(JINJA_DICT, dict);
    r->at++;
    if (json_take(r, '}'))
        return true;
    do {
        struct jinja_value key, value;
        if (!read_string(r, &key))
            return false;
        if (!json_take(r, ':'))
            return json_fail(r, "':'");
        if (!read_value(r, &value) || !jinja_put(r->j, dict, key, value))
            return false;
    } while (json_take(r, ','));
    return json_take(r, '}') || json_fail(r, "'}'");
}

static bool read_inside(struct json_reader *r, struct jinja_value *out)
{
    switch (json_next(r)) {
    case '{':
        return read_dict(r, out);
    case '[':
        return read_list(r, out);
    case '"':
        return read_string(r, out);
    case 't':
        return read_word(r, "true", jinja_bool(true), out);
    case 'f':
        return read_word(r, "false", jinja_bool(false), out);
    case 'n':
        return read_word(r, "null", jinja_none(), out);
    default:
        return read_number(r, out);
    }
}

static bool read_value(struct json_reader *r, struct jinja_value *out)
{
    bool ok = jinja_enter(r->j) && read_inside(r, out);
    jinja_leave(r->j);
    return ok;
}

bool jinja_read_json(struct jinja *j, const struct jinja_value *text, struct jinja_value *out)
{
    struct json_reader r = {.j = j, .text = text};
    const struct jinja_value from = *text;
    r.text = &from; /* `out` may be it */
    if (!read_value(&r, out))
        return false;
    return (!json_next(&r) && r.at == from.n) || json_fail(&r, "nothing more");
}
