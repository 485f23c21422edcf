// SPDX-License-Identifier: Apache-2.0
/* One CA follows another, step by step. CAS-41 */
#include "tests/cas/cas_world.h"
#include "trusted/control/identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

static void step(struct cas_world *w, const char *name, bool clients_know)
{
    struct process owner = {.key = w->owner, .cert = w->owner_cert};

    world_ask(w, &owner, "POST", "/v1/ca",
              json_pack("{s:s,s:b}", "step", name, "clients_know", clients_know));
}

/* A member says which step it has taken. */
static void look(struct cas_world *w, const struct process *p, unsigned has_step)
{
    char query[32];

    (void)snprintf(query, sizeof(query), "ca=%u", has_step);
    w->query = query;
    world_ask(w, p, "GET", "/v1/config", NULL);
    w->query = NULL;
}

static unsigned certificates(const struct cas_world *w)
{
    const char *at = json_string_value(json_object_get(w->answer, "ca"));
    unsigned n = 0;

    for (; at != NULL && (at = strstr(at, "BEGIN CERTIFICATE")) != NULL; at++) {
        n++;
    }
    return n;
}

/* A certificate for a new key under the name of `p`, in the place of its own. */
static void renew(struct cas_world *w, struct process *p)
{
    struct process next = process_new();

    world_ask(w, p, "POST", "/v1/renew", process_key_json(&next, NULL));
    world_expect(w, "OK", "");
    process_use_certificate(&next, w);
    process_end(p);
    *p = next;
}

static struct process member(struct cas_world *w)
{
    struct process p = process_new();
    struct software_body body = world_challenged(w, &p, &p);

    world_join(w, &p, 1, &body);
    world_expect(w, "OK", "");
    process_use_certificate(&p, w);
    return p;
}

static struct process client(struct cas_world *w, const char *name)
{
    struct process owner = {.key = w->owner, .cert = w->owner_cert}, p = process_new();

    world_ask(w, &owner, "POST", "/v1/client", process_key_json(&p, name));
    world_expect(w, "OK", "");
    process_use_certificate(&p, w);
    return p;
}

static void test_steps(void **state)
{
    struct cas_world w;
    struct process p, web;
    X509 *old = NULL;

    (void)state;
    world_start(&w);
    p = member(&w);
    web = client(&w, "web");
    world_ask(&w, &p, "POST", "/v1/ca", json_pack("{s:s}", "step", "add"));
    world_expect(&w, "OWNER", "only the owner");
    step(&w, "switch", true);
    world_expect(&w, "STEP", "now is due: add");
    step(&w, "add", false);
    world_expect(&w, "OK", "");
    assert_int_equal(certificates(&w), 2);
    world_restart(&w);

    /* Nothing goes on before the member says that it has it, whatever is known of clients. */
    step(&w, "switch", true);
    world_expect(&w, "MEMBERS", "node 1 has not taken");
    look(&w, &p, 0);
    step(&w, "switch", true);
    world_expect(&w, "MEMBERS", "node 1");
    look(&w, &web, 1); /* a client's word does not count */
    step(&w, "switch", true);
    world_expect(&w, "MEMBERS", "node 1");
    look(&w, &p, 1);
    world_restart(&w);
    step(&w, "switch", false);
    world_expect(&w, "CLIENTS", "86400 s");
    step(&w, "switch", true);
    world_expect(&w, "OK", "");
    assert_int_equal(certificates(&w), 2);

    /* Both kinds of certificates are good; new ones are the new CA's. */
    world_restart(&w);
    old = X509_dup(p.cert);
    look(&w, &p, 1);
    world_expect(&w, "OK", "");
    renew(&w, &p);
    look(&w, &p, 2);
    step(&w, "add", true);
    world_expect(&w, "STEP", "now is due: retire");
    w.now_s += 86400;
    step(&w, "retire", false); /* the time for clients has passed */
    world_expect(&w, "OK", "");
    assert_int_equal(certificates(&w), 1);
    look(&w, &p, 2);
    world_expect(&w, "OK", "");
    world_restart(&w);
    look(&w, &p, 3);
    world_expect(&w, "OK", "");
    w.now_s -= 3600;
    world_ask(&w, &web, "GET", "/v1/config", NULL);
    world_expect(&w, "CERTIFICATE", "must be issued here");
    X509_free(p.cert);
    p.cert = old; /* of the former CA, and late members are those of this one alone */
    world_ask(&w, &p, "GET", "/v1/config", NULL);
    world_expect(&w, "CERTIFICATE", "must be issued here");
    step(&w, "retire", true);
    world_expect(&w, "STEP", "now is due: add");
    process_end(&p);
    process_end(&web);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
