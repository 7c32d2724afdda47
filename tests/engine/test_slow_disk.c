/* A disk that takes its time holds up nobody: answers end, streams go on, and who needs its pages waits in the queue. */
#include "gate.h"
#include "support/temp_folder.h"
#include "world.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct engine_bias never_ends = {TINY_END, -INFINITY};

static struct engine_request ask_for_all(struct listener *l, const int32_t *tokens, size_t n,
                                         uint32_t max_tokens)
{
    struct engine_request request = ask(l, tokens, n, max_tokens);
    request.biases = &never_ends;
    request.n_biases = 1;
    return request;
}

static void remember_answer(struct listener *l)
{
    const uint64_t identity[2] = {(uint64_t)l->ticket, 1};
    engine_remember(l->engine, 0, identity, l->tokens, l->n_tokens);
}

static void assert_recalled(struct world *w, const struct listener *l)
{
    const uint64_t identity[2] = {(uint64_t)l->ticket, 1};
    size_t n = 0;
    int32_t *tokens = engine_recall(w->engine, 0, identity, &n);
    assert_int_equal(n, l->n_tokens);
    assert_memory_equal(tokens, l->tokens, n * sizeof *tokens);
    free(tokens);
}

static void answers_end_while_the_disk_is_busy(void **state)
{
    (void)state;
    enum { N = 3 };
    static struct listener l[N];
    int32_t tokens[200];
    struct world w;
    world_begin(&w, &(struct engine_options){.disk_folder = temp_folder}, 1);
    gate_close();
    for (uint32_t i = 0; i < N; i++) {
        listener_init(&l[i]);
        l[i].engine = w.engine;
        l[i].ticket = i + 1;
        l[i].finished = remember_answer;
        prompt(tokens, 200, i);
        const struct engine_request request = ask_for_all(&l[i], tokens, 200, 20);
        submit(&w, &request);
        wait_until_ended(&l[i]);
        assert_recalled(&w, &l[i]);
    }
    gate_wait_for_one();
    assert_false(gate_has_given_up());
    gate_open();
    world_end(&w);

    world_begin(&w, &(struct engine_options){.disk_folder = temp_folder}, 1);
    for (uint32_t i = 0; i < N; i++)
        assert_recalled(&w, &l[i]);
    static struct listener again;
    run(&w, &again, tokens, 200, 20); /* and its pages were written */
    const uint32_t n_whole = 219 / BACKEND_PAGE_TOKENS * BACKEND_PAGE_TOKENS;
    assert_int_equal(again.n_cached, n_whole < 199 ? n_whole : 199);
    world_end(&w);
}

/* Of a pool of 16 pages (of 64 tokens) four are being written. What needs nine cannot begin beside a stream that has
 * five. */
struct crowd {
    struct world world;
    struct listener written, stream, waiting;
    int32_t tokens[TINY_CONTEXT];
};

static void crowd_begin(struct crowd *c, uint32_t first)
{
    const struct engine_options options = {.disk_folder = temp_folder,
                                           .kv_bytes = world_kv_bytes(16 * 64)};
    world_begin(&c->world, &options, 1);
    gate_close();
    prompt(c->tokens, TINY_CONTEXT, first);
    run(&c->world, &c->written, c->tokens, 257, 1);
    gate_wait_for_one();
    listener_init(&c->stream);
    listener_init(&c->waiting);
}

static uint64_t crowd_add_long(struct crowd *c)
{
    prompt(c->tokens, TINY_CONTEXT, 2);
    const struct engine_request request = ask_for_all(&c->waiting, c->tokens, 500, 20);
    return submit(&c->world, &request);
}

static void crowd_end(struct crowd *c)
{
    gate_open();
    world_end(&c->world);
}

static void streams_go_on_while_a_prompt_waits_for_the_disk(void **state)
{
    (void)state;
    static struct crowd c, calm;
    crowd_begin(&c, 10);
    prompt(c.tokens, TINY_CONTEXT, 3);
    c.stream.slow_us = 1000; /* it must not end before all this was seen */
    const struct engine_request request = ask_for_all(&c.stream, c.tokens, 5, 500);
    const uint64_t stream = submit(&c.world, &request);
    wait_for_tokens(&c.stream, 3);
    crowd_add_long(&c);
    const uint32_t n_before = c.stream.n_tokens;
    wait_for_tokens(&c.stream, n_before + 50);
    assert_false(gate_has_given_up());
    assert_false(has_ended(&c.stream));
    assert_int_equal(c.waiting.n_started, 0); /* and it did wait */
    gate_open();
    wait_until_ended(&c.waiting);
    assert_int_equal(c.waiting.n_finished, 1);
    engine_cancel(c.world.engine, stream);
    wait_until_ended(&c.stream);
    crowd_end(&c);

    crowd_begin(&calm, 11); /* nothing runs: it begins when the disk is ready */
    gate_open();
    crowd_add_long(&calm);
    wait_until_ended(&calm.waiting);
    assert_same_answer(&calm.waiting, &c.waiting);
    crowd_end(&calm);
}

static void who_waits_for_the_disk_can_be_cancelled(void **state)
{
    (void)state;
    static struct crowd c;
    static struct listener next;
    crowd_begin(&c, 10);
    prompt(c.tokens, TINY_CONTEXT, 3);
    struct engine_request request = ask_for_all(&c.stream, c.tokens, 400, 20);
    listener_init(&next);
    const uint64_t ticket = submit(&c.world, &request);
    wait_until_ended(&c.stream); /* six pages more to be written */
    const uint64_t long_one = crowd_add_long(&c);
    request = ask_for_all(&next, c.tokens, 5, 3);
    const uint64_t queued = submit(&c.world, &request);
    usleep(20000);
    assert_int_equal(c.waiting.n_started, 0);
    engine_cancel(c.world.engine, queued);
    wait_until_ended(&next);
    engine_cancel(c.world.engine, ticket); /* gone */
    engine_cancel(c.world.engine, long_one);
    wait_until_ended(&c.waiting);
    assert_int_equal(c.waiting.err.code, ERROR_CANCELLED);
    run(&c.world, &next, c.tokens, 5, 3); /* there is room for a small one */
    assert_int_equal(next.n_finished, 1);
    assert_false(gate_has_given_up());
    crowd_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_TEMP_FOLDER(answers_end_while_the_disk_is_busy),
        TEST_IN_TEMP_FOLDER(streams_go_on_while_a_prompt_waits_for_the_disk),
        TEST_IN_TEMP_FOLDER(who_waits_for_the_disk_can_be_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
