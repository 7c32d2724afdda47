/* Two types of weights that no file has, to show what a type touches: these rows, and toy_types.c.
 * Everything else is compiled once more as it is, with this as QUANT_EXTRA_TYPES_FILE. */
#ifndef PENSIEVE_TESTS_TYPES_TOY_TYPES_H
#define PENSIEVE_TESTS_TYPES_TOY_TYPES_H

#define QUANT_EXTRA_TYPES(X)                                                                       \
    X(TOY_3, 62, 32, 14, OFFSET, 3)                                                                \
    X(TOY_2, 63, 64, 22, HALVES, 2)

#endif
