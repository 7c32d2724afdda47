/* The workers. One atomic word, the ticket, carries the job's number, its task count and the next
 * task; a claim is a compare-and-swap on it, so a worker that comes late can never take a task of
 * another job. */
#include "base/pool.h"

#include "base/clock.h"
#include "base/cores.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    SPIN_NS = 50 * 1000, /* how long a thread watches for what it waits for before it sleeps */
    SPINS_PER_LOOK = 64, /* pauses between two looks at the clock */
};

struct worker {
    struct pool *pool;
    uint32_t thread;
    pthread_t id;
};

/* Tasks that one thread does in order: next (32 bits) | end (32) */
struct part {
    _Alignas(64) _Atomic uint64_t range;
};

struct pool {
    /* job number (24 bits) | number of tasks (20) | next task (20) */
    _Alignas(64) _Atomic uint64_t ticket;
    _Alignas(64) _Atomic uint32_t n_done;
    _Alignas(64) _Atomic uint32_t n_asleep;
    _Atomic bool caller_sleeps;
    _Atomic(void (*)(void *, uint32_t, uint32_t)) task;
    _Atomic(void *) context;
    _Atomic bool ends;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    uint32_t n_threads;
    bool pin;
    bool has_caller; /* whose core is set, with pin */
    pthread_t caller;
    struct cores cores;
    struct part parts[POOL_MAX_THREADS];     /* [n_threads] */
    struct worker workers[POOL_MAX_THREADS]; /* [n_threads - 1] */
};

static uint64_t ticket_job(uint64_t t) { return t >> 40; }
static uint32_t ticket_n_tasks(uint64_t t) { return (uint32_t)(t >> 20) & POOL_MAX_TASKS; }
static uint32_t ticket_next(uint64_t t) { return (uint32_t)t & POOL_MAX_TASKS; }

static inline void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void wake(struct pool *p, pthread_cond_t *sleepers)
{
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(sleepers);
    pthread_mutex_unlock(&p->lock);
}

/* Does tasks of whatever job is on, until it has none left. */
static void work(struct pool *p, uint32_t thread)
{
    uint64_t t = atomic_load(&p->ticket);
    while (ticket_next(t) < ticket_n_tasks(t)) {
        if (!atomic_compare_exchange_weak(&p->ticket, &t, t + 1))
            continue;
        /* the job cannot end before this task does, so its fields are still its own */
        atomic_load(&p->task)(atomic_load(&p->context), ticket_next(t), thread);
        if (atomic_fetch_add(&p->n_done, 1) + 1 == ticket_n_tasks(t) &&
            atomic_load(&p->caller_sleeps))
            wake(p, &p->done);
        t = atomic_load(&p->ticket);
    }
}

/* Waits until the job's tasks are done. A worker that lost its core in the middle of a task gives
 * the caller nothing to do for as long as other processes like: to watch all that time would use
 * up the share of the machine that the work needs. */
static void await_done(struct pool *p, uint32_t n_tasks)
{
    int64_t until = clock_now_ns() + SPIN_NS;
    do {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (atomic_load_explicit(&p->n_done, memory_order_acquire) == n_tasks)
                return;
            pause_cpu();
        }
    } while (clock_now_ns() < until);
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_sleeps, true);
    while (atomic_load(&p->n_done) < n_tasks)
        pthread_cond_wait(&p->done, &p->lock);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->lock);
}

/* Waits for a job other than `job`; false when the pool ends. */
static bool await_job(struct pool *p, uint64_t job)
{
    int64_t until = clock_now_ns() + SPIN_NS;
    do {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (ticket_job(atomic_load_explicit(&p->ticket, memory_order_acquire)) != job)
                return !atomic_load(&p->ends);
            pause_cpu();
        }
    } while (clock_now_ns() < until);
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->n_asleep, 1);
    while (ticket_job(atomic_load(&p->ticket)) == job && !atomic_load(&p->ends))
        pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->n_asleep, 1);
    pthread_mutex_unlock(&p->lock);
    return !atomic_load(&p->ends);
}

static void *worker_main(void *argument)
{
    struct worker *w = argument;
    uint64_t job = 0;
    while (await_job(w->pool, job)) {
        job = ticket_job(atomic_load(&w->pool->ticket));
        work(w->pool, w->thread);
    }
    return NULL;
}

/* The caller may be another thread than the pool's maker. */
static void pin_caller(struct pool *p)
{
    if (p->has_caller && pthread_equal(p->caller, pthread_self()))
        return;
    p->has_caller = true;
    p->caller = pthread_self();
    cores_pin(&p->cores, 0, p->caller);
}

void pool_run(struct pool *p, uint32_t n_tasks,
              void (*task)(void *context, uint32_t i, uint32_t thread), void *context)
{
    if (p->pin)
        pin_caller(p);
    if (n_tasks <= 1 || p->n_threads == 1) {
        for (uint32_t i = 0; i < n_tasks; i++)
            task(context, i, 0);
        return;
    }
    atomic_store(&p->task, task);
    atomic_store(&p->context, context);
    atomic_store(&p->n_done, 0);
    uint64_t job = (ticket_job(atomic_load(&p->ticket)) + 1) & 0xffffff;
    atomic_store(&p->ticket, job << 40 | (uint64_t)n_tasks << 20);
    if (atomic_load(&p->n_asleep))
        wake(p, &p->wake);
    work(p, 0);
    await_done(p, n_tasks);
}

/* ---- in parts ---- */

struct parts_job {
    struct pool *pool;
    void (*task)(void *context, uint32_t i, uint32_t thread);
    void *context;
};

/* Claims the part's next task or, for another thread than its own, the last. */
static bool claim(struct part *part, bool own, uint32_t *task)
{
    uint64_t range = atomic_load_explicit(&part->range, memory_order_relaxed);
    for (;;) {
        uint32_t next = (uint32_t)range, end = (uint32_t)(range >> 32);
        if (next >= end)
            return false;
        *task = own ? next++ : --end;
        if (atomic_compare_exchange_weak(&part->range, &range, (uint64_t)end << 32 | next))
            return true;
    }
}

/* Does part i, then what is left of the others. */
static void part_task(void *context, uint32_t i, uint32_t thread)
{
    const struct parts_job *job = context;
    const uint32_t n = job->pool->n_threads;
    uint32_t task;
    for (uint32_t k = 0; k < n; k++)
        while (claim(&job->pool->parts[(i + k) % n], k == 0, &task))
            job->task(job->context, task, thread);
}

void pool_run_parts(struct pool *p, uint32_t n_tasks,
                    void (*task)(void *context, uint32_t i, uint32_t thread), void *context)
{
    struct parts_job job = {p, task, context};
    const uint64_t n = p->n_threads;
    if (n_tasks <= 1 || n == 1) {
        pool_run(p, n_tasks, task, context);
        return;
    }
    for (uint64_t i = 0; i < n; i++)
        atomic_store_explicit(&p->parts[i].range, n_tasks * (i + 1) / n << 32 | n_tasks * i / n,
                              memory_order_relaxed);
    pool_run(p, p->n_threads, part_task, &job);
}

struct pool *pool_create(uint32_t n_threads, bool pin, struct error *err)
{
    struct pool *p = aligned_alloc(64, (sizeof *p + 63) / 64 * 64);
    if (!p) {
        error_set(err, ERROR_NO_MEMORY, "out of memory for the threads");
        return NULL;
    }
    *p = (struct pool){.n_threads = 1, .pin = pin};
    cores_find(&p->cores);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    if (!n_threads)
        n_threads = p->cores.n;
    if (n_threads > POOL_MAX_THREADS)
        n_threads = POOL_MAX_THREADS;
    for (uint32_t i = 1; i < n_threads; i++) {
        struct worker *w = &p->workers[i - 1];
        *w = (struct worker){.pool = p, .thread = i};
        if (pthread_create(&w->id, NULL, worker_main, w)) {
            error_set(err, ERROR_IO, "the system gives no thread %u", i + 1);
            pool_destroy(p);
            return NULL;
        }
        if (pin)
            cores_pin(&p->cores, i, w->id);
        p->n_threads++;
    }
    return p;
}

void pool_destroy(struct pool *p)
{
    if (!p)
        return;
    atomic_store(&p->ends, true);
    /* a job without tasks ends the watching, too */
    atomic_store(&p->ticket, ((ticket_job(atomic_load(&p->ticket)) + 1) & 0xffffff) << 40);
    wake(p, &p->wake);
    for (uint32_t i = 1; i < p->n_threads; i++)
        pthread_join(p->workers[i - 1].id, NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

uint32_t pool_n_threads(const struct pool *p)
{
    return p->n_threads;
}
