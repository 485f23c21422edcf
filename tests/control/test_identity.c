// SPDX-License-Identifier: Apache-2.0
#include "tests/control/fixture.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID "a102030405060708090a0b0c0d0e0f10"

/* CTL-1: one name, one spelling. */
static void test_names(void **state)
{
    static const char *const good[] = {
        "avocado:" ID ":replica:1:2:3",
        "avocado:" ID ":replica:4294967295:4294967295:9223372036854775807",
        "avocado:" ID ":client:a",
        "avocado:" ID ":client:Alice.B_c-9",
    };
    static const char *const bad[] = {
        "",
        "avocado",
        "avocado:",
        "avocado:" ID,
        "avocado:" ID ":",
        "avocado:" ID ":replica:",
        "avocado:" ID ":replica:1:2",
        "avocado:" ID ":replica:1:2:",
        "avocado:" ID ":replica:1:2:3:",
        "avocado:" ID ":replica:1:2:3 ",
        "avocado:" ID ":replica:0:2:3",
        "avocado:" ID ":replica:1:0:3",
        "avocado:" ID ":replica:1:2:0",
        "avocado:" ID ":replica:01:2:3",
        "avocado:" ID ":replica:+1:2:3",
        "avocado:" ID ":replica:-1:2:3",
        "avocado:" ID ":replica: 1:2:3",
        "avocado:" ID ":replica:4294967296:2:3",
        "avocado:" ID ":replica:1:2:9223372036854775808",
        "avocado:" ID ":replica:1:2:18446744073709551617",
        "avocado:" ID ":client:",
        "avocado:" ID ":client:a b",
        "avocado:" ID ":client:a:b",
        "avocado:" ID ":client:\xc3\xa4",
        "avocado:" ID ":client:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "avocado:" ID ":owner:a",
        "Avocado:" ID ":client:a",
        "avocado:A102030405060708090a0b0c0d0e0f10:client:a",
        "avocado:a102030405060708090a0b0c0d0e0f1:client:a",
        "avocado:a102030405060708090a0b0c0d0e0f100:client:a",
        "avocado:g102030405060708090a0b0c0d0e0f10:client:a",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct identity_name n = {0};
        char back[160];

        assert_int_equal(identity_name_parse(good[i], &n), OK);
        identity_name_format(&n, back);
        assert_string_equal(back, good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct identity_name n = {0}, untouched = {0};

        assert_int_equal(identity_name_parse(bad[i], &n), ERR_MALFORMED);
        assert_memory_equal(&n, &untouched, sizeof(n));
    }
}

/* A certificate, signed by nobody, with these alternative names in OpenSSL's notation. */
static X509 *cert_with(const char *names)
{
    X509 *cert = X509_new();
    X509_EXTENSION *e = NULL;

    assert_non_null(cert);
    if (names != NULL) {
        e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
        assert_non_null(e);
        assert_int_equal(X509_add_ext(cert, e, -1), 1);
        X509_EXTENSION_free(e);
    }
    return cert;
}

/* A name behind a zero byte is not a name. */
static X509 *cert_with_zero_byte(void)
{
    static const char uri[] = "avocado:" ID ":client:a\0b";
    X509 *cert = X509_new();
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();

    assert_int_equal(ASN1_STRING_set(text, uri, sizeof(uri) - 1), 1);
    GENERAL_NAME_set0_value(name, GEN_URI, text);
    assert_true(sk_GENERAL_NAME_push(names, name) > 0);
    assert_int_equal(X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0), 1);
    GENERAL_NAMES_free(names);
    return cert;
}

static void test_name_of(void **state)
{
    static const char *const bad[] = {
        NULL,
        "DNS:avocado",
        "URI:https://example.org/",
        "URI:avocado:" ID ":client:a,DNS:b",
        "DNS:b,URI:avocado:" ID ":client:a",
        "URI:avocado:" ID ":client:a,URI:avocado:" ID ":client:b",
        "email:avocado:" ID ":client:a",
    };
    struct identity_name n = {0};
    X509 *cert = cert_with("URI:avocado:" ID ":client:a");

    (void)state;
    assert_int_equal(identity_name_of(cert, &n), OK);
    assert_string_equal(n.client, "a");
    X509_free(cert);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cert = cert_with(bad[i]);
        assert_int_equal(identity_name_of(cert, &n), ERR_MALFORMED);
        X509_free(cert);
    }
    cert = cert_with_zero_byte();
    assert_int_equal(identity_name_of(cert, &n), ERR_MALFORMED);
    X509_free(cert);
}

#define NAME "URI:avocado:" ID ":client:a"
#define MAY ",URI:avocado:may:"

/* ACL-1: rules that cannot be read exactly must not pass for none. OpenSSL's syntax has no commas
 * in values, so the rights here stand alone. */
static void test_rules_in_certificates(void **state)
{
    static const char *const bad[] = {
        NAME MAY "read",
        NAME MAY "reads:a",
        NAME MAY ":a",
        NAME MAY,
        NAME MAY "read:a%2f",
        NAME MAY "read:a:b",
        NAME ",URI:avocado:MAY:read:a",
        NAME ",DNS:read",
        NAME MAY "read:a" NAME,
        "URI:avocado:may:read:a," NAME,
        "URI:avocado:" ID ":replica:1:2:3" MAY "read:a",
        "URI:avocado:" ID ":service:cas" MAY "read:a",
        NAME MAY "read:" MAY "read:" MAY "read:" MAY "read:" MAY "read:" MAY "read:" MAY "read:" MAY
                 "read:" MAY "read:", /* nine */
    };
    struct cluster c = fixture_cluster();
    struct pki_pair ca = fixture_ca(), pair = {0};
    struct identity_name n = {0}, name = fixture_client(&c, "a");
    struct explain why = {0};
    X509 *cert = cert_with(NAME MAY "read:a%20b" MAY "write:");
    BIO *bio = NULL;

    (void)state;
    assert_int_equal(identity_name_of(cert, &n), OK);
    assert_int_equal(n.access.rules_n, 2);
    assert_int_equal(
        access_lacks_key(&n.access, ACCESS_READ, (struct bytes){(const uint8_t *)"a b", 3}), 0);
    X509_free(cert);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cert = cert_with(bad[i]);
        if (identity_name_of(cert, &n) != ERR_MALFORMED) {
            fail_msg("taken: %s", bad[i]);
        }
        X509_free(cert);
    }
    /* What we issue comes back as it was, for clients alone. */
    assert_int_equal(access_add(&name.access, "read,scan:a/"), OK);
    assert_int_equal(access_add(&name.access, "read,write,status:%00%FF"), OK);
    assert_int_equal(pki_issue(&ca, &name, NOW_S, 30, &pair, &why), OK);
    bio = BIO_new_mem_buf(pair.cert_pem, -1);
    cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    assert_int_equal(identity_name_of(cert, &n), OK);
    assert_memory_equal(&n, &name, sizeof(n));
    X509_free(cert);
    BIO_free(bio);
    pki_pair_free(&pair);
    name = fixture_replica(&c, 0);
    assert_int_equal(access_add(&name.access, "read:"), OK);
    assert_int_equal(pki_issue(&ca, &name, NOW_S, 30, &pair, &why), ERR_USAGE);
    pki_pair_free(&ca);
}

static enum err load(const struct pki_pair *ca, const struct pki_pair *cert, const char *key,
                     uint64_t now_s, struct explain *why)
{
    struct identity *id = NULL;
    enum err err = identity_from_pem(ca->cert_pem, cert->cert_pem, key, now_s, &id, why);

    assert_true((err == OK) == (id != NULL));
    identity_free(id);
    return err;
}

static void test_from_pem(void **state)
{
    struct cluster c = fixture_cluster();
    struct identity_name name = fixture_replica(&c, 1);
    struct pki_pair ca = fixture_ca(), other = fixture_ca(), one = {0}, two = {0};
    struct explain why = {0};
    const uint64_t day = 86400;

    (void)state;
    assert_int_equal(pki_issue(&ca, &name, NOW_S, 30, &one, &why), OK);
    assert_int_equal(pki_issue(&ca, &name, NOW_S, 30, &two, &why), OK);
    assert_int_equal(load(&ca, &one, one.key_pem, NOW_S, &why), OK);
    assert_int_equal(load(&ca, &one, one.key_pem, NOW_S - 3500, &why), OK);
    assert_int_equal(load(&ca, &one, one.key_pem, NOW_S + 30 * day - 1, &why), OK);
    assert_int_equal(load(&ca, &one, one.key_pem, NOW_S + 30 * day + 1, &why), ERR_AUTH);
    assert_says(&why, "our certificate expired on 2027-02-14");
    assert_int_equal(load(&ca, &one, one.key_pem, NOW_S - 3601, &why), ERR_AUTH);
    assert_says(&why, "not valid before 2027-01-15");
    assert_int_equal(load(&ca, &one, two.key_pem, NOW_S, &why), ERR_AUTH);
    assert_says(&why, "does not belong");
    assert_int_equal(load(&other, &one, one.key_pem, NOW_S, &why), ERR_AUTH);
    assert_says(&why, "not issued by our CA");
    assert_int_equal(load(&ca, &ca, ca.key_pem, NOW_S, &why), ERR_MALFORMED);
    assert_says(&why, "names neither");
    assert_int_equal(load(&one, &two, two.key_pem, NOW_S, &why), ERR_MALFORMED);
    assert_says(&why, "CA certificate");
    assert_int_equal(load(&ca, &one, "", NOW_S, &why), ERR_MALFORMED);
    assert_says(&why, "private P-256 key");
    assert_int_equal(load(&ca, &one, one.cert_pem, NOW_S, &why), ERR_MALFORMED);
    assert_int_equal(load(&ca, &one, one.key_pem, UINT64_MAX, &why), ERR_MALFORMED);
    pki_pair_free(&ca);
    pki_pair_free(&other);
    pki_pair_free(&one);
    pki_pair_free(&two);
}

/* A key that would ask for a pass phrase, a key of another kind, two certificates in one text. */
static void test_odd_pem(void **state)
{
    struct cluster c = fixture_cluster();
    struct identity_name name = fixture_client(&c, "alice");
    struct pki_pair ca = fixture_ca(), one = {0}, twice = {0};
    struct explain why = {0};
    EVP_PKEY *other = EVP_EC_gen("P-384");
    BIO *bio = BIO_new(BIO_s_mem());
    char *data = NULL, text[2048] = "";
    long n = 0;

    (void)state;
    assert_int_equal(pki_issue(&ca, &name, NOW_S, 30, &one, &why), OK);
    assert_int_equal(
        PEM_write_bio_PKCS8PrivateKey(bio, other, EVP_aes_256_cbc(), "x", 1, NULL, NULL), 1);
    n = BIO_get_mem_data(bio, &data);
    assert_true(n > 0 && n < (long)sizeof(text));
    memcpy(text, data, (size_t)n);
    assert_int_equal(load(&ca, &one, text, NOW_S, &why), ERR_MALFORMED);
    assert_says(&why, "pass phrase");
    (void)BIO_reset(bio);
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, other, NULL, NULL, 0, NULL, NULL), 1);
    n = BIO_get_mem_data(bio, &data);
    memcpy(text, data, (size_t)n);
    text[n] = '\0';
    assert_int_equal(load(&ca, &one, text, NOW_S, &why), ERR_MALFORMED);
    assert_true(asprintf(&twice.cert_pem, "%s%s", one.cert_pem, ca.cert_pem) > 0);
    assert_int_equal(load(&ca, &twice, one.key_pem, NOW_S, &why), ERR_MALFORMED);
    assert_says(&why, "not one certificate");
    BIO_free(bio);
    EVP_PKEY_free(other);
    pki_pair_free(&twice);
    pki_pair_free(&ca);
    pki_pair_free(&one);
}

/* While one CA follows the other both are trusted, and no third. CAS-41 */
static void test_two_cas(void **state)
{
    struct cluster c = fixture_cluster();
    struct identity_name name = fixture_replica(&c, 1);
    struct pki_pair first = fixture_ca(), second = fixture_ca(), third = fixture_ca(), one = {0},
                    two = {0};
    struct pki_pair both = {0}, all = {0};
    struct explain why = {0};
    struct bytes text = {(const uint8_t *)"text", 4};
    struct cluster ret;
    uint8_t sig[80];
    size_t n = 0;

    (void)state;
    assert_int_equal(pki_issue(&first, &name, NOW_S, 30, &one, &why), OK);
    assert_int_equal(pki_issue(&second, &name, NOW_S, 30, &two, &why), OK);
    assert_true(asprintf(&both.cert_pem, "%s%s", first.cert_pem, second.cert_pem) > 0);
    assert_true(asprintf(&all.cert_pem, "%s%s", both.cert_pem, third.cert_pem) > 0);
    assert_int_equal(load(&both, &one, one.key_pem, NOW_S, &why), OK);
    assert_int_equal(load(&both, &two, two.key_pem, NOW_S, &why), OK);
    assert_int_equal(load(&first, &two, two.key_pem, NOW_S, &why), ERR_AUTH);
    assert_int_equal(load(&all, &one, one.key_pem, NOW_S, &why), ERR_MALFORMED);
    assert_says(&why, "or two while one follows the other");
    /* So is what they sign; the text then is no configuration, which is another failure. */
    assert_int_equal(pki_sign(&second, text, (struct mbytes){sig, sizeof(sig)}, &n, &why), OK);
    assert_int_equal(cluster_check(text, (struct bytes){sig, n},
                                   (struct bytes){(uint8_t *)both.cert_pem, strlen(both.cert_pem)},
                                   &ret, &why),
                     ERR_MALFORMED);
    assert_int_equal(
        cluster_check(text, (struct bytes){sig, n},
                      (struct bytes){(uint8_t *)first.cert_pem, strlen(first.cert_pem)}, &ret,
                      &why),
        ERR_AUTH);
    pki_pair_free(&first);
    pki_pair_free(&second);
    pki_pair_free(&third);
    pki_pair_free(&both);
    pki_pair_free(&all);
    pki_pair_free(&one);
    pki_pair_free(&two);
}

/* What a certificate says to those who read it with other tools. */
static void test_certificate(void **state)
{
    struct cluster c = fixture_cluster();
    struct identity_name name = fixture_replica(&c, 2), back = {0};
    struct pki_pair ca = fixture_ca(), one = {0}, two = {0};
    struct explain why = {0};
    X509 *a = NULL, *b = NULL;
    char cn[64];
    BIO *bio = NULL;

    (void)state;
    assert_int_equal(pki_issue(&ca, &name, NOW_S, 30, &one, &why), OK);
    assert_int_equal(pki_issue(&ca, &name, NOW_S, 30, &two, &why), OK);
    bio = BIO_new_mem_buf(one.cert_pem, -1);
    a = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    bio = BIO_new_mem_buf(two.cert_pem, -1);
    b = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    assert_int_equal(identity_name_of(a, &back), OK);
    assert_memory_equal(&back, &name, sizeof(name));
    assert_true(ASN1_INTEGER_cmp(X509_get0_serialNumber(a), X509_get0_serialNumber(b)) != 0);
    assert_true(ASN1_STRING_length(X509_get0_serialNumber(a)) == 16);
    assert_int_equal(X509_get_key_usage(a), X509v3_KU_DIGITAL_SIGNATURE);
    assert_int_equal(X509_get_extended_key_usage(a), XKU_SSL_SERVER | XKU_SSL_CLIENT);
    assert_int_equal(X509_check_ca(a), 0);
    assert_true(
        X509_NAME_get_text_by_NID(X509_get_subject_name(a), NID_commonName, cn, sizeof(cn)) > 0);
    assert_string_equal(cn, "avocado replica 4 incarnation 14");
    X509_free(a);
    X509_free(b);
    pki_pair_free(&ca);
    pki_pair_free(&one);
    pki_pair_free(&two);
}

static void test_pki_refuses(void **state)
{
    struct cluster c = fixture_cluster();
    struct identity_name name = fixture_client(&c, "");
    struct pki_pair ca = fixture_ca(), one = {0};
    struct explain why = {0};

    (void)state;
    assert_int_equal(pki_issue(&ca, &name, NOW_S, 30, &one, &why), ERR_USAGE);
    name = fixture_client(&c, "a,DNS:b");
    assert_int_equal(pki_issue(&ca, &name, NOW_S, 30, &one, &why), ERR_USAGE);
    name = fixture_replica(&c, 0);
    assert_int_equal(pki_issue(&ca, &name, NOW_S, 0, &one, &why), ERR_USAGE);
    assert_int_equal(pki_make_ca("", NOW_S, 30, &one, &why), ERR_USAGE);
    assert_int_equal(pki_issue(&ca, &name, NOW_S, 30, &one, &why), OK);
    name.incarnation = 0;
    assert_int_equal(pki_issue(&one, &name, NOW_S, 30, &ca, &why), ERR_USAGE);
    name.incarnation = 1;
    assert_int_equal(pki_issue(&one, &name, NOW_S, 30, &ca, &why), ERR_MALFORMED);
    assert_says(&why, "may issue");
    pki_pair_free(&ca);
    pki_pair_free(&one);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

/* CTL-1: a key that others may read is not used. */
static void test_key_file(void **state)
{
    static const mode_t open_modes[] = {0640, 0604, 0620, 0602, 0610, 0601, 0666};
    char dir[] = "/tmp/avocado-test-XXXXXX", ca_path[64], cert_path[64], key_path[64];
    struct cluster c = fixture_cluster();
    struct identity_name name = fixture_client(&c, "alice");
    struct pki_pair ca = fixture_ca(), one = {0};
    struct explain why = {0};
    struct identity *id = NULL;

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(ca_path, sizeof(ca_path), "%s/ca.pem", dir);
    (void)snprintf(cert_path, sizeof(cert_path), "%s/cert.pem", dir);
    (void)snprintf(key_path, sizeof(key_path), "%s/key.pem", dir);
    assert_int_equal(pki_issue(&ca, &name, NOW_S, 30, &one, &why), OK);
    write_file(ca_path, ca.cert_pem, 0644);
    write_file(cert_path, one.cert_pem, 0644);
    assert_int_equal(identity_from_files(ca_path, cert_path, key_path, NOW_S, &id, &why), ERR_IO);
    assert_says(&why, "key.pem");
    for (size_t i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++) {
        write_file(key_path, one.key_pem, open_modes[i]);
        assert_int_equal(identity_from_files(ca_path, cert_path, key_path, NOW_S, &id, &why),
                         ERR_POLICY);
        assert_says(&why, "chmod 600");
    }
    write_file(key_path, one.key_pem, 0600);
    assert_int_equal(identity_from_files(ca_path, cert_path, key_path, NOW_S, &id, &why), OK);
    assert_string_equal(identity_self(id)->client, "alice");
    identity_free(id);
    write_file(key_path, "nonsense", 0600);
    assert_int_equal(identity_from_files(ca_path, cert_path, key_path, NOW_S, &id, &why),
                     ERR_MALFORMED);
    assert_says(&why, "key.pem");
    assert_int_equal(unlink(ca_path) | unlink(cert_path) | unlink(key_path), 0);
    assert_int_equal(rmdir(dir), 0);
    pki_pair_free(&ca);
    pki_pair_free(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_name_of),
        cmocka_unit_test(test_rules_in_certificates),
        cmocka_unit_test(test_two_cas),
        cmocka_unit_test(test_from_pem),
        cmocka_unit_test(test_odd_pem),
        cmocka_unit_test(test_certificate),
        cmocka_unit_test(test_pki_refuses),
        cmocka_unit_test(test_key_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
