/* The chat templates inside of real model files against jinja2: conversations with system messages,
 * tools, calls and results. Golden file by scripts/golden_templates.py. */
#include "chat/chat_template.h"
#include "support/test_models.h"
#include "weights/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *golden;

static struct chat_template *open_template(const char *path)
{
    struct weights_string source;
    struct error err = {0};
    struct chat_template *t = NULL;
    struct weights *w = weights_open(path, &err);
    if (w && weights_string(w, "tokenizer.chat_template", &source))
        t = chat_template_create(source.data, source.len, &err);
    if (!t)
        fprintf(stderr, "%s: no chat template: %s\n", path, err.message);
    weights_close(w);
    return t;
}

static bool check(const struct chat_template *t, const json_t *item, json_t *tokens)
{
    const char *name = json_string_value(json_object_get(item, "name"));
    const json_t *output = json_object_get(item, "output");
    json_t *context = json_object_get(json_object_get(golden, "conversations"), name);
    struct buf out;
    struct error err = {0};
    buf_init(&out, 1 << 24);
    if (!json_is_object(context) || json_object_update(context, tokens) != 0)
        abort();
    bool rendered = chat_template_render(t, context, NULL, &out, NULL, &err);
    bool same =
        rendered == json_is_string(output) &&
        (!rendered || (out.len == json_string_length(output) &&
                       memcmp(out.data ? out.data : "", json_string_value(output), out.len) == 0));
    if (!same)
        fprintf(stderr, "%s differs\n--- expected\n%s\n--- got\n%s\n", name,
                json_string_value(rendered ? output : json_object_get(item, "error")),
                rendered ? out.data : err.message);
    buf_deinit(&out);
    return same;
}

/* 0, 1 or 77 (the file is missing). */
static int check_model(const json_t *model)
{
    char path[4096];
    size_t i, n_wrong = 0, n_text = 0;
    json_t *item, *tokens = json_object_get(model, "tokens");
    if (!test_models_find(path, sizeof path, json_string_value(json_object_get(model, "file"))))
        return TEST_MODELS_SKIPPED;
    struct chat_template *t = open_template(path);
    if (!t)
        return 1;
    json_array_foreach(json_object_get(model, "cases"), i, item)
    {
        n_wrong += !check(t, item, tokens);
        n_text += json_is_string(json_object_get(item, "output"));
    }
    printf("%s: %zu conversations, %zu of them text, %zu wrong\n", path, i, n_text, n_wrong);
    chat_template_destroy(t);
    return n_wrong || n_text < 40;
}

int main(void)
{
    const json_t *model;
    size_t i;
    int result = 0;
    golden = json_load_file(CHAT_GOLDEN "/golden_chat.json", JSON_ALLOW_NUL, NULL);
    if (!golden || json_array_size(json_object_get(golden, "models")) < 2) {
        fprintf(stderr, "golden_chat.json is missing or too short\n");
        return 1;
    }
    json_array_foreach(json_object_get(golden, "models"), i, model)
    {
        int one = check_model(model);
        if (one && result != 1)
            result = one;
    }
    json_decref(golden);
    return result;
}
