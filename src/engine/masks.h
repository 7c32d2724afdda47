/* Asks sinks what may not come next, on a thread of its own, while the engine's computes a step.
 * Knows no requests: only questions, and where the answers go. */
#ifndef PENSIEVE_ENGINE_MASKS_H
#define PENSIEVE_ENGINE_MASKS_H

#include "backend/backend.h"
#include "engine/engine.h"

#include <pthread.h>

struct masks_question {
    const struct engine_sink *sink;
    const uint64_t **answer;
};

struct masks {
    struct masks_question questions[BACKEND_MAX_ROWS]; /* [n] of this step */
    uint32_t n;

    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t changed;
    bool is_asking, is_closing;
    pthread_t thread;
    bool has_thread;
};

/* Starts the thread. */
bool masks_init(struct masks *m, struct error *err);
void masks_deinit(struct masks *m); /* one that was all zeroes, too */

/* One more question for masks_begin; both must stay until masks_end. The sink has a mask. */
void masks_add(struct masks *m, const struct engine_sink *sink, const uint64_t **answer);
/* Asks them all, in order; meanwhile nothing else may be told to these sinks. */
void masks_begin(struct masks *m);
/* Returns when all are answered; then there are none. */
void masks_end(struct masks *m);

#endif
