#include "chat/said.h"

#include "chat/json_exact.h"

#include <string.h>
#include <xxhash.h>

enum { MAX_BYTES = 16 << 20 };

void said_init(struct said *s)
{
    buf_init(&s->blocks, MAX_BYTES);
    buf_init(&s->text, MAX_BYTES);
    buf_init(&s->call, MAX_BYTES);
}

void said_deinit(struct said *s)
{
    buf_deinit(&s->blocks);
    buf_deinit(&s->text);
    buf_deinit(&s->call);
}

void said_reset(struct said *s)
{
    buf_clear(&s->blocks);
    buf_clear(&s->text);
    buf_clear(&s->call);
}

static void said_put(struct said *s, char kind, const char *bytes, size_t n)
{
    uint64_t length = n;
    buf_putc(&s->blocks, kind);
    buf_append(&s->blocks, (const char *)&length, sizeof length);
    buf_append(&s->blocks, bytes, n);
}

static void said_end_text(struct said *s)
{
    if (s->text.len)
        said_put(s, 't', s->text.data, s->text.len);
    buf_clear(&s->text);
}

void said_text(struct said *s, const char *bytes, size_t n)
{
    buf_append(&s->text, bytes, n);
}

void said_call(struct said *s, const char *name, const json_t *arguments)
{
    struct buf text;
    buf_init(&text, MAX_BYTES);
    json_exact_write(&text, arguments, JSON_EXACT_SORTED | JSON_EXACT_ROUNDED);
    said_end_text(s);
    said_put(s, 'n', name, strlen(name));
    said_put(s, 'i', text.data ? text.data : "", text.len);
    s->blocks.failed |= buf_failed(&text);
    buf_deinit(&text);
}

void said_call_bytes(struct said *s, const char *bytes, size_t n)
{
    buf_append(&s->call, bytes, n);
}

void said_call_end(struct said *s, const char *name)
{
    json_t *arguments =
        buf_failed(&s->call) ? NULL : json_exact_load(s->call.data, s->call.len, NULL);
    said_call(s, name, arguments); /* without: no identity */
    json_decref(arguments);
    buf_clear(&s->call);
}

bool said_identity(struct said *s, uint64_t identity[2])
{
    said_end_text(s);
    if (!s->blocks.len || buf_failed(&s->blocks) || buf_failed(&s->text))
        return false;
    XXH128_hash_t hash = XXH3_128bits(s->blocks.data, s->blocks.len);
    identity[0] = hash.low64;
    identity[1] = hash.high64;
    return true;
}

bool said_identity_of(const struct conversation_message *m, uint64_t identity[2])
{
    struct said s;
    bool ok = m->role == CONVERSATION_ASSISTANT;
    said_init(&s);
    for (size_t i = 0; ok && i < m->n_blocks; i++) {
        const struct conversation_block *b = &m->blocks[i];
        said_end_text(&s);
        if (b->kind == CONVERSATION_TEXT)
            said_text(&s, b->text.data, b->text.n);
        else if (b->kind == CONVERSATION_CALL)
            said_call(&s, b->name, b->arguments);
        else
            ok = false;
    }
    ok = ok && said_identity(&s, identity);
    said_deinit(&s);
    return ok;
}
