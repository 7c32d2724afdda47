#include "chat/trial.h"

#include <stdio.h>
#include <string.h>

enum { ARENA_BYTES = 1 << 20, RENDER_MAX_BYTES = 1 << 20 };

struct trial {
    struct conversation c;
    json_t *owned; /* the arguments of its calls, an array */
};

void trial_word(char word[TRIAL_WORD_BYTES], const char *pattern, size_t i)
{
    snprintf(word, TRIAL_WORD_BYTES, "trial%u%c", (unsigned)i, pattern[i]);
}

static json_t *trial_arguments(char kind, const char *word)
{
    if (kind == 'c')
        return json_pack("{s:s}", TRIAL_KEY, word);
    return json_pack("{s:s, s:i, s:f, s:b, s:n, s:[i, s], s:{s:s}, s:{}}", TRIAL_KEY, word, "n", 1,
                     "f", 1.5, "b", 1, "z", "l", 1, "x", "o", "k", "v", "e");
}

static enum conversation_role role_of(char kind)
{
    return kind == 'u' || kind == 'r'   ? CONVERSATION_USER
           : kind == 's' || kind == 'S' ? CONVERSATION_SYSTEM
                                        : CONVERSATION_ASSISTANT;
}

static struct conversation_block *call_to_answer(struct trial *t)
{
    struct conversation_block *last = NULL;
    for (size_t i = 0; i < t->c.n_messages; i++) {
        struct conversation_block *b = t->c.messages[i].blocks;
        if (b->kind != CONVERSATION_CALL)
            continue;
        if (!b->result)
            return b;
        last = b;
    }
    return last;
}

static bool trial_fill(struct trial *t, struct conversation_block *b, char kind, const char *word,
                       const char *id)
{
    b->text = (struct conversation_text){word, strlen(word)};
    b->kind = kind == 't' ? CONVERSATION_THINKING : CONVERSATION_TEXT;
    if (kind == 'c' || kind == 'C') {
        b->kind = CONVERSATION_CALL;
        b->id = id;
        b->name = TRIAL_TOOL;
        b->arguments = trial_arguments(kind, word);
        return b->arguments && !json_array_append_new(t->owned, b->arguments);
    }
    if (kind != 'r')
        return true;
    struct conversation_block *call = call_to_answer(t);
    if (!call)
        return false;
    b->kind = CONVERSATION_RESULT;
    b->call = call;
    b->id = call->id;
    if (!call->result)
        call->result = b;
    return true;
}

static bool trial_add(struct trial *t, const char *pattern, size_t i)
{
    struct arena *a = &t->c.arena;
    char text[TRIAL_WORD_BYTES], id[TRIAL_WORD_BYTES];
    struct conversation_message *m =
        pattern[i] == 'S' ? &t->c.system : &t->c.messages[t->c.n_messages];
    trial_word(text, pattern, i);
    snprintf(id, sizeof id, "toolu_%u", (unsigned)i);
    const char *word = arena_copy(a, text, strlen(text)), *its_id = arena_copy(a, id, strlen(id));
    m->blocks = arena_alloc(a, sizeof *m->blocks);
    if (!word || !its_id || !m->blocks || !trial_fill(t, m->blocks, pattern[i], word, its_id))
        return false;
    m->role = role_of(pattern[i]);
    m->n_blocks = 1;
    t->c.n_messages += pattern[i] != 'S';
    return true;
}

static bool trial_offer(struct trial *t)
{
    t->c.tools = arena_alloc(&t->c.arena, sizeof *t->c.tools);
    if (!t->c.tools)
        return false;
    t->c.tools[0] = (struct conversation_tool){
        .name = TRIAL_TOOL,
        .description = {"described", 9},
        .schema =
            json_pack("{s:s, s:{s:{s:s, s:s}}, s:[s]}", "type", "object", "properties", TRIAL_KEY,
                      "type", "string", "description", "what", "required", TRIAL_KEY)};
    t->c.n_tools = t->c.tools[0].schema != NULL;
    return t->c.n_tools;
}

static bool trial_init(struct trial *t, const char *pattern, bool has_tools)
{
    conversation_init(&t->c, ARENA_BYTES);
    t->owned = json_array();
    t->c.messages = arena_array(&t->c.arena, TRIAL_MAX_BLOCKS, sizeof *t->c.messages);
    bool ok = t->owned && t->c.messages && (!has_tools || trial_offer(t));
    for (size_t i = 0; ok && pattern[i] && i < TRIAL_MAX_BLOCKS; i++)
        ok = trial_add(t, pattern, i);
    return ok;
}

static void trial_deinit(struct trial *t)
{
    conversation_deinit(&t->c);
    json_decref(t->owned);
}

bool trial_render(const struct render_setup *s, const char *pattern,
                  const struct trial_options *options, struct buf *out)
{
    const struct render_options o = {
        .is_closed = options->is_closed, .variables = options->variables, .is_as_it_is = true};
    struct error unasked = {0}, *spent = s->spent ? s->spent : &unasked, err = {0};
    struct trial t;
    if (spent->code != ERROR_NONE)
        return false;
    bool ok = trial_init(&t, pattern, options->has_tools) ||
              error_set(&err, ERROR_NO_MEMORY, "out of memory");
    ok = ok && render_conversation(s, &t.c, &o, out, NULL, &err) &&
         (buf_puts(out, "") || error_set(&err, ERROR_NO_MEMORY, "out of memory"));
    if (err.code == ERROR_NO_MEMORY || err.code == ERROR_TOO_LARGE)
        *spent = err;
    trial_deinit(&t);
    return ok;
}

static bool is_answer_beside_call(const char *pattern, size_t i)
{
    const size_t n = strspn(pattern + i, "tacC");
    return pattern[i] == 'a' && (memchr(pattern + i, 'c', n) || memchr(pattern + i, 'C', n));
}

static bool shows_all(const struct buf *out, const char *pattern)
{
    char word[TRIAL_WORD_BYTES];
    for (size_t i = 0; pattern[i]; i++) {
        trial_word(word, pattern, i);
        if (pattern[i] != 't' && !is_answer_beside_call(pattern, i) && !strstr(out->data, word))
            return false;
    }
    return true;
}

bool trial_shows(const struct render_setup *s, const char *pattern, bool has_tools)
{
    const struct trial_options o = {.has_tools = has_tools};
    struct buf out;
    buf_init(&out, RENDER_MAX_BYTES);
    bool ok = trial_render(s, pattern, &o, &out) && shows_all(&out, pattern) &&
              ((!has_tools && !strpbrk(pattern, "cC")) || strstr(out.data, TRIAL_TOOL)) &&
              (has_tools || !strstr(out.data, "{'" TRIAL_KEY "'"));
    buf_deinit(&out);
    return ok;
}

/* The first n words stand in both texts, and so does all before them. */
static bool same_until(const struct buf *a, const struct buf *b, const char *pattern, size_t n)
{
    char word[TRIAL_WORD_BYTES];
    for (size_t i = 0; i < n; i++) {
        trial_word(word, pattern, i);
        const char *in_a = strstr(a->data, word), *in_b = strstr(b->data, word);
        const size_t at = in_a ? (size_t)(in_a - a->data) : 0;
        if (!in_a || !in_b || (size_t)(in_b - b->data) != at || memcmp(a->data, b->data, at) != 0)
            return false;
    }
    return true;
}

bool trial_keeps(const struct render_setup *s, const char *pattern, size_t n)
{
    const struct trial_options o = {.has_tools = s->format.tools};
    char beginning[TRIAL_MAX_BLOCKS + 1] = {0};
    struct buf whole, part;
    memcpy(beginning, pattern, n);
    buf_init(&whole, RENDER_MAX_BYTES);
    buf_init(&part, RENDER_MAX_BYTES);
    bool ok = trial_render(s, pattern, &o, &whole) && trial_render(s, beginning, &o, &part) &&
              same_until(&whole, &part, pattern, n);
    buf_deinit(&whole);
    buf_deinit(&part);
    return ok;
}

bool trial_has(const struct render_setup *s, const char *pattern,
               const struct trial_options *options, const char *what)
{
    struct buf out;
    buf_init(&out, RENDER_MAX_BYTES);
    bool ok = trial_render(s, pattern, options, &out) && strstr(out.data, what);
    buf_deinit(&out);
    return ok;
}
