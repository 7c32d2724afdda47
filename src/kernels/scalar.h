/* The scalar reference of every slot, for kernels.c to start each table from. */
#ifndef PENSIEVE_KERNELS_SCALAR_H
#define PENSIEVE_KERNELS_SCALAR_H

#include "kernels/kernels.h"

void scalar_init_matmul(struct kernels *k);
void scalar_init_vector(struct kernels *k);
void scalar_init_attend(struct kernels *k);
void scalar_init_rank(struct kernels *k);

#endif
