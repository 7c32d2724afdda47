#include "chat/answer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "chat/json_text.h"

enum {
    IN_TEXT,
    IN_CANDIDATE,
    AFTER_CALL, /* between the model's own markers, or behind them */
};

enum {
    CANDIDATE_MAX_BYTES = 8 << 20,
    SPACE_MAX_BYTES = 256, /* white space held at the start of a line */
    NO_TICKS = 255,        /* the line began with something else */
    ARENA_MAX_BYTES = 1 << 20,
};

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* ---- text on its way out ---- */

/* Hands on the held text but for the last n_kept bytes. */
static void emit(struct answer *a, size_t n_kept)
{
    size_t n = a->stopped.len - n_kept;
    if (n) {
        a->has_text = true;
        a->sink.text(a->sink.context, a->stopped.data, n);
        buf_consume(&a->stopped, n);
    }
}

static void emit_settled(struct answer *a)
{
    size_t pending = matcher_pending(&a->stops), n = a->stopped.len - pending;
    if (n)
        emit(a, pending + json_text_unfinished(a->stopped.data, n));
}

static void release_text(struct answer *a, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n && a->stop < 0; i++) {
        buf_putc(&a->stopped, bytes[i]);
        a->stop = matcher_byte(&a->stops, bytes[i]);
    }
    a->failed |= buf_failed(&a->stopped);
    if (a->stop < 0)
        return;
    emit(a, matcher_length(&a->stops, a->stop));
    buf_clear(&a->stopped);
    a->has_ended = true;
}

/* The bytes before `end` are text. */
static void release_until(struct answer *a, size_t end)
{
    if (end > a->from)
        release_text(a, a->in.data + a->from, end - a->from);
    a->from = end;
}

/* Forgets the decided bytes: once for all that were fed together. */
static void compact(struct answer *a)
{
    size_t n = a->from;
    buf_consume(&a->in, n);
    a->from = 0;
    a->at -= n;
    a->candidate -= n;
    a->payload -= n;
    if (a->line_word != SIZE_MAX)
        a->line_word -= n;
    a->refused = SIZE_MAX;
}

/* ---- text ---- */

static void begin_line(struct answer *a)
{
    a->line_start = true;
    a->line_word = SIZE_MAX;
    a->n_ticks = 0;
}

/* Follows code blocks in the text, so that the end of one is not taken for the beginning of
 * another. */
static void count_ticks(struct answer *a, char c)
{
    if (c == '`' && a->n_ticks < 3)
        a->in_fence ^= ++a->n_ticks == 3;
    else if (a->n_ticks || !is_space(c))
        a->n_ticks = NO_TICKS;
}

static void begin_candidate(struct answer *a, size_t at, size_t n_marker, int syntax)
{
    a->mode = IN_CANDIDATE;
    a->candidate = at;
    a->payload = at + n_marker;
    a->syntax = syntax;
    a->scanning = false;
    matcher_reset(&a->openers);
}

/* At the start of a line white space is held, since it is dropped before a call. */
static void text_in_line_start(struct answer *a, char c, size_t pending)
{
    if (a->line_word == SIZE_MAX && !is_space(c))
        a->line_word = a->at - 1;
    if (a->line_word == SIZE_MAX ? a->at - a->from > SPACE_MAX_BYTES
                                 : pending != a->at - a->line_word) {
        a->line_start = a->line_word == SIZE_MAX;
        a->line_word = SIZE_MAX;
        release_until(a, a->at - pending);
    }
}

static void text_byte(struct answer *a)
{
    char c = a->in.data[a->at];
    bool is_bare = a->line_start && a->line_word == SIZE_MAX && a->refused != a->at &&
                   (c == '{' || c == '[' || (c == '`' && !a->in_fence));
    if (is_bare) {
        begin_candidate(a, a->at, 0, -1);
        return;
    }
    a->at++;
    count_ticks(a, c);
    int opener = matcher_byte(&a->openers, c);
    size_t pending = matcher_pending(&a->openers);
    if (opener >= 0) {
        size_t n = matcher_length(&a->openers, opener);
        begin_candidate(a, a->at - n, n, opener);
    } else if (c == '\n' && !(a->line_start && a->line_word == SIZE_MAX)) {
        release_until(a, a->at - 1);
        begin_line(a);
    } else if (a->line_start) {
        text_in_line_start(a, c, pending);
    } else {
        release_until(a, a->at - pending);
    }
}

/* ---- candidates ---- */

/* It is none: its first byte is text (a marker's), or its bytes are looked at again as text. */
static void refuse_candidate(struct answer *a)
{
    a->mode = IN_TEXT;
    matcher_reset(&a->openers);
    if (a->syntax < 0) {
        a->at = a->refused = a->candidate;
        return;
    }
    a->at = a->candidate + 1;
    a->line_start = false;
    a->line_word = SIZE_MAX;
    release_until(a, a->at);
}

static bool is_own(const struct answer *a)
{
    return a->syntax >= 0 && (a->options.own_syntaxes >> a->syntax & 1);
}

static void hand_on_calls(struct answer *a, json_t *calls)
{
    size_t i;
    json_t *call;
    /* only white space may stand between the text and the call, and that is dropped */
    size_t n_text = a->candidate;
    while (n_text > a->from && is_space(a->in.data[n_text - 1]))
        n_text--;
    release_until(a, n_text);
    if (a->has_ended)
        return;
    a->from = a->at;
    matcher_reset(&a->stops);
    emit(a, 0);
    json_array_foreach(calls, i, call)
    {
        if (!a->sink.call(a->sink.context, json_string_value(json_object_get(call, "name")),
                          json_object_get(call, "arguments"), is_own(a))) {
            a->has_ended = true;
            return;
        }
        a->n_calls++;
        if (a->options.one_call)
            break;
    }
    a->has_ended = !is_own(a) || a->options.one_call;
}

static void complete_candidate(struct answer *a)
{
    const char *json = a->in.data + a->payload;
    json_t *calls = tool_call_read(json, a->at - a->payload, a->syntax >= 0, &a->options.tools);
    if (!calls) {
        refuse_candidate(a);
        return;
    }
    hand_on_calls(a, calls);
    json_decref(calls);
    a->mode = AFTER_CALL;
    a->closed = a->syntax < 0 || !tool_call_syntaxes[a->syntax].close;
    begin_line(a);
}

static void scan_byte(struct answer *a, char c)
{
    enum json_scan_verdict verdict = json_scan_byte(&a->scan, c);
    if (verdict == JSON_SCAN_DONE)
        complete_candidate(a);
    else if (verdict == JSON_SCAN_BAD || a->at - a->candidate > CANDIDATE_MAX_BYTES)
        refuse_candidate(a);
}

/* The JSON has begun at `payload`; goes over what is there of it already. */
static void begin_scan(struct answer *a)
{
    size_t end = a->at;
    a->scanning = true;
    json_scan_init(&a->scan);
    for (a->at = a->payload; a->mode == IN_CANDIDATE && a->at < end;) {
        char c = a->in.data[a->at++];
        scan_byte(a, c);
    }
}

static void candidate_byte(struct answer *a)
{
    char c = a->in.data[a->at++];
    size_t json_at;
    if (a->scanning) {
        scan_byte(a, c);
        return;
    }
    switch (tool_call_begins(a->in.data + a->payload, a->at - a->payload, a->syntax >= 0,
                             &a->options.tools, &json_at)) {
    case TOOL_CALL_YES:
        a->payload += json_at;
        begin_scan(a);
        break;
    case TOOL_CALL_NO:
        refuse_candidate(a);
        break;
    case TOOL_CALL_MAYBE:
        break;
    }
}

/* ---- after a call between markers ---- */

/* White space, a brace too many and the closing marker are dropped; another call may follow. */
static void after_call_byte(struct answer *a)
{
    const char *close = a->closed ? NULL : tool_call_syntaxes[a->syntax].close;
    char c = a->in.data[a->at];
    bool is_first = a->at == a->from;
    if (is_first && (is_space(c) || (!a->closed && (c == '}' || c == ',' || c == '`')))) {
        a->from = ++a->at;
        return;
    }
    if (is_first && !a->closed && (c == '{' || c == '[')) {
        begin_candidate(a, a->at, 0, a->syntax);
        return;
    }
    if (close && c == close[a->at - a->from]) {
        a->at++;
        if (!close[a->at - a->from]) {
            a->from = a->at;
            a->closed = true;
        }
        return;
    }
    a->at = a->from;
    a->mode = IN_TEXT;
    matcher_reset(&a->openers);
    begin_line(a);
}

/* ---- the whole ---- */

bool answer_init(struct answer *a, const struct answer_options *options,
                 const struct answer_sink *sink)
{
    *a = (struct answer){.options = *options, .sink = *sink};
    arena_init(&a->arena, ARENA_MAX_BYTES);
    buf_init(&a->in, 2 * CANDIDATE_MAX_BYTES);
    buf_init(&a->stopped, 2 * CANDIDATE_MAX_BYTES);
    bool ok = matcher_init(&a->stops, &a->arena, options->n_stops) &&
              matcher_init(&a->openers, &a->arena, tool_call_n_syntaxes);
    for (size_t i = 0; ok && i < options->n_stops; i++)
        ok = matcher_add(&a->stops, &a->arena, options->stops[i].data, options->stops[i].n);
    for (size_t i = 0; ok && i < tool_call_n_syntaxes; i++)
        ok = matcher_add(&a->openers, &a->arena, tool_call_syntaxes[i].open,
                         strlen(tool_call_syntaxes[i].open));
    answer_reset(a);
    return ok;
}

void answer_deinit(struct answer *a)
{
    buf_deinit(&a->in);
    buf_deinit(&a->stopped);
    arena_deinit(&a->arena);
}

void answer_reset(struct answer *a)
{
    buf_clear(&a->in);
    buf_clear(&a->stopped);
    matcher_reset(&a->stops);
    matcher_reset(&a->openers);
    a->from = a->at = a->candidate = a->payload = 0;
    a->mode = IN_TEXT;
    a->refused = SIZE_MAX;
    a->syntax = a->stop = -1;
    a->scanning = a->closed = a->in_fence = a->has_text = a->has_ended = a->failed = false;
    a->n_calls = 0;
    begin_line(a);
}

static void step(struct answer *a)
{
    if (a->mode == IN_TEXT)
        text_byte(a);
    else if (a->mode == IN_CANDIDATE)
        candidate_byte(a);
    else
        after_call_byte(a);
}

bool answer_feed(struct answer *a, const char *bytes, size_t n)
{
    if (a->has_ended || a->failed)
        return false;
    if (!a->options.tools.n) {
        release_text(a, bytes, n);
    } else {
        a->failed |= !buf_append(&a->in, bytes, n);
        while (!a->has_ended && !a->failed && a->at < a->in.len)
            step(a);
        compact(a);
    }
    if (!a->has_ended)
        emit_settled(a);
    return !a->has_ended && !a->failed;
}

static bool is_blank(const struct buf *b)
{
    for (size_t i = 0; i < b->len; i++)
        if (!is_space(b->data[i]))
            return false;
    return true;
}

void answer_finish(struct answer *a)
{
    if (a->has_ended || a->failed)
        return;
    bool says_nothing = is_blank(&a->in) && !a->has_text && !a->stopped.len;
    if (a->mode != AFTER_CALL && !says_nothing)
        release_until(a, a->in.len);
    buf_clear(&a->in);
    if (!a->has_ended)
        emit(a, 0);
    a->has_ended = true;
}

bool answer_may_open_call(const struct answer *a)
{
    return a->options.tools.n && !a->has_ended &&
           (a->mode == AFTER_CALL ||
            (a->mode == IN_TEXT && a->line_start && a->line_word == SIZE_MAX));
}

bool answer_ends_with_call(const struct answer *a)
{
    return a->n_calls && a->mode == AFTER_CALL;
}
