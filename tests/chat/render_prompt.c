/* Serves conversations through templates for scripts/check_templates: reads {"template"}, a line of
 * standard input, with {"bodies": [of the Messages API, as text]}, and writes a line of
 * {"repairs", "variables", "history", "texts": [text or {"error"}]}. */
#include "chat/prompt.h"
#include "claude/request.h"
#include "speaker.h"
#include "support/json_lines.h"

static json_t *text_of(const struct prompt *p, const char *body, size_t n)
{
    struct request r;
    struct buf out, marks;
    struct error err = {0};
    json_t *reply = NULL;
    buf_init(&out, 64 << 20);
    buf_init(&marks, 64 << 20);
    if (!request_parse(&r, body, n, false, &err))
        reply = json_pack("{s:s}", "refused", err.message);
    else if (!prompt_render(p, &r.conversation, &out, &marks, &err))
        reply = json_pack("{s:s}", "error", err.message);
    else
        reply = json_stringn(out.data, out.len);
    request_deinit(&r);
    buf_deinit(&out);
    buf_deinit(&marks);
    return reply;
}

static json_t *note(const struct prompt *p, void (*of)(const struct prompt *p, struct buf *out))
{
    struct buf text;
    buf_init(&text, 1 << 20);
    of(p, &text);
    json_t *string = json_string(text.data ? text.data : "");
    buf_deinit(&text);
    return string;
}

static bool answer(const json_t *request)
{
    struct speaker s;
    struct prompt p;
    json_t *texts = json_array(), *body;
    size_t i;
    speaker_open(&s, json_string_value(json_object_get(request, "template")));
    speaker_prompt(&s, &p);
    json_array_foreach(json_object_get(request, "bodies"), i, body) json_array_append_new(
        texts, text_of(&p, json_string_value(body), json_string_length(body)));
    json_t *reply = json_pack("{s:o, s:o, s:s, s:o}", "repairs", note(&p, prompt_repairs_note),
                              "variables", note(&p, prompt_variables_note), "history",
                              prompt_history_note(&p), "texts", texts);
    const bool written = json_lines_write(reply);
    prompt_deinit(&p);
    speaker_close(&s);
    return written;
}

int main(void)
{
    return json_lines_serve(answer);
}
