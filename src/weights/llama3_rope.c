/* See llama3_rope.h. */
#include "weights/llama3_rope.h"

#include <math.h>

bool llama3_rope_is_sound(const struct llama3_rope *s)
{
    return s->factor > 0 && isfinite(s->factor) && s->low > 0 && s->high > s->low &&
           isfinite(s->high);
}

float llama3_rope_divisor(const struct llama3_rope *s, float base, unsigned i, unsigned n)
{
    const double frequency = pow((double)base, -2.0 * i / (2.0 * n));
    const double turns = (double)s->n_original * frequency / 6.283185307179586;
    const double low = (double)s->low, high = (double)s->high, factor = (double)s->factor;
    if (turns > high)
        return 1.0f;
    if (turns < low)
        return s->factor;
    const double smooth = (turns - low) / (high - low);
    return (float)(1 / ((1 - smooth) / factor + smooth));
}
