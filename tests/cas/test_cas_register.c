// SPDX-License-Identifier: Apache-2.0
/* Members that end and come back, the owner's orders, and who may say what. CAS-50 to CAS-54 */
#include "tests/cas/cas_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

struct fixture {
    struct cas_world w;
    struct process owner, member[WORLD_NODES + 1]; /* by node */
};

static int64_t number(const struct fixture *f, const char *key)
{
    return json_integer_value(json_object_get(f->w.answer, key));
}

static const char *text(const struct fixture *f, const char *key)
{
    const char *s = json_string_value(json_object_get(f->w.answer, key));

    return s == NULL ? "" : s;
}

static void join(struct fixture *f, uint32_t node)
{
    if (f->member[node].key != NULL) {
        process_end(&f->member[node]);
    }
    f->member[node] = world_join_well(&f->w, node);
    world_expect(&f->w, "OK", "");
    process_use_certificate(&f->member[node], &f->w);
}

static int start(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    world_start(&f->w);
    f->owner = (struct process){.key = f->w.owner, .cert = f->w.owner_cert};
    for (uint32_t node = 1; node <= WORLD_NODES; node++) {
        join(f, node);
    }
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;

    for (uint32_t node = 1; node <= WORLD_NODES; node++) {
        process_end(&f->member[node]);
    }
    world_end(&f->w);
    free(f);
    return 0;
}

static void report(struct fixture *f, uint32_t node, uint64_t installed, bool copied)
{
    json_t *groups = json_array();

    if (copied) {
        (void)json_array_append_new(groups, json_integer(0));
    }
    world_ask(&f->w, &f->member[node], "POST", "/v1/report",
              json_pack("{s:I,s:o}", "installed", (json_int_t)installed, "copied", groups));
}

/* What the owner sees. */
static const char *health(struct fixture *f)
{
    world_ask(&f->w, &f->owner, "GET", "/v1/members", NULL);
    world_expect(&f->w, "OK", "");
    return text(f, "health");
}

static void order(struct fixture *f, const char *what, const char *key, int64_t n)
{
    world_ask(&f->w, &f->owner, "POST", "/v1/member", json_pack("{s:s,s:I}", "do", what, key, n));
}

static void silence(struct fixture *f)
{
    f->w.now_s += (uint64_t)CAS_SILENT_LOOKS * CAS_LOOK_S + 1;
}

/* A member that ended comes back as a learner of the next epoch, copies, and votes. */
static void test_comes_back(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(health(f), "whole");
    silence(f);
    report(f, 1, 1, false); /* these two live */
    report(f, 3, 1, false);
    join(f, 2);
    assert_int_equal(number(f, "incarnation"), 4);
    assert_int_equal(number(f, "epoch"), 2);
    assert_string_equal(health(f), "changing");
    world_restart(&f->w); /* whatever happens to the CAS meanwhile */
    report(f, 2, 2, true);
    assert_int_equal(number(f, "epoch"), 2); /* a majority has still to leave epoch 1 */
    report(f, 1, 2, false);
    /* The learner's word of before counts now that its epoch is active: it gets its vote. */
    assert_int_equal(number(f, "epoch"), 3);
    assert_non_null(strstr(text(f, "cluster"), "incarnation: 4"));
    assert_null(strstr(text(f, "cluster"), "learner"));
    report(f, 1, 3, false);
    report(f, 3, 3, false);
    assert_string_equal(health(f), "whole");
    world_restart(&f->w);
    assert_string_equal(health(f), "whole");
    report(f, 2, 3, false);
    world_expect(&f->w, "OK", "");
}

/* Two at once are a majority: nobody starts empty unless the owner says so. */
static void test_majority_lost(void **state)
{
    struct fixture *f = *state;
    struct process p;

    order(f, "lost", "incarnation", 2);
    order(f, "lost", "incarnation", 3);
    assert_string_equal(health(f), "majority_lost");
    p = world_join_well(&f->w, 3);
    world_expect(&f->w, "WAIT", "majority lost: 1 of 2 voters");
    process_end(&p);
    world_ask(&f->w, &f->member[1], "POST", "/v1/member", json_pack("{s:s}", "do", "accept-loss"));
    world_expect(&f->w, "OWNER", "only the owner");
    world_restart(&f->w);
    order(f, "accept-loss", "node", 0);
    world_expect(&f->w, "OK", "");
    report(f, 1, (uint64_t)number(f, "epoch"), false);
    join(f, 2);
    join(f, 3);
    assert_non_null(strstr(text(f, "cluster"), "learner"));
    order(f, "accept-loss", "node", 0);
    world_expect(&f->w, "POLICY", "no majority is lost");
}

/* A process that is replaced while it still runs has nothing to say any more. */
static void test_former_one(void **state)
{
    struct fixture *f = *state;
    struct process former = f->member[2];

    f->member[2] = (struct process){0};
    order(f, "lost", "incarnation", 2);
    join(f, 2);
    world_ask(&f->w, &former, "POST", "/v1/report", json_pack("{s:i}", "installed", 2));
    world_expect(&f->w, "OLD_CERTIFICATE", "incarnation 2 of node 2 is no member of epoch 2");
    assert_string_equal(health(f), "changing");
    process_end(&former);
}

/* Nobody speaks for a member but itself, and no stranger at all. */
static void test_who_may_report(void **state)
{
    struct fixture *f = *state;
    struct process stranger = process_new();

    order(f, "lost", "incarnation", 2); /* epoch 2 waits for 1 and 3 */
    world_ask(&f->w, &stranger, "POST", "/v1/report",
              json_pack("{s:i,s:[i]}", "installed", 2, "copied", 0));
    world_expect(&f->w, "CERTIFICATE", "must be issued here");
    world_ask(&f->w, &f->owner, "POST", "/v1/report", json_pack("{s:i}", "installed", 2));
    world_expect(&f->w, "CERTIFICATE", "");
    report(f, 1, 2, true); /* a voter of 1 and 2; of 3 nobody has heard */
    join(f, 2);
    world_ask(&f->w, &f->member[2], "POST", "/v1/report",
              json_pack("{s:i,s:[i,i,i,s,b]}", "installed", 2, "copied", 64, -1, 1, "0", 1));
    assert_int_equal(number(f, "epoch"), 2); /* none of these is a group of this cluster */
    report(f, 2, 2, true);
    assert_int_equal(number(f, "epoch"), 3);
    report(f, 1, 3, false);
    assert_string_equal(health(f), "changing");
    report(f, 3, 3, false);
    assert_string_equal(health(f), "whole");
    world_ask(&f->w, &stranger, "GET", "/v1/members", NULL);
    world_expect(&f->w, "CERTIFICATE", "");
    process_end(&stranger);
}

static void add(struct fixture *f, const char *what, uint32_t node, uint32_t by,
                const char *address)
{
    world_ask(&f->w, &f->owner, "POST", "/v1/member",
              json_pack("{s:s,s:I,s:I,s:s,s:i,s:i}", "do", what, "node", (json_int_t)node, "by",
                        (json_int_t)by, "address", address, "control_port", 7109, "data_port",
                        7209));
}

static void test_orders(void **state)
{
    struct fixture *f = *state;
    struct process p;

    add(f, "add", 0, 0, "localhost");
    world_expect(&f->w, "USAGE", "a literal");
    add(f, "add", 3, 0, "127.0.0.1");
    world_expect(&f->w, "USAGE", "node 3 is a member already");
    order(f, "remove", "node", 3);
    world_expect(&f->w, "POLICY", "3 nodes are needed");
    order(f, "factor", "node", 4);
    world_expect(&f->w, "USAGE", "must be 1, 3, 5 or 7");
    order(f, "frobnicate", "node", 4);
    world_expect(&f->w, "USAGE", "no order 'frobnicate'");
    add(f, "replace", 3, 0, "127.0.0.1");
    world_expect(&f->w, "OK", "");
    assert_int_equal(number(f, "node"), 4);
    assert_int_equal(number(f, "epoch"), 2);
    p = world_join_well(&f->w, 4);
    world_expect(&f->w, "OK", "");
    assert_int_equal(number(f, "incarnation"), 4);
    process_end(&p);
    p = world_join_well(&f->w, 9);
    world_expect(&f->w, "NOT_A_MEMBER", "node 9 is no member of epoch 2");
    process_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_comes_back, start, end),
        cmocka_unit_test_setup_teardown(test_majority_lost, start, end),
        cmocka_unit_test_setup_teardown(test_former_one, start, end),
        cmocka_unit_test_setup_teardown(test_who_may_report, start, end),
        cmocka_unit_test_setup_teardown(test_orders, start, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
