/* The server against raw sockets, over handlers of its own: what is routed, refused, answered and
 * limited. */
#include "base/clock.h"
#include "base/log.h"
#include "fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- routes and refusals ---- */

static void every_route_answers(void **state)
{
    struct fixture *f = *state;
    struct http_answer a;
    ask(f, &a, "GET", "/health", NULL, NULL);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body.data, "{\"status\":\"ok\"}");
    assert_string_equal(http_header(&a, "Content-Type"), "application/json");
    http_answer_deinit(&a);
    ask(f, &a, "POST", "/v1/messages/count_tokens?beta=true", NULL, "12345");
    assert_string_equal(a.body.data, "{\"input_tokens\":5}");
    http_answer_deinit(&a);
    ask(f, &a, "POST", "/v1/messages?beta=true", NULL, "whole 20");
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body.data, "{\"type\":\"message\"}");
    http_answer_deinit(&a);
    ask(f, &a, "GET", "/v1/models/org%2Fknown%20model", NULL, NULL);
    assert_string_equal(a.body.data, "{\"id\":\"known\"}");
    http_answer_deinit(&a);
    assert_int_equal(status_of(f, "HEAD", "/", NULL, NULL), 200);
    assert_int_equal(status_of(f, "GET", "/", NULL, NULL), 200);
    assert_int_equal(status_of(f, "GET", "/v1/models", NULL, NULL), 200);
}

static void errors_have_the_shape_of_their_api(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "GET", "/nothing", NULL, NULL, 404);
    assert_refused(f, "POST", "/v1/messages/", NULL, "x", 404);
    assert_refused(f, "PUT", "/v1/messages", NULL, "x", 405);
    assert_refused(f, "DELETE", "/v1/models/x", NULL, NULL, 405);
    assert_refused(f, "POST", "/v1/messages", "Content-Encoding: gzip\r\n", "x", 415);
    assert_int_equal(status_of(f, "POST", "/v1/messages", NULL, "nonsense"), 400);
    assert_int_equal(status_of(f, "POST", "/v1/messages", NULL, ""), 400);
    assert_int_equal(status_of(f, "POST", "/v1/messages", NULL, "fail"), 500);
    assert_int_equal(status_of(f, "GET", "/v1/models/unknown", NULL, NULL), 404);
    struct http_answer a;
    ask(f, &a, "GET", "/v1/messages", NULL, NULL);
    assert_int_equal(a.status, 405);
    assert_string_equal(http_header(&a, "Allow"), "POST, OPTIONS");
    http_answer_deinit(&a);
}

static void request_ids_differ(void **state)
{
    struct http_answer a, b;
    char first[64];
    ask(*state, &a, "GET", "/health", NULL, NULL);
    snprintf(first, sizeof first, "%s", http_header(&a, "request-id"));
    ask(*state, &b, "GET", "/health", NULL, NULL);
    assert_string_not_equal(first, http_header(&b, "request-id"));
    http_answer_deinit(&a);
    http_answer_deinit(&b);
}

static void foreign_pages_are_refused(void **state)
{
    struct fixture *f = *state;
    struct http_client c;
    struct http_answer a;
    assert_refused(f, "POST", "/v1/messages", "Origin: https://evil.example\r\n", "whole 0", 403);
    assert_refused(f, "GET", "/health", "Origin: null\r\n", NULL, 403);
    assert_int_equal(status_of(f, "GET", "/health", "Origin: http://localhost:3000\r\n", NULL),
                     200);
    assert_true(http_connect(&c, f->port));
    assert_true(http_puts(&c, "GET /health HTTP/1.1\r\nHost: rebound.example:8000\r\n\r\n"));
    assert_true(http_read(&c, &a, false));
    assert_int_equal(a.status, 403);
    http_answer_deinit(&a);
    http_close(&c);
    assert_int_equal(f->fake.n_started, 0);
}

/* ---- pages of programs (CORS) ---- */

#define FROM_APP "Origin: app://obsidian.md\r\n"

static void assert_readable_by_app(const struct http_answer *a)
{
    assert_non_null(http_header(a, "Access-Control-Allow-Origin"));
    assert_string_equal(http_header(a, "Access-Control-Allow-Origin"), "app://obsidian.md");
    assert_string_equal(http_header(a, "Access-Control-Expose-Headers"), "*");
    assert_string_equal(http_header(a, "Vary"), "Origin");
}

static void a_page_may_read_whatever_it_is_answered(void **state)
{
    static const struct {
        const char *method, *path, *body;
        int status;
    } rows[] = {
        {"POST", "/v1/messages", "whole 0", 200},
        {"POST", "/v1/messages", "stream 3 1", 200},
        {"POST", "/v1/messages", "nonsense", 400},
        {"GET", "/health", NULL, 200},
        {"GET", "/nothing", NULL, 404},
        {"GET", "/v1/messages", NULL, 405},
    };
    struct http_answer a;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ask(*state, &a, rows[i].method, rows[i].path, FROM_APP, rows[i].body);
        assert_int_equal(a.status, rows[i].status);
        assert_readable_by_app(&a);
        http_answer_deinit(&a);
        ask(*state, &a, rows[i].method, rows[i].path, NULL, rows[i].body);
        assert_null(http_header(&a, "Access-Control-Allow-Origin"));
        assert_string_equal(http_header(&a, "Vary"), "Origin"); /* a cache must know */
        http_answer_deinit(&a);
    }
    ask(*state, &a, "GET", "/health", "Origin: https://evil.example\r\n", NULL);
    assert_int_equal(a.status, 403);
    assert_null(http_header(&a, "Access-Control-Allow-Origin"));
    http_answer_deinit(&a);
}

static void a_browser_that_asks_first_is_answered(void **state)
{
    static const char more[] =
        FROM_APP "Access-Control-Request-Method: POST\r\n"
                 "Access-Control-Request-Headers: content-type,x-api-key,anthropic-version\r\n"
                 "Access-Control-Request-Private-Network: true\r\n";
    struct fixture *f = *state;
    struct http_client c;
    struct http_answer a;
    assert_true(http_connect(&c, f->port));
    for (int i = 0; i < 2; i++) { /* the connection stays of use */
        assert_true(http_ask(&c, "OPTIONS", "/v1/messages?beta=true", more, NULL));
        assert_true(http_read(&c, &a, true)); /* 204: no body */
        assert_int_equal(a.status, 204);
        assert_readable_by_app(&a);
        assert_string_equal(http_header(&a, "Access-Control-Allow-Methods"), "POST, OPTIONS");
        assert_string_equal(http_header(&a, "Access-Control-Allow-Headers"),
                            "content-type,x-api-key,anthropic-version");
        assert_string_equal(http_header(&a, "Access-Control-Allow-Private-Network"), "true");
        assert_string_equal(http_header(&a, "Access-Control-Max-Age"), "600");
        http_answer_deinit(&a);
    }
    assert_true(http_ask(&c, "OPTIONS", "/health", NULL, NULL));
    assert_true(http_read(&c, &a, true));
    assert_int_equal(a.status, 204);
    assert_string_equal(http_header(&a, "Allow"), "GET, HEAD, OPTIONS");
    assert_null(http_header(&a, "Access-Control-Allow-Methods"));
    http_answer_deinit(&a);
    http_close(&c);
    assert_int_equal(status_of(f, "OPTIONS", "/nothing", more, NULL), 404);
    assert_int_equal(status_of(f, "OPTIONS", "/v1/messages",
                               "Origin: https://evil.example\r\n"
                               "Access-Control-Request-Method: POST\r\n",
                               NULL),
                     403);
}

/* ---- what is not HTTP ---- */

static int raw_status(struct fixture *f, const char *text, bool has_shape)
{
    struct http_client c;
    struct http_answer a;
    assert_true(http_connect(&c, f->port));
    assert_true(http_puts(&c, text));
    if (!http_read(&c, &a, false))
        fail_msg("no answer to %s", text);
    int status = a.status;
    if (has_shape && (!strstr(a.body.data, "{\"api\":\"") || !http_header(&a, "request-id") ||
                      strcmp(http_header(&a, "Content-Type"), "application/json")))
        fail_msg("to %s: %s%s", text, a.head.data, a.body.data);
    http_answer_deinit(&a);
    if (has_shape)
        assert_true(http_is_closed_soon(&c));
    http_close(&c);
    return status;
}

static void what_is_not_http_is_refused_in_shape(void **state)
{
#define POST "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
    static const struct {
        int status;
        const char *text;
    } rows[] = {
        {400, POST "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"},
        {400, POST "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"},
        {400, POST "Content-Length: -1\r\n\r\n"},
        {400, POST "Content-Length: 2x\r\n\r\n{}"},
        {400, POST "Content-Length: \r\n\r\n"},
        {413, POST "Content-Length: 99999999999999999999999\r\n\r\n"},
        {400, POST "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
        {400, POST "Transfer-Encoding: gzip\r\n\r\n"},
        {400, POST "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"},
        {400, POST "Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx"},
        {400, POST "Host: other\r\nContent-Length: 0\r\n\r\n"},
        {400, POST "no header\r\n\r\n"},
        {505, "GET /health HTTP/2.0\r\n\r\n"},
        {400, "GET /health HTTX/1.1\r\n\r\n"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(raw_status(f, rows[i].text, true), rows[i].status);
    assert_int_equal(f->fake.n_started, 0);
    assert_int_equal(status_of(f, "GET", "/health", NULL, NULL), 200);
}

/* Beside idle connections and running requests, too: the right one is answered. */
static void a_refusal_hits_the_right_connection(void **state)
{
    struct fixture *f = *state;
    struct http_client idle[3], busy, upload;
    struct http_answer a;
    for (int i = 0; i < 3; i++) {
        assert_true(http_connect(&idle[i], f->port));
        ask_on(&idle[i], &a, "GET", "/health", NULL, NULL);
        http_answer_deinit(&a);
    }
    assert_true(http_connect(&busy, f->port) && http_connect(&upload, f->port));
    assert_true(http_ask(&busy, "POST", "/v1/messages", NULL, "hang-stream"));
    assert_true(http_puts(&upload, POST "Content-Length: 7\r\n\r\nwhol"));
    assert_true(http_wait_for(&busy, "event: ping")); /* both are on their way */
    usleep(2500000);
    assert_int_equal(raw_status(f, POST "Content-Length: -1\r\n\r\n", true), 400);
    assert_int_equal(raw_status(f, "GET /health HTTP/2.0\r\n\r\n", true), 505);
    assert_int_equal(raw_status(f, POST "no header\r\n\r\n", true), 400);
    assert_true(http_puts(&upload, "e 0"));
    assert_true(http_read(&upload, &a, false));
    assert_int_equal(a.status, 200);
    http_answer_deinit(&a);
    buf_clear(&busy.in);
    assert_true(http_wait_for(&busy, "event: ping")); /* it goes on */
    for (int i = 0; i < 3; i++) {
        ask_on(&idle[i], &a, "GET", "/health", NULL, NULL);
        assert_int_equal(a.status, 200);
        http_answer_deinit(&a);
        http_close(&idle[i]);
    }
    http_close(&busy);
    http_close(&upload);
}

static void large_heads_are_refused_in_shape(void **state)
{
    enum { N = 100000 };
    struct fixture *f = *state;
    static char text[N + 100];
    int n = sprintf(text, "GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: ");
    memset(text + n, 'a', N);
    strcpy(text + n + N, "\r\n\r\n");
    struct http_client c;
    struct http_answer a;
    assert_true(http_connect(&c, f->port));
    http_puts(&c, text);            /* the end of it is not read */
    if (http_read(&c, &a, false)) { /* or the reset came before the answer was taken */
        assert_int_equal(a.status, 431);
        assert_non_null(strstr(a.body.data, "{\"api\":\"plain\",\"status\":431"));
    }
    http_answer_deinit(&a);
    http_close(&c);
    assert_int_equal(status_of(f, "GET", "/health", NULL, NULL), 200);
}

static void a_target_may_be_a_whole_address(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(raw_status(f,
                                "GET http://localhost/health HTTP/1.1\r\n"
                                "Host: localhost\r\n\r\n",
                                false),
                     200);
    assert_int_equal(raw_status(f,
                                "GET http://127.0.0.1:8000/v1/models/org%2Fknown%20model?x=y "
                                "HTTP/1.1\r\nHost: rebound.example\r\n\r\n",
                                false),
                     200);
    assert_int_equal(
        raw_status(f, "GET HTTP://localhost HTTP/1.1\r\nHost: localhost\r\n\r\n", false), 200);
    assert_int_equal(raw_status(f,
                                "GET http://rebound.example/health HTTP/1.1\r\n"
                                "Host: localhost\r\n\r\n",
                                false),
                     403);
    assert_int_equal(raw_status(f, "GET http:///health HTTP/1.1\r\nHost: localhost\r\n\r\n", false),
                     400);
#undef POST
}

/* ---- handlers and their replies ---- */

static void handlers_read_and_set_what_they_like(void **state)
{
    struct http_answer a;
    ask(*state, &a, "GET", "/echo/a%20b?x=%41&y", "X-Some-Header: blue\r\n", NULL);
    assert_string_equal(a.body.data, "GET /echo/a b rest=a b query=x=%41&y header=blue");
    http_answer_deinit(&a);
    ask(*state, &a, "POST", "/v1/messages", NULL, "whole 0");
    assert_string_equal(http_header(&a, "X-Fake"), "1");
    http_answer_deinit(&a);
}

static void a_handler_says_who_may_call_it(void **state)
{
    struct fixture *f = *state;
    struct http_answer a;
    assert_refused(f, "POST", "/other/locked", NULL, "x", 401);
    assert_refused(f, "POST", "/other/locked", "X-Api-Key: guess\r\n", "x", 401);
    assert_int_equal(status_of(f, "POST", "/other/locked", "X-Api-Key: sesame\r\n", "x"), 200);
    assert_refused(f, "GET", "/other/nothing", NULL, NULL, 404);
    ask(f, &a, "GET", "/other/nothing", NULL, NULL); /* headers of the API's own */
    assert_string_equal(http_header(&a, "X-Should-Retry"), "false");
    http_answer_deinit(&a);
}

static void a_file_is_answered_by_one_row(void **state)
{
    enum { N = 300000 };
    char path[] = "/tmp/pensieve-file-XXXXXX", url[64];
    char *wanted = malloc(N);
    struct http_answer a;
    int fd = mkstemp(path);
    for (int i = 0; i < N; i++)
        wanted[i] = (char)(i * 31 % 251);
    assert_int_equal(write(fd, wanted, N), N);
    close(fd);
    snprintf(url, sizeof url, "/file/%s", path);
    ask(*state, &a, "GET", url, NULL, NULL);
    assert_int_equal(a.status, 200);
    assert_string_equal(http_header(&a, "Content-Length"), "300000");
    assert_string_equal(http_header(&a, "Content-Type"), "text/plain");
    assert_int_equal(a.body.len, N);
    assert_memory_equal(a.body.data, wanted, N);
    http_answer_deinit(&a);
    ask(*state, &a, "HEAD", url, NULL, NULL);
    assert_string_equal(http_header(&a, "Content-Length"), "300000");
    http_answer_deinit(&a);
    truncate(path, 0);
    ask(*state, &a, "GET", url, NULL, NULL);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body.len, 0);
    http_answer_deinit(&a);
    unlink(path);
    assert_int_equal(status_of(*state, "GET", url, NULL, NULL), 404);
    assert_int_equal(status_of(*state, "GET", "/file//tmp", NULL, NULL), 404);
    free(wanted);
}

static void a_reply_that_fails_is_seen_to(void **state)
{
    struct fixture *f = *state;
    struct http_client c;
    struct http_answer a;
    assert_refused(f, "POST", "/v1/messages", NULL, "break 0", 500);
    assert_true(http_connect(&c, f->port));
    assert_true(http_ask(&c, "POST", "/v1/messages", NULL, "break 100000"));
    assert_false(http_read(&c, &a, false)); /* no last chunk */
    http_answer_deinit(&a);
    http_close(&c);
}

/* Whatever one reply does, the others and those without work go on. */
static void a_slow_reply_holds_up_only_itself(void **state)
{
    enum { N = 5 };
    static const char *const operations[] = {"start", "head", "read", "usage", "end"};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        struct http_client slow;
        char body[32];
        snprintf(body, sizeof body, "slow-%s 600000", operations[i]);
        f->fake.is_released = false;
        assert_true(http_connect(&slow, f->port));
        assert_true(http_ask(&slow, "POST", "/v1/messages", NULL, body));
        assert_true(becomes(&f->fake.n_blocked, 1));
        for (int k = 0; k < N; k++) {
            assert_int_equal(status_of(f, "GET", "/health", NULL, NULL), 200);
            assert_int_equal(status_of(f, "POST", "/v1/messages", NULL, "stream 3 1"), 200);
        }
        assert_int_equal(f->fake.n_blocked, 1); /* all of that while it was blocked */
        http_close(&slow);
        f->fake.is_released = true;
        assert_true(becomes(&f->fake.n_ended, (int)(i + 1) * (1 + N)));
    }
}

static void a_slow_tick_holds_up_only_itself(void **state)
{
    struct fixture *f = *state;
    struct http_client slow, other;
    assert_true(http_connect(&slow, f->port) && http_connect(&other, f->port));
    assert_true(http_ask(&slow, "POST", "/v1/messages", NULL, "hang-slow-tick 600000"));
    assert_true(becomes(&f->fake.n_blocked, 1));
    assert_true(http_ask(&other, "POST", "/v1/messages", NULL, "hang-stream"));
    assert_true(http_wait_for(&other, "event: ping")); /* its own tick comes */
    assert_int_equal(status_of(f, "GET", "/health", NULL, NULL), 200);
    assert_int_equal(f->fake.n_blocked, 1);
    f->fake.is_released = true;
    http_close(&slow);
    http_close(&other);
}

/* ---- bodies ---- */

static void chunked_bodies_and_expect_work(void **state)
{
    struct fixture *f = *state;
    struct http_client c;
    struct http_answer a;
    assert_true(http_connect(&c, f->port));
    assert_true(http_puts(&c,
                          "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
                          "Transfer-Encoding: chunked\r\n\r\n4\r\nwhol\r\n3\r\ne 0\r\n0\r\n\r\n"));
    assert_true(http_read(&c, &a, false));
    assert_int_equal(a.status, 200);
    http_answer_deinit(&a);
    assert_true(http_puts(&c, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
                              "Content-Length: 7\r\nExpect: 100-continue\r\n\r\n"));
    assert_true(http_wait_for(&c, "100 Continue\r\n\r\n"));
    buf_clear(&c.in);
    assert_true(http_puts(&c, "whole 0"));
    assert_true(http_read(&c, &a, false));
    assert_int_equal(a.status, 200);
    http_answer_deinit(&a);
    http_close(&c);
}

static void too_large_bodies_are_read_and_refused(void **state)
{
    struct fixture *f = fixture_with(&(struct server_options){.max_body_bytes = 100000});
    struct http_client c;
    struct http_answer a;
    (void)state;
    assert_true(http_connect(&c, f->port));
    for (int i = 0; i < 2; i++) { /* the connection stays of use */
        assert_true(http_puts(&c, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
                                  "Content-Length: 300000\r\n\r\n"));
        send_padding(&c, 300000);
        assert_true(http_read(&c, &a, false));
        assert_int_equal(a.status, 413);
        assert_non_null(strstr(a.body.data, "\"status\":413"));
        assert_non_null(strstr(a.body.data, "100000 bytes"));
        http_answer_deinit(&a);
    }
    assert_true(http_puts(&c, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
                              "Transfer-Encoding: chunked\r\n\r\n30d40\r\n"));
    send_padding(&c, 200000);
    assert_true(http_puts(&c, "\r\n0\r\n\r\n"));
    assert_true(http_read(&c, &a, false));
    assert_int_equal(a.status, 413);
    http_answer_deinit(&a);
    assert_true(
        http_puts(&c, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                      "Content-Length: 300000\r\n\r\n"));
    assert_true(http_read(&c, &a, false));
    assert_int_equal(a.status, 413); /* and no "100 Continue" before it */
    http_answer_deinit(&a);
    http_close(&c);
    assert_int_equal(f->fake.n_started, 0);
    fixture_end(f);
}

static void an_endless_body_is_cut(void **state)
{
    struct fixture *f = fixture_with(&(struct server_options){.max_body_bytes = 100000});
    struct http_client c;
    (void)state;
    assert_true(http_connect(&c, f->port));
    assert_true(http_puts(&c, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
                              "Transfer-Encoding: chunked\r\n\r\nfffffff\r\n"));
    send_padding(&c, 2000000);
    assert_true(http_is_closed_soon(&c));
    http_close(&c);
    fixture_end(f);
}

static void the_largest_body_arrives_whole(void **state)
{
    struct fixture *f = fixture_with(&(struct server_options){.max_body_bytes = 3000000});
    struct http_client c;
    struct http_answer a;
    (void)state;
    assert_true(http_connect(&c, f->port));
    assert_true(http_puts(&c, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
                              "Content-Length: 3000000\r\n\r\nwhole 0 "));
    send_padding(&c, 3000000 - 8);
    assert_true(http_read(&c, &a, false));
    assert_int_equal(a.status, 200);
    assert_int_equal(f->fake.n_body_bytes, 3000000);
    http_answer_deinit(&a);
    http_close(&c);
    fixture_end(f);
}

static void bodies_on_their_way_in_share_a_budget(void **state)
{
    struct fixture *f = fixture_with(
        &(struct server_options){.max_body_bytes = 100000, .max_all_bodies_bytes = 150000});
    struct http_client first, second;
    struct http_answer a;
    (void)state;
    assert_true(http_connect(&first, f->port) && http_connect(&second, f->port));
    assert_true(http_puts(&first, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
                                  "Content-Length: 100000\r\n\r\nwhole 0 "));
    send_padding(&first, 100000 - 9); /* all but one byte */
    usleep(200000);
    assert_true(http_puts(&second, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
                                   "Content-Length: 100000\r\n\r\nwhole 0 "));
    send_padding(&second, 100000 - 8);
    assert_true(http_read(&second, &a, false));
    assert_int_equal(a.status, 529);
    assert_non_null(strstr(a.body.data, "\"status\":529"));
    http_answer_deinit(&a);
    assert_true(http_puts(&first, "x"));
    assert_true(http_read(&first, &a, false));
    assert_int_equal(a.status, 200);
    http_answer_deinit(&a);
    ask_on(&second, &a, "POST", "/v1/messages", NULL, "whole 0"); /* the room is free again */
    assert_int_equal(a.status, 200);
    http_answer_deinit(&a);
    http_close(&first);
    http_close(&second);
    fixture_end(f);
}

static void slow_heads_and_bodies_are_cut(void **state)
{
    struct fixture *f = fixture_with(&(struct server_options){.idle_ms = 1000, .body_ms = 1000});
    struct http_client idle, head, body, busy;
    struct http_answer a;
    (void)state;
    assert_true(http_connect(&idle, f->port) && http_connect(&head, f->port) &&
                http_connect(&body, f->port) && http_connect(&busy, f->port));
    assert_true(http_ask(&busy, "POST", "/v1/messages", NULL, "stream 4 1000"));
    assert_true(http_puts(&body, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
                                 "Content-Length: 100\r\n\r\n"));
    assert_true(http_puts(&head, "GET /health HTTP/1.1\r\n"));
    for (int i = 0; i < 10; i++) { /* dripping does not help */
        http_puts(&head, "A: b\r\n");
        http_puts(&body, "x");
        usleep(100000);
    }
    assert_true(http_is_closed_soon(&idle));
    assert_true(http_is_closed_soon(&head));
    assert_true(http_wait_for(&body, "\"status\":408"));
    assert_true(http_is_closed_soon(&body));
    assert_true(http_read(&busy, &a, false)); /* an answer is not cut */
    assert_non_null(strstr(a.body.data, "\"n\":3"));
    http_answer_deinit(&a);
    http_close(&idle);
    http_close(&head);
    http_close(&body);
    http_close(&busy);
    fixture_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_server(every_route_answers),
        with_server(errors_have_the_shape_of_their_api),
        with_server(request_ids_differ),
        with_server(foreign_pages_are_refused),
        with_server(a_page_may_read_whatever_it_is_answered),
        with_server(a_browser_that_asks_first_is_answered),
        with_server(what_is_not_http_is_refused_in_shape),
        with_server(a_refusal_hits_the_right_connection),
        with_server(large_heads_are_refused_in_shape),
        with_server(a_target_may_be_a_whole_address),
        with_server(handlers_read_and_set_what_they_like),
        with_server(a_handler_says_who_may_call_it),
        with_server(a_file_is_answered_by_one_row),
        with_server(a_reply_that_fails_is_seen_to),
        with_server(a_slow_reply_holds_up_only_itself),
        with_server(a_slow_tick_holds_up_only_itself),
        with_server(chunked_bodies_and_expect_work),
        cmocka_unit_test(too_large_bodies_are_read_and_refused),
        cmocka_unit_test(an_endless_body_is_cut),
        cmocka_unit_test(the_largest_body_arrives_whole),
        cmocka_unit_test(bodies_on_their_way_in_share_a_budget),
        cmocka_unit_test(slow_heads_and_bodies_are_cut),
    };
    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_LEVEL_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
