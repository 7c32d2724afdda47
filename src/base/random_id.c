#include "base/random_id.h"

#include "base/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum { N_RANDOM = 24 };

uint64_t random_id_number(void)
{
    static atomic_uint_fast64_t n_without_entropy;
    uint64_t value;
    if (!getentropy(&value, sizeof value))
        return value;
    /* no entropy: names must still differ */
    value = (uint64_t)clock_now_ns() + atomic_fetch_add(&n_without_entropy, 1);
    return value * 0x9e3779b97f4a7c15u;
}

void random_id_make(char out[RANDOM_ID_BYTES], const char *prefix)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    int n = snprintf(out, RANDOM_ID_BYTES - N_RANDOM, "%s", prefix);
    if (n > RANDOM_ID_BYTES - N_RANDOM - 1)
        n = RANDOM_ID_BYTES - N_RANDOM - 1;
    for (int i = 0; i < N_RANDOM;) {
        uint64_t random = random_id_number();
        for (int k = 0; k < 8 && i < N_RANDOM; k++, random /= 62)
            out[n + i++] = digits[random % 62];
    }
    out[n + N_RANDOM] = 0;
}
