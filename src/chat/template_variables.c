#include "chat/template_variables.h"

#include "chat/trial.h"

#include <string.h>

enum { RENDER_MAX_BYTES = 1 << 20 };

/* What is tried: conversations of every kind, asked to go on and not. */
static const char *const trials[] = {"Su", "Sutau", "Sutcrtau", "Sutcr"};
enum { N_TRIALS = sizeof trials / sizeof *trials };

/* 1: the same text; 0: another; -1: it raises. Raising as it did without them is the same. */
static int compare_trial(const struct render_setup *s, const char *pattern, json_t *variables)
{
    const struct trial_options with = {.has_tools = s->format.tools, .variables = variables},
                               without = {.has_tools = s->format.tools};
    struct buf a, b;
    buf_init(&a, RENDER_MAX_BYTES);
    buf_init(&b, RENDER_MAX_BYTES);
    const bool renders = trial_render(s, pattern, &with, &a),
               did = trial_render(s, pattern, &without, &b);
    int result;
    if (renders && did)
        result = a.len == b.len && !memcmp(a.data, b.data, a.len);
    else
        result = renders ? 0 : did ? -1 : 1;
    buf_deinit(&a);
    buf_deinit(&b);
    return result;
}

bool template_variables_matter(const struct render_setup *s, json_t *variables)
{
    for (size_t i = 0; i < N_TRIALS; i++)
        if (compare_trial(s, trials[i], variables) == 0)
            return true;
    return false;
}

static bool is_refused(const struct render_setup *s, json_t *variables)
{
    for (size_t i = 0; i < N_TRIALS; i++)
        if (compare_trial(s, trials[i], variables) < 0)
            return true;
    return false;
}

/* ---- whether to think ---- */

static const struct {
    const char *name;
    const char *off, *adaptive, *on; /* JSON */
} switches[] = {
    {"enable_thinking", "false", "true", "true"},
    {"thinking", "false", "true", "true"},
    {"thinking_mode", "\"disabled\"", "\"adaptive\"", "\"enabled\""},
    {"thinking_option", "\"off\"", "\"on\"", "\"on\""},
    {"thinking_budget", "0", NULL, NULL},
};

static json_t *one_variable(const char *name, const char *value)
{
    return json_pack("{s:o}", name, json_loads(value, JSON_DECODE_ANY, NULL));
}

/* The template reads it if switching changes something. */
static bool reads_switch(const struct render_setup *s, const char *name, const char *value)
{
    json_t *variables = value ? one_variable(name, value) : NULL;
    const bool reads = variables && template_variables_matter(s, variables);
    json_decref(variables);
    return reads;
}

static bool add_variable(json_t **object, const char *name, json_t *value)
{
    if (!*object)
        *object = json_object();
    return !json_object_set_new(*object, name, value);
}

static bool add_switch(json_t **object, const char *name, const char *value)
{
    return !value || add_variable(object, name, json_loads(value, JSON_DECODE_ANY, NULL));
}

static bool find_switches(struct template_variables *v, const struct render_setup *s)
{
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++) {
        const char *name = switches[i].name;
        if (!chat_template_mentions(s->chat_template, name) ||
            (!reads_switch(s, name, switches[i].off) && !reads_switch(s, name, switches[i].on)))
            continue;
        if (!add_switch(&v->thinking[CONVERSATION_THINKING_OFF], name, switches[i].off) ||
            !add_switch(&v->thinking[CONVERSATION_THINKING_ADAPTIVE], name,
                        switches[i].adaptive) ||
            !add_switch(&v->thinking[CONVERSATION_THINKING_ON], name, switches[i].on))
            return false;
    }
    return true;
}

/* ---- how much ---- */

static const char *const efforts[] = {"reasoning_effort", "thinking_effort", "reasoning_strength"};
/* The words for each effort; templates raise at those that they don't know. */
static const char *const effort_words[CONVERSATION_EFFORTS][5] = {
    [CONVERSATION_EFFORT_LOW] = {"low", "minimal", "medium"},
    [CONVERSATION_EFFORT_MEDIUM] = {"medium", "high", "low"},
    [CONVERSATION_EFFORT_HIGH] = {"high", "xhigh", "max", "medium"},
    [CONVERSATION_EFFORT_XHIGH] = {"xhigh", "max", "high"},
    [CONVERSATION_EFFORT_MAX] = {"max", "xhigh", "high"},
};

/* One of the words changes something. */
static bool reads_effort(const struct render_setup *s, const char *name)
{
    return chat_template_mentions(s->chat_template, name) &&
           (reads_switch(s, name, "\"low\"") || reads_switch(s, name, "\"high\"") ||
            reads_switch(s, name, "\"max\""));
}

/* Templates that take any word were taught three. */
static bool takes_any_word(const struct render_setup *s, const char *name)
{
    json_t *variables = one_variable(name, "\"trial\"");
    const bool takes = variables && !is_refused(s, variables);
    json_decref(variables);
    return takes;
}

static bool is_taught(const char *word)
{
    return !strcmp(word, "low") || !strcmp(word, "medium") || !strcmp(word, "high");
}

static bool find_effort(json_t **object, const struct render_setup *s, const char *name,
                        const char *const *words, bool takes_any)
{
    for (; *words; words++) {
        json_t *variables = json_pack("{s:s}", name, *words);
        const bool fits = variables && (takes_any ? is_taught(*words) : !is_refused(s, variables));
        json_decref(variables);
        if (!fits)
            continue;
        return add_variable(object, name, json_string(*words));
    }
    return true;
}

static bool find_efforts(struct template_variables *v, const struct render_setup *s)
{
    for (size_t i = 0; i < sizeof efforts / sizeof *efforts; i++) {
        if (!reads_effort(s, efforts[i]))
            continue;
        const bool takes_any = takes_any_word(s, efforts[i]);
        for (size_t k = CONVERSATION_EFFORT_LOW; k < CONVERSATION_EFFORTS; k++)
            if (!find_effort(&v->effort[k], s, efforts[i], effort_words[k], takes_any))
                return false;
    }
    return true;
}

/* ---- the whole ---- */

bool template_variables_init(struct template_variables *v, const struct render_setup *s)
{
    *v = (struct template_variables){0};
    if (find_switches(v, s) && find_efforts(v, s))
        return true;
    template_variables_deinit(v);
    return false;
}

void template_variables_deinit(struct template_variables *v)
{
    for (size_t i = 0; i <= CONVERSATION_THINKING_ON; i++)
        json_decref(v->thinking[i]);
    for (size_t i = 0; i < CONVERSATION_EFFORTS; i++)
        json_decref(v->effort[i]);
    *v = (struct template_variables){0};
}

json_t *template_variables_of(const struct template_variables *v, const struct conversation *c,
                              const json_t *set, bool *failed)
{
    json_t *thinking = v->thinking[c->thinking], *effort = v->effort[c->effort], *out, *value;
    const char *name;
    *failed = false;
    if (!thinking && !effort)
        return NULL;
    out = effort ? json_deep_copy(effort) : json_object();
    *failed = !out;
    json_object_foreach(thinking, name, value)
    {
        if (c->thinking != CONVERSATION_THINKING_ADAPTIVE || !json_object_get(set, name))
            *failed |= json_object_set_new(out, name, json_deep_copy(value)) != 0;
    }
    if (*failed) {
        json_decref(out);
        out = NULL;
    }
    return out;
}
