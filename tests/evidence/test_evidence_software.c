// SPDX-License-Identifier: Apache-2.0
/* Software evidence under a deployment's own root, judged by the verifier of all evidence. ATT-28
 */
#include "tests/attest/samples.h"
#include "trusted/evidence/evidence.h"
#include "trusted/evidence/software.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>

static const uint64_t NOW_S = 1790000000;
enum { DAYS = 30, DAY_S = 86400 };

struct world {
    struct software_files files;
    struct software_platform *platform;
    uint8_t *quote;
    size_t quote_n;
    struct attest_input in;
    struct software_body body;
};

static struct attest_verdict verdict;

static void quote_again(struct world *w)
{
    struct explain why = {0};

    free(w->quote);
    w->quote = NULL;
    assert_int_equal(software_quote(w->platform, &w->body, &w->quote, &w->quote_n, &why), OK);
    w->in.evidence = (struct bytes){w->quote, w->quote_n};
}

static void make(struct world *w, uint32_t svn)
{
    struct software_wishes wishes = {
        .now_s = NOW_S, .days = DAYS, .platform_svn = svn, .evaluation = 7};
    struct explain why = {0};
    struct attest_collateral *c = &w->in.collateral;

    *w = (struct world){.in = {.kind = ATTEST_SOFTWARE, .now_s = NOW_S}};
    assert_int_equal(software_found(&wishes, &w->files, &why), OK);
    assert_int_equal(software_platform_open(software_file_get(&w->files, "pck_chain.pem"),
                                            software_file_get(&w->files, "pck_key.pem"),
                                            &w->platform, &why),
                     OK);
    assert_int_equal(attest_roots_add(&w->in.roots, software_file_get(&w->files, "root_ca.pem")),
                     OK);
    c->tcb_info = software_file_get(&w->files, "tcb_info.json");
    c->qe_identity = software_file_get(&w->files, "qe_identity.json");
    c->tcb_signing_chain = software_file_get(&w->files, "tcb_signing_chain.pem");
    c->pck_crl = software_file_get(&w->files, "pck_crl.der");
    c->root_ca_crl = software_file_get(&w->files, "root_ca_crl.der");
    memset(w->body.mrenclave, 0xa5, sizeof(w->body.mrenclave));
    memset(w->body.report_data, 0x5a, sizeof(w->body.report_data));
    w->body.isvprodid = 1;
    w->body.isvsvn = 3;
    quote_again(w);
}

static void end(struct world *w)
{
    free(w->quote);
    software_platform_close(w->platform);
    software_files_free(&w->files);
}

static void test_verifies(void **state)
{
    struct world w;

    (void)state;
    make(&w, SOFTWARE_SVN);
    attest_verify(&w.in, &verdict);
    if (!verdict.verifies) {
        fail_msg("%s", verdict_text(&verdict));
    }
    assert_int_equal(verdict.tcb_status, ATTEST_TCB_UP_TO_DATE);
    assert_false(verdict.debug);
    assert_int_equal(verdict.tcb_evaluation, 7);
    assert_memory_equal(verdict.report_data.p, w.body.report_data, 64);
    end(&w);
}

static void test_out_of_date_platform(void **state)
{
    struct world w;

    (void)state;
    make(&w, SOFTWARE_SVN - 1);
    attest_verify(&w.in, &verdict);
    assert_true(verdict.verifies);
    assert_int_equal(verdict.tcb_status, ATTEST_TCB_OUT_OF_DATE);
    end(&w);
}

static void test_debug_is_told(void **state)
{
    struct world w;

    (void)state;
    make(&w, SOFTWARE_SVN);
    w.body.debug = true;
    quote_again(&w);
    attest_verify(&w.in, &verdict);
    assert_true(verdict.verifies && verdict.debug);
    end(&w);
}

/* A software root that somebody pinned as if it were Intel's still makes no hardware of it. */
static void test_is_no_hardware(void **state)
{
    struct world w;

    (void)state;
    make(&w, SOFTWARE_SVN);
    w.in.kind = ATTEST_SGX;
    attest_verify(&w.in, &verdict);
    assert_false(verdict.signature_verifies);
    assert_true(verdict_has(&verdict, "certificate_name"));
    end(&w);
}

static void test_another_deployment(void **state)
{
    struct world w, other;

    (void)state;
    make(&w, SOFTWARE_SVN);
    make(&other, SOFTWARE_SVN);
    w.in.roots = other.in.roots;
    attest_verify(&w.in, &verdict);
    assert_false(verdict.signature_verifies);
    assert_true(verdict_has(&verdict, "untrusted_root"));
    end(&w);
    end(&other);
}

static void test_expires(void **state)
{
    struct world w;

    (void)state;
    make(&w, SOFTWARE_SVN);
    w.in.now_s = NOW_S + (uint64_t)DAYS * DAY_S;
    attest_verify(&w.in, &verdict);
    assert_true(verdict.verifies);
    w.in.now_s++;
    attest_verify(&w.in, &verdict);
    assert_false(verdict.verifies);
    assert_true(verdict_has(&verdict, "expired"));
    end(&w);
}

/* New statements under the root that clients have pinned already. */
static void test_renewal_keeps_the_root(void **state)
{
    struct world w;
    struct software_files again = {0};
    struct explain why = {0};
    struct pki_pair root = {0};
    struct software_wishes wishes = {.now_s = NOW_S + (uint64_t)DAYS * DAY_S,
                                     .days = DAYS,
                                     .platform_svn = SOFTWARE_SVN,
                                     .evaluation = 8,
                                     .root = &root};

    (void)state;
    make(&w, SOFTWARE_SVN);
    root.cert_pem = strndup((const char *)software_file_get(&w.files, "root_ca.pem").p,
                            software_file_get(&w.files, "root_ca.pem").n);
    root.key_pem = strndup((const char *)software_file_get(&w.files, "root_key.pem").p,
                           software_file_get(&w.files, "root_key.pem").n);
    assert_int_equal(software_found(&wishes, &again, &why), OK);
    assert_true(bytes_equal(software_file_get(&again, "root_ca.pem"),
                            software_file_get(&w.files, "root_ca.pem")));
    assert_false(bytes_equal(software_file_get(&again, "pck_chain.pem"),
                             software_file_get(&w.files, "pck_chain.pem")));
    pki_pair_free(&root);
    software_files_free(&again);
    end(&w);
}

static void flip_all(struct world *w, uint8_t *p, size_t n, size_t step, const char *what)
{
    for (size_t at = 0; p != NULL && at < n; at += step) {
        p[at] ^= (uint8_t)(1U << at % 8);
        attest_verify(&w->in, &verdict);
        p[at] ^= (uint8_t)(1U << at % 8);
        if (verdict.verifies) {
            fail_msg("%s verifies with byte %zu changed", what, at);
        }
    }
}

static void test_every_byte_counts(void **state)
{
    static const char *const names[] = {"tcb_info.json", "qe_identity.json",
                                        "tcb_signing_chain.pem", "pck_crl.der", "root_ca_crl.der"};
    enum { SIGNED_N = 432 + 4 + 584 + 32 };
    struct world w;

    (void)state;
    make(&w, SOFTWARE_SVN);
    flip_all(&w, w.quote, SIGNED_N, 7, "a software quote");
    flip_all(&w, w.quote + SIGNED_N, w.quote_n - SIGNED_N, 41, "the chain of a software quote");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        for (size_t f = 0; f < SOFTWARE_FILES_N; f++) {
            struct software_file *file = &w.files.file[f];

            if (strcmp(file->name, names[i]) == 0) {
                flip_all(&w, file->p, file->n, 53, names[i]);
            }
        }
    }
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verifies),
        cmocka_unit_test(test_out_of_date_platform),
        cmocka_unit_test(test_debug_is_told),
        cmocka_unit_test(test_is_no_hardware),
        cmocka_unit_test(test_another_deployment),
        cmocka_unit_test(test_expires),
        cmocka_unit_test(test_renewal_keeps_the_root),
        cmocka_unit_test(test_every_byte_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
