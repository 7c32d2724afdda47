/* Expressions to values, and the variables they read. Knows operators and members by their
 * functions only. */
#include "jinja/state.h"

/* Variables */

bool jinja_bind_name(struct jinja *j, struct jinja_scope *scope, uint32_t name,
                     struct jinja_value v)
{
    if (!scope) {
        j->globals[name] = v;
        return true;
    }
    struct jinja_binding *b = scope->first;
    uint64_t n_seen = 0;
    for (; b && b->name != name; b = b->next)
        n_seen++;
    if (!jinja_charge(j, n_seen / 16))
        return false;
    if (!b) {
        if (!(b = jinja_alloc(j, 1, sizeof *b)))
            return false;
        b->name = name;
        b->next = scope->first;
        scope->first = b;
    }
    b->value = v;
    return true;
}

/* The context first, then the functions every template has. */
static bool lookup_global(struct jinja *j, uint32_t name, struct jinja_value *out)
{
    const struct jinja_value *key = &j->template->names->pairs[name].key;
    const json_t *json = json_object_get(j->context, key->text);
    if (json && strlen(key->text) == key->n)
        return jinja_from_json(j, json, out);
    const struct jinja_function *function = jinja_global(key->text, key->n);
    if (function)
        *out = (struct jinja_value){.type = JINJA_FUNCTION, .function = function};
    else
        *out = (struct jinja_value){
            .type = JINJA_UNDEFINED, .kind = JINJA_UNDEFINED_NAME, .n = key->n, .text = key->text};
    return true;
}

bool jinja_lookup(struct jinja *j, uint32_t name, struct jinja_value *out)
{
    uint64_t n_seen = 0;
    for (const struct jinja_scope *s = j->scope; s; s = s->parent)
        for (const struct jinja_binding *b = s->first; b; b = b->next, n_seen++)
            if (b->name == name && !jinja_is(&b->value, JINJA_ABSENT)) {
                *out = b->value;
                return jinja_charge(j, n_seen / 16);
            }
    if (!jinja_charge(j, n_seen / 16))
        return false;
    struct jinja_value *global = &j->globals[name];
    if (jinja_is(global, JINJA_ABSENT) && !lookup_global(j, name, global))
        return false;
    *out = *global;
    return true;
}

static bool assign_member(struct jinja *j, const struct jinja_node *target, struct jinja_value v)
{
    struct jinja_value object;
    if (!jinja_lookup(j, target->namespace_member.name, &object))
        return false;
    if (!jinja_is(&object, JINJA_NAMESPACE))
        return jinja_fail(j, "an attribute can only be set on a namespace, not on '%s'",
                          jinja_type_name(&object));
    const struct jinja_value *member = &target->namespace_member.member;
    if (member->text[0] == '_')
        return jinja_fail(j, "a namespace takes no names with an underscore in front");
    return jinja_put(j, object.dict, *member, v);
}

static bool assign_tuple(struct jinja *j, struct jinja_scope *scope,
                         const struct jinja_node *target, struct jinja_value v)
{
    const struct jinja_value *items;
    size_t n;
    if (!jinja_items(j, &v, &items, &n))
        return false;
    if (n != target->items.n)
        return jinja_fail(j, "%u values are expected to unpack, got %zu", target->items.n, n);
    for (size_t i = 0; i < n; i++)
        if (!jinja_assign(j, scope, target->items.items[i], items[i]))
            return false;
    return true;
}

bool jinja_assign(struct jinja *j, struct jinja_scope *scope, const struct jinja_node *target,
                  struct jinja_value v)
{
    switch (target->kind) {
    case JINJA_NODE_NAME:
        return jinja_bind_name(j, scope, target->name, v);
    case JINJA_NODE_NAMESPACE_MEMBER:
        return assign_member(j, target, v);
    default:
        return assign_tuple(j, scope, target, v);
    }
}

/* Calls */

static bool add_rest(struct jinja *j, const struct jinja_node *node, struct jinja_list *list)
{
    struct jinja_value rest;
    const struct jinja_value *items;
    size_t n;
    if (!jinja_eval(j, node, &rest) || !jinja_items(j, &rest, &items, &n))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!jinja_push(j, list, items[i]))
            return false;
    return true;
}

static bool named_args(struct jinja *j, const struct jinja_call *call, struct jinja_args *out)
{
    struct jinja_value rest = jinja_none();
    if (call->named_rest && !jinja_eval(j, call->named_rest, &rest))
        return false;
    if (call->named_rest && !jinja_is(&rest, JINJA_DICT))
        return jinja_fail(j, "** needs a dictionary, got '%s'", jinja_type_name(&rest));
    size_t n_rest = call->named_rest ? rest.dict->n : 0;
    struct jinja_named *named = jinja_alloc(j, call->named.n + n_rest, sizeof *named);
    if (!named)
        return false;
    for (uint32_t i = 0; i < call->named.n; i++) {
        named[i].name = call->names[i];
        if (!jinja_eval(j, call->named.items[i], &named[i].value))
            return false;
    }
    for (size_t i = 0; i < n_rest; i++) {
        const struct jinja_pair *pair = &rest.dict->pairs[i];
        if (!jinja_is(&pair->key, JINJA_STRING))
            return jinja_fail(j, "names of arguments must be strings");
        named[call->named.n + i] = (struct jinja_named){pair->key, pair->value};
    }
    out->named = named;
    out->n_named = call->named.n + n_rest;
    return true;
}

bool jinja_eval_args(struct jinja *j, const struct jinja_call *call, struct jinja_args *out)
{
    struct jinja_list *list;
    *out = (struct jinja_args){0};
    if (!call)
        return true;
    if (call->args.n || call->rest) {
        if (!jinja_new_list(j, call->args.n, &list))
            return false;
        for (; list->n < call->args.n; list->n++)
            if (!jinja_eval(j, call->args.items[list->n], &list->items[list->n]))
                return false;
        if (call->rest && !add_rest(j, call->rest, list))
            return false;
        out->items = list->items;
        out->n = list->n;
    }
    return (!call->named.n && !call->named_rest) || named_args(j, call, out);
}

static bool eval_call(struct jinja *j, const struct jinja_node *node, struct jinja_value *out)
{
    struct jinja_value callee;
    struct jinja_args args;
    if (!jinja_eval(j, node->call.callee, &callee) || !jinja_eval_args(j, node->call.call, &args))
        return false;
    j->at = node->at;
    return jinja_call(j, &callee, &args, out);
}

static bool eval_filter(struct jinja *j, const struct jinja_node *node, struct jinja_value *out)
{
    struct jinja_value self;
    struct jinja_args args;
    if (!jinja_eval(j, node->apply.object, &self))
        return false;
    j->at = node->at;
    if (!node->apply.filter)
        return jinja_fail(j, "there is no filter '%.*s'", (int)node->apply.name.n,
                          node->apply.name.text);
    if (!jinja_eval_args(j, node->apply.call, &args))
        return false;
    j->at = node->at;
    return node->apply.filter->call(j, &self, &args, out);
}

static bool eval_test(struct jinja *j, const struct jinja_node *node, struct jinja_value *out)
{
    struct jinja_value self;
    struct jinja_args args;
    bool result;
    if (!jinja_eval(j, node->apply.object, &self))
        return false;
    j->at = node->at;
    if (!node->apply.test)
        return jinja_fail(j, "there is no test '%.*s'", (int)node->apply.name.n,
                          node->apply.name.text);
    if (!jinja_eval_args(j, node->apply.call, &args))
        return false;
    j->at = node->at;
    if (!node->apply.test->call(j, &self, &args, &result))
        return false;
    *out = jinja_bool(result);
    return true;
}

/* Containers and members */

static bool eval_items(struct jinja *j, const struct jinja_node *node, enum jinja_type type,
                       struct jinja_value *out)
{
    struct jinja_list *list;
    if (!jinja_new_list(j, node->items.n, &list))
        return false;
    for (; list->n < node->items.n; list->n++)
        if (!jinja_eval(j, node->items.items[list->n], &list->items[list->n]))
            return false;
    *out = jinja_of_list(type, list);
    return true;
}

static bool eval_dict(struct jinja *j, const struct jinja_node *node, struct jinja_value *out)
{
    struct jinja_dict *dict;
    if (!jinja_new_dict(j, node->items.n / 2, &dict))
        return false;
    for (uint32_t i = 0; i < node->items.n; i += 2) {
        struct jinja_value key, value;
        if (!jinja_eval(j, node->items.items[i], &key) ||
            !jinja_eval(j, node->items.items[i + 1], &value) || !jinja_put(j, dict, key, value))
            return false;
    }
    *out = jinja_of_dict(JINJA_DICT, dict);
    return true;
}

static bool eval_attribute(struct jinja *j, const struct jinja_node *node, struct jinja_value *out)
{
    struct jinja_value object;
    if (!jinja_eval(j, node->attribute.object, &object))
        return false;
    j->at = node->at;
    return jinja_attribute(j, &object, node->attribute.name.text, node->attribute.name.n, out);
}

static bool eval_slice(struct jinja *j, const struct jinja_value *object,
                       const struct jinja_node *slice, struct jinja_value *out)
{
    struct jinja_value start = jinja_none(), stop = start, step = start;
    if ((slice->slice.start && !jinja_eval(j, slice->slice.start, &start)) ||
        (slice->slice.stop && !jinja_eval(j, slice->slice.stop, &stop)) ||
        (slice->slice.step && !jinja_eval(j, slice->slice.step, &step)))
        return false;
    j->at = slice->at;
    return jinja_slice(j, object, &start, &stop, &step, out);
}

static bool eval_item(struct jinja *j, const struct jinja_node *node, struct jinja_value *out)
{
    struct jinja_value object, key;
    if (!jinja_eval(j, node->item.object, &object))
        return false;
    if (node->item.key->kind == JINJA_NODE_SLICE)
        return eval_slice(j, &object, node->item.key, out);
    if (!jinja_eval(j, node->item.key, &key))
        return false;
    j->at = node->at;
    return jinja_item(j, &object, &key, out);
}

/* Operators */

static bool eval_unary(struct jinja *j, const struct jinja_node *node, struct jinja_value *out)
{
    struct jinja_value v;
    if (!jinja_eval(j, node->operands.left, &v))
        return false;
    j->at = node->at;
    if (node->op == JINJA_OP_NOT) {
        *out = jinja_bool(!jinja_truth(&v));
        return true;
    }
    if (node->op == JINJA_OP_NEG)
        return jinja_negate(j, &v, out);
    if (jinja_is(&v, JINJA_UNDEFINED))
        return jinja_fail_undefined(j, &v);
    if (!jinja_is_number(&v))
        return jinja_fail(j, "'%s' has no sign", jinja_type_name(&v));
    *out = jinja_is(&v, JINJA_FLOAT) ? v : jinja_int(jinja_integer(&v));
    return true;
}

static bool eval_binary(struct jinja *j, const struct jinja_node *node, struct jinja_value *out)
{
    struct jinja_value a, b;
    if (!jinja_eval(j, node->operands.left, &a) || !jinja_eval(j, node->operands.right, &b))
        return false;
    j->at = node->at;
    return jinja_binary(j, (enum jinja_operator)node->op, &a, &b, out);
}

/* The value of the operand that decides, as in Python. */
static bool eval_logic(struct jinja *j, const struct jinja_node *node, struct jinja_value *out)
{
    if (!jinja_eval(j, node->operands.left, out))
        return false;
    bool decided = jinja_truth(out) == (node->kind == JINJA_NODE_OR);
    return decided || jinja_eval(j, node->operands.right, out);
}

/* a < b < c: every neighbour pair must hold, and each operand is evaluated once. */
static bool eval_compare(struct jinja *j, const struct jinja_node *node, struct jinja_value *out)
{
    struct jinja_value left, right;
    bool holds = true;
    if (!jinja_eval(j, node->compare.first, &left))
        return false;
    for (uint32_t i = 0; holds && i < node->compare.rest.n; i++) {
        if (!jinja_eval(j, node->compare.rest.items[i], &right))
            return false;
        j->at = node->at;
        if (!jinja_relation(j, (enum jinja_operator)node->compare.ops[i], &left, &right, &holds))
            return false;
        left = right;
    }
    *out = jinja_bool(holds);
    return true;
}

static bool eval_concat(struct jinja *j, const struct jinja_node *node, struct jinja_value *out)
{
    *out = jinja_own("", 0);
    for (uint32_t i = 0; i < node->items.n; i++) {
        struct jinja_value part, text;
        if (!jinja_eval(j, node->items.items[i], &part) || !jinja_to_string(j, &part, &text) ||
            !jinja_concat(j, out, &text, out))
            return false;
    }
    return true;
}

static bool eval_condition(struct jinja *j, const struct jinja_node *node, struct jinja_value *out)
{
    struct jinja_value test;
    if (!jinja_eval(j, node->condition.test, &test))
        return false;
    if (jinja_truth(&test))
        return jinja_eval(j, node->condition.then, out);
    if (node->condition.otherwise)
        return jinja_eval(j, node->condition.otherwise, out);
    *out = jinja_undefined_hint("an inline if without else was false, and its value was used");
    return true;
}

static bool eval_node(struct jinja *j, const struct jinja_node *node, struct jinja_value *out)
{
    switch (node->kind) {
    case JINJA_NODE_LIST:
        return eval_items(j, node, JINJA_LIST, out);
    case JINJA_NODE_TUPLE:
        return eval_items(j, node, JINJA_TUPLE, out);
    case JINJA_NODE_DICT:
        return eval_dict(j, node, out);
    case JINJA_NODE_ATTRIBUTE:
        return eval_attribute(j, node, out);
    case JINJA_NODE_ITEM:
        return eval_item(j, node, out);
    case JINJA_NODE_CALL:
        return eval_call(j, node, out);
    case JINJA_NODE_FILTER:
        return eval_filter(j, node, out);
    case JINJA_NODE_TEST:
        return eval_test(j, node, out);
    case JINJA_NODE_UNARY:
        return eval_unary(j, node, out);
    case JINJA_NODE_BINARY:
        return eval_binary(j, node, out);
    case JINJA_NODE_AND:
    case JINJA_NODE_OR:
        return eval_logic(j, node, out);
    case JINJA_NODE_COMPARE:
        return eval_compare(j, node, out);
    case JINJA_NODE_CONCAT:
        return eval_concat(j, node, out);
    case JINJA_NODE_CONDITION:
        return eval_condition(j, node, out);
    default:
        return jinja_fail(j, "this is no expression");
    }
}

bool jinja_eval(struct jinja *j, const struct jinja_node *node, struct jinja_value *out)
{
    j->at = node->at;
    if (node->kind == JINJA_NODE_CONST) {
        *out = node->value;
        return jinja_charge(j, 1);
    }
    if (node->kind == JINJA_NODE_NAME)
        return jinja_charge(j, 1) && jinja_lookup(j, node->name, out);
    bool ok = jinja_enter(j) && eval_node(j, node, out);
    jinja_leave(j);
    return ok;
}
