/* Statements: what they write and which variables they set. Loops and macros have files of their
 * own. */
#include "jinja/state.h"

static enum jinja_flow flow_of(bool ok)
{
    return ok ? JINJA_NEXT : JINJA_STOP;
}

static bool check_output(struct jinja *j)
{
    if (!jinja_text_failed(j->out))
        return true;
    return error_at(j->err, ERROR_TOO_LARGE, j->at,
                    "chat template: the text is longer than %zu bytes", j->out->bytes.max);
}

static bool exec_text(struct jinja *j, const struct jinja_node *node)
{
    jinja_text_value(j->out, &node->value);
    return check_output(j) && jinja_charge_bytes(j, node->value.n);
}

static bool exec_write_out(struct jinja *j, const struct jinja_value *v)
{
    return jinja_write(j, v, j->out) && check_output(j);
}

static bool exec_print(struct jinja *j, const struct jinja_node *node)
{
    struct jinja_value v;
    return jinja_eval(j, node->print, &v) && exec_write_out(j, &v);
}

static enum jinja_flow exec_if(struct jinja *j, const struct jinja_node *node)
{
    for (const struct jinja_branch *b = node->branches; b; b = b->next) {
        struct jinja_value test;
        if (b->test && !jinja_eval(j, b->test, &test))
            return JINJA_STOP;
        if (!b->test || jinja_truth(&test))
            return jinja_exec(j, &b->body);
    }
    return JINJA_NEXT;
}

/* Runs the body with its own variables and its output in `out`. */
static enum jinja_flow exec_capture(struct jinja *j, const struct jinja_nodes *body,
                                    struct jinja_scope *scope, struct jinja_value *out)
{
    struct jinja_text text, *saved_out = j->out;
    struct jinja_scope *saved_scope = j->scope;
    jinja_scratch(j, &text);
    j->out = &text;
    j->scope = scope;
    enum jinja_flow flow = jinja_exec(j, body);
    j->out = saved_out;
    j->scope = saved_scope;
    if (flow != JINJA_NEXT) {
        jinja_text_deinit(&text);
        return flow;
    }
    return flow_of(jinja_take(j, &text, out));
}

bool jinja_capture(struct jinja *j, const struct jinja_nodes *body, struct jinja_scope *scope,
                   struct jinja_value *out)
{
    return exec_capture(j, body, scope, out) == JINJA_NEXT;
}

static struct jinja_scope *inner_scope(struct jinja *j)
{
    struct jinja_scope *scope = jinja_alloc(j, 1, sizeof *scope);
    if (scope)
        scope->parent = j->scope;
    return scope;
}

/* A chain of filters whose innermost object is missing, applied to `text`. */
static bool apply_filters(struct jinja *j, const struct jinja_node *filter,
                          struct jinja_value *text)
{
    struct jinja_args args;
    if (!filter)
        return true;
    bool ok = jinja_enter(j) && apply_filters(j, filter->apply.object, text);
    jinja_leave(j);
    if (!ok)
        return false;
    j->at = filter->at;
    if (!filter->apply.filter)
        return jinja_fail(j, "there is no filter '%.*s'", (int)filter->apply.name.n,
                          filter->apply.name.text);
    struct jinja_value self = *text;
    return jinja_eval_args(j, filter->apply.call, &args) &&
           filter->apply.filter->call(j, &self, &args, text);
}

static enum jinja_flow exec_set_block(struct jinja *j, const struct jinja_node *node)
{
    struct jinja_value text;
    struct jinja_scope *scope = inner_scope(j);
    enum jinja_flow flow = scope ? exec_capture(j, &node->set.body, scope, &text) : JINJA_STOP;
    if (flow != JINJA_NEXT)
        return flow;
    return flow_of(apply_filters(j, node->set.value, &text) &&
                   jinja_assign(j, j->scope, node->set.target, text));
}

static enum jinja_flow exec_filter_block(struct jinja *j, const struct jinja_node *node)
{
    struct jinja_value text;
    struct jinja_scope *scope = inner_scope(j);
    enum jinja_flow flow =
        scope ? exec_capture(j, &node->filter_block.body, scope, &text) : JINJA_STOP;
    if (flow != JINJA_NEXT)
        return flow;
    return flow_of(apply_filters(j, node->filter_block.filter, &text) && exec_write_out(j, &text));
}

static enum jinja_flow exec_with(struct jinja *j, const struct jinja_node *node)
{
    struct jinja_scope *scope = inner_scope(j);
    if (!scope)
        return JINJA_STOP;
    for (uint32_t i = 0; i < node->with.targets.n; i++) {
        struct jinja_value v; /* evaluated outside of the new variables */
        if (!jinja_eval(j, node->with.values.items[i], &v) ||
            !jinja_assign(j, scope, node->with.targets.items[i], v))
            return JINJA_STOP;
    }
    j->scope = scope;
    enum jinja_flow flow = jinja_exec(j, &node->with.body);
    j->scope = scope->parent;
    return flow;
}

static bool exec_set(struct jinja *j, const struct jinja_node *node)
{
    struct jinja_value v;
    if (!jinja_eval(j, node->set.value, &v))
        return false;
    j->at = node->at;
    return jinja_assign(j, j->scope, node->set.target, v);
}

static bool exec_macro(struct jinja *j, const struct jinja_node *node)
{
    struct jinja_value macro;
    return jinja_macro_create(j, node->macro, &macro) &&
           jinja_bind_name(j, j->scope, node->macro->name, macro);
}

/* {% call(…) f(…) %}: f gets the body as the named argument `caller`. */
static bool exec_call_block(struct jinja *j, const struct jinja_node *node)
{
    const struct jinja_node *call = node->call_block.call;
    struct jinja_value callee, caller, text;
    struct jinja_args args;
    if (!jinja_macro_create(j, node->call_block.macro, &caller) ||
        !jinja_eval(j, call->call.callee, &callee) || !jinja_eval_args(j, call->call.call, &args))
        return false;
    struct jinja_named *named = jinja_alloc(j, args.n_named + 1, sizeof *named);
    if (!named)
        return false;
    if (args.n_named)
        memcpy(named, args.named, args.n_named * sizeof *named);
    named[args.n_named] = (struct jinja_named){jinja_literal("caller"), caller};
    args.named = named;
    args.n_named++;
    j->at = call->at;
    return jinja_call(j, &callee, &args, &text) && exec_write_out(j, &text);
}

static enum jinja_flow exec_generation(struct jinja *j, const struct jinja_node *node)
{
    struct jinja_scope *scope = inner_scope(j);
    if (!scope)
        return JINJA_STOP;
    j->scope = scope;
    enum jinja_flow flow = jinja_exec(j, &node->with.body);
    j->scope = scope->parent;
    return flow;
}

static enum jinja_flow exec_node(struct jinja *j, const struct jinja_node *node)
{
    switch (node->kind) {
    case JINJA_NODE_TEXT:
        return flow_of(exec_text(j, node));
    case JINJA_NODE_PRINT:
        return flow_of(exec_print(j, node));
    case JINJA_NODE_IF:
        return exec_if(j, node);
    case JINJA_NODE_FOR:
        return jinja_for(j, node);
    case JINJA_NODE_SET:
        return flow_of(exec_set(j, node));
    case JINJA_NODE_SET_BLOCK:
        return exec_set_block(j, node);
    case JINJA_NODE_MACRO:
        return flow_of(exec_macro(j, node));
    case JINJA_NODE_CALL_BLOCK:
        return flow_of(exec_call_block(j, node));
    case JINJA_NODE_FILTER_BLOCK:
        return exec_filter_block(j, node);
    case JINJA_NODE_WITH:
        return exec_with(j, node);
    case JINJA_NODE_GENERATION:
        return exec_generation(j, node);
    case JINJA_NODE_BREAK:
        return JINJA_BREAK;
    case JINJA_NODE_CONTINUE:
        return JINJA_CONTINUE;
    default:
        return flow_of(jinja_fail(j, "this is no statement"));
    }
}

enum jinja_flow jinja_exec(struct jinja *j, const struct jinja_nodes *body)
{
    enum jinja_flow flow = flow_of(jinja_enter(j));
    for (uint32_t i = 0; flow == JINJA_NEXT && i < body->n; i++) {
        j->at = body->items[i]->at;
        flow = jinja_charge(j, 1) ? exec_node(j, body->items[i]) : JINJA_STOP;
    }
    jinja_leave(j);
    return flow;
}
