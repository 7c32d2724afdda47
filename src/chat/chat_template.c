/* A model's own chat template: a Jinja template and the messages it is rendered with. Knows no
 * tokens. */
#include "chat/chat_template.h"

#include <stdlib.h>

struct chat_template {
    struct jinja_template *jinja;
};

struct chat_template *chat_template_create(const char *source, size_t n_bytes, struct error *err)
{
    struct chat_template *t = calloc(1, sizeof *t);
    if (!t) {
        error_set(err, ERROR_NO_MEMORY, "chat template: out of memory");
        return NULL;
    }
    t->jinja = jinja_template_create(source, n_bytes, err);
    if (!t->jinja) {
        free(t);
        return NULL;
    }
    return t;
}

void chat_template_destroy(struct chat_template *t)
{
    if (t)
        jinja_template_destroy(t->jinja);
    free(t);
}

bool chat_template_render(const struct chat_template *t, const json_t *context,
                          const struct jinja_notes *notes, struct buf *out, struct buf *marks,
                          struct error *err)
{
    return jinja_template_render(t->jinja, context, notes, NULL, out, marks, err);
}
