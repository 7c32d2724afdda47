#include "claude/said.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { MAX_BYTES = 16 << 20 };

void said_init(struct said *s)
{
    buf_init(&s->blocks, MAX_BYTES);
    buf_init(&s->text, MAX_BYTES);
}

void said_deinit(struct said *s)
{
    buf_deinit(&s->blocks);
    buf_deinit(&s->text);
}

void said_reset(struct said *s)
{
    buf_clear(&s->blocks);
    buf_clear(&s->text);
}

static void put(struct said *s, char kind, const char *bytes, size_t n)
{
    uint64_t length = n;
    buf_putc(&s->blocks, kind);
    buf_append(&s->blocks, (const char *)&length, sizeof length);
    buf_append(&s->blocks, bytes, n);
}

static void end_text(struct said *s)
{
    if (s->text.len)
        put(s, 't', s->text.data, s->text.len);
    buf_clear(&s->text);
}

void said_text(struct said *s, const char *bytes, size_t n)
{
    buf_append(&s->text, bytes, n);
}

void said_call(struct said *s, const char *name, const json_t *input)
{
    char *text = json_dumps(input, JSON_COMPACT | JSON_SORT_KEYS);
    end_text(s);
    put(s, 'n', name, strlen(name));
    put(s, 'i', text ? text : "", text ? strlen(text) : 0);
    free(text);
}

bool said_identity(struct said *s, uint64_t identity[2])
{
    end_text(s);
    if (!s->blocks.len || buf_failed(&s->blocks) || buf_failed(&s->text))
        return false;
    XXH128_hash_t hash = XXH3_128bits(s->blocks.data, s->blocks.len);
    identity[0] = hash.low64;
    identity[1] = hash.high64;
    return true;
}

bool said_identity_of(const struct request_message *m, uint64_t identity[2])
{
    struct said s;
    bool ok = m->role == REQUEST_ASSISTANT;
    said_init(&s);
    for (size_t i = 0; ok && i < m->n_blocks; i++) {
        const struct request_block *b = &m->blocks[i];
        end_text(&s);
        if (b->kind == REQUEST_BLOCK_TEXT)
            said_text(&s, b->text.data, b->text.n);
        else if (b->kind == REQUEST_BLOCK_TOOL_USE)
            said_call(&s, b->name, b->input);
        else
            ok = false;
    }
    ok = ok && said_identity(&s, identity);
    said_deinit(&s);
    return ok;
}
