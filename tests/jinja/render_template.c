/* Renders templates for scripts/check_templates: reads {"template", "context", "now"} from each
 * line of standard input and writes {"output"} or {"error"} as a line. */
#include "jinja/jinja.h"

#include <stdio.h>
#include <stdlib.h>

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
    bool written = reply && json_dumpf(reply, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF;
    json_decref(reply);
    jinja_template_destroy(t);
    buf_deinit(&out);
    return written;
}

int main(void)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    bool ok = setenv("TZ", "UTC", 1) == 0;
    while (ok && (n = getline(&line, &cap, stdin)) > 0) {
        json_t *request = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL);
        ok = json_is_object(request) && answer(request);
        json_decref(request);
    }
    free(line);
    return ok ? 0 : 1;
}
