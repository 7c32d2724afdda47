/* From an input to a plan: which tensors the output has, out of which of the input's, and what is
 * said about the model there. One function for each pair of formats. */
#ifndef PENSIEVE_CONVERT_MAP_H
#define PENSIEVE_CONVERT_MAP_H

#include "convert/plan.h"

/* Each fills an empty plan, whose input, target, options and importance are set, in full: files,
 * tensors, layout. UNSUPPORTED with what cannot be said in the other format; FORMAT; NO_MEMORY. */
bool map_gguf_to_gguf(struct plan *p, struct error *err);
bool map_gguf_to_folder(struct plan *p, struct error *err);
bool map_folder_to_gguf(struct plan *p, struct error *err);
bool map_folder_to_folder(struct plan *p, struct error *err);

/* ---- shared by them ---- */

struct gguf_writer;
struct names_architecture;

/* What a folder's model_type stands for, or NULL with UNSUPPORTED. */
const struct names_architecture *map_folder_architecture(const struct weights *w,
                                                         struct error *err);
/* A tensor of a folder that no output has. */
bool map_is_unwanted(const struct plan *p, const struct weights_tensor *input);
/* The tensor's rows; of the first of experts that lie one by one (expert 0), those of all. */
bool map_take_folder_tensor(struct plan *p, struct plan_tensor *t,
                            const struct weights_tensor *input, int expert, struct error *err);
/* What every GGUF file that is made says of how it was. */
void map_put_made(struct gguf_writer *g, const struct plan *p);
/* The floats of a folder: of the type that was asked for; else bfloat16 where the input has it or
 * the network wants its range, or half. */
void map_choose_floats(struct plan *p, bool wants_range);
/* The type of a tensor in a folder. */
void map_folder_type(const struct plan *p, struct plan_tensor *t);
bool map_is_vector(const struct plan_tensor *t);
/* Rows of q and k change places where the architecture's do; biases, too. FORMAT. */
bool map_order(struct plan *p, const struct names_architecture *a, enum plan_order order,
               struct plan_tensor *t, struct error *err);

#endif
