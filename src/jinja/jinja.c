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
    DEFAULT_BYTES = 128 << 20, /* a text where data and template mix takes twice its length */
    DEFAULT_DEPTH = 600,       /* of evaluation; C stack below 1 MB */
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

bool jinja_template_mentions(const struct jinja_template *t, const char *name)
{
    const struct jinja_value key = jinja_literal(name);
    return jinja_dict_find(t->names, &key);
}

/* Appends the finished text and its marks: both, or none. */
static bool hand_over(const struct jinja_text *text, struct buf *out, struct buf *marks,
                      struct error *err)
{
    size_t n = text->bytes.len;
    const uint8_t *whose = text->mixed ? (const uint8_t *)text->marks.data : text->alike;
    if (!buf_reserve(out, n) || (marks && !buf_reserve(marks, n)))
        return error_set(err, ERROR_NO_MEMORY, "chat template: no memory for %zu bytes", n);
    buf_append(out, text->bytes.data, n);
    if (marks && n) {
        jinja_marks_copy((uint8_t *)marks->data + marks->len, whose, n);
        marks->len += n;
    }
    return true;
}

bool jinja_template_render(const struct jinja_template *t, const json_t *context,
                           const struct jinja_notes *notes, const struct jinja_limits *limits,
                           struct buf *out, struct buf *marks, struct error *err)
{
    struct jinja_text text;
    struct jinja j = {.template = t,
                      .context = context,
                      .notes = notes,
                      .limits = limits ? *limits : jinja_limits_default(),
                      .out = &text,
                      .err = err};
    if (buf_failed(out) || (marks && buf_failed(marks)) || jinja_notes_failed(notes))
        return error_set(err, ERROR_NO_MEMORY,
                         "chat template: out of memory, or the output is full");
    size_t room = out->max - out->len;
    jinja_text_init(&text, room < j.limits.max_bytes ? room : j.limits.max_bytes);
    arena_init(&j.arena, j.limits.max_bytes);
    j.globals = jinja_alloc(&j, t->names->n, sizeof *j.globals);
    bool ok =
        j.globals && jinja_exec(&j, &t->body) == JINJA_NEXT && hand_over(&text, out, marks, err);
    jinja_text_deinit(&text);
    arena_deinit(&j.arena);
    return ok;
}
