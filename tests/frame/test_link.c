// SPDX-License-Identifier: Apache-2.0
/* Two hosts on one cable: they find each other, talk, age, and survive those who lie. */
#include "host/frame/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct frame_mac mac_a = {{0x02, 0, 0, 0, 0, 0xaa}},
                              mac_b = {{0x02, 0, 0, 0, 0, 0xbb}};
static const uint64_t SECOND = UINT64_C(1000000000);
static const struct bytes hello = {(const uint8_t *)"hello", 5};

static struct abi_addr v4(uint8_t net, uint8_t last)
{
    return (struct abi_addr){.family = 4, .port = 7000, .ip = {10, net, 0, last}};
}

static struct abi_addr v6(uint8_t last)
{
    return (struct abi_addr){.family = 6, .port = 7000, .ip = {0xfd, 0x0a, [15] = last}};
}

static struct link_config config(struct frame_mac mac, uint8_t last)
{
    return (struct link_config){.mac = mac,
                                .mtu = 1500,
                                .own = {{v4(9, last), 24}, {v6(last), 64}},
                                .own_n = 2,
                                .port = 7000,
                                .ports_n = 2,
                                .key = {1, 2, 3}};
}

struct cable {
    struct link a, b;
};

static void plug(void **state)
{
    struct cable *c = calloc(1, sizeof(*c));
    const struct link_config a = config(mac_a, 1), b = config(mac_b, 2);

    assert_non_null(c);
    link_init(&c->a, &a);
    link_init(&c->b, &b);
    *state = c;
}

static int setup(void **state)
{
    plug(state);
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void send_out(struct link *l, uint32_t port, const struct abi_addr *to, struct bytes payload,
                     uint64_t now, struct link_departure *ret)
{
    link_out(l, &(struct link_datagram){.port = port, .to = to, .payload = payload}, now, ret);
}

static enum link_verdict give(struct link *to, const uint8_t *p, uint32_t n, uint64_t now,
                              struct link_arrival *ret)
{
    return link_in(to, (struct bytes){p, n}, 0, now, ret);
}

/* Sends hello; true once it has arrived at `to` as it should. Questions are asked and answered. */
static bool send_hello(struct link *from, struct link *to, const struct abi_addr *addr,
                       uint64_t now)
{
    struct link_departure d;
    struct link_arrival in;
    uint8_t frame[FRAME_HEAD_MAX + 5];

    send_out(from, 1, addr, hello, now, &d);
    if (d.question_len > 0 && give(to, d.question, d.question_len, now, &in) == LINK_ANSWER) {
        struct link_arrival unused;

        assert_int_equal(give(from, in.answer, in.answer_len, now, &unused), LINK_OTHERS);
    }
    if (d.head_len == 0) {
        return false;
    }
    memcpy(frame, d.head, d.head_len);
    memcpy(frame + d.head_len, hello.p, hello.n);
    assert_int_equal(give(to, frame, d.head_len + 5, now, &in), LINK_DATAGRAM);
    assert_int_equal(in.from.family, addr->family);
    assert_int_equal(in.from.port, 7001);
    assert_int_equal(in.port, 0);
    assert_int_equal(in.len, 5);
    assert_memory_equal(frame + in.off, "hello", 5);
    return true;
}

static void test_two_hosts(void **state)
{
    struct cable *c = *state;

    for (int family = 4; family <= 6; family += 2) {
        struct abi_addr a = family == 4 ? v4(9, 1) : v6(1), b = family == 4 ? v4(9, 2) : v6(2);

        assert_false(send_hello(&c->a, &c->b, &b, SECOND)); /* asks, and is told */
        assert_true(send_hello(&c->a, &c->b, &b, SECOND));
        assert_true(send_hello(&c->b, &c->a, &a, SECOND)); /* who was asked knows who asks */
    }
    assert_int_equal(c->a.counters.questions, 2);
    assert_int_equal(c->b.counters.questions, 0);
    assert_int_equal(c->b.counters.answered, 2);
}

static void test_aging(void **state)
{
    struct cable *c = *state;
    struct abi_addr b = v4(9, 2);
    struct link_departure d;
    uint64_t now = SECOND;

    assert_false(send_hello(&c->a, &c->b, &b, now));
    now += 29 * SECOND;
    send_out(&c->a, 0, &b, hello, now, &d);
    assert_true(d.head_len > 0 && d.question_len == 0);
    now += 2 * SECOND; /* no longer sure: still used, but asked about */
    send_out(&c->a, 0, &b, hello, now, &d);
    assert_true(d.head_len > 0 && d.question_len > 0);
    send_out(&c->a, 0, &b, hello, now + 1, &d);
    assert_true(d.head_len > 0 && d.question_len == 0); /* not twice a second */
    for (int i = 0; i < 2; i++) {
        now += SECOND;
        send_out(&c->a, 0, &b, hello, now, &d);
        assert_true(d.head_len > 0 && d.question_len > 0);
    }
    now += SECOND; /* three questions, no answer */
    send_out(&c->a, 0, &b, hello, now, &d);
    assert_true(d.head_len == 0 && d.question_len > 0);
    assert_false(send_hello(&c->a, &c->b, &b, now + SECOND));
    assert_true(send_hello(&c->a, &c->b, &b, now + SECOND));
}

/* Forged questions and answers without number: who is talked with stays known, under his MAC. */
static void test_lies(void **state)
{
    struct cable *c = *state;
    struct abi_addr b = v4(9, 2);
    struct link_departure d;
    struct link_arrival in;
    uint8_t q[FRAME_QUESTION_MAX];
    struct frame_path path = {.from_mac = {{0x02, 6, 6, 6, 6, 6}}, .to_mac = mac_a};

    assert_false(send_hello(&c->a, &c->b, &b, SECOND));
    assert_true(send_hello(&c->a, &c->b, &b, SECOND));
    for (uint32_t i = 0; i < 100000; i++) {
        path.from = v4(9, 0);
        path.from.ip[0] = (uint8_t)(11 + i % 200);
        path.from.ip[2] = (uint8_t)(i >> 16);
        path.from.ip[3] = (uint8_t)(i >> 8);
        path.to = v4(9, 1);
        (void)give(&c->a, q, frame_ask(&path, q), SECOND + i, &in);
        (void)give(&c->a, q, frame_tell(&path, q), SECOND + i, &in);
    }
    send_out(&c->a, 0, &b, hello, 2 * SECOND, &d);
    assert_true(d.head_len > 0 && d.question_len == 0);
    assert_memory_equal(d.head, mac_b.b, sizeof(mac_b.b));

    /* An answer that nobody asked for is no reason to remember somebody. */
    path.from = v4(9, 77);
    (void)give(&c->a, q, frame_tell(&path, q), 2 * SECOND, &in);
    send_out(&c->a, 0, &path.from, hello, 2 * SECOND, &d);
    assert_int_equal(d.head_len, 0);
    /* Nobody else has our own address. */
    path.from = v4(9, 1);
    (void)give(&c->a, q, frame_ask(&path, q), 2 * SECOND, &in);
    send_out(&c->a, 0, &path.from, hello, 2 * SECOND, &d);
    assert_int_equal(d.head_len, 0);
}

static void test_routes(void **state)
{
    struct cable *c = *state;
    struct abi_addr far = v4(8, 5), gateway = v4(9, 2), a = v4(9, 1);
    struct link_config with_gateway = config(mac_a, 1), pair = config(mac_a, 1);
    struct link_departure d;
    struct link_arrival in;
    static const uint8_t long_payload[1473];

    send_out(&c->a, 0, &far, hello, SECOND, &d);
    assert_int_equal(d.head_len + d.question_len, 0);
    assert_int_equal(c->a.counters.no_route, 1);

    with_gateway.gateway4 = gateway;
    link_init(&c->a, &with_gateway);
    send_out(&c->a, 0, &far, hello, SECOND, &d);
    assert_memory_equal(d.question + 38, gateway.ip, 4); /* asks for him */
    assert_int_equal(give(&c->b, d.question, d.question_len, SECOND, &in), LINK_ANSWER);
    (void)give(&c->a, in.answer, in.answer_len, SECOND, &in);
    send_out(&c->a, 0, &far, hello, SECOND, &d);
    assert_memory_equal(d.head, mac_b.b, 6);
    assert_memory_equal(d.head + 30, far.ip, 4);

    send_out(&c->a, 0, &far, (struct bytes){long_payload, 1472}, SECOND, &d);
    assert_int_not_equal(d.head_len, 0);
    send_out(&c->a, 0, &far, (struct bytes){long_payload, 1473}, SECOND, &d);
    assert_int_equal(d.head_len, 0);
    assert_int_equal(c->a.counters.too_long, 1);
    far.ip[0] = 239;
    send_out(&c->a, 0, &far, hello, SECOND, &d);
    assert_int_equal(d.head_len, 0);

    /* A cable with one other end: nobody is asked, even for our own address. */
    pair.is_pair = true;
    pair.peer = mac_b;
    link_init(&c->a, &pair);
    send_out(&c->a, 0, &a, hello, SECOND, &d);
    assert_true(d.head_len > 0 && d.question_len == 0);
    assert_memory_equal(d.head, mac_b.b, 6);
}

static void test_not_ours(void **state)
{
    struct cable *c = *state;
    struct link_departure d;
    struct link_arrival in;
    uint8_t frame[FRAME_HEAD_MAX + 5];
    struct abi_addr b = v4(9, 2);
    struct link_config shared = config(mac_b, 2);

    assert_false(send_hello(&c->a, &c->b, &b, SECOND));
    for (uint16_t port = 6999; port < 7004; port++) {
        b.port = port;
        send_out(&c->a, 0, &b, hello, SECOND, &d);
        memcpy(frame, d.head, d.head_len);
        memcpy(frame + d.head_len, hello.p, hello.n);
        if (port < 7000 || port > 7001) {
            assert_int_equal(give(&c->b, frame, d.head_len + 5, SECOND, &in), LINK_OTHERS);
        } else {
            assert_int_equal(give(&c->b, frame, d.head_len + 5, SECOND, &in), LINK_DATAGRAM);
            assert_int_equal(in.port, port - 7000);
        }
    }
    frame[5] ^= 1; /* to another MAC */
    assert_int_equal(give(&c->b, frame, d.head_len + 5, SECOND, &in), LINK_NOTHING);
    /* The kernel has the same address: it answers; we listen. */
    shared.has_others = true;
    link_init(&c->b, &shared);
    c->a.neighbours.sets[0][0].ip.family = 0;
    neighbours_init(&c->a.neighbours, c->a.c.key);
    send_out(&c->a, 0, &b, hello, SECOND, &d);
    assert_int_equal(give(&c->b, d.question, d.question_len, SECOND, &in), LINK_OTHERS);
    b = v4(9, 1);
    send_out(&c->b, 0, &b, hello, SECOND, &d);
    assert_true(d.head_len > 0);
    assert_int_equal(c->b.counters.answered, 0);
}

static void test_prefix(void **state)
{
    struct link_prefix p = {v4(9, 128), 25};
    struct abi_addr in = v4(9, 200), out = v4(9, 127), any = v4(77, 3), six = v6(1);

    (void)state;
    assert_true(link_prefix_has(&p, &in));
    assert_false(link_prefix_has(&p, &out));
    p.bits = 0;
    assert_true(link_prefix_has(&p, &any));
    assert_false(link_prefix_has(&p, &six));
    p = (struct link_prefix){v6(1), 128};
    assert_true(link_prefix_has(&p, &six));
    six.ip[15] = 2;
    assert_false(link_prefix_has(&p, &six));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_two_hosts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_aging, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_routes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_ours, setup, teardown),
        cmocka_unit_test(test_prefix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
