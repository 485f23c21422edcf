// SPDX-License-Identifier: Apache-2.0
/* The boundary: a host that lies about offsets, lengths, counts and time costs itself packets. */
#include "trusted/shard/shard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum {
    MEMORY = 32 << 20,
    PACKETS = ABI_PACKET_STRIDE * ABI_REGION_PACKETS,
    ARENA = 1 << 20,
};

struct ctx {
    struct shard_config config;
    struct shard *shard;
    struct abi_poll *io;
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

    x->config = (struct shard_config){.incarnation = 1,
                                      .members = &(struct replica_members){.members_n = 1},
                                      .shards_n = 1,
                                      .datagram_bytes = DATAGRAM_DEFAULT,
                                      .value_max = 4096,
                                      .sessions_max = 16,
                                      .hedge_ns = 1000000,
                                      .memory = map(MEMORY),
                                      .memory_bytes = MEMORY,
                                      .regions = {.rx = map(PACKETS),
                                                  .tx = map(PACKETS),
                                                  .arena = map(ARENA),
                                                  .rx_bytes = PACKETS,
                                                  .tx_bytes = PACKETS,
                                                  .arena_bytes = ARENA}};
    x->io = calloc(1, sizeof(*x->io));
    assert_int_equal(shard_open(&x->config, &x->shard), OK);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *x = *state;

    shard_close(x->shard);
    free(x->config.memory);
    free(x->config.regions.rx);
    free(x->config.regions.tx);
    free(x->config.regions.arena);
    free(x->io);
    free(x);
    return 0;
}

static void report(struct ctx *x, struct replica_report *ret, struct shard_host_counters *ret_host)
{
    const struct shard_command c = {.kind = SHARD_REPORT};

    assert_true(shard_post(x->shard, &c));
    assert_false(shard_report(x->shard, ret, ret_host));
    x->io->rx_n = 0;
    shard_poll(x->shard, x->io);
    assert_int_equal(x->io->notify, 1);
    assert_true(shard_report(x->shard, ret, ret_host));
    assert_false(shard_report(x->shard, ret, ret_host));
}

static void test_impossible_descriptors(void **state)
{
    struct ctx *x = *state;
    const struct abi_packet bad[] = {{.off = 0, .len = DATAGRAM_MAX + 1},
                                     {.off = 0, .len = UINT32_MAX},
                                     {.off = PACKETS, .len = 1},
                                     {.off = PACKETS - 10, .len = 11},
                                     {.off = UINT32_MAX, .len = 1},
                                     {.off = UINT32_MAX - 4, .len = 8},
                                     {.off = UINT32_MAX, .len = UINT32_MAX}};
    struct shard_host_counters host;
    struct replica_report r;

    x->io->rx_n = sizeof(bad) / sizeof(bad[0]);
    memcpy(x->io->rx, bad, sizeof(bad));
    shard_poll(x->shard, x->io);
    report(x, &r, &host);
    assert_int_equal(host.bad_descriptors, sizeof(bad) / sizeof(bad[0]));
    assert_int_equal(r.rpc.rx_packets, 0);
}

static void test_too_many_packets(void **state)
{
    struct ctx *x = *state;
    struct shard_host_counters host;
    struct replica_report r;

    x->io->rx_n = UINT32_MAX;
    for (size_t i = 0; i < BURST_MAX; i++) {
        x->io->rx[i] = (struct abi_packet){.off = 0, .len = 40};
    }
    shard_poll(x->shard, x->io);
    assert_int_equal(x->io->tx_n, 0);
    report(x, &r, &host);
    assert_int_equal(host.bad_descriptors, 1);
    assert_int_equal(r.rpc.rx_packets, BURST_MAX);
    assert_int_equal(r.rpc.malformed, BURST_MAX);
}

static void test_impossible_times(void **state)
{
    struct ctx *x = *state;
    struct shard_host_counters host;
    struct replica_report r;

    x->io->now_ns = 1000;
    shard_poll(x->shard, x->io);
    x->io->now_ns = 10;
    shard_poll(x->shard, x->io);
    x->io->now_ns = UINT64_MAX;
    shard_poll(x->shard, x->io);
    x->io->now_ns = 2000;
    report(x, &r, &host);
    assert_int_equal(host.clock_lies, 2);
}

/* A host that lied about the time and stops doing so: time goes on from there, it does not stand
 * still until the host's clock has caught up with the lie. */
static void test_time_goes_on_after_lies(void **state)
{
    struct ctx *x = *state;
    const uint64_t hour = UINT64_C(3600000000000);
    const uint64_t times[] = {hour, UINT64_C(1) << 61, hour + 1 /* the lie ends */, hour + 2,
                              hour + 3};
    struct shard_host_counters host;
    struct replica_report r;

    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        x->io->now_ns = times[i];
        shard_poll(x->shard, x->io);
    }
    report(x, &r, &host);
    assert_int_equal(host.clock_lies, 1);
}

static void test_regions_inside_enclave_memory_are_refused(void **state)
{
    struct ctx *x = *state;
    struct shard_config c = x->config;
    struct shard *s;
    uint8_t *inside = (uint8_t *)x->config.memory + 4096;

    c.regions.arena = inside;
    assert_int_equal(shard_open(&c, &s), ERR_BOUNDARY);
    c = x->config;
    c.regions.rx = inside;
    assert_int_equal(shard_open(&c, &s), ERR_BOUNDARY);
    c = x->config;
    c.regions.tx = (uint8_t *)x->config.memory - 64; /* begins outside, ends inside */
    assert_int_equal(shard_open(&c, &s), ERR_BOUNDARY);
    c = x->config;
    c.regions.rx_bytes = PACKETS - 1;
    assert_int_equal(shard_open(&c, &s), ERR_BOUNDARY);
    c = x->config;
    c.regions.arena_bytes = UINT64_MAX;
    assert_int_equal(shard_open(&c, &s), ERR_BOUNDARY);
}

static void test_the_command_ring_says_when_it_is_full(void **state)
{
    struct ctx *x = *state;
    const struct shard_command c = {.kind = SHARD_SESSION_CLOSE, .index = 5};
    size_t n = 0;

    while (shard_post(x->shard, &c)) {
        n++;
        assert_true(n < 100000);
    }
    x->io->rx_n = 0;
    shard_poll(x->shard, x->io);
    assert_true(shard_post(x->shard, &c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_impossible_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_packets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_impossible_times, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time_goes_on_after_lies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_regions_inside_enclave_memory_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_command_ring_says_when_it_is_full, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
