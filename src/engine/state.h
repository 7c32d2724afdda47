/* The engine's own state, shared by engine.c (requests and the thread) and step.c (what one step
 * computes), and nobody else. One module: engine, masks, penalties, sampler, schedule, state. */
#ifndef PENSIEVE_ENGINE_STATE_H
#define PENSIEVE_ENGINE_STATE_H

#include "engine/engine.h"
#include "engine/draft.h"
#include "engine/history.h"
#include "engine/masks.h"
#include "engine/pace.h"
#include "engine/penalties.h"
#include "engine/prefix_tree.h"
#include "engine/sampler.h"

#include <pthread.h>
#include <stdatomic.h>

enum { ENGINE_MAX_GUESSES = 16 }; /* tokens guessed in one step, of all requests */

struct request {
    struct request *next; /* in its list, oldest first */
    uint64_t ticket;
    struct engine_request ask; /* its tokens are gone: they are in `sequence`; biases are its own */
    struct sequence sequence;  /* prompt, then what was generated */
    uint32_t n_prompt;
    uint32_t n_cached, n_joined; /* tokens taken from others, when it started and since */
    struct draft draft;
    uint32_t n_guessed;        /* tokens guessed for this step: they stand behind the sequence's */
    uint32_t n_proposed;       /* the first of them, which the sink proposed */
    uint64_t n_draws;          /* tokens sampled, also those taken back: the sampler's counter */
    bool started;              /* the sink has heard of it */
    bool is_restoring;         /* more of its prompt is on disk */
    const uint64_t *mask;      /* the sink's, for the next draw */
    bool has_mask;             /* that was asked for already */
    bool is_resumed;           /* under the lock: since the sink was called with the last token */
    /* No room: not tried again beside others before n_ended or n_written reaches this; 0: never
     * waited. */
    uint64_t waits_for_end_of, waits_for_written;
    atomic_bool cancelled;
};

struct request_list {
    struct request *first, **last;
    uint32_t n;
};

struct engine {
    struct model *model;
    struct backend *be;
    const struct tokenizer *tokenizer;
    struct engine_options options;
    uint32_t n_vocab;

    /* the thread's alone */
    struct kv_pages pages;
    uint32_t most_pages; /* that one request holds, under a sliding window; 0: of its context */
    struct prefix_tree prefixes;
    struct disk_tier *disk;  /* or NULL */
    uint64_t load_bytes;     /* that may yet be read from it before the next step */
    struct pace pace;
    uint32_t n_passed_over; /* steps of prompts in which the oldest had nothing */
    bool had_long_step; /* since the backend was trimmed */
    uint32_t n_hostile; /* steps of the hostile build */
    struct schedule *schedule;
    struct sampler sampler;
    struct penalties penalties;
    struct masks masks;
    uint64_t n_ended;                   /* requests that gave their pages back */
    uint64_t n_written;                 /* pages that the disk gave back */
    bool is_stuck;                      /* nothing runs, and who is queued waits for the disk */
    float *logits;                      /* [n_running + ENGINE_MAX_GUESSES][n_vocab] */
    struct backend_row *rows;           /* [BACKEND_MAX_ROWS] */
    struct backend_sequence *sequences; /* [n_running] */

    struct history *history; /* any thread's */

    /* shared, under the lock; only the thread takes a request out of `running`, and out of
     * `queued`. Those that wait for their readers are `waiting`, without pages: from there any
     * thread puts them back into the queue. */
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct request_list queued, running, waiting;
    uint64_t last_ticket;
    bool has_news; /* for a queue that is stuck */
    bool stopping;
    struct engine_stats stats;
    pthread_t thread;
};

/* Before requests are admitted: what the disk has done, and how much may be read from it. */
void step_begin(struct engine *e);

/* Gives a queued request its first pages. False when it must wait for others to end. */
bool step_admit(struct engine *e, struct request *r);

/* Computes one batch of the running requests and hands out tokens; ended requests are taken from
 * the running list, their sinks told, and they are freed. */
void step_run(struct engine *e);

/* Ends a request that was taken from its list: tells the sink, keeps its pages as a prefix. */
void request_fail(struct engine *e, struct request *r, const struct error *err);

/* Frees a request that is in no list and holds no pages. */
void request_free(struct request *r);

void request_list_append(struct request_list *list, struct request *r);
void request_list_prepend(struct request_list *list, struct request *r);
void request_list_remove(struct request_list *list, struct request *r);

#endif
