// SPDX-License-Identifier: Apache-2.0
/* Frames by hand and by the builder: what is taken, and what is refused for which reason. */
#include "host/frame/checksum.h"
#include "host/frame/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROOM = 512 };

struct buffer {
    uint8_t b[ROOM];
    uint32_t n;
};

static const struct frame_mac mac_a = {{0x02, 0, 0, 0, 0, 0xaa}},
                              mac_b = {{0x02, 0, 0, 0, 0, 0xbb}};

static struct abi_addr v4(uint8_t last, uint16_t port)
{
    return (struct abi_addr){.family = 4, .port = port, .ip = {10, 9, 0, last}};
}

static struct abi_addr v6(uint8_t last, uint16_t port)
{
    return (struct abi_addr){.family = 6, .port = port, .ip = {0xfd, 0x0a, [15] = last}};
}

static struct buffer hex(const char *text)
{
    struct buffer f = {.n = 0};

    while (*text != 0) {
        char pair[3] = {text[0], text[1], 0};

        if (*text == ' ') {
            text++;
            continue;
        }
        f.b[f.n++] = (uint8_t)strtoul(pair, NULL, 16);
        text += 2;
    }
    return f;
}

static struct frame parse(const struct buffer *f)
{
    /* At the end of a block of its own, so that a sanitizer sees every look beyond it. */
    uint8_t *copy = malloc(f->n == 0 ? 1 : f->n);
    struct frame ret;

    assert_non_null(copy);
    memcpy(copy, f->b, f->n);
    frame_parse((struct bytes){copy, f->n}, 0, &ret);
    free(copy);
    return ret;
}

static void assert_bad(const struct buffer *f, enum frame_bad why)
{
    struct frame g = parse(f);

    assert_int_equal(g.kind, FRAME_BAD);
    assert_int_equal(g.why, why);
}

static struct buffer datagram(struct abi_addr from, struct abi_addr to, const char *text)
{
    struct frame_path path = {.from_mac = mac_a, .to_mac = mac_b, .from = from, .to = to};
    struct bytes payload = {(const uint8_t *)text, strlen(text)};
    struct buffer f = {.n = 0};
    uint8_t head[FRAME_HEAD_MAX];

    f.n = frame_udp(&path, payload, 0, head);
    memcpy(f.b, head, f.n);
    memcpy(f.b + f.n, text, payload.n);
    f.n += (uint32_t)payload.n;
    return f;
}

/* The definition, word by word in network order. */
static uint16_t slow_checksum(const uint8_t *p, size_t n)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < n; i += 2) {
        sum += (uint32_t)(p[i] << 8 | (i + 1 < n ? p[i + 1] : 0));
    }
    while (sum >> 16 != 0) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)~sum;
}

static void reseal_ip4(struct buffer *f)
{
    uint32_t head = (f->b[14] & 15U) * 4;
    uint16_t sum;

    f->b[24] = f->b[25] = 0;
    sum = slow_checksum(f->b + 14, head);
    f->b[24] = (uint8_t)(sum >> 8);
    f->b[25] = (uint8_t)sum;
}

static void test_checksum(void **state)
{
    static const uint8_t rfc1071[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    uint8_t text[300];
    uint16_t sum;
    uint8_t *got = (uint8_t *)&sum;

    (void)state;
    sum = checksum_end(checksum_add(0, rfc1071, sizeof(rfc1071)));
    assert_int_equal(got[0] << 8 | got[1], 0x220d); /* RFC 1071 3: the sum is ddf2 */
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (uint8_t)(i * 193 + 255 - i / 7);
    }
    for (size_t from = 0; from < 8; from++) {
        for (size_t n = 0; n + from <= sizeof(text); n++) {
            sum = checksum_end(checksum_add(0, text + from, n));
            assert_int_equal(got[0] << 8 | got[1], slow_checksum(text + from, n));
        }
    }
    memset(text, 0xff, sizeof(text));
    assert_int_equal(checksum_end(checksum_add(0, text, sizeof(text))), 0);
}

static void test_udp_bytes(void **state)
{
    /* Sums worked out by hand: 4500 0020 4000 4011 0a09 0001 0a09 0002, and so on. */
    struct buffer wanted4 = hex("02000000 00bb 02000000 00aa 0800"
                                "4500 0020 0000 4000 4011 26b9 0a090001 0a090002"
                                "1b58 1b59 000c f049 61626364");
    struct buffer f = datagram(v4(1, 7000), v4(2, 7001), "abcd");
    struct frame g = parse(&f);

    (void)state;
    assert_int_equal(f.n, wanted4.n);
    assert_memory_equal(f.b, wanted4.b, f.n);
    assert_int_equal(g.kind, FRAME_UDP);
    assert_true(frame_ip_equal(&g.from, &(struct abi_addr){.family = 4, .ip = {10, 9, 0, 1}}));
    assert_int_equal(g.from.port, 7000);
    assert_int_equal(g.to.port, 7001);
    assert_int_equal(g.len, 4);
    assert_memory_equal(f.b + g.off, "abcd", 4);

    f = datagram(v6(1, 7000), v6(2, 7001), "abcde");
    g = parse(&f);
    assert_int_equal(g.kind, FRAME_UDP);
    assert_int_equal(g.off, FRAME_HEAD_MAX);
    assert_int_equal(g.len, 5);
    assert_true(frame_mac_equal(&g.to_mac, &mac_b) && frame_mac_equal(&g.from_mac, &mac_a));
}

/* A sum of 0 would say that there is none: RFC 768 sends all ones instead. */
static void test_sum_of_zero(void **state)
{
    uint32_t ones = 0;

    (void)state;
    for (uint32_t i = 0x0101; i <= UINT16_MAX; i++) {
        char text[] = {(char)(i >> 8), (char)i, 0};
        struct buffer f = datagram(v4(1, 7000), v4(2, 7001), text);

        assert_true(f.b[40] != 0 || f.b[41] != 0);
        ones += f.b[40] == 0xff && f.b[41] == 0xff && f.n == 44;
        assert_int_equal(parse(&f).kind, FRAME_UDP);
    }
    assert_true(ones > 0);
}

/* Not one byte less, not one bit else: after the Ethernet header everything of an IPv4 datagram is
 * under a checksum, of IPv6 all but traffic class, flow label and hop limit. */
static void test_cut_and_flipped(void **state)
{
    (void)state;
    for (int family = 4; family <= 6; family += 2) {
        struct buffer whole = family == 4 ? datagram(v4(1, 7000), v4(2, 7001), "a sealed datagram")
                                          : datagram(v6(1, 7000), v6(2, 7001), "a sealed datagram");

        for (uint32_t n = 0; n < whole.n; n++) {
            struct buffer f = whole;

            f.n = n;
            assert_bad(&f, FRAME_SHORT);
        }
        for (uint32_t bit = 14 * 8; bit < whole.n * 8; bit++) {
            struct buffer f = whole;
            uint32_t at = bit / 8 - 14;
            bool is_free =
                family == 6 && ((at == 0 && bit % 8 < 4) || (at > 0 && at < 4) || at == 7);

            f.b[bit / 8] ^= (uint8_t)(1U << bit % 8);
            if (is_free) {
                assert_int_equal(parse(&f).kind, FRAME_UDP);
            } else {
                assert_int_not_equal(parse(&f).kind, FRAME_UDP);
            }
        }
    }
}

static void test_ip4(void **state)
{
    const struct buffer good = datagram(v4(1, 7000), v4(2, 7001), "abcd");
    struct buffer f = good;

    (void)state;
    f.n = FRAME_MIN; /* padding */
    assert_int_equal(parse(&f).kind, FRAME_UDP);
    assert_int_equal(parse(&f).len, 4);

    memmove(f.b + 14 + 24, good.b + 34, 12); /* an option of four bytes */
    memset(f.b + 34, 1, 4);
    f.b[14] = 0x46;
    f.b[17] += 4;
    reseal_ip4(&f);
    assert_int_equal(parse(&f).kind, FRAME_UDP);
    assert_int_equal(parse(&f).off, 46);

    for (int i = 0; i < 3; i++) {
        static const uint8_t fragments[3][2] = {{0x20, 0}, {0, 1}, {0x20, 0xb9}};

        f = good;
        memcpy(f.b + 20, fragments[i], 2);
        reseal_ip4(&f);
        assert_bad(&f, FRAME_FRAGMENT);
    }
    f = good;
    f.b[14] = 0x44; /* a header of 16 bytes */
    reseal_ip4(&f);
    assert_bad(&f, FRAME_MALFORMED);
    f = good;
    f.b[26] = 224; /* from a group */
    reseal_ip4(&f);
    assert_bad(&f, FRAME_MALFORMED);
    f = good;
    f.b[38] = 0;
    f.b[39] = 7; /* UDP shorter than its header */
    assert_bad(&f, FRAME_MALFORMED);
    f.b[39] = 13; /* longer than the packet */
    assert_bad(&f, FRAME_SHORT);
    f = good;
    f.b[40] = f.b[41] = 0; /* without checksum */
    f.b[44] ^= 1;
    assert_int_equal(parse(&f).kind, FRAME_UDP);
    f = good;
    f.b[23] = 6; /* TCP: not for us */
    reseal_ip4(&f);
    assert_int_equal(parse(&f).kind, FRAME_OTHER);
}

/* What a NIC completes, and what a virtual device has left. */
static void test_offload(void **state)
{
    (void)state;
    for (int family = 4; family <= 6; family += 2) {
        struct frame_path path = {.from_mac = mac_a, .to_mac = mac_b};
        uint8_t head[FRAME_HEAD_MAX], payload[] = "payload";
        struct buffer f = {.n = 0};
        struct frame g;

        path.from = family == 4 ? v4(1, 1) : v6(1, 1);
        path.to = family == 4 ? v4(2, 2) : v6(2, 2);
        f.n = frame_udp(&path, (struct bytes){payload, sizeof(payload)}, FRAME_UDP_SUM, head);
        memcpy(f.b, head, f.n);
        memcpy(f.b + f.n, payload, sizeof(payload));
        f.n += (uint32_t)sizeof(payload);
        assert_int_equal(parse(&f).kind, FRAME_UDP);
        f.b[f.n - sizeof(payload) - 1] ^= 1;
        assert_bad(&f, FRAME_CHECKSUM);
        frame_parse((struct bytes){f.b, f.n}, FRAME_UDP_SUM,
                    &g); /* the NIC says that it is right */
        assert_int_equal(g.kind, FRAME_UDP);
    }
}

/* `extensions` between IPv6 and UDP; the first of them is of kind `first`. */
static struct buffer extended(uint8_t first, const char *extensions)
{
    struct buffer good = datagram(v6(1, 7000), v6(2, 7001), "abcd"), e = hex(extensions), f = good;

    memcpy(f.b + 54, e.b, e.n);
    memcpy(f.b + 54 + e.n, good.b + 54, good.n - 54);
    f.n += e.n;
    f.b[20] = first;
    f.b[19] = (uint8_t)(f.b[19] + e.n);
    return f;
}

static void test_ip6_extensions(void **state)
{
    struct buffer f = extended(0, "3c00 0104 00000000  1100 0104 00000000"); /* hop by hop, dest. */

    (void)state;
    assert_int_equal(parse(&f).kind, FRAME_UDP);
    assert_int_equal(parse(&f).off, FRAME_HEAD_MAX + 16);
    for (uint32_t n = 14; n < f.n; n++) {
        struct buffer cut = f;

        cut.n = n;
        assert_bad(&cut, FRAME_SHORT);
    }
    f = extended(44, "1100 0000 12345678"); /* the header of fragments around a whole packet */
    assert_int_equal(parse(&f).kind, FRAME_UDP);
    f = extended(44, "1100 0001 12345678");
    assert_bad(&f, FRAME_FRAGMENT);
    f = extended(44, "1100 0008 12345678");
    assert_bad(&f, FRAME_FRAGMENT);
    f = extended(43, "1100 0300 00000000"); /* a route with nothing left of it */
    assert_int_equal(parse(&f).kind, FRAME_UDP);
    f = extended(43, "1102 0001 00000000 00000000 00000000 00000000 00000000");
    assert_bad(&f, FRAME_MALFORMED);
    f = extended(60, "0000 0104 00000000 1100 0104 00000000"); /* hop by hop, but not first */
    assert_bad(&f, FRAME_MALFORMED);
    f = extended(60, "1109 0104 00000000"); /* longer than the packet */
    assert_bad(&f, FRAME_SHORT);
    f = extended(60,
                 "1104 0104 00000000"); /* the same, but no longer than it would be with its head */
    assert_bad(&f, FRAME_SHORT);
    f = extended(50, "00000000 00000000"); /* ESP */
    assert_int_equal(parse(&f).kind, FRAME_OTHER);
    f = extended(59, "");
    assert_int_equal(parse(&f).kind, FRAME_OTHER);
    f = extended(60, "3c00010400000000 3c00010400000000 3c00010400000000 3c00010400000000"
                     "3c00010400000000 3c00010400000000 3c00010400000000 1100010400000000");
    assert_int_equal(parse(&f).kind, FRAME_UDP);
    f = extended(60, "3c00010400000000 3c00010400000000 3c00010400000000 3c00010400000000"
                     "3c00010400000000 3c00010400000000 3c00010400000000 3c00010400000000"
                     "1100010400000000");
    assert_bad(&f, FRAME_MALFORMED);
    f = datagram(v6(1, 7000), v6(2, 7001), "abcd");
    f.b[60] = f.b[61] = 0; /* without checksum */
    assert_bad(&f, FRAME_CHECKSUM);
}

static void test_arp(void **state)
{
    const struct frame_path path = {
        .from_mac = mac_a, .to_mac = mac_b, .from = v4(1, 0), .to = v4(2, 0)};
    struct buffer wanted = hex("ffffffffffff 0200000000aa 0806 0001 0800 06 04 0001"
                               "0200000000aa 0a090001 000000000000 0a090002"),
                  f = {.n = 0};
    struct frame g;

    (void)state;
    f.n = frame_ask(&path, f.b);
    assert_int_equal(f.n, FRAME_MIN);
    assert_memory_equal(f.b, wanted.b, wanted.n);
    g = parse(&f);
    assert_int_equal(g.kind, FRAME_ASKS);
    assert_true(g.has_mac && frame_mac_equal(&g.mac, &mac_a));
    assert_true(frame_ip_equal(&g.from, &path.from) && frame_ip_equal(&g.to, &path.to));
    for (uint32_t n = 0; n < wanted.n; n++) {
        wanted.n = n;
        assert_bad(&wanted, FRAME_SHORT);
        wanted.n = 42;
    }
    f.b[15] = 2; /* of another hardware */
    assert_int_equal(parse(&f).kind, FRAME_OTHER);
    f.b[15] = 1;
    memset(f.b + 28, 0, 4); /* a probe for duplicates */
    assert_int_equal(parse(&f).kind, FRAME_ASKS);
    assert_false(parse(&f).has_mac);
    f.b[22] = 0x33; /* a MAC that is a group */
    assert_bad(&f, FRAME_MALFORMED);

    f.n = frame_tell(&path, f.b);
    g = parse(&f);
    assert_int_equal(g.kind, FRAME_TELLS);
    assert_true(frame_mac_equal(&g.to_mac, &mac_b) && frame_mac_equal(&g.mac, &mac_a));
    assert_true(frame_ip_equal(&g.from, &path.from));
}

/* The ICMPv6 checksum of a frame made by hand, before a change of `at` to `value`. */
static struct buffer changed(const struct buffer *good, uint32_t at, uint8_t value)
{
    struct buffer f = *good;
    uint8_t sum[40 + ROOM] = {0};
    uint32_t n;
    uint16_t s;

    f.b[at] = value;
    n = (uint32_t)(f.b[18] << 8 | f.b[19]);
    memcpy(sum, f.b + 22, 32);
    memcpy(sum + 34, f.b + 18, 2);
    sum[39] = 58;
    f.b[56] = f.b[57] = 0;
    memcpy(sum + 40, f.b + 54, n);
    s = slow_checksum(sum, 40 + n);
    f.b[56] = (uint8_t)(s >> 8);
    f.b[57] = (uint8_t)s;
    return f;
}

static void test_neighbour_discovery(void **state)
{
    const struct frame_path path = {
        .from_mac = mac_a, .to_mac = mac_b, .from = v6(1, 0), .to = v6(2, 0)};
    struct buffer good = {.n = 0}, f;
    struct frame_path dad = path;
    struct frame g;

    (void)state;
    good.n = frame_ask(&path, good.b);
    assert_memory_equal(good.b, "\x33\x33\xff\0\0\2", 6); /* RFC 2464 7 */
    assert_int_equal(good.b[38], 0xff);
    assert_int_equal(good.b[53], 2);
    g = parse(&good);
    assert_int_equal(g.kind, FRAME_ASKS);
    assert_true(g.has_mac && frame_mac_equal(&g.mac, &mac_a));
    assert_true(frame_ip_equal(&g.to, &path.to));
    f = changed(&good, 80, good.b[80]);
    assert_memory_equal(f.b, good.b, good.n); /* our sum is the definition's */
    for (uint32_t n = 14; n < good.n; n++) {
        f = good;
        f.n = n;
        assert_bad(&f, FRAME_SHORT);
    }
    f = good;
    f.b[70] ^= 1;
    assert_bad(&f, FRAME_CHECKSUM);
    f = changed(&good, 21, 254); /* forwarded by a router */
    assert_bad(&f, FRAME_MALFORMED);
    f = changed(&good, 55, 1); /* code */
    assert_bad(&f, FRAME_MALFORMED);
    f = changed(&good, 62, 0xff); /* who has a group? */
    assert_bad(&f, FRAME_MALFORMED);
    f = changed(&good, 79, 0); /* an option without length */
    assert_bad(&f, FRAME_MALFORMED);
    f = changed(&good, 79, 2); /* and one too long */
    assert_bad(&f, FRAME_MALFORMED);
    f = changed(&good, 80, 1); /* a MAC that is a group */
    assert_bad(&f, FRAME_MALFORMED);
    f = changed(&good, 78, 14); /* an option that we do not know */
    assert_int_equal(parse(&f).kind, FRAME_ASKS);
    assert_false(parse(&f).has_mac);
    f = changed(&good, 54, 134); /* a router's advertisement */
    assert_int_equal(parse(&f).kind, FRAME_OTHER);

    memset(dad.from.ip, 0, sizeof(dad.from.ip)); /* nobody may tell his MAC yet */
    f.n = frame_ask(&dad, f.b);
    assert_bad(&f, FRAME_MALFORMED);

    f.n = frame_tell(&path, f.b);
    g = parse(&f);
    assert_int_equal(g.kind, FRAME_TELLS);
    assert_true(g.overrides && g.has_mac && frame_mac_equal(&g.mac, &mac_a));
    assert_true(frame_ip_equal(&g.from, &path.from) && frame_mac_equal(&g.to_mac, &mac_b));
    dad.to = (struct abi_addr){.family = 6};
    dad.from = path.from;
    f.n = frame_tell(&dad, f.b);
    assert_memory_equal(f.b, "\x33\x33\0\0\0\1", 6);
    assert_int_equal(parse(&f).kind, FRAME_TELLS);
    f = changed(&f, 58, 0x40); /* an answer to somebody, to all */
    assert_bad(&f, FRAME_MALFORMED);
}

static void test_from_a_group(void **state)
{
    struct buffer f = datagram(v4(1, 1), v4(2, 2), "x");

    (void)state;
    f.b[6] |= 1;
    assert_bad(&f, FRAME_MALFORMED);
    f = datagram(v4(1, 0), v4(2, 2), "x");
    assert_bad(&f, FRAME_MALFORMED); /* no port to answer to */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checksum),
        cmocka_unit_test(test_udp_bytes),
        cmocka_unit_test(test_cut_and_flipped),
        cmocka_unit_test(test_ip4),
        cmocka_unit_test(test_offload),
        cmocka_unit_test(test_ip6_extensions),
        cmocka_unit_test(test_arp),
        cmocka_unit_test(test_neighbour_discovery),
        cmocka_unit_test(test_from_a_group),
        cmocka_unit_test(test_sum_of_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
