/* What is done to a row of logits and to a mixture's experts, in every tier that this CPU runs:
 * equal bits to the scalar reference, and that against plain words. */
#include "check.h"
#include "kernels/experts.h"
#include "kernels/rank.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct kernels reference;

static void for_each_tier(void (*check)(const struct kernels *k))
{
    for (size_t i = 0; i < kernels_n_tiers(); i++) {
        struct kernels k;
        if (!kernels_tier_runs(i))
            continue;
        kernels_init(&k, i);
        check(&k);
    }
}

/* A row with everything that may be in one. */
static float *row_of(size_t n, int pattern)
{
    float *x = check_floats(n, pattern);
    for (size_t i = 0; i < n; i++)
        if (check_random() % 16 == 0)
            x[i] = (float[]){NAN, -INFINITY, x[0], 0, -0.0f}[check_random() % 5];
    return x;
}

static uint64_t *mask_of(size_t n)
{
    uint64_t *masked = calloc(n / 64 + 1, sizeof *masked);
    for (size_t i = 0; i < n; i++)
        if (check_random() % 3 == 0)
            masked[i / 64] |= 1ull << (i % 64);
    return masked;
}

static void check_row(const struct kernels *k, size_t n, int pattern, const uint64_t *masked)
{
    float *x = row_of(n, pattern), a[64], b[64];
    struct kernels_ranked *out = calloc(2 * n, sizeof *out);
    for (size_t block = 64; block <= 192; block += 64) {
        reference.maxima(x, n, masked, block, a);
        k->maxima(x, n, masked, block, b);
        for (size_t i = 0; i * block < n; i++)
            assert_true(a[i] == b[i]);
    }
    const float least[] = {-INFINITY, -1, 0, 2, 1e9f};
    float most = 0;
    for (size_t i = 0; i < n; i++)
        if (x[i] > most)
            most = x[i];
    for (int i = 0; i < 5; i++) {
        size_t n_found = reference.above(x, n, masked, least[i], out);
        assert_int_equal(k->above(x, n, masked, least[i], out + n), n_found);
        assert_memory_equal(out, out + n, n_found * sizeof *out);
        double sum = reference.exp_sum(x, n, masked, least[i], most, 1.25f);
        double got = k->exp_sum(x, n, masked, least[i], most, 1.25f);
        if (memcmp(&sum, &got, sizeof sum))
            fail_msg("exp_sum, tier %s: %.17g, not %.17g", k->tier, got, sum);
    }
    free(x);
    free(out);
}

static void check_rows(const struct kernels *k)
{
    for (size_t n = 1; n < 300; n += n < 70 ? 1 : 23) {
        uint64_t *masked = mask_of(n);
        for (int pattern = 0; pattern < CHECK_N_PATTERNS; pattern++) {
            check_row(k, n, pattern, NULL);
            check_row(k, n, pattern, masked);
        }
        free(masked);
    }
}

static void rows_have_the_same_bits_in_every_tier(void **state)
{
    (void)state;
    for_each_tier(check_rows);
}

static void exp_sum_is_a_sum_of_exponentials(void **state)
{
    (void)state;
    enum { N = 1000 };
    float *x = check_floats(N, CHECK_RANDOM);
    double sum = 0;
    for (size_t i = 0; i < N; i++)
        if (x[i] >= -2)
            sum += exp(((double)x[i] - 60) * 0.5);
    double got = reference.exp_sum(x, N, NULL, -2, 60, 0.5f);
    assert_true(fabs(got - sum) < 3e-6 * sum);
    free(x);
}

static void check_softmax(const struct kernels *k)
{
    for (size_t n = 1; n < 140; n++) {
        float *a = check_floats(n, CHECK_RANDOM), *b = check_floats(n, CHECK_ZEROS);
        double sum = 0;
        memcpy(b, a, n * sizeof *a);
        reference.softmax(a, n);
        k->softmax(b, n);
        assert_memory_equal(a, b, n * sizeof *a);
        for (size_t i = 0; i < n; i++)
            sum += (double)a[i];
        assert_true(fabs(sum - 1) < 1e-6);
        free(a);
        free(b);
    }
}

static void softmax_sums_to_one_in_every_tier(void **state)
{
    (void)state;
    for_each_tier(check_softmax);
}

static void check_weighted_sum(const struct kernels *k)
{
    for (size_t n = 1; n < 70; n++) {
        const size_t n_rows = n % 9;
        float *x = check_floats(9 * n, CHECK_RANDOM), a[70], b[70];
        const float *rows[9];
        for (size_t j = 0; j < 9; j++)
            rows[j] = x + j * n;
        reference.weighted_sum(rows, x, n_rows, n, a);
        k->weighted_sum(rows, x, n_rows, n, b);
        assert_memory_equal(a, b, n * sizeof *a);
        free(x);
    }
}

static void weighted_sums_have_the_same_bits_in_every_tier(void **state)
{
    (void)state;
    for_each_tier(check_weighted_sum);
}

/* ---- the largest ---- */

/* Against a sort of all that may be there. */
static void check_largest_of(const struct kernels *k, size_t n, const uint64_t *masked)
{
    float *x = row_of(n, CHECK_RANDOM);
    struct kernels_ranked *all = calloc(2 * n, sizeof *all), *got = all + n;
    size_t n_all = 0;
    for (size_t i = 0; i < n; i++)
        if (x[i] > -INFINITY && !(masked && masked[i / 64] >> (i % 64) & 1))
            all[n_all++] = (struct kernels_ranked){x[i], (int32_t)i};
    rank_sort(all, n_all);
    for (size_t i = 1; i < n_all; i++)
        assert_true(all[i - 1].value > all[i].value ||
                    (all[i - 1].value == all[i].value && all[i - 1].index < all[i].index));
    const size_t wanted[] = {0, 1, 2, 7, 64, 500, n, n + 1};
    for (int i = 0; i < 8; i++) {
        size_t n_expected = wanted[i] < n_all ? wanted[i] : n_all;
        assert_int_equal(rank_largest(k, x, n, masked, wanted[i], got), n_expected);
        assert_memory_equal(all, got, n_expected * sizeof *all);
    }
    free(x);
    free(all);
}

static void check_largest(const struct kernels *k)
{
    static const size_t sizes[] = {1, 2, 63, 64, 65, 1000, 5000, 150001};
    for (int i = 0; i < 8; i++) {
        uint64_t *masked = mask_of(sizes[i]);
        check_largest_of(k, sizes[i], NULL);
        check_largest_of(k, sizes[i], masked);
        free(masked);
    }
}

static void the_largest_are_those_of_a_sort(void **state)
{
    (void)state;
    for_each_tier(check_largest);
}

/* ---- experts ---- */

enum { TOKENS = 37, EXPERTS = 24, USED = 5, WIDTH = 50 };

static void check_route(const struct kernels *k, const float *logits, bool normalize)
{
    int32_t experts[TOKENS * USED];
    float weights[TOKENS * USED];
    experts_route(k, logits, TOKENS, EXPERTS, USED, normalize, experts, weights);
    for (size_t t = 0; t < TOKENS; t++) {
        const float *row = logits + t * EXPERTS;
        double all = 0, used = 0;
        float most = -INFINITY, last = INFINITY;
        for (int e = 0; e < EXPERTS; e++)
            most = fmaxf(most, row[e]);
        for (int e = 0; e < EXPERTS; e++)
            all += exp((double)(row[e] - most));
        for (size_t i = t * USED; i < (t + 1) * USED; i++)
            used += exp((double)(row[experts[i]] - most));
        for (size_t i = t * USED; i < (t + 1) * USED; i++) {
            double p = exp((double)(row[experts[i]] - most)) / (normalize ? used : all);
            assert_true(fabs((double)weights[i] - p) <= 2e-6 * p + 1e-30);
            assert_true(row[experts[i]] <= last);
            last = row[experts[i]];
        }
    }
}

/* Tokens go to their experts and come back, as if each had been alone. */
static void check_experts(const struct kernels *k)
{
    float *logits = check_floats(TOKENS * EXPERTS, CHECK_RANDOM);
    float *x = check_floats(TOKENS * WIDTH, CHECK_RANDOM);
    float *grouped = check_floats(TOKENS * USED * WIDTH, CHECK_ZEROS);
    float *out = check_floats(TOKENS * WIDTH, CHECK_ZEROS);
    int32_t experts[TOKENS * USED];
    float weights[TOKENS * USED];
    uint32_t place[TOKENS * USED], tokens[TOKENS * USED], first[EXPERTS + 1];
    check_route(k, logits, false);
    check_route(k, logits, true);
    experts_route(k, logits, TOKENS, EXPERTS, USED, true, experts, weights);
    experts_group(experts, TOKENS, USED, EXPERTS, place, first, tokens);
    assert_int_equal(first[0], 0);
    assert_int_equal(first[EXPERTS], TOKENS * USED);
    for (size_t c = 0; c < TOKENS * USED; c++) {
        const size_t e = (size_t)experts[c];
        assert_true(place[c] >= first[e] && place[c] < first[e + 1]);
        assert_int_equal(tokens[place[c]], c / USED);
        memcpy(grouped + place[c] * WIDTH, x + c / USED * WIDTH, WIDTH * sizeof *x);
    }
    for (size_t e = 0; e < EXPERTS; e++) /* an expert's own arithmetic */
        for (size_t i = first[e] * WIDTH; i < first[e + 1] * WIDTH; i++)
            grouped[i] *= (float)(e + 1);
    experts_scatter(k, grouped, WIDTH, TOKENS, USED, place, weights, out);
    for (size_t t = 0; t < TOKENS; t++)
        for (size_t i = 0; i < WIDTH; i++) {
            float sum = 0;
            for (size_t c = t * USED; c < (t + 1) * USED; c++)
                sum = fmaf(weights[c], x[t * WIDTH + i] * (float)(experts[c] + 1), sum);
            assert_true(out[t * WIDTH + i] == sum);
        }
    free(logits);
    free(x);
    free(grouped);
    free(out);
}

static void tokens_go_to_their_experts_and_back(void **state)
{
    (void)state;
    for_each_tier(check_experts);
}

int main(void)
{
    kernels_init(&reference, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_have_the_same_bits_in_every_tier),
        cmocka_unit_test(exp_sum_is_a_sum_of_exponentials),
        cmocka_unit_test(softmax_sums_to_one_in_every_tier),
        cmocka_unit_test(weighted_sums_have_the_same_bits_in_every_tier),
        cmocka_unit_test(the_largest_are_those_of_a_sort),
        cmocka_unit_test(tokens_go_to_their_experts_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
