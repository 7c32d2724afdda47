/* Renders templates for scripts/check_templates: reads {"template", "context", "now"} from each
 * line of standard input and writes {"output"} or {"error"} as a line. */
#include "jinja/jinja.h"
#include "support/json_lines.h"

static bool answer(const json_t *request)
{
    const json_t *source = json_object_get(request, "template");
    struct jinja_limits limits = jinja_limits_default();
    struct buf out;
    struct error err = {0};
    limits.now = json_integer_value(json_object_get(request, "now"));
    buf_init(&out, 64 << 20);
    struct jinja_template *t =
        jinja_template_create(json_string_value(source), json_string_length(source), &err);
    bool ok = t && jinja_template_render(t, json_object_get(request, "context"), NULL, &limits,
                                         &out, NULL, &err);
    json_t *reply = ok ? json_pack("{s:s%}", "output", out.data ? out.data : "", out.len)
                       : json_pack("{s:s}", "error", err.message);
    const bool written = json_lines_write(reply);
    jinja_template_destroy(t);
    buf_deinit(&out);
    return written;
}

int main(void)
{
    return setenv("TZ", "UTC", 1) == 0 ? json_lines_serve(answer) : 1;
}
