#include "base/file_map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where files are mapped now. A slot is taken when `data` is not NULL, and says the truth when it
 * is not `filling` either. More maps than slots are maps whose faults nobody explains. */
enum { MAP_SLOTS = 64, MAP_NAME = 512 };

static struct slot {
    _Atomic(const uint8_t *) data;
    size_t size;
    char name[MAP_NAME];
} map_slots[MAP_SLOTS];

static const uint8_t filling[1];

static void slot_take(const struct file_map *map, const char *path)
{
    const size_t n = strlen(path);
    for (size_t i = 0; i < MAP_SLOTS; i++) {
        struct slot *slot = &map_slots[i];
        const uint8_t *none = NULL;
        if (!atomic_compare_exchange_strong(&slot->data, &none, filling))
            continue;
        slot->size = map->size;
        snprintf(slot->name, MAP_NAME, "%s", n < MAP_NAME ? path : path + n - MAP_NAME + 1);
        atomic_store(&slot->data, map->data);
        return;
    }
}

static void slot_give_back(const struct file_map *map)
{
    for (size_t i = 0; i < MAP_SLOTS; i++)
        if (atomic_load(&map_slots[i].data) == map->data)
            atomic_store(&map_slots[i].data, NULL);
}

const char *file_map_find(const void *address)
{
    const uintptr_t at = (uintptr_t)address;
    for (size_t i = 0; i < MAP_SLOTS; i++) {
        const uint8_t *data = atomic_load(&map_slots[i].data);
        if (data && data != filling && at >= (uintptr_t)data &&
            at - (uintptr_t)data < map_slots[i].size)
            return map_slots[i].name;
    }
    return NULL;
}

static int64_t modified_ns(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

bool file_map_is_written_to(const struct file_map *map, const char *path)
{
    struct stat st;
    return map->data && !stat(path, &st) && st.st_dev == map->device && st.st_ino == map->inode &&
           modified_ns(&st) != map->modified_ns;
}

static bool map_descriptor(struct file_map *map, int fd, const char *path, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st))
        return error_set(err, ERROR_IO, "cannot read %s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return error_set(err, ERROR_INPUT, "%s is not a file", path);
    if (!st.st_size)
        return true;
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        return error_set(err, ERROR_IO, "cannot map %s: %s", path, strerror(errno));
    map->data = data;
    map->size = (size_t)st.st_size;
    map->modified_ns = modified_ns(&st);
    map->device = st.st_dev;
    map->inode = st.st_ino;
    slot_take(map, path);
    return true;
}

bool file_map_open(struct file_map *map, const char *path, struct error *err)
{
    *map = (struct file_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would wait */
    if (fd < 0)
        return error_set(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, "cannot open %s: %s",
                         path, strerror(errno));
    bool ok = map_descriptor(map, fd, path, err);
    close(fd);
    return ok;
}

void file_map_close(struct file_map *map)
{
    if (map->data) {
        slot_give_back(map);
        munmap((void *)map->data, map->size);
    }
    *map = (struct file_map){0};
}

void file_map_forget(const struct file_map *map)
{
    if (map->data)
        madvise((void *)map->data, map->size, MADV_DONTNEED);
}
