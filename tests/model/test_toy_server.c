/* The whole server over the toy backend: a real model file, the engine, the Anthropic domain and
 * HTTP know no more of where it computes than backend.h says. Asked greedily over HTTP, it says
 * word for word what the reference says (golden/greedy-*.json, see test_golden.c), up to the first
 * place where the float32 computation of the same file is undecided or says something else.
 * Argument: the model's short name. */
#include "stack.h"

#include "backend/toy/toy.h"
#include "chat/chat_template.h"
#include "claude/handlers.h"
#include "server/server.h"
#include "support/temp_folder.h"

#include <curl/curl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_TOKENS = 24, ASK_SECONDS = 900 };
static const double decided = 0.05; /* nat */

/* What golden/prompts.txt says, as messages. */
static const struct {
    const char *name, *system, *turns[3];
} chats[] = {
    {"chat-short",
     "You are a helpful assistant.",
     {"What is the difference between a stack and a queue?"}},
    {"chat-code",
     "You are a careful programmer. Answer with code only.",
     {"Write a Python function that checks whether a string is a palindrome, ignoring case and "
      "punctuation."}},
    {"chat-turns",
     "You are a helpful assistant.",
     {"Name three planets.", "Mercury, Venus and Mars.",
      "Which of them is the largest, and how do you know?"}},
};

static const char *model_name;

/* ---- the house ---- */

struct house {
    struct weights *weights;
    struct backend *backend;
    struct model *model;
    struct tokenizer *tokenizer;
    struct chat_template *chat_template;
    struct engine *engine;
    struct claude *claude;
    struct handler_table handlers;
    struct server_doors doors;
    struct server *server;
};

static void house_open(struct house *h, const char *path)
{
    struct error err = {.message = ""};
    struct weights_string source = {NULL, 0};
    const struct engine_options engine = {.n_ctx = 1024, .disk_folder = temp_folder};
    const struct claude_options claude = {.model_id = "toy", .display_name = "Toy"};
    *h = (struct house){.weights = weights_open(path, &err)};
    h->backend = h->weights ? toy_create(&err) : NULL;
    h->model = h->backend ? model_create(h->weights, h->backend, NULL, &err) : NULL;
    h->tokenizer = h->model ? tokenizer_create(h->weights, &err) : NULL;
    if (h->tokenizer && weights_string(h->weights, "tokenizer.chat_template", &source))
        h->chat_template = chat_template_create(source.data, source.len, &err);
    if (h->chat_template)
        h->engine = engine_create(h->model, h->backend, h->tokenizer, &engine, &err);
    if (h->engine)
        h->claude = claude_create(h->engine, h->tokenizer, h->chat_template, &claude, &err);
    if (h->claude) {
        h->handlers = claude_handlers(h->claude);
        h->doors = (struct server_doors){&h->handlers, 1, &claude_api, 1};
        h->server = server_create(&h->doors, &(struct server_options){.port = 0}, &err);
    }
    if (!h->server)
        fail_msg("%s: %s", path, err.message);
}

static void house_close(struct house *h)
{
    server_destroy(h->server);
    claude_destroy(h->claude);
    engine_destroy(h->engine);
    chat_template_destroy(h->chat_template);
    tokenizer_destroy(h->tokenizer);
    model_destroy(h->model);
    h->backend->ops->destroy(h->backend);
    weights_close(h->weights);
}

/* ---- the question ---- */

static size_t take_bytes(char *bytes, size_t size, size_t n, void *context)
{
    return buf_append(context, bytes, size * n) ? size * n : 0;
}

/* POSTs a body and returns the answer's JSON. */
static json_t *post(const struct house *h, const char *body)
{
    char url[160];
    long status = 0;
    struct buf answer;
    json_error_t err;
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    assert_non_null(curl);
    assert_non_null(headers);
    buf_init(&answer, 1 << 20);
    server_url(h->server, url, 96);
    strcat(url, "/v1/messages");
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)ASK_SECONDS);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK || status != 200)
        fail_msg("%s, status %ld: %.*s", curl_easy_strerror(code), status, (int)answer.len,
                 answer.data ? answer.data : "");
    json_t *json = json_loadb(answer.data, answer.len, 0, &err);
    if (!json)
        fail_msg("%s", err.text);
    buf_deinit(&answer);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return json;
}

static char *body_of(size_t chat, uint32_t max_tokens)
{
    json_t *messages = json_array();
    for (size_t i = 0; i < 3 && chats[chat].turns[i]; i++)
        json_array_append_new(messages,
                              json_pack("{s:s, s:s}", "role", i % 2 ? "assistant" : "user",
                                        "content", chats[chat].turns[i]));
    json_t *body = json_pack("{s:s, s:i, s:i, s:s, s:o}", "model", "toy", "max_tokens",
                             (int)max_tokens, "temperature", 0, "system", chats[chat].system,
                             "messages", messages);
    char *text = json_dumps(body, 0);
    assert_non_null(text);
    json_decref(body);
    return text;
}

/* ---- the reference ---- */

static const json_t *prompt_named(const json_t *golden, const char *name)
{
    size_t i;
    json_t *prompt;
    json_array_foreach(json_object_get(golden, "prompts"), i,
                       prompt) if (!strcmp(json_string_value(json_object_get(prompt, "name")),
                                           name)) return prompt;
    fail_msg("there is no prompt %s", name);
    return NULL;
}

/* Is float32 sure that the reference's token comes at this place? */
static bool is_decided(const json_t *prompt, size_t place)
{
    const json_t *top = json_array_get(json_object_get(prompt, "top"), place);
    const json_t *truth = json_array_get(json_object_get(prompt, "truth"), place);
    const json_int_t token =
        json_integer_value(json_array_get(json_object_get(prompt, "tokens"), place));
    double said = -1e9, other = -1e9;
    for (size_t i = 0; i < json_array_size(top); i++) {
        const double p = json_number_value(json_array_get(truth, i));
        if (json_integer_value(json_array_get(json_array_get(top, i), 0)) == token)
            said = p;
        else
            other = p > other ? p : other;
    }
    return said - other >= decided;
}

/* The text of the reference's first tokens, as many as are decided and end no turn; *n: how many. */
static void expect(const struct house *h, const json_t *prompt, struct buf *text, uint32_t *n)
{
    const json_t *tokens = json_object_get(prompt, "tokens");
    for (*n = 0; *n < MOST_TOKENS && is_decided(prompt, *n); ++*n) {
        const int32_t id = (int32_t)json_integer_value(json_array_get(tokens, *n));
        size_t n_bytes;
        if (tokenizer_is_eog(h->tokenizer, id))
            break;
        const char *piece = tokenizer_piece(h->tokenizer, id, &n_bytes);
        assert_true(buf_append(text, piece, n_bytes));
    }
    assert_true(buf_append(text, "", 1));
}

/* ---- the test ---- */

/* Returns how many tokens of the prompt were not computed. */
static json_int_t check_answer(const struct house *h, const json_t *prompt, size_t chat)
{
    struct buf expected;
    uint32_t n;
    buf_init(&expected, 1 << 16);
    expect(h, prompt, &expected, &n);
    assert_true(n >= 8);
    char *body = body_of(chat, n);
    json_t *answer = post(h, body);
    const json_t *usage = json_object_get(answer, "usage");
    const json_int_t n_input = json_integer_value(json_object_get(usage, "input_tokens"));
    const json_int_t n_cached =
        json_integer_value(json_object_get(usage, "cache_read_input_tokens"));
    assert_int_equal(n_input + n_cached, json_array_size(json_object_get(prompt, "prompt")));
    assert_int_equal(json_integer_value(json_object_get(usage, "output_tokens")), n);
    const json_t *block = json_array_get(json_object_get(answer, "content"), 0);
    assert_string_equal(json_string_value(json_object_get(block, "text")), expected.data);
    print_message("%s: %u tokens as the reference: %s\n", chats[chat].name, n, expected.data);
    json_decref(answer);
    free(body);
    buf_deinit(&expected);
    return n_cached;
}

static void the_server_says_what_the_reference_says(void **state)
{
    (void)state;
    char path[1200];
    json_error_t err;
    struct house h;
    snprintf(path, sizeof path, "%s/greedy-%s.json", GOLDEN_DIR, model_name);
    json_t *golden = json_load_file(path, 0, &err);
    if (!golden)
        fail_msg("%s: %s", path, err.text);
    house_open(&h, stack_model_path(model_name));
    for (size_t i = 0; i < sizeof chats / sizeof *chats; i++)
        check_answer(&h, prompt_named(golden, chats[i].name), i);
    house_close(&h);
    /* and again out of the pages that the first one left on disk */
    house_open(&h, stack_model_path(model_name));
    assert_true(check_answer(&h, prompt_named(golden, chats[2].name), 2) > 40);
    house_close(&h);
    json_decref(golden);
}

int main(int argc, char **argv)
{
    model_name = argc > 1 ? argv[1] : "smollm2";
    if (!stack_model_path(model_name)) {
        fprintf(stderr, "unknown model %s\n", model_name);
        return 2;
    }
    const struct CMUnitTest tests[] = {
        TEST_IN_TEMP_FOLDER(the_server_says_what_the_reference_says),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
