// SPDX-License-Identifier: Apache-2.0
#include "tools/node_words.h"

#include "common/check.h"

#include <stdio.h>

void node_words_flag(struct node_words *w, const char *option)
{
    size_t n = 0;

    while (w->start.argv[n] != NULL) {
        n++;
    }
    CHECK(n < NODE_WORDS_MAX);
    w->start.argv[n] = option;
}

void node_words_add(struct node_words *w, const char *option, const char *value)
{
    if (value != NULL) {
        node_words_flag(w, option);
        node_words_flag(w, value);
    }
}

/* What makes avocado-hostd become the rest. */
static void add_host(const struct node_wishes *n, const struct cluster_member *m,
                     struct node_words *w)
{
    (void)snprintf(w->data_port, sizeof(w->data_port), "%u", (unsigned)m->data_port);
    (void)snprintf(w->control_port, sizeof(w->control_port), "%u", (unsigned)m->control_port);
    (void)snprintf(w->shards, sizeof(w->shards), "%u", n->shards);
    w->start.program = n->hostd;
    node_words_flag(w, "avocado-hostd");
    node_words_add(w, "--address", m->address);
    node_words_add(w, "--data-port", w->data_port);
    node_words_add(w, "--control-port", w->control_port);
    node_words_add(w, "--shards", w->shards);
    node_words_add(w, "--poll", n->poll == NULL ? "adaptive" : n->poll);
    node_words_flag(w, "--");
    node_words_flag(w, n->program);
}

void node_words_member(const struct node_wishes *n, const struct cluster_member *m,
                       struct node_words *w)
{
    w->start.program = n->program;
    w->start.node = m->node;
    if (n->hostd != NULL) {
        add_host(n, m, w);
    } else {
        node_words_flag(w, "avocadod");
    }
    (void)snprintf(w->node, sizeof(w->node), "%u", m->node);
    node_words_add(w, "--node", w->node);
    node_words_add(w, "--cas", n->cas);
    node_words_add(w, "--cas-ca", "ca/ca.crt");
    node_words_add(w, "--las", "run/las.sock");
    if (n->is_dpdk) {
        node_words_add(w, "--io", "dpdk");
        node_words_add(w, "--dpdk-mesh", "run");
    }
    node_words_add(w, "--poll", n->poll);
    node_words_add(w, "--cpus", n->cpus);
    node_words_add(w, "--homes", n->homes);
    node_words_add(w, "--arena-dir", n->arena_dir);
    node_words_add(w, "--memory", n->memory);
}

void node_words_cas(const char *program, const char *address, bool founds, struct node_words *w)
{
    w->start.program = program;
    w->start.node = NODE_CAS;
    node_words_flag(w, "avocado-cas");
    node_words_add(w, "--listen", address);
    node_words_add(w, "--state", "cas/cas.db");
    node_words_add(w, "--seal-key", "cas/seal.key");
    node_words_add(w, "--evidence", "software:sw/platform");
    node_words_add(w, "--ca-out", "ca/ca.crt");
    if (founds) {
        node_words_flag(w, "--found");
        node_words_add(w, "--policy", "policy.yaml");
        node_words_add(w, "--owner-key", "owner.pub");
    }
}

void node_words_las(const char *program, const char *address, struct node_words *w)
{
    w->start.program = program;
    w->start.node = NODE_LAS;
    node_words_flag(w, "avocado-las");
    node_words_add(w, "--socket", "run/las.sock");
    node_words_add(w, "--cas", address);
    node_words_add(w, "--cas-ca", "ca/ca.crt");
    node_words_add(w, "--evidence", "software:sw/platform");
    node_words_add(w, "--name", "las.local");
}
