/* The rows that the server gets, over a double of the claude: what reaches it, and what of its
 * calls becomes head, bytes and end of a reply. */
#include "claude/handlers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* ---- the claude's part ---- */

struct claude_call {
    bool is_stream, is_done, is_broken;
    int status, n_ticks, n_ends;
    const char *bytes; /* to be read */
};

static struct {
    struct claude_call call;
    char body[256], request_id[64];
    enum error_code refusal;
} claude;

static void take_body(const char *body, size_t n)
{
    assert_true(n < sizeof claude.body);
    memcpy(claude.body, body, n);
    claude.body[n] = 0;
}

struct claude_call *claude_call_start(struct claude *c, const char *body, size_t n_bytes,
                                      const char *request_id, void (*wake)(void *context),
                                      void *context, struct error *err)
{
    (void)c;
    take_body(body, n_bytes);
    strcpy(claude.request_id, request_id);
    wake(context);
    if (!claude.refusal)
        return &claude.call;
    error_set(err, claude.refusal, "it is refused");
    return NULL;
}

bool claude_call_is_stream(const struct claude_call *call)
{
    return call->is_stream;
}

size_t claude_call_read(struct claude_call *call, char *dst, size_t max)
{
    size_t n = strlen(call->bytes);
    n = n < max ? n : max;
    memcpy(dst, call->bytes, n);
    call->bytes += n;
    return n;
}

bool claude_call_done(const struct claude_call *call)
{
    return call->is_done;
}

bool claude_call_broken(const struct claude_call *call)
{
    return call->is_broken;
}

int claude_call_status(const struct claude_call *call)
{
    return call->status;
}

void claude_call_usage(const struct claude_call *call, struct engine_usage *out)
{
    (void)call;
    *out = (struct engine_usage){.n_prompt = 7, .n_cached = 3, .n_generated = 2};
}

void claude_call_tick(struct claude_call *call, int64_t now_ms)
{
    assert_int_equal(now_ms, 99);
    call->n_ticks++;
}

void claude_call_end(struct claude_call *call)
{
    call->n_ends++;
}

int claude_error_status(enum error_code code)
{
    return code == ERROR_NOT_FOUND ? 404 : code == ERROR_INPUT ? 400 : 500;
}

void claude_error_body(struct buf *out, int status, const struct error *err, const char *request_id)
{
    buf_printf(out, "its own %d: %s %s", status, err->message, request_id);
}

bool claude_count_tokens(struct claude *c, const char *body, size_t n_bytes, struct buf *out,
                         struct error *err)
{
    (void)c;
    take_body(body, n_bytes);
    if (claude.refusal)
        return error_set(err, claude.refusal, "it is refused");
    return buf_puts(out, "counted");
}

bool claude_models(struct claude *c, struct buf *out)
{
    (void)c;
    return buf_puts(out, "models");
}

bool claude_model(struct claude *c, const char *id, struct buf *out, struct error *err)
{
    (void)c;
    (void)err;
    return buf_printf(out, "model %s", id);
}

bool claude_metrics(struct claude *c, struct buf *out)
{
    (void)c;
    return buf_puts(out, "metrics");
}

/* ---- the server's part ---- */

static int n_wakes;

static void on_wake(void *context)
{
    assert_ptr_equal(context, &n_wakes);
    n_wakes++;
}

static const struct handler *row(const char *method, const char *path)
{
    struct handler_table t = claude_handlers(NULL);
    for (size_t i = 0; i < t.n; i++)
        if (!strcmp(t.rows[i].method, method) && !strcmp(t.rows[i].path, path))
            return &t.rows[i];
    fail_msg("no row %s %s", method, path);
    return NULL;
}

static bool ask(const char *method, const char *path, const char *body, struct reply *out,
                struct error *err)
{
    const struct handler_request r = {
        .method = method,
        .path = path,
        .rest = "some/name",
        .query = "",
        .body = body,
        .n_body = strlen(body),
        .request_id = "req_x",
        .wake = on_wake,
        .wake_context = &n_wakes,
    };
    *err = (struct error){0};
    return row(method, path)->start(NULL, &r, out, err);
}

static struct reply ask_message(const char *bytes, bool is_stream)
{
    struct reply reply;
    struct error err;
    claude.call = (struct claude_call){.is_stream = is_stream, .status = 200, .bytes = bytes};
    assert_true(ask("POST", "/v1/messages", "{}", &reply, &err));
    return reply;
}

static void assert_reads(struct reply *r, const char *wanted)
{
    char got[256];
    ptrdiff_t n = r->ops->read(r->context, got, sizeof got);
    assert_int_equal(n, strlen(wanted));
    assert_memory_equal(got, wanted, strlen(wanted));
}

static void assert_reads_code(struct reply *r, ptrdiff_t wanted)
{
    char got[256];
    assert_int_equal(r->ops->read(r->context, got, sizeof got), wanted);
}

static const char *header_of(const struct reply_head *h, const char *name)
{
    const char *at = NULL, *value;
    while ((at = reply_header_next(h, at, &value)))
        if (!strcmp(at, name))
            return value;
    return "";
}

static int set_up(void **state)
{
    (void)state;
    memset(&claude, 0, sizeof claude);
    n_wakes = 0;
    return 0;
}

/* ---- messages ---- */

static void a_stream_is_handed_on_as_it_is_made(void **state)
{
    struct reply r = ask_message("event: a\n\n", true);
    struct reply_head head;
    (void)state;
    assert_int_equal(n_wakes, 1);
    assert_string_equal(claude.request_id, "req_x");
    reply_head_init(&head);
    assert_true(r.ops->head(r.context, &head));
    assert_int_equal(head.status, 200);
    assert_int_equal(head.n_bytes, REPLY_UNKNOWN_BYTES);
    assert_string_equal(header_of(&head, "Content-Type"), "text/event-stream; charset=utf-8");
    assert_string_equal(header_of(&head, "Cache-Control"), "no-cache");
    assert_reads(&r, "event: a\n\n");
    assert_reads_code(&r, REPLY_NONE_NOW);
    r.ops->tick(r.context, 99);
    assert_int_equal(claude.call.n_ticks, 1);
    claude.call.is_done = true;
    claude.call.bytes = "event: b\n\n";
    assert_reads(&r, "event: b\n\n");
    assert_reads_code(&r, REPLY_END);
    r.ops->end(r.context);
    assert_int_equal(claude.call.n_ends, 1);
    reply_head_deinit(&head);
}

/* Only between two events, and not where bytes of its own tell as much. */
static void a_probe_is_a_comment_between_events(void **state)
{
    struct reply r = ask_message("", true);
    char few[4];
    (void)state;
    r.ops->probe(r.context);
    assert_reads(&r, ":\n\n");
    assert_reads_code(&r, REPLY_NONE_NOW);
    claude.call.bytes = "event: a\n\n";
    r.ops->probe(r.context);
    assert_int_equal(r.ops->read(r.context, few, sizeof few), 4);
    assert_reads(&r, "t: a\n\n");
    assert_reads_code(&r, REPLY_NONE_NOW);
    r.ops->probe(r.context);
    claude.call.is_done = true;
    assert_reads_code(&r, REPLY_END);
    r.ops->end(r.context);
}

static void a_whole_answer_waits_until_it_is_done(void **state)
{
    struct reply r = ask_message("{\"a\":1}", false);
    struct reply_head head;
    struct reply_usage usage;
    (void)state;
    reply_head_init(&head);
    assert_false(r.ops->head(r.context, &head));
    claude.call.is_done = true;
    claude.call.status = 529;
    assert_true(r.ops->head(r.context, &head));
    assert_int_equal(head.status, 529);
    assert_int_equal(head.n_bytes, 7);
    assert_string_equal(header_of(&head, "Content-Type"), "application/json");
    assert_reads(&r, "{\"a\":1}");
    assert_reads_code(&r, REPLY_END);
    r.ops->usage(r.context, &usage);
    assert_int_equal(usage.n, 3);
    assert_int_equal(usage.counts[1].value, 3);
    r.ops->end(r.context);
    reply_head_deinit(&head);
}

static void a_broken_answer_is_no_whole_one(void **state)
{
    struct reply stream = ask_message("event: a\n\n", true), whole;
    struct reply_head head;
    (void)state;
    claude.call.is_done = claude.call.is_broken = true;
    assert_reads(&stream, "event: a\n\n");
    assert_reads_code(&stream, REPLY_FAILED);
    stream.ops->end(stream.context);
    whole = ask_message("{\"a\"", false);
    claude.call.is_done = claude.call.is_broken = true;
    reply_head_init(&head);
    assert_true(whole.ops->head(whole.context, &head));
    assert_reads_code(&whole, REPLY_FAILED);
    whole.ops->end(whole.context);
    reply_head_deinit(&head);
}

static void a_byte_order_mark_says_nothing(void **state)
{
    struct reply r;
    struct error err;
    (void)state;
    claude.call.bytes = "";
    assert_true(ask("POST", "/v1/messages", "\xef\xbb\xbf{\"a\":1}", &r, &err));
    assert_string_equal(claude.body, "{\"a\":1}");
    r.ops->end(r.context);
    assert_true(ask("POST", "/v1/messages/count_tokens", "\xef\xbb\xbf{}", &r, &err));
    assert_string_equal(claude.body, "{}");
    r.ops->end(r.context);
    assert_true(ask("POST", "/v1/messages/count_tokens", "\xef\xbb", &r, &err));
    assert_string_equal(claude.body, "\xef\xbb");
    r.ops->end(r.context);
}

static void a_refusal_starts_nothing(void **state)
{
    struct reply r;
    struct error err;
    (void)state;
    claude.refusal = ERROR_INPUT;
    assert_false(ask("POST", "/v1/messages", "{}", &r, &err));
    assert_int_equal(err.code, ERROR_INPUT);
    assert_false(ask("POST", "/v1/messages/count_tokens", "{}", &r, &err));
    assert_int_equal(err.code, ERROR_INPUT);
    assert_int_equal(claude.call.n_ends, 0);
}

/* ---- the others ---- */

static void the_others_are_answered_at_once(void **state)
{
    static const struct {
        const char *method, *path, *type, *wanted;
    } rows[] = {
        {"POST", "/v1/messages/count_tokens", "application/json", "counted"},
        {"GET", "/v1/models", "application/json", "models"},
        {"GET", "/v1/models/", "application/json", "model some/name"},
        {"GET", "/metrics", "text/plain; version=0.0.4; charset=utf-8", "metrics"},
        {"GET", "/health", "application/json", "{\"status\":\"ok\"}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct reply r;
        struct error err;
        struct reply_head head;
        reply_head_init(&head);
        assert_true(ask(rows[i].method, rows[i].path, "", &r, &err));
        assert_true(r.ops->head(r.context, &head));
        assert_int_equal(head.status, 200);
        assert_int_equal(head.n_bytes, strlen(rows[i].wanted));
        assert_string_equal(header_of(&head, "Content-Type"), rows[i].type);
        assert_reads(&r, rows[i].wanted);
        assert_reads_code(&r, REPLY_END);
        r.ops->end(r.context);
        reply_head_deinit(&head);
    }
}

static void assert_error(int status, enum error_code code, const char *wanted)
{
    struct error err;
    struct reply_head head;
    struct buf body;
    error_set(&err, code, "say \"why\"");
    reply_head_init(&head);
    buf_init(&body, 1000);
    claude_api.write_error(status, &err, "req_x", &head, &body);
    assert_string_equal(body.data, wanted);
    assert_string_equal(header_of(&head, "Content-Type"), "application/json");
    reply_head_deinit(&head);
    buf_deinit(&body);
}

static void errors_are_written_by_their_api(void **state)
{
    (void)state;
    assert_int_equal(claude_api.status(ERROR_NOT_FOUND), 404);
    /* whoever refused, the API writes it */
    assert_error(404, ERROR_NOT_FOUND, "its own 404: say \"why\" req_x");
    assert_error(401, ERROR_INPUT, "its own 401: say \"why\" req_x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_stream_is_handed_on_as_it_is_made, set_up),
        cmocka_unit_test_setup(a_probe_is_a_comment_between_events, set_up),
        cmocka_unit_test_setup(a_whole_answer_waits_until_it_is_done, set_up),
        cmocka_unit_test_setup(a_broken_answer_is_no_whole_one, set_up),
        cmocka_unit_test_setup(a_byte_order_mark_says_nothing, set_up),
        cmocka_unit_test_setup(a_refusal_starts_nothing, set_up),
        cmocka_unit_test_setup(the_others_are_answered_at_once, set_up),
        cmocka_unit_test_setup(errors_are_written_by_their_api, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
