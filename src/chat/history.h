/* Whether a conversation that grows keeps what was rendered of it: then what was computed for its
 * beginning serves again. Found by trial when a model is loaded. Knows no tokens. */
#ifndef PENSIEVE_CHAT_HISTORY_H
#define PENSIEVE_CHAT_HISTORY_H

#include "chat/render.h"

/* What changes earlier text; the first that was seen. */
enum history_break {
    HISTORY_GROWS, /* nothing does */
    HISTORY_DROPS_THOUGHTS,
    HISTORY_DROPS_ANSWERS, /* text beside a call */
    HISTORY_MOVES_TOOLS,
    HISTORY_MOVES_SYSTEM,
    HISTORY_OPENS_OTHERWISE, /* the opening of an answer is not how answers begin later */
    HISTORY_REWRITES,        /* something else */
};

/* Looks at conversations that grow, with and without calls. Sets in s->variables, an object, those
 * that the template reads to keep thoughts, unless they are set already, and takes the system
 * prompt into the first user message where that helps; both only where less breaks. Says what is
 * left. */
enum history_break history_probe(struct render_setup *s);

/* One sentence without a full stop, "" for HISTORY_GROWS. */
const char *history_sentence(enum history_break b);

#endif
