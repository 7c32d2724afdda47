/* Standard output of the commands: text of others as a terminal may see it, and why writing
 * failed. */
#ifndef PENSIEVE_CLI_OUTPUT_H
#define PENSIEVE_CLI_OUTPUT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* Makes standard input, output and error descriptors of their own where they are closed, so that no
 * file or socket is opened in their place and written to: using them still fails. Call it first. */
void output_guard_descriptors(void);

/* What everything written so far came to. IO with the reason; CANCELLED when nobody reads any more
 * (cli_report is silent about that). */
bool output_flush(struct error *err);

/* Writes text of a model or a file: to a terminal with \xNN for what it would obey, apart from
 * newlines and tabs; elsewhere as it is. */
void output_text(const char *text, size_t n);
/* The same, to a terminal or not, on one line: with no newline or tab either. */
void output_line(const char *text, size_t n);

/* A text that comes in pieces, which may break off in the middle of a character. */
struct output_stream {
    char pending[4]; /* of a character that is not whole yet */
    size_t n_pending;
};
/* Writes what is whole, at once. False: see output_flush. */
bool output_piece(struct output_stream *s, const char *text, size_t n, struct error *err);
/* And what is left at the end. */
bool output_end(struct output_stream *s, struct error *err);

#endif
