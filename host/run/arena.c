// SPDX-License-Identifier: Apache-2.0
#include "host/run/arena.h"

#include "host/net/udp_batch.h"
#include "host/run/arena_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Pages come with use: bursts of single datagrams touch the beginning of each buffer only. */
static const uint64_t RX_BYTES = (uint64_t)UDP_BATCH * UDP_BUFFER;
static const uint64_t TX_BYTES = (uint64_t)ABI_PACKET_STRIDE * ABI_REGION_PACKETS;

static const uint64_t PAGE = 4096;

static void *map_anonymous(uint64_t bytes)
{
    return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static int open_backing(const char *dir, uint32_t shard, struct arena *a)
{
    int n;

    if (dir == NULL) {
        return memfd_create("avocado-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
    n = snprintf(a->path, sizeof(a->path), "%s/avocado-arena-%ld-%u", dir, (long)getpid(), shard);
    if (n < 0 || (size_t)n >= sizeof(a->path)) {
        a->path[0] = 0;
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(a->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* Pages of the file's mapping: 2 MiB and more on hugetlbfs, which takes whole ones only. */
static uint64_t block_of(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && (uint64_t)fs.f_bsize > PAGE ? (uint64_t)fs.f_bsize : PAGE;
}

RESULT arena_map(const char *dir, uint32_t shard, uint64_t arena_bytes, struct arena *ret)
{
    struct arena a = {0};
    void *arena, *rx, *tx;
    uint64_t block;

    a.fd = open_backing(dir, shard, &a);
    if (a.fd < 0) {
        return ERR_IO;
    }
    block = block_of(a.fd);
    arena_bytes = (arena_bytes + block - 1) / block * block;
    if (ftruncate(a.fd, (off_t)arena_bytes) != 0) {
        goto fail;
    }
    if (dir == NULL) { /* nobody has a reason to change its size */
        (void)fcntl(a.fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
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
    arena_watch(&a.regions, block);
    *ret = a;
    return OK;
fail:
    if (a.path[0] != 0) {
        (void)unlink(a.path);
    }
    (void)close(a.fd);
    return ERR_IO;
}

uint64_t arena_drop(const struct abi_regions *r, uint64_t off, uint64_t len)
{
    if (len == 0 || off % PAGE != 0 || len % PAGE != 0 || off > r->arena_bytes ||
        len > r->arena_bytes - off) {
        return 0;
    }
    /* Of the shared memory itself, not only of our view of it. */
    return madvise(r->arena + off, len, MADV_REMOVE) == 0 ? len : 0;
}

void arena_unmap(struct arena *a)
{
    arena_unwatch(&a->regions);
    (void)munmap(a->regions.rx, a->regions.rx_bytes);
    (void)munmap(a->regions.tx, a->regions.tx_bytes);
    (void)munmap(a->regions.arena, a->regions.arena_bytes);
    (void)close(a->fd);
    if (a->path[0] != 0) {
        (void)unlink(a->path);
    }
}
