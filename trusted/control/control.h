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
    CONTROL_WRITE_MAX = 16384,
};

struct control_config {
    const struct cluster *cluster;   /* borrowed for the life of the machine */
    const struct identity *identity; /* borrowed */
    uint8_t boot[BOOT_ID_LEN];
    uint64_t handshake_timeout_ns; /* a stream that is not through by then is closed */
    uint64_t redial_ns;            /* pause before a lost or refused peer is dialled again */
};

enum control_action_kind {
    CONTROL_ACT_WRITE = 1, /* send `bytes` on `stream`, in order, all of them */
    CONTROL_ACT_CLOSE,     /* send what was written, then close `stream`; it is gone for us */
    CONTROL_ACT_DIAL,      /* connect to members[member]; then control_dialed(stream) or _failed */
    CONTROL_ACT_SESSION_OPEN, /* give `params` to shard `shard`; wipe params.send and .recv after */
    CONTROL_ACT_SESSION_CLOSE, /* shard `shard`: close session `index` */
    CONTROL_ACT_REPORT, /* the owner of `stream` asks for the node's state: control_report() */
    CONTROL_ACT_LOG,    /* one line for the log in `why`: no secrets, no keys of users */
};

struct control_action {
    enum control_action_kind kind;
    uint32_t stream;
    uint8_t member; /* DIAL, SESSION_OPEN of a replica: place among the cluster's members */
    uint32_t shard, index;
    enum control_role role; /* SESSION_OPEN */
    struct rpc_session_params params;
    struct bytes bytes; /* WRITE: valid until the next call */
    struct explain why; /* LOG */
};

struct control_counters {
    uint64_t accepted, dialed, handshakes_ok, handshakes_failed, refused, timed_out, sessions;
};

RESULT control_init(const struct control_config *c, struct control **ret, struct explain *why);
void control_fini(struct control *c); /* NULL is allowed */

/* A TCP connection came in: a new stream id, or FULL (close it). */
RESULT control_accepted(struct control *c, uint64_t now_ns, uint32_t *ret_stream);
/* The outcome of a DIAL. */
RESULT control_dialed(struct control *c, uint64_t now_ns, uint8_t member, uint32_t *ret_stream);
void control_dial_failed(struct control *c, uint64_t now_ns, uint8_t member);
void control_received(struct control *c, uint64_t now_ns, uint32_t stream, struct bytes bytes);
void control_closed(struct control *c, uint64_t now_ns, uint32_t stream);
/* The answer to REPORT; text is copied. Unknown streams are ignored. */
void control_report(struct control *c, uint32_t stream, struct bytes text);
void control_tick(struct control *c, uint64_t now_ns);
uint64_t control_deadline(const struct control *c);

/* Next thing to do; false when there is none. Drain after every call above. */
bool control_next(struct control *c, struct control_action *ret);

/* Which members have a live control stream with us (bit = place; our own bit is set). */
uint8_t control_members_up(const struct control *c);
const struct control_counters *control_counters(const struct control *c);

#endif
