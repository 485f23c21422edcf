// SPDX-License-Identifier: Apache-2.0
/*
 * The sources of evidence against imitations of the kernel's and Gramine's files. An imitated
 * configfs entry has pipes for `inblob` and `outblob`: the other end answers in the very order of
 * the kernel, and sees what was written.
 */
#include "tests/attest/samples.h"
#include "trusted/evidence/evidence.h"
#include "trusted/evidence/software.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct imitation {
    char dir[64];
    struct bytes answer;
    unsigned meddle; /* attempts in which somebody else writes too */
    unsigned attempts;
    uint8_t seen[64];
    size_t seen_n;
    pthread_t thread;
    bool stop;
};

static void put_file(const char *dir, const char *name, const void *p, size_t n)
{
    char path[128];
    FILE *f = NULL;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void put_number(const char *dir, unsigned v)
{
    char text[16];

    put_file(dir, "generation", text, (size_t)snprintf(text, sizeof(text), "%u\n", v));
}

static int open_in(const char *dir, const char *name, int flags)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return open(path, flags | O_CLOEXEC);
}

/* The kernel's end: takes user data, counts, and answers. */
static void *imitate(void *arg)
{
    struct imitation *i = arg;
    unsigned generation = 0;

    for (;;) {
        int in = open_in(i->dir, "inblob", O_RDONLY), out;
        ssize_t n = read(in, i->seen, sizeof(i->seen));

        (void)close(in);
        if (__atomic_load_n(&i->stop, __ATOMIC_ACQUIRE)) {
            return NULL;
        }
        i->seen_n = n < 0 ? 0 : (size_t)n;
        generation += i->attempts++ < i->meddle ? 2 : 1;
        put_number(i->dir, generation);
        out = open_in(i->dir, "outblob", O_WRONLY);
        if (write(out, i->answer.p, i->answer.n) < 0) {
            i->attempts = UINT32_MAX; /* the tests count them */
        }
        (void)close(out);
    }
}

static void imitation_start(struct imitation *i, const char *provider)
{
    char path[128];

    (void)snprintf(i->dir, sizeof(i->dir), "/tmp/avocado-tsm-XXXXXX");
    assert_non_null(mkdtemp(i->dir));
    (void)snprintf(path, sizeof(path), "%s/inblob", i->dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    (void)snprintf(path, sizeof(path), "%s/outblob", i->dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    put_file(i->dir, "provider", provider, strlen(provider));
    put_number(i->dir, 0);
    assert_int_equal(pthread_create(&i->thread, NULL, imitate, i), 0);
}

static void remove_all(const char *dir)
{
    static const char *const names[] = {"inblob",     "outblob",          "provider",
                                        "generation", "auxblob",          "quote",
                                        "report",     "user_report_data", "attestation_type"};
    char path[160];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(dir);
}

static void imitation_end(struct imitation *i)
{
    int in;

    __atomic_store_n(&i->stop, true, __ATOMIC_RELEASE);
    in = open_in(i->dir, "inblob", O_WRONLY);
    (void)close(in);
    (void)pthread_join(i->thread, NULL);
    remove_all(i->dir);
}

static struct evidence_source source(enum attest_kind kind, const char *path)
{
    struct evidence_source s = {.kind = kind};

    (void)snprintf(s.path, sizeof(s.path), "%s", path);
    return s;
}

/* The report data of a recorded sample. */
static void asked(const struct sample *s, uint8_t ret[static 64])
{
    struct attest_verdict *v = malloc(sizeof(*v));

    assert_non_null(v);
    attest_verify(&s->in, v);
    assert_int_equal(v->report_data.n, 64);
    memcpy(ret, v->report_data.p, 64);
    free(v);
}

static void test_snp(void **state)
{
    struct sample s;
    struct imitation i = {0};
    struct evidence_source from;
    struct evidence e = {0};
    struct explain why = {0};
    struct attest_verdict *v = malloc(sizeof(*v));
    uint8_t data[64];

    (void)state;
    assert_non_null(v);
    sample_load("snp/veraison-genoa-v3", &s);
    asked(&s, data);
    i.answer = s.in.evidence;
    imitation_start(&i, "sev_guest\n");
    put_file(i.dir, "auxblob", s.in.collateral.auxblob.p, s.in.collateral.auxblob.n);
    from = source(ATTEST_SNP, i.dir);
    if (evidence_make(&from, data, &e, &why) != OK) {
        fail_msg("%s", why.text);
    }
    assert_int_equal(i.seen_n, 64);
    assert_memory_equal(i.seen, data, 64);
    assert_true(bytes_equal(e.collateral.auxblob, s.in.collateral.auxblob));
    s.in.evidence = evidence_bytes(&e);
    s.in.collateral = e.collateral; /* what the guest has is enough */
    attest_verify(&s.in, v);
    assert_true(v->verifies);
    evidence_free(&e);
    imitation_end(&i);
    sample_free(&s);
    free(v);
}

static void test_tdx(void **state)
{
    struct sample s;
    struct imitation i = {0};
    struct evidence_source from;
    struct evidence e = {0};
    struct explain why = {0};
    uint8_t data[64];

    (void)state;
    sample_load("tdx/google-cos-padded", &s);
    asked(&s, data);
    i.answer = s.in.evidence;
    i.meddle = 2; /* twice somebody else writes; the third attempt is ours alone */
    imitation_start(&i, "tdx_guest\n");
    from = source(ATTEST_TDX, i.dir);
    if (evidence_make(&from, data, &e, &why) != OK) {
        fail_msg("%s", why.text);
    }
    assert_int_equal(i.attempts, 3);
    assert_true(bytes_equal(evidence_bytes(&e), s.in.evidence));
    assert_int_equal(e.collateral.auxblob.n, 0);
    evidence_free(&e);
    imitation_end(&i);
    sample_free(&s);
}

static void refused(const struct evidence_source *s, const uint8_t *data, enum err err,
                    const char *part)
{
    struct evidence e = {0};
    struct explain why = {0};

    assert_int_equal(evidence_make(s, data, &e, &why), err);
    if (strstr(why.text, part) == NULL) {
        fail_msg("'%s' does not say '%s'", why.text, part);
    }
    assert_null(e.p);
}

static void test_meddling_and_stale_answers(void **state)
{
    struct sample s;
    struct imitation i = {.meddle = 3};
    struct evidence_source from;
    uint8_t data[64];

    (void)state;
    sample_load("snp/microsoft-turin-v5", &s);
    asked(&s, data);
    i.answer = s.in.evidence;
    imitation_start(&i, "sev_guest\n");
    from = source(ATTEST_SNP, i.dir);
    refused(&from, data, ERR_BUSY, "another process writes to this entry");
    data[7] ^= 1; /* the entry answers an older question: replayed evidence */
    refused(&from, data, ERR_BUSY, "other report data than asked for");
    from.kind = ATTEST_TDX;
    refused(&from, data, ERR_MALFORMED, "comes from 'tdx_guest'");
    i.answer = (struct bytes){(const uint8_t *)"nonsense", 8};
    from.kind = ATTEST_SNP;
    refused(&from, data, ERR_MALFORMED, "no snp evidence that we know");
    imitation_end(&i);
    sample_free(&s);
    from = source(ATTEST_SNP, "/nonexistent/tsm/report");
    refused(&from, data, ERR_IO, "needs a confidential guest");
}

static void test_gramine(void **state)
{
    struct sample s;
    struct evidence_source from;
    struct evidence e = {0};
    struct explain why = {0};
    char dir[] = "/tmp/avocado-gramine-XXXXXX", path[128];
    uint8_t data[64], *written = NULL;
    size_t n = 0;

    (void)state;
    sample_load("sgx/automata-icelake", &s);
    asked(&s, data);
    assert_non_null(mkdtemp(dir));
    put_file(dir, "attestation_type", "none", 4);
    put_file(dir, "user_report_data", "", 0);
    put_file(dir, "quote", s.in.evidence.p, s.in.evidence.n);
    from = source(ATTEST_SGX, dir);
    refused(&from, data, ERR_IO, "sgx.remote_attestation");
    put_file(dir, "attestation_type", "dcap\n", 5);
    assert_int_equal(evidence_make(&from, data, &e, &why), OK);
    written = sample_read(dir, "user_report_data", &n);
    assert_true(n == 64 && memcmp(written, data, 64) == 0);
    assert_true(bytes_equal(evidence_bytes(&e), s.in.evidence));
    free(written);
    evidence_free(&e);
    (void)snprintf(path, sizeof(path), "%s/quote", dir);
    assert_int_equal(unlink(path), 0);
    refused(&from, data, ERR_IO, "quote cannot be read");
    remove_all(dir);
    sample_free(&s);
    from = source(ATTEST_SGX, "/nonexistent/attestation");
    refused(&from, data, ERR_IO, "gramine-sgx");
}

static void put_deployment(const char *dir, const struct software_files *files)
{
    for (size_t i = 0; i < SOFTWARE_FILES_N; i++) {
        char path[128];

        put_file(dir, files->file[i].name, files->file[i].p, files->file[i].n);
        (void)snprintf(path, sizeof(path), "%s/%s", dir, files->file[i].name);
        assert_int_equal(chmod(path, files->file[i].is_secret ? 0600 : 0644), 0);
    }
}

/* From a folder to a verdict; and the travel as JSON in between. */
static void test_software(void **state)
{
    char dir[] = "/tmp/avocado-software-XXXXXX", path[128];
    struct software_wishes wishes = {
        .now_s = (uint64_t)time(NULL), .days = 2, .platform_svn = SOFTWARE_SVN, .evaluation = 1};
    struct software_files files = {0};
    struct evidence_source from;
    struct evidence e = {0}, again = {0};
    struct explain why = {0};
    struct attest_verdict *v = malloc(sizeof(*v));
    struct attest_input in = {.kind = ATTEST_SOFTWARE, .now_s = wishes.now_s};
    uint8_t data[64] = {1, 2, 3};
    json_t *json = NULL;

    (void)state;
    assert_non_null(v);
    assert_non_null(mkdtemp(dir));
    assert_int_equal(software_found(&wishes, &files, &why), OK);
    put_deployment(dir, &files);
    (void)snprintf(path, sizeof(path), "software:%s", dir);
    assert_int_equal(evidence_source_parse(path, &from, &why), OK);
    if (evidence_make(&from, data, &e, &why) != OK) {
        fail_msg("%s", why.text);
    }
    json = evidence_to_json(&e);
    assert_non_null(json);
    if (evidence_from_json(json, &again, &why) != OK) {
        fail_msg("%s", why.text);
    }
    assert_int_equal(attest_roots_add(&in.roots, software_file_get(&files, "root_ca.pem")), OK);
    in.evidence = evidence_bytes(&again);
    in.collateral = again.collateral;
    attest_verify(&in, v);
    if (!v->verifies) {
        fail_msg("%s", verdict_text(v));
    }
    evidence_free(&again);
    (void)json_object_set_new(json_object_get(json, "collateral"), "vcek.der", json_string("AAB="));
    assert_int_equal(evidence_from_json(json, &again, &why), ERR_MALFORMED);
    assert_non_null(strstr(why.text, "'vcek.der' is not canonical base64"));
    (void)json_object_set_new(json_object_get(json, "collateral"), "vcek.der", json_string("AAA="));
    (void)json_object_set_new(json_object_get(json, "collateral"), "../x", json_string("AAA="));
    assert_int_equal(evidence_from_json(json, &again, &why), ERR_MALFORMED);
    json_decref(json);
    evidence_free(&e);
    for (size_t i = 0; i < SOFTWARE_FILES_N; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, files.file[i].name);
        (void)unlink(path);
    }
    (void)rmdir(dir);
    software_files_free(&files);
    free(v);
}

static void test_sources_by_name(void **state)
{
    struct evidence_source s;
    struct explain why = {0};

    (void)state;
    assert_int_equal(evidence_source_parse("snp", &s, &why), OK);
    assert_string_equal(s.path, "/sys/kernel/config/tsm/report");
    assert_int_equal(evidence_source_parse("sgx", &s, &why), OK);
    assert_string_equal(s.path, "/dev/attestation");
    assert_int_equal(evidence_source_parse("tdx:/run/entry", &s, &why), OK);
    assert_true(s.kind == ATTEST_TDX && strcmp(s.path, "/run/entry") == 0);
    assert_int_equal(evidence_source_parse("software", &s, &why), ERR_USAGE);
    assert_int_equal(evidence_source_parse("tpm:/dev/tpm0", &s, &why), ERR_USAGE);
    assert_int_equal(evidence_source_parse("", &s, &why), ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snp),
        cmocka_unit_test(test_tdx),
        cmocka_unit_test(test_meddling_and_stale_answers),
        cmocka_unit_test(test_gramine),
        cmocka_unit_test(test_software),
        cmocka_unit_test(test_sources_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
