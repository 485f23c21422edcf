// SPDX-License-Identifier: Apache-2.0
#include "tests/control/fixture.h"

#include "common/prng.h"
#include "trusted/control/tls.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

static struct pki_pair ca;
static struct cluster cluster;
static struct identity *server_id, *client_id;

static int setup(void **state)
{
    struct identity_name server = {0}, client = {0};

    (void)state;
    ca = fixture_ca();
    cluster = fixture_cluster();
    server = fixture_replica(&cluster, 0);
    client = fixture_client(&cluster, "alice");
    server_id = fixture_identity(&ca, &server);
    client_id = fixture_identity(&ca, &client);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    identity_free(server_id);
    identity_free(client_id);
    pki_pair_free(&ca);
    return 0;
}

struct end {
    struct tls *tls;
    enum err err;
    struct explain why;
};

/* Moves up to `chunk` bytes; false when there were none. */
static bool carry(struct end *from, struct end *to, size_t chunk)
{
    uint8_t buf[4096];
    size_t n = tls_output(from->tls, (struct mbytes){buf, chunk});

    if (n > 0 && to->err == OK) {
        to->err = tls_input(to->tls, (struct bytes){buf, n}, &to->why);
    }
    return n > 0;
}

static void shake(struct end *a, struct end *b, size_t chunk)
{
    bool moved = true;

    while (moved) {
        moved = carry(a, b, chunk);
        moved |= carry(b, a, chunk);
    }
}

static void open_pair(struct end *client, struct end *server)
{
    *client = (struct end){0};
    *server = (struct end){0};
    assert_int_equal(tls_open(client_id, false, &client->tls), OK);
    assert_int_equal(tls_open(server_id, true, &server->tls), OK);
}

static void close_pair(struct end *client, struct end *server)
{
    tls_close(client->tls);
    tls_close(server->tls);
}

static void test_talk(void **state)
{
    static const size_t chunks[] = {1, 7, 100, 4096};
    struct end client, server;
    uint8_t text[3000], got[4000];

    (void)state;
    memset(text, 'x', sizeof(text));
    for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
        open_pair(&client, &server);
        assert_false(tls_ready(client.tls));
        shake(&client, &server, chunks[i]);
        assert_int_equal(client.err, OK);
        assert_int_equal(server.err, OK);
        assert_true(tls_ready(client.tls) && tls_ready(server.tls));
        assert_int_equal(tls_peer(client.tls)->role, ROLE_REPLICA);
        assert_int_equal(tls_peer(client.tls)->node, cluster.members[0].node);
        assert_string_equal(tls_peer(server.tls)->client, "alice");
        assert_int_equal(tls_write(client.tls, (struct bytes){text, sizeof(text)}), OK);
        shake(&client, &server, chunks[i]);
        assert_int_equal(tls_read(server.tls, (struct mbytes){got, 10}), 10);
        assert_int_equal(tls_read(server.tls, (struct mbytes){got + 10, sizeof(got) - 10}),
                         sizeof(text) - 10);
        assert_memory_equal(got, text, sizeof(text));
        assert_int_equal(tls_read(server.tls, (struct mbytes){got, sizeof(got)}), 0);
        close_pair(&client, &server);
    }
}

static struct tls_binding binding(void)
{
    struct tls_binding b = {
        .epoch = 5,
        .dialer_incarnation = 1,
        .acceptor_incarnation = 2,
        .dialer_boot = {3},
        .acceptor_boot = {4},
        .dialer_role = ROLE_CLIENT,
        .shard = 0,
    };

    memcpy(b.cluster, cluster.id, sizeof(b.cluster));
    return b;
}

/* CTL-6: both ends get the same two secrets; whatever is bound changes both. */
static void test_export(void **state)
{
    struct end client, server, client2, server2;
    struct tls_binding same = binding(), other[8];
    struct secret c1, c2, s1, s2;

    (void)state;
    open_pair(&client, &server);
    shake(&client, &server, 4096);
    open_pair(&client2, &server2);
    shake(&client2, &server2, 4096);
    assert_int_equal(tls_export(client.tls, &same, &c1, &c2), OK);
    assert_int_equal(tls_export(server.tls, &same, &s1, &s2), OK);
    assert_memory_equal(&c1, &s1, sizeof(c1));
    assert_memory_equal(&c2, &s2, sizeof(c2));
    assert_memory_not_equal(&c1, &c2, sizeof(c1));
    assert_int_equal(tls_export(client2.tls, &same, &s1, &s2), OK);
    assert_memory_not_equal(&c1, &s1, sizeof(c1));
    for (size_t i = 0; i < 8; i++) {
        other[i] = same;
    }
    other[0].cluster[15] ^= 1;
    other[1].epoch++;
    other[2].dialer_incarnation++;
    other[3].acceptor_incarnation++;
    other[4].dialer_boot[15] ^= 1;
    other[5].acceptor_boot[15] ^= 1;
    other[6].dialer_role = ROLE_REPLICA;
    other[7].shard++;
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(tls_export(server.tls, &other[i], &s1, &s2), OK);
        assert_memory_not_equal(&c1, &s1, sizeof(c1));
        assert_memory_not_equal(&c2, &s2, sizeof(c2));
    }
    close_pair(&client, &server);
    close_pair(&client2, &server2);
}

/* The peer's dates count at the time given. */
static void test_dates(void **state)
{
    struct end client, server;

    (void)state;
    open_pair(&client, &server);
    tls_set_time(client.tls, NOW_S + UINT64_C(366) * 86400);
    shake(&client, &server, 4096);
    assert_int_equal(client.err, ERR_AUTH);
    assert_says(&client.why, "the other end's certificate expired on 2028-01-15");
    assert_int_equal(server.err, ERR_AUTH);
    assert_says(&server.why, "says that our certificate has expired");
    close_pair(&client, &server);

    open_pair(&client, &server);
    tls_set_time(server.tls, NOW_S + UINT64_C(366) * 86400);
    shake(&client, &server, 4096);
    assert_int_equal(server.err, ERR_AUTH);
    assert_int_equal(client.err, ERR_AUTH);
    assert_says(&client.why, "says that our certificate has expired");
    assert_false(tls_ready(server.tls));
    close_pair(&client, &server);

    open_pair(&client, &server);
    tls_set_time(client.tls, NOW_S - 86400);
    shake(&client, &server, 4096);
    assert_int_equal(client.err, ERR_AUTH);
    assert_says(&client.why, "not valid before 2027-01-15");
    close_pair(&client, &server);
}

static void test_other_ca(void **state)
{
    struct pki_pair other = fixture_ca();
    struct identity_name name = fixture_client(&cluster, "mallory");
    struct identity *mallory = fixture_identity(&other, &name);
    struct end client = {0}, server = {0};

    (void)state;
    assert_int_equal(tls_open(mallory, false, &client.tls), OK);
    assert_int_equal(tls_open(server_id, true, &server.tls), OK);
    shake(&client, &server, 4096);
    assert_int_equal(client.err, ERR_AUTH);
    assert_says(&client.why, "not issued by our CA");
    assert_int_equal(server.err, ERR_AUTH);
    assert_says(&server.why, "does not accept the CA");
    close_pair(&client, &server);
    identity_free(mallory);
    pki_pair_free(&other);
}

/* A client made by hand: whatever it lacks, it is refused. */
struct stranger {
    SSL_CTX *ctx;
    SSL *ssl;
};

static void meet(SSL_CTX *ctx, struct end *server)
{
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    uint8_t buf[4096];
    bool moved = true;

    *server = (struct end){0};
    (void)BIO_set_mem_eof_return(in, -1);
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    assert_int_equal(tls_open(server_id, true, &server->tls), OK);
    while (moved && server->err == OK) {
        int n = 0;
        size_t m = 0;

        (void)SSL_do_handshake(ssl);
        n = BIO_read(out, buf, sizeof(buf));
        if (n > 0) {
            server->err = tls_input(server->tls, (struct bytes){buf, (size_t)n}, &server->why);
        }
        m = tls_output(server->tls, (struct mbytes){buf, sizeof(buf)});
        if (m > 0) {
            assert_int_equal(BIO_write(in, buf, (int)m), m);
        }
        moved = n > 0 || m > 0;
    }
    SSL_free(ssl);
}

static void use(SSL_CTX *ctx, const struct pki_pair *p)
{
    BIO *cert_bio = BIO_new_mem_buf(p->cert_pem, -1), *key_bio = BIO_new_mem_buf(p->key_pem, -1);
    X509 *cert = PEM_read_bio_X509(cert_bio, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);

    assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
    BIO_free(cert_bio);
    BIO_free(key_bio);
}

static void test_strangers(void **state)
{
    struct end server;
    struct pki_pair alice = {0};
    struct identity_name name = fixture_client(&cluster, "alice");
    struct explain why = {0};
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());

    (void)state;
    meet(ctx, &server);
    assert_int_equal(server.err, ERR_AUTH);
    assert_says(&server.why, "showed no certificate");
    tls_close(server.tls);

    assert_int_equal(pki_issue(&ca, &name, NOW_S, 30, &alice, &why), OK);
    use(ctx, &alice);
    meet(ctx, &server); /* the same with a certificate is welcome: the test tests something */
    assert_int_equal(server.err, OK);
    assert_true(tls_ready(server.tls));
    tls_close(server.tls);

    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION), 1);
    meet(ctx, &server);
    assert_int_equal(server.err, ERR_AUTH);
    assert_says(&server.why, "TLS 1.3");
    tls_close(server.tls);
    SSL_CTX_free(ctx);

    ctx = SSL_CTX_new(TLS_method()); /* the CA's own key is no identity */
    use(ctx, &ca);
    meet(ctx, &server);
    assert_int_equal(server.err, ERR_AUTH);
    tls_close(server.tls);
    SSL_CTX_free(ctx);
    pki_pair_free(&alice);
}

/* Issues like pki_issue, but for one purpose only. */
static void test_purpose(void **state)
{
    static const char *const usages[] = {"serverAuth", NULL};
    struct pki_pair alice = {0};
    struct identity_name name = fixture_client(&cluster, "alice");
    struct explain why = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(usages) / sizeof(usages[0]); i++) {
        SSL_CTX *ctx = SSL_CTX_new(TLS_method());
        BIO *bio = NULL;
        X509 *cert = NULL;
        EVP_PKEY *key = NULL;
        struct end server;
        int at = 0;

        assert_int_equal(pki_issue(&ca, &name, NOW_S, 30, &alice, &why), OK);
        use(ctx, &alice);
        cert = X509_dup(SSL_CTX_get0_certificate(ctx));
        at = X509_get_ext_by_NID(cert, usages[i] == NULL ? NID_subject_alt_name : NID_ext_key_usage,
                                 -1);
        X509_EXTENSION_free(X509_delete_ext(cert, at));
        if (usages[i] != NULL) {
            X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_ext_key_usage, usages[i]);

            assert_int_equal(X509_add_ext(cert, e, -1), 1);
            X509_EXTENSION_free(e);
        }
        bio = BIO_new_mem_buf(ca.key_pem, -1);
        key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
        assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
        meet(ctx, &server);
        assert_int_equal(server.err, ERR_AUTH);
        assert_says(&server.why, usages[i] == NULL ? "names neither" : "authentication");
        assert_false(tls_ready(server.tls));
        tls_close(server.tls);
        BIO_free(bio);
        EVP_PKEY_free(key);
        X509_free(cert);
        SSL_CTX_free(ctx);
        pki_pair_free(&alice);
    }
}

/* Bytes that are no TLS, and bytes without end. */
static void test_garbage(void **state)
{
    static const char http[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    struct end server = {0};
    uint8_t record[4096] = {22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff, 3, 3}; /* a long ClientHello */
    struct prng rng = {.state = 1};
    size_t sent = 0;

    (void)state;
    assert_int_equal(tls_open(server_id, true, &server.tls), OK);
    server.err =
        tls_input(server.tls, (struct bytes){(const uint8_t *)http, sizeof(http) - 1}, &server.why);
    assert_int_equal(server.err, ERR_AUTH);
    assert_says(&server.why, "TLS 1.3");
    assert_int_equal(tls_input(server.tls, (struct bytes){record, 1}, &server.why), ERR_AUTH);
    tls_close(server.tls);

    assert_int_equal(tls_open(server_id, true, &server.tls), OK);
    for (server.err = OK; server.err == OK; sent += sizeof(record)) {
        assert_true(sent <= TLS_UNPROVEN_MAX + sizeof(record));
        server.err = tls_input(server.tls, (struct bytes){record, sizeof(record)}, &server.why);
        memset(record, 0, 16);
    }
    assert_int_equal(server.err, ERR_TOO_BIG);
    assert_says(&server.why, "without proving who it is");
    record[0] = 22;
    record[1] = 3;
    record[2] = 1;
    tls_close(server.tls);

    for (int i = 0; i < 200; i++) {
        uint8_t junk[600];

        for (size_t j = 0; j < sizeof(junk); j++) {
            junk[j] = (uint8_t)prng_u64(&rng);
        }
        if (prng_chance(&rng, 1, 2)) {
            memcpy(junk, record, 3);
            junk[3] = 1;
        }
        assert_int_equal(tls_open(server_id, true, &server.tls), OK);
        server.err = tls_input(server.tls, (struct bytes){junk, sizeof(junk)}, &server.why);
        assert_false(tls_ready(server.tls));
        tls_close(server.tls);
    }
}

/* Whatever bit of the handshake or the first records is changed: refused, never a wrong byte. */
static void test_flips(void **state)
{
    struct prng rng = {.state = 2};

    (void)state;
    for (int round = 0; round < 300; round++) {
        struct end client, server;
        size_t flip_at = prng_below(&rng, 3000), seen = 0;
        bool moved = true, wrote = false;
        uint8_t got[64];
        size_t n = 0;

        open_pair(&client, &server);
        while (moved) {
            moved = false;
            for (int way = 0; way < 2; way++) {
                struct end *from = way == 0 ? &client : &server;
                struct end *to = way == 0 ? &server : &client;
                uint8_t buf[512];

                n = tls_output(from->tls, (struct mbytes){buf, sizeof(buf)});
                moved |= n > 0;
                if (flip_at >= seen && flip_at < seen + n) {
                    buf[flip_at - seen] ^= (uint8_t)(1u << prng_below(&rng, 8));
                }
                seen += n;
                if (n > 0 && to->err == OK) {
                    to->err = tls_input(to->tls, (struct bytes){buf, n}, &to->why);
                }
            }
            if (!wrote && tls_ready(client.tls) && client.err == OK) {
                assert_int_equal(tls_write(client.tls, (struct bytes){(const uint8_t *)"hello", 5}),
                                 OK);
                wrote = moved = true;
            }
        }
        n = tls_read(server.tls, (struct mbytes){got, sizeof(got)});
        assert_true(n == 0 || (n == 5 && memcmp(got, "hello", 5) == 0));
        if (flip_at < seen && server.err == OK && client.err == OK) {
            assert_int_equal(n, 0); /* a changed length: still waiting for the rest */
        }
        close_pair(&client, &server);
    }
}

/* An authenticated peer cannot fill our memory either. */
static void test_unread(void **state)
{
    struct end client, server;
    uint8_t text[4096] = {0};

    (void)state;
    open_pair(&client, &server);
    shake(&client, &server, 4096);
    for (int i = 0; i < 40 && server.err == OK; i++) {
        assert_int_equal(tls_write(client.tls, (struct bytes){text, sizeof(text)}), OK);
        shake(&client, &server, 4096);
    }
    assert_int_equal(server.err, ERR_TOO_BIG);
    assert_int_equal(tls_write(server.tls, (struct bytes){text, 1}), ERR_CLOSED);
    close_pair(&client, &server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_talk),      cmocka_unit_test(test_export),
        cmocka_unit_test(test_dates),     cmocka_unit_test(test_other_ca),
        cmocka_unit_test(test_strangers), cmocka_unit_test(test_purpose),
        cmocka_unit_test(test_garbage),   cmocka_unit_test(test_flips),
        cmocka_unit_test(test_unread),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
