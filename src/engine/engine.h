/* Who computes when. An *engine* owns a model's state and one thread that alone touches it; a
 * *request* is a prompt of tokens with its sampling, and a *sink* that hears of its life. Requests
 * come from any thread, run together, and end each on its own. A prefix of tokens that an earlier
 * request computed is not computed again. Knows no JSON and no API.
 *
 * Everything above sees the engine only through this header. */
#ifndef PENSIEVE_ENGINE_ENGINE_H
#define PENSIEVE_ENGINE_ENGINE_H

#include "base/error.h"
#include "model/model.h"
#include "text/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;

struct engine_options {
    uint32_t n_ctx;        /* tokens of one sequence; 0: the model's own, or what has room */
    uint64_t kv_bytes;     /* budget of the KV pool; 0: four contexts, or a quarter of memory */
    uint64_t memory_bytes; /* of the machine; 0: ask the system */
    const char *kv_advice; /* for who reads that a context has no room: what changes it; or NULL */
    enum backend_kv_type kv_type;
    const char *disk_folder; /* where prefixes are kept beyond the process; NULL: nowhere */
    uint64_t disk_bytes;     /* at most so many; 0: 8 GiB or a tenth of the free disk */
    uint64_t fingerprint[2]; /* of the model's file, for what is kept there */
    uint32_t n_running;    /* requests computed together; 0: 8 */
    uint32_t n_queued;     /* requests that may wait; 0: 256 */
    uint32_t prefill_rows; /* tokens of prompt in one step; 0: 512 */
    bool never_guesses;    /* no tokens are guessed from what was said before */
};

struct engine_sampling {
    float temperature; /* 0: greedy */
    float top_p;       /* 1: off */
    float min_p;       /* 0: off */
    uint32_t top_k;    /* 0: off */
    uint64_t seed;
    /* Of tokens among the last penalty_window (0: 64) of prompt and answer, the logits are divided
     * by repeat_penalty (multiplied, where below 0; 0 or 1: off), then lowered by
     * frequency_penalty for each time and by presence_penalty once (0: off). */
    float repeat_penalty, frequency_penalty, presence_penalty;
    uint32_t penalty_window;
};

enum { ENGINE_MAX_BIASES = 1024 };

struct engine_bias {
    int32_t token;
    float bias; /* added to its logit; -INFINITY: never */
};

struct engine_usage {
    uint32_t n_prompt;    /* tokens of the prompt */
    uint32_t n_cached;    /* of them, taken from an earlier request */
    uint32_t n_generated; /* tokens sampled and kept (end-of-generation tokens too) */
};

enum engine_finish {
    ENGINE_FINISH_EOG,     /* the model ended its turn */
    ENGINE_FINISH_LENGTH,  /* max_tokens */
    ENGINE_FINISH_CONTEXT, /* the context is full */
    ENGINE_FINISH_STOPPED, /* the sink said so */
};

/* What the sink says to each token. */
enum engine_verdict {
    ENGINE_CONTINUE,
    ENGINE_STOP,
    ENGINE_RESTART, /* forget every token generated so far; sample again from the prompt's end */
    ENGINE_WAIT, /* the token is taken, but the reader is slow: no more until engine_resume. Others
                    go on in its place; its pages are kept like those of a paused request. */
};

/* The calls of one request come one at a time, on any thread: started, prefilling*, then mask,
 * propose and token, and at last exactly one of finished or failed, after which the request is
 * gone. They must not block, and of the engine they may call engine_remember and engine_resume
 * only. */
struct engine_sink {
    void *context;
    /* These two may be NULL. */
    void (*started)(void *context, uint32_t n_cached, uint32_t n_to_compute);
    void (*prefilling)(void *context, uint32_t n_done, uint32_t n_total);
    /* An end-of-generation token is not handed on. bytes[n_bytes]: the token's piece ("" for
     * control tokens); logprob is natural, of the model's own distribution. */
    enum engine_verdict (*token)(void *context, int32_t id, const char *bytes, size_t n_bytes,
                                 float logprob);
    void (*finished)(void *context, enum engine_finish reason, const struct engine_usage *usage);
    void (*failed)(void *context, const struct error *err); /* CANCELLED after engine_cancel */
    /* These two may be NULL. Both depend on the tokens handed out so far, and on nothing else.
     *
     * What must not be drawn next, asked before each draw, the first included: a bitset
     * [(n_vocab + 63) / 64] in which a set bit leaves its token out, or NULL: nothing is left out.
     * It stays as it is until the next call of this request's sink. Where it leaves one token
     * only, that is taken, whatever the model thinks of it; where it leaves none, the request
     * fails. Asked beside the model's computation, for several requests one after the other. */
    const uint64_t *(*mask)(void *context);
    /* What must follow, as far as that is known: at most `most` tokens into out; returns how many.
     * They are computed in one step and then drawn like all others: a sink whose mask allows
     * nothing else gets them sooner, and a wrong proposal costs time and changes nothing. */
    uint32_t (*propose)(void *context, int32_t *out, uint32_t most);
};

struct engine_request {
    const int32_t *tokens; /* [n_tokens]; copied */
    size_t n_tokens;
    uint64_t space; /* whose it is: only requests of one space share prefixes */
    uint32_t max_tokens; /* clamped to what the context leaves */
    struct engine_sampling sampling;
    const struct engine_bias *biases; /* [n_biases], at most ENGINE_MAX_BIASES; copied */
    uint32_t n_biases;
    bool wants_logprobs; /* otherwise the sink's logprob is NAN: it costs a pass over the vocabulary
                          */
    struct engine_sink sink;
};

/* Starts the threads. `m` and `t` are borrowed and must outlive the engine. A context that was
 * asked for and has no room in the budget: TOO_LARGE, with how many tokens have; the model's own is
 * lowered to that, and the log says so. */
struct engine *engine_create(struct model *m, struct backend *be, const struct tokenizer *t,
                             const struct engine_options *options, struct error *err);
/* Ends every request with CANCELLED, then the thread. */
void engine_destroy(struct engine *e);

/* Queues a request and returns its ticket (never 0). 0 on refusal, no sink call made: TOO_LARGE
 * when the prompt can never fit ("prompt is too long: N tokens > M maximum"), BUSY when the queue
 * is full. */
uint64_t engine_submit(struct engine *e, const struct engine_request *request, struct error *err);

/* Asks for the end of a request, queued or running; it ends with failed(CANCELLED) within one step.
 * Unknown tickets (already ended) are ignored. Any thread. */
void engine_cancel(struct engine *e, uint64_t ticket);

/* The reader has room again: a request whose sink has said ENGINE_WAIT goes on. It counts from the
 * moment on at which the sink was called with the token that it answers so, and is ignored before
 * that and for unknown tickets. Any thread. */
void engine_resume(struct engine *e, uint64_t ticket);

uint32_t engine_n_ctx(const struct engine *e);

/* What the model said, by the content that became of it (a hash of that), so that a later prompt
 * which shows the content is made of the same tokens. Kept as long as prefixes are. Any thread. */
void engine_remember(struct engine *e, uint64_t space, const uint64_t identity[2],
                     const int32_t *tokens, size_t n);
/* A copy, to be freed; NULL: not known. */
int32_t *engine_recall(struct engine *e, uint64_t space, const uint64_t identity[2], size_t *n);

struct engine_stats {
    uint64_t n_requests, n_tokens_computed, n_tokens_cached, n_tokens_generated, n_restarts;
    uint64_t n_pauses; /* requests that gave their pages back, and waited for others to end */
    uint64_t n_waits;  /* that waited for their readers */
    uint64_t n_guessed, n_guessed_right; /* tokens */
    uint32_t n_running, n_queued, n_waiting; /* the last: for their readers */
    /* Pages: those of running requests alone, those kept as prefixes (running ones may use them,
     * too), and all that there may be. */
    uint64_t kv_bytes_running, kv_bytes_kept, kv_bytes_budget;
    uint64_t disk_bytes;
};
void engine_stats(struct engine *e, struct engine_stats *out); /* any thread */

/* The whole process by what it holds, in bytes that are in physical memory. */
struct engine_memory {
    uint64_t weights; /* of the model's file, which is mapped: the system takes them back at will */
    uint64_t kv;
    uint64_t activations;
    uint64_t buffers;  /* of the operations, and the logits */
    uint64_t heap;     /* the vocabulary, requests, prefixes' tables: all that malloc has taken */
    uint64_t program;  /* code and libraries */
    uint64_t resident; /* all, as the system counts it: stacks, too */
};
/* Any thread; looks at every page of memory, some milliseconds for each 10 GB. */
void engine_memory(struct engine *e, struct engine_memory *out);

#endif
