// SPDX-License-Identifier: Apache-2.0
/* What one slot of a client does: chosen, started, completed, counted, written into the history. */
#include "tools/bench_slots.h"

#include "common/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static enum avo_status submit_op(const struct state *t, struct client *c, const struct slot *s,
                                 struct avo_rmw *rmw, uint32_t place)
{
    rmw->op = op_of(s);
    rmw->delta = rmw->op == AVO_INCR ? 1 : 0;
    if (rmw->op == AVO_CAS) {
        rmw->expect = s->found;
        rmw->expect_len = s->found_len;
    }
    return t->b->target->submit(c->handle, rmw, place);
}

static enum avo_status submit_scan(struct client *c, struct slot *s, const struct avo_rmw *rmw)
{
    struct avo_scan_options options = {.start = rmw->key,
                                       .start_len = rmw->key_len,
                                       .limit = s->step.count,
                                       .flags = AVO_SCAN_VALUES};
    enum avo_status status = avo_scan_open(c->handle, &options, &s->scan);

    c->scans_n += status == AVO_OK;
    s->scanned_bytes = 0;
    return status;
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
    if (t->b->history != NULL) {
        s->invoke_ns = bench_now_ns();
    }
    status = s->step.op == BENCH_SCAN && !s->is_load ? submit_scan(c, s, &rmw)
                                                     : submit_op(t, c, s, &rmw, place);
    if (status != AVO_OK) {
        note_error(t, status, t->b->target->last_error(c->handle));
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
    s->scanned_n = 0;
    switch ((enum bench_phase)atomic_load_explicit(&b->phase, memory_order_relaxed)) {
    case PHASE_LOAD:
        record = atomic_fetch_add_explicit(&b->load_next, 1, memory_order_relaxed);
        s->is_load = true;
        s->step = (struct workload_step){.op = BENCH_PUT, .record = record};
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

bool slot_start(struct state *t, struct client *c, uint64_t due_ns)
{
    uint32_t place = c->free[c->free_n - 1];
    struct slot *s = &c->slots[place];

    if (!choose(t, s)) {
        return false;
    }
    s->began_ns = due_ns != 0 ? due_ns : bench_now_ns();
    if (!submit(t, c, place)) {
        return false;
    }
    c->free_n--;
    return true;
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
        w->tally.scanned += s->scanned_n;
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
        if (s->found != NULL && got->value != NULL && got->value_len != 0) {
            memcpy(s->found, got->value, got->value_len);
            s->found_len = got->value_len;
        }
    }
}

void slot_complete(struct state *t, struct client *c, const struct avo_completion *got,
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
        note_error(t, got->status, t->b->target->last_error(c->handle));
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

/* True when the scan is over. */
static bool scan_on(struct slot *s, enum avo_status *ret_status)
{
    struct avo_entry entry;

    for (;;) {
        *ret_status = avo_scan_next(s->scan, &entry, 0);
        if (*ret_status != AVO_OK) {
            return *ret_status != AVO_BUSY;
        }
        s->scanned_n++;
        s->scanned_bytes += entry.value_len;
    }
}

void slots_scan(struct state *t, struct client *c)
{
    for (uint32_t i = 0; c->scans_n > 0 && i < t->slots_n; i++) {
        struct slot *s = &c->slots[i];
        struct avo_completion end = {.user = i, .op = AVO_GET};

        if (s->scan == NULL || !scan_on(s, &end.status)) {
            continue;
        }
        avo_scan_close(s->scan);
        s->scan = NULL;
        c->scans_n--;
        /* The end of the range is where every scan ends, not a key that is missing. */
        end.status = end.status == AVO_NOT_FOUND ? AVO_OK : end.status;
        end.value_len = s->scanned_bytes;
        slot_complete(t, c, &end, bench_now_ns());
    }
}

void slot_give_up(struct state *t, struct client *c, uint32_t place)
{
    struct avo_completion unknown = {
        .user = place, .op = op_of(&c->slots[place]), .status = AVO_INDETERMINATE};

    write_history(t, &c->slots[place], &unknown, 0);
}
