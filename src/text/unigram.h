/* Unigram vocabularies: of all ways to write a text as tokens, the one whose scores have the
 * largest sum (Viterbi, in time n × the longest token). Immutable after it was read. Private to
 * src/text; knows no special tokens. */
#ifndef PENSIEVE_TEXT_UNIGRAM_H
#define PENSIEVE_TEXT_UNIGRAM_H

#include "text/token_list.h"
#include "text/tokenizer_vocab.h"

/* An edge of the trie over the tokens' bytes. */
struct unigram_edge {
    uint32_t from;  /* node and byte: node << 8 | byte */
    uint32_t child; /* 0 in a free slot */
};

struct unigram {
    const struct tokenizer_vocab *vocab;
    const double *scores;       /* [n of the vocabulary], the file's */
    struct unigram_edge *edges; /* [n_slots], a power of two; a hash table */
    size_t n_slots;
    int32_t *node_ids; /* [n_nodes] the token that ends there, or -1 */
    size_t n_nodes;
    int32_t byte_ids[256]; /* -1: the vocabulary has no such byte, or what is unknown stays so */
    int32_t unknown;       /* -1: what is unknown is left out */
    double unknown_score;
    bool sums_floats; /* sums are rounded to 32 bits, as SentencePiece does */
};

/* Over a file and its vocabulary, which must outlive it. What it leaves half-built on failure
 * deinit frees. */
bool unigram_init(struct unigram *u, const struct tokenizer_file *f,
                  const struct tokenizer_vocab *v, struct error *err);
void unigram_deinit(struct unigram *u);

/* Memory that one call of tokenizer_encode reuses. Zeroed to begin with. */
struct unigram_scratch {
    struct unigram_step *steps;
    size_t n_steps;
};
void unigram_scratch_deinit(struct unigram_scratch *s);

/* Appends the tokens of text[n_bytes], any bytes. Unknown characters side by side are one unknown
 * token, or the tokens of their bytes. False: out of memory. */
bool unigram_encode(const struct unigram *u, const char *text, size_t n_bytes,
                    struct unigram_scratch *scratch, struct token_list *out);

#endif
