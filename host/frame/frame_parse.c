// SPDX-License-Identifier: Apache-2.0
#include "host/frame/frame_wire.h"

enum { EXTENSIONS_MAX = 8 }; /* of one packet; an honest one has none */

static void bad(struct frame *f, enum frame_bad why)
{
    f->kind = FRAME_BAD;
    f->why = why;
}

static void put_ip4(struct abi_addr *a, const uint8_t *ip)
{
    a->family = 4;
    memcpy(a->ip, ip, 4);
}

static void put_ip6(struct abi_addr *a, const uint8_t *ip)
{
    a->family = 6;
    memcpy(a->ip, ip, 16);
}

static bool is_zero(const uint8_t *p, size_t n)
{
    uint8_t any = 0;

    for (size_t i = 0; i < n; i++) {
        any |= p[i];
    }
    return any == 0;
}

static void take_mac(struct frame *f, const uint8_t *mac)
{
    memcpy(f->mac.b, mac, FRAME_MAC_LEN);
    f->has_mac = true;
}

/* ---- ARP ---- */

static void parse_arp(const uint8_t *p, size_t n, struct frame *f)
{
    static const uint8_t ethernet_ip4[] = {0, 1, 8, 0, FRAME_MAC_LEN, 4};
    uint16_t op;

    if (n < ARP_LEN) {
        bad(f, FRAME_SHORT);
        return;
    }
    op = wire_u16(p + 6);
    if (memcmp(p, ethernet_ip4, sizeof(ethernet_ip4)) != 0 ||
        (op != ARP_REQUEST && op != ARP_REPLY)) {
        return; /* ARP of something else */
    }
    take_mac(f, p + 8);
    if (frame_mac_is_group(&f->mac) || p[14] >= 224) {
        bad(f, FRAME_MALFORMED);
        return;
    }
    put_ip4(&f->from, p + 14);
    put_ip4(&f->to, p + 24);
    if (op == ARP_REQUEST) {
        f->kind = FRAME_ASKS;
        f->has_mac = !is_zero(p + 14, 4); /* a probe for duplicates (RFC 5227) tells nothing */
    } else {
        f->kind = FRAME_TELLS;
        f->overrides = true;
    }
}

/* ---- UDP ---- */

/* `at` in the whole frame; `n` bytes of IP payload. `pseudo` is the sum of the pseudo-header with
 * the length of the datagram still missing. */
static void parse_udp(const uint8_t *p, uint32_t at, uint32_t n, unsigned done, struct frame *f)
{
    const uint8_t *u = p + at;
    uint32_t len;
    uint16_t sum;

    if (n < FRAME_UDP_LEN) {
        bad(f, FRAME_SHORT);
        return;
    }
    len = wire_u16(u + 4);
    if (len > n) {
        bad(f, FRAME_SHORT);
        return;
    }
    if (len < FRAME_UDP_LEN || wire_u16(u) == 0) {
        bad(f, FRAME_MALFORMED);
        return;
    }
    memcpy(&sum, u + 6, sizeof(sum));
    if (sum == 0 && f->from.family == 6) {
        bad(f, FRAME_CHECKSUM); /* RFC 8200 8.1: only IPv4 may do without */
        return;
    }
    if (sum != 0 && (done & FRAME_UDP_SUM) == 0) {
        uint8_t ips[32];
        size_t half = f->from.family == 4 ? 4 : 16;
        uint64_t pseudo;

        memcpy(ips, f->from.ip, half);
        memcpy(ips + half, f->to.ip, half);
        pseudo = wire_pseudo(ips, 2 * half, IP_UDP, len);
        /* A kernel on this machine leaves the sum to a NIC that does not exist when it is a virtual
         * device: there is then that of the pseudo-header alone. No bit was on a wire. */
        if (checksum_end(checksum_add(pseudo, u, len)) != 0 && sum != checksum_fold(pseudo)) {
            bad(f, FRAME_CHECKSUM);
            return;
        }
    }
    f->kind = FRAME_UDP;
    f->from.port = wire_u16(u);
    f->to.port = wire_u16(u + 2);
    f->off = at + FRAME_UDP_LEN;
    f->len = len - FRAME_UDP_LEN;
}

/* ---- IPv4 ---- */

static void parse_ip4(const uint8_t *p, uint32_t n, unsigned done, struct frame *f)
{
    const uint8_t *ip = p + FRAME_ETHER_LEN;
    uint32_t room = n - FRAME_ETHER_LEN, head, total;

    if (room < FRAME_IP4_LEN) {
        bad(f, FRAME_SHORT);
        return;
    }
    head = (ip[0] & 15U) * 4;
    total = wire_u16(ip + 2);
    if (ip[0] >> 4 != 4 || head < FRAME_IP4_LEN || total < head) {
        bad(f, FRAME_MALFORMED);
        return;
    }
    if (total > room) {
        bad(f, FRAME_SHORT);
        return;
    }
    if ((done & FRAME_IP_SUM) == 0 && checksum_end(checksum_add(0, ip, head)) != 0) {
        bad(f, FRAME_CHECKSUM);
        return;
    }
    if ((wire_u16(ip + 6) & IP4_FRAGMENT) != 0) {
        bad(f, FRAME_FRAGMENT);
        return;
    }
    put_ip4(&f->from, ip + 12);
    put_ip4(&f->to, ip + 16);
    if (ip[9] != IP_UDP) {
        return;
    }
    if (ip[12] >= 224 || is_zero(ip + 12, 4)) { /* nobody is a group, or has no address */
        bad(f, FRAME_MALFORMED);
        return;
    }
    parse_udp(p, FRAME_ETHER_LEN + head, total - head, done, f);
}

/* ---- IPv6 ---- */

/* RFC 4861 7.1: what makes a solicitation or an advertisement. */
static void parse_nd(const uint8_t *ip, const uint8_t *nd, uint32_t n, struct frame *f)
{
    bool asks = nd[0] == ND_SOLICIT, is_unspecified = is_zero(ip + 8, 16);
    uint8_t wanted = asks ? ND_OPTION_SOURCE : ND_OPTION_TARGET;

    if (ip[7] != ND_HOP_LIMIT || nd[1] != 0 || n < ND_LEN || nd[8] == 0xff || ip[8] == 0xff ||
        (!asks && ip[24] == 0xff && (nd[4] & ND_IS_SOLICITED) != 0)) {
        bad(f, FRAME_MALFORMED);
        return;
    }
    for (uint32_t at = ND_LEN; at < n;) {
        uint32_t len = n - at < 2 ? 0 : nd[at + 1] * (uint32_t)ND_OPTION_UNIT;

        if (len == 0 || len > n - at) {
            bad(f, FRAME_MALFORMED);
            return;
        }
        if (nd[at] == wanted && len == ND_OPTION_UNIT) {
            take_mac(f, nd + at + 2);
        }
        at += len;
    }
    if (f->has_mac && (frame_mac_is_group(&f->mac) || (asks && is_unspecified))) {
        bad(f, FRAME_MALFORMED);
        return;
    }
    if (asks) {
        f->kind = FRAME_ASKS;
        put_ip6(&f->to, nd + 8);
    } else {
        f->kind = FRAME_TELLS;
        f->overrides = (nd[4] & ND_OVERRIDES) != 0;
        put_ip6(&f->from, nd + 8);
    }
}

/* Past the extension headers (RFC 8200 4). The protocol that follows in *ret_next, and where; false
 * when it is none of ours or nothing that can be: f says so. */
static bool skip_extensions(const uint8_t *ip, uint32_t total, struct frame *f, uint32_t *ret_at,
                            uint8_t *ret_next)
{
    enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, DESTINATION = 60 };
    uint8_t next = ip[6];
    uint32_t at = FRAME_IP6_LEN;

    for (int i = 0;
         next == HOP_BY_HOP || next == ROUTING || next == FRAGMENT || next == DESTINATION; i++) {
        const uint8_t *e = ip + at;
        uint32_t len;

        if (total - at < 8) {
            bad(f, FRAME_SHORT);
            return false;
        }
        if (i == EXTENSIONS_MAX || (next == HOP_BY_HOP && i > 0)) {
            bad(f, FRAME_MALFORMED);
            return false;
        }
        if (next == FRAGMENT && (wire_u16(e + 2) & ~6U) != 0) {
            bad(f, FRAME_FRAGMENT); /* RFC 6946: a whole packet may carry the header, too */
            return false;
        }
        if (next == ROUTING && e[3] != 0) {
            bad(f, FRAME_MALFORMED); /* to go on to others: we are no router */
            return false;
        }
        len = next == FRAGMENT ? 8 : (e[1] + 1U) * 8;
        if (len > total - at) {
            bad(f, FRAME_SHORT);
            return false;
        }
        next = e[0];
        at += len;
    }
    *ret_at = at;
    *ret_next = next;
    return true;
}

static void parse_ip6(const uint8_t *p, uint32_t n, unsigned done, struct frame *f)
{
    const uint8_t *ip = p + FRAME_ETHER_LEN;
    uint32_t room = n - FRAME_ETHER_LEN, total, at;
    uint8_t next;

    if (room < FRAME_IP6_LEN) {
        bad(f, FRAME_SHORT);
        return;
    }
    total = FRAME_IP6_LEN + wire_u16(ip + 4);
    if (ip[0] >> 4 != 6) {
        bad(f, FRAME_MALFORMED);
        return;
    }
    if (total > room) {
        bad(f, FRAME_SHORT);
        return;
    }
    put_ip6(&f->from, ip + 8);
    put_ip6(&f->to, ip + 24);
    if (!skip_extensions(ip, total, f, &at, &next)) {
        return;
    }
    if (next == IP_UDP) {
        if (ip[8] == 0xff || is_zero(ip + 8, 16)) {
            bad(f, FRAME_MALFORMED);
            return;
        }
        parse_udp(p, FRAME_ETHER_LEN + at, total - at, done, f);
    } else if (next == IP_ICMP6 && total - at >= 4) {
        const uint8_t *icmp = ip + at;

        if (icmp[0] != ND_SOLICIT && icmp[0] != ND_ADVERTISE) {
            return;
        }
        if (checksum_end(checksum_add(wire_pseudo(ip + 8, 32, IP_ICMP6, total - at), icmp,
                                      total - at)) != 0) {
            bad(f, FRAME_CHECKSUM);
            return;
        }
        parse_nd(ip, icmp, total - at, f);
    }
}

void frame_parse(struct bytes b, unsigned done, struct frame *ret)
{
    struct frame f = {.kind = FRAME_OTHER};
    uint16_t type;

    if (b.n < FRAME_ETHER_LEN || b.n > UINT32_MAX) {
        bad(&f, FRAME_SHORT);
        *ret = f;
        return;
    }
    memcpy(f.to_mac.b, b.p, FRAME_MAC_LEN);
    memcpy(f.from_mac.b, b.p + FRAME_MAC_LEN, FRAME_MAC_LEN);
    type = wire_u16(b.p + 12);
    if (frame_mac_is_group(&f.from_mac)) {
        bad(&f, FRAME_MALFORMED);
    } else if (type == ETHER_IP4) {
        parse_ip4(b.p, (uint32_t)b.n, done, &f);
    } else if (type == ETHER_IP6) {
        parse_ip6(b.p, (uint32_t)b.n, done, &f);
    } else if (type == ETHER_ARP) {
        parse_arp(b.p + FRAME_ETHER_LEN, b.n - FRAME_ETHER_LEN, &f);
    }
    *ret = f;
}
