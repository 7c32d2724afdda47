/* See recommended.h. */
#include "cli/recommended.h"

#include "base/json_tree.h"

#include <string.h>

enum { RECOMMENDED_MAX_VALUES = 4096 };

/* ---- the template ---- */

struct template_choice {
    struct weights_string plain, tool_use; /* empty when missing */
};

static struct weights_string template_string(const struct json_tree_value *v)
{
    return json_tree_is(v, JSON_TREE_STRING) ? (struct weights_string){v->text, v->len}
                                             : (struct weights_string){0};
}

/* A string, or a list of {"name": …, "template": …}. */
static void template_take(struct template_choice *c, const struct json_tree_value *v)
{
    c->plain = template_string(v);
    if (!json_tree_is(v, JSON_TREE_ARRAY))
        return;
    for (size_t i = 0; i < v->n_items; i++) {
        const struct json_tree_value *item = json_tree_item(v, i),
                                     *name = json_tree_member(item, "name");
        const struct weights_string text = template_string(json_tree_member(item, "template"));
        if (json_tree_equals(name, "default"))
            c->plain = text;
        else if (json_tree_equals(name, "tool_use"))
            c->tool_use = text;
    }
}

/* Jinja drops one newline at a template's end. */
static void template_append_inner(struct buf *out, struct weights_string s)
{
    buf_append(out, s.data, s.len - (s.len && s.data[s.len - 1] == '\n'));
}

/* The empty expressions keep the tags from taking the templates' own newlines and blanks away. */
static bool template_write(const struct template_choice *c, struct buf *out, struct error *err)
{
    const bool knows_tools = c->plain.len && memmem(c->plain.data, c->plain.len, "tools", 5);
    if (!c->plain.len || !c->tool_use.len || knows_tools) {
        const struct weights_string one = c->plain.len ? c->plain : c->tool_use;
        if (one.len)
            buf_append(out, one.data, one.len);
    } else {
        buf_puts(out, "{% if tools %}{{ '' }}");
        template_append_inner(out, c->tool_use);
        buf_puts(out, "{{ '' }}{% else %}{{ '' }}");
        template_append_inner(out, c->plain);
        buf_puts(out, "{{ '' }}{% endif %}");
    }
    return !buf_failed(out) || error_set(err, ERROR_TOO_LARGE, "the chat template is too large");
}

/* chat_template.json: {"chat_template": …}. */
static bool template_of_json(struct weights_string text, struct buf *out, struct error *err)
{
    struct template_choice c = {0};
    struct json_tree tree;
    if (!json_tree_read(&tree, text.data, text.len, RECOMMENDED_MAX_VALUES, err))
        return error_prefix(err, "chat_template.json");
    template_take(&c, json_tree_member(tree.values, "chat_template"));
    bool ok = template_write(&c, out, err);
    json_tree_deinit(&tree);
    return ok;
}

static bool template_of_folder(const struct weights *w, struct buf *out, const char **from,
                               struct error *err)
{
    struct template_choice c = {0};
    struct weights_string text;
    if (weights_text(w, "chat_template.jinja", &c.plain) && c.plain.len) {
        *from = "chat_template.jinja";
        return template_write(&c, out, err);
    }
    template_take(&c, weights_config(w, "tokenizer.chat_template"));
    *from = "tokenizer_config.json";
    if (c.plain.len || c.tool_use.len)
        return template_write(&c, out, err);
    *from = "chat_template.json";
    return !weights_text(w, "chat_template.json", &text) || template_of_json(text, out, err);
}

bool recommended_template(const struct weights *w, struct buf *out, const char **from,
                          struct error *err)
{
    const char *ignored;
    struct template_choice c = {0};
    from = from ? from : &ignored;
    if (weights_format(w) == WEIGHTS_SAFETENSORS)
        return template_of_folder(w, out, from, err);
    *from = "tokenizer.chat_template";
    weights_string(w, "tokenizer.chat_template", &c.plain);
    weights_string(w, "tokenizer.chat_template.tool_use", &c.tool_use);
    return template_write(&c, out, err);
}

/* ---- sampling ---- */

/* Either kind of file, by its own name. */
struct sampling_name {
    const char *gguf, *folder;
};

static bool sampling_number(const struct weights *w, struct sampling_name name, float *out)
{
    return weights_format(w) == WEIGHTS_SAFETENSORS ? weights_config_float(w, name.folder, out)
                                                    : weights_float(w, name.gguf, out);
}

/* Within [least, most], which NaN is not. */
static void sampling_take(const struct weights *w, struct sampling_name name, float least,
                          float most, float *out)
{
    float x;
    if (sampling_number(w, name, &x) && x >= least && x <= most)
        *out = x;
}

void recommended_sampling(const struct weights *w, struct engine_sampling *s)
{
    static const struct sampling_name temperature = {"general.sampling.temp",
                                                     "generation.temperature"},
                                      top_p = {"general.sampling.top_p", "generation.top_p"},
                                      min_p = {"general.sampling.min_p", "generation.min_p"},
                                      repeat = {"general.sampling.penalty_repeat",
                                                "generation.repetition_penalty"};
    uint64_t top_k;
    bool samples;
    sampling_take(w, temperature, 0, 100, &s->temperature);
    sampling_take(w, top_p, 0, 1, &s->top_p);
    sampling_take(w, min_p, 0, 1, &s->min_p);
    sampling_take(w, repeat, 0, 100, &s->repeat_penalty);
    if ((weights_uint(w, "general.sampling.top_k", &top_k) ||
         weights_config_uint(w, "generation.top_k", &top_k)) &&
        top_k <= UINT32_MAX)
        s->top_k = (uint32_t)top_k;
    if (weights_config_bool(w, "generation.do_sample", &samples) && !samples)
        s->temperature = 0;
}
