/* Byte-level BPE over token ids: a merge is found by its two ids in one step, short pieces are
 * merged in place, long ones with a heap. */
#include "text/bpe.h"

#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_MERGES = 1 << 24,
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

static bool bpe_take_apart(const struct bpe *b, const struct weights_string *merge,
                           struct reading *r)
{
    const char *gap = merge->len > 2 ? memchr(merge->data + 1, ' ', merge->len - 1) : NULL;
    if (!gap || gap + 1 == merge->data + merge->len)
        return false;
    r->left = merge->data;
    r->n_left = (size_t)(gap - merge->data);
    r->right = gap + 1;
    r->n_right = merge->len - r->n_left - 1;
    r->left_hash = tokenizer_vocab_hash(b->vocab, r->left, r->n_left);
    r->right_hash = tokenizer_vocab_hash(b->vocab, r->right, r->n_right);
    tokenizer_vocab_prefetch(b->vocab, r->left_hash);
    tokenizer_vocab_prefetch(b->vocab, r->right_hash);
    return true;
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
 * time here is waiting for memory, and this way the waits overlap. False: merge *bad is no pair. */
static bool read_batch(struct bpe *b, const struct weights_string *merges, size_t n, size_t rank,
                       size_t *guess, size_t *bad)
{
    struct reading batch[BATCH];
    bool known[BATCH];
    for (size_t i = 0; i < n; i++) {
        if (!bpe_take_apart(b, &merges[i], &batch[i])) {
            *bad = rank + i;
            return false;
        }
    }
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
        bpe_add_merge(b, (uint32_t)r->left_id, (uint32_t)r->right_id, (uint32_t)(rank + i));
    }
    return true;
}

static bool read_merges(struct bpe *b, const struct weights *w, size_t n, struct error *err)
{
    const char *key = "tokenizer.ggml.merges";
    struct weights_string *merges = malloc(n * sizeof *merges);
    if (!merges)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for %zu merges", n);
    size_t guess = 0, bad = 0;
    bool ok = weights_array_strings(w, key, merges, n);
    if (!ok)
        error_set(err, ERROR_FORMAT, "%s is not an array of strings", key);
    for (size_t i = 0; ok && i < n; i += BATCH) {
        ok = read_batch(b, merges + i, n - i < BATCH ? n - i : BATCH, i, &guess, &bad);
        if (!ok)
            error_set(err, ERROR_FORMAT, "%s: item %zu is no pair", key, bad);
    }
    free(merges);
    return ok;
}

bool bpe_init(struct bpe *b, const struct weights *w, const struct tokenizer_vocab *v,
              struct error *err)
{
    *b = (struct bpe){.vocab = v};
    size_t n = weights_array_len(w, "tokenizer.ggml.merges");
    if (!n)
        return error_set(err, ERROR_FORMAT, "tokenizer.ggml.merges is missing");
    if (n > MAX_MERGES)
        return error_set(err, ERROR_FORMAT, "tokenizer.ggml.merges has %zu items", n);
    for (unsigned byte = 0; byte < 256; byte++) {
        char shown[2];
        size_t n_shown = unicode_from_byte((uint8_t)byte, shown);
        b->byte_ids[byte] = tokenizer_vocab_find_text(v, shown, n_shown);
    }
    for (b->n_slots = 16; b->n_slots < n + n / 2;)
        b->n_slots *= 2;
    b->merges = malloc(b->n_slots * sizeof *b->merges);
    b->merged = calloc(n, sizeof *b->merged);
    if (!b->merges || !b->merged)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for %zu merges", n);
    memset(b->merges, 0xff, b->n_slots * sizeof *b->merges); /* NO_RANK, NO_ID */
    return read_merges(b, w, n, err);
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

/* The bytes, each with the rank of the pair that it begins. One that the vocabulary lacks (NO_ID)
 * merges with nothing. */
static void bpe_lay_out(const struct bpe *b, const char *piece, size_t n,
                        struct bpe_symbol *symbols)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t id = (uint32_t)b->byte_ids[(unsigned char)piece[i]];
        symbols[i] = (struct bpe_symbol){.id = id, .rank = NO_RANK};
        if (i)
            symbols[i - 1].rank = find_rank(b, symbols[i - 1].id, id);
    }
}

static bool bpe_push(struct token_list *out, uint32_t id)
{
    return id == NO_ID || token_list_push(out, (int32_t)id);
}

static bool encode_short(const struct bpe *b, const char *piece, size_t n, struct token_list *out)
{
    struct bpe_symbol symbols[SHORT_PIECE];
    bpe_lay_out(b, piece, n, symbols);
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

bool bpe_encode(const struct bpe *b, const char *piece, size_t n_bytes, struct bpe_scratch *scratch,
                struct token_list *out)
{
    if (n_bytes <= SHORT_PIECE)
        return encode_short(b, piece, n_bytes, out);
    if (!bpe_reserve(scratch, n_bytes))
        return false;
    bpe_lay_out(b, piece, n_bytes, scratch->symbols);
    merge_long(b, scratch, n_bytes);
    for (uint32_t i = 0; i != NO_ID; i = scratch->symbols[i].next)
        if (!bpe_push(out, scratch->symbols[i].id))
            return false;
    return true;
}

int32_t bpe_find(const struct bpe *b, const char *piece, size_t n_bytes)
{
    char shown[MAX_SHOWN];
    size_t n = 0;
    if (n_bytes > sizeof shown / 2)
        return -1;
    for (size_t i = 0; i < n_bytes; i++)
        n += unicode_from_byte((uint8_t)piece[i], shown + n);
    return tokenizer_vocab_find_text(b->vocab, shown, n);
}
