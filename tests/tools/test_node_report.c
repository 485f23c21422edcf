// SPDX-License-Identifier: Apache-2.0
#include "tools/node_report.h"
#include "tools/status_connections.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_sums_over_shards(void **state)
{
    struct node_report r;

    (void)state;
    assert_true(node_report_parse(
        "{\"node\":2,\"incarnation\":7,\"epoch\":3,\"state\":\"voting\",\"tee\":\"software\","
        "\"protected\":false,\"members\":3,\"members_up\":2,\"uptime_s\":9,\"shards\":["
        "{\"store\":{\"keys\":10},\"enclave_used\":100,\"enclave_limit\":1000,"
        "\"abd\":{\"gets\":1,\"puts\":2,\"shown\":3,\"shown_tags\":9}},"
        "{\"keys\":5,\"enclave_used\":50,\"enclave_limit\":1000,\"deletes\":4,\"new\":[1]}]}",
        &r));
    assert_true(r.is_up && r.may_vote && !r.is_protected);
    assert_int_equal(r.node, 2);
    assert_int_equal(r.members_up, 2);
    assert_int_equal(r.keys, 15);
    assert_int_equal(r.enclave_used, 150);
    assert_int_equal(r.enclave_limit, 2000);
    assert_int_equal(r.ops, 10);
    node_report_free(&r);
}

/* What was met at several shards is one alarm, whoever is named twice. */
static void test_divergence(void **state)
{
    struct node_report r;

    (void)state;
    assert_true(node_report_parse("{\"shards\":["
                                  "{\"abd\":{\"divergences\":2},\"diverged_from\":[12]},"
                                  "{\"abd\":{\"divergences\":0},\"diverged_from\":[]},"
                                  "{\"abd\":{\"divergences\":1},\"diverged_from\":[1,12,2]}]}",
                                  &r));
    assert_int_equal(r.divergences, 3);
    assert_string_equal(r.diverged_from, "12,1,2");
    node_report_free(&r);
}

/* A node without a majority answers, but may not vote. */
static void test_no_majority(void **state)
{
    struct node_report r;

    (void)state;
    assert_true(node_report_parse("{\"state\":\"no_majority\"}", &r));
    assert_true(r.is_up);
    assert_false(r.may_vote);
    node_report_free(&r);
}

static void test_round_trip_percentiles(void **state)
{
    json_t *b = json_loads("[0, 0, 98, 0, 1, 0, 0, 1]", 0, NULL);
    json_t *none = json_loads("[0, 0, 0]", 0, NULL);

    (void)state;
    assert_int_equal(rtt_percentile_us(b, 50), 8);
    assert_int_equal(rtt_percentile_us(b, 98), 8);
    assert_int_equal(rtt_percentile_us(b, 99), 32);
    assert_int_equal(rtt_percentile_us(b, 100), 256);
    assert_int_equal(rtt_percentile_us(none, 50), 0);
    assert_int_equal(rtt_percentile_us(NULL, 50), 0);
    json_decref(b);
    json_decref(none);
}

static void test_odd_texts(void **state)
{
    static const char *const bad[] = {"", "[]", "7", "{", "{\"node\":1,\"node\":2}"};
    struct node_report r;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(node_report_parse(bad[i], &r));
    }
    assert_true(node_report_parse("{\"node\":\"x\",\"shards\":{},\"members\":-1}", &r));
    assert_int_equal(r.node, 0);
    assert_int_equal(r.members, 0);
    node_report_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_over_shards), cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_no_majority),      cmocka_unit_test(test_round_trip_percentiles),
        cmocka_unit_test(test_odd_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
