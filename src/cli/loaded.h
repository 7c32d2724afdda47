/* A model from its name to a running engine: the chain that `serve`, `run` and `bench` share. Each
 * link borrows the ones before it, so they end in reverse. */
#ifndef PENSIEVE_CLI_LOADED_H
#define PENSIEVE_CLI_LOADED_H

#include "backend/backend.h"
#include "base/error.h"
#include "base/settings.h"
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
    const char *cpu;   /* tier; NULL: the best */
    bool pin;          /* threads stay on their cores */
    uint32_t n_threads, n_ctx;
    uint64_t kv_memory;              /* bytes; 0: by the machine's memory */
    uint32_t kv_type;                /* enum backend_kv_type */
    bool keeps_on_disk;              /* prefixes outlive the process */
    uint64_t kv_disk;                /* bytes at most; 0: the engine's default */
    bool never_guesses;              /* no tokens are guessed from what was said before */
    const char *template_vars;       /* of the chat template, a JSON object; or NULL */
    struct engine_sampling sampling; /* of it, what `from` says */
    struct {
        enum setting_source cpu, kv_disk;
        enum setting_source temperature, top_p, top_k, min_p, seed;
        enum setting_source repeat_penalty, frequency_penalty, presence_penalty;
    } from; /* who said them; BY_DEFAULT: nobody */
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

/* The settings of a struct loaded_options, in tables of which each command takes what it needs. */
extern const struct setting_table loaded_compute_settings;  /* threads, cpu, pin */
extern const struct setting_table loaded_sampling_settings; /* ctx to seed, template-vars */
extern const struct setting_table loaded_kv_type_settings;
extern const struct setting_table loaded_kv_settings; /* kv-memory, no-lookup */
extern const struct setting_table loaded_kv_disk_settings;

#endif
