/* Special tokens in the order of their text: those that begin as the text does are a narrowing
 * range of it, so that each byte of a candidate costs a binary search and no other byte anything.
 */
#include "text/tokenizer_special.h"

#include "base/utf8.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static bool is_special(const struct tokenizer_vocab *v, size_t id, bool control)
{
    uint8_t type = v->types[id];
    return v->tokens[id].len &&
           (type == GGUF_TOKEN_USER_DEFINED ||
            (control && (type == GGUF_TOKEN_CONTROL || type == GGUF_TOKEN_UNKNOWN)));
}

static int special_compare(const struct weights_string *a, const struct weights_string *b)
{
    size_t n = a->len < b->len ? a->len : b->len;
    int order = memcmp(a->data, b->data, n);
    return order ? order : (a->len > b->len) - (a->len < b->len);
}

/* Bottom-up merge sort: no worst case, and equal texts stay in the order of their ids. */
static void special_sort(struct tokenizer_special_item *items, struct tokenizer_special_item *spare,
                         size_t n)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t begin = 0; begin < n; begin += 2 * width) {
            size_t middle = begin + width < n ? begin + width : n;
            size_t end = begin + 2 * width < n ? begin + 2 * width : n;
            for (size_t a = begin, b = middle, to = begin; to < end; to++) {
                bool left = a < middle &&
                            (b == end || special_compare(&items[a].text, &items[b].text) <= 0);
                spare[to] = left ? items[a++] : items[b++];
            }
        }
        memcpy(items, spare, n * sizeof *items);
    }
}

static bool belongs(const struct tokenizer_file *f, const struct tokenizer_vocab *v, size_t id,
                    bool normalized)
{
    return is_special(v, id, true) && !(f->flags[id] & TOKENIZER_NORMALIZED) == !normalized;
}

static bool normalize_item(struct tokenizer_special *s, const struct tokenizer_file *f,
                           struct normalizer_scratch *scratch, struct tokenizer_special_item *item)
{
    struct normalizer_text text = {item->text.data, NULL, item->text.len};
    if (unicode_valid_bytes(text.text, text.n) != text.n)
        return true;
    if (!normalizer_run(f->normalizer, scratch, &text))
        return false;
    const char *copy = arena_copy(&s->strings, text.text, text.n);
    item->text = (struct weights_string){copy, text.n};
    return copy != NULL;
}

static bool normalize_items(struct tokenizer_special *s, const struct tokenizer_file *f)
{
    struct normalizer_scratch scratch;
    bool ok = true;
    normalizer_scratch_init(&scratch);
    for (size_t i = 0; ok && i < s->n; i++)
        ok = normalize_item(s, f, &scratch, &s->items[i]);
    normalizer_scratch_deinit(&scratch);
    return ok;
}

/* Those whose text is empty, also after normalizing, are found nowhere. */
static void note_beginnings(struct tokenizer_special *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (!s->items[i].text.len)
            continue;
        unsigned char first = (unsigned char)s->items[i].text.data[0];
        s->begins[true][first] = true;
        s->begins[false][first] |= is_special(s->vocab, s->items[i].id, false);
        s->items[n++] = s->items[i];
    }
    s->n = n;
}

bool tokenizer_special_init(struct tokenizer_special *s, const struct tokenizer_file *f,
                            const struct tokenizer_vocab *v, bool normalized, struct error *err)
{
    *s = (struct tokenizer_special){.vocab = v, .flags = f->flags};
    arena_init(&s->strings, SIZE_MAX / 4);
    size_t n = 0;
    for (size_t id = 0; id < v->n; id++)
        n += belongs(f, v, id, normalized);
    if (!n)
        return true;
    struct tokenizer_special_item *spare = malloc(n * sizeof *spare);
    s->items = malloc(n * sizeof *s->items);
    bool ok = s->items && spare;
    for (size_t id = 0; ok && id < v->n; id++)
        if (belongs(f, v, id, normalized))
            s->items[s->n++] = (struct tokenizer_special_item){v->tokens[id], (uint32_t)id};
    ok = ok && (!normalized || !f->normalizer || normalize_items(s, f));
    if (ok) {
        note_beginnings(s);
        special_sort(s->items, spare, s->n);
    }
    free(spare);
    return ok || error_set(err, ERROR_NO_MEMORY, "out of memory for %zu special tokens", n);
}

void tokenizer_special_deinit(struct tokenizer_special *s)
{
    free(s->items);
    arena_deinit(&s->strings);
    *s = (struct tokenizer_special){0};
}

/* The first of items[begin, end), all longer than `depth`, whose byte there is `byte` or higher. */
static size_t first_from(const struct tokenizer_special *s, size_t begin, size_t end, size_t depth,
                         unsigned byte)
{
    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        if ((unsigned char)s->items[middle].text.data[depth] < byte)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

/* Is the beginning or the end of n bytes data? Two bytes of each, so that a template that writes
 * '<' + name + '>' around somebody's word does not make a marker of it. */
static bool touches_data(const uint8_t *is_data, size_t n)
{
    return is_data[0] || is_data[n - 1] || (n > 1 && (is_data[1] || is_data[n - 2]));
}

/* Does a token count that stands for n bytes, of which is_data tells whose they are? */
static bool special_counts(const struct tokenizer_special *s, size_t id, const uint8_t *is_data,
                           size_t n, bool control)
{
    return is_special(s->vocab, id, control) && !(is_data && touches_data(is_data, n) &&
                                                  tokenizer_vocab_is_marker(s->vocab, (int32_t)id));
}

/* The longest special token that begins at text[0], or -1; *n_found is its length. */
static int32_t special_match(const struct tokenizer_special *s, const char *text,
                             const uint8_t *is_data, size_t n_bytes, bool control, size_t *n_found)
{
    int32_t found = -1;
    size_t begin = 0, end = s->n;
    for (size_t depth = 0; depth < n_bytes && begin < end; depth++) {
        unsigned byte = (unsigned char)text[depth];
        begin = first_from(s, begin, end, depth, byte);
        end = first_from(s, begin, end, depth, byte + 1);
        bool whole = false; /* tokens that end here come first in the range; they leave it */
        while (begin < end && s->items[begin].text.len == depth + 1) {
            if (!whole && special_counts(s, s->items[begin].id, is_data, depth + 1, control)) {
                found = (int32_t)s->items[begin].id;
                *n_found = depth + 1;
                whole = true;
            }
            begin++;
        }
    }
    return found;
}

/* What no single word may stand beside: letters and what counts as such, marks, digits, connectors,
 * joiners. */
static bool is_word(uint32_t c)
{
    switch (utf8proc_category((int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default: /* circled letters; ZWNJ and ZWJ */
        return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
               (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189) || c == 0x200c ||
               c == 0x200d;
    }
}

/* The character that ends at text[end], 0 < end. Returns its length; invalid bytes are U+FFFD. */
static size_t decode_before(const char *text, size_t end, uint32_t *c)
{
    size_t n = 1;
    while (n < 4 && n < end && ((unsigned char)text[end - n] & 0xc0) == 0x80)
        n++;
    *c = 0xfffd;
    if (utf8_char_bytes(text + end - n, n) != n)
        return 1;
    return unicode_decode(text + end - n, c);
}

/* The same for the one that begins at text[at]. */
static size_t decode_after(const char *text, size_t n_bytes, size_t at, uint32_t *c)
{
    *c = 0xfffd;
    return utf8_char_bytes(text + at, n_bytes - at) ? unicode_decode(text + at, c) : 1;
}

static bool is_alone(const char *text, size_t n_bytes, size_t begin, size_t end)
{
    uint32_t before = ' ', after = ' ';
    if (begin)
        decode_before(text, begin, &before);
    if (end < n_bytes)
        decode_after(text, n_bytes, end, &after);
    return !is_word(before) && !is_word(after);
}

/* The white space around a match that is the token's own, no further back than `from`. */
static void widen_match(const struct tokenizer_special *s, const char *text, size_t n_bytes,
                        size_t from, struct tokenizer_special_match *m)
{
    uint32_t c;
    while ((s->flags[m->id] & TOKENIZER_LSTRIP) && m->begin > from) {
        size_t n = decode_before(text, m->begin, &c);
        if (!unicode_is_space(c))
            break;
        m->begin -= n;
    }
    while ((s->flags[m->id] & TOKENIZER_RSTRIP) && m->end < n_bytes) {
        size_t n = decode_after(text, n_bytes, m->end, &c);
        if (!unicode_is_space(c))
            break;
        m->end += n;
    }
}

bool tokenizer_special_next(const struct tokenizer_special *s, const char *text,
                            const uint8_t *is_data, size_t n_bytes, size_t from, bool control,
                            struct tokenizer_special_match *match)
{
    const bool *begins = s->begins[control];
    for (size_t i = from, n; i < n_bytes; i += n) {
        n = 1;
        if (!begins[(unsigned char)text[i]])
            continue;
        int32_t id =
            special_match(s, text + i, is_data ? is_data + i : NULL, n_bytes - i, control, &n);
        if (id < 0 ||
            ((s->flags[id] & TOKENIZER_SINGLE_WORD) && !is_alone(text, n_bytes, i, i + n)))
            continue;
        *match = (struct tokenizer_special_match){i, i + n, id};
        widen_match(s, text, n_bytes, from, match);
        return true;
    }
    return false;
}
