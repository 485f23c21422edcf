// SPDX-License-Identifier: Apache-2.0
/* Bursts over loopback: trains are coupled, carried, taken apart; what cannot be one travels alone.
 */
#include "host/net/udp_batch.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct end {
    int fd;
    union udp_name name;
    struct udp_counters counters;
    struct udp_receiver receiver;
    struct udp_sender sender;
    uint8_t *buffers;
};

static uint8_t room[UDP_BATCH][DATAGRAM_MAX];

static struct end *end_open(void)
{
    struct end *e = calloc(1, sizeof(*e));
    socklen_t n = sizeof(e->name);

    assert_non_null(e);
    e->buffers = calloc(UDP_BATCH, UDP_BUFFER);
    assert_non_null(e->buffers);
    e->name.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    e->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_true(e->fd >= 0);
    assert_int_equal(bind(e->fd, &e->name.sa, sizeof(e->name.v4)), 0);
    assert_int_equal(getsockname(e->fd, &e->name.sa, &n), 0);
    udp_receiver_init(&e->receiver, e->fd, e->buffers);
    udp_sender_init(&e->sender);
    return e;
}

static void end_close(struct end *e)
{
    (void)close(e->fd);
    free(e->buffers);
    free(e);
}

/* The next packet of the batch: `len` bytes, all of them `fill`. */
static void queue(struct end *from, const struct end *to, uint8_t fill, uint32_t len)
{
    uint32_t n = from->sender.n++;

    memset(room[n], fill, len);
    from->sender.packets[n] = (struct udp_departing){
        .p = room[n], .len = len, .name_len = sizeof(to->name.v4), .name = to->name};
}

/* The next datagram must be this one; asks for `max` at a time. */
static void expect(struct end *e, const struct end *from, uint8_t fill, uint32_t len)
{
    struct udp_arrived a;

    if (!udp_pending(&e->receiver)) {
        struct pollfd p = {.fd = e->fd, .events = POLLIN};

        assert_int_equal(poll(&p, 1, 5000), 1);
    }
    assert_int_equal(udp_receive(&e->receiver, e->fd, &a, 1, &e->counters), 1);
    assert_int_equal(a.len, len);
    assert_int_equal(e->buffers[a.off], fill);
    assert_int_equal(e->buffers[a.off + len - 1], fill);
    assert_int_equal(a.from->v4.sin_port, from->name.v4.sin_port);
}

static void equal_lengths_travel_together(void **state)
{
    struct end *a = end_open(), *b = end_open(), *c = end_open();

    (void)state;
    queue(a, b, 1, 1400);
    queue(a, c, 2, 900);
    queue(a, b, 3, 1400);
    queue(a, b, 4, 300); /* shorter: the last of the train */
    queue(a, c, 5, 900);
    queue(a, b, 6, 1400); /* a train of its own, behind the first */
    queue(a, b, 7, 1401);
    assert_true(udp_send(&a->sender, a->fd, &a->counters));
    assert_int_equal(a->counters.tx_calls, 1);
    assert_int_equal(a->counters.tx_trains, 2);
    assert_int_equal(a->sender.sent, 7);
    assert_int_equal(a->sender.dropped, 0);
    expect(b, a, 1, 1400);
    expect(b, a, 3, 1400);
    expect(b, a, 4, 300);
    expect(b, a, 6, 1400);
    expect(b, a, 7, 1401);
    expect(c, a, 2, 900);
    expect(c, a, 5, 900);
    assert_int_equal(udp_receive(&b->receiver, b->fd, &(struct udp_arrived){0}, 1, &b->counters),
                     0);
    end_close(a);
    end_close(b);
    end_close(c);
}

/* Full batches of every kind of length; the receiver takes them apart in pieces of any size. */
static void batches_arrive_whole_and_in_order(void **state)
{
    struct end *a = end_open(), *b = end_open();

    (void)state;
    for (uint32_t round = 0; round < 40; round++) {
        uint32_t got = 0;

        for (uint32_t i = 0; i < UDP_BATCH; i++) {
            queue(a, b, (uint8_t)(i + 1), round % 2 == 0 ? 32 + round * 40 : 100 + i * round);
        }
        assert_true(udp_send(&a->sender, a->fd, &a->counters));
        while (got < UDP_BATCH) {
            struct udp_arrived in[UDP_BATCH];
            struct pollfd p = {.fd = b->fd, .events = POLLIN};
            uint32_t n;

            assert_true(udp_pending(&b->receiver) || poll(&p, 1, 5000) == 1);
            n = udp_receive(&b->receiver, b->fd, in, 1 + round % UDP_BATCH, &b->counters);
            for (uint32_t i = 0; i < n; i++, got++) {
                assert_int_equal(in[i].len, round % 2 == 0 ? 32 + round * 40 : 100 + got * round);
                assert_int_equal(b->buffers[in[i].off + in[i].len - 1], got + 1);
            }
        }
    }
    assert_int_equal(a->sender.dropped, 0);
    end_close(a);
    end_close(b);
}

/* A route that carries no trains (here: a datagram larger than what the device takes cannot be a
 * segment): they go one by one from then on. */
static void refused_trains_go_one_by_one(void **state)
{
    struct end *a = end_open(), *b = end_open();
    static const int no_checksum = 1;

    (void)state;
    assert_int_equal(setsockopt(a->fd, SOL_SOCKET, SO_NO_CHECK, &no_checksum, sizeof(no_checksum)),
                     0);
    queue(a, b, 1, 500);
    queue(a, b, 2, 500);
    queue(a, b, 3, 500);
    assert_true(udp_send(&a->sender, a->fd, &a->counters)); /* segments need checksums: EINVAL */
    assert_false(a->sender.has_trains);
    queue(a, b, 4, 500);
    queue(a, b, 5, 500);
    assert_true(udp_send(&a->sender, a->fd, &a->counters));
    for (uint8_t i = 1; i <= 5; i++) {
        expect(b, a, i, 500);
    }
    assert_int_equal(a->sender.sent, 5);
    end_close(a);
    end_close(b);
}

static void what_has_no_way_is_dropped_alone(void **state)
{
    struct end *a = end_open(), *b = end_open();
    struct end nowhere = {.name.v4 = {.sin_family = AF_INET,
                                      .sin_port = htons(9),
                                      .sin_addr = {htonl(INADDR_BROADCAST)}}};

    (void)state;
    queue(a, b, 1, 100);
    queue(a, &nowhere, 2, 100);
    queue(a, b, 3, 100);
    a->sender.packets[a->sender.n++] = (struct udp_departing){.p = room[9], .len = 100};
    assert_true(udp_send(&a->sender, a->fd, &a->counters));
    expect(b, a, 1, 100);
    expect(b, a, 3, 100);
    assert_int_equal(a->sender.sent, 2);
    assert_int_equal(a->sender.dropped, 2);
    assert_true(a->sender.has_trains);
    end_close(a);
    end_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_lengths_travel_together),
        cmocka_unit_test(batches_arrive_whole_and_in_order),
        cmocka_unit_test(refused_trains_go_one_by_one),
        cmocka_unit_test(what_has_no_way_is_dropped_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
