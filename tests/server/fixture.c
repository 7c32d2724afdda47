/* See fixture.h. */
#include "fixture.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const struct server_doors no_doors = {NULL, 0, fake_apis, 1};

struct fixture *fixture_with(const struct server_options *options)
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

void fixture_end(struct fixture *f)
{
    server_destroy(f->server);
    assert_int_equal(f->fake.n_started, f->fake.n_ended);
    free(f);
}

int set_up(void **state)
{
    *state = fixture_with(&(struct server_options){0});
    return 0;
}

int tear_down(void **state)
{
    fixture_end(*state);
    return 0;
}

void ask_on(struct http_client *c, struct http_answer *a, const char *method, const char *path,
            const char *more, const char *body)
{
    assert_true(http_ask(c, method, path, more, body));
    assert_true(http_read(c, a, !strcmp(method, "HEAD")));
    const char *id = http_header(a, "request-id");
    assert_non_null(id);
    assert_int_equal(strlen(id), 28);
    assert_memory_equal(id, "req_", 4);
}

/* One request on a connection of its own. */
void ask(struct fixture *f, struct http_answer *a, const char *method, const char *path,
         const char *more, const char *body)
{
    struct http_client c;
    assert_true(http_connect(&c, f->port));
    ask_on(&c, a, method, path, more, body);
    http_close(&c);
}

int status_of(struct fixture *f, const char *method, const char *path, const char *more,
              const char *body)
{
    struct http_answer a;
    ask(f, &a, method, path, more, body);
    int status = a.status;
    http_answer_deinit(&a);
    return status;
}

bool becomes(atomic_int *value, int wanted)
{
    int64_t end = clock_now_ms() + HTTP_PATIENCE_MS;
    while (atomic_load(value) != wanted) {
        if (clock_now_ms() > end)
            return false;
        usleep(1000);
    }
    return true;
}

double cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

void assert_refused(struct fixture *f, const char *method, const char *path, const char *more,
                    const char *body, int status)
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

void send_padding(struct http_client *c, size_t n_bytes)
{
    char *block = calloc(1, n_bytes);
    memset(block, 'x', n_bytes);
    http_send(c, block, n_bytes);
    free(block);
}
