/* The search of SentencePiece (unigram_model.cc, EncodeOptimized) over a trie whose edges are one
 * hash table. See unigram.h. */
#include "text/unigram.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

static const double UNKNOWN_PENALTY = 10; /* below the lowest score */
enum { MAX_NODES = 1 << 24 };             /* so that node and byte fit into 32 bits */

static size_t edge_slot(const struct unigram *u, uint32_t from)
{
    return tokenizer_vocab_mix(from ^ u->vocab->secret[0], u->vocab->secret[1]) & (u->n_slots - 1);
}

/* The node behind an edge, or 0. */
static uint32_t find_child(const struct unigram *u, uint32_t node, unsigned char byte)
{
    uint32_t from = node << 8 | byte;
    for (size_t i = edge_slot(u, from);; i = (i + 1) & (u->n_slots - 1)) {
        const struct unigram_edge *e = &u->edges[i];
        if (!e->child || e->from == from)
            return e->child;
    }
}

static uint32_t add_child(struct unigram *u, uint32_t node, unsigned char byte)
{
    uint32_t from = node << 8 | byte;
    for (size_t i = edge_slot(u, from);; i = (i + 1) & (u->n_slots - 1)) {
        struct unigram_edge *e = &u->edges[i];
        if (e->child && e->from == from)
            return e->child;
        if (e->child)
            continue;
        u->node_ids[u->n_nodes] = -1;
        *e = (struct unigram_edge){from, (uint32_t)u->n_nodes++};
        return e->child;
    }
}

static void add_token(struct unigram *u, int32_t id)
{
    const struct weights_string *token = &u->vocab->tokens[id];
    uint32_t node = 0;
    for (size_t i = 0; i < token->len; i++)
        node = add_child(u, node, (unsigned char)token->data[i]);
    if (u->node_ids[node] < 0)
        u->node_ids[node] = id;
}

static void read_unknown(struct unigram *u, const struct tokenizer_file *f)
{
    double least = 0;
    for (size_t i = 0; i < f->n; i++)
        if (f->scores && f->scores[i] < least)
            least = f->scores[i];
    u->unknown = f->unknown;
    u->unknown_score = least - UNKNOWN_PENALTY;
    for (unsigned byte = 0; byte < 256; byte++)
        u->byte_ids[byte] =
            f->has_fallback ? tokenizer_vocab_find_byte(u->vocab, (uint8_t)byte) : -1;
}

bool unigram_init(struct unigram *u, const struct tokenizer_file *f,
                  const struct tokenizer_vocab *v, struct error *err)
{
    size_t total = 1;
    *u = (struct unigram){.vocab = v, .scores = f->scores, .sums_floats = f->sums_floats};
    read_unknown(u, f);
    for (size_t i = 0; i < v->n; i++)
        total += tokenizer_vocab_is_text(v, (int32_t)i) ? v->tokens[i].len : 0;
    if (total > MAX_NODES)
        return error_set(err, ERROR_FORMAT, "the tokens have %zu bytes, %d are the most", total,
                         MAX_NODES);
    for (u->n_slots = 16; u->n_slots < total + total / 2;)
        u->n_slots *= 2;
    u->edges = calloc(u->n_slots, sizeof *u->edges);
    u->node_ids = malloc(total * sizeof *u->node_ids);
    if (!u->edges || !u->node_ids)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for %zu tokens", v->n);
    u->node_ids[u->n_nodes++] = -1; /* the root, which no edge leads to */
    for (size_t i = 0; i < v->n; i++)
        if (v->tokens[i].len && tokenizer_vocab_is_text(v, (int32_t)i))
            add_token(u, (int32_t)i);
    return true;
}

void unigram_deinit(struct unigram *u)
{
    free(u->edges);
    free(u->node_ids);
    *u = (struct unigram){0};
}

/* The best way to a place in the text. */
struct unigram_step {
    double score;
    uint32_t from; /* where its last token begins */
    int32_t id;    /* that token; UNKNOWN */
};
enum { UNKNOWN = -1, UNREACHED = -2 };

void unigram_scratch_deinit(struct unigram_scratch *s)
{
    free(s->steps);
    *s = (struct unigram_scratch){0};
}

static bool reserve_steps(struct unigram_scratch *s, size_t n)
{
    if (n <= s->n_steps)
        return true;
    unigram_scratch_deinit(s);
    if (n >= UINT32_MAX)
        return false;
    s->steps = malloc(n * sizeof *s->steps);
    s->n_steps = s->steps ? n : 0;
    return s->steps != NULL;
}

static void offer(const struct unigram *u, struct unigram_step *steps, size_t from, size_t to,
                  int32_t id, double score)
{
    double sum = steps[from].score + score;
    sum = u->sums_floats ? (double)(float)sum : sum;
    if (steps[to].id == UNREACHED || sum > steps[to].score)
        steps[to] = (struct unigram_step){sum, (uint32_t)from, id};
}

/* All tokens that begin at text[at], and the unknown one if none is just the character. */
static void search_from(const struct unigram *u, struct unigram_step *steps, const char *text,
                        size_t n_bytes, size_t at, size_t n_char)
{
    bool has_character = false;
    uint32_t node = 0;
    for (size_t i = at; i < n_bytes && (node = find_child(u, node, (unsigned char)text[i]));) {
        int32_t id = u->node_ids[node];
        i++;
        if (id < 0)
            continue;
        offer(u, steps, at, i, id, u->scores ? u->scores[id] : 0);
        has_character |= i - at == n_char;
    }
    if (!has_character)
        offer(u, steps, at, at + n_char, UNKNOWN, u->unknown_score);
}

static bool push_unknown(const struct unigram *u, const char *text, size_t n,
                         struct token_list *out)
{
    bool has_bytes = true;
    for (size_t i = 0; i < n; i++)
        has_bytes &= u->byte_ids[(unsigned char)text[i]] >= 0;
    if (!has_bytes)
        return u->unknown < 0 || token_list_push(out, u->unknown);
    for (size_t i = 0; i < n; i++)
        if (!token_list_push(out, u->byte_ids[(unsigned char)text[i]]))
            return false;
    return true;
}

/* The way back from the end, turned around in place: each step then knows where its token ends. */
static void turn_around(struct unigram_step *steps, size_t n_bytes)
{
    uint32_t at = (uint32_t)n_bytes, next = at;
    int32_t id = UNKNOWN;
    for (;;) {
        uint32_t from = steps[at].from;
        int32_t own = steps[at].id;
        steps[at].from = next;
        steps[at].id = id;
        if (!at)
            return;
        next = at;
        id = own;
        at = from;
    }
}

static bool push_steps(const struct unigram *u, const struct unigram_step *steps, const char *text,
                       size_t n_bytes, struct token_list *out)
{
    for (size_t at = 0, end; at < n_bytes; at = end) {
        end = steps[at].from;
        if (steps[at].id != UNKNOWN) {
            if (!token_list_push(out, steps[at].id))
                return false;
            continue;
        }
        while (end < n_bytes && steps[end].id == UNKNOWN)
            end = steps[end].from;
        if (!push_unknown(u, text + at, end - at, out))
            return false;
    }
    return true;
}

bool unigram_encode(const struct unigram *u, const char *text, size_t n_bytes,
                    struct unigram_scratch *scratch, struct token_list *out)
{
    if (!n_bytes)
        return true;
    if (!reserve_steps(scratch, n_bytes + 1))
        return false;
    struct unigram_step *steps = scratch->steps;
    for (size_t i = 0; i <= n_bytes; i++)
        steps[i].id = UNREACHED;
    steps[0] = (struct unigram_step){0, 0, UNKNOWN};
    for (size_t at = 0, n_char; at < n_bytes; at += n_char) {
        n_char = utf8_char_bytes(text + at, n_bytes - at);
        n_char += !n_char;
        search_from(u, steps, text, n_bytes, at, n_char);
    }
    turn_around(steps, n_bytes);
    return push_steps(u, steps, text, n_bytes, out);
}
