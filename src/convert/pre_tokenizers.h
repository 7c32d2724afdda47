/* The pre-tokenizers of byte-level BPE that have a name in GGUF and a form in tokenizer.json. */
#ifndef PENSIEVE_CONVERT_PRE_TOKENIZERS_H
#define PENSIEVE_CONVERT_PRE_TOKENIZERS_H

#include "base/json_tree.h"

#include <stdbool.h>

/* The step that writes bytes in GPT-2's alphabet, as tokenizer.json has it. */
#define PRE_TOKENIZERS_BYTES(use_regex)                                                            \
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "              \
    "\"use_regex\": " use_regex "}"

struct pre_tokenizer {
    const char *name; /* GGUF's */
    const char *json; /* the items of a Sequence */
    bool is_nfc, ignores_merges;
};

const struct pre_tokenizer *pre_tokenizers_find(const char *name, size_t len);
/* The one that "pre_tokenizer" of a tokenizer.json says, or NULL. */
const struct pre_tokenizer *pre_tokenizers_match(const struct json_tree_value *v);

#endif
