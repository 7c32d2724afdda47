#include "chat/prompt.h"

#include "base/log.h"
#include "chat/json_exact.h"
#include "chat/probe.h"
#include "chat/said.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT_MAX_BYTES = 128 << 20 };

/* Marks where the given beginning of an answer ends: the template closes the message behind it. */
static const char TAIL[] = "\x02the answer goes on here\x03";

/* ---- rendering ---- */

static bool no_memory(struct error *err)
{
    return error_set(err, ERROR_NO_MEMORY, "out of memory for the prompt");
}

static const char *find_last(const char *text, size_t n, const char *what)
{
    size_t n_what = strlen(what);
    for (const char *at = text + n; (at = memrchr(text, what[0], (size_t)(at - text)));)
        if ((size_t)(text + n - at) >= n_what && !memcmp(at, what, n_what))
            return at;
    return NULL;
}

/* As render_options has them, with the variables of what the conversation says. */
static bool prompt_render_as(const struct prompt *p, const struct conversation *c,
                             const char *const *marks_in, const char *tail, bool is_as_it_is,
                             struct buf *out, struct buf *marks, struct error *err)
{
    bool failed;
    struct render_options o = {.marks = marks_in, .tail = tail, .is_as_it_is = is_as_it_is};
    o.variables = template_variables_of(&p->variables, c,
                                        chat_template_variables(p->setup.chat_template), &failed);
    bool ok = failed ? no_memory(err) : render_conversation(&p->setup, c, &o, out, marks, err);
    json_decref(o.variables);
    return ok;
}

static void append_data(struct buf *out, struct buf *marks, const struct conversation_text *text)
{
    buf_append(out, text->data, text->n);
    if (marks && buf_reserve(marks, text->n)) {
        memset(marks->data + marks->len, 1, text->n);
        marks->len += text->n;
    }
}

/* Templates that rewrite old answers lose the mark: there the text is put behind the opening of a
 * new answer. */
static bool render_behind_opening(const struct prompt *p, const struct conversation *c,
                                  struct buf *out, struct buf *marks, struct error *err)
{
    struct conversation before = *c;
    while (before.n_messages &&
           before.messages[before.n_messages - 1].role == CONVERSATION_ASSISTANT)
        before.n_messages--;
    if (!prompt_render_as(p, &before, NULL, NULL, false, out, marks, err))
        return false;
    for (size_t i = before.n_messages; i < c->n_messages; i++)
        for (size_t k = 0; k < c->messages[i].n_blocks; k++)
            if (c->messages[i].blocks[k].kind == CONVERSATION_TEXT)
                append_data(out, marks, &c->messages[i].blocks[k].text);
    return true;
}

static void cut_at(struct buf *b, size_t n)
{
    b->len = n;
    b->data[n] = 0;
}

static bool render_continued(const struct prompt *p, const struct conversation *c, struct buf *out,
                             struct buf *marks, struct error *err)
{
    if (!prompt_render_as(p, c, NULL, TAIL, false, out, marks, err))
        return false;
    const char *end = buf_failed(out) ? NULL : find_last(out->data, out->len, TAIL);
    if (!end) {
        buf_clear(out);
        buf_clear(marks);
        return render_behind_opening(p, c, out, marks, err);
    }
    cut_at(out, (size_t)(end - out->data));
    cut_at(marks, out->len);
    return true;
}

bool prompt_render(const struct prompt *p, const struct conversation *c, struct buf *out,
                   struct buf *marks, struct error *err)
{
    bool ok = conversation_is_continued(c)
                  ? render_continued(p, c, out, marks, err)
                  : prompt_render_as(p, c, NULL, NULL, false, out, marks, err);
    if (ok && (buf_failed(out) || buf_failed(marks)))
        return error_set(err, ERROR_TOO_LARGE, "the prompt is larger than %zu bytes", out->max);
    return ok || error_prefix(err, "the model's chat template");
}

/* The model's beginning-of-sequence token comes first if its vocabulary says so, whether or not the
 * template writes it: never two of them. */
static void drop_second_bos(const struct prompt *p, struct token_list *out)
{
    const int32_t bos = tokenizer_bos(p->tokenizer);
    if (out->n > 1 && bos >= 0 && out->ids[0] == bos && out->ids[1] == bos)
        memmove(out->ids, out->ids + 1, --out->n * sizeof *out->ids);
}

/* Bytes [from, to) of the text. The first piece of a prompt goes to an empty list. */
static bool prompt_encode(const struct prompt *p, const struct buf *text, const struct buf *marks,
                          size_t from, size_t to, struct token_list *out, struct error *err)
{
    const bool is_first = !out->n;
    const unsigned flags = is_first ? TOKENIZER_SPECIAL | TOKENIZER_BOS : TOKENIZER_SPECIAL;
    const bool is_empty = !text->len;
    if (!tokenizer_encode_marked(p->tokenizer, is_empty ? "" : text->data + from,
                                 is_empty ? NULL : (const uint8_t *)marks->data + from, to - from,
                                 flags, out, err))
        return false;
    if (is_first)
        drop_second_bos(p, out);
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

static size_t prompt_recall(const struct conversation *c, const struct prompt_memory *memory,
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

/* The only place of `what` behind `from`, or SIZE_MAX. */
static size_t find_only(const struct buf *text, size_t from, const char *what)
{
    const size_t n = strlen(what);
    const char *at = memmem(text->data + from, text->len - from, what, n);
    if (!at)
        return SIZE_MAX;
    const size_t place = (size_t)(at - text->data), behind = place + n;
    return memmem(text->data + behind, text->len - behind, what, n) ? SIZE_MAX : place;
}

/* The text between two answers begins with a control token, as the first one's end: then nothing
 * about the text around an answer depends on what it was. */
static bool begins_with_control(const struct prompt *p, const struct token_list *tokens, size_t at)
{
    return at < tokens->n && tokenizer_is_control(p->tokenizer, tokens->ids[at]);
}

/* Puts the tokens in the places of their marks. Each must be there once. */
static bool prompt_splice(const struct prompt *p, const struct buf *text, const struct buf *marks,
                          const struct recalled *answers, size_t n_answers, struct token_list *out)
{
    size_t at = 0;
    bool is_behind = false;
    for (size_t i = 0; i <= n_answers; i++) {
        const bool is_answer = i < n_answers;
        if (is_answer && !answers[i].tokens)
            continue;
        const size_t mark = is_answer ? find_only(text, at, answers[i].mark) : text->len;
        const size_t n_before = out->n;
        if (mark == SIZE_MAX || !prompt_encode(p, text, marks, at, mark, out, NULL))
            return false;
        if (is_behind && !begins_with_control(p, out, n_before))
            return false;
        if (is_answer && !push_all(out, answers[i].tokens, answers[i].n))
            return false;
        at = is_answer ? mark + strlen(answers[i].mark) : mark;
        is_behind = true;
    }
    return true;
}

/* False: it cannot be had this way. */
static bool render_spliced(const struct prompt *p, const struct conversation *c,
                           const struct recalled *answers, const char **stand_ins,
                           struct token_list *out)
{
    struct buf text, marks;
    buf_init(&text, PROMPT_MAX_BYTES);
    buf_init(&marks, PROMPT_MAX_BYTES);
    for (size_t i = 0; i < c->n_messages; i++)
        stand_ins[i] = answers[i].tokens ? answers[i].mark : NULL;
    bool ok = prompt_render_as(p, c, stand_ins, NULL, true, &text, &marks, NULL) &&
              !buf_failed(&text) && !buf_failed(&marks) && text.len &&
              prompt_splice(p, &text, &marks, answers, c->n_messages, out);
    buf_deinit(&text);
    buf_deinit(&marks);
    return ok;
}

/* The same. */
static bool tokens_from_memory(const struct prompt *p, const struct conversation *c,
                               const struct prompt_memory *memory, struct token_list *out)
{
    struct recalled *answers = calloc(c->n_messages + 1, sizeof *answers);
    const char **stand_ins = calloc(c->n_messages + 1, sizeof *stand_ins);
    bool ok = answers && stand_ins && prompt_recall(c, memory, answers) &&
              render_spliced(p, c, answers, stand_ins, out);
    for (size_t i = 0; answers && i < c->n_messages; i++)
        free(answers[i].tokens);
    free(answers);
    free(stand_ins);
    if (!ok)
        out->n = 0;
    return ok;
}

bool prompt_tokens(const struct prompt *p, const struct conversation *c,
                   const struct prompt_memory *memory, struct token_list *out, struct error *err)
{
    struct buf text, marks;
    if (memory && !conversation_is_continued(c) && tokens_from_memory(p, c, memory, out))
        return true;
    buf_init(&text, PROMPT_MAX_BYTES);
    buf_init(&marks, PROMPT_MAX_BYTES);
    bool ok = prompt_render(p, c, &text, &marks, err) &&
              prompt_encode(p, &text, &marks, 0, text.len, out, err);
    buf_deinit(&text);
    buf_deinit(&marks);
    return ok;
}

/* ---- a model's prompts ---- */

static char *prompt_piece(const struct tokenizer *t, int32_t id)
{
    size_t n;
    const char *bytes = tokenizer_piece(t, id, &n);
    return strndup(bytes, n);
}

static void prompt_log(const struct prompt *p)
{
    const char *note = prompt_history_note(p);
    struct buf repairs, variables;
    buf_init(&repairs, 4096);
    buf_init(&variables, 1 << 16);
    prompt_repairs_note(p, &repairs);
    prompt_variables_note(p, &variables);
    if (repairs.len)
        log_debug("chat template: repairs: %s", repairs.data);
    if (json_object_size(p->setup.variables))
        log_info("chat template: variables: %s", variables.data ? variables.data : "");
    if (*note)
        log_info("chat template: %s", note);
    buf_deinit(&repairs);
    buf_deinit(&variables);
}

bool prompt_init(struct prompt *p, const struct tokenizer *tokenizer,
                 const struct chat_template *chat_template, const struct dialects *dialects,
                 struct error *err)
{
    *p = (struct prompt){
        .tokenizer = tokenizer,
        .bos = prompt_piece(tokenizer, tokenizer_bos(tokenizer)),
        .eos = prompt_piece(tokenizer, tokenizer_eos(tokenizer)),
        .dialects = dialects,
    };
    p->setup = (struct render_setup){
        .chat_template = chat_template,
        .bos = p->bos,
        .eos = p->eos,
        .variables = json_deep_copy(chat_template_variables(chat_template)),
    };
    struct error spent = {0};
    p->setup.spent = &spent;
    bool ok = (p->bos && p->eos && p->setup.variables) || no_memory(&spent);
    if (ok) {
        probe_format(&p->setup, dialects, &p->own_dialects);
        p->history = history_probe(&p->setup);
        ok = template_variables_init(&p->variables, &p->setup) || no_memory(&spent);
    }
    p->setup.spent = NULL;
    if (!ok || spent.code != ERROR_NONE) {
        prompt_deinit(p);
        if (err)
            *err = spent;
        return error_prefix(err, "the model's chat template");
    }
    prompt_log(p);
    return true;
}

void prompt_deinit(struct prompt *p)
{
    template_variables_deinit(&p->variables);
    json_decref(p->setup.variables);
    free(p->bos);
    free(p->eos);
    *p = (struct prompt){0};
}

const char *prompt_history_note(const struct prompt *p)
{
    return history_sentence(p->history);
}

void prompt_repairs_note(const struct prompt *p, struct buf *out)
{
    probe_name_repairs(&p->setup.format, out);
}

void prompt_variables_note(const struct prompt *p, struct buf *out)
{
    json_exact_write(out, p->setup.variables, JSON_EXACT_SPACED);
}
