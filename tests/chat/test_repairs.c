/* Templates that raise on what clients send, or want it otherwise: each is served in its own way,
 * found when it is loaded, and what was rendered stays as the conversation grows. */
#include "support/cpu_time.h"
#include "chat/prompt.h"
#include "speaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define HEAD "{\"model\":\"m\",\"max_tokens\":9,"
#define TOOLS                                                                                      \
    "\"tools\":[{\"name\":\"Read\",\"description\":\"reads\",\"input_schema\":{\"type\":"          \
    "\"object\"}}],"
#define SAID(text) "{\"type\":\"text\",\"text\":\"" text "\"}"
#define CALL(id) "{\"type\":\"tool_use\",\"id\":\"" id "\",\"name\":\"Read\",\"input\":{\"p\":1}}"
#define GAVE(id, text)                                                                             \
    "{\"type\":\"tool_result\",\"tool_use_id\":\"" id "\",\"content\":\"" text "\"}"
#define THOUGHT(text) "{\"type\":\"thinking\",\"thinking\":\"" text "\"}"
#define SYSTEM(text) "{\"role\":\"system\",\"content\":\"" text "\"}"
#define USER(blocks) "{\"role\":\"user\",\"content\":[" blocks "]}"
#define MODEL(blocks) "{\"role\":\"assistant\",\"content\":[" blocks "]}"
#define BODY(list) HEAD "\"messages\":[" list "]}"
#define TOOL_BODY(list) HEAD TOOLS "\"messages\":[" list "]}"

static void check(const char *source, const char *body, const char *expected)
{
    struct buf out;
    speaker_render(source, body, &out);
    assert_string_equal(out.data, expected);
    buf_deinit(&out);
}

static void check_repairs(const char *source, const char *repairs)
{
    struct speaker s;
    struct prompt p;
    struct buf out;
    speaker_open(&s, source);
    speaker_prompt(&s, &p);
    buf_init(&out, 4096);
    prompt_repairs_note(&p, &out);
    assert_string_equal(out.data ? out.data : "", repairs);
    buf_deinit(&out);
    prompt_deinit(&p);
    speaker_close(&s);
}

/* ---- templates ---- */

#define SHOW_CALL "{{ c.function.name }}({{ c.function.arguments | tojson }})"
#define SHOW_TOOLS                                                                                 \
    "{% for t in tools or [] %}<{{ t.function.name }} {{ t.function.description }}>{% endfor %}"
#define ASK "{% if add_generation_prompt %}[assistant]{% endif %}"
#define SHOW_MESSAGES                                                                              \
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% for c in m.tool_calls or [] "          \
    "%}" SHOW_CALL "{% endfor %}{% endfor %}"
#define RAISE(what) "{{ raise_exception('" what "') }}"

/* Users and assistants take turns, but for calls and results; ids of nine letters; one system
 * message, the first. */
static const char turns[] =
    "{% set ns = namespace(i=0) %}{% for m in messages %}"
    "{% if m.role == 'system' and not loop.first %}" RAISE(
        "system") "{% endif %}"
                  "{% if m.role in ['user', 'assistant'] and not m.tool_calls %}"
                  "{% if (m.role == 'user') != (ns.i % 2 == 0) %}" RAISE(
                      "turns") "{% endif %}"
                               "{% set ns.i = ns.i + 1 %}{% endif %}"
                               "{% for c in m.tool_calls or [] if c.id | length != 9 %}" RAISE(
                                   "id") "{% endfor %}{% endfor %}" SHOW_TOOLS SHOW_MESSAGES ASK;

/* One call a message, whose result names it; thoughts or text beside it. */
static const char channels[] =
    SHOW_TOOLS "{% set ns = namespace(name=none) %}{% for m in messages %}"
               "{% if m.role == 'assistant' and m.tool_calls %}{% set c = m.tool_calls[0] %}"
               "{% if m.content and m.thinking %}" RAISE(
                   "both") "{% endif %}"
                           "[analysis]{{ m.thinking or m.content }}[call]" SHOW_CALL
                           "{% set ns.name = c.function.name %}"
                           "{% elif m.role == 'tool' %}{% if ns.name is none %}" RAISE(
                               "no call") "{% endif %}"
                                          "[{{ ns.name }}]{{ m.content }}{% else %}[{{ m.role "
                                          "}}]{{ m.content }}"
                                          "{% set ns.name = none if m.role == 'assistant' else "
                                          "ns.name %}{% endif %}{% endfor %}" ASK;

/* Somebody must ask, and no call comes with another. */
static const char query[] =
    "{% if not messages | selectattr('role', 'equalto', 'user') | list %}" RAISE(
        "no user") "{% endif %}{% for m in messages if m.tool_calls and m.tool_calls | length > 1 "
                   "%}" RAISE("single") "{% endfor %}" SHOW_TOOLS SHOW_MESSAGES ASK;

static const char parts[] = SHOW_TOOLS
    "{% for m in messages %}[{{ m.role }}]"
    "{% for part in m.content %}{{ part.text if part.type == 'text' else part.thinking }}"
    "{% endfor %}{% for c in m.tool_calls or [] %}{{ c.function.name + c.function.arguments }}"
    "{% endfor %}{% endfor %}" ASK;

/* ---- tests ---- */

static void test_turns(void **state)
{
    (void)state;
    check_repairs(turns, "short call ids, later system messages said by users, users end results, "
                         "results first, calls are answered, a user opens");
    check(turns, BODY(USER(SAID("a")) "," SYSTEM("b") "," MODEL(SAID("c")) "," USER(SAID("d"))),
          "[user]a\n\nb[assistant]c[user]d[assistant]");
    check(turns,
          TOOL_BODY(USER(SAID("a")) "," MODEL(CALL("t1")) "," USER(GAVE("t1", "b") "," SAID("c"))),
          "<Read reads>[user]a[assistant]Read({\"p\": 1})[tool]b\n\nc[assistant]");
    check(turns, TOOL_BODY(USER(SAID("a")) "," MODEL(CALL("t1")) "," USER(SAID("b"))),
          "<Read reads>[user]a[assistant]Read({\"p\": 1})[tool](no result)\n\nb[assistant]");
    check(turns, BODY(MODEL(SAID("a")) "," USER(SAID("b"))),
          "[user][assistant]a[user]b[assistant]");
}

static void test_channels(void **state)
{
    (void)state;
    check_repairs(channels, "one call a message, text beside calls joins the thoughts, "
                            "results first");
    check(channels,
          TOOL_BODY(USER(SAID("a")) "," MODEL(THOUGHT("hm") "," SAID("b") "," CALL("t1") "," CALL(
              "t2")) "," USER(GAVE("t1", "c") "," GAVE("t2", "d"))),
          "<Read reads>[user]a[analysis]hm\n\nb[call]Read({\"p\": 1})[Read]c[analysis][call]"
          "Read({\"p\": 1})[Read]d[assistant]");
}

static void test_query(void **state)
{
    (void)state;
    check_repairs(query, "one call a message, a user opens");
    check(query, BODY(SYSTEM("a")), "[system]a[user][assistant]");
    check(query, BODY(USER(SAID("a"))), "[user]a[assistant]");
    check(query,
          TOOL_BODY(USER(SAID("a")) "," MODEL(CALL("t1") "," CALL("t2")) "," USER(
              GAVE("t2", "c") "," GAVE("t1", "b"))),
          "<Read reads>[user]a[assistant]Read({\"p\": 1})[tool]b[assistant]Read({\"p\": 1})[tool]c"
          "[assistant]");
}

static void test_parts(void **state)
{
    (void)state;
    check_repairs(parts, "content as parts, arguments as text");
    check(parts,
          TOOL_BODY(
              USER(SAID("a")) "," MODEL(THOUGHT("hm") "," CALL("t1")) "," USER(GAVE("t1", "b"))),
          "<Read reads>[user]a[assistant]hmRead{\"p\": 1}[tool]b[assistant]");
}

/* Tools in a variable of their own; an empty list of them; system messages that all go to the
 * beginning, or bring another beginning. */
static void test_other_wishes(void **state)
{
    static const char functions[] = "({{ 'f' + functions + datetime[:2] }})" SHOW_MESSAGES ASK;
    static const char list[] =
        "{% for t in tools %}<{{ t.function.name }}>{% endfor %}" SHOW_MESSAGES ASK;
    static const char gathers[] =
        "{% for m in messages if m.role == 'system' %}{{ m.content }};{% endfor %}"
        "{% for m in messages if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endfor "
        "%}" ASK;
    static const char greets[] = "{% if not messages | selectattr('role', 'equalto', 'system') | "
                                 "list %}Be kind.{% endif %}" SHOW_MESSAGES ASK;
    static const char middle[] =
        BODY(USER(SAID("a")) "," SYSTEM("b") "," MODEL(SAID("c")) "," USER(SAID("d")));
    struct buf out;
    (void)state;
    check_repairs(functions, "tools as functions");
    speaker_render(functions, TOOL_BODY(USER(SAID("a"))), &out);
    assert_non_null(strstr(out.data, "\"name\": \"Read\""));
    assert_non_null(strstr(out.data, "]20)[user]a[assistant]"));
    buf_deinit(&out);
    check(functions, BODY(USER(SAID("a"))), "(f[]20)[user]a[assistant]");
    check_repairs(list, "an empty list of tools");
    check(list, BODY(USER(SAID("a"))), "[user]a[assistant]");
    check_repairs(gathers, "tools in words, later system messages said by users");
    check(gathers, middle, "[user]a\n\nb[assistant]c[user]d[assistant]");
    check_repairs(greets, "tools in words, later system messages said by users");
    check(greets, middle, "Be kind.[user]a\n\nb[assistant]c[user]d[assistant]");
}

/* A conversation that grows: what was rendered of it, but for the opening of the answer, begins
 * what is rendered next. */
static void test_what_was_rendered_stays(void **state)
{
    static const char *const messages[] = {
        USER(SAID("w1")),
        MODEL(THOUGHT("hm") "," SAID("w2") "," CALL("t1") "," CALL("t2")),
        USER(GAVE("t2", "w3") "," SAID("w4")),
        MODEL(SAID("w5")),
        USER(GAVE("t1", "w6")),
        MODEL(CALL("t3")),
        USER(SAID("w7")),
        SYSTEM("w8"),
        MODEL(SAID("w9")),
        USER(SAID("w10"))};
    static const char *const sources[] = {turns, channels,     query,
                                          parts, speaker_full, speaker_plain};
    (void)state;
    for (size_t k = 0; k < sizeof sources / sizeof *sources; k++) {
        struct buf body, now, before = {0};
        for (size_t n = 1; n <= sizeof messages / sizeof *messages; n++) {
            buf_init(&body, 1 << 16);
            buf_puts(&body, HEAD TOOLS "\"messages\":[");
            for (size_t i = 0; i < n; i++)
                buf_printf(&body, "%s%s", i ? "," : "", messages[i]);
            buf_puts(&body, "]}");
            if (!strncmp(messages[n - 1], "{\"role\":\"user\"", 14)) {
                speaker_render(sources[k], body.data, &now);
                const char *tail =
                    strrchr(now.data,
                            sources[k] == speaker_full || sources[k] == speaker_plain ? '<' : '[');
                buf_truncate(&now, (size_t)(tail - now.data));
                assert_true(now.len > before.len);
                if (before.len)
                    assert_memory_equal(now.data, before.data, before.len);
                buf_deinit(&before);
                before = now;
            }
            buf_deinit(&body);
        }
        buf_deinit(&before);
    }
}

/* What nobody could know at the start: tools that the template can't describe, a word that it does
 * not take. */
static void test_what_raises_later(void **state)
{
    static const char picky[] = "{% for t in tools or [] %}<{{ t.function.name }} "
                                "{% if not t.function.parameters.properties %}" RAISE(
                                    "no properties") "{% endif %}"
                                                     "{{ t.function.description }}>{% endfor %}{% "
                                                     "for m in messages if m.role != 'system' and "
                                                     "'<bad>' in m.content %}" RAISE(
                                                         "bad") "{% endfor %}" SHOW_MESSAGES ASK;
    struct buf out;
    (void)state;
    check_repairs(picky, "");
    speaker_render(picky, TOOL_BODY(USER(SAID("a"))), &out);
    assert_memory_equal(out.data, "[system]# Tools", 15);
    buf_deinit(&out);
    check(picky, BODY(USER(SAID("<bad> w")) "," MODEL(SAID("<bad>")) "," USER(SAID("b"))),
          "[user]<bad> w[assistant]<bad>[user]b[assistant]");
    check(picky, BODY(USER(SAID("a")) "," MODEL(SAID("<bad> it"))), "[user]a[assistant]<bad> it");
}

/* A template that never ends costs once what one may cost, whatever is tried. */
static void test_endless_template(void **state)
{
    static const char source[] =
        "{% for i in range(99999) %}{% for k in range(99999) %}{% endfor %}"
        "{% endfor %}" SHOW_MESSAGES ASK;
    struct speaker s;
    struct prompt p;
    struct error err = {0};
    (void)state;
    speaker_open(&s, source);
    const int64_t begin_ms = cpu_time_ms();
    assert_false(prompt_init(&p, s.tokenizer, s.chat_template, &dialects_known, &err));
    assert_true(cpu_time_ms() - begin_ms < 20000);
    assert_int_equal(err.code, ERROR_TOO_LARGE);
    assert_memory_equal(err.message, "the model's chat template", 25);
    speaker_close(&s);
}

/* ---- variables ---- */

static const char thinker[] =
    "{% if reasoning_effort is defined and reasoning_effort not in ['low', 'high', 'max'] %}" RAISE(
        "effort") "{% endif %}({{ reasoning_effort }} {{ model_identity }})" SHOW_MESSAGES
                  "{% if add_generation_prompt %}[{{ 'no' if enable_thinking is false else 'think' "
                  "}}]{% endif %}";

static void check_variables(const char *set, const char *said, const char *expected)
{
    struct speaker s;
    struct prompt p;
    struct buf body, out;
    struct error err = {0};
    speaker_open(&s, thinker);
    if (set)
        assert_true(chat_template_set_variables(s.chat_template, set, &err));
    speaker_prompt(&s, &p);
    buf_init(&body, 4096);
    buf_printf(&body, HEAD "%s\"messages\":[" USER(SAID("a")) "]}", said);
    assert_true(speaker_try(&p, body.data, &out, &err));
    assert_string_equal(out.data, expected);
    buf_deinit(&body);
    buf_deinit(&out);
    prompt_deinit(&p);
    speaker_close(&s);
}

static void test_variables(void **state)
{
    static const char off[] = "{\"enable_thinking\": false, \"model_identity\": \"I\"}";
    (void)state;
    check_variables(NULL, "", "( )[user]a[think]");
    check_variables(NULL, "\"thinking\":{\"type\":\"disabled\"},", "( )[user]a[no]");
    check_variables(off, "", "( I)[user]a[no]");
    check_variables(off, "\"thinking\":{\"type\":\"adaptive\"},", "( I)[user]a[no]");
    check_variables(off, "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024},",
                    "( I)[user]a[think]");
    check_variables(NULL, "\"output_config\":{\"effort\":\"low\"},", "(low )[user]a[think]");
    check_variables(NULL, "\"output_config\":{\"effort\":\"medium\"},", "(high )[user]a[think]");
    check_variables(NULL, "\"output_config\":{\"effort\":\"xhigh\"},", "(max )[user]a[think]");
    check_variables("{\"reasoning_effort\": \"max\"}", "\"output_config\":{\"effort\":\"low\"},",
                    "(low )[user]a[think]");
    check_variables(NULL, "\"output_config\":{\"effort\":\"who knows\"},", "( )[user]a[think]");
}

static void test_wrong_variables(void **state)
{
    static const char *const wrong[] = {
        "", "[]", "1", "{\"a\": }", "{\"messages\": []}", "{\"add_generation_prompt\": false}"};
    struct speaker s;
    struct error err;
    (void)state;
    speaker_open(&s, thinker);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        err = (struct error){0};
        assert_false(chat_template_set_variables(s.chat_template, wrong[i], &err));
        assert_int_equal(err.code, ERROR_INPUT);
        assert_true(err.message[0]);
    }
    speaker_close(&s);
}

/* ---- history ---- */

static void check_history(const char *source, const char *says, const char *variables)
{
    struct speaker s;
    struct prompt p;
    struct buf out;
    speaker_open(&s, source);
    speaker_prompt(&s, &p);
    buf_init(&out, 4096);
    prompt_variables_note(&p, &out);
    assert_string_equal(out.data, variables);
    if (*says ? !strstr(prompt_history_note(&p), says) : *prompt_history_note(&p))
        fail_msg("\"%s\" should say \"%s\"", prompt_history_note(&p), says);
    buf_deinit(&out);
    prompt_deinit(&p);
    speaker_close(&s);
}

/* Thoughts of the last turn, or of all where `keep` is true. */
#define THINKS(keep)                                                                               \
    "{% set ns = namespace(last=-1) %}{% for m in messages if m.role == 'user' %}"                 \
    "{% set ns.last = messages.index(m) %}{% endfor %}{% for m in messages %}[{{ m.role }}]"       \
    "{% if m.reasoning_content and (" keep " or loop.index0 > ns.last) %}<{{ m.reasoning_content " \
    "}}>{% endif %}{{ m.content }}{% endfor %}" ASK

static void test_history(void **state)
{
    static const char system_last[] =
        "{% for m in messages if m.role != 'system' %}[{{ m.role }}]"
        "{% if loop.last and messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}"
        "{{ m.content }}{% endfor %}" ASK;
    static const char tools_last[] =
        "{% for m in messages %}{% if loop.last %}" SHOW_TOOLS "{% endif %}[{{ m.role }}]"
        "{{ m.content }}{% for c in m.tool_calls or [] %}" SHOW_CALL "{% endfor %}{% endfor %}" ASK;
    static const char hides_text[] = SHOW_TOOLS
        "{% for m in messages %}[{{ m.role }}]{% if m.tool_calls %}"
        "{% for c in m.tool_calls %}" SHOW_CALL "{% endfor %}{% else %}{{ m.content }}{% endif %}"
        "{% endfor %}" ASK;
    static const char opens[] =
        SHOW_MESSAGES "{% if add_generation_prompt %}[assistant]<think>{% endif %}";
    (void)state;
    check_history(speaker_full, "", "{}");
    check_history(turns, "", "{}");
    check_history(THINKS("true"), "", "{}");
    check_history(THINKS("false"), "drops earlier thoughts", "{}");
    check_history(THINKS("preserve_thinking"), "", "{\"preserve_thinking\": true}");
    check_history(THINKS("clear_thinking is false"), "", "{\"clear_thinking\": false}");
    check_history(system_last, "", "{}");
    check_repairs(system_last,
                  "system prompt said by the first user, tools in words, a user opens");
    check_history(tools_last, "describes the tools beside the last user message", "{}");
    check_history(hides_text, "drops what is said beside a call", "{}");
    check_history(opens, "opens an answer otherwise", "{}");
    check_history(SHOW_TOOLS SHOW_MESSAGES
                  "{% if add_generation_prompt %}[assistant]{% else %}</s>{% endif %}",
                  "", "{}");
    check_history("{{ messages | length }}" SHOW_MESSAGES ASK, "rewrites", "{}");
}

/* The date is that of the load. */
static void test_the_date_stays(void **state)
{
    struct speaker s;
    struct buf out;
    struct error err = {0};
    json_t *context = json_object();
    (void)state;
    speaker_open(&s, "{{ strftime_now('%s') }} ");
    buf_init(&out, 1 << 10);
    assert_true(chat_template_render(s.chat_template, context, NULL, &out, NULL, &err));
    const size_t n = out.len;
    struct timespec a_bit_more_than_a_second = {1, 50000000};
    nanosleep(&a_bit_more_than_a_second, NULL);
    assert_true(chat_template_render(s.chat_template, context, NULL, &out, NULL, &err));
    assert_int_equal(out.len, 2 * n);
    assert_memory_equal(out.data, out.data + n, n);
    buf_deinit(&out);
    json_decref(context);
    speaker_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_channels),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_other_wishes),
        cmocka_unit_test(test_what_was_rendered_stays),
        cmocka_unit_test(test_what_raises_later),
        cmocka_unit_test(test_endless_template),
        cmocka_unit_test(test_variables),
        cmocka_unit_test(test_wrong_variables),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_the_date_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
