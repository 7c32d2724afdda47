/* Many blocks of every type against the reference: the same pseudo-random bytes are made here and
 * by scripts/golden_quant.py, whose hashes of the floats that the reference made of them are in
 * golden_hashes.txt. One that differs in a bit is told by its type. */
#include "quant/half.h"
#include "quant/matrix.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *golden_path;

/* ---- as the script does it ---- */

/* Number i of the sequence splitmix64 from a seed. */
static uint64_t mixed(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint8_t *random_bytes(size_t n, uint64_t seed)
{
    uint8_t *bytes = malloc(n + 8);
    if (!bytes)
        fail_msg("out of memory");
    for (size_t i = 0; i < n; i += 8) {
        const uint64_t word = mixed(seed, i / 8);
        memcpy(bytes + i, &word, sizeof word);
    }
    return bytes;
}

static uint64_t hash_of(const float *x, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t bits = isnan(x[i]) ? 0x7fc00000 : half_float_to_bits(x[i]);
        sum += (bits + 1) * mixed(0, i);
    }
    return sum;
}

/* Clears the highest bit of the exponent of the 16-bit floats at bytes at, at + step, .. */
static void no_infinity(uint8_t *bytes, size_t n, size_t at, size_t step)
{
    for (size_t i = at + 1; i < n; i += step)
        bytes[i] &= 0xbf;
}

/* ---- blocks ---- */

static void check_blocks(uint32_t type, size_t n, const int scales[2], uint64_t expected)
{
    const struct quant_traits *traits = quant_traits(type);
    if (!traits)
        fail_msg("type %u is not known", (unsigned)type);
    const size_t n_bytes = n * traits->block_bytes, n_floats = n * traits->block_elements;
    uint8_t *bytes = random_bytes(n_bytes, type);
    float *out = malloc(n_floats * sizeof *out);
    assert_non_null(out);
    for (int i = 0; i < 2; i++)
        if (scales[i] >= 0)
            no_infinity(bytes, n_bytes, (size_t)scales[i], traits->block_bytes);
    traits->decode(bytes, out, n_floats);
    if (hash_of(out, n_floats) != expected)
        fail_msg("%s does not decode as the reference does", traits->name);
    free(out);
    free(bytes);
}

/* Returns whether it is a line of blocks. */
static bool check_blocks_line(const char *line)
{
    uint32_t type;
    size_t n;
    int scales[2];
    uint64_t hash;
    if (sscanf(line, "blocks %" SCNu32 " %zu %d %d %" SCNx64, &type, &n, &scales[0], &scales[1],
               &hash) != 5)
        return false;
    check_blocks(type, n, scales, hash);
    return true;
}

/* ---- packed arrays ---- */

enum { ROWS = 8, COLUMNS = 512 };

static uint8_t *random_scales(size_t n, enum matrix_scale scale, uint64_t seed)
{
    const size_t n_bytes = matrix_scale_bytes(scale);
    uint8_t *scales = random_bytes(n * n_bytes, seed);
    if (n_bytes > 1)
        no_infinity(scales, n * n_bytes, n_bytes - 2, n_bytes);
    return scales;
}

static void check_packed(enum quant_type type, enum matrix_scale scale, uint32_t group,
                         float global_scale, uint64_t expected)
{
    static float out[ROWS * COLUMNS];
    const float factor = global_scale / (448.0f * 6.0f);
    const uint64_t seed = (uint64_t)type << 16 | (uint64_t)scale << 8 | group;
    const size_t n_scales = ROWS * COLUMNS / group;
    uint8_t *parts[] = {random_bytes(ROWS * quant_row_bytes(type, COLUMNS), seed),
                        random_scales(n_scales, scale, seed + 1),
                        random_scales(n_scales, scale, seed + 2)};
    struct matrix m = matrix_of_packed(type, scale, group, COLUMNS, ROWS, 1, parts[0], parts[1],
                                       quant_traits(type)->n_parts > 2 ? parts[2] : NULL);
    struct error err;
    if (global_scale > 0)
        m.parts[MATRIX_FACTORS] = (struct matrix_part){&factor, 0, sizeof factor};
    if (!matrix_check(&m, &err))
        fail_msg("%s: %s", quant_traits(type)->name, err.message);
    for (size_t r = 0; r < ROWS; r++)
        matrix_decode(&m, r, out + r * COLUMNS);
    if (hash_of(out, ROWS * COLUMNS) != expected)
        fail_msg("%s in groups of %u with scales %d is not what MLX says", quant_traits(type)->name,
                 (unsigned)group, (int)scale);
    for (int i = 0; i < 3; i++)
        free(parts[i]);
}

static bool check_packed_line(const char *line)
{
    uint32_t type, scale, group;
    uint64_t hash;
    float global_scale;
    if (sscanf(line, "packed %" SCNu32 " %" SCNu32 " %" SCNu32 " %f %" SCNx64, &type, &scale,
               &group, &global_scale, &hash) != 5)
        return false;
    if (!quant_traits(type))
        fail_msg("type %u is not known", (unsigned)type);
    check_packed((enum quant_type)type, (enum matrix_scale)scale, group, global_scale, hash);
    return true;
}

/* ---- the file ---- */

static void check_lines(FILE *f, size_t *n_blocks, size_t *n_packed)
{
    char line[160];
    while (fgets(line, sizeof line, f)) {
        const bool is_blocks = check_blocks_line(line);
        if (!is_blocks && !check_packed_line(line))
            fail_msg("golden_hashes.txt has a line of its own: %s", line);
        *n_blocks += is_blocks;
        *n_packed += !is_blocks;
    }
}

static void decoders_make_the_floats_of_the_reference(void **state)
{
    (void)state;
    enum {
#define X(NAME, ...) COUNT_##NAME,
        QUANT_BLOCK_TYPES(X)
#undef X
            N_BLOCK_TYPES,
    };
    FILE *f = fopen(golden_path, "r");
    if (!f)
        fail_msg("cannot open %s", golden_path);
    size_t n_blocks = 0, n_packed = 0;
    check_lines(f, &n_blocks, &n_packed);
    assert_int_equal(n_blocks, N_BLOCK_TYPES);
    assert_int_equal(n_packed, 7 * 3 * 3 + 4); /* widths, groups, types of scales; floats */
    fclose(f);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: test_hashes GOLDEN\n");
        return 2;
    }
    golden_path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoders_make_the_floats_of_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
