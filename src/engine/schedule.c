#include "engine/schedule.h"

enum {
    P = BACKEND_PAGE_TOKENS,
    MOST_GUESSING = 2,    /* streams */
    MOST_PASSED_OVER = 2, /* steps in which the oldest prompt has nothing */
};

static bool is_generating(const struct request *r)
{
    return r->sequence.n_computed + 1 >= r->sequence.n_tokens;
}

static uint32_t n_waiting_tokens(const struct request *r)
{
    return is_generating(r) ? 0 : r->sequence.n_tokens - r->sequence.n_computed;
}

/* Of them, those that have their pages: under a sliding window not all do at once. */
static uint32_t n_ready_tokens(const struct request *r)
{
    const uint32_t n = n_waiting_tokens(r), end = r->sequence.n_pages * P;
    const uint32_t room = end > r->sequence.n_computed ? end - r->sequence.n_computed : 0;
    return n < room ? n : room;
}

/* Adds the next n_rows tokens of a request; the sequence's last and what was guessed behind it want
 * logits. */
static void schedule_add(struct schedule *b, struct engine *e, struct request *r, uint32_t n_rows)
{
    const struct sequence *s = &r->sequence;
    for (uint32_t i = 0; i < n_rows; i++) {
        uint32_t position = s->n_computed + i;
        e->rows[b->n_rows++] = (struct backend_row){
            .token = s->tokens[position],
            .position = (int32_t)position,
            .sequence = b->n_sequences,
            .wants_logits = position + 1 >= s->n_tokens,
        };
    }
    if (!is_generating(r))
        b->n_prompt_rows += n_rows;
    b->requests[b->n_sequences] = r;
    b->n_rows_of[b->n_sequences] = n_rows;
    e->sequences[b->n_sequences++] = (struct backend_sequence){s->pages, s->n_pages};
}

/* ---- requests that generate ---- */

/* What the sink says must follow; nothing that is no token. */
static uint32_t propose(const struct engine *e, const struct request *r, uint32_t most,
                        int32_t *out)
{
    const struct engine_sink *sink = &r->ask.sink;
    uint32_t n = sink->propose && most ? sink->propose(sink->context, out, most) : 0, i = 0;
    while (i < n && i < most && out[i] >= 0 && (uint32_t)out[i] < e->n_vocab)
        i++;
    return i;
}

/* How many tokens may be guessed behind a request's last one: as far as its pages and limits have
 * room. */
static uint32_t room_for_guesses(const struct schedule *b, const struct engine *e,
                                 const struct request *r)
{
    const struct sequence *s = &r->sequence;
    uint32_t most = ENGINE_MAX_GUESSES - b->n_guesses;
    const uint32_t n_left = r->ask.max_tokens - (s->n_tokens - r->n_prompt);
    const uint32_t room = s->n_pages * P - s->n_tokens, n_ctx = e->options.n_ctx - s->n_tokens;
    most = room < most ? room : most;
    most = n_left <= most ? n_left - 1 : most; /* the last needs no logits of its own */
    return n_ctx <= most ? n_ctx - 1 : most;
}

/* Guesses what comes after a request's last token: what its sink proposes, then, if `looks_up`,
 * what followed when something like that was said before. */
static void guess(struct schedule *b, const struct engine *e, struct request *r, bool looks_up)
{
    struct sequence *s = &r->sequence;
    const uint32_t most = room_for_guesses(b, e, r);
    r->n_guessed = r->n_proposed = propose(e, r, most, s->tokens + s->n_tokens);
    if (looks_up) {
        const uint32_t n = s->n_tokens + r->n_proposed;
        r->n_guessed += draft_propose(&r->draft, s->tokens, n, most - r->n_proposed, s->tokens + n);
    }
    b->n_guesses += r->n_guessed;
}

static void add_streams(struct schedule *b, struct engine *e)
{
    uint32_t n_streams = 0, n_prompts = 0;
    for (const struct request *r = e->running.first; r; r = r->next) {
        n_streams += is_generating(r);
        n_prompts += !is_generating(r);
    }
    /* more streams, or a prompt, fill the batch without guesses */
    const bool looks_up = !e->options.never_guesses && n_streams <= MOST_GUESSING && !n_prompts;
    for (struct request *r = e->running.first; r; r = r->next) {
        r->n_guessed = 0;
        if (!is_generating(r))
            continue;
        guess(b, e, r, looks_up && r->n_draws);
        schedule_add(b, e, r, 1 + r->n_guessed);
    }
}

/* ---- prompts with a common beginning ---- */

/* Whole pages of tokens that two prompts have in common, without their last tokens. */
static uint32_t common_tokens(const struct request *a, const struct request *b)
{
    uint32_t most = a->n_prompt < b->n_prompt ? a->n_prompt : b->n_prompt, n = 0;
    while (n + 1 < most && a->sequence.tokens[n] == b->sequence.tokens[n])
        n++;
    return n / P * P;
}

/* Does an older request compute what this one needs next? Then it waits, and takes it from the
 * prefix tree. */
static bool is_following(const struct engine *e, const struct request *r)
{
    const uint32_t n_done = r->sequence.n_computed;
    for (const struct request *older = e->running.first; older != r; older = older->next) {
        if (older->ask.space != r->ask.space || is_generating(older))
            continue;
        if (older->sequence.n_computed >= n_done && common_tokens(older, r) > n_done)
            return true;
    }
    return false;
}

/* Takes what others have computed in the meantime, or what is on disk. */
static void catch_up(struct engine *e, struct request *r)
{
    struct sequence *s = &r->sequence;
    const uint32_t n_before = s->n_computed, n_reusable = s->n_tokens - 1;
    const bool was_restoring = r->is_restoring;
    if (n_before % P) { /* only for the whole page is a begun one given up */
        if (prefix_tree_match(&e->prefixes, r->ask.space, s->tokens, n_reusable, false) < n_before)
            return;
        s->n_computed = n_before / P * P;
    }
    r->is_restoring = !prefix_tree_adopt(&e->prefixes, r->ask.space, s, n_reusable, was_restoring,
                                         &e->load_bytes);
    if (!was_restoring && s->n_computed > n_before)
        r->n_joined += s->n_computed - n_before;
}

/* ---- the slice of prompts ---- */

/* The oldest prompt that can be read on, and the one with the least left. */
static void find_prompts(struct engine *e, struct request **oldest, struct request **shortest)
{
    *oldest = *shortest = NULL;
    for (struct request *r = e->running.first; r; r = r->next) {
        if (!n_waiting_tokens(r))
            continue;
        catch_up(e, r);
        if (r->is_restoring || is_following(e, r) || !n_ready_tokens(r))
            continue;
        if (!*oldest)
            *oldest = r;
        if (!*shortest || n_waiting_tokens(r) < n_waiting_tokens(*shortest))
            *shortest = r;
    }
}

static uint32_t add_prompt(struct schedule *b, struct engine *e, struct request *r, uint32_t budget)
{
    const uint32_t n = n_ready_tokens(r) < budget ? n_ready_tokens(r) : budget;
    if (n)
        schedule_add(b, e, r, n);
    return n;
}

/* A step is the shortest prompt's, so that a question is not stuck behind a book; but every third
 * one is the oldest's, which so never starves. Either has what the other one leaves. */
static void add_prompts(struct schedule *b, struct engine *e, uint32_t budget)
{
    struct request *oldest, *shortest;
    find_prompts(e, &oldest, &shortest);
    if (!oldest)
        return;
    if (shortest == oldest) {
        e->n_passed_over = 0;
        add_prompt(b, e, oldest, budget);
        return;
    }
    const bool is_oldests = e->n_passed_over == MOST_PASSED_OVER;
    struct request *first = is_oldests ? oldest : shortest;
    budget -= add_prompt(b, e, first, budget);
    const uint32_t n_more = add_prompt(b, e, is_oldests ? shortest : oldest, budget);
    e->n_passed_over = is_oldests || n_more ? 0 : e->n_passed_over + 1;
}

void schedule_step(struct engine *e, struct schedule *b)
{
    b->n_sequences = b->n_rows = b->n_prompt_rows = b->n_guesses = 0;
    add_streams(b, e);
    uint32_t budget = e->options.prefill_rows;
    if (budget > e->be->traits.max_rows - b->n_rows)
        budget = e->be->traits.max_rows - b->n_rows;
    if (b->n_rows)
        budget = pace_rows(&e->pace, b->n_rows, budget);
    if (budget)
        add_prompts(b, e, budget);
}
