// SPDX-License-Identifier: Apache-2.0
/* Not a test: how fast two endpoints in one process talk, both ends together, in processor time.
 * bench_rpc [seconds [case [calls]]]: with `calls`, so many and no longer. */
#include "trusted/rpc/rpc.h"
#include "trusted/wire/rpc_wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct end {
    struct rpc *rpc;
    struct heap *heap;
    void *region;
    uint32_t index;
};

struct bench {
    struct aead *aead;
    struct end a, b;
    uint8_t packet[DATAGRAM_MAX];
    size_t ask_bytes, answer_bytes;
    const uint8_t *value;
    uint64_t done, bytes;
    uint64_t due; /* calls to make */
};

static uint64_t clock_ns(clockid_t id)
{
    struct timespec t;

    (void)clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t now(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static void need(bool ok, const char *what)
{
    if (!ok) {
        (void)fprintf(stderr, "bench_rpc: %s\n", what);
        exit(1);
    }
}

static void end_start(struct bench *b, struct end *e, uint32_t datagram_bytes)
{
    size_t bytes = (size_t)256 << 20;
    struct rpc_config c = {.aead = b->aead,
                           .sessions_max = 8,
                           .datagram_bytes = datagram_bytes,
                           .message_max = 2 << 20};

    e->region = aligned_alloc(64, bytes);
    need(e->region != NULL, "memory");
    memset(e->region, 0, bytes);
    need(heap_init(e->region, bytes, &e->heap) == OK, "heap");
    c.heap = e->heap;
    need(rpc_init(&c, &e->rpc) == OK, "rpc");
}

static void start(struct bench *b, uint32_t datagram_bytes)
{
    struct rpc_session_params p = {
        .slots = RPC_SLOTS_PEER, .replay_bits = REPLAY_BITS_PEER, .addr = {.family = 4, .port = 1}};
    struct rpc_session_params q = p;

    b->aead = aead_open_impl(aead_best());
    end_start(b, &b->a, datagram_bytes);
    end_start(b, &b->b, datagram_bytes);
    b->a.index = p.index = q.peer_index = 1;
    b->b.index = q.index = p.peer_index = 2;
    p.send.b[0] = q.recv.b[0] = 1;
    p.recv.b[0] = q.send.b[0] = 2;
    need(rpc_session_open(b->a.rpc, now(), &p) == OK, "session");
    need(rpc_session_open(b->b.rpc, now(), &q) == OK, "session");
}

static void stop(struct bench *b)
{
    rpc_fini(b->a.rpc);
    rpc_fini(b->b.rpc);
    free(b->a.region);
    free(b->b.region);
    aead_close_impl(b->aead);
}

static void on_event(struct bench *b, struct end *e, const struct rpc_event *event)
{
    struct mbytes to;

    if (event->kind == RPC_EVENT_REQUEST) {
        need(rpc_reply_begin(e->rpc, event->request, b->answer_bytes, &to) == OK, "reply");
        memcpy(to.p, b->value, b->answer_bytes);
        rpc_reply_send(e->rpc, event->request, b->answer_bytes);
    } else if (event->kind == RPC_EVENT_RESPONSE) {
        b->done++;
        b->bytes += event->body.n + b->ask_bytes;
        b->due++;
    } else {
        need(false, "event");
    }
}

static void carry(struct bench *b, struct end *from, struct end *to, uint64_t t)
{
    struct mbytes packet = {.p = b->packet, .n = sizeof(b->packet)};
    struct rpc_event event;
    struct abi_addr addr;
    size_t n;

    for (int i = 0; i < BURST_MAX && rpc_transmit(from->rpc, t, packet, &addr, &n); i++) {
        need(rpc_receive(to->rpc, t, (struct bytes){.p = b->packet, .n = n}, addr) == OK, "open");
        while (rpc_next(to->rpc, &event)) {
            on_event(b, to, &event);
        }
    }
}

static void run(struct bench *b, uint64_t depth, uint64_t duration_ns, uint64_t calls)
{
    struct rpc_question q = {.head_len = 24,
                             .key = {.p = b->value, .n = 8},
                             .value = {.p = b->value, .n = b->ask_bytes - 32}};
    struct rpc_call call;
    uint64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    uint64_t begin = now();
    uint64_t t = begin;

    b->due = depth;
    b->done = b->bytes = 0;
    while (calls == 0 ? t - begin < duration_ns : b->done < calls) {
        for (; b->due > 0; b->due--) {
            need(rpc_call(b->a.rpc, t, b->a.index, &q, &call) == OK, "call");
        }
        carry(b, &b->a, &b->b, t);
        carry(b, &b->b, &b->a, t);
        t = now();
        if (t >= rpc_deadline(b->a.rpc)) {
            rpc_tick(b->a.rpc, t);
        }
        if (t >= rpc_deadline(b->b.rpc)) {
            rpc_tick(b->b.rpc, t);
        }
    }
    cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("%8zu B ask %8zu B answer %4" PRIu64 " in flight: %9.0f rpc/s %8.1f ns/rpc %8.1f MB/s, "
           "%" PRIu64 " retransmits\n",
           b->ask_bytes, b->answer_bytes, depth, (double)b->done * 1e9 / (double)cpu,
           (double)cpu / (double)b->done, (double)b->bytes * 1e3 / (double)cpu,
           rpc_counters(b->a.rpc)->retransmits + rpc_counters(b->b.rpc)->retransmits);
}

static void case_of(size_t ask, size_t answer, uint64_t depth, uint64_t duration_ns, uint64_t calls)
{
    struct bench b = {.ask_bytes = ask, .answer_bytes = answer};
    uint8_t *value = calloc(1, 2 << 20);

    need(value != NULL, "memory");
    b.value = value;
    start(&b, DATAGRAM_DEFAULT);
    run(&b, depth, duration_ns, calls);
    stop(&b);
    free(value);
}

/* What sealing and opening one datagram of n bytes costs. */
static void aead_alone(size_t n, uint64_t duration_ns)
{
    struct aead *a = aead_open_impl(aead_best());
    struct secret secret = {{1}};
    static struct aead_key key;
    static uint8_t packet[DATAGRAM_MAX], plain[DATAGRAM_MAX];
    uint8_t nonce[AEAD_IV_LEN] = {0};
    uint64_t begin = now();
    uint64_t rounds = 0;

    aead_key_init(a, &key, &secret);
    while (now() - begin < duration_ns) {
        for (int i = 0; i < 64; i++, rounds++) {
            aead_seal(a, &key, nonce, (struct bytes){.p = nonce, .n = 12},
                      (struct bytes){.p = plain, .n = n}, packet);
            need(aead_open(a, &key, nonce, (struct bytes){.p = nonce, .n = 12},
                           (struct bytes){.p = packet, .n = n + AEAD_TAG_LEN}, plain) == OK,
                 "open");
        }
    }
    printf("%s: seal and open %zu bytes %.1f ns\n", aead_name(a), n,
           (double)(now() - begin) / (double)rounds);
    aead_close_impl(a);
}

/* What a forged datagram of n bytes costs who has to refuse it, and by which check. */
static void refuse_alone(size_t n, enum err want, const char *why, uint64_t duration_ns)
{
    const struct rpc_header h = {.index = want == ERR_UNKNOWN_INDEX ? 99 : 1, .number = 1 << 20};
    static uint8_t from[DATAGRAM_MAX], in[DATAGRAM_MAX];
    uint64_t begin, rounds = 0;
    struct bench b = {0};

    start(&b, DATAGRAM_DEFAULT);
    rpc_header_encode(&h, from);
    from[0] ^= want == ERR_MALFORMED;
    begin = now();
    while (now() - begin < duration_ns) {
        for (int i = 0; i < 64; i++, rounds++) {
            memcpy(in, from, n); /* as the shard copies it out of host memory */
            need(rpc_receive(b.a.rpc, begin, (struct bytes){.p = in, .n = n},
                             (struct abi_addr){.family = 4}) == want,
                 "a forged datagram");
        }
    }
    printf("refuse %zu bytes, %s: %.1f ns\n", n, why, (double)(now() - begin) / (double)rounds);
    stop(&b);
}

int main(int argc, char **argv)
{
    uint64_t ns = (uint64_t)((argc > 1 ? strtod(argv[1], NULL) : 1.0) * 1e9);

    static const struct {
        size_t ask, answer;
        uint64_t depth;
    } cases[] = {
        {64, 64, 1},   {64, 32, 1},    {64, 64, 16},     {64, 32, 16},     {64, 64, 256},
        {64, 32, 256}, {64, 1024, 16}, {1 << 20, 32, 4}, {64, 1 << 20, 4},
    };
    size_t only = argc > 2 ? strtoul(argv[2], NULL, 10) : SIZE_MAX;
    uint64_t calls = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;

    if (only == SIZE_MAX) {
        aead_alone(73, ns / 4);
        aead_alone(1368, ns / 4);
        refuse_alone(700, ERR_MALFORMED, "malformed", ns / 4);
        refuse_alone(700, ERR_UNKNOWN_INDEX, "unknown index", ns / 4);
        refuse_alone(64, ERR_AUTH, "wrong seal", ns / 4);
        refuse_alone(700, ERR_AUTH, "wrong seal", ns / 4);
        refuse_alone(1400, ERR_AUTH, "wrong seal", ns / 4);
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (only == SIZE_MAX || only == i) {
            case_of(cases[i].ask, cases[i].answer, cases[i].depth, ns, calls);
        }
    }
    return 0;
}
