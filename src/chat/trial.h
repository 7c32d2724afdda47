/* Small conversations of marked words, to find out by rendering them what a chat template does. A
 * pattern has a letter for each block, which is a message of its own:
 *
 *     S  a system prompt (first)    t  thoughts     c  a call
 *     s  a system message           a  an answer    C  a call with every kind of argument
 *     u  a user                     r  the result of the oldest call that has none, or another one
 *                                      of the last call
 *
 * "Sutcrtau" is a question that was answered after a call, and the next one. Knows no tokens. */
#ifndef PENSIEVE_CHAT_TRIAL_H
#define PENSIEVE_CHAT_TRIAL_H

#include "chat/render.h"

enum { TRIAL_MAX_BLOCKS = 32, TRIAL_WORD_BYTES = 16 };

#define TRIAL_TOOL "trial_tool"
#define TRIAL_KEY "trial_key"

struct trial_options {
    bool has_tools;    /* one is offered */
    bool is_closed;    /* the model is not asked to go on */
    json_t *variables; /* or NULL */
};

/* Renders the pattern as the setup says, nothing else tried, into an empty buffer, which is closed
 * by a zero. False: the template raised; or, with *s->spent set, memory ran out, or the work that a
 * template may take: then nothing is rendered any more, so that a hostile template costs once what
 * it may cost. */
bool trial_render(const struct render_setup *s, const char *pattern,
                  const struct trial_options *options, struct buf *out);
/* What the block at `i` says: of a call its argument, of a result its text. */
void trial_word(char word[TRIAL_WORD_BYTES], const char *pattern, size_t i);
/* Renders, and shows every word but of thoughts and of answers beside a call, where templates
 * differ on purpose; and calls as no Python value. */
bool trial_shows(const struct render_setup *s, const char *pattern, bool has_tools);
/* Renders, and so does its beginning of n blocks, of which all that was said stays as it was. */
bool trial_keeps(const struct render_setup *s, const char *pattern, size_t n);
/* Renders, and shows this. */
bool trial_has(const struct render_setup *s, const char *pattern,
               const struct trial_options *options, const char *what);

#endif
