/* Conversations in the form of chat templates, with and without what a template may lack. */
#include "chat/dialog.h"
#include "claude/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "{\"model\":\"m\",\"max_tokens\":9,"
#define TOOLS                                                                                      \
    "\"tools\":[{\"name\":\"Read\",\"description\":\"reads\",\"input_schema\":{\"type\":"          \
    "\"object\"}}]"

#define FORMAT .dialect = &dialect_hermes
static const struct dialog_format full = {.tools = true,
                                          .system = true,
                                          .mid_system = true,
                                          FORMAT},
                                  plain = {.system = true, .mid_system = true, FORMAT},
                                  rigid = {.tools = true, .system = true, FORMAT}, bare = {FORMAT};

static void check(const struct dialog_format *format, const char *body, const char *tail,
                  const char *expected)
{
    struct request r;
    struct error err = {0};
    if (!request_parse(&r, body, strlen(body), false, &err))
        fail_msg("%s", err.message);
    const struct dialog_options options = {.tail = tail};
    json_t *messages = dialog_messages(&r.conversation, format, &options);
    assert_non_null(messages);
    char *text = json_dumps(messages, JSON_COMPACT);
    assert_string_equal(text, expected);
    free(text);
    json_decref(messages);
    request_deinit(&r);
}

#define SYSTEM_IN_MIDDLE                                                                           \
    HEAD "\"system\":\"S\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"                   \
         "{\"role\":\"system\",\"content\":\"M\"},{\"role\":\"assistant\",\"content\":\"b\"},"     \
         "{\"role\":\"system\",\"content\":\"N\"},{\"role\":\"user\",\"content\":\"c\"}]}"

static void test_system_in_place(void **state)
{
    (void)state;
    check(&full, SYSTEM_IN_MIDDLE, NULL,
          "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"a\"},"
          "{\"role\":\"system\",\"content\":\"M\"},{\"role\":\"assistant\",\"content\":\"b\"},"
          "{\"role\":\"system\",\"content\":\"N\"},{\"role\":\"user\",\"content\":\"c\"}]");
    check(
        &rigid, SYSTEM_IN_MIDDLE, NULL,
        "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"a\\n\\nM\"},"
        "{\"role\":\"assistant\",\"content\":\"b\"},{\"role\":\"user\",\"content\":\"N\\n\\nc\"}]");
    check(&bare, SYSTEM_IN_MIDDLE, NULL,
          "[{\"role\":\"user\",\"content\":\"S\\n\\na\\n\\nM\"},{\"role\":\"assistant\","
          "\"content\":\"b\"},"
          "{\"role\":\"user\",\"content\":\"N\\n\\nc\"}]");
    check(&bare, HEAD "\"messages\":[{\"role\":\"system\",\"content\":\"S\"}]}", NULL,
          "[{\"role\":\"user\",\"content\":\"S\"}]");
}

static void test_neighbours_are_joined(void **state)
{
    (void)state;
    check(&full,
          HEAD "\"system\":[{\"type\":\"text\",\"text\":\"A\"},{\"type\":\"text\",\"text\":\"B\"}],"
               "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
               "{\"type\":\"text\",\"text\":\"b\"}]},{\"role\":\"user\",\"content\":\"c\"}]}",
          NULL,
          "[{\"role\":\"system\",\"content\":\"A\\n\\nB\"},{\"role\":\"user\",\"content\":"
          "\"a\\n\\nb\\n\\nc\"}]");
}

#define TURN                                                                                       \
    "{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":["                  \
    "{\"type\":\"thinking\",\"thinking\":\"hm\"},{\"type\":\"text\",\"text\":\"Let me\"},"         \
    "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"Read\",\"input\":{\"p\":1}},"                 \
    "{\"type\":\"tool_use\",\"id\":\"t2\",\"name\":\"Read\",\"input\":{}}]},"                      \
    "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t1\","            \
    "\"content\":\"one\"},{\"type\":\"tool_result\",\"tool_use_id\":\"t2\",\"is_error\":true,"     \
    "\"content\":\"gone\"},{\"type\":\"text\",\"text\":\"go on\"}]}"

static void test_tools(void **state)
{
    (void)state;
    check(
        &full, HEAD TOOLS ",\"messages\":[" TURN "]}", NULL,
        "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"Let me\","
        "\"reasoning_content\":\"hm\",\"tool_calls\":[{\"id\":\"t1\",\"type\":\"function\","
        "\"function\":"
        "{\"name\":\"Read\",\"arguments\":{\"p\":1}}},{\"id\":\"t2\",\"type\":\"function\","
        "\"function\":"
        "{\"name\":\"Read\",\"arguments\":{}}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"t1\",\"name\":\"Read\",\"content\":\"one\"},"
        "{\"role\":\"tool\",\"tool_call_id\":\"t2\",\"name\":\"Read\",\"content\":\"Error: gone\"},"
        "{\"role\":\"user\",\"content\":\"go on\"}]");
}

static void test_tools_in_text(void **state)
{
    (void)state;
    check(
        &plain, HEAD TOOLS ",\"system\":\"S\",\"messages\":[" TURN "]}", NULL,
        "[{\"role\":\"system\",\"content\":\"S\\n\\n# Tools\\n\\nYou may call these tools to help "
        "the "
        "user:\\n<tools>\\n{\\\"type\\\": \\\"function\\\", \\\"function\\\": {\\\"name\\\": "
        "\\\"Read\\\", "
        "\\\"description\\\": \\\"reads\\\", \\\"parameters\\\": {\\\"type\\\": "
        "\\\"object\\\"}}}\\n</tools>"
        "\\n\\nTo call one, write its name and its arguments as JSON between <tool_call> and "
        "</tool_call>:\\n<tool_call>\\n{\\\"name\\\": <name>, \\\"arguments\\\": "
        "<object>}\\n</tool_call>\"},{\"role\":\"user\",\"content\":\"q\"},"
        "{\"role\":\"assistant\",\"content\":\"Let me\\n<tool_call>\\n{\\\"name\\\": \\\"Read\\\", "
        "\\\"arguments\\\": {\\\"p\\\": 1}}\\n</tool_call>\\n<tool_call>\\n{\\\"name\\\": "
        "\\\"Read\\\", "
        "\\\"arguments\\\": {}}\\n</tool_call>\",\"reasoning_content\":\"hm\"},"
        "{\"role\":\"user\",\"content\":\"<tool_response>\\none\\n</"
        "tool_response>\\n\\n<tool_response>\\n"
        "Error: gone\\n</tool_response>\\n\\ngo on\"}]");
}

static void check_tools(const struct dialog_format *format, const char *body, const char *expected)
{
    struct request r;
    struct error err = {0};
    assert_true(request_parse(&r, body, strlen(body), false, &err));
    json_t *tools = dialog_tools(&r.conversation, format);
    char *text = json_dumps(tools, JSON_COMPACT | JSON_ENCODE_ANY);
    assert_string_equal(text, expected);
    free(text);
    json_decref(tools);
    request_deinit(&r);
}

static void test_offered_tools(void **state)
{
    (void)state;
    check_tools(&full, HEAD TOOLS ",\"messages\":[" TURN "]}",
                "[{\"type\":\"function\",\"function\":{\"name\":\"Read\",\"description\":\"reads\","
                "\"parameters\":{\"type\":\"object\"}}}]");
    check_tools(&plain, HEAD TOOLS ",\"messages\":[" TURN "]}", "null");
    check_tools(&full, HEAD TOOLS ",\"tool_choice\":{\"type\":\"none\"},\"messages\":[" TURN "]}",
                "null");
    check_tools(&full, HEAD "\"messages\":[" TURN "]}", "null");
}

static void test_wishes(void **state)
{
    (void)state;
#define ASK "\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]"
    check(&full, HEAD TOOLS ",\"tool_choice\":{\"type\":\"any\"}," ASK "}", NULL,
          "[{\"role\":\"user\",\"content\":\"q\\n\\nAnswer with a call of one of the tools.\"}]");
    check(&full, HEAD TOOLS ",\"tool_choice\":{\"type\":\"tool\",\"name\":\"Read\"}," ASK "}", NULL,
          "[{\"role\":\"user\",\"content\":\"q\\n\\nAnswer with a call of the tool Read.\"}]");
    check(&full,
          HEAD "\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":{\"type\":"
               "\"object\"}}}," ASK "}",
          NULL,
          "[{\"role\":\"user\",\"content\":\"q\\n\\nAnswer with one JSON object and nothing else. "
          "Its JSON "
          "schema: {\\\"type\\\": \\\"object\\\"}\"}]");
}

static void test_tail(void **state)
{
    (void)state;
    check(&full,
          HEAD "\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\","
               "\"content\":\"The\"}]}",
          "#",
          "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"The#\"}]");
}

/* ---- repairs ---- */

#define REPAIRED(...)                                                                              \
    (&(const struct dialog_format){                                                                \
        .tools = true, .system = true, .mid_system = true, FORMAT, __VA_ARGS__})
#define CALL(id) "{\"type\":\"tool_use\",\"id\":\"" id "\",\"name\":\"Read\",\"input\":{\"p\":1}}"
#define GAVE(id, text)                                                                             \
    "{\"type\":\"tool_result\",\"tool_use_id\":\"" id "\",\"content\":\"" text "\"}"
#define SAID(text) "{\"type\":\"text\",\"text\":\"" text "\"}"
#define USER(blocks) "{\"role\":\"user\",\"content\":[" blocks "]}"
#define MODEL(blocks) "{\"role\":\"assistant\",\"content\":[" blocks "]}"
#define MESSAGES(list) HEAD "\"messages\":[" list "]}"

#define CALLED(id, arguments)                                                                      \
    "{\"id\":\"" id                                                                                \
    "\",\"type\":\"function\",\"function\":{\"name\":\"Read\",\"arguments\":" arguments "}}"
#define ASKED "{\"role\":\"user\",\"content\":\"q\"}"
#define CALLS(list) "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[" list "]}"
#define RESULT(id, text)                                                                           \
    "{\"role\":\"tool\",\"tool_call_id\":\"" id "\",\"name\":\"Read\",\"content\":\"" text "\"}"

static void test_calls_one_by_one(void **state)
{
    (void)state;
    check(
        REPAIRED(.one_call = true),
        MESSAGES(USER(SAID("q")) "," MODEL(CALL("t1") "," CALL("t2")) "," USER(
            GAVE("t1", "one") "," GAVE("t2", "two") "," SAID("on"))),
        NULL,
        "[" ASKED "," CALLS(CALLED("t1", "{\"p\":1}")) "," RESULT("t1", "one") "," CALLS(CALLED(
            "t2", "{\"p\":1}")) "," RESULT("t2", "two") ",{\"role\":\"user\",\"content\":\"on\"}]");
}

static void test_arguments_and_ids(void **state)
{
    (void)state;
    check(REPAIRED(.arguments_as_text = true),
          MESSAGES(USER(SAID("q")) "," MODEL(CALL("t1")) "," USER(GAVE("t1", "one"))), NULL,
          "[" ASKED "," CALLS(CALLED("t1", "\"{\\\"p\\\": 1}\"")) "," RESULT("t1", "one") "]");
}

/* The same nine letters and digits for the call and its result, others for another id. */
static void test_short_ids(void **state)
{
    struct request r;
    struct error err = {0};
    static const char body[] = MESSAGES(USER(SAID("q")) "," MODEL(CALL("toolu_1") "," CALL(
        "toolu_2")) "," USER(GAVE("toolu_1", "one") "," GAVE("toolu_2", "two")));
    (void)state;
    assert_true(request_parse(&r, body, sizeof body - 1, false, &err));
    json_t *messages = dialog_messages(&r.conversation, REPAIRED(.short_ids = true), NULL);
    json_t *calls = json_object_get(json_array_get(messages, 1), "tool_calls");
    const char *one = json_string_value(json_object_get(json_array_get(calls, 0), "id")),
               *two = json_string_value(json_object_get(json_array_get(calls, 1), "id"));
    assert_int_equal(strspn(one, "0123456789abcdefghijklmnopqrstuvwxyz"), 9);
    assert_int_equal(strlen(one), 9);
    assert_string_not_equal(one, two);
    assert_string_equal(
        one, json_string_value(json_object_get(json_array_get(messages, 2), "tool_call_id")));
    assert_string_equal(
        two, json_string_value(json_object_get(json_array_get(messages, 3), "tool_call_id")));
    json_decref(messages);
    request_deinit(&r);
}

static void test_users_and_results(void **state)
{
    static const char text_before[] =
        MESSAGES(USER(SAID("q")) "," MODEL(CALL("t1")) "," USER(SAID("on") "," GAVE("t1", "one")));
    (void)state;
    check(REPAIRED(.folds_user = true, .results_first = true), text_before, NULL,
          "[" ASKED "," CALLS(CALLED("t1", "{\"p\":1}")) "," RESULT("t1", "one\\n\\non") "]");
    check(REPAIRED(.results_first = true),
          MESSAGES(USER(SAID("q")) "," MODEL(CALL("t1")) "," USER(SAID("on")) "," MODEL(
              SAID("a")) "," USER(GAVE("t1", "late"))),
          NULL,
          "[" ASKED
          "," CALLS(CALLED("t1", "{\"p\":1}")) ",{\"role\":\"user\",\"content\":\"on\"},{\"role\":"
                                               "\"assistant\",\"content\":\"a\"},"
                                               "{\"role\":\"user\",\"content\":\"<tool_response>"
                                               "\\nlate\\n</tool_response>\"}]");
    check(REPAIRED(.answers_calls = true),
          MESSAGES(USER(SAID("q")) "," MODEL(CALL("t1") "," CALL("t2")) "," USER(
              GAVE("t2", "two") "," SAID("on"))),
          NULL,
          "[" ASKED "," CALLS(CALLED("t1", "{\"p\":1}") "," CALLED("t2", "{\"p\":1}")) "," RESULT(
              "t2", "two") "," RESULT("t1",
                                      "(no result)") ",{\"role\":\"user\",\"content\":\"on\"}]");
}

#define THOUGHT "{\"type\":\"thinking\",\"thinking\":\"hm\"}"

static void test_thoughts(void **state)
{
    static const char body[] = MESSAGES(USER(SAID("q")) "," MODEL(
        THOUGHT "," SAID("Let me") "," CALL("t1")) "," USER(GAVE("t1", "one")));
    static const char said[] =
        MESSAGES(USER(SAID("q")) "," MODEL(THOUGHT "," SAID("a")) "," USER(SAID("q")));
    (void)state;
    check(REPAIRED(.thoughts = DIALOG_THINKING, .joins_thoughts = true), body, NULL,
          "[" ASKED ",{\"role\":\"assistant\",\"content\":\"\",\"thinking\":\"hm\\n\\nLet me\","
          "\"tool_calls\":[" CALLED("t1", "{\"p\":1}") "]}," RESULT("t1", "one") "]");
    check(REPAIRED(.thoughts = DIALOG_REASONING), said, NULL,
          "[" ASKED ",{\"role\":\"assistant\",\"content\":\"a\",\"reasoning\":\"hm\"}," ASKED "]");
    check(REPAIRED(.thoughts = DIALOG_THINKING_PART), said, NULL,
          "[" ASKED
          ",{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\"},"
          "{\"type\":\"text\",\"text\":\"a\"}]}," ASKED "]");
    check(REPAIRED(.parts = true), said, NULL,
          "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"q\"}]},{\"role\":"
          "\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}],\"reasoning_content\":"
          "\"hm\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"q\"}]}]");
}

static void test_openings(void **state)
{
    (void)state;
    check(REPAIRED(.opening = "."), MESSAGES(MODEL(SAID("a")) "," USER(SAID("q"))), NULL,
          "[{\"role\":\"user\",\"content\":\".\"},{\"role\":\"assistant\",\"content\":\"a\"}," ASKED
          "]");
    check(REPAIRED(.opening = ""), HEAD "\"messages\":[{\"role\":\"system\",\"content\":\"S\"}]}",
          NULL, "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"\"}]");
    check(REPAIRED(.opening = "."), MESSAGES(USER(SAID("q"))), NULL, "[" ASKED "]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_system_in_place),
        cmocka_unit_test(test_neighbours_are_joined),
        cmocka_unit_test(test_tools),
        cmocka_unit_test(test_tools_in_text),
        cmocka_unit_test(test_offered_tools),
        cmocka_unit_test(test_wishes),
        cmocka_unit_test(test_tail),
        cmocka_unit_test(test_calls_one_by_one),
        cmocka_unit_test(test_arguments_and_ids),
        cmocka_unit_test(test_short_ids),
        cmocka_unit_test(test_users_and_results),
        cmocka_unit_test(test_thoughts),
        cmocka_unit_test(test_openings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
