/* What one step does: finds room, computes the scheduled rows, and hands out tokens. */
#include "base/clock.h"
#include "base/log.h"
#include "engine/schedule.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Tokens of output whose pages are reserved when a request starts; the rest grows by page. */
    RESERVED_OUTPUT = 256,
    /* Prompts of so many tokens are long conversations. */
    MAIN_TOKENS = 2048,
    /* Read from disk before one step: a few hundredths of a second beside streams, else what does
     * not keep a cancelled request for long. */
    LOAD_BYTES_BESIDE_STREAMS = 32 << 20,
    LOAD_BYTES = 512 << 20,
    /* Rows of a step: streams, and a slice of a prompt beside them. */
    SHORT_STEP = 64,
};

static uint32_t n_generated(const struct request *r)
{
    return r->sequence.n_tokens - r->n_prompt;
}

/* ---- pages ---- */

static void free_pages_until(struct engine *e, uint32_t n_wanted)
{
    while (e->pages.n_free < n_wanted && prefix_tree_evict(&e->prefixes))
        ;
}

/* Pages that a sequence of n_tokens tokens has for now. */
static uint32_t pages_for(const struct engine *e, const struct sequence *s, uint32_t n_tokens)
{
    const uint32_t n_pages = sequence_pages_for(n_tokens), end = s->first_page + e->most_pages;
    return e->most_pages && end < n_pages ? end : n_pages;
}

/* Gives the sequence pages for n_tokens tokens. False when the pool has none left. */
static bool grow(struct engine *e, struct sequence *s, uint32_t n_tokens)
{
    const uint32_t n_pages = pages_for(e, s, n_tokens);
    while (s->n_pages < n_pages) {
        free_pages_until(e, 1);
        if (!kv_pages_acquire(&e->pages, &s->pages[s->n_pages]))
            return false;
        s->n_pages++;
    }
    return true;
}

void step_begin(struct engine *e)
{
    bool has_streams = false;
    for (const struct request *r = e->running.first; r && !has_streams; r = r->next)
        has_streams = r->n_draws > 0;
    e->n_written += prefix_tree_poll(&e->prefixes);
    e->load_bytes = has_streams ? LOAD_BYTES_BESIDE_STREAMS : LOAD_BYTES;
}

/* Nothing has come back since it was tried. */
static bool must_wait(const struct engine *e, const struct request *r)
{
    return e->running.first && e->n_ended < r->waits_for_end_of &&
           e->n_written < r->waits_for_written;
}

/* It lacks so many pages: others that end, or the disk that holds pages until it has them, will
 * give some back. */
static void wait_for_pages(struct engine *e, struct request *r, uint32_t n_lacking)
{
    const uint32_t n_writing = e->prefixes.n_writing;
    assert(e->running.first || n_writing);
    sequence_drop_pages(&r->sequence, &e->pages);
    r->waits_for_end_of = e->n_ended + 1;
    r->waits_for_written =
        n_writing ? e->n_written + (n_lacking < n_writing ? n_lacking : n_writing) : UINT64_MAX;
}

static void tell_started(struct engine *e, struct request *r)
{
    const struct sequence *s = &r->sequence;
    if (r->started)
        return;
    r->started = true;
    r->n_cached = r->is_restoring ? prefix_tree_match(&e->prefixes, r->ask.space, s->tokens,
                                                      s->n_tokens - 1, true)
                                  : s->n_computed;
    if (r->ask.sink.started)
        r->ask.sink.started(r->ask.sink.context, r->n_cached, r->n_prompt - r->n_cached);
}

bool step_admit(struct engine *e, struct request *r)
{
    struct sequence *s = &r->sequence;
    uint32_t n_wanted = s->n_tokens + RESERVED_OUTPUT;
    if (must_wait(e, r))
        return false;
    if (n_wanted > e->options.n_ctx)
        n_wanted = e->options.n_ctx;
    /* the last token is always computed: its logits are what comes next */
    r->is_restoring = !prefix_tree_adopt(&e->prefixes, r->ask.space, s, s->n_tokens - 1, true,
                                         &e->load_bytes);
    const uint32_t n_pages = pages_for(e, s, n_wanted) - s->n_pages;
    free_pages_until(e, n_pages);
    if (e->pages.n_free < n_pages) {
        wait_for_pages(e, r, n_pages - e->pages.n_free);
        return false;
    }
    grow(e, s, n_wanted);
    tell_started(e, r);
    return true;
}

/* Keeps the first n_tokens of a request, all computed, for whoever asks for them next. */
static void keep(struct engine *e, struct request *r, uint32_t n_tokens)
{
    const enum prefix_class class = r->n_prompt >= MAIN_TOKENS ? PREFIX_MAIN : PREFIX_SIDE;
    prefix_tree_keep(&e->prefixes, r->ask.space, class, &r->sequence, n_tokens);
}

/* Its pages are kept as a prefix, for as long as nobody needs room. */
static void give_pages_back(struct engine *e, struct request *r)
{
    keep(e, r, r->sequence.n_computed);
    sequence_drop_pages(&r->sequence, &e->pages);
}

/* Gives the pages back that no row to come sees; as prefixes they are kept. */
static void slide(struct engine *e, struct request *r)
{
    struct sequence *s = &r->sequence;
    const uint32_t first = sequence_first_seen(s->n_computed, e->prefixes.window);
    if (first <= s->first_page)
        return;
    keep(e, r, s->n_computed / BACKEND_PAGE_TOKENS * BACKEND_PAGE_TOKENS);
    sequence_slide(s, &e->pages, first);
}

/* ---- the end of a request ---- */

static void release(struct engine *e, struct request *r)
{
    pthread_mutex_lock(&e->lock);
    e->stats.n_tokens_cached += r->n_cached + r->n_joined;
    pthread_mutex_unlock(&e->lock);
    give_pages_back(e, r);
    e->n_ended++;
    request_free(r);
}

void request_fail(struct engine *e, struct request *r, const struct error *err)
{
    r->ask.sink.failed(r->ask.sink.context, err);
    release(e, r);
}

static void remove_running(struct engine *e, struct request *r)
{
    pthread_mutex_lock(&e->lock);
    request_list_remove(&e->running, r);
    pthread_mutex_unlock(&e->lock);
}

static void finish(struct engine *e, struct request *r, enum engine_finish reason)
{
    struct engine_usage usage = {r->n_prompt, r->n_cached, n_generated(r)};
    remove_running(e, r);
    r->ask.sink.finished(r->ask.sink.context, reason, &usage);
    release(e, r);
}

/* Takes the youngest running request's pages away; it waits at the head of the queue with its
 * tokens, and goes on with the same ones when there is room. */
static void pause_youngest(struct engine *e)
{
    struct request *r = e->running.first;
    while (r->next)
        r = r->next;
    give_pages_back(e, r);
    r->waits_for_end_of = e->n_ended + 1;
    r->waits_for_written = UINT64_MAX;
    pthread_mutex_lock(&e->lock);
    request_list_remove(&e->running, r);
    request_list_prepend(&e->queued, r);
    e->stats.n_pauses++;
    pthread_mutex_unlock(&e->lock);
}

/* One step in five, in no order that a request could lean on (a multiplicative hash of its number).
 */
static void pause_at_random(struct engine *e)
{
    if (e->running.first && (e->n_hostile++ * 2654435761u >> 16) % 5 == 0)
        pause_youngest(e);
}

/* Makes sure that every generating request has room for its next token. */
static void grow_running(struct engine *e)
{
    for (struct request *r = e->running.first; r;) {
        if (grow(e, &r->sequence, r->sequence.n_tokens)) {
            r = r->next;
        } else {
            log_info("the KV memory is full: the youngest request waits");
            pause_youngest(e);
            r = e->running.first;
        }
    }
}

/* ---- tokens ---- */

static void restart(struct engine *e, struct request *r)
{
    sequence_truncate(&r->sequence, &e->pages, r->n_prompt);
    /* the prompt's last token is computed again, for its logits; where others hold its page (the
     * request was paused, and found it again), on a page of its own */
    struct sequence *seq = &r->sequence;
    seq->n_computed = r->n_prompt - 1;
    if (seq->first_page == seq->n_pages ||
        kv_pages_is_shared(&e->pages, seq->pages[seq->n_pages - 1]))
        sequence_drop_last_page(seq, &e->pages);
    if (seq->first_page > sequence_first_seen(seq->n_computed, e->prefixes.window))
        sequence_drop_pages(seq, &e->pages); /* it takes them from the prefixes, or begins anew */
    pthread_mutex_lock(&e->lock);
    e->stats.n_restarts++;
    pthread_mutex_unlock(&e->lock);
}

/* Its reader is slow: others have its place until engine_resume, and its pages when they need
 * them. False when the reader has caught up in the meantime. */
static bool wait_for_reader(struct engine *e, struct request *r)
{
    pthread_mutex_lock(&e->lock);
    const bool waits = !r->is_resumed;
    if (waits) {
        request_list_remove(&e->running, r);
        request_list_append(&e->waiting, r);
        e->stats.n_waits++;
    }
    pthread_mutex_unlock(&e->lock);
    if (waits)
        give_pages_back(e, r);
    return waits;
}

/* False when the request is gone, begins anew, or waits. */
static bool obey(struct engine *e, struct request *r, enum engine_verdict verdict)
{
    if (verdict == ENGINE_STOP)
        finish(e, r, ENGINE_FINISH_STOPPED);
    else if (verdict == ENGINE_RESTART)
        restart(e, r);
    else if (n_generated(r) >= r->ask.max_tokens)
        finish(e, r, ENGINE_FINISH_LENGTH);
    else if (r->sequence.n_tokens >= e->options.n_ctx)
        finish(e, r, ENGINE_FINISH_CONTEXT);
    else
        return verdict != ENGINE_WAIT || !wait_for_reader(e, r);
    return false;
}

/* What the sink leaves out of the next draw; asked already for the first of a step. */
static const uint64_t *take_mask(struct request *r)
{
    const struct engine_sink *sink = &r->ask.sink;
    if (!r->has_mask)
        r->mask = sink->mask ? sink->mask(sink->context) : NULL;
    r->has_mask = false;
    return r->mask;
}

/* One token from the logits of the sequence's last one. */
static bool generate(struct engine *e, struct request *r, float *logits)
{
    penalties_apply(&e->penalties, &r->ask, r->sequence.tokens, r->sequence.n_tokens, logits);
    int32_t id =
        sampler_pick(&e->sampler, logits, &r->ask.sampling, r->n_draws++, take_mask(r));
    penalties_undo(&e->penalties, logits);
    if (id < 0) {
        struct error err;
        error_set(&err, ERROR_INTERNAL, "the model gave no usable token");
        remove_running(e, r);
        request_fail(e, r, &err);
        return false;
    }
    sequence_push(&r->sequence, id);
    pthread_mutex_lock(&e->lock);
    e->stats.n_tokens_generated++;
    r->is_resumed = false;
    pthread_mutex_unlock(&e->lock);
    if (tokenizer_is_eog(e->tokenizer, id)) {
        finish(e, r, ENGINE_FINISH_EOG);
        return false;
    }
    size_t n_bytes = 0;
    const char *bytes = "";
    if (!tokenizer_is_control(e->tokenizer, id))
        bytes = tokenizer_piece(e->tokenizer, id, &n_bytes);
    float logprob = r->ask.wants_logprobs ? sampler_logprob(&e->sampler, logits, id) : NAN;
    return obey(e, r, r->ask.sink.token(r->ask.sink.context, id, bytes, n_bytes, logprob));
}

/* The tokens that follow from the logits of the last one and of those guessed behind it: each
 * guess that was right gives one more. What was computed for wrong ones is written over. */
static void generate_all(struct engine *e, struct request *r, float *logits)
{
    int32_t guesses[ENGINE_MAX_GUESSES];
    const uint32_t n = r->n_guessed, n_proposed = r->n_proposed;
    struct sequence *s = &r->sequence;
    uint32_t n_right = 0;
    memcpy(guesses, s->tokens + s->n_tokens, n * sizeof *guesses);
    bool goes_on = generate(e, r, logits);
    while (goes_on && n_right < n && s->tokens[s->n_tokens - 1] == guesses[n_right]) {
        n_right++;
        s->n_computed++;
        goes_on = generate(e, r, logits + (size_t)n_right * e->n_vocab);
    }
    if (!n)
        return;
    if (goes_on && n > n_proposed && n_right >= n_proposed)
        draft_learn(&r->draft, n - n_proposed, n_right - n_proposed);
    pthread_mutex_lock(&e->lock);
    e->stats.n_guessed += n;
    e->stats.n_guessed_right += n_right;
    pthread_mutex_unlock(&e->lock);
}

/* ---- the step ---- */

/* Does this step end with the logits of its last token? */
static bool draws(const struct schedule *b, uint32_t i)
{
    const struct request *r = b->requests[i];
    return r->sequence.n_computed + b->n_rows_of[i] - r->n_guessed == r->sequence.n_tokens;
}

/* Asks what may not be drawn at the end of the step; until masks_end no sink is called. */
static void begin_masks(struct engine *e, const struct schedule *b)
{
    for (uint32_t i = 0; i < b->n_sequences; i++) {
        struct request *r = b->requests[i];
        r->has_mask = r->ask.sink.mask && draws(b, i);
        if (r->has_mask)
            masks_add(&e->masks, &r->ask.sink, &r->mask);
    }
    masks_begin(&e->masks);
}

static void note_step(struct engine *e, const struct schedule *b, double ms)
{
    pace_note(&e->pace, b->n_rows - b->n_prompt_rows, b->n_prompt_rows, ms);
    pthread_mutex_lock(&e->lock);
    e->stats.n_tokens_computed += b->n_rows;
    pthread_mutex_unlock(&e->lock);
}

/* What was computed of a prompt is there for others at once; but not its last token's page, which
 * is written again when the answer begins anew. */
static void note_prompt(struct engine *e, struct request *r)
{
    uint32_t n = r->sequence.n_computed < r->n_prompt ? r->sequence.n_computed : r->n_prompt - 1;
    keep(e, r, n / BACKEND_PAGE_TOKENS * BACKEND_PAGE_TOKENS);
    if (r->ask.sink.prefilling)
        r->ask.sink.prefilling(r->ask.sink.context, r->sequence.n_computed, r->n_prompt);
}

/* A long prompt's activations need not stay while its answer is written. */
static void trim(struct engine *e, uint32_t n_rows)
{
    if (e->had_long_step && n_rows <= SHORT_STEP)
        e->be->ops->trim(e->be);
    e->had_long_step = n_rows > SHORT_STEP;
}

/* The backend could not compute the step: its requests end with that, the others go on. */
static void fail_batch(struct engine *e, const struct schedule *b, const struct error *err)
{
    log_warn("a step failed: %s", err->message);
    for (uint32_t i = 0; i < b->n_sequences; i++) {
        remove_running(e, b->requests[i]);
        request_fail(e, b->requests[i], err);
    }
}

void step_run(struct engine *e)
{
    struct schedule *b = e->schedule;
    if (HOSTILE)
        pause_at_random(e);
    grow_running(e);
    schedule_step(e, b);
    if (!b->n_rows)
        return;
    trim(e, b->n_rows);
    const struct backend_batch batch = {e->rows, b->n_rows, e->sequences, b->n_sequences};
    const int64_t started_ns = clock_now_ns();
    struct error err;
    begin_masks(e, b);
    const bool is_computed = model_compute(e->model, &batch, e->logits, &err);
    masks_end(&e->masks);
    if (!is_computed) {
        fail_batch(e, b, &err);
        return;
    }
    note_step(e, b, (double)(clock_now_ns() - started_ns) / 1e6);

    float *logits = e->logits;
    for (uint32_t i = 0; i < b->n_sequences; i++) {
        struct request *r = b->requests[i];
        const uint32_t n_guessed = r->n_guessed;
        r->sequence.n_computed += b->n_rows_of[i] - n_guessed;
        if (!r->n_draws)
            note_prompt(e, r);
        slide(e, r);
        if (r->sequence.n_computed == r->sequence.n_tokens) {
            generate_all(e, r, logits);
            logits += (size_t)(1 + n_guessed) * e->n_vocab;
        }
    }
}
