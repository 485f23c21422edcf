// SPDX-License-Identifier: Apache-2.0
/* What operators write for a port, and what they are told. */
#include "host/net/dpdk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct dpdk_options options;
static char why[DPDK_WHY];

static bool parse(const char *text)
{
    options = (struct dpdk_options){.ports_n = 0};
    why[0] = 0;
    return dpdk_port_parse(text, &options, why) == OK;
}

static void test_good(void **state)
{
    const struct dpdk_port_options *p = &options.ports[0];

    (void)state;
    assert_true(parse("0000:3b:00.1,ip=10.0.0.1/24,ip=fd00::1/64,via=10.0.0.254,via=fd00::ff,"
                      "to=10.0.0.0/8,to=fd00::2/128@7000-7003,mtu=9000,kernel=net_tap0"));
    assert_int_equal(options.ports_n, 1);
    assert_string_equal(p->device, "0000:3b:00.1");
    assert_string_equal(p->kernel, "net_tap0");
    assert_int_equal(p->own_n, 2);
    assert_int_equal(p->own[1].bits, 64);
    assert_int_equal(p->gateway4.ip[3], 254);
    assert_int_equal(p->gateway6.ip[15], 255);
    assert_int_equal(p->routes_n, 2);
    assert_int_equal(p->routes[0].port_last, UINT16_MAX);
    assert_int_equal(p->routes[1].port_first, 7000);
    assert_int_equal(p->routes[1].port_last, 7003);
    assert_int_equal(p->mtu, 9000);
    assert_false(p->is_pair || options.has_kernel);

    assert_true(parse("net_memif0,ip=10.0.0.1/32,mac=02:61:00:01:0a:fe"));
    assert_true(p->is_pair);
    assert_int_equal(p->peer.b[5], 0xfe);
    assert_true(parse("kernel"));
    assert_true(options.has_kernel && options.ports_n == 0);
}

static void test_bad(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "does not begin"},
        {",ip=10.0.0.1/24", "does not begin"},
        {"net0", "no address"},
        {"net0,ip", "word=value"},
        {"net0,ip=10.0.0.1", "'ip=10.0.0.1'"},
        {"net0,ip=10.0.0.1/33", "addresses"},
        {"net0,ip=fd00::1/129", "addresses"},
        {"net0,ip=10.0.0/24", "addresses"},
        {"net0,ip=10.0.0.1/", "addresses"},
        {"net0,ip=10.0.0.1/24,to=10.0.0.2/32@7000", "destinations"},
        {"net0,ip=10.0.0.1/24,to=10.0.0.2/32@7001-7000", "destinations"},
        {"net0,ip=10.0.0.1/24,to=10.0.0.2/32@1-70000", "destinations"},
        {"net0,ip=10.0.0.1/24,mac=01:00:00:00:00:01", "MAC"},
        {"net0,ip=10.0.0.1/24,mac=02:00:00:00:01", "MAC"},
        {"net0,ip=10.0.0.1/24,mtu=1000", "1280"},
        {"net0,ip=10.0.0.1/24,mtu=-9000", "1280"},
        {"net0,ip=10.0.0.1/24,via=router", "router"},
        {"net0,ip=10.0.0.1/24,colour=red", "no such word"},
        {"net0,ip=1.0.0.1/8,ip=1.0.0.2/8,ip=1.0.0.3/8,ip=1.0.0.4/8,ip=1.0.0.5/8", "up to 4"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_false(parse(cases[i].text));
        if (strstr(why, cases[i].says) == NULL) {
            fail_msg("%s: %s", cases[i].text, why);
        }
        assert_int_equal(options.ports_n, 0);
    }
}

static void test_too_many(void **state)
{
    (void)state;
    options = (struct dpdk_options){.ports_n = 0};
    for (int i = 0; i < DPDK_PORTS_MAX; i++) {
        assert_int_equal(dpdk_port_parse("net0,ip=10.0.0.1/24", &options, why), OK);
    }
    assert_int_equal(dpdk_port_parse("net0,ip=10.0.0.1/24", &options, why), ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_too_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
