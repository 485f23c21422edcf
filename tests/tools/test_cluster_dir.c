// SPDX-License-Identifier: Apache-2.0
/* The folder of a cluster: founded, renewed, interrupted half-way, and guarded; and what the policy
 * in it says of the programs. */
#include "tools/cluster_dir.h"
#include "tools/found.h"
#include "tools/slurp.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char base[64], path[128];
static struct foundation first;
static struct cluster wanted;
static struct pki_pair ca, client; /* as the CAS makes them */
static struct cluster_dir dir;
static struct explain why;

static void write_text(const char *name, const char *text)
{
    assert_true(spit_at(&(struct spit){dir.fd, 0644, true}, name, text, strlen(text)));
}

/* What the supervisor does with what the CAS hands out. */
static void renew(const struct cluster *c)
{
    char *text = cluster_format(c);
    uint8_t sig[80];
    struct cluster_dir_epoch e = {.cluster = c, .client = &client};

    e.text = (struct bytes){(const uint8_t *)text, strlen(text)};
    e.sig.p = sig;
    assert_int_equal(pki_sign(&ca, e.text, (struct mbytes){sig, sizeof(sig)}, &e.sig.n, &why), OK);
    assert_int_equal(cluster_dir_renew(&dir, &e, &why), OK);
    free(text);
}

static void describe(struct found_wishes wishes)
{
    uint16_t cas_port = 0;

    assert_int_equal(found_describe(&wishes, NULL, &wanted, &cas_port, &why), OK);
    assert_int_equal(cas_port, wanted.members[0].data_port + wanted.members_n * wanted.shards);
}

static int set_up(void **state)
{
    struct identity_name name = {.role = ROLE_CLIENT, .client = "owner"};
    struct found_measured m = {{0}, {0}};

    (void)state;
    memset(m.avocadod, '1', sizeof(m.avocadod) - 1);
    memset(m.las, '2', sizeof(m.las) - 1);
    (void)snprintf(base, sizeof(base), "/tmp/avocado-test-XXXXXX");
    assert_non_null(mkdtemp(base));
    (void)snprintf(path, sizeof(path), "%s/d", base);
    describe((struct found_wishes){.nodes = 3, .workers = 2, .value_max = 4096});
    assert_int_equal(found_first(&wanted, 7000, &m, &first, &why), OK);
    assert_int_equal(cluster_dir_create(path, first.files, first.n, &dir, &why), OK);
    assert_int_equal(dir.cluster.epoch, 0);
    assert_int_equal(pki_make_ca("CA", (uint64_t)time(NULL), 10, &ca, &why), OK);
    memcpy(name.cluster, wanted.id, sizeof(name.cluster));
    assert_int_equal(pki_issue(&ca, &name, (uint64_t)time(NULL), 10, &client, &why), OK);
    write_text("ca/ca.crt", ca.cert_pem);
    renew(&wanted);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (dir.fd >= 0) {
        cluster_dir_close(&dir);
    }
    if (cluster_dir_open(path, &dir, &why) == OK) {
        cluster_dir_remove(&dir);
        cluster_dir_close(&dir);
    }
    foundation_free(&first);
    pki_pair_free(&ca);
    pki_pair_free(&client);
    return rmdir(base); /* fails if anything was left behind */
}

static mode_t mode_of(const char *name)
{
    struct stat st;

    assert_int_equal(fstatat(dir.fd, name, &st, 0), 0);
    return st.st_mode & 07777;
}

static void test_secrets_are_the_owners_alone(void **state)
{
    static const char *const folders[] = {".",   "ca", "cas",         "log",
                                          "run", "sw", "sw/platform", "sw/root"};
    static const char *const secrets[] = {"owner.key", "client.key", "sw/root_key.pem",
                                          "sw/platform/pck_key.pem"};

    (void)state;
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        assert_int_equal(mode_of(folders[i]), 0700);
    }
    for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
        assert_int_equal(mode_of(secrets[i]), 0600);
    }
}

static void test_configuration_comes_back_verified(void **state)
{
    (void)state;
    cluster_dir_close(&dir);
    assert_int_equal(cluster_dir_open(path, &dir, &why), OK);
    assert_int_equal(dir.cluster.epoch, 1);
    assert_int_equal(dir.cluster.members_n, 3);
    assert_int_equal(dir.cluster.shards, 2);
    assert_int_equal(dir.cluster.value_max, 4096);
    assert_memory_equal(dir.cluster.id, wanted.id, CLUSTER_ID_LEN);
}

static void test_changed_configuration_is_refused(void **state)
{
    int fd = openat(dir.fd, "cluster.yaml", O_WRONLY | O_APPEND);

    (void)state;
    cluster_dir_close(&dir);
    assert_int_equal(write(fd, "\n", 1), 1);
    (void)close(fd);
    assert_int_equal(cluster_dir_open(path, &dir, &why), ERR_AUTH);
    dir.fd = open(path, O_RDONLY | O_DIRECTORY);
    assert_int_equal(ftruncate(openat(dir.fd, "cluster.yaml", O_WRONLY), 0), 0);
    cluster_dir_remove(&dir);
}

static void test_second_command_is_kept_out(void **state)
{
    struct cluster_dir other;

    (void)state;
    assert_int_equal(cluster_dir_open(path, &other, &why), ERR_BUSY);
    assert_non_null(strstr(why.text, "another avocado command"));
    assert_int_equal(cluster_dir_look(path, &other, &why), OK);
    cluster_dir_close(&other);
}

static void test_creating_twice_fails_and_leaves_nothing(void **state)
{
    struct cluster_dir other;

    (void)state;
    assert_int_equal(cluster_dir_create(path, first.files, first.n, &other, &why), ERR_IO);
    /* tear_down removes `base`, which fails if the temporary folder is still there. */
}

static void test_next_epoch_follows(void **state)
{
    struct found_wishes wishes = {.nodes = 5};
    struct cluster next;
    uint16_t unused;

    (void)state;
    assert_int_equal(found_describe(&wishes, &dir.cluster, &next, &unused, &why), OK);
    assert_int_equal(next.epoch, 2);
    assert_int_equal(next.members_n, 5);
    assert_int_equal(next.shards, 2); /* not wished otherwise: as before */
    assert_memory_equal(next.id, wanted.id, CLUSTER_ID_LEN);
    renew(&next);
    cluster_dir_close(&dir);
    assert_int_equal(cluster_dir_open(path, &dir, &why), OK);
    assert_int_equal(dir.cluster.epoch, 2);
}

/* Other programs: the policy names them, once and for both, and says that it is another one. */
static void test_policy_follows_the_programs(void **state)
{
    struct found_measured former, now;
    char *next;

    (void)state;
    assert_true(found_measured_parse(first.measured, &former));
    assert_non_null(strstr(first.policy, former.avocadod));
    assert_non_null(strstr(first.policy, former.las));
    now = former;
    memset(now.avocadod, 'a', sizeof(now.avocadod) - 1);
    memset(now.las, 'b', sizeof(now.las) - 1);
    next = found_policy_renew(first.policy, &former, &now);
    assert_non_null(next);
    assert_non_null(strstr(next, "\npolicy: 2\n"));
    assert_non_null(strstr(next, now.avocadod));
    assert_non_null(strstr(next, now.las));
    assert_null(strstr(next, former.avocadod));
    assert_null(found_policy_renew(next, &former, &now)); /* its owner named others */
    free(next);
    assert_false(found_measured_parse("", &former));
    assert_false(found_measured_parse("abc avocadod\nabc avocado-las\n", &former));
}

/* Interrupted between the files: whoever opens the folder next finishes the move. */
static void test_interrupted_renewal_is_finished(void **state)
{
    (void)state;
    assert_int_equal(mkdirat(dir.fd, "commit", 0700), 0);
    assert_int_equal(renameat(dir.fd, "cluster.yaml", dir.fd, "commit/cluster.yaml"), 0);
    assert_int_equal(renameat(dir.fd, "cluster.yaml.sig", dir.fd, "commit/cluster.yaml.sig"), 0);
    cluster_dir_close(&dir);
    assert_int_equal(cluster_dir_open(path, &dir, &why), OK);
    assert_int_not_equal(faccessat(dir.fd, "commit", F_OK, 0), 0);
}

/* Interrupted before that: the old epoch stands. */
static void test_interrupted_writing_is_forgotten(void **state)
{
    (void)state;
    assert_int_equal(mkdirat(dir.fd, "next", 0700), 0);
    assert_true(
        spit_at(&(struct spit){dir.fd, 0600, false}, "next/cluster.yaml", "version: 1\n", 11));
    cluster_dir_close(&dir);
    assert_int_equal(cluster_dir_open(path, &dir, &why), OK);
    assert_int_equal(dir.cluster.epoch, 1);
    assert_int_not_equal(faccessat(dir.fd, "next", F_OK, 0), 0);
}

static void test_probe(void **state)
{
    (void)state;
    assert_int_equal(cluster_dir_probe(path), CLUSTER_DIR_PRESENT);
    assert_int_equal(cluster_dir_probe("/no/such/folder"), CLUSTER_DIR_ABSENT);
    assert_int_equal(cluster_dir_probe(base), CLUSTER_DIR_FOREIGN);
    assert_int_equal(cluster_dir_probe("/dev/null"), CLUSTER_DIR_FOREIGN);
}

#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_secrets_are_the_owners_alone),
        IN_FOLDER(test_configuration_comes_back_verified),
        IN_FOLDER(test_changed_configuration_is_refused),
        IN_FOLDER(test_second_command_is_kept_out),
        IN_FOLDER(test_creating_twice_fails_and_leaves_nothing),
        IN_FOLDER(test_next_epoch_follows),
        IN_FOLDER(test_policy_follows_the_programs),
        IN_FOLDER(test_interrupted_renewal_is_finished),
        IN_FOLDER(test_interrupted_writing_is_forgotten),
        IN_FOLDER(test_probe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
