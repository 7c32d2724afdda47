/* Work on text that methods and filters share: find, replace, join, strip, case, lines, padding.
 * Results are slices of their input where they can be. */
#include "jinja/state.h"
#include "jinja/char.h"

bool jinja_find_bytes(const char *text, size_t n, const char *what, size_t n_what, size_t *at)
{
    const char *found = n_what ? (n ? memmem(text, n, what, n_what) : NULL) : text;
    if (n_what && !found)
        return false;
    *at = n_what ? (size_t)(found - text) : 0;
    return true;
}

/* An empty `old` stands before every character and at the end. */
static bool replace_empty(struct jinja *j, const struct jinja_value *s,
                          const struct jinja_value *new, int64_t count, struct jinja_value *out)
{
    struct jinja_text t;
    jinja_scratch(j, &t);
    for (uint32_t i = 0; i < s->n;) {
        uint32_t point;
        size_t step = jinja_char_decode(s->text + i, s->n - i, &point);
        if (count != 0) {
            jinja_text_value(&t, new);
            count--;
        }
        jinja_text_part(&t, s, i, step);
        i += (uint32_t)step;
    }
    if (count != 0)
        jinja_text_value(&t, new);
    uint32_t n = s->n;
    return jinja_take(j, &t, out) && jinja_charge(j, n / 4);
}

bool jinja_replace(struct jinja *j, const struct jinja_value *s, const struct jinja_value *old,
                   const struct jinja_value *new, int64_t count, struct jinja_value *out)
{
    size_t at, done = 0, n_done = 0;
    if (!jinja_charge_bytes(j, s->n))
        return false;
    if (old->n == 0)
        return replace_empty(j, s, new, count, out);
    *out = *s;
    if (count == 0 || !jinja_find_bytes(s->text, s->n, old->text, old->n, &at))
        return true;
    struct jinja_text t;
    jinja_scratch(j, &t);
    for (; count != 0 && !jinja_text_failed(&t); count--) {
        if (!jinja_find_bytes(s->text + done, s->n - done, old->text, old->n, &at))
            break;
        jinja_text_part(&t, s, done, at);
        jinja_text_value(&t, new);
        done += at + old->n;
        n_done++;
    }
    jinja_text_part(&t, s, done, s->n - done);
    return jinja_take(j, &t, out) && jinja_charge(j, n_done);
}

bool jinja_join(struct jinja *j, const struct jinja_value *separator,
                const struct jinja_value *items, size_t n, bool convert, struct jinja_value *out)
{
    struct jinja_text t;
    jinja_scratch(j, &t);
    for (size_t i = 0; i < n; i++) {
        bool ok = convert || jinja_is(&items[i], JINJA_STRING);
        if (!ok)
            jinja_fail(j, "join needs strings, got '%s'", jinja_type_name(&items[i]));
        if (i)
            jinja_text_value(&t, separator);
        if (!ok || !jinja_write(j, &items[i], &t)) {
            jinja_text_deinit(&t);
            return false;
        }
    }
    return jinja_take(j, &t, out);
}

static const char *entity(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&#34;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

bool jinja_escape(struct jinja *j, const struct jinja_value *s, struct jinja_value *out)
{
    struct jinja_text t;
    *out = *s;
    if (s->kind)
        return true;
    jinja_scratch(j, &t);
    for (uint32_t i = 0; i < s->n; i++) {
        const char *text = entity(s->text[i]);
        if (text)
            jinja_text_append(&t, text, strlen(text), jinja_marks_of(s->marks, i));
        else
            jinja_text_part(&t, s, i, 1);
    }
    uint32_t n = s->n;
    bool ok = jinja_take(j, &t, out) && jinja_charge(j, n / 16);
    out->kind = ok;
    return ok;
}

static bool in_set(const struct jinja_value *chars, uint32_t point)
{
    for (uint32_t i = 0; i < chars->n;) {
        uint32_t c;
        i += (uint32_t)jinja_char_decode(chars->text + i, chars->n - i, &c);
        if (c == point)
            return true;
    }
    return false;
}

/* Is the character one of `chars`, or white space if that is NULL? Pays for the search. */
static bool strips(struct jinja *j, const struct jinja_value *chars, uint32_t point, bool *yes)
{
    *yes = chars ? in_set(chars, point) : jinja_char_is_space(point);
    return jinja_charge(j, chars ? 1 + chars->n / 16 : 1);
}

bool jinja_strip(struct jinja *j, const struct jinja_value *s, const struct jinja_value *chars,
                 int sides, struct jinja_value *out)
{
    size_t start = 0, end = s->n;
    if (jinja_is(chars, JINJA_ABSENT) || jinja_is(chars, JINJA_NONE))
        chars = NULL;
    else if (!jinja_want_string(j, "strip", chars))
        return false;
    for (bool more = (sides & JINJA_STRIP_LEFT) != 0; more && start < end;) {
        uint32_t point;
        size_t step = jinja_char_decode(s->text + start, end - start, &point);
        if (!strips(j, chars, point, &more))
            return false;
        start += more ? step : 0;
    }
    for (bool more = (sides & JINJA_STRIP_RIGHT) != 0; more && start < end;) {
        uint32_t point;
        size_t step = jinja_char_decode_last(s->text + start, end - start, &point);
        if (!strips(j, chars, point, &more))
            return false;
        end -= more ? step : 0;
    }
    *out = jinja_markup_like(jinja_part(s, start, end - start), s);
    return true;
}

static bool is_cased(uint32_t c)
{
    return jinja_char_is_upper(c) || jinja_char_is_lower(c) || jinja_char_lower(c) != c ||
           jinja_char_upper(c) != c;
}

/* A character in another case: at most 4 bytes. It may be longer than the one it comes from, and
 * U+00DF, the one letter with a longer upper case that real text has, becomes two. */
static size_t change_point(uint32_t c, bool upper, bool title, char *out)
{
    if (c == 0xDF && upper) {
        memcpy(out, title ? "Ss" : "SS", 2);
        return 2;
    }
    return jinja_char_encode(!upper  ? jinja_char_lower(c)
                             : title ? jinja_char_title(c)
                                     : jinja_char_upper(c),
                             out);
}

bool jinja_change_case(struct jinja *j, const struct jinja_value *s, enum jinja_case how,
                       struct jinja_value *out)
{
    struct jinja_text t;
    bool after_cased = false;
    jinja_scratch(j, &t);
    for (uint32_t i = 0; i < s->n;) {
        uint32_t c;
        char bytes[4];
        size_t step = jinja_char_decode(s->text + i, s->n - i, &c);
        bool upper = how == JINJA_UPPER || (how == JINJA_CAPITALIZE && i == 0) ||
                     (how == JINJA_TITLE && !after_cased) ||
                     (how == JINJA_SWAPCASE && jinja_char_is_lower(c));
        bool title = how == JINJA_CAPITALIZE || how == JINJA_TITLE;
        if (step == 1 && c == 0xFFFD)
            jinja_text_part(&t, s, i, 1);
        else
            jinja_text_append(&t, bytes, change_point(c, upper, title, bytes),
                              jinja_marks_of(s->marks, i));
        after_cased = is_cased(c);
        i += (uint32_t)step;
    }
    struct jinja_value from = *s;
    bool ok = jinja_take(j, &t, out) && jinja_charge(j, from.n / 4);
    *out = jinja_markup_like(*out, &from);
    return ok;
}

/* The bytes of a line's end at text[0], or 0: what Python's splitlines takes for one. */
static size_t line_end(const char *text, size_t n)
{
    uint32_t c;
    size_t step = jinja_char_decode(text, n, &c);
    if (c == '\r')
        return n > 1 && text[1] == '\n' ? 2 : 1;
    bool ends = (c >= '\n' && c <= '\f') || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
                c == 0x2029;
    return ends ? step : 0;
}

bool jinja_split_lines(struct jinja *j, const struct jinja_value *s, bool keep_ends,
                       struct jinja_list *list)
{
    size_t start = 0, at = 0;
    while (at < s->n) {
        size_t end = line_end(s->text + at, s->n - at);
        if (!end) {
            at++; /* a later byte of a character is never a line's end */
            continue;
        }
        size_t kept = keep_ends ? at + end : at;
        if (!jinja_push(j, list, jinja_part(s, start, kept - start)))
            return false;
        start = at += end;
    }
    if (start < s->n && !jinja_push(j, list, jinja_part(s, start, s->n - start)))
        return false;
    return jinja_charge(j, 1 + s->n / 32);
}

bool jinja_center(struct jinja *j, const struct jinja_value *s, int64_t width,
                  const struct jinja_value *fill, int where, struct jinja_value *out)
{
    int64_t n = (int64_t)jinja_char_count(s->text, s->n);
    *out = *s;
    if (width <= n)
        return true;
    if ((uint64_t)width > j->limits.max_bytes / 4)
        return jinja_fail_memory(j);
    int64_t pad = width - n;
    int64_t left = where < 0 ? 0 : where > 0 ? pad : pad / 2 + (pad & width & 1);
    struct jinja_text t;
    jinja_scratch(j, &t);
    for (int64_t i = 0; i < pad; i++) {
        if (i == left)
            jinja_text_value(&t, s);
        jinja_text_value(&t, fill);
    }
    if (left == pad)
        jinja_text_value(&t, s);
    return jinja_take(j, &t, out);
}
