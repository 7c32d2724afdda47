/* BPE over token ids: a merge is found by its two ids in one step, short pieces are
 * merged in place, long ones with a heap. */
#include "text/bpe.h"

#include "base/utf8.h"
#include "text/space_mark.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

enum {
    SHORT_PIECE = 48, /* up to here scanning all pairs for each merge is faster than the heap */
    BATCH = 64,       /* merges that are read together */
    MAX_SHOWN = 2048, /* bytes of a token as the file writes it; real ones are shorter by far */
};
static const uint32_t NO_RANK = UINT32_MAX;
static const uint32_t NO_ID = UINT32_MAX;

static size_t pair_slot(const struct bpe *b, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    return tokenizer_vocab_mix(pair ^ b->vocab->secret[0], b->vocab->secret[1]) & (b->n_slots - 1);
}

/* The rank of the merge of two tokens, or NO_RANK. */
static uint32_t find_rank(const struct bpe *b, uint32_t left, uint32_t right)
{
    for (size_t i = pair_slot(b, left, right);; i = (i + 1) & (b->n_slots - 1)) {
        const struct bpe_merge *m = &b->merges[i];
        if (m->rank == NO_RANK || (m->left == left && m->right == right))
            return m->rank;
    }
}

/* Puts a merge unless the same pair has an earlier one. */
static void bpe_add_merge(struct bpe *b, uint32_t left, uint32_t right, uint32_t rank)
{
    for (size_t i = pair_slot(b, left, right);; i = (i + 1) & (b->n_slots - 1)) {
        struct bpe_merge *m = &b->merges[i];
        if (m->rank == NO_RANK)
            *m = (struct bpe_merge){left, right, rank};
        if (m->left == left && m->right == right)
            return;
    }
}

static bool is_concatenation(const struct weights_string *whole, const char *left, size_t n_left,
                             const char *right, size_t n_right)
{
    return whole->len == n_left + n_right && !memcmp(whole->data, left, n_left) &&
           !memcmp(whole->data + n_left, right, n_right);
}

/* The token that two halves make. Vocabularies list their tokens in the order of their merges, so
 * the one after the last is tried before the hash table. */
static int32_t find_whole(const struct tokenizer_vocab *v, size_t guess, const char *left,
                          size_t n_left, const char *right, size_t n_right)
{
    char whole[MAX_SHOWN];
    if (guess < v->n && is_concatenation(&v->tokens[guess], left, n_left, right, n_right))
        return tokenizer_vocab_is_text(v, (int32_t)guess) ? (int32_t)guess : -1;
    if (n_left + n_right > sizeof whole)
        return -1;
    memcpy(whole, left, n_left);
    memcpy(whole + n_left, right, n_right);
    return tokenizer_vocab_find_text(v, whole, n_left + n_right);
}

/* A merge on its way into the table. */
struct reading {
    const char *left, *right;
    size_t n_left, n_right;
    uint64_t left_hash, right_hash;
    int32_t left_id, right_id;
};

static void bpe_take_apart(const struct bpe *b, const struct tokenizer_merge *merge,
                           struct reading *r)
{
    r->left = merge->left.data;
    r->n_left = merge->left.len;
    r->right = merge->right.data;
    r->n_right = merge->right.len;
    r->left_hash = tokenizer_vocab_hash(b->vocab, r->left, r->n_left);
    r->right_hash = tokenizer_vocab_hash(b->vocab, r->right, r->n_right);
    tokenizer_vocab_prefetch(b->vocab, r->left_hash);
    tokenizer_vocab_prefetch(b->vocab, r->right_hash);
}

static bool bpe_look_up(const struct bpe *b, struct reading *r)
{
    const struct tokenizer_vocab *v = b->vocab;
    r->left_id = tokenizer_vocab_find_hashed(v, r->left_hash, r->left, r->n_left);
    r->right_id = tokenizer_vocab_find_hashed(v, r->right_hash, r->right, r->n_right);
    if (r->left_id < 0 || r->right_id < 0 || !tokenizer_vocab_is_text(v, r->left_id) ||
        !tokenizer_vocab_is_text(v, r->right_id))
        return false;
    size_t slot = pair_slot(b, (uint32_t)r->left_id, (uint32_t)r->right_id);
    __builtin_prefetch(&b->merges[slot], 1);
    return true;
}

/* Reads merges[n] of ranks from `rank` on, each step for all of them before the next: most of the
 * time here is waiting for memory, and this way the waits overlap. */
static void read_batch(struct bpe *b, const struct tokenizer_merge *merges, size_t n, size_t rank,
                       size_t *guess)
{
    struct reading batch[BATCH];
    bool known[BATCH];
    for (size_t i = 0; i < n; i++)
        bpe_take_apart(b, &merges[i], &batch[i]);
    for (size_t i = 0; i < n; i++)
        known[i] = bpe_look_up(b, &batch[i]);
    for (size_t i = 0; i < n; i++) {
        const struct reading *r = &batch[i];
        int32_t whole =
            known[i] ? find_whole(b->vocab, *guess, r->left, r->n_left, r->right, r->n_right) : -1;
        if (whole < 0)
            continue;
        *guess = (size_t)whole + 1;
        b->merged[rank + i] = (uint32_t)whole;
        b->cuts_at_marks &=
            !space_mark_is_inside(b->vocab->tokens[whole].data, b->vocab->tokens[whole].len);
        bpe_add_merge(b, (uint32_t)r->left_id, (uint32_t)r->right_id, (uint32_t)(rank + i));
    }
}

/* May text be cut at marks? Where a character is left out, its neighbours merge across it. */
static bool leaves_nothing_out(const struct bpe *b)
{
    bool has_all = true;
    for (unsigned byte = 0; byte < 256; byte++)
        has_all &= b->byte_ids[byte] >= 0;
    return (has_all || b->unknown >= 0) &&
           tokenizer_vocab_find_text(b->vocab, SPACE_MARK, SPACE_MARK_BYTES) >= 0;
}

static void find_bytes(struct bpe *b, bool has_fallback)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char shown[2];
        size_t n_shown = unicode_from_byte((uint8_t)byte, shown);
        if (b->is_bytes)
            b->byte_ids[byte] = tokenizer_vocab_find_text(b->vocab, shown, n_shown);
        else
            b->byte_ids[byte] =
                has_fallback ? tokenizer_vocab_find_byte(b->vocab, (uint8_t)byte) : -1;
    }
}

bool bpe_init(struct bpe *b, const struct tokenizer_file *f, const struct tokenizer_vocab *v,
              struct error *err)
{
    size_t n = f->n_merges, guess = 0;
    *b = (struct bpe){.vocab = v,
                      .is_bytes = f->kind == TOKENIZER_BYTE_BPE,
                      .unknown = f->unknown,
                      .fuses_unknown = f->fuses_unknown,
                      .closes_gaps = f->closes_gaps};
    find_bytes(b, f->has_fallback);
    for (b->n_slots = 16; b->n_slots < n + n / 2;)
        b->n_slots *= 2;
    b->merges = malloc(b->n_slots * sizeof *b->merges);
    b->merged = calloc(n + 1, sizeof *b->merged);
    if (!b->merges || !b->merged)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for %zu merges", n);
    memset(b->merges, 0xff, b->n_slots * sizeof *b->merges); /* NO_RANK, NO_ID */
    b->cuts_at_marks = !b->is_bytes && leaves_nothing_out(b);
    for (size_t i = 0; i < n; i += BATCH)
        read_batch(b, f->merges + i, n - i < BATCH ? n - i : BATCH, i, &guess);
    return true;
}

void bpe_deinit(struct bpe *b)
{
    free(b->merges);
    free(b->merged);
    *b = (struct bpe){0};
}

/* A byte, then what was merged into it. `rank` is that of the pair with the next symbol. */
struct bpe_symbol {
    uint32_t id, rank;
    uint32_t previous, next; /* of long pieces; NO_ID at the ends */
};

void bpe_scratch_deinit(struct bpe_scratch *s)
{
    free(s->symbols);
    free(s->heap);
    *s = (struct bpe_scratch){0};
}

/* Symbols on their way, each with the rank of the pair that it begins. */
struct layout {
    const struct bpe *b;
    struct bpe_symbol *symbols;
    size_t n;
    bool after_unknown;
};

static void lay_symbol(struct layout *l, uint32_t id)
{
    l->symbols[l->n] = (struct bpe_symbol){.id = id, .rank = NO_RANK};
    if (l->n)
        l->symbols[l->n - 1].rank = find_rank(l->b, l->symbols[l->n - 1].id, id);
    l->n++;
    l->after_unknown = false;
}

/* What the vocabulary lacks. Without a token for it, it merges with nothing (NO_ID) or is as if it
 * were not there. */
static void lay_unknown(struct layout *l)
{
    const struct bpe *b = l->b;
    if (b->unknown < 0 ? b->closes_gaps : b->fuses_unknown && l->after_unknown)
        return;
    lay_symbol(l, b->unknown < 0 ? NO_ID : (uint32_t)b->unknown);
    l->after_unknown = true;
}

/* A character as a token, or all of its bytes, or the unknown one. */
static void lay_character(struct layout *l, const char *text, size_t n)
{
    const struct bpe *b = l->b;
    int32_t id = tokenizer_vocab_find_text(b->vocab, text, n);
    bool has_bytes = true;
    for (size_t i = 0; i < n; i++)
        has_bytes &= b->byte_ids[(unsigned char)text[i]] >= 0;
    if (id >= 0)
        lay_symbol(l, (uint32_t)id);
    else if (!has_bytes)
        lay_unknown(l);
    else
        for (size_t i = 0; i < n; i++)
            lay_symbol(l, (uint32_t)b->byte_ids[(unsigned char)text[i]]);
}

/* Returns the number of symbols, at most one for each byte. */
static size_t bpe_lay_out(const struct bpe *b, const char *piece, size_t n_bytes,
                          struct bpe_symbol *symbols)
{
    struct layout l = {.b = b, .symbols = symbols};
    for (size_t i = 0, n; i < n_bytes; i += n) {
        n = 1;
        if (!b->is_bytes) {
            n = utf8_char_bytes(piece + i, n_bytes - i);
            n += !n;
            lay_character(&l, piece + i, n);
        } else if (b->byte_ids[(unsigned char)piece[i]] >= 0) {
            lay_symbol(&l, (uint32_t)b->byte_ids[(unsigned char)piece[i]]);
        } else {
            lay_unknown(&l);
        }
    }
    return l.n;
}

static bool bpe_push(struct token_list *out, uint32_t id)
{
    return id == NO_ID || token_list_push(out, (int32_t)id);
}

static bool encode_short(const struct bpe *b, const char *piece, size_t n_bytes,
                         struct token_list *out)
{
    struct bpe_symbol symbols[SHORT_PIECE];
    size_t n = bpe_lay_out(b, piece, n_bytes, symbols);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (symbols[i].rank < symbols[best].rank)
                best = i;
        if (symbols[best].rank == NO_RANK)
            break;
        symbols[best].id = b->merged[symbols[best].rank];
        n--;
        memmove(&symbols[best + 1], &symbols[best + 2], (n - best - 1) * sizeof *symbols);
        symbols[best].rank =
            best + 1 < n ? find_rank(b, symbols[best].id, symbols[best + 1].id) : NO_RANK;
        if (best)
            symbols[best - 1].rank = find_rank(b, symbols[best - 1].id, symbols[best].id);
    }
    for (size_t i = 0; i < n; i++)
        if (!bpe_push(out, symbols[i].id))
            return false;
    return true;
}

/* A binary heap of rank << 32 | position: the lowest rank first, of equal ones the leftmost. */
static void bpe_heap_push(uint64_t *heap, size_t *n, uint64_t entry)
{
    size_t i = (*n)++;
    while (i && heap[(i - 1) / 2] > entry) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = entry;
}

static uint64_t bpe_heap_pop(uint64_t *heap, size_t *n)
{
    uint64_t top = heap[0], last = heap[--*n];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= *n)
            break;
        if (child + 1 < *n && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= last)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

/* Sets the rank of the pair that begins at `at` and queues it. */
static void queue_pair(const struct bpe *b, struct bpe_scratch *s, size_t *n_heap, uint32_t at)
{
    struct bpe_symbol *left = &s->symbols[at];
    left->rank = left->next == NO_ID ? NO_RANK : find_rank(b, left->id, s->symbols[left->next].id);
    if (left->rank != NO_RANK)
        bpe_heap_push(s->heap, n_heap, (uint64_t)left->rank << 32 | at);
}

static void merge_long(const struct bpe *b, struct bpe_scratch *s, size_t n)
{
    size_t n_heap = 0;
    struct bpe_symbol *symbols = s->symbols;
    for (uint32_t i = 0; i < n; i++) {
        symbols[i].previous = i ? i - 1 : NO_ID;
        symbols[i].next = i + 1 < n ? i + 1 : NO_ID;
        if (symbols[i].rank != NO_RANK)
            bpe_heap_push(s->heap, &n_heap, (uint64_t)symbols[i].rank << 32 | i);
    }
    while (n_heap) {
        uint64_t entry = bpe_heap_pop(s->heap, &n_heap);
        uint32_t at = (uint32_t)entry, rank = (uint32_t)(entry >> 32);
        if (symbols[at].rank != rank)
            continue; /* the pair is gone: a rank names its pair */
        uint32_t gone = symbols[at].next;
        symbols[at].id = b->merged[rank];
        symbols[at].next = symbols[gone].next;
        symbols[gone].rank = NO_RANK;
        if (symbols[at].next != NO_ID)
            symbols[symbols[at].next].previous = at;
        queue_pair(b, s, &n_heap, at);
        if (symbols[at].previous != NO_ID)
            queue_pair(b, s, &n_heap, symbols[at].previous);
    }
}

/* A merge queues two pairs at most, so the heap never holds more than three entries per byte. */
static bool bpe_reserve(struct bpe_scratch *s, size_t n_bytes)
{
    if (n_bytes <= s->n_symbols)
        return true;
    if (n_bytes >= NO_ID || n_bytes > SIZE_MAX / 32)
        return false;
    bpe_scratch_deinit(s);
    s->symbols = malloc(n_bytes * sizeof *s->symbols);
    s->heap = malloc(3 * n_bytes * sizeof *s->heap);
    if (!s->symbols || !s->heap) {
        bpe_scratch_deinit(s);
        return false;
    }
    s->n_symbols = n_bytes;
    return true;
}

static bool encode_long(const struct bpe *b, const char *piece, size_t n_bytes,
                        struct bpe_scratch *scratch, struct token_list *out)
{
    if (!bpe_reserve(scratch, n_bytes))
        return false;
    size_t n = bpe_lay_out(b, piece, n_bytes, scratch->symbols);
    merge_long(b, scratch, n);
    for (uint32_t i = n ? 0 : NO_ID; i != NO_ID; i = scratch->symbols[i].next)
        if (!bpe_push(out, scratch->symbols[i].id))
            return false;
    return true;
}

bool bpe_encode(const struct bpe *b, const char *piece, size_t n_bytes, struct bpe_scratch *scratch,
                struct token_list *out)
{
    for (size_t i = 0, n; i < n_bytes; i += n) {
        n = b->cuts_at_marks ? space_mark_next(piece + i, n_bytes - i) : n_bytes;
        if (n <= SHORT_PIECE ? !encode_short(b, piece + i, n, out)
                             : !encode_long(b, piece + i, n, scratch, out))
            return false;
    }
    return true;
}

int32_t bpe_find(const struct bpe *b, const char *piece, size_t n_bytes)
{
    char shown[MAX_SHOWN];
    size_t n = 0;
    if (!b->is_bytes)
        return tokenizer_vocab_find_text(b->vocab, piece, n_bytes);
    if (n_bytes > sizeof shown / 2)
        return -1;
    for (size_t i = 0; i < n_bytes; i++)
        n += unicode_from_byte((uint8_t)piece[i], shown + n);
    return tokenizer_vocab_find_text(b->vocab, shown, n);
}
