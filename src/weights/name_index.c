/* An open-addressing hash table over SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input
 * PRF", 2012). Knows nothing of what the names mean. */
#include "weights/name_index.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/random.h>
#endif

struct sip {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v2 = rotate(s->v2, 32);
}

static void sip_absorb(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    s->v0 ^= word;
}

static uint64_t hash(const uint64_t key[2], const char *name, size_t len)
{
    struct sip s = {
        key[0] ^ 0x736f6d6570736575,
        key[1] ^ 0x646f72616e646f6d,
        key[0] ^ 0x6c7967656e657261,
        key[1] ^ 0x7465646279746573,
    };
    size_t i = 0;
    uint64_t word;
    for (; len - i >= 8; i += 8) {
        memcpy(&word, name + i, 8);
        sip_absorb(&s, word);
    }
    word = 0;
    memcpy(&word, name + i, len - i);
    sip_absorb(&s, word | (uint64_t)len << 56);
    s.v2 ^= 0xff;
    for (int round = 0; round < 3; round++)
        sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

void name_index_deinit(struct name_index *index)
{
    free(index->slots);
    *index = (struct name_index){0};
}

/* The slot that holds the name, or the free one where it belongs. */
static struct name_index_slot *slot_of(const struct name_index *index, const char *name, size_t len)
{
    size_t at = (size_t)hash(index->key, name, len) & (index->n_slots - 1);
    for (;; at = (at + 1) & (index->n_slots - 1)) {
        struct name_index_slot *slot = &index->slots[at];
        if (!slot->name || (slot->len == len && !memcmp(slot->name, name, len)))
            return slot;
    }
}

uint32_t name_index_find(const struct name_index *index, const char *name, size_t len)
{
    if (!index->n_used)
        return NAME_INDEX_NONE;
    const struct name_index_slot *slot = slot_of(index, name, len);
    return slot->name ? slot->number : NAME_INDEX_NONE;
}

static bool name_index_grow(struct name_index *index)
{
    struct name_index bigger = *index;
    bigger.n_slots = index->n_slots ? index->n_slots * 2 : 64;
    if (!index->n_slots && getentropy(bigger.key, sizeof bigger.key))
        memcpy(bigger.key, &index, sizeof index); /* no entropy: an address is the secret */
    bigger.slots = calloc(bigger.n_slots, sizeof *bigger.slots);
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < index->n_slots; i++) {
        const struct name_index_slot *slot = &index->slots[i];
        if (slot->name)
            *slot_of(&bigger, slot->name, slot->len) = *slot;
    }
    free(index->slots);
    *index = bigger;
    return true;
}

bool name_index_add(struct name_index *index, const char *name, size_t len, uint32_t number)
{
    if ((index->n_used + 1) * 2 > index->n_slots && !name_index_grow(index))
        return false;
    *slot_of(index, name, len) = (struct name_index_slot){name, (uint32_t)len, number};
    index->n_used++;
    return true;
}
