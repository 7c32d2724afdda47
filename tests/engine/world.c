#include "world.h"

#include "backend/cpu/cpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a loaded tiny model ---- */

void world_begin_as(struct world *w, const struct engine_options *options,
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

void world_begin(struct world *w, const struct engine_options *options, uint32_t n_threads)
{
    world_begin_as(w, options, n_threads, "llama", NULL);
}

void world_end(struct world *w)
{
    engine_destroy(w->engine);
    tokenizer_destroy(w->tokenizer);
    model_destroy(w->model);
    w->be->ops->destroy(w->be);
    weights_close(w->weights);
    tiny_model_deinit(&w->file);
}

uint64_t world_kv_bytes(uint32_t n_tokens)
{
    struct world w;
    world_begin(&w, &(struct engine_options){0}, 1);
    struct backend_kv_shape shape = model_kv_shape(w.model);
    const uint64_t page_bytes = w.be->ops->kv_page_bytes(w.be, &shape);
    world_end(&w);
    return page_bytes * (n_tokens / BACKEND_PAGE_TOKENS);
}

/* ---- a sink that writes everything down ---- */

void listener_init(struct listener *l)
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
    if (l->finished)
        l->finished(l);
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

void wait_for_tokens(struct listener *l, uint32_t n)
{
    pthread_mutex_lock(&l->lock);
    while (l->n_tokens < n && !l->n_finished && !l->n_failed)
        pthread_cond_wait(&l->changed, &l->lock);
    pthread_mutex_unlock(&l->lock);
}

bool has_ended(struct listener *l)
{
    pthread_mutex_lock(&l->lock);
    const bool ended = l->n_finished || l->n_failed;
    pthread_mutex_unlock(&l->lock);
    return ended;
}

void wait_until_ended(struct listener *l)
{
    pthread_mutex_lock(&l->lock);
    while (!l->n_finished && !l->n_failed)
        pthread_cond_wait(&l->changed, &l->lock);
    pthread_mutex_unlock(&l->lock);
    assert_int_equal(l->n_finished + l->n_failed, 1);
}

struct engine_request ask(struct listener *l, const int32_t *tokens, size_t n,
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

uint64_t submit(struct world *w, const struct engine_request *request)
{
    struct error err = {0};
    uint64_t ticket = engine_submit(w->engine, request, &err);
    if (!ticket)
        fail_msg("refused: %s", err.message);
    return ticket;
}

void run(struct world *w, struct listener *l, const int32_t *tokens, size_t n,
                uint32_t max_tokens)
{
    listener_init(l);
    struct engine_request request = ask(l, tokens, n, max_tokens);
    submit(w, &request);
    wait_until_ended(l);
}

void prompt(int32_t *tokens, uint32_t n, uint32_t i)
{
    for (uint32_t k = 0; k < n; k++)
        tokens[k] = (int32_t)((k * 2654435761u + i * 40503u) >> 7) & 0xff;
}

void assert_same_answer(const struct listener *a, const struct listener *b)
{
    assert_int_equal(a->n_tokens, b->n_tokens);
    assert_memory_equal(a->tokens, b->tokens, a->n_tokens * sizeof *a->tokens);
    assert_memory_equal(a->logprobs, b->logprobs, a->n_tokens * sizeof *a->logprobs);
}

enum engine_verdict restart_at(struct listener *l, uint32_t n)
{
    if (l->n_tokens == n && !l->n_restarts) {
        l->n_restarts++;
        l->n_tokens = 0;
        return ENGINE_RESTART;
    }
    return ENGINE_CONTINUE;
}
