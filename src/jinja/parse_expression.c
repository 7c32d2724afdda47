/* Expressions of the template language to nodes: jinja2's grammar and precedence. Knows no
 * statements. */
#include "jinja/parse.h"

static struct jinja_node *parse_unary(struct jinja_parser *p, bool with_filter);

static struct jinja_node *binary(struct jinja_parser *p, enum jinja_node_kind kind, int op,
                                 struct jinja_node *left, struct jinja_node *right)
{
    struct jinja_node *node = right ? jinja_node_create(p, kind, left->at) : NULL;
    if (node) {
        node->op = (uint8_t)op;
        node->operands.left = left;
        node->operands.right = right;
    }
    return node;
}

static struct jinja_node *constant(struct jinja_parser *p, uint32_t at, struct jinja_value value)
{
    struct jinja_node *node = jinja_node_create(p, JINJA_NODE_CONST, at);
    if (node)
        node->value = value;
    return node;
}

static bool join_strings(struct jinja_parser *p, struct jinja_value *text)
{
    struct jinja_value next = p->token.value;
    size_t n = (size_t)text->n + next.n;
    char *both = arena_alloc(p->arena, n + 1);
    if (!both)
        return error_set(p->err, ERROR_NO_MEMORY, "chat template: out of memory");
    memcpy(both, text->text, text->n);
    memcpy(both + text->n, next.text, next.n);
    *text = jinja_own(both, n);
    return jinja_parser_advance(p);
}

static struct jinja_node *parse_string(struct jinja_parser *p)
{
    uint32_t at = p->token.at;
    struct jinja_value text = p->token.value;
    if (!jinja_parser_advance(p))
        return NULL;
    while (p->token.kind == JINJA_TOKEN_STRING)
        if (!join_strings(p, &text))
            return NULL;
    return constant(p, at, text);
}

static bool literal_name(const struct jinja_value *name, struct jinja_value *value)
{
    bool yes = jinja_is_text(name, "true") || jinja_is_text(name, "True");
    if (yes || jinja_is_text(name, "false") || jinja_is_text(name, "False"))
        *value = jinja_bool(yes);
    else if (jinja_is_text(name, "none") || jinja_is_text(name, "None"))
        *value = jinja_none();
    else
        return false;
    return true;
}

static struct jinja_node *parse_name(struct jinja_parser *p)
{
    struct jinja_token token = p->token;
    struct jinja_value value;
    if (!jinja_parser_advance(p))
        return NULL;
    if (literal_name(&token.value, &value))
        return constant(p, token.at, value);
    struct jinja_node *node = jinja_node_create(p, JINJA_NODE_NAME, token.at);
    if (!node || !jinja_name_index(p, &token.value, &node->name))
        return NULL;
    p->uses_caller |= node->name == p->template->name_caller;
    p->uses_kwargs |= node->name == p->template->name_kwargs;
    p->uses_varargs |= node->name == p->template->name_varargs;
    return node;
}

/* Expressions separated by commas up to the closing bracket, which is consumed. */
static bool parse_items(struct jinja_parser *p, struct jinja_nodes *items, int close, bool pairs)
{
    bool ok = true;
    while (!jinja_at_op(p, close)) {
        if (items->n && (!jinja_expect_op(p, ',') || jinja_at_op(p, close)))
            break;
        struct jinja_node *item = jinja_parse_expression(p);
        if (!item || !jinja_nodes_push(p, items, item))
            return false;
        if (!pairs)
            continue;
        struct jinja_node *value = jinja_expect_op(p, ':') ? jinja_parse_expression(p) : NULL;
        if (!value || !jinja_nodes_push(p, items, value))
            return false;
    }
    return ok && jinja_expect_op(p, close);
}

static struct jinja_node *parse_container(struct jinja_parser *p, enum jinja_node_kind kind,
                                          int close)
{
    struct jinja_node *node = jinja_node_create(p, kind, p->token.at);
    if (!node || !jinja_parser_advance(p) ||
        !parse_items(p, &node->items, close, kind == JINJA_NODE_DICT))
        return NULL;
    return node;
}

/* After the opening parenthesis. */
static struct jinja_node *parse_parentheses(struct jinja_parser *p)
{
    uint32_t at = p->token.at;
    if (!jinja_parser_advance(p))
        return NULL;
    struct jinja_node *node = jinja_at_op(p, ')') ? jinja_node_create(p, JINJA_NODE_TUPLE, at)
                                                  : jinja_parse_tuple(p, true, NULL);
    return node && jinja_expect_op(p, ')') ? node : NULL;
}

static struct jinja_node *parse_primary(struct jinja_parser *p)
{
    struct jinja_token token = p->token;
    switch (token.kind) {
    case JINJA_TOKEN_NAME:
        return parse_name(p);
    case JINJA_TOKEN_STRING:
        return parse_string(p);
    case JINJA_TOKEN_NUMBER:
        return jinja_parser_advance(p) ? constant(p, token.at, token.value) : NULL;
    case JINJA_TOKEN_OPERATOR:
        if (token.op == '(')
            return parse_parentheses(p);
        if (token.op == '[')
            return parse_container(p, JINJA_NODE_LIST, ']');
        if (token.op == '{')
            return parse_container(p, JINJA_NODE_DICT, '}');
        break;
    default:
        break;
    }
    jinja_parser_fail(p, "an expression is expected here");
    return NULL;
}

/* One part of a slice: an expression unless ':' , ',' or ']' is there already. */
static bool parse_slice_part(struct jinja_parser *p, struct jinja_node **part)
{
    *part = NULL;
    if (jinja_at_op(p, ':') || jinja_at_op(p, ']') || jinja_at_op(p, ','))
        return true;
    *part = jinja_parse_expression(p);
    return *part != NULL;
}

static struct jinja_node *parse_subscribed(struct jinja_parser *p)
{
    uint32_t at = p->token.at;
    struct jinja_node *start = NULL;
    bool ok = true;
    if (!jinja_at_op(p, ':')) {
        start = jinja_parse_expression(p);
        if (!start || !jinja_at_op(p, ':'))
            return start;
    }
    struct jinja_node *slice = jinja_node_create(p, JINJA_NODE_SLICE, at);
    if (!slice || !jinja_parser_advance(p))
        return NULL;
    slice->slice.start = start;
    if (!parse_slice_part(p, &slice->slice.stop))
        return NULL;
    if (jinja_skip_op(p, ':', &ok) && !parse_slice_part(p, &slice->slice.step))
        return NULL;
    return ok ? slice : NULL;
}

/* object[…]: several keys are a tuple (no slices inside, which Python's types don't take either).
 */
static struct jinja_node *parse_bracket(struct jinja_parser *p, struct jinja_node *object)
{
    struct jinja_node *node = jinja_node_create(p, JINJA_NODE_ITEM, p->token.at);
    if (!node || !jinja_parser_advance(p))
        return NULL;
    node->item.object = object;
    struct jinja_node *key = parse_subscribed(p);
    if (key && jinja_at_op(p, ',')) {
        struct jinja_node *tuple = jinja_node_create(p, JINJA_NODE_TUPLE, key->at);
        while (tuple && key && jinja_nodes_push(p, &tuple->items, key) && jinja_at_op(p, ','))
            key = jinja_parser_advance(p) ? parse_subscribed(p) : NULL;
        for (uint32_t i = 0; tuple && i < tuple->items.n; i++)
            if (tuple->items.items[i]->kind == JINJA_NODE_SLICE) {
                jinja_parser_fail(p, "a slice among several keys");
                return NULL;
            }
        key = key ? tuple : NULL;
    }
    node->item.key = key;
    return key && jinja_expect_op(p, ']') ? node : NULL;
}

static struct jinja_node *parse_dot(struct jinja_parser *p, struct jinja_node *object)
{
    uint32_t at = p->token.at;
    if (!jinja_parser_advance(p))
        return NULL;
    struct jinja_token token = p->token;
    if (token.kind == JINJA_TOKEN_NAME) {
        struct jinja_node *node = jinja_node_create(p, JINJA_NODE_ATTRIBUTE, at);
        if (!node || !jinja_parser_advance(p))
            return NULL;
        node->attribute.object = object;
        node->attribute.name = token.value;
        return node;
    }
    if (token.kind != JINJA_TOKEN_NUMBER || !jinja_is(&token.value, JINJA_INT)) {
        jinja_parser_fail(p, "a name or a number is expected after the dot");
        return NULL;
    }
    struct jinja_node *node = jinja_node_create(p, JINJA_NODE_ITEM, at);
    if (!node || !jinja_parser_advance(p))
        return NULL;
    node->item.object = object;
    node->item.key = constant(p, token.at, token.value);
    return node->item.key ? node : NULL;
}

static bool push_named(struct jinja_parser *p, struct jinja_call *call, struct jinja_value name,
                       struct jinja_node *value)
{
    uint32_t n = call->named.n;
    if (n % 8 == 0) {
        struct jinja_value *names = arena_array(p->arena, n + 8, sizeof *names);
        if (!names)
            return error_set(p->err, ERROR_NO_MEMORY, "chat template: out of memory");
        if (n)
            memcpy(names, call->names, n * sizeof *names);
        call->names = names;
    }
    for (uint32_t i = 0; i < n; i++)
        if (call->names[i].n == name.n && memcmp(call->names[i].text, name.text, name.n) == 0)
            return jinja_parser_fail(p, "an argument is named twice");
    if (n == 255)
        return jinja_parser_fail(p, "too many arguments");
    call->names[n] = name;
    return jinja_nodes_push(p, &call->named, value);
}

static bool parse_argument(struct jinja_parser *p, struct jinja_call *call)
{
    bool ok = true;
    if (jinja_at_op(p, '*') && !call->rest && !call->named_rest)
        return jinja_parser_advance(p) && (call->rest = jinja_parse_expression(p));
    if (jinja_at_op(p, JINJA_TWO('*', '*')) && !call->named_rest)
        return jinja_parser_advance(p) && (call->named_rest = jinja_parse_expression(p));
    if (p->token.kind == JINJA_TOKEN_NAME && p->ahead.kind == JINJA_TOKEN_OPERATOR &&
        p->ahead.op == '=' && !call->named_rest) {
        struct jinja_value name = p->token.value;
        ok = jinja_parser_advance(p) && jinja_parser_advance(p);
        struct jinja_node *value = ok ? jinja_parse_expression(p) : NULL;
        return value && push_named(p, call, name, value);
    }
    if (call->rest || call->named_rest || call->named.n)
        return jinja_parser_fail(p, "a positional argument after a named one");
    struct jinja_node *value = jinja_parse_expression(p);
    return value && jinja_nodes_push(p, &call->args, value);
}

/* The arguments with both parentheses. */
static struct jinja_call *parse_call_arguments(struct jinja_parser *p)
{
    struct jinja_call *call = arena_alloc(p->arena, sizeof *call);
    if (!call) {
        error_set(p->err, ERROR_NO_MEMORY, "chat template: out of memory");
        return NULL;
    }
    if (!jinja_expect_op(p, '('))
        return NULL;
    for (bool first = true; !jinja_at_op(p, ')'); first = false) {
        if (!first && !jinja_expect_op(p, ','))
            return NULL;
        if (!first && jinja_at_op(p, ')'))
            break;
        if (!parse_argument(p, call))
            return NULL;
    }
    return jinja_expect_op(p, ')') ? call : NULL;
}

static struct jinja_node *parse_call(struct jinja_parser *p, struct jinja_node *callee)
{
    struct jinja_node *node = jinja_node_create(p, JINJA_NODE_CALL, p->token.at);
    if (!node)
        return NULL;
    node->call.callee = callee;
    node->call.call = parse_call_arguments(p);
    return node->call.call ? node : NULL;
}

static struct jinja_node *parse_postfix(struct jinja_parser *p, struct jinja_node *node)
{
    while (node) {
        if (jinja_at_op(p, '.'))
            node = parse_dot(p, node);
        else if (jinja_at_op(p, '['))
            node = parse_bracket(p, node);
        else if (jinja_at_op(p, '('))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

/* The name of a filter or test, which may have dots. */
static bool parse_dotted_name(struct jinja_parser *p, struct jinja_value *name)
{
    if (!jinja_expect_any_name(p, name))
        return false;
    while (jinja_at_op(p, '.')) {
        struct jinja_value part;
        if (!jinja_parser_advance(p) || !jinja_expect_any_name(p, &part))
            return false;
        *name = jinja_own(name->text, (size_t)(part.text + part.n - name->text));
    }
    return true;
}

struct jinja_node *jinja_parse_filters(struct jinja_parser *p, struct jinja_node *object,
                                       bool start_inline)
{
    while (start_inline || jinja_at_op(p, '|')) {
        if (!start_inline && !jinja_parser_advance(p))
            return NULL;
        start_inline = false;
        struct jinja_node *node = jinja_node_create(p, JINJA_NODE_FILTER, p->token.at);
        if (!node || !parse_dotted_name(p, &node->apply.name))
            return NULL;
        node->apply.object = object;
        node->apply.filter = jinja_filter(node->apply.name.text, node->apply.name.n);
        if (jinja_at_op(p, '(') && !(node->apply.call = parse_call_arguments(p)))
            return NULL;
        object = node;
    }
    return object;
}

/* May the current token begin the argument of a test written without parentheses? */
static bool at_test_argument(const struct jinja_parser *p)
{
    switch (p->token.kind) {
    case JINJA_TOKEN_STRING:
    case JINJA_TOKEN_NUMBER:
        return true;
    case JINJA_TOKEN_NAME:
        return !jinja_at_name(p, "else") && !jinja_at_name(p, "or") && !jinja_at_name(p, "and");
    default:
        return jinja_at_op(p, '[') || jinja_at_op(p, '{');
    }
}

static bool parse_test_argument(struct jinja_parser *p, struct jinja_node *node)
{
    if (jinja_at_op(p, '('))
        return (node->apply.call = parse_call_arguments(p)) != NULL;
    if (!at_test_argument(p))
        return true;
    if (jinja_at_name(p, "is"))
        return jinja_parser_fail(p, "tests can't be chained with 'is'");
    struct jinja_node *argument = parse_postfix(p, parse_primary(p));
    node->apply.call = argument ? arena_alloc(p->arena, sizeof *node->apply.call) : NULL;
    if (argument && !node->apply.call)
        return error_set(p->err, ERROR_NO_MEMORY, "chat template: out of memory");
    return argument && jinja_nodes_push(p, &node->apply.call->args, argument);
}

static struct jinja_node *parse_test(struct jinja_parser *p, struct jinja_node *object)
{
    bool ok = jinja_parser_advance(p); /* is */
    bool negated = ok && jinja_skip_name(p, "not", &ok);
    struct jinja_node *node = ok ? jinja_node_create(p, JINJA_NODE_TEST, p->token.at) : NULL;
    if (!node || !parse_dotted_name(p, &node->apply.name) || !parse_test_argument(p, node))
        return NULL;
    node->apply.object = object;
    node->apply.test = jinja_test(node->apply.name.text, node->apply.name.n);
    if (!negated)
        return node;
    struct jinja_node *negation = jinja_node_create(p, JINJA_NODE_UNARY, node->at);
    if (negation) {
        negation->op = JINJA_OP_NOT;
        negation->operands.left = node;
    }
    return negation;
}

static struct jinja_node *parse_filter_expression(struct jinja_parser *p, struct jinja_node *node)
{
    while (node) {
        if (jinja_at_op(p, '|'))
            node = jinja_parse_filters(p, node, false);
        else if (jinja_at_name(p, "is"))
            node = parse_test(p, node);
        else if (jinja_at_op(p, '('))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

static struct jinja_node *parse_sign(struct jinja_parser *p, enum jinja_operator op)
{
    struct jinja_node *node = jinja_node_create(p, JINJA_NODE_UNARY, p->token.at);
    if (!node || !jinja_parser_enter(p) || !jinja_parser_advance(p))
        return NULL;
    node->op = (uint8_t)op;
    node->operands.left = parse_unary(p, false);
    p->depth--;
    return node->operands.left ? node : NULL;
}

static struct jinja_node *parse_unary(struct jinja_parser *p, bool with_filter)
{
    struct jinja_node *node = jinja_at_op(p, '-')   ? parse_sign(p, JINJA_OP_NEG)
                              : jinja_at_op(p, '+') ? parse_sign(p, JINJA_OP_POS)
                                                    : parse_primary(p);
    node = parse_postfix(p, node);
    return with_filter ? parse_filter_expression(p, node) : node;
}

static struct jinja_node *parse_power(struct jinja_parser *p)
{
    struct jinja_node *left = parse_unary(p, true);
    while (left && jinja_at_op(p, JINJA_TWO('*', '*')))
        left = jinja_parser_advance(p)
                   ? binary(p, JINJA_NODE_BINARY, JINJA_OP_POW, left, parse_unary(p, true))
                   : NULL;
    return left;
}

static int product_operator(const struct jinja_parser *p)
{
    if (p->token.kind != JINJA_TOKEN_OPERATOR)
        return -1;
    switch (p->token.op) {
    case '*':
        return JINJA_OP_MUL;
    case '/':
        return JINJA_OP_DIV;
    case JINJA_TWO('/', '/'):
        return JINJA_OP_FLOORDIV;
    case '%':
        return JINJA_OP_MOD;
    default:
        return -1;
    }
}

static struct jinja_node *parse_product(struct jinja_parser *p)
{
    struct jinja_node *left = parse_power(p);
    int op;
    while (left && (op = product_operator(p)) >= 0)
        left =
            jinja_parser_advance(p) ? binary(p, JINJA_NODE_BINARY, op, left, parse_power(p)) : NULL;
    return left;
}

static struct jinja_node *parse_concat(struct jinja_parser *p)
{
    struct jinja_node *first = parse_product(p);
    if (!first || !jinja_at_op(p, '~'))
        return first;
    struct jinja_node *node = jinja_node_create(p, JINJA_NODE_CONCAT, first->at);
    if (!node || !jinja_nodes_push(p, &node->items, first))
        return NULL;
    while (jinja_at_op(p, '~')) {
        struct jinja_node *next = jinja_parser_advance(p) ? parse_product(p) : NULL;
        if (!next || !jinja_nodes_push(p, &node->items, next))
            return NULL;
    }
    return node;
}

static struct jinja_node *parse_sum(struct jinja_parser *p)
{
    struct jinja_node *left = parse_concat(p);
    while (left && (jinja_at_op(p, '+') || jinja_at_op(p, '-'))) {
        int op = p->token.op == '+' ? JINJA_OP_ADD : JINJA_OP_SUB;
        left = jinja_parser_advance(p) ? binary(p, JINJA_NODE_BINARY, op, left, parse_concat(p))
                                       : NULL;
    }
    return left;
}

static int comparison_operator(const struct jinja_parser *p)
{
    if (jinja_at_name(p, "in"))
        return JINJA_OP_IN;
    if (jinja_at_name(p, "not") && jinja_token_is_name(&p->ahead, "in"))
        return JINJA_OP_NOT_IN;
    switch (p->token.kind == JINJA_TOKEN_OPERATOR ? p->token.op : 0) {
    case JINJA_TWO('=', '='):
        return JINJA_OP_EQ;
    case JINJA_TWO('!', '='):
        return JINJA_OP_NE;
    case '<':
        return JINJA_OP_LT;
    case JINJA_TWO('<', '='):
        return JINJA_OP_LE;
    case '>':
        return JINJA_OP_GT;
    case JINJA_TWO('>', '='):
        return JINJA_OP_GE;
    default:
        return -1;
    }
}

static struct jinja_node *parse_comparison(struct jinja_parser *p)
{
    struct jinja_node *first = parse_sum(p), *node = NULL;
    int op;
    uint8_t ops[64];
    while (first && (op = comparison_operator(p)) >= 0) {
        if (!node && !(node = jinja_node_create(p, JINJA_NODE_COMPARE, first->at)))
            return NULL;
        if (node->compare.rest.n == sizeof ops) {
            jinja_parser_fail(p, "too many comparisons in a chain");
            return NULL;
        }
        if (!jinja_parser_advance(p) || (op == JINJA_OP_NOT_IN && !jinja_parser_advance(p)))
            return NULL;
        ops[node->compare.rest.n] = (uint8_t)op;
        struct jinja_node *next = parse_sum(p);
        if (!next || !jinja_nodes_push(p, &node->compare.rest, next))
            return NULL;
    }
    if (!node)
        return first;
    node->compare.first = first;
    node->compare.ops = (uint8_t *)arena_copy(p->arena, (const char *)ops, node->compare.rest.n);
    return node->compare.ops ? node : NULL;
}

static struct jinja_node *parse_not(struct jinja_parser *p)
{
    if (!jinja_at_name(p, "not"))
        return parse_comparison(p);
    struct jinja_node *node = jinja_node_create(p, JINJA_NODE_UNARY, p->token.at);
    if (!node || !jinja_parser_enter(p) || !jinja_parser_advance(p))
        return NULL;
    node->op = JINJA_OP_NOT;
    node->operands.left = parse_not(p);
    p->depth--;
    return node->operands.left ? node : NULL;
}

static struct jinja_node *parse_and(struct jinja_parser *p)
{
    struct jinja_node *left = parse_not(p);
    while (left && jinja_at_name(p, "and"))
        left = jinja_parser_advance(p) ? binary(p, JINJA_NODE_AND, 0, left, parse_not(p)) : NULL;
    return left;
}

struct jinja_node *jinja_parse_without_condition(struct jinja_parser *p)
{
    if (!jinja_parser_enter(p))
        return NULL;
    struct jinja_node *left = parse_and(p);
    while (left && jinja_at_name(p, "or"))
        left = jinja_parser_advance(p) ? binary(p, JINJA_NODE_OR, 0, left, parse_and(p)) : NULL;
    p->depth--;
    return left;
}

struct jinja_node *jinja_parse_expression(struct jinja_parser *p)
{
    if (!jinja_parser_enter(p))
        return NULL;
    struct jinja_node *value = jinja_parse_without_condition(p);
    while (value && jinja_at_name(p, "if")) {
        struct jinja_node *node = jinja_node_create(p, JINJA_NODE_CONDITION, value->at);
        bool ok = node && jinja_parser_advance(p);
        if (!ok || !(node->condition.test = jinja_parse_without_condition(p)))
            return NULL;
        node->condition.then = value;
        if (jinja_skip_name(p, "else", &ok) &&
            !(node->condition.otherwise = jinja_parse_expression(p)))
            return NULL;
        value = ok ? node : NULL;
    }
    p->depth--;
    return value;
}

static bool at_tuple_end(const struct jinja_parser *p, const char *end)
{
    return p->token.kind == JINJA_TOKEN_PRINT_END || p->token.kind == JINJA_TOKEN_BLOCK_END ||
           jinja_at_op(p, ')') || (end && jinja_at_name(p, end));
}

/* One element, or a tuple when a comma follows; `element` reads one. */
static struct jinja_node *tuple_of(struct jinja_parser *p,
                                   struct jinja_node *(*element)(struct jinja_parser *),
                                   const char *end)
{
    uint32_t at = p->token.at;
    if (at_tuple_end(p, end)) {
        jinja_parser_fail(p, "an expression is expected here");
        return NULL;
    }
    struct jinja_node *first = element(p);
    if (!first || !jinja_at_op(p, ','))
        return first;
    struct jinja_node *tuple = jinja_node_create(p, JINJA_NODE_TUPLE, at);
    if (!tuple || !jinja_nodes_push(p, &tuple->items, first))
        return NULL;
    while (jinja_at_op(p, ',')) {
        if (!jinja_parser_advance(p))
            return NULL;
        if (at_tuple_end(p, end))
            break;
        struct jinja_node *item = element(p);
        if (!item || !jinja_nodes_push(p, &tuple->items, item))
            return NULL;
    }
    return tuple;
}

struct jinja_node *jinja_parse_tuple(struct jinja_parser *p, bool with_condition, const char *end)
{
    return tuple_of(p, with_condition ? jinja_parse_expression : jinja_parse_without_condition,
                    end);
}

static bool check_target(struct jinja_parser *p, const struct jinja_node *node)
{
    if (node->kind == JINJA_NODE_NAMESPACE_MEMBER)
        return true;
    if (node->kind == JINJA_NODE_NAME) {
        if (p->n_outer_loops && node->name == p->template->name_loop)
            return jinja_parser_fail(p, "'loop' can't be assigned to inside a loop");
        return true;
    }
    if (node->kind != JINJA_NODE_TUPLE)
        return jinja_parser_fail(p, "this can't be assigned to");
    for (uint32_t i = 0; i < node->items.n; i++)
        if (!check_target(p, node->items.items[i]))
            return false;
    return true;
}

static struct jinja_node *namespace_target(struct jinja_parser *p)
{
    if (p->token.kind != JINJA_TOKEN_NAME || p->ahead.kind != JINJA_TOKEN_OPERATOR ||
        p->ahead.op != '.')
        return parse_primary(p);
    struct jinja_node *node = jinja_node_create(p, JINJA_NODE_NAMESPACE_MEMBER, p->token.at);
    if (!node || !jinja_name_index(p, &p->token.value, &node->namespace_member.name) ||
        !jinja_parser_advance(p) || !jinja_parser_advance(p) ||
        !jinja_expect_any_name(p, &node->namespace_member.member))
        return NULL;
    return node;
}

struct jinja_node *jinja_parse_target(struct jinja_parser *p, bool with_namespace, const char *end)
{
    bool caller = p->uses_caller, kwargs = p->uses_kwargs, varargs = p->uses_varargs;
    struct jinja_node *target = tuple_of(p, with_namespace ? namespace_target : parse_primary, end);
    p->uses_caller = caller; /* writing a name is no use of it */
    p->uses_kwargs = kwargs;
    p->uses_varargs = varargs;
    return target && check_target(p, target) ? target : NULL;
}

bool jinja_parse_name_target(struct jinja_parser *p, uint32_t *name)
{
    struct jinja_value text, value;
    if (!jinja_expect_any_name(p, &text))
        return false;
    if (literal_name(&text, &value))
        return jinja_parser_fail(p, "this can't be assigned to");
    return jinja_name_index(p, &text, name);
}
