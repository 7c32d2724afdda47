/* See tokenizer_file.h. */
#include "text/tokenizer_file.h"

#include "text/space_mark.h"

#include <stdlib.h>
#include <string.h>

bool tokenizer_file_reserve(struct tokenizer_file *f, size_t n, struct error *err)
{
    if (!n || n > TOKENIZER_MAX_TOKENS)
        return error_set(err, ERROR_FORMAT, "a vocabulary of %zu tokens, at most %d are possible",
                         n, TOKENIZER_MAX_TOKENS);
    f->n = n;
    f->tokens = calloc(n, sizeof *f->tokens);
    f->types = malloc(n);
    f->flags = calloc(n, 1);
    if (!f->tokens || !f->types || !f->flags)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for %zu tokens", n);
    for (size_t i = 0; i < n; i++)
        f->tokens[i].data = "";
    memset(f->types, GGUF_TOKEN_UNUSED, n);
    return true;
}

void tokenizer_file_built(struct tokenizer_file *f)
{
    free(f->merges);
    f->merges = NULL;
    json_tree_deinit(&f->json);
}

void tokenizer_file_deinit(struct tokenizer_file *f)
{
    tokenizer_file_built(f);
    free(f->tokens);
    free(f->types);
    free(f->flags);
    free(f->scores);
    normalizer_destroy(f->normalizer);
    pre_tokenizer_destroy(f->pre);
    arena_deinit(&f->strings);
    *f = (struct tokenizer_file){0};
}

void tokenizer_file_add_end(struct tokenizer_file *f, int32_t id)
{
    if (id >= 0 && (size_t)id < f->n && f->n_ends < TOKENIZER_MAX_ENDS)
        f->ends[f->n_ends++] = id;
}

bool tokenizer_file_add_sentencepiece(struct tokenizer_file *f, struct charsmap *c, bool trims,
                                      bool adds_prefix, struct error *err)
{
    f->normalizer = normalizer_create(err);
    f->pre = f->normalizer ? pre_tokenizer_create(err) : NULL;
    if (!f->pre) {
        charsmap_destroy(c);
        return false;
    }
    struct regex *space = NULL;
    return normalizer_add_sentencepiece(f->normalizer, c, trims, err) &&
           (!adds_prefix ||
            normalizer_add_prepend(f->normalizer, SPACE_MARK, SPACE_MARK_BYTES, err)) &&
           (space = regex_create_literal(" ", 1, err)) &&
           normalizer_add_replace(f->normalizer, space, SPACE_MARK, SPACE_MARK_BYTES, err);
}
