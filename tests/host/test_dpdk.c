// SPDX-License-Identifier: Apache-2.0
/*
 * DPDK on one end of a cable (veth) in a network namespace of its own, Linux on the other: the
 * kernel asks who we are, checks our checksums, and is told where to send. Needs root and `ip`.
 *
 *   Linux, 10.9.0.1, fd0a::1  va ==== vb  net_af_packet, 10.9.0.2, fd0a::2, two shards, one queue
 */
#include "host/dpdk/dpdk_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { SKIPPED = 77, SHARDS = 2, PORT = 7000, KERNEL_PORT = 9000, WAIT_MS = 5000 };

static struct dpdk *dpdk;
static struct pktio *io[SHARDS];
static struct abi_regions regions[SHARDS];
static uint8_t tx_region[ABI_PACKET_STRIDE];

static bool run(const char *line)
{
    char copy[256], *rest = copy, *argv[32];
    size_t n = 0;
    pid_t pid;
    int status = 1;

    (void)snprintf(copy, sizeof(copy), "%s", line);
    while (n < 31 && (argv[n] = strsep(&rest, " ")) != NULL) {
        n++;
    }
    argv[n] = NULL;
    pid = fork();
    if (pid == 0) {
        (void)execvp(argv[0], argv);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static bool plug_cable(void)
{
    static const char *const lines[] = {
        "ip link set lo up",
        "ip link add va mtu 9000 type veth peer name vb mtu 9000",
        "sysctl -qw net.ipv6.conf.vb.disable_ipv6=1",
        "ip addr add 10.9.0.1/24 dev va",
        "ip addr add fd0a::1/64 dev va nodad",
        "ip link set va up",
        "ip link set vb up",
    };

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (!run(lines[i])) {
            return false;
        }
    }
    return true;
}

static void open_dpdk(void)
{
    struct dpdk_options o = {.eal = "--no-huge -m 128 --no-pci --no-shconf --no-telemetry "
                                    "--log-level=*:error --vdev=net_af_packet0,iface=vb,"
                                    "framesz=9216,blocksz=36864,framecnt=256"};
    const struct dpdk_node node = {
        .address = "10.9.0.2", .port = PORT, .shards = SHARDS, .datagram_bytes = 8192};
    char why[DPDK_WHY] = "";

    if (dpdk_port_parse("net_af_packet0,ip=10.9.0.2/24,ip=fd0a::2/64,mtu=9000", &o, why) != OK ||
        dpdk_module.open(&o, &node, &dpdk, why) != OK) {
        fail_msg("%s", why);
    }
    for (uint32_t s = 0; s < SHARDS; s++) {
        regions[s].tx = tx_region;
        if (dpdk_module.open_shard(dpdk, s, &regions[s], &io[s], why) != OK) {
            fail_msg("%s", why);
        }
    }
}

/* The kernel's end: a socket on its address. */
static int kernel_socket(int family, struct sockaddr_storage *them)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(KERNEL_PORT)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(KERNEL_PORT)};

    int s = socket(family, SOCK_DGRAM, 0);

    assert_true(s >= 0);

    memset(them, 0, sizeof(*them));
    if (family == AF_INET) {
        (void)inet_pton(AF_INET, "10.9.0.1", &v4.sin_addr);
        assert_int_equal(bind(s, (struct sockaddr *)&v4, sizeof(v4)), 0);
        (void)inet_pton(AF_INET, "10.9.0.2", &v4.sin_addr);
        memcpy(them, &v4, sizeof(v4));
    } else {
        (void)inet_pton(AF_INET6, "fd0a::1", &v6.sin6_addr);
        assert_int_equal(bind(s, (struct sockaddr *)&v6, sizeof(v6)), 0);
        (void)inet_pton(AF_INET6, "fd0a::2", &v6.sin6_addr);
        memcpy(them, &v6, sizeof(v6));
    }
    return s;
}

static void kernel_send(int s, const struct sockaddr_storage *them, uint16_t port, const void *p,
                        size_t n)
{
    struct sockaddr_storage to = *them;
    socklen_t len =
        to.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

    ((struct sockaddr_in *)&to)->sin_port = htons(port); /* in the same place in both */
    assert_int_equal(sendto(s, p, n, 0, (struct sockaddr *)&to, len), (ssize_t)n);
}

/* Lets both shards work, sleeping as their threads do, until `shard` has something. */
static uint32_t receive(uint32_t shard, struct abi_packet *to)
{
    struct pollfd fds[SHARDS];

    for (int tries = 0; tries < 100; tries++) {
        for (uint32_t s = 0; s < SHARDS; s++) {
            struct abi_packet others[BURST_MAX];
            uint32_t n = io[s]->ops->rx(io[s], s == shard ? to : others);

            if (s == shard && n > 0) {
                return n;
            }
            assert_int_equal(n, 0);
        }
        for (uint32_t s = 0; s < SHARDS; s++) {
            fds[s] = (struct pollfd){.fd = io[s]->ops->fd(io[s]), .events = POLLIN};
            if (io[s]->ops->nap(io[s]) != UINT64_MAX) { /* 0: something is there already */
                fds[s].fd = -1;
            }
        }
        if (fds[0].fd >= 0 && fds[1].fd >= 0 && poll(fds, SHARDS, WAIT_MS) == 0) {
            return 0;
        }
    }
    return 0;
}

/* Sends until it is heard: as long as the shard does not know the neighbour, what it sends is lost.
 */
static void send_until_heard(uint32_t shard, struct abi_packet *out, int s, const uint8_t *text)
{
    struct abi_packet in[BURST_MAX];
    struct sockaddr_storage from;
    socklen_t len = sizeof(from);
    uint8_t back[8193];
    ssize_t n = -1;

    memcpy(tx_region, text, out->len);
    out->off = 0;
    for (int tries = 0; tries < 500 && n < 0; tries++) {
        struct pollfd heard = {.fd = s, .events = POLLIN};

        io[shard]->ops->tx(io[shard], out, 1);
        (void)poll(&heard, 1, 10);
        n = recvfrom(s, back, sizeof(back), MSG_DONTWAIT, (struct sockaddr *)&from, &len);
        for (uint32_t i = 0; i < SHARDS; i++) {
            assert_int_equal(io[i]->ops->rx(io[i], in), 0);
        }
    }
    assert_int_equal(n, out->len);
    assert_memory_equal(back, text, out->len);
    assert_int_equal(ntohs(((struct sockaddr_in *)&from)->sin_port), PORT + shard);
}

/* There and back, of n bytes. */
static void talk(int family, uint32_t shard, size_t n)
{
    struct sockaddr_storage them;
    int s = kernel_socket(family, &them);
    struct abi_packet in[BURST_MAX];
    uint8_t text[8192];

    for (size_t i = 0; i < n; i++) {
        text[i] = (uint8_t)(i * 7 + n);
    }
    kernel_send(s, &them, (uint16_t)(PORT + shard), text, n);
    assert_int_equal(receive(shard, in), 1);
    assert_int_equal(in[0].len, n);
    assert_true(in[0].off <= regions[shard].rx_bytes &&
                in[0].len <= regions[shard].rx_bytes - in[0].off);
    assert_memory_equal(regions[shard].rx + in[0].off, text, n);
    assert_int_equal(in[0].addr.port, KERNEL_PORT);
    assert_int_equal(in[0].addr.ip[family == AF_INET ? 3 : 15], 1);

    send_until_heard(shard, &in[0], s, text);
    (void)close(s);
}

static void test_talk(void **state)
{
    (void)state;
    for (uint32_t shard = 0; shard < SHARDS; shard++) {
        talk(AF_INET, shard, 5);
        talk(AF_INET6, shard, 6);
        talk(AF_INET, shard, 8192);
        talk(AF_INET6, shard, 8192);
        talk(AF_INET, shard, 1);
    }
    assert_true(io[0]->counters.rx_handed > 0); /* one queue: shard 0 found shard 1's */
    assert_int_equal(io[0]->counters.rx_bad + io[1]->counters.rx_bad, 0);
}

/* Whoever speaks first must ask, and hears the kernel's answer. */
static void test_speak_first(void **state)
{
    static const struct abi_addr addr[] = {
        {.family = 4, .port = KERNEL_PORT, .ip = {10, 9, 0, 1}},
        {.family = 6, .port = KERNEL_PORT, .ip = {0xfd, 0x0a, [15] = 1}}};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct sockaddr_storage them;
        int s = kernel_socket(i == 0 ? AF_INET : AF_INET6, &them);
        struct abi_packet out = {.len = 3, .addr = addr[i]};

        send_until_heard(1, &out, s, (const uint8_t *)"abc");
        (void)close(s);
    }
}

static void test_refused(void **state)
{
    static uint8_t big[20000];
    struct sockaddr_storage them;
    int s = kernel_socket(AF_INET, &them);
    uint64_t bad = io[0]->counters.rx_bad, others = io[0]->counters.rx_others;
    struct abi_packet in[BURST_MAX];

    (void)state;
    /* In fragments. The driver lets the kernel put them together, and cuts off what is too long. */
    kernel_send(s, &them, PORT, big, sizeof(big));
    kernel_send(s, &them, PORT + SHARDS, "x", 1); /* to nobody */
    for (int tries = 0;
         tries < 500 && (io[0]->counters.rx_bad < bad + 1 || io[0]->counters.rx_others == others);
         tries++) {
        assert_int_equal(io[0]->ops->rx(io[0], in) + io[1]->ops->rx(io[1], in), 0);
        (void)usleep(2000);
    }
    assert_int_equal(io[0]->counters.rx_bad, bad + 1);
    assert_true(io[0]->counters.rx_others > others);
    (void)close(s);
    talk(AF_INET, 0, 100);
}

static int setup(void **state)
{
    (void)state;
    open_dpdk();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (uint32_t s = 0; s < SHARDS; s++) {
        io[s]->ops->close(io[s]);
    }
    dpdk_module.close(dpdk);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_speak_first),
        cmocka_unit_test(test_talk),
        cmocka_unit_test(test_refused),
    };

    if (unshare(CLONE_NEWNET) != 0 || !plug_cable()) {
        (void)fprintf(stderr, "no network namespace with a veth pair to be had: %s\n",
                      strerror(errno));
        return SKIPPED;
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
