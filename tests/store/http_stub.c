/* One connection after the other, one request each. */
#include "http_stub.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void stub_send(int fd, const char *bytes, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        bytes += sent;
        n -= (size_t)sent;
    }
}

/* Takes the file that is asked for as the body; false: there is none. */
static bool stub_choose(struct http_stub *stub, const char *request)
{
    for (size_t i = 0; i < stub->n_files; i++) {
        const struct http_stub_file *file = &stub->files[i];
        size_t n = strlen(file->path);
        if (strlen(request) > n + 5 && !strncmp(request + 4, file->path, n) &&
            request[4 + n] == ' ') {
            stub->body = file->body;
            stub->n_body = file->n_body;
            return true;
        }
    }
    return !stub->n_files;
}

static void stub_answer(struct http_stub *stub, int fd, const char *request)
{
    char head[1024], etag[128] = "";
    const bool is_here = stub_choose(stub, request);
    const char *range = strstr(request, "Range: bytes=");
    if (stub->linked_etag)
        snprintf(etag, sizeof etag, "X-Linked-ETag: \"%s\"\r\n", stub->linked_etag);
    stub->last_range = range ? atoll(range + 13) : -1;
    stub->n_requests++;
    size_t from = range && !stub->no_range ? (size_t)stub->last_range : 0;
    int n = 0;
    if (stub->redirect && !strncmp(request, "GET /redirect", 13)) {
        n = snprintf(head, sizeof head,
                     "HTTP/1.1 302 Found\r\nLocation: %s\r\n"
                     "Content-Length: 0\r\nConnection: close\r\n\r\n",
                     stub->redirect);
        from = stub->n_body;
    } else if (stub->status || !is_here || from > stub->n_body) {
        n = snprintf(head, sizeof head,
                     "HTTP/1.1 %d No\r\nContent-Length: 5\r\n"
                     "Connection: close\r\n\r\nsorry",
                     stub->status ? stub->status
                     : is_here    ? 416
                                  : 404);
        from = stub->n_body;
    } else if (range && !stub->no_range) {
        size_t said = stub->wrong_range ? from + 1 : from;
        n = snprintf(head, sizeof head,
                     "HTTP/1.1 206 Partial Content\r\nContent-Length: %zu\r\n%s"
                     "Content-Range: bytes %zu-%zu/%zu\r\nConnection: close\r\n\r\n",
                     stub->n_body - from, etag, said, stub->n_body - 1, stub->n_body);
    } else {
        n = snprintf(head, sizeof head,
                     "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n%s"
                     "Connection: close\r\n\r\n",
                     stub->n_body, etag);
    }
    stub_send(fd, head, (size_t)n);
    size_t left = stub->n_body - from;
    if (stub->break_after && stub->n_breaks && left > stub->break_after) {
        left = stub->break_after;
        stub->n_breaks -= stub->n_breaks > 0;
    }
    stub_send(fd, stub->body + from, left);
}

static void *stub_run(void *context)
{
    struct http_stub *stub = context;
    for (;;) {
        int fd = accept(stub->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        char request[4096];
        size_t n = 0;
        ssize_t got;
        while (n < sizeof request - 1 &&
               (got = recv(fd, request + n, sizeof request - 1 - n, 0)) > 0) {
            n += (size_t)got;
            request[n] = '\0';
            if (strstr(request, "\r\n\r\n"))
                break;
        }
        if (n)
            stub_answer(stub, fd, request);
        shutdown(fd, SHUT_RDWR); /* a forked test may hold a copy: close() alone would not end it */
        close(fd);
    }
}

void http_stub_start(struct http_stub *stub)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    stub->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(stub->fd >= 0);
    assert_int_equal(bind(stub->fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(stub->fd, 8), 0);
    assert_int_equal(getsockname(stub->fd, (struct sockaddr *)&at, &size), 0);
    stub->port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&stub->thread, NULL, stub_run, stub), 0);
}

void http_stub_stop(struct http_stub *stub)
{
    shutdown(stub->fd, SHUT_RDWR);
    pthread_join(stub->thread, NULL);
    close(stub->fd);
}
