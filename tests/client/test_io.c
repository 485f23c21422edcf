// SPDX-License-Identifier: Apache-2.0
#include "client/avocado.h"
#include "tests/client/loopback.h"

#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* libavocado as its users see it, against real connections on loopback. */

static struct loopback *servers;

static int open_servers(void **state)
{
    (void)state;
    servers = loopback_open();
    return 0;
}

static int close_servers(void **state)
{
    (void)state;
    loopback_close(servers);
    return 0;
}

static struct avo_client *client(const struct avo_options *options)
{
    struct avo_client *c;
    char why[512] = "";

    if (avo_open(loopback_path(servers, "client.yaml"), options, &c, why, sizeof(why)) != AVO_OK) {
        fail_msg("%s", why);
    }
    return c;
}

static uint64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void test_blocking(void **state)
{
    struct avo_client *c = client(NULL);
    void *value = NULL;
    size_t n = 77;

    (void)state;
    assert_int_equal(avo_get(c, "b", 1, &value, &n), AVO_NOT_FOUND);
    assert_null(value);
    assert_int_equal(n, 77);
    assert_int_equal(avo_put(c, "b", 1, "one", 3), AVO_OK);
    assert_int_equal(avo_get(c, "b", 1, &value, &n), AVO_OK);
    assert_int_equal(n, 3);
    assert_string_equal(value, "one"); /* a zero byte follows */
    free(value);
    assert_int_equal(avo_put(c, "b", 1, NULL, 0), AVO_OK);
    assert_int_equal(avo_get(c, "b", 1, &value, &n), AVO_OK);
    assert_int_equal(n, 0);
    assert_string_equal(value, "");
    free(value);
    assert_int_equal(avo_delete(c, "b", 1), AVO_OK);
    assert_int_equal(avo_delete(c, "b", 1), AVO_OK);
    assert_int_equal(avo_get(c, "b", 1, &value, &n), AVO_NOT_FOUND);
    assert_string_equal(avo_last_error(c), "");
    avo_close(c);
}

static void test_sizes(void **state)
{
    static const size_t sizes[] = {1, 1000, 1400, 100000, 1 << 20};
    struct avo_client *c = client(NULL);
    uint8_t *big = malloc((1 << 20) + 1);
    uint8_t key[1024];

    (void)state;
    assert_non_null(big);
    for (size_t i = 0; i <= 1 << 20; i++) {
        big[i] = (uint8_t)(i * 31 + i / 251);
    }
    memcpy(key, big, sizeof(key));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        void *value;
        size_t n;

        assert_int_equal(avo_put(c, key, sizeof(key), big, sizes[i]), AVO_OK);
        assert_int_equal(avo_get(c, key, sizeof(key), &value, &n), AVO_OK);
        assert_int_equal(n, sizes[i]);
        assert_memory_equal(value, big, n);
        free(value);
    }
    assert_int_equal(avo_put(c, "k", 1, big, (1 << 20) + 1), AVO_TOO_BIG);
    assert_int_equal(avo_put(c, big, 1025, "v", 1), AVO_TOO_BIG);
    assert_true(strlen(avo_last_error(c)) > 0);
    free(big);
    avo_close(c);
}

/* Every completion once, with its own user value; values stay until the next poll. */
static void test_many_at_once(void **state)
{
    enum { N = 3000, DEPTH = 400 };
    struct avo_client *c = client(&(struct avo_options){.in_flight_max = DEPTH});
    static uint8_t seen[2 * N];
    struct avo_completion done[100];
    uint64_t next = 0, ended = 0;

    (void)state;
    memset(seen, 0, sizeof(seen));
    while (ended < 2 * (uint64_t)N) {
        size_t n;

        while (next < 2 * (uint64_t)N && avo_in_flight(c) < DEPTH && (next < N || ended >= N)) {
            char key[16];
            int len = snprintf(key, sizeof(key), "many-%u", (unsigned)(next % N));

            assert_int_equal(avo_submit(c, next < N ? AVO_PUT : AVO_GET, key, (size_t)len,
                                        next < N ? key : NULL, next < N ? (size_t)len : 0, next),
                             AVO_OK);
            next++;
        }
        if (avo_in_flight(c) == DEPTH) {
            assert_int_equal(avo_submit(c, AVO_GET, "k", 1, NULL, 0, 0), AVO_BUSY);
        }
        n = avo_poll(c, done, 100, -1);
        assert_true(n > 0 && n <= 100);
        for (size_t i = 0; i < n; i++) {
            char key[16];

            (void)snprintf(key, sizeof(key), "many-%u", (unsigned)(done[i].user % N));
            assert_int_equal(done[i].status, AVO_OK);
            assert_int_equal(seen[done[i].user]++, 0);
            assert_int_equal(done[i].op, done[i].user < N ? AVO_PUT : AVO_GET);
            assert_int_not_equal(done[i].tag_ts, 0);
            if (done[i].op == AVO_GET) {
                assert_int_equal(done[i].value_len, strlen(key));
                assert_memory_equal(done[i].value, key, done[i].value_len);
            } else {
                assert_null(done[i].value);
            }
        }
        ended += n;
    }
    assert_int_equal(avo_in_flight(c), 0);
    assert_int_equal(avo_poll(c, done, 1, 0), 0);
    assert_int_equal(avo_poll(c, done, 1, -1), 0); /* nothing to wait for */
    avo_close(c);
}

/* In somebody else's event loop: only avo_fd and avo_next_ms say when to call. */
static void test_event_loop(void **state)
{
    struct avo_client *c = client(NULL);
    struct pollfd p = {.fd = avo_fd(c), .events = POLLIN};
    struct avo_completion done[8];
    uint64_t ended = 0;

    (void)state;
    assert_true(p.fd >= 0);
    for (uint64_t i = 0; i < 200; i++) {
        assert_int_equal(avo_submit(c, AVO_PUT, "loop", 4, "v", 1, i), AVO_OK);
    }
    assert_int_equal(avo_next_ms(c), 0); /* there is something to send */
    while (ended < 200) {
        size_t n;

        (void)poll(&p, 1, avo_next_ms(c));
        while ((n = avo_poll(c, done, 8, 0)) > 0) {
            ended += n;
        }
    }
    avo_close(c);
}

static void test_in_flight_and_blocking_do_not_mix(void **state)
{
    struct avo_client *c = client(NULL);
    struct avo_completion done;
    void *value;
    size_t n;

    (void)state;
    assert_int_equal(avo_submit(c, AVO_PUT, "k", 1, "v", 1, 5), AVO_OK);
    assert_int_equal(avo_get(c, "k", 1, &value, &n), AVO_USAGE);
    assert_true(strlen(avo_last_error(c)) > 0);
    assert_int_equal(avo_poll(c, &done, 1, -1), 1);
    assert_int_equal(done.user, 5);
    assert_int_equal(avo_get(c, "k", 1, &value, &n), AVO_OK);
    free(value);
    avo_close(c);
}

static void test_arguments(void **state)
{
    struct avo_client *c = client(NULL);
    size_t n;
    void *value;

    (void)state;
    assert_int_equal(avo_put(c, "", 0, "v", 1), AVO_USAGE);
    assert_int_equal(avo_put(c, NULL, 3, "v", 1), AVO_USAGE);
    assert_int_equal(avo_put(c, "k", 1, NULL, 3), AVO_USAGE);
    assert_int_equal(avo_submit(c, (enum avo_op)9, "k", 1, NULL, 0, 0), AVO_USAGE);
    assert_int_equal(avo_submit(c, AVO_GET, "k", 1, "v", 1, 0), AVO_USAGE);
    assert_int_equal(avo_get(c, "k", 1, NULL, &n), AVO_USAGE);
    assert_int_equal(avo_get(NULL, "k", 1, &value, &n), AVO_USAGE);
    assert_int_equal(avo_in_flight(c), 0);
    assert_int_equal(avo_nodes(c), LOOPBACK_NODES);
    avo_close(c);
    avo_close(NULL);
}

static void refused(const char *path, const struct avo_options *options, enum avo_status want,
                    const char *says)
{
    struct avo_client *c = (struct avo_client *)1;
    char why[512] = "";

    assert_int_equal(avo_open(path, options, &c, why, sizeof(why)), want);
    assert_null(c);
    if (strstr(why, says) == NULL) {
        fail_msg("says: %s", why);
    }
    assert_null(strchr(why, '\n'));
    assert_int_equal(avo_open(path, options, &c, NULL, 0), want); /* nobody has to listen */
}

static void test_options(void **state)
{
    const char *path = loopback_path(servers, "client.yaml");

    (void)state;
    refused(NULL, NULL, AVO_USAGE, "NULL");
    refused(path, &(struct avo_options){.reserved = {0, 1}}, AVO_USAGE, "reserved[1]");
    refused(path, &(struct avo_options){.timeout_ms = 60001}, AVO_USAGE, "timeout_ms");
    refused(path, &(struct avo_options){.connect_ms = 1000000}, AVO_USAGE, "connect_ms");
    refused(path, &(struct avo_options){.in_flight_max = 1 << 20}, AVO_USAGE, "in_flight_max");
    refused(path, &(struct avo_options){.coordinator = 4}, AVO_USAGE, "coordinator");
    assert_int_equal(avo_open(path, NULL, NULL, NULL, 0), AVO_USAGE);
}

static void test_files(void **state)
{
    char key[256];

    (void)state;
    refused(loopback_path(servers, "none.yaml"), NULL, AVO_USAGE, "none.yaml");
    (void)snprintf(key, sizeof(key), "%s", loopback_path(servers, "client.key"));
    assert_int_equal(chmod(key, 0644), 0);
    refused(loopback_path(servers, "client.yaml"), NULL, AVO_REFUSED, "client.key");
    assert_int_equal(chmod(key, 0600), 0);
}

static void test_nobody_listens(void **state)
{
    struct avo_options options = {.connect_ms = 300};
    uint64_t start;
    char port[16];

    (void)state;
    for (unsigned i = 0; i < LOOPBACK_NODES; i++) {
        loopback_set_up(servers, i, false);
    }
    start = now_ms();
    (void)snprintf(port, sizeof(port), "port %u", loopback_control_port(servers, 0));
    refused(loopback_path(servers, "client.yaml"), &options, AVO_UNAVAILABLE, port);
    refused(loopback_path(servers, "client.yaml"), &options, AVO_UNAVAILABLE, "refused");
    assert_true(now_ms() - start >=
                UINT64_C(4) * options.connect_ms); /* each attempt was given its time */
    for (unsigned i = 0; i < LOOPBACK_NODES; i++) {
        loopback_set_up(servers, i, true);
    }
}

static void test_foreign_identity(void **state)
{
    (void)state;
    loopback_forge_client(servers);
    refused(loopback_path(servers, "client.yaml"), NULL, AVO_REFUSED, "node ");
}

static void test_nodes_come_and_go(void **state)
{
    struct avo_client *c = client(&(struct avo_options){.timeout_ms = 5000, .coordinator = 1});
    void *value;
    size_t n;

    (void)state;
    assert_int_equal(avo_put(c, "k", 1, "v", 1), AVO_OK);
    for (unsigned round = 0; round < 3; round++) {
        loopback_set_up(servers, round, false);
        assert_int_equal(avo_get(c, "k", 1, &value, &n), AVO_OK);
        free(value);
        assert_int_equal(avo_put(c, "k", 1, "v", 1), AVO_OK);
        loopback_set_up(servers, round, true);
    }
    for (unsigned i = 0; i < LOOPBACK_NODES; i++) {
        loopback_set_up(servers, i, false);
    }
    avo_close(c);
    for (unsigned i = 0; i < LOOPBACK_NODES; i++) {
        loopback_set_up(servers, i, true);
    }
}

static void test_all_gone_and_back(void **state)
{
    struct avo_client *c = client(&(struct avo_options){.timeout_ms = 300});
    void *value;
    size_t n;
    uint64_t until = now_ms() + 20000;
    enum avo_status status;

    (void)state;
    assert_int_equal(avo_put(c, "k", 1, "v", 1), AVO_OK);
    for (unsigned i = 0; i < LOOPBACK_NODES; i++) {
        loopback_set_up(servers, i, false);
    }
    assert_int_equal(avo_get(c, "k", 1, &value, &n), AVO_UNAVAILABLE);
    assert_non_null(strstr(avo_last_error(c), "node "));
    assert_int_equal(avo_put(c, "k", 1, "w", 1), AVO_UNAVAILABLE); /* nothing left this process */
    for (unsigned i = 0; i < LOOPBACK_NODES; i++) {
        loopback_set_up(servers, i, true);
    }
    do {
        status = avo_get(c, "k", 1, &value, &n);
    } while (status != AVO_OK && now_ms() < until);
    assert_int_equal(status, AVO_OK);
    assert_int_equal(n, 1);
    assert_memory_equal(value, "v", 1);
    free(value);
    avo_close(c);
}

static void test_reports(void **state)
{
    struct avo_client *c = client(NULL);
    char *json = NULL;
    char why[512] = "";

    (void)state;
    for (size_t i = 0; i < LOOPBACK_NODES; i++) {
        assert_int_equal(avo_node_report(c, i, 5000, &json, why, sizeof(why)), AVO_OK);
        assert_string_equal(json, "{\"state\":\"test\"}");
        free(json);
    }
    assert_int_equal(avo_node_report(c, 3, 100, &json, why, sizeof(why)), AVO_USAGE);
    loopback_set_up(servers, 2, false);
    assert_int_equal(avo_node_report(c, 2, 200, &json, why, sizeof(why)), AVO_UNAVAILABLE);
    assert_non_null(strstr(why, "node 3"));
    loopback_set_up(servers, 2, true);
    assert_int_equal(avo_put(c, "k", 1, "v", 1), AVO_OK); /* the client is as good as before */
    avo_close(c);
}

static char **examples; /* programs of examples/, from the command line */

/* The example of the documentation runs, linked both ways. */
static void test_examples(void **state)
{
    (void)state;
    for (char **program = examples; *program != NULL; program++) {
        char *argv[] = {*program, NULL, NULL};
        char path[256];
        int status = -1;
        pid_t pid;

        (void)snprintf(path, sizeof(path), "%s", loopback_path(servers, "client.yaml"));
        argv[1] = path;
        assert_int_equal(posix_spawn(&pid, *program, NULL, NULL, argv, environ), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_blocking, open_servers, close_servers),
        cmocka_unit_test_setup_teardown(test_sizes, open_servers, close_servers),
        cmocka_unit_test_setup_teardown(test_many_at_once, open_servers, close_servers),
        cmocka_unit_test_setup_teardown(test_event_loop, open_servers, close_servers),
        cmocka_unit_test_setup_teardown(test_in_flight_and_blocking_do_not_mix, open_servers,
                                        close_servers),
        cmocka_unit_test_setup_teardown(test_arguments, open_servers, close_servers),
        cmocka_unit_test_setup_teardown(test_options, open_servers, close_servers),
        cmocka_unit_test_setup_teardown(test_files, open_servers, close_servers),
        cmocka_unit_test_setup_teardown(test_nobody_listens, open_servers, close_servers),
        cmocka_unit_test_setup_teardown(test_foreign_identity, open_servers, close_servers),
        cmocka_unit_test_setup_teardown(test_nodes_come_and_go, open_servers, close_servers),
        cmocka_unit_test_setup_teardown(test_all_gone_and_back, open_servers, close_servers),
        cmocka_unit_test_setup_teardown(test_reports, open_servers, close_servers),
        cmocka_unit_test_setup_teardown(test_examples, open_servers, close_servers),
    };

    (void)argc;
    examples = argv + 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
