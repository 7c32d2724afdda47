#include "engine/prefix_tree.h"

#include "base/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { P = BACKEND_PAGE_TOKENS };

struct prefix_node {
    struct prefix_root *root;
    struct prefix_node *parent; /* NULL: the root's */
    struct prefix_node *children, *next;
    struct prefix_node *newer, *older; /* of its class, while it is in memory */
    enum prefix_class class;
    uint32_t page; /* in memory, or BACKEND_NO_PAGE */
    uint32_t slot; /* on disk, or on its way there; or DISK_NO_SLOT */
    uint32_t depth, n_tokens;
    uint32_t n_children_on_disk;
    uint64_t key; /* disk_key, of a whole one */
    struct use_heap_item use; /* its n_use: the tree's n_uses when it was last used */
    bool is_writing;
    struct backend_save *save; /* of its page, while it is written */
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

static void order_add_oldest(struct prefix_order *order, struct prefix_node *node)
{
    node->older = NULL;
    node->newer = order->oldest;
    *(order->oldest ? &order->oldest->older : &order->newest) = node;
    order->oldest = node;
}

/* What a sliding window has left is the first to go, the farthest before the others; but not where
 * others went another way. */
static void put_behind(struct prefix_tree *t, struct prefix_node *node)
{
    for (; node && !node->children->next; node = node->parent) {
        if (node->page == BACKEND_NO_PAGE)
            continue;
        order_remove(&t->order[node->class], node);
        node->class = PREFIX_SIDE;
        order_add_oldest(&t->order[node->class], node);
    }
}

/* Notes the use of a node and its ancestors, as many as are seen from behind it, or from a little
 * before (a prompt that is asked again), the node first: so none is older than what continues it.
 */
static void touch(struct prefix_tree *t, struct prefix_node *node, enum prefix_class class)
{
    const uint64_t n_use = ++t->n_uses;
    const uint32_t window = t->window ? t->window + P : 0;
    const uint32_t first =
        node ? sequence_first_seen(node->depth * P + node->n_tokens, window) : 0;
    for (; node && node->depth >= first; node = node->parent) {
        use_heap_use(&t->disk_ends, &node->use, n_use);
        if (node->page != BACKEND_NO_PAGE)
            order_remove(&t->order[node->class], node);
        if (node->class < class)
            node->class = class;
        if (node->page != BACKEND_NO_PAGE)
            order_add(&t->order[node->class], node);
    }
    put_behind(t, node);
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
        *root = (struct prefix_root){t, space, NULL, t->roots};
        t->roots = root;
    }
    return root;
}

static struct prefix_node **siblings(struct prefix_node *node)
{
    return node->parent ? &node->parent->children : &node->root->children;
}

/* Its page in memory, if it has one, goes. */
static void leave_memory(struct prefix_tree *t, struct prefix_node *node)
{
    if (node->page == BACKEND_NO_PAGE)
        return;
    order_remove(&t->order[node->class], node);
    kv_pages_release(t->pool, node->page);
    node->page = BACKEND_NO_PAGE;
    t->n_in_memory--;
}

/* It has a page in memory from now on; the tree holds it. */
static void enter_memory(struct prefix_tree *t, struct prefix_node *node, uint32_t page)
{
    assert(node->page == BACKEND_NO_PAGE);
    kv_pages_share(t->pool, page);
    node->page = page;
    order_add(&t->order[node->class], node);
    t->n_in_memory++;
}

/* Is it, or is it not any more, what may leave the disk? */
static void note_disk_end(struct prefix_tree *t, struct prefix_node *node)
{
    const bool is_end =
        node->slot != DISK_NO_SLOT && !node->is_writing && !node->n_children_on_disk;
    if (is_end && !node->use.place)
        use_heap_add(&t->disk_ends, &node->use);
    else if (!is_end && node->use.place)
        use_heap_remove(&t->disk_ends, &node->use);
}

static void enter_disk(struct prefix_tree *t, struct prefix_node *node, uint32_t slot)
{
    node->slot = slot;
    note_disk_end(t, node);
    if (node->parent) {
        node->parent->n_children_on_disk++;
        note_disk_end(t, node->parent);
    }
}

static void leave_disk(struct prefix_tree *t, struct prefix_node *node)
{
    if (!t->disk || node->slot == DISK_NO_SLOT)
        return;
    disk_tier_free(t->disk, node->slot);
    node->slot = DISK_NO_SLOT;
    note_disk_end(t, node);
    if (node->parent) {
        node->parent->n_children_on_disk--;
        note_disk_end(t, node->parent);
    }
}

/* Its page is on disk, or will not be. */
static void end_save(struct prefix_tree *t, struct prefix_node *node)
{
    if (node->save)
        t->be->ops->save_end(t->be, node->save);
    node->save = NULL;
}

static void node_free(struct prefix_tree *t, struct prefix_node *node)
{
    end_save(t, node);
    leave_memory(t, node);
    leave_disk(t, node);
    t->n_nodes--;
    free(node);
}

/* An end at or below a node. */
static struct prefix_node *an_end_of(struct prefix_node *node)
{
    while (node->children)
        node = node->children;
    return node;
}

/* Removes a node and what continues it; none of it is held by anybody else. */
static void remove_all(struct prefix_tree *t, struct prefix_node *node)
{
    struct prefix_node **at = siblings(node);
    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    for (;;) {
        struct prefix_node *end = an_end_of(node);
        if (end == node)
            break;
        end->parent->children = end->next; /* it is the first of them */
        node_free(t, end);
    }
    node_free(t, node);
}

static bool is_had(const struct prefix_node *node)
{
    return node->page != BACKEND_NO_PAGE || node->slot != DISK_NO_SLOT;
}

/* A node that has lost its page goes, if nothing continues it, and its ancestors likewise. Returns
 * the last that is left. */
static struct prefix_node *forget(struct prefix_tree *t, struct prefix_node *node)
{
    while (node && !is_had(node) && !node->children) {
        struct prefix_node *parent = node->parent;
        remove_all(t, node);
        node = parent;
    }
    return node;
}

/* A node that is nowhere yet. */
static struct prefix_node *node_add(struct prefix_tree *t, struct prefix_root *root,
                                    struct prefix_node *parent, const int32_t *tokens,
                                    uint32_t n_tokens)
{
    struct prefix_node *node = malloc(sizeof *node);
    if (!node || (t->disk && !use_heap_reserve(&t->disk_ends, t->n_nodes + 1))) {
        free(node);
        return NULL;
    }
    *node = (struct prefix_node){
        .root = root,
        .parent = parent,
        .page = BACKEND_NO_PAGE,
        .slot = DISK_NO_SLOT,
        .depth = parent ? parent->depth + 1 : 0,
        .n_tokens = n_tokens,
    };
    memcpy(node->tokens, tokens, n_tokens * sizeof *tokens);
    if (n_tokens == P)
        node->key = disk_key(parent ? parent->key : disk_root_key(root->space), tokens);
    struct prefix_node **first = siblings(node);
    node->next = *first;
    *first = node;
    t->n_nodes++;
    return node;
}

void prefix_tree_deinit(struct prefix_tree *t)
{
    t->disk = NULL;
    for (struct prefix_root *root = t->roots, *next; root; root = next) {
        next = root->next;
        while (root->children)
            remove_all(t, root->children);
        free(root);
    }
    use_heap_deinit(&t->disk_ends);
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

/* Of a list of siblings the one that begins with most of tokens[n], if with a part of its own only,
 * then one that has it; *n_match: how many. */
static struct prefix_node *best_of(struct prefix_node *list, const int32_t *tokens, uint32_t n,
                                   uint32_t *n_match)
{
    struct prefix_node *best = NULL;
    *n_match = 0;
    for (struct prefix_node *node = list; node; node = node->next) {
        uint32_t i = n_common(node, tokens, n);
        if (i > *n_match && (i == P || is_had(node))) {
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

static uint32_t walk_tokens(const struct walk *w)
{
    return w->n_whole * P + w->n_part;
}

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

/* Shortens a walk to where a sequence can go on: a row behind it finds all that it sees in s (or
 * NULL), in memory or on disk. */
static void shorten(const struct prefix_tree *t, struct walk *w, const struct sequence *s)
{
    const uint32_t begin = s ? s->first_page : 0, end = s ? s->n_computed / P : 0;
    for (struct prefix_node *node = w->node;
         node && node->depth >= sequence_first_seen(walk_tokens(w), t->window);
         node = node->parent) {
        if (is_had(node) || (node->depth >= begin && node->depth < end))
            continue;
        *w = (struct walk){.node = node->parent, .n_whole = node->depth};
    }
}

/* How s (which may be NULL) can go on from the tree, with a part of a page or whole ones only. */
static struct walk walk_of(const struct prefix_tree *t, uint64_t space, const int32_t *tokens,
                           uint32_t n_tokens, bool parts, const struct sequence *s)
{
    struct walk w = walk_along(root_of(t, space), tokens, n_tokens);
    if (!parts)
        w.n_part = 0;
    shorten(t, &w, s);
    return w;
}

uint32_t prefix_tree_match(const struct prefix_tree *t, uint64_t space, const int32_t *tokens,
                           uint32_t n_tokens, bool parts)
{
    struct walk w = walk_of(t, space, tokens, n_tokens, parts, NULL);
    return walk_tokens(&w);
}

/* ---- taking ---- */

/* Puts a page at index i of s in the place of the one it may have there. */
static void hold(struct prefix_tree *t, struct sequence *s, uint32_t i, uint32_t page)
{
    assert(i <= s->n_pages);
    kv_pages_share(t->pool, page);
    if (i < s->n_pages)
        kv_pages_release(t->pool, s->pages[i]);
    else
        s->n_pages++;
    s->pages[i] = page;
}

/* A page of its own for index i of s; another prefix is given up for it, but not `node`. */
static bool make_room(struct prefix_tree *t, struct sequence *s, uint32_t i,
                      const struct prefix_node *node)
{
    const bool is_held = node->page != BACKEND_NO_PAGE;
    if (i < s->n_pages)
        return true;
    if (is_held)
        kv_pages_share(t->pool, node->page);
    bool ok = t->pool->n_free || prefix_tree_evict(t);
    if (is_held)
        kv_pages_release(t->pool, node->page);
    return ok && kv_pages_acquire(t->pool, &s->pages[s->n_pages++]);
}

/* From a slot to a page. False: what is there is not what was written, or could not be loaded. */
static bool read_page(struct prefix_tree *t, uint32_t slot, uint32_t page)
{
    const struct backend_ops *op = t->be->ops;
    struct error err = {.message = ""};
    void *bytes = op->load_begin(t->be, BACKEND_PAGE, page, &err);
    bool is_whole = bytes && disk_tier_read(t->disk, slot, bytes);
    bool is_loaded = bytes && op->load_end(t->be, BACKEND_PAGE, page, bytes, is_whole, &err);
    if (!bytes || !is_loaded)
        log_info("a page of the KV store cannot be loaded: %s", err.message);
    return is_whole && is_loaded;
}

/* Node i of s, all before it are s's already: from memory, or from disk to the page that s has or
 * gets there. False when it cannot be had; a damaged one's slot is given up. */
static bool take_node(struct prefix_tree *t, struct sequence *s, uint32_t i,
                      struct prefix_node *node, uint64_t *n_bytes)
{
    if (node->page != BACKEND_NO_PAGE) {
        hold(t, s, i, node->page);
        return true;
    }
    const uint64_t page_bytes = t->page_bytes;
    if (!make_room(t, s, i, node))
        return false;
    *n_bytes = *n_bytes > page_bytes ? *n_bytes - page_bytes : 0;
    if (!read_page(t, node->slot, s->pages[i])) {
        log_info("a page of the KV store is damaged; it is computed again");
        leave_disk(t, node);
        return false;
    }
    enter_memory(t, node, s->pages[i]);
    return true;
}

/* The first n tokens of a node, as the beginning of a page of s's own. */
static void take_part(struct prefix_tree *t, struct sequence *s, const struct prefix_node *node,
                      uint32_t n, uint64_t *n_bytes)
{
    const uint32_t i = s->n_computed / P;
    if ((node->page == BACKEND_NO_PAGE && !*n_bytes) || !make_room(t, s, i, node))
        return;
    if (node->page != BACKEND_NO_PAGE)
        t->be->ops->kv_page_copy(t->be, s->pages[i], node->page, n);
    else if (!read_page(t, node->slot, s->pages[i]))
        return;
    s->n_computed += n;
}

/* The ancestor of a node, or itself, that stands at a depth. */
static struct prefix_node *at_depth(struct prefix_node *node, uint32_t depth)
{
    while (node->depth > depth)
        node = node->parent;
    return node;
}

/* A sequence that lacks pages which the row behind n_tokens sees begins anew. */
static bool begin_anew(struct prefix_tree *t, struct sequence *s, uint32_t n_tokens)
{
    if (s->first_page <= sequence_first_seen(n_tokens, t->window))
        return false;
    sequence_drop_pages(s, t->pool);
    return true;
}

enum taken { TAKEN, TAKEN_IN_PART, NOT_TAKEN };

/* The whole nodes of a walk that s lacks and a row behind the walk sees: all of them, those that
 * may be read by now, or those before one that cannot be had. */
static enum taken take_whole(struct prefix_tree *t, struct sequence *s, const struct walk *w,
                             uint64_t *n_bytes)
{
    const uint32_t first_seen = sequence_first_seen(walk_tokens(w), t->window);
    sequence_slide(s, t->pool, first_seen < w->n_whole ? first_seen : w->n_whole);
    if (s->n_computed < s->first_page * P)
        s->n_computed = s->first_page * P;
    for (uint32_t i = s->n_computed / P; i < w->n_whole; i++) {
        struct prefix_node *node = at_depth(w->node, i);
        if (node->page == BACKEND_NO_PAGE && !*n_bytes) {
            touch(t, node->parent, PREFIX_SIDE);
            return TAKEN_IN_PART;
        }
        if (!take_node(t, s, i, node, n_bytes)) {
            touch(t, forget(t, node), PREFIX_SIDE);
            return NOT_TAKEN;
        }
        s->n_computed = (i + 1) * P;
    }
    return TAKEN;
}

bool prefix_tree_adopt(struct prefix_tree *t, uint64_t space, struct sequence *s,
                       uint32_t n_tokens, bool parts, uint64_t *n_bytes)
{
    assert(s->n_computed % P == 0 && n_tokens <= s->n_tokens);
    struct walk w = walk_of(t, space, s->tokens, n_tokens, parts, s);
    if (begin_anew(t, s, walk_tokens(&w) > s->n_computed ? walk_tokens(&w) : s->n_computed))
        w = walk_of(t, space, s->tokens, n_tokens, parts, s);
    if (w.n_whole * P < s->n_computed)
        return true;
    enum taken taken = take_whole(t, s, &w, n_bytes);
    if (taken == TAKEN_IN_PART)
        return false;
    if (taken == TAKEN) {
        /* again: room was made, perhaps at the cost of the part */
        w = walk_of(t, space, s->tokens, n_tokens, parts, s);
        touch(t, w.part ? w.part : w.node, PREFIX_SIDE);
        if (w.n_part)
            take_part(t, s, w.part, w.n_part, n_bytes);
    }
    begin_anew(t, s, s->n_computed); /* what could not be had may be what it needs */
    return true;
}

/* ---- on disk ---- */

/* Frees the slot of the least recently used node behind which nothing is on disk, but not that of
 * `spared` (which may be NULL). */
static bool evict_from_disk(struct prefix_tree *t, struct prefix_node *spared)
{
    const bool is_spared = spared && spared->use.place;
    if (is_spared)
        use_heap_remove(&t->disk_ends, &spared->use);
    struct use_heap_item *least = use_heap_least(&t->disk_ends);
    if (is_spared)
        use_heap_add(&t->disk_ends, &spared->use);
    if (!least)
        return false;
    struct prefix_node *node =
        (struct prefix_node *)((char *)least - offsetof(struct prefix_node, use));
    leave_disk(t, node);
    forget(t, node);
    return true;
}

/* On the disk's thread: the bytes of a node's page. */
static const void *saved_bytes(void *owner)
{
    const struct prefix_node *node = owner;
    struct backend *be = node->root->tree->be;
    struct error err = {.message = ""};
    const void *bytes = be->ops->save_bytes(be, node->save, &err);
    if (!bytes)
        log_info("a page cannot be kept on disk: %s", err.message);
    return bytes;
}

/* Begins to write a whole node to disk, if it is not there and its parent is. */
static void save(struct prefix_tree *t, struct prefix_node *node)
{
    struct prefix_node *parent = node->parent;
    if (!t->disk || node->slot != DISK_NO_SLOT || node->page == BACKEND_NO_PAGE ||
        (parent && parent->slot == DISK_NO_SLOT))
        return;
    uint32_t slot = disk_tier_take(t->disk);
    if (slot == DISK_NO_SLOT && evict_from_disk(t, parent))
        slot = disk_tier_take(t->disk);
    if (slot == DISK_NO_SLOT)
        return;
    struct disk_label label = {
        .key = node->key,
        .parent = parent ? parent->key : disk_root_key(node->root->space),
        .space = node->root->space,
        .depth = node->depth,
    };
    memcpy(label.tokens, node->tokens, sizeof label.tokens);
    struct error err;
    node->save = t->be->ops->save_begin(t->be, BACKEND_PAGE, node->page, &err);
    if (!node->save || !disk_tier_write(t->disk, slot, &label, saved_bytes, node)) {
        end_save(t, node);
        disk_tier_free(t->disk, slot);
        return;
    }
    kv_pages_share(t->pool, node->page); /* until it is written */
    node->is_writing = true;
    enter_disk(t, node, slot);
    t->n_writing++;
}

uint32_t prefix_tree_poll(struct prefix_tree *t)
{
    struct disk_done done;
    uint32_t n = 0;
    for (; t->n_writing && disk_tier_done(t->disk, &done); n++) {
        struct prefix_node *node = done.owner;
        node->is_writing = false;
        end_save(t, node);
        kv_pages_release(t->pool, node->page);
        t->n_writing--;
        if (done.ok)
            note_disk_end(t, node);
        else
            leave_disk(t, node);
    }
    return n;
}

/* ---- what was on disk ---- */

/* Nodes by key: a hash table with open addressing. */
struct node_index {
    struct prefix_node **nodes; /* [mask + 1] */
    size_t mask;
};

static struct prefix_node **index_at(const struct node_index *index, uint64_t key)
{
    size_t i = key & index->mask;
    while (index->nodes[i] && index->nodes[i]->key != key)
        i = (i + 1) & index->mask;
    return &index->nodes[i];
}

/* NULL: it stands nowhere, or twice. */
static struct prefix_node *restore_node(struct prefix_tree *t, const struct node_index *index,
                                        const struct disk_found *found)
{
    const struct disk_label *label = &found->label;
    struct prefix_root *root = root_make(t, label->space);
    struct prefix_node *parent = label->depth ? *index_at(index, label->parent) : NULL;
    struct prefix_node **at = index_at(index, label->key);
    if (!root || *at)
        return NULL;
    if (label->depth ? !parent || parent->root != root || parent->depth + 1 != label->depth
                     : label->parent != disk_root_key(label->space))
        return NULL;
    return *at = node_add(t, root, parent, label->tokens, P);
}

static void restore(struct prefix_tree *t)
{
    size_t n;
    const struct disk_found *found = disk_tier_found(t->disk, &n);
    struct node_index index = {NULL, 1};
    while (index.mask < 2 * n)
        index.mask = 2 * index.mask + 1;
    index.nodes = calloc(index.mask + 1, sizeof *index.nodes);
    for (size_t i = 0; i < n; i++) {
        struct prefix_node *node = index.nodes ? restore_node(t, &index, &found[i]) : NULL;
        if (!node) {
            disk_tier_free(t->disk, found[i].slot);
            continue;
        }
        node->use.n_use = (uint64_t)found[i].used;
        enter_disk(t, node, found[i].slot);
    }
    free(index.nodes);
    disk_tier_forget_found(t->disk);
}

void prefix_tree_init(struct prefix_tree *t, struct kv_pages *pool, struct backend *be,
                      uint64_t page_bytes, uint32_t window, struct disk_tier *disk)
{
    *t = (struct prefix_tree){
        .pool = pool, .be = be, .page_bytes = page_bytes, .window = window, .disk = disk};
    t->n_uses = (uint64_t)time(NULL); /* later than any in the files */
    if (disk)
        restore(t);
}

/* ---- keeping ---- */

/* Of siblings the one that says tokens[n], n <= P, a whole page or what it has. */
static struct prefix_node *find_exact(struct prefix_node *list, const int32_t *tokens, uint32_t n)
{
    for (; list; list = list->next)
        if (list->n_tokens >= n && (n == P || is_had(list)) && n_common(list, tokens, n) == n)
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
            remove_all(t, node);
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
        if (!found) {
            found = node_add(t, root, node, s->tokens + at, n);
            if (!found)
                break;
        }
        node = found;
        if (at / P < s->first_page || node->n_tokens > n)
            continue;
        if (node->page == BACKEND_NO_PAGE) {
            enter_memory(t, node, s->pages[at / P]);
            remove_shorter(t, *siblings(node), s->tokens + at, n);
        } else if (n == P) {
            hold(t, s, at / P, node->page);
        }
        if (n == P)
            save(t, node);
    }
    touch(t, forget(t, node), class);
}

/* ---- giving up ---- */

static bool has_child_in_memory(const struct prefix_node *node)
{
    for (const struct prefix_node *child = node->children; child; child = child->next)
        if (child->page != BACKEND_NO_PAGE)
            return true;
    return false;
}

bool prefix_tree_evict(struct prefix_tree *t)
{
    for (int class = 0; class < PREFIX_N_CLASSES; class++) {
        for (struct prefix_node *node = t->order[class].oldest; node; node = node->newer) {
            if (kv_pages_is_shared(t->pool, node->page) ||
                (!t->window && has_child_in_memory(node)))
                continue;
            leave_memory(t, node);
            forget(t, node);
            return true;
        }
    }
    return false;
}
