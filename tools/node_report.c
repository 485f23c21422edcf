// SPDX-License-Identifier: Apache-2.0
#include "tools/node_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t number(const json_t *object, const char *name)
{
    json_int_t v = json_integer_value(json_object_get(object, name));

    return v < 0 ? 0 : (uint64_t)v;
}

/* A counter of a shard: its parts (store, abd, rpc, ...) keep theirs in objects of their own. */
static uint64_t counter(const json_t *shard, const char *part, const char *name)
{
    return number(shard, name) + number(json_object_get(shard, part), name);
}

static void text(const json_t *object, const char *name, char *to, size_t size)
{
    const char *s = json_string_value(json_object_get(object, name));

    (void)snprintf(to, size, "%s", s == NULL ? "" : s);
}

static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (const char *at = list; (at = strstr(at, word)) != NULL; at += n) {
        if ((at == list || at[-1] == ',') && (at[n] == 0 || at[n] == ',')) {
            return true;
        }
    }
    return false;
}

/* Node numbers of an array that are not in the text yet. */
static void add_nodes(const json_t *nodes, char *to, size_t size)
{
    const json_t *node;
    size_t i;

    json_array_foreach(nodes, i, node)
    {
        char name[24];
        size_t n = strlen(to);

        (void)snprintf(name, sizeof(name), "%" JSON_INTEGER_FORMAT, json_integer_value(node));
        if (!has_word(to, name) && n + strlen(name) + 2 < size) {
            (void)snprintf(to + n, size - n, "%s%s", n == 0 ? "" : ",", name);
        }
    }
}

bool node_report_parse(const char *json_text, struct node_report *ret)
{
    /* A get that its client has judged itself (CLI-19) is counted where it had the value from. */
    static const char *const kinds[] = {"gets", "shown", "puts",       "deletes",
                                        "rmws", "scans", "batch_gets", "batch_puts"};
    json_t *o = json_loads(json_text, JSON_REJECT_DUPLICATES, NULL);
    struct node_report r = {.is_up = true, .json = o};
    const json_t *shard;
    size_t i;

    if (!json_is_object(o)) {
        json_decref(o);
        return false;
    }
    text(o, "state", r.state, sizeof(r.state));
    text(o, "tee", r.tee, sizeof(r.tee));
    r.may_vote = strcmp(r.state, "voting") == 0;
    r.is_protected = json_is_true(json_object_get(o, "protected"));
    r.node = number(o, "node");
    r.incarnation = number(o, "incarnation");
    r.epoch = number(o, "epoch");
    r.installed = number(o, "installed");
    r.groups_copied = (uint64_t)json_integer_value(json_object_get(o, "groups_copied"));
    r.slots = number(o, "slots");
    r.slots_joining = number(o, "slots_joining");
    r.shedding = number(o, "shedding");
    r.slots_unserved = number(o, "slots_unserved");
    r.copied_keys = number(o, "copied_keys");
    r.members = number(o, "members");
    r.members_up = number(o, "members_up");
    r.uptime_s = number(o, "uptime_s");
    json_array_foreach(json_object_get(o, "shards"), i, shard)
    {
        r.keys += counter(shard, "store", "keys");
        r.keys_lost += counter(shard, "store", "keys_lost");
        r.value_bytes += counter(shard, "store", "value_bytes");
        r.enclave_used += number(shard, "enclave_used");
        r.enclave_limit += number(shard, "enclave_limit");
        r.host_used += counter(shard, "store", "host_used");
        r.divergences += counter(shard, "abd", "divergences");
        add_nodes(json_object_get(shard, "diverged_from"), r.diverged_from,
                  sizeof(r.diverged_from));
        r.host_limit += counter(shard, "store", "host_limit");
        for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
            r.ops += counter(shard, "abd", kinds[k]);
        }
    }
    *ret = r;
    return true;
}

void node_report_ask(struct avo_client *client, size_t place, int timeout_ms,
                     struct node_report *ret)
{
    struct node_report r = {0};
    char *json_text = NULL;
    enum avo_status status =
        avo_node_report(client, place, timeout_ms, &json_text, r.why, sizeof(r.why));

    if (status != AVO_OK) {
        if (r.why[0] == '\0') {
            (void)snprintf(r.why, sizeof(r.why), "%s", avo_status_text(status));
        }
    } else if (!node_report_parse(json_text, &r)) {
        (void)snprintf(r.why, sizeof(r.why), "its report is not JSON");
    }
    free(json_text);
    *ret = r;
}

void node_report_free(struct node_report *r)
{
    json_decref(r->json);
    r->json = NULL;
}
