/* The Anthropic domain as rows for a server's table: the Messages API, the models, the metrics, and
 * how errors look. Knows no sockets, and of claude no more than claude.h says. */
#ifndef PENSIEVE_CLAUDE_HANDLERS_H
#define PENSIEVE_CLAUDE_HANDLERS_H

#include "claude/claude.h"
#include "server/handler.h"

/* The routes of a claude, which is borrowed. */
struct handler_table claude_handlers(struct claude *c);

extern const struct handler_api claude_api;

#endif
