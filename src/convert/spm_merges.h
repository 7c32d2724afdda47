/* The merges that a SentencePiece vocabulary stands for: any two pieces whose text together is a
 * piece, the piece with the best score first. */
#ifndef PENSIEVE_CONVERT_SPM_MERGES_H
#define PENSIEVE_CONVERT_SPM_MERGES_H

#include "base/error.h"
#include "weights/weights.h"

struct spm_merge {
    uint32_t left, right; /* pieces by number */
    uint32_t whole;
};

/* In the order of their rank, as Hugging Face's converter has it: by score, longer left and then
 * longer right halves first. Freed by the caller; NULL with NO_MEMORY. */
struct spm_merge *spm_merges_make(const struct weights_string *pieces, const float *scores,
                                  size_t n, size_t *n_merges, struct error *err);

#endif
