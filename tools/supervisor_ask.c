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

/* What the CAS says of a member, with what we see of its process. */
static json_t *member_json(struct supervisor *s, const json_t *from)
{
    json_t *o = json_deep_copy(from);
    uint32_t incarnation = (uint32_t)json_integer_value(json_object_get(from, "incarnation"));

    for (uint32_t i = 0; i < s->n; i++) {
        const struct supervised *v = &s->members[i];

        if (v->incarnation != incarnation) {
            continue;
        }
        (void)json_object_set_new(o, "pid", json_integer(v->process.pid));
        (void)json_object_set_new(o, "epoch", json_integer((json_int_t)v->report.installed));
        (void)json_object_set_new(o, "keys", json_integer((json_int_t)v->report.keys));
        (void)json_object_set_new(o, "keys_lost", json_integer((json_int_t)v->report.keys_lost));
        (void)json_object_set_new(o, "copied_keys",
                                  json_integer((json_int_t)v->report.copied_keys));
        (void)json_object_set_new(o, "shedding", json_integer((json_int_t)v->report.shedding));
        if (v->process.state != NODE_ALIVE) {
            (void)json_object_set_new(o, "lost", json_true());
        }
    }
    return o;
}

static json_t *status_json(struct supervisor *s)
{
    static const char *const told[] = {"health",
                                       "what",
                                       "epoch",
                                       "replication_factor",
                                       "groups",
                                       "groups_moving",
                                       "copies_under_way",
                                       "groups_lost",
                                       "losses_accepted"};
    const json_t *standing = s->cas.standing, *m;
    json_t *o = json_object(), *members = json_array();
    uint32_t ended = 0;
    size_t i;

    if (standing == NULL) {
        json_decref(members);
        json_decref(o);
        return json_pack("{s:s,s:s}", "status", "UNAVAILABLE", "why",
                         s->cas.why.text[0] == '\0' ? "the CAS has not answered yet"
                                                    : s->cas.why.text);
    }
    json_array_foreach(json_object_get(standing, "members"), i, m)
    {
        (void)json_array_append_new(members, member_json(s, m));
    }
    for (uint32_t k = 0; k < s->n; k++) {
        if (s->members[k].process.state != NODE_ALIVE && supervisor_place(s, &s->members[k]) >= 0) {
            ended = s->members[k].node;
        }
    }
    (void)json_object_set_new(o, "status", json_string("OK"));
    for (i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
        (void)json_object_set(o, told[i], json_object_get(standing, told[i]));
    }
    if (!s->cas.is_up) {
        char what[sizeof(s->cas.why.text) + 96];

        (void)snprintf(what, sizeof(what), "the cluster serves on, changes of members wait: %s",
                       s->cas.why.text);
        (void)json_object_set_new(o, "what", json_string(what));
        (void)json_object_set_new(o, "health", json_string("waiting"));
    }
    if (ended != 0 && strcmp(json_string_value(json_object_get(o, "health")), "whole") == 0) {
        char what[96];

        (void)snprintf(what, sizeof(what), "node %u has ended, the CAS is about to hear of it",
                       ended);
        (void)json_object_set_new(o, "what", json_string(what));
        (void)json_object_set_new(o, "health", json_string("changing"));
    }
    (void)json_object_set_new(o, "cas", json_boolean(s->cas.is_up));
    (void)json_object_set_new(o, "restarts", json_boolean(s->restarts));
    (void)json_object_set_new(o, "members", members);
    return o;
}

/* ---- what is ordered ---- */

/* A new node gets free ports of this machine. */
static bool choose_place(const struct supervisor *s, json_t *order, struct explain *why)
{
    uint16_t shards = (uint16_t)s->cas.cluster.shards, port = ports_find(shards, shards);

    if (port == 0) {
        (void)snprintf(why->text, sizeof(why->text), "found no %u free ports in a row", shards);
        return false;
    }
    (void)json_object_set_new(order, "address", json_string("127.0.0.1"));
    (void)json_object_set_new(order, "control_port", json_integer(port));
    (void)json_object_set_new(order, "data_port", json_integer(port));
    return true;
}

static json_t *obey(struct supervisor *s, json_t *q)
{
    const char *what = json_string_value(json_object_get(q, "do"));
    struct explain why = {{0}};
    enum err err = OK;
    json_t *answer = NULL, *o;

    if (what == NULL || strcmp(what, "status") == 0) {
        s->cas.ask_at_ms = supervisor_cas_is_quiet(s) ? s->cas.ask_at_ms : 0;
        return status_json(s);
    }
    if (strcmp(what, "measure") == 0) { /* `avocado up`: the programs of now are those to run */
        supervisor_service_measure(s);
        return status_json(s);
    }
    if (strcmp(what, "accept-loss") == 0) {
        supervisor_tell_lost(s, true);
        supervisor_kill_lost(s);
    }
    if ((strcmp(what, "add") == 0 || strcmp(what, "replace") == 0) && !choose_place(s, q, &why)) {
        err = ERR_IO;
    }
    if (err == OK) {
        err = supervisor_cas_order(s, json_incref(q), &answer, &why);
    }
    if (err != OK) {
        return json_pack("{s:s,s:s}", "status", err_name(err), "why", why.text);
    }
    node_log("info", "order: %s %lld", what,
             (long long)json_integer_value(json_object_get(answer, "node")));
    supervisor_progress(s);
    o = status_json(s);
    (void)json_object_set(o, "node", json_object_get(answer, "node"));
    json_decref(answer);
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
