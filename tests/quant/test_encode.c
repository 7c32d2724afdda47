/* The encoders: each type loses no more than two hundredths above what llama.cpp's quantizer loses on
 * the same rows, without and with importance; affine rows are MLX's bit for bit; and what no encoder
 * is glad of. encoders.bin is made by scripts/golden/encoders.py, which tells its layout. */
#include "quant/encode.h"
#include "quant/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_KINDS = 2, N_ROWS = 8, N_COLS = 512, MAX_ROW_BYTES = 4 * N_COLS };

static const char *golden_path;
static uint8_t golden[1 << 17];
static size_t golden_at;
static float rows[N_KINDS][N_ROWS][N_COLS], importance[N_COLS];

static void take(void *out, size_t n)
{
    assert_true(golden_at + n <= sizeof golden);
    memcpy(out, golden + golden_at, n);
    golden_at += n;
}

static int32_t take_int(void)
{
    int32_t n;
    take(&n, sizeof n);
    return n;
}

static float take_float(void)
{
    float x;
    take(&x, sizeof x);
    return x;
}

static int read_golden(void **state)
{
    (void)state;
    FILE *file = fopen(golden_path, "rb");
    assert_non_null(file);
    assert_true(fread(golden, 1, sizeof golden, file) > 0);
    fclose(file);
    golden_at = 0;
    assert_int_equal(take_int(), N_KINDS);
    assert_int_equal(take_int(), N_ROWS);
    assert_int_equal(take_int(), N_COLS);
    for (int i = 0; i < N_KINDS * N_ROWS * N_COLS; i++) {
        uint16_t half;
        take(&half, sizeof half);
        (&rows[0][0][0])[i] = half_to_float(half);
    }
    take(importance, sizeof importance);
    return 0;
}

/* The lost part of rows that were encoded and decoded. */
struct loss {
    double lost, all;
};

static void add_loss(struct loss *l, const float *x, const float *y, const float *weights)
{
    for (int i = 0; i < N_COLS; i++) {
        const double w = weights ? (double)weights[i] : 1, d = (double)x[i] - (double)y[i];
        l->lost += w * d * d;
        l->all += w * (double)x[i] * (double)x[i];
    }
}

static double block_error(uint32_t type, const float kind[N_ROWS][N_COLS], const float *weights)
{
    struct loss l = {0};
    uint8_t blocks[MAX_ROW_BYTES];
    float y[N_COLS];
    for (int r = 0; r < N_ROWS; r++) {
        quant_encode(type, kind[r], weights, N_COLS, blocks);
        quant_traits(type)->decode(blocks, y, N_COLS);
        add_loss(&l, kind[r], y, weights);
    }
    return sqrt(l.lost / l.all);
}

static void test_loses_no_more_than_the_reference(void **state)
{
    const int32_t n_types = take_int();
    (void)state;
    assert_int_equal(n_types, 13);
    for (int32_t i = 0; i < n_types; i++) {
        const uint32_t type = (uint32_t)take_int();
        assert_true(quant_can_encode(type));
        for (int kind = 0; kind < N_KINDS; kind++)
            for (int weighted = 0; weighted < 2; weighted++) {
                const double reference = (double)take_float();
                const double ours =
                    block_error(type, rows[kind], weighted ? importance : NULL);
                if (ours > 1.02 * reference || ours < 0.5 * reference)
                    fail_msg("%s, %s rows%s: %.5f is lost, by the reference %.5f",
                             quant_traits(type)->name, kind ? "real" : "Gaussian",
                             weighted ? " with importance" : "", ours, reference);
            }
    }
}

/* A row of 8 to 2 bits as MLX makes it. */
static void check_affine(int32_t bits, int32_t group, int32_t scale, size_t n_packed,
                         size_t n_scales)
{
    static const enum quant_type types[9] = {
        [2] = QUANT_AFFINE_2, [3] = QUANT_AFFINE_3, [4] = QUANT_AFFINE_4,
        [5] = QUANT_AFFINE_5, [6] = QUANT_AFFINE_6, [8] = QUANT_AFFINE_8};
    uint8_t packed[2][MAX_ROW_BYTES], scales[2][256], biases[2][256];
    float x[N_COLS];
    struct quant_packed_row out = {types[bits], (enum matrix_scale)scale, (uint32_t)group,
                                   packed[0],   scales[0],                biases[0]};
    assert_int_equal(n_packed, quant_row_bytes(types[bits], N_COLS));
    assert_true(n_scales <= sizeof scales[0]);
    take(packed[1], n_packed);
    take(scales[1], n_scales);
    take(biases[1], n_scales);
    for (int i = 0; i < N_COLS; i++)
        x[i] = scale == MATRIX_SCALE_BF16 ? half_bf16_to_float(half_bf16_from_float(rows[0][0][i]))
                                          : rows[0][0][i];
    quant_encode_packed(&out, x, NULL, N_COLS);
    assert_memory_equal(packed[0], packed[1], n_packed);
    assert_memory_equal(scales[0], scales[1], n_scales);
    assert_memory_equal(biases[0], biases[1], n_scales);
}

/* By the columns that `counted` weighs. */
static double packed_error(enum quant_type type, const float kind[N_ROWS][N_COLS],
                           const float *weights, const float *counted)
{
    struct loss l = {0};
    uint8_t packed[MAX_ROW_BYTES] = {0}, scales[256] = {0}, biases[256] = {0};
    float y[N_COLS];
    const struct quant_packed_row out = {type, MATRIX_SCALE_F16, 32, packed, scales, biases};
    const enum matrix_scale scale = type == QUANT_PACKED_MXFP4 ? MATRIX_SCALE_E8M0 : out.scale;
    const struct matrix m =
        matrix_of_packed(type, scale, 32, N_COLS, 1, 1, packed, scales, biases);
    for (int r = 0; r < N_ROWS; r++) {
        quant_encode_packed(&out, kind[r], weights, N_COLS);
        matrix_decode(&m, 0, y);
        add_loss(&l, kind[r], y, counted);
    }
    return sqrt(l.lost / l.all);
}

static void test_affine_is_mlx(void **state)
{
    (void)state;
    const int32_t n = take_int();
    assert_int_equal(n, 6 * 3 * 3 + 1);
    for (int32_t i = 0; i < n; i++) {
        const int32_t bits = take_int(), group = take_int(), scale = take_int();
        const int32_t n_packed = take_int(), n_scales = take_int();
        if (bits) {
            check_affine(bits, group, scale, (size_t)n_packed, (size_t)n_scales);
            continue;
        }
        for (int kind = 0; kind < N_KINDS; kind++)
            assert_true(packed_error(QUANT_PACKED_MXFP4, rows[kind], NULL, NULL) <=
                        (double)take_float());
    }
}

/* With importance the columns that matter lose less than without. */
static void test_importance_helps(void **state)
{
    (void)state;
    assert_true(packed_error(QUANT_AFFINE_4, rows[0], importance, importance) <
                0.95 * packed_error(QUANT_AFFINE_4, rows[0], NULL, importance));
    assert_true(block_error(QUANT_Q4_K, rows[0], importance) <
                block_error(QUANT_Q4_K, rows[0], NULL));
}

/* Zeros stay zeros, and neither huge, tiny, equal nor ignored numbers become anything infinite. */
static void test_odd_rows(void **state)
{
    static const float odd[] = {0, 1e-30f, -1e-9f, 3.5f, -65504, 1e30f, -3e38f};
    static const uint32_t types[] = {
        QUANT_F32,  QUANT_F16,  QUANT_BF16, QUANT_Q4_0, QUANT_Q4_1,   QUANT_Q5_0,   QUANT_Q5_1,
        QUANT_Q8_0, QUANT_Q2_K, QUANT_Q3_K, QUANT_Q4_K, QUANT_Q5_K,   QUANT_Q6_K,   QUANT_IQ4_NL,
        QUANT_IQ4_XS, QUANT_MXFP4};
    static const float ignored[256];
    (void)state;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t k = 0; k < sizeof odd / sizeof *odd; k++) {
            float x[256], y[256];
            uint8_t blocks[1024];
            for (int i = 0; i < 256; i++)
                x[i] = i % 3 ? odd[k] : 0;
            quant_encode(types[t], x, k % 2 ? ignored : NULL, 256, blocks);
            quant_traits(types[t])->decode(blocks, y, 256);
            for (int i = 0; i < 256; i++) {
                assert_true(isfinite(y[i]));
                if (odd[k] == 0 && y[i] != 0)
                    fail_msg("%s makes %g of 0", quant_traits(types[t])->name, (double)y[i]);
            }
        }
    assert_false(quant_can_encode(9999));
}

int main(int argc, char **argv)
{
    golden_path = argc > 1 ? argv[1] : "encoders.bin";
    const struct CMUnitTest tests[] = {
        /* in the golden file's order */
        cmocka_unit_test(test_loses_no_more_than_the_reference),
        cmocka_unit_test(test_affine_is_mlx),
        cmocka_unit_test(test_importance_helps),
        cmocka_unit_test(test_odd_rows),
    };
    return cmocka_run_group_tests(tests, read_golden, NULL);
}
