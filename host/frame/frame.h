// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_FRAME_FRAME_H
#define HOST_FRAME_FRAME_H

/*
 * Ethernet frames, as a NIC without a kernel gives and takes them: what is in one, and how to make
 * one. Ethernet II, ARP (RFC 826), IPv4 (RFC 791), IPv6 (RFC 8200) with neighbour discovery (RFC
 * 4861), UDP (RFC 768). Bytes in, bytes out; no state, no clock.
 *
 * Fragments are refused: the RPC layer cuts what it sends to fit `datagram_bytes`, so nobody honest
 * sends any, and to put them together again is a classic of denial of service. Nothing here is
 * trusted: whoever can send frames can forge them, and the AEAD decides.
 */

#include "boundary/abi.h"
#include "common/bytes.h"

enum {
    FRAME_MAC_LEN = 6,
    FRAME_ETHER_LEN = 14,
    FRAME_IP4_LEN = 20,
    FRAME_IP6_LEN = 40,
    FRAME_UDP_LEN = 8,
    FRAME_HEAD_MAX = FRAME_ETHER_LEN + FRAME_IP6_LEN + FRAME_UDP_LEN,
    FRAME_MIN = 60,          /* shorter frames are padded */
    FRAME_QUESTION_MAX = 86, /* the longest that is not UDP: neighbour discovery with an option */
};

struct frame_mac {
    uint8_t b[FRAME_MAC_LEN];
};

enum frame_kind {
    FRAME_UDP = 1, /* a whole datagram */
    FRAME_ASKS,    /* ARP request, neighbour solicitation: who has `to`? `from` has `mac` */
    FRAME_TELLS,   /* ARP reply, neighbour advertisement: `from` has `mac` */
    FRAME_OTHER,   /* not of these; somebody else may understand it */
    FRAME_BAD,     /* nobody should: `why` */
};

enum frame_bad {
    FRAME_SHORT,     /* less there than its own lengths say */
    FRAME_MALFORMED, /* fields that cannot be */
    FRAME_FRAGMENT,
    FRAME_CHECKSUM,
    FRAME_BAD_N
};

struct frame {
    enum frame_kind kind;
    enum frame_bad why;
    struct frame_mac to_mac, from_mac; /* of the Ethernet header; not of BAD because SHORT */
    struct abi_addr from, to;          /* the ports are 0 unless it is UDP */
    uint32_t off, len;                 /* UDP: the payload */
    bool has_mac;                      /* ASKS, TELLS: there is a `mac` */
    bool overrides;                    /* TELLS: also if we know another one */
    struct frame_mac mac;
};

/* Bits of `done`: what the NIC has verified on the way in, or will complete on the way out. */
enum {
    FRAME_IP_SUM = 1,
    FRAME_UDP_SUM = 2,
};

void frame_parse(struct bytes b, unsigned done, struct frame *ret);

/* From whom to whom. Both addresses of one family; ports for UDP only. */
struct frame_path {
    struct frame_mac from_mac, to_mac;
    struct abi_addr from, to;
};

/* The headers of a datagram, which `payload` will follow; returns their length. With bits of `left`
 * set, the NIC completes the checksum: IPv4's is then 0, UDP's the sum of the pseudo-header, as
 * NICs want it. */
uint32_t frame_udp(const struct frame_path *path, struct bytes payload, unsigned left,
                   uint8_t head[static FRAME_HEAD_MAX]);
/* Who has path->to? Goes to everybody who could, whatever path->to_mac is. */
uint32_t frame_ask(const struct frame_path *path, uint8_t to[static FRAME_QUESTION_MAX]);
/* path->from has path->from_mac. `to` of family 6 with address :: tells everybody. */
uint32_t frame_tell(const struct frame_path *path, uint8_t to[static FRAME_QUESTION_MAX]);

static inline bool frame_mac_equal(const struct frame_mac *a, const struct frame_mac *b)
{
    return memcmp(a->b, b->b, FRAME_MAC_LEN) == 0;
}
static inline bool frame_mac_is_group(const struct frame_mac *m)
{
    return (m->b[0] & 1) != 0;
}
/* The port and the scope apart. */
static inline bool frame_ip_equal(const struct abi_addr *a, const struct abi_addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}
/* The IPv6 address that an interface has by its MAC alone (RFC 4291, appendix A). */
struct abi_addr frame_link_local(const struct frame_mac *mac);

#endif
