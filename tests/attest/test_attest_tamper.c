// SPDX-License-Identifier: Apache-2.0
/*
 * No byte of evidence or collateral can change unnoticed, and no length of either crashes (ATT-6).
 * A stride keeps the test short; ATTEST_FULL in the environment, the name of a sample or "all",
 * changes every byte, which takes a minute for one sample.
 */
#include "tests/attest/samples.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>

enum {
    STRIDE_LARGE = 523, /* prime, so that all columns of text and all fields are met */
    STRIDE_SMALL = 107,
    SMALL = 1500,
};

static struct attest_verdict verdict;

static bool is_full(const struct sample *s)
{
    const char *full = getenv("ATTEST_FULL");

    return full != NULL && (strcmp(full, "all") == 0 || strcmp(full, s->name) == 0);
}

static void check_byte(struct sample *s, struct sample_file *f, size_t at, uint8_t mask)
{
    f->p[at] ^= mask;
    attest_verify(&s->in, &verdict);
    f->p[at] ^= mask;
    if (verdict.verifies || verdict.failures_n == 0) {
        fail_msg("%s: %s verifies with byte %zu changed by 0x%02x", s->name, f->name, at, mask);
    }
}

static void check_file(struct sample *s, struct sample_file *f, size_t first)
{
    static const uint8_t masks[] = {0x01, 0x20, 0xff, 0x80};
    size_t step = is_full(s) ? 1 : f->n < SMALL ? STRIDE_SMALL : STRIDE_LARGE;

    for (size_t at = is_full(s) ? 0 : first % step; at < f->n; at += step) {
        check_byte(s, f, at, masks[at % sizeof(masks)]);
    }
    if (f->n > 0) { /* the ends are where framing goes wrong */
        check_byte(s, f, 0, 0x01);
        check_byte(s, f, f->n - 1, 0x20);
        check_byte(s, f, f->n - 1, 0x01);
    }
}

static void test_every_byte_counts(void **state)
{
    char names[SAMPLES_MAX][96];
    size_t n = samples_list(names, SAMPLES_MAX), good = 0;

    (void)state;
    for (size_t i = 0; i < n; i++) {
        struct sample s;

        sample_load(names[i], &s);
        attest_verify(&s.in, &verdict);
        if (verdict.verifies) {
            good++;
            for (size_t f = 0; f < SAMPLE_FILES_N; f++) {
                check_file(&s, &s.file[f], i * 17 + f);
            }
        }
        sample_free(&s);
    }
    assert_in_range(good, 30, n);
}

/* The bytes that must count most, in every run: what is signed, and the signatures. */
static void test_signed_parts_byte_by_byte(void **state)
{
    static const struct {
        const char *name;
        size_t signed_n;
    } parts[] = {
        {"sgx/automata-icelake", 432 + 4 + 584 + 32},
        {"tdx/azure-v4", 632 + 4 + 140},
        {"tdx/google-v5", 702 + 4 + 140},
        {"snp/microsoft-turin-v5", 1184},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        struct sample s;

        sample_load(parts[i].name, &s);
        for (size_t at = i % 2; at < parts[i].signed_n; at += is_full(&s) ? 1 : 2) {
            check_byte(&s, &s.file[0], at, (uint8_t)(1U << at % 8));
        }
        sample_free(&s);
    }
}

/* In a block of exactly that size, so that a sanitizer sees the first byte past it. */
static void check_length(struct sample *s, struct sample_file *f, size_t n)
{
    uint8_t *whole = f->p;
    size_t whole_n = f->n;

    f->p = malloc(n == 0 ? 1 : n);
    assert_non_null(f->p);
    memcpy(f->p, whole, n);
    f->n = n;
    sample_relink(s);
    attest_verify(&s->in, &verdict);
    free(f->p);
    f->p = whole;
    f->n = whole_n;
    sample_relink(s);
    assert_true(!verdict.verifies || f != &s->file[0] || n >= 1000);
}

static void test_every_length(void **state)
{
    static const char *const names[] = {"sgx/automata-icelake", "tdx/alibaba-v5",
                                        "snp/veraison-genoa-v3"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct sample s;

        sample_load(names[i], &s);
        for (size_t f = 0; f < SAMPLE_FILES_N; f++) {
            size_t step = is_full(&s) ? 1 : s.file[f].n < SMALL ? 5 : 37;

            for (size_t n = 0; f == 0 ? n < s.file[f].n : n < s.file[f].n / 4; n += step) {
                check_length(&s, &s.file[f], n);
            }
        }
        sample_free(&s);
    }
}

/* ATT-2: a missing file is named, and is never as good as a present one. */
static void test_missing_files(void **state)
{
    static const char *const intel[] = {"tcb_info.json", "qe_identity.json",
                                        "tcb_signing_chain.pem", "pck_crl.der", "root_ca_crl.der"};
    static const char *const amd[] = {"vcek.der", "ask.pem", "ark.pem"};
    struct sample s;

    (void)state;
    sample_load("sgx/automata-icelake", &s);
    for (size_t i = 0; i < sizeof(intel) / sizeof(intel[0]); i++) {
        struct sample_file *f = sample_file(&s, intel[i]);
        size_t n = f->n;

        f->n = 0;
        sample_relink(&s);
        attest_verify(&s.in, &verdict);
        assert_true(verdict.signature_verifies && !verdict.verifies);
        assert_true(verdict_has(&verdict, "incomplete_collateral"));
        assert_non_null(strstr(verdict_text(&verdict), intel[i]));
        f->n = n;
    }
    sample_free(&s);
    sample_load("snp/oak-milan-v3", &s);
    for (size_t i = 0; i < sizeof(amd) / sizeof(amd[0]); i++) {
        struct sample_file *f = sample_file(&s, amd[i]);
        size_t n = f->n;

        f->n = 0;
        sample_relink(&s);
        attest_verify(&s.in, &verdict);
        assert_false(verdict.signature_verifies);
        assert_true(verdict_has(&verdict, "no_vcek_chain"));
        assert_non_null(strstr(verdict_text(&verdict), amd[i]));
        f->n = n;
    }
    sample_free(&s);
}

/* ATT-27: the host's table alone is enough, and whatever it says is checked like a file. */
static void test_certificate_table(void **state)
{
    struct sample s;

    (void)state;
    sample_load("snp/veraison-genoa-v3", &s);
    sample_file(&s, "vcek.der")->n = 0;
    sample_file(&s, "ask.pem")->n = 0;
    sample_file(&s, "ark.pem")->n = 0;
    sample_relink(&s);
    attest_verify(&s.in, &verdict);
    assert_true(verdict.verifies);
    check_file(&s, sample_file(&s, "auxblob.bin"), 3);
    sample_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_counts), cmocka_unit_test(test_signed_parts_byte_by_byte),
        cmocka_unit_test(test_every_length),      cmocka_unit_test(test_missing_files),
        cmocka_unit_test(test_certificate_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
