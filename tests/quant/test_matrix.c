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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_and_experts_are_views),
        cmocka_unit_test(a_matrix_without_data_stays_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
