// SPDX-License-Identifier: Apache-2.0
/* CTL-2: the messages of the control channel, byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "trusted/wire/hello_wire.h"

#include <stdlib.h>

#define BOOT 0xb0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15

struct golden {
    struct control_message m;
    size_t n;
    uint8_t bytes[128];
};

static const struct golden golden[] = {
    {
        .m = {.kind = CONTROL_HELLO,
              .version = CONTROL_VERSION,
              .role = ROLE_REPLICA,
              .epoch = 0x0807060504030201,
              .incarnation = 0x44332211,
              .boot = {BOOT},
              .shards_n = 2,
              .index = {0x00100000, 0xfff00001}},
        .n = 46,
        .bytes = {42,   0,    0,    0,    1,    2, 0, 1, 1, 2,    3, 4, 5, 6,    7,   8,
                  0x11, 0x22, 0x33, 0x44, BOOT, 2, 0, 0, 0, 0x10, 0, 1, 0, 0xf0, 0xff},
    },
    {
        .m = {.kind = CONTROL_HELLO,
              .version = CONTROL_VERSION,
              .role = ROLE_CLIENT,
              .boot = {BOOT},
              .shards_n = 1,
              .index = {7}},
        .n = 42,
        .bytes = {38, 0, 0, 0, 1, 2, 0,    2, 0, 0, 0, 0, 0, 0,
                  0,  0, 0, 0, 0, 0, BOOT, 1, 0, 7, 0, 0, 0},
    },
    {
        .m = {.kind = CONTROL_WELCOME,
              .version = CONTROL_VERSION,
              .epoch = 5,
              .incarnation = 12,
              .boot = {BOOT},
              .datagram_bytes = 1400,
              .value_max = 1 << 20,
              .shards_n = 2,
              .index = {0x00200003, 9},
              .port = {7201, 0xffff}},
        .n = 57,
        .bytes = {53, 0,  0, 0, 2,    2,    0,    5,    0, 0, 0, 0, 0,    0,
                  0,  12, 0, 0, 0,    BOOT, 0x78, 0x05, 0, 0, 0, 0, 0x10, 0,
                  2,  0,  3, 0, 0x20, 0,    0x21, 0x1c, 9, 0, 0, 0, 0xff, 0xff},
    },
    {
        .m = {.kind = CONTROL_STATUS},
        .n = 5,
        .bytes = {1, 0, 0, 0, 3},
    },
    {
        .m = {.kind = CONTROL_REPORT, .text = {(const uint8_t *)"{}", 2}},
        .n = 7,
        .bytes = {3, 0, 0, 0, 4, '{', '}'},
    },
    {
        .m = {.kind = CONTROL_BYE, .err = ERR_EPOCH, .text = {(const uint8_t *)"why", 3}},
        .n = 9,
        .bytes = {5, 0, 0, 0, 5, ERR_EPOCH, 'w', 'h', 'y'},
    },
    {
        .m = {.kind = CONTROL_CONFIG,
              .sig = {(const uint8_t *)"si", 2},
              .text = {(const uint8_t *)"text", 4}},
        .n = 12,
        .bytes = {8, 0, 0, 0, 16, 2, 's', 'i', 't', 'e', 'x', 't'},
    },
};

enum { GOLDEN_N = sizeof(golden) / sizeof(golden[0]) };

static void test_golden(void **state)
{
    (void)state;
    for (size_t i = 0; i < GOLDEN_N; i++) {
        uint8_t to[128];
        size_t n = 0;

        assert_int_equal(control_message_encode(&golden[i].m, (struct mbytes){to, sizeof(to)}, &n),
                         OK);
        assert_int_equal(n, golden[i].n);
        assert_memory_equal(to, golden[i].bytes, n);
    }
}

static enum err decode(const uint8_t *p, size_t n, struct control_message *ret)
{
    /* A block of its own, so that a sanitizer sees a read beyond the end. */
    uint8_t *copy = malloc(n == 0 ? 1 : n);
    enum err err = OK;

    assert_non_null(copy);
    memcpy(copy, p, n);
    err = control_message_decode((struct bytes){copy, n}, ret);
    free(copy);
    return err;
}

static void test_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < GOLDEN_N; i++) {
        struct control_message m = {0};
        const struct control_message *want = &golden[i].m;

        assert_int_equal(
            control_message_decode((struct bytes){golden[i].bytes + 4, golden[i].n - 4}, &m), OK);
        assert_int_equal(m.kind, want->kind);
        assert_int_equal(m.err, want->err);
        assert_int_equal(m.role, want->role);
        assert_int_equal(m.version, want->version);
        assert_int_equal(m.epoch, want->epoch);
        assert_int_equal(m.incarnation, want->incarnation);
        assert_memory_equal(m.boot, want->boot, sizeof(m.boot));
        assert_int_equal(m.datagram_bytes, want->datagram_bytes);
        assert_int_equal(m.value_max, want->value_max);
        assert_int_equal(m.shards_n, want->shards_n);
        assert_memory_equal(m.index, want->index, sizeof(m.index));
        assert_memory_equal(m.port, want->port, sizeof(m.port));
        assert_true(bytes_equal(m.text, want->text));
        assert_true(bytes_equal(m.sig, want->sig));
    }
}

/* Every other length is refused and leaves the output alone. */
static void test_lengths(void **state)
{
    (void)state;
    for (size_t i = 0; i < GOLDEN_N; i++) {
        struct control_message m, untouched;
        bool has_text = golden[i].m.text.p != NULL;
        size_t fixed = golden[i].n - 4 - golden[i].m.text.n;

        memset(&m, 0x5a, sizeof(m));
        untouched = m;
        for (size_t n = 0; n < fixed; n++) {
            assert_int_equal(decode(golden[i].bytes + 4, n, &m), ERR_MALFORMED);
        }
        if (!has_text) {
            assert_int_equal(decode(golden[i].bytes + 4, golden[i].n - 3, &m), ERR_MALFORMED);
        }
        assert_memory_equal(&m, &untouched, sizeof(m));
    }
}

/* No room: refused, at every length of room. */
static void test_no_room(void **state)
{
    (void)state;
    for (size_t i = 0; i < GOLDEN_N; i++) {
        for (size_t room = 0; room < golden[i].n; room++) {
            uint8_t to[128];
            size_t n = 77;

            assert_int_equal(control_message_encode(&golden[i].m, (struct mbytes){to, room}, &n),
                             ERR_TOO_BIG);
            assert_int_equal(n, 77);
        }
    }
}

static void refused(size_t which, size_t at, uint8_t value, enum err want)
{
    uint8_t bytes[128];
    struct control_message m;

    memcpy(bytes, golden[which].bytes, sizeof(bytes));
    bytes[at] = value;
    assert_int_equal(control_message_decode((struct bytes){bytes + 4, golden[which].n - 4}, &m),
                     want);
}

static void test_values(void **state)
{
    (void)state;
    refused(0, 4, 0, ERR_MALFORMED); /* kinds */
    refused(0, 4, 6, ERR_MALFORMED);
    refused(0, 5, 3, ERR_MISMATCH);  /* version */
    refused(0, 7, 0, ERR_MALFORMED); /* roles */
    refused(0, 7, 3, ERR_MALFORMED);
    refused(0, 7, 2, ERR_MALFORMED);  /* a client with an incarnation */
    refused(1, 7, 1, ERR_MALFORMED);  /* a replica without epoch and incarnation */
    refused(0, 36, 0, ERR_MALFORMED); /* shards */
    refused(0, 36, 1, ERR_MALFORMED);
    refused(0, 36, 3, ERR_MALFORMED);
    refused(0, 37, 1, ERR_MALFORMED);
    refused(2, 5, 0, ERR_MISMATCH);      /* version */
    refused(2, 7, 0, ERR_MALFORMED);     /* epoch */
    refused(2, 15, 0, ERR_MALFORMED);    /* incarnation */
    refused(2, 36, 1, ERR_MALFORMED);    /* datagram_bytes 376 */
    refused(2, 37, 1, ERR_MALFORMED);    /* datagram_bytes 65k */
    refused(2, 42, 2, ERR_MALFORMED);    /* value_max 32 MiB */
    refused(2, 41, 0, ERR_MALFORMED);    /* value_max 0 */
    refused(5, 5, ERR_N, ERR_MALFORMED); /* err */
}

static void test_port_zero(void **state)
{
    uint8_t bytes[128];
    struct control_message m;

    (void)state;
    memcpy(bytes, golden[2].bytes, sizeof(bytes));
    bytes[55] = bytes[56] = 0;
    assert_int_equal(control_message_decode((struct bytes){bytes + 4, golden[2].n - 4}, &m),
                     ERR_MALFORMED);
}

static void test_bounds(void **state)
{
    static uint8_t big[CONTROL_MESSAGE_MAX + 16];
    struct control_message m = {.kind = CONTROL_REPORT, .text = {big + 8, CONTROL_MESSAGE_MAX - 1}};
    static uint8_t to[CONTROL_MESSAGE_MAX + 16];
    size_t n = 0;

    (void)state;
    assert_int_equal(control_message_encode(&m, (struct mbytes){to, sizeof(to)}, &n), OK);
    assert_int_equal(n, CONTROL_MESSAGE_MAX + 4);
    assert_int_equal(control_message_decode((struct bytes){to + 4, n - 4}, &m), OK);
    assert_int_equal(control_message_decode((struct bytes){to + 4, n - 3}, &m), ERR_MALFORMED);
    m.text.n++;
    assert_int_equal(control_message_encode(&m, (struct mbytes){to, sizeof(to)}, &n), ERR_TOO_BIG);
    m = (struct control_message){.kind = CONTROL_BYE, .text = {big, CONTROL_BYE_TEXT_MAX + 1}};
    assert_int_equal(control_message_encode(&m, (struct mbytes){to, sizeof(to)}, &n), ERR_TOO_BIG);
    to[4] = CONTROL_BYE;
    assert_int_equal(
        control_message_decode((struct bytes){to + 4, 2 + CONTROL_BYE_TEXT_MAX + 1}, &m),
        ERR_MALFORMED);
    m = (struct control_message){.kind = CONTROL_HELLO, .shards_n = SHARDS_MAX + 1};
    assert_int_equal(control_message_encode(&m, (struct mbytes){to, sizeof(to)}, &n), ERR_TOO_BIG);

    m = golden[0].m;
    m.shards_n = SHARDS_MAX;
    assert_int_equal(control_message_encode(&m, (struct mbytes){to, sizeof(to)}, &n), OK);
    assert_int_equal(n, CONTROL_HELLO_MAX);
    m = golden[2].m;
    m.shards_n = SHARDS_MAX;
    assert_int_equal(control_message_encode(&m, (struct mbytes){to, sizeof(to)}, &n), OK);
    assert_int_equal(n, CONTROL_WELCOME_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),    cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_lengths),   cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_values),    cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_port_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
