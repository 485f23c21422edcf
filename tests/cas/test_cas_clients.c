// SPDX-License-Identifier: Apache-2.0
/* Clients: their certificates, their roles, and the end of both. CAS-36, CAS-38, CAS-39 */
#include "tests/cas/cas_world.h"
#include "trusted/control/identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

static void test_clients_and_revocation(void **state)
{
    struct cas_world w;
    struct process client = process_new(), owner = {0};

    (void)state;
    world_start(&w);
    owner.key = w.owner;
    owner.cert = w.owner_cert;
    world_ask(&w, &owner, "POST", "/v1/client", process_key_json(&client, "nobody"));
    world_expect(&w, "CLIENT", "names no client 'nobody'");
    world_ask(&w, &owner, "POST", "/v1/client", process_key_json(&client, "web"));
    world_expect(&w, "OK", "");
    process_use_certificate(&client, &w);
    world_ask(&w, &client, "GET", "/v1/config", NULL);
    world_expect(&w, "OK", "");
    world_ask(&w, &client, "POST", "/v1/revoke", json_pack("{s:s}", "name", "web"));
    world_expect(&w, "OWNER", "only the owner");
    world_ask(&w, &owner, "POST", "/v1/revoke", json_pack("{s:s}", "name", "web"));
    world_expect(&w, "OK", "");
    world_restart(&w);
    world_ask(&w, &client, "GET", "/v1/config", NULL);
    world_expect(&w, "REVOKED", "'web' is revoked");
    process_end(&client);
    world_end(&w);
}

static unsigned lacks(const struct process *p, unsigned rights, const char *key)
{
    struct identity_name name;

    assert_int_equal(identity_name_of(p->cert, &name), OK);
    return access_lacks_key(&name.access, rights,
                            (struct bytes){(const uint8_t *)key, strlen(key)});
}

/* CAS-38: the rules of a client's role stand in its certificate, and follow the policy. */
static void test_client_roles(void **state)
{
    struct cas_world w;
    struct process client = process_new(), next = process_new(), owner = {0};
    struct identity_name name;

    (void)state;
    world_start(&w);
    owner.key = w.owner;
    owner.cert = w.owner_cert;
    world_ask(&w, &owner, "POST", "/v1/client", process_key_json(&client, "audit"));
    world_expect(&w, "OK", "");
    process_use_certificate(&client, &w);
    assert_int_equal(lacks(&client, ACCESS_READ, "log/%x"), 0);
    assert_int_equal(lacks(&client, ACCESS_WRITE, "log/%x"), ACCESS_WRITE);
    assert_int_equal(lacks(&client, ACCESS_READ, "log/x"), ACCESS_READ);
    world_ask_policy(&w, 2, "");
    world_restart(&w);
    world_ask(&w, &client, "POST", "/v1/renew", process_key_json(&next, NULL));
    world_expect(&w, "OK", "");
    process_use_certificate(&next, &w);
    assert_int_equal(lacks(&next, ACCESS_WRITE, "log/%x"), 0);
    assert_int_equal(lacks(&next, ACCESS_READ, "b"), ACCESS_READ);
    process_end(&client);
    client = process_new();
    world_ask(&w, &owner, "POST", "/v1/client", process_key_json(&client, "web"));
    process_use_certificate(&client, &w);
    assert_int_equal(identity_name_of(client.cert, &name), OK);
    assert_int_equal(name.access.rules_n, 0); /* no role: everything */
    process_end(&client);
    process_end(&next);
    world_end(&w);
}

/* The text of a policy in which `from` stands as `to`. */
static void ask_changed(struct cas_world *w, const char *from, const char *to)
{
    struct process owner = {.key = w->owner, .cert = w->owner_cert};
    char *text = world_policy(w, 2, ""), *at = strstr(text, from), *changed = NULL;

    assert_non_null(at);
    assert_true(asprintf(&changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
    world_ask(w, &owner, "POST", "/v1/policy", json_pack("{s:s}", "policy", changed));
    free(changed);
    free(text);
}

static void test_bad_client_roles(void **state)
{
    struct cas_world w;

    (void)state;
    world_start(&w);
    ask_changed(&w, "    client_role: reader", "    client_role: writer");
    world_expect(&w, "POLICY",
                 "found 'writer', permitted is a client_role that client_roles names");
    ask_changed(&w, "read,scan:a/", "scan,read:a/");
    world_expect(&w, "POLICY", "may: found 'scan,read:a/'");
    ask_changed(&w, "read,scan:a/", "read,scan");
    world_expect(&w, "POLICY", "RIGHTS:PREFIX");
    ask_changed(&w, "    may: [", "    cannot: [");
    world_expect(&w, "POLICY", "cannot: unknown key");
    ask_changed(&w, "[\"read,scan:a/\", \"read,write:log/%25\"]", "[]");
    world_expect(&w, "POLICY", "a role with rules");
    ask_changed(&w, "client_roles:\n",
                "client_roles:\n  - client_role: reader\n    may: [\"read:\"]\n");
    world_expect(&w, "POLICY", "each role once");
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients_and_revocation),
        cmocka_unit_test(test_client_roles),
        cmocka_unit_test(test_bad_client_roles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
