// SPDX-License-Identifier: Apache-2.0
/* What a replica accepts from its host at start, and that a host can say why it cannot. RING-5. */
#include "host/net/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { SHARDS = 2 };

static int ends[2]; /* the host's and the replica's */

static int setup(void **state)
{
    (void)state;
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
}

static void both_ends_see_one_memory(void **state)
{
    struct handover host, replica;
    char why[HANDOVER_WHY];
    uint64_t n = 1;

    (void)state;
    assert_int_equal(handover_make(ends[0], SHARDS, &host), OK);
    assert_int_equal(handover_give(&host), OK);
    assert_int_equal(handover_take(ends[1], SHARDS, &replica, why), OK);
    host.memory[RING_PAGE + 17] = 42;
    assert_int_equal(replica.memory[RING_PAGE + 17], 42);
    assert_int_equal(write(replica.bell_shard[1], &n, sizeof(n)), sizeof(n));
    assert_int_equal(read(host.bell_shard[1], &n, sizeof(n)), sizeof(n));
    assert_int_equal(read(host.bell_shard[0], &n, sizeof(n)), -1);
    assert_int_equal(errno, EAGAIN);
    handover_close(&host);
    handover_close(&replica);
}

static void refused(struct handover *host, const char *words)
{
    struct handover replica;
    char why[HANDOVER_WHY];

    assert_int_equal(handover_give(host), OK);
    assert_int_equal(handover_take(ends[1], SHARDS, &replica, why), ERR_BOUNDARY);
    assert_non_null(strstr(why, words));
    handover_close(host);
    (void)close(ends[1]);
}

static void another_number_of_shards(void **state)
{
    struct handover host;

    (void)state;
    assert_int_equal(handover_make(ends[0], SHARDS + 1, &host), OK);
    refused(&host, "another number of shards");
}

/* Shared memory that the host can cut short would fault under our hands. */
static void memory_that_can_be_taken_away(void **state)
{
    struct handover host;
    int fd = memfd_create("test", MFD_CLOEXEC);

    (void)state;
    assert_int_equal(ftruncate(fd, (off_t)ring_memory_bytes(SHARDS)), 0);
    assert_int_equal(handover_make(ends[0], SHARDS, &host), OK);
    (void)close(host.fd);
    host.fd = fd;
    refused(&host, "taken away");
}

static void memory_of_another_size(void **state)
{
    struct handover host;
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    (void)state;
    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    assert_int_equal(handover_make(ends[0], SHARDS, &host), OK);
    (void)close(host.fd);
    host.fd = fd;
    refused(&host, "wrong size");
}

static void a_host_that_cannot_says_why(void **state)
{
    struct handover replica;
    char why[HANDOVER_WHY];

    (void)state;
    handover_refuse(ends[0], "cannot open\n\x1b[31m port 7");
    assert_int_equal(handover_take(ends[1], SHARDS, &replica, why), ERR_BOUNDARY);
    assert_string_equal(why, "cannot open??[31m port 7");
    (void)close(ends[0]);
    assert_int_equal(handover_take(ends[1], SHARDS, &replica, why), ERR_BOUNDARY);
    assert_non_null(strstr(why, "ended"));
    (void)close(ends[1]);
}

static void bytes_that_are_no_message(void **state)
{
    struct handover replica;
    char why[HANDOVER_WHY];

    (void)state;
    assert_int_equal(send(ends[0], "x", 1, 0), 1);
    assert_int_equal(handover_take(ends[1], SHARDS, &replica, why), ERR_BOUNDARY);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(both_ends_see_one_memory, setup),
        cmocka_unit_test_setup(another_number_of_shards, setup),
        cmocka_unit_test_setup(memory_that_can_be_taken_away, setup),
        cmocka_unit_test_setup(memory_of_another_size, setup),
        cmocka_unit_test_setup(a_host_that_cannot_says_why, setup),
        cmocka_unit_test_setup(bytes_that_are_no_message, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
