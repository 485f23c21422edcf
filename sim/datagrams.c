// SPDX-License-Identifier: Apache-2.0
#include "sim/datagrams.h"

#include "common/check.h"

#include <inttypes.h>
#include <stdlib.h>

static const uint64_t ATTACK_DELAY_NS = UINT64_C(20000000);

void datagrams_open(struct datagrams *s, uint32_t kind, uint8_t ends_n, const uint8_t *host_of)
{
    *s = (struct datagrams){.kind = kind, .ends_n = ends_n, .host_of = host_of};
}

void datagrams_close(struct datagrams *s)
{
    for (size_t i = 0; i < DATAGRAMS_KEPT; i++) {
        free(s->kept[i]);
    }
    free(s->accepted);
}

static struct datagram *copy_of(const struct datagram *d)
{
    struct datagram *copy = malloc(sizeof(*d) + d->n);

    CHECK(copy != NULL);
    memcpy(copy, d, sizeof(*d) + d->n);
    return copy;
}

static void keep(struct run *r, struct datagrams *s, const struct datagram *d)
{
    struct datagram **place = &s->kept[prng_below(&r->net, DATAGRAMS_KEPT)];

    free(*place);
    *place = copy_of(d);
}

/* The attacker on the wire looks at one copy of a datagram. Returns where it goes. */
static uint8_t meddle(struct run *r, const struct datagrams *s, struct datagram *d)
{
    const struct swarm *o = &r->swarm;
    struct prng *p = &r->net;

    if (r->healed) {
        return d->to;
    }
    if (prng_chance(p, o->flip, 1000)) {
        d->bytes[prng_below(p, d->n)] ^= (uint8_t)(1U << prng_below(p, 8));
        d->changed = true;
    }
    if (prng_chance(p, o->truncate, 1000)) {
        d->n = (size_t)prng_below(p, d->n);
        d->changed = true;
    }
    if (prng_chance(p, o->spoof, 1000)) {
        d->from = (uint8_t)prng_below(p, s->ends_n); /* the address, outside the seal */
    }
    if (prng_chance(p, o->misdirect, 1000)) {
        return (uint8_t)prng_below(p, s->ends_n);
    }
    return d->to;
}

/* Old datagrams once more, and bytes that look a little like a datagram. */
static void attack(struct run *r, const struct datagrams *s, const struct datagram *d)
{
    uint64_t at_ns = r->world.now_ns + prng_below(&r->net, ATTACK_DELAY_NS);
    struct prng *p = &r->net;

    if (r->healed) {
        return;
    }
    if (prng_chance(p, r->swarm.replay, 1000)) {
        const struct datagram *old = s->kept[prng_below(p, DATAGRAMS_KEPT)];

        if (old != NULL) {
            world_push(&r->world, at_ns, s->kind, old->to, 0, copy_of(old));
        }
    }
    if (prng_chance(p, r->swarm.inject, 1000)) {
        struct datagram *forged = copy_of(d);

        forged->changed = true;
        for (size_t i = (size_t)prng_below(p, RPC_HEADER_LEN + 1U); i < forged->n; i++) {
            forged->bytes[i] = (uint8_t)prng_u64(p);
        }
        world_push(&r->world, at_ns, s->kind, forged->to, 0, forged);
    }
}

static void remember(struct datagrams *s, uint64_t id)
{
    if (id >= s->accepted_cap) {
        s->accepted_cap = s->accepted_cap == 0 ? 4096 : 2 * s->accepted_cap;
        s->accepted = realloc(s->accepted, s->accepted_cap);
        CHECK(s->accepted != NULL);
    }
    s->accepted[id] = 0;
}

void datagrams_send(struct run *r, struct datagrams *s, uint8_t from, uint8_t to,
                    struct bytes bytes)
{
    uint64_t at_ns[RUN_COPIES_MAX];
    uint32_t copies = run_send(r, s->host_of[from], s->host_of[to], at_ns);
    struct datagram *d = malloc(sizeof(*d) + bytes.n);

    CHECK(d != NULL && to < s->ends_n);
    *d = (struct datagram){.id = s->n++, .from = from, .to = to, .n = bytes.n};
    memcpy(d->bytes, bytes.p, bytes.n);
    remember(s, d->id);
    keep(r, s, d);
    for (uint32_t i = 0; i < copies; i++) {
        struct datagram *copy = copy_of(d);
        uint8_t goes = meddle(r, s, copy);

        world_push(&r->world, at_ns[i], s->kind, goes, 0, copy);
    }
    attack(r, s, d);
    free(d);
}

void datagrams_accepted(struct run *r, struct datagrams *s, const struct datagram *d, uint8_t end)
{
    /* A sender that was lied to about an address sends to the wrong one itself. */
    if (d->changed || (d->to != end && r->swarm.spoof == 0)) {
        run_fault(r, VERDICT_WRONG, "endpoint %u accepted a datagram that was %s", end,
                  d->changed ? "changed" : "sealed for another");
    } else if (s->accepted[d->id] != 0) {
        run_fault(r, VERDICT_WRONG, "endpoint %u accepted datagram %" PRIu64 " twice", end, d->id);
    }
    s->accepted[d->id] = 1;
}
