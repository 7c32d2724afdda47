/* A model's own chat template: a Jinja template and the messages it is rendered with. Knows no
 * tokens. */
#include "chat/chat_template.h"

#include <stdlib.h>
#include <time.h>

struct chat_template {
    struct jinja_template *jinja;
    json_t *variables; /* an object */
    time_t now;        /* when it was created */
    char date[16];     /* its day */
};

struct chat_template *chat_template_create(const char *source, size_t n_bytes, struct error *err)
{
    struct chat_template *t = calloc(1, sizeof *t);
    if (!t) {
        error_set(err, ERROR_NO_MEMORY, "chat template: out of memory");
        return NULL;
    }
    struct tm local;
    t->now = time(NULL);
    if (localtime_r(&t->now, &local))
        strftime(t->date, sizeof t->date, "%Y-%m-%d", &local);
    t->variables = json_object();
    if (!t->variables)
        error_set(err, ERROR_NO_MEMORY, "chat template: out of memory");
    else
        t->jinja = jinja_template_create(source, n_bytes, err);
    if (t->jinja)
        return t;
    chat_template_destroy(t);
    return NULL;
}

void chat_template_destroy(struct chat_template *t)
{
    if (!t)
        return;
    jinja_template_destroy(t->jinja);
    json_decref(t->variables);
    free(t);
}

/* What a conversation fills in. */
static const char *const filled[] = {"messages",  "tools",     "documents", "add_generation_prompt",
                                     "bos_token", "eos_token", NULL};

bool chat_template_set_variables(struct chat_template *t, const char *json, struct error *err)
{
    json_error_t at;
    json_t *variables = json_loads(json, JSON_REJECT_DUPLICATES, &at);
    if (!json_is_object(variables)) {
        json_decref(variables);
        return error_set(err, ERROR_INPUT,
                         "the template's variables should be a JSON object such as "
                         "{\"enable_thinking\": false}");
    }
    for (const char *const *name = filled; *name; name++)
        if (json_object_get(variables, *name)) {
            json_decref(variables);
            return error_set(err, ERROR_INPUT,
                             "the template's variable '%s' is the conversation's own", *name);
        }
    json_decref(t->variables);
    t->variables = variables;
    return true;
}

const json_t *chat_template_variables(const struct chat_template *t)
{
    return t->variables;
}

const char *chat_template_date(const struct chat_template *t)
{
    return t->date;
}

bool chat_template_mentions(const struct chat_template *t, const char *name)
{
    return jinja_template_mentions(t->jinja, name);
}

bool chat_template_render(const struct chat_template *t, const json_t *context,
                          const struct jinja_notes *notes, struct buf *out, struct buf *marks,
                          struct error *err)
{
    struct jinja_limits limits = jinja_limits_default();
    limits.now = t->now;
    return jinja_template_render(t->jinja, context, notes, &limits, out, marks, err);
}
