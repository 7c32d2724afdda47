/* From a conversation to the tokens of its prompt, through the model's own chat template. Knows no
 * engine. */
#ifndef PENSIEVE_CHAT_PROMPT_H
#define PENSIEVE_CHAT_PROMPT_H

#include "base/buf.h"
#include "chat/dialect.h"
#include "chat/history.h"
#include "chat/render.h"
#include "chat/template_variables.h"
#include "text/tokenizer.h"

/* Immutable after prompt_init; any thread may use it. Borrows both. */
struct prompt {
    const struct tokenizer *tokenizer;
    char *bos, *eos;           /* their written forms, "" when the model has none */
    struct render_setup setup; /* with what the template was found to need */
    struct template_variables variables;
    enum history_break history;
    const struct dialects *dialects; /* that are listened to */
    unsigned own_dialects;           /* bit i: the model was taught dialects->rows[i] */
};

/* Finds out by trial what the template can do, which repairs it needs (docs/templates.md), which
 * variables it reads, and whether what was rendered stays as a conversation grows; sets the
 * variables that make it stay. `dialects` is &dialects_known but for tests. */
bool prompt_init(struct prompt *p, const struct tokenizer *tokenizer,
                 const struct chat_template *chat_template, const struct dialects *dialects,
                 struct error *err);
void prompt_deinit(struct prompt *p);

/* What makes later prompts change what was rendered before, in one sentence without a full stop; ""
 * where nothing does. */
const char *prompt_history_note(const struct prompt *p);
/* Appends the names of the repairs in use, with ", " between them, and the variables that are set,
 * as JSON ("{}": none). */
void prompt_repairs_note(const struct prompt *p, struct buf *out);
void prompt_variables_note(const struct prompt *p, struct buf *out);

/* Fills two empty buffers with the prompt's text, up to the place where the model is to go on, and
 * with a byte for each of its bytes: 1 where it is what somebody said, 0 where it is the template's
 * own. */
bool prompt_render(const struct prompt *p, const struct conversation *c, struct buf *out,
                   struct buf *marks, struct error *err);

/* The tokens of an answer by its identity (said.h), a copy to be freed; NULL: not known. */
struct prompt_memory {
    int32_t *(*recall)(void *context, const uint64_t identity[2], size_t *n);
    void *context;
};
/* The prompt's tokens. What people and tools said never becomes a control token, whatever it says;
 * the text that an answer is to go on from neither. Earlier answers are made of the very tokens
 * that they were sampled as, where `memory` (or NULL) knows them and the template shows them as
 * they are. */
bool prompt_tokens(const struct prompt *p, const struct conversation *c,
                   const struct prompt_memory *memory, struct token_list *out, struct error *err);

#endif
