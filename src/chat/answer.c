#include "chat/answer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "chat/json_exact.h"
#include "chat/json_text.h"
#include "chat/tool_call.h"

enum {
    IN_TEXT,
    IN_CANDIDATE,
    AFTER_CALL, /* between the model's own markers, or behind them */
    IN_THOUGHT,
    AFTER_THOUGHT,
};

enum {
    CANDIDATE_MAX_BYTES = 8 << 20,
    SPACE_MAX_BYTES = 256,     /* white space held at the start of a line */
    NO_TICKS = 255,            /* the line began with something else */
    JSON_MAX_BYTES = 64 << 20, /* of a call: escapes grow, up to six times */
    PIECE_BYTES = 4096,        /* of arguments that are made valid UTF-8 at once */
    ARENA_MAX_BYTES = 1 << 20,
};

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* ---- text on its way out ---- */

/* Hands on the held text but for the last n_kept bytes. */
static void answer_emit(struct answer *a, size_t n_kept)
{
    size_t n = a->stopped.len - n_kept;
    if (n) {
        a->has_text = true;
        a->sink.text(a->sink.context, a->stopped.data, n);
        buf_consume(&a->stopped, n);
    }
}

static void answer_emit_settled(struct answer *a)
{
    size_t pending = matcher_pending(&a->stops), n = a->stopped.len - pending;
    if (n)
        answer_emit(a, pending + json_text_unfinished(a->stopped.data, n));
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
    answer_emit(a, matcher_length(&a->stops, a->stop));
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
static void answer_compact(struct answer *a)
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

static const struct dialect *dialect_of(const struct answer *a)
{
    return a->dialect < 0 ? NULL : a->options.dialects->rows[a->dialect];
}

/* dialect -1: bare. */
static void begin_candidate(struct answer *a, size_t at, size_t n_marker, int dialect)
{
    a->mode = IN_CANDIDATE;
    a->candidate = at;
    a->payload = at + n_marker;
    a->dialect = dialect;
    a->scanning = a->is_told = false;
    a->n_told = 0;
    if (dialect >= 0 && dialect_of(a)->state_bytes)
        memset(a->call.state, 0, dialect_of(a)->state_bytes);
    a->call.tool = NULL;
    a->call.arguments = 0;
    a->call.end = SIZE_MAX;
    buf_clear(&a->call.json);
    matcher_reset(&a->openers);
}

static void begin_thought(struct answer *a, size_t at);

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
    bool is_bare = a->options.tools.n && a->line_start && a->line_word == SIZE_MAX &&
                   a->refused != a->at && (c == '{' || c == '[' || (c == '`' && !a->in_fence));
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
        if (a->opens[opener] < 0)
            begin_thought(a, a->at - n);
        else
            begin_candidate(a, a->at - n, n, a->opens[opener]);
    } else if (c == '\n' && !(a->line_start && a->line_word == SIZE_MAX)) {
        release_until(a, a->at - 1);
        begin_line(a);
    } else if (a->line_start) {
        text_in_line_start(a, c, pending);
    } else {
        release_until(a, a->at - pending);
    }
}

/* ---- calls on their way out ---- */

static bool is_own(const struct answer *a)
{
    return a->dialect >= 0 && (a->options.own_dialects >> a->dialect & 1);
}

/* The bytes before a call or a thought are text, but for white space that stands before it alone.
 * False: a stop sequence was in it. */
static bool release_before(struct answer *a, size_t end)
{
    size_t n_text = end;
    while (n_text > a->from && is_space(a->in.data[n_text - 1]))
        n_text--;
    release_until(a, n_text);
    if (a->has_ended)
        return false;
    a->from = end;
    matcher_reset(&a->stops);
    answer_emit(a, 0);
    return true;
}

/* Arguments are JSON, which has no place for broken UTF-8. */
static void tell_bytes(struct answer *a, const char *bytes, size_t n)
{
    if (json_text_is_whole(bytes, n)) {
        if (n)
            a->sink.call_bytes(a->sink.context, bytes, n);
        return;
    }
    struct buf mended;
    buf_init(&mended, 3 * n);
    json_text_mend(&mended, bytes, n);
    a->failed |= buf_failed(&mended);
    if (!a->failed)
        a->sink.call_bytes(a->sink.context, mended.data, mended.len);
    buf_deinit(&mended);
}

/* Hands on the arguments so far; `is_end`: no more come. */
static void tell_arguments(struct answer *a, bool is_end)
{
    size_t end = a->call.end < a->call.json.len ? a->call.end : a->call.json.len;
    const char *bytes = a->call.json.data + a->n_told;
    size_t n = end - a->n_told;
    if (!is_end)
        n -= json_text_unfinished(bytes, n);
    a->n_told += n;
    tell_bytes(a, bytes, n);
}

static void tell_begin(struct answer *a)
{
    if (!release_before(a, a->candidate))
        return;
    a->is_told = true;
    a->n_told = a->call.arguments;
    a->sink.call_begin(a->sink.context, a->call.tool->name, is_own(a));
}

static void tell_repeats(struct answer *a, const char *name)
{
    if (!release_before(a, a->candidate))
        return;
    a->has_ended = true;
    a->sink.repeats(a->sink.context, name);
}

static bool is_guarded(const struct answer *a, const char *name, const json_t *arguments)
{
    return a->options.guard && repeat_guard_hits(a->options.guard, name, arguments);
}

/* Is the whole call, of which nothing was told, a guarded one? */
static bool is_guarded_whole(const struct answer *a)
{
    const struct dialect_call *call = &a->call;
    if (!a->options.guard || !a->options.guard->n_calls)
        return false;
    json_t *arguments =
        json_exact_load(call->json.data + call->arguments, call->end - call->arguments, NULL);
    bool hits = is_guarded(a, call->tool->name, arguments);
    json_decref(arguments);
    return hits;
}

/* ---- candidates ---- */

/* It is none: its first byte is text (a marker's), or its bytes are looked at again as text. */
static void refuse_candidate(struct answer *a)
{
    const bool is_in_list = a->dialect >= 0 && a->payload == a->candidate;
    a->mode = IN_TEXT;
    a->has_ended |= is_in_list && !is_own(a); /* behind its first call */
    a->call.in_list = false;
    matcher_reset(&a->openers);
    if (a->dialect < 0) {
        a->at = a->refused = a->candidate;
        return;
    }
    a->at = a->candidate + 1;
    a->line_start = false;
    a->line_word = SIZE_MAX;
    release_until(a, a->at);
}

/* A call was handed on to its end. */
static void count_call(struct answer *a)
{
    a->n_calls++;
    a->from = a->at;
    a->mode = AFTER_CALL;
    a->closed = a->dialect < 0 || !dialect_of(a)->close;
    a->has_ended |= a->options.one_call || (!is_own(a) && !a->call.in_list);
    begin_line(a);
}

/* The call between markers is whole. */
static void complete_call(struct answer *a)
{
    if (!a->is_told && is_guarded_whole(a)) {
        tell_repeats(a, a->call.tool->name);
        return;
    }
    if (!a->is_told)
        tell_begin(a);
    if (!a->is_told)
        return;
    tell_arguments(a, true);
    a->sink.call_end(a->sink.context, true);
    count_call(a);
}

/* No more of the call comes. False: it was none, so far as anybody knows. */
static bool break_off_call(struct answer *a)
{
    if (!a->call.tool || a->dialect < 0)
        return false;
    const bool knows_end = a->call.end != SIZE_MAX;
    if (!a->is_told && !knows_end)
        return false;
    if (dialect_of(a)->end(&a->call)) {
        complete_call(a);
        return true;
    }
    tell_arguments(a, true);
    a->sink.call_end(a->sink.context, false);
    a->n_calls++;
    a->is_cut = a->has_ended = true;
    return true;
}

/* May it still become a guarded one? `is_new`: its tool has just become known. */
static bool may_be_guarded(struct answer *a, bool is_new)
{
    const struct dialect_call *call = &a->call;
    if (!a->options.guard)
        return false;
    if (is_new)
        a->watch = repeat_guard_watch(a->options.guard, call->tool->name);
    size_t end = call->end < call->json.len ? call->end : call->json.len;
    return a->watch.calls &&
           repeat_guard_may_hit(a->options.guard, &a->watch, call->json.data + call->arguments,
                                end - call->arguments);
}

static void marked_byte(struct answer *a)
{
    struct dialect_call *call = &a->call;
    const bool was_known = call->tool != NULL;
    enum dialect_verdict verdict =
        dialect_of(a)->read(call, a->in.data + a->payload, a->at - a->payload);
    a->failed |= buf_failed(&call->json);
    if (verdict == DIALECT_CALL) {
        complete_call(a);
    } else if (verdict == DIALECT_NONE || a->at - a->candidate > CANDIDATE_MAX_BYTES) {
        a->at -= call->end != SIZE_MAX; /* behind whole arguments it is looked at again */
        if (!break_off_call(a))
            refuse_candidate(a);
    } else if (call->tool && !a->is_told && !may_be_guarded(a, !was_known)) {
        tell_begin(a);
    }
}

/* Bare calls are handed on when they are whole: until then they may be text. */
static void tell_bare(struct answer *a, const json_t *call)
{
    const char *name = json_string_value(json_object_get(call, "name"));
    const json_t *arguments = json_object_get(call, "arguments");
    buf_clear(&a->call.json);
    json_exact_write(&a->call.json, arguments, 0);
    a->failed |= buf_failed(&a->call.json);
    if (a->failed)
        return;
    if (is_guarded(a, name, arguments)) {
        a->has_ended = true;
        a->sink.repeats(a->sink.context, name);
        return;
    }
    a->sink.call_begin(a->sink.context, name, false);
    a->sink.call_bytes(a->sink.context, a->call.json.data, a->call.json.len);
    a->sink.call_end(a->sink.context, true);
    a->n_calls++;
    a->has_ended |= a->options.one_call;
}

static void complete_bare(struct answer *a)
{
    size_t i;
    json_t *call,
        *calls = tool_call_read(a->call.json.data, a->call.json.len, false, &a->options.tools);
    if (!calls) {
        refuse_candidate(a);
        return;
    }
    if (release_before(a, a->candidate)) {
        json_array_foreach(calls, i, call)
        {
            if (!a->has_ended && !a->failed)
                tell_bare(a, call);
        }
        a->from = a->at;
        a->mode = AFTER_CALL;
        a->closed = a->has_ended = true;
    }
    json_decref(calls);
}

static void scan_byte(struct answer *a, char c)
{
    enum json_stream_verdict verdict = json_stream_byte(&a->scan, c, &a->call.json);
    a->failed |= buf_failed(&a->call.json);
    if (verdict == JSON_STREAM_DONE)
        complete_bare(a);
    else if (verdict == JSON_STREAM_BAD || a->at - a->candidate > CANDIDATE_MAX_BYTES)
        refuse_candidate(a);
}

/* The JSON has begun at `payload`; goes over what is there of it already. */
static void begin_scan(struct answer *a)
{
    size_t end = a->at;
    a->scanning = true;
    json_stream_init(&a->scan);
    for (a->at = a->payload; a->mode == IN_CANDIDATE && a->at < end;) {
        char c = a->in.data[a->at++];
        scan_byte(a, c);
    }
}

static void bare_byte(struct answer *a)
{
    size_t json_at;
    if (a->scanning) {
        scan_byte(a, a->in.data[a->at - 1]);
        return;
    }
    switch (tool_call_begins(a->in.data + a->payload, a->at - a->payload, false, &a->options.tools,
                             &json_at)) {
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

static void candidate_byte(struct answer *a)
{
    a->at++;
    if (a->dialect < 0)
        bare_byte(a);
    else
        marked_byte(a);
}

/* ---- after a call between markers ---- */

static bool is_one_of(const char *bytes, char c)
{
    return c && strchr(bytes, c);
}

/* Nothing more of the calls can come. */
static void leave_calls(struct answer *a)
{
    a->at = a->from;
    a->has_ended |= !is_own(a); /* in a list of calls only */
    a->mode = IN_TEXT;
    a->call.in_list = false;
    matcher_reset(&a->openers);
    begin_line(a);
}

/* White space, a brace too many and the closing marker are dropped; another call may follow. */
static void after_call_byte(struct answer *a)
{
    const struct dialect *d = dialect_of(a);
    const char *close = a->closed ? NULL : d->close;
    const bool is_inside = !a->closed || a->call.in_list;
    char c = a->in.data[a->at];
    bool is_first = a->at == a->from;
    if (is_first && (is_space(c) || (is_inside && is_one_of(d->skips, c)))) {
        a->from = ++a->at;
        a->call.in_list &= c != ']';
        a->has_ended |= !is_own(a) && !a->call.in_list;
    } else if (is_first && is_inside && is_one_of(d->opens, c)) {
        begin_candidate(a, a->at, 0, a->dialect);
    } else if (close && c == close[a->at - a->from]) {
        a->at++;
        if (!close[a->at - a->from]) {
            a->from = a->at;
            a->closed = true;
            a->call.in_list = false;
        }
    } else {
        leave_calls(a);
    }
}

/* ---- thoughts ---- */

static void begin_thought(struct answer *a, size_t at)
{
    if (!release_before(a, at))
        return;
    a->from = a->at;
    a->mode = IN_THOUGHT;
    a->thought_is_told = false;
    matcher_reset(&a->thought_ends);
}

/* Tells the thought up to `end`; white space before its first word and behind its last is none of
 * it. */
static void tell_thought(struct answer *a, size_t end)
{
    while (!a->thought_is_told && a->from < end && is_space(a->in.data[a->from]))
        a->from++;
    while (end > a->from && is_space(a->in.data[end - 1]))
        end--;
    end -= json_text_unfinished(a->in.data + a->from, end - a->from);
    if (end == a->from)
        return;
    a->thought_is_told = true;
    if (a->sink.thinking)
        a->sink.thinking(a->sink.context, a->in.data + a->from, end - a->from);
    a->from = end;
}

static void thought_byte(struct answer *a)
{
    int end = matcher_byte(&a->thought_ends, a->in.data[a->at++]);
    if (end < 0)
        return;
    tell_thought(a, a->at - matcher_length(&a->thought_ends, end));
    a->from = a->at;
    a->mode = AFTER_THOUGHT;
}

static void after_thought_byte(struct answer *a)
{
    if (is_space(a->in.data[a->at])) {
        a->from = ++a->at;
        return;
    }
    a->mode = IN_TEXT;
    matcher_reset(&a->openers);
    begin_line(a);
}

/* ---- the whole ---- */

static bool add_opener(struct answer *a, const char *marker, int opens)
{
    a->opens[a->openers.n_patterns] = opens;
    return matcher_add(&a->openers, &a->arena, marker, strlen(marker));
}

/* Its thoughts are heard where the model was taught it, its calls in any case. */
static bool add_dialect(struct answer *a, size_t i)
{
    const struct dialect *d = a->options.dialects->rows[i];
    const bool thinks = d->think_open && (a->options.own_dialects >> i & 1);
    return (!a->options.tools.n || add_opener(a, d->open, (int)i)) &&
           (!thinks ||
            (add_opener(a, d->think_open, -1) &&
             matcher_add(&a->thought_ends, &a->arena, d->think_close, strlen(d->think_close))));
}

static bool init_dialects(struct answer *a)
{
    const struct dialects *d = a->options.dialects;
    size_t n_state = 0;
    for (size_t i = 0; i < d->n; i++)
        n_state = d->rows[i]->state_bytes > n_state ? d->rows[i]->state_bytes : n_state;
    a->call.tools = &a->options.tools;
    a->call.state = arena_alloc(&a->arena, n_state + 1);
    a->opens = arena_array(&a->arena, 2 * d->n, sizeof *a->opens);
    bool ok = a->call.state && a->opens && matcher_init(&a->openers, &a->arena, 2 * d->n) &&
              matcher_init(&a->thought_ends, &a->arena, d->n);
    for (size_t i = 0; ok && i < d->n; i++)
        ok = add_dialect(a, i);
    a->listens = a->openers.n_patterns;
    return ok;
}

bool answer_init(struct answer *a, const struct answer_options *options,
                 const struct answer_sink *sink)
{
    *a = (struct answer){.options = *options, .sink = *sink};
    arena_init(&a->arena, ARENA_MAX_BYTES);
    buf_init(&a->in, 2 * CANDIDATE_MAX_BYTES);
    buf_init(&a->stopped, 2 * CANDIDATE_MAX_BYTES);
    buf_init(&a->call.json, JSON_MAX_BYTES);
    bool ok = matcher_init(&a->stops, &a->arena, options->n_stops) && init_dialects(a);
    for (size_t i = 0; ok && i < options->n_stops; i++)
        ok = matcher_add(&a->stops, &a->arena, options->stops[i].data, options->stops[i].n);
    answer_reset(a);
    return ok;
}

void answer_deinit(struct answer *a)
{
    buf_deinit(&a->in);
    buf_deinit(&a->stopped);
    buf_deinit(&a->call.json);
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
    a->dialect = a->stop = -1;
    a->scanning = a->closed = a->in_fence = a->has_text = a->has_ended = a->failed = false;
    a->is_told = a->is_cut = a->call.in_list = false;
    a->n_calls = 0;
    begin_line(a);
}

static void answer_step(struct answer *a)
{
    static void (*const steps[])(struct answer *) = {
        [IN_TEXT] = text_byte,
        [IN_CANDIDATE] = candidate_byte,
        [AFTER_CALL] = after_call_byte,
        [IN_THOUGHT] = thought_byte,
        [AFTER_THOUGHT] = after_thought_byte,
    };
    steps[a->mode](a);
}

/* What is certain is told. */
static void answer_tell(struct answer *a)
{
    answer_emit_settled(a);
    if (a->mode == IN_CANDIDATE && a->is_told)
        tell_arguments(a, false);
    else if (a->mode == IN_THOUGHT)
        tell_thought(a, a->at - matcher_pending(&a->thought_ends));
}

bool answer_feed(struct answer *a, const char *bytes, size_t n)
{
    if (a->has_ended || a->failed)
        return false;
    if (!a->listens) {
        release_text(a, bytes, n);
    } else {
        a->failed |= !buf_append(&a->in, bytes, n);
        while (!a->has_ended && !a->failed && a->at < a->in.len)
            answer_step(a);
        if (!a->has_ended && !a->failed)
            answer_tell(a);
        answer_compact(a);
        return !a->has_ended && !a->failed;
    }
    if (!a->has_ended)
        answer_emit_settled(a);
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
    if (a->mode == IN_THOUGHT)
        tell_thought(a, a->in.len);
    else if (a->mode == IN_CANDIDATE && break_off_call(a))
        a->from = a->in.len;
    else if ((a->mode == IN_TEXT || a->mode == IN_CANDIDATE) && !says_nothing)
        release_until(a, a->in.len);
    buf_clear(&a->in);
    if (!a->has_ended)
        answer_emit(a, 0);
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
    return a->n_calls && a->mode == AFTER_CALL && !a->is_cut;
}
