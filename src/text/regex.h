/* Regular expressions as tokenizers are published with them: Oniguruma's (the syntax of Ruby, which
 * Hugging Face's tokenizers use), matched by PCRE2. Where the two read an expression differently it
 * is written anew, or refused by name. Immutable after creation; any thread may use one, each with
 * a scratch of its own. Private to src/text; knows no tokens. */
#ifndef PENSIEVE_TEXT_REGEX_H
#define PENSIEVE_TEXT_REGEX_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct regex;
struct regex_scratch;

/* UNSUPPORTED and what of it for an expression that PCRE2 would read otherwise; FORMAT for one that
 * is none. */
struct regex *regex_create(const char *pattern, size_t n_bytes, struct error *err);
/* The same of a string that matches itself. */
struct regex *regex_create_literal(const char *text, size_t n_bytes, struct error *err);
void regex_destroy(struct regex *r);

struct regex_scratch *regex_scratch_create(void); /* NULL: out of memory */
void regex_scratch_destroy(struct regex_scratch *s);

/* Finds the first match of at least one byte at or after `from` in text[n_bytes], valid UTF-8.
 * False if there is none, or the matcher gave up (its limits on work and stack). */
bool regex_next(const struct regex *r, struct regex_scratch *s, const char *text, size_t n_bytes,
                size_t from, size_t *begin, size_t *end);

#endif
