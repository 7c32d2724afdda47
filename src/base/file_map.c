#include "base/file_map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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
    return true;
}

bool file_map_open(struct file_map *map, const char *path, struct error *err)
{
    *map = (struct file_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, "cannot open %s: %s",
                         path, strerror(errno));
    bool ok = map_descriptor(map, fd, path, err);
    close(fd);
    return ok;
}

void file_map_close(struct file_map *map)
{
    if (map->data)
        munmap((void *)map->data, map->size);
    *map = (struct file_map){0};
}
