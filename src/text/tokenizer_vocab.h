/* The tokens of a vocabulary as the file writes them: by id, and by text through a hash table over
 * their strings. Immutable after it was read. Private to src/text; knows no merging. */
#ifndef PENSIEVE_TEXT_TOKENIZER_VOCAB_H
#define PENSIEVE_TEXT_TOKENIZER_VOCAB_H

#include "text/tokenizer_file.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer_slot {
    uint32_t tag;    /* more bits of the hash */
    uint32_t number; /* id + 1; 0 in a free slot */
};

struct tokenizer_vocab {
    const struct weights_string *tokens; /* [n], the file's */
    uint8_t *types;                      /* [n] enum gguf_token_type, the file's */
    size_t n;
    size_t max_bytes;             /* of the longest token */
    bool has_types;               /* the file says what type each is */
    struct tokenizer_slot *slots; /* [n_slots], a power of two */
    size_t n_slots;
    uint64_t secret[2]; /* of the hash: no file can choose its collisions */
};

/* Over the tokens of a file, which must outlive it. What it leaves half-built on failure deinit
 * frees. */
bool tokenizer_vocab_init(struct tokenizer_vocab *v, const struct tokenizer_file *f,
                          struct error *err);
void tokenizer_vocab_deinit(struct tokenizer_vocab *v);

/* The first id with exactly this text, or -1. */
int32_t tokenizer_vocab_find(const struct tokenizer_vocab *v, const char *text, size_t n_bytes);
/* The same among what ordinary text may become: normal and user-defined tokens, no markers. */
int32_t tokenizer_vocab_find_text(const struct tokenizer_vocab *v, const char *text,
                                  size_t n_bytes);
bool tokenizer_vocab_is_text(const struct tokenizer_vocab *v, int32_t id);
/* Does the token tell the model something that only a template may say? Control tokens do, and
 * user-defined ones that are written as markup (<tool_call>, [INST]); those for runs of spaces or
 * for tags of HTML are ordinary text. No marker comes out of merging. */
bool tokenizer_vocab_is_marker(const struct tokenizer_vocab *v, int32_t id);
/* The same in steps for who looks up many: the hash of a text, fetching its slot into the cache,
 * and the text's id by its hash. */
uint64_t tokenizer_vocab_hash(const struct tokenizer_vocab *v, const char *text, size_t n_bytes);
void tokenizer_vocab_prefetch(const struct tokenizer_vocab *v, uint64_t hash);
int32_t tokenizer_vocab_find_hashed(const struct tokenizer_vocab *v, uint64_t hash,
                                    const char *text, size_t n_bytes);
/* The id of "<0xXX>", or -1. */
int32_t tokenizer_vocab_find_byte(const struct tokenizer_vocab *v, uint8_t byte);

/* Mixes two words into one in which every bit depends on all of both. */
static inline uint64_t tokenizer_vocab_mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

#endif
