// SPDX-License-Identifier: Apache-2.0
#include "host/run/arena.h"

#include "host/net/udp_batch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Pages come with use: bursts of single datagrams touch the beginning of each buffer only. */
static const uint64_t RX_BYTES = (uint64_t)UDP_BATCH * UDP_BUFFER;
static const uint64_t TX_BYTES = (uint64_t)ABI_PACKET_STRIDE * ABI_REGION_PACKETS;

static void *map_anonymous(uint64_t bytes)
{
    return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static int open_backing(const char *dir, uint32_t shard, struct arena *a)
{
    int n;

    if (dir == NULL) {
        return memfd_create("avocado-arena", MFD_CLOEXEC);
    }
    n = snprintf(a->path, sizeof(a->path), "%s/avocado-arena-%ld-%u", dir, (long)getpid(), shard);
    if (n < 0 || (size_t)n >= sizeof(a->path)) {
        a->path[0] = 0;
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(a->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
}

RESULT arena_map(const char *dir, uint32_t shard, uint64_t arena_bytes, struct arena *ret)
{
    struct arena a = {0};
    void *arena, *rx, *tx;

    a.fd = open_backing(dir, shard, &a);
    if (a.fd < 0) {
        return ERR_IO;
    }
    if (ftruncate(a.fd, (off_t)arena_bytes) != 0) {
        goto fail;
    }
    arena = mmap(NULL, arena_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, a.fd, 0);
    rx = map_anonymous(RX_BYTES);
    tx = map_anonymous(TX_BYTES);
    if (arena == MAP_FAILED || rx == MAP_FAILED || tx == MAP_FAILED) {
        goto fail; /* the process ends: whatever was mapped goes with it */
    }
    (void)madvise(arena, arena_bytes, MADV_HUGEPAGE);
    a.regions = (struct abi_regions){.rx = rx,
                                     .tx = tx,
                                     .arena = arena,
                                     .rx_bytes = RX_BYTES,
                                     .tx_bytes = TX_BYTES,
                                     .arena_bytes = arena_bytes};
    *ret = a;
    return OK;
fail:
    if (a.path[0] != 0) {
        (void)unlink(a.path);
    }
    (void)close(a.fd);
    return ERR_IO;
}

void arena_unmap(struct arena *a)
{
    (void)munmap(a->regions.rx, a->regions.rx_bytes);
    (void)munmap(a->regions.tx, a->regions.tx_bytes);
    (void)munmap(a->regions.arena, a->regions.arena_bytes);
    (void)close(a->fd);
    if (a->path[0] != 0) {
        (void)unlink(a->path);
    }
}
