/* LD_PRELOAD: a disk that fails and a clock that jumps, for tests/fuzz/disks.py.
 *
 * FAULTY_UNDER: files whose path begins so fail with EIO after FAULTY_AFTER writes.
 * FAULTY_CLOCK: the wall clock jumps by up to so many seconds, forth and back, at each reading.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static long n_writes;

static int fails(int fd) {
    const char *under = getenv("FAULTY_UNDER");
    char link[64], path[4096];
    if (!under) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0) return 0;
    path[size] = 0;
    if (strncmp(path, under, strlen(under)) != 0) return 0;
    if (__sync_add_and_fetch(&n_writes, 1) <= atol(getenv("FAULTY_AFTER"))) return 0;
    errno = EIO;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t n) {
    return fails(fd) ? -1 : REAL(write)(fd, data, n);
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) {
    return fails(fd) ? -1 : REAL(pwrite)(fd, data, n, at);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    return fails(fd) ? -1 : REAL(pwrite64)(fd, data, n, at);
}
int fsync(int fd) { return fails(fd) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails(fd) ? -1 : REAL(fdatasync)(fd); }
int ftruncate(int fd, off_t n) { return fails(fd) ? -1 : REAL(ftruncate)(fd, n); }

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = REAL(clock_gettime)(clock, now);
    const char *jump = getenv("FAULTY_CLOCK");
    if (!failed && jump && clock == CLOCK_REALTIME) {
        long most = atol(jump);
        now->tv_sec += (now->tv_nsec / 1000 * 7919) % (2 * most + 1) - most;
    }
    return failed;
}
