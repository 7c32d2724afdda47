/* A blocking HTTP client for tests: raw bytes out, one parsed answer in. Fails a test by returning
 * false or by its deadline. */
#ifndef PENSIEVE_TESTS_SERVER_HTTP_CLIENT_H
#define PENSIEVE_TESTS_SERVER_HTTP_CLIENT_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

/* What anything may take on a slow and busy machine, and less than the server's own limits. */
enum { HTTP_PATIENCE_MS = 60000 };

struct http_client {
    int fd;
    struct buf in; /* received and not yet taken */
};

struct http_answer {
    int status;
    struct buf head, body;     /* body without its chunks' framing */
    int n_parts;               /* of a chunked body: how many chunks came */
    int64_t first_ms, last_ms; /* when the body's first and last bytes were seen */
};

bool http_connect(struct http_client *c, uint16_t port);
void http_close(struct http_client *c);
bool http_send(struct http_client *c, const char *bytes, size_t n_bytes);
bool http_puts(struct http_client *c, const char *text);
/* method, path and body (NULL: none) with the usual headers, and more ("A: b\r\n") if given. */
bool http_ask(struct http_client *c, const char *method, const char *path, const char *more,
              const char *body);
/* Closes the sending side alone. */
void http_say_no_more(struct http_client *c);
/* Reads one answer to its end, passing over interim ones. `is_head`: an answer to HEAD, without a
 * body. */
bool http_read(struct http_client *c, struct http_answer *a, bool is_head);
/* Waits for bytes up to and with `text`; they stay where they are. */
bool http_wait_for(struct http_client *c, const char *text);
/* The server closes, whatever it sends before, and long before a default limit of its own. */
bool http_is_closed_soon(struct http_client *c);
void http_answer_deinit(struct http_answer *a);
/* The value of a header, in a static buffer, or NULL. */
const char *http_header(const struct http_answer *a, const char *name);

#endif
