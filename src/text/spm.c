/* Merging by score over a heap of candidate pairs. The text is first written with U+2581 for each
 * space, the way the vocabulary writes it. */
#include "text/spm.h"

#include "base/utf8.h"
#include "text/space_mark.h"

#include <stdlib.h>
#include <string.h>

static const uint32_t NONE = UINT32_MAX;

void spm_init(struct spm *m, const struct tokenizer_file *f, const struct tokenizer_vocab *v)
{
    *m = (struct spm){
        .vocab = v, .scores = f->scores, .fuses_unknown = f->fuses_unknown, .unknown = f->unknown};
    for (unsigned byte = 0; byte < 256; byte++)
        m->byte_ids[byte] = tokenizer_vocab_find_byte(v, (uint8_t)byte);
    m->cuts_at_marks = tokenizer_vocab_find_text(v, SPACE_MARK, SPACE_MARK_BYTES) >= 0;
    for (size_t i = 0; m->cuts_at_marks && i < v->n; i++)
        m->cuts_at_marks = !tokenizer_vocab_is_text(v, (int32_t)i) ||
                           !space_mark_is_inside(v->tokens[i].data, v->tokens[i].len);
}

struct symbol {
    uint32_t at, n_bytes;    /* in the text; n_bytes 0: it was merged into another */
    uint32_t previous, next; /* NONE at the ends */
    int32_t id;              /* -1: no token */
};

struct candidate {
    double score;
    int32_t id; /* of the merged token */
    uint32_t left, right;
    uint32_t n_bytes; /* of both together when it was queued */
};

struct merging {
    const struct spm *m;
    char *text; /* [n_text] with U+2581 */
    size_t n_text;
    struct symbol *symbols;
    size_t n_symbols;
    struct candidate *heap;
    size_t n_heap;
};

/* The higher score first, of equal ones the leftmost. */
static bool is_before(const struct candidate *a, const struct candidate *b)
{
    return a->score > b->score || (a->score == b->score && a->left < b->left);
}

static void spm_heap_push(struct merging *g, struct candidate c)
{
    size_t i = g->n_heap++;
    while (i && is_before(&c, &g->heap[(i - 1) / 2])) {
        g->heap[i] = g->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    g->heap[i] = c;
}

static struct candidate spm_heap_pop(struct merging *g)
{
    struct candidate top = g->heap[0], last = g->heap[--g->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= g->n_heap)
            break;
        if (child + 1 < g->n_heap && is_before(&g->heap[child + 1], &g->heap[child]))
            child++;
        if (!is_before(&g->heap[child], &last))
            break;
        g->heap[i] = g->heap[child];
        i = child;
    }
    g->heap[i] = last;
    return top;
}

/* Queues the pair if together it is a token. Symbols lie side by side in the text, so the token's
 * text is there; one longer than the longest token costs nothing. */
static void spm_consider(struct merging *g, uint32_t left, uint32_t right)
{
    if (left == NONE || right == NONE)
        return;
    size_t n_bytes = (size_t)g->symbols[left].n_bytes + g->symbols[right].n_bytes;
    const char *text = g->text + g->symbols[left].at;
    int32_t id = tokenizer_vocab_find_text(g->m->vocab, text, n_bytes);
    if (id < 0)
        return;
    double score = g->m->scores ? g->m->scores[id] : 0;
    spm_heap_push(g, (struct candidate){score, id, left, right, (uint32_t)n_bytes});
}

static void spm_merge(struct merging *g)
{
    for (uint32_t i = 1; i < g->n_symbols; i++)
        spm_consider(g, i - 1, i);
    while (g->n_heap) {
        struct candidate c = spm_heap_pop(g);
        struct symbol *left = &g->symbols[c.left], *right = &g->symbols[c.right];
        if (!left->n_bytes || !right->n_bytes || left->n_bytes + right->n_bytes != c.n_bytes)
            continue; /* one of them was merged meanwhile */
        left->n_bytes = c.n_bytes;
        left->id = c.id;
        left->next = right->next;
        right->n_bytes = 0;
        if (left->next != NONE)
            g->symbols[left->next].previous = c.left;
        spm_consider(g, left->previous, c.left);
        spm_consider(g, c.left, left->next);
    }
}

/* `first`: the number of tokens that were there before this text. */
static bool push_unknown(const struct merging *g, size_t first, struct token_list *out)
{
    int32_t id = g->m->unknown;
    bool follows = out->n > first && out->ids[out->n - 1] == id;
    return id < 0 || (follows && g->m->fuses_unknown) || token_list_push(out, id);
}

static bool push_bytes(const struct merging *g, const struct symbol *s, size_t first,
                       struct token_list *out)
{
    for (uint32_t i = 0; i < s->n_bytes; i++) {
        int32_t id = g->m->byte_ids[(unsigned char)g->text[s->at + i]];
        if (id < 0 ? !push_unknown(g, first, out) : !token_list_push(out, id))
            return false;
    }
    return true;
}

static bool push_symbols(const struct merging *g, struct token_list *out)
{
    size_t first = out->n;
    for (uint32_t i = 0; i != NONE; i = g->symbols[i].next) {
        const struct symbol *s = &g->symbols[i];
        if (s->id >= 0 ? !token_list_push(out, s->id) : !push_bytes(g, s, first, out))
            return false;
    }
    return true;
}

static size_t count_spaces(const char *text, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += text[i] == ' ';
    return count;
}

static void spm_escape(struct merging *g, const char *text, size_t n_bytes, bool prefix)
{
    char *to = g->text;
    if (prefix)
        to = (char *)memcpy(to, SPACE_MARK, SPACE_MARK_BYTES) + SPACE_MARK_BYTES;
    for (size_t i = 0; i < n_bytes; i++) {
        if (text[i] == ' ')
            to = (char *)memcpy(to, SPACE_MARK, SPACE_MARK_BYTES) + SPACE_MARK_BYTES;
        else
            *to++ = text[i];
    }
}

/* One symbol for each character of text[begin, end); a byte of none is a symbol of its own. */
static void spm_lay_out(struct merging *g, size_t begin, size_t end)
{
    g->n_symbols = 0;
    for (size_t at = begin, n; at < end; at += n) {
        uint32_t i = (uint32_t)g->n_symbols++;
        n = utf8_char_bytes(g->text + at, end - at);
        n += !n;
        g->symbols[i] = (struct symbol){
            .at = (uint32_t)at,
            .n_bytes = (uint32_t)n,
            .previous = i ? i - 1 : NONE,
            .next = at + n < end ? i + 1 : NONE,
            .id = tokenizer_vocab_find_text(g->m->vocab, g->text + at, n),
        };
    }
}

/* Word by word where nothing can merge across: what one takes stays in the cache. */
static bool spm_encode_words(struct merging *g, struct token_list *out)
{
    for (size_t at = 0, n; at < g->n_text; at += n) {
        n = g->n_text - at;
        if (g->m->cuts_at_marks)
            n = space_mark_next(g->text + at, n);
        spm_lay_out(g, at, at + n);
        spm_merge(g);
        if (!push_symbols(g, out))
            return false;
    }
    return true;
}

bool spm_encode(const struct spm *m, const char *text, size_t n_bytes, bool prefix,
                struct token_list *out)
{
    if (!n_bytes)
        return true;
    size_t n_text = n_bytes + (SPACE_MARK_BYTES - 1) * count_spaces(text, n_bytes) +
                    (prefix ? SPACE_MARK_BYTES : 0);
    if (n_text >= NONE)
        return false;
    struct merging g = {.m = m, .n_text = n_text};
    size_t n_most = n_bytes + 1; /* symbols: a space is three bytes, but one character */
    g.text = malloc(n_text);
    g.symbols = malloc(n_most * sizeof *g.symbols);
    g.heap = malloc(3 * n_most * sizeof *g.heap); /* a merge queues two more pairs at most */
    bool ok = g.text && g.symbols && g.heap;
    if (ok) {
        spm_escape(&g, text, n_bytes, prefix);
        ok = spm_encode_words(&g, out);
    }
    free(g.text);
    free(g.symbols);
    free(g.heap);
    return ok;
}
