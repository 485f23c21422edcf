// SPDX-License-Identifier: Apache-2.0
/* Every recorded sample gets the verdict that is known for it. ATT-5 */
#include "tests/attest/samples.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

static struct attest_verdict verdict; /* too large for a stack */

static void expect_true(const struct sample *s, bool good, const char *what)
{
    if (!good) {
        fail_msg("%s: %s; %s", s->name, what, verdict_text(&verdict));
    }
}

static bool expected_bool(const struct sample *s, const char *key)
{
    return json_is_true(json_object_get(s->expected, key));
}

/* A value of expected.json; NULL when there is none. */
static const char *expected_hex(const struct sample *s, const char *part, const char *key)
{
    return json_string_value(json_object_get(json_object_get(s->expected, part), key));
}

static void check_field(const struct sample *s, const char *part, const char *key, const char *name)
{
    const char *hex = expected_hex(s, part, key);
    char found[256] = "";

    if (hex == NULL) {
        return;
    }
    for (uint32_t i = 0; i < verdict.fields_n; i++) {
        if (strcmp(verdict.field[i].name, name) == 0) {
            for (size_t b = 0; b < verdict.field[i].value.n; b++) {
                (void)snprintf(found + 2 * b, 3, "%02x", verdict.field[i].value.p[b]);
            }
        }
    }
    if (strcmp(found, hex) != 0) {
        fail_msg("%s: %s is %s, not %s", s->name, name, found, hex);
    }
}

static void check_fields(const struct sample *s)
{
    static const struct {
        const char *key, *name;
    } map[] = {
        {"mr_enclave", "mrenclave"},
        {"mr_signer", "mrsigner"},
        {"config_id", "configid"},
        {"mr_td", "mrtd"},
        {"rtmr0", "rtmr0"},
        {"rtmr1", "rtmr1"},
        {"rtmr2", "rtmr2"},
        {"rtmr3", "rtmr3"},
        {"mr_seam", "mrseam"},
        {"mr_config_id", "mrconfigid"},
        {"mr_owner", "mrowner"},
        {"mr_service_td", "mrservicetd"},
        {"measurement", "measurement"},
        {"host_data", "host_data"},
        {"id_key_digest", "id_key_digest"},
        {"chip_id", "chip_id"},
        {"report_id", "report_id"},
    };
    const char *part = s->in.kind == ATTEST_SNP ? "report" : "report_body";
    const char *report_data = expected_hex(s, part, "report_data");
    char found[129] = "";

    for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
        check_field(s, part, map[i].key, map[i].name);
    }
    assert_int_equal(verdict.report_data.n, 64);
    for (size_t b = 0; b < 64; b++) {
        (void)snprintf(found + 2 * b, 3, "%02x", verdict.report_data.p[b]);
    }
    assert_string_equal(found, report_data);
}

static void check_reasons(const struct sample *s)
{
    const json_t *reasons = json_object_get(s->expected, "fail_reasons");
    const json_t *reason = NULL;
    size_t i = 0;

    json_array_foreach(reasons, i, reason)
    {
        expect_true(s, verdict_has(&verdict, json_string_value(reason)), json_string_value(reason));
    }
    for (uint32_t f = 0; f < verdict.failures_n; f++) {
        const char *name = attest_rule_name(verdict.failure[f].rule);
        bool known = false;

        json_array_foreach(reasons, i, reason)
        {
            known |= strcmp(json_string_value(reason), name) == 0;
        }
        expect_true(s, known, "a rule failed that should not");
    }
}

static void check_status(const struct sample *s)
{
    const char *status = json_string_value(json_object_get(s->expected, "tcb_status"));
    const char *found = attest_tcb_name(verdict.tcb_status);

    if (!expected_bool(s, "signature_verifies")) {
        status = NULL; /* nothing is known of a platform that is not genuine */
    }
    if ((status == NULL) != (found == NULL) || (status != NULL && strcmp(status, found) != 0)) {
        fail_msg("%s: TCB status %s, not %s", s->name, found == NULL ? "none" : found,
                 status == NULL ? "none" : status);
    }
}

static void check_one(const char *name)
{
    struct sample s;

    sample_load(name, &s);
    attest_verify(&s.in, &verdict);
    expect_true(&s, verdict.parsed, "does not parse");
    expect_true(&s, verdict.signature_verifies == expected_bool(&s, "signature_verifies"),
                "signature_verifies");
    expect_true(&s, verdict.verifies == expected_bool(&s, "verifies"), "verifies");
    expect_true(&s, verdict.accepted == verdict.verifies, "accepted without a policy");
    expect_true(&s, verdict.debug == expected_bool(&s, "debug"), "debug");
    check_reasons(&s);
    check_status(&s);
    check_fields(&s);
    sample_free(&s);
}

static void test_every_sample(void **state)
{
    char names[SAMPLES_MAX][96];
    size_t n = samples_list(names, SAMPLES_MAX);

    (void)state;
    assert_int_equal(n, 41);
    for (size_t i = 0; i < n; i++) {
        check_one(names[i]);
    }
}

/* ATT-13: good on the first and on the last second of the window, and not outside. */
static void check_window(const char *name)
{
    struct sample s;
    const json_t *c = NULL;
    uint64_t from = 0, until = 0;

    sample_load(name, &s);
    c = json_object_get(s.expected, "collateral");
    from = (uint64_t)json_integer_value(json_object_get(c, "valid_from_epoch"));
    until = (uint64_t)json_integer_value(json_object_get(c, "valid_until_epoch"));
    if (expected_bool(&s, "verifies")) {
        attest_verify(&s.in, &verdict);
        expect_true(&s, verdict.valid_from_s == from && verdict.valid_until_s == until,
                    "another window");
        s.in.now_s = from;
        attest_verify(&s.in, &verdict);
        expect_true(&s, verdict.verifies, "first second");
        s.in.now_s = until;
        attest_verify(&s.in, &verdict);
        expect_true(&s, verdict.verifies, "last second");
        s.in.now_s = from - 1;
        attest_verify(&s.in, &verdict);
        expect_true(&s,
                    !verdict.verifies && verdict.signature_verifies &&
                        verdict_has(&verdict, "not_yet_valid"),
                    "before");
        s.in.now_s = until + 1;
        attest_verify(&s.in, &verdict);
        expect_true(
            &s, !verdict.verifies && verdict.signature_verifies && verdict_has(&verdict, "expired"),
            "after");
    }
    sample_free(&s);
}

static void test_windows(void **state)
{
    char names[SAMPLES_MAX][96];
    size_t n = samples_list(names, SAMPLES_MAX);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        check_window(names[i]);
    }
}

/* What expected.json calls strict: UpToDate and no debugging. */
static void test_strict_policy(void **state)
{
    char names[SAMPLES_MAX][96];
    size_t n = samples_list(names, SAMPLES_MAX);
    static struct attest_policy policy;

    (void)state;
    for (unsigned k = ATTEST_SGX; k < ATTEST_KINDS_N; k++) {
        policy.section[k].given = true;
        policy.section[k].tcb_accept = 1U << ATTEST_TCB_UP_TO_DATE;
    }
    for (size_t i = 0; i < n; i++) {
        struct sample s;

        sample_load(names[i], &s);
        s.in.policy = &policy;
        attest_verify(&s.in, &verdict);
        expect_true(&s, verdict.accepted == expected_bool(&s, "accept_strict"), "accept_strict");
        expect_true(&s, verdict.verifies == expected_bool(&s, "verifies"),
                    "a policy changes whether it verifies");
        sample_free(&s);
    }
}

/* ATT-3: the sample under Intel's test root passes with that root, and with no other. */
static void test_given_roots(void **state)
{
    struct sample s;
    size_t n = 0;
    uint8_t *root = NULL;

    (void)state;
    sample_load("sgx/intel-synthetic-testroot", &s);
    root = sample_read(s.dir, "test_root_ca.pem", &n);
    assert_non_null(root);
    s.in.roots = (struct attest_roots){0};
    assert_int_equal(attest_roots_add(&s.in.roots, (struct bytes){root, n}), OK);
    attest_verify(&s.in, &verdict);
    expect_true(&s, verdict.verifies, "under its own root");
    assert_int_equal(verdict.tcb_status, ATTEST_TCB_UP_TO_DATE);
    s.in.roots = (struct attest_roots){0};
    attest_verify(&s.in, &verdict);
    expect_true(&s, verdict_has(&verdict, "untrusted_root"), "under no root");
    assert_int_equal(attest_roots_add(&s.in.roots, (struct bytes){root, n - 5}), ERR_MALFORMED);
    free(root);
    sample_free(&s);
}

/* Evidence of one kind never passes as another. */
static void test_wrong_kind(void **state)
{
    char names[SAMPLES_MAX][96];
    size_t n = samples_list(names, SAMPLES_MAX);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        struct sample s;
        enum attest_kind own, guess;

        sample_load(names[i], &s);
        own = s.in.kind;
        assert_int_equal(attest_kind_guess(s.in.evidence, &guess), OK);
        assert_int_equal(guess, own);
        for (unsigned k = ATTEST_SGX; k < ATTEST_KINDS_N; k++) {
            if (k != own) {
                s.in.kind = (enum attest_kind)k;
                attest_verify(&s.in, &verdict);
                expect_true(&s, !verdict.signature_verifies && verdict.failures_n > 0,
                            "passes as another kind");
            }
        }
        sample_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_sample),  cmocka_unit_test(test_windows),
        cmocka_unit_test(test_strict_policy), cmocka_unit_test(test_given_roots),
        cmocka_unit_test(test_wrong_kind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
