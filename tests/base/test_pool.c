/* The thread pool: every task once, whatever comes between jobs, and no work when there is none. */
#include "base/cores.h"
#include "base/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

struct count {
    _Atomic uint32_t *done; /* [n_tasks] */
    _Atomic uint32_t by_thread[8];
    uint32_t n_tasks;
};

static void count_task(void *context, uint32_t i, uint32_t thread)
{
    struct count *c = context;
    assert_true(i < c->n_tasks && thread < 8);
    atomic_fetch_add(&c->done[i], 1);
    atomic_fetch_add(&c->by_thread[thread], 1);
}

static void run_and_check(struct pool *p, uint32_t n_tasks)
{
    struct count c = {calloc(n_tasks + 1, sizeof(uint32_t)), {0}, n_tasks};
    pool_run(p, n_tasks, count_task, &c);
    for (uint32_t i = 0; i < n_tasks; i++)
        assert_int_equal(atomic_load(&c.done[i]), 1);
    pool_run_parts(p, n_tasks, count_task, &c);
    for (uint32_t i = 0; i < n_tasks; i++)
        assert_int_equal(atomic_load(&c.done[i]), 2);
    free(c.done);
}

static void every_task_is_done_once(void **state)
{
    (void)state;
    struct error err;
    for (uint32_t n_threads = 1; n_threads <= 4; n_threads++) {
        struct pool *p = pool_create(n_threads, false, &err);
        assert_non_null(p);
        assert_int_equal(pool_n_threads(p), n_threads);
        for (uint32_t i = 0; i < 3000; i++) {
            run_and_check(p, i % 37);
            if (i % 500 == 0)
                usleep(2000); /* long enough for the workers to fall asleep */
        }
        run_and_check(p, 100000);
        pool_destroy(p);
    }
}

struct meeting {
    _Atomic uint32_t n_here;
    uint32_t n_tasks;
};

/* Waits until every other task of the job is being done, too. */
static void meet_task(void *context, uint32_t i, uint32_t thread)
{
    struct meeting *m = context;
    atomic_fetch_add(&m->n_here, 1);
    for (int ms = 0; atomic_load(&m->n_here) < m->n_tasks && ms < 120000; ms++)
        usleep(1000);
    assert_int_equal(atomic_load(&m->n_here), m->n_tasks);
}

static void sleeping_workers_wake_for_a_job(void **state)
{
    (void)state;
    struct error err;
    struct pool *p = pool_create(4, false, &err);
    for (int i = 0; i < 5; i++) {
        struct meeting m = {0, 4};
        usleep(10000); /* all asleep */
        pool_run(p, 4, meet_task, &m);
        assert_int_equal(atomic_load(&m.n_here), 4);
    }
    pool_destroy(p);
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void an_idle_pool_uses_no_cpu(void **state)
{
    (void)state;
    struct error err;
    struct pool *p = pool_create(4, false, &err);
    run_and_check(p, 100);
    usleep(20000);
    double before = cpu_seconds();
    usleep(300000);
    assert_true(cpu_seconds() - before < 0.05);
    run_and_check(p, 100); /* and wakes up again */
    pool_destroy(p);
}

static void sleep_task(void *context, uint32_t i, uint32_t thread)
{
    (void)context;
    (void)thread;
    if (i == 0)
        usleep(200000);
}

/* As when another process has the core of a thread that is in the middle of its task. */
static void a_held_up_task_costs_no_cpu(void **state)
{
    (void)state;
    struct error err;
    struct pool *p = pool_create(4, false, &err);
    run_and_check(p, 100);
    double before = cpu_seconds();
    pool_run(p, 50, sleep_task, NULL);
    assert_true(cpu_seconds() - before < 0.05);
    run_and_check(p, 100);
    pool_destroy(p);
}

static void pinned_threads_do_the_same(void **state)
{
    (void)state;
    struct error err;
    struct pool *p = pool_create(3, true, &err);
    for (uint32_t i = 0; i < 100; i++)
        run_and_check(p, i);
    pool_destroy(p);
}

static void pools_end_at_once(void **state)
{
    (void)state;
    struct error err;
    pool_destroy(NULL);
    for (int i = 0; i < 50; i++) {
        struct pool *p = pool_create(3, false, &err);
        if (i % 2)
            run_and_check(p, 5);
        pool_destroy(p);
    }
    struct cores cores;
    cores_find(&cores);
    struct pool *p = pool_create(0, false, &err);
    assert_int_equal(pool_n_threads(p), cores.n);
    pool_destroy(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_is_done_once),
        cmocka_unit_test(sleeping_workers_wake_for_a_job),
        cmocka_unit_test(an_idle_pool_uses_no_cpu),
        cmocka_unit_test(a_held_up_task_costs_no_cpu),
        cmocka_unit_test(pools_end_at_once),
        cmocka_unit_test(pinned_threads_do_the_same), /* last: this thread stays pinned */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
