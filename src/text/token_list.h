/* A growing list of token ids. Knows no vocabulary. */
#ifndef PENSIEVE_TEXT_TOKEN_LIST_H
#define PENSIEVE_TEXT_TOKEN_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Owned by the caller, who begins it as {0}: token_list_deinit. */
struct token_list {
    int32_t *ids;
    size_t n, cap;
};
void token_list_deinit(struct token_list *list);
bool token_list_push(struct token_list *list, int32_t id); /* false: out of memory */

#endif
