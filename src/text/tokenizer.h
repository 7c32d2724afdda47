/* Text to tokens and back, as the model's files define it: BPE over bytes or characters, and
 * SentencePiece-style vocabularies. Immutable after creation; any thread may use it. Knows no
 * tensors. */
#ifndef PENSIEVE_TEXT_TOKENIZER_H
#define PENSIEVE_TEXT_TOKENIZER_H

#include "base/error.h"
#include "text/token_list.h"
#include "weights/weights.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

/* Reads tokenizer.ggml.* of a GGUF file, or a folder's tokenizer.json, else its tokenizer.model,
 * and what stands beside it; `w` must outlive the tokenizer. What is not known (a model, a
 * pre-tokenizer, a normalizer, …) is UNSUPPORTED, and the message names it. */
struct tokenizer *tokenizer_create(const struct weights *w, struct error *err);
void tokenizer_destroy(struct tokenizer *t);

enum {
    TOKENIZER_SPECIAL =
        1,             /* control tokens written out in the text (<|im_end|>) become their ids */
    TOKENIZER_BOS = 2, /* put the beginning-of-sequence token first if the model wants one */
};

/* Appends the tokens of text[n_bytes], any bytes, in time n log n: the bytes of invalid UTF-8 are
 * kept. Only a vocabulary that has no token for a byte (SmolLM2 lacks 21 of them) loses it: in
 * valid text it is left out, as the vocabulary's makers do, in invalid text it becomes U+FFFD.
 * False: out of memory. */
bool tokenizer_encode(const struct tokenizer *t, const char *text, size_t n_bytes, unsigned flags,
                      struct token_list *out, struct error *err);

/* The same for a text that is partly somebody's words: is_data[n_bytes] is 1 at each byte that is,
 * as jinja_template_render tells. A marker (a control token, or a user-defined one written as
 * markup: <tool_call>) counts only if its first two and its last two bytes are no data, so that a
 * template may compose one ('<|' + name + '|>') and data may not. What data contains of one, or
 * reaches into, is ordinary text, and is cut as if no such token were known: what is data changes
 * nothing else. is_data may be NULL: nothing is. */
bool tokenizer_encode_marked(const struct tokenizer *t, const char *text, const uint8_t *is_data,
                             size_t n_bytes, unsigned flags, struct token_list *out,
                             struct error *err);

/* The bytes of one token, not terminated, valid as long as the tokenizer; "" for an id out of
 * range. Concatenating the pieces of a text's tokens gives the text (SentencePiece: with the
 * leading space that its dummy prefix added). Control tokens give their written form. */
const char *tokenizer_piece(const struct tokenizer *t, int32_t id, size_t *n_bytes);

size_t tokenizer_n_vocab(const struct tokenizer *t);
bool tokenizer_is_control(const struct tokenizer *t,
                          int32_t id); /* never shown to the user: control, unknown, unused */
bool tokenizer_is_eog(const struct tokenizer *t, int32_t id); /* ends a generation */
int32_t tokenizer_bos(const struct tokenizer *t);             /* or -1 */
int32_t tokenizer_eos(const struct tokenizer *t);             /* or -1 */
int32_t tokenizer_find(const struct tokenizer *t,
                       const char *piece); /* id of an exact piece, or -1 */

#endif
