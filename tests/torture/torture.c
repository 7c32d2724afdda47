/* The k-th request for memory fails, for many k, while a server starts from a model's file, answers
 * a streamed request with tools, counts tokens, tells of itself and stops. Each time there must be
 * an error in words or the right answer, nothing may hang, and nothing may stay behind; after a
 * failure in a request the next one is answered.
 *
 * Usage: torture [--first K] [--stride S] [--until K] [--all-after] [--drops]. `--all-after`: every
 * request for memory from the k-th on fails, until the phase that it fell into is over. `--drops`:
 * tells who asked when an answer did not come whole. */
#include "failing_memory.h"

#include "claude/claude.h"
#include "claude/handlers.h"
#include "cli/loaded.h"
#include "server/server.h"
#include "base/clock.h"
#include "base/log.h"
#include "support/parrot_model.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_S = 60, MAX_ANSWER = 1 << 20, N_WARM_UP = 3 };

static const char chat_template[] =
    "{%- if tools %}<|start|>system\nTools:{% for t in tools %}\n{{ t | tojson }}{% endfor %}"
    "<|end|>\n{% endif %}"
    "{%- for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}"
    "{%- for c in m.tool_calls %}\n<tool_call>\n{\"name\": \"{{ c.function.name }}\", "
    "\"arguments\": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}<|end|>\n"
    "{%- endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}";

static const char *const pieces[] = {"I will ",
                                     "look.\n",
                                     "<tool_call>\n{\"name\": \"Read\"",
                                     ", \"arguments\": {\"path\": \"a",
                                     ".txt\"}}",
                                     "\n</tool_call>"};

/* %ld: the first run has a prompt of its own. */
static const char body_format[] =
    "{\"model\":\"parrot\",\"max_tokens\":64,\"stream\":%s,\"system\":\"Be brief.\",\"tools\":[{"
    "\"name\":\"Read\",\"description\":\"reads a file\",\"input_schema\":{\"type\":\"object\","
    "\"properties\":{\"path\":{\"type\":\"string\"}},\"required\":[\"path\"]}}],\"messages\":["
    "{\"role\":\"user\",\"content\":\"Run %ld: what is in the file? Look twice.\"},"
    "{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"toolu_01abcdefghijklmn\","
    "\"name\":\"Read\",\"input\":{\"path\":\"b.txt\"}}]},{\"role\":\"user\",\"content\":[{\"type\":"
    "\"tool_result\",\"tool_use_id\":\"toolu_01abcdefghijklmn\",\"content\":\"nothing\"}]}]}";

static char folder[] = "/tmp/pensieve-torture-XXXXXX";
static const char *model_path;
static bool tells_drops;
static long now_failing = -1;
static struct {
    long n_fired, n_refused_start, n_http_errors, n_stream_errors, n_dropped, n_answered;
} totals;

_Noreturn static void give_up(const char *what)
{
    fprintf(stderr, "torture: with request %ld for memory: %s; it was asked for here:\n",
            now_failing, what);
    failing_memory_tell();
    _exit(1);
}

static void on_alarm(int number)
{
    (void)number;
    static const char text[] = "torture: it hangs\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) > 0)
        failing_memory_tell();
    abort();
}

static void on_crash(int number)
{
    char text[64];
    int n = snprintf(text, sizeof text, "torture: signal %d at %ld\n", number, now_failing);
    if (write(STDERR_FILENO, text, (size_t)n) > 0)
        failing_memory_tell();
    _exit(1);
}

/* ---- what is tortured ---- */

struct house {
    struct loaded loaded;
    struct claude *claude;
    struct handler_table table;
    struct server_doors doors;
    struct server *server;
};

static bool house_open(struct house *h, struct error *err)
{
    const struct loaded_options load = {.model = model_path,
                                        .n_threads = 2,
                                        .kv_memory = 64 << 20,
                                        .keeps_on_disk = true,
                                        .kv_disk = 64 << 20};
    *h = (struct house){0};
    if (!loaded_open(&h->loaded, &load, true, err))
        return false;
    const struct claude_options options = {
        .model_id = h->loaded.name, .display_name = h->loaded.title, .repeat_guard = 1};
    h->claude = claude_create(h->loaded.engine, h->loaded.tokenizer, h->loaded.chat_template,
                              &options, err);
    if (!h->claude)
        return false;
    h->table = claude_handlers(h->claude);
    h->doors = (struct server_doors){&h->table, 1, &claude_api, 1};
    h->server = server_create(&h->doors, &(const struct server_options){0}, err);
    return h->server;
}

static void house_close(struct house *h)
{
    if (h->server)
        server_destroy(h->server);
    claude_destroy(h->claude);
    loaded_close(&h->loaded);
}

/* ---- the client: no memory but this ---- */

static char answer[MAX_ANSWER];

/* Sends one request and reads until the server closes; false when nothing came at all. */
static bool ask(const struct house *h, const char *method, const char *path, const char *body)
{
    char head[512];
    size_t n = 0;
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons(server_port(h->server)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to))
        give_up("no connection");
    int n_head = snprintf(head, sizeof head,
                          "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                          "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                          method, path, strlen(body));
    bool ok = send(fd, head, (size_t)n_head, MSG_NOSIGNAL) == n_head &&
              send(fd, body, strlen(body), MSG_NOSIGNAL) == (ssize_t)strlen(body);
    for (ssize_t got = 0; ok && n + 1 < sizeof answer; n += (size_t)got) {
        got = recv(fd, answer + n, sizeof answer - 1 - n, 0);
        if (got <= 0)
            break;
    }
    answer[n] = '\0';
    close(fd);
    return n;
}

/* The client can see that something is missing. */
static bool is_cut(const char *body)
{
    static const char end[] = "\r\n0\r\n\r\n";
    const char *length = strstr(answer, "\r\nContent-Length: ");
    const size_t n = body ? strlen(body) : 0;
    if (!body)
        return true;
    if (length && length < body)
        return (long)n - 4 < atol(length + 18);
    return n < sizeof end - 1 || strcmp(body + n - (sizeof end - 1), end) != 0;
}

/* One that failed must say so in the API's words; what was cut off by the failure counts as
 * dropped. Returns whether it was answered. */
static bool check_answer(bool came, const char *needed)
{
    if (!came || strncmp(answer, "HTTP/1.1 ", 9) != 0) {
        if (tells_drops)
            failing_memory_tell();
        totals.n_dropped++;
        return false;
    }
    const int status = atoi(answer + 9);
    const char *body = strstr(answer, "\r\n\r\n");
    if (status == 200 && strstr(answer, needed)) {
        totals.n_answered++;
        return true;
    }
    if (status == 200 && strstr(answer, "event: error\n")) {
        totals.n_stream_errors++;
        return false;
    }
    if (is_cut(body)) {
        if (tells_drops)
            failing_memory_tell();
        totals.n_dropped++;
        return false;
    }
    if (status == 200)
        give_up(answer);
    if (!body || !strstr(body, "\"type\":\"error\"") || !strstr(body, "\"message\":\""))
        give_up(answer);
    totals.n_http_errors++;
    return false;
}

static bool ask_all(const struct house *h, long run)
{
    char body[4096];
    bool ok = true;
    snprintf(body, sizeof body, body_format, "true", run);
    ok &= check_answer(ask(h, "POST", "/v1/messages", body), "event: message_stop");
    if (ok && (!strstr(answer, "\"stop_reason\":\"tool_use\"") || !strstr(answer, "\".txt\\\"}\"")))
        give_up(answer); /* it ended as if nothing had happened */
    snprintf(body, sizeof body, body_format, "false", run);
    ok &= check_answer(ask(h, "POST", "/v1/messages", body), "{\"path\":\"a.txt\"}");
    ok &= check_answer(ask(h, "POST", "/v1/messages/count_tokens", body), "\"input_tokens\":");
    ok &= check_answer(ask(h, "GET", "/v1/models", ""), "\"parrot\"");
    ok &= check_answer(ask(h, "GET", "/metrics", ""), "pensieve_resident_bytes");
    return ok;
}

/* ---- one run ---- */

/* Each run finds on disk what the first one left there: so much of its prompt is known. */
static void put_store_back(void)
{
    char command[4096];
    snprintf(command, sizeof command,
             "cd '%s' && { [ -d seed ] || { [ ! -d kv ] || mv kv seed; }; } && rm -rf kv && "
             "{ [ ! -d seed ] || cp -r seed kv; }",
             folder);
    if (system(command))
        give_up("the store cannot be put back");
}

/* Everything once, with the k-th request failing (k < 0: none); returns how many there were. */
static long run_once(long k, bool and_all_after)
{
    static struct house h;
    struct error err = {0};
    long n = 0;
    now_failing = k;
    put_store_back();
    alarm(PATIENCE_S);
    failing_memory_arm(k, and_all_after);
    const bool is_open = house_open(&h, &err);
    if (!is_open) {
        totals.n_refused_start++;
        if (!failing_memory_has_fired() || !err.code || !*err.message)
            give_up(*err.message ? err.message : "it did not start, without a word");
    }
    if (and_all_after && failing_memory_has_fired())
        n = failing_memory_arm(-1, false);
    if (is_open) {
        failing_memory_spare(true);
        const bool had_fired = failing_memory_has_fired();
        if (!ask_all(&h, k < 0 ? 0 : 1) && !had_fired && !failing_memory_has_fired() && !n)
            give_up(answer);
        if (failing_memory_has_fired() && (and_all_after || !had_fired)) {
            if (and_all_after)
                n = failing_memory_arm(-1, false);
            if (!ask_all(&h, k < 0 ? 0 : 1))
                give_up(answer);
        }
        failing_memory_spare(false);
    }
    house_close(&h);
    totals.n_fired += failing_memory_has_fired() || n;
    return n + failing_memory_arm(-1, false);
}

/* What a run leaves behind each time it is repeated is a leak; what only the first one leaves is
 * kept by a library. */
static void check_leaks(long k, bool and_all_after)
{
    static long n_alive;
    const long before = n_alive;
    n_alive = failing_memory_n_alive();
    for (int i = 0; i < 4 && n_alive > before; i++) {
        const long start = n_alive;
        run_once(k, and_all_after);
        n_alive = failing_memory_n_alive();
        if (n_alive <= start)
            return;
    }
    if (k < 0 || n_alive <= before)
        return;
    fprintf(stderr, "torture: %ld blocks stay behind each time\n", n_alive - before);
    failing_memory_mark();
    run_once(k, and_all_after);
    failing_memory_tell_held();
    give_up("memory is lost");
}

static bool write_model(const char *path)
{
    size_t n;
    void *data = parrot_model_make(chat_template, pieces, sizeof pieces / sizeof *pieces, &n);
    FILE *file = fopen(path, "wb");
    bool ok = data && file && fwrite(data, 1, n, file) == n;
    ok = file && !fclose(file) && ok;
    free(data);
    return ok;
}

static void set_up(void)
{
    static char path[64];
    if (!mkdtemp(folder)) {
        perror(folder);
        exit(1);
    }
    snprintf(path, sizeof path, "%s/parrot.gguf", folder);
    model_path = path;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, on_alarm);
    signal(SIGSEGV, on_crash);
    signal(SIGABRT, on_crash);
    setenv("PENSIEVE_HOME", folder, 1);
    log_set_level(LOG_LEVEL_ERROR);
    failing_memory_spare(false);
    if (!write_model(path)) {
        perror(path);
        exit(1);
    }
}

static int remove_folder(void)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) ? 1 : 0;
}

struct range {
    long first, stride, until;
    bool and_all_after;
};

static bool parse(int argc, char **argv, struct range *r)
{
    *r = (struct range){.stride = 1, .until = -1};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "0";
        if (!strcmp(argv[i], "--all-after"))
            r->and_all_after = true;
        else if (!strcmp(argv[i], "--drops"))
            tells_drops = true;
        else if (!strcmp(argv[i], "--first"))
            r->first = atol(value), i++;
        else if (!strcmp(argv[i], "--stride"))
            r->stride = atol(value), i++;
        else if (!strcmp(argv[i], "--until"))
            r->until = atol(value), i++;
        else
            return false;
    }
    return r->stride > 0;
}

int main(int argc, char **argv)
{
    struct range r;
    long n = 0;
    if (!parse(argc, argv, &r))
        return 2;
    set_up();
    const int64_t start_ms = clock_now_ms();
    for (int i = 0; i < N_WARM_UP; i++) {
        n = run_once(-1, false);
        check_leaks(-1, false);
    }
    for (long k = r.first; k < n && (r.until < 0 || k < r.until); k += r.stride) {
        run_once(k, r.and_all_after);
        check_leaks(k, r.and_all_after);
    }
    printf("%ld requests for memory in a run; %ld failed: %ld starts refused, %ld answers with an "
           "error, %ld streams with one, %ld dropped, %ld answered; %.1f s\n",
           n, totals.n_fired, totals.n_refused_start, totals.n_http_errors, totals.n_stream_errors,
           totals.n_dropped, totals.n_answered, (double)(clock_now_ms() - start_ms) / 1000);
    return remove_folder();
}
