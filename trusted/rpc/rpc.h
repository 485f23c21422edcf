// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_RPC_RPC_H
#define TRUSTED_RPC_RPC_H

/*
 * Secure RPC over datagrams, as a pure machine: datagrams and time in, events and datagrams out.
 * No socket, clock, thread, system call or global; memory only from the heap given at start.
 *
 *     rpc_receive(datagram) --> rpc_next() --> events     (pull until none)
 *     rpc_call, rpc_reply   --> rpc_transmit() --> datagrams (pull until none)
 *     rpc_tick(now) when rpc_deadline() has come
 *
 * A session joins two endpoints; each end may ask the other. A request takes a slot; (slot, seq)
 * names it. The answering end executes a request at most once and keeps the answer until it is
 * known to have arrived (the next request in that slot, or an acknowledgement of a long answer), so
 * a repeated request is answered again, not executed again. Messages that do not fit one datagram
 * travel as fragments under a window with selective acknowledgement. All frames that are ready for
 * a session share datagrams; nothing waits for company.
 *
 * Order of checks on a datagram (RPC-8): length, version and type, index, replay pre-check, open,
 * replay commit, frames. Before the open succeeded nothing is allocated, changed or answered; each
 * refusal has a counter.
 *
 * After eRPC (NSDI'19) for slots and at-most-once, RFC 6479 for the window, RFC 9001 §6 for keys.
 * Clauses: docs/protocol/rpc.md.
 */

#include "boundary/abi.h"
#include "common/bytes.h"
#include "common/result.h"
#include "trusted/crypto/aead.h"
#include "trusted/mem/heap.h"

struct rpc;

struct rpc_config {
    struct heap *heap;
    struct aead *aead;       /* borrowed, this thread's */
    uint32_t sessions_max;   /* at most RPC_SESSIONS_MAX */
    uint32_t datagram_bytes; /* largest datagram we send, DATAGRAM_MIN..DATAGRAM_MAX */
    uint32_t message_max;    /* largest request or response accepted, at most MESSAGE_MAX */
    uint64_t key_packets;    /* key update after so many packets; 0 means the default, 2^26 */
    uint64_t seed;           /* jitter only */
};

/* What both ends must agree on, from the control channel. */
struct rpc_session_params {
    uint32_t index;       /* ours: generation << 20 | slot; what the peer writes in its headers */
    uint32_t peer_index;  /* theirs */
    struct secret send;   /* traffic secret of our direction */
    struct secret recv;   /* traffic secret of theirs */
    uint32_t slots;       /* RPC_SLOTS_PEER or RPC_SLOTS_CLIENT, both ends the same */
    uint32_t replay_bits; /* REPLAY_BITS_PEER or REPLAY_BITS_CLIENT */
    struct abi_addr addr; /* where to send; family 0: learn it from the first authentic datagram */
    uint64_t user;        /* comes back in events */
};

enum rpc_event_kind {
    RPC_EVENT_REQUEST = 1, /* answer it once with rpc_reply_* (or let the session end) */
    RPC_EVENT_RESPONSE,    /* ends the call named by `cookie` */
    RPC_EVENT_FAILED,      /* ends the call named by `cookie` without an answer: err says why */
    RPC_EVENT_DOWN,        /* nothing heard for RPC_DEAD_NS although we asked; calls go on trying */
    RPC_EVENT_UP,          /* heard again after DOWN */
    RPC_EVENT_CLOSED, /* the peer closed in order, or a limit was reached; remove the session */
};

/* Names a request that waits for its answer. Stale handles are refused, never misdirected. */
struct rpc_request {
    uint32_t session; /* our index */
    uint32_t seq;
    uint16_t slot;
};

struct rpc_event {
    enum rpc_event_kind kind;
    uint32_t session; /* our index */
    uint64_t user;    /* of the session */
    uint64_t cookie;  /* RESPONSE, FAILED */
    enum err err;     /* FAILED, CLOSED */
    struct rpc_request request;
    struct bytes body; /* REQUEST, RESPONSE: valid until the next rpc_next or rpc_receive */
};

/* A question. `head` is copied; `key` and `value` are borrowed until the call has ended: a RESPONSE
 * or FAILED event with this cookie was taken, or rpc_cancel returned. */
struct rpc_question {
    uint64_t cookie;
    uint8_t head_len;
    uint8_t head[MESSAGE_HEAD_MAX];
    struct bytes key, value;
};

/* Handle of a call for rpc_cancel. */
struct rpc_call {
    uint32_t session, seq;
    uint16_t slot;
};

enum { RPC_RTT_BUCKETS = 20 };

struct rpc_counters {
    uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
    uint64_t opened, malformed, unknown_index, replay_old, replay_dup, auth_failed, old_phase;
    uint64_t frames_malformed, frames_stale, frames_refused;
    uint64_t requests_in, requests_out, responses_in, responses_out;
    uint64_t retransmits, duplicates_answered, key_updates, sessions, sessions_down, no_memory;
    uint64_t window_cuts;
    uint64_t rtt[RPC_RTT_BUCKETS]; /* samples of 2^i to 2^(i+1) us; the ends take the rest */
};

/* What a session looks like, for a report. */
struct rpc_session_info {
    uint32_t index;
    uint64_t user;
    struct abi_addr addr; /* family 0: not yet heard */
    bool down;
    uint64_t srtt_ns, rttvar_ns, base_rtt_ns; /* 0: no sample yet */
    uint64_t rto_ns;
    uint32_t window, flight; /* bytes */
    uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, retransmits, auth_failed;
    uint64_t heap_bytes; /* the session, its keys and its slots; not messages under way */
    uint64_t rtt[RPC_RTT_BUCKETS];
};

/* Time after which an asked peer that says nothing is reported DOWN. */
static const uint64_t RPC_DEAD_NS = UINT64_C(1000000000);

RESULT rpc_init(const struct rpc_config *c, struct rpc **ret); /* ENCLAVE_MEMORY */
void rpc_fini(struct rpc *r);                                  /* wipes all keys; NULL is allowed */

/* FULL: index slot out of range or taken. ENCLAVE_MEMORY. The secrets are copied; wipe yours. */
RESULT rpc_session_open(struct rpc *r, uint64_t now_ns, const struct rpc_session_params *p);
/* Calls in flight end with FAILED(CLOSED) events; wipes keys. With `say` a CLOSE frame is sent as
 * the very next datagram. Unknown index: nothing happens. */
void rpc_session_close(struct rpc *r, uint32_t index, bool say);

/* Takes one datagram (private memory, already copied in). The result is for tests and counters
 * only: whatever it is, carry on. Drain rpc_next before the next call (CHECKed). */
RESULT rpc_receive(struct rpc *r, uint64_t now_ns, struct bytes datagram, struct abi_addr from);
/* False when there is nothing more. */
bool rpc_next(struct rpc *r, struct rpc_event *ret);
/* Looks ahead: the bodies of the next requests that lie whole in the datagram under way, at most
 * `max`, and the user of their session. They are the peer's bytes, and whether each becomes an
 * event is not decided yet: for hints only. Valid as the body of an event is. */
size_t rpc_peek(const struct rpc *r, struct bytes *ret, size_t max, uint64_t *ret_user);
/* Detaches the body of the event just returned: true if it was a reassembled message, whose heap
 * block (*ret_block, *ret_block_n for heap_free; the body lies inside) is the caller's now. False:
 * it lies in the receive buffer, copy it. */
bool rpc_take_body(struct rpc *r, void **ret_block, size_t *ret_block_n);

/* FULL: no free slot. CLOSED: no such session. TOO_BIG: more than message_max. ENCLAVE_MEMORY: for
 * slot records, or for a request that needs fragments. */
RESULT rpc_call(struct rpc *r, uint64_t now_ns, uint32_t session, const struct rpc_question *q,
                struct rpc_call *ret);
/* Ends a call without an event. A call that has ended is left alone. */
void rpc_cancel(struct rpc *r, const struct rpc_call *call);

/* Room for an answer of up to n bytes: write to ret->p, then rpc_reply_send. ENCLAVE_MEMORY,
 * TOO_BIG, or CLOSED when the request is stale. Answers up to RPC_SMALL_REPLY never fail for
 * memory. */
enum { RPC_SMALL_REPLY = 32 };
RESULT rpc_reply_begin(struct rpc *r, struct rpc_request q, size_t n, struct mbytes *ret);
/* n <= what was begun. Once per rpc_reply_begin, with no other rpc call in between. */
void rpc_reply_send(struct rpc *r, struct rpc_request q, size_t n);

/* Seals the next datagram into `to` (private memory, at least datagram_bytes). False: nothing due.
 */
bool rpc_transmit(struct rpc *r, uint64_t now_ns, struct mbytes to, struct abi_addr *ret_addr,
                  size_t *ret_len);

/* Retransmissions and dead peers. Afterwards drain rpc_next and rpc_transmit. */
void rpc_tick(struct rpc *r, uint64_t now_ns);
/* When rpc_tick is due; UINT64_MAX: never. */
uint64_t rpc_deadline(const struct rpc *r);

const struct rpc_counters *rpc_counters(const struct rpc *r);
/* The next session from place *cursor on, which begins at 0 and moves. False: no more. */
bool rpc_session_info(const struct rpc *r, uint32_t *cursor, struct rpc_session_info *ret);

/* How the simulator proves that it finds bugs; only it and tests call this. 0 in production. */
enum rpc_plant {
    RPC_PLANT_REPLAY_OFF = 1 << 0, /* a datagram is accepted as often as it arrives */
};
void rpc_plant(struct rpc *r, unsigned plants);
/* Smoothed round-trip time of a session, 0 when unknown. */
uint64_t rpc_session_srtt_ns(const struct rpc *r, uint32_t index);

#endif
