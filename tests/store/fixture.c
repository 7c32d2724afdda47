/* Folders, files, wheels and a pip for the store's tests. */
#include "fixture.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#include <cmocka.h>

char fixture_dir[512];

char fixture_notes[8192];

void fixture_hear_note(void *context, const char *line)
{
    (void)context;
    size_t n = strlen(fixture_notes);
    snprintf(fixture_notes + n, sizeof fixture_notes - n, "%s\n", line);
}

void fixture_begin(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(fixture_dir, sizeof fixture_dir, "%s/pensieve-test-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(fixture_dir));
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

void fixture_end(void)
{
    nftw(fixture_dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *fixture_path(const char *name)
{
    static char paths[8][2048];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", fixture_dir, name);
    return path;
}

void fixture_write(const char *name, const void *bytes, size_t n)
{
    FILE *file = fopen(fixture_path(name), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

bool fixture_exists(const char *name)
{
    return !access(fixture_path(name), F_OK);
}

char *fixture_read(const char *name, size_t *n)
{
    FILE *file = fopen(fixture_path(name), "r");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *n = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*n + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *n, file), *n);
    bytes[*n] = '\0';
    fclose(file);
    return bytes;
}

int fixture_count(const char *name, const char *word)
{
    size_t n;
    int count = 0;
    if (!fixture_exists(name))
        return 0;
    char *text = fixture_read(name, &n);
    for (char *at = text; (at = strstr(at, word)); at += strlen(word))
        count++;
    free(text);
    return count;
}

void fixture_wheel(const char *file, const char *name, const void *bytes, size_t n)
{
    char path[600];
    int code;
    mkdir(fixture_path("wheels"), 0755);
    snprintf(path, sizeof path, "wheels/%s", file);
    zip_t *zip = zip_open(fixture_path(path), ZIP_CREATE | ZIP_TRUNCATE, &code);
    assert_non_null(zip);
    zip_source_t *source = zip_source_buffer(zip, bytes, n, 0);
    assert_true(zip_file_add(zip, name, source, 0) >= 0);
    source = zip_source_buffer(zip, "#", 1, 0);
    assert_true(zip_file_add(zip, "tiny/__init__.py", source, 0) >= 0);
    assert_int_equal(zip_close(zip), 0);
}

const char *fixture_python(void)
{
    static const char script[] =
        "#!/bin/sh\n"
        "[ \"$1 $2 $3 $4\" = '-I -m pip download' ] || exit 9\n"
        "while [ $# -gt 1 ]; do\n"
        "  [ \"$1\" != -d ] || dir=$2\n"
        "  shift\n"
        "done\n"
        "here=${0%/*}\n"
        "echo \"$1\" >>\"$here/pip-calls\"\n"
        "name=$(echo \"${1%%==*}\" | tr - _)\n"
        "for wheel in \"$here/wheels/$name-${1##*==}\"-*.whl; do\n"
        "  [ -e \"$wheel\" ] || { echo \"ERROR: No matching distribution found for $1\" >&2; exit "
        "1; }\n"
        "  [ ! -e \"$dir/${wheel##*/}\" ] || { echo \"File was already downloaded\"; exit 0; }\n"
        "  cp \"$wheel\" \"$dir/\"\n"
        "done\n";
    fixture_write("python", script, sizeof script - 1);
    chmod(fixture_path("python"), 0755);
    static char path[600];
    snprintf(path, sizeof path, "%s/python", fixture_dir);
    return path;
}
