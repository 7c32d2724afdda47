/* Matrices as views: rows and experts of them decode to what the whole decodes to. */
#include "quant/matrix.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { COLS = 64, ROWS = 5, EXPERTS = 3 };

/* Row r of expert e holds e * 10 + r, in a type whose scale is its first two bytes. */
static uint8_t blocks[EXPERTS][ROWS][2][34];

static void fill(void)
{
    memset(blocks, 0, sizeof blocks);
    for (int e = 0; e < EXPERTS; e++)
        for (int r = 0; r < ROWS; r++)
            for (int b = 0; b < 2; b++) {
                const uint16_t one = 0x3c00;
                memcpy(blocks[e][r][b], &one, sizeof one);
                memset(blocks[e][r][b] + 2, e * 10 + r, 32);
            }
}

static void assert_row(const struct matrix *m, size_t row, float value)
{
    float out[COLS + 1];
    out[COLS] = -1;
    matrix_decode(m, row, out);
    for (int i = 0; i < COLS; i++)
        assert_true(out[i] == value);
    assert_true(out[COLS] == -1);
}

static void rows_and_experts_are_views(void **state)
{
    (void)state;
    fill();
    const struct matrix m = matrix_of_blocks(QUANT_Q8_0, COLS, ROWS, EXPERTS, blocks);
    assert_row(&m, 4, 4);
    for (size_t e = 0; e < EXPERTS; e++) {
        const struct matrix expert = matrix_expert(&m, e);
        assert_int_equal(expert.n_experts, 1);
        assert_int_equal(expert.n_rows, ROWS);
        for (size_t r = 0; r < ROWS; r++)
            assert_row(&expert, r, (float)(e * 10 + r));
    }
    /* rows of every expert, whatever comes first */
    const struct matrix rows = matrix_rows(&m, 2, 3), last = matrix_expert(&rows, 2);
    assert_int_equal(rows.n_rows, 3);
    assert_int_equal(rows.n_experts, EXPERTS);
    assert_row(&last, 1, 23);
    const struct matrix expert = matrix_expert(&m, 2), again = matrix_rows(&expert, 2, 3);
    assert_memory_equal(&last, &again, sizeof last);
    const struct matrix one = matrix_rows(&again, 2, 1);
    assert_row(&one, 0, 24);
}

static void a_matrix_without_data_stays_so(void **state)
{
    (void)state;
    const struct matrix m = matrix_of_blocks(QUANT_F32, COLS, ROWS, EXPERTS, NULL);
    const struct matrix rows = matrix_rows(&m, 2, 2), expert = matrix_expert(&rows, 1);
    assert_null(expert.parts[MATRIX_BLOCKS].data);
    assert_int_equal(expert.parts[MATRIX_BLOCKS].row_bytes, COLS * 4);
}

/* Numbers 0 .. 31 of five bits in every row; scale and bias differ with row and group. */
static void packed_parts_are_viewed_together(void **state)
{
    (void)state;
    enum { GROUPS = 2, N = COLS * 5 / 8 };
    static uint8_t packed[EXPERTS][ROWS][N];
    static float scales[EXPERTS][ROWS][GROUPS], biases[EXPERTS][ROWS][GROUPS];
    for (int i = 0; i < EXPERTS * ROWS; i++) {
        uint8_t *row = packed[i / ROWS][i % ROWS];
        for (unsigned bit = 0; bit < 5 * COLS; bit++)
            row[bit / 8] |= (uint8_t)((bit / 5 % 32 >> bit % 5 & 1) << bit % 8);
        for (int g = 0; g < GROUPS; g++) {
            scales[i / ROWS][i % ROWS][g] = (float)(i + 1);
            biases[i / ROWS][i % ROWS][g] = (float)(100 * g);
        }
    }
    const struct matrix m = matrix_of_packed(QUANT_AFFINE_5, MATRIX_SCALE_F32, 32, COLS, ROWS,
                                             EXPERTS, packed, scales, biases);
    const struct matrix rows = matrix_rows(&m, 3, 2), expert = matrix_expert(&rows, 2);
    struct error err;
    float out[COLS];
    assert_true(matrix_check(&m, &err));
    matrix_decode(&expert, 1, out); /* row 4 of expert 2 is the fifteenth */
    for (int i = 0; i < COLS; i++)
        assert_true(out[i] == (float)(15 * (i % 32) + 100 * (i / 32)));
}

/* Columns from where blocks and groups begin decode to what they are in the whole. */
static void columns_are_views(void **state)
{
    (void)state;
    enum { N = 256, FROM = 128 };
    static uint8_t packed[2][N], scales[2][N / 32];
    const float factor = 3;
    for (int i = 0; i < 2 * N; i++) {
        packed[i / N][i % N] = (uint8_t)(i * 37 + i / N);
        scales[i / N][i % N / 32] = (uint8_t)(0x30 + i / 32);
    }
    struct matrix m[] = {
        matrix_of_blocks(QUANT_F16, N, 1, 1, packed), matrix_of_blocks(QUANT_NVFP4, N, 2, 1, packed),
        matrix_of_packed(QUANT_PACKED_MXFP8, MATRIX_SCALE_E4M3, 32, N, 2, 1, packed, scales, NULL)};
    m[1].parts[MATRIX_FACTORS].data = &factor;
    for (size_t i = 0; i < 3; i++) {
        float all[N], some[N - FROM];
        const struct matrix columns = matrix_columns(&m[i], FROM, N - FROM);
        matrix_decode(&m[i], m[i].n_rows - 1, all);
        matrix_decode(&columns, m[i].n_rows - 1, some);
        assert_memory_equal(all + FROM, some, sizeof some);
        assert_true(memcmp(all, some, sizeof some) != 0);
    }
}

/* A factor is one for all of an expert. */
static void factors_are_those_of_experts(void **state)
{
    (void)state;
    static const float factors[2] = {1, -2};
    static const uint8_t block[2][36] = {{0x38, 0x38, 0x38, 0x38, 2}, {0x38, 0x38, 0x38, 0x38, 2}};
    struct matrix m = matrix_of_blocks(QUANT_NVFP4, 64, 1, 2, block);
    m.parts[MATRIX_FACTORS] = (struct matrix_part){factors, 0, sizeof *factors};
    for (size_t e = 0; e < 2; e++) {
        const struct matrix expert = matrix_expert(&m, e), row = matrix_rows(&expert, 0, 1);
        float out[64];
        matrix_decode(&row, 0, out);
        assert_true(out[0] == (e ? -2.0f : 1.0f));
    }
}

static void scales_are_what_their_types_say(void **state)
{
    (void)state;
    static const uint8_t e4m3[] = {0x38, 0x39, 0x01, 0x08, 0x7e, 0xb8, 0x80};
    static const float e4m3_values[] = {1, 1.125f, 0x1p-9f, 0x1p-6f, 448, -1, 0};
    static const uint8_t e8m0[] = {127, 128, 0, 254, 1};
    static const float e8m0_values[] = {1, 2, 0x1p-127f, 0x1p127f, 0x1p-126f};
    static const uint16_t f16[] = {0x3c00, 0xc100}, bf16[] = {0x3f80, 0xc020};
    struct matrix m = matrix_of_packed(QUANT_AFFINE_4, MATRIX_SCALE_E4M3, 32, 32 * 7, 1, 1, "",
                                       e4m3, NULL);
    for (size_t g = 0; g < 7; g++)
        assert_true(matrix_scale(&m, MATRIX_SCALES, 0, g) == e4m3_values[g]);
    m.scale = MATRIX_SCALE_E8M0;
    m.parts[MATRIX_SCALES].data = e8m0;
    for (size_t g = 0; g < 5; g++)
        assert_true(matrix_scale(&m, MATRIX_SCALES, 0, g) == e8m0_values[g]);
    m.scale = MATRIX_SCALE_F16;
    m.parts[MATRIX_SCALES].data = f16;
    assert_true(matrix_scale(&m, MATRIX_SCALES, 0, 1) == -2.5f);
    m.scale = MATRIX_SCALE_BF16;
    m.parts[MATRIX_SCALES].data = bf16;
    assert_true(matrix_scale(&m, MATRIX_SCALES, 0, 1) == -2.5f);
}

static void scales_that_are_no_number_stay_so(void **state)
{
    (void)state;
    static const uint8_t nan[] = {0x7f, 0xff};
    struct matrix m =
        matrix_of_packed(QUANT_AFFINE_4, MATRIX_SCALE_E4M3, 32, 64, 1, 1, "", nan, NULL);
    for (size_t g = 0; g < 2; g++) {
        const float f = matrix_scale(&m, MATRIX_SCALES, 0, g);
        assert_true(f != f);
    }
    m.scale = MATRIX_SCALE_E8M0;
    const float f = matrix_scale(&m, MATRIX_SCALES, 0, 1);
    assert_true(f != f);
}

static void shapes_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const struct {
        enum quant_type type;
        uint32_t group, n_cols;
        enum error_code code;
    } cases[] = {{(enum quant_type)9, 0, 256, ERROR_UNSUPPORTED},
                 {QUANT_Q4_K, 0, 255, ERROR_FORMAT},
                 {QUANT_AFFINE_4, 0, 256, ERROR_FORMAT},
                 {QUANT_AFFINE_4, 8, 256, ERROR_FORMAT},
                 {QUANT_AFFINE_4, 48, 96, ERROR_FORMAT},
                 {QUANT_AFFINE_4, 64, 96, ERROR_FORMAT},
                 {QUANT_AFFINE_4, 16, 48, ERROR_FORMAT}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {.code = ERROR_NONE};
        const struct matrix m =
            matrix_of_packed(cases[i].type, MATRIX_SCALE_F16, cases[i].group, cases[i].n_cols, ROWS,
                             1, "", "", "");
        assert_false(matrix_check(&m, &err));
        assert_int_equal(err.code, cases[i].code);
    }
    struct error err;
    struct matrix m =
        matrix_of_packed(QUANT_AFFINE_4, MATRIX_SCALE_F16, 64, 128, ROWS, 1, "", "", "");
    assert_true(matrix_check(&m, &err));
    m.scale = MATRIX_N_SCALES;
    assert_false(matrix_check(&m, &err));
    m.scale = MATRIX_SCALE_F16;
    m.parts[MATRIX_FACTORS].data = "";
    assert_false(matrix_check(&m, &err)); /* affine weights have none */
    assert_int_equal(err.code, ERROR_UNSUPPORTED);
    m.parts[MATRIX_FACTORS].data = NULL;
    for (int i = 0; i < MATRIX_FACTORS; i++) {
        struct matrix lacks = m;
        lacks.parts[i].data = NULL;
        assert_false(matrix_check(&lacks, &err));
        assert_int_equal(err.code, ERROR_FORMAT);
    }
}

static void experts_may_lie_anywhere(void **state)
{
    (void)state;
    struct matrix list[EXPERTS], all;
    struct error err;
    fill();
    for (int e = 0; e < EXPERTS; e++) /* in another order than in memory */
        list[e] = matrix_of_blocks(QUANT_Q8_0, COLS, ROWS, 1, blocks[(e + 1) % EXPERTS]);
    assert_true(matrix_of_list(list, EXPERTS, &all, &err));
    assert_true(matrix_check(&all, &err));
    assert_int_equal(all.n_experts, EXPERTS);
    for (int e = 0; e < EXPERTS; e++) {
        const struct matrix one = matrix_expert(&all, (size_t)e);
        assert_int_equal(one.n_experts, 1);
        for (size_t r = 0; r < ROWS; r++)
            assert_row(&one, r, (float)((e + 1) % EXPERTS * 10 + (int)r));
    }
    list[2].parts[MATRIX_BLOCKS].data = NULL;
    assert_false(matrix_check(&all, &err));
    assert_non_null(strstr(err.message, "expert 2"));
    list[1].n_rows--;
    assert_false(matrix_of_list(list, EXPERTS, &all, &err));
    assert_non_null(strstr(err.message, "expert 1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_and_experts_are_views),
        cmocka_unit_test(a_matrix_without_data_stays_so),
        cmocka_unit_test(packed_parts_are_viewed_together),
        cmocka_unit_test(columns_are_views),
        cmocka_unit_test(factors_are_those_of_experts),
        cmocka_unit_test(scales_are_what_their_types_say),
        cmocka_unit_test(scales_that_are_no_number_stay_so),
        cmocka_unit_test(shapes_that_do_not_fit_are_refused),
        cmocka_unit_test(experts_may_lie_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
