/* `pensieve tokenize`: shows how a model cuts text into tokens, and turns token ids back into text.
 */
#include "base/buf.h"
#include "cli/commands.h"
#include "store/store.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENIZE_OK = 0, TOKENIZE_FAILED = 1, TOKENIZE_USAGE = 2, TOKENIZE_MAX_PATH = 8192 };
#define TOKENIZE_MAX_INPUT ((size_t)1 << 30)

struct tokenize_options {
    const char *model, *text; /* text NULL: standard input */
    bool ids, special, decode;
};

static void tokenize_help(FILE *to)
{
    fprintf(
        to,
        "usage: pensieve tokenize [--ids] [--special] [--decode] MODEL [TEXT | -]\n"
        "\n"
        "Shows the tokens of TEXT, or of standard input, one a line: its id, a tab, its text\n"
        "with \\n, \\t, \\\\ and \\xNN for what cannot be printed. MODEL is a file or the name of\n"
        "a model in the store.\n"
        "\n"
        "  --ids      print the ids alone, one a line\n"
        "  --special  control tokens written out in the text (<|im_end|>) become their ids\n"
        "  --decode   the other way: TEXT is token ids, the output is their text, byte for byte\n");
}

static int tokenize_usage(const char *what, const char *argument)
{
    fprintf(stderr, "pensieve tokenize: %s%s. See: pensieve tokenize --help\n", what, argument);
    return TOKENIZE_USAGE;
}

/* Returns TOKENIZE_OK to go on, -1 after --help. After "--" everything is an operand. */
static int tokenize_parse(struct tokenize_options *o, int argc, char **argv)
{
    bool operands = false;
    int n = 0;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (operands || a[0] != '-' || !a[1]) {
            if (n == 2)
                return tokenize_usage("one text at a time; what is ", a);
            *(n++ ? &o->text : &o->model) = a;
        } else if (!strcmp(a, "--")) {
            operands = true;
        } else if (!strcmp(a, "--ids")) {
            o->ids = true;
        } else if (!strcmp(a, "--special")) {
            o->special = true;
        } else if (!strcmp(a, "--decode")) {
            o->decode = true;
        } else if (!strcmp(a, "--help") || !strcmp(a, "-h")) {
            tokenize_help(stdout);
            return -1;
        } else {
            return tokenize_usage("unknown option ", a);
        }
    }
    if (!o->model)
        return tokenize_usage("no model is named", "");
    if (o->decode && (o->ids || o->special))
        return tokenize_usage("--decode goes with no other option", "");
    if (o->text && !strcmp(o->text, "-") && !operands)
        o->text = NULL;
    return TOKENIZE_OK;
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

static void tokenize_print_piece(const char *piece, size_t n_bytes)
{
    for (size_t i = 0, n; i < n_bytes; i += n) {
        unsigned char c = (unsigned char)piece[i];
        n = unicode_char_bytes(piece + i, n_bytes - i);
        bool control = c < 0x20 || c == 0x7f || /* and U+0080 to U+009F: */
                       (c == 0xc2 && n == 2 && (unsigned char)piece[i + 1] < 0xa0);
        if (c == '\n' || c == '\t' || c == '\r' || c == '\\') {
            printf("\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : c == '\r' ? 'r' : '\\');
            n = 1;
        } else if (n && !control) {
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
    for (;;) {
        text += strspn(text, " \t\r\n,[]");
        if (!*text)
            return true;
        char *end;
        long long id = strtoll(text, &end, 10);
        if (end == text)
            return error_set(err, ERROR_INPUT, "\"%.16s\" is no token id", text);
        if (id < 0 || (unsigned long long)id >= tokenizer_n_vocab(t))
            return error_set(err, ERROR_INPUT, "there is no token %lld, the last is %zu", id,
                             tokenizer_n_vocab(t) - 1);
        size_t n;
        const char *piece = tokenizer_piece(t, (int32_t)id, &n);
        fwrite(piece, 1, n, stdout);
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
    if (fflush(stdout) && ok)
        ok = error_set(err, ERROR_IO, "standard output: %s", strerror(errno));
    buf_deinit(&input);
    return ok;
}

int cli_tokenize(int argc, char **argv)
{
    struct tokenize_options options = {0};
    int code = tokenize_parse(&options, argc, argv);
    if (code)
        return code < 0 ? TOKENIZE_OK : code;
    struct error err = {0};
    struct buf path;
    buf_init(&path, TOKENIZE_MAX_PATH);
    bool ok = store_resolve(options.model, &path, &err);
    struct weights *w = ok ? weights_open(path.data, &err) : NULL;
    struct tokenizer *t = w ? tokenizer_create(w, &err) : NULL;
    ok = t && tokenize_run(t, &options, &err);
    if (!ok)
        fprintf(stderr, "pensieve tokenize: %s\n", err.message);
    tokenizer_destroy(t);
    weights_close(w);
    buf_deinit(&path);
    return ok ? TOKENIZE_OK : TOKENIZE_FAILED;
}
