// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/net.h"

#include <arpa/inet.h>
#include <poll.h>
#include <unistd.h>

/* Batches, addresses of both families, and datagrams that do not fit. */

static const struct abi_addr v4_local = {.family = 4, .ip = {127, 0, 0, 1}};
static const struct abi_addr v6_local = {.family = 6, .ip = {[15] = 1}};

static struct net *bound(bool is_v6, struct abi_addr *ret)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 name = {0};
    socklen_t n = sizeof(name);
    struct net *net;

    assert_int_equal(net_open(is_v6, &net), OK);
    if (is_v6) {
        assert_int_equal(bind(net->fd, (const struct sockaddr *)&v6, sizeof(v6)), 0);
    } else {
        assert_int_equal(bind(net->fd, (const struct sockaddr *)&v4, sizeof(v4)), 0);
    }
    assert_int_equal(getsockname(net->fd, (struct sockaddr *)&name, &n), 0);
    *ret = is_v6 ? v6_local : v4_local;
    ret->port = ntohs(name.sin6_port); /* at the same place in both families */
    return net;
}

static void queue(struct net *n, const struct abi_addr *to, uint32_t number, size_t len)
{
    struct mbytes room = net_room(n);

    assert_non_null(room.p);
    assert_true(room.n >= DATAGRAM_MAX && len >= sizeof(number));
    memset(room.p, (int)number, len);
    memcpy(room.p, &number, sizeof(number));
    net_queue(n, to, len);
}

/* Waits for the next burst. */
static uint32_t receive(struct net *n)
{
    struct pollfd p = {.fd = n->fd, .events = POLLIN};

    assert_int_equal(poll(&p, 1, 5000), 1);
    return net_receive(n);
}

static void exchange(bool is_v6, bool over_v4)
{
    enum { N = 100 };
    struct abi_addr to, back;
    struct net *a = bound(is_v6, &back);
    struct net *b = bound(is_v6, &to);
    uint32_t got = 0;

    assert_int_equal(net_receive(b), 0); /* nothing there: no wait */
    if (over_v4) {
        uint16_t port = to.port, back_port = back.port;

        to = v4_local;
        back = v4_local;
        to.port = port;
        back.port = back_port;
    }
    for (uint32_t i = 0; i < N; i++) { /* more than one batch: the full ones leave by themselves */
        queue(a, &to, i, sizeof(i) + i);
    }
    assert_true(net_flush(a));
    while (got < N) {
        uint32_t n = receive(b);

        assert_true(n <= NET_BATCH);
        for (uint32_t i = 0; i < n; i++, got++) {
            struct abi_addr from;
            struct bytes d;

            assert_true(net_received(b, i, &d, &from));
            assert_int_equal(d.n, sizeof(got) + got);
            assert_memory_equal(d.p, &got, sizeof(got));
            assert_memory_equal(&from, &back, sizeof(from));
        }
    }
    assert_int_equal(net_receive(b), 0);
    net_close(a);
    net_close(b);
}

static void test_v4(void **state)
{
    (void)state;
    exchange(false, true);
}

static void test_v6(void **state)
{
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 local = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool has_v6 = fd >= 0 && bind(fd, (const struct sockaddr *)&local, sizeof(local)) == 0;

    (void)state;
    if (fd >= 0) {
        assert_int_equal(close(fd), 0);
    }
    if (!has_v6) {
        skip(); /* a machine without IPv6 */
    }
    exchange(true, false);
    exchange(true, true); /* a member with an IPv4 address in a cluster with both */
}

/* What is longer than any datagram of ours is not taken for a shorter one. */
static void test_cut_off(void **state)
{
    static uint8_t big[DATAGRAM_MAX + 1];
    struct abi_addr to;
    struct net *n = bound(false, &to);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(to.port)};
    struct abi_addr from;
    struct bytes d;

    (void)state;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(sendto(fd, big, sizeof(big), 0, (const struct sockaddr *)&name, sizeof(name)),
                     sizeof(big));
    assert_int_equal(receive(n), 1);
    assert_false(net_received(n, 0, &d, &from));
    assert_int_equal(sendto(fd, big, DATAGRAM_MAX, 0, (const struct sockaddr *)&name, sizeof(name)),
                     DATAGRAM_MAX);
    assert_int_equal(receive(n), 1);
    assert_true(net_received(n, 0, &d, &from));
    assert_int_equal(d.n, DATAGRAM_MAX);
    assert_int_equal(close(fd), 0);
    net_close(n);
}

/* A datagram that the kernel refuses is lost; those after it are not. */
static void test_refused_by_the_kernel(void **state)
{
    struct abi_addr to, nowhere = {.family = 4, .port = 9, .ip = {255, 255, 255, 255}};
    struct net *n = bound(false, &to);
    struct abi_addr from;
    struct bytes d;
    uint32_t number;

    (void)state;
    queue(n, &nowhere, 1, 10); /* broadcast: not permitted */
    queue(n, &to, 2, 10);
    assert_true(net_flush(n));
    assert_int_equal(receive(n), 1);
    assert_true(net_received(n, 0, &d, &from));
    memcpy(&number, d.p, sizeof(number));
    assert_int_equal(number, 2);
    net_close(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v4),
        cmocka_unit_test(test_v6),
        cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_refused_by_the_kernel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
