/* The Anthropic domain, whole: from the body of an HTTP request to the bytes of its answer. A
 * `struct claude` is a loaded model that speaks the Messages API; a *call* is one POST /v1/messages
 * on its way. The bytes of a call's answer (SSE events, or one JSON object) are made on the
 * engine's thread and read by whoever owns the connection. Knows no sockets and no kernels. */
#ifndef PENSIEVE_CLAUDE_CLAUDE_H
#define PENSIEVE_CLAUDE_CLAUDE_H

#include "base/buf.h"
#include "base/error.h"
#include "engine/engine.h"
#include "chat/chat_template.h"
#include "text/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct claude;
struct claude_call;

struct claude_options {
    const char *model_id;     /* the loaded model's own name, e.g. "qwen2.5-coder-0.5b-instruct" */
    const char *display_name; /* for GET /v1/models */
    int64_t created_at;       /* seconds since 1970, of the model file */
    struct engine_sampling sampling; /* where a request names none */
    bool has_seed;                   /* sampling.seed holds; otherwise each request draws its own */
    uint32_t repeat_guard;  /* identical calls with identical results after which the next is not
                               handed  on; 0: off */
    uint32_t keep_alive_ms; /* silence after which a neutral message_delta is sent; 0: 60000 */
    uint32_t ping_ms;       /* silence after which a ping is sent; 0: 10000 */
    size_t stream_bytes;    /* made of a stream and not read, beyond which it waits for its reader;
                               0: 256 KiB */
};

/* Everything is borrowed and must outlive the claude. */
struct claude *claude_create(struct engine *engine, const struct tokenizer *tokenizer,
                             const struct chat_template *chat_template,
                             const struct claude_options *options, struct error *err);
void claude_destroy(struct claude *c);

/* The HTTP status of an error, and the body of one that is told with a status, in Anthropic's
 * shape:
 * {"type":"error","error":{"type":…,"message":…},"request_id":…}. */
int claude_error_status(enum error_code code);
void claude_error_body(struct buf *out, int status, const struct error *err,
                       const char *request_id);

/* POST /v1/messages. Parses, validates (every error names the field), renders, tokenizes and
 * submits. `wake` is called from any thread whenever there is more to read or the call is done; it
 * must not block and may come before this function returns. NULL on refusal, with the error. */
struct claude_call *claude_call_start(struct claude *c, const char *body, size_t n_bytes,
                                      const char *request_id, void (*wake)(void *context),
                                      void *context, struct error *err);
bool claude_call_is_stream(const struct claude_call *call);

/* Moves up to max bytes of the answer to dst; 0 when there are none now. */
size_t claude_call_read(struct claude_call *call, char *dst, size_t max);
/* All bytes were made (there may still be some to read). */
bool claude_call_done(const struct claude_call *call);
/* Once done: there was no memory even for the error, so that its end is missing. */
bool claude_call_broken(const struct claude_call *call);
/* Once done, the status of a non-stream answer: 200, or that of the error its bytes describe. */
int claude_call_status(const struct claude_call *call);
/* What it took so far: all 0 before it started, the whole once done. */
void claude_call_usage(const struct claude_call *call, struct engine_usage *out);
/* Lets time pass: adds a ping or the neutral message_delta when the stream was silent too long. */
void claude_call_tick(struct claude_call *call, int64_t now_ms);
/* Ends the call, cancelling what still runs. No wake comes after it returns. */
void claude_call_end(struct claude_call *call);

/* POST /v1/messages/count_tokens, GET /v1/models and GET /v1/models/{id}: append the JSON body. */
bool claude_count_tokens(struct claude *c, const char *body, size_t n_bytes, struct buf *out,
                         struct error *err);
bool claude_models(struct claude *c, struct buf *out);
bool claude_model(struct claude *c, const char *id, struct buf *out, struct error *err);

/* GET /metrics: appends counters and the memory bill, in Prometheus' text format. Takes some
 * milliseconds. */
bool claude_metrics(struct claude *c, struct buf *out);

struct claude_stats {
    uint64_t n_calls, n_tool_calls, n_calls_without_markers, n_repeats_guarded;
    uint64_t n_calls_cut; /* that were begun and never became whole */
};
void claude_stats(const struct claude *c, struct claude_stats *out);

#endif
