/* Template source to tokens, with jinja2's white-space control (trim_blocks, lstrip_blocks, - and
 * +). One token at a time, nothing is stored. Knows no grammar. */
#ifndef PENSIEVE_JINJA_LEX_H
#define PENSIEVE_JINJA_LEX_H

#include "base/arena.h"
#include "base/error.h"
#include "jinja/ast.h"
#include "jinja/value.h"

enum jinja_token_kind {
    JINJA_TOKEN_END,
    JINJA_TOKEN_DATA,
    JINJA_TOKEN_PRINT_BEGIN,
    JINJA_TOKEN_PRINT_END,
    JINJA_TOKEN_BLOCK_BEGIN,
    JINJA_TOKEN_BLOCK_END,
    JINJA_TOKEN_NAME,
    JINJA_TOKEN_STRING,
    JINJA_TOKEN_NUMBER,
    JINJA_TOKEN_OPERATOR, /* op: the characters, e.g. '+' or JINJA_TWO('*', '*') */
};

#define JINJA_TWO(a, b) ((a) << 8 | (b))

struct jinja_token {
    enum jinja_token_kind kind;
    int op;
    uint32_t at;
    struct jinja_value value; /* DATA, NAME, STRING: a string; NUMBER */
};

struct jinja_lexer {
    const char *source; /* newlines are all \n */
    size_t n, at;
    struct arena *arena;
    struct error *err;
    enum { JINJA_LEX_DATA, JINJA_LEX_PRINT, JINJA_LEX_BLOCK } state;
    bool line_starting;
    int pending; /* a begin token that follows the data just returned, or 0 */
    size_t pending_at;
    size_t n_open;
    char open[JINJA_MAX_NESTING]; /* the closing brackets expected */
};

void jinja_lexer_init(struct jinja_lexer *lex, const char *source, size_t n, struct arena *arena,
                      struct error *err);
bool jinja_lexer_next(struct jinja_lexer *lex, struct jinja_token *out);

#endif
