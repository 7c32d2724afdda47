/* What sinks say: they stop, begin anew, leave tokens out, propose some, and wait for their readers. */
#include "world.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_PROMPTS = 6 };

static const uint32_t lengths[N_PROMPTS] = {1, 63, 64, 65, 200, 129};

static enum engine_verdict stop_at_third(struct listener *l, int32_t id)
{
    (void)id;
    return l->n_tokens == 3 ? ENGINE_STOP : ENGINE_CONTINUE;
}

static enum engine_verdict restart_once(struct listener *l, int32_t id)
{
    (void)id;
    return restart_at(l, 3);
}

static const uint64_t *mask_of_a_new_beginning(struct listener *l)
{
    return l->n_restarts && !l->n_tokens ? l->masked : NULL;
}

static void a_sink_stops_and_restarts_its_answer(void **state)
{
    (void)state;
    static struct listener plain, l;
    int32_t tokens[70];
    struct world w;
    world_begin(&w, &(struct engine_options){0}, 1);
    prompt(tokens, 70, 4);
    run(&w, &plain, tokens, 70, 10);
    assert_true(plain.n_tokens > 3);

    listener_init(&l);
    l.verdict = stop_at_third;
    struct engine_request request = ask(&l, tokens, 70, 10);
    submit(&w, &request);
    wait_until_ended(&l);
    assert_int_equal(l.reason, ENGINE_FINISH_STOPPED);
    assert_int_equal(l.n_tokens, 3);

    /* restarted with nothing masked, it says the same again: nothing is left of the first try */
    listener_init(&l);
    l.verdict = restart_once;
    request = ask(&l, tokens, 70, 10);
    submit(&w, &request);
    wait_until_ended(&l);
    assert_int_equal(l.n_restarts, 1);
    assert_same_answer(&plain, &l);

    /* with its first token masked it says something else */
    listener_init(&l);
    l.masked[plain.tokens[0] / 64] = 1ull << (plain.tokens[0] % 64);
    l.mask = mask_of_a_new_beginning;
    l.verdict = restart_once;
    request = ask(&l, tokens, 70, 10);
    submit(&w, &request);
    wait_until_ended(&l);
    assert_int_not_equal(l.tokens[0], plain.tokens[0]);
    struct engine_stats stats;
    engine_stats(w.engine, &stats);
    assert_int_equal(stats.n_restarts, 2);
    world_end(&w);
}

/* ---- what the sink leaves out, and what it proposes ---- */

/* Another set for each place and token: a quarter of the vocabulary. */
static const uint64_t *mask_of_the_moment(struct listener *l)
{
    const uint32_t last = l->n_tokens ? (uint32_t)l->tokens[l->n_tokens - 1] : 999;
    for (uint32_t i = 0; i < TINY_VOCAB; i++) {
        const uint32_t hash = (i + 1) * 2654435761u ^ (last + 7) * 40503u ^ l->n_tokens * 97u;
        const uint64_t bit = 1ull << (i % 64);
        if ((hash >> 9) % 4)
            l->masked[i / 64] |= bit;
        else
            l->masked[i / 64] &= ~bit;
    }
    return l->masked;
}

static enum engine_verdict must_be_allowed(struct listener *l, int32_t id)
{
    assert_false(l->masked[id / 64] >> (id % 64) & 1);
    return ENGINE_CONTINUE;
}

/* Several at once, their masks made beside the computation: each answers as if it were alone. */
static void masks_of_several_streams_are_their_own(void **state)
{
    (void)state;
    static int32_t prompts[N_PROMPTS][256];
    static struct listener alone[N_PROMPTS], together[N_PROMPTS];
    const struct engine_options options = {.prefill_rows = 20};
    struct world w;
    for (int round = 0; round < 2; round++) {
        world_begin(&w, &options, 2);
        for (uint32_t i = 0; i < N_PROMPTS; i++) {
            struct listener *l = round ? &together[i] : &alone[i];
            prompt(prompts[i], lengths[i], i);
            listener_init(l);
            l->mask = mask_of_the_moment;
            l->verdict = must_be_allowed;
            struct engine_request request = ask(l, prompts[i], lengths[i], 60);
            request.sampling.temperature = i % 2 ? 1 : 0;
            request.sampling.seed = i;
            submit(&w, &request);
            if (!round)
                wait_until_ended(l);
        }
        for (uint32_t i = 0; round && i < N_PROMPTS; i++) {
            wait_until_ended(&together[i]);
            assert_same_answer(&alone[i], &together[i]);
            /* asked once for each draw, also for one that ended the turn */
            assert_int_equal(together[i].n_masks, together[i].usage.n_generated);
        }
        world_end(&w);
    }
}

static const char form[] = "{\"name\": \"?\", \"arguments\": {\"text\": \"?\", \"other text\": \"?\"}}";

/* The form, its gaps filled by the model. */
static const uint64_t *mask_of_the_form(struct listener *l)
{
    const char next = form[l->n_tokens];
    if (next == '?')
        return NULL;
    memset(l->masked, 0xff, sizeof l->masked);
    l->masked[next / 64] &= ~(1ull << (next % 64));
    return l->masked;
}

static uint32_t rest_of_the_form(struct listener *l, int32_t *out, uint32_t most)
{
    uint32_t n = 0;
    for (const char *at = form + l->n_tokens; *at && *at != '?' && n < most; at++)
        out[n++] = *at;
    return n;
}

static uint32_t nonsense(struct listener *l, int32_t *out, uint32_t most)
{
    for (uint32_t i = 0; i < most; i++)
        out[i] = i == 3 ? -1 : (int32_t)(l->n_tokens + i) % TINY_VOCAB;
    return most + 5;
}

static enum engine_verdict stop_behind_the_form(struct listener *l, int32_t id)
{
    assert_true(form[l->n_tokens - 1] == '?' || form[l->n_tokens - 1] == id);
    return form[l->n_tokens] ? ENGINE_CONTINUE : ENGINE_STOP;
}

/* What must follow costs a step for many tokens, and changes nothing. */
static void what_must_follow_is_computed_at_once(void **state)
{
    (void)state;
    static struct listener plain[3], l[3];
    uint32_t (*const proposals[])(struct listener *, int32_t *, uint32_t) = {
        NULL, rest_of_the_form, nonsense};
    uint64_t n_right[3];
    int32_t tokens[100];
    prompt(tokens, 100, 3);
    const struct engine_bias never_ends = {TINY_END, -INFINITY};
    for (int how = 0; how < 3; how++) {
        struct world w;
        struct engine_stats stats;
        world_begin(&w, &(struct engine_options){.never_guesses = true}, 2);
        for (uint32_t i = 0; i < 3; i++) {
            struct listener *to = how ? &l[i] : &plain[i];
            listener_init(to);
            to->mask = mask_of_the_form;
            to->propose = proposals[how];
            to->verdict = stop_behind_the_form;
            struct engine_request request = ask(to, tokens, 30 + 35 * i, 200);
            request.sampling.temperature = 1;
            request.sampling.seed = i;
            request.biases = &never_ends;
            request.n_biases = 1;
            submit(&w, &request);
        }
        for (uint32_t i = 0; i < 3; i++) {
            wait_until_ended(how ? &l[i] : &plain[i]);
            assert_int_equal(plain[i].n_tokens, sizeof form - 1);
            if (how)
                assert_same_answer(&plain[i], &l[i]);
        }
        engine_stats(w.engine, &stats);
        n_right[how] = stats.n_guessed_right;
        /* right ones all; the last of an answer, which ends it, is not looked at */
        assert_true(how != 1 || stats.n_guessed <= stats.n_guessed_right + 3);
        world_end(&w);
    }
    assert_int_equal(n_right[0], 0);
    /* all but those which the model chose, those that began a step, and a few at the ends of pages */
    assert_true(n_right[1] > 3 * (sizeof form - 1) / 2);
}

/* ---- slow readers ---- */

static enum engine_verdict wait_at_each_fifth(struct listener *l, int32_t id)
{
    (void)id;
    return l->n_tokens % 5 ? ENGINE_CONTINUE : ENGINE_WAIT;
}

static enum engine_verdict wait_for_a_reader_that_is_back(struct listener *l, int32_t id)
{
    (void)id;
    while (!l->ticket)
        usleep(1000);
    engine_resume(l->engine, l->ticket);
    return ENGINE_WAIT;
}

/* Until a request waits for its reader, or has ended. */
static bool wait_until_it_waits(struct world *w, struct listener *l)
{
    for (;;) {
        struct engine_stats stats;
        engine_stats(w->engine, &stats);
        pthread_mutex_lock(&l->lock);
        const bool has_ended = l->n_finished || l->n_failed;
        pthread_mutex_unlock(&l->lock);
        if (has_ended || stats.n_waiting)
            return !has_ended;
        usleep(1000);
    }
}

/* One that waits holds nobody up, loses its pages to those who need them, and then goes on. */
static void check_slow_reader(const struct engine_options *options)
{
    static struct listener plain, slow, other;
    int32_t tokens[TINY_CONTEXT];
    uint32_t n_waits = 0;
    struct world w;
    world_begin(&w, options, 1);
    prompt(tokens, TINY_CONTEXT, 21);
    const struct engine_bias never_ends = {TINY_END, -INFINITY};
    listener_init(&plain);
    struct engine_request request = ask(&plain, tokens, 100, 52);
    request.biases = &never_ends;
    request.n_biases = 1;
    submit(&w, &request);
    wait_until_ended(&plain);
    listener_init(&slow);
    slow.verdict = wait_at_each_fifth;
    request.sink.context = &slow;
    const uint64_t ticket = submit(&w, &request);
    while (wait_until_it_waits(&w, &slow)) {
        const uint32_t n = slow.n_tokens;
        assert_int_equal(n % 5, 0);
        prompt(tokens, TINY_CONTEXT, 30 + n_waits);
        run(&w, &other, tokens, n_waits % 2 ? TINY_CONTEXT - 40 : 30, 30);
        assert_int_equal(other.n_finished, 1);
        assert_int_equal(slow.n_tokens, n);
        engine_resume(w.engine, ticket + 999); /* unknown */
        engine_resume(w.engine, ticket);
        n_waits++;
    }
    assert_same_answer(&plain, &slow);
    struct engine_stats stats;
    engine_stats(w.engine, &stats);
    assert_int_equal(stats.n_waits, n_waits);
    assert_int_equal(n_waits, 10);
    world_end(&w);
}

static void a_slow_reader_holds_up_nobody(void **state)
{
    (void)state;
    const uint64_t one = TINY_KV_PAGE_BYTES * (TINY_CONTEXT / BACKEND_PAGE_TOKENS + 1);
    check_slow_reader(&(struct engine_options){.n_running = 1});
    check_slow_reader(&(struct engine_options){.kv_bytes = one});
}

static void a_reader_that_is_back_at_once_is_not_waited_for(void **state)
{
    (void)state;
    static struct listener plain, l;
    int32_t tokens[50];
    struct engine_stats stats;
    struct world w;
    world_begin(&w, &(struct engine_options){0}, 1);
    prompt(tokens, 50, 22);
    const struct engine_bias never_ends = {TINY_END, -INFINITY};
    listener_init(&plain);
    struct engine_request request = ask(&plain, tokens, 50, 30);
    request.biases = &never_ends;
    request.n_biases = 1;
    submit(&w, &request);
    wait_until_ended(&plain);
    listener_init(&l);
    l.engine = w.engine;
    l.verdict = wait_for_a_reader_that_is_back;
    request.sink.context = &l;
    l.ticket = submit(&w, &request);
    wait_until_ended(&l);
    assert_same_answer(&plain, &l);
    engine_stats(w.engine, &stats);
    assert_int_equal(stats.n_waits, 0);
    world_end(&w);
}

static void who_waits_can_be_cancelled(void **state)
{
    (void)state;
    static struct listener l[2];
    const struct engine_bias never_ends = {TINY_END, -INFINITY};
    int32_t tokens[50];
    struct world w;
    world_begin(&w, &(struct engine_options){0}, 1);
    prompt(tokens, 50, 22);
    for (int i = 0; i < 2; i++) {
        listener_init(&l[i]);
        l[i].verdict = wait_at_each_fifth;
        struct engine_request request = ask(&l[i], tokens, 50, 400);
        request.biases = &never_ends;
        request.n_biases = 1;
        const uint64_t ticket = submit(&w, &request);
        assert_true(wait_until_it_waits(&w, &l[i]));
        if (i == 0) {
            engine_cancel(w.engine, ticket);
            wait_until_ended(&l[0]);
            assert_int_equal(l[0].err.code, ERROR_CANCELLED);
        }
    }
    world_end(&w); /* ends the other one */
    assert_int_equal(l[1].n_failed, 1);
    assert_int_equal(l[1].err.code, ERROR_CANCELLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sink_stops_and_restarts_its_answer),
        cmocka_unit_test(masks_of_several_streams_are_their_own),
        cmocka_unit_test(what_must_follow_is_computed_at_once),
        cmocka_unit_test(a_slow_reader_holds_up_nobody),
        cmocka_unit_test(a_reader_that_is_back_at_once_is_not_waited_for),
        cmocka_unit_test(who_waits_can_be_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
