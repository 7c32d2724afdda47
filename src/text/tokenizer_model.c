/* Reads a folder's tokenizer.model: SentencePiece's protobuf (github.com/google/sentencepiece,
 * sentencepiece_model.proto), of which the pieces, the kind of model and how it writes a text anew
 * are needed. Added tokens are in tokenizer_config.json. Every length is the file's claim until it
 * was checked. */
#include "text/tokenizer_json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- protobuf's wire format ---- */

struct wire {
    const uint8_t *begin, *at, *end;
    struct error *err;
};

/* One field: a number, or bytes. */
struct wire_field {
    uint64_t number;
    uint64_t value;    /* of a varint, or the bits of a fixed one */
    struct wire bytes; /* of one with a length; else empty */
};

static bool wire_fail(const struct wire *r, const char *what)
{
    return error_at(r->err, ERROR_FORMAT, r->at - r->begin, "byte %td: %s", r->at - r->begin, what);
}

static bool wire_varint(struct wire *r, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && r->at < r->end; shift += 7) {
        uint8_t byte = *r->at++;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return wire_fail(r, "a number that does not end");
}

static bool wire_fixed(struct wire *r, size_t n, uint64_t *out)
{
    *out = 0;
    if ((size_t)(r->end - r->at) < n)
        return wire_fail(r, "a number that is cut");
    for (size_t i = 0; i < n; i++)
        *out |= (uint64_t)r->at[i] << 8 * i;
    r->at += n;
    return true;
}

/* The next field. False at the end, then *ok is true, and on failure, then it is false. */
static bool wire_next(struct wire *r, struct wire_field *f, bool *ok)
{
    uint64_t key, n = 0;
    *f = (struct wire_field){.bytes = {r->begin, r->at, r->at, r->err}};
    *ok = r->at == r->end;
    if (*ok || !wire_varint(r, &key))
        return false;
    f->number = key >> 3;
    switch (key & 7) {
    case 0:
        return wire_varint(r, &f->value);
    case 1:
        return wire_fixed(r, 8, &f->value);
    case 5:
        return wire_fixed(r, 4, &f->value);
    case 2:
        if (!wire_varint(r, &n))
            return false;
        if (n > (uint64_t)(r->end - r->at))
            return wire_fail(r, "a length that reaches past the end");
        f->bytes = (struct wire){r->begin, r->at, r->at + n, r->err};
        r->at += n;
        return true;
    default:
        return wire_fail(r, "a kind of field that is not known");
    }
}

/* ---- the model ---- */

enum { FIELD_PIECES = 1, FIELD_TRAINER = 2, FIELD_NORMALIZER = 3 }; /* of the model */
enum { MODEL_UNIGRAM = 1, MODEL_BPE = 2 };

/* What is said beside the pieces; the values are the defaults. */
struct settings {
    uint64_t n_pieces, kind, byte_fallback, as_suffix;
    uint64_t unknown, bos, eos;
    uint64_t adds_prefix, trims, escapes;
    struct wire charsmap;
};

static void read_trainer_field(struct settings *s, const struct wire_field *f)
{
    uint64_t *const known[] = {[3] = &s->kind,     [24] = &s->as_suffix, [35] = &s->byte_fallback,
                               [40] = &s->unknown, [41] = &s->bos,       [42] = &s->eos};
    if (f->number < sizeof known / sizeof *known && known[f->number])
        *known[f->number] = f->value;
}

static void read_normalizer_field(struct settings *s, const struct wire_field *f)
{
    uint64_t *const known[] = {[3] = &s->adds_prefix, [4] = &s->trims, [5] = &s->escapes};
    if (f->number == 2)
        s->charsmap = f->bytes;
    else if (f->number < sizeof known / sizeof *known && known[f->number])
        *known[f->number] = f->value;
}

static bool read_group(struct settings *s, struct wire bytes,
                       void (*reader)(struct settings *, const struct wire_field *))
{
    struct wire_field f;
    bool ok;
    while (wire_next(&bytes, &f, &ok))
        reader(s, &f);
    return ok;
}

static bool read_settings(struct settings *s, struct wire r)
{
    struct wire_field f;
    bool ok = false, right = true;
    *s = (struct settings){
        .kind = MODEL_UNIGRAM, .bos = 1, .eos = 2, .adds_prefix = 1, .trims = 1, .escapes = 1};
    while (right && wire_next(&r, &f, &ok)) {
        s->n_pieces += f.number == FIELD_PIECES;
        if (f.number == FIELD_TRAINER)
            right = read_group(s, f.bytes, read_trainer_field);
        else if (f.number == FIELD_NORMALIZER)
            right = read_group(s, f.bytes, read_normalizer_field);
    }
    return right && ok;
}

static bool read_piece(struct tokenizer_file *f, size_t id, struct wire r)
{
    struct wire_field field;
    bool ok;
    f->types[id] = GGUF_TOKEN_NORMAL;
    while (wire_next(&r, &field, &ok)) {
        if (field.number == 1)
            f->tokens[id] = (struct weights_string){(const char *)field.bytes.at,
                                                    (size_t)(field.bytes.end - field.bytes.at)};
        if (field.number == 2) {
            uint32_t bits = (uint32_t)field.value;
            float score;
            memcpy(&score, &bits, sizeof score);
            f->scores[id] = (double)score;
        }
        if (field.number == 3)
            f->types[id] =
                field.value >= GGUF_TOKEN_NORMAL && field.value <= GGUF_TOKEN_BYTE
                    ? (uint8_t)field.value
                    : GGUF_TOKEN_UNUSED;
    }
    return ok && (f->scores[id] == f->scores[id] || wire_fail(&r, "a score that is no number"));
}

/* A user-defined token is found as a whole and has no say in the scores. */
static bool read_pieces(struct tokenizer_file *f, struct wire r)
{
    struct wire_field field;
    bool ok = false;
    size_t id = 0;
    while (wire_next(&r, &field, &ok)) {
        if (field.number != FIELD_PIECES)
            continue;
        if (!read_piece(f, id, field.bytes))
            return false;
        if (f->types[id] == GGUF_TOKEN_USER_DEFINED)
            f->scores[id] = 0;
        id++;
    }
    return ok;
}

/* ---- tokens that tokenizer_config.json adds ---- */

/* "added_tokens_decoder": {"32000": {"content": "<|x|>", …}, …}; ids may lie behind the pieces. */
static bool read_id(const struct json_tree_value *name, uint64_t *id)
{
    *id = 0;
    for (size_t i = 0; i < name->len; i++) {
        if (name->text[i] < '0' || name->text[i] > '9' || *id > TOKENIZER_MAX_TOKENS)
            return false;
        *id = *id * 10 + (uint64_t)(name->text[i] - '0');
    }
    return name->len > 0;
}

static const struct json_tree_value *added_tokens(const struct weights *w)
{
    const struct json_tree_value *v = weights_config(w, "tokenizer.added_tokens_decoder");
    return json_tree_is(v, JSON_TREE_OBJECT) ? v : NULL;
}

static bool measure_tokens(const struct weights *w, uint64_t *n, struct error *err)
{
    const struct json_tree_value *added = added_tokens(w);
    const struct json_tree_value *name = added ? json_tree_first(added) : NULL;
    for (size_t i = 0; added && i < added->n_items; i++) {
        const struct json_tree_value *token = json_tree_after(name);
        uint64_t id;
        if (!read_id(name, &id) || id > 2 * *n + (1 << 16) ||
            !json_tree_is(json_tree_member(token, "content"), JSON_TREE_STRING))
            return error_set(err, ERROR_FORMAT, "added_tokens_decoder: \"%.*s\" is no token",
                             (int)(name->len < 64 ? name->len : 64), name->text);
        *n = id >= *n ? id + 1 : *n;
        name = json_tree_after(token);
    }
    return true;
}

static bool add_tokens(struct tokenizer_file *f, const struct weights *w, struct error *err)
{
    const struct json_tree_value *added = added_tokens(w);
    const struct json_tree_value *name = added ? json_tree_first(added) : NULL;
    for (size_t i = 0; added && i < added->n_items; i++) {
        const struct json_tree_value *token = json_tree_after(name);
        uint64_t id;
        if (!read_id(name, &id) || !tokenizer_json_added(f, id, token, "added_tokens_decoder", err))
            return false;
        f->flags[id] &= (uint8_t)~TOKENIZER_NORMALIZED; /* there is no normal form to look in */
        name = json_tree_after(token);
    }
    return true;
}

/* ---- all together ---- */

static int32_t model_id(const struct tokenizer_file *f, uint64_t id)
{
    int32_t number = (int32_t)(uint32_t)id; /* -1: there is none */
    return number >= 0 && (size_t)number < f->n ? number : -1;
}

/* Llama's way, which changes nothing but spaces, keeps every byte; others write texts anew. */
static bool set_normalizer(struct tokenizer_file *f, const struct settings *s, struct error *err)
{
    size_t n = (size_t)(s->charsmap.end - s->charsmap.at);
    struct charsmap *c = NULL;
    if (s->as_suffix || !s->escapes)
        return error_set(err, ERROR_UNSUPPORTED,
                         "a model that puts spaces behind words or leaves "
                         "them as they are");
    f->add_space_prefix = s->adds_prefix;
    if (f->kind == TOKENIZER_SPM && !n && !s->trims)
        return true;
    if (n && !(c = charsmap_create(s->charsmap.at, n, err)))
        return false;
    return tokenizer_file_add_sentencepiece(f, c, s->trims, s->adds_prefix, err);
}

static bool read_model_bytes(struct tokenizer_file *f, const struct weights *w,
                             const struct weights_string *text, struct error *err)
{
    const uint8_t *data = (const uint8_t *)text->data;
    struct wire r = {data, data, data + text->len, err};
    struct settings s;
    uint64_t n;
    if (!read_settings(&s, r))
        return false;
    if (s.kind != MODEL_UNIGRAM && s.kind != MODEL_BPE)
        return error_set(err, ERROR_UNSUPPORTED, "a model of kind %" PRIu64, s.kind);
    n = s.n_pieces;
    if (!measure_tokens(w, &n, err) || !tokenizer_file_reserve(f, (size_t)n, err))
        return false;
    f->kind = s.kind == MODEL_BPE ? TOKENIZER_SPM : TOKENIZER_UNIGRAM;
    f->has_types = f->spaces_are_marks = f->sums_floats = f->fuses_unknown = true;
    f->has_fallback = s.byte_fallback;
    f->scores = calloc(f->n, sizeof *f->scores);
    if (!f->scores)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for %zu scores", f->n);
    if (!read_pieces(f, r) || !add_tokens(f, w, err) || !set_normalizer(f, &s, err))
        return false;
    tokenizer_json_ends(f, w);
    f->unknown = model_id(f, s.unknown);
    f->bos = f->bos < 0 ? model_id(f, s.bos) : f->bos;
    f->eos = f->eos < 0 ? model_id(f, s.eos) : f->eos;
    f->add_bos = true;
    weights_config_bool(w, "tokenizer.add_bos_token", &f->add_bos);
    return true;
}

bool tokenizer_file_read_model(struct tokenizer_file *f, const struct weights *w, struct error *err)
{
    struct weights_string text;
    f->unknown = -1;
    if (!weights_text(w, "tokenizer.model", &text))
        return error_set(err, ERROR_NOT_FOUND, "the folder has no tokenizer.model");
    return read_model_bytes(f, w, &text, err) || error_prefix(err, "tokenizer.model");
}
