// SPDX-License-Identifier: Apache-2.0
#include "boundary/ring.h"

#include <stdatomic.h>
#include <string.h>

/* RING-1: each word of shared memory is read through here, once. A build for fuzzing puts its own
 * reader in place, under which memory changes between any two reads. */
#ifdef RING_LOAD64
uint64_t RING_LOAD64(const uint64_t *p);
#else
static inline uint64_t load64(const uint64_t *p)
{
    return *(const volatile uint64_t *)p;
}
#define RING_LOAD64 load64
#endif

enum { RECORD_WORDS = sizeof(struct ring_record) / sizeof(uint64_t) };

static uint32_t lines(uint32_t n)
{
    return (n + RING_LINE - 1) & ~(uint32_t)(RING_LINE - 1);
}

/* ---- where things lie ---- */

static const uint64_t STREAMS_BYTES = RING_PAGE + RING_STREAMS_SIZE;
static const uint64_t PACKETS_BYTES = RING_PAGE + RING_PACKETS_SIZE;

uint64_t ring_memory_bytes(uint32_t shards)
{
    return RING_PAGE + 2 * STREAMS_BYTES + 2 * (uint64_t)shards * PACKETS_BYTES;
}

static struct ring ring_at(uint8_t *p, uint32_t size, uint32_t payload_max)
{
    return (struct ring){.shared = (struct ring_shared *)(void *)p,
                         .data = p + RING_PAGE,
                         .size = size,
                         .payload_max = payload_max};
}

struct ring ring_of_streams(uint8_t *memory, enum ring_which which)
{
    return ring_at(memory + RING_PAGE + (uint64_t)which * STREAMS_BYTES, RING_STREAMS_SIZE,
                   RING_PAYLOAD_MAX);
}

struct ring ring_of_packets(uint8_t *memory, uint32_t shard, enum ring_which which)
{
    uint64_t off = RING_PAGE + 2 * STREAMS_BYTES + (2 * (uint64_t)shard + which) * PACKETS_BYTES;

    return ring_at(memory + off, RING_PACKETS_SIZE, DATAGRAM_MAX);
}

/* ---- the consumer ---- */

/* RING-3: gives up all that is there. An honest producer never makes us. */
static bool refuse(struct ring *r, uint64_t produced)
{
    r->bad++;
    r->refused = produced;
    r->own = r->seen = produced & ~(uint64_t)(RING_LINE - 1);
    return false;
}

/* RING-2: positions are on lines, and not further apart than the ring is long. */
static bool distance_good(const struct ring *r, uint64_t ahead, uint64_t behind)
{
    return ahead - behind <= r->size && (ahead | behind) % RING_LINE == 0;
}

/* A position that was refused stays until the producer writes another: meanwhile there is nothing.
 */
static bool is_empty(const struct ring *r, uint64_t produced)
{
    return produced == r->own || produced == r->refused;
}

/* Whether there is a record; looks at shared memory only when all that was seen is used up. */
static bool look(struct ring *r)
{
    uint64_t produced;

    if (r->own != r->seen) {
        return true;
    }
    produced = RING_LOAD64(&r->shared->produced);
    atomic_thread_fence(memory_order_acquire);
    if (is_empty(r, produced)) {
        return false;
    }
    if (!distance_good(r, produced, r->own)) {
        return refuse(r, produced);
    }
    r->seen = produced;
    return true;
}

static void read_record(const struct ring *r, uint32_t off, struct ring_record *ret)
{
    const uint64_t *at = (const uint64_t *)(const void *)(r->data + off);
    uint64_t words[RECORD_WORDS];

    for (uint32_t i = 0; i < RECORD_WORDS; i++) {
        words[i] = RING_LOAD64(at + i);
    }
    memcpy(ret, words, sizeof(*ret));
}

bool ring_next(struct ring *r, struct ring_record *ret, uint32_t *ret_off)
{
    while (look(r)) {
        uint32_t off = (uint32_t)(r->own & (r->size - 1));
        uint32_t to_end = r->size - off;
        uint64_t left = r->seen - r->own;

        read_record(r, off, ret);
        if (ret->len == RING_SKIP) {
            if (to_end > left || off == 0) {
                return refuse(r, r->seen);
            }
            r->own += to_end; /* at most once: what follows lies at 0 */
            continue;
        }
        /* A position on a line before the end leaves room for the record itself. */
        if (ret->len > r->payload_max || lines(ret->len) > to_end - RING_LINE ||
            lines(ret->len) + (uint64_t)RING_LINE > left) {
            return refuse(r, r->seen);
        }
        *ret_off = off + RING_LINE;
        r->own += lines(ret->len) + (uint64_t)RING_LINE;
        return true;
    }
    return false;
}

void ring_release(struct ring *r)
{
    if (r->own != r->other) {
        r->other = r->own; /* for a consumer `other` is what it gave back last */
        atomic_thread_fence(memory_order_release);
        *(volatile uint64_t *)&r->shared->consumed = r->own;
    }
}

bool ring_doze(struct ring *r)
{
    /* Said again, should somebody have written over it: a producer that believes in a full ring
     * would never give us a reason to. */
    *(volatile uint64_t *)&r->shared->consumed = r->other;
    *(volatile uint32_t *)&r->shared->asleep = 1;
    atomic_thread_fence(memory_order_seq_cst);
    if (is_empty(r, RING_LOAD64(&r->shared->produced))) {
        return true;
    }
    ring_awake(r);
    return false;
}

void ring_awake(struct ring *r)
{
    *(volatile uint32_t *)&r->shared->asleep = 0;
}

/* ---- the producer ---- */

/* RING-4: what the consumer says to have read counts only if it can be true; otherwise the last
 * thing that could goes on to hold. It never makes us write outside the data. */
static uint64_t room(struct ring *r)
{
    uint64_t consumed = RING_LOAD64(&r->shared->consumed);

    atomic_thread_fence(memory_order_acquire);
    if (distance_good(r, r->own, consumed) && consumed - r->other <= r->own - r->other) {
        r->other = consumed;
    } else {
        r->bad++;
    }
    return r->size - (r->own - r->other);
}

uint8_t *ring_reserve(struct ring *r, uint32_t n)
{
    uint32_t off = (uint32_t)(r->own & (r->size - 1));
    uint32_t need = lines(n) + RING_LINE;
    uint32_t to_end = r->size - off;
    uint64_t free_bytes = r->size - (r->own - r->other);
    uint64_t want = need <= to_end ? need : (uint64_t)to_end + need;

    if (want > free_bytes && want > room(r)) {
        return NULL;
    }
    if (need > to_end) {
        struct ring_record skip = {.len = RING_SKIP};

        memcpy(r->data + off, &skip, sizeof(skip));
        r->own += to_end;
        off = 0;
    }
    return r->data + off + RING_LINE;
}

void ring_add(struct ring *r, const struct ring_record *record)
{
    uint32_t off = (uint32_t)(r->own & (r->size - 1));

    memcpy(r->data + off, record, sizeof(*record));
    r->own += lines(record->len) + (uint64_t)RING_LINE;
}

void ring_publish(struct ring *r)
{
    atomic_thread_fence(memory_order_release);
    *(volatile uint64_t *)&r->shared->produced = r->own;
}

bool ring_must_wake(struct ring *r)
{
    volatile uint32_t *asleep = &r->shared->asleep;

    atomic_thread_fence(memory_order_seq_cst);
    if (*asleep == 0) {
        return false;
    }
    *asleep = 0;
    return true;
}
