/* See spm_merges.h. */
#include "convert/spm_merges.h"

#include <stdlib.h>
#include <string.h>

#define NO_PIECE UINT32_MAX

struct merges {
    const struct weights_string *pieces;
    const float *scores;
    uint32_t *order; /* [n] numbers of pieces, sorted by their text */
    size_t n;
    struct spm_merge *items;
    size_t n_items, n_room;
};

static int text_order(const struct weights_string *a, const struct weights_string *b)
{
    const size_t n = a->len < b->len ? a->len : b->len;
    const int order = n ? memcmp(a->data, b->data, n) : 0;
    return order ? order : (a->len > b->len) - (a->len < b->len);
}

/* qsort_r differs between systems: the pieces stand beside their numbers while they are sorted. */
struct numbered {
    struct weights_string text;
    uint32_t number;
};

static int numbered_order(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;
    const int order = text_order(&x->text, &y->text);
    return order ? order : (x->number > y->number) - (x->number < y->number);
}

static bool merges_sort_pieces(struct merges *m)
{
    struct numbered *all = malloc((m->n + 1) * sizeof *all);
    m->order = malloc((m->n + 1) * sizeof *m->order);
    for (size_t i = 0; all && i < m->n; i++)
        all[i] = (struct numbered){m->pieces[i], (uint32_t)i};
    if (all)
        qsort(all, m->n, sizeof *all, numbered_order);
    for (size_t i = 0; all && m->order && i < m->n; i++)
        m->order[i] = all[i].number;
    bool ok = all && m->order;
    free(all);
    return ok;
}

static uint32_t find_piece(const struct merges *m, struct weights_string text)
{
    size_t low = 0, high = m->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (text_order(&m->pieces[m->order[middle]], &text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < m->n && !text_order(&m->pieces[m->order[low]], &text) ? m->order[low] : NO_PIECE;
}

static bool merges_append(struct merges *m, struct spm_merge merge)
{
    if (m->n_items == m->n_room) {
        const size_t n_room = m->n_room ? 2 * m->n_room : 1 << 16;
        void *items = realloc(m->items, n_room * sizeof *m->items);
        if (!items)
            return false;
        m->items = items;
        m->n_room = n_room;
    }
    m->items[m->n_items++] = merge;
    return true;
}

/* All halves of one piece that are pieces, too. */
static bool merges_split(struct merges *m, uint32_t whole)
{
    enum { MOST = 256 }; /* bytes of a piece; longer ones are no words */
    const struct weights_string text = m->pieces[whole];
    for (size_t i = 1; i < text.len && text.len <= MOST; i++) {
        if (((unsigned char)text.data[i] & 0xc0) == 0x80)
            continue; /* inside a character */
        const uint32_t left = find_piece(m, (struct weights_string){text.data, i});
        if (left == NO_PIECE)
            continue;
        const uint32_t right =
            find_piece(m, (struct weights_string){text.data + i, text.len - i});
        if (right != NO_PIECE && !merges_append(m, (struct spm_merge){left, right, whole}))
            return false;
    }
    return true;
}

/* A merge with what its rank depends on. */
struct ranked {
    struct spm_merge merge;
    float score;
    uint32_t n_left, n_right;
};

static int rank_order(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->n_left != y->n_left)
        return x->n_left > y->n_left ? -1 : 1;
    if (x->n_right != y->n_right)
        return x->n_right > y->n_right ? -1 : 1;
    if (x->merge.whole != y->merge.whole)
        return x->merge.whole < y->merge.whole ? -1 : 1;
    return (x->merge.left > y->merge.left) - (x->merge.left < y->merge.left);
}

static bool merges_rank(struct merges *m)
{
    struct ranked *all = malloc((m->n_items + 1) * sizeof *all);
    if (!all)
        return false;
    for (size_t i = 0; i < m->n_items; i++) {
        const struct spm_merge merge = m->items[i];
        all[i] = (struct ranked){merge, m->scores[merge.whole],
                                 (uint32_t)m->pieces[merge.left].len,
                                 (uint32_t)m->pieces[merge.right].len};
    }
    qsort(all, m->n_items, sizeof *all, rank_order);
    for (size_t i = 0; i < m->n_items; i++)
        m->items[i] = all[i].merge;
    free(all);
    return true;
}

struct spm_merge *spm_merges_make(const struct weights_string *pieces, const float *scores,
                                  size_t n, size_t *n_merges, struct error *err)
{
    struct merges m = {.pieces = pieces, .scores = scores, .n = n};
    bool ok = merges_sort_pieces(&m) && merges_append(&m, (struct spm_merge){0, 0, 0});
    m.n_items = 0; /* the list is there even if it stays empty */
    for (size_t i = 0; ok && i < n; i++)
        ok = merges_split(&m, (uint32_t)i);
    ok = ok && merges_rank(&m);
    free(m.order);
    if (!ok) {
        free(m.items);
        m.items = NULL;
        error_set(err, ERROR_NO_MEMORY, "out of memory for the vocabulary's merges");
    }
    *n_merges = m.n_items;
    return m.items;
}
