/* What can be asked of a server: rows of a table, which whoever starts the server composes. A
 * *handler* turns a request into a reply (reply.h); an *API* says how errors look, those included
 * that come before any handler (an unknown path, a body that is too large). */
#ifndef PENSIEVE_SERVER_HANDLER_H
#define PENSIEVE_SERVER_HANDLER_H

#include "server/reply.h"

struct handler_request {
    const char *method, *path; /* the path is decoded and has no query */
    const char *rest;          /* of a HANDLER_PREFIX's path what follows the row's, else "" */
    const char *query;         /* as it came, without '?'; "" when there is none */
    const char *body;          /* ends in a '\0' that does not count; "" when there is none */
    size_t n_body;
    const char *request_id; /* "req_…", unique */
    /* There is something to read, or the head is known. Any thread, any time until the reply's end
     * returns, start's own time included; does not block and calls nothing back. */
    void (*wake)(void *wake_context);
    void *wake_context;
    const void *headers;
    const char *(*find_header)(const void *headers, const char *name);
};

/* The value of one of its headers, by name in any case, or NULL. The request and all that it points
 * to is there until start returns; wake and wake_context hold until the reply's end. */
static inline const char *handler_header(const struct handler_request *r, const char *name)
{
    return r->find_header(r->headers, name);
}

enum {
    HANDLER_PREFIX = 1, /* the path continues with a name */
    HANDLER_BODY = 2,   /* it wants the request's body; else that is dropped */
    HANDLER_WORKS = 4,  /* start takes its time, so a worker runs it; else the thread of all sockets
                           does, and what the reply has at once must come at once */
};

struct handler {
    const char *method, *path; /* GET answers HEAD, too */
    unsigned flags;
    /* May whoever sent this call it? 0, or the status of the refusal and why. Asked before the body
     * is there, on the thread of all sockets. NULL: all may whom the server lets in. */
    int (*may)(void *context, const struct handler_request *r, struct error *err);
    /* Fills `out`, or refuses with an error: the API's `status` says with which status. */
    bool (*start)(void *context, const struct handler_request *r, struct reply *out,
                  struct error *err);
};

struct handler_table {
    const struct handler *rows;
    size_t n;
    void *context; /* of the rows' functions */
};

struct handler_api {
    const char *prefix; /* of the paths whose errors it writes; the longest one wins, "" is any */
    int (*status)(enum error_code code);
    /* Fills the body, and headers beside it (Content-Type at least). */
    void (*write_error)(int status, const struct error *err, const char *request_id,
                        struct reply_head *head, struct buf *body);
};

#endif
