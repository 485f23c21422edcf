// SPDX-License-Identifier: Apache-2.0
#ifndef BOUNDARY_RING_H
#define BOUNDARY_RING_H

/*
 * Split mode: a ring of records in memory that two processes share, one producer, one consumer, and
 * neither trusts the other.
 *
 *    shared                                    private to each end (struct ring)
 *    +-----------+-----------+--------+        own     our position; never read back
 *    | produced  | consumed  | asleep |        other   the last good position of the other end
 *    +-----------+-----------+--------+
 *    | record | payload | record | payload | skip ......|    `size` bytes, positions grow for ever
 *    +--------------------------------------------------+
 *
 * Whoever reads a word of shared memory reads it once, checks the copy, and uses the copy
 * (docs/protocol/ring.md). A position that cannot be is counted and never followed. Payload is
 * named by its offset; who uses it copies it once.
 *
 * One thread per end; the two ends may run at the same instant. No system call, no allocation.
 */

#include "boundary/abi.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RING_VERSION = 2,
    RING_LINE = 64,              /* records and payloads start on a line */
    RING_PAYLOAD_MAX = 16384,    /* of any record */
    RING_PAGE = 4096,            /* shared words of one ring, and the first page of the memory */
    RING_PACKETS_SIZE = 1 << 20, /* data of a ring of packets */
    RING_STREAMS_SIZE = 1 << 18, /* data of a ring of stream frames */
};

/* As it lies in shared memory. */
struct ring_record {
    uint32_t len; /* bytes of payload, or RING_SKIP */
    uint32_t kind;
    uint32_t stream;
    uint32_t zero;
    struct abi_addr addr;
};
#define RING_SKIP UINT32_MAX /* nothing follows before the end of the data */

enum ring_kind {
    RING_PACKET = 1, /* a datagram; addr: where it came from or goes to */

    /* Frames of streams. `stream` is the number that whoever opened the stream gave it: the host
     * for what it accepted (the top bit is set), the replica for what it dials. */
    RING_ACCEPTED,  /* to the replica: somebody connected */
    RING_DIAL,      /* to the host: connect to addr */
    RING_CONNECTED, /* to the replica: the dial succeeded */
    RING_DATA,      /* both: bytes of the stream, in order */
    RING_WRITTEN,   /* to the replica: as many bytes as the payload's u64 says have left */
    RING_CLOSE,     /* to the host: send what was given, then close */
    RING_DROP,      /* to the host: close at once */
    RING_CLOSED,    /* to the replica: the stream has ended, or the dial failed */
};
#define RING_STREAM_OF_HOST UINT32_C(0x80000000)

/* The shared words, each on a line of its own. */
struct ring_shared {
    _Alignas(RING_LINE) uint64_t produced; /* the producer's */
    _Alignas(RING_LINE) uint64_t consumed; /* the consumer's */
    _Alignas(RING_LINE) uint32_t asleep;   /* 1: the consumer waits; whoever clears it wakes it */
};

/* The host's clock: ns = ns_base + (tsc - tsc_base) * mult / 2^32. A hint, RING-7. `mult` 0: none.
 */
struct ring_clock {
    uint32_t seq; /* odd while it is written */
    uint32_t zero;
    uint64_t tsc_base, ns_base, mult;
};

/* The first page of the memory. Each end works out the rest from the number of shards that it was
 * told by its owner. */
struct ring_page {
    uint32_t version;
    uint32_t shards;
    uint32_t index_key; /* how the host knows connection indexes, CTL-7; 0: it does not */
    uint8_t zero[RING_LINE - 12];
    struct ring_clock clock;             /* on a line of its own */
    uint64_t kernel_dropped[SHARDS_MAX]; /* the host's, by shard: for statistics */
};

struct ring {
    struct ring_shared *shared;
    uint8_t *data;
    uint32_t size;
    uint32_t payload_max;
    uint64_t own, other;
    uint64_t seen;    /* consumer: how far the producer was, when we looked */
    uint64_t refused; /* consumer: what it said instead; not looked at again, nor counted twice */
    uint64_t bad;     /* positions, lengths and records that cannot be */
};

/* Of one process's memory: which ring. */
enum ring_which {
    RING_TO_REPLICA,
    RING_TO_HOST,
};

/* Bytes of the whole memory. */
uint64_t ring_memory_bytes(uint32_t shards);
/* Our end of a ring of packets (`shard` below `shards`) or of the streams. `memory` is what
 * ring_memory_bytes says, on a page. Both ends start at position 0: one memory, one life. */
struct ring ring_of_packets(uint8_t *memory, uint32_t shard, enum ring_which which);
struct ring ring_of_streams(uint8_t *memory, enum ring_which which);

/* ---- the consumer ---- */

/* The next record, copied and checked, and where in r->data its payload lies; false when there is
 * none. Records that cannot be are counted and skipped together with all that is there. */
bool ring_next(struct ring *r, struct ring_record *ret, uint32_t *ret_off);
/* Gives back the room of all records that ring_next gave: their payloads have been used. */
void ring_release(struct ring *r);
/* Says that we are about to wait. False, and we are awake again: something is there. */
bool ring_doze(struct ring *r);
void ring_awake(struct ring *r);

/* ---- the producer ---- */

/* Room for a payload of up to n <= payload_max bytes; NULL: full. */
uint8_t *ring_reserve(struct ring *r, uint32_t n);
/* Adds the record whose payload was written where ring_reserve said; record->len is at most n. The
 * other end sees it after ring_publish. */
void ring_add(struct ring *r, const struct ring_record *record);
void ring_publish(struct ring *r);
/* After ring_publish: whether the consumer waits and must be woken; it then counts as awake. */
bool ring_must_wake(struct ring *r);

_Static_assert(sizeof(struct ring_record) == 40, "layout is part of the ABI");
_Static_assert(sizeof(struct ring_shared) == (size_t)3 * RING_LINE, "layout is part of the ABI");
_Static_assert(RING_PACKETS_SIZE >= 2 * (int)ABI_PACKET_STRIDE * ABI_REGION_PACKETS,
               "two bursts of the largest packets fit");
_Static_assert((int)RING_PAYLOAD_MAX >= (int)DATAGRAM_MAX, "a packet fits");
_Static_assert(sizeof(struct ring_page) <= RING_PAGE, "the first page holds it");

#endif
