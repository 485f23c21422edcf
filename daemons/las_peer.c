// SPDX-License-Identifier: Apache-2.0
#include "daemons/las_peer.h"

#include "trusted/config/explain.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    CACHE_N = 32,
    SETTLED_S = 2, /* a file that changed just now may change again within one tick of its clock */
};

/* What was measured, by everything that the kernel changes when the contents change. A running
 * program's file cannot be written (ETXTBSY), and ctime cannot be set. */
static struct cached {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime, ctime;
    uint8_t measurement[MEASUREMENT_LEN];
    bool used;
} cache[CACHE_N];
static unsigned cache_next;

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static const struct cached *find(const struct stat *st)
{
    for (unsigned i = 0; i < CACHE_N; i++) {
        const struct cached *c = &cache[i];

        if (c->used && c->dev == st->st_dev && c->ino == st->st_ino && c->size == st->st_size &&
            same_time(c->mtime, st->st_mtim) && same_time(c->ctime, st->st_ctim)) {
            return c;
        }
    }
    return NULL;
}

static void keep(const struct stat *st, const uint8_t measurement[static MEASUREMENT_LEN])
{
    struct cached *c = &cache[cache_next++ % CACHE_N];

    if (time(NULL) - st->st_ctim.tv_sec < SETTLED_S) {
        return;
    }
    *c = (struct cached){.dev = st->st_dev,
                         .ino = st->st_ino,
                         .size = st->st_size,
                         .mtime = st->st_mtim,
                         .ctime = st->st_ctim,
                         .used = true};
    memcpy(c->measurement, measurement, sizeof(c->measurement));
}

static int open_exe(pid_t pid)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static bool is_alive(int pidfd)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    return poll(&p, 1, 0) == 0;
}

static enum err measure(int fd, struct las_peer *p, struct explain *why)
{
    struct stat before, after;
    const struct cached *known = NULL;

    if (fstat(fd, &before) != 0) {
        explain(why, "the executable of process %d cannot be looked at: %s", (int)p->pid,
                strerror(errno));
        return ERR_IO;
    }
    p->dev = before.st_dev;
    p->ino = before.st_ino;
    known = find(&before);
    if (known != NULL) {
        memcpy(p->measurement, known->measurement, sizeof(p->measurement));
        return OK;
    }
    TRY(measure_fd(fd, p->measurement, why));
    if (fstat(fd, &after) != 0 || !same_time(before.st_ctim, after.st_ctim)) {
        explain(why, "the executable of process %d changed while it was measured", (int)p->pid);
        return ERR_POLICY;
    }
    keep(&before, p->measurement);
    return OK;
}

RESULT las_peer_measure(pid_t pid, struct las_peer *ret, struct explain *why)
{
    struct las_peer p = {.pid = pid, .pidfd = (int)syscall(SYS_pidfd_open, pid, 0)};
    int fd = p.pidfd < 0 ? -1 : open_exe(pid);
    enum err err = OK;

    if (fd < 0) {
        bool hidden = errno == EACCES || errno == EPERM;

        explain(why, "process %d %s: %s", (int)pid,
                hidden ? "hides its executable from this LAS, which needs CAP_SYS_PTRACE"
                       : "cannot be found",
                strerror(errno));
        las_peer_close(&p);
        return hidden ? ERR_POLICY : ERR_NOT_FOUND;
    }
    err = measure(fd, &p, why);
    (void)close(fd);
    /* Alive now, so its number meant it all the while: what was opened was its own executable. */
    if (err == OK && !is_alive(p.pidfd)) {
        explain(why, "process %d has ended", (int)pid);
        err = ERR_NOT_FOUND;
    }
    if (err != OK) {
        las_peer_close(&p);
        return err;
    }
    *ret = p;
    return OK;
}

bool las_peer_is_same(const struct las_peer *p)
{
    int fd = open_exe(p->pid);
    struct stat st;
    bool same = fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == p->dev && st.st_ino == p->ino &&
                is_alive(p->pidfd);

    if (fd >= 0) {
        (void)close(fd);
    }
    return same;
}

void las_peer_close(struct las_peer *p)
{
    if (p->pidfd >= 0) {
        (void)close(p->pidfd);
    }
    p->pidfd = -1;
}
