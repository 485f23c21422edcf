// SPDX-License-Identifier: Apache-2.0
#include "trusted/shard/shard.h"

#include "common/check.h"
#include "common/copy_in.h"
#include "trusted/crypto/entropy.h"

#include <stdatomic.h>

enum {
    COMMANDS_N = 256, /* power of two */
};

/* What two threads write lies on lines of their own: padding is the point.
 * NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct shard {
    struct heap *heap;
    struct aead *aead;
    struct replica *replica;
    struct abi_regions regions;
    uint64_t now_ns; /* our time: never runs backwards, nor far ahead at once */
    struct shard_host_counters host;
    bool notify;

    /* Single producer (control thread), single consumer (this shard). */
    _Alignas(64) _Atomic uint64_t produced;
    _Alignas(64) _Atomic uint64_t consumed;
    struct shard_command commands[COMMANDS_N];
    /* Of the one RECONFIGURE that may wait: too large for every place in the ring. */
    struct replica_members members;
    _Atomic bool members_wait;

    /* Written by the shard, then published by report_done; read by the control thread after. */
    struct replica_report report;
    struct shard_host_counters report_host;
    _Atomic uint64_t report_done;
    uint64_t report_seen; /* control thread's */

    uint64_t host_ns; /* the time, as the host said it last */
    uint64_t trim_ns; /* no host memory is given back before, */
    uint64_t tidy_ns; /* and no value moved */

    /* One packet each way in enclave memory: the host cannot change what we look at. */
    _Alignas(64) uint8_t rx_private[DATAGRAM_MAX];
    _Alignas(64) uint8_t tx_private[DATAGRAM_MAX];
};

static void run_command(struct shard *s, struct shard_command *c)
{
    const struct replica_peer peer = {c->peer, c->member, &c->access};
    enum err err;

    switch (c->kind) {
    case SHARD_SESSION_OPEN:
        err = replica_session_open(s->replica, s->now_ns, &peer, &c->params);
        if (err != OK) {
            /* The stream believes in a session that is not there: its datagrams will be counted
             * as unknown, and the peer gives up and dials again. */
            s->host.bad_descriptors += err == ERR_BOUNDARY;
        }
        wipe(&c->params, sizeof(c->params));
        break;
    case SHARD_SESSION_CLOSE:
        replica_session_close(s->replica, s->now_ns, c->index);
        break;
    case SHARD_RECONFIGURE:
        replica_reconfigure(s->replica, s->now_ns, &s->members);
        atomic_store_explicit(&s->members_wait, false, memory_order_release);
        break;
    case SHARD_LEAVE:
        replica_leave(s->replica);
        break;
    case SHARD_REPORT:
        replica_report(s->replica, &s->report);
        s->report_host = s->host;
        atomic_fetch_add_explicit(&s->report_done, 1, memory_order_release);
        s->notify = true;
        break;
    }
}

static void run_commands(struct shard *s)
{
    uint64_t consumed = atomic_load_explicit(&s->consumed, memory_order_relaxed);
    uint64_t produced = atomic_load_explicit(&s->produced, memory_order_acquire);

    while (consumed != produced) {
        run_command(s, &s->commands[consumed & (COMMANDS_N - 1)]);
        consumed++;
        atomic_store_explicit(&s->consumed, consumed, memory_order_release);
    }
}

/* One descriptor, already copied. Subtraction cannot wrap. */
static void take_packet(struct shard *s, const struct abi_packet *p)
{
    if (p->len > DATAGRAM_MAX || p->off > s->regions.rx_bytes ||
        p->len > s->regions.rx_bytes - p->off) {
        s->host.bad_descriptors++;
        return;
    }
    copy_in(s->rx_private, s->regions.rx + p->off, p->len);
    replica_receive(s->replica, s->now_ns, (struct bytes){s->rx_private, p->len}, p->addr);
}

static void take_packets(struct shard *s, const struct abi_poll *io)
{
    uint32_t n = *(const volatile uint32_t *)&io->rx_n;

    if (n > BURST_MAX) {
        s->host.bad_descriptors++;
        n = BURST_MAX;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct abi_packet p;

        copy_in(&p, &io->rx[i], sizeof(p));
        take_packet(s, &p);
    }
}

/* Sealed in private memory first: an implementation of AES-GCM may read its output back for the
 * tag, and the host must not get a tag under bytes of its choice. */
static void give_packets(struct shard *s, struct abi_poll *io)
{
    uint32_t n = 0;

    while (n < BURST_MAX) {
        struct abi_packet p = {.off = n * ABI_PACKET_STRIDE};
        size_t len;

        if (!replica_transmit(s->replica, s->now_ns,
                              (struct mbytes){s->tx_private, sizeof(s->tx_private)}, &p.addr,
                              &len)) {
            break;
        }
        CHECK(len <= DATAGRAM_MAX);
        p.len = (uint32_t)len;
        memcpy(s->regions.tx + p.off, s->tx_private, len);
        io->tx[n++] = p;
    }
    io->tx_n = n;
    io->more = n == BURST_MAX;
}

/* Times may be added to without wrapping: 2^62 ns are 146 years. */
static const uint64_t TIME_MAX_NS = UINT64_C(1) << 62;
/* More than this at once is believed only so far: whatever the host says, when it comes to its
 * senses our time goes on from where it is. */
static const uint64_t TIME_STEP_MAX_NS = UINT64_C(10000000000);

/* Ours follows the host's by differences. */
static void advance_clock(struct shard *s, uint64_t host_now_ns)
{
    uint64_t step;

    if (host_now_ns > TIME_MAX_NS) {
        s->host.clock_lies++;
        return;
    }
    if (host_now_ns < s->host_ns) {
        s->host.clock_lies++;
        s->host_ns = host_now_ns;
        return;
    }
    step = host_now_ns - s->host_ns;
    s->host_ns = host_now_ns;
    step = step > TIME_STEP_MAX_NS ? TIME_STEP_MAX_NS : step;
    if (s->now_ns < TIME_MAX_NS) {
        s->now_ns += step;
    }
}

/* A time of ours as the host knows it. */
static uint64_t to_host_time(const struct shard *s, uint64_t at_ns)
{
    if (at_ns == UINT64_MAX) {
        return UINT64_MAX;
    }
    return s->host_ns + (at_ns > s->now_ns ? at_ns - s->now_ns : 0);
}

/* Giving memory back costs the host some 50 us for each piece, moving values together us some 10 us
 * a step: at most 200 MiB/s, and a hundredth of our time. */
static const uint64_t TRIM_PAUSE_NS = 10000000;
static const uint64_t TIDY_PAUSE_NS = 1000000;

/* Host memory that is not needed any more; returns when to be called again for more of it. */
static uint64_t give_memory(struct shard *s, struct abi_poll *io)
{
    struct store *store = replica_store(s->replica);
    uint64_t again = UINT64_MAX;

    io->idle_off = io->idle_len = 0;
    if (store_tidy_is_wanted(store)) {
        if (s->now_ns >= s->tidy_ns) {
            store_tidy(store);
            s->tidy_ns = s->now_ns + TIDY_PAUSE_NS;
        }
        again = s->tidy_ns;
    }
    if (store_has_idle(store)) {
        if (s->now_ns >= s->trim_ns) {
            (void)store_trim(store, &io->idle_off, &io->idle_len);
            s->trim_ns = s->now_ns + TRIM_PAUSE_NS;
        }
        again = again < s->trim_ns ? again : s->trim_ns;
    }
    return again;
}

void shard_poll(struct shard *s, struct abi_poll *io)
{
    uint64_t again;
    uint64_t deadline;

    advance_clock(s, *(const volatile uint64_t *)&io->now_ns);
    store_may_grow(replica_store(s->replica), *(const volatile uint32_t *)&io->no_growth == 0);
    run_commands(s);
    take_packets(s, io);
    if (replica_deadline(s->replica) <= s->now_ns) {
        replica_tick(s->replica, s->now_ns);
    }
    give_packets(s, io);
    again = give_memory(s, io);
    deadline = replica_deadline(s->replica);
    io->wake_at_ns = to_host_time(s, again < deadline ? again : deadline);
    io->notify = s->notify;
    s->notify = false;
}

bool shard_post(struct shard *s, const struct shard_command *c)
{
    uint64_t produced = atomic_load_explicit(&s->produced, memory_order_relaxed);
    uint64_t consumed = atomic_load_explicit(&s->consumed, memory_order_acquire);

    if (produced - consumed >= COMMANDS_N) {
        return false;
    }
    if (c->kind == SHARD_RECONFIGURE) {
        if (atomic_load_explicit(&s->members_wait, memory_order_acquire)) {
            return false;
        }
        s->members = *c->members;
        atomic_store_explicit(&s->members_wait, true, memory_order_relaxed);
    }
    s->commands[produced & (COMMANDS_N - 1)] = *c;
    atomic_store_explicit(&s->produced, produced + 1, memory_order_release);
    return true;
}

bool shard_report(struct shard *s, struct replica_report *ret, struct shard_host_counters *ret_host)
{
    uint64_t done = atomic_load_explicit(&s->report_done, memory_order_acquire);

    if (done == s->report_seen) {
        return false;
    }
    s->report_seen = done;
    *ret = s->report;
    *ret_host = s->report_host;
    return true;
}

const char *shard_aead_name(const struct shard *s)
{
    return aead_name(s->aead);
}

static bool outside(const void *region, uint64_t region_bytes, const void *memory, size_t n)
{
    uintptr_t a = (uintptr_t)region;
    uintptr_t m = (uintptr_t)memory;

    if (region_bytes > UINTPTR_MAX - a) {
        return false;
    }
    return a + region_bytes <= m || (a >= m && a - m >= n);
}

static bool regions_good(const struct shard_config *c)
{
    const struct abi_regions *r = &c->regions;
    uint64_t packets = (uint64_t)ABI_PACKET_STRIDE * ABI_REGION_PACKETS;

    return r->rx_bytes >= packets && r->tx_bytes >= packets && (uintptr_t)r->rx % 64 == 0 &&
           (uintptr_t)r->tx % 64 == 0 && (uintptr_t)r->arena % 64 == 0 &&
           outside(r->rx, r->rx_bytes, c->memory, c->memory_bytes) &&
           outside(r->tx, r->tx_bytes, c->memory, c->memory_bytes) &&
           outside(r->arena, r->arena_bytes, c->memory, c->memory_bytes);
}

static RESULT init_replica(struct shard *s, const struct shard_config *c)
{
    struct replica_config r = {.heap = s->heap,
                               .aead = s->aead,
                               .shard = c->shard,
                               .incarnation = c->incarnation,
                               .members = c->members,
                               .shards_n = c->shards_n,
                               .datagram_bytes = c->datagram_bytes,
                               .value_max = c->value_max,
                               .sessions_max = c->sessions_max,
                               .hedge_ns = c->hedge_ns,
                               .sync_ns = c->sync_ns,
                               .collect_ns = c->collect_ns,
                               .arena = c->regions.arena,
                               .arena_bytes = c->regions.arena_bytes};
    enum err err;

    memcpy(r.cluster_id, c->cluster_id, sizeof(r.cluster_id));
    entropy_fill(&r.store_master, sizeof(r.store_master));
    entropy_fill(&r.seed, sizeof(r.seed));
    err = replica_init(&r, &s->replica);
    wipe(&r, sizeof(r));
    return err;
}

RESULT shard_open(const struct shard_config *c, struct shard **ret)
{
    struct heap *heap;
    struct shard *s;
    enum err err;

    if (!regions_good(c)) {
        return ERR_BOUNDARY;
    }
    TRY(heap_init(c->memory, c->memory_bytes, &heap));
    /* Blocks are 16-byte aligned and a shard wants 64: round up inside a larger block. */
    uint8_t *block = heap_zalloc(heap, sizeof(*s) + 64);
    if (block == NULL) {
        heap_fini(heap);
        return ERR_ENCLAVE_MEMORY;
    }
    s = (struct shard *)(void *)(block + (64 - (uintptr_t)block % 64) % 64);
    s->heap = heap;
    s->regions = c->regions;
    s->aead = aead_open_impl(aead_best());
    err = s->aead == NULL ? ERR_ENCLAVE_MEMORY : init_replica(s, c);
    if (err != OK) {
        aead_close_impl(s->aead);
        heap_fini(heap);
        return err;
    }
    *ret = s;
    return OK;
}

void shard_close(struct shard *s)
{
    struct heap *heap;

    if (s != NULL) {
        heap = s->heap;
        replica_fini(s->replica);
        aead_close_impl(s->aead);
        wipe(s, sizeof(*s));
        heap_fini(heap);
    }
}
