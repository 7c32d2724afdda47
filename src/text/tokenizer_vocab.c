/* A vocabulary's tokens by id and by text. The strings are the file's; all memory here is one
 * table, whatever the number of tokens. */
#include "text/tokenizer_vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/random.h>
#endif

static uint64_t load64(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static uint64_t load32(const char *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Multiply and fold, a word at a time; the last two words of a text may overlap. */
uint64_t tokenizer_vocab_hash(const struct tokenizer_vocab *v, const char *text, size_t n)
{
    uint64_t h = v->secret[0] ^ n, tail;
    if (n >= 8) {
        size_t i = 0;
        for (; n - i > 8; i += 8)
            h = tokenizer_vocab_mix(h ^ load64(text + i), v->secret[1]);
        tail = load64(text + n - 8);
    } else if (n >= 4) {
        tail = load32(text) | load32(text + n - 4) << 32;
    } else {
        tail = n ? (uint64_t)(unsigned char)text[0] | (uint64_t)(unsigned char)text[n / 2] << 8 |
                       (uint64_t)(unsigned char)text[n - 1] << 16
                 : 0;
    }
    h = tokenizer_vocab_mix(h ^ tail, v->secret[1]);
    return tokenizer_vocab_mix(h, v->secret[1] ^ v->secret[0]);
}

void tokenizer_vocab_prefetch(const struct tokenizer_vocab *v, uint64_t hash)
{
    __builtin_prefetch(&v->slots[hash & (v->n_slots - 1)]);
}

int32_t tokenizer_vocab_find_hashed(const struct tokenizer_vocab *v, uint64_t hash,
                                    const char *text, size_t n_bytes)
{
    uint32_t tag = (uint32_t)(hash >> 32);
    for (size_t i = hash & (v->n_slots - 1);; i = (i + 1) & (v->n_slots - 1)) {
        const struct tokenizer_slot *slot = &v->slots[i];
        if (!slot->number)
            return -1;
        const struct weights_string *token = &v->tokens[slot->number - 1];
        if (slot->tag == tag && token->len == n_bytes && !memcmp(token->data, text, n_bytes))
            return (int32_t)(slot->number - 1);
    }
}

int32_t tokenizer_vocab_find(const struct tokenizer_vocab *v, const char *text, size_t n_bytes)
{
    if (!n_bytes || n_bytes > v->max_bytes)
        return -1;
    return tokenizer_vocab_find_hashed(v, tokenizer_vocab_hash(v, text, n_bytes), text, n_bytes);
}

/* The tags that vocabularies keep whole as they keep words (Gemma's do). */
static bool is_html(const char *name, size_t n)
{
    static const char names[] = " a b blockquote body br caption code div em h1 h2 h3 h4 h5 h6 hr "
                                "html i img li ol p pre s span strong sub sup table tbody td tfoot "
                                "th thead tr u ul ";
    char padded[16];
    if (n && *name == '/') {
        name++;
        n--;
    }
    if (!n || n > sizeof padded - 3 || memchr(name, ' ', n))
        return false;
    snprintf(padded, sizeof padded, " %.*s ", (int)n, name);
    return strstr(names, padded) != NULL;
}

static bool is_markup(const struct weights_string *token)
{
    const char *text = token->data;
    size_t n = token->len;
    bool has_letter = false;
    if (n < 3 ||
        !((text[0] == '<' && text[n - 1] == '>') || (text[0] == '[' && text[n - 1] == ']')))
        return false;
    for (size_t i = 1; i < n - 1; i++)
        has_letter |= (unsigned char)((text[i] | 0x20) - 'a') < 26;
    return has_letter && !(text[0] == '<' && is_html(text + 1, n - 2));
}

bool tokenizer_vocab_is_marker(const struct tokenizer_vocab *v, int32_t id)
{
    return v->types[id] == GGUF_TOKEN_CONTROL || v->types[id] == GGUF_TOKEN_UNKNOWN ||
           (v->types[id] == GGUF_TOKEN_USER_DEFINED && is_markup(&v->tokens[id]));
}

bool tokenizer_vocab_is_text(const struct tokenizer_vocab *v, int32_t id)
{
    return v->types[id] == GGUF_TOKEN_NORMAL ||
           (v->types[id] == GGUF_TOKEN_USER_DEFINED && !is_markup(&v->tokens[id]));
}

int32_t tokenizer_vocab_find_text(const struct tokenizer_vocab *v, const char *text, size_t n_bytes)
{
    int32_t id = tokenizer_vocab_find(v, text, n_bytes);
    return id >= 0 && tokenizer_vocab_is_text(v, id) ? id : -1;
}

int32_t tokenizer_vocab_find_byte(const struct tokenizer_vocab *v, uint8_t byte)
{
    char name[8];
    snprintf(name, sizeof name, "<0x%02X>", byte);
    return tokenizer_vocab_find(v, name, 6);
}

/* Puts token `id` under its text unless an earlier one has the same. */
static void vocab_add(struct tokenizer_vocab *v, uint32_t id)
{
    const struct weights_string *new = &v->tokens[id];
    if (!new->len)
        return;
    uint64_t h = tokenizer_vocab_hash(v, new->data, new->len);
    uint32_t tag = (uint32_t)(h >> 32);
    for (size_t i = h & (v->n_slots - 1);; i = (i + 1) & (v->n_slots - 1)) {
        struct tokenizer_slot *slot = &v->slots[i];
        if (!slot->number) {
            *slot = (struct tokenizer_slot){tag, id + 1};
            return;
        }
        const struct weights_string *token = &v->tokens[slot->number - 1];
        if (slot->tag == tag && token->len == new->len && !memcmp(token->data, new->data, new->len))
            return;
    }
}

bool tokenizer_vocab_init(struct tokenizer_vocab *v, const struct tokenizer_file *f,
                          struct error *err)
{
    *v = (struct tokenizer_vocab){
        .tokens = f->tokens, .types = f->types, .n = f->n, .has_types = f->has_types};
    if (getentropy(v->secret, sizeof v->secret))
        return error_set(err, ERROR_IO, "the system gives no random numbers");
    v->secret[1] |= 1;
    for (v->n_slots = 16; v->n_slots < v->n + v->n / 2;)
        v->n_slots *= 2;
    v->slots = calloc(v->n_slots, sizeof *v->slots);
    if (!v->slots)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for %zu tokens", v->n);
    for (size_t i = 0; i < v->n; i++) {
        if (v->tokens[i].len > v->max_bytes)
            v->max_bytes = v->tokens[i].len;
        vocab_add(v, (uint32_t)i);
    }
    return true;
}

void tokenizer_vocab_deinit(struct tokenizer_vocab *v)
{
    free(v->slots);
    *v = (struct tokenizer_vocab){0};
}
