// SPDX-License-Identifier: Apache-2.0
/*
 * Not a test: what the RPC layer alone does. Two processes, each pinned to a core of its own, echo
 * 64 sealed bytes over the rings of split mode: trusted/rpc, host/net/pktio_ring.c and
 * host/run/shard_loop.c as production has them, copies in and out of private memory included, and
 * neither kernel nor replica between.
 *
 *     bench_echo [--seconds S] [--bytes N] [--datagram N] [WINDOW...]
 *
 * For each window (requests in flight): requests a second as the clock saw them, and for each end
 * the processor time of one request, without the turns in which there was nothing to do. An end
 * that is always busy serves 1 / that time: "a core". Each end's ring is the other's, so the memory
 * is mapped a second time with the two rings exchanged.
 */
#include "host/net/handover.h"
#include "host/net/pktio.h"
#include "host/run/clock.h"
#include "host/run/shard_loop.h"
#include "host/run/tsc.h"
#include "trusted/rpc/rpc.h"

#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    HEAP_BYTES = 64 << 20,
    INDEX_ASKER = 1,
    INDEX_ECHO = 2,
    CALIBRATE_US = 20000,
    WARM_US = 50000,
    WINDOWS_MAX = 32,
};

struct result {
    uint64_t requests, datagrams, busy_tsc, retransmits;
};

/* What both processes see. */
struct board {
    _Atomic int ready;
    _Atomic bool stop;
    struct result echo;
};

struct end {
    struct rpc *rpc;
    struct aead *aead;
    struct abi_regions regions;
    struct shard_loop loop;
    bool asks;
    uint32_t bytes;
    uint64_t due; /* calls to make */
    uint64_t turn_tsc;
    bool was_busy;
    _Atomic uint64_t requests, busy_tsc;
    _Alignas(64) uint8_t rx[DATAGRAM_MAX];
    _Alignas(64) uint8_t tx[DATAGRAM_MAX];
    uint8_t value[DATAGRAM_MAX];
};

static void need(bool ok, const char *what)
{
    if (!ok) {
        (void)fprintf(stderr, "bench_echo: %s\n", what);
        exit(1);
    }
}

static void add(_Atomic uint64_t *to, uint64_t n)
{
    atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* ---- one end: what trusted/shard/shard.c does with packets, and an echo behind it ---- */

static void on_event(struct end *e, const struct rpc_event *event)
{
    struct mbytes to;

    if (event->kind == RPC_EVENT_REQUEST) {
        need(rpc_reply_begin(e->rpc, event->request, event->body.n, &to) == OK, "reply");
        memcpy(to.p, event->body.p, event->body.n);
        rpc_reply_send(e->rpc, event->request, event->body.n);
        add(&e->requests, 1);
    } else if (event->kind == RPC_EVENT_RESPONSE) {
        need(event->body.n == e->bytes, "an answer of another length");
        add(&e->requests, 1);
        e->due++;
    }
}

static void take(struct end *e, uint64_t now_ns, const struct abi_packet *p)
{
    struct rpc_event event;

    need(p->len <= sizeof(e->rx) && p->off <= e->regions.rx_bytes - p->len, "descriptor");
    memcpy(e->rx, e->regions.rx + p->off, p->len);
    if (rpc_receive(e->rpc, now_ns, (struct bytes){e->rx, p->len}, p->addr) != OK) {
        return;
    }
    while (rpc_next(e->rpc, &event)) {
        on_event(e, &event);
    }
}

static void ask(struct end *e, uint64_t now_ns)
{
    struct rpc_question q = {
        .head_len = 24, .key = {e->value, 16}, .value = {e->value, e->bytes - 40}};
    struct rpc_call call;

    for (; e->due > 0; e->due--) {
        need(rpc_call(e->rpc, now_ns, INDEX_ASKER, &q, &call) == OK, "call");
    }
}

static uint32_t give(struct end *e, uint64_t now_ns, struct abi_packet *to)
{
    uint32_t n = 0;
    size_t len;

    while (n < BURST_MAX) {
        struct abi_packet p = {.off = n * ABI_PACKET_STRIDE};

        if (!rpc_transmit(e->rpc, now_ns, (struct mbytes){e->tx, sizeof(e->tx)}, &p.addr, &len)) {
            break;
        }
        p.len = (uint32_t)len;
        memcpy(e->regions.tx + p.off, e->tx, len);
        to[n++] = p;
    }
    return n;
}

/* The time of a turn counts if it had something to do; it ends where the next begins, so that the
 * ring's and the loop's share is in it. */
static void poll(void *self, struct abi_poll *io)
{
    struct end *e = self;
    uint64_t tsc = tsc_now();

    if (e->was_busy) {
        add(&e->busy_tsc, tsc - e->turn_tsc);
    }
    e->turn_tsc = tsc;
    for (uint32_t i = 0; i < io->rx_n; i++) {
        take(e, io->now_ns, &io->rx[i]);
    }
    if (e->asks) {
        ask(e, io->now_ns);
    }
    if (rpc_deadline(e->rpc) <= io->now_ns) {
        rpc_tick(e->rpc, io->now_ns);
    }
    io->tx_n = give(e, io->now_ns, io->tx);
    io->more = io->tx_n == BURST_MAX;
    io->wake_at_ns = rpc_deadline(e->rpc);
    io->notify = 0;
    e->was_busy = io->rx_n > 0 || io->tx_n > 0;
}

/* ---- the memory between them ---- */

static void share_clock(struct ring_page *page)
{
    uint64_t tsc = tsc_now(), ns = clock_now_ns();

    (void)usleep(CALIBRATE_US);
    page->clock.mult = tsc_rate(clock_now_ns() - ns, tsc_now() - tsc);
    page->clock.tsc_base = tsc;
    page->clock.ns_base = ns;
    page->clock.seq = 2;
}

static off_t place_of(uint8_t *memory, enum ring_which which)
{
    return (uint8_t *)ring_of_packets(memory, 0, which).shared - memory;
}

static void map_at(const struct handover *h, enum ring_which place, enum ring_which what)
{
    void *at = h->memory + place_of(h->memory, place);

    need(mmap(at, RING_PAGE + RING_PACKETS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
              h->fd, place_of(h->memory, what)) == at,
         "the rings could not be exchanged");
}

static void exchange(const struct handover *h)
{
    map_at(h, RING_TO_REPLICA, RING_TO_HOST);
    map_at(h, RING_TO_HOST, RING_TO_REPLICA);
}

/* ---- start and stop ---- */

static void pin(unsigned core)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(core, &set);
    need(sched_setaffinity(0, sizeof(set), &set) == 0, "two processors are needed");
}

static void *memory(size_t n)
{
    void *p =
        mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    need(p != MAP_FAILED, "memory");
    return p;
}

static void open_rpc(struct end *e, uint32_t datagram_bytes)
{
    struct rpc_config c = {.aead = e->aead,
                           .sessions_max = 8,
                           .datagram_bytes = datagram_bytes,
                           .message_max = 1 << 20};
    struct rpc_session_params p = {.index = e->asks ? INDEX_ASKER : INDEX_ECHO,
                                   .peer_index = e->asks ? INDEX_ECHO : INDEX_ASKER,
                                   .slots = RPC_SLOTS_PEER,
                                   .replay_bits = REPLAY_BITS_PEER,
                                   .addr = {.family = 4, .port = 1}};

    p.send.b[0] = e->asks ? 1 : 2;
    p.recv.b[0] = e->asks ? 2 : 1;
    need(heap_init(memory(HEAP_BYTES), HEAP_BYTES, &c.heap) == OK, "heap");
    need(rpc_init(&c, &e->rpc) == OK, "rpc");
    need(rpc_session_open(e->rpc, clock_now_ns(), &p) == OK, "session");
}

static struct end *start(const struct handover *h, bool asks, uint32_t bytes, uint32_t datagram,
                         uint64_t window)
{
    struct end *e = memory(sizeof(*e));
    struct pktio *io;

    e->asks = asks;
    e->bytes = bytes;
    e->due = asks ? window : 0;
    e->aead = aead_open_impl(aead_best());
    need(e->aead != NULL, "AES-GCM");
    open_rpc(e, datagram);
    e->regions.tx_bytes = (uint64_t)ABI_PACKET_STRIDE * ABI_REGION_PACKETS;
    e->regions.tx = memory(e->regions.tx_bytes);
    need(pktio_ring_open(h, 0, &e->regions, &io) == OK, "ring");
    e->loop = (struct shard_loop){
        .shard = e, .poll = poll, .io = io, .polling = SHARD_LOOP_BUSY, .notify_fd = -1};
    need(shard_loop_start(&e->loop) == OK, "thread");
    return e;
}

static struct result result_of(const struct end *e)
{
    return (struct result){
        .requests = atomic_load(&e->requests),
        .datagrams = rpc_counters(e->rpc)->tx_packets,
        .busy_tsc = atomic_load(&e->busy_tsc),
        .retransmits = rpc_counters(e->rpc)->retransmits,
    };
}

static _Noreturn void echo(struct handover *h, struct board *b, uint32_t bytes, uint32_t datagram)
{
    struct end *e;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(1);
    exchange(h);
    e = start(h, false, bytes, datagram, 0);
    atomic_store(&b->ready, 1);
    while (!atomic_load(&b->stop)) {
        (void)usleep(1000);
    }
    shard_loop_stop(&e->loop);
    b->echo = result_of(e);
    _exit(0);
}

static void say(const struct handover *h, uint64_t window, double seconds, const struct result *a,
                const struct result *b)
{
    const struct ring_page *page = (const struct ring_page *)(const void *)h->memory;
    double asks_ns = (double)tsc_scale(a->busy_tsc, page->clock.mult) / (double)a->requests;
    double echo_ns = (double)tsc_scale(b->busy_tsc, page->clock.mult) / (double)b->requests;

    printf("%6" PRIu64 " %12.0f %10.1f %10.1f %12.0f %12.0f %10.1f %6" PRIu64 "\n", window,
           (double)a->requests / seconds, asks_ns, echo_ns, 1e9 / asks_ns, 1e9 / echo_ns,
           (double)b->requests / (double)b->datagrams, a->retransmits + b->retransmits);
    (void)fflush(stdout);
}

static void run(uint64_t window, double seconds, uint32_t bytes, uint32_t datagram)
{
    struct board *b =
        mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct result all, warm;
    struct handover h;
    struct end *e;
    uint64_t begin, end;
    int sockets[2];
    int status;
    pid_t child;

    need(b != MAP_FAILED && socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets) == 0 &&
             handover_make(sockets[0], 1, &h) == OK,
         "the memory of the rings");
    share_clock((struct ring_page *)(void *)h.memory);
    child = fork();
    need(child >= 0, "fork");
    if (child == 0) {
        echo(&h, b, bytes, datagram);
    }
    pin(0);
    while (atomic_load(&b->ready) == 0) {
        (void)usleep(1000);
    }
    e = start(&h, true, bytes, datagram, window);
    (void)usleep(WARM_US);
    warm.requests = atomic_load(&e->requests);
    begin = clock_now_ns();
    (void)usleep((useconds_t)(seconds * 1e6));
    all.requests = atomic_load(&e->requests);
    end = clock_now_ns();
    shard_loop_stop(&e->loop);
    atomic_store(&b->stop, true);
    need(waitpid(child, &status, 0) == child && status == 0, "the other process failed");
    seconds = (double)(end - begin) * 1e-9 * (double)atomic_load(&e->requests) /
              (double)(all.requests - warm.requests);
    all = result_of(e);
    say(&h, window, seconds, &all, &b->echo);
    (void)munmap(b, sizeof(*b));
    handover_close(&h);
    (void)close(sockets[1]);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seconds", required_argument, NULL, 's'},
                                            {"bytes", required_argument, NULL, 'b'},
                                            {"datagram", required_argument, NULL, 'd'},
                                            {0}};
    static const uint64_t usual[] = {1, 4, 16, 64, 128, 256, 1024};
    uint32_t bytes = 64, datagram = DATAGRAM_DEFAULT;
    double seconds = 1;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 's':
            seconds = strtod(optarg, NULL);
            break;
        case 'b':
            bytes = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'd':
            datagram = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        default:
            return 64;
        }
    }
    need(bytes >= 40 && bytes <= 1000, "--bytes is 40 to 1000");
    need(datagram >= DATAGRAM_MIN && datagram <= DATAGRAM_MAX, "--datagram is 1200 to 8960");
    need(seconds > 0 && seconds <= 60, "--seconds is up to 60");
    printf("%6s %12s %10s %10s %12s %12s %10s %6s\n", "window", "requests/s", "ask ns", "echo ns",
           "a core asks", "a core echos", "a datagram", "again");
    for (int i = optind; i < argc; i++) {
        run(strtoull(argv[i], NULL, 10), seconds, bytes, datagram);
    }
    for (size_t i = 0; optind == argc && i < sizeof(usual) / sizeof(usual[0]); i++) {
        run(usual[i], seconds, bytes, datagram);
    }
    return 0;
}
