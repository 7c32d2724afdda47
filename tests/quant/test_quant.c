/* The block formats: decoding equals the reference reader's bit for bit (golden.bin, written by
 * scripts/golden_quant.py), 16-bit floats convert exactly, sizes are right and cannot overflow. */
#include "quant/half.h"
#include "quant/quant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>

#include <cmocka.h>

static const char *golden_path;

static const uint32_t all_types[] = {
#define X(name, number, ...) number,
    QUANT_FLOAT_TYPES(X) QUANT_BLOCK_TYPES(X)
#undef X
};
enum { N_TYPES = sizeof all_types / sizeof *all_types };

static uint8_t *read_golden(size_t *n)
{
    FILE *f = fopen(golden_path, "rb");
    if (!f)
        fail_msg("cannot open %s", golden_path);
    size_t max = 1 << 20;
    uint8_t *bytes = malloc(max);
    *n = fread(bytes, 1, max, f);
    fclose(f);
    return bytes;
}

static bool same_float(float a, float b)
{
    return isnan(a) ? isnan(b) : half_float_to_bits(a) == half_float_to_bits(b);
}

static void decoding_equals_the_reference_bit_for_bit(void **state)
{
    (void)state;
    size_t n_file, at = 0, n_seen = 0;
    uint8_t *file = read_golden(&n_file);
    while (at < n_file) {
        uint32_t head[4];
        memcpy(head, file + at, sizeof head);
        const uint8_t *blocks = file + at + sizeof head;
        const uint8_t *expected = blocks + (head[2] + 15) / 16 * 16;
        at = (size_t)(expected - file) + head[1] * sizeof(float);
        assert_true(at <= n_file);
        const struct quant_traits *traits = quant_traits(head[0]);
        assert_non_null(traits);
        assert_int_equal(quant_row_bytes(head[0], head[1]), head[2]);
        float *got = malloc(head[1] * sizeof *got);
        traits->decode(blocks, got, head[1]);
        for (uint32_t i = 0; i < head[1]; i++) {
            float want;
            memcpy(&want, expected + i * sizeof want, sizeof want);
            if (!same_float(got[i], want))
                fail_msg("%s element %u: %a, the reference says %a", traits->name, i,
                         (double)got[i], (double)want);
        }
        free(got);
        n_seen++;
    }
    free(file);
    assert_int_equal(n_seen, N_TYPES);
}

static void decoding_writes_exactly_n_elements(void **state)
{
    (void)state;
    _Alignas(16) uint8_t blocks[256 * 4] = {0};
    float out[257];
    for (int t = 0; t < N_TYPES; t++) {
        const struct quant_traits *traits = quant_traits(all_types[t]);
        size_t n = traits->block_elements;
        out[n] = 7;
        out[0] = 7;
        traits->decode(blocks, out, 0);
        assert_true(out[0] == 7);
        traits->decode(blocks, out, n);
        assert_true(out[0] == 0);
        assert_true(out[n] == 7);
    }
}

static void unknown_types_have_no_traits(void **state)
{
    (void)state;
    assert_null(quant_traits(4)); /* a number that was withdrawn */
    assert_null(quant_traits(9)); /* for activations only */
    assert_null(quant_traits(31));
    assert_null(quant_traits(UINT32_MAX));
    assert_int_equal(quant_row_bytes(9, 256), 0);
}

static void row_sizes_are_whole_blocks_and_do_not_overflow(void **state)
{
    (void)state;
    assert_int_equal(quant_row_bytes(QUANT_Q4_K, 512), 288);
    assert_int_equal(quant_row_bytes(QUANT_Q4_K, 511), 0);
    assert_int_equal(quant_row_bytes(QUANT_Q8_0, 32), 34);
    assert_int_equal(quant_row_bytes(QUANT_F32, 3), 12);
    assert_int_equal(quant_row_bytes(QUANT_MXFP4, 96), 51);
    assert_int_equal(quant_row_bytes(QUANT_MXFP4, 33), 0);
    assert_int_equal(quant_row_bytes(QUANT_F32, SIZE_MAX / 2), 0);
    assert_int_equal(quant_row_bytes(QUANT_Q8_0, (SIZE_MAX / 34) * 32), SIZE_MAX / 34 * 34);
    assert_int_equal(quant_row_bytes(QUANT_Q8_0, SIZE_MAX - 31), 0);
}

/* What the bits of a half mean, said with ldexp rather than with shifts. */
static float half_by_definition(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double x = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    if (exponent == 31)
        x = fraction ? NAN : INFINITY;
    return (float)(h & 0x8000 ? -x : x);
}

static void every_half_converts_exactly_both_ways(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        float x = half_to_float((uint16_t)h);
        assert_true(same_float(x, half_by_definition((uint16_t)h)));
        if (isnan(x))
            assert_true(isnan(half_to_float(half_from_float(x))));
        else
            assert_int_equal(half_from_float(x), h);
    }
}

static void floats_round_to_the_nearest_half_ties_to_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        /* Between h and its successor, which for the largest number is 65536, called infinity. */
        double low = (double)half_to_float((uint16_t)h);
        double high = h == 0x7bff ? 65536 : (double)half_to_float((uint16_t)(h + 1));
        float middle = (float)((low + high) / 2); /* exact in float */
        uint32_t even = h & 1 ? h + 1 : h;
        assert_int_equal(half_from_float(middle), even);
        assert_int_equal(half_from_float(-middle), even | 0x8000);
        assert_int_equal(half_from_float(nextafterf(middle, 0)), h);
        assert_int_equal(half_from_float(nextafterf(middle, INFINITY)), h + 1);
    }
    assert_int_equal(half_from_float(1e30f), 0x7c00);
    assert_int_equal(half_from_float(-INFINITY), 0xfc00);
    assert_int_equal(half_from_float(1e-30f), 0);
    assert_int_equal(half_from_float(-1e-45f), 0x8000);
}

static void every_bf16_converts_exactly_and_floats_round_to_it(void **state)
{
    (void)state;
    for (uint32_t b = 0; b < 0x10000; b++) {
        float x = half_bf16_to_float((uint16_t)b);
        assert_int_equal(half_float_to_bits(x), b << 16);
        if (isnan(x))
            assert_true(isnan(half_bf16_to_float(half_bf16_from_float(x))));
        else
            assert_int_equal(half_bf16_from_float(x), b);
    }
    assert_int_equal(half_bf16_from_float(half_bits_to_float(0x3f808000)), 0x3f80); /* tie */
    assert_int_equal(half_bf16_from_float(half_bits_to_float(0x3f818000)), 0x3f82); /* tie */
    assert_int_equal(half_bf16_from_float(half_bits_to_float(0x3f808001)), 0x3f81);
    assert_int_equal(half_bf16_from_float(half_bits_to_float(0x7f7fffff)), 0x7f80);
    assert_true(isnan(half_bf16_to_float(half_bf16_from_float(half_bits_to_float(0x7f800001)))));
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: test_quant GOLDEN\n");
        return 2;
    }
    golden_path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding_equals_the_reference_bit_for_bit),
        cmocka_unit_test(decoding_writes_exactly_n_elements),
        cmocka_unit_test(unknown_types_have_no_traits),
        cmocka_unit_test(row_sizes_are_whole_blocks_and_do_not_overflow),
        cmocka_unit_test(every_half_converts_exactly_both_ways),
        cmocka_unit_test(floats_round_to_the_nearest_half_ties_to_even),
        cmocka_unit_test(every_bf16_converts_exactly_and_floats_round_to_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
