// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"
#include "common/check.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static const uint64_t MS = UINT64_C(1000000);
static const uint64_t SECOND = UINT64_C(1000000000);

enum {
    LINKS_EVERY_MS = 5,  /* a caller that never waits looks at control connections so often */
    RECEIVE_ROUNDS = 8,  /* bursts taken before we look at the clock and at completions again */
    CLOGGED_WAIT_MS = 1, /* when the kernel takes no more datagrams */
    REGION_BASE = 64 << 20,
    REGION_VALUES = 32, /* values of the largest size, both ways, beyond the base */
};

uint64_t client_now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* ---- nodes ---- */

/* CLI-4: the first WELCOME decides the sizes. The region is address space; pages come with use. */
static enum err start_core(struct avo_client *c, const struct control_message *welcome)
{
    struct core_config k = {
        .aead = c->aead,
        .nodes_n = CLUSTER_MAX,
        .first_n = c->profile.members_n,
        .shards_n = welcome->shards_n,
        .datagram_bytes = welcome->datagram_bytes,
        .value_max = welcome->value_max,
        .in_flight_max = c->options.in_flight_max,
        .prefer = c->options.coordinator,
        .looks = true,
        .seed = prng_u64(&c->env.prng),
    };
    size_t values = k.in_flight_max < REGION_VALUES ? k.in_flight_max : REGION_VALUES;
    enum err err;

    memcpy(k.cluster, c->profile.cluster, sizeof(k.cluster));
    c->region_bytes = REGION_BASE + (size_t)k.in_flight_max * (2 * KEY_MAX + 512) +
                      2 * values * ((size_t)k.value_max + KEY_MAX);
    c->region = mmap(NULL, c->region_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (c->region == MAP_FAILED) {
        c->region = NULL;
        return ERR_ENCLAVE_MEMORY;
    }
    (void)madvise(c->region, c->region_bytes, MADV_DONTDUMP);
    err = heap_init(c->region, c->region_bytes, &c->heap);
    if (err == OK) {
        k.heap = c->heap;
        err = core_init(&k, &c->core);
        c->datagram_bytes = k.datagram_bytes;
    }
    if (err != OK) {
        heap_fini(c->heap);
        c->heap = NULL;
        (void)munmap(c->region, c->region_bytes);
        c->region = NULL;
    }
    return err;
}

/* NULL: it fits what we were built for. */
static const char *misfit(const struct avo_client *c, const struct control_message *welcome)
{
    if (welcome->shards_n == 0 || welcome->shards_n > SHARDS_MAX ||
        welcome->datagram_bytes < DATAGRAM_MIN || welcome->datagram_bytes > DATAGRAM_MAX ||
        welcome->value_max == 0 || welcome->value_max > VALUE_MAX) {
        return "its WELCOME names sizes that no configuration permits";
    }
    if (welcome->epoch < c->epoch) {
        return "it serves an older configuration epoch than another node";
    }
    if (c->core != NULL && welcome->datagram_bytes < c->datagram_bytes) {
        return "it takes smaller datagrams than this client was opened with; open it anew";
    }
    if (c->core == NULL || welcome->shards_n == core_shards(c->core)) {
        return NULL;
    }
    return core_sessions_up(c->core) == 0 ? NULL
                                          : "it has another number of shards than the other nodes";
}

static enum err open_sessions(struct avo_client *c, struct link *l, uint64_t now_ns)
{
    for (uint32_t shard = 0; shard < core_shards(c->core); shard++) {
        struct rpc_session_params p;
        enum err err = dialer_session(l->dialer, shard, c->profile.members[l->place].host, &p);

        if (err == OK) {
            err = core_session_up(c->core, now_ns, l->place, shard, &p);
        }
        secret_wipe(&p.send);
        secret_wipe(&p.recv);
        TRY(err);
    }
    return OK;
}

static void on_up(struct avo_client *c, struct link *l, uint64_t now_ns)
{
    const struct control_message *welcome = dialer_welcome(l->dialer);
    const char *why = misfit(c, welcome);
    enum err err;

    if (why != NULL) {
        link_drop(l, &c->env, now_ns, ERR_EPOCH, why);
        return;
    }
    if (c->core == NULL) {
        err = start_core(c, welcome);
        if (err != OK) {
            link_drop(l, &c->env, now_ns, ERR_FULL, "this process is out of memory");
            return;
        }
    }
    if (welcome->shards_n != core_shards(c->core)) {
        for (uint32_t place = 0; place < c->profile.members_n; place++) {
            core_node_down(c->core, now_ns, place, false);
        }
        core_set_shards(c->core, welcome->shards_n);
    }
    c->epoch = welcome->epoch;
    err = open_sessions(c, l, now_ns);
    if (err != OK) {
        core_node_down(c->core, now_ns, l->place, true);
        link_drop(l, &c->env, now_ns, err, err_text(err));
    }
}

/* What epoll named: places of links (bits). A timer that rang is put back to sleep. */
static uint32_t sort_events(struct avo_client *c, const struct epoll_event *events, int n)
{
    uint32_t ready = 0;
    uint64_t rings;

    for (int i = 0; i < n; i++) {
        uint32_t who = events[i].data.u32;

        if (who < CLUSTER_MAX) {
            ready |= UINT32_C(1) << who;
        } else if (who == CLIENT_EVENT_TIMER && read(c->timer, &rings, sizeof(rings)) > 0) {
            c->timer_at_ns = UINT64_MAX;
        }
    }
    return ready;
}

static void serve_links(struct avo_client *c, uint64_t now_ns)
{
    struct epoll_event events[CLIENT_EVENTS_MAX];
    uint32_t ready = sort_events(c, events, epoll_wait(c->epoll, events, CLIENT_EVENTS_MAX, 0));

    c->links_at_ns = now_ns;
    for (uint32_t place = 0; place < c->profile.members_n; place++) {
        struct link *l = &c->links[place];

        if (c->profile.members[place].node == 0) {
            continue;
        }
        if (l->state == LINK_RESTING && now_ns >= l->wake_at_ns) {
            client_refresh_identity(c);
        }
        switch (link_step(l, &c->env, now_ns, (ready >> place & 1) != 0)) {
        case LINK_UP:
            on_up(c, l, now_ns);
            break;
        case LINK_DOWN:
            core_node_down(c->core, now_ns, place, false);
            break;
        case LINK_NOTHING:
        default:
            break;
        }
        client_take_config(c, l, now_ns);
    }
}

/* Sessions that ended by themselves: their connection goes too, and a new one brings new keys. */
static void renew_lost(struct avo_client *c, uint64_t now_ns)
{
    uint32_t lost = core_take_lost(c->core);

    for (uint32_t place = 0; lost != 0 && place < c->profile.members_n; place++) {
        if ((lost >> place & 1) != 0 && c->links[place].state == LINK_STANDING) {
            core_node_down(c->core, now_ns, place, true);
            link_drop(&c->links[place], &c->env, now_ns, ERR_CLOSED, "a data session ended");
        }
    }
}

static uint64_t links_deadline(const struct avo_client *c)
{
    uint64_t at = UINT64_MAX;

    for (uint32_t place = 0; place < c->profile.members_n; place++) {
        at = c->links[place].wake_at_ns < at ? c->links[place].wake_at_ns : at;
    }
    return at;
}

/* ---- datagrams ---- */

static void receive(struct avo_client *c, uint64_t now_ns)
{
    uint32_t n = NET_BATCH;

    for (int round = 0; round < RECEIVE_ROUNDS && n == NET_BATCH; round++) {
        n = net_receive(c->net);
        for (uint32_t i = 0; i < n; i++) {
            struct abi_addr from;
            struct bytes datagram;

            if (net_received(c->net, i, &datagram, &from)) {
                core_receive(c->core, now_ns, datagram, from);
            }
        }
    }
}

void client_transmit(struct avo_client *c, uint64_t now_ns)
{
    for (;;) {
        struct mbytes room = net_room(c->net);
        struct abi_addr to;
        size_t len;

        if (room.p == NULL || !core_transmit(c->core, now_ns, room, &to, &len)) {
            break;
        }
        net_queue(c->net, &to, len);
    }
    c->clogged_at_ns = net_flush(c->net) ? 0 : now_ns;
    c->unsent = 0;
}

/* ---- the loop ---- */

void client_serve(struct avo_client *c, uint64_t now_ns)
{
    if (now_ns - c->links_at_ns >= LINKS_EVERY_MS * MS || links_deadline(c) <= now_ns) {
        serve_links(c, now_ns);
    }
    if (c->core == NULL) {
        return;
    }
    if (c->unsent > 0) {
        client_transmit(c, now_ns);
    }
    receive(c, now_ns);
    if (core_deadline(c->core) <= now_ns) {
        core_tick(c->core, now_ns);
    }
    renew_lost(c, now_ns);
    client_rotate(c, now_ns);
    client_transmit(c, now_ns);
}

uint64_t client_deadline(const struct avo_client *c)
{
    uint64_t links = links_deadline(c), rotate = client_rotate_at(c);
    uint64_t core = c->core == NULL ? UINT64_MAX : core_deadline(c->core);
    uint64_t net = c->clogged_at_ns == 0 ? UINT64_MAX : c->clogged_at_ns + CLOGGED_WAIT_MS * MS;

    core = links < core ? links : core;
    core = rotate < core ? rotate : core;
    core = net_pending(c->net) ? 0 : core;
    return net < core ? net : core;
}

void client_wait(struct avo_client *c, uint64_t now_ns, uint64_t until_ns)
{
    struct epoll_event events[CLIENT_EVENTS_MAX];
    uint64_t at = client_deadline(c);
    uint64_t left;
    struct timespec t;
    int n;

    at = until_ns < at ? until_ns : at;
    left = at > now_ns ? at - now_ns : 0;
    left = left > 3600 * SECOND ? 3600 * SECOND : left;
    t = (struct timespec){.tv_sec = (time_t)(left / SECOND), .tv_nsec = (long)(left % SECOND)};
    n = courtesy_look(&c->courtesy, c->epoll, events, CLIENT_EVENTS_MAX, left);
    if (n == 0) {
        n = epoll_pwait2(c->epoll, events, CLIENT_EVENTS_MAX, &t, NULL);
    }
    if (n < 0 && errno == ENOSYS) {
        n = epoll_wait(c->epoll, events, CLIENT_EVENTS_MAX, (int)((left + MS - 1) / MS));
    }
    courtesy_waited(&c->courtesy, client_now_ns() - now_ns);
    if (sort_events(c, events, n) != 0) {
        c->links_at_ns = 0; /* look at them in the next round */
    }
}

void client_arm(struct avo_client *c, uint64_t now_ns)
{
    uint64_t at = client_deadline(c);
    struct itimerspec t = {0};

    if (!c->watch->external) {
        return;
    }
    if (c->core != NULL && (core_done(c->core) > 0 || c->unsent > 0)) {
        at = now_ns;
    }
    /* Ringing early is harmless, so a timer that rings before the deadline stays as it is; one that
     * has rung is set anew, which also takes it off the list of the readable. */
    if (c->timer_at_ns > now_ns && c->timer_at_ns <= at && c->timer_at_ns != UINT64_MAX) {
        return;
    }
    if (at == UINT64_MAX && c->timer_at_ns == UINT64_MAX) {
        return;
    }
    if (at != UINT64_MAX) {
        at = at == 0 ? 1 : at;
        t.it_value.tv_sec = (time_t)(at / SECOND);
        t.it_value.tv_nsec = (long)(at % SECOND);
    }
    (void)timerfd_settime(c->timer, TFD_TIMER_ABSTIME, &t, NULL);
    c->timer_at_ns = at;
}
