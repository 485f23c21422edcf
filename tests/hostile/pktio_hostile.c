// SPDX-License-Identifier: Apache-2.0
/* The switch between the kernel's UDP and the rings. */
#include "tests/hostile/pktio_hostile.h"

#include "common/prng.h"
#include "host/net/udp_batch.h"
#include "host/run/clock.h"

#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum wish { LOSE, TWICE, LATE, FLIP, CUT, MOVE, REPLAY, FORGE, WASTE, RACE, STALL, BOTH, WISHES_N };

static const char *const words[WISHES_N] = {"lose",   "twice", "late",  "flip", "cut",   "move",
                                            "replay", "forge", "waste", "race", "stall", "both"};

enum {
    OLD_N = 256,
    HELD_N = 256,
    LATE_MAX_NS = 5000000,
    LOOK_NS = 20000000,
    FORGE_LATE_NS = 100000000, /* what was not forged in time is not forged */
    STALL_EVERY_NS = 500000000,
};

struct parcel {
    uint64_t due_ns;
    uint32_t len;
    bool is_spoiled;
    struct abi_addr addr;
    uint8_t bytes[DATAGRAM_MAX];
};

/* What came out at the other end of a road. */
struct did {
    uint64_t delivered; /* all of the following */
    uint64_t genuine;   /* as sent, for the first time */
    uint64_t repeated, spoiled, replayed, forged;
    uint64_t lost, late, moved;
};

struct road {
    struct parcel *old, *held;
    uint32_t old_n, held_n;
    struct did did;
    /* The burst under way. */
    uint8_t *region;
    struct abi_packet *to;
    uint32_t n;
};

struct hostile {
    struct pktio base;
    struct pktio *real;
    struct abi_regions inner; /* the real one's */
    uint8_t *outer_rx;
    const uint8_t *outer_tx;
    struct road in, out;
    bool is_inward; /* the burst under way is for the replica */
    struct prng rng;
    unsigned chance[WISHES_N];
    uint64_t look_at_ns, stall_at_ns, forged_at_ns;
    uint64_t told;
    struct parcel sent, passed, made; /* under way: too large to be made anew each time */
    char path[PATH_MAX];
};

/* Of the bytes only those that there are. */
static void copy_parcel(struct parcel *to, const struct parcel *from)
{
    memcpy(to, from, offsetof(struct parcel, bytes) + from->len);
}

static bool happens(struct hostile *h, enum wish w)
{
    return (h->chance[BOTH] > 0 || h->is_inward) && prng_chance(&h->rng, h->chance[w], 1000);
}

static void *need(size_t n)
{
    void *p = calloc(1, n);

    if (p == NULL) {
        abort();
    }
    return p;
}

/* ---- one road ---- */

static void deliver(struct road *r, const struct parcel *p)
{
    uint32_t off = r->n * ABI_PACKET_STRIDE;

    memcpy(r->region + off, p->bytes, p->len);
    r->to[r->n++] = (struct abi_packet){.off = off, .len = p->len, .addr = p->addr};
    r->did.delivered++;
}

static void hold(struct hostile *h, struct road *r, const struct parcel *p)
{
    if (r->held_n == HELD_N) {
        r->did.lost++;
        return;
    }
    copy_parcel(&r->held[r->held_n], p);
    r->held[r->held_n++].due_ns = clock_now_ns() + prng_below(&h->rng, LATE_MAX_NS);
    r->did.late++;
}

static void spoil(struct hostile *h, struct parcel *p)
{
    if (happens(h, FLIP) && p->len > 0) {
        p->bytes[prng_below(&h->rng, p->len)] ^= (uint8_t)(1 << prng_below(&h->rng, 8));
        p->is_spoiled = true;
    } else if (happens(h, CUT) && p->len > 0) {
        p->len = (uint32_t)prng_below(&h->rng, p->len);
        p->is_spoiled = true;
    }
}

/* Only what is delivered as it was sent may be kept: whatever comes out of there is a repetition.
 */
static void record(struct hostile *h, struct road *r, const struct parcel *p)
{
    if (r->old_n < OLD_N) {
        copy_parcel(&r->old[r->old_n++], p);
    } else if (prng_chance(&h->rng, 1, 8)) {
        copy_parcel(&r->old[prng_below(&h->rng, OLD_N)], p);
    }
}

static void pass(struct hostile *h, struct road *r, const struct parcel *sent)
{
    struct parcel *p = &h->passed;
    bool was_sent = false;

    if (happens(h, LOSE)) {
        r->did.lost++;
        return;
    }
    for (int copies = happens(h, TWICE) ? 2 : 1; copies > 0; copies--) {
        copy_parcel(p, sent);
        spoil(h, p);
        if (happens(h, MOVE)) {
            p->addr.port ^= (uint16_t)(1 + prng_below(&h->rng, UINT16_MAX));
            r->did.moved++;
        }
        if (p->is_spoiled) {
            r->did.spoiled++;
        } else if (was_sent) {
            r->did.repeated++;
        } else {
            was_sent = true;
            r->did.genuine++;
            record(h, r, sent);
        }
        if (r->n == BURST_MAX || happens(h, LATE)) {
            hold(h, r, p);
        } else {
            deliver(r, p);
        }
    }
}

/* Recorded ones as they are, and under a number that is yet to come: one that was seen is refused
 * before anything else is looked at. */
static void replay(struct hostile *h, struct road *r)
{
    struct parcel *p = &h->made;
    uint64_t number;

    copy_parcel(p, &r->old[prng_below(&h->rng, r->old_n)]);
    if (prng_chance(&h->rng, 1, 2) && p->len >= 16) {
        memcpy(&number, p->bytes + 8, sizeof(number));
        number += 1 + prng_below(&h->rng, 4000);
        memcpy(p->bytes + 8, &number, sizeof(number));
    }
    deliver(r, p);
    r->did.replayed++;
}

/* The clear header is right; index and number are likely; the seal cannot be. */
static void forge(struct hostile *h, struct road *r)
{
    struct parcel *p = &h->made;
    const uint32_t index = (uint32_t)(prng_below(&h->rng, 16) << 20 | prng_below(&h->rng, 32));
    const uint64_t number = prng_below(&h->rng, 100000);

    p->len = (uint32_t)prng_below(&h->rng, 1400);
    p->addr = (struct abi_addr){0};
    for (uint32_t i = 0; i < p->len; i += 8) {
        uint64_t noise = prng_u64(&h->rng);

        memcpy(p->bytes + i, &noise, sizeof(noise));
    }
    if (prng_chance(&h->rng, 3, 4)) {
        p->bytes[0] = 1 << 4 | 1;
        memset(p->bytes + 1, 0, 3);
        memcpy(p->bytes + 4, &index, sizeof(index));
        memcpy(p->bytes + 8, &number, sizeof(number));
    }
    if (r->old_n > 0) {
        p->addr = r->old[prng_below(&h->rng, r->old_n)].addr;
    }
    if (h->chance[FORGE] > 0) {
        deliver(r, p);
        r->did.forged++;
    }
}

static void pass_held(struct road *r)
{
    uint64_t now = clock_now_ns();

    for (uint32_t i = 0; i < r->held_n && r->n < BURST_MAX;) {
        if (r->held[i].due_ns > now) {
            i++;
            continue;
        }
        deliver(r, &r->held[i]);
        r->held[i] = r->held[--r->held_n];
    }
}

static uint32_t travel(struct hostile *h, struct road *r, const uint8_t *from,
                       const struct abi_packet *packets, uint32_t n)
{
    r->n = 0;
    h->is_inward = r == &h->in;
    pass_held(r);
    for (uint32_t i = 0; i < n; i++) {
        h->sent.len = packets[i].len;
        h->sent.addr = packets[i].addr;
        memcpy(h->sent.bytes, from + packets[i].off, packets[i].len);
        pass(h, r, &h->sent);
        if (r->n < BURST_MAX && r->old_n > 0 && happens(h, REPLAY)) {
            replay(h, r);
        }
    }
    return r->n;
}

/* As many a second as was wished for, in bursts that leave room for nothing else. */
static void flood(struct hostile *h, struct road *r)
{
    uint64_t now = clock_now_ns(), since = now - h->forged_at_ns;
    unsigned rate = h->chance[FORGE] > 0 ? h->chance[FORGE] : h->chance[WASTE];
    uint32_t n = r->n;

    if (rate == 0 || since > FORGE_LATE_NS) {
        h->forged_at_ns = now;
        return;
    }
    for (uint64_t due = since * rate / 1000000000; due > 0 && n < BURST_MAX; due--, n++) {
        forge(h, r);
        h->forged_at_ns += 1000000000 / rate;
    }
}

/* ---- what to do, and what was done ---- */

static FILE *open_beside(const struct hostile *h, const char *suffix, const char *mode)
{
    char path[PATH_MAX + 16];

    (void)snprintf(path, sizeof(path), "%s%s", h->path, suffix);
    return fopen(path, mode);
}

static void tell(struct hostile *h)
{
    FILE *f = open_beside(h, ".did.new", "w");
    char from[PATH_MAX + 16], to[PATH_MAX + 16];

    if (f == NULL) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        const struct did *d = i == 0 ? &h->in.did : &h->out.did;

        (void)fprintf(f,
                      "%s\"%s\":{\"delivered\":%" PRIu64 ",\"genuine\":%" PRIu64
                      ",\"repeated\":%" PRIu64 ",\"spoiled\":%" PRIu64 ",\"replayed\":%" PRIu64
                      ",\"forged\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"late\":%" PRIu64
                      ",\"moved\":%" PRIu64 ",\"held\":%" PRIu32 "}",
                      i == 0 ? "{" : ",", i == 0 ? "in" : "out", d->delivered, d->genuine,
                      d->repeated, d->spoiled, d->replayed, d->forged, d->lost, d->late, d->moved,
                      i == 0 ? h->in.held_n : h->out.held_n);
    }
    (void)fprintf(f, ",\"told\":%" PRIu64 ",\"no_room\":%" PRIu64 "}\n", ++h->told,
                  hostile_no_room());
    (void)fclose(f);
    (void)snprintf(from, sizeof(from), "%s.did.new", h->path);
    (void)snprintf(to, sizeof(to), "%s.did", h->path);
    (void)rename(from, to);
}

static void look(struct hostile *h)
{
    FILE *f = open_beside(h, "", "r");
    char word[16];
    unsigned n;

    memset(h->chance, 0, sizeof(h->chance));
    while (f != NULL && fscanf(f, "%15s %u", word, &n) == 2) { // NOLINT(cert-err34-c): a test's own
        for (int w = 0; w < WISHES_N; w++) {
            if (strcmp(word, words[w]) == 0) {
                h->chance[w] = n;
            }
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    hostile_race(h->chance[RACE]);
    tell(h);
}

static void keep_time(struct hostile *h)
{
    uint64_t now = clock_now_ns();

    if (now >= h->look_at_ns) {
        look(h);
        h->look_at_ns = now + LOOK_NS;
    }
    if (h->chance[STALL] > 0 && now >= h->stall_at_ns) {
        (void)usleep(h->chance[STALL] * 1000); /* milliseconds, twice a second */
        h->stall_at_ns = now + STALL_EVERY_NS;
    }
}

/* ---- the back-end ---- */

static void send_on(struct hostile *h, const struct abi_packet *packets, uint32_t n)
{
    struct abi_packet onward[BURST_MAX];

    h->out.to = onward;
    n = travel(h, &h->out, h->outer_tx, packets, n);
    if (n > 0) {
        h->real->ops->tx(h->real, onward, n);
    }
}

static uint32_t rx(struct pktio *p, struct abi_packet *to)
{
    struct hostile *h = (struct hostile *)p;
    struct abi_packet in[BURST_MAX];
    uint32_t n;

    send_on(h, NULL, 0); /* what was held */
    n = h->real->ops->rx(h->real, in);
    h->in.to = to;
    (void)travel(h, &h->in, h->inner.rx, in, n);
    flood(h, &h->in);
    keep_time(h);
    return h->in.n;
}

static void tx(struct pktio *p, const struct abi_packet *packets, uint32_t n)
{
    send_on((struct hostile *)p, packets, n);
}

static int fd(const struct pktio *p)
{
    const struct hostile *h = (const struct hostile *)p;

    return h->real->ops->fd(h->real);
}

static void close_hostile(struct pktio *p)
{
    struct hostile *h = (struct hostile *)p;
    FILE *f = open_beside(h, ".old", "w");

    tell(h);
    if (f != NULL) {
        (void)fwrite(h->in.old, sizeof(h->in.old[0]), h->in.old_n, f);
        (void)fclose(f);
    }
    h->real->ops->close(h->real);
    free(h->in.old);
    free(h->in.held);
    free(h->out.old);
    free(h->out.held);
    free(h->inner.rx);
    free(h->inner.tx);
    free(h);
}

static const struct pktio_ops hostile_ops = {.rx = rx, .tx = tx, .fd = fd, .close = close_hostile};

static void road_init(struct road *r, uint8_t *region)
{
    r->old = need(OLD_N * sizeof(r->old[0]));
    r->held = need(HELD_N * sizeof(r->held[0]));
    r->region = region;
}

RESULT __wrap_pktio_udp_open(const char *address, uint16_t port, const struct abi_regions *regions,
                             struct pktio **ret)
{
    struct hostile *h = need(sizeof(*h));
    const char *dir = getenv("AVOCADO_HOSTILE_DIR");
    FILE *f;

    h->base.ops = &hostile_ops;
    h->rng = (struct prng){port};
    h->inner.rx_bytes = (uint64_t)UDP_BATCH * UDP_BUFFER;
    h->inner.tx_bytes = (uint64_t)ABI_PACKET_STRIDE * BURST_MAX;
    h->inner.rx = need(h->inner.rx_bytes);
    h->inner.tx = need(h->inner.tx_bytes);
    h->outer_rx = regions->rx;
    h->outer_tx = regions->tx;
    road_init(&h->in, h->outer_rx);
    road_init(&h->out, h->inner.tx);
    (void)snprintf(h->path, sizeof(h->path), "%s/%u", dir == NULL ? "/nonexistent" : dir, port);
    f = open_beside(h, ".old", "r");
    if (f != NULL) {
        h->in.old_n = (uint32_t)fread(h->in.old, sizeof(h->in.old[0]), OLD_N, f);
        (void)fclose(f);
    }
    *ret = &h->base;
    return __real_pktio_udp_open(address, port, &h->inner, &h->real);
}
