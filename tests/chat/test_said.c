/* Which answer a message is: what a client shows again is known by its content, in whatever form
 * its JSON library writes it. */
#include "chat/said.h"
#include "claude/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The identity of an answer of these blocks, as a client shows it. */
static bool shown(const char *blocks, uint64_t identity[2])
{
    char body[2048];
    struct request r;
    struct error err = {0};
    snprintf(
        body, sizeof body,
        "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
        "{\"role\":\"assistant\",\"content\":[%s]},{\"role\":\"user\",\"content\":\"q\"}]}",
        blocks);
    if (!request_parse(&r, body, strlen(body), false, &err))
        fail_msg("%s", err.message);
    bool ok = said_identity_of(&r.conversation.messages[1], identity);
    request_deinit(&r);
    return ok;
}

#define TEXT "{\"type\":\"text\",\"text\":\"I write.\"}"
#define CALL(input) "{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"Write\",\"input\":" input "}"

static bool is_said_as(const char *const *arguments, const char *blocks)
{
    struct said s;
    uint64_t said[2] = {0}, again[2] = {1};
    said_init(&s);
    said_text(&s, "I wr", 4);
    said_text(&s, "ite.", 4);
    for (; *arguments; arguments++)
        said_call_bytes(&s, *arguments, strlen(*arguments));
    said_call_end(&s, "Write");
    assert_true(said_identity(&s, said));
    said_deinit(&s);
    return shown(blocks, again) && !memcmp(said, again, sizeof said);
}

static void test_an_answer_is_known_again(void **state)
{
    const char *const pieces[] = {"{\"p\":\"a\",", "\"n\":1844674407370955", "1616}", NULL};
    (void)state;
    assert_true(is_said_as(pieces, TEXT "," CALL("{\"p\":\"a\",\"n\":18446744073709551616}")));
    /* other clients' JSON: members in another order, doubles, escapes */
    assert_true(
        is_said_as(pieces, TEXT "," CALL("{\"n\":18446744073709552000,\"p\":\"\\u0061\"}")));
    assert_true(is_said_as(pieces, TEXT "," CALL("{\"n\":1.8446744073709552e19,\"p\":\"a\"}")));
    assert_false(is_said_as(pieces, TEXT "," CALL("{\"p\":\"a\",\"n\":1844674407370955}")));
    assert_false(is_said_as(pieces, TEXT "," CALL("{\"p\":\"b\",\"n\":18446744073709551616}")));
    assert_false(is_said_as(pieces, CALL("{\"p\":\"a\",\"n\":18446744073709551616}")));
    assert_false(is_said_as(pieces, CALL("{\"p\":\"a\",\"n\":18446744073709551616}") "," TEXT));
}

static void test_what_has_no_identity(void **state)
{
    struct said s;
    uint64_t identity[2];
    (void)state;
    said_init(&s);
    assert_false(said_identity(&s, identity)); /* nothing was said */
    said_call_bytes(&s, "{\"p\":", 5);
    said_call_end(&s, "Write");
    assert_false(said_identity(&s, identity)); /* arguments that are no JSON */
    said_reset(&s);
    said_text(&s, "x", 1);
    assert_true(said_identity(&s, identity));
    said_deinit(&s);
    assert_false(shown("{\"type\":\"thinking\",\"thinking\":\"hm\"}," TEXT, identity));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_is_known_again),
        cmocka_unit_test(test_what_has_no_identity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
