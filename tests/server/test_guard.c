/* Who may ask: names, origins, and the lists that allow more of them. */
#include "base/log.h"
#include "fixture.h"
#include "server/guard.h"

#include <signal.h>
#include <string.h>

static void guard_knows_loopback(void **state)
{
    static const char *const yes[] = {
        "localhost",       "LOCALHOST:8000", "127.0.0.1",        "127.0.0.1:1",
        "[::1]",           "[::1]:65535",    "127.1.2.3",        "localhost.",
        "localhost.:8000", "app.localhost",  "a.b.LocalHost.:80"};
    static const char *const no[] = {"",
                                     "evil.example",
                                     "localhost.evil.example",
                                     "127.0.0.1.nip.io",
                                     "localhost:",
                                     "localhost:80x",
                                     "[::1",
                                     "[::2]",
                                     "::1",
                                     "127.0.0.1:8000/",
                                     "localhost@evil.example",
                                     "10.0.0.1",
                                     "[::1]evil",
                                     "localhost:123456",
                                     "0.0.0.0",
                                     ".localhost",
                                     "xlocalhost",
                                     "a/.localhost",
                                     "evil.example#.localhost",
                                     "localhost.."};
    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        assert_true(guard_is_loopback_authority(yes[i]));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (guard_is_loopback_authority(no[i]))
            fail_msg("%s", no[i]);
}

static void guard_knows_names_that_were_allowed(void **state)
{
    const struct guard local = {.is_loopback = true}, remote = {0};
    const struct guard named = {.is_loopback = true, .hosts = "host.docker.internal,*.lan"};
    (void)state;
    assert_null(guard_refusal(&remote, "192.168.1.5:8000", NULL));
    assert_null(guard_refusal(&remote, "192.168.1.5:8000", "http://192.168.1.5:8000"));
    assert_non_null(guard_refusal(&remote, "192.168.1.5:8000", "http://192.168.1.6:8000"));
    assert_non_null(guard_refusal(&local, "192.168.1.5:8000", NULL));
    assert_non_null(guard_refusal(&local, "host.docker.internal:8000", NULL));
    assert_null(guard_refusal(&named, "host.docker.internal:8000", NULL));
    assert_null(guard_refusal(&named, "HOST.docker.internal.", NULL));
    assert_null(guard_refusal(&named, "box.lan", NULL));
    assert_null(guard_refusal(&named, "localhost", NULL));
    assert_non_null(guard_refusal(&named, "lan", NULL));
    assert_non_null(guard_refusal(&named, "evil.example", NULL));
    assert_non_null(guard_refusal(&named, "box.lan.evil.example", NULL));
    assert_non_null(guard_refusal(&named, "box.lan:8000/", NULL));
}

static bool allows(const char *origins, const char *origin)
{
    const struct guard g = {.is_loopback = true, .origins = origins};
    return !guard_refusal(&g, "localhost:8000", origin);
}

static void guard_knows_pages_from_programs(void **state)
{
    static const char *const apps[] = {"app://obsidian.md",
                                       "vscode-webview://1a2b",
                                       "vscode-file://vscode-app",
                                       "tauri://localhost",
                                       "file://",
                                       "chrome-extension://abcdef",
                                       "moz-extension://1-2"};
    (void)state;
    for (size_t i = 0; i < sizeof apps / sizeof *apps; i++) {
        assert_true(allows(NULL, apps[i]));
        assert_true(allows("null,apps", apps[i]));
        assert_false(allows("none", apps[i]));
        assert_false(allows("https://a.example", apps[i]));
    }
    assert_true(allows("none", "http://localhost:3000"));
    assert_true(allows(NULL, "http://tauri.localhost"));
    assert_false(allows(NULL, "null"));
    assert_false(allows(NULL, "https://app.example"));
    assert_false(allows(NULL, "apps"));
    assert_false(allows(NULL, "application://x"));
    assert_true(allows("null", "null"));
    assert_true(allows("apps,https://a.example", "https://A.example"));
    assert_false(allows("https://a.example", "https://a.example.evil"));
    assert_false(allows("https://a.example", "http://a.example"));
    assert_true(allows("custom://*", "custom://x"));
    assert_false(allows("custom://*", "customs://x"));
    assert_true(allows("*", "https://evil.example"));
}

static void guard_refuses_lists_that_mean_nothing(void **state)
{
    static const struct guard wrong[] = {
        {.hosts = "http://a"},
        {.hosts = "a b"},
        {.hosts = "a,,b"},
        {.hosts = "*"},
        {.origins = "a.example"},
        {.origins = "https://a.example/"},
        {.origins = "://"},
        {.origins = "apps,"
                    "all"},
    };
    static const struct guard right[] = {
        {.hosts = "a,*.b,c-d_e.f"},
        {.origins = "https://a.example:8000,file://,app://*,null,*"},
        {0}};
    (void)state;
    struct error err;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_false(guard_check(&wrong[i], &err));
        assert_int_equal(err.code, ERROR_USAGE);
    }
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        assert_true(guard_check(&right[i], &err));
    assert_null(server_create(&no_doors, &(struct server_options){.allow_hosts = "a b"}, &err));
    assert_int_equal(err.code, ERROR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guard_knows_loopback),
        cmocka_unit_test(guard_knows_names_that_were_allowed),
        cmocka_unit_test(guard_knows_pages_from_programs),
        cmocka_unit_test(guard_refuses_lists_that_mean_nothing),
    };
    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_LEVEL_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
