/* Which calls would be a pointless repetition. */
#include "chat/repeat_guard.h"
#include "claude/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define USER(text) "{\"role\":\"user\",\"content\":\"" text "\"}"
#define CALL(id, input)                                                                            \
    "{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"" id                     \
    "\",\"name\":\"Write\",\"input\":" input "}]}"
#define RESULT(id, text, more)                                                                     \
    "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"" id              \
    "\",\"content\":\"" text "\"" more "}]}"
#define A "{\"path\":\"a\",\"text\":\"x\"}"
#define A_TURNED "{\"text\":\"x\",\"path\":\"a\"}"
#define B "{\"path\":\"b\",\"text\":\"x\"}"

static bool hits(const char *messages, uint32_t n_identical, const char *name, const char *input)
{
    char body[4096];
    struct request r;
    struct repeat_guard g;
    struct error err = {0};
    snprintf(body, sizeof body, "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[%s]}", messages);
    if (!request_parse(&r, body, strlen(body), false, &err))
        fail_msg("%s", err.message);
    assert_true(repeat_guard_init(&g, &r.conversation, n_identical));
    json_t *arguments = json_loads(input, 0, NULL);
    bool hit = repeat_guard_hits(&g, name, arguments);
    json_decref(arguments);
    request_deinit(&r);
    return hit;
}

static void test_first_repeat(void **state)
{
    static const char once[] = USER("q") "," CALL("1", A) "," RESULT("1", "ok", "");
    (void)state;
    assert_true(hits(once, 1, "Write", A));
    assert_true(hits(once, 1, "Write", A_TURNED));
    assert_false(hits(once, 1, "Write", B));
    assert_false(hits(once, 1, "Read", A));
    assert_false(hits(once, 0, "Write", A));
    assert_false(hits(once, 2, "Write", A));
    assert_false(hits(USER("q"), 1, "Write", A));
}

static void test_only_what_was_just_shown(void **state)
{
    (void)state;
    assert_false(hits(USER("q") "," CALL("1", A) "," RESULT("1", "no", ",\"is_error\":true"), 1,
                      "Write", A));
    assert_false(hits(
        USER("q") "," CALL("1", A) "," RESULT("1", "ok", "") ",{\"role\":\"assistant\","
                                                             "\"content\":\"Done\"}," USER("again"),
        1, "Write", A));
    assert_false(hits(USER("q") "," CALL("1", A) "," RESULT("1", "ok", "") "," CALL(
                          "2", B) "," RESULT("2", "ok", ""),
                      1, "Write", A));
    assert_false(hits(USER("q") "," CALL("1", A) "," USER("never mind"), 1, "Write", A));
}

static void test_several(void **state)
{
    static const char thrice[] = USER("q") "," CALL("1", A) "," RESULT("1", "ok", "") "," CALL(
        "2", A) "," RESULT("2", "ok", "") "," CALL("3", A_TURNED) "," RESULT("3", "ok", "");
    static const char changed[] = USER("q") "," CALL("1", A) "," RESULT("1", "ok", "") "," CALL(
        "2", A) "," RESULT("2", "other", "") "," CALL("3", A) "," RESULT("3", "ok", "");
    (void)state;
    assert_true(hits(thrice, 1, "Write", A));
    assert_true(hits(thrice, 3, "Write", A));
    assert_false(hits(thrice, 4, "Write", A));
    /* another result means that something happened */
    assert_true(hits(changed, 1, "Write", A));
    assert_false(hits(changed, 2, "Write", A));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_repeat),
        cmocka_unit_test(test_only_what_was_just_shown),
        cmocka_unit_test(test_several),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
