// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CONTROL_CONTROL_INTERNAL_H
#define TRUSTED_CONTROL_CONTROL_INTERNAL_H

/*
 * Inside the control machine:
 *
 *   control_start.c    start and end
 *   control.c          streams: bytes in and out, time, dialing
 *   control_admit.c    who may have sessions: the checks after a handshake, CTL-3 and CTL-4
 *   control_config.c   another configuration, CTL-13
 *   control_names.c    our renewed certificate, revoked names, CTL-11 and CTL-12
 *   control_queue.c    actions that wait for control_next, and the bound on log lines
 *   index_pool.c       connection indices of one shard
 *
 * A stream is OPENING until its peer is through (proven, greeted, admitted), then LIVE, then
 * CLOSING until what was written has been handed out.
 */

#include "trusted/control/control.h"
#include "trusted/control/dialer.h"
#include "trusted/control/frames.h"

enum {
    NO_MEMBER = 0xff,
    STREAM_SLOT_BITS = 10,
    LOG_BURST = 20, /* lines that strangers can cause at once; then one per LOG_REFILL_NS */
};
static const uint64_t LOG_REFILL_NS = UINT64_C(100000000);

_Static_assert(CONTROL_STREAMS_MAX == 1 << STREAM_SLOT_BITS, "a stream id is generation and slot");

/* ---- index_pool.c ---- */

/* Slots are reused in the order in which they were given back, each time under the next generation
 * (12 bits, never 0; with a key 4 bits, and 8 of check): a late datagram of a former session finds
 * nobody. CTL-7. */
struct index_pool {
    uint32_t slots_n, free_n;
    uint32_t key;
    uint32_t *free; /* heap: ring of slots, free_n from `first` */
    uint32_t first;
    uint16_t *generation; /* heap */
};

bool index_pool_init(struct index_pool *p, uint32_t slots_n, uint32_t key);
void index_pool_fini(struct index_pool *p);
/* The pool must not be empty. */
uint32_t index_pool_take(struct index_pool *p);
void index_pool_give(struct index_pool *p, uint32_t index);

/* ---- the machine ---- */

enum stream_phase {
    STREAM_OPENING = 1,
    STREAM_LIVE,
    STREAM_CLOSING,
};

struct stream {
    uint32_t id;
    enum stream_phase phase;
    bool is_dialed;
    bool has_indices;  /* index[] is taken from the pools */
    bool has_sessions; /* SESSION_OPEN was queued for them */
    bool owes_report;
    uint8_t member; /* the other end's place; NO_MEMBER while unknown, and for clients */
    enum control_role role;
    uint64_t opened_serial; /* grows from stream to stream */
    uint64_t due_at_ns;    /* OPENING: closed by then; LIVE: clients, when their certificate ends */
    struct tls *tls;       /* accepted */
    struct frames frames;  /* accepted */
    struct dialer *dialer; /* dialed */
    uint32_t index[SHARDS_MAX];
};

enum dial_state {
    DIAL_NEVER = 0, /* the other end dials */
    DIAL_WAIT,      /* until dial_at_ns */
    DIAL_ASKED,     /* the driver connects */
    DIAL_STREAM,    /* there is a stream */
};

struct member {
    bool is_pinned;
    uint8_t boot[BOOT_ID_LEN]; /* CTL-4 */
    uint32_t live;             /* stream id, 0: none */
    enum dial_state dial;
    uint64_t dial_at_ns, pause_ns;
};

struct queued {
    enum control_action_kind kind;
    uint32_t stream, shard, index;
    uint8_t member;
    enum control_role role;
    struct access access;
    struct rpc_session_params params;
    char *text; /* heap; LOG */
};

struct queue {
    struct queued *ring; /* heap */
    size_t first, n, cap;
};

struct control {
    struct control_config c;
    struct cluster cluster; /* in force; c.cluster points here */
    char *config;           /* heap: its signed text, */
    size_t config_n;
    uint8_t config_sig[CONTROL_SIGNATURE_MAX];
    size_t config_sig_n;
    char *ca_pem; /* heap */
    size_t ca_pem_n;
    bool fenced;
    uint8_t self; /* our place among the members */
    struct abi_addr addr[CLUSTER_MAX];
    struct member members[CLUSTER_MAX];
    struct index_pool pools[SHARDS_MAX];
    struct stream *streams[CONTROL_STREAMS_MAX];
    uint32_t generation[CONTROL_STREAMS_MAX];
    uint64_t dirty[CONTROL_STREAMS_MAX / 64]; /* may have something to write, or to close */
    uint32_t streams_n, unproven_n, clients_n;
    uint64_t serial;
    bool has_time;
    uint64_t first_ns, now_ns;
    uint64_t first_s; /* Unix time at first_ns: that of the identity's loading */
    struct control_revoked revoked;
    struct queue queue;
    uint32_t log_tokens, log_left_out;
    uint64_t log_refilled_ns;
    struct control_counters counters;
    uint8_t out[CONTROL_WRITE_MAX]; /* WRITE borrows from here */
};

/* ---- control_queue.c ---- */

struct queued *control_queue_add(struct control *c, enum control_action_kind kind);
/* Moves the oldest action to *ret and wipes it here; false when there is none. */
bool control_queue_take(struct control *c, struct control_action *ret);
void control_queue_fini(struct control *c);
/* A line about us, the members and the owner's configuration. */
__attribute__((format(printf, 2, 3))) void control_say(struct control *c, const char *fmt, ...);
/* A line that anybody who reaches the port can cause: bounded in number. */
__attribute__((format(printf, 2, 3))) void control_say_bounded(struct control *c, const char *fmt,
                                                               ...);

/* ---- control.c, for the others ---- */

/* The host's clock may stand still; it does not run backwards for us. */
void control_set_time(struct control *c, uint64_t now_ns);
/* Unix time: that of the identity's loading and what has passed since. */
uint64_t control_unix_time(const struct control *c);

/* Ends a stream of a peer that has proven who it is: log line, BYE with the same text, close. */
__attribute__((format(printf, 4, 5))) void control_refuse(struct control *c, struct stream *s,
                                                          enum err err, const char *fmt, ...);
/* The stream may have something to write. */
void control_touch(struct control *c, const struct stream *s);
/* Ends a stream: closes its sessions, hands out what is still to be written, then closes. */
void control_end(struct control *c, struct stream *s);
struct stream *control_stream(struct control *c, uint32_t id);
void control_stream_free(struct control *c, struct stream *s);
/* Takes an index of every shard for a stream; false when a pool would go below `reserve`. */
bool control_take_indices(struct control *c, struct stream *s, uint32_t reserve);

/* ---- control_config.c ---- */

/* Copies what is signed; CHECKs memory. */
void control_keep_config(struct control *c, struct bytes text, struct bytes sig);
/* Addresses and dials for the members of c->cluster; MALFORMED when one is no address. */
RESULT control_meet_members(struct control *c, struct explain *why);
/* The configuration in force, to the other end of an accepted stream. */
void control_tell_config(struct control *c, struct stream *s);
/* A CONFIG message came. */
void control_on_config(struct control *c, struct stream *s, const struct control_message *m);

/* ---- control_names.c ---- */

/* When the certificate of the stream's peer is over, by our clock; UINT64_MAX: not in our time. */
uint64_t control_expiry(const struct control *c, const struct stream *s);

/* ---- control_admit.c ---- */

/* An accepted stream whose peer is proven said HELLO: sessions and WELCOME, or a refusal. */
void control_admit(struct control *c, struct stream *s, const struct control_message *hello);
/* A dialed stream got its WELCOME: sessions, or the end of it. */
void control_admit_dialed(struct control *c, struct stream *s);
/* "node 2 (incarnation 12)", "client alice" */
void control_name(const struct identity_name *n, char to[static 96]);
#define CONTROL_REVOKED_TEXT "its name is revoked; ask the cluster's owner for another"
bool control_is_revoked(const struct control *c, const struct identity_name *n);

#endif
