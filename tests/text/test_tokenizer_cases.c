#include "test_tokenizer_cases.h"

#include <stdlib.h>
#include <string.h>

static void stop(const char *what, const char *detail)
{
    fprintf(stderr, "tokenizer cases: %s%s\n", what, detail);
    abort();
}

FILE *tokenizer_cases_open(const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", TOKENIZER_GOLDEN, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        stop("cannot open ", path);
    return f;
}

void tokenizer_cases_init(struct tokenizer_cases *c)
{
    FILE *f = tokenizer_cases_open("cases.json");
    json_error_t error;
    *c = (struct tokenizer_cases){.file = json_loadf(f, JSON_ALLOW_NUL, &error)};
    fclose(f);
    if (!c->file)
        stop("cases.json: ", error.text);
    const char *group;
    json_t *texts, *text;
    size_t i;
    json_object_foreach(c->file, group, texts) c->n += json_array_size(texts);
    c->items = calloc(c->n, sizeof *c->items);
    if (!c->items)
        stop("out of memory", "");
    struct tokenizer_case *next = c->items;
    json_object_foreach(c->file, group, texts)
    {
        bool plain = !strcmp(group, "plain");
        json_array_foreach(texts, i, text)
        {
            *next++ =
                (struct tokenizer_case){json_string_value(text), json_string_length(text), plain};
        }
    }
}

void tokenizer_cases_deinit(struct tokenizer_cases *c)
{
    free(c->items);
    json_decref(c->file);
}

struct token_list tokenizer_cases_encode(const struct tokenizer *t, const struct tokenizer_case *c,
                                         unsigned flags)
{
    struct token_list list = {0};
    struct error err;
    /* A copy of the exact size, so that a sanitizer sees a read past the end. */
    char *copy = malloc(c->n_bytes ? c->n_bytes : 1);
    if (!copy)
        stop("out of memory", "");
    memcpy(copy, c->text, c->n_bytes);
    if (!tokenizer_encode(t, copy, c->n_bytes, flags, &list, &err))
        stop("encode: ", err.message);
    free(copy);
    return list;
}

uint32_t tokenizer_cases_crc(const struct token_list *list)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < list->n * 4; i++) {
        crc ^= (uint32_t)list->ids[i / 4] >> (i % 4 * 8) & 0xff;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void tell(const char *what, const struct tokenizer_case *c, const struct token_list *list)
{
    json_t *text = json_stringn(c->text, c->n_bytes);
    char *shown = json_dumps(text, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    fprintf(stderr, "%s: %s differs, ours:", what, shown ? shown : "a text");
    for (size_t i = 0; i < list->n; i++)
        fprintf(stderr, " %d", list->ids[i]);
    fputc('\n', stderr);
    free(shown);
    json_decref(text);
}

size_t tokenizer_cases_compare_crc(const struct tokenizer_cases *c, const struct tokenizer *t,
                                   unsigned flags, FILE *golden, size_t step, const char *what)
{
    size_t n_wrong = 0;
    char line[64];
    for (size_t i = 0; i < c->n; i += step) {
        const struct tokenizer_case *one = &c->items[i];
        struct token_list list = tokenizer_cases_encode(t, one, one->plain ? 0 : flags);
        if (!fgets(line, sizeof line, golden) || strlen(line) != 9)
            stop("too few lines for ", what);
        bool right = strtoul(line, NULL, 16) == tokenizer_cases_crc(&list) &&
                     tokenizer_cases_round_trip(t, one, &list, 0);
        n_wrong += !right;
        if (!right && n_wrong <= 10)
            tell(what, one, &list);
        token_list_deinit(&list);
    }
    return n_wrong;
}

bool tokenizer_cases_round_trip(const struct tokenizer *t, const struct tokenizer_case *c,
                                const struct token_list *list, size_t n_prefix)
{
    size_t at = 0;
    for (size_t i = 0; i < list->n; i++) {
        size_t n;
        const char *piece = tokenizer_piece(t, list->ids[i], &n);
        for (size_t k = 0; k < n; k++) {
            if (n_prefix) {
                n_prefix--;
                continue;
            }
            /* The bytes in between must be ones that no token stands for. */
            while (at < c->n_bytes && c->text[at] != piece[k] &&
                   tokenizer_find(t, (char[2]){c->text[at], 0}) < 0)
                at++;
            if (at == c->n_bytes || c->text[at] != piece[k])
                return false;
            at++;
        }
    }
    while (at < c->n_bytes && tokenizer_find(t, (char[2]){c->text[at], 0}) < 0)
        at++;
    return at == c->n_bytes;
}
