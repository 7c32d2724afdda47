/* tokenizer_lines MODEL [plain]: encodes the texts of standard input, each a length in four bytes
 * and then its bytes, and prints for each a line of ids, a tab, and in hexadecimal the bytes that
 * they stand for. Control tokens count unless "plain" is said. Then on standard error how long it
 * took. scripts/golden/tokenizer_real.py compares with it. */
#include "support/cpu_time.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_line(const struct tokenizer *t, const struct token_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        printf("%s%d", i ? " " : "", list->ids[i]);
    putchar('\t');
    for (size_t i = 0; i < list->n; i++) {
        size_t n;
        const char *piece = tokenizer_piece(t, list->ids[i], &n);
        for (size_t k = 0; k < n; k++)
            printf("%02x", (unsigned char)piece[k]);
    }
    putchar('\n');
}

static bool encode_lines(const struct tokenizer *t, unsigned flags, struct error *err)
{
    uint32_t n;
    size_t n_bytes = 0;
    int64_t ms = 0;
    while (fread(&n, sizeof n, 1, stdin) == 1) {
        struct token_list list = {0};
        char *text = malloc((size_t)n + 1);
        if (!text || fread(text, 1, n, stdin) != n)
            return error_set(err, ERROR_INPUT, "a text of %u bytes is cut", n);
        int64_t begin = cpu_time_ms();
        if (!tokenizer_encode(t, text, n, flags, &list, err))
            return false;
        ms += cpu_time_ms() - begin;
        n_bytes += n;
        print_line(t, &list);
        token_list_deinit(&list);
        free(text);
    }
    fprintf(stderr, "%zu bytes in %lld ms\n", n_bytes, (long long)ms);
    return true;
}

int main(int argc, char **argv)
{
    struct error err = {0};
    struct weights *w = argc > 1 ? weights_open(argv[1], &err) : NULL;
    int64_t begin = cpu_time_ms();
    struct tokenizer *t = w ? tokenizer_create(w, &err) : NULL;
    unsigned flags = argc > 2 && !strcmp(argv[2], "plain") ? 0 : TOKENIZER_SPECIAL;
    if (t)
        fprintf(stderr, "ready in %lld ms\n", (long long)(cpu_time_ms() - begin));
    bool ok = t && encode_lines(t, flags, &err);
    if (!ok)
        fprintf(stderr, "%s\n", argc > 1 ? err.message : "tokenizer_lines MODEL [plain]");
    tokenizer_destroy(t);
    weights_close(w);
    return !ok;
}
