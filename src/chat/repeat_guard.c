#include "chat/repeat_guard.h"

#include "chat/json_exact.h"
#include "chat/tool_call.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_ARGUMENTS_BYTES = 64 << 20, MAX_CALLS = 32 }; /* of one answer that are looked at */

static bool is_same_call(const struct conversation_block *b, const char *name,
                         const json_t *arguments)
{
    return b->kind == CONVERSATION_CALL && !strcmp(b->name, name) &&
           json_equal(b->arguments, arguments);
}

static bool is_same_result(const struct conversation_block *a, const struct conversation_block *b)
{
    return a && b && !a->is_error && !b->is_error && a->text.n == b->text.n &&
           (!a->text.n || !memcmp(a->text.data, b->text.data, a->text.n));
}

/* The message calls the same with the same result. */
static bool does_the_same(const struct conversation_message *m,
                          const struct conversation_block *use)
{
    for (size_t k = 0; k < m->n_blocks && k < MAX_CALLS; k++)
        if (is_same_call(&m->blocks[k], use->name, use->arguments) &&
            is_same_result(m->blocks[k].result, use->result))
            return true;
    return false;
}

/* How many answers in a row, up to message `last`, made this call with this result; looks for n at
 * most. */
static uint32_t count_identical(const struct conversation *c, size_t last,
                                const struct conversation_block *use, uint32_t n)
{
    uint32_t count = 0;
    for (size_t i = last + 1; i-- > 0 && count < n;) {
        if (c->messages[i].role != CONVERSATION_ASSISTANT)
            continue;
        if (!does_the_same(&c->messages[i], use))
            break;
        count++;
    }
    return count;
}

static bool guard_call(struct repeat_guard *g, struct conversation *c,
                       const struct conversation_block *block)
{
    struct buf text;
    buf_init(&text, MAX_ARGUMENTS_BYTES);
    json_exact_write(&text, block->arguments, 0);
    const char *copy = buf_failed(&text) ? NULL : arena_copy(&c->arena, text.data, text.len);
    g->calls[g->n_calls] = (struct repeat_guard_call){block, copy, text.len};
    g->n_calls += copy != NULL;
    buf_deinit(&text);
    return copy != NULL;
}

bool repeat_guard_init(struct repeat_guard *g, struct conversation *c, uint32_t n_identical)
{
    size_t last = c->n_messages;
    *g = (struct repeat_guard){0};
    while (last && c->messages[last - 1].role != CONVERSATION_ASSISTANT)
        last--;
    if (!n_identical || !last || last == c->n_messages)
        return true; /* nothing was shown after the last answer */
    const struct conversation_message *m = &c->messages[--last];
    g->calls = arena_array(&c->arena, m->n_blocks, sizeof *g->calls);
    if (m->n_blocks && !g->calls)
        return false;
    for (size_t k = 0; k < m->n_blocks && k < MAX_CALLS; k++) {
        const struct conversation_block *b = &m->blocks[k];
        if (b->kind == CONVERSATION_CALL &&
            count_identical(c, last, b, n_identical) >= n_identical && !guard_call(g, c, b))
            return false;
    }
    return true;
}

bool repeat_guard_hits(const struct repeat_guard *g, const char *name, const json_t *arguments)
{
    for (size_t i = 0; i < g->n_calls; i++)
        if (is_same_call(g->calls[i].block, name, arguments))
            return true;
    return false;
}

struct repeat_guard_watch repeat_guard_watch(const struct repeat_guard *g, const char *name)
{
    struct repeat_guard_watch w = {0, 0};
    for (size_t i = 0; i < g->n_calls; i++)
        if (!strcmp(g->calls[i].block->name, name))
            w.calls |= (uint32_t)1 << i;
    return w;
}

bool repeat_guard_may_hit(const struct repeat_guard *g, struct repeat_guard_watch *w,
                          const char *bytes, size_t n)
{
    for (size_t i = 0; i < g->n_calls; i++)
        if (n > g->calls[i].n_arguments ||
            memcmp(g->calls[i].arguments + w->n, bytes + w->n, n - w->n) != 0)
            w->calls &= ~((uint32_t)1 << i);
    w->n = n;
    return w->calls;
}

/* A text that says something begins with a word: a restarted answer may open with nothing else,
 * since small models find many ways to a call ('({"name"', '"name"', a fence). */
static bool begins_a_word(const char *bytes, size_t n)
{
    size_t at = 0;
    while (at < n && (bytes[at] == ' ' || bytes[at] == '\n' || bytes[at] == '\t'))
        at++;
    if (at == n)
        return false;
    unsigned char c = (unsigned char)bytes[at];
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c >= 0x80;
}

uint64_t *repeat_guard_mask(const struct tokenizer *t, const struct dialects *dialects,
                            bool is_start, size_t *n_words)
{
    size_t n_vocab = tokenizer_n_vocab(t);
    *n_words = (n_vocab + 63) / 64;
    uint64_t *mask = calloc(*n_words ? *n_words : 1, sizeof *mask);
    for (size_t id = 0; mask && id < n_vocab; id++) {
        size_t n;
        const char *bytes = tokenizer_piece(t, (int32_t)id, &n);
        bool may_come = is_start ? begins_a_word(bytes, n) && !tool_call_opens(bytes, n, dialects)
                                 : !tool_call_opens(bytes, n, dialects);
        if (tokenizer_is_eog(t, (int32_t)id))
            may_come = !is_start;
        if (!may_come)
            mask[id / 64] |= (uint64_t)1 << (id % 64);
    }
    return mask;
}
