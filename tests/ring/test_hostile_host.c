// SPDX-License-Identifier: Apache-2.0
/* A host that writes all over the rings while a shard reads them: as fast as it can, at the same
 * instant, and with packets that were good a moment ago. It may cost packets, nothing else. */
#include "common/prng.h"
#include "host/net/handover.h"
#include "host/net/pktio.h"
#include "trusted/shard/shard.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

enum {
    MEMORY = 32 << 20,
    ARENA = 1 << 20,
    PACKETS = ABI_PACKET_STRIDE * ABI_REGION_PACKETS,
    POLLS = 30000,
};

struct ctx {
    struct handover host, replica;
    struct shard_config config;
    struct shard *shard;
    struct pktio *io;
    struct abi_poll block;
    _Atomic bool stop;
    _Atomic uint64_t strikes;
};

static void *map(size_t n)
{
    void *p = aligned_alloc(64, n);

    assert_non_null(p);
    memset(p, 0, n);
    return p;
}

static int setup(void **state)
{
    struct ctx *x = calloc(1, sizeof(*x));
    char why[HANDOVER_WHY];
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    assert_int_equal(handover_make(ends[0], 1, &x->host), OK);
    assert_int_equal(handover_give(&x->host), OK);
    assert_int_equal(handover_take(ends[1], 1, &x->replica, why), OK);
    x->config = (struct shard_config){
        .incarnation = 1,
        .members = &(struct replica_members){.epoch = 1, .members_n = 1, .incarnations = {1}},
        .shards_n = 1,
        .datagram_bytes = DATAGRAM_DEFAULT,
        .value_max = 4096,
        .sessions_max = 16,
        .hedge_ns = 1000000,
        .memory = map(MEMORY),
        .memory_bytes = MEMORY,
        .regions = {
            .tx = map(PACKETS), .arena = map(ARENA), .tx_bytes = PACKETS, .arena_bytes = ARENA}};
    assert_int_equal(pktio_ring_open(&x->replica, 0, &x->config.regions, &x->io), OK);
    assert_int_equal(shard_open(&x->config, &x->shard), OK);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *x = *state;

    x->io->ops->close(x->io);
    shard_close(x->shard);
    free(x->config.memory);
    free(x->config.regions.tx);
    free(x->config.regions.arena);
    handover_close(&x->host);
    handover_close(&x->replica);
    free(x);
    return 0;
}

/* A run of packets where the replica looks next, as an honest host would put them; some of them
 * nearly good: right version and type, an index that may be. */
static void offer(struct prng *rng, struct ring *in)
{
    uint64_t at = *(volatile uint64_t *)&in->shared->consumed & ~(uint64_t)(RING_LINE - 1);

    for (int i = 0; i < 16; i++) {
        volatile uint8_t *p =
            in->data + ((at + (uint64_t)i * 2 * RING_LINE) & (RING_PACKETS_SIZE - 1));
        volatile struct ring_record *record = (volatile struct ring_record *)(void *)(uintptr_t)p;

        record->kind = RING_PACKET;
        record->len = 32 + (uint32_t)prng_below(rng, 32);
        p[RING_LINE] = 1 << 4 | 1;
        p[RING_LINE + 4] = (uint8_t)prng_u64(rng);
    }
    *(volatile uint64_t *)&in->shared->produced = at + 32 * (uint64_t)RING_LINE;
}

/* One malice at a time, drawn anew for ever. */
static void strike(struct prng *rng, struct ring *in, struct ring *out, uint8_t *memory)
{
    volatile uint64_t *produced = &in->shared->produced;
    volatile uint64_t *consumed = &out->shared->consumed;
    uint32_t at = (uint32_t)prng_below(rng, in->size / RING_LINE) * RING_LINE;
    volatile struct ring_record *record = (volatile struct ring_record *)(void *)(in->data + at);

    switch (prng_below(rng, 8)) {
    case 0: /* random positions */
        *produced = prng_u64(rng);
        *consumed = prng_u64(rng);
        break;
    case 1: /* likely ones */
        offer(rng, in);
        *consumed = *(volatile uint64_t *)&out->shared->produced;
        break;
    case 2: /* lengths that race with their reader */
        for (int i = 0; i < 64; i++) {
            record->len = i % 2 == 0 ? 40 : UINT32_MAX - 1;
            record->kind = RING_PACKET;
        }
        break;
    case 3:
        record->len = (uint32_t)prng_below(rng, UINT64_C(2) * DATAGRAM_MAX);
        record->kind = (uint32_t)prng_below(rng, 12);
        break;
    case 4:
        record->len = RING_SKIP;
        break;
    case 5: /* old packets, and swapped ones */
        memmove(in->data + at, in->data + prng_below(rng, in->size - DATAGRAM_MAX),
                DATAGRAM_MAX / 8);
        break;
    case 6: /* the whole first page: version, clock */
        ((volatile uint64_t *)(void *)memory)[prng_below(rng, RING_PAGE / 8)] = prng_u64(rng);
        break;
    default:
        *(volatile uint32_t *)&in->shared->asleep = (uint32_t)prng_u64(rng);
        *(volatile uint32_t *)&out->shared->asleep = (uint32_t)prng_u64(rng);
        break;
    }
}

static void *attack(void *arg)
{
    struct ctx *x = arg;
    struct ring in = ring_of_packets(x->host.memory, 0, RING_TO_REPLICA);
    struct ring out = ring_of_packets(x->host.memory, 0, RING_TO_HOST);
    struct prng rng;

    /* Not beyond the data: the host could do that to its own memory only. */
    in.size -= DATAGRAM_MAX / 8;
    in.size &= ~(uint32_t)(RING_LINE - 1);
    rng = (struct prng){3};
    while (!atomic_load_explicit(&x->stop, memory_order_relaxed)) {
        strike(&rng, &in, &out, x->host.memory);
        atomic_fetch_add_explicit(&x->strikes, 1, memory_order_relaxed);
    }
    return NULL;
}

static void turn(struct ctx *x)
{
    x->block.rx_n = x->io->ops->rx(x->io, x->block.rx);
    assert_true(x->block.rx_n <= BURST_MAX);
    x->block.now_ns = x->io->ops->now(x->io);
    shard_poll(x->shard, &x->block);
    /* Something to send each time, whatever the shard has to say. */
    x->block.tx[0] = (struct abi_packet){.off = 0, .len = 500, .addr = {.family = 4}};
    x->io->ops->tx(x->io, x->block.tx, 1);
}

/* Where cores are short the two may take turns, so that few strikes are seen. */
static bool has_seen_enough(struct ctx *x)
{
    uint64_t strikes = atomic_load(&x->strikes);

    return strikes >= POLLS && ((x->io->counters.ring_bad > 0 && x->io->counters.rx_packets > 0) ||
                                strikes >= (uint64_t)1000 * POLLS);
}

static void a_host_that_writes_everywhere(void **state)
{
    struct ctx *x = *state;
    const struct shard_command ask = {.kind = SHARD_REPORT};
    struct shard_host_counters host;
    struct replica_report r;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, attack, x), 0);
    for (uint64_t i = 0; i < POLLS || !has_seen_enough(x); i++) {
        turn(x);
        if (i % 1000 == 0) {
            x->io->ops->wait(x->io, 1000);
        }
    }
    atomic_store(&x->stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    do { /* what still stands in the ring */
        turn(x);
    } while (x->block.rx_n > 0);
    assert_true(x->io->counters.ring_bad > 0);
    assert_true(x->io->counters.rx_packets > 0);

    /* It is well: it answers its own process, and every packet is accounted for. */
    assert_true(shard_post(x->shard, &ask));
    turn(x);
    assert_true(shard_report(x->shard, &r, &host));
    assert_int_equal(host.bad_descriptors, 0); /* the ring lets none through */
    assert_int_equal(r.rpc.rx_packets, x->io->counters.rx_packets);
    assert_int_equal(r.rpc.opened, 0);
    assert_int_equal(r.rpc.malformed + r.rpc.unknown_index, r.rpc.rx_packets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_host_that_writes_everywhere, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
