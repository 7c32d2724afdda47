/* The vectors that blocks of the IQ types name by number. The tables are made at build time by
 * scripts/iq_grids.py, which keeps them as what they are, sets. Private to src/quant. */
#ifndef PENSIEVE_QUANT_GRIDS_H
#define PENSIEVE_QUANT_GRIDS_H

#include <stdint.h>

/* magnitudes: signs are said beside */
extern const int8_t quant_grid_iq2_xxs[256][8];
extern const int8_t quant_grid_iq2_xs[512][8];
extern const int8_t quant_grid_iq2_s[1024][8];
extern const int8_t quant_grid_iq3_xxs[256][4];
extern const int8_t quant_grid_iq3_s[512][4];
/* eight times -1, 0 and 1 */
extern const int8_t quant_grid_iq1[2048][8];

#endif
