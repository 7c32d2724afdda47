/* What one step computes: the next token of every request that generates, and a slice of the
 * prompts that are still being read, in one batch. */
#include "base/log.h"
#include "engine/state.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Tokens of prompt beside requests that generate: more would make their streams stand still. */
    PREFILL_ROWS_BESIDE_STREAMS = 64,
    /* Tokens of output whose pages are reserved when a request starts; the rest grows by page. */
    RESERVED_OUTPUT = 256,
};

static uint32_t n_generated(const struct request *r)
{
    return r->sequence.n_tokens - r->n_prompt;
}

static bool is_generating(const struct request *r)
{
    return r->sequence.n_computed + 1 >= r->sequence.n_tokens;
}

/* ---- pages ---- */

static void free_pages_until(struct engine *e, uint32_t n_wanted)
{
    while (e->pages.n_free < n_wanted && prefix_cache_evict(&e->prefixes, &e->pages))
        ;
}

/* Gives the sequence pages for n_tokens tokens. False when the pool has none left. */
static bool grow(struct engine *e, struct sequence *s, uint32_t n_tokens)
{
    uint32_t n_pages = sequence_pages_for(n_tokens);
    while (s->n_pages < n_pages) {
        free_pages_until(e, 1);
        if (!kv_pages_acquire(&e->pages, &s->pages[s->n_pages]))
            return false;
        s->n_pages++;
    }
    return true;
}

/* The longest computed prefix of tokens among the kept prefixes and the running requests. Of those
 * only the prompt counts: what they generate may yet be taken back, and its place in their pages
 * written anew. */
static const struct sequence *find_prefix(struct engine *e, const struct sequence *s, uint32_t most,
                                          uint32_t *n_match)
{
    const struct sequence *best = prefix_cache_find(&e->prefixes, s->tokens, most, n_match);
    for (const struct request *r = e->running.first; r; r = r->next) {
        uint32_t n =
            sequence_match(&r->sequence, s->tokens, most < r->n_prompt ? most : r->n_prompt);
        if (n > *n_match) {
            *n_match = n;
            best = &r->sequence;
        }
    }
    return best;
}

bool step_admit(struct engine *e, struct request *r)
{
    struct sequence *s = &r->sequence;
    uint32_t n_wanted = s->n_tokens + RESERVED_OUTPUT, n_match;
    if (e->running.first && r->waits_for_end_of == e->n_ended + 1)
        return false;
    if (n_wanted > e->options.n_ctx)
        n_wanted = e->options.n_ctx;
    /* the last token is always computed: its logits are what comes next */
    const struct sequence *from = find_prefix(e, s, s->n_tokens - 1, &n_match);
    if (from && !sequence_adopt(s, from, n_match, &e->pages, e->be)) {
        /* no page for the copied tail: the whole pages before it will do */
        log_debug("request %llu: no page for a prefix's tail", (unsigned long long)r->ticket);
    }
    uint32_t n_pages = sequence_pages_for(n_wanted) - s->n_pages;
    free_pages_until(e, n_pages);
    if (e->pages.n_free < n_pages) { /* wait: what others hold will come back */
        assert(e->running.first);
        sequence_drop_pages(s, &e->pages);
        r->waits_for_end_of = e->n_ended + 1;
        return false;
    }
    grow(e, s, n_wanted);
    if (!r->started) {
        r->started = true;
        r->n_cached = s->n_computed;
        if (r->ask.sink.started)
            r->ask.sink.started(r->ask.sink.context, r->n_cached, r->n_prompt - r->n_cached);
    }
    return true;
}

/* ---- the end of a request ---- */

static void release(struct engine *e, struct request *r)
{
    pthread_mutex_lock(&e->lock);
    e->stats.n_tokens_cached += r->n_cached;
    pthread_mutex_unlock(&e->lock);
    prefix_cache_keep(&e->prefixes, &r->sequence, &e->pages);
    e->n_ended++;
    free(r);
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
    log_info("request %llu waits: the KV memory is full", (unsigned long long)r->ticket);
    sequence_drop_pages(&r->sequence, &e->pages);
    r->waits_for_end_of = e->n_ended + 1;
    pthread_mutex_lock(&e->lock);
    request_list_remove(&e->running, r);
    request_list_prepend(&e->queued, r);
    pthread_mutex_unlock(&e->lock);
}

/* Makes sure that every generating request has room for its next token. */
static void grow_running(struct engine *e)
{
    for (struct request *r = e->running.first; r;) {
        if (grow(e, &r->sequence, r->sequence.n_tokens)) {
            r = r->next;
        } else {
            pause_youngest(e);
            r = e->running.first;
        }
    }
}

/* ---- the batch ---- */

struct batch_builder {
    struct engine *e;
    struct request *requests[BACKEND_MAX_ROWS]; /* of each sequence of the batch */
    uint32_t n_rows, n_sequences;
};

/* Adds the next n_rows tokens of a request; the last one wants logits if it is the sequence's last.
 */
static void batch_add(struct batch_builder *b, struct request *r, uint32_t n_rows)
{
    struct sequence *s = &r->sequence;
    for (uint32_t i = 0; i < n_rows; i++) {
        uint32_t position = s->n_computed + i;
        b->e->rows[b->n_rows++] = (struct backend_row){
            .token = s->tokens[position],
            .position = (int32_t)position,
            .sequence = b->n_sequences,
            .wants_logits = position + 1 == s->n_tokens,
        };
    }
    b->requests[b->n_sequences] = r;
    b->e->sequences[b->n_sequences++] = (struct backend_sequence){s->pages, s->n_pages};
}

static uint32_t n_waiting_tokens(const struct request *r)
{
    return is_generating(r) ? 0 : r->sequence.n_tokens - r->sequence.n_computed;
}

/* Prompts share the step's budget: half to the oldest, half to the one with the least left to read,
 * so that a short request is not stuck behind a long one and the long one never starves. */
static void batch_add_prompts(struct batch_builder *b, uint32_t budget)
{
    struct request *oldest = NULL, *shortest = NULL;
    for (struct request *r = b->e->running.first; r; r = r->next) {
        uint32_t n = n_waiting_tokens(r);
        if (n && !oldest)
            oldest = r;
        if (n && (!shortest || n < n_waiting_tokens(shortest)))
            shortest = r;
    }
    if (!oldest)
        return;
    uint32_t n_shortest = n_waiting_tokens(shortest), n_oldest = n_waiting_tokens(oldest);
    if (shortest != oldest) {
        if (n_shortest > budget / 2)
            n_shortest = budget / 2;
        batch_add(b, shortest, n_shortest);
        budget -= n_shortest;
    }
    batch_add(b, oldest, n_oldest < budget ? n_oldest : budget);
}

static void build_batch(struct batch_builder *b)
{
    struct engine *e = b->e;
    uint32_t budget = e->options.prefill_rows;
    for (struct request *r = e->running.first; r; r = r->next)
        if (is_generating(r))
            batch_add(b, r, 1);
    if (b->n_rows && budget > PREFILL_ROWS_BESIDE_STREAMS)
        budget = PREFILL_ROWS_BESIDE_STREAMS;
    batch_add_prompts(b, budget);
}

/* ---- tokens ---- */

static void restart(struct engine *e, struct request *r)
{
    sequence_truncate(&r->sequence, &e->pages, r->n_prompt);
    /* the prompt's last token is computed again, for its logits */
    r->sequence.n_computed = r->n_prompt - 1;
    r->mask_next = true;
    pthread_mutex_lock(&e->lock);
    e->stats.n_restarts++;
    pthread_mutex_unlock(&e->lock);
}

static void obey(struct engine *e, struct request *r, enum engine_verdict verdict)
{
    r->mask_next = verdict == ENGINE_CONTINUE_MASKED;
    if (verdict == ENGINE_STOP)
        finish(e, r, ENGINE_FINISH_STOPPED);
    else if (verdict == ENGINE_RESTART)
        restart(e, r);
    else if (n_generated(r) >= r->ask.max_tokens)
        finish(e, r, ENGINE_FINISH_LENGTH);
    else if (r->sequence.n_tokens >= e->options.n_ctx)
        finish(e, r, ENGINE_FINISH_CONTEXT);
}

static void generate(struct engine *e, struct request *r, const float *logits)
{
    int32_t id = sampler_pick(&e->sampler, logits, &r->ask.sampling, r->n_draws++,
                              r->mask_next ? r->ask.masked : NULL);
    if (id < 0) {
        struct error err;
        error_set(&err, ERROR_INTERNAL, "the model gave no usable token");
        remove_running(e, r);
        request_fail(e, r, &err);
        return;
    }
    sequence_push(&r->sequence, id);
    pthread_mutex_lock(&e->lock);
    e->stats.n_tokens_generated++;
    pthread_mutex_unlock(&e->lock);
    if (tokenizer_is_eog(e->tokenizer, id)) {
        finish(e, r, ENGINE_FINISH_EOG);
        return;
    }
    size_t n_bytes = 0;
    const char *bytes = "";
    if (!tokenizer_is_control(e->tokenizer, id))
        bytes = tokenizer_piece(e->tokenizer, id, &n_bytes);
    float logprob = r->ask.wants_logprobs ? sampler_logprob(&e->sampler, logits, id) : NAN;
    obey(e, r, r->ask.sink.token(r->ask.sink.context, id, bytes, n_bytes, logprob));
}

void step_run(struct engine *e)
{
    grow_running(e);
    struct batch_builder b = {.e = e};
    build_batch(&b);
    if (!b.n_rows)
        return;
    const struct backend_batch batch = {e->rows, b.n_rows, e->sequences, b.n_sequences};
    model_compute(e->model, &batch, e->logits);

    uint64_t used = (uint64_t)(e->pages.n_pages - e->pages.n_free) *
                    (e->stats.kv_bytes_budget / e->pages.n_pages);
    pthread_mutex_lock(&e->lock);
    e->stats.n_tokens_computed += b.n_rows;
    e->stats.kv_bytes_used = used;
    pthread_mutex_unlock(&e->lock);

    uint32_t n_rows[BACKEND_MAX_ROWS] = {0};
    for (uint32_t i = 0; i < b.n_rows; i++)
        n_rows[e->rows[i].sequence]++;
    const float *logits = e->logits;
    for (uint32_t i = 0; i < b.n_sequences; i++) {
        struct request *r = b.requests[i];
        r->sequence.n_computed += n_rows[i];
        if (!r->n_draws && r->ask.sink.prefilling)
            r->ask.sink.prefilling(r->ask.sink.context, r->sequence.n_computed, r->n_prompt);
        if (r->sequence.n_computed == r->sequence.n_tokens) {
            generate(e, r, logits);
            logits += e->n_vocab;
        }
    }
}
