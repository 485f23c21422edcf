// SPDX-License-Identifier: Apache-2.0
/* Who gets in and who does not, and what is left after a restart. CAS-30 to CAS-40 */
#include "tests/cas/cas_world.h"
#include "trusted/control/identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void test_join(void **state)
{
    struct cas_world w;
    struct process p;
    struct identity_name name;

    (void)state;
    world_start(&w);
    p = world_join_well(&w, 2);
    world_expect(&w, "OK", "");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(w.answer, "secrets"), "pepper")),
        "white");
    assert_true(json_is_false(json_object_get(w.answer, "protected")));
    process_use_certificate(&p, &w);
    assert_int_equal(identity_name_of(p.cert, &name), OK);
    assert_true(name.role == ROLE_REPLICA && name.node == 2 && name.incarnation == 2 &&
                name.epoch == 1);
    process_end(&p);
    world_end(&w);
}

static void test_wrong_code(void **state)
{
    struct cas_world w;
    struct process p = process_new();
    struct software_body good, body;

    (void)state;
    world_start(&w);
    good = body = world_challenged(&w, &p, &p);
    body.mrenclave[31] ^= 1;
    world_join(&w, &p, 1, &body);
    world_expect(&w, "measurement", "replica is refused by rule measurement");
    body = good;
    body.debug = true;
    world_join(&w, &p, 1, &body);
    world_expect(&w, "debug", "rule debug");
    world_join(&w, &p, 9, &good);
    world_expect(&w, "NOT_A_MEMBER", "node 9 is no member");
    process_end(&p);
    world_end(&w);
}

static void test_old_platform_and_old_collateral(void **state)
{
    struct software_wishes wishes = {
        .now_s = WORLD_NOW_S, .days = 30, .platform_svn = SOFTWARE_SVN - 1, .evaluation = 1};
    struct cas_world w;
    struct process p = process_new();
    struct software_files old = {0};
    struct pki_pair root = {0};
    struct software_body body;
    struct explain why = {0};

    (void)state;
    world_start(&w);
    w.now_s += 31 * 86400ULL;
    body = world_challenged(&w, &p, &p);
    world_join(&w, &p, 1, &body);
    world_expect(&w, "expired", "rule expired");
    w.now_s = WORLD_NOW_S;
    root.cert_pem = strndup((const char *)software_file_get(&w.files, "root_ca.pem").p,
                            software_file_get(&w.files, "root_ca.pem").n);
    root.key_pem = strndup((const char *)software_file_get(&w.files, "root_key.pem").p,
                           software_file_get(&w.files, "root_key.pem").n);
    wishes.root = &root;
    assert_int_equal(software_found(&wishes, &old, &why), OK);
    software_platform_close(w.platform);
    software_files_free(&w.files);
    w.files = old;
    assert_int_equal(software_platform_open(software_file_get(&w.files, "pck_chain.pem"),
                                            software_file_get(&w.files, "pck_key.pem"), &w.platform,
                                            &why),
                     OK);
    body = world_challenged(&w, &p, &p);
    world_join(&w, &p, 1, &body);
    world_expect(&w, "tcb_status", "OutOfDate");
    pki_pair_free(&root);
    process_end(&p);
    world_end(&w);
}

static void test_replayed(void **state)
{
    struct cas_world w;
    struct process p = process_new();
    struct software_body body;

    (void)state;
    world_start(&w);
    body = world_challenged(&w, &p, &p);
    world_join(&w, &p, 1, &body);
    world_expect(&w, "OK", "");
    world_join(&w, &p, 1, &body);
    world_expect(&w, "REPLAYED", "its nonce was used before");
    body = world_challenged(&w, &p, &p);
    w.now_s += CAS_NONCE_LIFE_S + 1;
    world_join(&w, &p, 1, &body);
    world_expect(&w, "REPLAYED", "too old");
    w.now_s = WORLD_NOW_S;
    world_restart(&w); /* a nonce of a former life is nobody's */
    world_join(&w, &p, 1, &body);
    world_expect(&w, "REPLAYED", "not of this CAS since its last start");
    process_end(&p);
    world_end(&w);
}

/* Somebody in between hands on the evidence of an honest process; his TLS key is another. */
static void test_relayed(void **state)
{
    struct cas_world w;
    struct process honest = process_new(), between = process_new();
    struct software_body body;

    (void)state;
    world_start(&w);
    body = world_challenged(&w, &between, &honest);
    world_join(&w, &between, 1, &body);
    world_expect(&w, "RELAYED", "bound to another TLS key");
    world_join(&w, NULL, 1, &body);
    world_expect(&w, "NO_KEY", "show a certificate");
    process_end(&honest);
    process_end(&between);
    world_end(&w);
}

static void test_clone(void **state)
{
    struct cas_world w;
    struct process p, clone;
    struct software_body body;

    (void)state;
    world_start(&w);
    p = world_join_well(&w, 3);
    world_expect(&w, "OK", "");
    clone = world_join_well(&w, 3);
    world_expect(&w, "CLONE", "joins as a new member once the other one is gone");
    world_restart(&w);
    process_end(&clone);
    clone = world_join_well(&w, 3);
    world_expect(&w, "CLONE", "incarnation 3 of node 3 was given to another process");
    /* Its answer was lost: the same process may ask again, and gets the same incarnation. */
    body = world_challenged(&w, &p, &p);
    world_join(&w, &p, 3, &body);
    world_expect(&w, "OK", "");
    assert_int_equal(json_integer_value(json_object_get(w.answer, "incarnation")), 3);
    process_end(&clone);
    process_end(&p);
    world_end(&w);
}

static void test_renewal_and_old_certificates(void **state)
{
    struct cas_world w;
    struct process p, next = process_new(), owner = {0};

    (void)state;
    world_start(&w);
    owner.key = w.owner;
    owner.cert = w.owner_cert;
    p = world_join_well(&w, 1);
    process_use_certificate(&p, &w);
    world_ask(&w, &p, "POST", "/v1/renew", process_key_json(&next, NULL));
    world_expect(&w, "OK", "");
    world_ask(&w, &next, "POST", "/v1/renew", process_key_json(&next, NULL));
    world_expect(&w, "CERTIFICATE", "old certificate");
    world_ask(&w, &p, "POST", "/v1/epoch", json_pack("{s:b}", "accept_data_loss", 1));
    world_expect(&w, "OWNER", "only the owner");
    world_ask(&w, &owner, "POST", "/v1/epoch", json_object());
    world_expect(&w, "DATA_AT_RISK", "starts empty");
    world_ask(&w, &owner, "POST", "/v1/epoch", json_pack("{s:b}", "accept_data_loss", 1));
    world_expect(&w, "OK", "");
    assert_int_equal(json_integer_value(json_object_get(w.answer, "epoch")), 2);
    world_ask(&w, &p, "POST", "/v1/renew", process_key_json(&next, NULL));
    world_expect(&w, "OLD_CERTIFICATE", "incarnation 1 of node 1 is no member of epoch 2");
    process_end(&p);
    process_end(&next);
    world_restart(&w);
    p = world_join_well(&w, 1);
    assert_int_equal(json_integer_value(json_object_get(w.answer, "incarnation")), 4);
    process_end(&p);
    world_end(&w);
}

/* A CAS that was away for longer than a certificate lives must not cost the members their
 * identities; clients get theirs from the owner. */
static void test_renewal_out_of_date(void **state)
{
    struct cas_world w;
    struct process p, client = process_new(), next = process_new(), owner = {0};

    (void)state;
    world_start(&w);
    owner.key = w.owner;
    owner.cert = w.owner_cert;
    world_ask(&w, &owner, "POST", "/v1/client", process_key_json(&client, "web"));
    process_use_certificate(&client, &w);
    p = world_join_well(&w, 1);
    process_use_certificate(&p, &w);
    w.now_s += (uint64_t)3 * 86400;
    world_ask(&w, &client, "POST", "/v1/renew", process_key_json(&next, NULL));
    world_expect(&w, "CERTIFICATE", "must be issued here and in date");
    world_ask(&w, &p, "POST", "/v1/renew", process_key_json(&next, NULL));
    world_expect(&w, "OK", "");
    process_use_certificate(&next, &w);
    world_ask(&w, &next, "GET", "/v1/config", NULL);
    world_expect(&w, "OK", "");
    w.now_s -= (uint64_t)30 * 86400; /* not yet in force */
    world_ask(&w, &p, "POST", "/v1/renew", process_key_json(&next, NULL));
    world_expect(&w, "CERTIFICATE", "must be issued here");
    process_end(&p);
    process_end(&next);
    process_end(&client);
    world_end(&w);
}

static void copy_to(const char *from, const char *to)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    int byte;

    assert_true(in != NULL && out != NULL);
    while ((byte = fgetc(in)) != EOF) {
        assert_int_equal(fputc(byte, out), byte);
    }
    assert_int_equal(fclose(in), 0);
    assert_int_equal(fclose(out), 0);
}

/* CAS-23: state and anchor rolled back together; a member has seen more. */
static void test_second_witness(void **state)
{
    struct cas_world w;
    struct process p, q;
    char query[160], forged[160], db[128], anchor[128];

    (void)state;
    world_start(&w);
    p = world_join_well(&w, 1);
    process_use_certificate(&p, &w);
    (void)snprintf(db, sizeof(db), "%s.old", w.path);
    (void)snprintf(anchor, sizeof(anchor), "%s.old", w.anchor);
    world_restart(&w);
    copy_to(w.path, db);
    copy_to(w.anchor, anchor);
    q = world_join_well(&w, 2);
    (void)snprintf(query, sizeof(query), "seen=%lld&mark=%s",
                   (long long)json_integer_value(json_object_get(w.answer, "state_version")),
                   json_string_value(json_object_get(w.answer, "state_mark")));
    (void)snprintf(forged, sizeof(forged), "seen=%lld&mark=%s",
                   (long long)json_integer_value(json_object_get(w.answer, "state_version")) + 1,
                   json_string_value(json_object_get(w.answer, "state_mark")));
    w.query = query;
    world_ask(&w, &p, "GET", "/v1/config", NULL);
    world_expect(&w, "OK", "");
    w.query = forged; /* nobody can stop us with a number of his own */
    world_ask(&w, &p, "GET", "/v1/config", NULL);
    world_expect(&w, "MARK", "not of state version");
    w.query = NULL;
    copy_to(db, w.path);
    copy_to(anchor, w.anchor);
    world_restart(&w); /* takes the old state for the present one */
    w.query = query;
    world_ask(&w, &p, "GET", "/v1/config", NULL);
    world_expect(&w, "ROLLED_BACK", "has seen state version");
    w.query = NULL;
    world_ask(&w, NULL, "GET", "/v1/health", NULL);
    world_expect(&w, "BROKEN", "rolled back");
    assert_int_equal(unlink(db) | unlink(anchor), 0);
    process_end(&p);
    process_end(&q);
    world_end(&w);
}

static void test_policies_only_rise(void **state)
{
    struct cas_world w;

    (void)state;
    world_start(&w);
    world_ask_policy(&w, 1, "");
    world_expect(&w, "POLICY", "version 1 does not follow version 1");
    world_ask_policy(&w, 2, "        isvsvn_min: 3\n");
    world_expect(&w, "OK", "");
    world_ask_policy(&w, 3, "        isvsvn_min: 2\n");
    world_expect(&w, "POLICY", "isvsvn_min was 3 and would be 2; minimums only rise");
    world_ask_policy(&w, 3, "");
    world_expect(&w, "POLICY", "would be 0");
    world_ask_policy(&w, 3, "        isvsvn_min: 3\n        tcb_statuses: [UpToDate, OutOfDate]\n");
    world_expect(&w, "POLICY", "accept OutOfDate again");
    world_ask_policy(&w, 3, "        isvsvn_min: 3\n        debug: allowed\n");
    world_expect(&w, "POLICY", "debug was forbidden");
    world_ask_policy(&w, 3, "        isvsvn: 3\n");
    world_expect(&w, "POLICY", "line 23: isvsvn: unknown key");
    world_restart(&w);
    {
        struct process p = world_join_well(&w, 1); /* ISVSVN 1: the policy of version 2 holds */

        world_expect(&w, "minimum", "rule minimum");
        process_end(&p);
    }
    world_end(&w);
}

static json_t *token_of(const struct process *las, const struct process *p, const uint8_t *nonce,
                        uint8_t measurement, uint64_t now_s)
{
    struct las_claim claim = {
        .las = "las.m1", .kind = ATTEST_SOFTWARE, .issued_s = now_s, .lifetime_s = LAS_LIFETIME_S};
    uint8_t token[LAS_TOKEN_MAX];
    size_t n = 0;
    char *text;
    json_t *body;

    memset(claim.measurement, measurement, sizeof(claim.measurement));
    memcpy(claim.binding.key_hash, p->key_hash, 32);
    memcpy(claim.binding.nonce, nonce, 32);
    assert_int_equal(las_token_sign(&claim, las->key, token, &n), OK);
    text = evidence_base64((struct bytes){token, n});
    body = json_pack("{s:s,s:i,s:s}", "role", "replica", "node", 1, "token", text);
    free(text);
    return body;
}

static void test_tokens(void **state)
{
    struct cas_world w;
    struct process las = process_new(), p = process_new(), other = process_new();
    struct software_body body;
    uint8_t nonce[32];

    (void)state;
    world_start(&w);
    world_nonce(&w, &p, nonce);
    world_ask(&w, &p, "POST", "/v1/join", token_of(&las, &p, nonce, 0xa5, w.now_s));
    world_expect(&w, "LAS", "'las.m1' is not attested here");
    body = world_challenged(&w, &las, &las);
    world_ask(&w, &las, "POST", "/v1/las",
              json_pack("{s:s,s:o}", "name", "las.m1", "evidence", world_evidence(&w, &body)));
    world_expect(&w, "measurement", "las is refused by rule measurement");
    memset(body.mrenclave, 0x11, sizeof(body.mrenclave));
    world_ask(&w, &las, "POST", "/v1/las",
              json_pack("{s:s,s:o}", "name", "las.m1", "evidence", world_evidence(&w, &body)));
    world_expect(&w, "OK", "");
    world_restart(&w);
    world_nonce(&w, &p, nonce);
    world_ask(&w, &p, "POST", "/v1/join", token_of(&las, &p, nonce, 0xa6, w.now_s));
    world_expect(&w, "measurement", "LAS 'las.m1' measured a6a6");
    world_ask(&w, &p, "POST", "/v1/join", token_of(&other, &p, nonce, 0xa5, w.now_s));
    world_expect(&w, "TOKEN", "not signed by the key of LAS");
    world_ask(&w, &other, "POST", "/v1/join", token_of(&las, &p, nonce, 0xa5, w.now_s));
    world_expect(&w, "RELAYED", "bound to another TLS key");
    world_ask(&w, &p, "POST", "/v1/join", token_of(&las, &p, nonce, 0xa5, w.now_s - 200));
    world_expect(&w, "TOKEN", "ask for a new one");
    world_ask(&w, &p, "POST", "/v1/join", token_of(&las, &p, nonce, 0xa5, w.now_s));
    world_expect(&w, "OK", "");
    world_ask(&w, &p, "POST", "/v1/join", token_of(&las, &p, nonce, 0xa5, w.now_s));
    world_expect(&w, "REPLAYED", "used before");
    process_end(&las);
    process_end(&p);
    process_end(&other);
    world_end(&w);
}

static void test_audit(void **state)
{
    struct cas_world w;
    struct process p, owner = {0};

    (void)state;
    world_start(&w);
    owner.key = w.owner;
    owner.cert = w.owner_cert;
    p = world_join_well(&w, 1);
    world_restart(&w); /* follows the chain */
    world_ask(&w, &owner, "GET", "/v1/audit", NULL);
    world_expect(&w, "OK", "");
    assert_int_equal(json_array_size(json_object_get(w.answer, "log")), 2);
    assert_int_equal(json_integer_value(json_object_get(w.answer, "entries")), 2);
    process_end(&p);
    world_end(&w);
}

static void test_nonsense(void **state)
{
    struct cas_world w;
    struct process p = process_new();

    (void)state;
    world_start(&w);
    world_ask(&w, &p, "GET", "/v1/nothing", NULL);
    assert_int_equal(w.status, 404);
    world_ask(&w, &p, "GET", "/v1/join", NULL);
    assert_int_equal(w.status, 405);
    world_ask(&w, &p, "POST", "/v1/join", json_array());
    assert_int_equal(w.status, 400);
    world_ask(&w, &p, "POST", "/v1/join", json_pack("{s:s}", "role", "replica"));
    world_expect(&w, "MALFORMED", "either evidence or a token");
    world_ask(&w, &p, "POST", "/v1/join", json_pack("{s:s,s:{}}", "role", "replica", "evidence"));
    world_expect(&w, "MALFORMED", "evidence is an object");
    process_end(&p);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_wrong_code),
        cmocka_unit_test(test_old_platform_and_old_collateral),
        cmocka_unit_test(test_replayed),
        cmocka_unit_test(test_relayed),
        cmocka_unit_test(test_clone),
        cmocka_unit_test(test_renewal_and_old_certificates),
        cmocka_unit_test(test_renewal_out_of_date),
        cmocka_unit_test(test_second_witness),
        cmocka_unit_test(test_policies_only_rise),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_audit),
        cmocka_unit_test(test_nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
