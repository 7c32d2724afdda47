/* Attention: its formula for many shapes, layers of different shapes side by side, sequences in one
 * batch, and pages that windows have left. */
#include "backend/conformance_house.h"

static const enum backend_kv_type kv_types[] = {BACKEND_KV_F16, BACKEND_KV_Q8_0, BACKEND_KV_Q4_0};
enum { N_KV_TYPES = sizeof kv_types / sizeof *kv_types };

/* Five layers: the third reads the first one's keys and values through a window, the fourth keeps a
 * state and no keys, the fifth reads the second's without the window that the second has. */
static const struct house_layer mixed[] = {
    {4, {.n_kv_heads = 2, .head_dim = 64}},
    {2, {.n_kv_heads = 1, .head_dim = 32, .window = 9}},
    {8, {.n_kv_heads = 2, .head_dim = 64, .window = 70, .n_back = 2}},
    {0, {.n_state = 24}},
    {3, {.n_kv_heads = 1, .head_dim = 32, .n_back = 3}},
    {4, {.n_kv_heads = 4, .head_dim = 16}},
};
enum { N_MIXED = sizeof mixed / sizeof *mixed };

void conformance_attention_is_its_formula(void **state)
{
    (void)state;
    static const struct {
        uint32_t n;
        struct house_layer layer;
    } cases[] = {
        {150, {4, {.n_kv_heads = 2, .head_dim = 64}}},
        {90, {6, {.n_kv_heads = 6, .head_dim = 80}}},
        {70, {3, {.n_kv_heads = 1, .head_dim = 96}}},
        {65, {2, {.n_kv_heads = 2, .head_dim = 128}}},
        {20, {2, {.n_kv_heads = 1, .head_dim = 256}}},
        {64, {5, {.n_kv_heads = 5, .head_dim = 18}}},
        {200, {4, {.n_kv_heads = 2, .head_dim = 64, .window = 1}}},
        {200, {3, {.n_kv_heads = 3, .head_dim = 64, .window = 100}}},
        {140, {7, {.n_kv_heads = 1, .head_dim = 32, .window = 64}}},
        {60, {2, {.n_kv_heads = 1, .head_dim = 64, .window = 5000}}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (size_t t = 0; t < N_KV_TYPES; t++) {
            struct house h;
            struct story s;
            if (!house_init(&h, &cases[c].layer, 1, kv_types[t]))
                continue;
            story_init(&s, &h, cases[c].n);
            house_tell(&h, &s, 0, 0, 50);
            house_check(&h, &s);
            story_deinit(&s);
            house_deinit(&h);
        }
}

void conformance_layers_may_differ(void **state)
{
    (void)state;
    static const uint32_t chunks[] = {1, 7, 100};
    for (size_t t = 0; t < N_KV_TYPES; t++) {
        struct house h;
        struct story whole, s;
        if (!house_init(&h, mixed, N_MIXED, kv_types[t]))
            continue;
        story_init(&whole, &h, 130);
        house_tell(&h, &whole, 0, 0, 200);
        house_check(&h, &whole);
        for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
            s = whole;
            for (uint32_t i = 0; i < N_MIXED; i++) {
                const size_t n = (size_t)whole.n * mixed[i].n_heads * mixed[i].kv.head_dim;
                s.out[i] = calloc(n + 1, sizeof(float));
                assert_non_null(s.out[i]);
            }
            house_tell(&h, &s, 1, 0, chunks[c]);
            house_same(&h, &whole, &s, 0, "other chunks");
            for (uint32_t i = 0; i < N_MIXED; i++)
                free(s.out[i]);
        }
        story_deinit(&whole);
        house_deinit(&h);
    }
}

/* Three of different lengths, generating and reading, in the same batches. */
void conformance_sequences_do_not_see_each_other(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {190, 61, 120}, chunks[] = {1, 13, 29};
    struct house h;
    struct story alone[CONFORMANCE_SEQUENCES], s[CONFORMANCE_SEQUENCES];
    assert_true(house_init(&h, mixed, N_MIXED, BACKEND_KV_F16));
    for (uint32_t i = 0; i < CONFORMANCE_SEQUENCES; i++) {
        story_init(&s[i], &h, lengths[i]);
        house_tell(&h, &s[i], i, 0, 64);
        alone[i] = s[i];
        for (uint32_t k = 0; k < N_MIXED; k++) {
            const size_t width = (size_t)mixed[k].n_heads * mixed[k].kv.head_dim;
            alone[i].out[k] = malloc((lengths[i] * width + 1) * sizeof(float));
            assert_non_null(alone[i].out[k]);
            memcpy(alone[i].out[k], s[i].out[k], lengths[i] * width * sizeof(float));
        }
    }
    uint32_t done[] = {150, 0, 0}; /* the first is deep in its context already */
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 0; i < CONFORMANCE_SEQUENCES; i++) {
            const uint32_t left = lengths[i] - done[i], n = left < chunks[i] ? left : chunks[i];
            if (n)
                house_add(&h, &s[i], i, done[i], n);
            done[i] += n;
            more |= n > 0;
        }
        if (more)
            house_run(&h);
    }
    for (uint32_t i = 0; i < CONFORMANCE_SEQUENCES; i++) {
        house_same(&h, &alone[i], &s[i], 0, "beside others");
        for (uint32_t k = 0; k < N_MIXED; k++)
            free(alone[i].out[k]);
        story_deinit(&s[i]);
    }
    house_deinit(&h);
}

void conformance_pages_that_windows_left_may_be_gone(void **state)
{
    (void)state;
    static const struct house_layer layers[] = {
        {4, {.n_kv_heads = 2, .head_dim = 32, .window = 70}},
        {2, {.n_kv_heads = 2, .head_dim = 64, .window = 5}},
    };
    struct house h;
    struct story s;
    assert_true(house_init(&h, layers, 2, BACKEND_KV_F16));
    story_init(&s, &h, HOUSE_MAX_TOKENS);
    for (uint32_t i = 0; i < s.n; i += 10) {
        house_add(&h, &s, 0, i, 10);
        house_run(&h);
        for (uint32_t k = 0; k < backend_first_seen(i + 10, 70) / CONFORMANCE_P; k++)
            h.pages[0][k] = BACKEND_NO_PAGE;
    }
    house_check(&h, &s);
    story_deinit(&s);
    house_deinit(&h);
}
