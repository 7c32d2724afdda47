/* What the server's tests share: a server over fake handlers, and how it is asked. */
#ifndef PENSIEVE_TESTS_SERVER_FIXTURE_H
#define PENSIEVE_TESTS_SERVER_FIXTURE_H

#include "fake_handlers.h"
#include "http_client.h"
#include "server/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

struct fixture {
    struct fake fake;
    struct handler_table table;
    struct server *server;
    uint16_t port;
};

/* A server that answers nothing. */
extern const struct server_doors no_doors;

/* A server over fake handlers; fixture_end asserts that all that started has ended. */
struct fixture *fixture_with(const struct server_options *options);
void fixture_end(struct fixture *f);
int set_up(void **state);
int tear_down(void **state);
/* One request and its answer, on a connection that is there (ask_on) or on one of its own. */
void ask_on(struct http_client *c, struct http_answer *a, const char *method, const char *path,
            const char *more, const char *body);
void ask(struct fixture *f, struct http_answer *a, const char *method, const char *path,
         const char *more, const char *body);
int status_of(struct fixture *f, const char *method, const char *path, const char *more,
              const char *body);
/* Waits until it is so, for as long as a slow and busy machine may take. */
bool becomes(atomic_int *value, int wanted);
/* That the process took. */
double cpu_seconds(void);
/* With that status, in the shape of the path's API. */
void assert_refused(struct fixture *f, const char *method, const char *path, const char *more,
                    const char *body, int status);
/* n bytes of the letter x. */
void send_padding(struct http_client *c, size_t n_bytes);

/* A test of a server with the defaults. */
#define with_server(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

#endif
