/* The golden texts and what the references make of them (scripts/golden_tokenizer.py writes the
 * files). */
#ifndef PENSIEVE_TESTS_TEXT_TOKENIZER_CASES_H
#define PENSIEVE_TESTS_TEXT_TOKENIZER_CASES_H

#include "text/tokenizer.h"

#include <jansson.h>
#include <stdio.h>

struct tokenizer_case {
    const char *text;
    size_t n_bytes;
    bool plain; /* control tokens do not count in it */
};

struct tokenizer_cases {
    json_t *file; /* owns the texts */
    struct tokenizer_case *items;
    size_t n;
};

/* Each ends the test program with a message on any failure. */
void tokenizer_cases_init(struct tokenizer_cases *c);
void tokenizer_cases_deinit(struct tokenizer_cases *c);
FILE *tokenizer_cases_open(const char *name); /* of the golden folder */
struct token_list tokenizer_cases_encode(const struct tokenizer *t, const struct tokenizer_case *c,
                                         unsigned flags);

/* The CRC-32 (zlib's) of the ids as little-endian 32-bit numbers. */
uint32_t tokenizer_cases_crc(const struct token_list *list);

/* Compares every step-th case with the lines of CRCs at `golden`; returns how many differ and tells
 * the first few. `flags` for all but the plain ones, which get none. */
size_t tokenizer_cases_compare_crc(const struct tokenizer_cases *c, const struct tokenizer *t,
                                   unsigned flags, FILE *golden, size_t step, const char *what);

/* Do the pieces of the ids give the text again? Bytes that the vocabulary lacks may be missing. */
bool tokenizer_cases_round_trip(const struct tokenizer *t, const struct tokenizer_case *c,
                                const struct token_list *list, size_t n_prefix);

#endif
