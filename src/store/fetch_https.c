/* A model's home: one GET over HTTPS by libcurl, continued by Range after a break. Follows
 * redirects, but to nothing except HTTPS. */
#include "store/fetch_part.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum {
    FETCH_CONNECT_SECONDS = 5,
    FETCH_SLOW_BYTES = 1024, /* below this rate … */
    FETCH_SLOW_SECONDS = 30, /* … for so long, the connection counts as broken */
    FETCH_IDLE_TRIES = 3,    /* breaks in a row without one new byte */
    FETCH_TRIES = 50,        /* breaks in all */
    FETCH_MAX_URL = 4096,
};

struct fetch_transfer {
    struct fetch_part *part;
    CURL *curl;
    uint64_t at;          /* offset of the next byte that arrives */
    bool placed;          /* the answer's first byte has its offset */
    uint64_t range_start; /* what Content-Range says */
    bool has_range;
    bool failed; /* `err` says why the transfer was given up by us */
    struct error *err;
};

/* Hugging Face says the SHA-256 of a large file where it redirects to its place:
 * X-Linked-ETag: "<64 hex digits>". */
static void fetch_note_etag(struct fetch_part *part, const char *line, size_t n)
{
    static const char key[] = "x-linked-etag: \"";
    enum { KEY = sizeof key - 1, DIGITS = 64 };
    if (n < KEY + DIGITS + 1 || strncasecmp(line, key, KEY) || line[KEY + DIGITS] != '"')
        return;
    memcpy(part->home_sha256, line + KEY, DIGITS);
    part->home_sha256[DIGITS] = '\0';
    if (strspn(part->home_sha256, "0123456789abcdef") != DIGITS)
        part->home_sha256[0] = '\0';
}

/* "Content-Range: bytes 100-199/200" of the answer that counts: each answer of a redirect chain
 * begins with its status line. */
static size_t fetch_on_header(char *line, size_t size, size_t n, void *context)
{
    struct fetch_transfer *t = context;
    static const char key[] = "content-range: bytes ";
    n *= size;
    if (n > 5 && !strncasecmp(line, "HTTP/", 5))
        t->has_range = false;
    fetch_note_etag(t->part, line, n);
    if (n > sizeof key && n < 200 && !strncasecmp(line, key, sizeof key - 1)) {
        char number[200];
        memcpy(number, line + sizeof key - 1, n - sizeof key + 1);
        number[n - sizeof key + 1] = '\0';
        char *end;
        t->range_start = strtoull(number, &end, 10);
        t->has_range = end > number && *end == '-';
    }
    return n;
}

/* Where the body begins: at the asked offset, or at 0 when the server does not do ranges. */
static bool fetch_place(struct fetch_transfer *t)
{
    long status = 0;
    curl_off_t length = -1;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    t->placed = true;
    t->at = 0;
    if (status == 206) {
        if (!t->has_range || t->range_start > t->part->n_bytes)
            return error_set(t->err, ERROR_NETWORK, "answers with another range than asked for");
        t->at = t->range_start;
    }
    const uint64_t total = length >= 0 ? t->at + (uint64_t)length : 0;
    if (!t->part->n_total)
        t->part->n_total = total;
    if (length >= 0 && total != t->part->n_total)
        return error_set(t->err, ERROR_FORMAT, "offers %" PRIu64 " bytes, but %s has %" PRIu64,
                         total, fetch_part_name(t->part), t->part->n_total);
    return status == 206 || !t->part->n_bytes || fetch_part_restart(t->part, t->err);
}

static size_t fetch_on_body(char *bytes, size_t size, size_t n, void *context)
{
    struct fetch_transfer *t = context;
    n *= size;
    if ((!t->placed && !fetch_place(t)) || !fetch_part_write(t->part, t->at, bytes, n, t->err)) {
        t->failed = true;
        return 0;
    }
    t->at += n;
    return n;
}

static void fetch_allow_protocols(CURL *curl, bool http)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, http ? "http,https" : "https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, http ? "http,https" : "https");
#else
    long allowed = CURLPROTO_HTTPS | (http ? CURLPROTO_HTTP : 0);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS, allowed);
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS, allowed);
#endif
}

/* One connection. `broken` is true when taking it up again may help. */
static bool fetch_https_once(struct fetch_part *part, const char *url, CURL *curl, bool *broken,
                             struct error *err)
{
    struct fetch_transfer t = {.part = part, .curl = curl, .err = err};
    char detail[CURL_ERROR_SIZE] = "", range[32];
    snprintf(range, sizeof range, "%" PRIu64 "-", part->n_bytes);
    curl_easy_reset(curl);
    fetch_allow_protocols(curl, part->options->allow_http);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_RANGE, part->n_bytes ? range : NULL);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 8L);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "pensieve");
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)FETCH_CONNECT_SECONDS);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)FETCH_SLOW_BYTES);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)FETCH_SLOW_SECONDS);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, fetch_on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &t);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, fetch_on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &t);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    CURLcode code = curl_easy_perform(curl);
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    *broken = false;
    if (t.failed)
        return false;
    part->is_missing = status == 404 || status == 410;
    if (code == CURLE_OK && !part->n_total) /* of no said length: whole when it ended well */
        part->n_total = part->n_bytes;
    if (code == CURLE_OK && part->n_bytes == part->n_total)
        return true;
    if (status == 416 && part->n_bytes) { /* it does not have that many bytes */
        *broken = true;
        error_set(err, ERROR_NETWORK, "has no more than what was fetched before");
        fetch_part_restart(part, err);
        return false;
    }
    *broken = code != CURLE_HTTP_RETURNED_ERROR || status >= 500 || status == 429;
    if (code == CURLE_OK)
        return error_set(err, ERROR_NETWORK, "ended after %" PRIu64 " of %" PRIu64 " bytes",
                         part->n_bytes, part->n_total);
    return error_set(err, ERROR_NETWORK, "%.200s", *detail ? detail : curl_easy_strerror(code));
}

static void fetch_sleep(uint32_t ms)
{
    struct timespec pause = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

/* No connection at all is not tried twice: another source is quicker than waiting. */
static bool fetch_https_tries(struct fetch_part *part, const char *url, CURL *curl,
                              struct error *err)
{
    uint32_t retry_ms = part->options->retry_ms ? part->options->retry_ms : 1000;
    for (int idle = 0, tries = 0; tries < FETCH_TRIES; tries++) {
        uint64_t before = part->n_bytes;
        bool broken;
        if (fetch_https_once(part, url, curl, &broken, err))
            return true;
        if (part->disk_failed || !broken)
            return false;
        curl_off_t connect_us = 0;
        curl_easy_getinfo(curl, CURLINFO_CONNECT_TIME_T, &connect_us);
        if (!connect_us)
            return false;
        idle = part->n_bytes > before ? 0 : idle + 1;
        if (idle == FETCH_IDLE_TRIES)
            break;
        fetch_note(part->sink, "%s; going on from %" PRIu64 " MB", err->message,
                   part->n_bytes / 1000000);
        fetch_sleep(retry_ms);
    }
    return false;
}

bool fetch_https(struct fetch_part *part, const struct store_source *source, struct error *err)
{
    char url[FETCH_MAX_URL];
    const char *name = part->model->is_folder ? part->file->name : "";
    if ((size_t)snprintf(url, sizeof url, "%s%s", source->url, name) >= sizeof url)
        return error_set(err, ERROR_INPUT, "the URL of %s is too long", fetch_part_name(part));
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURL *curl = curl_easy_init();
    bool ok = curl ? fetch_https_tries(part, url, curl, err)
                   : error_set(err, ERROR_NO_MEMORY, "libcurl does not start");
    curl_easy_cleanup(curl);
    return ok;
}
