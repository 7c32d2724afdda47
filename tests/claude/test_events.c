/* The bytes of answers: the documented order of events, JSON that any client reads, signs of life
 * that change nothing. */
#include "chat/json_exact.h"
#include "claude/events.h"
#include "chat/json_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct engine_usage usage = {20, 12, 7};

static void begin(struct events *e, struct buf *out, bool stream)
{
    buf_init(out, EVENTS_MAX_BYTES);
    events_init(e, out, stream, "a \"model\"");
    assert_memory_equal(e->id, "msg_", 4);
    assert_int_equal(strlen(e->id), 28);
    strcpy(e->id, "msg_1");
}

static void end(struct events *e, struct buf *out)
{
    events_deinit(e);
    buf_deinit(out);
}

static json_t *json_of(const char *text, size_t n)
{
    json_error_t error;
    json_t *value = json_loadb(text, n, 0, &error);
    if (!value)
        fail_msg("%.*s: %s", (int)n, text, error.text);
    return value;
}

#define START                                                                                      \
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\","       \
    "\"type\":\"message\",\"role\":\"assistant\",\"model\":\"a \\\"model\\\"\",\"content\":[],"    \
    "\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":8,"                   \
    "\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":12,\"output_tokens\":1}}}\n\n"
#define PING "event: ping\ndata: {\"type\":\"ping\"}\n\n"
#define TEXT_START                                                                                 \
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"             \
    "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
#define TEXT(text)                                                                                 \
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":"   \
    "{\"type\":\"text_delta\",\"text\":\"" text "\"}}\n\n"
#define STOP(i)                                                                                    \
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":" i "}\n\n"
#define FINISH(reason, sequence)                                                                   \
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"" reason \
    "\",\"stop_sequence\":" sequence "},\"usage\":{\"input_tokens\":8,"                            \
    "\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":12,\"output_tokens\":7}}\n\n"   \
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"

static void test_text_stream(void **state)
{
    struct events e;
    struct buf out;
    (void)state;
    begin(&e, &out, true);
    events_start(&e, &usage);
    events_text(&e, "Hel\"", 4);
    events_text(&e, "lo\n", 3);
    events_finish(&e, "end_turn", NULL, 0, &usage);
    assert_string_equal(out.data, START TEXT_START PING TEXT("Hel\\\"") TEXT("lo\\n") STOP("0")
                                      FINISH("end_turn", "null"));
    end(&e, &out);
}

static void test_empty_stream(void **state)
{
    struct events e;
    struct buf out;
    (void)state;
    begin(&e, &out, true);
    events_start(&e, &usage);
    events_finish(&e, "stop_sequence", "a\"\n", 3, &usage);
    assert_string_equal(out.data, START FINISH("stop_sequence", "\"a\\\"\\n\""));
    end(&e, &out);
}

/* Takes the next event from *at: its data as JSON, and checks that its name is its type. */
static json_t *next_event(const char **at)
{
    const char *data = strstr(*at, "\ndata: "), *stop = strstr(*at, "\n\n");
    assert_memory_equal(*at, "event: ", 7);
    assert_true(data && stop && data < stop);
    json_t *value = json_of(data + 7, (size_t)(stop - data - 7));
    const char *type = json_string_value(json_object_get(value, "type"));
    assert_int_equal(strlen(type), data - *at - 7);
    assert_memory_equal(type, *at + 7, strlen(type));
    *at = stop + 2;
    return value;
}

static const char *member(json_t *value, const char *a, const char *b)
{
    return json_string_value(json_object_get(json_object_get(value, a), b));
}

static void test_tool_stream(void **state)
{
    struct events e;
    struct buf out, input;
    (void)state;
    begin(&e, &out, true);
    buf_init(&input, 1 << 16);
    json_t *arguments = json_pack(
        "{s:s, s:f, s:i}", "text",
        "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 and so on, longer than a "
        "single piece of the input can be \xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80",
        "number", 0.1, "n", 3);
    events_start(&e, &usage);
    events_text(&e, "Now", 3);
    size_t n_before = out.len;
    struct buf written;
    buf_init(&written, 1 << 16);
    json_exact_write(&written, arguments, 0);
    events_call_begin(&e, "Write");
    events_call_bytes(&e, written.data, written.len / 2 - 1);
    events_call_bytes(&e, written.data + written.len / 2 - 1, written.len - written.len / 2 + 1);
    events_call_end(&e);
    buf_deinit(&written);
    events_finish(&e, "tool_use", NULL, 0, &usage);
    assert_null(strstr(out.data + n_before, "ping")); /* one, after the first block's start */

    const char *at = out.data + n_before;
    json_t *event = next_event(&at);
    assert_string_equal(json_string_value(json_object_get(event, "type")), "content_block_stop");
    json_decref(event);
    event = next_event(&at);
    assert_int_equal(json_integer_value(json_object_get(event, "index")), 1);
    assert_string_equal(member(event, "content_block", "type"), "tool_use");
    assert_string_equal(member(event, "content_block", "name"), "Write");
    assert_int_equal(strlen(member(event, "content_block", "id")), 30);
    assert_memory_equal(member(event, "content_block", "id"), "toolu_", 6);
    assert_int_equal(
        json_object_size(json_object_get(json_object_get(event, "content_block"), "input")), 0);
    json_decref(event);
    int n_pieces = 0;
    for (;;) {
        event = next_event(&at);
        if (strcmp(json_string_value(json_object_get(event, "type")), "content_block_delta") != 0)
            break;
        assert_string_equal(member(event, "delta", "type"), "input_json_delta");
        buf_puts(&input, member(event, "delta", "partial_json"));
        n_pieces++;
        json_decref(event);
    }
    json_decref(event);
    assert_true(n_pieces > 2);
    json_t *again = json_of(input.data, input.len);
    assert_true(json_equal(again, arguments));
    assert_non_null(strstr(input.data, "\"number\":0.1,"));
    json_decref(again);
    json_decref(arguments);
    buf_deinit(&input);
    end(&e, &out);
}

static void test_whole(void **state)
{
    struct events e;
    struct buf out;
    (void)state;
    begin(&e, &out, false);
    events_start(&e, &usage);
    events_text(&e, "One\n", 4);
    events_ping(&e);
    events_keep_alive(&e);
    events_text(&e, "\"two\"", 5);
    for (int i = 0; i < 2; i++) {
        events_call_begin(&e, i ? "B" : "A");
        events_call_bytes(&e, "{\"a\"", 4);
        events_call_bytes(&e, ":true}", 6);
        events_call_end(&e);
    }
    events_text(&e, "after", 5);
    assert_int_equal(out.len, 0);
    events_finish(&e, "tool_use", NULL, 0, &usage);
    json_t *message = json_of(out.data, out.len);
    json_t *content = json_object_get(message, "content");
    assert_string_equal(json_string_value(json_object_get(message, "type")), "message");
    assert_string_equal(json_string_value(json_object_get(message, "role")), "assistant");
    assert_string_equal(json_string_value(json_object_get(message, "model")), "a \"model\"");
    assert_string_equal(json_string_value(json_object_get(message, "stop_reason")), "tool_use");
    assert_true(json_is_null(json_object_get(message, "stop_sequence")));
    assert_int_equal(json_array_size(content), 4);
    assert_string_equal(json_string_value(json_object_get(json_array_get(content, 0), "text")),
                        "One\n\"two\"");
    assert_string_equal(json_string_value(json_object_get(json_array_get(content, 2), "name")),
                        "B");
    assert_true(
        json_is_true(json_object_get(json_object_get(json_array_get(content, 2), "input"), "a")));
    json_t *counts = json_object_get(message, "usage");
    assert_int_equal(json_integer_value(json_object_get(counts, "input_tokens")), 8);
    assert_int_equal(json_integer_value(json_object_get(counts, "cache_read_input_tokens")), 12);
    assert_int_equal(json_integer_value(json_object_get(counts, "output_tokens")), 7);
    json_decref(message);
    end(&e, &out);
}

static void test_thinking(void **state)
{
    struct events e;
    struct buf out;
    (void)state;
    begin(&e, &out, true);
    events_thinking(&e, "hm\"", 3);
    size_t n = out.len;
    events_keep_alive(&e); /* not before message_start */
    assert_int_equal(out.len, n);
    events_text(&e, "So", 2);
    assert_string_equal(
        out.data,
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
        "\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n" PING
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
        "{\"type\":\"thinking_delta\",\"thinking\":\"hm\\\"\"}}\n\n" STOP(
            "0") "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,"
                 "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
                 "event: content_block_delta\ndata: "
                 "{\"type\":\"content_block_delta\",\"index\":1,\"delta\":"
                 "{\"type\":\"text_delta\",\"text\":\"So\"}}\n\n");
    end(&e, &out);
    begin(&e, &out, false);
    events_thinking(&e, "h", 1);
    events_thinking(&e, "m", 1);
    events_text(&e, "So", 2);
    events_finish(&e, "end_turn", NULL, 0, &usage);
    assert_non_null(strstr(out.data, "\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\","
                                     "\"signature\":\"\"},{\"type\":\"text\",\"text\":\"So\"}]"));
    end(&e, &out);
}

static void test_signs_of_life(void **state)
{
    struct events e;
    struct buf out;
    (void)state;
    begin(&e, &out, true);
    events_keep_alive(&e); /* not before message_start */
    assert_int_equal(out.len, 0);
    events_ping(&e);
    assert_string_equal(out.data, PING);
    events_start(&e, &usage);
    size_t n = out.len;
    events_keep_alive(&e);
    assert_string_equal(out.data + n,
                        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":"
                        "{\"stop_reason\":null,\"stop_sequence\":null},\"usage\":"
                        "{\"output_tokens\":0}}\n\n");
    events_text(&e, "x", 1);
    n = out.len;
    events_keep_alive(&e);
    assert_string_equal(out.data + n, TEXT(""));
    end(&e, &out);
}

static void test_errors(void **state)
{
    static const struct {
        enum error_code code;
        int status;
        const char *type;
    } rows[] = {
        {ERROR_INPUT, 400, "invalid_request_error"},
        {ERROR_UNSUPPORTED, 400, "invalid_request_error"},
        {ERROR_NOT_FOUND, 404, "not_found_error"},
        {ERROR_TOO_LARGE, 413, "request_too_large"},
        {ERROR_BUSY, 529, "overloaded_error"},
        {ERROR_NO_MEMORY, 500, "api_error"},
        {ERROR_INTERNAL, 500, "api_error"},
        {ERROR_CANCELLED, 500, "api_error"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct events e;
        struct buf out;
        struct error err;
        error_set(&err, rows[i].code, "a \"b\" \xff");
        assert_int_equal(events_error_status(rows[i].code), rows[i].status);
        begin(&e, &out, false);
        events_fail(&e, &err, "req_1");
        json_t *body = json_of(out.data, out.len);
        assert_string_equal(json_string_value(json_object_get(body, "type")), "error");
        assert_string_equal(json_string_value(json_object_get(body, "request_id")), "req_1");
        assert_string_equal(member(body, "error", "type"), rows[i].type);
        assert_string_equal(member(body, "error", "message"), "a \"b\" \xef\xbf\xbd");
        json_decref(body);
        end(&e, &out);
        begin(&e, &out, true);
        events_fail(&e, &err, "req_1");
        const char *at = out.data;
        json_decref(next_event(&at));
        assert_string_equal(at, "");
        end(&e, &out);
    }
}

/* Whoever tells an error with another status tells its type by that. */
static void test_errors_by_status(void **state)
{
    static const struct {
        int status;
        const char *type;
    } rows[] = {
        {401, "authentication_error"}, {403, "permission_error"},  {405, "invalid_request_error"},
        {408, "timeout_error"},        {429, "rate_limit_error"},  {503, "overloaded_error"},
        {404, "not_found_error"},      {413, "request_too_large"}, {529, "overloaded_error"},
        {504, "timeout_error"},        {501, "api_error"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error err;
        struct buf out;
        buf_init(&out, 1 << 10);
        error_set(&err, ERROR_INPUT, "no");
        events_error_body(&out, rows[i].status, &err, NULL);
        json_t *body = json_of(out.data, out.len);
        assert_string_equal(member(body, "error", "type"), rows[i].type);
        assert_true(json_is_null(json_object_get(body, "request_id")));
        json_decref(body);
        buf_deinit(&out);
    }
}

static void test_ceiling(void **state)
{
    struct events e;
    struct buf out;
    (void)state;
    begin(&e, &out, true);
    out.max = 2000;
    events_start(&e, &usage);
    for (int i = 0; i < 100 && !events_failed(&e); i++)
        events_text(&e, "0123456789", 10);
    assert_true(events_failed(&e));
    assert_true(out.len <= 2000);
    end(&e, &out);
}

/* Any bytes at all become a string that a strict parser reads; well-formed ones come back the same.
 */
static void test_any_bytes(void **state)
{
    (void)state;
    for (int round = 0; round < 20000; round++) {
        char bytes[12];
        size_t n = (size_t)rand() % sizeof bytes;
        struct buf out;
        buf_init(&out, 1 << 10);
        for (size_t i = 0; i < n; i++)
            bytes[i] =
                (char)(rand() % 3
                           ? "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xed\xa0\xf4\x90\xc0"[rand() % 14]
                           : rand());
        json_text_string(&out, bytes, n);
        json_t *value = json_loadb(out.data, out.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(value);
        json_t *direct = json_stringn(bytes, n); /* NULL when it is broken */
        if (direct)
            assert_true(json_equal(value, direct));
        else
            assert_non_null(memmem(out.data, out.len, "\xef\xbf\xbd", 3));
        json_decref(direct);
        json_decref(value);
        buf_deinit(&out);
    }
}

static void test_unfinished(void **state)
{
    (void)state;
    assert_int_equal(json_text_unfinished("a", 1), 0);
    assert_int_equal(json_text_unfinished("", 0), 0);
    assert_int_equal(json_text_unfinished("\xc3", 1), 1);
    assert_int_equal(json_text_unfinished("\xc3\xa9", 2), 0);
    assert_int_equal(json_text_unfinished("a\xf0\x9f\x98", 4), 3);
    assert_int_equal(json_text_unfinished("\xf0\x9f\x98\x80", 4), 0);
    assert_int_equal(json_text_unfinished("\xed\xa0", 2), 0); /* a surrogate: wrong already */
    assert_int_equal(json_text_unfinished("\x80\x80\x80\x80", 4), 0);
    assert_int_equal(json_text_unfinished("\xff", 1), 0);
}

static void test_ids_differ(void **state)
{
    char a[RANDOM_ID_BYTES], b[RANDOM_ID_BYTES];
    (void)state;
    for (int i = 0; i < 100; i++) {
        random_id_make(a, "toolu_");
        random_id_make(b, "toolu_");
        assert_int_equal(strlen(a), 30);
        assert_int_equal(
            strspn(a + 6, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"), 24);
        assert_string_not_equal(a, b);
    }
}

static void an_event_that_finds_no_room_is_taken_back_whole(void **state)
{
    static const char failure[] = "event: error\ndata: {\"type\":\"error\",";
    struct events e;
    struct buf out;
    char long_text[400];
    (void)state;
    begin(&e, &out, true);
    out.max = sizeof START + 400; /* for an error, and for less than the text */
    memset(long_text, 'x', sizeof long_text);
    events_start(&e, &usage);
    events_text(&e, long_text, sizeof long_text);
    events_finish(&e, "end_turn", NULL, 0, &usage);
    assert_true(events_failed(&e));
    events_take_back(&e);
    assert_true(events_failed(&e));
    const size_t n_whole = out.len;
    assert_string_equal(out.data + n_whole - 2, "\n\n");
    assert_memory_equal(out.data, START, sizeof START - 1);
    const struct error err = {ERROR_NO_MEMORY, -1, "no room"};
    events_fail(&e, &err, "req_1");
    assert_false(buf_failed(&out));
    assert_memory_equal(out.data + n_whole, failure, sizeof failure - 1);
    end(&e, &out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_that_finds_no_room_is_taken_back_whole),
        cmocka_unit_test(test_text_stream),
        cmocka_unit_test(test_empty_stream),
        cmocka_unit_test(test_tool_stream),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_thinking),
        cmocka_unit_test(test_signs_of_life),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_errors_by_status),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_unfinished),
        cmocka_unit_test(test_ids_differ),
    };
    srand(7);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
