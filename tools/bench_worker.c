// SPDX-License-Identifier: Apache-2.0
#include "tools/bench_slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
    COMPLETIONS = 64,
    ROUNDS_MAX = 4, /* of one client before the others have their turn */
    WAIT_MAX_MS = 100,
    DRAIN_MS = 5000,
};

uint64_t bench_now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

/* Closed loop: as many in flight as are wanted. */
static uint32_t refill(struct state *t, struct client *c)
{
    int phase = atomic_load_explicit(&t->b->phase, memory_order_relaxed);
    uint32_t want = (uint32_t)(phase == PHASE_LOAD ? t->b->load_depth : t->b->depth), started = 0;

    if (phase == PHASE_RUN && t->b->rate > 0) {
        return 0;
    }
    while (c->free_n > t->slots_n - want && slot_start(t, c, 0)) {
        started++;
    }
    return started;
}

static bool has_room(const struct state *t, const struct client *c)
{
    return c->free_n > t->slots_n - t->b->depth;
}

static bool some_have_room(const struct state *t)
{
    for (uint64_t i = 0; i < t->w->clients_n; i++) {
        if (has_room(t, &t->clients[i])) {
            return true;
        }
    }
    return false;
}

static struct client *next_with_room(struct state *t)
{
    for (uint64_t i = 0; i < t->w->clients_n; i++) {
        struct client *c = &t->clients[t->turn++ % t->w->clients_n];

        if (has_room(t, c)) {
            return c;
        }
    }
    return NULL;
}

/* Open loop: starts what is due. What finds no room stays due since then. */
static void dispatch(struct state *t)
{
    uint64_t now_ns = bench_now_ns(), due_ns;
    struct client *c;

    (void)pthread_mutex_lock(&t->w->lock);
    while (pace_next_ns(&t->pace) <= now_ns && (c = next_with_room(t)) != NULL) {
        if (pace_take(&t->pace, now_ns, &due_ns)) {
            (void)slot_start(t, c, due_ns);
            c->is_ready = true;
        }
    }
    t->w->behind = pace_behind(&t->pace, now_ns);
    (void)pthread_mutex_unlock(&t->w->lock);
}

/* True when the client may have more to do at once. */
static bool turn(struct state *t, struct client *c)
{
    struct avo_completion got[COMPLETIONS];

    for (int round = 0; round < ROUNDS_MAX; round++) {
        size_t n = t->b->target->poll(c->handle, got, COMPLETIONS);
        uint64_t now_ns = bench_now_ns();
        uint32_t started;
        int wait_ms;

        (void)pthread_mutex_lock(&t->w->lock);
        for (size_t i = 0; i < n; i++) {
            slot_complete(t, c, &got[i], now_ns);
        }
        slots_scan(t, c);
        started = refill(t, c);
        (void)pthread_mutex_unlock(&t->w->lock);
        if (n == 0 && started == 0) {
            wait_ms = t->b->target->next_ms(c->handle);
            c->due_ms = wait_ms < 0 ? UINT64_MAX : now_ns / 1000000 + (uint64_t)wait_ms;
            c->is_ready = wait_ms == 0;
            return c->is_ready;
        }
    }
    c->is_ready = true;
    return true;
}

/* Waits until a client has something to do, and marks those. */
static void wait_ready(struct state *t, uint64_t timeout_ns)
{
    uint64_t began = bench_now_ns();
    struct epoll_event events[COMPLETIONS];
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000),
                               .tv_nsec = (long)(timeout_ns % 1000000000)};
    int n = courtesy_look(&t->courtesy, t->epoll, events, COMPLETIONS, timeout_ns);
    uint64_t now_ms;

    if (n == 0) {
        n = epoll_pwait2(t->epoll, events, COMPLETIONS, &timeout, NULL);
    }
    now_ms = bench_now_ns() / 1000000;
    if (timeout_ns > 0) {
        courtesy_waited(&t->courtesy, bench_now_ns() - began);
    }
    for (int i = 0; i < n; i++) {
        t->clients[events[i].data.u32].is_ready = true;
    }
    for (uint64_t i = 0; i < t->w->clients_n; i++) {
        t->clients[i].is_ready |= t->clients[i].due_ms <= now_ms;
    }
}

static bool is_open_loop(const struct state *t, int phase)
{
    return phase == PHASE_RUN && t->b->rate > 0;
}

static uint64_t until_due_ns(const struct state *t, int phase)
{
    uint64_t now_ns = bench_now_ns(), most_ns = (uint64_t)WAIT_MAX_MS * 1000000;
    uint64_t due_ns = now_ns + most_ns, arrival_ns;

    for (uint64_t i = 0; i < t->w->clients_n; i++) {
        uint64_t client_ms = t->clients[i].due_ms;

        due_ns = client_ms < due_ns / 1000000 ? client_ms * 1000000 : due_ns;
    }
    if (is_open_loop(t, phase)) {
        arrival_ns = now_ns + pace_sleep_ns(&t->pace, now_ns, some_have_room(t), most_ns);
        due_ns = arrival_ns < due_ns ? arrival_ns : due_ns;
    }
    return due_ns <= now_ns ? 0 : due_ns - now_ns;
}

/* There may be something to start. */
static void enter_phase(struct state *t, int phase)
{
    for (uint64_t i = 0; i < t->w->clients_n; i++) {
        t->clients[i].is_ready = true;
    }
    if (is_open_loop(t, phase)) {
        pace_init(&t->pace, (double)t->b->rate * (double)t->w->clients_n / (double)t->b->clients,
                  prng_u64(&t->prng), bench_now_ns());
    }
}

static void drive(struct state *t)
{
    uint64_t drain_until_ns = UINT64_MAX;
    int phase, before = 0;

    for (;;) {
        bool more = false;

        phase = atomic_load_explicit(&t->b->phase, memory_order_acquire);
        if (phase != before) {
            enter_phase(t, phase);
            before = phase;
        }
        if (is_open_loop(t, phase)) {
            dispatch(t);
        }
        for (uint64_t i = 0; i < t->w->clients_n; i++) {
            more |= t->clients[i].is_ready && turn(t, &t->clients[i]);
        }
        if (phase == PHASE_DRAIN) {
            drain_until_ns = drain_until_ns == UINT64_MAX
                                 ? bench_now_ns() + (uint64_t)DRAIN_MS * 1000000
                                 : drain_until_ns;
            if (t->in_flight == 0 || bench_now_ns() > drain_until_ns) {
                return;
            }
        }
        wait_ready(t, more ? 0 : until_due_ns(t, phase));
    }
}

/* What is in flight when we stop has an unknown outcome, as far as it writes. */
static void give_up(struct state *t)
{
    for (uint64_t i = 0; t->b->history != NULL && i < t->w->clients_n; i++) {
        struct client *c = &t->clients[i];

        for (uint32_t k = 0; k < t->slots_n && t->in_flight > 0; k++) {
            bool is_free = false;

            for (uint32_t f = 0; f < c->free_n; f++) {
                is_free |= c->free[f] == k;
            }
            if (!is_free) {
                slot_give_up(t, c, k);
            }
        }
    }
}

static bool open_client(struct state *t, uint64_t i)
{
    struct bench *b = t->b;
    struct client *c = &t->clients[i];
    uint64_t number = t->w->first + i;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
    enum avo_status status;

    c->slots = calloc(t->slots_n, sizeof(c->slots[0]));
    c->free = calloc(t->slots_n, sizeof(c->free[0]));
    if (c->slots == NULL || c->free == NULL) {
        t->w->first_error = AVO_NO_MEMORY;
        return false;
    }
    for (uint32_t k = 0; k < t->slots_n; k++) {
        c->free[k] = t->slots_n - 1 - k;
        c->slots[k].logical = number * t->slots_n + k;
    }
    c->free_n = t->slots_n;
    c->is_ready = true;
    status = b->target->open(b, number, t->slots_n, &c->handle, t->w->why, sizeof(t->w->why));
    if (status != AVO_OK ||
        epoll_ctl(t->epoll, EPOLL_CTL_ADD, b->target->fd(c->handle), &event) != 0) {
        t->w->first_error = status == AVO_OK ? AVO_NO_MEMORY : status;
        return false;
    }
    return true;
}

static bool prepare(struct state *t)
{
    struct bench *b = t->b;
    uint64_t words[2] = {b->seed, t->w->first};

    t->prng.state = words[0] * 0x9e3779b97f4a7c15U + words[1];
    t->slots_n = (uint32_t)(b->depth > b->load_depth ? b->depth : b->load_depth);
    t->clients = calloc(t->w->clients_n, sizeof(t->clients[0]));
    t->noise = malloc(NOISE_BYTES + b->value_size);
    t->text = malloc(b->value_size + 64);
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (t->clients == NULL || t->noise == NULL || t->text == NULL || t->epoll < 0) {
        t->w->first_error = AVO_NO_MEMORY;
        return false;
    }
    for (size_t i = 0; i < NOISE_BYTES + b->value_size; i++) {
        t->noise[i] = (uint8_t)prng_u64(&t->prng);
    }
    for (uint64_t i = 0; i < t->w->clients_n; i++) {
        if (!open_client(t, i)) {
            return false;
        }
    }
    return true;
}

static void release(struct state *t)
{
    for (uint64_t i = 0; t->clients != NULL && i < t->w->clients_n; i++) {
        for (uint32_t k = 0; t->clients[i].slots != NULL && k < t->slots_n; k++) {
            avo_scan_close(t->clients[i].slots[k].scan);
            free(t->clients[i].slots[k].found);
        }
        t->b->target->close(t->clients[i].handle);
        free(t->clients[i].slots);
        free(t->clients[i].free);
    }
    free(t->clients);
    free(t->noise);
    free(t->text);
    if (t->epoll >= 0) {
        (void)close(t->epoll);
    }
}

static void *run(void *arg)
{
    struct bench_worker *w = arg;
    struct state t = {.w = w, .b = w->bench, .epoll = -1, .courtesy.gap_ns = COURTESY_GAP_MAX_NS};
    bool good;

    (void)prctl(PR_SET_TIMERSLACK, 1UL); /* of this thread: arrivals are microseconds apart */
    good = prepare(&t);

    (void)pthread_mutex_lock(&w->lock);
    w->is_open = good;
    w->is_over = !good;
    (void)pthread_mutex_unlock(&w->lock);
    if (good) {
        drive(&t);
        give_up(&t);
    }
    release(&t);
    (void)pthread_mutex_lock(&w->lock);
    w->is_over = true;
    (void)pthread_mutex_unlock(&w->lock);
    return NULL;
}

void bench_tally_add(struct bench_tally *to, const struct bench_tally *from)
{
    for (int op = 0; op < BENCH_OPS; op++) {
        histogram_merge(&to->by_op[op], &from->by_op[op]);
    }
    for (int s = 0; s < STATUSES_N; s++) {
        to->errors[s] += from->errors[s];
    }
    to->not_found += from->not_found;
    to->lost_races += from->lost_races;
    to->value_bytes += from->value_bytes;
    to->scanned += from->scanned;
}

void bench_worker_init(struct bench_worker *w, bool shared)
{
    pthread_mutexattr_t attr;

    (void)pthread_mutexattr_init(&attr);
    (void)pthread_mutexattr_setpshared(&attr,
                                       shared ? PTHREAD_PROCESS_SHARED : PTHREAD_PROCESS_PRIVATE);
    (void)pthread_mutex_init(&w->lock, &attr);
    (void)pthread_mutexattr_destroy(&attr);
}

bool bench_worker_start(struct bench_worker *w)
{
    w->is_started = pthread_create(&w->thread, NULL, run, w) == 0;
    return w->is_started;
}

void bench_worker_join(struct bench_worker *w)
{
    if (w->is_started) {
        (void)pthread_join(w->thread, NULL);
        w->is_started = false;
    }
}
