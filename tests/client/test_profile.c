// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* CLI-13: what client.yaml may say, and how it is told what is wrong with it. */

#define HEAD                                                                                       \
    "cluster: 000102030405060708090a0b0c0d0e0f\nname: demo\nca_file: ca.pem\n"                     \
    "cert_file: sub/client.pem\nkey_file: /abs/client.key\n"
#define MEMBERS                                                                                    \
    "members:\n  - {node: 1, address: 127.0.0.1, control_port: 7001}\n"                            \
    "  - {node: 5, address: \"::1\", control_port: 7002}\n"

static char folder[64];
static char path[128];

static enum err load(const char *text, struct profile *ret, struct explain *why)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    memset(why, 0, sizeof(*why));
    return profile_load(path, ret, why);
}

static int make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/avocado-profile-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/client.yaml", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(folder);
}

static void test_good(void **state)
{
    struct profile p;
    struct explain why;
    char want[256];

    (void)state;
    assert_int_equal(load(HEAD MEMBERS, &p, &why), OK);
    for (unsigned i = 0; i < CLUSTER_ID_LEN; i++) {
        assert_int_equal(p.cluster[i], i);
    }
    assert_string_equal(p.name, "demo");
    (void)snprintf(want, sizeof(want), "%s/ca.pem", folder);
    assert_string_equal(p.ca_file, want);
    (void)snprintf(want, sizeof(want), "%s/sub/client.pem", folder);
    assert_string_equal(p.cert_file, want);
    assert_string_equal(p.key_file, "/abs/client.key");
    assert_int_equal(p.members_n, 2);
    assert_int_equal(p.members[0].node, 1);
    assert_int_equal(p.members[0].control_port, 7001);
    assert_int_equal(p.members[0].host.family, 4);
    assert_memory_equal(p.members[0].host.ip, "\x7f\0\0\x01", 4);
    assert_int_equal(p.members[1].node, 5);
    assert_int_equal(p.members[1].host.family, 6);
    assert_int_equal(p.members[1].host.ip[15], 1);
    assert_string_equal(p.members[1].address, "::1");
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *says; /* every line names the file besides */
    } cases[] = {
        {"", ""},
        {"- 1\n", ""},
        {HEAD, "members: missing"},
        {HEAD MEMBERS "colour: green\n", "line 9: colour: unknown key"},
        {HEAD "members:\n  - {node: 1, address: 127.0.0.1, control_port: 1, data_port: 2}\n",
         "line 7: data_port: unknown key"},
        {HEAD "members:\n  - {node: 1, address: 127.0.0.1}\n", "control_port: missing"},
        {HEAD "members: []\n", "line 6: members: found 0"},
        {HEAD "members:\n  - {node: 0, address: 127.0.0.1, control_port: 1}\n",
         "line 7: node: found '0'"},
        {HEAD "members:\n  - {node: 2, address: 127.0.0.1, control_port: 1}\n"
              "  - {node: 1, address: 127.0.0.1, control_port: 2}\n",
         "line 8: node: found '1'"},
        {HEAD "members:\n  - {node: 1, address: localhost, control_port: 1}\n",
         "line 7: address: found 'localhost'"},
        {HEAD "members:\n  - {node: 1, address: 127.0.0.1, control_port: 65536}\n",
         "line 7: control_port: found '65536'"},
        {HEAD "members:\n  - {node: 1, address: 127.0.0.1, control_port: 0x10}\n",
         "line 7: control_port: found '0x10'"},
        {"cluster: 00\nname: n\nca_file: a\ncert_file: b\nkey_file: c\n" MEMBERS,
         "line 1: cluster: found '00'"},
        {"cluster: 000102030405060708090A0B0C0D0E0F\nname: n\nca_file: a\ncert_file: b\n"
         "key_file: c\n" MEMBERS,
         "line 1: cluster: found"},
        {"cluster: 000102030405060708090a0b0c0d0e0f\nname: n\nca_file: \"\"\ncert_file: b\n"
         "key_file: c\n" MEMBERS,
         "line 3: ca_file: found ''"},
        {HEAD "members: &m\n  - {node: 1, address: 127.0.0.1, control_port: 1}\n", "anchors"},
        {HEAD MEMBERS "---\nname: again\n", ""},
        {HEAD "name: twice\n" MEMBERS, ""},
        {HEAD "members: {", ""},
    };
    struct profile p, before;
    struct explain why;

    (void)state;
    memset(&p, 0x5a, sizeof(p));
    memcpy(&before, &p, sizeof(p));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(load(cases[i].text, &p, &why), ERR_MALFORMED);
        assert_memory_equal(&p, &before, sizeof(p));
        if (strstr(why.text, path) == NULL || strstr(why.text, cases[i].says) == NULL) {
            fail_msg("case %zu says: %s", i, why.text);
        }
    }
}

static void test_too_many_members(void **state)
{
    char text[2048];
    size_t n = (size_t)snprintf(text, sizeof(text), "%s", HEAD "members:\n");
    struct profile p;
    struct explain why;

    (void)state;
    for (unsigned i = 1; i <= CLUSTER_MAX + 1; i++) {
        n += (size_t)snprintf(text + n, sizeof(text) - n,
                              "  - {node: %u, address: 10.0.0.%u, control_port: 1}\n", i, i);
        assert_int_equal(load(text, &p, &why), i <= CLUSTER_MAX ? OK : ERR_MALFORMED);
    }
}

static void test_no_file(void **state)
{
    struct profile p;
    struct explain why = {0};

    (void)state;
    (void)unlink(path);
    assert_int_equal(profile_load(path, &p, &why), ERR_IO);
    assert_non_null(strstr(why.text, path));
    assert_non_null(strstr(why.text, "No such file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_too_many_members),
        cmocka_unit_test(test_no_file),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
