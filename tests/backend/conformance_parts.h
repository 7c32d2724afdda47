/* What the files of the conformance suite share: the backend under test and a step on it. */
#ifndef PENSIEVE_TESTS_BACKEND_CONFORMANCE_PARTS_H
#define PENSIEVE_TESTS_BACKEND_CONFORMANCE_PARTS_H

#include "backend/conformance.h"
#include "backend/random_matrix.h"

#include <math.h>
#include <stdio.h>

enum { CONFORMANCE_P = BACKEND_PAGE_TOKENS, CONFORMANCE_SEQUENCES = 3 };

/* All fail the test instead of returning errors. */
struct backend *conformance_backend(void); /* a new one */
struct backend_activation *conformance_activation(struct backend *be, uint32_t width);
const struct backend_matrix *conformance_take(struct backend *be, const struct matrix *m);

/* A step: its rows, and sequences that are at most one page list each. */
struct conformance_step {
    struct backend *be;
    struct backend_row rows[BACKEND_MAX_ROWS];
    uint32_t n_rows;
    struct backend_sequence sequences[CONFORMANCE_SEQUENCES];
    struct backend_batch batch;
};
void conformance_step_init(struct conformance_step *s, struct backend *be);
/* n more rows of a sequence from position `first` on; token i of the batch is i * 7 % 50, every
 * third row wants logits. */
void conformance_step_add(struct conformance_step *s, uint32_t sequence, uint32_t first,
                          uint32_t n);
void conformance_step_begin(struct conformance_step *s);
void conformance_step_end(struct conformance_step *s); /* and it is empty again */

/* Random ones; free(). */
static inline float *floats(size_t n)
{
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    fixture_fill(x, n);
    return x;
}

/* May this type be used? F32 may, always. */
bool conformance_accepts(const struct matrix *w);

/* Every element is within `tolerance` times (1 + its magnitude). */
void conformance_near(const double *expected, const float *got, size_t n, double tolerance,
                      const char *what);
/* The same bits, where the backend promises that; else within 1e-3. */
void conformance_same(const struct backend *be, const float *expected, const float *got, size_t n,
                      const char *what);

/* The other files' tests, for conformance.c's list */
void conformance_experts_are_their_formula(void **state);
void conformance_experts_are_products_of_each_type(void **state);
void conformance_full_batches_of_experts_are_rows_alone(void **state);
void conformance_rows_of_nan_spoil_themselves_alone(void **state);
void conformance_attention_is_its_formula(void **state);
void conformance_layers_may_differ(void **state);
void conformance_sequences_do_not_see_each_other(void **state);
void conformance_pages_that_windows_left_may_be_gone(void **state);
void conformance_a_copied_page_goes_on_like_the_original(void **state);
void conformance_saved_pages_go_on_elsewhere(void **state);
void conformance_saves_go_on_beside_steps(void **state);
void conformance_states_are_copied_saved_and_loaded(void **state);
void conformance_wrong_shapes_are_refused(void **state);

#endif
