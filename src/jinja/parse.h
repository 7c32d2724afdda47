/* What the two halves of the parser (statements, expressions) share. Used by nobody else. */
#ifndef PENSIEVE_JINJA_PARSE_H
#define PENSIEVE_JINJA_PARSE_H

#include "jinja/ast.h"
#include "jinja/lex.h"

struct jinja_parser {
    struct jinja_template *template;
    struct arena *arena;
    struct jinja_lexer lex;
    struct jinja_token token, ahead; /* the current token and the one after it */
    struct error *err;
    unsigned depth;
    unsigned n_loops;       /* loops around the current statement, inside its macro */
    unsigned n_outer_loops; /* the same, through macros */
    bool uses_caller, uses_kwargs, uses_varargs; /* names read since the macro began */
};

bool jinja_parser_advance(struct jinja_parser *p);
/* The sentence is about the current token. Always false. */
bool jinja_parser_fail(struct jinja_parser *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool jinja_parser_enter(struct jinja_parser *p); /* pair with depth-- */

static inline bool jinja_at_op(const struct jinja_parser *p, int op)
{
    return p->token.kind == JINJA_TOKEN_OPERATOR && p->token.op == op;
}
static inline bool jinja_token_is_name(const struct jinja_token *token, const char *name)
{
    return token->kind == JINJA_TOKEN_NAME && jinja_is_text(&token->value, name);
}
static inline bool jinja_at_name(const struct jinja_parser *p, const char *name)
{
    return jinja_token_is_name(&p->token, name);
}
/* Skips the operator or name if it is there, and says so; `ok` turns false if reading on failed. */
bool jinja_skip_op(struct jinja_parser *p, int op, bool *ok);
bool jinja_skip_name(struct jinja_parser *p, const char *name, bool *ok);
bool jinja_expect_op(struct jinja_parser *p, int op);
bool jinja_expect_name(struct jinja_parser *p, const char *name);
bool jinja_expect_any_name(struct jinja_parser *p, struct jinja_value *name);

struct jinja_node *jinja_node_create(struct jinja_parser *p, enum jinja_node_kind kind,
                                     uint32_t at);
bool jinja_nodes_push(struct jinja_parser *p, struct jinja_nodes *nodes, struct jinja_node *node);
bool jinja_name_index(struct jinja_parser *p, const struct jinja_value *text, uint32_t *index);

/* parse_expression.c; NULL is a failure */
struct jinja_node *jinja_parse_expression(struct jinja_parser *p);
struct jinja_node *jinja_parse_without_condition(struct jinja_parser *p);
/* Expressions with commas; a tuple if there is one. `end` is a name that may follow, or NULL. */
struct jinja_node *jinja_parse_tuple(struct jinja_parser *p, bool with_condition, const char *end);
/* A target of set, for or with: names, tuples of them, and namespace members if allowed. */
struct jinja_node *jinja_parse_target(struct jinja_parser *p, bool with_namespace, const char *end);
bool jinja_parse_name_target(struct jinja_parser *p, uint32_t *name);
/* `| name(…) | …` applied to object; with start_inline the first name needs no bar. */
struct jinja_node *jinja_parse_filters(struct jinja_parser *p, struct jinja_node *object,
                                       bool start_inline);

#endif
