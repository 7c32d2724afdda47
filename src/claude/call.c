/* One message on its way: the engine's thread puts the answer's bytes in, the connection's owner
 * takes them out. It is freed when both are done with it. */
#include "base/clock.h"
#include "base/log.h"
#include "chat/answer.h"
#include "chat/repeat_guard.h"
#include "chat/said.h"
#include "claude/events.h"
#include "base/random_id.h"
#include "claude/request.h"
#include "claude/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUEST_ID_BYTES = 64 };

struct claude_call {
    struct claude *claude;
    atomic_int n_holders; /* the owner, and the engine until the request ended */
    uint64_t ticket;
    char request_id[REQUEST_ID_BYTES];
    struct request request;
    struct repeat_guard guard;

    /* the engine's thread alone, once submitted */
    struct answer answer;
    bool wants_restart, is_restarted;
    const char *tool;         /* the one that is being called */
    bool forgets;             /* what it said is not to be remembered */
    struct said said;         /* what the client was told */
    struct token_list tokens; /* what the model said */

    /* Held while the owner is woken, so that claude_call_end can wait for that. Before `lock`. */
    pthread_mutex_t wake_lock;
    void (*wake)(void *context);
    void *context;
    bool has_ended;

    pthread_mutex_t lock; /* for what follows */
    struct events events;
    struct buf out;
    size_t n_read;            /* of out, taken already */
    bool is_waiting;          /* the engine was told to, until the owner has read */
    int64_t byte_ms, news_ms; /* when there was something new; without pings */
    bool is_done, is_broken;
    int status;
    struct engine_usage usage; /* so far */
};

/* ---- life ---- */

static void call_free(struct claude_call *call)
{
    struct claude *c = call->claude;
    answer_deinit(&call->answer);
    said_deinit(&call->said);
    token_list_deinit(&call->tokens);
    events_deinit(&call->events);
    buf_deinit(&call->out);
    request_deinit(&call->request);
    pthread_mutex_destroy(&call->wake_lock);
    pthread_mutex_destroy(&call->lock);
    free(call);
    pthread_mutex_lock(&c->lock);
    if (!--c->n_live)
        pthread_cond_broadcast(&c->idle);
    pthread_mutex_unlock(&c->lock);
}

static void call_let_go(struct claude_call *call)
{
    if (atomic_fetch_sub(&call->n_holders, 1) == 1)
        call_free(call);
}

static void call_wake(struct claude_call *call)
{
    pthread_mutex_lock(&call->wake_lock);
    if (!call->has_ended)
        call->wake(call->context);
    pthread_mutex_unlock(&call->wake_lock);
}

/* ---- the engine's thread ---- */

/* Unlocks, and tells the owner of bytes that came since there were n_before. */
static void call_publish(struct claude_call *call, size_t n_before)
{
    events_take_back(&call->events);
    bool is_news = call->out.len > n_before;
    if (is_news)
        call->news_ms = call->byte_ms = clock_now_ms();
    bool wakes = call->is_done || (is_news && call->request.stream);
    pthread_mutex_unlock(&call->lock);
    if (wakes)
        call_wake(call);
}

static size_t call_begin(struct claude_call *call)
{
    pthread_mutex_lock(&call->lock);
    return call->out.len;
}

static void on_started(void *context, uint32_t n_cached, uint32_t n_to_compute)
{
    struct claude_call *call = context;
    size_t n_before = call_begin(call);
    call->usage = (struct engine_usage){n_cached + n_to_compute, n_cached, 0};
    events_start(&call->events, &call->usage);
    call_publish(call, n_before);
}

static void on_text(void *context, const char *bytes, size_t n)
{
    struct claude_call *call = context;
    events_text(&call->events, bytes, n);
    said_text(&call->said, bytes, n);
}

static void on_thinking(void *context, const char *bytes, size_t n)
{
    struct claude_call *call = context;
    call->forgets = true; /* clients leave thoughts out when they show an answer again */
    events_thinking(&call->events, bytes, n);
}

/* A pointless repetition is not handed on. If the client has heard nothing yet, the answer begins
 * anew. */
static void on_repeats(void *context, const char *name)
{
    struct claude_call *call = context;
    call->forgets = true;
    call->wants_restart = !call->is_restarted && !call->events.n_blocks;
    atomic_fetch_add(&call->claude->n_repeats_guarded, 1);
    log_info("%s: the model repeats its successful call of %s: %s", call->request_id, name,
             call->wants_restart ? "its answer begins anew" : "not handed on");
}

static void on_call_begin(void *context, const char *name, bool marked)
{
    struct claude_call *call = context;
    const struct conversation_tool *tool =
        conversation_find_tool(&call->request.conversation, name);
    call->tool = tool->name; /* the caller's may go */
    atomic_fetch_add(&call->claude->n_tool_calls, 1);
    if (!marked) {
        atomic_fetch_add(&call->claude->n_calls_without_markers, 1);
        call->forgets = true; /* the template writes it better, which helps the model */
    }
    events_call_begin(&call->events, name);
}

static void on_call_bytes(void *context, const char *bytes, size_t n)
{
    struct claude_call *call = context;
    events_call_bytes(&call->events, bytes, n);
    said_call_bytes(&call->said, bytes, n);
}

static void on_call_end(void *context, bool is_whole)
{
    struct claude_call *call = context;
    events_call_end(&call->events);
    said_call_end(&call->said, call->tool);
    if (is_whole)
        return;
    call->forgets = true;
    atomic_fetch_add(&call->claude->n_calls_cut, 1);
    log_info("%s: a call of %s broke off: its end is marked as max_tokens", call->request_id,
             call->tool);
}

/* Some models write their markers as control tokens, whose text the engine keeps back. */
static const char *call_marker(const struct claude_call *call, int32_t id, size_t *n)
{
    const char *piece = tokenizer_piece(call->claude->tokenizer, id, n);
    if (dialects_are_marked_by(call->claude->prompt.dialects, piece, *n))
        return piece;
    *n = 0;
    return "";
}

static enum engine_verdict call_restart(struct claude_call *call)
{
    call->wants_restart = false;
    call->is_restarted = true;
    call->usage.n_generated = 0;
    answer_reset(&call->answer);
    said_reset(&call->said);
    call->tokens.n = 0;
    call->forgets = false;
    return ENGINE_RESTART;
}

/* A slow reader pauses its own request. */
static bool call_is_slow(const struct claude_call *call)
{
    return call->request.stream &&
           call->out.len - call->n_read > call->claude->options.stream_bytes;
}

static enum engine_verdict call_verdict(struct claude_call *call, bool goes_on)
{
    if (call->wants_restart)
        return call_restart(call);
    if (!goes_on || events_failed(&call->events))
        return ENGINE_STOP;
    call->is_waiting = call_is_slow(call);
    return call->is_waiting ? ENGINE_WAIT : ENGINE_CONTINUE;
}

/* When an answer has begun anew, no call may open it, nor may it be empty; later none may open a
 * line. */
static const uint64_t *on_mask(void *context)
{
    const struct claude_call *call = context;
    if (!call->is_restarted)
        return NULL;
    if (!call->usage.n_generated)
        return call->claude->mask_start;
    return answer_may_open_call(&call->answer) ? call->claude->mask_line : NULL;
}

static enum engine_verdict on_token(void *context, int32_t id, const char *bytes, size_t n_bytes,
                                    float logprob)
{
    struct claude_call *call = context;
    (void)logprob;
    if (!n_bytes)
        bytes = call_marker(call, id, &n_bytes);
    size_t n_before = call_begin(call);
    call->usage.n_generated++;
    if (!token_list_push(&call->tokens, id))
        call->forgets = true; /* incomplete: not to be remembered */
    enum engine_verdict v = call_verdict(call, answer_feed(&call->answer, bytes, n_bytes));
    call_publish(call, n_before);
    return v;
}

/* A call that is whole stays a call, even if there was no room for its closing marker. */
static const char *call_stop_reason(const struct claude_call *call, enum engine_finish reason)
{
    if (call->answer.stop >= 0)
        return "stop_sequence";
    if (call->answer.is_cut)
        return "max_tokens"; /* whatever cut it: no client runs a call then */
    if (!answer_ends_with_call(&call->answer)) {
        if (reason == ENGINE_FINISH_LENGTH)
            return "max_tokens";
        if (reason == ENGINE_FINISH_CONTEXT)
            return "model_context_window_exceeded";
    }
    return call->answer.n_calls ? "tool_use" : "end_turn";
}

static void call_fail(struct claude_call *call, const struct error *err)
{
    events_take_back(&call->events);
    if (!call->request.stream) {
        buf_clear(&call->out);
        call->status = events_error_status(err->code);
    }
    events_fail(&call->events, err, call->request_id);
    call->is_broken = buf_failed(&call->out);
}

/* What the model held back until now. */
static void call_finish_answer(struct claude_call *call)
{
    pthread_mutex_lock(&call->lock);
    if (!call->answer.failed && !events_failed(&call->events))
        answer_finish(&call->answer);
    pthread_mutex_unlock(&call->lock);
}

static void call_finish_events(struct claude_call *call, enum engine_finish reason)
{
    const int stop = call->answer.stop;
    const struct conversation_text *sequence = stop < 0 ? NULL : &call->request.stops[stop];
    struct error err;
    if (!call->answer.failed && !events_failed(&call->events))
        events_finish(&call->events, call_stop_reason(call, reason),
                      sequence ? sequence->data : NULL, sequence ? sequence->n : 0, &call->usage);
    if (call->answer.failed || events_failed(&call->events)) {
        error_set(&err, ERROR_NO_MEMORY,
                  "the answer found no memory, or outgrew its buffer of %d bytes",
                  EVENTS_MAX_BYTES);
        call_fail(call, &err);
    }
}

/* A whole answer is remembered by its content: later turns that show it are made of its tokens. */
static void call_remember(struct claude_call *call, enum engine_finish reason)
{
    uint64_t identity[2];
    const bool is_whole = reason == ENGINE_FINISH_EOG ||
                          (reason == ENGINE_FINISH_STOPPED && answer_ends_with_call(&call->answer));
    if (is_whole && call->answer.stop < 0 && !call->forgets && !call->answer.failed &&
        said_identity(&call->said, identity))
        engine_remember(call->claude->engine, 0, identity, call->tokens.ids, call->tokens.n);
}

/* It is remembered before the client can ask again, and with no lock held: whatever the engine does
 * with it, the owner of the call does not wait. */
static void on_finished(void *context, enum engine_finish reason, const struct engine_usage *usage)
{
    struct claude_call *call = context;
    call_finish_answer(call);
    call_remember(call, reason);
    size_t n_before = call_begin(call);
    call->usage = *usage;
    call_finish_events(call, reason);
    call->is_done = true;
    call_publish(call, n_before);
    call_let_go(call);
}

static void on_failed(void *context, const struct error *err)
{
    struct claude_call *call = context;
    size_t n_before = call_begin(call);
    call_fail(call, err);
    call->is_done = true;
    call_publish(call, n_before);
    call_let_go(call);
}

/* ---- the start ---- */

static struct engine_sampling call_sampling(const struct claude *c, const struct request *r)
{
    struct engine_sampling s = c->options.sampling;
    if (r->has_temperature)
        s.temperature = (float)r->temperature;
    if (r->has_top_p)
        s.top_p = (float)r->top_p;
    if (r->has_top_k)
        s.top_k = r->top_k;
    if (!c->options.has_seed)
        s.seed = random_id_number();
    return s;
}

static bool no_memory(struct error *err)
{
    return error_set(err, ERROR_NO_MEMORY, "out of memory for a message");
}

static bool call_prepare_guard(struct claude_call *call, struct error *err)
{
    const struct claude *c = call->claude;
    if (!conversation_n_offered(&call->request.conversation))
        return true;
    return repeat_guard_init(&call->guard, &call->request.conversation, c->options.repeat_guard) ||
           no_memory(err);
}

static bool call_prepare_answer(struct claude_call *call, struct error *err)
{
    const struct request *r = &call->request;
    const struct answer_options options = {
        .tools = {r->conversation.tools, conversation_n_offered(&r->conversation)},
        .stops = r->stops,
        .n_stops = r->n_stops,
        .one_call = r->conversation.one_call,
        .dialects = call->claude->prompt.dialects,
        .own_dialects = call->claude->prompt.own_dialects,
        .guard = &call->guard,
    };
    const struct answer_sink sink = {call,          on_text,     on_thinking, on_call_begin,
                                     on_call_bytes, on_call_end, on_repeats};
    return answer_init(&call->answer, &options, &sink) || no_memory(err);
}

static bool call_submit(struct claude_call *call, struct error *err)
{
    struct claude *c = call->claude;
    struct token_list tokens = {0};
    const struct prompt_memory memory = {claude_recall, c};
    if (!prompt_tokens(&c->prompt, &call->request.conversation, &memory, &tokens, err)) {
        token_list_deinit(&tokens);
        return false;
    }
    const struct engine_request ask = {
        .tokens = tokens.ids,
        .n_tokens = tokens.n,
        .max_tokens = call->request.max_tokens,
        .sampling = call_sampling(c, &call->request),
        .sink = {call, on_started, NULL, on_token, on_finished, on_failed, on_mask, NULL},
    };
    struct error refusal = {0};
    uint64_t ticket = engine_submit(c->engine, &ask, &refusal);
    token_list_deinit(&tokens);
    if (ticket) {
        call->ticket = ticket;
        return true;
    }
    if (refusal.code == ERROR_TOO_LARGE)
        refusal.code = ERROR_INPUT; /* 400, and not that of a large body: clients compact on it */
    if (err)
        *err = refusal;
    return false;
}

static struct claude_call *call_create(struct claude *c, const char *request_id)
{
    struct claude_call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    call->claude = c;
    call->status = 200;
    call->byte_ms = call->news_ms = clock_now_ms();
    atomic_init(&call->n_holders, 2);
    snprintf(call->request_id, sizeof call->request_id, "%s", request_id ? request_id : "");
    pthread_mutex_init(&call->lock, NULL);
    pthread_mutex_init(&call->wake_lock, NULL);
    buf_init(&call->out, EVENTS_MAX_BYTES);
    said_init(&call->said);
    pthread_mutex_lock(&c->lock);
    c->n_live++;
    pthread_mutex_unlock(&c->lock);
    return call;
}

struct claude_call *claude_call_start(struct claude *c, const char *body, size_t n_bytes,
                                      const char *request_id, void (*wake_owner)(void *context),
                                      void *context, struct error *err)
{
    struct claude_call *call = call_create(c, request_id);
    if (!call) {
        no_memory(err);
        return NULL;
    }
    call->wake = wake_owner;
    call->context = context;
    bool ok = request_parse(&call->request, body, n_bytes, false, err);
    if (ok) {
        events_init(&call->events, &call->out, call->request.stream, call->request.model);
        ok = call_prepare_guard(call, err) && call_prepare_answer(call, err) &&
             call_submit(call, err);
    }
    if (!ok) {
        call_free(call);
        return NULL;
    }
    atomic_fetch_add(&c->n_calls, 1);
    return call;
}

/* ---- the owner ---- */

bool claude_call_is_stream(const struct claude_call *call)
{
    return call->request.stream;
}

/* Half of what it may hold was read: there is room again. Under the lock; the engine is told
 * without it. */
static bool call_stops_waiting(struct claude_call *call)
{
    const size_t most = call->claude->options.stream_bytes / 2;
    if (!call->is_waiting || call->out.len - call->n_read > most)
        return false;
    call->is_waiting = false;
    return true;
}

size_t claude_call_read(struct claude_call *call, char *dst, size_t max)
{
    pthread_mutex_lock(&call->lock);
    size_t n = call->request.stream || call->is_done ? call->out.len - call->n_read : 0;
    if (n > max)
        n = max;
    if (n)
        memcpy(dst, call->out.data + call->n_read, n);
    call->n_read += n;
    if (call->n_read > call->out.len / 2) { /* moved seldom, and little */
        buf_consume(&call->out, call->n_read);
        call->n_read = 0;
    }
    const bool resumes = call_stops_waiting(call);
    pthread_mutex_unlock(&call->lock);
    if (resumes)
        engine_resume(call->claude->engine, call->ticket);
    return n;
}

bool claude_call_done(const struct claude_call *call)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&call->lock;
    pthread_mutex_lock(lock);
    bool is_done = call->is_done;
    pthread_mutex_unlock(lock);
    return is_done;
}

bool claude_call_broken(const struct claude_call *call)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&call->lock;
    pthread_mutex_lock(lock);
    bool is_broken = call->is_broken;
    pthread_mutex_unlock(lock);
    return is_broken;
}

int claude_call_status(const struct claude_call *call)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&call->lock;
    pthread_mutex_lock(lock);
    int status = call->status;
    pthread_mutex_unlock(lock);
    return status;
}

void claude_call_usage(const struct claude_call *call, struct engine_usage *out)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&call->lock;
    pthread_mutex_lock(lock);
    *out = call->usage;
    pthread_mutex_unlock(lock);
}

/* Signs of life, but not for somebody who still has something to read. */
static bool call_add_sign_of_life(struct claude_call *call, int64_t now_ms)
{
    const struct claude_options *o = &call->claude->options;
    if (!call->request.stream || call->is_done || call->out.len > call->n_read)
        return false;
    if (call->events.has_started && now_ms - call->news_ms >= o->keep_alive_ms) {
        events_keep_alive(&call->events);
        call->news_ms = call->byte_ms = now_ms;
        return true;
    }
    if (now_ms - call->byte_ms < o->ping_ms)
        return false;
    events_ping(&call->events);
    call->byte_ms = now_ms;
    return true;
}

void claude_call_tick(struct claude_call *call, int64_t now_ms)
{
    pthread_mutex_lock(&call->lock);
    bool wakes = call_add_sign_of_life(call, now_ms);
    events_take_back(&call->events);
    pthread_mutex_unlock(&call->lock);
    if (wakes)
        call_wake(call);
}

void claude_call_end(struct claude_call *call)
{
    pthread_mutex_lock(&call->wake_lock);
    call->has_ended = true;
    pthread_mutex_unlock(&call->wake_lock);
    engine_cancel(call->claude->engine, call->ticket);
    call_let_go(call);
}
