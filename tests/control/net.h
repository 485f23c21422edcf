// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_CONTROL_NET_H
#define TESTS_CONTROL_NET_H

/*
 * A network in memory: control machines, clients and the byte pipes between them. Bytes are
 * delivered in chunks of `chunk` (0: of random size); time passes only by net_pass.
 */

#include "tests/control/fixture.h"

#include "common/prng.h"
#include "trusted/control/control.h"
#include "trusted/control/dialer.h"

enum {
    NET_NODES = 3,
    NET_CONNS_MAX = 512,
    NET_SESSIONS_MAX = 4096,
    NET_NOBODY = -1,
};
static const uint64_t NET_MS = 1000000;

struct net_pipe {
    uint8_t *p;
    size_t off, len, cap;
    bool is_closed; /* after the bytes in it */
};

struct net_conn {
    bool is_used;
    int dialer_node; /* NET_NOBODY: a client */
    uint32_t dialer_stream;
    struct dialer *client; /* NULL: bytes by hand */
    enum err client_err;
    struct explain client_why;
    int acceptor_node;
    uint32_t acceptor_stream;
    bool acceptor_gone, dialer_gone;
    struct net_pipe up, down; /* up: to the acceptor */
};

struct net_session {
    int node;
    bool is_open;
    struct control_action a;
};

struct net {
    struct cluster cluster;
    struct pki_pair ca;
    struct identity *ids[NET_NODES];
    struct control *nodes[NET_NODES];
    uint8_t boots[NET_NODES][BOOT_ID_LEN];
    uint64_t now_ns;
    struct prng rng;
    size_t chunk;
    bool is_cut[NET_NODES]; /* dials to it fail */
    uint32_t sessions_max;
    struct net_conn conns[NET_CONNS_MAX];
    struct net_session sessions[NET_SESSIONS_MAX];
    uint32_t sessions_n;
    int dial_from[64];
    uint8_t dial_to[64];
    uint32_t dials_n, dials_total;
    const char *report; /* what nodes answer to STATUS; NULL: nothing */
    uint32_t reports_asked, last_report_stream;
    char *config; /* heap: what nodes start with from now on, signed; NULL: nothing */
    uint8_t config_sig[80];
    size_t config_sig_n;
    uint32_t reconfigured[NET_NODES]; /* how often */
    bool fenced[NET_NODES];
    char log[1 << 16]; /* all lines */
};

struct net *net_open(size_t chunk);
/* Signs a configuration: n->config. */
void net_sign(struct net *n, const struct cluster *c);
/* Gives n->config to a node. */
enum err net_configure(struct net *n, int node, struct explain *why);
/* Open sessions with members. */
uint32_t net_member_sessions(const struct net *n, int node);
void net_close(struct net *n);

/* (Re)starts a node with a boot id of its own; its former connections break. */
void net_start(struct net *n, int node, uint8_t boot);
void net_stop(struct net *n, int node);
/* Delivers bytes and dials until nothing moves. */
void net_run(struct net *n);
/* Time passes in steps of one millisecond at most, with ticks; runs. */
void net_pass(struct net *n, uint64_t ns);
/* All actions of a node that are due now. */
void net_drain(struct net *n, int node);

/* A dialer with these settings connects to a node. */
struct net_conn *net_dial(struct net *n, const struct dialer_config *k, int node);
/* A stream without a dialer: bytes by hand. NULL: FULL. */
struct net_conn *net_connect(struct net *n, int node);
void net_send(struct net_conn *c, const void *bytes, size_t len);
/* The dialer's end hangs up. */
void net_hang_up(struct net *n, struct net_conn *c);
/* What a good client says. */
struct dialer_config net_client(const struct net *n, const struct identity *id, int node);
/* What a good replica says to `to`. */
struct dialer_config net_replica(const struct net *n, const struct identity *id, int from, int to);

/* The newest open session of a node with (member, shard), or NULL. member NO: clients. */
const struct net_session *net_session(const struct net *n, int node, uint8_t member,
                                      uint32_t shard);
uint32_t net_sessions(const struct net *n, int node);
/* Both ends of a session agree and nobody else's do. */
void net_assert_joined(const struct rpc_session_params *a, const struct rpc_session_params *b);

#endif
