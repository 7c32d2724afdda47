/* Any entries in a segment of the KV store, and any bytes as its history: a prefix tree begins with them or without
 * them, and can be used. Their checksums are right, so that what is behind these is reached, too. */
#include "engine/history.h"
#include "engine/prefix_tree.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { P = BACKEND_PAGE_TOKENS, N_PAGES = 16, PAGE_BYTES = 256, N_ENTRIES = 64 };

struct entry { /* docs/kv-store.md */
    uint64_t checksum, payload;
    int64_t used;
    uint64_t reserved;
    struct disk_label label;
};

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

static void page_copy(struct backend *be, uint32_t dst, uint32_t src, uint32_t n_tokens)
{
    (void)be;
    (void)n_tokens;
    memcpy(memory[dst], memory[src], PAGE_BYTES);
}

static const struct backend_ops ops = {
    .kv_page_copy = page_copy,
    .save_begin = page_save,
    .save_bytes = page_bytes,
    .save_end = page_saved,
    .load_begin = page_load,
    .load_end = page_loaded,
};
static struct backend be = {.ops = &ops};

static char folder[64], segment[256], log_path[256];

static const void *first_page(void *owner)
{
    (void)owner;
    return memory[0];
}

/* A segment with a header, made once. */
static void make_folder(void)
{
    struct error err;
    strcpy(folder, "/tmp/pensieve-fuzz-XXXXXX");
    if (!mkdtemp(folder))
        abort();
    const struct disk_options options = {folder, "fuzz", 8 << 20};
    struct disk_tier *d = disk_tier_open(&options, PAGE_BYTES, &err);
    const struct disk_label label = {.space = 1};
    if (!d || !disk_tier_write(d, disk_tier_take(d), &label, first_page, NULL))
        abort();
    snprintf(segment, sizeof segment, "%s/00000000.kv", disk_tier_folder(d));
    snprintf(log_path, sizeof log_path, "%s/history", folder);
    disk_tier_close(d);
}

/* Four bytes say what an entry is like. */
static void make_entry(const uint8_t *b, struct entry *all, size_t i)
{
    struct entry *e = &all[i];
    memset(e, 0, sizeof *e);
    e->used = b[3];
    e->label.space = b[0] & 1;
    e->label.depth = b[0] >> 1 & 3;
    e->label.parent = b[1] < i ? all[b[1]].label.key : disk_root_key(e->label.space);
    for (uint32_t k = 0; k < P; k++)
        e->label.tokens[k] = b[2] & 7;
    e->label.key = disk_key(e->label.parent, e->label.tokens);
    if (b[0] & 0x80)
        e->label.key ^= 1;
    e->payload = XXH3_64bits(memory[0], PAGE_BYTES) ^ (b[0] >> 6 & 1);
    e->checksum = XXH3_64bits(&e->payload, sizeof *e - sizeof e->checksum);
}

static void use(struct prefix_tree *tree, struct kv_pages *pool, uint32_t first)
{
    struct sequence s;
    int32_t tokens[3 * P];
    uint64_t n_bytes = UINT64_MAX;
    for (uint32_t i = 0; i < 3 * P; i++)
        tokens[i] = (int32_t)(first + i / P) & 7;
    if (!sequence_init(&s, tokens, 3 * P, 0))
        abort();
    prefix_tree_adopt(tree, first & 1, &s, 3 * P - 1, true, &n_bytes);
    while (s.n_pages < 3 && kv_pages_acquire(pool, &s.pages[s.n_pages]))
        s.n_pages++;
    s.n_computed = s.n_pages * P;
    prefix_tree_keep(tree, first & 1, PREFIX_SIDE, &s, s.n_computed);
    sequence_deinit(&s, pool);
    while (pool->n_free < 4 && prefix_tree_evict(tree))
        ;
}

static void try_segment(const uint8_t *data, size_t size)
{
    static struct entry entries[N_ENTRIES];
    size_t n = size / 4 < N_ENTRIES ? size / 4 : N_ENTRIES;
    memset(entries, 0, sizeof entries);
    memset(memory, 0, sizeof memory);
    for (size_t i = 0; i < n; i++)
        make_entry(data + 4 * i, entries, i);
    int fd = open(segment, O_WRONLY);
    if (fd < 0 || pwrite(fd, entries, sizeof entries, 4096) != (ssize_t)sizeof entries)
        abort();
    close(fd);

    struct error err;
    struct kv_pages pool;
    struct prefix_tree tree;
    const struct disk_options options = {folder, "fuzz", 8 << 20};
    struct disk_tier *d = disk_tier_open(&options, PAGE_BYTES, &err);
    if (!d || !kv_pages_init(&pool, N_PAGES))
        abort();
    const uint32_t window = size % 3 * P; /* none, or one or two pages */
    prefix_tree_init(&tree, &pool, &be, PAGE_BYTES, window, d);
    for (uint32_t i = 0; i < 8; i++)
        use(&tree, &pool, i);
    while (tree.n_writing)
        prefix_tree_poll(&tree);
    disk_tier_close(d);
    prefix_tree_deinit(&tree);
    if (pool.n_free != N_PAGES)
        abort(); /* somebody lost a page */
    kv_pages_deinit(&pool);
}

static void try_history(const uint8_t *data, size_t size)
{
    size_t n;
    struct error err = {0};
    int fd = open(log_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    close(fd);
    struct history *h = history_create(log_path, &err);
    if (!h)
        abort();
    history_remember(h, 0, (const uint64_t[]){1, 2}, (const int32_t[]){3}, 1);
    history_destroy(h);
    h = history_create(log_path, &err);
    if (!h)
        abort();
    int32_t *tokens = history_recall(h, 0, (const uint64_t[]){1, 2}, &n);
    if (!tokens || n != 1)
        abort();
    free(tokens);
    history_destroy(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!*folder)
        make_folder();
    if (size && *data & 1)
        try_segment(data + 1, size - 1);
    else if (size)
        try_history(data + 1, size - 1);
    return 0;
}
