/* The request parser: what it takes, what it refuses and how it names the place. */
#include "claude/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "{\"model\":\"m\",\"max_tokens\":9,"
#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define BLOCKS(blocks) HEAD "\"messages\":[{\"role\":\"user\",\"content\":[" blocks "]}]}"
#define WITH(members) HEAD HI "," members "}"
#define TOOL(name) "{\"name\":\"" name "\",\"input_schema\":{\"type\":\"object\"}}"

static void parse(struct request *r, const char *body)
{
    struct error err = {0};
    if (!request_parse(r, body, strlen(body), false, &err))
        fail_msg("%s: %s", body, err.message);
}

static void refused(const char *body, enum error_code code, const char *message)
{
    struct request r;
    struct error err = {0};
    assert_false(request_parse(&r, body, strlen(body), false, &err));
    assert_string_equal(err.message, message);
    assert_int_equal(err.code, code);
    request_deinit(&r);
}

static void accepted(const char *body)
{
    struct request r;
    parse(&r, body);
    request_deinit(&r);
}

/* The text of block k of message i. */
static void check_text(const struct request *r, size_t i, size_t k, const char *text)
{
    assert_true(i < r->conversation.n_messages && k < r->conversation.messages[i].n_blocks);
    assert_int_equal(r->conversation.messages[i].blocks[k].text.n, strlen(text));
    assert_memory_equal(r->conversation.messages[i].blocks[k].text.data, text, strlen(text));
}

static void test_smallest(void **state)
{
    struct request r;
    (void)state;
    parse(&r, HEAD HI "}");
    assert_string_equal(r.model, "m");
    assert_int_equal(r.max_tokens, 9);
    assert_int_equal(r.conversation.n_messages, 1);
    assert_int_equal(r.conversation.messages[0].role, CONVERSATION_USER);
    check_text(&r, 0, 0, "hi");
    assert_false(r.stream || r.has_temperature || r.has_top_p || r.has_top_k);
    assert_false(conversation_is_continued(&r.conversation));
    request_deinit(&r);
}

static void test_all_members(void **state)
{
    struct request r;
    (void)state;
    parse(
        &r,
        WITH("\"stream\":true,\"temperature\":0.5,\"top_p\":0.9,\"top_k\":40,"
             "\"stop_sequences\":[\"a\",\"\\n\"],\"system\":\"be "
             "brief\",\"metadata\":{\"user_id\":\"u\"},"
             "\"thinking\":{\"type\":\"adaptive\"},\"context_management\":{\"edits\":[]},"
             "\"output_config\":{\"effort\":\"high\"},\"service_tier\":\"auto\",\"unknown\":[1]"));
    assert_true(r.stream);
    assert_true(r.has_temperature && r.temperature == 0.5);
    assert_true(r.has_top_p && r.top_p == 0.9);
    assert_true(r.has_top_k && r.top_k == 40);
    assert_int_equal(r.n_stops, 2);
    assert_int_equal(r.stops[1].n, 1);
    assert_int_equal(r.conversation.system.n_blocks, 1);
    assert_null(r.conversation.answer_schema);
    request_deinit(&r);
    parse(&r, "{\"max_tokens\":1e12,\"max_tokens\":4e9,\"model\":\"m\"," HI "}");
    assert_int_equal(r.max_tokens, 4000000000u);
    request_deinit(&r);
    accepted(WITH("\"temperature\":null,\"tools\":null,\"system\":null,\"stream\":null"));
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"{\"max_tokens\":1," HI "}", "model: Field required"},
        {"{\"model\":7,\"max_tokens\":1," HI "}", "model: Input should be a valid string"},
        {"{\"model\":\"m\"," HI "}", "max_tokens: Field required"},
        {"{\"model\":\"m\",\"max_tokens\":0," HI "}",
         "max_tokens: Input should be greater than or equal to 1"},
        {"{\"model\":\"m\",\"max_tokens\":\"5\"," HI "}",
         "max_tokens: Input should be a valid integer"},
        {"{\"model\":\"m\",\"max_tokens\":1.5," HI "}",
         "max_tokens: Input should be a valid integer"},
        {"{\"model\":\"m\",\"max_tokens\":1}", "messages: Field required"},
        {HEAD "\"messages\":[]}", "messages: at least one message is required"},
        {HEAD "\"messages\":\"hi\"}", "messages: Input should be a valid list"},
        {HEAD "\"messages\":[7]}", "messages.0: Input should be an object"},
        {HEAD "\"messages\":[{\"content\":\"x\"}]}", "messages.0.role: Field required"},
        {HEAD "\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}",
         "messages.0.role: Input should be 'user', 'assistant' or 'system'"},
        {HEAD "\"messages\":[{\"role\":\"user\"}]}", "messages.0.content: Field required"},
        {HEAD "\"messages\":[{\"role\":\"user\",\"content\":7}]}",
         "messages.0.content: Input should be a valid string or a list of blocks"},
        {HEAD "\"messages\":[{\"role\":\"user\",\"content\":\"\"}]}",
         "messages.0: user messages must have non-empty content"},
        {BLOCKS("{\"type\":\"text\",\"text\":\"a\"},{\"text\":\"b\"}"),
         "messages.0.content.1.type: Field required"},
        {BLOCKS("{\"type\":\"text\"}"), "messages.0.content.0.text: Field required"},
        {BLOCKS("{\"type\":\"nonsense\"}"),
         "messages.0.content.0.type: a block of type 'nonsense' is not supported by this server"},
        {BLOCKS("{\"type\":\"image\",\"source\":{}}"),
         "messages.0.content.0.type: 'image' blocks are not supported: the loaded model reads text "
         "alone"},
        {BLOCKS("{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"b\",\"input\":{}}"),
         "messages.0.content.0.type: `tool_use` blocks cannot be in `user` messages"},
        {BLOCKS("{\"type\":\"document\",\"source\":{\"type\":\"base64\",\"data\":\"\"}}"),
         "messages.0.content.0.source.type: a document of source 'base64' is not supported: this "
         "server reads "
         "documents of source 'text' or 'content'"},
        {BLOCKS("{\"type\":\"tool_result\",\"tool_use_id\":\"t1\"}"),
         "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: t1. Each "
         "`tool_result` "
         "block must have a corresponding `tool_use` block in the previous message."},
        {WITH("\"stream\":1"), "stream: Input should be a valid boolean"},
        {WITH("\"temperature\":-1"), "temperature: Input should be greater than or equal to 0"},
        {WITH("\"temperature\":3"), "temperature: Input should be less than or equal to 2"},
        {WITH("\"temperature\":\"hot\""), "temperature: Input should be a valid number"},
        {WITH("\"top_p\":1.5"), "top_p: Input should be less than or equal to 1"},
        {WITH("\"top_k\":0.5"), "top_k: Input should be a valid integer"},
        {WITH("\"top_k\":-2"), "top_k: Input should be greater than or equal to 0"},
        {WITH("\"stop_sequences\":\"x\""), "stop_sequences: Input should be a valid list"},
        {WITH("\"stop_sequences\":[\"x\",\"\"]"),
         "stop_sequences.1: String should have at least 1 character"},
        {WITH("\"system\":[{\"type\":\"image\"}]"),
         "system.0.type: `image` blocks cannot be in `system` messages"},
        {WITH("\"tools\":[{}]"), "tools.0.input_schema: Field required"},
        {WITH("\"tools\":[{\"name\":\"a b\",\"input_schema\":{}}]"),
         "tools.0.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"},
        {WITH("\"tools\":[{\"name\":\"a\",\"input_schema\":{\"type\":\"array\"}}]"),
         "tools.0.input_schema.type: Input should be 'object'"},
        {WITH("\"tools\":[" TOOL("a") "," TOOL("a") "]"), "tools: Tool names must be unique: a"},
        {WITH("\"tools\":[{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}]"),
         "tools.0.type: 'web_search_20250305' is a server tool that runs in Anthropic's cloud; "
         "this server has "
         "none"},
        {WITH("\"tools\":[{\"type\":\"computer_20250124\",\"name\":\"computer\"}]"),
         "tools.0.type: a tool of type 'computer_20250124' is not supported by this server"},
        {WITH("\"tool_choice\":{\"type\":\"any\"}"),
         "tool_choice: tool_choice may only be specified while providing tools"},
        {WITH("\"tools\":[" TOOL("a") "],\"tool_choice\":{\"type\":\"tool\",\"name\":\"b\"}"),
         "tool_choice.name: Tool 'b' not found in provided tools"},
        {WITH("\"tool_choice\":{\"type\":\"some\"}"),
         "tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'"},
        {WITH("\"output_config\":{\"format\":{\"type\":\"xml\"}}"),
         "output_config.format.type: Input should be 'json_schema'"},
        {WITH("\"mcp_servers\":[{}]"),
         "mcp_servers: this server does not connect to MCP servers; let the client do it"},
        {WITH("\"container\":\"c\""), "container: this server has no containers"},
        {"[1]", "the request body should be a JSON object"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refused(rows[i][0], ERROR_INPUT, rows[i][1]);
}

static void test_not_json(void **state)
{
    static const char *const bodies[] = {
        "", "x", "{", "{\"model\":}", "{} x", "{\"model\":\"\xff\"}"};
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct request r;
        struct error err = {0};
        assert_false(request_parse(&r, bodies[i], strlen(bodies[i]), false, &err));
        assert_int_equal(err.code, ERROR_INPUT);
        assert_non_null(strstr(err.message, "the request body is not valid JSON: "));
    }
}

static char *repeat(const char *before, const char *part, size_t n, const char *after)
{
    size_t n_before = strlen(before), n_part = strlen(part);
    char *out = malloc(n_before + n * n_part + strlen(after) + 1);
    memcpy(out, before, n_before);
    for (size_t i = 0; i < n; i++)
        memcpy(out + n_before + i * n_part, part, n_part);
    strcpy(out + n_before + n * n_part, after);
    return out;
}

static void test_bounds(void **state)
{
    (void)state;
    char *deep = repeat("{\"x\":", "[", 200000, "");
    refused(deep, ERROR_INPUT, "the request body is nested deeper than 128 levels");
    free(deep);
    char *wide = repeat("{\"x\":[0", ",0", 1 << 20, "]}");
    refused(wide, ERROR_TOO_LARGE, "the request body has more than 1048576 JSON values");
    free(wide);
    char *large = repeat("{\"x\":\"", "0123456789abcdef", 1 << 21, "\"}");
    char message[96];
    snprintf(message, sizeof message,
             "the request body has %zu bytes, more than the maximum of 33554432", strlen(large));
    refused(large, ERROR_TOO_LARGE, message);
    free(large);
    char *stops = repeat(HEAD HI ",\"stop_sequences\":[\"a\"", ",\"a\"", 64, "]}");
    refused(stops, ERROR_INPUT, "stop_sequences: List should have at most 64 items");
    free(stops);
    char *stop = repeat(HEAD HI ",\"stop_sequences\":[\"", "a", 1025, "\"]}");
    refused(stop, ERROR_INPUT, "stop_sequences.0: String should have at most 1024 bytes");
    free(stop);
    char *name = repeat(HEAD HI ",\"tools\":[{\"input_schema\":{},\"name\":\"", "a", 129, "\"}]}");
    refused(name, ERROR_INPUT,
            "tools.0.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'");
    free(name);
    /* many results must not take many times as long */
    char *results = repeat(
        HEAD
        "\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"t\","
        "\"name\":\"n\",\"input\":{}}]},{\"role\":\"user\",\"content\":[{\"type\":\"text\","
        "\"text\":\"x\"}",
        ",{\"type\":\"tool_result\",\"tool_use_id\":\"t\"}", 100000, "]}]}");
    accepted(results);
    free(results);
}

static void test_blocks(void **state)
{
    struct request r;
    (void)state;
    parse(
        &r,
        BLOCKS(
            "{\"type\":\"text\",\"text\":\"a\\u0000b\",\"cache_control\":{\"type\":\"ephemeral\"}},"
            "{\"type\":\"document\",\"title\":\"T\",\"source\":{\"type\":\"text\",\"media_type\":"
            "\"text/plain\","
            "\"data\":\"body\"}},"
            "{\"type\":\"document\",\"source\":{\"type\":\"content\",\"content\":[{\"type\":"
            "\"text\",\"text\":\"x\"},"
            "{\"type\":\"text\",\"text\":\"y\"}]}},"
            "{\"type\":\"search_result\",\"source\":\"s\",\"title\":\"t\",\"content\":[{\"type\":"
            "\"text\","
            "\"text\":\"found\"}]}"));
    assert_int_equal(r.conversation.messages[0].n_blocks, 4);
    assert_int_equal(r.conversation.messages[0].blocks[0].text.n, 3);
    assert_memory_equal(r.conversation.messages[0].blocks[0].text.data, "a\0b", 3);
    check_text(&r, 0, 1, "Title: T\nbody");
    check_text(&r, 0, 2, "x\ny");
    check_text(&r, 0, 3, "Title: t\nSource: s\nfound");
    request_deinit(&r);
}

#define USE "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"Read\",\"input\":{\"p\":1}}"

static void test_tool_results(void **state)
{
    struct request r;
    (void)state;
    parse(
        &r, HEAD
        "\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":["
        "{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"s\"},"
        "{\"type\":\"redacted_thinking\",\"data\":\"d\"}," USE "]},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t1\",\"is_"
        "error\":true,"
        "\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image\",\"source\":{}},"
        "{\"type\":\"tool_reference\",\"tool_name\":\"X\"}]},{\"type\":\"text\",\"text\":\"more\"}]"
        "}]}");
    assert_int_equal(r.conversation.messages[1].n_blocks, 2);
    assert_int_equal(r.conversation.messages[1].blocks[0].kind, CONVERSATION_THINKING);
    const struct conversation_block *use = &r.conversation.messages[1].blocks[1],
                                    *result = &r.conversation.messages[2].blocks[0];
    assert_string_equal(use->name, "Read");
    assert_int_equal(json_integer_value(json_object_get(use->arguments, "p")), 1);
    assert_ptr_equal(result->call, use);
    assert_ptr_equal(use->result, result);
    assert_true(result->is_error);
    check_text(&r, 2, 0, "a\n[image]\nTool found: X");
    check_text(&r, 2, 1, "more");
    request_deinit(&r);
    accepted(
        HEAD
        "\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":"
        "[" USE "]},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t1\"}]}]}");
}

static void test_system(void **state)
{
    struct request r;
    (void)state;
    parse(
        &r,
        WITH("\"system\":[{\"type\":\"text\",\"text\":\"x-anthropic-billing-header: "
             "cc_version=1.abc;\"},"
             "{\"type\":\"text\",\"text\":\"You are\",\"cache_control\":{\"type\":\"ephemeral\"}},"
             "{\"type\":\"text\",\"text\":\"x-anthropic-billing-header: y\\nand on\"}]"));
    assert_int_equal(r.conversation.system.n_blocks, 2);
    assert_string_equal(r.conversation.system.blocks[0].text.data, "You are");
    assert_string_equal(r.conversation.system.blocks[1].text.data, "and on");
    request_deinit(&r);
    parse(&r, HEAD
          "\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"system\",\"content\":"
          "\"s\"},"
          "{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"r\"}]}");
    assert_int_equal(r.conversation.messages[1].role, CONVERSATION_SYSTEM);
    assert_int_equal(r.conversation.n_messages, 4);
    request_deinit(&r);
}

static void test_continuation(void **state)
{
    struct request r;
    (void)state;
#define LAST(content)                                                                              \
    HEAD "\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\","            \
         "\"content\":" content "}]}"
    parse(&r, LAST("\"The\""));
    assert_true(conversation_is_continued(&r.conversation));
    request_deinit(&r);
    parse(&r, LAST("\"\""));
    assert_false(conversation_is_continued(&r.conversation));
    request_deinit(&r);
    refused(LAST("\"The \""), ERROR_INPUT,
            "messages: final assistant content cannot end with trailing whitespace");
    refused(
        LAST("[" USE "]"), ERROR_INPUT,
        "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t1");
    refused(LAST("[{\"type\":\"thinking\",\"thinking\":\"x\"}]"), ERROR_INPUT,
            "messages.1: the final block of a final assistant message cannot be `thinking`");
}

static void test_tools(void **state)
{
    struct request r;
    (void)state;
    parse(&r, WITH("\"tools\":[{\"name\":\"Read\",\"description\":\"reads\",\"input_schema\":{\"$"
                   "schema\":\"x\","
                   "\"type\":\"object\"},\"cache_control\":{\"type\":\"ephemeral\"}},"
                   "{\"type\":\"custom\",\"name\":\"mcp__a__b-c\",\"input_schema\":{}},"
                   "{\"type\":\"bash_20250124\",\"name\":\"bash\"},"
                   "{\"type\":\"text_editor_20250728\",\"name\":\"str_replace_based_edit_tool\"}],"
                   "\"tool_choice\":{\"type\":\"tool\",\"name\":\"bash\",\"disable_parallel_tool_"
                   "use\":true}"));
    assert_int_equal(r.conversation.n_tools, 4);
    assert_string_equal(r.conversation.tools[0].description.data, "reads");
    assert_null(json_object_get(r.conversation.tools[0].schema, "$schema"));
    assert_string_equal(r.conversation.tools[1].description.data, "");
    assert_non_null(
        json_object_get(json_object_get(r.conversation.tools[2].schema, "properties"), "command"));
    assert_non_null(
        json_object_get(json_object_get(r.conversation.tools[3].schema, "properties"), "old_str"));
    assert_int_equal(r.conversation.choice, CONVERSATION_CHOICE_TOOL);
    assert_ptr_equal(r.conversation.chosen, &r.conversation.tools[2]);
    assert_true(r.conversation.one_call);
    assert_int_equal(conversation_n_offered(&r.conversation), 4);
    request_deinit(&r);
    parse(&r, WITH("\"tools\":[" TOOL("a") "],\"tool_choice\":{\"type\":\"none\"}"));
    assert_int_equal(conversation_n_offered(&r.conversation), 0);
    request_deinit(&r);
}

static void test_counting_needs_no_max_tokens(void **state)
{
    static const char body[] = "{\"model\":\"m\"," HI "}";
    struct request r;
    struct error err = {0};
    (void)state;
    assert_true(request_parse(&r, body, sizeof body - 1, true, &err));
    request_deinit(&r);
}

/* A number is what it says, however it is written. */
static void test_numbers(void **state)
{
    static const struct {
        const char *literal;
        uint32_t max_tokens;
    } rows[] = {{"1e1", 10},           {"10.0", 10},
                {"1E+2", 100},         {"99999999999999999999", UINT32_MAX},
                {"1e400", UINT32_MAX}, {"4294967296", UINT32_MAX}};
    static const char *const samplings[] = {"\"temperature\":0",
                                            "\"temperature\":1e-400",
                                            "\"temperature\":-0",
                                            "\"temperature\":0.10",
                                            "\"top_k\":1e1",
                                            "\"top_k\":99999999999999999999",
                                            "\"metadata\":{\"n\":1e400}",
                                            "\"unknown\":18446744073709551616"};
    char body[256];
    struct request r;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(body, sizeof body, "{\"model\":\"m\",\"max_tokens\":%s," HI "}", rows[i].literal);
        parse(&r, body);
        assert_int_equal(r.max_tokens, rows[i].max_tokens);
        request_deinit(&r);
    }
    for (size_t i = 0; i < sizeof samplings / sizeof *samplings; i++) {
        snprintf(body, sizeof body, HEAD HI ",%s}", samplings[i]);
        parse(&r, body);
        assert_true(!r.has_temperature || (r.temperature >= 0 && r.temperature <= 0.1));
        request_deinit(&r);
    }
    /* and never a string */
    struct error err;
    static const char *const wrong[] = {
        "{\"model\":1e400,\"max_tokens\":1," HI "}",
        HEAD "\"messages\":[{\"role\":\"user\",\"content\":1e400}]}",
        HEAD "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":-0}]}]}",
        HEAD HI ",\"stop_sequences\":[1e400]}", HEAD HI ",\"temperature\":1e400}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(request_parse(&r, wrong[i], strlen(wrong[i]), false, &err));
}

/* The character U+0000 is one like others in text, and refused in names. */
static void test_zeros(void **state)
{
    struct request r;
    (void)state;
    parse(&r, HEAD "\"system\":\"s\\u0000t\",\"stop_sequences\":[\"\\u0000\"],\"tools\":[{\"name\":"
                   "\"f\",\"description\":\"d\\u0000e\",\"input_schema\":{}}],\"messages\":["
                   "{\"role\":\"user\",\"content\":\"a\\u0000b\"},{\"role\":\"assistant\","
                   "\"content\":\"c\\u0000\"}]}");
    assert_int_equal(r.conversation.system.blocks[0].text.n, 3);
    assert_int_equal(r.conversation.messages[0].blocks[0].text.n, 3);
    assert_int_equal(r.conversation.tools[0].description.n, 3);
    assert_int_equal(r.stops[0].n, 1);
    request_deinit(&r);
    static const char *const names[][2] = {
        {HEAD HI ",\"tools\":[{\"name\":\"f\\u0000g\",\"input_schema\":{}}]}", "tools.0.name"},
        {BLOCKS("{\"type\":\"te\\u0000xt\",\"text\":\"a\"}"), "messages.0.content.0.type"},
        {BLOCKS("{\"type\":\"tool_result\",\"tool_use_id\":\"a\\u0000\"}"),
         "messages.0.content.0.tool_use_id"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct error err;
        assert_false(request_parse(&r, names[i][0], strlen(names[i][0]), false, &err));
        assert_memory_equal(err.message, names[i][1], strlen(names[i][1]));
        assert_non_null(strstr(err.message, "should not hold the character U+0000"));
    }
}

static void test_answer_schema(void **state)
{
    struct request r;
    (void)state;
    parse(&r, WITH("\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":{\"type\":"
                   "\"object\"}}}"));
    assert_non_null(r.conversation.answer_schema);
    request_deinit(&r);
}

/* Each cut of a good body is refused or taken, and leaves nothing behind. */
static void test_every_cut(void **state)
{
    static const char body[] = HEAD
        "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\\u00e9\"}]}],"
        "\"tools\":[" TOOL("a") "," TOOL("b") "],\"tool_choice\":{\"type\":\"any\"}}";
    (void)state;
    for (size_t n = 0; n < sizeof body - 1; n++) {
        struct request r;
        struct error err = {0};
        assert_false(request_parse(&r, body, n, false, &err));
        assert_int_equal(err.code, ERROR_INPUT);
    }
    accepted(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smallest),
        cmocka_unit_test(test_all_members),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_not_json),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_tool_results),
        cmocka_unit_test(test_system),
        cmocka_unit_test(test_continuation),
        cmocka_unit_test(test_tools),
        cmocka_unit_test(test_counting_needs_no_max_tokens),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_answer_schema),
        cmocka_unit_test(test_every_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
