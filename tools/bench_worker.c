// SPDX-License-Identifier: Apache-2.0
#include "tools/bench_worker.h"

#include "common/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum {
    COMPLETIONS = 64,
    ROUNDS_MAX = 4, /* of one client before the others have their turn */
    WAIT_MAX_MS = 100,
    DRAIN_MS = 5000,
    NOISE_BYTES = 1 << 16,
};

enum stage {
    STAGE_ONLY = 0,
    STAGE_RMW_GET,
    STAGE_RMW_PUT,
    STAGE_CAS_GET,
    STAGE_CAS,
};

struct slot {
    struct workload_step step;
    enum stage stage;
    bool is_load;
    uint64_t logical;  /* number of this sequential client in the history */
    uint64_t began_ns; /* of the whole, for read-modify-write */
    uint64_t invoke_ns;
    uint32_t serial; /* makes values unique in a history */
    char *found;     /* CAS: what the get found; NULL: nothing */
    size_t found_len;
};

struct client {
    struct avo_client *avo;
    struct slot *slots;
    uint32_t *free;
    uint32_t free_n;
    uint64_t due_ms; /* poll by then even if nothing is readable; UINT64_MAX: never */
    bool is_ready;
};

struct state {
    struct bench_worker *w;
    struct bench *b;
    struct client *clients;
    struct prng prng;
    uint8_t *noise; /* values are windows of it */
    char *text;     /* a unique value, for a history */
    int epoll;
    uint32_t slots_n; /* of each client */
    uint64_t in_flight;
};

uint64_t bench_now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static bool is_put(const struct slot *s)
{
    return s->stage == STAGE_CAS || s->is_load || s->stage == STAGE_RMW_PUT ||
           s->step.op == BENCH_PUT || s->step.op == BENCH_INSERT;
}

static enum avo_op op_of(const struct slot *s)
{
    if (s->stage == STAGE_CAS) {
        return s->found == NULL ? AVO_PUT_NEW : AVO_CAS;
    }
    if (is_put(s)) {
        return AVO_PUT;
    }
    if (s->step.op == BENCH_INCR) {
        return AVO_INCR;
    }
    return s->step.op == BENCH_DELETE ? AVO_DELETE : AVO_GET;
}

/* In a history every value is written once, "c<client>-<serial>", and can be made again. */
static size_t history_value(const struct state *t, const struct slot *s)
{
    size_t size = (size_t)t->b->value_size;
    int n = snprintf(t->text, size + 64, "c%" PRIu64 "-%u", s->logical, s->serial);

    if ((size_t)n < size) {
        memset(t->text + n, '.', size - (size_t)n);
        return size;
    }
    return (size_t)n;
}

static void note_error(struct state *t, enum avo_status status, const char *why)
{
    struct bench_worker *w = t->w;

    w->errors_ever++;
    if (atomic_load_explicit(&t->b->measuring, memory_order_relaxed) &&
        (unsigned)status < STATUSES_N) {
        w->tally.errors[status]++;
    }
    if (w->first_error == AVO_OK) {
        w->first_error = status;
        (void)snprintf(w->why, sizeof(w->why), "%s",
                       why[0] == '\0' ? avo_status_text(status) : why);
    }
}

static enum avo_status submit_op(struct client *c, const struct slot *s, struct avo_rmw *rmw,
                                 uint32_t place)
{
    rmw->op = op_of(s);
    if (rmw->op < AVO_CAS) {
        return avo_submit(c->avo, rmw->op, rmw->key, rmw->key_len, rmw->value, rmw->value_len,
                          place);
    }
    rmw->delta = rmw->op == AVO_INCR ? 1 : 0;
    if (rmw->op == AVO_CAS) {
        rmw->expect = s->found;
        rmw->expect_len = s->found_len;
    }
    return avo_submit_rmw(c->avo, rmw, place);
}

/* Starts what the slot says. False: it ended at once. */
static bool submit(struct state *t, struct client *c, uint32_t place)
{
    struct slot *s = &c->slots[place];
    enum avo_status status;
    char key[KEY_MAX];
    struct avo_rmw rmw = {.key = key,
                          .key_len = workload_key(&t->b->workload, s->step.record, key)};

    if (is_put(s) && t->b->history != NULL) {
        s->serial++;
        rmw.value_len = history_value(t, s);
        rmw.value = t->text;
    } else if (is_put(s)) {
        rmw.value_len = (size_t)t->b->value_size;
        rmw.value = t->noise + prng_below(&t->prng, NOISE_BYTES);
    }
    s->invoke_ns = bench_now_ns();
    if (s->stage != STAGE_RMW_PUT && s->stage != STAGE_CAS) {
        s->began_ns = s->invoke_ns;
    }
    status = submit_op(c, s, &rmw, place);
    if (status != AVO_OK) {
        note_error(t, status, avo_last_error(c->avo));
        return false;
    }
    t->in_flight++;
    return true;
}

/* Decides what a free slot does next; false when there is nothing to start. */
static bool choose(struct state *t, struct slot *s)
{
    struct bench *b = t->b;
    uint64_t record;

    s->stage = STAGE_ONLY;
    s->is_load = false;
    switch ((enum bench_phase)atomic_load_explicit(&b->phase, memory_order_relaxed)) {
    case PHASE_LOAD:
        record = atomic_fetch_add_explicit(&b->load_next, 1, memory_order_relaxed);
        s->is_load = true;
        s->step = (struct workload_step){BENCH_PUT, record};
        return record < b->workload.records;
    case PHASE_RUN:
        s->step = workload_next(&b->workload, &t->prng);
        s->stage = s->step.op == BENCH_RMW   ? STAGE_RMW_GET
                   : s->step.op == BENCH_CAS ? STAGE_CAS_GET
                                             : STAGE_ONLY;
        return true;
    case PHASE_WAIT:
    case PHASE_DRAIN:
        break;
    }
    return false;
}

static uint32_t refill(struct state *t, struct client *c)
{
    bool loading = atomic_load_explicit(&t->b->phase, memory_order_relaxed) == PHASE_LOAD;
    uint32_t want = (uint32_t)(loading ? t->b->load_depth : t->b->depth), started = 0;

    while (c->free_n > t->slots_n - want) {
        uint32_t place = c->free[c->free_n - 1];

        if (!choose(t, &c->slots[place]) || !submit(t, c, place)) {
            break;
        }
        c->free_n--;
        started++;
    }
    return started;
}

static void write_history(const struct state *t, const struct slot *s,
                          const struct avo_completion *got, uint64_t now_ns)
{
    char key[KEY_MAX];
    struct history_op o = {
        .client = s->logical,
        .op = got->op,
        .key = key,
        .key_len = workload_key(&t->b->workload, s->step.record, key),
        .invoke_ns = s->invoke_ns,
        .return_ns = now_ns,
        .status = got->status,
    };

    if (got->op == AVO_PUT || got->op == AVO_CAS || got->op == AVO_PUT_NEW) {
        o.value_len = history_value(t, s);
        o.value = t->text;
    }
    if (got->op == AVO_INCR) {
        o.value = "1";
        o.value_len = 1;
    }
    if (got->op == AVO_CAS) {
        o.expect = s->found;
        o.expect_len = s->found_len;
    }
    if ((got->op == AVO_GET && got->status == AVO_OK) || got->value != NULL) {
        o.result = got->value == NULL ? "" : got->value;
        o.result_len = got->value_len;
    }
    bench_history_add(t->b->history, &o);
}

static bool is_fine(enum avo_status status)
{
    return status == AVO_OK || status == AVO_NOT_FOUND || status == AVO_MISMATCH;
}

static void count(struct state *t, const struct slot *s, const struct avo_completion *got,
                  uint64_t now_ns)
{
    struct bench_worker *w = t->w;
    bool fine = is_fine(got->status);

    if (s->is_load) {
        atomic_fetch_add_explicit(&t->b->loaded, 1, memory_order_relaxed);
    }
    if (!fine) {
        return;
    }
    if (s->step.op == BENCH_INSERT) {
        atomic_fetch_add_explicit(&t->b->workload.inserted, 1, memory_order_relaxed);
    }
    histogram_add(&w->interval, now_ns - s->began_ns);
    if (!s->is_load && atomic_load_explicit(&t->b->measuring, memory_order_relaxed)) {
        histogram_add(&w->tally.by_op[s->step.op], now_ns - s->began_ns);
        w->tally.not_found += got->status == AVO_NOT_FOUND;
        w->tally.lost_races += got->status == AVO_MISMATCH;
        w->tally.value_bytes += is_put(s) ? t->b->value_size : got->value_len;
    }
}

/* What a compare-and-set will expect; without memory it expects nothing and loses. */
static void keep_found(struct slot *s, const struct avo_completion *got)
{
    free(s->found);
    s->found = NULL;
    s->found_len = 0;
    if (got->status == AVO_OK) {
        s->found = malloc(got->value_len + 1);
        if (s->found != NULL && got->value_len != 0) {
            memcpy(s->found, got->value, got->value_len);
            s->found_len = got->value_len;
        }
    }
}

static void complete(struct state *t, struct client *c, const struct avo_completion *got,
                     uint64_t now_ns)
{
    uint32_t place = (uint32_t)got->user;
    struct slot *s = &c->slots[place];
    bool fine = is_fine(got->status);

    t->in_flight--;
    if (t->b->history != NULL) {
        write_history(t, s, got, now_ns);
    }
    if (!fine) {
        note_error(t, got->status, avo_last_error(c->avo));
    }
    if (s->stage == STAGE_CAS_GET && fine) {
        keep_found(s, got);
    }
    if (fine && (s->stage == STAGE_RMW_GET || s->stage == STAGE_CAS_GET)) {
        s->stage = s->stage == STAGE_RMW_GET ? STAGE_RMW_PUT : STAGE_CAS;
        if (submit(t, c, place)) {
            return;
        }
        fine = false;
    }
    if (fine || s->is_load) {
        count(t, s, got, now_ns);
    }
    /* After an unknown outcome this sequential client is still busy, for all a checker knows. */
    if (t->b->history != NULL && got->status == AVO_INDETERMINATE) {
        s->logical += t->b->clients * t->slots_n;
    }
    c->free[c->free_n++] = place;
}

/* True when the client may have more to do at once. */
static bool turn(struct state *t, struct client *c)
{
    struct avo_completion got[COMPLETIONS];

    for (int round = 0; round < ROUNDS_MAX; round++) {
        size_t n = avo_poll(c->avo, got, COMPLETIONS, 0);
        uint64_t now_ns = bench_now_ns();
        uint32_t started;
        int wait_ms;

        (void)pthread_mutex_lock(&t->w->lock);
        for (size_t i = 0; i < n; i++) {
            complete(t, c, &got[i], now_ns);
        }
        started = refill(t, c);
        (void)pthread_mutex_unlock(&t->w->lock);
        if (n == 0 && started == 0) {
            wait_ms = avo_next_ms(c->avo);
            c->due_ms = wait_ms < 0 ? UINT64_MAX : now_ns / 1000000 + (uint64_t)wait_ms;
            c->is_ready = wait_ms == 0;
            return c->is_ready;
        }
    }
    c->is_ready = true;
    return true;
}

/* Waits until a client has something to do, and marks those. */
static void wait_ready(struct state *t, int timeout_ms)
{
    struct epoll_event events[COMPLETIONS];
    int n = epoll_wait(t->epoll, events, COMPLETIONS, timeout_ms);
    uint64_t now_ms = bench_now_ns() / 1000000;

    for (int i = 0; i < n; i++) {
        t->clients[events[i].data.u32].is_ready = true;
    }
    for (uint64_t i = 0; i < t->w->clients_n; i++) {
        t->clients[i].is_ready |= t->clients[i].due_ms <= now_ms;
    }
}

static int until_due(const struct state *t)
{
    uint64_t now_ms = bench_now_ns() / 1000000, due = now_ms + WAIT_MAX_MS;

    for (uint64_t i = 0; i < t->w->clients_n; i++) {
        due = t->clients[i].due_ms < due ? t->clients[i].due_ms : due;
    }
    return due <= now_ms ? 0 : (int)(due - now_ms);
}

static void drive(struct state *t)
{
    uint64_t drain_until_ns = UINT64_MAX;
    int phase, before = 0;

    for (;;) {
        bool more = false;

        phase = atomic_load_explicit(&t->b->phase, memory_order_acquire);
        if (phase != before) {
            for (uint64_t i = 0; i < t->w->clients_n; i++) {
                t->clients[i].is_ready = true; /* there may be something to start */
            }
            before = phase;
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
        wait_ready(t, more ? 0 : until_due(t));
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
                struct avo_completion unknown = {
                    .user = k, .op = op_of(&c->slots[k]), .status = AVO_INDETERMINATE};

                write_history(t, &c->slots[k], &unknown, 0);
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
    struct avo_options options = {
        .timeout_ms = (uint32_t)b->timeout_ms,
        .connect_ms = (uint32_t)b->timeout_ms,
        .in_flight_max = t->slots_n,
        .coordinator = (uint32_t)(b->coordinator != 0 ? b->coordinator : number % b->nodes_n + 1),
    };
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
    status = avo_open(b->cluster, &options, &c->avo, t->w->why, sizeof(t->w->why));
    if (status != AVO_OK || epoll_ctl(t->epoll, EPOLL_CTL_ADD, avo_fd(c->avo), &event) != 0) {
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
        avo_close(t->clients[i].avo);
        for (uint32_t k = 0; t->clients[i].slots != NULL && k < t->slots_n; k++) {
            free(t->clients[i].slots[k].found);
        }
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
    struct state t = {.w = w, .b = w->bench, .epoll = -1};
    bool good = prepare(&t);

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

bool bench_worker_start(struct bench_worker *w)
{
    (void)pthread_mutex_init(&w->lock, NULL);
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
