/* The server against raw sockets, over handlers of its own: what is routed, refused, streamed,
 * limited, and what happens when clients are slow, many or gone. */
#include "base/clock.h"
#include "base/log.h"
#include "fake_handlers.h"
#include "http_client.h"
#include "server/guard.h"
#include "server/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct fake fake;
    struct handler_table table;
    struct server *server;
    uint16_t port;
};

static const struct server_doors no_doors = {NULL, 0, fake_apis, 1};

static struct fixture *fixture_with(const struct server_options *options)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error err = {0};
    f->table = fake_handlers(&f->fake);
    f->server = server_create(&(struct server_doors){&f->table, 1, fake_apis, 2}, options, &err);
    if (!f->server)
        print_error("%s\n", err.message);
    assert_non_null(f->server);
    f->port = server_port(f->server);
    return f;
}

static void fixture_end(struct fixture *f)
{
    server_destroy(f->server);
    assert_int_equal(f->fake.n_started, f->fake.n_ended);
    free(f);
}

static int set_up(void **state)
{
    *state = fixture_with(&(struct server_options){0});
    return 0;
}

static int tear_down(void **state)
{
    fixture_end(*state);
    return 0;
}

static void ask_on(struct http_client *c, struct http_answer *a, const char *method,
                   const char *path, const char *more, const char *body)
{
    assert_true(http_ask(c, method, path, more, body));
    assert_true(http_read(c, a, !strcmp(method, "HEAD")));
    const char *id = http_header(a, "request-id");
    assert_non_null(id);
    assert_int_equal(strlen(id), 28);
    assert_memory_equal(id, "req_", 4);
}

/* One request on a connection of its own. */
static void ask(struct fixture *f, struct http_answer *a, const char *method, const char *path,
                const char *more, const char *body)
{
    struct http_client c;
    assert_true(http_connect(&c, f->port));
    ask_on(&c, a, method, path, more, body);
    http_close(&c);
}

static int status_of(struct fixture *f, const char *method, const char *path, const char *more,
                     const char *body)
{
    struct http_answer a;
    ask(f, &a, method, path, more, body);
    int status = a.status;
    http_answer_deinit(&a);
    return status;
}

static bool becomes(atomic_int *value, int wanted, int ms)
{
    int64_t end = clock_now_ms() + ms;
    while (atomic_load(value) != wanted) {
        if (clock_now_ms() > end)
            return false;
        usleep(1000);
    }
    return true;
}

static double cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

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

static void assert_refused(struct fixture *f, const char *method, const char *path,
                           const char *more, const char *body, int status)
{
    struct http_answer a;
    char wanted[96];
    snprintf(wanted, sizeof wanted, "{\"api\":\"%s\",\"status\":%d,\"message\":\"",
             strncmp(path, "/other/", 7) ? "plain" : "other", status);
    ask(f, &a, method, path, more, body);
    assert_int_equal(a.status, status);
    assert_non_null(strstr(a.body.data, wanted));
    assert_non_null(strstr(a.body.data, http_header(&a, "request-id")));
    http_answer_deinit(&a);
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

static void guard_knows_loopback(void **state)
{
    static const char *const yes[] = {
        "localhost",       "LOCALHOST:8000", "127.0.0.1",        "127.0.0.1:1",
        "[::1]",           "[::1]:65535",    "127.1.2.3",        "localhost.",
        "localhost.:8000", "app.localhost",  "a.b.LocalHost.:80"};
    static const char *const no[] = {"",
                                     "evil.example",
                                     "localhost.evil.example",
                                     "127.0.0.1.nip.io",
                                     "localhost:",
                                     "localhost:80x",
                                     "[::1",
                                     "[::2]",
                                     "::1",
                                     "127.0.0.1:8000/",
                                     "localhost@evil.example",
                                     "10.0.0.1",
                                     "[::1]evil",
                                     "localhost:123456",
                                     "0.0.0.0",
                                     ".localhost",
                                     "xlocalhost",
                                     "a/.localhost",
                                     "evil.example#.localhost",
                                     "localhost.."};
    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        assert_true(guard_is_loopback_authority(yes[i]));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (guard_is_loopback_authority(no[i]))
            fail_msg("%s", no[i]);
}

static void guard_knows_names_that_were_allowed(void **state)
{
    const struct guard local = {.is_loopback = true}, remote = {0};
    const struct guard named = {.is_loopback = true, .hosts = "host.docker.internal,*.lan"};
    (void)state;
    assert_null(guard_refusal(&remote, "192.168.1.5:8000", NULL));
    assert_null(guard_refusal(&remote, "192.168.1.5:8000", "http://192.168.1.5:8000"));
    assert_non_null(guard_refusal(&remote, "192.168.1.5:8000", "http://192.168.1.6:8000"));
    assert_non_null(guard_refusal(&local, "192.168.1.5:8000", NULL));
    assert_non_null(guard_refusal(&local, "host.docker.internal:8000", NULL));
    assert_null(guard_refusal(&named, "host.docker.internal:8000", NULL));
    assert_null(guard_refusal(&named, "HOST.docker.internal.", NULL));
    assert_null(guard_refusal(&named, "box.lan", NULL));
    assert_null(guard_refusal(&named, "localhost", NULL));
    assert_non_null(guard_refusal(&named, "lan", NULL));
    assert_non_null(guard_refusal(&named, "evil.example", NULL));
    assert_non_null(guard_refusal(&named, "box.lan.evil.example", NULL));
    assert_non_null(guard_refusal(&named, "box.lan:8000/", NULL));
}

static bool allows(const char *origins, const char *origin)
{
    const struct guard g = {.is_loopback = true, .origins = origins};
    return !guard_refusal(&g, "localhost:8000", origin);
}

static void guard_knows_pages_from_programs(void **state)
{
    static const char *const apps[] = {"app://obsidian.md",
                                       "vscode-webview://1a2b",
                                       "vscode-file://vscode-app",
                                       "tauri://localhost",
                                       "file://",
                                       "chrome-extension://abcdef",
                                       "moz-extension://1-2"};
    (void)state;
    for (size_t i = 0; i < sizeof apps / sizeof *apps; i++) {
        assert_true(allows(NULL, apps[i]));
        assert_true(allows("null,apps", apps[i]));
        assert_false(allows("none", apps[i]));
        assert_false(allows("https://a.example", apps[i]));
    }
    assert_true(allows("none", "http://localhost:3000"));
    assert_true(allows(NULL, "http://tauri.localhost"));
    assert_false(allows(NULL, "null"));
    assert_false(allows(NULL, "https://app.example"));
    assert_false(allows(NULL, "apps"));
    assert_false(allows(NULL, "application://x"));
    assert_true(allows("null", "null"));
    assert_true(allows("apps,https://a.example", "https://A.example"));
    assert_false(allows("https://a.example", "https://a.example.evil"));
    assert_false(allows("https://a.example", "http://a.example"));
    assert_true(allows("custom://*", "custom://x"));
    assert_false(allows("custom://*", "customs://x"));
    assert_true(allows("*", "https://evil.example"));
}

static void guard_refuses_lists_that_mean_nothing(void **state)
{
    static const struct guard wrong[] = {
        {.hosts = "http://a"},
        {.hosts = "a b"},
        {.hosts = "a,,b"},
        {.hosts = "*"},
        {.origins = "a.example"},
        {.origins = "https://a.example/"},
        {.origins = "://"},
        {.origins = "apps,"
                    "all"},
    };
    static const struct guard right[] = {
        {.hosts = "a,*.b,c-d_e.f"},
        {.origins = "https://a.example:8000,file://,app://*,null,*"},
        {0}};
    (void)state;
    struct error err;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_false(guard_check(&wrong[i], &err));
        assert_int_equal(err.code, ERROR_USAGE);
    }
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        assert_true(guard_check(&right[i], &err));
    assert_null(server_create(&no_doors, &(struct server_options){.allow_hosts = "a b"}, &err));
    assert_int_equal(err.code, ERROR_USAGE);
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
        assert_true(http_is_closed_within(&c, 5000));
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
    assert_true(http_ask(&busy, "POST", "/v1/messages", NULL, "stream 30 200"));
    assert_true(http_puts(&upload, POST "Content-Length: 7\r\n\r\nwhol"));
    assert_true(http_wait_for(&busy, "\"n\":1")); /* both are on their way */
    usleep(2500000);
    assert_int_equal(raw_status(f, POST "Content-Length: -1\r\n\r\n", true), 400);
    assert_int_equal(raw_status(f, "GET /health HTTP/2.0\r\n\r\n", true), 505);
    assert_int_equal(raw_status(f, POST "no header\r\n\r\n", true), 400);
    assert_true(http_puts(&upload, "e 0"));
    assert_true(http_read(&upload, &a, false));
    assert_int_equal(a.status, 200);
    http_answer_deinit(&a);
    assert_true(http_read(&busy, &a, false));
    assert_non_null(strstr(a.body.data, "\"n\":29"));
    http_answer_deinit(&a);
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
    char *text = malloc(N + 100);
    assert_non_null(text);
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
    free(text);
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
    static const char *const operations[] = {"start", "head", "read", "usage", "end"};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        struct http_client slow;
        char body[32];
        snprintf(body, sizeof body, "slow-%s 800", operations[i]);
        assert_true(http_connect(&slow, f->port));
        assert_true(http_ask(&slow, "POST", "/v1/messages", NULL, body));
        assert_true(becomes(&f->fake.n_blocked, 1, 5000));
        for (int k = 0; k < 5; k++) {
            assert_int_equal(status_of(f, "GET", "/health", NULL, NULL), 200);
            assert_int_equal(status_of(f, "POST", "/v1/messages", NULL, "stream 3 1"), 200);
        }
        assert_int_equal(f->fake.n_blocked, 1); /* all of that while it was blocked */
        http_close(&slow);
        assert_true(becomes(&f->fake.n_blocked, 0, 5000));
    }
}

static void a_slow_tick_holds_up_only_itself(void **state)
{
    struct fixture *f = *state;
    struct http_client slow, other;
    assert_true(http_connect(&slow, f->port) && http_connect(&other, f->port));
    assert_true(http_ask(&slow, "POST", "/v1/messages", NULL, "hang-slow-tick 3000"));
    assert_true(becomes(&f->fake.n_blocked, 1, 5000));
    assert_true(http_ask(&other, "POST", "/v1/messages", NULL, "hang-stream"));
    assert_true(http_wait_for(&other, "event: ping")); /* its own tick comes */
    assert_int_equal(status_of(f, "GET", "/health", NULL, NULL), 200);
    assert_int_equal(f->fake.n_blocked, 1);
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

static void send_padding(struct http_client *c, size_t n_bytes)
{
    char *block = calloc(1, n_bytes);
    memset(block, 'x', n_bytes);
    http_send(c, block, n_bytes);
    free(block);
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
    assert_true(http_is_closed_within(&c, 2000));
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
    assert_true(http_is_closed_within(&idle, 2500));
    assert_true(http_is_closed_within(&head, 2500));
    assert_true(http_wait_for(&body, "\"status\":408"));
    assert_true(http_is_closed_within(&body, 2500));
    assert_true(http_read(&busy, &a, false)); /* an answer is not cut */
    assert_non_null(strstr(a.body.data, "\"n\":3"));
    http_answer_deinit(&a);
    http_close(&idle);
    http_close(&head);
    http_close(&body);
    http_close(&busy);
    fixture_end(f);
}

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
                 "slow-start 2000 ",
                 SIZE + 16);
        assert_true(http_connect(&c[i], f->port));
        assert_true(http_puts(&c[i], head));
        send_padding(&c[i], SIZE);
    }
    assert_true(becomes(&f->fake.n_blocked, 2, 5000)); /* as many as that lane has threads */
    for (int i = 0; i < 5; i++) {
        assert_int_equal(status_of(f, "POST", "/v1/messages/count_tokens", NULL, "12345"), 200);
        assert_int_equal(status_of(f, "GET", "/health", NULL, NULL), 200);
        assert_int_equal(status_of(f, "POST", "/v1/messages", NULL, "whole 0"), 200);
    }
    assert_int_equal(f->fake.n_blocked, 2); /* all that while they were at it */
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
    assert_true(becomes(&f->fake.n_started, N, 5000));
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
    assert_true(becomes(&f->fake.n_ended, N, 5000)); /* and it looks again */
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
    assert_int_equal(a.n_parts, 10);
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
    assert_true(becomes(&f->fake.n_started, 2, 2000));
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
        assert_true(clock_now_ms() - before < 1000);
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
        assert_true(becomes(&f->fake.n_started, (int)i + 1, 1000));
        assert_true(becomes(&f->fake.n_ended, (int)i + 1, 1000));
    }
}

static void a_client_that_resets_ends_its_call(void **state)
{
    struct fixture *f = *state;
    struct http_client c;
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    assert_true(http_connect(&c, f->port));
    assert_true(http_ask(&c, "POST", "/v1/messages", NULL, "hang-whole"));
    assert_true(becomes(&f->fake.n_started, 1, 1000));
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    http_close(&c);
    assert_true(becomes(&f->fake.n_ended, 1, 1000));
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
            assert_true(http_is_closed_within(&c, 5000));
            http_close(&c);
        }
    }
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
        assert_true(becomes(&f->fake.n_ended, i + 1, 15000));
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
    for (int i = 0; i < 2000 && f->fake.n_started != f->fake.n_ended; i++)
        usleep(1000);
    usleep(50000);
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
    assert_true(clock_now_ms() - before < 5000);
    for (int i = 0; i < N - MAX; i++)
        assert_true(http_is_closed_within(&idle[i], 5000));
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
    assert_true(clock_now_ms() - before < 5000);
    for (int i = 0; i < N; i++) {
        assert_true(http_is_closed_within(&c[i], 1000));
        http_close(&c[i]);
    }
}

int main(void)
{
#define with_server(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        with_server(every_route_answers),
        with_server(errors_have_the_shape_of_their_api),
        with_server(request_ids_differ),
        cmocka_unit_test(guard_knows_loopback),
        cmocka_unit_test(guard_knows_names_that_were_allowed),
        cmocka_unit_test(guard_knows_pages_from_programs),
        cmocka_unit_test(guard_refuses_lists_that_mean_nothing),
        with_server(foreign_pages_are_refused),
        with_server(a_page_may_read_whatever_it_is_answered),
        with_server(a_browser_that_asks_first_is_answered),
        with_server(what_is_not_http_is_refused_in_shape),
        with_server(a_refusal_hits_the_right_connection),
        with_server(large_heads_are_refused_in_shape),
        with_server(a_target_may_be_a_whole_address),
        with_server(large_bodies_hold_up_only_one_another),
        with_server(a_watcher_that_cannot_look_goes_on),
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
