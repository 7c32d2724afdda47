/* The compiled form of a template: a tree of nodes in the template's arena, names as numbers. */
#ifndef PENSIEVE_JINJA_AST_H
#define PENSIEVE_JINJA_AST_H

#include "base/arena.h"
#include "base/error.h"
#include "jinja/value.h"

enum jinja_node_kind {
    /* expressions */
    JINJA_NODE_CONST,
    JINJA_NODE_NAME,
    JINJA_NODE_LIST,
    JINJA_NODE_TUPLE,
    JINJA_NODE_DICT, /* items: key, value, key, value, … */
    JINJA_NODE_ATTRIBUTE,
    JINJA_NODE_ITEM,
    JINJA_NODE_SLICE, /* only as the key of an item */
    JINJA_NODE_CALL,
    JINJA_NODE_FILTER,
    JINJA_NODE_TEST,
    JINJA_NODE_UNARY,
    JINJA_NODE_BINARY,
    JINJA_NODE_AND,
    JINJA_NODE_OR,
    JINJA_NODE_COMPARE,
    JINJA_NODE_CONCAT,
    JINJA_NODE_CONDITION,
    JINJA_NODE_NAMESPACE_MEMBER, /* only as the target of set */
    /* statements */
    JINJA_NODE_TEXT,
    JINJA_NODE_PRINT,
    JINJA_NODE_IF,
    JINJA_NODE_FOR,
    JINJA_NODE_SET,
    JINJA_NODE_SET_BLOCK,
    JINJA_NODE_MACRO,
    JINJA_NODE_CALL_BLOCK,
    JINJA_NODE_FILTER_BLOCK,
    JINJA_NODE_WITH,
    JINJA_NODE_GENERATION,
    JINJA_NODE_BREAK,
    JINJA_NODE_CONTINUE,
};

enum jinja_operator {
    JINJA_OP_ADD,
    JINJA_OP_SUB,
    JINJA_OP_MUL,
    JINJA_OP_DIV,
    JINJA_OP_FLOORDIV,
    JINJA_OP_MOD,
    JINJA_OP_POW,
    JINJA_OP_NEG,
    JINJA_OP_POS,
    JINJA_OP_NOT,
    JINJA_OP_EQ,
    JINJA_OP_NE,
    JINJA_OP_LT,
    JINJA_OP_LE,
    JINJA_OP_GT,
    JINJA_OP_GE,
    JINJA_OP_IN,
    JINJA_OP_NOT_IN,
};

struct jinja_node;

struct jinja_nodes {
    struct jinja_node **items;
    uint32_t n, cap;
};

struct jinja_call {
    struct jinja_nodes args;
    struct jinja_nodes named;             /* values */
    struct jinja_value *names;            /* [named.n] strings */
    struct jinja_node *rest, *named_rest; /* *args, **kwargs; NULL */
};

/* One branch of an if: `test` is NULL for else. */
struct jinja_branch {
    struct jinja_node *test;
    struct jinja_nodes body;
    struct jinja_branch *next;
};

/* A macro, or the body of a call block (name is "caller"). */
struct jinja_macro_node {
    uint32_t name;
    struct jinja_nodes params;   /* NAME nodes */
    struct jinja_nodes defaults; /* of the last params */
    struct jinja_nodes body;
    bool uses_caller, uses_kwargs, uses_varargs;
};

struct jinja_node {
    uint8_t kind; /* enum jinja_node_kind */
    uint8_t op;   /* enum jinja_operator */
    uint32_t at;  /* offset in the source */
    union {
        struct jinja_value value; /* CONST, TEXT */
        uint32_t name;            /* NAME */
        struct jinja_nodes items; /* LIST, TUPLE, DICT, CONCAT */
        struct {
            struct jinja_node *object;
            struct jinja_value name; /* a string */
        } attribute;
        struct {
            struct jinja_node *object, *key;
        } item;
        struct {
            struct jinja_node *start, *stop, *step; /* NULL where left out */
        } slice;
        struct {
            struct jinja_node *callee;
            struct jinja_call *call;
        } call;
        struct {                       /* FILTER, TEST */
            struct jinja_node *object; /* NULL: the text of the block around it */
            struct jinja_value name;
            struct jinja_call *call;
            const struct jinja_function *filter; /* NULL if unknown: an error when it runs */
            const struct jinja_test *test;
        } apply;
        struct {
            struct jinja_node *left, *right; /* UNARY: left only */
        } operands;
        struct {
            struct jinja_node *first;
            struct jinja_nodes rest;
            uint8_t *ops; /* [rest.n] */
        } compare;
        struct {
            struct jinja_node *test, *then, *otherwise; /* otherwise may be NULL */
        } condition;
        struct {
            uint32_t name;
            struct jinja_value member;
        } namespace_member;
        struct jinja_node *print;
        struct jinja_branch *branches; /* IF */
        struct {
            struct jinja_node *target, *iterable, *test; /* test may be NULL */
            struct jinja_nodes body, otherwise;
            bool recursive;
        } loop;
        struct {
            struct jinja_node *target, *value; /* SET; for a block the filters, or NULL */
            struct jinja_nodes body;
        } set;
        struct jinja_macro_node *macro;
        struct {
            struct jinja_macro_node *macro;
            struct jinja_node *call; /* a CALL */
        } call_block;
        struct {
            struct jinja_node *filter;
            struct jinja_nodes body;
        } filter_block;
        struct {
            struct jinja_nodes targets, values, body;
        } with; /* and GENERATION: body only */
    };
};

struct jinja_template {
    struct arena arena;
    struct jinja_dict *names; /* string to int: its own place */
    struct jinja_nodes body;
    uint32_t name_loop, name_caller, name_kwargs, name_varargs;
};

/* The bound on how deep expressions and statements may nest in the source. */
enum { JINJA_MAX_NESTING = 150 };

/* Fills t->body from source[n], which must live as long as the template. */
bool jinja_parse(struct jinja_template *t, const char *source, size_t n, struct error *err);

/* The tables of filters and tests, or NULL. */
const struct jinja_function *jinja_filter(const char *name, size_t n);
const struct jinja_test *jinja_test(const char *name, size_t n);

#endif
