/* The for statement and its `loop` variable. As in jinja2 the filter of a loop (`for x in y if …`)
 * is asked item by item, so it sees what the body before it changed, and loop.last looks one item
 * ahead. */
#include "jinja/state.h"

struct jinja_loop {
    const struct jinja_node *node;
    struct jinja_scope *outer; /* the variables around the loop */
    const struct jinja_value *items;
    size_t n, at;  /* the items not yet read begin at `at` */
    bool filtered; /* items must still pass the loop's test */
    size_t index0; /* of the current item */
    size_t length; /* once known */
    bool length_known;
    bool has_after;  /* `after` was read ahead */
    unsigned depth0; /* of a recursive loop */
    struct jinja_value before, current, after;
    struct jinja_value changed; /* the arguments of the last loop.changed(), a tuple */
};

/* Does the item pass `if …`? The test sees the loop's target, and of the outside what it sees
 * there. */
static bool loop_passes(struct jinja *j, struct jinja_loop *loop, const struct jinja_value *item,
                        bool *yes)
{
    struct jinja_scope scope = {.parent = loop->outer}, *saved = j->scope;
    struct jinja_value test;
    j->scope = &scope;
    bool ok = jinja_assign(j, &scope, loop->node->loop.target, *item) &&
              jinja_eval(j, loop->node->loop.test, &test);
    j->scope = saved;
    *yes = ok && jinja_truth(&test);
    return ok;
}

/* The next item that passes; *got is false at the end. */
static bool loop_read_item(struct jinja *j, struct jinja_loop *loop, struct jinja_value *item,
                           bool *got)
{
    *got = false;
    while (!*got && loop->at < loop->n) {
        *item = loop->items[loop->at++];
        *got = true;
        if (loop->filtered && !loop_passes(j, loop, item, got))
            return false;
    }
    return true;
}

static bool loop_peek(struct jinja *j, struct jinja_loop *loop)
{
    return loop->has_after || loop_read_item(j, loop, &loop->after, &loop->has_after);
}

static bool loop_advance(struct jinja *j, struct jinja_loop *loop, bool first, bool *got)
{
    loop->before = loop->current;
    if (!loop_peek(j, loop))
        return false;
    *got = loop->has_after;
    loop->has_after = false;
    loop->current = loop->after;
    loop->index0 += !first;
    return true;
}

bool jinja_loop_length(struct jinja *j, struct jinja_loop *loop, size_t *n)
{
    if (!loop->length_known && loop->filtered) {
        struct jinja_list *rest;
        struct jinja_value item;
        bool got = true;
        if (!jinja_new_list(j, 0, &rest))
            return false;
        while (got)
            if (!loop_read_item(j, loop, &item, &got) || (got && !jinja_push(j, rest, item)))
                return false;
        loop->length = loop->index0 + 1 + loop->has_after + rest->n;
        loop->items = rest->items;
        loop->n = rest->n;
        loop->at = 0;
        loop->filtered = false;
    } else if (!loop->length_known) {
        loop->length = loop->n;
    }
    loop->length_known = true;
    *n = loop->length;
    return true;
}

/* The special names: what each iteration begins with. */
static bool loop_begin_iteration(struct jinja *j, struct jinja_loop *loop,
                                 struct jinja_scope *scope)
{
    for (struct jinja_binding *b = scope->first; b; b = b->next)
        b->value =
            (struct jinja_value){.type = JINJA_ABSENT}; /* what the last iteration set is gone */
    struct jinja_value self = {.type = JINJA_LOOP, .loop = loop};
    return jinja_bind_name(j, scope, j->template->name_loop, self) &&
           jinja_assign(j, scope, loop->node->loop.target, loop->current);
}

/* `completed`: did the body run to its end at least once? Otherwise jinja2 runs the else branch,
 * also after a break or continue. */
static bool loop_iterate(struct jinja *j, struct jinja_loop *loop, struct jinja_scope *scope,
                         bool *completed)
{
    *completed = false;
    for (bool first = true, got;; first = false) {
        if (!loop_advance(j, loop, first, &got))
            return false;
        if (!got)
            return true;
        if (!loop_begin_iteration(j, loop, scope))
            return false;
        enum jinja_flow flow = jinja_exec(j, &loop->node->loop.body);
        if (flow == JINJA_STOP)
            return false;
        *completed |= flow == JINJA_NEXT;
        if (flow == JINJA_BREAK)
            return true;
    }
}

/* A `break` or `continue` of the else branch belongs to the loop around this one: it is returned.
 */
static enum jinja_flow loop_run(struct jinja *j, struct jinja_loop *loop)
{
    struct jinja_scope *saved = j->scope, *scopes = jinja_alloc(j, 2, sizeof *scopes);
    bool completed;
    if (!scopes)
        return JINJA_STOP;
    scopes[0].parent = scopes[1].parent = loop->outer;
    j->scope = &scopes[0];
    enum jinja_flow flow = loop_iterate(j, loop, &scopes[0], &completed) ? JINJA_NEXT : JINJA_STOP;
    j->scope = &scopes[1];
    if (flow == JINJA_NEXT && !completed && loop->node->loop.otherwise.n)
        flow = jinja_exec(j, &loop->node->loop.otherwise);
    j->scope = saved;
    return flow;
}

static bool loop_create(struct jinja *j, const struct jinja_node *node, struct jinja_scope *outer,
                        const struct jinja_value *iterable, struct jinja_loop **out)
{
    struct jinja_loop *loop = jinja_alloc(j, 1, sizeof *loop);
    if (!loop || !jinja_items(j, iterable, &loop->items, &loop->n))
        return false;
    loop->node = node;
    loop->outer = outer;
    loop->filtered = node->loop.test != NULL;
    *out = loop;
    return true;
}

enum jinja_flow jinja_for(struct jinja *j, const struct jinja_node *node)
{
    struct jinja_value iterable;
    struct jinja_loop *loop;
    if (!jinja_eval(j, node->loop.iterable, &iterable))
        return JINJA_STOP;
    j->at = node->at;
    return loop_create(j, node, j->scope, &iterable, &loop) ? loop_run(j, loop) : JINJA_STOP;
}

bool jinja_loop_call(struct jinja *j, struct jinja_loop *loop, const struct jinja_args *args,
                     struct jinja_value *out)
{
    static const char *const names[] = {"iterable"};
    struct jinja_value iterable;
    struct jinja_loop *inner;
    struct jinja_text text, *saved = j->out;
    if (!loop->node->loop.recursive)
        return jinja_fail(j, "only a recursive loop can be called");
    if (!jinja_bind(j, "loop()", args, names, 1, 1, &iterable) ||
        !loop_create(j, loop->node, loop->outer, &iterable, &inner))
        return false;
    inner->depth0 = loop->depth0 + 1;
    jinja_scratch(j, &text);
    j->out = &text;
    bool ok = jinja_enter(j) && loop_run(j, inner) != JINJA_STOP;
    jinja_leave(j);
    j->out = saved;
    if (!ok) {
        jinja_text_deinit(&text);
        return false;
    }
    return jinja_take(j, &text, out);
}

static bool loop_cycle(struct jinja *j, const struct jinja_value *self,
                       const struct jinja_args *args, struct jinja_value *out)
{
    if (!args->n)
        return jinja_fail(j, "loop.cycle() needs values");
    *out = args->items[self->loop->index0 % args->n];
    return true;
}

static bool loop_changed(struct jinja *j, const struct jinja_value *self,
                         const struct jinja_args *args, struct jinja_value *out)
{
    struct jinja_list *list;
    bool eq = false;
    if (!jinja_new_list(j, args->n, &list))
        return false;
    for (; list->n < args->n; list->n++)
        list->items[list->n] = args->items[list->n];
    struct jinja_value values = jinja_of_list(JINJA_TUPLE, list);
    if (!jinja_equal(j, &self->loop->changed, &values, &eq))
        return false;
    self->loop->changed = values;
    *out = jinja_bool(!eq);
    return true;
}

static bool loop_neighbour(struct jinja *j, struct jinja_loop *loop, bool next,
                           struct jinja_value *out)
{
    if (next && !loop_peek(j, loop))
        return false;
    if (next)
        *out = loop->has_after ? loop->after : jinja_undefined_hint("there is no next item");
    else
        *out = loop->index0 ? loop->before : jinja_undefined_hint("there is no previous item");
    return true;
}

static bool counted_member(struct jinja *j, struct jinja_loop *loop, const struct jinja_value *key,
                           struct jinja_value *out)
{
    size_t n;
    if (!jinja_loop_length(j, loop, &n))
        return false;
    int64_t left = (int64_t)n - (int64_t)loop->index0;
    *out = jinja_int(jinja_is_text(key, "length")     ? (int64_t)n
                     : jinja_is_text(key, "revindex") ? left
                                                      : left - 1);
    return true;
}

bool jinja_loop_write(struct jinja *j, struct jinja_loop *loop, struct jinja_text *t)
{
    size_t n;
    return jinja_loop_length(j, loop, &n) &&
           jinja_text_printf(t, "<LoopContext %zu/%zu>", loop->index0 + 1, n);
}

bool jinja_loop_member(struct jinja *j, struct jinja_loop *loop, const struct jinja_value *self,
                       const char *name, size_t n, struct jinja_value *out)
{
    static const struct jinja_function methods[] = {
        {"cycle", loop_cycle}, {"changed", loop_changed}, {NULL, NULL}};
    struct jinja_value key = jinja_own(name, n);
    const struct jinja_function *method = jinja_function_find(methods, name, n);
    if (method)
        return jinja_method_value(j, self, method, out);
    if (jinja_is_text(&key, "last") && !loop_peek(j, loop))
        return false;
    if (jinja_is_text(&key, "previtem") || jinja_is_text(&key, "nextitem"))
        return loop_neighbour(j, loop, key.text[0] == 'n', out);
    if (jinja_is_text(&key, "length") || jinja_is_text(&key, "revindex") ||
        jinja_is_text(&key, "revindex0"))
        return counted_member(j, loop, &key, out);
    if (jinja_is_text(&key, "index"))
        *out = jinja_int((int64_t)loop->index0 + 1);
    else if (jinja_is_text(&key, "index0"))
        *out = jinja_int((int64_t)loop->index0);
    else if (jinja_is_text(&key, "first"))
        *out = jinja_bool(loop->index0 == 0);
    else if (jinja_is_text(&key, "last"))
        *out = jinja_bool(!loop->has_after);
    else if (jinja_is_text(&key, "depth"))
        *out = jinja_int(loop->depth0 + 1);
    else if (jinja_is_text(&key, "depth0"))
        *out = jinja_int(loop->depth0);
    else
        *out = jinja_undefined_member(JINJA_LOOP, name, (uint32_t)n);
    return true;
}
