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

static const struct dialog_format full = {true, true, true, &dialect_hermes},
                                  plain = {false, true, true, &dialect_hermes},
                                  rigid = {true, true, false, &dialect_hermes},
                                  bare = {false, false, false, &dialect_hermes};

static void check(const struct dialog_format *format, const char *body, const char *tail,
                  const char *expected)
{
    struct request r;
    struct error err = {0};
    if (!request_parse(&r, body, strlen(body), false, &err))
        fail_msg("%s", err.message);
    json_t *messages = dialog_messages(&r.conversation, format, NULL, tail, NULL);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
