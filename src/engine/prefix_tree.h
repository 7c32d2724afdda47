/* What was computed before, kept until its pages are needed: a radix tree over token ids with one
 * page a node, so that requests with a common beginning share it, whoever asks. Used by the
 * engine's thread alone.
 *
 * The nouns. A *node* is a page and the tokens whose keys and values it holds, after those of its
 * ancestors. It is *whole* when it has BACKEND_PAGE_TOKENS of them; one with fewer has no children.
 * Its page is in memory, on disk, or both: whole ones are written to disk (if there is a disk tier)
 * as they come, and read again when somebody asks for them. A node in memory has its ancestors in
 * memory, one on disk has them on disk, unless a page on disk was damaged: then its node is
 * *empty*, and waits for somebody to compute it again. The tree holds each of its pages in memory
 * once; requests that compute on a page hold it, too, and nobody writes to a page of the tree.
 *
 * Under a sliding window what a row cannot see is not needed to go on. Such pages are given up
 * first, before those that continue them, and leave empty nodes. */
#ifndef PENSIEVE_ENGINE_PREFIX_TREE_H
#define PENSIEVE_ENGINE_PREFIX_TREE_H

#include "engine/disk_tier.h"
#include "engine/sequence.h"
#include "engine/use_heap.h"

#include <stdint.h>

/* What is given up last. */
enum prefix_class {
    PREFIX_SIDE, /* titles, summaries, small talk: gone as soon as anybody needs room */
    PREFIX_MAIN, /* long conversations: gone only after all of the others */
    PREFIX_N_CLASSES,
};

struct prefix_node;

struct prefix_order { /* by last use */
    struct prefix_node *newest, *oldest;
};

struct prefix_root { /* of one namespace: whose the prefixes are */
    struct prefix_tree *tree;
    uint64_t space;
    struct prefix_node *children;
    struct prefix_root *next;
};

struct prefix_tree {
    struct prefix_root *roots;
    struct prefix_order order[PREFIX_N_CLASSES]; /* of what is in memory */
    struct kv_pages *pool;                       /* borrowed, and these two: */
    struct backend *be;
    struct disk_tier *disk;      /* or NULL */
    struct use_heap disk_ends;   /* what may leave it: nothing on disk continues these */
    uint64_t page_bytes;
    uint32_t window; /* positions that a row sees, its own the last; 0: all */
    uint64_t n_uses;
    uint32_t n_nodes, n_in_memory, n_writing;
};

/* Begins with what is on the disk. */
void prefix_tree_init(struct prefix_tree *t, struct kv_pages *pool, struct backend *be,
                      uint64_t page_bytes, uint32_t window, struct disk_tier *disk);
/* Gives all pages back; the disk tier, if there is one, was closed already. */
void prefix_tree_deinit(struct prefix_tree *t);

/* Takes note of what has been written to disk in the meantime. Returns how many pages. */
uint32_t prefix_tree_poll(struct prefix_tree *t);

/* Lets s go on from the tree: its n_computed tokens are whole pages, and those that follow, up to
 * the first n_tokens in all, come from the longest prefix that the tree has. Whole pages are
 * shared; of one that fits in part only, the beginning is copied if `parts` says so. Pages that s
 * has there already, or that the window has left then, are given back. Of what is on disk only,
 * about *n_bytes are read, which is lowered by that; false when there is more: until then s must
 * not be computed on. */
bool prefix_tree_adopt(struct prefix_tree *t, uint64_t space, struct sequence *s,
                       uint32_t n_tokens, bool parts, uint64_t *n_bytes);

/* How many of tokens[n_tokens] prefix_tree_adopt would take for a new sequence. */
uint32_t prefix_tree_match(const struct prefix_tree *t, uint64_t space, const int32_t *tokens,
                           uint32_t n_tokens, bool parts);

/* Keeps the first n_tokens, all computed, of s, as far as it has their pages. What the tree has
 * already is not kept twice: s gets the tree's page for its own. Out of memory: less is kept. */
void prefix_tree_keep(struct prefix_tree *t, uint64_t space, enum prefix_class class,
                      struct sequence *s, uint32_t n_tokens);

/* Gives up a page that nobody else holds, the least recently used of the lowest class, never before
 * those that continue it (but see above). False: there is none. */
bool prefix_tree_evict(struct prefix_tree *t);

#endif
