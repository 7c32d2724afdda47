/* Any bytes as a folder's tokenizer.json or tokenizer.model: read or refused with a sentence, and
 * what was read encodes a text into ids of its own and gives bytes for each. The first byte chooses
 * the file; in a tokenizer.json what stands before the first zero byte is the file, what comes
 * after it is tokenizer_config.json. */
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct {
    uint64_t n_header;
    char header[64], data[8];
} tensors = {64, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}          ", {0}};

static void encode_text(const struct tokenizer *t)
{
    static const char text[] = "Hello  <|im_end|> </s>aaaa \n\n\xc3\xa9"
                               "e\xcc\x81\xff 12's "
                               "\xe2\x96\x81\xe4\xbd\xa0\xe5\xa5\xbd\xf0\x9f\x98\x80 <0x0A>";
    uint8_t marks[sizeof text] = {0};
    memset(marks + 10, 1, 12);
    for (unsigned flags = 0; flags < 8; flags++) {
        struct token_list list = {0};
        struct error err = {0};
        const uint8_t *is_data = flags & 4 ? marks : NULL;
        if (!tokenizer_encode_marked(t, text, is_data, sizeof text - 1, flags & 3, &list, &err) &&
            err.code != ERROR_NO_MEMORY)
            abort();
        for (size_t i = 0; i < list.n; i++)
            if (list.ids[i] < 0 || (size_t)list.ids[i] >= tokenizer_n_vocab(t))
                abort();
        token_list_deinit(&list);
    }
}

static void ask_tokens(const struct tokenizer *t)
{
    for (size_t i = 0; i < tokenizer_n_vocab(t) && i < 1000; i++) {
        size_t n;
        char copy[64];
        const char *piece = tokenizer_piece(t, (int32_t)i, &n);
        if (!n || n >= sizeof copy)
            continue;
        memcpy(copy, piece, n);
        copy[n] = 0;
        tokenizer_find(t, copy);
        tokenizer_is_eog(t, (int32_t)i);
        tokenizer_is_control(t, (int32_t)i);
    }
    if (tokenizer_bos(t) >= (int32_t)tokenizer_n_vocab(t) ||
        tokenizer_eos(t) >= (int32_t)tokenizer_n_vocab(t))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    bool is_model = data[0] & 1;
    const char *name = is_model ? "tokenizer.model" : "tokenizer.json";
    size_t n = size - 1;
    const uint8_t *zero = is_model || !n ? NULL : memchr(data + 1, 0, n);
    size_t n_first = zero ? (size_t)(zero - data - 1) : n;
    struct weights_file files[4] = {{"model.safetensors", &tensors, sizeof tensors},
                                    {"config.json", "{\"eos_token_id\":[1,2]}", 22}};
    size_t n_files = 2;
    files[n_files++] = (struct weights_file){name, data + 1, n_first};
    if (zero)
        files[n_files++] =
            (struct weights_file){"tokenizer_config.json", zero + 1, n - n_first - 1};
    struct error err = {0};
    struct weights *w = weights_open_files(files, n_files, NULL, &err);
    struct tokenizer *t = w ? tokenizer_create(w, &err) : NULL;
    if (w && !t && (err.code == ERROR_NONE || !err.message[0]))
        abort();
    if (t) {
        encode_text(t);
        ask_tokens(t);
    }
    tokenizer_destroy(t);
    weights_close(w);
    return 0;
}
