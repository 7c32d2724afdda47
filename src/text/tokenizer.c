/* Text to tokens and back: takes special tokens out of the text and hands the rest to the
 * vocabulary's kind of merging. Keeps the pieces of all tokens as the bytes they stand for. Knows
 * no tensors. */
#include "text/tokenizer.h"

#include "text/bpe.h"
#include "text/spm.h"
#include "text/tokenizer_eog.h"
#include "text/tokenizer_file.h"
#include "text/tokenizer_special.h"
#include "text/unigram.h"
#include "text/tokenizer_vocab.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_SHOWN = 2048
}; /* bytes of a token that tokenizer_find looks up, as the file writes it */

struct tokenizer {
    struct tokenizer_file file;
    struct tokenizer_vocab vocab;
    struct tokenizer_special special;    /* looked for in the text as it is */
    struct tokenizer_special normalized; /* in the normalized text between those */
    struct tokenizer_eog eog;
    struct bpe bpe;
    struct spm spm;
    struct unigram unigram;
    char *pieces;       /* the bytes of all tokens, one after the other */
    uint32_t *piece_at; /* [n + 1] where each begins */
};

static bool is_byte_level(const struct tokenizer *t)
{
    return t->file.kind == TOKENIZER_BYTE_BPE;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that "<0x0A>" names, or -1. */
static int byte_of(const struct weights_string *token)
{
    if (token->len != 6 || memcmp(token->data, "<0x", 3) || token->data[5] != '>')
        return -1;
    int high = hex_digit(token->data[3]), low = hex_digit(token->data[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Byte-level: each character is a byte; one outside the alphabet stands for itself. */
static size_t write_bpe_piece(const struct weights_string *token, char *out)
{
    size_t n = 0, n_char;
    for (size_t i = 0; i < token->len; i += n_char) {
        if (token->data[i] > ' ' && token->data[i] < 0x7f) { /* the usual case, said shorter */
            out[n++] = token->data[i];
            n_char = 1;
            continue;
        }
        int byte = unicode_to_byte(token->data + i, token->len - i, &n_char);
        if (byte >= 0) {
            out[n++] = (char)byte;
        } else {
            memcpy(out + n, token->data + i, n_char);
            n += n_char;
        }
    }
    return n;
}

/* SentencePiece: U+2581 is a space. */
static size_t write_spm_piece(const struct weights_string *token, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < token->len;) {
        bool space = token->len - i >= 3 && !memcmp(token->data + i, "\xe2\x96\x81", 3);
        out[n++] = space ? ' ' : token->data[i];
        i += space ? 3 : 1;
    }
    return n;
}

/* A token of ordinary text as the bytes that it stands for. */
static size_t write_text_piece(const struct tokenizer *t, const struct weights_string *token,
                               char *out)
{
    if (is_byte_level(t))
        return write_bpe_piece(token, out);
    if (t->file.spaces_are_marks)
        return write_spm_piece(token, out);
    memcpy(out, token->data, token->len);
    return token->len;
}

/* Writes the bytes of token `id`, never more than its written form has. */
static size_t write_piece(const struct tokenizer *t, size_t id, char *out)
{
    const struct weights_string *token = &t->vocab.tokens[id];
    enum gguf_token_type type = t->vocab.types[id];
    int byte = type == GGUF_TOKEN_BYTE ? byte_of(token) : -1;
    if (byte >= 0) {
        out[0] = (char)byte;
        return 1;
    }
    bool as_written = type == GGUF_TOKEN_CONTROL || type == GGUF_TOKEN_UNKNOWN ||
                      (type == GGUF_TOKEN_USER_DEFINED && is_byte_level(t));
    if (!as_written)
        return write_text_piece(t, token, out);
    memcpy(out, token->data, token->len);
    return token->len;
}

static bool build_pieces(struct tokenizer *t, struct error *err)
{
    const struct tokenizer_vocab *v = &t->vocab;
    size_t total = 1; /* so that an empty vocabulary has a block, too */
    for (size_t i = 0; i < v->n; i++)
        total += v->tokens[i].len;
    if (total > UINT32_MAX)
        return error_set(err, ERROR_FORMAT, "the tokens have %zu bytes", total);
    t->pieces = malloc(total);
    t->piece_at = malloc((v->n + 1) * sizeof *t->piece_at);
    if (!t->pieces || !t->piece_at)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for %zu tokens", v->n);
    size_t at = 0;
    for (size_t i = 0; i < v->n; i++) {
        t->piece_at[i] = (uint32_t)at;
        at += write_piece(t, i, t->pieces + at);
    }
    t->piece_at[v->n] = (uint32_t)at;
    return true;
}

/* The reader for what stands beside the weights. */
static bool read_file(struct tokenizer_file *f, const struct weights *w, struct error *err)
{
    struct weights_string text;
    if (weights_format(w) == WEIGHTS_GGUF)
        return tokenizer_file_read_gguf(f, w, err);
    if (weights_text(w, "tokenizer.json", &text))
        return tokenizer_file_read_json(f, w, err);
    if (weights_text(w, "tokenizer.model", &text))
        return tokenizer_file_read_model(f, w, err);
    return error_set(err, ERROR_NOT_FOUND,
                     "the folder has no tokenizer.json and no tokenizer.model");
}

static bool build_merging(struct tokenizer *t, struct error *err)
{
    switch (t->file.kind) {
    case TOKENIZER_SPM:
        spm_init(&t->spm, &t->file, &t->vocab);
        return true;
    case TOKENIZER_UNIGRAM:
        return unigram_init(&t->unigram, &t->file, &t->vocab, err);
    default:
        return bpe_init(&t->bpe, &t->file, &t->vocab, err);
    }
}

static bool build_tokenizer(struct tokenizer *t, struct error *err)
{
    const struct tokenizer_file *f = &t->file;
    if (!tokenizer_vocab_init(&t->vocab, f, err) || !build_merging(t, err))
        return false;
    tokenizer_eog_init(&t->eog, f, &t->vocab);
    return tokenizer_special_init(&t->special, f, &t->vocab, false, err) &&
           tokenizer_special_init(&t->normalized, f, &t->vocab, true, err) && build_pieces(t, err);
}

struct tokenizer *tokenizer_create(const struct weights *w, struct error *err)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t) {
        error_set(err, ERROR_NO_MEMORY, "out of memory");
        return NULL;
    }
    if (!read_file(&t->file, w, err) || !build_tokenizer(t, err)) {
        tokenizer_destroy(t);
        return NULL;
    }
    tokenizer_file_built(&t->file);
    return t;
}

void tokenizer_destroy(struct tokenizer *t)
{
    if (!t)
        return;
    free(t->pieces);
    free(t->piece_at);
    tokenizer_special_deinit(&t->special);
    tokenizer_special_deinit(&t->normalized);
    unigram_deinit(&t->unigram);
    bpe_deinit(&t->bpe);
    tokenizer_vocab_deinit(&t->vocab);
    tokenizer_file_deinit(&t->file);
    free(t);
}

/* One call of tokenizer_encode. */
struct encoding {
    const struct tokenizer *t;
    bool control; /* control tokens count */
    struct token_list *out;
    struct bpe_scratch bpe;
    struct unigram_scratch unigram;
    struct normalizer_scratch normal;
};

/* Is a piece taken without merging where it is a token? */
static bool is_taken_whole(const struct tokenizer *t, const char *piece, size_t n_bytes)
{
    if (t->file.ignores_merges)
        return true;
    for (size_t i = 0; i < n_bytes; i++)
        if (piece[i] != '\n')
            return false;
    return t->file.takes_line_ends;
}

static bool encode_piece(void *context, const char *piece, size_t n_bytes)
{
    struct encoding *e = context;
    const struct tokenizer *t = e->t;
    if (t->file.kind == TOKENIZER_UNIGRAM)
        return unigram_encode(&t->unigram, piece, n_bytes, &e->unigram, e->out);
    if (t->file.kind == TOKENIZER_SPM)
        return spm_encode(&t->spm, piece, n_bytes, false, e->out);
    if (is_taken_whole(t, piece, n_bytes)) {
        int32_t id = bpe_find(&t->bpe, piece, n_bytes);
        if (id >= 0)
            return token_list_push(e->out, id);
    }
    return bpe_encode(&t->bpe, piece, n_bytes, &e->bpe, e->out);
}

/* Bytes that are no text. Those that the vocabulary has are kept; for each other one U+FFFD is put,
 * so that the model sees that something was there; those of SentencePiece's kind have a token for
 * it. */
static bool encode_invalid(struct encoding *e, const char *bytes, size_t n_bytes)
{
    const struct bpe *bpe = &e->t->bpe;
    if (e->t->file.kind == TOKENIZER_UNIGRAM || e->t->file.kind == TOKENIZER_SPM)
        return encode_piece(e, bytes, n_bytes);
    for (size_t i = 0, n; i < n_bytes; i += n) {
        for (n = 0; i + n < n_bytes && bpe->byte_ids[(unsigned char)bytes[i + n]] >= 0;)
            n++;
        if (n && !bpe_encode(bpe, bytes + i, n, &e->bpe, e->out))
            return false;
        if (i + n == n_bytes)
            break;
        if (!bpe_encode(bpe, "\xef\xbf\xbd", 3, &e->bpe, e->out))
            return false;
        n++;
    }
    return true;
}

static bool encode_normalized(struct encoding *e, const struct normalizer_text *text, bool first)
{
    struct tokenizer_special_match m;
    size_t at = 0;
    while (tokenizer_special_next(&e->t->normalized, text->text, text->marks, text->n, at,
                                  e->control, &m)) {
        if (!pre_tokenizer_split(e->t->file.pre, text->text + at, m.begin - at, first && !at,
                                 encode_piece, e) ||
            !token_list_push(e->out, m.id))
            return false;
        at = m.end;
    }
    return pre_tokenizer_split(e->t->file.pre, text->text + at, text->n - at, first && !at,
                               encode_piece, e);
}

static bool encode_valid(struct encoding *e, struct normalizer_text text, bool first)
{
    const struct normalizer *n = e->t->file.normalizer;
    return (!n || normalizer_run(n, &e->normal, &text)) && encode_normalized(e, &text, first);
}

static bool encode_runs(struct encoding *e, const char *text, const uint8_t *is_data,
                        size_t n_bytes, bool first)
{
    for (size_t i = 0; i < n_bytes;) {
        size_t n = unicode_valid_bytes(text + i, n_bytes - i);
        struct normalizer_text valid = {text + i, is_data ? is_data + i : NULL, n};
        if (n && !encode_valid(e, valid, first && !i))
            return false;
        i += n;
        n = unicode_invalid_bytes(text + i, n_bytes - i);
        if (n && !encode_invalid(e, text + i, n))
            return false;
        i += n;
    }
    return true;
}

/* Text between special tokens. `first`: nothing stands before it. */
static bool encode_text(struct encoding *e, const char *text, const uint8_t *is_data,
                        size_t n_bytes, bool first)
{
    if (e->t->file.pre)
        return encode_runs(e, text, is_data, n_bytes, first);
    return spm_encode(&e->t->spm, text, n_bytes, e->t->file.add_space_prefix, e->out);
}

static bool encode_parts(struct encoding *e, const char *text, const uint8_t *is_data,
                         size_t n_bytes)
{
    struct tokenizer_special_match m;
    size_t at = 0;
    while (tokenizer_special_next(&e->t->special, text, is_data, n_bytes, at, e->control, &m)) {
        if (m.begin > at &&
            !encode_text(e, text + at, is_data ? is_data + at : NULL, m.begin - at, !at))
            return false;
        if (!token_list_push(e->out, m.id))
            return false;
        at = m.end;
    }
    return at == n_bytes ||
           encode_text(e, text + at, is_data ? is_data + at : NULL, n_bytes - at, !at);
}

bool tokenizer_encode(const struct tokenizer *t, const char *text, size_t n_bytes, unsigned flags,
                      struct token_list *out, struct error *err)
{
    return tokenizer_encode_marked(t, text, NULL, n_bytes, flags, out, err);
}

bool tokenizer_encode_marked(const struct tokenizer *t, const char *text, const uint8_t *is_data,
                             size_t n_bytes, unsigned flags, struct token_list *out,
                             struct error *err)
{
    struct encoding e = {.t = t, .control = flags & TOKENIZER_SPECIAL, .out = out};
    normalizer_scratch_init(&e.normal);
    bool bos = (flags & TOKENIZER_BOS) && t->file.add_bos && t->file.bos >= 0;
    bool ok =
        (!bos || token_list_push(out, t->file.bos)) && encode_parts(&e, text, is_data, n_bytes);
    bpe_scratch_deinit(&e.bpe);
    unigram_scratch_deinit(&e.unigram);
    normalizer_scratch_deinit(&e.normal);
    return ok ||
           error_set(err, ERROR_NO_MEMORY, "out of memory for the tokens of %zu bytes", n_bytes);
}

const char *tokenizer_piece(const struct tokenizer *t, int32_t id, size_t *n_bytes)
{
    if (id < 0 || (size_t)id >= t->vocab.n) {
        *n_bytes = 0;
        return "";
    }
    *n_bytes = t->piece_at[id + 1] - t->piece_at[id];
    return t->pieces + t->piece_at[id];
}

size_t tokenizer_n_vocab(const struct tokenizer *t)
{
    return t->vocab.n;
}

bool tokenizer_is_control(const struct tokenizer *t, int32_t id)
{
    if (id < 0 || (size_t)id >= t->vocab.n)
        return false;
    enum gguf_token_type type = t->vocab.types[id];
    return type == GGUF_TOKEN_CONTROL || type == GGUF_TOKEN_UNKNOWN ||
           type == GGUF_TOKEN_UNUSED;
}

bool tokenizer_is_eog(const struct tokenizer *t, int32_t id)
{
    return tokenizer_eog_has(&t->eog, id);
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->file.bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->file.eos;
}

static bool piece_is(const struct tokenizer *t, int32_t id, const char *piece, size_t n_bytes)
{
    size_t n;
    const char *own = tokenizer_piece(t, id, &n);
    return id >= 0 && n == n_bytes && !memcmp(own, piece, n);
}

/* A piece as a SentencePiece vocabulary writes it, looked up. */
static int32_t find_spm(const struct tokenizer *t, const char *piece, size_t n_bytes)
{
    char shown[MAX_SHOWN];
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        size_t n_char = piece[i] == ' ' ? 3 : 1;
        if (n + n_char > sizeof shown)
            return -1;
        memcpy(shown + n, piece[i] == ' ' ? "\xe2\x96\x81" : piece + i, n_char);
        n += n_char;
    }
    return tokenizer_vocab_find(&t->vocab, shown, n);
}

int32_t tokenizer_find(const struct tokenizer *t, const char *piece)
{
    size_t n_bytes = strlen(piece);
    if (!n_bytes || n_bytes > t->vocab.max_bytes)
        return -1;
    int32_t id = tokenizer_vocab_find(&t->vocab, piece, n_bytes); /* control tokens, plain ASCII */
    if (piece_is(t, id, piece, n_bytes))
        return id;
    id = is_byte_level(t) ? bpe_find(&t->bpe, piece, n_bytes) : find_spm(t, piece, n_bytes);
    if (piece_is(t, id, piece, n_bytes))
        return id;
    if (n_bytes == 1) /* a byte token */
        id = tokenizer_vocab_find_byte(&t->vocab, (uint8_t)piece[0]);
    return n_bytes == 1 && piece_is(t, id, piece, n_bytes) ? id : -1;
}
