/* A tiny HTTP server on the loopback for the fetch tests: serves one body, and misbehaves on
 * request. */
#ifndef PENSIEVE_TESTS_HTTP_STUB_H
#define PENSIEVE_TESTS_HTTP_STUB_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct http_stub_file {
    const char *path; /* "/model/config.json" */
    const char *body;
    size_t n_body;
};

struct http_stub {
    /* set before http_stub_start */
    const struct http_stub_file *files; /* [n_files]; with any, only they are here, each a body */
    size_t n_files;
    const char *linked_etag; /* what the answers say that the file is, or NULL */
    const char *body;
    size_t n_body;
    size_t break_after;   /* each answer ends after so many bytes of the body (0: never) */
    int n_breaks;         /* … but only so many answers (-1: all) */
    bool no_range;        /* answers 200 with everything whatever the range */
    bool wrong_range;     /* answers 206 with a range that begins later */
    int status;           /* answers with this status and no model (0: as usual) */
    const char *redirect; /* answers 302 to there when the path is /redirect */

    /* what happened */
    int n_requests;
    long long last_range; /* first byte of the last request's Range, or -1 */

    int fd;
    int port;
    pthread_t thread;
};

void http_stub_start(struct http_stub *stub);
void http_stub_stop(struct http_stub *stub);

#endif
