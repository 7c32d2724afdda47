/* Readers of different speed over a real engine: whoever does not read pauses his own request, at a
 * small bound, and nobody else's; and nothing of it is lost. */
#include "backend/cpu/cpu.h"
#include "base/clock.h"
#include "claude/claude.h"
#include "model/model.h"
#include "speaker.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    STREAM_BYTES = 8 << 10, /* a small model's longest answer is several times that */
    PATIENCE_MS = 120000,
};

struct world {
    struct speaker speaker;
    struct backend *be;
    struct model *model;
    struct engine *engine;
    struct claude *claude;
};

static void world_begin(struct world *w)
{
    const struct engine_options engine_options = {.kv_bytes = 64 << 20};
    const struct claude_options options = {.model_id = "tiny",
                                           .sampling = {.temperature = 1, .top_p = 1},
                                           .stream_bytes = STREAM_BYTES};
    struct error err = {0};
    speaker_open(&w->speaker, speaker_plain);
    w->be = backend_cpu_create(&(struct backend_cpu_options){.n_threads = 1}, &err);
    assert_non_null(w->be);
    w->model = model_create(w->speaker.weights, w->be, NULL, &err);
    assert_non_null(w->model);
    w->engine = engine_create(w->model, w->be, w->speaker.tokenizer, &engine_options, &err);
    if (!w->engine)
        fail_msg("%s", err.message);
    w->claude =
        claude_create(w->engine, w->speaker.tokenizer, w->speaker.chat_template, &options, &err);
    assert_non_null(w->claude);
}

static void world_end(struct world *w)
{
    claude_destroy(w->claude);
    engine_destroy(w->engine);
    model_destroy(w->model);
    w->be->ops->destroy(w->be);
    speaker_close(&w->speaker);
}

/* ---- a client ---- */

struct client {
    struct claude_call *call;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned n_wakes;
    struct buf got;
};

static void on_wake(void *context)
{
    struct client *c = context;
    pthread_mutex_lock(&c->lock);
    c->n_wakes++;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static void ask(struct world *w, struct client *c)
{
    static const char body[] = "{\"model\":\"m\",\"max_tokens\":500,\"stream\":true,"
                               "\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}";
    struct error err = {0};
    *c = (struct client){0};
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    buf_init(&c->got, 1 << 24);
    c->call = claude_call_start(w->claude, body, sizeof body - 1, "req", on_wake, c, &err);
    if (!c->call)
        fail_msg("%s", err.message);
}

static void forget(struct client *c)
{
    claude_call_end(c->call);
    buf_deinit(&c->got);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
}

/* Waits until it is woken again, or for a tenth of a second. */
static void wait_for_news(struct client *c, unsigned n_seen)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&c->lock);
    if (c->n_wakes == n_seen)
        pthread_cond_timedwait(&c->changed, &c->lock, &until);
    pthread_mutex_unlock(&c->lock);
}

static void read_to_the_end(struct client *c)
{
    const int64_t deadline = clock_now_ms() + PATIENCE_MS;
    for (bool is_done = false; !is_done;) {
        char bytes[512];
        size_t n;
        unsigned n_seen = c->n_wakes;
        is_done = claude_call_done(c->call);
        while ((n = claude_call_read(c->call, bytes, sizeof bytes)) > 0)
            buf_append(&c->got, bytes, n);
        assert_true(clock_now_ms() < deadline);
        if (!is_done)
            wait_for_news(c, n_seen);
    }
    buf_putc(&c->got, 0);
}

static uint32_t n_generated(const struct client *c)
{
    struct engine_usage usage;
    claude_call_usage(c->call, &usage);
    return usage.n_generated;
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;
    for (; (text = strstr(text, what)); text++)
        n++;
    return n;
}

/* Until a request waits for its reader. False: the answer was too short for that. */
static bool wait_until_it_waits(struct world *w, struct client *c)
{
    const int64_t deadline = clock_now_ms() + PATIENCE_MS;
    for (;;) {
        struct engine_stats stats;
        engine_stats(w->engine, &stats);
        if (stats.n_waiting || claude_call_done(c->call))
            return stats.n_waiting;
        assert_true(clock_now_ms() < deadline);
        wait_for_news(c, c->n_wakes);
    }
}

/* Answers of random weights may end early: until one is long enough. */
static void ask_until_it_waits(struct world *w, struct client *c)
{
    ask(w, c);
    for (int i = 0; !wait_until_it_waits(w, c); i++) {
        assert_true(i < 1000);
        forget(c);
        ask(w, c);
    }
}

static void check_whole(const struct client *c)
{
    assert_int_equal(count(c->got.data, "event: message_start"), 1);
    assert_int_equal(count(c->got.data, "event: message_stop"), 1);
    assert_int_equal(count(c->got.data, "event: error"), 0);
}

static void test_a_slow_reader(void **state)
{
    struct world w;
    struct client slow, quick;
    (void)state;
    world_begin(&w);
    ask_until_it_waits(&w, &slow);
    const uint32_t n_before = n_generated(&slow);
    assert_true(n_before > 0 && n_before < 500);
    /* others are served, whole, while this one stays where it is */
    for (int i = 0; i < 3; i++) {
        ask(&w, &quick);
        read_to_the_end(&quick);
        check_whole(&quick);
        forget(&quick);
    }
    assert_false(claude_call_done(slow.call));
    assert_int_equal(n_generated(&slow), n_before);
    /* and when it is read, it goes on to its end */
    read_to_the_end(&slow);
    check_whole(&slow);
    assert_true(slow.got.len > STREAM_BYTES);
    assert_true(n_generated(&slow) >= n_before);
    forget(&slow);
    world_end(&w);
}

/* One that waits can be given up. */
static void test_a_reader_that_goes(void **state)
{
    struct world w;
    struct client slow, quick;
    (void)state;
    world_begin(&w);
    ask_until_it_waits(&w, &slow);
    forget(&slow);
    ask(&w, &quick);
    read_to_the_end(&quick);
    check_whole(&quick);
    forget(&quick);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_slow_reader),
        cmocka_unit_test(test_a_reader_that_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
