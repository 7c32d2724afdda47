/* Any bytes as a model file: opened or refused, and all that an opened file offers lies inside it.
 */
#include "weights/weights.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink; /* keeps the reads in the program */

static void read_string(struct weights_string s)
{
    if (s.len)
        sink += (unsigned char)s.data[0] + (unsigned char)s.data[s.len - 1];
}

static void read_tensors(const struct weights *w)
{
    float out[256];
    for (size_t i = 0; i < weights_n_tensors(w); i++) {
        const struct weights_tensor *t = weights_tensor_at(w, i);
        const struct quant_traits *traits = quant_traits(t->type);
        if (!traits || weights_tensor(w, t->name) != t)
            abort();
        if (t->n_bytes % traits->block_bytes || t->n_bytes < traits->block_bytes)
            abort();
        const uint8_t *bytes = t->data;
        if ((uintptr_t)bytes % 2)
            continue; /* the fuzzer's buffer may lie at an odd address, a map does not */
        if (t->type == QUANT_F32 && (uintptr_t)bytes % 4)
            continue;
        traits->decode(bytes, out, traits->block_elements);
        traits->decode(bytes + t->n_bytes - traits->block_bytes, out, traits->block_elements);
        sink += out[0] > 0;
    }
}

static void read_array(const struct weights *w, const char *key, uint64_t n_items)
{
    if (weights_array_len(w, key) != n_items)
        abort();
    for (size_t i = 0; i <= n_items; i++) {
        struct weights_string s;
        float f;
        int64_t v;
        bool any = false;
        if (weights_array_string(w, key, i, &s)) {
            any = true;
            read_string(s);
        }
        any |= weights_array_float(w, key, i, &f);
        any |= weights_array_int(w, key, i, &v);
        if (any && i == n_items)
            abort();
    }
}

static void read_meta(const struct weights *w)
{
    for (size_t i = 0; i < weights_n_meta(w); i++) {
        struct weights_meta m = weights_meta_at(w, i);
        char *key = strndup(m.key.data, m.key.len);
        struct weights_string s;
        uint64_t u;
        int64_t v;
        float f;
        bool b;
        bool is_scalar = weights_uint(w, key, &u);
        is_scalar |= weights_int(w, key, &v);
        is_scalar |= weights_float(w, key, &f);
        is_scalar |= weights_bool(w, key, &b);
        if (weights_string(w, key, &s)) {
            is_scalar = true;
            read_string(s);
        }
        if (is_scalar == (m.kind == WEIGHTS_ARRAY))
            abort();
        if (m.kind == WEIGHTS_ARRAY)
            read_array(w, key, m.n_items);
        free(key);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {.position = -1};
    struct weights *w = weights_open_bytes(data, size, &err);
    if (!w) {
        if (err.code == ERROR_NONE || err.position < 0 || (uint64_t)err.position > size)
            abort();
        return 0;
    }
    read_tensors(w);
    read_meta(w);
    weights_close(w);
    return 0;
}
