/* `pensieve memory`: asks a running server what its memory holds, and says it in words. */
#include "base/buf.h"
#include "cli/commands.h"
#include "cli/options.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_ANSWER = 1 << 20, SECONDS = 30 };

static const struct {
    const char *metric, *name, *about;
    bool is_heading;
} lines[] = {
    {"pensieve_resident_bytes", "all", "in physical memory, as the system counts it", true},
    {"pensieve_memory_bytes{kind=\"weights\"}", "weights",
     "mapped from the model's file; the system takes them back at will", false},
    {"pensieve_memory_bytes{kind=\"kv\"}", "KV pages", "touched so far", false},
    {"pensieve_memory_bytes{kind=\"activations\"}", "activations", "", false},
    {"pensieve_memory_bytes{kind=\"buffers\"}", "buffers", "of the kernels, and the logits", false},
    {"pensieve_memory_bytes{kind=\"heap\"}", "heap", "vocabulary, requests, tables", false},
    {"pensieve_memory_bytes{kind=\"program\"}", "program", "code and libraries", false},
    {"pensieve_kv_bytes{state=\"running\"}", "KV running", "of the KV budget: for requests", true},
    {"pensieve_kv_bytes{state=\"kept\"}", "KV kept", "for whoever begins with the same tokens",
     false},
    {"pensieve_kv_bytes{state=\"free\"}", "KV free", "", false},
    {"pensieve_kv_disk_bytes", "KV on disk", "", false},
};

static size_t on_body(char *bytes, size_t size, size_t n, void *answer)
{
    return buf_append(answer, bytes, size * n) ? size * n : 0;
}

static bool memory_ask(const char *url, struct buf *answer, struct error *err)
{
    char detail[CURL_ERROR_SIZE] = "", address[1024];
    CURL *curl = curl_easy_init();
    if (!curl)
        return error_set(err, ERROR_NO_MEMORY, "libcurl does not start");
    size_t n = strlen(url);
    while (n && url[n - 1] == '/')
        n--;
    snprintf(address, sizeof address, "%.*s/metrics", (int)n, url);
    curl_easy_setopt(curl, CURLOPT_URL, address);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)SECONDS);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    return code == CURLE_OK || error_set(err, ERROR_NETWORK, "no server tells at %s: %s", address,
                                         *detail ? detail : curl_easy_strerror(code));
}

/* The value of a metric, "name value" on a line of its own. */
static bool memory_find(const char *text, const char *metric, uint64_t *value)
{
    const size_t n = strlen(metric);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, metric, n) && line[n] == ' ')
            return sscanf(line + n, "%" SCNu64, value) == 1;
    }
    return false;
}

static bool memory_print(const char *text, struct error *err)
{
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        uint64_t value;
        if (!memory_find(text, lines[i].metric, &value))
            return error_set(err, ERROR_FORMAT, "the answer lacks %s", lines[i].metric);
        printf("%s%-11s %9.1f MiB%s%s\n", i && lines[i].is_heading ? "\n" : "", lines[i].name,
               (double)value / (1 << 20), *lines[i].about ? "  " : "", lines[i].about);
    }
    return true;
}

struct memory_options {
    const char *url;
};

static const struct setting memory_rows[] = {
    {.name = "url",
     SETTING_VALUE(TEXT, struct memory_options, url),
     .fallback = "http://127.0.0.1:8000",
     .metavar = "URL",
     .help = "where it listens (default: {default})"},
};
static const struct setting_table memory_settings = SETTING_TABLE(memory_rows);

int cli_memory(int argc, char **argv)
{
    struct memory_options o = {0};
    const struct settings_part part = {&memory_settings, &o};
    const struct command command = {
        .name = "memory",
        .synopsis = "[options]",
        .about = "Asks a running server what its memory holds. GET /metrics has the same numbers, "
                 "and more,\nfor Prometheus.",
        .parts = &part,
        .n_parts = 1,
    };
    struct settings settings;
    int n_args, exit_code;
    struct error err = {0};
    struct buf answer;
    if (!options_parse(&command, argc, argv, &settings, &n_args, &exit_code))
        return exit_code;
    buf_init(&answer, MAX_ANSWER);
    bool ok =
        memory_ask(o.url, &answer, &err) && memory_print(answer.data ? answer.data : "", &err);
    buf_deinit(&answer);
    return ok ? CLI_OK : cli_report("memory", &err);
}
