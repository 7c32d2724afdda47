/* What the server answers with. A *reply* is a body on its way, with the head before it: from a
 * model, a file, a cache or another server, in one piece or as a stream. The server pulls its bytes
 * when its client takes more, so a reply never holds more than it likes to.
 *
 * Of one reply at most one operation runs at a time, each on some worker's thread, none under a
 * lock of the server's: one that takes its time holds up its own client and nobody else. */
#ifndef PENSIEVE_SERVER_REPLY_H
#define PENSIEVE_SERVER_REPLY_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REPLY_UNKNOWN_BYTES = -1 };

struct reply_head {
    int status;         /* 200 unless changed */
    int64_t n_bytes;    /* of the body; REPLY_UNKNOWN_BYTES unless changed: it is sent in chunks */
    struct buf headers; /* see reply_header */
};

void reply_head_init(struct reply_head *h);
void reply_head_deinit(struct reply_head *h);
/* Adds a header; the same name twice is two headers. False when out of memory, which fails the
 * whole reply, or when name or value would break the head (a control character). */
bool reply_header(struct reply_head *h, const char *name, const char *value);
/* The next header after `at` (NULL: the first), or NULL; *value is its value. */
const char *reply_header_next(const struct reply_head *h, const char *at, const char **value);

/* Counts for the request's line in the log: "7 tokens in". */
struct reply_usage {
    size_t n;
    struct {
        const char *name;
        uint64_t value;
    } counts[4];
};

/* What `read` returns when it brings no bytes. */
enum {
    REPLY_NONE_NOW = 0, /* the request's `wake` says when to ask again */
    REPLY_END = -1,
    REPLY_FAILED = -2, /* a client sees its connection break off, or a 500 if nothing was sent */
};

struct reply_ops {
    /* Fills the head. False: not known yet, `wake` says when. Never asked again once true. */
    bool (*head)(void *reply, struct reply_head *out);
    /* Moves up to max bytes of the body to dst and returns how many, or one of the above. */
    ptrdiff_t (*read)(void *reply, char *dst, size_t max);
    /* Once a second while the client waits; NULL: nothing happens by itself. */
    void (*tick)(void *reply, int64_t now_ms);
    /* The client's sending side is closed, it may be gone: the next read shall bring some bytes
     * that change nothing, if it can, so that the connection tells. NULL: there are none. */
    void (*probe)(void *reply);
    void (*usage)(void *reply, struct reply_usage *out); /* of what was done; NULL: no counts */
    /* Frees it, whole or not. No wake may come after it returns. */
    void (*end)(void *reply);
};

struct reply {
    const struct reply_ops *ops;
    void *context;
};

/* A reply of bytes that are there. Takes body's bytes over. */
bool reply_whole(struct reply *out, int status, const char *content_type, struct buf *body,
                 struct error *err);

#endif
