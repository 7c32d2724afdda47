#include "chat/prompt.h"

#include "chat/json_exact.h"
#include "chat/said.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT_MAX_BYTES = 128 << 20, PROBE_MAX_BYTES = 1 << 20 };

/* Marks where the given beginning of an answer ends: the template closes the message behind it. */
static const char TAIL[] = "\x02the answer goes on here\x03";

static const char NAME[] = "probe_tool", CALLED[] = "probe_argument", RESULT[] = "probe_result",
                  SYSTEM[] = "probe_system", MIDDLE[] = "probe_middle";

/* ---- rendering ---- */

static bool no_memory(struct error *err)
{
    return error_set(err, ERROR_NO_MEMORY, "out of memory for the prompt");
}

/* Takes messages and tools; NULL of either is out of memory. */
static bool render(const struct chat_template *t, const char *bos, const char *eos,
                   json_t *messages, json_t *tools, bool is_new, struct buf *out, struct error *err)
{
    json_t *context =
        json_pack("{s:o*, s:o*, s:b, s:s, s:s, s:n}", "messages", messages, "tools", tools,
                  "add_generation_prompt", is_new, "bos_token", bos, "eos_token", eos, "documents");
    bool ok = context && messages && tools;
    if (!ok)
        no_memory(err);
    else
        ok = chat_template_render(t, context, out, err);
    if (ok && out->len)
        out->len = json_exact_restore(out->data, NULL, out->len);
    json_decref(context);
    return ok;
}

static const char *find_last(const char *text, size_t n, const char *what)
{
    size_t n_what = strlen(what);
    for (const char *at = text + n; (at = memrchr(text, what[0], (size_t)(at - text)));)
        if ((size_t)(text + n - at) >= n_what && !memcmp(at, what, n_what))
            return at;
    return NULL;
}

static bool render_request(const struct prompt *p, const struct conversation *c, const char *tail,
                           struct buf *out, struct error *err)
{
    return render(p->chat_template, p->bos, p->eos, dialog_messages(c, &p->format, NULL, tail),
                  dialog_tools(c, &p->format), !tail, out, err);
}

/* Templates that rewrite old answers lose the mark: there the text is put behind the opening of a
 * new answer. */
static bool render_behind_opening(const struct prompt *p, const struct conversation *c,
                                  struct buf *out, struct error *err)
{
    struct conversation before = *c;
    while (before.n_messages &&
           before.messages[before.n_messages - 1].role == CONVERSATION_ASSISTANT)
        before.n_messages--;
    if (!render_request(p, &before, NULL, out, err))
        return false;
    for (size_t i = before.n_messages; i < c->n_messages; i++)
        for (size_t k = 0; k < c->messages[i].n_blocks; k++)
            if (c->messages[i].blocks[k].kind == CONVERSATION_TEXT)
                buf_append(out, c->messages[i].blocks[k].text.data,
                           c->messages[i].blocks[k].text.n);
    return true;
}

static bool render_continued(const struct prompt *p, const struct conversation *c, struct buf *out,
                             struct error *err)
{
    size_t before = out->len;
    if (!render_request(p, c, TAIL, out, err))
        return false;
    const char *end =
        buf_failed(out) ? NULL : find_last(out->data + before, out->len - before, TAIL);
    if (!end) {
        out->len = before;
        return render_behind_opening(p, c, out, err);
    }
    out->len = (size_t)(end - out->data);
    out->data[out->len] = 0;
    return true;
}

bool prompt_render(const struct prompt *p, const struct conversation *c, struct buf *out,
                   struct error *err)
{
    bool ok = conversation_is_continued(c) ? render_continued(p, c, out, err)
                                           : render_request(p, c, NULL, out, err);
    if (ok && buf_failed(out))
        return error_set(err, ERROR_TOO_LARGE, "the prompt is larger than %zu bytes", out->max);
    return ok || error_prefix(err, "the model's chat template");
}

/* The model's beginning-of-sequence token comes first if its vocabulary says so, whether or not the
 * template writes it: never two of them. */
static void prompt_drop_second_bos(const struct prompt *p, struct token_list *out)
{
    const int32_t bos = tokenizer_bos(p->tokenizer);
    if (out->n > 1 && bos >= 0 && out->ids[0] == bos && out->ids[1] == bos)
        memmove(out->ids, out->ids + 1, --out->n * sizeof *out->ids);
}

/* The first piece of a prompt goes to an empty list. */
static bool encode(const struct prompt *p, const char *text, size_t n, struct token_list *out,
                   struct error *err)
{
    const bool is_first = !out->n;
    if (!tokenizer_encode(p->tokenizer, text, n,
                          is_first ? TOKENIZER_SPECIAL | TOKENIZER_BOS : TOKENIZER_SPECIAL, out,
                          err))
        return false;
    if (is_first)
        prompt_drop_second_bos(p, out);
    return true;
}

/* ---- earlier answers, token by token ---- */

enum { MARK_BYTES = 32 };

/* An answer that is known by its tokens, and what stands for it while the template is rendered. */
struct recalled {
    int32_t *tokens; /* [n], NULL: not known */
    size_t n;
    char mark[MARK_BYTES];
};

/* A message whose neighbours are not of its role: templates see it alone. */
static bool stands_alone(const struct conversation *c, size_t i)
{
    return c->messages[i].role == CONVERSATION_ASSISTANT &&
           (!i || c->messages[i - 1].role != CONVERSATION_ASSISTANT) &&
           (i + 1 == c->n_messages || c->messages[i + 1].role != CONVERSATION_ASSISTANT);
}

static size_t recall(const struct conversation *c, const struct prompt_memory *memory,
                     struct recalled *answers)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_messages; i++) {
        uint64_t identity[2];
        struct recalled *a = &answers[i];
        if (!stands_alone(c, i) || !said_identity_of(&c->messages[i], identity))
            continue;
        a->tokens = memory->recall(memory->context, identity, &a->n);
        snprintf(a->mark, sizeof a->mark, "\x02said %zu\x03", i);
        n += a->tokens != NULL;
    }
    return n;
}

static bool push_all(struct token_list *out, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!token_list_push(out, ids[i]))
            return false;
    return true;
}

/* Puts the tokens in the places of their marks. Each must be there once, and a control token must
 * follow, as the answer's end: then nothing about the text around it depends on what it was. */
static bool splice(const struct prompt *p, const struct buf *text, const struct recalled *answers,
                   size_t n_answers, struct token_list *out)
{
    const char *at = text->data, *end = text->data + text->len;
    bool is_behind = false;
    for (size_t i = 0; i <= n_answers; i++) {
        if (i < n_answers && !answers[i].tokens)
            continue;
        const size_t n_mark = i < n_answers ? strlen(answers[i].mark) : 0;
        const char *mark =
            i < n_answers ? memmem(at, (size_t)(end - at), answers[i].mark, n_mark) : end;
        const size_t n_before = out->n;
        if (mark && i < n_answers &&
            memmem(mark + n_mark, (size_t)(end - mark) - n_mark, answers[i].mark, n_mark))
            return false;
        if (!mark || !encode(p, at, (size_t)(mark - at), out, NULL))
            return false;
        if (is_behind &&
            (out->n == n_before || !tokenizer_is_control(p->tokenizer, out->ids[n_before])))
            return false;
        if (i < n_answers && !push_all(out, answers[i].tokens, answers[i].n))
            return false;
        at = mark + n_mark;
        is_behind = true;
    }
    return true;
}

/* False: it cannot be had this way. */
static bool tokens_from_memory(const struct prompt *p, const struct conversation *c,
                               const struct prompt_memory *memory, struct token_list *out)
{
    struct recalled *answers = calloc(c->n_messages + 1, sizeof *answers);
    const char **marks = calloc(c->n_messages + 1, sizeof *marks);
    struct buf text;
    buf_init(&text, PROMPT_MAX_BYTES);
    bool ok = answers && marks && recall(c, memory, answers);
    for (size_t i = 0; ok && i < c->n_messages; i++)
        marks[i] = answers[i].tokens ? answers[i].mark : NULL;
    ok = ok &&
         render(p->chat_template, p->bos, p->eos, dialog_messages(c, &p->format, marks, NULL),
                dialog_tools(c, &p->format), true, &text, NULL) &&
         !buf_failed(&text) && text.len && splice(p, &text, answers, c->n_messages, out);
    for (size_t i = 0; answers && i < c->n_messages; i++)
        free(answers[i].tokens);
    free(answers);
    free(marks);
    buf_deinit(&text);
    if (!ok)
        out->n = 0;
    return ok;
}

bool prompt_tokens(const struct prompt *p, const struct conversation *c,
                   const struct prompt_memory *memory, struct token_list *out, struct error *err)
{
    struct buf text;
    if (memory && !conversation_is_continued(c) && tokens_from_memory(p, c, memory, out))
        return true;
    buf_init(&text, PROMPT_MAX_BYTES);
    bool ok = prompt_render(p, c, &text, err) &&
              encode(p, text.data ? text.data : "", text.len, out, err);
    buf_deinit(&text);
    return ok;
}

/* ---- finding out ---- */

static json_t *message(const char *role, const char *content)
{
    return json_pack("{s:s, s:s}", "role", role, "content", content);
}

static json_t *probe_call(void)
{
    return json_pack("{s:s, s:s, s:[{s:s, s:s, s:{s:s, s:{s:s}}}]}", "role", "assistant", "content",
                     "", "tool_calls", "id", "toolu_0", "type", "function", "function", "name",
                     NAME, "arguments", "a", CALLED);
}

static json_t *probe_result(void)
{
    return json_pack("{s:s, s:s, s:s, s:s}", "role", "tool", "content", RESULT, "tool_call_id",
                     "toolu_0", "name", NAME);
}

static json_t *probe_tools(void)
{
    return json_pack("[{s:s, s:{s:s, s:s, s:{s:s, s:{s:{s:s}}}}}]", "type", "function", "function",
                     "name", NAME, "description", "", "parameters", "type", "object", "properties",
                     "a", "type", "string");
}

/* Renders without an error, and every one of the words is in it. */
static bool shows(const struct chat_template *t, const char *bos, const char *eos, json_t *messages,
                  json_t *tools, const char *const *words)
{
    struct buf out;
    buf_init(&out, PROBE_MAX_BYTES);
    bool ok = render(t, bos, eos, messages, tools, true, &out, NULL);
    for (; ok && *words; words++)
        ok = out.data && strstr(out.data, *words);
    buf_deinit(&out);
    return ok;
}

static unsigned probe_dialects(const struct chat_template *t, const char *bos, const char *eos,
                               const struct dialects *dialects)
{
    unsigned found = 0;
    for (size_t i = 0; i < dialects->n; i++)
        if (shows(t, bos, eos,
                  json_pack("[o, o, o]", message("user", "x"), probe_call(), probe_result()),
                  json_null(), (const char *[]){dialects->rows[i]->open, NULL}))
            found |= 1u << i;
    return found;
}

struct dialog_format prompt_probe(const struct chat_template *t, const char *bos, const char *eos,
                                  const struct dialects *dialects, unsigned *own_dialects)
{
    struct dialog_format f = {.dialect = dialects->rows[0]};
    f.tools = shows(t, bos, eos, json_pack("[o]", message("user", "x")), probe_tools(),
                    (const char *[]){NAME, NULL}) &&
              shows(t, bos, eos,
                    json_pack("[o, o, o]", message("user", "x"), probe_call(), probe_result()),
                    json_null(), (const char *[]){NAME, CALLED, RESULT, NULL});
    f.system =
        shows(t, bos, eos, json_pack("[o, o]", message("system", SYSTEM), message("user", "x")),
              json_null(), (const char *[]){SYSTEM, NULL});
    f.mid_system = f.system && shows(t, bos, eos,
                                     json_pack("[o, o, o, o, o]", message("system", SYSTEM),
                                               message("user", "x"), message("system", MIDDLE),
                                               message("assistant", "x"), message("user", "x")),
                                     json_null(), (const char *[]){SYSTEM, MIDDLE, NULL});
    *own_dialects = f.tools ? probe_dialects(t, bos, eos, dialects) : 1;
    return f;
}

static char *piece(const struct tokenizer *t, int32_t id)
{
    size_t n;
    const char *bytes = tokenizer_piece(t, id, &n);
    return strndup(bytes, n);
}

bool prompt_init(struct prompt *p, const struct tokenizer *tokenizer,
                 const struct chat_template *chat_template, const struct dialects *dialects,
                 struct error *err)
{
    *p = (struct prompt){
        .tokenizer = tokenizer,
        .chat_template = chat_template,
        .bos = piece(tokenizer, tokenizer_bos(tokenizer)),
        .eos = piece(tokenizer, tokenizer_eos(tokenizer)),
        .dialects = dialects,
    };
    if (!p->bos || !p->eos) {
        prompt_deinit(p);
        return no_memory(err);
    }
    p->format = prompt_probe(chat_template, p->bos, p->eos, dialects, &p->own_dialects);
    return true;
}

void prompt_deinit(struct prompt *p)
{
    free(p->bos);
    free(p->eos);
    *p = (struct prompt){0};
}
