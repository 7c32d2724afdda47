/* A model from its name to a running engine: the chain that `serve`, `run` and `bench` share. Each
 * link borrows the ones before it, so they end in reverse. */
#ifndef PENSIEVE_CLI_LOADED_H
#define PENSIEVE_CLI_LOADED_H

#include "backend/backend.h"
#include "base/error.h"
#include "engine/engine.h"
#include "model/model.h"
#include "store/store.h"
#include "chat/chat_template.h"
#include "text/tokenizer.h"
#include "weights/weights.h"

#include <stdbool.h>
#include <stdint.h>

struct loaded_options {
    const char *model; /* path or name; NULL: what the store prefers */
    const char *cpu;   /* tier; NULL: $PENSIEVE_CPU, else the best */
    bool pin;          /* threads stay on their cores */
    uint32_t n_threads, n_ctx;
    uint64_t kv_memory; /* bytes; 0: by the machine's memory */
    uint32_t kv_type;   /* enum backend_kv_type */
    bool keeps_on_disk; /* prefixes outlive the process */
    uint64_t kv_disk;   /* bytes at most; 0: the engine's default */
    bool never_guesses; /* no tokens are guessed from what was said before */
    bool has_temperature, has_top_p, has_top_k, has_min_p, has_seed;
    bool has_repeat_penalty, has_frequency_penalty, has_presence_penalty;
    struct engine_sampling sampling; /* of it, what has_… says */
};

struct loaded {
    char *path;
    char name[128];  /* "qwen2.5-coder-0.5b": the catalogue's, else the file's without its ending */
    char title[160]; /* for people */
    int64_t created_at;              /* the file's time, seconds since 1970 */
    const struct store_model *known; /* its entry in the catalogue, or NULL */
    struct engine_sampling sampling; /* where nobody names any */
    uint32_t repeat_guard;
    struct weights *weights;
    struct backend *backend;
    struct model *model;
    struct tokenizer *tokenizer;
    struct chat_template *chat_template; /* NULL when the file has none */
    struct engine *engine;
};

/* As far as the model, for work straight on the backend. Storage is the caller's; on failure
 * nothing stays open. */
bool loaded_open_model(struct loaded *l, const struct loaded_options *options, struct error *err);
/* And the rest. `wants_chat`: a file without a chat template is an error. */
bool loaded_open(struct loaded *l, const struct loaded_options *options, bool wants_chat,
                 struct error *err);
void loaded_close(struct loaded *l);

extern const char *const loaded_kv_types[]; /* names by enum backend_kv_type, ended by NULL */

/* Rows for a command's option table; the options must be in `load`. */
/* clang-format off */
#define LOADED_OPTION_ROWS                                                                         \
    {"threads", 't', OPTION_UINT, &load.n_threads, NULL, 1, 1024, "N",                             \
     "threads that compute (default: the physical cores)"},                                        \
    {"cpu", 0, OPTION_TEXT, &load.cpu, NULL, 0, 0, "TIER",                                         \
     "instruction set to use (default: $PENSIEVE_CPU, else the\nbest this CPU has; see pensieve "  \
     "--version)"},                                                                                \
    {"pin", 0, OPTION_FLAG, &load.pin, NULL, 0, 0, NULL,                                           \
     "keep each thread on a core of its own; for a machine that\ndoes nothing else"}

#define LOADED_KV_TYPE_ROW(type)                                                                   \
    {"kv-type", 0, OPTION_CHOICE, &(type), NULL, 0, 0, "TYPE",                                     \
     "of keys and values: f16, q8_0 or q4_0 (default: f16)", loaded_kv_types}

#define LOADED_KV_ROWS                                                                             \
    LOADED_KV_TYPE_ROW(load.kv_type),                                                              \
    {"kv-memory", 0, OPTION_SIZE, &load.kv_memory, NULL, 0, 0, "SIZE",                             \
     "memory for keys and values of all conversations, like 4G\n(default: four contexts, but a "   \
     "quarter of the memory at most)"},                                                            \
    {"no-lookup", 0, OPTION_FLAG, &load.never_guesses, NULL, 0, 0, NULL,                           \
     "do not guess tokens from what was said before; guessing\nchanges nothing but the time"}

#define LOADED_SAMPLING_ROWS                                                                       \
    {"ctx", 'c', OPTION_UINT, &load.n_ctx, NULL, 16, 1 << 24, "N",                                 \
     "context in tokens (default: what the model was made for)"},                                  \
    {"temperature", 0, OPTION_FLOAT, &load.sampling.temperature, &load.has_temperature, 0, 5, "T", \
     "0 is greedy (default: the model's recommendation)"},                                         \
    {"top-p", 0, OPTION_FLOAT, &load.sampling.top_p, &load.has_top_p, 0, 1, "P",                   \
     "keep the likeliest tokens that sum to P"},                                                   \
    {"top-k", 0, OPTION_UINT, &load.sampling.top_k, &load.has_top_k, 0, 1 << 24, "K",              \
     "keep the K likeliest tokens; 0: all"},                                                       \
    {"min-p", 0, OPTION_FLOAT, &load.sampling.min_p, &load.has_min_p, 0, 1, "P",                   \
     "keep tokens at least P times as likely as the likeliest"},                                   \
    {"repeat-penalty", 0, OPTION_FLOAT, &load.sampling.repeat_penalty, &load.has_repeat_penalty,   \
     0, 10, "X", "divide the logits of the last 64 tokens by X; 1: off"},                          \
    {"frequency-penalty", 0, OPTION_FLOAT, &load.sampling.frequency_penalty,                       \
     &load.has_frequency_penalty, -10, 10, "X",                                                    \
     "lower them by X for each time they stand there; 0: off"},                                    \
    {"presence-penalty", 0, OPTION_FLOAT, &load.sampling.presence_penalty,                         \
     &load.has_presence_penalty, -10, 10, "X", "lower them by X; 0: off"},                         \
    {"seed", 0, OPTION_UINT64, &load.sampling.seed, &load.has_seed, 0, 0, "N",                     \
     "the same answer each time (default: drawn anew)"}
/* clang-format on */

#endif
