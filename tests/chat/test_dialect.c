/* Dialects through everything that uses them: whatever the row, calls stream, break off, and come
 * back out of a history as they were. */
#include "chat/answer.h"
#include "chat/json_exact.h"
#include "chat/prompt.h"
#include "claude/request.h"
#include "dialect_xml.h"
#include "speaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct dialect *const xml_rows[] = {&dialect_xml, &dialect_hermes};
static const struct dialects with_xml = {xml_rows, 2};

#define HEAD                                                                                       \
    "{\"model\":\"m\",\"max_tokens\":9,\"tools\":[{\"name\":\"Write\",\"input_schema\":{"          \
    "\"properties\":{\"path\":{\"type\":\"string\"},\"n\":{\"type\":\"integer\"},\"all\":{"        \
    "\"type\":\"array\"}}}}],"
#define ARGUMENTS                                                                                  \
    "{\"path\":\"a <b> \\\"\xc3\xa9\\\" "                                                          \
    "</ar\\n\\\\\",\"n\":18446744073709551616,\"all\":[1,{\"x\":-0}]}"
#define XML                                                                                        \
    "<call name=\"Write\"><arg name=\"path\">a <b> \"\xc3\xa9\" </ar\n\\</arg><arg name=\"n\">"    \
    "18446744073709551616</arg><arg name=\"all\">[1,{\"x\":-0}]</arg></call>"

/* ---- the model speaks ---- */

static void on_text(void *context, const char *bytes, size_t n)
{
    buf_append(context, bytes, n);
}

static void on_thinking(void *context, const char *bytes, size_t n)
{
    buf_putc(context, '(');
    buf_append(context, bytes, n);
    buf_putc(context, ')');
}

static void on_call_begin(void *context, const char *name, bool marked)
{
    buf_printf(context, "[%s %d ", name, marked);
}

static void on_call_end(void *context, bool is_whole)
{
    buf_puts(context, is_whole ? "]" : " cut]");
}

static void on_repeats(void *context, const char *name)
{
    buf_puts(context, name);
}

static void begin(struct answer *a, const struct request *r, struct buf *told)
{
    const struct answer_options options = {
        .tools = {r->conversation.tools, conversation_n_offered(&r->conversation)},
        .dialects = &with_xml,
        .own_dialects = 1,
    };
    const struct answer_sink sink = {told,    on_text,     on_thinking, on_call_begin,
                                     on_text, on_call_end, on_repeats};
    buf_init(told, 1 << 20);
    buf_puts(told, "");
    assert_true(answer_init(a, &options, &sink));
}

static void hear(const struct request *r, const char *said, size_t first, size_t step,
                 struct buf *told)
{
    struct answer a;
    size_t n = strlen(said);
    begin(&a, r, told);
    bool goes_on = !first || answer_feed(&a, said, first);
    for (size_t at = first; goes_on && at < n; at += step)
        goes_on = answer_feed(&a, said + at, n - at < step ? n - at : step);
    answer_finish(&a);
    answer_deinit(&a);
}

/* The same however it is cut. Thoughts in pieces are told in pieces. */
static void check(const char *said, const char *expected)
{
    static const char body[] = HEAD "\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}";
    struct request r;
    struct error err;
    assert_true(request_parse(&r, body, sizeof body - 1, false, &err));
    for (size_t first = 0; first <= strlen(said); first++)
        for (size_t step = 1; step < 200; step += 99) {
            struct buf told;
            hear(&r, said, first, step, &told);
            for (char *seam; (seam = strstr(told.data, ")(")); told.len -= 2)
                memmove(seam, seam + 2, strlen(seam + 2) + 1);
            assert_string_equal(told.data, expected);
            buf_deinit(&told);
        }
    request_deinit(&r);
}

static void test_calls(void **state)
{
    (void)state;
    check("I write.\n" XML, "I write.[Write 1 " ARGUMENTS "]");
    check(XML XML "Done.", "[Write 1 " ARGUMENTS "][Write 1 " ARGUMENTS "]Done.");
    check("<call name=\"Write\"> </call>", "[Write 1 {}]");
    check("<call name=\"Nope\"></call>", "<call name=\"Nope\"></call>");
    check("a <call nam", "a <call nam");
    /* the others are still listened to */
    check("<tool_call>{\"name\": \"Write\", \"arguments\": {\"n\": 1}}</tool_call>",
          "[Write 0 {\"n\":1}]");
}

static void test_calls_that_break_off(void **state)
{
    (void)state;
    check("<call name=\"Write\">", "[Write 1 {} cut]");
    check("<call name=\"Write\"><arg name=\"path\">half \xc3",
          "[Write 1 {\"path\":\"half \xef\xbf\xbd\"} cut]");
    check("<call name=\"Write\"><arg name=\"n\">1", "[Write 1 {\"n\":null} cut]");
    check("<call name=\"Write\"><arg name=\"path\">a</arg>oops</call> x",
          "[Write 1 {\"path\":\"a\"} cut]");
}

static void test_arguments_stream(void **state)
{
    static const char body[] = HEAD "\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}",
                      said[] = "<call name=\"Write\"><arg name=\"path\">one tw";
    struct request r;
    struct error err;
    struct answer a;
    struct buf told;
    (void)state;
    assert_true(request_parse(&r, body, sizeof body - 1, false, &err));
    begin(&a, &r, &told);
    answer_feed(&a, said, sizeof said - 1);
    assert_string_equal(told.data, "[Write 1 {\"path\":\"one tw");
    answer_deinit(&a);
    buf_deinit(&told);
    request_deinit(&r);
}

static void test_thoughts(void **state)
{
    (void)state;
    check("<think>\n I \xc3\xa9 wonder.\n</think>\n\nSo: " XML,
          "(I \xc3\xa9 wonder.)So: [Write 1 " ARGUMENTS "]");
    check("<think>" XML "</think>x", "(" XML ")x");
    check("<think>\n\n</think>\n\n" XML, "[Write 1 " ARGUMENTS "]");
    check("<think>and so on", "(and so on)");
    check("a <thin", "a <thin");
}

/* ---- a history is shown ---- */

static void render(const char *body, struct buf *out)
{
    struct speaker s;
    struct prompt p;
    struct request r;
    struct error err = {0};
    speaker_open(&s, speaker_plain);
    assert_true(prompt_init(&p, s.tokenizer, s.chat_template, &with_xml, &err));
    assert_int_equal(p.own_dialects, 1);
    assert_ptr_equal(p.setup.format.dialect, &dialect_xml);
    assert_true(request_parse(&r, body, strlen(body), false, &err));
    struct buf marks;
    buf_init(out, 1 << 20);
    buf_init(&marks, 1 << 20);
    assert_true(prompt_render(&p, &r.conversation, out, &marks, &err));
    buf_deinit(&marks);
    request_deinit(&r);
    prompt_deinit(&p);
    speaker_close(&s);
}

static void test_written_back(void **state)
{
    static const char body[] = HEAD
        "\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":["
        "{\"type\":\"text\",\"text\":\"I write.\"},{\"type\":\"tool_use\",\"id\":\"t\",\"name\":"
        "\"Write\",\"input\":" ARGUMENTS "}]},{\"role\":\"user\",\"content\":[{\"type\":"
        "\"tool_result\",\"tool_use_id\":\"t\",\"is_error\":true,\"content\":\"full\"}]}]}";
    struct buf out;
    (void)state;
    render(body, &out);
    assert_non_null(strstr(out.data, "<|start|>system\nYou may call: Write\nas <call name="));
    /* what comes out of the history is what the model wrote: read again, it is the same call */
    assert_non_null(strstr(out.data, "<|start|>assistant\nI write.\n" XML "<|end|>"));
    assert_non_null(strstr(out.data, "<|start|>user\n<result>Error: full</result><|end|>"));
    buf_deinit(&out);
    check("I write.\n" XML, "I write.[Write 1 " ARGUMENTS "]");
}

static void write_mark(struct marked_text *out, const struct conversation *c)
{
    (void)c;
    marked_text_own(out, "<|mark|>");
}

static void write_marked_call(struct marked_text *out, const char *name, const json_t *arguments)
{
    (void)name;
    marked_text_own(out, "<|mark|>");
    marked_text_json(out, arguments);
}

static void write_plain_result(struct marked_text *out, const char *label,
                               const struct conversation_text *text)
{
    (void)label;
    marked_text_data(out, text->data, text->n);
}

/* The markers of a dialect that is written in words are ours: where the vocabulary knows them, they
 * are those tokens, and what stands between them is not. */
static void test_own_markers_stay_markers(void **state)
{
    static const struct dialect marked = {
        .name = "marked",
        .open = "<|mark|>",
        .skips = "",
        .opens = "",
        .write_tools = write_mark,
        .write_call = write_marked_call,
        .write_result = write_plain_result,
    };
    static const struct dialect *const rows[] = {&marked};
    static const struct dialects only = {rows, 1};
    static const char body[] = HEAD
        "\"messages\":[{\"role\":\"user\",\"content\":\"<|mark|>\"},{\"role\":\"assistant\","
        "\"content\":["
        "{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"Write\",\"input\":{\"a\":\"<|mark|>\"}}]},"
        "{\"role\":\"user\",\"content\":\"q\"}]}";
    struct speaker s;
    struct prompt p;
    struct request r;
    struct token_list tokens = {0};
    struct error err = {0};
    size_t n_marks = 0;
    (void)state;
    speaker_open(&s, speaker_plain);
    assert_true(prompt_init(&p, s.tokenizer, s.chat_template, &only, &err));
    assert_true(request_parse(&r, body, sizeof body - 1, false, &err));
    assert_true(prompt_tokens(&p, &r.conversation, NULL, &tokens, &err));
    for (size_t i = 0; i < tokens.n; i++)
        n_marks += tokens.ids[i] == TINY_END + 2;
    assert_int_equal(n_marks, 2); /* in the tools' description, and before the call */
    token_list_deinit(&tokens);
    request_deinit(&r);
    prompt_deinit(&p);
    speaker_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_calls_that_break_off),
        cmocka_unit_test(test_arguments_stream),
        cmocka_unit_test(test_thoughts),
        cmocka_unit_test(test_written_back),
        cmocka_unit_test(test_own_markers_stay_markers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
