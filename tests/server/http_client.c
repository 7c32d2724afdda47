/* See http_client.h. */
#include "http_client.h"

#include "base/clock.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>


bool http_connect(struct http_client *c, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    buf_init(&c->in, 1 << 28);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    return c->fd >= 0 && !connect(c->fd, (struct sockaddr *)&a, sizeof a);
}

void http_close(struct http_client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    buf_deinit(&c->in);
}

void http_say_no_more(struct http_client *c)
{
    shutdown(c->fd, SHUT_WR);
}

bool http_send(struct http_client *c, const char *bytes, size_t n_bytes)
{
    while (n_bytes) {
        ssize_t n = send(c->fd, bytes, n_bytes, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        bytes += n;
        n_bytes -= (size_t)n;
    }
    return true;
}

bool http_puts(struct http_client *c, const char *text)
{
    return http_send(c, text, strlen(text));
}

bool http_ask(struct http_client *c, const char *method, const char *path, const char *more,
              const char *body)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_printf(&b, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s", method, path, more ? more : "");
    if (body)
        buf_printf(&b, "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
    else
        buf_puts(&b, "\r\n");
    bool ok = !buf_failed(&b) && http_send(c, b.data, b.len);
    buf_deinit(&b);
    return ok;
}

/* 1: more bytes; 0: the end; -1: too late. */
static int more(struct http_client *c, int ms)
{
    static _Thread_local char block[65536];
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (poll(&p, 1, ms) != 1)
        return -1;
    ssize_t n = recv(c->fd, block, sizeof block, 0);
    if (n <= 0)
        return 0;
    buf_append(&c->in, block, (size_t)n);
    return 1;
}

static char *find(struct http_client *c, const char *text)
{
    return c->in.data ? memmem(c->in.data, c->in.len, text, strlen(text)) : NULL;
}

bool http_wait_for(struct http_client *c, const char *text)
{
    while (!find(c, text))
        if (more(c, HTTP_PATIENCE_MS) != 1)
            return false;
    return true;
}

bool http_is_closed_soon(struct http_client *c)
{
    int64_t end = clock_now_ms() + HTTP_PATIENCE_MS;
    for (;;) {
        int64_t left = end - clock_now_ms();
        int got = more(c, left > 0 ? (int)left : 0);
        if (got != 1)
            return got == 0;
    }
}

static bool take(struct http_client *c, struct buf *to, size_t n_bytes)
{
    while (c->in.len < n_bytes)
        if (more(c, HTTP_PATIENCE_MS) != 1)
            return false;
    buf_append(to, c->in.data ? c->in.data : "", n_bytes);
    buf_consume(&c->in, n_bytes);
    return true;
}

/* Up to and with `text`. */
static bool take_through(struct http_client *c, struct buf *to, const char *text)
{
    if (!http_wait_for(c, text))
        return false;
    return take(c, to, (size_t)(find(c, text) - c->in.data) + strlen(text));
}

const char *http_header(const struct http_answer *a, const char *name)
{
    static _Thread_local char value[512];
    const char *line = a->head.data;
    size_t n = strlen(name);
    while (line && (line = strstr(line, "\r\n"))) {
        line += 2;
        if (!strncasecmp(line, name, n) && line[n] == ':') {
            line += n + 1 + strspn(line + n + 1, " ");
            snprintf(value, sizeof value, "%.*s", (int)strcspn(line, "\r"), line);
            return value;
        }
    }
    return NULL;
}

static bool read_chunks(struct http_client *c, struct http_answer *a)
{
    for (;;) {
        struct buf line;
        buf_init(&line, 100);
        bool ok = take_through(c, &line, "\r\n");
        size_t n = ok ? strtoul(line.data, NULL, 16) : 0;
        buf_clear(&line);
        a->last_ms = clock_now_ms();
        if (!a->n_parts)
            a->first_ms = a->last_ms;
        ok = ok && take(c, &a->body, n) && take(c, &line, 2);
        buf_deinit(&line);
        if (!ok || !n)
            return ok;
        a->n_parts++;
    }
}

bool http_read(struct http_client *c, struct http_answer *a, bool is_head)
{
    memset(a, 0, sizeof *a);
    buf_init(&a->head, 1 << 16);
    buf_init(&a->body, 1 << 28);
    do {
        buf_clear(&a->head);
        if (!take_through(c, &a->head, "\r\n\r\n") ||
            sscanf(a->head.data, "HTTP/1.1 %d", &a->status) != 1)
            return false;
    } while (a->status == 100);
    if (is_head)
        return true;
    const char *encoding = http_header(a, "Transfer-Encoding");
    if (encoding && !strcasecmp(encoding, "chunked"))
        return read_chunks(c, a);
    const char *length = http_header(a, "Content-Length");
    return length && take(c, &a->body, strtoul(length, NULL, 10));
}

void http_answer_deinit(struct http_answer *a)
{
    buf_deinit(&a->head);
    buf_deinit(&a->body);
}
