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

static int open_file(const char *dir, uint32_t shard, struct arena *a)
{
    int n =
        snprintf(a->path, sizeof(a->path), "%s/avocado-arena-%ld-%u", dir, (long)getpid(), shard);

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

static void close_file(struct arena *a)
{
    if (a->fd >= 0) {
        (void)close(a->fd);
        (void)unlink(a->path);
    }
}

/* *bytes is rounded up to whole blocks. */
static void *map_file(const char *dir, uint32_t shard, struct arena *a, uint64_t *bytes,
                      uint64_t *ret_block)
{
    uint64_t block;

    a->fd = open_file(dir, shard, a);
    if (a->fd < 0) {
        return MAP_FAILED;
    }
    block = *ret_block = block_of(a->fd);
    *bytes = (*bytes + block - 1) / block * block;
    if (ftruncate(a->fd, (off_t)*bytes) != 0) {
        return MAP_FAILED;
    }
    return mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, a->fd, 0);
}

RESULT arena_map(const char *dir, uint32_t shard, uint64_t arena_bytes, struct arena *ret)
{
    struct arena a = {.fd = -1};
    uint64_t bytes = (arena_bytes + PAGE - 1) / PAGE * PAGE, block = PAGE;
    void *arena = dir == NULL ? mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
                              : map_file(dir, shard, &a, &bytes, &block);
    void *rx = map_anonymous(RX_BYTES), *tx = map_anonymous(TX_BYTES);

    if (arena == MAP_FAILED || rx == MAP_FAILED || tx == MAP_FAILED) {
        close_file(&a); /* the process ends: whatever was mapped goes with it */
        return ERR_IO;
    }
    (void)madvise(arena, bytes, MADV_HUGEPAGE);
    a.regions = (struct abi_regions){.rx = rx,
                                     .tx = tx,
                                     .arena = arena,
                                     .rx_bytes = RX_BYTES,
                                     .tx_bytes = TX_BYTES,
                                     .arena_bytes = bytes};
    arena_watch(&a.regions, block);
    *ret = a;
    return OK;
}

uint64_t arena_drop(const struct arena *a, uint64_t off, uint64_t len)
{
    const struct abi_regions *r = &a->regions;
    /* Of a file, the memory itself and not only our view of it. */
    int how = a->fd < 0 ? MADV_DONTNEED : MADV_REMOVE;

    if (len == 0 || off % PAGE != 0 || len % PAGE != 0 || off > r->arena_bytes ||
        len > r->arena_bytes - off) {
        return 0;
    }
    return madvise(r->arena + off, len, how) == 0 ? len : 0;
}

void arena_unmap(struct arena *a)
{
    arena_unwatch(&a->regions);
    (void)munmap(a->regions.rx, a->regions.rx_bytes);
    (void)munmap(a->regions.tx, a->regions.tx_bytes);
    (void)munmap(a->regions.arena, a->regions.arena_bytes);
    close_file(a);
}
