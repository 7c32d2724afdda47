/* Templates from source to text: compiling once, rendering many times. The work is in the parser
 * and the evaluator; here are lifetimes and limits. */
#include "jinja/jinja.h"

#include "jinja/state.h"

#include <stdlib.h>

enum {
    MAX_SOURCE = 1 << 20, /* real templates have up to 20 KB */
    MAX_COMPILED = 128 << 20,
    DEFAULT_STEPS =
        20000000, /* a second or less; a prompt of 1 MB with 100 messages takes 50,000 */
    DEFAULT_BYTES = 64 << 20,
    DEFAULT_DEPTH = 600, /* of evaluation; C stack below 1 MB */
};

struct jinja_limits jinja_limits_default(void)
{
    return (struct jinja_limits){
        .max_steps = DEFAULT_STEPS, .max_bytes = DEFAULT_BYTES, .max_depth = DEFAULT_DEPTH};
}

/* jinja2 reads every kind of line break as \n, and drops one at the very end. */
static char *normalize_newlines(struct arena *arena, const char *source, size_t n, size_t *n_out)
{
    char *text = arena_alloc(arena, n + 1);
    size_t length = 0;
    for (size_t i = 0; text && i < n; i++) {
        if (source[i] == '\r') {
            text[length++] = '\n';
            i += i + 1 < n && source[i + 1] == '\n';
        } else {
            text[length++] = source[i];
        }
    }
    if (length && text[length - 1] == '\n')
        length--;
    *n_out = length;
    return text;
}

struct jinja_template *jinja_template_create(const char *source, size_t n_bytes, struct error *err)
{
    if (n_bytes > MAX_SOURCE) {
        error_set(err, ERROR_TOO_LARGE, "chat template: the source has %zu bytes, more than %d",
                  n_bytes, MAX_SOURCE);
        return NULL;
    }
    struct jinja_template *t = calloc(1, sizeof *t);
    if (!t) {
        error_set(err, ERROR_NO_MEMORY, "chat template: out of memory");
        return NULL;
    }
    size_t n;
    arena_init(&t->arena, MAX_COMPILED);
    char *text = normalize_newlines(&t->arena, source, n_bytes, &n);
    if (!text)
        error_set(err, ERROR_NO_MEMORY, "chat template: out of memory");
    if (!text || !jinja_parse(t, text, n, err)) {
        jinja_template_destroy(t);
        return NULL;
    }
    return t;
}

void jinja_template_destroy(struct jinja_template *t)
{
    if (t)
        arena_deinit(&t->arena);
    free(t);
}

/* Drops what a failed render appended. */
static void take_back(struct buf *out, size_t n_before)
{
    if (out->data) {
        out->len = n_before;
        out->data[n_before] = '\0';
    }
    out->failed = false;
}

bool jinja_template_render(const struct jinja_template *t, const json_t *context,
                           const struct jinja_limits *limits, struct buf *out, struct error *err)
{
    struct jinja j = {.template = t,
                      .context = context,
                      .limits = limits ? *limits : jinja_limits_default(),
                      .out = out,
                      .err = err};
    size_t n_before = out->len;
    if (buf_failed(out))
        return error_set(err, ERROR_NO_MEMORY, "chat template: the output is full already");
    arena_init(&j.arena, j.limits.max_bytes);
    j.globals = jinja_alloc(&j, t->names->n, sizeof *j.globals);
    bool ok = j.globals && jinja_exec(&j, &t->body) == JINJA_NEXT;
    if (!ok)
        take_back(out, n_before);
    arena_deinit(&j.arena);
    return ok;
}
