/* What tests of the engine share: a loaded tiny model, and sinks that write everything down. */
#ifndef PENSIEVE_TESTS_ENGINE_WORLD_H
#define PENSIEVE_TESTS_ENGINE_WORLD_H

#include "engine/engine.h"
#include "support/tiny_model.h"

#include <pthread.h>
#include <stdatomic.h>

struct world {
    struct tiny_model file;
    struct weights *weights;
    struct backend *be;
    struct model *model;
    struct tokenizer *tokenizer;
    struct engine *engine;
};

void world_begin_as(struct world *w, const struct engine_options *options, uint32_t n_threads,
                    const char *architecture, void (*more)(struct gguf_builder *g));
void world_begin(struct world *w, const struct engine_options *options, uint32_t n_threads);
void world_end(struct world *w);
/* KV memory for so many tokens, to the byte. */
uint64_t world_kv_bytes(uint32_t n_tokens);

enum { MAX_OUT = 600 };

struct listener {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int32_t tokens[MAX_OUT];
    float logprobs[MAX_OUT];
    uint32_t n_tokens, n_cached, n_to_compute, n_prefilling, n_done;
    int n_started, n_finished, n_failed;
    enum engine_finish reason;
    struct engine_usage usage;
    struct error err;
    enum engine_verdict (*verdict)(struct listener *l, int32_t id);
    const uint64_t *(*mask)(struct listener *l);
    uint32_t (*propose)(struct listener *l, int32_t *out, uint32_t most);
    void (*finished)(struct listener *l); /* in the sink's last call */
    uint64_t masked[(TINY_VOCAB + 63) / 64];
    uint32_t n_masks;
    atomic_flag is_called; /* one call at a time */
    int n_restarts;
    struct engine *engine;
    _Atomic uint64_t ticket;
    uint64_t slow_us; /* per token, so that a test can catch it in the act */
};

void listener_init(struct listener *l);
void wait_until_ended(struct listener *l);
void wait_for_tokens(struct listener *l, uint32_t n); /* or the end */
bool has_ended(struct listener *l);

/* A greedy request whose sink is a listener. */
struct engine_request ask(struct listener *l, const int32_t *tokens, size_t n, uint32_t max_tokens);
uint64_t submit(struct world *w, const struct engine_request *request);
/* Asks, and waits for the end. */
void run(struct world *w, struct listener *l, const int32_t *tokens, size_t n, uint32_t max_tokens);

/* Prompt number i: n tokens of ordinary bytes. */
void prompt(int32_t *tokens, uint32_t n, uint32_t i);

void assert_same_answer(const struct listener *a, const struct listener *b);

/* Once, at its token number n. */
enum engine_verdict restart_at(struct listener *l, uint32_t n);

#endif
