/* The engine over the real CPU backend and a tiny random model: the same answer whatever runs beside it, nothing
 * computed twice, and every request ends exactly once. */
#include "backend/cpu/cpu.h"
#include "base/clock.h"
#include "engine/engine.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a loaded tiny model ---- */

struct world {
    struct tiny_model file;
    struct weights *weights;
    struct backend *be;
    struct model *model;
    struct tokenizer *tokenizer;
    struct engine *engine;
};

static void world_begin_as(struct world *w, const struct engine_options *options,
                           uint32_t n_threads, const char *architecture,
                           void (*more)(struct gguf_builder *g))
{
    struct error err = {0};
    tiny_model_init_as(&w->file, architecture, more);
    w->weights = weights_open_bytes(w->file.data, w->file.size, &err);
    assert_non_null(w->weights);
    w->be = backend_cpu_create(&(struct backend_cpu_options){.n_threads = n_threads}, &err);
    assert_non_null(w->be);
    w->model = model_create(w->weights, w->be, NULL, &err);
    if (!w->model)
        fail_msg("%s", err.message);
    w->tokenizer = tokenizer_create(w->weights, &err);
    if (!w->tokenizer)
        fail_msg("%s", err.message);
    w->engine = engine_create(w->model, w->be, w->tokenizer, options, &err);
    if (!w->engine)
        fail_msg("%s", err.message);
}

static void world_begin(struct world *w, const struct engine_options *options, uint32_t n_threads)
{
    world_begin_as(w, options, n_threads, "llama", NULL);
}

static void world_end(struct world *w)
{
    engine_destroy(w->engine);
    tokenizer_destroy(w->tokenizer);
    model_destroy(w->model);
    w->be->ops->destroy(w->be);
    weights_close(w->weights);
    tiny_model_deinit(&w->file);
}

/* ---- a sink that writes everything down ---- */

enum { MAX_OUT = 600 };

struct listener {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int32_t tokens[MAX_OUT];
    float logprobs[MAX_OUT];
    uint32_t n_tokens, n_cached, n_to_compute, n_prefilling, n_done;
    int n_started, n_finished, n_failed;
    enum engine_finish reason;
    struct engine_usage usage;
    struct error err;
    enum engine_verdict (*verdict)(struct listener *l, int32_t id);
    const uint64_t *(*mask)(struct listener *l);
    uint32_t (*propose)(struct listener *l, int32_t *out, uint32_t most);
    uint64_t masked[(TINY_VOCAB + 63) / 64];
    uint32_t n_masks;
    atomic_flag is_called; /* one call at a time */
    int n_restarts;
    struct engine *engine;
    _Atomic uint64_t ticket;
    uint64_t slow_us; /* per token, so that a test can catch it in the act */
};

static void listener_init(struct listener *l)
{
    memset(l, 0, sizeof *l);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
}

/* Begins and ends a call of the sink: there is never more than one. */
static struct listener *enter(void *context)
{
    struct listener *l = context;
    assert_false(atomic_flag_test_and_set(&l->is_called));
    return l;
}

static void leave(struct listener *l)
{
    atomic_flag_clear(&l->is_called);
}

static void on_started(void *context, uint32_t n_cached, uint32_t n_to_compute)
{
    struct listener *l = enter(context);
    l->n_started++;
    l->n_cached = n_cached;
    l->n_to_compute = n_to_compute;
    leave(l);
}

static void on_prefilling(void *context, uint32_t n_done, uint32_t n_total)
{
    struct listener *l = enter(context);
    pthread_mutex_lock(&l->lock);
    l->n_prefilling++;
    l->n_done = n_done;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    (void)n_total;
    leave(l);
}

static enum engine_verdict on_token(void *context, int32_t id, const char *bytes, size_t n_bytes,
                                    float logprob)
{
    struct listener *l = enter(context);
    (void)bytes;
    (void)n_bytes;
    if (l->slow_us)
        usleep((useconds_t)l->slow_us);
    pthread_mutex_lock(&l->lock);
    if (l->n_tokens < MAX_OUT) {
        l->tokens[l->n_tokens] = id;
        l->logprobs[l->n_tokens++] = logprob;
    }
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    enum engine_verdict v = l->verdict ? l->verdict(l, id) : ENGINE_CONTINUE;
    leave(l);
    return v;
}

static const uint64_t *on_mask(void *context)
{
    struct listener *l = enter(context);
    l->n_masks++;
    const uint64_t *mask = l->mask ? l->mask(l) : NULL;
    leave(l);
    return mask;
}

static uint32_t on_propose(void *context, int32_t *out, uint32_t most)
{
    struct listener *l = enter(context);
    uint32_t n = l->propose ? l->propose(l, out, most) : 0;
    leave(l);
    return n;
}

static void on_finished(void *context, enum engine_finish reason, const struct engine_usage *usage)
{
    struct listener *l = enter(context); /* and nothing after it */
    pthread_mutex_lock(&l->lock);
    l->n_finished++;
    l->reason = reason;
    l->usage = *usage;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

static void on_failed(void *context, const struct error *err)
{
    struct listener *l = enter(context);
    pthread_mutex_lock(&l->lock);
    l->n_failed++;
    l->err = *err;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

static void wait_until_ended(struct listener *l)
{
    pthread_mutex_lock(&l->lock);
    while (!l->n_finished && !l->n_failed)
        pthread_cond_wait(&l->changed, &l->lock);
    pthread_mutex_unlock(&l->lock);
    assert_int_equal(l->n_finished + l->n_failed, 1);
}

static struct engine_request ask(struct listener *l, const int32_t *tokens, size_t n,
                                 uint32_t max_tokens)
{
    return (struct engine_request){
        .tokens = tokens,
        .n_tokens = n,
        .max_tokens = max_tokens,
        .sampling = {.temperature = 0, .top_p = 1},
        .wants_logprobs = true,
        .sink = {l, on_started, on_prefilling, on_token, on_finished, on_failed, on_mask, on_propose},
    };
}

static uint64_t submit(struct world *w, const struct engine_request *request)
{
    struct error err = {0};
    uint64_t ticket = engine_submit(w->engine, request, &err);
    if (!ticket)
        fail_msg("refused: %s", err.message);
    return ticket;
}

static void run(struct world *w, struct listener *l, const int32_t *tokens, size_t n,
                uint32_t max_tokens)
{
    listener_init(l);
    struct engine_request request = ask(l, tokens, n, max_tokens);
    submit(w, &request);
    wait_until_ended(l);
}

/* Prompt number i: n tokens of ordinary bytes. */
static void prompt(int32_t *tokens, uint32_t n, uint32_t i)
{
    for (uint32_t k = 0; k < n; k++)
        tokens[k] = (int32_t)((k * 2654435761u + i * 40503u) >> 7) & 0xff;
}

static void assert_same_answer(const struct listener *a, const struct listener *b)
{
    assert_int_equal(a->n_tokens, b->n_tokens);
    assert_memory_equal(a->tokens, b->tokens, a->n_tokens * sizeof *a->tokens);
    assert_memory_equal(a->logprobs, b->logprobs, a->n_tokens * sizeof *a->logprobs);
}

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

static enum engine_verdict stop_at_third(struct listener *l, int32_t id)
{
    (void)id;
    return l->n_tokens == 3 ? ENGINE_STOP : ENGINE_CONTINUE;
}

/* Once, at its token number n. */
static enum engine_verdict restart_at(struct listener *l, uint32_t n)
{
    if (l->n_tokens == n && !l->n_restarts) {
        l->n_restarts++;
        l->n_tokens = 0;
        return ENGINE_RESTART;
    }
    return ENGINE_CONTINUE;
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
        cmocka_unit_test(a_sink_stops_and_restarts_its_answer),
        cmocka_unit_test(masks_of_several_streams_are_their_own),
        cmocka_unit_test(what_must_follow_is_computed_at_once),
        cmocka_unit_test(a_slow_reader_holds_up_nobody),
        cmocka_unit_test(a_reader_that_is_back_at_once_is_not_waited_for),
        cmocka_unit_test(who_waits_can_be_cancelled),
        cmocka_unit_test(cancelling_ends_a_request_wherever_it_is),
        cmocka_unit_test(a_full_queue_and_a_closing_engine_refuse),
        TEST_IN_TEMP_FOLDER(a_tight_pool_pauses_but_never_fails),
        TEST_IN_TEMP_FOLDER(pages_that_a_window_has_left_are_not_needed),
        cmocka_unit_test(an_answer_begins_anew_far_behind_its_prompt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
