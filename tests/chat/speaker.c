#include "speaker.h"

#include "claude/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

const char speaker_full[] =
    "{%- if tools %}\n"
    "    {{- '<|start|>system\\n' }}\n"
    "    {%- if messages[0].role == 'system' %}{{- messages[0].content }}{%- else %}{{- 'Be kind.' "
    "}}{%- endif %}\n"
    "    {{- '\\n\\nTools:' }}\n"
    "    {%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}\n"
    "    {{- '<|end|>\\n' }}\n"
    "{%- elif messages[0].role == 'system' %}\n"
    "    {{- '<|start|>system\\n' + messages[0].content + '<|end|>\\n' }}\n"
    "{%- endif %}\n"
    "{%- for message in messages %}\n"
    "    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) or "
    "(message.role == "
    "'assistant' and not message.tool_calls) %}\n"
    "        {{- '<|start|>' + message.role + '\\n' + message.content + '<|end|>' + '\\n' }}\n"
    "    {%- elif message.role == 'assistant' %}\n"
    "        {{- '<|start|>' + message.role }}\n"
    "        {%- if message.content %}{{- '\\n' + message.content }}{%- endif %}\n"
    "        {%- for call in message.tool_calls %}\n"
    "            {%- set call = call.function %}\n"
    "            {{- '\\n<tool_call>\\n{\"name\": \"' + call.name + '\", \"arguments\": ' }}\n"
    "            {{- call.arguments | tojson }}{{- '}\\n</tool_call>' }}\n"
    "        {%- endfor %}\n"
    "        {{- '<|end|>\\n' }}\n"
    "    {%- elif message.role == 'tool' %}\n"
    "        {{- '<|start|>user\\n<tool_response>\\n' + message.content + "
    "'\\n</tool_response><|end|>\\n' }}\n"
    "    {%- endif %}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}{{- '<|start|>assistant\\n' }}{%- endif %}\n";

const char speaker_plain[] =
    "{% for message in messages %}{{'<|start|>' + message['role'] + '\n' + message['content'] + "
    "'<|end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}";

const char speaker_rigid[] =
    "{% for message in messages %}"
    "{% if message.role not in ['user', 'assistant'] or (message.role == 'user') != (loop.index0 % "
    "2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "<|start|>{{ message.role }}\n{% if message.role == 'assistant' %}{{ message.content | length "
    "}} bytes"
    "{% else %}{{ message.content | trim }}{% endif %}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}";

void speaker_open(struct speaker *s, const char *source)
{
    speaker_open_as(s, source, NULL);
}

void speaker_open_as(struct speaker *s, const char *source, void (*more)(struct gguf_builder *g))
{
    struct error err = {0};
    *s = (struct speaker){0};
    tiny_model_init_as(&s->file, "llama", more);
    s->weights = weights_open_bytes(s->file.data, s->file.size, &err);
    if (s->weights)
        s->tokenizer = tokenizer_create(s->weights, &err);
    if (s->tokenizer)
        s->chat_template = chat_template_create(source, strlen(source), &err);
    if (!s->chat_template)
        fail_msg("%s", err.message);
}

void speaker_close(struct speaker *s)
{
    chat_template_destroy(s->chat_template);
    tokenizer_destroy(s->tokenizer);
    weights_close(s->weights);
    tiny_model_deinit(&s->file);
}

void speaker_prompt(struct speaker *s, struct prompt *p)
{
    struct error err = {0};
    if (!prompt_init(p, s->tokenizer, s->chat_template, &dialects_known, &err))
        fail_msg("%s", err.message);
}

bool speaker_try(const struct prompt *p, const char *body, struct buf *out, struct error *err)
{
    struct request r;
    struct buf marks;
    buf_init(out, 1 << 20);
    buf_init(&marks, 1 << 20);
    bool ok = request_parse(&r, body, strlen(body), false, err) &&
              prompt_render(p, &r.conversation, out, &marks, err);
    assert_int_equal(marks.len, out->len);
    buf_deinit(&marks);
    request_deinit(&r);
    return ok;
}

void speaker_render(const char *source, const char *body, struct buf *out)
{
    struct speaker s;
    struct prompt p;
    struct error err = {0};
    speaker_open(&s, source);
    speaker_prompt(&s, &p);
    if (!speaker_try(&p, body, out, &err))
        fail_msg("%s", err.message);
    prompt_deinit(&p);
    speaker_close(&s);
}
