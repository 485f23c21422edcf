// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_FRAME_FRAME_WIRE_H
#define HOST_FRAME_FRAME_WIRE_H

/* Numbers of the formats, and big-endian fields; for frame_parse.c and frame_build.c. */

#include "host/frame/checksum.h"
#include "host/frame/frame.h"

enum {
    ETHER_IP4 = 0x0800,
    ETHER_ARP = 0x0806,
    ETHER_IP6 = 0x86dd,

    ARP_LEN = 28,
    ARP_REQUEST = 1,
    ARP_REPLY = 2,

    IP_UDP = 17,
    IP_ICMP6 = 58,
    IP4_DONT_FRAGMENT = 0x4000,
    IP4_FRAGMENT = 0x3fff, /* more fragments, or an offset */
    HOP_LIMIT = 64,

    ND_SOLICIT = 135,
    ND_ADVERTISE = 136,
    ND_LEN = 24,
    ND_HOP_LIMIT = 255, /* nobody has forwarded it */
    ND_OPTION_SOURCE = 1,
    ND_OPTION_TARGET = 2,
    ND_OPTION_UNIT = 8,
    ND_IS_SOLICITED = 0x40,
    ND_OVERRIDES = 0x20,
};

static inline uint16_t wire_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}
static inline void wire_put_u16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* The sum of what IPv4 or IPv6 adds to that of the protocol above (RFC 768, RFC 8200 8.1); `ips`
 * are both addresses as they lie in the header. */
static inline uint64_t wire_pseudo(const uint8_t *ips, size_t ips_n, uint8_t protocol, uint32_t len)
{
    const uint8_t rest[8] = {(uint8_t)(len >> 24),
                             (uint8_t)(len >> 16),
                             (uint8_t)(len >> 8),
                             (uint8_t)len,
                             0,
                             0,
                             0,
                             protocol};

    return checksum_add(checksum_add(0, ips, ips_n), rest, sizeof(rest));
}

#endif
