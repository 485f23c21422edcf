// SPDX-License-Identifier: Apache-2.0
#include "tools/slurp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FIRST_CHUNK = 4096,
    PATH_LEN_MAX = 512,
};

/* Room for at least one more byte beyond n, doubling; false when there is no memory. */
static bool grow(uint8_t **p, size_t n, size_t *cap)
{
    size_t want = *cap == 0 ? FIRST_CHUNK : *cap * 2;
    uint8_t *q;

    if (n + 1 < *cap) {
        return true;
    }
    q = realloc(*p, want);
    if (q == NULL) {
        return false;
    }
    *p = q;
    *cap = want;
    return true;
}

enum slurp_result slurp(int fd, size_t max, uint8_t **ret, size_t *ret_n)
{
    uint8_t *p = NULL;
    size_t n = 0, cap = 0;

    for (;;) {
        ssize_t got;

        if (!grow(&p, n, &cap)) {
            errno = ENOMEM;
            break;
        }
        got = read(fd, p + n, cap - n - 1);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            break;
        }
        n += (size_t)got;
        if (n > max) {
            free(p);
            return SLURP_TOO_BIG;
        }
        if (got == 0) {
            p[n] = '\0';
            *ret = p;
            *ret_n = n;
            return SLURP_OK;
        }
    }
    free(p);
    return SLURP_FAILED;
}

enum slurp_result slurp_at(int dir, const char *path, size_t max, uint8_t **ret, size_t *ret_n)
{
    int fd = openat(dir, path, O_RDONLY | O_CLOEXEC), saved;
    enum slurp_result result;

    if (fd < 0) {
        return SLURP_FAILED;
    }
    result = slurp(fd, max, ret, ret_n);
    saved = errno;
    (void)close(fd);
    errno = saved;
    return result;
}

static bool write_all(int fd, const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return false;
        }
        p += done;
        n -= (size_t)done;
    }
    return true;
}

bool spit_at(const struct spit *how, const char *path, const void *p, size_t n)
{
    char temporary[PATH_LEN_MAX];
    const char *target = path;
    bool ok;
    int fd, saved;

    if (how->may_replace) {
        if ((size_t)snprintf(temporary, sizeof(temporary), "%s.new", path) >= sizeof(temporary)) {
            errno = ENAMETOOLONG;
            return false;
        }
        (void)unlinkat(how->dir, temporary, 0); /* of a run that was interrupted */
        target = temporary;
    }
    fd = openat(how->dir, target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, how->mode);
    if (fd < 0) {
        return false;
    }
    /* The umask may have taken bits of the mode away, never added any. */
    ok = write_all(fd, p, n) && fsync(fd) == 0;
    saved = errno;
    ok = close(fd) == 0 && ok;
    if (ok && how->may_replace) {
        ok = renameat(how->dir, temporary, how->dir, path) == 0;
        saved = errno;
    }
    if (!ok) {
        (void)unlinkat(how->dir, target, 0);
        errno = saved;
    }
    return ok;
}
