/* Any bytes as the body of a request, and any bytes as a model's answer to it: refused or taken,
 * within bounds, and the answer means the same however it is cut. The body ends at the first zero.
 */
#include "chat/answer.h"
#include "chat/dialog.h"
#include "chat/json_exact.h"
#include "chat/repeat_guard.h"
#include "claude/request.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char default_body[] =
    "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],"
    "\"stop_sequences\":[\"END\",\"\\n\\n\"],\"tools\":[{\"name\":\"Write\",\"input_schema\":{}},"
    "{\"name\":\"Bash\",\"input_schema\":{}}]}";

static void on_text(void *context, const char *bytes, size_t n)
{
    if (!n)
        abort();
    buf_append(context, bytes, n);
}

static void on_thinking(void *context, const char *bytes, size_t n)
{
    (void)context, (void)bytes, (void)n;
    abort(); /* no dialect has thoughts */
}

/* What is told of a call; its arguments must be JSON whatever the model wrote. */
static struct buf arguments;

static void on_call_begin(void *context, const char *name, bool marked)
{
    buf_printf(context, "<%s %d ", name, marked);
    buf_init(&arguments, 1 << 26);
}

static void on_call_bytes(void *context, const char *bytes, size_t n)
{
    buf_append(context, bytes, n);
    buf_append(&arguments, bytes, n);
}

static void on_call_end(void *context, bool is_whole)
{
    json_t *value = json_exact_load(arguments.data, arguments.len, NULL);
    /* jansson has no keys with zeros */
    if (!json_is_object(value) && !memmem(arguments.data, arguments.len, "\\u0000", 6))
        abort();
    json_decref(value);
    buf_deinit(&arguments);
    buf_puts(context, is_whole ? ">" : " cut>");
}

static void on_repeats(void *context, const char *name)
{
    buf_printf(context, "<again %s>", name);
}

static void answer(const struct request *r, const char *bytes, size_t n, size_t step,
                   struct buf *told)
{
    const struct answer_options options = {
        .tools = {r->conversation.tools, conversation_n_offered(&r->conversation)},
        .stops = r->stops,
        .n_stops = r->n_stops,
        .one_call = r->conversation.one_call,
        .dialects = &dialects_known,
        .own_dialects = 1,
    };
    const struct answer_sink sink = {told,          on_text,     on_thinking, on_call_begin,
                                     on_call_bytes, on_call_end, on_repeats};
    struct answer a;
    buf_init(told, 1 << 24);
    if (!answer_init(&a, &options, &sink))
        abort();
    for (size_t at = 0; at < n; at += step)
        if (!answer_feed(&a, bytes + at, n - at < step ? n - at : step))
            break;
    answer_finish(&a);
    answer_deinit(&a);
}

static void answer_both_ways(const struct request *r, const char *bytes, size_t n)
{
    struct buf whole, cut;
    answer(r, bytes, n, n ? n : 1, &whole);
    answer(r, bytes, n, 1, &cut);
    if (whole.len != cut.len || (whole.len && memcmp(whole.data, cut.data, whole.len) != 0))
        abort();
    buf_deinit(&whole);
    buf_deinit(&cut);
}

static void use(struct request *r)
{
    static const struct dialog_format formats[] = {
        {.tools = true, .system = true, .mid_system = true, .dialect = &dialect_hermes},
        {.dialect = &dialect_hermes, .parts = true, .opening = ""},
        {.tools = true,
         .dialect = &dialect_hermes,
         .thoughts = DIALOG_THINKING_PART,
         .arguments_as_text = true,
         .short_ids = true,
         .one_call = true,
         .joins_thoughts = true,
         .results_first = true,
         .folds_user = true,
         .answers_calls = true,
         .opening = "."}};
    struct repeat_guard guard;
    repeat_guard_init(&guard, &r->conversation, 2);
    const struct dialog_options options = {
        .tail = conversation_is_continued(&r->conversation) ? "tail" : NULL};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        json_decref(dialog_messages(&r->conversation, &formats[i], &options));
        json_decref(dialog_tools(&r->conversation, &formats[i]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct request r;
    struct error err = {0};
    const char *bytes = (const char *)data;
    const char *split = memchr(bytes, 0, size);
    size_t n_body = split ? (size_t)(split - bytes) : size;
    if (request_parse(&r, bytes, n_body, false, &err)) {
        use(&r);
        if (split)
            answer_both_ways(&r, split + 1, size - n_body - 1);
        request_deinit(&r);
    } else if (err.code == ERROR_NONE || !err.message[0]) {
        abort();
    }
    if (!request_parse(&r, default_body, sizeof default_body - 1, false, &err))
        abort();
    answer_both_ways(&r, bytes, size);
    request_deinit(&r);
    return 0;
}
