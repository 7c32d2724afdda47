#include "text/token_list.h"

#include <stdlib.h>

void token_list_deinit(struct token_list *list)
{
    free(list->ids);
    *list = (struct token_list){0};
}

bool token_list_push(struct token_list *list, int32_t id)
{
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 64;
        int32_t *ids = cap > SIZE_MAX / sizeof *ids ? NULL : realloc(list->ids, cap * sizeof *ids);
        if (!ids)
            return false;
        list->ids = ids;
        list->cap = cap;
    }
    list->ids[list->n++] = id;
    return true;
}
