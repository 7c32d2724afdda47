/* A hash table over the addresses of nodes: the notes hold a reference to each, so that an address
 * stays the same node's. */
#include "jinja/notes.h"

#include <stdlib.h>
#include <string.h>

struct jinja_notes {
    struct jinja_note *slots; /* [n_slots], a power of two or 0 */
    size_t n, n_slots;
    bool failed;
};

struct jinja_notes *jinja_notes_create(void)
{
    return calloc(1, sizeof(struct jinja_notes));
}

void jinja_notes_destroy(struct jinja_notes *notes)
{
    for (size_t i = 0; notes && i < notes->n_slots; i++) {
        json_decref(notes->slots[i].string);
        free(notes->slots[i].marks);
    }
    if (notes)
        free(notes->slots);
    free(notes);
}

/* The node's place, or the free one where it belongs. n_slots > n. */
static struct jinja_note *note_slot(const struct jinja_notes *notes, const json_t *string)
{
    uint64_t hash = ((uint64_t)(uintptr_t)string >> 4) * 0x9E3779B97F4A7C15u;
    size_t at = (size_t)(hash >> 32) & (notes->n_slots - 1);
    while (notes->slots[at].string && notes->slots[at].string != string)
        at = (at + 1) & (notes->n_slots - 1);
    return &notes->slots[at];
}

static bool notes_grow(struct jinja_notes *notes)
{
    struct jinja_notes larger = {.n = notes->n,
                                 .n_slots = notes->n_slots ? notes->n_slots * 2 : 16};
    larger.slots = calloc(larger.n_slots, sizeof *larger.slots);
    if (!larger.slots)
        return false;
    for (size_t i = 0; i < notes->n_slots; i++)
        if (notes->slots[i].string)
            *note_slot(&larger, notes->slots[i].string) = notes->slots[i];
    free(notes->slots);
    *notes = larger;
    return true;
}

/* Takes the marks; they may be NULL. */
static void note_put(struct jinja_notes *notes, json_t *string, uint8_t *marks, bool is_number)
{
    if (notes->failed || ((notes->n + 1) * 2 > notes->n_slots && !notes_grow(notes))) {
        notes->failed = true;
        free(marks);
        return;
    }
    struct jinja_note *note = note_slot(notes, string);
    if (!note->string) {
        note->string = json_incref(string);
        notes->n++;
    }
    free(note->marks);
    note->marks = marks;
    note->is_number = is_number;
}

void jinja_notes_own(struct jinja_notes *notes, json_t *string)
{
    if (json_is_string(string))
        note_put(notes, string, NULL, false);
}

void jinja_notes_mixed(struct jinja_notes *notes, json_t *string, const uint8_t *marks)
{
    if (!json_is_string(string))
        return;
    size_t n = json_string_length(string);
    uint8_t *copy = malloc(n + 1);
    if (!copy) {
        notes->failed = true;
        return;
    }
    for (size_t i = 0; i < n; i++)
        copy[i] = marks[i] != 0;
    note_put(notes, string, copy, false);
}

void jinja_notes_number(struct jinja_notes *notes, json_t *string)
{
    if (json_is_string(string))
        note_put(notes, string, NULL, true);
}

const struct jinja_note *jinja_notes_find(const struct jinja_notes *notes, const json_t *string)
{
    if (!notes || !notes->n_slots)
        return NULL;
    const struct jinja_note *note = note_slot(notes, string);
    return note->string ? note : NULL;
}

bool jinja_notes_failed(const struct jinja_notes *notes)
{
    return notes && notes->failed;
}
