/* What a model's files say of its tokenizer, whatever their format. One reader per format fills it;
 * tokenizer_create builds from it alone. Private to src/text; knows no merging. */
#ifndef PENSIEVE_TEXT_TOKENIZER_FILE_H
#define PENSIEVE_TEXT_TOKENIZER_FILE_H

#include "base/arena.h"
#include "base/error.h"
#include "base/json_tree.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "weights/gguf_format.h"
#include "weights/weights.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How control and user-defined tokens are looked for; tokenizer.json's words. */
enum tokenizer_flag {
    TOKENIZER_SINGLE_WORD = 1, /* no letter, digit or mark may stand beside it */
    TOKENIZER_LSTRIP = 2,      /* the white space before it is its own */
    TOKENIZER_RSTRIP = 4,      /* the same after it */
    TOKENIZER_NORMALIZED = 8,  /* in the normalized text, not in the one before */
};

enum tokenizer_kind {
    TOKENIZER_BYTE_BPE, /* by rank, over bytes in GPT-2's alphabet */
    TOKENIZER_CHAR_BPE, /* by rank, over characters; what is no token may become bytes */
    TOKENIZER_SPM,      /* by score: any neighbours that are a token together */
    TOKENIZER_UNIGRAM,  /* by score: the best of all ways to write a piece */
};

struct tokenizer_merge {
    struct weights_string left, right; /* as the vocabulary writes them */
};

enum { TOKENIZER_MAX_TOKENS = 1 << 24 }; /* far above any real vocabulary; ids fit with room */
enum { TOKENIZER_MAX_ENDS = 64 };

struct tokenizer_file {
    enum tokenizer_kind kind;
    struct weights_string *tokens; /* [n] as the file writes them; "" for an id that is none */
    uint8_t *types;                /* [n] enum gguf_token_type */
    uint8_t *flags;                /* [n] enum tokenizer_flag */
    double *scores;                /* [n], SPM and UNIGRAM; or NULL: all are 0 */
    size_t n;
    bool has_types; /* the file says what type each is */

    struct tokenizer_merge *merges; /* [n_merges] in the order of ranks, BPE */
    size_t n_merges;
    bool ignores_merges;   /* a piece that is a token is taken without merging */
    bool has_fallback;     /* CHAR_BPE and UNIGRAM: what is no token becomes <0xXX> */
    bool fuses_unknown;    /* BPE, SPM: unknown characters side by side are one unknown token */
    bool closes_gaps;      /* BPE: what surrounds a left-out byte may merge */
    bool takes_line_ends;  /* line ends side by side that are a token are taken without merging */
    bool sums_floats;      /* UNIGRAM: sums are rounded to 32 bits */
    bool spaces_are_marks; /* U+2581 in a token stands for a space */

    struct normalizer *normalizer; /* or NULL */
    struct pre_tokenizer *pre;     /* NULL: SPM over whole texts, as llama.cpp does */
    bool add_space_prefix;         /* of those: as if a space stood before */

    int32_t bos, eos, unknown;        /* or -1 */
    int32_t ends[TOKENIZER_MAX_ENDS]; /* [n_ends] that end a generation, besides `eos` */
    size_t n_ends;
    bool add_bos;

    struct arena strings;  /* of tokens that do not lie in a map */
    struct json_tree json; /* what merges point into, as long as the file is being taken apart */
};

/* Room for n tokens, all "" and unused. FORMAT when there are none or too many, or NO_MEMORY. */
bool tokenizer_file_reserve(struct tokenizer_file *f, size_t n, struct error *err);
void tokenizer_file_deinit(struct tokenizer_file *f);
/* Frees what only building needs: the merges. */
void tokenizer_file_built(struct tokenizer_file *f);
void tokenizer_file_add_end(struct tokenizer_file *f, int32_t id);

/* Readers. What one leaves half-filled on failure tokenizer_file_deinit frees. */
/* tokenizer.ggml.* */
bool tokenizer_file_read_gguf(struct tokenizer_file *f, const struct weights *w, struct error *err);
/* A folder's tokenizer.json, and what stands beside it. */
bool tokenizer_file_read_json(struct tokenizer_file *f, const struct weights *w, struct error *err);
/* A folder's tokenizer.model, and what stands beside it. */
bool tokenizer_file_read_model(struct tokenizer_file *f, const struct weights *w,
                               struct error *err);

/* SentencePiece's way to a text: replacements (taken, also on failure; may be NULL), without
 * superfluous spaces, with one before it, all spaces U+2581. */
bool tokenizer_file_add_sentencepiece(struct tokenizer_file *f, struct charsmap *c, bool trims,
                                      bool adds_prefix, struct error *err);

#endif
