/* The workers: threads that parse, render and tokenize bodies, so that the socket thread never
 * computes. The queue holds suspended exchanges, at most one per connection. */
#include "server/state.h"

/* The one next in the queue, or NULL when the server stops. */
static struct exchange *next_work(struct server *s)
{
    pthread_mutex_lock(&s->work_lock);
    while (!s->work_first && !atomic_load(&s->stopping))
        pthread_cond_wait(&s->work_ready, &s->work_lock);
    struct exchange *x = s->work_first;
    if (x) {
        s->work_first = x->next_work;
        if (!s->work_first)
            s->work_last = &s->work_first;
    }
    pthread_mutex_unlock(&s->work_lock);
    return x;
}

static bool is_wanted(struct exchange *x)
{
    pthread_mutex_lock(&x->server->state_lock);
    bool wanted = !x->vanished && !atomic_load(&x->server->stopping);
    if (wanted)
        x->state = EXCHANGE_WORKING;
    pthread_mutex_unlock(&x->server->state_lock);
    return wanted;
}

static void *worker(void *arg)
{
    struct server *s = arg;
    struct exchange *x;
    while ((x = next_work(s))) {
        if (is_wanted(x))
            x->route->run(x);
        exchange_hand_back(x); /* from here on it may be gone */
        watch_poke(s);
    }
    return NULL;
}

bool work_start(struct server *s, struct error *err)
{
    s->work_last = &s->work_first;
    for (; s->n_workers < N_WORKERS; s->n_workers++)
        if (pthread_create(&s->workers[s->n_workers], NULL, worker, s))
            return error_set(err, ERROR_NO_MEMORY, "cannot start the server's threads");
    return true;
}

void work_push(struct server *s, struct exchange *x)
{
    pthread_mutex_lock(&s->work_lock);
    x->next_work = NULL;
    *s->work_last = x;
    s->work_last = &x->next_work;
    pthread_cond_signal(&s->work_ready);
    pthread_mutex_unlock(&s->work_lock);
}

/* `stopping` is set: what is queued is handed back undone. */
void work_stop(struct server *s)
{
    pthread_mutex_lock(&s->work_lock);
    pthread_cond_broadcast(&s->work_ready);
    pthread_mutex_unlock(&s->work_lock);
    for (uint32_t i = 0; i < s->n_workers; i++)
        pthread_join(s->workers[i], NULL);
    s->n_workers = 0;
}
