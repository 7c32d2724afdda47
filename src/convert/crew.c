/* See crew.h. */
#include "convert/crew.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct crew {
    pthread_mutex_t lock;
    pthread_cond_t begun, ended;
    size_t n_workers;
    pthread_t *threads; /* [n_workers - 1] */

    /* under the lock */
    void (*job)(void *context, size_t worker, size_t i);
    void *context;
    size_t n_jobs, next, n_running; /* n_running: workers that are not done with this run */
    size_t n_started;               /* threads that know their number */
    unsigned run;                   /* counts the runs */
    bool is_over;
};

/* Takes jobs until there are none. Holds the lock when it is called and when it returns. */
static void crew_take_jobs(struct crew *c, size_t worker)
{
    while (c->next < c->n_jobs) {
        const size_t i = c->next++;
        pthread_mutex_unlock(&c->lock);
        c->job(c->context, worker, i);
        pthread_mutex_lock(&c->lock);
    }
}

static void *crew_thread(void *argument)
{
    struct crew *c = argument;
    pthread_mutex_lock(&c->lock);
    const size_t worker = ++c->n_started;
    unsigned run = 0;
    for (;;) {
        while (c->run == run && !c->is_over)
            pthread_cond_wait(&c->begun, &c->lock);
        if (c->is_over)
            break;
        run = c->run;
        crew_take_jobs(c, worker);
        if (!--c->n_running)
            pthread_cond_signal(&c->ended);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

struct crew *crew_create(size_t n, struct error *err)
{
    struct crew *c = calloc(1, sizeof *c);
    pthread_t *threads = calloc(n, sizeof *threads);
    if (!c || !threads) {
        free(c);
        free(threads);
        error_set(err, ERROR_NO_MEMORY, "out of memory for %zu threads", n);
        return NULL;
    }
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->begun, NULL);
    pthread_cond_init(&c->ended, NULL);
    c->threads = threads;
    c->n_workers = 1;
    while (c->n_workers < n &&
           !pthread_create(&threads[c->n_workers - 1], NULL, crew_thread, c))
        c->n_workers++;
    return c;
}

void crew_destroy(struct crew *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->is_over = true;
    pthread_cond_broadcast(&c->begun);
    pthread_mutex_unlock(&c->lock);
    for (size_t i = 0; i + 1 < c->n_workers; i++)
        pthread_join(c->threads[i], NULL);
    pthread_cond_destroy(&c->begun);
    pthread_cond_destroy(&c->ended);
    pthread_mutex_destroy(&c->lock);
    free(c->threads);
    free(c);
}

size_t crew_size(const struct crew *c)
{
    return c->n_workers;
}

void crew_run(struct crew *c, void (*job)(void *context, size_t worker, size_t i), void *context,
              size_t n)
{
    pthread_mutex_lock(&c->lock);
    c->job = job;
    c->context = context;
    c->n_jobs = n;
    c->next = 0;
    c->n_running = c->n_workers - 1;
    c->run++;
    pthread_cond_broadcast(&c->begun);
    crew_take_jobs(c, 0);
    while (c->n_running)
        pthread_cond_wait(&c->ended, &c->lock);
    pthread_mutex_unlock(&c->lock);
}
