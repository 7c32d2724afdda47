/* Fuzzes the template engine: any bytes are a template, rendered with a conversation that has
 * something of everything. Limits are small, so that a slow template is found as a slow input. */
#include "jinja/jinja.h"

#include <stdint.h>
#include <stdlib.h>

static const char conversation[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Be \\u00fc brief.\"},"
    "{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"Hi\"}]},"
    "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"function\": {\"name\": \"f\","
    "\"arguments\": {\"x\": 1, \"y\": [true, 2.5, \"z\"]}}}]}],"
    "\"tools\": [{\"name\": \"f\", \"parameters\": {\"type\": \"object\", \"properties\": {}}}],"
    "\"s\": \"a,b c\\n<\\u4e16>\", \"n\": 7, \"f\": 0.1, \"d\": {\"k\": 1, \"l\": [3, 1, 2]},"
    "\"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"add_generation_prompt\": true}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static json_t *context;
    struct jinja_limits limits = {
        .max_steps = 200000, .max_bytes = 4 << 20, .max_depth = 200, .now = 1};
    struct error err = {0};
    struct buf out;
    if (!context && !(context = json_loads(conversation, 0, NULL)))
        abort();
    struct jinja_template *t = jinja_template_create((const char *)data, size, &err);
    buf_init(&out, 1 << 20);
    bool ok = t && jinja_template_render(t, context, NULL, &limits, &out, NULL, &err);
    if (ok ? buf_failed(&out) : err.code == ERROR_NONE || out.len != 0)
        abort(); /* a failure without a reason, or with something appended */
    buf_deinit(&out);
    jinja_template_destroy(t);
    return 0;
}
