/* The table's layout is that of SentencePiece (normalizer.cc): a 32-bit length, the units of a
 * double array as Darts-clone (github.com/s-yata/darts-clone) writes them, strings that end with a
 * zero. A unit has its label in the lowest 8 bits and bit 31, "has a value" in bit 8, and in the
 * upper bits how far its children are. See charsmap.h. */
#include "text/charsmap.h"

#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

struct charsmap {
    uint32_t *units; /* [n_units] */
    size_t n_units;
    const char *strings; /* [n_strings]; the last byte is zero */
    size_t n_strings;
};

struct charsmap *charsmap_create(const void *data, size_t n_bytes, struct error *err)
{
    uint32_t n_trie = 0;
    if (n_bytes >= sizeof n_trie)
        memcpy(&n_trie, data, sizeof n_trie);
    if (!n_trie || n_trie % 4 || n_trie > n_bytes - sizeof n_trie ||
        n_trie == n_bytes - sizeof n_trie || ((const char *)data)[n_bytes - 1]) {
        error_set(err, ERROR_FORMAT, "a table of replacements of %zu bytes that is none", n_bytes);
        return NULL;
    }
    const char *strings = (const char *)data + sizeof n_trie + n_trie;
    const size_t n_strings = n_bytes - sizeof n_trie - n_trie;
    if (unicode_valid_bytes(strings, n_strings) != n_strings) {
        error_set(err, ERROR_FORMAT, "a table of replacements that are not UTF-8");
        return NULL;
    }
    struct charsmap *c = calloc(1, sizeof *c + n_bytes);
    if (!c) {
        error_set(err, ERROR_NO_MEMORY, "out of memory for %zu bytes of replacements", n_bytes);
        return NULL;
    }
    memcpy(c + 1, (const char *)data + sizeof n_trie, n_bytes - sizeof n_trie);
    c->units = (uint32_t *)(c + 1);
    c->n_units = n_trie / sizeof *c->units;
    c->strings = (const char *)(c + 1) + n_trie;
    c->n_strings = n_strings;
    return c;
}

static int sextet(char c)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

struct charsmap *charsmap_create_base64(const char *text, size_t n, struct error *err)
{
    while (n && text[n - 1] == '=')
        n--;
    uint8_t *data = malloc(n / 4 * 3 + 3);
    uint32_t bits = 0;
    size_t n_data = 0;
    if (!data) {
        error_set(err, ERROR_NO_MEMORY, "out of memory for %zu bytes of replacements", n);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        int value = sextet(text[i]);
        if (value < 0) {
            free(data);
            error_at(err, ERROR_FORMAT, (int64_t)i, "a table of replacements that is no base64");
            return NULL;
        }
        bits = bits << 6 | (uint32_t)value;
        if (i % 4)
            data[n_data++] = (uint8_t)(bits >> (6 - i % 4 * 2));
    }
    struct charsmap *c = charsmap_create(data, n_data, err);
    free(data);
    return c;
}

void charsmap_destroy(struct charsmap *c)
{
    free(c);
}

static size_t children_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

static bool is_within_character(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

bool charsmap_find(const struct charsmap *c, const char *text, size_t n_bytes, bool longest,
                   struct charsmap_match *match)
{
    size_t node = children_of(c->units[0]);
    bool found = false;
    for (size_t i = 0; i < n_bytes && text[i]; i++) {
        unsigned char byte = (unsigned char)text[i];
        node ^= byte;
        if (node >= c->n_units || (c->units[node] & (1u << 31 | 0xff)) != byte)
            break;
        uint32_t unit = c->units[node];
        node ^= children_of(unit);
        if (!(unit & 1u << 8) || (i + 1 < n_bytes && is_within_character(text[i + 1])))
            continue;
        size_t at = node < c->n_units ? c->units[node] & ~(1u << 31) : SIZE_MAX;
        if (at >= c->n_strings || is_within_character(c->strings[at]))
            break;
        *match = (struct charsmap_match){i + 1, c->strings + at, strlen(c->strings + at)};
        found = true;
        if (!longest)
            break;
    }
    return found;
}
