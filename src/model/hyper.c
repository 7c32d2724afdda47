#include "model/hyper.h"

#include <inttypes.h>
#include <stdio.h>

static const char *const gguf_names[] = {
#define X(name, gguf) gguf,
    HYPER_KEYS(X)
#undef X
};

struct hyper_name hyper_name(const struct hyper *h, enum hyper_key key)
{
    struct hyper_name name;
    snprintf(name.text, sizeof name.text, "%s.%s", h->architecture, gguf_names[key]);
    return name;
}

bool hyper_uint(const struct hyper *h, enum hyper_key key, uint64_t *out)
{
    return weights_uint(h->w, hyper_name(h, key).text, out);
}

bool hyper_float(const struct hyper *h, enum hyper_key key, float *out)
{
    return weights_float(h->w, hyper_name(h, key).text, out);
}

bool hyper_string(const struct hyper *h, enum hyper_key key, struct weights_string *out)
{
    return weights_string(h->w, hyper_name(h, key).text, out);
}

bool hyper_need_uint(const struct hyper *h, enum hyper_key key, uint64_t least, uint64_t most,
                     uint32_t *out, struct error *err)
{
    uint64_t value;
    if (!hyper_uint(h, key, &value))
        return error_set(err, ERROR_FORMAT, "the file lacks %s", hyper_name(h, key).text);
    if (value < least || value > most)
        return error_set(err, ERROR_FORMAT, "%s is %" PRIu64 ", outside %" PRIu64 " to %" PRIu64,
                         hyper_name(h, key).text, value, least, most);
    *out = (uint32_t)value;
    return true;
}

bool hyper_need_float(const struct hyper *h, enum hyper_key key, float *out, struct error *err)
{
    return hyper_float(h, key, out) ||
           error_set(err, ERROR_FORMAT, "the file lacks %s", hyper_name(h, key).text);
}
