// SPDX-License-Identifier: Apache-2.0
/*
 * A coordinator and replica among peers that are authentic and mad: any question, any answer to any
 * call, duplicated, late, of the wrong kind. Whatever they say, no CHECK may fail, a request is
 * answered at most once, and in the end all memory is back.
 */
#include "trusted/abd/abd.h"

#include "common/check.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum {
    REGION = 1 << 20,
    ARENA = 1 << 16,
    CALLS = 16,
    REQUESTS = 256,
};

struct fuzz {
    struct abd *abd;
    uint64_t now_ns;
    struct abd_call calls[CALLS]; /* the last ones made */
    uint32_t calls_n;
    uint32_t requests_n;
    bool answered[REQUESTS];
    struct abd_out out;
};

static void step(struct fuzz *f, struct abd_in *in)
{
    int rounds = 0;

    do {
        in->now_ns = f->now_ns;
        abd_step(f->abd, in, &f->out);
        for (uint32_t i = 0; i < f->out.calls_n; i++) {
            f->calls[f->calls_n++ % CALLS] = f->out.calls[i];
        }
        if (f->out.have_reply) {
            CHECK(f->out.reply.user < f->requests_n && !f->answered[f->out.reply.user]);
            f->answered[f->out.reply.user] = true;
        }
        *in = (struct abd_in){.kind = ABD_IN_TIMER};
        CHECK(rounds++ < 10000);
    } while (f->out.again);
}

static void request(struct fuzz *f, struct reader *r)
{
    uint8_t op = get_u8(r);
    uint8_t timeout_ms = get_u8(r);
    struct bytes key = get_bytes(r, op >> 4);
    struct bytes value = get_bytes(r, get_u8(r));
    struct client_request m = {
        .op = (enum client_op)(op % 8), .timeout_ms = timeout_ms, .key = key, .value = value};

    if (m.op == CLIENT_RMW) {
        m.rmw = (enum client_rmw)get_u8(r);
        m.expect_len = get_u8(r);
        m.delta = (int64_t)get_u8(r) - 128;
    }

    if (!r->failed && f->requests_n < REQUESTS) {
        step(f, &(struct abd_in){.kind = ABD_IN_REQUEST, .user = f->requests_n++, .request = &m});
    }
}

static void ask(struct fuzz *f, struct reader *r, uint8_t peer)
{
    struct bytes body = get_bytes(r, get_u8(r));
    struct peer_ask m;

    if (peer_ask_decode(body, &m) == OK) {
        step(f, &(struct abd_in){.kind = ABD_IN_ASK, .peer = peer, .ask = &m});
        CHECK(!f->out.have_reply);
    }
}

/* To one of the last calls, or to a call that never was. */
static void answer(struct fuzz *f, struct reader *r, uint8_t peer, bool failed)
{
    uint8_t which = get_u8(r);
    struct bytes body = get_bytes(r, failed ? 0 : get_u8(r));
    struct abd_in in = {.kind = failed ? ABD_IN_CALL_FAILED : ABD_IN_ANSWER, .peer = peer};
    struct peer_answer m;

    in.answer = &m;
    if (which < 0xf0 && f->calls_n > 0) {
        const struct abd_call *call = &f->calls[which % (f->calls_n < CALLS ? f->calls_n : CALLS)];

        in.cookie = call->cookie;
        in.peer = (which & 0x80) != 0 ? peer : call->peer;
    } else {
        in.cookie = get_u64(r);
    }
    if (failed || peer_answer_decode(body, &m) == OK) {
        step(f, &in);
    }
}

static void event(struct fuzz *f, struct reader *r)
{
    uint8_t kind = get_u8(r);
    uint8_t peer = (uint8_t)(1 + kind / 16 % 2);

    switch (kind % 8) {
    case 0:
        request(f, r);
        break;
    case 1:
        ask(f, r, peer);
        break;
    case 2:
    case 3:
        answer(f, r, peer, false);
        break;
    case 4:
        answer(f, r, peer, true);
        break;
    case 5:
        step(f, &(struct abd_in){.kind = ABD_IN_PEER_UP, .peer = peer});
        break;
    case 6:
        step(f, &(struct abd_in){.kind = ABD_IN_PEER_DOWN, .peer = peer});
        break;
    default:
        f->now_ns += (uint64_t)get_u16(r) << 16;
        step(f, &(struct abd_in){.kind = ABD_IN_TIMER});
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static _Alignas(64) uint8_t region[REGION];
    static _Alignas(64) uint8_t arena[ARENA];
    static struct aead *aead;
    struct fuzz f = {.now_ns = 1};
    struct reader r = {.rest = {.p = data, .n = n}};
    struct store_config sc = {.arena = arena, .arena_bytes = ARENA};
    struct abd_config ac = {.incarnation = 5,
                            .members_n = 3,
                            .value_max = 128,
                            .ops_max = 8,
                            .hedge_ns = 1000000,
                            .sync_ns = UINT64_C(5000000000)};
    size_t used;

    memset(region, 0, sizeof(region));
    memset(arena, 0, sizeof(arena));
    aead = aead != NULL ? aead : aead_open_impl(aead_best());
    CHECK(heap_init(region, REGION, &sc.heap) == OK);
    used = heap_used(sc.heap);
    sc.aead = aead;
    CHECK(store_init(&sc, &ac.store) == OK);
    ac.heap = sc.heap;
    CHECK(abd_init(&ac, &f.abd) == OK);
    while (r.rest.n > 0 && !r.failed) {
        event(&f, &r);
    }
    for (uint8_t peer = 1; peer <= 2; peer++) { /* anti-entropy would go on for ever */
        step(&f, &(struct abd_in){.kind = ABD_IN_PEER_DOWN, .peer = peer});
    }
    for (int i = 0; i < 2; i++) { /* every deadline, then every tail */
        f.now_ns += UINT64_C(100000000000);
        step(&f, &(struct abd_in){.kind = ABD_IN_TIMER});
    }
    CHECK(abd_counters(f.abd)->ops == 0 && abd_deadline(f.abd) == UINT64_MAX);
    for (uint32_t i = 0; i < f.requests_n; i++) {
        CHECK(f.answered[i]);
    }
    abd_fini(f.abd);
    store_fini(ac.store);
    CHECK(heap_used(sc.heap) == used);
    heap_fini(sc.heap);
    return 0;
}
