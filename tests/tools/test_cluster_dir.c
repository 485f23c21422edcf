// SPDX-License-Identifier: Apache-2.0
/* The folder of a cluster: founded, refounded, interrupted half-way, and guarded. */
#include "tools/cluster_dir.h"
#include "tools/found.h"
#include "tools/keeper.h"
#include "tools/slurp.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char base[64], path[128];
static struct foundation first;
static struct config_register founded;
static uint8_t reg[REGISTER_BYTES_MAX];
static size_t reg_n;
static struct cluster_dir dir;
static struct explain why;

static struct cluster_dir_content content_of(const struct foundation *f)
{
    return (struct cluster_dir_content){
        .cluster = &f->cluster, .ca = &f->ca, .client = &f->client, .reg = {reg, reg_n}};
}

static int set_up(void **state)
{
    struct found_wishes wishes = {.nodes = 3, .workers = 2, .value_max = 4096};
    struct cluster_dir_content content;

    (void)state;
    (void)snprintf(base, sizeof(base), "/tmp/avocado-test-XXXXXX");
    assert_non_null(mkdtemp(base));
    (void)snprintf(path, sizeof(path), "%s/d", base);
    assert_int_equal(found_first(&wishes, &first, &why), OK);
    founded = (struct config_register){0};
    assert_int_equal(register_found(&founded, &first.cluster, &why), OK);
    first.cluster = founded.current;
    assert_int_equal(register_encode(&founded, (struct mbytes){reg, sizeof(reg)}, &reg_n), OK);
    content = content_of(&first);
    assert_int_equal(cluster_dir_create(path, &content, &dir, &why), OK);
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
    static const char *const folders[] = {".", "ca", "log", "run"};

    (void)state;
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        assert_int_equal(mode_of(folders[i]), 0700);
    }
    assert_int_equal(mode_of("ca/ca.key"), 0600);
    assert_int_equal(mode_of("client.key"), 0600);
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
    assert_memory_equal(dir.cluster.id, first.cluster.id, CLUSTER_ID_LEN);
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
    struct cluster_dir_content content = content_of(&first);
    struct cluster_dir other;

    (void)state;
    assert_int_equal(cluster_dir_create(path, &content, &other, &why), ERR_IO);
    /* tear_down removes `base`, which fails if the temporary folder is still there. */
}

/* No incarnation is ever given twice: that is what keeps tags unique across epochs. */
static void test_next_epoch_has_new_incarnations(void **state)
{
    struct found_wishes wishes = {.nodes = 5};
    struct foundation next = {0};
    struct pki_pair ca = {0};
    struct keeper k;

    (void)state;
    assert_int_equal(cluster_dir_ca(&dir, &ca, &why), OK);
    assert_int_equal(found_next(&wishes, &dir.cluster, &ca, &next, &why), OK);
    assert_int_equal(next.cluster.epoch, 2);
    assert_int_equal(next.cluster.members_n, 5);
    assert_int_equal(next.cluster.shards, 2); /* not wished otherwise: as before */
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(next.cluster.members[i].incarnation, 0);
    }
    assert_int_equal(keeper_open(&k, &dir, &why), OK);
    assert_int_equal(register_found_again(&k.reg, &next.cluster, &why), ERR_POLICY);
    for (uint32_t i = 0; i < 3; i++) {
        register_on_lost(&k.reg, 1 + i);
    }
    assert_int_equal(register_found_again(&k.reg, &next.cluster, &why), OK);
    assert_int_equal(keeper_publish(&k, &next.ca, &next.client, &why), OK);
    keeper_close(&k);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(dir.cluster.members[i].incarnation, 4 + i);
    }
    cluster_dir_close(&dir);
    assert_int_equal(cluster_dir_open(path, &dir, &why), OK);
    assert_int_equal(dir.cluster.epoch, 2);
    foundation_free(&next);
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

static void test_readable_ca_key_is_refused(void **state)
{
    struct pki_pair ca = {0};

    (void)state;
    assert_int_equal(fchmodat(dir.fd, "ca/ca.key", 0640, 0), 0);
    assert_int_equal(cluster_dir_ca(&dir, &ca, &why), ERR_POLICY);
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
        IN_FOLDER(test_next_epoch_has_new_incarnations),
        IN_FOLDER(test_interrupted_renewal_is_finished),
        IN_FOLDER(test_interrupted_writing_is_forgotten),
        IN_FOLDER(test_readable_ca_key_is_refused),
        IN_FOLDER(test_probe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
