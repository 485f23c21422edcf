// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_RPC_RPC_INTERNAL_H
#define TRUSTED_RPC_RPC_INTERNAL_H

/*
 * What the files of this room share. Nobody else includes it.
 *
 *   rpc.c           the door: start, stop, datagram in, events out
 *   rpc_session.c   open, close, look up; lists of sessions
 *   rpc_packet.c    keys, phases, seal and open
 *   rpc_replay.c    packet numbers seen
 *   rpc_call.c      slots of the asking end
 *   rpc_serve.c     slots of the answering end
 *   rpc_frag.c      long messages, both ways
 *   rpc_transmit.c  frames into datagrams
 *   rpc_congestion.c  how much may be under way
 *   rpc_timer.c     round-trip time, retransmission, dead peers
 */

#include "common/check.h"
#include "common/prng.h"
#include "trusted/rpc/rpc.h"
#include "trusted/rpc/rpc_replay.h"
#include "trusted/wire/rpc_wire.h"

enum {
    RPC_NIL = 0xffff,     /* no slot */
    RPC_CHUNK_SLOTS = 64, /* slot records are allocated so many at a time */

    RPC_FRAGS_AHEAD = 64,  /* fragments that a FRAG_ACK can tell of */
    RPC_WINDOW_START = 32, /* full datagrams that may be under way at first */
    RPC_WINDOW_MIN = 4,
    RPC_WINDOW_STEP = 2,       /* one round trip more */
    RPC_WINDOW_MAX = 4 << 20,  /* bytes: half of what a receiver's socket holds */
    RPC_FRAG_REORDER = 3,      /* so many later fragments arrived: this one is lost */
    RPC_KEPT_FACTOR = 16,      /* times message_max: bytes of long answers kept */
    RPC_REASSEMBLY_FACTOR = 4, /* times message_max: bytes of requests in reassembly */
};

static const uint64_t RPC_RTO_START_NS = 10 * UINT64_C(1000000);
static const uint64_t RPC_RTO_MIN_NS = UINT64_C(500000); /* above srtt */
static const uint64_t RPC_RTO_MAX_NS = 250 * UINT64_C(1000000);
/* What may be queued on the way: above it the window shrinks. Five replicas and clients that share
 * two cores see 4 ms at full load without any network (ADR 60). */
static const uint64_t RPC_QUEUE_NS = 5 * UINT64_C(1000000);
static const uint64_t RPC_PING_NS = 250 * UINT64_C(1000000);

static const uint64_t RPC_KEY_PACKETS = UINT64_C(1) << 26;
static const uint64_t RPC_KEY_PACKETS_MAX = UINT64_C(1) << 28;
static const uint64_t RPC_KEY_NS = 120 * UINT64_C(1000000000);
static const uint64_t RPC_AUTH_FAILURES_MAX = UINT64_C(1) << 36;

_Static_assert((int)RPC_SLOTS_PEER < (int)RPC_NIL, "every slot has a number");

/* Intrusive circular list. A link that is in no list points to itself. */
struct rpc_link {
    struct rpc_link *prev, *next;
};

static inline void link_init(struct rpc_link *l)
{
    l->prev = l->next = l;
}

static inline bool link_empty(const struct rpc_link *l)
{
    return l->next == l;
}

static inline void link_take(struct rpc_link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    link_init(l);
}

/* Before `at`: at the tail of the list whose head is `at`. */
static inline void link_put(struct rpc_link *at, struct rpc_link *l)
{
    l->prev = at->prev;
    l->next = at;
    at->prev->next = l;
    at->prev = l;
}

#define LINK_OWNER(l, type, member) ((type *)(void *)((char *)(l)-offsetof(type, member)))

/* Slot numbers in a queue; the links are in the slots. */
struct rpc_fifo {
    uint16_t head, tail;
};

/*
 * A long message on its way out (RPC-20..RPC-24). Fragment numbers count from zero; bit i of a mask
 * is fragment base + i.
 *
 *      0         base                 next                     count
 *      | arrived | sent, some arrived | never sent             |
 */
struct rpc_out {
    struct rpc_link timer; /* in session.timers, by time of last activity */
    struct rpc_link ready; /* in session.ready while there is a fragment to send */
    uint64_t active_ns;
    uint64_t acked, resend, again; /* arrived; to be sent again; sent again in this round */
    uint64_t timed_ns;             /* when fragment `timed` was sent, 0: none is timed */
    uint32_t timed;
    uint32_t total, frag, count, base, next;
    uint32_t seq;
    uint16_t slot;
    uint8_t kind; /* RPC_FRAME_REQ_FRAG or RPC_FRAME_RSP_FRAG */
};

/* A long message on its way in. Bit i of `got` is fragment base + i. */
struct rpc_in {
    uint8_t *block; /* total bytes */
    uint64_t got;
    uint32_t total, frag, base; /* frag 0: not yet known */
    uint32_t tail;              /* bytes of the last fragment, when it came before any other */
};

enum rpc_ask_state {
    RPC_ASK_FREE,
    RPC_ASK_QUEUED,  /* in tosend */
    RPC_ASK_WAITING, /* in waiting */
    RPC_ASK_SENDING, /* `out` has fragments to send or to be acknowledged */
};

enum {
    RPC_ASK_WORKING = 1,    /* the peer said so: its silence is no sign of loss */
    RPC_ASK_ACK_QUEUED = 2, /* in asking.acks */
    RPC_ASK_ACK_DONE = 4,   /* say that (ack_seq, ack_total) arrived whole */
    RPC_ASK_ACK_PART = 8,   /* say what of `in` arrived */
};

struct rpc_ask {
    uint64_t cookie;
    uint64_t sent_ns;
    uint32_t seq; /* of the call, or of the last one when free */
    uint32_t total;
    uint16_t prev, next;
    uint8_t state, flags, tries, head_len;
    uint32_t ack_seq, ack_total;
    uint16_t ack_next;
    struct rpc_out *out;
    struct rpc_in *in;
    struct bytes key, value;
    uint8_t head[MESSAGE_HEAD_MAX];
};

enum rpc_answer_state {
    RPC_ANSWER_NONE,      /* nothing was ever asked in this slot */
    RPC_ANSWER_RECEIVING, /* `in` collects the request */
    RPC_ANSWER_EXECUTING,
    RPC_ANSWER_KEPT, /* answered; the answer is kept */
    RPC_ANSWER_DONE, /* answered, and the long answer arrived: nothing is kept */
};

enum {
    RPC_WANT_ANSWER = 1,
    RPC_WANT_WORKING = 2,
    RPC_WANT_ACK = 4,
    RPC_ANSWER_QUEUED = 8, /* in answering.queue */
    RPC_ANSWER_BLOCK = 16, /* u.block is valid */
};

struct rpc_answer {
    uint32_t seq;
    uint32_t len;           /* of the kept answer */
    uint32_t request_total; /* of a request that came in fragments, else 0 */
    uint16_t next;
    uint8_t state, flags;
    union {
        uint8_t small[RPC_SMALL_REPLY];
        struct {
            uint8_t *p;
            size_t n;            /* as allocated */
            struct rpc_out *out; /* for a long answer */
        } block;
        struct rpc_in *in;
    } u;
};
_Static_assert(sizeof(struct rpc_answer) == 48, "a slot of the answering end stays small");

enum {
    RPC_NOTICE_DOWN = 1,
    RPC_NOTICE_UP = 2,
    RPC_NOTICE_CLOSED = 4,
};

struct rpc_direction_key {
    struct aead_key key;
    uint8_t iv[AEAD_IV_LEN];
};

/* RPC-10. Both directions share the phase number, give or take the step that is under way. */
struct rpc_keys {
    struct rpc_direction_key send, before, now, after; /* the last three open */
    struct secret send_secret;                         /* of send_phase */
    struct secret after_secret;                        /* of recv_phase + 1 */
    uint64_t send_number;                              /* of the next packet */
    uint64_t send_first;                               /* of this phase */
    uint64_t recv_first;                               /* the lowest number opened in recv_phase */
    uint64_t began_ns;
    uint8_t send_phase, recv_phase;
    bool has_before;
    bool leads; /* this end starts key updates */
};

struct rpc_session {
    struct rpc_link dirty;  /* in rpc.dirty: something may be ready to send */
    struct rpc_link active; /* in rpc.active: a timer may run */
    struct rpc_link notice; /* in rpc.notices or, once closed, rpc.closing */
    uint64_t user;
    uint32_t index, peer_index;
    uint32_t slots, chunks;
    struct rpc_keys *keys;
    void *keys_block;
    struct rpc_replay replay;
    struct abi_addr addr; /* where we send */
    struct abi_addr home; /* as given at opening; family 0: none */
    uint64_t auth_failures;

    struct rpc_ask **asks; /* chunks */
    uint32_t asks_n;       /* slots in existing chunks */
    uint16_t free;         /* last freed first: few slots stay warm */
    uint16_t abandoned;    /* free too, and taken first: see finish() */
    struct rpc_fifo tosend, waiting, acks;
    struct rpc_answer **answers; /* chunks */
    struct rpc_fifo answering;

    struct rpc_link timers, ready; /* struct rpc_out */

    uint32_t flight, window; /* bytes under way; how many may be (RPC-25) */
    uint32_t flight_top;     /* the most since the last sample */
    bool is_slow_start;
    uint64_t cut_ns, base_ns, old_base_ns, base_at_ns;
    uint64_t sampled_ns, fastest_ns; /* of this round trip; fastest 0: none yet */

    uint64_t reassembly; /* bytes of requests in reassembly */
    uint64_t kept;       /* bytes of long answers, until they are acknowledged */

    uint64_t srtt_ns, rttvar_ns, rto_ns, jitter_ns, backed_off_ns;
    uint64_t rx_packets, rx_bytes, tx_bytes, retransmits; /* sent packets: keys->send_number */
    uint32_t rtt[RPC_RTT_BUCKETS];
    uint32_t backoff;
    uint32_t busy; /* calls, and long answers not yet acknowledged */
    uint64_t heard_ns, asked_ns, pinged_ns;
    uint64_t ping_token, pong_token;
    uint8_t notices;
    bool ping_due, pong_due, down, ended, turn;

    /* closing */
    uint32_t failed_at; /* slots below it have had their FAILED event */
    uint8_t farewell[RPC_HEADER_LEN + RPC_CLOSE_FRAME_LEN + AEAD_TAG_LEN];
    bool farewell_due;
    size_t bytes; /* of this block */
};

struct rpc {
    struct heap *heap;
    struct aead *aead;
    struct rpc_config config;
    uint64_t now_ns;
    struct prng prng;
    uint32_t body_max;  /* frame bytes of one datagram */
    uint32_t small_max; /* largest message that is not fragmented */
    uint32_t frag;      /* bytes of a fragment we send */
    struct rpc_link dirty, active, notices, closing;
    struct rpc_counters counters;
    unsigned plants;

    /* The datagram that rpc_next takes apart, and the body of the event it returned last. */
    struct rpc_session *rx_session;
    struct reader rx_frames;
    void *body_block;
    size_t body_block_n;

    struct rpc_session **sessions;
    uint8_t rx[DATAGRAM_MAX];
};

static inline struct rpc_ask *ask_at(const struct rpc_session *s, uint32_t slot)
{
    return &s->asks[slot / RPC_CHUNK_SLOTS][slot % RPC_CHUNK_SLOTS];
}

static inline struct rpc_answer *answer_at(const struct rpc_session *s, uint32_t slot)
{
    return &s->answers[slot / RPC_CHUNK_SLOTS][slot % RPC_CHUNK_SLOTS];
}

/* Sequence numbers of a slot wrap; half the circle is the past (RPC-12). */
static inline bool seq_newer(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}

static inline uint32_t index_slot(uint32_t index)
{
    return index & ((1U << RPC_INDEX_SLOT_BITS) - 1);
}

/* RPC-3: generation and place must agree. */
static inline struct rpc_session *rpc_session_find(const struct rpc *r, uint32_t index)
{
    uint32_t slot = index_slot(index);
    struct rpc_session *s = slot < r->config.sessions_max ? r->sessions[slot] : NULL;

    return s != NULL && s->index == index ? s : NULL;
}

/* Whether rpc_session_next may have an event. */
static inline bool rpc_has_news(const struct rpc *r)
{
    return !link_empty(&r->notices) || !link_empty(&r->closing);
}

static inline void rpc_session_dirty(struct rpc *r, struct rpc_session *s)
{
    if (link_empty(&s->dirty)) {
        link_put(&r->dirty, &s->dirty);
    }
}

static inline void rpc_ask_enqueue(struct rpc_session *s, struct rpc_fifo *q, uint16_t slot)
{
    struct rpc_ask *a = ask_at(s, slot);

    a->prev = q->tail;
    a->next = RPC_NIL;
    if (q->tail == RPC_NIL) {
        q->head = slot;
    } else {
        ask_at(s, q->tail)->next = slot;
    }
    q->tail = slot;
}

/* The first of a queue leaves it. */
static inline void rpc_ask_pop(struct rpc_session *s, struct rpc_fifo *q, const struct rpc_ask *a)
{
    q->head = a->next;
    if (a->next == RPC_NIL) {
        q->tail = RPC_NIL;
    } else {
        ask_at(s, a->next)->prev = RPC_NIL;
    }
}

static inline void rpc_ask_dequeue(struct rpc_session *s, struct rpc_fifo *q, uint16_t slot)
{
    const struct rpc_ask *a = ask_at(s, slot);

    if (a->prev == RPC_NIL) {
        q->head = a->next;
    } else {
        ask_at(s, a->prev)->next = a->next;
    }
    if (a->next == RPC_NIL) {
        q->tail = a->prev;
    } else {
        ask_at(s, a->next)->prev = a->prev;
    }
}

/* rpc_session.c */
void rpc_session_busy(struct rpc *r, struct rpc_session *s);
void rpc_session_idle(struct rpc_session *s);
void rpc_session_notice(struct rpc *r, struct rpc_session *s, uint8_t notice);
/* The session is over for the peer's or a limit's sake; the owner still has to close it. */
void rpc_session_end(struct rpc *r, struct rpc_session *s);
bool rpc_session_next(struct rpc *r, struct rpc_event *ret);
void rpc_session_free_all(struct rpc *r);
/* A closed session's last words. False: none. */
bool rpc_session_farewell(struct rpc *r, struct mbytes to, struct abi_addr *ret_addr,
                          size_t *ret_len);

/* rpc_packet.c */
RESULT rpc_keys_open(struct rpc *r, struct rpc_session *s, const struct rpc_session_params *p);
void rpc_keys_close(struct rpc *r, struct rpc_session *s);
RESULT rpc_packet_open(struct rpc *r, struct bytes datagram, struct rpc_session **ret,
                       uint64_t *ret_number, size_t *ret_len);
/* Seals n bytes of frames that stand behind the header's place in `to`, in place. False: the
 * session has just reached a limit. */
bool rpc_packet_seal(struct rpc *r, struct rpc_session *s, uint8_t *to, size_t n);

/* rpc_call.c: frames to the asking end. True: *ret is an event. */
bool rpc_ask_response(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f,
                      struct rpc_event *ret);
bool rpc_ask_fragment(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f,
                      struct rpc_event *ret);
void rpc_ask_acked(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f);
void rpc_ask_working(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f);
void rpc_ask_send_again(struct rpc *r, struct rpc_session *s, uint16_t slot);
/* Ends every call of a closed session without touching queues; for rpc_session.c. */
void rpc_ask_release(struct rpc *r, struct rpc_session *s, struct rpc_ask *a);
void rpc_ask_gather(const struct rpc_ask *a, uint32_t offset, struct mbytes to);

/* rpc_serve.c: frames to the answering end. */
bool rpc_answer_request(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f,
                        struct rpc_event *ret);
bool rpc_answer_fragment(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f,
                         struct rpc_event *ret);
void rpc_answer_acked(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f);
void rpc_answer_release(struct rpc *r, struct rpc_session *s, struct rpc_answer *a);

/* rpc_frag.c */
enum rpc_in_verdict {
    RPC_IN_TAKEN = 1,
    RPC_IN_SEEN,
    RPC_IN_COMPLETE,
    RPC_IN_REFUSED,
};
/* NULL: out of memory (counted). */
struct rpc_in *rpc_in_open(struct rpc *r, uint32_t total);
void rpc_in_close(struct rpc *r, struct rpc_in *in);
/* Frees `in` but hands its block over as the body of the event about to be returned. */
struct bytes rpc_in_detach(struct rpc *r, struct rpc_in *in);
enum rpc_in_verdict rpc_in_take(struct rpc_in *in, const struct rpc_frame *f);
void rpc_in_ack(const struct rpc_in *in, struct rpc_frame *ack);

struct rpc_out *rpc_out_open(struct rpc *r, enum rpc_frame_kind kind, uint16_t slot, uint32_t seq);
void rpc_out_start(struct rpc *r, struct rpc_session *s, struct rpc_out *o, uint32_t total);
void rpc_out_close(struct rpc *r, struct rpc_session *s, struct rpc_out *o);
bool rpc_out_acked(struct rpc *r, struct rpc_session *s, struct rpc_out *o,
                   const struct rpc_frame *ack); /* true: it arrived whole */
void rpc_out_expire(struct rpc *r, struct rpc_session *s, struct rpc_out *o);
/* The next fragment of the first ready message, if the window and `room` have place for it. */
bool rpc_out_next(struct rpc *r, struct rpc_session *s, size_t room, struct rpc_out **ret,
                  struct rpc_frame *ret_frame);

/* rpc_congestion.c */
void rpc_window_init(const struct rpc *r, struct rpc_session *s);
void rpc_window_sample(struct rpc *r, struct rpc_session *s, uint64_t rtt_ns);
void rpc_window_lost(struct rpc *r, struct rpc_session *s);

static inline void rpc_flight_add(struct rpc_session *s, uint32_t bytes)
{
    s->flight += bytes;
    s->flight_top = s->flight > s->flight_top ? s->flight : s->flight_top;
}

static inline void rpc_flight_sub(struct rpc_session *s, uint32_t bytes)
{
    CHECK(s->flight >= bytes);
    s->flight -= bytes;
}

/* What a request that waits for its answer has under way: nothing when it is known to have arrived;
 * a long one counts by its fragments. */
static inline uint32_t rpc_ask_bytes(const struct rpc *r, const struct rpc_ask *a)
{
    bool arrived = a->total > r->small_max || (a->flags & RPC_ASK_WORKING) != 0;

    return arrived ? 0 : RPC_MESSAGE_FRAME_LEN + a->total;
}

/* rpc_timer.c */
uint64_t rpc_session_rto(const struct rpc_session *s);
void rpc_session_sample(struct rpc *r, struct rpc_session *s, uint64_t rtt_ns);
void rpc_session_heard(struct rpc *r, struct rpc_session *s);
void rpc_session_back_off(struct rpc *r, struct rpc_session *s);

#endif
