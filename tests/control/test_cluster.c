// SPDX-License-Identifier: Apache-2.0
#include "tests/control/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct explain parse_refused(const char *yaml)
{
    struct cluster c, untouched;
    struct explain why = {0};

    memset(&c, 0x5a, sizeof(c));
    untouched = c;
    assert_int_equal(cluster_parse(yaml, strlen(yaml), &c, &why), ERR_MALFORMED);
    assert_memory_equal(&c, &untouched, sizeof(c));
    assert_true(why.text[0] != '\0');
    assert_null(strchr(why.text, '\n'));
    return why;
}

/* The canonical text with the first `from` replaced by `to`. */
static char *changed(const char *from, const char *to)
{
    struct cluster c = fixture_cluster();
    char *text = cluster_format(&c);
    char *at = NULL, *out = NULL;
    size_t n = 0;

    assert_non_null(text);
    at = strstr(text, from);
    assert_non_null(at);
    n = strlen(text) + strlen(to) + 1;
    out = malloc(n);
    assert_non_null(out);
    (void)snprintf(out, n, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    free(text);
    return out;
}

static void refused(const char *from, const char *to, const char *says, const char *also)
{
    char *yaml = changed(from, to);
    struct explain why = parse_refused(yaml);

    assert_says(&why, says);
    assert_says(&why, also);
    free(yaml);
}

/* CFG-1: what is written is what is read. */
static void test_round_trip(void **state)
{
    struct cluster c = fixture_cluster(), back = {0};
    struct explain why = {0};
    char *text = NULL;

    (void)state;
    c.groups[0] = (struct cluster_group){.voters = 5, .learners = 2, .settle = true};
    c.value_max = 1000001;
    c.host_memory = (UINT64_C(3) << 30) + 1024;
    text = cluster_format(&c);
    assert_int_equal(cluster_parse(text, strlen(text), &back, &why), OK);
    assert_memory_equal(&back, &c, sizeof(c));
    free(text);
}

static void test_defaults(void **state)
{
    static const char yaml[] = "---\n# smallest\nversion: 1\n"
                               "cluster: 0102030405060708090a0b0c0d0e0f10\nname: a\nepoch: 1\n"
                               "replication_factor: 1\nshards: 1\nmembers:\n"
                               "- {node: 1, incarnation: 1, address: 0::1, control_port: 1, "
                               "data_port: 65535}\n";
    struct cluster c = {0};
    struct explain why = {0};

    (void)state;
    assert_int_equal(cluster_parse(yaml, strlen(yaml), &c, &why), OK);
    assert_int_equal(c.datagram_bytes, DATAGRAM_DEFAULT);
    assert_int_equal(c.value_max, VALUE_MAX_DEFAULT);
    assert_int_equal(c.enclave_memory, ENCLAVE_MEMORY_DEFAULT);
    assert_int_equal(c.host_memory, HOST_MEMORY_DEFAULT);
    assert_string_equal(c.members[0].address, "::1");
}

/* CFG-2: the schema. */
static void test_schema(void **state)
{
    (void)state;
    refused("epoch: 5\n", "epoch: 5\nepohc: 6\n", "line 5: epohc", "unknown key");
    refused("epoch: 5\n", "", "epoch", "missing");
    refused("    data_port: 7201\n", "", "data_port", "missing");
    refused("epoch: 5\n", "epoch: 5\nepoch: 6\n", "epoch", "twice");
    refused("epoch: 5\n", "epoch: [5]\n", "epoch", "SEQUENCE");
    refused("epoch: 5\n", "epoch: &a 5\n", "line 4", "anchors");
    refused("epoch: 5\n", "epoch: !!int 5\n", "line 4", "anchors and tags");
    refused("epoch: 5\n", "epoch: *a\n", "line 4", "aliases");
    refused("epoch: 5\n", "epoch: {5\n", "line", "YAML");
    refused("epoch: 5\n", "epoch: \"5\\0\"\n", "line 4", "zero byte");
    refused("epoch: 5\n", "epoch: [[[[[[[[1]]]]]]]]\n", "line 4", "deeply");
    refused("epoch: 5\n", "? [epoch]\n: 5\n", "line 4", "plain word");
    refused("    data_port: 7401\n", "    data_port: 7401\n---\na: b\n", "second document", "one");
    refused("version: 1\n", "", "version", "missing");
    (void)parse_refused("");
    (void)parse_refused("# nothing\n");
    (void)parse_refused("[1, 2]");
    (void)parse_refused("word");
    (void)parse_refused("~");
}

/* CFG-3: values. */
static void test_values(void **state)
{
    (void)state;
    refused("version: 1", "version: 2", "line 1: version: found '2'", "from 1 to 1");
    refused("a102", "A102", "line 2: cluster", "lower-case");
    refused("a102", "a1020", "cluster", "32");
    refused("a102030405060708090a0b0c0d0e0f10", "00000000000000000000000000000000", "cluster",
            "not all zero");
    refused("\"demo\"", "\"de mo\"", "line 3: name", "letters");
    refused("\"demo\"", "\"\"", "name", "1 to 63");
    refused("\"demo\"", "\"\\e[31m\"", "name", "letters");
    refused("epoch: 5", "epoch: 0", "line 4: epoch: found '0'", "permitted");
    refused("epoch: 5", "epoch: -5", "epoch: found '-5'", "permitted");
    refused("epoch: 5", "epoch: 0x5", "epoch: found '0x5'", "permitted");
    refused("epoch: 5", "epoch: 05", "epoch: found '05'", "permitted");
    refused("epoch: 5", "epoch: 5.0", "epoch: found '5.0'", "permitted");
    refused("epoch: 5", "epoch: 18446744073709551617", "epoch", "permitted");
    refused("epoch: 5", "epoch:", "epoch: found ''", "permitted");
    refused("epoch: 5", "epoch: ~", "epoch: found '~'", "permitted");
    refused("shards: 2", "shards: 65", "line 6: shards: found '65'", "from 1 to 64");
    refused("shards: 2", "shards: 1KiB", "shards", "1 to 64");
    refused("datagram_bytes: 1400", "datagram_bytes: 1199", "datagram_bytes", "1200 to 8960");
    refused("datagram_bytes: 1400", "datagram_bytes: 8961", "datagram_bytes", "1200 to 8960");
    refused("value_max: 1MiB", "value_max: 17MiB", "value_max", "KiB, MiB, GiB");
    refused("value_max: 1MiB", "value_max: 1 MiB", "value_max", "KiB, MiB, GiB");
    refused("value_max: 1MiB", "value_max: 0", "value_max", "from 1 to");
    refused("enclave_memory: 94MiB", "enclave_memory: 1MiB", "enclave_memory", "from");
    refused("host_memory: 1GiB", "host_memory: 18014398509481985GiB", "host_memory", "from");
    refused("replication_factor: 3", "replication_factor: 4", "line 5: replication_factor",
            "1, 3, 5 or 7");
    refused("replication_factor: 3", "replication_factor: 8", "replication_factor", "1 to 7");
}

/* CFG-4: members. */
static void test_members(void **state)
{
    (void)state;
    refused("node: 2", "node: 1", "line 17: node: found '1'", "greater");
    refused("node: 4", "node: 0", "node: found '0'", "from 1");
    refused("incarnation: 12", "incarnation: 11", "line 18: incarnation", "no other member");
    refused("incarnation: 12", "incarnation: 0", "incarnation", "from 1");
    refused("incarnation: 12", "incarnation: 4294967296", "incarnation", "from 1");
    refused("control_port: 7102", "control_port: 7101", "line 20: control_port", "no other");
    refused("control_port: 7102", "control_port: 65536", "control_port", "65535");
    refused("data_port: 7301", "data_port: 7202", "line 21: data_port", "range");
    refused("data_port: 7301", "data_port: 7200", "data_port", "range");
    refused("data_port: 7301", "data_port: 65535", "data_port", "from 1 to 65534");
    refused("\"127.0.0.1\"", "localhost", "line 14: address", "host name");
    refused("\"127.0.0.1\"", "0.0.0.0", "address", "reach");
    refused("\"127.0.0.1\"", "127.0.0.256", "address", "IPv4");
    refused("\"::1\"", "\"::\"", "line 24: address", "IPv6");
    refused("\"::1\"", "\"fe80::1%eth0\"", "address", "IPv6");
    refused("members:\n", "members: []\nx:\n", "x", "unknown key");
}

/* CFG-9: groups. Without any, every member votes on every key. */
static void test_groups(void **state)
{
    struct cluster c = {0};
    struct explain why = {0};
    char *text = changed("groups:\n  - voters: \"1 2 4\"\n  - voters: \"1 2 4\"\n", "");

    (void)state;
    assert_int_equal(cluster_parse(text, strlen(text), &c, &why), OK);
    assert_int_equal(c.groups_n, 1);
    assert_int_equal(c.groups[0].voters, 7);
    free(text);
    refused("- voters: \"1 2 4\"", "- voters: \"1 3\"", "line 28: voters: found '1 3'", "members'");
    refused("- voters: \"1 2 4\"", "- voters: \"2 1\"", "voters: found '2 1'", "ascending");
    refused("- voters: \"1 2 4\"", "- voters: \"1 1\"", "voters: found '1 1'", "ascending");
    refused("- voters: \"1 2 4\"", "- voters: \"1  2\"", "voters", "one space");
    refused("- voters: \"1 2 4\"", "- voters: \"1 2 \"", "voters", "one space");
    refused("- voters: \"1 2 4\"", "- voters: \"\"", "voters", "one voter at least");
    refused("- voters: \"1 2 4\"", "- voters: \"1 2\"\n    learners: \"2\"", "voters",
            "a learner too");
    refused("- voters: \"1 2 4\"", "- voters: \"1 2\"\n    settle: maybe", "settle", "yes or no");
    refused("groups:\n", "groups: []\nx:\n", "x", "unknown key");
}

static void write_file(const char *dir, const char *name, const void *data, size_t n)
{
    char path[512];
    FILE *f = NULL;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

struct folder {
    char dir[64], yaml[96], ca[96], sig[128];
};

static struct folder make_folder(void)
{
    struct folder f = {.dir = "/tmp/avocado-test-XXXXXX"};

    assert_non_null(mkdtemp(f.dir));
    (void)snprintf(f.yaml, sizeof(f.yaml), "%s/cluster.yaml", f.dir);
    (void)snprintf(f.sig, sizeof(f.sig), "%s/cluster.yaml.sig", f.dir);
    (void)snprintf(f.ca, sizeof(f.ca), "%s/ca.pem", f.dir);
    return f;
}

static void remove_folder(const struct folder *f)
{
    (void)unlink(f->yaml);
    (void)unlink(f->sig);
    (void)unlink(f->ca);
    assert_int_equal(rmdir(f->dir), 0);
}

/* CFG-5: signatures. */
static void test_signature(void **state)
{
    struct folder f = make_folder();
    struct pki_pair ca = fixture_ca(), other = fixture_ca();
    struct cluster c = fixture_cluster(), back = {0}, untouched = {0};
    struct explain why = {0};
    char *text = cluster_format(&c);
    size_t n = strlen(text), sig_n = 0;
    uint8_t sig[80];

    (void)state;
    assert_int_equal(pki_sign(&ca, (struct bytes){(const uint8_t *)text, n},
                              (struct mbytes){sig, sizeof(sig)}, &sig_n, &why),
                     OK);
    assert_int_equal(cluster_load(f.yaml, f.ca, &back, &why), ERR_IO);
    assert_says(&why, "cluster.yaml: cannot be opened");
    write_file(f.dir, "cluster.yaml", text, n);
    assert_int_equal(cluster_load(f.yaml, f.ca, &back, &why), ERR_IO);
    assert_says(&why, "ca.pem: cannot be opened");
    write_file(f.dir, "ca.pem", ca.cert_pem, strlen(ca.cert_pem));
    assert_int_equal(cluster_load(f.yaml, f.ca, &back, &why), ERR_IO);
    assert_says(&why, "cluster.yaml.sig: cannot be opened");
    write_file(f.dir, "cluster.yaml.sig", sig, sig_n);
    assert_int_equal(cluster_load(f.yaml, f.ca, &back, &why), OK);
    assert_memory_equal(&back, &c, sizeof(c));

    back = untouched;
    for (size_t i = 0; i < n; i++) { /* a flipped bit anywhere */
        text[i] = (char)(text[i] ^ 1 << i % 7);
        write_file(f.dir, "cluster.yaml", text, n);
        text[i] = (char)(text[i] ^ 1 << i % 7);
        assert_int_equal(cluster_load(f.yaml, f.ca, &back, &why), ERR_AUTH);
    }
    assert_says(&why, "signature");
    assert_memory_equal(&back, &untouched, sizeof(back));
    write_file(f.dir, "cluster.yaml", text, n - 1);
    assert_int_equal(cluster_load(f.yaml, f.ca, &back, &why), ERR_AUTH);
    write_file(f.dir, "cluster.yaml", text, n);
    for (size_t i = 0; i < sig_n; i++) {
        sig[i] ^= 4;
        write_file(f.dir, "cluster.yaml.sig", sig, sig_n);
        sig[i] ^= 4;
        assert_int_equal(cluster_load(f.yaml, f.ca, &back, &why), ERR_AUTH);
    }
    write_file(f.dir, "cluster.yaml.sig", sig, 0);
    assert_int_equal(cluster_load(f.yaml, f.ca, &back, &why), ERR_AUTH);
    write_file(f.dir, "cluster.yaml.sig", text, 200);
    assert_int_equal(cluster_load(f.yaml, f.ca, &back, &why), ERR_MALFORMED);
    write_file(f.dir, "cluster.yaml.sig", sig, sig_n);
    write_file(f.dir, "ca.pem", other.cert_pem, strlen(other.cert_pem));
    assert_int_equal(cluster_load(f.yaml, f.ca, &back, &why), ERR_AUTH);
    write_file(f.dir, "ca.pem", ca.key_pem, strlen(ca.key_pem));
    assert_int_equal(cluster_load(f.yaml, f.ca, &back, &why), ERR_MALFORMED);
    assert_says(&why, "CA certificate");

    remove_folder(&f);
    free(text);
    pki_pair_free(&ca);
    pki_pair_free(&other);
}

/* A signed text that is wrong is refused with the name of its file and the line. */
static void test_signed_nonsense(void **state)
{
    struct folder f = make_folder();
    struct pki_pair ca = fixture_ca();
    struct cluster back = {0};
    struct explain why = {0};
    char *text = changed("shards: 2", "shards: 0");
    uint8_t sig[80];
    size_t sig_n = 0;

    (void)state;
    assert_int_equal(pki_sign(&ca, (struct bytes){(const uint8_t *)text, strlen(text)},
                              (struct mbytes){sig, sizeof(sig)}, &sig_n, &why),
                     OK);
    write_file(f.dir, "cluster.yaml", text, strlen(text));
    write_file(f.dir, "cluster.yaml.sig", sig, sig_n);
    write_file(f.dir, "ca.pem", ca.cert_pem, strlen(ca.cert_pem));
    assert_int_equal(cluster_load(f.yaml, f.ca, &back, &why), ERR_MALFORMED);
    assert_says(&why, f.yaml);
    assert_says(&why, "line 6: shards: found '0'");
    remove_folder(&f);
    free(text);
    pki_pair_free(&ca);
}

/* Every cut of a good text is refused or read, never a crash. */
static void test_cuts(void **state)
{
    struct cluster c = fixture_cluster();
    struct explain why = {0};
    char *text = cluster_format(&c);

    (void)state;
    for (size_t n = 0; n < strlen(text); n++) {
        struct cluster back = {0};

        if (cluster_parse(text, n, &back, &why) == OK) {
            /* Whole members at the end may be gone: against that stands the signature. */
            assert_in_range(back.members_n, 1, 3);
        }
    }
    free(text);
}

/* CFG-6: a key's shard is a pure function, in range, and every shard owns keys. */
static void test_shard_of(void **state)
{
    static const uint8_t id[CLUSTER_ID_LEN] = {0, 1, 2,  3,  4,  5,  6,  7,
                                               8, 9, 10, 11, 12, 13, 14, 15};
    static const uint8_t input[15] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
    uint32_t seen[SHARDS_MAX] = {0};

    (void)state;
    /* The vector of SipHash's authors: 0xa129ca6149be45e5, slot 0x1e5. */
    assert_int_equal(cluster_shard_of(id, 64, input, sizeof(input)), 0x1e5 * 64 / 1024);
    assert_int_equal(cluster_shard_of(id, 3, input, sizeof(input)), 0x1e5 * 3 / 1024);
    for (uint32_t i = 0; i < 64000; i++) {
        uint32_t shard = cluster_shard_of(id, SHARDS_MAX, (const uint8_t *)&i, sizeof(i));

        assert_true(shard < SHARDS_MAX);
        seen[shard]++;
        assert_int_equal(cluster_shard_of(id, 1, (const uint8_t *)&i, sizeof(i)), 0);
    }
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        assert_in_range(seen[i], 700, 1300);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),      cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_schema),          cmocka_unit_test(test_values),
        cmocka_unit_test(test_members),         cmocka_unit_test(test_groups),
        cmocka_unit_test(test_signature),       cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_signed_nonsense), cmocka_unit_test(test_shard_of),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
