// SPDX-License-Identifier: Apache-2.0
#include "host/net/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FIXED_FDS = 3, /* memory and two bells */
    FDS_MAX = FIXED_FDS + SHARDS_MAX,
    SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
};

union control {
    struct cmsghdr head;
    uint8_t bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
};

static uint8_t *map(int fd, uint32_t shards)
{
    void *p = mmap(NULL, ring_memory_bytes(shards), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    return p == MAP_FAILED ? NULL : p;
}

/* Allocated in full: touching it cannot fail later. */
static int make_memory(uint32_t shards)
{
    off_t bytes = (off_t)ring_memory_bytes(shards);
    int fd = memfd_create("avocado-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd >= 0 && (ftruncate(fd, bytes) != 0 || fallocate(fd, 0, 0, bytes) != 0 ||
                    fcntl(fd, F_ADD_SEALS, SEALS) != 0)) {
        int saved = errno;

        (void)close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

/* The one message: version, and memory and bells beside it, or a text that says why not. */
struct message {
    uint32_t version;
    char text[HANDOVER_WHY];
};

static void close_all(const int *fds, uint32_t n)
{
    int saved = errno;

    for (uint32_t i = 0; i < n; i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    errno = saved;
}

RESULT handover_make(int socket, uint32_t shards, struct handover *ret)
{
    struct handover h = {.shards = shards, .socket = socket, .fd = make_memory(shards)};
    bool good;

    h.memory = h.fd < 0 ? NULL : map(h.fd, shards);
    h.bell_replica = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    h.bell_host = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    good = h.memory != NULL && h.bell_replica >= 0 && h.bell_host >= 0;
    for (uint32_t i = 0; i < shards; i++) {
        h.bell_shard[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        good = good && h.bell_shard[i] >= 0;
    }
    if (!good) {
        return ERR_IO; /* the process ends: whatever was made goes with it */
    }
    *(struct ring_page *)(void *)h.memory =
        (struct ring_page){.version = RING_VERSION, .shards = shards};
    *ret = h;
    return OK;
}

RESULT handover_give(struct handover *h)
{
    struct message text = {.version = RING_VERSION};
    struct iovec iov = {&text, sizeof(text)};
    uint32_t n = FIXED_FDS + h->shards;
    union control c = {0};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = c.bytes,
                       .msg_controllen = CMSG_SPACE(sizeof(int) * n)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&m);
    int fds[FDS_MAX] = {h->fd, h->bell_replica, h->bell_host};

    memcpy(fds + FIXED_FDS, h->bell_shard, sizeof(int) * h->shards);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int) * n);
    memcpy(CMSG_DATA(head), fds, sizeof(int) * n);
    if (sendmsg(h->socket, &m, MSG_NOSIGNAL) != sizeof(text)) {
        return ERR_IO;
    }
    (void)close(h->fd);
    h->fd = -1;
    return OK;
}

void handover_refuse(int socket, const char *why)
{
    struct message text = {.version = RING_VERSION};

    (void)snprintf(text.text, sizeof(text.text), "%s", why);
    (void)!send(socket, &text, sizeof(text), MSG_NOSIGNAL);
}

/* How many descriptors came; all of them are ours to close. -1: errno tells. */
static int receive(int socket, struct message *ret, int fds[static FDS_MAX])
{
    struct iovec iov = {ret, sizeof(*ret)};
    union control c = {0};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.bytes, .msg_controllen = sizeof(c)};
    const struct cmsghdr *head;
    ssize_t got;
    size_t n = 0;

    do {
        got = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return -1;
    }
    head = CMSG_FIRSTHDR(&m);
    if (head != NULL && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS) {
        n = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(head), n * sizeof(int));
    }
    if (got != sizeof(*ret)) {
        ret->version = 0;
    }
    return (int)n;
}

/* For our log: one line, nothing that a terminal obeys. */
static void copy_text(const char from[static HANDOVER_WHY], char to[static HANDOVER_WHY])
{
    size_t n = 0;

    while (n < HANDOVER_WHY - 1 && from[n] != '\0') {
        if (from[n] >= ' ' && from[n] <= '~') {
            to[n] = from[n];
        } else {
            to[n] = '?';
        }
        n++;
    }
    to[n] = '\0';
    if (n == 0) {
        (void)snprintf(to, HANDOVER_WHY, "the host ended before it gave memory");
    }
}

/* RING-5 */
static const char *check(uint32_t version, const int *fds, uint32_t n, uint32_t shards)
{
    struct stat st;
    int seals;

    if (version != RING_VERSION) {
        return "the host speaks another version of the rings";
    }
    if (n != FIXED_FDS + shards) {
        return "the host made rings for another number of shards";
    }
    seals = fcntl(fds[0], F_GET_SEALS);
    if (fstat(fds[0], &st) != 0 || (uint64_t)st.st_size != ring_memory_bytes(shards) || seals < 0 ||
        (seals & F_SEAL_SHRINK) == 0) {
        return "the memory of the rings has a wrong size, or could be taken away later";
    }
    for (uint32_t i = 1; i < n; i++) {
        if (fcntl(fds[i], F_SETFL, O_NONBLOCK) != 0) {
            return "a bell of the host is none";
        }
    }
    return NULL;
}

RESULT handover_take(int socket, uint32_t shards, struct handover *ret,
                     char why[static HANDOVER_WHY])
{
    struct handover h = {.shards = shards, .socket = socket, .fd = -1};
    struct message text = {0};
    int fds[FDS_MAX];
    int n = receive(socket, &text, fds);
    const char *wrong;

    if (n < 0) {
        (void)snprintf(why, HANDOVER_WHY, "%s", strerror(errno));
        return ERR_IO;
    }
    if (n == 0) {
        copy_text(text.text, why);
        return ERR_BOUNDARY;
    }
    wrong = check(text.version, fds, (uint32_t)n, shards);
    h.memory = wrong != NULL ? NULL : map(fds[0], shards);
    if (h.memory == NULL) {
        (void)snprintf(why, HANDOVER_WHY, "%s", wrong != NULL ? wrong : strerror(errno));
        close_all(fds, (uint32_t)n);
        return wrong != NULL ? ERR_BOUNDARY : ERR_IO;
    }
    (void)close(fds[0]);
    h.bell_replica = fds[1];
    h.bell_host = fds[2];
    memcpy(h.bell_shard, fds + FIXED_FDS, sizeof(int) * shards);
    *ret = h;
    return OK;
}

void handover_close(struct handover *h)
{
    (void)munmap(h->memory, ring_memory_bytes(h->shards));
    (void)close(h->socket);
    (void)close(h->bell_replica);
    (void)close(h->bell_host);
    close_all(h->bell_shard, h->shards);
}
