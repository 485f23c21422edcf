// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "host/frame/frame_wire.h"

static uint8_t *put_ether(uint8_t *p, const struct frame_mac *to, const struct frame_mac *from,
                          uint32_t type)
{
    memcpy(p, to->b, FRAME_MAC_LEN);
    memcpy(p + FRAME_MAC_LEN, from->b, FRAME_MAC_LEN);
    wire_put_u16(p + 12, type);
    return p + FRAME_ETHER_LEN;
}

static void put_sum(uint8_t *p, uint16_t sum)
{
    memcpy(p, &sum, sizeof(sum));
}

static uint8_t *put_ip4(uint8_t *p, const struct frame_path *path, uint32_t payload, unsigned left)
{
    const uint8_t head[FRAME_IP4_LEN] = {0x45, [8] = HOP_LIMIT, [9] = IP_UDP};

    memcpy(p, head, sizeof(head));
    wire_put_u16(p + 2, FRAME_IP4_LEN + payload);
    /* RFC 6864: what is never cut up needs no identification. */
    wire_put_u16(p + 6, IP4_DONT_FRAGMENT);
    memcpy(p + 12, path->from.ip, 4);
    memcpy(p + 16, path->to.ip, 4);
    if ((left & FRAME_IP_SUM) == 0) {
        put_sum(p + 10, checksum_end(checksum_add(0, p, FRAME_IP4_LEN)));
    }
    return p + FRAME_IP4_LEN;
}

static uint8_t *put_ip6(uint8_t *p, const uint8_t *from, const uint8_t *to, uint8_t next,
                        uint32_t payload)
{
    memset(p, 0, 8);
    p[0] = 0x60;
    wire_put_u16(p + 4, payload);
    p[6] = next;
    p[7] = next == IP_ICMP6 ? (uint8_t)ND_HOP_LIMIT : (uint8_t)HOP_LIMIT;
    memcpy(p + 8, from, 16);
    memcpy(p + 24, to, 16);
    return p + FRAME_IP6_LEN;
}

uint32_t frame_udp(const struct frame_path *path, struct bytes payload, unsigned left,
                   uint8_t head[static FRAME_HEAD_MAX])
{
    bool is_v6 = path->to.family == 6;
    uint32_t len = (uint32_t)payload.n + FRAME_UDP_LEN;
    uint8_t *p = put_ether(head, &path->to_mac, &path->from_mac, is_v6 ? ETHER_IP6 : ETHER_IP4), *u;
    size_t ips = is_v6 ? 32 : 8;
    uint64_t sum;
    uint16_t end;

    CHECK(len + FRAME_IP6_LEN <= UINT16_MAX && path->from.family == path->to.family);
    u = is_v6 ? put_ip6(p, path->from.ip, path->to.ip, IP_UDP, len) : put_ip4(p, path, len, left);
    wire_put_u16(u, path->from.port);
    wire_put_u16(u + 2, path->to.port);
    wire_put_u16(u + 4, len);
    put_sum(u + 6, 0);
    sum = wire_pseudo(u - ips, ips, IP_UDP, len);
    if ((left & FRAME_UDP_SUM) != 0) {
        end = checksum_fold(sum);
    } else {
        sum = checksum_add(sum, u, FRAME_UDP_LEN);
        end = checksum_end(checksum_add(sum, payload.p, payload.n));
        end = end == 0 ? UINT16_MAX : end; /* 0 would say that there is none */
    }
    put_sum(u + 6, end);
    return (uint32_t)(u + FRAME_UDP_LEN - head);
}

static uint32_t put_arp(const struct frame_path *path, const struct frame_mac *to_mac, uint16_t op,
                        uint8_t *to)
{
    uint8_t *p = put_ether(to, to_mac, &path->from_mac, ETHER_ARP);

    memset(p, 0, FRAME_MIN - FRAME_ETHER_LEN);
    wire_put_u16(p, 1);
    wire_put_u16(p + 2, ETHER_IP4);
    p[4] = FRAME_MAC_LEN;
    p[5] = 4;
    wire_put_u16(p + 6, op);
    memcpy(p + 8, path->from_mac.b, FRAME_MAC_LEN);
    memcpy(p + 14, path->from.ip, 4);
    if (op == ARP_REPLY) {
        memcpy(p + 18, to_mac->b, FRAME_MAC_LEN);
    }
    memcpy(p + 24, path->to.ip, 4);
    return FRAME_MIN;
}

/* A solicitation or an advertisement of `target`, with our MAC as its option. */
static uint32_t put_nd(const struct frame_path *path, const struct frame_mac *to_mac,
                       const uint8_t *target, uint8_t type, uint8_t flags, uint8_t *to)
{
    const uint32_t len = ND_LEN + ND_OPTION_UNIT;
    uint8_t *ip = put_ether(to, to_mac, &path->from_mac, ETHER_IP6);
    uint8_t *nd = put_ip6(ip, path->from.ip, path->to.ip, IP_ICMP6, len);

    memset(nd, 0, len);
    nd[0] = type;
    nd[4] = flags;
    memcpy(nd + 8, target, 16);
    nd[ND_LEN] = type == ND_SOLICIT ? ND_OPTION_SOURCE : ND_OPTION_TARGET;
    nd[ND_LEN + 1] = 1;
    memcpy(nd + ND_LEN + 2, path->from_mac.b, FRAME_MAC_LEN);
    put_sum(nd + 2, checksum_end(checksum_add(wire_pseudo(ip + 8, 32, IP_ICMP6, len), nd, len)));
    return FRAME_ETHER_LEN + FRAME_IP6_LEN + len;
}

/* RFC 2464 7 */
static struct frame_mac mac_of_group(const uint8_t *ip)
{
    return (struct frame_mac){{0x33, 0x33, ip[12], ip[13], ip[14], ip[15]}};
}

uint32_t frame_ask(const struct frame_path *path, uint8_t to[static FRAME_QUESTION_MAX])
{
    static const struct frame_mac everybody = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
    static const uint8_t solicited_node[13] = {0xff, 2, [11] = 1, 0xff};
    struct frame_path group = *path;
    struct frame_mac mac;

    if (path->to.family == 4) {
        return put_arp(path, &everybody, ARP_REQUEST, to);
    }
    memcpy(group.to.ip, solicited_node, sizeof(solicited_node));
    mac = mac_of_group(group.to.ip);
    return put_nd(&group, &mac, path->to.ip, ND_SOLICIT, 0, to);
}

uint32_t frame_tell(const struct frame_path *path, uint8_t to[static FRAME_QUESTION_MAX])
{
    static const struct abi_addr nobody = {.family = 6};
    static const uint8_t all_nodes[16] = {0xff, 2, [15] = 1};
    struct frame_path group = *path;
    struct frame_mac mac;

    if (path->to.family == 4) {
        return put_arp(path, &path->to_mac, ARP_REPLY, to);
    }
    if (!frame_ip_equal(&path->to, &nobody)) {
        return put_nd(path, &path->to_mac, path->from.ip, ND_ADVERTISE,
                      ND_IS_SOLICITED | ND_OVERRIDES, to);
    }
    memcpy(group.to.ip, all_nodes, sizeof(all_nodes));
    mac = mac_of_group(all_nodes);
    return put_nd(&group, &mac, path->from.ip, ND_ADVERTISE, ND_OVERRIDES, to);
}

struct abi_addr frame_link_local(const struct frame_mac *mac)
{
    const uint8_t *m = mac->b;

    return (struct abi_addr){
        .family = 6,
        .ip = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2U, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}};
}
