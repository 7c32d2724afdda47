/* Small models like to repeat the very call that has just succeeded. This knows the calls of a
 * conversation whose next repetition would be pointless, and the tokens that open a call. Knows no
 * engine. */
#ifndef PENSIEVE_CHAT_REPEAT_GUARD_H
#define PENSIEVE_CHAT_REPEAT_GUARD_H

#include "chat/dialect.h"
#include "text/tokenizer.h"

#include <stdbool.h>
#include <stdint.h>

/* The calls of the last turn that n_identical turns in a row have made with the same arguments,
 * with the same result and without an error, and whose result is what the model was shown last. */
struct repeat_guard {
    struct repeat_guard_call *calls; /* [n_calls], in the conversation's arena */
    size_t n_calls;
};
struct repeat_guard_call {
    const struct conversation_block *block;
    const char *arguments; /* [n_arguments], as json_exact.h writes them */
    size_t n_arguments;
};

/* n_identical 0: guards nothing. False: out of memory. */
bool repeat_guard_init(struct repeat_guard *g, struct conversation *c, uint32_t n_identical);
bool repeat_guard_hits(const struct repeat_guard *g, const char *name, const json_t *arguments);
/* A call that is being written, beside the guarded ones: which of them it may still become. Their
 * arguments must be written as the conversation has them, members in the same order. */
struct repeat_guard_watch {
    uint32_t calls; /* bit i: calls[i] of the guard */
    size_t n;       /* bytes of arguments that were looked at */
};
struct repeat_guard_watch repeat_guard_watch(const struct repeat_guard *g, const char *name);
/* The arguments begin with bytes[n], the same as before and more. False: it becomes none of them.
 */
bool repeat_guard_may_hit(const struct repeat_guard *g, struct repeat_guard_watch *w,
                          const char *bytes, size_t n);

/* A bitset over the vocabulary, n_words 64-bit words, of the tokens that must not come; the caller
 * frees. At the start of a restarted answer only a word may come, and no end; at the start of one
 * of its lines anything but the opening of a call. NULL: out of memory. */
uint64_t *repeat_guard_mask(const struct tokenizer *t, const struct dialects *dialects,
                            bool is_start, size_t *n_words);

#endif
