/* Statements and text of a template to nodes: jinja2's tags, with loop controls and {% generation
 * %}. Knows no values at run time. */
#include "jinja/parse.h"

#include <stdarg.h>
#include <stdio.h>

static bool parse_body(struct jinja_parser *p, struct jinja_nodes *body, const char *const *ends);

bool jinja_parser_fail(struct jinja_parser *p, const char *format, ...)
{
    char message[200], found[60];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (p->token.kind == JINJA_TOKEN_END)
        snprintf(found, sizeof found, ", but the template ends");
    else if (p->token.kind == JINJA_TOKEN_NAME)
        snprintf(found, sizeof found, ", near '%.*s'",
                 p->token.value.n < 40 ? (int)p->token.value.n : 40, p->token.value.text);
    else
        found[0] = '\0';
    return error_at(p->err, ERROR_FORMAT, p->token.at, "chat template: %s%s", message, found);
}

static bool fail_memory(struct jinja_parser *p)
{
    return error_set(p->err, ERROR_NO_MEMORY, "chat template: out of memory while compiling");
}

bool jinja_parser_enter(struct jinja_parser *p)
{
    if (p->depth >= JINJA_MAX_NESTING * 2)
        return error_at(p->err, ERROR_TOO_LARGE, p->token.at,
                        "chat template: expressions or blocks nest too deep");
    p->depth++;
    return true;
}

bool jinja_parser_advance(struct jinja_parser *p)
{
    p->token = p->ahead;
    return jinja_lexer_next(&p->lex, &p->ahead);
}

bool jinja_skip_op(struct jinja_parser *p, int op, bool *ok)
{
    if (!jinja_at_op(p, op))
        return false;
    *ok = *ok && jinja_parser_advance(p);
    return *ok;
}

bool jinja_skip_name(struct jinja_parser *p, const char *name, bool *ok)
{
    if (!jinja_at_name(p, name))
        return false;
    *ok = *ok && jinja_parser_advance(p);
    return *ok;
}

bool jinja_expect_op(struct jinja_parser *p, int op)
{
    if (!jinja_at_op(p, op))
        return jinja_parser_fail(p, "'%c' is expected here", op & 0xFF);
    return jinja_parser_advance(p);
}

bool jinja_expect_name(struct jinja_parser *p, const char *name)
{
    if (!jinja_at_name(p, name))
        return jinja_parser_fail(p, "'%s' is expected here", name);
    return jinja_parser_advance(p);
}

bool jinja_expect_any_name(struct jinja_parser *p, struct jinja_value *name)
{
    if (p->token.kind != JINJA_TOKEN_NAME)
        return jinja_parser_fail(p, "a name is expected here");
    *name = p->token.value;
    return jinja_parser_advance(p);
}

struct jinja_node *jinja_node_create(struct jinja_parser *p, enum jinja_node_kind kind, uint32_t at)
{
    struct jinja_node *node = arena_alloc(p->arena, sizeof *node);
    if (!node) {
        fail_memory(p);
        return NULL;
    }
    node->kind = (uint8_t)kind;
    node->at = at;
    return node;
}

bool jinja_nodes_push(struct jinja_parser *p, struct jinja_nodes *nodes, struct jinja_node *node)
{
    if (nodes->n == nodes->cap) {
        uint32_t cap = nodes->cap ? nodes->cap * 2 : 4;
        struct jinja_node **items = arena_array(p->arena, cap, sizeof(struct jinja_node *));
        if (!items)
            return fail_memory(p);
        if (nodes->n)
            memcpy(items, nodes->items, nodes->n * sizeof(struct jinja_node *));
        nodes->items = items;
        nodes->cap = cap;
    }
    nodes->items[nodes->n++] = node;
    return true;
}

bool jinja_name_index(struct jinja_parser *p, const struct jinja_value *text, uint32_t *index)
{
    struct jinja_dict *names = p->template->names;
    const struct jinja_value *known = jinja_dict_find(names, text);
    if (known) {
        *index = (uint32_t)known->integer;
        return true;
    }
    *index = (uint32_t)names->n;
    char *copy =
        arena_copy(p->arena, text->text, text->n); /* ends with '\0': a key of the context */
    if (!copy || !jinja_dict_set(p->arena, names, jinja_own(copy, text->n), jinja_int(*index)))
        return fail_memory(p);
    return true;
}

static bool expect_block_end(struct jinja_parser *p)
{
    if (p->token.kind != JINJA_TOKEN_BLOCK_END)
        return jinja_parser_fail(p, "the end of the tag is expected here");
    return jinja_parser_advance(p);
}

/* The rest of the opening tag, and the statements up to one of the `ends`, which stays the current
 * token. */
static bool parse_inside(struct jinja_parser *p, struct jinja_nodes *body, const char *const *ends)
{
    bool ok = true;
    jinja_skip_op(p, ':', &ok);
    return ok && expect_block_end(p) && parse_body(p, body, ends);
}

static bool parse_until(struct jinja_parser *p, struct jinja_nodes *body, const char *end)
{
    return parse_inside(p, body, (const char *const[]){end, NULL}) && jinja_parser_advance(p);
}

static bool parse_if(struct jinja_parser *p, struct jinja_node *node)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct jinja_branch **next = &node->branches;
    node->kind = JINJA_NODE_IF;
    for (bool is_else = false;;) {
        struct jinja_branch *branch = arena_alloc(p->arena, sizeof *branch);
        if (!branch)
            return fail_memory(p);
        *next = branch;
        next = &branch->next;
        if (is_else)
            return parse_until(p, &branch->body, "endif");
        if (!jinja_parser_advance(p) || !(branch->test = jinja_parse_tuple(p, false, NULL)) ||
            !parse_inside(p, &branch->body, ends))
            return false;
        if (jinja_at_name(p, "endif"))
            return jinja_parser_advance(p);
        is_else = jinja_at_name(p, "else");
        if (is_else && !jinja_parser_advance(p))
            return false;
    }
}

static bool parse_loop_body(struct jinja_parser *p, struct jinja_node *node)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    p->n_loops++;
    bool ok = parse_inside(p, &node->loop.body, ends);
    p->n_loops--;
    if (!ok)
        return false;
    if (jinja_at_name(p, "endfor"))
        return jinja_parser_advance(p);
    return jinja_parser_advance(p) && parse_until(p, &node->loop.otherwise, "endfor");
}

static bool parse_for(struct jinja_parser *p, struct jinja_node *node)
{
    bool ok = jinja_parser_advance(p);
    node->kind = JINJA_NODE_FOR;
    p->n_outer_loops++;
    ok = ok && (node->loop.target = jinja_parse_target(p, false, "in")) &&
         jinja_expect_name(p, "in") &&
         (node->loop.iterable = jinja_parse_tuple(p, false, "recursive"));
    if (ok && jinja_skip_name(p, "if", &ok))
        ok = (node->loop.test = jinja_parse_expression(p)) != NULL;
    node->loop.recursive = ok && jinja_skip_name(p, "recursive", &ok);
    ok = ok && parse_loop_body(p, node);
    p->n_outer_loops--;
    return ok;
}

static bool parse_set(struct jinja_parser *p, struct jinja_node *node)
{
    bool ok = jinja_parser_advance(p);
    node->kind = JINJA_NODE_SET;
    if (!ok || !(node->set.target = jinja_parse_target(p, true, NULL)))
        return false;
    if (jinja_skip_op(p, '=', &ok))
        return (node->set.value = jinja_parse_tuple(p, true, NULL)) != NULL;
    node->kind = JINJA_NODE_SET_BLOCK;
    if (ok && jinja_at_op(p, '|'))
        ok = (node->set.value = jinja_parse_filters(p, NULL, false)) != NULL;
    return ok && parse_until(p, &node->set.body, "endset");
}

static bool parse_signature(struct jinja_parser *p, struct jinja_macro_node *macro)
{
    bool ok = jinja_expect_op(p, '(');
    while (ok && !jinja_at_op(p, ')')) {
        if (macro->params.n && !jinja_expect_op(p, ','))
            return false;
        struct jinja_node *param = jinja_node_create(p, JINJA_NODE_NAME, p->token.at);
        if (!param || !jinja_parse_name_target(p, &param->name) ||
            !jinja_nodes_push(p, &macro->params, param))
            return false;
        if (jinja_skip_op(p, '=', &ok)) {
            struct jinja_node *value = jinja_parse_expression(p);
            ok = value && jinja_nodes_push(p, &macro->defaults, value);
        } else if (ok && macro->defaults.n) {
            return jinja_parser_fail(p, "a parameter without a default after one with it");
        }
    }
    return ok && jinja_expect_op(p, ')');
}

/* The body of a macro or call block; notes which of the special names it reads. */
static bool parse_macro_body(struct jinja_parser *p, struct jinja_macro_node *macro,
                             const char *end)
{
    bool caller = p->uses_caller, kwargs = p->uses_kwargs, varargs = p->uses_varargs;
    unsigned n_loops = p->n_loops;
    p->uses_caller = p->uses_kwargs = p->uses_varargs = false;
    p->n_loops = 0;
    bool ok = parse_until(p, &macro->body, end);
    macro->uses_caller = p->uses_caller;
    macro->uses_kwargs = p->uses_kwargs;
    macro->uses_varargs = p->uses_varargs;
    for (uint32_t i = 0; ok && i + macro->defaults.n < macro->params.n; i++)
        if (macro->uses_caller && macro->params.items[i]->name == p->template->name_caller)
            ok = jinja_parser_fail(p, "a parameter 'caller' needs a default");
    p->uses_caller |= caller;
    p->uses_kwargs |= kwargs;
    p->uses_varargs |= varargs;
    p->n_loops = n_loops;
    return ok;
}

static bool parse_macro(struct jinja_parser *p, struct jinja_node *node)
{
    struct jinja_macro_node *macro = arena_alloc(p->arena, sizeof *macro);
    if (!macro)
        return fail_memory(p);
    node->kind = JINJA_NODE_MACRO;
    node->macro = macro;
    return jinja_parser_advance(p) && jinja_parse_name_target(p, &macro->name) &&
           parse_signature(p, macro) && parse_macro_body(p, macro, "endmacro");
}

static bool parse_call_block(struct jinja_parser *p, struct jinja_node *node)
{
    struct jinja_macro_node *macro = arena_alloc(p->arena, sizeof *macro);
    if (!macro)
        return fail_memory(p);
    node->kind = JINJA_NODE_CALL_BLOCK;
    node->call_block.macro = macro;
    macro->name = p->template->name_caller;
    if (!jinja_parser_advance(p) || (jinja_at_op(p, '(') && !parse_signature(p, macro)))
        return false;
    node->call_block.call = jinja_parse_expression(p);
    if (!node->call_block.call)
        return false;
    if (node->call_block.call->kind != JINJA_NODE_CALL)
        return jinja_parser_fail(p, "a call is expected here");
    return parse_macro_body(p, macro, "endcall");
}

static bool parse_filter_block(struct jinja_parser *p, struct jinja_node *node)
{
    node->kind = JINJA_NODE_FILTER_BLOCK;
    return jinja_parser_advance(p) &&
           (node->filter_block.filter = jinja_parse_filters(p, NULL, true)) &&
           parse_until(p, &node->filter_block.body, "endfilter");
}

static bool parse_with(struct jinja_parser *p, struct jinja_node *node)
{
    node->kind = JINJA_NODE_WITH;
    if (!jinja_parser_advance(p))
        return false;
    while (p->token.kind != JINJA_TOKEN_BLOCK_END) {
        if (node->with.targets.n && !jinja_expect_op(p, ','))
            return false;
        struct jinja_node *target = jinja_parse_target(p, false, NULL);
        struct jinja_node *value =
            target && jinja_expect_op(p, '=') ? jinja_parse_expression(p) : NULL;
        if (!value || !jinja_nodes_push(p, &node->with.targets, target) ||
            !jinja_nodes_push(p, &node->with.values, value))
            return false;
    }
    return parse_until(p, &node->with.body, "endwith");
}

/* Hugging Face's tag around what the assistant wrote: a call block, so with variables of its own,
 * and not a place to break out of a loop from. */
static bool parse_generation(struct jinja_parser *p, struct jinja_node *node)
{
    unsigned n_loops = p->n_loops;
    node->kind = JINJA_NODE_GENERATION;
    p->n_loops = 0;
    bool ok = jinja_parser_advance(p) && parse_until(p, &node->with.body, "endgeneration");
    p->n_loops = n_loops;
    return ok;
}

static bool parse_print_tag(struct jinja_parser *p, struct jinja_node *node)
{
    node->kind = JINJA_NODE_PRINT;
    return jinja_parser_advance(p) && (node->print = jinja_parse_expression(p));
}

static bool parse_loop_control(struct jinja_parser *p, struct jinja_node *node)
{
    node->kind = jinja_at_name(p, "break") ? JINJA_NODE_BREAK : JINJA_NODE_CONTINUE;
    if (!p->n_loops)
        return jinja_parser_fail(p, "there is no loop to leave here");
    return jinja_parser_advance(p);
}

static bool fail_unsupported(struct jinja_parser *p, struct jinja_node *node)
{
    return error_at(p->err, ERROR_UNSUPPORTED, node->at,
                    "chat template: the tag '%.*s' needs other templates or escaping, which chat "
                    "templates don't have",
                    (int)p->token.value.n, p->token.value.text);
}

static bool parse_statement(struct jinja_parser *p, struct jinja_node *node)
{
    static const struct {
        const char *name;
        bool (*parse)(struct jinja_parser *, struct jinja_node *);
    } tags[] = {
        {"if", parse_if},
        {"for", parse_for},
        {"set", parse_set},
        {"macro", parse_macro},
        {"call", parse_call_block},
        {"filter", parse_filter_block},
        {"with", parse_with},
        {"generation", parse_generation},
        {"print", parse_print_tag},
        {"break", parse_loop_control},
        {"continue", parse_loop_control},
        {"include", fail_unsupported},
        {"import", fail_unsupported},
        {"from", fail_unsupported},
        {"extends", fail_unsupported},
        {"block", fail_unsupported},
        {"autoescape", fail_unsupported},
    };
    if (p->token.kind != JINJA_TOKEN_NAME)
        return jinja_parser_fail(p, "the name of a tag is expected here");
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (jinja_at_name(p, tags[i].name)) {
            bool ok = jinja_parser_enter(p) && tags[i].parse(p, node);
            p->depth--;
            return ok;
        }
    return jinja_parser_fail(p, "an unknown or misplaced tag");
}

static bool at_one_of(const struct jinja_parser *p, const char *const *names)
{
    for (; names && *names; names++)
        if (jinja_at_name(p, *names))
            return true;
    return false;
}

static bool parse_print(struct jinja_parser *p, struct jinja_node *node)
{
    node->kind = JINJA_NODE_PRINT;
    if (!jinja_parser_advance(p) || !(node->print = jinja_parse_tuple(p, true, NULL)))
        return false;
    if (p->token.kind != JINJA_TOKEN_PRINT_END)
        return jinja_parser_fail(p, "the end of the print is expected here");
    return jinja_parser_advance(p);
}

static bool parse_body(struct jinja_parser *p, struct jinja_nodes *body, const char *const *ends)
{
    while (p->token.kind != JINJA_TOKEN_END) {
        struct jinja_node *node = jinja_node_create(p, JINJA_NODE_TEXT, p->token.at);
        bool ok = node != NULL;
        if (ok && p->token.kind == JINJA_TOKEN_DATA) {
            node->value = p->token.value;
            ok = jinja_parser_advance(p);
        } else if (ok && p->token.kind == JINJA_TOKEN_PRINT_BEGIN) {
            ok = parse_print(p, node);
        } else if (ok) { /* the lexer gives no other token here */
            if (!jinja_parser_advance(p))
                return false;
            if (at_one_of(p, ends))
                return true;
            ok = parse_statement(p, node) && expect_block_end(p);
        }
        if (!ok || !jinja_nodes_push(p, body, node))
            return false;
    }
    return ends ? jinja_parser_fail(p, "'%s' is expected", ends[0]) : true;
}

static bool name_specials(struct jinja_parser *p)
{
    struct jinja_template *t = p->template;
    struct jinja_value loop = jinja_literal("loop"), caller = jinja_literal("caller"),
                       kwargs = jinja_literal("kwargs"), varargs = jinja_literal("varargs");
    return jinja_name_index(p, &loop, &t->name_loop) &&
           jinja_name_index(p, &caller, &t->name_caller) &&
           jinja_name_index(p, &kwargs, &t->name_kwargs) &&
           jinja_name_index(p, &varargs, &t->name_varargs);
}

bool jinja_parse(struct jinja_template *t, const char *source, size_t n, struct error *err)
{
    struct jinja_parser p = {.template = t, .arena = &t->arena, .err = err};
    t->names = jinja_dict_create(&t->arena, 0);
    if (!t->names)
        return fail_memory(&p);
    jinja_lexer_init(&p.lex, source, n, &t->arena, err);
    return name_specials(&p) && jinja_parser_advance(&p) && jinja_parser_advance(&p) &&
           parse_body(&p, &t->body, NULL);
}
