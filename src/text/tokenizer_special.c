/* Special tokens in the order of their text: those that begin as the text does are a narrowing
 * range of it, so that each byte of a candidate costs a binary search and no other byte anything.
 */
#include "text/tokenizer_special.h"

#include <stdlib.h>
#include <string.h>

static bool is_special(const struct tokenizer_vocab *v, size_t id, bool control)
{
    uint8_t type = v->types[id];
    return v->tokens[id].len &&
           (type == TOKENIZER_TYPE_USER_DEFINED ||
            (control && (type == TOKENIZER_TYPE_CONTROL || type == TOKENIZER_TYPE_UNKNOWN)));
}

static int special_compare(const struct weights_string *a, const struct weights_string *b)
{
    size_t n = a->len < b->len ? a->len : b->len;
    int order = memcmp(a->data, b->data, n);
    return order ? order : (a->len > b->len) - (a->len < b->len);
}

/* Bottom-up merge sort: no worst case, and equal texts stay in the order of their ids. */
static void special_sort(const struct tokenizer_vocab *v, uint32_t *ids, uint32_t *spare, size_t n)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t begin = 0; begin < n; begin += 2 * width) {
            size_t middle = begin + width < n ? begin + width : n;
            size_t end = begin + 2 * width < n ? begin + 2 * width : n;
            for (size_t a = begin, b = middle, to = begin; to < end; to++) {
                bool left = a < middle && (b == end || special_compare(&v->tokens[ids[a]],
                                                                       &v->tokens[ids[b]]) <= 0);
                spare[to] = left ? ids[a++] : ids[b++];
            }
        }
        memcpy(ids, spare, n * sizeof *ids);
    }
}

bool tokenizer_special_init(struct tokenizer_special *s, const struct tokenizer_vocab *v,
                            struct error *err)
{
    *s = (struct tokenizer_special){.vocab = v};
    size_t n = 0;
    for (size_t id = 0; id < v->n; id++)
        n += is_special(v, id, true);
    if (!n)
        return true;
    uint32_t *spare = malloc(n * sizeof *spare);
    s->ids = malloc(n * sizeof *s->ids);
    if (!s->ids || !spare) {
        free(spare);
        return error_set(err, ERROR_NO_MEMORY, "out of memory for %zu special tokens", n);
    }
    for (size_t id = 0; id < v->n; id++) {
        if (!is_special(v, id, true))
            continue;
        unsigned char first = (unsigned char)v->tokens[id].data[0];
        s->ids[s->n++] = (uint32_t)id;
        s->begins[true][first] = true;
        s->begins[false][first] |= is_special(v, id, false);
    }
    special_sort(v, s->ids, spare, s->n);
    free(spare);
    return true;
}

void tokenizer_special_deinit(struct tokenizer_special *s)
{
    free(s->ids);
    *s = (struct tokenizer_special){0};
}

/* The first of ids[begin, end), all longer than `depth`, whose byte there is `byte` or higher. */
static size_t first_from(const struct tokenizer_special *s, size_t begin, size_t end, size_t depth,
                         unsigned byte)
{
    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        if ((unsigned char)s->vocab->tokens[s->ids[middle]].data[depth] < byte)
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

/* The longest special token that begins at text[0], or -1. */
static int32_t special_match(const struct tokenizer_special *s, const char *text,
                             const uint8_t *is_data, size_t n_bytes, bool control)
{
    int32_t found = -1;
    size_t begin = 0, end = s->n;
    for (size_t depth = 0; depth < n_bytes && begin < end; depth++) {
        unsigned byte = (unsigned char)text[depth];
        begin = first_from(s, begin, end, depth, byte);
        end = first_from(s, begin, end, depth, byte + 1);
        bool whole = false; /* tokens that end here come first in the range; they leave it */
        while (begin < end && s->vocab->tokens[s->ids[begin]].len == depth + 1) {
            if (!whole && special_counts(s, s->ids[begin], is_data, depth + 1, control)) {
                found = (int32_t)s->ids[begin];
                whole = true;
            }
            begin++;
        }
    }
    return found;
}

size_t tokenizer_special_next(const struct tokenizer_special *s, const char *text,
                              const uint8_t *is_data, size_t n_bytes, bool control, int32_t *id)
{
    const bool *begins = s->begins[control];
    for (size_t i = 0; i < n_bytes; i++) {
        if (!begins[(unsigned char)text[i]])
            continue;
        *id = special_match(s, text + i, is_data ? is_data + i : NULL, n_bytes - i, control);
        if (*id >= 0)
            return i;
    }
    return n_bytes;
}
