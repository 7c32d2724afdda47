/* Prefixes are found, shared, kept once and given up in the right order, and no page is lost or held by nobody. */
#include "engine/prefix_tree.h"
#include "support/temp_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { P = BACKEND_PAGE_TOKENS, N_PAGES = 60, HOME = 1 };
enum { SOME = P / 4, MORE = P / 2, MOST = P * 3 / 4 }; /* tokens of a begun page */

static struct {
    uint32_t dst, src, n_tokens, n_calls;
} last_copy;

static void note_copy(struct backend *be, uint32_t dst, uint32_t src, uint32_t n_tokens)
{
    (void)be;
    last_copy.dst = dst;
    last_copy.src = src;
    last_copy.n_tokens = n_tokens;
    last_copy.n_calls++;
}

enum { PAGE_BYTES = 3000 };
static uint8_t memory[N_PAGES][PAGE_BYTES];

/* Pages are the host's memory. */
static struct backend_save *page_save(struct backend *be, enum backend_kept kept, uint32_t page,
                                      struct error *err)
{
    (void)be;
    (void)kept;
    (void)err;
    return (struct backend_save *)(void *)memory[page];
}

static const void *page_bytes(struct backend *be, struct backend_save *save, struct error *err)
{
    (void)be;
    (void)err;
    return save;
}

static void page_saved(struct backend *be, struct backend_save *save)
{
    (void)be;
    (void)save;
}

static void *page_load(struct backend *be, enum backend_kept kept, uint32_t page,
                       struct error *err)
{
    (void)be;
    (void)kept;
    (void)err;
    return memory[page];
}

static bool page_loaded(struct backend *be, enum backend_kept kept, uint32_t page, void *bytes,
                        bool is_whole, struct error *err)
{
    (void)bytes;
    (void)be;
    (void)kept;
    (void)page;
    (void)is_whole;
    (void)err;
    return true;
}

static const struct backend_ops note_ops = {
    .kv_page_copy = note_copy,
    .save_begin = page_save,
    .save_bytes = page_bytes,
    .save_end = page_saved,
    .load_begin = page_load,
    .load_end = page_loaded,
};
static struct backend note_backend = {.ops = &note_ops};

struct world {
    struct kv_pages pool;
    struct prefix_tree tree;
};

static void window_world_begin(struct world *w, uint32_t window)
{
    assert_true(kv_pages_init(&w->pool, N_PAGES));
    prefix_tree_init(&w->tree, &w->pool, &note_backend, 0, window, NULL);
    last_copy.n_calls = 0;
}

static void world_begin(struct world *w)
{
    window_world_begin(w, 0);
}

static void world_end(struct world *w)
{
    prefix_tree_deinit(&w->tree);
    assert_int_equal(w->pool.n_free, N_PAGES);
    kv_pages_deinit(&w->pool);
}

/* Tokens start, start + 1, ... of which the first n_computed have pages. */
static struct sequence sequence_of(struct world *w, int32_t start, uint32_t n, uint32_t n_computed)
{
    struct sequence s;
    int32_t tokens[N_PAGES * P];
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = start + (int32_t)i;
    assert_true(sequence_init(&s, tokens, n, 0));
    while (s.n_pages < sequence_pages_for(n_computed))
        assert_true(kv_pages_acquire(&w->pool, &s.pages[s.n_pages++]));
    s.n_computed = n_computed;
    return s;
}

/* Computed by somebody and kept. */
static void keep(struct world *w, int32_t start, uint32_t n, enum prefix_class class)
{
    struct sequence s = sequence_of(w, start, n, n);
    prefix_tree_keep(&w->tree, HOME, class, &s, n);
    sequence_deinit(&s, &w->pool);
}

/* How many tokens more s has from the tree. */
static uint32_t adopt(struct world *w, struct sequence *s, uint32_t n, bool parts)
{
    const uint32_t n_before = s->n_computed;
    uint64_t n_bytes = UINT64_MAX;
    assert_true(prefix_tree_adopt(&w->tree, HOME, s, n, parts, &n_bytes));
    return s->n_computed - n_before;
}

static uint32_t match(struct world *w, int32_t start, uint32_t n)
{
    struct sequence s = sequence_of(w, start, n, 0);
    uint32_t n_match = prefix_tree_match(&w->tree, HOME, s.tokens, n, true);
    sequence_deinit(&s, &w->pool);
    return n_match;
}

static void adopting_shares_whole_pages_and_copies_the_begun_one(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    struct sequence a = sequence_of(&w, 0, 2 * P + MOST, 2 * P + MOST);
    prefix_tree_keep(&w.tree, HOME, PREFIX_SIDE, &a, 2 * P + MOST);
    struct sequence b = sequence_of(&w, 0, 2 * P + MORE, 0);
    assert_int_equal(adopt(&w, &b, 2 * P + MORE - 1, true), 2 * P + MORE - 1);
    assert_int_equal(b.n_computed, 2 * P + MORE - 1);
    assert_int_equal(b.n_pages, 3);
    assert_int_equal(b.pages[0], a.pages[0]);
    assert_int_equal(b.pages[1], a.pages[1]);
    assert_int_not_equal(b.pages[2], a.pages[2]);
    assert_int_equal(last_copy.n_calls, 1);
    assert_int_equal(last_copy.dst, b.pages[2]);
    assert_int_equal(last_copy.src, a.pages[2]);
    assert_int_equal(last_copy.n_tokens, MORE - 1);
    sequence_deinit(&a, &w.pool);
    sequence_deinit(&b, &w.pool);
    assert_int_equal(w.pool.n_free, N_PAGES - 3);

    /* one whose first page is other than all: nothing */
    struct sequence c = sequence_of(&w, 7, 2 * P, 0);
    assert_int_equal(adopt(&w, &c, 2 * P - 1, true), 0);
    assert_int_equal(c.n_pages, 0);
    sequence_deinit(&c, &w.pool);
    world_end(&w);
}

static void whoever_reads_along_gets_pages_as_they_come(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    struct sequence first = sequence_of(&w, 0, 4 * P, 4 * P);
    struct sequence second = sequence_of(&w, 0, 4 * P, 4 * P); /* its pages are there already */
    second.n_computed = 0;
    prefix_tree_keep(&w.tree, HOME, PREFIX_SIDE, &first, 2 * P);
    assert_int_equal(adopt(&w, &second, 4 * P - 1, false), 2 * P);
    prefix_tree_keep(&w.tree, HOME, PREFIX_SIDE, &first, 3 * P);
    assert_int_equal(adopt(&w, &second, 4 * P - 1, false), P);
    assert_int_equal(second.n_computed, 3 * P);
    assert_int_equal(second.n_pages, 4);
    assert_memory_equal(second.pages, first.pages, 3 * sizeof *first.pages);
    assert_int_equal(w.pool.n_free, N_PAGES - 5);
    sequence_deinit(&first, &w.pool);
    sequence_deinit(&second, &w.pool);
    world_end(&w);
}

static void what_two_computed_is_kept_once(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    struct sequence a = sequence_of(&w, 0, 3 * P, 3 * P), b = sequence_of(&w, 0, 3 * P, 3 * P);
    prefix_tree_keep(&w.tree, HOME, PREFIX_SIDE, &a, 3 * P);
    prefix_tree_keep(&w.tree, HOME, PREFIX_SIDE, &b, 3 * P);
    assert_memory_equal(a.pages, b.pages, 3 * sizeof *a.pages); /* b's own are free again */
    assert_int_equal(w.pool.n_free, N_PAGES - 3);
    sequence_deinit(&a, &w.pool);
    sequence_deinit(&b, &w.pool);

    /* an end that another continues goes; one that says less than what is there adds nothing */
    keep(&w, 1000, P + SOME, PREFIX_SIDE);
    keep(&w, 1000, P + MOST, PREFIX_SIDE);
    assert_int_equal(w.tree.n_nodes, 5);
    keep(&w, 1000, 2 * P, PREFIX_SIDE);
    assert_int_equal(w.tree.n_nodes, 5);
    keep(&w, 1000, P + MORE, PREFIX_SIDE);
    assert_int_equal(w.tree.n_nodes, 5);
    assert_int_equal(match(&w, 1000, 3 * P), 2 * P);
    world_end(&w);
}

static void the_least_used_goes_first_and_ends_before_beginnings(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    keep(&w, 0, 3 * P, PREFIX_SIDE);
    keep(&w, 1000, 2 * P, PREFIX_SIDE);
    struct sequence again = sequence_of(&w, 0, 3 * P, 0);
    adopt(&w, &again, P, false); /* the first's first page is used again */
    sequence_deinit(&again, &w.pool);
    assert_true(prefix_tree_evict(&w.tree));
    assert_int_equal(match(&w, 0, 3 * P), 2 * P);
    assert_true(prefix_tree_evict(&w.tree));
    assert_int_equal(match(&w, 0, 3 * P), P);
    assert_true(prefix_tree_evict(&w.tree));
    assert_int_equal(match(&w, 1000, 2 * P), P);
    assert_true(prefix_tree_evict(&w.tree));
    assert_int_equal(match(&w, 1000, 2 * P), 0);
    assert_int_equal(match(&w, 0, 3 * P), P);
    assert_true(prefix_tree_evict(&w.tree));
    assert_false(prefix_tree_evict(&w.tree));
    world_end(&w);
}

static void side_talk_goes_before_a_long_conversation(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    keep(&w, 0, 10 * P, PREFIX_MAIN);
    for (int32_t i = 1; i < 20; i++)
        keep(&w, 10000 * i, 2 * P, PREFIX_SIDE);
    for (int i = 0; i < 19 * 2; i++)
        assert_true(prefix_tree_evict(&w.tree));
    assert_int_equal(match(&w, 0, 10 * P), 10 * P);
    assert_true(prefix_tree_evict(&w.tree));
    assert_int_equal(match(&w, 0, 10 * P), 9 * P);
    world_end(&w);
}

static void what_somebody_computes_on_stays(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    keep(&w, 0, 4 * P, PREFIX_SIDE);
    struct sequence s = sequence_of(&w, 0, 3 * P, 0);
    assert_int_equal(adopt(&w, &s, 3 * P, false), 3 * P);
    assert_true(prefix_tree_evict(&w.tree));
    assert_false(prefix_tree_evict(&w.tree));
    sequence_deinit(&s, &w.pool);
    assert_true(prefix_tree_evict(&w.tree));
    world_end(&w);
}

static void spaces_never_meet(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    keep(&w, 0, 2 * P, PREFIX_SIDE);
    struct sequence s = sequence_of(&w, 0, 2 * P, 0);
    assert_int_equal(prefix_tree_match(&w.tree, HOME + 1, s.tokens, 2 * P, true), 0);
    uint64_t n_bytes = UINT64_MAX;
    assert_true(prefix_tree_adopt(&w.tree, HOME + 1, &s, 2 * P - 1, true, &n_bytes));
    assert_int_equal(s.n_computed, 0);
    sequence_deinit(&s, &w.pool);
    world_end(&w);
}

/* ---- under a sliding window ---- */

enum { WINDOW = 2 * P };

static void only_what_a_window_sees_is_taken(void **state)
{
    (void)state;
    struct world w;
    window_world_begin(&w, WINDOW);
    keep(&w, 0, 6 * P + SOME, PREFIX_MAIN);
    struct sequence s = sequence_of(&w, 0, 7 * P, 0);
    assert_int_equal(adopt(&w, &s, 7 * P - 1, true), 6 * P + SOME);
    assert_int_equal(s.first_page, 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(s.pages[i], BACKEND_NO_PAGE);
    assert_int_equal(s.n_pages, 7);
    assert_int_equal(w.pool.n_free, N_PAGES - 8); /* the tree's 7, and a copied one */

    /* what it computes is kept behind pages that it never had */
    s.n_computed = 7 * P;
    prefix_tree_keep(&w.tree, HOME, PREFIX_MAIN, &s, 7 * P);
    assert_int_equal(match(&w, 0, 7 * P), 7 * P);

    /* one that has read less: its pages slide */
    struct sequence late = sequence_of(&w, 0, 7 * P, P);
    assert_int_equal(adopt(&w, &late, 7 * P, true), 6 * P);
    assert_int_equal(late.first_page, 5);
    assert_int_equal(late.pages[5], s.pages[5]);
    sequence_deinit(&late, &w.pool);
    sequence_deinit(&s, &w.pool);
    world_end(&w);
}

static void what_a_window_has_left_is_given_up_first(void **state)
{
    (void)state;
    struct world w;
    window_world_begin(&w, WINDOW);
    keep(&w, 100 * P, 2 * P, PREFIX_SIDE);
    keep(&w, 0, 6 * P, PREFIX_MAIN);
    for (uint32_t i = 0; i < 3; i++) { /* all but what a row sees, and one more */
        assert_int_equal(match(&w, 0, 3 * P), i < 2 ? 3 * P : 0); /* its row sees pages 1 and 2 */
        assert_true(prefix_tree_evict(&w.tree));
    }
    assert_int_equal(w.tree.n_in_memory, 5);
    assert_int_equal(match(&w, 100 * P, 2 * P), 2 * P);
    assert_int_equal(match(&w, 0, 6 * P), 6 * P);
    assert_int_equal(match(&w, 0, 5 * P), 5 * P);
    assert_int_equal(match(&w, 0, 4 * P), 0);

    /* computed again, they are there again; the others stay */
    keep(&w, 0, 4 * P, PREFIX_SIDE);
    assert_int_equal(w.tree.n_in_memory, 8);
    assert_int_equal(match(&w, 0, 4 * P), 4 * P);
    while (prefix_tree_evict(&w.tree))
        ;
    assert_int_equal(w.tree.n_nodes, 0);
    world_end(&w);
}

static void what_others_begin_with_is_not_left(void **state)
{
    (void)state;
    struct world w;
    int32_t tokens[6 * P];
    window_world_begin(&w, WINDOW);
    keep(&w, 0, 3 * P, PREFIX_SIDE);
    for (int32_t i = 0; i < 6 * P; i++)
        tokens[i] = i < 2 * P ? i : i + 1000;
    struct sequence s = sequence_of(&w, 0, 6 * P, 6 * P);
    memcpy(s.tokens, tokens, sizeof tokens);
    prefix_tree_keep(&w.tree, HOME, PREFIX_SIDE, &s, 6 * P);
    sequence_deinit(&s, &w.pool);
    assert_true(prefix_tree_evict(&w.tree)); /* page 2 of the longer one */
    assert_int_equal(match(&w, 0, 3 * P), 3 * P);
    assert_int_equal(prefix_tree_match(&w.tree, HOME, tokens, 6 * P, true), 6 * P);
    world_end(&w);
}

/* ---- with a disk ---- */

static void disk_window_world_begin(struct world *w, uint64_t max_bytes, uint32_t window)
{
    struct error err = {0};
    const struct disk_options options = {temp_folder, "test", max_bytes};
    assert_true(kv_pages_init(&w->pool, N_PAGES));
    struct disk_tier *disk = disk_tier_open(&options, PAGE_BYTES, &err);
    if (!disk)
        fail_msg("%s", err.message);
    prefix_tree_init(&w->tree, &w->pool, &note_backend, PAGE_BYTES, window, disk);
    memset(memory, 0, sizeof memory);
}

static void disk_world_begin(struct world *w, uint64_t max_bytes)
{
    disk_window_world_begin(w, max_bytes, 0);
}

static void wait_for_disk(struct world *w)
{
    while (w->tree.n_writing) {
        usleep(500);
        prefix_tree_poll(&w->tree);
    }
}

static void disk_world_end(struct world *w)
{
    wait_for_disk(w);
    disk_tier_close(w->tree.disk);
    world_end(w);
}

/* What the pages of a sequence hold follows from its tokens. */
static void fill(const struct sequence *s)
{
    for (uint32_t i = 0; i < s->n_pages; i++)
        memset(memory[s->pages[i]], s->tokens[i * P] / P + 1, PAGE_BYTES);
}

static void keep_filled(struct world *w, int32_t start, uint32_t n)
{
    struct sequence s = sequence_of(w, start, n, n);
    fill(&s);
    prefix_tree_keep(&w->tree, HOME, PREFIX_SIDE, &s, n);
    sequence_deinit(&s, &w->pool);
}

static void assert_filled(struct world *w, int32_t start, uint32_t n)
{
    struct sequence s = sequence_of(w, start, n + 1, 0);
    assert_int_equal(adopt(w, &s, n, true), n);
    for (uint32_t i = 0; i < s.n_pages; i++)
        assert_int_equal(memory[s.pages[i]][PAGE_BYTES - 1], (s.tokens[i * P] / P + 1) & 255);
    sequence_deinit(&s, &w->pool);
}

static void a_restart_finds_what_was_kept(void **state)
{
    (void)state;
    struct world w;
    disk_world_begin(&w, 100 << 20);
    keep_filled(&w, 0, 5 * P + SOME);
    keep_filled(&w, 100 * P, 3 * P);
    disk_world_end(&w);

    disk_world_begin(&w, 100 << 20);
    assert_int_equal(w.pool.n_free, N_PAGES);
    assert_int_equal(match(&w, 0, 6 * P), 5 * P); /* the begun page was in memory only */
    assert_filled(&w, 0, 5 * P);
    assert_int_equal(w.tree.n_in_memory, 5);
    assert_filled(&w, 100 * P, 2 * P + SOME); /* of a page on disk the beginning */
    /* in portions */
    uint64_t n_bytes = 0;
    struct sequence s = sequence_of(&w, 100 * P, 3 * P, 0);
    assert_false(prefix_tree_adopt(&w.tree, HOME, &s, 3 * P, true, &n_bytes));
    assert_int_equal(s.n_computed, 2 * P); /* these are in memory by now */
    n_bytes = 1;
    assert_true(prefix_tree_adopt(&w.tree, HOME, &s, 3 * P, true, &n_bytes));
    assert_int_equal(s.n_computed, 3 * P);
    sequence_deinit(&s, &w.pool);
    disk_world_end(&w);
}

static void what_leaves_the_memory_stays_on_disk(void **state)
{
    (void)state;
    struct world w;
    disk_world_begin(&w, 100 << 20);
    for (int32_t i = 0; i < 20; i++) {
        while (w.pool.n_free < 5)
            assert_true(prefix_tree_evict(&w.tree));
        keep_filled(&w, 1000 * P * i, 5 * P);
        wait_for_disk(&w);
    }
    assert_int_equal(w.tree.n_nodes, 100);
    assert_int_equal(w.tree.n_in_memory, N_PAGES);
    for (int32_t i = 0; i < 20; i++)
        assert_filled(&w, 1000 * P * i, 5 * P);
    disk_world_end(&w);
}

static void a_full_disk_gives_up_the_least_used(void **state)
{
    (void)state;
    enum { N = 500 }; /* of 4 pages each: more than a segment of 1024 has */
    struct world w;
    disk_world_begin(&w, 6 << 20);
    for (int32_t i = 0; i < N; i++) {
        while (w.pool.n_free < 4)
            assert_true(prefix_tree_evict(&w.tree));
        keep_filled(&w, 1000 * P * i, 4 * P);
        wait_for_disk(&w);
        if (i % 50 == 0)
            assert_filled(&w, 0, 4 * P); /* used again and again */
    }
    assert_true(w.tree.n_nodes <= 1024 + N_PAGES);
    assert_filled(&w, 1000 * P * (N - 1), 4 * P);
    assert_filled(&w, 0, 4 * P);
    disk_world_end(&w);
    disk_world_begin(&w, 6 << 20);
    assert_true(w.tree.n_nodes > 900);
    assert_filled(&w, 1000 * P * (N - 1), 4 * P);
    disk_world_end(&w);
}

/* ---- against a plain list of everything that was ever kept ---- */

enum { N_KEPT = 400, MOST_TOKENS = 6 * P };

static uint32_t random_state = 1;

static uint32_t below(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

/* Few different beginnings, so that much is shared. */
static uint32_t random_tokens(int32_t *tokens)
{
    uint32_t n = 1 + below(MOST_TOKENS - 1);
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = i % 50 == 0 ? (int32_t)below(3) : (int32_t)i;
    return n;
}

static void random_prefixes_are_those_of_a_list(void **state)
{
    (void)state;
    static int32_t kept[N_KEPT][MOST_TOKENS];
    static uint32_t n_of[N_KEPT];
    struct world w;
    world_begin(&w);
    for (uint32_t i = 0; i < N_KEPT; i++) {
        int32_t tokens[MOST_TOKENS];
        const uint32_t n = random_tokens(tokens);
        uint32_t best = 0;
        for (uint32_t j = 0; j < i; j++) {
            uint32_t k = 0;
            while (k < n && k < n_of[j] && kept[j][k] == tokens[k])
                k++;
            best = k > best ? k : best;
        }
        uint32_t found = prefix_tree_match(&w.tree, HOME, tokens, n, true);
        assert_true(found <= best);
        struct sequence s;
        assert_true(sequence_init(&s, tokens, n, 0));
        const uint32_t n_wanted = n - 1, n_have = found < n_wanted ? found : n_wanted;
        assert_int_equal(adopt(&w, &s, n_wanted, true), n_have);
        bool was_evicted = false;
        while (s.n_pages < sequence_pages_for(n)) {
            if (!w.pool.n_free) {
                assert_true(prefix_tree_evict(&w.tree));
                was_evicted = true;
            }
            assert_true(kv_pages_acquire(&w.pool, &s.pages[s.n_pages++]));
        }
        s.n_computed = n;
        prefix_tree_keep(&w.tree, HOME, below(2), &s, n);
        assert_int_equal(prefix_tree_match(&w.tree, HOME, tokens, n, true), n);
        sequence_deinit(&s, &w.pool);
        if (i < 5)
            assert_true(found == best && !was_evicted);
        memcpy(kept[i], tokens, n * sizeof *tokens);
        n_of[i] = n;
        assert_int_equal(w.pool.n_free + w.tree.n_nodes, N_PAGES);
    }
    world_end(&w);
}

/* ---- whatever happens, a page holds what its tokens say ---- */

/* What page i of a sequence holds: it depends on all tokens up to its end (FNV-1a). */
static uint64_t content_of(const struct sequence *s, uint32_t i)
{
    uint64_t hash = 14695981039346656037u;
    for (uint32_t k = 0; k < (i + 1) * P && k < s->n_tokens; k++)
        hash = (hash ^ (uint64_t)s->tokens[k]) * 1099511628211u;
    return hash;
}

/* A request's life: adopts in portions, computes the rest and is kept, its pages sliding. */
static void live(struct world *w, struct sequence *s)
{
    const uint32_t n = s->n_tokens, window = w->tree.window;
    uint64_t n_bytes = below(3) * PAGE_BYTES;
    while (!prefix_tree_adopt(&w->tree, HOME, s, n - 1, below(2), &n_bytes)) {
        if (below(4) == 0)
            prefix_tree_evict(&w->tree);
        prefix_tree_poll(&w->tree);
        n_bytes = (1 + below(2)) * PAGE_BYTES;
    }
    assert_true(s->first_page <= sequence_first_seen(s->n_computed, window));
    for (uint32_t i = s->first_page; i < s->n_computed / P; i++)
        assert_true(!memcmp(memory[s->pages[i]], &(uint64_t){content_of(s, i)}, 8));
    for (uint32_t i = s->n_computed / P; i < sequence_pages_for(n); i++) {
        while (i == s->n_pages && !w->pool.n_free && !prefix_tree_evict(&w->tree))
            wait_for_disk(w); /* it holds pages, too */
        if (i == s->n_pages)
            assert_true(kv_pages_acquire(&w->pool, &s->pages[s->n_pages++]));
        assert_false(kv_pages_is_shared(&w->pool, s->pages[i]));
        memset(memory[s->pages[i]], 0, PAGE_BYTES);
        memcpy(memory[s->pages[i]], &(uint64_t){content_of(s, i)}, 8);
    }
    s->n_computed = n;
    if (below(2))
        prefix_tree_keep(&w->tree, HOME, below(2), s, n);
    sequence_slide(s, &w->pool, sequence_first_seen(n, window));
    prefix_tree_keep(&w->tree, HOME, below(2), s, n);
    assert_int_equal(prefix_tree_match(&w->tree, HOME, s->tokens, n, true), n);
}

static void live_at_random(struct world *w)
{
    for (uint32_t i = 0; i < N_KEPT; i++) {
        int32_t tokens[MOST_TOKENS];
        struct sequence s;
        const uint32_t n = random_tokens(tokens);
        assert_true(sequence_init(&s, tokens, n, 0));
        live(w, &s);
        sequence_deinit(&s, &w->pool);
        prefix_tree_poll(&w->tree);
    }
}

static void random_lives_find_what_their_tokens_say(void **state)
{
    (void)state;
    static const uint32_t windows[] = {0, 2, P, P + 1, 3 * P - 5, 5 * P};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        struct world w;
        window_world_begin(&w, windows[i]);
        live_at_random(&w);
        while (prefix_tree_evict(&w.tree))
            ;
        assert_int_equal(w.tree.n_nodes, 0);
        world_end(&w);
    }
}

/* Bits of the files in the folder flip. */
static void damage_files(const char *folder)
{
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char path[4096];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] == '.' || stat(path, &st))
            continue;
        if (S_ISDIR(st.st_mode)) {
            damage_files(path);
            continue;
        }
        int fd = open(path, O_RDWR);
        for (int i = 0; i < 60 && st.st_size; i++) {
            uint8_t byte;
            const off_t at = (off_t)(below(1 << 24) % (uint64_t)st.st_size);
            assert_int_equal(pread(fd, &byte, 1, at), 1);
            byte ^= (uint8_t)(1 << below(8));
            assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        }
        close(fd);
    }
    closedir(dir);
}

static void random_lives_on_a_damaged_disk(void **state)
{
    (void)state;
    static const uint32_t windows[] = {0, P, 3 * P - 5};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++)
        for (int again = 0; again < 4; again++) {
            struct world w;
            disk_window_world_begin(&w, 6 << 20, windows[i]);
            live_at_random(&w);
            disk_world_end(&w);
            damage_files(temp_folder);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adopting_shares_whole_pages_and_copies_the_begun_one),
        cmocka_unit_test(whoever_reads_along_gets_pages_as_they_come),
        cmocka_unit_test(what_two_computed_is_kept_once),
        cmocka_unit_test(the_least_used_goes_first_and_ends_before_beginnings),
        cmocka_unit_test(side_talk_goes_before_a_long_conversation),
        cmocka_unit_test(what_somebody_computes_on_stays),
        cmocka_unit_test(spaces_never_meet),
        cmocka_unit_test(only_what_a_window_sees_is_taken),
        cmocka_unit_test(what_a_window_has_left_is_given_up_first),
        cmocka_unit_test(what_others_begin_with_is_not_left),
        cmocka_unit_test(random_prefixes_are_those_of_a_list),
        cmocka_unit_test(random_lives_find_what_their_tokens_say),
        TEST_IN_TEMP_FOLDER(a_restart_finds_what_was_kept),
        TEST_IN_TEMP_FOLDER(what_leaves_the_memory_stays_on_disk),
        TEST_IN_TEMP_FOLDER(a_full_disk_gives_up_the_least_used),
        TEST_IN_TEMP_FOLDER(random_lives_on_a_damaged_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
