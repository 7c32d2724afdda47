/* The engine over the real CPU backend and a tiny random model: the same answer whatever runs beside it, nothing
 * computed twice, and every request ends exactly once. */
#include "support/temp_folder.h"
#include "world.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the tests ---- */

enum { N_PROMPTS = 6 };

static const uint32_t lengths[N_PROMPTS] = {1, 63, 64, 65, 200, 129};

static void same_bits_alone_chunked_beside_others_and_warm(void **state)
{
    (void)state;
    static int32_t prompts[N_PROMPTS][256];
    static struct listener alone[N_PROMPTS], other[N_PROMPTS];
    struct world w;
    world_begin(&w, &(struct engine_options){0}, 1);
    for (uint32_t i = 0; i < N_PROMPTS; i++) {
        prompt(prompts[i], lengths[i], i);
        run(&w, &alone[i], prompts[i], lengths[i], 40);
        assert_int_equal(alone[i].n_cached, 0);
    }
    /* warm */
    for (uint32_t i = 0; i < N_PROMPTS; i++) {
        run(&w, &other[i], prompts[i], lengths[i], 40);
        assert_int_equal(other[i].n_cached, lengths[i] - 1);
        assert_int_equal(other[i].n_to_compute, 1);
        assert_same_answer(&alone[i], &other[i]);
    }
    world_end(&w);
    /* chunked oddly, beside each other, on more threads */
    for (uint32_t round = 0; round < 3; round++) {
        struct engine_options options = {.prefill_rows = round == 0 ? 1 : round == 1 ? 7 : 100};
        world_begin(&w, &options, round + 1);
        for (uint32_t i = 0; i < N_PROMPTS; i++) {
            listener_init(&other[i]);
            struct engine_request request = ask(&other[i], prompts[i], lengths[i], 40);
            submit(&w, &request);
        }
        for (uint32_t i = 0; i < N_PROMPTS; i++) {
            wait_until_ended(&other[i]);
            assert_same_answer(&alone[i], &other[i]);
        }
        world_end(&w);
    }
}

static const uint64_t *masked_throughout(struct listener *l)
{
    return l->masked;
}

/* Guesses change nothing but the time, whatever the sampler draws and penalties lower. With two tokens to choose from, the
 * same three follow each other again and again. */
static void same_bits_with_guesses_and_without(void **state)
{
    (void)state;
    static int32_t prompts[N_PROMPTS][256];
    static struct listener plain[3][N_PROMPTS], guessing[3][N_PROMPTS];
    struct engine_stats stats[2];
    const struct engine_bias bias = {66, 0.5f};
    for (int guesses = 0; guesses < 2; guesses++) {
        struct world w;
        world_begin(&w, &(struct engine_options){.never_guesses = !guesses}, 2);
        for (uint32_t hot = 0; hot < 3; hot++) {
            for (uint32_t i = 0; i < N_PROMPTS; i++) {
                struct listener *l = guesses ? &guessing[hot][i] : &plain[hot][i];
                prompt(prompts[i], lengths[i], i);
                listener_init(l);
                struct engine_request request = ask(l, prompts[i], lengths[i], 200);
                request.sampling.temperature = hot ? 0.3f : 0;
                request.sampling.seed = 77;
                if (hot == 2) {
                    request.sampling.repeat_penalty = 1.1f;
                    request.sampling.frequency_penalty = 0.01f;
                    request.biases = &bias;
                    request.n_biases = 1;
                }
                memset(l->masked, 0xff, sizeof l->masked);
                l->masked[1] &= ~6ull; /* but 65 and 66 */
                l->mask = masked_throughout;
                submit(&w, &request);
                if (i % 2)
                    wait_until_ended(l); /* one and two at a time */
            }
            for (uint32_t i = 0; i < N_PROMPTS; i++)
                wait_until_ended(guesses ? &guessing[hot][i] : &plain[hot][i]);
        }
        engine_stats(w.engine, &stats[guesses]);
        world_end(&w);
    }
    for (uint32_t hot = 0; hot < 3; hot++)
        for (uint32_t i = 0; i < N_PROMPTS; i++) {
            assert_same_answer(&plain[hot][i], &guessing[hot][i]);
            assert_int_equal(plain[hot][i].reason, guessing[hot][i].reason);
        }
    assert_int_equal(stats[0].n_guessed, 0);
    assert_true(stats[1].n_guessed_right > 200 && stats[1].n_guessed > stats[1].n_guessed_right);
    assert_true(stats[1].n_tokens_generated == stats[0].n_tokens_generated);
}

static void biases_and_penalties_choose_the_tokens(void **state)
{
    (void)state;
    static struct listener plain, l;
    const struct engine_bias only = {70, 1000}, never = {70, -INFINITY}, wrong = {TINY_VOCAB, 1};
    struct error err = {0};
    int32_t tokens[20];
    struct world w;
    world_begin(&w, &(struct engine_options){0}, 1);
    prompt(tokens, 20, 9);
    run(&w, &plain, tokens, 20, 30);
    struct engine_request request = ask(&l, tokens, 20, 30);
    request.n_biases = 1;
    request.biases = &only;
    listener_init(&l);
    submit(&w, &request);
    wait_until_ended(&l);
    assert_int_equal(l.n_tokens, 30);
    for (uint32_t i = 0; i < 30; i++)
        assert_int_equal(l.tokens[i], 70);
    assert_float_equal(expf(l.logprobs[0]), 0, 0.9); /* the model's, not the bias' */

    request.biases = &never;
    request.sampling.presence_penalty = 1000; /* no token of the last 64 comes again */
    listener_init(&l);
    submit(&w, &request);
    wait_until_ended(&l);
    for (uint32_t i = 0; i < l.n_tokens; i++) {
        assert_int_not_equal(l.tokens[i], 70);
        for (uint32_t k = 0; k < i; k++)
            assert_int_not_equal(l.tokens[i], l.tokens[k]);
    }
    request.biases = &wrong;
    assert_int_equal(engine_submit(w.engine, &request, &err), 0);
    assert_int_equal(err.code, ERROR_INPUT);

    run(&w, &l, tokens, 20, 30); /* nothing of it stays */
    assert_same_answer(&plain, &l);
    world_end(&w);
}

/* Whoever asks for what another one is being told reads along, also where both begin within a page
 * that somebody left. */
static void check_common_prompt(uint32_t n_known)
{
    enum { N = 300, N_CLIENTS = 4 };
    static struct listener l[N_CLIENTS], before;
    int32_t tokens[N];
    struct engine_stats stats;
    struct world w;
    world_begin(&w, &(struct engine_options){.prefill_rows = 20, .never_guesses = true}, 1);
    prompt(tokens, N, 9);
    if (n_known)
        run(&w, &before, tokens, n_known, 1);
    for (int i = 0; i < N_CLIENTS; i++) {
        listener_init(&l[i]);
        struct engine_request request = ask(&l[i], tokens, N, 8);
        submit(&w, &request);
    }
    for (int i = 0; i < N_CLIENTS; i++) {
        wait_until_ended(&l[i]);
        assert_same_answer(&l[0], &l[i]);
    }
    engine_stats(w.engine, &stats);
    /* all of it once, the last pages' rest by each */
    assert_true(stats.n_tokens_computed <
                N + N_CLIENTS * (BACKEND_PAGE_TOKENS + 8));

    /* in another's name it is computed again */
    listener_init(&l[0]);
    struct engine_request request = ask(&l[0], tokens, N, 8);
    request.space = 1;
    submit(&w, &request);
    wait_until_ended(&l[0]);
    assert_int_equal(l[0].n_cached, 0);
    assert_same_answer(&l[0], &l[1]);
    world_end(&w);
}

static void a_common_prompt_is_computed_once(void **state)
{
    (void)state;
    check_common_prompt(0);
    check_common_prompt(24);
    check_common_prompt(BACKEND_PAGE_TOKENS + 1);
}

static void stretched(struct gguf_builder *g)
{
    gguf_builder_string(g, "llama.rope.scaling.type", "linear");
    gguf_builder_f32(g, "llama.rope.scaling.factor", 4);
}

static void a_restart_computes_only_what_is_new(void **state)
{
    (void)state;
    static struct listener first, second;
    enum { N = 401 };
    int32_t tokens[N];
    struct world w;
    const struct engine_options options = {.disk_folder = temp_folder};
    prompt(tokens, N, 11);
    world_begin(&w, &options, 2);
    run(&w, &first, tokens, N, 30);
    world_end(&w);
    world_begin(&w, &options, 1);
    run(&w, &second, tokens, N, 30);
    assert_int_equal(second.n_cached, (N - 1) / BACKEND_PAGE_TOKENS * BACKEND_PAGE_TOKENS);
    assert_same_answer(&first, &second);
    world_end(&w);
    /* other types of page, another store */
    struct engine_options q8 = options;
    q8.kv_type = BACKEND_KV_Q8_0;
    world_begin(&w, &q8, 1);
    run(&w, &second, tokens, N, 30);
    assert_int_equal(second.n_cached, 0);
    world_end(&w);
    /* other positions, another store */
    world_begin_as(&w, &options, 1, "llama", stretched);
    run(&w, &second, tokens, N, 30);
    assert_int_equal(second.n_cached, 0);
    world_end(&w);
}

static void a_next_turn_computes_only_what_is_new(void **state)
{
    (void)state;
    static struct listener l;
    int32_t tokens[400];
    struct world w;
    world_begin(&w, &(struct engine_options){0}, 2);
    prompt(tokens, 300, 1);
    run(&w, &l, tokens, 300, 20);
    uint32_t n = l.n_tokens;
    memcpy(tokens + 300, l.tokens, n * sizeof *tokens);
    tokens[300 + n] = 5;
    tokens[301 + n] = 6;
    run(&w, &l, tokens, 302 + n, 20);
    assert_true(l.n_cached >= 300 + n - 1); /* the last token sampled was never computed */
    assert_int_equal(l.n_cached + l.n_to_compute, 302 + n);

    /* a title request in between does not push the conversation out */
    int32_t title[40];
    for (uint32_t i = 0; i < 4; i++) {
        prompt(title, 40, 10 + i);
        run(&w, &l, title, 40, 20);
    }
    run(&w, &l, tokens, 302 + n, 20);
    assert_int_equal(l.n_cached, 301 + n);
    world_end(&w);
}

static void the_ends_are_told_apart(void **state)
{
    (void)state;
    static struct listener l;
    int32_t tokens[TINY_CONTEXT];
    struct error err = {0};
    struct world w;
    world_begin(&w, &(struct engine_options){0}, 1);
    prompt(tokens, TINY_CONTEXT, 3);

    run(&w, &l, tokens, 10, 7);
    if (l.reason == ENGINE_FINISH_LENGTH)
        assert_int_equal(l.usage.n_generated, 7);
    assert_int_equal(l.usage.n_prompt, 10);

    run(&w, &l, tokens, TINY_CONTEXT - 5, 1000);
    if (l.reason == ENGINE_FINISH_CONTEXT)
        assert_int_equal(l.usage.n_generated, 5);
    assert_int_not_equal(l.reason, ENGINE_FINISH_LENGTH);

    listener_init(&l);
    struct engine_request request = ask(&l, tokens, TINY_CONTEXT, 1);
    assert_int_equal(engine_submit(w.engine, &request, &err), 0);
    assert_int_equal(err.code, ERROR_TOO_LARGE);
    char text[100];
    snprintf(text, sizeof text, "prompt is too long: %d tokens > %d maximum", TINY_CONTEXT,
             TINY_CONTEXT - 1);
    assert_string_equal(err.message, text);
    request = ask(&l, tokens, 0, 1);
    assert_int_equal(engine_submit(w.engine, &request, &err), 0);
    tokens[3] = 1 << 20;
    request = ask(&l, tokens, 10, 1);
    assert_int_equal(engine_submit(w.engine, &request, &err), 0);
    assert_int_equal(err.code, ERROR_INPUT);
    world_end(&w);
}

/* ---- prompts side by side ---- */

enum { N_QUESTIONS = 60, QUESTION = 40, BOOK = 500, SLICE = 16 };

static struct listener book, questions[N_QUESTIONS];
static uint32_t book_at[N_QUESTIONS]; /* tokens of the book that were read when it was answered */
static uint32_t n_answered_before_the_book;
static atomic_bool is_held;

/* The book is held when it has been begun, until the questions are there. */
static enum engine_verdict note_book(struct listener *l, int32_t id)
{
    (void)l;
    (void)id;
    for (uint32_t i = 0; i < N_QUESTIONS; i++)
        n_answered_before_the_book += questions[i].n_tokens > 0;
    return ENGINE_CONTINUE;
}

static void hold_book(void *context, uint32_t n_done, uint32_t n_total)
{
    (void)n_total;
    ((struct listener *)context)->n_done = n_done;
    while (n_done >= SLICE && is_held)
        usleep(500);
}

static enum engine_verdict note_answer(struct listener *l, int32_t id)
{
    (void)id;
    book_at[l - questions] = book.n_done;
    return ENGINE_CONTINUE;
}

static void ask_about_the_book(struct world *w, uint32_t n_questions)
{
    static int32_t tokens[BOOK];
    n_answered_before_the_book = 0;
    is_held = true;
    listener_init(&book);
    book.verdict = note_book;
    prompt(tokens, BOOK, 1);
    struct engine_request request = ask(&book, tokens, BOOK, 1);
    request.sink.prefilling = hold_book;
    submit(w, &request);
    for (uint32_t i = 0; i < n_questions; i++) {
        listener_init(&questions[i]);
        questions[i].verdict = note_answer;
        prompt(tokens, QUESTION, 100 + i);
        request = ask(&questions[i], tokens, QUESTION, 1);
        submit(w, &request);
    }
    is_held = false;
    wait_until_ended(&book);
    for (uint32_t i = 0; i < n_questions; i++)
        wait_until_ended(&questions[i]);
}

/* A question is answered within a few steps of its own, and the book is read to its end all the
 * same. */
static void short_prompts_go_first_and_long_ones_go_on(void **state)
{
    (void)state;
    struct world w;
    const struct engine_options options = {.prefill_rows = SLICE, .never_guesses = true};
    world_begin(&w, &options, 1);
    ask_about_the_book(&w, 2);
    /* 2.5 steps for each, what they leave of one, and one in three; requests that are paused at
     * random come when they come */
    assert_true(HOSTILE || (book_at[0] <= 4 * SLICE && book_at[1] <= 6 * SLICE));
    world_end(&w);
    world_begin(&w, &options, 1);
    ask_about_the_book(&w, N_QUESTIONS);
    assert_true(HOSTILE ||
                (n_answered_before_the_book > 10 && n_answered_before_the_book < N_QUESTIONS));
    world_end(&w);
}

static void cancelling_ends_a_request_wherever_it_is(void **state)
{
    (void)state;
    static struct listener generating, queued, reading;
    int32_t tokens[400];
    struct world w;
    world_begin(&w, &(struct engine_options){.n_running = 1, .prefill_rows = 1}, 1);
    prompt(tokens, 400, 5);

    listener_init(&generating);
    generating.slow_us = 2000;
    struct engine_request a = ask(&generating, tokens, 5, 500);
    uint64_t first = submit(&w, &a);
    listener_init(&queued);
    struct engine_request b = ask(&queued, tokens, 50, 5);
    uint64_t second = submit(&w, &b);
    engine_cancel(w.engine, second);
    wait_until_ended(&queued);
    assert_int_equal(queued.err.code, ERROR_CANCELLED);
    assert_int_equal(queued.n_started, 0);
    engine_cancel(w.engine, first);
    wait_until_ended(&generating);
    engine_cancel(w.engine, first); /* gone already */

    /* cancelled while its prompt is read: what was computed serves the next */
    listener_init(&reading);
    struct engine_request c = ask(&reading, tokens, 400, 5);
    uint64_t third = submit(&w, &c);
    pthread_mutex_lock(&reading.lock);
    while (reading.n_done < 200 && !reading.n_finished)
        pthread_cond_wait(&reading.changed, &reading.lock);
    pthread_mutex_unlock(&reading.lock);
    engine_cancel(w.engine, third);
    wait_until_ended(&reading);
    uint32_t n_done = reading.n_done;
    run(&w, &reading, tokens, 400, 5);
    assert_true(reading.n_cached >= 200);
    if (n_done < 400)
        assert_int_equal(reading.n_cached, n_done);
    world_end(&w);
}

static void a_full_queue_and_a_closing_engine_refuse(void **state)
{
    (void)state;
    static struct listener running, waiting[2], refused;
    struct error err = {0};
    int32_t tokens[5];
    struct world w;
    world_begin(&w, &(struct engine_options){.n_running = 1, .n_queued = 2}, 1);
    prompt(tokens, 5, 6);
    listener_init(&running);
    running.slow_us = 2000;
    struct engine_request request = ask(&running, tokens, 5, 500);
    submit(&w, &request);
    pthread_mutex_lock(&running.lock);
    while (!running.n_tokens && !running.n_finished)
        pthread_cond_wait(&running.changed, &running.lock);
    pthread_mutex_unlock(&running.lock);
    for (int i = 0; i < 2; i++) {
        listener_init(&waiting[i]);
        request = ask(&waiting[i], tokens, 5, 500);
        submit(&w, &request);
    }
    listener_init(&refused);
    request = ask(&refused, tokens, 5, 500);
    if (!running.n_finished) {
        assert_int_equal(engine_submit(w.engine, &request, &err), 0);
        assert_int_equal(err.code, ERROR_BUSY);
    }
    world_end(&w); /* destroying ends all three, once each */
    assert_int_equal(running.n_failed + running.n_finished, 1);
    for (int i = 0; i < 2; i++)
        assert_int_equal(waiting[i].n_failed + waiting[i].n_finished, 1);
}

static void a_tight_pool_pauses_but_never_fails(void **state)
{
    (void)state;
    static int32_t prompts[N_PROMPTS][256];
    static struct listener alone[N_PROMPTS], tight[N_PROMPTS];
    struct world w;
    world_begin(&w, &(struct engine_options){0}, 2);
    for (uint32_t i = 0; i < N_PROMPTS; i++) {
        prompt(prompts[i], lengths[i], i);
        run(&w, &alone[i], prompts[i], lengths[i], 400);
    }
    world_end(&w);
    /* room for one context and a page: six that grow do not fit together */
    uint64_t one = TINY_KV_PAGE_BYTES * (TINY_CONTEXT / BACKEND_PAGE_TOKENS + 1);
    for (int with_disk = 0; with_disk < 3; with_disk++) {
        const struct engine_options options = {.kv_bytes = one,
                                               .disk_folder = with_disk ? temp_folder : NULL};
        world_begin(&w, &options, 2);
        for (uint32_t i = 0; i < N_PROMPTS; i++) {
            listener_init(&tight[i]);
            struct engine_request request = ask(&tight[i], prompts[i], lengths[i], 400);
            submit(&w, &request);
        }
        for (uint32_t i = 0; i < N_PROMPTS; i++) {
            wait_until_ended(&tight[i]);
            assert_int_equal(tight[i].n_failed, 0);
            assert_same_answer(&alone[i], &tight[i]);
        }
        world_end(&w);
    }

    struct error err = {0};
    world_begin(&w, &(struct engine_options){0}, 1);
    assert_null(engine_create(w.model, w.be, w.tokenizer, &(struct engine_options){.kv_bytes = 1000},
                              &err));
    assert_int_equal(err.code, ERROR_TOO_LARGE);
    world_end(&w);
}

/* A context that has no room in the budget is an error where it was asked for, else as long as has
 * room; the budget itself is never more than a quarter of memory, unless it was given. */
static void a_context_fits_its_budget_and_that_the_memory(void **state)
{
    (void)state;
    const uint64_t page = world_kv_bytes(BACKEND_PAGE_TOKENS), whole = world_kv_bytes(TINY_CONTEXT);
    const struct {
        uint32_t n_ctx;
        uint64_t memory, kv;
        uint32_t n_tokens;
        uint64_t budget;
    } cases[] = {
        {0, 1ull << 40, 0, TINY_CONTEXT, 4 * (whole + page)}, /* four contexts */
        {0, 8 * (whole + page), 0, TINY_CONTEXT, 2 * (whole + page)},
        {0, 4 * (5 * page), 0, 4 * BACKEND_PAGE_TOKENS, 5 * page}, /* not even one */
        {TINY_CONTEXT, 4 * (whole + page), 0, TINY_CONTEXT, whole + page},
        {TINY_CONTEXT, 4 * (5 * page), 0, 0, 0},
        {TINY_CONTEXT, 4 * (5 * page), whole + page, TINY_CONTEXT, whole + page}, /* as told */
        {0, 1ull << 40, 6 * page, 5 * BACKEND_PAGE_TOKENS, 6 * page},
        {0, 1ull << 40, 2 * page, 0, 0}, /* useless */
    };
    struct world w;
    world_begin(&w, &(struct engine_options){0}, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        struct engine_stats stats;
        const struct engine_options options = {.n_ctx = cases[i].n_ctx,
                                               .memory_bytes = cases[i].memory,
                                               .kv_bytes = cases[i].kv,
                                               .kv_advice = "--ctx changes that"};
        engine_destroy(w.engine);
        w.engine = engine_create(w.model, w.be, w.tokenizer, &options, &err);
        if (!cases[i].n_tokens) {
            assert_null(w.engine);
            assert_int_equal(err.code, ERROR_TOO_LARGE);
            char fits[64];
            snprintf(fits, sizeof fits, ": %u tokens fit; --ctx changes that",
                     (cases[i].kv ? 1 : 4) * BACKEND_PAGE_TOKENS);
            assert_non_null(strstr(err.message, fits));
            continue;
        }
        assert_non_null(w.engine);
        assert_int_equal(engine_n_ctx(w.engine), cases[i].n_tokens);
        engine_stats(w.engine, &stats);
        assert_int_equal(stats.kv_bytes_budget, cases[i].budget);
    }
    world_end(&w);
}

/* ---- under a sliding window ---- */

enum { WINDOW = 100, N_LONG = 4, N_MORE = 60 };

static const uint32_t long_lengths[N_LONG] = {20, 320, 450, 449};

/* Pools for steps of 16 tokens: one that keeps everything, and one that holds what a row sees. */
enum {
    GENEROUS = N_LONG * TINY_CONTEXT / BACKEND_PAGE_TOKENS * TINY_KV_PAGE_BYTES,
    LEAST = (WINDOW + 16 + 3 * BACKEND_PAGE_TOKENS - 1) / BACKEND_PAGE_TOKENS * TINY_KV_PAGE_BYTES,
};

static void window(struct gguf_builder *g)
{
    gguf_builder_u32(g, "phi3.attention.sliding_window", WINDOW);
}

/* What the model says by itself, all its pages kept. */
static void say(struct world *w, const int32_t *prompt, uint32_t n, int32_t *out)
{
    enum { N_PAGES = TINY_CONTEXT / BACKEND_PAGE_TOKENS };
    struct backend_kv_shape shape = model_kv_shape(w->model);
    shape.n_pages = N_PAGES;
    static float logits[TINY_VOCAB];
    uint32_t pages[N_PAGES];
    struct error err = {0};
    assert_true(w->be->ops->kv_init(w->be, &shape, &err));
    for (uint32_t i = 0; i < N_PAGES; i++)
        pages[i] = i;
    const struct backend_sequence sequence = {pages, N_PAGES};
    for (uint32_t i = 0; i + 1 < n + N_MORE; i++) {
        const struct backend_row row = {i < n ? prompt[i] : out[i - n], (int32_t)i, 0, true};
        assert_true(model_compute(w->model, &(struct backend_batch){&row, 1, &sequence, 1}, logits,
                                  &err));
        if (i + 1 < n)
            continue;
        int32_t best = 0;
        for (int32_t k = 1; k < TINY_VOCAB; k++)
            best = logits[k] > logits[best] ? k : best;
        out[i + 1 - n] = best;
    }
}

static void run_all(struct world *w, int32_t prompts[][TINY_CONTEXT], struct listener *l,
                    bool together)
{
    for (uint32_t i = 0; i < N_LONG; i++) {
        listener_init(&l[i]);
        struct engine_request request = ask(&l[i], prompts[i], long_lengths[i], N_MORE);
        submit(w, &request);
        if (!together)
            wait_until_ended(&l[i]);
    }
    for (uint32_t i = 0; i < N_LONG; i++)
        wait_until_ended(&l[i]);
}

static void pages_that_a_window_has_left_are_not_needed(void **state)
{
    (void)state;
    static int32_t prompts[N_LONG][TINY_CONTEXT];
    static struct listener first[N_LONG], second[N_LONG];
    for (uint32_t i = 0; i < N_LONG; i++)
        prompt(prompts[i], long_lengths[i], i / 2); /* each has the beginning of another */
    /* twice in a generous pool, in one that holds no whole context, and after a restart */
    for (int round = 0; round < 4; round++) {
        const struct engine_options options = {.prefill_rows = 16,
                                               .kv_bytes = round ? LEAST : GENEROUS,
                                               .disk_folder = round > 1 ? temp_folder : NULL};
        struct world w;
        world_begin_as(&w, &options, 2, "phi3", window);
        struct engine_stats stats;
        engine_stats(w.engine, &stats);
        if (round)
            assert_true(stats.kv_bytes_budget < (uint64_t)TINY_KV_PAGE_BYTES * TINY_CONTEXT /
                                                    BACKEND_PAGE_TOKENS);
        run_all(&w, prompts, round ? second : first, round > 0);
        for (uint32_t i = 0; round && i < N_LONG; i++)
            assert_same_answer(&first[i], &second[i]);
        run_all(&w, prompts, second, !round);
        for (uint32_t i = 0; i < N_LONG; i++) {
            assert_same_answer(&first[i], &second[i]);
            if (!round)
                assert_int_equal(second[i].n_cached, long_lengths[i] - 1);
        }
        engine_destroy(w.engine);
        w.engine = NULL;
        for (uint32_t i = 0; !round && i < N_LONG; i++) {
            int32_t said[N_MORE];
            say(&w, prompts[i], long_lengths[i], said);
            assert_memory_equal(first[i].tokens, said, first[i].n_tokens * sizeof *said);
        }
        world_end(&w);
    }
}

static enum engine_verdict restart_late(struct listener *l, int32_t id)
{
    (void)id;
    return restart_at(l, N_MORE * 3);
}

/* The pages that the prompt's end sees were given back long ago. */
static void an_answer_begins_anew_far_behind_its_prompt(void **state)
{
    (void)state;
    static struct listener plain, l;
    int32_t tokens[300];
    const struct engine_bias never_ends = {TINY_END, -INFINITY};
    prompt(tokens, 300, 3);
    for (int tight = 0; tight < 2; tight++) {
        struct world w;
        const struct engine_options options = {.prefill_rows = 16,
                                               .kv_bytes = tight ? LEAST : GENEROUS};
        world_begin_as(&w, &options, 1, "phi3", window);
        struct engine_request request = ask(&plain, tokens, 300, N_MORE * 4);
        request.biases = &never_ends;
        request.n_biases = 1;
        listener_init(&plain);
        submit(&w, &request);
        wait_until_ended(&plain);
        assert_int_equal(plain.n_tokens, N_MORE * 4);
        listener_init(&l);
        l.verdict = restart_late;
        request.sink.context = &l;
        submit(&w, &request);
        wait_until_ended(&l);
        assert_int_equal(l.n_restarts, 1);
        assert_same_answer(&plain, &l);
        world_end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_alone_chunked_beside_others_and_warm),
        cmocka_unit_test(same_bits_with_guesses_and_without),
        cmocka_unit_test(biases_and_penalties_choose_the_tokens),
        cmocka_unit_test(a_common_prompt_is_computed_once),
        TEST_IN_TEMP_FOLDER(a_restart_computes_only_what_is_new),
        cmocka_unit_test(a_next_turn_computes_only_what_is_new),
        cmocka_unit_test(the_ends_are_told_apart),
        cmocka_unit_test(short_prompts_go_first_and_long_ones_go_on),
        cmocka_unit_test(cancelling_ends_a_request_wherever_it_is),
        cmocka_unit_test(a_full_queue_and_a_closing_engine_refuse),
        cmocka_unit_test(a_context_fits_its_budget_and_that_the_memory),
        TEST_IN_TEMP_FOLDER(a_tight_pool_pauses_but_never_fails),
        TEST_IN_TEMP_FOLDER(pages_that_a_window_has_left_are_not_needed),
        cmocka_unit_test(an_answer_begins_anew_far_behind_its_prompt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
