/* Pages on disk: what was written comes back in another process, and only that, whatever happens to the files. */
#include "engine/disk_tier.h"
#include "support/temp_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { P = BACKEND_PAGE_TOKENS, PAGE_BYTES = 5000, CHAIN = 12 };
enum { ENTRY_BYTES = 64 + P * 4 };

/* What is written is its own owner. */
static const void *bytes_of(void *owner)
{
    return owner;
}

static struct disk_tier *open_tier(const char *identity, uint64_t max_bytes)
{
    struct error err = {0};
    const struct disk_options options = {temp_folder, identity, max_bytes};
    struct disk_tier *d = disk_tier_open(&options, PAGE_BYTES, &err);
    if (!d)
        fail_msg("%s", err.message);
    return d;
}

/* The label of page i of chain c, and a content that follows from its key. */
static struct disk_label label_of(uint32_t c, uint32_t i)
{
    struct disk_label label = {.space = 7, .parent = disk_root_key(7)};
    for (label.depth = 0;; label.depth++) {
        for (uint32_t k = 0; k < P; k++)
            label.tokens[k] = (int32_t)(c * 1000 + label.depth * P + k);
        label.key = disk_key(label.parent, label.tokens);
        if (label.depth == i)
            return label;
        label.parent = label.key;
    }
}

static void content_of(const struct disk_label *label, uint8_t *page)
{
    uint64_t x = label->key;
    for (size_t i = 0; i < PAGE_BYTES; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        page[i] = (uint8_t)(x >> 56);
    }
}

static void wait_until_done(struct disk_tier *d, uint32_t n)
{
    struct disk_done done;
    while (n) {
        if (disk_tier_done(d, &done)) {
            assert_true(done.ok);
            n--;
        } else {
            usleep(200);
        }
    }
}

static void write_chain(struct disk_tier *d, uint32_t c, uint32_t n)
{
    static uint8_t pages[CHAIN][PAGE_BYTES];
    for (uint32_t i = 0; i < n; i++) {
        struct disk_label label = label_of(c, i);
        content_of(&label, pages[i]);
        uint32_t slot = disk_tier_take(d);
        assert_int_not_equal(slot, DISK_NO_SLOT);
        assert_true(disk_tier_write(d, slot, &label, bytes_of, pages[i]));
    }
    wait_until_done(d, n);
}

/* Every page that can be read is the one that its label says. Returns how many. */
static uint32_t check_found(struct disk_tier *d)
{
    size_t n;
    uint32_t n_good = 0;
    uint8_t page[PAGE_BYTES], expected[PAGE_BYTES];
    const struct disk_found *found = disk_tier_found(d, &n);
    for (size_t i = 0; i < n; i++) {
        assert_true(found[i].label.key == disk_key(found[i].label.parent, found[i].label.tokens));
        if (i)
            assert_true(found[i].label.depth >= found[i - 1].label.depth);
        if (!disk_tier_read(d, found[i].slot, page))
            continue;
        content_of(&found[i].label, expected);
        assert_memory_equal(page, expected, PAGE_BYTES);
        n_good++;
    }
    return n_good;
}

static void what_was_written_comes_back(void **state)
{
    (void)state;
    struct disk_tier *d = open_tier("a", 100 << 20);
    write_chain(d, 1, CHAIN);
    disk_tier_close(d);
    d = open_tier("a", 100 << 20);
    assert_int_equal(check_found(d), CHAIN);
    write_chain(d, 2, 3);
    /* a slot that was freed is nobody's */
    size_t n;
    disk_tier_free(d, disk_tier_found(d, &n)[0].slot);
    disk_tier_close(d);
    d = open_tier("a", 100 << 20);
    assert_int_equal(check_found(d), CHAIN + 3 - 1);
    disk_tier_close(d);

    d = open_tier("b", 100 << 20); /* another model's */
    assert_int_equal(check_found(d), 0);
    disk_tier_close(d);
}

static void one_process_has_a_folder(void **state)
{
    (void)state;
    struct error err = {0};
    const struct disk_options options = {temp_folder, "a", 0};
    struct disk_tier *d = open_tier("a", 0);
    assert_null(disk_tier_open(&options, PAGE_BYTES, &err));
    assert_int_equal(err.code, ERROR_BUSY);
    disk_tier_close(d);
    d = open_tier("a", 0);
    disk_tier_close(d);
}

static void files_are_the_owners_alone(void **state)
{
    (void)state;
    char path[300];
    struct disk_tier *d = open_tier("a", 0);
    write_chain(d, 1, 1);
    disk_tier_close(d);
    DIR *dir = opendir(temp_folder);
    const struct dirent *item;
    int n_files = 0;
    while ((item = readdir(dir)))
        if (item->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s/00000000.kv", temp_folder, item->d_name);
            struct stat st;
            assert_int_equal(stat(path, &st), 0);
            assert_int_equal(st.st_mode & 0777, 0600);
            n_files++;
        }
    closedir(dir);
    assert_int_equal(n_files, 1);
}

static void the_budget_holds(void **state)
{
    (void)state;
    struct disk_tier *d = open_tier("a", 20 << 20);
    uint32_t n = 0;
    while (disk_tier_take(d) != DISK_NO_SLOT)
        n++;
    assert_true(n >= 1024 && disk_tier_bytes(d) <= 20 << 20);
    disk_tier_free(d, 5);
    assert_int_equal(disk_tier_take(d), 5);
    assert_int_equal(disk_tier_take(d), DISK_NO_SLOT);
    disk_tier_close(d);
    d = open_tier("none", 1000); /* less than a segment */
    assert_int_equal(disk_tier_take(d), DISK_NO_SLOT);
    disk_tier_close(d);
}

static void others_give_way(void **state)
{
    (void)state;
    char name[8];
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "m%d", i);
        struct disk_tier *d = open_tier(name, 0);
        for (uint32_t c = 0; c < 20; c++)
            write_chain(d, c, CHAIN); /* 2 MB */
        disk_tier_close(d);
    }
    struct disk_tier *d = open_tier("m9", 10 << 20); /* others may have half of it */
    disk_tier_close(d);
    uint32_t n_left = 0;
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "m%d", i);
        d = open_tier(name, 1 << 30);
        n_left += check_found(d) == 20 * CHAIN;
        disk_tier_close(d);
    }
    assert_true(n_left >= 1 && n_left <= 2);
}

/* ---- damage ---- */

static char segment[300];

static void find_segment(void)
{
    DIR *dir = opendir(temp_folder);
    const struct dirent *item;
    while ((item = readdir(dir)))
        if (item->d_name[0] != '.')
            snprintf(segment, sizeof segment, "%s/%s/00000000.kv", temp_folder, item->d_name);
    closedir(dir);
}

/* Only this segment is there, as it was. */
static void put_back(const char *whole)
{
    char command[800];
    snprintf(command, sizeof command, "rm -f %s/*/*.kv; cp --sparse=always %s %s", temp_folder,
             whole, segment);
    assert_int_equal(system(command), 0);
}

static void damage_costs_nothing_but_the_page(void **state)
{
    (void)state;
    char whole[320];
    struct disk_tier *d = open_tier("a", 100 << 20);
    write_chain(d, 1, CHAIN);
    disk_tier_close(d);
    find_segment();
    snprintf(whole, sizeof whole, "%s/whole", temp_folder);
    assert_int_equal(rename(segment, whole), 0);
    struct stat st;
    assert_int_equal(stat(whole, &st), 0);
    const off_t first_slot = 4096 + (1024 * ENTRY_BYTES + 4095) / 4096 * 4096;
    /* every byte of the header and of the first entry, and some of the pages */
    for (off_t at = 0; at < st.st_size;
         at += at < 64 || (at >= 4096 && at < 4096 + ENTRY_BYTES) ? 1 : at < 4096 ? 4032 : 1013) {
        put_back(whole);
        int fd = open(segment, O_RDWR);
        uint8_t byte;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= (uint8_t)(1 << at % 8);
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        close(fd);
        d = open_tier("a", 100 << 20);
        uint32_t n = check_found(d);
        disk_tier_close(d);
        if (at < 64)
            assert_int_equal(n, 0);
        else if (at >= 4096 && at < 4096 + ENTRY_BYTES)
            assert_int_equal(n, CHAIN - 1);
        else
            assert_true(n >= CHAIN - 1);
        if (at > first_slot + CHAIN * 8192)
            break;
    }
    /* cut anywhere */
    const off_t cuts[] = {0, 1, 63, 64, 4096, 4500, first_slot - 1, first_slot, first_slot + 4999,
                          first_slot + 5000, first_slot + 8192 * 3 + 17};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        put_back(whole);
        assert_int_equal(truncate(segment, cuts[i]), 0);
        d = open_tier("a", 100 << 20);
        uint32_t n = check_found(d);
        assert_int_equal(n, cuts[i] < first_slot + 5000   ? 0
                            : cuts[i] < first_slot + 8192 ? 1
                                                          : 3);
        write_chain(d, 2, 2); /* it goes on */
        disk_tier_close(d);
        d = open_tier("a", 100 << 20);
        assert_int_equal(check_found(d), n + 2);
        disk_tier_close(d);
    }
    /* somebody else's file stays as it is */
    int fd = open(segment, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "not a page", 10), 10);
    close(fd);
    d = open_tier("a", 100 << 20);
    assert_int_equal(check_found(d), 0);
    write_chain(d, 1, 1);
    disk_tier_close(d);
    assert_int_equal(stat(segment, &st), 0);
    assert_int_equal(st.st_size, 10);
}

static void write_forever(void)
{
    struct error err;
    const struct disk_options options = {temp_folder, "a", 20 << 20};
    static uint8_t page[PAGE_BYTES];
    struct disk_tier *d = disk_tier_open(&options, PAGE_BYTES, &err);
    size_t n;
    if (!d)
        _exit(1);
    for (uint32_t c = (uint32_t)getpid() * 1000;; c++) {
        struct disk_label label = label_of(c, 0);
        struct disk_done done;
        content_of(&label, page);
        uint32_t slot = disk_tier_take(d);
        if (slot == DISK_NO_SLOT) { /* slots are used again, too */
            disk_tier_forget_found(d);
            disk_tier_found(d, &n);
            for (slot = 0; slot < 1024; slot++)
                disk_tier_free(d, slot);
            continue;
        }
        disk_tier_write(d, slot, &label, bytes_of, page);
        while (!disk_tier_done(d, &done))
            ;
    }
}

static void a_killed_process_leaves_only_whole_pages(void **state)
{
    (void)state;
    uint32_t n = 0;
    for (unsigned round = 0; round < 25; round++) {
        pid_t child = fork();
        if (!child)
            write_forever();
        usleep(5000 + (useconds_t)(round * 7919 % 40000));
        kill(child, SIGKILL);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        struct disk_tier *d = open_tier("a", 20 << 20);
        size_t n_found;
        disk_tier_found(d, &n_found);
        n = check_found(d);
        assert_int_equal(n, n_found); /* nothing torn, not even noticed: entries come after pages */
        disk_tier_close(d);
    }
    assert_true(n > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_TEMP_FOLDER(what_was_written_comes_back),
        TEST_IN_TEMP_FOLDER(one_process_has_a_folder),
        TEST_IN_TEMP_FOLDER(files_are_the_owners_alone),
        TEST_IN_TEMP_FOLDER(the_budget_holds),
        TEST_IN_TEMP_FOLDER(others_give_way),
        TEST_IN_TEMP_FOLDER(damage_costs_nothing_but_the_page),
        TEST_IN_TEMP_FOLDER(a_killed_process_leaves_only_whole_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
