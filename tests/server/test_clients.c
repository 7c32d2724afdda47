/* The server against raw sockets, over handlers of its own: what happens when clients are slow,
 * many or gone, and when the server begins and ends. */
#include "base/clock.h"
#include "base/log.h"
#include "fixture.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- what waits for whom ---- */

static void large_bodies_hold_up_only_one_another(void **state)
{
    enum { N = 4, SIZE = 2 << 20 };
    struct fixture *f = *state;
    struct http_client c[N];
    for (int i = 0; i < N; i++) {
        char head[128];
        snprintf(head, sizeof head,
                 "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
                 "slow-start 600000 ",
                 SIZE + 18);
        assert_true(http_connect(&c[i], f->port));
        assert_true(http_puts(&c[i], head));
        send_padding(&c[i], SIZE);
    }
    assert_true(becomes(&f->fake.n_blocked, 2)); /* as many as that lane has threads */
    for (int i = 0; i < 5; i++) {
        assert_int_equal(status_of(f, "POST", "/v1/messages/count_tokens", NULL, "12345"), 200);
        assert_int_equal(status_of(f, "GET", "/health", NULL, NULL), 200);
        assert_int_equal(status_of(f, "POST", "/v1/messages", NULL, "whole 0"), 200);
    }
    assert_int_equal(f->fake.n_blocked, 2); /* all that while they were at it */
    f->fake.is_released = true;
    for (int i = 0; i < N; i++) {
        struct http_answer a;
        assert_true(http_read(&c[i], &a, false));
        assert_int_equal(a.status, 200);
        http_answer_deinit(&a);
        http_close(&c[i]);
    }
}

/* More waiting clients than poll() is allowed to look at: time passes all the same, at no cost. */
static void a_watcher_that_cannot_look_goes_on(void **state)
{
    enum { N = 8 };
    struct fixture *f = *state;
    struct http_client c[N];
    struct rlimit before, few;
    for (int i = 0; i < N; i++) {
        assert_true(http_connect(&c[i], f->port));
        assert_true(http_ask(&c[i], "POST", "/v1/messages", NULL, "hang-stream"));
    }
    assert_true(becomes(&f->fake.n_started, N));
    getrlimit(RLIMIT_NOFILE, &before);
    few = (struct rlimit){3, before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &few);
    const int n_ticks = f->fake.n_ticks;
    double used = cpu_seconds();
    usleep(2500000);
    used = cpu_seconds() - used;
    setrlimit(RLIMIT_NOFILE, &before);
    assert_true(f->fake.n_ticks >= n_ticks + N);
    assert_true(used < 1.0); /* the handlers' own threads use some of it */
    for (int i = 0; i < N; i++)
        http_close(&c[i]);
    assert_true(becomes(&f->fake.n_ended, N)); /* and it looks again */
}

/* ---- streams ---- */

static void assert_events(const struct http_answer *a, int n)
{
    struct buf wanted;
    buf_init(&wanted, 1 << 20);
    for (int i = 0; i < n; i++)
        buf_printf(&wanted, "event: e\ndata: {\"n\":%d}\n\n", i);
    assert_string_equal(a->body.data, wanted.data);
    buf_deinit(&wanted);
}

static void a_stream_arrives_as_it_is_made(void **state)
{
    struct http_answer a;
    ask(*state, &a, "POST", "/v1/messages", NULL, "stream 10 30");
    assert_int_equal(a.status, 200);
    assert_string_equal(http_header(&a, "Content-Type"), "text/event-stream; charset=utf-8");
    assert_string_equal(http_header(&a, "Cache-Control"), "no-cache");
    assert_events(&a, 10);
    assert_true(a.n_parts > 1); /* as many as it was made in, where nothing holds the client up */
    assert_true(a.last_ms - a.first_ms > 200);
    http_answer_deinit(&a);
    ask(*state, &a, "POST", "/v1/messages", NULL, "stream 2000 0");
    assert_events(&a, 2000);
    http_answer_deinit(&a);
}

static void a_wake_just_before_sleep_is_not_lost(void **state)
{
    struct http_answer a;
    ask(*state, &a, "POST", "/v1/messages", NULL, "race-stream");
    assert_int_equal(a.body.len, 4 * strlen("event: race\n\n"));
    http_answer_deinit(&a);
    ask(*state, &a, "POST", "/v1/messages", NULL, "race-whole");
    assert_string_equal(a.body.data, "{\"type\":\"race\"}");
    http_answer_deinit(&a);
}

static void waiting_costs_nothing(void **state)
{
    struct fixture *f = *state;
    struct http_client stream, whole;
    assert_true(http_connect(&stream, f->port) && http_connect(&whole, f->port));
    assert_true(http_ask(&stream, "POST", "/v1/messages", NULL, "hang-stream"));
    assert_true(http_ask(&whole, "POST", "/v1/messages", NULL, "hang-whole"));
    assert_true(becomes(&f->fake.n_started, 2));
    double before = cpu_seconds();
    usleep(1000000);
    double used = cpu_seconds() - before; /* the double's own threads use some of it */
    assert_true(used < 0.3);
    http_close(&stream);
    http_close(&whole);
}

static void time_passes_for_waiting_calls(void **state)
{
    struct fixture *f = *state;
    struct http_client c;
    assert_true(http_connect(&c, f->port));
    assert_true(http_ask(&c, "POST", "/v1/messages", NULL, "hang-stream"));
    assert_true(http_wait_for(&c, "event: ping")); /* made by a tick, sent at once */
    assert_true(f->fake.n_ticks >= 1);
    http_close(&c);
}

static void keep_alive_and_pipelining_keep_order(void **state)
{
    struct fixture *f = *state;
    struct http_client c;
    struct http_answer a;
    assert_true(http_connect(&c, f->port));
    assert_true(http_ask(&c, "POST", "/v1/messages", NULL, "stream 3 20"));
    assert_true(http_ask(&c, "GET", "/health", NULL, NULL));
    assert_true(http_ask(&c, "POST", "/v1/messages", NULL, "whole 20"));
    assert_true(http_read(&c, &a, false));
    assert_events(&a, 3);
    http_answer_deinit(&a);
    assert_true(http_read(&c, &a, false));
    assert_string_equal(a.body.data, "{\"status\":\"ok\"}");
    http_answer_deinit(&a);
    assert_true(http_read(&c, &a, false));
    assert_string_equal(a.body.data, "{\"type\":\"message\"}");
    http_answer_deinit(&a);
    http_close(&c);
}

static void a_slow_reader_gets_every_byte_and_hinders_nobody(void **state)
{
    struct fixture *f = *state;
    struct http_client slow;
    struct http_answer a;
    const size_t n = 20 << 20;
    assert_true(http_connect(&slow, f->port));
    assert_true(http_ask(&slow, "POST", "/v1/messages", NULL, "bytes 20971520"));
    usleep(300000); /* its socket is full by now */
    for (int i = 0; i < 5; i++) {
        int64_t before = clock_now_ms();
        assert_int_equal(status_of(f, "POST", "/v1/messages", NULL, "stream 3 1"), 200);
        assert_true(clock_now_ms() - before < HTTP_PATIENCE_MS);
    }
    assert_true(http_read(&slow, &a, false));
    assert_int_equal(a.body.len, n);
    for (size_t i = 0; i < n; i += 4099)
        assert_int_equal(a.body.data[i], 'a' + i % 26);
    http_answer_deinit(&a);
    http_close(&slow);
}

/* A client that does not read stops the reply, whatever it could still say. */
static void a_client_that_does_not_read_bounds_the_reply(void **state)
{
    enum { MOST = 64 << 20 }; /* what the system's own socket buffers may take */
    struct fixture *f = *state;
    struct http_client c;
    assert_true(http_connect(&c, f->port));
    assert_true(http_ask(&c, "POST", "/v1/messages", NULL, "endless"));
    size_t before = 0, now;
    for (int i = 0; i < 100 && (!before || before != now); i++) { /* until it rests */
        before = atomic_load(&f->fake.n_made);
        usleep(200000);
        now = atomic_load(&f->fake.n_made);
        assert_true(now < MOST);
    }
    assert_int_equal(before, now);
    assert_int_equal(status_of(f, "POST", "/v1/messages", NULL, "stream 3 1"), 200);
    assert_int_equal(now, f->fake.n_made);
    http_close(&c);
}

/* ---- clients that leave ---- */

static void a_client_that_leaves_ends_its_call(void **state)
{
    static const char *const bodies[] = {"hang-stream", "hang-whole", "stream 100000 1",
                                         "bytes 20971520", "slow-start 300"};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct http_client c;
        assert_true(http_connect(&c, f->port));
        assert_true(http_ask(&c, "POST", "/v1/messages", NULL, bodies[i]));
        usleep(100000);
        http_close(&c);
        assert_true(becomes(&f->fake.n_started, (int)i + 1));
        assert_true(becomes(&f->fake.n_ended, (int)i + 1));
    }
}

static void a_client_that_resets_ends_its_call(void **state)
{
    struct fixture *f = *state;
    struct http_client c;
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    assert_true(http_connect(&c, f->port));
    assert_true(http_ask(&c, "POST", "/v1/messages", NULL, "hang-whole"));
    assert_true(becomes(&f->fake.n_started, 1));
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    http_close(&c);
    assert_true(becomes(&f->fake.n_ended, 1));
}

/* As nc -N and `printf | nc` do: all is said, and the client reads on. */
static void a_half_closed_request_is_answered(void **state)
{
    static const struct {
        const char *path, *body, *wanted;
    } rows[] = {
        {"/v1/messages", "whole 0", "{\"type\":\"message\"}"},
        {"/v1/messages", "whole 500", "{\"type\":\"message\"}"},
        {"/v1/messages", "slow-start 500", "{\"type\":\"message\"}"},
        {"/v1/messages", "stream 10 50", "\"n\":9"},
        {"/v1/messages", "bytes 3000000", "wxyzabc"},
        {"/v1/messages/count_tokens", "12345", "{\"input_tokens\":5}"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int closes = 0; closes < 2; closes++) {
            struct http_client c;
            struct http_answer a;
            assert_true(http_connect(&c, f->port));
            assert_true(http_ask(&c, "POST", rows[i].path, closes ? "Connection: close\r\n" : NULL,
                                 rows[i].body));
            http_say_no_more(&c);
            assert_true(http_read(&c, &a, false));
            assert_int_equal(a.status, 200);
            assert_non_null(strstr(a.body.data, rows[i].wanted));
            http_answer_deinit(&a);
            assert_true(http_is_closed_soon(&c));
            http_close(&c);
        }
    }
}

static void all_requests_before_a_half_close_are_answered(void **state)
{
    struct fixture *f = *state;
    struct http_client c;
    struct http_answer a;
    assert_true(http_connect(&c, f->port));
    assert_true(http_ask(&c, "POST", "/v1/messages", NULL, "whole 100"));
    assert_true(http_ask(&c, "POST", "/v1/messages", NULL, "stream 3 20"));
    assert_true(http_ask(&c, "GET", "/health", NULL, NULL));
    http_say_no_more(&c);
    for (int i = 0; i < 3; i++) {
        assert_true(http_read(&c, &a, false));
        assert_int_equal(a.status, 200);
        http_answer_deinit(&a);
    }
    http_close(&c);
}

/* First half, then whole: found out by the next sign that it gets. */
static void a_half_closed_client_that_leaves_ends_its_call(void **state)
{
    static const char *const bodies[] = {"hang-whole", "hang-stream"};
    static const char *const signs[] = {"100 Continue\r\n\r\n", ":\n\n"};
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        struct http_client c;
        assert_true(http_connect(&c, f->port));
        assert_true(http_ask(&c, "POST", "/v1/messages", NULL, bodies[i]));
        http_say_no_more(&c);
        assert_true(http_wait_for(&c, signs[i]));
        usleep(300000);
        assert_int_equal(f->fake.n_ended, i);
        http_close(&c);
        assert_true(becomes(&f->fake.n_ended, i + 1));
    }
}

static void a_half_closed_client_costs_nothing(void **state)
{
    struct fixture *f = *state;
    struct http_client c;
    assert_true(http_connect(&c, f->port));
    assert_true(http_ask(&c, "POST", "/v1/messages", NULL, "hang-whole"));
    http_say_no_more(&c);
    assert_true(http_wait_for(&c, "100 Continue\r\n\r\n"));
    double before = cpu_seconds();
    usleep(1000000);
    assert_true(cpu_seconds() - before < 0.3); /* the handler's own thread uses some of it */
    http_close(&c);
}

static void leaving_at_any_moment_loses_nothing(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 200; i++) {
        struct http_client c;
        assert_true(http_connect(&c, f->port));
        assert_true(
            http_ask(&c, "POST", "/v1/messages", NULL, i % 2 ? "stream 1000 1" : "slow-start 1"));
        usleep((useconds_t)(i * 37 % 4000));
        http_close(&c);
    }
    usleep(50000);
    for (int i = 0; i < HTTP_PATIENCE_MS && f->fake.n_started != f->fake.n_ended; i++)
        usleep(1000);
    assert_int_equal(f->fake.n_started, f->fake.n_ended);
    assert_int_equal(status_of(f, "GET", "/health", NULL, NULL), 200);
}

/* ---- many ---- */

static void *one_of_many(void *arg)
{
    struct fixture *f = arg;
    struct http_client c;
    bool ok = http_connect(&c, f->port);
    for (int i = 0; i < 3 && ok; i++) {
        struct http_answer a;
        ok = http_ask(&c, "POST", "/v1/messages", NULL, i % 2 ? "whole 5" : "stream 20 2") &&
             http_read(&c, &a, false) && a.status == 200 &&
             a.body.len == (size_t)(i % 2 ? 18 : 20 * 24 + 10);
        http_answer_deinit(&a);
    }
    http_close(&c);
    return ok ? f : NULL;
}

static void many_connections_all_get_their_answers(void **state)
{
    enum { N = 60 };
    struct fixture *f = *state;
    pthread_t threads[N];
    for (int i = 0; i < N; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, one_of_many, f), 0);
    for (int i = 0; i < N; i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_ptr_equal(result, f);
    }
    assert_int_equal(f->fake.n_started, 3 * N);
}

/* Who keeps a connection for later gives way; who waits for an answer does not. */
static void the_oldest_idle_connection_makes_room(void **state)
{
    enum { MAX = 10, N = 30 };
    struct fixture *f = fixture_with(&(struct server_options){.max_connections = MAX});
    struct http_client busy, idle[N];
    struct http_answer a;
    (void)state;
    assert_true(http_connect(&busy, f->port));
    assert_true(http_ask(&busy, "POST", "/v1/messages", NULL, "stream 10 300"));
    for (int i = 0; i < N; i++)
        assert_true(http_connect(&idle[i], f->port));
    int64_t before = clock_now_ms();
    assert_int_equal(status_of(f, "GET", "/health", NULL, NULL), 200);
    assert_true(clock_now_ms() - before < HTTP_PATIENCE_MS);
    for (int i = 0; i < N - MAX; i++)
        assert_true(http_is_closed_soon(&idle[i]));
    ask_on(&idle[N - 1], &a, "GET", "/health", NULL, NULL); /* the youngest is still there */
    assert_int_equal(a.status, 200);
    http_answer_deinit(&a);
    assert_true(http_read(&busy, &a, false));
    assert_non_null(strstr(a.body.data, "\"n\":9"));
    http_answer_deinit(&a);
    http_close(&busy);
    for (int i = 0; i < N; i++)
        http_close(&idle[i]);
    fixture_end(f);
}

/* ---- the server's beginning and end ---- */

static void a_taken_port_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct error err;
    assert_null(server_create(&no_doors, &(struct server_options){.port = f->port}, &err));
    assert_int_equal(err.code, ERROR_BUSY);
    assert_non_null(strstr(err.message, "is already in use"));
    assert_int_equal(status_of(f, "GET", "/health", NULL, NULL), 200);
}

static void a_freed_port_can_be_taken_at_once(void **state)
{
    struct fixture *f = fixture_with(&(struct server_options){0});
    struct server_options same = {.port = f->port};
    (void)state;
    assert_int_equal(status_of(f, "GET", "/health", NULL, NULL), 200);
    fixture_end(f);
    fixture_end(fixture_with(&same));
}

static void addresses_for_others_need_permission(void **state)
{
    struct error err;
    char url[96];
    (void)state;
    assert_null(server_create(&no_doors, &(struct server_options){.host = "0.0.0.0"}, &err));
    assert_int_equal(err.code, ERROR_USAGE);
    assert_null(
        server_create(&no_doors, &(struct server_options){.host = "no.such.host.invalid"}, &err));
    assert_int_equal(err.code, ERROR_USAGE);
    struct fixture *f =
        fixture_with(&(struct server_options){.host = "0.0.0.0", .allow_remote = true});
    server_url(f->server, url, sizeof url);
    assert_memory_equal(url, "http://127.0.0.1:", 17);
    assert_int_equal(status_of(f, "GET", "/health", NULL, NULL), 200);
    fixture_end(f);
}

static void stopping_ends_running_calls_soon(void **state)
{
    static const char *const bodies[] = {"hang-stream", "hang-whole", "stream 100000 1",
                                         "bytes 20971520", "slow-start 300"};
    enum { N = 20 };
    struct fixture *f = fixture_with(&(struct server_options){0});
    struct http_client c[N];
    (void)state;
    for (int i = 0; i < N; i++) {
        assert_true(http_connect(&c[i], f->port));
        assert_true(http_ask(&c[i], "POST", "/v1/messages", NULL, bodies[i % 5]));
    }
    usleep(100000);
    int64_t before = clock_now_ms();
    fixture_end(f);
    assert_true(clock_now_ms() - before < HTTP_PATIENCE_MS);
    for (int i = 0; i < N; i++) {
        assert_true(http_is_closed_soon(&c[i]));
        http_close(&c[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_server(large_bodies_hold_up_only_one_another),
        with_server(a_watcher_that_cannot_look_goes_on),
        with_server(a_stream_arrives_as_it_is_made),
        with_server(a_wake_just_before_sleep_is_not_lost),
        with_server(waiting_costs_nothing),
        with_server(time_passes_for_waiting_calls),
        with_server(keep_alive_and_pipelining_keep_order),
        with_server(a_slow_reader_gets_every_byte_and_hinders_nobody),
        with_server(a_client_that_does_not_read_bounds_the_reply),
        with_server(a_client_that_leaves_ends_its_call),
        with_server(a_client_that_resets_ends_its_call),
        with_server(a_half_closed_request_is_answered),
        with_server(all_requests_before_a_half_close_are_answered),
        with_server(a_half_closed_client_that_leaves_ends_its_call),
        with_server(a_half_closed_client_costs_nothing),
        with_server(leaving_at_any_moment_loses_nothing),
        with_server(many_connections_all_get_their_answers),
        cmocka_unit_test(the_oldest_idle_connection_makes_room),
        with_server(a_taken_port_is_an_error),
        cmocka_unit_test(a_freed_port_can_be_taken_at_once),
        cmocka_unit_test(addresses_for_others_need_permission),
        cmocka_unit_test(stopping_ends_running_calls_soon),
    };
    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_LEVEL_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
