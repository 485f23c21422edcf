// SPDX-License-Identifier: Apache-2.0
/* What the framing of a datagram costs, out and in, without a device: bench_frame BYTES NUMBER */
#include "common/check.h"
#include "host/frame/link.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct link a, b;

static double now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static struct link_config config(uint8_t last)
{
    return (struct link_config){.mac = {{2, 0, 0, 0, 0, last}},
                                .mtu = 9000,
                                .own = {{{.family = 4, .ip = {10, 9, 0, last}}, 24}},
                                .own_n = 1,
                                .port = 7000,
                                .ports_n = 1};
}

static void one(const struct link_datagram *g, uint8_t *frame)
{
    struct link_departure d;
    struct link_arrival in;

    link_out(&a, g, 1, &d);
    if (d.question_len > 0) {
        CHECK(link_in(&b, (struct bytes){d.question, d.question_len}, 0, 1, &in) == LINK_ANSWER);
        (void)link_in(&a, (struct bytes){in.answer, in.answer_len}, 0, 1, &in);
        link_out(&a, g, 1, &d);
    }
    memcpy(frame, d.head, d.head_len);
    memcpy(frame + d.head_len, g->payload.p, g->payload.n);
    CHECK(link_in(&b, (struct bytes){frame, d.head_len + g->payload.n}, 0, 1, &in) ==
          LINK_DATAGRAM);
}

int main(int argc, char **argv)
{
    static uint8_t payload[DATAGRAM_MAX], frame[FRAME_HEAD_MAX + DATAGRAM_MAX];
    const struct abi_addr to = {.family = 4, .port = 7000, .ip = {10, 9, 0, 2}};
    size_t bytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;
    unsigned long n = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000000;
    const struct link_datagram g = {.to = &to, .payload = {payload, bytes}};
    const struct link_config from = config(1), with = config(2);
    double began;

    CHECK(bytes <= sizeof(payload) && n > 0);
    link_init(&a, &from);
    link_init(&b, &with);
    began = now_ns();
    for (unsigned long i = 0; i < n; i++) {
        one(&g, frame);
    }
    (void)printf("%zu bytes: %.0f ns a datagram, out and in\n", bytes,
                 (now_ns() - began) / (double)n);
    return 0;
}
