/* The reader of answers: the same text and calls however the bytes are cut, calls in each form that
 * models write, and nothing held back longer than it must be. */
#include "chat/answer.h"
#include "chat/tool_call.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct conversation_tool tools[] = {{"Write"}, {"Bash"}, {"WriteAll"}};

#define WRITE "{\"name\": \"Write\", \"arguments\": {\"path\": \"a\"}}"
#define BASH "{\"name\": \"Bash\", \"arguments\": {\"command\": \"ls\"}}"

/* What the client would be told: text as it is, calls in angle brackets. */
struct told {
    struct buf out;
    bool marked;
    size_t n_pieces; /* of arguments */
};

static void on_text(void *context, const char *bytes, size_t n)
{
    struct told *told = context;
    assert_true(n > 0);
    assert_true(buf_append(&told->out, bytes, n));
}

static void on_thinking(void *context, const char *bytes, size_t n)
{
    struct told *told = context;
    assert_true(n > 0);
    assert_true(buf_putc(&told->out, '(') && buf_append(&told->out, bytes, n) &&
                buf_putc(&told->out, ')'));
}

static void on_call_begin(void *context, const char *name, bool marked)
{
    struct told *told = context;
    told->marked = marked;
    buf_printf(&told->out, "<%s ", name);
}

static void on_call_bytes(void *context, const char *bytes, size_t n)
{
    struct told *told = context;
    assert_true(n > 0);
    told->n_pieces++;
    buf_append(&told->out, bytes, n);
}

static void on_call_end(void *context, bool is_whole)
{
    struct told *told = context;
    buf_printf(&told->out, "%s%s>", told->marked ? " marked" : "", is_whole ? "" : " cut");
}

static void on_repeats(void *context, const char *name)
{
    struct told *told = context;
    buf_printf(&told->out, "<again %s>", name);
}

static const struct answer_options all_tools = {
    .tools = {tools, 3}, .dialects = &dialects_known, .own_dialects = 1};

static void begin(struct answer *a, struct told *told, const struct answer_options *options)
{
    const struct answer_sink sink = {told,          on_text,     on_thinking, on_call_begin,
                                     on_call_bytes, on_call_end, on_repeats};
    buf_init(&told->out, 1 << 20);
    buf_append(&told->out, "", 0);
    assert_true(answer_init(a, options, &sink));
}

static void end(struct answer *a, struct told *told)
{
    answer_deinit(a);
    buf_deinit(&told->out);
}

/* Feeds in pieces of `step` bytes; 0: of random length. */
static void feed(struct answer *a, const char *bytes, size_t n, size_t step)
{
    for (size_t at = 0, length; at < n; at += length) {
        length = step ? step : (size_t)(rand() % 7);
        if (length > n - at)
            length = n - at;
        if (!answer_feed(a, bytes + at, length))
            return;
    }
}

static void check_pieces(const struct answer_options *options, const char *bytes, size_t n,
                         const char *expected, size_t step)
{
    struct answer a;
    struct told told = {0};
    begin(&a, &told, options);
    feed(&a, bytes, n, step);
    answer_finish(&a);
    assert_string_equal(told.out.data, expected);
    end(&a, &told);
}

static void check_with(const struct answer_options *options, const char *text, const char *expected)
{
    size_t n = strlen(text);
    check_pieces(options, text, n, expected, n ? n : 1);
    for (size_t step = 1; step < 6; step++)
        check_pieces(options, text, n, expected, step);
    for (int i = 0; i < 50; i++)
        check_pieces(options, text, n, expected, 0);
}

static void check(const char *text, const char *expected)
{
    check_with(&all_tools, text, expected);
}

static void same(const char *text)
{
    check(text, text);
}

#define CALL "<Write {\"path\":\"a\"}>"
#define MARKED_CALL "<Write {\"path\":\"a\"} marked>"

static void test_plain_text(void **state)
{
    (void)state;
    same("Hello");
    same("Hello.\n\n  Indented\n");
    same("a < b, a <tool, a <tool_cal, <tool_callx>, x[0] [TOOL, [TOOL_CALL]");
    same("{}");
    same("{ \"a\": 1 }\n[1, 2]\n`x`\n```c\nint x;\n```\nend");
    same("```json\n{\"a\": 1}\n```");
    check("", "");
    check("\n \n", "");
}

static void test_marked_call(void **state)
{
    (void)state;
    check("<tool_call>\n" WRITE "\n</tool_call>", MARKED_CALL);
    check("\n\n<tool_call>" WRITE "</tool_call>\n", MARKED_CALL);
    check("I will.\n<tool_call>\n" WRITE "\n</tool_call>", "I will." MARKED_CALL);
    check("I will. <tool_call>\n" WRITE "\n</tool_call>", "I will. " MARKED_CALL);
    check("<tool_call>\n" WRITE "\n</tool_call>\n<tool_call>\n" BASH "\n</tool_call>",
          MARKED_CALL "<Bash {\"command\":\"ls\"} marked>");
    check("<tool_call>\n" WRITE "\n" BASH "\n</tool_call>",
          MARKED_CALL "<Bash {\"command\":\"ls\"} marked>");
    check("<tool_call>\n" WRITE "}\n</tool_call>\nDone.", MARKED_CALL "Done.");
    check("<tool_call>\n```json\n" WRITE "\n```\n</tool_call>", MARKED_CALL);
    check("<tool_call>" WRITE, MARKED_CALL);
    check("<tool_call>{\"arguments\": {}, \"name\": \"Bash\"}</tool_call>", "<Bash {} marked>");
    check("<tool_call>{\"name\": \"Bash\"}</tool_call>", "<Bash {} marked>");
    check("<tool_call>[" WRITE "," BASH "]</tool_call>",
          MARKED_CALL "<Bash {\"command\":\"ls\"} marked>");
    /* markers that are not the model's own count as none: the answer ends there */
    check("<tools>\n" WRITE "\n</tools>\n" BASH, CALL);
}

static void test_marked_text(void **state)
{
    (void)state;
    same("<tool_call>\nWrite\n</tool_call>");
    same("<tool_call>\n{\"name\": \"Nope\", \"arguments\": {}}\n</tool_call>");
    same("<tool_call>\n{\"name\": \"Write\", \"arguments\": ");
    same("Use <tool_call> and </tool_call>.");
    check("<tool_call>no <tool_call>" WRITE "</tool_call>", "<tool_call>no " MARKED_CALL);
}

static void test_bare_call(void **state)
{
    (void)state;
    check(WRITE, CALL);
    check(" \n" WRITE "\n\nand then", CALL);
    check("Now:\n\n  " WRITE, "Now:" CALL);
    check(WRITE "\n" BASH, CALL);
    check(WRITE "}", CALL);
    check("{ \"name\" :\n\"Write\" , \"arguments\" :\n { \"path\" : \"a\" } }", CALL);
    check("{\"name\":\"Write\",\"parameters\":{\"path\":\"a\"}}", CALL);
    check("{\"name\":\"Write\",\"input\":{\"path\":\"a\"}}", CALL);
    check("{\"name\":\"Write\",\"arguments\":{\"path\":\"a\"},\"id\":7}", CALL);
    check("{\"name\":\"Write\",\"arguments\":\"{\\\"path\\\":\\\"a\\\"}\"}", CALL);
    check("{\"name\":\"WriteAll\",\"arguments\":{}}", "<WriteAll {}>");
    check("[" WRITE ", " BASH "] and", CALL "<Bash {\"command\":\"ls\"}>");
    check("[\n" WRITE "\n]", CALL);
}

static void test_fenced_call(void **state)
{
    (void)state;
    check("```json\n" WRITE "\n```", CALL);
    check("```\n" WRITE "\n```\nmore", CALL);
    check("Sure:\n```json\n" WRITE "\n```", "Sure:" CALL);
    check("```json  \n\n[" WRITE "]\n```", CALL);
    check("```jsonc\n" WRITE, CALL);
    check("```python\nx = 1\n```", "```python\nx = 1\n```");
}

static void test_bare_text(void **state)
{
    (void)state;
    same("Look: " WRITE);
    same("{\"name\": \"Nope\", \"arguments\": {}}");
    same("{\"name\": \"Writ\", \"arguments\": {}}");
    same("{\"name\": \"Write\"}");
    same("{\"name\": \"Write\", \"other\": {}}");
    same("{\"arguments\": {}, \"name\": \"Write\"}");
    same("{\"name\": \"Write\", \"arguments\": [1]}");
    same("{\"name\": \"Write\", \"arguments\": {\"path\": \"a\"}");
    same("{\"name\": \"Write\", \"arguments\": {\"path\": a}}");
    same("{\"name\": \"Write\", \"arguments\": \"no json\"}");
    same("[" WRITE ", {\"name\": \"Nope\", \"arguments\": {}}]");
    same("[1, " WRITE "]");
    /* after a candidate that was none, the next line may be one */
    check("{\"name\": \"Nope\"}\n" WRITE, "{\"name\": \"Nope\"}" CALL);
    check("{\n" WRITE, "{" CALL);
    check("```c\nx\n```\n```json\n" WRITE, "```c\nx\n```" CALL);
    check("```json\n{\"x\": 1}\n```\n" WRITE, "```json\n{\"x\": 1}\n```" CALL);
}

static void test_mended_call(void **state)
{
    (void)state;
    check("{\"name\": \"Write\", \"arguments\": {\"text\": \"one\n\ttwo \\\"x\\\" it\\'s\r\n\"}}",
          "<Write {\"text\":\"one\\n\\ttwo \\\"x\\\" it's\\r\\n\"}>");
    check("{\"name\": \"Write\", \"arguments\": {\"text\": \"\\u00e9 \xc3\xa9 \\\\n\"}}",
          "<Write {\"text\":\"\xc3\xa9 \xc3\xa9 \\\\n\"}>");
    /* an unescaped quote could mean two things */
    same("{\"name\": \"Write\", \"arguments\": {\"text\": \"say \"hi\"\"}}");
    same("{\"name\": \"Write\", \"arguments\": {\"text\": \"a\"},}");
}

static void test_without_tools(void **state)
{
    const struct answer_options none = {.dialects = &dialects_known, .own_dialects = 1};
    (void)state;
    check_with(&none, WRITE "\n<tool_call>" WRITE "</tool_call>\n ",
               WRITE "\n<tool_call>" WRITE "</tool_call>\n ");
}

static void test_one_call(void **state)
{
    struct answer_options one = all_tools;
    (void)state;
    one.one_call = true;
    check_with(&one, "<tool_call>" WRITE "</tool_call><tool_call>" BASH "</tool_call>",
               MARKED_CALL);
    check_with(&one, "[" WRITE "," BASH "]", CALL);
}

static void check_stop(const char *const *stops, const char *text, const char *expected, int stop)
{
    struct conversation_text texts[4];
    struct answer_options options = all_tools;
    options.stops = texts;
    for (; stops[options.n_stops]; options.n_stops++)
        texts[options.n_stops] =
            (struct conversation_text){stops[options.n_stops], strlen(stops[options.n_stops])};
    check_with(&options, text, expected);
    struct answer a;
    struct told told = {0};
    begin(&a, &told, &options);
    feed(&a, text, strlen(text), 1);
    answer_finish(&a);
    assert_int_equal(a.stop, stop);
    end(&a, &told);
}

static void test_stop_sequences(void **state)
{
    (void)state;
    check_stop((const char *[]){"END", NULL}, "one END two", "one ", 0);
    check_stop((const char *[]){"END", NULL}, "one ENEND", "one EN", 0);
    check_stop((const char *[]){"END", NULL}, "one EN", "one EN", -1);
    check_stop((const char *[]){"aab", NULL}, "aaaab", "aa", 0);
    check_stop((const char *[]){"x", "\n\n", NULL}, "one\n\ntwo x", "one", 1);
    check_stop((const char *[]){"\xc3\xa9!", NULL}, "caf\xc3\xa9 \xc3\xa9! no", "caf\xc3\xa9 ", 0);
    check_stop((const char *[]){"Obs", "Observation", NULL}, "x Observation", "x ", 0);
    /* it ends text, not the arguments of a call */
    check_stop((const char *[]){"ls", NULL},
               "a"
               "\n" BASH,
               "a<Bash {\"command\":\"ls\"}>", -1);
    check_stop((const char *[]){"STOP", NULL},
               "STOP"
               "\n" WRITE,
               "", 0);
}

static void test_utf8_is_whole(void **state)
{
    static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
    struct answer a;
    struct told told = {0};
    (void)state;
    begin(&a, &told, &all_tools);
    for (size_t i = 0; i + 1 < sizeof text; i++) {
        assert_true(answer_feed(&a, text + i, 1));
        for (size_t n = 0; n < told.out.len;) { /* whole sequences alone */
            unsigned char c = (unsigned char)told.out.data[n];
            n += c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
            assert_true(n <= told.out.len);
        }
        assert_true(told.out.len + 3 > i);
    }
    answer_finish(&a);
    assert_string_equal(told.out.data, text);
    end(&a, &told);
    /* broken ones come out as they are */
    check("a\xff\xc3z\xe2\x82", "a\xff\xc3z\xe2\x82");
}

/* After `text` exactly `expected` was told. */
static void check_held(const char *text, const char *expected)
{
    struct answer a;
    struct told told = {0};
    begin(&a, &told, &all_tools);
    feed(&a, text, strlen(text), 1);
    assert_string_equal(told.out.data, expected);
    end(&a, &told);
}

static void test_held_no_longer_than_needed(void **state)
{
    (void)state;
    check_held("Hello", "Hello");
    check_held("Hello\n", "Hello");
    check_held("Hello\n  W", "Hello\n  W");
    check_held("{", "");
    check_held("{\"a", "{\"a");
    check_held("{\"name\": \"Wr", "");
    check_held("{\"name\": \"Wx", "{\"name\": \"Wx");
    check_held("{\"name\": \"Write\", \"arguments\": {\"a\": x",
               "{\"name\": \"Write\", \"arguments\": {\"a\": x");
    check_held("```", "");
    check_held("```p", "```p");
    check_held("```json\n{\"nam", "");
    check_held("```json\n{\"not", "```json\n{\"not");
    check_held("a <tool", "a ");
    check_held("a <tool x", "a <tool x");
    check_held("<tool_call>\nx", "<tool_call>\nx");
    check_held(WRITE, CALL);
    check_held("<tool_call>" WRITE, MARKED_CALL);
}

static void test_bounded(void **state)
{
    enum { N = 300000 };
    char *text = malloc(N + 1);
    struct answer a;
    struct told told = {0};
    (void)state;
    /* a candidate that turns out to be none at its very end, and white space without end */
    memset(text, ' ', N);
    text[N] = 0;
    memcpy(text, "{\"name\":\"Write\",\"arguments\":{\"x\":\"", 34);
    text[N - 2] = '"';
    text[N - 1] = ']';
    begin(&a, &told, &all_tools);
    feed(&a, text, N, 0);
    assert_int_equal(told.out.len, N);
    end(&a, &told);
    memset(text, '\n', N);
    begin(&a, &told, &all_tools);
    feed(&a, text, N, N);
    assert_true(told.out.len > N - 1000);
    end(&a, &told);
    memset(text, '[', N);
    begin(&a, &told, &all_tools);
    feed(&a, text, N, N);
    assert_true(told.out.len > N - 1000);
    end(&a, &told);
    free(text);
}

/* A conversation whose last answer made this call, for the guard. */
static void guard_of(struct repeat_guard *g, struct conversation *c, json_t *arguments)
{
    static struct conversation_block call, result;
    static struct conversation_message messages[2];
    call = (struct conversation_block){
        .kind = CONVERSATION_CALL, .name = "Write", .arguments = arguments, .result = &result};
    result = (struct conversation_block){.kind = CONVERSATION_RESULT, .call = &call};
    messages[0] = (struct conversation_message){CONVERSATION_ASSISTANT, &call, 1};
    messages[1] = (struct conversation_message){CONVERSATION_USER, &result, 1};
    conversation_init(c, 1 << 16);
    c->messages = messages;
    c->n_messages = 2;
    assert_true(repeat_guard_init(g, c, 1));
    assert_int_equal(g->n_calls, 1);
}

static void test_repeated_call(void **state)
{
    struct repeat_guard guard;
    struct conversation c;
    struct answer_options options = all_tools;
    json_t *arguments = json_pack("{s:s, s:s}", "path", "a", "text", "long");
    (void)state;
    guard_of(&guard, &c, arguments);
    options.guard = &guard;
#define GUARDED "{\"name\": \"Write\", \"arguments\": {\"path\": \"a\", \"text\": \"lo\\u006eg\"}}"
#define TURNED "{\"name\": \"Write\", \"arguments\": {\"text\": \"long\", \"path\": \"a\"}}"
    check_with(&options, "Yes.\n" GUARDED "\nmore", "Yes.<again Write>");
    check_with(&options, "Yes.\n" TURNED, "Yes.<again Write>");
    check_with(&options, "Yes.\n<tool_call>" GUARDED "</tool_call>", "Yes.<again Write>");
    check_with(&options,
               "<tool_call>{\"arguments\": {\"path\": \"a\", \"text\": \"long\"}, "
               "\"name\": \"Write\"}</tool_call>",
               "<again Write>");
    check_with(&options, "<tool_call>" WRITE "</tool_call>", MARKED_CALL);
    check_with(&options,
               "<tool_call>{\"name\": \"Write\", \"arguments\": {\"path\": \"a\", \"text\": "
               "\"longer\"}}</tool_call>",
               "<Write {\"path\":\"a\",\"text\":\"longer\"} marked>");
    /* held until it differs, and no longer */
    static const char head[] = "<tool_call>{\"name\": \"Write\", \"arguments\": {\"path\": \"a\", "
                               "\"text\": \"lon";
    struct answer a;
    struct told told = {0};
    begin(&a, &told, &options);
    feed(&a, head, sizeof head - 1, 1);
    assert_int_equal(told.out.len, 0);
    feed(&a, "e", 1, 1);
    assert_string_equal(told.out.data, "<Write {\"path\":\"a\",\"text\":\"lone");
    end(&a, &told);
    conversation_deinit(&c);
    json_decref(arguments);
}

static void test_reset(void **state)
{
    struct answer a;
    struct told told = {0};
    (void)state;
    begin(&a, &told, &all_tools);
    assert_false(answer_feed(&a, WRITE, sizeof WRITE - 1));
    assert_false(answer_feed(&a, "x", 1));
    answer_reset(&a);
    assert_true(answer_may_open_call(&a));
    assert_true(answer_feed(&a, "Done", 4));
    answer_finish(&a);
    assert_string_equal(told.out.data, CALL "Done");
    end(&a, &told);
}

/* ---- arguments on their way ---- */

#define OPEN "<tool_call>\n{\"name\": \"Write\", \"arguments\": {"

static void test_arguments_stream(void **state)
{
    (void)state;
    check_held(OPEN, "<Write {");
    check_held(OPEN "\"pa", "<Write {\"pa");
    check_held("Now:\n" OPEN " \"path\" : \"a\\u00e9\\", "Now:<Write {\"path\":\"a\xc3\xa9");
    check_held(OPEN "\"n\": [1.50, tr", "<Write {\"n\":[1.50,tr");
    check_held(OPEN "\"t\": \"\xf0\x9f\x98", "<Write {\"t\":\"");
    check_held(OPEN "\"t\": \"\\ud83d\\ude0", "<Write {\"t\":\"");
    check_held(OPEN "}", "<Write {}");
    check_held("<tool_call>{\"name\": \"Nope\", \"arguments\": {\"a\": 1", "");
    check_held("<tool_call>{\"id\": 1, \"name\": \"Write\", \"arguments\": {\"a\": 1", "");
    /* numbers as written, whatever their size */
    check(OPEN "\"a\": 18446744073709551616, \"b\": -0, \"c\": 1E400}}</tool_call>",
          "<Write {\"a\":18446744073709551616,\"b\":-0,\"c\":1E400} marked>");
    check("{\"name\": \"Write\", \"arguments\": {\"a\": 18446744073709551616, \"b\": 0.10}}",
          "<Write {\"a\":18446744073709551616,\"b\":0.10}>");
    /* what is no JSON, but plain: escapes that mean nothing, raw controls, lone surrogates */
    check(OPEN "\"re\": \"\\d+\\s\", \"p\": \"C:\\Users\\unix\", \"z\": \"\x01\\ud800x\\udc00\"}}",
          "<Write {\"re\":\"\\\\d+\\\\s\",\"p\":\"C:\\\\Users\\\\unix\","
          "\"z\":\"\\u0001\\\\ud800x\\\\udc00\"} marked>");
    check(OPEN "\"t\": \"\xff\xc3\"}}", "<Write {\"t\":\"\xef\xbf\xbd\xef\xbf\xbd\"} marked>");
    check(OPEN "\"t\": \"\\ud83d\\ude00\\/\"}}", "<Write {\"t\":\"\xf0\x9f\x98\x80/\"} marked>");
}

/* Wherever it breaks off, what was told can be read, and says that it is not whole. */
static void test_calls_that_break_off(void **state)
{
    static const char whole[] =
        OPEN "\"a\": [1.5e+2, true, {\"k\": \"v\\n\\u00e9\\ud83d\\ude00\"}, -3], "
             "\"b\": null, \"c\": {}}}</tool_call>";
    const size_t begun = sizeof OPEN - 1, done = sizeof whole - 1 - sizeof "}</tool_call>" + 1;
    (void)state;
    for (size_t n = 0; n < sizeof whole; n++) {
        struct answer a;
        struct told told = {0};
        begin(&a, &told, &all_tools);
        feed(&a, whole, n, 0);
        answer_finish(&a);
        assert_int_equal(a.is_cut, n >= begun && n < done);
        assert_int_equal(answer_ends_with_call(&a), n >= done);
        if (n >= begun) {
            assert_memory_equal(told.out.data, "<Write ", 7);
            const char *json = told.out.data + 7, *tail = strstr(json, " marked");
            json_t *value = json_loadb(json, (size_t)(tail - json), 0, NULL);
            assert_non_null(value);
            json_decref(value);
            assert_string_equal(tail, n < done ? " marked cut>" : " marked>");
        } else {
            assert_memory_equal(told.out.data, whole, n);
        }
        end(&a, &told);
    }
    check(OPEN "\"a\": 1, oops}} more", "<Write {\"a\":1} marked cut>");
    check(OPEN "\"a\": 01}}", "<Write {\"a\":0} marked cut>");
    check(OPEN "\"a\": [1, -]}}", "<Write {\"a\":[1,-0]} marked cut>");
    check(OPEN "\"a\": 1.}}", "<Write {\"a\":1.0} marked cut>");
    check(OPEN "\"a\": 1e+,}}", "<Write {\"a\":1e+0} marked cut>");
    check(OPEN "\"a\" 1}}", "<Write {\"a\":null} marked cut>");
    check(OPEN "\"a\": [1, eu]}}", "<Write {\"a\":[1]} marked cut>");
    check(OPEN "\"a\": 1, b}}", "<Write {\"a\":1} marked cut>");
    check(OPEN "\"a\": nul}}", "<Write {\"a\":null} marked cut>");
    check(OPEN "\"a\": \"say \"hi\"\"}}", "<Write {\"a\":\"say \"} marked cut>");
    /* whole arguments make a whole call, whatever is wrong behind them */
    check(OPEN "\"a\": 1}\n</tool_call>Done", "<Write {\"a\":1} marked>Done");
    check(OPEN "\"a\": 1}, oops", "<Write {\"a\":1} marked>oops");
}

static void test_lists(void **state)
{
    (void)state;
    check("<tool_call>[" WRITE ",\n " BASH " ]</tool_call>x",
          MARKED_CALL "<Bash {\"command\":\"ls\"} marked>x");
    check("[TOOL_CALLS] [" WRITE ", " BASH "] more", CALL "<Bash {\"command\":\"ls\"}>");
    check("[TOOL_CALLS] [" WRITE ", {\"name\": \"Nope\"}]", CALL);
    check("[TOOL_CALLS]" WRITE " more", CALL);
}

static void check_opening(const char *text, bool may_open)
{
    struct answer a;
    struct told told = {0};
    begin(&a, &told, &all_tools);
    answer_feed(&a, text, strlen(text));
    assert_int_equal(answer_may_open_call(&a), may_open);
    end(&a, &told);
}

static void test_where_calls_open(void **state)
{
    (void)state;
    check_opening("", true);
    check_opening(" \n", true);
    check_opening("a", false);
    check_opening("a\n", true);
    check_opening("a\n ", true);
    check_opening("a\n b", false);
    check_opening("<tool_call>" WRITE "</tool_call>", true);
    check_opening(WRITE, false); /* the answer is over */
}

static void check_end(const char *text, bool ends_with_call)
{
    struct answer a;
    struct told told = {0};
    begin(&a, &told, &all_tools);
    answer_feed(&a, text, strlen(text));
    answer_finish(&a);
    assert_int_equal(answer_ends_with_call(&a), ends_with_call);
    end(&a, &told);
}

/* An answer that was cut behind a whole call is still a call. */
static void test_ends_with_call(void **state)
{
    (void)state;
    check_end("<tool_call>" WRITE "\n</tool", true);
    check_end("<tool_call>" WRITE, true);
    check_end(WRITE, true);
    check_end("<tool_call>" WRITE "</tool_call>Done", false);
    check_end("Done", false);
}

static void test_token_opens(void **state)
{
    static const char *const openers[] = {"{", " {",          "{\"", "[",    "\n[{", "`",    "```",
                                          "<", "<tool_call>", " ",   "\n\n", " <to", "[TOOL"};
    static const char *const others[] = {"", "a", "<a", "</", " x", "(", "\"", "Done"};
    (void)state;
    for (size_t i = 0; i < sizeof openers / sizeof *openers; i++)
        assert_true(tool_call_opens(openers[i], strlen(openers[i]), &dialects_known));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(tool_call_opens(others[i], strlen(others[i]), &dialects_known));
}

/* Any bytes, among them many that matter: whole or cut, the same. */
static void test_random_bytes(void **state)
{
    static const char *const parts[] = {
        WRITE,
        BASH,
        "<tool_call>",
        "</tool_call>",
        "{",
        "}",
        "[",
        "]",
        "\n",
        " ",
        "\"",
        "```",
        "json",
        "a",
        "\xc3",
        "\xa9",
        "\\",
        ",",
        "{\"name\": \"",
        "Write",
        "\", \"arguments\": ",
        "STOP",
        "ST",
        "<tools>",
        "[TOOL_CALLS]",
    };
    static const struct conversation_text stop = {"STOP", 4};
    struct answer_options options = all_tools;
    options.stops = &stop;
    options.n_stops = 1;
    (void)state;
    for (int round = 0; round < 5000; round++) {
        struct buf text;
        struct answer a;
        struct told told = {0};
        buf_init(&text, 1 << 16);
        buf_puts(&text, "");
        for (int i = rand() % 20; i > 0; i--)
            buf_puts(&text, parts[(size_t)rand() % (sizeof parts / sizeof *parts)]);
        begin(&a, &told, &options);
        answer_feed(&a, text.data, text.len);
        answer_finish(&a);
        check_pieces(&options, text.data, text.len, told.out.data, 1);
        check_pieces(&options, text.data, text.len, told.out.data, 0);
        end(&a, &told);
        buf_deinit(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_text),
        cmocka_unit_test(test_marked_call),
        cmocka_unit_test(test_marked_text),
        cmocka_unit_test(test_bare_call),
        cmocka_unit_test(test_fenced_call),
        cmocka_unit_test(test_bare_text),
        cmocka_unit_test(test_mended_call),
        cmocka_unit_test(test_without_tools),
        cmocka_unit_test(test_one_call),
        cmocka_unit_test(test_stop_sequences),
        cmocka_unit_test(test_utf8_is_whole),
        cmocka_unit_test(test_held_no_longer_than_needed),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_repeated_call),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_arguments_stream),
        cmocka_unit_test(test_calls_that_break_off),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_where_calls_open),
        cmocka_unit_test(test_ends_with_call),
        cmocka_unit_test(test_token_opens),
        cmocka_unit_test(test_random_bytes),
    };
    srand(4);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
