// SPDX-License-Identifier: Apache-2.0
#include "common/index_check.h"
#include "host/net/addr.h"
#include "host/net/index_gate.h"
#include "host/net/pktio.h"
#include "host/run/arena.h"
#include "host/run/cpus.h"
#include "host/run/shard_loop.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static void test_addresses(void **state)
{
    struct sockaddr_storage sa, again;
    struct abi_addr a;
    socklen_t n;

    (void)state;
    assert_true(addr_parse("127.0.0.1", 7001, &sa, &n));
    addr_from_sockaddr((const struct sockaddr *)&sa, &a);
    assert_int_equal(a.family, 4);
    assert_int_equal(a.port, 7001);
    assert_int_equal(addr_to_sockaddr(&a, (struct sockaddr *)&again), n);
    assert_memory_equal(&sa, &again, n);
    assert_true(addr_parse("::1", 7002, &sa, &n));
    addr_from_sockaddr((const struct sockaddr *)&sa, &a);
    assert_int_equal(a.family, 6);
    assert_int_equal(addr_to_sockaddr(&a, (struct sockaddr *)&again), n);
    assert_memory_equal(&sa, &again, n);
    assert_false(addr_parse("localhost", 1, &sa, &n));
    assert_false(addr_parse("", 1, &sa, &n));
    assert_false(addr_parse("1.2.3.4.5", 1, &sa, &n));
}

static uint16_t port_of(struct pktio *p)
{
    struct sockaddr_in sa = {.sin_port = 0};
    socklen_t n = sizeof(sa);

    assert_int_equal(getsockname(p->ops->fd(p), (struct sockaddr *)&sa, &n), 0);
    return ntohs(sa.sin_port);
}

/* Receives until `want` packets came; fails after five seconds of nothing. */
static uint32_t receive(struct pktio *p, struct abi_packet *to, uint32_t want)
{
    uint32_t n = 0;

    while (n < want) {
        struct pollfd f = {.fd = p->ops->fd(p), .events = POLLIN};

        assert_int_equal(poll(&f, 1, 5000), 1);
        n += p->ops->rx(p, to + n);
    }
    return n;
}

static void test_udp_carries_bursts(void **state)
{
    struct arena a, b;
    struct pktio *p, *q;
    struct abi_packet out[BURST_MAX] = {0}, in[2 * BURST_MAX];
    struct abi_addr to = {.family = 4, .ip = {127, 0, 0, 1}};

    (void)state;
    assert_int_equal(arena_map(NULL, 0, 1 << 20, &a), OK);
    assert_int_equal(arena_map(NULL, 0, 1 << 20, &b), OK);
    assert_int_equal(pktio_udp_open("127.0.0.1", 0, &a.regions, &p), OK);
    assert_int_equal(pktio_udp_open("127.0.0.1", 0, &b.regions, &q), OK);
    to.port = port_of(q);
    for (uint32_t i = 0; i < BURST_MAX; i++) {
        out[i] = (struct abi_packet){.off = i * ABI_PACKET_STRIDE, .len = 1 + i * 250, .addr = to};
        memset(a.regions.tx + out[i].off, (int)i + 1, out[i].len);
    }
    p->ops->tx(p, out, BURST_MAX);
    assert_int_equal(receive(q, in, BURST_MAX), BURST_MAX);
    for (uint32_t i = 0; i < BURST_MAX; i++) {
        assert_int_equal(in[i].len, out[i].len);
        assert_int_equal(in[i].addr.port, port_of(p));
        assert_int_equal(b.regions.rx[in[i].off], i + 1);
        assert_int_equal(b.regions.rx[in[i].off + in[i].len - 1], i + 1);
    }
    /* Nothing there: returns at once with nothing. An unreachable family: dropped, counted. */
    assert_int_equal(q->ops->rx(q, in), 0);
    out[0].addr = (struct abi_addr){0};
    p->ops->tx(p, out, 1);
    assert_int_equal(p->counters.tx_dropped, 1);
    p->ops->close(p);
    q->ops->close(q);
    arena_unmap(&a);
    arena_unmap(&b);
}

static void test_udp_drops_what_cannot_be_a_datagram_of_ours(void **state)
{
    struct arena a;
    struct pktio *p;
    struct abi_packet in[BURST_MAX];
    static uint8_t big[DATAGRAM_MAX + 1];
    struct sockaddr_storage sa;
    socklen_t n;
    int sock = socket(AF_INET, SOCK_DGRAM, 0);

    (void)state;
    assert_int_equal(arena_map(NULL, 0, 1 << 20, &a), OK);
    assert_int_equal(pktio_udp_open("127.0.0.1", 0, &a.regions, &p), OK);
    assert_true(addr_parse("127.0.0.1", port_of(p), &sa, &n));
    assert_int_equal(sendto(sock, big, sizeof(big), 0, (struct sockaddr *)&sa, n), sizeof(big));
    assert_int_equal(sendto(sock, big, 7, 0, (struct sockaddr *)&sa, n), 7);
    assert_int_equal(receive(p, in, 1), 1);
    assert_int_equal(in[0].len, 7);
    assert_int_equal(p->counters.rx_oversized, 1);
    (void)close(sock);
    p->ops->close(p);
    arena_unmap(&a);
}

static void send_header(int sock, const struct sockaddr_storage *to, socklen_t n, uint8_t kind,
                        uint32_t index, size_t bytes)
{
    uint8_t datagram[64] = {kind};

    memcpy(datagram + 4, &index, sizeof(index));
    assert_int_equal(sendto(sock, datagram, bytes, 0, (const struct sockaddr *)to, n), bytes);
}

/* CTL-7: what carries no index of ours wakes nobody, is counted, and genuine ones come through. */
static void test_the_gate_drops_what_no_session_sent(void **state)
{
    const uint32_t key = 0x9e3779b1, low = 3U << 20 | 77;
    const uint32_t good = index_check(key, low) << INDEX_CHECK_SHIFT | low;
    struct abi_packet in[BURST_MAX];
    struct sockaddr_storage sa;
    struct pktio *p;
    struct arena a;
    uint32_t passed = 0;
    socklen_t n;
    int sock = socket(AF_INET, SOCK_DGRAM, 0), fd;

    (void)state;
    assert_int_equal(arena_map(NULL, 0, 1 << 20, &a), OK);
    assert_int_equal(pktio_udp_open("127.0.0.1", 0, &a.regions, &p), OK);
    fd = p->ops->fd(p);
    assert_int_equal(index_gate_attach(fd, key), OK);
    assert_true(addr_parse("127.0.0.1", port_of(p), &sa, &n));
    send_header(sock, &sa, n, 0x12, good, 64);     /* another type */
    send_header(sock, &sa, n, 0x11, good, 7);      /* cut off */
    send_header(sock, &sa, n, 0x11, good ^ 1, 64); /* another place */
    send_header(sock, &sa, n, 0x11, good, 0);
    for (uint32_t guess = 0; guess < 255; guess++) { /* all tops of it but the right one */
        send_header(sock, &sa, n, 0x11, ((good >> 24) + 1 + guess) << 24 | low, 64);
    }
    assert_int_equal(index_gate_dropped(fd), 4 + 255);
    assert_int_equal(p->ops->rx(p, in), 0);
    for (uint32_t slot = 0; slot < BURST_MAX; slot++) {
        uint32_t index = 1U << 20 | slot;

        send_header(sock, &sa, n, 0x11, index_check(key, index) << INDEX_CHECK_SHIFT | index, 64);
    }
    passed = receive(p, in, BURST_MAX);
    assert_int_equal(passed, BURST_MAX);
    (void)close(sock);
    p->ops->close(p);
    arena_unmap(&a);
}

static void test_a_taken_port_is_reported(void **state)
{
    struct arena a;
    struct pktio *p, *q;

    (void)state;
    assert_int_equal(arena_map(NULL, 0, 1 << 20, &a), OK);
    assert_int_equal(pktio_udp_open("127.0.0.1", 0, &a.regions, &p), OK);
    assert_int_equal(pktio_udp_open("127.0.0.1", port_of(p), &a.regions, &q), ERR_IO);
    assert_int_equal(pktio_udp_open("not an address", 0, &a.regions, &q), ERR_IO);
    p->ops->close(p);
    arena_unmap(&a);
}

static void test_arena_files_are_private_and_go_away(void **state)
{
    char dir[] = "/tmp/avocado-test-XXXXXX";
    char path[256];
    struct arena a;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(arena_map(dir, 3, 1 << 20, &a), OK);
    (void)snprintf(path, sizeof(path), "%s", a.path);
    assert_int_equal(access(path, F_OK), 0);
    a.regions.arena[a.regions.arena_bytes - 1] = 1;
    arena_unmap(&a);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(arena_map(dir, 3, 1 << 20, &a), ERR_IO);
}

static uint64_t resident(const struct arena *a)
{
    static unsigned char pages[8 << 20 >> 12];
    uint64_t n = 0;

    assert_true(a->regions.arena_bytes <= sizeof(pages) << 12);
    assert_int_equal(mincore(a->regions.arena, a->regions.arena_bytes, pages), 0);
    for (uint64_t i = 0; i < a->regions.arena_bytes >> 12; i++) {
        n += (pages[i] & 1U) << 12;
    }
    return n;
}

static void goes_back_to_the_kernel(const char *dir)
{
    const uint64_t part = UINT64_C(1) << 20;
    const uint64_t size = 8 * part;
    struct arena a;

    assert_int_equal(arena_map(dir, 0, size, &a), OK);
    assert_int_equal(resident(&a), 0);
    memset(a.regions.arena, 1, size);
    assert_int_equal(resident(&a), size);
    assert_int_equal(arena_drop(&a, 2 * part, 4 * part), 4 * part);
    assert_true(resident(&a) <= size - 2 * part); /* huge pages may go only when whole */
    assert_int_equal(a.regions.arena[2 * part - 1], 1);
    assert_int_equal(a.regions.arena[6 * part], 1);
    assert_int_equal(a.regions.arena[3 * part], 0);
    /* Whatever a shard asks for, nothing but the arena is touched. */
    assert_int_equal(arena_drop(&a, 0, 0), 0);
    assert_int_equal(arena_drop(&a, 1, 4096), 0);
    assert_int_equal(arena_drop(&a, 0, 100), 0);
    assert_int_equal(arena_drop(&a, size - 4096, 8192), 0);
    assert_int_equal(arena_drop(&a, UINT64_MAX & ~(uint64_t)4095, 8192), 0);
    arena_unmap(&a);
}

static void test_what_is_not_needed_goes_back_to_the_kernel(void **state)
{
    (void)state;
    goes_back_to_the_kernel(NULL);
    goes_back_to_the_kernel("/dev/shm");
}

/* A file that somebody cuts short while it is mapped: pages are missing, the process goes on. */
static void test_missing_pages_are_survived(void **state)
{
    enum { SIZE = 1 << 20 };
    char dir[] = "/tmp/avocado-test-XXXXXX";
    struct arena a, other;

    (void)state;
    assert_int_equal(arena_survive_faults(), OK);
    assert_non_null(mkdtemp(dir));
    assert_int_equal(arena_map(dir, 0, SIZE, &a), OK);
    assert_int_equal(arena_map(dir, 1, SIZE, &other), OK);
    memset(a.regions.arena, 1, SIZE);
    memset(other.regions.arena, 2, SIZE);
    assert_int_equal(truncate(a.path, SIZE / 2), 0);
    assert_int_equal(a.regions.arena[SIZE - 1], 0);
    assert_int_equal(arena_faults(&a), 1);
    memset(a.regions.arena, 3, SIZE);
    assert_int_equal(a.regions.arena[SIZE - 5000], 3);
    assert_int_equal(arena_faults(&a), SIZE / 2 / 4096);
    assert_int_equal(arena_faults(&other), 0);
    assert_int_equal(other.regions.arena[SIZE - 1], 2);
    arena_unmap(&a);
    arena_unmap(&other);
    assert_int_equal(rmdir(dir), 0);
}

/* The loop's partner: echoes what it gets, and stops asking when woken. */
struct echo {
    struct arena *arena;
    _Atomic uint32_t polls, packets;
    _Atomic int cpu; /* of the last poll */
};

static bool parses(const char *text, const char *as)
{
    struct cpus l;
    char all[64] = "";

    if (!cpus_parse(text, &l)) {
        return false;
    }
    for (uint32_t i = 0; i < l.n; i++) {
        size_t n = strlen(all);

        (void)snprintf(all + n, sizeof(all) - n, " %u", l.cpu[i]);
    }
    assert_string_equal(all, as);
    return true;
}

static void test_lists_of_processors(void **state)
{
    static const char *const bad[] = {"",    ",",    "1,",  ",1",  "1,,2",  "1-", "-1",
                                      "3-1", "1024", "0x1", "1 2", "1-2-3", "a",  "0-1023"};
    struct cpus l;
    uint16_t which;

    (void)state;
    assert_true(parses("0", " 0"));
    assert_true(parses("0-3,8", " 0 1 2 3 8"));
    assert_true(parses("7,1-2,7", " 7 1 2 7"));
    assert_true(parses("1023", " 1023"));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(cpus_parse(bad[i], &l));
    }
    assert_true(cpus_parse("1023", &l));
    assert_false(cpus_allowed(&l, &which));
    assert_int_equal(which, 1023);
    assert_true(cpus_parse("4,5,6", &l)); /* three nodes of two shards */
    assert_int_equal(cpus_of_shard(&l, 1, 2, 0), 4);
    assert_int_equal(cpus_of_shard(&l, 1, 2, 1), 5);
    assert_int_equal(cpus_of_shard(&l, 2, 2, 0), 6);
    assert_int_equal(cpus_of_shard(&l, 2, 2, 1), 4);
    assert_int_equal(cpus_of_shard(&l, 3, 2, 1), 6);
}

static void echo_poll(void *self, struct abi_poll *io)
{
    struct echo *e = self;

    e->polls++;
    e->cpu = sched_getcpu();
    io->tx_n = io->rx_n;
    for (uint32_t i = 0; i < io->rx_n; i++) {
        io->tx[i] = io->rx[i];
        memcpy(e->arena->regions.tx + io->tx[i].off, e->arena->regions.rx + io->rx[i].off,
               io->rx[i].len);
        e->packets++;
    }
    io->wake_at_ns = UINT64_MAX;
    io->more = 0;
    io->notify = 0;
}

static void test_the_loop_serves_wakes_and_stops(void **state)
{
    struct arena a, b;
    struct pktio *p, *q;
    struct echo e = {.arena = &a};
    struct shard_loop loop = {.shard = &e, .poll = echo_poll, .notify_fd = -1};
    struct abi_packet out = {.len = 5}, in[BURST_MAX];
    int cpu = CPU_SETSIZE - 1; /* the last one that there is */
    cpu_set_t all;

    (void)state;
    assert_int_equal(arena_map(NULL, 0, 1 << 20, &a), OK);
    assert_int_equal(arena_map(NULL, 0, 1 << 20, &b), OK);
    assert_int_equal(pktio_udp_open("127.0.0.1", 0, &a.regions, &p), OK);
    assert_int_equal(pktio_udp_open("127.0.0.1", 0, &b.regions, &q), OK);
    out.addr = (struct abi_addr){.family = 4, .ip = {127, 0, 0, 1}, .port = port_of(p)};
    memcpy(b.regions.tx, "hello", 5);
    loop.io = p;
    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    while (!CPU_ISSET((size_t)cpu, &all)) {
        cpu--;
    }
    loop.place = SHARD_LOOP_BOUND;
    loop.cpu = (uint16_t)cpu;
    assert_int_equal(shard_loop_start(&loop), OK);
    for (uint32_t i = 1; i <= 100; i++) {
        q->ops->tx(q, &out, 1);
        assert_int_equal(receive(q, in, 1), 1);
        assert_memory_equal(b.regions.rx + in[0].off, "hello", 5);
    }
    assert_int_equal(e.packets, 100);
    assert_int_equal(e.cpu, cpu);
    shard_loop_wake(&loop);
    shard_loop_stop(&loop); /* returns although no packet comes */
    p->ops->close(p);
    q->ops->close(q);
    arena_unmap(&a);
    arena_unmap(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_udp_carries_bursts),
        cmocka_unit_test(test_udp_drops_what_cannot_be_a_datagram_of_ours),
        cmocka_unit_test(test_the_gate_drops_what_no_session_sent),
        cmocka_unit_test(test_a_taken_port_is_reported),
        cmocka_unit_test(test_arena_files_are_private_and_go_away),
        cmocka_unit_test(test_what_is_not_needed_goes_back_to_the_kernel),
        cmocka_unit_test(test_missing_pages_are_survived),
        cmocka_unit_test(test_lists_of_processors),
        cmocka_unit_test(test_the_loop_serves_wakes_and_stops),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
