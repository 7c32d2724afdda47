/* BPE: merges the bytes of a piece, or its characters, into tokens, the pair with the lowest rank
 * first. Immutable after it was read. Private to src/text; knows no pre-tokenizer and no special
 * tokens.
 */
#ifndef PENSIEVE_TEXT_BPE_H
#define PENSIEVE_TEXT_BPE_H

#include "text/token_list.h"
#include "text/tokenizer_vocab.h"

/* A merge by the ids of its halves. */
struct bpe_merge {
    uint32_t left, right;
    uint32_t rank; /* its place in the file's list; UINT32_MAX in a free slot */
};

struct bpe {
    const struct tokenizer_vocab *vocab;
    bool is_bytes;            /* in GPT-2's alphabet; else characters as they are */
    int32_t byte_ids[256];    /* of characters: <0x0A>; -1: the vocabulary has no such byte */
    int32_t unknown;          /* for what is neither; -1: it is left out */
    bool fuses_unknown;       /* one for all that stand side by side */
    bool closes_gaps;         /* what surrounds a left-out byte may merge */
    bool cuts_at_marks;       /* nothing merges across a U+2581 that follows another character */
    struct bpe_merge *merges; /* [n_slots], a power of two; a hash table */
    size_t n_slots;
    uint32_t *merged; /* [n_merges] the token that a rank makes */
};

/* Reads a file's merges, over its vocabulary, which must outlive it. A merge whose halves or result
 * are no tokens of the vocabulary is left out: nothing can come of it. What it leaves half-built on
 * failure deinit frees. */
bool bpe_init(struct bpe *b, const struct tokenizer_file *f, const struct tokenizer_vocab *v,
              struct error *err);
void bpe_deinit(struct bpe *b);

/* Memory that one call of tokenizer_encode reuses for its long pieces. Zeroed to begin with. */
struct bpe_scratch {
    struct bpe_symbol *symbols;
    uint64_t *heap;
    size_t n_symbols; /* allocated, with three entries of the heap for each */
};
void bpe_scratch_deinit(struct bpe_scratch *s);

/* Appends the tokens of one piece, any bytes, in time n log n. What the vocabulary lacks
 * and has no unknown token for is left out, as its own trainers do. False: out of memory. */
bool bpe_encode(const struct bpe *b, const char *piece, size_t n_bytes, struct bpe_scratch *scratch,
                struct token_list *out);

/* The token that a piece is as a whole, or -1. */
int32_t bpe_find(const struct bpe *b, const char *piece, size_t n_bytes);

#endif
