/* The workers: threads on which handlers start and replies run, so that the socket thread never
 * computes nor waits. A *lane* is a queue of exchanges with threads of its own, of which there are
 * more while all are busy, up to a limit: a job that takes seconds costs a thread, and the next one
 * goes on. Large bodies have a lane of their own, where they hold up only one another. */
#include "server/state.h"

enum { HEAVY_THREADS = 2 };

static struct exchange *next_work(struct server *s, struct lane *l) /* under the work lock */
{
    while (!l->first && !s->work_ends)
        pthread_cond_wait(&l->ready, &s->work_lock);
    struct exchange *x = l->first;
    if (x) {
        l->first = x->next_work;
        if (!l->first)
            l->last = &l->first;
        l->n_queued--;
        l->n_busy++;
    }
    return x;
}

static void run_lane(struct server *s, struct lane *l)
{
    struct exchange *x;
    pthread_mutex_lock(&s->work_lock);
    while ((x = next_work(s, l))) {
        pthread_mutex_unlock(&s->work_lock);
        answer_work(x);
        pthread_mutex_lock(&s->work_lock);
        l->n_busy--;
        pthread_cond_broadcast(&s->work_idle);
    }
    pthread_mutex_unlock(&s->work_lock);
}

static void *light_worker(void *server)
{
    struct server *s = server;
    run_lane(s, &s->light);
    return NULL;
}

static void *heavy_worker(void *server)
{
    struct server *s = server;
    run_lane(s, &s->heavy);
    return NULL;
}

static bool add_thread(struct server *s, struct lane *l)
{
    void *(*run)(void *) = l == &s->light ? light_worker : heavy_worker;
    if (l->n_threads == l->max_threads || pthread_create(&l->threads[l->n_threads], NULL, run, s))
        return false;
    l->n_threads++;
    return true;
}

static void lane_init(struct lane *l, uint32_t max_threads)
{
    l->last = &l->first;
    l->max_threads = max_threads;
    pthread_cond_init(&l->ready, NULL);
}

bool work_start(struct server *s, struct error *err)
{
    lane_init(&s->light, WORK_MAX_THREADS);
    lane_init(&s->heavy, HEAVY_THREADS);
    return (add_thread(s, &s->light) && add_thread(s, &s->heavy)) ||
           error_set(err, ERROR_NO_MEMORY, "cannot start the server's threads");
}

/* A thread that cannot be had is no loss: there is at least one. */
void work_push(struct server *s, struct exchange *x, bool is_heavy)
{
    struct lane *l = is_heavy ? &s->heavy : &s->light;
    pthread_mutex_lock(&s->work_lock);
    x->next_work = NULL;
    *l->last = x;
    l->last = &x->next_work;
    l->n_queued++;
    if (l->n_queued + l->n_busy > l->n_threads)
        add_thread(s, l);
    pthread_cond_signal(&l->ready);
    pthread_mutex_unlock(&s->work_lock);
}

static bool is_idle(const struct lane *l)
{
    return !l->n_queued && !l->n_busy;
}

void work_wait_until_idle(struct server *s)
{
    pthread_mutex_lock(&s->work_lock);
    while (!is_idle(&s->light) || !is_idle(&s->heavy))
        pthread_cond_wait(&s->work_idle, &s->work_lock);
    pthread_mutex_unlock(&s->work_lock);
}

static void lane_stop(struct lane *l)
{
    for (uint32_t i = 0; i < l->n_threads; i++)
        pthread_join(l->threads[i], NULL);
    l->n_threads = 0;
    if (l->last)
        pthread_cond_destroy(&l->ready);
}

/* What is queued is done first. */
void work_stop(struct server *s)
{
    pthread_mutex_lock(&s->work_lock);
    s->work_ends = true;
    if (s->light.last)
        pthread_cond_broadcast(&s->light.ready);
    if (s->heavy.last)
        pthread_cond_broadcast(&s->heavy.ready);
    pthread_mutex_unlock(&s->work_lock);
    lane_stop(&s->light);
    lane_stop(&s->heavy);
}
