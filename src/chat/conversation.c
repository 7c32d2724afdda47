#include "chat/conversation.h"

#include <string.h>

void conversation_init(struct conversation *c, size_t max_bytes)
{
    *c = (struct conversation){.system = {.role = CONVERSATION_SYSTEM}};
    arena_init(&c->arena, max_bytes);
}

void conversation_deinit(struct conversation *c)
{
    for (size_t i = 0; i < c->n_tools; i++)
        json_decref(c->tools[i].schema);
    arena_deinit(&c->arena);
    *c = (struct conversation){0};
}

size_t conversation_n_offered(const struct conversation *c)
{
    return c->choice == CONVERSATION_CHOICE_NONE ? 0 : c->n_tools;
}

const struct conversation_tool *conversation_find_tool(const struct conversation *c,
                                                       const char *name)
{
    for (size_t i = 0; i < c->n_tools; i++)
        if (!strcmp(c->tools[i].name, name))
            return &c->tools[i];
    return NULL;
}

bool conversation_is_continued(const struct conversation *c)
{
    return c->n_messages && c->messages[c->n_messages - 1].role == CONVERSATION_ASSISTANT &&
           c->messages[c->n_messages - 1].n_blocks;
}

static bool conversation_say(struct conversation *c, struct conversation_message *m,
                             enum conversation_role role, const struct conversation_text *text)
{
    m->role = role;
    m->blocks = arena_alloc(&c->arena, sizeof *m->blocks);
    if (!m->blocks)
        return false;
    m->blocks[m->n_blocks++] = (struct conversation_block){CONVERSATION_TEXT, *text};
    return true;
}

bool conversation_ask(struct conversation *c, const struct conversation_text *system,
                      const struct conversation_text *question)
{
    c->messages = arena_alloc(&c->arena, sizeof *c->messages);
    if (!c->messages || (system && !conversation_say(c, &c->system, CONVERSATION_SYSTEM, system)))
        return false;
    c->n_messages = 1;
    return conversation_say(c, c->messages, CONVERSATION_USER, question);
}
