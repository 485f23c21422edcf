// SPDX-License-Identifier: Apache-2.0
/* A host that changes what it has published while the replica looks at it. */
#include "tests/hostile/pktio_hostile.h"

#include "common/prng.h"
#include "host/run/futex.h"

#include <stdatomic.h>

enum { TOGGLES = 20000 }; /* some 100 us: a sleeper is up by then */

static _Atomic unsigned race_chance;
static _Atomic uint64_t no_room;

void hostile_race(unsigned chance)
{
    atomic_store(&race_chance, chance);
}

static bool carries_packets(const struct ring *r)
{
    return r->payload_max == DATAGRAM_MAX;
}

uint64_t hostile_no_room(void)
{
    return atomic_load(&no_room);
}

uint8_t *__wrap_ring_reserve(struct ring *r, uint32_t n)
{
    uint8_t *to = __real_ring_reserve(r, n);

    if (to == NULL && carries_packets(r)) {
        atomic_fetch_add(&no_room, 1);
    }
    return to;
}

/* All words of a record, its payload and the position are true at times and false at times; in the
 * end they are true again, so that an honest life can go on. */
static void lie(struct prng *rng, struct ring *r, uint64_t from)
{
    uint32_t at = (uint32_t)(from & (r->size - 1));
    uint32_t line = at + (uint32_t)prng_below(rng, 4) * RING_LINE;
    volatile uint32_t *word = (volatile uint32_t *)(void *)(r->data + line % r->size);
    volatile uint64_t *produced = &r->shared->produced;
    const uint32_t was = *word;
    const uint32_t lies[] = {was ^ 1, UINT32_MAX - 1, RING_SKIP,
                             0,       r->payload_max, (uint32_t)prng_u64(rng)};

    if (carries_packets(r) && ring_must_wake(r)) {
        futex_wake(&r->shared->asleep);
    }
    for (int i = 0; i < TOGGLES; i++) {
        *word = lies[prng_below(rng, sizeof(lies) / sizeof(lies[0]))];
        if (i % 64 == 0) {
            *produced = prng_u64(rng) & ~(uint64_t)(RING_LINE - 1);
        }
        *word = was;
        *produced = r->own;
    }
}

void __wrap_ring_publish(struct ring *r)
{
    static _Thread_local struct prng rng = {7};
    uint64_t from = *(volatile uint64_t *)&r->shared->produced;

    __real_ring_publish(r);
    if (from != r->own && prng_chance(&rng, atomic_load(&race_chance), 1000)) {
        lie(&rng, r, from);
    }
}
