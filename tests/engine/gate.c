#include "gate.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { MOST_SECONDS = 60 };

static atomic_bool is_closed, has_given_up;
static atomic_int n_waiting;
static _Atomic time_t closed_at;

static void pause_briefly(void)
{
    nanosleep(&(struct timespec){0, 1000000}, NULL);
}

/* Closed for too long, it opens. */
static void give_up_in_time(void)
{
    if (time(NULL) - closed_at > MOST_SECONDS) {
        has_given_up = true;
        is_closed = false;
    }
}

void gate_close(void)
{
    has_given_up = false;
    closed_at = time(NULL);
    is_closed = true;
}

void gate_open(void)
{
    is_closed = false;
}

void gate_wait_for_one(void)
{
    while (!n_waiting && !has_given_up) {
        give_up_in_time();
        pause_briefly();
    }
}

bool gate_has_given_up(void)
{
    return has_given_up;
}

static void pass(int fd)
{
    if (fd <= 2)
        return;
    n_waiting++;
    while (is_closed) {
        give_up_in_time();
        pause_briefly();
    }
    n_waiting--;
}

ssize_t __real_write(int fd, const void *data, size_t n);
ssize_t __real_pwrite64(int fd, const void *data, size_t n, off_t at);
ssize_t __real_pwrite(int fd, const void *data, size_t n, off_t at);
ssize_t __wrap_write(int fd, const void *data, size_t n);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t n, off_t at);
ssize_t __wrap_pwrite(int fd, const void *data, size_t n, off_t at);

ssize_t __wrap_write(int fd, const void *data, size_t n)
{
    pass(fd);
    return __real_write(fd, data, n);
}

/* It has either name, as the C library likes. */
ssize_t __wrap_pwrite64(int fd, const void *data, size_t n, off_t at)
{
    pass(fd);
    return __real_pwrite64(fd, data, n, at);
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t n, off_t at)
{
    pass(fd);
    return __real_pwrite(fd, data, n, at);
}
