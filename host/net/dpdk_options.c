// SPDX-License-Identifier: Apache-2.0
#include "host/net/addr.h"
#include "host/net/dpdk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPEC_MAX = 1024 };

static bool parse_number(const char *text, unsigned long max, unsigned long *ret)
{
    char *end;

    errno = 0;
    *ret = strtoul(text, &end, 10);
    return errno == 0 && *end == 0 && end != text && text[0] >= '0' && text[0] <= '9' &&
           *ret <= max;
}

static bool parse_ip(const char *text, struct abi_addr *ret)
{
    struct sockaddr_storage sa;
    socklen_t n;

    if (!addr_parse(text, 0, &sa, &n)) {
        return false;
    }
    addr_from_sockaddr((const struct sockaddr *)&sa, ret);
    return true;
}

/* A/BITS; `text` is cut up. */
static bool parse_prefix(char *text, struct link_prefix *ret)
{
    char *bits = strchr(text, '/');
    unsigned long n;

    if (bits == NULL) {
        return false;
    }
    *bits++ = 0;
    if (!parse_ip(text, &ret->ip) || !parse_number(bits, ret->ip.family == 4 ? 32 : 128, &n)) {
        return false;
    }
    ret->bits = (uint8_t)n;
    return true;
}

/* A/BITS or A/BITS@P-Q */
static bool parse_route(char *text, struct dpdk_route *ret)
{
    char *first = strchr(text, '@'), *last = NULL;
    unsigned long p = 0, q = UINT16_MAX;

    if (first != NULL) {
        *first++ = 0;
        last = strchr(first, '-');
    }
    if (last != NULL) {
        *last++ = 0;
    }
    if (first != NULL && (last == NULL || !parse_number(first, UINT16_MAX, &p) ||
                          !parse_number(last, UINT16_MAX, &q) || q < p)) {
        return false;
    }
    ret->port_first = (uint16_t)p;
    ret->port_last = (uint16_t)q;
    return parse_prefix(text, &ret->prefix);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool parse_mac(const char *text, struct frame_mac *ret)
{
    if (strlen(text) != sizeof("00:00:00:00:00:00") - 1) {
        return false;
    }
    for (int i = 0; i < FRAME_MAC_LEN; i++, text += 3) {
        int high = hex_digit(text[0]), low = hex_digit(text[1]);

        if (high < 0 || low < 0 || text[2] != (i + 1 < FRAME_MAC_LEN ? ':' : 0)) {
            return false;
        }
        ret->b[i] = (uint8_t)(high << 4 | low);
    }
    return !frame_mac_is_group(ret);
}

static bool parse_gateway(const char *text, struct dpdk_port_options *p)
{
    struct abi_addr a;

    if (!parse_ip(text, &a)) {
        return false;
    }
    *(a.family == 4 ? &p->gateway4 : &p->gateway6) = a;
    return true;
}

static bool take_name(const char *text, char to[DPDK_NAME_MAX])
{
    return text[0] != 0 && snprintf(to, DPDK_NAME_MAX, "%s", text) < DPDK_NAME_MAX;
}

/* What is wrong with key=value; NULL: nothing. `value` is cut up. */
static const char *take_word(const char *key, char *value, struct dpdk_port_options *p)
{
    unsigned long n;

    if (strcmp(key, "ip") == 0) {
        return p->own_n < LINK_OWN_MAX && parse_prefix(value, &p->own[p->own_n++])
                   ? NULL
                   : "up to 4 addresses of this port, like 10.0.0.1/24 or fd00::1/64";
    }
    if (strcmp(key, "to") == 0) {
        return p->routes_n < DPDK_ROUTES_MAX && parse_route(value, &p->routes[p->routes_n++])
                   ? NULL
                   : "up to 8 destinations, like 10.0.0.0/24 or 10.0.0.2/32@7000-7003";
    }
    if (strcmp(key, "via") == 0) {
        return parse_gateway(value, p) ? NULL : "the address of a router on this link";
    }
    if (strcmp(key, "mac") == 0) {
        p->is_pair = true;
        return parse_mac(value, &p->peer) ? NULL
                                          : "the MAC of the only other end, like 02:00:00:00:00:01";
    }
    if (strcmp(key, "mtu") == 0) {
        p->mtu = parse_number(value, LINK_MTU_MAX, &n) ? (uint32_t)n : 0;
        return p->mtu >= 1280 ? NULL : "bytes of an IP packet, 1280 to 16384";
    }
    if (strcmp(key, "kernel") == 0) {
        return take_name(value, p->kernel) ? NULL : "the name of a device of DPDK";
    }
    return "no such word; there are ip, via, to, mac, mtu, kernel";
}

RESULT dpdk_port_parse(const char *text, struct dpdk_options *o, char why[static DPDK_WHY])
{
    struct dpdk_port_options *p = &o->ports[o->ports_n];
    char copy[SPEC_MAX], *rest = copy, *word;

    if (strcmp(text, "kernel") == 0) {
        o->has_kernel = true;
        return OK;
    }
    if (o->ports_n == DPDK_PORTS_MAX || strlen(text) >= sizeof(copy)) {
        (void)snprintf(why, DPDK_WHY, "at most %d ports, each described by less than %d bytes",
                       DPDK_PORTS_MAX, SPEC_MAX);
        return ERR_USAGE;
    }
    *p = (struct dpdk_port_options){.own_n = 0};
    memcpy(copy, text, strlen(text) + 1);
    word = strsep(&rest, ",");
    if (!take_name(word, p->device)) {
        (void)snprintf(why, DPDK_WHY, "port '%.64s' does not begin with the name of a device",
                       text);
        return ERR_USAGE;
    }
    while ((word = strsep(&rest, ",")) != NULL) {
        char *value = strchr(word, '='), shown[64];
        const char *wrong;

        (void)snprintf(shown, sizeof(shown), "%s", word);
        if (value != NULL) {
            *value++ = 0;
        }
        wrong = value == NULL ? "not of the form word=value" : take_word(word, value, p);
        if (wrong != NULL) {
            (void)snprintf(why, DPDK_WHY, "port %s: '%s': %s", p->device, shown, wrong);
            return ERR_USAGE;
        }
    }
    if (p->own_n == 0) {
        (void)snprintf(why, DPDK_WHY, "port %s has no address; add ip=ADDRESS/BITS", p->device);
        return ERR_USAGE;
    }
    o->ports_n++;
    return OK;
}
