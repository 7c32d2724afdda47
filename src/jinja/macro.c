/* Macros and the bodies of call blocks: a piece of template that can be called with arguments, and
 * sees the variables of the place where it was written. */
#include "jinja/state.h"

struct jinja_macro {
    const struct jinja_macro_node *node;
    struct jinja_scope *scope; /* where it was defined */
};

static const struct jinja_value *name_text(const struct jinja *j, uint32_t name)
{
    return &j->template->names->pairs[name].key;
}

const char *jinja_macro_name(const struct jinja *j, const struct jinja_macro *macro)
{
    return name_text(j, macro->node->name)->text;
}

bool jinja_macro_create(struct jinja *j, const struct jinja_macro_node *node,
                        struct jinja_value *out)
{
    struct jinja_macro *macro = jinja_alloc(j, 1, sizeof *macro);
    if (!macro)
        return false;
    *macro = (struct jinja_macro){node, j->scope};
    *out = (struct jinja_value){.type = JINJA_MACRO, .macro = macro};
    return true;
}

/* The parameter of that name, or params.n. */
static uint32_t find_param(const struct jinja *j, const struct jinja_macro_node *node,
                           const struct jinja_value *name)
{
    uint32_t i = 0;
    for (; i < node->params.n; i++) {
        const struct jinja_value *param = name_text(j, node->params.items[i]->name);
        if (param->n == name->n && memcmp(param->text, name->text, name->n) == 0)
            break;
    }
    return i;
}

static bool collect_varargs(struct jinja *j, const struct jinja_macro_node *node,
                            const struct jinja_args *args, struct jinja_scope *scope)
{
    struct jinja_list *list;
    uint32_t n = node->params.n;
    if (!node->uses_varargs && args->n > n)
        return jinja_fail(j, "the macro '%s' takes at most %u arguments",
                          name_text(j, node->name)->text, n);
    if (!node->uses_varargs)
        return true;
    if (!jinja_new_list(j, args->n > n ? args->n - n : 0, &list))
        return false;
    for (size_t i = n; i < args->n; i++)
        list->items[list->n++] = args->items[i];
    return jinja_bind_name(j, scope, j->template->name_varargs, jinja_of_list(JINJA_TUPLE, list));
}

/* Named arguments into `values` (one per parameter); the rest into kwargs and caller if the body
 * reads them. */
static bool sort_named(struct jinja *j, const struct jinja_macro_node *node,
                       const struct jinja_args *args, struct jinja_value *values,
                       struct jinja_scope *scope)
{
    struct jinja_dict *kwargs;
    struct jinja_value caller = jinja_undefined_hint("No caller defined");
    if (!jinja_new_dict(j, 0, &kwargs))
        return false;
    for (size_t i = 0; i < args->n_named; i++) {
        const struct jinja_named *named = &args->named[i];
        uint32_t at = find_param(j, node, &named->name);
        if (!jinja_charge(j, 1 + node->params.n / 16))
            return false;
        if (at < node->params.n && at >= args->n)
            values[at] = named->value;
        else if (node->uses_caller && jinja_is_text(&named->name, "caller"))
            caller = jinja_is(&named->value, JINJA_NONE) ? caller : named->value;
        else if (!node->uses_kwargs)
            return jinja_fail(j, "the macro '%s' takes no argument '%.*s'",
                              name_text(j, node->name)->text,
                              (int)(named->name.n < 60 ? named->name.n : 60), named->name.text);
        else if (!jinja_put(j, kwargs, named->name, named->value))
            return false;
    }
    struct jinja_value special = jinja_literal("caller");
    if (node->uses_caller && find_param(j, node, &special) == node->params.n &&
        !jinja_bind_name(j, scope, j->template->name_caller, caller))
        return false;
    return !node->uses_kwargs ||
           jinja_bind_name(j, scope, j->template->name_kwargs, jinja_of_dict(JINJA_DICT, kwargs));
}

/* Parameters in their order, so that a default may use the ones before it. */
static bool bind_params(struct jinja *j, const struct jinja_macro_node *node,
                        struct jinja_value *values, struct jinja_scope *scope)
{
    uint32_t first_default = node->params.n - node->defaults.n;
    for (uint32_t i = 0; i < node->params.n; i++) {
        if (jinja_is(&values[i], JINJA_ABSENT) && i >= first_default) {
            if (!jinja_eval(j, node->defaults.items[i - first_default], &values[i]))
                return false;
        } else if (jinja_is(&values[i], JINJA_ABSENT)) {
            const struct jinja_value *name = name_text(j, node->params.items[i]->name);
            values[i] = (struct jinja_value){.type = JINJA_UNDEFINED,
                                             .kind = JINJA_UNDEFINED_NAME,
                                             .n = name->n,
                                             .text = name->text};
        }
        if (!jinja_bind_name(j, scope, node->params.items[i]->name, values[i]))
            return false;
    }
    return true;
}

static bool macro_run(struct jinja *j, const struct jinja_macro_node *node,
                      const struct jinja_args *args, struct jinja_scope *scope,
                      struct jinja_value *out)
{
    struct jinja_value *values = jinja_alloc(j, node->params.n, sizeof *values);
    if (!values)
        return false;
    for (uint32_t i = 0; i < node->params.n && i < args->n; i++)
        values[i] = args->items[i];
    return sort_named(j, node, args, values, scope) && collect_varargs(j, node, args, scope) &&
           bind_params(j, node, values, scope) && jinja_capture(j, &node->body, scope, out);
}

bool jinja_macro_call(struct jinja *j, struct jinja_macro *macro, const struct jinja_args *args,
                      struct jinja_value *out)
{
    struct jinja_scope *scope = jinja_alloc(j, 1, sizeof *scope), *saved = j->scope;
    if (!scope)
        return false;
    scope->parent = macro->scope;
    j->scope = scope;
    bool ok = jinja_enter(j) && macro_run(j, macro->node, args, scope, out);
    jinja_leave(j);
    j->scope = saved;
    return ok;
}

static bool param_names(struct jinja *j, const struct jinja_macro_node *node,
                        struct jinja_value *out)
{
    struct jinja_list *list;
    if (!jinja_new_list(j, node->params.n, &list))
        return false;
    for (; list->n < node->params.n; list->n++)
        list->items[list->n] = *name_text(j, node->params.items[list->n]->name);
    *out = jinja_of_list(JINJA_TUPLE, list);
    return true;
}

bool jinja_macro_member(struct jinja *j, const struct jinja_macro *macro, const char *name,
                        size_t n, struct jinja_value *out)
{
    struct jinja_value key = jinja_own(name, n);
    if (jinja_is_text(&key, "name"))
        *out = *name_text(j, macro->node->name);
    else if (jinja_is_text(&key, "arguments"))
        return param_names(j, macro->node, out);
    else if (jinja_is_text(&key, "caller"))
        *out = jinja_bool(macro->node->uses_caller);
    else if (jinja_is_text(&key, "catch_kwargs"))
        *out = jinja_bool(macro->node->uses_kwargs);
    else if (jinja_is_text(&key, "catch_varargs"))
        *out = jinja_bool(macro->node->uses_varargs);
    else
        *out = jinja_undefined_member(JINJA_MACRO, name, (uint32_t)n);
    return true;
}
