/* Fuzzes the template engine: any bytes are a template, rendered with a conversation that has
 * something of everything. Limits are small, so that a slow template is found as a slow input. One
 * string of the context is the caller's own, one is mixed, one is a number; all others are data, so
 * that letters which only they have must be marked as such. */
#include "jinja/jinja.h"

#include <stdint.h>
#include <stdlib.h>

static const char conversation[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Be \\u00fc brief.\"},"
    "{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"Hi\"}]},"
    "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"function\": {\"name\": \"f\","
    "\"arguments\": {\"x\": 1, \"y\": [true, 2.5, \"z\"]}}}]}],"
    "\"tools\": [{\"name\": \"f\", \"parameters\": {\"type\": \"object\", \"properties\": {}}}],"
    "\"m\": \"[\\u00df]\", \"big\": \"12345678901234567890123\", \"s\": \"a,b c\\n<\\u4e16>\", "
    "\"n\": 7, \"f\": 0.1, \"d\": {\"k\": 1, \"l\": [3, 1, 2]},"
    "\"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"add_generation_prompt\": true}";

static struct jinja_notes *note(json_t *context)
{
    struct jinja_notes *notes = jinja_notes_create();
    if (!notes)
        abort();
    jinja_notes_own(notes, json_object_get(context, "bos_token"));
    jinja_notes_mixed(notes, json_object_get(context, "m"), (const uint8_t[]){0, 1, 1, 0});
    jinja_notes_number(notes, json_object_get(context, "big"));
    return notes;
}

/* Letters that a source of ASCII without escapes does not have come from the context alone. */
static void check_marks(const uint8_t *source, size_t n, const struct buf *out,
                        const struct buf *marks)
{
    bool plain = true;
    for (size_t i = 0; i < n; i++)
        plain = plain && source[i] < 0x80 && source[i] != '\\' && source[i] != '%';
    if (marks->len != out->len)
        abort();
    for (size_t i = 0; i < out->len; i++) {
        unsigned mark = (unsigned char)marks->data[i];
        if (mark > 1 || (plain && (unsigned char)out->data[i] >= 0x80 && !mark))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static json_t *context;
    static struct jinja_notes *notes;
    struct jinja_limits limits = {
        .max_steps = 200000, .max_bytes = 4 << 20, .max_depth = 200, .now = 1};
    struct error err = {0};
    struct buf out, marks;
    if (!context && !(context = json_loads(conversation, 0, NULL)))
        abort();
    notes = notes ? notes : note(context);
    struct jinja_template *t = jinja_template_create((const char *)data, size, &err);
    buf_init(&out, 1 << 20);
    buf_init(&marks, 1 << 20);
    bool ok = t && jinja_template_render(t, context, notes, &limits, &out, &marks, &err);
    if (ok ? buf_failed(&out) : err.code == ERROR_NONE || out.len != 0)
        abort(); /* a failure without a reason, or with something appended */
    check_marks(data, size, &out, &marks);
    buf_deinit(&out);
    buf_deinit(&marks);
    jinja_template_destroy(t);
    return 0;
}
