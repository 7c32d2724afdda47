#include "engine/prefix_tree.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { P = BACKEND_PAGE_TOKENS };

struct prefix_node {
    struct prefix_root *root;
    struct prefix_node *parent; /* NULL: the root's */
    struct prefix_node *children, *next;
    struct prefix_node *newer, *older; /* of its class */
    enum prefix_class class;
    uint32_t page, n_tokens;
    int32_t tokens[P];
};

/* ---- the order of use ---- */

static void order_remove(struct prefix_order *order, struct prefix_node *node)
{
    *(node->newer ? &node->newer->older : &order->newest) = node->older;
    *(node->older ? &node->older->newer : &order->oldest) = node->newer;
}

static void order_add(struct prefix_order *order, struct prefix_node *node)
{
    node->newer = NULL;
    node->older = order->newest;
    *(order->newest ? &order->newest->newer : &order->oldest) = node;
    order->newest = node;
}

/* Notes the use of a node and its ancestors, the node first: so none is older than what continues
 * it, and the oldest is always at an end. */
static void touch(struct prefix_tree *t, struct prefix_node *node, enum prefix_class class)
{
    for (; node; node = node->parent) {
        order_remove(&t->order[node->class], node);
        if (node->class < class)
            node->class = class;
        order_add(&t->order[node->class], node);
    }
}

/* ---- nodes ---- */

static struct prefix_root *root_of(const struct prefix_tree *t, uint64_t space)
{
    struct prefix_root *root = t->roots;
    while (root && root->space != space)
        root = root->next;
    return root;
}

static struct prefix_root *root_make(struct prefix_tree *t, uint64_t space)
{
    struct prefix_root *root = root_of(t, space);
    if (root)
        return root;
    root = malloc(sizeof *root);
    if (root) {
        *root = (struct prefix_root){space, NULL, t->roots};
        t->roots = root;
    }
    return root;
}

static struct prefix_node **siblings(struct prefix_node *node)
{
    return node->parent ? &node->parent->children : &node->root->children;
}

static void node_remove(struct prefix_tree *t, struct prefix_node *node)
{
    struct prefix_node **at = siblings(node);
    assert(!node->children);
    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    order_remove(&t->order[node->class], node);
    kv_pages_release(t->pool, node->page);
    t->n_nodes--;
    free(node);
}

static struct prefix_node *node_add(struct prefix_tree *t, struct prefix_root *root,
                                    struct prefix_node *parent, enum prefix_class class,
                                    const int32_t *tokens, uint32_t n_tokens, uint32_t page)
{
    struct prefix_node *node = calloc(1, sizeof *node);
    if (!node)
        return NULL;
    *node = (struct prefix_node){
        .root = root, .parent = parent, .class = class, .page = page, .n_tokens = n_tokens};
    memcpy(node->tokens, tokens, n_tokens * sizeof *tokens);
    struct prefix_node **first = siblings(node);
    node->next = *first;
    *first = node;
    order_add(&t->order[class], node);
    kv_pages_share(t->pool, page);
    t->n_nodes++;
    return node;
}

void prefix_tree_init(struct prefix_tree *t, struct kv_pages *pool)
{
    *t = (struct prefix_tree){.pool = pool};
}

void prefix_tree_deinit(struct prefix_tree *t)
{
    for (int class = 0; class < PREFIX_N_CLASSES; class++) {
        for (struct prefix_node *node = t->order[class].newest, *older; node; node = older) {
            older = node->older;
            kv_pages_release(t->pool, node->page);
            free(node);
        }
    }
    for (struct prefix_root *root = t->roots, *next; root; root = next) {
        next = root->next;
        free(root);
    }
    *t = (struct prefix_tree){.pool = t->pool};
}

/* ---- finding ---- */

static uint32_t n_common(const struct prefix_node *node, const int32_t *tokens, uint32_t n)
{
    uint32_t i = 0;
    n = n < node->n_tokens ? n : node->n_tokens;
    while (i < n && node->tokens[i] == tokens[i])
        i++;
    return i;
}

/* Of a list of siblings the one that begins with most of tokens[n]; *n_match: how many. */
static struct prefix_node *best_of(struct prefix_node *list, const int32_t *tokens, uint32_t n,
                                   uint32_t *n_match)
{
    struct prefix_node *best = NULL;
    *n_match = 0;
    for (struct prefix_node *node = list; node; node = node->next) {
        uint32_t i = n_common(node, tokens, n);
        if (i > *n_match) {
            *n_match = i;
            best = node;
            if (i == P)
                break;
        }
    }
    return best;
}

/* A walk along tokens[n]: as many whole nodes as match, and then perhaps a part of one. */
struct walk {
    struct prefix_node *node; /* the last whole one */
    struct prefix_node *part; /* of its children the one that goes on for n_part tokens, or NULL */
    uint32_t n_whole, n_part;
};

static struct walk walk_along(const struct prefix_root *root, const int32_t *tokens, uint32_t n)
{
    struct walk w = {NULL, NULL, 0, 0};
    struct prefix_node *list = root ? root->children : NULL;
    for (;;) {
        uint32_t at = w.n_whole * P, n_match;
        struct prefix_node *node = best_of(list, tokens + at, n - at, &n_match);
        if (n_match < P) {
            w.part = node;
            w.n_part = n_match;
            return w;
        }
        w.node = node;
        w.n_whole++;
        list = node->children;
    }
}

uint32_t prefix_tree_match(const struct prefix_tree *t, uint64_t space, const int32_t *tokens,
                           uint32_t n_tokens)
{
    struct walk w = walk_along(root_of(t, space), tokens, n_tokens);
    return w.n_whole * P + w.n_part;
}

/* ---- taking ---- */

/* Puts a page at index i of s in the place of the one it may have there. */
static void hold(struct prefix_tree *t, struct sequence *s, uint32_t i, uint32_t page)
{
    kv_pages_share(t->pool, page);
    if (i < s->n_pages)
        kv_pages_release(t->pool, s->pages[i]);
    s->pages[i] = page;
}

/* A page for index i of s, if it has none; another prefix is given up for it, but not `node`. */
static bool make_room(struct prefix_tree *t, struct sequence *s, uint32_t i,
                      const struct prefix_node *node)
{
    if (i < s->n_pages)
        return true;
    kv_pages_share(t->pool, node->page);
    bool ok = t->pool->n_free || prefix_tree_evict(t);
    kv_pages_release(t->pool, node->page);
    return ok && kv_pages_acquire(t->pool, &s->pages[s->n_pages++]);
}

uint32_t prefix_tree_adopt(struct prefix_tree *t, uint64_t space, struct sequence *s,
                           uint32_t n_tokens, struct backend *be)
{
    const uint32_t n_before = s->n_computed, first = n_before / P;
    assert(n_before % P == 0 && n_tokens <= s->n_tokens);
    struct walk w = walk_along(root_of(t, space), s->tokens, n_tokens);
    if (w.n_whole < first)
        return 0;
    struct prefix_node *node = w.node;
    for (uint32_t i = w.n_whole; i > first; i--, node = node->parent)
        hold(t, s, i - 1, node->page);
    if (s->n_pages < w.n_whole)
        s->n_pages = w.n_whole;
    s->n_computed = w.n_whole * P;
    touch(t, w.part ? w.part : w.node, PREFIX_SIDE);
    if (be && w.part && make_room(t, s, w.n_whole, w.part)) {
        be->ops->kv_page_copy(be, s->pages[w.n_whole], w.part->page, w.n_part);
        s->n_computed += w.n_part;
    }
    return s->n_computed - n_before;
}

/* ---- keeping ---- */

/* The child of a node (or of the root) that says exactly tokens[n], n <= P. */
static struct prefix_node *find_exact(struct prefix_node *list, const int32_t *tokens, uint32_t n)
{
    for (; list; list = list->next)
        if (list->n_tokens >= n && n_common(list, tokens, n) == n)
            return list;
    return NULL;
}

/* Ends that tokens[n] says, too, and more. */
static void remove_shorter(struct prefix_tree *t, struct prefix_node *list, const int32_t *tokens,
                           uint32_t n)
{
    for (struct prefix_node *node = list, *next; node; node = next) {
        next = node->next;
        if (node->n_tokens < n && n_common(node, tokens, n) == node->n_tokens)
            node_remove(t, node);
    }
}

void prefix_tree_keep(struct prefix_tree *t, uint64_t space, enum prefix_class class,
                      struct sequence *s, uint32_t n_tokens)
{
    struct prefix_root *root = root_make(t, space);
    struct prefix_node *node = NULL;
    assert(n_tokens <= s->n_computed);
    for (uint32_t at = 0; root && at < n_tokens; at += P) {
        const uint32_t n = n_tokens - at < P ? n_tokens - at : P;
        struct prefix_node *list = node ? node->children : root->children;
        struct prefix_node *found = find_exact(list, s->tokens + at, n);
        if (found && n == P) {
            hold(t, s, at / P, found->page);
        } else if (!found) {
            found = node_add(t, root, node, class, s->tokens + at, n, s->pages[at / P]);
            if (!found)
                break;
            remove_shorter(t, found->next, s->tokens + at, n);
        }
        node = found;
    }
    touch(t, node, class);
}

/* ---- giving up ---- */

bool prefix_tree_evict(struct prefix_tree *t)
{
    for (int class = 0; class < PREFIX_N_CLASSES; class++) {
        for (struct prefix_node *node = t->order[class].oldest; node; node = node->newer) {
            if (node->children || kv_pages_is_shared(t->pool, node->page))
                continue;
            node_remove(t, node);
            return true;
        }
    }
    return false;
}
