#include "chat/render.h"

#include "chat/json_exact.h"

enum { FUNCTIONS_MAX_BYTES = 96 << 20 };

static bool no_memory(struct error *err)
{
    return error_set(err, ERROR_NO_MEMORY, "out of memory for the prompt");
}

static void note_number(void *notes, json_t *string)
{
    jinja_notes_number(notes, string);
}

/* The token that the template may write as its own. */
static json_t *own_string(struct jinja_notes *notes, const char *text)
{
    json_t *string = json_string(text);
    jinja_notes_own(notes, string);
    return string;
}

/* Copies: other threads render with the same variables. What the operator set is his own word. */
static bool add_variables(json_t *context, const json_t *variables, struct jinja_notes *notes)
{
    const char *name;
    json_t *value, *copy = json_deep_copy(variables);
    bool ok = copy;
    json_object_foreach(copy, name, value)
    {
        jinja_notes_own(notes, value);
        ok = ok && (json_object_get(context, name) || !json_object_set(context, name, value));
    }
    json_decref(copy);
    return ok;
}

/* As Firefunction has them. The date is the template's own (strftime_now), and here its day. */
static bool add_functions(json_t *context, const struct render_setup *s, const json_t *tools)
{
    struct buf text;
    buf_init(&text, FUNCTIONS_MAX_BYTES);
    if (json_is_array(tools))
        json_exact_write(&text, tools, JSON_EXACT_SPACED);
    else
        buf_puts(&text, "[]");
    bool ok = !buf_failed(&text) &&
              !json_object_set_new(context, "functions", json_stringn(text.data, text.len)) &&
              !json_object_set_new(context, "datetime",
                                   json_string(chat_template_date(s->chat_template)));
    buf_deinit(&text);
    return ok;
}

/* Takes messages and tools; NULL of either is out of memory. */
static json_t *render_context(const struct render_setup *s, const struct render_options *o,
                              json_t *messages, json_t *tools, struct jinja_notes *notes)
{
    json_t *context = NULL;
    if (messages && tools)
        context = json_pack("{s:o, s:o, s:b, s:o, s:o, s:n}", "messages",
                            json_exact_view(messages, note_number, notes), "tools",
                            json_exact_view(tools, note_number, notes), "add_generation_prompt",
                            !o->is_closed && !o->tail, "bos_token", own_string(notes, s->bos),
                            "eos_token", own_string(notes, s->eos), "documents");
    bool ok = context && (!s->format.functions || add_functions(context, s, tools));
    json_decref(messages);
    json_decref(tools);
    if (!ok || ((o->variables && !add_variables(context, o->variables, notes)) ||
                (s->variables && !add_variables(context, s->variables, notes)))) {
        json_decref(context);
        return NULL;
    }
    return context;
}

static bool render_noted(const struct render_setup *s, const struct conversation *c,
                         const struct render_options *o, struct veil *veil,
                         struct jinja_notes *notes, struct buf *out, struct buf *marks,
                         struct error *err)
{
    const struct dialog_options options = {o->marks, o->tail, veil, notes};
    json_t *context = render_context(s, o, dialog_messages(c, &s->format, &options),
                                     dialog_tools(c, &s->format), notes);
    bool ok = context ? chat_template_render(s->chat_template, context, notes, out, marks, err)
                      : no_memory(err);
    json_decref(context);
    return ok && (!veil || veil_lift(veil, out, marks) || no_memory(err));
}

static bool render_once(const struct render_setup *s, const struct conversation *c,
                        const struct render_options *o, bool is_veiled, struct buf *out,
                        struct buf *marks, struct error *err)
{
    struct jinja_notes *notes = jinja_notes_create();
    struct veil veil;
    if (!notes)
        return no_memory(err);
    veil_init(&veil);
    bool ok = render_noted(s, c, o, is_veiled ? &veil : NULL, notes, out, marks, err);
    veil_deinit(&veil);
    jinja_notes_destroy(notes);
    return ok;
}

static bool template_raised(const struct error *err)
{
    return err->code == ERROR_INPUT || err->code == ERROR_FORMAT || err->code == ERROR_UNSUPPORTED;
}

/* What is left to try: see render.h. */
static bool render_otherwise(const struct render_setup *s, const struct conversation *c,
                             const struct render_options *o, struct buf *out, struct buf *marks)
{
    struct render_setup words = *s, strict = *s;
    words.format.tools = false;
    strict.format = (struct dialog_format){.dialect = s->format.dialect,
                                           .functions = s->format.functions,
                                           .empty_tools = s->format.empty_tools,
                                           .parts = s->format.parts,
                                           .opening = "."};
    const struct {
        const struct render_setup *setup;
        bool is_veiled;
    } tries[] = {{&words, false}, {s, true}, {&strict, true}};
    for (size_t i = s->format.tools ? 0 : 1; i < sizeof tries / sizeof *tries; i++)
        if (render_once(tries[i].setup, c, o, tries[i].is_veiled, out, marks, NULL))
            return true;
    return false;
}

bool render_conversation(const struct render_setup *s, const struct conversation *c,
                         const struct render_options *options, struct buf *out, struct buf *marks,
                         struct error *err)
{
    static const struct render_options none;
    const struct render_options *o = options ? options : &none;
    struct error first = {0};
    if (render_once(s, c, o, false, out, marks, &first))
        return true;
    if (!o->is_as_it_is && template_raised(&first) && render_otherwise(s, c, o, out, marks))
        return true;
    if (err)
        *err = first;
    return false;
}
