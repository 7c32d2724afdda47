/* `pensieve tokenize`: shows how a model cuts text into tokens, and turns token ids back into text.
 */
#include "base/buf.h"
#include "base/printable.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "store/store.h"
#include "text/tokenizer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENIZE_MAX_PATH = 8192 };
#define TOKENIZE_MAX_INPUT ((size_t)1 << 30)

struct tokenize_options {
    const char *model, *text; /* text NULL: standard input */
    bool ids, special, decode;
};

#define TOKENIZE_VALUE(kind, member) SETTING_VALUE(kind, struct tokenize_options, member)

static const struct setting tokenize_rows[] = {
    {.name = "ids", TOKENIZE_VALUE(FLAG, ids), .help = "print the ids alone, one a line"},
    {.name = "special",
     TOKENIZE_VALUE(FLAG, special),
     .help = "control tokens written out in the text (<|im_end|>) become\ntheir ids"},
    {.name = "decode",
     TOKENIZE_VALUE(FLAG, decode),
     .help = "the other way: TEXT is token ids, the output is their text,\nbyte for byte"},
};
static const struct setting_table tokenize_settings = SETTING_TABLE(tokenize_rows);

static bool tokenize_parse(struct tokenize_options *o, int argc, char **argv, int *exit_code)
{
    const struct settings_part part = {&tokenize_settings, o};
    const struct command command = {
        .name = "tokenize",
        .synopsis = "[options] MODEL [TEXT | -]",
        .about = "Shows the tokens of TEXT, or of standard input, one a line: its id, a tab, its "
                 "text\nwith \\n, \\t, \\\\ and \\xNN for what cannot be printed. MODEL is a file, "
                 "a folder or\nthe name of a model in the store.",
        .parts = &part,
        .n_parts = 1,
        .max_args = 2,
    };
    struct settings settings;
    int n_args;
    if (!options_parse(&command, argc, argv, &settings, &n_args, exit_code))
        return false;
    o->model = n_args > 0 ? argv[1] : NULL;
    o->text = n_args > 1 && strcmp(argv[2], "-") ? argv[2] : NULL;
    if (!o->model)
        *exit_code = cli_usage_error("tokenize", "which MODEL?");
    else if (o->decode && (o->ids || o->special))
        *exit_code = cli_usage_error("tokenize", "--decode goes with no other option");
    else
        return true;
    return false;
}

static bool tokenize_read(FILE *from, struct buf *text, struct error *err)
{
    char block[65536];
    size_t n;
    while ((n = fread(block, 1, sizeof block, from)))
        if (!buf_append(text, block, n))
            return error_set(err, ERROR_TOO_LARGE, "the input has more than %zu bytes", text->max);
    return !ferror(from) || error_set(err, ERROR_IO, "standard input: %s", strerror(errno));
}

/* On one line, and so that it can be read back: a backslash is two. */
static void tokenize_print_piece(const char *piece, size_t n_bytes)
{
    for (size_t i = 0, n; i < n_bytes; i += n) {
        unsigned char c = (unsigned char)piece[i];
        n = printable_char(piece + i, n_bytes - i);
        if (c == '\n' || c == '\t' || c == '\r' || c == '\\') {
            printf("\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : c == '\r' ? 'r' : '\\');
            n = 1;
        } else if (n) {
            fwrite(piece + i, 1, n, stdout);
        } else {
            printf("\\x%02X", c);
            n = 1;
        }
    }
}

static bool tokenize_text(const struct tokenizer *t, const struct tokenize_options *o,
                          const char *text, size_t n_bytes, struct error *err)
{
    struct token_list list = {0};
    bool ok = tokenizer_encode(t, text, n_bytes, o->special ? TOKENIZER_SPECIAL : 0, &list, err);
    for (size_t i = 0; ok && i < list.n; i++) {
        printf("%d", list.ids[i]);
        if (!o->ids) {
            size_t n;
            const char *piece = tokenizer_piece(t, list.ids[i], &n);
            putchar('\t');
            tokenize_print_piece(piece, n);
        }
        putchar('\n');
    }
    token_list_deinit(&list);
    return ok;
}

/* Ids stand between spaces, line ends, commas or brackets. */
static bool tokenize_ids(const struct tokenizer *t, const char *text, struct error *err)
{
    struct output_stream output = {0};
    for (;;) {
        text += strspn(text, " \t\r\n,[]");
        if (!*text)
            return output_end(&output, err);
        char *end;
        long long id = strtoll(text, &end, 10);
        if (end == text)
            return error_set(err, ERROR_INPUT, "\"%.16s\" is no token id", text);
        if (id < 0 || (unsigned long long)id >= tokenizer_n_vocab(t))
            return error_set(err, ERROR_INPUT, "there is no token %lld, the last is %zu", id,
                             tokenizer_n_vocab(t) - 1);
        size_t n;
        const char *piece = tokenizer_piece(t, (int32_t)id, &n);
        if (!output_piece(&output, piece, n, err))
            return false;
        text = end;
    }
}

static bool tokenize_run(const struct tokenizer *t, const struct tokenize_options *o,
                         struct error *err)
{
    struct buf input;
    buf_init(&input, TOKENIZE_MAX_INPUT);
    bool ok = o->text || tokenize_read(stdin, &input, err);
    const char *text = o->text ? o->text : input.data ? input.data : "";
    size_t n_bytes = o->text ? strlen(o->text) : input.len;
    if (ok)
        ok = o->decode ? tokenize_ids(t, text, err) : tokenize_text(t, o, text, n_bytes, err);
    ok = ok && output_flush(err);
    buf_deinit(&input);
    return ok;
}

int cli_tokenize(int argc, char **argv)
{
    struct tokenize_options options = {0};
    int exit_code;
    if (!tokenize_parse(&options, argc, argv, &exit_code))
        return exit_code;
    struct error err = {0};
    struct buf path;
    buf_init(&path, TOKENIZE_MAX_PATH);
    bool ok = store_resolve(options.model, &path, &err);
    struct error cut; /* the vocabulary of a file that is cut is whole */
    struct weights *w = ok ? weights_open_cut(path.data, &cut, &err) : NULL;
    struct tokenizer *t = w ? tokenizer_create(w, &err) : NULL;
    ok = t && tokenize_run(t, &options, &err);
    tokenizer_destroy(t);
    weights_close(w);
    buf_deinit(&path);
    return ok ? CLI_OK : cli_report("tokenize", &err);
}
