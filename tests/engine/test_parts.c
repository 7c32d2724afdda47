/* The engine's parts by themselves: pages are counted, the sampler draws what its settings say, the pace of steps
 * is learned. */
#include "engine/draft.h"
#include "engine/pace.h"
#include "engine/penalties.h"
#include "engine/sampler.h"
#include "engine/sequence.h"
#include "engine/use_heap.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { P = BACKEND_PAGE_TOKENS };

/* ---- pages ---- */

static void pages_are_handed_out_once_and_come_back(void **state)
{
    (void)state;
    struct kv_pages pool;
    uint32_t a, b, c;
    assert_true(kv_pages_init(&pool, 2));
    assert_true(kv_pages_acquire(&pool, &a));
    assert_true(kv_pages_acquire(&pool, &b));
    assert_int_not_equal(a, b);
    assert_false(kv_pages_acquire(&pool, &c));
    kv_pages_share(&pool, a);
    kv_pages_release(&pool, a);
    assert_false(kv_pages_acquire(&pool, &c)); /* somebody still holds it */
    kv_pages_release(&pool, a);
    assert_true(kv_pages_acquire(&pool, &c));
    assert_int_equal(c, a);
    kv_pages_deinit(&pool);
}

/* ---- sequences ---- */

/* A sequence of n tokens start, start + 1, … as if it had all been computed. */
static struct sequence computed(struct kv_pages *pool, int32_t start, uint32_t n)
{
    struct sequence s;
    int32_t *tokens = malloc(n * sizeof *tokens);
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = start + (int32_t)i;
    assert_true(sequence_init(&s, tokens, n, 100));
    free(tokens);
    while (s.n_pages < sequence_pages_for(n))
        assert_true(kv_pages_acquire(pool, &s.pages[s.n_pages++]));
    s.n_computed = n;
    return s;
}

static void truncating_gives_back_every_page_behind(void **state)
{
    (void)state;
    struct kv_pages pool;
    kv_pages_init(&pool, 10);
    struct sequence s = computed(&pool, 0, 5 * P);
    sequence_truncate(&s, &pool, P + 1);
    assert_int_equal(s.n_pages, 2);
    assert_int_equal(s.n_computed, P + 1);
    assert_int_equal(pool.n_free, 8);
    /* pages reserved for tokens that never came */
    assert_true(kv_pages_acquire(&pool, &s.pages[s.n_pages++]));
    sequence_truncate(&s, &pool, P + 1);
    assert_int_equal(pool.n_free, 8);
    sequence_deinit(&s, &pool);
    kv_pages_deinit(&pool);
}

/* ---- sampler ---- */

enum { V = 1000 };

static void greedy_takes_the_largest_and_of_equals_the_first(void **state)
{
    (void)state;
    struct sampler s;
    struct engine_sampling greedy = {.temperature = 0, .top_p = 1};
    float logits[V] = {0};
    uint64_t masked[(V + 63) / 64] = {0};
    assert_true(sampler_init(&s, V));
    logits[300] = logits[200] = 5;
    logits[100] = NAN;
    assert_int_equal(sampler_pick(&s, logits, &greedy, 0, NULL), 200);
    masked[200 / 64] = 1ull << (200 % 64);
    assert_int_equal(sampler_pick(&s, logits, &greedy, 0, masked), 300);
    memset(masked, 0xff, sizeof masked);
    assert_int_equal(sampler_pick(&s, logits, &greedy, 0, masked), -1);
    masked[(V - 1) / 64] &= ~(1ull << ((V - 1) % 64)); /* one is left: no matter how likely */
    logits[V - 1] = -INFINITY;
    assert_int_equal(sampler_pick(&s, logits, &greedy, 0, masked), V - 1);
    masked[1] = ~1ull;
    assert_int_equal(sampler_pick(&s, logits, &greedy, 0, masked), 64); /* of two the finite one */
    masked[1] = ~0ull;
    masked[(V - 1) / 64] = (1ull << (V % 64)) - 1; /* bits behind the last token mean nothing */
    assert_int_equal(sampler_pick(&s, logits, &greedy, 0, masked), -1);
    greedy.temperature = 1;
    assert_int_equal(sampler_pick(&s, logits, &greedy, 0, masked), -1);
    sampler_deinit(&s);
}

static void draws_follow_the_softmax(void **state)
{
    (void)state;
    struct sampler s;
    struct engine_sampling one = {.temperature = 2, .top_p = 1, .seed = 42};
    float logits[4] = {2 * logf(0.1f), 2 * logf(0.2f), 2 * logf(0.3f), 2 * logf(0.4f)};
    int counts[4] = {0};
    assert_true(sampler_init(&s, 4));
    for (uint64_t i = 0; i < 20000; i++)
        counts[sampler_pick(&s, logits, &one, i, NULL)]++;
    for (int i = 0; i < 4; i++)
        assert_true(abs(counts[i] - 2000 * (i + 1)) < 300);
    sampler_deinit(&s);
}

static int n_different(struct sampler *s, const float *logits, struct engine_sampling settings)
{
    int seen[V] = {0}, n = 0;
    for (uint64_t i = 0; i < 5000; i++) {
        int32_t id = sampler_pick(s, logits, &settings, i, NULL);
        n += !seen[id]++;
    }
    return n;
}

static void top_k_top_p_and_min_p_cut_the_tail(void **state)
{
    (void)state;
    struct sampler s;
    float logits[V];
    for (int i = 0; i < V; i++)
        logits[i] = logf(i < 10 ? 0.05f : 0.5f / (V - 10));
    assert_true(sampler_init(&s, V));
    struct engine_sampling open = {.temperature = 1, .top_p = 1};
    assert_true(n_different(&s, logits, open) > 500);
    open.top_k = 3;
    assert_int_equal(n_different(&s, logits, open), 3);
    open.top_k = 0;
    open.top_p = 0.499f;
    assert_int_equal(n_different(&s, logits, open), 10);
    open.top_p = 1;
    open.min_p = 0.1f;
    assert_int_equal(n_different(&s, logits, open), 10);
    open.min_p = 0;
    open.top_p = 0; /* at least one always remains */
    assert_int_equal(n_different(&s, logits, open), 1);
    sampler_deinit(&s);
}

static void the_same_seed_and_draw_give_the_same_token(void **state)
{
    (void)state;
    struct sampler s;
    struct engine_sampling a = {.temperature = 1, .top_p = 1, .seed = 7}, b = a;
    float logits[V] = {0};
    int n_same = 0;
    b.seed = 8;
    assert_true(sampler_init(&s, V));
    for (uint64_t i = 0; i < 200; i++) {
        int32_t id = sampler_pick(&s, logits, &a, i, NULL);
        assert_int_equal(id, sampler_pick(&s, logits, &a, i, NULL));
        n_same += id == sampler_pick(&s, logits, &b, i, NULL);
    }
    assert_true(n_same < 10);
    sampler_deinit(&s);
}

struct plain {
    double p;
    int32_t id;
};

static int by_p_then_id(const void *a, const void *b)
{
    const struct plain *x = a, *y = b;
    return x->p != y->p ? (x->p < y->p ? 1 : -1) : (x->id > y->id) - (x->id < y->id);
}

/* What a draw means, in plain words: sort all, cut, walk. */
static int32_t plain_pick(const float *logits, uint32_t n, const struct engine_sampling *g,
                          double u, const uint64_t *masked, struct plain *all)
{
    uint32_t n_all = 0, n_kept = 0;
    double most = -INFINITY, total = 0, kept = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!(masked[i / 64] >> (i % 64) & 1) && (double)logits[i] > most)
            most = (double)logits[i];
    for (uint32_t i = 0; i < n; i++)
        if (!(masked[i / 64] >> (i % 64) & 1) &&
            logits[i] >= (float)most - 20.0f * g->temperature)
            all[n_all++] = (struct plain){
                exp(((double)logits[i] - most) / (double)g->temperature), (int32_t)i};
    qsort(all, n_all, sizeof *all, by_p_then_id);
    if (g->top_k && n_all > g->top_k)
        n_all = g->top_k;
    for (uint32_t i = 0; i < n_all; i++)
        total += all[i].p;
    while (n_kept < n_all && !(n_kept && (kept >= (double)g->top_p * total ||
                                          all[n_kept].p < (double)g->min_p)))
        kept += all[n_kept++].p;
    double at = u * kept;
    for (uint32_t i = 0; i + 1 < n_kept; i++)
        if ((at -= all[i].p) < 0)
            return all[i].id;
    return all[n_kept - 1].id;
}

/* The number of draw `draw`, to 1 / n: which of n equal tokens it picks. */
static double uniform_of(struct sampler *s, uint64_t seed, uint64_t draw, uint32_t n)
{
    float *flat = calloc(n, sizeof *flat);
    struct engine_sampling open = {.temperature = 1, .top_p = 1, .seed = seed};
    int32_t id = sampler_pick(s, flat, &open, draw, NULL);
    free(flat);
    return ((double)id + 0.5) / n;
}

/* Wide rows, flat and peaked, with every cut: few tokens ranked, many, and all. The draw is known
 * to 2^-15 only, so where it falls on an edge the neighbours are right, too. */
static void draws_are_those_of_a_sort_of_all(void **state)
{
    (void)state;
    enum { N = 1 << 15, ROUNDS = 240 };
    static float logits[N];
    static struct plain all[N];
    static uint64_t masked[N / 64];
    struct sampler s;
    uint64_t random = 88172645463325252u;
    int n_same = 0;
    assert_true(sampler_init(&s, N));
    for (int round = 0; round < ROUNDS; round++) {
        struct engine_sampling g = {
            .temperature = (float[]){0.2f, 1, 3}[round % 3],
            .top_p = (float[]){1, 0.9f, 0.5f, 1}[round % 4],
            .min_p = round % 5 == 4 ? 0.02f : 0,
            .top_k = (uint32_t[]){0, 0, 20, 0, 2000}[round % 5],
            .seed = 11,
        };
        for (int i = 0; i < N; i++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            float u = (float)(random >> 40) * 0x1p-24f;
            logits[i] = -logf(u + 1e-9f) * (round % 2 ? 1.5f : 0.05f);
        }
        for (int i = 0; i < N / 64; i++)
            masked[i] = round % 7 == 3 ? random * (uint64_t)(i + 1) : 0;
        double u = uniform_of(&s, g.seed, (uint64_t)round, N);
        int32_t id = sampler_pick(&s, logits, &g, (uint64_t)round, masked);
        int32_t low = plain_pick(logits, N, &g, u - 0.5 / N, masked, all);
        int32_t high = plain_pick(logits, N, &g, u + 0.5 / N, masked, all);
        n_same += low == high;
        assert_true(logits[id] <= logits[low] && logits[id] >= logits[high]);
        if (low == high)
            assert_int_equal(id, low);
    }
    assert_true(n_same > ROUNDS / 3);
    sampler_deinit(&s);
}

static void logprob_is_the_log_of_the_softmax(void **state)
{
    (void)state;
    struct sampler s;
    float logits[3] = {1000, 1000 + logf(2), -INFINITY};
    assert_true(sampler_init(&s, 3));
    assert_true(fabsf(sampler_logprob(&s, logits, 0) - logf(1.0f / 3)) < 1e-4f);
    assert_true(fabsf(sampler_logprob(&s, logits, 1) - logf(2.0f / 3)) < 1e-4f);
    sampler_deinit(&s);
}

/* ---- penalties ---- */

static void penalties_lower_what_was_said_of_late(void **state)
{
    (void)state;
    struct penalties p;
    const struct engine_bias biases[] = {{7, 2}, {9, -INFINITY}, {3, 1}};
    struct engine_request ask = {
        .sampling = {.repeat_penalty = 2, .frequency_penalty = 0.5f, .presence_penalty = 0.25f},
        .biases = biases,
        .n_biases = 3,
    };
    int32_t tokens[100];
    float logits[V], before[V];
    for (int i = 0; i < V; i++)
        before[i] = logits[i] = i % 2 ? 4 : -4;
    for (int i = 0; i < 100; i++)
        tokens[i] = i < 36 ? 500 : 100 + i; /* 500 is past the last 64 */
    tokens[40] = tokens[50] = tokens[60] = 3;
    tokens[41] = 2;
    assert_true(penalties_init(&p, V));
    penalties_apply(&p, &ask, tokens, 100, logits);
    assert_float_equal(logits[500], -4, 0);
    assert_float_equal(logits[7], 6, 0);
    assert_true(isinf(logits[9]) && logits[9] < 0);
    assert_float_equal(logits[3], (4 + 1) / 2.0f - 3 * 0.5f - 0.25f, 1e-6);
    assert_float_equal(logits[2], -4 * 2.0f - 0.5f - 0.25f, 1e-6);
    penalties_undo(&p, logits);
    assert_memory_equal(logits, before, sizeof logits);

    ask = (struct engine_request){.sampling = {.presence_penalty = 1, .penalty_window = 2}};
    penalties_apply(&p, &ask, tokens, 100, logits); /* the counts begin at 0 again */
    assert_float_equal(logits[199], 3, 0);
    assert_float_equal(logits[198], -5, 0);
    assert_float_equal(logits[197], 4, 0);
    penalties_undo(&p, logits);

    ask = (struct engine_request){.sampling = {.temperature = 1}};
    penalties_apply(&p, &ask, tokens, 100, logits);
    assert_memory_equal(logits, before, sizeof logits);
    penalties_deinit(&p);
}

/* ---- the order of use ---- */

/* A hundred thousand, used, taken out and put back in no order: a search through all of them would
 * take a hundred billion looks. */
static void the_least_used_of_many_is_found_at_once(void **state)
{
    (void)state;
    enum { N = 100000, ROUNDS = 1000000 };
    struct use_heap h = {0};
    struct use_heap_item *items = calloc(N, sizeof *items);
    uint64_t random = 88172645463325252u, n_use = 0, last = 0;
    size_t n_out = 0;
    assert_null(use_heap_least(&h));
    assert_true(use_heap_reserve(&h, 10) && use_heap_reserve(&h, N));
    for (size_t i = 0; i < N; i++) {
        items[i].n_use = ++n_use * 7919 % N; /* each once, but for 0 and N */
        use_heap_add(&h, &items[i]);
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        struct use_heap_item *item = &items[random % N];
        if (random >> 32 & 1 || !item->place)
            use_heap_use(&h, item, N + ++n_use);
        if (!item->place)
            use_heap_add(&h, item);
        else if (random >> 33 & 1)
            use_heap_remove(&h, item);
    }
    for (size_t i = 0; i < N; i++)
        n_out += !items[i].place;
    assert_int_equal(h.n, N - n_out);
    while (h.n) {
        struct use_heap_item *least = use_heap_least(&h);
        assert_true(least->n_use >= last);
        last = least->n_use;
        use_heap_remove(&h, least);
        assert_true(!least->place);
    }
    use_heap_deinit(&h);
    free(items);
}

/* ---- guesses ---- */

static void what_was_said_before_is_guessed(void **state)
{
    (void)state;
    struct draft d = {0};
    const int32_t tokens[] = {9, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3};
    int32_t out[16];
    assert_int_equal(draft_propose(&d, tokens, 12, 16, out), 4);
    assert_memory_equal(out, ((const int32_t[]){4, 5, 6, 7}), 4 * sizeof *out);
    draft_learn(&d, 4, 4); /* it pays: more at once */
    assert_int_equal(draft_propose(&d, tokens, 12, 16, out), 8);
    assert_memory_equal(out, ((const int32_t[]){4, 5, 6, 7, 8, 1, 2, 3}), 8 * sizeof *out);
    assert_int_equal(draft_propose(&d, tokens, 12, 3, out), 3);
    assert_int_equal(draft_propose(&d, tokens, 12, 0, out), 0);
    assert_int_equal(draft_propose(&d, tokens, 11, 16, out), 0); /* two tokens are too few */
    assert_int_equal(draft_propose(&d, tokens, 1, 16, out), 0);
    /* the end repeats itself */
    const int32_t again[] = {5, 5, 5, 5};
    d = (struct draft){0};
    assert_int_equal(draft_propose(&d, again, 4, 16, out), 4);
    assert_memory_equal(out, ((const int32_t[]){5, 5, 5, 5}), 4 * sizeof *out);
}

static void guesses_that_do_not_pay_become_seldom(void **state)
{
    (void)state;
    struct draft d = {0};
    const int32_t tokens[] = {1, 2, 3, 4, 1, 2, 3};
    int32_t out[16];
    uint32_t n = 0;
    for (int i = 0; i < 1000; i++) {
        uint32_t n_guessed = draft_propose(&d, tokens, 7, 16, out);
        if (n_guessed) {
            draft_learn(&d, n_guessed, 0);
            n++;
        }
    }
    assert_true(n > 10 && n < 30);
}

/* ---- the pace ---- */

/* How long steps take somewhere: reading the weights once, each row, and how much more a row costs where
 * there are less than a tile of them. From 0.1B to 30B, on machines with fast and slow memory and
 * arithmetic. */
struct machine {
    const char *name;
    double weights_ms, row_ms, few;
    uint32_t tile;
};

static const struct machine machines[] = {
    {"0.1B", 1.2, 0.06, 1.3, 12},     {"0.5B", 6, 0.3, 1.3, 12},
    {"1.5B", 15, 0.9, 1.3, 12},       {"7B", 70, 4, 1.3, 12},
    {"30B", 300, 18, 1.3, 12},        {"0.1B, slow", 5, 1.2, 1.8, 12},
    {"0.5B, slow", 17, 4.5, 1.8, 12}, {"1.5B, slow", 48, 13.5, 1.8, 12},
    {"7B, slow", 220, 62, 1.8, 12},   {"30B, slow", 1000, 270, 1.8, 12},
    {"slow memory", 48, 0.8, 1, 12},  {"slow arithmetic", 10, 10, 1, 12},
    {"very slow", 10, 10, 3, 12},     {"7B, a large tile", 12, 0.1, 1, 64},
    {"0.1B, a large tile", 0.5, 0.01, 1, 64},
};

static double step_ms(const struct machine *m, uint32_t n_rows)
{
    const uint32_t part = m->tile / 3, rounded = (n_rows + part - 1) / part * part;
    const double tiles = 0.3 * m->weights_ms + m->row_ms * rounded;
    if (n_rows < m->tile)
        return m->weights_ms + m->few * m->row_ms * (n_rows - 1);
    return tiles > m->weights_ms ? tiles : m->weights_ms;
}

/* A prompt without an end beside streams, with what is measured off by up to so much. What the
 * promise of pace.h says is kept. */
static void check_pace(const struct machine *m, uint32_t n_streams, double noise, bool knows_alone)
{
    enum { MOST = 512, WARM = 200, STEPS = 4000 };
    struct pace p = {.tile = m->tile};
    uint64_t random = 88172645463325252u;
    const double plain = step_ms(m, n_streams), tiles = step_ms(m, 2 * m->tile + n_streams);
    double ms = 0, longest = 0, n_prompt = 0, n_each = 0;
    if (knows_alone)
        pace_note(&p, 0, MOST, step_ms(m, MOST));
    for (int i = 0; i < WARM + STEPS; i++) {
        const uint32_t n = pace_rows(&p, n_streams, MOST);
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        const double factor = 1 - noise + 2 * noise * (double)(random >> 40) * 0x1p-24;
        const double now = step_ms(m, n_streams + n) * factor;
        pace_note(&p, n_streams, n, now);
        longest = i >= WARM && now > longest ? now : longest;
        ms += i >= WARM ? now : 0;
        n_prompt += i >= WARM ? n : 0;
        n_each += i >= WARM;
    }
    const double of_lone = n_prompt / ms / (MOST / step_ms(m, MOST));
    const double of_fair = n_each / ms / (0.5 / plain);
    if (of_lone < 0.5 || of_fair < 0.6)
        fail_msg("%s beside %u: prompt %.2f of lone, streams %.2f of fair", m->name, n_streams,
                 of_lone, of_fair);
    /* two and a half plain steps, or what two tiles take, and what was estimated too low */
    const double gap = (2.5 * plain > tiles ? 2.5 * plain : tiles) * (1.2 + 2 * noise);
    if (longest > gap || (2.5 * plain < 45 && tiles < 45 && longest > 60))
        fail_msg("%s beside %u: a gap of %.1f ms, plain steps take %.1f", m->name, n_streams,
                 longest, plain);
}

static void prompts_and_streams_keep_their_shares_on_any_machine(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++)
        for (uint32_t n_streams = 1; n_streams <= 9; n_streams += 2)
            for (int how = 0; how < 4; how++)
                check_pace(&machines[i], n_streams, how & 1 ? 0.1 : 0, how & 2);
}

/* A machine that becomes slower or faster, or was asleep for a moment. */
static void the_pace_follows_the_machine(void **state)
{
    (void)state;
    const struct machine fast = {"fast", 6, 0.3, 1.3, 12}, slow = {"slow", 48, 13.5, 1.8, 12};
    struct pace p = {.tile = 12};
    uint32_t n_prompt = 0, n_steps = 0;
    assert_int_equal(pace_rows(&p, 1, 512), 0); /* a plain step first, to measure */
    pace_note(&p, 1, 0, 6);
    assert_int_equal(pace_rows(&p, 1, 512), 11); /* and a tile */
    for (int phase = 0; phase < 4; phase++) {
        const struct machine *m = phase % 2 ? &slow : &fast;
        double ms = 0, prompt_ms = 0;
        if (phase == 3)
            pace_note(&p, 1, 11, 60000); /* it is not paid for in full */
        for (int i = 0; i < 1500; i++) {
            const uint32_t n = pace_rows(&p, 1, 512);
            pace_note(&p, 1, n, step_ms(m, 1 + n));
            if (i < 700)
                continue;
            ms += step_ms(m, 1 + n);
            prompt_ms += step_ms(m, 1 + n) - step_ms(m, 1);
            n_prompt += n;
            n_steps++;
        }
        assert_true(prompt_ms > 0.5 * ms && prompt_ms < 0.65 * ms);
    }
    assert_true(n_prompt > n_steps);
    /* streams alone save nothing up */
    for (int i = 0; i < 1000; i++)
        pace_note(&p, 1, 0, 48);
    int n_mixed = 0;
    for (int i = 0; i < 10; i++) {
        const uint32_t n = pace_rows(&p, 1, 512);
        pace_note(&p, 1, n, step_ms(&slow, 1 + n));
        n_mixed += n > 0;
    }
    assert_in_range(n_mixed, 4, 8);
    assert_int_equal(pace_rows(&p, 1, 0), 0);
    for (uint32_t n_streams = 1; n_streams < 500; n_streams += 7)
        assert_true(pace_rows(&p, n_streams, 12) <= 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_handed_out_once_and_come_back),
        cmocka_unit_test(truncating_gives_back_every_page_behind),
        cmocka_unit_test(the_least_used_of_many_is_found_at_once),
        cmocka_unit_test(what_was_said_before_is_guessed),
        cmocka_unit_test(guesses_that_do_not_pay_become_seldom),
        cmocka_unit_test(prompts_and_streams_keep_their_shares_on_any_machine),
        cmocka_unit_test(the_pace_follows_the_machine),
        cmocka_unit_test(greedy_takes_the_largest_and_of_equals_the_first),
        cmocka_unit_test(draws_follow_the_softmax),
        cmocka_unit_test(top_k_top_p_and_min_p_cut_the_tail),
        cmocka_unit_test(the_same_seed_and_draw_give_the_same_token),
        cmocka_unit_test(draws_are_those_of_a_sort_of_all),
        cmocka_unit_test(logprob_is_the_log_of_the_softmax),
        cmocka_unit_test(penalties_lower_what_was_said_of_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
