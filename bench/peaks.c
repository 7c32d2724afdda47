/* peaks: what this machine's cores can do in this minute: int8, bfloat16 and float multiply-adds,
 * and reading memory; on one thread and on all. The best of many short runs, so that other work
 * disturbs little; the clock is measured beside, which tells whether a figure is the whole. */
#include "kernels/peaks.h"

#include "base/cores.h"
#include "base/clock.h"

#include <getopt.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __linux__
#include <sched.h>
#endif

enum { MAX_THREADS = 256, PAGE = 4096 };

struct options {
    uint32_t n_threads;
    size_t memory_bytes;
    double seconds; /* for each figure */
    bool is_json;
};

/* ---- all threads do the same work at the same time ---- */

struct work {
    uint64_t (*run)(const struct work *work, uint32_t thread); /* gives what was done */
    const struct kernels_peak *peak;
    uint64_t n_rounds;
    const struct kernels_peaks *peaks;
    const char *data;
    size_t n_bytes; /* of each thread */
    size_t n_streams, ahead;
};

struct team {
    const struct work *work;
    pthread_barrier_t begin;
    double seconds; /* that the figure may take */
    int64_t deadline;
    uint32_t n_threads;
    bool is_over; /* written by thread 0 between the barriers */
    int64_t start[MAX_THREADS], end[MAX_THREADS];
    uint64_t done[MAX_THREADS];
    double best; /* done per nanosecond */
};

struct member {
    struct team *team;
    uint32_t number;
};

static volatile uint64_t sink; /* what is read and computed ends here */

/* The number'th CPU that this process may use, so that no two threads share one. */
static void pin(uint32_t number)
{
#ifdef __linux__
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed))
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && number-- == 0) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            pthread_setaffinity_np(pthread_self(), sizeof one, &one);
            return;
        }
#endif
}

/* From the first one's start to the last one's end. */
static void judge(struct team *t)
{
    int64_t start = t->start[0], end = t->end[0];
    double done = 0;
    for (uint32_t i = 0; i < t->n_threads; i++) {
        start = t->start[i] < start ? t->start[i] : start;
        end = t->end[i] > end ? t->end[i] : end;
        done += (double)t->done[i];
    }
    if (end > start && done / (double)(end - start) > t->best)
        t->best = done / (double)(end - start);
    t->is_over = clock_now_ns() >= t->deadline;
}

static void *take_part(void *argument)
{
    const struct member *m = argument;
    struct team *t = m->team;
    pin(m->number);
    while (!t->is_over) {
        pthread_barrier_wait(&t->begin);
        t->start[m->number] = clock_now_ns();
        t->done[m->number] = t->work->run(t->work, m->number);
        t->end[m->number] = clock_now_ns();
        pthread_barrier_wait(&t->begin);
        if (m->number == 0)
            judge(t);
        pthread_barrier_wait(&t->begin);
    }
    return NULL;
}

/* The most done per nanosecond by n_threads together; 0 when a thread could not start. */
static double best_of(const struct work *work, uint32_t n_threads, double seconds)
{
    static struct team team;
    pthread_t threads[MAX_THREADS];
    struct member members[MAX_THREADS];
    uint32_t n = 0;
    team = (struct team){.work = work, .seconds = seconds, .n_threads = n_threads};
    team.deadline = clock_now_ns() + (int64_t)(seconds * 1e9);
    pthread_barrier_init(&team.begin, NULL, n_threads);
    for (; n < n_threads; n++) {
        members[n] = (struct member){&team, n};
        if (pthread_create(&threads[n], NULL, take_part, &members[n])) {
            fprintf(stderr, "peaks: no thread %u\n", n);
            exit(1);
        }
    }
    while (n)
        pthread_join(threads[--n], NULL);
    pthread_barrier_destroy(&team.begin);
    return team.best;
}

/* ---- the figures ---- */

static uint64_t run_peak(const struct work *work, uint32_t thread)
{
    return work->peak->run(work->n_rounds);
}

static uint64_t run_chain(const struct work *work, uint32_t thread)
{
    enum { CYCLES = 3 };
    sink = kernels_peaks_chain(work->n_rounds);
    return CYCLES * work->n_rounds;
}

static uint64_t run_read(const struct work *work, uint32_t thread)
{
    sink = work->peaks->read(work->data + thread * work->n_bytes, work->n_bytes, work->n_streams,
                             work->ahead);
    return work->n_bytes;
}

static double clock_ghz(double seconds)
{
    const struct work chain = {.run = run_chain, .n_rounds = 100000};
    return best_of(&chain, 1, seconds);
}

struct report {
    const struct options *options;
    const struct kernels_peaks *peaks;
    double ghz;
    const char *comma; /* of JSON */
};

static void print_figure(struct report *r, const char *name, const char *unit, double one,
                         double all, const char *how)
{
    if (r->options->is_json)
        printf("%s\n  \"%s\": {\"unit\": \"%s\", \"one_thread\": %.2f, \"all_threads\": %.2f, "
               "\"how\": \"%s\"}",
               r->comma, name, unit, one, all, how);
    else
        printf("%-6s %10.1f %10.1f  %-8s %s\n", name, one, all, unit, how);
    r->comma = ",";
    fflush(stdout);
}

/* A core starts a whole number of these instructions per cycle, or one in two cycles. */
static void report_peak(struct report *r, const char *name, const struct kernels_peak *peak)
{
    const struct options *o = r->options;
    const struct work work = {.run = run_peak, .peak = peak, .n_rounds = 40000};
    char how[160];
    if (!peak->run)
        return;
    double one = best_of(&work, 1, o->seconds), all = best_of(&work, o->n_threads, o->seconds);
    double per_cycle = one / r->ghz / peak->n_operations;
    double whole = fmax(round(per_cycle * 2), 1) / 2;
    snprintf(how, sizeof how, "%s: %.2f per cycle, %.1f %% of %g", peak->instruction, per_cycle,
             100 * per_cycle / whole, whole);
    print_figure(r, name, name[0] == 'i' ? "Gop/s" : "Gflop/s", one, all, how);
}

static void report_read(struct report *r, const char *data)
{
    static const struct {
        size_t n_streams, ahead;
    } patterns[] = {{1, 0}, {1, 1024}, {1, 4096}, {2, 0}, {2, 4096}, {4, 0}, {4, 4096}, {8, 0}};
    enum { N_PATTERNS = sizeof patterns / sizeof *patterns };
    const struct options *o = r->options;
    double best[2] = {0, 0};
    size_t chosen = 0;
    for (int all = 0; all < 2; all++)
        for (size_t i = 0; i < N_PATTERNS; i++) {
            const uint32_t n_threads = all ? o->n_threads : 1;
            const struct work work = {.run = run_read,
                                      .peaks = r->peaks,
                                      .data = data,
                                      .n_bytes = o->memory_bytes / o->n_threads / PAGE * PAGE,
                                      .n_streams = patterns[i].n_streams,
                                      .ahead = patterns[i].ahead};
            double speed = best_of(&work, n_threads, o->seconds);
            if (speed > best[all]) {
                best[all] = speed;
                chosen = i;
            }
        }
    char how[120];
    snprintf(how, sizeof how, "%zu MiB, %zu stream%s a thread, prefetch %zu bytes ahead",
             o->memory_bytes >> 20, patterns[chosen].n_streams,
             patterns[chosen].n_streams == 1 ? "" : "s", patterns[chosen].ahead);
    print_figure(r, "read", "GB/s", best[0], best[1], how);
}

static int measure(const struct options *o)
{
    struct kernels_peaks peaks;
    kernels_peaks_init(&peaks);
    char *data = mmap(NULL, o->memory_bytes + PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* a prefetch may pass the end */
    if (data == MAP_FAILED) {
        fprintf(stderr, "peaks: no memory for %zu MiB\n", o->memory_bytes >> 20);
        return 1;
    }
#ifdef MADV_HUGEPAGE
    madvise(data, o->memory_bytes, MADV_HUGEPAGE);
#endif
    memset(data, 1, o->memory_bytes);
    struct report r = {o, &peaks, clock_ghz(o->seconds), ","};
    if (o->is_json)
        printf("{\n  \"threads\": %u,\n  \"clock_ghz\": %.3f", o->n_threads, r.ghz);
    else
        printf("%.2f GHz, %u threads\n\n%-6s %10s %10s\n", r.ghz, o->n_threads, "", "one thread",
               "all");
    report_peak(&r, "int8", &peaks.int8);
    report_peak(&r, "bf16", &peaks.bf16);
    report_peak(&r, "fp32", &peaks.fp32);
    report_read(&r, data);
    if (o->is_json)
        printf("\n}\n");
    munmap(data, o->memory_bytes + PAGE);
    return 0;
}

static void print_usage(FILE *out)
{
    fprintf(out, "usage: peaks [options]\n\n"
                 "What the cores can do: the best of many short runs.\n\n"
                 "  --threads N   of \"all threads\" (default: the physical cores)\n"
                 "  --memory MB   to read from (default: 1024)\n"
                 "  --seconds S   for each figure (default: 0.3)\n"
                 "  --json        machine-readable output\n");
}

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {{"threads", 1, 0, 't'}, {"memory", 1, 0, 'm'},
                                          {"seconds", 1, 0, 's'}, {"json", 0, 0, 'j'},
                                          {"help", 0, 0, 'h'},    {0}};
    for (int option; (option = getopt_long(argc, argv, "", longs, NULL)) != -1;)
        switch (option) {
        case 't':
            o->n_threads = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'm':
            o->memory_bytes = strtoull(optarg, NULL, 10) << 20;
            break;
        case 's':
            o->seconds = strtod(optarg, NULL);
            break;
        case 'j':
            o->is_json = true;
            break;
        case 'h':
            print_usage(stdout);
            exit(0);
        default:
            return false;
        }
    return optind == argc && o->n_threads >= 1 && o->n_threads <= MAX_THREADS &&
           o->memory_bytes >= 1 << 20 && o->seconds >= 0.001 && o->seconds <= 60;
}

int main(int argc, char **argv)
{
    struct cores cores;
    cores_find(&cores);
    struct options o = {cores.n, (size_t)1 << 30, 0.3, false};
    if (parse(argc, argv, &o))
        return measure(&o);
    print_usage(stderr);
    return 2;
}
