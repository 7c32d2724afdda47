/* Texts that a chat template shall not see, because it raises at something in them: while it is
 * rendered each is a short mark, in whose place it is put afterwards. Knows no templates. */
#ifndef PENSIEVE_CHAT_VEIL_H
#define PENSIEVE_CHAT_VEIL_H

#include "chat/marked_text.h"

#include <stdbool.h>
#include <stddef.h>

struct veil {
    struct marked_text *texts; /* [n] */
    size_t n, cap;
    bool failed;
};

void veil_init(struct veil *v);
void veil_deinit(struct veil *v);
/* Takes the text, unless it is empty, and leaves its mark there. */
void veil_cover(struct veil *v, struct marked_text *text);
/* Puts the texts in the places of their marks: in the bytes of `out`, and in `marks` (or NULL). A
 * mark that the template left out stays out. False: out of memory. */
bool veil_lift(const struct veil *v, struct buf *out, struct buf *marks);

#endif
