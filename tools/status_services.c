// SPDX-License-Identifier: Apache-2.0
#include "tools/status_services.h"

#include <stdio.h>

void status_services_ask(int dir, uint32_t timeout_ms, struct status_services *ret)
{
    const struct cas_link_ask ask = {"GET", "/v1/health", NULL, timeout_ms};
    struct status_services s = {.known = true};
    struct cas_link link = {0};

    cas_link_address(dir, s.address);
    s.cas = node_process_find(dir, NODE_CAS);
    s.las = node_process_find(dir, NODE_LAS);
    node_process_close(&s.cas);
    node_process_close(&s.las);
    if (cas_link_open(dir, &link, &s.why) == OK &&
        cas_link_call(&link, &ask, &s.health, &s.why) != OK) {
        s.health = NULL;
    }
    cas_link_close(&link);
    *ret = s;
}

void status_services_free(struct status_services *s)
{
    json_decref(s->health);
    s->health = NULL;
}

static const char *state_of(const struct node_process *p)
{
    switch (p->state) {
    case NODE_NONE:
        return "stopped";
    case NODE_DEAD:
        return "ended";
    case NODE_ALIVE:
        break;
    }
    return "running";
}

static long long number(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

void status_services_print(const struct status_services *s)
{
    if (!s->known) {
        return;
    }
    if (s->health != NULL) {
        (void)printf("%-5s %-22s %-12s epoch %lld, %lld of %lld members have joined\n", "CAS",
                     s->address, "serving", number(s->health, "epoch"), number(s->health, "joined"),
                     number(s->health, "members"));
    } else {
        (void)printf("%-5s %-22s %-12s %s\n", "CAS", s->address,
                     s->cas.state == NODE_ALIVE ? "no answer" : state_of(&s->cas), s->why.text);
    }
    (void)printf("%-5s %-22s %s\n", "LAS", "las.local", state_of(&s->las));
    if (s->health == NULL && s->cas.state != NODE_NONE) {
        (void)puts("The CAS does not answer: whoever has joined serves on; joins, renewed "
                   "certificates and changes of members wait for it.");
    }
}

void status_services_json(const struct status_services *s, json_t *to)
{
    json_t *cas;

    if (!s->known) {
        return;
    }
    cas = json_pack("{s:s,s:b,s:s}", "address", s->address, "up", s->health != NULL, "process",
                    state_of(&s->cas));
    if (s->health != NULL) {
        (void)json_object_set(cas, "health", s->health);
    } else {
        (void)json_object_set_new(cas, "error", json_string(s->why.text));
    }
    (void)json_object_set_new(to, "cas", cas);
    (void)json_object_set_new(to, "las",
                              json_pack("{s:s,s:b,s:s}", "name", "las.local", "up",
                                        s->las.state == NODE_ALIVE, "process", state_of(&s->las)));
}
