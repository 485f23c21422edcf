// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_FRAME_LINK_H
#define HOST_FRAME_LINK_H

/*
 * One port of a NIC as a host of UDP: which addresses it has, where it sends what, and what it does
 * with each frame that arrives. Pure: frames in, verdicts and frames out; time is an argument.
 *
 *   frame in --> link_in()  --> a datagram for one of our ports | a frame to send back
 *                                | a frame for somebody else on this machine | nothing
 *   datagram --> link_out() --> headers | a question to send first | nowhere
 *
 * Several threads share a link, one at a time.
 */

#include "host/frame/neighbours.h"

enum {
    LINK_OWN_MAX = 4,     /* addresses given; that by the MAC comes on top */
    LINK_MTU_MAX = 16384, /* no more is used of a greater one */
};

struct link_prefix {
    struct abi_addr ip;
    uint8_t bits;
};

struct link_config {
    struct frame_mac mac;
    uint32_t mtu;                         /* bytes of an IP packet */
    struct link_prefix own[LINK_OWN_MAX]; /* with the prefix that is on the link */
    uint32_t own_n;
    struct abi_addr gateway4, gateway6; /* family 0: none */
    bool is_pair;                       /* a cable to one other end, `peer`: nobody is asked */
    struct frame_mac peer;
    bool
        has_others; /* somebody else on this machine has the same addresses: he answers questions */
    uint16_t port;  /* UDP ports from here ... */
    uint16_t ports_n;             /* ... so many */
    uint8_t key[SIPHASH_KEY_LEN]; /* random */
};

struct link_counters {
    uint64_t bad[FRAME_BAD_N];
    uint64_t not_ours; /* another MAC, address or port; or nothing that we understand */
    uint64_t questions, answers, answered; /* of neighbours: asked, got, given */
    uint64_t no_neighbour, no_route, too_long;
};

struct link {
    struct link_config c;
    struct link_prefix own[LINK_OWN_MAX + 1];
    uint32_t own_n;
    struct neighbours neighbours;
    struct link_counters counters;
};

/* An IPv6 address by the MAC is added when the configuration has any IPv6 address. */
void link_init(struct link *l, const struct link_config *c);

enum link_verdict {
    LINK_NOTHING,
    LINK_DATAGRAM, /* ret: from whom, which of our ports (from 0), where the payload is */
    LINK_ANSWER,   /* ret->answer is to be sent */
    LINK_OTHERS,   /* for somebody else on this machine, if there is anybody */
};

struct link_arrival {
    struct abi_addr from;
    uint32_t port; /* of ours, from 0 */
    uint32_t off, len;
    bool is_news; /* ANSWER, OTHERS: it told who has which MAC */
    uint8_t answer[FRAME_QUESTION_MAX];
    uint32_t answer_len;
};

/* `done`: checksums that the NIC has verified. */
enum link_verdict link_in(struct link *l, struct bytes frame, unsigned done, uint64_t now_ns,
                          struct link_arrival *ret);

struct link_departure {
    uint32_t head_len; /* 0: it cannot be sent (now) */
    uint8_t head[FRAME_HEAD_MAX];
    uint32_t question_len; /* a frame to send in any case; 0: none */
    uint8_t question[FRAME_QUESTION_MAX];
};

struct link_datagram {
    uint32_t port; /* of ours, from 0 */
    unsigned left; /* checksums that the NIC will complete */
    const struct abi_addr *to;
    struct bytes payload;
};
void link_out(struct link *l, const struct link_datagram *g, uint64_t now_ns,
              struct link_departure *ret);

/* Whether `ip` begins with the bits of the prefix. */
bool link_prefix_has(const struct link_prefix *p, const struct abi_addr *ip);

#endif
