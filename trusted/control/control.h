// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CONTROL_CONTROL_H
#define TRUSTED_CONTROL_CONTROL_H

/*
 * The control channel of a replica as a machine: byte streams and time in, actions out. It accepts
 * clients and replicas, dials the replicas with a greater node number (so that each pair has one
 * connection), checks names, epoch, incarnation and boot id, and turns each good handshake into one
 * data session per shard. The session lives as long as its stream.
 *
 * CTL-4: the first boot id seen for an incarnation is the only one ever accepted for it. A second
 * process under the same incarnation (a restart without memory, a clone) gets no session.
 *
 * No socket, no clock, no thread. Ordinary heap (OpenSSL); not the data path.
 * docs/protocol/control.md
 */

#include "trusted/config/cluster.h"
#include "trusted/control/identity.h"
#include "trusted/rpc/rpc.h"

struct control;

enum {
    CONTROL_STREAMS_MAX = 1024,
    CONTROL_UNPROVEN_MAX = 128, /* accepted streams that are not through; then the oldest goes */
    CONTROL_CLIENTS_MAX = CONTROL_STREAMS_MAX - CONTROL_UNPROVEN_MAX - 4 * CLUSTER_MAX,
    CONTROL_WRITE_MAX = 16384,
    CONTROL_REPORT_MAX = CONTROL_MESSAGE_MAX - 1, /* longest text of control_report */
    CONTROL_REVOKED_MAX = 256,
};
/* Pauses between dials double from redial_ns up to this. */
static const uint64_t CONTROL_REDIAL_MAX_NS = UINT64_C(5000000000);

struct control_config {
    const struct cluster *cluster; /* to begin with; copied */
    /* Its signed text, and the CA's certificate that judges others; copied. Empty in tests: no
     * configuration is told or taken. */
    struct bytes config, config_sig, ca_pem;
    const struct identity *identity; /* borrowed */
    uint8_t boot[BOOT_ID_LEN];
    uint64_t handshake_timeout_ns; /* a stream that is not through by then is closed */
    uint64_t redial_ns;            /* pause before a lost or refused peer is dialled again */
    uint32_t sessions_max;         /* of one shard, members and clients; 0: RPC_SESSIONS_MAX */
    uint32_t index_key; /* of the host: how it knows indexes of ours (CTL-7); 0: it does not */
};

struct control_revoked {
    uint32_t n;
    char name[CONTROL_REVOKED_MAX][NAME_MAX_LEN + 1];
};

enum control_action_kind {
    /* Send `bytes` on `stream`, in order, all of them. Who does not read is closed by the driver:
     * control_closed() once more than 4 * CONTROL_MESSAGE_MAX bytes wait. */
    CONTROL_ACT_WRITE = 1,
    CONTROL_ACT_CLOSE, /* send what was written, then close `stream`; it is gone for us */
    CONTROL_ACT_DIAL,  /* connect to members[member]; then control_dialed(stream) or _failed */
    /* Give `params` to shard `shard`; wipe params.send and .recv after. Comes before the WRITE that
     * tells the peer. */
    CONTROL_ACT_SESSION_OPEN,
    CONTROL_ACT_SESSION_CLOSE, /* shard `shard`: close session `index` */
    /* A newer configuration is in force: control_cluster(). Sessions with members were closed by
     * the actions before, new ones open by actions after this one. */
    CONTROL_ACT_RECONFIGURE,
    CONTROL_ACT_FENCED, /* we are no member any more (MEM-10): stop; `why` */
    CONTROL_ACT_REPORT, /* the owner of `stream` asks for the node's state: control_report() */
    CONTROL_ACT_LOG,    /* one line for the log in `why`: no secrets, no keys of users */
};

struct control_action {
    enum control_action_kind kind;
    uint32_t stream;
    uint8_t member; /* DIAL, SESSION_OPEN of a replica: place among the cluster's members */
    uint32_t shard, index;
    enum control_role role; /* SESSION_OPEN */
    struct access access;   /* SESSION_OPEN of a client: what it may do */
    struct rpc_session_params params;
    struct bytes bytes; /* WRITE: valid until the next call */
    struct explain why; /* LOG */
};

struct control_counters {
    uint64_t accepted, dialed;  /* streams */
    uint64_t handshakes_ok;     /* streams that got their sessions */
    uint64_t handshakes_failed; /* TLS or a message failed before that */
    uint64_t refused;           /* proven who they are, and told why not */
    uint64_t timed_out;         /* not through in time */
    uint64_t evicted;           /* not through when somebody else needed the room */
    uint64_t sessions;          /* open now */
};

RESULT control_init(const struct control_config *c, struct control **ret, struct explain *why);
void control_fini(struct control *c); /* NULL is allowed */

/* A TCP connection came in: a new stream id (never 0), or FULL (close it). */
RESULT control_accepted(struct control *c, uint64_t now_ns, uint32_t *ret_stream);
/* The outcome of a DIAL. FULL, USAGE (was not asked for): close the connection. */
RESULT control_dialed(struct control *c, uint64_t now_ns, uint8_t member, uint32_t *ret_stream);
void control_dial_failed(struct control *c, uint64_t now_ns, uint8_t member);
void control_received(struct control *c, uint64_t now_ns, uint32_t stream, struct bytes bytes);
void control_closed(struct control *c, uint64_t now_ns, uint32_t stream);
/* The answer to REPORT, at most CONTROL_REPORT_MAX bytes; copied. Unknown streams are ignored. */
void control_report(struct control *c, uint32_t stream, struct bytes text);
void control_tick(struct control *c, uint64_t now_ns);
uint64_t control_deadline(const struct control *c);

/* A renewed certificate of ours: for every handshake from now on; those that are through keep their
 * sessions. `id` is borrowed, the former one is not needed any more. POLICY unless it has exactly
 * the name of the former one. CTL-11 */
RESULT control_set_identity(struct control *c, uint64_t now_ns, const struct identity *id);
/* The certificates of the CAs that are trusted from now on, for configurations of others, and their
 * signature of the configuration in force (`text`: ignored if it is another). Copied. CTL-11 */
void control_set_trust(struct control *c, struct bytes ca_pem, struct bytes text, struct bytes sig);
/* Clients of these names are refused from now on, and those that are connected lose their sessions.
 * All names that are revoked; copied. CTL-12 */
void control_set_revoked(struct control *c, uint64_t now_ns, const struct control_revoked *all);

/* Next thing to do; false when there is none. Drain after every call above. */
bool control_next(struct control *c, struct control_action *ret);

/* A configuration from elsewhere (CTL-13). AUTH, MALFORMED, POLICY (another cluster); EPOCH: not
 * newer than the one in force. */
RESULT control_configure(struct control *c, uint64_t now_ns, struct bytes text, struct bytes sig,
                         struct explain *why);
/* The one in force, and our place in it. */
const struct cluster *control_cluster(const struct control *c);
uint8_t control_self(const struct control *c);

/* Which members have a live control stream with us (bit = place; our own bit is set). */
uint32_t control_members_up(const struct control *c);
const struct control_counters *control_counters(const struct control *c);

#endif
