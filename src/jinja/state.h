/* One render in progress: its memory, its bounds and its variables. Shared by the files of the
 * engine and by nobody else. One module: ast, jinja, notes, state, value. */
#ifndef PENSIEVE_JINJA_STATE_H
#define PENSIEVE_JINJA_STATE_H

#include "base/arena.h"
#include "base/error.h"
#include "jinja/ast.h"
#include "jinja/jinja.h"
#include "jinja/notes.h"
#include "jinja/value.h"

struct jinja_binding {
    uint32_t name;
    struct jinja_value value;
    struct jinja_binding *next;
};

/* The variables of a loop's body, a macro, a block. NULL as a parent is the top level. */
struct jinja_scope {
    struct jinja_scope *parent;
    struct jinja_binding *first;
};

struct jinja {
    const struct jinja_template *template;
    const json_t *context;
    const struct jinja_notes *notes; /* about its strings, or NULL */
    struct jinja_limits limits;
    struct arena arena;
    struct jinja_text *out; /* where output goes now: the whole text or a capture */
    struct error *err;
    uint64_t steps;
    unsigned depth;
    uint32_t at;                 /* the source offset of the node being evaluated */
    struct jinja_value *globals; /* [n_names]: top-level variables, ABSENT until first looked up */
    struct jinja_scope *scope;
    struct { /* the last concatenation: it grows in place if its result is appended to again */
        const char *text;
        uint8_t *marks; /* [cap] once not all are alike, or NULL */
        size_t n, cap;
    } tail;
};

/* Errors of evaluation, with the position of the current node. Always false. */
bool jinja_fail(struct jinja *j, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool jinja_fail_memory(struct jinja *j);
bool jinja_fail_undefined(struct jinja *j, const struct jinja_value *v);

/* Pays for work; false when the render has cost too much. */
bool jinja_charge(struct jinja *j, uint64_t steps);
static inline bool jinja_charge_bytes(struct jinja *j, size_t n_bytes)
{
    return jinja_charge(j, n_bytes / 64);
}
bool jinja_charge_key(struct jinja *j, const struct jinja_value *key); /* for hashing it */
bool jinja_enter(struct jinja *j); /* one level deeper; pair with leave also after a failure */
static inline void jinja_leave(struct jinja *j)
{
    j->depth--;
}

/* Memory of the render, or NULL and the error set. */
void *jinja_alloc(struct jinja *j, size_t n, size_t size);
bool jinja_new_list(struct jinja *j, size_t capacity, struct jinja_list **list);
bool jinja_push(struct jinja *j, struct jinja_list *list, struct jinja_value v);
bool jinja_new_dict(struct jinja *j, size_t capacity, struct jinja_dict **dict);
bool jinja_put(struct jinja *j, struct jinja_dict *dict, struct jinja_value key,
               struct jinja_value value); /* an unhashable key is an error */
/* A tuple of two, such as an item of a dictionary. */
bool jinja_new_pair(struct jinja *j, struct jinja_value a, struct jinja_value b,
                    struct jinja_value *out);
bool jinja_new_iterator(struct jinja *j, struct jinja_list *list, const char *name,
                        struct jinja_value *out);
/* Takes a finished text as a string of the render and frees it, also on failure. */
bool jinja_take(struct jinja *j, struct jinja_text *t, struct jinja_value *out);
void jinja_scratch(struct jinja *j, struct jinja_text *t); /* empty, under the memory ceiling */
bool jinja_from_json(struct jinja *j, const json_t *json, struct jinja_value *out);
/* A number that prints as it is written in text[n] (terminated). False: it is no JSON number. */
bool jinja_written_number(const char *text, size_t n, struct jinja_value *out);
/* json.c: json.loads of a string. Whose a byte is stays as it is; numbers print as written. */
bool jinja_read_json(struct jinja *j, const struct jinja_value *text, struct jinja_value *out);

/* Sorts arguments into parameters by place and name; what was not given is ABSENT. `names` is a
 * list of n; the first n_required must be given. */
bool jinja_bind(struct jinja *j, const char *what, const struct jinja_args *args,
                const char *const *names, size_t n, size_t n_required, struct jinja_value *out);
static inline bool jinja_no_arguments(struct jinja *j, const char *what,
                                      const struct jinja_args *args)
{
    return jinja_bind(j, what, args, NULL, 0, 0, NULL);
}
/* Typed parameters with defaults for ABSENT. */
bool jinja_want_int(struct jinja *j, const char *what, const struct jinja_value *v, int64_t absent,
                    int64_t *out);
bool jinja_want_string(struct jinja *j, const char *what, const struct jinja_value *v);

/* eval.c, exec.c */
enum jinja_flow { JINJA_NEXT, JINJA_BREAK, JINJA_CONTINUE, JINJA_STOP /* failed */ };
bool jinja_eval(struct jinja *j, const struct jinja_node *node, struct jinja_value *out);
bool jinja_eval_args(struct jinja *j, const struct jinja_call *call, struct jinja_args *out);
enum jinja_flow jinja_exec(struct jinja *j, const struct jinja_nodes *body);
bool jinja_capture(struct jinja *j, const struct jinja_nodes *body, struct jinja_scope *scope,
                   struct jinja_value *out);
bool jinja_lookup(struct jinja *j, uint32_t name, struct jinja_value *out);
bool jinja_bind_name(struct jinja *j, struct jinja_scope *scope, uint32_t name,
                     struct jinja_value v);
bool jinja_assign(struct jinja *j, struct jinja_scope *scope, const struct jinja_node *target,
                  struct jinja_value v);

/* macro.c, loop.c: the callable parts of statements */
bool jinja_macro_create(struct jinja *j, const struct jinja_macro_node *node,
                        struct jinja_value *out);
bool jinja_macro_call(struct jinja *j, struct jinja_macro *macro, const struct jinja_args *args,
                      struct jinja_value *out);
bool jinja_macro_member(struct jinja *j, const struct jinja_macro *macro, const char *name,
                        size_t n, struct jinja_value *out);
const char *jinja_macro_name(const struct jinja *j, const struct jinja_macro *macro);
enum jinja_flow jinja_for(struct jinja *j, const struct jinja_node *node);
bool jinja_loop_call(struct jinja *j, struct jinja_loop *loop, const struct jinja_args *args,
                     struct jinja_value *out);
bool jinja_loop_member(struct jinja *j, struct jinja_loop *loop, const struct jinja_value *self,
                       const char *name, size_t n, struct jinja_value *out);
bool jinja_loop_write(struct jinja *j, struct jinja_loop *loop, struct jinja_text *t);
bool jinja_loop_length(struct jinja *j, struct jinja_loop *loop, size_t *n);

/* operators.c */
bool jinja_binary(struct jinja *j, enum jinja_operator op, const struct jinja_value *a,
                  const struct jinja_value *b, struct jinja_value *out);
bool jinja_negate(struct jinja *j, const struct jinja_value *v, struct jinja_value *out);
bool jinja_relation(struct jinja *j, enum jinja_operator op, const struct jinja_value *a,
                    const struct jinja_value *b, bool *out);
bool jinja_contains(struct jinja *j, const struct jinja_value *container,
                    const struct jinja_value *item, bool *out);
bool jinja_concat(struct jinja *j, const struct jinja_value *a, const struct jinja_value *b,
                  struct jinja_value *out); /* of two strings */

/* member.c */
bool jinja_attribute(struct jinja *j, const struct jinja_value *v, const char *name, size_t n,
                     struct jinja_value *out);
bool jinja_item(struct jinja *j, const struct jinja_value *v, const struct jinja_value *key,
                struct jinja_value *out);
bool jinja_slice(struct jinja *j, const struct jinja_value *v, const struct jinja_value *start,
                 const struct jinja_value *stop, const struct jinja_value *step,
                 struct jinja_value *out);
bool jinja_call(struct jinja *j, const struct jinja_value *callee, const struct jinja_args *args,
                struct jinja_value *out);
bool jinja_method_value(struct jinja *j, const struct jinja_value *self,
                        const struct jinja_function *function, struct jinja_value *out);

/* Tables: NULL if there is no such name. */
const struct jinja_function *jinja_string_method(const char *name, size_t n);
const struct jinja_function *jinja_container_method(enum jinja_type type, const char *name,
                                                    size_t n);
const struct jinja_function *jinja_global(const char *name, size_t n);
/* globals.c: what dict(mapping or pairs, name=value, …) makes of its arguments. */
bool jinja_build_dict(struct jinja *j, const char *what, const struct jinja_args *args,
                      struct jinja_dict **dict);
const struct jinja_function *jinja_function_find(const struct jinja_function *table,
                                                 const char *name,
                                                 size_t n); /* ends with a NULL name */

/* Text work shared by methods and filters (string.c). `count` < 0: all. */
bool jinja_replace(struct jinja *j, const struct jinja_value *s, const struct jinja_value *old,
                   const struct jinja_value *new, int64_t count, struct jinja_value *out);
bool jinja_join(struct jinja *j, const struct jinja_value *separator,
                const struct jinja_value *items, size_t n, bool convert, struct jinja_value *out);
/* HTML's & < > " ' as entities; the result is marked. Text that is marked already stays. */
bool jinja_escape(struct jinja *j, const struct jinja_value *s, struct jinja_value *out);
enum { JINJA_STRIP_LEFT = 1, JINJA_STRIP_RIGHT = 2 };
bool jinja_strip(struct jinja *j, const struct jinja_value *s, const struct jinja_value *chars,
                 int sides, struct jinja_value *out);
enum jinja_case { JINJA_UPPER, JINJA_LOWER, JINJA_CAPITALIZE, JINJA_TITLE, JINJA_SWAPCASE };
bool jinja_change_case(struct jinja *j, const struct jinja_value *s, enum jinja_case how,
                       struct jinja_value *out);
bool jinja_split_lines(struct jinja *j, const struct jinja_value *s, bool keep_ends,
                       struct jinja_list *list);
bool jinja_center(struct jinja *j, const struct jinja_value *s, int64_t width,
                  const struct jinja_value *fill, int where,
                  struct jinja_value *out); /* where: <0 left, 0 center, >0 right */
bool jinja_find_bytes(const char *text, size_t n, const char *what, size_t n_what, size_t *at);

/* format.c: "%s" % values, and "{}".format(values) */
bool jinja_percent(struct jinja *j, const struct jinja_value *format,
                   const struct jinja_value *values, struct jinja_value *out);
bool jinja_brace_format(struct jinja *j, const struct jinja_value *format,
                        const struct jinja_args *args, struct jinja_value *out);

#endif
