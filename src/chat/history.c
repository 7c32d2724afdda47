#include "chat/history.h"

#include "chat/trial.h"

#include <string.h>

enum { RENDER_MAX_BYTES = 1 << 20 };

/* Conversations, and how many of their blocks the model has been asked to go on from. Each is then
 * rendered with the answer (closed), and with what came next. */
static const struct {
    const char *pattern;
    bool calls;
    unsigned char asked[6];
} growing[] = {
    {"Sutautautau", false, {2, 5, 8, 11}},
    {"Sutcrtacrtautau", true, {2, 5, 9, 12, 15}},
};

const char *history_sentence(enum history_break b)
{
    static const char *const sentences[] = {
        [HISTORY_GROWS] = "",
        [HISTORY_DROPS_THOUGHTS] =
            "its template drops earlier thoughts when a user speaks again, so "
            "the answers of the turn before are read anew",
        [HISTORY_DROPS_ANSWERS] = "its template drops what is said beside a call, so answers with "
                                  "calls are read anew",
        [HISTORY_MOVES_TOOLS] = "its template describes the tools beside the last user message, so "
                                "each turn is read anew from the message before",
        [HISTORY_MOVES_SYSTEM] =
            "its template says the system prompt beside the last user message, "
            "so each turn is read anew from the message before",
        [HISTORY_OPENS_OTHERWISE] =
            "its template opens an answer otherwise than it shows it later, "
            "so the last answer is read anew",
        [HISTORY_REWRITES] = "its template rewrites earlier messages, so some are read anew",
    };
    return sentences[b];
}

static bool render_first(const struct render_setup *s, const char *pattern, size_t n, bool calls,
                         bool is_closed, struct buf *out)
{
    const struct trial_options o = {.has_tools = calls, .is_closed = is_closed};
    char part[TRIAL_MAX_BLOCKS + 1] = {0};
    memcpy(part, pattern, n);
    buf_init(out, RENDER_MAX_BYTES);
    return trial_render(s, part, &o, out);
}

/* A word of this kind that `before` shows, and `after` does not. */
static bool loses(const char *pattern, size_t n, char kind, const struct buf *before,
                  const struct buf *after)
{
    char word[TRIAL_WORD_BYTES];
    for (size_t i = 0; i < n; i++) {
        trial_word(word, pattern, i);
        if (pattern[i] == kind && strstr(before->data, word) && !strstr(after->data, word))
            return true;
    }
    return false;
}

static size_t common_prefix(const struct buf *a, const struct buf *b)
{
    size_t n = 0;
    while (n < a->len && n < b->len && a->data[n] == b->data[n])
        n++;
    return n;
}

/* Behind what the first user said. */
static bool stands_late(const char *pattern, const struct buf *text, const char *what)
{
    char user[TRIAL_WORD_BYTES];
    trial_word(user, pattern, strcspn(pattern, "u"));
    const char *first = strstr(text->data, user), *at = strstr(text->data, what);
    return first && at && at > first;
}

static bool any_word_behind(const char *pattern, size_t n, const struct buf *text, size_t at)
{
    char word[TRIAL_WORD_BYTES];
    for (size_t i = 0; i < n; i++) {
        trial_word(word, pattern, i);
        if (strstr(text->data + at, word))
            return true;
    }
    return false;
}

/* Where the last of the first n words ends. Behind an answer may stand what ends a conversation. */
static size_t end_of_words(const char *pattern, size_t n, const struct buf *text)
{
    char word[TRIAL_WORD_BYTES];
    size_t end = 0;
    for (size_t i = 0; i < n; i++) {
        trial_word(word, pattern, i);
        const char *at = strstr(text->data, word);
        const size_t its_end = at ? (size_t)(at - text->data) + strlen(word) : 0;
        end = its_end > end ? its_end : end;
    }
    return end;
}

/* Why `before`, of n blocks, is no beginning of `after`. */
static enum history_break explain(const char *pattern, size_t n, const struct buf *before,
                                  const struct buf *after, bool was_closed)
{
    char system[TRIAL_WORD_BYTES];
    const size_t at = common_prefix(before, after);
    if (at >= (was_closed ? end_of_words(pattern, n, before) : before->len))
        return HISTORY_GROWS;
    trial_word(system, pattern, 0);
    if (loses(pattern, n, 't', before, after))
        return HISTORY_DROPS_THOUGHTS;
    if (stands_late(pattern, after, "described"))
        return HISTORY_MOVES_TOOLS;
    if (pattern[0] == 'S' && stands_late(pattern, after, system))
        return HISTORY_MOVES_SYSTEM;
    if (loses(pattern, n, 'a', before, after))
        return HISTORY_DROPS_ANSWERS;
    return was_closed || any_word_behind(pattern, n, before, at) ? HISTORY_REWRITES
                                                                 : HISTORY_OPENS_OTHERWISE;
}

/* What was said beside a call is nowhere. */
static bool drops_answer(const char *pattern, size_t from, size_t to, const struct buf *answered)
{
    char word[TRIAL_WORD_BYTES];
    for (size_t i = from; i < to; i++) {
        trial_word(word, pattern, i);
        if (pattern[i] == 'a' && !strstr(answered->data, word))
            return true;
    }
    return false;
}

/* Of the prompt at `from` blocks, and the answer behind it, in the prompt at `to` blocks. */
static enum history_break look_at(const struct render_setup *s, const char *pattern, size_t from,
                                  size_t to, bool calls)
{
    struct buf asked, answered, later;
    const size_t n_answered = from + strspn(pattern + from, "tac");
    enum history_break found = HISTORY_GROWS;
    const bool renders = render_first(s, pattern, to, calls, false, &later);
    if (render_first(s, pattern, from, calls, false, &asked) && renders)
        found = explain(pattern, from, &asked, &later, false);
    if (render_first(s, pattern, n_answered, calls, true, &answered) && renders) {
        const enum history_break answer =
            drops_answer(pattern, from, n_answered, &answered)
                ? HISTORY_DROPS_ANSWERS
                : explain(pattern, n_answered, &answered, &later, true);
        if (answer && (!found || found == HISTORY_OPENS_OTHERWISE))
            found = answer;
    }
    buf_deinit(&asked);
    buf_deinit(&answered);
    buf_deinit(&later);
    return found;
}

/* How much breaks, and what does first. */
static size_t count_breaks(const struct render_setup *s, enum history_break *first)
{
    size_t n = 0;
    *first = HISTORY_GROWS;
    for (size_t i = 0; i < sizeof growing / sizeof *growing; i++) {
        const bool calls = growing[i].calls;
        if (calls && !s->format.tools)
            continue;
        for (size_t k = 1; growing[i].asked[k]; k++) {
            const enum history_break found =
                look_at(s, growing[i].pattern, growing[i].asked[k - 1], growing[i].asked[k], calls);
            n += found != HISTORY_GROWS;
            if (!*first)
                *first = found;
        }
    }
    return n;
}

static const struct {
    const char *name, *value; /* JSON */
} preserving[] = {
    {"preserve_thinking", "true"},      {"preserved_thinking", "true"},
    {"clear_thinking", "false"},        {"truncate_history_thinking", "false"},
    {"keep_past_thinking", "true"},     {"drop_thinking", "false"},
    {"think_render_option", "\"all\""},
};

/* Keeps the variable if less breaks with it. */
static size_t try_variable(struct render_setup *s, const char *name, const char *value, size_t n,
                           enum history_break *first)
{
    enum history_break then;
    if (!chat_template_mentions(s->chat_template, name) || json_object_get(s->variables, name) ||
        json_object_set_new(s->variables, name, json_loads(value, JSON_DECODE_ANY, NULL)))
        return n;
    const size_t n_then = count_breaks(s, &then);
    if (n_then >= n) {
        json_object_del(s->variables, name);
        return n;
    }
    *first = then;
    return n_then;
}

static size_t try_system(struct render_setup *s, size_t n, enum history_break *first)
{
    const struct dialog_format before = s->format;
    enum history_break then;
    s->format.system = s->format.mid_system = false;
    const size_t n_then = count_breaks(s, &then);
    if (n_then >= n) {
        s->format = before;
        return n;
    }
    *first = then;
    return n_then;
}

enum history_break history_probe(struct render_setup *s)
{
    enum history_break first;
    size_t n = count_breaks(s, &first);
    for (size_t i = 0; n && i < sizeof preserving / sizeof *preserving; i++)
        n = try_variable(s, preserving[i].name, preserving[i].value, n, &first);
    if (n && s->format.system)
        try_system(s, n, &first);
    return first;
}
