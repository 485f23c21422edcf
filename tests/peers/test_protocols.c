// SPDX-License-Identifier: Apache-2.0
/* Requests and replies of the other stores: a comparison with a client that miscounts means
 * nothing. */
#include "peers/peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct avo_rmw get = {.op = AVO_GET, .key = "k1", .key_len = 2},
                            put = {.op = AVO_PUT,
                                   .key = "k1",
                                   .key_len = 2,
                                   .value = "a\r\nb",
                                   .value_len = 4};

static void assert_request(const struct peer_protocol *p, const struct avo_rmw *op,
                           const char *want)
{
    struct peer_buffer out = {0};

    assert_true(p->request(&out, op, "h"));
    assert_int_equal(out.n, strlen(want));
    assert_memory_equal(out.p, want, out.n);
    peer_buffer_free(&out);
}

/* The reply is taken when it is whole, and not a byte before; what follows is left alone. */
static struct peer_reply assert_reply(const struct peer_protocol *p, enum avo_op op,
                                      const char *text)
{
    struct peer_reply r;
    size_t n = strlen(text);
    char *joined = NULL;
    const uint8_t *copy;

    assert_int_equal(asprintf(&joined, "%s+next", text), n + 5);
    copy = (const uint8_t *)joined;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(p->reply(copy, i, op, &r), 0);
    }
    assert_int_equal(p->reply(copy, n + 5, op, &r), 1);
    assert_int_equal(r.used, n);
    if (r.value != NULL) {
        r.value = (const uint8_t *)text + (r.value - copy);
    }
    free(joined);
    return r;
}

static void test_redis(void **state)
{
    struct peer_reply r;

    (void)state;
    assert_request(&peer_redis, &get, "*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n");
    assert_request(&peer_redis, &put, "*3\r\n$3\r\nSET\r\n$2\r\nk1\r\n$4\r\na\r\nb\r\n");
    assert_int_equal(assert_reply(&peer_redis, AVO_PUT, "+OK\r\n").status, AVO_OK);
    assert_int_equal(assert_reply(&peer_redis, AVO_PUT, "-ERR no\r\n").status, AVO_REFUSED);
    assert_int_equal(assert_reply(&peer_redis, AVO_GET, "$-1\r\n").status, AVO_NOT_FOUND);
    assert_int_equal(assert_reply(&peer_redis, AVO_PUT, ":2\r\n").number, 2);
    r = assert_reply(&peer_redis, AVO_GET, "$4\r\na\r\nb\r\n");
    assert_int_equal(r.value_len, 4);
    assert_memory_equal(r.value, "a\r\nb", 4);
    assert_int_equal(peer_redis.reply((const uint8_t *)"?what\r\n", 7, AVO_GET, &r), -1);
}

static void test_memcached(void **state)
{
    struct peer_reply r;

    (void)state;
    assert_request(&peer_memcached, &get, "get k1\r\n");
    assert_request(&peer_memcached, &put, "set k1 0 0 4\r\na\r\nb\r\n");
    assert_int_equal(assert_reply(&peer_memcached, AVO_PUT, "STORED\r\n").status, AVO_OK);
    assert_int_equal(assert_reply(&peer_memcached, AVO_GET, "END\r\n").status, AVO_NOT_FOUND);
    assert_int_equal(
        assert_reply(&peer_memcached, AVO_PUT, "SERVER_ERROR out of memory\r\n").status,
        AVO_REFUSED);
    r = assert_reply(&peer_memcached, AVO_GET, "VALUE k1 0 4\r\na\r\nb\r\nEND\r\n");
    assert_int_equal(r.value_len, 4);
    assert_memory_equal(r.value, "a\r\nb", 4);
}

static void test_etcd(void **state)
{
    struct peer_reply r;

    (void)state;
    assert_request(&peer_etcd, &get,
                   "POST /v3/kv/range HTTP/1.1\r\nHost: h\r\nContent-Length: 14\r\n\r\n"
                   "{\"key\":\"azE=\"}");
    assert_request(&peer_etcd, &put,
                   "POST /v3/kv/put HTTP/1.1\r\nHost: h\r\nContent-Length: 33\r\n\r\n"
                   "{\"key\":\"azE=\",\"value\":\"YQ0KYg==\"}");
    r = assert_reply(
        &peer_etcd, AVO_GET,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n"
        "{\"value\":\"YQ\"}");
    assert_int_equal(r.status, AVO_OK);
    r = assert_reply(&peer_etcd, AVO_GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    assert_int_equal(r.status, AVO_NOT_FOUND);
    r = assert_reply(&peer_etcd, AVO_PUT,
                     "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}");
    assert_int_equal(r.status, AVO_UNAVAILABLE);
    r = assert_reply(
        &peer_etcd, AVO_GET,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ne\r\n{\"value\":\"YQ\"}\r\n"
        "0\r\n\r\n");
    assert_int_equal(r.status, AVO_OK);
}

static void test_url(void **state)
{
    struct peer_url u;
    char why[256];

    (void)state;
    assert_true(peer_url_parse("redis://a:1,b:2?ca=/c.pem&wait=1&every=16", &u, why, sizeof(why)));
    assert_int_equal(u.servers_n, 2);
    assert_string_equal(u.hosts[1], "b");
    assert_string_equal(u.ports[1], "2");
    assert_string_equal(u.ca, "/c.pem");
    assert_int_equal(u.wait, 1);
    assert_int_equal(u.every, 16);
    assert_false(peer_url_parse("redis://", &u, why, sizeof(why)));
    assert_false(peer_url_parse("redis://a", &u, why, sizeof(why)));
    assert_false(peer_url_parse("redis://a:1?every=0", &u, why, sizeof(why)));
    assert_false(peer_url_parse("redis://a:1?what=1", &u, why, sizeof(why)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_redis),
        cmocka_unit_test(test_memcached),
        cmocka_unit_test(test_etcd),
        cmocka_unit_test(test_url),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
