/* Attention's kernels of every tier that this CPU runs: against the scalar reference within the
 * tolerance said there, and a query's bits alone against those in company.
 * `test_attend --bench [tier]` measures instead: operations are multiplications plus additions of
 * one core. */
#include "check.h"

#include "base/clock.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { P = KERNELS_PAGE_TOKENS, RUN = KERNELS_RUN_PAGES * P, MAX_QUERIES = 256 };

static struct kernels reference;

static const struct {
    const char *name;
    double exactness; /* of results against the reference on float32 tiers: see add_distance */
} types[KERNELS_KV_N_TYPES] = {{"f16", 4e-6}, {"q8_0", 4e-6}, {"q4_0", 4e-6}};

/* bfloat16 has 8 bits: the few scores above ten, as outliers make them, are off by hundredths. */
static double tolerance(const struct kernels *k, size_t type)
{
    return strstr(k->tier, "bf16") ? 0x1p-5 : types[type].exactness;
}

/* A run of pages with its queries and results. */
struct sample {
    const struct kernels_kv *kv;
    struct kernels_run run;
    const float *q[MAX_QUERIES];
    float *o[MAX_QUERIES], m[MAX_QUERIES], l[MAX_QUERIES];
    uint16_t first[MAX_QUERIES], last[MAX_QUERIES];
};

/* k, v [RUN][head_dim], q [n][head_dim]; every query sees everything. */
static void sample_init(struct sample *s, const struct kernels *kernels, size_t type,
                        size_t head_dim, const float *k, const float *v, const float *q, size_t n)
{
    s->kv = &kernels->kv[type];
    s->run = (struct kernels_run){.n_pages = KERNELS_RUN_PAGES, .head_dim = head_dim,
                                  .scale = 0.1f / sqrtf((float)head_dim), .n = n, .q = s->q,
                                  .first = s->first, .last = s->last, .o = s->o, .m = s->m,
                                  .l = s->l, .scratch = check_alloc(s->kv->scratch_bytes(head_dim))};
    for (size_t i = 0; i < KERNELS_RUN_PAGES; i++) {
        void *page = check_alloc(s->kv->page_bytes(head_dim));
        for (size_t slot = 0; slot < P; slot++)
            s->kv->store(page, head_dim, slot, k + (i * P + slot) * head_dim,
                         v + (i * P + slot) * head_dim);
        s->run.pages[i] = page;
    }
    for (size_t i = 0; i < n; i++) {
        s->q[i] = q + i * head_dim;
        s->o[i] = check_alloc(head_dim * sizeof(float));
        s->first[i] = 0;
        s->last[i] = RUN;
    }
}

static void sample_deinit(struct sample *s)
{
    for (size_t i = 0; i < KERNELS_RUN_PAGES; i++)
        free((void *)s->run.pages[i]);
    for (size_t i = 0; i < s->run.n; i++)
        free(s->o[i]);
    free(s->run.scratch);
}

/* Each query sees something else, some next to nothing, as under a sliding window. */
static void limit(struct sample *s)
{
    for (size_t i = 0; i < s->run.n; i++) {
        s->last[i] = (uint16_t)(1 + check_random() % RUN);
        s->first[i] = (uint16_t)(i % 3 ? check_random() % s->last[i] : 0);
    }
}

static void for_each_tier(void (*check)(const struct kernels *k), size_t first)
{
    for (size_t i = first; i < kernels_n_tiers(); i++) {
        if (!kernels_tier_runs(i)) {
            print_message("tier %s does not run here\n", kernels_tier_name(i));
            continue;
        }
        struct kernels k;
        kernels_init(&k, i);
        check(&k);
    }
}

/* ---- against the reference ---- */

/* The distance of one query's results from the expected ones, and the norm of what they are sums
 * of, squared: `sizes` are results with the values' sizes, which do not cancel out. */
static void add_distance(const struct sample *expected, const struct sample *sizes,
                         const struct sample *result, size_t query, double *off, double *norm)
{
    for (size_t i = 0; i < expected->run.head_dim; i++) {
        double x = (double)expected->o[query][i] / (double)expected->l[query];
        double y = (double)result->o[query][i] / (double)result->l[query];
        double size = (double)sizes->o[query][i] / (double)sizes->l[query];
        *norm += size * size;
        *off += (x - y) * (x - y);
    }
}

static void make_positive(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = fabsf(x[i]);
}

static void check_sizes(const struct kernels *k, size_t type, size_t head_dim, size_t n,
                        bool limited)
{
    float *keys = check_floats(RUN * head_dim, CHECK_RANDOM);
    float *values = check_floats(RUN * head_dim, CHECK_RANDOM);
    float *q = check_floats(n * head_dim, CHECK_RANDOM);
    struct sample expected, sizes, result;
    sample_init(&expected, &reference, type, head_dim, keys, values, q, n);
    sample_init(&result, k, type, head_dim, keys, values, q, n);
    make_positive(values, RUN * head_dim);
    sample_init(&sizes, &reference, type, head_dim, keys, values, q, n);
    if (limited) {
        limit(&expected);
        memcpy(sizes.first, expected.first, sizeof expected.first);
        memcpy(sizes.last, expected.last, sizeof expected.last);
        memcpy(result.first, expected.first, sizeof expected.first);
        memcpy(result.last, expected.last, sizeof expected.last);
    }
    expected.kv->attend(&expected.run);
    sizes.kv->attend(&sizes.run);
    result.kv->attend(&result.run);
    double off = 0, norm = 0;
    for (size_t i = 0; i < n; i++)
        add_distance(&expected, &sizes, &result, i, &off, &norm);
    if (!(sqrt(off / norm) <= tolerance(k, type)))
        fail_msg("tier %s, %s, head_dim %zu, %zu queries%s: %g off", k->tier, types[type].name,
                 head_dim, n, limited ? ", limited" : "", sqrt(off / norm));
    sample_deinit(&expected);
    sample_deinit(&sizes);
    sample_deinit(&result);
    free(keys);
    free(values);
    free(q);
}

static void check_attend(const struct kernels *k)
{
    static const size_t head_dims[] = {1, 2, 16, 18, 50, 64, 80, 96, 100, 128, 256};
    static const size_t counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 16, 17, 31, 33, 45};
    for (size_t type = 0; type < KERNELS_KV_N_TYPES; type++) {
        for (size_t i = 0; i < sizeof head_dims / sizeof *head_dims; i++)
            for (size_t j = 0; j < 5; j++)
                check_sizes(k, type, head_dims[i], counts[(i + 3 * j) % 16], j % 2);
        for (size_t i = 0; i < 16; i++)
            check_sizes(k, type, 64, counts[i], true);
    }
}

static void attention_is_that_of_the_reference(void **state)
{
    (void)state;
    for_each_tier(check_attend, 1);
}

/* Two runs merged are the reference's, over both. */
static void check_merge(const struct kernels *k)
{
    enum { HEAD_DIM = 80, N = 11 };
    const struct kernels *tables[2] = {&reference, k};
    float *x = check_floats((2 * RUN + N) * HEAD_DIM, CHECK_RANDOM);
    float *other = check_floats(2 * RUN * HEAD_DIM, CHECK_RANDOM);
    struct sample results[2], seconds[2];
    for (int t = 0; t < 2; t++) {
        struct sample *a = &results[t], *b = &seconds[t];
        const float *q = x + 2 * RUN * HEAD_DIM;
        sample_init(a, tables[t], 0, HEAD_DIM, x, x + RUN * HEAD_DIM, q, N);
        sample_init(b, tables[t], 0, HEAD_DIM, other, other + RUN * HEAD_DIM, q, N);
        a->kv->attend(&a->run);
        b->kv->attend(&b->run);
        for (size_t i = 0; i < N; i++) {
            float nothing[HEAD_DIM] = {0};
            tables[t]->attend_merge(a->o[i], &a->m[i], &a->l[i], b->o[i], b->m[i], b->l[i],
                                    HEAD_DIM);
            tables[t]->attend_merge(a->o[i], &a->m[i], &a->l[i], nothing, KERNELS_NOTHING, 0,
                                    HEAD_DIM);
        }
    }
    double off = 0, norm = 0;
    for (size_t i = 0; i < N; i++)
        add_distance(&results[0], &results[0], &results[1], i, &off, &norm);
    assert_true(sqrt(off / norm) <= tolerance(k, 0));
    for (int t = 0; t < 2; t++) {
        sample_deinit(&results[t]);
        sample_deinit(&seconds[t]);
    }
    free(x);
    free(other);
}

static void merged_runs_are_those_of_the_reference(void **state)
{
    (void)state;
    for_each_tier(check_merge, 1);
}

/* ---- the same bits ---- */

static void assert_same(const float *a, const float *b, size_t n, const struct kernels *k,
                        size_t query, size_t n_queries)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a))
            fail_msg("tier %s: query %zu of %zu, element %zu is %.9g alone, %.9g in company",
                     k->tier, query, n_queries, i, (double)b[i], (double)a[i]);
}

/* A query alone, with other keys behind the last it sees. */
static void check_alone(const struct kernels *k, size_t type, const struct sample *all, size_t i,
                        const float *keys, const float *values)
{
    const size_t head_dim = all->run.head_dim, seen = all->last[i];
    float *k2 = check_floats(RUN * head_dim, CHECK_EXTREME);
    float *v2 = check_floats(RUN * head_dim, CHECK_EXTREME);
    struct sample one;
    memcpy(k2, keys, seen * head_dim * sizeof *k2);
    memcpy(v2, values, seen * head_dim * sizeof *v2);
    sample_init(&one, k, type, head_dim, k2, v2, all->q[i], 1);
    one.first[0] = all->first[i];
    one.last[0] = all->last[i];
    one.run.n_pages = (one.last[0] + P - 1u) / P;
    one.kv->attend(&one.run);
    assert_same(all->o[i], one.o[0], head_dim, k, i, all->run.n);
    assert_same(&all->l[i], one.l, 1, k, i, all->run.n);
    assert_same(&all->m[i], one.m, 1, k, i, all->run.n);
    one.run.n_pages = KERNELS_RUN_PAGES;
    sample_deinit(&one);
    free(k2);
    free(v2);
}

static void check_same(const struct kernels *k)
{
    static const size_t counts[] = {2, 3, 4, 7, 8, 9, 10, 16, 17, 31, 32, 33, 64, 77};
    static const size_t head_dims[] = {64, 64, 96, 128, 50, 1};
    for (size_t type = 0; type < KERNELS_KV_N_TYPES; type++) {
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            const size_t head_dim = head_dims[c % 6], n = counts[c];
            float *keys = check_floats(RUN * head_dim, CHECK_RANDOM);
            float *values = check_floats(RUN * head_dim, CHECK_RANDOM);
            float *q = check_floats(n * head_dim, CHECK_RANDOM);
            struct sample all;
            sample_init(&all, k, type, head_dim, keys, values, q, n);
            if (c % 4)
                limit(&all);
            all.kv->attend(&all.run);
            for (size_t i = 0; i < n; i++)
                check_alone(k, type, &all, i, keys, values);
            sample_deinit(&all);
            free(keys);
            free(values);
            free(q);
        }
    }
}

static void a_query_is_the_same_alone(void **state)
{
    (void)state;
    for_each_tier(check_same, 0);
}

/* ---- speed ---- */

/* The best time of attention over one run, in nanoseconds. */
static double best_ns(const struct sample *s)
{
    double best = 1e30;
    int64_t end = clock_now_ns() + 200000000;
    for (size_t n = 1; clock_now_ns() < end;) {
        int64_t start = clock_now_ns();
        for (size_t i = 0; i < n; i++)
            s->kv->attend(&s->run);
        double ns = (double)(clock_now_ns() - start);
        if (ns < 1e6)
            n *= 2;
        else if (ns / (double)n < best)
            best = ns / (double)n;
    }
    return best;
}

static void bench(const struct kernels *k, size_t type, size_t head_dim)
{
    static const size_t counts[] = {1, 7, 16, 112, 224};
    float *x = check_floats((2 * RUN + 224) * head_dim, CHECK_RANDOM);
    printf("%-11s attend %-4s %4zu ", k->tier, types[type].name, head_dim);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct sample s;
        sample_init(&s, k, type, head_dim, x, x + RUN * head_dim, x + 2 * RUN * head_dim,
                    counts[i]);
        double ns = best_ns(&s);
        printf("  %zu: %5.1f Gflop/s", counts[i], 4.0 * RUN * (double)(head_dim * counts[i]) / ns);
        if (counts[i] < 16)
            printf(" %4.1f GB/s",
                   (double)(s.kv->page_bytes(head_dim) * KERNELS_RUN_PAGES) / ns);
        sample_deinit(&s);
    }
    printf("\n");
    free(x);
}

static void bench_all(const char *tier)
{
    for (size_t i = 0; i < kernels_n_tiers(); i++) {
        struct kernels k;
        if (!kernels_tier_runs(i) || (tier && strcmp(tier, kernels_tier_name(i))))
            continue;
        kernels_init(&k, i);
        for (size_t type = 0; type < KERNELS_KV_N_TYPES; type++)
            for (size_t head_dim = 64; head_dim <= 128; head_dim += 32)
                bench(&k, type, head_dim);
    }
}

int main(int argc, char **argv)
{
    kernels_init(&reference, 0);
    if (argc > 1 && !strcmp(argv[1], "--bench")) {
        bench_all(argc > 2 ? argv[2] : NULL);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_is_that_of_the_reference),
        cmocka_unit_test(merged_runs_are_those_of_the_reference),
        cmocka_unit_test(a_query_is_the_same_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
