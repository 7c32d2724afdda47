/* What `pensieve show` tells of a model: gathered from its files, without computing anything. In
 * words it is show.c, as JSON show_json.c. One module: show, show_facts, show_json. */
#ifndef PENSIEVE_CLI_SHOW_FACTS_H
#define PENSIEVE_CLI_SHOW_FACTS_H

#include "base/buf.h"
#include "chat/chat_template.h"
#include "chat/prompt.h"
#include "engine/engine.h"
#include "model/model.h"
#include "store/store.h"
#include "text/tokenizer.h"
#include "weights/weights.h"

enum { SHOW_MAX_TYPES = 32, SHOW_MAX_KINDS = 512, SHOW_MAX_LAYERS = 1024 };

/* How much of the files one type of tensor takes. */
struct show_type {
    const char *name;
    uint32_t group;                         /* of packed numbers, else 0 */
    uint64_t n_tensors, n_bytes, n_missing; /* tensors whose data the file lacks */
};

/* The tensors of one name and type, over the layers: "q_proj" for
 * "model.layers.0.self_attn.q_proj.weight". */
struct show_kind {
    char name[48];
    size_t type;     /* index of a show_type */
    size_t n_layers; /* that are set; 0: it is of no layer */
    uint64_t layers[SHOW_MAX_LAYERS / 64];
};

/* As in RoPE; what is not said is 0 or empty. */
struct show_positions {
    float base, factor;
    uint64_t n_original; /* positions that it was trained for, before scaling */
    uint64_t n_dims;     /* of each head that turn */
    struct weights_string scaling;
};

struct show_facts {
    const char *path;
    const struct weights *w;
    struct error cut; /* the file is cut; else its code is NONE */
    char folder_name[128];
    bool is_folder;                           /* of safetensors; else GGUF */
    struct weights_string name, architecture; /* empty when missing */
    struct model_info info;                   /* when runs; else n_params and n_ctx_train alone */
    bool runs;                                /* this build has the architecture */
    struct error why_not;                     /* when it does not */
    uint64_t window; /* positions that windowed layers see; 0: none has a window */
    uint64_t n_experts, n_experts_used;
    struct show_positions positions;
    struct show_type types[SHOW_MAX_TYPES];
    size_t n_types;          /* most bytes first */
    struct show_kind *kinds; /* [n_kinds] */
    size_t n_kinds;
    uint64_t kv_token_bytes; /* of keys and values in f16 for each token; 0: not known */

    struct weights_string vocabulary, pre_tokenizer; /* of GGUF */
    const char *vocabulary_file;                     /* of a folder, or NULL */
    size_t n_vocab;
    struct tokenizer *tokenizer; /* or NULL, and why */
    struct error no_tokenizer;

    struct buf source;                   /* of the chat template; empty when there is none */
    const char *source_from;             /* where it stands */
    struct chat_template *chat_template; /* or NULL, and why */
    struct error no_template;
    bool has_prompt;
    struct prompt prompt; /* what the template can do */

    struct engine_sampling sampling; /* what the model's files recommend; below 0 (top_k: the most)
                                        where they don't */
    const struct store_model *known; /* the catalogue's entry, or NULL */
};

/* False: out of memory. What was gathered is to be given back either way. */
bool show_facts_gather(struct show_facts *f, const char *path, const struct weights *w,
                       const struct error *cut, struct error *err);
void show_facts_deinit(struct show_facts *f);

/* Text of the metadata, or an empty one. */
struct weights_string show_facts_text(const struct weights *w, const char *key);
/* "q_proj, v_proj of layers 0-3 and 8": the kinds of a type, with the layers where not all have it.
 */
void show_facts_kinds(const struct show_facts *f, size_t type, struct buf *out);
/* What the chat template can do, or NULL: not known. */
const struct dialog_format *show_facts_format(const struct show_facts *f);
/* The template speaks of thinking, in one of the ways that are known. */
bool show_facts_thinks(const struct show_facts *f);
/* The names of variables that chat templates are known to read; NULL past the last. */
const char *show_facts_variable(size_t i);
/* "unsigned integers". */
const char *show_facts_kind_name(enum weights_kind kind);
/* Tensors that are not whole, and all. */
uint64_t show_facts_missing(const struct show_facts *f);

bool show_json(const struct show_facts *f, bool all);

#endif
