// SPDX-License-Identifier: Apache-2.0
#include "tools/supervisor.h"

#include "daemons/log.h"
#include "tools/cli.h"
#include "tools/ports.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ASK_MAX = 4096, ASK_WAIT_MS = 500 };

/* ---- what is told ---- */

static const char *const health_names[] = {[REGISTER_HEALTH_NONE] = "none",
                                           [REGISTER_HEALTH_WHOLE] = "whole",
                                           [REGISTER_HEALTH_CHANGING] = "changing",
                                           [REGISTER_HEALTH_MAJORITY_LOST] = "majority_lost"};

static json_t *member_json(const struct supervisor *s, uint32_t place)
{
    const struct config_register *r = &s->keeper.reg;
    const struct cluster *c = register_latest(r);
    const struct cluster_member *m = &c->members[place];
    uint8_t lost = r->phase == REGISTER_PENDING ? r->lost_next : r->lost;
    json_t *o = json_pack("{s:I,s:I,s:s,s:s,s:i}", "node", (json_int_t)m->node, "incarnation",
                          (json_int_t)m->incarnation, "role", m->is_learner ? "learner" : "voter",
                          "address", m->address, "port", (int)m->data_port);

    for (uint32_t i = 0; i < s->n; i++) {
        const struct supervised *v = &s->members[i];

        if (v->incarnation == m->incarnation) {
            (void)json_object_set_new(o, "pid", json_integer(v->process.pid));
            (void)json_object_set_new(o, "epoch", json_integer((json_int_t)v->report.installed));
            (void)json_object_set_new(o, "keys", json_integer((json_int_t)v->report.keys));
            (void)json_object_set_new(o, "keys_lost",
                                      json_integer((json_int_t)v->report.keys_lost));
            (void)json_object_set_new(o, "copied", json_boolean(v->report.copied));
        }
    }
    (void)json_object_set_new(o, "lost", json_boolean((lost >> place & 1) != 0));
    return o;
}

static json_t *status_json(const struct supervisor *s)
{
    const struct config_register *r = &s->keeper.reg;
    const struct cluster *c = register_latest(r);
    json_t *o = json_object(), *members = json_array();
    struct explain why = {{0}};

    register_explain(r, &why);
    for (uint32_t i = 0; i < c->members_n; i++) {
        (void)json_array_append_new(members, member_json(s, i));
    }
    (void)json_object_set_new(o, "status", json_string("OK"));
    (void)json_object_set_new(o, "health", json_string(health_names[register_health(r)]));
    (void)json_object_set_new(o, "what", json_string(why.text));
    (void)json_object_set_new(o, "epoch", json_integer((json_int_t)c->epoch));
    (void)json_object_set_new(o, "replication_factor",
                              json_integer((json_int_t)r->replication_factor));
    (void)json_object_set_new(o, "losses_accepted", json_integer((json_int_t)r->losses_accepted));
    (void)json_object_set_new(o, "restarts", json_boolean(s->restarts));
    (void)json_object_set_new(o, "members", members);
    return o;
}

/* ---- what is ordered ---- */

/* The lowest number that no member and no wish has. */
static uint32_t free_node(const struct config_register *r)
{
    const struct cluster *c = register_latest(r);
    uint32_t node = 0;
    bool taken = true;

    while (taken) {
        node++;
        taken = false;
        for (uint32_t i = 0; i < c->members_n; i++) {
            taken = taken || c->members[i].node == node;
        }
        for (uint32_t i = 0; i < r->wishes_n; i++) {
            taken = taken || r->wishes[i].node == node;
        }
    }
    return node;
}

static enum err add(struct supervisor *s, uint32_t node, uint32_t *ret_node, struct explain *why)
{
    const struct cluster *c = register_latest(&s->keeper.reg);
    struct register_wish w = {.node = node == 0 ? free_node(&s->keeper.reg) : node};
    uint16_t port = ports_find((uint16_t)c->shards, (uint16_t)c->shards);

    if (port == 0) {
        (void)snprintf(why->text, sizeof(why->text), "found no %u free ports in a row", c->shards);
        return ERR_IO;
    }
    (void)snprintf(w.address, sizeof(w.address), "127.0.0.1");
    w.control_port = w.data_port = port;
    *ret_node = w.node;
    return register_wish_add(&s->keeper.reg, &w, why);
}

static enum err replace(struct supervisor *s, uint32_t node, uint32_t by, uint32_t *ret_node,
                        struct explain *why)
{
    struct config_register before = s->keeper.reg;
    enum err err = add(s, by, ret_node, why);

    if (err == OK) {
        err = register_wish_remove(&s->keeper.reg, node, why);
    }
    if (err != OK) {
        s->keeper.reg = before;
    }
    return err;
}

static json_t *obey(struct supervisor *s, const json_t *q)
{
    const char *what = json_string_value(json_object_get(q, "do"));
    uint32_t node = (uint32_t)json_integer_value(json_object_get(q, "node"));
    uint32_t by = (uint32_t)json_integer_value(json_object_get(q, "by")), got = node;
    struct explain why = {{0}};
    enum err err = ERR_USAGE;
    json_t *o;

    if (what == NULL || strcmp(what, "status") == 0) {
        return status_json(s);
    }
    if (strcmp(what, "add") == 0) {
        err = add(s, node, &got, &why);
    } else if (strcmp(what, "remove") == 0) {
        err = register_wish_remove(&s->keeper.reg, node, &why);
    } else if (strcmp(what, "replace") == 0) {
        err = replace(s, node, by, &got, &why);
    } else if (strcmp(what, "factor") == 0) {
        err = register_wish_factor(&s->keeper.reg, node, &why);
    } else if (strcmp(what, "accept-loss") == 0) {
        supervisor_kill_lost(s);
        err = register_accept_loss(&s->keeper.reg, &why);
    } else {
        (void)snprintf(why.text, sizeof(why.text), "no order '%.32s'", what);
    }
    if (err != OK) {
        return json_pack("{s:s,s:s}", "status", err_name(err), "why", why.text);
    }
    node_log("info", "order: %s %u", what, got);
    supervisor_progress(s);
    o = status_json(s);
    (void)json_object_set_new(o, "node", json_integer((json_int_t)got));
    return o;
}

void supervisor_answer(struct supervisor *s)
{
    const struct timeval patience = {.tv_usec = (suseconds_t)ASK_WAIT_MS * 1000};
    int fd = accept4(s->socket, NULL, NULL, SOCK_CLOEXEC);
    char line[ASK_MAX];
    size_t n = 0;
    json_t *q, *a;
    char *text;

    if (fd < 0) {
        return;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    while (n < sizeof(line) - 1 && memchr(line, '\n', n) == NULL) {
        ssize_t got = recv(fd, line + n, sizeof(line) - 1 - n, 0);

        if (got <= 0) {
            break;
        }
        n += (size_t)got;
    }
    line[n] = '\0';
    q = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    a = json_is_object(q) ? obey(s, q) : json_pack("{s:s}", "status", "USAGE");
    text = json_dumps(a, JSON_COMPACT);
    if (text != NULL) {
        (void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
    }
    free(text);
    json_decref(a);
    json_decref(q);
    (void)close(fd);
}
